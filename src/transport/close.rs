//! Closing a socket so that the peer gets what was written.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// What closing asks of a socket.
pub(super) trait Closing {
    /// Says that nothing will follow.
    fn finish(&self) -> io::Result<()>;

    /// Waits for at most so long for what the peer still says.
    fn read_within(&mut self, wait: Duration, scratch: &mut [u8]) -> io::Result<usize>;
}

/// Says that nothing will follow, then reads and forgets until the peer closes, is silent, or the time is over.
///
/// Closing a socket that has unread input tells the peer of an error, which can destroy the last bytes on their way to it.
pub(super) fn gracefully(socket: &mut impl Closing, at_most: Duration) {
    if at_most.is_zero() || socket.finish().is_err() {
        return;
    }
    let start = Instant::now();
    let mut scratch = [0; 16 * 1024];
    loop {
        let wait = at_most.saturating_sub(start.elapsed()).min(QUIET);
        if wait < SHORTEST {
            return;
        }
        match socket.read_within(wait, &mut scratch) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// Silence after which a peer is taken to have nothing more to say. Longer than most round trips, within which a peer that
/// is in the middle of something sends again; short enough not to be felt where the peer is slow to close.
const QUIET: Duration = Duration::from_millis(200);

/// A timeout of zero would be none.
const SHORTEST: Duration = Duration::from_millis(1);
