//! A store in memory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{copy_at, length};
use crate::proto::{
    EntryId, Kind, Meta, Offer, Refusal, RelPath, StoreOperation, Ticket, Timestamp, TransferId,
};
use crate::store::names::{Taken, beside, fold_case};
use crate::store::{Begun, Commit, Committed, Ended, Place, Standing, Store, Uncommitted};

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

/// What stands under a name in a [`MemoryStore`].
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
struct Shared {
    capacity: u64,
    /// Invariant: the bytes of all entries and partial files.
    used: u64,
    entries: BTreeMap<RelPath, MemoryEntry>,
    /// By final name and a number, which is not 0 where two sessions write to one name.
    partials: BTreeMap<(RelPath, u32), Partial>,
}

#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    busy: bool,
}

#[derive(Debug)]
enum What {
    Folder,
    Link,
    Existing(Arc<[u8]>),
    Partial { slot: u32, replaced: Option<Arc<[u8]>> },
    Done,
}

impl MemoryStore {
    /// What a store takes if nothing else is said: 1 GiB.
    pub const CAPACITY: u64 = 1 << 30;

    /// An empty store, of [`MemoryStore::CAPACITY`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::CAPACITY)
    }

    /// An empty store that takes `bytes` in all files and partial files together. A hole in a file counts
    /// like its bytes.
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

    /// Everything that stands under a final name.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<RelPath, MemoryEntry> {
        self.lock().entries.clone()
    }

    /// The content of every file that stands under its final name.
    #[must_use]
    pub fn files(&self) -> BTreeMap<RelPath, Arc<[u8]>> {
        let shared = self.lock();
        let files = shared.entries.iter().filter(|(_, entry)| entry.kind == Kind::File);
        files.map(|(path, entry)| (path.clone(), Arc::clone(&entry.bytes))).collect()
    }

    /// What stands under a final name.
    #[must_use]
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<MemoryEntry> {
        let path = RelPath::parse(path.as_ref()).ok()?;
        self.lock().entries.get(&path).cloned()
    }

    /// The final name and the content of every partial file.
    #[must_use]
    pub fn partials(&self) -> Vec<(RelPath, Vec<u8>)> {
        let shared = self.lock();
        let partials = shared.partials.iter();
        partials.map(|((path, _), partial)| (path.clone(), partial.bytes.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    fn finish(&self, mut file: MemoryFile, commit: &Commit) -> Ended<MemoryFile> {
        let mut shared = self.lock();
        let meta = &commit.meta;
        let path = match (&file.what, commit.place) {
            (What::Partial { .. } | What::Link, Place::Beside(n)) => beside(&meta.path, n)?,
            (What::Existing(_), _) => file.path.clone(),
            _ => meta.path.clone(),
        };
        shared.check_parents(&path)?;
        let standing = shared.entries.get(&path);
        let replacing = commit.place == Place::Replacing;
        if matches!(commit.place, Place::Beside(_)) && self.is_anothers(&path, commit.entry) {
            return Err(Uncommitted::Taken { file, rival: None });
        }
        let entry = match &file.what {
            What::Existing(held) => match standing {
                Some(entry) if Arc::ptr_eq(&entry.bytes, held) => entry.clone(),
                _ => return Err(Refusal::Exists.into()),
            },
            What::Folder => match standing {
                Some(entry) if entry.kind != Kind::Directory => {
                    return Err(Refusal::KindClash.into());
                }
                _ => MemoryEntry::from(meta),
            },
            What::Link => match standing {
                None => MemoryEntry::from(meta),
                Some(entry) if entry.kind == meta.kind => MemoryEntry::from(meta),
                Some(entry) if !matches!(entry.kind, Kind::Symlink(_)) => {
                    return Err(Refusal::KindClash.into());
                }
                Some(_) if replacing => MemoryEntry::from(meta),
                Some(_) => return Err(Uncommitted::Taken { file, rival: None }),
            },
            &What::Partial { slot, .. } => {
                match standing {
                    Some(entry) if entry.kind != Kind::File => {
                        return Err(Uncommitted::Taken { file, rival: None });
                    }
                    Some(entry) if !replacing => {
                        let held = Arc::clone(&entry.bytes);
                        let len = length(&held);
                        let (what, shared) = (What::Existing(held), Arc::clone(&self.shared));
                        let rival = MemoryFile { path, what, shared };
                        return Err(Uncommitted::Taken { file, rival: Some((rival, len)) });
                    }
                    _ => {}
                }
                let key = (file.path.clone(), slot);
                let held = shared.partials.get(&key).map_or(0, |partial| length(&partial.bytes));
                shared.check_room(commit.size.saturating_sub(held))?;
                let size = usize::try_from(commit.size).unwrap_or(usize::MAX);
                let mut bytes = shared.remove_partial(&key);
                bytes.resize(size, 0);
                MemoryEntry::file(bytes.into(), Some(meta))
            }
            What::Done => return Err(failed(StoreOperation::Commit).into()),
        };
        shared.publish(path.clone(), entry);
        shared.sweep(&path);
        // An earlier attempt may have begun before something else had the name that was offered.
        shared.sweep(&meta.path);
        file.what = What::Done;
        Ok(Committed::new(path))
    }

    fn is_anothers(&self, path: &RelPath, entry: EntryId) -> bool {
        self.taken.is_another(&fold_case(path.as_bytes()), entry)
    }
}

impl Shared {
    fn check_room(&self, needed: u64) -> Result<(), Refusal> {
        let available = self.capacity.saturating_sub(self.used);
        if needed > available { Err(Refusal::NoSpace { needed, available }) } else { Ok(()) }
    }

    fn check_parents(&self, path: &RelPath) -> Result<(), Refusal> {
        let parents = std::iter::successors(path.parent(), RelPath::parent);
        let mut standing = parents.filter_map(|parent| self.entries.get(&parent));
        match standing.all(|entry| entry.kind == Kind::Directory) {
            true => Ok(()),
            false => Err(Refusal::KindClash),
        }
    }

    fn publish(&mut self, path: RelPath, entry: MemoryEntry) {
        for parent in std::iter::successors(path.parent(), RelPath::parent) {
            let folder = || MemoryEntry::from(&Meta::directory(parent.clone()));
            self.entries.entry(parent.clone()).or_insert_with(folder);
        }
        self.used = self.used.saturating_add(length(&entry.bytes));
        if let Some(old) = self.entries.insert(path, entry) {
            self.used = self.used.saturating_sub(length(&old.bytes));
        }
    }

    fn remove_partial(&mut self, key: &(RelPath, u32)) -> Vec<u8> {
        let bytes = self.partials.remove(key).unwrap_or_default().bytes;
        self.used = self.used.saturating_sub(length(&bytes));
        bytes
    }

    /// Removes what nobody writes to of the partial files for a name that is settled.
    fn sweep(&mut self, path: &RelPath) {
        let slots = self.partials.range((path.clone(), 0)..=(path.clone(), u32::MAX));
        let idle = slots.filter(|(_, partial)| !partial.busy).map(|(key, _)| key.clone());
        for key in idle.collect::<Vec<_>>() {
            self.remove_partial(&key);
        }
    }

    /// Takes the longest partial file of this name that nobody writes to; with what it holds.
    fn take(&mut self, path: &RelPath) -> (u32, u64) {
        let slots = self.partials.range((path.clone(), 0)..=(path.clone(), u32::MAX));
        let free = slots.filter(|(_, partial)| !partial.busy);
        let free = free.max_by_key(|(_, partial)| partial.bytes.len()).map(|((_, slot), _)| *slot);
        let unused = (0..).find(|&slot| !self.partials.contains_key(&(path.clone(), slot)));
        let slot = free.or(unused).unwrap_or_default();
        let partial = self.partials.entry((path.clone(), slot)).or_default();
        partial.busy = true;
        (slot, length(&partial.bytes))
    }

    fn write(&mut self, key: &(RelPath, u32), offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let partial = self.partials.get(key).ok_or(failed(StoreOperation::Write))?;
        let held = length(&partial.bytes);
        let end = offset.saturating_add(length(bytes));
        self.check_room(end.saturating_sub(held))?;
        let too_large = Refusal::TooLarge { size: end, limit: self.capacity };
        let start = usize::try_from(offset).map_err(|_| too_large)?;
        let end = usize::try_from(end).map_err(|_| too_large)?;
        let partial = self.partials.get_mut(key).ok_or(failed(StoreOperation::Write))?;
        if partial.bytes.len() < end {
            partial.bytes.resize(end, 0);
        }
        partial.bytes.get_mut(start..end).ok_or(too_large)?.copy_from_slice(bytes);
        self.used = self.used.saturating_add(length(&partial.bytes) - held);
        Ok(())
    }
}

impl MemoryEntry {
    fn file(bytes: Arc<[u8]>, meta: Option<&Meta>) -> Self {
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

    fn standing(&mut self, offer: &Offer) -> Option<Standing> {
        let meta = &offer.meta;
        // It has its name in this session, though nothing is done for it.
        self.taken.claim(&fold_case(meta.path.as_bytes()), offer.entry, &meta.kind).ok()?;
        let shared = self.lock();
        let entry = shared.entries.get(&meta.path).filter(|entry| entry.kind == Kind::File)?;
        Some(Standing::new(length(&entry.bytes), entry.modified?))
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<Begun<MemoryFile>, Refusal> {
        let meta = &offer.meta;
        self.taken.claim(&fold_case(meta.path.as_bytes()), offer.entry, &meta.kind)?;
        let path = match place {
            Place::Beside(n) if meta.kind != Kind::Directory => {
                let path = beside(&meta.path, n)?;
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
        let standing = shared.entries.get(&path);
        let file = |what| MemoryFile { path: path.clone(), what, shared: Arc::clone(&self.shared) };
        let clash = || match place {
            Place::Beside(_) => Refusal::Exists,
            Place::Offered | Place::Replacing => Refusal::KindClash,
        };
        match (&meta.kind, standing) {
            (Kind::Directory, None) => Ok(Begun::Fresh(file(What::Folder))),
            (Kind::Directory, Some(entry)) if entry.kind == Kind::Directory => {
                Ok(Begun::Fresh(file(What::Folder)))
            }
            (Kind::Symlink(_), None) => Ok(Begun::Fresh(file(What::Link))),
            (Kind::Symlink(_), Some(entry)) if matches!(entry.kind, Kind::Symlink(_)) => {
                if replacing || entry.kind == meta.kind {
                    Ok(Begun::Fresh(file(What::Link)))
                } else {
                    Err(Refusal::Exists)
                }
            }
            (Kind::File, Some(entry)) if entry.kind == Kind::File && !replacing => {
                let len = length(&entry.bytes);
                Ok(Begun::Existing(file(What::Existing(Arc::clone(&entry.bytes))), len))
            }
            (Kind::File, standing) => {
                if standing.is_some_and(|entry| entry.kind != Kind::File) {
                    return Err(clash());
                }
                let replaced = standing.map(|entry| Arc::clone(&entry.bytes));
                let (slot, held) = shared.take(&path);
                // Made before the check, so that it lets go of the partial file again if there is no room.
                let mut file = file(What::Partial { slot, replaced });
                let room = shared.check_room(meta.size.unwrap_or(0).saturating_sub(held));
                if let Err(refusal) = room {
                    file.let_go(&mut shared);
                    return Err(refusal);
                }
                Ok(if held == 0 { Begun::Fresh(file) } else { Begun::Partial(file, held) })
            }
            _ => Err(clash()),
        }
    }

    fn is_contended(&mut self, file: &MemoryFile) -> bool {
        let What::Partial { slot, .. } = file.what else { return false };
        let shared = self.lock();
        let all = shared.partials.range((file.path.clone(), 0)..=(file.path.clone(), u32::MAX));
        all.into_iter().any(|((_, other), partial)| *other != slot && partial.busy)
    }

    fn read_at(
        &mut self,
        file: &mut MemoryFile,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        match &file.what {
            What::Existing(bytes) => Ok(copy_at(bytes, offset, buffer)),
            What::Partial { slot, .. } => {
                let shared = self.lock();
                let partial = shared.partials.get(&(file.path.clone(), *slot));
                Ok(partial.map_or(0, |partial| copy_at(&partial.bytes, offset, buffer)))
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
            What::Partial { slot, .. } => {
                self.lock().write(&(file.path.clone(), slot), offset, bytes)
            }
            _ => Err(failed(StoreOperation::Write)),
        }
    }

    fn copy_held(&mut self, file: &mut MemoryFile, offset: u64, len: u64) -> Result<(), Refusal> {
        let failed = failed(StoreOperation::Copy);
        let What::Partial { slot, replaced: Some(replaced) } = &file.what else {
            return Err(failed);
        };
        let start = usize::try_from(offset).map_err(|_| failed)?;
        let end = usize::try_from(offset.saturating_add(len)).map_err(|_| failed)?;
        let bytes = replaced.get(start..end).ok_or(failed)?;
        self.lock().write(&(file.path.clone(), *slot), offset, bytes)
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
        if let What::Partial { slot, .. } = std::mem::replace(&mut file.what, What::Done) {
            self.lock().remove_partial(&(file.path.clone(), slot));
        }
    }
}

impl MemoryFile {
    fn let_go(&mut self, shared: &mut Shared) {
        if let What::Partial { slot, .. } = std::mem::replace(&mut self.what, What::Done) {
            let key = (self.path.clone(), slot);
            if let Some(partial) = shared.partials.get_mut(&key) {
                partial.busy = false;
                if partial.bytes.is_empty() {
                    shared.partials.remove(&key);
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

/// A panic of another thread leaves nothing half-done here: every change is made of one step.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What it is asked for can be done with no entry that it has given out.
const fn failed(operation: StoreOperation) -> Refusal {
    Refusal::Store { code: 0, operation }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Durability;
    use crate::tree::BlockSize;

    const TICKET: Ticket = Ticket::new([3; 16], 4);

    fn offer(entry: u32, name: &str, size: Option<u64>) -> Offer {
        let path = RelPath::parse(name.as_bytes()).unwrap();
        Offer::new(EntryId::new(entry), Meta::file(path, size), BlockSize::MIN)
    }

    fn take(store: &mut MemoryStore, offer: &Offer, place: Place) -> MemoryFile {
        match store.begin(offer, place).unwrap() {
            Begun::Fresh(file) | Begun::Partial(file, _) | Begun::Existing(file, _) => file,
        }
    }

    #[test]
    fn memory_store_of_a_capacity_refuses_what_is_beyond_it_with_numbers() {
        let mut store = MemoryStore::with_capacity(10);
        let refused = |needed, available| Some(Refusal::NoSpace { needed, available });
        let big = offer(0, "big", Some(11));
        assert_eq!(store.begin(&big, Place::Offered).err(), refused(11, 10));
        let pipe = offer(1, "pipe", None);
        let mut file = take(&mut store, &pipe, Place::Offered);
        assert_eq!(store.write_at(&mut file, 0, b"01234567"), Ok(()));
        assert_eq!(store.write_at(&mut file, 8, b"abc").err(), refused(3, 2));
        let far = store.write_at(&mut file, u64::MAX, b"x").err();
        assert_eq!(far, refused(u64::MAX - 8, 2));
        assert_eq!(
            store.write_at(&mut file, 4, b"4567ab"),
            Ok(()),
            "what is held is not counted twice"
        );
        store.suspend(file);
        let next = offer(2, "next", Some(1));
        assert_eq!(store.begin(&next, Place::Offered).err(), refused(1, 0));
        assert_eq!(store.partials().len(), 1, "what is refused leaves nothing");
        store.set_capacity(11);
        let mut file = take(&mut store, &next, Place::Offered);
        assert_eq!(store.write_at(&mut file, 0, b"x"), Ok(()));
        store.discard(file);
        // To replace a file takes room for both, until it is done.
        let file = take(&mut store, &pipe, Place::Offered);
        let meta = pipe.meta.clone();
        store.commit(
            file,
            Commit::new(TICKET, pipe.entry, meta, Place::Offered, 9, Durability::Received),
        );
        let (ticket, ended) = store.poll_committed(Duration::ZERO).unwrap();
        assert_eq!((ticket, ended.unwrap()), (TICKET, Committed::new(pipe.meta.path.clone())));
        let again = offer(1, "pipe", Some(3));
        assert_eq!(store.begin(&again, Place::Replacing).err(), refused(3, 2));
        assert_eq!(&*store.get("pipe").unwrap().bytes, b"01234567a");
    }

    #[test]
    fn memory_file_dropped_is_suspended() {
        let mut store = MemoryStore::new();
        let x = offer(0, "x", Some(4));
        let mut file = take(&mut store, &x, Place::Offered);
        assert_eq!(store.write_at(&mut file, 0, b"ab"), Ok(()));
        let mut other = store.clone();
        let second = take(&mut other, &x, Place::Offered);
        assert!(other.is_contended(&second) && store.is_contended(&file), "each is in use");
        drop(second);
        assert!(!store.is_contended(&file));
        drop(file);
        assert!(matches!(other.begin(&x, Place::Offered), Ok(Begun::Partial(_, 2))));
        assert_eq!(store.partials(), [(x.meta.path.clone(), b"ab".to_vec())]);
    }

    #[test]
    fn memory_store_goes_on_with_the_longest_partial_file() {
        let mut store = MemoryStore::new();
        let x = offer(0, "x", Some(4));
        let mut files = [(); 2].map(|()| take(&mut store, &x, Place::Offered));
        for (file, bytes) in files.iter_mut().zip([&b"ab"[..], b"abc"]) {
            assert_eq!(store.write_at(file, 0, bytes), Ok(()));
        }
        drop(files);
        assert!(matches!(store.begin(&x, Place::Offered), Ok(Begun::Partial(_, 3))));
    }

    #[test]
    fn memory_store_keeps_links_and_folders_with_their_time_and_mode() {
        let mut store = MemoryStore::new();
        let path = |name: &str| RelPath::parse(name.as_bytes()).unwrap();
        let time = Timestamp::new(5, 6);
        let metas = [
            Meta::symlink(path("d/l"), (*b"x").into()).modified(time),
            Meta::directory(path("d")).modified(time).mode(Some(0o750)),
        ];
        for (n, meta) in (0..).zip(&metas) {
            let offer = Offer::new(EntryId::new(n), meta.clone(), BlockSize::MIN);
            let file = take(&mut store, &offer, Place::Offered);
            store.commit(
                file,
                Commit::new(
                    TICKET,
                    offer.entry,
                    meta.clone(),
                    Place::Offered,
                    0,
                    Durability::Synced,
                ),
            );
            assert!(matches!(store.poll_committed(Duration::ZERO), Some((_, Ok(_)))));
        }
        for meta in &metas {
            assert_eq!(store.get(meta.path.as_bytes()), Some(MemoryEntry::from(meta)));
        }
        assert_eq!((store.entries().len(), store.files().len()), (2, 0));
    }
}
