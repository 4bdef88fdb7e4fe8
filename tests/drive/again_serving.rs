//! Objects that outlive a call, used a second time: acceptors and connectors, the store, the token, the limit.

use std::thread;
use std::time::Duration;

use haul::store::MemoryStore;
use haul::transport::{Listening, memory};
use haul::{
    Acceptor, CancelToken, Connector, Error, Event, RateLimit, Retry, Server, SessionError, Store,
    Summary, Transfer,
};

use crate::scene::{assert_three_files, capacity, small_blocks, three_files};

/// Runs a server, which is taken by its run, so that none runs twice: the next one is made of what is left, here
/// by reference.
fn serve<A, S>(acceptor: &mut A, store: S, cancel: &CancelToken) -> Result<Summary, Error>
where
    A: Acceptor + Send,
    A::Stream: Send,
    S: Store + Clone + Send,
    S::File: Send,
{
    Server::new(acceptor, store).config(small_blocks()).cancel(cancel.clone()).run(|_, _| ())
}

/// Uses one connector, acceptor, store and limit of the rate in call after call: after an error, after
/// success, and after a server that was cancelled.
fn check<C, A, S>(connector: &mut C, acceptor: &mut A, store: &S)
where
    C: Connector + Send,
    A: Acceptor + Send,
    A::Stream: Send,
    S: Store + Clone + Send,
    S::File: Send,
{
    let limit = RateLimit::per_second(1 << 30).expect("it is not too little");
    let mut source = three_files();
    for round in 0..3 {
        let cancel = CancelToken::new();
        thread::scope(|scope| {
            let (serving, token) = (store.clone(), cancel.clone());
            let server = scope.spawn({
                let acceptor = &mut *acceptor;
                move || serve(acceptor, serving, &token)
            });
            let stop = CancelToken::new();
            let at_once = stop.clone();
            let mut sender = Transfer::new(small_blocks())
                .cancel(stop)
                .limit_rate(limit.clone())
                .retry(Retry::patiently(Duration::from_secs(60)))
                .observer(move |event: &Event| {
                    if let Event::Offered { .. } = event {
                        at_once.cancel();
                    }
                });
            for _ in 0..2 {
                // And once more with the token that is cancelled.
                let stopped = sender.send_via(&mut source, connector);
                assert!(
                    matches!(stopped, Err(Error::Session(SessionError::Cancelled))),
                    "{round}: {stopped:?}"
                );
            }
            let mut sender = Transfer::new(small_blocks())
                .limit_rate(limit.clone())
                .retry(Retry::patiently(Duration::from_secs(60)));
            for call in 0..2 {
                let sent = sender.send_via(&mut source, connector).expect("sent");
                assert_eq!((sent.delivered, sent.is_complete()), (3, true), "{round}, {call}");
                assert!(sent.held == 3 || (round, call) == (0, 0), "{round}, {call}: {sent:?}");
            }
            cancel.cancel();
            let ended = server.join().expect("no panic");
            assert!(
                matches!(ended, Err(Error::Session(SessionError::Cancelled))),
                "{round}: {ended:?}"
            );
        });
        // A token stays cancelled: who serves again takes a new one.
        let ended = serve(acceptor, store.clone(), &cancel);
        assert!(
            matches!(ended, Err(Error::Session(SessionError::Cancelled))),
            "{round}: {ended:?}"
        );
    }
}

#[test]
fn network_in_memory_serves_call_after_call() {
    let (mut connector, mut acceptor) = memory::network(capacity(4096));
    let store = MemoryStore::new();
    check(&mut connector, &mut acceptor, &store);
    assert_three_files(&store);
}

#[test]
fn receiver_that_listens_takes_call_after_call() {
    let (mut connector, acceptor) = memory::network(capacity(4096));
    let mut listening = Listening::new(acceptor);
    let store = MemoryStore::new();
    let mut receiver = Transfer::new(small_blocks());
    let mut sender = Transfer::new(small_blocks());
    let mut source = three_files();
    for call in 0..3 {
        thread::scope(|scope| {
            let received = scope.spawn(|| receiver.receive_via(&store, &mut listening));
            if call == 1 {
                // Somebody who goes again.
                drop(connector.connect().expect("a stream"));
            }
            let sent = sender.send_via(&mut source, &mut connector).expect("sent");
            let received = received.join().expect("no panic").expect("received");
            assert_eq!((sent.delivered, received.delivered), (3, 3), "{call}");
        });
    }
    assert_three_files(&store);
}

#[cfg(feature = "fs")]
mod over_files {
    use std::io;

    use haul::store::fs::FsStore;

    use super::*;

    fn check_folder<C, A>(connector: &mut C, acceptor: &mut A) -> io::Result<()>
    where
        C: Connector + Send,
        A: Acceptor + Send,
        A::Stream: Send,
    {
        let folder = tempfile::tempdir()?;
        check(connector, acceptor, &FsStore::open(folder.path())?);
        let names = std::fs::read_dir(folder.path())?.count();
        assert_eq!(names, 3, "nothing is left over");
        Ok(())
    }

    #[cfg(feature = "tcp")]
    #[test]
    fn tcp_and_a_folder_serve_call_after_call() {
        use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions};
        let address = "127.0.0.1:0".parse().expect("an address");
        let mut acceptor = TcpAcceptor::bind(&address, TcpOptions::default()).expect("bound");
        let address = acceptor.local_addr().expect("it has one");
        check_folder(&mut TcpConnector::new(address.into()), &mut acceptor).expect("a folder");
    }

    #[test]
    fn unix_socket_and_a_folder_serve_call_after_call() {
        use haul::transport::unix::{UnixAcceptor, UnixConnector};
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let mut acceptor = UnixAcceptor::bind(&path).expect("bound");
        check_folder(&mut UnixConnector::new(&path), &mut acceptor).expect("a folder");
    }
}
