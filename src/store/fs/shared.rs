//! State that the clones of a store share, and the steps at which tests let them fail.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::dir::Tree;
use super::expiry::Expiry;
use super::order::{Order, Turns};
use super::reserve::Reserve;
use super::sys;
use crate::types::Durability;

/// State that all clones of a store share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) turns: Turns,
    pub(super) order: Order,
    pub(super) reserve: Reserve,
    pub(super) tree: Tree,
    pub(super) umask: u32,
    pub(super) expiry: Expiry,
    pub(super) unnamed: Unnamed,
    #[cfg(test)]
    pub(super) hook: std::sync::Arc<super::store::tests::Hook>,
}

/// A step that can fail, for tests that make it fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Cut,
    SyncFile,
    /// A file without a name is about to get one. It fails where a system, or a file system, cannot.
    Link,
    /// The file is about to be proved to be what has the name that is to be renamed.
    Rename,
    /// Rename without replacement. It fails where a file system cannot.
    RenameNoReplace,
    /// Exchange of two names. It fails where a file system cannot.
    RenameExchange,
    /// The file is about to be proved to be what has the final name. It cannot fail.
    Renamed,
    /// The second half of a rename in two steps.
    Unlink,
    SyncFolder,
    /// An existing file is about to be opened to be read.
    OpenExisting,
    /// A system call is about to be given the handle of a folder. It cannot fail.
    #[cfg(test)]
    Call,
}

/// Flag that files can be made without a name here, as far as is known.
#[derive(Debug)]
pub(super) struct Unnamed(AtomicBool);

impl Default for Unnamed {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

impl Unnamed {
    pub(super) fn is_possible(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn set_impossible(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    pub(super) fn sync_file(&self, file: &File, durability: Durability) -> io::Result<()> {
        if durability == Durability::Received || cfg!(haul_canary = "no-fsync") {
            return Ok(());
        }
        self.step(Step::SyncFile)?;
        if durability == Durability::Flushed {
            sys::sync_content(file)?;
        } else {
            sys::sync_all(file)?;
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests have a hook here")]
    pub(super) const fn step(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn step(&self, step: Step) -> io::Result<()> {
        self.hook.call(step)
    }
}
