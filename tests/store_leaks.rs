//! Open files and threads before and after: one test in a process of its own, where nothing else opens any.
#![cfg(all(feature = "fs", target_os = "linux"))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]
#![expect(clippy::disallowed_methods, reason = "a deadline for what has no event")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use haul::RelPath;
use haul::hash::BlockSize;
use haul::store::fs::{FsSource, FsStore};
use haul::store::{Source, Store};
use haul::types::{Commit, Durability, EntryId, Found, Meta, Offer, Place, Ticket};

#[test]
fn store_and_source_leave_no_descriptor_thread_or_file() {
    let dir = tempfile::tempdir().unwrap();
    let before = (count("/proc/self/fd"), count("/proc/self/task"));
    for round in 0..3 {
        let root = dir.path().join(round.to_string());
        let mut store = FsStore::open_or_create(&root).unwrap();
        let other = store.clone();
        drive(&mut store);
        drop(store);
        drop(other);
        // Discarding what an earlier attempt had left keeps it; a source does not send it.
        let kept = names(&root).into_iter().filter(|name| name.ends_with(".part"));
        let kept: Vec<_> = kept.collect();
        assert!(kept.len() == 3 || kept.len() == 4, "{kept:?}");
        fs::remove_dir_all(root.join("e")).unwrap();
        read(&root);
        assert_eq!(
            names(&root),
            BTreeSet::from(["d", "d/0", "d/1", "d/2", "d/3"].map(String::from))
        );
    }
    // A thread that was joined is listed for a moment longer.
    let deadline = Instant::now() + Duration::from_secs(10);
    while (count("/proc/self/fd"), count("/proc/self/task")) != before {
        assert!(Instant::now() < deadline, "{before:?} {}", count("/proc/self/fd"));
        std::thread::yield_now();
    }
}

/// Ends entries in every way that there is.
fn drive(store: &mut FsStore) {
    let mut pending = 0;
    for n in 0..12_u32 {
        let name = if n % 3 == 0 { format!("d/{}", n / 3) } else { format!("e/{n}/x") };
        let path = RelPath::parse(name.as_bytes()).unwrap();
        // Of what is no more than a block, nothing is kept when it is suspended, if there are files without names here.
        let size = if n % 3 == 2 && n > 2 { 2000 } else { 4 };
        let meta = Meta::file(path, Some(size));
        let offer = Offer::new(EntryId::new(n), meta.clone(), BlockSize::MIN);
        let (mut file, Found::Fresh) = store.begin(&offer, Place::Offered).unwrap() else {
            panic!("{name} is there")
        };
        store.write_at(&mut file, 0, b"data").unwrap();
        match n % 3 {
            0 => {
                let ticket = Ticket::new([1; 16], n.into());
                store.commit(
                    file,
                    Commit::new(ticket, offer.entry, meta, Place::Offered, 4, Durability::Synced),
                );
                pending += 1;
            }
            1 => store.discard(file),
            _ => {
                store.suspend(file);
                match store.begin(&offer, Place::Offered).unwrap() {
                    (file, Found::Partial(4)) => store.discard(file),
                    (file, Found::Fresh) if size == 4 => store.discard(file),
                    begun => panic!("{name} was suspended: {begun:?}"),
                }
            }
        }
    }
    for _ in 0..pending {
        let (_, ended) = store.poll_committed(Duration::from_secs(20)).unwrap();
        ended.unwrap();
    }
    let meta = Meta::file(RelPath::parse(b"d/0").unwrap(), Some(4));
    let offer = Offer::new(EntryId::new(0), meta.clone(), BlockSize::MIN);
    let (file, Found::Existing(4)) = store.begin(&offer, Place::Offered).unwrap() else { panic!() };
    let ticket = Ticket::new([1; 16], 99);
    // Its end is not waited for: dropping the store does that.
    store.commit(
        file,
        Commit::new(ticket, offer.entry, meta, Place::Offered, 4, Durability::Synced),
    );
}

fn read(root: &Path) {
    let mut source = FsSource::new([root]).unwrap();
    while let Some(entry) = source.next_entry() {
        let (key, meta) = entry.unwrap();
        let mut reader = source.open(&key, &meta).unwrap();
        source.finish(&mut reader, &meta).unwrap();
    }
    let mut left_in_the_middle = FsSource::new([root]).unwrap();
    left_in_the_middle.next_entry();
}

fn count(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn names(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            names.extend(self::names(&entry.path()).iter().map(|below| format!("{name}/{below}")));
        }
        names.insert(name);
    }
    names
}
