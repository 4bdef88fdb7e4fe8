//! Receivers that lie of what they kept.

use super::{ZERO, broke, config};
use crate::config::Turn;
use crate::hash::{BlockHash, Hash};
use crate::proto::tests::pair::{Alice, content, path};
use crate::proto::tests::rogue::Rogue;
use crate::proto::wire::message::{Message, Name};
use crate::proto::{Error, ProtocolError};
use crate::types::Meta;

/// Returns a rogue receiver to which two of five blocks of a file have travelled, and to which the sender
/// comes again.
fn with_two_blocks() -> Rogue {
    let turn = Turn::default().initial_bytes(2000).max_bytes(2000);
    let config = config().turn(turn);
    let files = vec![(Meta::file(path("a"), Some(5000)), content(1, 5000))];
    let mut rogue = Rogue::receiver(&config, Alice { files, ..Alice::default() }).greeted();
    rogue.receive();
    rogue.send(&have(0, 0, false));
    rogue.over(true);
    rogue.settle();
    let blocks = rogue.receive().into_iter().filter(|said| matches!(said, Message::Block { .. }));
    assert_eq!(blocks.count(), 2);
    let mut rogue = rogue.again(&config, 2);
    rogue.receive();
    rogue
}

fn have(first: u64, hashes: usize, compare: bool) -> Message {
    let hashes = vec![BlockHash::from_bytes([7; 32]); hashes];
    Message::Have { entry: ZERO, first, hashes, more: false, compare }
}

fn kept(blocks: std::ops::Range<u64>) -> Message {
    Message::Kept { entry: ZERO, blocks: vec![blocks] }
}

#[test]
fn receiver_that_keeps_more_than_ever_travelled_is_found_out() {
    let unexpected = |kind| ProtocolError::UnexpectedForEntry { kind, entry: ZERO };
    for (said, error) in [
        (vec![kept(0..3)], Some(Name::Kept)),
        (vec![kept(4..5)], Some(Name::Kept)),
        (vec![have(3, 0, false)], Some(Name::Have)),
        (vec![have(3, 0, true)], Some(Name::Have)),
        (vec![have(0, 0, false), have(0, 0, false)], Some(Name::Have)),
        (vec![kept(0..2), have(0, 0, false)], None),
        (vec![kept(1..2), have(2, 0, false)], None),
        (vec![have(2, 0, true)], Some(Name::Have)),
        (vec![have(0, 1, true)], Some(Name::Have)),
        (vec![have(0, 0, true)], None),
    ] {
        let mut rogue = with_two_blocks();
        said.iter().for_each(|message| rogue.send(message));
        rogue.over(true);
        rogue.settle();
        let expected = error.map(|kind| Err(Error::Protocol(unexpected(kind))));
        assert_eq!(rogue.ended(), expected, "{said:?}");
    }
}

#[test]
fn receiver_that_keeps_blocks_of_what_is_compared_is_found_out() {
    let mut rogue = with_two_blocks();
    rogue.send(&have(0, 0, true));
    rogue.over(true);
    rogue.settle();
    let root = Some(Hash::of(&content(1, 5000)));
    assert!(rogue.receive().contains(&Message::Claim { entry: ZERO, root }));
    rogue.send(&kept(0..1));
    rogue.over(true);
    rogue.settle();
    broke(&rogue, ProtocolError::UnexpectedForEntry { kind: Name::Kept, entry: ZERO });
}
