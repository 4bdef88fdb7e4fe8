//! Meaning of an acceptor's errors for its caller.

use std::io::{self, ErrorKind};

use crate::store::code_of;
use crate::types::errno;

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

/// Returns whether the system lacks something that comes back as sessions end: descriptors, memory, or buffers.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    errno::is_shortage(code_of(error))
}
