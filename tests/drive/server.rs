//! Many senders at one server.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use haul::store::{MemorySource, MemoryStore};
use haul::transport::memory;
use haul::types::AbortCode;
use haul::{
    Acceptor, CancelToken, Config, Connector, Error, Event, Observer, Operation, Peer, Retry,
    Server, SessionError, SessionId, Summary, Transfer,
};

use crate::scene::{
    FrailConnector, Virtual, assert_three_files, capacity, content, path, small_blocks,
    three_files, with_server, with_sessions,
};

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
    let server = Server::new(listen, store.clone()).config(small_blocks()).run_once();
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
    let server = Server::new(acceptor, store.clone()).config(small_blocks()).sessions(1).run_once();
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
        meeting: Arc<Barrier>,
    }
    impl Observer for Count {
        fn event(&mut self, event: &Event) {
            let names = ["0", "1", "2"];
            if matches!(event, Event::Offered { path, .. } if names.contains(&&*path.to_string())) {
                self.meeting.wait();
            }
        }
        fn ended(&mut self, result: &Result<Summary, Error>) {
            assert!(result.is_ok(), "{result:?}");
            self.now.lock().expect("no panic").0 -= 1;
        }
    }
    let (connector, acceptor) = memory::network(capacity(4096));
    let store = MemoryStore::new();
    let cancel = CancelToken::new();
    let counts = Arc::new(Mutex::new((0_u32, 0_u32)));
    thread::scope(|scope| {
        let server = Server::new(acceptor, store.clone()).sessions(3).cancel(cancel.clone());
        let now = Arc::clone(&counts);
        // Three sessions stand still until all three are there.
        let meeting = Arc::new(Barrier::new(3));
        let server = scope.spawn(move || {
            server.run(|_, _| {
                let mut counts = now.lock().expect("no panic");
                counts.0 += 1;
                counts.1 = counts.1.max(counts.0);
                Count { now: Arc::clone(&now), meeting: Arc::clone(&meeting) }
            })
        });
        let senders: Vec<_> = (0..20)
            .map(|number| {
                let mut connector = connector.clone();
                scope.spawn(move || {
                    let name = path(&format!("{number}"));
                    let mut source = MemorySource::new().file(name, content(number, 5000));
                    Transfer::new(Config::default())
                        .retry(Retry::patiently(Duration::from_secs(60)))
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
    let (connector, acceptor) = memory::network(capacity(4096));
    let _network = connector.clone();
    let busy_at_once = |server: Server<_, _>| server.sessions(1).waiting(0);
    with_server(acceptor, &store, busy_at_once, || {
        let (seated, has_place) = mpsc::channel();
        let (go, may_go) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let mut first = connector.clone();
            let first = scope.spawn(move || {
                let mut source = MemorySource::new().file(path("first"), "1");
                Transfer::new(small_blocks())
                    .observer(move |event: &Event| {
                        // It has a place once something of it was offered.
                        if let Event::Delivered { .. } = event {
                            seated.send(()).expect("the test waits");
                            may_go.recv().expect("the test goes on");
                        }
                    })
                    .send_via(&mut source, &mut first)
            });
            has_place.recv().expect("the first sender has a place");
            let mut second = connector.clone();
            let busy = Transfer::new(small_blocks())
                .send(&mut MemorySource::new(), second.connect().expect("a stream"))
                .expect_err("no room");
            assert!(
                matches!(busy, Error::Session(SessionError::Aborted(AbortCode::Busy))),
                "{busy:?}"
            );
            // By itself it comes again, until there is room.
            let mut go = Some(go);
            let mut source = MemorySource::new().file(path("second"), "2");
            struct Release<'g>(&'g mut Option<mpsc::Sender<()>>);
            impl Observer for Release<'_> {
                fn event(&mut self, _: &Event) {}
                fn retry(&mut self, _: u32, cause: &Error, _: Duration) {
                    assert!(
                        matches!(cause, Error::Session(SessionError::Aborted(AbortCode::Busy))),
                        "{cause:?}"
                    );
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
    let (keep, _kept) = mpsc::channel();
    let store = MemoryStore::new();
    with_sessions(&store, 4, |connector| {
        // The first connection stops moving in the middle, and is never closed; the second one works.
        let mut connector = FrailConnector::new(connector, 3000, usize::MAX);
        connector.keep = Some(keep);
        let sent = Transfer::new(small_blocks())
            .send_via(&mut three_files(), &mut connector)
            .expect("sent");
        assert!(sent.is_complete());
        assert!(sent.resent < 20_000, "{} bytes again", sent.resent);
    });
    assert_three_files(&store);
}

/// Observer of the ends of sessions, and of the number of those that are not reported.
struct Ends(mpsc::Sender<Option<u64>>);

impl Observer for Ends {
    fn event(&mut self, _: &Event) {}

    fn unheard(&mut self, connections: u64) {
        self.0.send(Some(connections)).expect("the test listens");
    }

    fn ended(&mut self, _: &Result<Summary, Error>) {
        self.0.send(None).expect("the test listens");
    }
}

#[test]
fn strangers_at_a_server_are_told_of_up_to_a_number_and_counted_after() {
    let (mut connector, mut acceptor) = memory::network(capacity(4096));
    acceptor.set_timeout(Some(Duration::from_millis(5)));
    let (clock, cancel) = (Virtual::default(), CancelToken::new());
    let server = Server::new(acceptor, MemoryStore::new());
    let server = server.clock(clock.clone()).cancel(cancel.clone());
    let (ends, heard) = mpsc::channel();
    thread::scope(|scope| {
        let server = scope.spawn(move || server.run(move |_, _| Ends(ends.clone())));
        let mut come = |many| {
            for _ in 0..many {
                let mut stream = connector.connect().expect("a stream");
                stream.write_all(&[0xA5; 100]).expect("it takes what it does not know");
                // Until its session is over.
                while !matches!(stream.read(&mut [0; 100]), Ok(0) | Err(_)) {}
            }
        };
        come(100);
        let at_first: Vec<_> = heard.try_iter().collect();
        clock.pass(Duration::from_secs(10));
        come(100);
        let later: Vec<_> = heard.try_iter().collect();
        cancel.cancel();
        assert!(matches!(
            server.join().expect("no panic"),
            Err(Error::Session(SessionError::Cancelled))
        ));
        assert_eq!((at_first, later), (vec![None; 16], vec![Some(84), None]));
    });
}
