//! Greetings that do not fit, from either side.

use std::ops::RangeInclusive;

use super::{config, ends, sender};
use crate::proto::Receiver;
use crate::proto::error::{Error, Incompatible, ProtocolError};
use crate::proto::tests::pair::{Alice, Bob, Pair, content, path};
use crate::proto::tests::rogue::Rogue;
use crate::proto::wire::frame::PREFACE;
use crate::proto::wire::message::{Hello, Message, Name};
use crate::types::{AbortCode, Meta};

#[test]
fn peer_of_other_versions_is_incompatible() {
    for versions in [2..=2, 0..=0, 2..=u16::MAX, RangeInclusive::new(5, 1)] {
        let (min, max) = (*versions.start(), *versions.end());
        let failure = Incompatible::Version { min, max, our_min: 1, our_max: 1 };
        let range = versions.clone();
        let rogue = Rogue::sender(&config(), Bob::default()).hello(|hello| hello.versions = range);
        assert_eq!(rogue.greeted().ended(), Some(Err(failure.into())));
        let rogue =
            Rogue::receiver(&config(), Alice::default()).hello(|hello| hello.versions = versions);
        assert_eq!(rogue.greeted().ended(), Some(Err(failure.into())));
    }
    for versions in [0..=1, 1..=u16::MAX] {
        let rogue =
            Rogue::sender(&config(), Bob::default()).hello(|hello| hello.versions = versions);
        assert_eq!(rogue.greeted().ended(), None);
    }
}

#[test]
fn peer_that_needs_unknown_features_is_incompatible_and_one_that_has_them_is_not() {
    let rogue = Rogue::sender(&config(), Bob::default()).hello(|hello| hello.required = 1 << 31);
    let failure = Incompatible::Features { features: 1 << 31 };
    assert_eq!(rogue.greeted().ended(), Some(Err(failure.into())));
    let rogue = Rogue::sender(&config(), Bob::default()).hello(|hello| hello.offered = u32::MAX);
    assert_eq!(rogue.greeted().ended(), None);
}

#[test]
fn peer_of_the_same_role_is_incompatible() {
    let rogue = Rogue::sender(&config(), Bob::default()).hello(|hello| hello.sender = false);
    assert_eq!(rogue.greeted().ended(), Some(Err(Incompatible::SameRole { sender: false }.into())));
    let rogue = Rogue::receiver(&config(), Alice::default()).hello(|hello| hello.sender = true);
    assert_eq!(rogue.greeted().ended(), Some(Err(Incompatible::SameRole { sender: true }.into())));
}

#[test]
fn peer_on_a_link_that_does_not_exist_is_a_breach() {
    for link in [1, u16::MAX] {
        let error = Error::Protocol(ProtocolError::UnknownLink { link });
        let mut rogue = Rogue::sender(&config(), Bob::default()).hello(|hello| hello.link = link);
        rogue.raw(&PREFACE);
        rogue.send_hello();
        let said = rogue.turn();
        assert_eq!(said.last(), Some(&Message::Abort { code: AbortCode::Protocol }), "{said:?}");
        assert_eq!(rogue.ended(), Some(Err(error)));
        let rogue =
            Rogue::receiver(&config(), Alice::default()).hello(|hello| hello.link = link).greeted();
        assert_eq!(rogue.ended(), Some(Err(error)));
    }
}

#[test]
fn receiver_numbers_the_attempt_of_a_claim_and_gives_no_other_number_to_others() {
    let ended = |said: u32, heard: u32| {
        let files = vec![(Meta::file(path("a"), Some(5000)), content(1, 5000))];
        let mut rogue = Rogue::receiver(&config(), Alice { files, ..Alice::default() });
        if said > 0 {
            rogue.pair.reconnect(&config(), said);
        }
        rogue.hello(|hello| hello.attempt = heard).greeted().ended()
    };
    for (said, heard) in [(0, 1), (0, 7), (0, u32::MAX), (1, 1), (5, 5)] {
        assert_eq!(ended(said, heard), None, "{said} {heard}");
    }
    for (said, heard) in [(0, 0), (1, 0), (1, 2), (5, 4), (5, 6)] {
        let error = ProtocolError::WrongAttempt { sent: said, received: heard };
        assert_eq!(ended(said, heard), Some(Err(Error::Protocol(error))), "{said} {heard}");
    }
}

#[test]
fn sender_claims_an_attempt_until_it_is_answered_and_counts_on_from_there() {
    let mut pair = Pair::new(&config(), &[("a", content(1, 5000))]);
    let greet = |pair: &mut Pair, number: Option<u32>| {
        let next = pair.sender.next_attempt();
        pair.reconnect(&config(), next);
        // The greeting arrives, and its answer does not, or both do.
        pair.up.cut = number.is_none().then_some(0);
        pair.bob.events.clear();
        while pair.bob.events.is_empty() {
            assert!(pair.step_sender() | pair.step_receiver());
        }
        assert_eq!(pair.receiver.is_claimed(), next == 0);
        if let Some(number) = number {
            pair.receiver.number_attempt(number);
        }
        let held = pair.receiver.transfer().unwrap().1;
        pair.run_while_moving();
        (next, held, pair.sender.next_attempt())
    };
    assert_eq!(greet(&mut pair, None), (0, 1, 0));
    assert_eq!(greet(&mut pair, None), (0, 1, 0), "nobody has answered");
    let next = Receiver::next_claim(Some(7));
    assert_eq!(greet(&mut pair, Some(next)), (0, 7 + 65536, 8 + 65536));
    assert_eq!(greet(&mut pair, None), (8 + 65536, 8 + 65536, 9 + 65536), "it may have been heard");
    assert_eq!(greet(&mut pair, Some(3)), (9 + 65536, 9 + 65536, 10 + 65536), "it has a number");
    assert_eq!((Receiver::next_claim(None), Receiver::next_claim(Some(u32::MAX))), (1, u32::MAX));
}

#[test]
fn greeting_of_another_channel_is_a_breach_and_a_sender_hears_of_it() {
    let error = Error::Protocol(ProtocolError::OtherChannel);
    // The peer has none, this side has none, and each has its own.
    for (ours, theirs) in [(1, 0), (0, 1), (1, 2)] {
        let bind = |hello: &mut Hello| hello.binding = [theirs; 32];
        let mut rogue = Rogue::sender(&config(), Bob::default()).hello(bind);
        rogue.pair.receiver.bind([ours; 32]);
        rogue.raw(&PREFACE);
        rogue.send_hello();
        let said = rogue.turn();
        assert_eq!(said.last(), Some(&Message::Abort { code: AbortCode::Protocol }), "{said:?}");
        assert_eq!(rogue.ended(), Some(Err(error)));
        let mut rogue = Rogue::receiver(&config(), Alice::default()).hello(bind);
        rogue.pair.sender.bind([ours; 32]);
        assert_eq!(rogue.greeted().ended(), Some(Err(error)));
    }
    let mut rogue = Rogue::sender(&config(), Bob::default()).hello(|hello| {
        (hello.binding, hello.proof) = ([1; 32], [3; 32]);
    });
    rogue.pair.receiver.bind([1; 32]);
    let rogue = rogue.greeted();
    assert_eq!((rogue.ended(), rogue.pair.receiver.peer_proof()), (None, Some([3; 32])));
}

#[test]
fn sender_that_ends_after_the_greeting_offers_nothing_and_says_why() {
    let files = vec![(Meta::file(path("a"), Some(5000)), content(1, 5000))];
    let mut rogue = Rogue::receiver(&config(), Alice { files, ..Alice::default() });
    rogue.pair.sender.end(AbortCode::NotAdmitted);
    let mut rogue = rogue.greeted();
    assert_eq!(rogue.receive(), [Message::Abort { code: AbortCode::NotAdmitted }]);
    assert_eq!(rogue.ended(), Some(Err(Error::Ended(AbortCode::NotAdmitted))));
    assert!(rogue.pair.alice.reads.is_empty() && rogue.pair.alice.ids.is_empty());
}

#[test]
fn receiver_with_absurd_limits_is_still_served() {
    let files = vec![(Meta::file(path("a"), Some(5000)), content(1, 5000))];
    let alice = Alice { files, ..Alice::default() };
    for value in [0, 1, u32::MAX] {
        let mut rogue = Rogue::receiver(&config(), alice.clone())
            .hello(|hello| {
                hello.turn_bytes = value.into();
                hello.open_entries = value;
                hello.pending_entries = value;
                hello.pending_names = value;
            })
            .greeted();
        let said = rogue.receive();
        assert!(said.iter().any(|message| message.name() == Name::Offer), "{value} {said:?}");
    }
}

#[test]
fn greeting_with_a_block_size_that_does_not_exist_means_the_largest() {
    let mut hello = Vec::new();
    let rogue = sender();
    Message::Hello(rogue.greeting().clone()).encode(&mut hello);
    for exponent in 0..=u8::MAX {
        hello[5] = exponent;
        let Some(Message::Hello(decoded)) = Message::decode(Name::Hello, &hello) else { panic!() };
        assert_eq!(decoded.block.exponent(), exponent.min(13));
    }
}

#[test]
fn greeting_longer_than_ours_is_read_and_one_too_long_is_a_breach() {
    let mut hello = Vec::new();
    Message::Hello(sender().greeting().clone()).encode(&mut hello);
    // It is bound to no channel.
    hello.resize(136, 0);
    hello.resize(1024, 7);
    let mut rogue = Rogue::sender(&config(), Bob::default());
    rogue.raw(&PREFACE);
    rogue.send_raw(1, &hello, &[]);
    rogue.over(true);
    rogue.settle();
    assert_eq!(rogue.ended(), None);
    hello.push(7);
    let mut rogue = Rogue::sender(&config(), Bob::default());
    rogue.raw(&PREFACE);
    rogue.send_raw(1, &hello, &[]);
    ends(rogue, ProtocolError::BadLength { kind: Name::Hello, control: 1025, payload: 0 });
}

#[test]
fn peer_that_speaks_something_else_is_told_from_haul() {
    for first in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"SSH-2.0-x\r\n",
        b"\x16\x03\x01\x02\0\x01",
        b"\0\0\0\0\0\0\0\0",
    ] {
        let mut rogue = Rogue::sender(&config(), Bob::default());
        rogue.raw(first);
        rogue.settle();
        assert!(matches!(
            rogue.ended(),
            Some(Err(Error::Incompatible(Incompatible::NotHaul { .. })))
        ));
        assert!(rogue.pair.up.record.is_empty(), "nothing is said to a stranger");
    }
}
