//! A foreign hand in the folder: what is being written is exchanged for something else, at each step of a commit.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const STEPS: [Step; 7] = [
    Step::Cut,
    Step::SyncFile,
    Step::Rename,
    Step::RenameNoReplace,
    Step::RenameExchange,
    Step::Renamed,
    Step::Unlink,
];

/// Things that are moved to the name of the partial file, or to the final name.
const THINGS: [Plant; 5] = [
    ("file", |path| fs::write(path, "foreign").unwrap()),
    ("longer file", |path| fs::write(path, "foreign".repeat(1000)).unwrap()),
    ("link", |path| symlink("../outside/sentinel", path).unwrap()),
    ("FIFO", fifo),
    ("second name of the old file", |path| {
        let old = path.with_file_name("x");
        if old.exists() { fs::hard_link(old, path).unwrap() } else { fs::write(path, "f").unwrap() }
    }),
];

/// Swaps at one step, on a file system that has both flags of a rename or none.
fn swap(at: Step, thing: Plant, over: &str, place: Place, has_flags: bool) {
    let case = format!("{at:?} {} over {over:?} {place:?} {has_flags}", thing.0);
    let mut bench = Bench::new();
    if place == Place::Replacing {
        fs::write(bench.path("x"), "old").unwrap();
    }
    let offer = bench.file("x", 3);
    let (mut file, Found::Fresh) = bench.begin(&offer, place).unwrap() else { panic!("{case}") };
    bench.store.write_at(&mut file, 0, b"new").unwrap();
    let is_partial = over != "x";
    let (aside, over) = (bench.path("aside"), bench.path(over));
    thing.1(&aside);
    let foreign = fs::symlink_metadata(&aside).unwrap();
    let swapped = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&swapped);
    bench.store.shared.hook.set(move |step| {
        if step == at && !done.swap(true, Ordering::Relaxed) {
            fs::rename(&aside, &over).unwrap();
        }
        let is_flag = matches!(step, Step::RenameNoReplace | Step::RenameExchange);
        if is_flag && !has_flags { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    });
    let ended = bench.commit(file, &offer, 3);
    let is_swapped = swapped.load(Ordering::Relaxed);
    let stands = fs::symlink_metadata(bench.path("x"));
    match ended {
        Ok(_) => {
            assert_eq!(fs::read(bench.path("x")).unwrap(), b"new", "{case}: a false receipt");
            assert!(!bench.path("x").is_symlink(), "{case}");
        }
        Err(refusal) => {
            assert!(is_swapped, "{case}: {refusal:?}");
            assert_eq!(refusal, Refusal::Tampered, "{case}");
            // It looks as if it had had the final name, which it must not get: the new file stands there, proved.
            let is_ambiguous =
                (at, place, has_flags) == (Step::Renamed, Place::Replacing, true) && is_partial;
            let expected: &[u8] = if is_ambiguous { b"new" } else { b"old" };
            match stands {
                Ok(meta) => {
                    assert!(meta.is_file(), "{case}: something foreign has the final name");
                    assert_eq!(fs::read(bench.path("x")).unwrap(), expected, "{case}");
                }
                // Without the flag there is no way to have back what was replaced in the last moment.
                Err(_) => assert!(place == Place::Offered || !has_flags, "{case}: the old one"),
            }
            // None of it is lost.
            let is_it = |meta: &fs::Metadata| meta.ino() == foreign.ino();
            let all = fs::read_dir(bench.path("")).unwrap();
            let left = all.map(|entry| fs::symlink_metadata(entry.unwrap().path()).unwrap());
            assert!(left.into_iter().any(|meta| is_it(&meta)), "{case}: it was removed");
        }
    }
}

/// Neither side may report what was written where something else stands, and nothing foreign may get the final name.
#[test]
fn store_partial_that_is_swapped_at_any_step_is_tampered_with() {
    let partial = partial_name("x", 0);
    for at in STEPS {
        for thing in THINGS {
            for place in [Place::Offered, Place::Replacing] {
                for has_flags in [true, false] {
                    swap(at, thing, &partial, place, has_flags);
                }
            }
        }
    }
}

/// A thing that takes the final name between the rename and its proof did not get it from this store, but is no receipt
/// either.
#[test]
fn store_final_name_that_is_swapped_before_its_proof_is_tampered_with() {
    for thing in THINGS.into_iter().take(4) {
        for place in [Place::Offered, Place::Replacing] {
            for has_flags in [true, false] {
                swap(Step::Renamed, thing, "x", place, has_flags);
            }
        }
    }
}

/// Removed or moved away, rather than exchanged.
#[test]
fn store_partial_that_is_moved_away_is_tampered_with() {
    for at in [Step::Cut, Step::SyncFile, Step::Rename, Step::RenameNoReplace, Step::RenameExchange]
    {
        for place in [Place::Offered, Place::Replacing] {
            let mut bench = Bench::new();
            if place == Place::Replacing {
                fs::write(bench.path("x"), "old").unwrap();
            }
            let before = bench.names();
            let offer = bench.file("x", 3);
            let (mut file, Found::Fresh) = bench.begin(&offer, place).unwrap() else { panic!() };
            bench.store.write_at(&mut file, 0, b"new").unwrap();
            let (partial, outside) =
                (bench.path(&partial_name("x", 0)), bench.dir.path().join("y"));
            bench.store.shared.hook.set(move |step| {
                if step == at && partial.exists() {
                    fs::rename(&partial, &outside).unwrap();
                }
                Ok(())
            });
            let is_reached = (at == Step::RenameNoReplace) == (place == Place::Offered)
                || !matches!(at, Step::RenameNoReplace | Step::RenameExchange);
            let expected =
                if is_reached { Err(Refusal::Tampered) } else { Ok(Committed::new(rel("x"))) };
            assert_eq!(bench.commit(file, &offer, 3), expected, "{at:?} {place:?}");
            if is_reached {
                assert_eq!(bench.names(), before, "{at:?} {place:?}");
            }
        }
    }
}

/// Content that was verified is missing then, and would be zeros: the next call finds that out, or the commit.
#[test]
fn store_partial_that_is_cut_is_tampered_with_whatever_comes_next() {
    type Act = fn(&mut FsStore, &mut FsFile) -> Result<(), Refusal>;
    let acts: [(&str, Act); 3] = [
        ("write", |store, file| store.write_at(file, 8, b"new.")),
        ("zeros", |store, file| store.write_zeros(file, 8, 4)),
        ("copy", |store, file| store.copy_held(file, 8, 4)),
    ];
    for (act, next) in acts {
        for is_cut_before in [Some(Step::Cut), Some(Step::Rename), None] {
            let case = format!("{act}, cut before {is_cut_before:?}");
            let mut bench = Bench::new();
            fs::write(bench.path("x"), "old.old.old.").unwrap();
            let offer = bench.file("x", 12);
            let begun = bench.begin(&offer, Place::Replacing).unwrap();
            let (mut file, Found::Fresh) = begun else { panic!("{case}") };
            bench.store.write_at(&mut file, 0, b"new.new.").unwrap();
            let partial = bench.path(&partial_name("x", 0));
            let cut = move || File::options().write(true).open(&partial).unwrap().set_len(4);
            match is_cut_before {
                None => {
                    cut().unwrap();
                    let done = next(&mut bench.store, &mut file);
                    assert_eq!(done, Err(Refusal::Tampered), "{case}");
                }
                Some(at) => {
                    next(&mut bench.store, &mut file).unwrap();
                    let cut_at = move |step| if step == at { cut() } else { Ok(()) };
                    bench.store.shared.hook.set(cut_at);
                }
            }
            assert_eq!(bench.commit(file, &offer, 12), Err(Refusal::Tampered), "{case}");
            assert_eq!(fs::read(bench.path("x")).unwrap(), b"old.old.old.", "{case}");
        }
    }
}

/// A link that is to replace a link finds something else in its place.
#[test]
fn store_link_replaces_nothing_but_a_link() {
    for (thing, plant) in THINGS.into_iter().filter(|(thing, _)| *thing != "link") {
        for at in [Step::Rename, Step::RenameExchange] {
            for has_flags in [true, false] {
                if at == Step::RenameExchange && !has_flags {
                    continue;
                }
                let mut bench = Bench::new();
                bench.store = FsStore::open(bench.path("")).unwrap().allow_links();
                symlink("old", bench.path("x")).unwrap();
                let offer = bench.offer(Meta::symlink(rel("x"), (*b"t").into()));
                let (file, Found::Fresh) = bench.begin(&offer, Place::Replacing).unwrap() else {
                    panic!("fresh")
                };
                let (aside, path) = (bench.path("aside"), bench.path("x"));
                plant(&aside);
                let foreign = fs::symlink_metadata(&aside).unwrap().ino();
                bench.store.shared.hook.set(move |step| {
                    if step == at && aside.symlink_metadata().is_ok() {
                        fs::rename(&aside, &path).unwrap();
                    }
                    let unknown = step == Step::RenameExchange && !has_flags;
                    if unknown { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
                });
                let case = format!("{thing} {at:?} {has_flags}");
                assert_eq!(bench.commit(file, &offer, 0), Err(Refusal::KindClash), "{case}");
                let stands = fs::symlink_metadata(bench.path("x")).unwrap();
                assert_eq!(stands.ino(), foreign, "{case}: it is gone");
                assert_eq!(bench.names().len(), 1, "{case}");
            }
        }
    }
}

/// The file that was to be replaced has its name again, and does not stay under that of a partial file, which others go
/// on with.
#[test]
fn store_file_to_be_replaced_comes_back_if_the_new_one_is_taken_away_before_its_proof() {
    let removals: [fn(&Path, &Path); 2] =
        [|path, aside| fs::rename(path, aside).unwrap(), |path, _| fs::remove_file(path).unwrap()];
    for remove in removals {
        let mut bench = Bench::new();
        let (path, aside) = (bench.path("x"), bench.dir.path().join("aside"));
        fs::write(&path, "old").unwrap();
        let (old, stood) = (fs::metadata(&path).unwrap().ino(), path.clone());
        bench.store.shared.hook.set(move |step| {
            if step == Step::Renamed {
                remove(&stood, &aside);
            }
            Ok(())
        });
        assert_eq!(bench.put("x", Place::Replacing, "new"), Err(Refusal::Tampered));
        bench.assert_names(&[("x", "old")]);
        assert_eq!(fs::metadata(&path).unwrap().ino(), old);
    }
}
