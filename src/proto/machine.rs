//! Calls that both machines have alike.

/// Implements them for a machine with a `connection` and a `state` of its module.
macro_rules! machine {
    ($machine:ident) => {
        impl $machine {
            /// Returns what the peer has proved in its greeting, if it came with a proof.
            #[must_use]
            pub fn peer_proof(&self) -> Option<[u8; 32]> {
                self.connection.peer_proof()
            }

            /// Handles that the stream took `bytes` of what is to be written; 0 after a flush of it has
            /// ended.
            ///
            /// The wait for an answer begins with the last byte of the turn, and a peer that takes too little is not waited
            /// for. Whoever never calls this has a stream that takes all of it at once, as memory does: then the wait begins
            /// when the turn is polled.
            ///
            /// # Errors
            ///
            /// [`Error::Stalled`] if it takes fewer than 4 KiB in the time of
            /// [`Deadlines::progress`](crate::config::Deadlines::progress).
            pub fn handle_peer_took(&mut self, now: Duration, bytes: usize) -> Result<(), Error> {
                let taken = self.connection.timer().take(now, bytes as u64);
                taken.map_err(|stall| self.fail(stall.into()))
            }

            /// Handles that the stream takes no bytes at the moment, or that its flush goes on.
            ///
            /// # Errors
            ///
            /// [`Error::Stalled`] if that has been so for longer than the deadline.
            pub fn handle_write_blocked(&mut self, now: Duration) -> Result<(), Error> {
                let blocked = self.connection.timer().check_blocked(now);
                blocked.map_err(|stall| self.fail(stall.into()))
            }

            /// Handles that this side writes on after a pause of its own making, as for a limit on the rate: the time
            /// since the last of these calls is not the peer's.
            pub fn handle_write_resumed(&mut self, now: Duration) {
                self.connection.timer().resume(now);
            }

            /// Returns whether the session is over, well or not.
            #[must_use]
            pub const fn is_closed(&self) -> bool {
                matches!(self.state, Ok(State::Closed) | Err(_))
            }

            fn fail(&mut self, failure: Error) -> Error {
                // A misplaced call harms nobody but its caller.
                if !matches!(failure, Error::Misuse(_)) {
                    self.state = Err(failure);
                }
                failure
            }
        }
    };
}

pub(super) use machine;
