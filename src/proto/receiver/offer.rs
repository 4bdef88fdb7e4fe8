//! Offers: their form, their place in the order, the quotas, and what is known of the entry.

use super::incoming::Incoming;
use super::phase::{Phase, Turned};
use super::requests::Task;
use super::resume::Known;
use super::{ReceiveAction, Receiver};
use crate::hash::Hash;
use crate::proto::error::ProtocolError;
use crate::proto::wire::message::{Name, WireOffer, meta_of};
use crate::types::{Event, Kind, NameError, Offer, Place, Refusal, RelPath};

impl Receiver {
    /// Handles the offer of an entry.
    pub(super) fn offer(&mut self, wire: WireOffer, payload: &[u8]) -> Result<(), ProtocolError> {
        let entry = wire.entry;
        let again = self.offered_by_time(&wire)?;
        let out_of_order = ProtocolError::EntryOutOfOrder { entry };
        let next_id = entry.get().checked_add(1).ok_or(out_of_order)?;
        if !self.is_well_formed(&wire, payload.len()) {
            return Err(ProtocolError::Malformed { kind: Name::Offer });
        }
        self.entries.advance(next_id);
        self.totals.travel(payload.len(), false);
        let (is_counted, was_open, place) = if again.is_some() {
            (true, false, Place::Offered)
        } else {
            self.pass_over(Some(entry));
            match self.recall(&wire) {
                Known::Answered => return Ok(()),
                Known::Nothing { is_counted, is_open, place } => (is_counted, is_open, place),
            }
        };
        let is_begun = self.offer_anew(wire, payload, again, is_counted, place);
        // To begin it is to close what an earlier connection left open of it. `haul_canary` is a bug that is planted for
        // `.ci/canaries`, which must find it; no build has one otherwise.
        if was_open && is_begun != Ok(true) && cfg!(not(haul_canary = "stale-forgotten")) {
            self.requests.push(ReceiveAction::Suspend { entry });
        }
        is_begun.map(drop)
    }

    /// Checks that an offer is the next one, or the second one of an entry that was offered by time. Returns the name of that.
    fn offered_by_time(&self, wire: &WireOffer) -> Result<Option<RelPath>, ProtocolError> {
        let entry = wire.entry;
        let known = self.entries.get(entry).filter(|known| known.phase() == Phase::Awaited);
        let Some(known) = known else {
            let is_next = entry.get() >= self.entries.next_id();
            return if is_next { Ok(None) } else { Err(ProtocolError::EntryOutOfOrder { entry }) };
        };
        let meta = &known.offer.meta;
        let same_size = (meta.size, meta.modified) == (wire.size, wire.modified);
        let is_same = meta.kind == wire.kind && meta.path.as_bytes() == &*wire.name;
        if wire.by_time || !same_size || !is_same {
            return Err(known.misplaced(Name::Offer));
        }
        Ok(Some(meta.path.clone()))
    }

    /// Returns whether the parts of an offer go together, with `payload` bytes of content.
    fn is_well_formed(&self, wire: &WireOffer, payload: usize) -> bool {
        let is_file = wire.kind == Kind::File;
        let has_holes = |data: u64| is_file && wire.size.is_some_and(|size| data < size);
        if wire.block_size > self.config.limits.block || !wire.data.is_none_or(has_holes) {
            return false;
        }
        if wire.inline {
            // What travels inside its offer is complete, and no more than a block.
            let is_whole = wire.size == Some(payload as u64) && wire.root.is_some();
            let is_small = payload <= wire.block_size.len();
            return is_whole && is_small && !wire.by_time && is_file;
        }
        // By its root alone, a file is offered that would fit inside the offer.
        let is_small = wire.size.is_some_and(|size| (1..=wire.block_size.bytes()).contains(&size));
        let may_ask = self.connection.compares_times() && is_file && wire.root.is_none();
        let has_time = wire.size.is_some() && wire.modified.is_some();
        payload == 0
            && (!wire.by_time || (may_ask && has_time))
            && (wire.root.is_none() || (is_file && is_small))
            && (is_file || wire.size == Some(0))
    }

    /// Takes in an offer of which nothing is known that could be used; `false` if it is not begun in this step.
    ///
    /// `again`: the name, where it was offered by time before on this connection.
    fn offer_anew(
        &mut self,
        wire: WireOffer,
        payload: &[u8],
        again: Option<RelPath>,
        is_counted: bool,
        place: Place,
    ) -> Result<bool, ProtocolError> {
        let entry = wire.entry;
        let is_open = wire.kind == Kind::File && wire.root.is_none() && !wire.by_time;
        self.check_quotas(&wire, again.is_some(), is_open)?;
        let path = match again {
            Some(known) => known,
            None => match self.admit(&wire, is_counted) {
                Some(path) => path,
                None => return Ok(false),
            },
        };
        let meta = meta_of(&wire, path);
        let offer = Offer { entry, meta, block_size: wire.block_size, hash: wire.root };
        let mut incoming = Incoming::new(offer, is_open);
        incoming.is_inline = wire.inline && wire.root == Some(Hash::of(payload));
        incoming.tally.travel(payload.len() as u64);
        let is_damaged = wire.inline && !incoming.is_inline;
        if is_damaged {
            // The content came damaged: it travels again, as a block, and is begun with that.
            incoming.offer.hash = None;
            incoming.turn(Turned::PutOff);
            incoming.hold(0);
        }
        self.entries.insert(incoming);
        let is_put_off =
            is_damaged || (self.entries.are_deferred() && self.entries.defer(entry, place));
        let is_begun = !wire.by_time && !is_put_off;
        if wire.by_time {
            self.requests.add(Task::Stat { entry });
        } else if is_begun {
            self.requests.add(Task::Begin { entry, place });
        }
        Ok(is_begun)
    }

    /// Checks what the sender must keep to: how many entries are pending and open, and the bytes of their names.
    fn check_quotas(
        &self,
        wire: &WireOffer,
        is_again: bool,
        is_open: bool,
    ) -> Result<(), ProtocolError> {
        let (entry, limits) = (wire.entry, &self.config.limits);
        let pending = (self.entries.len() as u64).saturating_add(self.outbox.settled() as u64);
        let pending = pending.saturating_add(self.suspended.pending());
        if pending.saturating_sub(is_again.into()) >= limits.pending_entries.max(1).into() {
            return Err(ProtocolError::TooManyPending { entry, limit: limits.pending_entries });
        }
        let open = self.entries.open().saturating_add(self.suspended.entries().open());
        if is_open && open >= limits.open_entries.max(1) {
            return Err(ProtocolError::TooManyPending { entry, limit: limits.open_entries });
        }
        let name = wire.name.len() as u64;
        let others = self.entries.names().saturating_add(self.suspended.entries().names());
        let names = others.saturating_add(name);
        if !is_again && names > name && names > limits.pending_names.into() {
            return Err(ProtocolError::TooManyNames { limit: limits.pending_names });
        }
        Ok(())
    }

    /// Counts an offer, if it was not counted before, and admits it, or refuses it without the store.
    fn admit(&mut self, wire: &WireOffer, is_counted: bool) -> Option<RelPath> {
        let entry = wire.entry;
        let size = if is_counted { 0 } else { wire.size.unwrap_or(0) };
        if !is_counted {
            self.totals.count_entry();
        }
        match self.admissible(wire, size) {
            Ok(path) => {
                self.totals.offer(size);
                let (kind, size) = (wire.kind.clone(), wire.size);
                self.tell(Event::Offered { entry, path: path.clone(), kind, size });
                Some(path)
            }
            Err((path, reason)) => {
                let refused = self.refused(entry, path, reason);
                self.outbox.settle(entry, refused, None);
                None
            }
        }
    }

    /// Returns the name of an offer that may come, by its name, size and budget, before the store learns of it.
    fn admissible(
        &self,
        wire: &WireOffer,
        size: u64,
    ) -> Result<RelPath, (Option<RelPath>, Refusal)> {
        let limits = &self.config.limits;
        let path = RelPath::parse(&wire.name).map_err(|error| match error {
            NameError::TooLong { .. } | NameError::TooDeep { .. } => (None, Refusal::NameTooLong),
            NameError::Empty
            | NameError::Dots
            | NameError::Byte { .. }
            | NameError::Trailing
            | NameError::Device
            | NameError::Reserved => (None, Refusal::Name),
        })?;
        let is_too_long = path.as_bytes().len() as u64 > limits.name_bytes.into()
            || path.parts().count() as u64 > limits.depth.into();
        let admitted =
            if is_too_long { Err(Refusal::NameTooLong) } else { self.totals.admit(size, limits) };
        match admitted {
            Ok(()) => Ok(path),
            Err(refusal) => Err((Some(path), refusal)),
        }
    }
}
