//! Partial files: whose they are, which is gone on with, and what removes them.

use std::thread;

use super::*;
use crate::types::TransferId;

#[test]
fn store_sessions_at_one_name_do_not_share_a_partial() {
    let mut bench = Bench::new();
    let mut other = bench.store.clone();
    let offer = bench.file("x", 3);
    let begin = |store: &mut FsStore, text: &[u8]| match store.begin(&offer, Place::Offered) {
        Ok((mut file, Found::Fresh)) => {
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
    let take = |store: &mut FsStore| match store.begin(&offer, Place::Offered) {
        Ok((file, Found::Partial(3))) => file,
        other => panic!("{other:?}"),
    };
    let first = take(&mut bench.store);
    let second = take(&mut other);
    assert!(bench.commit(first, &offer, 3).is_ok());
    bench.assert_names(&[("x", "one"), (&partial_name("x", 1), "two")]);
    other.suspend(second);
    // What the second one left is found though the first is gone.
    let (second, Found::Partial(3)) = other.begin(&offer, Place::Replacing).unwrap() else {
        panic!()
    };
    other.discard(second);
    // A later attempt goes on with it.
    bench.assert_names(&[("x", "one"), (&partial_name("x", 1), "two")]);
}

#[test]
fn store_goes_on_with_the_longest_partial_file_that_is_not_in_use() {
    let mut bench = Bench::new();
    let mut others = [bench.store.clone(), bench.store.clone()];
    let offer = bench.file("x", 9);
    let begin = |store: &mut FsStore, text: &[u8]| match store.begin(&offer, Place::Offered) {
        Ok((mut file, Found::Fresh)) => {
            store.write_at(&mut file, 0, text).unwrap();
            file
        }
        other => panic!("{other:?}"),
    };
    let short = begin(&mut bench.store, b"one");
    let [second, third] = &mut others;
    let (long, middle) = (begin(second, b"oneoneone"), begin(third, b"oneone"));
    bench.store.suspend(short);
    third.suspend(middle);
    let take = |store: &mut FsStore, len: u64| match store.begin(&offer, Place::Offered) {
        Ok((file, Found::Partial(held))) if held == len => file,
        other => panic!("{other:?}"),
    };
    let taken = take(&mut bench.store, 6);
    bench.store.suspend(taken);
    second.suspend(long);
    let taken = take(&mut bench.store, 9);
    assert!(bench.commit(taken, &offer, 9).is_ok());
    bench.assert_names(&[("x", "oneoneone")]);
}

#[test]
fn store_discard_removes_what_was_made_and_nothing_else() {
    let mut bench = Bench::new();
    fs::create_dir(bench.path("old")).unwrap();
    let first = bench.file("old/new/a/x", 3);
    let second = bench.file("old/new/b", 3);
    let begin = |bench: &mut Bench, offer: &Offer| match bench.begin(offer, Place::Offered) {
        Ok((mut file, Found::Fresh)) => {
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
    let (file, Found::Fresh) = bench.begin(&first, Place::Offered).unwrap() else { panic!() };
    bench.store.suspend(file);
    bench.assert_names(&[("old", "folder")]);
}

#[test]
fn store_waits_for_a_partial_file_of_its_transfer_that_another_session_has() {
    let mut bench = Bench::new();
    let [mut first, mut second] = [bench.store.clone(), bench.store.clone()];
    let offer = bench.file("x", 9);
    let begin = |store: &mut FsStore| match store.begin(&offer, Place::Offered) {
        Ok((file, Found::Fresh)) => (file, 0),
        Ok((file, Found::Partial(len))) => (file, len),
        other => panic!("{other:?}"),
    };
    let ours = TransferId::new([1; 16]);
    first.serve(ours);
    second.serve(ours);
    let (mut file, _) = begin(&mut first);
    first.write_at(&mut file, 0, b"one").unwrap();
    // That session stays: another file is made in the end, and once is enough.
    let (other, len) = begin(&mut second);
    assert_eq!((len, second.may_wait()), (0, false));
    second.suspend(other);
    // This one ends. Whether it does before it is waited for or meanwhile, its file is found.
    second.serve(ours);
    thread::scope(|scope| {
        scope.spawn(|| first.suspend(file));
        let (other, len) = begin(&mut second);
        assert_eq!(len, 3);
        second.suspend(other);
    });
    // A session of another transfer waits for nobody.
    let (file, _) = begin(&mut second);
    bench.store.serve(TransferId::new([2; 16]));
    let (other, len) = begin(&mut bench.store);
    assert_eq!((len, bench.store.may_wait()), (0, true));
    bench.store.suspend(other);
    second.suspend(file);
}
