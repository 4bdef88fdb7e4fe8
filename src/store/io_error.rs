//! Errors of the system, as reasons that travel.

use std::io;

use crate::types::{Refusal, StoreOperation, Withdrawal};

/// Returns the reason that a sender is given for an error of the system at the receiver, in this
/// operation.
#[must_use]
pub fn refusal_of(operation: StoreOperation, error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Refusal::NoSpace { needed: 0, available: 0 }
        }
        io::ErrorKind::FileTooLarge => Refusal::TooLarge { size: 0, limit: 0 },
        io::ErrorKind::PermissionDenied => Refusal::Denied,
        io::ErrorKind::ReadOnlyFilesystem => Refusal::ReadOnly,
        io::ErrorKind::AlreadyExists => Refusal::Exists,
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Refusal::KindClash,
        io::ErrorKind::InvalidFilename => Refusal::NameTooLong,
        _ => Refusal::Store { code: code_of(error), operation },
    }
}

/// Returns the reason for which a sender withdraws an entry after an error of its own system.
#[must_use]
pub fn withdrawal_of(error: &io::Error) -> Withdrawal {
    match error.kind() {
        io::ErrorKind::NotFound => Withdrawal::Vanished,
        io::ErrorKind::PermissionDenied => Withdrawal::Denied,
        io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => Withdrawal::Kind,
        io::ErrorKind::InvalidFilename => Withdrawal::NameTooLong,
        io::ErrorKind::NotSeekable => Withdrawal::Spent,
        io::ErrorKind::StaleNetworkFileHandle => Withdrawal::Changed,
        _ => Withdrawal::Unreadable { code: code_of(error) },
    }
}

/// Returns the system's number for an error, 0 if it has none.
#[must_use]
pub fn code_of(error: &io::Error) -> u32 {
    error.raw_os_error().and_then(|code| u32::try_from(code).ok()).unwrap_or(0)
}
