//! Phase of an entry, and the messages that have a place in it.
//!
//! | phase | `Block` | `Zeros` | `Same` | `Claim` | `End` | `Withdraw` |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | `Opening` | misplaced | misplaced | misplaced | misplaced | misplaced | taken |
//! | `Stale` | misplaced | misplaced | misplaced | misplaced | misplaced | taken |
//! | `Awaited` | misplaced | misplaced | misplaced | misplaced | misplaced | taken |
//! | `Comparing` | misplaced | misplaced | misplaced | taken | misplaced | taken |
//! | `Replacing` | taken | taken | taken | misplaced | taken | taken |
//! | `Wanted` | taken | taken | misplaced | misplaced | taken | taken |
//! | `Filling` | taken | taken | taken | misplaced | taken | taken |
//! | `Waiting` | misplaced | misplaced | misplaced | misplaced | misplaced | misplaced |
//! | `Committing` | misplaced | misplaced | misplaced | misplaced | misplaced | misplaced |
//! | `Dropped` | ignored | ignored | ignored | ignored | ignored | taken |
//!
//! A `Claim` has a place once, and only after it was asked for; an `End` of one that is `Wanted` only if it is empty, or is to be
//! asked for again.

use crate::hash::Hash;
use crate::proto::wire::message::Name;
use crate::types::Outcome;

/// Phase of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The store is asked what it holds.
    Opening,
    /// The entry was offered by time, and has changed, which is not sent yet.
    Stale,
    /// The change was sent: the entry will be offered again.
    Awaited,
    /// A file has the final name; is it the one that is offered? The sender's claim is awaited, or that file is hashed.
    Comparing,
    /// A file has the final name that will be replaced: its blocks are reported, and all that was sent of them so far is
    /// that they are the same.
    Replacing,
    /// The entry was offered by its root, and is not held: nothing is open until its content comes.
    Wanted,
    /// Its blocks are being written.
    Filling,
    /// A folder, which waits for what was offered before it.
    Waiting,
    /// The store makes it durable and gives it its name.
    Committing { size: u64, root: Hash, outcome: Outcome },
    /// Bad news about it is to be sent with the floor; until then the sender goes on about it.
    Dropped,
}

/// Treatment of a message about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// The message is dealt with.
    Taken,
    /// The message has no effect: the sender has yet to receive the bad news.
    Ignored,
    /// The message breaks a rule.
    Misplaced,
}

impl Phase {
    /// Returns what becomes of a message of this kind: the table above.
    pub(super) const fn admits(self, kind: Name) -> Admission {
        match (self, kind) {
            (Self::Committing { .. } | Self::Waiting, _) => Admission::Misplaced,
            (_, Name::Withdraw)
            | (
                Self::Filling | Self::Replacing | Self::Wanted,
                Name::Block | Name::Zeros | Name::End,
            )
            | (Self::Filling | Self::Replacing, Name::Same)
            | (Self::Comparing, Name::Claim) => Admission::Taken,
            (Self::Dropped, _) => Admission::Ignored,
            _ => Admission::Misplaced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phase_admits_every_message_as_the_table_says() {
        let (size, root, outcome) = (0, Hash::of(&[]), Outcome::Stored);
        let phases = [
            Phase::Opening,
            Phase::Stale,
            Phase::Awaited,
            Phase::Comparing,
            Phase::Replacing,
            Phase::Wanted,
            Phase::Filling,
            Phase::Waiting,
            Phase::Committing { size, root, outcome },
            Phase::Dropped,
        ];
        let rows = include_str!("phase.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
        let cells = |row: &'static str| row.split('|').map(|cell| cell.trim_matches([' ', '`']));
        let rows: Vec<Vec<_>> = rows.map(|row| cells(row).collect()).collect();
        assert_eq!(rows.len(), phases.len() + 2);
        for (phase, row) in phases.into_iter().zip(&rows[2..]) {
            assert_eq!(format!("{phase:?}").split(' ').next(), Some(row[0]));
            for kind in Name::ALL {
                let Some(at) = rows[0].iter().position(|cell| *cell == format!("{kind:?}")) else {
                    continue;
                };
                let admission = format!("{:?}", phase.admits(kind)).to_lowercase();
                assert_eq!(admission, row[at], "{kind:?} in {phase:?}");
            }
        }
    }
}
