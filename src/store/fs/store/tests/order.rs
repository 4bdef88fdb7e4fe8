//! Commits of one name that end in another order than they were started in.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// Commit of a session that was given up, and the next session's acts while that waits.
struct Overtaking {
    /// Dropped: the first commit goes on. Before the store, which waits for that.
    go_on: Option<Sender<()>>,
    bench: Bench,
    /// Notice that the first commit is about to give its name.
    begun: Receiver<()>,
    older: Offer,
    next: FsStore,
}

impl Overtaking {
    /// Begins the first commit, which has everything but its name.
    fn new(meta: Meta, bytes: &str) -> Self {
        let mut bench = Bench::new();
        bench.store = FsStore::open(bench.path("")).unwrap().sync_threads(2).allow_links();
        let (begin, begun) = channel();
        let (go_on, wait) = channel::<()>();
        let first = Mutex::new(Some((begin, wait)));
        bench.store.shared.hook.set(move |step| {
            if step == Step::Rename
                && let Some((begin, wait)) = { first.lock().unwrap().take() }
            {
                begin.send(()).unwrap();
                let _ = wait.recv();
            }
            Ok(())
        });
        // As a session does that its embedder starts anew: its entries have the same numbers.
        let next = bench.store.clone();
        let older = Offer::new(EntryId::new(0), meta, BlockSize::MIN);
        let mut this = Self { go_on: Some(go_on), bench, begun, older, next };
        let commit = commit(&this.older, 0, bytes.len());
        let file = begin_replacing(&mut this.bench.store, &this.older, bytes);
        this.bench.store.commit(file, commit);
        this.begun.recv().unwrap();
        this
    }

    /// Returns the reason why the first commit gives no name, now that it goes on.
    fn end_of_older(&mut self) -> Option<Uncommitted<FsFile>> {
        drop(self.go_on.take());
        let ended = self.bench.store.poll_committed(Duration::from_secs(60));
        let (ticket, ended) = ended.expect("it ends");
        assert_eq!(ticket, Ticket::new([0; 16], 0));
        ended.err()
    }
}

fn begin_replacing(store: &mut FsStore, offer: &Offer, bytes: &str) -> FsFile {
    let (mut file, Found::Fresh) = store.begin(offer, Place::Replacing).unwrap() else {
        panic!("fresh")
    };
    if offer.meta.kind == Kind::File {
        store.write_at(&mut file, 0, bytes.as_bytes()).unwrap();
    }
    file
}

fn commit(offer: &Offer, session: u8, len: usize) -> Commit {
    let (meta, size) = (offer.meta.clone(), u64::try_from(len).unwrap());
    let ticket = Ticket::new([session; 16], 0);
    Commit::new(ticket, offer.entry, meta, Place::Replacing, size, Durability::Synced)
}

fn end_of(store: &mut FsStore, session: u8) -> Result<Committed, String> {
    let (ticket, ended) = store.poll_committed(Duration::from_secs(60)).expect("it ends");
    assert_eq!(ticket, Ticket::new([session; 16], 0));
    ended.map_err(|failed| format!("{failed:?}"))
}

#[test]
fn store_commit_of_a_session_that_was_given_up_does_not_replace_what_a_later_one_was_receipted_for()
{
    for other in ["x", "X"] {
        let mut scene = Overtaking::new(Meta::file(rel("x"), Some(5)), "older");
        fs::write(scene.bench.path("x"), "old").unwrap();
        let meta = Meta::file(rel("x"), Some(5));
        let offer = Offer::new(EntryId::new(0), meta, BlockSize::MIN);
        let file = begin_replacing(&mut scene.next, &offer, "newer");
        scene.next.commit(file, commit(&offer, 1, 5));
        assert_eq!(end_of(&mut scene.next, 1), Ok(Committed::new(rel("x"))));
        // A name that is the same on some systems, and here is not, comes after that.
        let meta = Meta::file(rel(other), Some(5));
        let offer = Offer::new(EntryId::new(0), meta, BlockSize::MIN);
        let file = begin_replacing(&mut scene.next, &offer, "newer");
        scene.next.commit(file, commit(&offer, 2, 5));
        assert_eq!(end_of(&mut scene.next, 2), Ok(Committed::new(rel(other))));
        let Some(Uncommitted::Taken { mut file, existing: Some((mut existing, 5)) }) =
            scene.end_of_older()
        else {
            panic!("it is handed back, with what has its name")
        };
        for (file, bytes) in [(&mut file, b"older"), (&mut existing, b"newer")] {
            let mut buffer = [0; 5];
            assert_eq!(scene.bench.store.read_at(file, 0, &mut buffer).unwrap(), 5);
            assert_eq!(&buffer, bytes);
        }
        assert_eq!(scene.bench.names()["x"], "newer");
        // A session that lives says once more that it replaces what is there: that is later.
        scene.bench.store.commit(file, commit(&scene.older, 3, 5));
        assert_eq!(end_of(&mut scene.bench.store, 3), Ok(Committed::new(rel("x"))));
        assert_eq!(scene.bench.names()["x"], "older");
    }
}

#[test]
fn store_commit_that_comes_late_does_not_replace_what_was_vouched_for_since() {
    let mut scene = Overtaking::new(Meta::file(rel("x"), Some(5)), "older");
    fs::write(scene.bench.path("x"), "newer").unwrap();
    let offer = Offer::new(EntryId::new(0), Meta::file(rel("x"), Some(5)), BlockSize::MIN);
    assert_eq!(scene.next.stat(&offer), None, "it is about to be replaced");
    let (file, Found::Existing(5)) = scene.next.begin(&offer, Place::Offered).unwrap() else {
        panic!("existing")
    };
    scene.next.commit(file, commit(&offer, 1, 5));
    assert_eq!(end_of(&mut scene.next, 1), Ok(Committed::new(rel("x"))));
    assert!(matches!(scene.end_of_older(), Some(Uncommitted::Taken { existing: Some(_), .. })));
    assert_eq!(scene.bench.names()["x"], "newer");
    assert!(scene.next.stat(&offer).is_some(), "no commit is under way");
}

#[test]
fn store_link_that_comes_late_does_not_replace_that_of_a_later_commit() {
    for is_there in [false, true] {
        let link = |target: &str| Meta::symlink(rel("l"), target.as_bytes().into());
        let mut scene = Overtaking::new(link("older"), "");
        if is_there {
            symlink("newer", scene.bench.path("l")).unwrap();
        }
        let offer = Offer::new(EntryId::new(0), link("newer"), BlockSize::MIN);
        let file = begin_replacing(&mut scene.next, &offer, "");
        scene.next.commit(file, commit(&offer, 1, 0));
        assert_eq!(end_of(&mut scene.next, 1), Ok(Committed::new(rel("l"))));
        assert!(matches!(scene.end_of_older(), Some(Uncommitted::Taken { existing: None, .. })));
        assert_eq!(scene.bench.names()["l"], "-> newer");
    }
}
