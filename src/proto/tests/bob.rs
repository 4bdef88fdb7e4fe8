//! The simplest store there is, in which others may take names, and writes fail.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::proto::Error;
use crate::types::{
    Commit, EntryId, Event, FileStat, Found, Kind, Meta, Offer, Place, Refusal, RelPath,
    StoreOperation, Summary, Ticket, Timestamp,
};

/// The store of a [`Pair`](super::pair::Pair): names under which files stand, and files that are being written.
#[derive(Clone, Default)]
pub(super) struct Bob {
    pub(super) visible: BTreeMap<RelPath, Vec<u8>>,
    /// Of those that were committed with one.
    pub(super) times: BTreeMap<RelPath, Timestamp>,
    pub(super) partial: BTreeMap<RelPath, Vec<u8>>,
    pub(super) open: BTreeMap<EntryId, (RelPath, Option<Vec<u8>>)>,
    pub(super) commits: VecDeque<(Ticket, Ended)>,
    /// Commits do not end for now.
    pub(super) is_stuck: bool,
    /// All that was ever asked to be committed.
    pub(super) committed: Vec<Commit>,
    pub(super) events: Vec<Event>,
    pub(super) ended: Option<Result<Summary, Error>>,
    /// Bytes of content that were given to be written.
    pub(super) written: u64,
    /// Number of bytes of each call that were to be made zeros.
    pub(super) zeroed: Vec<u64>,
    /// Somebody writes to the file that is replaced.
    pub(super) changes_before_copy: bool,
    /// The n-th write fails.
    pub(super) fail_write: Option<u64>,
    /// Pieces that were read: of which name, whether of the file that stands there, and from which offset.
    pub(super) reads: Vec<(RelPath, bool, u64)>,
    pub(super) writes: u64,
    /// Time that each write takes.
    pub(super) write_time: Duration,
    /// Before each commit in turn, somebody puts a file under the name that is asked for, or takes away what has it.
    pub(super) others: VecDeque<Option<Vec<u8>>>,
    /// Content that appears under these names before they are given for the first time.
    pub(super) late: BTreeMap<RelPath, Vec<u8>>,
    /// Number of files that may be open, with those that are being committed.
    pub(super) descriptors: Option<usize>,
    /// Number of times that there is no descriptor for what is to take the place of a file, while
    /// others are open.
    pub(super) lacks_to_replace: usize,
    /// Number of times that there was none left, and most files that were open.
    pub(super) lacked: usize,
    pub(super) most_open: usize,
    /// Commits end only when they are waited for.
    pub(super) is_lazy: bool,
    /// Content that somebody puts in the place of a file that was found equal, before its commit.
    pub(super) changed: Option<Vec<u8>>,
    /// As `others`, before each look at what has a name.
    pub(super) conflicting: VecDeque<Option<Vec<u8>>>,
    /// Existing files of entries that were handed back.
    pub(super) conflicts: BTreeMap<EntryId, (RelPath, Vec<u8>)>,
    /// Time that it takes to read a block of that, or of a file that an entry is compared with.
    pub(super) conflict_time: Duration,
    /// Number of those reads.
    pub(super) conflict_reads: usize,
    /// The most of them at a time.
    pub(super) most_conflicts: usize,
}

/// End of a commit of [`Bob`]: with a name or a refusal, or for lack of the name.
#[derive(Debug, Clone)]
pub(super) enum Ended {
    Committed(Result<RelPath, Refusal>),
    Taken(Option<u64>),
}

impl Bob {
    pub(super) fn stat(&self, path: &RelPath) -> Option<FileStat> {
        let size = u64::try_from(self.visible.get(path)?.len()).unwrap();
        Some(FileStat::new(size, *self.times.get(path)?))
    }

    /// Closes what is open for a session that is no more. Commits come to their end, and what is handed back is closed.
    pub(super) fn close_all(&mut self) {
        self.open.clear();
        self.conflicts.clear();
        self.commits.retain(|(_, ended)| matches!(ended, Ended::Committed(_)));
    }

    pub(super) fn begin(&mut self, offer: &Offer, place: Place) -> Result<Found, Refusal> {
        if let Kind::Symlink(_) = offer.meta.kind {
            return Err(Refusal::Kind);
        }
        let path = name_at(&offer.meta, place);
        self.open.remove(&offer.entry);
        let open = self.open.len() + self.conflicts.len() + self.commits.len();
        let is_short = self.lacks_to_replace > 0 && place == Place::Replacing && open > 0;
        if self.descriptors.is_some_and(|most| open >= most) || is_short {
            self.lacks_to_replace = self.lacks_to_replace.saturating_sub(1);
            self.lacked += 1;
            return Err(Refusal::Store { code: 24, operation: StoreOperation::Open });
        }
        self.most_open = self.most_open.max(open + 1);
        if let Some(Some(bytes)) = self.conflicting.pop_front() {
            self.visible.insert(path.clone(), bytes);
        }
        if place != Place::Replacing
            && let Some(bytes) = self.visible.get(&path)
        {
            let len = u64::try_from(bytes.len()).unwrap();
            self.open.insert(offer.entry, (path, Some(bytes.clone())));
            return Ok(Found::Existing(len));
        }
        self.open.insert(offer.entry, (path.clone(), None));
        match self.partial.get(&path) {
            Some(bytes) => Ok(Found::Partial(u64::try_from(bytes.len()).unwrap())),
            None => {
                self.partial.insert(path, Vec::new());
                Ok(Found::Fresh)
            }
        }
    }

    pub(super) fn copy(&mut self, entry: EntryId, offset: u64, len: usize) {
        let (path, _) = self.open[&entry].clone();
        let start = usize::try_from(offset).unwrap();
        let old = self.visible.get_mut(&path).unwrap();
        if std::mem::take(&mut self.changes_before_copy) {
            old[start] ^= 0xFF;
        }
        let bytes = old[start..][..len].to_vec();
        self.put(entry, offset, &bytes);
    }

    pub(super) fn next_commit(&mut self) -> Option<(Ticket, Ended)> {
        if self.is_stuck { None } else { self.commits.pop_front() }
    }

    pub(super) fn read(&mut self, entry: EntryId, offset: u64, len: usize) -> Vec<u8> {
        let (path, existing) = &self.open[&entry];
        self.reads.push((path.clone(), existing.is_some(), offset));
        let bytes = existing.as_ref().unwrap_or_else(|| &self.partial[path]);
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        bytes[start..(start + len).min(bytes.len())].to_vec()
    }

    pub(super) fn write(
        &mut self,
        entry: EntryId,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        self.may_write()?;
        self.written += u64::try_from(bytes.len()).unwrap();
        self.put(entry, offset, bytes);
        Ok(())
    }

    pub(super) fn write_zeros(
        &mut self,
        entry: EntryId,
        offset: u64,
        len: usize,
    ) -> Result<(), Refusal> {
        self.may_write()?;
        self.zeroed.push(u64::try_from(len).unwrap());
        self.put(entry, offset, &vec![0; len]);
        Ok(())
    }

    fn may_write(&mut self) -> Result<(), Refusal> {
        self.writes += 1;
        let fails = self.fail_write == Some(self.writes);
        if fails { Err(Refusal::NoSpace { needed: 7, available: 3 }) } else { Ok(()) }
    }

    fn put(&mut self, entry: EntryId, offset: u64, bytes: &[u8]) {
        let (path, existing) = &self.open[&entry];
        assert!(existing.is_none(), "a file under its final name is not written");
        let file = self.partial.get_mut(path).unwrap();
        let start = usize::try_from(offset).unwrap();
        file.resize(file.len().max(start + bytes.len()), 0);
        file[start..][..bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn commit(&mut self, commit: &Commit) {
        self.conflicts.remove(&commit.entry);
        let (path, existing) = self.open.remove(&commit.entry).unwrap();
        self.committed.push(commit.clone());
        let mut name = path.clone();
        if existing.is_none() {
            name = name_at(&commit.meta, commit.place);
            if let Some(bytes) = self.late.remove(&name) {
                self.visible.insert(name.clone(), bytes);
            }
            match self.others.pop_front() {
                Some(Some(bytes)) => drop(self.visible.insert(name.clone(), bytes)),
                Some(None) => drop(self.visible.remove(&name)),
                None => {}
            }
            if commit.place != Place::Replacing
                && let Some(conflict) = self.visible.get(&name)
            {
                let len = u64::try_from(conflict.len()).unwrap();
                self.conflicts.insert(commit.entry, (name, conflict.clone()));
                self.most_conflicts = self.most_conflicts.max(self.conflicts.len());
                self.open.insert(commit.entry, (path, None));
                self.commits.push_back((commit.ticket, Ended::Taken(Some(len))));
                return;
            }
            let mut bytes = self.partial.remove(&path).unwrap();
            bytes.resize(usize::try_from(commit.size).unwrap(), 0);
            self.visible.insert(name.clone(), bytes);
            self.times.extend(commit.meta.modified.map(|time| (name.clone(), time)));
        } else if let Some(changed) = self.changed.take() {
            self.visible.insert(name, changed);
            let lost = Ended::Committed(Err(Refusal::Exists));
            return self.commits.push_back((commit.ticket, lost));
        }
        self.commits.push_back((commit.ticket, Ended::Committed(Ok(name))));
    }

    pub(super) fn commit_conflict(&mut self, commit: &Commit) {
        self.committed.push(commit.clone());
        let (path, conflict) = self.conflicts.remove(&commit.entry).unwrap();
        match self.others.pop_front() {
            Some(Some(bytes)) => drop(self.visible.insert(path.clone(), bytes)),
            Some(None) => drop(self.visible.remove(&path)),
            None => {}
        }
        let stands = self.visible.get(&path) == Some(&conflict);
        let committed = if stands { Ok(path) } else { Err(Refusal::Exists) };
        self.commits.push_back((commit.ticket, Ended::Committed(committed)));
    }
}

fn name_at(meta: &Meta, place: Place) -> RelPath {
    let name = &meta.path;
    match place {
        Place::Beside(number) => {
            let name = [name.as_bytes(), format!("-{number}").as_bytes()].concat();
            RelPath::parse(&name).unwrap()
        }
        Place::Offered | Place::Replacing => name.clone(),
    }
}
