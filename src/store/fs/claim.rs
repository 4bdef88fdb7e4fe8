//! The place of a commit among those of the same name.

use std::sync::Arc;

use super::partial::Owner;
use super::shared::Shared;

/// A commit under way.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) shared: Arc<Shared>,
    /// Owner of the partial files that it may remove.
    pub(super) owner: Owner,
    pub(super) name: Box<[u8]>,
    number: u64,
}

impl Claim {
    /// Returns a commit that starts now, later than all that started before.
    pub(super) fn new(shared: Arc<Shared>, owner: Owner, name: Vec<u8>) -> Self {
        let number = shared.order.start(&name);
        Self { shared, owner, name: name.into_boxed_slice(), number }
    }

    /// Returns whether a later commit has given the name already.
    pub(super) fn is_overtaken(&self) -> bool {
        self.shared.order.given(&self.name).is_some_and(|given| given > self.number)
    }

    /// Notes that what has the name is what this commit gave it to, or vouches for. Whoever notes it has the
    /// [turn](super::order::Turns) of the name.
    pub(super) fn set_given(&self) {
        self.shared.order.set_given(&self.name, self.number);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.order.end(&self.name);
    }
}
