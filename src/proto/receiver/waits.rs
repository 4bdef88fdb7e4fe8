//! Waits of the receiver, and their deadlines.

use std::time::Duration;

use super::turn::Mark;
use super::{ReceiveAction, Receiver, State};
use crate::config::Deadlines;
use crate::proto::error::Error;

impl Receiver {
    /// Returns the time since which the sender has moved nothing, though it waited for nothing: its source has nothing
    /// at the moment, or it claims so. `None`: it has ended no such turn since something moved an entry last.
    ///
    /// Such a session may go on for ever. One that has what others need may be [ended](Receiver::end).
    #[must_use]
    pub const fn quiet_since(&self) -> Option<Duration> {
        self.turn.quiet_since()
    }

    /// Returns whether anything moved an entry since this was asked last: an offer, content, its end in whatever way.
    /// Repeated messages, and those without effect, do not.
    pub(super) fn has_moved(&mut self) -> bool {
        let (arrived, ended) = (self.totals.arrived(), self.totals.summary().settled());
        self.turn.has_moved(Mark { offered: self.entries.next_id(), arrived, ended })
    }

    /// Begins the wait for something that moves an entry anew, if something did.
    pub(super) fn note_progress(&mut self, now: Duration) {
        if self.has_moved() {
            self.connection.timer().moved(now);
        }
    }

    /// Returns what is waited for while the sender has the floor.
    ///
    /// Who does not read learns nothing of the sender: it is not checked before it is listened to again.
    pub(super) fn listen(&mut self, now: Duration) -> Result<ReceiveAction, Error> {
        let is_short = self.commits.is_awaited();
        let is_full = self.commits() >= self.config.limits.commits.max(1);
        let mut until = if is_short || is_full {
            self.connection.timer().check_pause(now)?
        } else if self.requests.current().is_some() {
            // Once its work is done, whatever time that took, the sender is listened to.
            let due = self.connection.timer().check_pause(now);
            due.unwrap_or(now.saturating_add(Deadlines::HEARTBEAT))
        } else {
            self.connection.check(now)?
        };
        if let Some((failure, since)) = self.closing {
            let end = since.saturating_add(self.config.deadlines.drain);
            // Before the sender has greeted there is nobody to tell; one that is turned away is waited for.
            let is_untold = self.state == Ok(State::AwaitHello);
            if now >= end || (is_untold && failure == Error::Cancelled) {
                return Err(failure);
            }
            until = until.min(end);
        }
        if is_short || is_full {
            return Ok(ReceiveAction::AwaitCommit { until });
        }
        Ok(ReceiveAction::Await { until })
    }
}
