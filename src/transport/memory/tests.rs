use std::thread;
use std::time::Instant;

use proptest::prelude::*;

use super::*;

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(20);

fn capacity(bytes: usize) -> NonZeroUsize {
    NonZeroUsize::new(bytes).unwrap()
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|offset| (offset.wrapping_mul(0x9e37_79b1) >> 13).to_le_bytes()[0]).collect()
}

fn polled(capacity_bytes: usize) -> (Pipe, Pipe) {
    let (mut alice, mut bob) = pipe(capacity(capacity_bytes));
    alice.set_timeout(Some(Duration::ZERO));
    bob.set_timeout(Some(Duration::ZERO));
    (alice, bob)
}

#[test]
fn pipe_of_any_capacity_carries_all_bytes_in_order_between_threads() {
    let sent = pattern(10_007);
    for bytes in [1, 2, 3, 7, 64, 4096, 10_007, 100_000] {
        let (mut alice, mut bob) = pipe(capacity(bytes));
        let mut got = Vec::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                alice.write_all(&sent).unwrap();
                drop(alice);
            });
            bob.read_to_end(&mut got).unwrap();
        });
        assert!(got == sent, "capacity {bytes}");
    }
}

#[test]
fn pipe_both_directions_at_once_do_not_mix() {
    let (mut alice, mut bob) = pipe(capacity(5));
    let (left, right) = (pattern(3000), pattern(2000).into_iter().rev().collect::<Vec<_>>());
    thread::scope(|scope| {
        // Each side has the other write first: with half-sized turns this is what a session does.
        scope.spawn(|| {
            alice.write_all(&left).unwrap();
            let mut got = vec![0; right.len()];
            alice.read_exact(&mut got).unwrap();
            assert!(got == right);
        });
        let mut got = vec![0; left.len()];
        bob.read_exact(&mut got).unwrap();
        assert!(got == left);
        bob.write_all(&right).unwrap();
    });
}

#[test]
fn pipe_full_write_takes_what_fits_then_would_block() {
    let (mut alice, mut bob) = polled(3);
    assert_eq!(alice.write(b"abcde").unwrap(), 3);
    assert_eq!(alice.write(b"de").unwrap_err().kind(), io::ErrorKind::WouldBlock);
    let mut one = [0];
    assert_eq!(bob.read(&mut one).unwrap(), 1);
    assert_eq!(alice.write(b"de").unwrap(), 1);
    let mut rest = [0; 8];
    assert_eq!(bob.read(&mut rest).unwrap(), 3);
    assert_eq!(&rest[..3], b"bcd");
    assert_eq!(bob.read(&mut rest).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn pipe_empty_buffers_take_and_give_nothing() {
    let (mut alice, mut bob) = polled(1);
    assert_eq!(alice.write(b"").unwrap(), 0);
    assert_eq!(bob.read(&mut []).unwrap(), 0);
    alice.write_all(b"x").unwrap();
    assert_eq!(alice.write(b"").unwrap(), 0);
    assert_eq!(bob.read(&mut []).unwrap(), 0);
    assert_eq!(bob.read(&mut [0; 4]).unwrap(), 1);
}

#[test]
fn pipe_other_end_dropped_gives_buffered_bytes_then_end_and_broken_pipe() {
    let (mut alice, mut bob) = pipe(capacity(16));
    alice.write_all(b"last words").unwrap();
    bob.write_all(b"never read").unwrap();
    drop(alice);
    assert_eq!(bob.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    let mut got = Vec::new();
    bob.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last words");
    assert_eq!(bob.read(&mut [0]).unwrap(), 0);
    assert_eq!(bob.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn pipe_drop_wakes_a_waiting_reader_and_a_waiting_writer() {
    let (mut alice, mut bob) = pipe(capacity(1));
    bob.set_timeout(Some(LONG));
    let start = Instant::now();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| bob.read(&mut [0]));
        drop(alice);
        assert_eq!(waiting.join().unwrap().unwrap(), 0);
    });
    let (next, mut full) = pipe(capacity(1));
    alice = next;
    full.set_timeout(Some(LONG));
    full.write_all(b"x").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| full.write(b"y"));
        drop(alice);
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    });
    assert!(start.elapsed() < LONG);
}

#[test]
fn pipe_timeout_passes_then_timed_out_and_nothing_is_lost() {
    let (mut alice, mut bob) = pipe(capacity(1));
    alice.set_timeout(Some(SHORT));
    bob.set_timeout(Some(SHORT));
    let start = Instant::now();
    assert_eq!(bob.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= SHORT);
    alice.write_all(b"a").unwrap();
    assert_eq!(alice.write(b"b").unwrap_err().kind(), io::ErrorKind::TimedOut);
    let mut byte = [0];
    assert_eq!((bob.read(&mut byte).unwrap(), byte[0]), (1, b'a'));
    assert_eq!(bob.read(&mut byte).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn pipe_without_timeout_waits_for_the_byte() {
    let (mut alice, mut bob) = pipe(capacity(1));
    bob.set_timeout(None);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut byte = [0];
            bob.read(&mut byte).map(|count| (count, byte[0]))
        });
        alice.write_all(b"z").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), (1, b'z'));
    });
}

proptest! {
    /// A pipe is a queue of bytes: any order of reads and writes gives what the simplest model gives.
    #[test]
    fn pipe_any_order_of_calls_is_a_bounded_queue(
        capacity_bytes in 1usize..9,
        calls in prop::collection::vec((any::<bool>(), any::<bool>(), 0usize..12), 0..200),
    ) {
        let (mut alice, mut bob) = polled(capacity_bytes);
        let mut models = [VecDeque::new(), VecDeque::new()];
        let mut next = 0u8;
        for (from_alice, write, length) in calls {
            let (writer, reader, model) = if from_alice {
                (&mut alice, &mut bob, &mut models[0])
            } else {
                (&mut bob, &mut alice, &mut models[1])
            };
            if write {
                let bytes: Vec<u8> = (0..12).map(|i| next.wrapping_add(i)).take(length).collect();
                let expected = length.min(capacity_bytes - model.len());
                match writer.write(&bytes) {
                    Ok(count) => prop_assert_eq!(count, expected),
                    Err(error) => {
                        prop_assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        prop_assert!(expected == 0 && length > 0);
                    }
                }
                model.extend(&bytes[..expected]);
                next = next.wrapping_add(u8::try_from(expected).unwrap());
            } else {
                let mut buffer = vec![0; length];
                let expected: Vec<u8> = model.drain(..length.min(model.len())).collect();
                match reader.read(&mut buffer) {
                    Ok(count) => prop_assert_eq!(&buffer[..count], &expected[..]),
                    Err(error) => {
                        prop_assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        prop_assert!(expected.is_empty() && length > 0);
                    }
                }
            }
        }
    }
}

#[test]
fn network_streams_are_accepted_in_order_and_joined_to_their_connector() {
    let (mut connector, mut acceptor) = network(capacity(8));
    let mut second = connector.clone();
    let mut near = [connector.connect().unwrap(), second.connect().unwrap()];
    for (number, stream) in (0u8..).zip(&mut near) {
        stream.write_all(&[number]).unwrap();
    }
    for (number, stream) in (0u8..).zip(&mut near) {
        let (mut far, peer) = acceptor.accept().unwrap();
        assert_eq!(peer, Peer::Pipe);
        let mut byte = [9];
        far.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [number]);
        far.write_all(&[number + 10]).unwrap();
        stream.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [number + 10]);
    }
}

#[test]
fn network_accept_without_a_peer_times_out_or_would_block() {
    let (_connector, mut acceptor) = network(capacity(1));
    acceptor.set_timeout(Some(SHORT));
    assert_eq!(acceptor.accept().unwrap_err().kind(), io::ErrorKind::TimedOut);
    acceptor.set_timeout(Some(Duration::ZERO));
    assert_eq!(acceptor.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn network_full_backlog_makes_connect_wait_until_one_is_accepted() {
    let (mut connector, mut acceptor) = network(capacity(1));
    connector.set_timeout(Some(Duration::ZERO));
    let _streams: Vec<_> = (0..BACKLOG).map(|_| connector.connect().unwrap()).collect();
    assert_eq!(connector.connect().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    connector.set_timeout(Some(LONG));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| connector.connect());
        acceptor.accept().unwrap();
        waiting.join().unwrap().unwrap();
    });
}

#[test]
fn network_dropped_acceptor_ends_waiting_streams_and_refuses_new_ones() {
    let (mut connector, acceptor) = network(capacity(1));
    let mut waiting = connector.connect().unwrap();
    drop(acceptor);
    assert_eq!(waiting.read(&mut [0]).unwrap(), 0);
    assert_eq!(waiting.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(connector.connect().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn network_last_connector_dropped_ends_accept_after_the_waiting_streams() {
    let (mut connector, mut acceptor) = network(capacity(1));
    let clone = connector.clone();
    let _stream = connector.connect().unwrap();
    drop(connector);
    acceptor.accept().unwrap();
    acceptor.set_timeout(Some(Duration::ZERO));
    assert_eq!(acceptor.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(clone);
    assert_eq!(acceptor.accept().unwrap_err().kind(), io::ErrorKind::NotConnected);
}
