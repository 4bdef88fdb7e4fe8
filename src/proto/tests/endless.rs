//! Peers that go on for ever at random without moving an entry, which are left in the end.

use std::time::Duration;

use super::long;
use super::pair::{Alice, Bob, content, path};
use super::rogue::{Rogue, inline, wire};
use crate::config::{Config, IfExists};
use crate::hash::{BlockHash, BlockSize, Hash};
use crate::proto::wire::message::{Message, Reason};
use crate::types::{Activity, EntryId, Meta};

const BLOCKS: u64 = 5;

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN).if_exists(IfExists::Replace)
}

struct Choices(u64);

impl Choices {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

fn seeds() -> u64 {
    if long() { 20_000 } else { 400 }
}

fn block(entry: EntryId, index: u64) -> Message {
    let hash = BlockSize::MIN.hash(index, &[1; 1024]).unwrap().hash;
    Message::Block { entry, index, hash }
}

/// Acts as a sender that offers something, sends some of it, and from then on sends whatever moves
/// nothing.
fn say_nothing_new(rogue: &mut Rogue, choices: &mut Choices, is_due: bool, breaks: bool) {
    let entry = EntryId::new(u32::try_from(choices.below(2)).unwrap());
    let index = choices.below(BLOCKS);
    let blocks = index..index + 1;
    // What breaks a rule ends the session at once: few do, now and then.
    let kinds = if breaks && choices.is(40) { 9 } else { 4 };
    match choices.below(kinds) {
        // With content due, this says that the source has nothing, and is borne.
        0 if !is_due => rogue.send(&Message::Heartbeat {
            activity: Activity::from_code(u8::try_from(choices.below(4)).unwrap()),
        }),
        0 | 1 => rogue.send_raw(0x80, &[], &[]),
        2 if is_due => rogue.send_with(&block(entry, 3), &[2; 1024]),
        2 | 3 => {}
        4 => rogue.send_with(&block(entry, index), &[1; 1024]),
        5 => rogue.send(&Message::Zeros { entry, blocks }),
        6 => rogue.send(&Message::Same { entry, blocks }),
        7 => rogue.send(&Message::Offer(wire(entry.get(), b"f0", None))),
        _ => rogue.send(&Message::End { entry, size: 0, root: Hash::of(&[]) }),
    }
}

#[test]
fn sender_that_moves_nothing_in_whatever_way_is_left_after_the_idle_deadline() {
    for seed in 1..seeds() {
        let mut choices = Choices(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut bob = Bob::default();
        if choices.is(2) {
            bob.visible.insert(path("f0"), vec![1; 3000]);
        }
        if choices.is(2) {
            bob.partial.insert(path("f0"), vec![1; 3000]);
        }
        let mut rogue = Rogue::sender(&config(), bob).greeted();
        let (is_due, breaks) = (choices.is(2), choices.is(4));
        if is_due {
            rogue.send(&Message::Offer(wire(0, b"f0", choices.is(2).then_some(BLOCKS * 1024))));
            rogue.turn();
            for index in 0..choices.below(3) {
                rogue.send_with(&block(EntryId::new(0), index), &[1; 1024]);
            }
        } else {
            rogue.send_with(&Message::Offer(inline(0, b"f0", b"small")), b"small");
        }
        rogue.settle();
        let start = rogue.pair.now;
        let most = config().deadlines.idle + Duration::from_secs(60);
        while rogue.ended().is_none() {
            for _ in 0..choices.below(3) {
                say_nothing_new(&mut rogue, &mut choices, is_due, breaks);
            }
            // To wait where nothing is owed ends it at once.
            if breaks && choices.is(100) {
                rogue.turn();
            } else if !choices.is(3) {
                rogue.turn_without_waiting();
            }
            rogue.settle();
            rogue.wait(Duration::from_secs(choices.below(20)));
            assert!(rogue.pair.now - start < most, "seed {seed} goes on");
        }
    }
}

/// A receiver that sends at random what it may send of entries, and vouches for none.
#[test]
fn receiver_that_settles_nothing_in_whatever_way_is_left_in_the_end() {
    for seed in 1..seeds() {
        let mut choices = Choices(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let size = BLOCKS * 1024;
        let file = |name| (Meta::file(path(name), Some(size)), content(1, BLOCKS as usize * 1024));
        let alice = Alice { files: vec![file("a"), file("b")], ..Alice::default() };
        let mut rogue = Rogue::receiver(&config(), alice).greeted();
        let start = rogue.pair.now;
        rogue.receive();
        for entry in [0, 1].map(EntryId::new) {
            let hashes = Vec::new();
            rogue.send(&Message::Have { entry, first: 0, hashes, more: false, compare: false });
        }
        rogue.over(true);
        rogue.settle();
        // Of most sessions, few kinds: what breaks a rule ends one at once.
        let kinds: Vec<_> =
            (0..7).filter(|kind| choices.is(if *kind < 4 { 2 } else { 8 })).collect();
        let passes = choices.is(2);
        while rogue.ended().is_none() {
            rogue.receive();
            // Of some, nothing but time ends it: they are never silent.
            for _ in 0..1 + choices.below(2) {
                let entry = EntryId::new(u32::try_from(choices.below(2)).unwrap());
                let (from, to) = (choices.below(BLOCKS), choices.below(BLOCKS) + 1);
                let blocks = vec![from.min(to - 1)..to];
                let hashes = vec![BlockHash::from_bytes([7; 32]); choices.below(2) as usize];
                let (more, compare) = (choices.is(4), choices.is(4));
                let first = if choices.is(2) { 0 } else { from };
                let kind = choices.below(7);
                match kinds.iter().find(|chosen| **chosen >= kind).unwrap_or(&2) {
                    0 => rogue.send(&Message::Heartbeat { activity: Activity::Verifying }),
                    1 => rogue.send_raw(0x80, &[], &[]),
                    2 => rogue.send(&Message::Kept { entry, blocks: vec![0..to] }),
                    3 => rogue.send(&Message::Missing { entry, blocks }),
                    4 => rogue.send(&Message::Have { entry, first, hashes, more, compare }),
                    5 => rogue.send(&Message::Changed { entry }),
                    _ => {
                        let reason = Reason { code: 1, first: 0, second: 0 };
                        rogue.send(&Message::Refuse { entry, reason });
                    }
                }
                rogue.settle();
            }
            if passes && !choices.is(3) {
                rogue.over(true);
                rogue.settle();
            }
            rogue.wait(Duration::from_secs(choices.below(20)));
            // Each block may be reported, asked for and kept, and each of these as often as the limits have it.
            let most = 30 * config().deadlines.idle;
            assert!(rogue.pair.now - start < most, "seed {seed} goes on");
        }
    }
}
