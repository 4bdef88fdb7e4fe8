//! Two processes that replace one name at once, each stopped at any call: stores that share nothing but their folder.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::*;

/// Far more than a stopped process takes to go on, and less than another one waits for it.
const STOP: Duration = Duration::from_millis(5);

/// Commits `bytes` as `x` and returns whether they are receipted.
fn replace(store: &mut FsStore, number: u32, bytes: &[u8]) -> bool {
    let size = bytes.len() as u64;
    let meta = Meta::file(rel("x"), Some(size));
    let offer = Offer::new(EntryId::new(number), meta.clone(), BlockSize::MIN);
    let (mut file, found) = store.begin(&offer, Place::Replacing).unwrap();
    assert_eq!(found, Found::Fresh);
    store.write_at(&mut file, 0, bytes).unwrap();
    let place = Place::Replacing;
    let commit = Commit::new(ticket(&offer), offer.entry, meta, place, size, Durability::Flushed);
    store.commit(file, commit);
    store.poll_committed(Duration::from_secs(60)).expect("it ends").1.is_ok()
}

/// Lets the second process run up to its call `stop` when the first one is at its call `at`, then the first one to its
/// end, and then the second one. Returns how many calls each made.
fn meet(at: usize, stop: usize, has_flags: bool) -> (usize, usize) {
    let case = format!("call {at} of the first, {stop} of the second, {has_flags}");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), "old").unwrap();
    let mut stores = [(); 2].map(|()| FsStore::open(dir.path()).unwrap());
    for (store, id) in stores.iter_mut().zip([1, 2]) {
        store.serve(TransferId::new([id; 16]));
    }
    let calls = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let (start, started) = mpsc::channel();
    let (halt, halted) = mpsc::channel();
    let (go_on, goes_on) = mpsc::channel();
    let flags = move |step: Step| {
        let is_flag = matches!(step, Step::RenameNoReplace | Step::RenameExchange | Step::Link);
        if is_flag && !has_flags { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    };
    let halted = Mutex::new(halted);
    let (first, late) = (Arc::clone(&calls[0]), start.clone());
    stores[0].shared.hook.set(move |step| {
        if first.fetch_add(1, Ordering::Relaxed) == at {
            start.send(()).unwrap();
            // It has come there, has ended, or waits for a lock of this one.
            let _ = halted.lock().unwrap().recv_timeout(STOP);
        }
        flags(step)
    });
    let (second, goes_on, at_end) = (Arc::clone(&calls[1]), Mutex::new(goes_on), halt.clone());
    stores[1].shared.hook.set(move |step| {
        if second.fetch_add(1, Ordering::Relaxed) == stop {
            let _ = halt.send(());
            let _ = goes_on.lock().unwrap().recv_timeout(STOP);
        }
        flags(step)
    });
    let [mut first, mut second] = stores;
    let receipted = thread::scope(|scope| {
        let other = scope.spawn(move || {
            started.recv().unwrap();
            let is_receipted = replace(&mut second, 2, b"second one");
            let _ = at_end.send(());
            is_receipted
        });
        let is_receipted = replace(&mut first, 1, b"first");
        let _ = go_on.send(());
        // For where it makes no call of this number.
        let _ = late.send(());
        (is_receipted, other.join().unwrap())
    });
    assert_eq!(receipted, (true, true), "{case}");
    let names: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["x"], "{case}");
    let stands = fs::read(dir.path().join("x")).unwrap();
    assert!(stands == b"first" || stands == b"second one", "{case}: {stands:?}");
    (calls[0].load(Ordering::Relaxed), calls[1].load(Ordering::Relaxed))
}

fn meet_everywhere(has_flags: bool) {
    let (mut at, mut calls) = (0, usize::MAX);
    while at < calls {
        let (mut stop, mut others) = (0, usize::MAX);
        while stop < others {
            (calls, others) = meet(at, stop, has_flags);
            stop += 1;
        }
        at += 1;
    }
    assert!(at > 10, "{at} calls");
}

#[test]
fn store_sessions_of_two_processes_with_one_name_leave_one_of_both_whichever_stops_where() {
    thread::scope(|scope| {
        scope.spawn(|| meet_everywhere(true));
        meet_everywhere(false);
    });
}
