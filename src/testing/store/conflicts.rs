//! The part of the suite for a [`Store`] where two files are to have one name, and one is handed back.

use super::{Checked, path};
use crate::hash::BlockSize;
use crate::store::{Committed, Store, Uncommitted};
use crate::types::{Found, Meta, Offer, Place, Refusal, RelPath, TransferId};

/// File that has the name of a file that was handed back.
type Existing<S> = Option<(<S as Store>::File, u64)>;

impl<S: Store> Checked<'_, S> {
    /// Begins two files under one free name, of which the first gets it; returns them with what was handed
    /// back.
    fn race(&mut self, name: &str) -> (Offer, S::File, Existing<S>) {
        let offer = self.file(name, 6);
        let mut first = self.fresh(&offer, Place::Offered);
        let mut second = self.fresh(&offer, Place::Offered);
        self.write(&mut first, 0, b"first");
        self.write(&mut second, 0, b"second");
        let ended = self.commit(first, &offer, Place::Offered, 5);
        assert_eq!(ended, Ok(Committed::new(path(name))), "the first of two commits");
        let (second, existing) = self.lose(second, &offer, Place::Offered, 6);
        (offer, second, existing)
    }

    /// Returns a commit whose name is taken: the file, and what has its name.
    fn lose(
        &mut self,
        file: S::File,
        offer: &Offer,
        place: Place,
        size: usize,
    ) -> (S::File, Existing<S>) {
        self.start(file, offer, place, size);
        match self.end(offer) {
            Err(Uncommitted::Taken { file, existing }) => (file, existing),
            Err(Uncommitted::Failed(refusal)) => {
                panic!("{offer:?}: a file whose name is taken is not handed back: {refusal}")
            }
            Ok(_) => panic!("{offer:?}: a commit takes a name that is not free"),
        }
    }

    fn suspend_existing(&mut self, existing: Existing<S>) {
        if let Some((existing, _)) = existing {
            self.store.suspend(existing);
        }
    }

    pub(super) fn file_whose_name_is_taken_is_handed_back_whole(&mut self) {
        let (offer, mut second, existing) = self.race("a/x");
        assert!(self.read(&mut second) == b"second", "what is handed back is what was written");
        let Some((mut existing, len)) = existing else {
            panic!("a file that has the name can be read")
        };
        assert_eq!(len, 5, "the length of a file that has the name");
        assert!(self.read(&mut existing) == b"first", "what has the name is read");
        // It can be vouched for, as one that `begin` found.
        let ended = self.commit(existing, &offer, Place::Offered, 5);
        assert_eq!(ended, Ok(Committed::new(path("a/x"))), "commit of what has the name");
        self.store.discard(second);
        self.assert_stands(&offer, Place::Offered, b"first");
        self.assert_nothing_left(&offer);
    }

    pub(super) fn file_that_was_handed_back_takes_a_name_beside(&mut self) {
        let offer = self.file("y", 1);
        let Some(file) = self.beside(&offer, 1) else { return };
        self.store.discard(file);
        // The first name of most stores, and of no meaning to others.
        self.put("x (1)", b"taken too");
        let (offer, second, existing) = self.race("x");
        self.suspend_existing(existing);
        self.start(second, &offer, Place::Beside(1), 6);
        let name = match self.end(&offer) {
            Ok(Committed { path }) => path,
            Err(Uncommitted::Taken { file, existing }) => {
                assert!(
                    existing.is_none(),
                    "a name beside that another entry of the transfer has is no file to compare with"
                );
                self.ends_beside(file, &offer, 2)
            }
            Err(Uncommitted::Failed(refusal)) => panic!("{offer:?}, beside: {refusal}"),
        };
        assert!(![path("x"), path("x (1)")].contains(&name), "{name}: it is taken");
        let stands = Offer::new(offer.entry, Meta::file(name, Some(6)), BlockSize::MIN);
        self.assert_stands(&offer, Place::Offered, b"first");
        self.store.serve(TransferId::new([9; 16]));
        self.assert_stands(&stands, Place::Offered, b"second");
    }

    /// Commits a file beside what has its name.
    fn ends_beside(&mut self, file: S::File, offer: &Offer, n: u32) -> RelPath {
        match self.commit(file, offer, Place::Beside(n), offer.meta.size.map_or(0, size)) {
            Ok(Committed { path }) => path,
            Err(refusal) => panic!("{offer:?}, {n} beside: {refusal}"),
        }
    }

    pub(super) fn file_that_was_handed_back_takes_the_place_of_the_other(&mut self) {
        let (offer, second, existing) = self.race("x");
        let ended = self.commit(second, &offer, Place::Replacing, 6);
        assert_eq!(ended, Ok(Committed::new(path("x"))), "the place of the other");
        self.assert_stands(&offer, Place::Offered, b"second");
        // What had the name has it no longer, and is not vouched for.
        let Some((existing, _)) = existing else { panic!("a file that has the name can be read") };
        let ended = self.commit(existing, &offer, Place::Offered, 5);
        assert_eq!(ended, Err(Refusal::Exists), "commit of what had the name");
        self.assert_stands(&offer, Place::Offered, b"second");
    }

    pub(super) fn file_that_was_handed_back_can_be_kept(&mut self) {
        let (offer, second, existing) = self.race("x");
        self.suspend_existing(existing);
        self.store.suspend(second);
        match self.store.begin(&offer, Place::Replacing) {
            Ok((mut file, Found::Partial(6))) => {
                assert!(self.read(&mut file) == b"second", "a partial file that was handed back");
                self.store.discard(file);
            }
            _ => panic!("what was handed back and suspended is not found again"),
        }
        self.assert_stands(&offer, Place::Offered, b"first");
    }

    pub(super) fn folder_in_the_place_of_a_file_hands_it_back(&mut self) {
        let offer = self.file("x", 1);
        let mut file = self.fresh(&offer, Place::Offered);
        self.write(&mut file, 0, b"x");
        // Another session, as it were: names of one session do not collide so.
        let folder = Offer::new(offer.entry, Meta::directory(path("x")), BlockSize::MIN);
        let Some(made) = self.folder(&folder) else { return self.store.discard(file) };
        assert!(self.commit(made, &folder, Place::Offered, 0).is_ok(), "commit of a folder");
        for place in [Place::Offered, Place::Replacing] {
            let (back, existing) = self.lose(file, &offer, place, 1);
            assert!(existing.is_none(), "a folder is nothing that can be compared");
            file = back;
        }
        self.store.suspend(file);
        let Some(mut file) = self.beside(&offer, 1) else { return };
        self.write(&mut file, 0, b"x");
        assert!(self.ends_beside(file, &offer, 1) != path("x"), "a name beside a folder is free");
    }
}

fn size(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
