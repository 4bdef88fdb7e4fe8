//! One entry, as the receiver sees it.

use std::ops::Range;

use super::super::error::ProtocolError;
use super::super::wire::limits::RANGES_MAX;
use super::super::wire::message::Name;
use super::descriptors::Lack;
use super::held::{Hold, Piece};
use super::identity::Identity;
use super::phase::{Admission, Phase};
use super::runs::Runs;
use crate::hash::{BlockTree, Hash, Hashed};
use crate::types::{Kind, Offer, Place};

/// An entry from its offer until its receipt, or the bad news, is sent.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) offer: Offer,
    pub(super) phase: Phase,
    pub(super) place: Place,
    /// Blocks that are verified: written, or held and called equal. While the entry is compared, those of the existing
    /// file.
    pub(super) tree: BlockTree,
    /// The root that the sender claims of all of it, where it was asked for that.
    pub(super) claim: Option<Hash>,
    /// The sender was asked for that, on this connection.
    pub(super) asks: bool,
    /// The length of a file that has its name, where the size was not offered: what that means is decided when the name
    /// is given.
    pub(super) occupied: Option<u64>,
    /// Blocks that can be reported as held.
    pub(super) hold: Option<Hold>,
    /// Blocks below this were sent, or called equal or zeros, on this connection.
    pub(super) high: u64,
    /// End of the content, as far as a block shorter than the others tells.
    short: Option<u64>,
    /// Bytes that count against the limits, where the size was not offered.
    pub(super) counted: u64,
    /// Size and root that the sender sent at the end.
    pub(super) end: Option<(u64, Hash)>,
    /// A block came damaged since blocks were last asked for again.
    pub(super) damaged: bool,
    /// Blocks that were asked for again and have not come since.
    pub(super) asked: u64,
    pub(super) repairs: u32,
    /// Blocks were verified since that was last reported.
    pub(super) gained: bool,
    /// Its content came with the offer, whole and right.
    pub(super) is_inline: bool,
    /// Set while it counts among those with content of their own.
    is_open: bool,
    /// Set once the store was asked whether an earlier attempt to replace the file left something.
    pub(super) probed: bool,
    /// A file will be replaced, and differs: what is called the same is copied from it.
    pub(super) copies: bool,
    /// The length of the file that will be replaced.
    pub(super) replaced: u64,
    /// Bytes that the store held of it when it was opened: what lies beyond, and is not written, reads as zeros.
    pub(super) left: u64,
    /// Its name is that of another file by now.
    pub(super) rival: Option<Rival>,
    /// Invariant: while there is a lack, nothing of it is open.
    pub(super) lack: Lack,
    /// Blocks that were called the same, and are still to be copied from the file that will be replaced.
    pub(super) copying: Runs,
    /// Bytes that are verified, and the most of which that was reported.
    present: u64,
    arrived: u64,
    /// Bytes of it that travelled, or were called zeros.
    pub(super) travelled: u64,
    /// Number of times in a row that its name was taken when it was to be committed.
    pub(super) losses: u32,
    /// Set if it goes on from a former connection, and the sender is to be informed of what was
    /// kept.
    is_resumed: bool,
}

/// State of the existing file of a complete entry.
#[derive(Debug)]
pub(super) enum Rival {
    /// The file is hashed, from its start, to compare it.
    Hashing(BlockTree),
    /// The file is the same, and is made as durable as the entry was to be.
    Committing,
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
            lack: Lack::default(),
            copying: Runs::default(),
            present: 0,
            arrived: 0,
            travelled: 0,
            losses: 0,
            is_resumed: false,
        }
    }

    /// Begins the entry anew, under another name: what was held proved to be another file. The sender's claims still
    /// hold.
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

    /// Returns whether it has files open while it is not being committed: its own, and the existing one that is to be
    /// compared.
    pub(super) const fn has_files(&self) -> bool {
        let is_open = matches!(self.phase, Phase::Comparing | Phase::Replacing | Phase::Filling);
        is_open && !self.lack.is_some() || matches!(self.rival, Some(Rival::Hashing(_)))
    }

    /// Returns whether a message of this kind is to be dealt with. If not, the sender has yet to receive the bad news.
    pub(super) const fn admit(&self, kind: Name) -> Result<bool, ProtocolError> {
        match self.phase.admits(kind) {
            Admission::Taken => Ok(true),
            Admission::Ignored => Ok(false),
            Admission::Misplaced => Err(self.misplaced(kind)),
        }
    }

    /// Returns that a message of this kind has no place here.
    pub(super) const fn misplaced(&self, kind: Name) -> ProtocolError {
        ProtocolError::UnexpectedForEntry { kind, entry: self.offer.entry }
    }

    /// Returns whether it counts among those with content of their own.
    pub(super) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Counts it among them no longer. Returns whether it did.
    pub(super) fn close(&mut self) -> bool {
        std::mem::take(&mut self.is_open)
    }

    /// Returns the bytes of its name.
    pub(super) fn name_len(&self) -> u64 {
        self.offer.meta.path.as_bytes().len() as u64
    }

    /// Puts off beginning a file that was just offered until its content comes. Returns whether that can be.
    pub(super) fn defer(&mut self, place: Place) -> bool {
        let is_file = self.offer.meta.kind == Kind::File;
        // Of others it is known that an earlier attempt, or the file that will be replaced, may hold most of it.
        let is_new = place == Place::Offered && self.place == Place::Offered;
        let is_small = self.is_inline || self.offer.hash.is_some();
        if !is_file || self.phase != Phase::Opening || !(is_new || is_small) {
            return false;
        }
        if std::mem::take(&mut self.is_inline) {
            // The content that came with it travels again, as a block.
            self.offer.hash = None;
        }
        self.place = place;
        self.phase = Phase::Wanted;
        self.hold(0);
        true
    }

    /// Returns whether the store makes it durable, or the existing file that is the same.
    pub(super) const fn is_committing(&self) -> bool {
        let is_hashing = matches!(self.rival, Some(Rival::Hashing(_)));
        matches!(self.phase, Phase::Committing { .. }) && !is_hashing
    }

    /// Closes the file that it is to replace: what was called the same stays known, and no more is reported.
    pub(super) fn close_replaced(&mut self) {
        self.damaged = true;
        if let Some(hold) = &mut self.hold {
            hold.cut();
        }
    }

    /// Counts verified bytes. Returns how many of them are to be reported.
    pub(super) fn arrive(&mut self, len: u64) -> u64 {
        self.present = self.present.saturating_add(len);
        let more = self.present.saturating_sub(self.arrived);
        self.arrived = self.arrived.saturating_add(more);
        more
    }

    /// Returns the bytes of it that arrived without travelling.
    pub(super) const fn already(&self) -> u64 {
        self.arrived.saturating_sub(self.travelled)
    }

    /// Puts it off: its file is closed, and what was written of it is to come again.
    pub(super) fn put_off(&mut self) {
        self.phase = Phase::Wanted;
        self.tree = BlockTree::new();
        (self.damaged, self.gained, self.asked, self.present) = (true, false, 0, 0);
    }

    /// Handles that the entry is offered again on a new connection; `false` if it has to begin
    /// anew.
    pub(super) fn resume(&mut self) -> bool {
        if self.phase == Phase::Comparing {
            // What was hashed of the existing file still holds; what is offered now is asked for again.
            (self.claim, self.asks) = (None, false);
            return self.offer.hash.is_none();
        }
        if self.is_inline || self.hold.is_none() {
            return false;
        }
        // All that is kept must be reported at once.
        let known = self.known();
        if let Some(run) = known.get(RANGES_MAX as usize) {
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

    /// Returns what was kept of a former connection, if that is to be reported.
    pub(super) fn remembers(&mut self) -> Option<Vec<Range<u64>>> {
        let runs = self.known();
        (std::mem::take(&mut self.is_resumed) && !runs.is_empty()).then_some(runs)
    }

    /// Returns the size and the root that the existing file should have, and what is hashed of it; `None` unless it is
    /// to be hashed.
    pub(super) fn existing(&mut self) -> Option<(u64, Hash, &mut BlockTree)> {
        match (self.phase, &mut self.rival) {
            (Phase::Comparing, _) => Some((self.offer.meta.size?, self.claim?, &mut self.tree)),
            (Phase::Committing { size, root, .. }, Some(Rival::Hashing(tree))) => {
                Some((size, root, tree))
            }
            _ => None,
        }
    }

    /// Returns the size, as offered or as it ended.
    pub(super) fn size(&self) -> Option<u64> {
        self.offer.meta.size.or(self.end.map(|(size, _)| size))
    }

    /// Returns the end of the content, as far as is known by now.
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

    /// Returns the bytes that a run of blocks covers, as offset and length.
    pub(super) fn span(&self, blocks: &Range<u64>) -> Option<(u64, u64)> {
        let offset = self.offer.block_size.offset(blocks.start)?;
        let end = self.offer.block_size.offset(blocks.end)?;
        let end = end.min(self.known_end().unwrap_or(u64::MAX));
        Some((offset, end.checked_sub(offset)?))
    }

    /// Returns the length that the block at `index` must have, if the size is known.
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

    /// Handles a block whose hash is right: if it is shorter than it could be, the content ends with
    /// it.
    ///
    /// A damaged one proves nothing: another may stand at its place in the end.
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

    /// Handles that a block is verified and, if it had to be, written.
    pub(super) fn gain(&mut self, block: &Hashed) {
        self.tree.insert(block);
        self.gained = true;
    }

    /// Blocks up to here are accounted for, and so are those after it that were kept from a former connection.
    pub(super) fn reach(&mut self, end: u64) {
        self.high = self.tree.run_end(self.high.max(end));
    }

    /// Handles that the sender has sent all.
    pub(super) fn finish(&mut self, size: u64, root: Hash) -> Result<(), ProtocolError> {
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

    /// Returns, once all blocks are there, the size, the root that the sender gave, and the root of what is there.
    pub(super) fn is_whole(&self) -> Option<(u64, Hash, Hash)> {
        let (size, root) = self.end?;
        Some((size, root, self.tree.root(self.offer.block_size.blocks(size))?))
    }

    /// Returns the blocks to ask for again, at most `most` runs of them.
    ///
    /// What was asked for and is still to come is not asked for again, unless the sender waits for an answer.
    pub(super) fn missing(&self, most: usize, is_waited_for: bool) -> Vec<Range<u64>> {
        let lacks = self.end.is_some() && (self.asked == 0 || is_waited_for);
        let is_filled = matches!(self.phase, Phase::Filling | Phase::Wanted)
            || self.phase == Phase::Replacing && self.lack.is_some();
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
        self.hold = Some(Hold::new(blocks, len));
    }

    /// Prepares to report `len` bytes of an earlier attempt to replace a file, and beyond them that file.
    pub(super) fn hold_with_replaced(&mut self, len: u64) {
        self.hold(len.max(self.replaced));
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.len() > len) {
            hold.copy_from(self.offer.block_size.index(len));
        }
    }

    /// Takes over what was not reported yet of a file that will be replaced, which is out of its session's hands:
    /// it is copied first.
    pub(super) fn take_rest_over(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.copy_rest();
        }
    }

    /// Returns whether the held block at this offset is to be copied from the file that will be replaced before it is
    /// hashed.
    pub(super) fn takes_over(&self, offset: u64) -> bool {
        let index = self.offer.block_size.index(offset);
        self.is_copying(offset) || self.hold.as_ref().is_some_and(|hold| hold.copies(index))
    }

    /// Returns whether what is called the same still has to be copied from the file that will be
    /// replaced.
    pub(super) fn is_to_be_copied(&self) -> bool {
        self.copies && self.hold.as_ref().is_some_and(Hold::is_to_be_copied)
    }

    /// Returns the held block to read and hash next, as offset and length, if a piece is due and not
    /// complete.
    ///
    /// A piece has `most` hashes at most, and `HAVE_MAX`.
    pub(super) fn hold_wants(&mut self, most: usize) -> Option<(u64, usize)> {
        let block = self.offer.block_size;
        // Nothing follows the end that what is held could be compared with.
        let is_over = self.end.is_some() || self.short.is_some();
        let hold = self.hold.as_mut()?;
        let size = self.offer.meta.size.unwrap_or(hold.len());
        let next = hold.wants(self.high, is_over, most)?;
        let offset = block.offset(next)?;
        let len = block.bytes().min(size.checked_sub(offset)?);
        Some((offset, usize::try_from(len).ok()?))
    }

    /// Blocks that were called equal may include a last one that is shorter: then the content ends there.
    pub(super) fn end_with_held(&mut self, blocks: &Range<u64>) -> Result<(), ProtocolError> {
        let (None, Some(hold)) = (self.size(), &self.hold) else { return Ok(()) };
        let size = self.offer.block_size;
        let is_last = blocks.end == size.blocks(hold.len()) && !size.divides(hold.len());
        if is_last {
            if self.high > blocks.end {
                let (entry, size) = (self.offer.entry, hold.len());
                return Err(ProtocolError::SizeContradicts { entry, size });
            }
            self.short = Some(hold.len());
        }
        Ok(())
    }

    /// Takes the piece that is to be reported.
    pub(super) fn report(&mut self) -> Option<Piece> {
        self.hold.as_mut()?.report()
    }

    /// Returns the held block at `index`, if it was reported.
    pub(super) fn held(&self, index: u64) -> Option<Hashed> {
        self.hold.as_ref()?.get(index)
    }
}

/// Known blocks, and copied ones.
impl Incoming {
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

    /// Returns whether these blocks, none of which is known, make more holes than may be. What joins blocks that are
    /// known does not.
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

    /// Returns the blocks before this one that are not known.
    pub(super) fn unknown_before(&self, end: u64) -> Vec<Range<u64>> {
        let (mut at, mut unknown) = (0, Vec::new());
        for run in self.known().into_iter().take_while(|run| run.start < end) {
            if at < run.start {
                unknown.push(at..run.start);
            }
            at = run.end;
        }
        if at < end {
            unknown.push(at..end);
        }
        unknown
    }

    /// Returns whether the block at this offset is the one to copy next.
    pub(super) fn is_copying(&self, offset: u64) -> bool {
        self.copying.first() == Some(self.offer.block_size.index(offset))
    }
}
