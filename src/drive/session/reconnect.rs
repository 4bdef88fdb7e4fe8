//! A transfer over as many connections as it takes, and whether it gets on.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::connection::TICK;
use crate::drive::cancel::CancelToken;
use crate::drive::observer::Observer;
use crate::drive::retry::Retry;
use crate::drive::strangers::Strangers;
use crate::error::{Error, Operation};
use crate::proto;
use crate::types::{AbortCode, Summary};

/// Decision about the next connection: a machine that knows no I/O and no clock.
#[derive(Debug)]
pub(in crate::drive) struct Reconnecting {
    retry: Retry,
    /// Longest time that does not count, as the peer was busy with others.
    most_spared: Duration,
    spared: Duration,
    /// The peer is waited for; as of a [`Connector`](crate::Connector).
    is_waiting: bool,
    /// Number of connections, the next one among them.
    attempt: u32,
    retries: u32,
    /// A peer has greeted, on any of the connections.
    known: bool,
    since: Duration,
    /// Reason why the last connection is no more, where none has come about since.
    lost: Option<Error>,
    strangers: Strangers,
    /// The progress before the connection under way.
    before: u64,
}

/// Step after a connection that was lost, or did not come about.
#[derive(Debug)]
pub(in crate::drive) enum Next {
    /// Connect, after this pause.
    Connect(Duration),
    /// The transfer is over.
    End(Result<Summary, Error>),
}

impl Reconnecting {
    /// Begins now. `idle` is [`Deadlines::idle`](crate::Deadlines).
    pub(in crate::drive) fn new(
        now: Duration,
        retry: &Retry,
        idle: Duration,
        is_waiting: bool,
    ) -> Self {
        Self {
            retry: *retry,
            most_spared: idle,
            spared: Duration::ZERO,
            is_waiting,
            attempt: 1,
            retries: 0,
            known: false,
            since: now,
            lost: None,
            strangers: Strangers::default(),
            before: 0,
        }
    }

    /// Handles that a connection is about to be made.
    ///
    /// # Errors
    ///
    /// The reason why the last one was lost, if its peer was waited for, and has not come for too long.
    pub(in crate::drive) fn begin(
        &mut self,
        now: Duration,
        progress: &impl HasProgress,
    ) -> Result<(), Error> {
        self.before = progress.progress();
        let is_over = self.is_waiting && now > self.end();
        self.lost.take_if(|_| is_over).map_or(Ok(()), Err)
    }

    /// Handles that the peer that is waited for has not come yet: at first for as long as it takes.
    ///
    /// # Errors
    ///
    /// The transfer is over.
    pub(in crate::drive) fn handle_tick(
        &mut self,
        now: Duration,
        cancel: &CancelToken,
    ) -> Result<(), Error> {
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        let is_over = now > self.end();
        self.lost.take_if(|_| is_over).map_or(Ok(()), Err)
    }

    /// Returns whether this failure to connect is such a tick.
    pub(in crate::drive) fn is_tick(&self, error: &io::Error) -> bool {
        self.is_waiting && error.kind() == ErrorKind::WouldBlock
    }

    /// Handles that a connection was lost, or did not come about, with the observer of the transfer. `random` varies the
    /// pause.
    pub(in crate::drive) fn handle_failure(
        &mut self,
        now: Duration,
        (error, greeted): (Error, bool),
        progress: &impl HasProgress,
        random: u64,
        observer: &mut impl Observer,
    ) -> Next {
        if progress.progress() > self.before || (greeted && !self.known) {
            (self.since, self.retries, self.spared) = (now, 0, Duration::ZERO);
        } else if matches!(error, Error::Session(proto::Error::Aborted(AbortCode::Busy))) {
            // A peer that sends this serves others, and may serve this one next.
            let left = self.most_spared.saturating_sub(self.spared);
            let waited = now.saturating_sub(self.since).min(left);
            self.since = self.since.saturating_add(waited);
            self.spared = self.spared.saturating_add(waited);
        }
        self.known |= greeted;
        self.attempt = self.attempt.saturating_add(1);
        if let Some(summary) = progress.settled() {
            return Next::End(Ok(summary));
        }
        let rest = self.end().saturating_sub(now);
        // Whoever waits for a peer is ready for it soon again.
        let retry = if self.is_waiting { 0 } else { self.retries };
        let pause = self.retry.pause(retry, random).min(rest);
        if self.is_waiting && !greeted && error.is_of_stranger() {
            if let Some(unheard) = self.strangers.count(now) {
                if unheard > 0 {
                    observer.unheard(unheard);
                }
                observer.retry(self.attempt, &error, Duration::ZERO);
            }
            return Next::Connect(Duration::ZERO);
        }
        let may = error.is_transient() && (self.known || self.retry.initial);
        if !may || pause.is_zero() {
            return Next::End(Err(error));
        }
        // One that fails by itself may do so at once, each time.
        let has_failed = matches!(error, Error::Transport { operation: Operation::Connect, .. });
        let is_at_once = self.is_waiting && !has_failed;
        let pause = if is_at_once { Duration::ZERO } else { pause };
        observer.retry(self.attempt, &error, pause);
        self.lost = Some(error);
        if !is_at_once {
            self.retries = self.retries.saturating_add(1);
        }
        Next::Connect(pause)
    }

    /// Returns the time at which patience ends.
    fn end(&self) -> Duration {
        self.since.saturating_add(self.retry.patience)
    }
}

/// Measure of whether a connection was of any use.
pub(in crate::drive) trait HasProgress {
    /// Grows with each step that no later connection takes again.
    fn progress(&self) -> u64;

    /// Returns the sum, if all receipts are in: then nothing but the goodbye was lost.
    fn settled(&self) -> Option<Summary>;
}

/// Progress of a receiver: content that it got over all connections.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::drive) struct Steps(pub(in crate::drive) u64);

impl HasProgress for Steps {
    fn progress(&self) -> u64 {
        self.0
    }

    fn settled(&self) -> Option<Summary> {
        None
    }
}

/// Wait of a transfer that a cancel ends.
#[derive(Debug, Clone, Copy)]
pub(in crate::drive) struct Wait {
    end: Duration,
}

impl Wait {
    /// Waits for so long from now on.
    pub(in crate::drive) const fn new(now: Duration, pause: Duration) -> Self {
        Self { end: now.saturating_add(pause) }
    }

    /// Returns the time to wait before this is asked again; `None`: the wait is over.
    ///
    /// # Errors
    ///
    /// The transfer was cancelled.
    pub(in crate::drive) fn rest(
        &self,
        now: Duration,
        cancel: &CancelToken,
    ) -> Result<Option<Duration>, Error> {
        if cancel.is_cancelled() {
            return Err(Error::cancelled());
        }
        let rest = self.end.saturating_sub(now);
        Ok((!rest.is_zero()).then(|| rest.min(TICK)))
    }
}
