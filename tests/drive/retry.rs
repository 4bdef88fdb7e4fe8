//! Connections that are lost, and made again.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use haul::config::Turn;
use haul::drive::Clock;
use haul::proto::{ReceiveAction, Receiver, Step};
use haul::store::{MemorySource, MemoryStore, StreamSource};
use haul::transport::Listening;
use haul::transport::memory::{self, MemoryConnector};
use haul::types::AbortCode;
use haul::{
    Acceptor, CancelToken, Config, Connector, Error, Event, Observer, Operation, Retry, Server,
    SessionError, Transfer,
};

use crate::scene::{
    Frail, FrailConnector, Silent, Virtual, assert_three_files, capacity, content, path,
    small_blocks, three_files, with_sessions,
};

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
        let retries = with_sessions(&store, 4, |connector| {
            let mut connector = FrailConnector::new(connector, step, step);
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

    fn is_waiting(&self) -> bool {
        true
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

/// A connector that waits for its peer, and lacks descriptors each time.
struct Lacking(usize);

impl Connector for Lacking {
    type Stream = Silent;

    fn connect(&mut self) -> io::Result<Silent> {
        self.0 += 1;
        // So often, nobody asks who pauses.
        let spins = self.0 > 1000;
        Err(if spins {
            ErrorKind::PermissionDenied.into()
        } else {
            io::Error::from_raw_os_error(24)
        })
    }

    fn is_waiting(&self) -> bool {
        true
    }
}

#[test]
fn connector_that_waits_and_fails_at_once_is_not_asked_without_a_pause() {
    let (mut connector, clock) = (Lacking(0), Virtual::default());
    let patience = Duration::from_secs(60);
    let error = Transfer::new(Config::default())
        .clock(clock.clone())
        .retry(Retry::patiently(patience))
        .receive_via(&MemoryStore::new(), &mut connector)
        .expect_err("it fails each time");
    assert!(
        matches!(&error, Error::Transport { source, .. } if source.raw_os_error() == Some(24)),
        "{error:?}"
    );
    assert_eq!(clock.now(), patience);
    assert!((240..=481).contains(&connector.0), "asked {} times", connector.0);
}

/// A connector that goes to its peer, and fails with what is a tick only of one that waits.
struct Lifeless(usize);

impl Connector for Lifeless {
    type Stream = Silent;

    fn connect(&mut self) -> io::Result<Silent> {
        self.0 += 1;
        // So often, nobody asks who pauses.
        let spins = self.0 > 1000;
        Err(if spins { ErrorKind::PermissionDenied } else { ErrorKind::WouldBlock }.into())
    }
}

#[test]
fn connector_that_does_not_wait_and_would_block_is_asked_with_pauses_until_patience_ends() {
    let clock = Virtual::default();
    let send = |connector: &mut Lifeless, retry| {
        let mut transfer = Transfer::new(Config::default()).clock(clock.clone()).retry(retry);
        transfer.send_via(&mut three_files(), connector).expect_err("it fails each time")
    };
    let mut connector = Lifeless(0);
    let error = send(&mut connector, Retry::default());
    assert_eq!((error.kind(), connector.0), (ErrorKind::WouldBlock, 1));
    let patience = Duration::from_secs(60);
    let mut connector = Lifeless(0);
    let error = send(&mut connector, Retry::patiently(patience));
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(clock.now(), patience);
    assert!((2..100).contains(&connector.0), "asked {} times", connector.0);
}

/// A receiver that tells whoever greets it that it is busy, a second later.
struct Busy {
    receiver: Receiver,
    clock: Virtual,
    heard: Vec<u8>,
    said: Vec<u8>,
}

impl Read for Busy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.said.is_empty() {
            match self.receiver.poll(self.clock.now(), &mut self.said) {
                Ok(ReceiveAction::Event(Event::Greeted { .. })) => {
                    self.clock.pass(Duration::from_secs(1));
                    self.receiver.end(self.clock.now(), AbortCode::Busy);
                }
                Ok(ReceiveAction::Await { .. }) => {
                    let step = self.receiver.handle_input(self.clock.now(), &self.heard);
                    let Ok(Step::Consumed(consumed)) = step else { return Ok(0) };
                    self.heard.drain(..consumed.bytes);
                }
                Ok(_) => {}
                Err(_) if self.said.is_empty() => return Ok(0),
                Err(_) => {}
            }
        }
        let read = self.said.len().min(buffer.len());
        buffer[..read].copy_from_slice(&self.said[..read]);
        self.said.drain(..read);
        Ok(read)
    }
}

impl Write for Busy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct BusyConnector(Virtual);

impl Connector for BusyConnector {
    type Stream = Busy;

    fn connect(&mut self) -> io::Result<Busy> {
        let clock = self.0.clone();
        let receiver = Receiver::new(Config::default(), [7; 16], clock.now());
        Ok(Busy { receiver, clock, heard: Vec::new(), said: Vec::new() })
    }
}

#[test]
fn receiver_that_is_busy_spares_the_patience_of_its_sender_up_to_a_deadline() {
    let patience = Duration::from_secs(60);
    let idle = Duration::from_secs(15 * 60);
    let clock = Virtual::default();
    let error = Transfer::new(Config::default())
        .clock(clock.clone())
        .retry(Retry::patiently(patience))
        .send_via(&mut three_files(), &mut BusyConnector(clock.clone()))
        .expect_err("it is busy each time");
    assert!(matches!(error, Error::Session(SessionError::Aborted(AbortCode::Busy))), "{error:?}");
    let took = clock.now();
    let slack = Duration::from_secs(15);
    assert!(took >= patience + idle && took <= patience + idle + slack, "{took:?}");
}

/// Cancels as soon as an attempt is to be made again.
struct CancelAtRetry(CancelToken);

impl Observer for CancelAtRetry {
    fn event(&mut self, _: &Event) {}

    fn retry(&mut self, _: u32, _: &Error, _: Duration) {
        self.0.cancel();
    }
}

#[test]
fn cancelled_transfer_does_not_wait_out_the_pause_between_attempts() {
    let (clock, cancel) = (Virtual::default(), CancelToken::new());
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
    assert!(matches!(error, Error::Session(SessionError::Cancelled)), "{error:?}");
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
        let mut connector = FrailConnector::new(connector, 3000, 3000);
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
        let mut connector = FrailConnector::new(connector, 10_000, 10_000);
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
    type Stream = Frail;

    fn connect(&mut self) -> io::Result<Self::Stream> {
        self.clock.sleep(Duration::from_secs(1));
        self.calls += 1;
        match self.calls {
            7200 => Ok(Frail::new(self.inner.connect()?, 15_000)),
            7201.. if self.calls.is_multiple_of(10) => {
                Ok(Frail::new(memory::pipe(capacity(1)).0, 0))
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
                Error::Session(SessionError::Aborted(code)) => self.0.push(*code),
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
        let leave = CancelToken::new();
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
        let server = Server::new(acceptor, store.clone()).run_once();
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
        assert!(matches!(gone, Err(Error::Session(SessionError::Cancelled))), "{gone:?}");
        back.join().expect("no panic").expect("served");
        drop(connector);
    });
    assert!(store.get("stream").is_some());

    // One who stops this very transfer means it; one who leaves hears the same of its own end.
    for (leaves, expected) in [(false, AbortCode::Cancelled), (true, AbortCode::Leaving)] {
        let (alice, bob) = memory::pipe(capacity(4096));
        let cancel = CancelToken::new();
        let stop = cancel.clone();
        let stop = StopAt(move || if leaves { stop.leave() } else { stop.cancel() });
        thread::scope(|scope| {
            let receiver = scope.spawn(move || {
                let transfer = Transfer::new(small_blocks()).observer(stop).cancel(cancel);
                { transfer }.receive(&mut MemoryStore::new(), bob)
            });
            let sent = Transfer::new(small_blocks()).send(&mut three_files(), alice);
            let error = sent.expect_err("stopped");
            assert!(
                matches!(error, Error::Session(SessionError::Aborted(code)) if code == expected),
                "{error:?}"
            );
            assert_eq!(error.is_transient(), leaves);
            let ended = receiver.join().expect("no panic");
            assert!(matches!(ended, Err(Error::Session(SessionError::Cancelled))), "{ended:?}");
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
