//! Partial files below a folder, for whoever wants to know what never came to its end.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, Stat, openat};
use rustix::io::Errno;

use super::dir::Folder;
use super::partial;
use super::source::about;
use super::stat::{self, Id, Stamp};

/// Partial files of this user below a folder, in no particular order. No link is followed.
///
/// They are what an [`FsStore`](super::FsStore) left of entries that were not complete. An attempt that comes again goes on
/// with them; what nobody comes back for [expires](super::FsStore::keep_partials), in folders that something is received
/// into.
///
/// An error names the folder that cannot be read; the walk goes on beside it.
pub struct Partials {
    /// The folders on the way to where the walk is.
    way: Vec<Level>,
}

/// A folder that is walked.
struct Level {
    folder: Folder,
    /// Its path below the first.
    path: PathBuf,
    names: Dir,
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
        let path = folder.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, path, flags, Mode::empty());
        let level = opened.and_then(|handle| {
            let folder = Folder::new(handle).map_err(|failed| failed.errno)?;
            Level::of(folder, PathBuf::new())
        });
        let level = level.map_err(|errno| about(path, &errno.into()))?;
        Ok(Self { way: vec![level] })
    }
}

impl Level {
    fn of(folder: Folder, path: PathBuf) -> rustix::io::Result<Self> {
        let names = Dir::read_from(&folder)?;
        Ok(Self { folder, path, names })
    }

    /// Returns what has this name: a folder to go on in, or a partial file.
    fn visit(&self, name: &[u8], kind: FileType) -> rustix::io::Result<Visited> {
        let hash = std::str::from_utf8(name).ok().filter(|name| partial::hash_in(name).is_some());
        let path = self.path.join(std::ffi::OsStr::from_bytes(name));
        match (kind, hash) {
            (FileType::Directory, _) => {
                let folder = self.folder.open(name).map_err(|failed| failed.errno)?;
                Self::of(folder, path).map(Visited::Folder)
            }
            (FileType::RegularFile, Some(name)) => {
                let stat = self.folder.look(name.as_bytes()).map_err(|failed| failed.errno)?;
                let Some(stat) = stat.filter(partial::is_ours) else { return Ok(Visited::Other) };
                let folder = self.folder.clone();
                Ok(Visited::Partial(PartialFile { folder, name: name.to_owned(), stat, path }))
            }
            (FileType::Unknown, _) => {
                let stat = self.folder.look(name).map_err(|failed| failed.errno)?;
                let kind = stat.as_ref().map_or(FileType::Unknown, stat::kind);
                if kind == FileType::Unknown { Ok(Visited::Other) } else { self.visit(name, kind) }
            }
            _ => Ok(Visited::Other),
        }
    }
}

/// Finding under a name.
enum Visited {
    Folder(Level),
    Partial(PartialFile),
    Other,
}

impl Iterator for Partials {
    type Item = io::Result<PartialFile>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let level = self.way.last_mut()?;
            let (name, kind) = match level.names.next() {
                None => {
                    self.way.pop();
                    continue;
                }
                Some(Err(errno)) => {
                    let error = about(&level.path, &errno.into());
                    self.way.pop();
                    return Some(Err(error));
                }
                Some(Ok(entry)) => (entry.file_name().to_bytes().to_vec(), entry.file_type()),
            };
            if matches!(&*name, b"." | b"..") {
                continue;
            }
            match level.visit(&name, kind) {
                Ok(Visited::Folder(below)) => self.way.push(below),
                Ok(Visited::Partial(partial)) => return Some(Ok(partial)),
                // It was removed, or exchanged, since it was listed.
                Ok(Visited::Other) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => {
                    let path = level.path.join(std::ffi::OsStr::from_bytes(&name));
                    return Some(Err(about(&path, &errno.into())));
                }
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
        let way: Vec<_> = self.way.iter().map(|level| &level.path).collect();
        f.debug_struct("Partials").field("way", &way).finish()
    }
}
