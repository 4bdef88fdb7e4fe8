//! One entry, as the receiver sees it.

use std::ops::Range;

use super::blocks::Blocks;
use super::descriptors::Lack;
use super::existing::Existing;
use super::held::{Hold, Piece};
use super::identity::Identity;
use super::phase::{Admission, Phase, Turned};
use super::repair::Repair;
use crate::hash::{BlockTree, Hash, Hashed};
use crate::proto::error::ProtocolError;
use crate::proto::wire::message::Name;
use crate::types::{Kind, Offer, Place};

/// An entry from its offer until its receipt, or the bad news, is said.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) offer: Offer,
    phase: Phase,
    pub(super) place: Place,
    pub(super) blocks: Blocks,
    pub(super) repair: Repair,
    /// Blocks that can be reported as held.
    pub(super) hold: Option<Hold>,
    pub(super) existing: Existing,
    /// Invariant: while there is a lack, nothing of it is open.
    pub(super) lack: Lack,
    /// Set if its content came with the offer, whole and right.
    pub(super) is_inline: bool,
    /// Set while it counts among those with content of their own.
    is_open: bool,
    pub(super) tally: Tally,
}

/// Bytes of an entry, as they are counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Bytes that count against the limits, where the size was not offered.
    counted: u64,
    /// Bytes that are verified, and the most of which that was said.
    present: u64,
    arrived: u64,
    /// Bytes of it that travelled, or were called zeros.
    travelled: u64,
}

impl Incoming {
    pub(super) fn new(offer: Offer, is_open: bool) -> Self {
        Self {
            blocks: Blocks::new(&offer),
            offer,
            phase: Phase::Opening,
            place: Place::Offered,
            repair: Repair::default(),
            hold: None,
            existing: Existing::default(),
            lack: Lack::default(),
            is_inline: false,
            is_open,
            tally: Tally::default(),
        }
    }

    /// Begins anew, under another name: what was held proved to be another file. What the sender claims still holds.
    pub(super) fn restart(&mut self) {
        self.turn(Turned::Differs);
        self.blocks.restart();
        self.repair.restart();
        self.hold = None;
        self.tally.present = 0;
    }

    /// Moves it to the phase after what happened to it.
    pub(super) fn turn(&mut self, turned: Turned) {
        let next = self.phase.after(turned);
        #[cfg(any(test, feature = "testing"))]
        assert!(next.is_some(), "{turned:?} in {:?}", self.phase);
        self.phase = next.unwrap_or(self.phase);
    }

    pub(super) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn identity(&self) -> Identity {
        Identity::of(&self.offer.meta, self.offer.block_size)
    }

    /// Returns whether it has files open while it is not being committed: its own, and the existing file that is compared.
    pub(super) const fn has_files(&self) -> bool {
        let is_open = matches!(self.phase, Phase::Comparing | Phase::Replacing | Phase::Filling);
        is_open && !self.lack.is_some() || self.existing.is_hashing_conflict()
    }

    /// Returns whether a message of this kind is to be dealt with. If not, the sender has yet to hear the bad news.
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
        self.turn(Turned::PutOff);
        self.hold(0);
        true
    }

    /// Returns whether the store makes it durable, or the existing file that is the same.
    pub(super) const fn is_committing(&self) -> bool {
        matches!(self.phase, Phase::Committing { .. }) && !self.existing.is_hashing_conflict()
    }

    /// Closes the file that it is to replace: what was called the same stays known, and no more is reported.
    pub(super) fn close_replaced(&mut self) {
        self.repair.damage();
        if let Some(hold) = &mut self.hold {
            hold.cut();
        }
    }

    /// Puts it off: its file is closed, and what was written of it is to come again.
    pub(super) fn put_off(&mut self) {
        self.turn(Turned::PutOff);
        self.blocks.forget_written();
        self.repair.put_off();
        self.tally.present = 0;
    }

    /// Goes on, as the entry is offered again on a new connection. Returns whether it can, or has to begin anew.
    pub(super) fn resume(&mut self) -> bool {
        if self.phase == Phase::Comparing {
            // What was hashed of the existing file still holds; what is offered now is asked for again.
            self.existing.forget_claim();
            return self.offer.hash.is_none();
        }
        let Some(hold) = self.hold.as_mut().filter(|_| !self.is_inline) else { return false };
        if let Some(cut) = self.blocks.resume() {
            hold.read_again(cut);
        }
        hold.resume(self.blocks.high());
        self.repair.resume();
        true
    }

    /// Returns the size and the root that the file should have which has the name, and what is hashed of it; `None` unless it is
    /// to be hashed.
    pub(super) fn compared(&mut self) -> Option<(u64, Hash, &mut BlockTree)> {
        match self.phase {
            Phase::Comparing => {
                let (size, root) = (self.offer.meta.size?, self.existing.claim()?);
                Some((size, root, self.blocks.compared()))
            }
            Phase::Committing { size, root, .. } => {
                Some((size, root, self.existing.conflict_tree()?))
            }
            Phase::Opening
            | Phase::Stale
            | Phase::Awaited
            | Phase::Replacing
            | Phase::Wanted
            | Phase::Filling
            | Phase::Waiting
            | Phase::Dropped => None,
        }
    }

    /// Notes that blocks came.
    pub(super) fn came(&mut self, blocks: &Range<u64>) {
        let again = self.blocks.came(blocks);
        self.repair.came_again(again);
    }

    /// Adds a block that is verified and, if it had to be, written.
    pub(super) fn gain(&mut self, block: &Hashed) {
        self.blocks.insert(block);
        self.repair.gain();
    }

    /// Returns the blocks to ask for again, at most `most` runs of them.
    pub(super) fn missing(&self, most: usize, is_waited_for: bool) -> Vec<Range<u64>> {
        let is_filled = matches!(self.phase, Phase::Filling | Phase::Wanted)
            || self.phase == Phase::Replacing && self.lack.is_some();
        if !is_filled || !self.repair.is_due(self.blocks.end().is_some(), is_waited_for) {
            return Vec::new();
        }
        let mut missing = self.blocks.unknown();
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
        self.hold(len.max(self.existing.replaced()));
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.len() > len) {
            hold.copy_from(self.offer.block_size.index(len));
        }
    }

    /// Has what was not reported yet of a file that will be replaced copied first: it is out of the session's hands.
    pub(super) fn take_rest_over(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.copy_rest();
        }
    }

    /// Returns whether the held block at this offset is to be copied from the file that will be replaced before it is hashed.
    pub(super) fn takes_over(&self, offset: u64) -> bool {
        let index = self.offer.block_size.index(offset);
        self.blocks.is_copying(offset) || self.hold.as_ref().is_some_and(|hold| hold.copies(index))
    }

    /// Returns whether what is called the same still has to be copied from the file that will be replaced.
    pub(super) fn is_to_be_copied(&self) -> bool {
        self.existing.copies() && self.hold.as_ref().is_some_and(Hold::is_to_be_copied)
    }

    /// Returns the held block to read and hash next, as offset and length, if a piece is due and not complete.
    ///
    /// A piece has `most` hashes at most, and `HAVE_MAX`.
    pub(super) fn hold_wants(&mut self, most: usize) -> Option<(u64, usize)> {
        let block = self.offer.block_size;
        let hold = self.hold.as_mut()?;
        let size = self.offer.meta.size.unwrap_or(hold.len());
        let next = hold.wants(self.blocks.high(), self.blocks.is_over(), most)?;
        let offset = block.offset(next)?;
        let len = block.bytes().min(size.checked_sub(offset)?);
        Some((offset, usize::try_from(len).ok()?))
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

impl Tally {
    /// Notes that more bytes are verified. Returns how many of them are to be reported.
    pub(super) fn arrive(&mut self, len: u64) -> u64 {
        self.present = self.present.saturating_add(len);
        let more = self.present.saturating_sub(self.arrived);
        self.arrived = self.arrived.saturating_add(more);
        more
    }

    /// Counts an entry whose size was not offered up to this one. Returns how many more bytes that are.
    pub(super) fn count(&mut self, size: u64) -> u64 {
        let more = size.saturating_sub(self.counted);
        self.counted = self.counted.saturating_add(more);
        more
    }

    /// Notes that bytes travelled.
    pub(super) const fn travel(&mut self, len: u64) {
        self.travelled = self.travelled.saturating_add(len);
    }

    /// Returns how many bytes travelled.
    pub(super) const fn travelled(&self) -> u64 {
        self.travelled
    }

    /// Returns how many bytes are here that did not travel.
    pub(super) const fn already(&self) -> u64 {
        self.arrived.saturating_sub(self.travelled)
    }
}
