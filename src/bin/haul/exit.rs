//! Exit codes: the one place where what happened becomes a number.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use haul::transport::secure::SecureError;
use haul::types::{AbortCode, Refusal, Withdrawal};
use haul::{Error, SessionError, Summary};
use signal_hook::consts::{SIGINT, SIGTERM};

/// End of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Code {
    /// All is done.
    #[default]
    Done = 0,
    /// This side failed.
    Local = 1,
    /// The command was called wrongly.
    Usage = 2,
    /// The peer or the transport failed.
    Peer = 3,
    /// A policy refused it, of either side.
    Refused = 4,
    /// The user stopped it, with Ctrl-C or [another signal](Stopped).
    Interrupted = 130,
}

/// Signal that asked the process to end, if any did.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopped(Arc<AtomicI32>);

/// Side of a transfer that this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Sender,
    Receiver,
}

/// An end without success, and its reason: one line, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stop {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Code {
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the code for a whole transfer; `entries` is that of its entries so far, see
    /// [`Code::and`].
    pub(crate) fn of(ended: &Result<Summary, Error>, entries: Self, side: Side) -> Self {
        match ended {
            Err(error) => Self::of_error(error),
            Ok(summary) if summary.is_complete() || entries != Self::Done => entries,
            // Unheard of: the events tell of each entry. But success must not be reported.
            Ok(summary) if summary.refused > 0 => Self::of_refusal(Refusal::Policy, side),
            Ok(_) => Self::of_withdrawal(Withdrawal::Changed, side),
        }
    }

    pub(crate) fn of_error(error: &Error) -> Self {
        match error {
            Error::Transport { source, .. } if is_unexpected(source) => Self::Refused,
            Error::Local { .. } => Self::Local,
            Error::Session(error) => Self::of_session(error),
            // Transport, and what a later version adds.
            _ => Self::Peer,
        }
    }

    const fn of_session(error: &SessionError) -> Self {
        match error {
            SessionError::Misuse(_)
            | SessionError::Ended(AbortCode::Failed | AbortCode::Busy | AbortCode::Exhausted) => {
                Self::Local
            }
            SessionError::Ended(AbortCode::Policy | AbortCode::NotAdmitted)
            | SessionError::Aborted(AbortCode::Policy | AbortCode::NotAdmitted) => Self::Refused,
            SessionError::Ended(AbortCode::Cancelled) | SessionError::Cancelled => {
                Self::Interrupted
            }
            // Peer, damage, no common ground, a deadline, and what a later version adds.
            _ => Self::Peer,
        }
    }

    /// Returns the code for an entry that the receiver does not hold.
    pub(crate) const fn of_refusal(reason: Refusal, side: Side) -> Self {
        match reason {
            Refusal::Skipped => Self::Done,
            Refusal::NoSpace { .. }
            | Refusal::Denied
            | Refusal::ReadOnly
            | Refusal::Store { .. }
            | Refusal::Sync { .. }
            | Refusal::Gone
            | Refusal::Tampered => match side {
                Side::Sender => Self::Peer,
                Side::Receiver => Self::Local,
            },
            Refusal::Mismatch => Self::Peer,
            // What exists, names, kinds, sizes, numbers, and what a later version adds.
            _ => Self::Refused,
        }
    }

    /// Returns the code for an entry that the sender could not send.
    pub(crate) const fn of_withdrawal(reason: Withdrawal, side: Side) -> Self {
        match side {
            _ if reason.is_skip() => Self::Done,
            Side::Sender => Self::Local,
            Side::Receiver => Self::Peer,
        }
    }

    /// Returns the code for two things that happened: the one that a script would rather know of.
    pub(crate) const fn and(self, other: Self) -> Self {
        if self.weight() < other.weight() { other } else { self }
    }

    const fn weight(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Peer => 2,
            Self::Local => 3,
            Self::Usage => 4,
            Self::Interrupted => 5,
        }
    }
}

impl Stopped {
    /// Takes note of the signal, before anything is ended for it.
    pub(crate) fn note(&self, signal: i32) {
        self.0.store(signal, Ordering::Relaxed);
    }

    /// Returns whether it was SIGTERM, by which services are ended.
    pub(crate) fn is_by_service(&self) -> bool {
        self.0.load(Ordering::Relaxed) == SIGTERM
    }

    /// Returns the number of a code: for what a signal ended, 128 and that of the signal, as shells have it.
    pub(crate) fn number(&self, code: Code) -> u8 {
        let signal = match self.0.load(Ordering::Relaxed) {
            0 => SIGINT,
            signal => signal,
        };
        match code {
            Code::Interrupted => u8::try_from(128 + signal).unwrap_or(code.number()),
            code => code.number(),
        }
    }
}

/// Returns whether somebody else is there than is expected.
fn is_unexpected(source: &io::Error) -> bool {
    let secure = source.get_ref().and_then(|inner| inner.downcast_ref::<SecureError>());
    matches!(secure, Some(SecureError::Unexpected { .. }))
}

impl Side {
    /// Returns the name of the other side.
    pub(crate) const fn other(self) -> &'static str {
        match self {
            Self::Sender => "receiver",
            Self::Receiver => "sender",
        }
    }
}

impl Stop {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use haul::proto::{Damage, Incompatible, Misuse, ProtocolError, Stall};
    use haul::types::EntryId;
    use haul::{Operation, StoreOperation};

    use super::*;

    #[test]
    fn code_of_every_error_stands_in_the_table() {
        let io = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let operations = [
            Operation::Connect,
            Operation::Accept,
            Operation::Read,
            Operation::Write,
            Operation::Rewind,
            Operation::Source,
            Operation::Store,
            Operation::Spawn,
        ];
        let mut table = Vec::new();
        for operation in operations {
            table.push((Error::Transport { operation, source: io() }, 3));
            table.push((Error::Local { operation, source: io() }, 1));
        }
        let sessions: [(SessionError, u8); 9] = [
            (ProtocolError::WaitsForNothing.into(), 3),
            (Damage::TooOften { entry: EntryId::new(0), rounds: 1 }.into(), 3),
            (Incompatible::NotHaul { first: [0; 8] }.into(), 3),
            (Incompatible::Version { min: 2, max: 3, our_min: 1, our_max: 1 }.into(), 3),
            (Incompatible::Features { features: 1 }.into(), 3),
            (Incompatible::SameRole { sender: true }.into(), 3),
            (Stall::Silence { after: Duration::ZERO }.into(), 3),
            (SessionError::Cancelled, 130),
            (Misuse::NotAsked.into(), 1),
        ];
        table.extend(sessions.map(|(error, number)| (Error::Session(error), number)));
        let aborts = [
            (AbortCode::Cancelled, 3, 130),
            (AbortCode::Protocol, 3, 3),
            (AbortCode::Incompatible, 3, 3),
            (AbortCode::Stalled, 3, 3),
            (AbortCode::Failed, 3, 1),
            (AbortCode::Superseded, 3, 3),
            (AbortCode::Busy, 3, 1),
            (AbortCode::Exhausted, 3, 1),
            (AbortCode::Policy, 4, 4),
            (AbortCode::Damaged, 3, 3),
            (AbortCode::Leaving, 3, 3),
            (AbortCode::NotAdmitted, 4, 4),
        ];
        for (code, by_peer, by_us) in aborts {
            table.push((Error::Session(SessionError::Aborted(code)), by_peer));
            table.push((Error::Session(SessionError::Ended(code)), by_us));
        }
        for (error, number) in table {
            let shown = format!("{error:?}");
            assert_eq!(Code::of_error(&error).number(), number, "{shown}");
            assert_eq!(
                Code::of(&Err(error), Code::Refused, Side::Sender).number(),
                number,
                "{shown}"
            );
        }
    }

    #[test]
    fn code_of_every_refusal_stands_in_the_table() {
        let table = [
            (Refusal::Exists, 4, 4),
            (Refusal::Skipped, 0, 0),
            (Refusal::KindClash, 4, 4),
            (Refusal::Name, 4, 4),
            (Refusal::Collision, 4, 4),
            (Refusal::Kind, 4, 4),
            (Refusal::TooLarge { size: 2, limit: 1 }, 4, 4),
            (Refusal::TooMuch { limit: 1 }, 4, 4),
            (Refusal::TooMany { limit: 1 }, 4, 4),
            (Refusal::NoSpace { needed: 2, available: 1 }, 3, 1),
            (Refusal::Denied, 3, 1),
            (Refusal::ReadOnly, 3, 1),
            (Refusal::Store { code: 5, operation: StoreOperation::Write }, 3, 1),
            (Refusal::Sync { code: 5 }, 3, 1),
            (Refusal::Mismatch, 3, 3),
            (Refusal::Policy, 4, 4),
            (Refusal::Gone, 3, 1),
            (Refusal::Tampered, 3, 1),
            (Refusal::NameTooLong, 4, 4),
            (Refusal::HiddenName, 4, 4),
            (Refusal::KeptOut, 4, 4),
        ];
        for (reason, sender, receiver) in table {
            assert_eq!(Code::of_refusal(reason, Side::Sender).number(), sender, "{reason:?}");
            assert_eq!(Code::of_refusal(reason, Side::Receiver).number(), receiver, "{reason:?}");
        }
    }

    #[test]
    fn code_of_every_withdrawal_but_a_wish_blames_the_sender() {
        let all = [
            Withdrawal::Vanished,
            Withdrawal::Changed,
            Withdrawal::Denied,
            Withdrawal::Unreadable { code: 5 },
            Withdrawal::Kind,
            Withdrawal::Name,
            Withdrawal::NameTooLong,
            Withdrawal::LinkEscapes,
            Withdrawal::Spent,
            Withdrawal::FalseSize,
        ];
        for reason in all {
            assert_eq!(Code::of_withdrawal(reason, Side::Sender), Code::Local);
            assert_eq!(Code::of_withdrawal(reason, Side::Receiver), Code::Peer);
        }
        for reason in [Withdrawal::Link, Withdrawal::Partial, Withdrawal::Secret] {
            assert_eq!(Code::of_withdrawal(reason, Side::Sender), Code::Done);
            assert_eq!(Code::of_withdrawal(reason, Side::Receiver), Code::Done);
        }
    }

    #[test]
    fn code_of_summary_that_is_not_complete_is_never_success() {
        for side in [Side::Sender, Side::Receiver] {
            assert_eq!(Code::of(&Ok(Summary::default()), Code::Done, side), Code::Done);
            let mut refused = Summary::default();
            refused.refused = 1;
            assert_eq!(Code::of(&Ok(refused), Code::Done, side), Code::Refused);
            assert_eq!(Code::of(&Ok(refused), Code::Peer, side), Code::Peer);
            let mut withdrawn = Summary::default();
            withdrawn.withdrawn = 1;
            assert_ne!(Code::of(&Ok(withdrawn), Code::Done, side), Code::Done);
        }
    }

    #[test]
    fn code_of_a_signal_is_128_and_its_number() {
        let stopped = Stopped::default();
        assert_eq!(stopped.number(Code::Interrupted), 130);
        for (signal, number, is_by_service) in [(1, 129, false), (2, 130, false), (15, 143, true)] {
            stopped.note(signal);
            assert_eq!(stopped.number(Code::Interrupted), number);
            assert_eq!(stopped.number(Code::Refused), 4);
            assert_eq!(stopped.is_by_service(), is_by_service);
        }
    }

    #[test]
    fn code_of_two_things_does_not_depend_on_their_order() {
        let all =
            [Code::Done, Code::Local, Code::Usage, Code::Peer, Code::Refused, Code::Interrupted];
        for a in all {
            assert_eq!(a.and(Code::Done), a);
            for b in all {
                assert_eq!(a.and(b), b.and(a));
            }
        }
    }
}
