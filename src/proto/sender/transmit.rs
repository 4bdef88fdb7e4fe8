//! Messages of the sender while it has the floor: offers, blocks, ends.

use std::time::Duration;

use super::content::Sent;
use super::outgoing::{Carries, Phase, Run, Step, Trust, Verdict};
use super::requests::Asked;
use super::{SendAction, Sender, State};
use crate::config::Compare;
use crate::hash::Hash;
use crate::proto::error::{Error, Misuse, ProtocolError};
use crate::proto::wire::frame::{CHECK, HEADER};
use crate::proto::wire::limits::BLOCK_LEN;
use crate::proto::wire::message::{Message, Name};
use crate::types::{AbortCode, Activity, EntryId, Kind, ReadRequest, Withdrawal};

impl Sender {
    pub(super) fn greet(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<SendAction, Error> {
        self.connection.greet(now, out)?;
        self.connection.send(now, &Message::Over { waiting: true }, out)?;
        self.connection.pass(now, false);
        self.state = Ok(State::AwaitHello);
        self.await_input(now)
    }

    pub(super) fn await_input(&mut self, now: Duration) -> Result<SendAction, Error> {
        Ok(SendAction::Await { until: self.connection.check(now)? })
    }

    pub(super) fn speak(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<SendAction, Error> {
        if let Some(failure) = self.closing {
            if let Some(code) = failure.abort_code() {
                self.connection.send(now, &Message::Abort { code }, out)?;
            }
            return Err(failure);
        }
        if self.turn.is_unanswered() {
            let failure = Error::from(ProtocolError::Unexpected { kind: Name::Over });
            self.connection.send(now, &Message::Abort { code: AbortCode::Protocol }, out)?;
            return Err(failure);
        }
        while self.connection.may_send()
            && let Some(message) = self.outbox.pop_front()
        {
            let sent = self.connection.send(now, &message, out)?;
            self.turn.spend(sent);
        }
        if now >= self.connection.heartbeat_due() {
            self.connection.send(now, &Message::Heartbeat { activity: Activity::Reading }, out)?;
        }
        if !self.outbox.is_empty() {
            return self.pass(now, false, out);
        }
        if let Some(asked) = self.requests.outstanding() {
            return Ok(asked);
        }
        loop {
            if self.turn.is_over(now) {
                return self.pass(now, false, out);
            }
            // Offers run ahead of data, but leave room for it.
            if !self.may_offer() || (self.entries.are_ready() && !self.turn.is_fresh()) {
                break;
            }
            if let Some(action) = self.offer(now, out)? {
                return Ok(action);
            }
        }
        if let Some(action) = self.stream(now, out)? {
            return Ok(action);
        }
        if self.entries.are_settled() {
            self.connection.send(now, &Message::Out, out)?;
            self.state = Ok(State::Closed);
            return Ok(SendAction::Closed(self.totals.summary()));
        }
        self.pass(now, true, out)
    }

    /// Returns whether another entry may be offered within what both sides take.
    pub(super) fn may_offer(&self) -> bool {
        self.connection.peer().is_some_and(|peer| self.entries.may_offer(peer, &self.config.limits))
    }

    /// Offers the next entry, or asks for one.
    pub(super) fn offer(
        &mut self,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Result<Option<SendAction>, Error> {
        let Some((entry, outgoing)) = self.entries.next_queued() else {
            return Ok(Some(self.requests.ask(Asked::NextEntry)));
        };
        let asks = self.config.compare == Compare::SizeAndTime
            && self.connection.peer_compares_times()
            && outgoing.may_ask();
        if outgoing.meta.kind == Kind::File && outgoing.is_inline() && !asks {
            let len = usize::try_from(outgoing.meta.size.unwrap_or(0)).unwrap_or(usize::MAX);
            // The head is as long as the offer with its root, which is known only once the content is read.
            outgoing.content.set_root(Hash::from_bytes([0; 32]));
            let mut control = Vec::new();
            Message::Offer(outgoing.offer(entry, Carries::Content)).encode(&mut control);
            let head = control.len().saturating_add(HEADER + CHECK);
            let whole = ReadRequest { entry, offset: 0, len, head, is_last: true, is_whole: true };
            return Ok(Some(self.requests.ask(Asked::Read(whole))));
        }
        outgoing.trust = if asks { Trust::Asked } else { Trust::Over };
        let carries = if asks { Carries::Time } else { Carries::Nothing };
        let is_file = outgoing.meta.kind == Kind::File;
        outgoing.phase = if is_file { Phase::Offered } else { Phase::Ended };
        if !is_file {
            outgoing.content.set_root(Hash::of(&[]));
        }
        let offer = outgoing.offer(entry, carries);
        self.entries.offer(entry, is_file && !asks);
        let sent = self.connection.send(now, &Message::Offer(offer), out)?;
        self.turn.spend(sent);
        Ok(None)
    }

    /// Goes on with the first entry that has blocks to send.
    pub(super) fn stream(
        &mut self,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Result<Option<SendAction>, Error> {
        while let Some((entry, outgoing)) = self.entries.first_ready() {
            if self.turn.is_over(now) {
                return self.pass(now, false, out).map(Some);
            }
            match outgoing.step() {
                Step::Read { index } => {
                    let place = outgoing.content.place(index).ok_or(Misuse::TooMuch)?;
                    // The report of the blocks before this one must fit into the turn with it.
                    if outgoing.run.is_some()
                        && !self.connection.may_send_after(BLOCK_HEAD, place.1)
                    {
                        self.send_run(now, entry, out)?;
                        continue;
                    }
                    let request = ReadRequest {
                        entry,
                        offset: place.0,
                        len: usize::try_from(place.1).unwrap_or(usize::MAX),
                        head: BLOCK_HEAD,
                        is_last: outgoing.is_last(index),
                        is_whole: false,
                    };
                    return Ok(Some(self.requests.ask(Asked::Read(request))));
                }
                Step::Same { end } => outgoing.same_until(end),
                Step::Claim => {
                    let root = outgoing.claim();
                    self.checks
                        .expect(outgoing.content.blocks(), outgoing.content.new_blocks(Sent::Root));
                    self.entries.park_first();
                    let sent = self.connection.send(now, &Message::Claim { entry, root }, out)?;
                    self.turn.spend(sent);
                }
                Step::Park | Step::End if outgoing.run.is_some() => {
                    self.send_run(now, entry, out)?;
                }
                Step::Park => self.entries.park_first(),
                Step::End => {
                    // After a repair the end was sent already.
                    if outgoing.phase == Phase::Ended {
                        self.entries.park_first();
                        continue;
                    }
                    let (size, root) = outgoing.end().ok_or(Misuse::NotAsked)?;
                    self.checks
                        .expect(outgoing.content.blocks(), outgoing.content.new_blocks(Sent::End));
                    self.entries.park_first();
                    let end = Message::End { entry, size, root };
                    let sent = self.connection.send(now, &end, out)?;
                    self.turn.spend(sent);
                }
            }
        }
        Ok(None)
    }

    /// Passes the floor.
    pub(super) fn pass(
        &mut self,
        now: Duration,
        waiting: bool,
        out: &mut Vec<u8>,
    ) -> Result<SendAction, Error> {
        for entry in self.entries.ready() {
            if self.connection.may_send() {
                self.send_run(now, entry, out)?;
            }
        }
        if self.turn.take_starved() && self.connection.is_silent() {
            // An empty turn would look like one of a peer that only keeps the session.
            self.connection.send(now, &Message::Heartbeat { activity: Activity::Reading }, out)?;
        }
        // Its messages move an entry: an offer, content, an end. An empty turn does not.
        let moves = self.connection.has_sent();
        self.connection.send(now, &Message::Over { waiting }, out)?;
        self.connection.pass(now, moves);
        self.turn.pass(waiting);
        self.totals.turn();
        self.state = Ok(State::Listening);
        self.await_input(now)
    }

    /// Reports which blocks of an entry need not travel, if any are not reported yet.
    pub(super) fn send_run(
        &mut self,
        now: Duration,
        entry: EntryId,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let run = self.entries.get_mut(entry).and_then(|outgoing| outgoing.run.take());
        if let Some(run) = run {
            let sent = self.connection.send(now, &message_of(entry, run), out)?;
            self.turn.spend(sent);
        }
        Ok(())
    }

    pub(super) fn send_inline(
        &mut self,
        now: Duration,
        request: &ReadRequest,
        frame: &mut [u8],
    ) -> Result<usize, Error> {
        let Some(outgoing) = self.entries.get_mut(request.entry) else { return Ok(0) };
        let (head, payload) = frame.split_at_mut_checked(request.head).ok_or(Misuse::TooMuch)?;
        if payload.len() != request.len {
            self.withdraw(request.entry, Withdrawal::Changed);
            return Ok(0);
        }
        outgoing.content.set_root(Hash::of(payload));
        outgoing.trust = Trust::Over;
        if self.roots.is_worth_asking() && !payload.is_empty() {
            outgoing.phase = Phase::Offered;
            outgoing.offer_by_root();
            let offer = outgoing.offer(request.entry, Carries::Root);
            self.entries.offer(request.entry, false);
            self.outbox.push_back(Message::Offer(offer));
            return Ok(0);
        }
        outgoing.phase = Phase::Ended;
        let again = outgoing.travel_whole();
        outgoing.count_sent(payload.len(), again);
        self.totals.travel(payload.len(), again);
        let offer = outgoing.offer(request.entry, Carries::Content);
        self.entries.offer(request.entry, false);
        let mut control = Vec::with_capacity(head.len());
        Message::Offer(offer).encode(&mut control);
        self.finish_frame(now, Name::Offer, &control, head, payload.len())?;
        Ok(frame.len())
    }

    pub(super) fn send_block(
        &mut self,
        now: Duration,
        request: &ReadRequest,
        frame: &mut [u8],
    ) -> Result<usize, Error> {
        let entry = request.entry;
        let Some(outgoing) = self.entries.get_mut(entry) else { return Ok(0) };
        let (head, payload) = frame.split_at_mut_checked(request.head).ok_or(Misuse::TooMuch)?;
        let index = outgoing.block_size.index(request.offset);
        if payload.len() < request.len {
            if outgoing.content.size().is_some() {
                self.withdraw(entry, Withdrawal::Changed);
                return Ok(0);
            }
            outgoing.content.ends_at(request.offset.saturating_add(payload.len() as u64));
        }
        let Some(block) = outgoing.block_size.hash(index, payload) else {
            // The end of a content of unknown size fell on the end of a block.
            return Ok(0);
        };
        if !outgoing.content.contains(index) {
            self.totals.hash(payload.len() as u64);
        }
        // A block shorter than the others tells where a content of unknown size ends: it must travel. By now this side
        // may know that size, from an earlier reading; the receiver does not.
        let is_full = payload.len() == outgoing.block_size.len();
        let is_regular = is_full || outgoing.meta.size.is_some();
        let zeros = is_regular && is_zero(payload);
        match outgoing.read(&block, zeros) {
            Verdict::Send { again } => {
                if let Some(run) = outgoing.run.take() {
                    self.outbox.push_back(message_of(entry, run));
                }
                outgoing.count_sent(payload.len(), again);
                self.totals.travel(payload.len(), again);
                let mut control = Vec::with_capacity(BLOCK_HEAD);
                Message::Block { entry, index, hash: block.hash }.encode(&mut control);
                self.finish_frame(now, Name::Block, &control, head, payload.len())?;
                Ok(frame.len())
            }
            Verdict::Run { zeros } => {
                // The receiver does not have zeros; it is told to make them.
                outgoing.count_sent(if zeros { payload.len() } else { 0 }, false);
                if let Some(run) = outgoing.join(index, zeros) {
                    self.outbox.push_back(message_of(entry, run));
                }
                Ok(0)
            }
            Verdict::Hashed => {
                // The receiver learns that this side lives, where all of a turn goes into this.
                self.turn.starve();
                Ok(0)
            }
        }
    }

    /// Writes the head of a frame whose payload stands behind it already.
    pub(super) fn finish_frame(
        &mut self,
        now: Duration,
        name: Name,
        control: &[u8],
        head: &mut [u8],
        payload: usize,
    ) -> Result<(), Error> {
        let place = head.get_mut(HEADER..HEADER.saturating_add(control.len()));
        place.ok_or(Misuse::TooMuch)?.copy_from_slice(control);
        self.connection.seal(now, name, head, payload)?;
        self.turn.spend(head.len().saturating_add(payload));
        Ok(())
    }
}

fn message_of(entry: EntryId, run: Run) -> Message {
    if run.zeros {
        Message::Zeros { entry, blocks: run.blocks }
    } else {
        Message::Same { entry, blocks: run.blocks }
    }
}

/// Returns whether there is nothing but zeros. Content that is not empty nearly always shows it in its
/// first bytes.
fn is_zero(bytes: &[u8]) -> bool {
    let (head, rest) = bytes.split_at_checked(16).unwrap_or((bytes, &[]));
    head.iter().all(|byte| *byte == 0) && rest.iter().all(|byte| *byte == 0)
}

/// The bytes before the payload of a block: header, control part, check.
const BLOCK_HEAD: usize = HEADER + BLOCK_LEN as usize + CHECK;
