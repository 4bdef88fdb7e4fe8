//! Who has a place among the connections of a server: strangers, senders that wait, sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::drive::server::SessionId;

/// How many connections a server has at a time, by what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drive) struct Bounds {
    /// Sessions, which hold places. At least 1.
    pub(in crate::drive) sessions: usize,
    /// Senders that have greeted, and wait for a place.
    pub(in crate::drive) waiting: usize,
    /// Connections on which nothing was offered. At least 1.
    pub(in crate::drive) strangers: usize,
}

/// The connections of a server, from when they are accepted until their threads have ended and their streams are closed.
///
/// Invariants: at most [`Bounds::sessions`] hold a place, at most [`Bounds::waiting`] wait for one, and there are never more
/// connections than [`Bounds::connections`].
#[derive(Debug)]
pub(super) struct Places {
    bounds: Bounds,
    /// By age: identifiers are given in order.
    connections: BTreeMap<SessionId, Connection>,
    /// The number of the next that waits.
    next: u64,
}

#[derive(Debug)]
struct Connection {
    stage: Stage,
    /// Since when it is at this stage.
    since: Duration,
}

/// The way of a connection. It may leave at any stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not greeted.
    Stranger,
    /// It has greeted, and all places were taken. They get one in the order of these numbers.
    Waiting(u64),
    /// It may offer something: a place is kept for it for [`KEPT`]. After that, it is no better than a stranger.
    Invited,
    /// It has offered something, and holds a place.
    Seated,
    /// It was sent away, or is being closed.
    Leaving,
}

/// Whether a sender that has greeted may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drive) enum Admission {
    Yes,
    /// It waits, and hears that it does.
    NotYet,
    /// Too many wait already.
    Never,
}

impl Bounds {
    /// The most connections, and so the most threads and the most sockets. As many strangers as may be there may be on
    /// their way out besides: each ends within a tick of its stream, or a little later if it is closed gracefully.
    pub(in crate::drive) const fn connections(self) -> usize {
        self.sessions.saturating_add(self.waiting).saturating_add(self.strangers.saturating_mul(2))
    }
}

impl Places {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self { bounds, connections: BTreeMap::new(), next: 0 }
    }

    /// Whether another connection may be accepted.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        self.connections.len() < self.bounds.connections() && self.in_the_way(now).is_some()
    }

    /// Takes a connection in that was accepted; gives the strangers that have to go for it, if there are too many.
    pub(super) fn enter(&mut self, id: SessionId, now: Duration) -> Vec<SessionId> {
        let gone = self.in_the_way(now).unwrap_or_default();
        gone.iter().for_each(|id| self.leave(*id));
        self.connections.insert(id, Connection { stage: Stage::Stranger, since: now });
        gone
    }

    /// Chooses the stranger that has been there longest, if one was there for long enough to greet: it has to go.
    pub(super) fn send_away_a_stranger(&mut self, now: Duration) -> Option<SessionId> {
        let mut guests = self.connections.iter().filter(|(_, it)| it.is_guest(now));
        let oldest = guests.find(|(_, it)| it.may_go(now)).map(|(id, _)| *id)?;
        self.leave(oldest);
        Some(oldest)
    }

    /// A sender that has greeted asks whether it may go on.
    pub(super) fn admit(&mut self, id: SessionId, now: Duration) -> Admission {
        let is_free = self.taken(now) < self.bounds.sessions;
        let (mut first, mut count) = (None, 0);
        for number in self.connections.values().filter_map(Connection::number) {
            first = Some(first.map_or(number, |first: u64| first.min(number)));
            count += 1;
        }
        let Some(connection) = self.connections.get_mut(&id) else { return Admission::Never };
        let stage = match connection.stage {
            Stage::Invited | Stage::Seated => return Admission::Yes,
            Stage::Leaving => return Admission::Never,
            Stage::Stranger if is_free && first.is_none() => Stage::Invited,
            Stage::Waiting(number) if is_free && first == Some(number) => Stage::Invited,
            Stage::Waiting(_) => return Admission::NotYet,
            Stage::Stranger if count < self.bounds.waiting => {
                self.next += 1;
                Stage::Waiting(self.next)
            }
            Stage::Stranger => Stage::Leaving,
        };
        (connection.stage, connection.since) = (stage, now);
        match stage {
            Stage::Invited => Admission::Yes,
            Stage::Waiting(_) => Admission::NotYet,
            _ => Admission::Never,
        }
    }

    /// Gives a sender that offers something its place; `false` if there is none, as it was slow to offer and others came.
    pub(super) fn seat(&mut self, id: SessionId, now: Duration) -> bool {
        let is_kept = self.connections.get(&id).is_some_and(|it| it.holds_place(now));
        if !is_kept && self.taken(now) >= self.bounds.sessions {
            return false;
        }
        self.set(id, Stage::Seated, now)
    }

    /// Gives a sender the place of what it left when it was here before.
    pub(super) fn seat_again(&mut self, id: SessionId, now: Duration) {
        self.set(id, Stage::Seated, now);
    }

    /// Whether it holds a place for good.
    pub(super) fn is_seated(&self, id: SessionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.stage == Stage::Seated)
    }

    /// Whether it has not greeted.
    pub(super) fn is_stranger(&self, id: SessionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.stage == Stage::Stranger)
    }

    /// Gives back its place. The connection stays until it is closed.
    pub(super) fn leave(&mut self, id: SessionId) {
        if cfg!(haul_canary = "place-kept") {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.stage = Stage::Leaving;
        }
    }

    /// Its thread has ended, and its stream is closed.
    pub(super) fn remove(&mut self, id: SessionId) {
        if cfg!(haul_canary = "place-kept") && self.is_seated(id) {
            return;
        }
        self.connections.remove(&id);
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Places that are held.
    pub(super) fn taken(&self, now: Duration) -> usize {
        self.connections.values().filter(|connection| connection.holds_place(now)).count()
    }

    /// The strangers that have to go for another one, the oldest; `None` if one of them has had no time to greet.
    fn in_the_way(&self, now: Duration) -> Option<Vec<SessionId>> {
        let guests = || self.connections.iter().filter(|(_, it)| it.is_guest(now));
        let excess = (guests().count() + 1).saturating_sub(self.bounds.strangers);
        guests().take(excess).map(|(id, it)| it.may_go(now).then_some(*id)).collect()
    }

    fn set(&mut self, id: SessionId, stage: Stage, now: Duration) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        if connection.stage != Stage::Leaving {
            (connection.stage, connection.since) = (stage, now);
        }
        connection.stage == stage
    }
}

impl Connection {
    fn holds_place(&self, now: Duration) -> bool {
        match self.stage {
            Stage::Seated => true,
            Stage::Invited => now.saturating_sub(self.since) < KEPT,
            Stage::Stranger => cfg!(haul_canary = "stranger-place"),
            Stage::Waiting(_) | Stage::Leaving => false,
        }
    }

    fn is_guest(&self, now: Duration) -> bool {
        match self.stage {
            Stage::Stranger => true,
            Stage::Invited => now.saturating_sub(self.since) >= KEPT,
            Stage::Waiting(_) | Stage::Seated | Stage::Leaving => false,
        }
    }

    /// Whether it was there for long enough to greet, or to offer something.
    fn may_go(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= STAY
    }

    const fn number(&self) -> Option<u64> {
        match self.stage {
            Stage::Waiting(number) => Some(number),
            _ => None,
        }
    }
}

/// How long a stranger may stay at least: a sender greets as soon as it is connected, so that its greeting is there
/// or close behind.
const STAY: Duration = Duration::from_millis(100);

/// How long a place is kept for a sender that may go on: a round trip, and what it takes to look at the first file. One
/// that takes longer gets the next place that is free.
const KEPT: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { sessions: 2, waiting: 1, strangers: 1 };

    /// Every sequence of nine steps: the bounds hold, those that wait get places in their order, nobody is sent away who has
    /// greeted in time, and in the end there is nothing.
    #[test]
    fn places_are_bounded_and_given_in_order_whatever_comes() {
        let steps = 5_usize;
        for plan in 0..steps.pow(9) {
            let mut places = Places::new(BOUNDS);
            let (mut now, mut rest, mut next) = (Duration::ZERO, plan, 0);
            for _ in 0..9 {
                let step = rest % steps;
                rest /= steps;
                let at = |places: &Places, which: fn(Stage) -> bool| {
                    let mut all = places.connections.iter();
                    all.find(|(_, it)| which(it.stage)).map(|(id, _)| *id)
                };
                let waiting = places.connections.values().filter_map(Connection::number).min();
                match step {
                    // Somebody comes.
                    0 => {
                        if !places.has_room(now) {
                            continue;
                        }
                        next += 1;
                        let gone = places.enter(SessionId(next), now);
                        assert!(gone.iter().all(|id| !places.is_stranger(*id) && id.0 < next));
                    }
                    // A stranger greets, or asks once more.
                    1 => {
                        let stranger = at(&places, |it| it == Stage::Stranger);
                        let asks = stranger.or(at(&places, |it| matches!(it, Stage::Waiting(_))));
                        let Some(id) = asks else { continue };
                        let number = places.connections[&id].number();
                        if places.admit(id, now) == Admission::Yes {
                            assert_eq!(number, waiting, "plan {plan}: out of turn");
                        }
                    }
                    // An invited one offers something.
                    2 => {
                        let Some(id) = at(&places, |it| it == Stage::Invited) else { continue };
                        let is_free = places.taken(now) < BOUNDS.sessions;
                        let is_kept = places.connections[&id].holds_place(now);
                        assert_eq!(places.seat(id, now), is_free || is_kept, "plan {plan}");
                    }
                    // The oldest goes.
                    3 => {
                        let Some((&id, _)) = places.connections.first_key_value() else { continue };
                        places.leave(id);
                        places.remove(id);
                    }
                    _ => now += KEPT,
                }
                let count = |which: fn(Stage) -> bool| {
                    places.connections.values().filter(|it| which(it.stage)).count()
                };
                assert!(places.connections.len() <= BOUNDS.connections(), "plan {plan}");
                assert!(places.taken(now) <= BOUNDS.sessions, "plan {plan}");
                assert!(count(|it| matches!(it, Stage::Waiting(_))) <= BOUNDS.waiting);
                assert!(count(|it| it == Stage::Stranger) <= BOUNDS.strangers, "plan {plan}");
            }
            while let Some((&id, _)) = places.connections.first_key_value() {
                places.leave(id);
                places.remove(id);
                assert!(!places.connections.contains_key(&id), "plan {plan}: it is kept");
            }
            assert!(places.is_empty());
        }
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
}
