//! Many senders, one after the other and at the same time.

#[cfg(all(test, feature = "testing"))]
mod crowd;
mod id;
pub(super) mod registry;
mod session;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{panic, thread};

use self::registry::{Bounds, PAUSE, Room, Shared};
use self::session::{Late, Observing, serve};
use super::accept::{is_passing, is_shortage};
use super::admit::{Access, Admit};
use super::cancel::CancelToken;
use super::clock::{Clock, SharedClock};
use super::observer::Observer;
use super::rate::RateLimit;
use super::retry::Retry;
use super::strangers::Strangers;
use super::transfer::Transfer;
use crate::config::Config;
use crate::error::{Error, Operation};
use crate::store::Store;
use crate::transport::{Acceptor, Peer};
use crate::types::Summary;

pub use self::id::SessionId;

/// Receiver of the entries of all senders that an [`Acceptor`] brings, into clones of one store.
///
/// Each connection has a thread of its own. What it may take depends on what its peer has done:
///
/// - **Strangers** have not greeted, or have offered nothing since. They hold no place of a session. Of at most
///   [`Server::strangers`], the one that has been there longest goes when one more comes. A sender that greets as soon as
///   it is connected is not kept out by them.
/// - **Senders that wait** have greeted while all places were taken. They get heartbeats, and places in the
///   order in which they came. Of their files nothing is open. Beyond [`Server::waiting`], senders get the answer
///   that the server is busy, which [`Transfer::send_via`] takes as a reason to come again: the one that has waited longest, if
///   it has for 30 s, else the new one. A place is kept for 0.2 s for the one whose turn it is. Where as many in a row as there
///   are places, and at least 4, let that pass, or go, the free places are for those that offer something first, until some do.
/// - **Sessions** have offered something, and hold one of [`Server::sessions`] places until they end. A place is free
///   before the stream of its session is closed. One whose sender has had nothing to send for 60 s gives its place to one that
///   waits: it gets the answer that the server is busy, and what has arrived of its files is kept for when it comes again.
///
/// So there are never more connections than `sessions + waiting + 2 × strangers`, those that are being closed among them; at
/// that number the acceptor is not asked. Threads are as many, with the one that runs the server, one that tidies up, and those
/// of the store. With the defaults: 200 connections, 202 threads and those of the store.
///
/// - **Shortages** of descriptors, memory or threads do not end a server while it has connections that will end. Strangers go,
///   and what lost connections left is let go. A server that has no connection ends after 10 s of them.
/// - **Attempts.** A newer attempt at a transfer ends an older one before it is answered, and goes on with what that one
///   left: its files are still open, and nothing is read or hashed again. What a lost connection left is let go when
///   another transfer begins, after a [time](Server::remember), and with the server.
/// - **Processes that come anew** take over from their own half-dead sessions in the same way: of two processes that send the
///   same transfer, the one that began last goes on. What has come by then of the other one is read to its end, for
///   2 s at most. Its files are closed, and found again by their content; it keeps the place.
/// - **What was left** by sessions that are over, with files to be closed and commits that have not ended, may be as many sessions
///   as there are places. Beyond that, senders that begin wait, and after 15 s get the answer that the server is busy.
/// - **The store** is cloned and called in the threads of sessions, and in the one that tidies up: a call that takes long keeps
///   no others waiting that do not need what it is about.
/// - **Panics** of a store, a stream or an observer end their session; the server goes on, and panics at its end.
#[derive(Debug)]
pub struct Server<A, S> {
    acceptor: A,
    store: S,
    config: Config,
    bounds: Bounds,
    once: bool,
    limit: Option<RateLimit>,
    remember: Duration,
    cancel: CancelToken,
    access: Access,
    clock: SharedClock,
}

impl<A, S> Server<A, S> {
    /// Creates a server that runs until it is cancelled, with everything at its default.
    pub fn new(acceptor: A, store: S) -> Self {
        Self {
            acceptor,
            store,
            config: Config::default(),
            bounds: Bounds { sessions: 8, waiting: 64, strangers: 64 },
            once: false,
            limit: None,
            remember: Retry::default().patience,
            cancel: CancelToken::new(),
            access: Access::default(),
            clock: SharedClock::default(),
        }
    }

    /// Sets the configuration of each session.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the most sessions at a time, at least 1. Default: 8, which is enough to keep the disk and two processors
    /// busy (`benches/senders.rs` measures it). Cost: a thread and the memory of a session for each, which the
    /// [limits](Config::limits) bound. Suspended sessions count among them.
    ///
    /// Descriptors are shared: a session that finds none free waits for one of its own files to be complete.
    #[must_use]
    pub fn sessions(mut self, sessions: usize) -> Self {
        self.bounds.sessions = sessions.max(1);
        self
    }

    /// Sets the most senders that wait for a place, each with its connection. Default: 64. Cost: a thread and a few KiB
    /// for each.
    #[must_use]
    pub fn waiting(mut self, waiting: usize) -> Self {
        self.bounds.waiting = waiting;
        self
    }

    /// Sets the most connections on which nothing was offered, at least 1. Default: 64. Cost: up to two threads and
    /// 128 KiB for each, as those that have to go are still there until their streams return.
    ///
    /// With more of them, a sender is noticed sooner while strangers flood the acceptor: as many as this are dealt with
    /// in each tick of their streams, or in 0.1 s, whichever is longer.
    #[must_use]
    pub fn strangers(mut self, strangers: usize) -> Self {
        self.bounds.strangers = strangers.max(1);
        self
    }

    /// Ends after the first transfer of which this side has dealt with at least one entry: it was delivered, was there
    /// already, was skipped or refused. One that offers nothing does not count.
    ///
    /// Nor does a connection that is lost before its end: its sender will come again. Where all that was offered is settled by
    /// then, and nothing but the goodbye may be missing, it is waited for no longer than the server
    /// [remembers](Server::remember): after that, the transfer counts, and its sum records that it
    /// [lacks the goodbye](Summary::lacks_goodbye).
    #[must_use]
    pub fn run_once(mut self) -> Self {
        self.once = true;
        self
    }

    /// Sets the most bytes that may pass in a second, over all sessions together. Default: no limit. There are no more
    /// sessions at a time than get [`RateLimit::MIN`] each.
    #[must_use]
    pub fn limit_rate(mut self, limit: RateLimit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets how long a suspended session is kept in memory, with its files open, for its sender to come again. Default:
    /// 60 s, for which senders try by default. After that, a sender that comes again finds what was written, but it is
    /// read and hashed again. The time is looked at whenever the acceptor returns.
    #[must_use]
    pub fn remember(mut self, time: Duration) -> Self {
        self.remember = time;
        self
    }

    /// Sets who may send. Default: anybody. A sender that is not admitted is informed, holds no place, and nothing of
    /// the store is looked at for it. Where [channels](Acceptor::channel) know their ends, a transfer is that of the
    /// key that it came with, for as long as anything of it is remembered: another key can neither go on with it nor
    /// end it.
    #[must_use]
    pub fn admit(mut self, admit: impl Admit + 'static) -> Self {
        self.access.admit = Some(Arc::new(admit));
        self
    }

    /// Sets another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + Send + Sync + 'static) -> Self {
        self.clock = SharedClock::new(clock);
        self
    }

    /// Sets the token that stops the server, and all of its sessions. Their senders learn that it goes away, and come
    /// again for as long as they have patience; see [`CancelToken::leave`].
    #[must_use]
    pub fn cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = cancel;
        self
    }
}

impl<A, S> Server<A, S>
where
    A: Acceptor,
    A::Stream: Send,
    S: Store + Clone + Send,
    S::File: Send,
{
    /// Serves. `observe` makes an observer for each session, once its sender offers something or it ends; the observer is told
    /// of its end too. It is called in the thread of the session. An observer may not borrow the [`Peer`] that it is given:
    /// clone what it shows. Strangers that had to go for others are not reported, and the other strangers are
    /// [counted](Observer::unheard) beyond a few.
    ///
    /// `Ok` gives the sum of the transfer that ended a server that serves [one transfer](Server::run_once).
    ///
    /// # Errors
    ///
    /// - [`SessionError::Cancelled`](crate::SessionError::Cancelled), when it was told to stop: the good end of a server
    ///   that is to run until then.
    /// - [`Error::Transport`], when accepting fails for good; failures that concern one sender, or that pass, do not
    ///   end a server.
    /// - [`Error::Local`], when no thread can be started, for 10 s, and there is none.
    pub fn run<O: Observer + Send>(
        mut self,
        observe: impl FnMut(SessionId, &Peer) -> O + Send,
    ) -> Result<Summary, Error> {
        if let Some(limit) = &self.limit {
            let most = limit.bytes_per_second() / RateLimit::MIN;
            let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
            self.bounds.sessions = self.bounds.sessions.min(most);
            limit.fit(&mut self.config, self.bounds.sessions as u64);
        }
        let waker = if self.once { self.acceptor.waker() } else { None };
        let shared = Shared::new(self.bounds, self.store.clone()).waking(waker);
        let strangers = Strangers::default();
        let observe = Mutex::new(Observing { make: observe, strangers });
        let (result, panicked) = thread::scope(|scope| {
            // Also where the acceptor panics: no thread waits for another one that is no more.
            let done = Done(&shared);
            let tidying = thread::Builder::new().name("haul-tidy".to_owned());
            if let Err(source) = tidying.spawn_scoped(scope, || shared.tidy()) {
                return (Err(Error::Local { operation: Operation::Spawn, source }), None);
            }
            let mut threads = Threads::default();
            let result = self.serve_all(scope, &mut threads, &shared, &observe);
            shared.leave_all();
            threads.join_all();
            drop(done);
            (result, threads.panicked)
        });
        match panicked.or_else(|| shared.take_panic()) {
            Some(panic) => panic::resume_unwind(panic),
            None => result,
        }
    }

    fn serve_all<'s, O: Observer + Send + 's, F: FnMut(SessionId, &Peer) -> O + Send>(
        &mut self,
        scope: &'s thread::Scope<'s, '_>,
        threads: &mut Threads<'s>,
        shared: &'s Shared<S>,
        observe: &'s Mutex<Observing<F>>,
    ) -> Result<Summary, Error>
    where
        Self: 's,
    {
        let mut next = 0;
        let mut shortages = 0;
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            shared.expire(self.clock.now(), self.remember);
            threads.join(shared.take_gone());
            match shared.wait_for_room(self.once) {
                Room::Done(summary) => return Ok(summary),
                Room::None => continue,
                Room::Some => {}
            }
            let lacking = match self.acceptor.accept() {
                Ok((stream, peer)) => {
                    let id = SessionId(next);
                    next += 1;
                    let cancel = CancelToken::new();
                    shared.enter(id, &cancel);
                    let observer = Late::new(id, peer, cancel.clone(), observe, self.clock.clone());
                    let mut transfer =
                        Transfer::new(self.config.clone()).cancel(cancel).observer(observer);
                    transfer.clock = self.clock.clone();
                    transfer.limit.clone_from(&self.limit);
                    transfer.access = self.access.clone();
                    transfer.access.channel = self.acceptor.channel(&stream);
                    let run = move || serve(transfer, stream, id, shared);
                    let thread = thread::Builder::new().name(format!("haul-session-{id}"));
                    match thread.spawn_scoped(scope, run) {
                        Ok(thread) => {
                            threads.running.insert(id, thread);
                            shortages = 0;
                            continue;
                        }
                        Err(source) => {
                            // The stream is gone with the closure: that sender will come again.
                            shared.leave(id, None, None, self.clock.now());
                            shared.close_connection(id);
                            Error::Local { operation: Operation::Spawn, source }
                        }
                    }
                }
                Err(error) if is_passing(&error) => continue,
                Err(source) => {
                    let is_shortage = is_shortage(&source);
                    let error = Error::Transport { operation: Operation::Accept, source };
                    if !is_shortage {
                        return Err(error);
                    }
                    error
                }
            };
            if shared.make_do() {
                shortages = 0;
            } else if shortages >= SHORTAGES {
                return Err(lacking);
            } else {
                shortages += 1;
                self.clock.sleep(PAUSE);
            }
        }
    }
}

/// Guard that tells all threads that the server is done, when it is dropped.
struct Done<'s, S: Store>(&'s Shared<S>);

impl<S: Store> Drop for Done<'_, S> {
    fn drop(&mut self) {
        self.0.leave_all();
        self.0.close();
    }
}

/// The threads of the connections.
#[derive(Default)]
struct Threads<'s> {
    running: HashMap<SessionId, thread::ScopedJoinHandle<'s, ()>>,
    /// The first panic of one, for whoever runs the server.
    panicked: Option<Box<dyn std::any::Any + Send>>,
}

impl Threads<'_> {
    /// Waits for threads that have nothing more to do, so that there are no more of them than connections.
    fn join(&mut self, gone: Vec<SessionId>) {
        for thread in gone.iter().filter_map(|id| self.running.remove(id)) {
            if let Err(panic) = thread.join() {
                self.panicked.get_or_insert(panic);
            }
        }
    }

    fn join_all(&mut self) {
        let all = self.running.keys().copied().collect();
        self.join(all);
    }
}

/// Number of times in a row that something may be lacking while there is no connection, a pause apart: for
/// 10 s.
const SHORTAGES: u32 = 100;
