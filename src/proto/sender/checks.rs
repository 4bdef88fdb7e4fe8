//! Time for which a receiver that hashes what it holds is waited for.

/// Heartbeats of a receiver that hashes, of which each may stand for a block.
///
/// Invariant: no more of them count, in all, than there are blocks in what was claimed and ended, so that the wait
/// ends.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Number of checks that still put the idle deadline off, on this connection: one for each block that the receiver
    /// can be hashing.
    left: u64,
    /// Number of checks that may yet count as progress: one for each block of what was claimed or ended, on whatever
    /// number of connections. A receiver that is killed and begins anew each time is not waited for for ever.
    uncounted: u64,
}

impl Checks {
    /// Notes that the receiver has so many blocks to hash, `new` of which it learns for the first time.
    pub(super) fn expect(&mut self, blocks: u64, new: u64) {
        self.left = self.left.saturating_add(blocks);
        self.uncounted = self.uncounted.saturating_add(new);
    }

    /// Takes a heartbeat of a receiver that hashes. Returns whether it counts as progress; `None`: it puts no deadline
    /// off.
    pub(super) fn take(&mut self) -> Option<bool> {
        self.left = self.left.checked_sub(1)?;
        let is_new = self.uncounted > 0;
        self.uncounted = self.uncounted.saturating_sub(1);
        Some(is_new)
    }

    /// Begins anew on a new connection.
    pub(super) const fn reconnect(&mut self) {
        self.left = 0;
    }
}
