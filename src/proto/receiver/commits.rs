//! The commits of a session that have not ended.

use std::collections::BTreeMap;

use super::Receiver;
use super::incoming::{Incoming, Phase, Rival};
use crate::config::Existing;
use crate::proto::error::{Failure, Misuse};
use crate::proto::wire::message::Message;
use crate::types::{EntryId, Event, Kind, Outcome, Receipt, Refusal, RelPath, Ticket};

/// Tickets that were given out, and the entries that they stand for.
///
/// Invariants: no ticket is given out twice, by whatever session, as each session has a nonce of its own; and a ticket
/// counts once. A session that goes on with another one takes its tickets over.
#[derive(Debug)]
pub(super) struct Commits {
    session: [u8; 16],
    next: u64,
    /// `None`: the entry was offered as something else meanwhile, and what becomes of this commit concerns nobody.
    under_way: BTreeMap<Ticket, Option<EntryId>>,
}

impl Commits {
    pub(super) const fn new(session: [u8; 16]) -> Self {
        Self { session, next: 0, under_way: BTreeMap::new() }
    }

    /// Gives out the ticket of a commit that starts now.
    pub(super) fn start(&mut self, entry: EntryId) -> Ticket {
        // `haul_canary` is a bug that is planted for `.ci/canaries`, which must find it; no build has one otherwise.
        let (session, number) = if cfg!(haul_canary = "ticket-ignored") {
            ([0; 16], entry.get().into())
        } else {
            (self.session, self.next)
        };
        let ticket = Ticket::new(session, number);
        // A session of 2^64 commits does not end.
        self.next = self.next.saturating_add(1);
        self.under_way.insert(ticket, Some(entry));
        ticket
    }

    /// Takes a ticket back. `None`: it is not one of these, came before, or concerns no entry by now.
    pub(super) fn end(&mut self, ticket: Ticket) -> Option<EntryId> {
        self.under_way.remove(&ticket).flatten()
    }

    /// Parts an entry from its commit, which will end by itself.
    pub(super) fn abandon(&mut self, entry: EntryId) {
        let commits = self.under_way.values_mut().filter(|committing| **committing == Some(entry));
        commits.for_each(|committing| *committing = None);
    }

    /// Takes over the tickets of a suspended session.
    pub(super) fn adopt(&mut self, suspended: Self) {
        self.under_way.extend(suspended.under_way);
    }

    /// Returns the entry for which a ticket was given out, if its commit has not ended.
    pub(super) fn entry(&self, ticket: Ticket) -> Option<EntryId> {
        self.under_way.get(&ticket).copied().flatten()
    }

    /// Returns the tickets of those under way.
    #[cfg(feature = "testing")]
    pub(super) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.under_way.keys().copied()
    }

    /// Returns how many commits of an entry are under way.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn of(&self, entry: EntryId) -> usize {
        self.under_way.values().filter(|committing| **committing == Some(entry)).count()
    }

    /// Returns how many commits are under way of which the end concerns an entry.
    pub(super) fn count_of_entries(&self) -> usize {
        self.under_way.values().flatten().count()
    }

    /// Returns how many commits are under way.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.under_way.len()).unwrap_or(u32::MAX)
    }
}

impl Receiver {
    /// The store ended a commit. A ticket that is not [one of the session's](Receiver::committing) changes nothing.
    ///
    /// A session that has failed takes it in all the same: the one that [adopts](Receiver::adopt) it knows what became of the entry.
    ///
    /// # Errors
    ///
    /// As for [`poll`](Receiver::poll); the commit has ended then, too.
    pub fn handle_committed(
        &mut self,
        ticket: Ticket,
        committed: Result<RelPath, Refusal>,
    ) -> Result<(), Failure> {
        let ended = self.commits.end(ticket);
        self.scarce.awaits_commit = false;
        let Some(entry) = ended else { return self.state.map(drop) };
        let is_lent = self.lend(entry);
        let Some(Incoming {
            phase: Phase::Committing { size, root, outcome }, offer, rival, ..
        }) = self.entries.get(&entry)
        else {
            return Err(Misuse::NotAsked.into());
        };
        let (size, root) = (*size, *root);
        let offered = offer.meta.path.clone();
        let is_file = offer.meta.kind == Kind::File;
        let outcome = match rival {
            None => *outcome,
            Some(Rival::Hashing(_)) => return Err(Misuse::NotAsked.into()),
            Some(Rival::Committing) => Outcome::Held,
        };
        let is_rival = rival.is_some();
        if is_rival && self.rival_committed(entry, committed.as_ref().err().copied(), is_lent) {
            return self.state.map(drop);
        }
        let verdict = match committed {
            Ok(path) => {
                let name = if path == offered { Box::default() } else { path.as_bytes().into() };
                let durability = self.config.durability;
                self.totals.deliver(is_file, size, outcome);
                let receipt = Receipt { path, size, root, durability, outcome };
                self.tell(Event::Delivered { entry, receipt });
                Message::Receipt { entry, size, root, durability, outcome, name }
            }
            // It was found equal, and was changed before it could be vouched for.
            Err(Refusal::Exists)
                if outcome == Outcome::Held && self.config.existing == Existing::Skip =>
            {
                self.refused(entry, Some(offered), Refusal::Skipped)
            }
            Err(reason) => self.refused(entry, Some(offered), reason),
        };
        if is_lent {
            self.keep_verdict(entry, verdict);
        } else {
            self.settle(entry, verdict);
        }
        self.state.map(drop)
    }

    /// How many commits are under way.
    #[must_use]
    pub fn commits(&self) -> u32 {
        self.commits.count()
    }

    /// Returns the entry that is being committed under this ticket. `None`: the ticket is of another session, its commit has
    /// ended, or the sender has offered the entry as something else since. What a store hands back with such a ticket is to be suspended.
    #[must_use]
    pub fn committing(&self, ticket: Ticket) -> Option<EntryId> {
        self.commits.entry(ticket)
    }
}
