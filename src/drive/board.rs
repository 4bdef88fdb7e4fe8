//! What the sessions of a server know of one another: who serves which transfer, and what lost connections left.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cancel::Cancel;
use super::clock::{Clock, SystemClock};
use super::pulse::{Heard, Pulse};
use super::receiving::{Ending, Parked};
use super::server::SessionId;
use crate::proto::{Summary, TransferId};
use crate::store::Store;

/// What the threads of a server share.
pub(super) struct Shared<S: Store> {
    board: Mutex<Board<S>>,
    /// A session ended, or let go of what it left.
    ended: Condvar,
}

/// Invariant: transfers that are served and lots of lost connections are together no more than sessions that are served
/// at a time. A lot takes the place of the session that left it, a session that of the lot with which it goes on, and
/// a transfer without a lot of its own clears away all others.
struct Board<S: Store> {
    active: HashMap<SessionId, Active>,
    /// Which session serves a transfer, at which attempt.
    transfers: HashMap<TransferId, (u32, SessionId)>,
    lots: HashMap<TransferId, Lot<S>>,
    /// Lots that were taken off the board, whose files may still be open.
    letting_go: usize,
    /// What is left of lots that were let go while they had commits under way, until these have ended.
    endings: Vec<Ending<S>>,
    /// The first session that ended well.
    done: Option<Summary>,
}

/// A session that has a thread.
struct Active {
    cancel: Cancel,
    pulse: Pulse,
    /// It is not only told that there is no room.
    is_served: bool,
    waits: Waits,
    /// Which one waited for it to let go: what it leaves must not stay open as long as that one is served.
    in_the_way_of: Option<SessionId>,
}

/// Whether a session waits for others to let go of what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    NotYet,
    Now,
    Done,
}

/// What a session left that lost its connection, with the store in which its files are open.
pub(super) struct Lot<S: Store> {
    pub(super) store: S,
    pub(super) parked: Parked<S>,
    attempt: u32,
    /// When it was left.
    since: Duration,
}

pub(super) enum Room {
    /// For another session, or at least for telling a sender that there is none.
    Some,
    None,
    Done(Summary),
}

/// What a transfer gets that has just greeted.
pub(super) struct Handover<S: Store> {
    /// What an earlier connection of it left.
    pub(super) own: Option<Lot<S>>,
    /// What those of other transfers left, and is in its way.
    pub(super) others: Vec<Lot<S>>,
}

impl<S: Store> Lot<S> {
    fn let_go(self) -> Option<Ending<S>> {
        self.parked.suspend(self.store)
    }
}

/// One of [`Board::letting_go`], until it is dropped.
struct LettingGo<'s, S: Store>(&'s Shared<S>);

impl<S: Store> Drop for LettingGo<'_, S> {
    fn drop(&mut self) {
        self.0.lock().letting_go -= 1;
        self.0.ended.notify_all();
    }
}

impl<S: Store> Shared<S> {
    pub(super) fn new() -> Self {
        let board = Board {
            active: HashMap::new(),
            transfers: HashMap::new(),
            lots: HashMap::new(),
            letting_go: 0,
            endings: Vec::new(),
            done: None,
        };
        Self { board: Mutex::new(board), ended: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Board<S>> {
        // A session that panicked left the board whole: each change of it is made under one lock.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait_for_room(&self, sessions: usize, once: bool) -> Room {
        let board = self.lock();
        if let (true, Some(summary)) = (once, board.done) {
            return Room::Done(summary);
        }
        if board.active.len() < sessions.saturating_mul(2) {
            return Room::Some;
        }
        drop(self.wait(board));
        Room::None
    }

    /// Puts a session on the board; `false` if it can only be turned away.
    pub(super) fn enter(
        &self,
        id: SessionId,
        cancel: &Cancel,
        pulse: &Pulse,
        sessions: usize,
    ) -> bool {
        let mut board = self.lock();
        let served = board.active.values().filter(|session| session.is_served).count();
        let is_served = served < sessions;
        if !is_served {
            cancel.turn_away();
        }
        let (cancel, pulse, waits) = (cancel.clone(), pulse.clone(), Waits::NotYet);
        let session = Active { cancel, pulse, is_served, waits, in_the_way_of: None };
        board.active.insert(id, session);
        is_served
    }

    /// Makes this session the one that serves a transfer, once those have left that it replaces. `None`: a newer attempt
    /// has been here.
    pub(super) fn take_over(
        &self,
        id: SessionId,
        transfer: TransferId,
        attempt: u32,
        now: Duration,
    ) -> Option<Handover<S>> {
        let mut board = self.lock();
        let waiting = SystemClock::new();
        while board.evict(transfer, attempt, now)? > 0 && waiting.now() < EVICTION {
            board = self.wait(board);
        }
        board.transfers.insert(transfer, (attempt, id));
        let own = board.lots.remove(&transfer);
        let others = if own.is_none() { board.take_lots(|_| true) } else { Vec::new() };
        Some(Handover { own, others })
    }

    /// For a session that finds a file in use which an earlier attempt may have left. Lots let go of theirs, and so do
    /// commits that end, and sessions whose sender is gone, which they know once they have read what it left behind: that
    /// is waited for, once in a session.
    pub(super) fn make_way(&self, id: SessionId, cancel: &Cancel, now: Duration) {
        let lots = self.lock().take_lots(|_| true);
        self.let_go(lots);
        let mut board = self.lock();
        let Some(before) = board.look(id, now) else { return };
        let waiting = SystemClock::new();
        while waiting.now() < EVICTION && !cancel.is_cancelled() {
            let is_settled = before.iter().all(|(other, heard)| board.is_settled(*other, *heard));
            if is_settled && board.letting_go == 0 && board.are_commits_over() {
                break;
            }
            board = self.wait(board);
        }
        if let Some(session) = board.active.get_mut(&id) {
            session.waits = Waits::Done;
        }
    }

    /// Keeps what is open for later attempts, of whatever transfer. Commits that are under way come to their end.
    pub(super) fn let_go(&self, lots: Vec<Lot<S>>) {
        // All are counted before the first is dropped: a store that panics leaves none that is waited for.
        let lots: Vec<_> = lots.into_iter().map(|lot| (lot, LettingGo(self))).collect();
        for (lot, counted) in lots {
            let ending = lot.let_go();
            self.lock().endings.extend(ending);
            drop(counted);
        }
    }

    /// Until a session has ended, at most for a pause.
    fn wait<'b>(&self, board: MutexGuard<'b, Board<S>>) -> MutexGuard<'b, Board<S>> {
        self.ended.wait_timeout(board, PAUSE).unwrap_or_else(PoisonError::into_inner).0
    }

    /// For a session that is turned away: those leave that would be replaced, so that there is room when it comes again.
    pub(super) fn make_room(&self, transfer: TransferId, attempt: u32, now: Duration) {
        let _ = self.lock().evict(transfer, attempt, now);
    }

    /// Takes a session off the board, where what it left stays for the next attempt at its transfer.
    pub(super) fn leave(
        &self,
        id: SessionId,
        done: Option<Summary>,
        left: Option<(S, Parked<S>)>,
        now: Duration,
    ) {
        let mut board = self.lock();
        let session = board.active.remove(&id);
        board.done = board.done.or(done);
        let served = board.transfers.extract_if(|_, (_, session)| *session == id).next();
        let mut lots = Vec::new();
        if let Some((store, parked)) = left {
            let attempt = served.map_or(0, |(_, (attempt, _))| attempt);
            let lot = Lot { store, parked, attempt, since: now };
            let waiting = session.and_then(|session| session.in_the_way_of);
            let is_waited_for = waiting.is_some_and(|id| board.active.contains_key(&id));
            match served {
                Some((transfer, _)) if !is_waited_for => drop(board.lots.insert(transfer, lot)),
                // Another transfer needs it, or a newer attempt could not wait.
                _ => lots = board.hand_out(vec![lot]),
            }
        }
        drop(board);
        self.let_go(lots);
        self.ended.notify_all();
    }

    /// Lets go of what was left that long ago.
    pub(super) fn expire(&self, now: Duration, after: Duration) {
        let mut board = self.lock();
        board.are_commits_over();
        let lots = board.take_lots(|lot| now.saturating_sub(lot.since) >= after);
        drop(board);
        self.let_go(lots);
    }

    /// Tells all sessions that the server goes away.
    pub(super) fn leave_all(&self) {
        self.lock().active.values().for_each(|session| session.cancel.leave());
    }

    /// Lets go of all that lost connections left.
    pub(super) fn close(&self) {
        let lots = self.lock().take_lots(|_| true);
        self.let_go(lots);
    }
}

impl<S: Store> Board<S> {
    /// Takes lots off the board, for [`Shared::let_go`].
    fn take_lots(&mut self, which: impl Fn(&Lot<S>) -> bool) -> Vec<Lot<S>> {
        let lots = self.lots.extract_if(|_, lot| which(lot)).map(|(_, lot)| lot).collect();
        self.hand_out(lots)
    }

    fn hand_out(&mut self, lots: Vec<Lot<S>>) -> Vec<Lot<S>> {
        self.letting_go += lots.len();
        lots
    }

    /// The other sessions that serve a transfer, and what each has heard up to now. They are in the way of this one.
    /// `None`: it has waited for others before.
    fn look(&mut self, id: SessionId, now: Duration) -> Option<Vec<(SessionId, Heard)>> {
        let session = self.active.get_mut(&id)?;
        if session.waits != Waits::NotYet {
            return None;
        }
        session.waits = Waits::Now;
        let mut others = Vec::new();
        for (_, other) in self.transfers.values().filter(|(_, other)| *other != id) {
            let Some(session) = self.active.get_mut(other) else { continue };
            session.in_the_way_of = Some(id);
            if session.pulse.is_silent(now) {
                session.cancel.forsake();
            }
            others.push((*other, session.pulse.heard()));
        }
        Some(others)
    }

    /// Whether all commits have ended of those lots that were let go.
    fn are_commits_over(&mut self) -> bool {
        self.endings.retain_mut(|ending| !ending.is_over());
        self.endings.is_empty()
    }

    /// Whether a session has left, or has a sender that lives as far as can be known.
    fn is_settled(&self, id: SessionId, before: Heard) -> bool {
        self.active.get(&id).is_none_or(|session| {
            // Of two that wait for one another, none can hear anything. One that is told to leave does so at a tick, which
            // says nothing more.
            let lives = session.pulse.heard().is_of_one_that_lived(before);
            session.waits == Waits::Now || (lives && !session.cancel.is_cancelled())
        })
    }

    /// Tells sessions to leave that this attempt replaces, and says how many there are; `None` if it is itself
    /// replaced.
    fn evict(&self, transfer: TransferId, attempt: u32, now: Duration) -> Option<usize> {
        let lot = self.lots.get(&transfer).map(|lot| lot.attempt);
        let older = self.transfers.get(&transfer);
        if lot.is_some_and(|newer| newer >= attempt)
            || older.is_some_and(|(newer, _)| *newer >= attempt)
        {
            return None;
        }
        let is_new = lot.is_none() && older.is_none();
        let mut count = 0;
        for (served, (_, id)) in &self.transfers {
            let Some(session) = self.active.get(id) else { continue };
            if *served == transfer {
                session.cancel.supersede();
            } else if is_new && session.pulse.is_silent(now) {
                session.cancel.forsake();
            } else {
                continue;
            }
            count += 1;
        }
        Some(count)
    }
}

/// How long to wait before something is looked at again.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// How long a session waits for others to leave, whatever the clock of the transfers: half of what a sender waits for a
/// greeting.
const EVICTION: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
