//! What a commit does, step by step, for a batch of entries at a time.
//!
//! 1. The content of each file is cut to its size, given its time and mode, and made durable as asked.
//! 2. Each gets its final name.
//! 3. Folders get their time, which would have changed with each name in them.
//! 4. Each folder in which a name appeared is made durable, and so is its own name in the folder above, once.
//! 5. Only then the commits have ended.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rustix::fs::{
    AtFlags, Mode, RenameFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, fdatasync, fsync,
    futimens, linkat, readlinkat, renameat, renameat_with, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::folder::{Folder, Tree, refusal};
use super::partial::{self, Partial};
use super::stat::{self, Id, Stamp};
use super::sync::Queue;
use crate::proto::{Durability, EntryId, Meta, Refusal, RelPath, Timestamp};
use crate::store::{Commit, Committed, code_of, refusal_of};

/// What all clones of a store share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) tree: Tree,
    pub(super) umask: u32,
    #[cfg(test)]
    pub(super) hook: super::store::tests::Hook,
}

/// A step that can fail, for tests that make it fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Cut,
    SyncFile,
    Rename,
    SyncFolder,
}

/// One commit on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) path: RelPath,
    pub(super) what: What,
    pub(super) commit: Commit,
    pub(super) ended: Sender<(EntryId, Result<Committed, Refusal>)>,
    pub(super) failed: Option<Refusal>,
    /// The folders that must be durable before this commit has ended, with what is then known to have a durable
    /// name. The first is the one that holds the entry, or the entry itself if it is a folder.
    pub(super) folders: Vec<(Folder, Option<Id>)>,
}

/// What is to be committed.
#[derive(Debug)]
pub(super) enum What {
    Folder,
    Link { target: Box<[u8]>, replacing: bool },
    Existing { file: File, stamp: Stamp, folder: Folder },
    Partial { partial: Partial, replaced: Option<File>, replacing: bool, folder: Folder },
}

/// Does the commits of a batch.
pub(super) fn run(mut jobs: Vec<Job>, queue: &Queue) {
    for job in &mut jobs {
        job.failed = job.sync_content().err();
    }
    let mut open = HashMap::new();
    for job in jobs.iter_mut().filter(|job| job.failed.is_none()) {
        job.failed = job.publish(&mut open).err();
    }
    drop(open);
    queue.set_published(&jobs);
    for job in jobs.iter_mut().filter(|job| matches!(job.what, What::Folder)) {
        queue.wait_for_earlier(job.number);
        job.dress_folder();
    }
    sync_folders(&mut jobs);
    for job in jobs {
        job.end();
    }
}

impl Job {
    fn sync_content(&self) -> Result<(), Refusal> {
        let durability = self.commit.durability;
        match &self.what {
            What::Folder | What::Link { .. } => Ok(()),
            What::Existing { file, .. } => {
                self.shared.sync_file(file, durability).map_err(|error| sync_refusal(&error))
            }
            What::Partial { partial, folder, .. } => {
                let Partial { file, name, id, .. } = partial;
                self.cut(file)?;
                dress_file(file, &self.commit.meta, self.shared.umask);
                self.shared.sync_file(file, durability).map_err(|error| {
                    // The system may show from its cache what the device does not hold, and say at the next
                    // sync that all is well: so what was written is not trusted again.
                    let _ = folder.remove(name.as_bytes(), *id);
                    self.shared.tree.tidy(self.path.parent().as_ref());
                    sync_refusal(&error)
                })
            }
        }
    }

    /// Cuts off what is beyond the size; zeros at the end that were not written become a hole.
    fn cut(&self, file: &File) -> Result<(), Refusal> {
        let size = self.commit.size;
        let failed = |error: io::Error| refusal_of(&error);
        self.shared.step(Step::Cut).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        if len == size { Ok(()) } else { file.set_len(size).map_err(failed) }
    }

    /// `open`: the folders that this batch has open, so that none is open twice.
    fn publish(&mut self, open: &mut HashMap<Id, Folder>) -> Result<(), Refusal> {
        let tree = &self.shared.tree;
        let name = self.path.file_name();
        let folders = match &self.what {
            What::Folder => tree.make(Some(&self.path))?,
            What::Link { target, replacing } => {
                let folders = tree.make(self.path.parent().as_ref())?;
                let folder = folders.last().unwrap_or(&tree.root);
                let modified = self.commit.meta.modified;
                link(&self.shared, folder, name, target, modified, *replacing)?;
                folders
            }
            What::Existing { stamp, folder, .. } => {
                let folders = self.shared.open_again(&self.path, folder)?;
                let standing = folder.look(name).map_err(refusal)?;
                if standing.is_none_or(|stat| Stamp::of(&stat) != *stamp) {
                    return Err(Refusal::Exists);
                }
                folders
            }
            What::Partial { partial, replacing, folder, .. } => {
                let folders = self.shared.open_again(&self.path, folder)?;
                rename(&self.shared, folder, partial.name.as_bytes(), name, *replacing)?;
                folders
            }
        };
        let mut keep =
            |folder: &Folder| open.entry(folder.id).or_insert_with(|| folder.clone()).clone();
        self.folders.extend(folders.last().map(|folder| (keep(folder), None)));
        for (above, below) in folders.iter().zip(folders.iter().skip(1)) {
            if self.commit.durability == Durability::Synced && !tree.is_named(below.id) {
                self.folders.push((keep(above), Some(below.id)));
            }
        }
        Ok(())
    }

    /// Gives a folder its time, and its mode if it was made here: those of others are their owners' matter.
    fn dress_folder(&self) {
        let (None, Some((folder, _))) = (self.failed, self.folders.first()) else { return };
        if self.shared.tree.take_made(folder) {
            let mode = self.commit.meta.mode.unwrap_or(0o777) & 0o777 & !self.shared.umask;
            let _ = fchmod(folder, Mode::from_raw_mode(mode | 0o700));
        }
        set_time(folder, self.commit.meta.modified);
    }

    /// The folders that are to be synced for this commit.
    fn wanted(&self) -> &[(Folder, Option<Id>)] {
        let synced = self.failed.is_none() && self.commit.durability == Durability::Synced;
        if synced { &self.folders } else { &[] }
    }

    fn end(self) {
        let Self { path, what, commit, ended, failed, .. } = self;
        // Closed, and so unlocked, before anybody hears of it.
        drop(what);
        let result = match failed {
            Some(refusal) => Err(refusal),
            None => Ok(Committed::new(path)),
        };
        // The session may be gone; the commit stands all the same.
        let _ = ended.send((commit.entry, result));
    }
}

impl Shared {
    fn sync_file(&self, file: &File, durability: Durability) -> io::Result<()> {
        if durability == Durability::Received {
            return Ok(());
        }
        self.step(Step::SyncFile)?;
        if durability == Durability::Flushed {
            fdatasync(file)?;
        } else {
            fsync(file)?;
        }
        Ok(())
    }

    /// Walks to the folder that was held all the time: if another stands there now, the entry would not be found
    /// under the name that a receipt gives.
    fn open_again(&self, path: &RelPath, held: &Folder) -> Result<Vec<Folder>, Refusal> {
        let folders = self.tree.open(path.parent().as_ref())?;
        let depth = path.parts().count();
        let found = folders.last().is_some_and(|folder| folder.id == held.id);
        if found && folders.len() == depth { Ok(folders) } else { Err(Refusal::KindClash) }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests have a hook here")]
    const fn step(&self, _step: Step) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self, step: Step) -> io::Result<()> {
        self.hook.call(step)
    }
}

fn sync_folders(jobs: &mut [Job]) {
    let mut wanted = HashMap::new();
    for job in &*jobs {
        for (folder, _) in job.wanted() {
            wanted.entry(folder.id).or_insert_with(|| (folder.clone(), Arc::clone(&job.shared)));
        }
    }
    let sync = |(id, (folder, shared)): (Id, (Folder, Arc<Shared>))| {
        let result = shared.step(Step::SyncFolder);
        (id, result.and_then(|()| Ok(fsync(folder)?)).map_err(|error| sync_refusal(&error)))
    };
    let synced: HashMap<_, _> = wanted.into_iter().map(sync).collect();
    for job in jobs {
        let mut failed = None;
        for (folder, below) in job.wanted() {
            match synced.get(&folder.id) {
                Some(Err(refusal)) => failed = Some(*refusal),
                _ => below.iter().for_each(|below| job.shared.tree.set_named(*below)),
            }
        }
        job.failed = job.failed.or(failed);
    }
}

/// Gives a partial file its final name.
fn rename(
    shared: &Shared,
    folder: &Folder,
    from: &[u8],
    to: &[u8],
    replacing: bool,
) -> Result<(), Refusal> {
    shared.step(Step::Rename).map_err(|error| refusal_of(&error))?;
    if replacing {
        if folder.look(to).map_err(refusal)?.is_some_and(|stat| !stat::is_file(&stat)) {
            return Err(Refusal::KindClash);
        }
        return renameat(folder, from, folder, to).map_err(refusal);
    }
    match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        // The file system does not know the flag: a link does not replace anything either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            linkat(folder, from, folder, to, AtFlags::empty()).map_err(refusal)?;
            unlinkat(folder, from, AtFlags::empty()).map_err(refusal)
        }
        renamed => renamed.map_err(refusal),
    }
}

/// Makes a symbolic link under a name of a partial file, and renames it: never is a link changed in place.
fn link(
    shared: &Shared,
    folder: &Folder,
    name: &[u8],
    target: &[u8],
    modified: Option<Timestamp>,
    replacing: bool,
) -> Result<(), Refusal> {
    match readlinkat(folder, name, Vec::new()) {
        Ok(standing) if standing.as_bytes() == target => return Ok(()),
        Ok(_) if !replacing => return Err(Refusal::Exists),
        Ok(_) | Err(Errno::NOENT) => {}
        Err(Errno::INVAL) => return Err(Refusal::KindClash),
        Err(errno) => return Err(refusal(errno)),
    }
    for n in 0..MOST_LINKS {
        let partial = partial::name(name, n);
        match symlinkat(target, folder, &*partial) {
            Err(Errno::EXIST) => continue,
            made => made.map_err(refusal)?,
        }
        if let Some(times) = times(modified) {
            let _ = utimensat(folder, &*partial, &times, AtFlags::SYMLINK_NOFOLLOW);
        }
        let renamed = if replacing {
            renameat(folder, &*partial, folder, name).map_err(refusal)
        } else {
            rename(shared, folder, partial.as_bytes(), name, false)
        };
        return renamed.inspect_err(|_| {
            let _ = unlinkat(folder, &*partial, AtFlags::empty());
        });
    }
    Err(Refusal::Store { code: u32::try_from(Errno::BUSY.raw_os_error()).unwrap_or(0) })
}

/// Mode and time are kept where the file system can: that it cannot is no reason to lose the content.
fn dress_file(file: &File, meta: &Meta, umask: u32) {
    // The owner can read it in any case, or a later attempt could not see that it is there.
    let mode = meta.mode.unwrap_or(0o666) & 0o777 & !umask | 0o400;
    let _ = fchmod(file, Mode::from_raw_mode(mode));
    set_time(file, meta.modified);
}

fn set_time(file: impl AsFd, modified: Option<Timestamp>) {
    if let Some(times) = times(modified) {
        let _ = futimens(file, &times);
    }
}

fn times(modified: Option<Timestamp>) -> Option<Timestamps> {
    let modified = modified?;
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let tv_nsec = modified.nanos().into();
    let last_modification = Timespec { tv_sec: modified.seconds(), tv_nsec };
    Some(Timestamps { last_access, last_modification })
}

fn sync_refusal(error: &io::Error) -> Refusal {
    Refusal::Sync { code: code_of(error) }
}

/// Links that a killed process left behind are not taken over; there are few.
const MOST_LINKS: u32 = 64;
