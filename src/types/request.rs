//! What the core of a receiver asks of a store, and what a store answers.

use super::entry::{Meta, Timestamp};
use super::id::{EntryId, Ticket};
use super::receipt::Durability;

/// What the store found, without its handle: see [`Begun`](crate::store::Begun).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// Nothing.
    Fresh,
    /// A partial file of this many bytes.
    Partial(u64),
    /// A file of this many bytes under the final name.
    Existing(u64),
}

/// Under which name an entry is begun, or committed.
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

/// How an entry is to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Commit {
    /// What the store says of it when it has ended; see [`Store::poll_committed`](crate::store::Store::poll_committed).
    pub ticket: Ticket,
    /// The entry, as [`Store::begin`](crate::store::Store::begin) was told: another transfer has one of the same number.
    pub entry: EntryId,
    /// Its name, kind, time and mode, as offered.
    pub meta: Meta,
    /// Which name it is to get, and whether it may take the place of a file that has it.
    pub place: Place,
    /// Its final size in bytes. What a partial file holds beyond is cut off; what was never written up to there is
    /// zeros, which need take no room.
    pub size: u64,
    /// How durable it must be before `poll_committed` says so.
    pub durability: Durability,
}

impl Commit {
    /// All of it, as the core or a test makes it.
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
    /// Of this size and time.
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
    /// Where the piece begins.
    pub offset: u64,
    /// How long it is; the content may end before only if its size was not known.
    pub len: usize,
    /// How many bytes to leave free before it.
    pub head: usize,
    /// The content ends with this piece.
    pub is_last: bool,
    /// The whole content is this piece: the entry will hardly be read again.
    pub is_whole: bool,
}
