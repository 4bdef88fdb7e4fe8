//! Content that the store holds of an entry before it is sent: hashed and reported piece by piece.

use crate::hash::{BlockHash, Hashed};
use crate::proto::wire::limits::HAVE_MAX;

/// Blocks that the store holds, to be hashed and reported, piece by piece.
///
/// Invariant: the piece that is being hashed, or was reported last, begins at `first` and is what is hashed.
#[derive(Debug)]
pub(super) struct Hold {
    /// Blocks that can be reported.
    blocks: u64,
    /// Bytes held.
    len: u64,
    first: u64,
    hashed: Vec<Hashed>,
    /// Blocks from this one on are copied from the file that will be replaced before they are hashed: what is
    /// reported of them is in place already. `u64::MAX`: none are.
    copied_from: u64,
    /// The piece was reported.
    reported: bool,
    /// Set if it was reported that another piece follows.
    promised: bool,
}

/// A piece to report.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) first: u64,
    pub(super) hashes: Vec<BlockHash>,
    /// Another one will follow.
    pub(super) more: bool,
}

impl Hold {
    /// Prepares to report `blocks` blocks of the `len` bytes that are held.
    pub(super) const fn new(blocks: u64, len: u64) -> Self {
        Self {
            blocks,
            len,
            first: 0,
            hashed: Vec::new(),
            copied_from: u64::MAX,
            reported: false,
            promised: false,
        }
    }

    /// Has blocks from this one on copied from the file that will be replaced before they are hashed.
    pub(super) const fn copy_from(&mut self, index: u64) {
        self.copied_from = index;
    }

    /// Has all that was not hashed so far copied from the file that will be replaced first.
    pub(super) fn copy_rest(&mut self) {
        self.copied_from = self.end();
    }

    /// Adds the next held block, which was read.
    pub(super) fn push(&mut self, block: Hashed) {
        self.hashed.push(block);
    }

    /// Notes that nothing beyond what was hashed can be read.
    pub(super) fn cut(&mut self) {
        self.blocks = self.end();
    }

    /// Notes that from this block on, what was hashed is no longer what is held.
    pub(super) fn read_again(&mut self, from: u64) {
        let done = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.hashed.truncate(done);
    }

    /// Reports the piece again on a new connection, from this block on. What was hashed is not read again.
    pub(super) fn resume(&mut self, from: u64) {
        let done = from.saturating_sub(self.first).min(self.hashed.len() as u64);
        self.first = self.first.saturating_add(done);
        self.hashed.drain(..usize::try_from(done).unwrap_or(usize::MAX).min(self.hashed.len()));
        self.reported = false;
        self.promised = false;
    }

    /// Returns the block to hash next, if a piece is due and not complete. `high`: blocks below this were sent. `is_over`: nothing
    /// follows that a further piece could be compared with. A piece has `most` hashes at most, and `HAVE_MAX`.
    pub(super) fn wants(&mut self, high: u64, is_over: bool, most: usize) -> Option<u64> {
        if self.reported {
            let end = self.end();
            if !self.promised || high < end || is_over {
                return None;
            }
            self.first = end;
            self.hashed.clear();
            self.reported = false;
        }
        let next = self.end();
        let is_complete =
            self.hashed.len() >= most.clamp(1, HAVE_MAX as usize) || next >= self.blocks;
        (!is_complete).then_some(next)
    }

    /// Takes the piece that is to be reported.
    pub(super) fn report(&mut self) -> Option<Piece> {
        // An empty piece is an answer too: nothing is held.
        if std::mem::replace(&mut self.reported, true) {
            return None;
        }
        let hashes: Vec<_> = self.hashed.iter().map(|block| block.hash).collect();
        self.promised = self.end() < self.blocks && !hashes.is_empty();
        Some(Piece { first: self.first, hashes, more: self.promised })
    }

    /// Returns the held block at `index`, if it was reported.
    pub(super) fn get(&self, index: u64) -> Option<Hashed> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.hashed.get(at).copied().filter(|_| self.reported)
    }

    /// Returns how many bytes are held.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the held block at `index` is copied from the file that will be replaced before it is hashed.
    pub(super) const fn copies(&self, index: u64) -> bool {
        index >= self.copied_from
    }

    /// Returns whether the piece was hashed without being copied.
    pub(super) const fn is_to_be_copied(&self) -> bool {
        self.first < self.copied_from
    }

    /// Returns whether there is something to report.
    pub(super) fn has_some(&self) -> bool {
        !self.hashed.is_empty()
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(self.hashed.len() as u64)
    }
}
