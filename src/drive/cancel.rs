//! Stopping a transfer from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::proto::{self, Stall};
use crate::types::AbortCode;

/// Switch that stops a transfer. Clones stop the same transfer.
///
/// The transfer looks at it between messages, and whenever a call on its stream returns. It then leaves what has
/// arrived for a later attempt, and ends in [`Error::Cancelled`](crate::proto::Error::Cancelled).
///
/// - **A sender** ends within a tick of its stream. It informs the receiver if it has the floor.
/// - **A receiver**, and each session of a [`Server`](crate::Server), informs its sender too, and waits for the end of
///   the sender's turn to do so: some seconds ([`Turn::max_time`](crate::Turn)), and at most
///   [`Deadlines::drain`](crate::Deadlines), 15 s unless set otherwise. A lower `drain` stops it sooner; a sender that
///   was not informed by then takes the connection for lost.
///
/// Nothing is waited for but that: entries that are under way are not completed first.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicU8>);

const GO: u8 = 0;
const CANCELLED: u8 = 1;
const SUPERSEDED: u8 = 2;
const BUSY: u8 = 3;
const LEAVING: u8 = 4;
const FORSAKEN: u8 = 5;

impl CancelToken {
    /// Returns a token that nobody has used yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells the transfer to stop.
    pub fn cancel(&self) {
        self.set(CANCELLED);
    }

    /// Tells the transfer to stop because this side goes away, and may come back: a sender is informed, and comes again
    /// for as long as its [`Retry`](crate::Retry) allows, where [`cancel`](CancelToken::cancel) of a receiving
    /// [`Transfer`](crate::Transfer) ends it for good. A [`Server`](crate::Server) goes away in either case.
    ///
    /// A sender that leaves announces that it is cancelled: the rest is for a later call.
    pub fn leave(&self) {
        self.set(LEAVING);
    }

    /// Returns whether somebody told the transfer to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.code().is_some()
    }

    /// Hands over to a newer attempt at the same transfer.
    pub(super) fn supersede(&self) {
        self.set(SUPERSEDED);
    }

    /// Turns the transfer away: there is no room for it now.
    pub(super) fn turn_away(&self) {
        self.set(BUSY);
    }

    /// Ends the connection of somebody who has said nothing, in whose place another one is served. This holds for one that
    /// was turned away, too, and does not go.
    pub(super) fn forsake(&self) {
        self.set(FORSAKEN);
        let _ = self.0.compare_exchange(BUSY, FORSAKEN, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn code(&self) -> Option<AbortCode> {
        // No other memory depends on it: relaxed is enough.
        match self.0.load(Ordering::Relaxed) {
            CANCELLED => Some(AbortCode::Cancelled),
            SUPERSEDED => Some(AbortCode::Superseded),
            BUSY => Some(AbortCode::Busy),
            LEAVING => Some(AbortCode::Leaving),
            FORSAKEN => Some(AbortCode::Stalled),
            _ => None,
        }
    }

    /// Returns the error of a session that is told to stop while it cannot inform its peer.
    pub(super) fn error(&self) -> Option<Error> {
        self.code().map(|code| match code {
            AbortCode::Cancelled => Error::cancelled(),
            AbortCode::Stalled => {
                proto::Error::Stalled(Stall::Silence { after: Duration::ZERO }).into()
            }
            code => proto::Error::Ended(code).into(),
        })
    }

    /// Sets the reason, of which the first counts.
    fn set(&self, code: u8) {
        let _ = self.0.compare_exchange(GO, code, Ordering::Relaxed, Ordering::Relaxed);
    }
}
