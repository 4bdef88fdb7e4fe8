//! A store and a source that fail on demand.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::store::{Ended, Source, Store, Uncommitted, Unsendable, refusal_of, withdrawal_of};
use crate::types::{
    Commit, FileStat, Found, Meta, Offer, Place, PublicKey, Refusal, StoreOperation, Ticket,
    TransferId, Withdrawal,
};

/// An operation of a [`Store`] that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreCall {
    /// [`Store::stat`]: nothing seems to stand there.
    Stat,
    /// [`Store::begin`].
    Begin,
    /// [`Store::read_at`].
    Read,
    /// [`Store::write_at`]: the store behind gets the first half of the bytes, as where a device is full.
    Write,
    /// [`Store::copy_held`]: of the first half, likewise.
    Copy,
    /// [`Store::commit`]: the store behind suspends the entry, and the commit ends with the failure.
    Commit,
    /// [`Store::poll_committed`] with a commit that ended. An entry that has its name keeps it, and is not vouched for,
    /// as where a folder cannot be synced; one whose name is taken is suspended.
    Settle,
    /// [`Store::suspend`]: nobody is informed, and what was written is gone.
    Suspend,
    /// [`Store::discard`]: nobody is informed, and what was written stays.
    Discard,
}

/// An operation of a [`Source`] that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceCall {
    /// [`Source::rewind`].
    Rewind,
    /// [`Source::next_entry`], of an entry that is there: it cannot be sent.
    Next,
    /// [`Source::open`].
    Open,
    /// [`Source::read_at`].
    Read,
    /// [`Source::finish`].
    Finish,
}

/// Way in which an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// With an error of the system; where the store gives a refusal, with what
    /// [`refusal_of`] makes of it, and where a source gives a withdrawal, with what [`withdrawal_of`] does.
    Io(io::ErrorKind),
    /// Likewise, with the error of this number: `errno`.
    Os(i32),
    /// With a refusal; where an error of the system is given, with [`io::ErrorKind::Other`].
    Refusal(Refusal),
}

/// Call of an operation that fails, and the way in which it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault<O = StoreCall> {
    operation: O,
    first: u64,
    last: u64,
    failure: Failure,
}

/// Store that passes everything on to another one, save the calls that are to fail.
///
/// All of what a small session asks of a store can so be made to fail in turn, in microseconds: count the
/// [`calls`](FaultStore::calls) of a session without faults, then run one for each of them.
#[derive(Debug)]
pub struct FaultStore<S> {
    inner: S,
    plan: Plan<StoreCall, 9>,
    ended: VecDeque<(Ticket, Refusal)>,
}

/// Source that passes everything on to another one, save the calls that are to fail.
#[derive(Debug)]
pub struct FaultSource<S> {
    inner: S,
    plan: Plan<SourceCall, 5>,
}

/// Calls that are to fail, and calls so far: one count for each operation.
#[derive(Debug)]
struct Plan<O, const OPERATIONS: usize> {
    faults: Vec<Fault<O>>,
    calls: [u64; OPERATIONS],
    failed: u64,
}

impl StoreCall {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::Stat,
        Self::Begin,
        Self::Read,
        Self::Write,
        Self::Copy,
        Self::Commit,
        Self::Settle,
        Self::Suspend,
        Self::Discard,
    ];
}

impl StoreCall {
    /// Returns the name of the operation in a [`Refusal`].
    const fn named(self) -> StoreOperation {
        match self {
            Self::Stat => StoreOperation::Stat,
            Self::Begin => StoreOperation::Open,
            Self::Read => StoreOperation::Read,
            Self::Write => StoreOperation::Write,
            Self::Copy => StoreOperation::Copy,
            Self::Commit | Self::Settle => StoreOperation::Commit,
            Self::Suspend | Self::Discard => StoreOperation::Unspecified,
        }
    }
}

impl SourceCall {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Rewind, Self::Next, Self::Open, Self::Read, Self::Finish];
}

impl<O> Fault<O> {
    /// Fails the call with this number, counted from 0, and no other.
    #[must_use]
    pub const fn once(operation: O, call: u64, failure: Failure) -> Self {
        Self { operation, first: call, last: call, failure }
    }

    /// Fails the call with this number, counted from 0, and all after it.
    #[must_use]
    pub const fn from(operation: O, call: u64, failure: Failure) -> Self {
        Self { operation, first: call, last: u64::MAX, failure }
    }
}

impl Failure {
    /// Returns the refusal of an entry by a store that fails so in this operation.
    #[must_use]
    pub fn refusal(self, operation: StoreCall) -> Refusal {
        match self {
            Self::Refusal(refusal) => refusal,
            Self::Io(_) | Self::Os(_) => refusal_of(operation.named(), &self.error()),
        }
    }

    /// Returns the withdrawal of an entry by a source that fails so.
    #[must_use]
    pub fn withdrawal(self) -> Withdrawal {
        withdrawal_of(&self.error())
    }

    fn error(self) -> io::Error {
        match self {
            Self::Io(kind) => kind.into(),
            Self::Os(code) => io::Error::from_raw_os_error(code),
            Self::Refusal(refusal) => io::Error::other(refusal),
        }
    }
}

impl<O: Copy + PartialEq, const OPERATIONS: usize> Plan<O, OPERATIONS> {
    const fn new() -> Self {
        Self { faults: Vec::new(), calls: [0; OPERATIONS], failed: 0 }
    }

    /// Counts a call. `index` is the place of the operation among all of them.
    fn call(&mut self, operation: O, index: usize) -> Result<(), Failure> {
        let calls = &mut self.calls[index];
        let call = *calls;
        *calls += 1;
        let hit = |fault: &&Fault<O>| {
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

impl<S> FaultStore<S> {
    /// Passes everything on.
    #[must_use]
    pub const fn new(inner: S) -> Self {
        Self { inner, plan: Plan::new(), ended: VecDeque::new() }
    }

    /// Adds a fault. Of several that concern one call, the first that was added counts.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.plan.faults.push(fault);
        self
    }

    /// Returns the number of calls of an operation.
    #[must_use]
    pub const fn calls(&self, operation: StoreCall) -> u64 {
        self.plan.calls[operation as usize]
    }

    /// Returns the number of calls that were made to fail: a test that expects one should see it.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.plan.failed
    }

    /// Returns the store behind.
    #[must_use]
    pub const fn inner(&self) -> &S {
        &self.inner
    }

    fn call(&mut self, operation: StoreCall) -> Result<(), Failure> {
        self.plan.call(operation, operation as usize)
    }
}

impl<S> FaultSource<S> {
    /// Passes everything on.
    #[must_use]
    pub const fn new(inner: S) -> Self {
        Self { inner, plan: Plan::new() }
    }

    /// Adds a fault. Of several that concern one call, the first that was added counts.
    #[must_use]
    pub fn fault(mut self, fault: Fault<SourceCall>) -> Self {
        self.plan.faults.push(fault);
        self
    }

    /// Returns the number of calls of an operation.
    #[must_use]
    pub const fn calls(&self, operation: SourceCall) -> u64 {
        self.plan.calls[operation as usize]
    }

    /// Returns the number of calls that were made to fail: a test that expects one should see it.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.plan.failed
    }

    fn call(&mut self, operation: SourceCall) -> Result<(), Failure> {
        self.plan.call(operation, operation as usize)
    }
}

impl<S: Store> Store for FaultStore<S> {
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
        self.call(StoreCall::Stat).ok()?;
        self.inner.stat(offer)
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(S::File, Found), Refusal> {
        self.call(StoreCall::Begin).map_err(|failure| failure.refusal(StoreCall::Begin))?;
        self.inner.begin(offer, place)
    }

    fn read_at(&mut self, file: &mut S::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(StoreCall::Read).map_err(Failure::error)?;
        self.inner.read_at(file, offset, buffer)
    }

    fn write_at(&mut self, file: &mut S::File, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        if let Err(failure) = self.call(StoreCall::Write) {
            self.inner.write_at(file, offset, &bytes[..bytes.len() / 2])?;
            return Err(failure.refusal(StoreCall::Write));
        }
        self.inner.write_at(file, offset, bytes)
    }

    fn write_zeros(&mut self, file: &mut S::File, offset: u64, len: u64) -> Result<(), Refusal> {
        if let Err(failure) = self.call(StoreCall::Write) {
            self.inner.write_zeros(file, offset, len / 2)?;
            return Err(failure.refusal(StoreCall::Write));
        }
        self.inner.write_zeros(file, offset, len)
    }

    fn copy_held(&mut self, file: &mut S::File, offset: u64, len: u64) -> Result<(), Refusal> {
        if let Err(failure) = self.call(StoreCall::Copy) {
            self.inner.copy_held(file, offset, len / 2)?;
            return Err(failure.refusal(StoreCall::Copy));
        }
        self.inner.copy_held(file, offset, len)
    }

    fn commit(&mut self, file: S::File, commit: Commit) {
        match self.call(StoreCall::Commit) {
            Ok(()) => self.inner.commit(file, commit),
            Err(failure) => {
                self.inner.suspend(file);
                self.ended.push_back((commit.ticket, failure.refusal(StoreCall::Commit)));
            }
        }
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<S::File>)> {
        if let Some((ticket, refusal)) = self.ended.pop_front() {
            return Some((ticket, Err(refusal.into())));
        }
        let (ticket, ended) = self.inner.poll_committed(wait)?;
        let Err(failure) = self.call(StoreCall::Settle) else { return Some((ticket, ended)) };
        if let Err(Uncommitted::Taken { file, existing }) = ended {
            self.inner.suspend(file);
            if let Some((existing, _)) = existing {
                self.inner.suspend(existing);
            }
        }
        Some((ticket, Err(failure.refusal(StoreCall::Settle).into())))
    }

    fn suspend(&mut self, file: S::File) {
        match self.call(StoreCall::Suspend) {
            Ok(()) => self.inner.suspend(file),
            Err(_) => self.inner.discard(file),
        }
    }

    fn discard(&mut self, file: S::File) {
        match self.call(StoreCall::Discard) {
            Ok(()) => self.inner.discard(file),
            Err(_) => self.inner.suspend(file),
        }
    }
}

impl<S: Source> Source for FaultSource<S> {
    type Key = S::Key;
    type Reader = S::Reader;

    fn rewind(&mut self) -> io::Result<()> {
        self.call(SourceCall::Rewind).map_err(Failure::error)?;
        self.inner.rewind()
    }

    fn next_entry(&mut self) -> Option<Result<(S::Key, Meta), Unsendable>> {
        let found = self.inner.next_entry()?;
        Some(match (found, self.call(SourceCall::Next)) {
            (Ok((_, meta)), Err(failure)) => {
                Err(Unsendable::new(meta.path.to_string(), failure.withdrawal()))
            }
            (found, _) => found,
        })
    }

    fn open(&mut self, key: &S::Key, meta: &Meta) -> Result<S::Reader, Withdrawal> {
        self.call(SourceCall::Open).map_err(Failure::withdrawal)?;
        self.inner.open(key, meta)
    }

    fn read_at(
        &mut self,
        reader: &mut S::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.call(SourceCall::Read).map_err(Failure::error)?;
        self.inner.read_at(reader, offset, buffer)
    }

    fn finish(&mut self, reader: &mut S::Reader, meta: &Meta) -> Result<(), Withdrawal> {
        self.call(SourceCall::Finish).map_err(Failure::withdrawal)?;
        self.inner.finish(reader, meta)
    }

    fn release(&mut self, reader: &mut S::Reader, offset: u64) {
        self.inner.release(reader, offset);
    }

    fn window(&self, key: &S::Key) -> Option<u64> {
        self.inner.window(key)
    }

    fn total(&self) -> Option<u64> {
        self.inner.total()
    }
}
