//! The entries of a sending session that are not settled, and those of their readers that are open.
//!
//! Whoever runs a [`Sender`](crate::proto::Sender) does this alike: the driver over a stream, and a simulated pair in
//! virtual time. So that what the one is tested with is what the other runs, it is done here.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind};

use super::Source;
use super::io_error::withdrawal_of;
use crate::config::Limits;
use crate::types::{EntryId, Meta, ReadRequest, Withdrawal};

/// The entries of a sender by their ids, with the readers that are open.
///
/// At most [`Limits::open_entries`] readers are open, whatever the peer asks for: before one more is opened, the one
/// that was used least recently is closed, and opened again when it is needed. So it is where the process, or the
/// system, has no file descriptor for one more, as long as there is one to be closed.
pub struct Readers<S: Source> {
    items: BTreeMap<EntryId, Box<Item<S>>>,
    /// Entries whose readers are open, the one that was used last at the end.
    ///
    /// Invariant: these are the items with a reader, each once, and no more than `most`.
    open: VecDeque<EntryId>,
    most: usize,
}

struct Item<S: Source> {
    key: S::Key,
    meta: Meta,
    reader: Option<S::Reader>,
    /// The source cannot read all of it twice: its reader is closed only where there is no other.
    has_window: bool,
    /// Number of released bytes; a reader that is opened again must be told.
    released: u64,
    /// Bytes of a request that were read before the source had nothing more to give at the moment, and the offset of
    /// that request.
    begun: Option<(u64, Vec<u8>)>,
}

impl<S: Source> Readers<S> {
    /// Creates a set without entries, and with a limit for the readers to come.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let most = usize::try_from(limits.open_entries).unwrap_or(usize::MAX).max(1);
        Self { items: BTreeMap::new(), open: VecDeque::new(), most }
    }

    /// Takes in an entry by the id that [`Sender::handle_entry`](crate::proto::Sender::handle_entry) gave it. Nothing
    /// is opened.
    pub fn insert(&mut self, source: &S, entry: EntryId, key: S::Key, meta: Meta) {
        let has_window = source.window(&key).is_some();
        let item = Item { key, meta, reader: None, has_window, released: 0, begun: None };
        self.close(entry);
        self.items.insert(entry, Box::new(item));
    }

    /// Reads what the sender asks for into `buffer`, which is as long as the request; `None` if the source has
    /// nothing to give at the moment. What it gave before is kept, up to the length of the request, and the same
    /// request goes on from there, with whatever buffer.
    ///
    /// # Errors
    ///
    /// The reason for which the entry is to be withdrawn.
    pub fn read(
        &mut self,
        source: &mut S,
        request: &ReadRequest,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, Withdrawal> {
        self.make_room(request.entry);
        let opened = self.open_if_closed(source, request.entry)?;
        let item = self.items.get_mut(&request.entry).ok_or(Withdrawal::Vanished)?;
        let Item { meta, reader, released, begun, .. } = &mut **item;
        let reader = match (reader, opened) {
            (Some(reader), _) => reader,
            (closed, opened) => {
                let reader = closed.insert(opened.ok_or(Withdrawal::Vanished)?);
                if *released > 0 {
                    source.release(reader, *released);
                }
                self.open.push_back(request.entry);
                reader
            }
        };
        let mut read = 0;
        if let Some((offset, bytes)) = begun.take()
            && offset == request.offset
            && let Some(start) = buffer.get_mut(..bytes.len())
        {
            start.copy_from_slice(&bytes);
            read = bytes.len();
        }
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match source.read_at(reader, request.offset.saturating_add(read as u64), rest) {
                Ok(0) => break,
                Ok(bytes) if bytes > rest.len() => return Err(Withdrawal::Unreadable { code: 0 }),
                Ok(bytes) => read += bytes,
                // In either case it is asked again, once a heartbeat was sent.
                Err(error) if is_pending(&error) => {
                    let bytes = buffer.get(..read).unwrap_or_default().to_vec();
                    *begun = Some((request.offset, bytes)).filter(|_| read > 0);
                    return Ok(None);
                }
                Err(error) => return Err(withdrawal_of(&error)),
            }
        }
        if request.is_last || read < buffer.len() {
            source.finish(reader, meta)?;
        }
        if request.is_whole {
            self.close(request.entry);
        }
        Ok(Some(read))
    }

    /// Notes in the source that everything of an entry before `offset` has arrived.
    pub fn release(&mut self, source: &mut S, entry: EntryId, offset: u64) {
        let Some(item) = self.items.get_mut(&entry) else { return };
        item.released = item.released.max(offset);
        if let Some(reader) = &mut item.reader {
            source.release(reader, offset);
        }
    }

    /// Closes an entry that is settled.
    pub fn forget(&mut self, entry: EntryId) {
        self.close(entry);
        self.items.remove(&entry);
    }

    /// Returns the number of open readers.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// Opens the reader of an entry that has none. Where there is no file descriptor left for it, others are closed.
    fn open_if_closed(
        &mut self,
        source: &mut S,
        entry: EntryId,
    ) -> Result<Option<S::Reader>, Withdrawal> {
        loop {
            let item = self.items.get(&entry).ok_or(Withdrawal::Vanished)?;
            if item.reader.is_some() {
                return Ok(None);
            }
            match source.open(&item.key, &item.meta) {
                Ok(reader) => return Ok(Some(reader)),
                Err(reason) if !reason.is_fd_exhaustion() => return Err(reason),
                Err(reason) => {
                    let closed = self.least_recent().ok_or(reason)?;
                    self.close(closed);
                }
            }
        }
    }

    /// Returns the open reader that was used least recently, of those that can be opened again at
    /// no loss.
    fn least_recent(&self) -> Option<EntryId> {
        let has_window = |open: &EntryId| self.items.get(open).is_some_and(|item| item.has_window);
        self.open.iter().find(|open| !has_window(open)).copied()
    }

    /// Makes an open entry the one that was used last; of one that is closed, closes others until it may be opened.
    fn make_room(&mut self, entry: EntryId) {
        if self.open.back() == Some(&entry) {
            return;
        }
        if let Some(at) = self.open.iter().position(|open| *open == entry) {
            self.open.remove(at);
            self.open.push_back(entry);
            return;
        }
        while self.open.len() >= self.most {
            let replaceable = self.least_recent().or_else(|| self.open.front().copied());
            let Some(closed) = replaceable else { return };
            self.close(closed);
        }
    }

    fn close(&mut self, entry: EntryId) {
        let Some(item) = self.items.get_mut(&entry) else { return };
        item.begun = None;
        if item.reader.take().is_some() {
            self.open.retain(|open| *open != entry);
        }
    }
}

impl<S: Source> fmt::Debug for Readers<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Readers");
        debug.field("entries", &self.items.len()).field("open", &self.open).finish_non_exhaustive()
    }
}

fn is_pending(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;
    use crate::store::Unsendable;
    use crate::types::RelPath;

    /// Register of the readers that are alive, and of what was released to each.
    #[derive(Default)]
    struct Counted {
        alive: Rc<RefCell<BTreeSet<u32>>>,
        opened: u32,
        /// Number of readers that may be open.
        descriptors: Option<usize>,
    }

    struct Alive {
        key: u32,
        released: u64,
        alive: Rc<RefCell<BTreeSet<u32>>>,
    }

    impl Drop for Alive {
        fn drop(&mut self) {
            assert!(self.alive.borrow_mut().remove(&self.key));
        }
    }

    /// Those with odd keys have a window.
    impl Source for Counted {
        type Key = u32;
        type Reader = Alive;

        fn rewind(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn next_entry(&mut self) -> Option<Result<(u32, Meta), Unsendable>> {
            None
        }

        fn open(&mut self, key: &u32, _: &Meta) -> Result<Alive, Withdrawal> {
            if self.descriptors.is_some_and(|most| self.alive.borrow().len() >= most) {
                return Err(NO_DESCRIPTOR);
            }
            self.opened += 1;
            assert!(self.alive.borrow_mut().insert(*key), "{key} is opened twice");
            Ok(Alive { key: *key, released: 0, alive: Rc::clone(&self.alive) })
        }

        fn read_at(&mut self, reader: &mut Alive, offset: u64, to: &mut [u8]) -> io::Result<usize> {
            assert!(offset >= reader.released);
            if offset == PENDING {
                return Err(ErrorKind::WouldBlock.into());
            }
            Ok(to.len())
        }

        fn finish(&mut self, _: &mut Alive, _: &Meta) -> Result<(), Withdrawal> {
            Ok(())
        }

        fn release(&mut self, reader: &mut Alive, offset: u64) {
            reader.released = offset;
        }

        fn window(&self, key: &u32) -> Option<u64> {
            (key % 2 == 1).then_some(1000)
        }
    }

    const PENDING: u64 = 5000;

    /// `EMFILE`.
    const NO_DESCRIPTOR: Withdrawal = Withdrawal::Unreadable { code: 24 };

    fn request(entry: u32, offset: u64, is_whole: bool) -> ReadRequest {
        let entry = EntryId::new(entry);
        ReadRequest { entry, offset, len: 10, head: 0, is_last: is_whole, is_whole }
    }

    fn readers(most: u32, entries: u32) -> (Counted, Readers<Counted>) {
        let source = Counted::default();
        let mut readers = Readers::new(&Limits::default().open_entries(most));
        for entry in 0..entries {
            let meta = Meta::file(RelPath::parse(b"x").unwrap(), None);
            readers.insert(&source, EntryId::new(entry), entry, meta);
        }
        (source, readers)
    }

    /// Source that gives 1000 bytes a call at most, and every so often nothing yet.
    struct Trickle {
        every: u32,
        calls: u32,
        given: u64,
    }

    impl Source for Trickle {
        type Key = ();
        type Reader = ();

        fn rewind(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn next_entry(&mut self) -> Option<Result<((), Meta), Unsendable>> {
            None
        }

        fn open(&mut self, (): &(), _: &Meta) -> Result<(), Withdrawal> {
            Ok(())
        }

        fn read_at(&mut self, (): &mut (), offset: u64, to: &mut [u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.calls.is_multiple_of(self.every) {
                let kinds = [ErrorKind::WouldBlock, ErrorKind::Interrupted];
                return Err(kinds[usize::from(self.calls % 4 > 1)].into());
            }
            let count = to.len().min(1000);
            to[..count].fill(u8::try_from(offset / 1000).unwrap());
            self.given += count as u64;
            Ok(count)
        }

        fn finish(&mut self, (): &mut (), _: &Meta) -> Result<(), Withdrawal> {
            Ok(())
        }
    }

    /// A block that takes many calls, with a tick among them, was read from its start again after each tick: for ever.
    #[test]
    fn source_that_gives_little_and_ticks_gives_each_byte_once() {
        let meta = Meta::file(RelPath::parse(b"a").unwrap(), Some(40_000));
        for every in 2..30 {
            let mut source = Trickle { every, calls: 0, given: 0 };
            let mut readers = Readers::new(&Limits::default());
            readers.insert(&source, EntryId::new(0), (), meta.clone());
            for offset in [0, 20_000] {
                let request = ReadRequest { len: 20_000, ..request(0, offset, false) };
                let (buffer, read) = loop {
                    // Whatever stood in the buffer is not relied on.
                    let mut buffer = vec![0xff; 20_000];
                    match readers.read(&mut source, &request, &mut buffer).unwrap() {
                        Some(read) => break (buffer, read),
                        None => assert!(source.calls < 1000, "no end, every {every}"),
                    }
                };
                let expected = (offset / 1000..offset / 1000 + 20).flat_map(|n| [n; 1000]);
                assert_eq!(read, 20_000);
                assert!(buffer.into_iter().map(u64::from).eq(expected), "every {every}");
            }
            assert_eq!(source.given, 40_000, "every {every}");
        }
    }

    #[test]
    fn reader_that_was_used_least_recently_is_closed_first_and_one_with_a_window_last() {
        let (mut source, mut readers) = readers(3, 8);
        let mut read = |entry| {
            assert_eq!(
                readers.read(&mut source, &request(entry, 0, false), &mut [0; 10]),
                Ok(Some(10))
            );
            source.alive.borrow().iter().copied().collect::<Vec<_>>()
        };
        assert_eq!([read(1), read(2), read(4)], [vec![1], vec![1, 2], vec![1, 2, 4]]);
        assert_eq!(read(2), [1, 2, 4]);
        assert_eq!(read(6), [1, 2, 6], "4 was used before 2, and 1 has a window");
        assert_eq!([read(3), read(5)], [vec![1, 3, 6], vec![1, 3, 5]]);
        assert_eq!(read(0), [0, 3, 5], "all have a window");
    }

    #[test]
    fn reader_that_is_opened_again_hears_what_was_released() {
        let (mut source, mut readers) = readers(1, 2);
        for entry in [0, 1] {
            readers.read(&mut source, &request(entry, 0, false), &mut [0; 10]).unwrap();
        }
        readers.release(&mut source, EntryId::new(0), 700);
        readers.read(&mut source, &request(0, 700, false), &mut [0; 10]).unwrap();
        let open = readers.items[&EntryId::new(0)].reader.as_ref();
        assert_eq!((open.map(|reader| reader.released), source.opened), (Some(700), 3));
    }

    #[test]
    fn reader_that_finds_no_descriptor_is_opened_in_the_place_of_others() {
        let (mut source, mut readers) = readers(64, 8);
        source.descriptors = Some(3);
        let mut read =
            |entry| readers.read(&mut source, &request(entry, 0, false), &mut [0; 10]).err();
        assert_eq!([0, 2, 1, 4, 6, 0, 2].map(&mut read), [None; 7]);
        assert_eq!(source.alive.borrow().iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
        // What has a window stays open: 1, 3 and 5 have one.
        let mut read =
            |entry| readers.read(&mut source, &request(entry, 0, false), &mut [0; 10]).err();
        assert_eq!(
            [3, 5, 7, 4, 1].map(&mut read),
            [None, None, Some(NO_DESCRIPTOR), Some(NO_DESCRIPTOR), None]
        );
        assert_eq!(source.alive.borrow().iter().copied().collect::<Vec<_>>(), [1, 3, 5]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever is asked: the readers that are alive are those that count as open, no more than may be, and none of
        /// an entry that is settled.
        #[test]
        fn readers_alive_are_those_that_count(
            most in 0_u32..5,
            descriptors in prop::option::of(0_usize..4),
            steps in prop::collection::vec((0_u32..12, 0_u8..6), 1..80),
        ) {
            let (mut source, mut readers) = readers(most, 10);
            source.descriptors = descriptors;
            let mut settled = BTreeSet::new();
            for (number, step) in steps {
                let entry = EntryId::new(number);
                let known = number < 10 && !settled.contains(&number);
                match step {
                    0 => {
                        readers.forget(entry);
                        settled.insert(number);
                    }
                    1 => readers.release(&mut source, entry, 100),
                    _ => {
                        let offset = if step == 2 { PENDING } else { 1000 };
                        let request = request(number, offset, step == 3);
                        let read = readers.read(&mut source, &request, &mut [0; 10]);
                        let good = if step == 2 { None } else { Some(10) };
                        if known && read == Err(NO_DESCRIPTOR) {
                            // There was nothing to be closed for it but what has a window.
                            let alive = source.alive.borrow();
                            prop_assert!(descriptors.is_some_and(|most| alive.len() >= most));
                            prop_assert!(alive.iter().all(|open| open % 2 == 1));
                        } else {
                            let expected = if known { Ok(good) } else { Err(Withdrawal::Vanished) };
                            prop_assert_eq!(read, expected);
                        }
                        prop_assert!(step != 3 || !source.alive.borrow().contains(&number));
                    }
                }
                let alive = source.alive.borrow();
                prop_assert_eq!(alive.len(), readers.open());
                prop_assert!(alive.len() <= most.max(1) as usize);
                prop_assert!(alive.iter().all(|number| !settled.contains(number)));
                let open: BTreeSet<_> = readers.open.iter().map(|open| open.get()).collect();
                prop_assert_eq!(&open, &*alive);
            }
        }
    }
}
