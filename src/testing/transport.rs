//! Checks a transport against the contract of [`transport`](crate::transport), sentence by sentence.
//!
//! ```
//! use std::num::NonZeroUsize;
//! use haul::transport::memory;
//!
//! haul::testing::transport::check(|| memory::network(NonZeroUsize::MIN));
//! ```
//!
//! [`check`] does everything that concerns any transport, and takes some seconds: most of it waiting for ticks.
//! [`check_one_at_a_time`] does so for those that carry one connection at a time. Each check is also a function of its
//! own, for streams that cannot be had from a connector and an acceptor. All panic, as tests do, and say what was
//! broken.
#![expect(clippy::disallowed_methods, reason = "a check of ticks looks at the clock")]
#![expect(clippy::panic, reason = "a check fails like a test: by panicking")]

use std::io::{self, Read, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::transport::{Acceptor, Connector, Peer};

/// Runs every check against pairs of a connector and an acceptor that belong together; each check takes a new pair.
///
/// It runs in a thread, and each check has [`LONGEST`]: a stream that does not return from a call fails it, instead of
/// keeping the test waiting. The thread then stays behind. A check that is called by itself has no such deadline.
///
/// # Panics
///
/// If the transport breaks the contract.
pub fn check<C, A>(make_pair: impl FnMut() -> (C, A) + Send + 'static)
where
    C: Connector + Send,
    C::Stream: Send,
    A: Acceptor + Send,
    A::Stream: Send,
{
    check_within(make_pair, LONGEST, Connections::Many);
}

/// Runs every check as [`check`] does, for transports that carry one connection at a time.
///
/// # Panics
///
/// If the transport breaks the contract.
pub fn check_one_at_a_time<C, A>(make_pair: impl FnMut() -> (C, A) + Send + 'static)
where
    C: Connector + Send,
    C::Stream: Send,
    A: Acceptor + Send,
    A::Stream: Send,
{
    check_within(make_pair, LONGEST, Connections::OneAtATime);
}

/// Number of connections that there may be at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connections {
    Many,
    OneAtATime,
}

/// Longest time of a check of [`check`]: 60 s, where all but the ticks take milliseconds.
pub const LONGEST: Duration = Duration::from_secs(60);

fn check_within<C, A>(
    make_pair: impl FnMut() -> (C, A) + Send + 'static,
    longest: Duration,
    connections: Connections,
) where
    C: Connector + Send,
    C::Stream: Send,
    A: Acceptor + Send,
    A::Stream: Send,
{
    let (begins, begun) = mpsc::channel();
    let checks = thread::spawn(move || {
        // Where nobody waits any more, the test has failed already.
        run_all(make_pair, connections, |name| {
            let _ = begins.send(name);
        });
    });
    let mut name = "opening a stream";
    loop {
        match begun.recv_timeout(longest) {
            Ok(next) => name = next,
            Err(RecvTimeoutError::Timeout) => panic!(
                "{name}: no end after {longest:?}; a call that can block for ever needs a timeout"
            ),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if let Err(panic) = checks.join() {
        std::panic::resume_unwind(panic);
    }
}

fn run_all<C, A>(
    mut make_pair: impl FnMut() -> (C, A),
    connections: Connections,
    mut begin: impl FnMut(&'static str),
) where
    C: Connector + Send,
    C::Stream: Send,
    A: Acceptor + Send,
    A::Stream: Send,
{
    let mut streams = |name| {
        begin(name);
        let (mut connector, mut acceptor) = make_pair();
        let (near, far, _) = open(&mut connector, &mut acceptor);
        (near, far)
    };
    let (near, far) = streams("bytes_arrive_in_order");
    bytes_arrive_in_order(near, far);
    let (near, far) = streams("turns_pass_to_and_fro");
    turns_pass_to_and_fro(near, far);
    let (near, far) = streams("end_comes_after_the_last_byte");
    end_comes_after_the_last_byte(near, far);
    let (near, far) = streams("end_comes_after_the_last_byte");
    end_comes_after_the_last_byte(far, near);
    let (near, far) = streams("writes_fail_when_the_peer_is_gone");
    writes_fail_when_the_peer_is_gone(near, far);
    let (near, far) = streams("writes_fail_when_the_peer_is_gone");
    writes_fail_when_the_peer_is_gone(far, near);
    let (near, far) = streams("calls_return_in_ticks");
    calls_return_in_ticks(near, far);
    let (near, far) = streams("calls_return_in_ticks");
    calls_return_in_ticks(far, near);
    begin("accept_returns_in_ticks");
    let (mut connector, mut acceptor) = make_pair();
    accept_returns_in_ticks(&mut connector, &mut acceptor);
    if connections == Connections::Many {
        begin("connections_are_many_and_apart");
        let (mut connector, mut acceptor) = make_pair();
        connections_are_many_and_apart(&mut connector, &mut acceptor);
    } else {
        begin("connections_follow_and_end_one_another");
        let (mut connector, mut acceptor) = make_pair();
        connections_follow_and_end_one_another(&mut connector, &mut acceptor);
    }
}

/// Checks that all bytes arrive, in order and unchanged, in either direction, however they are cut into reads
/// and writes.
///
/// # Panics
///
/// If they do not.
pub fn bytes_arrive_in_order<S, T>(mut near: S, mut far: T)
where
    S: Read + Write + Send,
    T: Read + Write + Send,
{
    // Each thread owns its end, so that a panic of one drops it, and the other is not left to wait.
    thread::scope(|scope| {
        scope.spawn(move || {
            send(&mut near, 1, LENGTH);
            receive(&mut near, 2, LENGTH);
            // Dropped only when the other side has everything: this is not the check of the end.
            send(&mut near, 3, 1);
            receive(&mut near, 4, 1);
        });
        scope.spawn(move || {
            receive(&mut far, 1, LENGTH);
            send(&mut far, 2, LENGTH);
            receive(&mut far, 3, 1);
            send(&mut far, 4, 1);
        });
    });
}

/// Checks that bytes written and flushed arrive although nothing follows, and that a read gives what is there without
/// waiting for its buffer to be full. Both streams work from threads that did not make them.
///
/// # Panics
///
/// If a message does not arrive.
pub fn turns_pass_to_and_fro<S, T>(near: S, far: T)
where
    S: Read + Write + Send,
    T: Read + Write + Send,
{
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut near = near;
            for round in 0..ROUNDS {
                send(&mut near, round, 1 + round * 37 % 600);
                receive(&mut near, ROUNDS + round, 1 + round * 91 % 600);
            }
            send(&mut near, 0, 1);
        });
        scope.spawn(move || {
            let mut far = far;
            for round in 0..ROUNDS {
                receive(&mut far, round, 1 + round * 37 % 600);
                send(&mut far, ROUNDS + round, 1 + round * 91 % 600);
            }
            receive(&mut far, 0, 1);
        });
    });
}

/// Checks that, when one end is dropped, the other reads what was written and flushed, then 0 bytes, and nothing else
/// from then on.
///
/// # Panics
///
/// If bytes are missing, or there is an error instead of the end.
pub fn end_comes_after_the_last_byte<S, T>(mut leaving: S, mut staying: T)
where
    S: Read + Write + Send,
    T: Read + Write + Send,
{
    thread::scope(|scope| {
        scope.spawn(move || {
            send(&mut leaving, 1, LENGTH / 4);
            drop(leaving);
        });
        scope.spawn(move || {
            receive(&mut staying, 1, LENGTH / 4);
            for _ in 0..3 {
                match read(&mut staying, &mut [0; 16]) {
                    Ok(0) => {}
                    Ok(count) => panic!("{count} bytes came after the last one"),
                    Err(error) => panic!("the end of the stream was an error: {error}"),
                }
            }
        });
    });
}

/// Checks the same as [`end_comes_after_the_last_byte`], although the end that is dropped has not read what
/// was sent to it.
///
/// The contract does not ask for it, so [`check`] leaves it out; but with a stream that fails this (a plain TCP socket
/// does), a peer may see an error of the connection in place of the message with the reason.
///
/// # Panics
///
/// If bytes are missing, or there is an error instead of the end.
pub fn last_bytes_survive_unread_input<S, T>(leaving: S, mut staying: T)
where
    S: Read + Write + Send,
    T: Read + Write + Send,
{
    // One byte, for which there is room anywhere.
    send(&mut staying, 9, 1);
    end_comes_after_the_last_byte(leaving, staying);
}

/// Checks that, when one end is dropped, writes of the other fail sooner or later, and with an error
/// that is no tick.
///
/// # Panics
///
/// If writes go on to succeed, or nothing but ticks comes.
pub fn writes_fail_when_the_peer_is_gone<S, T>(mut staying: S, leaving: T)
where
    S: Read + Write,
    T: Read + Write,
{
    drop(leaving);
    let start = Instant::now();
    let chunk = content(5, 0..4096);
    loop {
        match in_time("write", || staying.write(&chunk)).and_then(|_| staying.flush()) {
            Err(error) if !is_tick(&error) => return,
            _ => assert!(start.elapsed() < PATIENCE, "writes go on although the peer is gone"),
        }
    }
}

/// Checks that a read without data and a write without room return in time with `WouldBlock` or `TimedOut`, and
/// take or give no byte when they do.
///
/// A stream with no bound to what it takes passes too: after 32 MiB.
///
/// # Panics
///
/// If a call takes longer than [`TICK_AT_MOST`], or a byte is lost or doubled.
pub fn calls_return_in_ticks<S, T>(mut near: S, mut far: T)
where
    S: Read + Write + Send,
    T: Read + Write + Send,
{
    match in_time("read", || near.read(&mut [0; 16])) {
        Err(error) if is_tick(&error) || error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => panic!("a read without data failed: {error}"),
        Ok(count) => panic!("a read without data gave {count} bytes"),
    }
    let mut sent = 0;
    let mut ticks = 0;
    while ticks < 2 && sent < 32 << 20 {
        let chunk = content(7, sent..sent + 65_536);
        match in_time("write", || near.write(&chunk)) {
            Ok(0) => panic!("a write of 0 bytes"),
            Ok(count) => sent += believable(count, chunk.len()),
            Err(error) if is_tick(&error) => ticks += 1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => panic!("a write without room failed: {error}"),
        }
    }
    thread::scope(|scope| {
        scope.spawn(move || {
            flush(&mut near);
            receive(&mut near, 8, 1);
        });
        scope.spawn(move || {
            receive(&mut far, 7, sent);
            send(&mut far, 8, 1);
        });
    });
}

/// Checks that `accept` returns in time with `WouldBlock` or `TimedOut` when nobody comes, and goes
/// on to work.
///
/// # Panics
///
/// If it takes longer than [`TICK_AT_MOST`], fails otherwise, or gives a stream that nobody opened.
pub fn accept_returns_in_ticks<C, A>(connector: &mut C, acceptor: &mut A)
where
    C: Connector + Send,
    C::Stream: Send,
    A: Acceptor + Send,
    A::Stream: Send,
{
    for _ in 0..2 {
        match in_time("accept", || acceptor.accept()) {
            Err(error) if is_tick(&error) => {}
            Err(error) => panic!("nobody came, and accept failed: {error}"),
            Ok((_, peer)) => panic!("nobody came, and accept gave {peer}"),
        }
    }
    let (near, far, _) = open(connector, acceptor);
    turns_pass_to_and_fro(near, far);
}

/// Checks that a connector connects as often as it is asked to, one stream after another and several at a time, and
/// that each stream leads to an other end of its own.
///
/// # Panics
///
/// If a stream cannot be had, or bytes of one arrive at another.
pub fn connections_are_many_and_apart<C, A>(connector: &mut C, acceptor: &mut A)
where
    C: Connector + Send,
    C::Stream: Send,
    A: Acceptor + Send,
    A::Stream: Send,
{
    for _ in 0..2 {
        let pairs: Vec<_> = (0..8)
            .map(|number| {
                let (near, far, peer) = open(connector, acceptor);
                assert!(!peer.to_string().is_empty(), "the peer has no name");
                (number, near, far)
            })
            .collect();
        // Both ends at once: a byte may need an answer before it is taken, as in the handshake of an encrypted stream.
        thread::scope(|scope| {
            for (number, near, far) in pairs {
                let far_number = number + 100;
                scope.spawn(move || {
                    let mut near = near;
                    send(&mut near, number, 1);
                    send(&mut near, number, 300);
                    receive(&mut near, far_number, 300);
                });
                scope.spawn(move || {
                    let mut far = far;
                    receive(&mut far, number, 1);
                    receive(&mut far, number, 300);
                    send(&mut far, far_number, 300);
                });
            }
        });
    }
}

/// Checks that a connector connects as often as it is asked to, whether the earlier stream is dropped or not. If it is
/// not, both its ends fail from then on or give the end of the stream; nothing of one stream arrives at another.
///
/// This is for transports that carry one connection at a time.
///
/// # Panics
///
/// If a stream cannot be had, bytes of one arrive at another, or one goes on beside the next.
pub fn connections_follow_and_end_one_another<C, A>(connector: &mut C, acceptor: &mut A)
where
    C: Connector + Send,
    C::Stream: Send,
    A: Acceptor + Send,
    A::Stream: Send,
{
    for round in 0..3 {
        let (mut near, mut far, peer) = open(connector, acceptor);
        assert!(!peer.to_string().is_empty(), "the peer has no name");
        // What is not read, nor flushed, is in the way of the next one.
        drop(near.write(&content(round, 0..700)));
        drop(far.write(&content(round, 0..900)));
        let (next_near, next_far, _) = open(connector, acceptor);
        turns_pass_to_and_fro(next_near, next_far);
        is_over(&mut near);
        is_over(&mut far);
    }
}

/// Checks that nothing can be read from this stream, nor written to it.
fn is_over<S: Read + Write>(stream: &mut S) {
    match read(stream, &mut [0; 16]) {
        Ok(0) | Err(_) => {}
        Ok(count) => panic!("{count} bytes came from a stream that another one has ended"),
    }
    let written = in_time("write", || stream.write(&[0])).and_then(|_| stream.flush());
    let is_over = written.is_err_and(|error| !is_tick(&error));
    assert!(is_over, "a stream that another one has ended takes bytes");
}

/// Opens one stream, and gives both its ends.
///
/// # Panics
///
/// If it cannot be had.
pub fn open<C, A>(connector: &mut C, acceptor: &mut A) -> (C::Stream, A::Stream, Peer)
where
    C: Connector + Send,
    C::Stream: Send,
    A: Acceptor,
{
    thread::scope(|scope| {
        let near = scope.spawn(|| connector.connect());
        let start = Instant::now();
        let (far, peer) = loop {
            match acceptor.accept() {
                Ok(accepted) => break accepted,
                Err(error) if is_tick(&error) => {
                    assert!(start.elapsed() < PATIENCE, "nobody came who was to connect");
                }
                Err(error) => panic!("cannot accept: {error}"),
            }
        };
        match near.join() {
            Ok(Ok(near)) => (near, far, peer),
            Ok(Err(error)) => panic!("cannot connect: {error}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The longest that a call may take. The contract gives about a second; the rest is for busy
/// machines.
pub const TICK_AT_MOST: Duration = Duration::from_secs(5);

/// Writes so many bytes of this stream of content, in pieces of many sizes, and flushes.
fn send(stream: &mut impl Write, seed: usize, length: usize) {
    let (mut sent, mut piece) = (0, 1);
    let start = Instant::now();
    while sent < length {
        let bytes = content(seed, sent..length.min(sent + piece));
        match in_time("write", || stream.write(&bytes)) {
            Ok(0) => panic!("a write of 0 bytes, after {sent}"),
            Ok(count) => sent += believable(count, bytes.len()),
            Err(error) if is_tick(&error) || error.kind() == io::ErrorKind::Interrupted => {
                assert!(start.elapsed() < PATIENCE, "no room, after {sent} bytes");
            }
            Err(error) => panic!("cannot write, after {sent} bytes: {error}"),
        }
        piece = next_piece(piece);
    }
    flush(stream);
}

/// Reads so many bytes of this stream of content, in pieces of many sizes, and looks at each.
fn receive(stream: &mut impl Read, seed: usize, length: usize) {
    let (mut got, mut piece) = (0, 1);
    let mut buffer = vec![0; LARGEST_PIECE];
    while got < length {
        let room = piece.min(length - got);
        let room = buffer.get_mut(..room).unwrap_or_default();
        let count = match read(stream, room) {
            Ok(0) => panic!("the stream ended after {got} of {length} bytes"),
            Ok(count) => count,
            Err(error) => panic!("cannot read, after {got} of {length} bytes: {error}"),
        };
        let expected = content(seed, got..got + count);
        if let Some(wrong) = expected.iter().zip(&*room).position(|(a, b)| a != b) {
            panic!("the byte at {} of {length} is another one", got + wrong);
        }
        got += count;
        piece = next_piece(piece);
    }
}

/// Reads once, after however many ticks.
fn read(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let start = Instant::now();
    loop {
        match in_time("read", || stream.read(buffer)) {
            Err(error) if is_tick(&error) || error.kind() == io::ErrorKind::Interrupted => {
                assert!(start.elapsed() < PATIENCE, "no data for {PATIENCE:?}");
            }
            Ok(count) => return Ok(believable(count, buffer.len())),
            error => return error,
        }
    }
}

fn flush(stream: &mut impl Write) {
    let start = Instant::now();
    loop {
        match in_time("flush", || stream.flush()) {
            Ok(()) => return,
            Err(error) if is_tick(&error) || error.kind() == io::ErrorKind::Interrupted => {
                assert!(start.elapsed() < PATIENCE, "no end of flush");
            }
            Err(error) => panic!("cannot flush: {error}"),
        }
    }
}

fn in_time<T>(name: &str, call: impl FnOnce() -> T) -> T {
    within(TICK_AT_MOST, name, call)
}

fn within<T>(limit: Duration, name: &str, call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = call();
    let took = start.elapsed();
    assert!(took <= limit, "{name} took {took:?}, which is no tick");
    result
}

fn believable(count: usize, length: usize) -> usize {
    assert!(count <= length, "a count of {count} for a buffer of {length}");
    count
}

/// Returns whether the error is a tick of the clock: nothing happened, for as long as the stream
/// waits.
fn is_tick(error: &io::Error) -> bool {
    error.kind() != io::ErrorKind::Interrupted && crate::transport::is_tick(error)
}

/// Returns content as a function of a seed and the offset, so that a byte at a wrong place is noticed,
/// and which.
fn content(seed: usize, range: std::ops::Range<usize>) -> Vec<u8> {
    range
        .map(|offset| {
            let mixed =
                (offset.wrapping_add(1)).wrapping_mul(0x9e37_79b1).wrapping_add(seed * 0x85eb);
            (mixed >> 11).to_le_bytes()[0]
        })
        .collect()
}

/// Runs through many sizes: small ones, odd ones, powers of two and their neighbours.
const fn next_piece(piece: usize) -> usize {
    if piece < 9 {
        piece + 1
    } else if piece * 2 < LARGEST_PIECE {
        piece * 2 - (piece % 3)
    } else {
        1
    }
}

/// Number of bytes, enough to go around the buffer of a small stream many times, and little enough for one that moves
/// a byte at a time. The check of ticks fills large ones.
const LENGTH: usize = 20_000;

const ROUNDS: usize = 40;

const LARGEST_PIECE: usize = 65_536;

/// Longest time for anything that is to happen.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
