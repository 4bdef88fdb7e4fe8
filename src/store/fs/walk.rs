//! The way to where a walk is. However deep that is, few of its folders are open.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::vec;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use super::mode;
use super::stat::Id;
use crate::types::{Closed, RelPath};

/// Folders, each in the one before it.
///
/// The last [`KEPT`] of them are kept open. The others are opened again on the way back, from where the walk began, and are
/// those that were walked, by device and inode, or [`Errno::STALE`].
#[derive(Debug, Default)]
pub(super) struct Walk(Vec<Folder>);

/// A folder that is walked. Invariant: the path is the one by which it was opened, the name a [`RelPath`].
#[derive(Debug)]
pub(super) struct Folder {
    handle: Option<OwnedFd>,
    pub(super) id: Id,
    pub(super) path: PathBuf,
    pub(super) links: Links,
    pub(super) name: RelPath,
    pub(super) listing: Listing,
    /// The part of it, and of those above, that is closed to others.
    pub(super) closed: Closed,
    /// Set once something that it holds was found to be sent.
    pub(super) is_filled: bool,
}

/// The names of a folder, a batch of them at a time. Invariant: the batch that is begun is sorted.
#[derive(Debug)]
pub(super) struct Listing {
    batch: vec::IntoIter<(OsString, FileType)>,
    /// Reader of the rest, if there is more.
    rest: Option<Dir>,
    failed: Option<Errno>,
}

/// Policy for a link as the last part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Followed,
    Refused,
}

impl Walk {
    /// Goes down into a folder that is in the last one.
    pub(super) fn enter(&mut self, folder: Folder) {
        self.0.push(folder);
        let kept = self.0.len().saturating_sub(KEPT);
        if let Some(above) = kept.checked_sub(1).and_then(|at| self.0.get_mut(at)) {
            above.handle = None;
        }
    }

    /// Goes back from the last folder.
    pub(super) fn leave(&mut self) -> Option<Folder> {
        self.0.pop()
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn first(&self) -> Option<&Folder> {
        self.0.first()
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Folder> {
        self.0.last_mut()
    }

    /// Returns the number of names in memory.
    #[cfg(test)]
    pub(super) fn names(&self) -> usize {
        self.0.iter().map(|folder| folder.listing.batch.len()).sum()
    }

    /// Returns the number of open folders.
    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.0.iter().filter(|folder| folder.handle.is_some()).count()
    }

    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Returns what is closed to others of the last folder and above.
    pub(super) fn closed(&self) -> Closed {
        self.0.last().map(|folder| folder.closed).unwrap_or_default()
    }

    /// Returns whether this is a folder of the way.
    pub(super) fn contains(&self, id: Id) -> bool {
        self.0.iter().any(|above| above.id == id)
    }

    /// Returns the last folder; the current one where the walk has not begun.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        let last = self.0.last().and_then(|folder| folder.handle.as_ref());
        last.map_or(CWD, OwnedFd::as_fd)
    }

    /// Opens the last folder again, if it was closed; with as many of those before it as are kept.
    ///
    /// # Errors
    ///
    /// [`Errno::STALE`] if it, or one on the way, is another one by now; any error of the system.
    pub(super) fn reach(&mut self, kept: usize) -> rustix::io::Result<()> {
        let len = self.0.len();
        let open = self.0.iter().rposition(|folder| folder.handle.is_some());
        let from = open.map_or(0, |at| at + 1);
        // Of those that are not kept, one at a time.
        let mut passed: Option<OwnedFd> = None;
        for at in from..len {
            let (above, rest) = self.0.split_at_mut(at);
            let Some(folder) = rest.first_mut() else { break };
            let above = above.last().and_then(|above| above.handle.as_ref()).or(passed.as_ref());
            let opened = match (above, folder.path.file_name()) {
                (Some(above), Some(part)) => open_folder(above.as_fd(), part, folder.links)?,
                _ => open_folder(CWD, folder.path.as_os_str(), folder.links)?,
            };
            if Id::of(&fstat(&opened)?) != folder.id {
                return Err(Errno::STALE);
            }
            if at + kept >= len {
                folder.handle = Some(opened);
            } else {
                passed = Some(opened);
            }
        }
        Ok(())
    }

    /// Closes all folders, or all but the last. `false`: none was open.
    pub(super) fn close(&mut self, but_last: bool) -> bool {
        let len = self.0.len().saturating_sub(usize::from(but_last));
        let closed = self.0.iter_mut().take(len).filter_map(|folder| folder.handle.take());
        closed.count() > 0
    }
}

impl Folder {
    /// Returns a folder of this path, which is opened in `parent` by the last part of that.
    pub(super) fn open(
        parent: BorrowedFd<'_>,
        part: &std::ffi::OsStr,
        links: Links,
    ) -> rustix::io::Result<(OwnedFd, Stat, Listing)> {
        let handle = open_folder(parent, part, links)?;
        let stat = fstat(&handle)?;
        let listing = Listing::of(handle.as_fd())?;
        Ok((handle, stat, listing))
    }

    pub(super) fn new(
        (handle, stat, listing): (OwnedFd, Stat, Listing),
        path: PathBuf,
        links: Links,
        name: RelPath,
        above: Closed,
    ) -> Self {
        let (id, closed) = (Id::of(&stat), above.below(mode::bits(stat.st_mode)));
        Self { handle: Some(handle), id, path, links, name, listing, closed, is_filled: false }
    }

    /// Returns the system's stat of it. [`Errno::BADF`]: it is not open.
    pub(super) fn stat(&self) -> rustix::io::Result<rustix::fs::Stat> {
        fstat(self.handle.as_ref().ok_or(Errno::BADF)?)
    }
}

impl Listing {
    fn of(folder: BorrowedFd<'_>) -> rustix::io::Result<Self> {
        let rest = Some(Dir::read_from(folder)?);
        let mut listing = Self { batch: Vec::new().into_iter(), rest, failed: None };
        listing.refill();
        Ok(listing)
    }

    fn refill(&mut self) {
        let mut names = Vec::new();
        while names.len() < BATCH
            && let Some(rest) = &mut self.rest
        {
            match rest.next() {
                None => self.rest = None,
                Some(Err(errno)) => (self.rest, self.failed) = (None, Some(errno)),
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes();
                    if name != b"." && name != b".." {
                        names.push((OsString::from_vec(name.to_vec()), entry.file_type()));
                    }
                }
            }
        }
        names.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.batch = names.into_iter();
    }
}

impl Iterator for Listing {
    type Item = rustix::io::Result<(OsString, FileType)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.batch.len() == 0 {
            self.refill();
        }
        self.batch.next().map(Ok).or_else(|| self.failed.take().map(Err))
    }
}

impl Links {
    pub(super) const fn at(self) -> AtFlags {
        match self {
            Self::Followed => AtFlags::empty(),
            Self::Refused => AtFlags::SYMLINK_NOFOLLOW,
        }
    }

    pub(super) const fn open(self) -> OFlags {
        match self {
            Self::Followed => OFlags::empty(),
            Self::Refused => OFlags::NOFOLLOW,
        }
    }
}

fn open_folder(
    parent: BorrowedFd<'_>,
    part: &std::ffi::OsStr,
    links: Links,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | links.open();
    openat(parent, part, flags, Mode::empty())
}

/// Number of folders of the way that are kept open: most trees are not deeper, and it is a small part of what a process
/// may have.
pub(super) const KEPT: usize = 16;

/// The most names of one folder in memory: more than most folders have, and 1 MiB of the longest names.
pub(super) const BATCH: usize = 4096;
