//! What the sessions of a server know of one another: who serves which transfer, and what lost connections left.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cancel::Cancel;
use super::receiving::{Heard, Parked, Pulse};
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
    /// The first session that ended well.
    done: Option<Summary>,
}

/// A session that has a thread.
struct Active {
    cancel: Cancel,
    pulse: Pulse,
    /// It is not only told that there is no room.
    is_served: bool,
    /// It waits, or waited once, for others to let go of what it wants.
    looks: Looks,
    /// Which one waited for it to let go: what it leaves must not stay open as long as that one is served.
    in_the_way_of: Option<SessionId>,
}

/// Whether a session looks after the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looks {
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
    fn let_go(self) {
        let Self { mut store, parked, .. } = self;
        parked.suspend(&mut store);
    }
}

impl<S: Store> Shared<S> {
    pub(super) fn new() -> Self {
        let (active, transfers, lots) = (HashMap::new(), HashMap::new(), HashMap::new());
        let board = Board { active, transfers, lots, letting_go: 0, done: None };
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
        let (cancel, pulse, looks) = (cancel.clone(), pulse.clone(), Looks::NotYet);
        let session = Active { cancel, pulse, is_served, looks, in_the_way_of: None };
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
        for _ in 0..EVICTION_TICKS {
            if board.evict(transfer, attempt, now)? == 0 {
                break;
            }
            board = self.wait(board);
        }
        board.transfers.insert(transfer, (attempt, id));
        let own = board.lots.remove(&transfer);
        let others = if own.is_none() { board.take_lots(|_| true) } else { Vec::new() };
        Some(Handover { own, others })
    }

    /// For a session that finds a file in use which an earlier attempt may have left. Lots let go of theirs, and so do
    /// sessions whose sender is gone, which they know once they have read what it left behind: that is waited for, once
    /// in a session. Says whether anybody let go of anything.
    pub(super) fn make_way(&self, id: SessionId, cancel: &Cancel, now: Duration) -> bool {
        let mut board = self.lock();
        let lots = board.take_lots(|_| true);
        let mut is_free = board.letting_go > 0;
        drop(board);
        self.let_go(lots);
        board = self.lock();
        let before = board.look(id, now);
        for _ in 0..EVICTION_TICKS {
            let is_settled = before.iter().all(|(other, heard)| board.is_settled(*other, *heard));
            if (is_settled && board.letting_go == 0) || cancel.is_cancelled() {
                break;
            }
            board = self.wait(board);
        }
        if let Some(session) = board.active.get_mut(&id) {
            session.looks = Looks::Done;
        }
        is_free |= before.iter().any(|(other, _)| !board.active.contains_key(other));
        is_free
    }

    /// Keeps what is open for later attempts, of whatever transfer. Commits that are under way come to their end in the
    /// store.
    pub(super) fn let_go(&self, lots: Vec<Lot<S>>) {
        for lot in lots {
            lot.let_go();
            self.lock().letting_go -= 1;
            self.ended.notify_all();
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
        let lots = self.lock().take_lots(|lot| now.saturating_sub(lot.since) >= after);
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
    fn look(&mut self, id: SessionId, now: Duration) -> Vec<(SessionId, Heard)> {
        match self.active.get_mut(&id) {
            Some(session) if session.looks == Looks::NotYet => session.looks = Looks::Now,
            _ => return Vec::new(),
        }
        let mut others = Vec::new();
        for (_, other) in self.transfers.values().filter(|(_, other)| *other != id) {
            let Some(session) = self.active.get_mut(other) else { continue };
            session.in_the_way_of = Some(id);
            if session.pulse.is_silent(now) {
                session.cancel.forsake();
            }
            others.push((*other, session.pulse.heard()));
        }
        others
    }

    /// Whether a session has left, or has a sender that lives as far as can be known.
    fn is_settled(&self, id: SessionId, before: Heard) -> bool {
        self.active.get(&id).is_none_or(|session| {
            // Of two that wait for one another, none can hear anything.
            session.looks == Looks::Now || session.pulse.heard().is_of_one_that_lived(before)
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

/// How long a newer attempt waits for the older one to leave: half of what its sender waits for a greeting.
const EVICTION_TICKS: u32 = 50;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::config::Config;
    use crate::proto::{AbortCode, Receiver};
    use crate::store::MemoryStore;

    const SECOND: Duration = Duration::from_secs(1);

    /// A board with sessions that a test makes by number.
    struct Server {
        shared: Shared<MemoryStore>,
        sessions: usize,
    }

    struct Session {
        id: SessionId,
        cancel: Cancel,
        pulse: Pulse,
        is_served: bool,
    }

    fn id(transfer: u8) -> TransferId {
        TransferId::new([transfer; 16])
    }

    fn left() -> (MemoryStore, Parked<MemoryStore>) {
        let receiver = Receiver::new(Config::default(), [0; 16], Duration::ZERO);
        (MemoryStore::new(), Parked::new(receiver))
    }

    impl Server {
        fn new(sessions: usize) -> Self {
            Self { shared: Shared::new(), sessions }
        }

        fn enter(&self, number: u64) -> Session {
            let (id, cancel, pulse) = (SessionId(number), Cancel::new(), Pulse::default());
            let is_served = self.shared.enter(id, &cancel, &pulse, self.sessions);
            Session { id, cancel, pulse, is_served }
        }

        /// What came of it: whether it found a lot of its own, and how many others were in its way.
        fn take_over(
            &self,
            session: &Session,
            transfer: u8,
            attempt: u32,
        ) -> Option<(bool, usize)> {
            let handover =
                self.shared.take_over(session.id, id(transfer), attempt, 100 * SECOND)?;
            Some((handover.own.is_some(), handover.others.len()))
        }

        fn lose(&self, session: &Session, at: Duration) {
            self.shared.leave(session.id, None, Some(left()), at);
        }

        /// Sessions that serve a transfer, and lots.
        fn weight(&self) -> usize {
            let board = self.shared.lock();
            board.transfers.len() + board.lots.len()
        }
    }

    #[test]
    fn lost_session_leaves_its_lot_to_the_next_attempt_alone() {
        let server = Server::new(4);
        let (first, second, third) = (server.enter(0), server.enter(1), server.enter(2));
        assert_eq!(server.take_over(&first, 1, 5), Some((false, 0)));
        server.lose(&first, SECOND);
        assert_eq!(server.take_over(&second, 1, 5), None, "the same attempt again");
        assert_eq!(server.take_over(&second, 1, 4), None, "an older one wakes up");
        assert_eq!(server.take_over(&second, 1, 6), Some((true, 0)));
        server.lose(&second, SECOND);
        assert_eq!(
            server.take_over(&third, 2, 1),
            Some((false, 1)),
            "another transfer clears it away"
        );
    }

    #[test]
    fn session_that_ended_well_leaves_nothing() {
        let server = Server::new(4);
        let (first, second) = (server.enter(0), server.enter(1));
        server.take_over(&first, 1, 1);
        let summary = Some(Summary::default());
        server.shared.leave(first.id, summary, None, SECOND);
        assert_eq!(server.take_over(&second, 1, 2), Some((false, 0)));
        assert!(matches!(server.shared.wait_for_room(4, true), Room::Done(_)));
    }

    #[test]
    fn session_that_nobody_could_wait_for_leaves_nothing() {
        let server = Server::new(4);
        let (first, second) = (server.enter(0), server.enter(1));
        server.take_over(&first, 1, 1);
        server.shared.lock().transfers.insert(id(1), (2, second.id));
        server.lose(&first, SECOND);
        assert_eq!(server.weight(), 1, "the newer attempt alone");
        assert_eq!(server.shared.lock().letting_go, 0);
    }

    #[test]
    fn silence_of_two_heartbeats_evicts_for_a_new_transfer_and_for_no_old_one() {
        let now = 100 * SECOND;
        // How long each is silent; `None`: it does not wait for its sender.
        for (silence, is_evicted) in
            [(Some(9), false), (Some(10), false), (Some(11), true), (None, false)]
        {
            let server = Server::new(4);
            let (silent, known) = (server.enter(0), server.enter(1));
            server.take_over(&silent, 1, 1);
            server.take_over(&known, 2, 1);
            if let Some(seconds) = silence {
                silent.pulse.waits(now - seconds * SECOND);
                // Ticks in between change nothing.
                silent.pulse.waits(now);
            }
            server.shared.make_room(id(2), 2, now);
            let codes = (silent.cancel.code(), known.cancel.code());
            assert_eq!(codes, (None, Some(AbortCode::Superseded)));
            server.shared.make_room(id(3), 1, now);
            let code = is_evicted.then_some(AbortCode::Stalled);
            assert_eq!(silent.cancel.code(), code, "{silence:?}");
        }
    }

    #[test]
    fn lots_are_taken_out_once_their_time_has_come() {
        let server = Server::new(4);
        let sessions = [(server.enter(0), 10), (server.enter(1), 20)];
        sessions.iter().zip(0..).for_each(|((session, _), transfer)| {
            server.take_over(session, transfer, 1);
        });
        for (session, at) in &sessions {
            server.lose(session, *at * SECOND);
        }
        let rest = [69, 70, 79, 80].map(|now| {
            server.shared.expire(now * SECOND, 60 * SECOND);
            server.weight()
        });
        assert_eq!(rest, [2, 1, 1, 0]);
    }

    #[test]
    fn session_that_is_in_the_way_leaves_nothing_on_the_board_while_the_other_is_served() {
        for is_served_still in [true, false] {
            let server = Server::new(4);
            let (old, lost, new) = (server.enter(0), server.enter(1), server.enter(2));
            server.take_over(&old, 1, 1);
            server.take_over(&new, 2, 1);
            server.take_over(&lost, 3, 1);
            server.lose(&lost, SECOND);
            assert_eq!(server.weight(), 3);
            // Its sender lives: there is nothing to read, and no end of the stream.
            let ticks = old.pulse.clone();
            let (asked, told) = mpsc::channel::<()>();
            let is_free = thread::scope(|scope| {
                scope.spawn(move || {
                    while matches!(told.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                        ticks.hears_nothing();
                        thread::yield_now();
                    }
                });
                let is_free = server.shared.make_way(new.id, &new.cancel, SECOND);
                drop(asked);
                is_free
            });
            assert!(is_free, "by the lot alone");
            assert_eq!(server.weight(), 2, "what was left is let go at once");
            if !is_served_still {
                server.shared.leave(new.id, None, None, SECOND);
            }
            server.lose(&old, SECOND);
            assert_eq!(server.weight(), 1, "one of them is on the board");
            assert_eq!(server.shared.lock().lots.len(), usize::from(!is_served_still));
        }
    }

    #[test]
    fn session_that_is_waited_for_is_settled_once_it_left_or_its_sender_lives() {
        let server = Server::new(4);
        let (old, new) = (server.enter(0), server.enter(1));
        server.take_over(&old, 1, 1);
        server.take_over(&new, 2, 1);
        old.pulse.hears(1000);
        old.pulse.hears_nothing();
        let now = 100 * SECOND;
        let before = server.shared.lock().look(new.id, now);
        let [(other, heard)] = before[..] else { panic!("{before:?}") };
        assert_eq!(other, old.id);
        let is_settled = || server.shared.lock().is_settled(other, heard);
        assert!(!is_settled(), "nothing was heard since");
        old.pulse.hears(16 * 1024 * 1024 - 1);
        assert!(!is_settled(), "buffers may have held that");
        old.pulse.hears(1);
        assert!(is_settled());
        assert!(server.shared.lock().look(new.id, now).is_empty(), "once in a session");
        // Each waits for the other.
        let before = server.shared.lock().look(old.id, now);
        let [(other, heard)] = before[..] else { panic!("{before:?}") };
        assert!(server.shared.lock().is_settled(other, heard));
        server.lose(&new, now);
        assert!(server.shared.lock().is_settled(other, heard), "it left");
    }

    /// Every sequence of seven steps of three senders with two sessions: what is served and what is left are together
    /// no more than two.
    #[test]
    fn lots_and_sessions_are_never_more_than_may_be_served() {
        let steps = 6_usize;
        for plan in 0..steps.pow(7) {
            let server = Server::new(2);
            let mut serving: [Option<Session>; 3] = [None, None, None];
            let mut rest = plan;
            for number in 0..7_u8 {
                let (sender, is_loss) = (rest % steps / 2, rest % 2 == 1);
                rest /= steps;
                if is_loss {
                    if let Some(session) = serving[sender].take() {
                        server.lose(&session, SECOND);
                    }
                } else if serving[sender].is_none() {
                    let session = server.enter(number.into());
                    if session.is_served {
                        let transfer = u8::try_from(sender).unwrap();
                        server.take_over(&session, transfer, u32::from(number) + 1).unwrap();
                        serving[sender] = Some(session);
                    } else {
                        server.shared.leave(session.id, None, None, SECOND);
                    }
                }
                assert!(server.weight() <= 2, "plan {plan}, step {number}");
            }
        }
    }
}
