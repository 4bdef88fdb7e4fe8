//! The block tree: hashes of blocks, merged to the hash of the file.
//!
//! A file is cut in blocks of one size, a power of two of at least 1 KiB, aligned to its start. The hash
//! of a block is its BLAKE3 *chaining value*: the value of the subtree that this block is in the BLAKE3
//! tree of the whole file. One pass of hashing thus gives both the check of every block as it travels
//! and, merged, the file's ordinary BLAKE3 hash, which `b3sum` prints too.
//!
//! Blocks may be added in any order. Neighbours are merged as soon as both are there, so the memory that
//! a [`BlockTree`] takes grows with the number of holes in it, not with the number of blocks.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use blake3::hazmat::{self, HasherExt, Mode};

pub use self::block_sizes::BlockSizes;

mod block_sizes;

/// The BLAKE3 hash of a whole file, as `b3sum` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

/// The BLAKE3 chaining value of one block at its place in its file.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockHash([u8; 32]);

/// Result of hashing one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hashed {
    /// The block's place in the file, counted in blocks.
    pub index: u64,
    /// The check of this block.
    pub hash: BlockHash,
    /// Root of a file that has no other block, for block 0.
    pub alone: Option<Hash>,
}

/// The size of a block: 2^k KiB, from 1 KiB to 8 MiB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockSize(u8);

/// The blocks of one file that are known so far, merged as far as they can be.
#[derive(Debug, Clone, Default)]
pub struct BlockTree {
    /// First block → the complete subtree that starts there.
    ///
    /// Invariant: subtrees do not overlap, and two siblings never stand side by side except where the
    /// left one starts at block 0: their parent may turn out to be the root, which is merged differently.
    nodes: BTreeMap<u64, Node>,
    alone: Option<Hash>,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    /// The subtree spans 2^level blocks (fewer at the end of the file).
    level: u8,
    hash: BlockHash,
}

impl BlockTree {
    /// Returns a tree that knows no block.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a block; returns `false`, and changes nothing, if it was there already.
    pub fn insert(&mut self, block: &Hashed) -> bool {
        if self.contains(block.index) {
            return false;
        }
        if block.index == 0 {
            self.alone = block.alone;
        }
        let mut first = block.index;
        let mut node = Node { level: 0, hash: block.hash };
        // The end of this loop: `first` has at most 64 bits, and each round clears or skips one of them.
        while let Some(span) = 1_u64.checked_shl(node.level.into()) {
            let sibling = first ^ span;
            let left = first.min(sibling);
            let mate = self.nodes.get(&sibling).filter(|mate| mate.level == node.level);
            let (false, Some(mate)) = (left == 0, mate) else { break };
            let (l, r) =
                if left == first { (node.hash, mate.hash) } else { (mate.hash, node.hash) };
            let merged = BlockHash(hazmat::merge_subtrees_non_root(&l.0, &r.0, Mode::Hash));
            self.nodes.remove(&sibling);
            first = left;
            node = Node { level: node.level.saturating_add(1), hash: merged };
        }
        self.nodes.insert(first, node);
        true
    }

    /// Returns whether this block has been added.
    #[must_use]
    pub fn contains(&self, index: u64) -> bool {
        self.nodes.range(..=index).next_back().is_some_and(|(first, node)| index < node.end(*first))
    }

    /// Returns the number of blocks from the start of the file up to the first that is not known.
    #[must_use]
    pub fn prefix(&self) -> u64 {
        self.runs().next().filter(|run| run.start == 0).map_or(0, |run| run.end)
    }

    /// Returns the known blocks as ascending runs that do not touch.
    pub fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut nodes = self.nodes.iter().peekable();
        std::iter::from_fn(move || {
            let (first, node) = nodes.next()?;
            let mut run = *first..node.end(*first);
            while let Some((first, node)) = nodes.next_if(|(first, _)| **first == run.end) {
                run.end = node.end(*first);
            }
            Some(run)
        })
    }

    /// Returns the blocks below `blocks` that are not known, as ascending runs that do not touch.
    pub fn holes(&self, blocks: u64) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = 0;
        let mut runs = self.runs();
        std::iter::from_fn(move || {
            loop {
                let run = runs.next().unwrap_or(blocks..blocks);
                let hole = at..run.start.min(blocks);
                if hole.start >= blocks {
                    return None;
                }
                at = run.end;
                if !hole.is_empty() {
                    return Some(hole);
                }
            }
        })
    }

    /// Returns the end of the run of known blocks that `index` stands in; `index` itself, if it is
    /// not known.
    #[must_use]
    pub fn run_end(&self, index: u64) -> u64 {
        let mut end = index;
        let within = self.nodes.range(..=index).next_back();
        let after = within.into_iter().chain(self.nodes.range(index.saturating_add(1)..));
        for (first, node) in after {
            if *first > end || node.end(*first) <= end {
                break;
            }
            end = node.end(*first);
        }
        end
    }

    /// Returns the block after the last that is known; 0 if none is.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.nodes.last_key_value().map_or(0, |(first, node)| node.end(*first))
    }

    /// Forgets all runs that begin at this block or after it.
    pub fn truncate(&mut self, index: u64) {
        drop(self.nodes.split_off(&index));
    }

    /// Returns the number of subtrees held, which is what the memory of a tree depends on.
    #[must_use]
    pub fn subtrees(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the root of the file of `blocks` blocks, once all of them are known.
    #[must_use]
    pub fn root(&self, blocks: u64) -> Option<Hash> {
        match blocks {
            0 => Some(Hash::of(&[])),
            1 => self.alone,
            _ => {
                let left = left_blocks(blocks);
                let (l, r) = (self.span(0, left)?, self.span(left, blocks.checked_sub(left)?)?);
                Some(Hash(hazmat::merge_subtrees_root(&l.0, &r.0, Mode::Hash).into()))
            }
        }
    }

    /// Returns the value of the subtree over `count` blocks from `first`, neither of them the whole
    /// file.
    fn span(&self, first: u64, count: u64) -> Option<BlockHash> {
        if let Some(node) = self.nodes.get(&first)
            && 1_u64.checked_shl(node.level.into()) == Some(count)
        {
            return Some(node.hash);
        }
        if count < 2 {
            return None;
        }
        // Recursion is bounded: `count` at least halves on the left and loses its top bit on the right.
        let left = left_blocks(count);
        let l = self.span(first, left)?;
        let r = self.span(first.checked_add(left)?, count.checked_sub(left)?)?;
        Some(BlockHash(hazmat::merge_subtrees_non_root(&l.0, &r.0, Mode::Hash)))
    }
}

impl Node {
    fn end(&self, first: u64) -> u64 {
        first.saturating_add(1_u64.checked_shl(self.level.into()).unwrap_or(u64::MAX))
    }
}

/// Returns the blocks in the left half of a tree of `count ≥ 2`: the largest power of two below
/// `count`.
fn left_blocks(count: u64) -> u64 {
    1_u64.checked_shl(63_u32.saturating_sub(count.saturating_sub(1).leading_zeros())).unwrap_or(1)
}

impl BlockSize {
    /// 1 KiB, the smallest: the chunk of BLAKE3, below which it has no subtrees.
    pub const MIN: Self = Self(0);
    /// 8 MiB, the largest.
    pub const MAX: Self = Self(13);

    /// Returns the block of 2^`exponent` KiB; `None` above [`BlockSize::MAX`].
    #[must_use]
    pub const fn from_exponent(exponent: u8) -> Option<Self> {
        if exponent <= Self::MAX.0 { Some(Self(exponent)) } else { None }
    }

    /// Returns the block of `kib` KiB; `None` unless that is a power of two, within [`BlockSize::MIN`] and [`BlockSize::MAX`].
    #[must_use]
    pub const fn from_kib(kib: u64) -> Option<Self> {
        let size = Self::at_most(kib.saturating_mul(1024));
        if size.bytes() == kib.saturating_mul(1024) { Some(size) } else { None }
    }

    /// Returns the largest block size that is not above `bytes`, within [`BlockSize::MIN`] and
    /// [`BlockSize::MAX`].
    #[must_use]
    pub const fn at_most(bytes: u64) -> Self {
        let kib = bytes / 1024;
        let mut exponent = 0;
        while exponent < Self::MAX.0 && (2 << exponent) <= kib {
            exponent += 1;
        }
        Self(exponent)
    }

    /// Returns the k of 2^k KiB.
    #[must_use]
    pub const fn exponent(self) -> u8 {
        self.0
    }

    /// Returns the size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1024 << self.0
    }

    /// Returns the size in bytes, as a length in memory.
    #[must_use]
    pub const fn len(self) -> usize {
        1024 << self.0
    }

    /// Returns `false`: no block size is 0.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Returns the number of blocks of a file of `size` bytes; 0 if it is empty.
    #[must_use]
    pub const fn blocks(self, size: u64) -> u64 {
        size.div_ceil(self.bytes())
    }

    /// Returns the block that the byte at `offset` stands in.
    #[must_use]
    pub const fn index(self, offset: u64) -> u64 {
        offset / self.bytes()
    }

    /// Returns whether a file of `size` bytes has nothing but whole blocks.
    #[must_use]
    pub const fn divides(self, size: u64) -> bool {
        size.is_multiple_of(self.bytes())
    }

    /// Returns the offset of block `index`; `None` past the range of `u64`.
    #[must_use]
    pub const fn offset(self, index: u64) -> Option<u64> {
        index.checked_mul(self.bytes())
    }

    /// Hashes the block that stands at `index`.
    ///
    /// `None` if it is empty or longer than a block, or if its place lies past the range of `u64`.
    #[must_use]
    pub fn hash(self, index: u64, bytes: &[u8]) -> Option<Hashed> {
        if bytes.is_empty() || bytes.len() > self.len() {
            return None;
        }
        let offset = self.offset(index)?;
        offset.checked_add(self.bytes())?;
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(offset);
        hasher.update(bytes);
        let alone = (index == 0).then(|| Hash(hasher.finalize().into()));
        Some(Hashed { index, hash: BlockHash(hasher.finalize_non_root()), alone })
    }
}

impl Hash {
    /// Returns the hash of these bytes as a whole file.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }

    /// Returns the hash as it stands on the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl BlockHash {
    /// Returns the hash as it stands on the wire.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for BlockSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB", 1_u64 << self.0)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests;
