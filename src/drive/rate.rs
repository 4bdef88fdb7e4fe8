//! A limit on bytes per second that sessions share.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::{Clock, SharedClock, SystemClock};
use crate::config::Config;
use crate::hash::BlockSize;

/// Limit of the bytes of content per second, for all that share it: clones are one limit.
///
/// It counts what a sender writes and what a receiver reads: the direction of the content. Over any time `t`, no more
/// than `rate × t` pass, and [`RateLimit::BURST`] and for each session [`RateLimit::PIECE`] worth of bytes beyond that.
/// What a pause of the stream leaves unused is lost but for that burst.
///
/// A slow rate makes nobody look silent: bytes move in small pieces, and with a limit a transfer takes blocks and turns
/// that last [`RateLimit::TURN`] at most; the other side learns these from the greeting, and keeps to them too.
///
/// ```
/// use haul::drive::RateLimit;
/// use haul::{Config, Transfer};
///
/// let limit = RateLimit::per_second(1_000_000).ok_or("too slow to keep a session alive")?;
/// let transfer = Transfer::new(Config::default()).limit_rate(limit.clone());
/// # Ok::<(), &str>(())
/// ```
#[derive(Clone)]
pub struct RateLimit {
    /// Bytes per second. Invariant: at least [`RateLimit::MIN`].
    rate: u64,
    shared: Arc<Shared>,
}

struct Shared {
    clock: SharedClock,
    /// Time at which all that has passed is paid for.
    paid: Mutex<Duration>,
}

impl RateLimit {
    /// The lowest rate, in bytes per second: below it, greetings and the smallest blocks would come too late for a
    /// peer's [`Deadlines`](crate::config::Deadlines).
    pub const MIN: u64 = 256;

    /// Longest pause that may be made up for: 100 ms. It hides that a thread wakes up late.
    pub const BURST: Duration = Duration::from_millis(100);

    /// Time worth of bytes that pass at once: 20 ms, and at least a byte.
    pub const PIECE: Duration = Duration::from_millis(20);

    /// Longest time of a turn: 5 s, well under a peer's deadlines; and as long as the head and the name of its last
    /// message beyond. Where sessions share a limit so that each has less than [`RateLimit::MIN`], it is longer: they
    /// wait for one another, each with a block of 1 KiB.
    pub const TURN: Duration = Duration::from_secs(5);

    /// Returns a limit of so many bytes per second; `None` if that is less than [`RateLimit::MIN`].
    #[must_use]
    pub fn per_second(bytes: u64) -> Option<Self> {
        Self::with_clock(bytes, SystemClock::new())
    }

    /// Works as [`per_second`](RateLimit::per_second), by another clock: for tests.
    #[must_use]
    pub fn with_clock(bytes: u64, clock: impl Clock + Send + Sync + 'static) -> Option<Self> {
        let paid = Mutex::new(clock.now());
        let shared = Shared { clock: SharedClock::new(clock), paid };
        (bytes >= Self::MIN).then(|| Self { rate: bytes, shared: Arc::new(shared) })
    }

    /// Returns the limit in bytes per second.
    #[must_use]
    pub const fn bytes_per_second(&self) -> u64 {
        self.rate
    }

    /// Returns the most bytes to move before [`spend`](RateLimit::spend) is asked.
    #[must_use]
    pub fn piece(&self) -> usize {
        usize::try_from(self.bytes_in(Self::PIECE)).unwrap_or(usize::MAX).max(1)
    }

    /// Counts bytes that have passed, and returns the time to wait before the next.
    #[must_use = "the limit holds only if the caller waits"]
    pub fn spend(&self, bytes: usize) -> Duration {
        let mut paid = self.shared.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.shared.clock.now();
        let start = (*paid).max(now.saturating_sub(Self::BURST));
        *paid = start.saturating_add(self.time_for(bytes as u64));
        paid.saturating_sub(now)
    }

    /// Makes blocks and turns no longer than they may be if `sessions` share the limit.
    pub(super) fn fit(&self, config: &mut Config, sessions: u64) {
        let bytes = self.bytes_in(Self::TURN) / sessions.max(1);
        // A turn ends with the block that goes beyond its bytes: there must be room for that one.
        let block = BlockSize::at_most(bytes / 2);
        config.blocks = config.blocks.at_most(block);
        config.limits.block = config.limits.block.min(block);
        config.turn.max_bytes =
            config.turn.max_bytes.min(bytes.saturating_sub(block.bytes()).max(Self::MIN));
    }

    fn bytes_in(&self, time: Duration) -> u64 {
        let bytes = u128::from(self.rate).saturating_mul(time.as_millis()) / 1000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Returns the time for so many bytes, rounded up, so that the limit holds.
    fn time_for(&self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes).saturating_mul(1_000_000_000).div_ceil(self.rate.into());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("rate", &self.rate).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Default)]
    struct Virtual(Arc<Mutex<Duration>>);

    impl Clock for Virtual {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn sleep(&self, time: Duration) {
            *self.0.lock().unwrap() += time;
        }
    }

    #[test]
    fn rate_below_the_least_is_none() {
        for (bytes, is_some) in
            [(0, false), (1, false), (255, false), (256, true), (u64::MAX, true)]
        {
            assert_eq!(RateLimit::per_second(bytes).is_some(), is_some, "{bytes}");
        }
    }

    #[test]
    fn fit_keeps_blocks_and_turns_short_and_never_makes_them_longer() {
        let fit = |rate, sessions| {
            let mut config = Config::default();
            RateLimit::per_second(rate).unwrap().fit(&mut config, sessions);
            (config.blocks.most().bytes(), config.limits.block.bytes(), config.turn.max_bytes)
        };
        assert_eq!(fit(256, 1), (1024, 1024, 256));
        assert_eq!(fit(900, 1), (2048, 2048, 2452));
        assert_eq!(fit(1024, 1), (2048, 2048, 3072));
        assert_eq!(fit(1024, 4), (1024, 1024, 256));
        assert_eq!(fit(256, 4), (1024, 1024, 256));
        assert_eq!(fit(100_000, 1), (128 << 10, 128 << 10, 368_928));
        assert_eq!(fit(200_000, 1), (256 << 10, 256 << 10, 737_856));
        let default = Config::default();
        assert_eq!(
            fit(u64::MAX, 1),
            (default.blocks.most().bytes(), default.limits.block.bytes(), default.turn.max_bytes)
        );
    }

    proptest! {
        /// Sessions by turns, with pauses of the line between: the limit holds from any moment to any other, and what
        /// is waited is never so long that somebody would look silent.
        #[test]
        fn spend_keeps_to_the_rate_between_any_two_moments(
            rate in prop_oneof![256_u64..5000, 5000_u64..(1 << 40)],
            moves in prop::collection::vec((0_u8..3, 0_usize..=100, 0_u64..300), 1..60),
        ) {
            let clock = Virtual::default();
            let limit = RateLimit::with_clock(rate, clock.clone()).unwrap();
            let sessions = [(); 3].map(|()| limit.clone());
            let mut ready = [Duration::ZERO; 3];
            let mut passed: Vec<(Duration, u64)> = Vec::new();
            for (who, part, pause) in moves {
                clock.sleep(Duration::from_millis(pause));
                let who = usize::from(who);
                let now = clock.now();
                clock.sleep(ready[who].saturating_sub(now));
                let bytes = limit.piece() / 100 * part + limit.piece() % 100 * part / 100;
                passed.push((clock.now(), bytes as u64));
                let wait = sessions[who].spend(bytes);
                let longest = 4 * limit.time_for(limit.piece() as u64);
                prop_assert!(wait <= longest, "{:?}", wait);
                ready[who] = clock.now() + wait;
            }
            for (i, (from, _)) in passed.iter().enumerate() {
                let mut sum = 0_u64;
                for (to, bytes) in &passed[i..] {
                    sum += bytes;
                    let time = *to - *from + RateLimit::BURST;
                    let most = limit.bytes_in(time) + 4 * limit.piece() as u64 + 1;
                    prop_assert!(sum <= most, "{} bytes in {:?} at {}", sum, *to - *from, rate);
                }
            }
        }
    }
}
