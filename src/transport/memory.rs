//! Streams within one process: a bounded pipe, and a network of them. They are what tests use, and what joins two ends
//! that live in one process.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::num::NonZeroUsize;
//!
//! let (mut alice, mut bob) = haul::transport::memory::pipe(NonZeroUsize::MIN);
//! assert_eq!(alice.write(b"no more than the capacity")?, 1);
//! let mut buffer = [0; 8];
//! assert_eq!(bob.read(&mut buffer)?, 1);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::sync::byte_queue::Queue;
use super::sync::monitor::Monitor;
use super::{Acceptor, Connector, Peer, Waker};

/// Longest wait of a call unless set otherwise: 1 s, as the contract of streams asks for.
pub const TICK: Duration = Duration::from_secs(1);

/// Streams that may wait to be accepted; a further [`connect`](Connector::connect) waits. 16 is arbitrary.
pub const BACKLOG: usize = 16;

/// Makes a stream with two ends: what one writes the other reads.
///
/// `capacity` is how many bytes each direction holds, that is, how far a writer may be ahead of the reader. Memory
/// is taken as bytes come.
#[must_use]
pub fn pipe(capacity: NonZeroUsize) -> (Pipe, Pipe) {
    let (there, back) = (Arc::new(Queue::new(capacity)), Arc::new(Queue::new(capacity)));
    (
        Pipe { incoming: Arc::clone(&back), outgoing: Arc::clone(&there), timeout: Some(TICK) },
        Pipe { incoming: there, outgoing: back, timeout: Some(TICK) },
    )
}

/// Makes a network of one acceptor and any number of connectors (clone the one that is given), whose streams are
/// [`pipe`]s of this capacity.
#[must_use]
pub fn network(capacity: NonZeroUsize) -> (MemoryConnector, MemoryAcceptor) {
    let network = Arc::new(Network {
        state: Monitor::new(Waiting {
            pipes: VecDeque::new(),
            connectors: 1,
            woken: false,
            closed: false,
        }),
        capacity,
    });
    (
        MemoryConnector { network: Arc::clone(&network), timeout: Some(TICK) },
        MemoryAcceptor { network, timeout: Some(TICK) },
    )
}

/// One end of a [`pipe`].
///
/// - A read waits for the first byte and takes what is there; a write waits for the first free place and takes what
///   fits.
/// - When the other end is dropped, reads give what it wrote and then the end of the stream, and writes fail with
///   [`io::ErrorKind::BrokenPipe`].
#[derive(Debug)]
pub struct Pipe {
    incoming: Arc<Queue>,
    outgoing: Arc<Queue>,
    timeout: Option<Duration>,
}

impl Pipe {
    /// Sets how long a call waits before it fails with [`io::ErrorKind::TimedOut`]. Default: [`TICK`].
    ///
    /// `None` waits for ever. Zero never waits: such a call fails with [`io::ErrorKind::WouldBlock`], so that one
    /// thread can play both ends and always sees the same.
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer, self.timeout)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.write(bytes, self.timeout)
    }

    /// Does nothing: written bytes can be read at once.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.outgoing.end(None);
        self.incoming.break_off(None);
    }
}

/// Connector to the [`MemoryAcceptor`] that it was made with. Clone it for several peers.
#[derive(Debug)]
pub struct MemoryConnector {
    network: Arc<Network>,
    timeout: Option<Duration>,
}

impl MemoryConnector {
    /// Sets how long [`connect`](Connector::connect) waits while [`BACKLOG`] streams are waiting to be accepted, and
    /// the timeout that its streams start with; see [`Pipe::set_timeout`].
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }
}

impl Connector for MemoryConnector {
    type Stream = Pipe;

    /// Opens a stream, which can be used before it is accepted.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::ConnectionRefused`]: the acceptor is gone.
    /// - [`io::ErrorKind::TimedOut`], [`io::ErrorKind::WouldBlock`]: too many streams wait to be accepted.
    fn connect(&mut self) -> io::Result<Pipe> {
        self.network.state.wait(self.timeout, |waiting| {
            if waiting.closed {
                return Some(Err(io::ErrorKind::ConnectionRefused.into()));
            }
            (waiting.pipes.len() < BACKLOG).then(|| {
                let (mut near, far) = pipe(self.network.capacity);
                near.set_timeout(self.timeout);
                waiting.pipes.push_back(far);
                Ok(near)
            })
        })?
    }
}

impl Clone for MemoryConnector {
    fn clone(&self) -> Self {
        self.network.state.update(|waiting| waiting.connectors += 1);
        Self { network: Arc::clone(&self.network), timeout: self.timeout }
    }
}

impl Drop for MemoryConnector {
    fn drop(&mut self) {
        self.network.state.update(|waiting| waiting.connectors -= 1);
    }
}

/// Acceptor of the streams that its [`MemoryConnector`]s open.
///
/// When it is dropped, streams that wait to be accepted end, and further ones are refused.
#[derive(Debug)]
pub struct MemoryAcceptor {
    network: Arc<Network>,
    timeout: Option<Duration>,
}

impl MemoryAcceptor {
    /// Sets how long [`accept`](Acceptor::accept) waits, and the timeout that its streams start with; see
    /// [`Pipe::set_timeout`].
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }
}

impl Acceptor for MemoryAcceptor {
    type Stream = Pipe;

    /// Takes the stream that waits longest.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::TimedOut`], [`io::ErrorKind::WouldBlock`]: nobody came yet.
    /// - [`io::ErrorKind::NotConnected`]: every connector is gone, so nobody can come any more.
    fn accept(&mut self) -> io::Result<(Pipe, Peer)> {
        let mut pipe = self.network.state.wait(self.timeout, |waiting| {
            if std::mem::take(&mut waiting.woken) {
                return Some(Err(io::ErrorKind::WouldBlock.into()));
            }
            if let Some(pipe) = waiting.pipes.pop_front() {
                return Some(Ok(pipe));
            }
            (waiting.connectors == 0).then(|| Err(io::Error::from(io::ErrorKind::NotConnected)))
        })??;
        pipe.set_timeout(self.timeout);
        Ok((pipe, Peer::Pipe))
    }

    fn waker(&self) -> Option<Waker> {
        let network = Arc::clone(&self.network);
        Some(Box::new(move || network.state.update(|waiting| waiting.woken = true)))
    }
}

impl Drop for MemoryAcceptor {
    fn drop(&mut self) {
        // The pipes are dropped outside the lock: each takes locks of its own.
        let _pipes = self.network.state.update(|waiting| {
            waiting.closed = true;
            std::mem::take(&mut waiting.pipes)
        });
    }
}

#[derive(Debug)]
struct Network {
    state: Monitor<Waiting>,
    capacity: NonZeroUsize,
}

#[derive(Debug)]
struct Waiting {
    /// Invariant: at most [`BACKLOG`].
    pipes: VecDeque<Pipe>,
    /// Invariant: how many [`MemoryConnector`]s there are.
    connectors: usize,
    /// Set while the next call of `accept` is to end at once.
    woken: bool,
    /// Set once the acceptor is gone.
    closed: bool,
}

#[cfg(test)]
mod tests;
