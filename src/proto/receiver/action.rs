//! Requests of the receiver's machine to its caller.

use std::time::Duration;

use super::super::connection::Consumed;
use crate::types::{Commit, EntryId, Event, Offer, Place, Summary};

/// Action that the caller must take now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum ReceiveAction {
    /// Tell the application.
    Event(Event),
    /// Look what stands under the name of the offer, and call [`Receiver::handle_stat`](super::Receiver::handle_stat).
    Stat {
        /// The offer.
        offer: Offer,
    },
    /// Read `len` bytes of a file, and call [`Receiver::handle_read`](super::Receiver::handle_read).
    Read {
        /// The entry.
        entry: EntryId,
        /// File of the entry.
        which: Which,
        /// Offset of the bytes.
        offset: u64,
        /// Number of bytes.
        len: usize,
    },
    /// Copy `len` bytes from the file that will be replaced to their place, read them there, and call
    /// [`Receiver::handle_read`](super::Receiver::handle_read).
    Copy {
        /// The entry.
        entry: EntryId,
        /// Offset of the bytes.
        offset: u64,
        /// Number of bytes.
        len: usize,
    },
    /// Make a run of content zeros, and call [`Receiver::handle_written`](super::Receiver::handle_written).
    WriteZeros {
        /// The entry.
        entry: EntryId,
        /// Offset of the run.
        offset: u64,
        /// Length of the run: at most 16 MiB.
        len: u64,
    },
    /// Close what is open of the entry, begin it, and call [`Receiver::handle_begun`](super::Receiver::handle_begun).
    Begin {
        /// The offer.
        offer: Offer,
        /// Under which name.
        place: Place,
    },
    /// Start the commit of a file. What else is open of the entry is kept if it is that of the existing one.
    Commit {
        /// File of the entry.
        which: Which,
        /// Order to the store.
        commit: Commit,
    },
    /// Close what is open of an entry, and keep it for a later attempt.
    Suspend {
        /// The entry.
        entry: EntryId,
    },
    /// Close what is open of an entry, and remove it.
    Discard {
        /// The entry.
        entry: EntryId,
    },
    /// Wait until a commit ended, and call [`Receiver::handle_committed`](super::Receiver::handle_committed); or until the floor need
    /// not be [kept](super::Receiver::keep_floor); or [`Receiver::poll`](super::Receiver::poll) at `until`.
    AwaitCommit {
        /// Time at which something else is due.
        until: Duration,
    },
    /// Read from the stream, and call [`Receiver::handle_input`](super::Receiver::handle_input); or [`Receiver::poll`](super::Receiver::poll) at `until`, if nothing came.
    Await {
        /// The next deadline.
        until: Duration,
    },
    /// Close the stream: every entry is settled.
    Closed(Summary),
}

/// The file of an entry that a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "no third file can have the name")]
pub enum Which {
    /// The entry's own: what the store began for it.
    Own,
    /// The one that has the name which the entry was to get, see [`Receiver::handle_taken`](super::Receiver::handle_taken).
    Existing,
}

/// Outcome of the input.
///
/// Unless it was consumed, [poll](super::Receiver::poll) again, do what each action asks, and give
/// [`handle_input`](super::Receiver::handle_input) the same input at the next [`ReceiveAction::Await`].
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub enum Step<'a> {
    /// Nothing is asked for.
    Consumed(Consumed),
    /// The store has something to do first, which the next [poll](super::Receiver::poll) gives.
    Poll,
    /// Write verified content, and call [`Receiver::handle_written`](super::Receiver::handle_written).
    Write {
        /// The entry.
        entry: EntryId,
        /// Offset of the content.
        offset: u64,
        /// The content, borrowed from the input.
        bytes: &'a [u8],
    },
}
