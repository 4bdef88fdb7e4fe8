use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Mutex;

use rustix::fs::{CWD, FileType, mknodat};
use tempfile::TempDir;

use super::super::commit::Step;
use super::*;
use crate::proto::{Durability, Meta, Timestamp};
use crate::tree::BlockSize;

type Call = Box<dyn FnMut(Step) -> io::Result<()> + Send>;

/// Is called at each step of a commit, and may make it fail.
#[derive(Default)]
pub(in super::super) struct Hook(Mutex<Option<Call>>);

impl Hook {
    pub(in super::super) fn call(&self, step: Step) -> io::Result<()> {
        self.0.lock().unwrap().as_mut().map_or(Ok(()), |call| call(step))
    }

    fn set(&self, call: impl FnMut(Step) -> io::Result<()> + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(call));
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
}

type Ended = Result<Committed, Refusal>;

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/sentinel"), "sentinel").unwrap();
        let store = FsStore::open(dir.path().join("root")).unwrap();
        Self { dir, store, next: 0 }
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

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<Begun<FsFile>, Refusal> {
        self.store.begin(offer, place)
    }

    fn commit(&mut self, file: FsFile, offer: &Offer, size: u64) -> Ended {
        let commit = Commit::new(offer.entry, offer.meta.clone(), size, Durability::Synced);
        self.store.commit(file, commit);
        self.ended(offer)
    }

    fn ended(&mut self, offer: &Offer) -> Ended {
        let (entry, ended) = self.store.poll_committed(Duration::from_secs(20)).expect("it ends");
        assert_eq!(entry, offer.entry);
        ended
    }

    /// The whole way of one file.
    fn put(&mut self, name: &str, place: Place, bytes: &str) -> Ended {
        let offer = self.file(name, bytes.len());
        let mut file = match self.begin(&offer, place)? {
            Begun::Fresh(file) | Begun::Partial(file, _) => file,
            Begun::Existing(..) => panic!("{name} exists"),
        };
        self.store.write_at(&mut file, 0, bytes.as_bytes())?;
        self.commit(file, &offer, u64::try_from(bytes.len()).unwrap())
    }

    /// Every name below the root, with what it is.
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
    partial::name(name.as_bytes(), n)
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
            let Begun::Fresh(mut file) = bench.begin(&offer, Place::Offered).unwrap() else {
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
            let Begun::Fresh(file) = bench.begin(&offer, Place::Offered).unwrap() else {
                panic!("fresh")
            };
            assert!(bench.commit(file, &offer, 0).is_ok());
        }
    }
}

/// Every kind of thing under the final name, with every place.
#[test]
fn store_begin_of_every_standing_thing_in_every_place_is_as_the_table_says() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Found {
        Fresh,
        Existing,
        Refused(Refusal),
    }
    use Found::{Existing, Fresh, Refused};
    let clash = Refused(Refusal::KindClash);
    let taken = Refused(Refusal::Exists);
    let things: [(&str, fn(&Path)); 6] = [
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
                    Ok(Begun::Fresh(file)) => (Fresh, Some(file)),
                    Ok(Begun::Existing(file, 3)) => (Existing, Some(file)),
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
