//! The sender's turns: how long each may last, and whether the receiver answers them.

use std::time::Duration;

use super::budget::Budget;
use crate::config;

/// The turns of one connection, as the sender counts them.
#[derive(Debug)]
pub(super) struct Turn {
    budget: Budget,
    /// The receiver knows that nothing can go on without an answer of it; and whether it gave one.
    waiting: bool,
    answered: bool,
    /// The receiver passed the floor back without the answer that it owed.
    unanswered: bool,
    /// Set once something was sent, read or waited for in this turn.
    worked: bool,
    /// The source had nothing to give in this turn, or what it gave was only hashed.
    is_starved: bool,
}

impl Turn {
    pub(super) fn new(limits: &config::Turn) -> Self {
        Self {
            budget: Budget::new(limits),
            waiting: false,
            answered: false,
            unanswered: false,
            worked: false,
            is_starved: false,
        }
    }

    /// Keeps to what the receiver takes in a turn.
    pub(super) fn limit(&mut self, max_bytes: u64) {
        self.budget.limit(max_bytes);
    }

    /// Begins a turn of this side; see [`Budget::begin`].
    pub(super) fn begin(&mut self, now: Duration, written: Duration, answered: Option<Duration>) {
        // If it did not answer, each side would wait for the other for ever. The floor is here to report that with.
        self.unanswered |= self.waiting && !self.answered;
        self.budget.begin(now, written, answered);
        self.worked = false;
    }

    /// Notes that so many bytes were sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.budget.spend(bytes);
        self.worked = true;
    }

    /// Notes that something was done.
    pub(super) const fn work(&mut self) {
        self.worked = true;
    }

    /// Notes that the source had nothing to give, or that what it gave was only hashed.
    pub(super) const fn starve(&mut self) {
        (self.worked, self.is_starved) = (true, true);
    }

    /// Notes that the receiver sent something that moves an entry.
    pub(super) const fn answer(&mut self) {
        self.answered = true;
    }

    /// Returns whether the source starved this turn, and forgets it.
    pub(super) fn take_starved(&mut self) -> bool {
        std::mem::take(&mut self.is_starved)
    }

    /// Ends a turn of this side. `waiting`: nothing can go on without an answer.
    pub(super) fn pass(&mut self, waiting: bool) {
        (self.waiting, self.answered) = (waiting, false);
        self.budget.pass();
    }

    /// Returns whether the turn must end, as enough was sent or as it took long enough.
    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.worked && self.budget.is_spent(now)
    }

    /// Returns whether less than half of the bytes are spent.
    pub(super) fn is_fresh(&self) -> bool {
        self.budget.is_fresh()
    }

    /// Returns whether the receiver passed the floor back without the answer that it owed.
    pub(super) const fn is_unanswered(&self) -> bool {
        self.unanswered
    }
}
