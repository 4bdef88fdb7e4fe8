//! Blocks of an entry: those that are verified, those that are to be copied, and the end of the content.

use std::ops::Range;

use super::runs::Runs;
use crate::hash::{BlockSize, BlockTree, Hash, Hashed};
use crate::proto::error::ProtocolError;
use crate::proto::wire::limits::RANGES_MAX;
use crate::types::{EntryId, Offer};

/// The blocks of one entry.
///
/// Invariants: no block is both verified and to be copied. Each block below `high` was dealt with on this connection, or is
/// known; a block that is not, and lies below, is one to be asked for again.
#[derive(Debug)]
pub(super) struct Blocks {
    entry: EntryId,
    block_size: BlockSize,
    /// The size that was offered.
    offered: Option<u64>,
    /// Blocks that are verified: written, or held and called equal. While the entry is compared, those of the existing
    /// file.
    tree: BlockTree,
    /// Blocks that were called the same, and are still to be copied from the file that will be replaced.
    copying: Runs,
    /// Blocks below this were sent, or called equal or zeros, on this connection.
    high: u64,
    /// End of the content, as far as a block shorter than the others tells.
    short: Option<u64>,
    /// Size and root that the sender sent at the end.
    end: Option<(u64, Hash)>,
    /// Bytes that the store held of it when it was opened: what lies beyond, and is not written, reads as zeros.
    left: u64,
}

impl Blocks {
    pub(super) fn new(offer: &Offer) -> Self {
        Self {
            entry: offer.entry,
            block_size: offer.block_size,
            offered: offer.meta.size,
            tree: BlockTree::new(),
            copying: Runs::default(),
            high: 0,
            short: None,
            end: None,
            left: 0,
        }
    }

    /// Begins anew: nothing of it is known, save what the store held.
    pub(super) fn restart(&mut self) {
        self.forget_written();
        self.copying = Runs::default();
        self.high = 0;
        self.short = None;
        // The root of content that came inside its offer, and the end with it, still holds.
        self.end = None;
    }

    /// Forgets what is verified: the file in which it stands is closed, and it is to come again.
    pub(super) fn forget_written(&mut self) {
        self.tree = BlockTree::new();
    }

    /// Goes on, on a new connection. All that is kept must be said at once: what cannot be is forgotten. Returns the block from
    /// which on that is so.
    pub(super) fn resume(&mut self) -> Option<u64> {
        let known = self.known();
        let cut = known.get(RANGES_MAX as usize).map(|run| run.start);
        if let Some(cut) = cut {
            self.tree.truncate(cut);
            self.copying.truncate(cut);
            // The others were written all the same: what was not written does not read as zeros from now on.
            self.left = u64::MAX;
        }
        let start = known.first().filter(|run| run.start == 0);
        self.high = start.map_or(0, |run| run.end);
        self.end = None;
        cut
    }

    /// Notes how many bytes the store held.
    pub(super) const fn set_left(&mut self, len: u64) {
        self.left = len;
    }

    /// Notes that a block up to here is copied, before it is verified.
    pub(super) fn extend_left(&mut self, end: u64) {
        self.left = self.left.max(end);
    }

    /// Notes the end, before anything came.
    pub(super) const fn end_at(&mut self, size: u64, root: Hash) {
        self.end = Some((size, root));
    }

    /// Handles a block whose hash is right: if it is shorter than it could be, the content ends with it.
    ///
    /// A damaged one proves nothing: another may stand at its place in the end.
    pub(super) fn right_block(&mut self, index: u64, len: u64) {
        if self.size().is_none() && len < self.block_size.bytes() {
            let offset = self.block_size.offset(index);
            self.short = offset.map(|at| at.saturating_add(len));
        }
    }

    /// Notes that blocks came. Returns how many of them had come before.
    pub(super) fn came(&mut self, blocks: &Range<u64>) -> u64 {
        let again = blocks.end.min(self.high).saturating_sub(blocks.start);
        self.reach(blocks.end);
        again
    }

    /// Accounts for blocks up to here, and for those after it that were kept from an earlier connection.
    pub(super) fn reach(&mut self, end: u64) {
        self.high = self.tree.run_end(self.high.max(end));
    }

    /// Adds a block that is verified and, if it had to be, written.
    pub(super) fn insert(&mut self, block: &Hashed) {
        self.tree.insert(block);
    }

    /// Has blocks copied that were called the same.
    pub(super) fn copy(&mut self, blocks: &Range<u64>) {
        self.copying.insert(blocks);
    }

    /// Has all blocks copied that were called the same.
    pub(super) fn copy_all(&mut self) {
        let held = std::mem::take(&mut self.tree);
        held.runs().for_each(|blocks| self.copying.insert(&blocks));
    }

    /// Notes that the first block to be copied is, and is verified. Returns whether it was the last one.
    pub(super) fn copied(&mut self, block: &Hashed) -> bool {
        self.copying.remove_first();
        self.insert(block);
        self.reach(0);
        self.copying.is_empty()
    }

    /// Notes that all was sent.
    pub(super) fn finish(&mut self, size: u64, root: Hash) -> Result<(), ProtocolError> {
        let entry = self.entry;
        let contradicts = Err(ProtocolError::SizeContradicts { entry, size });
        if self.end.is_some() || self.offered.is_some_and(|offered| offered != size) {
            return contradicts;
        }
        let blocks = self.block_size.blocks(size);
        if self.high.max(self.tree.end()) > blocks || self.short.is_some_and(|short| short != size)
        {
            return contradicts;
        }
        let is_ragged = !self.block_size.divides(size);
        let last = self.tree.contains(blocks.saturating_sub(1));
        if self.offered.is_none() && is_ragged && last && self.short.is_none() {
            return contradicts;
        }
        self.end = Some((size, root));
        self.reach(blocks);
        Ok(())
    }

    /// Notes that blocks are equal to those held, `len` bytes in all. They may include a last one that is shorter: then the
    /// content ends there.
    pub(super) fn end_with_held(
        &mut self,
        blocks: &Range<u64>,
        len: u64,
    ) -> Result<(), ProtocolError> {
        let size = self.block_size;
        let is_last = blocks.end == size.blocks(len) && !size.divides(len);
        if self.size().is_some() || !is_last {
            return Ok(());
        }
        if self.high > blocks.end {
            return Err(ProtocolError::SizeContradicts { entry: self.entry, size: len });
        }
        self.short = Some(len);
        Ok(())
    }

    /// Returns the blocks of the file that is compared.
    pub(super) const fn compared(&mut self) -> &mut BlockTree {
        &mut self.tree
    }

    /// Returns the size, as offered or as it ended.
    pub(super) fn size(&self) -> Option<u64> {
        self.offered.or(self.end.map(|(size, _)| size))
    }

    /// Returns the size and the root that the sender said at the end.
    pub(super) const fn end(&self) -> Option<(u64, Hash)> {
        self.end
    }

    /// Returns where the content ends, as far as is known by now.
    pub(super) fn known_end(&self) -> Option<u64> {
        self.size().or(self.short)
    }

    /// Returns whether nothing follows that what is held could be compared with.
    pub(super) const fn is_over(&self) -> bool {
        self.end.is_some() || self.short.is_some()
    }

    /// Returns the block before which all were sent, or called equal or zeros, on this connection.
    pub(super) const fn high(&self) -> u64 {
        self.high
    }

    /// Returns up to where something else than zeros may stand.
    pub(super) fn left(&self) -> u64 {
        self.offered.map_or(u64::MAX, |_| self.left)
    }

    /// Checks that a range of blocks lies within the entry.
    pub(super) fn check_range(&self, blocks: &Range<u64>) -> Result<(), ProtocolError> {
        let entry = self.entry;
        let last = blocks.end.saturating_sub(1);
        let past = |count| ProtocolError::BlockBeyondEnd { entry, index: last, blocks: count };
        if let Some(size) = self.known_end() {
            let count = self.block_size.blocks(size);
            if blocks.end > count {
                return Err(past(count));
            }
        }
        let end = self.block_size.offset(blocks.end);
        end.map(drop).ok_or(past(self.block_size.index(u64::MAX)))
    }

    /// Returns the bytes that a run of blocks covers, as offset and length.
    pub(super) fn span(&self, blocks: &Range<u64>) -> Option<(u64, u64)> {
        let offset = self.block_size.offset(blocks.start)?;
        let end = self.block_size.offset(blocks.end)?;
        let end = end.min(self.known_end().unwrap_or(u64::MAX));
        Some((offset, end.checked_sub(offset)?))
    }

    /// Returns how long the block at `index` must be, if the size is known.
    pub(super) fn block_len(&self, index: u64) -> Option<u64> {
        let offset = self.block_size.offset(index)?;
        let rest = self.size()?.checked_sub(offset)?;
        Some(rest.min(self.block_size.bytes()))
    }

    /// Checks place and length of a block that came.
    pub(super) fn check_block(&self, index: u64, len: u64) -> Result<(), ProtocolError> {
        let entry = self.entry;
        self.check_range(&(index..index.saturating_add(1)))?;
        let full = self.block_size.bytes();
        let expected = self.block_len(index).unwrap_or(full);
        let may_be_short = self.size().is_none();
        if len != expected && !(may_be_short && len < full) {
            return Err(ProtocolError::BlockLength { entry, index, bytes: len, expected });
        }
        if self.knows(index) {
            return Err(ProtocolError::BlockAgain { entry, index });
        }
        if len < expected && self.high.max(self.tree.end()) > index.saturating_add(1) {
            return Err(ProtocolError::BlockLength { entry, index, bytes: len, expected });
        }
        Ok(())
    }

    /// Returns, if all blocks are there, the size, the root that the sender gave, and the root of what is there.
    pub(super) fn is_whole(&self) -> Option<(u64, Hash, Hash)> {
        let (size, root) = self.end?;
        Some((size, root, self.tree.root(self.block_size.blocks(size))?))
    }

    /// Returns whether a block is verified, or was called the same.
    pub(super) fn knows(&self, index: u64) -> bool {
        self.tree.contains(index) || self.copying.contains(index)
    }

    /// Returns the blocks that are verified or were called the same.
    pub(super) fn known(&self) -> Vec<Range<u64>> {
        if self.copying.is_empty() {
            return self.tree.runs().collect();
        }
        let mut all = Runs::default();
        self.tree.runs().chain(self.copying.iter()).for_each(|run| all.insert(&run));
        all.iter().collect()
    }

    /// Returns whether these blocks, none of which is known, make more holes than may be. What joins blocks that are known does
    /// not.
    pub(super) fn makes_holes(&self, blocks: &Range<u64>, most: u32) -> bool {
        let joins = |index| self.knows(index);
        if joins(blocks.end) || blocks.start.checked_sub(1).is_none_or(joins) {
            return false;
        }
        // Runs are counted only where there may be so many.
        let parts = self.tree.subtrees().saturating_add(self.copying.len()) as u64;
        if parts < most.into() {
            return false;
        }
        let known = self.known();
        let is_first = known.first().is_none_or(|run| run.start > 0);
        // One hole before each run, but the first if that begins the file; and the new one.
        let holes = (known.len() as u64).saturating_add(is_first.into());
        holes > most.into()
    }

    /// Returns the blocks to be asked for again.
    pub(super) fn unknown(&self) -> Vec<Range<u64>> {
        let (mut at, mut unknown) = (0, Vec::new());
        for run in self.known().into_iter().take_while(|run| run.start < self.high) {
            if at < run.start {
                unknown.push(at..run.start);
            }
            at = run.end;
        }
        if at < self.high {
            unknown.push(at..self.high);
        }
        unknown
    }

    /// Returns whether the block at this offset is the one to copy next.
    pub(super) fn is_copying(&self, offset: u64) -> bool {
        self.copying.first() == Some(self.block_size.index(offset))
    }

    /// Returns the block to copy next, as offset and length.
    pub(super) fn next_copy(&self) -> Option<(u64, usize)> {
        let index = self.copying.first()?;
        let (offset, len) = self.span(&(index..index.saturating_add(1)))?;
        Some((offset, usize::try_from(len).ok()?))
    }
}
