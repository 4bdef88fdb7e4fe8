//! Stores that fail, refuse, or lie; and sources that are slow.

use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use haul::config::{Limits, Turn};
use haul::drive::Clock;
use haul::hash::Hash;
use haul::store::{Ended, MemorySource, MemoryStore, Uncommitted};
use haul::transport::memory;
use haul::types::{Commit, Found, Place, Refusal, StoreOperation, Ticket};
use haul::{Config, Event, Store, Summary, Transfer};

use crate::scene::{Virtual, capacity, content, path, small_blocks, three_files};

mockall::mock! {
    Shelf {}
    impl Store for Shelf {
        type File = ();
        fn begin(&mut self, offer: &haul::types::Offer, place: Place) -> Result<((), Found), Refusal>;
        fn read_at(&mut self, file: &mut (), offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
        fn write_at(&mut self, file: &mut (), offset: u64, bytes: &[u8]) -> Result<(), Refusal>;
        fn copy_held(&mut self, file: &mut (), offset: u64, len: u64) -> Result<(), Refusal>;
        fn commit(&mut self, file: (), commit: Commit);
        fn poll_committed(
            &mut self,
            wait: Duration,
        ) -> Option<(haul::types::Ticket, Ended<()>)>;
        fn suspend(&mut self, file: ());
        fn discard(&mut self, file: ());
    }
}

/// Sends one file to a store that a test has told what to do.
fn send_to(mut shelf: MockShelf, bytes: Vec<u8>) -> (Summary, Vec<Event>) {
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    thread::scope(|scope| {
        let receiver = scope.spawn(move || Transfer::new(small_blocks()).receive(&mut shelf, bob));
        let mut events = Vec::new();
        let sent = Transfer::new(small_blocks())
            .observer(|event: &Event| events.push(event.clone()))
            .send(&mut MemorySource::new().file(path("a"), bytes), alice);
        receiver.join().expect("no panic").expect("the session is well");
        (sent.expect("the session is well"), events)
    })
}

fn refusals(events: &[Event]) -> Vec<Refusal> {
    let refused = |event: &Event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    };
    events.iter().filter_map(refused).collect()
}

#[test]
fn commit_that_fails_reaches_the_sender_and_is_never_a_receipt() {
    let store = Refusal::Store { code: 28, operation: StoreOperation::Rename };
    for reason in [Refusal::Sync { code: 5 }, store, Refusal::Exists] {
        for len in [0, 100, 5000] {
            let mut shelf = MockShelf::new();
            shelf.expect_begin().times(1).returning(|_, _| Ok(((), Found::Fresh)));
            shelf.expect_write_at().returning(|(), _, _| Ok(()));
            let committed = Arc::new(Mutex::new(None));
            let ticket = Arc::clone(&committed);
            shelf.expect_commit().times(1).returning(move |(), commit| {
                *ticket.lock().expect("no panic") = Some(commit.ticket);
            });
            shelf.expect_poll_committed().returning(move |_| {
                committed
                    .lock()
                    .expect("no panic")
                    .take()
                    .map(|ticket| (ticket, Err(reason.into())))
            });
            let (summary, events) = send_to(shelf, content(1, len));
            assert_eq!((summary.delivered, summary.refused), (0, 1));
            assert_eq!(refusals(&events), [reason]);
        }
    }
}

#[test]
fn file_that_is_handed_back_after_its_session_was_given_up_is_closed_by_the_next_one() {
    let mut shelf = MockShelf::new();
    let mut late = Some(Uncommitted::Taken { file: (), existing: Some(((), 100)) });
    shelf.expect_poll_committed().returning(move |_| {
        late.take().map(|handed_back| (Ticket::new([9; 16], 0), Err(handed_back)))
    });
    shelf.expect_suspend().times(2).returning(|()| ());
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    thread::scope(|scope| {
        let receiver = scope.spawn(move || Transfer::new(small_blocks()).receive(&mut shelf, bob));
        Transfer::new(small_blocks()).send(&mut MemorySource::new(), alice).expect("sent");
        receiver.join().expect("no panic").expect("it has nothing to commit");
    });
}

#[test]
fn store_that_refuses_to_begin_or_to_write_is_left_alone_after() {
    let mut shelf = MockShelf::new();
    shelf.expect_poll_committed().returning(|_| None);
    shelf.expect_begin().times(1).returning(|_, _| Err(Refusal::Denied));
    assert_eq!(refusals(&send_to(shelf, content(1, 5000)).1), [Refusal::Denied]);

    let no_space = Refusal::NoSpace { needed: 4, available: 2 };
    let mut shelf = MockShelf::new();
    shelf.expect_poll_committed().returning(|_| None);
    shelf.expect_begin().times(1).returning(|_, _| Ok(((), Found::Fresh)));
    shelf.expect_write_at().times(1).returning(move |(), _, _| Err(no_space));
    shelf.expect_suspend().times(1).returning(|()| ());
    assert_eq!(refusals(&send_to(shelf, content(1, 5000)).1), [no_space]);
}

#[test]
fn store_that_lies_about_what_it_read_is_not_trusted() {
    let mut shelf = MockShelf::new();
    shelf.expect_poll_committed().returning(|_| None);
    shelf.expect_begin().times(1).returning(|_, _| Ok(((), Found::Existing(100))));
    shelf.expect_read_at().returning(|(), _, buffer| Ok(buffer.len() + 1));
    shelf.expect_suspend().times(1).returning(|()| ());
    let (summary, events) = send_to(shelf, content(1, 100));
    let lie = Refusal::Store { code: 0, operation: StoreOperation::Read };
    assert_eq!((summary.refused, refusals(&events)), (1, vec![lie]));
}

#[test]
fn receipt_names_the_plain_hash_and_progress_never_goes_back() {
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    let config = small_blocks().turn(Turn::default().initial_bytes(3000).max_bytes(3000));
    let mut events = Vec::new();
    let store = MemoryStore::new();
    thread::scope(|scope| {
        scope.spawn(|| Transfer::new(config.clone()).receive(&mut store.clone(), bob));
        Transfer::new(config.clone())
            .observer(|event: &Event| events.push(event.clone()))
            .send(&mut three_files(), alice)
            .expect("sent");
    });
    let mut last = 0;
    let mut roots = Vec::new();
    for event in &events {
        match event {
            Event::Progress { bytes, offered } => {
                assert!(*bytes > last && bytes <= offered);
                last = *bytes;
            }
            Event::Delivered { receipt, .. } => roots.push((receipt.path.clone(), receipt.hash)),
            _ => {}
        }
    }
    assert_eq!(last, 20_700);
    roots.sort();
    assert_eq!(
        roots,
        [
            (path("empty"), Hash::of(b"")),
            (path("large"), Hash::of(&content(2, 20_000))),
            (path("small"), Hash::of(&content(1, 700))),
        ]
    );
}

#[test]
fn limits_of_the_receiver_hold_over_the_driver_too() {
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    let limits = Limits::default().open_entries(1).pending_entries(2).commits(1).pending_names(10);
    let config = small_blocks().limits(limits);
    let store = MemoryStore::new();
    let mut source = MemorySource::new();
    for (number, len) in (0..50).zip((0..).step_by(100)) {
        source = source.file(path(&format!("{number}")), content(number, len));
    }
    thread::scope(|scope| {
        scope.spawn(|| Transfer::new(config.clone()).receive(&mut store.clone(), bob));
        let sent = Transfer::new(small_blocks()).send(&mut source, alice).expect("sent");
        assert_eq!(sent.delivered, 50);
    });
    assert_eq!(store.files().len(), 50);
}

#[test]
fn source_that_is_slow_does_not_keep_back_what_was_said() {
    /// Each file takes six seconds to open; the clock is what a peer would see.
    struct Slow(MemorySource, Virtual);
    impl haul::Source for Slow {
        type Key = <MemorySource as haul::Source>::Key;
        type Reader = <MemorySource as haul::Source>::Reader;
        fn rewind(&mut self) -> io::Result<()> {
            self.0.rewind()
        }
        fn next_entry(
            &mut self,
        ) -> Option<Result<(Self::Key, haul::types::Meta), haul::store::Unsendable>> {
            self.0.next_entry()
        }
        fn open(
            &mut self,
            key: &Self::Key,
            meta: &haul::types::Meta,
        ) -> Result<Self::Reader, haul::types::Withdrawal> {
            self.1.pass(Duration::from_secs(6));
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
        fn finish(
            &mut self,
            reader: &mut Self::Reader,
            meta: &haul::types::Meta,
        ) -> Result<(), haul::types::Withdrawal> {
            self.0.finish(reader, meta)
        }
    }
    /// Notes when bytes are written.
    struct Noting<T>(T, Virtual, Rc<std::cell::RefCell<Vec<Duration>>>);
    impl<T: Read> Read for Noting<T> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl<T: Write> Write for Noting<T> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.2.borrow_mut().push(self.1.now());
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    let clock = Virtual::default();
    let mut source = MemorySource::new();
    for number in 0..20 {
        source = source.file(path(&format!("{number}")), content(number, 10));
    }
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    let written = Rc::default();
    let config = Config::default().turn(Turn::default().max_time(Duration::from_secs(3600)));
    thread::scope(|scope| {
        scope.spawn(|| Transfer::new(config.clone()).receive(&mut MemoryStore::new(), bob));
        let sent = Transfer::new(config.clone())
            .clock(clock.clone())
            .send(&mut Slow(source, clock.clone()), Noting(alice, clock, Rc::clone(&written)))
            .expect("sent");
        assert_eq!(sent.delivered, 20);
    });
    let gaps = written.borrow().windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(gaps.is_some_and(|gap| gap <= Duration::from_secs(12)), "{gaps:?}");
}
