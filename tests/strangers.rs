//! A server, and a sender that listens, among strangers: their peers are served, and threads and descriptors are bounded and
//! given back.
//!
//! Threads and descriptors are those of the whole process, so there is one test here, which does the one thing
//! after the other.
#![cfg(all(feature = "tcp", feature = "testing", target_os = "linux"))]
#![expect(clippy::disallowed_methods, clippy::expect_used, reason = "this is a test")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use haul::store::{MemorySource, MemoryStore};
use haul::testing::idler::Idler;
use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions, TcpStream};
use haul::{
    CancelToken, Config, Connector, Deadlines, RelPath, Retry, Server, Transfer, TransferId,
};

/// Behaviour of strangers, once they are connected.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stranger {
    Silent,
    /// A byte of a good greeting every now and then.
    Trickles,
    Garbage,
    /// Resets the connection.
    Resets,
    /// Greets, and says nothing more.
    Greets,
    /// Greets, and passes the floor as soon as it has it: every byte is as it should be, and moves nothing.
    PassesTheFloor,
}

const ALL: [Stranger; 6] = [
    Stranger::Silent,
    Stranger::Trickles,
    Stranger::Garbage,
    Stranger::Resets,
    Stranger::Greets,
    Stranger::PassesTheFloor,
];

/// Number of strangers.
const MANY: usize = 500;

/// Number that the docs of [`Server`] state, with its defaults: connections, and with them threads and
/// sockets.
const CONNECTIONS: usize = 200;

/// Far more than it takes on a machine that is busy with other things, and far less than all the strangers' deadlines.
const SOON: Duration = Duration::from_secs(20);

/// Number that the docs of [`Transfer::send_listening`] state.
const UNGREETED: usize = 192;

/// Threads that were joined are seen for a moment longer, where the machine is busy.
const SEEN: usize = 16;

/// Threads and descriptors of this process.
fn used() -> [usize; 2] {
    ["/proc/self/task", "/proc/self/fd"].map(|of| fs::read_dir(of).expect("it is there").count())
}

/// Threads that were joined are still seen for a moment.
fn assert_given_back(before: [usize; 2]) {
    let start = Instant::now();
    while used() != before {
        assert!(start.elapsed() < SOON, "{:?} instead of {before:?}", used());
        thread::yield_now();
    }
}

/// A stream that keeps what is written, and has nothing to read.
#[derive(Default)]
struct Recorder(Vec<u8>);

impl Read for Recorder {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(ErrorKind::ConnectionReset.into())
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the first turn of a sender.
fn greeting() -> Vec<u8> {
    let mut recorder = Recorder::default();
    let ended = Transfer::new(Config::default()).send(&mut MemorySource::new(), &mut recorder);
    ended.expect_err("nobody answers");
    recorder.0
}

/// Comes as so many strangers, until it is told to stop. Those that the server has closed come no more.
fn flood(stranger: Stranger, connector: &mut TcpConnector, came: &AtomicUsize, stop: &AtomicBool) {
    let mut streams: VecDeque<TcpStream> = VecDeque::new();
    let mut idlers: Vec<(TcpStream, Idler)> = Vec::new();
    let greeting = greeting();
    for number in 0..MANY as u128 {
        let Ok(mut stream) = connector.connect() else { continue };
        match stranger {
            Stranger::Silent | Stranger::Resets => {}
            Stranger::Trickles => drop(stream.write(&greeting[..1])),
            Stranger::Garbage => drop(stream.write(&[0xA5; 4096])),
            Stranger::Greets => drop(stream.write(&greeting)),
            Stranger::PassesTheFloor => {
                let mut idler = Idler::new(TransferId::new(number.to_le_bytes()));
                drop(stream.write(&idler.greeting()));
                idlers.push((stream, idler));
                came.fetch_add(1, Ordering::SeqCst);
                continue;
            }
        }
        if stranger == Stranger::Resets {
            drop(stream);
        } else {
            streams.push_back(stream);
        }
        came.fetch_add(1, Ordering::SeqCst);
    }
    let mut said = 1;
    while !stop.load(Ordering::SeqCst) {
        // How slowly a stranger trickles; nothing waits for it.
        thread::sleep(Duration::from_millis(50));
        pass_the_floor(&mut idlers);
        for stream in &mut streams {
            match stranger {
                Stranger::Trickles if said < greeting.len() => {
                    let _ = stream.write(&greeting[said..=said]);
                }
                Stranger::Garbage => drop(stream.write(&[0x5A; 16])),
                _ => {}
            }
        }
        said += 1;
    }
}

/// Lets each of them say nothing in a turn of its own, once it was answered. Those that were sent away come no more.
fn pass_the_floor(idlers: &mut Vec<(TcpStream, Idler)>) {
    idlers.retain_mut(|(stream, idler)| {
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => idler.receive(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return false,
            // Nothing is there.
            Err(_) => return true,
        }
        idler.pass().is_none_or(|turn| stream.write(&turn).is_ok())
    });
}

/// Runs a server among these strangers, and sends to it. Gives how long that took, and how many threads and descriptors
/// there were at most.
fn send_among(stranger: Stranger) -> (Duration, [usize; 2]) {
    let options = TcpOptions::default().accept_tick(Duration::from_millis(100));
    let acceptor = TcpAcceptor::bind(&"127.0.0.1:0".parse().expect("an address"), options)
        .expect("loopback does not fail");
    let address = acceptor.local_addr().expect("bound").to_string();
    let connector = TcpConnector::new(address.parse().expect("an address"));
    let rude = TcpOptions::default().linger(Some(Duration::ZERO)).close_wait(Duration::ZERO);
    // One thread plays all of them.
    let rude = rude.read_tick(Duration::from_millis(1));
    let mut strangers = connector.clone().options(rude);
    let (store, cancel) = (MemoryStore::new(), CancelToken::new());
    let (came, stop, peak) =
        (AtomicUsize::new(0), AtomicBool::new(false), [0, 0].map(AtomicUsize::new));
    let took = thread::scope(|scope| {
        let server = Server::new(acceptor, store.clone()).cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        scope.spawn(|| flood(stranger, &mut strangers, &came, &stop));
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                for (peak, now) in peak.iter().zip(used()) {
                    peak.fetch_max(now, Ordering::SeqCst);
                }
                // How often the peak is looked for; nothing waits for it.
                thread::sleep(Duration::from_millis(1));
            }
        });
        while came.load(Ordering::SeqCst) < MANY * 3 / 5 {
            thread::yield_now();
        }
        let start = Instant::now();
        let mut source =
            MemorySource::new().file(RelPath::parse(b"file").expect("a name"), vec![7; 100_000]);
        let sent = Transfer::new(Config::default())
            .retry(Retry::patiently(SOON))
            .send_via(&mut source, &mut connector.clone());
        let took = start.elapsed();
        stop.store(true, Ordering::SeqCst);
        cancel.cancel();
        assert_eq!(sent.expect("sent").delivered, 1);
        server.join().expect("no panic").expect_err("it was cancelled");
        took
    });
    assert_eq!(store.files().len(), 1);
    (took, peak.map(AtomicUsize::into_inner))
}

fn sender_is_served_whatever_strangers_do_and_threads_and_descriptors_are_bounded() {
    for stranger in ALL {
        let before = used();
        let (took, [threads, descriptors]) = send_among(stranger);
        assert!(took < SOON, "{stranger:?}: {took:?}");
        // The server, those that flood and measure; and one that is being joined.
        assert!(threads <= before[0] + CONNECTIONS + 4 + SEEN, "{stranger:?}: {threads} threads");
        // The strangers' ends, the sender's, the listener, and the folder that is being read.
        let own = MANY + 4;
        assert!(descriptors <= before[1] + CONNECTIONS + own, "{stranger:?}: {descriptors}");
        assert_given_back(before);
    }
}

/// Runs `work` and gives the most threads and descriptors that there were meanwhile.
fn peak_of(work: impl FnOnce()) -> [usize; 2] {
    let (stop, peak) = (AtomicBool::new(false), [0, 0].map(AtomicUsize::new));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                for (peak, now) in peak.iter().zip(used()) {
                    peak.fetch_max(now, Ordering::SeqCst);
                }
                // How often the peak is looked for; nothing waits for it.
                thread::sleep(Duration::from_millis(1));
            }
        });
        work();
        stop.store(true, Ordering::SeqCst);
    });
    peak.map(AtomicUsize::into_inner)
}

/// Runs a sender that listens among these strangers, and receives from it.
fn receive_among(stranger: Stranger) {
    let options = TcpOptions::default();
    let mut acceptor = TcpAcceptor::bind(&"127.0.0.1:0".parse().expect("an address"), options)
        .expect("loopback does not fail");
    let address = acceptor.local_addr().expect("bound").to_string();
    let connector = TcpConnector::new(address.parse().expect("an address"));
    let rude = TcpOptions::default().linger(Some(Duration::ZERO)).close_wait(Duration::ZERO);
    let mut strangers = connector.clone().options(rude);
    let (came, stop, store) = (AtomicUsize::new(0), AtomicBool::new(false), MemoryStore::new());
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let mut source = MemorySource::new()
                .file(RelPath::parse(b"file").expect("a name"), vec![7; 100_000]);
            // None of them goes by itself.
            let deadlines = Deadlines::default().hello(Duration::from_secs(1_000_000));
            Transfer::new(Config::default().deadlines(deadlines))
                .send_listening(&mut source, &mut acceptor)
        });
        scope.spawn(|| flood(stranger, &mut strangers, &came, &stop));
        while came.load(Ordering::SeqCst) < MANY * 3 / 5 {
            thread::yield_now();
        }
        let received = Transfer::new(Config::default())
            .retry(Retry::patiently(SOON))
            .receive_via(&store, &mut connector.clone());
        stop.store(true, Ordering::SeqCst);
        assert_eq!(received.expect("received").delivered, 1);
        assert_eq!(sender.join().expect("no panic").expect("sent").delivered, 1);
    });
    assert_eq!(store.files().len(), 1);
}

fn receiver_is_sent_to_whatever_strangers_do_and_threads_and_descriptors_are_bounded() {
    // The first turn of a sender is no greeting here: to `Greets`, too, the answer is that both sides send.
    for stranger in ALL {
        let before = used();
        let [threads, descriptors] = peak_of(|| receive_among(stranger));
        // The sender, those that flood and measure; and those that were joined and are still seen.
        assert!(threads <= before[0] + UNGREETED + 4 + SEEN, "{stranger:?}: {threads} threads");
        let own = MANY + 5;
        assert!(descriptors <= before[1] + UNGREETED + own, "{stranger:?}: {descriptors}");
        assert_given_back(before);
    }
}

#[test]
fn peers_of_servers_and_of_senders_that_listen_are_served_among_strangers() {
    sender_is_served_whatever_strangers_do_and_threads_and_descriptors_are_bounded();
    receiver_is_sent_to_whatever_strangers_do_and_threads_and_descriptors_are_bounded();
}
