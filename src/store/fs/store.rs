//! A folder as a store.
#![expect(clippy::disallowed_methods, reason = "this is where files are written")]

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, openat, readlinkat};
use rustix::io::Errno;

use super::claim::Claim;
use super::dir::{Folder, Recent, Tree};
use super::errno::{During, Failed};
use super::existing::{Existing, Trouble};
use super::expiry::Expiry;
use super::file::{FsFile, What, clash, end_of, stat_refusal};
use super::fold::fold;
use super::hidden::{self, HiddenNames};
use super::job::Job;
use super::kept_out::KeptOut;
use super::options::{Links, Options};
use super::order::{Order, Turns};
use super::partial::{self, Owner, Partial};
use super::pool::Pool;
use super::reserve::Reserve;
use super::shared::{Shared, Unnamed};
use super::source::about;
use super::target::stays_inside;
use super::{holes, mode, stat};
use crate::store::names::Taken;
use crate::store::{Ended, Store};
use crate::types::{
    Commit, EntryId, FileStat, Found, Kind, Meta, Offer, Place, PublicKey, Refusal, RelPath,
    StoreOperation, Ticket, TransferId,
};

/// Store of entries in a folder of the file system, which touches nothing outside it.
///
/// The store holds a handle of the folder. All it does is done relative to that, one part of a name at a time, and
/// never through a link: a link where a folder should be is a [`Refusal::KindClash`].
///
/// - **Partial files** stand beside the final name as `.haul-<16 hex digits>-<16 hex digits>.part`, readable by the owner
///   alone, and locked while they are written. The first digits are made of the final name, the others of the transfer that
///   the store [serves](Store::serve); without one they are left out. A later attempt at the same final name goes on with
///   the longest of its transfer, and leaves those of others alone. A second session of a transfer that writes to one name at
///   the same time has its own, with `-1` behind the digits, and so on up to 64.
/// - **What an earlier attempt left** is not removed for what a later one does with it: to
///   discard an entry removes what was made for it, and keeps what it went on with.
/// - **What attempts leave** is removed once the final name is committed, or the file that has it is found to be the
///   one that is offered: all partial files of the transfer for that name that no session has locked and that are no longer
///   than the file, up to the third number that is missing. For a small file they are looked for where some were in the folder when it was
///   looked through (see below), or have been made by this store since. One that a session still writes to stays, until the name is settled once
///   more. Files of another user, with a second name, or which are no regular files, stay. On a file system without locks
///   all stay. Once a link is committed, links under those names go in the same way.
/// - **What nobody comes back for** is removed after 7 days, as [`FsStore::keep_partials`] sets.
/// - **Small entries**, of one block at most, leave alone what is longer than they are: that is an attempt at something else.
/// - **Folders** on the way are made as needed. Those that were made for an entry which was then discarded, or never
///   written to, go with it if they hold nothing else.
/// - **Modes** are `mode & 0o777` less the umask of the process, which is read once. The owner may read every
///   file, and use every folder. A file that replaces one keeps the mode of that if none is offered; and one that
///   replaces another gives no permission to the group, or to others, where these had none, whatever is offered. It keeps
///   the group of that too; where this user may not give it that, its own group gets no permission, and others none that
///   the old group had not.
///   A folder that is closed to others at the sender, or below one that is, is made so: before its own mode comes, nobody
///   looks into it; where the sender is killed meanwhile, it stays so.
///   A folder that was there before keeps its mode, and one that is made in a folder with the bit setgid keeps that.
/// - **Commits** are done by a few threads ([`FsStore::sync_threads`]), in batches that share the sync of their
///   folders; that of a file of up to 1 MiB, of which nothing is synced and which replaces nothing, by [`Store::commit`] itself. If that last sync fails, the file stands complete under its name, but [`Refusal::Sync`] is
///   reported. So it does, in a folder that was moved away meanwhile, which is [`Refusal::KindClash`]. A failure before the
///   rename leaves the final name as it was. If the file itself could not be synced, its partial file is removed: the
///   system may show from its cache what the device does not hold.
/// - **File descriptors**: four are kept open for commits, so that these do not lack any while files are open that
///   wait for content.
/// - **Final names** are given to what was written alone: before the rename and after it the name is proved to be that
///   of the open file, by device and inode. If somebody has moved something else there, that is moved back, and the
///   entry fails with [`Refusal::Tampered`]. So it does where a partial file is found shorter than what it held. Who may write
///   into it can change what was verified without that: nobody but its owner may, who is this user.
/// - **Existing files** are never written to. One that this user may not read counts as different from what is offered.
///   Where one is replaced, that is by exchanging it with the new one, and removing it. A folder or special file, or a link in the place of a file, is never replaced, nor anything but a
///   link by a link.
/// - **Links** are refused unless [`FsStore::allow_links`] allows them, and names that begin with a dot unless
///   [`FsStore::hidden_names`] does.
/// - **Collisions**: names that differ by case or Unicode form alone collide within a transfer, on any file
///   system.
///
/// A clone is a new session in the same folder: it has its own completions and its own set of names; it shares the
/// threads. Options hold for clones that are made afterwards.
#[derive(Debug)]
pub struct FsStore {
    pub(super) shared: Arc<Shared>,
    pool: Arc<Pool>,
    pub(super) options: Options,
    pub(super) kept_out: KeptOut,
    taken: Taken,
    /// Owner of the partial files that it goes on with.
    pub(super) owner: Owner,
    /// Number of times that it may still wait for another session of its transfer.
    pauses: u32,
    /// Set if its sender has the key whose owner may send hidden names.
    is_own: bool,
    /// Last first part of a name that could have been a short name, and is not.
    proper: Option<Box<[u8]>>,
    /// The folder of the entry that was begun last: entries that follow in it share its handle.
    pub(super) recent: Option<Recent>,
    /// Bytes that small entries may take before the free space is looked at again.
    pub(super) room: u64,
    ended: Receiver<(Ticket, Ended<FsFile>)>,
    end: Sender<(Ticket, Ended<FsFile>)>,
}

impl FsStore {
    /// Stores in a folder that exists.
    ///
    /// # Errors
    ///
    /// If the folder does not exist, is none, or may not be written to: the message names it.
    pub fn open(folder: impl AsRef<Path>) -> io::Result<Self> {
        let path = folder.as_ref();
        // As a folder from the start: to open a FIFO is to wait for its other end.
        let opened = openat(CWD, path, FOLDER, Mode::empty()).map_err(io::Error::from);
        opened.and_then(|folder| Self::of(&folder)).map_err(|error| about(path, &error))
    }

    /// Stores in a folder, which is made with all those on the way if it does not exist.
    ///
    /// # Errors
    ///
    /// As [`FsStore::open`], and if the folder cannot be made.
    pub fn open_or_create(folder: impl AsRef<Path>) -> io::Result<Self> {
        let path = folder.as_ref();
        let missing =
            path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let missing: Vec<_> = missing.collect();
        std::fs::create_dir_all(path).map_err(|error| about(path, &error))?;
        for made in missing {
            // The names of the new folders must be as durable as what will be stored in them.
            let above = made.parent().filter(|above| !above.as_os_str().is_empty());
            let above = above.unwrap_or_else(|| Path::new("."));
            let synced = File::open(above).and_then(|above| above.sync_all());
            synced.map_err(|error| about(above, &error))?;
        }
        Self::open(path)
    }

    /// Stores in a folder that is already open: a [`File`], or anything else that is a descriptor.
    ///
    /// # Errors
    ///
    /// If it may not be written to.
    pub fn from_dir(folder: impl Into<OwnedFd>) -> io::Result<Self> {
        Self::of(&folder.into())
    }

    fn of(folder: &OwnedFd) -> io::Result<Self> {
        let handle = openat(folder, c".", FOLDER, Mode::empty())?;
        accessat(&handle, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?;
        let root = Folder::new(handle)?;
        let shared = Shared {
            #[cfg(test)]
            hook: Arc::clone(&root.hook),
            umask: mode::umask(&root),
            reserve: Reserve::new(&root),
            tree: Tree::new(root),
            turns: Turns::default(),
            order: Order::default(),
            expiry: Expiry::default(),
            unnamed: Unnamed::default(),
        };
        let pool = Pool::new(SYNC_THREADS);
        let (shared, pool) = (Arc::new(shared), Arc::new(pool));
        Ok(Self::session(shared, pool, Options::default(), KeptOut::default()))
    }

    fn session(shared: Arc<Shared>, pool: Arc<Pool>, options: Options, kept_out: KeptOut) -> Self {
        let (end, ended) = channel();
        let (taken, owner) = (Taken::default(), Owner::default());
        Self {
            shared,
            pool,
            options,
            kept_out,
            taken,
            owner,
            pauses: PAUSES,
            is_own: false,
            proper: None,
            recent: None,
            room: 0,
            ended,
            end,
        }
    }

    /// Sets how many threads do the commits. Default: 8, so that one batch is gathered and renamed while the device
    /// works on another. They are started by the first commit and end with the last clone of the store, when
    /// all is done that they were given; dropping it waits for that.
    ///
    /// With 0, or where the system starts no thread, [`Store::commit`] itself does the work, and takes as long as the device
    /// does, or as other commits keep file descriptors that it lacks. No heartbeat is sent meanwhile, so that a sender gives
    /// up where that is longer than it bears silence. Clones that were made before keep their threads.
    #[must_use]
    pub fn sync_threads(mut self, threads: usize) -> Self {
        self.pool = Arc::new(Pool::new(threads));
        self
    }

    /// Sets how many bytes of the file system are to be left free. Default: 0. An entry of known size that does not
    /// fit is refused with [`Refusal::NoSpace`] before anything is written; where the sender sends how much of it is no
    /// holes ([`Meta::data`]), that is what must fit. While content is written, the free space is
    /// looked at every 16 MiB of each entry, so that one of unknown size is refused too where it would take
    /// more; entries that are written at the same time may take 16 MiB each of what was to be left.
    #[must_use]
    pub const fn keep_free(mut self, bytes: u64) -> Self {
        self.options.room.keep_free = bytes;
        self.room = 0;
        self
    }

    /// Sets for how long a partial file is kept that nobody comes back for. Default: 7 days since its last change. It is removed
    /// when an entry is begun in its folder, which is looked through once an hour; with [`Duration::ZERO`] each time, with
    /// [`Duration::MAX`] nothing expires. One that a session has locked never does.
    #[must_use]
    pub const fn keep_partials(mut self, time: Duration) -> Self {
        self.options.keep_partials = time;
        self
    }

    /// Takes symbolic links whose targets are relative and stay inside the folder; without this all are refused with
    /// [`Refusal::Kind`]. haul itself does not follow any.
    #[must_use]
    pub const fn allow_links(mut self) -> Self {
        self.options.links = Links::Allowed;
        self
    }

    /// Sets whether names whose first part begins with a dot are taken. Default: [`HiddenNames::Refuse`].
    #[must_use]
    pub const fn hidden_names(mut self, hidden: HiddenNames) -> Self {
        self.options.hidden = hidden;
        self
    }

    /// Takes names whose first part begins with a dot from the sender that has this key, whatever is set for others: from
    /// the user whose folder it is.
    #[must_use]
    pub const fn own_key(mut self, key: PublicKey) -> Self {
        self.options.own = Some(key);
        self
    }

    /// Keeps everything out of a folder, which need not exist yet: entries whose name leads into it, and links or files
    /// that would change where it, or a link in it, is, are refused with [`Refusal::KeptOut`], whoever sends them. Nothing in
    /// it is looked at for a sender.
    ///
    /// The folder is known by its device and inode, so that no other name, and no bind mount, leads into it. Several calls
    /// add up. Links that are put into it later are not known.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::InvalidInput`](io::ErrorKind::InvalidInput), if the folder of the store is in it.
    /// - Any error of the system where it cannot be told what leads there.
    pub fn keep_out_of(mut self, folder: impl AsRef<Path>) -> io::Result<Self> {
        let (folder, root) = (folder.as_ref(), &self.shared.tree.root);
        self.kept_out = self.kept_out.and(folder, root).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => error,
            _ => about(folder, &error),
        })?;
        Ok(self)
    }

    /// Looks at what stands under a name, without making anything.
    fn look(&self, path: &RelPath) -> Result<Option<(Folder, rustix::fs::Stat)>, Refusal> {
        let parent = path.parent();
        let folder = match self.find_recent(parent.as_ref()) {
            Some(folder) => folder,
            None => {
                let way = self.shared.tree.open(parent.as_ref())?;
                if way.depth() + 1 < path.parts().count() {
                    return Ok(None);
                }
                way.folder
            }
        };
        let found = folder.look(path.file_name())?;
        Ok(found.map(|stat| (folder, stat)))
    }

    fn check_link(&self, path: &RelPath, target: &[u8], place: Place) -> Result<(), Refusal> {
        let depth = path.parts().count() - 1;
        if self.options.links == Links::Refused || !stays_inside(depth, target) {
            return Err(Refusal::Kind);
        }
        let Some((folder, _)) = self.look(path)? else { return Ok(()) };
        match readlinkat(&folder, path.file_name(), Vec::new()) {
            Ok(linked) if linked.as_bytes() == target => Ok(()),
            Ok(_) if place == Place::Replacing => Ok(()),
            Ok(_) => Err(Refusal::Exists),
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::INVAL) => Err(clash(place)),
            Err(errno) => Err(Failed::new(StoreOperation::Stat, errno).into()),
        }
    }

    /// Returns the name that `place` makes of that of an entry; `None` if another entry of this session
    /// has it.
    fn name(&self, meta: &Meta, entry: EntryId, place: Place) -> Result<Option<RelPath>, Refusal> {
        match place {
            Place::Beside(n) if meta.kind != Kind::Directory => {
                let path = meta.path.beside(n).map_err(|_| Refusal::Name)?;
                Ok(Some(path).filter(|path| !self.taken.is_another(&fold(path), entry)))
            }
            Place::Offered | Place::Replacing | Place::Beside(_) => Ok(Some(meta.path.clone())),
        }
    }

    fn check_hidden(&mut self, path: &RelPath) -> Result<(), Refusal> {
        if self.is_own || self.options.hidden == HiddenNames::Accept {
            return Ok(());
        }
        self.options.hidden.check(path)?;
        match hidden::short_name(path).filter(|first| self.proper.as_deref() != Some(*first)) {
            Some(first) if self.shared.tree.root.is_alias(first) => Err(Refusal::HiddenName),
            // The whole folder was listed, which is not done again for each entry below it.
            Some(first) => {
                self.proper = Some(first.into());
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Checks that an entry is none of those that [`FsStore::keep_out_of`] refuses.
    pub(super) fn check_kept_out(&mut self, path: &RelPath, kind: &Kind) -> Result<(), Refusal> {
        self.kept_out.check(&self.shared.tree.root, path, *kind == Kind::Directory)
    }

    /// Returns whether another session of the transfer may still be waited for: one of a process that is no more.
    pub(super) fn may_wait(&self) -> bool {
        self.owner.is_known() && self.pauses > 0
    }

    fn begin_once(&mut self, offer: &Offer, place: Place) -> Result<(FsFile, Found), Refusal> {
        let meta = &offer.meta;
        if matches!(meta.kind, Kind::Symlink(_)) && self.options.links == Links::Refused {
            return Err(Refusal::Kind);
        }
        self.check_hidden(&meta.path)?;
        self.taken.claim(&fold(&meta.path), offer.entry, &meta.kind)?;
        let shared = Arc::clone(&self.shared);
        let _held = shared.reserve.hold(&shared.tree.root).during(StoreOperation::Open)?;
        let path = self.name(meta, offer.entry, place)?.ok_or(Refusal::Exists)?;
        self.check_kept_out(&meta.path, &meta.kind)?;
        self.check_kept_out(&path, &meta.kind)?;
        let what = match &meta.kind {
            Kind::File => {
                let begun = self.begin_file(&path, offer, place);
                return begun.map_err(|refusal| self.shared.tree.explain(refusal));
            }
            Kind::Directory => {
                if self.look(&path)?.is_some_and(|(_, stat)| !stat::is_folder(&stat)) {
                    return Err(Refusal::KindClash);
                }
                What::Folder
            }
            Kind::Symlink(target) => {
                self.check_link(&path, target, place)?;
                What::Link { target: target.clone() }
            }
        };
        Ok((FsFile::new(path, Some(0), what), Found::Fresh))
    }

    fn remove(&self, path: &RelPath, what: &What) {
        if let What::Partial { partial, folder, .. } = what {
            let _held = self.shared.reserve.keep_off();
            if partial.named.is_some() {
                let _ = partial.remove(folder);
                self.shared.expiry.forget(folder.id, path.file_name());
            }
            self.shared.tree.tidy(path.parent().as_ref());
        }
    }
}

impl Clone for FsStore {
    fn clone(&self) -> Self {
        let kept_out = self.kept_out.clone();
        Self::session(Arc::clone(&self.shared), Arc::clone(&self.pool), self.options, kept_out)
    }
}

impl Store for FsStore {
    type File = FsFile;

    fn holds_content(&mut self) -> bool {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.shared.tree.root) else { return false };
        let names = entries.filter_map(Result::ok);
        // Whatever is not hidden: partial files of earlier attempts are reported by their blocks.
        names.into_iter().any(|entry| !entry.file_name().to_bytes().starts_with(b"."))
    }

    fn identify(&mut self, key: Option<PublicKey>) {
        self.is_own = key.is_some() && key == self.options.own;
    }

    fn serve(&mut self, transfer: TransferId) {
        self.taken.serve(transfer);
        (self.owner, self.pauses) = (Owner::of(transfer), PAUSES);
    }

    fn stat(&mut self, offer: &Offer) -> Option<FileStat> {
        self.check_hidden(&offer.meta.path).ok()?;
        // It has its name in this session, though nothing is done for it.
        let folded = fold(&offer.meta.path);
        self.taken.claim(&folded, offer.entry, &offer.meta.kind).ok()?;
        // What is about to be replaced is not what a receipt may name.
        if self.shared.order.is_under_way(&folded) {
            return None;
        }
        let shared = Arc::clone(&self.shared);
        let _held = shared.reserve.keep_off();
        self.check_kept_out(&offer.meta.path, &offer.meta.kind).ok()?;
        let stat = match shared.tree.look(&offer.meta.path) {
            Ok(found) => found?,
            // Step by step, the way may be there for all that.
            Err(_) => self.look(&offer.meta.path).ok()??.1,
        };
        let modified = stat::modified(&stat).filter(|_| stat::is_file(&stat))?;
        Some(FileStat::new(stat::size(&stat), modified))
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(FsFile, Found), Refusal> {
        loop {
            let begun = self.begin_once(offer, place);
            if !self.may_wait() || begun.as_ref().err() != Some(&Refusal::from(partial::HELD)) {
                return begun;
            }
            // The session of a process that was killed, or its commit, is over soon. No call waits for a lock with a limit.
            self.pauses -= 1;
            thread::sleep(PAUSE);
        }
    }

    fn read_at(&mut self, file: &mut FsFile, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let file = match &file.what {
            What::Existing(Existing { file: Some(file), .. }) => file,
            What::Existing(_) => return Err(io::ErrorKind::PermissionDenied.into()),
            What::Partial { partial, .. } => &partial.file,
            What::Folder | What::Link { .. } => return Ok(0),
        };
        loop {
            match file.read_at(buffer, offset) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    fn write_at(&mut self, file: &mut FsFile, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let end = end_of(offset, len)?;
        self.options.room.take(file, end, len)?;
        let What::Partial { partial, .. } = &file.what else {
            return Err(Refusal::Store { code: 0, operation: StoreOperation::Write });
        };
        // What was verified must be there still, if there is more to come. Without a name it is in nobody else's hand.
        if partial.named.is_some() {
            file.prove_length(&partial.file.metadata().map_err(|error| stat_refusal(&error))?)?;
        }
        let written = partial.file.write_all_at(bytes, offset);
        written
            .map_err(|error| self.options.room.refusal(file, end, StoreOperation::Write, &error))?;
        file.end = file.end.max(end);
        Ok(())
    }

    fn write_zeros(&mut self, file: &mut FsFile, offset: u64, len: u64) -> Result<(), Refusal> {
        let end = end_of(offset, len)?;
        let What::Partial { partial, .. } = &file.what else {
            return Err(Refusal::Store { code: 0, operation: StoreOperation::Write });
        };
        let held = partial.file.metadata().map_err(|error| stat_refusal(&error))?;
        file.prove_length(&held)?;
        let cleared = holes::clear(&partial.file, offset..end)
            .and_then(|()| if held.len() < end { partial.file.set_len(end) } else { Ok(()) });
        cleared
            .map_err(|error| self.options.room.refusal(file, end, StoreOperation::Write, &error))?;
        file.end = file.end.max(end);
        Ok(())
    }

    fn copy_held(&mut self, file: &mut FsFile, offset: u64, len: u64) -> Result<(), Refusal> {
        let end = end_of(offset, len)?;
        self.options.room.take(file, end, len)?;
        let What::Partial { partial: Partial { file: to, .. }, replaced: Some(from), .. } =
            &file.what
        else {
            return Err(Refusal::Store { code: 0, operation: StoreOperation::Copy });
        };
        file.prove_length(&to.metadata().map_err(|error| stat_refusal(&error))?)?;
        match holes::copy(from, to, offset..end) {
            Ok(copied) if copied == len => {
                file.end = file.end.max(end);
                Ok(())
            }
            // It is shorter than it was.
            Ok(_) => Err(Refusal::Store { code: 0, operation: StoreOperation::Copy }),
            Err(error) => Err(self.options.room.refusal(file, end, StoreOperation::Copy, &error)),
        }
    }

    fn commit(&mut self, file: FsFile, commit: Commit) {
        let name = match &file.what {
            What::Existing(_) => Ok(Some(file.path.clone())),
            _ => self.name(&commit.meta, commit.entry, commit.place),
        };
        let failed = match &name {
            Ok(Some(path)) if matches!(commit.place, Place::Beside(_)) => {
                self.check_kept_out(path, &commit.meta.kind).err().map(Trouble::Failed)
            }
            Ok(Some(_)) => None,
            Ok(None) => Some(Trouble::Taken(None)),
            Err(refusal) => Some(Trouble::Failed(*refusal)),
        };
        let path = name.ok().flatten().unwrap_or_else(|| file.path.clone());
        self.pool.submit(Job {
            number: 0,
            shared: Arc::clone(&self.shared),
            claim: Claim::new(Arc::clone(&self.shared), self.owner, fold(&path)),
            path,
            file,
            commit,
            ended: self.end.clone(),
            failed,
            is_made: false,
            wanted: Vec::new(),
            is_proved: false,
        });
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<FsFile>)> {
        self.ended.recv_timeout(wait).ok()
    }

    fn suspend(&mut self, file: FsFile) {
        if let What::Partial { partial, .. } = &file.what
            && (partial.named.is_none()
                || partial.file.metadata().is_ok_and(|meta| meta.len() == 0))
        {
            self.remove(&file.path, &file.what);
        }
    }

    fn discard(&mut self, file: FsFile) {
        // What is wrong with it may be what was written now.
        if matches!(&file.what, What::Partial { partial, .. } if partial.is_adopted) {
            return self.suspend(file);
        }
        self.remove(&file.path, &file.what);
    }
}

/// Most pauses of a session for partial files of its transfer that other sessions have open: 5 s in all, half of the time
/// that a sender waits for a greeting.
const PAUSES: u32 = if cfg!(test) { 3 } else { 50 };

const PAUSE: Duration = Duration::from_millis(100);

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Chosen by `benches/sync.rs`: a device takes more than one sync at a time.
const SYNC_THREADS: usize = 8;

#[cfg(test)]
pub(super) mod tests;
