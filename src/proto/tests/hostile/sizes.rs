//! Senders that lie of sizes, hashes and roots.

use super::{
    ZERO, breach, config, ends, limits, offer, offered, offered_to, refused, send_block, sender,
};
use crate::config::IfExists;
use crate::hash::{BlockHash, BlockSize, Hash};
use crate::proto::error::{Damage, ProtocolError};
use crate::proto::tests::pair::{Bob, path};
use crate::proto::tests::rogue::{Rogue, inline};
use crate::proto::wire::message::{Message, Name, Reason};
use crate::types::Refusal;

#[test]
fn sender_whose_end_is_smaller_than_offered_is_a_breach() {
    let mut rogue = offered(Some(3000));
    rogue.send(&Message::End { entry: ZERO, size: 2999, root: Hash::of(b"") });
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 2999 });
}

#[test]
fn sender_whose_end_comes_before_a_block_that_it_sent_is_a_breach() {
    let mut rogue = offered(None);
    send_block(&mut rogue, 3, &[1; 1024]);
    rogue.send(&Message::End { entry: ZERO, size: 1024, root: Hash::of(b"") });
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 1024 });
}

#[test]
fn sender_whose_end_is_ragged_after_a_whole_last_block_is_a_breach() {
    let mut rogue = offered(None);
    send_block(&mut rogue, 0, &[1; 1024]);
    rogue.send(&Message::End { entry: ZERO, size: 1000, root: Hash::of(&[1; 1000]) });
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 1000 });
}

#[test]
fn sender_whose_stream_ends_past_its_short_block_is_a_breach() {
    let mut rogue = offered(None);
    send_block(&mut rogue, 0, &[1; 100]);
    rogue.send(&Message::End { entry: ZERO, size: 101, root: Hash::of(&[1; 101]) });
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 101 });
}

#[test]
fn sender_that_ends_an_entry_twice_is_a_breach() {
    let mut rogue = offered(Some(2048));
    for _ in 0..2 {
        rogue.send(&Message::End { entry: ZERO, size: 2048, root: Hash::of(b"") });
    }
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 2048 });
}

#[test]
fn sender_whose_root_is_wrong_fails_the_entry_and_discards_it() {
    let mut rogue = offered(Some(2048));
    send_block(&mut rogue, 0, &[1; 1024]);
    send_block(&mut rogue, 1, &[2; 1024]);
    rogue.send(&Message::End { entry: ZERO, size: 2048, root: Hash::of(b"other") });
    refused(rogue, Refusal::Mismatch);
}

#[test]
fn withdrawn_entry_leaves_what_arrived_only_if_a_later_attempt_can_use_it() {
    for code in 1..=14 {
        let mut rogue = offered(Some(2048));
        send_block(&mut rogue, 0, &[1; 1024]);
        let reason = Reason { code, first: 0, second: 0 };
        rogue.send(&Message::Withdraw { entry: ZERO, reason });
        rogue.settle();
        assert_eq!(rogue.ended(), None);
        // Changed, denied, unreadable, and what is not known.
        let is_kept = matches!(code, 2..=4 | 14);
        assert_eq!(rogue.pair.bob.partial.contains_key(&path("f0")), is_kept, "reason {code}");
        assert!(rogue.pair.bob.open.is_empty());
    }
}

#[test]
fn sender_whose_hashes_are_wrong_for_ever_ends_after_the_repairs() {
    let mut rogue = Rogue::sender(&limits(|l| l.repairs(5)), Bob::default()).greeted();
    rogue.send(&offer(0, Some(1024)));
    rogue.turn();
    let hash = BlockHash::from_bytes([3; 32]);
    for _ in 0..6 {
        assert_eq!(rogue.ended(), None);
        rogue.send_with(&Message::Block { entry: ZERO, index: 0, hash }, &[1; 1024]);
        rogue.turn();
    }
    ends(rogue, Damage::TooOften { entry: ZERO, rounds: 5 });
}

#[test]
fn sender_that_ignores_what_is_missing_ends_after_the_repairs() {
    let mut rogue = Rogue::sender(&limits(|l| l.repairs(5)), Bob::default()).greeted();
    rogue.send(&offer(0, Some(1024)));
    rogue.turn();
    rogue.send(&Message::End { entry: ZERO, size: 1024, root: Hash::of(b"") });
    for _ in 0..6 {
        assert_eq!(rogue.ended(), None);
        rogue.turn();
    }
    ends(rogue, Damage::TooOften { entry: ZERO, rounds: 5 });
}

#[test]
fn sender_whose_hash_is_that_of_another_place_is_asked_again() {
    let mut rogue = offered(Some(2048));
    let hash = BlockSize::MIN.hash(1, &[1; 1024]).unwrap().hash;
    rogue.send_with(&Message::Block { entry: ZERO, index: 0, hash }, &[1; 1024]);
    let said = rogue.turn();
    assert!(said.contains(&Message::Missing { entry: ZERO, blocks: vec![0..1] }), "{said:?}");
    assert_eq!(rogue.pair.bob.written, 0);
}

#[test]
fn sender_whose_inline_content_is_wrong_is_asked_for_it_as_a_block() {
    let mut rogue = sender();
    rogue.send_with(&Message::Offer(inline(0, b"a", b"ok")), b"no");
    let said = rogue.turn();
    assert!(said.iter().any(|message| message.name() == Name::Have), "{said:?}");
    assert_eq!(rogue.pair.bob.written, 0);
}

#[test]
fn replaced_file_is_not_touched_by_a_sender_that_lies_of_its_blocks() {
    let config = config().if_exists(IfExists::Replace);
    let mut bob = Bob::default();
    bob.visible.insert(path("f0"), vec![1; 4096]);
    let mut rogue = offered_to(bob, &config, Some(4096));
    rogue.send(&Message::Same { entry: ZERO, blocks: 0..2 });
    send_block(&mut rogue, 2, &[7; 1024]);
    rogue.send(&Message::Same { entry: ZERO, blocks: 3..4 });
    rogue.send(&Message::End { entry: ZERO, size: 4096, root: Hash::of(b"other") });
    let said = rogue.turn();
    assert!(said.iter().any(|message| message.name() == Name::Refuse), "{said:?}");
    assert_eq!(rogue.pair.bob.visible[&path("f0")], [1; 4096]);
}
