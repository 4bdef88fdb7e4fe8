//! A store that logs what is done to it, and takes its time.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::log::Log;
use crate::store::{Ended, Store, Uncommitted};
use crate::types::{
    Commit, FileStat, Found, Offer, Place, PublicKey, Refusal, RelPath, Ticket, TransferId,
};

/// A store that writes to a log, above all of the files that are out.
#[derive(Debug)]
pub(super) struct Lent<S: Store> {
    inner: S,
    log: Log,
    /// Time that a commit takes.
    takes: Duration,
    /// Ended commits, with the times at which they are to be reported.
    due: VecDeque<(Duration, Ticket, Ended<S::File>)>,
    under_way: VecDeque<(Ticket, RelPath)>,
}

/// A file that is out.
#[derive(Debug)]
pub(super) struct Held<F> {
    file: F,
    path: RelPath,
}

impl<S: Store> Lent<S> {
    pub(super) fn new(inner: S, takes: Duration, log: &Log) -> Self {
        let log = log.clone();
        Self { inner, log, takes, due: VecDeque::new(), under_way: VecDeque::new() }
    }

    fn lend(&self, file: S::File, path: &RelPath) -> Held<S::File> {
        self.log.open(path.clone());
        Held { file, path: path.clone() }
    }

    fn take_back(&self, held: Held<S::File>) -> S::File {
        self.log.close(&held.path);
        held.file
    }

    /// Returns the next commit that has ended, if its time has come, or nothing need go on.
    fn next(&mut self) -> Option<(Ticket, Ended<S::File>)> {
        let now = self.log.time();
        while let Some((ticket, ended)) = self.inner.poll_committed(Duration::ZERO) {
            self.due.push_back((now.saturating_add(self.takes), ticket, ended));
        }
        let is_over = self.log.has_fault();
        self.due.front().filter(|(due, ..)| *due <= now || is_over)?;
        self.due.pop_front().map(|(_, ticket, ended)| (ticket, ended))
    }
}

impl<S: Store> Store for Lent<S> {
    type File = Held<S::File>;

    fn holds_content(&mut self) -> bool {
        self.inner.holds_content()
    }

    fn identify(&mut self, key: Option<PublicKey>) {
        self.inner.identify(key);
    }

    fn serve(&mut self, transfer: TransferId) {
        self.log.serve(transfer);
        self.inner.serve(transfer);
    }

    fn stat(&mut self, offer: &Offer) -> Option<FileStat> {
        self.log.begins(&offer.meta.path);
        self.inner.stat(offer)
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(Self::File, Found), Refusal> {
        let path = &offer.meta.path;
        self.log.begins(path);
        self.inner.begin(offer, place).map(|(file, found)| (self.lend(file, path), found))
    }

    fn read_at(
        &mut self,
        held: &mut Self::File,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.inner.read_at(&mut held.file, offset, buffer)
    }

    fn write_at(
        &mut self,
        held: &mut Self::File,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Refusal> {
        self.inner.write_at(&mut held.file, offset, bytes)
    }

    fn write_zeros(&mut self, held: &mut Self::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.inner.write_zeros(&mut held.file, offset, len)
    }

    fn copy_held(&mut self, held: &mut Self::File, offset: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(&mut held.file, offset, len)
    }

    fn commit(&mut self, held: Self::File, commit: Commit) {
        self.under_way.push_back((commit.ticket, held.path.clone()));
        let file = self.take_back(held);
        self.inner.commit(file, commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<Self::File>)> {
        self.log.asks(wait);
        let mut next = self.next();
        if next.is_none() {
            let due = self.due.front().map(|(due, ..)| due.saturating_sub(self.log.time()));
            self.log.asked_in_vain(due.map_or(wait, |left| left.min(wait)));
            next = self.next();
        }
        let (ticket, ended) = next?;
        let at = self.under_way.iter().position(|(known, _)| *known == ticket);
        let path = at.and_then(|at| self.under_way.remove(at)).map(|(_, path)| path);
        let ended = ended.map_err(|uncommitted| match (uncommitted, path) {
            (Uncommitted::Failed(refusal), _) => Uncommitted::Failed(refusal),
            (Uncommitted::Taken { file, existing }, Some(path)) => Uncommitted::Taken {
                file: self.lend(file, &path),
                existing: existing.map(|(existing, len)| (self.lend(existing, &path), len)),
            },
            (Uncommitted::Taken { file, existing }, None) => {
                self.inner.suspend(file);
                existing.into_iter().for_each(|(existing, _)| self.inner.suspend(existing));
                Uncommitted::Failed(Refusal::Exists)
            }
        });
        Some((ticket, ended))
    }

    fn suspend(&mut self, held: Self::File) {
        let file = self.take_back(held);
        self.inner.suspend(file);
    }

    fn discard(&mut self, held: Self::File) {
        let file = self.take_back(held);
        self.inner.discard(file);
    }
}
