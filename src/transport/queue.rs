//! A bounded queue of bytes between two threads, or two steps of one: what pipes and threaded streams are made of.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::monitor::Monitor;

/// One direction of a stream.
#[derive(Debug)]
pub(super) struct Queue {
    state: Monitor<State>,
    capacity: NonZeroUsize,
}

#[derive(Debug, Default)]
struct State {
    /// Invariant: never longer than the capacity.
    bytes: VecDeque<u8>,
    /// The writing end is done: after `bytes` comes the end of the stream, or this error.
    ended: Option<Option<io::Error>>,
    /// The reading end is gone, by itself or for this error.
    broken: Option<Option<io::Error>>,
    /// How many flushes were asked for.
    flushes_wanted: u64,
    /// How many of them the reading end has done. Invariant: at most `flushes_wanted`.
    flushes_done: u64,
}

/// What a reading end that also serves flushes is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// So many bytes were taken.
    Bytes(usize),
    /// Every byte before it was taken: flush, and say [`Queue::flushed`] with this number.
    Flush(u64),
    /// Nothing will follow.
    End,
}

impl Queue {
    pub(super) fn new(capacity: NonZeroUsize) -> Self {
        Self { state: Monitor::default(), capacity }
    }

    /// Takes what is there, at least one byte; 0 at the end.
    pub(super) fn read(&self, buffer: &mut [u8], timeout: Option<Duration>) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.state.wait(timeout, |state| {
            let count = take(&mut state.bytes, buffer);
            if count > 0 {
                return Some(Ok(count));
            }
            match &mut state.ended {
                None => None,
                Some(None) => Some(Ok(0)),
                Some(Some(error)) => Some(Err(give(error))),
            }
        })?
    }

    /// Puts as many bytes as there is room for, at least one.
    pub(super) fn write(&self, bytes: &[u8], timeout: Option<Duration>) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        self.state.wait(timeout, |state| {
            if let Some(error) = broken(state) {
                return Some(Err(error));
            }
            let room = self.capacity.get().saturating_sub(state.bytes.len());
            let fitting = bytes.get(..room).unwrap_or(bytes);
            state.bytes.extend(fitting);
            (!fitting.is_empty()).then_some(Ok(fitting.len()))
        })?
    }

    /// Waits for bytes, for a flush, or for the end, in this order, for ever.
    pub(super) fn next(&self, buffer: &mut [u8]) -> Next {
        let next = self.state.wait(None, |state| {
            let count = take(&mut state.bytes, buffer);
            if count > 0 {
                Some(Next::Bytes(count))
            } else if state.flushes_done < state.flushes_wanted {
                Some(Next::Flush(state.flushes_wanted))
            } else {
                state.ended.is_some().then_some(Next::End)
            }
        });
        next.unwrap_or(Next::End)
    }

    /// Asks the reading end for a flush, and returns the number to wait for.
    pub(super) fn want_flush(&self) -> u64 {
        self.state.update(|state| {
            state.flushes_wanted = state.flushes_wanted.saturating_add(1);
            state.flushes_wanted
        })
    }

    /// Waits until the reading end has done that flush.
    pub(super) fn wait_flushed(&self, number: u64, timeout: Option<Duration>) -> io::Result<()> {
        self.state.wait(timeout, |state| {
            if state.flushes_done >= number {
                return Some(Ok(()));
            }
            broken(state).map(Err)
        })?
    }

    /// Says that everything before that flush is on its way.
    pub(super) fn flushed(&self, number: u64) {
        self.state.update(|state| state.flushes_done = state.flushes_done.max(number));
    }

    /// Says that the writing end is done. The first word counts.
    pub(super) fn end(&self, error: Option<io::Error>) {
        self.state.update(|state| {
            state.ended.get_or_insert(error);
        });
    }

    /// Says that the reading end is gone. The first word counts. What was not read is lost.
    pub(super) fn break_off(&self, error: Option<io::Error>) {
        self.state.update(|state| {
            state.broken.get_or_insert(error);
            state.bytes = VecDeque::new();
        });
    }

    /// Waits until the reading end is gone; says whether it is.
    pub(super) fn wait_broken(&self, timeout: Duration) -> bool {
        self.state.wait(Some(timeout), |state| state.broken.as_ref().map(|_| ())).is_ok()
    }
}

fn take(bytes: &mut VecDeque<u8>, buffer: &mut [u8]) -> usize {
    // Reading from a queue of bytes cannot fail; it takes what is in one piece, so a second go takes the rest.
    let first = io::Read::read(bytes, buffer).unwrap_or(0);
    let rest = buffer.get_mut(first..).unwrap_or_default();
    first + io::Read::read(bytes, rest).unwrap_or(0)
}

fn broken(state: &mut State) -> Option<io::Error> {
    state.broken.as_mut().map(|error| match error {
        Some(error) => give(error),
        None => io::ErrorKind::BrokenPipe.into(),
    })
}

/// Gives an error in full the first time, and its kind from then on, since errors cannot be copied.
fn give(error: &mut io::Error) -> io::Error {
    let kind = error.kind().into();
    std::mem::replace(error, kind)
}
