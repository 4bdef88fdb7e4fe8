//! Steps of a commit, for a batch of entries at a time.
//!
//! 1. The content of each file is cut to its size, given its time and mode, and made durable as asked.
//! 2. Each gets its final name (see [`name`]), or is handed back if something else has that; partial files that nobody
//!    writes to any more are removed.
//! 3. Each folder in which a name appeared is proved to be where it was.
//! 4. Folders get their time, which would have changed with each name in them.
//! 5. Each folder in which a name appeared is made durable, and so is its own name in the folder above, once.
//! 6. Only then the commits have ended.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{fstat, futimens};

use super::dir::{Folder, FolderId, Way};
use super::errno::During;
use super::existing::{Existing, Trouble};
use super::file::{FsFile, What, stat_refusal};
use super::job::{Job, Wanted};
use super::name;
use super::partial::{self, Partial};
use super::queue::Queue;
use super::shared::{Shared, Step};
use super::stat::{self, Stamp};
use super::unnamed::{self, Given};
use super::{mode, sys};
use crate::store::io_error::{code_of, refusal_of};
use crate::store::{Committed, Uncommitted};
use crate::types::{Durability, Meta, Place, Refusal, RelPath, StoreOperation, Timestamp};

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
    queue.set_published(jobs.iter().map(|job| job.number));
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
            folder.set_escaped();
            *folder = tree.make(parent.as_ref(), self.commit.meta.closed)?.folder;
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
                let Meta { mode, closed, .. } = &self.commit.meta;
                let closed = mode.map_or(*closed, |mode| closed.below(mode));
                let (way, is_made) = tree.make_wanted(&self.path, closed)?;
                self.is_made = is_made;
                (way.ids, Some(self.path.clone()))
            }
            What::Link { target } => {
                let Way { folder, ids } = tree.make(parent.as_ref(), self.commit.meta.closed)?;
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
                let closed = self.commit.meta.closed;
                *folder = self.shared.tree.make(parent.as_ref(), closed)?.folder;
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
        let Ok(folder) = open_wanted(wanted, &self.shared, own, queue) else { return };
        if let Ok(stat) = fstat(&folder) {
            let offered = self.commit.meta.mode;
            let _ = mode::set(&folder, mode::of_folder(offered, self.shared.umask, stat.st_mode));
        }
        set_time(&folder, self.commit.meta.modified);
    }

    fn end(self) {
        let Self { shared, path, file, commit, ended, failed, wanted, claim, .. } = self;
        // Whoever learns of the end may count on the descriptors, and on what has the name.
        drop((wanted, claim));
        let result = match failed {
            Some(Trouble::Taken(existing)) => {
                let size = file.size;
                let existing = existing.map(|existing| {
                    let len = existing.stamp.size;
                    (FsFile::new(path, size, What::Existing(existing)), len)
                });
                Err(Uncommitted::Taken { file, existing })
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

fn publish(jobs: &mut [Job]) {
    for job in jobs.iter_mut().filter(|job| job.failed.is_none() && job.wanted.is_empty()) {
        job.failed = job.publish().err();
    }
}

/// Walks once more to each folder in which a name appeared: somebody may have moved it away since, or put another in its
/// place, and what has its name in there would not be found under the name that a receipt gives.
fn prove_folders(jobs: &mut [Job], own: usize, queue: &Queue) {
    let mut proved = HashMap::new();
    for job in jobs.iter_mut().filter(|job| job.failed.is_none() && !job.is_proved) {
        let Some(wanted) = job.wanted.first() else { continue };
        let Wanted { id, path, .. } = wanted;
        let tree = &job.shared.tree;
        let prove = || {
            if wanted.is_there(tree) {
                return Ok(());
            }
            let walk = || tree.open_again(path.as_ref(), *id).map(drop);
            queue.patiently(own, &job.shared, walk, |refusal| refusal.is_fd_exhaustion())
        };
        let is_root = *id == tree.root.id;
        if !is_root && let Err(refusal) = *proved.entry((*id, path.clone())).or_insert_with(prove) {
            job.failed = Some(Trouble::Failed(refusal));
        }
    }
}

/// Syncs each folder that is wanted once, with one of them open at a time.
fn sync_folders(jobs: &mut [Job], own: usize, queue: &Queue) {
    let mut synced = HashMap::new();
    for job in jobs {
        let mut failed = None;
        for wanted in job.to_sync() {
            let sync = || {
                let step = job.shared.step(Step::SyncFolder);
                let folder = open_wanted(wanted, &job.shared, own, queue)?;
                let result = step.and_then(|()| Ok(sys::sync_all(folder)?));
                result.map_err(|error| sync_refusal(&error))
            };
            match synced.entry(wanted.id).or_insert_with(sync) {
                Err(refusal) => failed = Some(*refusal),
                Ok(()) => wanted.below.iter().for_each(|id| job.shared.tree.set_named(*id)),
            }
        }
        job.failed = job.failed.take().or(failed.map(Trouble::Failed));
    }
}

/// Opens a folder that is wanted, unless the entry has it open. It is not opened before its turn: a batch has many.
fn open_wanted(
    wanted: &Wanted,
    shared: &Shared,
    own: usize,
    queue: &Queue,
) -> Result<Folder, Refusal> {
    let root = (wanted.id == shared.tree.root.id).then_some(&shared.tree.root);
    if let Some(held) = wanted.held.as_ref().or(root) {
        return Ok(held.clone());
    }
    let open = || shared.tree.open_again(wanted.path.as_ref(), wanted.id);
    let way = queue.patiently(own, shared, open, |refusal| refusal.is_fd_exhaustion())?;
    Ok(way.folder)
}

/// Sets the time, which is kept where the file system can, as is the mode: that it cannot is no reason to lose
/// the content.
fn set_time(file: impl AsFd, modified: Option<Timestamp>) {
    if let Some(times) = stat::times(modified) {
        let _ = futimens(file, &times);
    }
}

fn sync_refusal(error: &io::Error) -> Refusal {
    Refusal::Sync { code: code_of(error) }
}
