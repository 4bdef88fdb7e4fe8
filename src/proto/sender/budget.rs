//! Length of a turn. Rules T-1 to T-4 of the wire document.

use std::time::Duration;

use crate::config::{Deadlines, Turn};

/// The bytes and the time that the sender may still send in this turn.
///
/// A turn costs a round trip, in which the line is idle. The budget starts with what an ordinary file needs
/// and grows fourfold while the wait for an answer is more than a fiftieth of the turn. It never grows beyond what the line
/// moved in the time of a turn, as far as answers show; and it shrinks to that where the answer to a turn begins so late that the
/// line, or what buffers it has, must have been filled for long.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    /// Bytes of a turn, as of now.
    bytes: u64,
    max_bytes: u64,
    max_time: Duration,
    /// Bytes sent in this turn.
    spent: u64,
    /// Time at which this turn began.
    began: Duration,
    /// The last turn is over: whether its bytes were spent.
    passed: Option<bool>,
}

/// A turn should be this many times as long as the wait for an answer to it: 2 % of the line is lost.
const TURN_PER_WAIT: u32 = 50;

/// Factor by which the budget grows.
const GROWTH: u64 = 4;

/// A turn is too long if its answer begins after this many times the time that it may take.
const TOO_LONG: u32 = 3;

/// A turn does not shrink below this: what the slowest line that the defaults are for moves in four seconds.
const LEAST: u64 = 64 << 10;

impl Budget {
    pub(super) fn new(turn: &Turn) -> Self {
        Self {
            bytes: turn.initial_bytes.min(turn.max_bytes),
            max_bytes: turn.max_bytes,
            max_time: turn.max_time,
            spent: 0,
            began: Duration::ZERO,
            passed: None,
        }
    }

    /// Takes the peer's limit into account.
    pub(super) fn limit(&mut self, max_bytes: u64) {
        self.max_bytes = self.max_bytes.min(max_bytes);
        self.bytes = self.bytes.min(self.max_bytes);
    }

    /// Handles that the floor came. The stream took the last byte of the turn before at `written`, and the answer
    /// to it began at `answered`.
    pub(super) fn begin(&mut self, now: Duration, written: Duration, answered: Option<Duration>) {
        if let Some(by_bytes) = self.passed.take() {
            let answered = answered.unwrap_or(now).saturating_sub(self.began);
            let moved = self.moved_within_a_turn(answered);
            // A receiver that is busy reports it after a while, whatever the line does.
            let turn = self.max_time.max(Deadlines::HEARTBEAT);
            let (length, wait) = (written.saturating_sub(self.began), now.saturating_sub(written));
            if answered > turn.saturating_mul(TOO_LONG) {
                self.bytes = self.bytes.min(moved.max(LEAST));
            } else if by_bytes && wait.saturating_mul(TURN_PER_WAIT) > length {
                let grown = self.bytes.saturating_mul(GROWTH).min(moved);
                self.bytes = self.bytes.max(grown).min(self.max_bytes);
            }
        }
        self.spent = 0;
        self.began = now;
    }

    /// Returns the bytes that the line moves in the time of a turn, if it moved this turn in so
    /// long.
    fn moved_within_a_turn(&self, time: Duration) -> u64 {
        let (turn, time) = (self.max_time.as_nanos(), time.as_nanos().max(1));
        let moved = u128::from(self.spent).saturating_mul(turn).checked_div(time);
        u64::try_from(moved.unwrap_or(u128::MAX)).unwrap_or(u64::MAX)
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.spent = self.spent.saturating_add(bytes as u64);
    }

    /// Returns whether the turn must end.
    pub(super) fn is_spent(&self, now: Duration) -> bool {
        self.spent >= self.bytes || self.is_late(now)
    }

    /// Returns whether the turn must end for its length in time alone.
    pub(super) fn is_late(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= self.max_time
    }

    /// Returns whether less than half of the bytes are spent.
    pub(super) fn is_fresh(&self) -> bool {
        self.spent < self.bytes / 2
    }

    /// Passes the floor.
    pub(super) fn pass(&mut self) {
        self.passed = Some(self.spent >= self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn budget() -> Budget {
        Budget::new(&Turn::default().initial_bytes(100).max_bytes(1000).max_time(5 * SECOND))
    }

    /// Turns of all that may be sent, one after the other.
    struct Turns {
        budget: Budget,
        at: Duration,
        last: (Duration, Duration),
    }

    impl Turns {
        fn new(budget: Budget) -> Self {
            Self { budget, at: SECOND, last: (SECOND, SECOND) }
        }

        /// Runs a turn that takes `length` to be written, whose answer begins, and ends, after `wait`; returns its
        /// bytes.
        fn turn(&mut self, length: Duration, wait: Duration) -> u64 {
            let (written, answered) = self.last;
            self.budget.begin(self.at, written, Some(answered));
            let bytes = self.budget.bytes;
            self.budget.spend(usize::try_from(bytes).unwrap());
            self.budget.pass();
            let written = self.at + length;
            self.at = written + wait;
            self.last = (written, self.at);
            bytes
        }
    }

    #[test]
    fn turn_ends_by_bytes_or_by_time() {
        let mut budget = budget();
        budget.begin(SECOND, SECOND, None);
        budget.spend(99);
        assert!(!budget.is_spent(SECOND) && !budget.is_fresh());
        budget.spend(1);
        assert!(budget.is_spent(SECOND));
        budget.begin(2 * SECOND, SECOND, None);
        assert!(budget.is_fresh() && !budget.is_spent(6 * SECOND) && budget.is_spent(7 * SECOND));
    }

    #[test]
    fn budget_grows_while_the_wait_is_long_against_the_turn() {
        let mut turns = Turns::new(budget());
        assert_eq!(turns.turn(SECOND, SECOND / 49), 100);
        assert_eq!(turns.turn(SECOND, SECOND / 50), 400);
        assert_eq!(turns.turn(SECOND, SECOND / 2), 400, "a short wait leaves it as it is");
        assert_eq!(turns.turn(SECOND, SECOND), 1000, "the limit holds");
    }

    #[test]
    fn budget_grows_to_no_more_than_the_line_moves_in_the_time_of_a_turn() {
        let mut turns = Turns::new(budget());
        assert_eq!(turns.turn(2 * SECOND, 2 * SECOND), 100);
        assert_eq!(turns.turn(2 * SECOND, 2 * SECOND), 125);
    }

    #[test]
    fn budget_shrinks_to_what_the_line_moves_after_an_answer_that_began_late() {
        let turn = Turn::default();
        let mut turns = Turns::new(Budget::new(&turn));
        // All of it is taken at once, by something in between.
        assert_eq!(turns.turn(Duration::ZERO, 100 * SECOND), 16 << 20);
        assert_eq!(turns.turn(Duration::ZERO, 5 * SECOND), (16 << 20) / 20);
        assert_eq!(turns.turn(Duration::ZERO, 1000 * SECOND), (16 << 20) / 20);
        assert_eq!(turns.turn(Duration::ZERO, SECOND), LEAST);
    }

    #[test]
    fn budget_of_a_receiver_that_is_busy_does_not_shrink() {
        let mut budget = budget();
        budget.begin(SECOND, SECOND, None);
        budget.spend(100);
        budget.pass();
        // It says that it lives after five seconds, and all else after many.
        budget.begin(1000 * SECOND, 2 * SECOND, Some(7 * SECOND));
        assert!(budget.bytes >= 100);
    }

    #[test]
    fn budget_does_not_grow_after_a_turn_that_had_little_to_say() {
        let mut budget = budget();
        budget.begin(SECOND, SECOND, None);
        budget.spend(10);
        budget.pass();
        budget.begin(10 * SECOND, SECOND, Some(10 * SECOND));
        assert_eq!(budget.bytes, 100);
    }

    #[test]
    fn budget_keeps_to_the_lower_limit_of_both_sides() {
        let mut budget = budget();
        budget.limit(50);
        assert_eq!(budget.bytes, 50);
    }
}
