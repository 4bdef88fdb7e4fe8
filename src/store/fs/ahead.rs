//! A file that is opened when the walk finds it, as it is about to be read.
//!
//! Small files are read as they are found: to look at one and then to open it by its path takes four calls, of which two walk
//! the whole path. Where the entry before was read so, the next one is opened from the folder that it is in, and what is open
//! is looked at. Only what its folder lists as a regular file is opened: to open anything else may be to use it.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, Stat, fstat, openat};

use super::stat::{self, Stamp};

/// The entry that the walk found last.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Stamp of it, if it is a file.
    last: Option<Stamp>,
    opened: Option<(File, Stat)>,
    /// True if it was read before the next entry was found.
    is_read: bool,
    /// True if the last file was, so that the next one is about to be, too.
    are_read: bool,
}

impl Ahead {
    /// Goes on to the next entry. Returns whether that is to be opened at once.
    pub(super) fn go_on(&mut self) -> bool {
        let are_read = if self.last.is_some() { self.is_read } else { self.are_read };
        *self = Self { are_read, ..Self::default() };
        are_read
    }

    /// Notes a file that was found.
    pub(super) fn found(&mut self, stamp: Stamp, opened: Option<(File, Stat)>) {
        (self.last, self.opened) = (Some(stamp), opened);
    }

    /// Takes the file that is open, if it is this one.
    pub(super) fn take(&mut self, stamp: Stamp) -> Option<(File, Stat)> {
        self.is_read |= self.last == Some(stamp);
        self.opened.take().filter(|_| self.last == Some(stamp))
    }

    /// Closes the file that is open. `false`: none is.
    pub(super) fn close(&mut self) -> bool {
        self.opened.take().is_some()
    }
}

/// Opens a regular file in a folder, with a step before it is looked at. `None`: it is none, or cannot be opened.
pub(super) fn open(
    folder: BorrowedFd<'_>,
    part: &OsStr,
    step: impl FnOnce(),
) -> Option<(File, Stat)> {
    // Should it be a FIFO by now, the open does not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = openat(folder, part, flags | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    step();
    let stat = fstat(&opened).ok()?;
    stat::is_file(&stat).then(|| (File::from(opened), stat))
}
