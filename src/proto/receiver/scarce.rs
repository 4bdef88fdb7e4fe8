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
//! What cannot wait is refused if others of the session have files open, which go on. If none has, the others that use up the
//! descriptors are not of this session: it ends, and may come again.

use std::collections::VecDeque;

use super::entry::{Incoming, Phase};
use super::work::Task;
use super::{ReceiveAction, Receiver};
use crate::proto::error::Failure;
use crate::proto::types::{AbortCode, EntryId, Kind, Refusal};
use crate::store::Place;
use crate::tree::BlockTree;

impl Receiver {
    /// The store could not begin an entry for want of descriptors.
    pub(super) fn lacks_descriptors(&mut self, entry: EntryId, place: Place, reason: Refusal) {
        if self.commits() > 0 {
            self.awaits_descriptor = true;
            return self.task(Task::Begin { entry, place });
        }
        if self.defer(entry) {
            return;
        }
        let has_open = |(id, other): (&EntryId, &Incoming)| *id != entry && other.has_files();
        if self.entries.iter().any(has_open) || self.former.open() > 0 {
            return self.begun(entry, place, Err(reason));
        }
        let since = self.current.as_ref().map_or(self.turn_began, |current| current.since);
        if let Some(current) = &mut self.current {
            current.tasks.clear();
        }
        self.doom.get_or_insert((Failure::Ended(AbortCode::Exhausted), since));
    }

    /// Puts off beginning a file that was just offered until its content comes; `false` if that cannot be.
    pub(super) fn defer(&mut self, entry: EntryId) -> bool {
        let Some(incoming) = self.entries.get_mut(&entry) else { return false };
        let is_file = incoming.offer.meta.kind == Kind::File;
        if !is_file || incoming.phase != Phase::Opening || incoming.place != Place::Offered {
            return false;
        }
        if std::mem::take(&mut incoming.is_inline) {
            // The content that came with it travels again, as a block.
            incoming.offer.root = None;
        }
        incoming.phase = Phase::Wanted;
        incoming.hold(0);
        self.deferred.insert(entry);
        true
    }

    /// Begins a file whose content was asked for without anything open, now that some of it has come.
    pub(super) fn begin_wanted(
        &mut self,
        entry: EntryId,
        place: Place,
        tasks: &mut VecDeque<Task>,
    ) {
        let is_counted = self.entries.get(&entry).is_none_or(|incoming| incoming.is_open);
        if !is_counted
            && let Some(other) = self.uncounted.replace(entry).filter(|other| *other != entry)
            && let Some(incoming) = self.entries.get_mut(&other)
            && incoming.phase == Phase::Filling
        {
            incoming.put_off();
            self.todo.push_back(ReceiveAction::Suspend { entry: other });
        }
        tasks.push_back(Task::Begin { entry, place });
    }
}

impl Incoming {
    /// Its file is closed, and what was written of it is to come again.
    pub(super) fn put_off(&mut self) {
        self.phase = Phase::Wanted;
        self.tree = BlockTree::new();
        (self.damaged, self.gained, self.asked) = (true, false, 0);
    }
}
