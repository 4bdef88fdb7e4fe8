//! What a store was about to do when it failed.

use std::fmt;

/// The operation of a receiver's store that failed, in a [`Refusal::Store`](super::Refusal::Store).
///
/// Those that concern a file are the calls of the system that do the work, whatever method of a
/// [`Store`](crate::store::Store) asked for it: what fails in `begin` may be [`Open`](Self::Open), and what fails in a commit
/// may be [`Rename`](Self::Rename). A store without such calls has [`Commit`](Self::Commit) for all of the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StoreOperation {
    /// It is not said, or by a number of a later version.
    #[default]
    Unspecified,
    /// To open, or create, the file or a folder on the way.
    Open,
    /// To look at what has the name, or at the free space.
    Stat,
    /// To create the folder, or one on the way.
    CreateFolder,
    /// To create the link.
    CreateLink,
    /// To read what is held.
    Read,
    /// To write content.
    Write,
    /// To copy what stays the same from the file that is replaced.
    Copy,
    /// To set the final size.
    Truncate,
    /// To make it durable.
    Sync,
    /// To give it its final name.
    Rename,
    /// To do any of what makes a complete entry a final one.
    Commit,
}

impl StoreOperation {
    /// That this failed, for people: `could not open it`. "It" is the entry.
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

impl fmt::Display for StoreOperation {
    /// One word for programs, which stays the same.
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
