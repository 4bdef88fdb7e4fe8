//! Facts that a session reports to an application, and the sum of them at the end.

use super::entry::Kind;
use super::id::{EntryId, TransferId};
use super::path::RelPath;
use super::reason::{Refusal, Withdrawal};
use super::receipt::Receipt;

/// A fact about a session. Sender and receiver report the same facts, each from its side.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Both sides have greeted; entries follow.
    Greeted {
        /// The transfer.
        transfer: TransferId,
        /// Number of this connection of the transfer: from 1, and above those of all connections before it.
        attempt: u32,
        /// The version of the protocol that both speak.
        version: u16,
    },
    /// An entry was offered.
    Offered {
        /// The entry.
        entry: EntryId,
        /// Its name.
        path: RelPath,
        /// Kind of the entry.
        kind: Kind,
        /// Its size in bytes, if known.
        size: Option<u64>,
    },
    /// More bytes are known to have arrived: verified and written. `bytes` never goes back.
    Progress {
        /// Bytes of content that the receiver holds, of all entries so far.
        bytes: u64,
        /// Bytes of content of all entries offered so far, as far as they are known.
        offered: u64,
    },
    /// The receiver vouches for an entry: it has all of it, under this name and as safely as the receipt says, and no
    /// later failure changes that. In a transfer this is reported once for an entry, over all its connections.
    ///
    /// At the sender, the receipt has come. At the receiver, the store has ended the commit, and the receipt is on its
    /// way: if it is lost with the connection, the sender receives it on the next one, or learns that the content is
    /// [held](super::Outcome::Held) when it sends the entry again.
    Delivered {
        /// The entry.
        entry: EntryId,
        /// The receipt.
        receipt: Receipt,
    },
    /// The receiver has a file of the size and the time of an entry, which is taken for unchanged. It was not read.
    Trusted {
        /// The entry.
        entry: EntryId,
        /// Its name.
        path: RelPath,
        /// Its size in bytes.
        size: u64,
    },
    /// The receiver does not take an entry, or could not keep it.
    Refused {
        /// The entry.
        entry: EntryId,
        /// Its name as offered; `None` at a receiver that could not accept the name.
        path: Option<RelPath>,
        /// Reason of the receiver.
        reason: Refusal,
    },
    /// The sender took an entry back.
    Withdrawn {
        /// The entry.
        entry: EntryId,
        /// Its name.
        path: RelPath,
        /// Reason of the sender.
        reason: Withdrawal,
    },
    /// Blocks arrived damaged and are asked for again.
    Repairing {
        /// The entry.
        entry: EntryId,
        /// Number of blocks.
        blocks: u64,
    },
    /// The peer lives, and reports what it is busy with.
    Waiting {
        /// Activity of the peer.
        activity: Activity,
    },
}

/// The sum of a session, or of all sessions of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Entries that the receiver vouched for.
    pub delivered: u64,
    /// Number of those that are files, and not folders or links.
    pub files: u64,
    /// Number of those that it held already.
    pub held: u64,
    /// Bytes of content that the receiver vouched for.
    pub bytes: u64,
    /// Files that were taken for unchanged by their size and time, and not verified; see
    /// [`Compare::SizeAndTime`](crate::config::Compare::SizeAndTime).
    pub trusted: u64,
    /// Entries that were skipped by the wish of either side's user: [`Refusal::Skipped`], [`Withdrawal::is_skip`].
    pub skipped: u64,
    /// Entries that the receiver refused, or could not keep.
    pub refused: u64,
    /// Entries that the sender could not send, or took back.
    pub withdrawn: u64,
    /// Bytes among [`bytes`](Summary::bytes) that the receiver had before this transfer. Zeros that it made itself are
    /// none of them.
    pub already: u64,
    /// Bytes of content that travelled, also of entries that were refused or withdrawn in the end.
    pub sent: u64,
    /// Bytes among [`sent`](Summary::sent) that had travelled before. A sender counts what was lost with a connection, a
    /// receiver what came to it twice.
    pub resent: u64,
    /// Turns of the sender that gave the floor to the receiver, greetings not counted. Both sides count the same, save
    /// for a turn with which the connection was lost.
    pub turns: u64,
    /// The sender never announced that all was sent: its connection was lost when all that it had offered was settled,
    /// and it did not come again. There may be more that it has not offered. It concerns a [`Server`](crate::Server)
    /// that serves [one transfer](crate::Server::run_once).
    pub lacks_goodbye: bool,
}

impl Summary {
    /// Returns whether every entry is held by the receiver, or was taken for unchanged or skipped by a
    /// user's wish.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.refused == 0 && self.withdrawn == 0
    }

    /// Returns the number of entries that came to an end, whatever it was.
    pub(crate) const fn settled(&self) -> u64 {
        let delivered = self.delivered.saturating_add(self.trusted);
        let others = self.skipped.saturating_add(self.refused).saturating_add(self.withdrawn);
        delivered.saturating_add(others)
    }

    pub(crate) fn travel(&mut self, bytes: usize, again: bool) {
        self.sent = self.sent.saturating_add(bytes as u64);
        if again {
            self.resent = self.resent.saturating_add(bytes as u64);
        }
    }

    pub(crate) fn refuse(&mut self, reason: Refusal) {
        let count = if reason == Refusal::Skipped { &mut self.skipped } else { &mut self.refused };
        *count = count.saturating_add(1);
    }

    pub(crate) fn withdraw(&mut self, reason: Withdrawal) {
        let count = if reason.is_skip() { &mut self.skipped } else { &mut self.withdrawn };
        *count = count.saturating_add(1);
    }
}

/// Activity of a side that has the floor and nothing to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// The sender waits for its source.
    Reading,
    /// The receiver hashes what it holds.
    Verifying,
    /// The receiver waits for its device to sync.
    Syncing,
    /// The receiver has no place for the sender yet, and keeps it in line.
    Queued,
}
