//! State known from an earlier connection of the same transfer, so that nothing is read or sent twice (E-4 to E-7).

use super::super::wire::message::meta_of;
use super::identity::Identity;
use super::incoming::Incoming;
use super::outbox::Verdict;
use super::phase::Phase;
use super::{ReceiveAction, Receiver, State};
use crate::hash::Hash;
use crate::proto::error::{Error, Misuse};
use crate::proto::wire::message::{Message, Name, WireOffer};
use crate::types::{EntryId, Event, Kind, Place, RelPath};

/// State known of an entry that is offered again.
pub(super) enum Known {
    /// Nothing that can be used, save under which name it is to be begun. The offer may be one that was admitted and counted
    /// before, and the entry may be open.
    Nothing { is_counted: bool, is_open: bool, place: Place },
    /// The answer is under way.
    Answered,
}

impl Receiver {
    /// Takes over what the receiver of an earlier connection of this transfer knows: what is written, what was hashed,
    /// what is being committed, and the outcome of entries that the sender may not know of.
    ///
    /// It is called after [`Event::Greeted`] and before the next [`poll`](Receiver::poll), and not for a sender that
    /// [claims](Receiver::is_claimed) an attempt: that one does not know what an earlier process was told. The caller goes on with the
    /// store and the files that were open for `earlier`, under the same entries. Those that the sender does not offer
    /// again, or offers as something else, are suspended.
    ///
    /// # Errors
    ///
    /// [`Misuse::Earlier`] if it is too late, if one was taken over already, if the sender claims an attempt, or if `earlier` served
    /// another transfer, a newer attempt, or with another configuration. The files that were open for it are then to be suspended.
    pub fn adopt(&mut self, earlier: Self) -> Result<(), Error> {
        let is_older = match (self.transfer(), earlier.transfer()) {
            (Some((ours, attempt)), Some((theirs, older))) => ours == theirs && older < attempt,
            _ => false,
        };
        let is_new = self.state? == State::Listening
            && !self.is_claimed()
            && !self.turn.has_greeted()
            && self.entries.next_id() == 0;
        if !is_older || !is_new || self.suspended.is_adopted() || self.config != earlier.config {
            return Err(Misuse::Earlier.into());
        }
        self.totals.adopt(earlier.totals);
        self.commits.adopt(earlier.commits);
        // What the caller was not asked for any more.
        let beginning = self.requests.adopt(earlier.requests);
        let mut entries = earlier.entries;
        let settle = |entry| entries.remove(entry).map(|incoming| incoming.identity());
        let verdicts = earlier.outbox.into_verdicts(settle);
        self.suspended.adopt(earlier.suspended, beginning, verdicts);
        for (entry, mut incoming) in entries.into_iter() {
            // Of these, each connection could leave one open.
            let is_open = matches!(incoming.phase(), Phase::Filling | Phase::Comparing);
            if is_open && !incoming.is_open() && incoming.offer.meta.kind == Kind::File {
                if incoming.phase() == Phase::Filling {
                    incoming.put_off();
                } else {
                    incoming.restart();
                }
                self.requests.push(ReceiveAction::Suspend { entry });
            }
            self.suspended.insert(incoming);
        }
        Ok(())
    }

    /// Lets go the entries of an earlier connection before this one that the sender did not offer again: it offers in
    /// order, so it has settled them.
    pub(super) fn pass_over(&mut self, before: Option<EntryId>) {
        for entry in self.suspended.pass_over(before) {
            self.requests.push(ReceiveAction::Suspend { entry });
        }
    }

    /// Answers an offer from what is known of the entry, if it is the same that was offered before.
    pub(super) fn recall(&mut self, wire: &WireOffer) -> Known {
        let (entry, place) = (wire.entry, Place::Offered);
        let Ok(path) = RelPath::parse(&wire.name) else {
            self.pass_over(entry.get().checked_add(1).map(EntryId::new));
            return Known::Nothing { is_counted: false, is_open: false, place };
        };
        let meta = &meta_of(wire, path);
        if let Some(verdict) = self.suspended.take_verdict(entry) {
            let is_counted = verdict.identity == Identity::of(meta, wire.block_size);
            let other = |root: &Hash| matches!(&verdict.message, Message::Receipt { root: held, .. } if held != root);
            let sent = verdict.message.name();
            let is_answer = sent == Name::Refuse || (sent == Name::Unchanged) == wire.by_time;
            if !is_counted || !is_answer || wire.root.as_ref().is_some_and(other) {
                return Known::Nothing { is_counted, is_open: false, place };
            }
            self.outbox.settle(entry, verdict.message, Some(verdict.identity));
            return Known::Answered;
        }
        let Some(mut incoming) = self.suspended.remove(entry) else {
            return Known::Nothing { is_counted: false, is_open: false, place };
        };
        let is_counted =
            incoming.offer.meta.is_same(meta) && incoming.offer.block_size == wire.block_size;
        let goes_on = match incoming.phase() {
            Phase::Committing { root, .. } => {
                if !is_counted || wire.by_time || wire.root.is_some_and(|offered| offered != root) {
                    // A commit that is under way comes to its end, which has no bearing on what is offered now.
                    self.commits.abandon(entry);
                    false
                } else {
                    true
                }
            }
            Phase::Comparing | Phase::Replacing | Phase::Filling | Phase::Wanted => {
                let is_same = is_counted && !wire.inline && !wire.by_time;
                let is_same = is_same && wire.root == incoming.offer.hash;
                is_same && incoming.resume()
            }
            Phase::Opening | Phase::Stale | Phase::Awaited | Phase::Waiting | Phase::Dropped => {
                false
            }
        };
        if !goes_on {
            let beside = self.suspended.place(entry).filter(|_| is_counted);
            let place = beside.unwrap_or(place);
            return Known::Nothing { is_counted, is_open: true, place };
        }
        if incoming.phase() == Phase::Wanted {
            // The earlier session may have been about to begin it.
            self.requests.push(ReceiveAction::Suspend { entry });
        }
        let has_conflict = incoming.existing.conflict().is_some() && !incoming.is_committing();
        self.entries.insert(incoming);
        if has_conflict {
            self.commit_again(entry);
        }
        let (path, kind) = (meta.path.clone(), meta.kind.clone());
        self.tell(Event::Offered { entry, path, kind, size: meta.size });
        Known::Answered
    }

    /// Puts an entry that is being committed among those that are offered, for as long as its commit is dealt with;
    /// `false` if it is there already.
    pub(super) fn lend(&mut self, entry: EntryId) -> bool {
        if self.entries.contains(entry) {
            return false;
        }
        let Some(incoming) = self.suspended.remove(entry) else { return false };
        self.entries.insert(incoming);
        true
    }

    /// Completes a lent entry: its outcome is sent once the sender offers it again.
    pub(super) fn keep_verdict(&mut self, entry: EntryId, message: Message) {
        let identity = self.entries.get(entry).map(Incoming::identity);
        self.forget(entry);
        if let Some(identity) = identity {
            self.suspended.keep_verdict(entry, Verdict { identity, message });
        }
    }

    /// Takes a lent entry back.
    pub(super) fn hold_back(&mut self, entry: EntryId) {
        if let Some(incoming) = self.entries.remove(entry) {
            self.suspended.insert(incoming);
        }
    }
}
