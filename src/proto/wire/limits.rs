//! Limits of the wire, the same for both sides.

use std::ops::RangeInclusive;

/// The most block hashes in one [`Message::Have`] (M-3).
pub(crate) const HAVE_MAX: u32 = 4096;

/// The most ranges in one [`Message::Missing`] or [`Message::Kept`] (M-10, M-11).
pub(crate) const RANGES_MAX: u32 = 1024;

/// The bytes of the control part of a `Block` (M-5).
pub(crate) const BLOCK_LEN: u32 = 44;

/// The most bytes that the wire has for a name: [`RelPath::MAX_BYTES`](crate::types::RelPath::MAX_BYTES) is one less.
pub(crate) const NAME_MAX: u32 = 4096;

/// The versions of the protocol that this code supports (M-1).
pub(crate) const VERSIONS: RangeInclusive<u16> = 1..=1;

/// The most names beside the offered one that are tried.
pub(crate) const BESIDE_MAX: u32 = 10_000;

/// The most bytes of one `Zeros` (M-7): they cost a hash each, whatever they cost the sender.
pub(crate) const ZEROS_MAX: u64 = 1 << 24;
