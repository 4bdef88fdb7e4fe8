//! Course of an entry through its blocks: those that are dealt with, those that are kept, and those that are to come again.

use std::collections::VecDeque;
use std::ops::Range;

/// The blocks of one entry, as far as they have travelled.
///
/// Invariant: `cursor` ≤ `high` ≤ `reached`, save that `cursor` begins anew with each report of what is held.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The next block to read in order.
    cursor: u64,
    /// Blocks below this were sent or called equal on this connection.
    high: u64,
    /// Blocks below this travelled at some time, so that what travels again can be counted.
    travelled: u64,
    /// Blocks below this were dealt with on some connection: no receiver can keep more.
    reached: u64,
    /// Blocks that the receiver reported last as kept, on this connection.
    kept: Vec<Range<u64>>,
    /// The most blocks that it kept since it last asked for some again, on this connection: what comes and goes does not grow.
    most_kept: u64,
    /// Blocks that the receiver kept from an earlier connection: they are neither read nor reported again.
    skip: Vec<Range<u64>>,
    /// Blocks that the receiver asked for again.
    resend: VecDeque<Range<u64>>,
}

impl Course {
    /// Begins a new connection.
    pub(super) fn reconnect(&mut self) {
        *self = Self { travelled: self.travelled, reached: self.reached, ..Self::default() };
    }

    /// Begins with the first block that the receiver did not keep.
    pub(super) fn begin(&mut self) {
        self.advance(0);
    }

    /// Takes note that the blocks before this one are dealt with, and so are those after it that the receiver kept.
    pub(super) fn advance(&mut self, to: u64) {
        let kept = self.skip.iter().find(|kept| kept.contains(&to));
        self.cursor = kept.map_or(to, |kept| kept.end);
        self.high = self.high.max(self.cursor);
        self.reached = self.reached.max(self.high);
    }

    /// Takes note that a block travels. Returns whether it did before.
    pub(super) fn travel(&mut self, index: u64) -> bool {
        let again = index < self.travelled;
        self.travelled = self.travelled.max(index.saturating_add(1));
        again
    }

    /// Takes note of blocks that the receiver kept from an earlier connection.
    pub(super) fn skip(&mut self, blocks: &[Range<u64>]) {
        self.skip = blocks.to_vec();
    }

    /// Takes note of blocks that the receiver keeps. Returns whether they are more than before.
    pub(super) fn keep(&mut self, blocks: &[Range<u64>]) -> bool {
        let lens = blocks.iter().map(|run| run.end.saturating_sub(run.start));
        let count = lens.fold(0, u64::saturating_add);
        let has_grown = count > self.most_kept;
        self.most_kept = self.most_kept.max(count);
        self.kept = blocks.to_vec();
        has_grown
    }

    /// Takes note that the receiver asks for some again: they may have been kept, and be kept anew.
    pub(super) const fn forget_most_kept(&mut self) {
        self.most_kept = 0;
    }

    /// Sends blocks again. Returns whether they were sent and not kept.
    pub(super) fn send_again(&mut self, blocks: Vec<Range<u64>>) -> bool {
        let sent = blocks.last().is_none_or(|last| last.end <= self.high);
        if !sent || overlap(&blocks, &self.kept) || overlap(&blocks, &self.skip) {
            return false;
        }
        self.resend = blocks.into();
        true
    }

    /// Takes note that a block was read, if it is one that is to be sent again. Returns whether it is.
    pub(super) fn read_again(&mut self, index: u64) -> bool {
        let Some(range) = self.resend.front_mut() else { return false };
        range.start = index.saturating_add(1);
        if range.is_empty() {
            self.resend.pop_front();
        }
        true
    }

    /// Returns the next block that is to be sent again.
    pub(super) fn next_again(&self) -> Option<u64> {
        self.resend.front().map(|range| range.start)
    }

    /// Returns the runs of blocks that are to be sent again.
    pub(super) fn again(&self) -> impl Iterator<Item = &Range<u64>> {
        self.resend.iter()
    }

    /// Returns the next block to read in order.
    pub(super) const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Returns the block below which all were sent or called equal on this connection.
    pub(super) const fn high(&self) -> u64 {
        self.high
    }

    /// Returns the block below which all were dealt with on some connection.
    pub(super) const fn reached(&self) -> u64 {
        self.reached
    }

    /// Returns whether the receiver can keep blocks up to this one.
    pub(super) fn may_be_kept(&self, end: u64) -> bool {
        end <= self.reached.max(self.travelled)
    }

    /// Returns whether the receiver kept any from an earlier connection.
    pub(super) fn skips_any(&self) -> bool {
        !self.skip.is_empty()
    }
}

/// Returns whether any block stands in both of two lists of ascending ranges.
fn overlap(ours: &[Range<u64>], theirs: &[Range<u64>]) -> bool {
    ours.iter().any(|run| {
        let at = theirs.partition_point(|other| other.end <= run.start);
        theirs.get(at).is_some_and(|other| other.start < run.end)
    })
}
