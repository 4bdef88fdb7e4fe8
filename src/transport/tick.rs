//! Makes a listener's `accept` return in ticks.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How long an `accept` waits.
#[derive(Debug)]
pub(super) struct Ticking(Duration);

impl Ticking {
    /// Whether the kernel ends an `accept` after the listener's read timeout. Where it does not, the listener has to be
    /// non-blocking, and is asked again and again.
    pub(super) const BY_KERNEL: bool = cfg!(target_os = "linux");

    pub(super) const fn new(tick: Duration) -> Self {
        Self(tick)
    }

    /// Calls `accept` until it has something to say, or the tick has passed.
    pub(super) fn run<T>(&self, mut accept: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        if Self::BY_KERNEL { accept() } else { self.again(accept) }
    }

    fn again<T>(&self, mut accept: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let start = Instant::now();
        loop {
            match accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
            let left = self.0.saturating_sub(start.elapsed());
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
    fn ticking_other_errors_pass_at_once() {
        let got = Ticking::new(Duration::from_secs(20))
            .again::<()>(|| Err(io::ErrorKind::ConnectionAborted.into()));
        assert_eq!(got.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
