//! The control parts of the messages as bytes: how long they are, and how laid out. Rules W-7 and M-1 to M-20 of the
//! wire document.

use std::ops::{Range, RangeInclusive};

use super::limits::{BLOCK_LEN, HAVE_MAX, NAME_MAX, RANGES_MAX};
use super::message::{Hello, Message, Name, Reason, WireOffer};
use crate::hash::{BlockHash, BlockSize, Hash};
use crate::types::{
    AbortCode, Activity, Durability, EntryId, Kind, Outcome, Timestamp, TransferId,
};

impl Message {
    /// Appends the control part to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        match self {
            Self::Hello(hello) => hello.encode(out),
            Self::Offer(offer) => offer.encode(out),
            Self::Have { entry, first, hashes, more, compare } => {
                put(&entry.get().to_le_bytes());
                put(&[u8::from(*more) | u8::from(*compare) << 1]);
                put(&first.to_le_bytes());
                hashes.iter().for_each(|hash| put(hash.as_bytes()));
            }
            Self::Refuse { entry, reason } | Self::Withdraw { entry, reason } => {
                put(&entry.get().to_le_bytes());
                put(&reason.code.to_le_bytes());
                put(&reason.first.to_le_bytes());
                put(&reason.second.to_le_bytes());
            }
            Self::Block { entry, index, hash } => {
                put(&entry.get().to_le_bytes());
                put(&index.to_le_bytes());
                put(hash.as_bytes());
            }
            Self::Same { entry, blocks } | Self::Zeros { entry, blocks } => {
                put(&entry.get().to_le_bytes());
                put(&blocks.start.to_le_bytes());
                put(&blocks.end.to_le_bytes());
            }
            Self::Claim { entry, root } => {
                put(&entry.get().to_le_bytes());
                root.iter().for_each(|root| put(root.as_bytes()));
            }
            Self::Unchanged { entry } | Self::Changed { entry } => put(&entry.get().to_le_bytes()),
            Self::End { entry, size, root } => {
                put(&entry.get().to_le_bytes());
                put(&size.to_le_bytes());
                put(root.as_bytes());
            }
            Self::Missing { entry, blocks } | Self::Kept { entry, blocks } => {
                put(&entry.get().to_le_bytes());
                for range in blocks {
                    put(&range.start.to_le_bytes());
                    put(&range.end.to_le_bytes());
                }
            }
            Self::Receipt { entry, size, root, durability, outcome, name } => {
                put(&entry.get().to_le_bytes());
                put(&size.to_le_bytes());
                put(root.as_bytes());
                put(&[durability.code(), outcome.code()]);
                put(name);
            }
            Self::Over { waiting } => put(&[u8::from(*waiting)]),
            Self::Out => {}
            Self::Abort { code } => put(&code.code().to_le_bytes()),
            Self::Heartbeat { activity } => put(&[activity.code()]),
        }
    }

    /// Reads a control part; `None` if it does not have the layout of its kind, to the last byte.
    pub(crate) fn decode(name: Name, control: &[u8]) -> Option<Self> {
        let mut take = Take(control);
        let message = match name {
            Name::Hello => return Hello::decode(control).map(Self::Hello),
            Name::Offer => Self::Offer(WireOffer::decode(&mut take)?),
            Name::Have => {
                let entry = take.entry()?;
                let flags = take.u8().filter(|flags| *flags < 4)?;
                let first = take.u64()?;
                let mut hashes = Vec::with_capacity(take.0.len() / 32);
                while !take.0.is_empty() {
                    hashes.push(BlockHash::from_bytes(take.array()?));
                }
                first.checked_add(u64::try_from(hashes.len()).ok()?)?;
                Self::Have { entry, first, hashes, more: flags & 1 != 0, compare: flags & 2 != 0 }
            }
            Name::Refuse => Self::Refuse { entry: take.entry()?, reason: take.reason()? },
            Name::Withdraw => Self::Withdraw { entry: take.entry()?, reason: take.reason()? },
            Name::Block => Self::Block {
                entry: take.entry()?,
                index: take.u64()?,
                hash: BlockHash::from_bytes(take.array()?),
            },
            Name::Same => Self::Same { entry: take.entry()?, blocks: take.range()? },
            Name::Zeros => Self::Zeros { entry: take.entry()?, blocks: take.range()? },
            Name::Claim => {
                let entry = take.entry()?;
                let root = if take.0.is_empty() { None } else { Some(take.array()?) };
                Self::Claim { entry, root: root.map(Hash::from_bytes) }
            }
            Name::Unchanged => Self::Unchanged { entry: take.entry()? },
            Name::Changed => Self::Changed { entry: take.entry()? },
            Name::End => Self::End {
                entry: take.entry()?,
                size: take.u64()?,
                root: Hash::from_bytes(take.array()?),
            },
            Name::Missing => Self::Missing { entry: take.entry()?, blocks: take.ranges()? },
            Name::Kept => Self::Kept { entry: take.entry()?, blocks: take.ranges()? },
            Name::Receipt => Self::Receipt {
                entry: take.entry()?,
                size: take.u64()?,
                root: Hash::from_bytes(take.array()?),
                durability: Durability::from_code(take.u8()?)?,
                outcome: Outcome::from_code(take.u8()?)?,
                name: take.rest().into(),
            },
            Name::Over => Self::Over { waiting: take.flag()? },
            Name::Out => Self::Out,
            Name::Abort => Self::Abort { code: AbortCode::from_code(take.u16()?) },
            Name::Heartbeat => Self::Heartbeat { activity: Activity::from_code(take.u8()?) },
        };
        take.0.is_empty().then_some(message)
    }
}

impl Name {
    /// Returns the lengths that control part and payload may have (W-7), where blocks have at most
    /// `block` bytes.
    pub(crate) fn lengths(self, block: u64) -> (RangeInclusive<u32>, RangeInclusive<u64>) {
        const NONE: RangeInclusive<u64> = 0..=0;
        match self {
            Self::Hello => (HELLO_LEN..=1024, NONE),
            // A name and a link target, each as long as a path may be.
            Self::Offer => (10..=9000, 0..=block),
            Self::Have => (13..=13 + 32 * HAVE_MAX, NONE),
            Self::Refuse | Self::Withdraw => (22..=22, NONE),
            Self::Block => (BLOCK_LEN..=BLOCK_LEN, 1..=block),
            Self::Same | Self::Zeros => (20..=20, NONE),
            Self::Claim => (4..=36, NONE),
            Self::Unchanged | Self::Changed => (4..=4, NONE),
            Self::End => (44..=44, NONE),
            Self::Missing | Self::Kept => (20..=4 + 16 * RANGES_MAX, NONE),
            Self::Receipt => (46..=46 + NAME_MAX, NONE),
            Self::Over | Self::Heartbeat => (1..=1, NONE),
            Self::Out => (0..=0, NONE),
            Self::Abort => (2..=2, NONE),
        }
    }
}

/// The length of a greeting that is bound to no channel. With binding and proof it is 136; later versions may append to that.
const HELLO_LEN: u32 = 72;

impl Hello {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        put(&self.versions.start().to_le_bytes());
        put(&self.versions.end().to_le_bytes());
        put(&[u8::from(!self.sender), self.block.exponent()]);
        put(&self.link.to_le_bytes());
        put(&self.attempt.to_le_bytes());
        put(self.transfer.as_bytes());
        put(&self.nonce);
        put(&self.offered.to_le_bytes());
        put(&self.required.to_le_bytes());
        put(&self.turn_bytes.to_le_bytes());
        put(&self.open_entries.to_le_bytes());
        put(&self.pending_entries.to_le_bytes());
        put(&self.pending_names.to_le_bytes());
        if [self.binding, self.proof] != [[0; 32]; 2] {
            put(&self.binding);
            put(&self.proof);
        }
    }

    /// Decodes a greeting. Bytes beyond the layout of version 1 are skipped: they belong to a later one. Binding
    /// and proof are zeros where both are left out.
    fn decode(control: &[u8]) -> Option<Self> {
        let mut take = Take(control);
        let mut hello = Self {
            versions: take.u16()?..=take.u16()?,
            sender: !take.flag()?,
            // A peer that accepts larger blocks than exist accepts the largest.
            block: {
                let exponent = take.u8()?;
                BlockSize::from_exponent(exponent).unwrap_or(BlockSize::MAX)
            },
            link: take.u16()?,
            attempt: take.u32()?,
            transfer: TransferId::new(take.array()?),
            nonce: take.array()?,
            offered: take.u32()?,
            required: take.u32()?,
            turn_bytes: take.u64()?,
            open_entries: take.u32()?,
            pending_entries: take.u32()?,
            pending_names: take.u32()?,
            binding: [0; 32],
            proof: [0; 32],
        };
        if !take.0.is_empty() {
            (hello.binding, hello.proof) = (take.array()?, take.array()?);
        }
        Some(hello)
    }
}

impl WireOffer {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        let (kind, target): (u8, &[u8]) = match &self.kind {
            Kind::File => (0, &[]),
            Kind::Directory => (1, &[]),
            Kind::Symlink(target) => (2, target),
        };
        let flags = u8::from(self.size.is_some())
            | u8::from(self.modified.is_some()) << 1
            | u8::from(self.mode.is_some()) << 2
            | u8::from(self.root.is_some()) << 3
            | u8::from(self.inline) << 4
            | u8::from(self.by_time) << 5
            | u8::from(self.data.is_some()) << 6;
        put(&self.entry.get().to_le_bytes());
        put(&[kind, flags, self.block_size.exponent()]);
        if let Some(size) = self.size {
            put(&size.to_le_bytes());
        }
        if let Some(modified) = self.modified {
            put(&modified.seconds().to_le_bytes());
            put(&modified.nanos().to_le_bytes());
        }
        if let Some(mode) = self.mode {
            put(&mode.to_le_bytes());
        }
        if let Some(root) = &self.root {
            put(root.as_bytes());
        }
        if let Some(data) = self.data {
            put(&data.to_le_bytes());
        }
        // Sources make neither names nor targets longer than 64 KiB; if one does, the peer refuses the name.
        put(&u16::try_from(self.name.len()).unwrap_or(u16::MAX).to_le_bytes());
        put(self.name.get(..usize::from(u16::MAX)).unwrap_or(&self.name));
        put(target);
    }

    fn decode(take: &mut Take<'_>) -> Option<Self> {
        let entry = take.entry()?;
        let kind = take.u8()?;
        let flags = take.u8().filter(|flags| *flags < 128)?;
        let has = |bit: u8| flags & bit != 0;
        let block_size = BlockSize::from_exponent(take.u8()?)?;
        let size = if has(1) { Some(take.u64()?) } else { None };
        let modified = if has(2) { Some(Timestamp::new(take.i64()?, take.u32()?)?) } else { None };
        let mode = if has(4) { Some(take.u32()?) } else { None };
        let root = if has(8) { Some(Hash::from_bytes(take.array()?)) } else { None };
        let data = if has(64) { Some(take.u64()?) } else { None };
        let len = take.u16()?;
        let name = take.slice(len.into())?.into();
        let target = take.rest();
        let kind = match kind {
            0 if target.is_empty() => Kind::File,
            1 if target.is_empty() => Kind::Directory,
            2 => Kind::Symlink(target.into()),
            _ => return None,
        };
        let (inline, by_time) = (has(16), has(32));
        Some(Self {
            entry,
            kind,
            block_size,
            size,
            data,
            modified,
            mode,
            root,
            inline,
            by_time,
            name,
        })
    }
}

/// Reader of values from the front of a control part.
struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(slice)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        self.u8().filter(|byte| *byte < 2).map(|byte| byte == 1)
    }

    fn entry(&mut self) -> Option<EntryId> {
        self.u32().map(EntryId::new)
    }

    fn reason(&mut self) -> Option<Reason> {
        Some(Reason { code: self.u16()?, first: self.u64()?, second: self.u64()? })
    }

    /// Returns a range of at least one block.
    fn range(&mut self) -> Option<Range<u64>> {
        Some(self.u64()?..self.u64()?).filter(|range| !range.is_empty())
    }

    /// Reads ascending ranges that do not touch.
    fn ranges(&mut self) -> Option<Vec<Range<u64>>> {
        let mut ranges: Vec<Range<u64>> = Vec::with_capacity(self.0.len() / 16);
        while !self.0.is_empty() {
            let range = self.range()?;
            if ranges.last().is_some_and(|last| last.end >= range.start) {
                return None;
            }
            ranges.push(range);
        }
        Some(ranges)
    }
}
