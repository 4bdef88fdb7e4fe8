//! Entries that a filter is asked about.

use std::fmt;
use std::os::fd::BorrowedFd;

use rustix::fs::FileType;

/// Entry that a walk found below a path that it was given, for a [filter](super::FsSource::filter) to admit.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    pub(super) root: usize,
    pub(super) path: &'a [u8],
    pub(super) kind: CandidateKind,
    pub(super) folder: BorrowedFd<'a>,
}

/// Kind of a [`Candidate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CandidateKind {
    /// A regular file, or a link to one that is followed.
    File,
    /// A folder, or a link to one that is followed.
    Directory,
    /// A link that is not followed, or leads nowhere.
    Symlink,
    /// A FIFO, a socket or a device, which is not sent in any case.
    Special,
}

/// Decides which entries are sent.
pub(super) struct Filter(pub(super) Box<dyn FnMut(&Candidate<'_>) -> bool + Send>);

impl Candidate<'_> {
    /// Returns its place below the path that was given, as bytes: parts that are joined by `/`.
    ///
    /// It may be a name that cannot travel.
    #[must_use]
    pub const fn path(&self) -> &[u8] {
        self.path
    }

    /// Returns its kind.
    #[must_use]
    pub const fn kind(&self) -> CandidateKind {
        self.kind
    }

    /// Returns the number of the given path below which it was found, counted from 0.
    #[must_use]
    pub const fn root(&self) -> usize {
        self.root
    }

    /// Returns the folder that it stands in, open: what is opened relative to that is of the tree that is sent,
    /// whatever happens to the folders on the way to it.
    #[must_use]
    pub const fn folder(&self) -> BorrowedFd<'_> {
        self.folder
    }
}

impl CandidateKind {
    pub(super) const fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            _ => Self::Special,
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}
