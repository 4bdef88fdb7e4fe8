//! Folders of the receiver's own that nothing of a transfer may enter, or look into.
//!
//! A folder is known by device and inode, however a name leads into it: below another name, or through a bind mount. Links
//! are not followed in any case. What would *lead* to the folder by another way is kept out as well: the links on its path,
//! the files that links in it lead to, and its name where it does not exist yet.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, fstat, openat, stat};
use rustix::io::Errno;

use super::dir::Folder;
use super::fold::fold_part;
use super::stat::Id;
use crate::types::{Escaped, Refusal, RelPath};

/// Places that entries are kept out of.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptOut {
    spots: Arc<[Spot]>,
    /// The folder of the entry that was checked last: it was found to be in none of the places.
    last: Option<Last>,
}

/// Name below a folder that no entry may have, or lie below.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Spot {
    folder: Id,
    /// Parts of the name, folded. None: it is the folder itself.
    rest: Vec<Vec<u8>>,
}

#[derive(Debug, Clone)]
struct Last {
    path: Option<RelPath>,
    begun: Vec<Begun>,
}

/// A spot whose folder is on the way, and the number of parts after it that are as those of the spot.
#[derive(Debug, Clone, Copy)]
struct Begun {
    spot: usize,
    parts: usize,
}

impl KeptOut {
    /// Returns these places and the ones of a folder, which may not exist yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] where `root` is the folder, or lies in it; other errors of the system.
    pub(super) fn and(&self, folder: &Path, root: &Folder) -> io::Result<Self> {
        let mut spots = self.spots.to_vec();
        add(folder, &mut spots)?;
        if let Ok(entries) = fs::read_dir(folder) {
            for entry in entries {
                let path = entry?.path();
                // What it leads to stands for what is in the folder.
                if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
                    add(&path, &mut spots)?;
                }
            }
        }
        if lies_in(root, &spots)? {
            let folder = Escaped(folder.as_os_str().as_bytes());
            let text = format!("nothing may be stored in {folder}: take a folder outside of it");
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        Ok(Self { spots: spots.into(), last: None })
    }

    /// Checks that the way of an entry leads into none of the places, and that it takes the place of nothing that leads
    /// there.
    ///
    /// # Errors
    ///
    /// [`Refusal::KeptOut`] where it does; other refusals where that cannot be looked at.
    pub(super) fn check(
        &mut self,
        root: &Folder,
        path: &RelPath,
        is_folder: bool,
    ) -> Result<(), Refusal> {
        if self.spots.is_empty() {
            return Ok(());
        }
        if is_folder {
            return self.walk(root, Some(path)).map(drop);
        }
        let parent = path.parent();
        let begun = match self.last.take() {
            Some(last) if last.path == parent => last.begun,
            _ => self.walk(root, parent.as_ref())?,
        };
        let is_spot = !self.go_on(&begun, path.file_name())?.is_empty();
        self.last = Some(Last { path: parent, begun });
        // It would stand where a folder is to be made on the way.
        if is_spot { Err(Refusal::KeptOut) } else { Ok(()) }
    }

    /// Walks from the root as far as there are folders, and on by name.
    fn walk(&self, root: &Folder, path: Option<&RelPath>) -> Result<Vec<Begun>, Refusal> {
        let mut begun = self.enter(root.id.inode())?;
        let mut folder = Some(root.clone());
        for part in path.into_iter().flat_map(RelPath::parts) {
            begun = self.go_on(&begun, part)?;
            folder = match folder.take().map(|folder| folder.open(part)) {
                Some(Ok(below)) => {
                    begun.extend(self.enter(below.id.inode())?);
                    Some(below)
                }
                // Nothing is there, or what is entered by nobody.
                Some(Err(failed)) if is_no_folder(failed.errno) => None,
                Some(Err(failed)) => return Err(failed.into()),
                None => None,
            };
        }
        Ok(begun)
    }

    /// Returns the spots of a folder.
    fn enter(&self, folder: Id) -> Result<Vec<Begun>, Refusal> {
        let found = self.spots.iter().enumerate().filter(|(_, spot)| spot.folder == folder);
        if found.clone().any(|(_, spot)| spot.rest.is_empty()) {
            return Err(Refusal::KeptOut);
        }
        Ok(found.map(|(spot, _)| Begun { spot, parts: 0 }).collect())
    }

    /// Returns the spots that are not left by the next part of a name.
    fn go_on(&self, begun: &[Begun], part: &[u8]) -> Result<Vec<Begun>, Refusal> {
        if begun.is_empty() {
            return Ok(Vec::new());
        }
        let part = fold_part(part);
        let mut next = Vec::new();
        for &Begun { spot, parts } in begun {
            let rest = &self.spots[spot].rest;
            if rest.get(parts) != Some(&part) {
                continue;
            }
            if parts + 1 == rest.len() {
                return Err(Refusal::KeptOut);
            }
            next.push(Begun { spot, parts: parts + 1 });
        }
        Ok(next)
    }
}

impl Spot {
    fn new<'n>(folder: Id, names: impl IntoIterator<Item = &'n OsString>) -> Self {
        let rest = names.into_iter().map(|name| fold_part(name.as_bytes())).collect();
        Self { folder, rest }
    }
}

/// Adds the place that a path leads to, and each link on the way.
fn add(path: &Path, spots: &mut Vec<Spot>) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let mut todo: VecDeque<OsString> = parts(&path);
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = todo.pop_front() {
        if part == ".." {
            here.pop();
            continue;
        }
        let above = fs::metadata(&here)?;
        let folder = Id::new(above.dev(), above.ino());
        let below = here.join(&part);
        match fs::symlink_metadata(&below) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                todo.push_front(part);
                spots.push(Spot::new(folder, todo.iter().take_while(|part| *part != "..")));
                return Ok(());
            }
            Ok(meta) if meta.is_symlink() => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(io::Error::from(Errno::LOOP));
                }
                spots.push(Spot::new(folder, [&part]));
                let target = fs::read_link(&below)?;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                for part in parts(&target).into_iter().rev() {
                    todo.push_front(part);
                }
            }
            Ok(_) => {
                if todo.is_empty() {
                    spots.push(Spot::new(folder, [&part]));
                }
                here = below;
            }
            Err(error) => return Err(error),
        }
    }
    let meta = fs::metadata(&here)?;
    if meta.is_dir() {
        spots.push(Spot::new(Id::new(meta.dev(), meta.ino()), []));
    }
    Ok(())
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let names = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        Component::ParentDir => Some(OsStr::new("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.map(OsStr::to_owned).collect()
}

/// Returns whether a folder is one of the places, or is in one.
fn lies_in(root: &Folder, spots: &[Spot]) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = openat(root, c".", flags, Mode::empty())?;
    let top = Id::of(&stat("/")?);
    loop {
        let id = Id::of(&fstat(&here)?);
        if spots.iter().any(|spot| spot.folder == id && spot.rest.is_empty()) {
            return Ok(true);
        }
        let above = match openat(&here, c"..", flags, Mode::empty()) {
            // Nobody may look further up from there: the name says where it is.
            Err(Errno::ACCESS | Errno::PERM) => return Ok(false),
            above => above?,
        };
        if id == top || Id::of(&fstat(&above)?) == id {
            return Ok(false);
        }
        here = above;
    }
}

const fn is_no_folder(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

/// Most links on a path, as systems have it.
const MOST_LINKS: u32 = 40;
