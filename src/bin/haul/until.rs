//! End of a receiver that serves for a while: after so many transfers, so long, or so long without any.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use haul::CancelToken;

use crate::exit::{Code, Stop};
use crate::explain::system;
use crate::units;

/// Number of transfers, or time, after which a receiver ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Transfers(u64),
    Time(Duration),
}

/// Deeds of a receiver so far, and the end of it.
#[derive(Debug, Clone)]
pub(crate) struct Until(Arc<Tally>);

#[derive(Debug)]
struct Tally {
    served: Mutex<Served>,
    /// Notice that a session ended.
    ended: Condvar,
}

#[derive(Debug)]
struct Served {
    /// Sessions that are under way.
    active: u64,
    transfers: u64,
    /// Time since which no session is under way.
    idle: Instant,
    /// Worst code of the transfers.
    code: Code,
    /// Set once it has ended for this.
    is_over: bool,
}

/// A session that is under way, until this is dropped.
#[derive(Debug)]
pub(crate) struct Visit(Until);

impl Until {
    /// Watches a receiver, and lets it leave in time.
    pub(crate) fn watch(
        after: Option<After>,
        idle: Option<Duration>,
        cancel: &CancelToken,
    ) -> Result<Self, Stop> {
        let start = Instant::now();
        let served =
            Served { active: 0, transfers: 0, idle: start, code: Code::Done, is_over: false };
        let tally = Tally { served: Mutex::new(served), ended: Condvar::new() };
        let until = Self(Arc::new(tally));
        if after.is_none() && idle.is_none() {
            return Ok(until);
        }
        let (watched, cancel) = (until.clone(), cancel.clone());
        let run = move || {
            watched.wait(after, idle, start);
            cancel.leave();
        };
        let started = thread::Builder::new().name("until".into()).spawn(run);
        started.map(|_| until).map_err(|error| {
            Stop::new(Code::Local, format!("cannot watch the time: {}", system(&error)))
        })
    }

    /// Notes that a session begins.
    pub(crate) fn visit(&self) -> Visit {
        self.served().active += 1;
        Visit(self.clone())
    }

    /// Returns the code of all transfers, if the receiver has ended for this.
    pub(crate) fn code(&self) -> Option<Code> {
        let served = self.served();
        served.is_over.then_some(served.code)
    }

    /// Waits until it is time to end.
    fn wait(&self, after: Option<After>, idle: Option<Duration>, start: Instant) {
        let mut served = self.served();
        while !served.ends(after, idle, start) {
            let ended = &self.0.ended;
            served = match served.left(after, idle, start) {
                Some(left) => {
                    ended.wait_timeout(served, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => ended.wait(served).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn served(&self) -> MutexGuard<'_, Served> {
        self.0.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Served {
    /// Returns whether it is time to end. Transfers that are under way are ended by time alone.
    fn ends(&mut self, after: Option<After>, idle: Option<Duration>, start: Instant) -> bool {
        let is_done = match after {
            Some(After::Transfers(count)) => self.active == 0 && self.transfers >= count,
            Some(After::Time(time)) => start.elapsed() >= time,
            None => false,
        };
        let is_idle = self.active == 0 && idle.is_some_and(|time| self.idle.elapsed() >= time);
        self.is_over |= is_done || is_idle;
        self.is_over
    }

    /// Returns the time until it may be time to end. `None`: not before a session ends.
    fn left(
        &self,
        after: Option<After>,
        idle: Option<Duration>,
        start: Instant,
    ) -> Option<Duration> {
        let time = match after {
            Some(After::Time(time)) => Some(time.saturating_sub(start.elapsed())),
            Some(After::Transfers(_)) | None => None,
        };
        let idle = idle.filter(|_| self.active == 0);
        let idle = idle.map(|idle| idle.saturating_sub(self.idle.elapsed()));
        time.into_iter().chain(idle).min()
    }
}

impl Visit {
    /// Notes that the transfer of this session is over, with this code.
    pub(crate) fn ended(&self, code: Code) {
        let mut served = self.0.served();
        served.transfers = served.transfers.saturating_add(1);
        served.code = served.code.and(code);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut served = self.0.served();
        served.active = served.active.saturating_sub(1);
        served.idle = Instant::now();
        drop(served);
        self.0.0.ended.notify_all();
    }
}

/// Reads a number of transfers, or a time, which has a unit.
pub(crate) fn after(text: &str) -> Result<After, String> {
    match text.parse() {
        Ok(0) => Err("it must be more than nothing".into()),
        Ok(count) => Ok(After::Transfers(count)),
        Err(_) => match units::duration(text) {
            Ok(Duration::ZERO) => Err("it must be more than nothing".into()),
            Ok(time) => Ok(After::Time(time)),
            Err(_) => {
                Err("write a number of transfers such as 3, or a time such as 90s or 2h".into())
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_is_a_number_or_a_time() {
        assert_eq!(after("3"), Ok(After::Transfers(3)));
        assert_eq!(after("1.5m"), Ok(After::Time(Duration::from_secs(90))));
        for text in ["", "0", "0s", "-1", "1.5", "soon"] {
            assert!(after(text).is_err(), "{text}");
        }
    }

    #[test]
    fn receiver_ends_after_its_transfers_and_not_in_the_middle_of_one() {
        let until = Until::watch(None, None, &CancelToken::new()).unwrap();
        let ends = |after, idle| until.served().ends(after, idle, Instant::now());
        let (first, second) = (until.visit(), until.visit());
        first.ended(Code::Refused);
        drop(first);
        assert!(!ends(Some(After::Transfers(1)), None), "the other one goes on");
        assert!(!ends(None, Some(Duration::ZERO)));
        drop(second);
        assert!(!ends(Some(After::Transfers(2)), None));
        assert_eq!(until.code(), None);
        assert!(ends(Some(After::Transfers(1)), None));
        assert_eq!(until.code(), Some(Code::Refused));
    }

    #[test]
    fn receiver_looks_again_when_time_may_be_up_and_else_when_a_session_ends() {
        let until = Until::watch(None, None, &CancelToken::new()).unwrap();
        let hour = Duration::from_secs(3600);
        let left = |after, idle| until.served().left(after, idle, Instant::now());
        let visit = until.visit();
        assert_eq!(left(Some(After::Transfers(1)), Some(hour)), None);
        assert!(left(Some(After::Time(hour)), None).is_some_and(|left| left <= hour));
        drop(visit);
        assert_eq!(left(None, Some(Duration::ZERO)), Some(Duration::ZERO));
        assert_eq!(left(Some(After::Time(hour)), Some(Duration::ZERO)), Some(Duration::ZERO));
    }
}
