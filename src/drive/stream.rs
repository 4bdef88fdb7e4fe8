//! A stream with the buffers that a session needs: frames are built and taken apart in place.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use crate::error::{Error, Operation};
use crate::proto::{self, Consumed, Receiver, Sender};
use crate::types::Progress;
use crate::types::tick::is_tick;

/// A stream, what was read of it and is not consumed, and what is to be written.
#[derive(Debug)]
pub(super) struct Wire<T> {
    stream: T,
    input: Vec<u8>,
    /// The part of `input` that was read and is not consumed.
    start: usize,
    end: usize,
    hunger: Hunger,
    output: Vec<u8>,
    /// The part of `output` that is to be written.
    filled: usize,
    /// Number of those bytes that are content.
    content: usize,
    /// Buffer that a core appends to.
    control: Vec<u8>,
    /// The most bytes of a call.
    piece: usize,
    /// Output is written once there is this much.
    batch: usize,
}

/// Input that the core lacks.
#[derive(Debug, Default)]
struct Hunger {
    /// Number of bytes that its next message needs, as far as is known.
    needed: usize,
    /// Set if it needs more input than there is.
    is_starved: bool,
}

/// Outcome of a call on the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// Nothing within the stream's timeout, or before it was interrupted: a stream that is interrupted for ever must
    /// not keep a session for ever.
    Tick,
}

/// Output is written once there is this much, so that small files share a system call: unless it takes long to write.
const BATCH: usize = 64 * 1024;

/// Bytes of the first write, when nothing is known of the line.
const FIRST: usize = 4096;

/// Time of a write below which a larger piece may be tried.
const SLOW: Duration = Duration::from_millis(100);

/// Input is asked for in pieces of this size, unless a larger message is known to come.
const READ: usize = 64 * 1024;

/// Bytes that are asked for beyond a large message: the head of the one after it, which then needs no
/// system call of its own. More would have to be moved to the front of the buffer.
const AHEAD: usize = 128;

impl<T: Read + Write> Wire<T> {
    pub(super) fn new(stream: T, piece: usize) -> Self {
        Self {
            stream,
            input: Vec::new(),
            start: 0,
            end: 0,
            hunger: Hunger::default(),
            output: Vec::new(),
            filled: 0,
            content: 0,
            control: Vec::new(),
            piece,
            batch: FIRST,
        }
    }

    pub(super) fn into_stream(self) -> T {
        self.stream
    }

    /// Returns the bytes that were read and are not consumed.
    pub(super) fn input(&self) -> &[u8] {
        &self.input[self.start..self.end]
    }

    /// Returns whether the core needs more input than there is.
    pub(super) const fn is_starved(&self) -> bool {
        self.hunger.is_starved
    }

    /// Takes off what a core consumed. `None`: it goes on with the same input.
    pub(super) fn consume(&mut self, consumed: Option<Consumed>) {
        self.hunger.is_starved = consumed.is_some_and(|consumed| consumed.bytes == 0);
        let Some(Consumed { bytes, needed }) = consumed else { return };
        self.start = (self.start + bytes).min(self.end);
        self.hunger.needed = if bytes > 0 { 0 } else { needed.max(self.hunger.needed) };
    }

    /// Reads once, at best as many bytes as the core needs.
    pub(super) fn read(&mut self) -> Result<Moved, Error> {
        let moved = self.read_until(self.hunger.needed)?;
        if moved == Moved::Tick {
            self.hunger.needed = 0;
        }
        Ok(moved)
    }

    /// Reads once, at best until `needed` bytes are there that are not consumed.
    fn read_until(&mut self, needed: usize) -> Result<Moved, Error> {
        let held = self.end - self.start;
        let aim = if needed > READ { needed + AHEAD } else { READ };
        if self.start > 0 && (held == 0 || self.start + aim > self.input.len()) {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, held);
        }
        if self.end == self.input.len() || self.input.len() < READ {
            // It grows as bytes come, whatever length was announced.
            let len = (2 * self.input.len()).clamp(READ, aim.max(READ));
            self.input.resize(len, 0);
        }
        let room = aim.saturating_sub(held).clamp(1, self.input.len() - self.end).min(self.piece);
        let buffer = &mut self.input[self.end..self.end + room];
        match self.stream.read(buffer) {
            Ok(0) => Err(transport(Operation::Read, ErrorKind::UnexpectedEof.into())),
            Ok(bytes) if bytes > room => Err(transport(Operation::Read, lie())),
            Ok(bytes) => {
                self.end += bytes;
                Ok(Moved::Bytes(bytes))
            }
            Err(error) if is_tick(&error) => Ok(Moved::Tick),
            Err(error) => Err(transport(Operation::Read, error)),
        }
    }

    /// Returns the buffer that a core appends its output to.
    pub(super) fn control(&mut self) -> &mut Vec<u8> {
        &mut self.control
    }

    /// Takes what the core appended over into the output.
    pub(super) fn absorb(&mut self) {
        if self.control.is_empty() {
            return;
        }
        let end = self.filled + self.control.len();
        self.reserve(end);
        self.output[self.filled..end].copy_from_slice(&self.control);
        self.filled = end;
        self.control.clear();
    }

    /// Returns room for a frame behind what is to be written. The number of bytes to keep of it is passed
    /// to [`keep`](Wire::keep).
    pub(super) fn frame(&mut self, len: usize) -> &mut [u8] {
        let end = self.filled + len;
        self.reserve(end);
        &mut self.output[self.filled..end]
    }

    /// Keeps these bytes, of which `content` are content.
    pub(super) fn keep(&mut self, bytes: usize, content: usize) {
        self.content += content;
        self.filled = (self.filled + bytes).min(self.output.len());
    }

    /// Returns the number of bytes to be written.
    pub(super) const fn output(&self) -> usize {
        self.filled
    }

    /// Returns the number of bytes of content to be written.
    pub(super) const fn content(&self) -> usize {
        self.content
    }

    /// Adapts to the time that it took to write so many bytes. A core's output is written before a second of the line's
    /// time has gathered: the core knows how long its turn takes by what was written.
    pub(super) fn took(&mut self, bytes: usize, time: Duration) {
        let in_second = (bytes as u128).saturating_mul(1000) / time.as_millis().max(1);
        if time >= SLOW {
            self.batch = usize::try_from(in_second).unwrap_or(BATCH).clamp(1, BATCH);
        } else if bytes >= self.batch {
            self.batch = BATCH.min(self.batch.saturating_mul(4));
        }
    }

    /// Returns whether enough is to be written to make a call worth while.
    pub(super) fn is_full(&self) -> bool {
        self.filled >= self.batch.min(self.piece)
    }

    /// Writes all of the output. `took` is given every call that the stream took bytes in, or did not; and at the end
    /// of no bytes more, once the stream's flush has ended.
    pub(super) fn flush(
        &mut self,
        mut took: impl FnMut(Moved) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.filled == 0 {
            return Ok(());
        }
        let mut written = 0;
        while written < self.filled {
            let end = self.filled.min(written.saturating_add(self.piece));
            let rest = &self.output[written..end];
            match self.stream.write(rest) {
                Ok(0) => return Err(transport(Operation::Write, ErrorKind::WriteZero.into())),
                Ok(bytes) if bytes > rest.len() => return Err(transport(Operation::Write, lie())),
                Ok(bytes) => {
                    written += bytes;
                    took(Moved::Bytes(bytes))?;
                }
                Err(error) if is_tick(&error) => took(Moved::Tick)?,
                Err(error) => return Err(transport(Operation::Write, error)),
            }
        }
        (self.filled, self.content) = (0, 0);
        loop {
            match self.stream.flush() {
                Ok(()) => return took(Moved::Bytes(0)),
                Err(error) if is_tick(&error) => took(Moved::Tick)?,
                Err(error) => return Err(transport(Operation::Write, error)),
            }
        }
    }

    /// Flushes the stream once, with nothing to be written.
    pub(super) fn flush_stream(&mut self) -> Result<Moved, Error> {
        match self.stream.flush() {
            Ok(()) => Ok(Moved::Bytes(0)),
            Err(error) if is_tick(&error) => Ok(Moved::Tick),
            Err(error) => Err(transport(Operation::Write, error)),
        }
    }

    fn reserve(&mut self, end: usize) {
        if self.output.len() < end {
            self.output.resize(end, 0);
        }
    }
}

fn transport(operation: Operation, source: io::Error) -> Error {
    Error::Transport { operation, source }
}

fn lie() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the stream claims more bytes than it was given")
}

/// Longest wait after which the cancel token is looked at.
pub(super) const TICK: Duration = Duration::from_millis(200);

/// Longest time of a peer for the last message, the reason why a session failed.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(1);

/// Reports to a core about the stream that is written to.
pub(super) trait Core {
    fn peer_took(&mut self, now: Duration, bytes: usize) -> Result<(), proto::Error>;

    fn write_blocked(&mut self, now: Duration) -> Result<(), proto::Error>;

    fn write_resumed(&mut self, now: Duration);

    /// Returns the progress of the transfer as if all output were written.
    fn progress(&self) -> Progress;
}

/// Kind of bytes that are written: a limit on the rate holds for content alone.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Content,
    Answers,
}

macro_rules! cores {
    ($($core:ident),+) => {
        $(
            impl Core for $core {
                fn peer_took(&mut self, now: Duration, bytes: usize) -> Result<(), proto::Error> {
                    self.handle_peer_took(now, bytes)
                }

                fn write_blocked(&mut self, now: Duration) -> Result<(), proto::Error> {
                    self.handle_write_blocked(now)
                }

                fn write_resumed(&mut self, now: Duration) {
                    self.handle_write_resumed(now);
                }

                fn progress(&self) -> Progress {
                    self.transfer_progress()
                }
            }
        )+
    };
}

cores!(Sender, Receiver);
