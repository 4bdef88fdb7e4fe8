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
use haul::drive::{Clock, SystemClock};
use haul::proto::{AbortCode, Refusal, Sender, Stall, TransferId};
use haul::store::{Begun, Commit, Ended, MemorySource, MemoryStore, Place, StreamSource};
use haul::transport::Listening;
use haul::transport::memory::{self, MemoryConnector};
use haul::tree::{BlockSize, Root};
use haul::{
    Acceptor, Cancel, Config, Connector, Error, Event, Observer, Operation, Peer, RateLimit,
    RelPath, Retry, Server, SessionId, Store, Summary, Transfer,
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

/// A peer that takes one byte at a time, each after so long, and says nothing.
struct Dripping {
    clock: Virtual,
    pause: Duration,
}

impl Read for Dripping {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.clock.pass(Duration::from_secs(1));
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.clock.pass(self.pause);
        Ok(bytes.len().min(1))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn peer_that_takes_a_byte_now_and_then_ends_the_session_at_the_deadline() {
    let deadlines = Deadlines::default();
    for pause in [Duration::from_secs(29), Duration::from_secs(1)] {
        let clock = Virtual::default();
        let dripping = Dripping { clock: clock.clone(), pause };
        let error = Transfer::new(Config::default().deadlines(deadlines))
            .clock(clock.clone())
            .send(&mut three_files(), dripping)
            .expect_err("it takes too little");
        let Error::Stalled(Stall::Drip { bytes, after }) = error else { panic!("{error:?}") };
        assert_eq!(after, deadlines.progress);
        assert!(bytes <= 60, "{bytes}");
        assert!(clock.now() < deadlines.progress + pause, "{:?}", clock.now());
    }
    // Slow, and fast enough: the greeting has gone out, and its answer is waited for.
    let clock = Virtual::default();
    let dripping = Dripping { clock: clock.clone(), pause: Duration::from_millis(14) };
    let deadlines = deadlines.hello(Duration::from_secs(3600));
    let error = Transfer::new(Config::default().deadlines(deadlines))
        .clock(clock.clone())
        .send(&mut three_files(), dripping)
        .expect_err("nobody answers");
    assert!(matches!(error, Error::Stalled(Stall::Silence { .. })), "{error:?}");
}

/// A stream of which every call is interrupted, after a second.
struct Interrupted(Virtual);

impl Read for Interrupted {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.pass(Duration::from_secs(1));
        Err(ErrorKind::Interrupted.into())
    }
}

impl Write for Interrupted {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        self.0.pass(Duration::from_secs(1));
        Err(ErrorKind::Interrupted.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn stream_that_is_interrupted_for_ever_ends_the_session_at_the_deadline() {
    let clock = Virtual::default();
    let sent = Transfer::new(Config::default())
        .clock(clock.clone())
        .send(&mut three_files(), Interrupted(clock));
    assert!(matches!(sent, Err(Error::Stalled(Stall::Write { .. }))), "{sent:?}");
    let clock = Virtual::default();
    let received = Transfer::new(Config::default())
        .clock(clock.clone())
        .receive(&mut MemoryStore::new(), Interrupted(clock));
    assert!(matches!(received, Err(Error::Stalled(Stall::Hello { .. }))), "{received:?}");
}

/// A sender that greets, and takes the answer a byte at a time.
struct Greeting(Virtual, Vec<u8>);

impl Read for Greeting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let greeting = std::mem::take(&mut self.1);
        buffer[..greeting.len()].copy_from_slice(&greeting);
        Ok(greeting.len())
    }
}

impl Write for Greeting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.pass(Duration::from_millis(100));
        Ok(bytes.len().min(1))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn last_words_are_given_up_after_a_second() {
    let (clock, cancel) = (Virtual::default(), Cancel::new());
    let mut greeting = Vec::new();
    let id = TransferId::new([1; 16]);
    let mut sender = Sender::new(Config::default(), id, [2; 16], Duration::ZERO);
    let _ = sender.poll(Duration::ZERO, &mut greeting).expect("it greets");
    let error = Transfer::new(Config::default())
        .clock(clock.clone())
        .observer(CancelAt(cancel.clone(), |event| matches!(event, Event::Greeted { .. })))
        .cancel(cancel)
        .receive(&mut MemoryStore::new(), Greeting(clock.clone(), greeting))
        .expect_err("it was cancelled");
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    let took = clock.now();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(1200), "{took:?}");
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

/// Cancels at an event.
struct CancelAt(Cancel, fn(&Event) -> bool);

impl Observer for CancelAt {
    fn event(&mut self, event: &Event) {
        if self.1(event) {
            self.0.cancel();
        }
    }
}

#[test]
fn receiver_that_is_cancelled_tells_the_sender() {
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    let cancel = Cancel::new();
    let sent = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            Transfer::new(small_blocks())
                .observer(CancelAt(cancel.clone(), |event| matches!(event, Event::Offered { .. })))
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

/// A connector that fails once, after which nobody comes.
struct NobodyComes {
    clock: Virtual,
    has_failed: bool,
    calls: usize,
}

impl Connector for NobodyComes {
    type Stream = Silent;

    fn connect(&mut self) -> io::Result<Silent> {
        self.calls += 1;
        self.clock.pass(Duration::from_secs(1));
        let first = !std::mem::replace(&mut self.has_failed, true);
        Err(if first { ErrorKind::ConnectionReset } else { ErrorKind::WouldBlock }.into())
    }
}

#[test]
fn peer_that_was_lost_and_does_not_dial_again_is_waited_for_as_long_as_patience_has_it() {
    let patience = Duration::from_secs(60);
    let clock = Virtual::default();
    let mut connector = NobodyComes { clock: clock.clone(), has_failed: false, calls: 0 };
    let error = Transfer::new(Config::default())
        .clock(clock.clone())
        .retry(Retry::patiently(patience))
        .send_via(&mut three_files(), &mut connector)
        .expect_err("nobody comes");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let took = clock.now();
    assert!(took > patience && took <= patience + Duration::from_secs(1), "{took:?}");
}

/// Cancels as soon as an attempt is to be made again.
struct CancelAtRetry(Cancel);

impl Observer for CancelAtRetry {
    fn event(&mut self, _: &Event) {}

    fn retry(&mut self, _: u32, _: &Error, _: Duration) {
        self.0.cancel();
    }
}

#[test]
fn cancelled_transfer_does_not_wait_out_the_pause_between_attempts() {
    let (clock, cancel) = (Virtual::default(), Cancel::new());
    let mut connector = NobodyComes { clock: clock.clone(), has_failed: false, calls: 0 };
    let mut retry = Retry::patiently(Duration::from_secs(3600));
    retry.first = Duration::from_secs(600);
    retry.most = retry.first;
    let error = Transfer::new(Config::default())
        .clock(clock.clone())
        .retry(retry)
        .observer(CancelAtRetry(cancel.clone()))
        .cancel(cancel)
        .send_via(&mut three_files(), &mut connector)
        .expect_err("cancelled");
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert_eq!((connector.calls, clock.now()), (1, Duration::from_secs(1)));
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
            .receive_via(&store, &mut connector)
            .expect("received");
        assert!(connector.connected > 1 && received.is_complete());
        assert!(sender.join().expect("no panic").expect("sent").is_complete());
    });
    assert_three_files(&store);
}

#[test]
fn receiver_that_dials_again_takes_other_files_from_a_sender_that_begins_anew() {
    let (connector, mut acceptor) = memory::network(capacity(4096));
    let store = MemoryStore::new();
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let (stream, _) = acceptor.accept().expect("accepted");
            let mut two = MemorySource::new()
                .file(path("small"), content(1, 700))
                .file(path("large"), content(2, 20_000));
            Transfer::new(small_blocks()).send(&mut two, stream).expect_err("lost");
            // As by a process that was started again: the same names go by other numbers.
            Transfer::new(small_blocks())
                .retry(Retry::patiently(Duration::from_secs(60)))
                .send_via(&mut three_files(), &mut Listening::new(acceptor))
        });
        let mut connector = FrailConnector { inner: connector, step: 10_000, connected: 0 };
        let received = Transfer::new(small_blocks())
            .clock(Virtual::default())
            .retry(Retry::patiently(Duration::from_secs(100_000)))
            .receive_via(&store, &mut connector)
            .expect("received");
        assert_eq!((received.refused, received.is_complete()), (0, true));
        assert_eq!(sender.join().expect("no panic").expect("sent").refused, 0);
    });
    assert_three_files(&store);
}

/// Counts the retries without a pause: of one that waits for its peer.
#[derive(Default)]
struct Awaited(u32);

impl Observer for Awaited {
    fn event(&mut self, _: &Event) {}

    fn retry(&mut self, _: u32, _: &Error, pause: Duration) {
        assert!(pause.is_zero());
        self.0 += 1;
    }
}

#[test]
fn sender_that_listens_lets_strangers_pass() {
    let (connector, mut acceptor) = memory::network(capacity(4096));
    acceptor.set_timeout(Some(Duration::from_millis(1)));
    let store = MemoryStore::new();
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let mut transfer = Transfer::new(small_blocks()).observer(Awaited::default());
            let sent = transfer.send_via(&mut three_files(), &mut Listening::new(acceptor));
            (sent, transfer.into_observer())
        });
        let mut connector = connector;
        drop(connector.connect().expect("connected"));
        let mut browser = connector.connect().expect("connected");
        browser.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").expect("written");
        // Its end: the sender has heard enough.
        browser.set_timeout(None);
        let _ = browser.read_to_end(&mut Vec::new());
        let received = Transfer::new(small_blocks()).receive_via(&store, &mut connector);
        assert!(received.expect("received").is_complete());
        let (sent, awaited) = sender.join().expect("no panic");
        assert!(sent.expect("sent").is_complete());
        assert_eq!(awaited.0, 2);
    });
    assert_three_files(&store);
}

/// A waiting connector: the first peer comes after two hours, is gone after so many bytes, and never comes again, but
/// strangers do every ten seconds.
struct GoneForGood<'c> {
    inner: MemoryConnector,
    clock: &'c Virtual,
    calls: u32,
}

impl Connector for GoneForGood<'_> {
    type Stream = Frail<memory::Pipe>;

    fn connect(&mut self) -> io::Result<Self::Stream> {
        self.clock.sleep(Duration::from_secs(1));
        self.calls += 1;
        match self.calls {
            7200 => Ok(Frail { inner: self.inner.connect()?, left: 15_000 }),
            7201.. if self.calls.is_multiple_of(10) => {
                Ok(Frail { inner: memory::pipe(capacity(1)).0, left: 0 })
            }
            _ => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn is_waiting(&self) -> bool {
        true
    }
}

#[test]
fn sender_that_listens_waits_for_as_long_as_its_patience_after_a_loss() {
    let (inner, mut acceptor) = memory::network(capacity(4096));
    let clock = Virtual::default();
    let mut connector = GoneForGood { inner, clock: &clock, calls: 0 };
    thread::scope(|scope| {
        scope.spawn(move || {
            let (stream, _) = acceptor.accept().expect("accepted");
            Transfer::new(small_blocks()).receive(&mut MemoryStore::new(), stream)
        });
        let error = Transfer::new(small_blocks())
            .clock(clock.clone())
            .retry(Retry::patiently(Duration::from_secs(60)))
            .send_via(&mut three_files(), &mut connector)
            .expect_err("it does not come again");
        assert!(
            matches!(&error, Error::Transport { source, .. }
            if source.kind() == ErrorKind::ConnectionReset),
            "{error:?}"
        );
    });
    // The tick that finds the patience at its end is part of it.
    assert_eq!(clock.now(), Duration::from_secs(7200 + 61));
}

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
        for (rate, len) in [(256, 20_000), (1000, 100_000), (50_000, 400_000), (1 << 40, 400_000)] {
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

#[test]
fn limited_transfer_that_is_cancelled_ends_at_once() {
    struct CancelAt(Cancel);
    impl Observer for CancelAt {
        fn event(&mut self, event: &Event) {
            if matches!(event, Event::Offered { .. }) {
                self.0.cancel();
            }
        }
    }
    let (alice, bob) = memory::pipe(capacity(1 << 20));
    let (clock, cancel) = (Virtual::default(), Cancel::new());
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
        assert!(matches!(error, Error::Cancelled), "{error:?}");
        let heard = receiver.join().expect("no panic").expect_err("told so");
        assert!(matches!(heard, Error::Aborted(AbortCode::Cancelled)), "{heard:?}");
    });
    assert!(clock.now() < Duration::from_secs(6), "{:?}", clock.now());
}

#[test]
fn server_limits_all_of_its_sessions_together() {
    let (connector, acceptor) = memory::network(capacity(4096));
    let (store, cancel) = (MemoryStore::new(), Cancel::new());
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

/// Goes to a first server, which leaves when the entry is offered, and then to a second.
struct Restarted {
    servers: [MemoryConnector; 2],
    next: usize,
}

impl Connector for Restarted {
    type Stream = memory::Pipe;

    fn connect(&mut self) -> io::Result<memory::Pipe> {
        let server = self.servers.get_mut(self.next).ok_or(ErrorKind::ConnectionRefused)?;
        self.next += 1;
        server.connect()
    }
}

#[test]
fn sender_comes_again_to_a_server_that_went_away_but_not_to_one_that_cancelled_it() {
    struct StopAt<F: FnMut()>(F);
    impl<F: FnMut()> Observer for StopAt<F> {
        fn event(&mut self, event: &Event) {
            if matches!(event, Event::Offered { .. }) {
                (self.0)();
            }
        }
    }
    /// Notes why it is tried again, and lets the source end.
    struct Causes(Vec<AbortCode>, Option<mpsc::Sender<()>>);
    impl Observer for Causes {
        fn event(&mut self, _: &Event) {}
        fn retry(&mut self, _: u32, cause: &Error, _: Duration) {
            self.1 = None;
            match cause {
                Error::Aborted(code) => self.0.push(*code),
                other => panic!("{other:?}"),
            }
        }
    }
    /// An input that has no end before somebody lets it.
    struct Held(mpsc::Receiver<()>);
    impl Read for Held {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(0)
        }
    }
    let store = MemoryStore::new();
    thread::scope(|scope| {
        let (first, mut acceptor) = memory::network(capacity(4096));
        acceptor.set_timeout(Some(Duration::from_millis(1)));
        let leave = Cancel::new();
        let server = Server::new(acceptor, store.clone()).cancel(leave.clone());
        let gone = scope.spawn(move || {
            server.run(move |_, _| {
                let leave = leave.clone();
                StopAt(move || leave.cancel())
            })
        });
        let (second, acceptor) = memory::network(capacity(4096));
        let mut acceptor = acceptor;
        acceptor.set_timeout(Some(Duration::from_millis(1)));
        let server = Server::new(acceptor, store.clone()).once(true);
        let back = scope.spawn(move || server.run(|_, _| ()));
        let (hold, held) = mpsc::channel();
        let config = Config::default().turn(Turn::default().max_time(Duration::from_millis(10)));
        let mut transfer = Transfer::new(config).observer(Causes(Vec::new(), Some(hold)));
        let mut source = StreamSource::new(path("stream"), Held(held));
        let mut connector = Restarted { servers: [first, second], next: 0 };
        let sent = transfer.send_via(&mut source, &mut connector);
        assert!(sent.expect("sent").is_complete());
        assert_eq!(transfer.into_observer().0, [AbortCode::Leaving]);
        let gone = gone.join().expect("no panic");
        assert!(matches!(gone, Err(Error::Cancelled)), "{gone:?}");
        back.join().expect("no panic").expect("served");
        drop(connector);
    });
    assert!(store.get("stream").is_some());

    // One who stops this very transfer means it; one who leaves hears the same of its own end.
    for (leaves, expected) in [(false, AbortCode::Cancelled), (true, AbortCode::Leaving)] {
        let (alice, bob) = memory::pipe(capacity(4096));
        let cancel = Cancel::new();
        let stop = cancel.clone();
        let stop = StopAt(move || if leaves { stop.leave() } else { stop.cancel() });
        thread::scope(|scope| {
            let receiver = scope.spawn(move || {
                let transfer = Transfer::new(small_blocks()).observer(stop).cancel(cancel);
                { transfer }.receive(&mut MemoryStore::new(), bob)
            });
            let sent = Transfer::new(small_blocks()).send(&mut three_files(), alice);
            let error = sent.expect_err("stopped");
            assert!(matches!(error, Error::Aborted(code) if code == expected), "{error:?}");
            assert_eq!(error.is_transient(), leaves);
            let ended = receiver.join().expect("no panic");
            assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        });
    }
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
fn server_whose_session_panics_has_room_for_the_next() {
    let (mut connector, acceptor) = memory::network(capacity(4096));
    let store = MemoryStore::new();
    let server = Server::new(acceptor, store.clone()).config(small_blocks()).sessions(1).once(true);
    thread::scope(|scope| {
        let observe = |id: SessionId, _: &Peer| {
            move |_: &Event| assert!(id.to_string() != "0", "an observer panics")
        };
        let server = scope.spawn(move || server.run(observe));
        let mut sender = Transfer::new(small_blocks());
        // The first session ends before it has greeted.
        sender = sender.retry(Retry::patiently(Duration::from_secs(60)));
        let sent = sender.send_via(&mut three_files(), &mut connector).expect("sent");
        assert!(sent.is_complete());
        assert!(server.join().is_err(), "the panic comes to whoever runs the server, at its end");
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
        ) -> Option<(haul::proto::EntryId, Ended<()>)>;
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
                committed.lock().expect("no panic").take().map(|entry| (entry, Err(reason.into())))
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
