//! One entry, as the sender sees it.

use std::collections::VecDeque;
use std::ops::Range;

use super::super::error::Damage;
use super::super::wire::limits::ZEROS_MAX;
use super::super::wire::message::WireOffer;
use crate::hash::{BlockHash, BlockSize, BlockTree, Hash, Hashed};
use crate::types::{EntryId, Kind, Meta, Outcome, Receipt};

/// An entry from its first offer until the receiver has settled it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) meta: Meta,
    pub(super) block_size: BlockSize,
    /// Number of bytes of it that the source can give again, if not all.
    window: Option<u64>,
    /// Set while it counts among those for which the receiver holds a file open.
    pub(super) is_open: bool,
    /// Set if it was offered by its root, and the receiver has not answered whether it holds it.
    pub(super) by_root: bool,
    pub(super) trust: Trust,
    pub(super) phase: Phase,
    /// Blocks that were hashed so far, over all connections.
    pub(super) tree: BlockTree,
    /// Blocks that the receiver reports as held, from an earlier attempt or under the final name.
    have: Have,
    /// Blocks that the receiver reported last as kept, on this connection.
    kept: Vec<Range<u64>>,
    /// The most blocks that it kept since it last asked for some again, on this connection: what comes and goes does not grow.
    most_kept: u64,
    /// Blocks below this were kept on some connection: a source with a window need not give them again.
    released: u64,
    /// Hashes of the last released block and of those that were read after it, where there is a window.
    recent: VecDeque<BlockHash>,
    /// The block of the first of them.
    recent_from: u64,
    /// Its content travelled inside its offer, on this connection; the receiver may ask for it as blocks, once.
    is_whole: bool,
    /// The next block to read in order.
    cursor: u64,
    /// Blocks below this were sent or called equal on this connection.
    high: u64,
    /// Blocks below this travelled at some time, so that what travels again can be counted.
    travelled: u64,
    /// Blocks below this were dealt with on some connection: no receiver can keep more.
    reached: u64,
    /// Blocks that the receiver kept from a former connection: they are neither read nor reported again.
    skip: Vec<Range<u64>>,
    /// Blocks that the receiver asked for again.
    resend: VecDeque<Range<u64>>,
    /// Equal, or empty, blocks that are not reported yet.
    pub(super) run: Option<Run>,
    /// The final size, once the end was seen.
    size: Option<u64>,
    /// The root, once all is hashed.
    pub(super) root: Option<Hash>,
    repairs: u32,
    /// Set once its root, and its end, were sent on any connection.
    said: [bool; 2],
    /// Bytes of it that count as arrived.
    pub(super) arrived: u64,
    /// Bytes of it that travelled, or were called zeros, those that travelled again not counted.
    pub(super) sent: u64,
}

/// Phase of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Due to be offered, for the first time or again on a new connection.
    Queued,
    /// Offered; the receiver has to report what it holds.
    Offered,
    /// The receiver asked for the root of all of it: it is being hashed.
    Hashing,
    /// The root was sent; the receiver has to answer.
    Claimed,
    /// Its blocks are being sent.
    Streaming,
    /// All was sent; the receiver has to settle it.
    Ended,
}

/// State of the question whether the receiver takes an entry for unchanged by its size and time.
///
/// That is done with the first offer or never: what has travelled must be receipted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// The entry was not offered yet.
    Open,
    /// The entry was offered by time; the receiver has to answer.
    Asked,
    /// The entry has changed, and is queued: the receiver waits for it to be offered again.
    Owed,
    /// The entry is, or will be, sent.
    Over,
}

/// Content of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    Nothing,
    Time,
    Root,
    Content,
}

/// Blocks that need not travel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) blocks: Range<u64>,
    pub(super) zeros: bool,
}

#[derive(Debug, Default)]
struct Have {
    first: u64,
    hashes: Vec<BlockHash>,
    more: bool,
}

/// Next step for an entry that is streaming.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Read this block.
    Read { index: u64 },
    /// Call the blocks before this one the same: they cannot be read again, and the receiver still has them.
    Same { end: u64 },
    /// Send the root of all of it.
    Claim,
    /// Wait for what else the receiver holds.
    Park,
    /// All blocks are dealt with.
    End,
}

/// Treatment of a block that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The block must travel.
    Send { again: bool },
    /// The block need not travel: it joins the run.
    Run { zeros: bool },
    /// The block was read for the root of all.
    Hashed,
}

/// Message that makes a receiver hash what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Root,
    End,
}

impl Outgoing {
    pub(super) fn new(meta: Meta, block_size: BlockSize, window: Option<u64>) -> Self {
        let size = meta.size;
        // At least two blocks fit in the window, so that one can travel while the other arrives.
        let most = window.map_or(BlockSize::MAX, |window| BlockSize::at_most(window / 2));
        Self {
            meta,
            block_size: block_size.min(most),
            window,
            is_open: false,
            by_root: false,
            trust: Trust::Open,
            phase: Phase::Queued,
            tree: BlockTree::new(),
            have: Have::default(),
            kept: Vec::new(),
            most_kept: 0,
            released: 0,
            recent: VecDeque::new(),
            recent_from: 0,
            is_whole: false,
            cursor: 0,
            high: 0,
            travelled: 0,
            reached: 0,
            skip: Vec::new(),
            resend: VecDeque::new(),
            run: None,
            size,
            root: None,
            repairs: 0,
            said: [false; 2],
            arrived: 0,
            sent: 0,
        }
    }

    /// Returns whether its whole content travels inside its offer.
    pub(super) fn is_inline(&self) -> bool {
        self.meta.size.is_some_and(|size| size <= self.block_size.bytes()) && self.released == 0
    }

    /// Handles that the receiver asks again for what was sent.
    pub(super) fn repair(&mut self, entry: EntryId, limit: u32) -> Result<(), Damage> {
        self.repairs = self.repairs.saturating_add(1);
        // What is asked for again may have been kept, and be kept anew.
        self.most_kept = 0;
        if self.repairs > limit { Err(Damage::TooOften { entry, rounds: limit }) } else { Ok(()) }
    }

    /// Returns the same entry, cut in other blocks.
    pub(super) fn restart(&self, block_size: BlockSize) -> Self {
        let (arrived, sent, trust) = (self.arrived, self.sent, self.trust);
        Self { arrived, sent, trust, ..Self::new(self.meta.clone(), block_size, self.window) }
    }

    /// Lets its whole content travel inside its offer; returns whether it did before.
    pub(super) fn travel_whole(&mut self) -> bool {
        let again = self.travelled > 0;
        self.travelled = 1;
        self.is_whole = true;
        again
    }

    /// Counts bytes of it that travel.
    pub(super) fn count_sent(&mut self, bytes: usize, again: bool) {
        self.sent = self.sent.saturating_add(if again { 0 } else { bytes as u64 });
    }

    pub(super) fn offer(&self, entry: EntryId, carries: Carries) -> WireOffer {
        WireOffer {
            entry,
            kind: self.meta.kind.clone(),
            block_size: self.block_size,
            size: self.meta.size,
            data: self.meta.data.filter(|data| self.meta.size.is_some_and(|size| *data < size)),
            modified: self.meta.modified,
            mode: self.meta.mode,
            root: self.root.filter(|_| matches!(carries, Carries::Root | Carries::Content)),
            inline: carries == Carries::Content,
            by_time: carries == Carries::Time,
            name: self.meta.path.as_bytes().into(),
        }
    }

    /// Begins a new connection: what was under way on the old one is forgotten, what was hashed is
    /// not.
    pub(super) fn reconnect(&mut self) {
        self.phase = Phase::Queued;
        self.is_open = false;
        self.by_root = false;
        self.trust = match self.trust {
            Trust::Open | Trust::Asked => Trust::Open,
            Trust::Owed | Trust::Over => Trust::Over,
        };
        self.have = Have::default();
        self.kept.clear();
        self.most_kept = 0;
        self.is_whole = false;
        self.cursor = 0;
        self.high = 0;
        self.skip.clear();
        self.resend.clear();
        self.run = None;
    }

    /// Returns whether the receiver can be asked about its size and time.
    pub(super) fn may_ask(&self) -> bool {
        let known = self.meta.size.is_some() && self.meta.modified.is_some();
        self.trust == Trust::Open && self.meta.kind == Kind::File && known
    }

    /// Handles the receiver's report of what it holds; `false` if the report has no place here.
    pub(super) fn have(&mut self, first: u64, hashes: Vec<BlockHash>, more: bool) -> bool {
        let expected = match self.phase {
            Phase::Offered if self.trust == Trust::Asked => return false,
            // A receiver that remembers the entry goes on with its report where it was (E-5).
            Phase::Offered if first <= self.reached => first,
            Phase::Offered | Phase::Claimed => 0,
            Phase::Streaming if self.have.more && self.cursor >= self.have.end() => self.have.end(),
            // Its content came damaged inside its offer.
            Phase::Ended if self.is_whole => 0,
            Phase::Queued | Phase::Hashing | Phase::Streaming | Phase::Ended => return false,
        };
        if first != expected || (more && hashes.is_empty()) {
            return false;
        }
        if self.phase != Phase::Streaming {
            self.is_whole = false;
            self.cursor = 0;
            self.advance(0);
        }
        self.phase = Phase::Streaming;
        self.have = Have { first, hashes, more };
        true
    }

    /// Handles that the receiver has a file of this size, and asks for the root; `false` if that has
    /// no place here.
    pub(super) fn compare(&mut self) -> bool {
        let is_first = match self.phase {
            Phase::Offered => self.trust != Trust::Asked,
            Phase::Ended => self.is_whole,
            Phase::Queued | Phase::Hashing | Phase::Claimed | Phase::Streaming => false,
        };
        // Nothing is kept of what is compared.
        if !is_first || self.meta.size.is_none() || !self.skip.is_empty() {
            return false;
        }
        self.is_whole = false;
        self.phase = Phase::Hashing;
        true
    }

    /// Returns the root of all, if there is one to be had.
    pub(super) fn claim(&mut self) -> Option<Hash> {
        self.phase = Phase::Claimed;
        let root = self.tree.root(self.block_size.blocks(self.size?)).filter(|_| self.may_claim());
        self.root = root.or(self.root);
        root
    }

    /// Returns [`Outgoing::blocks`] when this is sent for the first time over all connections, and 0 after
    /// it.
    pub(super) fn new_blocks(&mut self, what: Said) -> u64 {
        let [root, end] = &mut self.said;
        let said = match what {
            Said::Root => root,
            Said::End => end,
        };
        if std::mem::replace(said, true) { 0 } else { self.blocks() }
    }

    /// Returns the number of its blocks, as far as is known.
    pub(super) fn blocks(&self) -> u64 {
        self.size.map_or(0, |size| self.block_size.blocks(size))
    }

    /// Returns whether all of it can be read for its root, and then once more.
    fn may_claim(&self) -> bool {
        let fits = |window: u64| self.size.is_some_and(|size| size <= window);
        self.window
            .is_none_or(|window| self.released == 0 && fits(window.max(self.block_size.bytes())))
    }

    /// Handles that the receiver keeps these blocks; returns whether they are more than before. `None` if they
    /// were never sent.
    pub(super) fn keep(&mut self, blocks: &[Range<u64>]) -> Option<bool> {
        if blocks.last().is_some_and(|last| last.end > self.reached.max(self.travelled)) {
            return None;
        }
        match self.phase {
            // Kept since a former connection, which is reported before anything else is (E-4).
            Phase::Offered => self.skip = blocks.to_vec(),
            // Nothing is kept of what is compared.
            Phase::Hashing | Phase::Claimed => return None,
            Phase::Queued | Phase::Streaming | Phase::Ended => {}
        }
        let bytes = blocks.iter().map(|run| self.bytes_of(run)).fold(0, u64::saturating_add);
        self.arrived = self.arrived.max(bytes);
        let prefix = blocks.first().filter(|run| run.start == 0).map_or(0, |run| run.end);
        // The short block at the end of a stream travels on each connection: it alone shows where that is.
        let is_stream = self.meta.size.is_none();
        let whole = self.size.filter(|_| is_stream).map(|size| self.block_size.index(size));
        self.released = self.released.max(prefix.min(whole.unwrap_or(u64::MAX)));
        while self.recent_from.saturating_add(1) < self.released
            && self.recent.pop_front().is_some()
        {
            self.recent_from = self.recent_from.saturating_add(1);
        }
        let lens = blocks.iter().map(|run| run.end.saturating_sub(run.start));
        let count = lens.fold(0, u64::saturating_add);
        let has_grown = count > self.most_kept;
        self.most_kept = self.most_kept.max(count);
        self.kept = blocks.to_vec();
        Some(has_grown)
    }

    /// Returns the offset before which everything was kept.
    pub(super) fn released(&self) -> u64 {
        self.released.saturating_mul(self.block_size.bytes()).min(self.size.unwrap_or(u64::MAX))
    }

    /// Handles that the receiver asks for blocks again: all that it lacks of those that were sent. `false` if they
    /// never were, or were kept.
    pub(super) fn missing(&mut self, blocks: Vec<Range<u64>>) -> bool {
        let sent = blocks.last().is_none_or(|last| last.end <= self.high);
        let streamed = matches!(self.phase, Phase::Streaming | Phase::Ended);
        if !sent || !streamed || overlap(&blocks, &self.kept) || overlap(&blocks, &self.skip) {
            return false;
        }
        self.resend = blocks.into();
        true
    }

    pub(super) fn step(&self) -> Step {
        if let (Phase::Hashing, Some(size)) = (self.phase, self.size) {
            // What was hashed on former connections is not read again.
            let index = self.tree.prefix();
            let is_hashed = index >= self.block_size.blocks(size);
            return if is_hashed || !self.may_claim() { Step::Claim } else { Step::Read { index } };
        }
        if let Some(range) = self.resend.front() {
            return Step::Read { index: range.start };
        }
        if let Some(end) = self.same_again() {
            return Step::Same { end };
        }
        if self.size.is_some_and(|size| self.cursor >= self.block_size.blocks(size)) {
            return Step::End;
        }
        if self.have.more && self.cursor >= self.have.end() {
            return Step::Park;
        }
        if let Some(window) = self.window {
            let block = self.block_size.bytes();
            let end = self.cursor.saturating_add(1).saturating_mul(block);
            if end.saturating_sub(self.released()) > window.max(block) {
                return Step::Park;
            }
        }
        Step::Read { index: self.cursor }
    }

    /// Returns the end of the blocks that a source with a window need not give again, and that the receiver still
    /// reports. That they are unchanged shows at the end, by the root.
    ///
    /// The last block that a receiver reports may be a piece of one, after which a content of unknown size ends: that one
    /// is the same only by its hash.
    fn same_again(&self) -> Option<u64> {
        self.window?;
        let end = self.released.min(self.have.end());
        let is_last = end == self.have.end() && !self.have.more;
        let last = end.saturating_sub(1);
        let is_whole = !is_last || self.recent_hash(last) == self.have.hash(last);
        let is_known = is_whole && self.tree.prefix() >= end && self.have.first <= self.cursor;
        (self.cursor < end && is_known).then_some(end)
    }

    /// Returns the hash of a block, unless one after it was released already.
    fn recent_hash(&self, index: u64) -> Option<BlockHash> {
        let at = usize::try_from(index.checked_sub(self.recent_from)?).ok()?;
        self.recent.get(at).copied()
    }

    /// Blocks up to here are the same, and join the run.
    pub(super) fn same_until(&mut self, end: u64) {
        match &mut self.run {
            Some(run) if !run.zeros && run.blocks.end == self.cursor => run.blocks.end = end,
            run => *run = Some(Run { blocks: self.cursor..end, zeros: false }),
        }
        self.advance(end);
    }

    /// Takes note that the blocks before this one are dealt with, and so are those after it that
    /// the receiver kept.
    fn advance(&mut self, to: u64) {
        let kept = self.skip.iter().find(|kept| kept.contains(&to));
        self.cursor = kept.map_or(to, |kept| kept.end);
        self.high = self.high.max(self.cursor);
        self.reached = self.reached.max(self.high);
    }

    /// Returns the offset and the length of a block as far as is known; `None` past the range of
    /// `u64`.
    pub(super) fn place(&self, index: u64) -> Option<(u64, u64)> {
        let offset = self.block_size.offset(index)?;
        let rest = self.size.map_or(u64::MAX, |size| size.saturating_sub(offset));
        Some((offset, rest.min(self.block_size.bytes())))
    }

    /// Returns whether this is the last block, as far as is known.
    pub(super) fn is_last(&self, index: u64) -> bool {
        self.size.is_some_and(|size| index.saturating_add(1) >= self.block_size.blocks(size))
    }

    /// Takes note that the end was seen, at this size.
    pub(super) fn ends_at(&mut self, size: u64) {
        self.size = Some(size);
    }

    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Handles that a block was read and hashed.
    pub(super) fn read(&mut self, block: &Hashed, zeros: bool) -> Verdict {
        let index = block.index;
        self.tree.insert(block);
        let next = self.recent_from.saturating_add(self.recent.len() as u64);
        if self.window.is_some() && index == next {
            self.recent.push_back(block.hash);
        }
        if self.phase == Phase::Hashing {
            return Verdict::Hashed;
        }
        if let Some(range) = self.resend.front_mut() {
            range.start = index.saturating_add(1);
            if range.is_empty() {
                self.resend.pop_front();
            }
            return Verdict::Send { again: true };
        }
        let held = self.have.hash(index);
        self.advance(index.saturating_add(1));
        if held == Some(block.hash) {
            return Verdict::Run { zeros: false };
        }
        if zeros {
            return Verdict::Run { zeros: true };
        }
        let again = index < self.travelled;
        self.travelled = self.travelled.max(index.saturating_add(1));
        Verdict::Send { again }
    }

    /// Adds a block to the run of those that need not travel; gives a former run that it does not continue.
    pub(super) fn join(&mut self, index: u64, zeros: bool) -> Option<Run> {
        let end = index.saturating_add(1);
        let most = self.block_size.index(ZEROS_MAX);
        if let Some(run) = &mut self.run
            && run.zeros == zeros
            && run.blocks.end == index
            && end.saturating_sub(run.blocks.start) <= most
        {
            run.blocks.end = end;
            return None;
        }
        self.run.replace(Run { blocks: index..end, zeros })
    }

    /// Closes the entry after its last block: its size and root.
    pub(super) fn end(&mut self) -> Option<(u64, Hash)> {
        let size = self.size?;
        let root = self.tree.root(self.block_size.blocks(size))?;
        self.phase = Phase::Ended;
        self.root = Some(root);
        Some((size, root))
    }

    /// Returns whether a receipt is of what was sent, all of it.
    pub(super) fn vouches(&self, receipt: &Receipt) -> bool {
        let known = self.root == Some(receipt.hash) && self.size == Some(receipt.size);
        known
            && match self.phase {
                // On a new connection a receipt may come that was lost with the old one.
                Phase::Ended | Phase::Offered => true,
                // After the root alone, nothing can have been stored.
                Phase::Claimed => receipt.outcome == Outcome::Held,
                Phase::Queued | Phase::Hashing | Phase::Streaming => false,
            }
    }

    /// Returns the number of bytes of it that this connection has dealt with, as far as this side
    /// goes.
    pub(super) fn reached_bytes(&self) -> u64 {
        if self.is_whole {
            return self.size.unwrap_or(0);
        }
        let owed = self.resend.iter().map(|run| self.bytes_of(run)).fold(0, u64::saturating_add);
        self.bytes_of(&(0..self.high)).saturating_sub(owed)
    }

    fn bytes_of(&self, run: &Range<u64>) -> u64 {
        let end = run.end.saturating_mul(self.block_size.bytes());
        let end = end.min(self.size.unwrap_or(u64::MAX));
        end.saturating_sub(run.start.saturating_mul(self.block_size.bytes()))
    }
}

/// Returns whether any block stands in both of two lists of ascending ranges.
fn overlap(ours: &[Range<u64>], theirs: &[Range<u64>]) -> bool {
    ours.iter().any(|run| {
        let at = theirs.partition_point(|other| other.end <= run.start);
        theirs.get(at).is_some_and(|other| other.start < run.end)
    })
}

impl Have {
    fn end(&self) -> u64 {
        self.first.saturating_add(self.hashes.len() as u64)
    }

    fn hash(&self, index: u64) -> Option<BlockHash> {
        let at = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.hashes.get(at).copied()
    }
}
