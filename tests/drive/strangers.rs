//! Senders that wait for a place, and what ends a server that serves once.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use haul::drive::Clock;
use haul::store::{MemorySource, MemoryStore, StreamSource};
use haul::transport::memory::{self, MemoryConnector, Pipe};
use haul::{
    Acceptor, CancelToken, Connector, Deadlines, Error, Event, Observer, Operation, Peer, Server,
    Summary, Transfer, Turn,
};

use crate::scene::{
    Virtual, assert_three_files, capacity, content, path, small_blocks, three_files, with_server,
};

const KIB: usize = 1024;

/// Sends one file, and tells by name when it has arrived; while its receipt is looked at, the place is held.
struct Sending {
    name: &'static str,
    /// Called when it has greeted.
    greeted: mpsc::Sender<&'static str>,
    /// Called when it waits for its place.
    waits: mpsc::Sender<&'static str>,
    done: mpsc::Sender<&'static str>,
    go: Option<mpsc::Receiver<()>>,
}

impl Observer for Sending {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Greeted { .. } => drop(self.greeted.send(self.name)),
            Event::Waiting { .. } => drop(self.waits.send(self.name)),
            Event::Delivered { .. } => {
                let _ = self.done.send(self.name);
                if let Some(go) = &self.go {
                    go.recv().expect("the test goes on");
                }
            }
            _ => {}
        }
    }

    fn retry(&mut self, _: u32, cause: &Error, _: Duration) {
        assert_eq!(cause.to_string(), "nothing", "{} is sent away", self.name);
    }
}

impl Sending {
    fn send(self, mut connector: MemoryConnector) -> Summary {
        let mut source = MemorySource::new().file(path(self.name), content(1, 5 * KIB));
        let mut transfer = Transfer::new(small_blocks()).observer(self);
        transfer.send_via(&mut source, &mut connector).expect("sent")
    }
}

#[test]
fn senders_that_find_no_place_wait_in_the_session_and_are_served_in_order() {
    let (connector, acceptor) = memory::network(capacity(4096));
    let store = MemoryStore::new();
    let clock = Virtual::default();
    // The time that passes is of no other concern.
    let long = Duration::from_secs(1_000_000);
    let deadlines = Deadlines::default().hello(long).silence(long).progress(long).idle(long);
    let config = small_blocks().deadlines(deadlines);
    let serve =
        |server: Server<_, _>| server.config(config).sessions(1).waiting(2).clock(clock.clone());
    let order = with_server(acceptor, &store, serve, || {
        let (done, dones) = mpsc::channel();
        let (greeted, greets) = mpsc::channel();
        let (waits, waiting) = mpsc::channel();
        let (go, gate) = mpsc::channel();
        thread::scope(|scope| {
            let start = |name, go| {
                let (greeted, waits, done) = (greeted.clone(), waits.clone(), done.clone());
                let sending = Sending { name, greeted, waits, done, go };
                let connector = connector.clone();
                scope.spawn(move || sending.send(connector));
                assert_eq!(greets.recv(), Ok(name));
            };
            start("first", Some(gate));
            let mut order = vec![dones.recv().expect("it is served")];
            start("second", None);
            // It stands in the line once it hears that it waits.
            let told = Duration::from_millis(20);
            while waiting.recv_timeout(told) != Ok("second") {
                clock.pass(Duration::from_secs(5));
            }
            start("third", None);
            // Each hears that it waits, again and again.
            let mut heard = [0; 2];
            while heard.iter().any(|times| *times < 3) {
                clock.pass(Duration::from_secs(5));
                while let Ok(told) = waiting.recv_timeout(Duration::from_millis(20)) {
                    heard[usize::from(told == "third")] += 1;
                }
            }
            go.send(()).expect("it waits");
            order.extend(dones.iter().take(2));
            order
        })
    });
    assert_eq!(order, ["first", "second", "third"]);
    assert_eq!(store.files().len(), 3);
}

/// Accepts what is given, and else says that the system lacks descriptors.
struct Short(Vec<Pipe>, Arc<AtomicU32>);

impl Acceptor for Short {
    type Stream = Pipe;

    fn accept(&mut self) -> io::Result<(Pipe, Peer)> {
        if let Some(pipe) = self.0.pop() {
            return Ok((pipe, Peer::Pipe));
        }
        self.1.fetch_add(1, Ordering::SeqCst);
        Err(io::Error::from_raw_os_error(24)) // EMFILE
    }
}

#[test]
fn server_that_lacks_descriptors_goes_on_while_it_has_sessions_and_no_longer() {
    let (alice, bob) = memory::pipe(capacity(4096));
    let asked = Arc::new(AtomicU32::new(0));
    let clock = Virtual::default();
    let store = MemoryStore::new();
    let server = Server::new(Short(vec![bob], Arc::clone(&asked)), store.clone())
        .config(small_blocks())
        .clock(clock.clone());
    let ended = thread::scope(|scope| {
        let server = scope.spawn(move || server.run(|_, _| ()));
        let wait = |event: &Event| {
            while matches!(event, Event::Delivered { .. }) && asked.load(Ordering::SeqCst) < 5 {
                thread::yield_now();
            }
        };
        let sent = Transfer::new(small_blocks()).observer(wait).send(&mut three_files(), alice);
        assert!(sent.expect("sent").is_complete());
        server.join().expect("no panic")
    });
    assert!(
        matches!(&ended, Err(Error::Transport { operation: Operation::Accept, .. })),
        "{ended:?}"
    );
    let waited = clock.now().as_secs();
    assert!((9..=11).contains(&waited), "{waited} s without a session");
    assert_three_files(&store);
}

#[test]
fn server_that_serves_once_does_not_count_a_transfer_of_nothing_and_ends_at_once_after_the_next() {
    let (mut connector, mut acceptor) = memory::network(capacity(4096));
    // It would wait for ever for another one to come.
    acceptor.set_timeout(None);
    let store = MemoryStore::new();
    let server = Server::new(acceptor, store.clone()).config(small_blocks()).run_once();
    thread::scope(|scope| {
        let server = scope.spawn(move || server.run(|_, _| ()));
        for _ in 0..3 {
            let stream = connector.connect().expect("a stream");
            let sent = Transfer::new(small_blocks()).send(&mut MemorySource::new(), stream);
            assert_eq!(sent.expect("sent").delivered, 0);
        }
        let stream = connector.connect().expect("the server is still there");
        Transfer::new(small_blocks()).send(&mut three_files(), stream).expect("sent");
        let received = server.join().expect("no panic").expect("received");
        assert_eq!((received.delivered, received.lacks_goodbye), (3, false));
    });
    assert_three_files(&store);
}

#[test]
fn server_that_serves_once_ends_well_though_the_goodbye_is_lost() {
    for remember in [Duration::ZERO, Duration::from_secs(60)] {
        let (mut connector, mut acceptor) = memory::network(capacity(1 << 20));
        acceptor.set_timeout(Some(Duration::from_millis(5)));
        let store = MemoryStore::new();
        let clock = Virtual::default();
        let server = Server::new(acceptor, store.clone())
            .config(small_blocks())
            .run_once()
            .remember(remember)
            .clock(clock.clone());
        thread::scope(|scope| {
            let server = scope.spawn(move || server.run(|_, _| ()));
            lose_the_goodbye(&mut connector);
            while !server.is_finished() && !remember.is_zero() {
                assert!(clock.now() < 100 * remember, "the server does not end");
                clock.pass(Duration::from_secs(1));
                thread::park_timeout(Duration::from_millis(1));
            }
            let received = server.join().expect("no panic").expect("received");
            assert_eq!((received.delivered, received.lacks_goodbye), (3, true));
            assert!(clock.now() >= remember, "the sender may still come");
        });
        assert_three_files(&store);
    }
}

/// A stream that takes nothing more once three receipts are in.
struct Dying(Pipe, mpsc::Receiver<()>, u32);

impl io::Read for Dying {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl io::Write for Dying {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.2 += u32::try_from(self.1.try_iter().count()).expect("few");
        if self.2 >= 3 { Err(ErrorKind::ConnectionReset.into()) } else { self.0.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends three files, and loses the goodbye.
fn lose_the_goodbye(connector: &mut MemoryConnector) {
    let (receipts, got) = mpsc::channel();
    let stream = Dying(connector.connect().expect("a stream"), got, 0);
    let lost = Transfer::new(small_blocks())
        .observer(move |event: &Event| {
            if let Event::Delivered { .. } = event {
                receipts.send(()).expect("the test counts");
            }
        })
        .send(&mut three_files(), stream);
    assert!(lost.is_err(), "the goodbye is not taken");
}

/// Observer of a session's end, which counts what was delivered.
struct Ends(mpsc::Sender<()>, Arc<AtomicU32>);

impl Observer for Ends {
    fn event(&mut self, event: &Event) {
        if let Event::Delivered { .. } = event {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn ended(&mut self, _: &Result<Summary, Error>) {
        let _ = self.0.send(());
    }
}

/// A stream that gives nothing more once three files are delivered, so that the last receipt is not heard.
struct Deaf(Pipe, Arc<AtomicU32>);

impl io::Read for Deaf {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer);
        let is_lost = self.1.load(Ordering::SeqCst) >= 3;
        if is_lost { Err(ErrorKind::ConnectionReset.into()) } else { read }
    }
}

impl io::Write for Deaf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Connects a sender whose connection is lost before it knows that all has arrived, and again as soon as it has greeted anew;
/// between these comes another one.
struct Unlucky<'w> {
    connector: MemoryConnector,
    delivered: Arc<AtomicU32>,
    between: &'w dyn Fn(),
    connected: u32,
}

impl Connector for Unlucky<'_> {
    type Stream = Deaf;

    fn connect(&mut self) -> io::Result<Deaf> {
        self.connected += 1;
        match self.connected {
            1 => {}
            2 => (self.between)(),
            _ => return Err(ErrorKind::PermissionDenied.into()),
        }
        Ok(Deaf(self.connector.connect()?, Arc::clone(&self.delivered)))
    }
}

#[test]
fn server_that_serves_once_remembers_each_transfer_whose_goodbye_is_lost() {
    let (connector, mut acceptor) = memory::network(capacity(1 << 20));
    acceptor.set_timeout(Some(Duration::from_millis(5)));
    let (store, clock, cancel) = (MemoryStore::new(), Virtual::default(), CancelToken::new());
    let remember = Duration::from_secs(60);
    let server = Server::new(acceptor, store)
        .config(small_blocks())
        .run_once()
        .remember(remember)
        .cancel(cancel.clone())
        .clock(clock.clone());
    let delivered = Arc::new(AtomicU32::new(0));
    let (ends, ended) = mpsc::channel();
    let wait = || ended.recv_timeout(Duration::from_secs(60)).expect("the session ends");
    let between = || {
        wait();
        lose_the_goodbye(&mut connector.clone());
        wait();
    };
    thread::scope(|scope| {
        let count = Arc::clone(&delivered);
        let server =
            scope.spawn(move || server.run(move |_, _| Ends(ends.clone(), Arc::clone(&count))));
        let (connector, between) = (connector.clone(), &between);
        let mut connector = Unlucky { connector, delivered, between, connected: 0 };
        let lost = Transfer::new(small_blocks())
            .clock(Virtual::default())
            .send_via(&mut three_files(), &mut connector);
        lost.expect_err("no receipt is heard of the last file");
        wait();
        while !server.is_finished() {
            if clock.now() > 100 * remember {
                cancel.cancel();
            }
            clock.pass(Duration::from_secs(1));
            thread::park_timeout(Duration::from_millis(1));
        }
        let received = server.join().expect("no panic").expect("received");
        assert_eq!(received.delivered + received.skipped, 3);
    });
}

/// A pipe of which nobody knows whether more will come.
struct Quiet(io::Cursor<Vec<u8>>, mpsc::Receiver<()>);

impl io::Read for Quiet {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        if read == 0 {
            // Until the test says that it ends.
            let _ = self.1.recv();
        }
        Ok(read)
    }
}

#[test]
fn sender_with_nothing_to_send_gives_its_place_to_one_that_waits_and_comes_again() {
    let (connector, acceptor) = memory::network(capacity(4096));
    let (store, clock) = (MemoryStore::new(), Virtual::default());
    let long = Duration::from_secs(1_000_000);
    let deadlines = Deadlines::default().hello(long).silence(long).progress(long).idle(long);
    let config = small_blocks().deadlines(deadlines).turn(Turn::default().max_time(SOON));
    let serve =
        |server: Server<_, _>| server.config(config.clone()).sessions(1).clock(clock.clone());
    with_server(acceptor, &store, serve, || {
        let (end, ended) = mpsc::channel();
        let (heard, hears) = mpsc::channel();
        thread::scope(|scope| {
            let quiet = scope.spawn(|| {
                let input = Quiet(io::Cursor::new(content(3, 5 * KIB)), ended);
                let mut source = StreamSource::new(path("quiet"), input);
                let heard = heard.clone();
                Transfer::new(config.clone())
                    .observer(move |event: &Event| drop(heard.send(event.clone())))
                    .send_via(&mut source, &mut connector.clone())
            });
            while !matches!(hears.recv().expect("it goes on"), Event::Progress { .. }) {}
            let (greeted, greets) = mpsc::channel();
            let other = scope.spawn(|| {
                let mut source = MemorySource::new().file(path("other"), content(4, 5 * KIB));
                Transfer::new(config.clone())
                    .observer(move |event: &Event| {
                        if let Event::Greeted { .. } = event {
                            let _ = greeted.send(());
                        }
                    })
                    .send_via(&mut source, &mut connector.clone())
            });
            greets.recv().expect("it is told to wait");
            let start = clock.now();
            while !other.is_finished() && clock.now() < start + 100 * MINUTE {
                clock.pass(Duration::from_millis(100));
                thread::park_timeout(Duration::from_millis(1));
            }
            let waited = clock.now() - start;
            end.send(()).expect("it is there");
            assert_eq!(quiet.join().expect("no panic").expect("sent").delivered, 1);
            assert_eq!(other.join().expect("no panic").expect("sent").delivered, 1);
            assert!(waited >= MINUTE && waited < 100 * MINUTE, "{waited:?}");
        });
    });
    let files = store.files();
    assert_eq!(*files[&path("quiet")], content(3, 5 * KIB));
    assert_eq!(*files[&path("other")], content(4, 5 * KIB));
}

const SOON: Duration = Duration::from_millis(50);
const MINUTE: Duration = Duration::from_secs(60);
