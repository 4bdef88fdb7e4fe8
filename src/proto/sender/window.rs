//! Blocks that a source can give again.

use std::collections::VecDeque;

use crate::hash::{BlockHash, Hashed};

/// The part of an entry that its source can give again: all of it, or what was not released, up to a number of bytes.
///
/// Invariant: `recent` has the hashes of blocks that follow one another from `recent_from` on, at most one of them released.
#[derive(Debug)]
pub(super) struct Window {
    bytes: Option<u64>,
    /// Blocks below this were kept on some connection: they need not be given again.
    released: u64,
    recent: VecDeque<BlockHash>,
    recent_from: u64,
}

impl Window {
    /// Makes the window of a source that can give so many bytes again, or all.
    pub(super) const fn new(bytes: Option<u64>) -> Self {
        Self { bytes, released: 0, recent: VecDeque::new(), recent_from: 0 }
    }

    /// Releases the blocks below this one.
    pub(super) fn release(&mut self, to: u64) {
        self.released = self.released.max(to);
        while self.recent_from.saturating_add(1) < self.released
            && self.recent.pop_front().is_some()
        {
            self.recent_from = self.recent_from.saturating_add(1);
        }
    }

    /// Takes note of a block that was read.
    pub(super) fn read(&mut self, block: &Hashed) {
        let next = self.recent_from.saturating_add(self.recent.len() as u64);
        if self.bytes.is_some() && block.index == next {
            self.recent.push_back(block.hash);
        }
    }

    /// Returns the number of bytes that can be given again, if not all.
    pub(super) const fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// Returns the block below which all were released.
    pub(super) const fn released(&self) -> u64 {
        self.released
    }

    /// Returns the hash of a block, unless one after it was released already.
    pub(super) fn hash(&self, index: u64) -> Option<BlockHash> {
        let at = usize::try_from(index.checked_sub(self.recent_from)?).ok()?;
        self.recent.get(at).copied()
    }
}
