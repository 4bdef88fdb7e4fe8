use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Mutex;

use rustix::fs::{CWD, FileType, mknodat};
use tempfile::TempDir;

use super::super::partial::{self, Owner};
use super::super::shared::Step;
use super::*;
use crate::hash::BlockSize;
use crate::store::{Committed, Uncommitted};
use crate::types::{Durability, Timestamp};

mod attacks;
mod descriptors;
#[cfg(feature = "testing")]
mod hands;
mod hidden;
mod kept_out;
mod left;
mod links;
mod modes;
mod name_conflicts;
mod order;
mod partials;
mod races;
mod short;
mod sparse;
mod swaps;
mod unnamed;
#[cfg(feature = "testing")]
mod unreadable;

type Call = Arc<dyn Fn(Step) -> io::Result<()> + Send + Sync>;

/// Is called at each step of a commit, and may make it fail.
#[derive(Default)]
pub(in super::super) struct Hook(Mutex<Option<Call>>);

impl Hook {
    pub(in super::super) fn call(&self, step: Step) -> io::Result<()> {
        // Not called under the lock: one step may wait for another.
        let call = self.0.lock().unwrap().clone();
        call.map_or(Ok(()), |call| call(step))
    }

    pub(in super::super) fn set(
        &self,
        call: impl Fn(Step) -> io::Result<()> + Send + Sync + 'static,
    ) {
        *self.0.lock().unwrap() = Some(Arc::new(call));
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

/// A root inside a folder that also holds a sentinel.
struct Bench {
    dir: TempDir,
    store: FsStore,
    next: u32,
    /// Place to which the entry that was begun last is to be committed.
    place: Place,
}

/// Name of a thing that somebody put there, and its maker.
type Plant = (&'static str, fn(&Path));

type Ended = Result<Committed, Refusal>;

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/sentinel"), "sentinel").unwrap();
        let store = FsStore::open(dir.path().join("root")).unwrap();
        // All have names, as where a file system has no files without.
        store.shared.unnamed.set_impossible();
        Self { dir, store, next: 0, place: Place::Offered }
    }

    /// Creates a bench in which small files have no names before they are whole. `None`: this file
    /// system has no such files.
    fn unnamed() -> Option<Self> {
        let mut bench = Self::new();
        bench.store = FsStore::open(bench.path("")).unwrap();
        let probe = super::super::unnamed::make(&bench.store.shared, None, 0o600);
        probe.is_some().then_some(bench)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("root").join(name)
    }

    fn offer(&mut self, meta: Meta) -> Offer {
        self.next += 1;
        Offer::new(EntryId::new(self.next), meta, BlockSize::MIN)
    }

    fn file(&mut self, name: &str, size: usize) -> Offer {
        self.offer(Meta::file(rel(name), Some(u64::try_from(size).unwrap())))
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(FsFile, Found), Refusal> {
        self.place = place;
        self.store.begin(offer, place)
    }

    fn commit(&mut self, file: FsFile, offer: &Offer, size: u64) -> Ended {
        let meta = offer.meta.clone();
        let commit =
            Commit::new(ticket(offer), offer.entry, meta, self.place, size, Durability::Synced);
        self.store.commit(file, commit);
        self.ended(offer)
    }

    /// Returns the end of a commit; a file that is handed back is discarded.
    fn ended(&mut self, offer: &Offer) -> Ended {
        self.handed_back(offer).map_err(|failed| match *failed {
            Uncommitted::Failed(refusal) => refusal,
            Uncommitted::Taken { file, existing } => {
                self.store.discard(file);
                if existing.is_some() { Refusal::Exists } else { Refusal::KindClash }
            }
        })
    }

    fn handed_back(&mut self, offer: &Offer) -> Result<Committed, Box<Uncommitted<FsFile>>> {
        let (ended_ticket, ended) =
            self.store.poll_committed(Duration::from_secs(20)).expect("it ends");
        assert_eq!(ended_ticket, ticket(offer));
        ended.map_err(Box::new)
    }

    /// Takes one file the whole way.
    fn put(&mut self, name: &str, place: Place, bytes: &str) -> Ended {
        let offer = self.file(name, bytes.len());
        let mut file = match self.begin(&offer, place)? {
            (file, Found::Fresh | Found::Partial(_)) => file,
            (_, Found::Existing(_)) => panic!("{name} exists"),
        };
        self.store.write_at(&mut file, 0, bytes.as_bytes())?;
        self.commit(file, &offer, u64::try_from(bytes.len()).unwrap())
    }

    /// Returns every name below the root, with what it is.
    fn names(&self) -> BTreeMap<String, String> {
        let mut names = BTreeMap::new();
        list(&self.path(""), "", &mut names);
        names
    }

    fn assert_names(&self, expected: &[(&str, &str)]) {
        let owned = |(name, what): &(&str, &str)| ((*name).to_owned(), (*what).to_owned());
        assert_eq!(self.names(), expected.iter().map(owned).collect());
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let sentinel = self.dir.path().join("outside/sentinel");
            assert_eq!(fs::read(sentinel).unwrap(), b"sentinel");
            let outside = fs::read_dir(self.dir.path().join("outside")).unwrap();
            assert_eq!(outside.count(), 1, "something was made outside of the root");
        }
    }
}

fn list(folder: &Path, prefix: &str, names: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type().unwrap();
        let what = if kind.is_dir() {
            list(&entry.path(), &format!("{name}/"), names);
            "folder".to_owned()
        } else if kind.is_symlink() {
            format!("-> {}", fs::read_link(entry.path()).unwrap().display())
        } else if kind.is_file() {
            fs::read_to_string(entry.path()).unwrap()
        } else {
            "special".to_owned()
        };
        names.insert(name, what);
    }
}

fn rel(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).unwrap()
}

fn partial_name(name: &str, n: u32) -> String {
    partial::name(Owner::default(), name.as_bytes(), n)
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

#[test]
fn store_file_is_stored_with_its_time_and_masked_mode() {
    let mut bench = Bench::new();
    let umask = bench.store.shared.umask;
    for (n, mode) in [0o4777, 0o2755, 0o1666, 0o7000, 0, 0o644, 0o200].into_iter().enumerate() {
        for time in [(1_234_567_890, 123_456_789), (-1, 999_999_999), (0, 0)] {
            let name = format!("f{n}-{}", time.1);
            let mut meta = Meta::file(rel(&name), Some(2)).modified(Timestamp::new(time.0, time.1));
            // As a peer would that keeps to no rule.
            meta.mode = Some(mode);
            let offer = bench.offer(meta);
            let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
                panic!("fresh")
            };
            let partial = fs::metadata(bench.path(&partial_name(&name, 0))).unwrap();
            assert_eq!(partial.mode() & 0o7777, 0o600);
            bench.store.write_at(&mut file, 0, b"ab").unwrap();
            assert_eq!(bench.commit(file, &offer, 2), Ok(Committed::new(rel(&name))));
            let meta = fs::metadata(bench.path(&name)).unwrap();
            assert_eq!(meta.mode() & 0o7777, mode & 0o777 & !umask | 0o400, "{mode:o}");
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (time.0, time.1.into()));
        }
    }
}

#[test]
fn store_time_out_of_range_does_no_harm() {
    let mut bench = Bench::new();
    for (n, seconds) in [i64::MIN, i64::MAX, i64::MIN + 1, 1 << 40].into_iter().enumerate() {
        for kind in ["file", "folder"] {
            let path = rel(&format!("{kind}{n}"));
            let meta =
                if kind == "file" { Meta::file(path, Some(0)) } else { Meta::directory(path) };
            let offer = bench.offer(meta.modified(Timestamp::new(seconds, 999_999_999)));
            let (file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
                panic!("fresh")
            };
            assert!(bench.commit(file, &offer, 0).is_ok());
        }
    }
}

/// Every kind of thing under the final name, with every place.
#[test]
fn store_begin_of_every_existing_thing_in_every_place_is_as_the_table_says() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Answer {
        Fresh,
        Existing,
        Refused(Refusal),
    }
    use Answer::{Existing, Fresh, Refused};
    let clash = Refused(Refusal::KindClash);
    let taken = Refused(Refusal::Exists);
    let things: [Plant; 6] = [
        ("nothing", |_| {}),
        ("file", |path| fs::write(path, "old").unwrap()),
        ("folder", |path| fs::create_dir(path).unwrap()),
        ("FIFO", fifo),
        ("link", |path| symlink("../outside/sentinel", path).unwrap()),
        ("dangling link", |path| symlink("../outside/none", path).unwrap()),
    ];
    for (thing, plant) in things {
        for (place, name, [free, plain, other]) in [
            (Place::Offered, "a.b", [Fresh, Existing, clash]),
            (Place::Replacing, "a.b", [Fresh, Fresh, clash]),
            (Place::Beside(1), "a (1).b", [Fresh, Existing, taken]),
            (Place::Beside(77), "a (77).b", [Fresh, Existing, taken]),
        ] {
            for parent in ["", "p/q/"] {
                let mut bench = Bench::new();
                fs::create_dir_all(bench.path(parent)).unwrap();
                plant(&bench.path(&format!("{parent}{name}")));
                let before = bench.names();
                let offer = bench.file(&format!("{parent}a.b"), 3);
                let begun = bench.begin(&offer, place);
                let (found, file) = match begun {
                    Ok((file, Found::Fresh)) => (Fresh, Some(file)),
                    Ok((file, Found::Existing(3))) => (Existing, Some(file)),
                    Ok(_) => panic!("{thing} {place:?}"),
                    Err(refusal) => (Refused(refusal), None),
                };
                let expected = match thing {
                    "nothing" => free,
                    "file" => plain,
                    _ => other,
                };
                assert_eq!(found, expected, "{thing} {place:?}");
                if let Some(file) = file {
                    bench.store.discard(file);
                }
                assert_eq!(bench.names(), before, "{thing} {place:?}");
            }
        }
    }
}

#[test]
fn store_replacing_takes_the_place_of_a_file_alone() {
    let mut bench = Bench::new();
    fs::write(bench.path("x"), "old").unwrap();
    let kept = bench.dir.path().join("kept");
    fs::hard_link(bench.path("x"), &kept).unwrap();
    assert!(bench.put("x", Place::Replacing, "newer").is_ok());
    bench.assert_names(&[("x", "newer")]);
    assert_eq!(fs::read(kept).unwrap(), b"old", "the old file itself is not written to");
    for thing in ["folder", "FIFO", "link"] {
        let offer = bench.file(thing, 1);
        let (mut file, Found::Fresh) = bench.begin(&offer, Place::Replacing).unwrap() else {
            panic!("fresh")
        };
        bench.store.write_at(&mut file, 0, b"n").unwrap();
        match thing {
            "folder" => fs::create_dir(bench.path(thing)).unwrap(),
            "FIFO" => fifo(&bench.path(thing)),
            _ => symlink("../outside/sentinel", bench.path(thing)).unwrap(),
        }
        assert_eq!(bench.commit(file, &offer, 1), Err(Refusal::KindClash), "{thing}");
    }
}

#[test]
fn store_copy_held_takes_blocks_from_the_old_file() {
    let mut bench = Bench::new();
    fs::write(bench.path("x"), "0123456789").unwrap();
    let offer = bench.file("x", 10);
    let (mut file, Found::Fresh) = bench.begin(&offer, Place::Replacing).unwrap() else {
        panic!("fresh")
    };
    bench.store.write_at(&mut file, 4, b"xx").unwrap();
    bench.store.copy_held(&mut file, 6, 4).unwrap();
    bench.store.copy_held(&mut file, 0, 4).unwrap();
    assert_eq!(
        bench.store.copy_held(&mut file, 8, 3),
        Err(Refusal::Store { code: 0, operation: StoreOperation::Copy })
    );
    let far = bench.store.copy_held(&mut file, u64::MAX, 1);
    assert!(matches!(far, Err(Refusal::TooLarge { .. })));
    let mut buffer = [0; 16];
    assert_eq!(bench.store.read_at(&mut file, 0, &mut buffer).unwrap(), 10);
    assert_eq!(&buffer[..10], b"0123xx6789");
    assert!(bench.commit(file, &offer, 10).is_ok());
    bench.assert_names(&[("x", "0123xx6789")]);
}

#[test]
fn store_existing_that_changed_is_not_vouched_for() {
    for change in ["none", "written", "replaced", "removed", "linked"] {
        let mut bench = Bench::new();
        let path = bench.path("x");
        fs::write(&path, "same").unwrap();
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let offer = bench.file("x", 4);
        let (mut file, Found::Existing(4)) = bench.begin(&offer, Place::Offered).unwrap() else {
            panic!("existing")
        };
        assert!(bench.store.write_at(&mut file, 0, b"evil").is_err());
        let mut buffer = [0; 8];
        assert_eq!(bench.store.read_at(&mut file, 1, &mut buffer).unwrap(), 3);
        assert_eq!(&buffer[..3], b"ame");
        let (ended, left) = match change {
            "written" => {
                fs::write(&path, "evil").unwrap();
                (Err(Refusal::Exists), Some("evil"))
            }
            "replaced" => {
                fs::write(path.with_extension("new"), "same").unwrap();
                fs::rename(path.with_extension("new"), &path).unwrap();
                (Err(Refusal::Exists), Some("same"))
            }
            "removed" => {
                fs::remove_file(&path).unwrap();
                (Err(Refusal::Exists), None)
            }
            "linked" => {
                fs::remove_file(&path).unwrap();
                symlink("../outside/sentinel", &path).unwrap();
                (Err(Refusal::Exists), Some("-> ../outside/sentinel"))
            }
            _ => (Ok(Committed::new(rel("x"))), Some("same")),
        };
        assert_eq!(bench.commit(file, &offer, 4), ended, "{change}");
        assert_eq!(bench.names().get("x").map(String::as_str), left, "{change}");
    }
}

#[test]
fn store_beside_leaves_names_that_other_entries_have() {
    let mut bench = Bench::new();
    fs::write(bench.path("a.b"), "old").unwrap();
    let other = bench.file("A (1).b", 3);
    let (_open, Found::Fresh) = bench.begin(&other, Place::Offered).unwrap() else { panic!() };
    assert_eq!(bench.put("a.b", Place::Beside(1), "new"), Err(Refusal::Exists));
}

#[test]
fn store_folder_gets_its_time_after_what_it_holds_and_others_keep_time_and_mode() {
    for threads in [0, 1, 2, 4] {
        let mut bench = Bench::new();
        bench.store = FsStore::open(bench.path("")).unwrap().sync_threads(threads);
        let umask = bench.store.shared.umask;
        fs::create_dir(bench.path("private")).unwrap();
        fs::set_permissions(bench.path("private"), fs::Permissions::from_mode(0o700)).unwrap();
        let time = Timestamp::new(1_000_000_000, 5);
        let mut pending = 0;
        for n in 0..40 {
            let folder = if n == 0 { "private".to_owned() } else { format!("top/d{n}") };
            for name in ["x", "y"] {
                let offer = bench.file(&format!("{folder}/{name}"), 0);
                let (file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
                    panic!("fresh")
                };
                let commit = Commit::new(
                    ticket(&offer),
                    offer.entry,
                    offer.meta.clone(),
                    Place::Offered,
                    0,
                    Durability::Synced,
                );
                bench.store.commit(file, commit);
                pending += 1;
            }
            let meta = Meta::directory(rel(&folder)).modified(time).mode(Some(0o755));
            let offer = bench.offer(meta.clone());
            let (file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
                panic!("fresh")
            };
            bench.store.commit(
                file,
                Commit::new(
                    ticket(&offer),
                    offer.entry,
                    meta,
                    Place::Offered,
                    0,
                    Durability::Synced,
                ),
            );
            pending += 1;
        }
        for _ in 0..pending {
            let (_, ended) = bench.store.poll_committed(Duration::from_secs(20)).expect("ends");
            assert!(ended.is_ok());
        }
        for n in 0..40 {
            let folder = if n == 0 { "private".to_owned() } else { format!("top/d{n}") };
            let meta = fs::metadata(bench.path(&folder)).unwrap();
            let is_dressed = (meta.mtime(), meta.mtime_nsec()) == (1_000_000_000, 5);
            assert_eq!(is_dressed, n > 0, "{folder}");
            let mode = if n == 0 { 0o700 } else { 0o755 & !umask | 0o700 };
            assert_eq!(meta.mode() & 0o7777, mode, "{folder}");
        }
    }
}

/// Fails the k-th step of a commit, for every step, place and durability.
#[test]
fn store_commit_that_fails_leaves_the_final_name_as_it_was() {
    for place in [Place::Offered, Place::Replacing] {
        for durability in [Durability::Received, Durability::Flushed, Durability::Synced] {
            for fail in [
                None,
                Some(Step::Cut),
                Some(Step::SyncFile),
                Some(Step::Rename),
                Some(Step::SyncFolder),
            ] {
                let mut bench = Bench::new();
                if place == Place::Replacing {
                    fs::create_dir(bench.path("d")).unwrap();
                    fs::write(bench.path("d/x"), "old").unwrap();
                }
                let steps = Arc::new(Mutex::new(Vec::new()));
                let (seen, path) = (Arc::clone(&steps), bench.path("d/x"));
                bench.store.shared.hook.set(move |step| {
                    let stands = fs::read(&path).unwrap_or_default() == b"new";
                    if !matches!(step, Step::Call | Step::OpenExisting) {
                        seen.lock().unwrap().push((step, stands));
                    }
                    if Some(step) == fail { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
                });
                let offer = bench.file("d/x", 3);
                let (mut file, Found::Fresh) = bench.begin(&offer, place).unwrap() else {
                    panic!()
                };
                bench.store.write_at(&mut file, 0, b"new").unwrap();
                let commit = Commit::new(
                    ticket(&offer),
                    offer.entry,
                    offer.meta.clone(),
                    place,
                    3,
                    durability,
                );
                bench.store.commit(file, commit);
                let ended = bench.ended(&offer);
                let steps = std::mem::take(&mut *steps.lock().unwrap());
                let name = partial_name("x", 0);
                let mut all = vec![(Step::Cut, false)];
                if durability != Durability::Received {
                    all.push((Step::SyncFile, false));
                }
                all.push((Step::Rename, false));
                all.push((
                    if place == Place::Offered {
                        Step::RenameNoReplace
                    } else {
                        Step::RenameExchange
                    },
                    false,
                ));
                all.push((Step::Renamed, true));
                if durability == Durability::Synced {
                    // The folder itself, and its name in the root.
                    all.extend([(Step::SyncFolder, true); 2]);
                }
                let reached = all.iter().position(|(step, _)| Some(*step) == fail);
                let before = reached.is_some_and(|k| all[k].0 != Step::SyncFolder);
                if before {
                    all.truncate(reached.unwrap() + 1);
                }
                assert_eq!(steps, all, "{place:?} {durability} {fail:?}");
                let (refusal, kept) = match fail.filter(|_| reached.is_some()) {
                    None => (None, None),
                    Some(Step::SyncFile) => (Some(Refusal::Sync { code: 5 }), None),
                    Some(Step::SyncFolder) => (Some(Refusal::Sync { code: 5 }), None),
                    Some(Step::Cut) => (
                        Some(Refusal::Store { code: 5, operation: StoreOperation::Truncate }),
                        Some("new"),
                    ),
                    Some(_) => (
                        Some(Refusal::Store { code: 5, operation: StoreOperation::Rename }),
                        Some("new"),
                    ),
                };
                assert_eq!(ended.err(), refusal, "{place:?} {durability} {fail:?}");
                let names = bench.names();
                let old = if place == Place::Replacing { Some("old") } else { None };
                let stands = if before { old } else { Some("new") };
                assert_eq!(names.get("d/x").map(String::as_str), stands, "{durability} {fail:?}");
                assert_eq!(names.get(&format!("d/{name}")).map(String::as_str), kept, "{fail:?}");
            }
        }
    }
}

/// Returns the ticket of an entry, which is committed once at a time.
fn ticket(offer: &Offer) -> Ticket {
    Ticket::new([7; 16], offer.entry.get().into())
}
