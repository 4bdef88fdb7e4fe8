//! Sessions as their runners see them.

use std::io;
use std::time::Duration;

use super::connection::Connection;
use super::need::Need;
use crate::error::Error;

/// Session of either half: a machine that knows no I/O, no clock and no thread.
///
/// 1. [`step`](Machine::step) returns what it needs next.
/// 2. Whoever runs it meets that need by one of the other calls, and steps it again.
/// 3. After [`Need::Nothing`] and after an error it is over. What is left is its [end](Machine::finish).
pub(in crate::drive) trait Machine {
    /// Goes on as far as it can without any of the [needs](Need), and returns the next one.
    ///
    /// # Errors
    ///
    /// The session is over, without success.
    fn step(&mut self, now: Duration) -> Result<Need, Error>;

    /// Does the work of source or store that is due: one call, or a few of one kind.
    fn work(&mut self, now: Duration) -> Result<(), Error>;

    /// Takes in commits that have ended, waiting for the first one at most so long; `false` if none did.
    fn collect(&mut self, wait: Duration) -> Result<bool, Error>;

    /// Handles the outcome of a read into [`Connection::read_buffer`].
    fn handle_read(&mut self, now: Duration, read: io::Result<usize>) -> Result<(), Error>;

    /// Handles the outcome of a write of [`Connection::write_buffer`].
    fn handle_write(&mut self, now: Duration, wrote: io::Result<usize>) -> Result<(), Error>;

    /// Handles the outcome of a flush of the stream.
    fn handle_flush(&mut self, now: Duration, flushed: io::Result<()>) -> Result<(), Error>;

    /// Notes how far the transfer is in the end.
    fn finish(&mut self, now: Duration);

    /// Returns its connection, for the buffers and the notes.
    fn connection(&mut self) -> &mut Connection;
}
