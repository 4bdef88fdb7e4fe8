//! Messages about the content of an entry.

use std::ops::Range;

use super::held::Hold;
use super::phase::Phase;
use super::requests::Task;
use super::{ReceiveAction, Receiver};
use crate::config::IfExists;
use crate::hash::{BlockHash, Hash};
use crate::proto::error::ProtocolError;
use crate::proto::wire::limits::ZEROS_MAX;
use crate::proto::wire::message::Name;
use crate::types::{EntryId, Event, Place, Refusal, Withdrawal};

impl Receiver {
    /// Handles a block.
    pub(super) fn block(
        &mut self,
        entry: EntryId,
        index: u64,
        hash: BlockHash,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let incoming = self.entries.known(entry, Name::Block)?;
        if !incoming.admit(Name::Block)? {
            return Ok(());
        }
        let (blocks, len) = (index..index.saturating_add(1), payload.len() as u64);
        incoming.blocks.check_block(index, len)?;
        incoming.came(&blocks);
        if incoming.phase() == Phase::Replacing {
            self.requests.add(Task::Begin { entry, place: Place::Replacing });
        }
        incoming.tally.travel(len);
        self.totals.travel(payload.len(), false);
        let size = incoming.offer.block_size;
        let Some(block) = size.hash(index, payload).filter(|block| block.hash == hash) else {
            incoming.repair.damage();
            return Ok(());
        };
        incoming.blocks.right_block(index, len);
        let offset = size.offset(index).unwrap_or(u64::MAX);
        let write = Task::Write { entry, offset, block: Some(block) };
        self.take_content(entry, &blocks, offset, len, write);
        Ok(())
    }

    /// Blocks are zeros.
    pub(super) fn zeros(
        &mut self,
        entry: EntryId,
        blocks: Range<u64>,
    ) -> Result<(), ProtocolError> {
        let kind = Name::Zeros;
        let incoming = self.entries.known(entry, kind)?;
        let bytes = incoming.offer.block_size.bytes();
        incoming.blocks.check_range(&blocks)?;
        let len = blocks.end.saturating_sub(blocks.start).saturating_mul(bytes);
        if len > ZEROS_MAX {
            return Err(ProtocolError::Malformed { kind });
        }
        if !incoming.admit(kind)? {
            return Ok(());
        }
        if let Some(index) = blocks.clone().find(|index| incoming.blocks.knows(*index)) {
            return Err(ProtocolError::BlockAgain { entry, index });
        }
        incoming.came(&blocks);
        incoming.tally.travel(len);
        if incoming.phase() == Phase::Replacing {
            self.requests.add(Task::Begin { entry, place: Place::Replacing });
        }
        let offset = bytes.saturating_mul(blocks.start);
        self.take_content(
            entry,
            &blocks,
            offset,
            len,
            Task::Zeros { entry, blocks: blocks.clone() },
        );
        Ok(())
    }

    /// Has content written that is right, after its entry was begun; or drops the entry for it.
    fn take_content(
        &mut self,
        entry: EntryId,
        blocks: &Range<u64>,
        offset: u64,
        len: u64,
        write: Task,
    ) {
        let wanted = self.entries.get(entry).filter(|incoming| incoming.phase() == Phase::Wanted);
        if let Some(place) = wanted.map(|incoming| incoming.place) {
            self.begin_wanted(entry, place);
        }
        match self.over_budget(entry, blocks, offset, len) {
            Some(reason) => self.drop_entry(entry, reason),
            None => self.requests.add(write),
        }
    }

    /// Blocks are the same as what was reported of them.
    pub(super) fn same(
        &mut self,
        entry: EntryId,
        blocks: &Range<u64>,
    ) -> Result<(), ProtocolError> {
        let kind = Name::Same;
        let incoming = self.entries.known(entry, kind)?;
        if !incoming.admit(kind)? {
            return Ok(());
        }
        if incoming.blocks.end().is_some() {
            return Err(incoming.misplaced(kind));
        }
        incoming.blocks.check_range(blocks)?;
        let mut same = Vec::new();
        for index in blocks.clone() {
            // The range ends with the piece that was reported, at the latest.
            let block = incoming.held(index).ok_or(ProtocolError::NotHeld { entry, index })?;
            if incoming.blocks.knows(index) {
                return Err(ProtocolError::BlockAgain { entry, index });
            }
            same.push(block);
        }
        incoming.blocks.reach(blocks.end);
        if let Some(len) = incoming.hold.as_ref().map(Hold::len) {
            incoming.blocks.end_with_held(blocks, len)?;
        }
        // Before anything differs, nothing is copied: the file may prove to be the same altogether.
        let is_copied = incoming.phase() == Phase::Filling && incoming.is_to_be_copied();
        let Some((offset, len)) = incoming.blocks.span(blocks) else { return Ok(()) };
        if let Some(reason) = self.over_budget(entry, blocks, offset, len) {
            self.drop_entry(entry, reason);
            return Ok(());
        }
        if let Some(incoming) = self.entries.get_mut(entry) {
            if is_copied {
                incoming.blocks.copy(blocks);
                incoming.repair.gain();
            } else {
                same.iter().for_each(|block| incoming.gain(block));
            }
        }
        self.arrive(entry, len);
        Ok(())
    }

    /// Handles the sender's claim of a root, or its answer that it has none.
    pub(super) fn claim(
        &mut self,
        entry: EntryId,
        root: Option<Hash>,
    ) -> Result<(), ProtocolError> {
        let incoming = self.entries.known(entry, Name::Claim)?;
        if !incoming.admit(Name::Claim)? {
            return Ok(());
        }
        if !incoming.existing.is_asked() || incoming.existing.claim().is_some() {
            return Err(incoming.misplaced(Name::Claim));
        }
        self.requests.add(Task::Claim { entry, root });
        Ok(())
    }

    /// Handles that all of an entry was sent.
    pub(super) fn end_of_content(
        &mut self,
        entry: EntryId,
        size: u64,
        root: Hash,
    ) -> Result<(), ProtocolError> {
        let kind = Name::End;
        let incoming = self.entries.known(entry, kind)?;
        if !incoming.admit(kind)? {
            return Ok(());
        }
        let lacks = incoming.lack.is_some();
        if incoming.phase() == Phase::Wanted {
            if size == 0 {
                // It has no block with which it could be begun.
                self.requests.add(Task::Begin { entry, place: incoming.place });
            } else if !(incoming.repair.was_needed() || lacks) {
                return Err(incoming.misplaced(kind));
            }
            // What came of it was damaged, or came among that of others: it is asked for again.
        }
        incoming.blocks.finish(size, root)?;
        if incoming.phase() == Phase::Replacing {
            let is_cut = incoming.hold.as_ref().is_some_and(|hold| hold.len() != size);
            let is_whole = incoming.blocks.is_whole().is_some();
            if lacks && !is_whole {
                // What differs is asked for again once there is a descriptor.
            } else if is_cut || lacks {
                // The held file goes on where the offered one ends.
                self.requests.add(Task::Begin { entry, place: Place::Replacing });
            } else if !is_whole {
                // Neither called the same nor different: nothing could follow.
                return Err(incoming.misplaced(kind));
            }
        }
        self.requests.add(Task::Settle { entry });
        Ok(())
    }

    /// Returns whether content leads beyond the limits, wherever it comes from; only where the size was not offered is
    /// that not known before.
    fn over_budget(
        &mut self,
        entry: EntryId,
        blocks: &Range<u64>,
        offset: u64,
        len: u64,
    ) -> Option<Refusal> {
        let limits = &self.config.limits;
        let incoming = self.entries.get_mut(entry)?;
        if incoming.blocks.makes_holes(blocks, limits.holes) {
            return Some(Refusal::Policy);
        }
        if incoming.offer.meta.size.is_some() {
            return None;
        }
        let size = offset.saturating_add(len);
        if size > limits.file_bytes {
            return Some(Refusal::TooLarge { size, limit: limits.file_bytes });
        }
        // Longer than the file that has the name: a different one, without a look at its content.
        match self.config.if_exists {
            _ if incoming.existing.occupied().is_none_or(|occupied| size <= occupied) => {}
            IfExists::Refuse => return Some(Refusal::Exists),
            IfExists::Skip => return Some(Refusal::Skipped),
            IfExists::Rename | IfExists::Replace => {}
        }
        let more = incoming.tally.count(size);
        self.totals.offer_more(more, limits).err()
    }

    /// Handles that the sender takes an entry back.
    pub(super) fn withdraw(
        &mut self,
        entry: EntryId,
        reason: Withdrawal,
    ) -> Result<(), ProtocolError> {
        let incoming = self.entries.known(entry, Name::Withdraw)?;
        incoming.admit(Name::Withdraw)?;
        let path = incoming.offer.meta.path.clone();
        let is_dropped = matches!(incoming.phase(), Phase::Dropped);
        if is_dropped || matches!(incoming.phase(), Phase::Stale) {
            // The news came too late for the sender.
            self.outbox.cancel(entry);
        } else {
            let is_of_use = reason.keeps_content() || incoming.phase() != Phase::Filling;
            self.requests.push(if is_of_use {
                ReceiveAction::Suspend { entry }
            } else {
                ReceiveAction::Discard { entry }
            });
        }
        // Of a dropped one the application was told here, and it is counted.
        if !is_dropped {
            self.totals.withdraw(reason);
            self.tell(Event::Withdrawn { entry, path, reason });
        }
        self.forget(entry);
        Ok(())
    }
}
