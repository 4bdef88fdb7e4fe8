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
//! What happens to an entry moves it on; `—` cannot happen there:
//!
//! | phase | `Begun` | `NotHeld` | `PutOff` | `Compared` | `Replaced` | `Differs` | `Changed` | `Told` | `Waits` | `Whole` | `Refused` |
//! | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
//! | `Opening` | `Filling` | `Wanted` | `Wanted` | `Comparing` | `Replacing` | `Opening` | `Stale` | — | `Waiting` | `Committing` | `Dropped` |
//! | `Stale` | — | — | — | — | — | — | — | `Awaited` | — | — | — |
//! | `Awaited` | — | — | — | — | — | — | — | — | — | — | — |
//! | `Comparing` | — | — | — | — | — | `Opening` | — | — | — | `Committing` | `Dropped` |
//! | `Replacing` | `Filling` | — | — | — | `Replacing` | `Opening` | — | — | — | `Committing` | `Dropped` |
//! | `Wanted` | `Filling` | — | `Wanted` | — | — | — | — | — | — | — | `Dropped` |
//! | `Filling` | — | — | `Wanted` | — | — | `Opening` | — | — | — | `Committing` | `Dropped` |
//! | `Waiting` | — | — | — | — | — | — | — | — | — | `Committing` | — |
//! | `Committing` | — | — | — | — | — | — | — | — | — | — | — |
//! | `Dropped` | — | — | — | — | — | — | — | — | — | — | — |
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

/// Something that happens to an entry, and moves it to another phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    /// The store has begun it: its content is written.
    Begun,
    /// Nothing has its name, and it was offered by its root.
    NotHeld,
    /// Nothing of it is open any more, or yet: it is begun with its content.
    PutOff,
    /// A file has its name that may be the same.
    Compared,
    /// A file has its name that will be replaced.
    Replaced,
    /// Held content is that of another file, or closed: it begins anew.
    Differs,
    /// Another time or size than it was offered with.
    Changed,
    /// The sender was told so.
    Told,
    /// A folder waits for what was offered before it.
    Waits,
    /// All of it is there.
    Whole { size: u64, root: Hash, outcome: Outcome },
    /// Bad news: it cannot go on.
    Refused,
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
    /// Returns the phase after this one: the second table above. `None`: that cannot happen.
    pub(super) const fn after(self, turned: Turned) -> Option<Self> {
        Some(match (self, turned) {
            (Self::Opening | Self::Replacing | Self::Wanted, Turned::Begun) => Self::Filling,
            (Self::Opening, Turned::NotHeld)
            | (Self::Opening | Self::Wanted | Self::Filling, Turned::PutOff) => Self::Wanted,
            (Self::Opening, Turned::Compared) => Self::Comparing,
            (Self::Opening | Self::Replacing, Turned::Replaced) => Self::Replacing,
            (
                Self::Opening | Self::Comparing | Self::Replacing | Self::Filling,
                Turned::Differs,
            ) => Self::Opening,
            (Self::Opening, Turned::Changed) => Self::Stale,
            (Self::Stale, Turned::Told) => Self::Awaited,
            (Self::Opening, Turned::Waits) => Self::Waiting,
            (
                Self::Opening | Self::Comparing | Self::Replacing | Self::Filling | Self::Waiting,
                Turned::Whole { size, root, outcome },
            ) => Self::Committing { size, root, outcome },
            (
                Self::Opening | Self::Comparing | Self::Replacing | Self::Wanted | Self::Filling,
                Turned::Refused,
            ) => Self::Dropped,
            _ => return None,
        })
    }

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

    const PHASES: [Phase; 10] = [
        Phase::Opening,
        Phase::Stale,
        Phase::Awaited,
        Phase::Comparing,
        Phase::Replacing,
        Phase::Wanted,
        Phase::Filling,
        Phase::Waiting,
        Phase::Committing { size: 0, root: Hash::from_bytes([0; 32]), outcome: Outcome::Stored },
        Phase::Dropped,
    ];

    /// Returns the cells of a table above, whose head has this one, below its head.
    fn table(head: &str) -> (Vec<&'static str>, Vec<Vec<&'static str>>) {
        let rows = include_str!("phase.rs").lines().map(|line| line.strip_prefix("//! | "));
        let cells = |row: &'static str| row.split('|').map(|cell| cell.trim_matches([' ', '`']));
        let mut rows = rows.map(|row| row.map(|row| cells(row).collect::<Vec<_>>()));
        let head = rows.by_ref().flatten().find(|row| row.contains(&head)).unwrap();
        let rows: Vec<_> = rows.map_while(|row| row).skip(1).collect();
        let phases = PHASES.map(|phase| format!("{phase:?}").split(' ').next().unwrap().to_owned());
        assert!(rows.iter().map(|row| row[0]).eq(phases));
        (head, rows)
    }

    #[test]
    fn phase_admits_every_message_as_the_table_says() {
        let (head, rows) = table("Block");
        for (phase, row) in PHASES.into_iter().zip(rows) {
            for kind in Name::ALL {
                let Some(at) = head.iter().position(|cell| *cell == format!("{kind:?}")) else {
                    continue;
                };
                let admission = format!("{:?}", phase.admits(kind)).to_lowercase();
                assert_eq!(admission, row[at], "{kind:?} in {phase:?}");
            }
        }
    }

    #[test]
    fn phase_is_followed_by_the_one_that_the_table_says() {
        let (size, root, outcome) = (0, Hash::of(&[]), Outcome::Stored);
        let turns = [
            Turned::Begun,
            Turned::NotHeld,
            Turned::PutOff,
            Turned::Compared,
            Turned::Replaced,
            Turned::Differs,
            Turned::Changed,
            Turned::Told,
            Turned::Waits,
            Turned::Whole { size, root, outcome },
            Turned::Refused,
        ];
        let name = |shown: String| shown.split(' ').next().unwrap().to_owned();
        let (head, rows) = table("Begun");
        assert!(head[1..=turns.len()].iter().eq(&turns.map(|turned| name(format!("{turned:?}")))));
        for (phase, row) in PHASES.into_iter().zip(rows) {
            for (turned, cell) in turns.into_iter().zip(&row[1..]) {
                let next =
                    phase.after(turned).map_or("—".into(), |next| name(format!("{next:?}")));
                assert_eq!(next, *cell, "{turned:?} in {phase:?}");
            }
        }
    }
}
