//! Limit on reports of strangers: whoever can connect could have any number of lines written otherwise.

use std::time::Duration;

/// Choice of the strangers that are reported: [`Strangers::FIRST`] at once, one more every
/// [`Strangers::EVERY`], and how many the others are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Strangers {
    /// Time at which all reports are made up for.
    due: Duration,
    unheard: u64,
}

impl Strangers {
    const FIRST: u32 = 16;
    const EVERY: Duration = Duration::from_secs(10);

    /// Counts one that was there now. `Some`: it is reported, with the number of those since the last one that
    /// was reported.
    pub(super) fn count(&mut self, now: Duration) -> Option<u64> {
        let due = self.due.max(now).saturating_add(Self::EVERY);
        if due.saturating_sub(now) > Self::EVERY.saturating_mul(Self::FIRST) {
            self.unheard = self.unheard.saturating_add(1);
            return None;
        }
        self.due = due;
        Some(std::mem::take(&mut self.unheard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_of_one_by_one_up_to_a_number_and_counted_after() {
        let mut strangers = Strangers::default();
        // A thousand a second, for 100 s.
        let told: Vec<_> = (0..100_000)
            .filter_map(|number| strangers.count(Duration::from_millis(number)))
            .collect();
        assert_eq!(told.len(), 16 + 9, "{told:?}");
        assert_eq!(told[..16], [0; 16]);
        assert!(told[17..].iter().all(|unheard| *unheard == 9999), "{told:?}");
        // After a while they are reported again, each.
        let later = Duration::from_secs(100 + 160);
        assert!(strangers.count(later).is_some_and(|unheard| unheard > 0));
        assert_eq!((0..20).filter_map(|_| strangers.count(later)).count(), 15);
    }
}
