//! One entry, as the receiver sees it.

use std::ops::Range;

use super::super::error::ProtocolError;
use super::super::wire::limits::{HAVE_MAX, RANGES_MAX};
use super::copies::Runs;
use super::identity::Identity;
use crate::hash::{BlockHash, BlockTree, Hashed, Root};
use crate::types::{EntryId, Offer, Outcome, Place};

/// An entry from its offer until its receipt, or the bad news, is said.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) offer: Offer,
    pub(super) phase: Phase,
    pub(super) place: Place,
    /// Blocks that are verified: written, or held and called equal. While the entry is compared, those of the existing
    /// file.
    pub(super) tree: BlockTree,
    /// The root that the sender claims of all of it, where it was asked for that.
    pub(super) claim: Option<Root>,
    /// The sender was asked for that, on this connection.
    pub(super) asks: bool,
    /// The length of a file that has its name, where the size was not offered: what that means is decided when the name
    /// is given.
    pub(super) occupied: Option<u64>,
    /// What can be reported as held.
    pub(super) hold: Option<Hold>,
    /// Blocks below this were sent, or called equal or zeros, on this connection.
    pub(super) high: u64,
    /// Where the content ends, as far as a block shorter than the others tells.
    short: Option<u64>,
    /// Bytes that count against the limits, where the size was not offered.
    pub(super) counted: u64,
    /// What the sender said at the end.
    pub(super) end: Option<(u64, Root)>,
    /// A block came damaged since blocks were last asked for again.
    pub(super) damaged: bool,
    /// Blocks that were asked for again and have not come since.
    pub(super) asked: u64,
    pub(super) repairs: u32,
    /// Blocks were verified since that was last said.
    pub(super) gained: bool,
    /// Its content came with the offer, whole and right.
    pub(super) is_inline: bool,
    /// It counts among those with content of their own.
    pub(super) is_open: bool,
    /// It was looked whether an earlier attempt to replace the file left something.
    pub(super) probed: bool,
    /// A file will be replaced, and differs: what is called the same is copied from it.
    pub(super) copies: bool,
    /// The length of the file that will be replaced.
    pub(super) replaced: u64,
    /// Bytes that the store held of it when it was opened: what lies beyond, and is not written, reads as zeros.
    pub(super) left: u64,
    /// Its name is that of another file by now.
    pub(super) rival: Option<Rival>,
    /// How many other files of the session were open when there was no descriptor for it. Until it is begun, nothing of it is
    /// open.
    lacked_among: Option<usize>,
    /// Blocks that were called the same, and are still to be copied from the file that will be replaced.
    pub(super) copying: Runs,
    /// Bytes that are verified, and the most of which that was said.
    present: u64,
    arrived: u64,
    /// How many times in a row its name was taken when it was to be committed.
    pub(super) losses: u32,
    /// It goes on from a former connection, and the sender is to hear what was kept.
    is_resumed: bool,
}

/// What becomes of a file that has the name of an entry which is complete.
#[derive(Debug)]
pub(super) enum Rival {
    /// It is hashed, from its start: is it the same?
    Hashing(BlockTree),
    /// It is, and is made as durable as the entry was to be.
    Committing,
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The store is asked what it holds.
    Opening,
    /// It was offered by time, and has changed, which is not said yet.
    Stale,
    /// That was said: it will be offered again.
    Awaited,
    /// A file has the final name; is it the one that is offered? The sender's claim is awaited, or that file is hashed.
    Comparing,
    /// A file has the final name that will be replaced: its blocks are reported, and all that was said of them so far is
    /// that they are the same.
    Replacing,
    /// It was offered by its root, and is not held: nothing is open until its content comes.
    Wanted,
    /// Its blocks are being written.
    Filling,
    /// A folder, which waits for what was offered before it.
    Waiting,
    /// The store makes it durable and gives it its name.
    Committing { size: u64, root: Root, outcome: Outcome },
    /// There is bad news about it, to be said with the floor; until then the sender goes on about it.
    Dropped,
}

/// What the store holds of an entry before it is sent: blocks to be hashed and reported, piece by piece.
#[derive(Debug)]
pub(super) struct Hold {
    /// Blocks that can be reported.
    blocks: u64,
    /// Bytes held.
    pub(super) len: u64,
    /// The piece that is being hashed, or was reported last.
    first: u64,
    hashed: Vec<Hashed>,
    /// Blocks from this one on are copied from the file that will be replaced before they are hashed: what is
    /// reported of them is in place already. `u64::MAX`: none are.
    over_from: u64,
    /// The piece was said.
    said: bool,
    /// It was said that another piece follows.
    promised: bool,
}

impl Incoming {
    pub(super) fn new(offer: Offer, is_open: bool) -> Self {
        Self {
            offer,
            phase: Phase::Opening,
            place: Place::Offered,
            tree: BlockTree::new(),
            claim: None,
            asks: false,
            occupied: None,
            hold: None,
            high: 0,
            short: None,
            counted: 0,
            end: None,
            damaged: false,
            asked: 0,
            repairs: 0,
            gained: false,
            is_inline: false,
            is_open,
            probed: false,
            copies: false,
            replaced: 0,
            left: 0,
            rival: None,
            lacked_among: None,
            copying: Runs::default(),
            present: 0,
            arrived: 0,
            losses: 0,
            is_resumed: false,
        }
    }

    /// What was held proved to be another file: the entry begins anew, under another name. What the sender claims still
    /// holds.
    pub(super) fn restart(&mut self) {
        self.phase = Phase::Opening;
        self.tree = BlockTree::new();
        self.copying = Runs::default();
        self.present = 0;
        self.hold = None;
        self.high = 0;
        self.short = None;
        self.damaged = false;
        self.asked = 0;
        // The root of content that came inside its offer, and the end with it, still holds.
        self.end = None;
        self.gained = false;
    }

    pub(super) fn identity(&self) -> Identity {
        Identity::of(&self.offer.meta, self.offer.block_size)
    }

    /// Whether it has files open while it is not being committed: its own, and what is to be compared as it has its name.
    pub(super) const fn has_files(&self) -> bool {
        let is_open = matches!(self.phase, Phase::Comparing | Phase::Replacing | Phase::Filling);
        is_open && !self.lacks() || matches!(self.rival, Some(Rival::Hashing(_)))
    }

    /// Whether there was no descriptor for it when it was to be begun, and it was not begun since.
    pub(super) const fn lacks(&self) -> bool {
        self.lacked_among.is_some()
    }

    /// There is no descriptor for it, while so many other files of the session are open.
    pub(super) fn set_lacking(&mut self, others: usize) {
        let before = self.lacked_among.map_or(others, |before| before / 2);
        self.lacked_among = Some(others.min(before));
    }

    /// It is to be asked for, whatever is open.
    pub(super) const fn wait_no_more(&mut self) {
        self.lacked_among = Some(usize::MAX);
    }

    /// The file that it is to replace is closed: what was called the same stays known, and no more is reported.
    pub(super) fn close_replaced(&mut self) {
        self.damaged = true;
        if let Some(hold) = &mut self.hold {
            hold.cut();
        }
    }

    /// It was begun, or never will be.
    pub(super) const fn clear_lack(&mut self) {
        self.lacked_among = None;
    }

    /// Whether files were closed since there was no descriptor for it: any, or so many that its content may travel again for
    /// it.
    pub(super) fn may_begin(&self, others: usize, is_asked_for: bool) -> bool {
        let most = self.lacked_among.map(|among| if is_asked_for { among / 2 } else { among });
        let may = |most| others < most || is_asked_for && others == most;
        others == 0 || self.lacked_among == Some(usize::MAX) || most.is_none_or(may)
    }

    /// More bytes are verified. Returns how many of them are to be said.
    pub(super) fn arrive(&mut self, len: u64) -> u64 {
        self.present = self.present.saturating_add(len);
        let more = self.present.saturating_sub(self.arrived);
        self.arrived = self.arrived.saturating_add(more);
        more
    }

    /// Its file is closed, and what was written of it is to come again.
    pub(super) fn put_off(&mut self) {
        self.phase = Phase::Wanted;
        self.tree = BlockTree::new();
        (self.damaged, self.gained, self.asked, self.present) = (true, false, 0, 0);
    }

    /// The entry is offered again on a new connection; `false` if it has to begin anew.
    pub(super) fn resume(&mut self) -> bool {
        if self.phase == Phase::Comparing {
            // What was hashed of the existing file still holds; what is offered now is asked for again.
            (self.claim, self.asks) = (None, false);
            return self.offer.root.is_none();
        }
        if self.is_inline || self.hold.is_none() {
            return false;
        }
        // All that is kept must be said at once.
        let known = self.known();
        if let Some(run) = known.get(RANGES_MAX) {
            self.tree.truncate(run.start);
            self.copying.truncate(run.start);
            // The others were written all the same: neither reads what was not written as zeros from now on, nor is what
            // was hashed before still there.
            self.left = u64::MAX;
            if let Some(hold) = &mut self.hold {
                hold.read_again(run.start);
            }
        }
        let start = known.first().filter(|run| run.start == 0);
        self.high = start.map_or(0, |run| run.end);
        if let Some(hold) = &mut self.hold {
            hold.resume(self.high);
        }
        self.end = None;
        self.damaged = false;
        self.asked = 0;
        self.gained = false;
        self.is_resumed = true;
        true
    }

    /// What was kept of a former connection, if that is to be said.
    pub(super) fn remembers(&mut self) -> Option<Vec<Range<u64>>> {
        let runs = self.known();
        (std::mem::take(&mut self.is_resumed) && !runs.is_empty()).then_some(runs)
    }

    /// The size and the root that the file should have which has the name, and what is hashed of it; `None` unless it is
    /// to be hashed.
    pub(super) fn existing(&mut self) -> Option<(u64, Root, &mut BlockTree)> {
        match (self.phase, &mut self.rival) {
            (Phase::Comparing, _) => Some((self.offer.meta.size?, self.claim?, &mut self.tree)),
            (Phase::Committing { size, root, .. }, Some(Rival::Hashing(tree))) => {
                Some((size, root, tree))
            }
            _ => None,
        }
    }

    /// The size, as offered or as it ended.
    pub(super) fn size(&self) -> Option<u64> {
        self.offer.meta.size.or(self.end.map(|(size, _)| size))
    }

    /// Where the content ends, as far as is known by now.
    pub(super) fn known_end(&self) -> Option<u64> {
        self.size().or(self.short)
    }

    /// Checks that a range of blocks lies within the entry.
    pub(super) fn check_range(&self, blocks: &Range<u64>) -> Result<(), ProtocolError> {
        let entry = self.offer.entry;
        let last = blocks.end.saturating_sub(1);
        let past = |count| ProtocolError::BlockBeyondEnd { entry, index: last, blocks: count };
        if let Some(size) = self.known_end() {
            let count = self.offer.block_size.blocks(size);
            if blocks.end > count {
                return Err(past(count));
            }
        }
        let end = self.offer.block_size.offset(blocks.end);
        end.map(drop).ok_or(past(self.offer.block_size.index(u64::MAX)))
    }

    /// The bytes that a run of blocks covers, as offset and length.
    pub(super) fn span(&self, blocks: &Range<u64>) -> Option<(u64, u64)> {
        let offset = self.offer.block_size.offset(blocks.start)?;
        let end = self.offer.block_size.offset(blocks.end)?;
        let end = end.min(self.known_end().unwrap_or(u64::MAX));
        Some((offset, end.checked_sub(offset)?))
    }

    /// How long the block at `index` must be, if the size is known.
    pub(super) fn block_len(&self, index: u64) -> Option<u64> {
        let offset = self.offer.block_size.offset(index)?;
        let rest = self.size()?.checked_sub(offset)?;
        Some(rest.min(self.offer.block_size.bytes()))
    }

    /// Checks place and length of a block that came.
    pub(super) fn check_block(&self, index: u64, len: u64) -> Result<(), ProtocolError> {
        let entry = self.offer.entry;
        self.check_range(&(index..index.saturating_add(1)))?;
        let full = self.offer.block_size.bytes();
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

    /// A block came whose hash is right: if it is shorter than it could be, the content ends with it.
    ///
    /// A damaged one says nothing: another may stand at its place in the end.
    pub(super) fn right_block(&mut self, index: u64, len: u64) {
        if self.size().is_none() && len < self.offer.block_size.bytes() {
            let offset = self.offer.block_size.offset(index);
            self.short = offset.map(|at| at.saturating_add(len));
        }
    }

    /// Blocks came; those that had come before were asked for again.
    pub(super) fn came(&mut self, blocks: &Range<u64>) {
        let again = blocks.end.min(self.high).saturating_sub(blocks.start);
        self.asked = self.asked.saturating_sub(again);
        self.reach(blocks.end);
    }

    /// A block is verified and, if it had to be, written.
    pub(super) fn gain(&mut self, block: &Hashed) {
        self.tree.insert(block);
        self.gained = true;
    }

    /// Blocks up to here are accounted for, and so are those after it that were kept from a former connection.
    pub(super) fn reach(&mut self, end: u64) {
        self.high = self.tree.run_end(self.high.max(end));
    }

    /// The sender says that all was sent.
    pub(super) fn finish(&mut self, size: u64, root: Root) -> Result<(), ProtocolError> {
        let entry = self.offer.entry;
        let contradicts = Err(ProtocolError::SizeContradicts { entry, size });
        if self.end.is_some() || self.offer.meta.size.is_some_and(|offered| offered != size) {
            return contradicts;
        }
        let blocks = self.offer.block_size.blocks(size);
        if self.high.max(self.tree.end()) > blocks || self.short.is_some_and(|short| short != size)
        {
            return contradicts;
        }
        let is_ragged = !self.offer.block_size.divides(size);
        let last = self.tree.contains(blocks.saturating_sub(1));
        if self.offer.meta.size.is_none() && is_ragged && last && self.short.is_none() {
            return contradicts;
        }
        self.end = Some((size, root));
        self.reach(blocks);
        Ok(())
    }

    /// Whether all blocks are there; then, the size, the root that the sender gave, and the root of what is there.
    pub(super) fn is_whole(&self) -> Option<(u64, Root, Root)> {
        let (size, root) = self.end?;
        Some((size, root, self.tree.root(self.offer.block_size.blocks(size))?))
    }

    /// The blocks to ask for again, at most `most` runs of them.
    ///
    /// What was asked for and is still to come is not asked for again, unless the sender waits for an answer.
    pub(super) fn missing(&self, most: usize, is_waited_for: bool) -> Vec<Range<u64>> {
        let lacks = self.end.is_some() && (self.asked == 0 || is_waited_for);
        let is_filled = matches!(self.phase, Phase::Filling | Phase::Wanted)
            || self.phase == Phase::Replacing && self.lacks();
        if !is_filled || !(self.damaged || lacks) {
            return Vec::new();
        }
        let mut missing = self.unknown_before(self.high);
        missing.truncate(most);
        missing
    }

    /// Prepares to report `len` bytes that the store holds.
    pub(super) fn hold(&mut self, len: u64) {
        let size = self.offer.block_size;
        let blocks = match self.offer.meta.size {
            Some(total) if len >= total => size.blocks(total),
            // A block that is not whole cannot be compared with one that is.
            Some(_) => size.index(len),
            // Where the offered content ends is not known: it may be there.
            None => size.blocks(len),
        };
        self.hold = Some(Hold {
            blocks,
            len,
            first: 0,
            hashed: Vec::new(),
            over_from: u64::MAX,
            said: false,
            promised: false,
        });
    }

    /// Prepares to report `len` bytes of an earlier attempt to replace a file, and beyond them that file.
    pub(super) fn hold_with_replaced(&mut self, len: u64) {
        self.hold(len.max(self.replaced));
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.len > len) {
            hold.over_from = self.offer.block_size.index(len);
        }
    }

    /// What was not reported yet of a file that will be replaced is out of its session's hands: it is copied first.
    pub(super) fn take_rest_over(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.over_from = hold.end();
        }
    }

    /// Whether the held block at this offset is to be copied from the file that will be replaced before it is hashed.
    pub(super) fn takes_over(&self, offset: u64) -> bool {
        let index = self.offer.block_size.index(offset);
        self.is_copying(offset) || self.hold.as_ref().is_some_and(|hold| index >= hold.over_from)
    }

    /// Whether what is called the same still has to be copied from the file that will be replaced.
    pub(super) fn is_to_be_copied(&self) -> bool {
        self.copies && self.hold.as_ref().is_some_and(|hold| hold.first < hold.over_from)
    }

    /// The held block to read and hash next, as offset and length, if a piece is due and not complete.
    ///
    /// A piece has `most` hashes at most, and `HAVE_MAX`.
    pub(super) fn hold_wants(&mut self, most: usize) -> Option<(u64, usize)> {
        let block = self.offer.block_size;
        let high = self.high;
        // Nothing follows the end that what is held could be compared with.
        let is_over = self.end.is_some() || self.short.is_some();
        let hold = self.hold.as_mut()?;
        let size = self.offer.meta.size.unwrap_or(hold.len);
        if hold.said {
            let end = hold.end();
            if !hold.promised || high < end || is_over {
                return None;
            }
            hold.first = end;
            hold.hashed.clear();
            hold.said = false;
        }
        let next = hold.end();
        if hold.hashed.len() >= most.clamp(1, HAVE_MAX) || next >= hold.blocks {
            return None;
        }
        let offset = block.offset(next)?;
        let len = block.bytes().min(size.checked_sub(offset)?);
        Some((offset, usize::try_from(len).ok()?))
    }

    /// Blocks that were called equal may include a last one that is shorter: then the content ends there.
    pub(super) fn end_with_held(&mut self, blocks: &Range<u64>) -> Result<(), ProtocolError> {
        let (None, Some(hold)) = (self.size(), &self.hold) else { return Ok(()) };
        let size = self.offer.block_size;
        let is_last = blocks.end == size.blocks(hold.len) && !size.divides(hold.len);
        if is_last {
            if self.high > blocks.end {
                let (entry, size) = (self.offer.entry, hold.len);
                return Err(ProtocolError::SizeContradicts { entry, size });
            }
            self.short = Some(hold.len);
        }
        Ok(())
    }

    /// Whether a piece is to be said: its first block, its hashes, and whether more will follow.
    pub(super) fn hold_says(&mut self) -> Option<(u64, Vec<BlockHash>, bool)> {
        let hold = self.hold.as_mut().filter(|hold| !hold.said)?;
        // An empty piece is an answer too: nothing is held.
        hold.said = true;
        let hashes = hold.hashed.iter().map(|block| block.hash).collect();
        hold.promised = hold.end() < hold.blocks && !hold.hashed.is_empty();
        Some((hold.first, hashes, hold.promised))
    }

    /// The held block at `index`, if it was reported.
    pub(super) fn held(&self, index: u64) -> Option<Hashed> {
        let hold = self.hold.as_ref().filter(|hold| hold.said)?;
        let at = usize::try_from(index.checked_sub(hold.first)?).ok()?;
        hold.hashed.get(at).copied()
    }
}

impl Hold {
    /// A held block was read.
    pub(super) fn push(&mut self, block: Hashed) {
        self.hashed.push(block);
    }

    /// Nothing beyond what was hashed can be read.
    pub(super) fn cut(&mut self) {
        self.blocks = self.end();
    }

    /// From this block on, what was hashed is no longer what is held.
    fn read_again(&mut self, from: u64) {
        let done = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.hashed.truncate(done);
    }

    /// The piece is said again on a new connection, from this block on; what was hashed is not read again.
    fn resume(&mut self, from: u64) {
        let done = from.saturating_sub(self.first).min(self.hashed.len() as u64);
        self.first = self.first.saturating_add(done);
        self.hashed.drain(..usize::try_from(done).unwrap_or(usize::MAX).min(self.hashed.len()));
        self.said = false;
        self.promised = false;
    }

    /// Whether there is something to say.
    pub(super) fn has_some(&self) -> bool {
        !self.hashed.is_empty()
    }

    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(self.hashed.len() as u64)
    }
}

/// The entry of this id, if the peer may speak of it.
pub(super) fn unknown(entry: EntryId, kind: super::super::wire::message::Name) -> ProtocolError {
    ProtocolError::UnknownEntry { kind, entry }
}
