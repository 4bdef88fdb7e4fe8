//! The receiving half over one stream.

use std::io::{Read, Write};
use std::time::Duration;

use super::files::{self, Files};
use super::host::{Alone, Hooks, Welcome};
use super::ids;
use super::meter;
use super::observer::Observer;
use super::random::random_bytes;
use super::reconnect::{Arrived, with_channel};
use super::stream::{Direction, Moved, TICK, Wire};
use super::suspended::Suspended;
use super::transfer::Transfer;
use crate::error::Error;
use crate::proto::{self, Consumed, ReceiveAction, Receiver, Step, payload_so_far};
use crate::store::Store;
use crate::transport::Connector;
use crate::types::{AbortCode, Event, PublicKey, Summary, TransferId};

/// The receiving half with its store.
struct Receiving<'s, S: Store> {
    store: &'s mut S,
    receiver: Receiver,
    files: Files<S::File>,
    /// The progress on earlier connections.
    before: u64,
    /// Its sender is not admitted.
    is_refused: bool,
    /// Set if it came after a newer attempt had.
    is_outdated: bool,
    /// Set while it need not wait for others: its sender has not greeted, or was let in.
    is_let_in: bool,
    /// Set once it has asked something of the store, and may.
    is_seated: bool,
    /// Time at which a newer attempt was seen, which goes on with what has come by then.
    superseded: Option<Duration>,
}

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
        stream: T,
    ) -> Result<Summary, Error> {
        self.meter.restart();
        let mut host = Alone::new(None);
        let mut hooks = Hooks::new(&mut host);
        let ended = self.run_receiver(store, stream, &mut hooks);
        self.access.channel = None;
        if let Some(left) = hooks.left {
            left.let_go(store);
        }
        ended
    }

    /// Receives into `store` what a sender that listens sends, over as many connections as it takes.
    ///
    /// What was written, hashed and committed is kept in mind from one connection to the next, with the files open, for
    /// as long as [`Retry::patience`](super::Retry::patience) lasts: of a sender that goes on with its transfer nothing is read again. One that
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
        let mut progress = Arrived { left: None, steps: 0 };
        let (is_waiting, connect) = (connector.is_waiting(), || with_channel(connector));
        let run = |this: &mut Self, progress: &mut Arrived<S>, (stream, channel)| {
            this.access.channel = channel;
            let Arrived { left, steps } = progress;
            // A store holds the names of one transfer against one another, not against those of another transfer.
            let mut session = store.clone();
            let mut host = Alone::new(left.take());
            let mut hooks = Hooks::new(&mut host);
            let ended = this.run_receiver(&mut session, stream, &mut hooks);
            this.access.channel = None;
            *steps = steps.saturating_add(hooks.progress);
            let new = hooks.left.map(|suspended| (session, suspended));
            // A connection on which nobody greeted leaves what there was.
            *left = new.or(host.left);
            ended
        };
        let ended = self.keep_connecting(is_waiting, connect, &mut progress, run);
        if let Some((mut store, suspended)) = progress.left {
            suspended.let_go(&mut store);
        }
        ended
    }

    pub(super) fn run_receiver<S: Store, T: Read + Write>(
        &mut self,
        store: &mut S,
        stream: T,
        hooks: &mut Hooks<'_, S>,
    ) -> Result<Summary, Error> {
        files::clear(store);
        let now = self.clock.now();
        let receiver = Receiver::new(self.session_config(), random_bytes(), now);
        let mut receiving = Receiving {
            store,
            receiver,
            files: Files::new(),
            before: 0,
            is_refused: false,
            is_outdated: false,
            is_let_in: true,
            is_seated: false,
            superseded: None,
        };
        let ended = self.run_receiving(&mut receiving, stream, hooks);
        let Receiving { store, receiver, files, before, is_refused, .. } = receiving;
        hooks.progress = receiver.progress().saturating_sub(before);
        let is_known = receiver.transfer().is_some() && !is_refused;
        let suspended = Suspended { receiver, files, key: self.peer_key() };
        match &ended {
            Err(error) if is_known && can_come_again(error) => hooks.left = Some(suspended),
            _ => suspended.let_go(store),
        }
        ended
    }

    fn run_receiving<S: Store, T: Read + Write>(
        &mut self,
        receiving: &mut Receiving<'_, S>,
        stream: T,
        hooks: &mut Hooks<'_, S>,
    ) -> Result<Summary, Error> {
        let mut wire = Wire::new(stream, self.piece());
        let ended = self.run_receiving_over(receiving, &mut wire, hooks);
        // Of what came of a block nothing is kept.
        self.tell_received(&receiving.receiver, &[]);
        ended
    }

    fn run_receiving_over<S: Store, T: Read + Write>(
        &mut self,
        receiving: &mut Receiving<'_, S>,
        wire: &mut Wire<T>,
        hooks: &mut Hooks<'_, S>,
    ) -> Result<Summary, Error> {
        if let Some(binding) = self.secure(wire)? {
            receiving.receiver.bind(binding);
        }
        loop {
            let now = self.clock.now();
            self.obey(receiving, now)?;
            receiving.collect(Duration::ZERO)?;
            if self.meter.is_due(now) {
                let partial = if wire.is_starved() { wire.input() } else { &[] };
                self.tell_received(&receiving.receiver, partial);
            }
            let polled = receiving.receiver.poll(now, wire.control());
            wire.absorb();
            let action = polled.inspect_err(|_| self.send_last_words(wire))?;
            if may_take_long(&action) {
                self.flush(wire, &mut receiving.receiver, Direction::Answers)?;
            }
            match action {
                ReceiveAction::Event(mut event) => {
                    if let Event::Greeted { transfer, attempt, .. } = &mut event {
                        let Some(number) = self.greet_sender(receiving, hooks, *transfer) else {
                            receiving.is_refused = true;
                            receiving.receiver.end(now, AbortCode::NotAdmitted);
                            continue;
                        };
                        *attempt = number;
                    }
                    self.observer.event(&event);
                }
                ReceiveAction::AwaitCommit { until } => {
                    receiving.prove_current()?;
                    let wait = until.saturating_sub(self.clock.now()).min(TICK);
                    if receiving.is_let_in {
                        receiving.collect(wait)?;
                    } else {
                        receiving.let_in(hooks.host.admits(wait, &self.cancel));
                    }
                }
                ReceiveAction::Await { .. } => {
                    let quiet = receiving.receiver.quiet_since();
                    if quiet.is_some_and(|since| hooks.host.yields(now.saturating_sub(since))) {
                        // It is informed with the floor, and comes again.
                        self.cancel.turn_away();
                    }
                    self.listen_to_sender(receiving, wire, hooks)?;
                }
                ReceiveAction::Closed(summary) => return Ok(summary),
                action => receiving.act(action)?,
            }
        }
    }

    /// Ends the session if it is cancelled; for a newer attempt, once what has come of it was read.
    fn obey<S: Store>(&self, receiving: &mut Receiving<'_, S>, now: Duration) -> Result<(), Error> {
        let Some(code) = self.cancel.code() else { return Ok(()) };
        // Nobody need learn of it where the peer has given this connection up, or is taken for dead.
        let is_told = match code {
            AbortCode::Superseded => receiving.is_outdated,
            AbortCode::Stalled => false,
            _ => true,
        };
        match self.cancel.error().filter(|_| !is_told) {
            Some(_) if code == AbortCode::Superseded && receiving.reads_out(now) => {}
            Some(error) => return Err(error),
            None => receiving.receiver.end(now, code),
        }
        Ok(())
    }

    /// Begins the session of a sender that has greeted. Returns the number of its attempt. `None`: it is not admitted.
    fn greet_sender<S: Store>(
        &mut self,
        receiving: &mut Receiving<'_, S>,
        hooks: &mut Hooks<'_, S>,
        transfer: TransferId,
    ) -> Option<u32> {
        let welcome = self.admit_sender(receiving, hooks, transfer)?;
        receiving.receiver.number_attempt(welcome.attempt);
        self.greeted = true;
        receiving.is_outdated = self.cancel.code() == Some(AbortCode::Superseded);
        if let Some(left) = welcome.left {
            receiving.adopt(left);
        }
        let key = self.peer_key();
        receiving.store.identify(key);
        receiving.store.serve(ids::of_key(transfer, key));
        // Whoever has greeted asks for a place once its first turn has ended: one that keeps the floor would stand in the
        // line, before others, without going on.
        receiving.let_in(receiving.is_outdated);
        Some(welcome.attempt)
    }

    /// Gives the core what came, and reads first if it needs more.
    fn listen_to_sender<S: Store, T: Read + Write>(
        &mut self,
        receiving: &mut Receiving<'_, S>,
        wire: &mut Wire<T>,
        hooks: &mut Hooks<'_, S>,
    ) -> Result<(), Error> {
        // What came is given to the core before it looks at a deadline.
        if wire.is_starved() {
            match wire.read()? {
                Moved::Tick => receiving.prove_current()?,
                Moved::Bytes(bytes) => {
                    self.throttle(bytes);
                }
            }
        }
        let step = receiving.receiver.handle_input(self.clock.now(), wire.input())?;
        if let Step::Write { entry, .. } = step {
            self.meter.entry = Some(entry);
        }
        if !receiving.is_seated && !matches!(step, Step::Consumed(_)) {
            if !hooks.host.seats(&self.cancel) {
                // It cannot be informed, as it has the floor: a lost connection makes it come again, too.
                return Err(proto::Error::Ended(AbortCode::Busy).into());
            }
            receiving.is_seated = true;
        }
        wire.consume(receiving.answer(step)?);
        Ok(())
    }

    /// Reports to the observer how far the transfer is, with what has come of a message.
    fn tell_received(&mut self, receiver: &Receiver, partial: &[u8]) {
        // Before it has greeted, nothing is content.
        let came = if self.greeted { payload_so_far(partial) } else { 0 };
        let progress = meter::more(receiver.transfer_progress(), came);
        self.meter.tell(self.clock.now(), progress, &mut self.observer);
    }

    /// Decides whether the sender is admitted, before anything of the store is looked at, and how it goes on.
    /// `None`: it is not.
    fn admit_sender<S: Store>(
        &self,
        receiving: &mut Receiving<'_, S>,
        hooks: &mut Hooks<'_, S>,
        transfer: TransferId,
    ) -> Option<Welcome<S>> {
        let Receiving { store, receiver, .. } = receiving;
        let greeting = self.access.greeting(true, transfer, receiver.peer_proof());
        if !self.access.admits(&greeting) {
            return None;
        }
        if let Some(proof) = self.access.proof(false, transfer) {
            receiver.prove(proof);
        }
        if store.holds_content() {
            receiver.advertise_hash_first();
            receiver.compare_times();
        }
        let attempt = receiver.transfer().map(|(_, attempt)| attempt);
        let attempt = attempt.filter(|_| !receiver.is_claimed());
        hooks.host.greeted(store, &greeting, attempt, &self.cancel).ok()
    }

    fn peer_key(&self) -> Option<PublicKey> {
        self.access.channel.as_ref()?.peer_key()
    }
}

/// Returns whether the action may take long, so that output should reach the peer first.
const fn may_take_long(action: &ReceiveAction) -> bool {
    !matches!(
        action,
        ReceiveAction::Event(_)
            | ReceiveAction::Commit { .. }
            | ReceiveAction::Suspend { .. }
            | ReceiveAction::Discard { .. }
    )
}

/// Returns whether the sender may come again after this, with its transfer.
fn can_come_again(error: &Error) -> bool {
    // What one without descriptors has open would keep them from all others, and what one leaves that is to make room
    // for others would have the place that they need.
    !matches!(error, Error::Session(proto::Error::Ended(AbortCode::Exhausted | AbortCode::Busy)))
        && (error.is_transient()
            || matches!(error, Error::Session(proto::Error::Ended(AbortCode::Superseded))))
}

impl<S: Store> Receiving<'_, S> {
    /// Goes on with what an earlier connection left.
    fn adopt(&mut self, left: Suspended<S>) {
        let before = left.receiver.progress();
        // It is of this transfer, has the same configuration, and nothing was offered yet: nothing can be wrong with
        // it.
        if self.receiver.adopt(left.receiver).is_ok() {
            (self.files, self.before) = (left.files, before);
        }
    }

    /// Lets the sender go on, or has it wait with the floor kept.
    fn let_in(&mut self, is_let_in: bool) {
        self.is_let_in = is_let_in;
        self.receiver.keep_floor(!is_let_in);
    }

    /// Returns whether a session that was superseded may go on reading.
    fn reads_out(&mut self, now: Duration) -> bool {
        self.is_seated && now.saturating_sub(*self.superseded.get_or_insert(now)) < READ_OUT
    }

    /// Ends a session that was superseded where it would wait.
    fn prove_current(&self) -> Result<(), Error> {
        match self.superseded {
            Some(_) => Err(proto::Error::Ended(AbortCode::Superseded).into()),
            None => Ok(()),
        }
    }

    fn act(&mut self, action: ReceiveAction) -> Result<(), proto::Error> {
        self.files.act(self.store, &mut self.receiver, action)
    }

    fn collect(&mut self, wait: Duration) -> Result<(), proto::Error> {
        self.files.collect(self.store, &mut self.receiver, wait).map(drop)
    }

    /// Does what the core asks of the store; `None` if the input is to be given to it again.
    fn answer(&mut self, step: Step<'_>) -> Result<Option<Consumed>, proto::Error> {
        self.files.answer(self.store, &mut self.receiver, step)
    }
}

/// Longest time for which the session of a sender that was superseded reads what came of it before: most of what a killed
/// process leaves in the buffers of its connection.
const READ_OUT: Duration = Duration::from_secs(2);
