//! Closing a socket so that the peer gets what was written.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::time::{Duration, Instant};

/// Operations on a socket that closing needs.
pub(in crate::transport) trait Closing {
    /// Announces that nothing will follow.
    fn finish(&self) -> io::Result<()>;

    /// Waits for at most so long for what the peer still sends.
    fn read_within(&mut self, wait: Duration, scratch: &mut [u8]) -> io::Result<usize>;
}

/// A socket that is closed so when it is dropped, if something was written that may be on its way.
#[derive(Debug)]
pub(in crate::transport) struct Graceful<S: Closing> {
    pub(in crate::transport) socket: S,
    /// Longest time that closing may take.
    close_wait: Duration,
    wrote: bool,
    /// The peer's last byte was read: nothing can be unread.
    ended: bool,
}

impl<S: Closing> Graceful<S> {
    pub(in crate::transport) const fn new(socket: S, close_wait: Duration) -> Self {
        Self { socket, close_wait, wrote: false, ended: false }
    }
}

impl<S: Closing + Read> Read for Graceful<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.ended |= count == 0 && !buffer.is_empty();
        Ok(count)
    }

    fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let count = self.socket.read_vectored(buffers)?;
        self.ended |= count == 0 && buffers.iter().any(|buffer| !buffer.is_empty());
        Ok(count)
    }
}

impl<S: Closing + Write> Write for Graceful<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wrote = true;
        self.socket.write(bytes)
    }

    fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        self.wrote = true;
        self.socket.write_vectored(buffers)
    }

    /// Does nothing: the system has what was written.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Closing> Drop for Graceful<S> {
    fn drop(&mut self) {
        if self.wrote && !self.ended {
            gracefully(&mut self.socket, self.close_wait);
        }
    }
}

/// Implements [`Read`] and [`Write`] for a stream that is [`Graceful`], and [`Closing`] for its socket.
macro_rules! graceful {
    ($stream:ident of $socket:ty) => {
        impl Read for $stream {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0.read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
                self.0.read_vectored(buffers)
            }
        }

        impl Write for $stream {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.write(bytes)
            }

            fn write_vectored(&mut self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
                self.0.write_vectored(buffers)
            }

            /// Does nothing: the system has what was written.
            fn flush(&mut self) -> io::Result<()> {
                self.0.flush()
            }
        }

        impl Closing for $socket {
            fn finish(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Write)
            }

            fn read_within(&mut self, wait: Duration, scratch: &mut [u8]) -> io::Result<usize> {
                self.set_read_timeout(Some(wait))?;
                self.read(scratch)
            }
        }
    };
}

pub(in crate::transport) use graceful;

/// Announces that nothing will follow, then reads and forgets until the peer closes, is silent, or the time is
/// over.
///
/// Closing a socket that has unread input tells the peer of an error, which can destroy the last bytes on their way to
/// it.
fn gracefully(socket: &mut impl Closing, at_most: Duration) {
    if at_most.is_zero() || socket.finish().is_err() {
        return;
    }
    let start = Instant::now();
    let mut scratch = [0; 16 * 1024];
    loop {
        let wait = at_most.saturating_sub(start.elapsed()).min(QUIET);
        if wait < SHORTEST {
            return;
        }
        match socket.read_within(wait, &mut scratch) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Silence after which a peer is taken to have nothing more to send. Longer than most round trips, within which a peer
/// that is in the middle of something sends again; short enough not to be felt where the peer is slow to close.
const QUIET: Duration = Duration::from_millis(200);

/// A timeout of zero would be none.
const SHORTEST: Duration = Duration::from_millis(1);
