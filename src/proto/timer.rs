//! The deadlines of one connection: of every wait for the peer, to send and to listen.
//!
//! | wait | since | for | ends in |
//! | --- | --- | --- | --- |
//! | for the greeting | the session began | `hello` | [`Stall::Hello`] |
//! | for a byte of the peer | its last byte; or the stream took the last byte of this side's turn | `silence`; before the first byte of an answer also the time in which `rate` moves that turn | [`Stall::Silence`] |
//! | for the rest of a message, or its next [`STEP`] bytes | its first byte, or that of the last step | `progress` | [`Stall::Progress`] |
//! | for something that moves an entry | the last such thing, the turns of this side not counted | `idle` | [`Stall::Idle`] |
//! | for the stream to take its first byte of all, before the peer has greeted | the session began | `hello` | [`Stall::Hello`] |
//! | for the stream to take a byte | it took the last one, or this side began to write | `silence` | [`Stall::Write`] |
//! | for the stream to take [`LEAST`] bytes, or all there is | as many were taken, or this side began to write | `progress` | [`Stall::Drip`] |
//!
//! While bytes of this side's turn are not taken, the peer owes no answer: then the last three rows hold and no other.
//!
//! While this side does not read, the peer is not checked: each wait above is longer by that time. A pause has an end
//! of its own, `idle` after something moved an entry last.

use std::time::Duration;

use super::error::Stall;
use crate::config::Deadlines;

/// The deadlines of one connection, in the time of the caller.
#[derive(Debug)]
pub(super) struct Timer {
    deadlines: Deadlines,
    began: Duration,
    greeted: bool,
    /// Time since which this side has had the floor, if it has it.
    floor: Option<Duration>,
    /// The last byte from the peer, or when its turn began.
    received: Duration,
    /// Progress of the message that is not complete.
    message: Option<Arriving>,
    /// Time since which this side has not listened, though the peer has the floor: it has work of
    /// its own.
    paused: Option<Duration>,
    /// The first byte of the peer's turn.
    answered: Option<Duration>,
    /// The last thing that moved an entry, and as much later as this side had the floor since.
    moved: Duration,
    /// This side's turn, which is over, moved an entry: that lasts until the stream took all of it.
    is_moving: bool,
    /// The last message of this side.
    sent: Duration,
    /// Bytes of this side's turn.
    turn: u64,
    writing: Writing,
}

/// Progress of a message of the peer that is not complete.
#[derive(Debug)]
struct Arriving {
    /// The first byte, or the last time at which a step was complete.
    since: Duration,
    /// Whole steps of [`STEP`] bytes that have come.
    steps: u64,
}

/// Progress of the stream with the output of this side.
#[derive(Debug)]
struct Writing {
    /// Set once the caller reports what the stream takes. One that never does has a stream that takes all of
    /// it at once.
    is_told: bool,
    /// The stream took a byte at some time.
    has_begun: bool,
    /// Bytes that are not taken.
    left: u64,
    /// The last byte that was taken, or when writing began.
    taken: Duration,
    /// Time at which [`LEAST`] bytes were last taken, or writing began; and number of bytes since.
    pace: (Duration, u64),
    /// Time of the last progress of the stream, or of the beginning. To send more changes nothing of it: what was sent
    /// before may wait for the caller, who reports it when it [resumes](Timer::resume).
    told: Duration,
}

impl Timer {
    pub(super) const fn new(deadlines: Deadlines, now: Duration) -> Self {
        let writing = Writing {
            is_told: false,
            has_begun: false,
            left: 0,
            taken: now,
            pace: (now, 0),
            told: now,
        };
        Self {
            deadlines,
            began: now,
            greeted: false,
            floor: None,
            received: now,
            message: None,
            paused: None,
            answered: None,
            moved: now,
            is_moving: false,
            sent: now,
            turn: 0,
            writing,
        }
    }

    /// Handles that the peer has greeted.
    pub(super) fn greet(&mut self) {
        self.greeted = true;
    }

    /// Handles that bytes came: `len` of the message that is not complete are there by now.
    pub(super) fn bytes(&mut self, now: Duration, len: u64) {
        self.received = now;
        let message = self.message.get_or_insert(Arriving { since: now, steps: 0 });
        if len / STEP > message.steps {
            *message = Arriving { since: now, steps: len / STEP };
        }
        if self.floor.is_none() {
            self.answered.get_or_insert(now);
            // A peer that answers has all of this side's turn, whatever the caller reports.
            self.writing.left = 0;
        }
    }

    /// Handles that a message, or something to skip, was taken.
    pub(super) fn message(&mut self, now: Duration) {
        self.listen(now);
        self.message = None;
        self.received = now;
    }

    /// Handles that something moved an entry.
    pub(super) fn moved(&mut self, now: Duration) {
        self.moved = now;
    }

    /// Stops listening, as this side has work of its own.
    pub(super) fn pause(&mut self, now: Duration) {
        self.paused.get_or_insert(now);
    }

    /// Listens from now on: the time since a [`pause`](Timer::pause) began was this side's own.
    fn listen(&mut self, now: Duration) {
        let Some(since) = self.paused.take() else { return };
        let own = now.saturating_sub(since);
        let later = |at: Duration| at.saturating_add(own).min(now);
        (self.received, self.moved) = (later(self.received), later(self.moved));
        if let Some(message) = &mut self.message {
            message.since = later(message.since);
        }
    }

    /// Returns until when this side may wait for its own work, unless that has passed.
    pub(super) fn check_pause(&mut self, now: Duration) -> Result<Duration, Stall> {
        self.pause(now);
        let after = self.deadlines.idle;
        let due = self.moved.saturating_add(after);
        if now >= due { Err(Stall::Idle { after }) } else { Ok(due) }
    }

    /// Handles that the floor comes to this side.
    pub(super) fn gain_floor(&mut self, now: Duration) {
        self.listen(now);
        self.floor = Some(now);
        self.turn = 0;
    }

    /// Handles that the floor passes to the peer. `moves`: this side's turn moved an entry.
    pub(super) fn pass(&mut self, now: Duration, moves: bool) {
        let own = self.floor.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.moved = if moves { now } else { self.moved.saturating_add(own) };
        self.is_moving = moves;
        self.received = now;
        self.message = None;
        self.answered = None;
    }

    /// Handles that bytes of this side are to be written.
    pub(super) fn sent(&mut self, now: Duration, bytes: u64) {
        self.sent = now;
        self.turn = self.turn.saturating_add(bytes);
        let writing = &mut self.writing;
        if writing.left == 0 {
            (writing.taken, writing.pace, writing.told) = (now, (now, 0), now);
        }
        writing.left = writing.left.saturating_add(bytes);
    }

    /// Handles that the stream took so many bytes.
    pub(super) fn take(&mut self, now: Duration, bytes: u64) -> Result<(), Stall> {
        let writing = &mut self.writing;
        (writing.is_told, writing.has_begun) = (true, writing.has_begun || bytes > 0);
        (writing.taken, writing.told) = (now, now);
        writing.left = writing.left.saturating_sub(bytes);
        let (_, taken) = &mut writing.pace;
        *taken = taken.saturating_add(bytes);
        if *taken >= LEAST || writing.left == 0 {
            writing.pace = (now, 0);
        }
        if self.floor.is_none() && self.answered.is_none() {
            // The peer has nothing to answer before.
            self.received = self.received.max(now);
            self.moved = if self.is_moving { now } else { self.moved };
        }
        self.first_due(now, [self.drip()])
    }

    /// Handles that this side writes on after a pause of its own making.
    pub(super) fn resume(&mut self, now: Duration) {
        let writing = &mut self.writing;
        let pause = now.saturating_sub(writing.told);
        writing.taken = writing.taken.saturating_add(pause);
        writing.pace.0 = writing.pace.0.saturating_add(pause);
        writing.told = now;
    }

    /// Handles that the stream takes no bytes at the moment.
    pub(super) fn check_blocked(&mut self, now: Duration) -> Result<(), Stall> {
        self.writing.is_told = true;
        self.writing.told = now;
        if self.writing.left > 0 {
            return self.first_due(now, [self.drip(), self.write(), self.begin()]);
        }
        // It holds what it took, and has not passed all of it on.
        let after = self.deadlines.silence.saturating_add(self.drain());
        let (stall, due) = (Stall::Write { after }, self.writing.taken.saturating_add(after));
        self.first_due(now, [(due, stall)])
    }

    /// Returns the next deadline while the peer has the floor and this side listens, unless one has
    /// passed.
    pub(super) fn check(&mut self, now: Duration) -> Result<Duration, Stall> {
        self.listen(now);
        let (due, stall) = self.next();
        if now >= due { Err(stall) } else { Ok(due) }
    }

    /// Returns whether this side sent nothing in its turn.
    pub(super) fn is_silent(&self) -> bool {
        self.turn == 0
    }

    /// Returns the time at which this side, having the floor and nothing to send, must send a
    /// heartbeat.
    pub(super) fn heartbeat_due(&self) -> Duration {
        self.sent.saturating_add(Deadlines::HEARTBEAT)
    }

    /// Returns the time at which the stream took the last byte of this side's turn, and that at which the
    /// first byte of the answer came.
    pub(super) fn answer(&self) -> (Duration, Option<Duration>) {
        (self.writing.taken, self.answered)
    }

    /// Returns the next deadline while the peer has the floor.
    fn next(&self) -> (Duration, Stall) {
        if self.writing.is_told && self.writing.left > 0 {
            return earlier(self.begin(), earlier(self.write(), self.drip()));
        }
        let limits = &self.deadlines;
        let due = |from: Duration, after: Duration| from.saturating_add(after);
        let drain = if self.answered.is_some() { Duration::ZERO } else { self.drain() };
        let after = limits.silence.saturating_add(drain);
        let mut next = (due(self.received, after), Stall::Silence { after });
        let after = limits.idle;
        next = earlier(next, (due(self.moved, after), Stall::Idle { after }));
        if let Some(message) = &self.message {
            let after = limits.progress;
            next = earlier(next, (due(message.since, after), Stall::Progress { after }));
        }
        if !self.greeted {
            let after = limits.hello;
            next = earlier(next, (due(self.began, after), Stall::Hello { after }));
        }
        next
    }

    /// Returns the longest time that this side's turn may stay in the buffers of a line, in whole
    /// seconds.
    fn drain(&self) -> Duration {
        let held = self.turn.min(Deadlines::BUFFERS);
        Duration::from_secs(held.checked_div(self.deadlines.rate).unwrap_or(held))
    }

    fn write(&self) -> (Duration, Stall) {
        let after = self.deadlines.silence;
        (self.writing.taken.saturating_add(after), Stall::Write { after })
    }

    /// Returns the deadline for the first byte, never due once the stream took one: one that shakes
    /// hands below takes none before.
    fn begin(&self) -> (Duration, Stall) {
        let after = self.deadlines.hello;
        let is_begun = self.greeted || self.writing.has_begun;
        let due = if is_begun { Duration::MAX } else { self.began.saturating_add(after) };
        (due, Stall::Hello { after })
    }

    /// Returns the deadline for a slow stream, never due once all is taken.
    fn drip(&self) -> (Duration, Stall) {
        let (after, (since, bytes)) = (self.deadlines.progress, self.writing.pace);
        let due = if self.writing.left > 0 { since.saturating_add(after) } else { Duration::MAX };
        (due, Stall::Drip { bytes, after })
    }

    fn first_due<const N: usize>(
        &self,
        now: Duration,
        dues: [(Duration, Stall); N],
    ) -> Result<(), Stall> {
        let first = dues.into_iter().reduce(earlier);
        first.filter(|(due, _)| now >= *due).map_or(Ok(()), |(_, stall)| Err(stall))
    }
}

/// Returns the deadline that is due first; the first of two that are due at once.
fn earlier(first: (Duration, Stall), second: (Duration, Stall)) -> (Duration, Stall) {
    if second.0 < first.0 { second } else { first }
}

/// Bytes of a message that must come within [`Deadlines::progress`], unless its end does: the block that a slow line is
/// offered by default, so that larger blocks do not ask for a faster line.
pub(super) const STEP: u64 = 256 << 10;

/// Bytes that a peer that listens must take within [`Deadlines::progress`]. Without it, one that takes a byte now and
/// then would be waited for as long as there is something to send. It is the smallest block that is advised for slow
/// lines.
const LEAST: u64 = 4096;
