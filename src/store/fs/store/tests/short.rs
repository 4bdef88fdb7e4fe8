//! Commits that are done where they are asked for, and those that are not.

use std::thread::{self, ThreadId};

use super::*;

/// Returns the threads that gave a file of this size its name, of which the first failed on fd exhaustion if that is
/// asked for.
fn committers(size: usize, durability: Durability, is_lacking: bool) -> (bool, Vec<ThreadId>) {
    let mut bench = Bench::new();
    let offer = bench.file("x", size);
    let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
        panic!("fresh")
    };
    bench.store.write_at(&mut file, 0, &vec![1; size]).unwrap();
    let threads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&threads);
    bench.store.shared.hook.set(move |step| {
        if step != Step::Rename {
            return Ok(());
        }
        let mut seen = seen.lock().unwrap();
        seen.push(thread::current().id());
        let is_failed = is_lacking && seen.len() == 1;
        if is_failed { Err(io::Error::from_raw_os_error(EMFILE)) } else { Ok(()) }
    });
    let (meta, size) = (offer.meta.clone(), u64::try_from(size).unwrap());
    let commit = Commit::new(ticket(&offer), offer.entry, meta, Place::Offered, size, durability);
    bench.store.commit(file, commit);
    let first = bench.store.poll_committed(Duration::ZERO);
    let is_at_once = first.is_some();
    let ended = first.or_else(|| bench.store.poll_committed(Duration::from_secs(20)));
    assert!(ended.is_some_and(|(_, ended)| ended.is_ok()));
    let threads = threads.lock().unwrap().clone();
    (is_at_once, threads)
}

#[test]
fn store_small_file_of_which_nothing_is_synced_is_committed_by_who_asks_for_it() {
    let own = thread::current().id();
    assert_eq!(committers(3, Durability::Received, false), (true, vec![own]));
    for (size, durability) in [(3, Durability::Flushed), (2 << 20, Durability::Received)] {
        let (_, threads) = committers(size, durability, false);
        assert!(threads.len() == 1 && threads[0] != own, "{size} {durability:?}");
    }
}

/// A session that waited for a descriptor would close nothing meanwhile.
#[test]
fn store_small_file_that_lacks_descriptors_is_committed_by_a_thread_that_waits() {
    let (_, threads) = committers(3, Durability::Received, true);
    assert!(threads.len() == 2 && threads[0] == thread::current().id(), "{threads:?}");
    assert_ne!(threads[0], threads[1]);
}

const EMFILE: i32 = 24;
