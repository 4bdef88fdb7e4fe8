//! Senders that would have more files open at the receiver than it announced: by what does not count when it is
//! offered.

use super::super::rogue::{inline, wire};
use super::*;
use crate::hash::Hash;

const FILES: u32 = 50;
const BYTES: &[u8] = &[7; 600];

/// Returns a rogue sender with this many small files wanted, of which nothing is held.
fn wanted(files: u32, offers: impl Fn(u32) -> (Message, &'static [u8])) -> Rogue {
    let config = limits(|limits| limits.open_entries(2));
    let mut rogue = Rogue::sender(&config, Bob::default()).greeted();
    for entry in 0..files {
        let (offer, payload) = offers(entry);
        rogue.send_with(&offer, payload);
    }
    let said = rogue.turn();
    let wants = said.iter().filter(|message| message.name() == Name::Have).count();
    assert_eq!(wants, files as usize, "{said:?}");
    assert_eq!(rogue.pair.bob.open.len(), 0, "nothing is open before content comes");
    rogue
}

/// Returns an offer by the root alone.
fn by_root(entry: u32) -> (Message, &'static [u8]) {
    let mut offer = wire(entry, format!("f{entry}").as_bytes(), Some(600));
    offer.root = Some(Hash::of(BYTES));
    (Message::Offer(offer), &[])
}

/// Returns an offer with its content, which comes damaged.
fn damaged(entry: u32) -> (Message, &'static [u8]) {
    (Message::Offer(inline(entry, format!("f{entry}").as_bytes(), BYTES)), &[8; 600])
}

fn block_of(entry: u32) -> Message {
    let hash = BlockSize::MIN.hash(0, BYTES).unwrap().hash;
    Message::Block { entry: EntryId::new(entry), index: 0, hash }
}

fn end_of(entry: u32) -> Message {
    Message::End { entry: EntryId::new(entry), size: 600, root: Hash::of(BYTES) }
}

#[test]
fn blocks_of_many_files_that_do_not_end_hold_one_of_them_open() {
    for offers in [by_root, damaged] {
        let mut rogue = wanted(FILES, offers);
        for entry in 0..FILES {
            rogue.send_with(&block_of(entry), BYTES);
        }
        rogue.turn();
        assert_eq!(rogue.pair.bob.open.len(), 1);
        assert!(rogue.pair.bob.most_open <= 2, "{}", rogue.pair.bob.most_open);
        // Whoever goes on well gets all of them through.
        rogue.send(&end_of(FILES - 1));
        for entry in 0..FILES - 1 {
            rogue.send_with(&block_of(entry), BYTES);
            rogue.send(&end_of(entry));
        }
        rogue.turn();
        assert_eq!(rogue.ended(), None);
        assert_eq!(rogue.pair.bob.visible.len(), FILES as usize);
        assert_eq!(rogue.pair.bob.open.len(), 0);
    }
}

#[test]
fn damaged_blocks_of_many_files_hold_none_of_them_open() {
    for offers in [by_root, damaged] {
        let mut rogue = wanted(FILES, offers);
        for entry in 0..FILES {
            rogue.send_with(&block_of(entry), &[9; 600]);
            rogue.send(&end_of(entry));
        }
        let said = rogue.turn();
        let again = said.iter().filter(|message| message.name() == Name::Missing).count();
        assert_eq!((again, rogue.pair.bob.open.len()), (FILES as usize, 0), "{said:?}");
        for entry in 0..FILES {
            rogue.send_with(&block_of(entry), BYTES);
        }
        rogue.turn();
        assert_eq!(rogue.ended(), None);
        assert_eq!(rogue.pair.bob.visible.len(), FILES as usize);
    }
}
