//! Decides whether frames and their checks may cost what they do: the messages of a session of many files without content,
//! laid out and taken apart again, beside one keyed BLAKE3 of each frame's bytes, which is what the checks must cost.
//!
//! `cargo bench --bench codec --features testing`.
#![expect(clippy::disallowed_methods, reason = "a bench measures time")]
#![expect(clippy::print_stdout, reason = "ratios are what it is for")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

#[allow(dead_code, reason = "no store is needed here")]
mod common;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use haul::store::{MemorySource, MemoryStore};
use haul::testing::pair::Pair;
use haul::testing::recording::Recording;
use haul::{Config, RelPath};

const FILES: usize = 10_000;

fn codec(c: &mut Criterion) {
    let (sent, answered) = session();
    let recording = Recording::parse(&sent, &answered).expect("a session is made of frames");
    let frames = || recording.sender().chain(recording.receiver()).map(|(_, len)| len);
    let bytes = vec![7; frames().max().unwrap_or(0)];
    let checks = || {
        for len in frames() {
            // The header is checked by itself, and again with what follows it.
            black_box(blake3::keyed_hash(&[1; 32], &bytes[..16]));
            black_box(blake3::keyed_hash(&[1; 32], &bytes[..len]));
        }
    };
    let (mut down, mut up) = (Vec::new(), Vec::new());
    let mut encode = || {
        down.clear();
        up.clear();
        black_box(&recording).encode(&mut down, &mut up);
    };
    let decode = || Recording::parse(black_box(&sent), black_box(&answered)).is_ok();

    let mut group = c.benchmark_group("codec");
    group.sample_size(20).warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    group.throughput(Throughput::Elements(frames().count() as u64));
    group.bench_function("checks alone", |bencher| bencher.iter(checks));
    group.bench_function("encode", |bencher| bencher.iter(&mut encode));
    group.bench_function("decode", |bencher| bencher.iter(decode));
    group.finish();

    let names = ["the checks alone", "encode", "decode"].map(str::to_owned);
    common::compare("codec", &names, |number| match number {
        0 => checks(),
        1 => encode(),
        _ => assert!(decode()),
    });
}

/// Returns the frames of both sides about files of no bytes.
fn session() -> (Vec<u8>, Vec<u8>) {
    let mut source = MemorySource::new();
    for number in 0..FILES {
        let path = RelPath::parse(format!("folder {}/file {number}", number / 100).as_bytes())
            .expect("every name here is safe");
        source = source.file(path, "");
    }
    let config = Config::default();
    let mut pair = Pair::new(&config, source, &config, MemoryStore::new());
    pair.down.keep_record();
    pair.up.keep_record();
    let _ = pair.run();
    (pair.down.record().to_vec(), pair.up.record().to_vec())
}

criterion_group!(benches, codec);
criterion_main!(benches);
