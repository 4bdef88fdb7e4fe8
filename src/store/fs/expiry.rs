//! Partial files that nobody came back for.
//!
//! Whoever is about to put something into a folder looks there for partial files of whatever name which no session has
//! locked, and which have not changed for a time that is set: these are removed. What is in use, another user's, or
//! has a second name stays, as in [`partial`]. What counts is the time of the last change of the inode, as nobody can
//! set that: the time of the content may be the sender's by then.
#![expect(clippy::disallowed_methods, reason = "files are as old as the clock says")]

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{Dir, Stat};
use rustix::process::geteuid;

use super::dir::{Folder, FolderId};
use super::partial;
use super::stat::{self, Id};

/// The folders in which it was looked, and when.
#[derive(Debug, Default)]
pub(super) struct Expiry(Mutex<HashMap<FolderId, Instant>>);

impl Expiry {
    /// Removes from a folder what nobody has changed for `keep`, unless it was looked there a short while ago.
    pub(super) fn look(&self, folder: &Folder, keep: Duration) {
        let now = Instant::now();
        let mut looked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = looked.get(&folder.id);
        if last.is_some_and(|last| now.saturating_duration_since(*last) < AGAIN.min(keep)) {
            return;
        }
        if looked.len() >= MOST_KNOWN {
            looked.clear();
        }
        looked.insert(folder.id, now);
        drop(looked);
        remove_expired(folder, keep);
    }
}

/// To leave one is no harm, so nothing is reported.
fn remove_expired(folder: &Folder, keep: Duration) {
    let Ok(entries) = Dir::read_from(folder) else { return };
    let now = SystemTime::now();
    let is_expired = |stat: &Stat| stat::age(stat, now).is_some_and(|age| age >= keep);
    for entry in entries.filter_map(Result::ok) {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if !partial::is_name(name) {
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

/// To forget one is to list it once more. 64 bytes each.
const MOST_KNOWN: usize = 16_384;
