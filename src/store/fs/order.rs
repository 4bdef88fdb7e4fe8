//! Order of several commits of one name: the one that was started last has it in the end.
//!
//! Commits are done by several threads, so that a later one may be faster: a commit whose session was given up can come to
//! its rename after the commit of the session that followed, and would put the older file in the place of the one that
//! was receipted. So each commit has a number, and one that finds under its name what a later one has put there, or
//! vouched for, does not replace that: it is handed back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::commit::Shared;
use super::partial::Owner;

/// The commits under way in a store and all its clones, by the folded form of the names that they are to give.
///
/// Names that are one on some system count as one. Where they are two files, that is seen by what stands under each.
#[derive(Debug, Default)]
pub(super) struct Order(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    started: u64,
    /// Invariant: it has the names of the commits that are under way, and no others.
    names: HashMap<Box<[u8]>, Name>,
}

#[derive(Debug, Default)]
struct Name {
    under_way: usize,
    /// The number of the last commit that gave the name, or vouched for what has it.
    given: Option<u64>,
}

/// A commit under way.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) shared: Arc<Shared>,
    /// Owner of the partial files that it may remove.
    pub(super) owner: Owner,
    pub(super) name: Box<[u8]>,
    number: u64,
}

impl Order {
    /// Returns whether a commit of this name has not ended.
    pub(super) fn is_under_way(&self, name: &[u8]) -> bool {
        self.lock().names.contains_key(name)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Returns a commit that starts now, later than all that started before.
    pub(super) fn new(shared: Arc<Shared>, owner: Owner, name: Vec<u8>) -> Self {
        let name = name.into_boxed_slice();
        let mut state = shared.order.lock();
        let number = state.started;
        state.started += 1;
        state.names.entry(name.clone()).or_default().under_way += 1;
        drop(state);
        Self { shared, owner, name, number }
    }

    /// Returns whether a later commit has given the name already.
    pub(super) fn is_overtaken(&self) -> bool {
        let state = self.shared.order.lock();
        let given = state.names.get(&self.name).and_then(|name| name.given);
        given.is_some_and(|given| given > self.number)
    }

    /// Notes that what has the name is what this commit gave it to, or vouches for. Whoever notes it has the
    /// [turn](super::name::Turns) of the name.
    pub(super) fn set_given(&self) {
        if let Some(name) = self.shared.order.lock().names.get_mut(&self.name) {
            name.given = name.given.max(Some(self.number));
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.shared.order.lock();
        if let Some(name) = state.names.get_mut(&self.name) {
            name.under_way -= 1;
            if name.under_way == 0 {
                state.names.remove(&self.name);
            }
        }
    }
}
