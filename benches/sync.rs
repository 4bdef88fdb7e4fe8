//! Decides how small files are made durable: by `fsync` of each, on how many threads, or by one `syncfs` for a batch; and with
//! it `FsStore::sync_threads`. The first groups are the bare calls for one batch: write, sync, rename, sync of the folder. The
//! last is the store as it is, with a transfer around it, so that the sync of one batch overlaps with the next.
//!
//! `cargo bench --bench sync`. It runs in the target folder, which should be on the kind of disk that is asked about: on
//! a file system in memory all of it costs nothing. `syncfs` also waits for whatever others have written to that disk.
#![expect(clippy::disallowed_methods, reason = "files and threads are what is measured")]
#![expect(clippy::print_stdout, reason = "ratios are what it is for")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

#[expect(dead_code, reason = "what is sent here has many files")]
mod common;

use std::fs::{self, File};
use std::path::Path;
use std::thread;

use haul::store::MemorySource;
use haul::store::fs::FsStore;
use haul::transport::memory;
use haul::{Config, Durability, RelPath, Transfer};

/// Number of files that the store takes for a batch.
const BATCH: usize = 64;

/// Files of a transfer.
const FILES: usize = 512;

/// Way in which a batch is synced.
#[derive(Clone, Copy)]
enum Sync {
    Each { threads: usize },
    Whole,
    Not,
}

fn main() {
    let each = |threads| Sync::Each { threads };
    let ways = [each(2), each(1), each(4), each(8), Sync::Whole, Sync::Not];
    let names: Vec<String> = ways
        .iter()
        .map(|way| match way {
            Sync::Each { threads } => format!("fsync of each, {threads} threads"),
            Sync::Whole => "syncfs".to_owned(),
            Sync::Not => "no sync".to_owned(),
        })
        .collect();
    common::compare("sync: 64 files of 1 KiB", &names, |number| batch(ways[number]));

    let ways = [each(2), Sync::Whole];
    let names = ["fsync of each, 2 threads", "syncfs"].map(str::to_owned);
    let other = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    common::compare("sync: the same beside 64 MiB of somebody else's", &names, |number| {
        fs::write(other.path().join("other"), vec![1; 64 << 20]).expect("a file can be written");
        batch(ways[number]);
    });

    let ways = [(2, true), (0, true), (1, true), (4, true), (8, true), (2, false)];
    let names = ways.map(|(threads, synced)| {
        let level = if synced { "synced" } else { "received" };
        format!("{level}, {threads} threads")
    });
    common::compare("sync: transfer of 512 files of 1 KiB", &names, |number| {
        let (threads, synced) = ways[number];
        transfer(threads, if synced { Durability::Synced } else { Durability::Received });
    });
}

fn batch(way: Sync) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let at = |name: &str, number: usize| folder.path().join(format!("{name}{number}"));
    let files: Vec<File> = (0..BATCH)
        .map(|number| {
            let path = at("partial", number);
            fs::write(&path, [1; 1024]).expect("a file can be written");
            File::open(path).expect("it can be opened")
        })
        .collect();
    match way {
        Sync::Each { threads } => thread::scope(|scope| {
            for share in files.chunks(BATCH.div_ceil(threads)) {
                scope.spawn(move || share.iter().for_each(sync));
            }
        }),
        Sync::Whole => sync_whole(folder.path()),
        Sync::Not => {}
    }
    for number in 0..BATCH {
        fs::rename(at("partial", number), at("final", number)).expect("it can be renamed");
    }
    if !matches!(way, Sync::Not) {
        sync(&File::open(folder.path()).expect("a folder can be opened"));
    }
}

fn sync(file: &File) {
    file.sync_all().expect("the device holds it");
}

fn sync_whole(folder: &Path) {
    let folder = File::open(folder).expect("a folder can be opened");
    rustix::fs::syncfs(folder).expect("the device holds it");
}

fn transfer(threads: usize, durability: Durability) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let mut store = FsStore::open(folder.path()).expect("it is one").sync_threads(threads);
    let (alice, bob) = memory::pipe((1 << 20).try_into().expect("not zero"));
    let config = Config::default().durability(durability);
    let receiver = thread::spawn(move || Transfer::new(config).receive(&mut store, bob));
    let mut source = MemorySource::new();
    for number in 0..FILES {
        let path = RelPath::parse(format!("folder/{number}").as_bytes()).expect("a safe name");
        source = source.file(path, vec![1; 1024]);
    }
    let sent = Transfer::new(Config::default()).send(&mut source, alice).expect("sent");
    receiver.join().expect("no panic").expect("received");
    assert_eq!(sent.delivered, FILES as u64);
}
