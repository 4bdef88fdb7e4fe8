//! A store that keeps nothing, for tests of what a session costs beside its content.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use haul::Store;
use haul::store::{Committed, Ended};
use haul::types::{Commit, Found, Offer, Place, Refusal, Ticket};

/// Takes everything and keeps nothing.
#[derive(Default)]
pub(crate) struct Nowhere {
    pub(crate) commits: VecDeque<Commit>,
    /// Commits end when they are waited for, and one at a time.
    pub(crate) is_lazy: bool,
}

impl Store for Nowhere {
    type File = ();

    fn begin(&mut self, _: &Offer, _: Place) -> Result<((), Found), Refusal> {
        Ok(((), Found::Fresh))
    }

    fn read_at(&mut self, _: &mut (), _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&mut self, _: &mut (), _: u64, _: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    fn copy_held(&mut self, _: &mut (), _: u64, _: u64) -> Result<(), Refusal> {
        Ok(())
    }

    fn commit(&mut self, _: (), commit: Commit) {
        self.commits.push_back(commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<()>)> {
        if self.is_lazy && wait.is_zero() {
            return None;
        }
        let commit = self.commits.pop_front()?;
        Some((commit.ticket, Ok(Committed::new(commit.meta.path))))
    }

    fn suspend(&mut self, (): ()) {}

    fn discard(&mut self, (): ()) {}
}
