use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::*;
use crate::store::{
    Chain, MemoryFile, MemorySource, MemoryStore, Source, StreamSource, Unsendable,
};
use crate::types::{Found, Meta, TransferId, Withdrawal};

/// A store that names a commit by the last one of the same entry.
struct ByEntry {
    inner: MemoryStore,
    entries: HashMap<Ticket, EntryId>,
    last: HashMap<EntryId, Ticket>,
}

impl Store for ByEntry {
    type File = MemoryFile;

    fn serve(&mut self, transfer: TransferId) {
        self.inner.serve(transfer);
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(MemoryFile, Found), Refusal> {
        self.inner.begin(offer, place)
    }

    fn read_at(&mut self, file: &mut MemoryFile, at: u64, to: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(file, at, to)
    }

    fn write_at(&mut self, file: &mut MemoryFile, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.inner.write_at(file, at, bytes)
    }

    fn copy_held(&mut self, file: &mut MemoryFile, at: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(file, at, len)
    }

    fn commit(&mut self, file: MemoryFile, commit: Commit) {
        self.entries.insert(commit.ticket, commit.entry);
        self.last.insert(commit.entry, commit.ticket);
        self.inner.commit(file, commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<MemoryFile>)> {
        let (ticket, ended) = self.inner.poll_committed(wait)?;
        Some((self.last[&self.entries[&ticket]], ended))
    }

    fn suspend(&mut self, file: MemoryFile) {
        self.inner.suspend(file);
    }

    fn discard(&mut self, file: MemoryFile) {
        self.inner.discard(file);
    }
}

fn contents() -> HashMap<RelPath, Vec<u8>> {
    [("a", 0), ("b/c", 1), ("b/d", 5000), ("e", 100_000)]
        .map(|(name, len)| (path(name), content(len)))
        .into()
}

type Ends = VecDeque<(Ticket, Ended<MemoryFile>)>;

/// Store whose clones hand out the ends of whatever commits there are.
#[derive(Clone)]
struct SharedEnds {
    inner: MemoryStore,
    ended: Arc<Mutex<Ends>>,
}

/// Store that waits for a minute where it is asked to wait for less, in a time of its own.
struct Overstays {
    inner: MemoryStore,
    clock: Rc<Cell<Duration>>,
}

struct Minutes(Rc<Cell<Duration>>);

impl Clock for Minutes {
    fn now(&self) -> Duration {
        self.0.get()
    }

    fn sleep(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}

/// A store that does as the one behind it, save for the ends of commits.
macro_rules! ends_otherwise {
    ($store:ident, $self:ident, $wait:ident, $poll:block) => {
        impl Store for $store {
            type File = MemoryFile;

            fn serve(&mut self, transfer: TransferId) {
                self.inner.serve(transfer);
            }

            fn begin(&mut self, offer: &Offer, place: Place) -> Result<(MemoryFile, Found), Refusal> {
                self.inner.begin(offer, place)
            }

            fn read_at(
                &mut self,
                file: &mut MemoryFile,
                offset: u64,
                buffer: &mut [u8],
            ) -> io::Result<usize> {
                self.inner.read_at(file, offset, buffer)
            }

            fn write_at(
                &mut self,
                file: &mut MemoryFile,
                offset: u64,
                bytes: &[u8],
            ) -> Result<(), Refusal> {
                self.inner.write_at(file, offset, bytes)
            }

            fn copy_held(
                &mut self,
                file: &mut MemoryFile,
                offset: u64,
                len: u64,
            ) -> Result<(), Refusal> {
                self.inner.copy_held(file, offset, len)
            }

            fn commit(&mut self, file: MemoryFile, commit: Commit) {
                self.inner.commit(file, commit);
            }

            fn poll_committed(&mut $self, $wait: Duration) -> Option<(Ticket, Ended<MemoryFile>)> $poll

            fn suspend(&mut self, file: MemoryFile) {
                self.inner.suspend(file);
            }

            fn discard(&mut self, file: MemoryFile) {
                self.inner.discard(file);
            }
        }
    };
}

ends_otherwise!(SharedEnds, self, wait, {
    let mut ended = self.ended.lock().unwrap();
    ended.extend(std::iter::from_fn(|| self.inner.poll_committed(wait)));
    ended.pop_front()
});

ends_otherwise!(Overstays, self, wait, {
    let ended = self.inner.poll_committed(wait);
    let waits = if ended.is_some() { wait } else { Duration::from_secs(60) };
    self.clock.set(self.clock.get() + waits);
    ended
});

/// A store of which no commit ever ends, in a time of its own.
struct NeverEnds {
    inner: MemoryStore,
    clock: Rc<Cell<Duration>>,
}

ends_otherwise!(NeverEnds, self, wait, {
    self.clock.set(self.clock.get() + wait);
    None
});

#[test]
fn memory_store_keeps_the_contract() {
    check_store(MemoryStore::new);
    check_clones(MemoryStore::new());
}

#[test]
fn memory_store_is_tidy_and_holds_names_against_one_another() {
    let clock = SystemClock::new();
    Checked::new(MemoryStore::new(), Durability::Synced, &clock)
        .partial_of_a_name_that_is_settled_is_removed();
    let mut store = MemoryStore::new();
    let mut begin = |number, name| {
        let meta = Meta::file(path(name), Some(1));
        let offer = Offer::new(EntryId::new(number), meta, BlockSize::MIN);
        store.begin(&offer, Place::Replacing).map(drop).err()
    };
    let collides = Some(Refusal::Collision);
    assert_eq!([begin(0, "Name"), begin(1, "name"), begin(2, "Name")], [None, collides, collides]);
    assert_eq!(begin(0, "Name"), None, "the same entry, again");
}

#[test]
#[should_panic(expected = "a clone is given the end of a commit of another one")]
fn suite_notices_a_store_whose_clones_share_their_ends() {
    check_clones(SharedEnds { inner: MemoryStore::new(), ended: Arc::default() });
}

#[test]
#[should_panic(expected = "`poll_committed` is told to wait for 0ns at most, and takes 60s")]
fn suite_notices_a_store_that_waits_longer_than_it_is_told_to() {
    let clock = Rc::new(Cell::new(Duration::ZERO));
    let make = || Overstays { inner: MemoryStore::new(), clock: Rc::clone(&clock) };
    check_store_by(make, &Minutes(Rc::clone(&clock)));
}

#[test]
#[should_panic(expected = "a commit does not end")]
fn suite_notices_a_store_whose_commits_do_not_end() {
    let clock = Rc::new(Cell::new(Duration::ZERO));
    let make = || NeverEnds { inner: MemoryStore::new(), clock: Rc::clone(&clock) };
    check_store_by(make, &Minutes(Rc::clone(&clock)));
}

#[test]
fn memory_source_keeps_the_contract() {
    let expected = contents();
    let make = || {
        let files = expected.iter();
        files.fold(MemorySource::new(), |source, (path, bytes)| {
            source.file(path.clone(), bytes.clone())
        })
    };
    check_source(make, &expected);
}

#[test]
fn chain_with_a_stream_keeps_the_contract() {
    let mut expected = HashMap::from([(path("a"), content(3000)), (path("s"), content(50_000))]);
    let (file, stream) = (content(3000), content(50_000));
    let make = || {
        let files = MemorySource::new().file(path("a"), file.clone());
        let stream = io::Cursor::new(stream.clone());
        Chain::new(files, StreamSource::with_window(path("s"), stream, 10_000))
    };
    check_source(make, &expected);
    expected.remove(&path("s"));
    let make =
        || Chain::new(MemorySource::new(), MemorySource::new().file(path("a"), file.clone()));
    check_source(make, &expected);
    assert_eq!(make().total(), Some(3000));
}

#[test]
fn source_that_is_borrowed_or_boxed_keeps_the_contract() {
    fn stream(bytes: &[u8]) -> StreamSource {
        StreamSource::with_window(path("s"), io::Cursor::new(bytes.to_vec()), 10_000)
    }
    let bytes = content(50_000);
    let expected = HashMap::from([(path("s"), bytes.clone())]);
    check_source(|| Box::new(stream(&bytes)), &expected);
    check_source(|| Box::leak(Box::new(stream(&bytes))), &expected);
    check_source(
        || -> Box<dyn Source<Key = (), Reader = ()>> { Box::new(stream(&bytes)) },
        &expected,
    );
    let boxed: Box<dyn Source<Key = usize, Reader = _>> =
        Box::new(MemorySource::new().file(path("a"), "b"));
    assert_eq!((boxed.total(), stream(&[]).window(&())), (Some(1), Some(10_000)));
}

#[test]
#[should_panic(expected = "every entry is yielded")]
fn source_that_is_empty_the_second_time_breaks_the_contract() {
    /// A source that reports a rewind, and did not rewind.
    struct Once(MemorySource);
    impl Source for Once {
        type Key = usize;
        type Reader = <MemorySource as Source>::Reader;
        fn rewind(&mut self) -> io::Result<()> {
            Ok(())
        }
        fn next_entry(&mut self) -> Option<Result<(usize, Meta), Unsendable>> {
            self.0.next_entry()
        }
        fn open(&mut self, key: &usize, meta: &Meta) -> Result<Self::Reader, Withdrawal> {
            self.0.open(key, meta)
        }
        fn read_at(
            &mut self,
            reader: &mut Self::Reader,
            offset: u64,
            buffer: &mut [u8],
        ) -> io::Result<usize> {
            self.0.read_at(reader, offset, buffer)
        }
        fn finish(&mut self, reader: &mut Self::Reader, meta: &Meta) -> Result<(), Withdrawal> {
            self.0.finish(reader, meta)
        }
    }
    let expected = HashMap::from([(path("a"), content(3000))]);
    check_source(|| Once(MemorySource::new().file(path("a"), content(3000))), &expected);
}

#[test]
fn source_that_has_nothing_now_and_then_keeps_the_contract() {
    let expected = contents();
    let make = || {
        let files = expected.iter();
        let source = files.fold(MemorySource::new(), |source, (path, bytes)| {
            source.file(path.clone(), bytes.clone())
        });
        [0, 1, 2, 5, 20, 21].into_iter().fold(FaultSource::new(source), |source, call| {
            let kind =
                if call % 2 == 0 { io::ErrorKind::WouldBlock } else { io::ErrorKind::Interrupted };
            source.fault(Fault::once(SourceCall::Read, call, Failure::Io(kind)))
        })
    };
    check_source(make, &expected);
}

#[test]
fn fault_store_without_faults_keeps_the_contract() {
    check_store(|| FaultStore::new(MemoryStore::new()));
}

#[test]
fn late_store_keeps_the_contract() {
    check_store(|| LateStore::new(MemoryStore::new(), 3));
}

#[test]
fn late_store_that_holds_commits_back_keeps_the_contract() {
    check_store(|| LateStore::new(MemoryStore::new(), 3).held());
}

#[test]
#[should_panic(expected = "the earlier of two commits has the name in the end")]
fn suite_notices_a_store_whose_older_commit_replaces_what_a_later_one_gave() {
    check_tickets(LateStore::new(MemoryStore::new(), 1).newest_first());
}

#[test]
#[should_panic(expected = "gives a ticket of no commit under way")]
fn suite_notices_a_store_that_says_the_end_of_a_commit_twice() {
    check_store(|| LateStore::new(MemoryStore::new(), 0).twice());
}

#[test]
#[should_panic(expected = "gives a ticket of no commit under way")]
fn suite_notices_a_store_that_gives_a_ticket_of_its_own() {
    check_store(|| LateStore::new(MemoryStore::new(), 0).strangers());
}

/// The store remembers its commits by their entries, as if no other session had entries of the same
/// numbers.
#[test]
#[should_panic(expected = "the end of the commit")]
fn suite_notices_a_store_that_knows_its_commits_by_their_entries() {
    check_store(|| ByEntry {
        inner: MemoryStore::new(),
        entries: HashMap::new(),
        last: HashMap::new(),
    });
}

#[test]
fn fault_store_fails_the_call_that_it_was_told() {
    for (operation, call) in [(StoreCall::Write, 0), (StoreCall::Write, 2), (StoreCall::Begin, 0)] {
        for for_ever in [false, true] {
            let failure = Failure::Io(io::ErrorKind::StorageFull);
            let fault = if for_ever { Fault::from } else { Fault::once };
            let mut store =
                FaultStore::new(MemoryStore::new()).fault(fault(operation, call, failure));
            let offer = Offer::new(EntryId::new(0), Meta::file(path("x"), Some(4)), BlockSize::MIN);
            let mut failed = Vec::new();
            for round in 0..4 {
                match store.begin(&offer, Place::Offered) {
                    Ok((mut file, Found::Fresh | Found::Partial(_))) => {
                        if store.write_at(&mut file, round, b"x").is_err() {
                            failed.push(round);
                        }
                        store.suspend(file);
                    }
                    Err(_) => failed.push(round),
                    Ok((_, Found::Existing(_))) => panic!("nothing was committed"),
                }
            }
            let expected: Vec<_> = (0..4).filter(|&k| k == call || for_ever && k > call).collect();
            assert_eq!(failed, expected, "{operation:?}");
            assert_eq!(store.failed(), length(expected.len()));
        }
    }
}

#[test]
fn fault_store_failed_commit_keeps_the_partial() {
    let refusal = Refusal::Sync { code: 5 };
    let fault = Fault::once(StoreCall::Commit, 0, Failure::Refusal(refusal));
    let memory = MemoryStore::new();
    let mut store = FaultStore::new(memory.clone()).fault(fault);
    let offer = Offer::new(EntryId::new(0), Meta::file(path("x"), Some(1)), BlockSize::MIN);
    for expected in [Err(refusal), Ok(Committed::new(path("x")))] {
        let Ok((mut file, Found::Fresh | Found::Partial(_))) = store.begin(&offer, Place::Offered)
        else {
            panic!("it does not begin")
        };
        assert_eq!(store.write_at(&mut file, 0, b"x"), Ok(()));
        let meta = offer.meta.clone();
        let ticket = Ticket::new([1; 16], memory.partials().len() as u64);
        let commit = Commit::new(ticket, offer.entry, meta, Place::Offered, 1, Durability::Synced);
        store.commit(file, commit);
        let ended = store.poll_committed(Duration::ZERO).expect("it ended");
        let ended = (
            ended.0,
            ended
                .1
                .map_err(|failed| matches!(failed, Uncommitted::Failed(found) if found == refusal)),
        );
        assert_eq!(ended, (ticket, expected.clone().map_err(|_| true)));
        assert_eq!(memory.files().len(), usize::from(expected.is_ok()));
        assert_eq!(memory.partials().len(), usize::from(expected.is_err()));
    }
}

#[test]
fn fault_store_commit_that_fails_to_settle_stands_and_is_not_vouched_for() {
    let refusal = Refusal::Sync { code: 5 };
    let fault = Fault::once(StoreCall::Settle, 0, Failure::Refusal(refusal));
    let memory = MemoryStore::new();
    let mut store = FaultStore::new(memory.clone()).fault(fault);
    let offer = Offer::new(EntryId::new(0), Meta::file(path("x"), Some(0)), BlockSize::MIN);
    let Ok((file, Found::Fresh)) = store.begin(&offer, Place::Offered) else { panic!("no file") };
    assert!(store.poll_committed(Duration::ZERO).is_none(), "what has not ended is no call");
    let meta = offer.meta.clone();
    let ticket = Ticket::new([1; 16], 0);
    let commit = Commit::new(ticket, offer.entry, meta, Place::Offered, 0, Durability::Synced);
    store.commit(file, commit);
    let ended = store.poll_committed(Duration::ZERO);
    let is_failed =
        |ended: &Ended<_>| matches!(ended, Err(Uncommitted::Failed(r)) if *r == refusal);
    assert!(ended.is_some_and(|(named, ended)| named == ticket && is_failed(&ended)));
    assert!(memory.get("x").is_some());
    assert_eq!((store.calls(StoreCall::Settle), store.failed()), (1, 1));
}

#[test]
fn fault_store_write_that_fails_leaves_half_and_suspend_or_discard_the_contrary() {
    for (operation, is_suspended, is_left) in [
        (StoreCall::Copy, true, true),
        (StoreCall::Copy, false, false),
        (StoreCall::Suspend, true, false),
        (StoreCall::Discard, false, true),
    ] {
        let failure = Failure::Os(28);
        let memory = MemoryStore::new();
        let mut store = FaultStore::new(memory.clone())
            .fault(Fault::once(StoreCall::Write, 0, failure))
            .fault(Fault::from(operation, 0, failure));
        let offer = Offer::new(EntryId::new(0), Meta::file(path("x"), Some(4)), BlockSize::MIN);
        let Ok((mut file, Found::Fresh)) = store.begin(&offer, Place::Offered) else {
            panic!("no file")
        };
        assert_eq!(store.write_at(&mut file, 0, b"abcd"), Err(failure.refusal(StoreCall::Write)));
        if is_suspended {
            store.suspend(file)
        } else {
            store.discard(file)
        }
        let left = is_left.then(|| (path("x"), b"ab".to_vec()));
        assert_eq!(memory.partials(), left.into_iter().collect::<Vec<_>>(), "{operation:?}");
    }
}

#[test]
fn fault_source_fails_the_calls_that_it_was_told_and_no_others() {
    let expected = contents();
    let make = || {
        let files = expected.iter();
        FaultSource::new(files.fold(MemorySource::new(), |source, (path, bytes)| {
            source.file(path.clone(), bytes.clone())
        }))
    };
    check_source(make, &expected);
    let failure = Failure::Io(io::ErrorKind::NotFound);
    let told = |operation| make().fault(Fault::once(operation, 0, failure));
    let mut source = told(SourceCall::Next);
    let unsendable = source.next_entry().and_then(Result::err).map(|found| found.reason);
    assert_eq!(unsendable, Some(Withdrawal::Vanished));
    assert_eq!(std::iter::from_fn(|| source.next_entry()).flatten().count(), expected.len() - 1);
    assert_eq!(source.calls(SourceCall::Next), length(expected.len()));
    let mut source = told(SourceCall::Open);
    let (key, meta) = source.next_entry().unwrap().unwrap();
    assert_eq!(source.open(&key, &meta).err(), Some(Withdrawal::Vanished));
    let mut source = source.fault(Fault::once(SourceCall::Read, 0, failure));
    let mut reader = source.open(&key, &meta).unwrap();
    let read = source.read_at(&mut reader, 0, &mut [0]);
    assert_eq!(read.map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
    assert_eq!(source.finish(&mut reader, &meta), Ok(()));
    let mut source = source.fault(Fault::from(SourceCall::Finish, 1, failure));
    assert_eq!(source.finish(&mut reader, &meta), Err(Withdrawal::Vanished));
    assert_eq!(source.failed(), 3);
    let mut source = told(SourceCall::Rewind);
    assert_eq!(source.rewind().map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
    assert!(source.rewind().is_ok());
}

#[cfg(feature = "fs")]
#[expect(clippy::disallowed_methods, reason = "files for a source of files")]
mod fs {
    use super::*;
    use crate::store::fs::{FsSource, FsStore};

    #[test]
    fn folder_store_keeps_the_contract_with_any_number_of_threads() {
        for threads in [0, 1, 2, 5] {
            let mut dirs = Vec::new();
            let mut make = || {
                let dir = tempfile::tempdir().unwrap();
                let store = FsStore::open(dir.path()).unwrap().sync_threads(threads);
                dirs.push(dir);
                store
            };
            check_store(&mut make);
            check_clones(make());
            Checked::new(make(), Durability::Synced, &SystemClock::new())
                .partial_of_a_name_that_is_settled_is_removed();
            let names = dirs.iter().flat_map(|dir| walk(dir.path()));
            // An entry that goes on with what an earlier attempt left is discarded once: that is kept.
            assert_eq!(names.filter(|name| name.ends_with(".part")).count(), 1);
        }
    }

    #[test]
    fn folder_source_keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in contents() {
            let path = dir.path().join("t").join(path.to_string());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let named = |(name, bytes): (RelPath, Vec<u8>)| (path(&format!("t/{name}")), bytes);
        let expected: HashMap<_, _> = contents().into_iter().map(named).collect();
        check_source(|| FsSource::new([dir.path().join("t")]).unwrap(), &expected);
    }

    fn walk(folder: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let names = entries.flat_map(|entry| {
            let mut names = vec![entry.file_name().into_string().unwrap()];
            if entry.file_type().unwrap().is_dir() {
                names.extend(walk(&entry.path()));
            }
            names
        });
        names.collect()
    }
}
