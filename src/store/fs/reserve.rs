//! File descriptors that are kept for commits.
//!
//! A session that takes the last descriptor for a file that it begins could not give any of its files a name: a commit walks
//! to the folder once more. So a few are kept open for that, and no entry is begun while they are not.

use std::os::fd::OwnedFd;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::dir::Folder;

/// Spare descriptors of a store and all its clones.
#[derive(Debug)]
pub(super) struct Reserve {
    /// Copies of the handle of the folder of the store.
    spare: RwLock<Vec<OwnedFd>>,
    /// Number of descriptors to keep: fewer where there were fewer from the start.
    wanted: usize,
}

impl Reserve {
    pub(super) fn new(root: &Folder) -> Self {
        let mut spare = Vec::new();
        // Whoever has so few does without.
        let _ = fill(&mut spare, root, WANTED);
        Self { wanted: spare.len(), spare: RwLock::new(spare) }
    }

    /// Sees to it that there is something left for commits, and that no commit needs it while this is held: what is about to
    /// be opened would take it.
    ///
    /// # Errors
    ///
    /// [`Errno::MFILE`], [`Errno::NFILE`]: there is not.
    pub(super) fn hold(&self, root: &Folder) -> rustix::io::Result<Held<'_>> {
        loop {
            let held = self.keep_off();
            if held.0.len() >= self.wanted {
                return Ok(held);
            }
            drop(held);
            let mut spare = self.spare.write().unwrap_or_else(PoisonError::into_inner);
            fill(&mut spare, root, self.wanted)?;
        }
    }

    /// Works as [`Reserve::hold`], for what gives back at once all that it opens.
    pub(super) fn keep_off(&self) -> Held<'_> {
        Held(self.spare.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does what lacked descriptors with those that are kept for it. One does so at a time, and nothing is begun meanwhile.
    pub(super) fn spend<T>(&self, root: &Folder, act: impl FnOnce() -> T) -> T {
        let mut spare = self.spare.write().unwrap_or_else(PoisonError::into_inner);
        spare.clear();
        let done = act();
        // What somebody else has taken meanwhile is had again before anything is begun.
        let _ = fill(&mut spare, root, self.wanted);
        done
    }
}

/// Guard for as long as which no commit spends what is kept for it.
#[must_use]
pub(super) struct Held<'r>(RwLockReadGuard<'r, Vec<OwnedFd>>);

fn fill(spare: &mut Vec<OwnedFd>, root: &Folder, wanted: usize) -> rustix::io::Result<()> {
    while spare.len() < wanted {
        match fcntl_dupfd_cloexec(root, 0) {
            Ok(copy) => spare.push(copy),
            Err(errno @ (Errno::MFILE | Errno::NFILE)) => return Err(errno),
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Two folders of a walk, the listing of one that was just made, and what has a name.
const WANTED: usize = 4;
