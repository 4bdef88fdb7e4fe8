//! The entries of a session that are not settled: which are to be offered, which have blocks to send, and what they count as.

use std::collections::{BTreeMap, VecDeque};

use super::outgoing::{Outgoing, Phase, Trust};
use crate::config::Limits;
use crate::hash::{BlockSize, BlockSizes};
use crate::proto::error::{Misuse, ProtocolError};
use crate::proto::wire::message::{Hello, Name};
use crate::types::{EntryId, Meta, RelPath};

/// Entries by id.
///
/// Invariants: `queued` holds those that are [`Phase::Queued`], in order of their ids; an entry is in `ready` once at most;
/// `open` is how many of them are open, and `names` the bytes of the names of those that are offered.
#[derive(Debug)]
pub(super) struct Entries {
    /// Boxed, as half of the room in a tree of entries is empty.
    entries: BTreeMap<EntryId, Box<Outgoing>>,
    /// Entries to be offered, in order.
    queued: VecDeque<EntryId>,
    /// Entries that have blocks to send, in order.
    ready: VecDeque<EntryId>,
    /// The sizes of the blocks of new entries: within both sides' limits.
    blocks: BlockSizes,
    next_id: u32,
    /// The source has no further entry.
    exhausted: bool,
    open: u32,
    names: u64,
}

impl Entries {
    pub(super) const fn new(blocks: BlockSizes) -> Self {
        Self {
            entries: BTreeMap::new(),
            queued: VecDeque::new(),
            ready: VecDeque::new(),
            blocks,
            next_id: 0,
            exhausted: false,
            open: 0,
            names: 0,
        }
    }

    /// Adds an entry, to be offered. `window`: how many bytes of it the source can give again, if not all.
    pub(super) fn add(&mut self, meta: Meta, window: Option<u64>) -> Result<EntryId, Misuse> {
        let entry = EntryId::new(self.next_id);
        self.next_id = self.next_id.checked_add(1).ok_or(Misuse::TooMuch)?;
        let block_size = self.blocks.of(meta.size);
        let outgoing = Outgoing::new(meta, block_size, window);
        self.entries.insert(entry, Box::new(outgoing));
        self.queued.push_back(entry);
        Ok(entry)
    }

    /// Notes that the source has no further entry.
    pub(super) const fn exhaust(&mut self) {
        self.exhausted = true;
    }

    /// Queues all entries to be offered again, on a new connection.
    pub(super) fn reconnect(&mut self, blocks: BlockSizes) {
        self.blocks = blocks;
        self.queued = self.entries.keys().copied().collect();
        self.entries.values_mut().for_each(|outgoing| outgoing.reconnect());
        self.ready.clear();
        (self.open, self.names) = (0, 0);
    }

    /// Keeps to blocks of this size at most.
    pub(super) fn limit_blocks(&mut self, most: BlockSize) {
        self.blocks = self.blocks.at_most(most);
        for outgoing in self.entries.values_mut() {
            // A peer that takes smaller blocks than the one before it.
            if outgoing.block_size > most {
                **outgoing = outgoing.restart(most);
            }
        }
    }

    /// Takes an entry, which is the next one and is offered now, off the queue. `is_open`: the receiver may hold a file open for it from now on.
    pub(super) fn offer(&mut self, entry: EntryId, is_open: bool) {
        if self.queued.front() == Some(&entry) {
            self.queued.pop_front();
        }
        let Some(outgoing) = self.entries.get(&entry) else { return };
        self.names = self.names.saturating_add(name_len(outgoing));
        if is_open {
            self.open(entry);
        }
    }

    /// Queues an entry again that was offered by time and has changed.
    pub(super) fn requeue(&mut self, entry: EntryId) {
        let Some(outgoing) = self.entries.get_mut(&entry) else { return };
        (outgoing.trust, outgoing.phase) = (Trust::Owed, Phase::Queued);
        self.names = self.names.saturating_sub(name_len(outgoing));
        // Before those that were never offered: of these there are none until all that is owed is.
        let place = self.queued.partition_point(|queued| *queued < entry);
        self.queued.insert(place, entry);
    }

    /// Counts an entry among those for which the receiver may hold a file open.
    pub(super) fn open(&mut self, entry: EntryId) {
        let Some(outgoing) = self.entries.get_mut(&entry) else { return };
        if outgoing.open() {
            self.open = self.open.saturating_add(1);
        }
    }

    /// Puts an entry after those that have blocks to send.
    pub(super) fn make_ready(&mut self, entry: EntryId) {
        if !self.ready.contains(&entry) {
            self.ready.push_back(entry);
        }
    }

    /// Puts an entry before those that have blocks to send.
    pub(super) fn make_ready_first(&mut self, entry: EntryId) {
        if !self.ready.contains(&entry) {
            self.ready.push_front(entry);
        }
    }

    /// Takes the first of those that have blocks to send from among them.
    pub(super) fn park_first(&mut self) {
        self.ready.pop_front();
    }

    /// Removes an entry from every index, and releases its quota.
    pub(super) fn remove(&mut self, entry: EntryId) -> Option<Box<Outgoing>> {
        let outgoing = self.entries.remove(&entry)?;
        self.queued.retain(|queued| *queued != entry);
        self.ready.retain(|ready| *ready != entry);
        if outgoing.phase != Phase::Queued {
            self.names = self.names.saturating_sub(name_len(&outgoing));
        }
        self.open = self.open.saturating_sub(outgoing.is_open().into());
        Some(outgoing)
    }

    pub(super) fn get_mut(&mut self, entry: EntryId) -> Option<&mut Outgoing> {
        self.entries.get_mut(&entry).map(Box::as_mut)
    }

    /// Returns the entry that a message of this kind is about, if it was offered.
    pub(super) fn pending(
        &mut self,
        entry: EntryId,
        kind: Name,
    ) -> Result<&mut Outgoing, ProtocolError> {
        let offered = self.get_mut(entry).filter(|outgoing| outgoing.phase != Phase::Queued);
        offered.ok_or(ProtocolError::UnknownEntry { kind, entry })
    }

    /// Checks that a message of this kind is about an entry that was offered by time.
    pub(super) fn check_asked(&mut self, entry: EntryId, kind: Name) -> Result<(), ProtocolError> {
        let is_asked = self.pending(entry, kind)?.trust == Trust::Asked;
        if is_asked { Ok(()) } else { Err(ProtocolError::UnexpectedForEntry { kind, entry }) }
    }

    /// Returns the next entry to be offered.
    pub(super) fn next_queued(&mut self) -> Option<(EntryId, &mut Outgoing)> {
        let entry = *self.queued.front()?;
        Some((entry, self.get_mut(entry)?))
    }

    /// Returns the first of those that have blocks to send.
    pub(super) fn first_ready(&mut self) -> Option<(EntryId, &mut Outgoing)> {
        let entry = *self.ready.front()?;
        Some((entry, self.get_mut(entry)?))
    }

    /// Returns whether any has blocks to send.
    pub(super) fn are_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns those that have blocks to send.
    pub(super) fn ready(&self) -> Vec<EntryId> {
        self.ready.iter().copied().collect()
    }

    /// Returns whether another entry may be offered within what both sides take.
    pub(super) fn may_offer(&self, peer: &Hello, limits: &Limits) -> bool {
        let pending = self.entries.len().saturating_sub(self.queued.len());
        let most = peer.pending_entries.min(limits.pending_entries).max(1);
        let names = u64::from(peer.pending_names.min(limits.pending_names));
        let open = peer.open_entries.min(limits.open_entries).max(1);
        (!self.queued.is_empty() || !self.exhausted)
            && pending < usize::try_from(most).unwrap_or(usize::MAX)
            && (pending == 0 || self.names.saturating_add(RelPath::MAX_BYTES as u64) <= names)
            && self.open < open
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Outgoing> {
        self.entries.values().map(Box::as_ref)
    }

    /// Returns whether every entry that the source had is settled.
    pub(super) fn are_settled(&self) -> bool {
        self.exhausted && self.entries.is_empty()
    }
}

fn name_len(outgoing: &Outgoing) -> u64 {
    outgoing.meta.path.as_bytes().len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Returns the size of the block of each of these files, as it would be offered.
    fn blocks(entries: &Entries) -> Vec<u64> {
        entries.entries.values().map(|outgoing| outgoing.block_size.bytes()).collect()
    }

    #[test]
    fn large_file_has_large_blocks_as_far_as_the_peer_takes_them() {
        let config = crate::Config::default();
        let mut entries = Entries::new(config.blocks);
        let sizes =
            [Some(1), None, Some(512 * MIB - 1), Some(512 * MIB), Some(1024 * MIB), Some(1 << 40)];
        for size in sizes {
            let path = RelPath::parse(b"a").unwrap();
            entries.add(Meta::file(path, size), None).unwrap();
        }
        let kib = |sizes: [u64; 6]| sizes.map(|kib| kib << 10).to_vec();
        assert_eq!(blocks(&entries), kib([256, 256, 256, 512, 1024, 1024]));
        entries.limit_blocks(BlockSize::at_most(MIB));
        assert_eq!(blocks(&entries), kib([256, 256, 256, 512, 1024, 1024]));
        entries.limit_blocks(BlockSize::at_most(512 << 10));
        assert_eq!(blocks(&entries), kib([256, 256, 256, 512, 512, 512]));
        entries.limit_blocks(BlockSize::at_most(64 << 10));
        assert_eq!(blocks(&entries), kib([64; 6]));
    }
}
