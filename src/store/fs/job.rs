//! A commit on its way, and what it waits for.

use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::claim::Claim;
use super::dir::{Folder, FolderId, Tree};
use super::existing::Trouble;
use super::file::{FsFile, What};
use super::shared::Shared;
use crate::store::Ended;
use crate::types::{Commit, Durability, Place, RelPath, Ticket};

/// One commit on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) shared: Arc<Shared>,
    /// Its place among the commits of the same name.
    pub(super) claim: Claim,
    /// The name that it is to get.
    pub(super) path: RelPath,
    pub(super) file: FsFile,
    pub(super) commit: Commit,
    pub(super) ended: Sender<(Ticket, Ended<FsFile>)>,
    pub(super) failed: Option<Trouble>,
    /// Set if it is a folder that was made here.
    pub(super) is_made: bool,
    /// The folders that must be durable before this commit has ended. The first is the one that holds the entry, or the
    /// entry itself if it is a folder.
    pub(super) wanted: Vec<Wanted>,
    /// Since it has its name, the first of them was proved to be where it was.
    pub(super) is_proved: bool,
}

/// A folder that must be durable. It is not opened for that before its turn: a path may be long, and a batch has many.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) id: FolderId,
    /// Path of it; `None`: it is the root.
    pub(super) path: Option<RelPath>,
    /// The folder in it that is then known to have a durable name.
    pub(super) below: Option<FolderId>,
    /// Its handle, if the entry has one anyway.
    pub(super) held: Option<Folder>,
}

impl Job {
    /// Returns whether nothing of it takes long: it is small, and nothing is synced.
    pub(super) fn is_short(&self) -> bool {
        self.commit.durability == Durability::Received
            && self.commit.size <= SMALL
            && self.commit.place != Place::Replacing
            && matches!(self.file.what, What::Partial { .. } | What::Existing(_))
    }

    pub(super) fn lacks_descriptors(&self) -> bool {
        self.failed.as_ref().is_some_and(Trouble::lacks_descriptors)
    }

    /// Returns the folders that are to be synced for this commit.
    pub(super) fn to_sync(&self) -> &[Wanted] {
        let synced = self.failed.is_none() && self.commit.durability == Durability::Synced;
        if synced && cfg!(not(haul_canary = "no-dirsync")) { &self.wanted } else { &[] }
    }
}

impl Wanted {
    /// Returns whether the handle that the entry has of it is seen to be of what stands there.
    pub(super) fn is_there(&self, tree: &Tree) -> bool {
        self.held.as_ref().is_some_and(|held| tree.is_there(self.path.as_ref(), held))
    }
}

/// The largest file that is committed where that is asked for.
const SMALL: u64 = 1 << 20;
