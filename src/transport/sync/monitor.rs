//! A value that threads share and wait on: a mutex and a condition variable that cannot be used apart.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// State that several threads change, and wait for changes of.
#[derive(Debug, Default)]
pub(in crate::transport) struct Monitor<S> {
    state: Mutex<S>,
    changed: Condvar,
}

impl<S> Monitor<S> {
    pub(in crate::transport) const fn new(state: S) -> Self {
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Looks at the state, without a notice to anybody.
    pub(in crate::transport) fn look<T>(&self, look: impl FnOnce(&S) -> T) -> T {
        look(&self.lock())
    }

    /// Changes the state, and wakes whoever waits for that.
    pub(in crate::transport) fn update<T>(&self, change: impl FnOnce(&mut S) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    /// Waits until `ready` gives a value, and wakes the others, since `ready` may change the state when it does.
    ///
    /// `None` waits for ever, a timeout of zero asks once and never waits: [`io::ErrorKind::WouldBlock`].
    /// Any other gives [`io::ErrorKind::TimedOut`] when it has passed.
    pub(in crate::transport) fn wait<T>(
        &self,
        timeout: Option<Duration>,
        mut ready: impl FnMut(&mut S) -> Option<T>,
    ) -> io::Result<T> {
        let mut state = self.lock();
        let mut start = None;
        loop {
            if let Some(value) = ready(&mut state) {
                drop(state);
                self.changed.notify_all();
                return Ok(value);
            }
            let Some(timeout) = timeout else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if timeout.is_zero() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let start = *start.get_or_insert_with(Instant::now);
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            (state, _) =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Locks the state. A thread that panicked while it held the lock left a whole state behind: no change is
    /// made in steps that can panic in between.
    fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
