//! Observers of a transfer's progress.

use std::time::Duration;

use crate::error::Error;
use crate::store::Unsendable;
use crate::transport::Peer;
use crate::types::{Event, Progress, PublicKey, Summary};

/// Recipient of the events of a transfer, as they happen, in its thread: the transfer waits
/// meanwhile.
///
/// Any `FnMut(&Event)` is an observer of the events alone; `()` ignores everything. A closure names the type of its
/// parameter, as in `|event: &Event| …`; without it the compiler finds that "implementation of `FnOnce` is not general
/// enough".
///
/// An error gives no [`Summary`]: who wants to know of what was delivered before it counts the
/// [events](Event::Delivered).
pub trait Observer {
    /// Handles something that happened in the session.
    fn event(&mut self, event: &Event);

    /// Handles the progress of the transfer: up to ten times a second while bytes move, by the transfer's clock, and at
    /// the end of each connection. [`Event::Progress`] reports acknowledged content alone, as it happens.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }

    /// Handles the receiver that has greeted, and is sent to; it concerns
    /// [`Transfer::send_listening`](super::Transfer::send_listening).
    fn connected(&mut self, peer: &Peer) {
        let _ = peer;
    }

    /// Handles the key that the peer has proved to have, before either side has greeted. On a stream that knows nothing
    /// of its ends this is not called.
    fn identified(&mut self, key: PublicKey) {
        let _ = key;
    }

    /// Handles an entry of the source that cannot be sent. The transfer goes on with the rest.
    fn unsendable(&mut self, entry: &Unsendable) {
        let _ = entry;
    }

    /// Handles the loss of the connection, for `cause`; connection number `attempt` follows after `pause`, which is
    /// zero where the peer is waited for.
    ///
    /// `attempt` counts the connections of this call, those that did not come about and those of strangers among them.
    /// It is not the number in [`Event::Greeted`], which is that of the transfer.
    fn retry(&mut self, attempt: u32, cause: &Error, pause: Duration) {
        let _ = (attempt, cause, pause);
    }

    /// Handles the number of connections before this one on which nothing was offered, and of which nothing is
    /// reported: whoever can connect could have any number of them reported. Each of the first 16 is reported, and one
    /// more every 10 s: by [`ended`](Observer::ended) of a [`Server`](super::Server); by [`retry`](Observer::retry) of
    /// [`Transfer::send_listening`](super::Transfer::send_listening), and of a connector that
    /// [waits](crate::Connector::is_waiting) for its peer.
    fn unheard(&mut self, connections: u64) {
        let _ = connections;
    }

    /// Handles the end of a session of a [`Server`](super::Server): one connection of a sender, which may come again
    /// after an error. A server has no sum over its sessions but what their observers add up.
    fn ended(&mut self, result: &Result<Summary, Error>) {
        let _ = result;
    }
}

impl Observer for () {
    fn event(&mut self, _: &Event) {}
}

impl<F: FnMut(&Event)> Observer for F {
    fn event(&mut self, event: &Event) {
        self(event);
    }
}
