//! Links, which have no locks while they are made.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// A process that is killed between making a link and renaming it leaves one.
#[test]
fn store_link_left_under_a_partial_name_is_removed_by_the_next_commit_of_its_link() {
    for existing in [None, Some("t"), Some("u")] {
        for left in ["t", "u"] {
            let mut bench = Bench::new();
            bench.store = FsStore::open(bench.path("")).unwrap().allow_links();
            for n in [0, 1, 3] {
                symlink(left, bench.path(&partial_name("l", n))).unwrap();
            }
            if let Some(existing) = existing {
                symlink(existing, bench.path("l")).unwrap();
            }
            let offer = bench.offer(Meta::symlink(rel("l"), (*b"t").into()));
            let (file, Found::Fresh) = bench.begin(&offer, Place::Replacing).unwrap() else {
                panic!()
            };
            assert_eq!(bench.commit(file, &offer, 0), Ok(Committed::new(rel("l"))));
            bench.assert_names(&[("l", "-> t")]);
        }
    }
}

/// Links have no locks, so a session may sweep what another is about to rename, and a third make its own there.
#[test]
fn store_link_that_is_swept_before_its_rename_is_made_again_and_never_anothers_by_mistake() {
    for (others, expected, left) in [
        (None, Ok(Committed::new(rel("l"))), "-> t"),
        (Some("t"), Ok(Committed::new(rel("l"))), "-> t"),
        // It is not what this session made: that it has the name of a partial file gives it no other.
        (Some("u"), Ok(Committed::new(rel("l"))), "-> t"),
    ] {
        let mut bench = Bench::new();
        bench.store = FsStore::open(bench.path("")).unwrap().allow_links();
        let offer = bench.offer(Meta::symlink(rel("l"), (*b"t").into()));
        let (file, Found::Fresh) = bench.begin(&offer, Place::Offered).unwrap() else { panic!() };
        let (partial, swept) = (bench.path(&partial_name("l", 0)), AtomicBool::new(false));
        bench.store.shared.hook.set(move |step| {
            if step == Step::Rename && !swept.swap(true, Ordering::Relaxed) {
                fs::remove_file(&partial).unwrap();
                if let Some(target) = others {
                    symlink(target, &partial).unwrap();
                }
            }
            Ok(())
        });
        assert_eq!(bench.commit(file, &offer, 0), expected, "{others:?}");
        bench.assert_names(&[("l", left)]);
    }
}
