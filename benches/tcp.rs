//! Decides whether the price of a checked transfer is bearable, and which block is best for a large
//! file (`Config::blocks`): over TCP on loopback, from values in memory to none, and from a file to a
//! file, both in memory. The first goes against a bare `io::copy` of the same bytes through the same
//! kind of sockets in the same run, the second against a pump that hashes the file at both ends and does
//! nothing else.
//!
//! `cargo bench --bench tcp --features tcp,fs`. The ratio is the figure; each alone says more about the machine.
#![expect(clippy::disallowed_methods, reason = "both ends need a thread and a socket")]
#![expect(clippy::print_stdout, reason = "ratios are what it is for")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

mod common;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use common::{Discard, source};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use haul::hash::BlockSize;
use haul::store::MemorySource;
use haul::store::fs::{FsSource, FsStore};
use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions};
use haul::{Acceptor, Config, Connector, Durability, Source, Store, Transfer};

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
            bencher.iter(|| to_nothing(black_box(&source), kib << 10));
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
        Some(number) => to_nothing(&source, blocks[number] << 10),
    });
}

/// Measures what the command does: a file goes to a file, and both are in memory where the system has a place for that.
fn files(_: &mut Criterion) {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory } else { Path::new(env!("CARGO_TARGET_TMPDIR")) };
    let folder = tempfile::tempdir_in(parent).expect("a folder can be made");
    let content = folder.path().join("content");
    fs::write(&content, (1..=251).cycle().take(CONTENT).collect::<Vec<u8>>()).expect("it fits");
    let inbox = folder.path().join("inbox");
    let blocks = [256, 64, 128, 512, 1024, 2048];
    let mut names = vec!["a pump with BLAKE3 at both ends".to_owned()];
    names.extend(blocks.map(|kib| format!("a file by {kib} KiB")));
    common::compare("tcp", &names, |number| {
        fs::create_dir(&inbox).expect("a folder can be made");
        match number.checked_sub(1) {
            None => pump(&content, &inbox.join("content")),
            Some(number) => {
                let source = FsSource::new([&content]).expect("it is there");
                let store = FsStore::open(&inbox).expect("it is there");
                haul(source, store, blocks[number] << 10);
            }
        }
        let size = fs::metadata(inbox.join("content")).expect("it arrived").len();
        assert_eq!(size, CONTENT as u64);
        fs::remove_dir_all(&inbox).expect("it can be removed");
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

/// Moves a file by the sockets alone, and hashes it at both ends: what any tool pays that checks what it moves.
fn pump(from: &Path, to: &Path) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback does not fail");
    let address = listener.local_addr().expect("loopback does not fail");
    let (sent, received) = thread::scope(|scope| {
        let bob = scope.spawn(|| {
            let (stream, _) = listener.accept().expect("loopback does not fail");
            copy_hashed(stream, File::create(to).expect("it can be made"))
        });
        let stream = TcpStream::connect(address).expect("loopback does not fail");
        let sent = copy_hashed(File::open(from).expect("it is there"), stream);
        (sent, bob.join().expect("it does not panic"))
    });
    assert_eq!(sent, received);
}

/// Copies all there is by 1 MiB, and returns its hash.
fn copy_hashed(mut from: impl Read, mut to: impl Write) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let len = from.read(&mut buffer).expect("nothing fails");
        if len == 0 {
            return hasher.finalize();
        }
        hasher.update(&buffer[..len]);
        to.write_all(&buffer[..len]).expect("nothing fails");
    }
}

fn to_nothing(source: &MemorySource, block: u64) {
    let store = haul(source.clone(), Discard::default(), block);
    assert_eq!(store.written, CONTENT as u64);
}

/// Moves the content, and returns the store that took it.
fn haul<S: Store + Send>(mut source: impl Source, mut store: S, block: u64) -> S {
    let options = TcpOptions::default();
    let loopback = "127.0.0.1:0".parse().expect("it is an address");
    let mut acceptor = TcpAcceptor::bind(&loopback, options).expect("loopback does not fail");
    let address = acceptor.local_addr().expect("loopback does not fail");
    let limits = haul::config::Limits::default().block(BlockSize::MAX);
    let config = Config::default()
        .block_size(BlockSize::at_most(block))
        .limits(limits)
        .durability(Durability::Received);
    let (sent, store) = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (stream, _) = acceptor.accept().expect("loopback does not fail");
            Transfer::new(config.clone()).receive(&mut store, stream).expect("it is not lost");
            store
        });
        let stream = TcpConnector::new(address.into()).connect().expect("loopback does not fail");
        let sent = Transfer::new(config.clone()).send(&mut source, stream);
        (sent.expect("loopback does not fail"), receiver.join().expect("it does not panic"))
    });
    // A bench of a transfer that was refused, or skipped, would be a fast one.
    assert_eq!((sent.delivered, sent.sent), (1, CONTENT as u64));
    store
}

criterion_group!(benches, tcp, ratios, files);
criterion_main!(benches);
