//! What of the errors of a stream is none.

use std::io;

/// Whether a call on a stream that failed may simply be made again: it was interrupted, or nothing happened within its
/// timeout.
///
/// On Unix a timeout that the system reports by itself (`ETIMEDOUT`) is none of these: it says that the connection is dead,
/// once, and the next read gives 0 bytes. What a socket's own timeout gives is `EAGAIN`, which is
/// [`WouldBlock`](io::ErrorKind::WouldBlock).
#[must_use]
pub fn is_tick(error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => true,
        io::ErrorKind::TimedOut => !cfg!(unix) || error.raw_os_error().is_none(),
        _ => false,
    }
}
