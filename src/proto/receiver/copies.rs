//! Blocks of a file that will be replaced which the sender called the same: they are copied to their place with the floor.
//!
//! It is not known before how many they are: all of a file may be called the same before its last block differs. So they are
//! copied block by block between heartbeats, like all that takes the receiver long, and read again once they are at their place:
//! the file that they come from may have changed since it was hashed. Until then they count as known, as what was called
//! the same does, and not as verified.

use super::requests::Content;
use super::{ReceiveAction, Receiver};
use crate::types::{EntryId, Refusal};

impl Receiver {
    /// A block to copy, whatever the time: there is nothing else that a sender which waits could be told.
    pub(super) fn copy_late(&mut self) -> Option<ReceiveAction> {
        let next = self.entries.iter().find_map(|(entry, incoming)| {
            let index = incoming.copying.first()?;
            let (offset, len) = incoming.span(&(index..index.saturating_add(1)))?;
            Some((entry, offset, usize::try_from(len).ok()?))
        });
        let (entry, offset, len) = next?;
        self.read(entry, offset, len, Content::Replaced)
    }

    /// A block was copied and read, or could not be: whatever it holds now is what the root will be held against.
    pub(super) fn copied(&mut self, entry: EntryId, index: u64, read: Result<&[u8], Refusal>) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(reason) => return self.drop_entry(entry, reason),
        };
        let Some(block) = incoming.offer.block_size.hash(index, bytes) else {
            return self.drop_entry(entry, Refusal::Mismatch);
        };
        incoming.copying.remove_first();
        incoming.gain(&block);
        incoming.reach(0);
        if incoming.copying.is_empty() {
            self.commit_if_complete(entry);
        }
    }
}
