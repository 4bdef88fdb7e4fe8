//! Streams, whose size is not known before they end, against the limits of a receiver.

use super::pair::{Bob, content, path};
use super::rogue::{Rogue, wire};
use crate::config::{Config, Limits};
use crate::hash::{BlockSize, BlockTree};
use crate::proto::wire::message::{Message, Name};
use crate::types::{EntryId, Refusal};

const ZERO: EntryId = EntryId::new(0);

fn limits(change: impl FnOnce(Limits) -> Limits) -> Config {
    Config::default().block_size(BlockSize::MIN).limits(change(Limits::default()))
}

/// Returns a rogue sender that has offered a stream, and has the floor.
fn offered_to(bob: Bob, config: &Config) -> Rogue {
    let mut rogue = Rogue::sender(config, bob).greeted();
    rogue.send(&Message::Offer(wire(0, b"f0", None)));
    rogue.turn();
    rogue
}

fn send_block(rogue: &mut Rogue, index: u64, bytes: &[u8]) {
    let hash = BlockSize::MIN.hash(index, bytes).unwrap().hash;
    rogue.send_with(&Message::Block { entry: ZERO, index, hash }, bytes);
}

#[test]
fn stream_past_a_limit_leaves_nothing() {
    let file = Refusal::TooLarge { size: 2048, limit: 2000 };
    let all = Refusal::TooMuch { limit: 2000 };
    for (config, reason) in
        [(limits(|l| l.file_bytes(2000)), file), (limits(|l| l.total_bytes(2000)), all)]
    {
        for zeros in [false, true] {
            let mut rogue = offered_to(Bob::default(), &config);
            send_block(&mut rogue, 0, &[1; 1024]);
            rogue.settle();
            assert_eq!(rogue.pair.bob.partial[&path("f0")], [1; 1024]);
            if zeros {
                rogue.send(&Message::Zeros { entry: ZERO, blocks: 1..2 });
            } else {
                send_block(&mut rogue, 1, &[1; 1024]);
            }
            let said = rogue.turn();
            assert!(said.contains(&Message::Refuse { entry: ZERO, reason: reason.into() }));
            assert!(rogue.pair.bob.partial.is_empty(), "{reason:?} {zeros}");
        }
    }
}

/// Returns what a receiver holds that is sent 3000 bytes as a stream, of which it had these.
fn stream_over(held: &[u8], existing: bool, config: &Config) -> (Vec<Message>, Bob) {
    let bytes = content(1, 3000);
    let mut bob = Bob::default();
    if existing { &mut bob.visible } else { &mut bob.partial }.insert(path("f0"), held.to_vec());
    let mut rogue = offered_to(bob, config);
    // Of a file that stands there, nothing is told.
    let same = held.chunks(1024).zip(bytes.chunks(1024)).take_while(|(a, b)| a == b).count();
    let same = if existing { 0 } else { same };
    if same > 0 {
        rogue.send(&Message::Same { entry: ZERO, blocks: 0..same as u64 });
    }
    for (index, bytes) in bytes.chunks(1024).enumerate().skip(same) {
        send_block(&mut rogue, index as u64, bytes);
    }
    let (mut tree, size) = (BlockTree::new(), BlockSize::MIN);
    for (index, bytes) in (0..).zip(bytes.chunks(1024)) {
        tree.insert(&size.hash(index, bytes).unwrap());
    }
    rogue.send(&Message::End { entry: ZERO, size: 3000, root: tree.root(3).unwrap() });
    let mut said = rogue.turn();
    said.extend(rogue.turn());
    (said, std::mem::take(&mut rogue.pair.bob))
}

#[test]
fn stream_counts_against_the_limits_with_what_is_held_of_it() {
    let bytes = content(1, 3000);
    let mut other = bytes.clone();
    other[2500] ^= 1;
    for (held, existing) in
        [(&bytes, false), (&bytes, true), (&other, false), (&bytes[..2048].to_vec(), false)]
    {
        for is_enough in [false, true] {
            let limit = if is_enough { 3000 } else { 2999 };
            for config in [limits(|l| l.file_bytes(limit)), limits(|l| l.total_bytes(limit))] {
                let (said, bob) = stream_over(held, existing, &config);
                let case = format!("{} {existing} {limit} {said:?}", held.len());
                let is_held = said.iter().any(|message| message.name() == Name::Receipt);
                assert_eq!(is_held, is_enough, "{case}");
                assert_eq!(bob.visible.contains_key(&path("f0")), is_enough || existing, "{case}");
                assert!(bob.partial.is_empty(), "{case}");
            }
        }
    }
}
