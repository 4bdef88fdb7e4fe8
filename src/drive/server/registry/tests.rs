use std::thread;

use super::*;
use crate::config::Config;
use crate::drive::Files;
use crate::proto::{ReceiveAction, Receiver, SendAction, Sender, Which};
use crate::store::MemoryStore;
use crate::types::{AbortCode, Meta, RelPath};

const SECOND: Duration = Duration::from_secs(1);

/// A registry with sessions that a test makes by number.
struct Server {
    shared: Shared<MemoryStore>,
}

struct Session {
    id: SessionId,
    cancel: CancelToken,
}

const fn bounds(sessions: usize, waiting: usize, strangers: usize) -> Bounds {
    Bounds { sessions, waiting, strangers }
}

fn id(transfer: u8) -> TransferId {
    TransferId::new([transfer; 16])
}

pub(super) fn greeting(transfer: TransferId, key: Option<u8>) -> Greeting {
    let channel = key.map(|key| ([key; 32], PublicKey::from_bytes([key; 32])));
    Greeting { channel, is_of_sender: true, transfer, proof: None }
}

fn receiver() -> Receiver {
    Receiver::new(Config::default(), [0; 16], Duration::ZERO)
}

fn left() -> (MemoryStore, Suspended<MemoryStore>) {
    (MemoryStore::new(), Suspended::new(receiver(), Files::new()))
}

impl Server {
    fn new(sessions: usize) -> Self {
        Self { shared: Shared::new(bounds(sessions, 4, 4), MemoryStore::new()) }
    }

    fn enter(&self, number: u64) -> Session {
        let (id, cancel) = (SessionId(number), CancelToken::new());
        self.shared.enter(id, &cancel);
        Session { id, cancel }
    }

    /// Returns whether it found a session of its own, or else whether it got a place by offering something;
    /// `None`: it is superseded. An `attempt` of 0 claims the next one.
    fn take_over(&self, session: &Session, transfer: u8, attempt: u32) -> Option<(bool, bool)> {
        match self.shared.take_over(
            session.id,
            &greeting(id(transfer), None),
            Some(attempt).filter(|attempt| *attempt > 0),
        ) {
            Greeted::Superseded | Greeted::OfAnother => None,
            Greeted::GoesOn { .. } => Some((true, true)),
            Greeted::Begins { .. } => Some((false, self.seat(session))),
        }
    }

    /// Admits it, if that is possible at once, and lets it offer something.
    fn seat(&self, session: &Session) -> bool {
        self.shared.admit(session.id, Duration::ZERO) == Admission::Yes
            && self.shared.seat(session.id, &session.cancel)
    }

    fn lose(&self, session: &Session, at: Duration) {
        self.shared.leave(session.id, None, Some(left()), at);
    }

    /// Returns the number of places that are taken, and of suspended sessions.
    fn weight(&self) -> usize {
        let registry = self.shared.lock();
        registry.places.taken(self.shared.clock.now()) + registry.suspended.len()
    }
}

#[test]
fn transfer_of_one_key_is_neither_evicted_nor_gone_on_with_by_another() {
    let server = Server::new(4);
    let by = |session: &Session, attempt, key| {
        server.shared.take_over(session.id, &greeting(id(1), key), attempt)
    };
    let (owner, thief) = (server.enter(0), server.enter(1));
    assert!(matches!(by(&owner, Some(1), Some(1)), Greeted::Begins { .. }) && server.seat(&owner));
    let thefts = [Some(2), None].map(|key| [(None, key), (Some(9), key)]).concat();
    for (attempt, key) in thefts.clone() {
        assert!(matches!(by(&thief, attempt, key), Greeted::OfAnother));
        assert!(!owner.cancel.is_cancelled() && server.shared.lock().places.is_stranger(thief.id));
    }
    let (store, mut suspended) = left();
    suspended.key = Some(PublicKey::from_bytes([1; 32]));
    server.shared.leave(owner.id, None, Some((store, suspended)), 100 * SECOND);
    for (attempt, key) in thefts {
        assert!(matches!(by(&thief, attempt, key), Greeted::OfAnother));
    }
    let again = server.enter(2);
    assert!(matches!(by(&again, Some(2), Some(1)), Greeted::GoesOn { .. }));
}

#[test]
fn lost_session_is_kept_for_its_next_attempt_alone() {
    let server = Server::new(4);
    let (first, second, third) = (server.enter(0), server.enter(1), server.enter(2));
    assert_eq!(server.take_over(&first, 1, 5), Some((false, true)));
    server.lose(&first, SECOND);
    assert_eq!(server.take_over(&second, 1, 5), None, "the same attempt again");
    assert_eq!(server.take_over(&second, 1, 4), None, "an older one wakes up");
    assert_eq!(server.take_over(&second, 1, 6), Some((true, true)));
    server.lose(&second, SECOND);
    assert_eq!(server.weight(), 1);
    assert_eq!(server.take_over(&third, 2, 1), Some((false, true)));
    assert_eq!(server.weight(), 1, "another transfer clears it away");
}

#[test]
fn process_that_claims_a_transfer_has_the_place_of_the_one_before_which_never_comes_back() {
    let server = Server::new(1);
    let [first, again, second, late, third] = [0, 1, 2, 3, 4].map(|number| server.enter(number));
    let number = |session: &Session, attempt| {
        let greeting = greeting(id(1), None);
        match server.shared.take_over(session.id, &greeting, attempt) {
            Greeted::Begins { attempt } => Some((attempt, false)),
            Greeted::GoesOn { attempt, .. } => Some((attempt, true)),
            Greeted::Superseded | Greeted::OfAnother => None,
        }
    };
    assert_eq!(number(&first, None), Some((1, false)));
    assert!(server.seat(&first));
    server.lose(&first, SECOND);
    assert_eq!(number(&again, Some(5)), Some((5, true)), "it was not heard four times");
    thread::scope(|scope| {
        let claiming = scope.spawn(|| number(&second, None));
        while again.cancel.code() != Some(AbortCode::Superseded) {
            thread::yield_now();
        }
        server.lose(&again, SECOND);
        assert_eq!(claiming.join().unwrap(), Some((5 + 65536, false)));
    });
    assert!(server.seat(&second), "it waits for nobody");
    assert_eq!(server.weight(), 1, "nothing is left of the one before");
    for attempt in [6, 7, 5 + 65536] {
        assert_eq!(number(&late, Some(attempt)), None, "{attempt}");
    }
    assert_eq!(second.cancel.code(), None);
    server.lose(&second, SECOND);
    assert_eq!(number(&late, Some(8)), None, "what it left is not for the one before");
    assert_eq!(number(&third, Some(6 + 65536)), Some((6 + 65536, true)));
}

#[test]
fn session_that_ended_well_leaves_nothing() {
    let server = Server::new(4);
    let (first, second) = (server.enter(0), server.enter(1));
    server.take_over(&first, 1, 1);
    let summary = Some(Summary::default());
    server.shared.leave(first.id, summary, None, SECOND);
    assert!(matches!(server.shared.wait_for_room(true), Room::Some), "it was empty");
    assert_eq!(server.take_over(&second, 1, 2), Some((false, true)));
    let summary = Summary { delivered: 1, ..Summary::default() };
    server.shared.leave(second.id, Some(summary), None, SECOND);
    assert!(matches!(server.shared.wait_for_room(true), Room::Done(_)));
}

#[test]
fn session_that_nobody_could_wait_for_leaves_nothing() {
    let server = Server::new(4);
    let (first, second) = (server.enter(0), server.enter(1));
    server.take_over(&first, 1, 1);
    server.shared.lock().transfers.insert(id(1), (2, second.id));
    server.lose(&first, SECOND);
    assert_eq!(server.weight(), 0, "its place is free, and nothing is kept");
    assert_eq!(server.shared.lock().leaving.len(), 0);
}

#[test]
fn suspended_sessions_are_taken_out_once_their_time_has_come() {
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

/// Every sequence of seven steps of three senders with two sessions: what is served and what is left are together
/// no more than two.
#[test]
fn suspended_sessions_and_others_are_never_more_than_may_be_served() {
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
                    server.shared.close_connection(session.id);
                }
            } else if serving[sender].is_none() {
                let session = server.enter(number.into());
                let transfer = u8::try_from(sender).unwrap();
                let (_, is_seated) =
                    server.take_over(&session, transfer, u32::from(number) + 1).unwrap();
                if is_seated {
                    serving[sender] = Some(session);
                } else {
                    server.shared.leave(session.id, None, None, SECOND);
                    server.shared.close_connection(session.id);
                }
            }
            assert!(server.weight() <= 2, "plan {plan}, step {number}");
        }
    }
}

/// Each session that ends wakes those up that wait, and proves nothing about the one that is waited
/// for.
#[test]
fn comings_and_goings_of_others_do_not_shorten_the_wait_for_a_session() {
    let server = Server::new(4);
    let (old, new) = (server.enter(0), server.enter(1));
    server.take_over(&old, 1, 1);
    let goes_on = thread::scope(|scope| {
        scope.spawn(|| {
            for other in 0..1000 {
                server.shared.leave(SessionId(100 + other), None, None, SECOND);
                thread::yield_now();
            }
            server.lose(&old, SECOND);
        });
        server.take_over(&new, 1, 2)
    });
    assert_eq!(goes_on, Some((true, true)));
}

#[test]
fn sender_that_waits_for_an_older_attempt_to_leave_is_no_stranger_that_goes_for_others() {
    let server = Server { shared: Shared::new(bounds(2, 4, 2), MemoryStore::new()) };
    let (old, new) = (server.enter(0), server.enter(1));
    server.take_over(&old, 1, 1);
    thread::scope(|scope| {
        let taking = scope.spawn(|| server.take_over(&new, 1, 2));
        while old.cancel.code() != Some(AbortCode::Superseded) {
            thread::yield_now();
        }
        let strangers = [2, 3].map(|number| {
            while !matches!(server.shared.wait_for_room(false), Room::Some) {}
            server.enter(number)
        });
        assert_eq!(strangers[0].cancel.code(), Some(AbortCode::Stalled), "it has not greeted");
        assert_eq!(new.cancel.code(), None);
        server.lose(&old, SECOND);
        assert_eq!(taking.join().unwrap(), Some((true, true)));
    });
}

#[test]
fn session_that_has_to_go_takes_nothing_of_what_was_left() {
    let server = Server::new(2);
    let (old, new, next) = (server.enter(0), server.enter(1), server.enter(2));
    server.take_over(&old, 1, 1);
    server.lose(&old, SECOND);
    server.shared.lock().places.leave(new.id);
    assert_eq!(server.take_over(&new, 1, 2), None);
    assert_eq!(server.weight(), 1, "it stays");
    assert_eq!(server.take_over(&next, 1, 3), Some((true, true)));
}

#[test]
fn sender_that_comes_back_gets_its_place_from_one_that_has_offered_nothing() {
    let server = Server::new(1);
    let (old, other, new) = (server.enter(0), server.enter(1), server.enter(2));
    server.take_over(&old, 1, 1);
    server.lose(&old, SECOND);
    let begins = server.shared.take_over(other.id, &greeting(id(2), None), None);
    assert!(matches!(begins, Greeted::Begins { attempt: 1 }));
    assert_eq!(server.shared.admit(other.id, Duration::ZERO), Admission::Yes);
    assert_eq!(server.take_over(&new, 1, 2), Some((true, true)));
    // It is not waited for here.
    other.cancel.cancel();
    assert!(!server.shared.seat(other.id, &other.cancel), "there is one place");
    assert_eq!(server.weight(), 1);
    server.lose(&new, SECOND);
    assert!(server.shared.seat(other.id, &other.cancel));
    assert_eq!(server.weight(), 1, "what was left is cleared away");
}

/// Returns a session that has queued a commit, and was given up before it asked for it.
fn about_to_commit<S: Store>(store: &mut S) -> (Receiver, Files<S::File>) {
    let (mut receiver, mut files, now) = (receiver(), Files::new(), Duration::ZERO);
    let mut sender = Sender::new(Config::default(), id(1), [1; 16], now);
    let (mut to_alice, mut to_bob) = (Vec::new(), Vec::new());
    let path = RelPath::parse(b"folder").unwrap();
    let mut entries = [Meta::directory(path)].into_iter();
    for _ in 0..1000 {
        match sender.poll(now, &mut to_bob).unwrap() {
            SendAction::NextEntry => match entries.next() {
                Some(meta) => drop(sender.handle_entry(meta, None).unwrap()),
                None => sender.handle_exhausted().unwrap(),
            },
            SendAction::Await { .. } => {
                let consumed = sender.handle_input(now, &to_alice).unwrap();
                to_alice.drain(..consumed.bytes);
            }
            _ => {}
        }
        match receiver.poll(now, &mut to_alice).unwrap() {
            ReceiveAction::Await { .. } => {
                let step = receiver.handle_input(now, &to_bob).unwrap();
                let answered = files.answer(store, &mut receiver, step).unwrap();
                to_bob.drain(..answered.map_or(0, |consumed| consumed.bytes));
            }
            action => files.act(store, &mut receiver, action).unwrap(),
        }
        if receiver.commits() > 0 {
            return (receiver, files);
        }
    }
    panic!("nothing is committed");
}

/// Returns a session that was given up with a commit under way.
pub(super) fn committing<S: Store>(store: &mut S) -> Suspended<S> {
    let (mut receiver, mut files) = about_to_commit(store);
    loop {
        let action = receiver.poll(Duration::ZERO, &mut Vec::new()).unwrap();
        let is_last = matches!(action, ReceiveAction::Commit { which: Which::Own, .. });
        files.act(store, &mut receiver, action).unwrap();
        if is_last {
            return Suspended::new(receiver, files);
        }
    }
}

#[test]
fn commit_that_was_never_asked_for_is_not_waited_for() {
    let mut store = MemoryStore::new();
    let (receiver, files) = about_to_commit(&mut store);
    let suspended = Suspended::<MemoryStore>::new(receiver, files);
    assert!(suspended.suspend(store).is_none(), "the store has nothing under way");
}
