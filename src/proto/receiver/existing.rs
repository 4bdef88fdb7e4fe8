//! Existing file that has the name of an entry.

use crate::hash::{BlockTree, Hash};

/// Existing file that has the name which an entry is to get.
///
/// Invariant: there is a conflict only while the entry is being committed.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// Set if the sender was asked for the root of the entry, on this connection.
    is_asked: bool,
    /// Root that the sender claims.
    claim: Option<Hash>,
    /// Length of the file, where the size of the entry was not offered: that is dealt with when the name is given.
    occupied: Option<u64>,
    /// Set once the store was asked whether an earlier attempt to replace the file left something.
    is_probed: bool,
    /// Length of the file that will be replaced.
    replaced: u64,
    /// Set if the file will be replaced, and differs: what is called the same is copied from it.
    copies: bool,
    /// State of the file, if it has got the name since the entry is complete.
    conflict: Option<Conflict>,
    /// Number of times in a row that the name was taken when the entry was to be committed.
    losses: u32,
}

/// State of the existing file of a complete entry.
#[derive(Debug)]
pub(super) enum Conflict {
    /// The file is hashed, from its start, to compare it.
    Hashing(BlockTree),
    /// The file is the same, and is made as durable as the entry was to be.
    Committing,
}

impl Existing {
    /// Notes that the sender is asked for the root. Returns whether it was not, and has not said it.
    pub(super) const fn ask(&mut self) -> bool {
        self.claim.is_none() && !std::mem::replace(&mut self.is_asked, true)
    }

    /// Notes the root that the sender claims.
    pub(super) const fn set_claim(&mut self, root: Hash) {
        self.claim = Some(root);
    }

    /// Forgets the claim, and that it was asked for: the sender offers the entry again.
    pub(super) const fn forget_claim(&mut self) {
        (self.claim, self.is_asked) = (None, false);
    }

    /// Notes that a file of this length has the name, while the size of the entry is not known.
    pub(super) const fn occupy(&mut self, len: u64) {
        self.occupied = Some(len);
    }

    /// Notes that an earlier attempt to replace the file, of this length, is looked for. Returns whether it was before.
    pub(super) const fn probe(&mut self, len: u64) -> bool {
        if self.is_probed {
            return true;
        }
        (self.is_probed, self.replaced) = (true, len);
        false
    }

    /// Has what is called the same copied from the file, which differs.
    pub(super) const fn copy(&mut self) {
        self.copies = true;
    }

    /// Notes that the name was taken when the entry was to be committed. Returns how many times in a row it was.
    pub(super) const fn lose(&mut self) -> u32 {
        self.losses = self.losses.saturating_add(1);
        self.losses
    }

    /// Counts anew: the entry is to get another name.
    pub(super) const fn forget_losses(&mut self) {
        self.losses = 0;
    }

    /// Has the file hashed that has got the name.
    pub(super) fn hash_conflict(&mut self) {
        self.conflict = Some(Conflict::Hashing(BlockTree::new()));
    }

    /// Notes that this file is the same, and is being committed.
    pub(super) fn commit_conflict(&mut self) {
        self.conflict = Some(Conflict::Committing);
    }

    /// Forgets this file: the entry is committed itself.
    pub(super) fn forget_conflict(&mut self) {
        self.conflict = None;
    }

    /// Returns what becomes of the file that has got the name, if one has.
    pub(super) const fn conflict(&self) -> Option<&Conflict> {
        self.conflict.as_ref()
    }

    /// Returns what is hashed of this file.
    pub(super) const fn conflict_tree(&mut self) -> Option<&mut BlockTree> {
        match &mut self.conflict {
            Some(Conflict::Hashing(tree)) => Some(tree),
            Some(Conflict::Committing) | None => None,
        }
    }

    /// Returns whether the file that has got the name is being hashed.
    pub(super) const fn is_hashing_conflict(&self) -> bool {
        matches!(self.conflict, Some(Conflict::Hashing(_)))
    }

    /// Returns whether the sender was asked for the root, on this connection.
    pub(super) const fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Returns the root that the sender claims.
    pub(super) const fn claim(&self) -> Option<Hash> {
        self.claim
    }

    /// Returns the length of the file, where the size of the entry was not offered.
    pub(super) const fn occupied(&self) -> Option<u64> {
        self.occupied
    }

    /// Returns the length of the file that will be replaced.
    pub(super) const fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Returns whether what is called the same is copied from the file.
    pub(super) const fn copies(&self) -> bool {
        self.copies
    }
}
