//! An entry of a folder that was begun.

use std::fs::Metadata;
use std::io;

use super::commit::What;
use crate::proto::{Refusal, RelPath, StoreOperation};
use crate::store::refusal_of;

/// An entry of an [`FsStore`](super::FsStore) that was begun. Dropping it keeps what was written, as
/// [`Store::suspend`](crate::store::Store::suspend) does.
#[derive(Debug)]
pub struct FsFile {
    /// The name under which it was begun.
    pub(super) path: RelPath,
    /// The room that it is to take, as far as the offer says.
    pub(super) size: Option<u64>,
    pub(super) what: What,
    /// Bytes that may be written before the free space is looked at again.
    pub(super) room: u64,
    /// Of a partial file: where what it holds ends.
    ///
    /// Invariant: it is at least this long, unless somebody else has made it shorter.
    pub(super) end: u64,
}

impl FsFile {
    /// Nobody has made a partial file shorter since it was begun: what is missing then was verified before, and would be
    /// zeros in the end.
    pub(super) fn prove_length(&self, meta: &Metadata) -> Result<(), Refusal> {
        if meta.len() < self.end { Err(Refusal::Tampered) } else { Ok(()) }
    }
}

pub(super) fn stat_refusal(error: &io::Error) -> Refusal {
    refusal_of(StoreOperation::Stat, error)
}
