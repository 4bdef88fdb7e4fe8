//! Senders that do not keep to the course of a session: its turns, its order, its frames.

use std::time::Duration;

use super::{ZERO, block, breach, config, ends, limits, offer, offered, offered_to, sender};
use crate::config::Turn;
use crate::hash::Hash;
use crate::proto::error::{Damage, Error, ProtocolError, Stall};
use crate::proto::tests::pair::Bob;
use crate::proto::tests::rogue::{Rogue, inline, wire};
use crate::proto::wire::frame::PREFACE;
use crate::proto::wire::message::{Message, Name, Reason};
use crate::types::{AbortCode, Activity};

#[test]
fn sender_that_is_out_with_entries_pending_is_a_breach() {
    let mut rogue = offered(Some(2048));
    rogue.send(&Message::Out);
    breach(rogue, ProtocolError::Unexpected { kind: Name::Out });
}

#[test]
fn sender_that_says_anything_after_out_is_not_heard() {
    let mut rogue = sender();
    rogue.send(&Message::Out);
    rogue.send(&offer(0, Some(2048)));
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Ok(())));
    assert!(rogue.pair.bob.partial.is_empty());
}

#[test]
fn sender_that_greets_twice_is_a_breach() {
    let mut rogue = sender();
    rogue.send_hello();
    breach(rogue, ProtocolError::Unexpected { kind: Name::Hello });
}

#[test]
fn sender_that_says_what_a_receiver_says_is_a_breach() {
    let reason = Reason { code: 1, first: 0, second: 0 };
    let (entry, blocks) = (ZERO, vec![0..1]);
    for message in [
        Message::Have { entry, first: 0, hashes: Vec::new(), more: false, compare: false },
        Message::Refuse { entry, reason },
        Message::Missing { entry, blocks: blocks.clone() },
        Message::Kept { entry, blocks },
    ] {
        let mut rogue = offered(Some(2048));
        rogue.send(&message);
        breach(rogue, ProtocolError::Unexpected { kind: message.name() });
    }
}

#[test]
fn sender_that_says_more_than_its_greeting_in_its_first_turn_is_a_breach() {
    let first = [
        offer(0, Some(2048)),
        Message::Offer(inline(0, b"f0", b"")),
        Message::Claim { entry: ZERO, root: None },
        Message::End { entry: ZERO, size: 0, root: Hash::of(b"") },
    ];
    for message in first {
        let mut rogue = Rogue::sender(&config(), Bob::default());
        rogue.raw(&PREFACE);
        rogue.send_hello();
        rogue.send(&message);
        rogue.settle();
        assert_eq!(rogue.ended(), None, "it is heard out, and greeted");
        breach(rogue, ProtocolError::Unexpected { kind: message.name() });
    }
    // Nobody sends after it.
    let mut rogue = Rogue::sender(&config(), Bob::default());
    rogue.raw(&PREFACE);
    rogue.send_hello();
    rogue.send(&Message::Out);
    rogue.settle();
    let said: Vec<_> = rogue.receive().iter().map(Message::name).collect();
    assert_eq!(said, [Name::Hello, Name::Abort]);
    ends(rogue, ProtocolError::Unexpected { kind: Name::Out });
}

#[test]
fn sender_of_a_message_without_the_layout_of_its_kind_is_heard_out_and_told() {
    let mut rogue = offered(Some(2048));
    rogue.send_raw(Name::Claim.kind(), &[0; 5], &[]);
    // What follows is right, and not looked at.
    rogue.send(&offer(1, Some(2048)));
    rogue.settle();
    assert_eq!(rogue.ended(), None);
    breach(rogue, ProtocolError::Malformed { kind: Name::Claim });
}

#[test]
fn sender_whose_blocks_come_damaged_more_often_than_allowed_is_told() {
    let mut rogue = offered_to(Bob::default(), &limits(|l| l.repairs(3)), Some(1024));
    for _ in 0..3 {
        rogue.send_with(&block(0, &[1; 1024]), &[2; 1024]);
        assert!(rogue.turn().contains(&Message::Missing { entry: ZERO, blocks: vec![0..1] }));
    }
    rogue.send_with(&block(0, &[1; 1024]), &[2; 1024]);
    assert_eq!(rogue.turn().last(), Some(&Message::Abort { code: AbortCode::Damaged }));
    ends(rogue, Damage::TooOften { entry: ZERO, rounds: 3 });
}

#[test]
fn sender_that_speaks_of_an_entry_after_it_was_settled_is_a_breach() {
    let reason = Reason { code: 1, first: 0, second: 0 };
    let receipted = || {
        let mut rogue = sender();
        rogue.send_with(&Message::Offer(inline(0, b"f0", b"ok")), b"ok");
        assert_eq!(rogue.turn()[0].name(), Name::Receipt);
        rogue
    };
    let refused = || {
        let mut rogue = sender();
        rogue.send(&Message::Offer(wire(0, b"../f0", Some(2048))));
        assert_eq!(rogue.turn()[0].name(), Name::Refuse);
        rogue
    };
    let withdrawn = || {
        let mut rogue = offered(Some(2048));
        rogue.send(&Message::Withdraw { entry: ZERO, reason });
        rogue
    };
    let settled: [(&str, &dyn Fn() -> Rogue); 3] =
        [("receipted", &receipted), ("refused", &refused), ("withdrawn", &withdrawn)];
    for (how, make) in settled {
        for message in [
            block(0, &[1; 1024]),
            Message::Same { entry: ZERO, blocks: 0..1 },
            Message::Zeros { entry: ZERO, blocks: 0..1 },
            Message::Claim { entry: ZERO, root: None },
            Message::End { entry: ZERO, size: 2048, root: Hash::of(b"") },
            Message::Withdraw { entry: ZERO, reason },
        ] {
            let (mut rogue, kind) = (make(), message.name());
            let payload: &[u8] = if kind == Name::Block { &[1; 1024] } else { &[] };
            rogue.send_with(&message, payload);
            assert_eq!(
                rogue.turn().last(),
                Some(&Message::Abort { code: AbortCode::Protocol }),
                "{how}: {kind:?}"
            );
            let error = ProtocolError::UnknownEntry { kind, entry: ZERO };
            assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))), "{how}");
        }
    }
}

#[test]
fn sender_that_offers_before_it_greets_is_a_breach() {
    let mut rogue = Rogue::sender(&config(), Bob::default());
    rogue.raw(&PREFACE);
    rogue.send(&offer(0, Some(5)));
    ends(rogue, ProtocolError::Unexpected { kind: Name::Offer });
}

#[test]
fn sender_that_goes_on_after_its_breach_is_told_with_the_floor_or_left_at_the_deadline() {
    let mut rogue = sender();
    rogue.send(&Message::End { entry: ZERO, size: 0, root: Hash::of(b"") });
    for _ in 0..100 {
        rogue.send(&Message::Heartbeat { activity: Activity::Reading });
        rogue.settle();
    }
    assert_eq!(rogue.ended(), None);
    rogue.wait(Duration::from_secs(15));
    let (kind, entry) = (Name::End, ZERO);
    ends(rogue, ProtocolError::UnknownEntry { kind, entry });
}

#[test]
fn sender_whose_turn_is_longer_than_agreed_is_a_breach() {
    let config = config().turn(Turn::default().max_bytes(500));
    let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
    (0..30).for_each(|entry| rogue.send(&offer(entry, Some(5000))));
    breach(rogue, ProtocolError::TurnTooLong { limit: 500 });
}

#[test]
fn sender_of_heartbeats_for_ever_is_left_at_the_deadline() {
    let mut rogue = sender();
    for second in (0..900).step_by(5) {
        assert_eq!(rogue.ended(), None, "{second}");
        rogue.send(&Message::Heartbeat { activity: Activity::Reading });
        rogue.wait(Duration::from_secs(5));
    }
    ends(rogue, Stall::Idle { after: Duration::from_secs(900) });
}

#[test]
fn sender_of_kinds_that_nobody_knows_is_skipped_or_a_breach() {
    let mut rogue = sender();
    for kind in 0x80..=0xFF {
        rogue.send_raw(kind, &[1; 100], &[2; 4096]);
    }
    rogue.turn_without_waiting();
    assert_eq!(rogue.ended(), None);
    for kind in (0..0x80).filter(|kind| Name::from_kind(*kind).is_none()) {
        let mut rogue = sender();
        rogue.send_raw(kind, &[], &[]);
        ends(rogue, ProtocolError::UnknownKind { kind });
    }
    for (control, payload) in [(vec![0; 4097], vec![]), (vec![], vec![0; 4097])] {
        let mut rogue = sender();
        rogue.send_raw(0x90, &control, &payload);
        ends(rogue, ProtocolError::UnknownKind { kind: 0x90 });
    }
}

#[test]
fn sender_of_frames_of_another_session_is_damage() {
    // The same bytes that one receiver takes, after a greeting with another nonce.
    let mut first = sender();
    let frame = {
        let mut control = Vec::new();
        offer(0, Some(5000)).encode(&mut control);
        first.sealed(Name::Offer.kind(), &control, 0)
    };
    first.raw(&frame);
    first.turn();
    assert_eq!(first.ended(), None);
    let mut second =
        Rogue::sender(&config(), Bob::default()).hello(|hello| hello.nonce = [8; 16]).greeted();
    second.raw(&frame);
    ends(second, Damage::Header { number: 2 });
}

#[test]
fn sender_that_repeats_a_frame_is_damage() {
    let mut rogue = sender();
    let mut control = Vec::new();
    offer(0, Some(5000)).encode(&mut control);
    let frame = rogue.sealed(Name::Offer.kind(), &control, 0);
    rogue.raw(&frame);
    rogue.raw(&frame);
    ends(rogue, Damage::Header { number: 3 });
}

#[test]
fn frames_sent_back_to_their_speaker_are_damage() {
    let mut rogue = Rogue::sender(&config(), Bob::default());
    rogue.raw(&PREFACE);
    rogue.send_hello();
    rogue.over(true);
    rogue.settle();
    let said = rogue.pair.up.record.clone();
    // Its own greeting and what follows, without the preface that a stream has once.
    rogue.raw(&said[PREFACE.len()..]);
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Err(Error::Damaged(Damage::Header { number: 2 }))));
}
