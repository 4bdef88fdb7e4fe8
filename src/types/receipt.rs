//! The receiver's confirmation that it holds an entry.

use std::fmt;

use super::path::RelPath;
use crate::hash::Hash;

/// Durability of a file at the receiver; each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Complete, verified and under its final name. It survives the death of the receiving process.
    Received,
    /// As `Received`, and handed to the device (`fdatasync` of the file). The content survives a crash of
    /// the system; the name may not.
    Flushed,
    /// As `Flushed`, with `fsync` of the file and of its folder: both survive a power cut, as far as the
    /// device keeps its word. The default.
    #[default]
    Synced,
}

/// Way in which the receiver came to hold the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The file was written in this transfer.
    Stored,
    /// The file was there already, with the same content.
    Held,
}

/// The receiver's confirmation that it holds an entry. It is sent only after that is so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The name under which the receiver holds the entry, which may differ from the one that was offered.
    pub path: RelPath,
    /// The size in bytes.
    pub size: u64,
    /// The hash of the content: what `b3sum` prints.
    pub hash: Hash,
    /// Durability of the file.
    pub durability: Durability,
    /// Way in which the receiver came to hold it: written, or there already.
    pub outcome: Outcome,
}

impl Receipt {
    /// Returns a receipt, as a test makes it.
    #[must_use]
    pub const fn new(
        path: RelPath,
        size: u64,
        hash: Hash,
        durability: Durability,
        outcome: Outcome,
    ) -> Self {
        Self { path, size, hash, durability, outcome }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Received => "received",
            Self::Flushed => "flushed",
            Self::Synced => "synced",
        })
    }
}
