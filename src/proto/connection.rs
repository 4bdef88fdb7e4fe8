//! One connection, as both machines need it: preface, greetings, seals, and the count of the peer's turn.

use std::time::Duration;

use super::error::{Error, Incompatible, Misuse, ProtocolError, Stall};
use super::timer::Timer;
use super::wire::frame::{self, CHECK, HEADER, PREFACE, Parsed, Seal, Speaker};
use super::wire::limits::VERSIONS;
use super::wire::message::{Hello, Message, Name};
use crate::config::Config;
use crate::types::TransferId;

/// Features that this code knows (M-1).
const FEATURES: u32 = ROOTS | TIMES;

/// The receiver holds files already: small ones are better offered by their root than with their content (F-1).
const ROOTS: u32 = 1;

/// Feature: the receiver reports of its files whether they have the size and the time that were
/// offered (F-2).
const TIMES: u32 = 2;

/// One connection, as one side sees it.
#[derive(Debug)]
pub(super) struct Connection {
    speaker: Speaker,
    spoken: Seal,
    received: Seal,
    sent_preface: bool,
    received_preface: bool,
    ours: Hello,
    our_hello: Vec<u8>,
    peer: Option<Hello>,
    peer_hello: Vec<u8>,
    /// Bytes of the peer's turn so far.
    turn: u64,
    timer: Timer,
    /// The largest block that the peer may send: what this side announced.
    block: u64,
    turn_limit: u64,
    /// Number of bytes of this side's turn.
    sent: u64,
    /// Bytes of a message that is not complete, as of the last call.
    partial: usize,
}

/// Beginning of the input.
#[derive(Debug)]
pub(super) enum Received<'a> {
    /// Nothing whole yet. `needed`: total bytes, as far as is known.
    Incomplete { needed: usize },
    /// The preface, or an optional message that nobody here knows.
    Skip { len: usize },
    /// A message.
    Message { message: Message, payload: &'a [u8], len: usize },
    /// A frame that breaks a rule, though where it ends is known: the rest of its turn can be
    /// received.
    Broken { error: ProtocolError, len: usize },
}

/// Number of input bytes that a core took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consumed {
    /// Bytes from the start of the input that are dealt with.
    pub bytes: usize,
    /// Number of bytes that the input needs in all, if none were consumed, as far as is known.
    pub needed: usize,
}

impl Consumed {
    pub(super) const fn nothing() -> Self {
        Self { bytes: 0, needed: 0 }
    }
}

impl Connection {
    pub(super) fn new(
        config: &Config,
        sender: bool,
        transfer: TransferId,
        attempt: u32,
        nonce: [u8; 16],
        now: Duration,
    ) -> Self {
        let limits = &config.limits;
        let ours = Hello {
            versions: VERSIONS,
            sender,
            block: limits.block,
            link: 0,
            attempt,
            transfer,
            nonce,
            offered: 0,
            required: 0,
            turn_bytes: config.turn.max_bytes,
            open_entries: limits.open_entries,
            pending_entries: limits.pending_entries,
            pending_names: limits.pending_names,
            binding: [0; 32],
            proof: [0; 32],
        };
        Self {
            speaker: if sender { Speaker::Sender } else { Speaker::Receiver },
            spoken: Seal::initial(),
            received: Seal::initial(),
            sent_preface: false,
            received_preface: false,
            ours,
            our_hello: Vec::new(),
            peer: None,
            peer_hello: Vec::new(),
            turn: 0,
            timer: Timer::new(config.deadlines, now),
            block: limits.block.bytes(),
            turn_limit: config.turn.max_bytes.max(1),
            sent: 0,
            partial: 0,
        }
    }

    /// Sends a message without payload: appends its frame, and before the first the preface, to
    /// `out`.
    pub(super) fn send(
        &mut self,
        now: Duration,
        message: &Message,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let before = out.len();
        self.send_preface(now, out);
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        message.encode(out);
        let control = start.saturating_add(HEADER);
        if out.len() > control {
            out.extend_from_slice(&[0; CHECK]);
        }
        let head = out.get_mut(start..).unwrap_or_default();
        self.seal(now, message.name(), head, 0)?;
        if let Message::Hello(_) = message {
            let end = out.len().saturating_sub(CHECK);
            self.our_hello = out.get(control..end).unwrap_or_default().to_vec();
            self.bind_spoken();
        }
        Ok(out.len().saturating_sub(before))
    }

    /// Appends this side's greeting.
    pub(super) fn greet(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<usize, Error> {
        let hello = Message::Hello(self.ours.clone());
        self.send(now, &hello, out)
    }

    /// Seals a frame whose control part stands in `head` and whose payload the caller has; see [`Seal::close`].
    pub(super) fn seal(
        &mut self,
        now: Duration,
        name: Name,
        head: &mut [u8],
        payload: usize,
    ) -> Result<(), Error> {
        self.spoken.close(name.kind(), head, payload).ok_or(Misuse::TooMuch)?;
        let len = head.len().saturating_add(payload) as u64;
        self.timer.sent(now, len);
        if name != Name::Heartbeat {
            self.sent = self.sent.saturating_add(len);
        }
        Ok(())
    }

    /// Returns whether the peer listens to another message in this turn (T-3).
    pub(super) fn may_send(&self) -> bool {
        self.sent < self.turn_limit
    }

    /// Returns whether the peer does so after a frame of this length.
    pub(super) fn may_send_after(&self, head: usize, payload: u64) -> bool {
        self.sent.saturating_add(head as u64).saturating_add(payload) < self.turn_limit
    }

    /// Looks at what `input` begins with, without taking it.
    pub(super) fn receive<'a>(
        &mut self,
        now: Duration,
        input: &'a [u8],
    ) -> Result<Received<'a>, Error> {
        if input.len() > self.partial {
            self.timer.bytes(now, input.len() as u64);
        }
        self.partial = input.len();
        if !self.received_preface {
            if !frame::preface(input)? {
                return Ok(Received::Incomplete { needed: PREFACE.len() });
            }
            return Ok(Received::Skip { len: PREFACE.len() });
        }
        let block = self.block;
        let frame = match self.received.open(input, |header| frame::admit(header, block))? {
            Parsed::Incomplete { needed } => return Ok(Received::Incomplete { needed }),
            Parsed::Frame(frame) => frame,
        };
        let Some(name) = Name::from_kind(frame.header.kind) else {
            return Ok(Received::Skip { len: frame.len });
        };
        let Some(message) = Message::decode(name, frame.control) else {
            let error = ProtocolError::Malformed { kind: name };
            return Ok(Received::Broken { error, len: frame.len });
        };
        if let Message::Hello(_) = message {
            self.peer_hello = frame.control.to_vec();
        }
        let ends = matches!(name, Name::Over | Name::Out | Name::Abort | Name::Heartbeat);
        if self.turn >= self.turn_limit && !ends {
            let error = ProtocolError::TurnTooLong { limit: self.turn_limit };
            return Ok(Received::Broken { error, len: frame.len });
        }
        Ok(Received::Message { message, payload: frame.payload, len: frame.len })
    }

    /// Takes what [`receive`](Connection::receive) gave: it was dealt with.
    pub(super) fn take(&mut self, now: Duration, len: usize, name: Option<Name>) {
        if self.received_preface {
            self.received.accept();
            if name != Some(Name::Heartbeat) {
                self.turn = self.turn.saturating_add(len as u64);
            }
        } else {
            self.received_preface = true;
        }
        self.partial = self.partial.saturating_sub(len);
        self.timer.message(now);
    }

    /// Checks the peer's greeting, and binds the peer's frames from now on to both greetings.
    ///
    /// The caller has [`take`](Connection::take)n the message before.
    pub(super) fn meet(&mut self, hello: Hello) -> Result<u16, Error> {
        self.timer.greet();
        let version = self.admit(&hello);
        if self.speaker == Speaker::Receiver {
            self.ours.attempt = hello.attempt.max(1);
        }
        self.turn_limit = self.turn_limit.min(hello.turn_bytes).max(1);
        self.peer = Some(hello);
        if self.speaker == Speaker::Sender {
            let (ours, peers) = (&self.our_hello, &self.peer_hello);
            self.received.bind(Speaker::Receiver, ours, peers);
            self.spoken.bind(Speaker::Sender, ours, peers);
        }
        version
    }

    /// Announces in the greeting that files are held already; too late once that was sent.
    pub(super) fn advertise_hash_first(&mut self) {
        self.ours.offered |= ROOTS;
    }

    /// Announces in the greeting that sizes and times can be compared; too late once that was sent.
    pub(super) fn compare_times(&mut self) {
        self.ours.offered |= TIMES;
    }

    /// Binds the session to its channel; too late once this side has greeted.
    pub(super) fn bind(&mut self, binding: [u8; 32]) {
        self.ours.binding = binding;
    }

    /// Proves in the greeting to have a secret; too late once that was sent.
    pub(super) fn prove(&mut self, proof: [u8; 32]) {
        self.ours.proof = proof;
    }

    /// Returns the peer's proof, if its greeting came with one.
    pub(super) fn peer_proof(&self) -> Option<[u8; 32]> {
        self.peer.as_ref().map(|hello| hello.proof).filter(|proof| *proof != [0; 32])
    }

    /// Returns whether this side announced that it compares times.
    pub(super) fn compares_times(&self) -> bool {
        self.ours.offered & TIMES != 0
    }

    /// Returns whether the peer announced that it compares times.
    pub(super) fn peer_compares_times(&self) -> bool {
        self.peer.as_ref().is_some_and(|hello| hello.offered & TIMES != 0)
    }

    /// Returns the transfer that this side named.
    pub(super) const fn our_transfer(&self) -> TransferId {
        self.ours.transfer
    }

    /// Returns the attempt that this side named, or will; 0 claims the next one.
    pub(super) const fn our_attempt(&self) -> u32 {
        self.ours.attempt
    }

    /// Numbers the attempt of a sender that claims one; too late once it was sent.
    pub(super) fn number_attempt(&mut self, attempt: u32) {
        if self.peer.as_ref().is_some_and(|hello| hello.attempt == 0) {
            self.ours.attempt = attempt.max(1);
        }
    }

    /// Returns whether the peer announced that it prefers hashes.
    pub(super) fn peer_advertises_hash_first(&self) -> bool {
        self.peer.as_ref().is_some_and(|hello| hello.offered & ROOTS != 0)
    }

    /// Returns the peer's greeting, once it came.
    pub(super) fn peer(&self) -> Option<&Hello> {
        self.peer.as_ref()
    }

    /// Handles that the floor comes to this side.
    pub(super) fn gain_floor(&mut self, now: Duration) {
        self.timer.gain_floor(now);
    }

    /// Handles that the floor passes to the peer. `moves`: this side's turn moved an entry.
    pub(super) fn pass(&mut self, now: Duration, moves: bool) {
        (self.turn, self.sent) = (0, 0);
        self.timer.pass(now, moves);
    }

    /// Returns whether this side sent anything but heartbeats in its turn.
    pub(super) fn has_sent(&self) -> bool {
        self.sent > 0
    }

    /// Returns whether this side sent nothing at all in its turn.
    pub(super) fn is_silent(&self) -> bool {
        self.timer.is_silent()
    }

    /// Returns the most bytes of a turn that both sides agree to.
    pub(super) fn turn_limit(&self) -> u64 {
        self.turn_limit
    }

    /// Returns the deadlines.
    pub(super) fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    /// Returns the next deadline while the peer has the floor; an error if it is past one.
    pub(super) fn check(&mut self, now: Duration) -> Result<Duration, Stall> {
        self.timer.check(now)
    }

    /// Returns the time at which this side, having the floor and nothing to send, must send a
    /// heartbeat.
    pub(super) fn heartbeat_due(&self) -> Duration {
        self.timer.heartbeat_due()
    }

    fn send_preface(&mut self, now: Duration, out: &mut Vec<u8>) {
        if !self.sent_preface {
            self.sent_preface = true;
            self.timer.sent(now, PREFACE.len() as u64);
            out.extend_from_slice(&PREFACE);
        }
    }

    /// Binds the frames to both greetings (W-6). A receiver greets second: it knows both once it
    /// has sent its own.
    fn bind_spoken(&mut self) {
        if self.speaker == Speaker::Receiver && self.peer.is_some() {
            let (ours, peers) = (&self.our_hello, &self.peer_hello);
            self.spoken.bind(Speaker::Receiver, peers, ours);
            self.received.bind(Speaker::Sender, peers, ours);
        }
    }

    fn admit(&self, hello: &Hello) -> Result<u16, Error> {
        let (ours, theirs) = (&self.ours.versions, &hello.versions);
        let version = *ours.end().min(theirs.end());
        if version < *ours.start().max(theirs.start()) || theirs.is_empty() {
            return Err(Incompatible::Version {
                min: *theirs.start(),
                max: *theirs.end(),
                our_min: *ours.start(),
                our_max: *ours.end(),
            }
            .into());
        }
        if hello.required & !FEATURES != 0 {
            let features = hello.required & !FEATURES;
            return Err(Incompatible::Features { features }.into());
        }
        if hello.sender == self.ours.sender {
            return Err(Incompatible::SameRole { sender: hello.sender }.into());
        }
        if hello.link != 0 {
            return Err(ProtocolError::UnknownLink { link: hello.link }.into());
        }
        let sent = self.ours.attempt;
        if !hello.sender && (hello.attempt == 0 || sent != 0 && hello.attempt != sent) {
            return Err(ProtocolError::WrongAttempt { sent, received: hello.attempt }.into());
        }
        if hello.binding != self.ours.binding {
            return Err(ProtocolError::OtherChannel.into());
        }
        Ok(version)
    }
}
