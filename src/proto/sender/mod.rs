//! The sender's machine.
//!
//! | state | input | output | next |
//! | --- | --- | --- | --- |
//! | `Greeting` | `poll` | preface, `Hello`, `Over` | `AwaitHello` |
//! | `AwaitHello` | `Hello` | event `Greeted` | `Listening` |
//! | `Listening` | `Have` | the entry streams | `Listening` |
//! | `Listening` | `Refuse`, `Failed` | event `Refused`; the entry is settled | `Listening` |
//! | `Listening` | `Missing` | blocks are queued again | `Listening` |
//! | `Listening` | `Kept` | event `Progress` | `Listening` |
//! | `Listening` | `Receipt` | event `Delivered`; the entry is settled | `Listening` |
//! | `Listening` | `Heartbeat` | event `Waiting` | `Listening` |
//! | `Listening` | `Over` | | `Speaking` |
//! | `Speaking` | `poll`, within the turn | `NextEntry`, `Read`; offers, blocks, ends | `Speaking` |
//! | `Speaking` | `poll`, nothing left to say or turn spent | `Over` | `Listening` |
//! | `Speaking` | `poll`, everything settled | `Out` | `Closed` |
//! | any but `Closed` | `Abort` | | failed: `Aborted` |
//! | any but `Closed` | any other message | | failed: `Unexpected` |
//!
//! A failed machine stays failed: every call gives the same [`Failure`].

mod entry;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::entry::{Carries, Outgoing, Phase, Step, Verdict};
use super::error::{Damage, Failure, Misuse, ProtocolError};
use super::event::{Event, Summary};
use super::frame::{CHECK, HEADER};
use super::link::{Heard, Link};
use super::message::{Activity, Hello, Message, Name};
use super::path::RelPath;
use super::types::{EntryId, Kind, Meta, Receipt, Refusal, TransferId, Withdrawal};
use crate::config::Config;
use crate::tree::{BlockSize, Root};

/// The sending half of a session, sans-IO.
///
/// 1. Call [`poll`](Sender::poll) and do what it says. Bytes that it appended are written to the stream
///    first, whatever the action.
/// 2. After [`SendAction::Await`], read from the stream and give all bytes that are not yet consumed to
///    [`handle_input`](Sender::handle_input), until it asks for more.
/// 3. After [`SendAction::Closed`], the session is over, and well.
///
/// Times are those of the caller: any clock that does not go back.
#[derive(Debug)]
pub struct Sender {
    config: Config,
    link: Link,
    state: Result<State, Failure>,
    budget: super::turn::Budget,
    /// The size of the blocks of new entries: the lower of both sides'.
    block_size: BlockSize,
    entries: BTreeMap<EntryId, Outgoing>,
    next_id: u32,
    /// The source has no further entry.
    exhausted: bool,
    /// Entries to be offered, in order.
    queued: VecDeque<EntryId>,
    /// Entries that have blocks to send, in order.
    ready: VecDeque<EntryId>,
    say: VecDeque<Message>,
    asked: Option<Asked>,
    notes: VecDeque<Note>,
    cancelled: bool,
    /// The receiver was told that nothing can go on without an answer of it; and whether it gave one.
    waiting: bool,
    answered: bool,
    /// Something was said, read or waited for in this turn.
    worked: bool,
    open: u32,
    names: u64,
    arrived: u64,
    offered: u64,
    roots: Roots,
    summary: Summary,
}

/// Whether small files are offered by their roots first, as the receiver may hold them.
#[derive(Debug, Clone, Copy, Default)]
struct Roots {
    preferred: bool,
    held: u64,
    lacking: u64,
}

/// What the caller must do now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum SendAction {
    /// Tell the application.
    Event(Event),
    /// Ask the source for its next entry, and call [`Sender::handle_entry`], [`Sender::handle_unsendable`] or
    /// [`Sender::handle_exhausted`].
    NextEntry,
    /// Read content, and call [`Sender::handle_read`] or [`Sender::handle_withdrawn`].
    Read(ReadRequest),
    /// Tell the source that everything before `offset` has arrived.
    Release {
        /// The entry.
        entry: EntryId,
        /// Where what is still needed begins.
        offset: u64,
    },
    /// Close the entry: it is settled, and will not be asked for again.
    Forget {
        /// The entry.
        entry: EntryId,
    },
    /// Read from the stream, and call [`Sender::handle_input`]; or [`Sender::poll`] at `until`, if nothing came.
    Await {
        /// The next deadline.
        until: Duration,
    },
    /// Flush and close the stream: every entry is settled.
    Closed(Summary),
}

/// A piece of content that the core needs, read straight into the frame in which it travels.
///
/// Fill a buffer of `head + len` bytes from `head` on, until `len` bytes or the end of the content. Where
/// `is_last`, or where the end came early, let the source confirm that the content did not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadRequest {
    /// The entry.
    pub entry: EntryId,
    /// Where the piece begins.
    pub offset: u64,
    /// How long it is; the content may end before only if its size was not known.
    pub len: usize,
    /// How many bytes to leave free before it.
    pub head: usize,
    /// The content ends with this piece.
    pub is_last: bool,
    /// The whole content is this piece: the entry will hardly be read again.
    pub is_whole: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    AwaitHello,
    Listening,
    Speaking,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    NextEntry,
    Read(ReadRequest),
}

/// What the caller is told between other actions.
#[derive(Debug)]
enum Note {
    Event(Event),
    Release { entry: EntryId, offset: u64 },
    Forget { entry: EntryId },
}

impl Sender {
    /// The first connection of a transfer.
    ///
    /// `transfer` and `nonce` are random bytes, different for each transfer and each connection.
    #[must_use]
    pub fn new(config: Config, transfer: TransferId, nonce: [u8; 16], now: Duration) -> Self {
        Self {
            link: Link::new(&config, true, transfer, 1, nonce, now),
            state: Ok(State::Greeting),
            budget: super::turn::Budget::new(&config.turn),
            block_size: config.block_size,
            config,
            entries: BTreeMap::new(),
            next_id: 0,
            exhausted: false,
            queued: VecDeque::new(),
            ready: VecDeque::new(),
            say: VecDeque::new(),
            asked: None,
            notes: VecDeque::new(),
            cancelled: false,
            waiting: false,
            answered: false,
            worked: false,
            open: 0,
            names: 0,
            arrived: 0,
            offered: 0,
            roots: Roots::default(),
            summary: Summary::default(),
        }
    }

    /// Goes on over a new connection: what is not settled is offered again, what has arrived is not sent again.
    pub fn reconnect(
        &mut self,
        transfer: TransferId,
        attempt: u32,
        nonce: [u8; 16],
        now: Duration,
    ) {
        self.link = Link::new(&self.config, true, transfer, attempt, nonce, now);
        self.state = Ok(State::Greeting);
        self.budget = super::turn::Budget::new(&self.config.turn);
        self.block_size = self.config.block_size;
        self.queued = self.entries.keys().copied().collect();
        self.entries.values_mut().for_each(Outgoing::reconnect);
        self.ready.clear();
        self.say.clear();
        self.asked = None;
        self.waiting = false;
        self.open = 0;
        self.names = 0;
    }

    /// What must be done now. Bytes to write first are appended to `out`.
    ///
    /// # Errors
    ///
    /// The session ended without success; the same again on every later call.
    pub fn poll(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<SendAction, Failure> {
        if let Some(note) = self.notes.pop_front() {
            return Ok(match note {
                Note::Event(event) => SendAction::Event(event),
                Note::Release { entry, offset } => SendAction::Release { entry, offset },
                Note::Forget { entry } => SendAction::Forget { entry },
            });
        }
        let polled = match self.state? {
            State::Greeting => self.greet(now, out),
            State::AwaitHello | State::Listening if self.cancelled => Err(Failure::Cancelled),
            State::AwaitHello | State::Listening => self.await_input(now),
            State::Speaking => self.speak(now, out),
            State::Closed => Ok(SendAction::Closed(self.summary)),
        };
        polled.map_err(|failure| self.fail(failure))
    }

    /// Takes at most one message from the start of `input`, which is all that was read and not yet consumed.
    ///
    /// # Errors
    ///
    /// As for [`poll`](Sender::poll).
    pub fn handle_input(&mut self, now: Duration, input: &[u8]) -> Result<Consumed, Failure> {
        match self.state? {
            State::AwaitHello | State::Listening => {
                self.hear(now, input).map_err(|failure| self.fail(failure))
            }
            // Bytes out of turn stay where they are: they belong to the peer's next turn.
            State::Greeting | State::Speaking | State::Closed => Ok(Consumed::nothing()),
        }
    }

    /// The source has an entry. Gives the id by which it goes.
    ///
    /// `window` is how many bytes of it the source can give again, if not all: no more than that is read
    /// beyond what is known to have arrived.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] outside an answer to [`SendAction::NextEntry`].
    pub fn handle_entry(&mut self, meta: Meta, window: Option<u64>) -> Result<EntryId, Failure> {
        self.answer(|asked| matches!(asked, Asked::NextEntry))?;
        let entry = EntryId(self.next_id);
        self.next_id = self.next_id.checked_add(1).ok_or(Misuse::TooMuch)?;
        self.offered = self.offered.saturating_add(meta.size.unwrap_or(0));
        self.notes.push_back(Note::Event(Event::Offered {
            entry,
            path: meta.path.clone(),
            kind: meta.kind.clone(),
            size: meta.size,
        }));
        self.entries.insert(entry, Outgoing::new(meta, self.block_size, window));
        self.queued.push_back(entry);
        Ok(entry)
    }

    /// The source has an entry that cannot be sent.
    ///
    /// # Errors
    ///
    /// As for [`handle_entry`](Sender::handle_entry).
    pub fn handle_unsendable(&mut self) -> Result<(), Failure> {
        self.answer(|asked| matches!(asked, Asked::NextEntry))?;
        self.summary.withdrawn = self.summary.withdrawn.saturating_add(1);
        // Of a source that has nothing but such entries the receiver must hear all the same.
        self.worked = true;
        Ok(())
    }

    /// The source has no further entry.
    ///
    /// # Errors
    ///
    /// As for [`handle_entry`](Sender::handle_entry).
    pub fn handle_exhausted(&mut self) -> Result<(), Failure> {
        self.answer(|asked| matches!(asked, Asked::NextEntry))?;
        self.exhausted = true;
        Ok(())
    }

    /// `read` bytes of content stand in `frame` behind the head that was asked for. Gives how many bytes of
    /// `frame` to write now: none, if the receiver has this block already.
    ///
    /// # Errors
    ///
    /// [`Misuse`] outside an answer to [`SendAction::Read`], or for a frame that is shorter than was asked for.
    pub fn handle_read(
        &mut self,
        now: Duration,
        read: usize,
        frame: &mut [u8],
    ) -> Result<usize, Failure> {
        let Asked::Read(request) = self.answer(|asked| matches!(asked, Asked::Read(_)))? else {
            return Err(Misuse::NotAsked.into());
        };
        let Some(frame) = frame.get_mut(..request.head.saturating_add(read)) else {
            return Err(Misuse::TooMuch.into());
        };
        if read > request.len {
            return Err(Misuse::TooMuch.into());
        }
        self.worked = true;
        let sent = if request.is_whole {
            self.send_inline(now, &request, frame)
        } else {
            self.send_block(now, &request, frame)
        };
        sent.map_err(|failure| self.fail(failure))
    }

    /// The source has nothing to give at the moment: it will be asked again.
    ///
    /// # Errors
    ///
    /// [`Misuse`] outside an answer to [`SendAction::Read`].
    pub fn handle_read_pending(&mut self) -> Result<(), Failure> {
        self.answer(|asked| matches!(asked, Asked::Read(_)))?;
        self.worked = true;
        Ok(())
    }

    /// The content that was asked for cannot be read, or is not what it was.
    ///
    /// # Errors
    ///
    /// [`Misuse`] outside an answer to [`SendAction::Read`].
    pub fn handle_withdrawn(&mut self, reason: Withdrawal) -> Result<(), Failure> {
        let Asked::Read(request) = self.answer(|asked| matches!(asked, Asked::Read(_)))? else {
            return Err(Misuse::NotAsked.into());
        };
        self.withdraw(request.entry, reason);
        Ok(())
    }

    /// The peer took bytes.
    pub fn handle_written(&mut self, now: Duration) {
        self.link.taken(now);
    }

    /// The peer takes no bytes at the moment.
    ///
    /// # Errors
    ///
    /// [`Failure::Stalled`] if that has been so for longer than the deadline.
    pub fn handle_write_blocked(&mut self, now: Duration) -> Result<(), Failure> {
        self.link.check_blocked(now).map_err(|stall| self.fail(stall.into()))
    }

    /// Stops the transfer: at once if the peer has the floor, else after telling it.
    pub fn cancel(&mut self) {
        self.cancelled = true;
    }

    /// Whether the session is over, well or not.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, Ok(State::Closed) | Err(_))
    }

    /// Whether anything would be left to do on a new connection.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.exhausted && self.entries.is_empty()
    }

    /// The sum so far, over all connections.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary
    }

    fn greet(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<SendAction, Failure> {
        self.link.greet(now, out)?;
        self.link.say(now, &Message::Over { waiting: true }, out)?;
        self.link.pass(now);
        self.state = Ok(State::AwaitHello);
        self.await_input(now)
    }

    fn await_input(&self, now: Duration) -> Result<SendAction, Failure> {
        Ok(SendAction::Await { until: self.link.check(now)? })
    }

    fn speak(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<SendAction, Failure> {
        if self.cancelled {
            self.link.say(now, &Message::Abort { code: super::AbortCode::Cancelled }, out)?;
            return Err(Failure::Cancelled);
        }
        while self.link.may_say()
            && let Some(message) = self.say.pop_front()
        {
            let said = self.link.say(now, &message, out)?;
            self.budget.spend(said);
            self.worked = true;
        }
        if now >= self.link.heartbeat_due() {
            self.link.say(now, &Message::Heartbeat { activity: Activity::Reading }, out)?;
        }
        if !self.say.is_empty() {
            return self.pass(now, false, out);
        }
        if let Some(asked) = self.asked {
            return Ok(asked.into());
        }
        loop {
            if self.budget.is_spent(now) && self.worked {
                return self.pass(now, false, out);
            }
            // Offers run ahead of data, but leave room for it.
            if !self.may_offer() || !(self.ready.is_empty() || self.budget.is_fresh()) {
                break;
            }
            if let Some(action) = self.offer(now, out)? {
                return Ok(action);
            }
        }
        if let Some(action) = self.stream(now, out)? {
            return Ok(action);
        }
        if self.entries.is_empty() && self.exhausted && self.queued.is_empty() {
            self.link.say(now, &Message::Out, out)?;
            self.state = Ok(State::Closed);
            return Ok(SendAction::Closed(self.summary));
        }
        self.pass(now, true, out)
    }

    /// Whether another entry may be offered within what both sides take.
    fn may_offer(&self) -> bool {
        let (Some(peer), limits) = (self.link.peer(), &self.config.limits) else { return false };
        let pending = self.entries.len().saturating_sub(self.queued.len());
        let most = peer.pending_entries.min(limits.pending_entries).max(1);
        let names = u64::from(peer.pending_names.min(limits.pending_names));
        let open = peer.open_entries.min(limits.open_entries).max(1);
        (!self.queued.is_empty() || !self.exhausted)
            && pending < usize::try_from(most).unwrap_or(usize::MAX)
            && (pending == 0 || self.names.saturating_add(RelPath::MAX_BYTES as u64) <= names)
            && self.open < open
    }

    /// Offers the next entry, or asks for one.
    fn offer(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<Option<SendAction>, Failure> {
        let Some(&entry) = self.queued.front() else {
            return Ok(self.ask(Asked::NextEntry));
        };
        let Some(outgoing) = self.entries.get_mut(&entry) else {
            self.queued.pop_front();
            return Ok(None);
        };
        if outgoing.meta.kind == Kind::File && outgoing.is_inline() {
            let len = usize::try_from(outgoing.meta.size.unwrap_or(0)).unwrap_or(usize::MAX);
            // The head is as long as the offer with its root, which is known only once the content is read.
            outgoing.root = Some(Root::from_bytes([0; 32]));
            let mut control = Vec::new();
            Message::Offer(outgoing.offer(entry, Carries::Content)).encode(&mut control);
            let head = control.len().saturating_add(HEADER + CHECK);
            let whole = ReadRequest { entry, offset: 0, len, head, is_last: true, is_whole: true };
            return Ok(self.ask(Asked::Read(whole)));
        }
        self.queued.pop_front();
        if outgoing.meta.kind == Kind::File {
            outgoing.phase = Phase::Offered;
            outgoing.is_open = true;
            self.open = self.open.saturating_add(1);
        } else {
            outgoing.phase = Phase::Ended;
            outgoing.root = Some(Root::of(&[]));
        }
        let offer = outgoing.offer(entry, Carries::Nothing);
        self.names = self.names.saturating_add(offer.name.len() as u64);
        let said = self.link.say(now, &Message::Offer(offer), out)?;
        self.budget.spend(said);
        self.worked = true;
        Ok(None)
    }

    /// Goes on with the first entry that has blocks to send.
    fn stream(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<Option<SendAction>, Failure> {
        while let Some(&entry) = self.ready.front() {
            if self.budget.is_spent(now) && self.worked {
                return self.pass(now, false, out).map(Some);
            }
            let Some(outgoing) = self.entries.get_mut(&entry) else {
                self.ready.pop_front();
                continue;
            };
            match outgoing.step() {
                Step::Read { index } => {
                    let place = outgoing.place(index).ok_or(Misuse::TooMuch)?;
                    // What is said of the blocks before this one must fit into the turn with it.
                    if outgoing.run.is_some() && !self.link.may_say_after(BLOCK_HEAD, place.1) {
                        self.say_run(now, entry, out)?;
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
                    return Ok(self.ask(Asked::Read(request)));
                }
                Step::Same { end } => outgoing.same_until(end),
                Step::Differs => {
                    outgoing.differs();
                    self.ready.pop_front();
                    let said = self.link.say(now, &Message::Differs { entry }, out)?;
                    self.budget.spend(said);
                    self.worked = true;
                }
                Step::Park | Step::End if outgoing.run.is_some() => {
                    self.say_run(now, entry, out)?;
                }
                Step::Park => drop(self.ready.pop_front()),
                Step::End => {
                    self.ready.pop_front();
                    // After a repair the end was said already.
                    if outgoing.phase == Phase::Ended {
                        continue;
                    }
                    let (size, root) = outgoing.end().ok_or(Misuse::NotAsked)?;
                    let end = Message::End { entry, size, root };
                    let said = self.link.say(now, &end, out)?;
                    self.budget.spend(said);
                    self.worked = true;
                }
            }
        }
        Ok(None)
    }

    fn ask(&mut self, asked: Asked) -> Option<SendAction> {
        self.asked = Some(asked);
        Some(asked.into())
    }

    fn answer(&mut self, fits: impl FnOnce(&Asked) -> bool) -> Result<Asked, Failure> {
        self.state?;
        let asked = self.asked.filter(fits).ok_or(Misuse::NotAsked)?;
        self.asked = None;
        Ok(asked)
    }

    /// Passes the floor.
    fn pass(
        &mut self,
        now: Duration,
        waiting: bool,
        out: &mut Vec<u8>,
    ) -> Result<SendAction, Failure> {
        let runs: Vec<_> = self.ready.iter().copied().collect();
        for entry in runs {
            if self.link.may_say() {
                self.say_run(now, entry, out)?;
            }
        }
        self.link.say(now, &Message::Over { waiting }, out)?;
        (self.waiting, self.answered) = (waiting, false);
        self.link.pass(now);
        self.budget.pass(now);
        self.summary.turns = self.summary.turns.saturating_add(1);
        self.state = Ok(State::Listening);
        self.await_input(now)
    }

    /// Says which blocks of an entry need not travel, if any are not said yet.
    fn say_run(&mut self, now: Duration, entry: EntryId, out: &mut Vec<u8>) -> Result<(), Failure> {
        let run = self.entries.get_mut(&entry).and_then(|outgoing| outgoing.run.take());
        if let Some(run) = run {
            let said = self.link.say(now, &message_of(entry, run), out)?;
            self.budget.spend(said);
            self.worked = true;
        }
        Ok(())
    }

    fn send_inline(
        &mut self,
        now: Duration,
        request: &ReadRequest,
        frame: &mut [u8],
    ) -> Result<usize, Failure> {
        let Some(outgoing) = self.entries.get_mut(&request.entry) else { return Ok(0) };
        self.queued.pop_front();
        let (head, payload) = frame.split_at_mut_checked(request.head).ok_or(Misuse::TooMuch)?;
        if payload.len() != request.len {
            self.withdraw(request.entry, Withdrawal::Changed);
            return Ok(0);
        }
        outgoing.root = Some(Root::of(payload));
        if self.roots.is_worth_asking() && !payload.is_empty() {
            outgoing.phase = Phase::Offered;
            outgoing.by_root = true;
            let offer = outgoing.offer(request.entry, Carries::Root);
            self.names = self.names.saturating_add(offer.name.len() as u64);
            self.say.push_back(Message::Offer(offer));
            return Ok(0);
        }
        outgoing.phase = Phase::Ended;
        let again = outgoing.travel_whole();
        self.summary.travel(payload.len(), again);
        let offer = outgoing.offer(request.entry, Carries::Content);
        self.names = self.names.saturating_add(offer.name.len() as u64);
        let mut control = Vec::with_capacity(head.len());
        Message::Offer(offer).encode(&mut control);
        self.finish_frame(now, Name::Offer, &control, head, payload.len())?;
        Ok(frame.len())
    }

    fn send_block(
        &mut self,
        now: Duration,
        request: &ReadRequest,
        frame: &mut [u8],
    ) -> Result<usize, Failure> {
        let entry = request.entry;
        let Some(outgoing) = self.entries.get_mut(&entry) else { return Ok(0) };
        let (head, payload) = frame.split_at_mut_checked(request.head).ok_or(Misuse::TooMuch)?;
        let index = outgoing.block_size.index(request.offset);
        if payload.len() < request.len {
            if outgoing.size().is_some() {
                self.withdraw(entry, Withdrawal::Changed);
                return Ok(0);
            }
            outgoing.ends_at(request.offset.saturating_add(payload.len() as u64));
        }
        let Some(block) = outgoing.block_size.hash(index, payload) else {
            // The end of a content of unknown size fell on the end of a block.
            return Ok(0);
        };
        // A block shorter than the others tells where a content of unknown size ends: it must travel. By now this side
        // may know that size, from an earlier reading; the receiver does not.
        let is_full = payload.len() == outgoing.block_size.len();
        let is_regular = is_full || outgoing.meta.size.is_some();
        let zeros = is_regular && is_zero(payload);
        match outgoing.read(&block, zeros) {
            Verdict::Send { again } => {
                if let Some(run) = outgoing.run.take() {
                    self.say.push_back(message_of(entry, run));
                }
                self.summary.travel(payload.len(), again);
                let mut control = Vec::with_capacity(BLOCK_HEAD);
                Message::Block { entry, index, hash: block.hash }.encode(&mut control);
                self.finish_frame(now, Name::Block, &control, head, payload.len())?;
                Ok(frame.len())
            }
            Verdict::Run { zeros } => {
                if let Some(run) = outgoing.join(index, zeros) {
                    self.say.push_back(message_of(entry, run));
                }
                Ok(0)
            }
            Verdict::Differs => {
                self.ready.pop_front();
                self.say.push_back(Message::Differs { entry });
                Ok(0)
            }
        }
    }

    /// Writes the head of a frame whose payload stands behind it already.
    fn finish_frame(
        &mut self,
        now: Duration,
        name: Name,
        control: &[u8],
        head: &mut [u8],
        payload: usize,
    ) -> Result<(), Failure> {
        let place = head.get_mut(HEADER..HEADER.saturating_add(control.len()));
        place.ok_or(Misuse::TooMuch)?.copy_from_slice(control);
        self.link.seal(now, name, head, payload)?;
        self.budget.spend(head.len().saturating_add(payload));
        self.worked = true;
        Ok(())
    }

    fn hear(&mut self, now: Duration, input: &[u8]) -> Result<Consumed, Failure> {
        match self.link.hear(now, input)? {
            Heard::Incomplete { needed } => Ok(Consumed { bytes: 0, needed }),
            Heard::Skip { len } => {
                self.link.take(now, len, None);
                Ok(Consumed { bytes: len, needed: 0 })
            }
            Heard::Message { message, len, .. } => {
                self.link.take(now, len, Some(message.name()));
                self.dispatch(now, message)?;
                Ok(Consumed { bytes: len, needed: 0 })
            }
        }
    }

    fn dispatch(&mut self, now: Duration, message: Message) -> Result<(), Failure> {
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
            self.answered = true;
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
                if !outgoing.have(first, hashes, more, compare) {
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
            Message::Refuse { entry, reason } | Message::Failed { entry, reason } => {
                pending(&mut self.entries, entry, kind)?;
                self.refuse(entry, reason.into());
            }
            Message::Missing { entry, blocks } => {
                let limit = self.config.limits.repairs;
                let outgoing = pending(&mut self.entries, entry, kind)?;
                let count = blocks.iter().map(|run| run.end.saturating_sub(run.start)).sum();
                if !outgoing.missing(blocks) {
                    return Err(ProtocolError::UnexpectedForEntry { kind, entry }.into());
                }
                outgoing.repairs = outgoing.repairs.saturating_add(1);
                if outgoing.repairs > limit {
                    return Err(Damage::TooOften { entry, rounds: limit }.into());
                }
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
                // To say the same again is no answer.
                self.answered |= has_grown;
                let gained = outgoing.arrived.saturating_sub(before);
                let offset = outgoing.released();
                let streams = outgoing.phase == Phase::Streaming;
                if streams && !self.ready.contains(&entry) {
                    self.ready.push_back(entry);
                }
                self.notes.push_back(Note::Release { entry, offset });
                self.progress(gained);
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
            Message::Over { .. } if self.waiting && !self.answered => {
                // Each side would wait for the other for ever.
                return Err(ProtocolError::Unexpected { kind }.into());
            }
            Message::Over { .. } => {
                self.state = Ok(State::Speaking);
                self.budget.begin(now);
                self.worked = false;
            }
            Message::Abort { code } => return Err(Failure::Aborted(code)),
            Message::Heartbeat { activity } => {
                self.notes.push_back(Note::Event(Event::Waiting { activity }));
            }
            Message::Hello(_)
            | Message::Offer(_)
            | Message::Block { .. }
            | Message::Same { .. }
            | Message::Zeros { .. }
            | Message::Differs { .. }
            | Message::End { .. }
            | Message::Withdraw { .. }
            | Message::Out => return Err(ProtocolError::Unexpected { kind }.into()),
        }
        Ok(())
    }

    fn meet(&mut self, hello: Hello) -> Result<(), Failure> {
        let (block, turn) = (hello.block, hello.turn_bytes);
        let (transfer, attempt) = (hello.transfer, hello.attempt);
        let version = self.link.meet(hello)?;
        self.block_size = self.block_size.min(block);
        for outgoing in self.entries.values_mut() {
            // A peer that takes smaller blocks than the one before it.
            if outgoing.block_size > self.block_size {
                *outgoing = outgoing.restart(self.block_size);
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
    fn deliver(&mut self, entry: EntryId, receipt: Receipt) {
        let Some(outgoing) = self.settle(entry) else { return };
        let count = |count: &mut u64, by: u64| *count = count.saturating_add(by);
        count(&mut self.summary.delivered, 1);
        count(&mut self.summary.bytes, receipt.size);
        if receipt.outcome == super::Outcome::Held {
            count(&mut self.summary.held, 1);
            count(&mut self.roots.held, 1);
        }
        if outgoing.meta.size.is_none() {
            self.offered = self.offered.saturating_add(receipt.size);
        }
        self.progress(receipt.size.saturating_sub(outgoing.arrived));
        self.notes.push_back(Note::Event(Event::Delivered { entry, receipt }));
    }

    fn refuse(&mut self, entry: EntryId, reason: Refusal) {
        let Some(outgoing) = self.settle(entry) else { return };
        self.summary.refuse(reason);
        let path = Some(outgoing.meta.path);
        self.notes.push_back(Note::Event(Event::Refused { entry, path, reason }));
    }

    fn withdraw(&mut self, entry: EntryId, reason: Withdrawal) {
        let Some(outgoing) = self.settle(entry) else { return };
        if outgoing.phase != Phase::Queued {
            self.say.push_back(Message::Withdraw { entry, reason: reason.into() });
        }
        self.summary.withdrawn = self.summary.withdrawn.saturating_add(1);
        let path = outgoing.meta.path;
        self.notes.push_back(Note::Event(Event::Withdrawn { entry, path, reason }));
    }

    /// Takes an entry out of all books.
    fn settle(&mut self, entry: EntryId) -> Option<Outgoing> {
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

    fn progress(&mut self, gained: u64) {
        if gained > 0 {
            self.arrived = self.arrived.saturating_add(gained);
            let (bytes, offered) = (self.arrived, self.offered.max(self.arrived));
            self.notes.push_back(Note::Event(Event::Progress { bytes, offered }));
        }
    }

    fn fail(&mut self, failure: Failure) -> Failure {
        // A misplaced call harms nobody but its caller.
        if !matches!(failure, Failure::Misuse(_)) {
            self.state = Err(failure);
        }
        failure
    }
}

impl Roots {
    /// To ask costs a round trip where the receiver lacks the content: not worth it where it nearly always does.
    const fn is_worth_asking(self) -> bool {
        self.preferred && self.lacking <= self.held.saturating_add(ROOTS_MISSED)
    }
}

/// How much of the input a core took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Consumed {
    /// Bytes from the start of the input that are dealt with.
    pub bytes: usize,
    /// If none were: how many bytes the input needs in all, as far as is known.
    pub needed: usize,
}

impl Consumed {
    pub(super) const fn nothing() -> Self {
        Self { bytes: 0, needed: 0 }
    }
}

impl From<Asked> for SendAction {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::NextEntry => Self::NextEntry,
            Asked::Read(request) => Self::Read(request),
        }
    }
}

fn pending(
    entries: &mut BTreeMap<EntryId, Outgoing>,
    entry: EntryId,
    kind: Name,
) -> Result<&mut Outgoing, ProtocolError> {
    entries
        .get_mut(&entry)
        .filter(|outgoing| outgoing.phase != Phase::Queued)
        .ok_or(ProtocolError::UnknownEntry { kind, entry })
}

fn message_of(entry: EntryId, run: entry::Run) -> Message {
    if run.zeros {
        Message::Zeros { entry, blocks: run.blocks }
    } else {
        Message::Same { entry, blocks: run.blocks }
    }
}

/// Whether there is nothing but zeros. Content that is not empty nearly always shows it in its first bytes.
fn is_zero(bytes: &[u8]) -> bool {
    let (head, rest) = bytes.split_at_checked(16).unwrap_or((bytes, &[]));
    head.iter().all(|byte| *byte == 0) && rest.iter().all(|byte| *byte == 0)
}

/// How many more files a receiver may lack than it holds before roots are no longer asked for first.
const ROOTS_MISSED: u64 = 16;

/// The bytes before the payload of a block: header, control part, check.
const BLOCK_HEAD: usize = HEADER + 44 + CHECK;
