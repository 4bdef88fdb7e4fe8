//! The part of the suite for a [`Store`] where two commits that are under way give one name.

use super::{Checked, path};
use crate::hash::BlockSize;
use crate::store::{Store, Uncommitted};
use crate::types::{EntryId, Found, Meta, Offer, Place, Refusal, Ticket, TransferId};

impl<S: Store> Checked<'_, S> {
    /// Gives a session up while its commits are under way; the next one replaces the same files.
    pub(super) fn later_of_two_commits_of_one_name_has_it(&mut self) {
        let names: Vec<_> = (0..20).map(|number| format!("o/f{number}")).collect();
        let (mut older, mut newer) = (Vec::new(), Vec::new());
        for name in &names {
            // The device may take longer for the first.
            older.push(self.replace(4, name, &[b'1'; 20_000]));
        }
        for name in &names {
            newer.push(self.replace(5, name, b"newer"));
        }
        for ticket in newer {
            assert!(self.end_of(ticket).is_ok(), "the later of two commits of one name fails");
        }
        for ticket in older {
            match self.end_of(ticket) {
                // It had the name before, or is handed back.
                Ok(_) => {}
                Err(Uncommitted::Taken { file, existing }) => {
                    self.store.discard(file);
                    existing.into_iter().for_each(|(existing, _)| self.store.suspend(existing));
                }
                Err(Uncommitted::Failed(refusal)) => {
                    panic!("a commit that a later one of the same name overtook fails: {refusal}")
                }
            }
        }
        self.store.serve(TransferId::new([6; 16]));
        for (number, name) in names.iter().enumerate() {
            let offer = Self::offer_of(number, name, 5);
            let Ok((mut file, Found::Existing(_))) = self.store.begin(&offer, Place::Offered)
            else {
                panic!("{name} is not there")
            };
            let found = self.read(&mut file);
            assert!(found == b"newer", "the earlier of two commits has the name in the end");
            self.store.suspend(file);
        }
    }

    /// Starts to replace a file in a session of this number.
    fn replace(&mut self, session: u8, name: &str, bytes: &[u8]) -> Ticket {
        let number = name.trim_start_matches("o/f").parse().unwrap_or_default();
        if self.session != [session; 16] {
            (self.session, self.tickets) = ([session; 16], 0);
            self.store.serve(TransferId::new([session; 16]));
        }
        let offer = Self::offer_of(number, name, bytes.len());
        let begun: Result<(S::File, Found), Refusal> = self.store.begin(&offer, Place::Replacing);
        let Ok((mut file, Found::Fresh | Found::Partial(_))) = begun else {
            panic!("`Place::Replacing` gives what will take the place")
        };
        self.write(&mut file, 0, bytes);
        self.start(file, &offer, Place::Replacing, bytes.len());
        self.last[&offer.entry]
    }

    fn offer_of(number: usize, name: &str, len: usize) -> Offer {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let meta = Meta::file(path(name), Some(super::length(len)));
        Offer::new(EntryId::new(number), meta, BlockSize::MIN)
    }
}
