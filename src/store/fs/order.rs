//! Order of several commits of one name: the one that was started last has it in the end.
//!
//! Commits are done by several threads, so that a later one may be faster: a commit whose session was given up can come to
//! its rename after the commit of the session that followed, and would put the older file in the place of the one that
//! was receipted. So each commit has a number, and one that finds under its name what a later one has put there, or
//! vouched for, does not replace that: it is handed back.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

impl Order {
    /// Returns whether a commit of this name has not ended.
    pub(super) fn is_under_way(&self, name: &[u8]) -> bool {
        self.lock().names.contains_key(name)
    }

    /// Notes that a commit of this name starts now, and returns its number: it is later than all that started before.
    pub(super) fn start(&self, name: &[u8]) -> u64 {
        let mut state = self.lock();
        let number = state.started;
        state.started += 1;
        state.names.entry(name.into()).or_default().under_way += 1;
        number
    }

    /// Returns the number of the last commit that gave this name, or vouched for what has it.
    pub(super) fn given(&self, name: &[u8]) -> Option<u64> {
        self.lock().names.get(name).and_then(|name| name.given)
    }

    /// Notes that what has the name is what the commit of this number gave it to, or vouches for.
    pub(super) fn set_given(&self, name: &[u8], number: u64) {
        if let Some(name) = self.lock().names.get_mut(name) {
            name.given = name.given.max(Some(number));
        }
    }

    /// Notes that a commit of this name has ended.
    pub(super) fn end(&self, name: &[u8]) {
        let mut state = self.lock();
        if let Some(found) = state.names.get_mut(name) {
            found.under_way -= 1;
            if found.under_way == 0 {
                state.names.remove(name);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sessions of a process that give names: one at a time gives the same one.
#[derive(Debug, Default)]
pub(super) struct Turns([Mutex<()>; 16]);

impl Turns {
    pub(super) fn take(&self, name: &[u8]) -> MutexGuard<'_, ()> {
        // Names that share a lock wait for one another without need, for a few system calls.
        let sum = name.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31) ^ usize::from(*byte));
        let turn = &self.0[sum % self.0.len()];
        turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
