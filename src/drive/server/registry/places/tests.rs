use std::collections::HashSet;

use super::*;

const BOUNDS: Bounds = Bounds { sessions: 2, waiting: 1, strangers: 1 };

/// Every sequence of so many steps, with what lost connections left and without: the bounds hold, those that wait get
/// places in their order, nobody is sent away who has greeted in time, and in the end there is nothing.
///
/// Sequences that led to the same go on in the same way, and are followed on once.
#[test]
fn places_are_bounded_and_given_in_order_whatever_comes() {
    for (sessions, left) in [(2, 0), (1, 1)] {
        let mut known = HashSet::new();
        let mut courses = vec![Course::new(Bounds { sessions, ..BOUNDS }, left)];
        for _ in 0..STEPS {
            let mut next = Vec::new();
            for (course, step) in courses.iter().flat_map(|it| (0..8).map(move |step| (it, step))) {
                let mut course = course.clone();
                course.plan.push(step);
                course.step(step);
                course.check();
                if known.insert(course.state()) {
                    course.clone().close();
                    next.push(course);
                }
            }
            courses = next;
        }
        assert!(known.len() > 1000, "{} states", known.len());
    }
}

/// With more of them, places would no longer be kept, as too many invitations come to nothing.
const STEPS: usize = 9;

/// Places, with how many lost connections left something.
#[derive(Clone)]
struct Course {
    places: Places,
    suspended: usize,
    now: Duration,
    next: u64,
    plan: Vec<usize>,
}

impl Course {
    fn new(bounds: Bounds, suspended: usize) -> Self {
        let (places, now, plan) = (Places::new(bounds), Duration::ZERO, Vec::new());
        Self { places, suspended, now, next: 0, plan }
    }

    fn first(&self, which: fn(Stage) -> bool) -> Option<SessionId> {
        let mut all = self.places.connections.iter();
        all.find(|(_, it)| which(it.stage)).map(|(id, _)| *id)
    }

    fn count(&self, which: fn(Stage) -> bool) -> usize {
        self.places.connections.values().filter(|it| which(it.stage)).count()
    }

    fn step(&mut self, step: usize) {
        let now = self.now;
        match step {
            // Somebody comes.
            0 if self.places.has_room(now) => {
                self.next += 1;
                let had_strangers = self.count(|it| it == Stage::Stranger);
                let had_greeted = self.count(|it| it == Stage::Greeted);
                let gone = self.places.enter(SessionId(self.next), now);
                assert!(gone.iter().all(|id| self.places.is_leaving(*id)));
                let greeted = self.count(|it| it == Stage::Greeted);
                assert!(greeted == had_greeted || gone.len() > had_strangers);
            }
            // A stranger greets, and is not answered yet.
            1 => drop(self.first(|it| it == Stage::Stranger).map(|id| self.places.greet(id))),
            // One that has greeted asks, or asks once more.
            2 => {
                let asks = self.first(|it| it == Stage::Greeted);
                let Some(id) = asks.or(self.first(|it| matches!(it, Stage::Waiting(_)))) else {
                    return;
                };
                if let Some(gone) = self.places.displace(id, now) {
                    assert!(gone < id && self.places.is_leaving(gone));
                }
                let waiting = self.places.connections.values().filter_map(Connection::number);
                let (first, number) = (waiting.min(), self.places.connections[&id].number());
                let admission = self.places.admit(id, now);
                let is_in_turn = number == first || !self.places.are_kept();
                assert!(admission != Admission::Yes || is_in_turn, "out of turn");
            }
            // An invited one offers something.
            3 => {
                let invited = self.first(|it| matches!(it, Stage::Invited | Stage::Late));
                let Some(id) = invited else { return };
                self.places.take_back(now);
                let is_kept = self.places.connections[&id].holds_place(now);
                let taken = if self.places.are_kept() {
                    self.places.taken(now) - usize::from(is_kept)
                } else {
                    self.places.seated()
                };
                assert_eq!(self.places.seat(id, now), taken < self.places.bounds.sessions);
                if self.places.is_seated(id) {
                    self.suspended = 0;
                }
            }
            // The oldest goes, and leaves something if it had a place. Its stream is not closed yet.
            4 => {
                let Some(id) = self.first(|it| it != Stage::Leaving) else { return };
                self.suspended += usize::from(self.places.is_seated(id));
                self.places.leave(id);
            }
            // One that has greeted was here before.
            5 if self.suspended > 0 => {
                let Some(id) = self.first(|it| it == Stage::Greeted) else { return };
                assert!(self.places.seat_again(id, now));
                self.suspended -= 1;
            }
            6 => self.now += BORNE,
            // One that has left is closed.
            7 => drop(self.first(|it| it == Stage::Leaving).map(|id| self.places.remove(id))),
            _ => {}
        }
    }

    /// Returns all on which what comes depends, whatever the numbers are that were given and the
    /// time.
    fn state(&self) -> String {
        let Places { connections, idle, idle_since, is_held_up, .. } = &self.places;
        let waiting = |number| {
            let numbers = connections.values().filter_map(Connection::number);
            numbers.filter(|other| *other < number).count()
        };
        let connections: Vec<_> = connections
            .values()
            .map(|it| (it.number().map(waiting).ok_or(it.stage), self.now - it.since))
            .collect();
        let idle = (*idle > 0).then(|| (idle, self.now - *idle_since));
        format!("{connections:?} {idle:?} {is_held_up} {}", self.suspended)
    }

    fn check(&self) {
        let Self { places, suspended, now, plan, .. } = self;
        let bounds = places.bounds;
        assert!(places.connections.len() <= bounds.connections(), "plan {plan:?}");
        // So few steps have too few invitations that come to nothing.
        assert!(places.are_kept() && places.taken(*now) <= bounds.sessions, "plan {plan:?}");
        assert!(places.waiting() <= bounds.waiting, "plan {plan:?}");
        let seated = self.count(|it| it == Stage::Seated);
        assert!(
            seated + suspended <= bounds.sessions,
            "plan {plan:?}: {seated} and {suspended} left"
        );
        let guests = self.count(|it| matches!(it, Stage::Stranger | Stage::Greeted));
        assert!(guests <= bounds.strangers, "plan {plan:?}");
    }

    fn close(mut self) {
        while let Some((&id, _)) = self.places.connections.first_key_value() {
            self.places.leave(id);
            self.places.remove(id);
            assert!(!self.places.connections.contains_key(&id), "plan {:?}: it is kept", self.plan);
        }
        assert!(self.places.is_empty());
    }
}

#[test]
fn sender_that_waits_and_wants_nothing_goes_for_one_that_comes() {
    let mut places = Places::new(Bounds { sessions: 1, waiting: 2, strangers: 8 });
    for id in (0..3).map(SessionId) {
        places.enter(id, Duration::ZERO);
        places.greet(id);
        places.admit(id, Duration::ZERO);
    }
    assert!(places.seat(SessionId(0), Duration::ZERO));
    let (early, late) = (SessionId(3), SessionId(4));
    let before = BORNE - Duration::from_millis(1);
    places.enter(early, before);
    assert_eq!(places.displace(early, before), None, "they have not waited for long");
    assert_eq!(places.admit(early, before), Admission::Never);
    places.enter(late, BORNE);
    assert_eq!(places.displace(late, BORNE), Some(SessionId(1)), "the first that came");
    assert_eq!(places.displace(late, BORNE), None, "one is enough");
    assert_eq!(places.admit(late, BORNE), Admission::NotYet);
    assert_eq!(places.admit(SessionId(1), BORNE), Admission::Never);
    places.leave(SessionId(0));
    assert_eq!(places.admit(late, BORNE), Admission::NotYet, "another one was here first");
    assert_eq!(places.admit(SessionId(2), BORNE), Admission::Yes);
}

#[test]
fn sender_that_comes_back_takes_the_newest_invitation_back() {
    let mut places = Places::new(Bounds { sessions: 2, strangers: 8, ..BOUNDS });
    for id in (0..3).map(SessionId) {
        places.enter(id, Duration::ZERO);
        places.greet(id);
    }
    // One place is that of what the third left.
    assert_eq!(places.admit(SessionId(0), Duration::ZERO), Admission::Yes);
    assert_eq!(places.admit(SessionId(1), Duration::ZERO), Admission::Yes);
    assert!(places.seat_again(SessionId(2), Duration::ZERO));
    assert!(!places.seat(SessionId(1), Duration::ZERO), "there are two places");
    assert!(places.seat(SessionId(0), Duration::ZERO));
    places.leave(SessionId(2));
    assert!(places.seat(SessionId(1), Duration::ZERO));
}

#[test]
fn sender_that_was_slow_to_offer_gets_a_place_that_is_free_and_no_other() {
    let mut places = Places::new(Bounds { sessions: 1, ..BOUNDS });
    let (slow, quick) = (SessionId(0), SessionId(1));
    places.enter(slow, Duration::ZERO);
    assert_eq!(places.admit(slow, Duration::ZERO), Admission::Yes);
    places.enter(quick, Duration::ZERO);
    assert_eq!(places.admit(quick, Duration::ZERO), Admission::NotYet);
    assert_eq!(places.admit(quick, KEPT), Admission::Yes);
    assert!(places.seat(quick, KEPT));
    assert!(!places.seat(slow, KEPT));
    places.leave(quick);
    assert!(places.seat(slow, KEPT));
}

#[test]
fn places_are_for_those_that_offer_something_once_many_invited_in_a_row_did_not() {
    let bounds = Bounds { sessions: 1, waiting: 20, strangers: 20 };
    let (mut places, mut now) = (Places::new(bounds), Duration::ZERO);
    let invite = |places: &mut Places, id, now| {
        places.enter(SessionId(id), now);
        places.greet(SessionId(id));
        places.admit(SessionId(id), now)
    };
    assert_eq!(invite(&mut places, 0, now), Admission::Yes);
    for id in 1..4 {
        assert_eq!(invite(&mut places, id, now), Admission::NotYet, "the place is kept");
        now += KEPT;
        assert_eq!(places.admit(SessionId(id), now), Admission::Yes);
    }
    assert_eq!(invite(&mut places, 4, now), Admission::NotYet, "it is kept still");
    now += KEPT;
    for id in 5..8 {
        assert_eq!(invite(&mut places, id, now), Admission::Yes, "it is kept for nobody");
    }
    assert_eq!(places.admit(SessionId(4), now), Admission::Yes);
    assert!(places.seat(SessionId(6), now));
    assert!(!places.seat(SessionId(7), now), "there is one place");
    assert_eq!(invite(&mut places, 8, now), Admission::NotYet, "nor is it free");
    places.leave(SessionId(6));
    assert_eq!(places.admit(SessionId(8), now), Admission::Yes);
    // Those were forgotten after a while.
    now += CALM;
    assert_eq!(invite(&mut places, 9, now), Admission::Yes);
    assert_eq!(invite(&mut places, 10, now), Admission::NotYet, "it is kept again");
}
