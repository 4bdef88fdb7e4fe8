//! What each message means to the sender, and how entries leave its books.

use std::collections::BTreeMap;
use std::time::Duration;

use super::outgoing::{Outgoing, Phase, Trust};
use super::{Note, Sender, State};
use crate::proto::connection::{Consumed, Heard};
use crate::proto::error::{Failure, ProtocolError};
use crate::proto::wire::message::{Hello, Message, Name};
use crate::types::{
    Activity, EntryId, Event, Kind, Outcome, Receipt, Refusal, RelPath, Withdrawal,
};

impl Sender {
    pub(super) fn hear(&mut self, now: Duration, input: &[u8]) -> Result<Consumed, Failure> {
        match self.link.hear(now, input)? {
            Heard::Incomplete { needed } => Ok(Consumed { bytes: 0, needed }),
            Heard::Skip { len } => {
                self.link.take(now, len, None);
                Ok(Consumed { bytes: len, needed: 0 })
            }
            Heard::Broken { error, .. } => Err(error.into()),
            Heard::Message { message, len, .. } => {
                self.link.take(now, len, Some(message.name()));
                self.dispatch(now, message)?;
                Ok(Consumed { bytes: len, needed: 0 })
            }
        }
    }

    pub(super) fn dispatch(&mut self, now: Duration, message: Message) -> Result<(), Failure> {
        let kind = message.name();
        if self.state == Ok(State::AwaitHello) {
            if let Message::Abort { code } = message {
                return Err(Failure::Aborted(code));
            }
            let Message::Hello(hello) = message else {
                return Err(ProtocolError::Unexpected { kind }.into());
            };
            return self.meet(hello);
        }
        if !matches!(
            message,
            Message::Over { .. } | Message::Heartbeat { .. } | Message::Kept { .. }
        ) {
            self.is_answered(now);
        }
        match message {
            Message::Have { entry, first, hashes, more, compare } => {
                let outgoing = pending(&mut self.entries, entry, kind)?;
                // Of a stream the receiver may hold more than there proved to be.
                if let Some(size) = outgoing.meta.size {
                    let blocks = outgoing.block_size.blocks(size);
                    let end = first.saturating_add(hashes.len() as u64);
                    if end > blocks {
                        return Err(
                            ProtocolError::BlockBeyondEnd { entry, index: end, blocks }.into()
                        );
                    }
                }
                let fits = if compare {
                    first == 0 && hashes.is_empty() && !more && outgoing.compare()
                } else {
                    outgoing.have(first, hashes, more)
                };
                if !fits {
                    return Err(ProtocolError::UnexpectedForEntry { kind, entry }.into());
                }
                if std::mem::take(&mut outgoing.by_root) {
                    self.roots.lacking = self.roots.lacking.saturating_add(1);
                }
                if !outgoing.is_open {
                    // Its content came damaged inside its offer, and travels as a block now.
                    outgoing.is_open = true;
                    self.open = self.open.saturating_add(1);
                }
                if !self.ready.contains(&entry) {
                    self.ready.push_back(entry);
                }
            }
            Message::Refuse { entry, reason } => {
                pending(&mut self.entries, entry, kind)?;
                self.refuse(entry, reason.into());
            }
            Message::Missing { entry, blocks } => {
                let outgoing = pending(&mut self.entries, entry, kind)?;
                let count = blocks.iter().map(|run| run.end.saturating_sub(run.start)).sum();
                if !outgoing.missing(blocks) {
                    return Err(ProtocolError::UnexpectedForEntry { kind, entry }.into());
                }
                outgoing.repair(entry, self.config.limits.repairs)?;
                self.notes.push_back(Note::Event(Event::Repairing { entry, blocks: count }));
                if !self.ready.contains(&entry) {
                    self.ready.push_front(entry);
                }
            }
            Message::Kept { entry, blocks } => {
                let outgoing = pending(&mut self.entries, entry, kind)?;
                let before = outgoing.arrived;
                let Some(has_grown) = outgoing.keep(&blocks) else {
                    return Err(ProtocolError::UnexpectedForEntry { kind, entry }.into());
                };
                let gained = outgoing.arrived.saturating_sub(before);
                let offset = outgoing.released();
                let streams = outgoing.phase == Phase::Streaming;
                if streams && !self.ready.contains(&entry) {
                    self.ready.push_back(entry);
                }
                self.notes.push_back(Note::Release { entry, offset });
                self.arrive(gained);
                // To say the same again is no answer.
                if has_grown {
                    self.is_answered(now);
                }
            }
            Message::Receipt { entry, size, root, durability, outcome, name } => {
                let outgoing = pending(&mut self.entries, entry, kind)?;
                let path = if name.is_empty() {
                    outgoing.meta.path.clone()
                } else {
                    let malformed = ProtocolError::Malformed { kind };
                    RelPath::parse(&name).map_err(|_| malformed)?
                };
                let receipt = Receipt { path, size, root, durability, outcome };
                if !outgoing.vouches(&receipt) {
                    return Err(ProtocolError::FalseReceipt { entry }.into());
                }
                self.deliver(entry, receipt);
            }
            Message::Unchanged { entry } => {
                asked(&mut self.entries, entry, kind)?;
                self.trust(entry);
            }
            Message::Changed { entry } => {
                let outgoing = asked(&mut self.entries, entry, kind)?;
                (outgoing.trust, outgoing.phase) = (Trust::Owed, Phase::Queued);
                let name = outgoing.meta.path.as_bytes().len() as u64;
                self.names = self.names.saturating_sub(name);
                // Before those that were never offered: of these there are none until all that is owed is.
                let place = self.queued.partition_point(|queued| *queued < entry);
                self.queued.insert(place, entry);
            }
            Message::Over { .. } => {
                if self.waiting && !self.answered {
                    // Each side would wait for the other for ever. The floor is here to say so with.
                    self.unanswered = true;
                }
                self.state = Ok(State::Speaking);
                let (written, answered) = self.link.timer().answer();
                self.budget.begin(now, written, answered);
                self.link.gain_floor(now);
                self.worked = false;
            }
            Message::Abort { code } => return Err(Failure::Aborted(code)),
            Message::Heartbeat { activity } => {
                if activity == Activity::Verifying && self.checks > 0 {
                    self.checks = self.checks.saturating_sub(1);
                    if let Some(left) = self.uncounted.checked_sub(1) {
                        self.uncounted = left;
                        self.totals.hash(1);
                    }
                    self.link.timer().moved(now);
                }
                self.notes.push_back(Note::Event(Event::Waiting { activity }));
            }
            Message::Hello(_)
            | Message::Offer(_)
            | Message::Block { .. }
            | Message::Same { .. }
            | Message::Zeros { .. }
            | Message::Claim { .. }
            | Message::End { .. }
            | Message::Withdraw { .. }
            | Message::Out => return Err(ProtocolError::Unexpected { kind }.into()),
        }
        Ok(())
    }

    /// The receiver said something that moves an entry. How often it can do so is bounded for each.
    fn is_answered(&mut self, now: Duration) {
        self.answered = true;
        self.link.timer().moved(now);
    }

    pub(super) fn meet(&mut self, hello: Hello) -> Result<(), Failure> {
        let (block, turn) = (hello.block, hello.turn_bytes);
        let (transfer, attempt) = self.link.ours();
        let version = self.link.meet(hello)?;
        self.block_size = self.block_size.min(block);
        for outgoing in self.entries.values_mut() {
            // A peer that takes smaller blocks than the one before it.
            if outgoing.block_size > self.block_size {
                **outgoing = outgoing.restart(self.block_size);
            }
        }
        self.roots.preferred = self.link.peer_prefers_roots();
        self.budget.limit(turn);
        self.budget.limit(self.link.turn_limit());
        self.state = Ok(State::Listening);
        self.notes.push_back(Note::Event(Event::Greeted { transfer, attempt, version }));
        Ok(())
    }

    /// The receiver vouches for an entry.
    pub(super) fn deliver(&mut self, entry: EntryId, receipt: Receipt) {
        let Some(outgoing) = self.settle(entry) else { return };
        let is_file = outgoing.meta.kind == Kind::File;
        self.totals.deliver(is_file, receipt.size, receipt.outcome);
        if receipt.outcome == Outcome::Held {
            self.roots.held = self.roots.held.saturating_add(1);
        }
        if outgoing.meta.size.is_none() {
            self.totals.offer(receipt.size);
        }
        self.arrive(receipt.size.saturating_sub(outgoing.arrived));
        self.notes.push_back(Note::Event(Event::Delivered { entry, receipt }));
    }

    /// The receiver's file is taken for the one that was offered.
    fn trust(&mut self, entry: EntryId) {
        let Some(outgoing) = self.settle(entry) else { return };
        let size = outgoing.meta.size.unwrap_or(0);
        self.totals.trust(size);
        let path = outgoing.meta.path;
        self.notes.push_back(Note::Event(Event::Trusted { entry, path, size }));
    }

    pub(super) fn refuse(&mut self, entry: EntryId, reason: Refusal) {
        let Some(outgoing) = self.settle(entry) else { return };
        self.totals.refuse(reason);
        let path = Some(outgoing.meta.path);
        self.notes.push_back(Note::Event(Event::Refused { entry, path, reason }));
    }

    pub(super) fn withdraw(&mut self, entry: EntryId, reason: Withdrawal) {
        let Some(outgoing) = self.settle(entry) else { return };
        if outgoing.phase != Phase::Queued || outgoing.trust == Trust::Owed {
            self.say.push_back(Message::Withdraw { entry, reason: reason.into() });
        }
        self.totals.withdraw(reason);
        let path = outgoing.meta.path;
        self.notes.push_back(Note::Event(Event::Withdrawn { entry, path, reason }));
    }

    /// Takes an entry out of all books.
    pub(super) fn settle(&mut self, entry: EntryId) -> Option<Box<Outgoing>> {
        let outgoing = self.entries.remove(&entry)?;
        self.queued.retain(|queued| *queued != entry);
        self.ready.retain(|ready| *ready != entry);
        if outgoing.phase != Phase::Queued {
            let name = outgoing.meta.path.as_bytes().len() as u64;
            self.names = self.names.saturating_sub(name);
        }
        if outgoing.is_open {
            self.open = self.open.saturating_sub(1);
        }
        self.notes.push_back(Note::Forget { entry });
        Some(outgoing)
    }

    pub(super) fn arrive(&mut self, gained: u64) {
        if gained > 0 {
            self.notes.push_back(Note::Event(self.totals.arrive(gained)));
        }
    }
}

fn pending(
    entries: &mut BTreeMap<EntryId, Box<Outgoing>>,
    entry: EntryId,
    kind: Name,
) -> Result<&mut Outgoing, ProtocolError> {
    entries
        .get_mut(&entry)
        .map(Box::as_mut)
        .filter(|outgoing| outgoing.phase != Phase::Queued)
        .ok_or(ProtocolError::UnknownEntry { kind, entry })
}

fn asked(
    entries: &mut BTreeMap<EntryId, Box<Outgoing>>,
    entry: EntryId,
    kind: Name,
) -> Result<&mut Outgoing, ProtocolError> {
    pending(entries, entry, kind)?;
    let outgoing = entries.get_mut(&entry).map(Box::as_mut);
    let asked = outgoing.filter(|outgoing| outgoing.trust == Trust::Asked);
    asked.ok_or(ProtocolError::UnexpectedForEntry { kind, entry })
}
