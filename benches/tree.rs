//! Decides how small blocks may be before hashing by blocks costs more than hashing the whole: BLAKE3 is faster on
//! longer pieces. Both are measured in the same run, over the same content.
//!
//! `cargo bench --bench tree`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use haul::hash::{BlockSize, BlockTree, Hash};

const CONTENT: usize = 32 << 20;

fn blocks(c: &mut Criterion) {
    let content: Vec<u8> = (0..=250).cycle().take(CONTENT).collect();
    let whole = Hash::of(&content);
    let mut group = c.benchmark_group("tree");
    group
        .throughput(Throughput::Bytes(CONTENT as u64))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    group.bench_function("blake3::hash", |bencher| {
        bencher.iter(|| blake3::hash(black_box(&content)));
    });
    for kib in [4, 16, 64, 128, 256, 512, 1024, 4096, 8192] {
        let size = BlockSize::at_most(kib << 10);
        let name = format!("{kib} KiB");
        group.bench_function(BenchmarkId::new("blocks", name), |bencher| {
            bencher.iter(|| assert_eq!(root(black_box(&content), size), Some(whole)));
        });
    }
    group.finish();
}

fn root(content: &[u8], size: BlockSize) -> Option<Hash> {
    let mut tree = BlockTree::new();
    for (index, block) in (0..).zip(content.chunks(size.len())) {
        tree.insert(&size.hash(index, block)?);
    }
    tree.root(size.blocks(content.len() as u64))
}

criterion_group!(benches, blocks);
criterion_main!(benches);
