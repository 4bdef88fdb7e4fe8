//! The commits of a session that have not ended.

use std::collections::BTreeMap;

use crate::types::{EntryId, Ticket};

/// Tickets that were given out, and the entries that they stand for.
///
/// Invariants: no ticket is given out twice, by whatever session, as each session has a nonce of its own; and a ticket
/// counts once. A session that goes on with another one takes its tickets over.
#[derive(Debug)]
pub(super) struct Commits {
    session: [u8; 16],
    next: u64,
    /// Set if one is to end before the store is asked for anything else.
    is_awaited: bool,
    /// `None`: the entry was offered as something else meanwhile, and what becomes of this commit concerns nobody.
    under_way: BTreeMap<Ticket, Option<EntryId>>,
}

impl Commits {
    pub(super) const fn new(session: [u8; 16]) -> Self {
        Self { session, next: 0, is_awaited: false, under_way: BTreeMap::new() }
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
        // What is compared then keeps its files open; but there may be other commits.
        self.is_awaited = false;
        self.under_way.remove(&ticket).flatten()
    }

    /// Notes that one is to end before the store is asked for anything else.
    pub(super) const fn wait_for_one(&mut self) {
        self.is_awaited = true;
    }

    /// Returns whether one is to end before the store is asked for anything else.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited && !self.under_way.is_empty()
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
