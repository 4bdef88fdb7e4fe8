//! Parts of incomplete entries that a receiver keeps, and messages of a sender about them.

use std::time::Duration;

use super::{KIB, ZERO, broke, check_reads, config, offer, send_block};
use crate::config::{Config, Limits, Turn};
use crate::hash::{BlockHash, BlockSize, Hash};
use crate::proto::ProtocolError;
use crate::proto::tests::pair::{Bob, content, path};
use crate::proto::tests::rogue::{Rogue, inline};
use crate::proto::wire::message::{Message, Name, WireOffer};

/// Returns a rogue sender that has sent three of four blocks of `a`, and comes again.
fn with_three_blocks(bytes: &[u8]) -> Rogue {
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    rogue.send(&Message::Offer(offer(0, "a", Some(bytes.len() as u64))));
    rogue.turn();
    for index in 0..3 {
        send_block(&mut rogue, bytes, index);
    }
    rogue.turn();
    rogue.again(&config(), 2)
}

#[test]
fn known_entry_is_answered_with_what_is_kept_and_goes_on() {
    let bytes = content(1, 4 * KIB);
    let mut rogue = with_three_blocks(&bytes);
    rogue.send(&Message::Offer(offer(0, "a", Some(4096))));
    let have = Message::Have { entry: ZERO, first: 0, hashes: vec![], more: false, compare: false };
    let kept = Message::Kept { entry: ZERO, blocks: vec![0..3] };
    assert_eq!(rogue.turn()[..2], [kept, have]);
    send_block(&mut rogue, &bytes, 3);
    rogue.send(&Message::End { entry: ZERO, size: 4096, root: Hash::of(&bytes) });
    assert!(matches!(rogue.turn()[..], [Message::Receipt { .. }, Message::Over { .. }]));
    assert!(rogue.pair.bob.reads.is_empty());
}

#[test]
fn block_that_is_kept_and_sent_again_breaks_the_protocol() {
    let bytes = content(1, 4 * KIB);
    let again = |say: &dyn Fn(&mut Rogue)| {
        let mut rogue = with_three_blocks(&bytes);
        rogue.send(&Message::Offer(offer(0, "a", Some(4096))));
        rogue.turn();
        say(&mut rogue);
        rogue.turn();
        broke(&rogue, ProtocolError::BlockAgain { entry: ZERO, index: 1 });
    };
    again(&|rogue| send_block(rogue, &bytes, 1));
    again(&|rogue| rogue.send(&Message::Zeros { entry: ZERO, blocks: 1..2 }));
}

#[test]
fn block_of_an_entry_that_is_not_offered_again_breaks_the_protocol() {
    let bytes = content(1, 4 * KIB);
    let mut rogue = with_three_blocks(&bytes);
    send_block(&mut rogue, &bytes, 3);
    rogue.turn();
    broke(&rogue, ProtocolError::UnknownEntry { kind: Name::Block, entry: ZERO });
}

#[test]
fn entry_that_is_offered_again_as_something_else_begins_anew() {
    let bytes = content(1, 4 * KIB);
    let time = crate::types::Timestamp::new(5, 0);
    for other in [
        offer(0, "b", Some(4096)),
        offer(0, "a", Some(5000)),
        offer(0, "a", None),
        WireOffer { modified: time, ..offer(0, "a", Some(4096)) },
        WireOffer { mode: Some(0o600), ..offer(0, "a", Some(4096)) },
        WireOffer { block_size: BlockSize::at_most(2048), ..offer(0, "a", Some(4096)) },
    ] {
        let mut rogue = with_three_blocks(&bytes);
        rogue.send(&Message::Offer(other.clone()));
        let said = rogue.turn();
        assert!(
            !said.iter().any(|said| matches!(said, Message::Kept { .. })),
            "{other:?} {said:?}"
        );
        assert!(matches!(said[0], Message::Have { first: 0, .. }), "{other:?} {said:?}");
        assert_eq!(rogue.ended(), None);
    }
    // How it is stored is no part of what it is.
    let mut rogue = with_three_blocks(&bytes);
    rogue.send(&Message::Offer(WireOffer { data: Some(7), ..offer(0, "a", Some(4096)) }));
    assert!(rogue.turn().iter().any(|said| matches!(said, Message::Kept { .. })));
    // Where the offer is refused, what was open is let go.
    let mut rogue = with_three_blocks(&bytes);
    rogue.send(&Message::Offer(offer(0, "..", Some(4096))));
    assert!(matches!(rogue.turn()[0], Message::Refuse { .. }));
    assert!(rogue.pair.bob.open.is_empty());
}

#[test]
fn entry_that_is_passed_over_or_left_at_the_end_is_let_go() {
    let bytes = content(1, 4 * KIB);
    let mut rogue = with_three_blocks(&bytes);
    rogue.send_with(&Message::Offer(inline(1, b"b", b"new")), b"new");
    rogue.turn();
    assert!(rogue.pair.bob.open.is_empty() && rogue.pair.bob.partial.contains_key(&path("a")));
    let mut rogue = with_three_blocks(&bytes);
    rogue.send(&Message::Out);
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Ok(())));
    assert!(rogue.pair.bob.open.is_empty() && rogue.pair.bob.partial.contains_key(&path("a")));
}

/// Returns a rogue sender whose file is offered again, after a connection on which every second of its 2100 blocks
/// was sent.
fn with_every_second_block(bytes: &[u8]) -> Rogue {
    let mut rogue = Rogue::sender(&of_many_ranges(), Bob::default()).greeted();
    let whole = offer(0, "a", Some(bytes.len() as u64));
    rogue.send(&Message::Offer(whole.clone()));
    rogue.turn();
    for index in (0..2100).step_by(2) {
        send_block(&mut rogue, bytes, index);
        rogue.settle();
    }
    let mut rogue = rogue.again(&of_many_ranges(), 2);
    rogue.send(&Message::Offer(whole));
    rogue
}

/// Returns settings by which more ranges of one entry may be there than one message can carry.
fn of_many_ranges() -> Config {
    config().limits(Limits::default().holes(2048))
}

#[test]
fn zeros_for_a_block_that_was_written_and_is_not_kept_are_written() {
    let mut bytes = content(1, 2100 * KIB);
    let mut rogue = with_every_second_block(&bytes);
    assert!(matches!(rogue.turn()[0], Message::Kept { .. }));
    // More ranges than can be said: this block is not kept, and is another one by now.
    bytes[2048 * KIB..2049 * KIB].fill(0);
    for index in (0..2100).filter(|index| index % 2 == 1 || *index > 2048) {
        send_block(&mut rogue, &bytes, index);
        rogue.settle();
    }
    rogue.send(&Message::Zeros { entry: ZERO, blocks: 2048..2049 });
    rogue.send(&Message::End { entry: ZERO, size: bytes.len() as u64, root: Hash::of(&bytes) });
    assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
    assert!(rogue.pair.bob.visible[&path("a")] == bytes, "what is receipted is what is held");
}

#[test]
fn report_of_a_block_that_was_written_and_is_not_kept_is_of_what_is_held() {
    let (bytes, old) = (content(1, 2100 * KIB), content(2, 2100 * KIB));
    let bob = Bob { partial: [(path("a"), old.clone())].into(), ..Bob::default() };
    let mut rogue = Rogue::sender(&of_many_ranges(), bob).greeted();
    let whole = offer(0, "a", Some(bytes.len() as u64));
    rogue.send(&Message::Offer(whole.clone()));
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
        send_block(&mut rogue, &bytes, index);
        rogue.settle();
    }
    let mut rogue = rogue.again(&of_many_ranges(), 2);
    rogue.send(&Message::Offer(whole));
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
    let mut rogue = with_every_second_block(&bytes);
    let said = rogue.turn();
    let Message::Kept { blocks, .. } = &said[0] else { panic!("{said:?}") };
    assert_eq!((blocks.len(), blocks.last()), (1024, Some(&(2046..2047))));
    for index in (0..2100).filter(|index| index % 2 == 1 || *index >= 2048) {
        send_block(&mut rogue, &bytes, index);
        rogue.settle();
    }
    rogue.send(&Message::End { entry: ZERO, size: bytes.len() as u64, root: Hash::of(&bytes) });
    assert!(matches!(rogue.turn()[0], Message::Receipt { .. }));
}

#[test]
fn report_goes_on_once_what_is_kept_reaches_its_end() {
    // Each piece of what is held has one block.
    let config = config().turn(Turn::default().max_time(Duration::ZERO));
    let bytes = content(1, 6 * KIB);
    let mut bob = Bob::default();
    bob.partial.insert(path("a"), bytes.clone());
    let mut rogue = Rogue::sender(&config, bob).greeted();
    rogue.send(&Message::Offer(offer(0, "a", Some(6144))));
    rogue.turn();
    for index in 0..2 {
        rogue.send(&Message::Same { entry: ZERO, blocks: index..index + 1 });
        rogue.turn();
    }
    // One comes damaged, and is not sent again before the next.
    let hash = BlockHash::from_bytes([7; 32]);
    rogue.send_with(&Message::Block { entry: ZERO, index: 2, hash }, &[9; 1024]);
    rogue.turn();
    rogue.send(&Message::Same { entry: ZERO, blocks: 3..4 });
    rogue.settle();
    let mut rogue = rogue.again(&config, 2);
    rogue.send(&Message::Offer(offer(0, "a", Some(6144))));
    let said = rogue.turn();
    assert_eq!(said[0], Message::Kept { entry: ZERO, blocks: vec![0..2, 3..4] });
    assert!(matches!(said[1], Message::Have { first: 3, more: true, .. }), "{said:?}");
    send_block(&mut rogue, &bytes, 2);
    let said = rogue.turn();
    let is_next = |said: &Message| matches!(said, Message::Have { first: 4, .. });
    assert!(said.iter().any(is_next), "{said:?}");
    check_reads(&rogue.pair, &|| "held blocks".into());
}
