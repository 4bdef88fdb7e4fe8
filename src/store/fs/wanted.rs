//! The folders that a commit depends on: proved to be where they were, and made durable.

use std::collections::HashMap;

use super::commit::{Job, Shared, Step, Trouble, sync_refusal};
use super::dir::{Folder, FolderId, Tree};
use super::pool::Queue;
use super::sys;
use crate::types::{Refusal, RelPath};

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

impl Wanted {
    /// Returns whether the handle that the entry has of it is seen to be of what stands there.
    pub(super) fn is_there(&self, tree: &Tree) -> bool {
        self.held.as_ref().is_some_and(|held| tree.is_there(self.path.as_ref(), held))
    }

    pub(super) fn open(
        &self,
        shared: &Shared,
        own: usize,
        queue: &Queue,
    ) -> Result<Folder, Refusal> {
        let root = (self.id == shared.tree.root.id).then_some(&shared.tree.root);
        if let Some(held) = self.held.as_ref().or(root) {
            return Ok(held.clone());
        }
        let open = || shared.tree.open_again(self.path.as_ref(), self.id);
        let way =
            queue.patiently(own, shared, open, |refusal| refusal.is_for_want_of_descriptors())?;
        Ok(way.folder)
    }
}

/// Walks once more to each folder in which a name appeared: somebody may have moved it away since, or put another in its
/// place, and what has its name in there would not be found under the name that a receipt gives.
pub(super) fn prove_folders(jobs: &mut [Job], own: usize, queue: &Queue) {
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
            queue.patiently(own, &job.shared, walk, |refusal| refusal.is_for_want_of_descriptors())
        };
        let is_root = *id == tree.root.id;
        if !is_root && let Err(refusal) = *proved.entry((*id, path.clone())).or_insert_with(prove) {
            job.failed = Some(Trouble::Failed(refusal));
        }
    }
}

/// Syncs each folder that is wanted once, with one of them open at a time.
pub(super) fn sync_folders(jobs: &mut [Job], own: usize, queue: &Queue) {
    let mut synced = HashMap::new();
    for job in jobs {
        let mut failed = None;
        for wanted in job.to_sync() {
            let sync = || {
                let step = job.shared.step(Step::SyncFolder);
                let folder = wanted.open(&job.shared, own, queue)?;
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
