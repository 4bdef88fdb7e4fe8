//! Decides the block of most files in `Config::blocks`: which block moves the most bytes a second, with driver, buffers and two threads, but
//! without a network. Larger blocks save messages; smaller ones stay in the cache between reading, hashing and
//! writing. The second group shows what a small pipe costs: a change of threads for each time that it is full.
//!
//! `cargo bench --bench driver`.
#![expect(clippy::disallowed_methods, reason = "the other end needs a thread")]
#![expect(clippy::print_stdout, reason = "ratios are what it is for")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

mod common;

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use common::{Discard, source};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use haul::hash::BlockSize;
use haul::store::MemorySource;
use haul::transport::memory;
use haul::{Config, Transfer};

const CONTENT: usize = 64 << 20;

fn driver(c: &mut Criterion) {
    let source = source(CONTENT);
    let mut group = c.benchmark_group("driver");
    group
        .throughput(Throughput::Bytes(CONTENT as u64))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for kib in [16, 32, 64, 128, 256, 512, 1024, 2048, 4096] {
        group.bench_function(BenchmarkId::new("block", format!("{kib} KiB")), |bencher| {
            bencher.iter(|| transfer(black_box(&source), kib << 10, 1 << 20));
        });
    }
    for kib in [4, 64, 1024, 16_384] {
        group.bench_function(BenchmarkId::new("capacity", format!("{kib} KiB")), |bencher| {
            bencher.iter(|| transfer(black_box(&source), 256 << 10, kib << 10));
        });
    }
    group.finish();
}

/// Measures for the decision itself: all blocks against that of `Config::default`, by turns.
fn ratios(_: &mut Criterion) {
    let source = source(CONTENT);
    let blocks = [256, 16, 64, 128, 512, 1024, 4096];
    let names = blocks.map(|kib| format!("{kib} KiB"));
    common::compare("driver", &names, |number| transfer(&source, blocks[number] << 10, 1 << 20));
}

fn transfer(source: &MemorySource, block: u64, capacity: usize) {
    let block = BlockSize::at_most(block);
    let limits = haul::config::Limits::default().block(BlockSize::MAX);
    let config = Config::default().block_size(block).limits(limits);
    let (alice, bob) = memory::pipe(capacity.try_into().expect("no capacity is zero"));
    let receiver = thread::spawn({
        let config = config.clone();
        move || {
            let mut store = Discard::default();
            Transfer::new(config).receive(&mut store, bob).map(|_| store.written)
        }
    });
    let sent =
        Transfer::new(config).send(&mut source.clone(), alice).expect("the pipe is not lost");
    let written = receiver.join().expect("it does not panic").expect("the pipe is not lost");
    // A bench of a transfer that was refused, or skipped, would be a fast one.
    assert_eq!((sent.delivered, sent.sent, written), (1, CONTENT as u64, CONTENT as u64));
}

criterion_group!(benches, driver, ratios);
criterion_main!(benches);
