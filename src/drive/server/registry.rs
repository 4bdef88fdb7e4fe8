//! State that the sessions of a server know of one another: who has a place, who serves which transfer, and the
//! suspended sessions.

mod leaving;
mod places;
mod tidy;

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use self::leaving::Leaving;
use self::places::Places;
use super::super::admit::Greeting;
use super::super::cancel::CancelToken;
use super::super::clock::SharedClock;
use super::super::suspended::Suspended;
use super::id::SessionId;
use crate::proto::Receiver;
use crate::store::Store;
use crate::transport::Waker;
use crate::types::{PublicKey, Summary, TransferId};

pub(super) use self::leaving::SuspendedSession;
pub(super) use self::places::{Admission, Bounds};

/// State that the threads of a server share.
pub(super) struct Shared<S: Store> {
    registry: Mutex<Registry<S>>,
    /// Store that each session clones.
    store: Mutex<S>,
    /// A session ended, or let go of what it left.
    ended: Condvar,
    /// Notice that there is something for the thread that tidies up.
    work: Condvar,
    /// Ends the acceptor's call once the server is done.
    waker: Option<Waker>,
    /// Clock by which connections wait for one another, whatever the clock of the transfers.
    clock: SharedClock,
}

/// Invariant: sessions that hold a place and suspended ones are together no more than there are places. A suspended one
/// takes the place of the session that left it, a session that of the one with which it goes on, and a transfer without
/// one of its own clears away all others when it takes its place.
struct Registry<S: Store> {
    places: Places,
    active: HashMap<SessionId, Active>,
    /// Session that serves a transfer, and its attempt.
    transfers: HashMap<TransferId, (u32, SessionId)>,
    suspended: HashMap<TransferId, SuspendedSession<S>>,
    /// Sessions that are neither any more, until their files are closed and their commits have ended. While there are
    /// as many of them as places, nobody gets one who begins: a sender that comes and goes cannot make a device that is
    /// slow fall behind without bound.
    leaving: Leaving<S>,
    /// The first transfer that ended well, and moved or confirmed something.
    done: Option<Summary>,
    /// Transfers of which all was settled when their connections were lost, and when that was: nothing but the goodbye
    /// may be missing. At most [`UNSURE`].
    unsure: HashMap<TransferId, (Summary, Duration)>,
    /// Connections whose threads have nothing more to do.
    gone: Vec<SessionId>,
}

/// A session that has a thread.
struct Active {
    cancel: CancelToken,
    /// The key of the sender whose transfer it serves.
    key: Option<PublicKey>,
    /// Set if it gives up its place for one that waits.
    yields: bool,
}

pub(super) enum Room {
    /// Room for another connection.
    Some,
    None,
    Done(Summary),
}

/// Treatment of a transfer that has just greeted.
pub(super) enum Greeted<S: Store> {
    /// A newer attempt has been here, or the session was told to leave.
    Superseded,
    /// The transfer goes on with what an earlier connection of its process left, and has its place.
    GoesOn { attempt: u32, session: Box<SuspendedSession<S>> },
    /// The transfer is that of another key: nothing was done.
    OfAnother,
    /// The transfer needs a place, unless its sender claims it from a session that had one.
    Begins { attempt: u32 },
}

impl<S: Store> Shared<S> {
    pub(super) fn new(bounds: Bounds, store: S) -> Self {
        Self::with_clock(bounds, store, SharedClock::default())
    }

    /// Creates the state by another clock, for tests.
    fn with_clock(bounds: Bounds, store: S, clock: SharedClock) -> Self {
        let registry = Registry {
            places: Places::new(bounds),
            active: HashMap::new(),
            transfers: HashMap::new(),
            suspended: HashMap::new(),
            leaving: Leaving::new(),
            done: None,
            unsure: HashMap::new(),
            gone: Vec::new(),
        };
        let (registry, store) = (Mutex::new(registry), Mutex::new(store));
        Self { registry, store, ended: Condvar::new(), work: Condvar::new(), waker: None, clock }
    }

    /// Calls this when the first transfer is done that counts.
    pub(super) fn waking(self, waker: Option<Waker>) -> Self {
        Self { waker, ..self }
    }

    /// Makes the store of a session, in the thread of the session.
    pub(super) fn clone_store(&self) -> S
    where
        S: Clone,
    {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> MutexGuard<'_, Registry<S>> {
        // A session that panicked left the registry whole: each change of it is made under one lock.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether another connection may be accepted; if not, waits a moment.
    pub(super) fn wait_for_room(&self, once: bool) -> Room {
        let registry = self.lock();
        if let (true, Some(summary)) = (once, registry.done) {
            return Room::Done(summary);
        }
        if registry.places.has_room(self.clock.now()) {
            return Room::Some;
        }
        drop(self.wait(registry, PAUSE));
        Room::None
    }

    /// Takes in a connection, for which the oldest stranger has to go if there are too many.
    pub(super) fn enter(&self, id: SessionId, cancel: &CancelToken) {
        let mut registry = self.lock();
        registry.active.insert(id, Active { cancel: cancel.clone(), key: None, yields: false });
        for stranger in registry.places.enter(id, self.clock.now()) {
            registry.send_away(stranger);
        }
    }

    /// Lets go of what it can, for a system that lacks something. `false` if no connection is left by whose end that
    /// would come back; else waits a moment.
    pub(super) fn make_do(&self) -> bool {
        let suspended = self.lock().take_suspended(|_| true);
        self.hand_over(suspended);
        let mut registry = self.lock();
        if let Some(stranger) = registry.places.send_away_a_stranger(self.clock.now()) {
            registry.send_away(stranger);
        }
        let may_pass = !registry.places.is_empty() || registry.leaving.len() > 0;
        if may_pass {
            drop(self.wait(registry, PAUSE));
        }
        may_pass
    }

    /// Returns whether a sender that has greeted may go on; if not, waits for at most so long until
    /// it may.
    pub(super) fn admit(&self, id: SessionId, wait: Duration) -> Admission {
        let start = self.clock.now();
        let mut registry = self.lock();
        loop {
            let now = self.clock.now();
            registry.hold_up();
            if let Some(oldest) = registry.places.displace(id, now)
                && let Some(session) = registry.active.get(&oldest)
            {
                session.cancel.turn_away();
            }
            let admission = registry.places.admit(id, now);
            let rest = wait.saturating_sub(now.saturating_sub(start));
            if admission != Admission::NotYet || rest.is_zero() {
                return admission;
            }
            registry = self.wait(registry, rest.min(PAUSE));
        }
    }

    /// Gives a session the place that it needs from now on, and lets go of what lost connections left; `false` if there
    /// is none for too long, or it is told to leave.
    pub(super) fn seat(&self, id: SessionId, cancel: &CancelToken) -> bool {
        let start = self.clock.now();
        let mut registry = self.lock();
        if registry.places.is_seated(id) {
            // It goes on with what it left.
            return true;
        }
        loop {
            registry.hold_up();
            if registry.places.seat(id, self.clock.now()) {
                break;
            }
            let waited = self.clock.now().saturating_sub(start);
            if waited >= LATE || cancel.is_cancelled() {
                return false;
            }
            registry = self.wait(registry, PAUSE);
        }
        let suspended = registry.take_suspended(|_| true);
        drop(registry);
        self.close_all(suspended);
        true
    }

    /// Returns whether a session is to give up its place, as it does not need it and another one does: no more do so
    /// than wait.
    pub(super) fn yields(&self, id: SessionId) -> bool {
        let mut registry = self.lock();
        let yielding = registry.active.values().filter(|session| session.yields).count();
        let is_wanted = registry.places.is_seated(id) && registry.places.waiting() > yielding;
        let session = registry.active.get_mut(&id).filter(|_| is_wanted);
        session.map(|session| session.yields = true).is_some()
    }

    /// Makes this session the one that serves a transfer, once those have left that it replaces. `attempt`: that of its sender;
    /// `None`: it claims the next one.
    pub(super) fn take_over(
        &self,
        id: SessionId,
        greeting: &Greeting,
        attempt: Option<u32>,
    ) -> Greeted<S> {
        let transfer = greeting.transfer();
        let start = self.clock.now();
        let mut registry = self.lock();
        if registry.is_of_another(greeting) {
            return Greeted::OfAnother;
        }
        registry.places.greet(id);
        let mut number = 0;
        loop {
            if registry.places.is_leaving(id) {
                // What there is stays for a connection that can use it.
                return Greeted::Superseded;
            }
            // Meanwhile others may have claimed it, too.
            let Some((next, leaving)) = registry.evict(transfer, attempt) else {
                return Greeted::Superseded;
            };
            // Of one that left since, and had no place, nothing tells any more.
            number = next.max(number);
            if leaving == 0 || self.clock.now().saturating_sub(start) >= EVICTION {
                break;
            }
            registry = self.wait(registry, PAUSE);
        }
        registry.transfers.insert(transfer, (number, id));
        if let Some(session) = registry.active.get_mut(&id) {
            session.key = greeting.key();
        }
        registry.unsure.remove(&transfer);
        if registry.suspended.contains_key(&transfer)
            && registry.places.seat_again(id, self.clock.now())
            && let Some(session) = registry.suspended.remove(&transfer)
        {
            if attempt.is_some() {
                return Greeted::GoesOn { attempt: number, session: Box::new(session) };
            }
            // Another process begins anew, with what that one had open: it is closed before the sender gets an answer.
            let suspended = registry.hand_out(vec![session]);
            drop(registry);
            self.close_all(suspended);
        }
        Greeted::Begins { attempt: number }
    }

    /// Waits until something has changed, at most for so long.
    fn wait<'b>(
        &self,
        registry: MutexGuard<'b, Registry<S>>,
        most: Duration,
    ) -> MutexGuard<'b, Registry<S>> {
        self.ended.wait_timeout(registry, most).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes a session out of the registry, where what it left stays for the next attempt at its transfer. Its
    /// connection [counts](Shared::close_connection) until it is closed.
    pub(super) fn leave(
        &self,
        id: SessionId,
        done: Option<Summary>,
        left: Option<(S, Suspended<S>)>,
        now: Duration,
    ) {
        let mut registry = self.lock();
        registry.active.remove(&id);
        let was_seated = registry.places.is_seated(id);
        registry.places.leave(id);
        registry.done = registry.done.or(done.filter(counts));
        let served = registry.transfers.extract_if(|_, (_, session)| *session == id).next();
        let mut replaced = Vec::new();
        if let Some((store, suspended)) = left {
            let attempt = served.map_or(0, |(_, (attempt, _))| attempt);
            if let (Some((transfer, _)), Some(summary)) =
                (served, suspended.settled().filter(counts))
            {
                registry.is_unsure(transfer, summary, now);
            }
            let session = SuspendedSession { store, suspended, attempt, since: now };
            match served {
                Some((transfer, _)) if was_seated => {
                    let earlier = registry.suspended.insert(transfer, session);
                    replaced = registry.hand_out(earlier.into_iter().collect());
                }
                // It had no place, or a newer attempt could not wait.
                _ => replaced = registry.hand_out(vec![session]),
            }
        }
        let is_done = registry.done.is_some();
        drop(registry);
        self.close_all(replaced);
        self.ended.notify_all();
        if let (true, Some(wake)) = (is_done, &self.waker) {
            wake();
        }
    }

    /// Takes note that the stream of a connection is closed, and its thread ends.
    pub(super) fn close_connection(&self, id: SessionId) {
        let mut registry = self.lock();
        registry.places.remove(id);
        registry.gone.push(id);
        drop(registry);
        self.ended.notify_all();
    }

    /// Takes those whose threads have nothing more to do.
    pub(super) fn take_gone(&self) -> Vec<SessionId> {
        std::mem::take(&mut self.lock().gone)
    }

    /// Lets go of what was left that long ago. A sender that could still come again to say goodbye is not waited for
    /// any longer.
    pub(super) fn expire(&self, now: Duration, after: Duration) {
        let is_over = |since: Duration| now.saturating_sub(since) >= after;
        let mut registry = self.lock();
        let settled = registry.unsure.extract_if(|_, (_, since)| is_over(*since));
        let first = settled.map(|(_, it)| it).min_by_key(|(_, since)| *since);
        registry.done = registry.done.or(first.map(|(summary, _)| summary));
        let suspended = registry.take_suspended(|session| is_over(session.since));
        drop(registry);
        self.hand_over(suspended);
    }

    /// Tells all sessions that the server goes away. To those that have not greeted there is nothing to report.
    pub(super) fn leave_all(&self) {
        let registry = self.lock();
        for (id, session) in &registry.active {
            if registry.places.is_stranger(*id) {
                session.cancel.forsake();
            } else {
                session.cancel.leave();
            }
        }
    }
}

impl<S: Store> Registry<S> {
    /// Returns whether a transfer of this id is served, or suspended, that came with another key.
    fn is_of_another(&self, greeting: &Greeting) -> bool {
        let is_left = |session: &SuspendedSession<S>| session.suspended.key != greeting.key();
        let serving = self.transfers.get(&greeting.transfer());
        let serving = serving.and_then(|(_, session)| self.active.get(session));
        serving.is_some_and(|session| session.key != greeting.key())
            || self.suspended.get(&greeting.transfer()).is_some_and(is_left)
    }

    /// Tells a connection to end that has lost its place among the strangers.
    fn send_away(&self, id: SessionId) {
        if let Some(session) = self.active.get(&id) {
            session.cancel.forsake();
        }
    }

    /// Informs the places whether anybody may begin.
    fn hold_up(&mut self) {
        self.places.hold_up(self.leaving.len());
    }

    /// Keeps in mind a transfer whose goodbye may be missing. Of too many, the one that has been waited for longest
    /// counts at once.
    fn is_unsure(&mut self, transfer: TransferId, summary: Summary, now: Duration) {
        let summary = Summary { lacks_goodbye: true, ..summary };
        self.unsure.insert(transfer, (summary, now));
        if self.unsure.len() > UNSURE
            && let Some(oldest) = self.unsure.iter().min_by_key(|(_, (_, since))| *since)
        {
            let oldest = *oldest.0;
            let summary = self.unsure.remove(&oldest).map(|(summary, _)| summary);
            self.done = self.done.or(summary);
        }
    }

    /// Takes suspended sessions out of the registry, to be let go of.
    fn take_suspended(
        &mut self,
        which: impl Fn(&SuspendedSession<S>) -> bool,
    ) -> Vec<SuspendedSession<S>> {
        let suspended = self
            .suspended
            .extract_if(|_, session| which(session))
            .map(|(_, session)| session)
            .collect();
        self.hand_out(suspended)
    }

    fn hand_out(&mut self, suspended: Vec<SuspendedSession<S>>) -> Vec<SuspendedSession<S>> {
        self.leaving.open += suspended.len();
        suspended
    }

    /// Tells sessions to leave that this attempt replaces, and gives its number and how many there are; `None` if it is itself
    /// replaced.
    fn evict(&self, transfer: TransferId, attempt: Option<u32>) -> Option<(u32, usize)> {
        let left = self.suspended.get(&transfer).map(|session| session.attempt);
        let known = left.max(self.transfers.get(&transfer).map(|(attempt, _)| *attempt));
        let number = attempt.unwrap_or_else(|| Receiver::next_claim(known));
        if attempt.is_some() && known.is_some_and(|known| known >= number) {
            return None;
        }
        let serving = self.transfers.get(&transfer).and_then(|(_, id)| self.active.get(id));
        serving.iter().for_each(|session| session.cancel.supersede());
        Some((number, serving.iter().len()))
    }
}

/// Returns whether a transfer is one with which a server that serves once is done: this side has dealt with at least
/// one entry.
const fn counts(summary: &Summary) -> bool {
    let Summary { delivered, trusted, skipped, refused, .. } = summary;
    *delivered > 0 || *trusted > 0 || *skipped > 0 || *refused > 0
}

/// Pause before something is looked at again.
pub(in crate::drive) const PAUSE: Duration = Duration::from_millis(100);

/// Longest wait of a session for others to leave, whatever the clock of the transfers: half of what a sender waits for
/// a greeting.
const EVICTION: Duration = Duration::from_secs(5);

/// Time that a sender is kept that was slow to offer something, while others hold the places: well under the time
/// after which it takes a receiver that reads nothing for dead.
const LATE: Duration = Duration::from_secs(15);

/// Number of transfers that are kept in mind of which nothing but the goodbye is missing: about 200 KiB of
/// them.
const UNSURE: usize = 1024;

#[cfg(test)]
mod flood;
#[cfg(test)]
mod odd;
#[cfg(test)]
mod tests;
