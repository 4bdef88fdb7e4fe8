//! A transfer over as many connections as it takes, and whether it gets on.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::observer::Observer;
use super::random::random;
use super::strangers::Strangers;
use super::suspended::Suspended;
use super::transfer::Transfer;
use crate::error::{Error, Operation};
use crate::proto;
use crate::store::Store;
use crate::transport::{Channel, Connector};
use crate::types::{AbortCode, Summary};

impl<O: Observer> Transfer<O> {
    /// Connects, runs, and does so again for as long as that can help.
    /// `is_waiting`: as of a [`Connector`].
    pub(super) fn keep_connecting<T, P: HasProgress>(
        &mut self,
        is_waiting: bool,
        mut connect: impl FnMut() -> io::Result<T>,
        progress: &mut P,
        mut run: impl FnMut(&mut Self, &mut P, T) -> Result<Summary, Error>,
    ) -> Result<Summary, Error> {
        let mut attempt: u32 = 1;
        let mut retries: u32 = 0;
        // How much time does not count, as the peer was busy with others.
        let mut spared = Duration::ZERO;
        // Whether a peer has greeted, on any of the connections.
        let mut known = false;
        let mut since = self.clock.now();
        // Why the last connection is no more, where none has come about since.
        let mut lost = None;
        let mut strangers = Strangers::default();
        loop {
            if is_waiting
                && self.clock.now() > since.saturating_add(self.retry.patience)
                && let Some(error) = lost.take()
            {
                return Err(error);
            }
            let before = progress.progress();
            self.greeted = false;
            let error = match connect() {
                Ok(stream) => match run(self, progress, stream) {
                    Ok(summary) => return Ok(summary),
                    Err(error) => error,
                },
                Err(tick) if is_waiting && tick.kind() == ErrorKind::WouldBlock => {
                    // It waits for the peer to come; at first for as long as it takes.
                    if self.cancel.is_cancelled() {
                        return Err(Error::cancelled());
                    }
                    let is_over = self.clock.now() > since.saturating_add(self.retry.patience);
                    if is_over && let Some(error) = lost.take() {
                        return Err(error);
                    }
                    continue;
                }
                Err(source) => Error::Transport { operation: Operation::Connect, source },
            };
            let now = self.clock.now();
            if progress.progress() > before || (self.greeted && !known) {
                (since, retries, spared) = (now, 0, Duration::ZERO);
            } else if matches!(error, Error::Session(proto::Error::Aborted(AbortCode::Busy))) {
                // A peer that sends this serves others, and may serve this one next.
                let left = self.config.deadlines.idle.saturating_sub(spared);
                let waited = now.saturating_sub(since).min(left);
                since = since.saturating_add(waited);
                spared = spared.saturating_add(waited);
            }
            known |= self.greeted;
            attempt = attempt.saturating_add(1);
            if let Some(summary) = progress.settled() {
                return Ok(summary);
            }
            let end = since.saturating_add(self.retry.patience);
            let rest = end.saturating_sub(self.clock.now());
            // Whoever waits for a peer is ready for it soon again.
            let retry = if is_waiting { 0 } else { retries };
            let pause = self.retry.pause(retry, random()).min(rest);
            if is_waiting && !self.greeted && error.is_of_stranger() {
                if let Some(unheard) = strangers.count(self.clock.now()) {
                    if unheard > 0 {
                        self.observer.unheard(unheard);
                    }
                    self.observer.retry(attempt, &error, Duration::ZERO);
                }
                continue;
            }
            let may = error.is_transient() && (known || self.retry.initial);
            if !may || pause.is_zero() {
                return Err(error);
            }
            // One that fails by itself may do so at once, each time.
            let has_failed =
                matches!(error, Error::Transport { operation: Operation::Connect, .. });
            if is_waiting && !has_failed {
                self.observer.retry(attempt, &error, Duration::ZERO);
                lost = Some(error);
                continue;
            }
            self.observer.retry(attempt, &error, pause);
            self.wait(pause)?;
            lost = Some(error);
            retries = retries.saturating_add(1);
        }
    }
}

/// Measure of whether a connection was of any use.
pub(super) trait HasProgress {
    /// Grows with each step that no later connection takes again.
    fn progress(&self) -> u64;

    /// Returns the sum, if all receipts are in: then nothing but the goodbye was lost.
    fn settled(&self) -> Option<Summary>;
}

/// Content that a receiver got over all connections.
pub(super) struct Arrived<S: Store> {
    /// Remains of the last connection, with the store in which its files are open.
    pub(super) left: Option<(S, Suspended<S>)>,
    pub(super) steps: u64,
}

impl<S: Store> HasProgress for Arrived<S> {
    fn progress(&self) -> u64 {
        self.steps
    }

    fn settled(&self) -> Option<Summary> {
        None
    }
}

/// Connects, and returns what the stream knows of its ends.
pub(super) fn with_channel<K: Connector>(
    connector: &mut K,
) -> io::Result<(K::Stream, Option<Channel>)> {
    let stream = connector.connect()?;
    let channel = connector.channel(&stream);
    Ok((stream, channel))
}
