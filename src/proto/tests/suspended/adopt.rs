//! Adoption of earlier receivers, whose entries count against the limits.

use std::time::Duration;

use super::{ZERO, broke, config, offer};
use crate::config::{Config, Limits};
use crate::proto::tests::pair::Bob;
use crate::proto::tests::rogue::{Rogue, inline};
use crate::proto::wire::frame::PREFACE;
use crate::proto::wire::message::{Hello, Message};
use crate::proto::{Error, Misuse, ProtocolError, Receiver};
use crate::types::{EntryId, TransferId};

#[test]
fn entries_of_earlier_connections_count_against_the_limits() {
    let pending = Limits::default().pending_entries(10);
    let config = config().limits(pending);
    let bob = Bob { is_stuck: true, ..Bob::default() };
    let mut rogue = Rogue::sender(&config, bob).greeted();
    for entry in 0..10 {
        rogue.send_with(&Message::Offer(inline(entry, format!("{entry}").as_bytes(), b"x")), b"x");
        rogue.settle();
    }
    let mut rogue = rogue.again(&config, 2);
    rogue.send_with(&Message::Offer(inline(10, b"10", b"x")), b"x");
    rogue.turn();
    broke(&rogue, ProtocolError::TooManyPending { entry: EntryId::new(10), limit: 10 });

    let config = super::config().limits(Limits::default().open_entries(2));
    let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
    for entry in 5..7 {
        rogue.send(&Message::Offer(offer(entry, &format!("{entry}"), Some(4096))));
    }
    rogue.turn();
    let mut rogue = rogue.again(&config, 2);
    rogue.send(&Message::Offer(offer(0, "0", Some(4096))));
    rogue.turn();
    broke(&rogue, ProtocolError::TooManyPending { entry: ZERO, limit: 2 });

    let config = super::config().limits(Limits::default().pending_names(10));
    let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
    rogue.send(&Message::Offer(offer(5, "ninechars", Some(4096))));
    rogue.turn();
    let mut rogue = rogue.again(&config, 2);
    rogue.send(&Message::Offer(offer(0, "aa", Some(4096))));
    rogue.turn();
    broke(&rogue, ProtocolError::TooManyNames { limit: 10 });
}

#[test]
fn bytes_and_entries_that_are_offered_again_are_counted_once() {
    let limits = Limits::default().entries(1).total_bytes(5);
    let config = config().limits(limits);
    let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
    rogue.send_with(&Message::Offer(inline(0, b"a", b"five!")), b"five!");
    rogue.turn();
    for attempt in 2..4 {
        rogue = rogue.again(&config, attempt);
        rogue.send_with(&Message::Offer(inline(0, b"a", b"five!")), b"five!");
        assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
    }
    rogue.send_with(&Message::Offer(inline(1, b"b", b"")), b"");
    assert!(
        matches!(rogue.turn()[0], Message::Refuse { .. }),
        "the limits hold over all connections"
    );
}

#[test]
fn receiver_takes_over_one_older_attempt_of_the_same_transfer_and_nothing_else() {
    let receiver = |config: &Config, change: &dyn Fn(&mut Hello)| {
        let rogue = Rogue::sender(config, Bob::default());
        std::mem::replace(
            &mut rogue.hello(change).greeted().pair.receiver,
            Receiver::new(config.clone(), [0; 16], Duration::ZERO),
        )
    };
    let first = |_: &mut Hello| {};
    let fresh = || Receiver::new(config(), [0; 16], Duration::ZERO);
    // A session that has greeted, and has not been polled since.
    let new = |attempt| {
        let mut rogue =
            Rogue::sender(&config(), Bob::default()).hello(|hello| hello.attempt = attempt);
        rogue.raw(&PREFACE);
        rogue.send_hello();
        while rogue.pair.bob.events.is_empty() {
            assert!(rogue.pair.step_receiver());
        }
        rogue.pair.receiver
    };
    let refused = Err(Error::Misuse(Misuse::Earlier));
    assert_eq!(fresh().adopt(receiver(&config(), &first)), refused, "nobody has greeted");
    assert_eq!(new(2).adopt(fresh()), refused, "the earlier was not greeted");
    assert_eq!(new(1).adopt(receiver(&config(), &first)), refused, "the same attempt");
    let other = |hello: &mut Hello| hello.transfer = TransferId::new([3; 16]);
    assert_eq!(new(2).adopt(receiver(&config(), &other)), refused, "another transfer");
    let mut claimed = new(0);
    claimed.number_attempt(9);
    assert_eq!(claimed.adopt(receiver(&config(), &first)), refused, "the sender knows nothing");
    let weaker = config().durability(crate::Durability::Received);
    assert_eq!(new(2).adopt(receiver(&weaker, &first)), refused, "another promise");
    let mut twice = new(3);
    assert_eq!(twice.adopt(receiver(&config(), &first)), Ok(()));
    let second = |hello: &mut Hello| hello.attempt = 2;
    assert_eq!(twice.adopt(receiver(&config(), &second)), refused, "one was taken over");
    // It goes on as if it had not been asked.
    assert!(twice.poll(Duration::ZERO, &mut Vec::new()).is_ok());
    let mut late = receiver(&config(), &second);
    assert_eq!(late.adopt(receiver(&config(), &first)), refused, "the sender has its answer");
}
