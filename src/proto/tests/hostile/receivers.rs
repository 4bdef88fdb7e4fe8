//! Receivers that lie.

use std::time::Duration;

use super::{ZERO, config, limits, offer, unexpected};
use crate::hash::{BlockHash, Hash};
use crate::proto::error::{Damage, Error, ProtocolError, Stall};
use crate::proto::tests::pair::{Alice, content, path};
use crate::proto::tests::rogue::Rogue;
use crate::proto::wire::message::{Message, Name, Reason};
use crate::types::{AbortCode, Activity, Durability, EntryId, Event, Meta, Outcome, Refusal};

fn alice(len: usize) -> Alice {
    let files = vec![(Meta::file(path("a"), Some(len as u64)), content(1, len))];
    Alice { files, ..Alice::default() }
}

/// Returns a rogue receiver of one file; it was offered, and the floor is the rogue's.
fn receiver(len: usize) -> Rogue {
    let mut rogue = Rogue::receiver(&config(), alice(len)).greeted();
    assert!(rogue.receive().iter().any(|message| message.name() == Name::Offer));
    rogue
}

fn have(first: u64, count: usize, more: bool) -> Message {
    let hashes = vec![BlockHash::from_bytes([5; 32]); count];
    Message::Have { entry: ZERO, first, hashes, more, compare: false }
}

/// Returns a rogue receiver that was sent all of a file of 3000 bytes.
fn sent() -> Rogue {
    let mut rogue = receiver(3000);
    rogue.send(&have(0, 0, false));
    rogue.over(true);
    rogue.settle();
    assert!(rogue.receive().iter().any(|message| message.name() == Name::End));
    rogue
}

fn receipt(size: u64, root: Hash, name: &[u8]) -> Message {
    let (durability, outcome) = (Durability::Synced, Outcome::Stored);
    Message::Receipt { entry: ZERO, size, root, durability, outcome, name: name.into() }
}

#[track_caller]
fn receiver_breach(mut rogue: Rogue, message: &Message, error: ProtocolError) {
    rogue.send(message);
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
    let delivered = |event: &Event| matches!(event, Event::Delivered { .. });
    assert!(!rogue.pair.alice.events.iter().any(delivered));
}

#[test]
fn receiver_that_holds_more_blocks_than_there_are_is_a_breach() {
    let error = ProtocolError::BlockBeyondEnd { entry: ZERO, index: 4, blocks: 3 };
    receiver_breach(receiver(3000), &have(0, 4, false), error);
}

#[test]
fn receiver_whose_report_does_not_begin_at_the_start_is_a_breach() {
    receiver_breach(receiver(3000), &have(1, 1, false), unexpected(Name::Have));
}

#[test]
fn receiver_that_promises_more_after_nothing_is_a_breach() {
    receiver_breach(receiver(3000), &have(0, 0, true), unexpected(Name::Have));
}

#[test]
fn receiver_whose_report_overflows_is_a_breach() {
    let error = ProtocolError::Malformed { kind: Name::Have };
    receiver_breach(receiver(3000), &have(u64::MAX, 1, false), error);
}

#[test]
fn receiver_that_reports_twice_is_a_breach() {
    let mut rogue = receiver(3000);
    rogue.send(&have(0, 1, false));
    receiver_breach(rogue, &have(0, 1, false), unexpected(Name::Have));
}

#[test]
fn receiver_that_misses_what_was_never_sent_is_a_breach() {
    let missing = Message::Missing { entry: ZERO, blocks: vec![0..1] };
    receiver_breach(receiver(3000), &missing, unexpected(Name::Missing));
    let missing = Message::Missing { entry: ZERO, blocks: vec![0..1, 2..4] };
    receiver_breach(sent(), &missing, unexpected(Name::Missing));
}

#[test]
fn receiver_that_misses_the_same_for_ever_ends_after_the_repairs() {
    let mut rogue = Rogue::receiver(&limits(|l| l.repairs(5)), alice(3000)).greeted();
    rogue.receive();
    rogue.send(&have(0, 0, false));
    rogue.over(true);
    rogue.settle();
    for _ in 0..6 {
        assert_eq!(rogue.ended(), None);
        rogue.receive();
        rogue.send(&Message::Missing { entry: ZERO, blocks: vec![0..1] });
        rogue.over(true);
        rogue.settle();
    }
    let failure = Error::Damaged(Damage::TooOften { entry: ZERO, rounds: 5 });
    assert_eq!(rogue.ended(), Some(Err(failure)));
}

#[test]
fn receiver_that_asks_twice_for_what_came_inside_its_offer_is_a_breach() {
    let mut rogue = Rogue::receiver(&config(), alice(700)).greeted();
    assert!(rogue.receive().iter().any(|message| message.name() == Name::Offer));
    rogue.send(&have(0, 0, false));
    rogue.over(true);
    rogue.settle();
    let blocks = rogue.receive().iter().filter(|message| message.name() == Name::Block).count();
    assert_eq!((blocks, rogue.ended()), (1, None));
    receiver_breach(rogue, &have(0, 0, false), unexpected(Name::Have));
}

#[test]
fn receiver_that_misses_all_of_it_again_and_again_in_one_turn_makes_no_queue() {
    let mut rogue = sent();
    for _ in 0..50 {
        rogue.send(&Message::Missing { entry: ZERO, blocks: vec![0..3] });
    }
    rogue.over(true);
    rogue.settle();
    let blocks = rogue.receive().iter().filter(|message| message.name() == Name::Block).count();
    assert_eq!(blocks, 3);
}

#[test]
fn receiver_that_misses_what_it_keeps_is_a_breach() {
    for blocks in [vec![1..2], vec![0..3], vec![2..3]] {
        let mut rogue = sent();
        rogue.send(&Message::Kept { entry: ZERO, blocks: vec![1..3] });
        receiver_breach(
            rogue,
            &Message::Missing { entry: ZERO, blocks },
            unexpected(Name::Missing),
        );
    }
    let mut rogue = sent();
    rogue.send(&Message::Kept { entry: ZERO, blocks: vec![1..3] });
    rogue.send(&Message::Missing { entry: ZERO, blocks: vec![0..1] });
    rogue.settle();
    assert_eq!(rogue.ended(), None);
}

#[test]
fn receiver_that_keeps_what_was_never_sent_is_a_breach() {
    let kept = Message::Kept { entry: ZERO, blocks: vec![0..1] };
    receiver_breach(receiver(3000), &kept, unexpected(Name::Kept));
    let kept = Message::Kept { entry: ZERO, blocks: vec![0..4] };
    receiver_breach(sent(), &kept, unexpected(Name::Kept));
}

#[test]
fn receiver_whose_ranges_touch_or_go_back_is_a_breach() {
    for blocks in [vec![0..1, 1..2], vec![1..2, 0..1], vec![0..2, 1..3]] {
        let kept = Message::Kept { entry: ZERO, blocks };
        receiver_breach(sent(), &kept, ProtocolError::Malformed { kind: Name::Kept });
    }
}

#[test]
fn receipt_for_another_root_size_or_time_is_a_breach() {
    let root = Hash::of(&content(1, 3000));
    let error = ProtocolError::FalseReceipt { entry: ZERO };
    receiver_breach(sent(), &receipt(3000, Hash::of(b""), b""), error);
    receiver_breach(sent(), &receipt(2999, root, b""), error);
    receiver_breach(sent(), &receipt(u64::MAX, root, b""), error);
    receiver_breach(receiver(3000), &receipt(3000, root, b""), error);
    let mut rogue = receiver(3000);
    rogue.send(&have(0, 0, false));
    receiver_breach(rogue, &receipt(3000, root, b""), error);
}

#[test]
fn receipt_of_what_was_stored_after_a_claim_is_a_breach_and_of_what_was_held_is_not() {
    let root = Hash::of(&content(1, 3000));
    let claimed = || {
        let mut rogue = receiver(3000);
        let compare =
            Message::Have { entry: ZERO, first: 0, hashes: Vec::new(), more: false, compare: true };
        rogue.send(&compare);
        rogue.over(true);
        rogue.settle();
        assert!(rogue.receive().contains(&Message::Claim { entry: ZERO, root: Some(root) }));
        rogue
    };
    let stored = receipt(3000, root, b"");
    receiver_breach(claimed(), &stored, ProtocolError::FalseReceipt { entry: ZERO });
    let Message::Receipt { entry, size, durability, name, .. } = stored else { panic!() };
    let held = Message::Receipt { entry, size, root, durability, outcome: Outcome::Held, name };
    let mut rogue = claimed();
    rogue.send(&held);
    rogue.over(true);
    rogue.settle();
    assert_eq!(rogue.ended().map(|ended| ended.is_ok()), Some(true));
}

#[test]
fn receipt_under_a_dangerous_name_is_a_breach() {
    let root = Hash::of(&content(1, 3000));
    for name in [&b"../x"[..], b"/x", b"a\0", b"a/../b", b"\\x"] {
        let error = ProtocolError::Malformed { kind: Name::Receipt };
        receiver_breach(sent(), &receipt(3000, root, name), error);
    }
}

#[test]
fn receipt_given_twice_is_a_breach() {
    let root = Hash::of(&content(1, 3000));
    let mut rogue = sent();
    rogue.send(&receipt(3000, root, b""));
    rogue.send(&receipt(3000, root, b""));
    rogue.settle();
    let error = ProtocolError::UnknownEntry { kind: Name::Receipt, entry: ZERO };
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
}

#[test]
fn receipt_of_a_level_or_outcome_that_does_not_exist_is_a_breach() {
    let mut control = Vec::new();
    receipt(3000, Hash::of(&content(1, 3000)), b"").encode(&mut control);
    for (at, value) in [(44, 3), (44, 255), (45, 2), (45, 255)] {
        let mut rogue = sent();
        let mut control = control.clone();
        control[at] = value;
        rogue.send_raw(Name::Receipt.kind(), &control, &[]);
        rogue.settle();
        let error = ProtocolError::Malformed { kind: Name::Receipt };
        assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
    }
}

#[test]
fn receiver_that_passes_the_floor_back_with_nothing_is_a_breach_and_told() {
    let error = ProtocolError::Unexpected { kind: Name::Over };
    for (mut rogue, waiting) in [(receiver(3000), true), (sent(), false)] {
        rogue.over(waiting);
        rogue.settle();
        // The floor is with the machine, so that it can say why it ends.
        assert_eq!(rogue.receive(), [Message::Abort { code: AbortCode::Protocol }]);
        assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
    }
}

#[test]
fn receiver_that_speaks_of_an_entry_after_it_settled_it_is_a_breach() {
    let root = Hash::of(&content(1, 3000));
    let refuse = Message::Refuse { entry: ZERO, reason: Reason { code: 1, first: 0, second: 0 } };
    for settling in [receipt(3000, root, b""), refuse.clone()] {
        for message in [
            receipt(3000, root, b""),
            refuse.clone(),
            have(0, 0, false),
            Message::Missing { entry: ZERO, blocks: vec![0..1] },
            Message::Kept { entry: ZERO, blocks: vec![0..1] },
            Message::Unchanged { entry: ZERO },
            Message::Changed { entry: ZERO },
        ] {
            let mut rogue = sent();
            rogue.send(&settling);
            rogue.send(&message);
            rogue.settle();
            let error = ProtocolError::UnknownEntry { kind: message.name(), entry: ZERO };
            assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
        }
    }
}

#[test]
fn receiver_that_keeps_blocks_of_what_it_then_compares_is_a_breach() {
    let rogue = sent();
    let mut rogue = rogue.again(&config(), 2);
    rogue.receive();
    rogue.send(&Message::Kept { entry: ZERO, blocks: vec![0..1] });
    let (first, hashes) = (0, Vec::new());
    let compare = Message::Have { entry: ZERO, first, hashes, more: false, compare: true };
    receiver_breach(rogue, &compare, unexpected(Name::Have));
}

#[test]
fn receiver_that_says_what_a_sender_says_is_a_breach() {
    let reason = Reason { code: 1, first: 0, second: 0 };
    let hello = receiver(3000).greeting().clone();
    for message in [
        Message::Hello(hello),
        offer(0, None),
        Message::Same { entry: ZERO, blocks: 0..1 },
        Message::Zeros { entry: ZERO, blocks: 0..1 },
        Message::Claim { entry: ZERO, root: None },
        Message::End { entry: ZERO, size: 0, root: Hash::of(b"") },
        Message::Withdraw { entry: ZERO, reason },
        Message::Out,
    ] {
        let error = ProtocolError::Unexpected { kind: message.name() };
        receiver_breach(receiver(3000), &message, error);
    }
}

#[test]
fn receiver_that_speaks_of_an_entry_never_offered_is_a_breach() {
    let (entry, reason) = (EntryId::new(1), Reason { code: 1, first: 0, second: 0 });
    for message in [
        Message::Refuse { entry, reason },
        Message::Missing { entry, blocks: vec![0..1] },
        Message::Kept { entry, blocks: vec![0..1] },
    ] {
        let error = ProtocolError::UnknownEntry { kind: message.name(), entry };
        receiver_breach(receiver(3000), &message, error);
    }
}

#[test]
fn receiver_of_heartbeats_for_ever_is_left_at_the_deadline() {
    let mut rogue = receiver(3000);
    let start = rogue.pair.now;
    while rogue.ended().is_none() {
        rogue.send(&Message::Heartbeat { activity: Activity::Syncing });
        rogue.wait(Duration::from_secs(5));
        assert!(rogue.pair.now - start <= Duration::from_secs(900));
    }
    let failure = Error::Stalled(Stall::Idle { after: Duration::from_secs(900) });
    assert_eq!(rogue.ended(), Some(Err(failure)));
}

#[test]
fn receiver_that_asks_for_blocks_of_unknown_codes_of_refusal_is_a_refusal() {
    for code in [0, 999, u16::MAX] {
        let mut rogue = receiver(3000);
        rogue.send(&Message::Refuse { entry: ZERO, reason: Reason { code, first: 1, second: 2 } });
        rogue.over(true);
        rogue.settle();
        assert_eq!(rogue.ended(), Some(Ok(())));
        assert!(
            rogue
                .pair
                .alice
                .events
                .iter()
                .any(|event| matches!(event, Event::Refused { reason: Refusal::Policy, .. }))
        );
    }
}
