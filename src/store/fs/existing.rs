//! Files that have the name of an entry already.

use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::dir::Folder;
use super::errno::{self, During, Failed};
use super::shared::{Shared, Step};
use super::stat::{self, Stamp};
use super::sys;
use crate::types::{Refusal, RelPath, StoreOperation};

/// A regular file under its final name.
#[derive(Debug)]
pub(super) struct Existing {
    /// `None`: this user may not read it.
    pub(super) file: Option<File>,
    pub(super) stamp: Stamp,
    pub(super) folder: Folder,
}

/// Reason why a commit does not go on.
#[derive(Debug)]
pub(super) enum Trouble {
    Failed(Refusal),
    /// Something else has the name; if that is a regular file, it.
    Taken(Option<Existing>),
}

impl Existing {
    /// Opens the regular file that was found at a path below the root, if that can be done at once.
    pub(super) fn open_below(
        shared: &Shared,
        found: &OwnedFd,
        path: &RelPath,
        folder: Folder,
    ) -> Option<Self> {
        // Looked at before it is opened: to open a device can have effects.
        let is_file = fstat(found).is_ok_and(|stat| stat::is_file(&stat));
        if !is_file || shared.step(Step::OpenExisting).is_err() {
            return None;
        }
        let file = File::from(sys::read_below(&shared.tree.root, path.as_bytes()).ok()?);
        let stat = fstat(&file).ok().filter(stat::is_file)?;
        Some(Self { file: Some(file), stamp: Stamp::of(&stat), folder })
    }

    /// Opens the regular file of this name, if it may be read. `None`: something else has it.
    pub(super) fn open(
        shared: &Shared,
        folder: &Folder,
        name: &[u8],
    ) -> errno::Result<Option<Self>> {
        // Looked at before it is opened: to open a device can have effects.
        let Some(stat) = folder.look(name)? else {
            return Err(Failed::new(StoreOperation::Open, Errno::NOENT));
        };
        if !stat::is_file(&stat) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match shared.step(Step::OpenExisting) {
            Ok(()) => openat(folder, name, flags, Mode::empty()),
            Err(_) => Err(Errno::ACCESS),
        };
        let (file, stat) = match opened {
            Err(Errno::ACCESS | Errno::PERM) => (None, stat),
            opened => {
                let file = File::from(opened.during(StoreOperation::Open)?);
                let stat = fstat(&file).during(StoreOperation::Stat)?;
                (Some(file), stat)
            }
        };
        if !stat::is_file(&stat) {
            return Ok(None);
        }
        Ok(Some(Self { file, stamp: Stamp::of(&stat), folder: folder.clone() }))
    }
}

impl Trouble {
    /// Looks once more at a name that was taken. `Ok`: nothing has it any more.
    pub(super) fn of_taken(shared: &Shared, folder: &Folder, name: &[u8]) -> Result<(), Self> {
        match Existing::open(shared, folder, name) {
            Ok(Some(existing)) => Err(Self::Taken(Some(existing))),
            Err(Failed { errno: Errno::NOENT, .. }) => Ok(()),
            // No regular file; a link cannot be opened so.
            Ok(None) | Err(Failed { errno: Errno::LOOP, .. }) => Err(Self::Taken(None)),
            Err(failed) => Err(failed.into()),
        }
    }

    pub(super) fn lacks_descriptors(&self) -> bool {
        matches!(self, Self::Failed(refusal) if refusal.is_fd_exhaustion())
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal)
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed.into())
    }
}
