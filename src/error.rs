//! Errors of a transfer: by whose fault, whether a retry can help, and the nearest kind of [`io::Error`].

use std::io;

use crate::proto::{Damage, Failure, Incompatible, Misuse, ProtocolError, Stall};
use crate::types::AbortCode;

/// Reason why a transfer ended without success. Entries that were receipted before stay receipted, and what the
/// receiver holds of the others serves the next attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The transport failed: the stream could not be had, or was lost.
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
    /// The peer broke a rule of the protocol.
    #[error("the peer broke the protocol: {0}")]
    Peer(#[from] ProtocolError),
    /// Bytes changed on the way, and could not be repaired.
    #[error("damaged on the way: {0}")]
    Damaged(#[from] Damage),
    /// No common ground with whoever is at the other end.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// The peer ended the session and gave this reason.
    #[error("the peer {0}")]
    Aborted(AbortCode),
    /// A policy of this side ended the session.
    #[error("ended by this side: it {0}")]
    Policy(AbortCode),
    /// A deadline passed.
    #[error(transparent)]
    Stalled(#[from] Stall),
    /// This side was stopped; see [`CancelToken`](crate::CancelToken).
    #[error("cancelled")]
    Cancelled,
    /// The caller violated the API contract.
    #[error(transparent)]
    Misuse(#[from] Misuse),
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
            Self::Damaged(_) | Self::Stalled(_) => true,
            Self::Aborted(code) | Self::Policy(code) => Failure::Aborted(*code).is_transient(),
            Self::Local { .. }
            | Self::Peer(_)
            | Self::Incompatible(_)
            | Self::Cancelled
            | Self::Misuse(_) => false,
        }
    }

    /// Returns whether the error concerns a peer that was not admitted yet, and not this side.
    pub(crate) const fn is_of_stranger(&self) -> bool {
        match self {
            Self::Transport { operation: Operation::Read | Operation::Write, .. }
            | Self::Peer(_)
            | Self::Damaged(_)
            | Self::Incompatible(_)
            | Self::Aborted(_)
            | Self::Policy(AbortCode::NotAdmitted)
            | Self::Stalled(_) => true,
            Self::Transport { .. }
            | Self::Local { .. }
            | Self::Policy(_)
            | Self::Cancelled
            | Self::Misuse(_) => false,
        }
    }

    /// Returns the nearest kind of [`io::Error`].
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Transport { source, .. } | Self::Local { source, .. } => source.kind(),
            Self::Peer(_) | Self::Damaged(_) => io::ErrorKind::InvalidData,
            Self::Incompatible(_) => io::ErrorKind::Unsupported,
            Self::Aborted(_) => io::ErrorKind::ConnectionAborted,
            Self::Policy(_) => io::ErrorKind::PermissionDenied,
            Self::Stalled(_) => io::ErrorKind::TimedOut,
            Self::Cancelled => io::ErrorKind::Interrupted,
            Self::Misuse(_) => io::ErrorKind::InvalidInput,
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

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Protocol(error) => Self::Peer(error),
            Failure::Damaged(error) => Self::Damaged(error),
            Failure::Incompatible(error) => Self::Incompatible(error),
            Failure::Aborted(code) => Self::Aborted(code),
            Failure::Stalled(stall) => Self::Stalled(stall),
            Failure::Cancelled | Failure::Ended(AbortCode::Leaving) => Self::Cancelled,
            Failure::Ended(code) => Self::Policy(code),
            Failure::Misuse(error) => Self::Misuse(error),
        }
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
