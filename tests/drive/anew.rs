//! Partial files of lost connections after a sender begins anew: they go to whoever takes its place, and nothing is
//! left over.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use haul::hash::BlockSize;
use haul::store::fs::{FsFile, FsStore};
use haul::store::{Ended, MemorySource};
use haul::transport::memory::{self, MemoryAcceptor, MemoryConnector, Pipe};
use haul::types::{Commit, EntryId, Found, Meta, Offer, Place, Refusal, Ticket, TransferId};
use haul::{Acceptor, Connector, Peer, Retry, Store, Transfer};

use crate::scene::{FrailConnector, Virtual, capacity, content, path, small_blocks, with_server};
use crate::watched::{
    CAPACITY, Gate, KIB, LARGE, Watched, assert_entries, entries, folder, large, names,
};

const ID: TransferId = TransferId::new([7; 16]);

/// The transfer of each process that sends the same.
fn transfer() -> Transfer {
    Transfer::new(small_blocks()).id(ID)
}

/// Sends until the stream is lost, by a transfer of its own.
fn lose(connector: &mut FrailConnector, source: MemorySource) {
    let stream = connector.connect().expect("a stream");
    let lost = transfer().send(&mut { source }, stream);
    assert!(lost.expect_err("it is lost").is_transient());
}

/// Sends the large file alone, by a transfer. Gives how much of it travelled.
fn send_by(mut transfer: Transfer, connector: &MemoryConnector) -> u64 {
    let mut source = MemorySource::new().file(path("large"), content(2, LARGE));
    let stream = connector.clone().connect().expect("a stream");
    let sent = transfer.send(&mut source, stream).expect("sent");
    assert!(sent.is_complete());
    sent.sent
}

/// Sends the large file alone, by another process of the same transfer: what is held of it does not travel.
fn send_anew(connector: &MemoryConnector) -> u64 {
    send_by(transfer(), connector)
}

#[test]
fn sender_that_begins_anew_finds_what_a_lost_connection_left() {
    let (connector, acceptor) = memory::network(capacity(CAPACITY));
    let (folder, store) = folder();
    with_server(
        acceptor,
        &store,
        |server| server.clock(Virtual::default()),
        || {
            lose(&mut FrailConnector::new(connector.clone(), 400 * KIB, 0), large());
            let sent = send_anew(&connector);
            assert!(sent < 300 * KIB as u64, "{sent} bytes");
        },
    );
    assert_eq!(names(folder.path()), ["large"]);
    store.note(|log| assert_eq!(log.open, 0));
}

#[test]
fn another_transfer_finds_nothing_of_a_lost_one_and_leaves_it_as_it_is() {
    let (connector, acceptor) = memory::network(capacity(CAPACITY));
    let (folder, store) = folder();
    with_server(
        acceptor,
        &store,
        |server| server.clock(Virtual::default()),
        || {
            lose(&mut FrailConnector::new(connector.clone(), 400 * KIB, 0), large());
            let sent = send_by(Transfer::new(small_blocks()), &connector);
            assert_eq!(sent, LARGE as u64);
            let [partial, large] = &names(folder.path())[..] else { panic!("two files") };
            assert!(partial.ends_with(".part") && large == "large");
            assert_eq!(send_anew(&connector), 0, "it is there by now");
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

/// Loses a sender without its end of the stream being closed, and sends by another transfer. Gives how many bytes that one
/// sent, and the names in the folder.
fn send_beside_a_half_dead_one(by: Transfer) -> (u64, Vec<String>) {
    let (connector, acceptor) = memory::network(capacity(CAPACITY));
    let (ticked, ticks) = mpsc::channel();
    let (folder, store) = folder();
    let (keep, kept) = mpsc::channel();
    let mut names_then = Vec::new();
    let sent = with_server(
        Ticking(acceptor, ticked),
        &store,
        |server| server.clock(Virtual::default()),
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
            let sent = send_by(by, &connector);
            names_then = names(folder.path());
            drop(kept);
            sent
        },
    );
    (sent, names_then)
}

#[test]
fn sender_that_begins_anew_beside_its_half_dead_session_has_at_once_what_that_one_has() {
    let (sent, names) = send_beside_a_half_dead_one(transfer());
    assert!(sent < 300 * KIB as u64, "{sent} bytes");
    assert_eq!(names, ["large"], "nothing is left over");
}

#[test]
fn session_of_another_transfer_is_left_alone() {
    let (sent, names) = send_beside_a_half_dead_one(Transfer::new(small_blocks()));
    assert_eq!(sent, LARGE as u64, "it begins from the start");
    assert_eq!(names.len(), 2, "the first one still has its partial file: {names:?}");
}

/// Acceptor whose streams give no more than so many bytes until somebody else comes: a receiver that is slow to read them.
struct Slow(MemoryAcceptor, Gate, bool);

struct Held {
    inner: Pipe,
    left: usize,
    gate: Gate,
}

impl Acceptor for Slow {
    type Stream = Held;

    fn accept(&mut self) -> io::Result<(Held, Peer)> {
        let (inner, peer) = self.0.accept()?;
        if self.2 {
            self.1.open();
        }
        self.2 = true;
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
    let slow = Slow(acceptor, Gate::default(), false);
    let sent = with_server(
        slow,
        &store,
        |server| server.clock(Virtual::default()),
        || {
            lose(&mut FrailConnector::new(connector.clone(), 400 * KIB, 0), large());
            send_anew(&connector)
        },
    );
    assert!(sent < 300 * KIB as u64, "{sent} bytes");
    assert_eq!(names(folder.path()), ["large"], "nothing is left over");
    store.note(|log| assert_eq!(log.open, 0));
}

/// Store whose commits end once its next entry is begun.
struct Syncing {
    inner: Watched<FsStore>,
    /// Is opened by the first commit, and by the next entry after that.
    begun: Gate,
    again: Gate,
    waiting: Vec<(FsFile, Commit)>,
}

impl Clone for Syncing {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            begun: self.begun.clone(),
            again: self.again.clone(),
            waiting: Vec::new(),
        }
    }
}

impl Store for Syncing {
    type File = FsFile;

    fn serve(&mut self, transfer: TransferId) {
        self.inner.serve(transfer);
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(FsFile, Found), Refusal> {
        if self.begun.is_open() {
            self.again.open();
        }
        self.inner.begin(offer, place)
    }

    fn read_at(&mut self, file: &mut FsFile, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(file, at, buffer)
    }

    fn write_at(&mut self, file: &mut FsFile, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.inner.write_at(file, at, bytes)
    }

    fn copy_held(&mut self, file: &mut FsFile, at: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(file, at, len)
    }

    fn commit(&mut self, file: FsFile, commit: Commit) {
        self.waiting.push((file, commit));
        self.begun.open();
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<FsFile>)> {
        if self.again.is_open() {
            for (file, commit) in self.waiting.drain(..) {
                self.inner.commit(file, commit);
            }
        }
        self.inner.poll_committed(wait)
    }

    fn suspend(&mut self, file: FsFile) {
        self.inner.suspend(file);
    }

    fn discard(&mut self, file: FsFile) {
        self.inner.discard(file);
    }
}

/// A stream that is lost at the first call after a gate is open.
struct LostAt(Pipe, Gate);

impl LostAt {
    fn check(&self) -> io::Result<()> {
        if self.1.is_open() { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl Read for LostAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.0.read(buffer)
    }
}

impl Write for LostAt {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All of the file came, and is being made durable, when its sender is killed and begins anew.
#[test]
fn sender_that_begins_anew_while_its_file_is_committed_waits_for_that_and_sends_nothing() {
    let (connector, acceptor) = memory::network(capacity(CAPACITY));
    let (folder, inner) = folder();
    let store =
        Syncing { inner, begun: Gate::default(), again: Gate::default(), waiting: Vec::new() };
    let sent = with_server(
        acceptor,
        &store,
        |server| server.clock(Virtual::default()),
        || {
            let mut pipe = connector.clone().connect().expect("a stream");
            pipe.set_timeout(Some(Duration::from_millis(5)));
            let stream = LostAt(pipe, store.begun.clone());
            let lost = transfer().send(&mut large(), stream);
            assert!(lost.expect_err("it is lost").is_transient());
            send_anew(&connector)
        },
    );
    assert_eq!(sent, 0);
    assert_eq!(names(folder.path()), ["large"], "nothing is left over");
}

#[test]
fn server_with_no_room_lets_a_sender_in_the_place_of_its_half_dead_session() {
    let (connector, acceptor) = memory::network(capacity(CAPACITY));
    let _network = connector.clone();
    let (folder, store) = folder();
    let mut source = Watched::new(entries());
    let (keep, kept) = mpsc::channel();
    let mut connector = FrailConnector::new(connector, 120 * KIB, 1 << 30);
    connector.keep = Some(keep);
    with_server(
        acceptor,
        &store,
        |server| server.sessions(1).clock(Virtual::default()),
        || {
            let sent = Transfer::new(small_blocks())
                .retry(Retry::patiently(Duration::from_secs(60)))
                .send_via(&mut source, &mut connector)
                .expect("sent");
            assert!(sent.is_complete());
        },
    );
    drop(kept);
    assert_eq!(connector.connected, 2, "it waits for no other place");
    assert_entries(folder.path(), &source, &store, 1);
}

#[test]
fn what_was_left_is_let_go_after_its_time_and_with_the_server() {
    for remember in [Duration::ZERO, Duration::from_secs(60)] {
        let (connector, mut acceptor) = memory::network(capacity(CAPACITY));
        acceptor.set_timeout(Some(Duration::from_millis(5)));
        let (folder, store) = folder();
        with_server(
            acceptor,
            &store,
            |server| server.remember(remember).clock(Virtual::default()),
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

/// Another process has the first half of the file open, as it has yet to find that its sender was killed.
#[test]
fn session_that_runs_alone_waits_for_a_file_of_its_transfer_that_another_process_has() {
    let (folder, mut store) = folder();
    let mut other = FsStore::open(folder.path()).expect("a store");
    other.serve(ID);
    let meta = Meta::file(path("large"), Some(LARGE as u64));
    let offer = Offer::new(EntryId::new(0), meta, BlockSize::MIN);
    let begun = other.begin(&offer, Place::Offered).expect("begun");
    let mut file = if let (file, Found::Fresh) = begun { Some(file) } else { None }.expect("new");
    other.write_at(&mut file, 0, &content(2, LARGE)[..300 * KIB]).expect("written");
    let (alice, bob) = memory::pipe(capacity(CAPACITY));
    let sent = thread::scope(|scope| {
        let beginning = store.beginning.clone();
        scope.spawn(move || {
            beginning.pass();
            // Dropped is suspended.
            drop(file);
        });
        let receiver = scope.spawn(|| Transfer::new(small_blocks()).receive(&mut store, bob));
        let sent = transfer().send(&mut large(), alice).expect("sent");
        receiver.join().expect("no panic").expect("received");
        sent.sent
    });
    assert_eq!(sent, (LARGE - 300 * KIB) as u64);
    assert_eq!(names(folder.path()), ["large"]);
}
