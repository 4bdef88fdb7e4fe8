//! Partial files below a folder, for whoever wants to know what never came to its end.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat, openat};
use rustix::io::Errno;

use super::dir::{Folder, FolderId};
use super::errno::Failed;
use super::partial::{self, hash_in};
use super::source::about;
use super::stat::{self, Id, Stamp};

/// Partial files of this user below a folder, in no particular order. No link is followed, and few folders are open at a
/// time, however deep they are.
///
/// They are what an [`FsStore`](super::FsStore) left of entries that were not complete. An attempt that comes again goes on
/// with them; what nobody comes back for [expires](super::FsStore::keep_partials), in folders that something is received
/// into.
///
/// An error names the folder that cannot be read, or that is another one by now; the walk goes on beside it.
pub struct Partials {
    /// The folders on the way to where the walk is. Invariant: the first is open.
    way: Vec<Level>,
    /// Names of the last folder that are yet to be read.
    names: Option<Dir>,
    /// Path of the last folder, below the first.
    path: PathBuf,
    /// Path of the first, for errors.
    root: PathBuf,
}

/// A folder that is walked.
struct Level {
    /// `None`: it was closed, as [`KEPT`] others are open below it.
    folder: Option<Folder>,
    id: FolderId,
    name: OsString,
    /// Folders in it that are yet to be walked.
    below: Vec<OsString>,
}

/// A partial file.
#[derive(Debug)]
pub struct PartialFile {
    folder: Folder,
    name: String,
    stat: Stat,
    path: PathBuf,
}

impl Partials {
    /// Looks below this folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be opened or read: the message names it.
    pub fn below(folder: impl AsRef<Path>) -> io::Result<Self> {
        let root = folder.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, root, flags, Mode::empty());
        let opened = opened.and_then(|handle| {
            let folder = Folder::new(handle).map_err(|failed| failed.errno)?;
            let names = Dir::read_from(&folder)?;
            Ok((Level::of(folder, OsString::new()), names))
        });
        let (level, names) = opened.map_err(|errno| about(root, &errno.into()))?;
        let (path, root) = (PathBuf::new(), root.to_path_buf());
        Ok(Self { way: vec![level], names: Some(names), path, root })
    }

    /// Returns the partial file of this name in the last folder, if it is one; a folder is kept for later.
    fn visit(
        &mut self,
        name: &[u8],
        kind: FileType,
    ) -> std::result::Result<Option<PartialFile>, Errno> {
        let is_named = std::str::from_utf8(name).is_ok_and(|name| hash_in(name).is_some());
        let Some(level) = self.way.last_mut() else { return Ok(None) };
        let Some(folder) = &level.folder else { return Ok(None) };
        match kind {
            FileType::Directory => level.below.push(OsStr::from_bytes(name).into()),
            FileType::RegularFile if is_named => {
                let stat = folder.look(name).map_err(|failed| failed.errno)?;
                let path = self.path.join(OsStr::from_bytes(name));
                let (folder, name) = (folder.clone(), String::from_utf8_lossy(name).into_owned());
                let ours = stat.filter(partial::is_ours);
                return Ok(ours.map(|stat| PartialFile { folder, name, stat, path }));
            }
            FileType::Unknown => {
                let stat = folder.look(name).map_err(|failed| failed.errno)?;
                let kind = stat.as_ref().map_or(FileType::Unknown, stat::kind);
                if kind != FileType::Unknown {
                    return self.visit(name, kind);
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// Goes down into a folder that is in the last one.
    fn enter(&mut self, name: OsString) -> rustix::io::Result<()> {
        self.reach()?;
        let last = self.way.last().and_then(|level| level.folder.as_ref());
        let folder = last.ok_or(Errno::STALE)?.open(name.as_bytes()).map_err(|f| f.errno)?;
        self.names = Some(Dir::read_from(&folder)?);
        self.path.push(&name);
        self.way.push(Level::of(folder, name));
        let above = self.way.len().checked_sub(KEPT + 1).filter(|at| *at > 0);
        if let Some(above) = above.and_then(|at| self.way.get_mut(at)) {
            above.folder = None;
        }
        Ok(())
    }

    /// Opens the last folder again, if it was closed, with as many before it as are kept.
    fn reach(&mut self) -> rustix::io::Result<()> {
        let len = self.way.len();
        let open = self.way.iter().rposition(|level| level.folder.is_some());
        let mut last: Option<Folder> = None;
        for (at, level) in self.way.iter_mut().enumerate().skip(open.unwrap_or(0)) {
            let folder = match (&level.folder, &last) {
                (Some(folder), _) => folder.clone(),
                (None, Some(above)) => match above.open(level.name.as_bytes()) {
                    // What is below it is not gone with its name, and is not found.
                    Err(Failed { errno: Errno::NOENT | Errno::NOTDIR | Errno::LOOP, .. }) => {
                        return Err(Errno::STALE);
                    }
                    opened => opened.map_err(|failed| failed.errno)?,
                },
                (None, None) => return Err(Errno::STALE),
            };
            if folder.id != level.id {
                return Err(Errno::STALE);
            }
            if at + KEPT >= len {
                level.folder = Some(folder.clone());
            }
            last = Some(folder);
        }
        Ok(())
    }

    /// Returns the next of what the last folder holds. `None`: it holds no more.
    fn next_name(&mut self) -> Option<rustix::io::Result<(Vec<u8>, FileType)>> {
        let named = self.names.as_mut()?.next();
        if !matches!(named, Some(Ok(_))) {
            // After an error there may be more, or the same error for ever.
            self.names = None;
        }
        Some(named?.map(|entry| (entry.file_name().to_bytes().to_vec(), entry.file_type())))
    }

    fn about(&self, name: &OsStr, errno: Errno) -> io::Error {
        about(&self.root.join(&self.path).join(name), &errno.into())
    }
}

impl Level {
    fn of(folder: Folder, name: OsString) -> Self {
        Self { id: folder.id, folder: Some(folder), name, below: Vec::new() }
    }
}

impl Iterator for Partials {
    type Item = io::Result<PartialFile>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_name() {
                Some(Ok((name, _))) if matches!(&*name, b"." | b"..") => {}
                Some(Ok((name, kind))) => match self.visit(&name, kind) {
                    Ok(Some(partial)) => return Some(Ok(partial)),
                    Ok(None) => {}
                    Err(errno) => return Some(Err(self.about(OsStr::from_bytes(&name), errno))),
                },
                Some(Err(errno)) => return Some(Err(self.about(OsStr::new(""), errno))),
                None => match self.way.last_mut()?.below.pop() {
                    Some(name) => match self.enter(name.clone()) {
                        // It was removed, or exchanged, since it was listed.
                        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                        Err(errno) => return Some(Err(self.about(&name, errno))),
                    },
                    None => {
                        self.way.pop();
                        self.path.pop();
                    }
                },
            }
        }
    }
}

impl PartialFile {
    /// Returns its path below the folder that was looked through. The name of the file that it was to become is not in it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its length, in bytes. Not all before its end need have arrived.
    #[must_use]
    pub fn size(&self) -> u64 {
        stat::size(&self.stat)
    }

    /// Returns the bytes that it takes on the device.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        stat::allocated(&self.stat)
    }

    /// Returns the time since it was changed last, as of `now`; nothing where that is in the future.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        stat::age(&self.stat, now).unwrap_or_default()
    }

    /// Returns whether a session, of whatever process, has it open.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        partial::is_held(&self.folder, self.name.as_bytes(), &self.stat)
    }

    /// Removes it, unless a session has it open, or it is not as it was found any more. Returns whether it is gone.
    #[must_use]
    pub fn remove(self) -> bool {
        let is_as_found = |now: &Stat| Stamp::of(now) == Stamp::of(&self.stat);
        partial::remove_idle(&self.folder, &self.name, &self.stat, is_as_found);
        let left = self.folder.look(self.name.as_bytes());
        matches!(left, Ok(left) if left.is_none_or(|left| Id::of(&left) != Id::of(&self.stat)))
    }
}

impl fmt::Debug for Partials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.root.join(&self.path);
        f.debug_struct("Partials").field("at", &at).finish_non_exhaustive()
    }
}

/// Folders above the one where a walk is that are kept open.
const KEPT: usize = 8;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests make and move folders")]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use rustix::fs::mkdirat;

    use super::*;
    use crate::store::fs::partial::{Owner, name};

    /// Makes a way of so many folders, with a partial file in each that is the last or a tenth one, and beside the way
    /// a folder that holds one. Returns how many partial files that are. No path of the system reaches them all.
    fn deep(root: &Path, depth: usize) -> usize {
        let part = "d".repeat(200);
        let file = name(Owner::default(), b"file", 0);
        let make = |folder: &rustix::fd::OwnedFd| {
            let flags = OFlags::WRONLY | OFlags::CREATE;
            openat(folder, &*file, flags, Mode::from_raw_mode(0o600)).map(drop).unwrap();
        };
        let open = |at: &rustix::fd::OwnedFd, part: &str| {
            mkdirat(at, part, Mode::from_raw_mode(0o700)).unwrap();
            openat(at, part, OFlags::RDONLY, Mode::empty()).unwrap()
        };
        let mut folder = rustix::fd::OwnedFd::from(fs::File::open(root).unwrap());
        let mut count = 0;
        for level in 1..=depth {
            for side in ["a", "z"] {
                make(&open(&folder, side));
                count += 1;
            }
            folder = open(&folder, &part);
            if level % 10 == 0 || level == depth {
                make(&folder);
                count += 1;
            }
        }
        count
    }

    #[test]
    fn partials_of_a_deep_tree_are_all_found_with_few_folders_open() {
        for depth in [1, KEPT - 1, KEPT, KEPT + 1, 3 * KEPT + 2, 60] {
            let root = tempfile::tempdir().unwrap();
            let made = deep(root.path(), depth);
            let mut partials = Partials::below(root.path()).unwrap();
            let mut found = BTreeSet::new();
            while let Some(partial) = partials.next() {
                assert!(found.insert(partial.unwrap().path().to_owned()));
                let open = partials.way.iter().filter(|level| level.folder.is_some()).count();
                assert!(open <= KEPT + 2, "{open} of {depth}");
            }
            assert_eq!(found.len(), made, "{depth}");
        }
    }

    #[test]
    fn partials_below_a_folder_that_was_exchanged_meanwhile_are_told_and_others_found() {
        let root = tempfile::tempdir().unwrap();
        let way: PathBuf = (0..2 * KEPT).map(|level| level.to_string()).collect();
        fs::create_dir_all(root.path().join(&way)).unwrap();
        let file = name(Owner::default(), b"file", 0);
        let bottom = root.path().join(&way).join(&file);
        fs::write(&bottom, "x").unwrap();
        // Some of them are walked before the way, some after it.
        let beside: Vec<_> = ["", "0/", "0/1/", "0/1/2/"]
            .iter()
            .flat_map(|at| (0..20).map(move |side| format!("{at}side{side}")))
            .collect();
        for beside in &beside {
            fs::create_dir(root.path().join(beside)).unwrap();
            fs::write(root.path().join(beside).join(&file), "x").unwrap();
        }
        let partials = Partials::below(root.path()).unwrap();
        let mut found = BTreeSet::new();
        let mut told = Vec::new();
        let mut is_exchanged = false;
        for partial in partials {
            match partial {
                Ok(partial) => _ = found.insert(partial.path().to_owned()),
                Err(error) => told.push(error.to_string()),
            }
            if !is_exchanged && found.contains(&way.join(&file)) {
                is_exchanged = true;
                fs::rename(root.path().join("0/1"), root.path().join("0/gone")).unwrap();
                fs::create_dir(root.path().join("0/1")).unwrap();
            }
        }
        assert!(is_exchanged);
        let missed = beside.iter().filter(|at| !found.contains(&Path::new(at).join(&file)));
        let missed: Vec<_> = missed.collect();
        assert!(missed.iter().all(|at| at.starts_with("0/1/")), "{missed:?}");
        assert_eq!(told.len(), missed.len(), "{told:?} {missed:?}");
        for at in missed {
            let path = root.path().join(at).display().to_string();
            assert!(told.iter().any(|text| text.starts_with(&format!("{path}: "))), "{told:?}");
        }
    }
}
