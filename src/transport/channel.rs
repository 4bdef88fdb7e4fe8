//! Identity of the peer at the other end of a secured stream.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::types::PublicKey;

/// Facts that a stream gives of its ends once it has them: the channel is made with the stream, and filled by its
/// handshake.
///
/// A transport with a security of its own makes one for each stream, gives it by
/// [`Connector::channel`](super::Connector::channel) or [`Acceptor::channel`](super::Acceptor::channel), and
/// [establishes](Channel::establish) it before [`flush`](std::io::Write::flush) of the stream succeeds for the first
/// time: haul calls that first. Clones are of the same channel.
#[derive(Clone, Default)]
pub struct Channel(Arc<OnceLock<Ends>>);

#[derive(Clone, Copy)]
struct Ends {
    binding: [u8; 32],
    key: PublicKey,
}

impl Channel {
    /// Returns a channel of which nothing is known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Establishes who is at the other end, and what only both ends of this channel know: 32 bytes that no other
    /// channel has. The first call counts.
    pub fn establish(&self, binding: [u8; 32], key: PublicKey) {
        let _ = self.0.set(Ends { binding, key });
    }

    /// Returns the key that the other end has proved to have; `None` before the handshake has
    /// ended.
    #[must_use]
    pub fn peer_key(&self) -> Option<PublicKey> {
        self.0.get().map(|ends| ends.key)
    }

    /// Returns the 32 bytes that only both ends know; `None` before the handshake has ended.
    #[must_use]
    pub fn binding(&self) -> Option<[u8; 32]> {
        self.0.get().map(|ends| ends.binding)
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.peer_key()).finish()
    }
}
