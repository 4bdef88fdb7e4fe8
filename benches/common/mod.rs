//! A store that keeps nothing, so that a bench measures the way and not the destination.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use haul::proto::{EntryId, Offer, Refusal};
use haul::store::{Begun, Commit, Committed, MemorySource, Place};
use haul::{RelPath, Store};

/// Takes everything and holds nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Discard {
    ended: VecDeque<(EntryId, Result<Committed, Refusal>)>,
}

impl Store for Discard {
    type File = RelPath;

    fn begin(&mut self, offer: &Offer, _: Place) -> Result<Begun<RelPath>, Refusal> {
        Ok(Begun::Fresh(offer.meta.path.clone()))
    }

    fn read_at(&mut self, _: &mut RelPath, _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn write_at(&mut self, _: &mut RelPath, _: u64, bytes: &[u8]) -> Result<(), Refusal> {
        std::hint::black_box(bytes);
        Ok(())
    }

    fn copy_held(&mut self, _: &mut RelPath, _: u64, _: u64) -> Result<(), Refusal> {
        Err(Refusal::Policy)
    }

    fn commit(&mut self, file: RelPath, commit: Commit) {
        self.ended.push_back((commit.entry, Ok(Committed::new(file))));
    }

    fn poll_committed(&mut self, _: Duration) -> Option<(EntryId, Result<Committed, Refusal>)> {
        self.ended.pop_front()
    }

    fn suspend(&mut self, _: RelPath) {}

    fn discard(&mut self, _: RelPath) {}
}

/// One file of so many bytes.
pub(crate) fn source(bytes: usize) -> MemorySource {
    #[expect(clippy::expect_used, reason = "the name is the one in this line")]
    let path = RelPath::parse(b"content").expect("the name is safe");
    MemorySource::new().file(path, (1..=251).cycle().take(bytes).collect::<Vec<u8>>())
}
