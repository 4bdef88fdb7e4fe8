//! Sessions that are cut at any byte, and go on where they were.
//!
//! With `HAUL_LONG=1`: all pairs of cuts instead of some, and all places of long sessions.

use std::collections::{BTreeMap, BTreeSet};

use super::{KIB, check_reads, config};
use crate::config::{IfExists, Turn};
use crate::proto::tests::long;
use crate::proto::tests::losses::{self, Cut, Recovery};
use crate::proto::tests::pair::{Channel, Pair, content, path};
use crate::proto::tests::scenes::{self, Scene};
use crate::proto::wire::frame::{CHECK, HEADER, PREFACE};
use crate::proto::wire::message::{Message, Name};
use crate::types::{EntryId, Event, Refusal};

/// Returns the messages that stand wholly in a record, and where each ends.
pub(in crate::proto::tests) fn messages(record: &[u8]) -> Vec<(usize, Message)> {
    let number =
        |bytes: &[u8]| bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let mut found = Vec::new();
    let mut at = PREFACE.len();
    while let Some(head) = record.get(at..at + HEADER) {
        let (control, payload) = (number(&head[1..4]), number(&head[4..8]));
        let check = if control > 0 { CHECK } else { 0 };
        let end = at + HEADER + control + check + payload;
        let Some(frame) = record.get(at..end) else { break };
        let name = Name::from_kind(frame[0]).unwrap();
        found.push((end, Message::decode(name, &frame[HEADER..HEADER + control]).unwrap()));
        at = end;
    }
    found
}

/// Returns the blocks that messages up to a place of the stream sent, or called the same or zeros.
fn blocks(channel: &Channel, before: usize) -> BTreeMap<EntryId, BTreeSet<u64>> {
    let mut found = BTreeMap::<_, BTreeSet<u64>>::new();
    for (_, message) in messages(&channel.record).into_iter().filter(|(end, _)| *end <= before) {
        match message {
            Message::Block { entry, index, .. } => {
                _ = found.entry(entry).or_default().insert(index)
            }
            Message::Same { entry, blocks } | Message::Zeros { entry, blocks } => {
                found.entry(entry).or_default().extend(blocks);
            }
            _ => {}
        }
    }
    found
}

/// Returns what was delivered before a cut of the sender's bytes.
fn delivered(cut: Cut, pair: &Pair) -> BTreeMap<EntryId, BTreeSet<u64>> {
    blocks(&pair.down, if cut.down { cut.at } else { usize::MAX })
}

/// Returns the scenes of the other tests, and longer ones.
fn scenes() -> Vec<Scene> {
    let mut all: Vec<_> = losses::complete(scenes::all()).collect();
    let long = content(1, 9 * KIB + 10);
    let short_turns = Turn::default().initial_bytes(3000).max_bytes(3000);
    let mut turns = Scene::new("turns").file("a", &long).file("b", &long[..5 * KIB]);
    turns.config = turns.config.turn(short_turns);
    let mut piped = Scene::new("piped").stream("a", &long);
    piped.config = piped.config.turn(short_turns);
    piped.alice.window = Some(4 * KIB as u64);
    let changed = [&long[..3 * KIB], &content(2, 2 * KIB), &long[5 * KIB..]].concat();
    let rename = Scene::new("rename-long").if_exists(IfExists::Rename);
    let mut replace = Scene::new("replace-long").if_exists(IfExists::Replace);
    replace.config = replace.config.turn(short_turns);
    let mut half = long.clone();
    half[2 * KIB] ^= 1;
    all.extend([
        turns,
        piped,
        rename.file("a", &long).visible("a", &changed),
        replace.file("a", &long).visible("a", &changed),
        Scene::new("resume-damaged").file("a", &long).partial("a", &half[..7 * KIB]),
        Scene::new("sparse").file("a", &[&long[..2 * KIB], &[0; 3 * KIB], &long[..KIB]].concat()),
    ]);
    all
}

#[test]
fn session_cut_at_any_byte_goes_on_without_reading_or_sending_anything_twice() {
    let mut cases = 0;
    for scene in scenes() {
        let mut whole = scene.pair();
        let (down, up) = losses::finish(&mut whole, &scene, &|| scene.name.into());
        // Within a block, one place is as good as another.
        let stride = if long() || down + up < 3000 { 1 } else { 17 };
        for cut in Cut::all((down, up)).step_by(stride) {
            let what = || format!("{} {cut:?}", scene.name);
            let mut pair = scene.pair();
            assert!(cut.run(&mut pair), "{}", what());
            if losses::is_done(&pair, &scene) {
                continue;
            }
            cases += 1;
            let delivered = delivered(cut, &pair);
            pair.alice.reads.clear();
            pair.reconnect_suspended(&scene.config, 2);
            let (sent, received) = pair.run();
            let (Ok(sent), Ok(received)) = (sent, received) else {
                panic!("{}: {sent:?} {received:?}", what());
            };
            scene.check_visible(&pair.bob).unwrap();
            scene.check_complete(&pair.bob);
            check_reads(&pair, &what);
            let total: usize = scene.alice.files.iter().map(|(_, bytes)| bytes.len()).sum();
            assert!(pair.bob.written <= total as u64, "{}: {}", what(), pair.bob.written);
            // Both sides counted over both connections, each entry once.
            assert_eq!(
                (sent.delivered, sent.bytes),
                (received.delivered, received.bytes),
                "{}",
                what()
            );
            assert_eq!(sent.trusted, received.trusted, "{}", what());
            let settled = sent.delivered + sent.trusted;
            assert_eq!(settled, scene.alice.files.len() as u64, "{}", what());
            let is_delivery = |event: &&Event| matches!(event, Event::Delivered { .. });
            assert_eq!(pair.bob.events.iter().filter(is_delivery).count() as u64, sent.delivered);
            let again = blocks(&pair.down, usize::MAX);
            for (entry, blocks) in &delivered {
                if let Some(index) =
                    again.get(entry).and_then(|again| again.intersection(blocks).next())
                {
                    panic!("{}: block {index} of {entry:?} is said again", what());
                }
                let file = pair.alice.ids[entry];
                let reads = pair.alice.reads.iter().filter(|(read, _)| *read == file);
                for (_, offset) in reads {
                    let index = offset / KIB as u64;
                    assert!(!blocks.contains(&index), "{}: block {index} is read again", what());
                }
            }
        }
    }
    println!("{cases} cases");
}

#[test]
fn session_cut_at_any_two_bytes_goes_on_twice_and_reads_nothing_twice() {
    let strides = if long() { [1, 1] } else { [5, 211] };
    for scene in scenes() {
        let check = |pair: &Pair, what: &str| check_reads(pair, &|| what.into());
        let met = losses::follow(&scene, &[Recovery::BothGoOn], &strides, &check);
        assert!(met.histories > met.runs, "{met:?}");
    }
}

#[test]
fn damaged_blocks_alone_travel_again_after_a_reconnect() {
    let bytes = content(1, 20 * KIB);
    let mut pair = Pair::new(&config(), &[("a", bytes.clone())]);
    while pair.down.record.len() < 300 {
        assert!(pair.step_sender() | pair.step_receiver());
    }
    let start = pair.down.record.len();
    for block in [2, 3, 9] {
        pair.down.flips.insert(start + block * (68 + 8 + KIB) + 200, 1);
    }
    pair.up.cut = Some(pair.up.record.len());
    pair.run_while_moving();
    pair.reconnect_suspended(&config(), 2);
    let summary = pair.run_well();
    assert_eq!(summary.resent, 3 * KIB as u64);
    assert!(pair.bob.visible[&path("a")] == bytes && pair.bob.reads.is_empty());
}

#[test]
fn source_that_changed_between_two_connections_is_refused_and_ends() {
    let turn = Turn::default().initial_bytes(5000).max_bytes(5000);
    let config = config().turn(turn);
    let mut pair = Pair::new(&config, &[("a", content(1, 20 * KIB))]);
    pair.down.cut = Some(12_000);
    pair.run_while_moving();
    // A source that does not notice: the roots do.
    pair.alice.files[0].1 = content(2, 20 * KIB);
    pair.reconnect_suspended(&config, 2);
    let (sent, received) = pair.run();
    let (sent, received) = (sent.unwrap(), received.unwrap());
    assert_eq!((sent.delivered, sent.refused, received.refused), (0, 1, 1));
    assert!(pair.bob.visible.is_empty() && pair.bob.partial.is_empty());
    let reason = pair.bob.events.iter().find_map(|event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reason, Some(Refusal::Mismatch));
}
