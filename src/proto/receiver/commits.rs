//! The commits of a session that have not ended.

use std::collections::BTreeMap;

use crate::proto::types::{EntryId, Ticket};

/// Tickets that were given out, and the entries that they stand for.
///
/// Invariants: no ticket is given out twice, by whatever session, as each session has a nonce of its own; and a ticket
/// counts once. A session that goes on with another one takes its tickets over.
#[derive(Debug)]
pub(super) struct Commits {
    session: [u8; 16],
    next: u64,
    under_way: BTreeMap<Ticket, EntryId>,
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
        self.under_way.insert(ticket, entry);
        ticket
    }

    /// Takes a ticket back. `None`: it is not one of these, or came before.
    pub(super) fn end(&mut self, ticket: Ticket) -> Option<EntryId> {
        self.under_way.remove(&ticket)
    }

    /// Takes over the tickets of a suspended session.
    pub(super) fn adopt(&mut self, suspended: Self) {
        self.under_way.extend(suspended.under_way);
    }

    /// Returns the entry for which a ticket was given out, if its commit has not ended.
    pub(super) fn entry(&self, ticket: Ticket) -> Option<EntryId> {
        self.under_way.get(&ticket).copied()
    }

    /// Returns how many commits are under way.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.under_way.len()).unwrap_or(u32::MAX)
    }
}
