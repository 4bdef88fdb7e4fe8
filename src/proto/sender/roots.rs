//! Choice whether small files are offered by their roots first.

/// Answers of the receiver to offers by root so far, over all connections.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Roots {
    /// The receiver announced in its greeting that it may hold files already.
    preferred: bool,
    held: u64,
    lacking: u64,
}

impl Roots {
    /// Notes whether the receiver announced that it may hold files already.
    pub(super) const fn prefer(&mut self, preferred: bool) {
        self.preferred = preferred;
    }

    /// Counts an entry that the receiver holds.
    pub(super) fn count_held(&mut self) {
        self.held = self.held.saturating_add(1);
    }

    /// Counts an entry that was offered by its root, and that the receiver lacks.
    pub(super) fn count_lacking(&mut self) {
        self.lacking = self.lacking.saturating_add(1);
    }

    /// Returns whether to offer by root. To ask costs a round trip where the receiver lacks the content: not worth it where it
    /// nearly always does.
    pub(super) const fn is_worth_asking(self) -> bool {
        self.preferred && self.lacking <= self.held.saturating_add(ROOTS_MISSED)
    }
}

/// Number of files more that a receiver may lack than it holds before roots are no longer asked for
/// first.
const ROOTS_MISSED: u64 = 16;
