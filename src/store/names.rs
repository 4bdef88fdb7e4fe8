//! Names within one session: which were offered, and what stands beside one that is taken.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hasher};

use crate::types::{EntryId, Kind, Refusal, TransferId};

/// The names that a session was offered, to find those that would be one on some system.
///
/// Of each name it keeps a hash of 64 bits under a random key, and the entry: 16 bytes, so that a million names take
/// some 34 MB. Two names that are different and have one hash would be taken for a collision; among 10 million
/// names the odds are 1 in 300,000.
#[derive(Debug, Default)]
pub(super) struct Taken {
    transfer: Option<TransferId>,
    hasher: RandomState,
    seen: HashMap<u64, Claim>,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    entry: EntryId,
    folder: bool,
}

impl Taken {
    /// Begins another transfer, whose names are not held against those of the one before.
    pub(super) fn serve(&mut self, transfer: TransferId) {
        if self.transfer != Some(transfer) {
            *self = Self { transfer: Some(transfer), ..Self::default() };
        }
    }

    /// Returns the transfer whose names these are.
    pub(super) const fn transfer(&self) -> Option<TransferId> {
        self.transfer
    }

    /// Notes that `entry` has a name, which is given with everything folded that some system takes for the same.
    ///
    /// The same entry may claim its name again: it is offered again after a lost connection.
    pub(super) fn claim(
        &mut self,
        folded: &[u8],
        entry: EntryId,
        kind: &Kind,
    ) -> Result<(), Refusal> {
        let folder = matches!(kind, Kind::Directory);
        let mut hasher = self.hasher.build_hasher();
        let mut own = 0;
        for (depth, part) in folded.split(|&byte| byte == b'/').enumerate() {
            if depth > 0 {
                if self.seen.get(&own).is_some_and(|above| !above.folder) {
                    return Err(Refusal::KindClash);
                }
                hasher.write_u8(b'/');
            }
            hasher.write(part);
            own = hasher.finish();
        }
        match self.seen.entry(own) {
            Entry::Vacant(free) => {
                free.insert(Claim { entry, folder });
                Ok(())
            }
            Entry::Occupied(taken) if taken.get().entry == entry => Ok(()),
            Entry::Occupied(taken) if taken.get().folder != folder => Err(Refusal::KindClash),
            Entry::Occupied(_) => Err(Refusal::Collision),
        }
    }

    /// Returns whether an entry other than this one has the name.
    pub(super) fn is_another(&self, folded: &[u8], entry: EntryId) -> bool {
        let mut hasher = self.hasher.build_hasher();
        for (depth, part) in folded.split(|&byte| byte == b'/').enumerate() {
            if depth > 0 {
                hasher.write_u8(b'/');
            }
            hasher.write(part);
        }
        self.seen.get(&hasher.finish()).is_some_and(|claim| claim.entry != entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_of_every_pair_of_names_is_as_the_table_says() {
        let file = Kind::File;
        let folder = Kind::Directory;
        let link = Kind::Symlink((*b"x").into());
        let table = [
            ("a", &file, "b", &file, Ok(())),
            ("a", &file, "a", &file, Err(Refusal::Collision)),
            ("a", &file, "a/b", &file, Err(Refusal::KindClash)),
            ("a", &file, "a/b/c", &folder, Err(Refusal::KindClash)),
            ("a/b", &file, "a/b/c", &file, Err(Refusal::KindClash)),
            ("a/b", &file, "a/bc", &file, Ok(())),
            ("a", &folder, "a/b", &file, Ok(())),
            ("a/b", &file, "a", &folder, Ok(())),
            ("a", &folder, "a", &folder, Err(Refusal::Collision)),
            ("a", &folder, "a", &file, Err(Refusal::KindClash)),
            ("a", &file, "a", &folder, Err(Refusal::KindClash)),
            ("a", &link, "a/b", &file, Err(Refusal::KindClash)),
            ("a", &link, "a", &file, Err(Refusal::Collision)),
        ];
        for (first, kind, second, other, expected) in table {
            let mut taken = Taken::default();
            assert_eq!(taken.claim(first.as_bytes(), EntryId::new(0), kind), Ok(()));
            assert_eq!(taken.claim(first.as_bytes(), EntryId::new(0), kind), Ok(()), "again");
            let found = taken.claim(second.as_bytes(), EntryId::new(1), other);
            assert_eq!(found, expected, "{first} {second}");
            assert!(!taken.is_another(first.as_bytes(), EntryId::new(0)));
            assert!(taken.is_another(first.as_bytes(), EntryId::new(9)));
        }
    }
}
