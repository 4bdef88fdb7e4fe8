//! How far a transfer is, told to its observer every now and then.

use std::time::Duration;

use super::observer::Observer;
use crate::types::{EntryId, Progress};

/// Tells an observer how far a transfer is, no more often than every [`Meter::PAUSE`], and only what is new.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    /// When it is told next.
    due: Duration,
    /// What was told last.
    last: Progress,
    /// The entry whose content went over the stream last.
    pub(super) entry: Option<EntryId>,
}

impl Meter {
    /// How often an observer hears of it at most.
    pub(super) const PAUSE: Duration = Duration::from_millis(100);

    /// Another transfer begins.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Returns whether it is time to tell.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.due
    }

    /// Tells how far the transfer is.
    pub(super) fn tell(&mut self, now: Duration, mut progress: Progress, to: &mut impl Observer) {
        self.due = now.saturating_add(Self::PAUSE);
        // Content that was read for a connection and lost with it is read, and counted, again.
        progress.sent = progress.sent.max(self.last.sent);
        progress.acknowledged = progress.acknowledged.max(self.last.acknowledged);
        progress.entry = self.entry;
        if progress != self.last {
            self.last = progress;
            to.progress(&progress);
        }
    }
}

/// How far a transfer is, but for so much content that is to be written.
pub(super) fn less(mut progress: Progress, left: usize) -> Progress {
    let left = left as u64;
    progress.sent = progress.sent.saturating_sub(left);
    progress.pending = progress.pending.saturating_sub(left);
    progress
}

/// How far a transfer is, with so much content that came and is not dealt with.
pub(super) fn more(mut progress: Progress, came: usize) -> Progress {
    let came = came as u64;
    progress.sent = progress.sent.saturating_add(came);
    progress.pending = progress.pending.saturating_add(came);
    progress
}

/// The share of `whole` that `part` is of `all`.
pub(super) fn share(whole: usize, part: usize, all: usize) -> usize {
    let share = (whole as u128).saturating_mul(part as u128) / (all as u128).max(1);
    usize::try_from(share).unwrap_or(whole)
}
