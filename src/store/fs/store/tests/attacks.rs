//! What an attacker can put in the way: names, links, races, and a full device.

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
