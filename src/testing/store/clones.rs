//! The part of the suite for a [`Store`] of which each session has a clone.

use std::time::Duration;

use super::{Checked, path};
use crate::drive::SystemClock;
use crate::hash::BlockSize;
use crate::store::{Committed, Store};
use crate::types::{Durability, EntryId, Meta, Offer, Place, Refusal, TransferId};

/// Checks that the clones of a store are sessions of their own over the same files: for one that a
/// [`Server`](crate::Server) is to use, or [`Transfer::receive_via`](crate::Transfer::receive_via).
///
/// `store` is new and empty. Each clone must be given the ends of its own commits and no others, also while all of them
/// commit entries of the same numbers; what one has committed must be there for all; names that differ by case must not
/// be held against those of another clone, which serves another transfer; and what a clone has open must outlive the
/// other clones.
///
/// # Panics
///
/// If a sentence of this is broken: the message names it.
pub fn check_clones<S: Store + Clone>(store: S) {
    let clock = SystemClock::new();
    let mut clones: Vec<_> =
        (0..CLONES).map(|_| Checked::new(store.clone(), Durability::Synced, &clock)).collect();
    for (number, clone) in (1..).zip(&mut clones) {
        clone.session = [number; 16];
        clone.store.serve(TransferId::new([number; 16]));
    }
    // All have commits under way at once.
    for number in 0..FILES {
        for (clone, checked) in clones.iter_mut().enumerate() {
            let name = path(&format!("c{clone}/f{number}"));
            let meta = Meta::file(name, Some(4));
            let offer = Offer::new(EntryId::new(number), meta, BlockSize::MIN);
            let mut file = checked.fresh(&offer, Place::Offered);
            checked.write(&mut file, 0, b"mine");
            checked.start(file, &offer, Place::Offered, 4);
        }
    }
    let mut idle = store.clone();
    let mut assert_has_none = || {
        let ended = idle.poll_committed(Duration::ZERO);
        assert!(ended.is_none(), "a clone is given the end of a commit of another one");
    };
    assert_has_none();
    // They ask by turns, the one that began last at first.
    for number in 0..FILES {
        for (clone, checked) in clones.iter_mut().enumerate().rev() {
            let name = path(&format!("c{clone}/f{number}"));
            let meta = Meta::file(name.clone(), Some(4));
            let offer = Offer::new(EntryId::new(number), meta, BlockSize::MIN);
            let ended = checked.ended(&offer);
            assert_eq!(ended, Ok(Committed::new(name)), "a commit of one of several clones");
            assert_has_none();
        }
    }
    for checked in &mut clones {
        let more = checked.poll(Duration::ZERO);
        assert!(more.is_none(), "a clone is given the end of a commit of another one");
    }
    // What one has committed is there for all, whatever became of it.
    let meta = Meta::file(path("c0/f0"), Some(4));
    let first = Offer::new(EntryId::new(FILES), meta, BlockSize::MIN);
    drop(clones.remove(0));
    for checked in &mut clones {
        checked.assert_stands(&first, Place::Offered, b"mine");
    }
    names_of_clones_do_not_collide(&mut clones);
    open_file_outlives_the_clones(clones.remove(0), clones);
}

/// Checks that the names of one transfer are not held against those of another.
fn names_of_clones_do_not_collide<S: Store>(clones: &mut [Checked<'_, S>]) {
    for (checked, name) in clones.iter_mut().zip(["Name", "NAME"]) {
        let meta = Meta::file(path(&format!("n/{name}")), Some(1));
        let offer = Offer::new(EntryId::new(FILES + 1), meta, BlockSize::MIN);
        match checked.store.begin(&offer, Place::Replacing) {
            Ok((file, _)) => checked.store.suspend(file),
            Err(Refusal::Collision) => panic!("a name is held against one of another clone"),
            Err(refusal) => panic!("{offer:?} is refused: {refusal}"),
        }
    }
}

fn open_file_outlives_the_clones<S: Store>(
    mut checked: Checked<'_, S>,
    others: Vec<Checked<'_, S>>,
) {
    let offer =
        Offer::new(EntryId::new(FILES + 2), Meta::file(path("last"), Some(4)), BlockSize::MIN);
    let mut file = checked.fresh(&offer, Place::Offered);
    drop(others);
    checked.write(&mut file, 0, b"last");
    let ended = checked.commit(file, &offer, Place::Offered, 4);
    assert_eq!(ended, Ok(Committed::new(path("last"))), "a commit after the other clones are gone");
    checked.assert_stands(&offer, Place::Offered, b"last");
}

const CLONES: usize = 3;
const FILES: u32 = 20;
