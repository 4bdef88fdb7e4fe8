//! Speed of bytes over the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A count of bytes over the last [`WINDOW`], from which a rate is taken.
///
/// What a connection takes at its start fills buffers of this machine, and says nothing of the line: the count begins
/// [`SETTLING`] later, and no rate is given before [`LEAST`] of it have passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Speed {
    /// End of the time in which what passes only fills buffers.
    settled: Option<Instant>,
    /// The count at some times, at least [`STEP`] apart, the oldest first.
    samples: VecDeque<(Instant, u64)>,
    /// The last count.
    bytes: u64,
}

impl Speed {
    /// Begins anew with a connection: what passed on an earlier one does not count.
    pub(crate) fn restart(&mut self) {
        self.settled = None;
        self.samples.clear();
    }

    /// Notes that the count is at `bytes` now.
    pub(crate) fn add(&mut self, now: Instant, bytes: u64) {
        self.bytes = bytes;
        let settled = *self.settled.get_or_insert(now + SETTLING);
        if now < settled {
            self.samples.clear();
            self.samples.push_back((now, bytes));
            return;
        }
        if self.samples.back().is_none_or(|(last, _)| now.duration_since(*last) >= STEP) {
            self.samples.push_back((now, bytes));
        }
        // The one before the window is where it begins.
        while self.samples.get(1).is_some_and(|(next, _)| now.duration_since(*next) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    /// Returns bytes per second, once that can be told.
    pub(crate) fn per_second(&self, now: Instant) -> Option<u64> {
        let from = self.samples.iter().rev().find(|(at, _)| now.duration_since(*at) >= WINDOW);
        let (start, before) = from.or(self.samples.front())?;
        let time = now.duration_since(*start);
        if time < LEAST {
            return None;
        }
        let bytes = u128::from(self.bytes.saturating_sub(*before));
        u64::try_from(bytes * 1000 / time.as_millis().max(1)).ok()
    }
}

/// Time over which a rate is taken.
const WINDOW: Duration = Duration::from_secs(3);

/// Time at the start of a connection that does not count.
const SETTLING: Duration = Duration::from_millis(500);

/// Time over less than which no rate is told.
const LEAST: Duration = Duration::from_millis(500);

const STEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// The rates that are shown each 10 ms while a line passes `rate` bytes a second, after a burst into its buffers.
    fn rates(rate: u64, burst: u64, millis: u32) -> Vec<Option<u64>> {
        let (mut speed, start) = (Speed::default(), Instant::now());
        let each = (0..millis).step_by(10);
        each.map(|at| {
            let now = start + at * MILLI;
            speed.add(now, burst + rate * u64::from(at) / 1000);
            speed.per_second(now)
        })
        .collect()
    }

    #[test]
    fn speed_is_that_of_the_line_and_not_of_the_buffers_before_it() {
        let shown = rates(100_000, 4 << 20, 10_000);
        assert!(shown[..95].iter().all(Option::is_none), "{shown:?}");
        assert!(
            shown[110..].iter().all(|rate| rate.is_some_and(|rate| rate.abs_diff(100_000) < 5_000)),
            "{shown:?}"
        );
    }

    #[test]
    fn speed_falls_to_nothing_when_nothing_passes() {
        let (mut speed, start) = (Speed::default(), Instant::now());
        for at in 0..30 {
            speed.add(start + at * 100 * MILLI, u64::from(at) * 1000);
        }
        assert!(speed.per_second(start + 3000 * MILLI).is_some_and(|rate| rate > 9000));
        let later = start + 9000 * MILLI;
        speed.add(later, 29_000);
        assert_eq!(speed.per_second(later + 100 * MILLI), Some(0));
    }

    #[test]
    fn speed_of_a_new_connection_begins_anew() {
        let (mut speed, start) = (Speed::default(), Instant::now());
        for at in 0..30 {
            speed.add(start + at * 100 * MILLI, u64::from(at) * 1000);
        }
        speed.restart();
        speed.add(start + 3100 * MILLI, 30_000);
        assert_eq!(speed.per_second(start + 3200 * MILLI), None);
    }
}
