//! Ticks of a listener's `accept`, which also returns when it is woken, and a sorting of its errors by whose
//! they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

/// Time that an `accept` waits.
#[derive(Debug)]
pub(in crate::transport) struct Ticking {
    tick: Duration,
    woken: Woken,
    /// Number of connections in a row that were gone when they were accepted.
    aborted: u32,
}

/// Flag that ends an `accept` before its tick.
#[derive(Debug, Clone, Default)]
pub(in crate::transport) struct Woken(Arc<AtomicBool>);

impl Woken {
    /// Ends an `accept`. Where the kernel waits, `connect` has to give it something to accept.
    pub(in crate::transport) fn wake(&self, connect: impl FnOnce()) {
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
    /// True if the kernel ends an `accept` after the listener's read timeout. Where it does not, the listener has to be
    /// non-blocking, and is asked again and again.
    pub(in crate::transport) const BY_KERNEL: bool = cfg!(target_os = "linux");

    pub(in crate::transport) fn new(tick: Duration) -> Self {
        Self { tick, woken: Woken::default(), aborted: 0 }
    }

    #[cfg(unix)]
    pub(in crate::transport) const fn set_tick(&mut self, tick: Duration) {
        self.tick = tick;
    }

    /// Returns the flag by which other threads end an `accept`.
    pub(in crate::transport) fn woken(&self) -> Woken {
        self.woken.clone()
    }

    /// Calls `accept` until it returns something else than a tick, the tick has passed, or it is woken, and makes a
    /// stream of what it gives.
    ///
    /// The error of a connection that is gone already is of the kind [`io::ErrorKind::ConnectionAborted`].
    pub(in crate::transport) fn run<T, S>(
        &mut self,
        mut accept: impl FnMut() -> io::Result<T>,
        set_up: impl FnOnce(T) -> io::Result<S>,
    ) -> io::Result<S> {
        if self.woken.take() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let accepted = if Self::BY_KERNEL { accept() } else { self.again(accept) };
        if self.woken.take() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let aborted = match accepted {
            Ok(accepted) => set_up(accepted),
            Err(error) if is_of_one_peer(&error) => Err(error),
            Err(error) => return Err(error),
        };
        match aborted {
            Ok(stream) => {
                self.aborted = 0;
                Ok(stream)
            }
            Err(error) => {
                self.aborted = self.aborted.saturating_add(1);
                // Else one that aborts for ever keeps a processor busy.
                if self.aborted > MANY {
                    thread::sleep(PAUSE);
                }
                Err(io::Error::new(io::ErrorKind::ConnectionAborted, error))
            }
        }
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
            // Such a listener does not wait by itself.
            thread::sleep(left.min(PAUSE));
        }
    }
}

/// Returns whether an error of the system's `accept` is about the connection that would have been accepted. Linux
/// reports errors of its network by that call; and it forbids one (`EPERM`) by the rules of a firewall.
fn is_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let is_kind = matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::HostUnreachable
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
    );
    let is_named = |code| cfg!(target_os = "linux") && OF_ONE_PEER.contains(&code);
    is_kind || error.raw_os_error().is_some_and(is_named)
}

/// Errors of Linux that are about one peer: `EPERM`, `ENONET`, `EPROTO`, `ENOPROTOOPT`,
/// `EOPNOTSUPP`, `ETIMEDOUT`, `EHOSTDOWN`.
const OF_ONE_PEER: [i32; 7] = [1, 64, 71, 92, 95, 110, 112];

/// Number of connections that may come in a row at full speed and are no more. Where each one fails, as something
/// forbids all of them, more would be asked for without end.
const MANY: u32 = 100;

/// Longest wait of a peer to be accepted, where the kernel does not help: not felt by people, and cheap.
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
        let mut ticking = Ticking::new(Duration::from_secs(1000));
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
        assert_eq!(ticking.run(|| Ok(7), Ok).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(ticking.run(|| Ok(7), Ok).unwrap(), 7);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn ticking_errors_of_one_peer_are_told_from_those_of_the_listener() {
        let mut ticking = Ticking::new(Duration::from_secs(20));
        let kind = |code| {
            let error = ticking.run(|| Err::<(), _>(io::Error::from_raw_os_error(code)), Ok);
            let error = error.unwrap_err();
            (error.kind() == io::ErrorKind::ConnectionAborted, error.raw_os_error())
        };
        // ECONNABORTED, ECONNRESET, EPERM, ENONET, EPROTO, ENOPROTOOPT, EOPNOTSUPP, ENETDOWN, ENETUNREACH, ETIMEDOUT,
        // EHOSTDOWN, EHOSTUNREACH.
        let of_peers = [103, 104, 1, 64, 71, 92, 95, 100, 101, 110, 112, 113];
        // EBADF, EAGAIN, ENOMEM, EFAULT, EINVAL, ENFILE, EMFILE, ENOTSOCK, ENOBUFS.
        let of_all = [9, 11, 12, 14, 22, 23, 24, 88, 105];
        assert_eq!(of_peers.map(kind), of_peers.map(|_| (true, None)));
        let mut ticking = Ticking::new(Duration::from_secs(20));
        for code in of_all {
            let error = ticking.run(|| Err::<(), _>(io::Error::from_raw_os_error(code)), Ok);
            assert_eq!(error.unwrap_err().raw_os_error(), Some(code));
        }
    }

    #[test]
    fn ticking_stream_that_cannot_be_set_up_is_of_one_peer() {
        let mut ticking = Ticking::new(Duration::from_secs(20));
        let error = ticking.run(|| Ok(7), |_| Err::<(), _>(io::Error::from_raw_os_error(22)));
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(ticking.aborted, 1);
        assert_eq!(ticking.run(|| Ok(7), Ok).unwrap(), 7);
        assert_eq!(ticking.aborted, 0);
    }

    #[test]
    fn ticking_other_errors_pass_at_once() {
        let got = Ticking::new(Duration::from_secs(20))
            .again::<()>(|| Err(io::ErrorKind::ConnectionAborted.into()));
        assert_eq!(got.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
}
