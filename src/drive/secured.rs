//! Handshake before the first byte of a session on a stream that knows its ends.

use std::io::{Read, Write};

use super::observer::Observer;
use super::stream::{Moved, Wire};
use super::transfer::Transfer;
use crate::error::{Error, Operation};
use crate::proto::{self, Stall};

impl<O: Observer> Transfer<O> {
    /// Ends the handshake, within the deadline of greetings, and gives what binds the session to its channel. `None`:
    /// the stream knows nothing of its ends.
    pub(super) fn secure<T: Read + Write>(
        &mut self,
        wire: &mut Wire<T>,
    ) -> Result<Option<[u8; 32]>, Error> {
        let Some(channel) = self.access.channel.clone() else { return Ok(None) };
        let start = self.clock.now();
        let after = self.config.deadlines.hello;
        while wire.flush_stream()? == Moved::Tick {
            if let Some(error) = self.cancel.error() {
                return Err(error);
            }
            if self.clock.now().saturating_sub(start) >= after {
                return Err(proto::Error::from(Stall::Hello { after }).into());
            }
        }
        let (Some(binding), Some(key)) = (channel.binding(), channel.peer_key()) else {
            let source = std::io::Error::other("the stream does not know its other end");
            return Err(Error::Transport { operation: Operation::Write, source });
        };
        self.observer.identified(key);
        Ok(Some(binding))
    }
}
