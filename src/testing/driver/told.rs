//! A source that logs what is done to it, has nothing now and then, takes its time, and fails.

use std::io::{self, ErrorKind};
use std::time::Duration;

use super::log::Log;
use crate::store::{Source, Unsendable};
use crate::types::{Meta, RelPath, Withdrawal};

/// A source that writes to a log.
#[derive(Debug)]
pub(super) struct Told<S> {
    inner: S,
    log: Log,
    /// Set once it was rewound, before any entry was asked for.
    is_rewound: bool,
    /// Number of reads. At each fourth of them it has nothing yet.
    reads: u32,
    /// Set if it cannot begin again.
    pub(super) refuses: bool,
    /// Time that each read takes.
    pub(super) takes: Duration,
    /// Number of bytes of an entry of unknown size that it gives again.
    pub(super) window: Option<u64>,
    /// The entry that is not there any more, and where it ends.
    pub(super) vanishes: Option<(RelPath, u64)>,
}

/// A reader that is closed when it is dropped.
#[derive(Debug)]
pub(super) struct Reader<R> {
    inner: R,
    path: RelPath,
    log: Log,
    /// Bytes that the peer holds, and whether others can be read only once.
    released: u64,
    has_window: bool,
}

/// Time that it takes to find that there is nothing yet.
const TICK: Duration = Duration::from_secs(1);

impl<R> Drop for Reader<R> {
    fn drop(&mut self) {
        self.log.close(&self.path);
    }
}

impl<S> Told<S> {
    pub(super) fn new(inner: S, log: &Log) -> Self {
        Self {
            inner,
            log: log.clone(),
            is_rewound: false,
            reads: 0,
            refuses: false,
            takes: Duration::ZERO,
            window: None,
            vanishes: None,
        }
    }

    /// Begins the next session, with a log of its own.
    pub(super) fn again(&mut self, log: &Log) {
        (self.log, self.is_rewound) = (log.clone(), false);
    }
}

impl<S: Source> Source for Told<S> {
    type Key = (S::Key, bool);
    type Reader = Reader<S::Reader>;

    fn rewind(&mut self) -> io::Result<()> {
        self.is_rewound = true;
        if self.refuses {
            return Err(ErrorKind::NotSeekable.into());
        }
        self.inner.rewind()
    }

    fn next_entry(&mut self) -> Option<Result<(Self::Key, Meta), Unsendable>> {
        if !self.is_rewound {
            self.log.fault("the source is not rewound before it is asked for its first entry");
        }
        let next = self.inner.next_entry()?;
        Some(next.map(|(key, meta)| ((key, meta.size.is_none()), meta)))
    }

    fn open(&mut self, key: &Self::Key, meta: &Meta) -> Result<Self::Reader, Withdrawal> {
        let inner = self.inner.open(&key.0, meta)?;
        let (path, log) = (meta.path.clone(), self.log.clone());
        log.open(path.clone());
        Ok(Reader { inner, path, log, released: 0, has_window: key.1 })
    }

    fn read_at(
        &mut self,
        reader: &mut Self::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.reads = self.reads.wrapping_add(1);
        if self.reads % 4 == 1 {
            self.log.asks_source(TICK);
            return Err(ErrorKind::WouldBlock.into());
        }
        self.log.asks_source(self.takes);
        let gone = self.vanishes.as_ref().filter(|(path, _)| *path == reader.path);
        if gone.is_some_and(|(_, end)| offset >= *end) {
            return Err(ErrorKind::NotFound.into());
        }
        let read = self.inner.read_at(&mut reader.inner, offset, buffer)?;
        let window = self.window.filter(|_| reader.has_window);
        let end = offset.saturating_add(read as u64);
        if window.is_some_and(|window| end > reader.released.saturating_add(window)) {
            self.log.fault(format_args!(
                "{end} bytes of {} are read when {} are released, of a window of {} (give \
                 `Source::window` to `handle_entry`, and do `SendAction::Release`)",
                reader.path,
                reader.released,
                window.unwrap_or(0),
            ));
        }
        self.log.reads(read);
        Ok(read)
    }

    fn finish(&mut self, reader: &mut Self::Reader, meta: &Meta) -> Result<(), Withdrawal> {
        self.inner.finish(&mut reader.inner, meta)
    }

    fn release(&mut self, reader: &mut Self::Reader, offset: u64) {
        reader.released = reader.released.max(offset);
        self.inner.release(&mut reader.inner, offset);
    }

    fn window(&self, key: &Self::Key) -> Option<u64> {
        self.window.filter(|_| key.1)
    }
}
