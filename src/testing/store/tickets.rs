//! The part of the suite for a [`Store`] that serves one session while commits of another one end.

use super::{Checked, path};
use crate::hash::BlockSize;
use crate::store::{Committed, Store};
use crate::types::{EntryId, Meta, Offer, Place, TransferId};

impl<S: Store> Checked<'_, S> {
    /// Gives a session up with commits under way; the same store serves the next one, whose entries have the same
    /// numbers and other names.
    pub(super) fn tickets_of_two_sessions_are_given_back_with_their_own_ends(&mut self) {
        let mut started = Vec::new();
        for session in [2, 3] {
            (self.session, self.tickets) = ([session; 16], 0);
            self.store.serve(TransferId::new([session; 16]));
            for number in 0..20 {
                let name = path(&format!("s{session}/f{number}"));
                let offer = Offer::new(
                    EntryId::new(number),
                    Meta::file(name.clone(), Some(4)),
                    BlockSize::MIN,
                );
                let mut file = self.fresh(&offer, Place::Offered);
                self.write(&mut file, 0, b"mine");
                self.start(file, &offer, Place::Offered, 4);
                started.push((self.last[&offer.entry], name));
            }
        }
        // Those of the later session are asked for first.
        for (ticket, name) in started.into_iter().rev() {
            let ended = self.end_of(ticket).map_err(|_| "it failed");
            assert_eq!(ended, Ok(Committed::new(name)), "the end of the commit {ticket:?}");
        }
        let more = self.poll(std::time::Duration::ZERO);
        assert!(more.is_none(), "each commit ends once");
    }
}
