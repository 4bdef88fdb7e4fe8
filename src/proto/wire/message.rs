//! The messages and their content. Rules M-1 to M-20 of the wire document; their bytes are in
//! [`super::codec`].

use std::ops::{Range, RangeInclusive};

use crate::hash::{BlockHash, BlockSize, Hash};
use crate::types::{
    AbortCode, Activity, Closed, Durability, EntryId, Kind, Meta, Outcome, RelPath, Timestamp,
    TransferId,
};

/// Message of one side to the other. Payload, where there is any, stands behind the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Hello),
    Offer(WireOffer),
    /// Hashes of blocks that the receiver holds, from block `first`. None at all: send everything; or, to compare, send
    /// the root of everything first.
    Have {
        entry: EntryId,
        first: u64,
        hashes: Vec<BlockHash>,
        more: bool,
        compare: bool,
    },
    /// The receiver does not take the entry, or could not keep it.
    Refuse {
        entry: EntryId,
        reason: Reason,
    },
    /// The block stands in the payload.
    Block {
        entry: EntryId,
        index: u64,
        hash: BlockHash,
    },
    /// These blocks are equal to those that `Have` reported.
    Same {
        entry: EntryId,
        blocks: Range<u64>,
    },
    /// These blocks are zeros.
    Zeros {
        entry: EntryId,
        blocks: Range<u64>,
    },
    /// The answer to a `Have` that asked to compare: the root of the whole content. `None`: it cannot be read twice.
    Claim {
        entry: EntryId,
        root: Option<Hash>,
    },
    End {
        entry: EntryId,
        size: u64,
        root: Hash,
    },
    Missing {
        entry: EntryId,
        blocks: Vec<Range<u64>>,
    },
    /// These blocks were verified and written: they will not be asked for again.
    Kept {
        entry: EntryId,
        blocks: Vec<Range<u64>>,
    },
    Receipt {
        entry: EntryId,
        size: u64,
        root: Hash,
        durability: Durability,
        outcome: Outcome,
        /// The final name, empty if it is the offered one.
        name: Box<[u8]>,
    },
    Withdraw {
        entry: EntryId,
        reason: Reason,
    },
    /// The floor passes; `waiting` means that its sender cannot go on before it gets an answer.
    Over {
        waiting: bool,
    },
    Out,
    Abort {
        code: AbortCode,
    },
    Heartbeat {
        activity: Activity,
    },
    /// The receiver's file has the size and the time that were offered.
    Unchanged {
        entry: EntryId,
    },
    /// The receiver's file differs in size or time, or there is none: the entry is to be offered
    /// again.
    Changed {
        entry: EntryId,
    },
}

/// The greeting (M-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) versions: RangeInclusive<u16>,
    pub(crate) sender: bool,
    /// The largest block that this side accepts.
    pub(crate) block: BlockSize,
    /// Number of this stream among those of the transfer; 0 is the first.
    pub(crate) link: u16,
    pub(crate) attempt: u32,
    pub(crate) transfer: TransferId,
    pub(crate) nonce: [u8; 16],
    /// Features that this side has.
    pub(crate) offered: u32,
    /// Features that the other side must have.
    pub(crate) required: u32,
    /// The most bytes of a turn that this side listens to.
    pub(crate) turn_bytes: u64,
    pub(crate) open_entries: u32,
    pub(crate) pending_entries: u32,
    pub(crate) pending_names: u32,
    /// Value that binds the session to its channel; zeros where nothing does.
    pub(crate) binding: [u8; 32],
    /// The proof that its speaker has the secret of a ticket; zeros where there is none.
    pub(crate) proof: [u8; 32],
}

/// An offer as it stands on the wire: its name not yet checked (M-2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WireOffer {
    pub(crate) entry: EntryId,
    pub(crate) kind: Kind,
    pub(crate) block_size: BlockSize,
    pub(crate) size: Option<u64>,
    /// Number of bytes of it that are not in holes, where that is fewer.
    pub(crate) data: Option<u64>,
    pub(crate) modified: Option<Timestamp>,
    pub(crate) mode: Option<u32>,
    pub(crate) root: Option<Hash>,
    /// The whole content stands in the payload.
    pub(crate) inline: bool,
    /// Set if the receiver is asked for a file of this size and time.
    pub(crate) by_time: bool,
    pub(crate) name: Box<[u8]>,
}

/// A reason as it stands on the wire: its code, and two numbers that give details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) code: u16,
    pub(crate) first: u64,
    pub(crate) second: u64,
}

/// The kind of a message, by its name in the wire document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Name {
    /// Greets: versions, role, transfer, limits.
    Hello = 1,
    /// Offers an entry.
    Offer = 2,
    /// Report of the blocks of an entry that the receiver holds, by their hashes.
    Have = 3,
    /// Does not take an entry, or could not keep it.
    Refuse = 4,
    /// Carries a block.
    Block = 5,
    /// Notice that blocks are equal to those held.
    Same = 6,
    /// Notice that blocks are zeros.
    Zeros = 7,
    /// Hash of the whole content before any of it travels.
    Claim = 8,
    /// Notice that an entry was sent whole, with its size and root.
    End = 9,
    /// Asks for blocks again.
    Missing = 10,
    /// Report of the blocks that were verified and written.
    Kept = 11,
    /// Vouches for an entry.
    Receipt = 12,
    /// Takes an entry back.
    Withdraw = 14,
    /// Passes the floor.
    Over = 15,
    /// Ends the session.
    Out = 16,
    /// Breaks the session off.
    Abort = 17,
    /// Shows that the speaker lives.
    Heartbeat = 18,
    /// Notice that a file has the size and the time that were offered.
    Unchanged = 19,
    /// Notice that it has not.
    Changed = 20,
}

impl Message {
    /// Returns the kind.
    pub(crate) const fn name(&self) -> Name {
        match self {
            Self::Hello(_) => Name::Hello,
            Self::Offer(_) => Name::Offer,
            Self::Have { .. } => Name::Have,
            Self::Refuse { .. } => Name::Refuse,
            Self::Block { .. } => Name::Block,
            Self::Same { .. } => Name::Same,
            Self::Zeros { .. } => Name::Zeros,
            Self::Claim { .. } => Name::Claim,
            Self::End { .. } => Name::End,
            Self::Missing { .. } => Name::Missing,
            Self::Kept { .. } => Name::Kept,
            Self::Receipt { .. } => Name::Receipt,
            Self::Withdraw { .. } => Name::Withdraw,
            Self::Over { .. } => Name::Over,
            Self::Out => Name::Out,
            Self::Abort { .. } => Name::Abort,
            Self::Heartbeat { .. } => Name::Heartbeat,
            Self::Unchanged { .. } => Name::Unchanged,
            Self::Changed { .. } => Name::Changed,
        }
    }

    /// Returns the entry that the message is about.
    pub(crate) const fn entry(&self) -> Option<EntryId> {
        match self {
            Self::Offer(offer) => Some(offer.entry),
            Self::Have { entry, .. }
            | Self::Refuse { entry, .. }
            | Self::Block { entry, .. }
            | Self::Same { entry, .. }
            | Self::Zeros { entry, .. }
            | Self::Claim { entry, .. }
            | Self::End { entry, .. }
            | Self::Missing { entry, .. }
            | Self::Kept { entry, .. }
            | Self::Receipt { entry, .. }
            | Self::Withdraw { entry, .. }
            | Self::Unchanged { entry }
            | Self::Changed { entry } => Some(*entry),
            Self::Hello(_)
            | Self::Over { .. }
            | Self::Out
            | Self::Abort { .. }
            | Self::Heartbeat { .. } => None,
        }
    }
}

impl Name {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 19] = [
        Self::Hello,
        Self::Offer,
        Self::Have,
        Self::Refuse,
        Self::Block,
        Self::Same,
        Self::Zeros,
        Self::Claim,
        Self::End,
        Self::Missing,
        Self::Kept,
        Self::Receipt,
        Self::Withdraw,
        Self::Over,
        Self::Out,
        Self::Abort,
        Self::Heartbeat,
        Self::Unchanged,
        Self::Changed,
    ];

    /// Returns whether a sender may send it for an entry.
    pub(crate) const fn is_of_sender(self) -> bool {
        matches!(
            self,
            Self::Offer
                | Self::Block
                | Self::Same
                | Self::Zeros
                | Self::Claim
                | Self::End
                | Self::Withdraw
        )
    }

    /// Returns the number on the wire.
    #[must_use]
    pub const fn kind(self) -> u8 {
        self as u8
    }

    /// Returns the kind of this number.
    #[must_use]
    pub fn from_kind(kind: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.kind() == kind)
    }
}

/// Returns the description of an entry in an offer.
pub(crate) fn meta_of(wire: &WireOffer, path: RelPath) -> Meta {
    Meta {
        path,
        kind: wire.kind.clone(),
        size: wire.size,
        data: wire.data,
        modified: wire.modified,
        mode: wire.mode.map(|mode| mode & 0o777),
        closed: wire.mode.map(closed_in).unwrap_or_default(),
    }
}

/// Returns the mode of an entry, as an offer has it.
pub(crate) fn mode_of(meta: &Meta) -> Option<u32> {
    let Closed { group, others } = meta.closed;
    meta.mode.map(|mode| mode & 0o777 | u32::from(group) << 16 | u32::from(others) << 24)
}

const fn closed_in(mode: u32) -> Closed {
    let [_, _, group, others] = mode.to_le_bytes();
    Closed { group, others }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_folders_travel_with_the_mode() {
        let path = RelPath::parse(b"x").unwrap();
        let meta = Meta::file(path.clone(), None).mode(Some(0o640));
        for count in 0..=u16::MAX {
            let [group, others] = count.to_le_bytes();
            let meta = meta.clone().closed(Closed { group, others });
            let mode = mode_of(&meta).unwrap();
            assert_eq!((mode & 0xffff, closed_in(mode)), (0o640, meta.closed));
        }
        let unknown = Meta::file(path, None).closed(Closed { group: 1, others: 1 });
        assert_eq!(mode_of(&unknown), None);
    }
}
