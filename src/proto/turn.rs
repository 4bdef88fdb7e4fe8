//! How long a turn lasts. Rules T-1 to T-4 of the wire document.

use std::time::Duration;

use crate::config::Turn;

/// The bytes and the time that the sender may still speak in this turn.
///
/// A turn costs a round trip, in which the line is idle. The budget starts with what an ordinary file needs
/// and grows fourfold while the wait for an answer is more than a fiftieth of the turn.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    /// Bytes of a turn, as of now.
    bytes: u64,
    max_bytes: u64,
    max_time: Duration,
    /// Bytes spoken in this turn.
    spent: u64,
    /// When this turn began.
    began: Duration,
    /// When the last turn ended, if it ended because its bytes were spent; and how long it was.
    passed: Option<(Duration, Duration)>,
}

/// A turn should be this many times as long as the wait for an answer to it: 2 % of the line is lost.
const TURN_PER_WAIT: u32 = 50;

/// How fast the budget grows.
const GROWTH: u64 = 4;

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

    /// The floor came.
    pub(super) fn begin(&mut self, now: Duration) {
        if let Some((passed, length)) = self.passed.take() {
            let wait = now.saturating_sub(passed);
            if wait.saturating_mul(TURN_PER_WAIT) > length {
                self.bytes = self.bytes.saturating_mul(GROWTH).min(self.max_bytes);
            }
        }
        self.spent = 0;
        self.began = now;
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.spent = self.spent.saturating_add(bytes as u64);
    }

    /// Whether the turn must end.
    pub(super) fn is_spent(&self, now: Duration) -> bool {
        self.spent >= self.bytes || self.is_late(now)
    }

    /// Whether the turn must end for its length in time alone.
    pub(super) fn is_late(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= self.max_time
    }

    /// Whether less than half of the bytes are spent.
    pub(super) fn is_fresh(&self) -> bool {
        self.spent < self.bytes / 2
    }

    /// The floor passes.
    pub(super) fn pass(&mut self, now: Duration) {
        let by_bytes = self.spent >= self.bytes;
        self.passed = by_bytes.then(|| (now, now.saturating_sub(self.began)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn budget() -> Budget {
        Budget::new(&Turn::default().initial_bytes(100).max_bytes(1000).max_time(5 * SECOND))
    }

    #[test]
    fn turn_ends_by_bytes_or_by_time() {
        let mut budget = budget();
        budget.begin(SECOND);
        budget.spend(99);
        assert!(!budget.is_spent(SECOND) && !budget.is_fresh());
        budget.spend(1);
        assert!(budget.is_spent(SECOND));
        budget.begin(2 * SECOND);
        assert!(budget.is_fresh() && !budget.is_spent(6 * SECOND) && budget.is_spent(7 * SECOND));
    }

    #[test]
    fn budget_grows_while_the_wait_is_long_against_the_turn() {
        let mut budget = budget();
        let mut turn = |length: Duration, wait: Duration, at: &mut Duration| {
            budget.begin(*at);
            let bytes = budget.bytes;
            budget.spend(usize::try_from(bytes).unwrap());
            *at += length;
            budget.pass(*at);
            *at += wait;
            bytes
        };
        let mut at = SECOND;
        assert_eq!(turn(SECOND, SECOND / 49, &mut at), 100);
        assert_eq!(turn(SECOND, SECOND / 50, &mut at), 400);
        assert_eq!(turn(SECOND, SECOND, &mut at), 400, "a short wait leaves it as it is");
        assert_eq!(turn(SECOND, SECOND, &mut at), 1000, "the limit holds");
    }

    #[test]
    fn budget_does_not_grow_after_a_turn_that_had_little_to_say() {
        let mut budget = budget();
        budget.begin(SECOND);
        budget.spend(10);
        budget.pass(SECOND);
        budget.begin(100 * SECOND);
        assert_eq!(budget.bytes, 100);
    }

    #[test]
    fn budget_keeps_to_the_lower_limit_of_both_sides() {
        let mut budget = budget();
        budget.limit(50);
        assert_eq!(budget.bytes, 50);
    }
}
