//! Behaviour of the registry with stores that panic, that take long, and whose commits do not end.

use std::sync::{Arc, MutexGuard};
use std::{io, thread};

use super::*;
use crate::store::{Ended, MemoryFile, MemoryStore};
use crate::types::{Commit, Found, Offer, Place, Refusal, Ticket};

/// A store that obeys a test.
#[derive(Clone)]
struct Odd {
    inner: MemoryStore,
    mood: Arc<Mutex<Mood>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Sound,
    /// No commit ends.
    Stalled,
    PanicsAtPoll,
    PanicsAtDrop,
}

impl Odd {
    fn new(mood: Mood) -> Self {
        Self { inner: MemoryStore::new(), mood: Arc::new(Mutex::new(mood)) }
    }

    /// Locks the mood: whoever holds this lets no commit be asked for.
    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Odd {
    fn drop(&mut self) {
        let panics = *self.mood() == Mood::PanicsAtDrop;
        assert!(!panics, "a store panics");
    }
}

impl Store for Odd {
    type File = MemoryFile;

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(MemoryFile, Found), Refusal> {
        self.inner.begin(offer, place)
    }

    fn read_at(&mut self, file: &mut MemoryFile, at: u64, to: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(file, at, to)
    }

    fn write_at(&mut self, file: &mut MemoryFile, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.inner.write_at(file, at, bytes)
    }

    fn copy_held(&mut self, file: &mut MemoryFile, at: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(file, at, len)
    }

    fn commit(&mut self, file: MemoryFile, commit: Commit) {
        self.inner.commit(file, commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<MemoryFile>)> {
        let mood = *self.mood();
        assert_ne!(mood, Mood::PanicsAtPoll, "a store panics");
        if mood == Mood::Stalled { None } else { self.inner.poll_committed(wait) }
    }

    fn suspend(&mut self, file: MemoryFile) {
        self.inner.suspend(file);
    }

    fn discard(&mut self, file: MemoryFile) {
        self.inner.discard(file);
    }
}

/// Returns the remains of a session with a commit under way.
fn left_committing(mood: Mood) -> (Odd, Suspended<Odd>) {
    let mut store = Odd::new(mood);
    let suspended = tests::committing(&mut store);
    (store, suspended)
}

/// Begins a session that gets a place at once, for a transfer of the same number; `false` if it has
/// to wait.
fn begin(shared: &Shared<Odd>, number: u8) -> bool {
    let (session, cancel) = (SessionId(number.into()), CancelToken::new());
    shared.enter(session, &cancel);
    let transfer = TransferId::new([number; 16]);
    assert!(matches!(
        shared.take_over(session, &tests::greeting(transfer, None), None),
        Greeted::Begins { attempt: 1 }
    ));
    let is_seated =
        shared.admit(session, Duration::ZERO) == Admission::Yes && shared.seat(session, &cancel);
    if !is_seated {
        shared.leave(session, None, None, SECOND);
        shared.close_connection(session);
    }
    is_seated
}

fn lose(shared: &Shared<Odd>, number: u8, left: (Odd, Suspended<Odd>)) {
    shared.leave(SessionId(number.into()), None, Some(left), SECOND);
    shared.close_connection(SessionId(number.into()));
}

fn shared(sessions: usize) -> Shared<Odd> {
    let bounds = Bounds { sessions, waiting: 4, strangers: 4 };
    Shared::new(bounds, Odd::new(Mood::Sound))
}

#[test]
fn store_that_panics_ends_nothing_but_itself_and_is_heard_of_at_the_end() {
    for mood in [Mood::PanicsAtDrop, Mood::PanicsAtPoll] {
        // Where one begins, in the thread of the server, and at its end.
        for way in 0..3 {
            let shared = shared(2);
            assert!(begin(&shared, 1) && begin(&shared, 2));
            let (store, suspended) = left_committing(Mood::Stalled);
            let odd = Arc::clone(&store.mood);
            lose(&shared, 1, (store, suspended));
            *odd.lock().unwrap() = mood;
            match way {
                0 => assert!(begin(&shared, 3)),
                1 => shared.expire(100 * SECOND, SECOND),
                _ => shared.close(),
            }
            shared.tidy_once();
            assert_eq!(shared.lock().leaving.len(), 0, "nobody waits for it");
            *odd.lock().unwrap_or_else(PoisonError::into_inner) = Mood::Sound;
            assert!(shared.take_panic().is_some(), "{mood:?}, {way}");
            assert!(way != 1 || begin(&shared, 3), "its place is free");
        }
    }
}

#[test]
fn store_that_takes_long_keeps_nobody_waiting_but_who_tidies_up() {
    let shared = shared(4);
    assert!(begin(&shared, 1));
    let (store, suspended) = left_committing(Mood::Stalled);
    let mood = Arc::clone(&store.mood);
    lose(&shared, 1, (store, suspended));
    thread::scope(|scope| {
        scope.spawn(|| shared.tidy());
        shared.expire(100 * SECOND, SECOND);
        while shared.lock().leaving.ending == 0 {
            thread::yield_now();
        }
        // From now on, the store blocks whoever asks it for commits.
        let held = mood.lock().unwrap();
        shared.expire(200 * SECOND, SECOND);
        assert!(matches!(shared.wait_for_room(false), Room::Some));
        assert!(begin(&shared, 2));
        lose(&shared, 2, left_committing(Mood::Sound));
        assert!(begin(&shared, 3));
        drop(held);
        shared.close();
    });
    assert!(shared.take_panic().is_none());
}

#[test]
fn senders_that_come_and_go_while_commits_do_not_end_find_no_place_at_a_bound() {
    let sessions = 3;
    let shared = shared(sessions);
    let (mut moods, mut last) = (Vec::new(), 0);
    while begin(&shared, last) {
        let left = left_committing(Mood::Stalled);
        moods.push(Arc::clone(&left.0.mood));
        lose(&shared, last, left);
        last += 1;
        assert!(moods.len() <= 2 * sessions, "commits are queued without bound");
    }
    assert_eq!(shared.lock().leaving.len(), sessions);
    *moods[0].lock().unwrap() = Mood::Sound;
    shared.tidy_once();
    assert!(begin(&shared, last + 1), "one has ended");
}

#[test]
fn transfers_that_nobody_says_goodbye_to_are_kept_in_mind_up_to_a_bound() {
    let shared = shared(1);
    let mut registry = shared.lock();
    for number in 0..2 * UNSURE as u64 {
        let mut transfer = [0; 16];
        transfer[..8].copy_from_slice(&number.to_le_bytes());
        let summary = Summary { delivered: number + 1, ..Summary::default() };
        registry.is_unsure(TransferId::new(transfer), summary, Duration::from_secs(number));
        assert!(registry.unsure.len() <= UNSURE);
    }
    assert_eq!(registry.done.map(|summary| summary.delivered), Some(1), "the first one counts");
}

const SECOND: Duration = Duration::from_secs(1);
