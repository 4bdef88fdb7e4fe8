//! The handshake: what it costs, and what those come to who never end it.

#![expect(
    clippy::disallowed_methods,
    reason = "a slow peer is slow, and the environment says how many rounds"
)]

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use haul::drive::AllowList;
use haul::store::{MemorySource, MemoryStore};
use haul::transport::memory::{self, Pipe};
use haul::transport::secure::{Expect, Secure, SecureStream};
use haul::{Acceptor, Connector, Error, Peer, Retry, Server, SessionError, Summary, Transfer};

use super::admission::{send, serving};
use super::{config, content, key, name, network};

/// Counts how often something is received after something was sent: round trips.
struct Counted {
    inner: Pipe,
    has_said: AtomicBool,
    trips: Arc<AtomicUsize>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if self.has_said.swap(false, Ordering::Relaxed) {
            self.trips.fetch_add(1, Ordering::Relaxed);
        }
        Ok(count)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.has_said.store(true, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Counting<C>(C, Arc<AtomicUsize>);

impl<C: Connector<Stream = Pipe>> Connector for Counting<C> {
    type Stream = Counted;

    fn connect(&mut self) -> io::Result<Counted> {
        let (inner, has_said) = (self.0.connect()?, AtomicBool::new(false));
        Ok(Counted { inner, has_said, trips: Arc::clone(&self.1) })
    }
}

fn send_by(mut connector: impl Connector) {
    let mut source = MemorySource::new().file(name(0), content(0));
    let mut transfer = Transfer::new(config()).retry(Retry::never());
    let sent = transfer.send_via(&mut source, &mut connector);
    assert!(sent.is_ok_and(|summary| summary.delivered == 1));
}

#[test]
fn handshake_costs_one_round_trip_more_than_a_greeting_in_clear() {
    let (bob, trips) = (key(), [(); 2].map(|()| Arc::<AtomicUsize>::default()));
    let expect = Expect::key(bob.public());
    serving(
        &bob,
        MemoryStore::new(),
        |_: &haul::Greeting| true,
        |connector| {
            let counting = Counting(connector, Arc::clone(&trips[0]));
            send_by(Secure::dial(counting, &key(), expect).expect("the key is good"));
        },
    );
    let capacity = NonZeroUsize::new(16 * 1024).expect("it is not zero");
    let (connector, acceptor) = memory::network(capacity);
    let cancel = haul::CancelToken::new();
    std::thread::scope(|scope| {
        let server = Server::new(acceptor, MemoryStore::new()).cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        send_by(Counting(connector, Arc::clone(&trips[1])));
        cancel.cancel();
        drop(server.join().expect("it does not panic"));
    });
    let [secure, clear] = trips.map(|trips| trips.load(Ordering::Relaxed));
    assert!(clear >= 2, "{clear}");
    assert_eq!(secure, clear + 1);
}

#[test]
fn sender_is_served_beside_strangers_by_the_hundred_who_never_end_their_handshake() {
    let (alice, bob) = (key(), key());
    let store = MemoryStore::new();
    let list = AllowList::new().keys([alice.public()]);
    serving(&bob, store.clone(), list, |mut connector| {
        let mut strangers = Vec::new();
        for of in 0..300 {
            let mut stranger = connector.connect().expect("somebody listens");
            // Nothing, half of a head, half of a record.
            let said: &[u8] = [&b""[..], b"\x16\x03", b"\x16\x03\x01\x02\x00\x01\x00"][of % 3];
            let _ = stranger.write(said);
            strangers.push(stranger);
        }
        let sent = send(connector, 0, &alice, Expect::key(bob.public()), None);
        assert!(sent.is_ok_and(|summary| summary.delivered == 1));
    });
    assert_eq!(store.files().len(), 1);
}

/// Returns bytes that look like records of a handshake, or like nothing.
fn noise(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; 1000];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    if !bytes[0].is_multiple_of(4) {
        let kinds = [0x16, 0x15, 0x14, 0x17];
        let mut at = 0;
        while let Some(head) = bytes.get_mut(at..at + 9) {
            let len = usize::from(head[3] % 64) + 4;
            head[0] = kinds[usize::from(head[0] >> 6)];
            (head[1], head[2]) = (3, head[2] % 5);
            (head[3], head[4]) = (0, len.to_le_bytes()[0]);
            // A message of the handshake: its kind, and a length that may fit.
            (head[5], head[6], head[7]) = (head[5] % 32, 0, 0);
            if head[8] % 2 == 0 {
                head[8] = (len - 4).to_le_bytes()[0];
            }
            at += 5 + len;
        }
    }
    bytes
}

#[test]
fn handshake_with_noise_of_either_side_ends_in_an_error() {
    let rounds = if std::env::var_os("HAUL_LONG").is_some() { 10_000 } else { 500 };
    let (bob, expect) = (key(), Expect::anyone());
    let fails = |mut stream: SecureStream<Pipe>, mut peer: Pipe, noise: &[u8]| {
        peer.write_all(noise).expect("it has room");
        drop(peer);
        assert!(stream.flush().is_err(), "the peer has no key");
        assert!(stream.peer_key().is_none() && stream.channel().binding().is_none());
    };
    for seed in 0..rounds {
        let (mut connector, mut acceptor) = network(&bob);
        let peer = connector.connect().expect("somebody listens");
        let (stream, _) = acceptor.accept().expect("somebody came");
        fails(stream, peer, &noise(seed));
        let (near, far) = memory::pipe(NonZeroUsize::new(16 * 1024).expect("it is not zero"));
        let mut pipes = vec![near];
        let connector = super::Once(&mut pipes);
        let mut connector = Secure::dial(connector, &bob, expect.clone()).expect("it is good");
        fails(connector.connect().expect("there is one"), far, &noise(!seed));
    }
}

/// A peer that says one long record, a byte at a time.
struct Drip {
    said: usize,
    byte: u8,
}

impl Read for Drip {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Slow enough that all of the record would take minutes.
        std::thread::sleep(Duration::from_millis(10));
        buffer[0] = [0x16, 3, 1, 0x40, 0, self.byte].get(self.said).copied().unwrap_or(0);
        self.said += 1;
        Ok(1)
    }
}

impl Write for Drip {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A peer that answers, and is connected to, as often as one likes.
struct Dripping(u8);

impl Connector for Dripping {
    type Stream = Drip;

    fn connect(&mut self) -> io::Result<Drip> {
        Ok(Drip { said: 0, byte: self.0 })
    }
}

impl Acceptor for Dripping {
    type Stream = Drip;

    fn accept(&mut self) -> io::Result<(Drip, Peer)> {
        Ok((self.connect()?, Peer::Pipe))
    }
}

#[test]
fn handshake_that_drips_ends_by_the_deadline_of_greetings_on_either_side() {
    let stalled = |ended: Result<Summary, Error>| {
        assert!(matches!(ended, Err(Error::Session(SessionError::Stalled(_)))), "{ended:?}");
    };
    let mut acceptor = Secure::listen(Dripping(1), &key()).expect("the key is good");
    let (stream, _) = acceptor.accept().expect("somebody is there");
    let mut transfer = Transfer::new(config()).channel(stream.channel());
    stalled(transfer.receive(&mut MemoryStore::new(), stream));
    let mut connector =
        Secure::dial(Dripping(2), &key(), Expect::anyone()).expect("the key is good");
    let mut transfer = Transfer::new(config()).retry(Retry::never());
    stalled(transfer.send_via(&mut MemorySource::new(), &mut connector));
}
