//! What lost connections leave, over the driver and the server: within one process nothing is read twice on either side,
//! partial files go to whoever takes the place of a sender, and nothing is left over.
#![cfg(all(feature = "fs", feature = "testing"))]
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]
#![expect(
    clippy::disallowed_methods,
    reason = "what stands in the folder is looked at from outside"
)]

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use haul::drive::Clock;
use haul::proto::{EntryId, Meta, Offer, Refusal, Withdrawal};
use haul::store::fs::FsStore;
use haul::store::{Begun, Commit, Ended, MemoryFile, MemorySource, MemoryStore, Place, Unsendable};
use haul::transport::Listening;
use haul::transport::memory::{self, MemoryAcceptor, MemoryConnector, Pipe};
use haul::tree::BlockSize;
use haul::{
    Acceptor, Cancel, Config, Connector, Error, Event, Existing, Peer, RelPath, Retry, Server,
    Source, Store, Transfer,
};

const KIB: usize = 1024;

fn path(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).expect("a good name")
}

/// Content that is a function of the seed and the offset.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn capacity() -> NonZeroUsize {
    NonZeroUsize::new(CAPACITY).expect("a capacity")
}

const CAPACITY: usize = 4096;

fn small_blocks() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

/// What was asked of a store or a source.
#[derive(Debug, Default)]
struct Log {
    begun: BTreeMap<RelPath, u32>,
    read: usize,
    written: usize,
    open: i64,
}

/// A store or a source that is watched.
#[derive(Clone, Default)]
struct Watched<S> {
    inner: S,
    log: Arc<Mutex<Log>>,
    /// Is opened when a file was in use by another session.
    contended: Gate,
}

/// What somebody waits for.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().expect("no panic") = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.0.lock().expect("no panic");
        drop(self.0.1.wait_while(closed, |is_open| !*is_open).expect("no panic"));
    }
}

impl<S> Watched<S> {
    fn new(inner: S) -> Self {
        Self { inner, log: Arc::default(), contended: Gate::default() }
    }

    fn note<R>(&self, note: impl FnOnce(&mut Log) -> R) -> R {
        note(&mut self.log.lock().expect("no panic"))
    }
}

impl<S: Store> Store for Watched<S> {
    type File = S::File;

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<Begun<S::File>, Refusal> {
        let begun = self.inner.begin(offer, place)?;
        self.note(|log| {
            *log.begun.entry(offer.meta.path.clone()).or_default() += 1;
            log.open += 1;
        });
        Ok(begun)
    }

    fn is_contended(&mut self, file: &S::File) -> bool {
        let is_contended = self.inner.is_contended(file);
        if is_contended {
            self.contended.open();
        }
        is_contended
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

    fn poll_committed(&mut self, wait: Duration) -> Option<(EntryId, Ended<S::File>)> {
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

/// A stream that is lost after so many bytes in both directions together; it may then be kept, so that the other end
/// does not hear of it.
struct Frail {
    inner: Option<Pipe>,
    left: usize,
    keep: Option<mpsc::Sender<Pipe>>,
}

impl Frail {
    fn admit(&self, bytes: usize) -> io::Result<usize> {
        if self.left == 0 {
            return Err(ErrorKind::ConnectionReset.into());
        }
        Ok(bytes.min(self.left))
    }

    fn pipe(&mut self) -> &mut Pipe {
        self.inner.as_mut().expect("it is open")
    }
}

impl Read for Frail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.admit(buffer.len())?;
        let read = self.pipe().read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Write for Frail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.admit(bytes.len())?;
        let written = self.pipe().write(&bytes[..most])?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Frail {
    fn drop(&mut self) {
        if let (Some(keep), Some(pipe)) = (&self.keep, self.inner.take()) {
            let _ = keep.send(pipe);
        }
    }
}

/// Connects by streams that hold out for `first` bytes, then `step` more each time.
struct FrailConnector {
    inner: MemoryConnector,
    first: usize,
    step: usize,
    connected: usize,
    keep: Option<mpsc::Sender<Pipe>>,
}

impl FrailConnector {
    fn new(inner: MemoryConnector, first: usize, step: usize) -> Self {
        Self { inner, first, step, connected: 0, keep: None }
    }
}

impl Connector for FrailConnector {
    type Stream = Frail;

    fn connect(&mut self) -> io::Result<Frail> {
        let left = self.first.saturating_add(self.step.saturating_mul(self.connected));
        self.connected += 1;
        Ok(Frail { inner: Some(self.inner.connect()?), left, keep: self.keep.clone() })
    }
}

/// Time that passes only when somebody waits for it, or says so.
#[derive(Clone, Default)]
struct Virtual(Arc<Mutex<Duration>>);

impl Virtual {
    fn pass(&self, time: Duration) {
        *self.0.lock().expect("no panic") += time;
    }
}

impl Clock for Virtual {
    fn now(&self) -> Duration {
        *self.0.lock().expect("no panic")
    }

    fn sleep(&self, time: Duration) {
        self.pass(time);
    }
}

/// Runs a server until the test is done with it.
fn with_server<A, S, R>(
    acceptor: A,
    store: &S,
    change: impl FnOnce(Server<A, S, Virtual>) -> Server<A, S, Virtual>,
    test: impl FnOnce() -> R,
) -> R
where
    A: Acceptor + Send,
    A::Stream: Send,
    S: Store + Clone + Send,
    S::File: Send,
{
    let cancel = Cancel::new();
    let server = Server::new(acceptor, store.clone()).config(small_blocks()).cancel(cancel.clone());
    let server = change(server.clock(Virtual::default()));
    thread::scope(|scope| {
        let server = scope.spawn(move || server.run(|_, _| ()));
        let result = test();
        cancel.cancel();
        let ended = server.join().expect("the server does not panic");
        assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        result
    })
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let name = |entry: io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}

fn folder() -> (tempfile::TempDir, Watched<FsStore>) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = FsStore::open(folder.path()).expect("a store");
    (folder, Watched::new(store))
}

/// What may be under way when a connection is lost: what the sender gathers for one call, a block more, and what the
/// pipe holds.
const IN_FLIGHT: usize = 64 * KIB + KIB + 100 + CAPACITY;

const LARGE: usize = 600 * KIB + 17;

fn entries() -> MemorySource {
    MemorySource::new()
        .file(path("small"), content(1, 700))
        .file(path("large"), content(2, LARGE))
        .file(path("d/other"), content(3, 40 * KIB))
        .directory(path("d"))
}

fn assert_entries(
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

#[test]
fn server_that_loses_connections_reads_nothing_twice() {
    for step in [0, 10 * KIB] {
        let (connector, acceptor) = memory::network(capacity());
        let _network = connector.clone();
        let (folder, store) = folder();
        let mut source = Watched::new(entries());
        let mut connector = FrailConnector::new(connector, 120 * KIB, step);
        with_server(
            acceptor,
            &store,
            |server| server,
            || {
                let sent = Transfer::new(small_blocks())
                    .clock(Virtual::default())
                    .retry(Retry::patiently(Duration::from_secs(100_000)))
                    .send_via(&mut source, &mut connector)
                    .expect("sent");
                assert!(sent.is_complete());
                let lost = connector.connected - 1;
                assert!(
                    lost > 2 && sent.resent <= (lost * (IN_FLIGHT + 700)) as u64,
                    "{}",
                    sent.resent
                );
            },
        );
        assert_entries(folder.path(), &source, &store, connector.connected - 1);
    }
}

#[test]
fn receiver_that_dials_again_reads_nothing_twice() {
    let (connector, acceptor) = memory::network(capacity());
    let (folder, store) = folder();
    let mut source = Watched::new(entries());
    let mut connector = FrailConnector::new(connector, 120 * KIB, 0);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            Transfer::new(small_blocks())
                .retry(Retry::patiently(Duration::from_secs(60)))
                .send_via(&mut source, &mut Listening::new(acceptor))
        });
        let received = Transfer::new(small_blocks())
            .clock(Virtual::default())
            .retry(Retry::patiently(Duration::from_secs(100_000)))
            .receive_via(&store, &mut connector)
            .expect("received");
        let sent = sender.join().expect("no panic").expect("sent");
        assert_eq!((sent.delivered, received.delivered), (4, 4), "over all connections");
        assert_eq!((sent.bytes, received.bytes), (received.bytes, sent.bytes));
    });
    assert_entries(folder.path(), &source, &store, connector.connected - 1);
}

#[test]
fn attempt_that_evicts_a_half_dead_one_goes_on_with_its_files() {
    let (connector, acceptor) = memory::network(capacity());
    let _network = connector.clone();
    let (folder, store) = folder();
    let mut source = Watched::new(entries());
    let (keep, kept) = mpsc::channel();
    let mut connector = FrailConnector::new(connector, 120 * KIB, 1 << 30);
    connector.keep = Some(keep);
    with_server(
        acceptor,
        &store,
        |server| server,
        || {
            Transfer::new(small_blocks()).send_via(&mut source, &mut connector).expect("sent");
        },
    );
    assert_eq!(connector.connected, 2);
    drop(kept);
    assert_entries(folder.path(), &source, &store, 1);
}

/// Sends until the stream is lost, by a transfer of its own.
fn lose(connector: &mut FrailConnector, source: MemorySource) {
    let stream = connector.connect().expect("a stream");
    let lost = Transfer::new(small_blocks()).send(&mut { source }, stream);
    assert!(lost.expect_err("it is lost").is_transient());
}

/// The large file alone, sent again by another transfer: what is held of it does not travel.
fn send_anew(connector: &MemoryConnector) -> u64 {
    let mut source = MemorySource::new().file(path("large"), content(2, LARGE));
    let stream = connector.clone().connect().expect("a stream");
    let sent = Transfer::new(small_blocks()).send(&mut source, stream).expect("sent");
    assert!(sent.is_complete());
    sent.sent
}

fn large() -> MemorySource {
    MemorySource::new().file(path("large"), content(2, LARGE))
}

#[test]
fn sender_that_begins_anew_finds_what_a_lost_connection_left() {
    let (connector, acceptor) = memory::network(capacity());
    let (folder, store) = folder();
    with_server(
        acceptor,
        &store,
        |server| server,
        || {
            lose(&mut FrailConnector::new(connector.clone(), 400 * KIB, 0), large());
            let sent = send_anew(&connector);
            assert!(sent < 300 * KIB as u64, "{sent} bytes");
        },
    );
    assert_eq!(names(folder.path()), ["large"]);
    store.note(|log| assert_eq!(log.open, 0));
}

/// Accepts streams, and tells of each tick on which nothing came how many bytes had come before.
struct Ticking(MemoryAcceptor, mpsc::Sender<usize>);

struct Ticks {
    inner: Pipe,
    read: usize,
    ticks: mpsc::Sender<usize>,
}

impl Acceptor for Ticking {
    type Stream = Ticks;

    fn accept(&mut self) -> io::Result<(Ticks, Peer)> {
        let (mut inner, peer) = self.0.accept()?;
        inner.set_timeout(Some(Duration::from_millis(5)));
        Ok((Ticks { inner, read: 0, ticks: self.1.clone() }, peer))
    }
}

impl Read for Ticks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        match &read {
            Ok(bytes) => self.read += bytes,
            Err(_) => drop(self.ticks.send(self.read)),
        }
        read
    }
}

impl Write for Ticks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A sender is lost without its end of the stream being closed; time passes, and another transfer begins. Gives how
/// many bytes that one sent, and the names in the folder.
fn send_beside_a_half_dead_one(silence: Duration) -> (u64, Vec<String>) {
    let (connector, acceptor) = memory::network(capacity());
    let (ticked, ticks) = mpsc::channel();
    let (folder, store) = folder();
    let (keep, kept) = mpsc::channel();
    let clock = Virtual::default();
    let mut names_then = Vec::new();
    let sent = with_server(
        Ticking(acceptor, ticked),
        &store,
        |server| server.clock(clock.clone()),
        || {
            let mut frail = FrailConnector::new(connector.clone(), 400 * KIB, 0);
            frail.keep = Some(keep);
            lose(&mut frail, large());
            // All but the few bytes of the answers came down; the session waits for more by the second tick after them.
            let mut quiet = 0;
            while quiet < 2 {
                let read = ticks.recv().expect("the server runs");
                quiet += u32::from(read > 400 * KIB - 2000);
            }
            clock.pass(silence);
            let sent = send_anew(&connector);
            names_then = names(folder.path());
            drop(kept);
            sent
        },
    );
    (sent, names_then)
}

#[test]
fn sender_that_begins_anew_beside_its_half_dead_session_finds_what_that_one_has() {
    let (sent, names) = send_beside_a_half_dead_one(Duration::from_secs(11));
    assert!(sent < 300 * KIB as u64, "{sent} bytes");
    assert_eq!(names, ["large"], "nothing is left over");
}

#[test]
fn session_whose_sender_may_live_is_left_alone_when_another_transfer_begins() {
    let (sent, names) = send_beside_a_half_dead_one(Duration::from_secs(9));
    assert_eq!(sent, LARGE as u64, "it begins from the start");
    assert_eq!(names.len(), 2, "the first one still has its partial file: {names:?}");
}

/// Accepts streams that give no more than so many bytes until a gate is open: a receiver that is slow to read them.
struct Slow(MemoryAcceptor, Gate);

struct Held {
    inner: Pipe,
    left: usize,
    gate: Gate,
}

impl Acceptor for Slow {
    type Stream = Held;

    fn accept(&mut self) -> io::Result<(Held, Peer)> {
        let (inner, peer) = self.0.accept()?;
        Ok((Held { inner, left: 100 * KIB, gate: self.1.clone() }, peer))
    }
}

impl Read for Held {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            self.gate.pass();
        }
        let most = if self.left == 0 { buffer.len() } else { buffer.len().min(self.left) };
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read.min(self.left);
        Ok(read)
    }
}

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The first session still reads what its sender left behind when that one begins anew, and asks for the same file.
#[test]
fn sender_that_begins_anew_before_its_old_session_has_read_to_the_end_finds_all_that_came() {
    let (connector, acceptor) = memory::network(NonZeroUsize::new(1 << 20).expect("a capacity"));
    let (folder, store) = folder();
    let slow = Slow(acceptor, store.contended.clone());
    let sent = with_server(
        slow,
        &store,
        |server| server,
        || {
            lose(&mut FrailConnector::new(connector.clone(), 400 * KIB, 0), large());
            send_anew(&connector)
        },
    );
    assert!(sent < 300 * KIB as u64, "{sent} bytes");
    assert_eq!(names(folder.path()), ["large"], "nothing is left over");
    store.note(|log| assert_eq!(log.open, 0));
}

#[test]
fn server_with_no_room_lets_a_sender_in_the_place_of_its_half_dead_session() {
    let (connector, acceptor) = memory::network(capacity());
    let _network = connector.clone();
    let (folder, store) = folder();
    let mut source = Watched::new(entries());
    let (keep, kept) = mpsc::channel();
    let mut connector = FrailConnector::new(connector, 120 * KIB, 1 << 30);
    connector.keep = Some(keep);
    with_server(
        acceptor,
        &store,
        |server| server.sessions(1),
        || {
            let sent = Transfer::new(small_blocks())
                .retry(Retry::patiently(Duration::from_secs(60)))
                .send_via(&mut source, &mut connector)
                .expect("sent");
            assert!(sent.is_complete());
        },
    );
    drop(kept);
    assert!(connector.connected > 2, "it was turned away first");
    assert_entries(folder.path(), &source, &store, 1);
}

#[test]
fn what_was_left_is_let_go_after_its_time_and_with_the_server() {
    for remember in [Duration::ZERO, Duration::from_secs(60)] {
        let (connector, mut acceptor) = memory::network(capacity());
        acceptor.set_timeout(Some(Duration::from_millis(5)));
        let (folder, store) = folder();
        with_server(
            acceptor,
            &store,
            |server| server.remember(remember),
            || {
                lose(&mut FrailConnector::new(connector.clone(), 400 * KIB, 0), large());
                while remember.is_zero() && store.note(|log| log.open > 0) {
                    thread::yield_now();
                }
            },
        );
        store.note(|log| assert_eq!(log.open, 0));
        let [partial] = &names(folder.path())[..] else { panic!("one partial file") };
        let file = std::fs::File::open(folder.path().join(partial)).expect("it is there");
        file.try_lock().expect("nobody has it");
    }
}

/// A store whose commits end once a connection is lost, when somebody waits for them: each wait takes its time.
#[derive(Default)]
struct Late(MemoryStore, Arc<AtomicBool>, Virtual);

impl Store for Late {
    type File = <MemoryStore as Store>::File;

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<Begun<Self::File>, Refusal> {
        self.0.begin(offer, place)
    }

    fn read_at(&mut self, file: &mut Self::File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(file, at, buffer)
    }

    fn write_at(&mut self, file: &mut Self::File, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.0.write_at(file, at, bytes)
    }

    fn copy_held(&mut self, file: &mut Self::File, at: u64, len: u64) -> Result<(), Refusal> {
        self.0.copy_held(file, at, len)
    }

    fn commit(&mut self, file: Self::File, commit: Commit) {
        self.0.commit(file, commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(EntryId, Ended<MemoryFile>)> {
        if wait.is_zero() {
            return None;
        }
        self.2.pass(wait);
        // The other end of the line is played by a thread of its own.
        thread::yield_now();
        if self.1.load(Ordering::SeqCst) { self.0.poll_committed(wait) } else { None }
    }

    fn suspend(&mut self, file: Self::File) {
        self.0.suspend(file);
    }

    fn discard(&mut self, file: Self::File) {
        self.0.discard(file);
    }
}

/// A stream that notes when it is lost.
struct Noted<T>(T, Arc<AtomicBool>);

impl<T> Noted<T> {
    fn note<R>(&self, result: io::Result<R>) -> io::Result<R> {
        let is_lost = |error: &io::Error| error.kind() != ErrorKind::TimedOut;
        result.inspect_err(|error| self.1.store(is_lost(error), Ordering::SeqCst))
    }
}

impl<T: Read> Read for Noted<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer);
        self.note(read)
    }
}

impl<T: Write> Write for Noted<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn commit_of_a_lost_session_is_not_taken_for_one_of_the_next() {
    let (lost, clock) = (Arc::new(AtomicBool::new(false)), Virtual::default());
    let mut store = Late(MemoryStore::new(), Arc::clone(&lost), clock.clone());
    let (alice, bob) = memory::pipe(capacity());
    let left = thread::scope(|scope| {
        // Its greetings and its file get through. It is lost by one of the heartbeats for which the commit makes time.
        scope.spawn(move || {
            let mut source = MemorySource::new().file(path("first"), "1");
            let stream = Frail { inner: Some(alice), left: 600, keep: None };
            Transfer::new(small_blocks()).send(&mut source, stream).expect_err("it is lost");
        });
        let bob = Noted(bob, Arc::clone(&lost));
        let mut transfer = Transfer::new(small_blocks()).clock(clock.clone());
        transfer.receive(&mut store, bob).expect_err("it is lost")
    });
    assert!(left.is_transient(), "{left:?}");
    assert!(store.0.get("first").is_some(), "the file came through");
    let (alice, bob) = memory::pipe(capacity());
    let mut receipts = Vec::new();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| Transfer::new(small_blocks()).receive(&mut store, bob));
        let mut source = MemorySource::new().file(path("second"), "2");
        Transfer::new(small_blocks())
            .observer(|event: &Event| {
                if let Event::Delivered { receipt, .. } = event {
                    receipts.push(receipt.path.clone());
                }
            })
            .send(&mut source, alice)
            .expect("sent");
        receiver.join().expect("no panic").expect("received");
    });
    assert_eq!(receipts, [path("second")]);
}

#[test]
fn renamed_file_is_stored_once_however_often_its_connection_is_lost() {
    for first in (300..900).step_by(29) {
        let (connector, mut acceptor) = memory::network(capacity());
        acceptor.set_timeout(Some(Duration::from_millis(5)));
        let _network = connector.clone();
        let (folder, store) = folder();
        std::fs::write(folder.path().join("a"), "there already").expect("written");
        let rename = small_blocks().existing(Existing::Rename);
        let mut connector = FrailConnector::new(connector, first, 40);
        with_server(
            acceptor,
            &store,
            |server| server.config(rename),
            || {
                Transfer::new(small_blocks())
                    .clock(Virtual::default())
                    .retry(Retry::patiently(Duration::from_secs(100_000)))
                    .send_via(&mut MemorySource::new().file(path("a"), "new"), &mut connector)
                    .expect("sent");
            },
        );
        assert_eq!(names(folder.path()), ["a", "a (1)"], "{first}");
    }
}

#[test]
fn listening_connector_gives_the_first_cause_once_patience_is_at_its_end() {
    /// Greets nobody: the first stream is lost at once, then nobody comes, and each call takes a second.
    struct Nobody(Virtual, Option<Pipe>);
    impl Connector for Nobody {
        type Stream = Pipe;
        fn connect(&mut self) -> io::Result<Pipe> {
            self.0.pass(Duration::from_secs(1));
            self.1.take().ok_or_else(|| ErrorKind::WouldBlock.into())
        }
    }
    let clock = Virtual::default();
    let (alice, bob) = memory::pipe(capacity());
    drop(bob);
    let error = Transfer::new(small_blocks())
        .clock(clock.clone())
        .retry(Retry::patiently(Duration::from_secs(60)))
        .send_via(&mut large(), &mut Nobody(clock.clone(), Some(alice)))
        .expect_err("nobody comes");
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error:?}");
    assert!((60..70).contains(&clock.now().as_secs()), "{:?}", clock.now());
}
