use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use super::*;
#[cfg(all(feature = "testing", target_os = "linux"))]
use crate::testing::fault_stream::{Direction, FaultKind, Faulty, StreamFault};
use crate::transport::memory;

const SHORT: Duration = Duration::from_millis(30);
const LONG: Duration = Duration::from_secs(20);

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|offset| (offset.wrapping_mul(0x9e37_79b1) >> 13).to_le_bytes()[0]).collect()
}

fn capacity(bytes: usize) -> NonZeroUsize {
    NonZeroUsize::new(bytes).unwrap()
}

/// Stream that follows a script, then ends, and reports when it was dropped.
struct Scripted {
    steps: VecDeque<Step>,
    written: Sender<Vec<u8>>,
    _dropped: Option<Sender<()>>,
}

#[derive(Clone)]
enum Step {
    Give(&'static [u8]),
    Take(usize),
    Fail(ErrorKind),
    Lie,
    Panic,
}

fn scripted(steps: &[Step]) -> (Scripted, Receiver<Vec<u8>>) {
    let (written, receiver) = mpsc::channel();
    (Scripted { steps: steps.iter().cloned().collect(), written, _dropped: None }, receiver)
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.steps.pop_front() {
            None | Some(Step::Take(_)) => Ok(0),
            Some(Step::Give(bytes)) => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Some(Step::Fail(kind)) => Err(kind.into()),
            Some(Step::Lie) => Ok(buffer.len() + 1),
            Some(Step::Panic) => std::panic::resume_unwind(Box::new("as the script says")),
        }
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.steps.pop_front() {
            None => {
                let _ = self.written.send(bytes.to_vec());
                Ok(bytes.len())
            }
            Some(Step::Take(most)) => {
                let count = most.min(bytes.len());
                let _ = self.written.send(bytes[..count].to_vec());
                Ok(count)
            }
            Some(Step::Fail(kind)) => Err(kind.into()),
            Some(Step::Lie) => Ok(bytes.len() + 1),
            Some(Step::Panic) => std::panic::resume_unwind(Box::new("as the script says")),
            Some(Step::Give(_)) => Ok(0),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.steps.pop_front() {
            Some(Step::Fail(kind)) => Err(kind.into()),
            _ => Ok(()),
        }
    }
}

/// Blocks in every call until its gate is dropped, as a pipe does whose other end does nothing.
struct Stuck(Receiver<()>);

fn stuck() -> (Stuck, Sender<()>) {
    let (gate, blocked) = mpsc::channel();
    (Stuck(blocked), gate)
}

impl Read for Stuck {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(0)
    }
}

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.0.recv();
        Ok(())
    }
}

/// Returns a stream and the far end of what it is made of, a reader and writer that wait for ever.
fn joined(queue: usize, pipe: usize) -> (Threaded, memory::Pipe, memory::Pipe) {
    let (mut reader, far_writer) = memory::pipe(capacity(pipe));
    let (mut writer, far_reader) = memory::pipe(capacity(pipe));
    reader.set_timeout(None);
    writer.set_timeout(None);
    (Threaded::with_capacity(capacity(queue), reader, writer).unwrap(), far_reader, far_writer)
}

const PATIENCE: Option<Duration> = Some(Duration::from_secs(30));

#[test]
fn threaded_any_capacities_carry_all_bytes_both_ways() {
    let sent = pattern(1009);
    for queue in [1, 2, 7, 64, 100_000] {
        for pipe in [1, 5, 100_000] {
            let (mut stream, mut far_reader, mut far_writer) = joined(queue, pipe);
            // None of them is to give up where a busy machine lets another one wait.
            stream.set_timeout(PATIENCE);
            far_reader.set_timeout(PATIENCE);
            far_writer.set_timeout(PATIENCE);
            let (mut there, mut back) = (vec![0; sent.len()], Vec::new());
            thread::scope(|scope| {
                scope.spawn(|| far_reader.read_exact(&mut there).unwrap());
                scope.spawn(|| {
                    far_writer.write_all(&sent).unwrap();
                    drop(far_writer);
                });
                stream.write_all(&sent).unwrap();
                stream.flush().unwrap();
                stream.read_to_end(&mut back).unwrap();
            });
            assert!(there == sent && back == sent, "queue {queue}, pipe {pipe}");
        }
    }
}

#[test]
fn read_without_data_ticks_and_goes_on() {
    let (mut stream, _far_reader, mut far_writer) = joined(16, 16);
    stream.set_timeout(Some(SHORT));
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= SHORT);
    stream.set_timeout(Some(Duration::ZERO));
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_timeout(Some(LONG));
    far_writer.write_all(b"x").unwrap();
    let mut byte = [0];
    assert_eq!((stream.read(&mut byte).unwrap(), byte), (1, *b"x"));
}

#[test]
fn read_default_tick_is_a_second() {
    let (mut stream, _far_reader, _far_writer) = joined(16, 16);
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
    assert!((Duration::from_millis(900)..LONG).contains(&start.elapsed()));
}

#[test]
fn write_and_flush_against_a_stuck_writer_tick_and_go_on_without_loss() {
    let (mut stream, mut far_reader, _far_writer) = joined(4, 3);
    stream.set_timeout(Some(SHORT));
    let mut sent = Vec::new();
    let error = loop {
        match stream.write(b"abcde") {
            Ok(count) => sent.extend_from_slice(&b"abcde"[..count]),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    // What waits is bounded: the queue, what the thread holds of its size, and the pipe.
    assert!((4..=4 + 4 + 3).contains(&sent.len()), "{}", sent.len());
    assert_eq!(stream.flush().unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(stream.flush().unwrap_err().kind(), ErrorKind::TimedOut);
    let mut got = vec![0; sent.len()];
    far_reader.read_exact(&mut got).unwrap();
    assert_eq!(got, sent);
    stream.set_timeout(Some(LONG));
    stream.flush().unwrap();
}

/// Writer that takes 64 bytes whenever it is told to, and reports how many it has; everything at once when nobody can
/// tell it any more.
struct Slow(Receiver<()>, Arc<AtomicUsize>);

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = match self.0.recv() {
            Ok(()) => bytes.len().min(64),
            Err(_) => bytes.len(),
        };
        self.1.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn write_to_a_slow_writer_takes_no_more_than_is_soon_gone() {
    let taken = Arc::new(AtomicUsize::new(0));
    let (go, gate) = mpsc::channel();
    let mut stream = Threaded::new(io::empty(), Slow(gate, Arc::clone(&taken))).unwrap();
    let bytes = pattern(100_000);
    let mut sent = 0;
    for most in [4096, 1024, 1024, 1024] {
        sent += stream.write(&bytes).unwrap();
        let waiting = sent - taken.load(Ordering::Relaxed);
        assert_eq!(waiting, most);
        // It takes longer than a tick, or two.
        stream.set_timeout(Some(Duration::from_millis(1)));
        for _ in 0..2 {
            assert_eq!(stream.write(&bytes).unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(stream.flush().unwrap_err().kind(), ErrorKind::TimedOut);
        }
        stream.set_timeout(Some(LONG));
        (0..waiting / 64).for_each(|_| go.send(()).unwrap());
        // A flush that is called again after a tick waits for the same: all of it.
        stream.flush().unwrap();
        assert_eq!(taken.load(Ordering::Relaxed), sent);
    }
    drop(go);
}

#[test]
fn write_to_a_fast_writer_takes_as_much_as_fits_before_long() {
    let mut stream = Threaded::new(io::empty(), io::sink()).unwrap();
    stream.set_timeout(Some(LONG));
    let bytes = pattern(Threaded::CAPACITY.get());
    let start = Instant::now();
    while stream.write(&bytes).unwrap() < bytes.len() {
        stream.flush().unwrap();
        assert!(start.elapsed() < LONG);
    }
}

#[test]
fn flush_returns_when_the_writer_has_everything() {
    let (writer, written) = scripted(&[Step::Take(1), Step::Take(2)]);
    let mut stream = Threaded::new(io::empty(), writer).unwrap();
    stream.flush().unwrap();
    stream.write_all(b"abcdef").unwrap();
    stream.flush().unwrap();
    assert_eq!(written.try_iter().collect::<Vec<_>>().concat(), b"abcdef");
    stream.flush().unwrap();
}

/// Writer that counts its flushes, and holds what was written until then.
struct Buffered(Vec<u8>, Sender<Vec<u8>>);

impl Write for Buffered {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.1.send(std::mem::take(&mut self.0));
        Ok(())
    }
}

#[test]
fn flush_and_drop_both_reach_a_buffering_writer() {
    let (sender, flushed) = mpsc::channel();
    let mut stream = Threaded::new(io::empty(), Buffered(Vec::new(), sender)).unwrap();
    stream.write_all(b"first").unwrap();
    assert!(flushed.try_recv().is_err());
    stream.flush().unwrap();
    assert_eq!(flushed.try_recv().unwrap(), b"first");
    stream.write_all(b"second").unwrap();
    drop(stream);
    assert_eq!(flushed.try_recv().unwrap(), b"second");
}

#[test]
fn reader_error_comes_after_its_bytes_and_stays() {
    let (reader, _) = scripted(&[
        Step::Give(b"be"),
        Step::Fail(ErrorKind::Interrupted),
        Step::Fail(ErrorKind::WouldBlock),
        Step::Give(b"fore"),
        Step::Fail(ErrorKind::TimedOut),
        Step::Fail(ErrorKind::ConnectionReset),
        Step::Give(b"never seen"),
    ]);
    let mut stream = Threaded::new(reader, io::sink()).unwrap();
    let mut got = [0; 6];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"before");
    for _ in 0..3 {
        assert_eq!(stream.read(&mut got).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
#[cfg(all(feature = "testing", target_os = "linux"))]
fn reader_or_writer_that_the_system_has_given_up_is_an_error_that_stays() {
    const ETIMEDOUT: i32 = 110;
    let dead = |direction| {
        Faulty::new(scripted(&[]).0, [StreamFault::new(direction, 0, FaultKind::Os(ETIMEDOUT))])
    };
    let mut stream = Threaded::new(dead(Direction::Read), dead(Direction::Write)).unwrap();
    stream.set_timeout(Some(LONG));
    for _ in 0..3 {
        assert_eq!(stream.read(&mut [0]).unwrap_err().raw_os_error(), Some(ETIMEDOUT));
    }
    let _ = stream.write(b"into the void");
    for _ in 0..3 {
        assert_eq!(stream.flush().unwrap_err().raw_os_error(), Some(ETIMEDOUT));
    }
}

#[test]
fn reader_end_comes_after_its_bytes_and_stays() {
    let (reader, _) = scripted(&[Step::Give(b"all")]);
    let mut stream = Threaded::new(reader, io::sink()).unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"all");
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    stream.write_all(b"the other direction goes on").unwrap();
    stream.flush().unwrap();
}

#[test]
fn reader_that_lies_or_panics_is_an_error_not_an_end() {
    for (step, kind) in [(Step::Lie, ErrorKind::InvalidData), (Step::Panic, ErrorKind::Other)] {
        let (reader, _) = scripted(&[Step::Give(b"x"), step]);
        let mut stream = Threaded::new(reader, io::sink()).unwrap();
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1);
        assert_eq!(stream.read(&mut byte).unwrap_err().kind(), kind);
    }
}

#[test]
fn writer_error_comes_with_the_next_flush_and_write_and_stays() {
    for (step, kind) in [
        (Step::Fail(ErrorKind::ConnectionReset), ErrorKind::ConnectionReset),
        (Step::Give(b""), ErrorKind::WriteZero),
        (Step::Lie, ErrorKind::InvalidData),
        (Step::Panic, ErrorKind::Other),
    ] {
        let (writer, _) = scripted(&[Step::Fail(ErrorKind::Interrupted), Step::Take(1), step]);
        let mut stream = Threaded::new(io::empty(), writer).unwrap();
        stream.set_timeout(Some(LONG));
        stream.write_all(b"abc").unwrap();
        assert_eq!(stream.flush().unwrap_err().kind(), kind);
        assert_eq!(stream.write(b"d").unwrap_err().kind(), kind);
        assert_eq!(stream.flush().unwrap_err().kind(), kind);
    }
}

#[test]
fn writer_flush_error_comes_with_the_flush() {
    let (writer, _) = scripted(&[
        Step::Take(9),
        Step::Fail(ErrorKind::WouldBlock),
        Step::Fail(ErrorKind::StorageFull),
    ]);
    let mut stream = Threaded::new(io::empty(), writer).unwrap();
    stream.write_all(b"abc").unwrap();
    assert_eq!(stream.flush().unwrap_err().kind(), ErrorKind::StorageFull);
}

#[test]
fn writer_error_leaves_the_reader_alone() {
    let (writer, _) = scripted(&[Step::Fail(ErrorKind::BrokenPipe)]);
    let mut stream = Threaded::new(&b"still here"[..], writer).unwrap();
    stream.write_all(b"x").unwrap();
    assert_eq!(stream.flush().unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"still here");
}

#[test]
fn drop_delivers_what_was_written_and_closes_the_writer() {
    let (mut stream, mut far_reader, _far_writer) = joined(1000, 1);
    let sent = pattern(900);
    thread::scope(|scope| {
        scope.spawn(|| {
            stream.write_all(&sent).unwrap();
            drop(stream);
        });
        let mut got = Vec::new();
        far_reader.read_to_end(&mut got).unwrap();
        assert!(got == sent);
    });
}

#[test]
fn drop_ends_the_threads_and_lets_go_of_reader_and_writer() {
    let (dropped, gone) = mpsc::channel();
    let half = |steps: &[Step]| {
        let (half, _) = scripted(steps);
        Scripted { _dropped: Some(dropped.clone()), ..half }
    };
    // A reader that always has more, and a writer that never takes anything.
    let reader = half(&[const { Step::Give(b"more") }; 1000]);
    let writer = half(&[const { Step::Fail(ErrorKind::WouldBlock) }; 100_000]);
    let mut stream = Threaded::with_capacity(capacity(4), reader, writer).unwrap();
    stream.write_all(b"x").unwrap();
    let start = Instant::now();
    drop(stream);
    assert!(start.elapsed() < CLOSE_WAIT + Duration::from_secs(5));
    drop(dropped);
    // Disconnected: every half was dropped, and nothing was ever sent.
    assert_eq!(gone.recv_timeout(LONG), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[test]
fn drop_with_stuck_reader_and_writer_does_not_hang() {
    let (reader, reader_gate) = stuck();
    let (writer, writer_gate) = stuck();
    let mut stream = Threaded::new(reader, writer).unwrap();
    stream.write_all(b"x").unwrap();
    let start = Instant::now();
    drop(stream);
    assert!((CLOSE_WAIT..CLOSE_WAIT + Duration::from_secs(5)).contains(&start.elapsed()));
    drop((reader_gate, writer_gate));
}

#[test]
fn drop_with_stuck_reader_alone_does_not_wait() {
    let (reader, _gate) = stuck();
    let stream = Threaded::new(reader, io::sink()).unwrap();
    let start = Instant::now();
    drop(stream);
    assert!(start.elapsed() < CLOSE_WAIT);
}

#[test]
fn empty_buffers_take_and_give_nothing() {
    let (reader, _gate) = stuck();
    let mut stream = Threaded::new(reader, io::sink()).unwrap();
    assert_eq!(stream.read(&mut []).unwrap(), 0);
    assert_eq!(stream.write(&[]).unwrap(), 0);
}
