//! Entries that the store cannot begin, as the process has no file descriptor left.
//!
//! That passes: each commit closes files. So while one is under way, it is waited for. With none under way, a file that was
//! just offered is asked for as one of which nothing is held, and begun when its first block comes, by which time those
//! before it are complete; what stands under its name is then found out when it gets it, as where somebody was faster. While
//! there are such files, those that are offered after them are dealt with alike, so that none is opened before them.
//!
//! A file that was offered by its root, or whose content came damaged inside its offer, is asked for in the same way. These are not
//! among those that the sender counts as open when it offers them. So no more than one of them is open between its block and its
//! end: where content of another one comes before that, the first is closed, and asked for again.
//!
//! Whatever else is to be begun is put off while others of the session have files open, until some of these are closed. A
//! block for which a file was to be opened is dropped, and asked for again then: each time only once half as many are open, so
//! that a sender is not asked more often than it bears. What was called the same of a file that will be replaced stays known.
//! Where no block is at hand, the entry is begun with the floor.
//!
//! What an earlier connection left open, and the sender has not offered again, is closed for it. If no other has files open, those that use up the descriptors are not of this session: it ends, and may come again.

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{EntryId, Place, Refusal};

/// Entries for which there is no descriptor.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// Files that are begun once their content comes.
    deferred: BTreeSet<EntryId>,
    /// The file that was begun last of those that do not count as open when they are offered: at most this one of them is open
    /// between messages.
    uncounted: Option<EntryId>,
    /// Entries that are begun with the floor, once other files of the session were closed; with the reason that there is if that
    /// cannot be waited for.
    ///
    /// Invariant: each is an entry with a [`Lack`].
    postponed: BTreeMap<EntryId, (Place, Refusal)>,
}

impl Descriptors {
    pub(super) fn defer(&mut self, entry: EntryId) {
        self.deferred.insert(entry);
    }

    /// Notes that the store began an entry, or refused it for another reason.
    pub(super) fn has_begun(&mut self, entry: EntryId) {
        self.deferred.remove(&entry);
    }

    /// Notes the file that is open and does not count as such. Returns the one before it.
    pub(super) fn replace_uncounted(&mut self, entry: EntryId) -> Option<EntryId> {
        self.uncounted.replace(entry).filter(|other| *other != entry)
    }

    pub(super) fn postpone(&mut self, entry: EntryId, place: Place, reason: Refusal) {
        self.postponed.insert(entry, (place, reason));
    }

    /// Takes the first of those put off that may begin.
    pub(super) fn take_ready(
        &mut self,
        may_begin: impl Fn(EntryId) -> bool,
    ) -> Option<(EntryId, Place)> {
        let ready = self.postponed.keys().copied().find(|entry| may_begin(*entry))?;
        let (place, _) = self.postponed.remove(&ready)?;
        Some((ready, place))
    }

    /// Takes the first of those put off, with the reason to refuse it.
    pub(super) fn take_first(&mut self) -> Option<(EntryId, Place, Refusal)> {
        let (entry, (place, reason)) = self.postponed.pop_first()?;
        Some((entry, place, reason))
    }

    pub(super) fn forget(&mut self, entry: EntryId) {
        self.deferred.remove(&entry);
        self.postponed.remove(&entry);
    }

    pub(super) fn has_postponed(&self) -> bool {
        !self.postponed.is_empty()
    }

    pub(super) fn are_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    pub(super) fn is_deferred(&self, entry: EntryId) -> bool {
        self.deferred.contains(&entry)
    }
}

/// Number of other files of the session that were open when there was no descriptor for an entry, until it is begun, or
/// never will be. `usize::MAX`: it is to be asked for, whatever is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lack(Option<usize>);

impl Lack {
    /// Notes that there is no descriptor, while so many other files of the session are open.
    pub(super) fn set(&mut self, others: usize) {
        let before = self.0.map_or(others, |before| before / 2);
        self.0 = Some(others.min(before));
    }

    /// Has the entry asked for, whatever is open.
    pub(super) const fn wait_no_more(&mut self) {
        self.0 = Some(usize::MAX);
    }

    /// Returns whether there was no descriptor, and the entry was not begun since.
    pub(super) const fn is_some(self) -> bool {
        self.0.is_some()
    }

    /// Returns whether files were closed since: any, or so many that content may travel again for it.
    pub(super) fn may_begin(self, others: usize, is_asked_for: bool) -> bool {
        let most = self.0.map(|among| if is_asked_for { among / 2 } else { among });
        let may = |most| others < most || is_asked_for && others == most;
        others == 0 || self.0 == Some(usize::MAX) || most.is_none_or(may)
    }
}
