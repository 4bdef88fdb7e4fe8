//! The entries of a session that are not settled: which there are, and what they count as against the limits.

use std::collections::{BTreeMap, BTreeSet};

use super::descriptors::{Descriptors, Lack};
use super::incoming::Incoming;
use super::phase::{Phase, Turned};
use crate::proto::error::ProtocolError;
use crate::proto::wire::message::Name;
use crate::types::{EntryId, Kind, Place, Refusal};

/// Entries by id, and what they add up to.
///
/// Invariant: `open` is how many of them are open, `names` the bytes of all their names. Nothing else counts these.
#[derive(Debug, Default)]
pub(super) struct Counted {
    entries: BTreeMap<EntryId, Incoming>,
    open: u32,
    names: u64,
}

/// The entries that were offered on this connection and are not settled.
///
/// Invariants: the id of each is below `next_id`, and each of the sets holds ids of these entries only. Between any two calls,
/// no folder waits before which nothing is incomplete.
#[derive(Debug, Default)]
pub(super) struct Entries {
    all: Counted,
    /// Files whose content is not complete.
    incomplete: BTreeSet<EntryId>,
    /// Folders that are to be committed once all that was offered before them is complete: their time is set last.
    folders: BTreeSet<EntryId>,
    /// Entries whose names other files have, which are being hashed: complete ones, and those of which the sender sent the
    /// root.
    conflicts: BTreeSet<EntryId>,
    descriptors: Descriptors,
    next_id: u32,
}

impl Counted {
    pub(super) fn insert(&mut self, incoming: Incoming) {
        let entry = incoming.offer.entry;
        self.remove(entry);
        self.open = self.open.saturating_add(incoming.is_open().into());
        self.names = self.names.saturating_add(incoming.name_len());
        self.entries.insert(entry, incoming);
    }

    pub(super) fn remove(&mut self, entry: EntryId) -> Option<Incoming> {
        let incoming = self.entries.remove(&entry)?;
        self.open = self.open.saturating_sub(incoming.is_open().into());
        self.names = self.names.saturating_sub(incoming.name_len());
        Some(incoming)
    }

    /// Counts an entry as open no longer.
    fn close(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        let was_open = incoming.close();
        self.open = self.open.saturating_sub(was_open.into());
    }

    pub(super) fn get(&self, entry: EntryId) -> Option<&Incoming> {
        self.entries.get(&entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EntryId, &Incoming)> {
        self.entries.iter().map(|(entry, incoming)| (*entry, incoming))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (EntryId, &mut Incoming)> {
        self.entries.iter_mut().map(|(entry, incoming)| (*entry, incoming))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns how many entries are open.
    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    /// Returns the bytes of all names.
    pub(super) const fn names(&self) -> u64 {
        self.names
    }

    /// Checks the invariant.
    ///
    /// # Panics
    ///
    /// With the count that is wrong.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn assert_counts(&self) {
        let open = self.entries.values().filter(|incoming| incoming.is_open()).count();
        assert_eq!(self.open as usize, open, "the count of open entries");
        let names = self.entries.values().map(Incoming::name_len).sum::<u64>();
        assert_eq!(self.names, names, "the bytes of names");
    }
}

impl Entries {
    /// Adds an entry, in the place of one that was offered by time under the same id.
    pub(super) fn insert(&mut self, incoming: Incoming) {
        let entry = incoming.offer.entry;
        let is_committing = matches!(incoming.phase(), Phase::Committing { .. });
        if incoming.offer.meta.kind == Kind::File && !is_committing {
            self.incomplete.insert(entry);
        }
        self.all.insert(incoming);
    }

    /// Removes an entry from every index, and releases its quota.
    pub(super) fn remove(&mut self, entry: EntryId) -> Option<Incoming> {
        self.incomplete.remove(&entry);
        self.folders.remove(&entry);
        self.conflicts.remove(&entry);
        self.descriptors.forget(entry);
        self.all.remove(entry)
    }

    /// Notes that an entry is complete, as it turned out. Returns whether a folder may have waited for that.
    pub(super) fn complete(&mut self, entry: EntryId, turned: Turned) -> bool {
        if let Some(incoming) = self.get_mut(entry) {
            incoming.turn(turned);
        }
        self.all.close(entry);
        self.incomplete.remove(&entry)
    }

    /// Notes that nothing more will come of an entry. Returns whether a folder may have waited for that.
    pub(super) fn give_up(&mut self, entry: EntryId) -> bool {
        if let Some(incoming) = self.get_mut(entry) {
            incoming.turn(Turned::Refused);
        }
        self.descriptors.forget(entry);
        self.incomplete.remove(&entry)
    }

    /// Lets a folder wait for all that was offered before it.
    pub(super) fn let_wait(&mut self, folder: EntryId) {
        self.folders.insert(folder);
    }

    /// Takes a folder before which nothing is incomplete.
    pub(super) fn next_folder(&mut self) -> Option<EntryId> {
        let folder = *self.folders.first()?;
        let is_ready = self.incomplete.first().is_none_or(|entry| *entry > folder);
        if is_ready { self.folders.pop_first() } else { None }
    }

    /// Notes that the file which has the name of an entry is to be hashed.
    pub(super) fn add_conflict(&mut self, entry: EntryId) {
        self.conflicts.insert(entry);
    }

    /// Notes that the file which has the name of an entry need not be hashed any more.
    pub(super) fn end_conflict(&mut self, entry: EntryId) {
        self.conflicts.remove(&entry);
    }

    /// Notes the id after that of an offer.
    pub(super) fn advance(&mut self, next_id: u32) {
        self.next_id = self.next_id.max(next_id);
    }

    pub(super) fn get(&self, entry: EntryId) -> Option<&Incoming> {
        self.all.get(entry)
    }

    pub(super) fn get_mut(&mut self, entry: EntryId) -> Option<&mut Incoming> {
        self.all.entries.get_mut(&entry)
    }

    /// Returns the entry that a message of this kind is about.
    pub(super) fn known(
        &mut self,
        entry: EntryId,
        kind: Name,
    ) -> Result<&mut Incoming, ProtocolError> {
        self.get_mut(entry).ok_or(ProtocolError::UnknownEntry { kind, entry })
    }

    pub(super) fn contains(&self, entry: EntryId) -> bool {
        self.all.entries.contains_key(&entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EntryId, &Incoming)> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (EntryId, &mut Incoming)> {
        self.all.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives up all entries, as the session is suspended.
    pub(super) fn into_iter(self) -> impl Iterator<Item = (EntryId, Incoming)> {
        self.all.entries.into_iter()
    }

    /// Returns how many entries are open.
    pub(super) const fn open(&self) -> u32 {
        self.all.open()
    }

    /// Returns the bytes of all names.
    pub(super) const fn names(&self) -> u64 {
        self.all.names()
    }

    /// Returns the id after the highest that was offered.
    pub(super) const fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Returns whether content of any file is to come.
    pub(super) fn are_incomplete(&self) -> bool {
        !self.incomplete.is_empty()
    }

    /// Returns the entries whose names other files have, which are being hashed.
    pub(super) fn conflicts(&self) -> impl ExactSizeIterator<Item = EntryId> {
        self.conflicts.iter().copied()
    }

    /// Checks the invariants.
    ///
    /// # Panics
    ///
    /// With the sentence that does not hold.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn assert_invariants(&self) {
        self.all.assert_counts();
        for entry in self.incomplete.iter().chain(&self.folders).chain(&self.conflicts) {
            assert!(self.contains(*entry), "{entry} is in a set and in no book");
        }
    }
}

/// Entries on fd exhaustion of the process.
impl Entries {
    /// Puts off beginning a file that was just offered until its content comes. Returns whether that can be.
    pub(super) fn defer(&mut self, entry: EntryId, place: Place) -> bool {
        let is_deferred = self.get_mut(entry).is_some_and(|incoming| incoming.defer(place));
        if is_deferred {
            self.descriptors.defer(entry);
        }
        is_deferred
    }

    /// Notes that the store began an entry, or refused it for another reason.
    pub(super) fn has_begun(&mut self, entry: EntryId) {
        self.descriptors.has_begun(entry);
        if let Some(incoming) = self.get_mut(entry) {
            incoming.lack = Lack::default();
        }
    }

    /// Notes that a file is begun whose content was asked for without anything open. Returns the one before it, if that was
    /// closed for it and is to be suspended.
    pub(super) fn begin_wanted(&mut self, entry: EntryId) -> Option<EntryId> {
        if self.get(entry).is_none_or(Incoming::is_open) {
            return None;
        }
        let other = self.descriptors.replace_uncounted(entry)?;
        let incoming = self.get_mut(other).filter(|incoming| incoming.phase() == Phase::Filling)?;
        incoming.put_off();
        Some(other)
    }

    /// Puts off an entry until others, of which so many are open, were closed. `is_content`: content of it was just dropped, and is
    /// asked for again then; else it is begun then.
    pub(super) fn postpone(
        &mut self,
        entry: EntryId,
        place: Place,
        reason: Refusal,
        others: usize,
        is_content: bool,
    ) {
        let Some(incoming) = self.get_mut(entry) else { return };
        incoming.lack.set(others);
        if !is_content {
            self.descriptors.postpone(entry, place, reason);
        } else if incoming.phase() == Phase::Wanted {
            incoming.put_off();
        } else {
            incoming.close_replaced();
        }
    }

    /// Takes an entry to begin, as files were closed since there was no descriptor for it.
    pub(super) fn next_postponed(&mut self) -> Option<(EntryId, Place)> {
        if !self.descriptors.has_postponed() {
            return None;
        }
        let others = self.others_open(None);
        let all = &self.all;
        self.descriptors.take_ready(|entry| {
            all.get(entry).is_none_or(|incoming| incoming.lack.may_begin(others, false))
        })
    }

    /// Takes an entry that was put off, with the reason to refuse it after all.
    pub(super) fn give_up_postponed(&mut self) -> Option<(EntryId, Place, Refusal)> {
        self.descriptors.take_first()
    }

    /// Lets one entry whose content was put off be asked for, whatever is open. Returns whether there was one.
    pub(super) fn wait_no_more(&mut self) -> bool {
        let waits = |incoming: &&mut Incoming| !incoming.lack.may_begin(usize::MAX, true);
        let waiting = self.all.entries.values_mut().find(waits);
        waiting.map(|incoming| incoming.lack.wait_no_more()).is_some()
    }

    /// Returns how many entries but this one have files open that will be closed.
    pub(super) fn others_open(&self, but: Option<EntryId>) -> usize {
        self.iter().filter(|(entry, other)| Some(*entry) != but && other.has_files()).count()
    }

    /// Returns whether there are files that are begun once their content comes: others come after them.
    pub(super) fn are_deferred(&self) -> bool {
        self.descriptors.are_deferred()
    }

    /// Returns whether this file is begun once its content comes.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn is_deferred(&self, entry: EntryId) -> bool {
        self.descriptors.is_deferred(entry)
    }

    /// Returns the files that may be reported to the sender now: those without a descriptor come after those that are compared.
    pub(super) fn reportable(&mut self) -> impl Iterator<Item = (EntryId, &mut Incoming)> {
        let compares = |incoming: &Incoming| incoming.phase() == Phase::Comparing;
        // What had no descriptor to begin with gets one when these are settled.
        let is_scarce = self.are_deferred() && self.all.entries.values().any(compares);
        let descriptors = &self.descriptors;
        let all = self.all.entries.iter_mut().map(|(entry, incoming)| (*entry, incoming));
        all.filter(move |(entry, _)| !(is_scarce && descriptors.is_deferred(*entry)))
    }
}
