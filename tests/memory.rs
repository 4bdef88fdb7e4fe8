//! Memory does not grow with what is sent: a long stream, and many files, through both drivers over a pipe.
#![cfg(target_os = "linux")]
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]
#![expect(
    clippy::disallowed_methods,
    reason = "each end has a thread, and memory is read from a file"
)]

mod nowhere;

use std::num::NonZeroUsize;
use std::{fs, io, thread};

use haul::store::Unsendable;
use haul::store::fs::FsStore;
use haul::transport::memory;
use haul::types::{Meta, Withdrawal};
use haul::{Config, Durability, Limits, RelPath, Source, Transfer};

use nowhere::Nowhere;

/// Yields as many files as it is told to, of one size, made up as they are read.
struct Endless {
    files: u64,
    left: u64,
    size: u64,
}

impl Source for Endless {
    type Key = ();
    type Reader = ();

    fn rewind(&mut self) -> io::Result<()> {
        self.left = self.files;
        Ok(())
    }

    fn next_entry(&mut self) -> Option<Result<((), Meta), Unsendable>> {
        self.left = self.left.checked_sub(1)?;
        let path = RelPath::parse(format!("folder/{}", self.left).as_bytes()).ok()?;
        Some(Ok(((), Meta::file(path, Some(self.size)))))
    }

    fn open(&mut self, _: &(), _: &Meta) -> Result<(), Withdrawal> {
        Ok(())
    }

    fn read_at(&mut self, _: &mut (), offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.size - offset).unwrap_or(usize::MAX);
        let len = rest.min(buffer.len());
        // Different from block to block, and not zero, which would not travel.
        buffer[..len].fill(u8::try_from(offset >> 18 & 0x7F).unwrap_or(0) | 0x80);
        Ok(len)
    }

    fn finish(&mut self, _: &mut (), _: &Meta) -> Result<(), Withdrawal> {
        Ok(())
    }
}

/// Returns the most memory that this process had at a time, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a kernel that says so");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("KiB");
    kib * 1024
}

fn send(files: u64, size: u64) {
    let (alice, bob) = memory::pipe(NonZeroUsize::new(64 << 10).expect("not 0"));
    let receiver = thread::spawn(move || {
        Transfer::new(Config::default()).receive(&mut Nowhere::default(), bob)
    });
    let mut source = Endless { files, left: files, size };
    let sent = Transfer::new(Config::default()).send(&mut source, alice);
    let received = receiver.join().expect("no panic").expect("received");
    let sent = sent.expect("sent");
    assert_eq!((sent.delivered, received.delivered), (files, files));
    assert_eq!(sent.bytes, files * size);
}

/// Offers so many empty files to a folder with a budget for a few: the rest is refused, each by name.
fn flood(files: u64, budget: u64) {
    let (alice, bob) = memory::pipe(NonZeroUsize::new(64 << 10).expect("not 0"));
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = FsStore::open(folder.path()).expect("it exists");
    let limits = Limits::default().entries(budget);
    let config = Config::default().limits(limits).durability(Durability::Received);
    let receiver = thread::spawn(move || Transfer::new(config).receive(&mut store, bob));
    let mut source = Endless { files, left: files, size: 0 };
    let sent = Transfer::new(Config::default()).send(&mut source, alice).expect("sent");
    let received = receiver.join().expect("no panic").expect("received");
    for summary in [sent, received] {
        assert_eq!((summary.delivered, summary.refused), (budget, files - budget));
    }
    let held = fs::read_dir(folder.path().join("folder")).expect("it was made").count();
    assert_eq!(held as u64, budget);
}

/// One test, because all threads of a process share what is measured.
#[test]
fn memory_does_not_grow_with_size_or_number() {
    // What a session needs at all: buffers of a block on either side, entries that may be pending.
    send(1, 16 << 20);
    send(10_000, 100);
    let before = peak();
    send(1, 512 << 20);
    let after_long = peak();
    assert!(after_long - before < 8 << 20, "{} bytes for a long file", after_long - before);
    send(40_000, 100);
    let after_many = peak();
    assert!(after_many - after_long < 8 << 20, "{} bytes for many", after_many - after_long);
    assert!(after_many < 100 << 20, "{after_many} bytes in all");
    // More empty files than were allowed for cost neither memory nor names, however many.
    let is_long = std::env::var_os("HAUL_LONG").is_some();
    let most = if is_long { 1_000_000 } else { 50_000 };
    flood(2000, 1000);
    let before = peak();
    flood(most, 1000);
    let after_flood = peak();
    assert!(after_flood - before < 8 << 20, "{} bytes for a flood", after_flood - before);
}
