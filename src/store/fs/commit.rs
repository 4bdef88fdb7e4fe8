//! Steps of a commit, for a batch of entries at a time.
//!
//! 1. The content of each file is cut to its size, given its time and mode, and made durable as asked.
//! 2. Each gets its final name (see [`name`]), or is handed back if something else has that; partial files that nobody
//!    writes to any more are removed.
//! 3. Each folder in which a name appeared is proved to be where it was.
//! 4. Folders get their time, which would have changed with each name in them.
//! 5. Each folder in which a name appeared is made durable, and so is its own name in the folder above, once.
//! 6. Only then the commits have ended.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fstat, futimens, openat};
use rustix::io::Errno;

use super::dir::{Folder, FolderId, Tree, Way};
use super::errno::{self, During, Failed};
use super::expiry::Expiry;
use super::file::{FsFile, stat_refusal};
use super::name::{self, Turns};
use super::order::{Claim, Order};
use super::partial::{self, Partial};
use super::pool::Queue;
use super::reserve::Reserve;
use super::stat::{self, Stamp};
use super::unnamed::{self, Given, Unnamed};
use super::wanted::{Wanted, prove_folders, sync_folders};
use super::{mode, sys};
use crate::store::io_error::{code_of, refusal_of};
use crate::store::{Committed, Ended, Uncommitted};
use crate::types::{
    Commit, Durability, Place, Refusal, RelPath, StoreOperation, Ticket, Timestamp,
};

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
    pub(super) hook: Arc<super::store::tests::Hook>,
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

/// Entry to commit.
#[derive(Debug)]
pub(super) enum What {
    Folder,
    Link { target: Box<[u8]> },
    Existing(Existing),
    Partial { partial: Partial, replaced: Option<File>, folder: Folder },
}

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

/// Does the commits of a batch.
pub(super) fn run(mut jobs: Vec<Job>, queue: &Queue) {
    // `haul_canary` is a bug that is planted for `tests/powercut`, which must find it; no build has one otherwise.
    if cfg!(haul_canary = "rename-first") {
        publish(&mut jobs);
    }
    for job in &mut jobs {
        job.failed = job.failed.take().or_else(|| job.sync_content().err().map(Trouble::Failed));
    }
    if cfg!(not(haul_canary = "rename-first")) {
        publish(&mut jobs);
    }
    // What lacks a file descriptor comes after the others, which give some back; and so do folders after it, as they
    // wait for what was committed before them.
    let first = jobs.iter().find(|job| job.lacks_descriptors()).map_or(u64::MAX, |job| job.number);
    let is_late = |job: &mut Job| {
        job.lacks_descriptors() || job.number > first && matches!(job.file.what, What::Folder)
    };
    let late: Vec<_> = jobs.extract_if(.., is_late).collect();
    let mut own = late.len();
    finish(jobs, own, queue);
    for mut job in late {
        if job.lacks_descriptors() {
            let shared = Arc::clone(&job.shared);
            let publish = || job.publish();
            let published = queue.patiently(own, &shared, publish, Trouble::lacks_descriptors);
            job.failed = published.err();
        }
        own -= 1;
        finish(vec![job], own, queue);
    }
}

/// Does a commit for which nothing is synced, where it is asked for: that takes no longer than to hand it to a thread. It comes
/// back where it lacks file descriptors, for which a thread waits.
pub(super) fn run_short(mut job: Job, queue: &Queue) -> Option<Job> {
    job.failed = job.failed.take().or_else(|| job.sync_content().err().map(Trouble::Failed));
    publish(std::slice::from_mut(&mut job));
    let tree = &job.shared.tree;
    if !job.is_proved {
        job.is_proved = job.wanted.first().is_some_and(|wanted| wanted.is_there(tree));
    }
    // Nor may the proof of its folder wait for any.
    if job.lacks_descriptors() || job.failed.is_none() && !job.is_proved {
        return Some(job);
    }
    finish(vec![job], 0, queue);
    None
}

/// Ends the commits of what has its name, or failed to get it. `behind`: how many others wait for that.
fn finish(mut jobs: Vec<Job>, behind: usize, queue: &Queue) {
    let own = jobs.len() + behind;
    prove_folders(&mut jobs, own, queue);
    queue.set_published(&jobs);
    for job in jobs.iter().filter(|job| matches!(job.file.what, What::Folder)) {
        queue.wait_for_earlier(job.number, own);
        job.dress_folder(own, queue);
    }
    sync_folders(&mut jobs, own, queue);
    for job in jobs {
        job.end();
        queue.set_ended();
    }
}

impl Job {
    /// Returns whether nothing of it takes long: it is small, and nothing is synced.
    pub(super) fn is_short(&self) -> bool {
        self.commit.durability == Durability::Received
            && self.commit.size <= SMALL
            && self.commit.place != Place::Replacing
            && matches!(self.file.what, What::Partial { .. } | What::Existing(_))
    }

    fn sync_content(&mut self) -> Result<(), Refusal> {
        let durability = self.commit.durability;
        // It has its name, and waited for the proof of its folder alone.
        if !self.wanted.is_empty() {
            return Ok(());
        }
        if durability != Durability::Received || self.commit.place == Place::Replacing {
            self.name()?;
        }
        match &self.file.what {
            What::Folder | What::Link { .. } => Ok(()),
            // What cannot be read is not found equal.
            What::Existing(Existing { file: None, .. }) => Err(Refusal::Denied),
            What::Existing(Existing { file: Some(file), .. }) => {
                self.shared.sync_file(file, durability).map_err(|error| sync_refusal(&error))
            }
            What::Partial { partial, folder, .. } => {
                let file = &partial.file;
                self.cut(partial)?;
                self.dress_file(partial, folder);
                set_time(file, self.commit.meta.modified);
                self.shared.sync_file(file, durability).map_err(|error| {
                    // The system may show from its cache what the device does not hold, and say at the next
                    // sync that all is well: so what was written is not trusted again.
                    if partial.remove(folder).is_err() {
                        let _ = file.set_len(0);
                    }
                    self.shared.tree.tidy(self.path.parent().as_ref());
                    sync_refusal(&error)
                })
            }
        }
    }

    /// Gives a file the name of a partial file, if it has none yet.
    fn name(&mut self) -> Result<(), Refusal> {
        let end = self.file.end;
        let What::Partial { partial, folder, .. } = &mut self.file.what else { return Ok(()) };
        if partial.named.is_some() {
            return Ok(());
        }
        let (tree, parent) = (&self.shared.tree, self.path.parent());
        if !tree.is_there(parent.as_ref(), folder) {
            folder.set_astray();
            *folder = tree.make(parent.as_ref())?.folder;
        }
        unnamed::name(&self.claim, folder, partial, self.file.path.file_name(), end)
    }

    /// Gives a file its mode, and its group, which depend on what it is about to replace.
    fn dress_file(&self, partial: &Partial, folder: &Folder) {
        let is_replacing = self.commit.place == Place::Replacing;
        let old = is_replacing.then(|| folder.look(self.path.file_name()).ok().flatten()).flatten();
        let old = old.filter(stat::is_file);
        let mode = old.as_ref().map(|old| old.st_mode);
        let mode = mode::of_file(self.commit.meta.mode, self.shared.umask, mode);
        if old.is_some() || partial.mode != Some(mode) {
            mode::dress(&partial.file, mode, old.as_ref());
        }
    }

    /// Cuts off what is beyond the size; zeros at the end that were not written become a hole.
    fn cut(&self, partial: &Partial) -> Result<(), Refusal> {
        let (file, size) = (&partial.file, self.commit.size);
        let failed = |error: io::Error| refusal_of(StoreOperation::Truncate, &error);
        self.shared.step(Step::Cut).map_err(failed)?;
        // Nobody else has it.
        if partial.named.is_none() && self.file.end == size {
            return Ok(());
        }
        let stat = file.metadata().map_err(|error| stat_refusal(&error))?;
        self.file.prove_length(&stat)?;
        if stat.len() == size { Ok(()) } else { file.set_len(size).map_err(failed) }
    }

    fn publish(&mut self) -> Result<(), Trouble> {
        if self.publish_existing()? || self.publish_unnamed()? {
            return Ok(());
        }
        let tree = &self.shared.tree;
        let name = self.path.file_name();
        let replacing = self.commit.place == Place::Replacing;
        let parent = self.path.parent();
        let (ids, path) = match &self.file.what {
            What::Folder => {
                let (way, is_made) = tree.make_wanted(&self.path)?;
                self.is_made = is_made;
                (way.ids, Some(self.path.clone()))
            }
            What::Link { target } => {
                let Way { folder, ids } = tree.make(parent.as_ref())?;
                let modified = self.commit.meta.modified;
                name::give_link(&self.claim, &folder, name, target, modified, replacing)?;
                self.sweep(|name| partial::sweep_links(&folder, self.claim.owner, name));
                (ids, parent)
            }
            // They are done by now.
            What::Existing(_) | What::Partial { partial: Partial { named: None, .. }, .. } => {
                return Err(Refusal::Tampered.into());
            }
            What::Partial { partial: Partial { file, named: Some(named), .. }, folder, .. } => {
                let ids = self.prove_folder(parent.as_ref(), folder)?;
                let size = self.commit.size;
                let old = name::give(&self.claim, folder, named, name, size, replacing)?;
                if let Some(old) = old {
                    mode::narrow(file, &old).during(StoreOperation::Commit)?;
                }
                self.shared.expiry.forget(folder.id, self.file.path.file_name());
                self.sweep(|name| partial::sweep(folder, self.claim.owner, name, named.id, size));
                (ids, parent)
            }
        };
        self.wanted = self.wants(&ids, path);
        Ok(())
    }

    /// Vouches for a file that has its final name. `false`: it is not one.
    fn publish_existing(&mut self) -> Result<bool, Trouble> {
        let What::Existing(Existing { stamp, folder, .. }) = &mut self.file.what else {
            return Ok(false);
        };
        let (tree, parent, name) = (&self.shared.tree, self.path.parent(), self.path.file_name());
        // What is older does not replace what is vouched for.
        let turn = self.shared.turns.take(&self.claim.name);
        // Nothing is put there: that the whole way leads to this file is all that a receipt says.
        let is_short = self.commit.durability == Durability::Received;
        let found = if is_short { tree.look(&self.path).ok() } else { None };
        self.is_proved = found.is_some();
        let (found, ids) = match found {
            Some(found) => (found, vec![folder.id]),
            None => {
                let way = tree.open(parent.as_ref())?;
                if way.depth() + 1 < self.path.parts().count() {
                    return Err(Refusal::KindClash.into());
                }
                let found = way.folder.look(name)?;
                // Entries of a folder share one handle: one for each commit would take the descriptors of others.
                if way.folder.id != folder.id {
                    *folder = way.folder;
                }
                (found, way.ids)
            }
        };
        if found.is_none_or(|stat| Stamp::of(&stat) != *stamp) {
            return Err(Refusal::Exists.into());
        }
        self.claim.set_given();
        drop(turn);
        let (folder, id, size) = (folder.clone(), stamp.id, stamp.size);
        if !self.is_proved || !self.shared.expiry.holds_none(folder.id, name, Duration::MAX) {
            self.sweep(|name| partial::sweep(&folder, self.claim.owner, name, id, size));
        }
        self.wanted = self.wants(&ids, parent);
        Ok(true)
    }

    /// Gives a file its final name that has none. `false`: it is not one, or has the name of a partial file by now.
    fn publish_unnamed(&mut self) -> Result<bool, Trouble> {
        let What::Partial { partial, folder, .. } = &mut self.file.what else { return Ok(false) };
        if partial.named.is_some() {
            return Ok(false);
        }
        let parent = self.path.parent();
        match unnamed::give(&self.claim, folder, &partial.file, &self.path)? {
            Given::Here { is_proved } => {
                let ids = [folder.id];
                self.wanted = self.wants(&ids, parent);
                self.is_proved = is_proved;
                return Ok(true);
            }
            Given::TakenBack => {
                *folder = self.shared.tree.make(parent.as_ref())?.folder;
                let (name, end) = (self.file.path.file_name(), self.file.end);
                unnamed::copy(&self.claim, folder, partial, name, end)?;
            }
            Given::Not => self.name()?,
        }
        self.sync_content()?;
        Ok(false)
    }

    /// Proves that the folder of this entry stands where it did, and returns which are on the way as far as they are to be
    /// synced.
    fn prove_folder(
        &self,
        path: Option<&RelPath>,
        folder: &Folder,
    ) -> Result<Vec<FolderId>, Refusal> {
        let tree = &self.shared.tree;
        if self.commit.durability != Durability::Synced && tree.is_there(path, folder) {
            return Ok(vec![folder.id]);
        }
        Ok(tree.open_again(path, folder.id)?.ids)
    }

    /// Returns the folders on a way that must be durable: the last one, and each that holds one whose name
    /// is not.
    fn wants(&self, ids: &[FolderId], mut path: Option<RelPath>) -> Vec<Wanted> {
        let held = match &self.file.what {
            What::Partial { folder, .. } | What::Existing(Existing { folder, .. }) => Some(folder),
            What::Folder | What::Link { .. } => None,
        };
        let held = held.cloned();
        let last = ids.last().map(|&id| Wanted { id, path: path.clone(), below: None, held });
        let mut wanted: Vec<_> = last.into_iter().collect();
        let is_named = |id: &FolderId| self.shared.tree.is_named(*id);
        if self.commit.durability != Durability::Synced || ids.iter().skip(1).all(is_named) {
            return wanted;
        }
        for (id, below) in ids.iter().zip(ids.iter().skip(1)).rev() {
            path = path.and_then(|path| path.parent());
            if !is_named(below) {
                let (path, below) = (path.clone(), Some(*below));
                wanted.push(Wanted { id: *id, path, below, held: None });
            }
        }
        wanted
    }

    fn lacks_descriptors(&self) -> bool {
        self.failed.as_ref().is_some_and(Trouble::lacks_descriptors)
    }

    /// Removes the partial files for the name, and where that is one beside it, for the one that was offered: an earlier
    /// attempt may have begun before something else had it.
    fn sweep(&self, sweep: impl Fn(&[u8])) {
        let (name, offered) = (self.path.file_name(), self.commit.meta.path.file_name());
        sweep(name);
        if name != offered {
            sweep(offered);
        }
    }

    /// Gives a folder its time and mode if it was made here: those of others are their owners' matter.
    fn dress_folder(&self, own: usize, queue: &Queue) {
        let (None, true, Some(wanted)) = (&self.failed, self.is_made, self.wanted.first()) else {
            return;
        };
        let Ok(folder) = wanted.open(&self.shared, own, queue) else { return };
        if let Ok(stat) = fstat(&folder) {
            let offered = self.commit.meta.mode;
            let _ = mode::set(&folder, mode::of_folder(offered, self.shared.umask, stat.st_mode));
        }
        set_time(&folder, self.commit.meta.modified);
    }

    /// Returns the folders that are to be synced for this commit.
    pub(super) fn to_sync(&self) -> &[Wanted] {
        let synced = self.failed.is_none() && self.commit.durability == Durability::Synced;
        if synced && cfg!(not(haul_canary = "no-dirsync")) { &self.wanted } else { &[] }
    }

    fn end(self) {
        let Self { shared, path, file, commit, ended, failed, wanted, claim, .. } = self;
        // Whoever learns of the end may count on the descriptors, and on what has the name.
        drop((wanted, claim));
        let result = match failed {
            Some(Trouble::Taken(rival)) => {
                let size = file.size;
                let rival = rival.map(|existing| {
                    let len = existing.stamp.size;
                    (FsFile { path, size, what: What::Existing(existing), room: 0, end: 0 }, len)
                });
                Err(Uncommitted::Taken { file, rival })
            }
            // Closed, and so unlocked, before anybody learns of it.
            Some(Trouble::Failed(refusal)) => {
                drop(file);
                Err(shared.tree.explain(refusal).into())
            }
            None => {
                drop(file);
                Ok(Committed::new(path))
            }
        };
        // The session may be gone; the commit stands all the same.
        let _ = ended.send((commit.ticket, result));
    }
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
        let Some(standing) = folder.look(name)? else {
            return Err(Failed::new(StoreOperation::Open, Errno::NOENT));
        };
        if !stat::is_file(&standing) {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match shared.step(Step::OpenExisting) {
            Ok(()) => openat(folder, name, flags, Mode::empty()),
            Err(_) => Err(Errno::ACCESS),
        };
        let (file, stat) = match opened {
            Err(Errno::ACCESS | Errno::PERM) => (None, standing),
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
    fn lacks_descriptors(&self) -> bool {
        matches!(self, Self::Failed(refusal) if refusal.is_for_want_of_descriptors())
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

impl Shared {
    fn sync_file(&self, file: &File, durability: Durability) -> io::Result<()> {
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

fn publish(jobs: &mut [Job]) {
    for job in jobs.iter_mut().filter(|job| job.failed.is_none() && job.wanted.is_empty()) {
        job.failed = job.publish().err();
    }
}

/// Sets the time, which is kept where the file system can, as is the mode: that it cannot is no reason to lose
/// the content.
fn set_time(file: impl AsFd, modified: Option<Timestamp>) {
    if let Some(times) = times(modified) {
        let _ = futimens(file, &times);
    }
}

pub(super) fn times(modified: Option<Timestamp>) -> Option<Timestamps> {
    let modified = modified?;
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let tv_nsec = modified.nanos().into();
    let last_modification = Timespec { tv_sec: modified.seconds(), tv_nsec };
    Some(Timestamps { last_access, last_modification })
}

/// The largest file that is committed where that is asked for.
const SMALL: u64 = 1 << 20;

pub(super) fn sync_refusal(error: &io::Error) -> Refusal {
    Refusal::Sync { code: code_of(error) }
}
