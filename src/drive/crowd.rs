//! Connections to a sender that listens: the first that greets is sent to, whoever else is connected and sends
//! nothing.
//!
//! The sender greets first. So each connection gets the greeting in a thread of its own, and waited on there for the
//! receiver's. Both are repeated to the transfer's own core, which so finds a connection as if it had been the only
//! one: what it sends first depends on nothing but its configuration, the attempt and the nonce.

use std::collections::{HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;
use std::{mem, panic};

use super::accept::{is_passing, is_shortage};
use super::admit::Access;
use super::blocking::{NOTES, run};
use super::cancel::CancelToken;
use super::clock::SharedClock;
use super::observer::Observer;
use super::random::random_bytes;
use super::session::Sending;
use super::transfer::Transfer;
use crate::config::Config;
use crate::error::Error;
use crate::proto::Sender;
use crate::store::{MemorySource, Readers, Source};
use crate::transport::{Acceptor, Channel, Peer};
use crate::types::{Summary, TransferId};

/// The connections of a sender that listens, on which nobody has greeted.
pub(super) struct Crowd<T> {
    state: Mutex<State<T>>,
    /// Notice that there is more room, or something to report.
    changed: Condvar,
    /// Clock by which connections wait for one another, whatever the clock of the transfer.
    clock: SharedClock,
}

struct State<T> {
    /// Connections that have not greeted, the oldest first. Invariant: at most [`STRANGERS`].
    silent: VecDeque<Silent>,
    /// Threads of connections that are none of these any more. Invariant: with those, at most [`THREADS`].
    leaving: usize,
    /// Connections of these that have nothing more to do.
    gone: Vec<u32>,
    failed: VecDeque<Error>,
    greeted: Option<Greeted<T>>,
    /// Attempt of the next connection; 0 claims one.
    attempt: u32,
}

struct Silent {
    number: u32,
    since: Duration,
    cancel: CancelToken,
}

/// A connection on which a receiver has greeted.
pub(super) struct Greeted<T> {
    pub(super) stream: Replayed<T>,
    pub(super) peer: Peer,
    pub(super) channel: Option<Channel>,
    pub(super) attempt: u32,
    pub(super) nonce: [u8; 16],
}

/// Greeter of all connections, which sends each the same.
pub(super) struct Greeter<'s> {
    config: Config,
    transfer: TransferId,
    clock: SharedClock,
    access: Access,
    /// Number of connections so far.
    connections: u32,
    threads: HashMap<u32, ScopedJoinHandle<'s, ()>>,
}

impl<O: Observer> Transfer<O> {
    /// Sends all entries of `source` to the first receiver that comes to `acceptor` and greets, over as many
    /// connections as it takes.
    ///
    /// Once an entry is settled, the others are for the same key alone, as for [`send_via`](Transfer::send_via).
    ///
    /// It is waited for as long as it takes, and after a lost connection for as long as [`Retry::patience`](super::Retry::patience) allows; the
    /// [observer](Observer::connected) learns who it is. A caller that does not greet, a stranger, keeps no receiver
    /// out: while nobody has greeted, and is [admitted](Transfer::admit), there may be 64 such connections, each in a
    /// thread of its own, and the one that has been there longest goes when one more comes, once it had 0.1 s to greet.
    /// There are never more than 192 of these threads and connections, those that are being closed among them; when
    /// somebody greets, all others go. Where others are connected, an answer is received when the acceptor returns.
    /// Strangers that had to go are not reported, and the others are [counted](Observer::unheard) beyond a few.
    ///
    /// A lack of descriptors or memory is waited out while there are strangers, by whose end it may pass.
    /// [`send_via`](Transfer::send_via) with [`Listening`](crate::transport::Listening) needs no threads, and lets a
    /// stranger keep others out until its deadline.
    ///
    /// # Errors
    ///
    /// As for [`send_via`](Transfer::send_via).
    ///
    /// # Panics
    ///
    /// Where a stream panics while its peer is waited for.
    pub fn send_listening<S: Source, A: Acceptor>(
        &mut self,
        source: &mut S,
        acceptor: &mut A,
    ) -> Result<Summary, Error>
    where
        A::Stream: Send,
    {
        let mut sending = self.sending(source)?;
        let (config, transfer) = (self.session_config(), self.id.choose());
        let crowd = Crowd::new();
        thread::scope(|scope| {
            let access = Access { channel: None, ..self.access.clone() };
            let mut greeter = Greeter::new(config, transfer, self.clock.clone(), access);
            let _gone = Gone(&crowd);
            let next = || crowd.next(scope, acceptor, &mut greeter);
            self.keep_connecting(true, next, &mut sending, |this, sending, greeted| {
                let Greeted { stream, peer, channel, attempt, nonce } = match greeted {
                    Ok(greeted) => greeted,
                    Err(error) => return (Err(error), false),
                };
                this.access.channel = channel;
                this.observer.connected(&peer);
                let connection = this.connection(NOTES);
                sending.reconnect(this.clock.now(), (attempt, nonce), connection);
                let ended = this.run_sender(sending, stream);
                this.access.channel = None;
                crowd.count_from(sending.next_attempt());
                ended
            })
        })
    }
}

impl Transfer {
    /// Greets a receiver as this attempt, and returns once it has greeted too, and is admitted. Nothing else is sent.
    fn greet(
        &self,
        transfer: TransferId,
        attempt: (u32, [u8; 16]),
        stream: &mut (impl Read + Write),
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let sender = Sender::new(self.config.clone(), transfer, attempt.1, now);
        let readers = Readers::new(&self.config.limits);
        let nothing = MemorySource::new();
        let mut session = Sending::new(nothing, transfer, sender, readers, self.connection(NOTES))
            .only_greeting();
        session.reconnect(now, attempt, self.connection(NOTES));
        run(&mut session, stream, &self.clock, &mut (), |_, _| Ok(())).map(drop)
    }
}

/// Guard that tells all strangers to go when it is dropped, also by a panic: their threads are waited for.
struct Gone<'c, T>(&'c Crowd<T>);

impl<T> Drop for Gone<'_, T> {
    fn drop(&mut self) {
        self.0.dismiss();
    }
}

impl Greeter<'_> {
    pub(super) fn new(
        config: Config,
        transfer: TransferId,
        clock: SharedClock,
        access: Access,
    ) -> Self {
        Self { config, transfer, clock, access, connections: 0, threads: HashMap::new() }
    }
}

impl<T> Crowd<T> {
    pub(super) fn new() -> Self {
        let state = State {
            silent: VecDeque::new(),
            leaving: 0,
            gone: Vec::new(),
            failed: VecDeque::new(),
            greeted: None,
            attempt: 0,
        };
        let (state, clock) = (Mutex::new(state), SharedClock::default());
        Self { state, changed: Condvar::new(), clock }
    }

    /// Tells all to go that have not greeted.
    pub(super) fn dismiss(&self) {
        self.lock().dismiss(|_| true);
    }

    /// Counts the attempts of further connections from this one on.
    pub(super) fn count_from(&self, attempt: u32) {
        let mut state = self.lock();
        state.attempt = state.attempt.max(attempt);
    }

    /// Gives a connection on which somebody greeted, or why one failed before. Fails with [`ErrorKind::WouldBlock`] if
    /// there is neither yet.
    pub(super) fn next<'s, A>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        acceptor: &mut A,
        greeter: &mut Greeter<'s>,
    ) -> io::Result<Result<Greeted<T>, Error>>
    where
        A: Acceptor<Stream = T>,
        T: Read + Write + Send + 's,
    {
        self.join(&mut greeter.threads);
        if let Some(heard) = self.take() {
            return Ok(heard);
        }
        if !self.has_room() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let accepted = acceptor.accept().and_then(|(stream, peer)| {
            let channel = acceptor.channel(&stream);
            self.enter(scope, (stream, peer, channel), greeter)
        });
        match accepted {
            Ok(()) => self.take_soon().ok_or_else(|| ErrorKind::WouldBlock.into()),
            Err(error) if is_passing(&error) => Err(ErrorKind::WouldBlock.into()),
            Err(error) if is_shortage(&error) && self.make_do() => {
                Err(ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error),
        }
    }

    /// Waits for threads that have nothing more to do, so that there are no more of them than are counted.
    fn join(&self, threads: &mut HashMap<u32, ScopedJoinHandle<'_, ()>>) {
        let gone = mem::take(&mut self.lock().gone);
        for thread in gone.iter().filter_map(|number| threads.remove(number)) {
            if let Err(panic) = thread.join() {
                panic::resume_unwind(panic);
            }
        }
        let mut state = self.lock();
        state.leaving = state.leaving.saturating_sub(gone.len());
    }

    fn take(&self) -> Option<Result<Greeted<T>, Error>> {
        let mut state = self.lock();
        if let Some(error) = state.failed.pop_front() {
            return Some(Err(error));
        }
        let greeted = state.greeted.take()?;
        // The transfer is for this one: who else waited may come again.
        state.dismiss(|_| true);
        Some(Ok(greeted))
    }

    /// Works as [`take`](Self::take), after the time in which somebody who came alone greets: an answer that comes
    /// while others are accepted is received at the end of that call.
    fn take_soon(&self) -> Option<Result<Greeted<T>, Error>> {
        let is_alone = |state: &mut State<T>| {
            state.silent.len() == 1 && state.failed.is_empty() && state.greeted.is_none()
        };
        drop(self.changed.wait_timeout_while(self.lock(), YOUNG, is_alone));
        self.take()
    }

    /// Returns whether another connection may be accepted, for which the oldest goes if there are too many; if not,
    /// waits a moment.
    fn has_room(&self) -> bool {
        let mut state = self.lock();
        let now = self.clock.now();
        if state.silent.len() + state.leaving < THREADS {
            if state.silent.len() >= STRANGERS
                && state.silent.front().is_some_and(|oldest| oldest.is_ripe(now))
            {
                state.dismiss_oldest();
            }
            if state.silent.len() < STRANGERS {
                return true;
            }
        }
        self.wait(state);
        false
    }

    /// Makes do without what the system lacks: lets those go that have been there for a while, and waits a moment.
    /// `false` if there is no connection by whose end it would come back.
    fn make_do(&self) -> bool {
        let mut state = self.lock();
        let now = self.clock.now();
        state.dismiss(|silent| silent.is_ripe(now));
        let may_pass = state.silent.len() + state.leaving > 0;
        if may_pass {
            self.wait(state);
        }
        may_pass
    }

    /// Greets whoever has come, in a thread.
    fn enter<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        (stream, peer, channel): (T, Peer, Option<Channel>),
        greeter: &mut Greeter<'s>,
    ) -> io::Result<()>
    where
        T: Read + Write + Send + 's,
    {
        let (number, nonce, cancel) = (greeter.connections, random_bytes(), CancelToken::new());
        greeter.connections = number.wrapping_add(1);
        let since = self.clock.now();
        let mut state = self.lock();
        state.silent.push_back(Silent { number, since, cancel: cancel.clone() });
        let attempt = state.attempt;
        // Whoever receives this one may come again, to be greeted by a later one.
        state.attempt = attempt.saturating_add(u32::from(attempt > 0));
        drop(state);
        let thread = Thread { number, crowd: self };
        let (config, transfer) = (greeter.config.clone(), greeter.transfer);
        let (clock, access) = (greeter.clock.clone(), greeter.access.clone());
        let greet = move || {
            // Dropped last: a connection counts until its stream is closed.
            let thread = thread;
            let mut stream = Recorded::new(stream);
            let mut greeter = Transfer::new(config).cancel(cancel);
            (greeter.clock, greeter.access) =
                (clock, Access { channel: channel.clone(), ..access });
            let greeted = greeter.greet(transfer, (attempt, nonce), &mut stream);
            let greeted = greeted.map(|()| {
                let stream = stream.replay();
                Greeted { stream, peer, channel, attempt, nonce }
            });
            thread.heard(greeted);
        };
        // If it cannot be started, the closure is dropped, and with it the connection.
        let named = thread::Builder::new().name(format!("haul-greeter-{number}"));
        greeter.threads.insert(number, named.spawn_scoped(scope, greet)?);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Each change of it is whole, whichever thread panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, state: MutexGuard<'_, State<T>>) {
        drop(self.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner));
    }
}

impl<T> State<T> {
    fn dismiss(&mut self, goes: impl Fn(&Silent) -> bool) {
        let before = self.silent.len();
        self.silent.retain(|silent| {
            let goes = goes(silent);
            if goes {
                silent.cancel.cancel();
            }
            !goes
        });
        self.leaving += before - self.silent.len();
    }

    fn dismiss_oldest(&mut self) {
        let oldest = self.silent.front().map(|silent| silent.number);
        self.dismiss(|silent| Some(silent.number) == oldest);
    }

    /// Takes one out that is not silent any more; `false` if it was told to go before.
    fn leave(&mut self, number: u32) -> bool {
        let place = self.silent.iter().position(|silent| silent.number == number);
        let was_there = place.and_then(|place| self.silent.remove(place)).is_some();
        self.leaving += usize::from(was_there);
        was_there
    }
}

impl Silent {
    /// Returns whether it had the time to greet.
    fn is_ripe(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= YOUNG
    }
}

/// The place of a thread, which is given back however the thread ends.
struct Thread<'c, T> {
    number: u32,
    crowd: &'c Crowd<T>,
}

impl<T> Thread<'_, T> {
    /// Passes on what came of the connection. Of those that were told to go nothing is, and of those that greet only
    /// the first.
    fn heard(&self, greeted: Result<Greeted<T>, Error>) {
        let mut state = self.crowd.lock();
        let late = match (state.leave(self.number), greeted) {
            (true, Err(error)) => {
                state.failed.push_back(error);
                None
            }
            (true, Ok(greeted)) if state.greeted.is_none() => {
                state.greeted = Some(greeted);
                None
            }
            (_, late) => Some(late),
        };
        drop(state);
        self.crowd.changed.notify_all();
        // Closing may take a while.
        drop(late);
    }
}

impl<T> Drop for Thread<'_, T> {
    fn drop(&mut self) {
        let mut state = self.crowd.lock();
        state.leave(self.number);
        state.gone.push(self.number);
        drop(state);
        self.crowd.changed.notify_all();
    }
}

/// A stream of which everything is kept that was sent and received. A peer that has not greeted sends no more than one
/// read takes, and a greeting is 1 KiB at most.
struct Recorded<T> {
    stream: T,
    said: Vec<u8>,
    heard: Vec<u8>,
}

impl<T> Recorded<T> {
    const fn new(stream: T) -> Self {
        Self { stream, said: Vec::new(), heard: Vec::new() }
    }

    fn replay(self) -> Replayed<T> {
        let Self { stream, said, heard } = self;
        Replayed { stream, said: said.into(), heard: heard.into() }
    }
}

impl<T: Read> Read for Recorded<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.heard.extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

impl<T: Write> Write for Recorded<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(bytes)?;
        self.said.extend_from_slice(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A stream that begins anew: sent bytes are taken once more and go nowhere, and received bytes are received again.
pub(super) struct Replayed<T> {
    stream: T,
    /// Bytes that are still to be sent again.
    said: VecDeque<u8>,
    /// Bytes that are still to be received again.
    heard: VecDeque<u8>,
}

impl<T: Read> Read for Replayed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.heard.is_empty() { self.stream.read(buffer) } else { self.heard.read(buffer) }
    }
}

impl<T: Write> Write for Replayed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.said.is_empty() {
            return self.stream.write(bytes);
        }
        let count = bytes.len().min(self.said.len());
        if !self.said.drain(..count).eq(bytes.iter().take(count).copied()) {
            let text = "a greeting is not what it was";
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Most connections on which nobody has greeted, before the oldest goes for another.
const STRANGERS: usize = 64;

/// Most threads: those that were told to go are there until their streams return and are closed.
const THREADS: usize = 3 * STRANGERS;

/// Time in which each connection has to greet, however many others come.
const YOUNG: Duration = Duration::from_millis(100);

/// After how long one looks again for room.
const PAUSE: Duration = Duration::from_millis(100);
