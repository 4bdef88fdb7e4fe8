//! Remains of lost connections for the next one of the same transfer: within one process nothing is read twice on
//! either side.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use haul::store::{Ended, MemoryFile, MemorySource, MemoryStore};
use haul::transport::Listening;
use haul::transport::memory;
use haul::types::{Commit, Found, Offer, Place, Refusal, Ticket};
use haul::{Event, IfExists, Retry, Store, Transfer};

use crate::scene::{Frail, FrailConnector, Virtual, capacity, path, small_blocks, with_server};
use crate::watched::{CAPACITY, IN_FLIGHT, KIB, Watched, assert_entries, entries, folder, names};

#[test]
fn server_that_loses_connections_reads_nothing_twice() {
    for step in [0, 10 * KIB] {
        let (connector, acceptor) = memory::network(capacity(CAPACITY));
        let _network = connector.clone();
        let (folder, store) = folder();
        let mut source = Watched::new(entries());
        let mut connector = FrailConnector::new(connector, 120 * KIB, step);
        with_server(
            acceptor,
            &store,
            |server| server.clock(Virtual::default()),
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
    let (connector, acceptor) = memory::network(capacity(CAPACITY));
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
        |server| server.clock(Virtual::default()),
        || {
            Transfer::new(small_blocks()).send_via(&mut source, &mut connector).expect("sent");
        },
    );
    assert_eq!(connector.connected, 2);
    drop(kept);
    assert_entries(folder.path(), &source, &store, 1);
}

/// A store whose commits are done once a connection is lost, in their order, one each time that somebody waits: each wait
/// takes its time.
#[derive(Default)]
struct Late {
    store: MemoryStore,
    lost: Arc<AtomicBool>,
    clock: Virtual,
    commits: VecDeque<(MemoryFile, Commit)>,
}

impl Store for Late {
    type File = <MemoryStore as Store>::File;

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(Self::File, Found), Refusal> {
        self.store.begin(offer, place)
    }

    fn read_at(&mut self, file: &mut Self::File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.store.read_at(file, at, buffer)
    }

    fn write_at(&mut self, file: &mut Self::File, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.store.write_at(file, at, bytes)
    }

    fn copy_held(&mut self, file: &mut Self::File, at: u64, len: u64) -> Result<(), Refusal> {
        self.store.copy_held(file, at, len)
    }

    fn commit(&mut self, file: Self::File, commit: Commit) {
        self.commits.push_back((file, commit));
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<MemoryFile>)> {
        if wait.is_zero() {
            return None;
        }
        self.clock.pass(wait);
        // The other end of the line is played by a thread of its own.
        thread::yield_now();
        if !self.lost.load(Ordering::SeqCst) {
            return None;
        }
        let (file, commit) = self.commits.pop_front()?;
        self.store.commit(file, commit);
        self.store.poll_committed(wait)
    }

    fn suspend(&mut self, file: Self::File) {
        self.store.suspend(file);
    }

    fn discard(&mut self, file: Self::File) {
        self.store.discard(file);
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
fn commit_of_a_session_that_was_given_up_is_not_taken_for_one_of_the_next() {
    let (lost, clock) = (Arc::new(AtomicBool::new(false)), Virtual::default());
    let mut store = Late { lost: Arc::clone(&lost), clock: clock.clone(), ..Late::default() };
    let (alice, bob) = memory::pipe(capacity(CAPACITY));
    let left = thread::scope(|scope| {
        // Its greetings and its file get through. It is lost by one of the heartbeats for which the commit makes time.
        scope.spawn(move || {
            let mut source = MemorySource::new().file(path("a"), "1");
            let stream = Frail::new(alice, 600);
            Transfer::new(small_blocks()).send(&mut source, stream).expect_err("it is lost");
        });
        let bob = Noted(bob, Arc::clone(&lost));
        let mut transfer = Transfer::new(small_blocks()).clock(clock.clone());
        transfer.receive(&mut store, bob).expect_err("it is lost")
    });
    assert!(left.is_transient(), "{left:?}");
    assert_eq!(store.commits.len(), 1, "its commit is under way, and nobody waits for that");
    assert!(store.store.get("a").is_none());
    // The same store serves another transfer: its entry 0 is another file.
    let visible = store.store.clone();
    let (alice, bob) = memory::pipe(capacity(CAPACITY));
    let mut receipts = Vec::new();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| Transfer::new(small_blocks()).receive(&mut store, bob));
        let mut source = MemorySource::new().file(path("b"), "2");
        Transfer::new(small_blocks())
            .observer(|event: &Event| {
                if let Event::Delivered { receipt, .. } = event {
                    let is_true = visible.get("b").is_some_and(|entry| *entry.bytes == *b"2");
                    receipts.push((receipt.path.clone(), is_true));
                }
            })
            .send(&mut source, alice)
            .expect("sent");
        receiver.join().expect("no panic").expect("received");
    });
    assert_eq!(receipts, [(path("b"), true)]);
    assert!(visible.get("a").is_some(), "the first commit came to its end all the same");
}

#[test]
fn renamed_file_is_stored_once_however_often_its_connection_is_lost() {
    for first in (300..900).step_by(29) {
        let (connector, mut acceptor) = memory::network(capacity(CAPACITY));
        acceptor.set_timeout(Some(Duration::from_millis(5)));
        let _network = connector.clone();
        let (folder, store) = folder();
        std::fs::write(folder.path().join("a"), "there already").expect("written");
        let rename = small_blocks().if_exists(IfExists::Rename);
        let mut connector = FrailConnector::new(connector, first, 40);
        with_server(
            acceptor,
            &store,
            |server| server.config(rename).clock(Virtual::default()),
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
