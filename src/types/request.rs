//! Requests of a receiver's core to a store, and the answers of a store.

use super::entry::{Meta, Timestamp};
use super::id::{EntryId, Ticket};
use super::receipt::Durability;

/// Content that a store found where an entry is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// Nothing: the entry is new, and can be written.
    Fresh,
    /// So many bytes, left by an earlier attempt. They may be anything until the sender has said that they are right.
    Partial(u64),
    /// A regular file of so many bytes under the final name. It can be read and committed (if it proves equal), not
    /// written.
    Existing(u64),
}

/// Name under which an entry is begun, or committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The name that was offered, if it is free.
    Offered,
    /// The name that was offered, taking the place of the file that has it.
    Replacing,
    /// The n-th name beside it, counted from 1, if it is free: `photo (1).jpg`.
    Beside(u32),
}

/// A regular file under its final name, as [`Store::stat`](crate::store::Store::stat) sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileStat {
    /// Its size in bytes.
    pub size: u64,
    /// The time of its last change.
    pub modified: Timestamp,
}

/// Order to commit an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// Name of this order in the store's answer when it has ended; see
    /// [`Store::poll_committed`](crate::store::Store::poll_committed).
    pub ticket: Ticket,
    /// The entry, as [`Store::begin`](crate::store::Store::begin) was told: another transfer has one of the same
    /// number.
    pub entry: EntryId,
    /// Its name, kind, time and mode, as offered.
    pub meta: Meta,
    /// Name that the entry is to get, and whether it may take the place of a file that has it.
    pub place: Place,
    /// Its final size in bytes. What a partial file holds beyond is cut off; what was never written up to there is
    /// zeros, which need take no room.
    pub size: u64,
    /// Durability that must be reached before `poll_committed` reports the entry.
    pub durability: Durability,
}

impl Commit {
    /// Returns an order from its parts, as the core or a test makes it.
    #[must_use]
    pub const fn new(
        ticket: Ticket,
        entry: EntryId,
        meta: Meta,
        place: Place,
        size: u64,
        durability: Durability,
    ) -> Self {
        Self { ticket, entry, meta, place, size, durability }
    }
}

impl FileStat {
    /// Returns a file of this size and time.
    #[must_use]
    pub const fn new(size: u64, modified: Timestamp) -> Self {
        Self { size, modified }
    }
}

/// A piece of content that the core needs, read straight into the frame in which it travels.
///
/// Fill a buffer of `head + len` bytes from `head` on, until `len` bytes or the end of the content. Where
/// `is_last`, or where the end came early, let the source confirm that the content did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadRequest {
    /// The entry.
    pub entry: EntryId,
    /// Offset of the piece, in bytes.
    pub offset: u64,
    /// Length of the piece, in bytes; the content may end before only if its size was not known.
    pub len: usize,
    /// Number of bytes to leave free before the piece.
    pub head: usize,
    /// The content ends with this piece.
    pub is_last: bool,
    /// The whole content is this piece: the entry will hardly be read again.
    pub is_whole: bool,
}
