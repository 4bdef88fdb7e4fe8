//! Calls that a connection makes alike of both cores.

use std::time::Duration;

use crate::proto::{self, Receiver, Sender};
use crate::types::Progress;

/// Core that is told about the stream that is written to.
pub(super) trait Core {
    fn peer_took(&mut self, now: Duration, bytes: usize) -> Result<(), proto::Error>;

    fn write_blocked(&mut self, now: Duration) -> Result<(), proto::Error>;

    fn write_resumed(&mut self, now: Duration);

    /// Returns the progress of the transfer as if all output were written.
    fn progress(&self) -> Progress;
}

macro_rules! cores {
    ($($core:ident),+) => {
        $(
            impl Core for $core {
                fn peer_took(&mut self, now: Duration, bytes: usize) -> Result<(), proto::Error> {
                    self.handle_peer_took(now, bytes)
                }

                fn write_blocked(&mut self, now: Duration) -> Result<(), proto::Error> {
                    self.handle_write_blocked(now)
                }

                fn write_resumed(&mut self, now: Duration) {
                    self.handle_write_resumed(now);
                }

                fn progress(&self) -> Progress {
                    self.transfer_progress()
                }
            }
        )+
    };
}

cores!(Sender, Receiver);
