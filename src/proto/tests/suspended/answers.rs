//! Answers that the sender may not have received: they are sent again, and counted once.

use super::{KIB, ZERO, config, offer, send_block};
use crate::config::{Compare, Config};
use crate::proto::tests::pair::{Bob, content, path};
use crate::proto::tests::rogue::{Rogue, inline};
use crate::proto::wire::message::{Message, Reason, WireOffer};
use crate::types::{Event, Timestamp};

/// Returns a rogue sender of which an entry is being committed, which takes until the test says so; it
/// comes again.
fn with_a_commit() -> Rogue {
    with_a_commit_under(&config())
}

fn with_a_commit_under(config: &Config) -> Rogue {
    let bob = Bob { is_stuck: true, ..Bob::default() };
    let mut rogue = Rogue::sender(config, bob).greeted();
    rogue.send_with(&Message::Offer(inline(0, b"a", b"five!")), b"five!");
    rogue.over(false);
    rogue.settle();
    rogue.again(config, 2)
}

#[test]
fn commit_that_ends_after_a_reconnect_is_receipted_once_it_is_asked_for() {
    for before in [true, false] {
        let mut rogue = with_a_commit();
        if before {
            rogue.pair.bob.is_stuck = false;
            rogue.settle();
        }
        assert!(rogue.receive().is_empty(), "it was not offered on this connection");
        rogue.send_with(&Message::Offer(inline(0, b"a", b"five!")), b"five!");
        rogue.over(true);
        rogue.settle();
        rogue.pair.bob.is_stuck = false;
        rogue.settle();
        assert!(matches!(rogue.receive()[..], [Message::Receipt { .. }, Message::Over { .. }]));
        assert_eq!(rogue.pair.bob.committed.len(), 1);
        let is_delivery = |event: &&Event| matches!(event, Event::Delivered { .. });
        assert_eq!(rogue.pair.bob.events.iter().filter(is_delivery).count(), 1);
    }
}

/// A commit is known by its ticket: what is offered by the entry meanwhile is another matter.
#[test]
fn other_content_for_an_entry_that_is_being_committed_is_answered_for_itself() {
    for name in ["a", "b"] {
        let mut rogue = with_a_commit();
        rogue.send_with(&Message::Offer(inline(0, name.as_bytes(), b"other")), b"other");
        rogue.settle();
        rogue.pair.bob.is_stuck = false;
        let said = rogue.turn();
        let delivered = |message: &Message| match message {
            Message::Receipt { root, .. } => *root == crate::hash::Hash::of(b"other"),
            message => name == "a" && matches!(message, Message::Refuse { .. }),
        };
        assert_eq!(said.iter().filter(|message| delivered(message)).count(), 1, "{said:?}");
        // The commit came to its end all the same.
        assert_eq!(rogue.pair.bob.visible[&path("a")], b"five!");
        assert_eq!(rogue.pair.receiver.commits(), 0);
        assert_eq!(rogue.ended(), None);
    }
}

fn asking(entry: u32, size: u64) -> WireOffer {
    let modified = Timestamp::new(1, 2);
    WireOffer { by_time: true, modified, ..offer(entry, "a", Some(size)) }
}

#[test]
fn entry_that_is_being_committed_is_offered_by_time_without_harm() {
    let mut rogue = with_a_commit_under(&config().compare(Compare::SizeAndTime));
    rogue.send(&Message::Offer(asking(0, 5)));
    rogue.settle();
    rogue.pair.bob.is_stuck = false;
    rogue.turn();
    assert_eq!(rogue.ended(), None);
    assert_eq!(rogue.pair.bob.visible[&path("a")], b"five!");
    assert_eq!(rogue.pair.receiver.commits(), 0);
}

/// A file was open on a connection that was lost, and is now offered by time: what was open is closed, whatever
/// follows.
#[test]
fn file_that_is_offered_again_by_time_is_closed_and_kept() {
    let config = config().compare(Compare::SizeAndTime);
    let bytes = content(1, 5 * KIB);
    for is_withdrawn in [false, true] {
        let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
        rogue.send(&Message::Offer(WireOffer { by_time: false, ..asking(0, 5 * 1024) }));
        rogue.turn();
        send_block(&mut rogue, &bytes, 0);
        rogue.settle();
        assert_eq!(rogue.pair.bob.open.len(), 1);
        let mut rogue = rogue.again(&config, 2);
        rogue.send(&Message::Offer(asking(0, 5 * 1024)));
        if is_withdrawn {
            let reason = Reason { code: 1, first: 0, second: 0 };
            rogue.send(&Message::Withdraw { entry: ZERO, reason });
        }
        rogue.settle();
        assert_eq!(rogue.pair.bob.open.len(), 0, "what is stale is not open");
        assert_eq!(rogue.pair.bob.partial[&path("a")].len(), KIB, "it is kept for a later attempt");
    }
}

#[test]
fn other_content_for_an_entry_that_was_receipted_is_not_receipted_for_it() {
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    rogue.send_with(&Message::Offer(inline(0, b"a", b"five!")), b"five!");
    rogue.turn();
    let mut rogue = rogue.again(&config(), 2);
    rogue.send_with(&Message::Offer(inline(0, b"a", b"other")), b"other");
    assert!(matches!(rogue.turn()[0], Message::Refuse { .. }), "another file has the name");
    assert_eq!(rogue.pair.bob.visible[&path("a")], b"five!");
}

#[test]
fn receipt_is_said_again_until_the_sender_has_spoken_after_it() {
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    rogue.send_with(&Message::Offer(inline(0, b"a", b"five!")), b"five!");
    rogue.turn();
    for attempt in 2..5 {
        rogue = rogue.again(&config(), attempt);
        rogue.send_with(&Message::Offer(inline(0, b"a", b"five!")), b"five!");
        assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
        assert_eq!((rogue.pair.bob.committed.len(), rogue.pair.bob.reads.len()), (1, 0));
    }
    // Now it has, and the entry is forgotten: it is compared with what stands there.
    rogue.send(&Message::Heartbeat { activity: crate::types::Activity::Reading });
    rogue.settle();
    rogue = rogue.again(&config(), 5);
    rogue.send_with(&Message::Offer(inline(0, b"a", b"five!")), b"five!");
    assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
    assert_eq!(rogue.pair.bob.reads.len(), 1);
}

#[test]
fn bad_news_that_was_lost_is_said_again_and_counted_once() {
    let bytes = content(1, 4 * KIB);
    let bob = Bob { fail_write: Some(2), ..Bob::default() };
    let mut rogue = Rogue::sender(&config(), bob).greeted();
    rogue.send(&Message::Offer(offer(0, "a", Some(4096))));
    rogue.turn();
    send_block(&mut rogue, &bytes, 0);
    send_block(&mut rogue, &bytes, 1);
    rogue.settle();
    for attempt in 2..4 {
        rogue = rogue.again(&config(), attempt);
        rogue.send(&Message::Offer(offer(0, "a", Some(4096))));
        assert!(matches!(rogue.turn()[0], Message::Refuse { .. }));
    }
    let is_refusal = |event: &&Event| matches!(event, Event::Refused { .. });
    assert_eq!(rogue.pair.bob.events.iter().filter(is_refusal).count(), 1);
    assert_eq!(rogue.pair.receiver.summary().refused, 1);
}
