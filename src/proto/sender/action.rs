//! Requests of the sender's machine to its caller.

use std::time::Duration;

use crate::types::ReadRequest;
use crate::types::{EntryId, Event, Summary};

/// Action that the caller must take now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum SendAction {
    /// Tell the application.
    Event(Event),
    /// Ask the source for its next entry, and call [`Sender::handle_entry`](super::Sender::handle_entry), [`Sender::handle_unsendable`](super::Sender::handle_unsendable) or
    /// [`Sender::handle_exhausted`](super::Sender::handle_exhausted).
    NextEntry,
    /// Read content, and call [`Sender::handle_read`](super::Sender::handle_read) or [`Sender::handle_withdrawn`](super::Sender::handle_withdrawn).
    Read(ReadRequest),
    /// Tell the source that everything before `offset` has arrived.
    Release {
        /// The entry.
        entry: EntryId,
        /// Offset from which content is still needed.
        offset: u64,
    },
    /// Close the entry: it is settled, and will not be asked for again.
    Forget {
        /// The entry.
        entry: EntryId,
    },
    /// Read from the stream, and call [`Sender::handle_input`](super::Sender::handle_input); or [`Sender::poll`](super::Sender::poll) at `until`, if nothing came.
    Await {
        /// The next deadline.
        until: Duration,
    },
    /// Flush and close the stream: every entry is settled.
    Closed(Summary),
}
