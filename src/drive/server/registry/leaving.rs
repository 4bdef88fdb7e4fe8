//! Suspended sessions, and those that are to be let go of.

use std::any::Any;
use std::time::Duration;

use crate::drive::suspended::{Ending, Suspended};
use crate::store::Store;

/// Suspended session, which lost its connection, with the store in which its files are open.
pub(in super::super) struct SuspendedSession<S: Store> {
    pub(in super::super) store: S,
    pub(in super::super) suspended: Suspended<S>,
    pub(super) attempt: u32,
    /// Time at which it was suspended.
    pub(super) since: Duration,
}

/// Sessions to be let go of.
pub(super) struct Leaving<S: Store> {
    /// Suspended sessions for the thread that tidies up.
    pub(super) suspended: Vec<SuspendedSession<S>>,
    /// Suspended sessions that were taken out of the registry, whose files may still be open.
    pub(super) open: usize,
    /// Remains of suspended sessions that had commits under way, until these have ended; also for
    /// that thread.
    pub(super) endings: Vec<Ending<S>>,
    /// Number of these, with those that it looks at.
    pub(super) ending: usize,
    /// The server is done.
    pub(super) is_over: bool,
    /// The first panic.
    pub(super) panicked: Option<Box<dyn Any + Send>>,
}

impl<S: Store> SuspendedSession<S> {
    pub(super) fn let_go(self) -> Option<Ending<S>> {
        self.suspended.suspend(self.store)
    }
}

impl<S: Store> Leaving<S> {
    pub(super) const fn new() -> Self {
        Self {
            suspended: Vec::new(),
            open: 0,
            endings: Vec::new(),
            ending: 0,
            is_over: false,
            panicked: None,
        }
    }

    /// Returns how much of it there is.
    pub(super) const fn len(&self) -> usize {
        self.open + self.ending
    }
}
