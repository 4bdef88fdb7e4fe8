//! Errors of a stream that are no failures.

use std::io;

/// Returns whether a call on a stream that failed may be made again: it was interrupted, or nothing happened within
/// its timeout.
///
/// On Unix a timeout that the system reports by itself (`ETIMEDOUT`) is none of these: it means that the connection is
/// dead, once, and the next read gives 0 bytes. What a socket's own timeout gives is `EAGAIN`, which is
/// [`WouldBlock`](io::ErrorKind::WouldBlock).
#[must_use]
pub fn is_tick(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => true,
        io::ErrorKind::TimedOut => !cfg!(unix) || error.raw_os_error().is_none(),
        _ => false,
    }
}

/// Returns the error of a thread or process that did not start, which is no [tick](is_tick).
///
/// A system that has none to give reports `EAGAIN` on Unix, as it does of a call that is to be made again. Whoever
/// takes it for that asks for the next thread at once, without end. The text and the number of the system stay in the
/// message.
pub(crate) fn cannot_start(error: io::Error) -> io::Error {
    if is_tick(&error) || error.kind() == io::ErrorKind::TimedOut {
        return io::Error::other(CannotStart(error));
    }
    error
}

#[derive(Debug, thiserror::Error)]
#[error("no thread or process can be started: {0}")]
struct CannotStart(#[source] io::Error);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_that_fails_is_no_tick_and_keeps_what_the_system_said() {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        for kind in [Interrupted, TimedOut, WouldBlock] {
            let error = cannot_start(kind.into());
            assert_eq!(error.kind(), io::ErrorKind::Other);
            assert!(!is_tick(&error) && error.to_string().contains(&kind.to_string()), "{error}");
        }
        let error = cannot_start(io::Error::from_raw_os_error(12));
        assert_eq!(error.raw_os_error(), Some(12), "it is no tick, and stays as it is");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn start_that_fails_for_want_of_threads_keeps_its_number() {
        let system = io::Error::from_raw_os_error(11);
        let text = system.to_string();
        let error = cannot_start(system);
        assert!(!is_tick(&error), "{error}");
        assert!(error.to_string().contains(&text) && text.contains("11"), "{error}");
    }
}
