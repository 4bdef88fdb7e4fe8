//! Small files, which have no name before they are whole.

use super::*;

/// Begins a file of three bytes and writes them.
fn begin(bench: &mut Bench, name: &str) -> (Offer, FsFile) {
    let offer = bench.file(name, 3);
    let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
        panic!("{name} is there")
    };
    bench.store.write_at(&mut file, 0, b"new").unwrap();
    (offer, file)
}

fn commit(bench: &mut Bench, (offer, file): (Offer, FsFile), durability: Durability) -> Ended {
    let (meta, place) = (offer.meta.clone(), bench.place);
    let commit = Commit::new(ticket(&offer), offer.entry, meta, place, 3, durability);
    bench.store.commit(file, commit);
    bench.ended(&offer)
}

#[test]
fn store_small_file_has_no_name_before_it_is_whole_and_leaves_nothing() {
    let Some(mut bench) = Bench::unnamed() else { return };
    fs::create_dir(bench.path("d")).unwrap();
    for durability in [Durability::Received, Durability::Flushed, Durability::Synced] {
        for name in ["x", "d/x", "new/x"] {
            let begun = begin(&mut bench, name);
            let is_shown = bench.names().values().any(|what| what != "folder");
            assert!(!is_shown, "{:?}", bench.names());
            assert_eq!(commit(&mut bench, begun, durability), Ok(Committed::new(rel(name))));
            assert_eq!(fs::read(bench.path(name)).unwrap(), b"new");
            fs::remove_file(bench.path(name)).unwrap();
        }
        let (_, file) = begin(&mut bench, "made/x");
        bench.store.suspend(file);
        let (_, file) = begin(&mut bench, "made/y");
        bench.store.discard(file);
        drop(begin(&mut bench, "d/y"));
        bench.assert_names(&[("d", "folder"), ("new", "folder")]);
        bench.store = bench.store.clone();
    }
}

#[test]
fn store_small_file_gets_its_time_and_mode_also_in_a_folder_that_gives_others() {
    let Some(mut bench) = Bench::unnamed() else { return };
    fs::create_dir(bench.path("d")).unwrap();
    for (n, mode) in [0o4777, 0o400, 0o644, 0].into_iter().enumerate() {
        for durability in [Durability::Received, Durability::Synced] {
            let name = format!("d/{n}{durability:?}");
            let time = Timestamp::new(1_234_567_890, 5);
            let meta = Meta::file(rel(&name), Some(3)).mode(Some(mode)).modified(time);
            let offer = bench.offer(meta);
            let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
                panic!("{name} is there")
            };
            bench.store.write_at(&mut file, 0, b"new").unwrap();
            commit(&mut bench, (offer, file), durability).unwrap();
            let meta = fs::metadata(bench.path(&name)).unwrap();
            let expected = mode & 0o777 & !bench.store.shared.umask | 0o400;
            assert_eq!(meta.mode() & 0o7777, expected, "{name}");
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_234_567_890, 5), "{name}");
        }
    }
}

/// Of a file of zeros nothing need be written.
#[test]
fn store_small_file_of_which_less_is_written_is_as_long_as_it_was_said() {
    let Some(mut bench) = Bench::unnamed() else { return };
    let offer = bench.file("x", 3);
    let (file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
        panic!("fresh")
    };
    commit(&mut bench, (offer, file), Durability::Received).unwrap();
    bench.assert_names(&[("x", "\0\0\0")]);
}

/// An existing file is handed back with it; then it may be committed beside, or replace it.
#[test]
fn store_small_file_whose_name_is_taken_can_be_committed_in_another_place() {
    for place in [Place::Beside(1), Place::Replacing] {
        let Some(mut bench) = Bench::unnamed() else { return };
        let (offer, file) = begin(&mut bench, "x");
        fs::write(bench.path("x"), "old").unwrap();
        let (meta, durability) = (offer.meta.clone(), Durability::Received);
        let taken = Commit::new(ticket(&offer), offer.entry, meta, Place::Offered, 3, durability);
        bench.store.commit(file, taken.clone());
        let Err(failed) = bench.handed_back(&offer) else { panic!("{place:?}: it is given") };
        let Uncommitted::Taken { mut file, existing: Some((existing, 3)) } = *failed else {
            panic!("{place:?}: {failed:?}")
        };
        bench.store.suspend(existing);
        let mut held = [0; 4];
        assert_eq!(bench.store.read_at(&mut file, 0, &mut held).unwrap(), 3);
        assert_eq!(&held[..3], b"new");
        bench.store.commit(file, Commit { place, ..taken });
        assert!(bench.ended(&offer).is_ok());
        match place {
            Place::Replacing => bench.assert_names(&[("x", "new")]),
            _ => bench.assert_names(&[("x", "old"), ("x (1)", "new")]),
        }
    }
}

/// The folder is moved away, or removed, while the file has no name.
#[test]
fn store_small_file_whose_folder_is_another_one_by_then_is_put_there_and_nowhere_else() {
    for is_replaced in [true, false] {
        for durability in [Durability::Received, Durability::Synced] {
            let Some(mut bench) = Bench::unnamed() else { return };
            let moved = bench.dir.path().join("moved");
            let first = begin(&mut bench, "d/e/a");
            commit(&mut bench, first, durability).unwrap();
            let begun = begin(&mut bench, "d/e/b");
            fs::rename(bench.path("d"), &moved).unwrap();
            if is_replaced {
                fs::create_dir_all(bench.path("d/e")).unwrap();
            }
            let ended = commit(&mut bench, begun, durability);
            let names: Vec<_> = fs::read_dir(moved.join("e")).unwrap().collect();
            assert_eq!(names.len(), 1, "{names:?}");
            assert_eq!(ended, Ok(Committed::new(rel("d/e/b"))), "{is_replaced} {durability:?}");
            assert_eq!(fs::read(bench.path("d/e/b")).unwrap(), b"new");
            // What follows goes where the folder stands.
            let last = begin(&mut bench, "d/e/c");
            commit(&mut bench, last, durability).unwrap();
            assert_eq!(fs::read(bench.path("d/e/c")).unwrap(), b"new");
        }
    }
}

#[test]
fn store_small_file_that_cannot_be_linked_is_copied_to_one_with_a_name() {
    for durability in [Durability::Received, Durability::Synced] {
        let Some(mut bench) = Bench::unnamed() else { return };
        bench.store.shared.hook.set(|step| match step {
            Step::Link => Err(io::ErrorKind::Unsupported.into()),
            _ => Ok(()),
        });
        let (first, second) = (begin(&mut bench, "d/x"), begin(&mut bench, "d/y"));
        commit(&mut bench, first, durability).unwrap();
        assert!(!bench.store.shared.unnamed.is_possible());
        commit(&mut bench, second, durability).unwrap();
        bench.assert_names(&[("d", "folder"), ("d/x", "new"), ("d/y", "new")]);
        let mode = fs::metadata(bench.path("d/x")).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o666 & !bench.store.shared.umask);
    }
}

#[test]
fn store_small_file_goes_on_with_a_partial_file_that_is_there_and_removes_it() {
    let Some(mut bench) = Bench::unnamed() else { return };
    for name in ["x", "y"] {
        fs::write(bench.path(&partial_name(name, 0)), "ne").unwrap();
    }
    let offer = bench.file("x", 3);
    let Ok((mut file, Found::Partial(2))) = bench.begin(&offer, Place::Offered) else { panic!() };
    bench.store.write_at(&mut file, 2, b"w").unwrap();
    commit(&mut bench, (offer, file), Durability::Received).unwrap();
    // One that is made by a larger entry since is looked for, too.
    let large = bench.file("z", 5000);
    let (mut file, Found::Fresh) = bench.begin(&large, Place::Offered).unwrap() else { panic!() };
    bench.store.write_at(&mut file, 0, b"n").unwrap();
    bench.store.suspend(file);
    bench.store = bench.store.clone();
    let offer = bench.file("z", 3);
    let Ok((mut file, Found::Partial(1))) = bench.begin(&offer, Place::Offered) else { panic!() };
    bench.store.write_at(&mut file, 1, b"ew").unwrap();
    commit(&mut bench, (offer, file), Durability::Received).unwrap();
    let left = partial_name("y", 0);
    bench.assert_names(&[("x", "new"), ("z", "new"), (&left, "ne")]);
}

#[test]
fn store_small_file_for_which_there_is_no_room_is_refused() {
    let Some(mut bench) = Bench::unnamed() else { return };
    let first = begin(&mut bench, "x");
    commit(&mut bench, first, Durability::Received).unwrap();
    bench.store = bench.store.clone().keep_free(u64::MAX);
    let offer = bench.file("y", 3);
    let refused = bench.begin(&offer, Place::Offered).map(drop);
    assert_eq!(refused, Err(Refusal::NoSpace { needed: 3, available: 0 }));
    bench.assert_names(&[("x", "new")]);
}
