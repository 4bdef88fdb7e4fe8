//! One entry of unknown length, from anything that can be read.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use super::{Source, Unsendable};
use crate::types::tick::is_tick;
use crate::types::{Meta, RelPath, Withdrawal};

/// Source of one file: the bytes of a pipe, or of anything else that ends sometime.
///
/// A thread reads ahead, so that a quiet pipe does not keep the connection quiet; it starts when the entry is opened.
/// What was read is kept until the receiver holds it, so that it can be sent again: within the
/// [window](StreamSource::window), beyond which nothing is taken from the pipe. A sender that asks for more before
/// it has [released](Source::release) anything gets [`io::ErrorKind::WouldBlock`] for ever; so it must pass the
/// turn within the window.
///
/// It can be [sent again](Source::rewind) as long as nothing of it was released; after that the pipe has gone by.
///
/// The thread ends at the end of the stream, at an error, or with its next read after the source was dropped; until
/// then it may wait in a read of its own, which nothing can interrupt.
#[derive(Debug)]
pub struct StreamSource {
    meta: Meta,
    /// Its one entry was yielded.
    yielded: bool,
    input: Option<Input>,
    /// Reason why its thread could not be started: the input is gone with it, and it cannot begin
    /// again.
    unstarted: Option<Withdrawal>,
    shared: Arc<Shared>,
}

/// Input that was not yet given to its thread.
struct Input(Box<dyn Read + Send>);

#[derive(Debug)]
struct Shared {
    window: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes after the first `released` bytes. Invariant: not longer than the window.
    kept: VecDeque<u8>,
    released: u64,
    ended: Option<End>,
    /// Set once nobody will read any more.
    closed: bool,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Whole,
    Failed(io::ErrorKind, Option<i32>),
}

impl StreamSource {
    /// Number of bytes that may be unreleased unless set otherwise: 4 MiB.
    pub const WINDOW: usize = 4 * 1024 * 1024;

    /// Sends all of `input` under this name.
    #[must_use]
    pub fn new(name: RelPath, input: impl Read + Send + 'static) -> Self {
        Self::with_window(name, input, Self::WINDOW)
    }

    /// Works as [`StreamSource::new`], keeping at most `window` bytes, and at least 1.
    #[must_use]
    pub fn with_window(name: RelPath, input: impl Read + Send + 'static, window: usize) -> Self {
        let shared =
            Shared { window: window.max(1), state: Mutex::default(), changed: Condvar::new() };
        Self {
            meta: Meta::file(name, None),
            yielded: false,
            input: Some(Input(Box::new(input))),
            unstarted: None,
            shared: Arc::new(shared),
        }
    }

    fn start(&mut self, thread: Builder, Input(input): Input) {
        let shared = Arc::clone(&self.shared);
        let started = thread.name("haul-stream".to_owned()).spawn(move || shared.fill(input));
        self.unstarted = started.err().map(|error| super::withdrawal_of(&error));
    }
}

impl Source for StreamSource {
    type Key = ();
    type Reader = ();

    fn rewind(&mut self) -> io::Result<()> {
        if self.shared.lock().released > 0 {
            let text = "it is a stream, and what was read of it is not kept";
            return Err(io::Error::new(io::ErrorKind::NotSeekable, text));
        }
        self.yielded = false;
        Ok(())
    }

    fn next_entry(&mut self) -> Option<Result<((), Meta), Unsendable>> {
        let is_first = !std::mem::replace(&mut self.yielded, true);
        is_first.then(|| Ok(((), self.meta.clone())))
    }

    fn open(&mut self, _key: &(), _meta: &Meta) -> Result<(), Withdrawal> {
        if let Some(input) = self.input.take() {
            self.start(Builder::new(), input);
        }
        self.unstarted.map_or(Ok(()), Err)
    }

    fn read_at(&mut self, _reader: &mut (), offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let shared = &self.shared;
        let lost = || {
            let text = "bytes are asked for that are not kept any more, or not next";
            io::Error::new(io::ErrorKind::NotSeekable, text)
        };
        let state = shared.lock();
        let ahead = offset.checked_sub(state.released).ok_or_else(lost)?;
        let start = usize::try_from(ahead).map_err(|_| lost())?;
        let nothing = |state: &mut State| state.kept.len() == start && state.ended.is_none();
        let waited = shared.changed.wait_timeout_while(state, PATIENCE, nothing);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if start > state.kept.len() {
            return Err(lost());
        }
        let (front, back) = state.kept.as_slices();
        let from = match start.checked_sub(front.len()) {
            Some(start) => back.get(start..),
            None => front.get(start..),
        };
        let from = from.unwrap_or_default();
        let count = from.len().min(buffer.len());
        if count > 0 || buffer.is_empty() {
            if let (Some(to), Some(from)) = (buffer.get_mut(..count), from.get(..count)) {
                to.copy_from_slice(from);
            }
            return Ok(count);
        }
        match state.ended {
            None => Err(io::ErrorKind::WouldBlock.into()),
            Some(End::Whole) => Ok(0),
            Some(End::Failed(_, Some(code))) => Err(io::Error::from_raw_os_error(code)),
            Some(End::Failed(kind, None)) => Err(kind.into()),
        }
    }

    fn finish(&mut self, _reader: &mut (), _meta: &Meta) -> Result<(), Withdrawal> {
        Ok(())
    }

    fn release(&mut self, _reader: &mut (), offset: u64) {
        let mut state = self.shared.lock();
        let count = offset.saturating_sub(state.released);
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(state.kept.len());
        state.kept.drain(..count);
        state.released = state.released.saturating_add(u64::try_from(count).unwrap_or(0));
        drop(state);
        self.shared.changed.notify_all();
    }

    fn window(&self, _key: &()) -> Option<u64> {
        u64::try_from(self.shared.window).ok()
    }
}

impl Drop for StreamSource {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// Reads the input in the thread.
    fn fill(&self, mut input: Box<dyn Read + Send>) {
        // Should the reader panic, its end is an error and not silence.
        let mut ending = Ending { shared: self, end: End::Failed(io::ErrorKind::Other, None) };
        let mut buffer = vec![0; CHUNK.min(self.window)];
        loop {
            let full = |state: &mut State| state.kept.len() >= self.window && !state.closed;
            let waited = self.changed.wait_while(self.lock(), full);
            let state = waited.unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return;
            }
            let room = (self.window - state.kept.len()).min(buffer.len());
            drop(state);
            let Some(room) = buffer.get_mut(..room) else { return };
            match input.read(room) {
                Ok(0) => {
                    ending.end = End::Whole;
                    return;
                }
                Ok(count) => match room.get(..count) {
                    Some(bytes) => {
                        self.lock().kept.extend(bytes);
                        self.changed.notify_all();
                    }
                    None => {
                        ending.end = End::Failed(io::ErrorKind::InvalidData, None);
                        return;
                    }
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_tick(&error) => {
                    // The condition is another's; this only waits, and notices that the source was dropped.
                    let waited = self.changed.wait_timeout(self.lock(), PAUSE);
                    drop(waited);
                }
                Err(error) => {
                    ending.end = End::Failed(error.kind(), error.raw_os_error());
                    return;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

/// Guard that reports the end of the stream, however the thread ends.
struct Ending<'a> {
    shared: &'a Shared,
    end: End,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.shared.lock().ended = Some(self.end);
        self.shared.changed.notify_all();
    }
}

/// Longest wait of a read, as the contract of [`Source`] asks.
const PATIENCE: Duration = Duration::from_secs(1);

/// Pause before a stream is asked again that has nothing, and does not wait itself.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes that are read at a time: as many as a pipe holds on Linux.
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a deadline for what has no event")]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use proptest::prelude::*;

    use super::*;

    /// Reader of what is sent through a channel; the end when the sender is gone.
    struct Fed(Receiver<io::Result<Vec<u8>>>);

    impl Read for Fed {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.recv() {
                Ok(bytes) => {
                    let bytes = bytes?;
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    Ok(bytes.len())
                }
                Err(_) => Ok(0),
            }
        }
    }

    fn fed(window: usize) -> (SyncSender<io::Result<Vec<u8>>>, StreamSource) {
        let (sender, receiver) = sync_channel(64);
        let name = RelPath::parse(b"-stream").unwrap();
        let mut source = StreamSource::with_window(name, Fed(receiver), window);
        let ((), meta) = source.next_entry().unwrap().unwrap();
        assert_eq!(meta.size, None);
        assert!(source.next_entry().is_none());
        source.open(&(), &meta).unwrap();
        (sender, source)
    }

    fn read(source: &mut StreamSource, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; len];
        source.read_at(&mut (), offset, &mut buffer).map(|count| buffer[..count].to_vec())
    }

    #[test]
    fn stream_without_data_would_block_and_then_goes_on() {
        let (sender, mut source) = fed(16);
        assert_eq!(read(&mut source, 0, 4).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        sender.send(Ok(b"abc".to_vec())).unwrap();
        assert_eq!(read(&mut source, 0, 2).unwrap(), b"ab");
        assert_eq!(read(&mut source, 2, 2).unwrap(), b"c");
        drop(sender);
        assert_eq!(read(&mut source, 3, 2).unwrap(), b"");
        assert_eq!(read(&mut source, 3, 2).unwrap(), b"");
        assert_eq!(read(&mut source, 0, 3).unwrap(), b"abc", "it was not released");
        assert_eq!(
            source.finish(&mut (), &Meta::file(RelPath::parse(b"x").unwrap(), None)),
            Ok(())
        );
    }

    #[test]
    fn stream_beyond_its_window_waits_for_a_release() {
        let (sender, mut source) = fed(4);
        for byte in b"012345" {
            sender.send(Ok(vec![*byte])).unwrap();
        }
        for offset in 0..4 {
            assert_eq!(read(&mut source, offset, 1).unwrap().len(), 1);
        }
        assert_eq!(read(&mut source, 4, 1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(source.window(&()), Some(4));
        source.release(&mut (), 2);
        assert_eq!(read(&mut source, 4, 1).unwrap(), b"4");
        assert_eq!(read(&mut source, 1, 1).unwrap_err().kind(), io::ErrorKind::NotSeekable);
        assert_eq!(read(&mut source, 9, 1).unwrap_err().kind(), io::ErrorKind::NotSeekable);
        source.release(&mut (), 1);
        source.release(&mut (), 5);
        assert_eq!(read(&mut source, 5, 1).unwrap(), b"5");
        drop(sender);
        source.release(&mut (), u64::MAX);
        assert_eq!(read(&mut source, 6, 1).unwrap(), b"");
    }

    #[test]
    fn stream_error_comes_after_what_was_read_before_it() {
        let failures = [
            (io::Error::from_raw_os_error(5), io::Error::from_raw_os_error(5).kind()),
            (io::ErrorKind::BrokenPipe.into(), io::ErrorKind::BrokenPipe),
            // ETIMEDOUT of Linux: a connection that the system has given up.
            (io::Error::from_raw_os_error(110), io::Error::from_raw_os_error(110).kind()),
        ];
        for (failure, kind) in failures {
            let (sender, mut source) = fed(16);
            sender.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
            sender.send(Err(io::ErrorKind::WouldBlock.into())).unwrap();
            sender.send(Ok(b"ab".to_vec())).unwrap();
            sender.send(Err(failure)).unwrap();
            assert_eq!(read(&mut source, 0, 9).unwrap(), b"ab");
            for _ in 0..2 {
                assert_eq!(read(&mut source, 2, 9).unwrap_err().kind(), kind);
            }
        }
    }

    #[test]
    fn stream_reader_that_lies_or_panics_is_an_error() {
        struct Liar;
        impl Read for Liar {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                Ok(buffer.len() + 1)
            }
        }
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("as a test does")
            }
        }
        let name = RelPath::parse(b"x").unwrap();
        for (mut source, kind) in [
            (StreamSource::new(name.clone(), Liar), io::ErrorKind::InvalidData),
            (StreamSource::new(name.clone(), Panics), io::ErrorKind::Other),
        ] {
            source.open(&(), &Meta::file(name.clone(), None)).unwrap();
            // Its thread may be long about it: where a panic prints all that led to it, on a busy machine.
            let mut errors = (0..30).map(|_| read(&mut source, 0, 1).unwrap_err().kind());
            assert_eq!(errors.find(|error| *error != io::ErrorKind::WouldBlock), Some(kind));
        }
    }

    #[test]
    fn stream_whose_thread_cannot_start_says_so_each_time_it_is_opened() {
        let name = RelPath::parse(b"x").unwrap();
        let mut source = StreamSource::new(name.clone(), io::empty());
        let input = source.input.take().unwrap();
        // More than there are addresses.
        source.start(Builder::new().stack_size(1 << 50), input);
        for _ in 0..3 {
            let opened = source.open(&(), &Meta::file(name.clone(), None));
            assert!(
                matches!(opened, Err(Withdrawal::Unreadable { code: 1.. })),
                "{opened:?} instead of the number of the system"
            );
        }
    }

    #[test]
    fn stream_dropped_ends_its_thread() {
        for pending in [false, true] {
            let (sender, source) = fed(1);
            sender.send(Ok(vec![1])).unwrap();
            if pending {
                sender.send(Ok(vec![2])).unwrap();
            }
            drop(source);
            // It ends with the read after: then its receiver is gone.
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            while sender.try_send(Ok(vec![3])).is_ok()
                || !matches!(
                    sender.try_send(Ok(vec![3])),
                    Err(std::sync::mpsc::TrySendError::Disconnected(_))
                )
            {
                assert!(std::time::Instant::now() < deadline, "the thread goes on");
                std::thread::yield_now();
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn stream_of_any_pieces_reads_as_one(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            window in 1_usize..300,
            steps in proptest::collection::vec((1_usize..200, 0_u64..100), 1..10),
        ) {
            let name = RelPath::parse(b"x").unwrap();
            let input = io::Cursor::new(bytes.clone());
            let mut source = StreamSource::with_window(name.clone(), input, window);
            source.open(&(), &Meta::file(name, None)).unwrap();
            let mut got = Vec::new();
            for (len, lag) in steps.iter().cycle() {
                let at = u64::try_from(got.len()).unwrap();
                source.release(&mut (), at.saturating_sub((*lag).min(u64::try_from(window).unwrap() - 1)));
                let piece = read(&mut source, at, *len).unwrap();
                if piece.is_empty() {
                    break;
                }
                got.extend(piece);
            }
            prop_assert_eq!(got, bytes);
        }
    }
}
