//! Suspended session of an earlier connection.

use std::collections::BTreeMap;

use super::entries::Counted;
use super::incoming::Incoming;
use super::outbox::Verdict;
use crate::types::{EntryId, Place};

/// Entries of an earlier connection that the sender has not offered again so far.
///
/// They count as pending, as open, and with their names, so that a reconnect raises none of the limits.
///
/// Invariant: `commits` is how many of the entries are being committed.
#[derive(Debug, Default)]
pub(super) struct Suspended {
    /// A receiver was adopted: that is done once on each connection.
    is_adopted: bool,
    /// An entry that was to be begun beside what has its name.
    beginning: Option<(EntryId, Place)>,
    entries: Counted,
    /// Outcomes of entries that were settled.
    verdicts: BTreeMap<EntryId, Verdict>,
    commits: u32,
}

impl Suspended {
    /// Goes on with what was left of the session that the adopted one had adopted, and what became of entries of that one.
    pub(super) fn adopt(
        &mut self,
        suspended: Self,
        beginning: Option<(EntryId, Place)>,
        verdicts: BTreeMap<EntryId, Verdict>,
    ) {
        let beginning = beginning.or(suspended.beginning);
        *self = Self { is_adopted: true, beginning, ..suspended };
        self.verdicts.extend(verdicts);
    }

    /// Forgets entries that the sender has settled: those before this one, or all. Returns those of them that may be open.
    pub(super) fn pass_over(&mut self, before: Option<EntryId>) -> Vec<EntryId> {
        let is_passed = |entry: EntryId| before.is_none_or(|before| entry < before);
        while let Some(verdict) = self.verdicts.first_entry()
            && is_passed(*verdict.key())
        {
            verdict.remove();
        }
        let passed = self.entries.iter().take_while(|(entry, _)| is_passed(*entry));
        // A commit that is under way comes to its end.
        let passed = passed.filter(|(_, incoming)| !incoming.is_committing());
        let passed: Vec<_> = passed.map(|(entry, _)| entry).collect();
        passed.iter().for_each(|entry| drop(self.remove(*entry)));
        passed
    }

    /// Keeps what became of an entry until the sender offers it again.
    pub(super) fn keep_verdict(&mut self, entry: EntryId, verdict: Verdict) {
        self.verdicts.insert(entry, verdict);
    }

    /// Takes what became of an entry.
    pub(super) fn take_verdict(&mut self, entry: EntryId) -> Option<Verdict> {
        self.verdicts.remove(&entry)
    }

    pub(super) const fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// Returns under which name an entry was to be begun.
    pub(super) fn place(&self, entry: EntryId) -> Option<Place> {
        self.beginning.filter(|(begun, _)| *begun == entry).map(|(_, place)| place)
    }

    pub(super) fn pending(&self) -> u64 {
        (self.entries.len() as u64).saturating_add(self.verdicts.len() as u64)
    }

    /// Returns whether there are entries that are not settled.
    pub(super) fn has_entries(&self) -> bool {
        self.entries.len() > 0
    }

    pub(super) const fn entries(&self) -> &Counted {
        &self.entries
    }

    /// Commits of entries that the sender does not wait for yet.
    pub(super) const fn commits(&self) -> u32 {
        self.commits
    }

    /// Handles that the name of an entry that was being committed is taken: what becomes of it is decided once it is
    /// offered again. `false` if it is none of these.
    pub(super) fn was_taken(&mut self, entry: EntryId) -> bool {
        let is_committing = |incoming: &Incoming| {
            incoming.is_committing() && incoming.existing.conflict().is_none()
        };
        if !self.entries.get(entry).is_some_and(is_committing) {
            return false;
        }
        if let Some(mut incoming) = self.remove(entry) {
            incoming.existing.hash_conflict();
            self.insert(incoming);
        }
        true
    }

    /// Gives up what is open of one entry: it begins anew when it is offered again, with what the store holds of it. `None`: nothing
    /// is open.
    pub(super) fn close_one(&mut self) -> Option<EntryId> {
        let is_open =
            |incoming: &Incoming| incoming.has_files() && incoming.existing.conflict().is_none();
        let (entry, incoming) = self.entries.iter_mut().find(|(_, incoming)| is_open(incoming))?;
        incoming.restart();
        Some(entry)
    }

    pub(super) fn insert(&mut self, incoming: Incoming) {
        self.commits = self.commits.saturating_add(incoming.is_committing().into());
        self.entries.insert(incoming);
    }

    pub(super) fn remove(&mut self, entry: EntryId) -> Option<Incoming> {
        let incoming = self.entries.remove(entry)?;
        self.commits = self.commits.saturating_sub(incoming.is_committing().into());
        Some(incoming)
    }
}
