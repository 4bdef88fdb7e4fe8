//! Who hears of a transfer's progress.

use std::time::Duration;

use crate::error::Error;
use crate::store::Unsendable;
use crate::transport::Peer;
use crate::types::{Event, Progress, PublicKey, Summary};

/// Hears what happens, as it happens, in the thread of the transfer: the transfer waits meanwhile.
///
/// Any `FnMut(&Event)` is an observer of the events alone; `()` hears nothing.
pub trait Observer {
    /// Something happened in the session.
    fn event(&mut self, event: &Event);

    /// How far the transfer is: up to ten times a second while bytes move, by the transfer's clock, and at the end of each
    /// connection. [`Event::Progress`] says the same of what is acknowledged alone, as it happens.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }

    /// This receiver has greeted, and is sent to; it concerns [`Transfer::send_listening`](super::Transfer::send_listening).
    fn connected(&mut self, peer: &Peer) {
        let _ = peer;
    }

    /// The peer has proved to have this key, before either side has greeted. On a stream that knows nothing of its ends
    /// this is not said.
    fn identified(&mut self, key: PublicKey) {
        let _ = key;
    }

    /// The source found an entry that it cannot send. The transfer goes on with the rest.
    fn unsendable(&mut self, entry: &Unsendable) {
        let _ = entry;
    }

    /// The connection is lost, for `cause`; attempt number `attempt` follows after `pause`, which is zero where the
    /// peer is waited for.
    fn retry(&mut self, attempt: u32, cause: &Error, pause: Duration) {
        let _ = (attempt, cause, pause);
    }

    /// Before this one there were so many connections on which nothing was offered, and of which nothing is told: whoever can
    /// connect could have any number of them told. It concerns a [`Server`](super::Server),
    /// [`Transfer::send_listening`](super::Transfer::send_listening), and a connector that
    /// [waits](crate::Connector::is_waiting) for its peer. Of the first 16 each is told, and one more every 10 s.
    fn unheard(&mut self, connections: u64) {
        let _ = connections;
    }

    /// The session of a [`Server`](super::Server) is over.
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
