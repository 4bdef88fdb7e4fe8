//! Files and folders as a source: walked lazily, opened so that nothing else is read in their place.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use super::ahead::{self, Ahead};
use super::candidate::{Candidate, CandidateKind, Filter};
use super::holes::Extents;
use super::mode;
use super::sizes::{Sizes, has_blocks};
use super::stat::{self, Id, Stamp};
use super::target::stays_inside;
use super::walk::{Folder, KEPT, Links, Walk};
use crate::store::io_error::withdrawal_of;
use crate::store::{Source, Unsendable};
use crate::types::escape::escape;
use crate::types::{Meta, NameError, RelPath, Withdrawal};

/// Source of files and folders of the file system.
///
/// Each path that it is given is a file or a folder; its base name becomes the first part of the names that
/// travel. Folders are walked while they are sent: for each level, up to 4096 names are in memory. They go in the order
/// of their names, each 4096 of them in larger folders. A folder is offered after what it holds.
///
/// - A path that is given and is a link is followed. What [`Symlinks`] sets holds for links below it.
/// - What a [filter](FsSource::filter) does not want is left out without a word.
/// - A file that is [excepted](FsSource::except) is reported with [`Withdrawal::Secret`].
/// - FIFOs, sockets and devices are not opened; they are reported with [`Withdrawal::Kind`].
/// - A name that cannot travel is reported with [`Withdrawal::Name`] or [`Withdrawal::NameTooLong`]; what is below
///   such a folder is not walked. Partial files of haul's receivers are reported with [`Withdrawal::Partial`].
/// - What cannot be read is reported, and the walk goes on.
/// - A file that is not what the walk saw (another inode, size or time) when it is opened, or when all of it was
///   read, is withdrawn with [`Withdrawal::Changed`]. So nothing outside the tree is read, though somebody put a
///   link in the place of a folder of the tree meanwhile.
/// - However deep a tree is, 16 of its folders are kept open. Where the process, or the system, has no file descriptor left,
///   the source closes folders, and then files that it reads, which are opened again when they are needed. An entry is
///   reported with [`Withdrawal::Unreadable`] for that once it has none open.
/// - Files of `/proc`, `/sys` and the like, of which the system does not know the size, are offered without one and read to their
///   end. One of another file system that takes no blocks there and holds more than its size is withdrawn with
///   [`Withdrawal::FalseSize`].
/// - What lies in a hole of a sparse file is not read, where the file system tells (`SEEK_DATA`): it is zeros.
#[derive(Debug)]
pub struct FsSource {
    given: Vec<Given>,
    /// The folders on the way to where the walk is.
    walk: Walk,
    /// Open files of readers that are alive, or were.
    readers: Vec<Weak<Mutex<Option<Open>>>>,
    /// Number of the paths that were begun: the last of them is being walked.
    number: usize,
    symlinks: Symlinks,
    filter: Option<Filter>,
    except: Vec<Id>,
    skips_empty_folders: bool,
    total: Option<u64>,
    sizes: Sizes,
    ahead: Ahead,
    #[cfg(test)]
    hook: Arc<super::store::tests::Hook>,
}

/// Treatment of symbolic links below the paths that a source was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Symlinks {
    /// Reports them with [`Withdrawal::Link`] and sends nothing, which counts as no failure. The default.
    #[default]
    Skip,
    /// Sends what they lead to, wherever that is, under their name. A link to a folder that it stands in is
    /// reported with [`Withdrawal::LinkEscapes`].
    Follow,
    /// Sends them as links, where their target is relative and stays inside the tree; others are reported with
    /// [`Withdrawal::LinkEscapes`].
    Preserve,
}

/// Key by which [`FsSource`] finds an entry again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsKey {
    path: PathBuf,
    links: Links,
    /// Stamp that the walk saw; `None` for what has no content.
    stamp: Option<Stamp>,
}

/// A file that [`FsSource`] reads.
#[derive(Debug)]
pub struct FsReader {
    /// Shared with the source, which may close it. `None`: the entry is a folder or a link, without content.
    open: Option<(Arc<Mutex<Option<Open>>>, Stamp)>,
    path: PathBuf,
    links: Links,
}

#[derive(Debug)]
struct Open {
    file: File,
    extents: Extents,
    /// True if it was opened when the walk found it.
    is_ahead: bool,
}

#[derive(Debug, Clone)]
struct Given {
    path: PathBuf,
    name: Vec<u8>,
}

impl FsSource {
    /// Sends the files and folders with these paths.
    ///
    /// # Errors
    ///
    /// - A path that does not exist, cannot be looked at, or has no base name (`/`): the message names it.
    /// - [`io::ErrorKind::InvalidInput`]: two paths have one base name. The message names both.
    pub fn new<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let mut given: Vec<Given> = Vec::new();
        let mut taken = HashMap::new();
        let mut total = Some(0_u64);
        for path in paths {
            let path = path.as_ref();
            let found = look(path)?;
            total = total.and_then(|total| total.checked_add(found?));
            let name = base_name(path)?;
            if let Some(first) = taken.insert(name.clone(), given.len()) {
                return Err(namesakes(&given[first].path, path, &name));
            }
            given.push(Given { path: path.into(), name });
        }
        Ok(Self::of(given, total))
    }

    /// Sends one file or folder under another name.
    ///
    /// # Errors
    ///
    /// If the path does not exist, or cannot be looked at: the message names it.
    pub fn named(path: impl AsRef<Path>, name: &RelPath) -> io::Result<Self> {
        Self::with_names([(path, name.clone())])
    }

    /// Sends files and folders, each under the name that stands beside its path. Names may have several parts; no two
    /// may be the same.
    ///
    /// # Errors
    ///
    /// A path that does not exist, or cannot be looked at: the message names it.
    pub fn with_names<P: AsRef<Path>>(
        named: impl IntoIterator<Item = (P, RelPath)>,
    ) -> io::Result<Self> {
        let mut given = Vec::new();
        let mut total = Some(0_u64);
        for (path, name) in named {
            let path = path.as_ref();
            let found = look(path)?;
            total = total.and_then(|total| total.checked_add(found?));
            given.push(Given { path: path.into(), name: name.as_bytes().to_vec() });
        }
        Ok(Self::of(given, total))
    }

    fn of(given: Vec<Given>, total: Option<u64>) -> Self {
        let (walk, readers, number) = (Walk::default(), Vec::new(), 0);
        Self {
            given,
            walk,
            readers,
            number,
            symlinks: Symlinks::Skip,
            filter: None,
            except: Vec::new(),
            skips_empty_folders: false,
            total,
            sizes: Sizes::default(),
            ahead: Ahead::default(),
            #[cfg(test)]
            hook: Arc::default(),
        }
    }

    /// Sets what is done with symbolic links.
    #[must_use]
    pub const fn symlinks(mut self, symlinks: Symlinks) -> Self {
        self.symlinks = symlinks;
        self
    }

    /// Sets what decides which entries are sent: those for which `admits` gives true. A folder that is not wanted is
    /// neither opened nor walked. It is not asked about the paths that were given: these are wanted.
    ///
    /// It is asked once for each entry of a walk, in the order of the walk, folders before what they hold.
    ///
    /// ```no_run
    /// use haul::store::fs::FsSource;
    ///
    /// let source = FsSource::new(["project"])?.filter(|found| found.path() != b"target");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn filter(mut self, admits: impl FnMut(&Candidate<'_>) -> bool + Send + 'static) -> Self {
        self.filter = Some(Filter(Box::new(admits)));
        self
    }

    /// Leaves out folders of which nothing else is sent, as where a filter wants none of what they hold. Without this
    /// they are sent as all others.
    #[must_use]
    pub const fn skip_empty_folders(mut self) -> Self {
        self.skips_empty_folders = true;
        self
    }

    /// Leaves out a file by its device and inode, however the walk comes to it: by another name, a second name, a link that
    /// is followed, or as one of the paths that were given. It is reported with [`Withdrawal::Secret`], and not opened to be
    /// sent. Several calls add up.
    #[must_use]
    pub fn except(mut self, device: u64, inode: u64) -> Self {
        self.except.push(Id::new(device, inode));
        self
    }

    /// Looks at one name; `Ok(None)` for a folder, which is walked next.
    fn visit(
        &mut self,
        path: PathBuf,
        name: Vec<u8>,
        mut links: Links,
        may_open: bool,
    ) -> Result<Option<(FsKey, Meta)>, Unsendable> {
        // What is given is looked up from the current folder, all else from the folder that it is in, so that no
        // part of the way can be exchanged.
        let parent = self.walk.handle();
        let part = match self.walk.depth() {
            0 => path.as_os_str(),
            _ => path.file_name().unwrap_or_default(),
        };
        let unsendable = |reason| Unsendable::new(escaped(&name), reason);
        let failed = |errno: Errno| unsendable(withdrawal_of(&errno.into()));
        let mut asked = false;
        let mut opened = None;
        if may_open {
            let kind = FileType::RegularFile;
            if !admits(&mut self.filter, &self.walk, self.number, &name, kind) {
                return Ok(None);
            }
            asked = true;
            self.step();
            opened = ahead::open(parent, part, || self.step());
        }
        self.step();
        let mut stat = match &opened {
            Some((_, stat)) => *stat,
            None => statat(parent, part, links.at()).map_err(failed)?,
        };
        let mut escaped = None;
        if stat::kind(&stat) == FileType::Symlink && self.symlinks == Symlinks::Follow {
            links = Links::Followed;
            self.step();
            match statat(parent, part, links.at()) {
                Ok(target) => stat = target,
                Err(errno) => escaped = Some(errno),
            }
        }
        let kind = stat::kind(&stat);
        if !asked && !admits(&mut self.filter, &self.walk, self.number, &name, kind) {
            return Ok(None);
        }
        if let Some(errno) = escaped {
            return Err(failed(errno));
        }
        if self.except.contains(&Id::of(&stat)) {
            return Err(unsendable(Withdrawal::Secret));
        }
        let rel = RelPath::parse(&name).map_err(|error| match error {
            NameError::TooLong { .. } | NameError::TooDeep { .. } => {
                unsendable(Withdrawal::NameTooLong)
            }
            // A part of a name that was accepted so far: the last one.
            NameError::Reserved if self.walk.depth() > 0 => unsendable(Withdrawal::Partial),
            _ => unsendable(Withdrawal::Name),
        })?;
        if stat::kind(&stat) == FileType::Symlink {
            if self.symlinks != Symlinks::Preserve {
                return Err(unsendable(Withdrawal::Link));
            }
            self.step();
            let target = rustix::fs::readlinkat(parent, part, Vec::new()).map_err(failed)?;
            let target = target.into_bytes();
            // Counted below the path that was given: what is beside it is not sent.
            if !stays_inside(self.walk.depth().saturating_sub(1), &target) {
                return Err(unsendable(Withdrawal::LinkEscapes));
            }
            let meta = Meta::symlink(rel, target.into())
                .modified(stat::modified(&stat))
                .mode(Some(mode::bits(stat.st_mode)))
                .closed(self.walk.closed());
            return Ok(Some((FsKey { path, links, stamp: None }, meta)));
        }
        match stat::kind(&stat) {
            FileType::RegularFile => {
                let size = self.sizes.of(&path, &stat);
                let meta = Meta::file(rel, size)
                    .data(stat::data_size(&stat))
                    .modified(stat::modified(&stat))
                    .mode(Some(mode::bits(stat.st_mode)))
                    .closed(self.walk.closed());
                let stamp = Stamp::of(&stat);
                self.ahead.found(stamp, opened);
                Ok(Some((FsKey { path, links, stamp: Some(stamp) }, meta)))
            }
            FileType::Directory => {
                self.step();
                let opened = loop {
                    match Folder::open(self.walk.handle(), part, links) {
                        Err(errno) if is_lack(errno) && self.give_back(true) => {}
                        opened => break opened.map_err(failed)?,
                    }
                };
                if self.walk.contains(Id::of(&opened.1)) {
                    return Err(unsendable(Withdrawal::LinkEscapes));
                }
                let above = self.walk.closed();
                self.walk.enter(Folder::new(opened, path, links, rel, above));
                Ok(None)
            }
            _ => Err(unsendable(Withdrawal::Kind)),
        }
    }

    /// Opens a file if it is the one that the walk saw.
    fn open_file(&self, path: &Path, links: Links, seen: &Stamp) -> Result<Open, Withdrawal> {
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
        self.step();
        check(&statat(CWD, path, links.at()).map_err(failed)?)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        self.step();
        let file = openat(CWD, path, flags | links.open(), Mode::empty()).map_err(failed)?;
        self.step();
        let stat = fstat(&file).map_err(failed)?;
        check(&stat)?;
        Ok(Open { file: File::from(file), extents: Extents::of(&stat), is_ahead: false })
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests have a hook here")]
    const fn step(&self) {}

    /// Tests put a hand between any two system calls.
    #[cfg(test)]
    fn step(&self) {
        let _ = self.hook.call(super::shared::Step::Call);
    }

    /// Opens the folder again that the walk goes on in, if it was closed; a reason if it is there no more.
    fn reach(&mut self) -> Result<(), Withdrawal> {
        loop {
            match self.walk.reach(KEPT) {
                Err(errno) if is_lack(errno) && self.close_reader() => {}
                Err(errno) if is_lack(errno) => {
                    self.walk.close(false);
                    return self.walk.reach(1).map_err(|errno| withdrawal_of(&errno.into()));
                }
                reached => return reached.map_err(|errno| withdrawal_of(&errno.into())),
            }
        }
    }

    /// Returns what became of the folder that is walked to its end.
    fn leave(&mut self) -> Option<Result<(FsKey, Meta), Unsendable>> {
        let folder = self.walk.leave()?;
        if self.skips_empty_folders && !folder.is_filled {
            return None;
        }
        let stat = match folder.stat() {
            Ok(stat) => stat,
            Err(errno) => {
                let reason = withdrawal_of(&errno.into());
                return Some(Err(Unsendable::new(folder.name.to_string(), reason)));
            }
        };
        let modified = stat::modified(&stat);
        let meta =
            Meta::directory(folder.name).modified(modified).mode(Some(mode::bits(stat.st_mode)));
        let meta = meta.closed(self.walk.closed());
        Some(Ok((FsKey { path: folder.path, links: folder.links, stamp: None }, meta)))
    }

    /// Closes what can be opened again, on fd exhaustion. `false`: nothing is open.
    fn give_back(&mut self, is_walking: bool) -> bool {
        self.ahead.close() || self.walk.close(is_walking) || self.close_reader()
    }

    /// Closes the file that was opened first, of those that are read.
    fn close_reader(&mut self) -> bool {
        self.readers.retain(|reader| reader.strong_count() > 0);
        let mut readers = self.readers.iter().filter_map(Weak::upgrade);
        // One for which this is done is locked, and closed.
        readers.any(|reader| reader.try_lock().is_ok_and(|mut open| open.take().is_some()))
    }
}

impl Source for FsSource {
    type Key = FsKey;
    type Reader = FsReader;

    /// Walks the paths that were given anew.
    fn rewind(&mut self) -> io::Result<()> {
        self.walk.clear();
        self.number = 0;
        Ok(())
    }

    fn next_entry(&mut self) -> Option<Result<(FsKey, Meta), Unsendable>> {
        let may_open = self.ahead.go_on();
        loop {
            if let Err(reason) = self.reach() {
                let gone = self.walk.leave()?;
                return Some(Err(Unsendable::new(gone.name.to_string(), reason)));
            }
            let found = match self.walk.last_mut() {
                None => {
                    let Given { path, name } = self.given.get(self.number)?.clone();
                    self.number += 1;
                    self.visit(path, name, Links::Followed, false)
                }
                Some(folder) => match folder.listing.next() {
                    Some(Err(errno)) => {
                        Err(Unsendable::new(folder.name.to_string(), withdrawal_of(&errno.into())))
                    }
                    Some(Ok((part, kind))) => {
                        let name = [folder.name.as_bytes(), b"/", part.as_bytes()].concat();
                        let path = folder.path.join(part);
                        let may_open = may_open && kind == FileType::RegularFile;
                        self.visit(path, name, Links::Refused, may_open)
                    }
                    None => self.leave().transpose(),
                },
            };
            if let Some(entry) = found.transpose() {
                if let Some(folder) = self.walk.last_mut() {
                    folder.is_filled |= entry.is_ok();
                }
                return Some(entry);
            }
        }
    }

    fn open(&mut self, key: &FsKey, _meta: &Meta) -> Result<FsReader, Withdrawal> {
        let FsKey { path, links, stamp } = key;
        let ahead = stamp.and_then(|stamp| self.ahead.take(stamp));
        let open = match stamp {
            Some(stamp) if let Some((file, stat)) = ahead => {
                let open = Open { file, extents: Extents::of(&stat), is_ahead: true };
                Some((Arc::new(Mutex::new(Some(open))), *stamp))
            }
            Some(stamp) => loop {
                match self.open_file(path, *links, stamp) {
                    // Its caller closes readers in the order in which it does not need them.
                    Err(reason) if reason.is_fd_exhaustion() && self.walk.close(false) => {}
                    opened => break Some((Arc::new(Mutex::new(Some(opened?))), *stamp)),
                }
            },
            None => None,
        };
        if let Some((open, _)) = &open {
            self.readers.retain(|reader| reader.strong_count() > 0);
            self.readers.push(Arc::downgrade(open));
        }
        Ok(FsReader { open, path: path.clone(), links: *links })
    }

    fn read_at(
        &mut self,
        reader: &mut FsReader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let Some((open, stamp)) = &reader.open else { return Ok(0) };
        self.step();
        let mut open = lock(open);
        let Open { file, extents, .. } = match &mut *open {
            Some(open) => open,
            closed => loop {
                match self.open_file(&reader.path, reader.links, stamp) {
                    Err(reason) if reason.is_fd_exhaustion() && self.give_back(false) => {}
                    opened => break closed.insert(opened.map_err(error_of)?),
                }
            },
        };
        extents.read_at(file, offset, buffer)
    }

    fn finish(&mut self, reader: &mut FsReader, meta: &Meta) -> Result<(), Withdrawal> {
        let Some((_, stamp)) = &reader.open else { return Ok(()) };
        let failed = |errno: Errno| withdrawal_of(&errno.into());
        self.step();
        let found = match reader.read_ahead() {
            Some(found) => found,
            // What is open is the file that the walk saw: if that has the name, this says how both are.
            None => statat(CWD, &reader.path, reader.links.at()),
        };
        let found = found.map_err(failed)?;
        if Stamp::of(&found) != *stamp {
            return Err(Withdrawal::Changed);
        }
        // What takes no blocks may hold more than its system reports, as where content is made when it is read.
        match meta.size {
            Some(size) if !has_blocks(&found) => match self.read_at(reader, size, &mut [0]) {
                Ok(0) => Ok(()),
                Ok(_) => Err(Withdrawal::FalseSize),
                Err(error) => Err(withdrawal_of(&error)),
            },
            _ => Ok(()),
        }
    }

    fn total(&self) -> Option<u64> {
        self.total
    }
}

impl FsReader {
    /// Looks at what is open, if it was opened when the walk found it. It was read within moments: a name that it lost in these
    /// shows in the time at which its inode changed, as does what was written to it.
    fn read_ahead(&self) -> Option<rustix::io::Result<Stat>> {
        let (open, _) = self.open.as_ref()?;
        let open = lock(open);
        open.as_ref().filter(|open| open.is_ahead).map(|open| fstat(&open.file))
    }
}

/// Asks the filter about an entry below a path that was given.
fn admits(
    filter: &mut Option<Filter>,
    walk: &Walk,
    number: usize,
    name: &[u8],
    kind: FileType,
) -> bool {
    let (Some(root), Some(Filter(admits))) = (walk.first(), filter) else { return true };
    let path = name.get(root.name.as_bytes().len() + 1..).unwrap_or_default();
    let kind = CandidateKind::of(kind);
    admits(&Candidate { root: number - 1, path, kind, folder: walk.handle() })
}

/// Returns the error of which [`withdrawal_of`] makes this reason.
fn error_of(reason: Withdrawal) -> io::Error {
    match reason {
        Withdrawal::Vanished => io::ErrorKind::NotFound.into(),
        Withdrawal::Denied => io::ErrorKind::PermissionDenied.into(),
        Withdrawal::Kind => io::ErrorKind::IsADirectory.into(),
        Withdrawal::Unreadable { code } => {
            io::Error::from_raw_os_error(i32::try_from(code).unwrap_or_default())
        }
        _ => Errno::STALE.into(),
    }
}

/// Returns whether the process, or the system, has no file descriptor left.
fn is_lack(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE)
}

fn lock(open: &Mutex<Option<Open>>) -> MutexGuard<'_, Option<Open>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the size of what is given, if it is a file.
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

/// Returns the error of two paths that have one base name.
fn namesakes(first: &Path, second: &Path, name: &[u8]) -> io::Error {
    let [first, second] = [first, second].map(|path| escaped(path.as_os_str().as_bytes()));
    let text = format!("{first} and {second} would both be sent as {}", escaped(name));
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Returns an error that names its path, for people to read.
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
