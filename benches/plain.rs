//! Decides `ChunkSize::default`: which chunk moves the most bytes a second over the plain wire, and
//! from where on a larger one gains nothing. Hashing is part of it, because it is faster on longer
//! pieces.
//!
//! `cargo bench --bench plain`. "memory" is the cost of the loop and its hash alone; "tcp" is both
//! ends in one process over loopback, each in its own thread and with the same chunk.
#![expect(clippy::disallowed_methods, reason = "the other end needs a socket and a thread")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

use std::hint::black_box;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::time::Duration;
use std::{io, thread};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use haul::plain::{self, ChunkSize, PlainEvent};

const CHUNKS: [usize; 6] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Long enough that opening the connection does not show.
const CONTENT: usize = 32 << 20;

fn chunks(c: &mut Criterion) {
    let content: Vec<u8> = (0..=250).cycle().take(CONTENT).collect();
    let mut group = c.benchmark_group("plain");
    group
        .throughput(Throughput::Bytes(CONTENT as u64))
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    for bytes in CHUNKS {
        let chunk = ChunkSize::new(bytes).expect("all are within the range");
        let name = format!("{} KiB", bytes >> 10);
        group.bench_function(BenchmarkId::new("memory", &name), |bencher| {
            bencher.iter(|| {
                plain::receive(&mut black_box(&content[..]), &mut io::sink(), chunk, go_on)
                    .expect("memory does not fail")
            });
        });
        group.bench_function(BenchmarkId::new("tcp", &name), |bencher| {
            bencher.iter(|| over_tcp(black_box(&content), chunk).expect("loopback does not fail"));
        });
    }
    group.finish();
}

fn over_tcp(mut content: &[u8], chunk: ChunkSize) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let bob = thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        plain::receive(&mut stream, &mut io::sink(), chunk, go_on).map_err(io::Error::other)
    });
    let mut stream = TcpStream::connect(address)?;
    let sent = plain::send(&mut content, &mut stream, chunk, go_on).map_err(io::Error::other)?;
    drop(stream);
    let received = bob.join().expect("the receiver does not panic")?;
    assert_eq!(sent.hash, received.hash);
    Ok(())
}

fn go_on(_: PlainEvent) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

criterion_group!(benches, chunks);
criterion_main!(benches);
