//! Ends of a server's transfers, for the exit code of one that serves a single transfer.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use haul::Summary;
use haul::types::TransferId;

use crate::exit::Code;

/// State that the sessions of a server leave for each other, and for the end of the command.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Transfers whose connection was lost. Invariant: at most [`MOST`].
    lost: VecDeque<(TransferId, Lost)>,
    /// Transfers whose senders announced that they are done. Invariant: at most [`MOST`].
    ended: VecDeque<(Summary, Code)>,
    /// Number of transfers that were cut, among the lost that were forgotten.
    forgotten: u64,
}

/// State that the earlier connections of a transfer leave for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The code of what became of the entries.
    pub(crate) entries: Code,
    /// Time at which the first of them began.
    pub(crate) began: Instant,
    /// Set if something was offered, so that something may be missing until the sender comes again.
    pub(crate) is_cut: bool,
}

impl Ends {
    /// Takes note that a connection was lost.
    pub(crate) fn lost(&self, transfer: TransferId, lost: Lost) {
        let mut state = self.state();
        let first = push(&mut state.lost, (transfer, lost));
        state.forgotten += u64::from(first.is_some_and(|(_, first)| first.is_cut));
    }

    /// Returns the number of transfers whose connections were lost, and that did not come again.
    pub(crate) fn cut(&self) -> u64 {
        let state = self.state();
        let cut = state.lost.iter().filter(|(_, lost)| lost.is_cut);
        let transfers: HashSet<_> = cut.map(|(transfer, _)| transfer).collect();
        state.forgotten + transfers.len() as u64
    }

    /// Returns what the earlier connections of a transfer left, if there were any.
    pub(crate) fn take_lost(&self, transfer: TransferId) -> Option<Lost> {
        let lost = &mut self.state().lost;
        let mut left: Option<Lost> = None;
        lost.retain(|(of, lost)| {
            let is_other = *of != transfer;
            if !is_other {
                left = Some(left.map_or(*lost, |left| Lost {
                    entries: left.entries.and(lost.entries),
                    began: left.began.min(lost.began),
                    is_cut: left.is_cut || lost.is_cut,
                }));
            }
            is_other
        });
        left
    }

    /// Takes note that a sender has announced that it is done.
    pub(crate) fn ended(&self, summary: &Summary, code: Code) {
        if has_settled(summary) {
            let _ = push(&mut self.state().ended, (*summary, code));
        }
    }

    /// Returns the code for the transfer of this sum: the worst one, if there are several. `None`: its sender never
    /// announced that it was done.
    pub(crate) fn code(&self, summary: &Summary) -> Option<Code> {
        let state = self.state();
        let codes = state.ended.iter().filter(|(ended, _)| ended == summary);
        codes.map(|(_, code)| *code).reduce(Code::and)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether anything was settled: a sender that offered nothing ends no server, and strangers can do that as often as they
/// like.
pub(crate) fn has_settled(summary: &Summary) -> bool {
    let Summary { delivered, trusted, skipped, refused, .. } = *summary;
    [delivered, trusted, skipped, refused].into_iter().any(|count| count > 0)
}

/// Adds an item, and returns the one that is forgotten for it.
fn push<T>(into: &mut VecDeque<T>, item: T) -> Option<T> {
    let first = if into.len() >= MOST { into.pop_front() } else { None };
    into.push_back(item);
    first
}

/// Most transfers that are kept, as many as there can be sessions: what is forgotten with more of them makes a code
/// less exact, and never a success.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(entries: Code) -> Lost {
        Lost { entries, began: Instant::now(), is_cut: entries == Code::Peer }
    }

    fn refused(turns: u64) -> Summary {
        let mut summary = Summary::default();
        (summary.refused, summary.turns) = (1, turns);
        summary
    }

    #[test]
    fn ends_of_a_sender_that_never_said_so_are_no_success() {
        let ends = Ends::default();
        let mut summary = Summary::default();
        summary.delivered = 1;
        ends.ended(&Summary::default(), Code::Done);
        ends.lost(TransferId::new([1; 16]), lost(Code::Done));
        assert_eq!(ends.code(&summary), None);
        ends.ended(&summary, Code::Done);
        assert_eq!(ends.code(&summary), Some(Code::Done));
    }

    #[test]
    fn ends_of_equal_sums_are_the_worst_of_them() {
        let ends = Ends::default();
        for code in [Code::Refused, Code::Local, Code::Done] {
            ends.ended(&refused(1), code);
        }
        ends.ended(&refused(2), Code::Refused);
        assert_eq!(ends.code(&refused(1)), Some(Code::Local));
        assert_eq!(ends.code(&refused(2)), Some(Code::Refused));
    }

    #[test]
    fn ends_of_lost_connections_are_those_of_their_transfer() {
        let ends = Ends::default();
        let [one, other] = [1, 2].map(|id| TransferId::new([id; 16]));
        let [first, second] = [lost(Code::Local), lost(Code::Done)];
        ends.lost(one, first);
        ends.lost(other, lost(Code::Refused));
        ends.lost(one, second);
        assert_eq!(ends.take_lost(one), Some(first), "its time is that of all of them");
        assert_eq!(ends.take_lost(one), None);
        assert_eq!(ends.take_lost(other).map(|lost| lost.entries), Some(Code::Refused));
    }

    #[test]
    fn ends_are_bounded_whatever_strangers_do() {
        let ends = Ends::default();
        for number in 0..3 * MOST as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_le_bytes());
            ends.lost(TransferId::new(id), lost(Code::Peer));
            ends.ended(&refused(number), Code::Peer);
        }
        assert_eq!(ends.cut(), 3 * MOST as u64, "what is forgotten is no success");
        let state = ends.state();
        assert_eq!((state.lost.len(), state.ended.len()), (MOST, MOST));
    }

    #[test]
    fn ends_of_transfers_that_were_cut_count_until_they_come_again() {
        let ends = Ends::default();
        let [one, other] = [1, 2].map(|id| TransferId::new([id; 16]));
        for code in [Code::Peer, Code::Done, Code::Peer] {
            ends.lost(one, lost(code));
        }
        ends.lost(other, lost(Code::Done));
        assert_eq!(ends.cut(), 1, "of the other nothing was offered");
        assert!(ends.take_lost(one).is_some_and(|lost| lost.is_cut));
        assert_eq!(ends.cut(), 0);
    }
}
