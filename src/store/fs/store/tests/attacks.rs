//! Attacks on a store: names, links, races, and a full device.

use super::*;

#[test]
fn store_planted_partial_is_not_followed_or_written() {
    let plants: [Plant; 6] = [
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
    let busy = Refusal::Store { code: 16, operation: StoreOperation::Open };
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
fn store_final_name_taken_meanwhile_keeps_what_took_it_and_hands_the_file_back() {
    for (thing, can_be_compared) in [("file", true), ("link", false), ("folder", false)] {
        let mut bench = Bench::new();
        let offer = bench.file("x", 3);
        let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
            panic!("fresh")
        };
        bench.store.write_at(&mut file, 0, b"new").unwrap();
        match thing {
            "file" => fs::write(bench.path("x"), "other").unwrap(),
            "link" => symlink("../outside/sentinel", bench.path("x")).unwrap(),
            _ => fs::create_dir(bench.path("x")).unwrap(),
        }
        let before = bench.names();
        let meta = offer.meta.clone();
        let commit =
            Commit::new(ticket(&offer), offer.entry, meta, Place::Offered, 3, Durability::Synced);
        bench.store.commit(file, commit);
        let failed = bench.handed_back(&offer).expect_err("the name is taken");
        let Uncommitted::Taken { file, existing } = *failed else {
            panic!("{thing}: it is handed back")
        };
        assert_eq!(bench.names(), before, "{thing}: nothing is lost");
        assert_eq!(before[&partial_name("x", 0)], "new");
        assert_eq!(existing.map(|(_, len)| len), can_be_compared.then_some(5), "{thing}");
        bench.store.discard(file);
        assert_eq!(bench.names().len(), before.len() - 1, "{thing}");
    }
}

/// Files under the names of partial files when the final name is settled: some stay, some go.
#[test]
fn store_partials_of_a_settled_name_are_removed_if_they_are_idle_and_ours() {
    let things: [(Plant, bool); 9] = [
        (("idle", |path| fs::write(path, "idl").unwrap()), false),
        (("longer than the file", |path| fs::write(path, "idle").unwrap()), true),
        (("empty", |path| fs::write(path, "").unwrap()), false),
        (
            ("read-only", |path| {
                fs::write(path, "idl").unwrap();
                fs::set_permissions(path, fs::Permissions::from_mode(0o444)).unwrap();
            }),
            false,
        ),
        (
            ("with a second name", |path| {
                fs::write(path, "second").unwrap();
                fs::hard_link(path, path.with_extension("other")).unwrap();
            }),
            true,
        ),
        (("link", |path| symlink("../outside/sentinel", path).unwrap()), true),
        (("FIFO", fifo), true),
        (("folder", |path| fs::create_dir(path).unwrap()), true),
        (
            ("of another user", |path| {
                fs::write(path, "foreign").unwrap();
                // Where this is not allowed there are no files of others to be had either.
                if std::os::unix::fs::chown(path, Some(65_534), None).is_err() {
                    fs::hard_link(path, path.with_extension("other")).unwrap();
                }
            }),
            true,
        ),
    ];
    for ((thing, plant), stays) in things {
        for by in ["commit", "held", "replaced"] {
            for n in 0..3 {
                let mut bench = Bench::new();
                if by != "commit" {
                    fs::write(bench.path("x"), "new").unwrap();
                }
                let place = if by == "replaced" { Place::Replacing } else { Place::Offered };
                let offer = bench.file("x", 3);
                let begun = bench.begin(&offer, place).unwrap();
                let path = bench.path(&partial_name("x", n));
                // Of a commit, the partial file of the entry itself has the first number.
                if path.exists() {
                    continue;
                }
                plant(&path);
                let (mut file, Found::Fresh | Found::Existing(_)) = begun else {
                    panic!("nothing was there")
                };
                if by != "held" {
                    bench.store.write_at(&mut file, 0, b"new").unwrap();
                }
                assert_eq!(bench.commit(file, &offer, 3), Ok(Committed::new(rel("x"))));
                assert_eq!(fs::read(bench.path("x")).unwrap(), b"new");
                assert_eq!(path.symlink_metadata().is_ok(), stays, "{thing} {by} {n}");
            }
        }
    }
}

#[test]
fn store_partials_beyond_gaps_are_removed_and_the_search_is_bounded() {
    let mut bench = Bench::new();
    for n in [1, 4, 5, 8, 12] {
        fs::write(bench.path(&partial_name("x", n)), "idle").unwrap();
    }
    fs::write(bench.path("x"), "held").unwrap();
    let offer = bench.file("x", 4);
    let (file, Found::Existing(4)) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
    assert!(bench.commit(file, &offer, 4).is_ok());
    bench.assert_names(&[("x", "held"), (&partial_name("x", 12), "idle")]);
}

#[test]
fn store_partial_that_another_session_writes_to_stays_when_the_name_is_settled() {
    let mut bench = Bench::new();
    let mut other = bench.store.clone();
    let offer = bench.file("x", 3);
    let (mut first, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
    let (mut second, Found::Fresh) = other.begin(&offer, Place::Offered).unwrap() else { panic!() };
    bench.store.write_at(&mut first, 0, b"one").unwrap();
    other.write_at(&mut second, 0, b"two").unwrap();
    assert!(bench.commit(first, &offer, 3).is_ok());
    bench.assert_names(&[("x", "one"), (&partial_name("x", 1), "two")]);
    let commit = Commit::new(
        ticket(&offer),
        offer.entry,
        offer.meta.clone(),
        Place::Replacing,
        3,
        Durability::Synced,
    );
    other.commit(second, commit);
    assert!(matches!(other.poll_committed(Duration::from_secs(20)), Some((_, Ok(_)))));
    bench.assert_names(&[("x", "two")]);
}

/// An attempt began before another program took the name; the next one puts the file beside it, or finds it there.
#[test]
fn store_partial_of_the_offered_name_is_removed_when_the_file_stands_beside() {
    for is_held in [false, true] {
        let mut bench = Bench::new();
        let offer = bench.file("x", 3);
        if is_held {
            fs::write(bench.path("x (1)"), "new").unwrap();
        }
        let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else {
            panic!()
        };
        bench.store.write_at(&mut file, 0, b"ne").unwrap();
        bench.store.suspend(file);
        fs::write(bench.path("x"), "old").unwrap();
        assert_eq!(bench.names().len(), 2 + usize::from(is_held));
        let mut file = match bench.begin(&offer, Place::Beside(1)).unwrap() {
            (file, Found::Fresh) if !is_held => file,
            (file, Found::Existing(3)) if is_held => file,
            other => panic!("{other:?}"),
        };
        if !is_held {
            bench.store.write_at(&mut file, 0, b"new").unwrap();
        }
        let meta = offer.meta.clone();
        bench.store.commit(
            file,
            Commit::new(ticket(&offer), offer.entry, meta, Place::Beside(1), 3, Durability::Synced),
        );
        assert!(matches!(bench.store.poll_committed(Duration::from_secs(20)), Some((_, Ok(_)))));
        bench.assert_names(&[("x", "old"), ("x (1)", "new")]);
    }
}

/// A sender whose content is wrong goes on with what another one left, and damages a byte of it at most.
#[test]
fn store_partial_of_another_sender_is_not_removed_when_an_entry_is_discarded() {
    let mut bench = Bench::new();
    let large = bench.file("x", 100_000);
    let (mut file, Found::Fresh) = bench.begin(&large, Place::Offered).unwrap() else { panic!() };
    bench.store.write_at(&mut file, 0, &[7; 50_000]).unwrap();
    bench.store.suspend(file);
    let mut other = bench.store.clone();
    let wrong = bench.file("x", 2000);
    let (mut file, Found::Partial(50_000)) = other.begin(&wrong, Place::Offered).unwrap() else {
        panic!("it is found")
    };
    other.write_at(&mut file, 0, b"!").unwrap();
    other.discard(file);
    let left = fs::read(bench.path(&partial_name("x", 0))).unwrap();
    assert_eq!((left.len(), left[1..].iter().all(|byte| *byte == 7)), (50_000, true));
    // Its own is: nobody goes on with that.
    let mut fresh = bench.store.clone();
    let offer = bench.file("y", 1);
    let (mut file, Found::Fresh) = fresh.begin(&offer, Place::Offered).unwrap() else { panic!() };
    fresh.write_at(&mut file, 0, b"!").unwrap();
    fresh.discard(file);
    assert!(!bench.path(&partial_name("y", 0)).exists());
}

/// A file system that cannot rename without replacing.
#[test]
fn store_rename_in_two_steps_leaves_one_name() {
    for unlinks in [true, false] {
        let mut bench = Bench::new();
        bench.store.shared.hook.set(move |step| match step {
            Step::RenameNoReplace => Err(io::ErrorKind::Unsupported.into()),
            Step::Unlink if !unlinks => Err(io::ErrorKind::Other.into()),
            _ => Ok(()),
        });
        assert_eq!(bench.put("x", Place::Offered, "new"), Ok(Committed::new(rel("x"))));
        bench.assert_names(&[("x", "new")]);
        assert_eq!(fs::metadata(bench.path("x")).unwrap().nlink(), 1);
        // What has the name is not replaced so either.
        let offer = bench.file("y", 1);
        let (file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
        fs::write(bench.path("y"), "other").unwrap();
        assert_eq!(bench.commit(file, &offer, 1), Err(Refusal::Exists));
        bench.assert_names(&[("x", "new"), ("y", "other")]);
    }
}

/// A process that was killed between the two steps.
#[test]
fn store_second_name_that_a_rename_in_two_steps_left_is_removed_later() {
    let mut bench = Bench::new();
    fs::write(bench.path("x"), "x").unwrap();
    fs::hard_link(bench.path("x"), bench.path(&partial_name("x", 0))).unwrap();
    let offer = bench.file("x", 1);
    let (file, Found::Existing(1)) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
    assert!(bench.commit(file, &offer, 1).is_ok());
    bench.assert_names(&[("x", "x")]);
    // And where the file is replaced first.
    fs::hard_link(bench.path("x"), bench.path(&partial_name("x", 0))).unwrap();
    let again = Offer::new(offer.entry, offer.meta.clone(), BlockSize::MIN);
    let (mut file, Found::Fresh) = bench.begin(&again, Place::Replacing).unwrap() else { panic!() };
    bench.store.write_at(&mut file, 0, b"y").unwrap();
    assert!(bench.commit(file, &again, 1).is_ok());
    bench.assert_names(&[("x", "y")]);
}

/// A process that was killed between giving a partial file its mode and its name.
#[test]
fn store_partial_with_the_mode_of_a_read_only_file_is_taken_over() {
    const CHILD: &str = "HAUL_TEST_READ_ONLY";
    if std::env::var_os(CHILD).is_none() && rustix::process::geteuid().is_root() {
        // Root may write to what is read-only: the test is one for somebody else.
        use std::os::unix::process::CommandExt;
        let here = std::env::current_exe().unwrap();
        let copy = tempfile::tempdir().unwrap();
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let program = copy.path().join("tests");
        fs::copy(here, &program).unwrap();
        let mut child = std::process::Command::new(program);
        child.args([
            "--exact",
            concat!(
                module_path!(),
                "::store_partial_with_the_mode_of_a_read_only_file_is_taken_over"
            )
            .split_once("::")
            .unwrap()
            .1,
        ]);
        child
            .env(CHILD, "1")
            .env("TMPDIR", copy.path())
            .current_dir(copy.path())
            .uid(65_534)
            .gid(65_534);
        let output = child.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
        return;
    }
    for mode in [0o400, 0o444, 0o555, 0o644, 0o777] {
        let mut bench = Bench::new();
        let path = bench.path(&partial_name("x", 0));
        fs::write(&path, "ab").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let offer = bench.offer(Meta::file(rel("x"), Some(3)).mode(Some(0o444)));
        let (mut file, Found::Partial(2)) = bench.begin(&offer, Place::Offered).unwrap() else {
            panic!("{mode:o}: it is not found")
        };
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600, "{mode:o}");
        // It is locked.
        assert!(matches!(bench.store.clone().begin(&offer, Place::Offered), Ok((_, Found::Fresh))));
        bench.store.write_at(&mut file, 2, b"c").unwrap();
        assert!(bench.commit(file, &offer, 3).is_ok());
        bench.assert_names(&[("x", "abc")]);
        assert_eq!(fs::metadata(bench.path("x")).unwrap().mode() & 0o777, 0o444, "{mode:o}");
    }
}

#[test]
fn store_link_that_another_session_makes_first_is_a_success_if_it_is_the_same() {
    for (target, place, expected, left) in [
        ("t", Place::Offered, Ok(Committed::new(rel("l"))), "-> t"),
        ("u", Place::Offered, Err(Refusal::KindClash), "-> u"),
        ("u", Place::Replacing, Ok(Committed::new(rel("l"))), "-> t"),
    ] {
        for when in ["before", "between"] {
            let mut bench = Bench::new();
            bench.store = FsStore::open(bench.path("")).unwrap().allow_links();
            let offer = bench.offer(Meta::symlink(rel("l"), (*b"t").into()));
            let (file, Found::Fresh) = bench.begin(&offer, place).unwrap() else { panic!() };
            let path = bench.path("l");
            if when == "before" {
                symlink(target, path).unwrap();
            } else {
                // Only a commit that does not replace has this step: between its look and its rename.
                bench.store.shared.hook.set(move |step| {
                    if step == Step::RenameNoReplace && !path.is_symlink() {
                        symlink(target, &path).unwrap();
                    }
                    Ok(())
                });
            }
            assert_eq!(bench.commit(file, &offer, 0), expected, "{target} {place:?} {when}");
            bench.assert_names(&[("l", left)]);
        }
    }
}

#[test]
fn store_collisions_by_case_and_form_are_refused_and_the_first_is_intact() {
    for (first, second, refusal) in [
        ("A", "a", Refusal::Collision),
        ("d/É", "d/e\u{301}", Refusal::Collision),
        ("d/\u{e9}", "D/E\u{301}", Refusal::Collision),
        ("K", "\u{212a}", Refusal::Collision),
        ("Straße", "STRASSE", Refusal::Collision),
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
fn store_links_are_refused_unless_allowed_and_inside() {
    let mut bench = Bench::new();
    let put = |bench: &mut Bench, name: &str, target: &str, place| {
        let offer = bench.offer(Meta::symlink(rel(name), target.as_bytes().into()));
        match bench.begin(&offer, place)? {
            (file, Found::Fresh) => bench.commit(file, &offer, 0).map(|_| ()),
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
    let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
    for offset in [u64::MAX, 1 << 63, (1 << 63) - 1] {
        let refusal = bench.store.write_at(&mut file, offset, b"x").unwrap_err();
        assert!(matches!(refusal, Refusal::TooLarge { .. }), "{refusal:?}");
    }
    bench.store.discard(file);
    let mut keep = bench.store.clone().keep_free(u64::MAX);
    let one = bench.file("one", 1);
    let refusal = keep.begin(&one, Place::Offered).err();
    assert_eq!(refusal, Some(Refusal::NoSpace { needed: 1, available: 0 }));
}

#[test]
fn store_folder_exchanged_before_the_commit_is_a_clash() {
    let mut bench = Bench::new();
    let offer = bench.file("d/x", 3);
    let (mut file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
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
        if let Ok((mut file, Found::Fresh)) = bench.begin(&offer, Place::Offered) {
            outcome |= bench.store.write_at(&mut file, 0, b"y").is_ok();
            bench.store.discard(file);
        }
        let folder =
            bench.offer(Meta::directory(rel(&format!("d/folder{}", n % 64))).mode(Some(0o777)));
        if let Ok((file, Found::Fresh)) = bench.begin(&folder, Place::Offered) {
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
    FsStore::from_dir(std::fs::File::open(&deep).unwrap()).unwrap();
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
    let (mut file, Found::Fresh) = store.begin(&pipe, Place::Offered).unwrap() else { panic!() };
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
    let (mut file, Found::Partial(len)) = store.begin(&pipe, Place::Offered).unwrap() else {
        panic!()
    };
    assert!(len >= 16_384);
    store.write_at(&mut file, 16_384, &[3; 16_384]).unwrap();
    let meta = pipe.meta.clone();
    store.commit(
        file,
        Commit::new(ticket(&pipe), pipe.entry, meta, Place::Offered, 32_768, Durability::Synced),
    );
    let (ended_ticket, ended) = store.poll_committed(Duration::from_secs(20)).unwrap();
    assert_eq!((ended_ticket, ended.unwrap()), (ticket(&pipe), Committed::new(rel("pipe"))));
    assert_eq!(fs::read(root.join("pipe")).unwrap(), [[2; 16_384], [3; 16_384]].concat());
}
