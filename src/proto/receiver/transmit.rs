//! Messages of the receiver while it has the floor: held blocks, missing blocks, receipts.

use std::time::Duration;

use super::held::{Hold, Piece};
use super::incoming::Incoming;
use super::phase::{Phase, Turned};
use super::requests::{Content, Reading, Task};
use super::turn::Sent;
use super::{ReceiveAction, Receiver, State};
use crate::proto::error::{Damage, Error, ProtocolError};
use crate::proto::wire::limits::RANGES_MAX;
use crate::proto::wire::message::Message;
use crate::types::{AbortCode, Activity, Event};

impl Receiver {
    pub(super) fn speak(
        &mut self,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Result<ReceiveAction, Error> {
        if self.turn.greet() {
            self.connection.greet(now, out)?;
        }
        if let Some((failure, _)) = self.closing {
            if let Some(code) = failure.abort_code() {
                self.connection.send(now, &Message::Abort { code }, out)?;
            }
            return Err(failure);
        }
        if now >= self.connection.heartbeat_due() {
            let reading = matches!(self.requests.asked(), Some(Task::Read(_)));
            let reads = reading || self.entries.conflicts().len() > 0;
            let busy = self.commits() > 0 && !reads;
            let activity = match busy {
                _ if self.turn.keeps_floor() => Activity::Queued,
                true => Activity::Syncing,
                false => Activity::Verifying,
            };
            self.connection.send(now, &Message::Heartbeat { activity }, out)?;
        }
        if self.turn.keeps_floor() {
            return Ok(ReceiveAction::AwaitCommit { until: self.connection.heartbeat_due() });
        }
        if self.commits.is_awaited() {
            return Ok(ReceiveAction::AwaitCommit { until: self.connection.heartbeat_due() });
        }
        if self.requests.asked().is_none()
            && let Some((entry, place)) = self.entries.next_postponed()
        {
            self.requests.ask(Task::Begin { entry, place });
        }
        if let Some(Task::Begin { .. }) = self.requests.asked()
            && let Some(action) = self.asked()
        {
            return Ok(action);
        }
        let is_late = now.saturating_sub(self.turn.began()) >= self.config.turn.max_time;
        loop {
            self.send_queued(now, out)?;
            if !self.connection.may_send() {
                // The rest is sent in the next turn.
                return self.pass(now, out);
            }
            if let Some(action) = self.report_held(is_late) {
                return Ok(action);
            }
            if self.outbox.is_empty() {
                break;
            }
        }
        self.ask_again(now, out)?;
        // A sender that cannot go on gets all receipts at once, rather than a round trip for each.
        let is_due = self.turn.owes_more(is_late);
        // Each holds two files open: there must not be ever more of them.
        let is_full =
            self.entries.conflicts().len() as u64 >= self.config.limits.commits.max(1).into();
        if (is_due || is_full)
            && let Some(action) = self.read_conflict()
        {
            return Ok(action);
        }
        if is_due && self.commits.count_of_entries() > self.suspended.commits() as usize {
            return Ok(ReceiveAction::AwaitCommit { until: self.connection.heartbeat_due() });
        }
        if self.turn.owes_answer()
            && let Some(action) = self.copy_late()
        {
            return Ok(action);
        }
        if self.turn.owes_answer() && self.give_up_postponed() {
            return self.speak(now, out);
        }
        if self.turn.owes_answer() {
            // Each side would wait for the other for ever (T-5).
            let failure = Error::from(ProtocolError::WaitsForNothing);
            self.connection.send(now, &Message::Abort { code: AbortCode::Protocol }, out)?;
            return Err(failure);
        }
        self.pass(now, out)
    }

    pub(super) fn send_queued(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<(), Error> {
        while self.connection.may_send()
            && let Some(message) = self.outbox.pop()
        {
            self.connection.send(now, &message, out)?;
            if matches!(message, Message::Have { .. } | Message::Kept { .. }) {
                self.turn.note(Sent::Advance);
            } else if let Message::Changed { entry } = message {
                self.turn.note(Sent::Advance);
                if let Some(incoming) = self.entries.get_mut(entry) {
                    incoming.turn(Turned::Told);
                }
            } else if let Some(entry) = message.entry() {
                self.turn.note(Sent::Verdict);
                let identity = self.entries.get(entry).map(Incoming::identity);
                self.forget(entry);
                self.outbox.note_sent(entry, message, identity);
            }
        }
        Ok(())
    }

    /// Hashes and reports what the store holds of entries.
    pub(super) fn report_held(&mut self, is_late: bool) -> Option<ReceiveAction> {
        if self.requests.asked().is_some() {
            return self.asked();
        }
        // A piece is one message, and must not make a short turn long.
        let most = usize::try_from(self.connection.turn_limit() / HASH).unwrap_or(usize::MAX);
        let mut read = None;
        for (entry, incoming) in self.entries.reportable() {
            // A sender that can go on gets the floor back in time. One that cannot, before the end, waits for what is sent below.
            let may_copy = !is_late || self.turn.is_waited_for() && incoming.blocks.end().is_some();
            if let Some((offset, len)) = incoming.blocks.next_copy().filter(|_| may_copy) {
                read = Some((entry, offset, len, Content::Replaced));
                break;
            }
            match incoming.phase() {
                Phase::Comparing => {
                    if incoming.existing.ask() {
                        let (first, hashes) = (0, Vec::new());
                        let (more, compare) = (false, true);
                        self.outbox.push(Message::Have { entry, first, hashes, more, compare });
                    }
                    continue;
                }
                Phase::Replacing | Phase::Filling | Phase::Wanted => {}
                Phase::Opening
                | Phase::Stale
                | Phase::Awaited
                | Phase::Waiting
                | Phase::Committing { .. }
                | Phase::Dropped => continue,
            }
            if let Some((offset, len)) = incoming.hold_wants(most)
                && !(is_late && incoming.hold.as_ref().is_some_and(Hold::has_some))
            {
                let mut what = Content::Held;
                if incoming.takes_over(offset) {
                    incoming.blocks.extend_left(offset.saturating_add(len as u64));
                    what = Content::Replaced;
                }
                read = Some((entry, offset, len, what));
                break;
            }
            if let Some(Piece { first, hashes, more }) = incoming.report() {
                let blocks = incoming.blocks.known();
                if incoming.repair.take_resumed() && !blocks.is_empty() {
                    self.outbox.push(Message::Kept { entry, blocks });
                }
                let compare = false;
                self.outbox.push(Message::Have { entry, first, hashes, more, compare });
            }
        }
        let (entry, offset, len, what) = read?;
        self.ask(Task::Read(Reading { entry, offset, len, what }))
    }

    /// Returns a block to copy, whatever the time: there is nothing else to send to a sender that waits.
    pub(super) fn copy_late(&mut self) -> Option<ReceiveAction> {
        let next = self.entries.iter().find_map(|(entry, incoming)| {
            let (offset, len) = incoming.blocks.next_copy()?;
            Some((entry, offset, len))
        });
        let (entry, offset, len) = next?;
        self.ask(Task::Read(Reading { entry, offset, len, what: Content::Replaced }))
    }

    /// Asks for damaged blocks again, and reports what is kept.
    pub(super) fn ask_again(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<(), Error> {
        let limit = self.config.limits.repairs;
        let others = self.entries.others_open(None);
        for (entry, incoming) in self.entries.iter_mut() {
            match incoming.phase() {
                // While a file is compared that will be replaced, what is equal is as good as written.
                Phase::Filling | Phase::Replacing | Phase::Wanted => {}
                Phase::Opening
                | Phase::Stale
                | Phase::Awaited
                | Phase::Comparing
                | Phase::Waiting
                | Phase::Committing { .. }
                | Phase::Dropped => continue,
            }
            if !incoming.lack.may_begin(others, true) {
                // It would travel in vain.
                continue;
            }
            let blocks = incoming.missing(RANGES_MAX as usize, self.turn.is_waited_for());
            if !blocks.is_empty() && self.connection.may_send() {
                let count = blocks.iter().map(|run| run.end.saturating_sub(run.start)).sum();
                if incoming.repair.ask(count) > limit {
                    self.connection.send(now, &Message::Abort { code: AbortCode::Damaged }, out)?;
                    return Err(Damage::TooOften { entry, rounds: limit }.into());
                }
                let event = Event::Repairing { entry, blocks: count };
                self.requests.tell(event);
                self.connection.send(now, &Message::Missing { entry, blocks }, out)?;
                self.turn.note(Sent::Advance);
            }
            if self.connection.may_send() && incoming.repair.take_gained() {
                let blocks: Vec<_> =
                    incoming.blocks.known().into_iter().take(RANGES_MAX as usize).collect();
                self.connection.send(now, &Message::Kept { entry, blocks }, out)?;
                self.turn.note(Sent::Advance);
            }
        }
        Ok(())
    }

    /// Passes the floor.
    pub(super) fn pass(
        &mut self,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Result<ReceiveAction, Error> {
        self.connection.send(now, &Message::Over { waiting: true }, out)?;
        let moves = self.has_moved();
        self.connection.pass(now, moves);
        self.state = Ok(State::Listening);
        match self.requests.pop() {
            Some(action) => Ok(action),
            None => self.listen(now),
        }
    }
}

/// The bytes of a hash in `Have`.
const HASH: u64 = 32;
