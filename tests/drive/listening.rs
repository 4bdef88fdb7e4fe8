//! A sender that listens, among receivers and strangers.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use haul::store::MemoryStore;
use haul::transport::memory::{self, MemoryAcceptor};
use haul::{
    Acceptor, CancelToken, Config, Connector, Deadlines, Error, Event, Observer, Peer, Retry,
    Summary, Transfer,
};

use crate::scene::{
    FrailConnector, Virtual, assert_three_files, capacity, small_blocks, three_files,
};

/// Far more than a receiver has to wait on a machine that is busy, and far less than any deadline of a stranger.
const SOON: Duration = Duration::from_secs(60);

/// Observer of the peer that is connected, and of strangers.
#[derive(Default)]
struct Heard {
    connected: Vec<Peer>,
    strangers: u32,
    unheard: u64,
}

impl Observer for Heard {
    fn event(&mut self, _: &Event) {}

    fn connected(&mut self, peer: &Peer) {
        self.connected.push(peer.clone());
    }

    fn retry(&mut self, _: u32, _: &Error, pause: Duration) {
        assert!(pause.is_zero());
        self.strangers += 1;
    }

    fn unheard(&mut self, connections: u64) {
        self.unheard += connections;
    }
}

/// Returns settings by which no stranger is left for its silence within the time of a test.
fn patient() -> Config {
    let long = Duration::from_secs(1_000_000);
    small_blocks().deadlines(Deadlines::default().hello(long).silence(long))
}

/// Sends three files by `acceptor` while `visit` runs, which must be done soon. Returns what the sender received.
fn send_while(
    mut acceptor: MemoryAcceptor,
    visit: impl FnOnce() + Send,
) -> (Result<Summary, Error>, Heard) {
    acceptor.set_timeout(Some(Duration::from_millis(5)));
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let mut transfer =
            Transfer::new(patient()).observer(Heard::default()).cancel(cancel.clone());
        let sender = scope.spawn(move || {
            let sent = transfer.send_listening(&mut three_files(), &mut acceptor);
            (sent, transfer.into_observer())
        });
        let (done, is_done) = mpsc::channel();
        scope.spawn(move || {
            visit();
            let _ = done.send(());
        });
        if is_done.recv_timeout(SOON).is_err() {
            // The receiver is not served: it goes with the sender.
            cancel.cancel();
        }
        sender.join().expect("no panic")
    })
}

#[test]
fn receiver_is_served_whatever_number_of_strangers_say_nothing() {
    let (connector, acceptor) = memory::network(capacity(1 << 16));
    let store = MemoryStore::new();
    let (sent, heard) = send_while(acceptor, || {
        let strangers: Vec<_> =
            (0..300).map(|_| connector.clone().connect().expect("connected")).collect();
        let received = Transfer::new(patient())
            .retry(Retry::patiently(SOON))
            .receive_via(&store, &mut connector.clone());
        assert!(received.expect("received").is_complete());
        drop(strangers);
    });
    assert!(sent.expect("sent").is_complete());
    assert_eq!(heard.connected, [Peer::Pipe], "the receiver alone is told of");
    assert_three_files(&store);
}

#[test]
fn sender_that_listens_counts_strangers_that_go_by_themselves() {
    const MANY: u32 = 40;
    let (connector, acceptor) = memory::network(capacity(4096));
    let store = MemoryStore::new();
    let (sent, heard) = send_while(acceptor, || {
        for number in 0..MANY {
            let mut stranger = connector.clone().connect().expect("connected");
            if number % 2 == 0 {
                stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("written");
                // Its end: the sender has heard enough.
                stranger.set_timeout(None);
                let _ = stranger.read_to_end(&mut Vec::new());
            }
        }
        let received = Transfer::new(patient())
            .retry(Retry::patiently(SOON))
            .receive_via(&store, &mut connector.clone());
        assert!(received.expect("received").is_complete());
    });
    assert!(sent.expect("sent").is_complete());
    assert_eq!(heard.connected.len(), 1);
    assert!((10..=20).contains(&heard.strangers), "{} are told of", heard.strangers);
    assert_three_files(&store);
}

#[test]
fn sender_that_listens_goes_on_with_a_receiver_that_dials_again_among_strangers() {
    let (connector, acceptor) = memory::network(capacity(4096));
    let store = MemoryStore::new();
    let mut connected = 0;
    let (sent, heard) = send_while(acceptor, || {
        let strangers: Vec<_> =
            (0..10).map(|_| connector.clone().connect().expect("connected")).collect();
        let mut frail = FrailConnector::new(connector.clone(), 3000, 3000);
        let received = Transfer::new(patient())
            .clock(Virtual::default())
            .retry(Retry::patiently(Duration::from_secs(100_000)))
            .receive_via(&store, &mut frail);
        assert!(received.expect("received").is_complete());
        connected = frail.connected;
        drop(strangers);
    });
    assert!(sent.expect("sent").is_complete());
    assert!(connected > 1 && heard.connected.len() > 1, "{connected}");
    assert_three_files(&store);
}

/// An acceptor that says of one call that the system lacks descriptors, once somebody is there.
struct Short(MemoryAcceptor, u32);

impl Acceptor for Short {
    type Stream = memory::Pipe;

    fn accept(&mut self) -> io::Result<(memory::Pipe, Peer)> {
        self.1 += 1;
        // At first nobody is there who could be sent away.
        if self.1 == 2 {
            return Err(io::Error::from_raw_os_error(24)); // EMFILE
        }
        self.0.accept()
    }
}

#[test]
fn sender_that_listens_sends_silent_strangers_away_where_descriptors_are_lacking() {
    let (connector, mut acceptor) = memory::network(capacity(4096));
    acceptor.set_timeout(Some(Duration::from_millis(5)));
    let store = MemoryStore::new();
    let (gone, is_gone) = mpsc::channel();
    let sent = thread::scope(|scope| {
        let mut stranger = connector.clone().connect().expect("connected");
        let sender = scope.spawn(move || {
            Transfer::new(patient())
                .observer(Heard::default())
                .send_listening(&mut three_files(), &mut Short(acceptor, 0))
        });
        scope.spawn(move || {
            stranger.set_timeout(Some(SOON));
            let ended = stranger.read_to_end(&mut Vec::new());
            let _ =
                gone.send(ended.map_or_else(|error| error.kind() != ErrorKind::TimedOut, |_| true));
        });
        assert_eq!(is_gone.recv(), Ok(true), "it has to go");
        let received = Transfer::new(patient())
            .retry(Retry::patiently(SOON))
            .receive_via(&store, &mut connector.clone());
        assert!(received.expect("received").is_complete());
        sender.join().expect("no panic")
    });
    assert!(sent.expect("sent").is_complete());
    assert_three_files(&store);
}
