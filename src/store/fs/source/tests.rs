#![expect(clippy::disallowed_methods, reason = "files are changed while others read them")]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;
use rustix::fs::{AtFlags, FileType as Type, mknodat};
use tempfile::TempDir;

use super::super::walk::BATCH;
use super::*;
use crate::types::Kind;

mod ahead;
mod descriptors;
mod excepted;
mod races;
mod sizes;

type Seen = Vec<Result<(String, Meta), (String, Withdrawal)>>;

fn walk(source: &mut FsSource) -> Seen {
    let entries = std::iter::from_fn(|| source.next_entry());
    entries
        .map(|entry| match entry {
            Ok((_, meta)) => Ok((meta.path.to_string(), meta)),
            Err(unsendable) => Err((unsendable.name, unsendable.reason)),
        })
        .collect()
}

fn names(seen: &Seen) -> Vec<String> {
    let name = |entry: &Result<(String, Meta), (String, Withdrawal)>| match entry {
        Ok((name, _)) => name.clone(),
        Err((name, reason)) => format!("{name}: {reason:?}"),
    };
    seen.iter().map(name).collect()
}

fn tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("t");
    fs::create_dir_all(root.join("b/c")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    for (name, bytes) in [("a", "1"), ("b/c/x", "22"), ("b/y", "333"), ("z", "")] {
        fs::write(root.join(name), bytes).unwrap();
    }
    dir
}

fn fifo(path: &Path) {
    mknodat(CWD, path, Type::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
}

/// Returns what `work` gives, which must be within ten seconds: a FIFO that is opened would take
/// for ever.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(Duration::from_secs(10)).expect("it hangs")
}

#[test]
fn source_folder_is_walked_in_order_and_offered_after_what_it_holds() {
    let dir = tree();
    let seen = walk(&mut FsSource::new([dir.path().join("t")]).unwrap());
    let expected = ["t/a", "t/b/c/x", "t/b/c", "t/b/y", "t/b", "t/empty", "t/z", "t"];
    assert_eq!(names(&seen), expected);
    let sizes: Vec<_> = seen.iter().map(|entry| entry.as_ref().unwrap().1.size).collect();
    assert_eq!(sizes, [1, 2, 0, 3, 0, 0, 0, 0].map(Some));
}

#[test]
fn source_paths_are_named_by_their_last_part() {
    let dir = tree();
    let root = dir.path().join("t");
    for (path, first) in [
        (root.join("b/"), "b/c/x"),
        (root.join("b/."), "b/c/x"),
        (root.join("b/c/.."), "b/c/x"),
        (root.join("a"), "a"),
    ] {
        let seen = walk(&mut FsSource::new([&path]).unwrap());
        assert_eq!(names(&seen)[0], first, "{path:?}");
    }
    let name = RelPath::parse(b"n/m").unwrap();
    let seen = walk(&mut FsSource::named(root.join("b"), &name).unwrap());
    assert_eq!(names(&seen), ["n/m/c/x", "n/m/c", "n/m/y", "n/m"]);
    let both = FsSource::new([root.join("a"), root.join("b/y")]).unwrap();
    assert_eq!(both.total(), Some(4));
    assert_eq!(FsSource::new([&root]).unwrap().total(), None);
}

#[test]
fn source_missing_path_is_an_error_that_names_it() {
    let dir = tree();
    for path in [dir.path().join("none\x1b"), dir.path().join("t/a/none")] {
        let error = FsSource::new([&path]).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
        assert!(!error.to_string().contains('\x1b'), "{error}");
    }
    assert!(FsSource::new(["/"]).unwrap_err().to_string().starts_with("/: "));
    let dangling = dir.path().join("dangling");
    symlink("none", &dangling).unwrap();
    assert!(FsSource::new([&dangling]).is_err());
}

#[test]
fn source_special_files_are_reported_and_not_opened() {
    let dir = tree();
    let root = dir.path().join("t");
    fifo(&root.join("pipe"));
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let seen = in_time(move || walk(&mut FsSource::new([root]).unwrap()));
    let names = names(&seen);
    assert!(names.contains(&"t/pipe: Kind".to_owned()), "{names:?}");
    assert!(names.contains(&"t/socket: Kind".to_owned()), "{names:?}");
    assert_eq!(names.len(), 10);
    let path = dir.path().join("t/pipe");
    let given = in_time(move || walk(&mut FsSource::new([path]).unwrap()));
    assert_eq!(given, [Err(("pipe".to_owned(), Withdrawal::Kind))]);
}

#[test]
fn source_names_that_cannot_travel_are_reported_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("t");
    fs::create_dir_all(root.join("con/below")).unwrap();
    for name in ["a:b", "c\\d", "e\x1b[2J ", ".haul-0123456789abcdef.part", "ok"] {
        fs::write(root.join(name), "").unwrap();
    }
    let seen = walk(&mut FsSource::new([root]).unwrap());
    let expected = [
        "t/.haul-0123456789abcdef.part: Partial",
        "t/a:b: Name",
        "t/c\\\\d: Name",
        "t/con: Name",
        "t/e\\u{1b}[2J : Name",
        "t/ok",
        "t",
    ];
    assert_eq!(names(&seen), expected);
}

#[test]
fn source_names_that_are_too_long_or_too_deep_are_reported_so() {
    let dir = tempfile::tempdir().unwrap();
    let deep = ["d"; RelPath::MAX_PARTS].join("/");
    fs::create_dir_all(dir.path().join("t").join(&deep)).unwrap();
    let seen = walk(&mut FsSource::new([dir.path().join("t")]).unwrap());
    assert_eq!(seen[0], Err((format!("t/{deep}"), Withdrawal::NameTooLong)));
    assert_eq!(seen.len(), RelPath::MAX_PARTS + 1, "what is above it is sent");
    // A partial file that is given by its name is not left out: it is refused.
    let partial = dir.path().join(".haul-0123456789abcdef.part");
    fs::write(&partial, "").unwrap();
    let given = walk(&mut FsSource::new([partial]).unwrap());
    assert_eq!(given[0].as_ref().unwrap_err().1, Withdrawal::Name);
}

#[test]
fn source_folder_larger_than_a_batch_is_walked_whole_and_sorted_by_batches() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("t");
    fs::create_dir(&root).unwrap();
    let count = 2 * BATCH + 10;
    let mut expected: Vec<_> = (0..count).map(|i| format!("t/{i:05}")).collect();
    for name in &expected {
        File::create_new(dir.path().join(name)).unwrap();
    }
    let mut source = FsSource::new([root]).unwrap();
    let mut seen = Vec::new();
    while let Some(Ok((_, meta))) = source.next_entry() {
        seen.push(meta.path.to_string());
        let held: usize = source.walk.names();
        assert!(held <= BATCH, "{held} names in memory");
    }
    assert_eq!(seen.pop().as_deref(), Some("t"));
    assert!(seen.chunks(BATCH).all(|batch| batch.is_sorted()));
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}

#[test]
fn source_filter_is_asked_once_for_each_entry_and_not_below_what_it_refuses() {
    let dir = tree();
    let root = dir.path().join("t");
    symlink("b", root.join("link")).unwrap();
    symlink("none", root.join("dangling")).unwrap();
    fifo(&root.join("pipe"));
    fs::write(root.join("a:b"), "").unwrap();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    for symlinks in [Symlinks::Skip, Symlinks::Follow] {
        let heard = std::sync::Arc::clone(&asked);
        let source = FsSource::new([root.clone(), root.join("b")]).unwrap().symlinks(symlinks);
        let mut source = source.filter(move |found| {
            let path = String::from_utf8_lossy(found.path()).into_owned();
            let part = path.rsplit('/').next().unwrap().to_owned();
            let seen = statat(found.folder(), part, AtFlags::SYMLINK_NOFOLLOW).unwrap();
            let is_folder = found.kind() == CandidateKind::Directory;
            assert!(path == "link" || stat::is_folder(&seen) == is_folder, "{path}");
            let wanted = !["b", "dangling", "a:b", "pipe"].contains(&&*path);
            heard.lock().unwrap().push((found.root(), path, found.kind()));
            wanted
        });
        let followed = symlinks == Symlinks::Follow;
        let of_link: &[&str] = if followed {
            &["t/link/c/x", "t/link/c", "t/link/y", "t/link"]
        } else {
            &["t/link: Link"]
        };
        let mut expected = vec!["t/a", "t/empty"];
        expected.extend(of_link);
        expected.extend(["t/z", "t", "b/c/x", "b/c", "b/y", "b"]);
        assert_eq!(names(&walk(&mut source)), expected);
        let mut asked = std::mem::take(&mut *asked.lock().unwrap());
        let link = if followed { CandidateKind::Directory } else { CandidateKind::Symlink };
        assert!(asked.contains(&(0, "link".to_owned(), link)));
        assert!(asked.contains(&(0, "dangling".to_owned(), CandidateKind::Symlink)));
        assert!(asked.contains(&(0, "pipe".to_owned(), CandidateKind::Special)));
        assert!(asked.contains(&(1, "c/x".to_owned(), CandidateKind::File)));
        let count = asked.len();
        asked.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        asked.dedup();
        assert_eq!(asked.len(), count, "each was asked for once");
    }
}

#[test]
fn source_links_are_treated_as_it_was_told() {
    let dir = tree();
    let root = dir.path().join("t");
    fs::remove_dir_all(root.join("b")).unwrap();
    fs::create_dir(root.join("b")).unwrap();
    for (name, target) in [
        ("b/up", "../a"),
        ("b/out", "../../secret"),
        ("b/root", "/etc/passwd"),
        ("b/dangling", "none"),
        ("b/loop", ".."),
        ("dir", "empty"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    fs::write(dir.path().join("secret"), "s").unwrap();
    let with = |symlinks| {
        let mut source = FsSource::new([&root]).unwrap().symlinks(symlinks);
        let seen = walk(&mut source);
        let shown = seen.iter().zip(names(&seen)).map(|(entry, name)| match entry {
            Ok((_, Meta { kind: Kind::Symlink(target), .. })) => {
                format!("{name} -> {}", String::from_utf8_lossy(target))
            }
            _ => name,
        });
        shown.collect::<Vec<_>>()
    };
    assert_eq!(
        with(Symlinks::Skip),
        [
            "t/a",
            "t/b/dangling: Link",
            "t/b/loop: Link",
            "t/b/out: Link",
            "t/b/root: Link",
            "t/b/up: Link",
            "t/b",
            "t/dir: Link",
            "t/empty",
            "t/z",
            "t"
        ]
    );
    assert_eq!(
        with(Symlinks::Follow),
        [
            "t/a",
            "t/b/dangling: Vanished",
            "t/b/loop: LinkEscapes",
            "t/b/out",
            "t/b/root",
            "t/b/up",
            "t/b",
            "t/dir",
            "t/empty",
            "t/z",
            "t"
        ]
    );
    assert_eq!(
        with(Symlinks::Preserve),
        [
            "t/a",
            "t/b/dangling -> none",
            "t/b/loop -> ..",
            "t/b/out: LinkEscapes",
            "t/b/root: LinkEscapes",
            "t/b/up -> ../a",
            "t/b",
            "t/dir -> empty",
            "t/empty",
            "t/z",
            "t"
        ]
    );
}

#[test]
fn source_given_link_is_followed() {
    let dir = tree();
    let link = dir.path().join("link");
    symlink("t/b", &link).unwrap();
    let seen = walk(&mut FsSource::new([&link]).unwrap());
    assert_eq!(names(&seen), ["link/c/x", "link/c", "link/y", "link"]);
}

#[test]
fn source_time_and_mode_are_those_of_the_file_without_special_bits() {
    let dir = tree();
    let path = dir.path().join("t/a");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6751)).unwrap();
    let time = Duration::new(1_234_567_890, 123_456_789);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + time).unwrap();
    let seen = walk(&mut FsSource::new([path]).unwrap());
    let meta = &seen[0].as_ref().unwrap().1;
    assert_eq!(meta.mode, Some(0o751));
    let modified = meta.modified.unwrap();
    assert_eq!((modified.seconds(), modified.nanos()), (1_234_567_890, 123_456_789));
}

fn changed(meta: &fs::Metadata) -> (i64, i64) {
    (meta.ctime(), meta.ctime_nsec())
}

/// A file changes between the walk and its end, in several ways, each with its reason.
#[test]
fn source_file_that_changes_is_withdrawn() {
    type Change = fn(&Path);
    let changes: [(&str, Change, Withdrawal); 9] = [
        ("grows", |path| fs::write(path, "longer than it was").unwrap(), Withdrawal::Changed),
        ("shrinks", |path| fs::write(path, "").unwrap(), Withdrawal::Changed),
        ("is written", |path| fs::write(path, "5555").unwrap(), Withdrawal::Changed),
        (
            "is written and its time set back",
            |path| {
                let file = File::options().write(true).open(path).unwrap();
                let before = file.metadata().unwrap();
                file.write_all_at(b"5555", 0).unwrap();
                // Again until the clock of the file system has ticked.
                while changed(&file.metadata().unwrap()) == changed(&before) {
                    file.set_modified(before.modified().unwrap()).unwrap();
                }
                file.set_modified(before.modified().unwrap()).unwrap();
            },
            Withdrawal::Changed,
        ),
        (
            "is replaced",
            |path| {
                let new = path.with_extension("new");
                fs::write(&new, "4444").unwrap();
                fs::rename(new, path).unwrap();
            },
            Withdrawal::Changed,
        ),
        ("is removed", |path| fs::remove_file(path).unwrap(), Withdrawal::Vanished),
        (
            "becomes a link to its like",
            |path| {
                let new = path.with_extension("new");
                fs::write(&new, "4444").unwrap();
                fs::remove_file(path).unwrap();
                symlink(&new, path).unwrap();
            },
            Withdrawal::Changed,
        ),
        (
            "becomes a FIFO",
            |path| {
                fs::remove_file(path).unwrap();
                fifo(path);
            },
            Withdrawal::Changed,
        ),
        (
            "has its folder exchanged for a link",
            |path| {
                let folder = path.parent().unwrap();
                let aside = folder.with_extension("aside");
                fs::create_dir(&aside).unwrap();
                fs::write(aside.join("x"), "4444").unwrap();
                fs::rename(folder, folder.with_extension("old")).unwrap();
                symlink(aside, folder).unwrap();
            },
            Withdrawal::Changed,
        ),
    ];
    for (what, change, reason) in changes {
        for before_open in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("d/x");
            fs::create_dir(dir.path().join("d")).unwrap();
            fs::write(&path, "4444").unwrap();
            // Older than the clock's grain, so that a write of the same length shows.
            let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
            let outcome = in_time(move || {
                let mut source = FsSource::new([dir.path().join("d")]).unwrap();
                let (key, meta) = source.next_entry().unwrap().unwrap();
                if before_open {
                    change(&path);
                    return source.open(&key, &meta).map(|_| ());
                }
                let mut reader = source.open(&key, &meta).unwrap();
                let mut buffer = [0; 16];
                assert_eq!(source.read_at(&mut reader, 0, &mut buffer).unwrap(), 4);
                assert_eq!(source.finish(&mut reader, &meta), Ok(()));
                change(&path);
                source.finish(&mut reader, &meta)
            });
            let kind = what.starts_with("becomes a ") && before_open;
            let expected = if kind { Withdrawal::Kind } else { reason };
            assert_eq!(outcome, Err(expected), "{what}, before it is opened: {before_open}");
        }
    }
}

/// A folder of the tree that is exchanged for a link all the time never lets anything outside be read.
#[test]
fn source_folder_that_flips_to_a_link_leaks_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("t");
    fs::create_dir_all(root.join("d")).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(root.join("d/x"), "inside").unwrap();
    fs::write(dir.path().join("outside/x"), "SECRET").unwrap();
    symlink("../outside", root.join("link")).unwrap();
    let (stop, stopped) = mpsc::channel::<()>();
    let flipped = root.clone();
    let racer = std::thread::spawn(move || {
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        let mut flips = 0_u64;
        while stopped.try_recv() == Err(mpsc::TryRecvError::Empty) {
            let (d, link) = (flipped.join("d"), flipped.join("link"));
            rustix::fs::renameat_with(CWD, &d, CWD, &link, exchange).unwrap();
            flips += 1;
        }
        flips
    });
    let end = std::time::Instant::now() + Duration::from_secs(1);
    let mut read = 0_u32;
    while std::time::Instant::now() < end {
        let mut source = FsSource::new([&root]).unwrap();
        while let Some(entry) = source.next_entry() {
            let Ok((key, meta)) = entry else { continue };
            let Ok(mut reader) = source.open(&key, &meta) else { continue };
            let mut buffer = [0; 16];
            let count = source.read_at(&mut reader, 0, &mut buffer).unwrap();
            assert!(count == 0 || &buffer[..count] == b"inside");
            read += u32::from(count > 0);
        }
    }
    drop(stop);
    let flips = racer.join().unwrap();
    assert!(flips > 100 && read > 0, "{flips} flips, {read} reads: the race was not run");
}

#[test]
fn source_unreadable_folder_is_reported_and_the_rest_is_walked() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may read everything");
        return;
    }
    let dir = tree();
    let root = dir.path().join("t");
    fs::set_permissions(root.join("b"), fs::Permissions::from_mode(0o0)).unwrap();
    let seen = walk(&mut FsSource::new([&root]).unwrap());
    fs::set_permissions(root.join("b"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(names(&seen), ["t/a", "t/b: Denied", "t/empty", "t/z", "t"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn source_reads_at_any_offset_are_of_the_file(
        start in proptest::collection::vec(any::<u8>(), 0..5000),
        // Pages of which some are holes.
        pages in proptest::collection::vec(any::<Option<u8>>(), 0..12),
        reads in proptest::collection::vec((0_u64..60_000, 0_usize..7000), 1..20),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        fs::write(&path, &start).unwrap();
        let mut bytes = start;
        let file = File::options().write(true).open(&path).unwrap();
        for page in pages {
            let at = u64::try_from(bytes.len()).unwrap();
            bytes.extend([page.unwrap_or(0); 4096]);
            match page {
                Some(byte) => file.write_all_at(&[byte; 4096], at).unwrap(),
                None => file.set_len(at + 4096).unwrap(),
            }
        }
        let mut source = FsSource::new([path]).unwrap();
        let (key, meta) = source.next_entry().unwrap().unwrap();
        let mut reader = source.open(&key, &meta).unwrap();
        for (offset, len) in reads {
            let mut buffer = vec![0; len];
            let count = source.read_at(&mut reader, offset, &mut buffer).unwrap();
            let start = usize::try_from(offset).unwrap().min(bytes.len());
            // It may be short, where a hole begins or ends; but not empty.
            prop_assert_eq!(&buffer[..count], &bytes[start..start + count]);
            prop_assert_eq!(count == 0, len == 0 || start == bytes.len());
        }
        prop_assert_eq!(source.finish(&mut reader, &meta), Ok(()));
    }
}

#[test]
fn source_with_names_sends_each_path_under_its_own() {
    let dir = tree();
    let named =
        |path: &str, name: &str| (dir.path().join(path), RelPath::parse(name.as_bytes()).unwrap());
    let mut source = FsSource::with_names([named("t/a", "x/y"), named("t/b/c", "c")]).unwrap();
    assert_eq!(names(&walk(&mut source)), ["x/y", "c/x", "c"]);
    assert_eq!(source.total(), None, "what is in the folder is not known yet");
    assert!(FsSource::with_names([named("none", "a")]).is_err());
}

#[test]
fn source_that_skips_empty_folders_sends_those_on_the_way_to_a_file() {
    let dir = tree();
    let source = FsSource::new([dir.path().join("t")]).unwrap();
    let is_wanted = |found: &Candidate<'_>| {
        found.kind() == CandidateKind::Directory || found.path().ends_with(b"x")
    };
    let mut source = source.filter(is_wanted).skip_empty_folders();
    assert_eq!(names(&walk(&mut source)), ["t/b/c/x", "t/b/c", "t/b", "t"]);
    let source = FsSource::new([dir.path().join("t")]).unwrap();
    let mut source = source.filter(|found| found.kind() == CandidateKind::Directory);
    assert_eq!(names(&walk(&mut source)), ["t/b/c", "t/b", "t/empty", "t"]);
    let mut source = source.skip_empty_folders();
    source.rewind().unwrap();
    assert_eq!(names(&walk(&mut source)), [""; 0]);
}
