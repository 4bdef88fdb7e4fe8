//! Queued messages about entries, and messages that the sender has not acknowledged.

use std::collections::{BTreeMap, VecDeque};

use super::identity::Identity;
use crate::proto::wire::message::{Message, Name};
use crate::types::EntryId;

/// Messages to the sender, queued for this side's turn, and those of the last turn that it has not acknowledged.
///
/// Invariants: the queue holds one verdict at most about an entry; each entry in `settled` has one there; and none in
/// `unacknowledged` is in `settled`.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queued: VecDeque<Message>,
    /// Entries that are settled, whose verdict is queued.
    settled: BTreeMap<EntryId, Settled>,
    /// Verdicts that were sent in the last turn, until the sender has received them.
    unacknowledged: BTreeMap<EntryId, Verdict>,
}

/// Outcome of an entry that the sender may not have received.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) identity: Identity,
    /// `Receipt`, `Refuse` or `Unchanged`.
    pub(super) message: Message,
}

#[derive(Debug)]
struct Settled {
    is_refused: bool,
    /// `None` where the offer alone was enough to refuse it, as it will be if it comes again.
    identity: Option<Identity>,
}

impl Outbox {
    /// Queues a message about an entry that is not settled.
    pub(super) fn push(&mut self, message: Message) {
        self.queued.push_back(message);
    }

    /// Queues the verdict about an entry that is settled by it. `identity`: `None` where the offer alone was enough.
    pub(super) fn settle(&mut self, entry: EntryId, verdict: Message, identity: Option<Identity>) {
        let is_refused = verdict.name() == Name::Refuse;
        self.settled.insert(entry, Settled { is_refused, identity });
        self.queued.push_back(verdict);
    }

    /// Takes the next message.
    pub(super) fn pop(&mut self) -> Option<Message> {
        self.queued.pop_front()
    }

    /// Notes that a verdict was sent. `identity`: of an entry that was not settled before.
    pub(super) fn note_sent(
        &mut self,
        entry: EntryId,
        verdict: Message,
        identity: Option<Identity>,
    ) {
        let settled = self.settled.remove(&entry).and_then(|settled| settled.identity);
        if let Some(identity) = identity.or(settled) {
            self.unacknowledged.insert(entry, Verdict { identity, message: verdict });
        }
    }

    /// Notes that the sender has received all that was sent in the last turn.
    pub(super) fn acknowledge(&mut self) {
        self.unacknowledged.clear();
    }

    /// Takes back what is queued about an entry.
    pub(super) fn cancel(&mut self, entry: EntryId) {
        self.settled.remove(&entry);
        self.queued.retain(|message| message.entry() != Some(entry));
    }

    /// Returns all verdicts that the sender is not known to have received. `settle` takes an entry that is not
    /// settled yet, and of which a verdict is queued, and returns its identity.
    pub(super) fn into_verdicts(
        mut self,
        mut settle: impl FnMut(EntryId) -> Option<Identity>,
    ) -> BTreeMap<EntryId, Verdict> {
        while let Some(message) = self.queued.pop_front() {
            if let (Name::Receipt | Name::Refuse | Name::Unchanged, Some(entry)) =
                (message.name(), message.entry())
            {
                self.note_sent(entry, message, settle(entry));
            }
        }
        self.unacknowledged
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// Returns whether an entry is settled, and the sender has yet to learn that it is refused.
    pub(super) fn is_refused(&self, entry: EntryId) -> bool {
        self.settled.get(&entry).is_some_and(|settled| settled.is_refused)
    }

    /// Returns how many entries are settled whose verdict is queued.
    pub(super) fn settled(&self) -> usize {
        self.settled.len()
    }
}
