//! Many senders, one after the other and at the same time.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::blocking::Transfer;
use super::cancel::Cancel;
use super::clock::{Clock, SystemClock};
use super::observer::Observer;
use super::rate::RateLimit;
use super::receiving::Hooks;
use crate::config::Config;
use crate::error::{Error, Operation};
use crate::proto::{Summary, TransferId};
use crate::store::Store;
use crate::transport::{Acceptor, Peer};

/// Receives into clones of one store what all senders send that an [`Acceptor`] brings.
///
/// Each session has a thread of its own, and there are never more than [`Server::sessions`] of them. As many further
/// senders are told that the server is busy, which [`Transfer::send_via`] takes as a reason to come again; the rest wait
/// in the acceptor's queue. A newer attempt at a transfer ends an older one before it is answered.
#[derive(Debug)]
pub struct Server<A, S> {
    acceptor: A,
    store: S,
    config: Config,
    sessions: usize,
    once: bool,
    limit: Option<RateLimit>,
    cancel: Cancel,
}

/// The number of a session of one [`Server`], counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

/// What the threads of a server share.
struct Shared {
    board: Mutex<Board>,
    /// A session ended.
    ended: Condvar,
}

#[derive(Default)]
struct Board {
    active: HashMap<SessionId, Active>,
    transfers: HashMap<TransferId, (u32, SessionId)>,
    /// The first session that ended well.
    done: Option<Summary>,
}

impl<A, S> Server<A, S> {
    /// A server that runs until it is cancelled, with at most 4 sessions at a time: what 1024 descriptors allow.
    pub fn new(acceptor: A, store: S) -> Self {
        let (config, cancel) = (Config::default(), Cancel::new());
        Self { acceptor, store, config, sessions: 4, once: false, limit: None, cancel }
    }

    /// The configuration of each session.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How many sessions there may be at a time, at least 1. Cost: a thread and the memory of a session for each.
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

    /// Who may stop the server, and all of its sessions. Their senders are told that it goes away, and come again for as long
    /// as they have patience; see [`Cancel::leave`].
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }
}

impl<A, S> Server<A, S>
where
    A: Acceptor,
    A::Stream: Send,
    S: Store + Clone + Send,
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
        let shared = Shared { board: Mutex::default(), ended: Condvar::new() };
        let clock = SystemClock::new();
        if let Some(limit) = &self.limit {
            limit.fit(&mut self.config, self.sessions as u64);
        }
        let mut next = 0;
        let mut shortages = 0;
        thread::scope(|scope| {
            let result = loop {
                if self.cancel.is_cancelled() {
                    break Err(Error::Cancelled);
                }
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
                let cancel = Cancel::new();
                let is_served = shared.enter(id, &cancel, self.sessions);
                let store = self.store.clone();
                let mut transfer = Transfer::new(self.config.clone()).cancel(cancel);
                transfer.limit.clone_from(&self.limit);
                let shared = &shared;
                let thread = thread::Builder::new().name(format!("haul-session-{}", id.0));
                let spawned = if is_served {
                    let transfer = transfer.observer(observe(id, &peer));
                    thread.spawn_scoped(scope, move || serve(transfer, store, stream, id, shared))
                } else {
                    thread.spawn_scoped(scope, move || serve(transfer, store, stream, id, shared))
                };
                if let Err(source) = spawned {
                    // The stream is gone with the closure: that sender will come again.
                    shared.leave(id, None);
                    if shortages >= SHORTAGES {
                        break Err(Error::Local { operation: Operation::Spawn, source });
                    }
                    shortages += 1;
                    clock.sleep(PAUSE);
                    continue;
                }
                shortages = 0;
            };
            shared.lock().active.values().for_each(|session| session.cancel.leave());
            result
        })
    }
}

/// One session, from greeting to end.
fn serve<S: Store, T: io::Read + io::Write, O: Observer>(
    mut transfer: Transfer<O>,
    mut store: S,
    stream: T,
    id: SessionId,
    shared: &Shared,
) {
    let mut greeted = |transfer, attempt, cancel: &Cancel| {
        if !shared.take_over(id, transfer, attempt) {
            cancel.supersede();
        }
    };
    let mut hooks = Hooks::new(&mut greeted);
    let result = transfer.run_receiver(&mut store, stream, &mut hooks);
    // What the store holds for this session must be free before a newer attempt asks for it.
    drop(store);
    transfer.into_observer().ended(&result);
    shared.leave(id, result.ok());
}

/// A session that has a thread.
struct Active {
    cancel: Cancel,
    /// It is not only told that there is no room.
    is_served: bool,
}

enum Room {
    /// For another session, or at least for telling a sender that there is none.
    Some,
    None,
    Done(Summary),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        // A session that panicked left the board whole: no invariant spans two of its changes.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for_room(&self, sessions: usize, once: bool) -> Room {
        let board = self.lock();
        if let (true, Some(summary)) = (once, board.done) {
            return Room::Done(summary);
        }
        if board.active.len() < sessions.saturating_mul(2) {
            return Room::Some;
        }
        let waited = self.ended.wait_timeout(board, PAUSE);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Room::None
    }

    /// Puts a session on the board; `false` if it can only be turned away.
    fn enter(&self, id: SessionId, cancel: &Cancel, sessions: usize) -> bool {
        let mut board = self.lock();
        let served = board.active.values().filter(|session| session.is_served).count();
        let is_served = served < sessions;
        if !is_served {
            cancel.turn_away();
        }
        board.active.insert(id, Active { cancel: cancel.clone(), is_served });
        is_served
    }

    /// Makes this session the one that serves a transfer; `false` if a newer attempt does already.
    fn take_over(&self, id: SessionId, transfer: TransferId, attempt: u32) -> bool {
        let mut board = self.lock();
        for _ in 0..EVICTION_TICKS {
            match board.transfers.get(&transfer) {
                Some((newer, _)) if *newer >= attempt => return false,
                Some((_, older)) => {
                    if let Some(session) = board.active.get(older) {
                        session.cancel.supersede();
                    }
                }
                None => break,
            }
            let waited = self.ended.wait_timeout(board, PAUSE);
            board = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        board.transfers.insert(transfer, (attempt, id));
        true
    }

    fn leave(&self, id: SessionId, done: Option<Summary>) {
        let mut board = self.lock();
        board.active.remove(&id);
        board.transfers.retain(|_, (_, session)| *session != id);
        board.done = board.done.or(done);
        self.ended.notify_all();
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

/// How long to wait before something is looked at again.
const PAUSE: Duration = Duration::from_millis(100);

/// How many times in a row accepting may find something lacking, a pause apart: for 10 s.
const SHORTAGES: u32 = 100;

/// How long a newer attempt waits for the older one to leave: half of what its sender waits for a greeting.
const EVICTION_TICKS: u32 = 50;
