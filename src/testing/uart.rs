//! A serial line between two threads, in virtual time.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::time::Duration;
//!
//! use haul::drive::Clock;
//! use haul::testing::uart;
//!
//! // A thousand bytes a second.
//! let (mut near, mut far) = uart::line(1000);
//! let clock = near.clock();
//! let writer = std::thread::spawn(move || near.write_all(&[7; 500]));
//! let mut got = [0; 500];
//! let mut count = 0;
//! while count < got.len() {
//!     count += far.read(&mut got[count..]).unwrap_or(0);
//! }
//! writer.join().expect("it does not panic")?;
//! assert_eq!(clock.now(), Duration::from_millis(500));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! Time passes when both threads wait, and only then: a transfer of minutes takes a moment, and a busy machine changes
//! nothing.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::drive::Clock;

/// Makes a line that carries so many bytes a second in each direction, at most a million.
///
/// - A byte is on its way for as long as it takes. Up to [`BUFFER`] bytes wait at either end to be sent, and as many to
///   be read: what comes then is lost, as it is without flow control.
/// - A call waits 200 ms at most, and fails then with [`ErrorKind::TimedOut`].
#[must_use]
pub fn line(bytes_per_second: u32) -> (Uart, Uart) {
    let per_byte = Duration::from_secs(1) / bytes_per_second.clamp(1, 1_000_000);
    let state = State {
        now: Duration::ZERO,
        waiting: [None; 2],
        handles: [1; 2],
        lanes: [Lane::default(), Lane::default()],
        dead: None,
    };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), per_byte });
    (Uart { shared: Arc::clone(&shared), end: 0 }, Uart { shared, end: 1 })
}

/// Number of bytes that wait at either end of a line, in each direction. A terminal of Linux holds as
/// many.
pub const BUFFER: usize = 4096;

/// One end of a line. A clone is the same end, for one that takes the place of another; one thread at a time may use
/// it.
#[derive(Debug)]
pub struct Uart {
    shared: Arc<Shared>,
    end: usize,
}

impl Uart {
    /// Returns the time of the line. The thread that uses this end may wait with it.
    #[must_use]
    pub fn clock(&self) -> UartClock {
        UartClock { shared: Arc::clone(&self.shared), end: self.end }
    }

    /// Loses everything that comes in at either end between these times.
    pub fn lose_all(&self, from: Duration, until: Duration) {
        self.shared.lock().dead = Some((from, until));
    }
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = 1 - self.end;
        self.shared.wait(self.end, TICK, |state| {
            let lane = state.lanes.get_mut(from)?;
            let count = lane.arrived.read(buffer).unwrap_or(0);
            (count > 0).then_some(count)
        })
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let per_byte = self.shared.per_byte;
        self.shared.wait(self.end, TICK, |state| {
            let now = state.now;
            let lane = state.lanes.get_mut(self.end)?;
            let count = bytes.len().min(BUFFER.saturating_sub(lane.under_way.len()));
            let mut last = lane.under_way.back().map_or(now, |(arrives, _)| *arrives);
            for byte in bytes.iter().take(count) {
                last = last.saturating_add(per_byte);
                lane.under_way.push_back((last, *byte));
            }
            (count > 0).then_some(count)
        })
    }

    /// Does nothing: what was written is under way.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Clone for Uart {
    fn clone(&self) -> Self {
        self.shared.count_handles(self.end, |handles| handles.saturating_add(1));
        Self { shared: Arc::clone(&self.shared), end: self.end }
    }
}

impl Drop for Uart {
    fn drop(&mut self) {
        self.shared.count_handles(self.end, |handles| handles.saturating_sub(1));
    }
}

/// The time of a line.
#[derive(Debug, Clone)]
pub struct UartClock {
    shared: Arc<Shared>,
    end: usize,
}

impl Clock for UartClock {
    fn now(&self) -> Duration {
        self.shared.lock().now
    }

    fn sleep(&self, time: Duration) {
        let _ = self.shared.wait(self.end, time, |_| None::<()>);
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    per_byte: Duration,
}

#[derive(Debug)]
struct State {
    now: Duration,
    /// Time until which each end waits, if it does and has found nothing at this time.
    waiting: [Option<Duration>; 2],
    /// Number of handles of each end: one that is gone is not waited for.
    handles: [usize; 2],
    /// Bytes that each end has sent.
    lanes: [Lane; 2],
    dead: Option<(Duration, Duration)>,
}

#[derive(Debug, Default)]
struct Lane {
    /// Bytes, and when they arrive.
    under_way: VecDeque<(Duration, u8)>,
    /// Invariant: at most [`BUFFER`].
    arrived: VecDeque<u8>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_handles(&self, end: usize, change: impl Fn(usize) -> usize) {
        let mut state = self.lock();
        if let Some(handles) = state.handles.get_mut(end) {
            *handles = change(*handles);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until `ready` gives something, or so much time has passed.
    fn wait<T>(
        &self,
        end: usize,
        at_most: Duration,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> io::Result<T> {
        let mut state = self.lock();
        let until = state.now.saturating_add(at_most);
        let result = loop {
            state.arrive();
            if let Some(found) = ready(&mut state) {
                break Ok(found);
            }
            if state.now >= until {
                break Err(ErrorKind::TimedOut.into());
            }
            state.set_waiting(end, Some(until));
            if state.pass() {
                self.changed.notify_all();
                continue;
            }
            let waited = self.changed.wait_timeout(state, STUCK);
            let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            assert!(!timeout.timed_out(), "the other end neither waits nor goes away");
            state = next;
        };
        state.set_waiting(end, None);
        drop(state);
        self.changed.notify_all();
        result
    }
}

impl State {
    fn set_waiting(&mut self, end: usize, until: Option<Duration>) {
        if let Some(waiting) = self.waiting.get_mut(end) {
            *waiting = until;
        }
    }

    /// Lets time pass if everybody waits; whether it did.
    fn pass(&mut self) -> bool {
        let mut next = Duration::MAX;
        for (waiting, handles) in self.waiting.iter().zip(self.handles) {
            match waiting {
                Some(until) => next = next.min(*until),
                None if handles == 0 => {}
                None => return false,
            }
        }
        for lane in &self.lanes {
            // Bytes come by several at a time, as the chips hand them on.
            let few = lane.under_way.get(CHUNK - 1).or_else(|| lane.under_way.back());
            next = few.map_or(next, |(arrives, _)| next.min(*arrives));
        }
        let passes = next > self.now && next < Duration::MAX;
        if passes {
            self.now = next;
            // Each looks again before any more passes, those that are gone excepted.
            self.waiting = [None; 2];
        }
        passes
    }

    /// Takes in what has arrived by now.
    fn arrive(&mut self) {
        for lane in &mut self.lanes {
            while let Some((arrives, byte)) = lane.under_way.front().copied() {
                if arrives > self.now {
                    break;
                }
                lane.under_way.pop_front();
                let is_lost =
                    self.dead.is_some_and(|(from, until)| (from..until).contains(&arrives));
                if !is_lost && lane.arrived.len() < BUFFER {
                    lane.arrived.push_back(byte);
                }
            }
        }
    }
}

/// Longest wait of a call.
const TICK: Duration = Duration::from_millis(200);

/// Number of bytes that come at a time.
const CHUNK: usize = 16;

/// After how long, in earnest, somebody is held to be stuck.
const STUCK: Duration = Duration::from_secs(120);
