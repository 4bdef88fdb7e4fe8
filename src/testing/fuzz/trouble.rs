//! Faults of a store, chosen by the end of an input.

use super::super::choices::Choices;
use super::super::store::{Failure, Fault, FaultStore, StoreCall};
use super::scarce::{Scarce, Troubled};
use crate::store::MemoryStore;
use crate::types::Refusal;

/// Nothing, unless an input chooses so.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// A bit for each store that has some.
    stores: u8,
    descriptors: Option<usize>,
    /// Number of times that a store is asked in vain whether a commit ended.
    delay: u8,
    /// Set if both sides, where they begin anew, keep the source and the store that they have.
    calls_again: bool,
    faults: Vec<Fault>,
}

impl Trouble {
    /// Returns the trouble that an input chooses, and the rest of the input.
    pub(super) fn of(data: &[u8]) -> (&[u8], Self) {
        let Some((rest, [said @ .., MARK])) = data.split_last_chunk::<LEN>() else {
            return (data, Self::default());
        };
        let mut choices = Choices::new(said);
        let (stores, descriptors) = (choices.byte(), choices.below(8));
        let descriptors = (descriptors > 0).then(|| usize::from(descriptors) - 1);
        let how = choices.byte();
        let (delay, calls_again) = (how % 4, how >= 0x80);
        let faults = (0..choices.below(3)).map(|_| fault(&mut choices)).collect();
        (rest, Self { stores, descriptors, delay, calls_again, faults })
    }

    pub(super) const fn calls_again(&self) -> bool {
        self.calls_again
    }

    #[cfg(test)]
    pub(super) const fn is_none(&self) -> bool {
        self.stores == 0 && self.descriptors.is_none() && self.faults.is_empty()
    }

    /// Returns the store with this number, over another one.
    pub(super) fn store(&self, store: &MemoryStore, number: usize) -> Troubled {
        if self.stores >> number & 1 == 0 {
            return FaultStore::new(Scarce::new(store.clone(), usize::MAX, 0));
        }
        let most = self.descriptors.unwrap_or(usize::MAX);
        let scarce = Scarce::new(store.clone(), most, self.delay);
        self.faults.iter().fold(FaultStore::new(scarce), |store, fault| store.fault(*fault))
    }

    /// Returns a store whose calls do not fail for any other reason than that it has few descriptors,
    /// but some.
    pub(super) fn scarce_store(&self, store: &MemoryStore) -> Troubled {
        let most = self.descriptors.map_or(usize::MAX, |most| most.max(1));
        FaultStore::new(Scarce::new(store.clone(), most, self.delay))
    }
}

fn fault(choices: &mut Choices<'_>) -> Fault {
    let operation = StoreCall::ALL[usize::from(choices.below(9))];
    let how = choices.byte();
    let failure = FAILURES[usize::from(how >> 1) % FAILURES.len()];
    let call = u64::from(choices.below(32));
    if how & 1 == 0 {
        Fault::once(operation, call, failure)
    } else {
        Fault::from(operation, call, failure)
    }
}

/// `EIO`, `EMFILE`, `ENOSPC`, `EACCES`; and a sync that failed.
const FAILURES: [Failure; 5] = [
    Failure::Os(5),
    Failure::Os(24),
    Failure::Os(28),
    Failure::Os(13),
    Failure::Refusal(Refusal::Sync { code: 5 }),
];

/// End of an input that chooses trouble. Inputs from before stores had trouble have none, and keep their meaning.
const MARK: u8 = b'~';

/// Number of bytes of that end, with the mark: four, and three for each of two faults.
const LEN: usize = 11;
