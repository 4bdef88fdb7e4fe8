//! Somebody else who has access to what a [`MemoryStore`] holds, as to a folder: files are swapped, removed and
//! renamed.

use super::length;
use super::store::{MemoryEntry, MemoryStore, Partial, Shared};
use crate::types::{Kind, RelPath};

/// One thing that is done to files. A number stands for one of those that there are, counted round.
#[derive(Debug, Clone)]
pub(crate) enum Foul {
    /// Another file gets the name of a partial file.
    SwapPartial(usize, Vec<u8>),
    /// A partial file is removed.
    RemovePartial(usize),
    /// A partial file gets the name of another one.
    RenamePartial(usize, usize),
    /// A file gets a final name, whatever has it.
    Put(RelPath, Vec<u8>),
    /// A file that has a final name is removed.
    Remove(usize),
    /// A file that has a final name gets another one.
    Rename(usize, RelPath),
}

impl MemoryStore {
    /// Does it; nothing where there is no such file.
    pub(crate) fn meddle(&self, foul: Foul) {
        let mut shared = self.lock();
        let pick = |which: usize, of: usize| which.checked_rem(of);
        let keys: Vec<_> = shared.partials.keys().cloned().collect();
        let partial = |which: usize| pick(which, keys.len()).map(|at| keys[at].clone());
        let is_file = |entry: &MemoryEntry| entry.kind == Kind::File;
        let files = shared.entries.iter().filter(|(_, entry)| is_file(entry));
        let files: Vec<_> = files.map(|(path, _)| path.clone()).collect();
        let file = |which: usize| pick(which, files.len()).map(|at| files[at].clone());
        // The name of a partial file says whose it is.
        let owner = |shared: &Shared, key| shared.partials.get(key).and_then(|it| it.owner);
        match foul {
            Foul::SwapPartial(which, bytes) => {
                let Some(key) = partial(which) else { return };
                let owner = owner(&shared, &key);
                shared.remove_partial(&key);
                shared.made += 1;
                shared.used += length(&bytes);
                let id = shared.made;
                shared.partials.insert(key, Partial { id, owner, bytes, busy: false });
            }
            Foul::RemovePartial(which) => {
                if let Some(key) = partial(which) {
                    shared.remove_partial(&key);
                }
            }
            Foul::RenamePartial(which, to) => {
                let (Some(from), Some(to)) = (partial(which), partial(to)) else { return };
                if from != to {
                    let owner = owner(&shared, &to);
                    shared.remove_partial(&to);
                    if let Some(renamed) = shared.partials.remove(&from) {
                        shared.partials.insert(to, Partial { owner, ..renamed });
                    }
                }
            }
            Foul::Put(path, bytes) => {
                if shared.may_stand(&path) {
                    shared.publish(path, MemoryEntry::file(bytes.into(), None));
                }
            }
            Foul::Remove(which) => {
                if let Some(path) = file(which) {
                    shared.remove_entry(&path);
                }
            }
            Foul::Rename(which, to) => {
                let Some(path) = file(which) else { return };
                if path != to
                    && shared.may_stand(&to)
                    && let Some(entry) = shared.remove_entry(&path)
                {
                    shared.publish(to, entry);
                }
            }
        }
    }
}

impl Shared {
    /// Returns whether a file can get this name.
    fn may_stand(&self, path: &RelPath) -> bool {
        let is_free = self.entries.get(path).is_none_or(|entry| entry.kind == Kind::File);
        is_free && self.check_parents(path).is_ok()
    }

    fn remove_entry(&mut self, path: &RelPath) -> Option<MemoryEntry> {
        let entry = self.entries.remove(path)?;
        self.used = self.used.saturating_sub(length(&entry.bytes));
        Some(entry)
    }
}
