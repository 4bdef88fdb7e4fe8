//! What is known from a former connection of the same transfer, so that nothing is read or sent twice (E-4 to E-7).

use std::collections::BTreeMap;

use super::super::wire::message::meta_of;
use super::identity::Identity;
use super::incoming::{Incoming, Phase, Rival};
use super::outbox::Verdict;
use super::{ReceiveAction, Receiver, State};
use crate::hash::{BlockTree, Root};
use crate::proto::error::{Failure, Misuse, ProtocolError};
use crate::proto::wire::message::{Message, Name, WireOffer};
use crate::types::{EntryId, Event, Kind, Place, RelPath};

/// Entries of a former connection that the sender has not offered again so far.
///
/// They count as pending, as open, and with their names, so that a reconnect raises none of the limits.
#[derive(Debug, Default)]
pub(super) struct Former {
    /// A receiver was taken over: that is done once on each connection.
    is_taken: bool,
    /// An entry that was to be begun beside what has its name.
    beginning: Option<(EntryId, Place)>,
    entries: BTreeMap<EntryId, Incoming>,
    verdicts: BTreeMap<EntryId, Verdict>,
    open: u32,
    names: u64,
    commits: u32,
}

/// What was known of an entry that is offered again.
pub(super) enum Known {
    /// Nothing that can be used, save under which name it is to be begun. The offer may be one that was judged and counted
    /// before, and the entry may be open.
    Nothing { is_counted: bool, is_open: bool, place: Place },
    /// The answer is under way.
    Answered,
}

impl Former {
    pub(super) fn pending(&self) -> u64 {
        (self.entries.len() as u64).saturating_add(self.verdicts.len() as u64)
    }

    /// Whether there are entries that are not settled.
    pub(super) fn has_entries(&self) -> bool {
        !self.entries.is_empty()
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) const fn entries(&self) -> &BTreeMap<EntryId, Incoming> {
        &self.entries
    }

    pub(super) const fn open(&self) -> u32 {
        self.open
    }

    pub(super) const fn names(&self) -> u64 {
        self.names
    }

    /// Commits of entries that the sender does not wait for yet.
    pub(super) const fn commits(&self) -> u32 {
        self.commits
    }

    /// The name of an entry that was being committed is taken: what becomes of it is decided once it is offered again.
    /// `false` if it is none of these.
    pub(super) fn was_taken(&mut self, entry: EntryId) -> bool {
        let is_committing =
            |incoming: &Incoming| weight(incoming).2 > 0 && incoming.rival.is_none();
        if !self.entries.get(&entry).is_some_and(is_committing) {
            return false;
        }
        if let Some(mut incoming) = self.remove(entry) {
            incoming.rival = Some(Rival::Hashing(BlockTree::new()));
            self.insert(entry, incoming);
        }
        true
    }

    /// Gives up what is open of one entry: it begins anew when it is offered again, with what the store holds of it. `None`: nothing
    /// is open.
    pub(super) fn close_one(&mut self) -> Option<EntryId> {
        let is_open = |incoming: &Incoming| incoming.has_files() && incoming.rival.is_none();
        let (entry, incoming) = self.entries.iter_mut().find(|(_, incoming)| is_open(incoming))?;
        incoming.restart();
        Some(*entry)
    }

    fn insert(&mut self, entry: EntryId, incoming: Incoming) {
        let (open, names, commits) = weight(&incoming);
        self.open = self.open.saturating_add(open);
        self.names = self.names.saturating_add(names);
        self.commits = self.commits.saturating_add(commits);
        self.entries.insert(entry, incoming);
    }

    fn remove(&mut self, entry: EntryId) -> Option<Incoming> {
        let incoming = self.entries.remove(&entry)?;
        let (open, names, commits) = weight(&incoming);
        self.open = self.open.saturating_sub(open);
        self.names = self.names.saturating_sub(names);
        self.commits = self.commits.saturating_sub(commits);
        Some(incoming)
    }
}

/// Whether it counts as open, the bytes of its name, and whether it is being committed by the store.
fn weight(incoming: &Incoming) -> (u32, u64, u32) {
    let is_contested = matches!(incoming.rival, Some(Rival::Hashing(_)));
    let commits = matches!(incoming.phase, Phase::Committing { .. }) && !is_contested;
    let names = incoming.offer.meta.path.as_bytes().len() as u64;
    (u32::from(incoming.is_open), names, u32::from(commits))
}

impl Receiver {
    /// Takes over what the receiver of an earlier connection of this transfer knows: what is written, what was hashed,
    /// what is being committed, and what became of entries that the sender may not have heard of.
    ///
    /// It is called after [`Event::Greeted`] and before the next [`poll`](Receiver::poll). The caller goes on with the
    /// store and the files that were open for `former`, under the same entries. Those that the sender does not offer
    /// again, or offers as something else, are suspended.
    ///
    /// # Errors
    ///
    /// [`Misuse::Former`] if it is too late, if one was taken over already, or if `former` served another transfer, a
    /// newer attempt, or with another configuration. The files that were open for it are then to be suspended.
    pub fn adopt(&mut self, former: Self) -> Result<(), Failure> {
        let is_older = match (self.transfer(), former.transfer()) {
            (Some((ours, attempt)), Some((theirs, older))) => ours == theirs && older < attempt,
            _ => false,
        };
        let is_new =
            self.state? == State::Listening && !self.turn.has_greeted() && self.next_id == 0;
        if !is_older || !is_new || self.former.is_taken || self.config != former.config {
            return Err(Misuse::Former.into());
        }
        self.totals.adopt(former.totals);
        self.commits.adopt(former.commits);
        // What the caller was not asked for any more.
        let beginning = self.requests.adopt(former.requests).or(former.former.beginning);
        self.former = Former { is_taken: true, beginning, ..former.former };
        let mut entries = former.entries;
        let settle = |entry| entries.remove(&entry).map(|incoming| incoming.identity());
        self.former.verdicts.extend(former.outbox.into_verdicts(settle));
        for (entry, mut incoming) in entries {
            // Of these, each connection could leave one open.
            let is_open = matches!(incoming.phase, Phase::Filling | Phase::Comparing);
            if is_open && !incoming.is_open && incoming.offer.meta.kind == Kind::File {
                if incoming.phase == Phase::Filling {
                    incoming.put_off();
                } else {
                    incoming.restart();
                }
                self.requests.push(ReceiveAction::Suspend { entry });
            }
            self.former.insert(entry, incoming);
        }
        Ok(())
    }

    /// The sender has settled all entries before this one, as it offers in order: those of a former connection that it
    /// did not offer again are let go.
    pub(super) fn pass_over(&mut self, before: Option<EntryId>) {
        let is_passed = |entry: &EntryId| before.is_none_or(|before| *entry < before);
        while self.former.verdicts.first_key_value().is_some_and(|(entry, _)| is_passed(entry)) {
            self.former.verdicts.pop_first();
        }
        let ids = self.former.entries.iter().take_while(|(entry, _)| is_passed(entry));
        // A commit that is under way comes to its end.
        let is_left = |incoming: &Incoming| weight(incoming).2 == 0;
        let passed: Vec<_> =
            ids.filter(|(_, incoming)| is_left(incoming)).map(|(entry, _)| *entry).collect();
        for entry in passed {
            self.former.remove(entry);
            self.requests.push(ReceiveAction::Suspend { entry });
        }
    }

    /// Answers an offer from what is known of the entry, if it is the same that was offered before.
    pub(super) fn recall(&mut self, wire: &WireOffer) -> Result<Known, ProtocolError> {
        let (entry, place) = (wire.entry, Place::Offered);
        let Ok(path) = RelPath::parse(&wire.name) else {
            self.pass_over(entry.get().checked_add(1).map(EntryId::new));
            return Ok(Known::Nothing { is_counted: false, is_open: false, place });
        };
        let meta = &meta_of(wire, path);
        if let Some(verdict) = self.former.verdicts.remove(&entry) {
            let is_counted = verdict.identity == Identity::of(meta, wire.block_size);
            let other = |root: &Root| matches!(&verdict.message, Message::Receipt { root: held, .. } if held != root);
            let said = verdict.message.name();
            let is_answer = said == Name::Refuse || (said == Name::Unchanged) == wire.by_time;
            if !is_counted || !is_answer || wire.root.as_ref().is_some_and(other) {
                return Ok(Known::Nothing { is_counted, is_open: false, place });
            }
            self.outbox.settle(entry, verdict.message, Some(verdict.identity));
            return Ok(Known::Answered);
        }
        let Some(mut incoming) = self.former.remove(entry) else {
            return Ok(Known::Nothing { is_counted: false, is_open: false, place });
        };
        let is_counted =
            incoming.offer.meta.is_same(meta) && incoming.offer.block_size == wire.block_size;
        let goes_on = match incoming.phase {
            Phase::Committing { root, .. } => {
                if !is_counted || wire.by_time || wire.root.is_some_and(|offered| offered != root) {
                    // A commit that is under way comes to its end, which says nothing of what is offered now.
                    self.commits.abandon(entry);
                    false
                } else {
                    true
                }
            }
            Phase::Comparing | Phase::Replacing | Phase::Filling | Phase::Wanted => {
                let is_same = is_counted && !wire.inline && !wire.by_time;
                let is_same = is_same && wire.root == incoming.offer.root;
                is_same && incoming.resume()
            }
            Phase::Opening | Phase::Stale | Phase::Awaited | Phase::Waiting | Phase::Dropped => {
                false
            }
        };
        if !goes_on {
            let beginning =
                self.former.beginning.filter(|(begun, _)| is_counted && *begun == entry);
            let place = beginning.map_or(place, |(_, beside)| beside);
            return Ok(Known::Nothing { is_counted, is_open: true, place });
        }
        if incoming.phase == Phase::Wanted {
            // The former session may have been about to begin it.
            self.requests.push(ReceiveAction::Suspend { entry });
        }
        self.names = self.names.saturating_add(meta.path.as_bytes().len() as u64);
        if incoming.is_open {
            self.open = self.open.saturating_add(1);
        }
        if !matches!(incoming.phase, Phase::Committing { .. }) {
            self.busy.insert(entry);
        }
        let is_contested = incoming.rival.is_some() && weight(&incoming).2 == 0;
        self.entries.insert(entry, incoming);
        if is_contested {
            self.commit_again(entry);
        }
        let (path, kind) = (meta.path.clone(), meta.kind.clone());
        self.tell(Event::Offered { entry, path, kind, size: meta.size });
        Ok(Known::Answered)
    }

    /// Puts an entry that is being committed among those that are offered, for as long as its commit is dealt with;
    /// `false` if it is there already.
    pub(super) fn lend(&mut self, entry: EntryId) -> bool {
        if self.entries.contains_key(&entry) {
            return false;
        }
        let Some(incoming) = self.former.remove(entry) else { return false };
        self.names = self.names.saturating_add(incoming.offer.meta.path.as_bytes().len() as u64);
        self.entries.insert(entry, incoming);
        true
    }

    /// Takes a lent entry out of all books: what became of it is said once the sender offers it again.
    pub(super) fn keep_verdict(&mut self, entry: EntryId, message: Message) {
        let identity = self.entries.get(&entry).map(Incoming::identity);
        self.forget(entry);
        let verdict = identity.map(|identity| (entry, Verdict { identity, message }));
        self.former.verdicts.extend(verdict);
    }

    /// Takes a lent entry back.
    pub(super) fn hold_back(&mut self, entry: EntryId) {
        if let Some(incoming) = self.entries.remove(&entry) {
            let name = incoming.offer.meta.path.as_bytes().len() as u64;
            self.names = self.names.saturating_sub(name);
            self.former.insert(entry, incoming);
        }
    }
}
