//! Progress of a transfer, reported to its observer every now and then.

use std::time::Duration;

use crate::types::{EntryId, Progress};

/// Reporter of a transfer's progress to an observer, no more often than every [`Meter::PAUSE`], and only
/// where it is new.
#[derive(Debug, Clone, Default)]
pub(in crate::drive) struct Meter {
    /// Time of the next report.
    due: Duration,
    /// Progress in the last report.
    last: Progress,
    /// The entry whose content went over the stream last.
    pub(super) entry: Option<EntryId>,
}

impl Meter {
    /// Shortest time between two reports.
    pub(super) const PAUSE: Duration = Duration::from_millis(100);

    /// Begins another transfer.
    pub(in crate::drive) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Returns whether it is time to report.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.due
    }

    /// Returns how far the transfer is, for a report, if that is new.
    pub(super) fn tell(&mut self, now: Duration, mut progress: Progress) -> Option<Progress> {
        self.due = now.saturating_add(Self::PAUSE);
        // Content that was read for a connection and lost with it is read, and counted, again.
        progress.sent = progress.sent.max(self.last.sent);
        progress.acknowledged = progress.acknowledged.max(self.last.acknowledged);
        progress.entry = self.entry;
        let is_new = progress != self.last;
        self.last = progress;
        is_new.then_some(progress)
    }
}

/// Returns the progress of a transfer without so much content that is to be written.
pub(super) fn less(mut progress: Progress, left: usize) -> Progress {
    let left = left as u64;
    progress.sent = progress.sent.saturating_sub(left);
    progress.pending = progress.pending.saturating_sub(left);
    progress
}

/// Returns the progress of a transfer with so much content that came and is not dealt with.
pub(super) fn more(mut progress: Progress, came: usize) -> Progress {
    let came = came as u64;
    progress.sent = progress.sent.saturating_add(came);
    progress.pending = progress.pending.saturating_add(came);
    progress
}

/// Returns the share of `whole` that `part` is of `all`.
pub(super) fn share(whole: usize, part: usize, all: usize) -> usize {
    let share = (whole as u128).saturating_mul(part as u128) / (all as u128).max(1);
    usize::try_from(share).unwrap_or(whole)
}
