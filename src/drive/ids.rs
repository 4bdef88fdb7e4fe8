//! Identifier of the transfer that is sent.

use super::random::random_bytes;
use crate::types::{PublicKey, TransferId};

/// Identifier of the transfer that a call to send is about.
#[derive(Debug, Default)]
pub(super) enum Id {
    /// No transfer was chosen yet.
    #[default]
    New,
    /// Identifier that was chosen at random: that of this object alone, for all of its calls.
    Random(TransferId),
    Given(TransferId),
}

impl Id {
    /// Returns the id, which is chosen by now.
    pub(super) fn choose(&mut self) -> TransferId {
        match *self {
            Self::Random(id) | Self::Given(id) => id,
            Self::New => {
                let id = TransferId::new(random_bytes());
                *self = Self::Random(id);
                id
            }
        }
    }
}

impl Clone for Id {
    fn clone(&self) -> Self {
        // Clones may send at the same time, and of one transfer there is one sender at a time.
        match *self {
            Self::New | Self::Random(_) => Self::New,
            Self::Given(id) => Self::Given(id),
        }
    }
}

/// Returns the id by which a store keeps apart what transfers left: that of the transfer, for the key that it came with. So
/// nobody who comes by an id goes on with what came with another key.
pub(super) fn of_key(transfer: TransferId, key: Option<PublicKey>) -> TransferId {
    let Some(key) = key else { return transfer };
    let mut hasher = blake3::Hasher::new_derive_key("haul transfer of a key 1");
    let mut id = [0; 16];
    hasher.update(transfer.as_bytes()).update(key.as_bytes());
    hasher.finalize_xof().fill(&mut id);
    TransferId::new(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_id_stays_for_its_object_and_a_given_one_for_all() {
        let mut id = Id::default();
        let (first, mut clone) = (id.choose(), id.clone());
        assert_eq!(id.choose(), first);
        assert_ne!(clone.choose(), first);
        let given = TransferId::new([7; 16]);
        let mut id = Id::Given(given);
        assert_eq!((id.clone().choose(), id.choose()), (given, given));
    }

    #[test]
    fn transfer_of_each_key_is_another_one_for_the_store() {
        let [one, other] = [1, 2].map(|id| TransferId::new([id; 16]));
        let keys =
            [None, Some(1), Some(2)].map(|key| key.map(|key| PublicKey::from_bytes([key; 32])));
        let ids = [one, other].map(|id| keys.map(|key| of_key(id, key))).concat();
        let all: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!((all.len(), ids[0], ids[3]), (6, one, other));
    }
}
