//! Somebody between both ends, and somebody who has recorded a session.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use haul::drive::AllowList;
use haul::store::{MemorySource, MemoryStore};
use haul::transport::is_tick;
use haul::transport::memory::{self, MemoryConnector, Pipe};
use haul::transport::secure::{Expect, Secure, SecureError, SecureStream, TicketSecret};
use haul::{Acceptor, Connector, Error, Operation, Retry, SessionError, Transfer};

use super::admission::serving;
use super::{config, content, key, name, reason};

fn secret() -> TicketSecret {
    TicketSecret::generate().expect("the system gives random numbers")
}

fn capacity() -> NonZeroUsize {
    NonZeroUsize::new(16 * 1024).expect("it is not zero")
}

/// Passes on what comes from either stream to the other one, for as long as both last.
fn relay(mut near: SecureStream<Pipe>, mut far: SecureStream<Pipe>) {
    let pass = |from: &mut SecureStream<Pipe>, to: &mut SecureStream<Pipe>| -> io::Result<()> {
        let mut buffer = [0; 4096];
        match from.read(&mut buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                let mut rest = &buffer[..count];
                while !rest.is_empty() {
                    rest = &rest[patiently(|| to.write(rest))?..];
                }
                patiently(|| to.flush())
            }
            Err(tick) if is_tick(&tick) => Ok(()),
            Err(error) => Err(error),
        }
    };
    for stream in [&near, &far] {
        assert!(stream.peer_key().is_none(), "it is new");
    }
    while pass(&mut near, &mut far).is_ok() && pass(&mut far, &mut near).is_ok() {}
}

/// Calls until it is no tick that comes of it.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(tick) if is_tick(&tick) => {}
            called => return called,
        }
    }
}

/// Puts Mallory, with a key of his own, between Alice and Bob.
fn between(expect: Expect, ticket: &TicketSecret) -> (Result<(), Error>, MemoryStore) {
    let (alice, bob, mallory) = (key(), key(), key());
    let store = MemoryStore::new();
    let list = AllowList::new().keys([mallory.public()]).ticket(ticket.clone());
    let (to_mallory, mut acceptor) = memory::network(capacity());
    acceptor.set_timeout(Some(Duration::from_millis(5)));
    let mut acceptor = Secure::listen(acceptor, &mallory).expect("the key is good");
    let sent = serving(&bob, store.clone(), list, |to_bob| {
        thread::scope(|scope| {
            scope.spawn(|| {
                let near = loop {
                    match acceptor.accept() {
                        Ok((stream, _)) => break stream,
                        Err(error) => assert!(is_tick(&error), "{error}"),
                    }
                };
                let mut pipes = vec![to_bob.clone().connect().expect("somebody listens")];
                pipes[0].set_timeout(Some(Duration::from_millis(5)));
                let connector = super::Once(&mut pipes);
                let expect = Expect::key(bob.public());
                let mut far = Secure::dial(connector, &mallory, expect).expect("the key is good");
                relay(near, far.connect().expect("there is one"));
            });
            let mut connector = Secure::dial(to_mallory, &alice, expect).expect("the key is good");
            let mut source = MemorySource::new().file(name(0), content(0));
            let transfer = Transfer::new(config()).retry(Retry::never()).ticket(ticket.clone());
            let mut transfer = transfer;
            transfer.send_via(&mut source, &mut connector).map(drop)
        })
    });
    (sent, store)
}

#[test]
fn man_in_the_middle_with_a_key_of_his_own_is_not_who_is_expected() {
    let (sent, store) = between(Expect::key(key().public()), &secret());
    let error = sent.expect_err("it is another key");
    assert!(!error.is_transient(), "{error}");
    let Error::Transport { source, .. } = error else { unreachable!("{error}") };
    assert!(matches!(reason(&source), Some(SecureError::Unexpected { .. })), "{source}");
    assert!(store.entries().is_empty());
}

#[test]
fn man_in_the_middle_whom_both_ends_admit_cannot_pass_on_the_session_of_another() {
    let (sent, store) = between(Expect::anyone(), &secret());
    let error = sent.expect_err("the channels differ");
    assert!(!error.is_transient(), "{error}");
    // Alice hears the greeting of Bob, which is of another channel than hers.
    let is_told = matches!(
        error,
        Error::Session(SessionError::Protocol(haul::proto::ProtocolError::OtherChannel))
    );
    assert!(is_told, "{error:?}");
    assert!(store.entries().is_empty() && store.partials().is_empty());
}

/// Record of what a connector's streams wrote.
#[derive(Clone)]
struct Recorder {
    inner: MemoryConnector,
    written: Arc<Mutex<Vec<u8>>>,
}

struct Recorded {
    inner: Pipe,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Connector for Recorder {
    type Stream = Recorded;

    fn connect(&mut self) -> io::Result<Recorded> {
        Ok(Recorded { inner: self.inner.connect()?, written: Arc::clone(&self.written) })
    }
}

impl Read for Recorded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl Write for Recorded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.written.lock().expect("nobody panics with it").extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[test]
fn replay_of_a_whole_session_moves_nothing_and_shows_neither_content_nor_ticket() {
    let (alice, bob, ticket) = (key(), key(), secret());
    let written = Arc::<Mutex<Vec<u8>>>::default();
    let store = MemoryStore::new();
    serving(&bob, store.clone(), AllowList::new().ticket(ticket.clone()), |connector| {
        let recorder = Recorder { inner: connector, written: Arc::clone(&written) };
        let expect = Expect::key(bob.public());
        let mut connector = Secure::dial(recorder, &alice, expect).expect("the key is good");
        let mut source = MemorySource::new().file(name(0), content(0));
        let transfer = Transfer::new(config()).retry(Retry::never()).ticket(ticket.clone());
        let mut transfer = transfer;
        let sent = transfer.send_via(&mut source, &mut connector);
        assert!(sent.is_ok_and(|summary| summary.delivered == 1));
    });
    let session = written.lock().expect("nobody panics with it").clone();
    for secret in [&content(0)[1000..1016], name(0).to_string().as_bytes(), b"\x89haul"] {
        assert!(!session.windows(secret.len()).any(|window| window == secret));
    }
    // Neither of them remembers anything, and the ticket is free.
    let store = MemoryStore::new();
    let list = AllowList::new().ticket(ticket);
    serving(&bob, store.clone(), list.clone(), |mut connector| {
        let mut stream = connector.connect().expect("somebody listens");
        let mut rest = &session[..];
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            if !rest.is_empty() {
                match stream.write(rest) {
                    Ok(count) => rest = &rest[count..],
                    Err(tick) if is_tick(&tick) => {}
                    Err(_) => break,
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => heard.extend_from_slice(&buffer[..count]),
                Err(tick) if is_tick(&tick) => {}
                Err(_) => break,
            }
        }
        // A hello of TLS, and then a refusal of what follows.
        assert_eq!(heard.first(), Some(&0x16));
    });
    assert!(store.entries().is_empty() && store.partials().is_empty());
    assert_eq!(list.claimed(), None);
}

#[test]
fn sender_in_clear_is_not_heard_by_a_receiver_that_wants_a_channel() {
    let bob = key();
    let store = MemoryStore::new();
    serving(
        &bob,
        store.clone(),
        |_: &haul::Greeting| true,
        |mut connector| {
            let mut source = MemorySource::new().file(name(0), content(0));
            let error = Transfer::new(config())
                .retry(Retry::never())
                .send_via(&mut source, &mut connector)
                .expect_err("it wants TLS");
            let is_tls = matches!(
                error,
                Error::Session(SessionError::Incompatible(haul::proto::Incompatible::NotHaul {
                    first: [0x15, ..]
                }))
            );
            assert!(is_tls && !error.is_transient(), "{error:?}");
        },
    );
    assert!(store.entries().is_empty());
}

#[test]
fn receiver_in_clear_is_not_spoken_to_by_a_sender_that_wants_a_channel() {
    let (connector, acceptor) = memory::network(capacity());
    let store = MemoryStore::new();
    let cancel = haul::CancelToken::new();
    thread::scope(|scope| {
        let server = haul::Server::new(acceptor, store.clone()).cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        let mut connector =
            Secure::dial(connector, &key(), Expect::anyone()).expect("the key is good");
        let mut source = MemorySource::new().file(name(0), content(0));
        let error = Transfer::new(config())
            .retry(Retry::never())
            .send_via(&mut source, &mut connector)
            .expect_err("it does not speak TLS");
        let Error::Transport { operation: Operation::Write, source } = error else {
            unreachable!("{error:?}")
        };
        assert_eq!(reason(&source), Some(SecureError::Cut), "{source}");
        cancel.cancel();
        drop(server.join().expect("it does not panic"));
    });
    assert!(store.entries().is_empty());
}
