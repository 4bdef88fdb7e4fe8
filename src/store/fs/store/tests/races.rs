//! Races, one by one: before each system call that is given the handle of a folder, and before each step of a commit, somebody
//! exchanges something on the way to it.
//!
//! A store that looks at a name and then acts on it can be told another thing between: which call it is (opening a
//! folder, making one, making or opening a partial file, looking, reading a link, renaming, setting the time of a link, syncing,
//! removing, sweeping), and what is put there, is enumerated. A tool that had closed this for `open` had it open for `chmod`,
//! `utimes`, `rename`, `unlink`, `mkdir` and others, each an advisory of its own.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::store::fs::HiddenNames;

/// Order to the store about `d/e/x`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    /// The folders do not exist.
    NewInNewFolders,
    New,
    Replace,
    /// An earlier attempt left a partial file, which is only readable.
    GoOn,
    /// The file is there; an earlier attempt has left a partial file.
    Keep,
    /// The file is there, and nothing else.
    Equal,
    Beside,
    Discard,
    SuspendEmpty,
    Folder,
    /// The folders on the way do not exist, and their names are to be durable. Each sync fails at once, as a real one takes
    /// milliseconds.
    SyncedFolder,
    OldFolder,
    Link,
    ReplaceLink,
    Ask,
}

/// Abilities of the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum System {
    All,
    /// The file system knows no flag of a rename, and gives no name to a file that has none.
    NoFlags,
    /// The file system makes no files without names.
    NoUnnamed,
    /// The file system can all, and the folder is kept from an entry before.
    Kept,
}

/// Act of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Swap {
    /// A folder on the way goes elsewhere, and this takes its place.
    Folder(&'static str, Planted),
    /// This takes the place of a name in the folder, or of its partial file.
    Name(Leaf, Planted),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Final,
    Partial,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Link to what has the same name outside of the root.
    LinkOut,
    /// Link to what has the same name in another folder of the root.
    LinkAside,
    Folder,
    File,
    /// A second name of a file outside of the root.
    HardLink,
    Fifo,
}

const WORK: [Work; 15] = [
    Work::NewInNewFolders,
    Work::New,
    Work::Replace,
    Work::GoOn,
    Work::Keep,
    Work::Equal,
    Work::Beside,
    Work::Discard,
    Work::SuspendEmpty,
    Work::Folder,
    Work::SyncedFolder,
    Work::OldFolder,
    Work::Link,
    Work::ReplaceLink,
    Work::Ask,
];

const SWAPS: [Swap; 18] = [
    Swap::Folder("d", Planted::Nothing),
    Swap::Folder("d", Planted::LinkOut),
    Swap::Folder("d", Planted::LinkAside),
    Swap::Folder("d", Planted::Folder),
    Swap::Folder("d/e", Planted::Nothing),
    Swap::Folder("d/e", Planted::LinkOut),
    Swap::Folder("d/e", Planted::LinkAside),
    Swap::Folder("d/e", Planted::Folder),
    Swap::Name(Leaf::Final, Planted::LinkOut),
    Swap::Name(Leaf::Final, Planted::Folder),
    Swap::Name(Leaf::Final, Planted::File),
    Swap::Name(Leaf::Final, Planted::HardLink),
    Swap::Name(Leaf::Final, Planted::Fifo),
    Swap::Name(Leaf::Partial, Planted::LinkOut),
    Swap::Name(Leaf::Partial, Planted::Folder),
    Swap::Name(Leaf::Partial, Planted::File),
    Swap::Name(Leaf::Partial, Planted::HardLink),
    Swap::Name(Leaf::Partial, Planted::Fifo),
];

/// All that can be seen of something: whoever touches it changes its `ctime`, which nobody can set back.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// A root, and what is to stay as it is: `outside` of it and in `other` below it, where things have the names that the store
/// uses in `d`. It serves one race after the other, for as long as nothing is touched.
struct Scene {
    dir: TempDir,
    before: BTreeMap<PathBuf, Seen>,
}

/// Acts at one call.
struct Hand {
    dir: PathBuf,
    swap: Swap,
    /// A file that it put somewhere, which nobody may write to.
    planted: Option<File>,
    /// Before it acted, what a receipt would have been for stood there.
    had_stood: bool,
    has_acted: bool,
}

const PARTIAL: &str = "half";
const OLD: &str = "old content";
const NEW: &str = "half and the rest";
const FOREIGN: &str = "foreign";

impl Work {
    const fn place(self) -> Place {
        match self {
            Self::Replace | Self::ReplaceLink => Place::Replacing,
            Self::Beside => Place::Beside(1),
            _ => Place::Offered,
        }
    }

    /// Returns whether that is there which a receipt for it promises, under the name in the folder
    /// `d/e`.
    fn stands(self, root: &Path) -> bool {
        let folders = ["d", "d/e"].map(|folder| fs::symlink_metadata(root.join(folder)));
        let is_way = folders.into_iter().all(|meta| meta.is_ok_and(|meta| meta.is_dir()));
        let path = root.join(if self == Self::Beside { "d/e/x (1)" } else { "d/e/x" });
        let Ok(meta) = fs::symlink_metadata(&path) else { return false };
        let is_it = match self {
            Self::Folder | Self::SyncedFolder | Self::OldFolder => meta.is_dir(),
            Self::Link | Self::ReplaceLink => {
                fs::read_link(&path).is_ok_and(|target| target == Path::new("target"))
            }
            _ => meta.is_file() && fs::read(&path).is_ok_and(|bytes| bytes == NEW.as_bytes()),
        };
        is_way && is_it
    }
}

impl Scene {
    fn new() -> Self {
        // Thousands of small files: in memory, where there is such a place, and else where it takes longer.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for place in ["outside", "root/other"] {
            let d = dir.path().join(place);
            fs::create_dir_all(d.join("e/empty")).unwrap();
            fs::create_dir_all(d.join("d/e/empty")).unwrap();
            // As the folder `d`, and as the root.
            for e in [d.join("e"), d.join("d/e")] {
                for (name, content) in [("x", OLD), ("x (1)", OLD)] {
                    fs::write(e.join(name), content).unwrap();
                }
                leave_partial(&e, 0o600);
            }
        }
        let mut scene = Self { dir, before: BTreeMap::new() };
        scene.before = scene.seen();
        // The clock of a file system stands still for some milliseconds. From here on, what changes shows it.
        let probe = scene.dir.path().join("probe");
        let last = scene.before.values().map(|seen| seen.changed).max();
        while {
            fs::write(&probe, "").unwrap();
            let meta = fs::metadata(&probe).unwrap();
            fs::remove_file(&probe).unwrap();
            Some((meta.ctime(), meta.ctime_nsec())) <= last
        } {}
        scene
    }

    /// Makes what the work is to find, and a store.
    fn set(&self, work: Work) -> FsStore {
        let root = self.root();
        let (d, e) = (root.join("d"), root.join("d/e"));
        let _ = fs::remove_file(&d).or_else(|_| fs::remove_dir_all(&d));
        let aside = self.dir.path().join("aside");
        let _ = fs::remove_dir_all(&aside);
        fs::create_dir(aside).unwrap();
        let linked = self.dir.path().join("linked");
        fs::write(&linked, FOREIGN).unwrap();
        fs::set_permissions(linked, fs::Permissions::from_mode(0o600)).unwrap();
        if !matches!(work, Work::NewInNewFolders | Work::SyncedFolder) {
            fs::create_dir_all(&e).unwrap();
        }
        match work {
            Work::Replace | Work::Beside | Work::Ask => fs::write(e.join("x"), OLD).unwrap(),
            Work::GoOn => leave_partial(&e, 0o444),
            Work::Equal => fs::write(e.join("x"), NEW).unwrap(),
            Work::Keep => {
                fs::write(e.join("x"), NEW).unwrap();
                leave_partial(&e, 0o600);
            }
            Work::OldFolder => fs::create_dir(e.join("x")).unwrap(),
            Work::ReplaceLink => {
                symlink("old", e.join("x")).unwrap();
                symlink("left", e.join(partial_name("x", 0))).unwrap();
            }
            _ => {}
        }
        let store = FsStore::open(&root).unwrap().sync_threads(0).allow_links();
        store.hidden_names(HiddenNames::Accept)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn seen(&self) -> BTreeMap<PathBuf, Seen> {
        let mut seen = BTreeMap::new();
        for place in ["outside", "root/other"] {
            see(&self.dir.path().join(place), &mut seen);
        }
        seen
    }
}

/// Does the work; gives whether a receipt was given, and how many steps were taken before the commit.
fn run(store: &mut FsStore, work: Work, steps: &AtomicUsize) -> (bool, usize) {
    let time = Timestamp::new(1_000_000_000, 5);
    let meta = match work {
        Work::Folder | Work::SyncedFolder | Work::OldFolder => Meta::directory(rel("d/e/x")),
        Work::Link | Work::ReplaceLink => Meta::symlink(rel("d/e/x"), (*b"target").into()),
        _ => Meta::file(rel("d/e/x"), u64::try_from(NEW.len()).ok()),
    };
    let offer = Offer::new(EntryId::new(1), meta.mode(Some(0o777)).modified(time), BlockSize::MIN);
    let stat = store.stat(&offer);
    if work == Work::Ask {
        assert!(stat.is_none_or(|stat| stat.size <= 64), "{stat:?}");
    }
    let Ok(begun) = store.begin(&offer, work.place()) else { return (false, 0) };
    let mut file = match begun {
        (file, Found::Fresh | Found::Partial(_)) => file,
        (mut file, Found::Existing(_)) => {
            // As a receiver does: it vouches for what it has read.
            let mut held = [0; 64];
            let read = store.read_at(&mut file, 0, &mut held).unwrap_or(0);
            if work == Work::Ask || held[..read] != *NEW.as_bytes() {
                store.discard(file);
                return (false, 0);
            }
            file
        }
    };
    if offer.meta.kind == Kind::File && !matches!(file.what, What::Existing(_)) {
        if work == Work::SuspendEmpty {
            store.suspend(file);
            return (false, 0);
        }
        if store.write_at(&mut file, 0, NEW.as_bytes()).is_err() || work == Work::Discard {
            store.discard(file);
            return (false, 0);
        }
    }
    let before = steps.load(Ordering::Relaxed);
    let size = if offer.meta.kind == Kind::File { NEW.len() } else { 0 };
    let size = u64::try_from(size).unwrap();
    let is_synced = work == Work::SyncedFolder;
    let durability = if is_synced { Durability::Synced } else { Durability::Received };
    let (ticket, entry, place) = (ticket(&offer), offer.entry, work.place());
    let commit = Commit::new(ticket, entry, offer.meta.clone(), place, size, durability);
    store.commit(file, commit);
    match store.poll_committed(Duration::ZERO).expect("without threads it has ended").1 {
        Ok(_) => (true, before),
        Err(Uncommitted::Failed(_)) => (false, before),
        Err(Uncommitted::Taken { file, existing }) => {
            store.discard(file);
            existing.into_iter().for_each(|(existing, _)| store.discard(existing));
            (false, before)
        }
    }
}

/// Puts a file into the folder, which the store keeps open for those that follow.
fn keep_folder(store: &mut FsStore) {
    let meta = Meta::file(rel("d/e/near"), Some(1));
    let offer = Offer::new(EntryId::new(0), meta.clone(), BlockSize::MIN);
    let Ok((mut file, Found::Fresh)) = store.begin(&offer, Place::Offered) else { panic!("fresh") };
    store.write_at(&mut file, 0, b"1").unwrap();
    let (ticket, durability) = (ticket(&offer), Durability::Received);
    store.commit(file, Commit::new(ticket, offer.entry, meta, Place::Offered, 1, durability));
    assert!(store.poll_committed(Duration::ZERO).is_some_and(|(_, ended)| ended.is_ok()));
}

fn leave_partial(folder: &Path, mode: u32) {
    for n in 0..2 {
        let partial = folder.join(partial_name("x", n));
        fs::write(&partial, PARTIAL).unwrap();
        fs::set_permissions(partial, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn see(path: &Path, seen: &mut BTreeMap<PathBuf, Seen>) {
    let meta = fs::symlink_metadata(path).unwrap();
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| see(&entry.unwrap().path(), seen));
    }
    let seen_here = Seen {
        inode: meta.ino(),
        mode: meta.mode(),
        owner: (meta.uid(), meta.gid()),
        links: meta.nlink(),
        len: meta.len(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    };
    seen.insert(path.to_owned(), seen_here);
}

impl Hand {
    fn act(&mut self) {
        self.has_acted = true;
        let root = self.dir.join("root");
        match self.swap {
            Swap::Folder(folder, planted) => {
                let path = root.join(folder);
                let aside = self.dir.join("aside/folder");
                if fs::rename(&path, &aside).is_ok() {
                    self.plant(planted, &path, folder);
                }
            }
            Swap::Name(leaf, planted) => {
                let name = match leaf {
                    Leaf::Final => "x".to_owned(),
                    Leaf::Partial => partial_name("x", 0),
                };
                let path = root.join("d/e").join(&name);
                let _ = fs::rename(&path, self.dir.join("aside/name"));
                if path.parent().is_some_and(Path::is_dir) {
                    self.plant(planted, &path, &format!("d/e/{name}"));
                }
            }
        }
    }

    /// Plants something at a path, which goes to the same name outside, if it is a link.
    fn plant(&mut self, planted: Planted, path: &Path, name: &str) {
        let up = "../".repeat(name.split('/').count() - 1);
        match planted {
            Planted::Nothing => {}
            Planted::LinkOut => symlink(format!("{up}../outside/{name}"), path).unwrap(),
            Planted::LinkAside => symlink(format!("{up}other/{name}"), path).unwrap(),
            Planted::Folder => fs::create_dir(path).unwrap(),
            Planted::Fifo => fifo(path),
            Planted::File => {
                fs::write(path, FOREIGN).unwrap();
                self.planted = File::open(path).ok();
            }
            Planted::HardLink => {
                let linked = self.dir.join("linked");
                fs::hard_link(&linked, path).unwrap();
                self.planted = File::open(linked).ok();
            }
        }
    }
}

/// Does some work, and lets the hand act before the step of this number. Gives how many steps there were, and whether a
/// name that the hand has put there was removed.
fn race(scene: &Scene, work: Work, system: System, at: usize, swap: Swap) -> (usize, bool) {
    let mut store = scene.set(work);
    match system {
        System::NoUnnamed => store.shared.unnamed.set_impossible(),
        System::Kept => keep_folder(&mut store),
        System::All | System::NoFlags => {}
    }
    let (dir, planted) = (scene.dir.path().to_owned(), None);
    let hand = Hand { dir, swap, planted, had_stood: false, has_acted: false };
    let hand = Arc::new(Mutex::new(hand));
    let steps = Arc::new(AtomicUsize::new(0));
    let (acting, count, root) = (Arc::clone(&hand), Arc::clone(&steps), scene.root());
    store.shared.hook.set(move |step| {
        if count.fetch_add(1, Ordering::Relaxed) == at {
            let mut hand = acting.lock().unwrap();
            hand.had_stood = work.stands(&root);
            hand.act();
        }
        let is_flag = matches!(step, Step::RenameNoReplace | Step::RenameExchange | Step::Link);
        let fails = is_flag && system == System::NoFlags || step == Step::SyncFolder;
        if fails { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    });
    let (is_receipted, committing_from) = run(&mut store, work, &steps);
    let case = case(work, swap, at, system);
    let hand = hand.lock().unwrap();
    let stood = hand.has_acted && at >= committing_from && hand.had_stood;
    assert!(!is_receipted || stood || work.stands(&scene.root()), "{case}: a false receipt");
    assert!(is_receipted || hand.has_acted || !commits(work), "{case}: it fails by itself");
    assert_eq!(scene.seen(), scene.before, "{case}: something else was touched");
    let mut is_removed = false;
    if let Some(planted) = &hand.planted {
        let mut bytes = [0; 64];
        let read = planted.read_at(&mut bytes, 0).unwrap();
        // What looks like the partial file of an earlier attempt, the same user's, is gone on with.
        let is_partial = matches!(swap, Swap::Name(Leaf::Partial, Planted::File));
        assert!(is_partial || bytes[..read] == *FOREIGN.as_bytes(), "{case}: it was written to");
        let mode = planted.metadata().unwrap().mode() & 0o777;
        let is_own = matches!(swap, Swap::Name(_, Planted::HardLink));
        assert!(!is_own || mode == 0o600, "{case}: its mode is {mode:o}");
        is_removed = is_own && planted.metadata().unwrap().nlink() == 1;
    }
    (steps.load(Ordering::Relaxed), is_removed)
}

fn case(work: Work, swap: Swap, at: usize, system: System) -> String {
    format!("{work:?}, {swap:?} before step {at}, {system:?}")
}

/// Returns whether it ends with a receipt if nobody interferes.
const fn commits(work: Work) -> bool {
    !matches!(work, Work::Ask | Work::Discard | Work::SuspendEmpty | Work::SyncedFolder)
}

fn races(work: Work) {
    let scene = Scene::new();
    // Where something is there, nothing is made without a name.
    let is_new = matches!(work, Work::NewInNewFolders | Work::New | Work::Beside | Work::Discard);
    let keeps =
        is_new || matches!(work, Work::Replace | Work::Equal | Work::SuspendEmpty | Work::Ask);
    let is_used = |system: &System| match system {
        System::All | System::NoFlags => true,
        System::NoUnnamed => is_new,
        System::Kept => keeps && work != Work::NewInNewFolders,
    };
    let systems = [System::All, System::NoFlags, System::NoUnnamed, System::Kept];
    for system in systems.into_iter().filter(is_used) {
        for swap in SWAPS {
            let (mut at, mut was_removed) = (0, false);
            loop {
                let (steps, is_removed) = race(&scene, work, system, at, swap);
                if steps <= at {
                    break;
                }
                // Between the look at a name and its removal there is nothing to be done. Before, it is seen.
                let is_seen = swap == Swap::Name(Leaf::Partial, Planted::HardLink);
                let is_wrong = is_seen && was_removed && is_removed;
                assert!(!is_wrong, "{}: it was removed", case(work, swap, at, system));
                was_removed = is_removed;
                at += 1;
            }
            assert!(at > 3, "{work:?} takes {at} steps");
        }
    }
}

#[test]
fn store_of_which_something_is_exchanged_before_any_call_touches_nothing_else() {
    std::thread::scope(|scope| {
        for half in WORK.chunks(WORK.len().div_ceil(2)) {
            scope.spawn(|| half.iter().copied().for_each(races));
        }
    });
}

/// Entries of one folder share its handle: that is no reason to put anything where the folder was moved to.
#[test]
fn store_folder_that_is_kept_open_and_moved_away_takes_nothing_more() {
    for folder in ["d", "d/e", "d/e/f"] {
        let mut bench = Bench::new();
        let name = |name: &str| format!("{folder}/{name}");
        let first = bench.put(&name("a"), Place::Offered, "a");
        assert_eq!(first, Ok(Committed::new(rel(&name("a")))));
        let moved = bench.dir.path().join("moved");
        fs::rename(bench.path("d"), &moved).unwrap();
        symlink("../moved", bench.path("d")).unwrap();
        let offer = bench.file(&name("b"), 1);
        assert_eq!(bench.begin(&offer, Place::Offered).err(), Some(Refusal::KindClash), "{folder}");
        fs::remove_file(bench.path("d")).unwrap();
        let last = bench.put(&name("c"), Place::Offered, "c");
        assert_eq!(last, Ok(Committed::new(rel(&name("c")))));
        assert_eq!(fs::read(bench.path(&name("c"))).unwrap(), b"c");
        let inside = folder.strip_prefix("d").unwrap().trim_start_matches('/');
        let names: Vec<_> = fs::read_dir(moved.join(inside))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(names.iter().all(|name| name == "a" || name == "e" || name == "f"), "{names:?}");
    }
}

/// Nor for a commit whose folder is another one by then.
#[test]
fn store_folder_that_is_moved_away_before_its_commits_is_a_clash_for_each() {
    for folder in ["d", "d/e", "d/e/f"] {
        let mut bench = Bench::new();
        let begun = ["a", "b"].map(|name| {
            let offer = bench.file(&format!("{folder}/{name}"), 1);
            let begun = bench.begin(&offer, Place::Offered);
            let Ok((mut file, Found::Fresh)) = begun else { panic!("{begun:?}") };
            bench.store.write_at(&mut file, 0, b"1").unwrap();
            (offer, file)
        });
        fs::rename(bench.path("d"), bench.path("moved")).unwrap();
        symlink("moved", bench.path("d")).unwrap();
        for ((offer, file), durability) in
            begun.into_iter().zip([Durability::Received, Durability::Synced])
        {
            let meta = offer.meta.clone();
            let commit =
                Commit::new(ticket(&offer), offer.entry, meta, Place::Offered, 1, durability);
            bench.store.commit(file, commit);
            assert_eq!(bench.ended(&offer), Err(Refusal::KindClash), "{folder}");
        }
    }
}
