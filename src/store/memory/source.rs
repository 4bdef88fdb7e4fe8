//! A source in memory.

use std::io;
use std::sync::Arc;

use super::{copy_at, length};
use crate::store::{Source, Unsendable};
use crate::types::{Meta, RelPath, Withdrawal};

/// Entries in memory, sent in the order in which they were added.
///
/// ```
/// use haul::RelPath;
/// use haul::store::{MemorySource, Source};
///
/// let mut source = MemorySource::new().file(RelPath::parse(b"a/b.txt")?, "hello").directory(RelPath::parse(b"a")?);
/// assert_eq!(source.total(), Some(5));
/// # Ok::<(), haul::types::NameError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemorySource {
    entries: Vec<(Meta, Arc<[u8]>)>,
    next: usize,
}

impl MemorySource {
    /// Creates a source with no entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file of known size.
    #[must_use]
    pub fn file(self, path: RelPath, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let size = length(&bytes);
        self.entry(Meta::file(path, Some(size)), bytes)
    }

    /// Adds a folder.
    #[must_use]
    pub fn directory(self, path: RelPath) -> Self {
        self.entry(Meta::directory(path), Vec::new())
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(self, path: RelPath, target: impl Into<Box<[u8]>>) -> Self {
        self.entry(Meta::symlink(path, target.into()), Vec::new())
    }

    /// Adds any entry. The size in `meta` need not be true: a test may want that.
    #[must_use]
    pub fn entry(mut self, meta: Meta, bytes: impl Into<Vec<u8>>) -> Self {
        self.entries.push((meta, bytes.into().into()));
        self
    }
}

impl Source for MemorySource {
    type Key = usize;
    type Reader = Arc<[u8]>;

    fn rewind(&mut self) -> io::Result<()> {
        self.next = 0;
        Ok(())
    }

    fn next_entry(&mut self) -> Option<Result<(usize, Meta), Unsendable>> {
        let (meta, _) = self.entries.get(self.next)?;
        self.next += 1;
        Some(Ok((self.next - 1, meta.clone())))
    }

    fn open(&mut self, key: &usize, _meta: &Meta) -> Result<Arc<[u8]>, Withdrawal> {
        self.entries.get(*key).map(|(_, bytes)| Arc::clone(bytes)).ok_or(Withdrawal::Vanished)
    }

    fn read_at(
        &mut self,
        reader: &mut Arc<[u8]>,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        Ok(copy_at(reader, offset, buffer))
    }

    fn finish(&mut self, _reader: &mut Arc<[u8]>, _meta: &Meta) -> Result<(), Withdrawal> {
        Ok(())
    }

    fn total(&self) -> Option<u64> {
        Some(self.entries.iter().filter_map(|(meta, _)| meta.size).sum())
    }
}
