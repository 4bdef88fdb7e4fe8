//! Peers that say or take nothing, or hardly anything.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use haul::config::Deadlines;
use haul::drive::Clock;
use haul::proto::{Sender, Stall};
use haul::store::MemoryStore;
use haul::transport::memory::pipe;
use haul::types::TransferId;
use haul::{CancelToken, Config, Error, Event, Observer, SessionError, Transfer};

use crate::scene::{CancelAt, Silent, Virtual, capacity, three_files};

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
        // Whether or not it takes the greeting.
        let stall = Stall::Hello { after: deadlines.hello };
        assert!(
            matches!(&error, Error::Session(SessionError::Stalled(found)) if *found == stall),
            "{error:?}"
        );
        assert!(error.is_transient());
        let end = deadlines.hello + Duration::from_secs(1);
        assert!(clock.now() <= end, "{:?}", clock.now());
    }
    let clock = Virtual::default();
    let silent = Silent { clock: clock.clone(), takes: true };
    let error = Transfer::new(config)
        .clock(clock)
        .receive(&mut MemoryStore::new(), silent)
        .expect_err("nobody speaks");
    assert!(
        matches!(error, Error::Session(SessionError::Stalled(Stall::Hello { .. }))),
        "{error:?}"
    );
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
        let Error::Session(SessionError::Stalled(Stall::Drip { bytes, after })) = error else {
            panic!("{error:?}")
        };
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
    assert!(
        matches!(error, Error::Session(SessionError::Stalled(Stall::Silence { .. }))),
        "{error:?}"
    );
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
    assert!(
        matches!(sent, Err(Error::Session(SessionError::Stalled(Stall::Hello { .. })))),
        "{sent:?}"
    );
    let clock = Virtual::default();
    let received = Transfer::new(Config::default())
        .clock(clock.clone())
        .receive(&mut MemoryStore::new(), Interrupted(clock));
    assert!(
        matches!(received, Err(Error::Session(SessionError::Stalled(Stall::Hello { .. })))),
        "{received:?}"
    );
}

/// A stream that takes everything at once, and never says that it has passed it on.
struct Flushing(Virtual);

impl Read for Flushing {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        unreachable!("nothing is read before all is written")
    }
}

impl Write for Flushing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.pass(Duration::from_secs(1));
        Err(ErrorKind::WouldBlock.into())
    }
}

/// A connection that the system has given up: reads say so, or writes.
#[cfg(unix)]
struct GivenUp {
    clock: Virtual,
    by_read: bool,
}

#[cfg(unix)]
impl GivenUp {
    #[cfg(target_os = "linux")]
    const ETIMEDOUT: i32 = 110;
    #[cfg(not(target_os = "linux"))]
    const ETIMEDOUT: i32 = 60;
}

#[cfg(unix)]
impl Read for GivenUp {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.clock.pass(Duration::from_secs(1));
        Err(io::Error::from_raw_os_error(Self::ETIMEDOUT))
    }
}

#[cfg(unix)]
impl Write for GivenUp {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.by_read { Ok(bytes.len()) } else { self.read(&mut [0]) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
#[cfg(unix)]
fn stream_that_the_system_has_given_up_is_an_error_and_not_a_tick() {
    for by_read in [false, true] {
        let clock = Virtual::default();
        let error = Transfer::new(Config::default())
            .clock(clock.clone())
            .send(&mut three_files(), GivenUp { clock, by_read })
            .expect_err("it is dead");
        let Error::Transport { source, .. } = &error else { panic!("{error:?}") };
        assert_eq!(source.raw_os_error(), Some(GivenUp::ETIMEDOUT));
        assert!(error.is_transient());
    }
}

#[test]
fn stream_that_flushes_for_ever_ends_the_session_at_the_deadline() {
    let clock = Virtual::default();
    let sent = Transfer::new(Config::default())
        .clock(clock.clone())
        .send(&mut three_files(), Flushing(clock.clone()));
    let after = Deadlines::default().silence;
    let Err(Error::Session(SessionError::Stalled(stall))) = sent else { panic!("{sent:?}") };
    assert_eq!(stall, Stall::Write { after });
    assert_eq!(clock.now(), after);
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
    let (clock, cancel) = (Virtual::default(), CancelToken::new());
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
    assert!(matches!(error, Error::Session(SessionError::Cancelled)), "{error:?}");
    let took = clock.now();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_millis(1200), "{took:?}");
}

/// An observer that returns from the first offer only when the test is over.
struct Stuck(mpsc::Receiver<()>);

impl Observer for Stuck {
    fn event(&mut self, event: &Event) {
        if matches!(event, Event::Offered { .. }) {
            let _ = self.0.recv();
        }
    }
}

#[test]
fn observer_that_does_not_return_ends_the_peer_within_its_silence() {
    let mut deadlines = Deadlines::default();
    deadlines.silence = Duration::from_millis(500);
    let (alice, bob) = pipe(capacity(1 << 16));
    let (hold, held) = mpsc::channel();
    let config = Config::default();
    thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            Transfer::new(config.clone())
                .observer(Stuck(held))
                .receive(&mut MemoryStore::new(), bob)
        });
        let sent =
            Transfer::new(config.clone().deadlines(deadlines)).send(&mut three_files(), alice);
        assert!(
            matches!(sent, Err(Error::Session(SessionError::Stalled(Stall::Silence { .. })))),
            "{sent:?}"
        );
        drop(hold);
        // Its own session ends once the observer does.
        assert!(receiver.join().expect("it does not panic").is_err());
    });
}
