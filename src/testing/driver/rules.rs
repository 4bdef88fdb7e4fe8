//! The sessions that check one rule of a driver each.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::Driver;
use super::lent::Lent;
use super::log::{Log, Side};
use super::scenes::{BLOCK, LONG, Stage, content, path};
use super::script::Script;
use super::stream::{Pace, Watched};
use super::told::Told;
use crate::config::Turn;
use crate::store::MemorySource;
use crate::transport::memory;
use crate::types::Meta;

/// Room for whole turns, so that a driver is not held up by the other one.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add((1 << 16) - 1);

/// Many turns to a file of this many blocks.
const BLOCKS: usize = 24;

/// Runs all of them.
pub(super) fn all<D: Driver + Sync>(driver: &D) {
    nothing_now_and_then(driver);
    again(driver);
    receipts_come_in_time(driver);
    commits_take_long(driver);
    readers_are_closed(driver);
    withdrawn_is_closed(driver);
    window_is_kept(driver);
    lines_take_their_time(driver);
    nothing_is_taken(driver);
    pauses_are_its_own(driver);
    last_words(driver);
}

/// Returns a few blocks to a turn.
fn short_turns<'d, D: Driver + Sync>(driver: &'d D, name: &'static str) -> Stage<'d, D> {
    let mut stage = Stage::new(driver, CAPACITY, name);
    let few = 3 * BLOCK as u64;
    stage.config = stage.config.turn(Turn::default().initial_bytes(few).max_bytes(few));
    stage
}

fn told(source: MemorySource) -> Told<MemorySource> {
    Told::new(source, &Log::new(Side::Sender))
}

fn nothing_now_and_then<D: Driver + Sync>(driver: &D) {
    let name = "a source that has nothing now and then (`handle_read_pending`)";
    let stage = Stage::new(driver, CAPACITY, name);
    let source = MemorySource::new().file(path("a"), content(1, LONG));
    let sum = stage.deliver(&source.file(path("b"), content(2, 100)));
    assert_eq!((sum.delivered, sum.withdrawn), (2, 0), "{name}: delivered, and withdrawn");
}

fn again<D: Driver + Sync>(driver: &D) {
    let stage = Stage::new(driver, CAPACITY, "the same source, a second time (`Source::rewind`)");
    let mut source = told(MemorySource::new().file(path("a"), content(1, LONG)));
    for held in [0, 1] {
        let (sum, _) = stage.settle(stage.run_from(&mut source));
        assert_eq!((sum.delivered, sum.held), (1, held), "the same source, a second time");
    }
    source.refuses = true;
    let log = Log::new(Side::Sender);
    source.again(&log);
    let (alice, _bob) = memory::pipe(CAPACITY);
    let mut stream = Watched::new(alice, CAPACITY, &log);
    let sent = driver.send(&stage.config, &mut source, &mut stream, &log, &mut |_| {});
    let is_refused = sent.is_err() && stream.written == 0;
    assert!(is_refused, "a source that cannot be rewound: it is sent all the same");
}

fn receipts_come_in_time<D: Driver + Sync>(driver: &D) {
    let name = "commits that ended are told before a poll (`Files::collect`)";
    let stage = short_turns(driver, name);
    let total = 100 + BLOCKS * BLOCK;
    let source = MemorySource::new()
        .file(path("first"), content(1, 100))
        .file(path("second"), content(2, BLOCKS * BLOCK));
    let (_, sender) = stage.settle(stage.run_from(&mut told(source)));
    let delivered = sender.delivered();
    let at = delivered.first().map_or(0, |(_, read)| *read);
    assert!(
        at < total as u64,
        "{name}: the sender hears of the first of two files when all of the second is read"
    );
}

fn commits_take_long<D: Driver + Sync>(driver: &D) {
    let name = "a commit that takes 40 s (`ReceiveAction::AwaitCommit`)";
    let mut stage = Stage::new(driver, CAPACITY, name);
    stage.commits = Duration::from_secs(40);
    let source = MemorySource::new().file(path("a"), content(1, LONG));
    assert_eq!(stage.deliver(&source).delivered, 1);
}

fn readers_are_closed<D: Driver + Sync>(driver: &D) {
    let stage = short_turns(driver, "files of several turns, one after the other");
    let mut source = MemorySource::new();
    for (seed, name) in (0..).zip(["a", "b", "c"]) {
        source = source.file(path(name), content(seed, 4 * BLOCK));
    }
    assert_eq!(stage.deliver(&source).delivered, 3);
}

fn withdrawn_is_closed<D: Driver + Sync>(driver: &D) {
    let name = "a file that vanishes while it is sent";
    let stage = short_turns(driver, name);
    let source = MemorySource::new()
        .file(path("a"), content(1, BLOCKS * BLOCK))
        .file(path("b"), content(2, BLOCKS * BLOCK));
    let mut source = told(source);
    source.vanishes = Some((path("a"), 8 * BLOCK as u64));
    let (sum, _) = stage.settle(stage.run_from(&mut source));
    assert_eq!((sum.delivered, sum.withdrawn), (1, 1), "{name}");
    stage.holds(&[("b", content(2, BLOCKS * BLOCK))]);
    let left = stage.store.partials();
    assert!(left.is_empty(), "{name}: what arrived of it is kept (`ReceiveAction::Discard`)");
}

fn window_is_kept<D: Driver + Sync>(driver: &D) {
    let stage = Stage::new(driver, CAPACITY, "a source that can give again a part of a stream");
    let bytes = content(1, BLOCKS * BLOCK);
    let source = MemorySource::new().entry(Meta::file(path("a"), None), bytes.clone());
    let mut source = told(source);
    source.window = Some(5 * BLOCK as u64);
    assert_eq!(stage.settle(stage.run_from(&mut source)).0.delivered, 1);
    stage.holds(&[("a", bytes)]);
}

fn lines_take_their_time<D: Driver + Sync>(driver: &D) {
    let name = "a line that takes bytes slowly, and answers soon (`handle_peer_took`)";
    for (sending, receiving) in [(Pace::SLOW, Pace::default()), (Pace::default(), Pace::SLOW)] {
        let mut stage = Stage::new(driver, CAPACITY, name);
        (stage.sending, stage.receiving) = (sending, receiving);
        let source = MemorySource::new().file(path("a"), content(1, LONG));
        assert_eq!(stage.deliver(&source).delivered, 1);
    }
}

fn nothing_is_taken<D: Driver + Sync>(driver: &D) {
    let name = "a stream that takes nothing any more (`handle_write_blocked`)";
    for (sending, receiving) in [(Pace::STUCK, Pace::default()), (Pace::default(), Pace::STUCK)] {
        let mut stage = Stage::new(driver, CAPACITY, name);
        (stage.sending, stage.receiving) = (sending, receiving);
        let source = MemorySource::new().file(path("a"), content(1, LONG));
        let session = stage.run_from(&mut told(source));
        assert!(session.sent.is_err() && session.received.is_err(), "{name}: it succeeds");
    }
}

fn pauses_are_its_own<D: Driver + Sync>(driver: &D) {
    let name = "a source that takes 40 s for each read (`handle_write_resumed`)";
    let mut stage = Stage::new(driver, CAPACITY, name);
    stage.sending = Pace::BRIEF;
    // Several reads to a turn.
    stage.config = stage.config.turn(Turn::default().max_time(Duration::from_secs(3600)));
    let source = MemorySource::new().directory(path("folder"));
    let source = source.file(path("a"), content(1, 100)).file(path("b"), content(2, 100));
    let mut source = told(source.file(path("c"), content(3, LONG)));
    source.takes = Duration::from_secs(40);
    assert_eq!(stage.settle(stage.run_from(&mut source)).0.delivered, 4);
}

fn last_words<D: Driver + Sync>(driver: &D) {
    for side in [Side::Sender, Side::Receiver] {
        let log = Log::new(side);
        let mut script = Script::against(side);
        let stage = Stage::new(driver, CAPACITY, "a peer that breaks the protocol");
        let ended = match side {
            Side::Sender => {
                let source = MemorySource::new().file(path("a"), content(1, LONG));
                let mut source = Told::new(source, &log);
                let mut tell = |event: &_| log.tell(event);
                let sent = driver.send(&stage.config, &mut source, &mut script, &log, &mut tell);
                sent.map_err(|error| error.to_string())
            }
            Side::Receiver => {
                let mut store = Lent::new(stage.store.clone(), Duration::ZERO, &log);
                let mut tell = |event: &_| log.tell(event);
                let received =
                    driver.receive(&stage.config, &mut store, &mut script, &log, &mut tell);
                received.map_err(|error| error.to_string())
            }
        };
        assert!(ended.is_err(), "a peer that breaks the protocol: the {side:?} succeeds");
        assert!(
            script.has_heard_why(),
            "a peer that breaks the protocol: the {side:?} fails, and does not write what `poll` \
             appended with its error: {ended:?}"
        );
    }
}
