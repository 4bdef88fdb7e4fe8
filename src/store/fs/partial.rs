//! Partial files: how they are named, and taken so that no two sessions write to one.
//!
//! They stand in the folder of the final name, because a rename is one step within a file system only. The name is
//! made of the final one, so that a later attempt finds it. It is no secret: what somebody else puts there is
//! neither followed nor written to. A small file has none before it is whole: see [`unnamed`](super::unnamed).

use std::fs::{File, TryLockError};

use rustix::fs::{Mode, OFlags, RawMode, Stat, fchmod, fstat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::dir::{ATTEMPTS, Folder};
use super::errno::{During, Failed, Result};
use super::stat::{self, Id};
use crate::types::{Offer, RelPath, StoreOperation, TransferId};

/// A partial file.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) file: File,
    /// `None`: it has no name yet, and goes with its handle.
    pub(super) named: Option<Named>,
    /// The final mode, if it was made with that.
    pub(super) mode: Option<u32>,
    pub(super) len: u64,
    /// The bytes that it takes on the device, which are fewer than `len` where it has holes.
    pub(super) allocated: u64,
    /// An earlier attempt made it: what is wrong with a later one is no reason to remove it.
    pub(super) is_adopted: bool,
}

/// The name of a partial file, which is locked, and which file it is.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) id: Id,
}

impl Partial {
    /// Removes its name, if it has one, and that still is its own.
    pub(super) fn remove(&self, folder: &Folder) -> rustix::io::Result<()> {
        let Some(Named { name, id }) = &self.named else { return Ok(()) };
        folder.remove(name.as_bytes(), *id)
    }
}

/// Reason why a file that has the name of a partial file, or is to be replaced, is not taken.
pub(super) enum Untaken {
    /// Another session, of this process or another, has it open.
    Held,
    /// The file is no partial file of this user, or it is gone.
    Foreign,
}

/// The transfer that partial files belong to, as far as their names tell. Of a session that was not told its transfer,
/// they are those of all such sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Owner(Option<u64>);

impl Owner {
    /// Returns the owner for a transfer. Whoever sees the names of its files cannot tell its id.
    pub(super) fn of(transfer: TransferId) -> Self {
        let [a, b, c, d, e, f, g, h, ..] =
            blake3::derive_key("haul partial file 1", transfer.as_bytes());
        Self(Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])))
    }

    pub(super) const fn is_known(self) -> bool {
        self.0.is_some()
    }
}

/// Takes a partial file for an entry that is to have this final name: the longest that an earlier attempt of its owner left
/// and the entry may go on with, or a new one.
///
/// [`Errno::NOENT`]: the folder itself was removed meanwhile. [`HELD`], if it may be waited for: another session has one open.
pub(super) fn take(
    folder: &Folder,
    owner: Owner,
    final_name: &[u8],
    offer: &Offer,
    may_wait: bool,
) -> Result<Partial> {
    for _ in 0..ATTEMPTS {
        let mut free = None;
        let mut left: Option<Partial> = None;
        for n in 0..MOST {
            let name = name(owner, final_name, n);
            match folder.look(name.as_bytes())? {
                Some(stat) => match take_over(folder, name, &stat) {
                    Ok(partial) if !offer.may_continue(partial.len) => {}
                    Ok(partial) if left.as_ref().is_some_and(|left| left.len >= partial.len) => {}
                    Ok(partial) => left = Some(partial),
                    Err(Untaken::Held) if may_wait => return Err(HELD),
                    Err(Untaken::Held | Untaken::Foreign) => {}
                },
                // One is looked at beyond, for what an attempt beside another one has left.
                None if free.is_none() => free = Some(name),
                None => break,
            }
        }
        if let Some(partial) = left {
            return Ok(partial);
        }
        let Some(name) = free else { return Err(BUSY) };
        match create(folder, name) {
            Err(Failed { errno: Errno::EXIST, .. }) => {}
            created => return created,
        }
    }
    Err(BUSY)
}

/// Removes the partial files of an owner for a final name which is that of the file `of` by now, of this `size`: those that
/// nobody writes to, and second names of the file itself, which a process may have left that was killed where
/// a rename takes two steps. What is not this user's, or no regular file, stays; and so does what is longer than the file,
/// which an attempt at something else has left. It [expires](super::expiry).
///
/// To leave one is no harm, so nothing is reported.
pub(super) fn sweep(folder: &Folder, owner: Owner, final_name: &[u8], of: Id, size: u64) {
    each(folder, owner, final_name, |name, stat| {
        let id = Id::of(stat);
        if of == id && stat::is_file(stat) {
            let _ = folder.remove(name.as_bytes(), id);
        } else if stat::size(stat) <= size {
            remove_idle(folder, name, stat, |stat| stat::size(stat) <= size);
        }
    });
}

/// Removes a partial file that no session has open, if it is still so.
pub(super) fn remove_idle(
    folder: &Folder,
    name: &str,
    seen: &Stat,
    is_so: impl FnOnce(&Stat) -> bool,
) {
    // Under its lock: who opens it now sees that it is gone.
    if let Ok((_idle, stat)) = lock(folder, name, seen)
        && is_so(&stat)
    {
        let _ = folder.remove(name.as_bytes(), Id::of(&stat));
    }
}

/// Returns whether a session has the file of this name open to write to it, or to give it its name.
pub(super) fn is_held(folder: &Folder, name: &[u8], stat: &Stat) -> bool {
    std::str::from_utf8(name)
        .is_ok_and(|name| matches!(lock(folder, name, stat), Err(Untaken::Held)))
}

/// Locks a file that is about to be replaced, and returns it as it is by then.
pub(super) fn hold_replaced(
    folder: &Folder,
    name: &[u8],
    seen: &Stat,
) -> std::result::Result<(File, Stat), Untaken> {
    lock(folder, str::from_utf8(name).map_err(|_| Untaken::Foreign)?, seen)
}

/// Removes the links under the names of partial files for a final name, which is that of a link by now: those that a
/// process left which was killed before it could rename them.
///
/// Links have no locks: a session that is about to rename one makes it again.
pub(super) fn sweep_links(folder: &Folder, owner: Owner, final_name: &[u8]) {
    each(folder, owner, final_name, |name, stat| {
        if stat::is_link(stat) && stat.st_uid == geteuid().as_raw() {
            let _ = folder.remove(name.as_bytes(), Id::of(stat));
        }
    });
}

/// Passes on the files under the names of partial files for a final name, up to a gap.
fn each(folder: &Folder, owner: Owner, final_name: &[u8], mut found: impl FnMut(&str, &Stat)) {
    let mut misses = 0;
    for n in 0..MOST {
        let name = name(owner, final_name, n);
        match folder.look(name.as_bytes()) {
            Ok(Some(stat)) => {
                misses = 0;
                found(&name, &stat);
            }
            Ok(None) if misses + 1 < GAP => misses += 1,
            _ => return,
        }
    }
}

/// Returns the name of an owner's n-th partial file for a final name: made of the BLAKE3 hash of that, so that it is of one
/// length.
pub(super) fn name(owner: Owner, final_name: &[u8], n: u32) -> String {
    let mut hash = format!("{:016x}", hash(final_name));
    if let Owner(Some(owner)) = owner {
        hash = format!("{hash}-{owner:016x}");
    }
    let (prefix, suffix) = (RelPath::PARTIAL_PREFIX, RelPath::PARTIAL_SUFFIX);
    if n == 0 { format!("{prefix}{hash}{suffix}") } else { format!("{prefix}{hash}-{n}{suffix}") }
}

/// Returns the part that the names of partial files have of a final name.
pub(super) fn hash(final_name: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(final_name).as_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Returns the [`hash`] of the final name, if this may be the name of a partial file.
pub(super) fn hash_in(name: &str) -> Option<u64> {
    let inner = name.strip_prefix(RelPath::PARTIAL_PREFIX);
    let inner = inner.and_then(|rest| rest.strip_suffix(RelPath::PARTIAL_SUFFIX));
    let (hash, rest) = inner.and_then(|inner| inner.split_at_checked(HASH))?;
    let is_hash = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let owned = rest.strip_prefix('-').and_then(|rest| rest.split_at_checked(HASH));
    let number = match owned {
        Some((owner, number)) if is_hash(owner) => number,
        _ => rest,
    };
    // Only as `name` writes it: "-+5" and "-007" are somebody else's.
    let is_number = match number.strip_prefix('-') {
        None => number.is_empty(),
        Some(text) => {
            text.parse().is_ok_and(|n: u32| (1..MOST).contains(&n) && n.to_string() == text)
        }
    };
    u64::from_str_radix(hash, 16).ok().filter(|_| is_hash(hash) && is_number)
}

pub(super) fn create(folder: &Folder, name: String) -> Result<Partial> {
    let flags = OPEN | OFlags::CREATE | OFlags::EXCL;
    let opened = openat(folder, &*name, flags, Mode::from_raw_mode(OWNER_ALONE));
    let file = File::from(opened.during(StoreOperation::Open)?);
    match file.try_lock() {
        Ok(()) => {}
        // Another session took it over between the two steps.
        Err(TryLockError::WouldBlock) => return Err(TAKEN),
        // A file system without locks: new files are nobody else's all the same, and old ones are not taken.
        Err(TryLockError::Error(_)) => {}
    }
    let stat = fstat(&file).during(StoreOperation::Stat)?;
    if !folder.look(name.as_bytes())?.is_some_and(|named| Id::of(&named) == Id::of(&stat)) {
        // Another session took it over, and removed it again.
        return Err(TAKEN);
    }
    let named = Some(Named { name, id: Id::of(&stat) });
    Ok(Partial { file, named, mode: None, len: 0, allocated: 0, is_adopted: false })
}

fn take_over(folder: &Folder, name: String, seen: &Stat) -> std::result::Result<Partial, Untaken> {
    let (mut file, mut stat) = lock(folder, &name, seen)?;
    let mode = stat.st_mode & 0o777;
    if mode != OWNER_ALONE {
        // It had the mode of the final file already when its attempt was ended.
        fchmod(&file, Mode::from_raw_mode(OWNER_ALONE)).map_err(|_| Untaken::Foreign)?;
        if mode & 0o200 == 0 {
            // What could be opened may be no more than readable. Who takes it meanwhile may have it.
            drop(file);
            (file, stat) = lock(folder, &name, seen)?;
        }
    }
    let (id, len, allocated) = (Id::of(&stat), stat::size(&stat), stat::allocated(&stat));
    // An empty one holds nothing of anybody: another session may have made it just now.
    let is_adopted = len > 0;
    let named = Some(Named { name, id });
    Ok(Partial { file, named, mode: None, len, allocated, is_adopted })
}

/// Opens a partial file and locks it, to write to it if its mode allows that.
fn lock(folder: &Folder, name: &str, seen: &Stat) -> std::result::Result<(File, Stat), Untaken> {
    if !is_ours(seen) {
        return Err(Untaken::Foreign);
    }
    let opened = match openat(folder, name, OPEN, Mode::empty()) {
        // It had its final mode already, which may not let its owner write; but always read, see `mode::of_file`.
        Err(Errno::ACCESS) => openat(folder, name, OPEN.difference(OFlags::RDWR), Mode::empty()),
        opened => opened,
    };
    let file = File::from(opened.map_err(|_| Untaken::Foreign)?);
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => Untaken::Held,
        TryLockError::Error(_) => Untaken::Foreign,
    })?;
    // Looked at again under the lock: until then its session may have renamed or removed it.
    let stat = fstat(&file).map_err(|_| Untaken::Foreign)?;
    let named = folder.look(name.as_bytes()).ok().flatten().ok_or(Untaken::Foreign)?;
    let is_it = is_ours(&stat) && Id::of(&stat) == Id::of(&named);
    is_it.then_some((file, stat)).ok_or(Untaken::Foreign)
}

/// Returns whether it is this user's. A file with a second name is not, as that may be anybody's.
pub(super) fn is_ours(stat: &Stat) -> bool {
    stat::is_file(stat) && stat::unsigned(stat.st_nlink) == 1 && stat.st_uid == geteuid().as_raw()
}

/// Flags to open a partial file: not blocking, should a FIFO stand there by now.
const OPEN: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// All names are in use.
const BUSY: Failed = Failed::new(StoreOperation::Open, Errno::BUSY);

/// Another session has a partial file open that belongs to this transfer.
pub(super) const HELD: Failed = Failed::new(StoreOperation::Open, Errno::AGAIN);

/// Another session has the one that was to be made.
const TAKEN: Failed = Failed::new(StoreOperation::Open, Errno::EXIST);

/// Mode of a partial file: content that is not whole and verified is for nobody else to see.
pub(super) const OWNER_ALONE: RawMode = 0o600;

/// Digits of the hash in a name.
const HASH: usize = 16;

/// Number of names that are looked at beyond the last partial file that there is: as sessions end in any order, the
/// numbers between have gaps.
const GAP: u32 = 3;

/// Attempts at one name that write at the same time, or names that are taken by something else.
pub(super) const MOST: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_partial_files_are_those_that_are_given_and_no_others() {
        let owners = [Owner::default(), Owner::of(TransferId::new([7; 16]))];
        for owner in owners {
            for n in 0..MOST {
                let name = name(owner, b"file", n);
                assert_eq!(hash_in(&name), Some(hash(b"file")), "{name}");
            }
            let base = name(owner, b"file", 0);
            let stem = base.strip_suffix(RelPath::PARTIAL_SUFFIX).unwrap();
            let most = MOST.to_string();
            let numbers = ["", "0", "00", "+5", "007", "01", "-1", " 1", "1 ", "1-1", "a", &most];
            for number in numbers {
                let name = format!("{stem}-{number}{}", RelPath::PARTIAL_SUFFIX);
                assert_eq!(hash_in(&name), None, "{name}");
            }
        }
    }
}
