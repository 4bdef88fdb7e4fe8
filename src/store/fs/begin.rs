//! Beginning of a file: the entry under its name, the partial file of an earlier attempt, and what
//! is made.

use std::sync::Arc;

use rustix::io::Errno;

use super::dir::{ATTEMPTS, Folder, Recent};
use super::errno::{self, Failed};
use super::existing::Existing;
use super::file::{FsFile, What, clash, room_of};
use super::shared::Shared;
use super::store::FsStore;
use super::{expiry, mode, partial, room, sys, unnamed};
use crate::types::{Found, Offer, Place, Refusal, RelPath, StoreOperation};

impl FsStore {
    pub(super) fn begin_file(
        &mut self,
        path: &RelPath,
        offer: &Offer,
        place: Place,
    ) -> Result<(FsFile, Found), Refusal> {
        let parent = path.parent();
        let shared = Arc::clone(&self.shared);
        for attempt in 0..ATTEMPTS {
            let still = (attempt > 0).then(|| shared.tree.keep_still());
            let begun = self.try_begin_file(path, offer, place);
            drop(still);
            match begun {
                // Another session has removed the folder, which held nothing yet.
                Err(Failed { errno: Errno::NOENT, .. }) => {}
                Err(failed) => {
                    self.shared.tree.tidy(parent.as_ref());
                    return Err(failed.into());
                }
                Ok(begun) => {
                    if begun.is_err() {
                        self.shared.tree.tidy(parent.as_ref());
                    }
                    return begun;
                }
            }
        }
        Err(Failed::new(StoreOperation::Open, Errno::NOENT).into())
    }

    /// Begins a file. [`Errno::NOENT`]: a folder on the way was removed meanwhile.
    fn try_begin_file(
        &mut self,
        path: &RelPath,
        offer: &Offer,
        place: Place,
    ) -> errno::Result<Result<(FsFile, Found), Refusal>> {
        let parent = path.parent();
        if let Some(begun) = self.begin_near(path, parent.as_ref(), offer, place) {
            return Ok(Ok(begun));
        }
        let tree = &self.shared.tree;
        let folder = match self.find_recent(parent.as_ref()) {
            Some(folder) => folder,
            None => {
                let mut way = match tree.open(parent.as_ref()) {
                    Ok(way) => way,
                    Err(refusal) => return Ok(Err(refusal)),
                };
                if way.depth() + 1 < path.parts().count() {
                    let needed = room_of(offer).unwrap_or(0);
                    if let Err(refusal) = self.options.room.check(&way.folder, needed) {
                        return Ok(Err(refusal));
                    }
                    way = tree.try_make(parent.as_ref(), offer.meta.closed)?;
                }
                self.share(parent, way.folder)
            }
        };
        let keep = self.options.keep_partials;
        let has_partials = self.shared.expiry.look(&folder, keep);
        let begun = self.open_file(path, offer, place, folder.clone());
        // What was begun is locked by now: it is kept, however old it is.
        if has_partials {
            expiry::remove_expired(&folder, keep);
        }
        begun
    }

    /// Begins a file in the folder of the entry before, if it is small and nothing has its name, or if a file has it. `None`: it is
    /// begun in more steps, which say what there is.
    ///
    /// One call sees that no link is on the way and what has the name. That the folder is the one that was kept is proved when
    /// the file has its name; of one that has it already, that is looked at once more by the whole way.
    fn begin_near(
        &mut self,
        path: &RelPath,
        parent: Option<&RelPath>,
        offer: &Offer,
        place: Place,
    ) -> Option<(FsFile, Found)> {
        let recent = self.recent.as_ref().filter(|recent| recent.path.as_ref() == parent)?;
        let folder = recent.folder.clone();
        let keep = self.options.keep_partials;
        let is_settled = place != Place::Replacing
            && !folder.has_escaped()
            && self.shared.expiry.holds_none(folder.id, path.file_name(), keep);
        if !is_settled {
            return None;
        }
        match sys::find_below(&self.shared.tree.root, path.as_bytes()) {
            Ok(found) => {
                let existing = Existing::open_below(&self.shared, &found, path, folder)?;
                drop(found);
                let len = existing.stamp.size;
                let what = What::Existing(existing);
                Some((FsFile::new(path.clone(), room_of(offer), what), Found::Existing(len)))
            }
            Err(Errno::NOENT) if self.is_unnamed(path, offer, place, &folder) => {
                self.make_unnamed(path, parent, offer, folder)
            }
            Err(_) => None,
        }
    }

    /// Returns whether a file is to be made without a name.
    fn is_unnamed(&self, path: &RelPath, offer: &Offer, place: Place, folder: &Folder) -> bool {
        let (name, keep) = (path.file_name(), self.options.keep_partials);
        let Shared { unnamed, expiry, .. } = &*self.shared;
        unnamed.is_possible()
            && unnamed::is_small(offer, place)
            && expiry.holds_none(folder.id, name, keep)
    }

    /// Makes a file without a name. `None`: that cannot be done, or there is no room.
    fn make_unnamed(
        &mut self,
        path: &RelPath,
        parent: Option<&RelPath>,
        offer: &Offer,
        folder: Folder,
    ) -> Option<(FsFile, Found)> {
        let size = offer.meta.size?;
        if !self.take_room(&folder, size) {
            return None;
        }
        let mut mode = mode::of_file(offer.meta.mode, self.shared.umask, None);
        let recent = self.recent.as_mut().filter(|recent| recent.folder.id == folder.id);
        let sets_modes = || sys::sets_modes(&folder);
        if !recent.is_some_and(|recent| *recent.sets_modes.get_or_insert_with(sets_modes)) {
            mode = mode::bits(partial::OWNER_ALONE);
        }
        let partial = unnamed::make(&self.shared, parent, mode)?;
        let what = What::Partial { partial, replaced: None, folder };
        // The room that it takes is taken.
        Some((
            FsFile { path: path.clone(), size: Some(size), what, room: size, end: 0 },
            Found::Fresh,
        ))
    }

    /// Takes room for a small file out of what was free when it was looked last.
    fn take_room(&mut self, folder: &Folder, size: u64) -> bool {
        let needed = size.saturating_add(PAGE);
        if self.room < needed {
            self.room = self.options.room.available(folder).unwrap_or(0).min(room::LOOK);
        }
        let rest = self.room.checked_sub(needed);
        self.room = rest.unwrap_or(self.room);
        rest.is_some()
    }

    fn open_file(
        &mut self,
        path: &RelPath,
        offer: &Offer,
        place: Place,
        folder: Folder,
    ) -> errno::Result<Result<(FsFile, Found), Refusal>> {
        let (name, size) = (path.file_name(), room_of(offer));
        let mut replaced = None;
        if folder.look(name)?.is_some() {
            let Some(existing) = Existing::open(&self.shared, &folder, name)? else {
                return Ok(Err(clash(place)));
            };
            if place != Place::Replacing {
                let len = existing.stamp.size;
                let what = What::Existing(existing);
                return Ok(Ok((FsFile::new(path.clone(), size, what), Found::Existing(len))));
            }
            replaced = existing.file;
        }
        if self.is_unnamed(path, offer, place, &folder)
            && let Some(begun) =
                self.make_unnamed(path, path.parent().as_ref(), offer, folder.clone())
        {
            return Ok(Ok(begun));
        }
        let partial = partial::take(&folder, self.owner, name, offer, self.may_wait())?;
        let len = partial.len;
        if len == 0 {
            self.shared.expiry.note(folder.id, name);
        }
        let held = len.min(partial.allocated);
        if let Err(refusal) =
            self.options.room.check(&folder, size.unwrap_or(0).saturating_sub(held))
        {
            if len == 0 {
                let _ = partial.remove(&folder);
                self.shared.expiry.forget(folder.id, name);
            }
            return Ok(Err(refusal));
        }
        let what = What::Partial { partial, replaced, folder };
        let file = FsFile { path: path.clone(), size, what, room: 0, end: len };
        Ok(Ok(if len == 0 { (file, Found::Fresh) } else { (file, Found::Partial(len)) }))
    }

    /// Returns the handle of a folder that is open already, if it is the same.
    fn share(&mut self, path: Option<RelPath>, folder: Folder) -> Folder {
        match &mut self.recent {
            Some(recent) if recent.folder.id == folder.id && !recent.folder.has_escaped() => {
                recent.path = path;
                recent.folder.clone()
            }
            recent => {
                *recent = Some(Recent { path, folder: folder.clone(), sets_modes: None });
                folder
            }
        }
    }

    /// Returns the folder at `path`, if it is the one that is open already, and stands there still.
    pub(super) fn find_recent(&self, path: Option<&RelPath>) -> Option<Folder> {
        let recent = self.recent.as_ref().filter(|recent| recent.path.as_ref() == path)?;
        self.shared.tree.is_there(path, &recent.folder).then(|| recent.folder.clone())
    }
}

/// Bytes that a file takes beside its content, in round numbers.
const PAGE: u64 = 4096;
