//! Open files of a sender's source.

use std::sync::Arc;
use std::{io, thread};

use haul::config::Limits;
use haul::store::{MemorySource, MemoryStore, Unsendable};
use haul::transport::memory;
use haul::types::{Meta, Withdrawal};
use haul::{Source, Transfer};

use crate::scene::{capacity, content, path, small_blocks};

/// Notes the most readers that were open at a time.
struct Counted {
    inner: MemorySource,
    open: Arc<()>,
    most: usize,
    /// Number of readers that find a file descriptor.
    descriptors: usize,
}

impl Source for Counted {
    type Key = <MemorySource as Source>::Key;
    type Reader = (<MemorySource as Source>::Reader, Arc<()>);

    fn rewind(&mut self) -> io::Result<()> {
        self.inner.rewind()
    }

    fn next_entry(&mut self) -> Option<Result<(Self::Key, Meta), Unsendable>> {
        self.inner.next_entry()
    }

    fn open(&mut self, key: &Self::Key, meta: &Meta) -> Result<Self::Reader, Withdrawal> {
        if Arc::strong_count(&self.open) > self.descriptors {
            // `EMFILE`.
            return Err(Withdrawal::Unreadable { code: 24 });
        }
        let reader = (self.inner.open(key, meta)?, Arc::clone(&self.open));
        self.most = self.most.max(Arc::strong_count(&self.open) - 1);
        Ok(reader)
    }

    fn read_at(
        &mut self,
        (reader, _): &mut Self::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.inner.read_at(reader, offset, buffer)
    }

    fn finish(&mut self, (reader, _): &mut Self::Reader, meta: &Meta) -> Result<(), Withdrawal> {
        self.inner.finish(reader, meta)
    }
}

/// A receiver that may hold small files is offered them by their hashes, and asks for all that it lacks in one turn.
#[test]
fn sender_keeps_no_more_readers_open_than_its_limit() {
    let names: Vec<_> = (0..400).map(|number| path(&format!("{number}"))).collect();
    // One that finds no descriptor for a reader closes another.
    for (most, descriptors) in [(1, usize::MAX), (4, usize::MAX), (64, usize::MAX), (64, 5), (9, 1)]
    {
        let mut inner = MemorySource::new();
        for ((number, len), name) in (0..).zip((1..3000).step_by(7).cycle()).zip(&names) {
            inner = inner.file(name.clone(), content(number, len));
        }
        let store = MemoryStore::new();
        store.insert(path("old"), b"makes that the receiver is asked what it holds");
        let mut source = Counted { inner, open: Arc::default(), most: 0, descriptors };
        let config = small_blocks().limits(Limits::default().open_entries(most));
        let (alice, bob) = memory::pipe(capacity(1 << 16));
        thread::scope(|scope| {
            scope.spawn(|| Transfer::new(small_blocks()).receive(&mut store.clone(), bob));
            let sent = Transfer::new(config).send(&mut source, alice).expect("sent");
            assert_eq!(sent.delivered, 400);
        });
        assert!(source.most <= most as usize, "{} readers of {most}", source.most);
        assert_eq!(Arc::strong_count(&source.open), 1, "all are closed");
    }
}
