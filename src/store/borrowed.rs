//! Sources that are borrowed or boxed are sources too.

use std::io;

use super::{Source, Unsendable};
use crate::types::{Meta, Withdrawal};

impl<S: Source + ?Sized> Source for &mut S {
    type Key = S::Key;
    type Reader = S::Reader;

    fn rewind(&mut self) -> io::Result<()> {
        (**self).rewind()
    }

    fn next_entry(&mut self) -> Option<Result<(S::Key, Meta), Unsendable>> {
        (**self).next_entry()
    }

    fn open(&mut self, key: &S::Key, meta: &Meta) -> Result<S::Reader, Withdrawal> {
        (**self).open(key, meta)
    }

    fn read_at(
        &mut self,
        reader: &mut S::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        (**self).read_at(reader, offset, buffer)
    }

    fn finish(&mut self, reader: &mut S::Reader, meta: &Meta) -> Result<(), Withdrawal> {
        (**self).finish(reader, meta)
    }

    fn release(&mut self, reader: &mut S::Reader, offset: u64) {
        (**self).release(reader, offset);
    }

    fn window(&self, key: &S::Key) -> Option<u64> {
        (**self).window(key)
    }

    fn total(&self) -> Option<u64> {
        (**self).total()
    }
}

impl<S: Source + ?Sized> Source for Box<S> {
    type Key = S::Key;
    type Reader = S::Reader;

    fn rewind(&mut self) -> io::Result<()> {
        (**self).rewind()
    }

    fn next_entry(&mut self) -> Option<Result<(S::Key, Meta), Unsendable>> {
        (**self).next_entry()
    }

    fn open(&mut self, key: &S::Key, meta: &Meta) -> Result<S::Reader, Withdrawal> {
        (**self).open(key, meta)
    }

    fn read_at(
        &mut self,
        reader: &mut S::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        (**self).read_at(reader, offset, buffer)
    }

    fn finish(&mut self, reader: &mut S::Reader, meta: &Meta) -> Result<(), Withdrawal> {
        (**self).finish(reader, meta)
    }

    fn release(&mut self, reader: &mut S::Reader, offset: u64) {
        (**self).release(reader, offset);
    }

    fn window(&self, key: &S::Key) -> Option<u64> {
        (**self).window(key)
    }

    fn total(&self) -> Option<u64> {
        (**self).total()
    }
}
