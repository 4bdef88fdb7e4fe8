//! Content of an entry, as far as it was read: its size, its blocks, and its root.

use std::ops::Range;

use crate::hash::{BlockSize, BlockTree, Hash, Hashed};

/// Content of one entry, as far as it is known, over all connections.
#[derive(Debug)]
pub(super) struct Content {
    block_size: BlockSize,
    /// The size, once it is known.
    size: Option<u64>,
    /// Blocks that were hashed so far.
    tree: BlockTree,
    /// The root, once all is hashed.
    root: Option<Hash>,
    /// Set once its root, and its end, were sent.
    sent: [bool; 2],
}

/// Message that makes a receiver hash what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Root,
    End,
}

impl Content {
    pub(super) fn new(block_size: BlockSize, size: Option<u64>) -> Self {
        Self { block_size, size, tree: BlockTree::new(), root: None, sent: [false; 2] }
    }

    /// Adds a block that was read and hashed.
    pub(super) fn insert(&mut self, block: &Hashed) {
        self.tree.insert(block);
    }

    /// Takes note that the end was seen, at this size.
    pub(super) const fn ends_at(&mut self, size: u64) {
        self.size = Some(size);
    }

    /// Takes note of the root, where it is not that of the blocks.
    pub(super) const fn set_root(&mut self, root: Hash) {
        self.root = Some(root);
    }

    /// Computes the root. `None`: not all is hashed.
    pub(super) fn finish(&mut self) -> Option<(u64, Hash)> {
        let size = self.size?;
        let root = self.tree.root(self.block_size.blocks(size))?;
        self.root = Some(root);
        Some((size, root))
    }

    /// Returns the number of blocks when this is sent for the first time over all connections, and 0 after it.
    pub(super) fn new_blocks(&mut self, what: Sent) -> u64 {
        let [root, end] = &mut self.sent;
        let sent = match what {
            Sent::Root => root,
            Sent::End => end,
        };
        if std::mem::replace(sent, true) { 0 } else { self.blocks() }
    }

    /// Returns the number of blocks, as far as is known.
    pub(super) fn blocks(&self) -> u64 {
        self.size.map_or(0, |size| self.block_size.blocks(size))
    }

    pub(super) const fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) const fn root(&self) -> Option<Hash> {
        self.root
    }

    /// Returns how many blocks are hashed from the first one on.
    pub(super) fn prefix(&self) -> u64 {
        self.tree.prefix()
    }

    /// Returns whether a block is hashed.
    pub(super) fn contains(&self, index: u64) -> bool {
        self.tree.contains(index)
    }

    /// Returns whether no block follows this one, as far as is known.
    pub(super) fn ends_before(&self, index: u64) -> bool {
        self.size.is_some_and(|size| index >= self.block_size.blocks(size))
    }

    /// Returns the offset and the length of a block as far as is known; `None` past the range of `u64`.
    pub(super) fn place(&self, index: u64) -> Option<(u64, u64)> {
        let offset = self.block_size.offset(index)?;
        let rest = self.size.map_or(u64::MAX, |size| size.saturating_sub(offset));
        Some((offset, rest.min(self.block_size.bytes())))
    }

    /// Returns the number of bytes of a run of blocks, as far as is known.
    pub(super) fn bytes_of(&self, run: &Range<u64>) -> u64 {
        let end = run.end.saturating_mul(self.block_size.bytes());
        let end = end.min(self.size.unwrap_or(u64::MAX));
        end.saturating_sub(run.start.saturating_mul(self.block_size.bytes()))
    }
}
