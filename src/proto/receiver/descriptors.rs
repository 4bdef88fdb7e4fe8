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
//! What a former connection left open, and the sender has not offered again, is closed for it. If no other has files open, those that use up the descriptors are not of this session: it ends, and may come again.

use std::collections::{BTreeMap, BTreeSet};

use super::incoming::{Incoming, Phase};
use super::requests::{Current, Task};
use super::{ReceiveAction, Receiver};
use crate::proto::error::Failure;
use crate::proto::wire::message::Name;
use crate::types::{AbortCode, EntryId, Kind, Place, Refusal};

/// What a session waits for that lacks descriptors.
#[derive(Debug, Default)]
pub(super) struct Scarce {
    /// Files that are begun once their content comes.
    deferred: BTreeSet<EntryId>,
    /// The file that was begun last of those that do not count as open when they are offered: at most this one of them is open
    /// between messages.
    uncounted: Option<EntryId>,
    /// A commit is to end before the store is asked again.
    pub(super) awaits_commit: bool,
    /// Entries that are begun with the floor, once other files of the session were closed; with the reason that there is if that
    /// cannot be waited for.
    ///
    /// Invariant: each is an entry that [lacks](Incoming::lacks) a descriptor.
    postponed: BTreeMap<EntryId, (Place, Refusal)>,
}

impl Scarce {
    /// Whether there are files that are begun once their content comes: others come after them.
    pub(super) fn defers(&self) -> bool {
        !self.deferred.is_empty()
    }

    pub(super) fn is_deferred(&self, entry: EntryId) -> bool {
        self.deferred.contains(&entry)
    }

    /// The store began an entry, or refused it for another reason.
    pub(super) fn has_begun(&mut self, entry: EntryId) {
        self.deferred.remove(&entry);
    }

    pub(super) fn forget(&mut self, entry: EntryId) {
        self.deferred.remove(&entry);
        self.postponed.remove(&entry);
    }
}

impl Receiver {
    /// The store could not begin an entry for want of descriptors.
    pub(super) fn lacks_descriptors(&mut self, entry: EntryId, place: Place, reason: Refusal) {
        if self.commits() > 0 {
            self.scarce.awaits_commit = true;
            return self.requests.add_first(Task::Begin { entry, place });
        }
        if self.defer(entry, place) {
            return;
        }
        let others = self.others_open(Some(entry));
        if others > 0 {
            return self.postpone(entry, place, reason, others);
        }
        if let Some(closed) = self.former.close_one() {
            self.requests.push(ReceiveAction::Suspend { entry: closed });
            return self.requests.add_first(Task::Begin { entry, place });
        }
        let since = self.requests.current().map_or(self.turn.began(), Current::since);
        self.requests.clear_tasks();
        self.doom.get_or_insert((Failure::Ended(AbortCode::Exhausted), since));
    }

    /// Puts off beginning a file that was just offered until its content comes; `false` if that cannot be.
    pub(super) fn defer(&mut self, entry: EntryId, place: Place) -> bool {
        let Some(incoming) = self.entries.get_mut(&entry) else { return false };
        let is_file = incoming.offer.meta.kind == Kind::File;
        // Of others it is known that an earlier attempt, or the file that will be replaced, may hold most of it.
        let is_new = place == Place::Offered && incoming.place == Place::Offered;
        let is_small = incoming.is_inline || incoming.offer.root.is_some();
        if !is_file || incoming.phase != Phase::Opening || !(is_new || is_small) {
            return false;
        }
        if std::mem::take(&mut incoming.is_inline) {
            // The content that came with it travels again, as a block.
            incoming.offer.root = None;
        }
        incoming.place = place;
        incoming.phase = Phase::Wanted;
        incoming.hold(0);
        self.scarce.deferred.insert(entry);
        true
    }

    /// Begins a file whose content was asked for without anything open, now that some of it has come.
    pub(super) fn begin_wanted(&mut self, entry: EntryId, place: Place) {
        let is_counted = self.entries.get(&entry).is_none_or(|incoming| incoming.is_open);
        if !is_counted
            && let Some(other) =
                self.scarce.uncounted.replace(entry).filter(|other| *other != entry)
            && let Some(incoming) = self.entries.get_mut(&other)
            && incoming.phase == Phase::Filling
        {
            incoming.put_off();
            self.requests.push(ReceiveAction::Suspend { entry: other });
        }
        self.requests.add(Task::Begin { entry, place });
    }

    /// How many entries but this one have files open that will be closed.
    pub(super) fn others_open(&self, but: Option<EntryId>) -> usize {
        let is_open = |(id, other): &(&EntryId, &Incoming)| Some(**id) != but && other.has_files();
        self.entries.iter().filter(is_open).count()
    }

    /// Waits until others, of which so many are open, were closed.
    fn postpone(&mut self, entry: EntryId, place: Place, reason: Refusal, others: usize) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        incoming.set_lacking(others);
        let name = self.requests.current().map(|current| current.name);
        if matches!(name, Some(Name::Block | Name::Zeros)) {
            if incoming.phase == Phase::Wanted {
                incoming.put_off();
            } else {
                incoming.close_replaced();
            }
        } else {
            self.scarce.postponed.insert(entry, (place, reason));
        }
        self.requests.clear_tasks();
    }

    /// An entry to begin with the floor, as files were closed since there was no descriptor for it.
    pub(super) fn next_postponed(&mut self) -> Option<(EntryId, Place)> {
        if self.scarce.postponed.is_empty() {
            return None;
        }
        let others = self.others_open(None);
        let ready = self.scarce.postponed.keys().copied().find(|entry| {
            self.entries.get(entry).is_none_or(|incoming| incoming.may_begin(others, false))
        })?;
        let (place, _) = self.scarce.postponed.remove(&ready)?;
        Some((ready, place))
    }

    /// The sender waits, and there is nothing else to say to it: what was put off is refused after all, or asked for. `false` if
    /// nothing was.
    pub(super) fn give_up_postponed(&mut self) -> bool {
        if let Some((entry, (place, reason))) = self.scarce.postponed.pop_first() {
            self.begun(entry, place, Err(reason));
            return true;
        }
        let waits = |incoming: &&mut Incoming| !incoming.may_begin(usize::MAX, true);
        let waiting = self.entries.values_mut().find(waits);
        waiting.map(Incoming::wait_no_more).is_some()
    }
}
