//! A bounded queue of bytes between two threads, or two steps of one: what pipes and threaded streams are made of.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroUsize;
use std::time::Duration;

use super::monitor::Monitor;

/// One direction of a stream.
#[derive(Debug)]
pub(in crate::transport) struct Queue {
    state: Monitor<State>,
    capacity: NonZeroUsize,
    /// Set if it takes no more than the reading end takes in a while.
    is_paced: bool,
}

#[derive(Debug, Default)]
struct State {
    /// Invariant: never longer than the capacity.
    bytes: VecDeque<u8>,
    /// Bytes that the reading end took by [`Queue::next`] and is not done with.
    in_hand: usize,
    /// The most bytes that there may be, with those in hand; the capacity, unless it is paced.
    most: usize,
    /// Set once something found no room since `most` grew.
    was_full: bool,
    /// The writing end is done: after `bytes` comes the end of the stream, or this error.
    ended: Option<Option<io::Error>>,
    /// The reading end is gone, by itself or for this error.
    broken: Option<Option<io::Error>>,
    /// Number of flushes that were asked for.
    flushes_wanted: u64,
    /// Number of them that the reading end has done. Invariant: at most `flushes_wanted`.
    flushes_done: u64,
}

/// Next task of a reading end that also serves flushes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::transport) enum Next {
    /// So many bytes were taken.
    Bytes(usize),
    /// Every byte before it was taken: flush, and call [`Queue::flushed`] with this number.
    Flush(u64),
    /// Nothing will follow.
    End,
}

impl Queue {
    pub(in crate::transport) fn new(capacity: NonZeroUsize) -> Self {
        let state = State { most: capacity.get(), ..State::default() };
        Self { state: Monitor::new(state), capacity, is_paced: false }
    }

    /// Creates a queue that takes no more than its reading end takes in a few timeouts of its writing end, which else
    /// would hold bytes for sent that wait here for minutes. It begins with a little, and grows while the reading end
    /// waits for more.
    pub(in crate::transport) fn paced(capacity: NonZeroUsize) -> Self {
        let most = capacity.get().min(FIRST);
        let state = State { most, ..State::default() };
        Self { state: Monitor::new(state), capacity, is_paced: true }
    }

    /// Takes what is there, at least one byte; 0 at the end.
    pub(in crate::transport) fn read(
        &self,
        buffer: &mut [u8],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
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
    pub(in crate::transport) fn write(
        &self,
        bytes: &[u8],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let written = self.state.wait(timeout, |state| {
            if let Some(error) = broken(state) {
                return Some(Err(error));
            }
            let room = state.most.saturating_sub(state.bytes.len()).saturating_sub(state.in_hand);
            let fitting = bytes.get(..room).unwrap_or(bytes);
            state.bytes.extend(fitting);
            state.was_full |= fitting.len() < bytes.len();
            (!fitting.is_empty()).then_some(Ok(fitting.len()))
        });
        self.pace(written)?
    }

    /// Waits for bytes, for a flush, or for the end, in this order, for ever.
    pub(in crate::transport) fn next(&self, buffer: &mut [u8]) -> Next {
        // An update, so that whoever waits for room is woken.
        self.state.update(|state| {
            state.in_hand = 0;
            if self.is_paced && state.bytes.is_empty() && std::mem::take(&mut state.was_full) {
                state.most = state.most.saturating_mul(2).min(self.capacity.get());
            }
        });
        let next = self.state.wait(None, |state| {
            let count = take(&mut state.bytes, buffer);
            if count > 0 {
                state.in_hand = count;
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
    pub(in crate::transport) fn want_flush(&self) -> u64 {
        self.state.update(|state| {
            state.flushes_wanted = state.flushes_wanted.saturating_add(1);
            state.flushes_wanted
        })
    }

    /// Waits until the reading end has done that flush.
    pub(in crate::transport) fn wait_flushed(
        &self,
        number: u64,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let flushed = self.state.wait(timeout, |state| {
            if state.flushes_done >= number {
                return Some(Ok(()));
            }
            broken(state).map(Err)
        });
        self.pace(flushed)?
    }

    /// Takes less from now on, if what is there took longer than a timeout.
    fn pace<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let is_late = result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::TimedOut);
        if self.is_paced && is_late {
            let least = self.capacity.get().min(LEAST);
            self.state.update(|state| {
                state.most = (state.most / 2).max(least);
                state.was_full = false;
            });
        }
        result
    }

    /// Notes that everything before that flush is on its way.
    pub(in crate::transport) fn flushed(&self, number: u64) {
        self.state.update(|state| state.flushes_done = state.flushes_done.max(number));
    }

    /// Notes that the writing end is done. The first call counts.
    pub(in crate::transport) fn end(&self, error: Option<io::Error>) {
        self.state.update(|state| {
            state.ended.get_or_insert(error);
        });
    }

    /// Notes that the reading end is gone. The first call counts. What was not read is lost.
    pub(in crate::transport) fn break_off(&self, error: Option<io::Error>) {
        self.state.update(|state| {
            state.broken.get_or_insert(error);
            state.bytes = VecDeque::new();
        });
    }

    /// Waits until the reading end is gone; returns whether it is.
    pub(in crate::transport) fn wait_broken(&self, timeout: Duration) -> bool {
        self.state.wait(Some(timeout), |state| state.broken.as_ref().map(|_| ())).is_ok()
    }
}

/// Bytes that a paced queue takes at first.
const FIRST: usize = 4096;

/// And at least: what a line of 9600 baud carries in a second.
const LEAST: usize = 1024;

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

/// Gives an error in full the first time, and from then on its number or, without one, its kind, since errors cannot be
/// copied. One that was no tick stays none.
fn give(error: &mut io::Error) -> io::Error {
    let next = match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    };
    std::mem::replace(error, next)
}
