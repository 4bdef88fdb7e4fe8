//! Policy by which a lost connection is made anew: when, and for how long.

use std::time::Duration;

/// Policy by which a lost connection is made anew: with pauses that double from [`Retry::first`] to
/// [`Retry::most`], each shortened at random by up to half, until nothing has advanced for
/// [`Retry::patience`].
///
/// What advances is what no later connection does again: content that arrives, files that are hashed to compare them
/// with what the receiver holds, entries that are settled. A comparison of large files may so take many connections.
///
/// Only errors that [`Error::is_transient`](crate::Error::is_transient) are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// Longest time without any progress. Default: 60 s. Zero: no second attempt.
    ///
    /// A receiver that is busy ([`AbortCode::Busy`](crate::types::AbortCode::Busy)) is there, and others are served: it
    /// is asked again for up to [`Deadlines::idle`](crate::Deadlines), 15 min, that do not count, as a sender that
    /// waits in its line would.
    pub patience: Duration,
    /// The first pause. Default: 250 ms. At least [`Retry::LEAST`]: less counts as that.
    pub first: Duration,
    /// The longest pause. Default: 10 s. At least [`Retry::LEAST`], likewise.
    pub most: Duration,
    /// Set if connections are tried again before any peer has greeted. Default: no, so that a wrong address, or a
    /// program there that is not a haul peer, is known at once.
    pub initial: bool,
}

impl Retry {
    /// The shortest pause that can be set, before a part of it is taken off at random: 10 ms. A peer that refuses every
    /// connection is so asked 200 times a second at most.
    pub const LEAST: Duration = Duration::from_millis(10);

    /// Makes no second attempt.
    #[must_use]
    pub const fn never() -> Self {
        Self {
            patience: Duration::ZERO,
            first: Duration::from_millis(250),
            most: Duration::from_secs(10),
            initial: false,
        }
    }

    /// Goes on for `patience` without progress, also before any peer has greeted.
    #[must_use]
    pub const fn patiently(patience: Duration) -> Self {
        Self { patience, initial: true, ..Self::never() }
    }

    /// Sets [`Retry::patience`](Retry#structfield.patience).
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sets [`Retry::first`](Retry#structfield.first).
    #[must_use]
    pub const fn first(mut self, first: Duration) -> Self {
        self.first = first;
        self
    }

    /// Sets [`Retry::most`](Retry#structfield.most).
    #[must_use]
    pub const fn most(mut self, most: Duration) -> Self {
        self.most = most;
        self
    }

    /// Retries also where the peer was never reached; sets [`Retry::initial`](Retry#structfield.initial).
    #[must_use]
    pub const fn before_first_contact(mut self) -> Self {
        self.initial = true;
        self
    }

    /// Returns the pause before retry number `retry`, counted from 0; `random` shortens it.
    pub(super) fn pause(&self, retry: u32, random: u64) -> Duration {
        let first = self.first.max(Self::LEAST);
        let doubled = first.saturating_mul(1_u32.checked_shl(retry).unwrap_or(u32::MAX));
        let pause = doubled.min(self.most.max(Self::LEAST));
        // Between half and all of it, in steps of 1/2048 of the half.
        let part = u32::try_from(random % 1025).unwrap_or(0) + 1024;
        pause.saturating_mul(part) / 2048
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { patience: Duration::from_secs(60), ..Self::never() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_up_to_the_most_and_varies_by_half() {
        let retry = Retry::default();
        for number in 0..70 {
            let whole = retry.pause(number, 1024);
            let half = retry.pause(number, 0);
            let expected = 250_u64.checked_shl(number).filter(|_| number < 6).unwrap_or(10_000);
            assert_eq!(whole, Duration::from_millis(expected.min(10_000)), "{number}");
            assert_eq!(half * 2, whole, "{number}");
            assert!((half..=whole).contains(&retry.pause(number, u64::MAX)));
        }
    }

    #[test]
    fn pause_is_never_so_short_that_retries_spin() {
        let zero = Retry::default().first(Duration::ZERO);
        for (number, most) in [(0, 10), (1, 20), (5, 320), (40, 10_000)] {
            assert_eq!(zero.pause(number, 1024), Duration::from_millis(most), "{number}");
            assert_eq!(zero.most(Duration::ZERO).pause(number, 0), Retry::LEAST / 2, "{number}");
        }
    }

    #[test]
    fn retry_setters_set_their_fields() {
        let [patience, first, most] = [1, 2, 3].map(Duration::from_secs);
        let retry =
            Retry::never().patience(patience).first(first).most(most).before_first_contact();
        assert_eq!(retry, Retry { patience, first, most, initial: true });
    }
}
