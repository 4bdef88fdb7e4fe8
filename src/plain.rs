//! The bare wire: bytes until the stream ends, in chunks, as `nc` sends it.
//!
//! This is the wire of two small programs that haul grew out of, and of `nc`. There is no
//! name, no size, no check and no answer, and so there is much that nobody can know:
//!
//! - **A cut connection cannot be told from an end.** If the sender dies in the middle and its
//!   system closes the stream in good order, [`receive`] succeeds with the first half.
//! - **Nobody knows whether the other side has it.** [`send`] succeeds once the stream took the
//!   bytes; they may still be on their way, and the receiver may have no room for them.
//! - **Damage is not noticed.** Both functions give the BLAKE3 hash of what passed, so that two
//!   people can compare.
//!
//! Use it with peers that know nothing else. Between two ends of haul, a
//! [`Receipt`](crate::types::Receipt) answers all three.
//!
//! ```
//! use std::ops::ControlFlow;
//!
//! use haul::plain::{self, ChunkSize, PlainEvent};
//!
//! let go_on = |_: PlainEvent| ControlFlow::Continue(());
//! let chunk = ChunkSize::default();
//!
//! let mut wire = Vec::new();
//! let sent = plain::send(&mut &b"an image"[..], &mut wire, chunk, go_on)?;
//!
//! let mut image = Vec::new();
//! let received = plain::receive(&mut &wire[..], &mut image, chunk, go_on)?;
//!
//! assert_eq!(image, b"an image");
//! assert_eq!(sent.hash, received.hash);
//! # Ok::<(), plain::PlainError>(())
//! ```
//!
//! # What is asked of source, sink and stream
//!
//! - **Blocking.** A call may block. Nothing here knows the time, so **a silent peer is the
//!   caller's to bound**: give the stream a timeout, and the observer is asked at each
//!   [`PlainEvent::Waiting`] whether to go on. A stream that can block for ever makes this wait for
//!   ever. One that never blocks makes this spin, unless the observer sleeps.
//! - **Short reads and writes.** Any count from 1 to the length of the buffer is fine; what was
//!   read goes on at once, a chunk is not filled first. A count beyond the buffer is
//!   [`PlainError::Overrun`].
//! - **End.** A read of 0 bytes is the end, and is not followed by another. A write of 0 bytes is
//!   an error of kind [`WriteZero`](io::ErrorKind::WriteZero).
//! - **Zero-length buffers** are never passed.
//! - **`Interrupted`, `WouldBlock`, `TimedOut`.** The observer is asked, and the call is made
//!   again. No byte may have been taken or given in a call that fails. (`ETIMEDOUT` from a Unix
//!   system is no tick but a dead connection.)
//! - **After an error** of any other kind, nothing is called any more.
//! - **Flush.** What is written to is flushed once, at the end.
//! - **Closing** is the caller's: the receiver waits until the sender's stream is dropped, or its
//!   writing half shut down.
//! - **Threads.** None are used. Memory: one chunk.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use crate::error::{Error, Operation};
use crate::hash::Hash;
use crate::types::tick::is_tick;

/// Sends all of `source`, and then flushes `stream`. The caller closes the stream, which is how the
/// receiver learns that this was all.
///
/// The observer is called after each write, and whenever there is nothing to do but wait; it ends
/// the transfer by [`ControlFlow::Break`].
///
/// # Errors
///
/// In each case the receiver may hold a part, and take it for the whole once the stream is closed.
///
/// - [`PlainError::Io`]: the source ([`Operation::Source`]) or the stream ([`Operation::Write`])
///   failed.
/// - [`PlainError::Overrun`]: one of them claims more bytes than it was given room for.
/// - [`PlainError::Stopped`]: the observer ended it.
pub fn send(
    source: &mut (impl Read + ?Sized),
    stream: &mut (impl Write + ?Sized),
    chunk: ChunkSize,
    observer: impl FnMut(PlainEvent) -> ControlFlow<()>,
) -> Result<Sent, PlainError> {
    let (bytes, hash) =
        pass((source, Operation::Source), (stream, Operation::Write), chunk, observer)?;
    Ok(Sent { bytes, hash })
}

/// Receives until `stream` ends, and then flushes `sink`.
///
/// Success means that the stream ended, which may not be where the sender wanted it to end. Until
/// then `sink` holds a part at best: a caller that writes to a file gives it its final name
/// afterwards.
///
/// The observer is called after each write, and whenever there is nothing to do but wait; it ends
/// the transfer by [`ControlFlow::Break`].
///
/// # Errors
///
/// In each case what `sink` took is [`PlainError::bytes`] long, and is not known to be all.
///
/// - [`PlainError::Io`]: the stream ([`Operation::Read`]) or the sink ([`Operation::Store`])
///   failed.
/// - [`PlainError::Overrun`]: one of them claims more bytes than it was given room for.
/// - [`PlainError::Stopped`]: the observer ended it.
pub fn receive(
    stream: &mut (impl Read + ?Sized),
    sink: &mut (impl Write + ?Sized),
    chunk: ChunkSize,
    observer: impl FnMut(PlainEvent) -> ControlFlow<()>,
) -> Result<Received, PlainError> {
    let (bytes, hash) = pass((stream, Operation::Read), (sink, Operation::Store), chunk, observer)?;
    Ok(Received { bytes, hash })
}

/// Most bytes that are read at a time: from 1 byte to 16 MiB. The peer's chunks may have any other
/// size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkSize(NonZeroUsize);

/// Result of sending: the bytes that the stream took. Nobody has confirmed that they arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// Number of bytes that the stream took.
    pub bytes: u64,
    /// Their hash: what `b3sum` prints for the file, if the source was one.
    pub hash: Hash,
}

/// Result of receiving: the bytes that came before the stream ended. Nobody has confirmed that they
/// were all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Number of bytes that came, and were written.
    pub bytes: u64,
    /// Their hash: what `b3sum` prints for the file, if the sink is one.
    pub hash: Hash,
}

/// Report to an observer. Counts never go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlainEvent {
    /// Bytes were written.
    Passed {
        /// Total number so far.
        bytes: u64,
    },
    /// A call was interrupted, or gave nothing in its time: the clock's tick. Unless the observer
    /// breaks, it is made again.
    Waiting {
        /// Operation that waits.
        operation: Operation,
        /// Total number of bytes written so far.
        bytes: u64,
    },
}

/// Reason why a transfer over the plain wire ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlainError {
    /// The source, the stream or the sink failed.
    #[error("{operation} after {bytes} bytes: {source}")]
    Io {
        /// Operation that failed.
        operation: Operation,
        /// Number of bytes written before.
        bytes: u64,
        /// Error of that end.
        source: io::Error,
    },
    /// The source, the stream or the sink broke the contract of [`Read`] or [`Write`].
    #[error("{operation} after {bytes} bytes: {source}")]
    Overrun {
        /// Operation that broke the contract.
        operation: Operation,
        /// Number of bytes written before.
        bytes: u64,
        /// False claim.
        source: Overrun,
    },
    /// The observer ended the transfer, because it took too long or because somebody asked for it.
    #[error("stopped after {bytes} bytes")]
    Stopped {
        /// Number of bytes written before.
        bytes: u64,
    },
}

/// A count of bytes, read or written, beyond the buffer that was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{claimed} bytes are claimed of a buffer of {room}")]
#[non_exhaustive]
pub struct Overrun {
    /// The count that was given back.
    pub claimed: usize,
    /// The length of the buffer, in bytes.
    pub room: usize,
}

impl ChunkSize {
    /// 1 byte, the smallest.
    pub const MIN: Self = Self(NonZeroUsize::MIN);
    /// 16 MiB, the largest: beyond it a chunk costs memory and gains nothing.
    pub const MAX: Self = Self::clamped(16 << 20);
    /// 1024 bytes: the chunk of the two programs that this wire comes from.
    pub const ORIGINAL: Self = Self::clamped(1024);

    /// Returns a chunk of this many bytes; `None` if that is 0 or more than [`ChunkSize::MAX`].
    #[must_use]
    pub const fn new(bytes: usize) -> Option<Self> {
        match NonZeroUsize::new(bytes) {
            Some(size) if bytes <= Self::MAX.get() => Some(Self(size)),
            _ => None,
        }
    }

    /// Returns the size in bytes.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0.get()
    }

    const fn clamped(bytes: usize) -> Self {
        match NonZeroUsize::new(bytes) {
            Some(size) => Self(size),
            None => Self::MIN,
        }
    }
}

impl Default for ChunkSize {
    /// Returns 256 KiB, chosen by `benches/plain.rs`. Over TCP on loopback it was the fastest in
    /// each of three runs: 2.5 to 2.6 GiB/s, against 2.1 to 2.4 with 64 KiB and 1.8 to 2.4 with 1
    /// MiB (the intervals overlap, so the step from 64 KiB is small), 1.0 with 4 and 16 KiB, and
    /// 0.4 with the original 1 KiB. Over memory nothing is gained beyond 64 KiB. Measured in
    /// November 2026 with both ends on one machine of 2 cores.
    fn default() -> Self {
        Self::clamped(256 << 10)
    }
}

impl PlainError {
    /// Returns the number of bytes that had been written when the transfer ended.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        match self {
            Self::Io { bytes, .. } | Self::Overrun { bytes, .. } | Self::Stopped { bytes } => {
                *bytes
            }
        }
    }
}

impl From<PlainError> for Error {
    /// Converts by blame: an observer that ended a transfer counts as [`Cancelled`](crate::SessionError::Cancelled),
    /// whatever its reason was.
    fn from(error: PlainError) -> Self {
        let (operation, source) = match error {
            PlainError::Io { operation, source, .. } => (operation, source),
            PlainError::Overrun { operation, source, .. } => {
                (operation, io::Error::new(io::ErrorKind::InvalidData, source))
            }
            PlainError::Stopped { .. } => return Self::cancelled(),
        };
        match operation {
            Operation::Rewind | Operation::Source | Operation::Store => {
                Self::Local { operation, source }
            }
            Operation::Connect
            | Operation::Accept
            | Operation::Read
            | Operation::Write
            | Operation::Spawn => Self::Transport { operation, source },
        }
    }
}

/// Moves bytes until the reader ends. Both directions are the same loop; they differ in which end
/// is the peer.
fn pass<R, W, F>(
    (from, reading): (&mut R, Operation),
    (to, writing): (&mut W, Operation),
    chunk: ChunkSize,
    observer: F,
) -> Result<(u64, Hash), PlainError>
where
    R: Read + ?Sized,
    W: Write + ?Sized,
    F: FnMut(PlainEvent) -> ControlFlow<()>,
{
    let mut passage = Passage { bytes: 0, observer };
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; chunk.get()];
    loop {
        let count = passage.call(reading, || from.read(&mut buffer))?;
        if count == 0 {
            break;
        }
        let Some((mut rest, _)) = buffer.split_at_checked(count) else {
            return Err(passage.overrun(reading, count, buffer.len()));
        };
        hasher.update(rest);
        while !rest.is_empty() {
            let count = passage.call(writing, || to.write(rest))?;
            if count == 0 {
                return Err(passage.failed(writing, io::ErrorKind::WriteZero.into()));
            }
            let Some((_, left)) = rest.split_at_checked(count) else {
                return Err(passage.overrun(writing, count, rest.len()));
            };
            rest = left;
            passage.passed(count)?;
        }
    }
    passage.call(writing, || to.flush())?;
    Ok((passage.bytes, Hash::from_bytes(hasher.finalize().into())))
}

/// Progress of one transfer, and its observer.
struct Passage<F> {
    bytes: u64,
    observer: F,
}

impl<F: FnMut(PlainEvent) -> ControlFlow<()>> Passage<F> {
    /// Repeats a call until it gives something else than a tick.
    fn call<T>(
        &mut self,
        operation: Operation,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> Result<T, PlainError> {
        loop {
            match call() {
                Ok(value) => return Ok(value),
                Err(error) if is_tick(&error) => {
                    self.tell(PlainEvent::Waiting { operation, bytes: self.bytes })?;
                }
                Err(error) => return Err(self.failed(operation, error)),
            }
        }
    }

    fn passed(&mut self, count: usize) -> Result<(), PlainError> {
        // No file has 2^64 bytes, but an endless stream must not panic either.
        self.bytes = self.bytes.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        self.tell(PlainEvent::Passed { bytes: self.bytes })
    }

    fn tell(&mut self, event: PlainEvent) -> Result<(), PlainError> {
        match (self.observer)(event) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(PlainError::Stopped { bytes: self.bytes }),
        }
    }

    const fn failed(&self, operation: Operation, source: io::Error) -> PlainError {
        PlainError::Io { operation, bytes: self.bytes, source }
    }

    const fn overrun(&self, operation: Operation, claimed: usize, room: usize) -> PlainError {
        let source = Overrun { claimed, room };
        PlainError::Overrun { operation, bytes: self.bytes, source }
    }
}

#[cfg(test)]
mod tests;
