//! Identity of an entry that is offered again.

use crate::hash::{BlockSize, Hash};
use crate::proto::wire::message::{Message, WireOffer};
use crate::types::{EntryId, Meta};

/// The hash of all that must be the same in an entry that is offered again. It takes less memory than a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(Hash);

impl Identity {
    pub(super) fn of(meta: &Meta, block_size: BlockSize) -> Self {
        // All that an offer gives of it, save its content.
        let offer = WireOffer {
            entry: EntryId::new(0),
            kind: meta.kind.clone(),
            block_size,
            size: meta.size,
            // How it is stored, not what it is.
            data: None,
            modified: meta.modified,
            mode: meta.mode,
            root: None,
            inline: false,
            by_time: false,
            name: meta.path.as_bytes().into(),
        };
        let mut bytes = Vec::new();
        Message::Offer(offer).encode(&mut bytes);
        Self(Hash::of(&bytes))
    }
}
