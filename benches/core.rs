//! Decides what the core may cost: both machines by hand in one thread, with nothing between them but memory. What a
//! byte costs here beyond `blake3::hash` twice (each side hashes it once) is copies; what an empty file costs is
//! messages.
//!
//! `cargo bench --bench core --features testing`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use haul::hash::BlockSize;
use haul::store::{MemorySource, MemoryStore};
use haul::testing::pair::{Pair, SessionEnd};
use haul::{Config, RelPath};

const CONTENT: usize = 32 << 20;
const FILES: usize = 10_000;

fn bytes(c: &mut Criterion) {
    let content: Vec<u8> = (1..=251).cycle().take(CONTENT).collect();
    let source = MemorySource::new().file(path("content"), content.clone());
    let mut group = c.benchmark_group("core/bytes");
    settings(&mut group).throughput(Throughput::Bytes(CONTENT as u64));
    group.bench_function("blake3::hash twice", |bencher| {
        bencher.iter(|| (blake3::hash(black_box(&content)), blake3::hash(black_box(&content))));
    });
    for kib in [16, 64, 256, 1024] {
        let config = Config::default().block_size(BlockSize::at_most(kib << 10));
        group.bench_function(BenchmarkId::new("session", format!("{kib} KiB")), |bencher| {
            bencher.iter(|| session(&config, black_box(&source), 1));
        });
    }
    group.finish();
}

fn files(c: &mut Criterion) {
    let mut group = c.benchmark_group("core/files");
    settings(&mut group).throughput(Throughput::Elements(FILES as u64));
    for size in [0, 1000] {
        let mut source = MemorySource::new();
        for number in 0..FILES {
            let name = format!("folder {}/file {number}", number / 100);
            source = source.file(path(&name), vec![1; size]);
        }
        group.bench_function(BenchmarkId::new("session", format!("{size} B")), |bencher| {
            bencher.iter(|| session(&Config::default(), black_box(&source), FILES as u64));
        });
    }
    group.finish();
}

fn session(config: &Config, source: &MemorySource, files: u64) {
    let mut pair = Pair::new(config, source.clone(), config, MemoryStore::new());
    assert!(
        matches!(pair.run(), (SessionEnd::Closed(sent), SessionEnd::Closed(_)) if sent.delivered == files)
    );
}

fn path(name: &str) -> RelPath {
    #[expect(clippy::expect_used, reason = "the names are those of this file")]
    RelPath::parse(name.as_bytes()).expect("every name here is safe")
}

fn settings<'g, 'c, M: criterion::measurement::Measurement>(
    group: &'g mut criterion::BenchmarkGroup<'c, M>,
) -> &'g mut criterion::BenchmarkGroup<'c, M> {
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
}

criterion_group!(benches, bytes, files);
criterion_main!(benches);
