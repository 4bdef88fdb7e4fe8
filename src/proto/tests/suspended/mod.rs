//! A receiver that takes over what the earlier connection of its transfer left (E-4 to E-7): whatever the place of the
//! cut, nothing is read twice on either side, nothing that arrived is sent again, and everything arrives once.

mod adopt;
mod answers;
mod cuts;
mod kept;
mod receivers;

use std::collections::BTreeSet;

use super::pair::Pair;
use super::rogue::{Rogue, wire};
use crate::config::Config;
use crate::hash::BlockSize;
use crate::proto::wire::message::{Message, WireOffer};
use crate::proto::{Error, ProtocolError};
use crate::types::EntryId;

pub(super) use cuts::messages;

const KIB: usize = 1024;
const ZERO: EntryId = EntryId::new(0);

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

fn check_reads(pair: &Pair, what: &impl Fn() -> String) {
    let mut seen = BTreeSet::new();
    for read in &pair.bob.reads {
        assert!(seen.insert(read), "{}: {read:?} is read twice", what());
    }
}

fn offer(entry: u32, name: &str, size: Option<u64>) -> WireOffer {
    wire(entry, name.as_bytes(), size)
}

fn send_block(rogue: &mut Rogue, bytes: &[u8], index: u64) {
    let start = usize::try_from(index).unwrap() * KIB;
    let payload = &bytes[start..(start + KIB).min(bytes.len())];
    let hash = BlockSize::MIN.hash(index, payload).unwrap().hash;
    rogue.send_with(&Message::Block { entry: ZERO, index, hash }, payload);
}

fn broke(rogue: &Rogue, error: ProtocolError) {
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
}
