//! Errors of a transfer: by whose fault, whether a retry can help, and the nearest kind of [`io::Error`].

use std::io;

use crate::proto;
use crate::types::AbortCode;

/// Reason why a transfer ended without success. Entries that were receipted before stay receipted, and what the
/// receiver holds of the others serves the next attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transport failed: the stream could not be had, or was lost.
    ///
    /// Where a transport gives an error of its own, `source.get_ref()` has it, to be downcast; the chain of
    /// [`std::error::Error::source`] passes it over. So does a stream of `transport::secure` give a `SecureError`: that
    /// somebody else is at the other end, say.
    #[error("{operation}: {source}")]
    Transport {
        /// Operation that failed.
        operation: Operation,
        /// Error of the transport.
        source: io::Error,
    },
    /// The local source or store failed as a whole. (What concerns a single entry is an event, and does not end
    /// the transfer.)
    #[error("{operation}: {source}")]
    Local {
        /// Operation that failed.
        operation: Operation,
        /// Error of the system.
        source: io::Error,
    },
    /// The session failed: the peer, the line, or a rule or the user of this side ended it.
    #[error(transparent)]
    Session(proto::Error),
}

/// Operation that was under way when something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a stream to the peer.
    Connect,
    /// Waiting for a peer.
    Accept,
    /// Reading from the stream.
    Read,
    /// Writing to the stream.
    Write,
    /// Going back to the first entry of a source; see [`Source::rewind`](crate::Source::rewind).
    Rewind,
    /// Reading local content.
    Source,
    /// Writing local content.
    Store,
    /// Starting a thread for a session.
    Spawn,
}

impl Error {
    /// Returns whether a new connection can help. The retry loop asks this and nothing else.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { operation, source } => is_transient_io(*operation, source),
            Self::Local { .. } => false,
            Self::Session(error) => error.is_transient(),
        }
    }

    /// Creates the error of a transfer that the user of this side stopped.
    pub(crate) const fn cancelled() -> Self {
        Self::Session(proto::Error::Cancelled)
    }

    /// Returns whether the error concerns a peer that was not admitted yet, and not this side.
    pub(crate) const fn is_of_stranger(&self) -> bool {
        match self {
            Self::Transport { operation: Operation::Read | Operation::Write, .. } => true,
            Self::Transport { .. } | Self::Local { .. } => false,
            Self::Session(error) => match error {
                proto::Error::Protocol(_)
                | proto::Error::Damaged(_)
                | proto::Error::Incompatible(_)
                | proto::Error::Aborted(_)
                | proto::Error::Ended(AbortCode::NotAdmitted)
                | proto::Error::Stalled(_) => true,
                proto::Error::Ended(_) | proto::Error::Cancelled | proto::Error::Misuse(_) => false,
            },
        }
    }

    /// Returns the nearest kind of [`io::Error`].
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Transport { source, .. } | Self::Local { source, .. } => source.kind(),
            Self::Session(error) => match error {
                proto::Error::Protocol(_) | proto::Error::Damaged(_) => io::ErrorKind::InvalidData,
                proto::Error::Incompatible(_) => io::ErrorKind::Unsupported,
                proto::Error::Aborted(_) => io::ErrorKind::ConnectionAborted,
                proto::Error::Ended(_) => io::ErrorKind::PermissionDenied,
                proto::Error::Stalled(_) => io::ErrorKind::TimedOut,
                proto::Error::Cancelled => io::ErrorKind::Interrupted,
                proto::Error::Misuse(_) => io::ErrorKind::InvalidInput,
            },
        }
    }
}

/// Returns whether a new connection can help: a lost connection may come back; a name that does not
/// resolve, or a permission, will not by itself.
fn is_transient_io(operation: Operation, error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::PermissionDenied | Kind::InvalidInput | Kind::Unsupported | Kind::AddrInUse => false,
        Kind::NotFound => operation != Operation::Connect,
        Kind::AddrNotAvailable => operation == Operation::Connect,
        _ => operation != Operation::Accept,
    }
}

impl From<proto::Error> for Error {
    fn from(error: proto::Error) -> Self {
        Self::Session(match error {
            // The user goes away, whoever else is served.
            proto::Error::Ended(AbortCode::Leaving) => proto::Error::Cancelled,
            error => error,
        })
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "cannot connect",
            Self::Accept => "cannot accept",
            Self::Read => "cannot read from the peer",
            Self::Write => "cannot write to the peer",
            Self::Rewind => "source cannot be sent again",
            Self::Source => "cannot read local content",
            Self::Store => "cannot write local content",
            Self::Spawn => "cannot start a session",
        })
    }
}
