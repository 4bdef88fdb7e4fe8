//! Many senders, one after the other and at the same time.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Duration;

use super::blocking::Transfer;
use super::board::{PAUSE, Room, Shared};
use super::cancel::Cancel;
use super::clock::{Clock, SystemClock};
use super::observer::Observer;
use super::pulse::Pulse;
use super::rate::RateLimit;
use super::receiving::{Hooks, Host, Parked};
use super::retry::Retry;
use crate::config::Config;
use crate::error::{Error, Operation};
use crate::proto::{Summary, TransferId};
use crate::store::Store;
use crate::transport::{Acceptor, Peer};

/// Receives into clones of one store what all senders send that an [`Acceptor`] brings.
///
/// Each session has a thread of its own, and there are never more than [`Server::sessions`] of them. As many further
/// senders are told that the server is busy, which [`Transfer::send_via`] takes as a reason to come again; the rest wait
/// in the acceptor's queue.
///
/// - **Attempts.** A newer attempt at a transfer ends an older one before it is answered, and goes on with what that one
///   left: its files are still open, and nothing is read or hashed again. What a lost connection left is let go when
///   another transfer begins, after a [time](Server::remember), and with the server.
/// - **Senders that come anew.** When a transfer begins, sessions that wait for their sender and have not heard a byte
///   for more than two [heartbeats](crate::config::Deadlines::HEARTBEAT) are ended: the new sender may be what became
///   of one of theirs, and finds what it left. A sender that lives all the same connects again.
/// - **Files in use.** Where a session wants a file that another one has open, what lost connections left is let go, their
///   commits have 5 s to end, and so have the other sessions, if they do not show that their senders live: by a tick with
///   nothing to read, or by more bytes than a dead sender's buffers hold. Then a second partial file is begun. That is
///   waited for once in a session.
/// - **Panics** of a store, a stream or an observer end their session; the server goes on, and panics at its end.
#[derive(Debug)]
pub struct Server<A, S, C = SystemClock> {
    acceptor: A,
    store: S,
    config: Config,
    sessions: usize,
    once: bool,
    limit: Option<RateLimit>,
    remember: Duration,
    cancel: Cancel,
    clock: C,
}

/// The number of a session of one [`Server`], counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(super) u64);

impl<A, S> Server<A, S> {
    /// A server that runs until it is cancelled, with at most 4 sessions at a time: what 1024 descriptors allow.
    pub fn new(acceptor: A, store: S) -> Self {
        Self {
            acceptor,
            store,
            config: Config::default(),
            sessions: 4,
            once: false,
            limit: None,
            remember: Retry::default().patience,
            cancel: Cancel::new(),
            clock: SystemClock::new(),
        }
    }
}

impl<A, S, C> Server<A, S, C> {
    /// The configuration of each session.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How many sessions there may be at a time, at least 1. Cost: a thread and the memory of a session for each, which
    /// the [limits](Config::limits) bound. What lost connections left counts among them: the memory of a server is at
    /// most that of so many sessions, and a buffer for each sender that is turned away.
    #[must_use]
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.sessions = sessions.max(1);
        self
    }

    /// Whether to end after the first transfer that ends well. Sessions that are lost before do not count: their
    /// sender will come again.
    #[must_use]
    pub fn once(mut self, once: bool) -> Self {
        self.once = once;
        self
    }

    /// How many bytes may pass in a second, over all sessions together. Default: as many as can.
    #[must_use]
    pub fn limit_rate(mut self, limit: RateLimit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// How long what a lost connection left is kept in memory, with its files open, for its sender to come again.
    /// Default: 60 s, for which senders try by default. After that, a sender that comes again finds what was
    /// written, but it is read and hashed again. The time is looked at whenever the acceptor returns. Nothing is kept so
    /// of a session that another one waited for, as both wanted the same file.
    #[must_use]
    pub fn remember(mut self, time: Duration) -> Self {
        self.remember = time;
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock<D: Clock>(self, clock: D) -> Server<A, S, D> {
        let Self { acceptor, store, config, sessions, once, limit, remember, cancel, .. } = self;
        Server { acceptor, store, config, sessions, once, limit, remember, cancel, clock }
    }

    /// Who may stop the server, and all of its sessions. Their senders are told that it goes away, and come again for as long
    /// as they have patience; see [`Cancel::leave`].
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}

impl<A, S, C> Server<A, S, C>
where
    A: Acceptor,
    A::Stream: Send,
    S: Store + Clone + Send,
    S::File: Send,
    C: Clock + Clone + Send,
{
    /// Serves. `observe` makes an observer for each session; the observer hears of its end too.
    ///
    /// `Ok` gives the sum of the transfer that ended a server that serves [`once`](Server::once).
    ///
    /// # Errors
    ///
    /// - [`Error::Cancelled`], when it was told to stop.
    /// - [`Error::Transport`], when accepting fails for good; failures that concern one sender, or that pass, do not
    ///   end a server.
    pub fn run<O: Observer + Send>(
        mut self,
        mut observe: impl FnMut(SessionId, &Peer) -> O,
    ) -> Result<Summary, Error> {
        if let Some(limit) = &self.limit {
            limit.fit(&mut self.config, self.sessions as u64);
        }
        let shared = Shared::new();
        let clock = self.clock.clone();
        let mut next = 0;
        let mut shortages = 0;
        let result = thread::scope(|scope| {
            let result = loop {
                if self.cancel.is_cancelled() {
                    break Err(Error::Cancelled);
                }
                shared.expire(clock.now(), self.remember);
                match shared.wait_for_room(self.sessions, self.once) {
                    Room::Done(summary) => break Ok(summary),
                    Room::None => continue,
                    Room::Some => {}
                }
                let (stream, peer) = match self.acceptor.accept() {
                    Ok(accepted) => accepted,
                    Err(error) if is_passing(&error) => continue,
                    Err(error) if is_shortage(&error) && shortages < SHORTAGES => {
                        shortages += 1;
                        clock.sleep(PAUSE);
                        continue;
                    }
                    Err(source) => {
                        break Err(Error::Transport { operation: Operation::Accept, source });
                    }
                };
                let id = SessionId(next);
                next += 1;
                let (cancel, pulse) = (Cancel::new(), Pulse::default());
                let is_served = shared.enter(id, &cancel, &pulse, self.sessions);
                let seat = Seat { id, pulse, is_served };
                let store = self.store.clone();
                let transfer = Transfer::new(self.config.clone()).cancel(cancel);
                let mut transfer = transfer.clock(clock.clone());
                transfer.limit.clone_from(&self.limit);
                let shared = &shared;
                let thread = thread::Builder::new().name(format!("haul-session-{}", id.0));
                let spawned = if is_served {
                    let transfer = transfer.observer(observe(id, &peer));
                    thread.spawn_scoped(scope, move || serve(transfer, store, stream, seat, shared))
                } else {
                    thread.spawn_scoped(scope, move || serve(transfer, store, stream, seat, shared))
                };
                if let Err(source) = spawned {
                    // The stream is gone with the closure: that sender will come again.
                    shared.leave(id, None, None, clock.now());
                    if shortages >= SHORTAGES {
                        break Err(Error::Local { operation: Operation::Spawn, source });
                    }
                    shortages += 1;
                    clock.sleep(PAUSE);
                    continue;
                }
                shortages = 0;
            };
            shared.leave_all();
            result
        });
        shared.close();
        result
    }
}

/// One session, from greeting to end.
fn serve<S: Store, T: io::Read + io::Write, O: Observer, C: Clock + Clone>(
    mut transfer: Transfer<O, C>,
    mut store: S,
    mut stream: T,
    Seat { id, pulse, is_served }: Seat,
    shared: &Shared<S>,
) {
    let clock = transfer.clock.clone();
    let mut place = OnBoard { id, is_served, shared, clock: &clock, done: None, left: None };
    let mut hooks = Hooks::new(&mut place, pulse);
    let result = transfer.run_receiver(&mut store, &mut stream, &mut hooks);
    let left = hooks.left.map(|parked| (store, parked));
    (place.done, place.left) = (result.as_ref().ok().copied(), left);
    transfer.into_observer().ended(&result);
    // What the store holds for this session must be free, or be on the board, before another one asks for it. And whoever
    // sees the end of this stream finds room.
    drop(place);
    drop(stream);
}

/// The number of a session, what it hears, and whether there is room for it.
struct Seat {
    id: SessionId,
    pulse: Pulse,
    is_served: bool,
}

/// The place of a session on the board, which it leaves however it ends.
struct OnBoard<'s, S: Store, C: Clock> {
    id: SessionId,
    is_served: bool,
    shared: &'s Shared<S>,
    clock: &'s C,
    done: Option<Summary>,
    left: Option<(S, Parked<S>)>,
}

impl<S: Store, C: Clock> Drop for OnBoard<'_, S, C> {
    fn drop(&mut self) {
        self.shared.leave(self.id, self.done, self.left.take(), self.clock.now());
    }
}

impl<S: Store, C: Clock> Host<S> for OnBoard<'_, S, C> {
    fn greeted(
        &mut self,
        store: &mut S,
        transfer: TransferId,
        attempt: u32,
        cancel: &Cancel,
    ) -> Option<Parked<S>> {
        let now = self.clock.now();
        if !self.is_served {
            self.shared.make_room(transfer, attempt, now);
            return None;
        }
        let Some(handover) = self.shared.take_over(self.id, transfer, attempt, now) else {
            cancel.supersede();
            return None;
        };
        self.shared.let_go(handover.others);
        let lot = handover.own?;
        *store = lot.store;
        Some(lot.parked)
    }

    fn make_way(&mut self, tries: u32, cancel: &Cancel, clock: &dyn Clock) -> bool {
        // After that, who has the file is known to live, or is of another process.
        let is_first = tries == 0;
        if is_first {
            self.shared.make_way(self.id, cancel, clock.now());
        }
        is_first
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether an error of `accept` says nothing about the acceptor itself.
fn is_passing(error: &io::Error) -> bool {
    use ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::WouldBlock
            | Kind::TimedOut
            | Kind::Interrupted
            | Kind::ConnectionAborted
            | Kind::ConnectionReset
    )
}

/// Whether the system lacks something that comes back as sessions end: descriptors (`EMFILE`, `ENFILE`), memory
/// (`ENOMEM`), or buffers (`ENOBUFS` of Linux). The first three numbers are the same on all Unix systems.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 12 | 105))
}

/// How many times in a row accepting may find something lacking, a pause apart: for 10 s.
const SHORTAGES: u32 = 100;
