//! What each message means to the receiver.

use std::ops::Range;
use std::time::Duration;

use super::super::wire::limits::ZEROS_MAX;
use super::super::wire::message::meta_of;
use super::incoming::{Incoming, Phase, unknown};
use super::requests::Task;
use super::resume::Known;
use super::{ReceiveAction, Receiver, State};
use crate::config::Existing;
use crate::hash::Root;
use crate::proto::error::{Failure, ProtocolError};
use crate::proto::wire::message::{Hello, Message, Name, WireOffer};
use crate::types::{EntryId, Event, Kind, NameError, Offer, Place, Refusal, RelPath, Withdrawal};

impl Receiver {
    /// Messages that steer the session.
    pub(super) fn control(&mut self, now: Duration, message: Message) -> Result<(), Failure> {
        let kind = message.name();
        let greeted = self.state != Ok(State::AwaitHello);
        if let Message::Abort { code } = message {
            return Err(Failure::Aborted(code));
        }
        if let (Message::Hello(hello), false) = (&message, greeted) {
            self.meet(now, hello.clone());
            return Ok(());
        }
        // Before the greeting there is no common ground on which to say more.
        let misplaced = Failure::from(ProtocolError::Unexpected { kind });
        if !greeted {
            return Err(misplaced);
        }
        if let Message::Over { waiting } = message {
            // A source that has nothing at the moment is waited for as long as its user likes, if content is to come of it.
            if self.turn.begin(now, waiting) && !self.busy.is_empty() {
                self.link.timer().moved(now);
            }
            self.link.gain_floor(now);
            // The greeting is no turn of the session, for neither side.
            if self.turn.has_greeted() {
                self.totals.turn();
            }
            self.state = Ok(State::Speaking);
        } else if message == Message::Out
            && self.turn.has_greeted()
            && self.entries.is_empty()
            && self.doom.is_none()
        {
            self.pass_over(None);
            self.state = Ok(State::Closed);
        } else {
            self.doom.get_or_insert((misplaced, now));
            if message == Message::Out {
                // Nothing follows: the sender is told at once.
                self.state = Ok(State::Speaking);
            }
        }
        Ok(())
    }

    fn meet(&mut self, now: Duration, hello: Hello) {
        let (transfer, attempt) = (hello.transfer, hello.attempt);
        self.state = Ok(State::Listening);
        match self.link.meet(hello) {
            Ok(version) => self.tell(Event::Greeted { transfer, attempt, version }),
            // The sender learns of it with the floor: greeting, `Over` and `Abort` are the same in all versions.
            Err(failure) => self.doom = Some((failure, now)),
        }
    }

    /// Messages about entries: draws up what is to be done.
    pub(super) fn dispatch(
        &mut self,
        message: Message,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let kind = message.name();
        if let Some(entry) = message.entry().filter(|_| kind.is_of_sender())
            && self.outbox.is_refused(entry)
            && kind != Name::Offer
        {
            // The sender goes on until it hears the bad news; what it takes back itself needs none.
            if kind == Name::Withdraw {
                self.outbox.cancel(entry);
            }
            return Ok(());
        }
        match message {
            Message::Offer(offer) => self.offer(offer, payload),
            Message::Block { entry, index, hash } => {
                let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
                match incoming.phase {
                    Phase::Dropped => return Ok(()),
                    Phase::Filling => {}
                    Phase::Replacing => {
                        self.requests.add(Task::Begin { entry, place: Place::Replacing });
                    }
                    // It is begun below, if the block is right.
                    Phase::Wanted => {}
                    Phase::Opening
                    | Phase::Stale
                    | Phase::Awaited
                    | Phase::Comparing
                    | Phase::Waiting
                    | Phase::Committing { .. } => {
                        return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                    }
                }
                let len = payload.len() as u64;
                incoming.check_block(index, len)?;
                incoming.came(&(index..index.saturating_add(1)));
                let size = incoming.offer.block_size;
                let offset = size.offset(index).unwrap_or(u64::MAX);
                self.totals.travel(payload.len(), false);
                let block = size.hash(index, payload).filter(|block| block.hash == hash);
                let Some(block) = block else {
                    incoming.damaged = true;
                    return Ok(());
                };
                incoming.right_block(index, len);
                let wanted = (incoming.phase == Phase::Wanted).then_some(incoming.place);
                if let Some(place) = wanted {
                    self.begin_wanted(entry, place);
                }
                let blocks = index..index.saturating_add(1);
                if let Some(reason) = self.over_budget(entry, &blocks, offset, len) {
                    self.drop_entry(entry, reason);
                    return Ok(());
                }
                self.requests.add(Task::Write { entry, offset, block: Some(block) });
                Ok(())
            }
            Message::Same { entry, blocks } => self.same(entry, &blocks),
            Message::Zeros { entry, blocks } => {
                let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
                let bytes = incoming.offer.block_size.bytes();
                incoming.check_range(&blocks)?;
                if blocks.end.saturating_sub(blocks.start).saturating_mul(bytes) > ZEROS_MAX {
                    return Err(ProtocolError::Malformed { kind });
                }
                match incoming.phase {
                    Phase::Dropped => return Ok(()),
                    Phase::Filling => {}
                    Phase::Replacing => {
                        self.requests.add(Task::Begin { entry, place: Place::Replacing });
                    }
                    // It is begun below, once they are known to be right.
                    Phase::Wanted => {}
                    Phase::Opening
                    | Phase::Stale
                    | Phase::Awaited
                    | Phase::Comparing
                    | Phase::Waiting
                    | Phase::Committing { .. } => {
                        return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                    }
                }
                if let Some(index) = blocks.clone().find(|index| incoming.knows(*index)) {
                    return Err(ProtocolError::BlockAgain { entry, index });
                }
                incoming.came(&blocks);
                let wanted = (incoming.phase == Phase::Wanted).then_some(incoming.place);
                if let Some(place) = wanted {
                    self.begin_wanted(entry, place);
                }
                let offset = bytes.saturating_mul(blocks.start);
                let len = bytes.saturating_mul(blocks.end.saturating_sub(blocks.start));
                if let Some(reason) = self.over_budget(entry, &blocks, offset, len) {
                    self.drop_entry(entry, reason);
                    return Ok(());
                }
                self.requests.add(Task::Zeros { entry, blocks });
                Ok(())
            }
            Message::Claim { entry, root } => {
                let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
                match incoming.phase {
                    Phase::Dropped => {}
                    Phase::Comparing if incoming.asks && incoming.claim.is_none() => {
                        self.requests.add(Task::Claim { entry, root });
                    }
                    Phase::Opening
                    | Phase::Stale
                    | Phase::Awaited
                    | Phase::Comparing
                    | Phase::Replacing
                    | Phase::Filling
                    | Phase::Wanted
                    | Phase::Waiting
                    | Phase::Committing { .. } => {
                        return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                    }
                }
                Ok(())
            }
            Message::End { entry, size, root } => {
                let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
                match incoming.phase {
                    Phase::Dropped => return Ok(()),
                    Phase::Filling | Phase::Replacing => {}
                    // It has no block with which it could be begun.
                    Phase::Wanted if size == 0 => {
                        self.requests.add(Task::Begin { entry, place: incoming.place });
                    }
                    // What came of it was damaged, or came among that of others: it is asked for again.
                    Phase::Wanted
                        if incoming.damaged || incoming.repairs > 0 || incoming.lacks() => {}
                    Phase::Opening
                    | Phase::Stale
                    | Phase::Awaited
                    | Phase::Comparing
                    | Phase::Wanted
                    | Phase::Waiting
                    | Phase::Committing { .. } => {
                        return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                    }
                }
                incoming.finish(size, root)?;
                let is_cut = incoming.hold.as_ref().is_some_and(|hold| hold.len != size);
                let is_replacing = incoming.phase == Phase::Replacing;
                let is_whole = incoming.is_whole().is_some();
                if is_replacing && incoming.lacks() && !is_whole {
                    // What differs is asked for again once there is a descriptor.
                } else if is_replacing && (is_cut || incoming.lacks()) {
                    // The held file goes on where the offered one ends.
                    self.requests.add(Task::Begin { entry, place: Place::Replacing });
                } else if is_replacing && !is_whole {
                    // Neither called the same nor different: nothing could follow.
                    return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                }
                self.requests.add(Task::Settle { entry });
                Ok(())
            }
            Message::Withdraw { entry, reason } => {
                let incoming = self.entries.get(&entry).ok_or(unknown(entry, kind))?;
                if matches!(incoming.phase, Phase::Committing { .. } | Phase::Waiting) {
                    return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                }
                self.withdrawn(entry, reason.into());
                Ok(())
            }
            Message::Heartbeat { activity } => {
                self.turn.hear_heartbeat();
                self.tell(Event::Waiting { activity });
                Ok(())
            }
            Message::Hello(_)
            | Message::Have { .. }
            | Message::Refuse { .. }
            | Message::Missing { .. }
            | Message::Kept { .. }
            | Message::Receipt { .. }
            | Message::Over { .. }
            | Message::Out
            | Message::Abort { .. }
            | Message::Unchanged { .. }
            | Message::Changed { .. } => Err(ProtocolError::Unexpected { kind }),
        }
    }

    fn offer(&mut self, wire: WireOffer, payload: &[u8]) -> Result<(), ProtocolError> {
        let entry = wire.entry;
        let kind = Name::Offer;
        let limits = &self.config.limits;
        let again = self.entries.get(&entry).filter(|known| known.phase == Phase::Awaited);
        let again = again.map(|known| known.offer.meta.clone());
        if let Some(known) = &again {
            let same_size = (known.size, known.modified) == (wire.size, wire.modified);
            let is_same = known.kind == wire.kind && known.path.as_bytes() == &*wire.name;
            if wire.by_time || !same_size || !is_same {
                return Err(ProtocolError::UnexpectedForEntry { kind, entry });
            }
        } else if entry.get() < self.next_id {
            return Err(ProtocolError::EntryOutOfOrder { entry });
        }
        let out_of_order = ProtocolError::EntryOutOfOrder { entry };
        let next_id = entry.get().checked_add(1).ok_or(out_of_order)?.max(self.next_id);
        // What travels inside its offer is complete, and no more than a block.
        let whole = wire.size == Some(payload.len() as u64) && wire.root.is_some();
        let is_file = wire.kind == Kind::File;
        let is_well_formed = if wire.inline {
            let is_small = payload.len() <= wire.block_size.len();
            whole && is_small && !wire.by_time && is_file && wire.block_size <= limits.block
        } else {
            // By its root alone, a file is offered that would fit inside the offer.
            let is_small =
                wire.size.is_some_and(|size| (1..=wire.block_size.bytes()).contains(&size));
            let may_ask = self.link.compares_times() && is_file && wire.root.is_none();
            let has_time = wire.size.is_some() && wire.modified.is_some();
            payload.is_empty()
                && (!wire.by_time || (may_ask && has_time))
                && (wire.root.is_none() || (is_file && is_small))
                && (is_file || wire.size == Some(0))
                && wire.block_size <= limits.block
        };
        let has_holes = |data: u64| is_file && wire.size.is_some_and(|size| data < size);
        if !is_well_formed || !wire.data.is_none_or(has_holes) {
            return Err(ProtocolError::Malformed { kind });
        }
        self.next_id = next_id;
        self.totals.travel(payload.len(), false);
        let again = again.map(|known| known.path);
        let (is_counted, was_open, place) = if again.is_some() {
            (true, false, Place::Offered)
        } else {
            self.pass_over(Some(entry));
            match self.recall(&wire)? {
                Known::Answered => return Ok(()),
                Known::Nothing { is_counted, is_open, place } => (is_counted, is_open, place),
            }
        };
        let is_begun = self.offer_anew(wire, payload, again, is_counted, place);
        // To begin it is to close what a former connection left open of it. `haul_canary` is a bug that is planted for
        // `.ci/canaries`, which must find it; no build has one otherwise.
        if was_open && is_begun != Ok(true) && cfg!(not(haul_canary = "stale-forgotten")) {
            self.requests.push(ReceiveAction::Suspend { entry });
        }
        is_begun.map(drop)
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
        let is_file = wire.kind == Kind::File;
        let limits = &self.config.limits;
        let known = u64::from(again.is_some());
        let pending = (self.entries.len() as u64).saturating_add(self.outbox.settled() as u64);
        let pending = pending.saturating_add(self.former.pending()).saturating_sub(known);
        if pending >= limits.pending_entries.max(1).into() {
            return Err(ProtocolError::TooManyPending { entry, limit: limits.pending_entries });
        }
        let is_open = is_file && wire.root.is_none() && !wire.by_time;
        let open = self.open.saturating_add(self.former.open());
        if is_open && open >= limits.open_entries.max(1) {
            return Err(ProtocolError::TooManyPending { entry, limit: limits.open_entries });
        }
        let path = if let Some(known) = again {
            // It stands in the books already.
            known
        } else {
            let names = self.names.saturating_add(wire.name.len() as u64);
            let all_names = names.saturating_add(self.former.names());
            if all_names > wire.name.len() as u64 && all_names > limits.pending_names.into() {
                return Err(ProtocolError::TooManyNames { limit: limits.pending_names });
            }
            let size = if is_counted { 0 } else { wire.size.unwrap_or(0) };
            if !is_counted {
                self.totals.count_entry();
            }
            let path = match self.judge(&wire, size) {
                Ok(path) => path,
                Err((path, reason)) => {
                    let refused = self.refused(entry, path, reason);
                    self.outbox.settle(entry, refused, None);
                    return Ok(false);
                }
            };
            self.totals.offer(size);
            self.names = names;
            let kind = wire.kind.clone();
            self.tell(Event::Offered { entry, path: path.clone(), kind, size: wire.size });
            path
        };
        if is_open {
            self.open = self.open.saturating_add(1);
        }
        let meta = meta_of(&wire, path);
        let offer = Offer { entry, meta, block_size: wire.block_size, root: wire.root };
        let mut incoming = Incoming::new(offer, is_open);
        incoming.is_inline = wire.inline && wire.root == Some(Root::of(payload));
        let is_damaged = wire.inline && !incoming.is_inline;
        if is_damaged {
            // The content came damaged: it travels again, as a block, and is begun with that.
            incoming.offer.root = None;
            incoming.phase = Phase::Wanted;
            incoming.hold(0);
        }
        if is_file {
            self.busy.insert(entry);
        }
        self.entries.insert(entry, incoming);
        let is_put_off = is_damaged || (self.scarce.defers() && self.defer(entry, place));
        let is_begun = !wire.by_time && !is_put_off;
        if wire.by_time {
            self.requests.add(Task::Look { entry });
        } else if is_begun {
            self.requests.add(Task::Begin { entry, place });
        }
        Ok(is_begun)
    }

    /// Judges an offer by name, size and budget, before the store hears of it.
    fn judge(&self, wire: &WireOffer, size: u64) -> Result<RelPath, (Option<RelPath>, Refusal)> {
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

    /// Whether content leads beyond the limits, wherever it comes from; only where the size was not offered is that not
    /// known before.
    fn over_budget(
        &mut self,
        entry: EntryId,
        blocks: &Range<u64>,
        offset: u64,
        len: u64,
    ) -> Option<Refusal> {
        let limits = &self.config.limits;
        let incoming = self.entries.get_mut(&entry)?;
        if incoming.makes_holes(blocks, limits.holes) {
            return Some(Refusal::Policy);
        }
        if incoming.offer.meta.size.is_some() {
            return None;
        }
        let size = offset.saturating_add(len);
        if size > limits.file_bytes {
            return Some(Refusal::TooLarge { size, limit: limits.file_bytes });
        }
        // Longer than the file that has the name: a different one, without a look at its content.
        match self.config.existing {
            _ if incoming.occupied.is_none_or(|occupied| size <= occupied) => {}
            Existing::Refuse => return Some(Refusal::Exists),
            Existing::Skip => return Some(Refusal::Skipped),
            Existing::Rename | Existing::Replace => {}
        }
        let more = size.saturating_sub(incoming.counted);
        incoming.counted = incoming.counted.saturating_add(more);
        self.totals.offer_more(more, limits).err()
    }

    fn same(&mut self, entry: EntryId, blocks: &Range<u64>) -> Result<(), ProtocolError> {
        let kind = Name::Same;
        let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
        match incoming.phase {
            Phase::Dropped => return Ok(()),
            Phase::Filling | Phase::Replacing => {}
            Phase::Opening
            | Phase::Stale
            | Phase::Awaited
            | Phase::Comparing
            | Phase::Wanted
            | Phase::Waiting
            | Phase::Committing { .. } => {
                return Err(ProtocolError::UnexpectedForEntry { kind, entry });
            }
        }
        if incoming.end.is_some() {
            return Err(ProtocolError::UnexpectedForEntry { kind, entry });
        }
        incoming.check_range(blocks)?;
        let mut same = Vec::new();
        for index in blocks.clone() {
            // The range ends with the piece that was reported, at the latest.
            let block = incoming.held(index).ok_or(ProtocolError::NotHeld { entry, index })?;
            if incoming.knows(index) {
                return Err(ProtocolError::BlockAgain { entry, index });
            }
            same.push(block);
        }
        incoming.reach(blocks.end);
        incoming.end_with_held(blocks)?;
        // Before anything differs, nothing is copied: the file may prove to be the same altogether.
        let is_copied = incoming.phase == Phase::Filling && incoming.is_to_be_copied();
        let Some((offset, len)) = self.span(entry, blocks) else { return Ok(()) };
        if let Some(reason) = self.over_budget(entry, blocks, offset, len) {
            self.drop_entry(entry, reason);
            return Ok(());
        }
        if let Some(incoming) = self.entries.get_mut(&entry) {
            if is_copied {
                incoming.copying.insert(blocks);
                incoming.gained = true;
            } else {
                same.iter().for_each(|block| incoming.gain(block));
            }
        }
        self.arrive(entry, len);
        Ok(())
    }

    fn withdrawn(&mut self, entry: EntryId, reason: Withdrawal) {
        let Some(incoming) = self.entries.get(&entry) else { return };
        let path = incoming.offer.meta.path.clone();
        let is_dropped = matches!(incoming.phase, Phase::Dropped);
        if is_dropped || matches!(incoming.phase, Phase::Stale) {
            // The news came too late for the sender.
            self.outbox.cancel(entry);
        } else {
            let is_of_use = reason.keeps_content() || incoming.phase != Phase::Filling;
            self.requests.push(if is_of_use {
                ReceiveAction::Suspend { entry }
            } else {
                ReceiveAction::Discard { entry }
            });
        }
        // Of a dropped one the application was told here, and it is counted.
        if !is_dropped {
            self.totals.withdraw(reason);
            self.tell(Event::Withdrawn { entry, path, reason });
        }
        self.forget(entry);
    }
}
