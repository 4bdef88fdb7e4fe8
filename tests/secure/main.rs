//! Sessions over the secure transport: with a server and its deadlines, with keys that are not expected, and under attack.
#![cfg(all(feature = "secure", feature = "testing"))]
#![expect(clippy::expect_used, reason = "this is a test")]

mod admission;
mod attacks;
mod handshake;

use std::io::{self, ErrorKind};
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use haul::store::{MemorySource, MemoryStore};
use haul::transport::memory::{self, MemoryAcceptor, MemoryConnector};
use haul::transport::secure::{Expect, SecretKey, Secure, SecureAcceptor, SecureError};
use haul::{
    CancelToken, Config, Connector, Deadlines, Error, RelPath, Retry, Server, SessionError,
    Transfer,
};

fn content(of: usize) -> Vec<u8> {
    (0..300_000_usize + of).map(|at| (at * 31 + of).to_le_bytes()[0]).collect()
}

fn name(of: usize) -> RelPath {
    RelPath::parse(format!("from-{of}").as_bytes()).expect("it is a name")
}

fn key() -> SecretKey {
    SecretKey::generate().expect("the system gives random numbers")
}

fn network(bob: &SecretKey) -> (MemoryConnector, SecureAcceptor<MemoryAcceptor>) {
    let (connector, acceptor) =
        memory::network(NonZeroUsize::new(16 * 1024).expect("it is not zero"));
    (connector, Secure::listen(acceptor, bob).expect("the key is good"))
}

/// Deadlines that end a test soon, should it hang.
fn config() -> Config {
    let mut deadlines = Deadlines::default();
    deadlines.hello = Duration::from_secs(2);
    Config::default().deadlines(deadlines)
}

#[test]
fn senders_with_keys_of_their_own_are_served_at_once_beside_one_that_never_greets() {
    let bob = key();
    let (connector, acceptor) = network(&bob);
    let store = MemoryStore::new();
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let server = Server::new(acceptor, store.clone()).config(config()).cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        let silent = connector.clone().connect().expect("somebody listens");
        let senders: Vec<_> = (0..4)
            .map(|of| {
                let (connector, expect) = (connector.clone(), Expect::key(bob.public()));
                scope.spawn(move || {
                    let mut connector =
                        Secure::dial(connector, &key(), expect).expect("the key is good");
                    let mut source = MemorySource::new().file(name(of), content(of));
                    Transfer::new(config()).send_via(&mut source, &mut connector)
                })
            })
            .collect();
        for sender in senders {
            let summary = sender.join().expect("it does not panic").expect("it is served");
            assert!(summary.is_complete() && summary.delivered == 1, "{summary:?}");
        }
        drop(silent);
        cancel.cancel();
        drop(server.join().expect("it does not panic"));
    });
    for of in 0..4 {
        assert_eq!(store.files().get(&name(of)).map(|bytes| bytes.to_vec()), Some(content(of)));
    }
}

/// Returns the error below, if the transport of keys gave it.
fn reason(error: &io::Error) -> Option<SecureError> {
    error.get_ref()?.downcast_ref().copied()
}

#[test]
fn receiver_with_another_key_ends_the_transfer_at_once_and_for_good() {
    let (bob, other) = (key(), key());
    let (connector, acceptor) = network(&bob);
    let store = MemoryStore::new();
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let server = Server::new(acceptor, store.clone()).config(config()).cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        let expect = Expect::key(other.public());
        let mut connector = Secure::dial(connector, &key(), expect).expect("the key is good");
        let mut source = MemorySource::new().file(name(0), content(0));
        let retry = Retry::default().patience(Duration::from_secs(3600));
        let error = Transfer::new(config())
            .retry(retry)
            .send_via(&mut source, &mut connector)
            .expect_err("nobody has this key");
        assert!(!error.is_transient(), "{error}");
        let Error::Transport { source, .. } = error else { unreachable!("{error}") };
        assert_eq!(source.kind(), ErrorKind::PermissionDenied);
        assert_eq!(reason(&source), Some(SecureError::Unexpected { key: bob.public() }));
        cancel.cancel();
        drop(server.join().expect("it does not panic"));
    });
    assert!(store.entries().is_empty() && store.partials().is_empty());
}

#[test]
fn handshake_that_nobody_answers_ends_by_the_deadline_of_greetings() {
    let (near, far) = memory::pipe(NonZeroUsize::new(16 * 1024).expect("it is not zero"));
    let mut streams = vec![near];
    let connector = Once(&mut streams);
    let expect = Expect::anyone();
    let mut connector = Secure::dial(connector, &key(), expect).expect("the key is good");
    let mut source = MemorySource::new().file(name(0), content(0));
    let mut config = config();
    config.deadlines.hello = Duration::from_millis(50);
    let error = Transfer::new(config)
        .retry(Retry::never())
        .send_via(&mut source, &mut connector)
        .expect_err("nobody answers");
    assert!(matches!(error, Error::Session(SessionError::Stalled(_))), "{error}");
    drop(far);
}

/// Connects once.
struct Once<'s>(&'s mut Vec<memory::Pipe>);

impl Connector for Once<'_> {
    type Stream = memory::Pipe;

    fn connect(&mut self) -> io::Result<memory::Pipe> {
        self.0.pop().ok_or_else(|| ErrorKind::ConnectionRefused.into())
    }
}
