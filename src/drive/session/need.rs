//! Needs of a session, which whoever runs it meets.

use std::time::Duration;

use super::super::admit::Greeting;
use crate::types::Summary;

/// Need of a session: once it is met, the session is stepped again.
#[derive(Debug)]
pub(in crate::drive) enum Need {
    /// Bytes of the stream, or a tick.
    Read,
    /// The stream is to take bytes.
    Write,
    /// The stream is to be flushed.
    Flush,
    /// Work of the source or the store, which may block.
    Work,
    /// The end of a commit, or so much time.
    Commit(Duration),
    /// So much time, or less: the limit on the rate asks for it.
    Pause(Duration),
    /// The [notes](super::Note) are to be passed on.
    Report,
    /// An answer of those who know of other sessions.
    Answer(Question),
    /// Nothing: the session has ended well.
    Nothing(Summary),
}

/// Question of a receiving session to those who know of others.
#[derive(Debug)]
pub(in crate::drive) enum Question {
    /// A sender has greeted: asks for the way on. `attempt`: that of the sender, if it does not claim one.
    Greeted { greeting: Greeting, attempt: Option<u32> },
    /// The sender has passed the floor: asks for leave to go on, which is waited for at most so long.
    Admission { wait: Duration },
    /// The sender has offered something: asks for a place.
    Seat,
    /// The sender has had nothing to send for long: asks for one that waits for its place.
    Yield,
}
