//! The numbers by which reasons, codes and levels stand on the wire: one total mapping each way for each of
//! them. Rules C-1 to C-7 of the wire document.

use super::message::Reason;
use crate::types::{AbortCode, Activity, Durability, Outcome, Refusal, StoreOperation, Withdrawal};

impl Reason {
    const fn plain(code: u16) -> Self {
        Self { code, first: 0, second: 0 }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Exists => Self::plain(1),
            Refusal::Skipped => Self::plain(2),
            Refusal::KindClash => Self::plain(3),
            Refusal::Name => Self::plain(4),
            Refusal::Collision => Self::plain(5),
            Refusal::Kind => Self::plain(6),
            Refusal::TooLarge { size, limit } => Self { code: 7, first: size, second: limit },
            Refusal::TooMuch { limit } => Self { code: 8, first: limit, second: 0 },
            Refusal::TooMany { limit } => Self { code: 9, first: limit, second: 0 },
            Refusal::NoSpace { needed, available } => {
                Self { code: 10, first: needed, second: available }
            }
            Refusal::Denied => Self::plain(11),
            Refusal::ReadOnly => Self::plain(12),
            Refusal::Store { code, operation } => {
                Self { code: 13, first: code.into(), second: operation.code() }
            }
            Refusal::Sync { code } => Self { code: 14, first: code.into(), second: 0 },
            Refusal::Mismatch => Self::plain(15),
            Refusal::Policy => Self::plain(16),
            Refusal::Gone => Self::plain(17),
            Refusal::NameTooLong => Self::plain(18),
            Refusal::HiddenName => Self::plain(19),
            Refusal::Tampered => Self::plain(20),
            Refusal::KeptOut => Self::plain(21),
        }
    }
}

impl From<Reason> for Refusal {
    /// Decodes a reason. A code that a later version adds is a refusal all the same: by policy.
    fn from(reason: Reason) -> Self {
        let Reason { code, first, second } = reason;
        match code {
            1 => Self::Exists,
            2 => Self::Skipped,
            3 => Self::KindClash,
            4 => Self::Name,
            5 => Self::Collision,
            6 => Self::Kind,
            7 => Self::TooLarge { size: first, limit: second },
            8 => Self::TooMuch { limit: first },
            9 => Self::TooMany { limit: first },
            10 => Self::NoSpace { needed: first, available: second },
            11 => Self::Denied,
            12 => Self::ReadOnly,
            13 => Self::Store {
                code: u32::try_from(first).unwrap_or(0),
                operation: StoreOperation::from_code(second),
            },
            14 => Self::Sync { code: u32::try_from(first).unwrap_or(0) },
            15 => Self::Mismatch,
            17 => Self::Gone,
            18 => Self::NameTooLong,
            19 => Self::HiddenName,
            20 => Self::Tampered,
            21 => Self::KeptOut,
            _ => Self::Policy,
        }
    }
}

impl StoreOperation {
    const fn code(self) -> u64 {
        match self {
            Self::Unspecified => 0,
            Self::Open => 1,
            Self::Stat => 2,
            Self::CreateFolder => 3,
            Self::CreateLink => 4,
            Self::Read => 5,
            Self::Write => 6,
            Self::Copy => 7,
            Self::Truncate => 8,
            Self::Sync => 9,
            Self::Rename => 10,
            Self::Commit => 11,
        }
    }

    /// Decodes an operation. One that a later version adds is as good as none: the reason is enough
    /// without it.
    const fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Open,
            2 => Self::Stat,
            3 => Self::CreateFolder,
            4 => Self::CreateLink,
            5 => Self::Read,
            6 => Self::Write,
            7 => Self::Copy,
            8 => Self::Truncate,
            9 => Self::Sync,
            10 => Self::Rename,
            11 => Self::Commit,
            _ => Self::Unspecified,
        }
    }
}

impl From<Withdrawal> for Reason {
    fn from(withdrawal: Withdrawal) -> Self {
        match withdrawal {
            Withdrawal::Vanished => Self::plain(1),
            Withdrawal::Changed => Self::plain(2),
            Withdrawal::Denied => Self::plain(3),
            Withdrawal::Unreadable { code } => Self { code: 4, first: code.into(), second: 0 },
            Withdrawal::Kind => Self::plain(5),
            Withdrawal::Name => Self::plain(6),
            Withdrawal::NameTooLong => Self::plain(7),
            Withdrawal::Link => Self::plain(8),
            Withdrawal::LinkEscapes => Self::plain(9),
            Withdrawal::Partial => Self::plain(10),
            Withdrawal::Spent => Self::plain(11),
            Withdrawal::FalseSize => Self::plain(12),
            Withdrawal::Secret => Self::plain(13),
        }
    }
}

impl From<Reason> for Withdrawal {
    /// Decodes a reason. A code that a later version adds is a withdrawal all the same: of an
    /// unreadable entry.
    fn from(reason: Reason) -> Self {
        match reason.code {
            1 => Self::Vanished,
            2 => Self::Changed,
            3 => Self::Denied,
            5 => Self::Kind,
            6 => Self::Name,
            7 => Self::NameTooLong,
            8 => Self::Link,
            9 => Self::LinkEscapes,
            10 => Self::Partial,
            11 => Self::Spent,
            12 => Self::FalseSize,
            13 => Self::Secret,
            _ => Self::Unreadable { code: u32::try_from(reason.first).unwrap_or(0) },
        }
    }
}

impl AbortCode {
    pub(crate) const fn code(self) -> u16 {
        match self {
            Self::Cancelled => 1,
            Self::Protocol => 2,
            Self::Incompatible => 3,
            Self::Stalled => 4,
            Self::Failed => 5,
            Self::Superseded => 6,
            Self::Busy => 7,
            Self::Policy => 8,
            Self::Damaged => 9,
            Self::Leaving => 10,
            Self::Exhausted => 11,
            Self::NotAdmitted => 12,
        }
    }

    /// Decodes a reason. A code that a later version adds is a failure of the peer.
    pub(crate) const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Cancelled,
            2 => Self::Protocol,
            3 => Self::Incompatible,
            4 => Self::Stalled,
            6 => Self::Superseded,
            7 => Self::Busy,
            8 => Self::Policy,
            9 => Self::Damaged,
            10 => Self::Leaving,
            11 => Self::Exhausted,
            12 => Self::NotAdmitted,
            _ => Self::Failed,
        }
    }
}

impl Durability {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Received => 0,
            Self::Flushed => 1,
            Self::Synced => 2,
        }
    }

    /// Decodes a level. An unknown level is no level that could be reported: the receipt is
    /// malformed.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Received),
            1 => Some(Self::Flushed),
            2 => Some(Self::Synced),
            _ => None,
        }
    }
}

impl Outcome {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Held => 1,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Stored),
            1 => Some(Self::Held),
            _ => None,
        }
    }
}

impl Activity {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Reading => 0,
            Self::Verifying => 1,
            Self::Syncing => 2,
            Self::Queued => 3,
        }
    }

    /// Returns an activity for any number, as the meaning of an unknown one does not matter: the
    /// peer lives.
    pub(crate) const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Verifying,
            2 => Self::Syncing,
            3 => Self::Queued,
            _ => Self::Reading,
        }
    }
}
