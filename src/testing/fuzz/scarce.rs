//! A store with few file descriptors, whose commits take a while.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::super::store::FaultStore;
use crate::store::{Ended, MemoryStore, Store, Uncommitted};
use crate::types::{
    Commit, FileStat, Found, Kind, Offer, Place, PublicKey, Refusal, StoreOperation, Ticket,
    TransferId,
};

/// Store of a session, before its commits end late.
pub(super) type Troubled = FaultStore<Scarce<MemoryStore>>;

/// Store that passes everything on to another one, as long as there are descriptors.
pub(super) struct Scarce<S> {
    inner: S,
    /// One copy is with each file that is open, or being committed.
    descriptor: Arc<()>,
    most: usize,
    committing: BTreeMap<Ticket, Option<Arc<()>>>,
    /// Number of vain questions before it reports that a commit ended, and number of those so far.
    delay: u8,
    asked: u8,
}

/// An open file, and what it takes.
pub(super) struct Lent<F> {
    file: F,
    /// Of a regular file; for the others nothing is open.
    descriptor: Option<Arc<()>>,
}

impl<S> Scarce<S> {
    /// Creates a store with room for so many files, which is asked so often in vain for each
    /// commit.
    pub(super) fn new(inner: S, most: usize, delay: u8) -> Self {
        let (descriptor, committing) = (Arc::default(), BTreeMap::new());
        Self { inner, descriptor, most, committing, delay, asked: 0 }
    }

    fn lend<F>(&self, file: F, is_file: bool) -> Lent<F> {
        Lent { file, descriptor: is_file.then(|| Arc::clone(&self.descriptor)) }
    }
}

impl<S: Store> Store for Scarce<S> {
    type File = Lent<S::File>;

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

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(Self::File, Found), Refusal> {
        // One is the store's own.
        if Arc::strong_count(&self.descriptor) > self.most {
            return Err(Refusal::Store { code: 24, operation: StoreOperation::Open });
        }
        let is_file = offer.meta.kind == Kind::File;
        self.inner.begin(offer, place).map(|(file, found)| (self.lend(file, is_file), found))
    }

    fn read_at(
        &mut self,
        file: &mut Self::File,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.inner.read_at(&mut file.file, offset, buffer)
    }

    fn write_at(
        &mut self,
        file: &mut Self::File,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        self.inner.write_at(&mut file.file, offset, bytes)
    }

    fn write_zeros(&mut self, file: &mut Self::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.inner.write_zeros(&mut file.file, offset, len)
    }

    fn copy_held(&mut self, file: &mut Self::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(&mut file.file, offset, len)
    }

    fn commit(&mut self, file: Self::File, commit: Commit) {
        self.committing.insert(commit.ticket, file.descriptor);
        self.inner.commit(file.file, commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<Self::File>)> {
        if !self.committing.is_empty() && self.asked < self.delay {
            self.asked += 1;
            return None;
        }
        let (ticket, ended) = self.inner.poll_committed(wait)?;
        self.asked = 0;
        let is_file = self.committing.remove(&ticket).flatten().is_some();
        let ended = ended.map_err(|failed| match failed {
            Uncommitted::Failed(reason) => Uncommitted::Failed(reason),
            Uncommitted::Taken { file, existing } => Uncommitted::Taken {
                file: self.lend(file, is_file),
                existing: existing.map(|(existing, len)| (self.lend(existing, true), len)),
            },
        });
        Some((ticket, ended))
    }

    fn suspend(&mut self, file: Self::File) {
        self.inner.suspend(file.file);
    }

    fn discard(&mut self, file: Self::File) {
        self.inner.discard(file.file);
    }
}
