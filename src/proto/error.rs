//! Faults of a peer: one variant for each broken rule, with the numbers that show it.

use std::fmt;
use std::time::Duration;

use super::wire::message::Name;
use crate::types::{AbortCode, EntryId};

/// A rule of the protocol that the peer broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A message of an unknown kind that must be understood.
    #[error("unknown message kind {kind:#04x}")]
    UnknownKind {
        /// Its number.
        kind: u8,
    },
    /// A message that announces more than its kind, or the limits in force, allow.
    #[error("{kind:?} announces {control} bytes of control and {payload} of payload")]
    BadLength {
        /// Its kind.
        kind: Name,
        /// The announced length of its control part.
        control: u32,
        /// The announced length of its payload.
        payload: u32,
    },
    /// A message whose control part does not have the layout of its kind.
    #[error("{kind:?} does not have the layout of its kind")]
    Malformed {
        /// Its kind.
        kind: Name,
    },
    /// A message that has no place in this state of the session.
    #[error("{kind:?} has no place here")]
    Unexpected {
        /// Its kind.
        kind: Name,
    },
    /// A message that has no place in this state of its entry.
    #[error("{kind:?} has no place in the state of entry {entry}")]
    UnexpectedForEntry {
        /// Its kind.
        kind: Name,
        /// The entry.
        entry: EntryId,
    },
    /// A greeting on a stream that is not the only one of its transfer.
    #[error("the greeting is for link {link}, and a transfer has link 0 alone")]
    UnknownLink {
        /// The number of the link.
        link: u16,
    },
    /// A receiver that numbers the attempt in another way than its sender did, or not at all.
    #[error("the greeting answers attempt {sent} as attempt {received}")]
    WrongAttempt {
        /// Attempt that the sender sent; 0: it claims one.
        sent: u32,
        /// Attempt that the receiver sent.
        received: u32,
    },
    /// A greeting that was sent on another channel than it came by: somebody stands between both sides, or passes on
    /// what was recorded.
    #[error("the greeting belongs to another channel than it came by")]
    OtherChannel,
    /// An entry that was never offered, or that is settled.
    #[error("{kind:?} names entry {entry}, which is not pending")]
    UnknownEntry {
        /// The kind of the message.
        kind: Name,
        /// The entry.
        entry: EntryId,
    },
    /// An offer whose id does not follow those before it.
    #[error("entry {entry} is offered out of order")]
    EntryOutOfOrder {
        /// The entry.
        entry: EntryId,
    },
    /// More entries pending, or open, than this side announced that it takes.
    #[error("entry {entry} is offered past the limit of {limit} pending ones")]
    TooManyPending {
        /// The entry.
        entry: EntryId,
        /// The limit.
        limit: u32,
    },
    /// Names of pending entries take more than this side announced that it takes.
    #[error("the names of pending entries take more than {limit} bytes")]
    TooManyNames {
        /// The limit.
        limit: u32,
    },
    /// A block, or a range of blocks, past the end of its file.
    #[error("block {index} of entry {entry} is past its end at {blocks} blocks")]
    BlockBeyondEnd {
        /// The entry.
        entry: EntryId,
        /// The first block past the end.
        index: u64,
        /// Number of blocks of the file.
        blocks: u64,
    },
    /// A block that is not as long as its place asks for.
    #[error("block {index} of entry {entry} has {bytes} bytes instead of {expected}")]
    BlockLength {
        /// The entry.
        entry: EntryId,
        /// The block.
        index: u64,
        /// Its length.
        bytes: u64,
        /// The length that its place asks for.
        expected: u64,
    },
    /// A block that was sent before and was right.
    #[error("block {index} of entry {entry} comes again")]
    BlockAgain {
        /// The entry.
        entry: EntryId,
        /// The block.
        index: u64,
    },
    /// Blocks announced as equal to those held, which were never reported as held.
    #[error("block {index} of entry {entry} is called the same, but was not reported as held")]
    NotHeld {
        /// The entry.
        entry: EntryId,
        /// The block.
        index: u64,
    },
    /// A final size that contradicts the size offered, or blocks that came.
    #[error("entry {entry} ends at {size} bytes, against what was said before")]
    SizeContradicts {
        /// The entry.
        entry: EntryId,
        /// The final size.
        size: u64,
    },
    /// A receipt for content that was not sent, of less than all of it, or, after a claim, of anything but what was there.
    #[error("the receipt for entry {entry} does not match what was sent")]
    FalseReceipt {
        /// The entry.
        entry: EntryId,
    },
    /// A turn with more bytes than both sides agreed on.
    #[error("a turn of more than {limit} bytes")]
    TurnTooLong {
        /// The limit.
        limit: u64,
    },
    /// A sender that waits for an answer where the receiver has none to give: it has nothing pending, or what is pending has to be
    /// sent by itself.
    #[error("the sender waits for an answer that nothing it sent asks for")]
    WaitsForNothing,
}

/// Bytes that changed on the way, or a stream that is not what it should be. Sending again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The header of a message does not match its check.
    #[error("the header of message {number} does not match its check")]
    Header {
        /// The number of the message in its direction, counted from 0.
        number: u64,
    },
    /// The control part of a message does not match its check.
    #[error("the control part of message {number} does not match its check")]
    Control {
        /// The number of the message in its direction, counted from 0.
        number: u64,
    },
    /// Blocks of one entry came damaged more often than the limits allow to repair.
    #[error("entry {entry} came damaged {rounds} times")]
    TooOften {
        /// The entry.
        entry: EntryId,
        /// The limit that was reached.
        rounds: u32,
    },
}

/// Reason why no session came about with the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Incompatible {
    /// The first bytes are not those of a haul peer. Where they are 15 03, an alert of TLS, that peer may be one of haul
    /// that talks by `transport::secure` alone.
    #[error("the peer does not speak haul (its first bytes are {first:02x?})")]
    NotHaul {
        /// The first bytes, as far as they came; zero beyond.
        first: [u8; 8],
    },
    /// The peer supports other versions of the protocol.
    #[error("the peer supports versions {min} to {max} of the protocol, we {our_min} to {our_max}")]
    Version {
        /// The peer's oldest.
        min: u16,
        /// The peer's newest.
        max: u16,
        /// Our oldest.
        our_min: u16,
        /// Our newest.
        our_max: u16,
    },
    /// The peer needs features that we do not have.
    #[error("the peer needs features {features:#x}, which we do not have")]
    Features {
        /// The features that we lack, as bits.
        features: u32,
    },
    /// Both sides send, or both receive.
    #[error("both sides want to be the {}", if *sender { "sender" } else { "receiver" })]
    SameRole {
        /// Both are senders.
        sender: bool,
    },
}

/// Deadline that passed; see [`Deadlines`](crate::config::Deadlines).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Stall {
    /// The peer's greeting was not complete in time.
    #[error("no greeting from the peer within {} s", after.as_secs())]
    Hello {
        /// The deadline.
        after: Duration,
    },
    /// The peer had the floor and sent no byte.
    #[error("no byte from the peer for {} s", after.as_secs())]
    Silence {
        /// The deadline.
        after: Duration,
    },
    /// The peer took no byte.
    #[error("the peer took no byte for {} s", after.as_secs())]
    Write {
        /// The deadline.
        after: Duration,
    },
    /// The peer took bytes, but too few in the time.
    #[error("the peer took only {bytes} bytes in {} s", after.as_secs())]
    Drip {
        /// Number of bytes that it took.
        bytes: u64,
        /// The deadline.
        after: Duration,
    },
    /// Bytes came, but no message was complete in time.
    #[error("no complete message from the peer within {} s", after.as_secs())]
    Progress {
        /// The deadline.
        after: Duration,
    },
    /// Heartbeats came, and nothing else.
    #[error("nothing but heartbeats from the peer for {} s", after.as_secs())]
    Idle {
        /// The deadline.
        after: Duration,
    },
}

/// A call of the API that has no place here. Nothing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misuse {
    /// A completion for something that was not asked for.
    #[error("a completion for something that was not asked for")]
    NotAsked,
    /// A completion with more bytes than were asked for.
    #[error("a completion with more bytes than were asked for")]
    TooMuch,
    /// A receiver to take over that is not one of an earlier attempt at the same transfer, or too late.
    #[error("no earlier attempt at the same transfer to adopt")]
    Earlier,
    /// Input while an action is queued: poll until [`Await`](super::ReceiveAction::Await), do what each action asks, and give
    /// the same input then.
    #[error("input while an action is queued; poll and do it first")]
    ActionDue,
    /// Input while an answer to the last request is due.
    #[error("input while an answer to the last request is due")]
    AnswerDue,
    /// Input that does not begin with the message of which a part is dealt with: give the same input until it is consumed.
    #[error("input does not begin with the message in progress")]
    OtherInput,
}

/// Reason why a core ended without success. It stays: every later call gives the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer broke a rule.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// Bytes changed on the way.
    #[error("damaged on the way: {0}")]
    Damaged(#[from] Damage),
    /// No common ground with the peer.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// The peer ended the session.
    #[error("the peer {0}")]
    Aborted(AbortCode),
    /// A deadline passed.
    #[error(transparent)]
    Stalled(#[from] Stall),
    /// This side was stopped.
    #[error("cancelled")]
    Cancelled,
    /// This side ended the session, and informed the peer.
    #[error("ended by this side: it {}", OfThisSide(*.0))]
    Ended(AbortCode),
    /// The API was called in a way that makes no sense.
    #[error(transparent)]
    Misuse(#[from] Misuse),
}

impl Error {
    /// Returns the code that tells the peer, if telling it makes sense.
    #[must_use]
    pub const fn abort_code(&self) -> Option<AbortCode> {
        match self {
            Self::Protocol(_) => Some(AbortCode::Protocol),
            Self::Damaged(_) => Some(AbortCode::Damaged),
            Self::Incompatible(Incompatible::NotHaul { .. }) | Self::Aborted(_) => None,
            Self::Incompatible(_) => Some(AbortCode::Incompatible),
            Self::Stalled(_) => Some(AbortCode::Stalled),
            Self::Cancelled => Some(AbortCode::Cancelled),
            Self::Ended(code) => Some(*code),
            Self::Misuse(_) => Some(AbortCode::Failed),
        }
    }

    /// Returns whether a new connection can help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Stalled(_) => true,
            Self::Aborted(AbortCode::Leaving) => true,
            Self::Aborted(code) | Self::Ended(code) => {
                let passes = matches!(code, AbortCode::Busy | AbortCode::Exhausted);
                passes || matches!(code, AbortCode::Damaged | AbortCode::Stalled)
            }
            Self::Protocol(_) | Self::Incompatible(_) | Self::Cancelled | Self::Misuse(_) => false,
        }
    }
}

/// A reason of this side, after "it". The texts of [`AbortCode`] are those of a peer.
struct OfThisSide(AbortCode);

impl fmt::Display for OfThisSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == AbortCode::NotAdmitted {
            f.write_str("does not admit the peer")
        } else {
            self.0.fmt(f)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_tells_which_side_does_not_admit_which() {
        let of_peer = Error::Aborted(AbortCode::NotAdmitted).to_string();
        assert_eq!(of_peer, "the peer does not admit this side");
        let own = Error::Ended(AbortCode::NotAdmitted).to_string();
        assert_eq!(own, "ended by this side: it does not admit the peer");
        let busy = Error::Ended(AbortCode::Busy).to_string();
        assert_eq!(busy, "ended by this side: it is busy");
    }
}
