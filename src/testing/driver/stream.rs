//! A stream that keeps what is written until it is flushed, takes its time, and is cut.
#![expect(clippy::disallowed_methods, reason = "a check that must end looks at the clock")]

use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use super::log::Log;
use crate::transport::memory::Pipe;

/// Longest time of a session, before its streams fail: far longer than any needs.
const LONGEST: Duration = Duration::from_secs(60);

/// Time of a call in which nothing moved.
const TICK: Duration = Duration::from_secs(1);

/// Most repetitions of a call on a stream that moves nothing: ten minutes.
const PATIENCE: u32 = 600;

/// Most reads of a side before it flushes what it wrote.
const DRY: u32 = 3;

/// Number of ticks of each call, once the peer has sent something.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Before a write takes a piece.
    pub(super) write: u32,
    /// Before a flush ends.
    pub(super) flush: u32,
    /// Before the first read after a flush gives something.
    pub(super) read: u32,
}

impl Pace {
    /// A line of which each piece takes 10 s, and its end 25 s to drain, with an answer 7 s later: too long together,
    /// for whoever counts from the poll.
    pub(super) const SLOW: Self = Self { write: 10, flush: 25, read: 7 };
    /// A peer that takes nothing any more.
    pub(super) const STUCK: Self = Self { write: u32::MAX, flush: 0, read: 0 };
    /// A peer that takes everything at the second call.
    pub(super) const BRIEF: Self = Self { write: 1, flush: 0, read: 0 };
}

/// One end of a pipe, as the driver has it.
#[derive(Debug)]
pub(super) struct Watched {
    pipe: Pipe,
    log: Log,
    pace: Pace,
    /// After so many bytes were read it is cut.
    left: usize,
    began: Instant,
    /// Number of bytes that are kept until there is a flush.
    capacity: usize,
    kept: Vec<u8>,
    /// Set once something was written since the last flush.
    is_dirty: bool,
    /// Ticks of the call that goes on, and of reads before a flush.
    ticks: u32,
    dry: u32,
    /// Ticks before the next read gives something.
    lag: u32,
    has_heard: bool,
    /// Bytes that were written in all.
    pub(super) written: u64,
}

impl Watched {
    pub(super) fn new(pipe: Pipe, capacity: NonZeroUsize, log: &Log) -> Self {
        Self {
            pipe,
            log: log.clone(),
            pace: Pace::default(),
            left: usize::MAX,
            began: Instant::now(),
            capacity: capacity.get(),
            kept: Vec::new(),
            is_dirty: false,
            ticks: 0,
            dry: 0,
            lag: 0,
            has_heard: false,
            written: 0,
        }
    }

    pub(super) fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    pub(super) fn cut(mut self, cut: Option<usize>) -> Self {
        self.left = cut.unwrap_or(usize::MAX);
        self
    }

    fn check(&self) -> io::Result<()> {
        if self.began.elapsed() > LONGEST {
            self.log.fault("the session does not end");
        }
        let is_lost = self.left == 0 || self.log.has_fault();
        if is_lost { Err(ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }

    /// Returns whether the call is to end with a tick.
    fn is_slow(&mut self, ticks: u32) -> bool {
        if !self.has_heard || self.ticks >= ticks {
            self.ticks = 0;
            return false;
        }
        self.ticks += 1;
        self.log.pass(TICK);
        if self.ticks > PATIENCE {
            self.log.fault(
                "it writes for ten minutes to a stream that takes nothing (`handle_write_blocked`)",
            );
        }
        true
    }

    /// Passes some of what is kept on.
    fn pass_on(&mut self) -> io::Result<()> {
        match self.pipe.write(&self.kept) {
            Ok(written) => {
                self.kept.drain(..written);
                Ok(())
            }
            Err(error) => {
                self.count(&error);
                Err(error)
            }
        }
    }

    /// Counts a call of the pipe that waited for a second.
    fn count(&self, error: &io::Error) {
        if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) {
            self.log.pass(TICK);
        }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.log.listens();
        self.check()?;
        if self.is_dirty {
            self.dry += 1;
            self.log.pass(TICK);
            if self.dry > DRY {
                self.log
                    .fault("it waits for an answer to what it has not flushed (`Write::flush`)");
            }
            return Err(ErrorKind::TimedOut.into());
        }
        if self.lag > 0 {
            self.lag -= 1;
            self.log.pass(TICK);
            return Err(ErrorKind::TimedOut.into());
        }
        let most = buffer.len().min(self.left);
        let read = self.pipe.read(&mut buffer[..most]).inspect_err(|error| self.count(error))?;
        self.left -= read;
        self.has_heard = true;
        Ok(read)
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        if self.is_slow(self.pace.write) {
            return Err(ErrorKind::TimedOut.into());
        }
        if self.kept.len() >= self.capacity {
            self.pass_on()?;
        }
        let written = bytes.len().min(self.capacity - self.kept.len());
        self.kept.extend_from_slice(&bytes[..written]);
        self.written += written as u64;
        self.is_dirty = true;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        if !self.is_dirty {
            return Ok(());
        }
        if self.is_slow(self.pace.flush) {
            return Err(ErrorKind::TimedOut.into());
        }
        while !self.kept.is_empty() {
            self.pass_on()?;
        }
        (self.is_dirty, self.dry) = (false, 0);
        self.lag = if self.has_heard { self.pace.read } else { 0 };
        self.log.speaks();
        Ok(())
    }
}
