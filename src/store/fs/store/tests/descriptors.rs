//! Commits that lack file descriptors.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// The first sync of a file waits until it is told to go on; until then no name can be given.
struct Scarce {
    /// Dropped: it may go on. Before the store, which waits for that.
    go_on: Option<Sender<()>>,
    bench: Bench,
    /// Notice that the sync was begun.
    begun: Receiver<()>,
    /// Number of times that a name could not be given.
    tries: Arc<AtomicUsize>,
    pending: BTreeSet<Ticket>,
}

impl Scarce {
    /// Creates the hand. `lasting`: names cannot be given afterwards either.
    fn new(threads: usize, lasting: bool) -> Self {
        let mut bench = Bench::new();
        bench.store = FsStore::open(bench.path("")).unwrap().sync_threads(threads);
        let (begin, begun) = channel();
        let (go_on, wait) = channel::<()>();
        let (first, tries) = (Mutex::new(Some((begin, wait))), Arc::new(AtomicUsize::new(0)));
        let (counted, is_over) = (Arc::clone(&tries), std::sync::atomic::AtomicBool::new(false));
        bench.store.shared.hook.set(move |step| {
            if step == Step::SyncFile
                && let Some((begin, wait)) = { first.lock().unwrap().take() }
            {
                begin.send(()).unwrap();
                let _ = wait.recv();
                is_over.store(true, Ordering::SeqCst);
            }
            if step == Step::Rename && (lasting || !is_over.load(Ordering::SeqCst)) {
                counted.fetch_add(1, Ordering::SeqCst);
                return Err(io::Error::from_raw_os_error(EMFILE));
            }
            Ok(())
        });
        Self { go_on: Some(go_on), bench, begun, tries, pending: BTreeSet::new() }
    }

    fn start(&mut self, name: &str) {
        let offer = self.bench.file(name, 3);
        let (mut file, Found::Fresh) = self.bench.begin(&offer, Place::Offered).unwrap() else {
            panic!("fresh")
        };
        self.bench.store.write_at(&mut file, 0, b"new").unwrap();
        self.commit(file, &offer);
    }

    fn commit(&mut self, file: FsFile, offer: &Offer) {
        let (meta, place) = (offer.meta.clone(), Place::Offered);
        let commit = Commit::new(ticket(offer), offer.entry, meta, place, 3, Durability::Synced);
        self.pending.insert(ticket(offer));
        self.bench.store.commit(file, commit);
    }

    /// Returns the ends of all that were started and have not ended.
    fn end(&mut self) -> Vec<Ended> {
        let mut all = Vec::new();
        while !self.pending.is_empty() {
            let wait = Duration::from_secs(60);
            let (ticket, ended) = self.bench.store.poll_committed(wait).expect("it ends");
            assert!(self.pending.remove(&ticket));
            all.push(ended.map_err(|failed| match failed {
                Uncommitted::Failed(refusal) => refusal,
                Uncommitted::Taken { .. } => panic!("nothing else has the name"),
            }));
        }
        all
    }
}

#[test]
fn store_commit_that_lacks_descriptors_waits_for_as_long_as_another_is_under_way() {
    let mut scarce = Scarce::new(2, false);
    scarce.start("slow");
    scarce.begun.recv().unwrap();
    scarce.start("x");
    // Often enough for patience that ends by the clock to have ended.
    while scarce.tries.load(Ordering::SeqCst) < 30 {
        std::thread::yield_now();
        let ended = scarce.bench.store.poll_committed(Duration::ZERO);
        assert!(ended.is_none(), "{ended:?}");
    }
    drop(scarce.go_on.take());
    let ended = scarce.end();
    assert!(ended.len() == 2 && ended.iter().all(Result::is_ok), "{ended:?}");
}

#[test]
fn store_commits_that_all_lack_descriptors_end_soon() {
    for threads in [1, 2, 8] {
        for count in [0, 2] {
            let mut scarce = Scarce::new(threads, true);
            scarce.start("first");
            scarce.begun.recv().unwrap();
            // They are queued behind it, more than the other threads take as they come.
            (0..count).for_each(|n| scarce.start(&format!("{n}")));
            drop(scarce.go_on.take());
            let ended = scarce.end();
            let is_lack =
                |ended: &Ended| ended.as_ref().is_err_and(|refusal| refusal.is_fd_exhaustion());
            assert!(ended.len() == count + 1 && ended.iter().all(is_lack), "{ended:?}");
            // Each with the others of its batch, and then alone for as often as it looks again: none waits for what cannot go
            // on before it.
            let tries = scarce.tries.load(Ordering::SeqCst);
            assert!(threads > 1 || tries <= 60 * (count + 1), "{tries}");
        }
    }
}

/// A folder that each commit of a batch opened for itself, and kept, took the descriptors that the others lacked.
#[cfg(target_os = "linux")]
#[test]
fn store_commits_of_equal_files_share_the_handle_of_their_folder() {
    let mut scarce = Scarce::new(1, false);
    let folder = scarce.bench.path("d");
    fs::create_dir(&folder).unwrap();
    let names: Vec<_> = (0..10).map(|n| format!("d/{n}")).collect();
    for name in &names {
        fs::write(scarce.bench.path(name), "new").unwrap();
    }
    // They become one batch behind this one.
    scarce.start("slow");
    scarce.begun.recv().unwrap();
    for name in &names {
        let offer = scarce.bench.file(name, 3);
        let (file, found) = scarce.bench.begin(&offer, Place::Offered).unwrap();
        assert_eq!(found, Found::Existing(3));
        scarce.commit(file, &offer);
    }
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    scarce.bench.store.shared.hook.set(move |step| {
        if step == Step::SyncFolder {
            let all = fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
            let is_it = |path: std::path::PathBuf| path == folder;
            let open = all.filter(|fd| fs::read_link(fd.path()).is_ok_and(is_it)).count();
            seen.fetch_max(open, Ordering::SeqCst);
        }
        Ok(())
    });
    drop(scarce.go_on.take());
    let ended = scarce.end();
    assert!(ended.len() == 11 && ended.iter().all(Result::is_ok), "{ended:?}");
    let most = most.load(Ordering::SeqCst);
    assert!((1..=2).contains(&most), "{most}");
}

const EMFILE: i32 = 24;
