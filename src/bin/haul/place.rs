//! The file that the plain wire is received into, under a name of its own until all has come.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use haul::{Durability, IfExists};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::exit::{Code, Stop};
use crate::explain::{self, shown};

/// A partial file beside the place of the file, which is gone unless it is kept. It is locked for as long as it is written.
pub(crate) struct Place {
    path: PathBuf,
    folder: PathBuf,
    partial: PathBuf,
    pub(crate) file: File,
    kept: bool,
}

impl Place {
    pub(crate) fn new(path: &Path, existing: IfExists) -> Result<Self, Stop> {
        let local = |text: String| Stop::new(Code::Local, text);
        let name = shown(path);
        if path.file_name().is_none() {
            return Err(local(format!("{name} is not the name of a file")));
        }
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => {
                return Err(local(format!("{name} is a folder; name the file to receive into")));
            }
            Ok(_) if existing != IfExists::Replace => return Err(exists(path)),
            Ok(meta) if !meta.is_file() => return Err(no_file(path)),
            // What is replaced may be private, and so is what comes in its place, until it has the mode of that.
            Ok(_) => drop(options.mode(OWNER_ALONE)),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(local(format!("{name}: {}", explain::system(&error))));
            }
            _ => {}
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).to_path_buf();
        sweep(&folder);
        for number in 0..ATTEMPTS {
            let name = format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id());
            let partial = folder.join(name);
            match options.open(&partial) {
                // Until it is locked, it is like one that a killed process left, and may be swept.
                Ok(file) if is_swept(&partial, &file) => {}
                Ok(file) => {
                    return Ok(Self { path: path.into(), folder, partial, file, kept: false });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let reason = explain::system(&error);
                    return Err(local(format!("cannot write in {}: {reason}", shown(&folder))));
                }
            }
        }
        Err(local(format!("{} holds too many {PREFIX}*{SUFFIX}", shown(&folder))))
    }

    /// Makes it durable and gives it its name, in one step, and in place of nothing but what may be replaced. What
    /// somebody has put in its place does not get the name.
    pub(crate) fn keep(mut self, existing: IfExists, durability: Durability) -> Result<(), Stop> {
        if existing == IfExists::Replace {
            match fs::symlink_metadata(&self.path) {
                Ok(old) if old.is_file() => {
                    dress(&self.file, &old).map_err(|error| self.failed(&error))?;
                }
                Ok(_) => return Err(no_file(&self.path)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        let synced = match durability {
            Durability::Received => Ok(()),
            Durability::Flushed => self.file.sync_data(),
            _ => self.file.sync_all(),
        };
        synced.map_err(|error| self.failed(&error))?;
        if !is_named(&self.partial, &self.file) {
            return Err(self.exchanged());
        }
        if existing == IfExists::Replace {
            fs::rename(&self.partial, &self.path).map_err(|error| self.failed(&error))?;
        } else {
            match name(&self.partial, &self.path, |partial| remove(partial, &self.file)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(exists(&self.path));
                }
                named => named.map_err(|error| self.failed(&error))?,
            }
        }
        if !is_named(&self.path, &self.file) {
            // It was exchanged just then.
            let _ = rename_to_free(&self.path, &self.partial);
            return Err(self.exchanged());
        }
        self.kept = true;
        if durability == Durability::Synced {
            let folder = File::open(&self.folder).and_then(|folder| folder.sync_all());
            folder.map_err(|error| {
                let (shown, reason) = (shown(&self.path), explain::system(&error));
                let message =
                    format!("{shown} is saved, but its name is perhaps not durable: {reason}");
                Stop::new(Code::Local, message)
            })?;
        }
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> Stop {
        let reason = explain::system(error);
        Stop::new(Code::Local, format!("cannot save {}: {reason}", shown(&self.path)))
    }

    fn exchanged(&self) -> Stop {
        let (path, partial) = (shown(&self.path), shown(&self.partial));
        let message = format!("cannot save {path}: somebody has exchanged {partial}");
        Stop::new(Code::Local, message)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is swept by the next run.
            let _ = remove(&self.partial, &self.file);
        }
    }
}

/// Removes the name of a file, unless something else has it by now.
fn remove(partial: &Path, file: &File) -> io::Result<()> {
    if is_named(partial, file) { fs::remove_file(partial) } else { Ok(()) }
}

/// Gives a file the mode and the group of the one that it is about to replace. Where this user may not give it that
/// group, its own gets no permission, and others none that the old group had not.
fn dress(file: &File, old: &Metadata) -> io::Result<()> {
    let mode = old.mode() & 0o777;
    let has_group = file.metadata()?.gid() == old.gid();
    let keeps_group = has_group || fchown(file, None, Some(old.gid())).is_ok();
    let kept = if keeps_group { mode } else { mode & (0o700 | (mode & 0o070) >> 3) };
    file.set_permissions(Permissions::from_mode(kept))
}

/// Gives the file its name, if that is free; there is no moment between the question and the deed.
fn name(
    partial: &Path,
    path: &Path,
    remove: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    match fs::hard_link(partial, path) {
        Ok(()) => {
            // The name stands, which is what counts. What cannot be removed now is swept by the next run.
            let _ = remove(partial);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // A file system without hard links.
        Err(_) => rename_to_free(partial, path),
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_to_free(partial: &Path, path: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, partial, CWD, path, RenameFlags::NOREPLACE).map_err(io::Error::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_to_free(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn exists(path: &Path) -> Stop {
    let shown = shown(path);
    Stop::new(Code::Refused, format!("{shown} exists already, and stays; see --existing replace"))
}

fn no_file(path: &Path) -> Stop {
    Stop::new(Code::Local, format!("{} is not a regular file, and stays", shown(path)))
}

/// Removes what runs left here that were killed: partial files of this user that nobody has locked. On a file system
/// without locks all stay.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map_while(Result::ok).filter(|entry| is_partial(&entry.file_name())) {
        let path = entry.path();
        // Neither following a link nor waiting for a FIFO.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = open(&path, flags, Mode::empty()).map(File::from) else { continue };
        let is_ours =
            file.metadata().is_ok_and(|meta| meta.is_file() && meta.uid() == geteuid().as_raw());
        let is_idle = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        if is_ours && is_idle && is_named(&path, &file) {
            // What cannot be removed is no reason to receive nothing.
            let _ = fs::remove_file(&path);
        }
    }
}

/// Locks a new partial file, and returns whether another run has removed it, or is about to.
fn is_swept(path: &Path, file: &File) -> bool {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => !is_named(path, file),
        Err(Errno::WOULDBLOCK) => true,
        // A file system without locks: nobody sweeps there.
        Err(_) => false,
    }
}

/// Returns whether the path leads to this very file.
fn is_named(path: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(own)) => (named.dev(), named.ino()) == (own.dev(), own.ino()),
        _ => false,
    }
}

/// Returns whether it is the name of a partial file: `.haul-plain-<process>-<number>.part`.
fn is_partial(name: &OsStr) -> bool {
    let middle = name.as_bytes().strip_prefix(PREFIX.as_bytes());
    let middle = middle.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
    let Some(middle) = middle else { return false };
    let mut numbers = middle.split(|&byte| byte == b'-');
    let mut is_number = || {
        numbers.next().is_some_and(|text| !text.is_empty() && text.iter().all(u8::is_ascii_digit))
    };
    is_number() && is_number() && numbers.next().is_none()
}

const PREFIX: &str = ".haul-plain-";
const SUFFIX: &str = ".part";

/// Mode of a file that nobody else may see yet.
const OWNER_ALONE: u32 = 0o600;

/// Names that are tried for a partial file: others are in use, or another user's.
const ATTEMPTS: u32 = 1000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn place_that_cannot_be_looked_at_is_an_error_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for name in ["loop/file", "file/below", &"n".repeat(300)] {
            for existing in [IfExists::Refuse, IfExists::Replace] {
                let stop = Place::new(&dir.path().join(name), existing).err().unwrap();
                assert_eq!(stop.code, Code::Local, "{}", stop.message);
                assert!(stop.message.contains(name), "{}", stop.message);
            }
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn file_stands_though_its_partial_name_cannot_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (partial, path) = (dir.path().join(".haul-plain-1-0.part"), dir.path().join("x"));
        fs::write(&partial, "content").unwrap();
        let denied = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
        assert!(name(&partial, &path, denied).is_ok());
        assert_eq!(fs::read(&path).unwrap(), b"content");
        sweep(dir.path());
        assert!(path.exists() && !partial.exists(), "the next run removes it");
        fs::write(&partial, "other").unwrap();
        let taken = name(&partial, &path, denied).map_err(|error| error.kind());
        assert_eq!(taken, Err(io::ErrorKind::AlreadyExists));
    }

    #[test]
    fn place_that_replaces_a_file_has_its_mode_and_is_nobody_elses_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for mode in [0o600, 0o640, 0o644, 0o666, 0o4755] {
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let place = Place::new(&path, IfExists::Replace).unwrap();
            let partial = fs::metadata(&place.partial).unwrap().mode();
            assert_eq!(partial & 0o777, 0o600, "{mode:o}");
            place.keep(IfExists::Replace, Durability::Received).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, mode & 0o777, "{mode:o}");
            assert_eq!(fs::read(&path).unwrap(), b"", "{mode:o}: it is the new one");
        }
        fs::remove_file(&path).unwrap();
        let place = Place::new(&path, IfExists::Replace).unwrap();
        let (fifo, mode) = (rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        let stop = place.keep(IfExists::Replace, Durability::Received).unwrap_err();
        assert!(stop.message.contains("is not a regular file"), "{}", stop.message);
    }

    #[test]
    fn place_that_somebody_exchanges_gives_the_name_to_nothing_and_removes_nothing() {
        for existing in [IfExists::Refuse, IfExists::Replace] {
            let dir = tempfile::tempdir().unwrap();
            let (path, aside) = (dir.path().join("x"), dir.path().join("aside"));
            if existing == IfExists::Replace {
                fs::write(&path, "old").unwrap();
            }
            let place = Place::new(&path, existing).unwrap();
            fs::write(&aside, "foreign").unwrap();
            fs::rename(&aside, &place.partial).unwrap();
            let partial = place.partial.clone();
            let stop = place.keep(existing, Durability::Received).unwrap_err();
            assert!(stop.message.contains("somebody has exchanged"), "{}", stop.message);
            let expected = (existing == IfExists::Replace).then(|| b"old".to_vec());
            assert_eq!(fs::read(&path).ok(), expected);
            assert_eq!(fs::read(partial).unwrap(), b"foreign");
        }
    }

    #[test]
    fn place_sweeps_what_killed_runs_left_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let kept = [
            "a.jpg",
            ".haul-plain-x-0.part",
            ".haul-plain-1-0-0.part",
            ".haul-plain-1.part",
            ".haul-plain--0.part",
            ".haul-plain-1-0.partial",
            ".haul-0123456789abcdef.part",
        ];
        kept.iter().for_each(|name| fs::write(at(name), "kept").unwrap());
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("file"), "kept").unwrap();
        symlink(outside.path().join("file"), at(".haul-plain-2-0.part")).unwrap();
        fs::create_dir(at(".haul-plain-3-0.part")).unwrap();
        let fifo = rustix::fs::FileType::Fifo;
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, at(".haul-plain-5-0.part"), fifo, mode, 0).unwrap();
        // One that is written to, and its name is known.
        let busy = Place::new(&at("new"), IfExists::Refuse).unwrap();
        for left in [".haul-plain-4-0.part", ".haul-plain-4-12.part"] {
            fs::write(at(left), "left").unwrap();
        }
        let more = Place::new(&at("more"), IfExists::Refuse).unwrap();
        let names = |dir: &Path| {
            let entries = fs::read_dir(dir).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            names.sort();
            names
        };
        let mut expected: Vec<_> = kept.iter().map(|name| at(name)).collect();
        let others = [".haul-plain-2-0.part", ".haul-plain-3-0.part", ".haul-plain-5-0.part"];
        expected.extend(others.iter().map(|name| at(name)));
        expected.extend([busy.partial.clone(), more.partial.clone()]);
        expected.sort();
        assert_eq!(names(dir.path()), expected);
        assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"kept");
        // A file that was named while its partial name had not gone is left whole.
        busy.keep(IfExists::Refuse, Durability::Received).unwrap();
        fs::hard_link(at("new"), at(".haul-plain-6-0.part")).unwrap();
        sweep(dir.path());
        assert!(at("new").exists() && !at(".haul-plain-6-0.part").exists());
    }
}
