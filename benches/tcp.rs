//! Decides whether the price of a checked transfer is bearable, and which block is best over TCP: memory to memory over
//! loopback, against a bare `io::copy` of the same bytes through the same kind of sockets in the same run.
//!
//! `cargo bench --bench tcp --features tcp`. The ratio between the two is the figure; each alone says more about
//! the machine.
#![expect(clippy::disallowed_methods, reason = "both ends need a thread and a socket")]
#![expect(clippy::print_stdout, reason = "ratios are what it is for")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

mod common;

use std::hint::black_box;
use std::io::{self, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use common::{Discard, source};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use haul::hash::BlockSize;
use haul::store::MemorySource;
use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions};
use haul::{Acceptor, Config, Connector, Transfer};

const CONTENT: usize = 256 << 20;

fn tcp(c: &mut Criterion) {
    let content: Vec<u8> = (1..=251).cycle().take(CONTENT).collect();
    let source = source(CONTENT);
    let mut group = c.benchmark_group("tcp");
    group
        .throughput(Throughput::Bytes(CONTENT as u64))
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3));
    for kib in [64, 256, 1024] {
        let name = format!("{kib} KiB");
        group.bench_function(BenchmarkId::new("bare", &name), |bencher| {
            bencher.iter(|| bare(black_box(&content), kib << 10));
        });
    }
    for kib in [16, 64, 128, 256, 512, 1024, 4096] {
        let name = format!("{kib} KiB");
        group.bench_function(BenchmarkId::new("haul", &name), |bencher| {
            bencher.iter(|| haul(black_box(&source), kib << 10));
        });
    }
    group.finish();
}

/// Measures for the decision itself: bare sockets and all blocks, by turns.
fn ratios(_: &mut Criterion) {
    let content: Vec<u8> = (1..=251).cycle().take(CONTENT).collect();
    let source = source(CONTENT);
    let blocks = [64, 128, 256, 512, 1024];
    let mut names = vec!["bare sockets with 256 KiB".to_owned()];
    names.extend(blocks.map(|kib| format!("haul with {kib} KiB")));
    common::compare("tcp", &names, |number| match number.checked_sub(1) {
        None => bare(&content, 256 << 10),
        Some(number) => haul(&source, blocks[number] << 10),
    });
}

/// Moves the content by the sockets alone: nothing is checked, named or answered.
fn bare(content: &[u8], buffer: usize) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback does not fail");
    let address = listener.local_addr().expect("loopback does not fail");
    let bob = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("loopback does not fail");
        let mut stream = BufReader::with_capacity(buffer, stream);
        io::copy(&mut stream, &mut black_box(io::sink())).expect("loopback does not fail")
    });
    let mut stream = TcpStream::connect(address).expect("loopback does not fail");
    let mut content = BufReader::with_capacity(buffer, content);
    let sent = io::copy(&mut content, &mut stream).expect("loopback does not fail");
    drop(stream);
    assert_eq!(bob.join().expect("it does not panic"), sent);
}

fn haul(source: &MemorySource, block: u64) {
    let options = TcpOptions::default();
    let loopback = "127.0.0.1:0".parse().expect("it is an address");
    let mut acceptor = TcpAcceptor::bind(&loopback, options).expect("loopback does not fail");
    let address = acceptor.local_addr().expect("loopback does not fail");
    let limits = haul::config::Limits::default().block(BlockSize::MAX);
    let config = Config::default().block_size(BlockSize::at_most(block)).limits(limits);
    let receiver = thread::spawn({
        let config = config.clone();
        move || {
            let (stream, _) = acceptor.accept().expect("loopback does not fail");
            let mut store = Discard::default();
            Transfer::new(config).receive(&mut store, stream).map(|_| store.written)
        }
    });
    let stream = TcpConnector::new(address.into()).connect().expect("loopback does not fail");
    let sent = Transfer::new(config).send(&mut source.clone(), stream);
    let sent = sent.expect("loopback does not fail");
    let written = receiver.join().expect("it does not panic").expect("loopback does not fail");
    // A bench of a transfer that was refused, or skipped, would be a fast one.
    assert_eq!((sent.delivered, sent.sent, written), (1, CONTENT as u64, CONTENT as u64));
}

criterion_group!(benches, tcp, ratios);
criterion_main!(benches);
