//! Letting go of what sessions left: where their files are closed, and their commits come to their end.
//!
//! All of it runs code of the store, which may take its time, or panic. So it is done outside of the registry's lock, and never in
//! the thread that accepts connections; and a panic there is kept for whoever runs the server, and ends nothing else.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{MutexGuard, PoisonError};

use super::leaving::SuspendedSession;
use super::{PAUSE, Registry, Shared};
use crate::store::Store;

impl<S: Store> Shared<S> {
    /// Lets go of what is handed to this thread, until the server is done.
    pub(in crate::drive) fn tidy(&self) {
        loop {
            let mut registry = self.lock();
            while registry.leaving.suspended.is_empty() && !registry.leaving.is_over {
                let has_endings = registry.leaving.ending > 0;
                registry = self.wait_for_work(registry, has_endings);
                if has_endings {
                    break;
                }
            }
            let is_over = registry.leaving.is_over;
            drop(registry);
            self.tidy_once();
            if is_over {
                return;
            }
        }
    }

    /// Closes what was handed over, and looks which commits have ended.
    pub(super) fn tidy_once(&self) {
        let mut registry = self.lock();
        let suspended = mem::take(&mut registry.leaving.suspended);
        drop(registry);
        self.close_all(suspended);
        let endings = mem::take(&mut self.lock().leaving.endings);
        for mut ending in endings {
            let look = move || (!ending.is_over()).then_some(ending);
            let rest = self.guard(look).flatten();
            let mut registry = self.lock();
            if rest.is_none() {
                registry.leaving.ending -= 1;
                self.ended.notify_all();
            }
            registry.leaving.endings.extend(rest);
        }
    }

    /// Hands suspended sessions to the thread that tidies up.
    pub(super) fn hand_over(&self, suspended: Vec<SuspendedSession<S>>) {
        if !suspended.is_empty() {
            self.lock().leaving.suspended.extend(suspended);
            self.work.notify_one();
        }
    }

    /// Lets go of suspended sessions in this thread: keeps what is open for later attempts, of whatever transfer.
    /// Commits that are under way come to their end.
    pub(super) fn close_all(&self, suspended: Vec<SuspendedSession<S>>) {
        for session in suspended {
            let ending = self.guard(|| session.let_go()).flatten();
            let mut registry = self.lock();
            registry.leaving.open -= 1;
            registry.leaving.ending += usize::from(ending.is_some());
            registry.leaving.endings.extend(ending);
            drop(registry);
            self.ended.notify_all();
            self.work.notify_one();
        }
    }

    /// Lets go of all that lost connections left, and ends the thread that tidies up.
    pub(in crate::drive) fn close(&self) {
        let suspended = self.lock().take_suspended(|_| true);
        self.close_all(suspended);
        self.lock().leaving.is_over = true;
        self.work.notify_one();
    }

    /// Returns the first panic of a store in what was let go of.
    pub(in crate::drive) fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.lock().leaving.panicked.take()
    }

    /// Waits until there is something to do. Commits are looked at now and then: stores give no notice when
    /// they end.
    fn wait_for_work<'b>(
        &self,
        registry: MutexGuard<'b, Registry<S>>,
        has_endings: bool,
    ) -> MutexGuard<'b, Registry<S>> {
        if has_endings {
            self.work.wait_timeout(registry, PAUSE).unwrap_or_else(PoisonError::into_inner).0
        } else {
            self.work.wait(registry).unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// Runs code of the store; `None` if it panics.
    fn guard<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(act)) {
            Ok(done) => Some(done),
            Err(panic) => {
                self.lock().leaving.panicked.get_or_insert(panic);
                None
            }
        }
    }
}
