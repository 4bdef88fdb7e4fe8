//! One entry, as the sender sees it.

use std::ops::Range;

use super::content::Content;
use super::course::Course;
use super::window::Window;
use crate::hash::{BlockHash, BlockSize, Hash, Hashed};
use crate::proto::error::Damage;
use crate::proto::wire::limits::ZEROS_MAX;
use crate::proto::wire::message::{WireOffer, mode_of};
use crate::types::{EntryId, Kind, Meta, Outcome, Receipt};

/// An entry from its first offer until the receiver has settled it.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) meta: Meta,
    pub(super) block_size: BlockSize,
    pub(super) trust: Trust,
    pub(super) phase: Phase,
    pub(super) content: Content,
    window: Window,
    course: Course,
    /// Blocks that the receiver reports as held, from an earlier attempt or under the final name.
    have: Have,
    /// Equal, or empty, blocks that are not reported yet.
    pub(super) run: Option<Run>,
    offered: Offered,
    tally: Tally,
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

/// State of an entry on this connection, by its offer.
#[derive(Debug, Default)]
struct Offered {
    /// Set while it counts among those for which the receiver holds a file open.
    is_open: bool,
    /// Set if it was offered by its root, and the receiver has not answered whether it holds it.
    by_root: bool,
    /// Set if its content travelled inside its offer; the receiver may ask for it as blocks, once.
    is_whole: bool,
}

/// Bytes of an entry, as they are counted over all connections, and repairs.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// Bytes of it that count as arrived.
    arrived: u64,
    /// Bytes of it that travelled, or were called zeros, those that travelled again not counted.
    sent: u64,
    repairs: u32,
}

impl Outgoing {
    pub(super) fn new(meta: Meta, block_size: BlockSize, window: Option<u64>) -> Self {
        // At least two blocks fit in the window, so that one can travel while the other arrives.
        let most = window.map_or(BlockSize::MAX, |window| BlockSize::at_most(window / 2));
        let block_size = block_size.min(most);
        Self {
            block_size,
            trust: Trust::Open,
            phase: Phase::Queued,
            content: Content::new(block_size, meta.size),
            window: Window::new(window),
            course: Course::default(),
            have: Have::default(),
            run: None,
            offered: Offered::default(),
            tally: Tally::default(),
            meta,
        }
    }

    /// Returns whether its whole content travels inside its offer.
    pub(super) fn is_inline(&self) -> bool {
        let is_small = self.meta.size.is_some_and(|size| size <= self.block_size.bytes());
        is_small && self.window.released() == 0
    }

    /// Handles that the receiver asks again for what was sent.
    pub(super) fn repair(&mut self, entry: EntryId, limit: u32) -> Result<(), Damage> {
        self.tally.repairs = self.tally.repairs.saturating_add(1);
        self.course.forget_most_kept();
        if self.tally.repairs > limit {
            return Err(Damage::TooOften { entry, rounds: limit });
        }
        Ok(())
    }

    /// Returns the same entry, cut in other blocks.
    pub(super) fn restart(&self, block_size: BlockSize) -> Self {
        let (trust, tally) = (self.trust, Tally { repairs: 0, ..self.tally });
        Self { trust, tally, ..Self::new(self.meta.clone(), block_size, self.window.bytes()) }
    }

    /// Lets its whole content travel inside its offer; returns whether it did before.
    pub(super) fn travel_whole(&mut self) -> bool {
        self.offered.is_whole = true;
        self.course.travel(0)
    }

    /// Takes note that it is offered by its root alone.
    pub(super) const fn offer_by_root(&mut self) {
        self.offered.by_root = true;
    }

    /// Takes whether it was offered by its root, as the receiver answers.
    pub(super) const fn take_by_root(&mut self) -> bool {
        std::mem::replace(&mut self.offered.by_root, false)
    }

    /// Counts it among those for which the receiver holds a file open. Returns whether it was not.
    pub(super) const fn open(&mut self) -> bool {
        !std::mem::replace(&mut self.offered.is_open, true)
    }

    pub(super) const fn is_open(&self) -> bool {
        self.offered.is_open
    }

    /// Counts bytes of it that travel.
    pub(super) fn count_sent(&mut self, bytes: usize, again: bool) {
        self.tally.sent = self.tally.sent.saturating_add(if again { 0 } else { bytes as u64 });
    }

    /// Returns the number of its bytes that count as arrived.
    pub(super) const fn arrived(&self) -> u64 {
        self.tally.arrived
    }

    /// Returns the number of its bytes that travelled.
    pub(super) const fn sent(&self) -> u64 {
        self.tally.sent
    }

    pub(super) fn offer(&self, entry: EntryId, carries: Carries) -> WireOffer {
        WireOffer {
            entry,
            kind: self.meta.kind.clone(),
            block_size: self.block_size,
            size: self.meta.size,
            data: self.meta.data.filter(|data| self.meta.size.is_some_and(|size| *data < size)),
            modified: self.meta.modified,
            mode: mode_of(&self.meta),
            root: self
                .content
                .root()
                .filter(|_| matches!(carries, Carries::Root | Carries::Content)),
            inline: carries == Carries::Content,
            by_time: carries == Carries::Time,
            name: self.meta.path.as_bytes().into(),
        }
    }

    /// Begins a new connection: what was under way on the old one is forgotten, what was hashed is not.
    pub(super) fn reconnect(&mut self) {
        self.phase = Phase::Queued;
        self.trust = match self.trust {
            Trust::Open | Trust::Asked => Trust::Open,
            Trust::Owed | Trust::Over => Trust::Over,
        };
        self.offered = Offered::default();
        self.have = Have::default();
        self.course.reconnect();
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
            Phase::Offered if first <= self.course.reached() => first,
            Phase::Offered | Phase::Claimed => 0,
            Phase::Streaming if self.have.more && self.course.cursor() >= self.have.end() => {
                self.have.end()
            }
            // Its content came damaged inside its offer.
            Phase::Ended if self.offered.is_whole => 0,
            Phase::Queued | Phase::Hashing | Phase::Streaming | Phase::Ended => return false,
        };
        if first != expected || (more && hashes.is_empty()) {
            return false;
        }
        if self.phase != Phase::Streaming {
            self.offered.is_whole = false;
            self.course.begin();
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
            Phase::Ended => self.offered.is_whole,
            Phase::Queued | Phase::Hashing | Phase::Claimed | Phase::Streaming => false,
        };
        // Nothing is kept of what is compared.
        if !is_first || self.meta.size.is_none() || self.course.skips_any() {
            return false;
        }
        self.offered.is_whole = false;
        self.phase = Phase::Hashing;
        true
    }

    /// Returns the root of all, if there is one to be had.
    pub(super) fn claim(&mut self) -> Option<Hash> {
        self.phase = Phase::Claimed;
        if self.may_claim() { self.content.finish().map(|(_, root)| root) } else { None }
    }

    /// Returns whether all of it can be read for its root, and then once more.
    fn may_claim(&self) -> bool {
        let fits = |window: u64| self.content.size().is_some_and(|size| size <= window);
        self.window.bytes().is_none_or(|window| {
            self.window.released() == 0 && fits(window.max(self.block_size.bytes()))
        })
    }

    /// Handles that the receiver keeps these blocks; returns whether they are more than before. `None` if they
    /// were never sent.
    pub(super) fn keep(&mut self, blocks: &[Range<u64>]) -> Option<bool> {
        if blocks.last().is_some_and(|last| !self.course.may_be_kept(last.end)) {
            return None;
        }
        match self.phase {
            // Kept since an earlier connection, which is reported before anything else is (E-4).
            Phase::Offered => self.course.skip(blocks),
            // Nothing is kept of what is compared.
            Phase::Hashing | Phase::Claimed => return None,
            Phase::Queued | Phase::Streaming | Phase::Ended => {}
        }
        let bytes =
            blocks.iter().map(|run| self.content.bytes_of(run)).fold(0, u64::saturating_add);
        self.tally.arrived = self.tally.arrived.max(bytes);
        let prefix = blocks.first().filter(|run| run.start == 0).map_or(0, |run| run.end);
        // The short block at the end of a stream travels on each connection: it alone shows where that is.
        let is_stream = self.meta.size.is_none();
        let whole = self.content.size().filter(|_| is_stream);
        let whole = whole.map(|size| self.block_size.index(size));
        self.window.release(prefix.min(whole.unwrap_or(u64::MAX)));
        Some(self.course.keep(blocks))
    }

    /// Returns the offset before which everything was kept.
    pub(super) fn released(&self) -> u64 {
        self.content.bytes_of(&(0..self.window.released()))
    }

    /// Handles that the receiver asks for blocks again: all that it lacks of those that were sent. `false` if they
    /// never were, or were kept.
    pub(super) fn missing(&mut self, blocks: Vec<Range<u64>>) -> bool {
        matches!(self.phase, Phase::Streaming | Phase::Ended) && self.course.send_again(blocks)
    }

    pub(super) fn step(&self) -> Step {
        if self.phase == Phase::Hashing && self.content.size().is_some() {
            // What was hashed on earlier connections is not read again.
            let index = self.content.prefix();
            let is_hashed = self.content.ends_before(index);
            return if is_hashed || !self.may_claim() { Step::Claim } else { Step::Read { index } };
        }
        if let Some(index) = self.course.next_again() {
            return Step::Read { index };
        }
        if let Some(end) = self.same_again() {
            return Step::Same { end };
        }
        let cursor = self.course.cursor();
        if self.content.ends_before(cursor) {
            return Step::End;
        }
        if self.have.more && cursor >= self.have.end() {
            return Step::Park;
        }
        if let Some(window) = self.window.bytes() {
            let block = self.block_size.bytes();
            let end = cursor.saturating_add(1).saturating_mul(block);
            if end.saturating_sub(self.released()) > window.max(block) {
                return Step::Park;
            }
        }
        Step::Read { index: cursor }
    }

    /// Returns the end of the blocks that a source with a window need not give again, and that the receiver still
    /// reports. That they are unchanged shows at the end, by the root.
    ///
    /// The last block that a receiver reports may be a piece of one, after which a content of unknown size ends: that one
    /// is the same only by its hash.
    fn same_again(&self) -> Option<u64> {
        self.window.bytes()?;
        let end = self.window.released().min(self.have.end());
        let is_last = end == self.have.end() && !self.have.more;
        let last = end.saturating_sub(1);
        let is_whole = !is_last || self.window.hash(last) == self.have.hash(last);
        let cursor = self.course.cursor();
        let is_known = is_whole && self.content.prefix() >= end && self.have.first <= cursor;
        (cursor < end && is_known).then_some(end)
    }

    /// Joins the blocks up to here to the run: they are the same.
    pub(super) fn same_until(&mut self, end: u64) {
        let cursor = self.course.cursor();
        match &mut self.run {
            Some(run) if !run.zeros && run.blocks.end == cursor => run.blocks.end = end,
            run => *run = Some(Run { blocks: cursor..end, zeros: false }),
        }
        self.course.advance(end);
    }

    /// Returns whether this is the last block, as far as is known.
    pub(super) fn is_last(&self, index: u64) -> bool {
        self.content.ends_before(index.saturating_add(1))
    }

    /// Handles that a block was read and hashed.
    pub(super) fn read(&mut self, block: &Hashed, zeros: bool) -> Verdict {
        let index = block.index;
        self.content.insert(block);
        self.window.read(block);
        if self.phase == Phase::Hashing {
            return Verdict::Hashed;
        }
        if self.course.read_again(index) {
            return Verdict::Send { again: true };
        }
        let held = self.have.hash(index);
        self.course.advance(index.saturating_add(1));
        if held == Some(block.hash) {
            return Verdict::Run { zeros: false };
        }
        if zeros {
            return Verdict::Run { zeros: true };
        }
        Verdict::Send { again: self.course.travel(index) }
    }

    /// Adds a block to the run of those that need not travel; gives an earlier run that it does not continue.
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

    /// Closes the entry after its last block. Returns its size and root.
    pub(super) fn end(&mut self) -> Option<(u64, Hash)> {
        let end = self.content.finish()?;
        self.phase = Phase::Ended;
        Some(end)
    }

    /// Returns whether a receipt is of what was sent, all of it.
    pub(super) fn vouches(&self, receipt: &Receipt) -> bool {
        let known =
            self.content.root() == Some(receipt.hash) && self.content.size() == Some(receipt.size);
        known
            && match self.phase {
                // On a new connection a receipt may come that was lost with the old one.
                Phase::Ended | Phase::Offered => true,
                // After the root alone, nothing can have been stored.
                Phase::Claimed => receipt.outcome == Outcome::Held,
                Phase::Queued | Phase::Hashing | Phase::Streaming => false,
            }
    }

    /// Returns the number of bytes of it that this connection has dealt with, as far as this side goes.
    pub(super) fn reached_bytes(&self) -> u64 {
        if self.offered.is_whole {
            return self.content.size().unwrap_or(0);
        }
        let owed = self.course.again().map(|run| self.content.bytes_of(run));
        let reached = self.content.bytes_of(&(0..self.course.high()));
        reached.saturating_sub(owed.fold(0, u64::saturating_add))
    }
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
