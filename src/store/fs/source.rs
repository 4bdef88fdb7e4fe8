//! Files and folders as a source: walked lazily, opened so that nothing else is read in their place.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::vec;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::holes::Extents;
use super::stat::{self, Id, Stamp};
use super::target::stays_inside;
use crate::proto::{Meta, RelPath, Withdrawal, escape};
use crate::store::{Source, Unsendable, withdrawal_of};

/// Sends files and folders of the file system.
///
/// Each path that it is given is a file or a folder; its base name becomes the first part of the names that
/// travel. Folders are walked while they are sent, in the order of their names; the list of one folder at a time, for
/// each level, is held in memory. A folder is offered after what it holds.
///
/// - A path that is given and is a link is followed. What [`Symlinks`] says holds for links below it.
/// - FIFOs, sockets and devices are not opened; they are reported with [`Withdrawal::Kind`].
/// - A name that cannot travel is reported with [`Withdrawal::Name`]; what is below such a folder is not walked.
/// - What cannot be read is reported, and the walk goes on.
/// - A file that is not what the walk saw (another inode, size or time) when it is opened, or when all of it was
///   read, is withdrawn with [`Withdrawal::Changed`]. So nothing outside the tree is read, though somebody put a
///   link in the place of a folder of the tree meanwhile.
/// - What lies in a hole of a sparse file is not read, where the file system tells (`SEEK_DATA`): it is zeros.
#[derive(Debug)]
pub struct FsSource {
    given: vec::IntoIter<Given>,
    /// The folders on the way to where the walk is.
    walk: Vec<Folder>,
    symlinks: Symlinks,
    total: Option<u64>,
}

/// What a source does with symbolic links below the paths that it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Symlinks {
    /// Reports them with [`Withdrawal::Kind`] and sends nothing. The default.
    #[default]
    Skip,
    /// Sends what they lead to, wherever that is, under their name. A link to a folder that it stands in is
    /// reported.
    Follow,
    /// Sends them as links, where their target is relative and stays inside the tree; others are reported.
    Preserve,
}

/// How [`FsSource`] finds an entry again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsKey {
    path: PathBuf,
    links: Links,
    /// What the walk saw; `None` for what has no content.
    stamp: Option<Stamp>,
}

/// A file that [`FsSource`] reads.
#[derive(Debug)]
pub struct FsReader {
    /// `None`: the entry is a folder or a link, without content.
    open: Option<Open>,
    path: PathBuf,
    links: Links,
}

#[derive(Debug)]
struct Open {
    file: File,
    stamp: Stamp,
    extents: Extents,
}

#[derive(Debug)]
struct Given {
    path: PathBuf,
    name: Vec<u8>,
}

/// Invariant: the path is the one by which `handle` was opened, the name a [`RelPath`].
#[derive(Debug)]
struct Folder {
    handle: OwnedFd,
    id: Id,
    path: PathBuf,
    links: Links,
    name: RelPath,
    names: vec::IntoIter<OsString>,
}

/// Whether the last part of a path may be a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

impl FsSource {
    /// Sends the files and folders with these paths.
    ///
    /// # Errors
    ///
    /// A path that does not exist, cannot be looked at, or has no base name (`/`): the message names it.
    pub fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let mut given = Vec::new();
        let mut total = Some(0_u64);
        for path in paths {
            let path = path.as_ref();
            let found = look(path)?;
            total = total.and_then(|total| total.checked_add(found?));
            given.push(Given { path: path.into(), name: base_name(path)? });
        }
        Ok(Self { given: given.into_iter(), walk: Vec::new(), symlinks: Symlinks::Skip, total })
    }

    /// Sends one file or folder under another name.
    ///
    /// # Errors
    ///
    /// If the path does not exist, or cannot be looked at: the message names it.
    pub fn named(path: impl AsRef<Path>, name: &RelPath) -> io::Result<Self> {
        let path = path.as_ref();
        let total = look(path)?;
        let given = vec![Given { path: path.into(), name: name.as_bytes().to_vec() }];
        Ok(Self { given: given.into_iter(), walk: Vec::new(), symlinks: Symlinks::Skip, total })
    }

    /// Sets what is done with symbolic links.
    #[must_use]
    pub const fn symlinks(mut self, symlinks: Symlinks) -> Self {
        self.symlinks = symlinks;
        self
    }

    /// Looks at one name; `Ok(None)` for a folder, which is walked next.
    fn visit(
        &mut self,
        path: PathBuf,
        name: Vec<u8>,
        mut links: Links,
    ) -> Result<Option<(FsKey, Meta)>, Unsendable> {
        // What is given is looked up from the current folder, all else from the folder that it is in, so that no
        // part of the way can be exchanged.
        let (parent, part) = match self.walk.last() {
            Some(folder) => (folder.handle.as_fd(), path.file_name().unwrap_or_default()),
            None => (CWD, path.as_os_str()),
        };
        let unsendable = |reason| Unsendable::new(escaped(&name), reason);
        let failed = |errno: Errno| unsendable(withdrawal_of(&errno.into()));
        let rel = RelPath::parse(&name).map_err(|_| unsendable(Withdrawal::Name))?;
        let mut stat = statat(parent, part, links.at()).map_err(failed)?;
        if stat::kind(&stat) == FileType::Symlink {
            match self.symlinks {
                Symlinks::Skip => return Err(unsendable(Withdrawal::Kind)),
                Symlinks::Follow => {
                    links = Links::Followed;
                    stat = statat(parent, part, links.at()).map_err(failed)?;
                }
                Symlinks::Preserve => {
                    let target =
                        rustix::fs::readlinkat(parent, part, Vec::new()).map_err(failed)?;
                    let target = target.into_bytes();
                    // Counted below the path that was given: what is beside it is not sent.
                    if !stays_inside(self.walk.len().saturating_sub(1), &target) {
                        return Err(unsendable(Withdrawal::Kind));
                    }
                    let meta = Meta::symlink(rel, target.into()).modified(stat::modified(&stat));
                    return Ok(Some((FsKey { path, links, stamp: None }, meta)));
                }
            }
        }
        match stat::kind(&stat) {
            FileType::RegularFile => {
                let meta = Meta::file(rel, Some(stat::size(&stat)))
                    .modified(stat::modified(&stat))
                    .mode(Some(stat.st_mode));
                Ok(Some((FsKey { path, links, stamp: Some(Stamp::of(&stat)) }, meta)))
            }
            FileType::Directory => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | links.open();
                let handle = openat(parent, part, flags, Mode::empty()).map_err(failed)?;
                let id = Id::of(&fstat(&handle).map_err(failed)?);
                if self.walk.iter().any(|above| above.id == id) {
                    return Err(unsendable(Withdrawal::Kind));
                }
                let names = list(handle.as_fd()).map_err(failed)?;
                let names = names.into_iter();
                self.walk.push(Folder { handle, id, path, links, name: rel, names });
                Ok(None)
            }
            _ => Err(unsendable(Withdrawal::Kind)),
        }
    }
}

impl Source for FsSource {
    type Key = FsKey;
    type Reader = FsReader;

    fn next_entry(&mut self) -> Option<Result<(FsKey, Meta), Unsendable>> {
        loop {
            let found = match self.walk.last_mut() {
                None => {
                    let Given { path, name } = self.given.next()?;
                    self.visit(path, name, Links::Followed)
                }
                Some(folder) => match folder.names.next() {
                    Some(part) => {
                        let name = [folder.name.as_bytes(), b"/", part.as_bytes()].concat();
                        let path = folder.path.join(part);
                        self.visit(path, name, Links::Refused)
                    }
                    None => self.walk.pop().map(Folder::into_entry).transpose(),
                },
            };
            if let Some(entry) = found.transpose() {
                return Some(entry);
            }
        }
    }

    fn open(&mut self, key: &FsKey, _meta: &Meta) -> Result<FsReader, Withdrawal> {
        let FsKey { path, links, stamp } = key;
        let open = match stamp {
            Some(stamp) => Some(open_file(path, *links, stamp)?),
            None => None,
        };
        Ok(FsReader { open, path: path.clone(), links: *links })
    }

    fn read_at(
        &mut self,
        reader: &mut FsReader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        match &mut reader.open {
            Some(Open { file, extents, .. }) => extents.read_at(file, offset, buffer),
            None => Ok(0),
        }
    }

    fn finish(&mut self, reader: &mut FsReader, _meta: &Meta) -> Result<(), Withdrawal> {
        let Some(Open { file, stamp, .. }) = &reader.open else { return Ok(()) };
        let failed = |errno: Errno| withdrawal_of(&errno.into());
        let named = statat(CWD, &reader.path, reader.links.at()).map_err(failed)?;
        let open = fstat(file).map_err(failed)?;
        let same = Id::of(&named) == stamp.id && Stamp::of(&open) == *stamp;
        if same { Ok(()) } else { Err(Withdrawal::Changed) }
    }

    fn total(&self) -> Option<u64> {
        self.total
    }
}

impl Folder {
    fn into_entry(self) -> Result<(FsKey, Meta), Unsendable> {
        let stat = fstat(&self.handle).map_err(|errno| {
            Unsendable::new(self.name.to_string(), withdrawal_of(&errno.into()))
        })?;
        let meta =
            Meta::directory(self.name).modified(stat::modified(&stat)).mode(Some(stat.st_mode));
        Ok((FsKey { path: self.path, links: self.links, stamp: None }, meta))
    }
}

impl Links {
    const fn at(self) -> AtFlags {
        match self {
            Self::Followed => AtFlags::empty(),
            Self::Refused => AtFlags::SYMLINK_NOFOLLOW,
        }
    }

    const fn open(self) -> OFlags {
        match self {
            Self::Followed => OFlags::empty(),
            Self::Refused => OFlags::NOFOLLOW,
        }
    }
}

/// Opens a file if it is the one that the walk saw.
fn open_file(path: &Path, links: Links, seen: &Stamp) -> Result<Open, Withdrawal> {
    let failed = |errno: Errno| match errno {
        // A link or something else stands where a file or a folder was.
        Errno::LOOP | Errno::NOTDIR | Errno::NXIO => Withdrawal::Changed,
        _ => withdrawal_of(&errno.into()),
    };
    let check = |stat: &Stat| match () {
        () if !stat::is_file(stat) => Err(Withdrawal::Kind),
        () if Stamp::of(stat) != *seen => Err(Withdrawal::Changed),
        () => Ok(()),
    };
    // Looked at before it is opened, because to open a device may be to use it; and again after, because it may have
    // been exchanged between. Should that have been for a FIFO, the open does not wait for a writer.
    check(&statat(CWD, path, links.at()).map_err(failed)?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat(CWD, path, flags | links.open(), Mode::empty()).map_err(failed)?;
    let stat = fstat(&file).map_err(failed)?;
    check(&stat)?;
    Ok(Open { file: File::from(file), stamp: *seen, extents: Extents::of(&stat) })
}

fn list(folder: BorrowedFd<'_>) -> rustix::io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The size of what is given, if it is a file.
fn look(path: &Path) -> io::Result<Option<u64>> {
    let meta = std::fs::metadata(path).map_err(|error| about(path, &error))?;
    Ok(meta.is_file().then_some(meta.len()))
}

fn base_name(path: &Path) -> io::Result<Vec<u8>> {
    let base = match path.file_name() {
        Some(name) => Some(name.to_os_string()),
        // `.`, or a path that ends in `..`: what the folder is called.
        None => path
            .canonicalize()
            .map_err(|error| about(path, &error))?
            .file_name()
            .map(ToOwned::to_owned),
    };
    let unnamed = || io::Error::new(io::ErrorKind::InvalidInput, "it has no name to send it under");
    base.map(OsString::into_vec).ok_or_else(|| about(path, &unnamed()))
}

/// An error that names its path, for people to read.
pub(super) fn about(path: &Path, error: &io::Error) -> io::Error {
    let mut name = String::new();
    let _ = escape(path.as_os_str().as_bytes(), &mut name);
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

fn escaped(name: &[u8]) -> String {
    let mut text = String::new();
    let _ = escape(name, &mut text);
    text
}

#[cfg(test)]
mod tests;
