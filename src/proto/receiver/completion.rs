//! How entries go through the store: from what it found under their names to their receipts.

use std::ops::Range;

use super::super::wire::limits::BESIDE_MAX;
use super::incoming::{Incoming, Phase};
use super::requests::Task;
use super::{ReceiveAction, Receiver};
use crate::config::Existing;
use crate::hash::{BlockSize, Hashed, Root};
use crate::proto::wire::message::Message;
use crate::types::{
    Commit, EntryId, Event, Found, Kind, Outcome, Place, Refusal, RelPath, Standing,
};

impl Receiver {
    /// What the store found under the name of an entry.
    pub(super) fn begun(&mut self, entry: EntryId, place: Place, begun: Result<Found, Refusal>) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        let was_replacing = incoming.phase == Phase::Replacing;
        let was_wanted = incoming.phase == Phase::Wanted;
        let is_file = incoming.offer.meta.kind == Kind::File;
        self.scarce.has_begun(entry);
        incoming.clear_lack();
        if was_wanted
            && place != Place::Replacing
            && matches!(begun, Ok(Found::Existing(_)) | Err(Refusal::Exists))
        {
            // Somebody was faster. Its content is here and is written, and what that means is found out when it is
            // committed under the name that it was to have.
            return self.requests.add_first(Task::Begin { entry, place: Place::Replacing });
        }
        // What came of a stream whose name another file has is written, and gets its name like all others.
        let is_occupied = incoming.occupied.is_some();
        if !was_wanted && !is_occupied {
            incoming.place = place;
        }
        let is_first = !was_replacing && !was_wanted && !is_occupied;
        if place == Place::Replacing && is_file && is_first && incoming.offer.root.is_none() {
            // An earlier attempt to replace the file goes on. If there was none, the file itself is compared.
            let Ok(Found::Partial(len @ 1..)) = begun else {
                if begun.is_ok() {
                    self.requests.push(ReceiveAction::Discard { entry });
                }
                return self.requests.add_first(Task::Begin { entry, place: Place::Offered });
            };
            incoming.phase = Phase::Filling;
            incoming.left = len;
            return incoming.hold_with_replaced(len);
        }
        let is_link = matches!(incoming.offer.meta.kind, Kind::Symlink(_));
        let found = match (begun, place) {
            (Ok(found), _) => found,
            // A link is compared by the store; and what stands beside is as good a reason to go on as a file is.
            (Err(Refusal::Exists), Place::Beside(_)) => return self.differs(entry),
            (Err(Refusal::Exists), Place::Offered) if is_link => return self.differs(entry),
            (Err(reason), _) => return self.drop_entry(entry, reason),
        };
        incoming.left = match found {
            Found::Partial(len) => len,
            Found::Fresh | Found::Existing(_) => 0,
        };
        // What is known of the content from the offer.
        let content = incoming.offer.root.zip(incoming.offer.meta.size);
        match (found, content) {
            (Found::Existing(_), _) if !is_file => self.drop_entry(entry, Refusal::KindClash),
            (Found::Existing(_), _) if was_wanted => self.drop_entry(entry, Refusal::Exists),
            (Found::Existing(len), Some((_, size))) => {
                if let (true, Ok(len)) = (len == size, usize::try_from(size)) {
                    incoming.phase = Phase::Comparing;
                    self.requests.add_first(Task::Compare { entry, len });
                } else {
                    self.differs(entry);
                }
            }
            (Found::Existing(len), None)
                if self.config.existing == Existing::Replace && !incoming.probed =>
            {
                incoming.probed = true;
                incoming.replaced = len;
                self.requests.add_first(Task::Begin { entry, place: Place::Replacing });
            }
            (Found::Existing(len), None) if self.config.existing == Existing::Replace => {
                incoming.phase = Phase::Replacing;
                incoming.hold(len);
            }
            (Found::Existing(len), None) => match incoming.offer.meta.size {
                None => {
                    incoming.occupied = Some(len);
                    self.requests.add_first(Task::Begin { entry, place: Place::Replacing });
                }
                // A sender that could not claim a root for the first name cannot for another.
                Some(size) if size == len && (incoming.claim.is_some() || !incoming.asks) => {
                    incoming.phase = Phase::Comparing;
                    if incoming.claim.is_some() {
                        self.contested.insert(entry);
                        self.judge_existing(entry);
                    }
                }
                Some(_) => self.differs(entry),
            },
            (Found::Fresh | Found::Partial(_), _) if !is_file => {
                if incoming.offer.meta.kind == Kind::Directory {
                    incoming.phase = Phase::Waiting;
                    self.waiting.insert(entry);
                    self.commit_waiting();
                } else {
                    self.commit(entry, 0, Root::of(&[]), Outcome::Stored);
                }
            }
            (Found::Fresh | Found::Partial(_), _) if was_wanted => {
                incoming.phase = Phase::Filling;
                // Of an empty file, its end may have come before there was a descriptor.
                self.commit_if_complete(entry);
            }
            (Found::Fresh | Found::Partial(_), Some(_)) if !incoming.is_inline => {
                incoming.phase = Phase::Wanted;
                incoming.hold(0);
                self.requests.push(ReceiveAction::Suspend { entry });
            }
            (Found::Fresh | Found::Partial(_), Some((root, size))) => {
                incoming.phase = Phase::Filling;
                incoming.end = Some((size, root));
                if size > 0 {
                    self.requests.add_first(Task::Write { entry, offset: 0, block: None });
                } else {
                    self.commit(entry, 0, root, Outcome::Stored);
                }
            }
            (Found::Fresh | Found::Partial(_), None)
                if was_replacing && place == Place::Replacing =>
            {
                // What was called the same so far is taken over from the file that will be replaced. A partial
                // file of an earlier attempt is overwritten: which of its blocks are right is not known.
                incoming.phase = Phase::Filling;
                incoming.copies = true;
                incoming.take_rest_over();
                let held = std::mem::take(&mut incoming.tree);
                held.runs().for_each(|blocks| incoming.copying.insert(&blocks));
                // Its end may have come before there was a descriptor.
                self.commit_if_complete(entry);
            }
            (Found::Fresh, None) => {
                incoming.phase = Phase::Filling;
                incoming.hold(0);
            }
            (Found::Partial(len), None) => {
                incoming.phase = Phase::Filling;
                incoming.hold(len);
            }
        }
    }

    /// What stands under the name of an entry that was offered by time.
    pub(super) fn looked(&mut self, entry: EntryId, standing: Option<Standing>) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        let offered = incoming.offer.meta.size.zip(incoming.offer.meta.modified);
        let found = standing.map(|standing| (standing.size, standing.modified));
        let (Some((size, _)), true) = (offered, offered == found) else {
            incoming.phase = Phase::Stale;
            return self.outbox.push(Message::Changed { entry });
        };
        let path = incoming.offer.meta.path.clone();
        self.totals.trust(size);
        self.tell(Event::Trusted { entry, path, size });
        self.settle(entry, Message::Unchanged { entry });
    }

    /// The content that came inside its offer was compared with the file that has its name.
    pub(super) fn compared(&mut self, entry: EntryId, root: Root, len: usize) {
        let Some(incoming) = self.entries.get(&entry) else { return };
        if incoming.offer.root == Some(root) && incoming.offer.meta.size == Some(len as u64) {
            self.arrive(entry, len as u64);
            self.commit(entry, len as u64, root, Outcome::Held);
        } else {
            self.differs(entry);
        }
    }

    /// A held block was read, to be reported.
    pub(super) fn held(
        &mut self,
        entry: EntryId,
        offset: u64,
        len: usize,
        held: Result<&[u8], Refusal>,
    ) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        let size = incoming.offer.block_size;
        if incoming.is_copying(offset) {
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

    /// A block was written, or the whole content (which is no `block` of a tree).
    pub(super) fn written(&mut self, entry: EntryId, block: Option<&Hashed>) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        let Some(block) = block else {
            if let Some((size, root)) = incoming.end {
                self.arrive(entry, size);
                self.commit(entry, size, root, Outcome::Stored);
            }
            return;
        };
        incoming.gain(block);
        let index = block.index;
        let len = self.span(entry, &(index..index.saturating_add(1))).map_or(0, |(_, len)| len);
        self.arrive(entry, len);
        self.commit_if_complete(entry);
    }

    /// More bytes of an entry are held; those that were before, and had to come again, were said.
    pub(super) fn arrive(&mut self, entry: EntryId, len: u64) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        let len = incoming.arrive(len);
        let progress = self.totals.arrive(len);
        self.tell(progress);
    }

    /// The part of blocks of zeros, as offset and length, which the store is to make zeros: where an earlier attempt may
    /// have left something else. All of it where the size was not offered: once the sender hears that they are kept, a
    /// pipe cannot give them again to a receiver that finds no more than what the store holds.
    pub(super) fn left_at(&self, entry: EntryId, blocks: &Range<u64>) -> Option<(u64, u64)> {
        let incoming = self.entries.get(&entry)?;
        if incoming.phase != Phase::Filling {
            return None;
        }
        let left = incoming.offer.meta.size.map_or(u64::MAX, |_| incoming.left);
        let (offset, len) = self.span(entry, blocks)?;
        let len = left.checked_sub(offset)?.min(len);
        (len > 0).then_some((offset, len))
    }

    /// Blocks of zeros stand in the file: as a hole, or written.
    pub(super) fn zeros(&mut self, entry: EntryId, blocks: Range<u64>) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        if incoming.phase != Phase::Filling {
            return;
        }
        let size = incoming.offer.block_size;
        let mut arrived: u64 = 0;
        for index in blocks {
            let len = incoming.block_len(index).unwrap_or(size.bytes());
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
        let Some(incoming) = self.entries.get(&entry) else { return };
        let outcome = match incoming.phase {
            Phase::Filling => Outcome::Stored,
            Phase::Replacing if !incoming.lacks() => Outcome::Held,
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
        match incoming.is_whole() {
            Some((size, root, found)) if root == found => self.commit(entry, size, root, outcome),
            Some(_) => {
                self.requests.push(ReceiveAction::Discard { entry });
                self.drop_silently(entry, Refusal::Mismatch);
            }
            None => {}
        }
    }

    /// The bytes that a run of blocks covers.
    pub(super) fn span(&self, entry: EntryId, blocks: &Range<u64>) -> Option<(u64, u64)> {
        self.entries.get(&entry)?.span(blocks)
    }

    pub(super) fn commit(&mut self, entry: EntryId, size: u64, root: Root, outcome: Outcome) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        incoming.phase = Phase::Committing { size, root, outcome };
        if std::mem::take(&mut incoming.is_open) {
            self.open = self.open.saturating_sub(1);
        }
        let commit = self.start_commit(entry, size);
        if let Some(commit) = commit {
            self.requests.push(ReceiveAction::Commit(commit));
        }
        self.finished(entry);
    }

    pub(super) fn start_commit(&mut self, entry: EntryId, size: u64) -> Option<Commit> {
        let incoming = self.entries.get(&entry)?;
        let (meta, place) = (incoming.offer.meta.clone(), incoming.place);
        let durability = self.config.durability;
        let ticket = self.commits.start(entry);
        Some(Commit { ticket, entry, meta, place, size, durability })
    }

    /// The content of an entry is complete, or never will be: folders may have waited for that.
    pub(super) fn finished(&mut self, entry: EntryId) {
        if self.busy.remove(&entry) {
            self.commit_waiting();
        }
    }

    /// Commits folders before which nothing is incomplete.
    pub(super) fn commit_waiting(&mut self) {
        while let Some(folder) = self.waiting.first().copied()
            && self.busy.first().is_none_or(|busy| *busy > folder)
        {
            self.waiting.remove(&folder);
            self.commit(folder, 0, Root::of(&[]), Outcome::Stored);
        }
    }

    /// The held file is another one; what now depends on the policy.
    pub(super) fn differs(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        incoming.restart();
        let beside = match incoming.place {
            Place::Beside(number) => number.saturating_add(1),
            Place::Offered | Place::Replacing => 1,
        };
        match self.config.existing {
            Existing::Refuse => self.drop_entry(entry, Refusal::Exists),
            Existing::Skip => self.drop_entry(entry, Refusal::Skipped),
            Existing::Replace => {
                self.requests.add_first(Task::Begin { entry, place: Place::Replacing })
            }
            Existing::Rename if beside > BESIDE_MAX => self.drop_entry(entry, Refusal::Exists),
            Existing::Rename => {
                self.requests.add_first(Task::Begin { entry, place: Place::Beside(beside) });
            }
        }
    }

    /// The entry cannot go on, and the sender will be told. What there is of it is kept, unless it is too large, or another
    /// file has its name: then it would fill the room that the limit is to keep, for a file that is not wanted.
    pub(super) fn drop_entry(&mut self, entry: EntryId, reason: Refusal) {
        let is_too_large = matches!(reason, Refusal::TooLarge { .. } | Refusal::TooMuch { .. });
        let is_filling = |incoming: &Incoming| incoming.phase == Phase::Filling;
        let is_lost = matches!(reason, Refusal::Exists | Refusal::Skipped)
            && self.entries.get(&entry).is_some_and(is_filling);
        self.requests.push(if is_too_large || is_lost {
            ReceiveAction::Discard { entry }
        } else {
            ReceiveAction::Suspend { entry }
        });
        self.drop_silently(entry, reason);
    }

    pub(super) fn drop_silently(&mut self, entry: EntryId, reason: Refusal) {
        self.report(entry, reason);
        if let Some(incoming) = self.entries.get_mut(&entry) {
            incoming.phase = Phase::Dropped;
        }
        self.scarce.forget(entry);
        self.requests.clear_tasks();
        self.finished(entry);
    }

    /// Says the bad news with the floor, and tells the application.
    pub(super) fn report(&mut self, entry: EntryId, reason: Refusal) {
        let Some(incoming) = self.entries.get(&entry) else { return };
        let path = Some(incoming.offer.meta.path.clone());
        let refused = self.refused(entry, path, reason);
        self.outbox.push(refused);
    }

    /// Counts a refusal and tells the application. Returns what is to be said of it.
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

    /// Takes an entry out of all books: this verdict is what is left of it to say.
    pub(super) fn settle(&mut self, entry: EntryId, verdict: Message) {
        let identity = self.entries.get(&entry).map(Incoming::identity);
        self.forget(entry);
        self.outbox.settle(entry, verdict, identity);
    }

    /// Takes an entry out of all books.
    pub(super) fn forget(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.remove(&entry) else { return };
        self.waiting.remove(&entry);
        self.contested.remove(&entry);
        self.scarce.forget(entry);
        self.finished(entry);
        if incoming.is_open {
            self.open = self.open.saturating_sub(1);
        }
        let name = incoming.offer.meta.path.as_bytes().len() as u64;
        self.names = self.names.saturating_sub(name);
    }
}

/// What is written for a block of zeros. It takes no room in the program.
static ZEROS: [u8; BlockSize::MAX.len()] = [0; BlockSize::MAX.len()];
