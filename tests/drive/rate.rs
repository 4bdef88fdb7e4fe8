//! Limits on the rate.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use haul::drive::{Clock, SystemClock};
use haul::store::{MemorySource, MemoryStore};
use haul::transport::memory;
use haul::types::AbortCode;
use haul::{
    CancelToken, Config, Error, Event, Observer, RateLimit, Server, SessionError, Transfer,
};

use crate::scene::{Virtual, capacity, content, path};

/// A stream that notes when how many bytes were written and read.
struct Noting<T> {
    inner: T,
    clock: Virtual,
    notes: Arc<Mutex<Vec<(Duration, usize)>>>,
    reads: bool,
}

impl<T> Noting<T> {
    fn note(&self, bytes: usize) {
        self.notes.lock().expect("no panic").push((self.clock.now(), bytes));
    }
}

impl<T: Read> Read for Noting<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        if self.reads {
            self.note(bytes);
        }
        Ok(bytes)
    }
}

impl<T: Write> Write for Noting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        if !self.reads {
            self.note(written);
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Sends one file with a limit on one side, in virtual time that both share, and gives when the limited side moved what.
fn limited(rate: u64, len: usize, by_sender: bool) -> Vec<(Duration, usize)> {
    let clock = Virtual::default();
    let limit = RateLimit::with_clock(rate, clock.clone()).expect("not too slow");
    let (mut alice, mut bob) = memory::pipe(capacity(1 << 20));
    // Deadlines are looked at all the time.
    alice.set_timeout(Some(Duration::from_millis(1)));
    bob.set_timeout(Some(Duration::from_millis(1)));
    let notes = Arc::default();
    let noting =
        |inner, reads| Noting { inner, clock: clock.clone(), notes: Arc::clone(&notes), reads };
    let quiet = |inner| Noting { inner, clock: clock.clone(), notes: Arc::default(), reads: false };
    let transfer = |limits: bool| {
        let transfer = Transfer::new(Config::default()).clock(clock.clone());
        if limits { transfer.limit_rate(limit.clone()) } else { transfer }
    };
    let store = MemoryStore::new();
    let (alice, bob) = match by_sender {
        true => (noting(alice, false), quiet(bob)),
        false => (quiet(alice), noting(bob, true)),
    };
    thread::scope(|scope| {
        let (mut receive, mut send) = (transfer(!by_sender), transfer(by_sender));
        let mut store = store.clone();
        let receiver = scope.spawn(move || receive.receive(&mut store, bob));
        let mut source = MemorySource::new().file(path("file"), content(1, len));
        assert!(send.send(&mut source, alice).expect("sent").is_complete(), "{rate}");
        assert!(receiver.join().expect("no panic").expect("received").is_complete());
    });
    assert_eq!(*store.files()[&path("file")], content(1, len));
    std::mem::take(&mut *notes.lock().expect("no panic"))
}

#[test]
fn limited_transfer_keeps_to_its_rate_and_uses_it() {
    for by_sender in [true, false] {
        // From a rate at which a block of the usual size would take 17 minutes, to one beyond all that is sent.
        for (rate, len) in
            [(256, 20_000), (900, 50_000), (1000, 100_000), (50_000, 400_000), (1 << 40, 400_000)]
        {
            let moved = limited(rate, len, by_sender);
            let end = moved.last().expect("it moved something").0;
            let all: usize = moved.iter().map(|(_, bytes)| bytes).sum();
            let bytes_in = |time: Duration| {
                let bytes = u128::from(rate) * time.as_nanos() / 1_000_000_000;
                usize::try_from(bytes).expect("it fits")
            };
            let beyond = bytes_in(RateLimit::BURST + 2 * RateLimit::PIECE) + 2;
            let mut sum = 0;
            for (at, bytes) in moved {
                sum += bytes;
                assert!(sum <= bytes_in(at) + beyond, "{sum} bytes by {at:?} at {rate}");
            }
            assert!(all >= len);
            assert!(all + beyond >= bytes_in(end) * 95 / 100, "{all} bytes in {end:?} at {rate}");
        }
    }
}

/// Notes how long its side spoke without listening.
struct Turns<T> {
    inner: T,
    clock: Virtual,
    began: Option<Duration>,
    longest: Arc<Mutex<Duration>>,
}

impl<T: Read> Read for Turns<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(began) = self.began.take() {
            let mut longest = self.longest.lock().expect("no panic");
            *longest = (self.clock.now() - began).max(*longest);
        }
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Turns<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.began.get_or_insert(self.clock.now());
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[test]
fn limited_turn_lasts_no_longer_than_it_says() {
    for rate in [256, 300, 409, 900, 1023, 4000, 60_000] {
        let clock = Virtual::default();
        let limit = RateLimit::with_clock(rate, clock.clone()).expect("not too slow");
        let (alice, bob) = memory::pipe(capacity(1 << 20));
        let longest = Arc::<Mutex<Duration>>::default();
        let (inner, began) = (alice, None);
        let alice = Turns { inner, clock: clock.clone(), began, longest: Arc::clone(&longest) };
        let len = usize::try_from(rate * 12).expect("it fits");
        let mut source = MemorySource::new().file(path("large"), content(1, len));
        for number in 0..30 {
            source = source.file(path(&number.to_string()), content(number, 700));
        }
        thread::scope(|scope| {
            scope.spawn(|| Transfer::new(Config::default()).receive(&mut MemoryStore::new(), bob));
            let mut transfer = Transfer::new(Config::default()).clock(clock).limit_rate(limit);
            assert!(transfer.send(&mut source, alice).expect("sent").is_complete(), "{rate}");
        });
        let longest = *longest.lock().expect("no panic");
        // The heads of two messages, with a short name.
        let beyond = Duration::from_secs(200) / u32::try_from(rate).expect("it fits");
        assert!(longest <= RateLimit::TURN + beyond, "{longest:?} at {rate}");
        assert!(longest >= RateLimit::TURN / 2, "{longest:?} at {rate}: it is not used");
    }
}

#[test]
fn limited_transfer_that_is_cancelled_ends_at_once() {
    struct CancelAt(CancelToken);
    impl Observer for CancelAt {
        fn event(&mut self, event: &Event) {
            if matches!(event, Event::Offered { .. }) {
                self.0.cancel();
            }
        }
    }
    let (alice, bob) = memory::pipe(capacity(1 << 20));
    let (clock, cancel) = (Virtual::default(), CancelToken::new());
    let limit = RateLimit::with_clock(1000, clock.clone()).expect("not too slow");
    thread::scope(|scope| {
        let receiver = scope
            .spawn(move || Transfer::new(Config::default()).receive(&mut MemoryStore::new(), bob));
        let error = Transfer::new(Config::default())
            .observer(CancelAt(cancel.clone()))
            .cancel(cancel.clone())
            .clock(clock.clone())
            .limit_rate(limit)
            .send(&mut MemorySource::new().file(path("file"), content(1, 100_000)), alice)
            .expect_err("cancelled");
        assert!(matches!(error, Error::Session(SessionError::Cancelled)), "{error:?}");
        let heard = receiver.join().expect("no panic").expect_err("told so");
        assert!(
            matches!(heard, Error::Session(SessionError::Aborted(AbortCode::Cancelled))),
            "{heard:?}"
        );
    });
    assert!(clock.now() < Duration::from_secs(6), "{:?}", clock.now());
}

#[test]
fn server_limits_all_of_its_sessions_together() {
    let (connector, acceptor) = memory::network(capacity(4096));
    let (store, cancel) = (MemoryStore::new(), CancelToken::new());
    let rate = 400_000;
    let start = SystemClock::new();
    thread::scope(|scope| {
        let server = Server::new(acceptor, store.clone())
            .limit_rate(RateLimit::per_second(rate).expect("not too slow"))
            .cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        let senders: Vec<_> = (0..3)
            .map(|number| {
                let mut connector = connector.clone();
                scope.spawn(move || {
                    let name = path(&number.to_string());
                    let mut source = MemorySource::new().file(name, content(number, 100_000));
                    Transfer::new(Config::default()).send_via(&mut source, &mut connector)
                })
            })
            .collect();
        for sender in senders {
            assert!(sender.join().expect("no panic").expect("sent").is_complete());
        }
        cancel.cancel();
        server.join().expect("no panic").expect_err("cancelled");
    });
    // Each alone could have been done in a third of the time.
    let least = Duration::from_secs_f64(300_000.0 / rate as f64) - Duration::from_millis(200);
    assert!(start.now() >= least, "{:?}", start.now());
}
