//! Streams, whose size is not known before they end, against the limits of a receiver.

use super::pair::{Bob, path};
use super::rogue::{Rogue, wire};
use crate::config::{Config, Limits};
use crate::proto::message::Message;
use crate::proto::types::{EntryId, Refusal};
use crate::tree::BlockSize;

const ZERO: EntryId = EntryId::new(0);

fn limits(change: impl FnOnce(Limits) -> Limits) -> Config {
    Config::default().block_size(BlockSize::MIN).limits(change(Limits::default()))
}

/// A rogue sender that has offered a stream, and has the floor.
fn offered_to(bob: Bob, config: &Config) -> Rogue {
    let mut rogue = Rogue::sender(config, bob).greeted();
    rogue.say(&Message::Offer(wire(0, b"f0", None)));
    rogue.turn();
    rogue
}

fn say_block(rogue: &mut Rogue, index: u64, bytes: &[u8]) {
    let hash = BlockSize::MIN.hash(index, bytes).unwrap().hash;
    rogue.say_with(&Message::Block { entry: ZERO, index, hash }, bytes);
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
            say_block(&mut rogue, 0, &[1; 1024]);
            rogue.settle();
            assert_eq!(rogue.pair.bob.partial[&path("f0")], [1; 1024]);
            if zeros {
                rogue.say(&Message::Zeros { entry: ZERO, blocks: 1..2 });
            } else {
                say_block(&mut rogue, 1, &[1; 1024]);
            }
            let said = rogue.turn();
            assert!(said.contains(&Message::Failed { entry: ZERO, reason: reason.into() }));
            assert!(rogue.pair.bob.partial.is_empty(), "{reason:?} {zeros}");
        }
    }
}
