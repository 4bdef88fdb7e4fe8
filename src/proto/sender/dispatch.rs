//! Meaning of each message to the sender, and the completion of entries.

use std::ops::Range;
use std::time::Duration;

use super::outgoing::{Outgoing, Phase, Trust};
use super::{SendAction, Sender, State};
use crate::hash::BlockHash;
use crate::proto::connection::{Consumed, Received};
use crate::proto::error::{Error, ProtocolError};
use crate::proto::wire::message::{Hello, Message, Name};
use crate::types::{
    Activity, EntryId, Event, Kind, Outcome, Receipt, Refusal, RelPath, Withdrawal,
};

impl Sender {
    pub(super) fn receive(&mut self, now: Duration, input: &[u8]) -> Result<Consumed, Error> {
        match self.connection.receive(now, input)? {
            Received::Incomplete { needed } => Ok(Consumed { bytes: 0, needed }),
            Received::Skip { len } => {
                self.connection.take(now, len, None);
                Ok(Consumed { bytes: len, needed: 0 })
            }
            Received::Broken { error, .. } => Err(error.into()),
            Received::Message { message, len, .. } => {
                self.connection.take(now, len, Some(message.name()));
                self.dispatch(now, message)?;
                Ok(Consumed { bytes: len, needed: 0 })
            }
        }
    }

    pub(super) fn dispatch(&mut self, now: Duration, message: Message) -> Result<(), Error> {
        let kind = message.name();
        if self.state == Ok(State::AwaitHello) {
            if let Message::Abort { code } = message {
                return Err(Error::Aborted(code));
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
                self.have(entry, first, hashes, more, compare)?;
            }
            Message::Refuse { entry, reason } => {
                self.entries.pending(entry, kind)?;
                self.refuse(entry, reason.into());
            }
            Message::Missing { entry, blocks } => self.missing(entry, blocks)?,
            Message::Kept { entry, blocks } => self.kept(now, entry, &blocks)?,
            Message::Receipt { entry, size, root, durability, outcome, name } => {
                let path = match &*name {
                    [] => self.entries.pending(entry, kind)?.meta.path.clone(),
                    name => {
                        self.entries.pending(entry, kind)?;
                        RelPath::parse(name).map_err(|_| ProtocolError::Malformed { kind })?
                    }
                };
                self.receipt(entry, Receipt { path, size, hash: root, durability, outcome })?;
            }
            Message::Unchanged { entry } => {
                self.entries.check_asked(entry, kind)?;
                self.trust(entry);
            }
            Message::Changed { entry } => {
                self.entries.check_asked(entry, kind)?;
                self.entries.requeue(entry);
            }
            Message::Over { .. } => {
                self.state = Ok(State::Speaking);
                let (written, answered) = self.connection.timer().answer();
                self.turn.begin(now, written, answered);
                self.connection.gain_floor(now);
            }
            Message::Abort { code } => return Err(Error::Aborted(code)),
            Message::Heartbeat { activity } => {
                if activity == Activity::Verifying
                    && let Some(is_new) = self.checks.take()
                {
                    self.totals.hash(is_new.into());
                    self.connection.timer().moved(now);
                }
                self.requests.tell(Event::Waiting { activity });
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

    /// Handles the receiver's report of what it holds of an entry, or its request for the root of
    /// it.
    fn have(
        &mut self,
        entry: EntryId,
        first: u64,
        hashes: Vec<BlockHash>,
        more: bool,
        compare: bool,
    ) -> Result<(), ProtocolError> {
        let kind = Name::Have;
        let outgoing = self.entries.pending(entry, kind)?;
        // Of a stream the receiver may hold more than there proved to be.
        if let Some(size) = outgoing.meta.size {
            let blocks = outgoing.block_size.blocks(size);
            let end = first.saturating_add(hashes.len() as u64);
            if end > blocks {
                return Err(ProtocolError::BlockBeyondEnd { entry, index: end, blocks });
            }
        }
        let fits = if compare {
            first == 0 && hashes.is_empty() && !more && outgoing.compare()
        } else {
            outgoing.have(first, hashes, more)
        };
        if !fits {
            return Err(ProtocolError::UnexpectedForEntry { kind, entry });
        }
        if outgoing.take_by_root() {
            self.roots.count_lacking();
        }
        // It is not open yet if its content came damaged inside its offer, and travels as a block now.
        self.entries.open(entry);
        self.entries.make_ready(entry);
        Ok(())
    }

    /// Handles that the receiver asks for blocks again.
    fn missing(&mut self, entry: EntryId, blocks: Vec<Range<u64>>) -> Result<(), Error> {
        let outgoing = self.entries.pending(entry, Name::Missing)?;
        let count = blocks.iter().map(|run| run.end.saturating_sub(run.start)).sum();
        if !outgoing.missing(blocks) {
            return Err(ProtocolError::UnexpectedForEntry { kind: Name::Missing, entry }.into());
        }
        outgoing.repair(entry, self.config.limits.repairs)?;
        self.requests.tell(Event::Repairing { entry, blocks: count });
        self.entries.make_ready_first(entry);
        Ok(())
    }

    /// Handles that the receiver keeps these blocks, whatever becomes of the connection.
    fn kept(
        &mut self,
        now: Duration,
        entry: EntryId,
        blocks: &[Range<u64>],
    ) -> Result<(), ProtocolError> {
        let kind = Name::Kept;
        let outgoing = self.entries.pending(entry, kind)?;
        let before = outgoing.arrived();
        let misplaced = ProtocolError::UnexpectedForEntry { kind, entry };
        let has_grown = outgoing.keep(blocks).ok_or(misplaced)?;
        let gained = outgoing.arrived().saturating_sub(before);
        let offset = outgoing.released();
        if outgoing.phase == Phase::Streaming {
            self.entries.make_ready(entry);
        }
        self.requests.push(SendAction::Release { entry, offset });
        self.arrive(gained);
        // A repeated report is no answer.
        if has_grown {
            self.is_answered(now);
        }
        Ok(())
    }

    /// Handles that the receiver vouches for an entry.
    fn receipt(&mut self, entry: EntryId, receipt: Receipt) -> Result<(), ProtocolError> {
        if !self.entries.pending(entry, Name::Receipt)?.vouches(&receipt) {
            return Err(ProtocolError::FalseReceipt { entry });
        }
        self.deliver(entry, receipt);
        Ok(())
    }

    /// Handles a message of the receiver that moves an entry. How often it can do so is bounded for
    /// each.
    fn is_answered(&mut self, now: Duration) {
        self.turn.answer();
        self.connection.timer().moved(now);
    }

    pub(super) fn meet(&mut self, hello: Hello) -> Result<(), Error> {
        let (block, turn) = (hello.block, hello.turn_bytes);
        let (transfer, attempt) = (self.connection.our_transfer(), hello.attempt);
        let version = self.connection.meet(hello)?;
        self.entries.limit_blocks(block);
        self.roots.prefer(self.connection.peer_advertises_hash_first());
        self.turn.limit(turn);
        self.turn.limit(self.connection.turn_limit());
        self.state = Ok(State::Listening);
        self.requests.tell(Event::Greeted { transfer, attempt, version });
        Ok(())
    }

    /// Delivers an entry that the receiver vouches for.
    pub(super) fn deliver(&mut self, entry: EntryId, receipt: Receipt) {
        let Some(outgoing) = self.settle(entry) else { return };
        let is_file = outgoing.meta.kind == Kind::File;
        self.totals.deliver(is_file, receipt.size, outgoing.sent(), receipt.outcome);
        if receipt.outcome == Outcome::Held {
            self.roots.count_held();
        }
        if outgoing.meta.size.is_none() {
            self.totals.offer(receipt.size);
        }
        self.arrive(receipt.size.saturating_sub(outgoing.arrived()));
        self.requests.tell(Event::Delivered { entry, receipt });
    }

    /// Completes an entry whose file at the receiver is taken for the one that was offered.
    fn trust(&mut self, entry: EntryId) {
        let Some(outgoing) = self.settle(entry) else { return };
        let size = outgoing.meta.size.unwrap_or(0);
        self.totals.trust(size);
        let path = outgoing.meta.path;
        self.requests.tell(Event::Trusted { entry, path, size });
    }

    pub(super) fn refuse(&mut self, entry: EntryId, reason: Refusal) {
        let Some(outgoing) = self.settle(entry) else { return };
        self.totals.refuse(reason);
        let path = Some(outgoing.meta.path);
        self.requests.tell(Event::Refused { entry, path, reason });
    }

    pub(super) fn withdraw(&mut self, entry: EntryId, reason: Withdrawal) {
        let Some(outgoing) = self.settle(entry) else { return };
        if outgoing.phase != Phase::Queued || outgoing.trust == Trust::Owed {
            self.outbox.push_back(Message::Withdraw { entry, reason: reason.into() });
        }
        self.totals.withdraw(reason);
        let path = outgoing.meta.path;
        self.requests.tell(Event::Withdrawn { entry, path, reason });
    }

    /// Completes an entry: removes it from every index.
    pub(super) fn settle(&mut self, entry: EntryId) -> Option<Box<Outgoing>> {
        let outgoing = self.entries.remove(entry)?;
        self.requests.push(SendAction::Forget { entry });
        Some(outgoing)
    }

    pub(super) fn arrive(&mut self, gained: u64) {
        if gained > 0 {
            self.requests.tell(self.totals.arrive(gained));
        }
    }
}
