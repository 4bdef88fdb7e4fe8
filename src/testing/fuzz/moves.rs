//! Further acts in sessions, chosen by the end of an input.

use std::num::NonZeroU32;
use std::time::Duration;

use super::super::choices::Choices;
use super::super::pair::Line;
use super::super::store::{Failure, Fault, FaultSource, LateStore, SourceCall};
use super::path;
use super::scarce::Troubled;
use crate::store::{Foul, MemorySource};

/// Nothing, unless an input chooses so.
#[derive(Debug)]
pub(super) struct Moves<'a> {
    how: u8,
    /// Number of times that a store is asked in vain whether a commit ended.
    polls: u32,
    faults: Vec<Fault<SourceCall>>,
    choices: Choices<'a>,
}

/// Successor of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// As the rest of the input chooses.
    Said,
    /// A sender that was restarted, with the same transfer.
    Sender,
    /// The same, which claims no attempt.
    Forgetful,
    /// Another transfer, of another source, with the same store.
    Other,
}

impl<'a> Moves<'a> {
    /// Splits an input into its beginning and the moves that its end chooses.
    pub(super) fn of(data: &'a [u8]) -> (&'a [u8], Self) {
        let Some((rest, [said @ .., MARK])) = data.split_last_chunk::<LEN>() else {
            let choices = Choices::new(&[]);
            return (data, Self { how: 0, polls: 0, faults: Vec::new(), choices });
        };
        let mut choices = Choices::new(said);
        let (how, polls) = (choices.byte(), choices.below(32).into());
        let faults = (0..choices.below(3)).map(|_| fault(&mut choices)).collect();
        (rest, Self { how, polls, faults, choices })
    }

    /// Decisions that are yet to be made.
    pub(super) const fn choices(&mut self) -> &mut Choices<'a> {
        &mut self.choices
    }

    /// Returns whether files have times, and are offered by them.
    pub(super) const fn trusts_times(&self) -> bool {
        self.how & 1 == 1
    }

    /// Returns a source whose files cannot all be read.
    pub(super) fn source(&self, source: &MemorySource) -> FaultSource<MemorySource> {
        let source = FaultSource::new(source.clone());
        self.faults.iter().fold(source, |source, fault| source.fault(*fault))
    }

    /// Returns a store whose commits end late, twice, and among those of others.
    pub(super) fn late(&self, store: Troubled) -> LateStore<Troubled> {
        let mut late = LateStore::new(store, self.polls);
        if self.how & 2 != 0 {
            late = late.twice();
        }
        if self.how & 4 != 0 {
            late = late.strangers();
        }
        late
    }

    pub(super) fn way(&mut self) -> Way {
        match self.choices.below(4) {
            1 => Way::Sender,
            2 => Way::Other,
            3 => Way::Forgetful,
            _ => Way::Said,
        }
    }

    /// Makes both lines slow, with a buffer; the reader of one of them may stop.
    pub(super) fn slow(&mut self, lines: [&mut Line; 2], now: Duration) {
        if self.how & 16 == 0 {
            return;
        }
        for line in lines {
            let how = self.choices.byte();
            let rates = [u32::MAX, 2_400, 33_000, 1_000_000];
            let buffers = [1, 300, 8_000, 4 << 20];
            let rate = NonZeroU32::new(rates[usize::from(how % 4)]).unwrap_or(NonZeroU32::MAX);
            line.slow(rate, buffers[usize::from(how / 4 % 4)], now);
            if how >= 0xE0 {
                line.jam(u64::from(self.choices.word() % 8192));
            }
        }
    }

    /// Returns the acts of somebody else on the files of the store during a connection: after each step of both sides
    /// one thing, or nothing.
    pub(super) fn fouls(&mut self) -> Fouls {
        let count = if self.how & 8 == 0 { 0 } else { self.choices.below(12) };
        let mut after = 0;
        let mut all = Vec::new();
        for _ in 0..count {
            after += u32::from(self.choices.byte() % 32);
            let (kind, which) = (self.choices.below(6), usize::from(self.choices.byte()));
            let mut name = || path(NAMES[usize::from(self.choices.below(8))]);
            // Content that nobody sends.
            let bytes = vec![0xEE; 1 + 10 * which];
            let foul = match kind {
                0 => Foul::SwapPartial(which, bytes),
                1 => Foul::RemovePartial(which),
                2 => Foul::RenamePartial(which, which / 7),
                3 => Foul::Put(name(), bytes),
                4 => Foul::Remove(which),
                _ => Foul::Rename(which, name()),
            };
            all.push((after, foul));
        }
        all.reverse();
        Fouls { steps: 0, all }
    }

    #[cfg(test)]
    pub(super) const fn is_none(&self) -> bool {
        self.how == 0 && self.choices.is_empty()
    }
}

/// Things that are done, each after so many steps.
#[derive(Debug)]
pub(super) struct Fouls {
    steps: u32,
    /// The next one last.
    all: Vec<(u32, Foul)>,
}

impl Fouls {
    /// Takes note of a step; returns the act that follows it.
    pub(super) fn next(&mut self) -> Option<Foul> {
        self.steps += 1;
        let steps = self.steps;
        self.all.pop_if(|(after, _)| *after <= steps).map(|(_, foul)| foul)
    }
}

fn fault(choices: &mut Choices<'_>) -> Fault<SourceCall> {
    let operations = [SourceCall::Open, SourceCall::Read, SourceCall::Finish];
    let operation = operations[usize::from(choices.below(3))];
    let (how, call) = (choices.byte(), choices.below(32).into());
    let failure = Failure::Os(if how & 2 == 0 { 5 } else { 13 });
    if how & 1 == 0 {
        Fault::once(operation, call, failure)
    } else {
        Fault::from(operation, call, failure)
    }
}

/// Few, so that they meet; some collide by case, and some as folder and file.
pub(super) const NAMES: [&[u8]; 8] = [b"a", b"b", b"A", b"c/d", b"c/e", b"c", b"f", b"g"];

/// End of an input that chooses moves; what stands before it keeps its meaning.
const MARK: u8 = b'^';

/// Number of bytes of that end, with the mark.
const LEN: usize = 64;
