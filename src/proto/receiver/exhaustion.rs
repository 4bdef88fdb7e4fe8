//! Behaviour of a session on fd exhaustion; see [`Descriptors`](super::descriptors::Descriptors).

use super::requests::{Current, Task};
use super::{ReceiveAction, Receiver};
use crate::proto::error::Error;
use crate::proto::wire::message::Name;
use crate::types::{AbortCode, EntryId, Place, Refusal};

impl Receiver {
    /// Handles that the store could not begin an entry on fd exhaustion.
    pub(super) fn lacks_descriptors(&mut self, entry: EntryId, place: Place, reason: Refusal) {
        if self.commits() > 0 {
            self.commits.wait_for_one();
            return self.requests.add_first(Task::Begin { entry, place });
        }
        if self.entries.defer(entry, place) {
            return;
        }
        let others = self.entries.others_open(Some(entry));
        if others > 0 {
            let name = self.requests.current().map(|current| current.name);
            let is_content = matches!(name, Some(Name::Block | Name::Zeros));
            self.entries.postpone(entry, place, reason, others, is_content);
            return self.requests.clear_tasks();
        }
        if let Some(closed) = self.suspended.close_one() {
            self.requests.push(ReceiveAction::Suspend { entry: closed });
            return self.requests.add_first(Task::Begin { entry, place });
        }
        let since = self.requests.current().map_or(self.turn.began(), Current::since);
        self.requests.clear_tasks();
        self.closing.get_or_insert((Error::Ended(AbortCode::Exhausted), since));
    }

    /// Begins a file whose content was asked for without anything open, now that some of it has come.
    pub(super) fn begin_wanted(&mut self, entry: EntryId, place: Place) {
        if let Some(other) = self.entries.begin_wanted(entry) {
            self.requests.push(ReceiveAction::Suspend { entry: other });
        }
        self.requests.add(Task::Begin { entry, place });
    }

    /// Refuses after all what was put off, or asks for it, as the sender waits and there is nothing else to send to it.
    /// `false` if nothing was.
    pub(super) fn give_up_postponed(&mut self) -> bool {
        if let Some((entry, place, reason)) = self.entries.give_up_postponed() {
            self.begun(entry, place, Err(reason));
            return true;
        }
        self.entries.wait_no_more()
    }
}
