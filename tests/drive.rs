//! The driver and the server, over pipes, over networks in memory, and over streams that fail.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use haul::config::{Deadlines, Limits, Turn};
use haul::drive::Clock;
use haul::proto::{AbortCode, Refusal, Stall};
use haul::store::{Begun, Commit, Committed, MemorySource, MemoryStore, Place};
use haul::transport::Listening;
use haul::transport::memory::{self, MemoryConnector};
use haul::tree::{BlockSize, Root};
use haul::{
    Acceptor, Cancel, Config, Connector, Error, Event, Observer, Operation, Peer, RelPath, Retry,
    Server, Store, Summary, Transfer,
};

fn path(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).expect("a good name")
}

/// Content that is a function of the seed and the offset.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn capacity(bytes: usize) -> NonZeroUsize {
    NonZeroUsize::new(bytes).expect("a capacity")
}

fn small_blocks() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

fn three_files() -> MemorySource {
    MemorySource::new()
        .file(path("empty"), "")
        .file(path("small"), content(1, 700))
        .file(path("large"), content(2, 20_000))
}

fn assert_three_files(store: &MemoryStore) {
    let files = store.files();
    assert_eq!(files.len(), 3);
    assert_eq!(&*files[&path("empty")], b"");
    assert_eq!(*files[&path("small")], content(1, 700));
    assert_eq!(*files[&path("large")], content(2, 20_000));
}

/// Runs both sides, each in a thread, and gives how they ended.
fn both(
    config: &Config,
    store: &MemoryStore,
    alice: impl Read + Write,
    bob: impl Read + Write + Send,
    source: &mut MemorySource,
) -> (Result<Summary, Error>, Result<Summary, Error>) {
    thread::scope(|scope| {
        let receiver =
            scope.spawn(|| Transfer::new(config.clone()).receive(&mut store.clone(), bob));
        let sent = Transfer::new(config.clone()).send(source, alice);
        (sent, receiver.join().expect("the receiver does not panic"))
    })
}

#[test]
fn session_over_a_pipe_of_any_capacity_arrives() {
    for bytes in [1, 2, 3, 15, 16, 17, 1000, 1_000_000] {
        let (alice, bob) = memory::pipe(capacity(bytes));
        let store = MemoryStore::new();
        let (sent, received) = both(&small_blocks(), &store, alice, bob, &mut three_files());
        let (sent, received) = (sent.expect("sent"), received.expect("received"));
        assert!(sent.is_complete() && received.is_complete());
        assert_eq!((sent.delivered, sent.bytes), (3, 20_700));
        assert_three_files(&store);
    }
}

/// A stream on which one side speaks at a time: it insists that nothing is written while the peer's bytes wait.
struct HalfDuplex<T> {
    inner: T,
    speaking: bool,
    /// How often the direction changed.
    turns: Rc<Cell<u32>>,
}

impl<T: Read> Read for HalfDuplex<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.speaking = false;
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for HalfDuplex<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.speaking {
            self.speaking = true;
            self.turns.set(self.turns.get() + 1);
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[test]
fn session_takes_the_turns_that_it_counts() {
    let (alice, bob) = memory::pipe(capacity(1 << 20));
    let turns = Rc::new(Cell::new(0));
    let alice = HalfDuplex { inner: alice, speaking: false, turns: Rc::clone(&turns) };
    let store = MemoryStore::new();
    let (sent, received) = both(&small_blocks(), &store, alice, bob, &mut three_files());
    let (sent, received) = (sent.expect("sent"), received.expect("received"));
    assert_eq!(sent.turns, received.turns);
    // Greeting, content, and the goodbye.
    assert_eq!(u64::from(turns.get()), sent.turns + 2);
}

#[test]
fn buffered_stream_is_flushed_with_every_turn() {
    struct Buffered<T: Write>(io::BufWriter<T>);
    impl<T: Read + Write> Read for Buffered<T> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.get_mut().read(buffer)
        }
    }
    impl<T: Write> Write for Buffered<T> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    let wrap = |pipe| Buffered(io::BufWriter::with_capacity(1 << 20, pipe));
    let store = MemoryStore::new();
    let (sent, received) =
        both(&small_blocks(), &store, wrap(alice), wrap(bob), &mut three_files());
    assert!(sent.expect("sent").is_complete() && received.expect("received").is_complete());
    assert_three_files(&store);
}

mockall::mock! {
    /// A stream that does what a test tells it.
    Wire {}
    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    }
    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
        fn flush(&mut self) -> io::Result<()>;
    }
}

#[test]
fn stream_that_claims_more_than_it_was_given_is_an_error() {
    let mut wire = MockWire::new();
    wire.expect_write().returning(|bytes| Ok(bytes.len() + 1));
    let error = haul::send(&mut three_files(), wire).expect_err("a lie");
    assert!(matches!(error, Error::Transport { operation: Operation::Write, .. }), "{error:?}");

    let mut wire = MockWire::new();
    wire.expect_read().returning(|buffer| Ok(buffer.len() + 1));
    wire.expect_flush().returning(|| Ok(()));
    let error = haul::receive(&mut MemoryStore::new(), wire).expect_err("a lie");
    assert!(matches!(error, Error::Transport { operation: Operation::Read, .. }), "{error:?}");
}

#[test]
fn stream_that_takes_nothing_or_ends_is_an_error_that_a_retry_can_help() {
    for (written, kind) in [(Ok(0), ErrorKind::WriteZero), (Err(()), ErrorKind::ConnectionReset)] {
        let mut wire = MockWire::new();
        wire.expect_write().returning(move |_| written.map_err(|()| kind.into()));
        let error = haul::send(&mut three_files(), wire).expect_err("nothing is taken");
        assert_eq!((error.kind(), error.is_transient()), (kind, true), "{error:?}");
    }
    let mut wire = MockWire::new();
    wire.expect_read().returning(|_| Ok(0));
    wire.expect_flush().returning(|| Ok(()));
    let error = haul::receive(&mut MemoryStore::new(), wire).expect_err("the end");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::UnexpectedEof, true));
}

/// Time that passes only when somebody waits for it.
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

/// A peer that neither says nor takes anything: each call costs a second.
struct Silent {
    clock: Virtual,
    takes: bool,
}

impl Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.clock.pass(Duration::from_secs(1));
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Write for Silent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.takes {
            return Ok(bytes.len());
        }
        self.clock.pass(Duration::from_secs(1));
        Err(ErrorKind::TimedOut.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn silent_peer_ends_the_session_at_the_deadline() {
    let deadlines = Deadlines::default();
    let config = Config::default().deadlines(deadlines);
    for takes in [true, false] {
        let clock = Virtual::default();
        let silent = Silent { clock: clock.clone(), takes };
        let error = Transfer::new(config.clone())
            .clock(clock.clone())
            .send(&mut three_files(), silent)
            .expect_err("nobody answers");
        let (stall, after) = match takes {
            true => (Stall::Hello { after: deadlines.hello }, deadlines.hello),
            false => (Stall::Write { after: deadlines.silence }, deadlines.silence),
        };
        assert!(matches!(&error, Error::Stalled(found) if *found == stall), "{error:?}");
        assert!(error.is_transient());
        assert!(clock.now() <= after + Duration::from_secs(1), "{:?}", clock.now());
    }
    let clock = Virtual::default();
    let silent = Silent { clock: clock.clone(), takes: true };
    let error = Transfer::new(config)
        .clock(clock)
        .receive(&mut MemoryStore::new(), silent)
        .expect_err("nobody speaks");
    assert!(matches!(error, Error::Stalled(Stall::Hello { .. })), "{error:?}");
}

#[test]
fn cancelled_transfer_ends_within_a_tick() {
    let cancel = Cancel::new();
    let clock = Virtual::default();
    let silent = Silent { clock: clock.clone(), takes: true };
    cancel.cancel();
    let error = Transfer::new(Config::default())
        .clock(clock.clone())
        .cancel(cancel)
        .send(&mut three_files(), silent)
        .expect_err("cancelled");
    assert!(matches!(error, Error::Cancelled));
    assert!(clock.now() <= Duration::from_secs(1));
}

#[test]
fn receiver_that_is_cancelled_tells_the_sender() {
    struct CancelAt(Cancel);
    impl Observer for CancelAt {
        fn event(&mut self, event: &Event) {
            if matches!(event, Event::Offered { .. }) {
                self.0.cancel();
            }
        }
    }
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    let cancel = Cancel::new();
    let sent = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            Transfer::new(small_blocks())
                .observer(CancelAt(cancel.clone()))
                .cancel(cancel.clone())
                .receive(&mut MemoryStore::new(), bob)
        });
        let sent = Transfer::new(small_blocks()).send(&mut three_files(), alice);
        let received = receiver.join().expect("the receiver does not panic");
        assert!(matches!(received, Err(Error::Cancelled)), "{received:?}");
        sent
    });
    assert!(matches!(sent, Err(Error::Aborted(AbortCode::Cancelled))), "{sent:?}");
}

/// A stream that is lost after so many bytes in both directions together.
struct Frail<T> {
    inner: T,
    left: usize,
}

impl<T> Frail<T> {
    fn admit(&self, bytes: usize) -> io::Result<usize> {
        if self.left == 0 {
            return Err(ErrorKind::ConnectionReset.into());
        }
        Ok(bytes.min(self.left))
    }
}

impl<T: Read> Read for Frail<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.admit(buffer.len())?;
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl<T: Write> Write for Frail<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.admit(bytes.len())?;
        let written = self.inner.write(&bytes[..most])?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Connects through frail streams; the n-th one holds out for n times `step` bytes.
struct FrailConnector {
    inner: MemoryConnector,
    step: usize,
    connected: usize,
}

impl Connector for FrailConnector {
    type Stream = Frail<<MemoryConnector as Connector>::Stream>;

    fn connect(&mut self) -> io::Result<Self::Stream> {
        self.connected += 1;
        Ok(Frail { inner: self.inner.connect()?, left: self.step * self.connected })
    }
}

/// Runs a server over a network in memory until the test is done with it.
fn with_server<R>(
    store: &MemoryStore,
    sessions: usize,
    test: impl FnOnce(MemoryConnector) -> R,
) -> R {
    let (connector, acceptor) = memory::network(capacity(4096));
    // A network without connectors ends its acceptor.
    let _network = connector.clone();
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let server = Server::new(acceptor, store.clone())
            .config(small_blocks())
            .sessions(sessions)
            .cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        let result = test(connector);
        cancel.cancel();
        let ended = server.join().expect("the server does not panic");
        assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        result
    })
}

#[test]
fn transfer_survives_the_loss_of_its_connections() {
    #[derive(Default)]
    struct Retries(u32);
    impl Observer for Retries {
        fn event(&mut self, _: &Event) {}
        fn retry(&mut self, attempt: u32, cause: &Error, pause: Duration) {
            self.0 += 1;
            assert_eq!(attempt, self.0 + 1);
            assert!(cause.is_transient() && !pause.is_zero());
        }
    }
    for step in [97, 300, 1000, 5000] {
        let store = MemoryStore::new();
        let retries = with_server(&store, 4, |connector| {
            let mut connector = FrailConnector { inner: connector, step, connected: 0 };
            let mut transfer = Transfer::new(small_blocks())
                .clock(Virtual::default())
                .retry(Retry::patiently(Duration::from_secs(100_000)))
                .observer(Retries::default());
            let sent = transfer.send_via(&mut three_files(), &mut connector).expect("sent");
            assert!(sent.is_complete());
            assert_eq!(sent.delivered, 3);
            transfer.into_observer().0
        });
        assert!(retries > 0, "no connection was lost");
        assert_three_files(&store);
    }
}

#[test]
fn retry_ends_when_patience_does() {
    struct Nobody;
    impl Connector for Nobody {
        type Stream = memory::Pipe;
        fn connect(&mut self) -> io::Result<memory::Pipe> {
            Err(ErrorKind::ConnectionRefused.into())
        }
    }
    let clock = Virtual::default();
    let transfer = |retry| {
        let mut transfer = Transfer::new(Config::default()).clock(clock.clone()).retry(retry);
        transfer.send_via(&mut three_files(), &mut Nobody).expect_err("nobody is there")
    };
    let error = transfer(Retry::default());
    assert!(matches!(error, Error::Transport { operation: Operation::Connect, .. }), "{error:?}");
    assert_eq!(clock.now(), Duration::ZERO, "the first connection is not tried again");
    transfer(Retry::patiently(Duration::from_secs(60)));
    let waited = clock.now();
    assert_eq!(waited, Duration::from_secs(60), "patience is used up");
}

#[test]
fn sender_that_listens_serves_a_receiver_that_dials_again() {
    let (connector, acceptor) = memory::network(capacity(4096));
    let store = MemoryStore::new();
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let mut acceptor = acceptor;
            // The first ticks find nobody.
            acceptor.set_timeout(Some(Duration::from_millis(1)));
            Transfer::new(small_blocks())
                .retry(Retry::patiently(Duration::from_secs(60)))
                .send_via(&mut three_files(), &mut Listening::new(acceptor))
        });
        let mut connector = FrailConnector { inner: connector, step: 3000, connected: 0 };
        let received = Transfer::new(small_blocks())
            .clock(Virtual::default())
            .retry(Retry::patiently(Duration::from_secs(100_000)))
            .receive_via(&mut store.clone(), &mut connector)
            .expect("received");
        assert!(connector.connected > 1 && received.is_complete());
        assert!(sender.join().expect("no panic").expect("sent").is_complete());
    });
    assert_three_files(&store);
}

mockall::mock! {
    Dial {}
    impl Connector for Dial {
        type Stream = memory::Pipe;
        fn connect(&mut self) -> io::Result<memory::Pipe>;
    }
}

#[test]
fn error_that_no_retry_can_help_is_not_tried_again() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::InvalidInput, ErrorKind::NotFound] {
        let mut dial = MockDial::new();
        dial.expect_connect().times(1).returning(move || Err(kind.into()));
        let error = Transfer::new(Config::default())
            .clock(Virtual::default())
            .retry(Retry::patiently(Duration::from_secs(60)))
            .send_via(&mut three_files(), &mut dial)
            .expect_err("it cannot help");
        assert_eq!(error.kind(), kind);
    }
}

mockall::mock! {
    Listen {}
    impl Acceptor for Listen {
        type Stream = memory::Pipe;
        fn accept(&mut self) -> io::Result<(memory::Pipe, Peer)>;
    }
}

#[test]
fn server_outlives_a_lack_of_descriptors_and_peers_that_vanish() {
    let (alice, bob) = memory::pipe(capacity(4096));
    let mut errors = vec![
        io::Error::from_raw_os_error(24), // EMFILE
        ErrorKind::ConnectionAborted.into(),
        ErrorKind::Interrupted.into(),
        ErrorKind::TimedOut.into(),
    ];
    let mut bob = Some(bob);
    let mut listen = MockListen::new();
    listen.expect_accept().returning(move || match errors.pop() {
        Some(error) => Err(error),
        None => match bob.take() {
            Some(bob) => Ok((bob, Peer::Pipe)),
            None => Err(ErrorKind::WouldBlock.into()),
        },
    });
    let store = MemoryStore::new();
    let server = Server::new(listen, store.clone()).config(small_blocks()).once(true);
    thread::scope(|scope| {
        let server = scope.spawn(move || server.run(|_, _| ()));
        let sent = Transfer::new(small_blocks()).send(&mut three_files(), alice).expect("sent");
        let received = server.join().expect("no panic").expect("received");
        assert_eq!((sent.bytes, received.bytes), (20_700, 20_700));
    });
    assert_three_files(&store);
}

#[test]
fn server_whose_acceptor_is_broken_says_so() {
    let mut listen = MockListen::new();
    listen.expect_accept().returning(|| Err(ErrorKind::AddrInUse.into()));
    let ended = Server::new(listen, MemoryStore::new()).run(|_, _| ());
    assert!(
        matches!(&ended, Err(Error::Transport { operation: Operation::Accept, .. })),
        "{ended:?}"
    );
}

#[test]
fn server_takes_many_senders_at_the_same_time_and_no_more_than_it_may() {
    struct Count {
        now: Arc<Mutex<(u32, u32)>>,
    }
    impl Observer for Count {
        fn event(&mut self, _: &Event) {}
        fn ended(&mut self, result: &Result<Summary, Error>) {
            assert!(result.is_ok(), "{result:?}");
            self.now.lock().expect("no panic").0 -= 1;
        }
    }
    let (connector, acceptor) = memory::network(capacity(4096));
    let store = MemoryStore::new();
    let cancel = Cancel::new();
    let counts = Arc::new(Mutex::new((0_u32, 0_u32)));
    // Three sessions stand still until all three are there.
    let meeting = Arc::new(Barrier::new(3));
    thread::scope(|scope| {
        let server = Server::new(acceptor, store.clone()).sessions(3).cancel(cancel.clone());
        let now = Arc::clone(&counts);
        let server = scope.spawn(move || {
            server.run(|_, _| {
                let mut counts = now.lock().expect("no panic");
                counts.0 += 1;
                counts.1 = counts.1.max(counts.0);
                Count { now: Arc::clone(&now) }
            })
        });
        let senders: Vec<_> = (0..20)
            .map(|number| {
                let mut connector = connector.clone();
                let meeting = Arc::clone(&meeting);
                scope.spawn(move || {
                    let name = path(&format!("{number}"));
                    let mut source = MemorySource::new().file(name, content(number, 5000));
                    Transfer::new(Config::default())
                        .retry(Retry::patiently(Duration::from_secs(60)))
                        .observer(move |event: &Event| {
                            // It is offered only where there was room.
                            if number < 3 && matches!(event, Event::Offered { .. }) {
                                meeting.wait();
                            }
                        })
                        .send_via(&mut source, &mut connector)
                })
            })
            .collect();
        for sender in senders {
            sender.join().expect("no panic").expect("sent");
        }
        cancel.cancel();
        assert!(server.join().expect("no panic").is_err());
    });
    assert_eq!(store.files().len(), 20);
    assert_eq!(*counts.lock().expect("no panic"), (0, 3));
}

#[test]
fn sender_past_the_limit_is_told_that_the_server_is_busy_and_comes_again() {
    let store = MemoryStore::new();
    with_server(&store, 1, |connector| {
        let (greeted, has_greeted) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let mut first = connector.clone();
            let first = scope.spawn(move || {
                let mut source = MemorySource::new().file(path("first"), "1");
                Transfer::new(small_blocks())
                    .observer(move |event: &Event| {
                        if let Event::Greeted { .. } = event {
                            greeted.send(()).expect("the test waits");
                            may_go.recv().expect("the test goes on");
                        }
                    })
                    .send_via(&mut source, &mut first)
            });
            has_greeted.recv().expect("the first sender has greeted");
            let mut second = connector.clone();
            let busy = Transfer::new(small_blocks())
                .send(&mut MemorySource::new(), second.connect().expect("a stream"))
                .expect_err("no room");
            assert!(matches!(busy, Error::Aborted(AbortCode::Busy)), "{busy:?}");
            // By itself it comes again, until there is room.
            let mut go = Some(go);
            let mut source = MemorySource::new().file(path("second"), "2");
            struct Release<'g>(&'g mut Option<mpsc::Sender<()>>);
            impl Observer for Release<'_> {
                fn event(&mut self, _: &Event) {}
                fn retry(&mut self, _: u32, cause: &Error, _: Duration) {
                    assert!(matches!(cause, Error::Aborted(AbortCode::Busy)), "{cause:?}");
                    if let Some(go) = self.0.take() {
                        go.send(()).expect("the first sender waits");
                    }
                }
            }
            Transfer::new(small_blocks())
                .observer(Release(&mut go))
                .send_via(&mut source, &mut second)
                .expect("sent");
            first.join().expect("no panic").expect("sent");
        });
    });
    assert_eq!(store.files().len(), 2);
}

#[test]
fn newer_attempt_evicts_a_half_dead_older_one() {
    /// The first connection stops moving in the middle, and is never closed; the second one works.
    struct HalfDead {
        inner: MemoryConnector,
        first: bool,
    }
    impl Connector for HalfDead {
        type Stream = Frail<memory::Pipe>;
        fn connect(&mut self) -> io::Result<Self::Stream> {
            let left = if std::mem::take(&mut self.first) { 3000 } else { usize::MAX };
            Ok(Frail { inner: self.inner.connect()?, left })
        }
    }
    /// Gives the pipe away when it is dropped, so that its other end does not see the end.
    struct Keep(Option<Frail<memory::Pipe>>, mpsc::Sender<memory::Pipe>);
    impl Read for Keep {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.as_mut().expect("open").read(buffer)
        }
    }
    impl Write for Keep {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.as_mut().expect("open").write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Drop for Keep {
        fn drop(&mut self) {
            if let Some(frail) = self.0.take() {
                let _ = self.1.send(frail.inner);
            }
        }
    }
    struct KeepAll(HalfDead, mpsc::Sender<memory::Pipe>);
    impl Connector for KeepAll {
        type Stream = Keep;
        fn connect(&mut self) -> io::Result<Keep> {
            Ok(Keep(Some(self.0.connect()?), self.1.clone()))
        }
    }
    let (keep, _kept) = mpsc::channel();
    let store = MemoryStore::new();
    with_server(&store, 4, |connector| {
        let mut connector = KeepAll(HalfDead { inner: connector, first: true }, keep);
        let sent = Transfer::new(small_blocks())
            .send_via(&mut three_files(), &mut connector)
            .expect("sent");
        assert!(sent.is_complete());
        assert!(sent.resent < 20_000, "{} bytes again", sent.resent);
    });
    assert_three_files(&store);
}

mockall::mock! {
    Shelf {}
    impl Store for Shelf {
        type File = ();
        fn begin(&mut self, offer: &haul::proto::Offer, place: Place) -> Result<Begun<()>, Refusal>;
        fn read_at(&mut self, file: &mut (), offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
        fn write_at(&mut self, file: &mut (), offset: u64, bytes: &[u8]) -> Result<(), Refusal>;
        fn copy_held(&mut self, file: &mut (), offset: u64, len: u64) -> Result<(), Refusal>;
        fn commit(&mut self, file: (), commit: Commit);
        fn poll_committed(
            &mut self,
            wait: Duration,
        ) -> Option<(haul::proto::EntryId, Result<Committed, Refusal>)>;
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
    for reason in [Refusal::Sync { code: 5 }, Refusal::Store { code: 28 }, Refusal::Exists] {
        for len in [0, 100, 5000] {
            let mut shelf = MockShelf::new();
            shelf.expect_begin().times(1).returning(|_, _| Ok(Begun::Fresh(())));
            shelf.expect_write_at().returning(|(), _, _| Ok(()));
            let committed = Arc::new(Mutex::new(None));
            let entry = Arc::clone(&committed);
            shelf.expect_commit().times(1).returning(move |(), commit| {
                *entry.lock().expect("no panic") = Some(commit.entry);
            });
            shelf.expect_poll_committed().returning(move |_| {
                committed.lock().expect("no panic").take().map(|entry| (entry, Err(reason)))
            });
            let (summary, events) = send_to(shelf, content(1, len));
            assert_eq!((summary.delivered, summary.refused), (0, 1));
            assert_eq!(refusals(&events), [reason]);
        }
    }
}

#[test]
fn store_that_refuses_to_begin_or_to_write_is_left_alone_after() {
    let mut shelf = MockShelf::new();
    shelf.expect_begin().times(1).returning(|_, _| Err(Refusal::Denied));
    assert_eq!(refusals(&send_to(shelf, content(1, 5000)).1), [Refusal::Denied]);

    let no_space = Refusal::NoSpace { needed: 4, available: 2 };
    let mut shelf = MockShelf::new();
    shelf.expect_begin().times(1).returning(|_, _| Ok(Begun::Fresh(())));
    shelf.expect_write_at().times(1).returning(move |(), _, _| Err(no_space));
    shelf.expect_suspend().times(1).returning(|()| ());
    assert_eq!(refusals(&send_to(shelf, content(1, 5000)).1), [no_space]);
}

#[test]
fn store_that_lies_about_what_it_read_is_not_trusted() {
    let mut shelf = MockShelf::new();
    shelf.expect_begin().times(1).returning(|_, _| Ok(Begun::Existing((), 100)));
    shelf.expect_read_at().returning(|(), _, buffer| Ok(buffer.len() + 1));
    shelf.expect_suspend().times(1).returning(|()| ());
    let (summary, events) = send_to(shelf, content(1, 100));
    assert_eq!((summary.refused, refusals(&events)), (1, vec![Refusal::Store { code: 0 }]));
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
            Event::Delivered { receipt, .. } => roots.push((receipt.path.clone(), receipt.root)),
            _ => {}
        }
    }
    assert_eq!(last, 20_700);
    roots.sort();
    assert_eq!(
        roots,
        [
            (path("empty"), Root::of(b"")),
            (path("large"), Root::of(&content(2, 20_000))),
            (path("small"), Root::of(&content(1, 700))),
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
        fn next_entry(
            &mut self,
        ) -> Option<Result<(Self::Key, haul::proto::Meta), haul::store::Unsendable>> {
            self.0.next_entry()
        }
        fn open(
            &mut self,
            key: &Self::Key,
            meta: &haul::proto::Meta,
        ) -> Result<Self::Reader, haul::proto::Withdrawal> {
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
            meta: &haul::proto::Meta,
        ) -> Result<(), haul::proto::Withdrawal> {
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
