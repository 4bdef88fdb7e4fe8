//! A source and a store through which a driver with a flaw sees those that it was given.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use haul::Unsendable;
use haul::store::{Ended, Source, Store};
use haul::types::{
    Commit, FileStat, Found, Meta, Offer, Place, Refusal, Ticket, TransferId, Withdrawal,
};

use super::Flaw;

/// Source of a flawed sender.
pub(super) struct MeddledSource<'s, S: Source> {
    inner: &'s mut S,
    flaw: Flaw,
    /// Readers that should have been closed.
    kept: Vec<Rc<RefCell<S::Reader>>>,
}

impl<'s, S: Source> MeddledSource<'s, S> {
    pub(super) const fn new(inner: &'s mut S, flaw: Flaw) -> Self {
        Self { inner, flaw, kept: Vec::new() }
    }
}

impl<S: Source> Source for MeddledSource<'_, S> {
    type Key = S::Key;
    type Reader = Rc<RefCell<S::Reader>>;

    fn rewind(&mut self) -> io::Result<()> {
        self.inner.rewind()
    }

    fn next_entry(&mut self) -> Option<Result<(S::Key, Meta), Unsendable>> {
        self.inner.next_entry()
    }

    fn open(&mut self, key: &S::Key, meta: &Meta) -> Result<Self::Reader, Withdrawal> {
        let reader = Rc::new(RefCell::new(self.inner.open(key, meta)?));
        if self.flaw == Flaw::NoForget {
            self.kept.push(Rc::clone(&reader));
        }
        Ok(reader)
    }

    fn read_at(
        &mut self,
        reader: &mut Self::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let read = self.inner.read_at(&mut reader.borrow_mut(), offset, buffer);
        read.map_err(|error| match self.flaw {
            Flaw::NoPending => io::Error::other(error),
            _ => error,
        })
    }

    fn finish(&mut self, reader: &mut Self::Reader, meta: &Meta) -> Result<(), Withdrawal> {
        self.inner.finish(&mut reader.borrow_mut(), meta)
    }

    fn release(&mut self, reader: &mut Self::Reader, offset: u64) {
        if self.flaw != Flaw::NoRelease {
            self.inner.release(&mut reader.borrow_mut(), offset);
        }
    }

    fn window(&self, key: &S::Key) -> Option<u64> {
        self.inner.window(key).filter(|_| self.flaw != Flaw::NoWindow)
    }
}

/// Store of a flawed receiver.
pub(super) struct MeddledStore<'s, S: Store> {
    inner: &'s mut S,
    flaw: Flaw,
    /// Files that should have been discarded.
    kept: Vec<S::File>,
}

impl<'s, S: Store> MeddledStore<'s, S> {
    pub(super) const fn new(inner: &'s mut S, flaw: Flaw) -> Self {
        Self { inner, flaw, kept: Vec::new() }
    }

    /// Ends the session.
    pub(super) fn end(self) {
        self.kept.into_iter().for_each(|file| self.inner.suspend(file));
    }
}

impl<S: Store> Store for MeddledStore<'_, S> {
    type File = S::File;

    fn holds_content(&mut self) -> bool {
        self.inner.holds_content()
    }

    fn serve(&mut self, transfer: TransferId) {
        if self.flaw != Flaw::NoServe {
            self.inner.serve(transfer);
        }
    }

    fn stat(&mut self, offer: &Offer) -> Option<FileStat> {
        self.inner.stat(offer)
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(S::File, Found), Refusal> {
        self.inner.begin(offer, place)
    }

    fn read_at(&mut self, file: &mut S::File, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(file, offset, to)
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
        self.inner.commit(file, commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<S::File>)> {
        let wait = match self.flaw {
            Flaw::LateCollect if wait.is_zero() => return None,
            Flaw::LongWait if !wait.is_zero() => Duration::from_secs(30),
            Flaw::NoWait => Duration::ZERO,
            _ => wait,
        };
        self.inner.poll_committed(wait)
    }

    fn suspend(&mut self, file: S::File) {
        self.inner.suspend(file);
    }

    fn discard(&mut self, file: S::File) {
        if self.flaw == Flaw::NoDiscard {
            self.kept.push(file);
        } else {
            self.inner.discard(file);
        }
    }
}
