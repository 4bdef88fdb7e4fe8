//! An entry of a folder that was begun.

use std::fs::{File, Metadata};
use std::io;

use super::dir::Folder;
use super::existing::Existing;
use super::partial::Partial;
use crate::store::io_error::refusal_of;
use crate::types::{Offer, Place, Refusal, RelPath, StoreOperation};

/// An entry of an [`FsStore`](super::FsStore) that was begun. Dropping it keeps what was written, as
/// [`Store::suspend`](crate::store::Store::suspend) does.
#[derive(Debug)]
pub struct FsFile {
    /// The name under which it was begun.
    pub(super) path: RelPath,
    /// The room that it is to take, as far as the offer tells.
    pub(super) size: Option<u64>,
    pub(super) what: What,
    /// Bytes that may be written before the free space is looked at again.
    pub(super) room: u64,
    /// End of what a partial file holds.
    ///
    /// Invariant: it is at least this long, unless somebody else has made it shorter.
    pub(super) end: u64,
}

/// Entry to commit.
#[derive(Debug)]
pub(super) enum What {
    Folder,
    Link { target: Box<[u8]> },
    Existing(Existing),
    Partial { partial: Partial, replaced: Option<File>, folder: Folder },
}

impl FsFile {
    /// Creates an entry of which nothing is written.
    pub(super) const fn new(path: RelPath, size: Option<u64>, what: What) -> Self {
        Self { path, size, what, room: 0, end: 0 }
    }

    /// Proves that nobody has made a partial file shorter since it was begun: what is missing then was verified before,
    /// and would be zeros in the end.
    pub(super) fn prove_length(&self, meta: &Metadata) -> Result<(), Refusal> {
        if meta.len() < self.end { Err(Refusal::Tampered) } else { Ok(()) }
    }
}

/// Returns the end of what is to be written, which the system counts in 63 bits.
pub(super) fn end_of(offset: u64, len: u64) -> Result<u64, Refusal> {
    let end = offset.saturating_add(len);
    if end > LARGEST { Err(Refusal::TooLarge { size: end, limit: LARGEST }) } else { Ok(end) }
}

/// `off_t` has 64 bits, one of them for the sign.
const LARGEST: u64 = i64::MAX.unsigned_abs();

/// Returns the number of bytes that an entry is to take, as far as the offer tells.
pub(super) fn room_of(offer: &Offer) -> Option<u64> {
    offer.meta.data.or(offer.meta.size)
}

/// Returns the reason where something that is no file has the name of a file, or the like.
pub(super) const fn clash(place: Place) -> Refusal {
    match place {
        // The next number may be free.
        Place::Beside(_) => Refusal::Exists,
        Place::Offered | Place::Replacing => Refusal::KindClash,
    }
}

pub(super) fn stat_refusal(error: &io::Error) -> Refusal {
    refusal_of(StoreOperation::Stat, error)
}
