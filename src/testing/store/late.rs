//! A store whose commits start and end late, twice, and among those of another session.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::store::{Committed, Ended, Store, Uncommitted};
use crate::types::{Commit, FileStat, Found, Offer, Place, PublicKey, Refusal, Ticket, TransferId};

/// A store that reports late that a commit of another store ended, and, where it is set to, starts it late, reports
/// its end twice, or reports ends that nobody asked for.
///
/// To say a thing twice is against the contract of a [`Store`]. A receiver does not rely on that: neither changes what
/// it does. To start commits in another order than they were given is against it too.
#[derive(Debug)]
pub struct LateStore<S: Store> {
    inner: S,
    polls: u32,
    asked: u32,
    twice: bool,
    strangers: bool,
    start: Start,
    commits: u64,
    under_way: u64,
    /// Ends to report before the next commit that ended.
    stray: VecDeque<(Ticket, Ended<S::File>)>,
    strays: u64,
    /// Commits that were given to it, and not yet to the other store.
    held: VecDeque<(S::File, Commit)>,
}

/// Time at which the other store is given a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    AtOnce,
    Late,
    NewestFirst,
}

impl<S: Store> LateStore<S> {
    /// Passes everything on to `inner`, and is asked `polls` times in vain before it reports that a commit
    /// ended.
    #[must_use]
    pub const fn new(inner: S, polls: u32) -> Self {
        Self {
            inner,
            polls,
            asked: 0,
            twice: false,
            strangers: false,
            start: Start::AtOnce,
            commits: 0,
            under_way: 0,
            stray: VecDeque::new(),
            strays: 0,
            held: VecDeque::new(),
        }
    }

    /// Gives each commit to the other store only when it is about to say that it ended: until then what was there
    /// before has the name.
    #[must_use]
    pub const fn held(mut self) -> Self {
        self.start = Start::Late;
        self
    }

    /// Returns the same store, which reports the newest of them first.
    #[must_use]
    pub const fn newest_first(mut self) -> Self {
        self.start = Start::NewestFirst;
        self
    }

    /// Reports each end of a commit twice.
    #[must_use]
    pub const fn twice(mut self) -> Self {
        self.twice = true;
        self
    }

    /// Reports before each end of a commit that one of another session has ended, which had the same
    /// number.
    #[must_use]
    pub const fn strangers(mut self) -> Self {
        self.strangers = true;
        self
    }

    /// Returns the store behind it.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Returns the number of reported ends of commits that nobody asked for: a test that expects some
    /// should see them.
    #[must_use]
    pub const fn strays(&self) -> u64 {
        self.strays
    }

    fn report_again(&mut self, ticket: Ticket, ended: &Ended<S::File>) {
        let again = match ended {
            Ok(committed) => Ok(committed.clone()),
            Err(Uncommitted::Failed(reason)) => Err(Uncommitted::Failed(*reason)),
            // Its files are given back once.
            Err(Uncommitted::Taken { .. }) => Err(Uncommitted::Failed(Refusal::Exists)),
        };
        self.stray.push_back((ticket, again));
    }
}

impl<S: Store> Store for LateStore<S> {
    type File = S::File;

    fn holds_content(&mut self) -> bool {
        self.inner.holds_content()
    }

    fn identify(&mut self, key: Option<PublicKey>) {
        self.inner.identify(key);
    }

    fn serve(&mut self, transfer: TransferId) {
        self.inner.serve(transfer);
    }

    fn stat(&mut self, offer: &Offer) -> Option<FileStat> {
        self.inner.stat(offer)
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(S::File, Found), Refusal> {
        self.inner.begin(offer, place)
    }

    fn read_at(&mut self, file: &mut S::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(file, offset, buffer)
    }

    fn write_at(&mut self, file: &mut S::File, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.inner.write_at(file, offset, bytes)
    }

    fn write_zeros(&mut self, file: &mut S::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.inner.write_zeros(file, offset, len)
    }

    fn copy_held(&mut self, file: &mut S::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(file, offset, len)
    }

    fn commit(&mut self, file: S::File, commit: Commit) {
        if self.strangers {
            let committed = Committed::new(commit.meta.path.clone());
            self.stray.push_back((Ticket::new(STRANGER, self.commits), Ok(committed)));
        }
        self.commits += 1;
        self.under_way += 1;
        if self.start == Start::AtOnce {
            self.inner.commit(file, commit);
        } else {
            self.held.push_back((file, commit));
        }
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<S::File>)> {
        if let Some(stray) = self.stray.pop_front() {
            self.strays = self.strays.saturating_add(1);
            return Some(stray);
        }
        if self.under_way > 0 && self.asked < self.polls {
            self.asked += 1;
            return None;
        }
        let next = match self.start {
            Start::NewestFirst => self.held.pop_back(),
            Start::AtOnce | Start::Late => self.held.pop_front(),
        };
        if let Some((file, commit)) = next {
            self.inner.commit(file, commit);
        }
        let (ticket, ended) = self.inner.poll_committed(wait)?;
        self.asked = 0;
        self.under_way = self.under_way.saturating_sub(1);
        if self.twice {
            self.report_again(ticket, &ended);
        }
        Some((ticket, ended))
    }

    fn suspend(&mut self, file: S::File) {
        self.inner.suspend(file);
    }

    fn discard(&mut self, file: S::File) {
        self.inner.discard(file);
    }
}

/// Beginning of the tickets of no session.
const STRANGER: [u8; 16] = *b"another session!";
