//! Sources and stores that are borrowed or boxed are sources and stores too.

use std::io;
use std::time::Duration;

use super::{Ended, Source, Store, Unsendable};
use crate::types::{
    Commit, FileStat, Found, Meta, Offer, Place, PublicKey, Refusal, Ticket, TransferId, Withdrawal,
};

forward!(Source {
    type Key;
    type Reader;
    &mut self:
        fn rewind() -> io::Result<()>;
        fn next_entry() -> Option<Result<(T::Key, Meta), Unsendable>>;
        fn open(key: &T::Key, meta: &Meta) -> Result<T::Reader, Withdrawal>;
        fn read_at(reader: &mut T::Reader, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
        fn finish(reader: &mut T::Reader, meta: &Meta) -> Result<(), Withdrawal>;
        fn release(reader: &mut T::Reader, offset: u64);
    &self:
        fn window(key: &T::Key) -> Option<u64>;
        fn total() -> Option<u64>;
});

forward!(Store {
    type File;
    &mut self:
        fn holds_content() -> bool;
        fn identify(key: Option<PublicKey>);
        fn serve(transfer: TransferId);
        fn stat(offer: &Offer) -> Option<FileStat>;
        fn begin(offer: &Offer, place: Place) -> Result<(T::File, Found), Refusal>;
        fn read_at(file: &mut T::File, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
        fn write_at(file: &mut T::File, offset: u64, bytes: &[u8]) -> Result<(), Refusal>;
        fn write_zeros(file: &mut T::File, offset: u64, len: u64) -> Result<(), Refusal>;
        fn copy_held(file: &mut T::File, offset: u64, len: u64) -> Result<(), Refusal>;
        fn commit(file: T::File, commit: Commit);
        fn poll_committed(wait: Duration) -> Option<(Ticket, Ended<T::File>)>;
        fn suspend(file: T::File);
        fn discard(file: T::File);
});
