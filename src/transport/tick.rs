//! Makes a listener's `accept` return in ticks, or when it is woken.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long an `accept` waits.
#[derive(Debug)]
pub(super) struct Ticking {
    tick: Duration,
    woken: Woken,
}

/// Whether an `accept` is to end before its tick.
#[derive(Debug, Clone, Default)]
pub(super) struct Woken(Arc<AtomicBool>);

impl Woken {
    /// Ends an `accept`. Where the kernel waits, `connect` has to give it something to accept.
    pub(super) fn wake(&self, connect: impl FnOnce()) {
        self.0.store(true, Ordering::SeqCst);
        if Ticking::BY_KERNEL {
            connect();
        }
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

impl Ticking {
    /// Whether the kernel ends an `accept` after the listener's read timeout. Where it does not, the listener has to be
    /// non-blocking, and is asked again and again.
    pub(super) const BY_KERNEL: bool = cfg!(target_os = "linux");

    pub(super) fn new(tick: Duration) -> Self {
        Self { tick, woken: Woken::default() }
    }

    pub(super) const fn set_tick(&mut self, tick: Duration) {
        self.tick = tick;
    }

    /// By which other threads end an `accept`.
    pub(super) fn woken(&self) -> Woken {
        self.woken.clone()
    }

    /// Calls `accept` until it has something to say, the tick has passed, or it is woken.
    pub(super) fn run<T>(&self, mut accept: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        if self.woken.take() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let accepted = if Self::BY_KERNEL { accept() } else { self.again(accept) };
        if self.woken.take() { Err(io::ErrorKind::WouldBlock.into()) } else { accepted }
    }

    fn again<T>(&self, mut accept: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let start = Instant::now();
        loop {
            match accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.woken.0.load(Ordering::SeqCst) {
                        return Err(error);
                    }
                }
                other => return other,
            }
            let left = self.tick.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(left.min(PAUSE));
        }
    }
}

/// What a peer waits at worst to be accepted, where the kernel does not help: not felt by people, and cheap.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticking_asks_again_until_somebody_comes() {
        let mut left = 3;
        let got = Ticking::new(Duration::from_secs(20)).again(|| {
            left -= 1;
            if left == 0 { Ok(7) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        assert_eq!(got.unwrap(), 7);
    }

    #[test]
    fn ticking_nobody_comes_times_out() {
        let tick = Duration::from_millis(25);
        let start = Instant::now();
        let got = Ticking::new(tick).again::<()>(|| Err(io::ErrorKind::WouldBlock.into()));
        assert_eq!(got.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= tick);
    }

    #[test]
    fn ticking_that_is_woken_ends_before_its_tick() {
        let ticking = Ticking::new(Duration::from_secs(1000));
        let woken = ticking.woken();
        let asked = AtomicBool::new(false);
        let got = thread::scope(|scope| {
            scope.spawn(|| {
                while !asked.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                woken.wake(|| {});
            });
            ticking.again::<()>(|| {
                asked.store(true, Ordering::SeqCst);
                Err(io::ErrorKind::WouldBlock.into())
            })
        });
        assert_eq!(got.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // It was woken once.
        assert_eq!(ticking.run(|| Ok(7)).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(ticking.run(|| Ok(7)).unwrap(), 7);
    }

    #[test]
    fn ticking_other_errors_pass_at_once() {
        let got = Ticking::new(Duration::from_secs(20))
            .again::<()>(|| Err(io::ErrorKind::ConnectionAborted.into()));
        assert_eq!(got.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
