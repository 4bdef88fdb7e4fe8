//! Partial files that nobody came back for.
//!
//! Whoever is about to put something into a folder looks there for partial files of whatever name which no session has
//! locked, and which have not changed for a time that is set: these are removed. What is in use, another user's, or
//! has a second name stays, as in [`partial`]. What counts is the time of the last change of the inode, as nobody can
//! set that: the time of the content may be the sender's by then.
//!
//! Whoever looks sees, too, for which final names there are partial files. With those that are made here since, it is known
//! that there is none for most names: so a small file need neither look for one nor sweep behind it.
#![expect(clippy::disallowed_methods, reason = "files are as old as the clock says")]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Dir, Stat};
use rustix::process::geteuid;

use super::dir::{Folder, FolderId};
use super::partial;
use super::stat::{self, Id};

/// The folders in which it was looked.
#[derive(Debug, Default)]
pub(super) struct Expiry(Mutex<HashMap<FolderId, Looked>>);

/// Findings in a folder.
#[derive(Debug)]
struct Looked {
    at: Instant,
    left: Left,
}

/// The partial files that may be in a folder, counted by the [hash](partial::hash) of their final names. Those of other
/// processes are missing that were made since it was looked.
#[derive(Debug, Default)]
struct Left {
    counts: HashMap<u64, u32>,
    /// Set if there may be others.
    is_unknown: bool,
}

impl Expiry {
    /// Looks which partial files are in a folder, unless that was done a short while ago. `true`: there are some, of which those
    /// that nobody has changed for `keep` are to be [removed](remove_expired).
    pub(super) fn look(&self, folder: &Folder, keep: Duration) -> bool {
        let now = Instant::now();
        let mut looked = self.lock();
        let last = looked.get(&folder.id).map(|looked| looked.at);
        if last.is_some_and(|last| now.saturating_duration_since(last) < AGAIN.min(keep)) {
            return false;
        }
        if looked.len() >= MOST_KNOWN {
            looked.clear();
        }
        // What is made meanwhile is counted in any case.
        let left = Left { is_unknown: true, ..Left::default() };
        looked.insert(folder.id, Looked { at: now, left });
        drop(looked);
        let Some(seen) = list(folder) else { return true };
        let is_any = seen.is_unknown || !seen.counts.is_empty();
        if let Some(Looked { left, .. }) = self.lock().get_mut(&folder.id) {
            left.is_unknown = seen.is_unknown;
            for (hash, count) in seen.counts {
                let known = left.counts.entry(hash).or_default();
                *known = count.max(*known);
            }
        }
        is_any
    }

    /// Returns whether there are no partial files in a folder for a final name, by what was seen there not long ago.
    pub(super) fn holds_none(&self, folder: FolderId, final_name: &[u8], keep: Duration) -> bool {
        let looked = self.lock();
        let Some(Looked { at, left }) = looked.get(&folder) else { return false };
        at.elapsed() < AGAIN.min(keep)
            && !left.is_unknown
            && (left.counts.is_empty() || !left.counts.contains_key(&partial::hash(final_name)))
    }

    /// Notes that a partial file was made for a final name.
    pub(super) fn note(&self, folder: FolderId, final_name: &[u8]) {
        if let Some(Looked { left, .. }) = self.lock().get_mut(&folder) {
            let count = left.counts.entry(partial::hash(final_name)).or_default();
            *count = count.saturating_add(1);
            if left.counts.len() > MOST_LEFT {
                *left = Left { is_unknown: true, ..Left::default() };
            }
        }
    }

    /// Notes that a partial file for a final name is none any more.
    pub(super) fn forget(&self, folder: FolderId, final_name: &[u8]) {
        if let Some(Looked { left, .. }) = self.lock().get_mut(&folder)
            && let Entry::Occupied(mut count) = left.counts.entry(partial::hash(final_name))
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FolderId, Looked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the partial files that are in a folder. `None`: it cannot be listed.
fn list(folder: &Folder) -> Option<Left> {
    let mut left = Left::default();
    for entry in Dir::read_from(folder).ok()? {
        let entry = entry.ok()?;
        if let Some(hash) = entry.file_name().to_str().ok().and_then(partial::hash_in) {
            *left.counts.entry(hash).or_default() += 1;
        }
        if left.counts.len() > MOST_LEFT {
            return Some(Left { is_unknown: true, ..Left::default() });
        }
    }
    Some(left)
}

/// Removes from a folder what nobody has changed for `keep`. To leave one is no harm, so nothing is reported.
pub(super) fn remove_expired(folder: &Folder, keep: Duration) {
    let Ok(entries) = Dir::read_from(folder) else { return };
    let now = SystemTime::now();
    let is_expired = |stat: &Stat| stat::age(stat, now).is_some_and(|age| age >= keep);
    for entry in entries.filter_map(Result::ok) {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if partial::hash_in(name).is_none() {
            continue;
        }
        let Ok(Some(stat)) = folder.look(name.as_bytes()) else { continue };
        if !is_expired(&stat) {
            continue;
        }
        if stat::is_link(&stat) && stat.st_uid == geteuid().as_raw() {
            // Links have no locks: one that is this old is nobody's any more.
            let _ = folder.remove(name.as_bytes(), Id::of(&stat));
        } else {
            partial::remove_idle(folder, name, &stat, is_expired);
        }
    }
}

/// A folder is listed once in this time: a large one takes a second for that.
const AGAIN: Duration = Duration::from_secs(60 * 60);

/// Most folders that are remembered. To forget one is to list it once more. 128 bytes each, without
/// what is left in it.
const MOST_KNOWN: usize = 4096;

/// The most final names of one folder of which it is known that there are partial files. With more, there may be some for
/// any name. 16 bytes each.
const MOST_LEFT: usize = 128;
