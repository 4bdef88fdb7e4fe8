//! Only what moves an entry puts the idle deadline off, and who waits for an answer must be owed one.

use std::time::Duration;

use super::pair::{Alice, Bob, Pair, content, path};
use super::rogue::{Rogue, inline, wire};
use crate::config::{Config, Turn};
use crate::hash::BlockSize;
use crate::proto::SendAction;
use crate::proto::error::{Error, ProtocolError, Stall};
use crate::proto::wire::message::{Message, Name, Reason, WireOffer};
use crate::types::{Activity, EntryId, Kind, Meta};

const ZERO: EntryId = EntryId::new(0);
const IDLE: Duration = Duration::from_secs(15 * 60);

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

fn sender() -> Rogue {
    Rogue::sender(&config(), Bob::default()).greeted()
}

fn heartbeat() -> Message {
    Message::Heartbeat { activity: Activity::Reading }
}

/// Sends the same every four seconds, in a turn of its own; returns how long the receiver bears it, two hours at
/// most.
#[track_caller]
fn borne(mut rogue: Rogue, said: &[Message]) -> Duration {
    let start = rogue.pair.now;
    while rogue.ended().is_none() && rogue.pair.now - start < Duration::from_secs(7200) {
        said.iter().for_each(|message| rogue.send(message));
        rogue.turn_without_waiting();
        for _ in 0..4 {
            rogue.wait(Duration::from_secs(1));
        }
    }
    let borne = rogue.pair.now - start;
    if rogue.ended().is_some() {
        let stall = Error::Stalled(Stall::Idle { after: IDLE });
        assert_eq!(rogue.ended(), Some(Err(stall)));
    }
    borne
}

#[test]
fn sender_of_turns_that_move_nothing_is_left_at_the_deadline() {
    let unknown = Message::Heartbeat { activity: Activity::from_code(200) };
    let stream = || {
        let mut rogue = sender();
        rogue.send(&Message::Offer(wire(0, b"a", None)));
        rogue.turn();
        rogue
    };
    let damaged = || {
        let mut rogue = stream();
        // A block that is not what its hash says moves nothing.
        let hash = BlockSize::MIN.hash(0, &[1; 1024]).unwrap().hash;
        rogue.send_with(&Message::Block { entry: ZERO, index: 0, hash }, &[2; 1024]);
        rogue.settle();
        rogue
    };
    for (what, rogue, said) in [
        ("nothing at all", sender(), vec![]),
        ("heartbeats, and nothing is pending", sender(), vec![heartbeat()]),
        ("activities that nobody knows, and nothing is pending", sender(), vec![unknown]),
        ("nothing, with content due", stream(), vec![]),
        ("nothing, after damaged content", damaged(), vec![]),
    ] {
        assert_eq!(borne(rogue, &said), IDLE, "{what}");
    }
}

#[test]
fn sender_of_kinds_that_nobody_knows_in_turns_is_left_at_the_deadline() {
    let mut rogue = sender();
    while rogue.ended().is_none() {
        rogue.send_raw(0x80, &[], &[]);
        rogue.turn_without_waiting();
        rogue.wait(Duration::from_secs(5));
        assert!(rogue.pair.now <= IDLE);
    }
    assert_eq!(rogue.ended(), Some(Err(Error::Stalled(Stall::Idle { after: IDLE }))));
}

#[test]
fn sender_whose_source_has_nothing_is_borne_as_long_as_it_says_so_with_content_due() {
    let mut rogue = sender();
    rogue.send(&Message::Offer(wire(0, b"a", None)));
    rogue.turn();
    assert_eq!(borne(rogue, &[heartbeat()]), Duration::from_secs(7200));
}

#[test]
fn sender_is_quiet_from_its_first_turn_that_moves_nothing_until_something_moves() {
    let mut rogue = sender();
    assert_eq!(rogue.pair.receiver.quiet_since(), None, "the greeting is no turn");
    rogue.send(&Message::Offer(wire(0, b"a", None)));
    rogue.turn_without_waiting();
    for (index, said) in (0..).zip([vec![], vec![heartbeat()]]) {
        let quiet = rogue.pair.now;
        for _ in 0..10 {
            said.iter().for_each(|message| rogue.send(message));
            rogue.turn_without_waiting();
            assert_eq!(rogue.pair.receiver.quiet_since(), Some(quiet), "{said:?}");
            rogue.wait(Duration::from_secs(5));
        }
        let hash = BlockSize::MIN.hash(index, &[1; 1024]).unwrap().hash;
        rogue.send_with(&Message::Block { entry: ZERO, index, hash }, &[1; 1024]);
        rogue.settle();
        assert_eq!(rogue.pair.receiver.quiet_since(), None, "content came");
    }
    assert_eq!(rogue.ended(), None);
}

#[test]
fn sender_that_moves_an_entry_now_and_then_is_borne() {
    let mut rogue = sender();
    rogue.send(&Message::Offer(wire(0, b"a", None)));
    rogue.turn();
    for index in 0..10 {
        // Each time just before the deadline, which begins anew.
        for _ in 0..IDLE.as_secs() / 20 - 1 {
            rogue.wait(Duration::from_secs(20));
            rogue.turn_without_waiting();
        }
        assert_eq!(rogue.ended(), None, "{index}");
        let hash = BlockSize::MIN.hash(index, &[1; 1024]).unwrap().hash;
        rogue.send_with(&Message::Block { entry: ZERO, index, hash }, &[1; 1024]);
        rogue.settle();
    }
    assert_eq!(borne(rogue, &[]), IDLE);
}

#[test]
fn time_of_the_receivers_own_turns_is_not_the_senders() {
    let mut rogue = sender();
    rogue.send(&Message::Offer(wire(0, b"a", None)));
    rogue.send(&Message::Offer(WireOffer { kind: Kind::Directory, ..wire(1, b"d", Some(0)) }));
    rogue.send(&Message::Withdraw { entry: ZERO, reason: Reason { code: 1, first: 0, second: 0 } });
    rogue.pair.bob.is_stuck = true;
    rogue.over(true);
    rogue.settle();
    // The device takes longer to sync than anybody should be idle.
    for _ in 0..400 {
        rogue.wait(Duration::from_secs(5));
    }
    rogue.pair.bob.is_stuck = false;
    rogue.settle();
    assert!(rogue.receive().iter().any(|message| message.name() == Name::Receipt));
    assert_eq!(borne(rogue, &[]), IDLE);
}

/// Checks that the sender is informed at once that it broke this rule.
#[track_caller]
fn is_told(mut rogue: Rogue, error: ProtocolError) {
    rogue.settle();
    let said: Vec<_> = rogue.receive().iter().map(Message::name).collect();
    assert_eq!(said.last(), Some(&Name::Abort), "{said:?}");
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
}

#[test]
fn sender_that_waits_with_nothing_pending_breaks_a_rule() {
    let mut nothing = sender();
    nothing.over(true);
    let mut settled = sender();
    settled.send_with(&Message::Offer(inline(0, b"a", b"ok")), b"ok");
    let said = settled.turn();
    assert!(said.iter().any(|message| message.name() == Name::Receipt));
    settled.over(true);
    let mut withdrawn = sender();
    withdrawn.send(&Message::Offer(wire(0, b"a", Some(3000))));
    withdrawn.turn();
    let reason = Reason { code: 1, first: 0, second: 0 };
    withdrawn.send(&Message::Withdraw { entry: ZERO, reason });
    withdrawn.over(true);
    for rogue in [nothing, settled, withdrawn] {
        is_told(rogue, ProtocolError::WaitsForNothing);
    }
}

#[test]
fn sender_that_waits_though_content_is_due_breaks_a_rule() {
    let mut rogue = sender();
    rogue.send(&Message::Offer(wire(0, b"a", Some(3000))));
    rogue.turn();
    rogue.over(true);
    is_told(rogue, ProtocolError::WaitsForNothing);
}

#[test]
fn sender_that_waits_is_never_answered_with_nothing() {
    // What it waits for takes as long as it takes: heartbeats, and then an answer.
    let mut rogue = sender();
    rogue.pair.bob.is_stuck = true;
    rogue.send_with(&Message::Offer(inline(0, b"a", b"ok")), b"ok");
    rogue.over(true);
    rogue.settle();
    for _ in 0..100 {
        rogue.wait(Duration::from_secs(5));
        assert_eq!(rogue.receive(), [Message::Heartbeat { activity: Activity::Syncing }]);
    }
    rogue.pair.bob.is_stuck = false;
    rogue.settle();
    let said: Vec<_> = rogue.receive().iter().map(Message::name).collect();
    assert_eq!(said, [Name::Receipt, Name::Over]);
}

#[test]
fn sender_that_leaves_with_entries_pending_is_told_at_once() {
    for is_closing in [false, true] {
        let mut rogue = sender();
        rogue.send(&Message::Offer(wire(0, b"a", Some(3000))));
        rogue.turn();
        let mut error = ProtocolError::Unexpected { kind: Name::Out };
        if is_closing {
            // What ended the session before stands.
            error = ProtocolError::UnknownEntry { kind: Name::Claim, entry: EntryId::new(7) };
            rogue.send(&Message::Claim { entry: EntryId::new(7), root: None });
        }
        rogue.send(&Message::Out);
        let before = rogue.pair.now;
        is_told(rogue, error);
        assert_eq!(before, Duration::ZERO);
    }
}

#[test]
fn receiver_of_turns_that_move_nothing_is_left_at_the_deadline() {
    // The sender has content that its source does not give, and is not waiting: its own time is not the receiver's.
    let files = vec![(Meta::file(path("a"), Some(3000)), content(1, 3000))];
    let alice = Alice { files, ..Alice::default() };
    let mut rogue = Rogue::receiver(&config(), alice).greeted();
    rogue.receive();
    let start = rogue.pair.now;
    while rogue.ended().is_none() {
        rogue.send(&Message::Heartbeat { activity: Activity::Syncing });
        rogue.wait(Duration::from_secs(5));
    }
    assert_eq!(rogue.pair.now - start, IDLE);
}

#[test]
fn source_that_has_nothing_for_hours_does_not_end_the_session() {
    for max_time in [Duration::from_secs(5), Duration::from_secs(1), Duration::ZERO] {
        let config = config().turn(Turn::default().max_time(max_time));
        let mut pair = Pair::new(&config, &[("a", content(1, 5000))]).unsized_files(None);
        while pair.bob.partial.get(&path("a")).is_none_or(Vec::is_empty) {
            assert!(pair.step_sender() | pair.step_receiver());
        }
        pair.alice.is_stuck = true;
        while pair.now < 4 * IDLE {
            if !(pair.step_sender() | pair.step_receiver()) {
                pair.now += Duration::from_millis(100);
            }
            assert_eq!((pair.alice.ended, pair.bob.ended), (None, None), "{:?}", pair.now);
        }
        pair.alice.is_stuck = false;
        while pair.alice.ended.is_none() || pair.bob.ended.is_none() {
            assert!(pair.step_sender() | pair.step_receiver());
        }
        assert!(pair.bob.visible[&path("a")] == content(1, 5000));
    }
}

#[test]
fn sender_whose_source_has_nothing_says_so_in_each_turn() {
    let config = config().turn(Turn::default().max_time(Duration::from_secs(1)));
    let files = vec![(Meta::file(path("a"), None), content(1, 3000))];
    let alice = Alice { files, ..Alice::default() };
    let mut rogue = Rogue::receiver(&config, alice).greeted();
    rogue.receive();
    rogue.pair.alice.is_stuck = true;
    let hashes = Vec::new();
    rogue.send(&Message::Have { entry: ZERO, first: 0, hashes, more: false, compare: false });
    for _ in 0..20 {
        rogue.over(true);
        rogue.settle();
        let said: Vec<_> = rogue.receive().iter().map(Message::name).collect();
        assert_eq!(said, [Name::Heartbeat, Name::Over]);
        let action = rogue.pair.sender.poll(rogue.pair.now, &mut Vec::new());
        assert!(matches!(action, Ok(SendAction::Await { .. })), "{action:?}");
    }
}
