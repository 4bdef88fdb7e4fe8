//! Sources and stores that are borrowed or boxed are sources and stores too.

use std::io;
use std::time::Duration;

use super::{Ended, Source, Store, Unsendable};
use crate::types::{
    Commit, FileStat, Found, Meta, Offer, Place, PublicKey, Refusal, Ticket, TransferId, Withdrawal,
};

macro_rules! source_through {
    ($owner:ty) => {
        impl<S: Source + ?Sized> Source for $owner {
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
    };
}

macro_rules! store_through {
    ($owner:ty) => {
        impl<S: Store + ?Sized> Store for $owner {
            type File = S::File;

            fn holds_content(&mut self) -> bool {
                (**self).holds_content()
            }

            fn identify(&mut self, key: Option<PublicKey>) {
                (**self).identify(key);
            }

            fn serve(&mut self, transfer: TransferId) {
                (**self).serve(transfer);
            }

            fn stat(&mut self, offer: &Offer) -> Option<FileStat> {
                (**self).stat(offer)
            }

            fn begin(&mut self, offer: &Offer, place: Place) -> Result<(S::File, Found), Refusal> {
                (**self).begin(offer, place)
            }

            fn read_at(
                &mut self,
                file: &mut S::File,
                offset: u64,
                buffer: &mut [u8],
            ) -> io::Result<usize> {
                (**self).read_at(file, offset, buffer)
            }

            fn write_at(
                &mut self,
                file: &mut S::File,
                offset: u64,
                bytes: &[u8],
            ) -> Result<(), Refusal> {
                (**self).write_at(file, offset, bytes)
            }

            fn write_zeros(
                &mut self,
                file: &mut S::File,
                offset: u64,
                len: u64,
            ) -> Result<(), Refusal> {
                (**self).write_zeros(file, offset, len)
            }

            fn copy_held(
                &mut self,
                file: &mut S::File,
                offset: u64,
                len: u64,
            ) -> Result<(), Refusal> {
                (**self).copy_held(file, offset, len)
            }

            fn commit(&mut self, file: S::File, commit: Commit) {
                (**self).commit(file, commit);
            }

            fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<S::File>)> {
                (**self).poll_committed(wait)
            }

            fn suspend(&mut self, file: S::File) {
                (**self).suspend(file);
            }

            fn discard(&mut self, file: S::File) {
                (**self).discard(file);
            }
        }
    };
}

source_through!(&mut S);
source_through!(Box<S>);
store_through!(&mut S);
store_through!(Box<S>);

#[cfg(all(test, feature = "testing"))]
mod tests {
    use crate::store::{MemoryFile, MemoryStore, Store};
    use crate::testing::store::check_store;

    #[test]
    fn store_that_is_boxed_or_borrowed_keeps_the_contract_of_the_store() {
        check_store(|| -> Box<dyn Store<File = MemoryFile>> { Box::new(MemoryStore::new()) });
        let mut store = MemoryStore::new();
        let held = store.clone();
        held.insert(crate::RelPath::parse(b"x").unwrap(), b"held".to_vec());
        let mut borrowed = &mut store;
        assert!(Store::holds_content(&mut borrowed), "what has a default goes through, too");
    }
}
