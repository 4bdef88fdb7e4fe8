//! Streams of every capacity, and streams that lie.

use std::cell::Cell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use haul::store::MemoryStore;
use haul::transport::memory;
use haul::{Error, Operation};

use crate::scene::{assert_three_files, both, capacity, small_blocks, three_files};

#[test]
fn session_over_a_pipe_of_any_capacity_arrives() {
    for bytes in [1, 2, 3, 15, 16, 17, 1000, 1_000_000] {
        let (alice, bob) = memory::pipe(capacity(bytes));
        let store = MemoryStore::new();
        let (sent, received) = both(&small_blocks(), &store, alice, bob, &mut three_files());
        let (sent, received) = (sent.expect("sent"), received.expect("received"));
        assert!(sent.is_complete() && received.is_complete());
        assert_eq!((sent.delivered, sent.bytes), (3, 20_700));
        assert_three_files(&store);
    }
}

/// A stream on which one side speaks at a time: it insists that nothing is written while the peer's bytes wait.
struct HalfDuplex<T> {
    inner: T,
    speaking: bool,
    /// Number of times that the direction changed.
    turns: Rc<Cell<u32>>,
}

impl<T: Read> Read for HalfDuplex<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.speaking = false;
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for HalfDuplex<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.speaking {
            self.speaking = true;
            self.turns.set(self.turns.get() + 1);
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[test]
fn session_takes_the_turns_that_it_counts() {
    let (alice, bob) = memory::pipe(capacity(1 << 20));
    let turns = Rc::new(Cell::new(0));
    let alice = HalfDuplex { inner: alice, speaking: false, turns: Rc::clone(&turns) };
    let store = MemoryStore::new();
    let (sent, received) = both(&small_blocks(), &store, alice, bob, &mut three_files());
    let (sent, received) = (sent.expect("sent"), received.expect("received"));
    assert_eq!(sent.turns, received.turns);
    // Greeting, content, and the goodbye.
    assert_eq!(u64::from(turns.get()), sent.turns + 2);
}

#[test]
fn buffered_stream_is_flushed_with_every_turn() {
    struct Buffered<T: Write>(io::BufWriter<T>);
    impl<T: Read + Write> Read for Buffered<T> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.get_mut().read(buffer)
        }
    }
    impl<T: Write> Write for Buffered<T> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.flush()
        }
    }
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    let wrap = |pipe| Buffered(io::BufWriter::with_capacity(1 << 20, pipe));
    let store = MemoryStore::new();
    let (sent, received) =
        both(&small_blocks(), &store, wrap(alice), wrap(bob), &mut three_files());
    assert!(sent.expect("sent").is_complete() && received.expect("received").is_complete());
    assert_three_files(&store);
}

mockall::mock! {
    /// A stream that does what a test tells it.
    Wire {}
    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    }
    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
        fn flush(&mut self) -> io::Result<()>;
    }
}

#[test]
fn stream_that_claims_more_than_it_was_given_is_an_error() {
    let mut wire = MockWire::new();
    wire.expect_write().returning(|bytes| Ok(bytes.len() + 1));
    let error = haul::send(&mut three_files(), wire).expect_err("a lie");
    assert!(matches!(error, Error::Transport { operation: Operation::Write, .. }), "{error:?}");

    let mut wire = MockWire::new();
    wire.expect_read().returning(|buffer| Ok(buffer.len() + 1));
    wire.expect_flush().returning(|| Ok(()));
    let error = haul::receive(&mut MemoryStore::new(), wire).expect_err("a lie");
    assert!(matches!(error, Error::Transport { operation: Operation::Read, .. }), "{error:?}");
}

#[test]
fn stream_that_takes_nothing_or_ends_is_an_error_that_a_retry_can_help() {
    for (written, kind) in [(Ok(0), ErrorKind::WriteZero), (Err(()), ErrorKind::ConnectionReset)] {
        let mut wire = MockWire::new();
        wire.expect_write().returning(move |_| written.map_err(|()| kind.into()));
        let error = haul::send(&mut three_files(), wire).expect_err("nothing is taken");
        assert_eq!((error.kind(), error.is_transient()), (kind, true), "{error:?}");
    }
    let mut wire = MockWire::new();
    wire.expect_read().returning(|_| Ok(0));
    wire.expect_flush().returning(|| Ok(()));
    let error = haul::receive(&mut MemoryStore::new(), wire).expect_err("the end");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::UnexpectedEof, true));
}

/// Refuses every other write, with each of the errors of a tick, and expects the same bytes in the next one.
struct Exacting<T> {
    inner: T,
    refused: Option<Vec<u8>>,
    writes: usize,
}

impl<T: Read> Read for Exacting<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert_eq!(self.refused, None, "it goes on to read, and did not write what was refused");
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Exacting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(refused) = self.refused.take() {
            assert_eq!(bytes, refused, "other bytes after a write that failed");
            return self.inner.write(&bytes[..bytes.len().min(1 + self.writes % 700)]);
        }
        self.writes += 1;
        self.refused = Some(bytes.to_vec());
        let ticks = [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted];
        Err(ticks[self.writes % ticks.len()].into())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[test]
fn write_that_had_to_wait_is_made_again_with_the_same_bytes() {
    let (alice, bob) = memory::pipe(capacity(512));
    let exacting = |inner| Exacting { inner, refused: None, writes: 0 };
    let store = MemoryStore::new();
    let (sent, received) =
        both(&small_blocks(), &store, exacting(alice), exacting(bob), &mut three_files());
    assert!(sent.expect("sent").is_complete() && received.expect("received").is_complete());
    assert_three_files(&store);
}
