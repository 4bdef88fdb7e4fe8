//! Progress of a transfer.

use super::id::EntryId;

/// Progress of a transfer, in bytes of content, over all its connections.
///
/// Of content that is on its way nobody knows yet whether it arrives: [`pending`](Progress::pending) counts it apart from what
/// the receiver is known to hold. When a connection is lost, it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes that the sender's stream took, or that the receiver's gave. Those that travel twice count twice. It never goes back.
    ///
    /// Its growth over time is the rate of the transfer. A stream with a buffer, such as a socket, takes more at its start than has
    /// travelled.
    pub sent: u64,
    /// Bytes that the receiver is known to hold, verified and written. It never goes back.
    pub acknowledged: u64,
    /// Bytes beyond those that were sent on this connection, or that the receiver has as the sender found; a receiver counts what
    /// has come of a block.
    pub pending: u64,
    /// Bytes among both that the receiver had before this transfer.
    pub already: u64,
    /// Bytes of all entries offered so far, as far as their sizes are known, without those that are taken for unchanged by their
    /// times.
    pub offered: u64,
    /// The entry whose content went over the stream last.
    pub entry: Option<EntryId>,
}
