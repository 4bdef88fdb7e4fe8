//! A store that fails when it is told to.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::proto::{EntryId, Offer, Refusal};
use crate::store::{Begun, Commit, Ended, Place, Standing, Store, refusal_of};

/// An operation of a [`Store`] that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Store::begin`].
    Begin,
    /// [`Store::read_at`].
    Read,
    /// [`Store::write_at`].
    Write,
    /// [`Store::copy_held`].
    Copy,
    /// [`Store::commit`]: the store behind suspends the entry, and the commit ends with the failure.
    Commit,
}

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// With an error of the system; where the store gives a refusal, with what
    /// [`refusal_of`] makes of it.
    Io(io::ErrorKind),
    /// With a refusal; where the store gives an error of the system, with [`io::ErrorKind::Other`].
    Refusal(Refusal),
}

/// Which call of an operation fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    operation: Operation,
    first: u64,
    last: u64,
    failure: Failure,
}

/// Passes everything on to another store, save the calls that are to fail.
#[derive(Debug)]
pub struct FaultStore<S> {
    inner: S,
    faults: Vec<Fault>,
    calls: [u64; 5],
    failed: u64,
    ended: VecDeque<(EntryId, Refusal)>,
}

impl Fault {
    /// The call with this number fails, counted from 0, and no other.
    #[must_use]
    pub const fn once(operation: Operation, call: u64, failure: Failure) -> Self {
        Self { operation, first: call, last: call, failure }
    }

    /// The call with this number fails, counted from 0, and all after it.
    #[must_use]
    pub const fn from(operation: Operation, call: u64, failure: Failure) -> Self {
        Self { operation, first: call, last: u64::MAX, failure }
    }
}

impl<S> FaultStore<S> {
    /// Passes everything on.
    #[must_use]
    pub const fn new(inner: S) -> Self {
        Self { inner, faults: Vec::new(), calls: [0; 5], failed: 0, ended: VecDeque::new() }
    }

    /// Adds a fault. Of several that concern one call, the first that was added counts.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// How many times an operation was called.
    #[must_use]
    pub const fn calls(&self, operation: Operation) -> u64 {
        self.calls[operation as usize]
    }

    /// How many calls were made to fail: a test that expects one should see it.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    /// The store behind.
    #[must_use]
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    fn call(&mut self, operation: Operation) -> Result<(), Failure> {
        let calls = &mut self.calls[operation as usize];
        let call = *calls;
        *calls += 1;
        let hit = |fault: &&Fault| {
            fault.operation == operation && (fault.first..=fault.last).contains(&call)
        };
        match self.faults.iter().find(hit) {
            Some(fault) => {
                self.failed += 1;
                Err(fault.failure)
            }
            None => Ok(()),
        }
    }
}

impl Failure {
    fn refusal(self) -> Refusal {
        match self {
            Self::Io(kind) => refusal_of(&kind.into()),
            Self::Refusal(refusal) => refusal,
        }
    }

    fn error(self) -> io::Error {
        match self {
            Self::Io(kind) => kind.into(),
            Self::Refusal(refusal) => io::Error::other(refusal),
        }
    }
}

impl<S: Store> Store for FaultStore<S> {
    type File = S::File;

    fn holds_content(&mut self) -> bool {
        self.inner.holds_content()
    }

    fn standing(&mut self, offer: &Offer) -> Option<Standing> {
        self.inner.standing(offer)
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<Begun<S::File>, Refusal> {
        self.call(Operation::Begin).map_err(Failure::refusal)?;
        self.inner.begin(offer, place)
    }

    fn read_at(&mut self, file: &mut S::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(Operation::Read).map_err(Failure::error)?;
        self.inner.read_at(file, offset, buffer)
    }

    fn write_at(&mut self, file: &mut S::File, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.call(Operation::Write).map_err(Failure::refusal)?;
        self.inner.write_at(file, offset, bytes)
    }

    fn copy_held(&mut self, file: &mut S::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.call(Operation::Copy).map_err(Failure::refusal)?;
        self.inner.copy_held(file, offset, len)
    }

    fn commit(&mut self, file: S::File, commit: Commit) {
        match self.call(Operation::Commit) {
            Ok(()) => self.inner.commit(file, commit),
            Err(failure) => {
                self.inner.suspend(file);
                self.ended.push_back((commit.entry, failure.refusal()));
            }
        }
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(EntryId, Ended<S::File>)> {
        match self.ended.pop_front() {
            Some((entry, refusal)) => Some((entry, Err(refusal.into()))),
            None => self.inner.poll_committed(wait),
        }
    }

    fn suspend(&mut self, file: S::File) {
        self.inner.suspend(file);
    }

    fn discard(&mut self, file: S::File) {
        self.inner.discard(file);
    }
}
