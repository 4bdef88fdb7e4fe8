//! Turns: who has the floor, what was sent in it, and whether the session moves.

use std::time::Duration;

/// The turns of a session, as the receiver counts them.
#[derive(Debug)]
pub(super) struct Turn {
    /// This side has greeted: from then on there are turns.
    greeted: bool,
    /// The sender is to wait, though there is nothing to wait for here.
    keeps_floor: bool,
    /// The sender reported that it cannot go on without an answer.
    waited_for: bool,
    /// Set once something but heartbeats was sent in this turn.
    spoke: bool,
    /// Set once something was sent in this turn with which the sender can go on. Invariant: then
    /// `spoke`, too.
    advanced: bool,
    /// The sender sent nothing but heartbeats in its turn.
    is_patient: bool,
    began: Duration,
    /// State of the entries when something last moved one.
    mark: Mark,
    /// The end of the first turn since then in which the sender neither moved one nor waited.
    quiet_since: Option<Duration>,
}

/// Sums over the entries of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub(super) offered: u32,
    /// Bytes.
    pub(super) arrived: u64,
    pub(super) ended: u64,
}

/// Message that was sent to the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// Message with which it can go on.
    Advance,
    /// This ends something.
    Verdict,
}

impl Turn {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            greeted: false,
            keeps_floor: false,
            waited_for: false,
            spoke: false,
            advanced: false,
            is_patient: false,
            began: now,
            mark: Mark::default(),
            quiet_since: None,
        }
    }

    /// Keeps the floor from its next turn on, or no longer.
    pub(super) const fn keep_floor(&mut self, keep: bool) {
        self.keeps_floor = keep;
    }

    /// Notes that this side greets. Returns whether it has yet to.
    pub(super) const fn greet(&mut self) -> bool {
        !std::mem::replace(&mut self.greeted, true)
    }

    /// Notes that the sender lives, and has nothing else to send.
    pub(super) const fn note_heartbeat(&mut self) {
        self.is_patient = true;
    }

    /// Begins a turn of this side. `waiting`: the sender cannot go on without an answer. Returns whether the sender
    /// reported that it lives and has nothing else.
    pub(super) fn begin(&mut self, now: Duration, waiting: bool) -> bool {
        // The greeting asks for a greeting.
        self.waited_for = waiting && self.greeted;
        (self.spoke, self.advanced) = (false, false);
        self.began = now;
        if !waiting && self.greeted {
            self.quiet_since.get_or_insert(now);
        }
        std::mem::take(&mut self.is_patient) && !waiting
    }

    /// Notes that something but a heartbeat was sent.
    pub(super) const fn note(&mut self, sent: Sent) {
        self.spoke = true;
        self.advanced |= matches!(sent, Sent::Advance);
    }

    /// Returns whether anything moved an entry since this was asked last.
    pub(super) fn has_moved(&mut self, mark: Mark) -> bool {
        let has_moved = std::mem::replace(&mut self.mark, mark) != mark;
        if has_moved {
            self.quiet_since = None;
        }
        has_moved
    }

    pub(super) const fn has_greeted(&self) -> bool {
        self.greeted
    }

    pub(super) const fn keeps_floor(&self) -> bool {
        self.keeps_floor
    }

    /// Returns whether the sender cannot go on without an answer.
    pub(super) const fn is_waited_for(&self) -> bool {
        self.waited_for
    }

    /// Returns whether the sender needs an answer and has received nothing so far.
    pub(super) const fn owes_answer(&self) -> bool {
        self.waited_for && !self.spoke
    }

    /// Returns whether the sender needs more of an answer than it received so far. `is_late`: a turn that is this long
    /// ends with whatever was sent.
    pub(super) const fn owes_more(&self, is_late: bool) -> bool {
        self.waited_for && !(self.advanced || is_late && self.spoke)
    }

    /// Returns when this turn began.
    pub(super) const fn began(&self) -> Duration {
        self.began
    }

    /// Returns since when the sender has moved nothing, though it waited for nothing.
    pub(super) const fn quiet_since(&self) -> Option<Duration> {
        self.quiet_since
    }
}
