//! Partial files of attempts, and the time for which they stay.

use super::*;

/// Leaves a partial file of this name that nobody has open, as long as `text`.
fn leave(bench: &mut Bench, name: &str, text: &str) {
    let offer = bench.offer(Meta::file(rel(name), None));
    let mut store = bench.store.clone();
    let (mut file, Found::Fresh) = store.begin(&offer, Place::Offered).unwrap() else {
        panic!("{name} is there")
    };
    store.write_at(&mut file, 0, text.as_bytes()).unwrap();
    store.suspend(file);
}

#[test]
fn store_small_entry_leaves_longer_partials_alone_and_goes_on_with_its_own() {
    let mut bench = Bench::new();
    leave(&mut bench, "x", "of another sender");
    assert!(bench.put("x", Place::Offered, "one").is_ok());
    let left = partial_name("x", 0);
    bench.assert_names(&[("x", "one"), (&left, "of another sender")]);
    // What is no longer than the entry may be what an earlier attempt at it left: or they would pile up.
    for text in ["two", "tw", "t"] {
        leave(&mut bench, "y", text);
        bench.store = bench.store.clone();
        assert!(bench.put("y", Place::Offered, "two").is_ok());
        bench.assert_names(&[("x", "one"), (&left, "of another sender"), ("y", "two")]);
        fs::remove_file(bench.path("y")).unwrap();
    }
}

#[test]
fn store_what_nobody_comes_back_for_expires_and_nothing_else_does() {
    let mut bench = Bench::new();
    fs::create_dir(bench.path("d")).unwrap();
    for name in ["x", "d/x", "wanted"] {
        leave(&mut bench, name, "left");
    }
    symlink("nowhere", bench.path(&partial_name("link", 0))).unwrap();
    // As a process that writes to it, and somebody else who has it under a second name.
    leave(&mut bench, "busy", "busy");
    let busy = fs::File::open(bench.path(&partial_name("busy", 0))).unwrap();
    busy.try_lock().unwrap();
    fs::write(bench.path("mine"), "mine").unwrap();
    fs::hard_link(bench.path("mine"), bench.path(&partial_name("two", 0))).unwrap();
    let odd = [".haul-x.part", ".haul-0123456789abcdef-64.part", ".haul-0123456789abcdef-.part"];
    for name in odd {
        fs::write(bench.path(name), "foreign").unwrap();
    }
    let all = bench.names();
    bench.store = bench.store.clone();
    assert!(bench.put("new", Place::Offered, "new").is_ok());
    fs::remove_file(bench.path("new")).unwrap();
    assert_eq!(bench.names(), all, "they are kept for a week");

    bench.store = bench.store.clone().keep_partials(Duration::ZERO);
    // Also where something stands under the name already.
    fs::write(bench.path("new"), "old").unwrap();
    let offer = bench.file("new", 3);
    assert!(matches!(bench.begin(&offer, Place::Offered), Ok((_, Found::Existing(_)))));
    fs::remove_file(bench.path("new")).unwrap();
    let gone = ["x", "wanted", "link"].map(|name| partial_name(name, 0));
    let mut expected = all;
    expected.retain(|name, _| !gone.contains(name));
    assert_eq!(bench.names(), expected);

    // What is wanted is gone on with, however old it is.
    let offer = bench.file("d/x", 9);
    assert!(matches!(bench.begin(&offer, Place::Offered), Ok((_, Found::Partial(4)))));
    assert_eq!(bench.names(), expected);
}

#[test]
fn store_folder_is_looked_through_again_after_the_time_that_is_set() {
    let mut bench = Bench::new();
    leave(&mut bench, "x", "left");
    bench.store = bench.store.clone().keep_partials(Duration::from_nanos(1));
    leave(&mut bench, "y", "left");
    bench.assert_names(&[(&partial_name("y", 0), "left")]);
    leave(&mut bench, "z", "left");
    bench.assert_names(&[(&partial_name("z", 0), "left")]);
}

#[test]
fn store_partials_below_a_folder_are_found_with_what_is_known_of_them() {
    use super::super::super::partials::Partials;

    let mut bench = Bench::new();
    fs::create_dir_all(bench.path("d/e")).unwrap();
    leave(&mut bench, "d/e/x", "left");
    let offer = bench.file("busy", 9);
    let (mut busy, _) = bench.begin(&offer, Place::Offered).unwrap();
    bench.store.write_at(&mut busy, 0, b"busy").unwrap();
    symlink(bench.path("d"), bench.path("link")).unwrap();
    fifo(&bench.path(&partial_name("fifo", 0)));
    let below = |bench: &Bench| {
        let found = Partials::below(bench.path("")).unwrap();
        let mut found: Vec<_> = found.collect::<io::Result<_>>().unwrap();
        found.sort_by_key(|partial| partial.size());
        found
    };
    let paths = |found: &[crate::store::fs::PartialFile]| {
        let of = |partial: &crate::store::fs::PartialFile| partial.path().display().to_string();
        found.iter().map(of).collect::<Vec<_>>()
    };
    let found = below(&bench);
    let expected = [format!("d/e/{}", partial_name("x", 0)), partial_name("busy", 0)];
    let mut sorted = paths(&found);
    sorted.sort_by_key(|path| !path.starts_with('d'));
    assert_eq!(sorted, expected);
    for partial in found {
        let is_busy = !partial.path().starts_with("d");
        assert_eq!((partial.size(), partial.is_in_use()), (4, is_busy));
        assert_eq!(partial.remove(), !is_busy);
    }
    assert_eq!(paths(&below(&bench)), expected[1..]);
    // What has its name by then is another file, if by the same inode.
    let found = below(&bench).pop().unwrap();
    bench.store.discard(busy);
    fs::write(bench.path(&expected[1]), "new").unwrap();
    let _ = found.remove();
    assert_eq!(fs::read_to_string(bench.path(&expected[1])).unwrap(), "new");
}
