//! Files that have the name of an entry: is the content the same?
//!
//! Unless it may be replaced, no hash of an existing file is ever sent. Where one of the offered size stands there when the
//! entry is offered, the sender sends the root of its content first, and gets yes or no; it is then hashed here, block by
//! block between heartbeats. Where the size was not offered, the content is received, and that is found out when the name
//! is given.
//!
//! Names may also be taken by the time that an entry is complete: another session was faster, or another program. The store
//! decides that, in one step with giving the name, and hands the file back. What is then done is what would
//! have been done had the other been there from the start; but nothing need be sent again.

use super::phase::Phase;
use super::requests::{Content, Reading, Task};
use super::{ReceiveAction, Receiver, Which};
use crate::config::IfExists;
use crate::hash::Hash;
use crate::proto::error::{Error, Misuse};
use crate::types::{EntryId, Kind, Outcome, Place, Refusal, Ticket};

impl Receiver {
    /// Handles that the store did not give the entry its name, as something else has it, and handed the file back,
    /// complete. `len`: the length of the existing file, if it is regular and can be read.
    ///
    /// Both stay open until [`ReceiveAction::Commit`], [`ReceiveAction::Suspend`] or [`ReceiveAction::Discard`] decides what
    /// becomes of the entry: any of them means that its existing file, if still open, is closed.
    ///
    /// A ticket that is not [one of the session's](Receiver::committing) changes nothing: what came with it is to be
    /// suspended.
    ///
    /// A session that has failed takes it in all the same: the one that [adopts](Receiver::adopt) it decides.
    ///
    /// # Errors
    ///
    /// As for [`poll`](Receiver::poll); the commit has ended then, too.
    /// [`Misuse::NotAsked`] for the commit of an [existing](Which::Existing) file, which cannot be handed back: it ends as
    /// [`Refusal::Exists`].
    pub fn handle_taken(&mut self, ticket: Ticket, len: Option<u64>) -> Result<(), Error> {
        let Some(entry) = self.commits.entry(ticket) else { return self.state.map(drop) };
        if self.suspended.was_taken(entry) {
            self.commits.end(ticket);
            return self.state.map(drop);
        }
        let existing = self.config.if_exists;
        let incoming =
            self.entries.get_mut(entry).filter(|incoming| incoming.existing.conflict().is_none());
        let incoming = incoming.ok_or(Misuse::NotAsked)?;
        let Phase::Committing { size, outcome, .. } = incoming.phase() else {
            return Err(Misuse::NotAsked.into());
        };
        self.commits.end(ticket);
        let losses = incoming.existing.lose();
        let is_file = incoming.offer.meta.kind == Kind::File;
        let is_beside = matches!(incoming.place, Place::Beside(_));
        if losses > LOSSES_MAX || outcome == Outcome::Held {
            self.lose(entry, Refusal::Exists);
        } else if is_file && !is_beside && len.is_none() {
            self.lose(entry, Refusal::KindClash);
        } else if is_file && len == Some(size) && existing != IfExists::Replace {
            incoming.existing.hash_conflict();
            self.entries.add_conflict(entry);
            if size == 0 {
                self.conflict_is_same(entry, size);
            }
        } else {
            self.conflict_differs(entry);
        }
        self.state.map(drop)
    }

    /// Returns the next block to hash of the existing file.
    pub(super) fn read_conflict(&mut self) -> Option<ReceiveAction> {
        let entry = self.entries.conflicts().next()?;
        self.read_conflict_of(entry)
    }

    /// Returns the same, if it is a matter of one block: so many entries may be of that size that they cannot wait for
    /// the floor with their files open.
    pub(super) fn read_small_conflict(&mut self) -> Option<ReceiveAction> {
        // What is read for a message is answered first.
        if self.requests.current().is_some() || self.closing.is_some() {
            return None;
        }
        let small = self.entries.conflicts().find(|entry| {
            self.entries.get(*entry).is_some_and(|incoming| {
                matches!(incoming.phase(), Phase::Committing { size, .. }
                    if size <= incoming.offer.block_size.bytes())
            })
        });
        self.read_conflict_of(small?)
    }

    fn read_conflict_of(&mut self, entry: EntryId) -> Option<ReceiveAction> {
        if self.requests.asked().is_some() {
            return self.asked();
        }
        let incoming = self.entries.get_mut(entry)?;
        let what = if incoming.phase() == Phase::Comparing {
            Content::Existing
        } else {
            Content::Conflict
        };
        let (_, _, tree) = incoming.compared()?;
        let index = tree.prefix();
        let (offset, len) = incoming.blocks.span(&(index..index.saturating_add(1)))?;
        let len = usize::try_from(len).ok()?;
        self.ask(Task::Read(Reading { entry, offset, len, what }))
    }

    /// Handles that a block of the existing file was read.
    pub(super) fn conflict_read(
        &mut self,
        entry: EntryId,
        offset: u64,
        len: usize,
        read: Result<&[u8], Refusal>,
    ) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let blocks = incoming.offer.block_size;
        let Some((_, _, tree)) = incoming.compared() else { return };
        let block = read.ok().filter(|bytes| bytes.len() == len);
        let Some(block) = block.and_then(|bytes| blocks.hash(blocks.index(offset), bytes)) else {
            // It shrank, or cannot be read.
            return self.existing_differs(entry);
        };
        tree.insert(&block);
        self.compare_existing(entry);
    }

    /// Decides about an entry once all of the file that has its name is hashed.
    pub(super) fn compare_existing(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let (phase, blocks) = (incoming.phase(), incoming.offer.block_size);
        let Some((size, root, tree)) = incoming.compared() else { return };
        match tree.root(blocks.blocks(size)) {
            None => {}
            Some(found) if found != root => self.existing_differs(entry),
            Some(_) if phase == Phase::Comparing => {
                self.entries.end_conflict(entry);
                self.arrive(entry, size);
                self.commit(entry, size, root, Outcome::Held);
            }
            Some(_) => self.conflict_is_same(entry, size),
        }
    }

    fn existing_differs(&mut self, entry: EntryId) {
        let phase = self.entries.get(entry).map(|incoming| incoming.phase());
        if phase == Some(Phase::Comparing) {
            self.entries.end_conflict(entry);
            self.differs(entry);
        } else {
            self.conflict_differs(entry);
        }
    }

    /// Handles the sender's claim that this is the root of all of an entry, or its answer that it
    /// has none.
    pub(super) fn claimed(&mut self, entry: EntryId, root: Option<Hash>) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let Some(root) = root else { return self.existing_differs(entry) };
        incoming.existing.set_claim(root);
        self.entries.add_conflict(entry);
        self.compare_existing(entry);
    }

    /// Handles that the existing file is what was to get the name: it is made durable, and then
    /// vouched for.
    fn conflict_is_same(&mut self, entry: EntryId, size: u64) {
        self.entries.end_conflict(entry);
        if let Some(incoming) = self.entries.get_mut(entry) {
            incoming.existing.commit_conflict();
        }
        let commit = self.start_commit(entry, size);
        if let Some(commit) = commit {
            self.requests.push(ReceiveAction::Commit { which: Which::Existing, commit });
        }
    }

    /// Handles that the commit of the existing file ended. `false`: there will be a receipt, or the bad news
    /// is to be sent.
    pub(super) fn conflict_committed(
        &mut self,
        entry: EntryId,
        failed: Option<Refusal>,
        is_lent: bool,
    ) -> bool {
        match failed {
            None => self.requests.push(ReceiveAction::Discard { entry }),
            // It was changed, or removed, since it was read.
            Some(Refusal::Exists) if is_lent => {
                if let Some(incoming) = self.entries.get_mut(entry) {
                    incoming.existing.hash_conflict();
                }
                self.hold_back(entry);
                return true;
            }
            Some(Refusal::Exists) => {
                self.commit_again(entry);
                return true;
            }
            Some(_) => self.requests.push(ReceiveAction::Suspend { entry }),
        }
        false
    }

    /// Handles that the existing file is something else, as the policy has it.
    fn conflict_differs(&mut self, entry: EntryId) {
        let Some(place) = self.entries.get(entry).map(|incoming| incoming.place) else { return };
        let place = match self.place_instead(place) {
            Ok(place) => place,
            Err(reason) => return self.lose(entry, reason),
        };
        if let Some(incoming) = self.entries.get_mut(entry) {
            incoming.place = place;
            if place != Place::Replacing {
                incoming.existing.forget_losses();
            }
        }
        self.commit_again(entry);
    }

    /// Commits an entry that is at hand, complete.
    pub(super) fn commit_again(&mut self, entry: EntryId) {
        self.entries.end_conflict(entry);
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        incoming.existing.forget_conflict();
        if let Phase::Committing { size, .. } = incoming.phase() {
            let commit = self.start_commit(entry, size);
            if let Some(commit) = commit {
                self.requests.push(ReceiveAction::Commit { which: Which::Own, commit });
            }
        }
    }

    /// Drops an entry that does not get its name, which the sender will learn. What was written serves no
    /// later attempt.
    fn lose(&mut self, entry: EntryId, reason: Refusal) {
        self.requests.push(ReceiveAction::Discard { entry });
        let path = self.entries.get(entry).map(|incoming| incoming.offer.meta.path.clone());
        let refused = self.refused(entry, path, reason);
        self.settle(entry, refused);
    }
}

/// Number of times in a row that a name may be taken away from an entry before that is called a refusal: names
/// that come and go faster than they can be looked at are nobody's to wait for.
const LOSSES_MAX: u32 = 16;
