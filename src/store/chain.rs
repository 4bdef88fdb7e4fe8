//! Two sources, one after the other.

use std::io;

use super::{Source, Unsendable};
use crate::types::{Meta, Withdrawal};

/// Source of the entries of one source, and then those of another: files and standard input, say.
#[derive(Debug, Clone, Default)]
pub struct Chain<A, B> {
    first: A,
    second: B,
}

/// A key or a reader of one of the two sources of a [`Chain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third source")]
pub enum Either<A, B> {
    /// Key or reader of the first.
    First(A),
    /// Key or reader of the second.
    Second(B),
}

impl<A, B> Chain<A, B> {
    /// Creates a source of `first`, then `second`.
    #[must_use]
    pub const fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Source, B: Source> Source for Chain<A, B> {
    type Key = Either<A::Key, B::Key>;
    type Reader = Either<A::Reader, B::Reader>;

    /// Fails if either of them does; what the other did by then shows only after a call that succeeds for both.
    fn rewind(&mut self) -> io::Result<()> {
        self.first.rewind()?;
        self.second.rewind()
    }

    fn next_entry(&mut self) -> Option<Result<(Self::Key, Meta), Unsendable>> {
        if let Some(entry) = self.first.next_entry() {
            return Some(entry.map(|(key, meta)| (Either::First(key), meta)));
        }
        let entry = self.second.next_entry()?;
        Some(entry.map(|(key, meta)| (Either::Second(key), meta)))
    }

    fn open(&mut self, key: &Self::Key, meta: &Meta) -> Result<Self::Reader, Withdrawal> {
        match key {
            Either::First(key) => self.first.open(key, meta).map(Either::First),
            Either::Second(key) => self.second.open(key, meta).map(Either::Second),
        }
    }

    fn read_at(
        &mut self,
        reader: &mut Self::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        match reader {
            Either::First(reader) => self.first.read_at(reader, offset, buffer),
            Either::Second(reader) => self.second.read_at(reader, offset, buffer),
        }
    }

    fn finish(&mut self, reader: &mut Self::Reader, meta: &Meta) -> Result<(), Withdrawal> {
        match reader {
            Either::First(reader) => self.first.finish(reader, meta),
            Either::Second(reader) => self.second.finish(reader, meta),
        }
    }

    fn release(&mut self, reader: &mut Self::Reader, offset: u64) {
        match reader {
            Either::First(reader) => self.first.release(reader, offset),
            Either::Second(reader) => self.second.release(reader, offset),
        }
    }

    fn window(&self, key: &Self::Key) -> Option<u64> {
        match key {
            Either::First(key) => self.first.window(key),
            Either::Second(key) => self.second.window(key),
        }
    }

    fn total(&self) -> Option<u64> {
        self.first.total()?.checked_add(self.second.total()?)
    }
}
