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

#[test]
fn store_planted_partial_is_not_followed_or_written() {
    let plants: [(&str, fn(&Path)); 6] = [
        ("link", |path| symlink("../outside/sentinel", path).unwrap()),
        ("link to nothing", |path| symlink("../outside/new", path).unwrap()),
        ("hard link", |path| {
            fs::hard_link(path.parent().unwrap().join("../outside/sentinel"), path).unwrap();
        }),
        ("FIFO", fifo),
        ("folder", |path| fs::create_dir(path).unwrap()),
        ("two names of one file", |path| {
            let other = path.with_extension("other");
            fs::write(&other, "other").unwrap();
            fs::hard_link(other, path).unwrap();
        }),
    ];
    for (what, plant) in plants {
        for count in [1, 3] {
            let mut bench = Bench::new();
            for n in 0..count {
                plant(&bench.path(&partial_name("x", n)));
            }
            let planted = bench.names();
            assert_eq!(
                bench.put("x", Place::Offered, "new"),
                Ok(Committed::new(rel("x"))),
                "{what}"
            );
            let mut names = bench.names();
            assert_eq!(names.remove("x").as_deref(), Some("new"), "{what}");
            assert_eq!(names, planted, "{what}");
        }
    }
}

#[test]
fn store_with_every_partial_name_planted_refuses() {
    let mut bench = Bench::new();
    fs::create_dir(bench.path("d")).unwrap();
    for n in 0..64 {
        fifo(&bench.path(&format!("d/{}", partial_name("x", n))));
    }
    let busy = Refusal::Store { code: 16 };
    assert_eq!(bench.put("d/x", Place::Offered, "new"), Err(busy));
    assert_eq!(bench.put("d/y", Place::Offered, "new"), Ok(Committed::new(rel("d/y"))));
}

#[test]
fn store_link_on_the_way_is_a_clash() {
    let mut bench = Bench::new();
    symlink("../outside", bench.path("out")).unwrap();
    fs::create_dir(bench.path("in")).unwrap();
    symlink("in", bench.path("alias")).unwrap();
    symlink("loop", bench.path("loop")).unwrap();
    fs::write(bench.path("file"), "file").unwrap();
    fifo(&bench.path("fifo"));
    let before = bench.names();
    for above in ["out", "alias", "loop", "file", "fifo"] {
        for name in [format!("{above}/x"), format!("{above}/x/y"), format!("{above}/sentinel")] {
            for place in [Place::Offered, Place::Replacing, Place::Beside(1)] {
                bench.store = bench.store.clone();
                assert_eq!(bench.put(&name, place, "x"), Err(Refusal::KindClash), "{name}");
            }
            let offer = bench.offer(Meta::directory(rel(&format!("{name}-folder"))));
            let begun = bench.begin(&offer, Place::Offered);
            assert_eq!(begun.err(), Some(Refusal::KindClash), "{name}");
        }
    }
    assert_eq!(bench.names(), before);
}

#[test]
fn store_final_name_taken_meanwhile_keeps_what_took_it() {
    for (thing, refusal) in
        [("file", Refusal::Exists), ("link", Refusal::Exists), ("folder", Refusal::Exists)]
    {
        let mut bench = Bench::new();
        let offer = bench.file("x", 3);
        let Begun::Fresh(mut file) = bench.begin(&offer, Place::Offered).unwrap() else {
            panic!("fresh")
        };
        bench.store.write_at(&mut file, 0, b"new").unwrap();
        match thing {
            "file" => fs::write(bench.path("x"), "other").unwrap(),
            "link" => symlink("../outside/sentinel", bench.path("x")).unwrap(),
            _ => fs::create_dir(bench.path("x")).unwrap(),
        }
        let before = bench.names();
        assert_eq!(bench.commit(file, &offer, 3), Err(refusal), "{thing}");
        assert_eq!(bench.names(), before, "{thing}: the partial file is kept");
        assert_eq!(before[&partial_name("x", 0)], "new");
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
        let Begun::Fresh(mut file) = bench.begin(&offer, Place::Replacing).unwrap() else {
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
    let Begun::Fresh(mut file) = bench.begin(&offer, Place::Replacing).unwrap() else {
        panic!("fresh")
    };
    bench.store.write_at(&mut file, 4, b"xx").unwrap();
    bench.store.copy_held(&mut file, 6, 4).unwrap();
    bench.store.copy_held(&mut file, 0, 4).unwrap();
    assert_eq!(bench.store.copy_held(&mut file, 8, 3), Err(Refusal::Store { code: 0 }));
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
        let Begun::Existing(mut file, 4) = bench.begin(&offer, Place::Offered).unwrap() else {
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
fn store_sessions_at_one_name_do_not_share_a_partial() {
    let mut bench = Bench::new();
    let mut other = bench.store.clone();
    let offer = bench.file("x", 3);
    let begin = |store: &mut FsStore, text: &[u8]| match store.begin(&offer, Place::Offered) {
        Ok(Begun::Fresh(mut file)) => {
            store.write_at(&mut file, 0, text).unwrap();
            file
        }
        other => panic!("{other:?}"),
    };
    let first = begin(&mut bench.store, b"one");
    let second = begin(&mut other, b"two");
    bench.assert_names(&[(&partial_name("x", 0), "one"), (&partial_name("x", 1), "two")]);
    bench.store.suspend(first);
    other.suspend(second);
    let Begun::Partial(first, 3) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
    assert!(bench.commit(first, &offer, 3).is_ok());
    // What the second one left is found though the first is gone.
    let Begun::Partial(second, 3) = other.begin(&offer, Place::Replacing).unwrap() else {
        panic!()
    };
    bench.assert_names(&[("x", "one"), (&partial_name("x", 1), "two")]);
    other.discard(second);
    bench.assert_names(&[("x", "one")]);
}

#[test]
fn store_collisions_by_case_and_form_are_refused_and_the_first_is_intact() {
    for (first, second, refusal) in [
        ("A", "a", Refusal::Collision),
        ("d/É", "d/e\u{301}", Refusal::Collision),
        ("d/\u{e9}", "D/E\u{301}", Refusal::Collision),
        ("K", "\u{212a}", Refusal::Collision),
        ("x", "X/y", Refusal::KindClash),
        ("x", "x/y", Refusal::KindClash),
        ("x", "x", Refusal::Collision),
        ("x/y", "x", Refusal::KindClash),
    ] {
        let mut bench = Bench::new();
        assert!(bench.put(first, Place::Offered, "first").is_ok());
        let before = bench.names();
        assert_eq!(bench.put(second, Place::Replacing, "second"), Err(refusal), "{first} {second}");
        assert_eq!(bench.names(), before);
    }
}

#[test]
fn store_beside_leaves_names_that_other_entries_have() {
    let mut bench = Bench::new();
    fs::write(bench.path("a.b"), "old").unwrap();
    let other = bench.file("A (1).b", 3);
    let Begun::Fresh(_open) = bench.begin(&other, Place::Offered).unwrap() else { panic!() };
    assert_eq!(bench.put("a.b", Place::Beside(1), "new"), Err(Refusal::Exists));
}

#[test]
fn store_discard_removes_what_was_made_and_nothing_else() {
    let mut bench = Bench::new();
    fs::create_dir(bench.path("old")).unwrap();
    let first = bench.file("old/new/a/x", 3);
    let second = bench.file("old/new/b", 3);
    let begin = |bench: &mut Bench, offer: &Offer| match bench.begin(offer, Place::Offered) {
        Ok(Begun::Fresh(mut file)) => {
            bench.store.write_at(&mut file, 0, b"abc").unwrap();
            file
        }
        other => panic!("{other:?}"),
    };
    let (a, b) = (begin(&mut bench, &first), begin(&mut bench, &second));
    bench.store.discard(a);
    assert_eq!(bench.names().len(), 3, "{:?}", bench.names());
    // Somebody else's file under the name of the partial file is not ours to remove.
    let partial = bench.path(&format!("old/new/{}", partial_name("b", 0)));
    fs::rename(&partial, bench.path("aside")).unwrap();
    fs::write(&partial, "not ours").unwrap();
    bench.store.discard(b);
    assert_eq!(fs::read(&partial).unwrap(), b"not ours");
    fs::remove_file(partial).unwrap();
    fs::remove_file(bench.path("aside")).unwrap();
    let b = begin(&mut bench, &second);
    bench.store.discard(b);
    bench.assert_names(&[("old", "folder")]);
    // Nothing was written: there is nothing to keep.
    let Begun::Fresh(file) = bench.begin(&first, Place::Offered).unwrap() else { panic!() };
    bench.store.suspend(file);
    bench.assert_names(&[("old", "folder")]);
}

#[test]
fn store_folder_gets_its_time_after_what_it_holds_and_keeps_a_mode_of_others() {
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
                let Begun::Fresh(file) = bench.begin(&offer, Place::Offered).unwrap() else {
                    panic!("fresh")
                };
                let commit = Commit::new(offer.entry, offer.meta.clone(), 0, Durability::Synced);
                bench.store.commit(file, commit);
                pending += 1;
            }
            let meta = Meta::directory(rel(&folder)).modified(time).mode(Some(0o755));
            let offer = bench.offer(meta.clone());
            let Begun::Fresh(file) = bench.begin(&offer, Place::Offered).unwrap() else {
                panic!("fresh")
            };
            bench.store.commit(file, Commit::new(offer.entry, meta, 0, Durability::Synced));
            pending += 1;
        }
        for _ in 0..pending {
            let (_, ended) = bench.store.poll_committed(Duration::from_secs(20)).expect("ends");
            assert!(ended.is_ok());
        }
        for n in 0..40 {
            let folder = if n == 0 { "private".to_owned() } else { format!("top/d{n}") };
            let meta = fs::metadata(bench.path(&folder)).unwrap();
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 5), "{folder}");
            let mode = if n == 0 { 0o700 } else { 0o755 & !umask | 0o700 };
            assert_eq!(meta.mode() & 0o7777, mode, "{folder}");
        }
    }
}

#[test]
fn store_links_are_refused_unless_allowed_and_inside() {
    let mut bench = Bench::new();
    let put = |bench: &mut Bench, name: &str, target: &str, place| {
        let offer = bench.offer(Meta::symlink(rel(name), target.as_bytes().into()));
        match bench.begin(&offer, place)? {
            Begun::Fresh(file) => bench.commit(file, &offer, 0).map(|_| ()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(put(&mut bench, "l", "x", Place::Offered), Err(Refusal::Kind));
    bench.assert_names(&[]);
    bench.store = bench.store.clone().allow_links();
    for target in ["/etc/passwd", "../outside", "../root/x", "a/../../outside", ""] {
        assert_eq!(put(&mut bench, "l", target, Place::Offered), Err(Refusal::Kind), "{target}");
        bench.store = bench.store.clone();
    }
    bench.assert_names(&[]);
    assert_eq!(put(&mut bench, "d/l", "../x", Place::Offered), Ok(()));
    bench.store = bench.store.clone();
    assert_eq!(put(&mut bench, "d/l", "../x", Place::Offered), Ok(()), "the same again");
    bench.store = bench.store.clone();
    assert_eq!(put(&mut bench, "d/l", "y", Place::Offered), Err(Refusal::Exists));
    bench.store = bench.store.clone();
    assert_eq!(put(&mut bench, "d/l", "y", Place::Replacing), Ok(()));
    bench.store = bench.store.clone();
    assert_eq!(put(&mut bench, "d/l", "z", Place::Beside(1)), Ok(()));
    // A link that a peer made is no way for the files that follow it.
    assert_eq!(bench.put("d/l/x", Place::Offered, "x"), Err(Refusal::KindClash));
    bench.store = bench.store.clone();
    assert_eq!(bench.put("d/l/x", Place::Offered, "x"), Err(Refusal::KindClash));
    bench.assert_names(&[("d", "folder"), ("d/l", "-> y"), ("d/l (1)", "-> z")]);
}

#[test]
fn store_offer_of_any_size_takes_nothing_on_its_word() {
    let mut bench = Bench::new();
    for size in [1 << 62, u64::MAX, (1 << 63) - 1] {
        let offer = bench.offer(Meta::file(rel(&format!("d/{size}")), Some(size)));
        match bench.begin(&offer, Place::Offered).err() {
            Some(Refusal::NoSpace { needed, available }) => {
                assert_eq!(needed, size);
                assert!(available > 0 && available < size);
            }
            other => panic!("{other:?}"),
        }
    }
    bench.assert_names(&[]);
    let offer = bench.offer(Meta::file(rel("unknown"), None));
    let Begun::Fresh(mut file) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
    for offset in [u64::MAX, 1 << 63, (1 << 63) - 1] {
        let refusal = bench.store.write_at(&mut file, offset, b"x").unwrap_err();
        assert!(matches!(refusal, Refusal::TooLarge { .. }), "{refusal:?}");
    }
    // Less was written than is to be committed: zeros are not content.
    assert_eq!(bench.commit(file, &offer, 1), Err(Refusal::Mismatch));
    let mut keep = bench.store.clone().keep_free(u64::MAX);
    let one = bench.file("one", 1);
    let refusal = keep.begin(&one, Place::Offered).err();
    assert_eq!(refusal, Some(Refusal::NoSpace { needed: 1, available: 0 }));
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
                    seen.lock().unwrap().push((step, stands));
                    if Some(step) == fail { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
                });
                let offer = bench.file("d/x", 3);
                let Begun::Fresh(mut file) = bench.begin(&offer, place).unwrap() else { panic!() };
                bench.store.write_at(&mut file, 0, b"new").unwrap();
                let commit = Commit::new(offer.entry, offer.meta.clone(), 3, durability);
                bench.store.commit(file, commit);
                let ended = bench.ended(&offer);
                let steps = std::mem::take(&mut *steps.lock().unwrap());
                let name = partial_name("x", 0);
                let mut all = vec![(Step::Cut, false)];
                if durability != Durability::Received {
                    all.push((Step::SyncFile, false));
                }
                all.push((Step::Rename, false));
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
                    Some(_) => (Some(Refusal::Store { code: 5 }), Some("new")),
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

#[test]
fn store_folder_exchanged_before_the_commit_is_a_clash() {
    let mut bench = Bench::new();
    let offer = bench.file("d/x", 3);
    let Begun::Fresh(mut file) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
    bench.store.write_at(&mut file, 0, b"new").unwrap();
    fs::rename(bench.path("d"), bench.path("moved")).unwrap();
    symlink("../outside", bench.path("d")).unwrap();
    assert_eq!(bench.commit(file, &offer, 3), Err(Refusal::KindClash));
}

/// A folder on the way is exchanged for a link all the time, while files, folders and discards go through it.
#[test]
fn store_folder_that_flips_to_a_link_lets_nothing_out() {
    let mut bench = Bench::new();
    fs::create_dir(bench.path("d")).unwrap();
    symlink("../outside", bench.path("link")).unwrap();
    let (stop, stopped) = channel::<()>();
    let root = bench.path("");
    let racer = std::thread::spawn(move || {
        let mut flips = 0_u64;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let exchange = rustix::fs::RenameFlags::EXCHANGE;
            rustix::fs::renameat_with(CWD, root.join("d"), CWD, root.join("link"), exchange)
                .unwrap();
            flips += 1;
        }
        flips
    });
    let end = std::time::Instant::now() + Duration::from_secs(2);
    let (mut stored, mut refused, mut n) = (0_u32, 0_u32, 0_u32);
    while std::time::Instant::now() < end {
        n += 1;
        let mut outcome = bench.put(&format!("d/f{}", n % 64), Place::Replacing, "inside").is_ok();
        let offer = bench.file(&format!("d/deep{n}/er/x"), 1);
        if let Ok(Begun::Fresh(mut file)) = bench.begin(&offer, Place::Offered) {
            outcome |= bench.store.write_at(&mut file, 0, b"y").is_ok();
            bench.store.discard(file);
        }
        let folder =
            bench.offer(Meta::directory(rel(&format!("d/folder{}", n % 64))).mode(Some(0o777)));
        if let Ok(Begun::Fresh(file)) = bench.begin(&folder, Place::Offered) {
            outcome |= bench.commit(file, &folder, 0).is_ok();
        }
        // The same names again are no collision in a new session.
        bench.store = bench.store.clone();
        if outcome { stored += 1 } else { refused += 1 }
    }
    drop(stop);
    let flips = racer.join().unwrap();
    assert!(flips > 100 && stored > 0, "{flips} flips, {stored} stored, {refused} refused");
    let outside = fs::metadata(bench.dir.path().join("outside")).unwrap();
    assert_ne!(outside.mode() & 0o777, 0o777);
}

#[test]
fn store_root_that_cannot_be_used_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file\x1b");
    fs::write(&file, "").unwrap();
    for path in [dir.path().join("none"), file.clone(), file.join("below")] {
        let error = FsStore::open(&path).unwrap_err();
        assert!(error.to_string().contains(dir.path().to_str().unwrap()), "{error}");
        assert!(!error.to_string().contains('\x1b'), "{error}");
    }
    assert!(FsStore::open_or_create(file.join("below")).is_err());
    let fifo_path = dir.path().join("fifo");
    fifo(&fifo_path);
    assert!(FsStore::open(&fifo_path).is_err());
    let deep = dir.path().join("a/b/c");
    FsStore::open_or_create(&deep).unwrap();
    FsStore::open_or_create(&deep).unwrap();
    let held = cap_std::fs::Dir::open_ambient_dir(&deep, cap_std::ambient_authority()).unwrap();
    FsStore::from_dir(held).unwrap();
}

#[test]
fn store_full_device_refuses_with_numbers_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let flags = rustix::mount::MountFlags::empty();
    if let Err(error) = rustix::mount::mount("none", dir.path(), "tmpfs", flags, c"size=64k") {
        eprintln!("skipped: a tmpfs cannot be mounted here: {error}");
        return;
    }
    let outcome = std::panic::catch_unwind(|| fill(dir.path()));
    rustix::mount::unmount(dir.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    outcome.unwrap();
}

fn fill(root: &Path) {
    let mut store = FsStore::open(root).unwrap();
    let offer = |entry, name, size| {
        Offer::new(EntryId::new(entry), Meta::file(rel(name), size), BlockSize::MIN)
    };
    let big = offer(0, "d/big", Some(100_000));
    let refusal = store.begin(&big, Place::Offered).err();
    assert_eq!(refusal, Some(Refusal::NoSpace { needed: 100_000, available: 65_536 }));
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    fs::write(root.join("ballast"), [1; 40_960]).unwrap();
    let pipe = offer(1, "pipe", None);
    let Begun::Fresh(mut file) = store.begin(&pipe, Place::Offered).unwrap() else { panic!() };
    store.write_at(&mut file, 0, &[2; 16_384]).unwrap();
    match store.write_at(&mut file, 16_384, &[3; 16_384]) {
        Err(Refusal::NoSpace { needed, available }) => {
            assert!(
                (8_192..=16_384).contains(&needed) && available < 8_192,
                "{needed} {available}"
            );
        }
        other => panic!("{other:?}"),
    }
    store.suspend(file);
    fs::remove_file(root.join("ballast")).unwrap();
    let Begun::Partial(mut file, len) = store.begin(&pipe, Place::Offered).unwrap() else {
        panic!()
    };
    assert!(len >= 16_384);
    store.write_at(&mut file, 16_384, &[3; 16_384]).unwrap();
    store.commit(file, Commit::new(pipe.entry, pipe.meta.clone(), 32_768, Durability::Synced));
    let ended = store.poll_committed(Duration::from_secs(20)).unwrap();
    assert_eq!(ended, (pipe.entry, Ok(Committed::new(rel("pipe")))));
    assert_eq!(fs::read(root.join("pipe")).unwrap(), [[2; 16_384], [3; 16_384]].concat());
}
