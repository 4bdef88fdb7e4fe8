//! A store that keeps nothing but the count of what it was given, so that a bench measures the way and not the
//! destination, and can still tell that all of it arrived.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use haul::store::{Committed, Ended, MemorySource};
use haul::types::{Commit, Found, Offer, Place, Refusal, Ticket};
use haul::{RelPath, Store};

/// Takes everything and holds nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Discard {
    /// Bytes that were given to be written.
    pub(crate) written: u64,
    ended: VecDeque<(Ticket, RelPath)>,
}

impl Store for Discard {
    type File = RelPath;

    fn begin(&mut self, offer: &Offer, _: Place) -> Result<(RelPath, Found), Refusal> {
        Ok((offer.meta.path.clone(), Found::Fresh))
    }

    fn read_at(&mut self, _: &mut RelPath, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&mut self, _: &mut RelPath, _: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.written += std::hint::black_box(bytes).len() as u64;
        Ok(())
    }

    fn copy_held(&mut self, _: &mut RelPath, _: u64, _: u64) -> Result<(), Refusal> {
        Err(Refusal::Policy)
    }

    fn commit(&mut self, file: RelPath, commit: Commit) {
        self.ended.push_back((commit.ticket, file));
    }

    fn poll_committed(&mut self, _: Duration) -> Option<(Ticket, Ended<RelPath>)> {
        let (ticket, path) = self.ended.pop_front()?;
        Some((ticket, Ok(Committed::new(path))))
    }

    fn suspend(&mut self, _: RelPath) {}

    fn discard(&mut self, _: RelPath) {}
}

/// Runs all candidates by turns, round after round, and prints how long each takes against the first of its own round.
///
/// Criterion measures one candidate after the other. Where a machine is shared its speed drifts meanwhile, by more than
/// candidates differ; within a round it has little time to. What is printed are the quartiles of the ratios.
pub(crate) fn compare(group: &str, names: &[String], mut run: impl FnMut(usize)) {
    // Without `--bench`, cargo only wants to know that it runs.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 21 } else { 1 };
    let mut ratios = vec![Vec::new(); names.len()];
    for _ in 0..rounds {
        let mut first = None;
        for (number, ratios) in ratios.iter_mut().enumerate() {
            let began = Instant::now();
            run(number);
            let time = began.elapsed().as_secs_f64();
            ratios.push(time / *first.get_or_insert(time));
        }
    }
    for (name, ratios) in names.iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        let quartile = |quarter: usize| ratios[(ratios.len() - 1) * quarter / 4];
        let (low, median, high) = (quartile(1), quartile(2), quartile(3));
        println!("{group}: {name} takes {median:.2} [{low:.2} {high:.2}] of {}", names[0]);
    }
}

/// Returns one file of so many bytes.
pub(crate) fn source(bytes: usize) -> MemorySource {
    #[expect(clippy::expect_used, reason = "the name is the one in this line")]
    let path = RelPath::parse(b"content").expect("the name is safe");
    MemorySource::new().file(path, (1..=251).cycle().take(bytes).collect::<Vec<u8>>())
}
