//! Acquisition of streams: [`Connector`] and [`Acceptor`], their contract, and the transports that come along.
//!
//! A stream is anything that implements [`Read`] and [`Write`]. What haul asks of it:
//!
//! - **Blocking.** A call may block. It should return within about a second, with [`WouldBlock`] or
//!   [`TimedOut`] if nothing happened, because that is when haul looks at its deadlines and at the cancel
//!   token. A stream that can block for ever makes haul wait for ever: give it a timeout. One that fails so at once
//!   is asked again at once, and keeps a processor busy: a socket that does not block is polled first, for up to a
//!   second, as in `examples/serial.rs`.
//! - **Short reads and writes.** Any count from 1 to the length of the buffer is fine. A count beyond the
//!   buffer is noticed and is an error.
//! - **End of stream.** A read of 0 bytes means that nothing will follow. A write of 0 bytes is an error.
//!   Neither ever means success: a session ends by a message.
//! - **Zero-length buffers.** haul does not pass them.
//! - **`Interrupted`.** The call is made again. **`WouldBlock`, `TimedOut`.** A tick of the clock: deadlines
//!   are checked, and the call is made again. No byte may have been taken or given in a call that fails. The write
//!   after a failed one begins with the same bytes, and offers as many, as some libraries ask for; they may stand
//!   elsewhere in memory. `ETIMEDOUT` from a Unix system is no tick but a dead connection: [`is_tick`] tells them
//!   apart, and a stream that wraps another one passes it on as it is.
//! - **After an error** of any other kind, the stream is dropped, not used again.
//! - **Flush.** haul calls [`Write::flush`] whenever it passes the floor to the peer, so a buffered writer works. It may
//!   end in a tick too, and is called again until it succeeds.
//! - **Threads.** None are needed. A stream is used by one thread at a time, which need not be the one that
//!   made it.
//!
//! # Lines without connections
//!
//! A stream is one connection: it begins when it is made, and a new one has nothing of the earlier. Serial ports,
//! radios and terminals are not like that. Over such a line the next session would find what the last one left, and
//! neither end would learn that the other has begun anew; nor do they promise that every byte arrives. A [`Line`] makes
//! connections of one: it begins them, ends them, and repairs what is lost on the way.
//!
//! [`WouldBlock`]: io::ErrorKind::WouldBlock
//! [`TimedOut`]: io::ErrorKind::TimedOut

#![expect(
    clippy::disallowed_methods,
    reason = "sockets, pipes, child processes and timeouts live here"
)]

mod channel;
#[cfg(any(unix, windows))]
pub mod exec;
pub mod line;
mod listening;
pub mod memory;
#[cfg(feature = "secure")]
pub mod secure;
mod stdio;
mod sync;
#[cfg(feature = "tcp")]
pub mod tcp;
mod threaded;
#[cfg(unix)]
pub mod unix;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::types::Escaped;

pub use self::channel::Channel;
pub use self::line::Line;
pub use self::listening::Listening;
pub use self::stdio::Stdio;
pub use self::threaded::Threaded;
pub use crate::types::tick::is_tick;

/// Opener of streams to the peer, as often as it is asked to.
///
/// - **Blocking.** `connect` may block, and should fail with [`io::ErrorKind::TimedOut`] after a time of its own. One
///   that [waits](Connector::is_waiting) for the peer to come returns within about a second, with
///   [`io::ErrorKind::WouldBlock`] if it did not: that is no failure, and it is called again. From one that does not
///   wait it is a failure like any other.
/// - **After an error** it may be called again. haul does so after errors that a new attempt can help
///   (see [`Error::is_transient`](crate::Error::is_transient)), with growing pauses.
/// - **After success** it may be called again too: the earlier stream is then gone, or about to be.
/// - **Threads.** It is called by one thread at a time.
pub trait Connector {
    /// Stream that [`connect`](Connector::connect) gives.
    type Stream: Read + Write;

    /// Opens one stream.
    ///
    /// # Errors
    ///
    /// Whatever kept the stream from being opened.
    fn connect(&mut self) -> io::Result<Self::Stream>;

    /// Returns whether `connect` waits for the peer to come, instead of going to it. Default: no.
    ///
    /// One that waits is called again at once when a connection is lost, without the pauses of
    /// [`Retry`](crate::Retry); and whoever comes and does not greet, a stranger, does not end the transfer. Where
    /// `connect` itself fails, otherwise than by a tick, it is called again after
    /// [`Retry::first`](crate::Retry#structfield.first).
    fn is_waiting(&self) -> bool {
        false
    }

    /// Returns the identity of the other end of a stream that this connector gave. Default: none.
    fn channel(&self, stream: &Self::Stream) -> Option<Channel> {
        let _ = stream;
        None
    }
}

/// Listener that waits for peers to open streams.
///
/// - **Blocking.** `accept` may block. It should return within about a second, with
///   [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`] if nobody came, because that is when haul
///   looks at the cancel token.
/// - **After an error** it may be called again: one that concerns a single peer
///   ([`io::ErrorKind::ConnectionAborted`], [`io::ErrorKind::ConnectionReset`]) does not end a server, nor does a
///   lack of descriptors or memory that passes within 10 s. Any other error ends it.
/// - **Threads.** It is called by one thread; the streams that it gives may go to others.
pub trait Acceptor {
    /// Stream that [`accept`](Acceptor::accept) gives.
    type Stream: Read + Write;

    /// Takes the next stream, with the name of the peer at its other end.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`] if nobody came yet; else what went wrong.
    fn accept(&mut self) -> io::Result<(Self::Stream, Peer)>;

    /// Returns a way to end a call of `accept` that is under way, from another thread: it then fails with
    /// [`io::ErrorKind::WouldBlock`], or the next call does. Somebody who comes at this moment may be turned away.
    ///
    /// Default: none. A server that serves once then ends when `accept` returns by itself.
    fn waker(&self) -> Option<Waker> {
        None
    }

    /// Returns the identity of the other end of a stream that this acceptor gave. Default: none.
    fn channel(&self, stream: &Self::Stream) -> Option<Channel> {
        let _ = stream;
        None
    }
}

/// Function that ends a call of [`Acceptor::accept`]; see [`Acceptor::waker`].
pub type Waker = Box<dyn Fn() + Send + Sync>;

/// Name of the peer at the other end of a stream, for people to read. It proves nothing. It is shown
/// [escaped](crate::types::Escaped).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// An Internet address.
    Address(SocketAddr),
    /// A Unix socket, by its path; peers that connect to one usually have none.
    Path(PathBuf),
    /// The other end of a pipe of this process, or of its standard streams.
    Pipe,
    /// Name that an embedder's transport knows.
    Other(String),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Path(path) => {
                write!(f, "unix:{}", Escaped(path.as_os_str().as_encoded_bytes()))
            }
            Self::Pipe => f.write_str("pipe"),
            Self::Other(text) => Escaped(text.as_bytes()).fmt(f),
        }
    }
}

forward!(Connector {
    type Stream;
    &mut self:
        fn connect() -> io::Result<Self::Stream>;
    &self:
        fn is_waiting() -> bool;
        fn channel(stream: &Self::Stream) -> Option<Channel>;
});

forward!(Acceptor {
    type Stream;
    &mut self:
        fn accept() -> io::Result<(Self::Stream, Peer)>;
    &self:
        fn waker() -> Option<Waker>;
        fn channel(stream: &Self::Stream) -> Option<Channel>;
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::is_unsafe;

    #[test]
    fn peer_is_shown_without_anything_that_a_terminal_obeys() {
        for bad in ["\u{1b}[31m", "\u{9b}2J", "a\nhaul: b", "\u{202e}gpj\u{2069}"] {
            for peer in [Peer::Path(bad.into()), Peer::Other(bad.to_owned())] {
                let shown = peer.to_string();
                assert!(!shown.contains(is_unsafe), "{shown:?}");
            }
        }
        assert_eq!(Peer::Path("/run/a b".into()).to_string(), "unix:/run/a b");
    }
}
