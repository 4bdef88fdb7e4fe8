//! A store in memory.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{copy_at, length};
use crate::store::names::Taken;
use crate::store::{Committed, Ended, Store, Uncommitted};
use crate::types::{
    Commit, EntryId, FileStat, Found, Kind, Meta, Offer, Place, Refusal, RelPath, StoreOperation,
    Ticket, Timestamp, TransferId,
};

/// A store in memory.
///
/// A clone shows the same content and is a session of its own: it has its own completions, and its own set of
/// names to find collisions by case in. Commits are done at once; "durable" means nothing here.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
    ended: VecDeque<(Ticket, Ended<MemoryFile>)>,
    taken: Taken,
}

/// Entry under a name in a [`MemoryStore`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryEntry {
    /// A file, a folder, or a link.
    pub kind: Kind,
    /// The content of a file; else nothing.
    pub bytes: Arc<[u8]>,
    /// The time of the last change, as the sender gave it.
    pub modified: Option<Timestamp>,
    /// The permission bits, as the sender gave them.
    pub mode: Option<u32>,
}

/// An entry of a [`MemoryStore`] that was begun. Dropping it is the same as [`Store::suspend`].
#[derive(Debug)]
pub struct MemoryFile {
    path: RelPath,
    what: What,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    capacity: u64,
    /// Invariant: the bytes of all entries and partial files.
    pub(super) used: u64,
    pub(super) entries: BTreeMap<RelPath, MemoryEntry>,
    /// By final name and a number, which is not 0 where two sessions write to one name.
    pub(super) partials: BTreeMap<(RelPath, u32), Partial>,
    /// Number of partial files that there ever were.
    pub(super) made: u64,
}

#[derive(Debug, Default)]
pub(super) struct Partial {
    /// Identity of the file, under whatever name. None is 0.
    pub(super) id: u64,
    /// Transfer that it belongs to, as far as that was told.
    pub(super) owner: Option<TransferId>,
    pub(super) bytes: Vec<u8>,
    pub(super) busy: bool,
}

#[derive(Debug)]
enum What {
    Folder,
    Link,
    Existing(Arc<[u8]>),
    Partial { slot: u32, id: u64, replaced: Option<Arc<[u8]>> },
    Done,
}

impl MemoryStore {
    /// Capacity of a store unless set otherwise: 1 GiB.
    pub const CAPACITY: u64 = 1 << 30;

    /// Returns an empty store, of [`MemoryStore::CAPACITY`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::CAPACITY)
    }

    /// Returns an empty store that takes `bytes` in all files and partial files together. A hole in a
    /// file counts like its bytes.
    #[must_use]
    pub fn with_capacity(bytes: u64) -> Self {
        let shared = Shared { capacity: bytes, ..Shared::default() };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            ended: VecDeque::new(),
            taken: Taken::default(),
        }
    }

    /// Puts a file in place, as if it had been there before.
    pub fn insert(&self, path: RelPath, bytes: impl Into<Vec<u8>>) {
        self.lock().publish(path, MemoryEntry::file(bytes.into().into(), None));
    }

    /// Changes what the store takes: a disk that fills up, or is cleared.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// Returns everything that stands under a final name.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<RelPath, MemoryEntry> {
        self.lock().entries.clone()
    }

    /// Returns the content of every file that stands under its final name.
    #[must_use]
    pub fn files(&self) -> BTreeMap<RelPath, Arc<[u8]>> {
        let shared = self.lock();
        let files = shared.entries.iter().filter(|(_, entry)| entry.kind == Kind::File);
        files.map(|(path, entry)| (path.clone(), Arc::clone(&entry.bytes))).collect()
    }

    /// Returns the entry under a final name.
    #[must_use]
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<MemoryEntry> {
        let path = RelPath::parse(path.as_ref()).ok()?;
        self.lock().entries.get(&path).cloned()
    }

    /// Returns the final name and the content of every partial file.
    #[must_use]
    pub fn partials(&self) -> Vec<(RelPath, Vec<u8>)> {
        let shared = self.lock();
        let partials = shared.partials.iter();
        partials.map(|((path, _), partial)| (path.clone(), partial.bytes.clone())).collect()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    fn finish(&self, mut file: MemoryFile, commit: &Commit) -> Ended<MemoryFile> {
        let mut shared = self.lock();
        let meta = &commit.meta;
        let path = match (&file.what, commit.place) {
            (What::Partial { .. } | What::Link, Place::Beside(n)) => {
                meta.path.beside(n).map_err(|_| Refusal::Name)?
            }
            (What::Existing(_), _) => file.path.clone(),
            _ => meta.path.clone(),
        };
        shared.check_parents(&path)?;
        let named = shared.entries.get(&path);
        let replacing = commit.place == Place::Replacing;
        if matches!(commit.place, Place::Beside(_)) && self.is_anothers(&path, commit.entry) {
            return Err(Uncommitted::Taken { file, existing: None });
        }
        let entry = match &file.what {
            What::Existing(held) => match named {
                Some(entry) if Arc::ptr_eq(&entry.bytes, held) => entry.clone(),
                _ => return Err(Refusal::Exists.into()),
            },
            What::Folder => match named {
                Some(entry) if entry.kind != Kind::Directory => {
                    return Err(Refusal::KindClash.into());
                }
                _ => MemoryEntry::from(meta),
            },
            What::Link => match named {
                None => MemoryEntry::from(meta),
                Some(entry) if entry.kind == meta.kind => MemoryEntry::from(meta),
                Some(entry) if !matches!(entry.kind, Kind::Symlink(_)) => {
                    return Err(Refusal::KindClash.into());
                }
                Some(_) if replacing => MemoryEntry::from(meta),
                Some(_) => return Err(Uncommitted::Taken { file, existing: None }),
            },
            &What::Partial { slot, id, .. } => {
                let key = (file.path.clone(), slot);
                // `haul_canary` is a bug that is planted for `.ci/canaries`, which must find it; no build has one
                // otherwise.
                if shared.partial(&key, id).is_none() && cfg!(not(haul_canary = "unproved-name")) {
                    return Err(Refusal::Tampered.into());
                }
                match named {
                    Some(entry) if entry.kind != Kind::File => {
                        return Err(Uncommitted::Taken { file, existing: None });
                    }
                    Some(entry) if !replacing => {
                        let held = Arc::clone(&entry.bytes);
                        let len = length(&held);
                        let (what, shared) = (What::Existing(held), Arc::clone(&self.shared));
                        let existing = MemoryFile { path, what, shared };
                        return Err(Uncommitted::Taken { file, existing: Some((existing, len)) });
                    }
                    _ => {}
                }
                let held = shared.partials.get(&key).map_or(0, |partial| length(&partial.bytes));
                shared.check_room(commit.size.saturating_sub(held))?;
                let size = usize::try_from(commit.size).unwrap_or(usize::MAX);
                let mut bytes = shared.remove_partial(&key);
                bytes.resize(size, 0);
                MemoryEntry::file(bytes.into(), Some(meta))
            }
            What::Done => return Err(failed(StoreOperation::Commit).into()),
        };
        let len = length(&entry.bytes);
        shared.publish(path.clone(), entry);
        let owner = self.taken.transfer();
        shared.sweep(&path, len, owner);
        // An earlier attempt may have begun before something else had the name that was offered.
        shared.sweep(&meta.path, len, owner);
        file.what = What::Done;
        Ok(Committed::new(path))
    }

    fn is_anothers(&self, path: &RelPath, entry: EntryId) -> bool {
        self.taken.is_another(&path.fold_case(), entry)
    }
}

impl Shared {
    fn check_room(&self, needed: u64) -> Result<(), Refusal> {
        let available = self.capacity.saturating_sub(self.used);
        if needed > available { Err(Refusal::NoSpace { needed, available }) } else { Ok(()) }
    }

    pub(super) fn check_parents(&self, path: &RelPath) -> Result<(), Refusal> {
        let parents = std::iter::successors(path.parent(), RelPath::parent);
        let mut parents = parents.filter_map(|parent| self.entries.get(&parent));
        match parents.all(|entry| entry.kind == Kind::Directory) {
            true => Ok(()),
            false => Err(Refusal::KindClash),
        }
    }

    pub(super) fn publish(&mut self, path: RelPath, entry: MemoryEntry) {
        for parent in std::iter::successors(path.parent(), RelPath::parent) {
            let folder = || MemoryEntry::from(&Meta::directory(parent.clone()));
            self.entries.entry(parent.clone()).or_insert_with(folder);
        }
        self.used = self.used.saturating_add(length(&entry.bytes));
        if let Some(old) = self.entries.insert(path, entry) {
            self.used = self.used.saturating_sub(length(&old.bytes));
        }
    }

    pub(super) fn remove_partial(&mut self, key: &(RelPath, u32)) -> Vec<u8> {
        let bytes = self.partials.remove(key).unwrap_or_default().bytes;
        self.used = self.used.saturating_sub(length(&bytes));
        bytes
    }

    /// Removes what nobody writes to of the partial files for a name that is settled with a file of this length. What
    /// is longer is an attempt at something else, and stays for that.
    fn sweep(&mut self, path: &RelPath, len: u64, owner: Option<TransferId>) {
        let slots = self.partials.range((path.clone(), 0)..=(path.clone(), u32::MAX));
        let is_own = |partial: &Partial| !partial.busy && partial.owner == owner;
        let idle = slots.filter(|(_, it)| is_own(it) && length(&it.bytes) <= len);
        let idle = idle.map(|(key, _)| key.clone());
        for key in idle.collect::<Vec<_>>() {
            self.remove_partial(&key);
        }
    }

    /// Takes the longest partial file of this name that nobody writes to and the entry may go on with; with what it
    /// holds.
    fn take(
        &mut self,
        path: &RelPath,
        offer: &Offer,
        owner: Option<TransferId>,
    ) -> (u32, u64, u64) {
        let slots = self.partials.range((path.clone(), 0)..=(path.clone(), u32::MAX));
        let may_continue = |bytes: &[u8]| offer.may_continue(length(bytes));
        let is_own = |partial: &Partial| !partial.busy && partial.owner == owner;
        let free = slots.filter(|(_, it)| is_own(it) && may_continue(&it.bytes));
        let free = free.max_by_key(|(_, partial)| partial.bytes.len()).map(|((_, slot), _)| *slot);
        let unused = (0..).find(|&slot| !self.partials.contains_key(&(path.clone(), slot)));
        let slot = free.or(unused).unwrap_or_default();
        let partial = self.partials.entry((path.clone(), slot)).or_default();
        partial.busy = true;
        if partial.id == 0 {
            self.made = self.made.saturating_add(1);
            partial.id = self.made;
            partial.owner = owner;
        }
        (slot, partial.id, length(&partial.bytes))
    }

    /// Returns a partial file if it is the one with this number: somebody may have put another in its place.
    fn partial(&self, key: &(RelPath, u32), id: u64) -> Option<&Partial> {
        self.partials.get(key).filter(|partial| partial.id == id)
    }

    fn write(
        &mut self,
        key: &(RelPath, u32),
        id: u64,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        let partial = self.partial(key, id).ok_or(Refusal::Tampered)?;
        let held = length(&partial.bytes);
        let end = offset.saturating_add(length(bytes));
        self.check_room(end.saturating_sub(held))?;
        let too_large = Refusal::TooLarge { size: end, limit: self.capacity };
        let start = usize::try_from(offset).map_err(|_| too_large)?;
        let end = usize::try_from(end).map_err(|_| too_large)?;
        let partial = self.partials.get_mut(key).ok_or(Refusal::Tampered)?;
        if partial.bytes.len() < end {
            partial.bytes.resize(end, 0);
        }
        partial.bytes.get_mut(start..end).ok_or(too_large)?.copy_from_slice(bytes);
        self.used = self.used.saturating_add(length(&partial.bytes) - held);
        Ok(())
    }
}

impl MemoryEntry {
    pub(super) fn file(bytes: Arc<[u8]>, meta: Option<&Meta>) -> Self {
        let modified = meta.and_then(|meta| meta.modified);
        Self { kind: Kind::File, bytes, modified, mode: meta.and_then(|meta| meta.mode) }
    }
}

impl From<&Meta> for MemoryEntry {
    fn from(meta: &Meta) -> Self {
        let (modified, mode) = (meta.modified, meta.mode);
        Self { kind: meta.kind.clone(), bytes: Arc::default(), modified, mode }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        let shared = Arc::clone(&self.shared);
        Self { shared, ended: VecDeque::new(), taken: Taken::default() }
    }
}

impl Store for MemoryStore {
    type File = MemoryFile;

    fn holds_content(&mut self) -> bool {
        !self.lock().entries.is_empty()
    }

    fn serve(&mut self, transfer: TransferId) {
        self.taken.serve(transfer);
    }

    fn stat(&mut self, offer: &Offer) -> Option<FileStat> {
        let meta = &offer.meta;
        // It has its name in this session, though nothing is done for it.
        self.taken.claim(&meta.path.fold_case(), offer.entry, &meta.kind).ok()?;
        let shared = self.lock();
        let entry = shared.entries.get(&meta.path).filter(|entry| entry.kind == Kind::File)?;
        Some(FileStat::new(length(&entry.bytes), entry.modified?))
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(MemoryFile, Found), Refusal> {
        let meta = &offer.meta;
        self.taken.claim(&meta.path.fold_case(), offer.entry, &meta.kind)?;
        let path = match place {
            Place::Beside(n) if meta.kind != Kind::Directory => {
                let path = meta.path.beside(n).map_err(|_| Refusal::Name)?;
                if self.is_anothers(&path, offer.entry) {
                    return Err(Refusal::Exists);
                }
                path
            }
            _ => meta.path.clone(),
        };
        let replacing = place == Place::Replacing;
        let mut shared = self.lock();
        shared.check_parents(&path)?;
        let named = shared.entries.get(&path);
        let file = |what| MemoryFile { path: path.clone(), what, shared: Arc::clone(&self.shared) };
        let clash = || match place {
            Place::Beside(_) => Refusal::Exists,
            Place::Offered | Place::Replacing => Refusal::KindClash,
        };
        match (&meta.kind, named) {
            (Kind::Directory, None) => Ok((file(What::Folder), Found::Fresh)),
            (Kind::Directory, Some(entry)) if entry.kind == Kind::Directory => {
                Ok((file(What::Folder), Found::Fresh))
            }
            (Kind::Symlink(_), None) => Ok((file(What::Link), Found::Fresh)),
            (Kind::Symlink(_), Some(entry)) if matches!(entry.kind, Kind::Symlink(_)) => {
                if replacing || entry.kind == meta.kind {
                    Ok((file(What::Link), Found::Fresh))
                } else {
                    Err(Refusal::Exists)
                }
            }
            (Kind::File, Some(entry)) if entry.kind == Kind::File && !replacing => {
                let len = length(&entry.bytes);
                Ok((file(What::Existing(Arc::clone(&entry.bytes))), Found::Existing(len)))
            }
            (Kind::File, named) => {
                if named.is_some_and(|entry| entry.kind != Kind::File) {
                    return Err(clash());
                }
                let replaced = named.map(|entry| Arc::clone(&entry.bytes));
                let (slot, id, held) = shared.take(&path, offer, self.taken.transfer());
                // Made before the check, so that it lets go of the partial file again if there is no room.
                let mut file = file(What::Partial { slot, id, replaced });
                let room = shared.check_room(meta.size.unwrap_or(0).saturating_sub(held));
                if let Err(refusal) = room {
                    file.let_go(&mut shared);
                    return Err(refusal);
                }
                Ok(if held == 0 { (file, Found::Fresh) } else { (file, Found::Partial(held)) })
            }
            _ => Err(clash()),
        }
    }

    fn read_at(
        &mut self,
        file: &mut MemoryFile,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        match &file.what {
            What::Existing(bytes) => Ok(copy_at(bytes, offset, buffer)),
            What::Partial { slot, id, .. } => {
                let shared = self.lock();
                let partial = shared.partial(&(file.path.clone(), *slot), *id);
                let partial = partial.ok_or(io::ErrorKind::NotFound)?;
                Ok(copy_at(&partial.bytes, offset, buffer))
            }
            What::Folder | What::Link | What::Done => Ok(0),
        }
    }

    fn write_at(
        &mut self,
        file: &mut MemoryFile,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        match file.what {
            What::Partial { slot, id, .. } => {
                self.lock().write(&(file.path.clone(), slot), id, offset, bytes)
            }
            _ => Err(failed(StoreOperation::Write)),
        }
    }

    fn copy_held(&mut self, file: &mut MemoryFile, offset: u64, len: u64) -> Result<(), Refusal> {
        let failed = failed(StoreOperation::Copy);
        let What::Partial { slot, id, replaced: Some(replaced) } = &file.what else {
            return Err(failed);
        };
        let start = usize::try_from(offset).map_err(|_| failed)?;
        let end = usize::try_from(offset.saturating_add(len)).map_err(|_| failed)?;
        let bytes = replaced.get(start..end).ok_or(failed)?;
        self.lock().write(&(file.path.clone(), *slot), *id, offset, bytes)
    }

    fn commit(&mut self, file: MemoryFile, commit: Commit) {
        let result = self.finish(file, &commit);
        self.ended.push_back((commit.ticket, result));
    }

    fn poll_committed(&mut self, _wait: Duration) -> Option<(Ticket, Ended<MemoryFile>)> {
        self.ended.pop_front()
    }

    fn suspend(&mut self, file: MemoryFile) {
        drop(file);
    }

    fn discard(&mut self, mut file: MemoryFile) {
        if let What::Partial { slot, id, .. } = std::mem::replace(&mut file.what, What::Done) {
            let (mut shared, key) = (self.lock(), (file.path.clone(), slot));
            if shared.partial(&key, id).is_some() {
                shared.remove_partial(&key);
            }
        }
    }
}

impl MemoryFile {
    fn let_go(&mut self, shared: &mut Shared) {
        if let What::Partial { slot, id, .. } = std::mem::replace(&mut self.what, What::Done) {
            let mut key = (self.path.clone(), slot);
            if shared.partial(&key, id).is_none() {
                // It is let go under whatever name somebody gave it.
                let mut all = shared.partials.iter();
                let Some((other, _)) = all.find(|(_, partial)| partial.id == id) else { return };
                key = other.clone();
            }
            if let Entry::Occupied(mut partial) = shared.partials.entry(key) {
                partial.get_mut().busy = false;
                if partial.get().bytes.is_empty() {
                    partial.remove();
                }
            }
        }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if let What::Partial { .. } = self.what {
            let shared = Arc::clone(&self.shared);
            self.let_go(&mut lock(&shared));
        }
    }
}

/// Locks the shared state. A panic of another thread leaves nothing half-done here: every change is
/// made of one step.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the refusal of a request that no entry of this store can fulfil.
const fn failed(operation: StoreOperation) -> Refusal {
    Refusal::Store { code: 0, operation }
}

#[cfg(test)]
mod tests;
