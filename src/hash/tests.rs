//! The tree against `blake3` itself: every size around block and subtree edges, every order of few blocks.

use proptest::prelude::*;

use super::*;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 31 + i / 251) % 251).unwrap()).collect()
}

fn hashed(size: BlockSize, bytes: &[u8]) -> Vec<Hashed> {
    (0..).zip(bytes.chunks(size.len())).map(|(i, b)| size.hash(i, b).unwrap()).collect()
}

fn blocks(list: &[Hashed]) -> u64 {
    u64::try_from(list.len()).unwrap()
}

#[test]
fn root_of_every_size_up_to_nine_blocks_is_the_plain_hash() {
    for exponent in [0, 1, 2] {
        let size = BlockSize::from_exponent(exponent).unwrap();
        for whole in 0..9 {
            for extra in [0, 1, size.len() / 2, size.len() - 1] {
                let bytes = content(whole * size.len() + extra);
                let mut tree = BlockTree::new();
                let list = hashed(size, &bytes);
                assert!(list.iter().all(|block| tree.insert(block)));
                assert_eq!(
                    tree.root(blocks(&list)),
                    Some(Hash::of(&bytes)),
                    "{} bytes",
                    bytes.len()
                );
            }
        }
    }
}

/// Every permutation of up to six blocks, by Heap's method.
#[test]
fn every_order_of_blocks_gives_the_same_root() {
    for count in 1..=6 {
        let bytes = content(count * 1024 - 100);
        let mut list = hashed(BlockSize::MIN, &bytes);
        let mut stack = vec![0; count];
        let check = |list: &[Hashed]| {
            let mut tree = BlockTree::new();
            for (done, block) in list.iter().enumerate() {
                assert!(tree.root(blocks(list)).is_none(), "root before block {done}");
                assert!(tree.insert(block));
                assert!(!tree.insert(block), "a second insert is noticed");
                assert!(tree.contains(block.index));
            }
            assert_eq!(tree.root(blocks(list)), Some(Hash::of(&bytes)));
        };
        check(&list);
        let mut i = 0;
        while i < count {
            if stack[i] < i {
                list.swap(if i % 2 == 0 { 0 } else { stack[i] }, i);
                check(&list);
                stack[i] += 1;
                i = 0;
            } else {
                stack[i] = 0;
                i += 1;
            }
        }
    }
}

/// All subsets of eleven blocks: runs and holes partition the file, memory follows the holes.
#[test]
fn runs_and_holes_of_every_subset_partition_the_file() {
    const COUNT: u64 = 11;
    let list = hashed(BlockSize::MIN, &content(11 * 1024));
    for subset in 0..1_u64 << COUNT {
        let mut tree = BlockTree::new();
        list.iter().filter(|b| subset >> b.index & 1 == 1).for_each(|b| assert!(tree.insert(b)));
        let held: Vec<_> = (0..COUNT).filter(|i| subset >> i & 1 == 1).collect();
        let lacking: Vec<_> = (0..COUNT).filter(|i| subset >> i & 1 == 0).collect();
        assert_eq!(tree.runs().flatten().collect::<Vec<_>>(), held);
        assert_eq!(tree.holes(COUNT).flatten().collect::<Vec<_>>(), lacking);
        assert!(
            held.iter().all(|&i| tree.contains(i)) && !lacking.iter().any(|&i| tree.contains(i))
        );
        assert_eq!(tree.prefix(), u64::from((!subset).trailing_zeros().min(11)));
        assert_eq!(tree.root(COUNT).is_some(), lacking.is_empty());
        assert!(tree.subtrees() <= 8 * (tree.holes(COUNT).count() + 1));
    }
}

#[test]
fn tree_of_a_million_blocks_in_order_stays_small() {
    let block = BlockSize::MIN.hash(0, b"x").unwrap();
    let mut tree = BlockTree::new();
    for index in 0..1_000_000 {
        assert!(tree.insert(&Hashed { index, ..block }));
        assert!(tree.subtrees() <= 64);
    }
}

#[test]
fn tree_at_the_far_end_of_the_index_range_does_not_overflow() {
    let block = BlockSize::MIN.hash(0, b"x").unwrap();
    let mut tree = BlockTree::new();
    // The last block that `BlockSize::hash` gives: past it, the end of the block is past 2^64 bytes.
    let last = u64::MAX / 1024 - 1;
    for index in [last, last - 1, last - 2, 0, 1] {
        assert!(tree.insert(&Hashed { index, ..block }));
        assert!(tree.contains(index));
    }
    assert!(tree.root(last + 1).is_none());
    let mut holes = tree.holes(last + 1);
    assert_eq!((holes.next(), holes.next()), (Some(2..last - 2), None));
}

#[test]
fn block_that_cannot_be_is_not_hashed() {
    assert!(BlockSize::MIN.hash(0, &[]).is_none());
    assert!(BlockSize::MIN.hash(0, &[0; 1025]).is_none());
    assert!(BlockSize::MIN.hash(u64::MAX, &[0]).is_none());
    assert!(BlockSize::MIN.hash(u64::MAX / 1024, &[0]).is_none());
    assert!(BlockSize::MIN.hash(u64::MAX / 1024 - 1, &[0]).is_some());
}

#[test]
fn block_size_at_most_is_the_largest_power_that_fits() {
    assert_eq!(BlockSize::at_most(0), BlockSize::MIN);
    assert_eq!(BlockSize::at_most(2047), BlockSize::MIN);
    assert_eq!(BlockSize::at_most(2048).bytes(), 2048);
    assert_eq!(BlockSize::at_most(u64::MAX), BlockSize::MAX);
    for kib in (0..20_000).chain([u64::MAX, u64::MAX / 1024, 1 << 54]) {
        let is_size = kib.is_power_of_two() && kib <= 8192;
        let size = BlockSize::from_kib(kib);
        assert_eq!(size.map(BlockSize::bytes), is_size.then(|| kib * 1024), "{kib}");
    }
    for exponent in 0..=13 {
        let size = BlockSize::from_exponent(exponent).unwrap();
        assert_eq!(BlockSize::at_most(size.bytes()), size);
        assert_eq!((size.blocks(0), size.blocks(1), size.blocks(size.bytes() + 1)), (0, 1, 2));
    }
    assert!(BlockSize::from_exponent(14).is_none());
}

proptest! {
    #[test]
    fn root_of_any_content_in_any_order_is_the_plain_hash(
        bytes in proptest::collection::vec(any::<u8>(), 0..40_000),
        exponent in 0_u8..4,
        seed in any::<u64>(),
    ) {
        let size = BlockSize::from_exponent(exponent).unwrap();
        let mut list = hashed(size, &bytes);
        list.sort_by_key(|block| block.index.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed);
        let mut tree = BlockTree::new();
        prop_assert!(list.iter().all(|block| tree.insert(block)));
        prop_assert_eq!(tree.root(blocks(&list)), Some(Hash::of(&bytes)));
    }
}

proptest! {
    /// For every size of a file and every two bounds: within them, monotonous, and never cut in fewer blocks than the
    /// documented number unless the lower bound asks for it.
    #[test]
    fn block_size_of_a_file_is_the_largest_that_makes_a_thousand_blocks(
        bounds in (0_u8..=13, 0_u8..=13),
        size in (0_u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift),
        most in 0_u8..=13,
    ) {
        let [one, other, most] =
            [bounds.0, bounds.1, most].map(|k| BlockSize::from_exponent(k).unwrap());
        let sizes = BlockSizes::between(one, other);
        prop_assert_eq!(sizes, BlockSizes::between(other, one));
        let block = sizes.of(Some(size));
        prop_assert!(sizes.least() <= block && block <= sizes.most());
        let has_enough = |block: BlockSize| size / block.bytes() >= BlockSizes::BLOCKS;
        prop_assert!(block == sizes.least() || has_enough(block));
        let larger = BlockSize::from_exponent(block.exponent() + 1);
        let is_largest = |larger: BlockSize| larger > sizes.most() || !has_enough(larger);
        prop_assert!(larger.is_none_or(is_largest));
        prop_assert!(sizes.of(Some(size.saturating_add(1))) >= block);
        prop_assert_eq!(sizes.of(None), sizes.least());
        // What a peer takes bounds it, whenever that is applied.
        prop_assert_eq!(sizes.at_most(most).of(Some(size)), block.min(most));
        prop_assert_eq!(BlockSizes::all(one).of(Some(size)), one);
    }
}
