//! Stores and sources that are watched, and gates that they open.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use haul::store::fs::FsStore;
use haul::store::{Ended, MemorySource, Unsendable};
use haul::types::{Commit, Found, Meta, Offer, Place, Refusal, Ticket, TransferId, Withdrawal};
use haul::{RelPath, Source, Store};

use crate::scene::{content, path};

/// Requests to a store or a source.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) begun: BTreeMap<RelPath, u32>,
    pub(crate) read: usize,
    pub(crate) written: usize,
    pub(crate) open: i64,
}

/// A store or a source that is watched.
#[derive(Clone, Default)]
pub(crate) struct Watched<S> {
    inner: S,
    pub(crate) log: Arc<Mutex<Log>>,
    /// Is opened when an entry is about to be begun.
    pub(crate) beginning: Gate,
}

/// Gate that somebody waits at.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().expect("no panic") = true;
        self.0.1.notify_all();
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.0.0.lock().expect("no panic")
    }

    pub(crate) fn pass(&self) {
        let closed = self.0.0.lock().expect("no panic");
        drop(self.0.1.wait_while(closed, |is_open| !*is_open).expect("no panic"));
    }
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, log: Arc::default(), beginning: Gate::default() }
    }

    pub(crate) fn note<R>(&self, note: impl FnOnce(&mut Log) -> R) -> R {
        note(&mut self.log.lock().expect("no panic"))
    }
}

impl<S: Store> Store for Watched<S> {
    type File = S::File;

    fn serve(&mut self, transfer: TransferId) {
        self.inner.serve(transfer);
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(S::File, Found), Refusal> {
        self.beginning.open();
        let begun = self.inner.begin(offer, place)?;
        self.note(|log| {
            *log.begun.entry(offer.meta.path.clone()).or_default() += 1;
            log.open += 1;
        });
        Ok(begun)
    }

    fn read_at(&mut self, file: &mut S::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read_at(file, offset, buffer)?;
        self.note(|log| log.read += read);
        Ok(read)
    }

    fn write_at(&mut self, file: &mut S::File, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.note(|log| log.written += bytes.len());
        self.inner.write_at(file, offset, bytes)
    }

    fn copy_held(&mut self, file: &mut S::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(file, offset, len)
    }

    fn commit(&mut self, file: S::File, commit: Commit) {
        self.note(|log| log.open -= 1);
        self.inner.commit(file, commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<S::File>)> {
        self.inner.poll_committed(wait)
    }

    fn suspend(&mut self, file: S::File) {
        self.note(|log| log.open -= 1);
        self.inner.suspend(file);
    }

    fn discard(&mut self, file: S::File) {
        self.note(|log| log.open -= 1);
        self.inner.discard(file);
    }
}

impl<S: Source> Source for Watched<S> {
    type Key = S::Key;
    type Reader = S::Reader;

    fn rewind(&mut self) -> io::Result<()> {
        self.inner.rewind()
    }

    fn next_entry(&mut self) -> Option<Result<(S::Key, Meta), Unsendable>> {
        self.inner.next_entry()
    }

    fn open(&mut self, key: &S::Key, meta: &Meta) -> Result<S::Reader, Withdrawal> {
        self.inner.open(key, meta)
    }

    fn read_at(&mut self, file: &mut S::Reader, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read_at(file, offset, to)?;
        self.note(|log| log.read += read);
        Ok(read)
    }

    fn finish(&mut self, reader: &mut S::Reader, meta: &Meta) -> Result<(), Withdrawal> {
        self.inner.finish(reader, meta)
    }
}

pub(crate) const KIB: usize = 1024;

pub(crate) const CAPACITY: usize = 4096;

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let name = |entry: io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

pub(crate) fn folder() -> (tempfile::TempDir, Watched<FsStore>) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = FsStore::open(folder.path()).expect("a store");
    (folder, Watched::new(store))
}

/// Bytes that may be under way when a connection is lost: what the sender gathers for one call, a block more, and
/// what the pipe holds.
pub(crate) const IN_FLIGHT: usize = 64 * KIB + KIB + 100 + CAPACITY;

pub(crate) const LARGE: usize = 600 * KIB + 17;

pub(crate) fn large() -> MemorySource {
    MemorySource::new().file(path("large"), content(2, LARGE))
}

pub(crate) fn entries() -> MemorySource {
    MemorySource::new()
        .file(path("small"), content(1, 700))
        .file(path("large"), content(2, LARGE))
        .file(path("d/other"), content(3, 40 * KIB))
        .directory(path("d"))
}

pub(crate) fn assert_entries(
    folder: &Path,
    source: &Watched<MemorySource>,
    store: &Watched<FsStore>,
    lost: usize,
) {
    assert_eq!(names(folder), ["d", "large", "small"]);
    assert_eq!(names(&folder.join("d")), ["other"]);
    assert!(std::fs::read(folder.join("large")).expect("it is there") == content(2, LARGE));
    assert!(std::fs::read(folder.join("d/other")).expect("it is there") == content(3, 40 * KIB));
    let total = 700 + LARGE + 40 * KIB;
    store.note(|log| {
        assert_eq!((log.read, log.written, log.open), (0, total, 0), "{log:?}");
        assert_eq!((log.begun[&path("large")], log.begun[&path("d/other")]), (1, 1), "{log:?}");
    });
    let most = total + lost * (IN_FLIGHT + 700);
    source
        .note(|log| assert!(log.read <= most, "{} bytes read, {lost} connections lost", log.read));
}
