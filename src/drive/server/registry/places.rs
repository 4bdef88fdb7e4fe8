//! Places among the connections of a server: strangers, senders that wait, sessions.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::drive::server::id::SessionId;

/// Most connections of a server at a time, by what they are.
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
/// Invariants: at most [`Bounds::sessions`] hold a place for good, at most [`Bounds::waiting`] wait for one, and there are never
/// more connections than [`Bounds::connections`].
///
/// A place is kept for each that is invited, so that who comes early is served early. Those who greet and offer nothing would so
/// keep all others waiting. Once [many in a row](Places::are_kept) did, nobody waits while a place is free: it is for the first that
/// offers something, and whoever greets is a guest until then.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Places {
    bounds: Bounds,
    /// Connections by age: identifiers are given in order.
    connections: BTreeMap<SessionId, Connection>,
    /// The number of the next that waits.
    next: u64,
    /// Number of invitations that came to nothing beyond those that came to something, of late: up to twice [as
    /// many](Places::borne) as are borne; and time of the last one that did.
    idle: usize,
    idle_since: Duration,
    /// Set while earlier sessions are to be dealt with first: nobody gets a place who begins.
    is_held_up: bool,
}

#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
struct Connection {
    stage: Stage,
    /// Time since which it is at this stage.
    since: Duration,
}

/// The way of a connection. It may leave at any stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The connection has not greeted.
    Stranger,
    /// The connection has greeted, and waits for those that it replaces to leave. It goes for another one only if no
    /// stranger can.
    Greeted,
    /// The connection has greeted, and all places were taken. They get one in the order of these
    /// numbers.
    Waiting(u64),
    /// The connection may offer something: a place is kept for it for [`KEPT`].
    Invited,
    /// The connection may offer something, but no place is kept for it any more: it is no better than
    /// a stranger.
    Late,
    /// The connection has offered something, and holds a place.
    Seated,
    /// The connection was sent away, or is being closed.
    Leaving,
}

/// Answer to a sender that has greeted and asks to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::drive) enum Admission {
    Yes,
    /// The sender waits, under heartbeats.
    NotYet,
    /// Too many wait already.
    Never,
}

impl Bounds {
    /// Returns the most connections, and so the most threads and the most sockets. As many strangers as may be there
    /// may be on their way out besides: each ends within a tick of its stream, or a little later if it is closed
    /// gracefully.
    pub(in crate::drive) const fn connections(self) -> usize {
        self.sessions.saturating_add(self.waiting).saturating_add(self.strangers.saturating_mul(2))
    }
}

impl Places {
    pub(super) const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            connections: BTreeMap::new(),
            next: 0,
            idle: 0,
            idle_since: Duration::ZERO,
            is_held_up: false,
        }
    }

    /// Returns whether another connection may be accepted.
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
        let mut guests = self.guests(now);
        let oldest = guests.find(|(_, it)| it.may_go(now)).map(|(id, _)| id)?;
        drop(guests);
        self.leave(oldest);
        Some(oldest)
    }

    /// Handles that a sender has greeted: it is no stranger any more.
    pub(super) fn greet(&mut self, id: SessionId) {
        let connection = self.connections.get_mut(&id);
        if let Some(connection) = connection.filter(|it| it.stage == Stage::Stranger) {
            connection.stage = Stage::Greeted;
        }
    }

    /// Chooses the sender that has waited longest, if it has waited for [`BORNE`] and as many wait as may: it has to go
    /// for this one, which has just greeted.
    pub(super) fn displace(&mut self, id: SessionId, now: Duration) -> Option<SessionId> {
        let connection = self.connections.get(&id)?;
        if !connection.has_just_come() || self.waiting() < self.bounds.waiting {
            return None;
        }
        let waiting = self.connections.iter().filter(|(_, it)| it.number().is_some());
        let (&oldest, longest) = waiting.min_by_key(|(_, it)| it.number())?;
        if now.saturating_sub(longest.since) < BORNE {
            return None;
        }
        self.leave(oldest);
        Some(oldest)
    }

    /// Sets how many earlier sessions are still to be dealt with: as long as they are as many as there may be sessions,
    /// nobody gets a place who begins.
    pub(super) const fn hold_up(&mut self, earlier: usize) {
        self.is_held_up = earlier >= self.bounds.sessions;
    }

    /// Returns the number of senders that wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.connections.values().filter_map(Connection::number).count()
    }

    /// Decides whether a sender that has greeted may go on.
    pub(super) fn admit(&mut self, id: SessionId, now: Duration) -> Admission {
        self.take_back(now);
        let sessions = self.bounds.sessions;
        let is_free = !self.is_held_up && self.taken(now) < sessions;
        let is_for_all = !self.is_held_up && !self.are_kept() && self.seated() < sessions;
        let (first, count) =
            (self.connections.values().filter_map(Connection::number).min(), self.waiting());
        let Some(connection) = self.connections.get_mut(&id) else { return Admission::Never };
        let stage = match connection.stage {
            Stage::Invited | Stage::Late | Stage::Seated => return Admission::Yes,
            Stage::Leaving => return Admission::Never,
            Stage::Stranger | Stage::Greeted | Stage::Waiting(_) if is_for_all => Stage::Late,
            Stage::Stranger | Stage::Greeted if is_free && first.is_none() => Stage::Invited,
            Stage::Waiting(number) if is_free && first == Some(number) => Stage::Invited,
            Stage::Waiting(_) => return Admission::NotYet,
            Stage::Stranger | Stage::Greeted if count < self.bounds.waiting => {
                self.next += 1;
                Stage::Waiting(self.next)
            }
            Stage::Stranger | Stage::Greeted => Stage::Leaving,
        };
        (connection.stage, connection.since) = (stage, now);
        match stage {
            Stage::Invited | Stage::Late => Admission::Yes,
            Stage::Waiting(_) => Admission::NotYet,
            _ => Admission::Never,
        }
    }

    /// Takes invitations back that came to nothing.
    fn take_back(&mut self, now: Duration) {
        if now.saturating_sub(self.idle_since) >= CALM {
            self.idle = 0;
        }
        let is_over = |it: &Connection| it.stage == Stage::Invited && !it.holds_place(now);
        for invited in self.connections.values_mut().filter(|it| is_over(it)) {
            invited.stage = Stage::Late;
            self.idle += 1;
            self.idle_since = now;
        }
        self.idle = self.idle.min(self.borne().saturating_mul(2));
    }

    /// Returns whether places are kept for those that are invited.
    const fn are_kept(&self) -> bool {
        self.idle < self.borne()
    }

    /// Returns how many invitations in a row may come to nothing: as many as there are places, as they are given all
    /// at once.
    const fn borne(&self) -> usize {
        if self.bounds.sessions > FEW { self.bounds.sessions } else { FEW }
    }

    /// Gives a sender that offers something its place; `false` if there is none, as others came before it did.
    pub(super) fn seat(&mut self, id: SessionId, now: Duration) -> bool {
        self.take_back(now);
        let are_kept = self.are_kept();
        let others = self.connections.iter().filter(|(other, it)| {
            **other != id && (it.stage == Stage::Seated || are_kept && it.holds_place(now))
        });
        let is_free = !self.is_held_up && others.count() < self.bounds.sessions;
        let is_seated = is_free && self.set(id, Stage::Seated, now);
        if is_seated {
            self.idle = self.idle.saturating_sub(1);
        }
        is_seated
    }

    /// Gives a sender the place of what it left when it was here before; `false` if it has to go. Where that place was
    /// kept for another one, the newest invitation is taken back.
    pub(super) fn seat_again(&mut self, id: SessionId, now: Duration) -> bool {
        let is_seated = self.set(id, Stage::Seated, now);
        while self.taken(now) > self.bounds.sessions {
            let is_kept = |it: &Connection| it.stage == Stage::Invited && it.holds_place(now);
            let invited = self.connections.iter_mut().filter(|(_, it)| is_kept(it));
            let Some((_, newest)) = invited.max_by_key(|(id, it)| (it.since, **id)) else { break };
            newest.stage = Stage::Late;
        }
        is_seated
    }

    /// Returns whether it holds a place for good.
    pub(super) fn is_seated(&self, id: SessionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.stage == Stage::Seated)
    }

    /// Returns whether it has not greeted.
    pub(super) fn is_stranger(&self, id: SessionId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.stage == Stage::Stranger)
    }

    /// Returns whether it was sent away, or is being closed.
    pub(super) fn is_leaving(&self, id: SessionId) -> bool {
        self.connections.get(&id).is_none_or(|connection| connection.stage == Stage::Leaving)
    }

    /// Gives back its place. The connection stays until it is closed.
    pub(super) fn leave(&mut self, id: SessionId) {
        if cfg!(haul_canary = "place-kept") {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            // Those that go without an offer came for nothing, too.
            if matches!(connection.stage, Stage::Invited | Stage::Late) {
                self.idle = self.idle.saturating_add(1);
                self.idle_since = self.idle_since.max(connection.since);
            }
            connection.stage = Stage::Leaving;
        }
    }

    /// Removes a connection: its thread has ended, and its stream is closed.
    pub(super) fn remove(&mut self, id: SessionId) {
        if cfg!(haul_canary = "place-kept") && self.is_seated(id) {
            return;
        }
        self.connections.remove(&id);
    }

    /// Returns the number of those that have offered something.
    fn seated(&self) -> usize {
        self.connections.values().filter(|connection| connection.stage == Stage::Seated).count()
    }

    /// Returns the number of connections.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.connections.len()
    }

    /// Returns the most connections of each kind.
    #[cfg(test)]
    pub(super) const fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Returns whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Places that are held, or kept for those that are invited.
    pub(super) fn taken(&self, now: Duration) -> usize {
        self.connections.values().filter(|connection| connection.holds_place(now)).count()
    }

    /// Returns the strangers that have to go for another one, the oldest; `None` if one of them has had no time
    /// to greet.
    fn in_the_way(&self, now: Duration) -> Option<Vec<SessionId>> {
        let excess = (self.guests(now).count() + 1).saturating_sub(self.bounds.strangers);
        self.guests(now).take(excess).map(|(id, it)| it.may_go(now).then_some(id)).collect()
    }

    /// Returns those that may have to go for others, in this order: the oldest first, and last those that have just
    /// greeted.
    fn guests(&self, now: Duration) -> impl Iterator<Item = (SessionId, &Connection)> {
        let these = move |has_greeted: bool| {
            let all = self.connections.iter().map(|(id, it)| (*id, it));
            all.filter(move |(_, it)| {
                it.is_guest(now) && (it.stage == Stage::Greeted) == has_greeted
            })
        };
        these(false).chain(these(true))
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
            Stage::Greeted | Stage::Waiting(_) | Stage::Late | Stage::Leaving => false,
        }
    }

    fn is_guest(&self, now: Duration) -> bool {
        match self.stage {
            Stage::Stranger | Stage::Greeted | Stage::Late => true,
            Stage::Invited => now.saturating_sub(self.since) >= KEPT,
            Stage::Waiting(_) | Stage::Seated | Stage::Leaving => false,
        }
    }

    /// Returns whether it was there for long enough to greet, or to offer something.
    fn may_go(&self, now: Duration) -> bool {
        let least = if self.stage == Stage::Late { KEPT } else { STAY };
        now.saturating_sub(self.since) >= least
    }

    /// Returns whether nothing was decided yet on its greeting.
    const fn has_just_come(&self) -> bool {
        matches!(self.stage, Stage::Stranger | Stage::Greeted)
    }

    const fn number(&self) -> Option<u64> {
        match self.stage {
            Stage::Waiting(number) => Some(number),
            _ => None,
        }
    }
}

/// Shortest stay of a stranger: a sender greets as soon as it is connected, so that its greeting is there or close
/// behind.
const STAY: Duration = Duration::from_millis(100);

/// Time that a place is kept for a sender that may go on, and for which it does not go for another one: a round trip
/// over most of the world, and what it takes to look at the first file. One that takes longer gets the next place that
/// is free.
const KEPT: Duration = Duration::from_millis(200);

/// Number of senders that may be slow, or change their minds, one after the other.
const FEW: usize = 4;

/// Time after the last invitation that came to nothing at which those before are forgotten.
const CALM: Duration = Duration::from_secs(1);

/// Shortest wait of a sender before others get the answer that the server is busy: half of the time for which these
/// come again by default, so that senders which wait and want nothing do not keep them out.
pub(super) const BORNE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
