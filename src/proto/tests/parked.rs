//! A receiver that takes over what the former connection of its transfer left (E-4 to E-7): whatever the place of the
//! cut, nothing is read twice on either side, nothing that arrived is sent again, and everything arrives once.
//!
//! With `HAUL_LONG=1`: all pairs of cuts of tiny sessions instead of some, and all places of long sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::long;
use super::pair::{Alice, Bob, Channel, Pair, content, path};
use super::rogue::{Rogue, wire};
use super::scenes::{self, Scene};
use crate::config::{Config, Existing, Limits, Turn};
use crate::proto::frame::{CHECK, HEADER, PREFACE};
use crate::proto::message::{Message, Name, WireOffer};
use crate::proto::types::EntryId;
use crate::proto::{Event, Failure, Meta, Misuse, ProtocolError, Receiver, Refusal, TransferId};
use crate::tree::{BlockHash, BlockSize, Root};

const KIB: usize = 1024;

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

/// The messages that stand wholly in a record, and where each ends.
fn messages(record: &[u8]) -> Vec<(usize, Message)> {
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

/// The blocks that messages up to a place of the stream sent, or called the same or zeros; what proved to be
/// another file is not among them.
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
            Message::Differs { entry } => drop(found.remove(&entry)),
            _ => {}
        }
    }
    found
}

/// A byte of one direction from which on nothing is delivered in either.
#[derive(Clone, Copy, Debug)]
struct Cut {
    down: bool,
    at: usize,
}

impl Cut {
    /// Runs up to the cut; `false` says that the session ended before it.
    fn run(self, pair: &mut Pair) -> bool {
        let channel = if self.down { &mut pair.down } else { &mut pair.up };
        channel.cut = Some(self.at);
        pair.run_while_moving();
        for ended in [pair.alice.ended, pair.bob.ended] {
            assert!(!matches!(ended, Some(Err(_))), "{self:?} {ended:?}");
        }
        let channel = if self.down { &pair.down } else { &pair.up };
        channel.record.len() > self.at && !matches!(pair.alice.ended, Some(Ok(_)))
    }

    /// What was delivered of what the sender said.
    fn delivered(self, pair: &Pair) -> BTreeMap<EntryId, BTreeSet<u64>> {
        blocks(&pair.down, if self.down { self.at } else { usize::MAX })
    }
}

fn cuts(scene: &Scene) -> Vec<Cut> {
    let mut whole = scene.pair();
    let _ = whole.run();
    let (down, up) = (whole.down.record.len(), whole.up.record.len());
    let down = (0..down + 100).map(|at| Cut { down: true, at });
    down.chain((0..up + 200).map(|at| Cut { down: false, at })).collect()
}

/// Those of the other tests, and longer ones.
fn scenes() -> Vec<Scene> {
    let is_complete = |scene: &Scene| !["refused", "link", "abort"].contains(&scene.name);
    let mut all: Vec<_> = scenes::all().into_iter().filter(is_complete).collect();
    let long = content(1, 9 * KIB + 10);
    let short_turns = Turn::default().initial_bytes(3000).max_bytes(3000);
    let mut turns = Scene::new("turns").file("a", &long).file("b", &long[..5 * KIB]);
    turns.config = turns.config.turn(short_turns);
    let mut piped = Scene::new("piped").stream("a", &long);
    piped.config = piped.config.turn(short_turns);
    piped.alice.window = Some(4 * KIB as u64);
    let changed = [&long[..3 * KIB], &content(2, 2 * KIB), &long[5 * KIB..]].concat();
    let rename = Scene::new("rename-long").existing(Existing::Rename);
    let mut replace = Scene::new("replace-long").existing(Existing::Replace);
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

fn check_reads(pair: &Pair, what: &impl Fn() -> String) {
    let mut seen = BTreeSet::new();
    for read in &pair.bob.reads {
        assert!(seen.insert(read), "{}: {read:?} is read twice", what());
    }
}

#[test]
fn session_cut_at_any_byte_goes_on_without_reading_or_sending_anything_twice() {
    for scene in scenes() {
        let all = cuts(&scene);
        // Within a block, one place is as good as another.
        let stride = if long() || all.len() < 3000 { 1 } else { 17 };
        for cut in all.into_iter().step_by(stride) {
            let what = || format!("{} {cut:?}", scene.name);
            let mut pair = scene.pair();
            if !cut.run(&mut pair) {
                continue;
            }
            let delivered = cut.delivered(&pair);
            pair.alice.reads.clear();
            pair.reconnect_parked(&scene.config, 2);
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
            let restarts = messages(&pair.down.record).into_iter().filter_map(|(_, message)| {
                if let Message::Differs { entry } = message { Some(entry) } else { None }
            });
            let restarts: BTreeSet<_> = restarts.collect();
            let again = blocks(&pair.down, usize::MAX);
            for (entry, blocks) in delivered.iter().filter(|(entry, _)| !restarts.contains(entry)) {
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
}

#[test]
fn tiny_session_cut_at_any_two_bytes_goes_on_twice() {
    for name in ["rename", "two-blocks", "stream", "equal"] {
        let scene = scenes::scene(name);
        let all = cuts(&scene);
        let stride = if long() { 1 } else { 97 };
        for (index, first) in all.iter().enumerate().step_by(if long() { 1 } else { 3 }) {
            let mut before = scene.pair();
            if !first.run(&mut before) {
                continue;
            }
            for second in all.iter().skip(index % stride).step_by(stride) {
                let what = || format!("{name} {first:?} {second:?}");
                let mut pair = scene.pair();
                first.run(&mut pair);
                pair.reconnect_parked(&scene.config, 2);
                if !second.run(&mut pair) {
                    continue;
                }
                scene.check_visible(&pair.bob).unwrap();
                pair.reconnect_parked(&scene.config, 3);
                let (sent, received) = pair.run();
                assert!(sent.is_ok() && received.is_ok(), "{}: {sent:?} {received:?}", what());
                scene.check_complete(&pair.bob);
                check_reads(&pair, &what);
            }
        }
    }
}

fn offer(entry: u32, name: &str, size: Option<u64>) -> WireOffer {
    wire(entry, name.as_bytes(), size)
}

fn inline(entry: u32, name: &str, bytes: &[u8]) -> WireOffer {
    let (root, inline) = (Some(Root::of(bytes)), true);
    WireOffer { root, inline, ..offer(entry, name, Some(bytes.len() as u64)) }
}

fn say_block(rogue: &mut Rogue, bytes: &[u8], index: u64) {
    let start = usize::try_from(index).unwrap() * KIB;
    let payload = &bytes[start..(start + KIB).min(bytes.len())];
    let hash = BlockSize::MIN.hash(index, payload).unwrap().hash;
    rogue.say_with(&Message::Block { entry: ZERO, index, hash }, payload);
}

const ZERO: EntryId = EntryId::new(0);

/// A rogue sender that has sent three of four blocks of `a`, and comes again.
fn with_three_blocks(bytes: &[u8]) -> Rogue {
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    rogue.say(&Message::Offer(offer(0, "a", Some(bytes.len() as u64))));
    rogue.turn();
    for index in 0..3 {
        say_block(&mut rogue, bytes, index);
    }
    rogue.turn();
    rogue.again(&config(), 2)
}

fn broke(rogue: &Rogue, error: ProtocolError) {
    assert_eq!(rogue.ended(), Some(Err(Failure::Protocol(error))));
}

#[test]
fn known_entry_is_answered_with_what_is_kept_and_goes_on() {
    let bytes = content(1, 4 * KIB);
    let mut rogue = with_three_blocks(&bytes);
    rogue.say(&Message::Offer(offer(0, "a", Some(4096))));
    let have = Message::Have { entry: ZERO, first: 0, hashes: vec![], more: false, compare: false };
    let kept = Message::Kept { entry: ZERO, blocks: vec![0..3] };
    assert_eq!(rogue.turn()[..2], [kept, have]);
    say_block(&mut rogue, &bytes, 3);
    rogue.say(&Message::End { entry: ZERO, size: 4096, root: Root::of(&bytes) });
    assert!(matches!(rogue.turn()[..], [Message::Receipt { .. }, Message::Over { .. }]));
    assert!(rogue.pair.bob.reads.is_empty());
}

#[test]
fn block_that_is_kept_and_sent_again_breaks_the_protocol() {
    let bytes = content(1, 4 * KIB);
    let again = |say: &dyn Fn(&mut Rogue)| {
        let mut rogue = with_three_blocks(&bytes);
        rogue.say(&Message::Offer(offer(0, "a", Some(4096))));
        rogue.turn();
        say(&mut rogue);
        rogue.turn();
        broke(&rogue, ProtocolError::BlockAgain { entry: ZERO, index: 1 });
    };
    again(&|rogue| say_block(rogue, &bytes, 1));
    again(&|rogue| rogue.say(&Message::Zeros { entry: ZERO, blocks: 1..2 }));
}

#[test]
fn block_of_an_entry_that_is_not_offered_again_breaks_the_protocol() {
    let bytes = content(1, 4 * KIB);
    let mut rogue = with_three_blocks(&bytes);
    say_block(&mut rogue, &bytes, 3);
    rogue.turn();
    broke(&rogue, ProtocolError::UnknownEntry { kind: Name::Block, entry: ZERO });
}

#[test]
fn entry_that_is_offered_again_as_something_else_begins_anew() {
    let bytes = content(1, 4 * KIB);
    let time = crate::proto::Timestamp::new(5, 0);
    for other in [
        offer(0, "b", Some(4096)),
        offer(0, "a", Some(5000)),
        offer(0, "a", None),
        WireOffer { modified: time, ..offer(0, "a", Some(4096)) },
        WireOffer { mode: Some(0o600), ..offer(0, "a", Some(4096)) },
        WireOffer { block_size: BlockSize::at_most(2048), ..offer(0, "a", Some(4096)) },
    ] {
        let mut rogue = with_three_blocks(&bytes);
        rogue.say(&Message::Offer(other.clone()));
        let said = rogue.turn();
        assert!(
            !said.iter().any(|said| matches!(said, Message::Kept { .. })),
            "{other:?} {said:?}"
        );
        assert!(matches!(said[0], Message::Have { first: 0, .. }), "{other:?} {said:?}");
        assert_eq!(rogue.ended(), None);
    }
    // Where the offer is refused, what was open is let go.
    let mut rogue = with_three_blocks(&bytes);
    rogue.say(&Message::Offer(offer(0, "..", Some(4096))));
    assert!(matches!(rogue.turn()[0], Message::Refuse { .. }));
    assert!(rogue.pair.bob.open.is_empty());
}

#[test]
fn entry_that_is_passed_over_or_left_at_the_end_is_let_go() {
    let bytes = content(1, 4 * KIB);
    let mut rogue = with_three_blocks(&bytes);
    rogue.say_with(&Message::Offer(inline(1, "b", b"new")), b"new");
    rogue.turn();
    assert!(rogue.pair.bob.open.is_empty() && rogue.pair.bob.partial.contains_key(&path("a")));
    let mut rogue = with_three_blocks(&bytes);
    rogue.say(&Message::Out);
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Ok(())));
    assert!(rogue.pair.bob.open.is_empty() && rogue.pair.bob.partial.contains_key(&path("a")));
}

/// A rogue sender of which an entry is being committed, which takes until the test says so; it comes again.
fn with_a_commit() -> Rogue {
    let bob = Bob { is_stuck: true, ..Bob::default() };
    let mut rogue = Rogue::sender(&config(), bob).greeted();
    rogue.say_with(&Message::Offer(inline(0, "a", b"five!")), b"five!");
    rogue.over(false);
    rogue.settle();
    rogue.again(&config(), 2)
}

#[test]
fn commit_that_ends_after_a_reconnect_is_receipted_once_it_is_asked_for() {
    for before in [true, false] {
        let mut rogue = with_a_commit();
        if before {
            rogue.pair.bob.is_stuck = false;
            rogue.settle();
        }
        assert!(rogue.hear().is_empty(), "it was not offered on this connection");
        rogue.say_with(&Message::Offer(inline(0, "a", b"five!")), b"five!");
        rogue.over(true);
        rogue.settle();
        rogue.pair.bob.is_stuck = false;
        rogue.settle();
        assert!(matches!(rogue.hear()[..], [Message::Receipt { .. }, Message::Over { .. }]));
        assert_eq!(rogue.pair.bob.committed.len(), 1);
        let is_delivery = |event: &&Event| matches!(event, Event::Delivered { .. });
        assert_eq!(rogue.pair.bob.events.iter().filter(is_delivery).count(), 1);
    }
}

#[test]
fn commit_that_ends_after_its_entry_was_offered_with_other_content_is_no_misuse() {
    let mut rogue = with_a_commit();
    rogue.say_with(&Message::Offer(inline(0, "a", b"other")), b"other");
    rogue.settle();
    rogue.pair.bob.is_stuck = false;
    rogue.settle();
    rogue.turn();
    broke(&rogue, ProtocolError::UnexpectedForEntry { kind: Name::Offer, entry: ZERO });
    let is_delivery = |event: &&Event| matches!(event, Event::Delivered { .. });
    assert_eq!(rogue.pair.bob.events.iter().filter(is_delivery).count(), 1);
}

#[test]
fn other_content_for_an_entry_that_is_being_committed_breaks_the_protocol() {
    for other in [inline(0, "a", b"other"), inline(0, "b", b"five!")] {
        let mut rogue = with_a_commit();
        rogue.say_with(&Message::Offer(other), b"other");
        rogue.turn();
        broke(&rogue, ProtocolError::UnexpectedForEntry { kind: Name::Offer, entry: ZERO });
        // The commit comes to its end all the same.
        assert_eq!(rogue.pair.bob.visible[&path("a")], b"five!");
    }
}

#[test]
fn other_content_for_an_entry_that_was_receipted_is_not_receipted_for_it() {
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    rogue.say_with(&Message::Offer(inline(0, "a", b"five!")), b"five!");
    rogue.turn();
    let mut rogue = rogue.again(&config(), 2);
    rogue.say_with(&Message::Offer(inline(0, "a", b"other")), b"other");
    assert!(matches!(rogue.turn()[0], Message::Refuse { .. }), "another file has the name");
    assert_eq!(rogue.pair.bob.visible[&path("a")], b"five!");
}

#[test]
fn receipt_is_said_again_until_the_sender_has_spoken_after_it() {
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    rogue.say_with(&Message::Offer(inline(0, "a", b"five!")), b"five!");
    rogue.turn();
    for attempt in 2..5 {
        rogue = rogue.again(&config(), attempt);
        rogue.say_with(&Message::Offer(inline(0, "a", b"five!")), b"five!");
        assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
        assert_eq!((rogue.pair.bob.committed.len(), rogue.pair.bob.reads.len()), (1, 0));
    }
    // Now it has, and the entry is forgotten: it is compared with what stands there.
    rogue.say(&Message::Heartbeat { activity: crate::proto::Activity::Reading });
    rogue.settle();
    rogue = rogue.again(&config(), 5);
    rogue.say_with(&Message::Offer(inline(0, "a", b"five!")), b"five!");
    assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
    assert_eq!(rogue.pair.bob.reads.len(), 1);
}

#[test]
fn bad_news_that_was_lost_is_said_again_and_counted_once() {
    let bytes = content(1, 4 * KIB);
    let bob = Bob { fail_write: Some(2), ..Bob::default() };
    let mut rogue = Rogue::sender(&config(), bob).greeted();
    rogue.say(&Message::Offer(offer(0, "a", Some(4096))));
    rogue.turn();
    say_block(&mut rogue, &bytes, 0);
    say_block(&mut rogue, &bytes, 1);
    rogue.settle();
    for attempt in 2..4 {
        rogue = rogue.again(&config(), attempt);
        rogue.say(&Message::Offer(offer(0, "a", Some(4096))));
        assert!(matches!(rogue.turn()[0], Message::Failed { .. }));
    }
    let is_refusal = |event: &&Event| matches!(event, Event::Refused { .. });
    assert_eq!(rogue.pair.bob.events.iter().filter(is_refusal).count(), 1);
    assert_eq!(rogue.pair.receiver.summary().refused, 1);
}

#[test]
fn entries_of_former_connections_count_against_the_limits() {
    let pending = Limits::default().pending_entries(10);
    let config = config().limits(pending);
    let bob = Bob { is_stuck: true, ..Bob::default() };
    let mut rogue = Rogue::sender(&config, bob).greeted();
    for entry in 0..10 {
        rogue.say_with(&Message::Offer(inline(entry, &format!("{entry}"), b"x")), b"x");
        rogue.settle();
    }
    let mut rogue = rogue.again(&config, 2);
    rogue.say_with(&Message::Offer(inline(10, "10", b"x")), b"x");
    rogue.turn();
    broke(&rogue, ProtocolError::TooManyPending { entry: EntryId::new(10), limit: 10 });

    let config = super::parked::config().limits(Limits::default().open_entries(2));
    let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
    for entry in 5..7 {
        rogue.say(&Message::Offer(offer(entry, &format!("{entry}"), Some(4096))));
    }
    rogue.turn();
    let mut rogue = rogue.again(&config, 2);
    rogue.say(&Message::Offer(offer(0, "0", Some(4096))));
    rogue.turn();
    broke(&rogue, ProtocolError::TooManyPending { entry: ZERO, limit: 2 });

    let config = super::parked::config().limits(Limits::default().pending_names(10));
    let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
    rogue.say(&Message::Offer(offer(5, "ninechars", Some(4096))));
    rogue.turn();
    let mut rogue = rogue.again(&config, 2);
    rogue.say(&Message::Offer(offer(0, "aa", Some(4096))));
    rogue.turn();
    broke(&rogue, ProtocolError::TooManyNames { limit: 10 });
}

#[test]
fn bytes_and_entries_that_are_offered_again_are_counted_once() {
    let limits = Limits::default().entries(1).total_bytes(5);
    let config = config().limits(limits);
    let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
    rogue.say_with(&Message::Offer(inline(0, "a", b"five!")), b"five!");
    rogue.turn();
    for attempt in 2..4 {
        rogue = rogue.again(&config, attempt);
        rogue.say_with(&Message::Offer(inline(0, "a", b"five!")), b"five!");
        assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
    }
    rogue.say_with(&Message::Offer(inline(1, "b", b"")), b"");
    assert!(
        matches!(rogue.turn()[0], Message::Refuse { .. }),
        "the limits hold over all connections"
    );
}

#[test]
fn receiver_takes_over_one_older_attempt_of_the_same_transfer_and_nothing_else() {
    let receiver = |config: &Config, change: &dyn Fn(&mut crate::proto::message::Hello)| {
        let rogue = Rogue::sender(config, Bob::default());
        std::mem::replace(
            &mut rogue.hello(change).greeted().pair.receiver,
            Receiver::new(config.clone(), [0; 16], Duration::ZERO),
        )
    };
    let first = |_: &mut crate::proto::message::Hello| {};
    let fresh = || Receiver::new(config(), [0; 16], Duration::ZERO);
    // A session that has greeted, and has not been polled since.
    let new = |attempt| {
        let mut rogue =
            Rogue::sender(&config(), Bob::default()).hello(|hello| hello.attempt = attempt);
        rogue.raw(&PREFACE);
        rogue.say_hello();
        while rogue.pair.bob.events.is_empty() {
            assert!(rogue.pair.step_receiver());
        }
        rogue.pair.receiver
    };
    let refused = Err(Failure::Misuse(Misuse::Former));
    assert_eq!(fresh().adopt(receiver(&config(), &first)), refused, "nobody has greeted");
    assert_eq!(new(2).adopt(fresh()), refused, "the former was not greeted");
    assert_eq!(new(1).adopt(receiver(&config(), &first)), refused, "the same attempt");
    let other =
        |hello: &mut crate::proto::message::Hello| hello.transfer = TransferId::new([3; 16]);
    assert_eq!(new(2).adopt(receiver(&config(), &other)), refused, "another transfer");
    let weaker = config().durability(crate::Durability::Received);
    assert_eq!(new(2).adopt(receiver(&weaker, &first)), refused, "another promise");
    let mut twice = new(3);
    assert_eq!(twice.adopt(receiver(&config(), &first)), Ok(()));
    let second = |hello: &mut crate::proto::message::Hello| hello.attempt = 2;
    assert_eq!(twice.adopt(receiver(&config(), &second)), refused, "one was taken over");
    // It goes on as if it had not been asked.
    assert!(twice.poll(Duration::ZERO, &mut Vec::new()).is_ok());
    let mut late = receiver(&config(), &second);
    assert_eq!(late.adopt(receiver(&config(), &first)), refused, "the sender has its answer");
}

#[test]
fn zeros_for_a_block_that_was_written_and_is_not_kept_are_written() {
    let mut bytes = content(1, 2100 * KIB);
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    let whole = offer(0, "a", Some(bytes.len() as u64));
    rogue.say(&Message::Offer(whole.clone()));
    rogue.turn();
    for index in (0..2100).step_by(2) {
        say_block(&mut rogue, &bytes, index);
        rogue.settle();
    }
    let mut rogue = rogue.again(&config(), 2);
    rogue.say(&Message::Offer(whole));
    assert!(matches!(rogue.turn()[0], Message::Kept { .. }));
    // More ranges than can be said: this block is not kept, and is another one by now.
    bytes[2048 * KIB..2049 * KIB].fill(0);
    for index in (0..2100).filter(|index| index % 2 == 1 || *index > 2048) {
        say_block(&mut rogue, &bytes, index);
        rogue.settle();
    }
    rogue.say(&Message::Zeros { entry: ZERO, blocks: 2048..2049 });
    rogue.say(&Message::End { entry: ZERO, size: bytes.len() as u64, root: Root::of(&bytes) });
    assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
    assert!(rogue.pair.bob.visible[&path("a")] == bytes, "what is receipted is what is held");
}

#[test]
fn report_of_a_block_that_was_written_and_is_not_kept_is_of_what_is_held() {
    let (bytes, old) = (content(1, 2100 * KIB), content(2, 2100 * KIB));
    let bob = Bob { partial: [(path("a"), old.clone())].into(), ..Bob::default() };
    let mut rogue = Rogue::sender(&config(), bob).greeted();
    let whole = offer(0, "a", Some(bytes.len() as u64));
    rogue.say(&Message::Offer(whole.clone()));
    let have = |said: Vec<Message>| {
        said.into_iter().find_map(|message| match message {
            Message::Have { first, hashes, .. } => Some((first, hashes)),
            _ => None,
        })
    };
    let hash = |content: &[u8], index: u64| {
        let start = usize::try_from(index).unwrap() * KIB;
        BlockSize::MIN.hash(index, &content[start..start + KIB]).unwrap().hash
    };
    let (first, hashes) = have(rogue.turn()).unwrap();
    assert_eq!((first, hashes.last()), (0, Some(&hash(&old, 2099))));
    for index in (0..2100).step_by(2) {
        say_block(&mut rogue, &bytes, index);
        rogue.settle();
    }
    let mut rogue = rogue.again(&config(), 2);
    rogue.say(&Message::Offer(whole));
    let (first, hashes) = have(rogue.turn()).unwrap();
    assert_eq!(first, 1);
    for (index, held) in (first..).zip(hashes) {
        // Those before are kept, and nobody asks what they were.
        if index % 2 == 1 || index >= 2048 {
            let content = if index % 2 == 1 { &old } else { &bytes };
            assert_eq!(held, hash(content, index), "{index}");
        }
    }
}

#[test]
fn more_ranges_than_can_be_said_are_not_kept() {
    let bytes = content(1, 2100 * KIB);
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    let whole = offer(0, "a", Some(bytes.len() as u64));
    rogue.say(&Message::Offer(whole.clone()));
    rogue.turn();
    for index in (0..2100).step_by(2) {
        say_block(&mut rogue, &bytes, index);
        rogue.settle();
    }
    let mut rogue = rogue.again(&config(), 2);
    rogue.say(&Message::Offer(whole));
    let said = rogue.turn();
    let Message::Kept { blocks, .. } = &said[0] else { panic!("{said:?}") };
    assert_eq!((blocks.len(), blocks.last()), (1024, Some(&(2046..2047))));
    for index in (0..2100).filter(|index| index % 2 == 1 || *index >= 2048) {
        say_block(&mut rogue, &bytes, index);
        rogue.settle();
    }
    rogue.say(&Message::End { entry: ZERO, size: bytes.len() as u64, root: Root::of(&bytes) });
    assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
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
    pair.reconnect_parked(&config(), 2);
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
    pair.reconnect_parked(&config, 2);
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

/// A rogue receiver to which two of five blocks of a file have travelled, and to which the sender comes again.
fn with_two_blocks() -> Rogue {
    let turn = Turn::default().initial_bytes(2000).max_bytes(2000);
    let config = config().turn(turn);
    let files = vec![(Meta::file(path("a"), Some(5000)), content(1, 5000))];
    let mut rogue = Rogue::receiver(&config, Alice { files, ..Alice::default() }).greeted();
    rogue.hear();
    rogue.say(&have(0, 0, false));
    rogue.over(true);
    rogue.settle();
    let blocks = rogue.hear().into_iter().filter(|said| matches!(said, Message::Block { .. }));
    assert_eq!(blocks.count(), 2);
    let mut rogue = rogue.again(&config, 2);
    rogue.hear();
    rogue
}

fn have(first: u64, hashes: usize, compare: bool) -> Message {
    let hashes = vec![BlockHash::from_bytes([7; 32]); hashes];
    Message::Have { entry: ZERO, first, hashes, more: false, compare }
}

fn kept(blocks: std::ops::Range<u64>) -> Message {
    Message::Kept { entry: ZERO, blocks: vec![blocks] }
}

#[test]
fn receiver_that_keeps_more_than_ever_travelled_is_found_out() {
    let unexpected = |kind| ProtocolError::UnexpectedForEntry { kind, entry: ZERO };
    for (said, error) in [
        (vec![kept(0..3)], Some(Name::Kept)),
        (vec![kept(4..5)], Some(Name::Kept)),
        (vec![have(3, 0, false)], Some(Name::Have)),
        (vec![have(3, 0, true)], Some(Name::Have)),
        (vec![have(0, 0, false), have(0, 0, false)], Some(Name::Have)),
        (vec![kept(0..2), have(0, 0, false)], None),
        (vec![kept(1..2), have(2, 0, false)], None),
        (vec![have(2, 1, true)], None),
    ] {
        let mut rogue = with_two_blocks();
        said.iter().for_each(|message| rogue.say(message));
        rogue.over(true);
        rogue.settle();
        let expected = error.map(|kind| Err(Failure::Protocol(unexpected(kind))));
        assert_eq!(rogue.ended(), expected, "{said:?}");
    }
}

#[test]
fn receiver_that_keeps_blocks_of_what_differs_is_found_out() {
    let mut rogue = with_two_blocks();
    rogue.say(&have(0, 5, true));
    rogue.over(true);
    rogue.settle();
    assert!(rogue.hear().contains(&Message::Differs { entry: ZERO }));
    rogue.say(&kept(0..1));
    rogue.over(true);
    rogue.settle();
    broke(&rogue, ProtocolError::UnexpectedForEntry { kind: Name::Kept, entry: ZERO });
}

#[test]
fn report_goes_on_once_what_is_kept_reaches_its_end() {
    // Each piece of what is held has one block.
    let config = config().turn(Turn::default().max_time(Duration::ZERO));
    let bytes = content(1, 6 * KIB);
    let mut bob = Bob::default();
    bob.partial.insert(path("a"), bytes.clone());
    let mut rogue = Rogue::sender(&config, bob).greeted();
    rogue.say(&Message::Offer(offer(0, "a", Some(6144))));
    rogue.turn();
    for index in 0..2 {
        rogue.say(&Message::Same { entry: ZERO, blocks: index..index + 1 });
        rogue.turn();
    }
    // One comes damaged, and is not sent again before the next.
    let hash = BlockHash::from_bytes([7; 32]);
    rogue.say_with(&Message::Block { entry: ZERO, index: 2, hash }, &[9; 1024]);
    rogue.turn();
    rogue.say(&Message::Same { entry: ZERO, blocks: 3..4 });
    rogue.settle();
    let mut rogue = rogue.again(&config, 2);
    rogue.say(&Message::Offer(offer(0, "a", Some(6144))));
    let said = rogue.turn();
    assert_eq!(said[0], Message::Kept { entry: ZERO, blocks: vec![0..2, 3..4] });
    assert!(matches!(said[1], Message::Have { first: 3, more: true, .. }), "{said:?}");
    say_block(&mut rogue, &bytes, 2);
    let said = rogue.turn();
    let is_next = |said: &Message| matches!(said, Message::Have { first: 4, .. });
    assert!(said.iter().any(is_next), "{said:?}");
    check_reads(&rogue.pair, &|| "held blocks".into());
}
