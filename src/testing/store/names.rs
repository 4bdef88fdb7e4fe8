//! The part of the suite for a [`Store`] that is about names: of folders, beside others, and of one transfer.

use super::{Checked, path};
use crate::hash::BlockSize;
use crate::store::{Committed, Store};
use crate::types::{EntryId, Found, Meta, Offer, Place, Refusal, TransferId};

impl<S: Store> Checked<'_, S> {
    /// Checks that a name beside another is another name. Its form is the store's matter, as is
    /// whether it has any.
    pub(super) fn beside_is_another_name(&mut self) {
        self.put("a/x.y", b"first");
        let offer =
            Offer::new(EntryId::new(self.next), Meta::file(path("a/x.y"), Some(6)), BlockSize::MIN);
        let mut names = vec![path("a/x.y")];
        for n in [1, 2, 30] {
            let Some(mut file) = self.beside(&offer, n) else { return };
            self.write(&mut file, 0, b"second");
            let name = match self.commit(file, &offer, Place::Beside(n), 6) {
                Ok(Committed { path }) => path,
                Err(refusal) => panic!("a name beside another is refused: {refusal}"),
            };
            assert!(!names.contains(&name), "{name}: a name beside another one is free");
            names.push(name);
            self.assert_stands(&offer, Place::Beside(n), b"second");
        }
        self.assert_stands(&offer, Place::Offered, b"first");
    }

    /// Begins an entry beside what has its name; `None` if the store has no such names.
    pub(super) fn beside(&mut self, offer: &Offer, n: u32) -> Option<S::File> {
        match self.store.begin(offer, Place::Beside(n)) {
            Ok((file, Found::Fresh)) => Some(file),
            Ok(_) => panic!("{offer:?}: something has a name beside it that nobody gave"),
            Err(Refusal::Exists) => panic!("{offer:?}: the name {n} beside it is taken"),
            Err(_) => None,
        }
    }

    /// Makes a folder; `None` if the store takes none.
    pub(super) fn folder(&mut self, offer: &Offer) -> Option<S::File> {
        match self.store.begin(offer, Place::Offered) {
            Ok((file, Found::Fresh)) => Some(file),
            Ok(_) => panic!("{offer:?}: a folder that is not there is not new"),
            Err(Refusal::Kind) => None,
            Err(refusal) => panic!("{offer:?} is refused: {refusal}"),
        }
    }

    pub(super) fn folder_that_is_made_twice_is_no_clash(&mut self) {
        let offer = self.offer(Meta::directory(path("a/b")));
        let Some(first) = self.folder(&offer) else { return };
        let second = self.fresh(&offer, Place::Offered);
        for file in [first, second] {
            let ended = self.commit(file, &offer, Place::Offered, 0);
            assert_eq!(ended, Ok(Committed::new(path("a/b"))), "commit of a folder");
        }
    }

    /// Checks that a store which holds names against one another does so for those of one transfer, over all of its
    /// connections.
    pub(super) fn names_collide_within_one_transfer(&mut self) {
        for (number, name) in (0..).zip(["Name", "name", "NAME"]) {
            let transfer = 10 * number + 1;
            let first = format!("{number}/Name");
            let name = format!("{number}/{name}");
            self.store.serve(TransferId::new([transfer; 16]));
            self.put(&first, b"first");
            let entry = EntryId::new(self.next);
            let is_held = self.collides(transfer, &name);
            let again = self.collides(transfer, &name);
            assert_eq!(again, is_held, "{name} on the next connection of a transfer");
            let offer = Offer::new(entry, Meta::file(path(&first), Some(5)), BlockSize::MIN);
            self.assert_stands(&offer, Place::Offered, b"first");
            for other in [transfer + 1, transfer + 2] {
                let is_held = self.collides(other, &name);
                assert!(!is_held, "{name} of one transfer is held against another's");
            }
        }
    }

    /// Returns whether a name is held against one of the same transfer.
    fn collides(&mut self, transfer: u8, name: &str) -> bool {
        self.store.serve(TransferId::new([transfer; 16]));
        let offer = self.file(name, 1);
        match self.store.begin(&offer, Place::Replacing) {
            Ok((file, _)) => {
                self.store.suspend(file);
                false
            }
            Err(Refusal::Collision) => true,
            Err(refusal) => panic!("{name}, beside Name in one session: {refusal}"),
        }
    }

    pub(super) fn folders_are_made(&mut self) {
        self.put("a/x", b"x");
        for name in ["a", "b/c", "b"] {
            let offer = self.offer(Meta::directory(path(name)));
            let Some(file) = self.folder(&offer) else { return };
            let ended = self.commit(file, &offer, Place::Offered, 0);
            assert_eq!(ended, Ok(Committed::new(path(name))), "commit of the folder {name}");
        }
        let offer = Offer::new(EntryId::new(1), Meta::directory(path("a/x")), BlockSize::MIN);
        let refusal = self.store.begin(&offer, Place::Offered).err();
        assert_eq!(refusal, Some(Refusal::KindClash), "a folder where a file is");
        let offer = Offer::new(EntryId::new(2), Meta::file(path("a"), Some(1)), BlockSize::MIN);
        let refusal = self.store.begin(&offer, Place::Replacing).err();
        assert_eq!(refusal, Some(Refusal::KindClash), "a file where a folder is");
        let offer = self.file("a/x/y", 1);
        let refusal = self.store.begin(&offer, Place::Offered).err();
        assert_eq!(refusal, Some(Refusal::KindClash), "a file below a file");
    }
}
