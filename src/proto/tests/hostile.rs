//! Peers that lie: each misbehaviour by its name, what it is answered, and what it must not do: nothing becomes
//! visible that was not proved, and nothing waits for ever.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::pair::{Alice, Bob, content, path};
use super::rogue::{Rogue, wire};
use crate::config::{Config, Existing, Limits, Turn};
use crate::proto::error::{Damage, Failure, Incompatible, ProtocolError, Stall};
use crate::proto::frame::PREFACE;
use crate::proto::message::{Activity, Message, Name, Reason, WireOffer};
use crate::proto::types::{AbortCode, Durability, EntryId, Kind, Outcome, Refusal};
use crate::proto::{Event, Meta};
use crate::tree::{BlockHash, BlockSize, Root};

const KIB: u64 = 1024;
const ZERO: EntryId = EntryId::new(0);

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

fn limits(change: impl FnOnce(Limits) -> Limits) -> Config {
    config().limits(change(Limits::default()))
}

fn sender() -> Rogue {
    Rogue::sender(&config(), Bob::default()).greeted()
}

fn offer(entry: u32, size: Option<u64>) -> Message {
    Message::Offer(wire(entry, format!("f{entry}").as_bytes(), size))
}

/// A rogue sender with one entry of this size offered, and the floor.
fn offered(size: Option<u64>) -> Rogue {
    offered_to(Bob::default(), &config(), size)
}

fn offered_to(bob: Bob, config: &Config, size: Option<u64>) -> Rogue {
    let mut rogue = Rogue::sender(config, bob).greeted();
    rogue.say(&offer(0, size));
    let said = rogue.turn();
    assert!(said.iter().any(|message| message.name() == Name::Have), "{said:?}");
    rogue
}

fn block(index: u64, bytes: &[u8]) -> Message {
    let hash = BlockSize::MIN.hash(index, bytes).map_or(BlockHash::from_bytes([0; 32]), |b| b.hash);
    Message::Block { entry: ZERO, index, hash }
}

fn say_block(rogue: &mut Rogue, index: u64, bytes: &[u8]) {
    rogue.say_with(&block(index, bytes), bytes);
}

/// The receiver ends with this breach, has told the sender, and holds nothing under a final name.
#[track_caller]
fn breach(mut rogue: Rogue, error: ProtocolError) {
    let said = rogue.turn();
    assert_eq!(rogue.ended(), Some(Err(Failure::Protocol(error))));
    let abort = Message::Abort { code: AbortCode::Protocol };
    assert_eq!(said.last(), Some(&abort));
    assert!(rogue.pair.bob.visible.is_empty());
}

/// The machine ends at once: there is no floor to tell it with.
#[track_caller]
fn ends(mut rogue: Rogue, failure: impl Into<Failure>) {
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Err(failure.into())));
    assert!(rogue.pair.bob.visible.is_empty());
}

/// The entry is refused, and the session goes on.
#[track_caller]
fn refused(mut rogue: Rogue, expected: Refusal) {
    let said = rogue.turn();
    let reason = said.iter().find_map(|message| match message {
        Message::Refuse { reason, .. } | Message::Failed { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reason.map(Refusal::from), Some(expected), "{said:?}");
    assert_eq!(rogue.ended(), None);
    assert!(rogue.pair.bob.visible.is_empty());
    // A good entry still arrives.
    let next = 1_000_000;
    let mut good = wire(next, b"good", Some(2));
    (good.inline, good.root) = (true, Some(Root::of(b"ok")));
    rogue.say_with(&Message::Offer(good), b"ok");
    rogue.turn();
    assert_eq!(rogue.pair.bob.visible[&path("good")], b"ok");
}

fn unexpected(kind: Name) -> ProtocolError {
    ProtocolError::UnexpectedForEntry { kind, entry: ZERO }
}

// Sizes, hashes and roots.

#[test]
fn sender_whose_end_is_smaller_than_offered_is_a_breach() {
    let mut rogue = offered(Some(3000));
    rogue.say(&Message::End { entry: ZERO, size: 2999, root: Root::of(b"") });
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 2999 });
}

#[test]
fn sender_whose_end_comes_before_a_block_that_it_sent_is_a_breach() {
    let mut rogue = offered(None);
    say_block(&mut rogue, 3, &[1; 1024]);
    rogue.say(&Message::End { entry: ZERO, size: 1024, root: Root::of(b"") });
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 1024 });
}

#[test]
fn sender_whose_end_is_ragged_after_a_whole_last_block_is_a_breach() {
    let mut rogue = offered(None);
    say_block(&mut rogue, 0, &[1; 1024]);
    rogue.say(&Message::End { entry: ZERO, size: 1000, root: Root::of(&[1; 1000]) });
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 1000 });
}

#[test]
fn sender_whose_stream_ends_past_its_short_block_is_a_breach() {
    let mut rogue = offered(None);
    say_block(&mut rogue, 0, &[1; 100]);
    rogue.say(&Message::End { entry: ZERO, size: 101, root: Root::of(&[1; 101]) });
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 101 });
}

#[test]
fn sender_whose_root_is_wrong_fails_the_entry_and_discards_it() {
    let mut rogue = offered(Some(2048));
    say_block(&mut rogue, 0, &[1; 1024]);
    say_block(&mut rogue, 1, &[2; 1024]);
    rogue.say(&Message::End { entry: ZERO, size: 2048, root: Root::of(b"other") });
    refused(rogue, Refusal::Mismatch);
}

#[test]
fn sender_whose_hashes_are_wrong_for_ever_ends_after_the_repairs() {
    let mut rogue = Rogue::sender(&limits(|l| l.repairs(5)), Bob::default()).greeted();
    rogue.say(&offer(0, Some(1024)));
    rogue.turn();
    let hash = BlockHash::from_bytes([3; 32]);
    for _ in 0..6 {
        assert_eq!(rogue.ended(), None);
        rogue.say_with(&Message::Block { entry: ZERO, index: 0, hash }, &[1; 1024]);
        rogue.turn();
    }
    ends(rogue, Damage::TooOften { entry: ZERO, rounds: 5 });
}

#[test]
fn sender_that_ignores_what_is_missing_ends_after_the_repairs() {
    let mut rogue = Rogue::sender(&limits(|l| l.repairs(5)), Bob::default()).greeted();
    rogue.say(&offer(0, Some(1024)));
    rogue.turn();
    rogue.say(&Message::End { entry: ZERO, size: 1024, root: Root::of(b"") });
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
    rogue.say_with(&Message::Block { entry: ZERO, index: 0, hash }, &[1; 1024]);
    let said = rogue.turn();
    assert!(said.contains(&Message::Missing { entry: ZERO, blocks: vec![0..1] }), "{said:?}");
    assert_eq!(rogue.pair.bob.written, 0);
}

#[test]
fn sender_whose_inline_content_is_wrong_is_asked_for_it_as_a_block() {
    let mut rogue = sender();
    let mut offer = wire(0, b"a", Some(2));
    (offer.inline, offer.root) = (true, Some(Root::of(b"ok")));
    rogue.say_with(&Message::Offer(offer), b"no");
    let said = rogue.turn();
    assert!(said.iter().any(|message| message.name() == Name::Have), "{said:?}");
    assert_eq!(rogue.pair.bob.written, 0);
}

// Blocks.

#[test]
fn sender_that_sends_a_right_block_twice_is_a_breach() {
    let mut rogue = offered(Some(2048));
    say_block(&mut rogue, 0, &[1; 1024]);
    say_block(&mut rogue, 0, &[1; 1024]);
    breach(rogue, ProtocolError::BlockAgain { entry: ZERO, index: 0 });
}

#[test]
fn sender_whose_zeros_overlap_a_block_is_a_breach() {
    let mut rogue = offered(Some(4096));
    say_block(&mut rogue, 1, &[1; 1024]);
    rogue.say(&Message::Zeros { entry: ZERO, blocks: 0..3 });
    breach(rogue, ProtocolError::BlockAgain { entry: ZERO, index: 1 });
}

#[test]
fn sender_whose_block_is_past_the_end_is_a_breach() {
    let mut rogue = offered(Some(2048));
    say_block(&mut rogue, 2, &[1; 1024]);
    breach(rogue, ProtocolError::BlockBeyondEnd { entry: ZERO, index: 2, blocks: 2 });
}

#[test]
fn sender_whose_block_is_past_a_short_one_is_a_breach() {
    let mut rogue = offered(None);
    say_block(&mut rogue, 1, &[1; 10]);
    say_block(&mut rogue, 2, &[1; 1024]);
    breach(rogue, ProtocolError::BlockBeyondEnd { entry: ZERO, index: 2, blocks: 2 });
}

#[test]
fn sender_whose_short_block_is_not_the_last_is_a_breach() {
    let mut rogue = offered(None);
    say_block(&mut rogue, 1, &[1; 1024]);
    say_block(&mut rogue, 0, &[1; 10]);
    let error = ProtocolError::BlockLength { entry: ZERO, index: 0, bytes: 10, expected: KIB };
    breach(rogue, error);
}

#[test]
fn sender_whose_block_is_too_short_is_a_breach() {
    let mut rogue = offered(Some(2048));
    say_block(&mut rogue, 0, &[1; 1023]);
    let error = ProtocolError::BlockLength { entry: ZERO, index: 0, bytes: 1023, expected: KIB };
    breach(rogue, error);
}

#[test]
fn sender_whose_last_block_is_longer_than_what_is_left_is_a_breach() {
    let mut rogue = offered(Some(1500));
    say_block(&mut rogue, 1, &[1; 477]);
    let error = ProtocolError::BlockLength { entry: ZERO, index: 1, bytes: 477, expected: 476 };
    breach(rogue, error);
}

#[test]
fn sender_whose_block_is_longer_than_its_offer_said_is_a_breach() {
    let mut rogue = offered(Some(4096));
    rogue.say_with(&block(0, &[]), &[1; 2048]);
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
            rogue.say_with(&block(index, &[]), &[1; 1024]);
            let said = rogue.turn();
            if size.is_none() && index == 1 << 53 {
                // It might be so: but it is not what it says it is.
                assert!(said.iter().any(|message| message.name() == Name::Missing));
                continue;
            }
            assert!(
                matches!(
                    rogue.ended(),
                    Some(Err(Failure::Protocol(ProtocolError::BlockBeyondEnd { .. })))
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
        say_block(&mut rogue, index * 2, &[1; 1024]);
    }
    refused(rogue, Refusal::Policy);
}

#[test]
fn sender_that_makes_more_holes_with_zeros_than_allowed_is_refused() {
    let mut rogue = offered_to(Bob::default(), &limits(|l| l.holes(4)), Some(1 << 20));
    for index in 0..100 {
        rogue.say(&Message::Zeros { entry: ZERO, blocks: index * 2..index * 2 + 1 });
    }
    refused(rogue, Refusal::Policy);
}

#[test]
fn sender_of_a_stream_past_the_limits_is_refused() {
    let mut rogue = offered_to(Bob::default(), &limits(|l| l.file_bytes(2000)), None);
    say_block(&mut rogue, 0, &[1; 1024]);
    say_block(&mut rogue, 1, &[1; 1024]);
    refused(rogue, Refusal::TooLarge { size: 2048, limit: 2000 });
}

#[test]
fn sender_of_zeros_past_all_limits_is_a_breach() {
    for blocks in [0..1 << 60, 5..u64::MAX, 0..(1 << 20) + 1] {
        let mut rogue = offered(None);
        rogue.say(&Message::Zeros { entry: ZERO, blocks });
        rogue.turn();
        assert!(matches!(rogue.ended(), Some(Err(Failure::Protocol(_)))), "{:?}", rogue.ended());
    }
}

#[test]
fn sender_of_an_empty_or_reversed_range_is_a_breach() {
    for (start, end) in [(0, 0), (5, 5), (6, 5), (u64::MAX, 0)] {
        let mut rogue = offered(Some(8192));
        let control = [&[0; 4][..], &u64::to_le_bytes(start), &u64::to_le_bytes(end)].concat();
        rogue.say_raw(Name::Zeros.kind(), &control, &[]);
        ends(rogue, ProtocolError::Malformed { kind: Name::Zeros });
    }
}

#[test]
fn sender_that_calls_the_same_what_was_never_held_is_a_breach() {
    let mut rogue = offered(Some(2048));
    rogue.say(&Message::Same { entry: ZERO, blocks: 0..1 });
    breach(rogue, ProtocolError::NotHeld { entry: ZERO, index: 0 });
}

#[test]
fn sender_that_calls_the_same_more_than_was_held_is_a_breach() {
    let mut bob = Bob::default();
    bob.partial.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(4096));
    rogue.say(&Message::Same { entry: ZERO, blocks: 0..2 });
    breach(rogue, ProtocolError::NotHeld { entry: ZERO, index: 1 });
}

#[test]
fn sender_that_calls_the_same_twice_is_a_breach() {
    let mut bob = Bob::default();
    bob.partial.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(4096));
    rogue.say(&Message::Same { entry: ZERO, blocks: 0..1 });
    rogue.say(&Message::Same { entry: ZERO, blocks: 0..1 });
    breach(rogue, ProtocolError::BlockAgain { entry: ZERO, index: 0 });
}

#[test]
fn sender_that_calls_the_same_after_the_end_is_a_breach() {
    let mut bob = Bob::default();
    bob.partial.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(1024));
    rogue.say(&Message::End { entry: ZERO, size: 1024, root: Root::of(&[1; 1024]) });
    rogue.say(&Message::Same { entry: ZERO, blocks: 0..1 });
    breach(rogue, unexpected(Name::Same));
}

#[test]
fn sender_that_calls_different_what_is_not_compared_is_a_breach() {
    let mut rogue = offered(Some(1024));
    rogue.say(&Message::Differs { entry: ZERO });
    breach(rogue, unexpected(Name::Differs));
}

#[test]
fn sender_that_sends_blocks_while_a_file_is_compared_is_a_breach() {
    let mut bob = Bob::default();
    bob.visible.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(1024));
    say_block(&mut rogue, 0, &[2; 1024]);
    rogue.turn();
    let error = Failure::Protocol(unexpected(Name::Block));
    assert_eq!(rogue.ended(), Some(Err(error)));
    assert_eq!(rogue.pair.bob.visible[&path("f0")], [1; 1024]);
}

#[test]
fn sender_that_lies_of_a_held_file_being_the_same_changes_nothing() {
    let mut bob = Bob::default();
    bob.visible.insert(path("f0"), vec![1; 1024]);
    let mut rogue = offered_to(bob, &config(), Some(1024));
    rogue.say(&Message::Same { entry: ZERO, blocks: 0..1 });
    rogue.say(&Message::End { entry: ZERO, size: 1024, root: Root::of(b"other") });
    let said = rogue.turn();
    assert!(said.iter().any(|message| message.name() == Name::Refuse), "{said:?}");
    assert_eq!(rogue.pair.bob.visible[&path("f0")], [1; 1024]);
}

// Offers, ids, limits.

#[test]
fn sender_that_ends_an_entry_twice_is_a_breach() {
    let mut rogue = offered(Some(2048));
    for _ in 0..2 {
        rogue.say(&Message::End { entry: ZERO, size: 2048, root: Root::of(b"") });
    }
    breach(rogue, ProtocolError::SizeContradicts { entry: ZERO, size: 2048 });
}

#[test]
fn sender_that_offers_an_id_twice_or_out_of_order_is_a_breach() {
    for (first, second) in [(0, 0), (5, 5), (5, 4), (5, 0)] {
        let mut rogue = sender();
        rogue.say(&offer(first, Some(2048)));
        rogue.say(&offer(second, Some(2048)));
        breach(rogue, ProtocolError::EntryOutOfOrder { entry: EntryId::new(second) });
    }
}

#[test]
fn sender_that_offers_the_last_id_is_a_breach() {
    let mut rogue = sender();
    rogue.say(&offer(u32::MAX, Some(2048)));
    breach(rogue, ProtocolError::EntryOutOfOrder { entry: EntryId::new(u32::MAX) });
}

#[test]
fn sender_that_speaks_of_an_entry_never_offered_is_a_breach() {
    let reason = Reason { code: 1, first: 0, second: 0 };
    let entry = EntryId::new(7);
    for message in [
        Message::Same { entry, blocks: 0..1 },
        Message::Zeros { entry, blocks: 0..1 },
        Message::Differs { entry },
        Message::End { entry, size: 0, root: Root::of(b"") },
        Message::Withdraw { entry, reason },
    ] {
        let mut rogue = offered(Some(2048));
        rogue.say(&message);
        breach(rogue, ProtocolError::UnknownEntry { kind: message.name(), entry });
    }
}

#[test]
fn sender_with_too_many_open_entries_is_a_breach() {
    let mut rogue = Rogue::sender(&limits(|l| l.open_entries(2)), Bob::default()).greeted();
    (0..3).for_each(|entry| rogue.say(&offer(entry, None)));
    breach(rogue, ProtocolError::TooManyPending { entry: EntryId::new(2), limit: 2 });
}

#[test]
fn sender_with_too_many_pending_entries_is_a_breach() {
    let mut rogue = Rogue::sender(&limits(|l| l.pending_entries(2)), Bob::default()).greeted();
    (0..3).for_each(|entry| rogue.say(&offer(entry, None)));
    breach(rogue, ProtocolError::TooManyPending { entry: EntryId::new(2), limit: 2 });
}

#[test]
fn sender_with_too_many_bytes_of_names_is_a_breach() {
    let mut rogue = Rogue::sender(&limits(|l| l.pending_names(100)), Bob::default()).greeted();
    for entry in 0..2 {
        rogue.say(&Message::Offer(wire(entry, &[b'a' + entry as u8; 60], None)));
    }
    breach(rogue, ProtocolError::TooManyNames { limit: 100 });
}

#[test]
fn sender_of_dangerous_names_has_each_refused() {
    for name in [
        &b"../x"[..],
        b"/etc/x",
        b"a/../../x",
        b"..\\x",
        b"C:x",
        b"\\\\srv\\x",
        b"//x",
        b"",
        b".",
        b"..",
        b"a//b",
        b"a\0b",
        b"a/",
        b"CON",
        b"nul.txt",
        b"f:stream",
        b"a.",
        b"a ",
        b".haul-1.part",
    ] {
        let mut rogue = sender();
        rogue.say(&Message::Offer(wire(0, name, Some(10))));
        refused(rogue, Refusal::Name);
    }
}

#[test]
fn sender_of_a_file_past_the_limits_is_refused_before_the_store_hears_of_it() {
    for size in [1 << 62, (1 << 62) + 1, u64::MAX] {
        let mut rogue = Rogue::sender(&limits(|l| l.file_bytes(1 << 40)), Bob::default()).greeted();
        rogue.say(&offer(0, Some(size)));
        refused(rogue, Refusal::TooLarge { size, limit: 1 << 40 });
    }
}

#[test]
fn sender_whose_sizes_sum_past_the_limit_is_refused() {
    let mut rogue = Rogue::sender(&limits(|l| l.total_bytes(1 << 40)), Bob::default()).greeted();
    rogue.say(&offer(0, Some(1 << 40)));
    rogue.say(&offer(1, Some(1)));
    let reason = Refusal::TooMuch { limit: 1 << 40 }.into();
    assert!(rogue.turn().contains(&Message::Refuse { entry: EntryId::new(1), reason }));
}

#[test]
fn sender_of_more_entries_than_allowed_is_refused() {
    let mut rogue = Rogue::sender(&limits(|l| l.entries(2)), Bob::default()).greeted();
    (0..3).for_each(|entry| rogue.say(&offer(entry, Some(5000))));
    let said = rogue.turn();
    let reason = Refusal::TooMany { limit: 2 }.into();
    assert!(said.contains(&Message::Refuse { entry: EntryId::new(2), reason }));
}

#[test]
fn sender_of_an_offer_that_contradicts_itself_is_a_breach() {
    let good = wire(0, b"a", Some(4));
    let with = |change: &dyn Fn(&mut WireOffer)| {
        let mut offer = good.clone();
        change(&mut offer);
        offer
    };
    let root = Some(Root::of(b"four"));
    let cases: Vec<(&str, WireOffer, &[u8])> = vec![
        ("payload without inline", good.clone(), b"four"),
        ("inline without root", with(&|o| o.inline = true), b"four"),
        (
            "inline of unknown size",
            with(&|o| (o.inline, o.root, o.size) = (true, root, None)),
            b"four",
        ),
        ("inline of another size", with(&|o| (o.inline, o.root) = (true, root)), b"three"),
        ("root of a size unknown", with(&|o| (o.root, o.size) = (root, None)), b""),
        ("root of nothing", with(&|o| (o.root, o.size) = (root, Some(0))), b""),
        ("root of more than a block", with(&|o| (o.root, o.size) = (root, Some(1025))), b""),
        ("folder by its root", with(&|o| (o.kind, o.root) = (Kind::Directory, root)), b""),
        ("folder with a size", with(&|o| o.kind = Kind::Directory), b""),
        ("folder without a size", with(&|o| (o.kind, o.size) = (Kind::Directory, None)), b""),
        (
            "folder with content",
            with(&|o| (o.kind, o.inline, o.root) = (Kind::Directory, true, root)),
            b"four",
        ),
        ("link with a size", with(&|o| o.kind = Kind::Symlink((*b"x").into())), b""),
        ("blocks larger than allowed", with(&|o| o.block_size = BlockSize::MAX), b""),
    ];
    for (name, offer, payload) in cases {
        let mut rogue = sender();
        rogue.say_with(&Message::Offer(offer), payload);
        rogue.turn();
        let error = ProtocolError::Malformed { kind: Name::Offer };
        assert_eq!(rogue.ended(), Some(Err(Failure::Protocol(error))), "{name}");
        assert!(rogue.pair.bob.partial.is_empty(), "{name}");
    }
}

#[test]
fn sender_of_nanoseconds_past_a_second_is_a_breach() {
    let mut rogue = sender();
    let time = crate::proto::Timestamp { seconds: i64::MIN, nanos: 1_000_000_000 };
    let mut offer = wire(0, b"a", Some(4));
    offer.modified = Some(time);
    rogue.say(&Message::Offer(offer));
    ends(rogue, ProtocolError::Malformed { kind: Name::Offer });
}

#[test]
fn sender_of_extreme_times_and_modes_has_them_tamed() {
    for seconds in [i64::MIN, -1, 0, i64::MAX] {
        let mut rogue = sender();
        let mut offer = wire(0, b"a", Some(0));
        offer.modified = crate::proto::Timestamp::new(seconds, 999_999_999);
        (offer.mode, offer.inline, offer.root) = (Some(u32::MAX), true, Some(Root::of(b"")));
        rogue.say(&Message::Offer(offer));
        rogue.turn();
        let commit = rogue.pair.bob.committed.last().unwrap();
        assert_eq!(commit.meta.mode, Some(0o777));
        assert_eq!(commit.meta.modified.map(|time| time.seconds()), Some(seconds));
    }
}

#[test]
fn sender_of_a_flag_kind_or_block_size_that_does_not_exist_is_a_breach() {
    let mut control = Vec::new();
    offer(0, Some(4)).encode(&mut control);
    for (at, value) in [(4, 3), (4, 255), (5, 32), (5, 0xFF), (6, 14), (6, 255)] {
        let mut rogue = sender();
        let mut control = control.clone();
        control[at] = value;
        rogue.say_raw(Name::Offer.kind(), &control, &[]);
        ends(rogue, ProtocolError::Malformed { kind: Name::Offer });
    }
}

// The course of a session.

#[test]
fn sender_that_is_out_with_entries_pending_is_a_breach() {
    let mut rogue = offered(Some(2048));
    rogue.say(&Message::Out);
    breach(rogue, ProtocolError::Unexpected { kind: Name::Out });
}

#[test]
fn sender_that_says_anything_after_out_is_not_heard() {
    let mut rogue = sender();
    rogue.say(&Message::Out);
    rogue.say(&offer(0, Some(2048)));
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Ok(())));
    assert!(rogue.pair.bob.partial.is_empty());
}

#[test]
fn sender_that_greets_twice_is_a_breach() {
    let mut rogue = sender();
    rogue.say_hello();
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
        Message::Failed { entry, reason },
    ] {
        let mut rogue = offered(Some(2048));
        rogue.say(&message);
        breach(rogue, ProtocolError::Unexpected { kind: message.name() });
    }
}

#[test]
fn sender_that_offers_before_it_greets_is_a_breach() {
    let mut rogue = Rogue::sender(&config(), Bob::default());
    rogue.raw(&PREFACE);
    rogue.say(&offer(0, Some(5)));
    ends(rogue, ProtocolError::Unexpected { kind: Name::Offer });
}

#[test]
fn sender_that_goes_on_after_its_breach_is_told_with_the_floor_or_left_at_the_deadline() {
    let mut rogue = sender();
    rogue.say(&Message::End { entry: ZERO, size: 0, root: Root::of(b"") });
    for _ in 0..100 {
        rogue.say(&Message::Heartbeat { activity: Activity::Reading });
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
    (0..30).for_each(|entry| rogue.say(&offer(entry, Some(5000))));
    ends(rogue, ProtocolError::TurnTooLong { limit: 500 });
}

#[test]
fn sender_of_heartbeats_for_ever_is_left_at_the_deadline() {
    let mut rogue = sender();
    for second in (0..900).step_by(5) {
        assert_eq!(rogue.ended(), None, "{second}");
        rogue.say(&Message::Heartbeat { activity: Activity::Reading });
        rogue.wait(Duration::from_secs(5));
    }
    ends(rogue, Stall::Idle { after: Duration::from_secs(900) });
}

#[test]
fn sender_of_kinds_that_nobody_knows_is_skipped_or_a_breach() {
    let mut rogue = sender();
    for kind in 0x80..=0xFF {
        rogue.say_raw(kind, &[1; 100], &[2; 4096]);
    }
    rogue.turn();
    assert_eq!(rogue.ended(), None);
    for kind in (0..0x80).filter(|kind| Name::from_kind(*kind).is_none()) {
        let mut rogue = sender();
        rogue.say_raw(kind, &[], &[]);
        ends(rogue, ProtocolError::UnknownKind { kind });
    }
    for (control, payload) in [(vec![0; 4097], vec![]), (vec![], vec![0; 4097])] {
        let mut rogue = sender();
        rogue.say_raw(0x90, &control, &payload);
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
    rogue.say_hello();
    rogue.over(true);
    rogue.settle();
    let said = rogue.pair.up.record.clone();
    // Its own greeting and what follows, without the preface that a stream has once.
    rogue.raw(&said[PREFACE.len()..]);
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Err(Failure::Damaged(Damage::Header { number: 2 }))));
}

// Greetings.

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
        let said = rogue.hear();
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
    hello.resize(1024, 7);
    let mut rogue = Rogue::sender(&config(), Bob::default());
    rogue.raw(&PREFACE);
    rogue.say_raw(1, &hello, &[]);
    rogue.over(true);
    rogue.settle();
    assert_eq!(rogue.ended(), None);
    hello.push(7);
    let mut rogue = Rogue::sender(&config(), Bob::default());
    rogue.raw(&PREFACE);
    rogue.say_raw(1, &hello, &[]);
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
            Some(Err(Failure::Incompatible(Incompatible::NotHaul { .. })))
        ));
        assert!(rogue.pair.up.record.is_empty(), "nothing is said to a stranger");
    }
}

// Receivers.

fn alice(len: usize) -> Alice {
    let files = vec![(Meta::file(path("a"), Some(len as u64)), content(1, len))];
    Alice { files, ..Alice::default() }
}

/// A rogue receiver of one file; it was offered, and the floor is the rogue's.
fn receiver(len: usize) -> Rogue {
    let mut rogue = Rogue::receiver(&config(), alice(len)).greeted();
    assert!(rogue.hear().iter().any(|message| message.name() == Name::Offer));
    rogue
}

fn have(first: u64, count: usize, more: bool) -> Message {
    let hashes = vec![BlockHash::from_bytes([5; 32]); count];
    Message::Have { entry: ZERO, first, hashes, more, compare: false }
}

/// A rogue receiver that was sent all of a file of 3000 bytes.
fn sent() -> Rogue {
    let mut rogue = receiver(3000);
    rogue.say(&have(0, 0, false));
    rogue.over(true);
    rogue.settle();
    assert!(rogue.hear().iter().any(|message| message.name() == Name::End));
    rogue
}

fn receipt(size: u64, root: Root, name: &[u8]) -> Message {
    let (durability, outcome) = (Durability::Synced, Outcome::Stored);
    Message::Receipt { entry: ZERO, size, root, durability, outcome, name: name.into() }
}

#[track_caller]
fn receiver_breach(mut rogue: Rogue, message: &Message, error: ProtocolError) {
    rogue.say(message);
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Err(Failure::Protocol(error))));
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
    rogue.say(&have(0, 1, false));
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
    rogue.hear();
    rogue.say(&have(0, 0, false));
    rogue.over(true);
    rogue.settle();
    for _ in 0..6 {
        assert_eq!(rogue.ended(), None);
        rogue.hear();
        rogue.say(&Message::Missing { entry: ZERO, blocks: vec![0..1] });
        rogue.over(true);
        rogue.settle();
    }
    let failure = Failure::Damaged(Damage::TooOften { entry: ZERO, rounds: 5 });
    assert_eq!(rogue.ended(), Some(Err(failure)));
}

#[test]
fn receiver_that_misses_all_of_it_again_and_again_in_one_turn_makes_no_queue() {
    let mut rogue = sent();
    for _ in 0..50 {
        rogue.say(&Message::Missing { entry: ZERO, blocks: vec![0..3] });
    }
    rogue.over(true);
    rogue.settle();
    let blocks = rogue.hear().iter().filter(|message| message.name() == Name::Block).count();
    assert_eq!(blocks, 3);
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
    let root = Root::of(&content(1, 3000));
    let error = ProtocolError::FalseReceipt { entry: ZERO };
    receiver_breach(sent(), &receipt(3000, Root::of(b""), b""), error);
    receiver_breach(sent(), &receipt(2999, root, b""), error);
    receiver_breach(sent(), &receipt(u64::MAX, root, b""), error);
    receiver_breach(receiver(3000), &receipt(3000, root, b""), error);
    let mut rogue = receiver(3000);
    rogue.say(&have(0, 0, false));
    receiver_breach(rogue, &receipt(3000, root, b""), error);
}

#[test]
fn receipt_under_a_dangerous_name_is_a_breach() {
    let root = Root::of(&content(1, 3000));
    for name in [&b"../x"[..], b"/x", b"a\0", b"a/../b", b"\\x"] {
        let error = ProtocolError::Malformed { kind: Name::Receipt };
        receiver_breach(sent(), &receipt(3000, root, name), error);
    }
}

#[test]
fn receipt_given_twice_is_a_breach() {
    let root = Root::of(&content(1, 3000));
    let mut rogue = sent();
    rogue.say(&receipt(3000, root, b""));
    rogue.say(&receipt(3000, root, b""));
    rogue.settle();
    let error = ProtocolError::UnknownEntry { kind: Name::Receipt, entry: ZERO };
    assert_eq!(rogue.ended(), Some(Err(Failure::Protocol(error))));
}

#[test]
fn receipt_of_a_level_or_outcome_that_does_not_exist_is_a_breach() {
    let mut control = Vec::new();
    receipt(3000, Root::of(&content(1, 3000)), b"").encode(&mut control);
    for (at, value) in [(44, 3), (44, 255), (45, 2), (45, 255)] {
        let mut rogue = sent();
        let mut control = control.clone();
        control[at] = value;
        rogue.say_raw(Name::Receipt.kind(), &control, &[]);
        rogue.settle();
        let error = ProtocolError::Malformed { kind: Name::Receipt };
        assert_eq!(rogue.ended(), Some(Err(Failure::Protocol(error))));
    }
}

#[test]
fn receiver_that_passes_the_floor_back_with_nothing_is_a_breach() {
    let error = ProtocolError::Unexpected { kind: Name::Over };
    receiver_breach(receiver(3000), &Message::Over { waiting: true }, error);
    receiver_breach(sent(), &Message::Over { waiting: false }, error);
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
        Message::Differs { entry: ZERO },
        Message::End { entry: ZERO, size: 0, root: Root::of(b"") },
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
        Message::Failed { entry, reason },
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
        rogue.say(&Message::Heartbeat { activity: Activity::Syncing });
        rogue.wait(Duration::from_secs(5));
        assert!(rogue.pair.now - start <= Duration::from_secs(900));
    }
    let failure = Failure::Stalled(Stall::Idle { after: Duration::from_secs(900) });
    assert_eq!(rogue.ended(), Some(Err(failure)));
}

#[test]
fn receiver_that_asks_for_blocks_of_unknown_codes_of_refusal_is_a_refusal() {
    for code in [0, 19, u16::MAX] {
        let mut rogue = receiver(3000);
        rogue.say(&Message::Refuse { entry: ZERO, reason: Reason { code, first: 1, second: 2 } });
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

#[test]
fn replaced_file_is_not_touched_by_a_sender_that_lies_of_its_blocks() {
    let config = config().existing(Existing::Replace);
    let mut bob = Bob::default();
    bob.visible.insert(path("f0"), vec![1; 4096]);
    let mut rogue = offered_to(bob, &config, Some(4096));
    rogue.say(&Message::Same { entry: ZERO, blocks: 0..2 });
    say_block(&mut rogue, 2, &[7; 1024]);
    rogue.say(&Message::Same { entry: ZERO, blocks: 3..4 });
    rogue.say(&Message::End { entry: ZERO, size: 4096, root: Root::of(b"other") });
    let said = rogue.turn();
    assert!(said.iter().any(|message| message.name() == Name::Failed), "{said:?}");
    assert_eq!(rogue.pair.bob.visible[&path("f0")], [1; 4096]);
}
