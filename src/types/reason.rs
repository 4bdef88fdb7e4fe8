//! Reasons why an entry is not taken or not sent, and why a session ends.

use std::fmt;

use super::errno::is_fd_exhaustion;

/// Reason why a receiver does not take, or could not keep, an entry. It concerns this entry alone: the rest
/// goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A different file has this name, and the receiver does not replace files.
    #[error("a different file exists under this name")]
    Exists,
    /// A different file has this name, and the receiver skips such entries.
    #[error("skipped: a different file exists under this name")]
    Skipped,
    /// The name, or that of a folder on the way, belongs to something of another kind: a folder, a link, a
    /// device.
    #[error("something of another kind exists under this name")]
    KindClash,
    /// The name breaks a rule of [`RelPath`](super::RelPath), or the receiver's platform cannot hold it.
    #[error("the name is not safe on every system")]
    Name,
    /// Another entry of this transfer has this name, or one that differs by case or Unicode form alone.
    #[error("another entry of this transfer has this name")]
    Collision,
    /// The receiver does not store entries of this kind.
    #[error("entries of this kind are not accepted")]
    Kind,
    /// The file is larger than the receiver takes.
    #[error("{size} bytes are more than {} in one file", Largest(*limit))]
    TooLarge {
        /// The size offered, or reached.
        size: u64,
        /// The limit, 0 where the receiver's system does not report which it enforces.
        limit: u64,
    },
    /// All entries together are more than the receiver takes.
    #[error("the transfer exceeds the receiver's limit of {limit} bytes")]
    TooMuch {
        /// The limit in bytes.
        limit: u64,
    },
    /// More entries than the receiver takes.
    #[error("the transfer exceeds the receiver's limit of {limit} entries")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// Too little room. The same command goes on once there is more.
    #[error("no space: {needed} bytes needed, {available} available")]
    NoSpace {
        /// Missing bytes to complete the entry.
        needed: u64,
        /// Free space, in bytes.
        available: u64,
    },
    /// The receiving process may not write there.
    #[error("the receiver has no permission to write there")]
    Denied,
    /// The file system is mounted read-only.
    #[error("the receiver's file system is read-only")]
    ReadOnly,
    /// The store failed; the number is the error code of the receiver's system, 0 if there is none.
    #[error("the receiver {} (system error {code})", operation.failed())]
    Store {
        /// `errno`, or 0.
        code: u32,
        /// Operation that failed.
        operation: StoreOperation,
    },
    /// The data could not be made durable. What was written is not trusted again.
    #[error("the receiver could not sync the file (system error {code})")]
    Sync {
        /// `errno`, or 0.
        code: u32,
    },
    /// The content did not have the hash that the sender gave at its end.
    #[error("the content does not match its hash")]
    Mismatch,
    /// The receiver's policy does not want the entry.
    #[error("the receiver's policy refuses the entry")]
    Policy,
    /// The folder to receive into was removed.
    #[error("the folder to receive into is gone")]
    Gone,
    /// The name is longer, or deeper, than the receiver takes or its file system can hold.
    #[error("the name exceeds the receiver's limit of length or depth")]
    NameTooLong,
    /// The name begins with a dot, and the receiver takes none of those.
    #[error("the name begins with a dot")]
    HiddenName,
    /// Somebody else at the receiver moved, removed or replaced the file while it was written, so that what was written
    /// cannot get its name. Nothing else got it.
    #[error("somebody at the receiver changed the partial file while it was written")]
    Tampered,
    /// The name leads into a folder that the receiver keeps everything out of.
    #[error("the receiver takes nothing into this folder, which holds its own keys or settings")]
    KeptOut,
}

/// Reason why a sender takes back an entry that it offered. It concerns this entry alone: the rest
/// goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Withdrawal {
    /// The entry is no longer there.
    #[error("the file is gone")]
    Vanished,
    /// The entry changed while it was read.
    #[error("the file changed while it was read")]
    Changed,
    /// The sending process may not read it.
    #[error("no permission to read")]
    Denied,
    /// Reading failed; the number is the error code of the sender's system, 0 if there is none.
    #[error("reading failed (system error {code})")]
    Unreadable {
        /// `errno`, or 0.
        code: u32,
    },
    /// The entry is neither file nor folder, or became something else.
    #[error("not a regular file")]
    Kind,
    /// Its name cannot travel, see [`RelPath`](super::RelPath).
    #[error("the name cannot travel: it is not safe on every system")]
    Name,
    /// Its name is longer, or deeper, than [`RelPath`](super::RelPath) allows.
    #[error("the name is too long or too deep to travel")]
    NameTooLong,
    /// The entry is a link, and the sender's user sends none.
    #[error("a link, and links are not sent")]
    Link,
    /// The entry is a link that leads out of what is sent, or back to a folder that it stands in.
    #[error("the link leads out of the tree, or back to a folder that it stands in")]
    LinkEscapes,
    /// The entry is a partial file of a receiver of haul.
    #[error("a partial file of haul")]
    Partial,
    /// Content that the receiver needs was read from a stream before, and cannot be read again.
    #[error("what was read from the stream before cannot be read again")]
    Spent,
    /// The entry holds more than the size that the sender's system gives for it.
    #[error("the file holds more than its system reports")]
    FalseSize,
    /// The entry is a secret of the sender's user, by whatever name: a key, say.
    #[error("a secret of the sender's user, which is never sent")]
    Secret,
}

/// Reason why a side ends the whole session. As text, it is what "the peer" does: `is busy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AbortCode {
    /// Its user stopped it.
    #[error("stopped by its user")]
    Cancelled,
    /// The other side broke a rule of the protocol.
    #[error("saw a breach of the protocol")]
    Protocol,
    /// No version, or no required feature, in common.
    #[error("supports no common version")]
    Incompatible,
    /// The other side was silent, or made no progress, past a deadline.
    #[error("waited past its deadline")]
    Stalled,
    /// Its store or its source failed as a whole.
    #[error("had a failure of its own")]
    Failed,
    /// A newer attempt at the same transfer has taken over.
    #[error("serves a newer attempt at this transfer")]
    Superseded,
    /// That side serves as many transfers as it may.
    #[error("is busy")]
    Busy,
    /// Its policy.
    #[error("refuses by policy")]
    Policy,
    /// The bytes were damaged on the way.
    #[error("received damaged bytes")]
    Damaged,
    /// That side has no file descriptor left for what is sent.
    #[error("has too few file descriptors")]
    Exhausted,
    /// That side leaves as a whole, not for the sake of this transfer, and may come back.
    #[error("is going away, and may come back")]
    Leaving,
    /// That side does not admit the other: neither its key, nor what it proved.
    #[error("does not admit this side")]
    NotAdmitted,
}

impl Refusal {
    /// Returns whether the process, or the system, has no file descriptor left, by [`is_fd_exhaustion`].
    #[must_use]
    pub const fn is_fd_exhaustion(self) -> bool {
        matches!(self, Self::Store { code, .. } if is_fd_exhaustion(code))
    }

    /// Returns the operation of the receiver's store that failed, where that is the reason and the
    /// receiver sent it.
    #[must_use]
    pub const fn operation(self) -> Option<StoreOperation> {
        match self {
            Self::Store { operation: StoreOperation::Unspecified, .. } => None,
            Self::Store { operation, .. } => Some(operation),
            Self::Sync { .. } => Some(StoreOperation::Sync),
            Self::Exists
            | Self::Skipped
            | Self::KindClash
            | Self::Name
            | Self::Collision
            | Self::Kind
            | Self::TooLarge { .. }
            | Self::TooMuch { .. }
            | Self::TooMany { .. }
            | Self::NoSpace { .. }
            | Self::Denied
            | Self::ReadOnly
            | Self::Mismatch
            | Self::Policy
            | Self::Gone
            | Self::NameTooLong
            | Self::HiddenName
            | Self::Tampered
            | Self::KeptOut => None,
        }
    }
}

impl Withdrawal {
    /// Returns whether the sender's process, or its system, has no file descriptor left, like
    /// [`Refusal::is_fd_exhaustion`] of a receiver.
    #[must_use]
    pub const fn is_fd_exhaustion(self) -> bool {
        matches!(self, Self::Unreadable { code } if is_fd_exhaustion(code))
    }

    /// Returns whether what arrived of the entry may serve a later attempt at it: the file is there, or a new version
    /// of it, but could not be read to its end.
    #[must_use]
    pub const fn keeps_content(self) -> bool {
        match self {
            Self::Changed | Self::Denied | Self::Unreadable { .. } => true,
            Self::Vanished
            | Self::Kind
            | Self::Name
            | Self::NameTooLong
            | Self::Link
            | Self::LinkEscapes
            | Self::Partial
            | Self::Spent
            | Self::FalseSize
            | Self::Secret => false,
        }
    }

    /// Returns whether the entry was left out because the sender's user wished it so: nothing
    /// failed.
    #[must_use]
    pub const fn is_skip(self) -> bool {
        match self {
            Self::Link | Self::Partial | Self::Secret => true,
            Self::Vanished
            | Self::Changed
            | Self::Denied
            | Self::Unreadable { .. }
            | Self::Kind
            | Self::Name
            | Self::NameTooLong
            | Self::LinkEscapes
            | Self::Spent
            | Self::FalseSize => false,
        }
    }
}

/// The operation of a receiver's store that failed, in a [`Refusal::Store`](super::Refusal::Store).
///
/// Those that concern a file are the calls of the system that do the work, whatever method of a
/// [`Store`](crate::store::Store) asked for it: what fails in `begin` may be [`Open`](Self::Open), and what fails in a
/// commit may be [`Rename`](Self::Rename). A store without such calls has [`Commit`](Self::Commit) for all of the
/// latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StoreOperation {
    /// The operation is not named, or by a number of a later version.
    #[default]
    Unspecified,
    /// Opening, or creating, the file or a folder on the way.
    Open,
    /// Looking at what has the name, or at the free space.
    Stat,
    /// Creating the folder, or one on the way.
    CreateFolder,
    /// Creating the link.
    CreateLink,
    /// Reading what is held.
    Read,
    /// Writing content.
    Write,
    /// Copying what stays the same from the file that is replaced.
    Copy,
    /// Setting the final size.
    Truncate,
    /// Making it durable.
    Sync,
    /// Giving it its final name.
    Rename,
    /// Any step of what makes a complete entry a final one.
    Commit,
}

impl StoreOperation {
    /// Returns the failure as text for people: `could not open it`. "It" is the entry.
    #[must_use]
    pub const fn failed(self) -> &'static str {
        match self {
            Self::Unspecified => "could not store it",
            Self::Open => "could not open it",
            Self::Stat => "could not look at it",
            Self::CreateFolder => "could not create a folder for it",
            Self::CreateLink => "could not create it as a link",
            Self::Read => "could not read what it holds of it",
            Self::Write => "could not write it",
            Self::Copy => "could not copy what stays the same of it",
            Self::Truncate => "could not set its size",
            Self::Sync => "could not sync it",
            Self::Rename => "could not rename it",
            Self::Commit => "could not commit it",
        }
    }
}

/// Largest file that a receiver takes, for people.
struct Largest(u64);

impl fmt::Display for Largest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("the receiver takes"),
            limit => write!(f, "the {limit} that the receiver takes"),
        }
    }
}

impl fmt::Display for StoreOperation {
    /// Writes one word for programs, which stays the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Open => "open",
            Self::Stat => "stat",
            Self::CreateFolder => "create_folder",
            Self::CreateLink => "create_link",
            Self::Read => "read",
            Self::Write => "write",
            Self::Copy => "copy",
            Self::Truncate => "truncate",
            Self::Sync => "sync",
            Self::Rename => "rename",
            Self::Commit => "commit",
        })
    }
}
