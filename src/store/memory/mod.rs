//! A source and a store in memory: for tests, examples, and programs whose content is no file.

#[cfg(feature = "testing")]
mod hand;
mod source;
mod store;

#[cfg(feature = "testing")]
pub(crate) use hand::Foul;
pub use source::MemorySource;
pub use store::{MemoryEntry, MemoryFile, MemoryStore};

fn copy_at(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = bytes.get(start..).unwrap_or_default();
    let count = rest.len().min(buffer.len());
    if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
