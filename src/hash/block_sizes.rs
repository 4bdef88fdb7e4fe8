//! The size of the blocks of a file, by the size of the file.

use super::BlockSize;

/// Sizes of the blocks that files are cut into, by the size of the file: the largest that makes at least
/// [`BlockSizes::BLOCKS`] blocks of it, between two bounds. Content of unknown size, as from a pipe, has the lower one.
///
/// Large blocks cost fewer calls a byte, small ones less memory, and less that travels again after a cut. So the smallest
/// of a file in which large ones pay is still a thousandth of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockSizes {
    least: BlockSize,
    most: BlockSize,
}

impl BlockSizes {
    /// Blocks that a file has at least where its blocks are larger than the lower bound: 1024, by which a file from 1 GiB
    /// on has blocks of 1 MiB (`benches/tcp.rs`).
    pub const BLOCKS: u64 = 1024;

    /// Returns the sizes between two bounds, in either order.
    #[must_use]
    pub const fn between(one: BlockSize, other: BlockSize) -> Self {
        if one.exponent() <= other.exponent() {
            Self { least: one, most: other }
        } else {
            Self { least: other, most: one }
        }
    }

    /// Returns the same size for every file.
    #[must_use]
    pub const fn all(size: BlockSize) -> Self {
        Self { least: size, most: size }
    }

    /// Returns the lower bound.
    #[must_use]
    pub const fn least(self) -> BlockSize {
        self.least
    }

    /// Returns the upper bound.
    #[must_use]
    pub const fn most(self) -> BlockSize {
        self.most
    }

    /// Returns the size of the blocks of a file of `size` bytes, if that is known.
    #[must_use]
    pub fn of(self, size: Option<u64>) -> BlockSize {
        let size = BlockSize::at_most(size.unwrap_or(0) / Self::BLOCKS);
        size.clamp(self.least, self.most)
    }

    /// Returns the same, with no block larger than `most`.
    #[must_use]
    pub fn at_most(self, most: BlockSize) -> Self {
        Self { least: self.least.min(most), most: self.most.min(most) }
    }
}
