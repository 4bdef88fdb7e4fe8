//! Identifier of the transfer that is sent.

use super::random::random_bytes;
use crate::types::TransferId;

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
}
