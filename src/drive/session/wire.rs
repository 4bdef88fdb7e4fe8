//! The buffers of a session: frames are built and taken apart in place.

use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::error::{Error, Operation};
use crate::proto::Consumed;
use crate::types::tick::is_tick;

/// Bytes that were read of a stream and are not consumed, and those that are to be written.
#[derive(Debug)]
pub(in crate::drive) struct Wire {
    input: Vec<u8>,
    /// The part of `input` that was read and is not consumed.
    start: usize,
    end: usize,
    /// Length of the buffer that was given for the read under way.
    room: usize,
    hunger: Hunger,
    output: Vec<u8>,
    /// The part of `output` that is to be written, and how much of it was.
    filled: usize,
    written: usize,
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

impl Wire {
    pub(super) const fn new(piece: usize) -> Self {
        Self {
            input: Vec::new(),
            start: 0,
            end: 0,
            room: 0,
            hunger: Hunger { needed: 0, is_starved: false },
            output: Vec::new(),
            filled: 0,
            written: 0,
            content: 0,
            control: Vec::new(),
            piece,
            batch: FIRST,
        }
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

    /// Returns the buffer for the next read: at best for as many bytes as the core needs.
    pub(super) fn read_buffer(&mut self) -> &mut [u8] {
        let held = self.end - self.start;
        let needed = self.hunger.needed;
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
        self.room = aim.saturating_sub(held).clamp(1, self.input.len() - self.end).min(self.piece);
        &mut self.input[self.end..self.end + self.room]
    }

    /// Handles the outcome of a read into that buffer.
    pub(super) fn handle_read(&mut self, read: io::Result<usize>) -> Result<Moved, Error> {
        match read {
            Ok(0) => Err(transport(Operation::Read, ErrorKind::UnexpectedEof.into())),
            Ok(bytes) if bytes > self.room => Err(transport(Operation::Read, lie())),
            Ok(bytes) => {
                self.end += bytes;
                self.room = 0;
                Ok(Moved::Bytes(bytes))
            }
            Err(error) if is_tick(&error) => {
                self.hunger.needed = 0;
                Ok(Moved::Tick)
            }
            Err(error) => Err(transport(Operation::Read, error)),
        }
    }

    /// Returns the buffer that a core appends its output to.
    pub(super) const fn control(&mut self) -> &mut Vec<u8> {
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

    /// Returns what is to be written next.
    pub(super) fn write_buffer(&self) -> &[u8] {
        let end = self.filled.min(self.written.saturating_add(self.piece));
        &self.output[self.written..end]
    }

    /// Handles the outcome of a write of that. Once all is written, there is no output any more.
    pub(super) fn handle_write(&mut self, wrote: io::Result<usize>) -> Result<Moved, Error> {
        match wrote {
            Ok(0) => Err(transport(Operation::Write, ErrorKind::WriteZero.into())),
            Ok(bytes) if bytes > self.write_buffer().len() => {
                Err(transport(Operation::Write, lie()))
            }
            Ok(bytes) => {
                self.written += bytes;
                if self.written == self.filled {
                    (self.filled, self.written, self.content) = (0, 0, 0);
                }
                Ok(Moved::Bytes(bytes))
            }
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

/// Returns the outcome of a flush of the stream.
pub(super) fn flushed(flushed: io::Result<()>) -> Result<Moved, Error> {
    match flushed {
        Ok(()) => Ok(Moved::Bytes(0)),
        Err(error) if is_tick(&error) => Ok(Moved::Tick),
        Err(error) => Err(transport(Operation::Write, error)),
    }
}

fn transport(operation: Operation, source: io::Error) -> Error {
    Error::Transport { operation, source }
}

fn lie() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the stream claims more bytes than it was given")
}
