//! Entry lifecycle at the receiver, once it is begun: filled, verified, committed, settled.

use std::ops::Range;

use super::existing::Conflict;
use super::incoming::Incoming;
use super::phase::{Phase, Turned};
use super::{ReceiveAction, Receiver, Which};
use crate::config::IfExists;
use crate::hash::{BlockSize, Hash, Hashed};
use crate::proto::error::{Error, Misuse};
use crate::proto::wire::message::Message;
use crate::types::{Commit, EntryId, Event, Kind, Outcome, Receipt, Refusal, RelPath, Ticket};

impl Receiver {
    /// Handles that the store ended a commit. A ticket that is not [one of the session's](Receiver::committing)
    /// changes nothing.
    ///
    /// A session that has failed takes it in all the same: the one that [adopts](Receiver::adopt) it knows what became of the entry.
    ///
    /// # Errors
    ///
    /// As for [`poll`](Receiver::poll); the commit has ended then, too.
    pub fn handle_committed(
        &mut self,
        ticket: Ticket,
        committed: Result<RelPath, Refusal>,
    ) -> Result<(), Error> {
        let ended = self.commits.end(ticket);
        let Some(entry) = ended else { return self.state.map(drop) };
        let is_lent = self.lend(entry);
        let incoming = self.entries.get(entry).ok_or(Misuse::NotAsked)?;
        let Phase::Committing { size, root, outcome } = incoming.phase() else {
            return Err(Misuse::NotAsked.into());
        };
        let (offered, travelled) = (incoming.offer.meta.path.clone(), incoming.tally.travelled());
        let is_file = incoming.offer.meta.kind == Kind::File;
        let (is_conflict, outcome) = match incoming.existing.conflict() {
            None => (false, outcome),
            Some(Conflict::Hashing(_)) => return Err(Misuse::NotAsked.into()),
            Some(Conflict::Committing) => (true, Outcome::Held),
        };
        if is_conflict && self.conflict_committed(entry, committed.as_ref().err().copied(), is_lent)
        {
            return self.state.map(drop);
        }
        let verdict = match committed {
            Ok(path) => {
                let name = if path == offered { Box::default() } else { path.as_bytes().into() };
                let durability = self.config.durability;
                self.totals.deliver(is_file, size, travelled, outcome);
                let receipt = Receipt { path, size, hash: root, durability, outcome };
                self.tell(Event::Delivered { entry, receipt });
                Message::Receipt { entry, size, root, durability, outcome, name }
            }
            // It was found equal, and was changed before it could be vouched for.
            Err(Refusal::Exists)
                if outcome == Outcome::Held && self.config.if_exists == IfExists::Skip =>
            {
                self.refused(entry, Some(offered), Refusal::Skipped)
            }
            Err(reason) => self.refused(entry, Some(offered), reason),
        };
        if is_lent {
            self.keep_verdict(entry, verdict);
        } else {
            self.settle(entry, verdict);
        }
        self.state.map(drop)
    }

    /// Handles that a held block was read, to be reported.
    pub(super) fn held(
        &mut self,
        entry: EntryId,
        offset: u64,
        len: usize,
        held: Result<&[u8], Refusal>,
    ) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let size = incoming.offer.block_size;
        if incoming.blocks.is_copying(offset) {
            return self.copied(entry, size.index(offset), held);
        }
        let Some(hold) = &mut incoming.hold else { return };
        let block = held.ok().filter(|bytes| bytes.len() == len);
        match block.and_then(|bytes| size.hash(size.index(offset), bytes)) {
            Some(block) => hold.push(block),
            // It shrank, or cannot be read: what was hashed so far is all that is held.
            None => hold.cut(),
        }
    }

    /// Handles that a block was copied and read, or could not be: whatever it holds now is what the root will be
    /// held against.
    pub(super) fn copied(&mut self, entry: EntryId, index: u64, read: Result<&[u8], Refusal>) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(reason) => return self.drop_entry(entry, reason),
        };
        let Some(block) = incoming.offer.block_size.hash(index, bytes) else {
            return self.drop_entry(entry, Refusal::Mismatch);
        };
        incoming.repair.gain();
        if incoming.blocks.copied(&block) {
            self.commit_if_complete(entry);
        }
    }

    /// Handles that a block was written, or the whole content (which is no `block` of a tree).
    pub(super) fn written(&mut self, entry: EntryId, block: Option<&Hashed>) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let Some(block) = block else {
            if let Some((size, root)) = incoming.blocks.end() {
                self.arrive(entry, size);
                self.commit(entry, size, root, Outcome::Stored);
            }
            return;
        };
        incoming.gain(block);
        let index = block.index;
        let span = incoming.blocks.span(&(index..index.saturating_add(1)));
        let len = span.map_or(0, |(_, len)| len);
        self.arrive(entry, len);
        self.commit_if_complete(entry);
    }

    /// Handles that more bytes of an entry are held; those that were before, and had to come again,
    /// were reported.
    pub(super) fn arrive(&mut self, entry: EntryId, len: u64) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let len = incoming.tally.arrive(len);
        let progress = self.totals.arrive(len);
        self.tell(progress);
    }

    /// Returns the part of blocks of zeros, as offset and length, which the store is to make zeros: where an earlier
    /// attempt may have left something else. All of it where the size was not offered: once the sender knows that they
    /// are kept, a pipe cannot give them again to a receiver that finds no more than what the store holds.
    pub(super) fn left_at(&self, entry: EntryId, blocks: &Range<u64>) -> Option<(u64, u64)> {
        let incoming = self.entries.get(entry)?;
        if incoming.phase() != Phase::Filling {
            return None;
        }
        let (offset, len) = incoming.blocks.span(blocks)?;
        let len = incoming.blocks.left().checked_sub(offset)?.min(len);
        (len > 0).then_some((offset, len))
    }

    /// Blocks of zeros stand in the file: as a hole, or written.
    pub(super) fn zeroed(&mut self, entry: EntryId, blocks: Range<u64>) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        if incoming.phase() != Phase::Filling {
            return;
        }
        let size = incoming.offer.block_size;
        let mut arrived: u64 = 0;
        for index in blocks {
            let len = incoming.blocks.block_len(index).unwrap_or(size.bytes());
            let zeros = usize::try_from(len).ok().and_then(|len| ZEROS.get(..len));
            let Some(block) = size.hash(index, zeros.unwrap_or_default()) else { return };
            incoming.gain(&block);
            arrived = arrived.saturating_add(len);
        }
        self.arrive(entry, arrived);
        self.commit_if_complete(entry);
    }

    /// Commits an entry if it is whole.
    pub(super) fn commit_if_complete(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.get(entry) else { return };
        let outcome = match incoming.phase() {
            Phase::Filling => Outcome::Stored,
            Phase::Replacing if !incoming.lack.is_some() => Outcome::Held,
            Phase::Opening
            | Phase::Stale
            | Phase::Awaited
            | Phase::Comparing
            | Phase::Replacing
            | Phase::Wanted
            | Phase::Waiting
            | Phase::Committing { .. }
            | Phase::Dropped => return,
        };
        match incoming.blocks.is_whole() {
            Some((size, root, found)) if root == found => self.commit(entry, size, root, outcome),
            Some(_) => {
                self.requests.push(ReceiveAction::Discard { entry });
                self.drop_silently(entry, Refusal::Mismatch);
            }
            None => {}
        }
    }

    pub(super) fn commit(&mut self, entry: EntryId, size: u64, root: Hash, outcome: Outcome) {
        let was_incomplete = self.entries.complete(entry, Turned::Whole { size, root, outcome });
        if let Some(commit) = self.start_commit(entry, size) {
            self.requests.push(ReceiveAction::Commit { which: Which::Own, commit });
        }
        if was_incomplete {
            self.commit_waiting();
        }
    }

    pub(super) fn start_commit(&mut self, entry: EntryId, size: u64) -> Option<Commit> {
        let incoming = self.entries.get(entry)?;
        let (meta, place) = (incoming.offer.meta.clone(), incoming.place);
        let durability = self.config.durability;
        let ticket = self.commits.start(entry);
        Some(Commit { ticket, entry, meta, place, size, durability })
    }

    /// Commits folders before which nothing is incomplete.
    pub(super) fn commit_waiting(&mut self) {
        while let Some(folder) = self.entries.next_folder() {
            self.commit(folder, 0, Hash::of(&[]), Outcome::Stored);
        }
    }

    /// Drops an entry that cannot go on, which the sender will learn. What there is of it is kept, unless it is too
    /// large, or another file has its name: then it would fill the room that the limit is to keep, for a file that is
    /// not wanted.
    pub(super) fn drop_entry(&mut self, entry: EntryId, reason: Refusal) {
        let is_too_large = matches!(reason, Refusal::TooLarge { .. } | Refusal::TooMuch { .. });
        let is_filling = |incoming: &Incoming| incoming.phase() == Phase::Filling;
        let is_lost = matches!(reason, Refusal::Exists | Refusal::Skipped)
            && self.entries.get(entry).is_some_and(is_filling);
        self.requests.push(if is_too_large || is_lost {
            ReceiveAction::Discard { entry }
        } else {
            ReceiveAction::Suspend { entry }
        });
        self.drop_silently(entry, reason);
    }

    pub(super) fn drop_silently(&mut self, entry: EntryId, reason: Refusal) {
        self.report(entry, reason);
        self.requests.clear_tasks();
        if self.entries.give_up(entry) {
            self.commit_waiting();
        }
    }

    /// Sends the bad news with the floor, and tells the application.
    pub(super) fn report(&mut self, entry: EntryId, reason: Refusal) {
        let Some(incoming) = self.entries.get(entry) else { return };
        let path = Some(incoming.offer.meta.path.clone());
        let refused = self.refused(entry, path, reason);
        self.outbox.push(refused);
    }

    /// Counts a refusal and tells the application. Returns the message about it.
    pub(super) fn refused(
        &mut self,
        entry: EntryId,
        path: Option<RelPath>,
        reason: Refusal,
    ) -> Message {
        self.totals.refuse(reason);
        self.tell(Event::Refused { entry, path, reason });
        Message::Refuse { entry, reason: reason.into() }
    }

    /// Completes an entry: this verdict is what is left of it to send.
    pub(super) fn settle(&mut self, entry: EntryId, verdict: Message) {
        let identity = self.entries.get(entry).map(Incoming::identity);
        self.forget(entry);
        self.outbox.settle(entry, verdict, identity);
    }

    /// Completes an entry: removes it from every index.
    pub(super) fn forget(&mut self, entry: EntryId) {
        if self.entries.remove(entry).is_some() {
            self.commit_waiting();
        }
    }
}

/// Bytes that are written for a block of zeros. They take no room in the program.
static ZEROS: [u8; BlockSize::MAX.len()] = [0; BlockSize::MAX.len()];
