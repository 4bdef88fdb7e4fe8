//! Calls of the system that have no timeout of their own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use std::{io, thread};

use crate::types::tick::cannot_start;

/// Call in a thread of its own, which is waited for for so long only. A call that takes longer goes on, and is what
/// the next one waits for: there is never more than one.
#[derive(Debug)]
pub(in crate::transport) struct Within<T>(Option<Receiver<io::Result<T>>>);

impl<T: Send + 'static> Within<T> {
    /// Returns what the call gives; [`io::ErrorKind::TimedOut`] if it has not returned by then.
    pub(in crate::transport) fn run(
        &mut self,
        timeout: Duration,
        call: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let pending = match self.0.take() {
            Some(pending) => pending,
            None => {
                let (done, pending) = sync_channel(1);
                // Nobody may wait for it any more: then what it gives is dropped.
                let run = move || drop(done.send(call()));
                let named = thread::Builder::new().name("haul-connect".into());
                named.spawn(run).map_err(cannot_start)?;
                pending
            }
        };
        match pending.recv_timeout(timeout) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                self.0 = Some(pending);
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the call panicked")),
        }
    }
}

impl<T> Default for Within<T> {
    fn default() -> Self {
        Self(None)
    }
}

/// A clone waits for nothing.
impl<T> Clone for Within<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn within_call_that_returns_gives_its_result() {
        let mut within = Within::default();
        assert_eq!(within.run(LONG, || Ok(7)).unwrap(), 7);
        let error = within.run(LONG, || Err(io::ErrorKind::NotFound.into())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(within.run(LONG, || Ok(8)).unwrap(), 8);
    }

    #[test]
    fn within_call_that_is_late_is_waited_for_again_and_not_made_twice() {
        let mut within = Within::default();
        let (go, gate) = mpsc::channel::<()>();
        let call = move || Ok(gate.recv().map_or(1, |()| 2));
        let error = within.run(Duration::from_millis(1), call).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = within.run(Duration::from_millis(1), || panic!("not made")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        go.send(()).unwrap();
        assert_eq!(within.run(LONG, || panic!("not made")).unwrap(), 2);
        assert_eq!(within.run(LONG, || Ok(3)).unwrap(), 3);
    }

    #[test]
    fn within_call_that_panics_is_an_error() {
        let error = Within::<()>::default().run(LONG, || panic!("on purpose")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Other);
    }
}
