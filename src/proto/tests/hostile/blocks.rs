//! Senders that lie of blocks, zeros, and what is the same or differs.

use super::{
    KIB, ZERO, block, breach, config, ends, limits, offered, offered_to, refused, send_block,
    unexpected,
};
use crate::hash::Hash;
use crate::proto::error::{Error, ProtocolError};
use crate::proto::tests::pair::{Bob, path};
use crate::proto::wire::message::{Message, Name};
use crate::types::Refusal;

#[test]
fn sender_that_sends_a_right_block_twice_is_a_breach() {
    let mut rogue = offered(Some(2048));
    send_block(&mut rogue, 0, &[1; 1024]);
    send_block(&mut rogue, 0, &[1; 1024]);
    breach(rogue, ProtocolError::BlockAgain { entry: ZERO, index: 0 });
}

#[test]
fn sender_whose_zeros_overlap_a_block_is_a_breach() {
    let mut rogue = offered(Some(4096));
    send_block(&mut rogue, 1, &[1; 1024]);
    rogue.send(&Message::Zeros { entry: ZERO, blocks: 0..3 });
    breach(rogue, ProtocolError::BlockAgain { entry: ZERO, index: 1 });
}

#[test]
fn sender_whose_block_is_past_the_end_is_a_breach() {
    let mut rogue = offered(Some(2048));
    send_block(&mut rogue, 2, &[1; 1024]);
    breach(rogue, ProtocolError::BlockBeyondEnd { entry: ZERO, index: 2, blocks: 2 });
}

#[test]
fn sender_whose_block_is_past_a_short_one_is_a_breach() {
    let mut rogue = offered(None);
    send_block(&mut rogue, 1, &[1; 10]);
    send_block(&mut rogue, 2, &[1; 1024]);
    breach(rogue, ProtocolError::BlockBeyondEnd { entry: ZERO, index: 2, blocks: 2 });
}

#[test]
fn sender_whose_short_block_is_not_the_last_is_a_breach() {
    let mut rogue = offered(None);
    send_block(&mut rogue, 1, &[1; 1024]);
    send_block(&mut rogue, 0, &[1; 10]);
    let error = ProtocolError::BlockLength { entry: ZERO, index: 0, bytes: 10, expected: KIB };
    breach(rogue, error);
}

#[test]
fn sender_whose_block_is_too_short_is_a_breach() {
    let mut rogue = offered(Some(2048));
    send_block(&mut rogue, 0, &[1; 1023]);
    let error = ProtocolError::BlockLength { entry: ZERO, index: 0, bytes: 1023, expected: KIB };
    breach(rogue, error);
}

#[test]
fn sender_whose_last_block_is_longer_than_what_is_left_is_a_breach() {
    let mut rogue = offered(Some(1500));
    send_block(&mut rogue, 1, &[1; 477]);
    let error = ProtocolError::BlockLength { entry: ZERO, index: 1, bytes: 477, expected: 476 };
    breach(rogue, error);
}

#[test]
fn sender_whose_block_is_longer_than_its_offer_said_is_a_breach() {
    let mut rogue = offered(Some(4096));
    rogue.send_with(&block(0, &[]), &[1; 2048]);
    let error = ProtocolError::BlockLength { entry: ZERO, index: 0, bytes: 2048, expected: KIB };
    breach(rogue, error);
}

#[test]
fn sender_whose_block_is_longer_than_any_is_a_breach_before_it_comes() {
    let mut rogue = offered(Some(4096));
    let mut control = Vec::new();
    block(0, &[]).encode(&mut control);
    let frame = rogue.sealed(5, &control, (1 << 20) + 1);
    rogue.raw(&frame[..16]);
    let kind = Name::Block;
    ends(rogue, ProtocolError::BadLength { kind, control: 44, payload: (1 << 20) + 1 });
}

#[test]
fn sender_whose_block_index_is_huge_is_a_breach() {
    for index in [1 << 53, 1 << 54, u64::MAX - 1, u64::MAX] {
        for size in [None, Some(4096)] {
            let mut rogue = offered(size);
            rogue.send_with(&block(index, &[]), &[1; 1024]);
            let said = rogue.turn();
            if size.is_none() && index == 1 << 53 {
                // It might be so: but it is not what it says it is.
                assert!(said.iter().any(|message| message.name() == Name::Missing));
                continue;
            }
            assert!(
                matches!(
                    rogue.ended(),
                    Some(Err(Error::Protocol(ProtocolError::BlockBeyondEnd { .. })))
                ),
                "{index} {:?}",
                rogue.ended()
            );
        }
    }
}

#[test]
fn sender_that_makes_more_holes_than_allowed_is_refused() {
    let mut rogue = offered_to(Bob::default(), &limits(|l| l.holes(4)), None);
    for index in 0..100 {
        send_block(&mut rogue, index * 2, &[1; 1024]);
    }
    refused(rogue, Refusal::Policy);
}

#[test]
fn sender_that_makes_more_holes_with_zeros_than_allowed_is_refused() {
    let mut rogue = offered_to(Bob::default(), &limits(|l| l.holes(4)), Some(1 << 20));
    for index in 0..100 {
        rogue.send(&Message::Zeros { entry: ZERO, blocks: index * 2..index * 2 + 1 });
    }
    refused(rogue, Refusal::Policy);
}

/// Many runs of many subtrees each, with as many holes between them as may be, and no more.
#[test]
fn sender_that_fills_holes_is_not_refused_and_one_that_makes_another_is() {
    let mut rogue = offered_to(Bob::default(), &limits(|l| l.holes(40)), None);
    for index in (0..40 * 32).filter(|index| index % 32 > 0) {
        send_block(&mut rogue, index, &[1; 1024]);
    }
    // One at the start, and one before each other run. Each block here joins a run.
    for index in [0, 64, 32, 40 * 32 + 1, 40 * 32] {
        assert!(rogue.turn_without_waiting().iter().all(|said| said.name() != Name::Refuse));
        send_block(&mut rogue, index, &[1; 1024]);
    }
    assert!(rogue.turn_without_waiting().iter().all(|said| said.name() != Name::Refuse));
    // 37 holes are left.
    for index in [50 * 32, 51 * 32, 52 * 32] {
        send_block(&mut rogue, index, &[1; 1024]);
        assert!(rogue.turn_without_waiting().iter().all(|said| said.name() != Name::Refuse));
    }
    send_block(&mut rogue, 53 * 32, &[1; 1024]);
    refused(rogue, Refusal::Policy);
}

#[test]
fn sender_of_a_stream_past_the_limits_is_refused() {
    let mut rogue = offered_to(Bob::default(), &limits(|l| l.file_bytes(2000)), None);
    send_block(&mut rogue, 0, &[1; 1024]);
    send_block(&mut rogue, 1, &[1; 1024]);
    refused(rogue, Refusal::TooLarge { size: 2048, limit: 2000 });
}

#[test]
fn sender_of_zeros_past_all_limits_is_a_breach() {
    for blocks in [0..1 << 60, 5..u64::MAX, 0..(1 << 20) + 1] {
        let mut rogue = offered(None);
        rogue.send(&Message::Zeros { entry: ZERO, blocks });
        rogue.turn();
        assert!(matches!(rogue.ended(), Some(Err(Error::Protocol(_)))), "{:?}", rogue.ended());
    }
}

#[test]
fn sender_of_an_empty_or_reversed_range_is_a_breach() {
    for (start, end) in [(0, 0), (5, 5), (6, 5), (u64::MAX, 0)] {
        let mut rogue = offered(Some(8192));
        let control = [&[0; 4][..], &u64::to_le_bytes(start), &u64::to_le_bytes(end)].concat();
        rogue.send_raw(Name::Zeros.kind(), &control, &[]);
        breach(rogue, ProtocolError::Malformed { kind: Name::Zeros });
    }
}

#[test]
fn sender_that_calls_the_same_what_was_never_held_is_a_breach() {
    let mut rogue = offered(Some(2048));
    rogue.send(&Message::Same { entry: ZERO, blocks: 0..1 });
    breach(rogue, ProtocolError::NotHeld { entry: ZERO, index: 0 });
}

#[test]
fn sender_that_calls_the_same_more_than_was_held_is_a_breach() {
    let mut bob = Bob::default();
    bob.partial.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(4096));
    rogue.send(&Message::Same { entry: ZERO, blocks: 0..2 });
    breach(rogue, ProtocolError::NotHeld { entry: ZERO, index: 1 });
}

#[test]
fn sender_that_calls_the_same_twice_is_a_breach() {
    let mut bob = Bob::default();
    bob.partial.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(4096));
    rogue.send(&Message::Same { entry: ZERO, blocks: 0..1 });
    rogue.send(&Message::Same { entry: ZERO, blocks: 0..1 });
    breach(rogue, ProtocolError::BlockAgain { entry: ZERO, index: 0 });
}

#[test]
fn sender_that_calls_the_same_after_the_end_is_a_breach() {
    let mut bob = Bob::default();
    bob.partial.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(1024));
    rogue.send(&Message::End { entry: ZERO, size: 1024, root: Hash::of(&[1; 1024]) });
    rogue.send(&Message::Same { entry: ZERO, blocks: 0..1 });
    breach(rogue, unexpected(Name::Same));
}

#[test]
fn sender_that_claims_what_is_not_compared_is_a_breach() {
    let mut rogue = offered(Some(1024));
    rogue.send(&Message::Claim { entry: ZERO, root: None });
    breach(rogue, unexpected(Name::Claim));
}

#[test]
fn sender_that_sends_blocks_while_a_file_is_compared_is_a_breach() {
    let mut bob = Bob::default();
    bob.visible.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(1024));
    send_block(&mut rogue, 0, &[2; 1024]);
    rogue.turn();
    let error = Error::Protocol(unexpected(Name::Block));
    assert_eq!(rogue.ended(), Some(Err(error)));
    assert_eq!(rogue.pair.bob.visible[&path("f0")], [1; 1024]);
}

#[test]
fn sender_that_lies_of_a_held_file_being_the_same_changes_nothing() {
    let mut bob = Bob::default();
    bob.visible.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(1024));
    rogue.send(&Message::Same { entry: ZERO, blocks: 0..1 });
    rogue.turn();
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(unexpected(Name::Same)))));
    assert_eq!(rogue.pair.bob.visible[&path("f0")], [1; 1024]);
}
