//! Whether it is worth while to offer small files by their root first (F-1).

/// Whether small files are offered by their roots first, as the receiver may hold them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Roots {
    pub(super) preferred: bool,
    pub(super) held: u64,
    pub(super) lacking: u64,
}

impl Roots {
    /// To ask costs a round trip where the receiver lacks the content: not worth it where it nearly always does.
    pub(super) const fn is_worth_asking(self) -> bool {
        self.preferred && self.lacking <= self.held.saturating_add(ROOTS_MISSED)
    }
}

/// How many more files a receiver may lack than it holds before roots are no longer asked for first.
const ROOTS_MISSED: u64 = 16;
