//! Folders held open: everything is reached from such a handle by one part of a name, and no link is followed.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, Dir, Mode, OFlags, Stat, fstat, mkdirat, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::errno::{During, Failed, Result};
use super::stat::{self, Id};
#[cfg(test)]
use super::store::tests::Hook;
use super::sys;
use crate::types::{Closed, Refusal, RelPath, StoreOperation};

/// A handle of a folder. It stays with the folder wherever that is moved to.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    handle: Arc<Handle>,
    pub(super) id: FolderId,
    /// Hook of the root, for all that is opened from it.
    #[cfg(test)]
    pub(super) hook: Arc<Hook>,
}

#[derive(Debug)]
struct Handle {
    fd: OwnedFd,
    /// The folder was found not to be where it was.
    has_escaped: AtomicBool,
}

/// Identity of a folder, for as long as something is known of it: its inode alone is that of another one, once it was
/// removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FolderId {
    inode: Id,
    /// Time at which it was made. `None`: the file system does not tell.
    born: Option<(i64, u32)>,
}

impl FolderId {
    fn of(handle: &OwnedFd) -> Result<Self> {
        let inode = Id::of(&fstat(handle).during(StoreOperation::Stat)?);
        Ok(Self { inode, born: sys::born(handle) })
    }

    pub(super) const fn inode(self) -> Id {
        self.inode
    }
}

/// A folder that is kept open, and where it is.
#[derive(Debug)]
pub(super) struct Recent {
    pub(super) path: Option<RelPath>,
    pub(super) folder: Folder,
    /// True if new files in it get the mode that is asked for, once that was seen.
    pub(super) sets_modes: Option<bool>,
}

impl Folder {
    pub(super) fn new(handle: OwnedFd) -> Result<Self> {
        let id = FolderId::of(&handle)?;
        Ok(Self {
            handle: Arc::new(Handle { fd: handle, has_escaped: AtomicBool::new(false) }),
            id,
            #[cfg(test)]
            hook: Arc::default(),
        })
    }

    /// Opens a folder in this one.
    pub(super) fn open(&self, part: &[u8]) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(self, part, flags, Mode::empty());
        let below = Self::new(opened.during(StoreOperation::Open)?)?;
        #[cfg(test)]
        let below = Self { hook: Arc::clone(&self.hook), ..below };
        Ok(below)
    }

    /// Returns whether it may be one that was just made: it is this user's and holds nothing.
    fn is_as_made(&self) -> Result<bool> {
        let is_own = fstat(self).during(StoreOperation::Stat)?.st_uid == geteuid().as_raw();
        let mut names =
            Dir::read_from(self).during(StoreOperation::Open)?.filter_map(|name| name.ok());
        Ok(is_own && names.all(|name| matches!(name.file_name().to_bytes(), b"." | b"..")))
    }

    /// Returns the entry under a name in this folder; of a link, the link.
    pub(super) fn look(&self, name: &[u8]) -> Result<Option<Stat>> {
        match statat(self, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Failed::new(StoreOperation::Stat, errno)),
        }
    }

    /// Returns whether something has this name, but is listed under another one, as far as can be seen.
    pub(super) fn is_alias(&self, name: &[u8]) -> bool {
        if !matches!(self.look(name), Ok(Some(_))) {
            return false;
        }
        let Ok(listed) = Dir::read_from(self) else { return true };
        let mut names = listed.filter_map(|entry| entry.ok());
        !names.any(|entry| entry.file_name().to_bytes().eq_ignore_ascii_case(name))
    }

    /// Marks the folder, for all who share the handle, as not where it was.
    pub(super) fn set_escaped(&self) {
        self.handle.has_escaped.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_escaped(&self) -> bool {
        self.handle.has_escaped.load(Ordering::Relaxed)
    }

    /// Removes a name if it still is that of this file.
    pub(super) fn remove(&self, name: &[u8], id: Id) -> rustix::io::Result<()> {
        match self.look(name).map_err(|failed| failed.errno)? {
            Some(stat) if Id::of(&stat) == id => unlinkat(self, name, AtFlags::empty()),
            _ => Ok(()),
        }
    }
}

impl AsFd for Folder {
    /// Tests put a hand between any two system calls that are given the handle.
    fn as_fd(&self) -> BorrowedFd<'_> {
        #[cfg(test)]
        let _ = self.hook.call(super::shared::Step::Call);
        self.handle.fd.as_fd()
    }
}

/// The folder of a store, and what is known of those below it.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: Folder,
    /// Folders that were made here, for entries that may yet be discarded. Held while one is made, until it is known to be
    /// as it was made; see [`Tree::wait_for_makers`].
    made: Mutex<Known>,
    /// Folders whose name was seen to be durable in the folder above.
    named: Mutex<Known>,
    /// Held where a folder is removed; see [`Tree::keep_still`].
    still: Mutex<()>,
}

/// The way from the root to a folder. No more than two folders of it are open at a time, however long it is.
#[derive(Debug)]
pub(super) struct Way {
    /// The last one.
    pub(super) folder: Folder,
    /// All of them, from the root to the last. Invariant: not empty.
    pub(super) ids: Vec<FolderId>,
}

/// Folders of which something is known, up to [`MOST_KNOWN`]; of more, those are forgotten of which it has been known for
/// longest. To forget one costs a little work, leaves an empty folder, or leaves one that was made here with the time and
/// mode that the system gave it.
#[derive(Debug, Default)]
struct Known {
    /// Those that were added last, less than half of all.
    young: HashSet<FolderId>,
    old: HashSet<FolderId>,
}

impl Tree {
    pub(super) fn new(root: Folder) -> Self {
        Self { root, made: Mutex::default(), named: Mutex::default(), still: Mutex::default() }
    }

    /// Walks from the root towards `path`, the root for `None`, as far as there are folders.
    pub(super) fn open(&self, path: Option<&RelPath>) -> std::result::Result<Way, Refusal> {
        let mut way = Way::from(&self.root);
        for part in path.into_iter().flat_map(RelPath::parts) {
            match way.folder.open(part) {
                Ok(below) => way.go_down(below),
                Err(Failed { errno: Errno::NOENT, .. }) => break,
                Err(failed) => return Err(failed.into()),
            }
        }
        self.wait_for_makers();
        Ok(way)
    }

    /// Opens the folder at `path` if it still is this one: if another stands there now, what is in the one that was meant
    /// would not be found under the name that a receipt gives.
    pub(super) fn open_again(
        &self,
        path: Option<&RelPath>,
        id: FolderId,
    ) -> std::result::Result<Way, Refusal> {
        let way = self.open(path)?;
        let depth = path.map_or(0, |path| path.parts().count());
        let is_it = way.folder.id == id && way.depth() == depth;
        if is_it { Ok(way) } else { Err(Refusal::KindClash) }
    }

    /// Returns whether `path` is seen to lead to this folder still, in one call or three, however long it is.
    ///
    /// `false` means only that it was not proved: [`Tree::open_again`] names the reason.
    pub(super) fn is_there(&self, path: Option<&RelPath>, folder: &Folder) -> bool {
        self.leads_to(path, folder).unwrap_or(false)
    }

    /// Returns whether `path` still leads to this folder.
    ///
    /// Its handle, which is open, keeps its inode from any other folder: so device and inode prove it.
    ///
    /// # Errors
    ///
    /// Where that could not be looked at: the system has no such call, or lacks descriptors.
    pub(super) fn leads_to(
        &self,
        path: Option<&RelPath>,
        folder: &Folder,
    ) -> rustix::io::Result<bool> {
        let Some(path) = path else { return Ok(folder.id == self.root.id) };
        let is_it = |stat: &Stat| stat::is_folder(stat) && Id::of(stat) == folder.id.inode;
        if path.parts().count() == 1 {
            let found = self.root.look(path.as_bytes()).map_err(|failed| failed.errno)?;
            return Ok(found.as_ref().is_some_and(is_it));
        }
        match sys::open_below(&self.root, path.as_bytes()).and_then(fstat) {
            Ok(stat) => Ok(is_it(&stat)),
            // Something else stands there, or on the way, or nothing does.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Returns what stands under a name, with no link on the way to it, in one call or three, however long that is.
    ///
    /// # Errors
    ///
    /// Also where the system has no such call: the way is there for all that.
    pub(super) fn look(&self, path: &RelPath) -> rustix::io::Result<Option<Stat>> {
        if path.parts().count() == 1 {
            return self.root.look(path.as_bytes()).map_err(|failed| failed.errno);
        }
        match sys::find_below(&self.root, path.as_bytes()).and_then(fstat) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Works as [`Tree::open`], and makes the folders that do not exist.
    pub(super) fn make(
        &self,
        path: Option<&RelPath>,
        closed: Closed,
    ) -> std::result::Result<Way, Refusal> {
        let _still = self.keep_still();
        self.make_still(path, closed)
    }

    fn make_still(
        &self,
        path: Option<&RelPath>,
        closed: Closed,
    ) -> std::result::Result<Way, Refusal> {
        for _ in 0..ATTEMPTS {
            match self.try_make(path, closed) {
                // Another process has removed one on the way, which held nothing yet.
                Err(Failed { errno: Errno::NOENT, .. }) => {}
                made => return Ok(made?),
            }
        }
        Err(Failed::new(StoreOperation::CreateFolder, Errno::NOENT).into())
    }

    /// Works as [`Tree::make`].
    ///
    /// # Errors
    ///
    /// [`Errno::NOENT`] where one on the way was removed meanwhile.
    pub(super) fn try_make(&self, path: Option<&RelPath>, closed: Closed) -> Result<Way> {
        let mut way = Way::from(&self.root);
        let mut above = path.into_iter().flat_map(RelPath::parts).count();
        for part in path.into_iter().flat_map(RelPath::parts) {
            let below = self.make_one(&way.folder, part, closed.permissions(above))?;
            way.go_down(below);
            above -= 1;
        }
        self.wait_for_makers();
        Ok(way)
    }

    /// Waits until a folder that another session of this process is making has been looked at. Nothing may be put into one
    /// before: it would be taken for that of somebody else, and never get its time and mode.
    fn wait_for_makers(&self) {
        drop(lock(&self.made));
    }

    fn make_one(&self, folder: &Folder, part: &[u8], mode: u32) -> Result<Folder> {
        for _ in 0..ATTEMPTS {
            match folder.open(part) {
                Err(Failed { errno: Errno::NOENT, .. }) => {}
                opened => return opened,
            }
            let mut made = lock(&self.made);
            match mkdirat(folder, part, stat::mode_of(mode)) {
                Ok(()) => {
                    let below = folder.open(part)?;
                    // Another folder may stand there by now, which is not to be changed or removed.
                    if below.is_as_made()? {
                        made.insert(below.id);
                    }
                    // A folder that was removed may have had the same number.
                    lock(&self.named).remove(below.id);
                    return Ok(below);
                }
                // Another session was first.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(Failed::new(StoreOperation::CreateFolder, errno)),
            }
        }
        Err(Failed::new(StoreOperation::CreateFolder, Errno::AGAIN))
    }

    /// Keeps sessions of this process from removing folders, for as long as this is held: one that lets go of many
    /// entries would remove a new one as often as it is made.
    pub(super) fn keep_still(&self) -> MutexGuard<'_, ()> {
        self.still.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes folders from `path` upwards that were made here and hold nothing.
    pub(super) fn tidy(&self, path: Option<&RelPath>) {
        let _still = self.keep_still();
        let Ok(Way { folder, ids }) = self.open(path) else { return };
        drop(folder);
        let mut path = path.cloned();
        // Those that do not exist need no removing.
        let missing = path.iter().flat_map(RelPath::parts).count() + 1 - ids.len();
        for _ in 0..missing {
            path = path.and_then(|path| path.parent());
        }
        for id in ids.into_iter().skip(1).rev() {
            let Some(below) = path else { return };
            path = below.parent();
            if !lock(&self.made).contains(id) {
                return;
            }
            let Ok(above) = self.open(path.as_ref()) else { return };
            let name = below.file_name();
            let is_it = |stat: &Stat| Id::of(stat) == id.inode;
            if !above.folder.look(name).is_ok_and(|stat| stat.as_ref().is_some_and(is_it)) {
                return;
            }
            // It fails where the folder holds something, which is then somebody's.
            if unlinkat(&above.folder, name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
            lock(&self.made).remove(id);
        }
    }

    /// Turns a refusal into that of a root that is gone, where that is the reason.
    pub(super) fn explain(&self, refusal: Refusal) -> Refusal {
        let is_missing = matches!(refusal, Refusal::Store { code: NOENT, .. } | Refusal::Tampered);
        let is_gone = || fstat(&self.root).is_ok_and(|stat| stat.st_nlink == 0);
        if is_missing && is_gone() { Refusal::Gone } else { refusal }
    }

    /// Works as [`Tree::make`], for a folder that is wanted for itself: it is not removed any more. Returns whether it
    /// was made here.
    pub(super) fn make_wanted(
        &self,
        path: &RelPath,
        closed: Closed,
    ) -> std::result::Result<(Way, bool), Refusal> {
        let _still = self.keep_still();
        let way = self.make_still(Some(path), closed)?;
        let is_made = lock(&self.made).remove(way.folder.id);
        Ok((way, is_made))
    }

    pub(super) fn is_named(&self, folder: FolderId) -> bool {
        lock(&self.named).contains(folder)
    }

    pub(super) fn set_named(&self, folder: FolderId) {
        // Another one may have its inode one day, and nothing would tell them apart: it is synced each time.
        if folder.born.is_none() {
            return;
        }
        lock(&self.named).insert(folder);
    }
}

impl Way {
    fn from(root: &Folder) -> Self {
        Self { folder: root.clone(), ids: vec![root.id] }
    }

    fn go_down(&mut self, below: Folder) {
        self.ids.push(below.id);
        self.folder = below;
    }

    /// Returns how many folders below the root it ends.
    pub(super) fn depth(&self) -> usize {
        self.ids.len() - 1
    }
}

impl Known {
    fn insert(&mut self, id: FolderId) {
        self.young.insert(id);
        if self.young.len() >= MOST_KNOWN / 2 {
            self.old = std::mem::take(&mut self.young);
        }
    }

    fn contains(&self, id: FolderId) -> bool {
        self.young.contains(&id) || self.old.contains(&id)
    }

    /// Forgets a folder. Returns whether it was known.
    fn remove(&mut self, id: FolderId) -> bool {
        // It may be in both.
        let was_young = self.young.remove(&id);
        self.old.remove(&id) || was_young
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Number of times that a step is tried again which another session can undo meanwhile.
pub(super) const ATTEMPTS: usize = 16;

/// Number of `ENOENT` in refusals. The same on all Unix systems.
pub(super) const NOENT: u32 = 2;

/// 40 bytes each: 2.5 MiB, and a little more.
const MOST_KNOWN: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    /// Another program removes a folder whose name is durable, and makes one that gets its inode.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "another program makes folders")]
    fn folder_with_the_inode_of_one_that_was_removed_is_not_known() {
        let dir = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let tree = Tree::new(Folder::new(root).unwrap());
        let path = RelPath::parse(b"x").unwrap();
        let make = || {
            std::fs::create_dir(dir.path().join("x")).unwrap();
            tree.open(Some(&path)).unwrap().folder.id
        };
        let remove = || std::fs::remove_dir(dir.path().join("x")).unwrap();
        let first = make();
        tree.set_named(first);
        if first.born.is_none() {
            return assert!(!tree.is_named(first), "nothing would tell it from another one");
        }
        assert!(tree.is_named(first));
        // Until one has its inode; a clock that has not gone on since tells no time of its own.
        for _ in 0..100_000 {
            remove();
            let id = make();
            if id.inode == first.inode && id.born != first.born {
                return assert!(!tree.is_named(id));
            }
        }
        eprintln!("not tested: the file system of {} gives no inode again", dir.path().display());
    }

    /// A sender of files alone, each in a folder of its own, has folders made that are never offered, and so never wanted.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a folder is opened")]
    fn folder_that_is_made_after_any_number_of_others_is_known_to_be_made_here() {
        let dir = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let tree = Tree::new(Folder::new(root).unwrap());
        let path = RelPath::parse(b"x").unwrap();
        let mut stat = fstat(&tree.root).unwrap();
        for number in 0..2 * MOST_KNOWN {
            stat.st_ino = number.try_into().unwrap();
            lock(&tree.made).insert(FolderId { inode: Id::of(&stat), born: None });
            let Known { young, old } = &*lock(&tree.made);
            assert!(young.len() + old.len() <= MOST_KNOWN);
        }
        tree.make(Some(&path), Closed::default()).unwrap();
        assert!(tree.make_wanted(&path, Closed::default()).unwrap().1);
    }

    /// A folder on the way that holds nothing yet may be removed by the session that made it.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "two sessions race for a folder")]
    fn folders_are_made_while_another_session_removes_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let tree = Tree::new(Folder::new(root).unwrap());
        let path = RelPath::parse(b"a/b/c").unwrap();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        let is_over = &is_over;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    tree.tidy(Some(&path));
                }
            });
            let made = (0..5000)
                .map(|_| tree.make(Some(&path), Closed::default()))
                .find_map(|made| made.err());
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(made, None);
        });
    }

    /// A session makes a folder, and looks whether it is as it was made; another one puts something into it at once.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "two sessions race for a folder")]
    fn folders_that_another_session_fills_at_once_are_known_to_be_made_here() {
        let dir = tempfile::tempdir().unwrap();
        let root = OwnedFd::from(std::fs::File::open(dir.path()).unwrap());
        let tree = Tree::new(Folder::new(root).unwrap());
        let paths: Vec<_> =
            (0..2000).map(|n| RelPath::parse(n.to_string().as_bytes()).unwrap()).collect();
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for path in &paths {
                    start.wait();
                    let mut way = tree.open(Some(path)).unwrap();
                    while way.depth() == 0 {
                        way = tree.open(Some(path)).unwrap();
                    }
                    mkdirat(&way.folder, c"below", Mode::from_raw_mode(0o777)).unwrap();
                }
            });
            for path in &paths {
                start.wait();
                tree.try_make(Some(path), Closed::default()).unwrap();
            }
        });
        for path in &paths {
            assert!(tree.make_wanted(path, Closed::default()).unwrap().1, "{path:?}");
        }
    }
}
