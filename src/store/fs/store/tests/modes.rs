//! Modes of what replaces, and of what is made.

use super::*;
use crate::store::Source as _;
use crate::store::fs::{FsSource, Symlinks};
use crate::types::Kind;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

/// As what any other program makes there. The umask is that of the process, which tests share.
#[test]
fn store_file_and_folder_of_no_offered_mode_have_what_the_umask_leaves() {
    let mut bench = Bench::new();
    let (file, folder) = (bench.dir.path().join("file"), bench.dir.path().join("folder"));
    fs::write(&file, "").unwrap();
    fs::create_dir(&folder).unwrap();
    assert_eq!(bench.put("x", Place::Offered, "new"), Ok(Committed::new(rel("x"))));
    let offer = bench.offer(Meta::directory(rel("d")));
    let (made, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
        panic!("fresh")
    };
    assert!(bench.commit(made, &offer, 0).is_ok());
    assert_eq!(mode_of(&bench.path("x")), mode_of(&file));
    assert_eq!(mode_of(&bench.path("d")), mode_of(&folder));
    assert_eq!(mode_of(&bench.path("x")) & 0o7111, 0, "nobody may run it");
}

#[test]
fn store_file_that_replaces_keeps_the_mode_or_what_is_private_of_it() {
    for (old, offered, expected) in [
        (0o600, None, 0o600),
        (0o640, None, 0o640),
        (0o700, Some(0o777), 0o700),
        (0o600, Some(0o644), 0o600),
        (0o604, Some(0o600), 0o600),
    ] {
        // Only since it was begun, or since its own mode was set.
        for when in [None, Some(Step::Cut), Some(Step::RenameExchange)] {
            let mut bench = Bench::new();
            let path = bench.path("x");
            fs::write(&path, "old").unwrap();
            set_mode(&path, if when.is_some() { 0o666 } else { old });
            let mut meta = Meta::file(rel("x"), Some(3));
            meta.mode = offered;
            let offer = bench.offer(meta);
            let begun = bench.begin(&offer, Place::Replacing).unwrap();
            let (mut file, Found::Fresh) = begun else { panic!("fresh") };
            bench.store.write_at(&mut file, 0, b"new").unwrap();
            let replaced = path.clone();
            bench.store.shared.hook.set(move |step| {
                if Some(step) == when {
                    set_mode(&replaced, old);
                }
                Ok(())
            });
            assert!(bench.commit(file, &offer, 3).is_ok());
            bench.assert_names(&[("x", "new")]);
            let mode = mode_of(&path);
            if when == Some(Step::RenameExchange) {
                assert!(old & 0o077 != 0 || mode & 0o077 == 0, "{old:o} {offered:?}: {mode:o}");
            } else {
                assert_eq!(mode, expected, "{old:o} {offered:?} {when:?}");
            }
        }
    }
}

/// A file that was shown to one group is shown to no other.
#[test]
fn store_file_that_replaces_keeps_the_group() {
    use std::os::unix::fs::chown;

    const FINANCE: u32 = 4_242;

    if !rustix::process::geteuid().is_root() {
        return eprintln!("not tested: only root has files of groups that are not its own");
    }
    // Before its own mode is set, and after that.
    for when in [None, Some(Step::RenameExchange)] {
        for (old, offered, expected) in [
            (0o640, None, 0o640),
            (0o640, Some(0o644), 0o640),
            (0o664, Some(0o664), 0o644),
            (0o600, Some(0o644), 0o600),
        ] {
            let mut bench = Bench::new();
            let path = bench.path("x");
            fs::write(&path, "old").unwrap();
            set_mode(&path, old);
            let mut meta = Meta::file(rel("x"), Some(3));
            meta.mode = offered;
            let offer = bench.offer(meta);
            let begun = bench.begin(&offer, Place::Replacing).unwrap();
            let (mut file, Found::Fresh) = begun else { panic!("fresh") };
            bench.store.write_at(&mut file, 0, b"new").unwrap();
            let replaced = path.clone();
            bench.store.shared.hook.set(move |step| {
                if step == when.unwrap_or(Step::Cut) {
                    chown(&replaced, None, Some(FINANCE)).unwrap();
                }
                Ok(())
            });
            assert!(bench.commit(file, &offer, 3).is_ok());
            bench.assert_names(&[("x", "new")]);
            let stat = fs::metadata(&path).unwrap();
            assert_eq!((stat.gid(), mode_of(&path)), (FINANCE, expected), "{old:o} {offered:?}");
        }
    }
}

#[test]
fn store_folder_made_in_a_setgid_folder_keeps_the_bit() {
    for offered in [None, Some(0o750), Some(0o7777)] {
        let mut bench = Bench::new();
        fs::create_dir(bench.path("team")).unwrap();
        set_mode(&bench.path("team"), 0o2775);
        let mut meta = Meta::directory(rel("team/new"));
        meta.mode = offered;
        let offer = bench.offer(meta);
        let (file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
        assert!(bench.commit(file, &offer, 0).is_ok());
        let expected = offered.unwrap_or(0o777) & 0o777 & !bench.store.shared.umask | 0o2700;
        assert_eq!(mode_of(&bench.path("team/new")), expected);
        assert_eq!(mode_of(&bench.path("team")), 0o2775);
    }
}

/// Only folders that are made get a time and a mode: the others are their owners' matter, and above all the root.
#[test]
fn store_folder_that_was_there_keeps_its_time_and_mode() {
    let mut bench = Bench::new();
    fs::create_dir(bench.path("old")).unwrap();
    set_mode(&bench.path("old"), 0o750);
    set_mode(&bench.path(""), 0o710);
    let before = fs::metadata(bench.path("old")).unwrap();
    for name in ["old", "new", "new/deeper"] {
        let time = Timestamp::new(1_000_000_000, 5);
        let offer = bench.offer(Meta::directory(rel(name)).modified(time).mode(Some(0o777)));
        let (file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
        assert!(bench.commit(file, &offer, 0).is_ok());
    }
    let after = fs::metadata(bench.path("old")).unwrap();
    assert_eq!(after.mode(), before.mode());
    assert_eq!((after.mtime(), after.mtime_nsec()), (before.mtime(), before.mtime_nsec()));
    assert_eq!(mode_of(&bench.path("")), 0o710);
    assert_ne!(fs::metadata(bench.path("")).unwrap().mtime(), 1_000_000_000);
    assert_eq!(fs::metadata(bench.path("new/deeper")).unwrap().mtime(), 1_000_000_000);
}

/// Whatever folders are made, they are closed to others from their first moment as they are at the sender, also when it is
/// killed: what they hold comes before their own modes.
#[test]
fn store_folder_is_never_more_open_than_at_the_sender() {
    for (outer, inner) in modes().flat_map(|outer| modes().map(move |inner| (outer, inner))) {
        let case = format!("{outer:o} {inner:o}");
        let sender = tempfile::tempdir().unwrap();
        let tree = sender.path().join("a");
        fs::create_dir_all(tree.join("b/c")).unwrap();
        fs::create_dir(tree.join("empty")).unwrap();
        for name in ["x", "b/x", "b/c/x", "b/c/y"] {
            fs::write(tree.join(name), name).unwrap();
        }
        symlink("x", tree.join("b/link")).unwrap();
        for (name, mode) in [("b/c", 0o755), ("b", inner), ("empty", inner), ("", outer)] {
            set_mode(&tree.join(name), mode);
        }
        for killed_after in 0..9 {
            let mut bench = Bench::new();
            bench.store = bench.store.clone().allow_links();
            let (root, seen) = (bench.path(""), case.clone());
            let look = move || {
                for (folder, mode) in [("a", outer), ("a/b", inner), ("a/empty", inner)] {
                    let Ok(meta) = fs::metadata(root.join(folder)) else { continue };
                    for class in [0o070, 0o007] {
                        let may = mode & class != 0 || meta.mode() & class == 0;
                        assert!(may, "{seen}: {folder} has {:o}", meta.mode());
                    }
                }
            };
            send_tree(bench, &tree, killed_after, look);
        }
    }
}

fn modes() -> impl Iterator<Item = u32> {
    [0o700, 0o750, 0o705, 0o711, 0o755].into_iter()
}

/// Stores a tree, and has `look` look before each call; once so many entries are committed, a new store goes on.
fn send_tree(
    mut bench: Bench,
    tree: &Path,
    killed_after: usize,
    look: impl Fn() + Clone + Send + Sync + 'static,
) {
    let hook = move |_| {
        look();
        Ok(())
    };
    bench.store.shared.hook.set(hook.clone());
    let mut source = FsSource::new([tree]).unwrap().symlinks(Symlinks::Preserve);
    let mut count = 0;
    while let Some(entry) = source.next_entry() {
        let (_, meta) = entry.unwrap();
        let (size, is_file) = (meta.size.unwrap_or(0), meta.kind == Kind::File);
        let path = bench.path(&meta.path.to_string());
        let offer = bench.offer(meta);
        let (mut file, found) = bench.begin(&offer, Place::Offered).unwrap();
        assert_eq!(found, Found::Fresh);
        if is_file {
            bench
                .store
                .write_at(&mut file, 0, &vec![b'x'; usize::try_from(size).unwrap()])
                .unwrap();
        }
        assert!(bench.commit(file, &offer, size).is_ok(), "{path:?}");
        hook(Step::Call).unwrap();
        count += 1;
        if count == killed_after {
            bench.store = FsStore::open(bench.path("")).unwrap().allow_links();
            bench.store.shared.hook.set(hook.clone());
        }
    }
    assert_eq!(count, 9);
    let umask = bench.store.shared.umask;
    for folder in ["a", "a/b", "a/b/c", "a/empty"] {
        let from = mode_of(&tree.parent().unwrap().join(folder)) & !umask;
        let made = mode_of(&bench.path(folder));
        // One that a killed session left keeps what it was made with.
        assert!(made == from || killed_after > 0, "{folder}: {made:o} of {from:o}");
    }
}
