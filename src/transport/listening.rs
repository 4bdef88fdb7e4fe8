//! A connector that waits to be connected to.

use std::io::{self, ErrorKind};

use super::{Acceptor, Channel, Connector, Peer};

/// Connector that accepts: for a sender that listens, or a receiver that is to take one transfer from whoever
/// comes.
///
/// Who dials is independent of who sends. [`Transfer::send_via`](crate::Transfer::send_via) with this waits for a
/// receiver as long as it takes, and after a lost connection for as long as [`Retry::patience`](crate::Retry::patience)
/// says. A caller that does not use haul's protocol is reported as a [`retry`](crate::Observer::retry), and the waiting
/// goes on.
///
/// Peers are served one after the other, in the caller's thread: one that sends nothing keeps the others waiting until
/// [`Deadlines::hello`](crate::Deadlines). A sender among strangers uses
/// [`Transfer::send_listening`](crate::Transfer::send_listening), and a receiver a [`Server`](crate::Server) that
/// serves [one transfer](crate::Server::run_once): there a peer that greets is served whoever else is connected.
#[derive(Debug, Clone)]
pub struct Listening<A> {
    acceptor: A,
    peer: Option<Peer>,
}

impl<A> Listening<A> {
    /// Connects by what `acceptor` accepts.
    pub const fn new(acceptor: A) -> Self {
        Self { acceptor, peer: None }
    }

    /// Returns the peer at the other end of the stream that was given last.
    pub const fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }
}

impl<A: Acceptor> Connector for Listening<A> {
    type Stream = A::Stream;

    /// Waits for about as long as one call of [`Acceptor::accept`], and then fails with [`ErrorKind::WouldBlock`].
    fn connect(&mut self) -> io::Result<A::Stream> {
        match self.acceptor.accept() {
            Ok((stream, peer)) => {
                self.peer = Some(peer);
                Ok(stream)
            }
            Err(error) if is_passing(error.kind()) => Err(ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        }
    }

    fn is_waiting(&self) -> bool {
        true
    }

    fn channel(&self, stream: &A::Stream) -> Option<Channel> {
        self.acceptor.channel(stream)
    }
}

/// Returns whether nobody came, or somebody who is gone again.
const fn is_passing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
    )
}
