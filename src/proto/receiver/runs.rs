//! Blocks of a file that will be replaced which the sender called the same: they are copied to their place with the floor.
//!
//! It is not known before how many they are: all of a file may be called the same before its last block differs. So they are
//! copied block by block between heartbeats, like all that takes the receiver long, and read again once they are at their place:
//! the file that they come from may have changed since it was hashed. Until then they count as known, as what was called
//! the same does, and not as verified.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ascending runs of blocks that do not touch.
#[derive(Debug, Default)]
pub(super) struct Runs(BTreeMap<u64, u64>);

impl Runs {
    /// Adds blocks of which none is there.
    pub(super) fn insert(&mut self, run: &Range<u64>) {
        let before = self.0.range(..run.start).next_back().filter(|(_, end)| **end == run.start);
        let start = before.map_or(run.start, |(start, _)| *start);
        let end = self.0.remove(&run.end).unwrap_or(run.end);
        self.0.insert(start, end);
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        self.0.range(..=index).next_back().is_some_and(|(_, end)| index < *end)
    }

    /// Returns the first block.
    pub(super) fn first(&self) -> Option<u64> {
        self.0.first_key_value().map(|(start, _)| *start)
    }

    /// Takes the first block off.
    pub(super) fn remove_first(&mut self) {
        let Some((start, end)) = self.0.pop_first() else { return };
        let start = start.saturating_add(1);
        if start < end {
            self.0.insert(start, end);
        }
    }

    /// Forgets all runs that begin at this block or after it.
    pub(super) fn truncate(&mut self, index: u64) {
        drop(self.0.split_off(&index));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of runs.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Runs;

    #[test]
    fn runs_are_the_blocks_that_were_added_in_whatever_order() {
        for seed in 0_u64..200 {
            let (mut runs, mut model, mut state) = (Runs::default(), BTreeSet::new(), seed);
            for _ in 0..40 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (start, len) = ((state >> 33) % 50, (state >> 50) % 4 + 1);
                let run = start..start + len;
                if run.clone().any(|index| model.contains(&index)) {
                    runs.remove_first();
                    model.pop_first();
                } else {
                    runs.insert(&run);
                    model.extend(run);
                }
                let flat: Vec<_> = runs.iter().flatten().collect();
                assert_eq!(flat, Vec::from_iter(model.iter().copied()), "seed {seed}");
                let all: Vec<_> = runs.iter().collect();
                assert!(all.windows(2).all(|pair| pair[0].end < pair[1].start), "{all:?}");
                assert!((0..60).all(|index| runs.contains(index) == model.contains(&index)));
                assert_eq!(runs.first(), model.first().copied());
            }
        }
    }
}
