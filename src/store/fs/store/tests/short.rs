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

/// The one thread has a folder by then, which waits for the names of all that was asked for before it.
#[test]
fn store_small_file_that_lacks_descriptors_keeps_no_thread_waiting_for_it() {
    let mut bench = Bench::new();
    bench.store = bench.store.clone().sync_threads(1);
    let (offer, folder) = (bench.file("x", 3), bench.offer(Meta::directory(rel("d"))));
    let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
        panic!("fresh")
    };
    bench.store.write_at(&mut file, 0, b"new").unwrap();
    let of = |offer: &Offer, size| {
        let meta = offer.meta.clone();
        let (place, durability) = (Place::Offered, Durability::Received);
        Commit::new(ticket(offer), offer.entry, meta, place, size, durability)
    };
    let mut other = bench.store.clone();
    let (made, _) = other.begin(&folder, Place::Offered).unwrap();
    let other = Arc::new(Mutex::new(Some((other, made, of(&folder, 0)))));
    let untaken = Arc::clone(&other);
    let ((took, taken), own) = (std::sync::mpsc::channel(), thread::current().id());
    let taken = Mutex::new(taken);
    bench.store.shared.hook.set(move |step| {
        if thread::current().id() != own {
            let _ = took.send(());
        } else if step == Step::Rename
            && let Some((mut store, file, commit)) = other.lock().unwrap().take()
        {
            store.commit(file, commit);
            taken.lock().unwrap().recv().unwrap();
            return Err(io::Error::from_raw_os_error(EMFILE));
        }
        Ok(())
    });
    bench.store.commit(file, of(&offer, 3));
    assert!(untaken.lock().unwrap().is_none(), "descriptors were lacking");
    let ended = bench.store.poll_committed(Duration::from_secs(20));
    if ended.is_none() {
        // Its threads are not waited for, which never end.
        std::mem::forget(bench);
        panic!("the commit does not end");
    }
    assert!(ended.is_some_and(|(_, ended)| ended.is_ok()));
}

const EMFILE: i32 = 24;
