use std::num::{NonZeroU32, NonZeroUsize};

use super::*;
use crate::proto::Stall;
use crate::store::{MemorySource, MemoryStore};
use crate::types::{Event, Meta, RelPath};

fn content(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn pair(store: &MemoryStore) -> Pair<MemorySource, MemoryStore> {
    let config = Config::default();
    let path = RelPath::parse(b"a").unwrap();
    // Beyond one block, so that it does not travel inside its offer.
    let source = MemorySource::new().file(path, content(300_000));
    Pair::new(&config, source, &config, store.clone())
}

fn is_delivered(store: &MemoryStore) -> bool {
    store.get("a").is_some_and(|entry| *entry.bytes == content(300_000))
}

#[test]
fn pair_in_pieces_of_one_byte_writes_what_an_undisturbed_one_does() {
    let mut whole = pair(&MemoryStore::new());
    whole.run();
    let store = MemoryStore::new();
    let mut drip = pair(&store);
    drip.up.piece(NonZeroUsize::MIN);
    drip.down.piece(NonZeroUsize::MIN.saturating_add(999));
    assert!(matches!(drip.run(), (SessionEnd::Closed(_), SessionEnd::Closed(_))));
    assert!(is_delivered(&store));
    assert_eq!(
        (drip.down.written(), drip.up.written()),
        (whole.down.written(), whole.up.written())
    );
    assert_eq!(drip.now(), Duration::ZERO);
}

#[test]
fn pair_with_a_cut_loses_both_sides_at_once() {
    for cut in [0, 1, 100, 250, 100_000] {
        let store = MemoryStore::new();
        let mut pair = pair(&store);
        pair.down.cut(cut);
        assert_eq!(pair.run(), (SessionEnd::Lost, SessionEnd::Lost), "{cut}");
        assert_eq!(pair.now(), Duration::ZERO);
        pair.reconnect(store.clone());
        assert!(matches!(pair.run(), (SessionEnd::Closed(_), SessionEnd::Closed(_))), "{cut}");
        assert!(is_delivered(&store));
    }
}

#[test]
fn pair_resumed_after_any_cut_sends_nothing_again_that_arrived() {
    for cut in [0, 1, 100, 250, 270_000, 299_000] {
        let store = MemoryStore::new();
        let mut pair = pair(&store);
        pair.down.cut(cut);
        assert_eq!(pair.run(), (SessionEnd::Lost, SessionEnd::Lost), "{cut}");
        pair.resume();
        // Lost before anybody has greeted: what was known still is.
        pair.down.cut(20);
        assert_eq!(pair.run(), (SessionEnd::Lost, SessionEnd::Lost), "{cut}");
        pair.resume();
        let (SessionEnd::Closed(sent), SessionEnd::Closed(received)) = pair.run() else {
            panic!("{cut}")
        };
        assert!(is_delivered(&store));
        // One block of two is there by the later cuts.
        let again = if cut < 262_144 { sent.sent - 300_000 } else { 300_000 - 262_144 };
        assert_eq!(sent.resent, again, "{cut}");
        assert_eq!((sent.delivered, received.delivered), (1, 1));
    }
}

#[test]
fn pair_with_a_black_hole_ends_by_the_deadline_for_silence() {
    let mut pair = pair(&MemoryStore::new());
    pair.down.stall(100_000);
    let stall = SessionEnd::Failed(proto::Error::Stalled(Stall::Silence {
        after: Duration::from_secs(30),
    }));
    // Alice, whose bytes may still be under way, waits longer; and learns that Bob has gone.
    assert_eq!(pair.run(), (SessionEnd::Lost, stall));
    assert_eq!(pair.now(), Duration::from_secs(30));
}

#[test]
fn pair_with_a_flipped_bit_repairs_the_block() {
    let store = MemoryStore::new();
    let mut pair = pair(&store);
    pair.down.flip(200_000, 0x10);
    let (SessionEnd::Closed(sent), SessionEnd::Closed(_)) = pair.run() else { panic!("it fails") };
    assert!(sent.resent > 0 && is_delivered(&store));
}

#[test]
fn pair_restarted_with_an_empty_source_has_nothing_to_send() {
    let store = MemoryStore::new();
    let mut pair = pair(&store);
    pair.run();
    pair.restart(MemorySource::new(), store);
    let (SessionEnd::Closed(sent), SessionEnd::Closed(_)) = pair.run() else { panic!("it fails") };
    assert_eq!(sent, Summary::default());
}

#[test]
fn pair_with_a_stream_reports_no_more_progress_than_its_bytes() {
    for len in [1, 4, 262_144, 262_148] {
        let source = MemorySource::new()
            .entry(Meta::file(RelPath::parse(b"s").unwrap(), None), content(len));
        let config = Config::default();
        let mut pair = Pair::new(&config, source, &config, MemoryStore::new());
        assert!(matches!(pair.run(), (SessionEnd::Closed(_), SessionEnd::Closed(_))), "{len}");
        let events = pair.alice.events.iter().chain(&pair.bob.events);
        let progress = events.filter_map(|event| match event {
            Event::Progress { bytes, .. } => Some(*bytes),
            _ => None,
        });
        assert_eq!(progress.max(), Some(len as u64), "{len}");
    }
}

#[test]
fn pair_on_slow_lines_takes_as_long_as_their_bytes_do() {
    for buffer in [1, 1000, 1 << 20] {
        let store = MemoryStore::new();
        let mut pair = pair(&store);
        let rate = NonZeroU32::new(20_000).unwrap();
        pair.down.slow(rate, buffer, Duration::ZERO);
        pair.up.slow(rate, buffer, Duration::ZERO);
        assert!(matches!(pair.run(), (SessionEnd::Closed(_), SessionEnd::Closed(_))), "{buffer}");
        assert!(is_delivered(&store));
        let (bytes, took) = (pair.down.written() + pair.up.written(), pair.now());
        let least = Duration::from_millis(bytes / 20);
        assert!(took >= least && took < least + Duration::from_secs(3), "{bytes}: {took:?}");
    }
}

#[test]
fn pair_whose_reader_stops_ends_by_the_deadline_of_its_writer() {
    for (buffer, stall) in [(1000, true), (1 << 20, false)] {
        let store = MemoryStore::new();
        let mut pair = pair(&store);
        pair.down.slow(NonZeroU32::new(1_000_000).unwrap(), buffer, Duration::ZERO);
        pair.down.jam(50_000);
        let (sent, received) = pair.run();
        let is_write =
            matches!(sent, SessionEnd::Failed(proto::Error::Stalled(Stall::Write { .. })));
        assert_eq!(is_write, stall, "{sent:?} {received:?}");
        assert!(pair.now() < Duration::from_secs(60), "{:?}", pair.now());
        assert!(!is_delivered(&store));
    }
}
