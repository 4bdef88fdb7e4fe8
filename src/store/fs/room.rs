//! The room that there is on the file system of a store.

use std::io;

use rustix::fs::{fstat, fstatvfs};

use super::dir::Folder;
use super::errno::{self, During};
use super::file::{FsFile, What};
use super::stat;
use crate::store::io_error::refusal_of;
use crate::types::{Refusal, StoreOperation};

/// Space that may be taken of a file system.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Room {
    /// Bytes of the file system that are to be left free.
    pub(super) keep_free: u64,
}

impl Room {
    /// Returns how many bytes may be taken.
    pub(super) fn available(self, folder: &Folder) -> errno::Result<u64> {
        let free = fstatvfs(folder).during(StoreOperation::Stat)?;
        Ok(free.f_bavail.saturating_mul(free.f_frsize).saturating_sub(self.keep_free))
    }

    /// Checks that there is room for so many bytes.
    pub(super) fn check(self, folder: &Folder, needed: u64) -> Result<(), Refusal> {
        let available = self.available(folder)?;
        if needed > available { Err(Refusal::NoSpace { needed, available }) } else { Ok(()) }
    }

    /// Sees to it that so much may be written, up to this end, and leaves what is to be left free.
    pub(super) fn take(self, file: &mut FsFile, end: u64, len: u64) -> Result<(), Refusal> {
        let What::Partial { folder, .. } = &file.what else { return Ok(()) };
        // With nothing to leave, the system itself says when it is full.
        if self.keep_free == 0 {
            return Ok(());
        }
        if file.room < len {
            file.room = self.available(folder)?.min(LOOK.max(len));
        }
        match file.room.checked_sub(len) {
            Some(rest) => {
                file.room = rest;
                Ok(())
            }
            None => {
                let full = io::ErrorKind::StorageFull.into();
                Err(self.refusal(file, end, StoreOperation::Write, &full))
            }
        }
    }

    /// Returns the reason for a write that failed, with numbers.
    pub(super) fn refusal(
        self,
        file: &FsFile,
        end: u64,
        operation: StoreOperation,
        error: &io::Error,
    ) -> Refusal {
        match (refusal_of(operation, error), &file.what) {
            (Refusal::NoSpace { .. }, What::Partial { partial, folder, .. }) => {
                let allocated = fstat(&partial.file).map_or(0, |stat| stat::allocated(&stat));
                let size = file.size.unwrap_or(end).max(end);
                let needed = size.saturating_sub(allocated);
                Refusal::NoSpace { needed, available: self.available(folder).unwrap_or(0) }
            }
            (Refusal::TooLarge { limit, .. }, _) => Refusal::TooLarge { size: end, limit },
            (refusal, _) => refusal,
        }
    }
}

/// Bytes that are written before the free space is looked at again: a system call for some milliseconds of
/// writing.
pub(super) const LOOK: u64 = 16 << 20;
