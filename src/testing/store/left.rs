//! The part of the suite for a [`Store`] that is about what attempts leave.

use super::{Checked, path};
use crate::hash::BlockSize;
use crate::store::Store;
use crate::types::{Found, Meta, Offer, Place, TransferId};

impl<S: Store> Checked<'_, S> {
    /// Checks that content no session writes to is removed once the name is settled: it is of no use then. Stores that
    /// come along remove it; no other one must.
    #[cfg(test)]
    pub(super) fn partial_of_a_name_that_is_settled_is_removed(&mut self) {
        for by in ["commit", "held"] {
            let name = format!("{by}/x");
            let offer = self.file(&name, 4);
            let mut first = self.fresh(&offer, Place::Offered);
            let mut second = self.fresh(&offer, Place::Offered);
            self.write(&mut first, 0, b"good");
            self.write(&mut second, 0, b"left");
            if by == "commit" {
                self.store.suspend(second);
                assert!(self.commit(first, &offer, Place::Offered, 4).is_ok(), "commit");
            } else {
                assert!(self.commit(first, &offer, Place::Offered, 4).is_ok(), "commit");
                self.store.suspend(second);
                let held = self.existing(&offer, Place::Offered, 4);
                assert!(self.commit(held, &offer, Place::Offered, 4).is_ok(), "commit of held");
            }
            self.assert_nothing_left(&offer);
            // What is written to stays.
            let mut third = self.fresh(&offer, Place::Replacing);
            self.write(&mut third, 0, b"live");
            let held = self.existing(&offer, Place::Offered, 4);
            assert!(self.commit(held, &offer, Place::Offered, 4).is_ok(), "commit of held");
            assert!(self.commit(third, &offer, Place::Replacing, 4).is_ok(), "commit of live");
            self.assert_stands(&offer, Place::Offered, b"live");
        }
    }

    /// Checks that somebody else, or the same sender at an earlier time, can send something else
    /// under the name.
    pub(super) fn longer_partial_of_another_attempt_outlives_a_small_entry(&mut self) {
        let large = self.file("x", 5000);
        let mut file = self.fresh(&large, Place::Offered);
        self.write(&mut file, 0, &[7; 3000]);
        self.store.suspend(file);
        let small = Offer::new(large.entry, Meta::file(path("x"), Some(1)), BlockSize::MIN);
        for place in [Place::Offered, Place::Replacing] {
            let mut file = self.fresh(&small, Place::Offered);
            self.write(&mut file, 0, b"s");
            if place == Place::Offered {
                self.store.discard(file);
            } else {
                assert!(self.commit(file, &small, Place::Offered, 1).is_ok(), "commit of a byte");
            }
            match self.store.begin(&large, place) {
                Ok((mut file, Found::Partial(3000))) => {
                    assert!(self.read(&mut file) == [7; 3000], "a small entry wrote into another");
                    self.store.suspend(file);
                }
                _ => panic!("a small entry of the same name removes what is left of another one"),
            }
        }
        let Ok((file, Found::Partial(_))) = self.store.begin(&large, Place::Replacing) else {
            panic!("what is left of an attempt is found once")
        };
        assert!(
            self.commit(file, &large, Place::Replacing, 5000).is_ok(),
            "commit of what is left"
        );
    }

    /// Checks that two transfers of one name, of two senders or of two commands of one, leave one another alone.
    pub(super) fn partial_of_another_transfer_is_left_alone(&mut self) {
        let [one, other] = [1, 2].map(|id| TransferId::new([id; 16]));
        let offer = self.offer(Meta::file(path("x"), Some(5000)));
        let leave = |checked: &mut Self, transfer, byte: u8| {
            checked.store.serve(transfer);
            let mut file = checked.fresh(&offer, Place::Offered);
            checked.write(&mut file, 0, &[byte; 3000]);
            checked.store.suspend(file);
        };
        leave(self, one, 1);
        leave(self, other, 2);
        for end in ["suspend", "discard", "commit"] {
            self.store.serve(other);
            // What an earlier attempt left may be kept when it is discarded, or not.
            let mut file = match self.store.begin(&offer, Place::Offered) {
                Ok((mut file, Found::Fresh)) if end == "commit" => {
                    self.write(&mut file, 0, &[2; 3000]);
                    file
                }
                Ok((file, Found::Partial(3000))) => file,
                _ => panic!("what a transfer left is not found again"),
            };
            assert!(self.read(&mut file) == [2; 3000], "partial file of another transfer");
            let place = match end {
                "suspend" => {
                    self.store.suspend(file);
                    Place::Offered
                }
                "discard" => {
                    self.store.discard(file);
                    Place::Offered
                }
                _ => {
                    assert!(self.commit(file, &offer, Place::Offered, 5000).is_ok(), "commit");
                    Place::Replacing
                }
            };
            self.store.serve(one);
            let Ok((mut file, Found::Partial(3000))) = self.store.begin(&offer, place) else {
                panic!("{end} of a transfer removes the partial file of another one")
            };
            assert!(self.read(&mut file) == [1; 3000], "a transfer wrote to what another one left");
            if place == Place::Replacing {
                assert!(self.commit(file, &offer, place, 5000).is_ok(), "commit of what was left");
            } else {
                self.store.suspend(file);
            }
        }
    }

    /// Checks that zeros at the end are found by a later attempt: a pipe cannot give again what its
    /// receiver keeps.
    pub(super) fn zeros_at_the_end_are_found_by_a_later_attempt(&mut self) {
        let offer = self.offer(Meta::file(path("x"), None));
        let mut file = self.fresh(&offer, Place::Offered);
        self.write(&mut file, 0, b"01234");
        for (offset, len) in [(3, 2), (4, 6), (20, 10)] {
            assert_eq!(self.store.write_zeros(&mut file, offset, len), Ok(()), "write_zeros");
        }
        self.store.suspend(file);
        let mut expected = b"012".to_vec();
        expected.resize(30, 0);
        let mut file = self.partial(&offer, 30);
        assert!(self.read(&mut file) == expected, "zeros that were written before a suspend");
        assert!(self.commit(file, &offer, Place::Offered, 30).is_ok(), "commit of zeros");
    }
}
