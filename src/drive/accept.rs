//! Meaning of an acceptor's errors for its caller.

use std::io::{self, ErrorKind};

/// Returns whether an error of `accept` is no sign of trouble with the acceptor itself.
pub(super) fn is_passing(error: &io::Error) -> bool {
    use ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::WouldBlock
            | Kind::TimedOut
            | Kind::Interrupted
            | Kind::ConnectionAborted
            | Kind::ConnectionReset
    )
}

/// Returns whether the system lacks something that comes back as sessions end: descriptors (`EMFILE`,
/// `ENFILE`), memory (`ENOMEM`), or buffers (`ENOBUFS` of Linux). The first three numbers are the same on all
/// Unix systems.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 12 | 105))
}
