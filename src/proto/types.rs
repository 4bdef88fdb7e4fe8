//! The vocabulary of a transfer: ids, entries, reasons and receipts.

use std::fmt;

use super::operation::StoreOperation;
use super::path::RelPath;
use crate::tree::{BlockSize, Root};

/// One transfer, over all the connections that it takes: 16 random bytes, chosen by the sender.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransferId(pub(super) [u8; 16]);

/// One entry of a transfer: 0, 1, 2 … in the order in which the sender first offers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub(super) u32);

/// One commit: no other one, of whatever session, has the same ticket.
///
/// A store gives it back as it is; see [`Store::poll_committed`](crate::store::Store::poll_committed).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    session: [u8; 16],
    number: u64,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder. It is offered after what it holds, so that its time can be set last.
    Directory,
    /// A symbolic link and its target, as bytes that haul does not interpret.
    Symlink(Box<[u8]>),
}

/// A point in time: seconds since 1970-01-01 00:00 UTC, and nanoseconds below 10^9 after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    pub(super) seconds: i64,
    pub(super) nanos: u32,
}

/// What a source says of an entry before its content is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The name, relative to the folder of the receiver.
    pub path: RelPath,
    /// What it is.
    pub kind: Kind,
    /// The size in bytes; `None` where it is not known before the end, as of a pipe. 0 if it is no file.
    pub size: Option<u64>,
    /// How many bytes of a file are no holes, where the sender knows that and it is fewer than all. A receiver that keeps
    /// holes may judge by it whether there is room, and nothing else: it is the sender's word alone.
    pub data: Option<u64>,
    /// When the content was last changed, if known.
    pub modified: Option<Timestamp>,
    /// Unix permission bits, if known. Bits beyond `0o777` do not travel.
    pub mode: Option<u32>,
}

/// An entry as the sender offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// The entry.
    pub entry: EntryId,
    /// What it is.
    pub meta: Meta,
    /// The size of its blocks.
    pub block_size: BlockSize,
    /// The hash of the whole content, where the sender knows it already.
    pub root: Option<Root>,
}

/// How safely the receiver holds a file; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Complete, verified and under its final name. It survives the death of the receiving process.
    Received,
    /// As `Received`, and handed to the device (`fdatasync` of the file). The content survives a crash of
    /// the system; the name may not.
    Flushed,
    /// As `Flushed`, with `fsync` of the file and of its folder: both survive a power cut, as far as the
    /// device keeps its word. The default.
    #[default]
    Synced,
}

/// What the receiver did to hold the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was written in this transfer.
    Stored,
    /// It was there already, with the same content.
    Held,
}

/// The receiver's word that it holds an entry. It is given only after that is so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The name under which the receiver holds the entry, which may differ from the one that was offered.
    pub path: RelPath,
    /// The size in bytes.
    pub size: u64,
    /// The hash of the content: what `b3sum` prints.
    pub root: Root,
    /// How safely it is held.
    pub durability: Durability,
    /// Whether it was written, or there already.
    pub outcome: Outcome,
}

/// Why a receiver does not take, or could not keep, an entry. It concerns this entry alone: the rest goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A different file has this name, and the receiver does not replace files.
    #[error("a different file exists under this name")]
    Exists,
    /// A different file has this name, and the receiver skips such entries.
    #[error("skipped: a different file exists under this name")]
    Skipped,
    /// What has this name, or that of a folder on the way, is of another kind: a folder, a link, a device.
    #[error("something of another kind exists under this name")]
    KindClash,
    /// The name breaks a rule of [`RelPath`], or the receiver's platform cannot hold it.
    #[error("the name is not safe on every system")]
    Name,
    /// Another entry of this transfer has this name, or one that differs by case or Unicode form alone.
    #[error("another entry of this transfer has this name")]
    Collision,
    /// The receiver does not store entries of this kind.
    #[error("entries of this kind are not accepted")]
    Kind,
    /// The file is larger than the receiver takes.
    #[error("{size} bytes are more than the {limit} that the receiver takes in one file")]
    TooLarge {
        /// The size offered, or reached.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// All entries together are more than the receiver takes.
    #[error("the transfer is larger than the {limit} bytes that the receiver takes")]
    TooMuch {
        /// The limit in bytes.
        limit: u64,
    },
    /// More entries than the receiver takes.
    #[error("more entries than the {limit} that the receiver takes")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// There is no room. The same command goes on once there is.
    #[error("no space: {needed} bytes needed, {available} available")]
    NoSpace {
        /// What is missing to complete the entry, in bytes.
        needed: u64,
        /// What is free, in bytes.
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
        /// What it was about to do.
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
    #[error("the name is longer or deeper than the receiver takes")]
    NameTooLong,
    /// The name begins with a dot, and the receiver takes none of those.
    #[error("the name begins with a dot")]
    HiddenName,
    /// Somebody else at the receiver moved, removed or replaced the file while it was written, so that what was written
    /// cannot get its name. Nothing else got it.
    #[error("somebody at the receiver changed the partial file while it was written")]
    Tampered,
}

/// Why a sender takes back an entry that it offered. It concerns this entry alone: the rest goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Withdrawal {
    /// It is no longer there.
    #[error("the file is gone")]
    Vanished,
    /// It changed while it was read.
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
    /// It is neither file nor folder, or became something else.
    #[error("not a regular file")]
    Kind,
    /// Its name cannot travel, see [`RelPath`].
    #[error("the name cannot travel: it is not safe on every system")]
    Name,
    /// Its name is longer, or deeper, than [`RelPath`] allows.
    #[error("the name is too long or too deep to travel")]
    NameTooLong,
    /// It is a link, and the sender's user sends none.
    #[error("a link, and links are not sent")]
    Link,
    /// It is a link that leads out of what is sent, or back to a folder that it stands in.
    #[error("the link leads out of the tree, or back to a folder that it stands in")]
    LinkAstray,
    /// It is a partial file of a receiver of haul.
    #[error("a partial file of haul")]
    Partial,
    /// What the receiver needs was read from a stream before, and cannot be read again.
    #[error("what was read from the stream before cannot be read again")]
    Spent,
}

/// Why a side ends the whole session.
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
    #[error("speaks no version in common")]
    Incompatible,
    /// The other side was silent, or made no progress, past a deadline.
    #[error("waited past its deadline")]
    Stalled,
    /// A failure of its own: its store or its source, as a whole.
    #[error("had a failure of its own")]
    Failed,
    /// A newer attempt at the same transfer has taken over.
    #[error("serves a newer attempt at this transfer")]
    Superseded,
    /// It serves as many transfers as it may.
    #[error("is busy")]
    Busy,
    /// Its policy.
    #[error("refuses by policy")]
    Policy,
    /// The bytes were damaged on the way.
    #[error("received damaged bytes")]
    Damaged,
    /// It has no file descriptor left for what is sent.
    #[error("has too few file descriptors")]
    Exhausted,
    /// It goes away as a whole, not for the sake of this transfer, and may come back.
    #[error("is going away, and may come back")]
    Leaving,
}

impl Refusal {
    /// Whether the process, or the system, has no file descriptor left: `EMFILE` and `ENFILE`, of which each has one number
    /// on all Unix systems. That passes when files are closed.
    #[must_use]
    pub const fn is_for_want_of_descriptors(self) -> bool {
        matches!(self, Self::Store { code: 23 | 24, .. })
    }

    /// Which operation of the receiver's store failed, where that is the reason and the receiver said so.
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
            | Self::Tampered => None,
        }
    }
}

impl Withdrawal {
    /// Whether the sender's process, or its system, has no file descriptor left, as [`Refusal::is_for_want_of_descriptors`]
    /// says of a receiver.
    #[must_use]
    pub const fn is_for_want_of_descriptors(self) -> bool {
        matches!(self, Self::Unreadable { code: 23 | 24 })
    }

    /// Whether what arrived of the entry may serve a later attempt at it: the file is there, or a new version of it, but could
    /// not be read to its end.
    #[must_use]
    pub const fn keeps_content(self) -> bool {
        match self {
            Self::Changed | Self::Denied | Self::Unreadable { .. } => true,
            Self::Vanished
            | Self::Kind
            | Self::Name
            | Self::NameTooLong
            | Self::Link
            | Self::LinkAstray
            | Self::Partial
            | Self::Spent => false,
        }
    }

    /// Whether the entry was left out because the sender's user wished it so: nothing failed.
    #[must_use]
    pub const fn is_skip(self) -> bool {
        match self {
            Self::Link | Self::Partial => true,
            Self::Vanished
            | Self::Changed
            | Self::Denied
            | Self::Unreadable { .. }
            | Self::Kind
            | Self::Name
            | Self::NameTooLong
            | Self::LinkAstray
            | Self::Spent => false,
        }
    }
}

impl Meta {
    /// A regular file of `size` bytes.
    #[must_use]
    pub const fn file(path: RelPath, size: Option<u64>) -> Self {
        Self { path, kind: Kind::File, size, data: None, modified: None, mode: None }
    }

    /// A folder.
    #[must_use]
    pub const fn directory(path: RelPath) -> Self {
        Self { path, kind: Kind::Directory, size: Some(0), data: None, modified: None, mode: None }
    }

    /// A symbolic link.
    #[must_use]
    pub const fn symlink(path: RelPath, target: Box<[u8]>) -> Self {
        Self {
            path,
            kind: Kind::Symlink(target),
            size: Some(0),
            data: None,
            modified: None,
            mode: None,
        }
    }

    /// Whether all is the same but how it is stored.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Self { path, kind, size, data: _, modified, mode } = self;
        (path, kind, size) == (&other.path, &other.kind, &other.size)
            && (modified, mode) == (&other.modified, &other.mode)
    }

    /// With the number of bytes that are no holes. It is sent where it is less than the size.
    #[must_use]
    pub const fn data(mut self, data: Option<u64>) -> Self {
        self.data = data;
        self
    }

    /// With a time of last change.
    #[must_use]
    pub const fn modified(mut self, modified: Option<Timestamp>) -> Self {
        self.modified = modified;
        self
    }

    /// With permission bits; those beyond `0o777` are dropped.
    #[must_use]
    pub const fn mode(mut self, mode: Option<u32>) -> Self {
        self.mode = match mode {
            Some(mode) => Some(mode & 0o777),
            None => None,
        };
        self
    }
}

impl Offer {
    /// An offer, as a source or a test makes it.
    #[must_use]
    pub const fn new(entry: EntryId, meta: Meta, block_size: BlockSize) -> Self {
        Self { entry, meta, block_size, root: None }
    }

    /// Returns whether a store may go on with a partial file of `len` bytes for this entry.
    ///
    /// It may not where the content is one block at most and the partial file is longer: nothing of it would be kept, and it
    /// is what an attempt at something else left, maybe another sender's.
    #[must_use]
    pub const fn may_continue(&self, len: u64) -> bool {
        match self.meta.size {
            Some(size) => len <= size || size > self.block_size.bytes(),
            None => true,
        }
    }
}

impl Receipt {
    /// A receipt, as a test makes it.
    #[must_use]
    pub const fn new(
        path: RelPath,
        size: u64,
        root: Root,
        durability: Durability,
        outcome: Outcome,
    ) -> Self {
        Self { path, size, root, durability, outcome }
    }
}

impl Timestamp {
    /// `None` if there are 10^9 nanoseconds or more.
    #[must_use]
    pub const fn new(seconds: i64, nanos: u32) -> Option<Self> {
        if nanos < 1_000_000_000 { Some(Self { seconds, nanos }) } else { None }
    }

    /// Whole seconds since 1970-01-01 00:00 UTC, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after [`Timestamp::seconds`], below 10^9.
    #[must_use]
    pub const fn nanos(self) -> u32 {
        self.nanos
    }
}

impl TransferId {
    /// An id from 16 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl EntryId {
    /// The entry of this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Ticket {
    /// A ticket, as the core or a test makes it: of 16 bytes that no other session has, and a number that no other
    /// commit of the session has.
    #[must_use]
    pub const fn new(session: [u8; 16], number: u64) -> Self {
        Self { session, number }
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.session.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ".{}", self.number)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Received => "received",
            Self::Flushed => "flushed",
            Self::Synced => "synced",
        })
    }
}
