//! Receiving over blocking streams.

use std::io::{Read, Write};
use std::time::Duration;

use super::connect::with_channel;
use super::run::{NOTES, run};
use crate::drive::admit::Greeting;
use crate::drive::cancel::CancelToken;
use crate::drive::observer::Observer;
use crate::drive::random::random_bytes;
use crate::drive::session::{Alone, Left, Question, Receiving, Steps, Stranger, Welcome};
use crate::drive::transfer::Transfer;
use crate::error::Error;
use crate::proto::Receiver;
use crate::store::Store;
use crate::transport::Connector;
use crate::types::Summary;

impl<O: Observer> Transfer<O> {
    /// Receives into `store` what one sender sends over one stream.
    ///
    /// The store may serve any number of transfers so, one after the other: what stands is there for each of them, and
    /// names that must not differ by case alone are those of one transfer.
    ///
    /// The stream is for this session alone: more is read than the session needs, so that what the sender's program
    /// writes behind it is lost.
    ///
    /// # Errors
    ///
    /// See [`Error`]. What has arrived by then serves the next attempt.
    pub fn receive<S: Store, T: Read + Write>(
        &mut self,
        store: &mut S,
        mut stream: T,
    ) -> Result<Summary, Error> {
        self.meter.restart();
        let (ended, mut left, _) = self.run_receiver(store, &mut stream, &mut Alone::new(None));
        self.access.channel = None;
        if let Some(suspended) = left.suspended {
            suspended.let_go(&mut left.store);
        }
        ended
    }

    /// Receives into `store` what a sender that listens sends, over as many connections as it takes.
    ///
    /// What was written, hashed and committed is kept in mind from one connection to the next, with the files open, for
    /// as long as [`Retry::patience`](crate::Retry::patience) lasts: of a sender that goes on with its transfer nothing is read again. One that
    /// begins anew finds the files as a new receiver would. The memory is that of one session. Each transfer has a
    /// clone of the store to itself.
    ///
    /// # Errors
    ///
    /// As for [`receive`](Transfer::receive): the last error, if it is not transient or patience is at its end.
    pub fn receive_via<S: Store + Clone, K: Connector>(
        &mut self,
        store: &S,
        connector: &mut K,
    ) -> Result<Summary, Error> {
        self.meter.restart();
        let (mut steps, mut alone) = (Steps::default(), Alone::new(None));
        let is_waiting = connector.is_waiting();
        let connect = || with_channel(connector);
        let run = |this: &mut Self, steps: &mut Steps, (mut stream, channel)| {
            this.access.channel = channel;
            // A store holds the names of one transfer against one another, not against those of another transfer.
            let (ended, left, greeted) = this.run_receiver(store.clone(), &mut stream, &mut alone);
            this.access.channel = None;
            steps.0 = steps.0.saturating_add(left.progress);
            // A connection on which nobody greeted leaves what there was.
            if let Some(suspended) = left.suspended {
                alone.left = Some((left.store, suspended));
            }
            (ended, greeted)
        };
        let ended = self.keep_connecting(is_waiting, connect, &mut steps, run);
        if let Some((mut store, suspended)) = alone.left {
            suspended.let_go(&mut store);
        }
        ended
    }

    /// Receives over one stream. Returns what is left of the session, and whether a sender has greeted, too.
    pub(in crate::drive) fn run_receiver<S: Store, T: Read + Write>(
        &mut self,
        store: S,
        stream: &mut T,
        host: &mut impl Host<S>,
    ) -> (Result<Summary, Error>, Left<S>, bool) {
        let receiver = Receiver::new(self.session_config(), random_bytes(), self.clock.now());
        let mut session = Receiving::new(store, receiver, self.connection(NOTES));
        let clock = self.clock.clone();
        let answer = |session: &mut Receiving<S>, question| {
            let cancel = session.cancel().clone();
            match question {
                Question::Greeted { greeting, attempt } => {
                    let welcome = host.greeted(&greeting, attempt, &cancel);
                    session.handle_welcome(clock.now(), welcome);
                }
                Question::Admission { wait } => {
                    session.handle_admission(host.admits(wait, &cancel));
                }
                Question::Seat => session.handle_seat(host.seats(&cancel))?,
                Question::Yield => session.handle_yield(host.yields()),
            }
            Ok(())
        };
        let ended = run(&mut session, stream, &self.clock, &mut self.observer, answer);
        let greeted = self.keep_outcome(&mut session);
        let left = session.end(&ended);
        (ended, left, greeted)
    }
}

/// Runner of a receiving session, which knows of others: its answers may wait.
pub(in crate::drive) trait Host<S: Store> {
    /// Handles the transfer's name before the sender gets any answer, and gives what an earlier connection of it left.
    /// `attempt`: that of the sender, if it does not claim one. [`Stranger`]: the transfer is that of another key.
    fn greeted(
        &mut self,
        greeting: &Greeting,
        attempt: Option<u32>,
        cancel: &CancelToken,
    ) -> Result<Welcome<S>, Stranger>;

    /// Returns whether the sender may go on after its greeting; if not, waits for at most so long until it may.
    /// Meanwhile the sender gets heartbeats.
    fn admits(&mut self, wait: Duration, cancel: &CancelToken) -> bool;

    /// Handles that the sender has offered something, so that from now on the session needs files, memory and time.
    /// `false`: it cannot have them.
    fn seats(&mut self, cancel: &CancelToken) -> bool;

    /// Returns whether to end the session for one that waits for its place, as its sender has had nothing to send for
    /// long.
    fn yields(&mut self) -> bool;
}

impl<S: Store> Host<S> for Alone<S> {
    fn greeted(
        &mut self,
        greeting: &Greeting,
        attempt: Option<u32>,
        _: &CancelToken,
    ) -> Result<Welcome<S>, Stranger> {
        self.welcome(greeting, attempt)
    }

    fn admits(&mut self, _: Duration, _: &CancelToken) -> bool {
        true
    }

    fn seats(&mut self, _: &CancelToken) -> bool {
        true
    }

    fn yields(&mut self) -> bool {
        false
    }
}
