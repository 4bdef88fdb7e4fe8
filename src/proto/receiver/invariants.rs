//! Invariants of a receiver between any two calls: the checkable form of the sentence about open files at [`Receiver`],
//! for everything that simulates a session.

use std::collections::BTreeSet;

use super::incoming::Incoming;
use super::phase::Phase;
use super::{ReceiveAction, Receiver, Which};
#[cfg(feature = "testing")]
use crate::types::Ticket;
use crate::types::{EntryId, Kind};

impl Receiver {
    /// Returns the tickets of the commits under way, and whether its caller has started each or has yet to be asked to.
    #[cfg(feature = "testing")]
    pub(crate) fn started_commits(&self) -> impl Iterator<Item = (Ticket, bool)> {
        let ticket = |action: &ReceiveAction| {
            if let ReceiveAction::Commit { commit, .. } = action {
                return Some(commit.ticket);
            }
            None
        };
        let queued: BTreeSet<_> = self.requests.queued().filter_map(ticket).collect();
        self.commits.tickets().map(move |ticket| (ticket, !queued.contains(&ticket)))
    }

    /// Checks that what its caller has open, for these entries, is what it must have open, and no more; and that the
    /// counts of open entries, names and commits are what they count.
    ///
    /// # Panics
    ///
    /// With the sentence that does not hold.
    pub(crate) fn assert_invariants(&self, open: impl IntoIterator<Item = EntryId>) {
        let mut open: BTreeSet<_> = open.into_iter().collect();
        // What the caller has yet to do.
        let mut starting = BTreeSet::new();
        for action in self.requests.queued() {
            match action {
                ReceiveAction::Suspend { entry } | ReceiveAction::Discard { entry } => {
                    open.remove(entry);
                }
                ReceiveAction::Commit { which, commit } => {
                    let was_open = *which == Which::Existing || open.remove(&commit.entry);
                    assert!(was_open, "{} is to be committed and not open", commit.entry);
                    starting.insert(commit.ticket);
                }
                ReceiveAction::Event(_)
                | ReceiveAction::Read { .. }
                | ReceiveAction::Stat { .. }
                | ReceiveAction::Copy { .. }
                | ReceiveAction::WriteZeros { .. }
                | ReceiveAction::Begin { .. }
                | ReceiveAction::AwaitCommit { .. }
                | ReceiveAction::Await { .. }
                | ReceiveAction::Closed(_) => {}
            }
        }
        for entry in &open {
            let holds = self.entries.get(*entry).is_some_and(|incoming| {
                holds_a_file(incoming) || incoming.phase() == Phase::Opening
            });
            // To begin an entry is to close what was open of it. A suspended session may have been about to.
            let is_to_begin =
                self.requests.is_to_begin(*entry) || self.suspended.entries().get(*entry).is_some();
            assert!(
                holds || is_to_begin,
                "{entry} is open and belongs to no entry that may hold a file"
            );
        }
        for (entry, incoming) in self.all() {
            let is_open = open.contains(&entry);
            // What is to be begun, now or once there is a descriptor, was closed for that; also where the session ends
            // as there is none.
            let is_due = self.state.is_err()
                || self.closing.is_some()
                || self.requests.is_to_begin(entry)
                || self.entries.is_deferred(entry)
                || incoming.lack.is_some();
            let may_be_closed = is_due || !holds_a_file(incoming);
            assert!(is_open || may_be_closed, "{entry} is written and not open");
            let is_committing = incoming.is_committing();
            let tickets = self.commits.of(entry);
            assert_eq!(tickets, usize::from(is_committing), "tickets of {entry}, {incoming:?}");
        }
        assert!(starting.iter().all(|ticket| self.committing(*ticket).is_some()), "lost tickets");
        let committing = self.all().filter(|(_, incoming)| incoming.is_committing()).count();
        assert_eq!(self.commits.count_of_entries(), committing, "commits under way");
        self.assert_counts();
        self.assert_bound();
    }

    /// Returns how many entries a check looks at.
    pub(crate) fn entries_to_check(&self) -> usize {
        self.entries.len().saturating_add(self.suspended.entries().len())
    }

    /// Checks how many files are open whose content is to come: those that count as open on the wire, and of the others one, and
    /// the one that the current message is about.
    fn assert_bound(&self) {
        let receives = |incoming: &Incoming| {
            let is_file = incoming.offer.meta.kind == Kind::File;
            is_file
                && holds_a_file(incoming)
                && !matches!(incoming.phase(), Phase::Committing { .. })
        };
        let current = self.requests.current().and_then(|current| current.entry);
        let files =
            self.all().filter(|(entry, incoming)| receives(incoming) && Some(*entry) != current);
        let (counted, others): (Vec<_>, Vec<_>) =
            files.partition(|(_, incoming)| incoming.is_open());
        let most = self.config.limits.open_entries.max(1) as usize;
        assert!(counted.len() <= most, "{} files are open, {most} may be", counted.len());
        let others: Vec<_> = others.into_iter().map(|(entry, _)| entry).collect();
        assert!(others.len() <= 1, "open and not counted: {others:?}");
    }

    fn assert_counts(&self) {
        self.entries.assert_invariants();
        self.suspended.entries().assert_counts();
        let earlier = self.suspended.entries().iter();
        let committing = earlier.filter(|(_, incoming)| incoming.is_committing()).count();
        assert_eq!(self.suspended.commits() as usize, committing, "commits of an earlier one");
    }

    fn all(&self) -> impl Iterator<Item = (EntryId, &Incoming)> {
        self.entries.iter().chain(self.suspended.entries().iter())
    }
}

/// Returns whether its file is open for certain.
const fn holds_a_file(incoming: &Incoming) -> bool {
    match incoming.phase() {
        Phase::Comparing | Phase::Replacing | Phase::Filling | Phase::Waiting => true,
        Phase::Committing { .. } => incoming.existing.conflict().is_some(),
        Phase::Opening | Phase::Stale | Phase::Awaited | Phase::Wanted | Phase::Dropped => false,
    }
}
