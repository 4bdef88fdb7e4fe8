//! The sums over a transfer, whatever number of connections carried it.

use crate::config::Limits;
use crate::types::{Event, Outcome, Progress, Refusal, Summary, Withdrawal};

/// Sums of what was offered, what of it arrived, and what became of it.
///
/// Invariant: no connection starts anew with any of these. A receiver that adopts a suspended one takes them over.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Entries that were offered, however they ended.
    entries: u64,
    /// Bytes that were offered, or that came where the size was not offered.
    offered: u64,
    /// Bytes that the receiver holds, verified.
    arrived: u64,
    /// The work of hashing: bytes that were hashed for the first time, and blocks that the peer reports as
    /// hashed.
    hashed: u64,
    summary: Summary,
}

impl Totals {
    /// Counts an entry that is offered for the first time.
    pub(super) fn count_entry(&mut self) {
        self.entries = self.entries.saturating_add(1);
    }

    /// Counts the size of an entry that was admitted.
    pub(super) fn offer(&mut self, size: u64) {
        self.offered = self.offered.saturating_add(size);
    }

    /// Counts `bytes` that came of an entry whose size was not offered. Returns whether the sum is within the limits.
    pub(super) fn offer_more(&mut self, bytes: u64, limits: &Limits) -> Result<(), Refusal> {
        self.offer(bytes);
        let limit = limits.total_bytes;
        if self.offered > limit { Err(Refusal::TooMuch { limit }) } else { Ok(()) }
    }

    /// Returns whether an entry of this size, which is counted already, is within the limits.
    pub(super) fn admit(&self, size: u64, limits: &Limits) -> Result<(), Refusal> {
        if self.entries > limits.entries {
            Err(Refusal::TooMany { limit: limits.entries })
        } else if size > limits.file_bytes {
            Err(Refusal::TooLarge { size, limit: limits.file_bytes })
        } else if self.offered.saturating_add(size) > limits.total_bytes {
            Err(Refusal::TooMuch { limit: limits.total_bytes })
        } else {
            Ok(())
        }
    }

    /// Counts content that travelled. `again`: it had travelled before.
    pub(super) fn travel(&mut self, bytes: usize, again: bool) {
        self.summary.travel(bytes, again);
    }

    /// Counts content that the receiver holds, and returns the news of it.
    pub(super) fn arrive(&mut self, bytes: u64) -> Event {
        self.arrived = self.arrived.saturating_add(bytes);
        Event::Progress { bytes: self.arrived, offered: self.offered.max(self.arrived) }
    }

    /// Counts bytes, or blocks of the peer, that were hashed.
    pub(super) fn hash(&mut self, work: u64) {
        self.hashed = self.hashed.saturating_add(work);
    }

    /// Counts a turn of the sender.
    pub(super) fn turn(&mut self) {
        self.summary.turns = self.summary.turns.saturating_add(1);
    }

    /// Counts an entry with a receipt, of which so many bytes travelled.
    pub(super) fn deliver(&mut self, is_file: bool, size: u64, travelled: u64, outcome: Outcome) {
        let count = |count: &mut u64, by: u64| *count = count.saturating_add(by);
        count(&mut self.summary.delivered, 1);
        count(&mut self.summary.files, u64::from(is_file));
        count(&mut self.summary.bytes, size);
        count(&mut self.summary.already, size.saturating_sub(travelled));
        count(&mut self.summary.held, u64::from(outcome == Outcome::Held));
    }

    /// Counts an entry that is taken for unchanged. None of its bytes travels.
    pub(super) fn trust(&mut self, size: u64) {
        self.summary.trusted = self.summary.trusted.saturating_add(1);
        self.offered = self.offered.saturating_sub(size);
    }

    /// Counts a refused entry.
    pub(super) fn refuse(&mut self, reason: Refusal) {
        self.summary.refuse(reason);
    }

    /// Counts an entry that the sender took back.
    pub(super) fn withdraw(&mut self, reason: Withdrawal) {
        self.summary.withdraw(reason);
    }

    /// Goes on with the sums of a suspended session.
    pub(super) fn adopt(&mut self, suspended: Self) {
        let turns = self.summary.turns.saturating_add(suspended.summary.turns);
        *self = Self { summary: Summary { turns, ..suspended.summary }, ..suspended };
    }

    /// Returns the sums for the user.
    pub(super) const fn summary(&self) -> Summary {
        self.summary
    }

    /// Returns the bytes that arrived.
    pub(super) const fn arrived(&self) -> u64 {
        self.arrived
    }

    /// Returns how far the entries are that are settled, or whose bytes arrived.
    pub(super) const fn transfer_progress(&self) -> Progress {
        Progress {
            sent: self.summary.sent,
            acknowledged: self.arrived,
            pending: 0,
            already: self.summary.already,
            offered: self.offered,
            entry: None,
        }
    }

    /// Returns the work that no later connection does again: bytes that travelled for the first time, what was hashed, and
    /// entries that are settled. It never goes back.
    pub(super) fn progress(&self) -> u64 {
        let travelled = self.summary.sent.saturating_sub(self.summary.resent);
        self.summary.settled().saturating_add(travelled).saturating_add(self.hashed)
    }
}
