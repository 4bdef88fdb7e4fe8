//! The receiver's machine.
//!
//! | state | input | output | next |
//! | --- | --- | --- | --- |
//! | `AwaitHello` | `Hello` | event `Greeted` | `Listening` |
//! | `Listening` | `Offer` | `Begin`; what follows depends on what the store found | `Listening` |
//! | `Listening` | `Block` | `Write`, if its hash is right; else it is asked for again | `Listening` |
//! | `Listening` | `Same` | `Copy`, where a file is being replaced | `Listening` |
//! | `Listening` | `Zeros` | `Write`, unless they are there | `Listening` |
//! | `Listening` | `Differs` | `Begin` beside, or the entry is refused | `Listening` |
//! | `Listening` | `End` | `Commit`, if whole; else blocks are asked for again | `Listening` |
//! | `Listening` | `Withdraw` | event `Withdrawn`; the entry is settled | `Listening` |
//! | `Listening` | `Heartbeat` | event `Waiting` | `Listening` |
//! | `Listening` | `Over` | | `Speaking` |
//! | `Listening` | `Out`, nothing pending | | `Closed` |
//! | `Speaking` | `poll` | `Hello` once; `Have`, `Refuse`, `Failed`, `Missing`, `Receipt`, `Kept` | `Speaking` |
//! | `Speaking` | `poll`, nothing left to say | `Over` | `Listening` |
//! | any but `Closed` | `Abort` | | failed: `Aborted` |
//! | `Listening` | any other message | listens to the end of the turn, then `Abort` | failed: `Unexpected` |
//!
//! A failed machine stays failed: every call gives the same [`Failure`].

mod dispatch;
mod entry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub(super) use self::dispatch::{BESIDE_MAX, ZEROS_MAX};
use self::entry::{Incoming, Phase};
use super::Consumed;
use super::error::{Damage, Failure, Misuse};
use super::event::{Event, Summary};
use super::link::{Heard, Link};
use super::message::{Activity, Message, Name, RANGES_MAX};
use super::path::RelPath;
use super::types::{AbortCode, EntryId, Offer, Outcome, Receipt, Refusal, TransferId};
use crate::config::{Config, Existing};
use crate::store::{Commit, Place};
use crate::tree::{Hashed, Root};

/// The receiving half of a session, sans-IO.
///
/// 1. Call [`poll`](Receiver::poll) and do what it says. Bytes that it appended are written to the stream
///    first, whatever the action.
/// 2. After [`ReceiveAction::Await`], read from the stream and give all bytes that are not yet consumed to
///    [`handle_input`](Receiver::handle_input), until it asks for more. What it asks of the store is answered
///    before the next call.
/// 3. Whenever the store has ended a commit, call [`handle_committed`](Receiver::handle_committed).
/// 4. After [`ReceiveAction::Closed`], the session is over, and well.
///
/// Times are those of the caller: any clock that does not go back.
#[derive(Debug)]
pub struct Receiver {
    config: Config,
    link: Link,
    state: Result<State, Failure>,
    entries: BTreeMap<EntryId, Incoming>,
    /// Those among them whose content is not complete.
    busy: BTreeSet<EntryId>,
    /// Folders that are to be committed once all that was offered before them is: their time is set last.
    waiting: BTreeSet<EntryId>,
    next_id: u32,
    /// The message that is being dealt with.
    current: Option<Current>,
    /// A held block that the caller was asked to read.
    reading: Option<(EntryId, u64, usize)>,
    say: VecDeque<Message>,
    todo: VecDeque<ReceiveAction>,
    /// What ends the session once the sender has spoken out, and since when.
    doom: Option<(Failure, Duration)>,
    greeted: bool,
    /// The sender said that it cannot go on without an answer.
    waited_for: bool,
    /// Something but heartbeats was said in this turn.
    spoke: bool,
    /// Something was said in this turn with which the sender can go on.
    advanced: bool,
    turn_began: Duration,
    open: u32,
    names: u64,
    committing: u32,
    /// Entries that are out of the books, but what became of them is not said; and whether that is bad news.
    unsaid: BTreeMap<EntryId, bool>,
    /// Entries and bytes offered or sent, over the whole session.
    taken_entries: u64,
    taken_bytes: u64,
    arrived: u64,
    summary: Summary,
}

/// What the caller must do now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum ReceiveAction {
    /// Tell the application.
    Event(Event),
    /// Read `len` bytes that the store holds of the entry, and call [`Receiver::handle_held`].
    Read {
        /// The entry.
        entry: EntryId,
        /// Where they begin.
        offset: u64,
        /// How many.
        len: usize,
    },
    /// Start the commit of an entry.
    Commit(Commit),
    /// Close what is open of an entry, and keep it for a later attempt.
    Suspend {
        /// The entry.
        entry: EntryId,
    },
    /// Close what is open of an entry, and remove it.
    Discard {
        /// The entry.
        entry: EntryId,
    },
    /// Wait until a commit ended, and call [`Receiver::handle_committed`]; or [`Receiver::poll`] at `until`.
    AwaitCommit {
        /// When something else is due.
        until: Duration,
    },
    /// Read from the stream, and call [`Receiver::handle_input`]; or [`Receiver::poll`] at `until`, if nothing came.
    Await {
        /// The next deadline.
        until: Duration,
    },
    /// Close the stream: every entry is settled.
    Closed(Summary),
}

/// What became of the input, or what the store must do before more becomes of it. After an answer, call
/// [`Receiver::handle_input`] again, with the same input.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub enum Step<'a> {
    /// Nothing is asked for.
    Consumed(Consumed),
    /// Close what is open of the entry, begin it, and call [`Receiver::handle_begun`].
    Begin {
        /// The offer.
        offer: Offer,
        /// Under which name.
        place: Place,
    },
    /// Read what the store holds, and call [`Receiver::handle_held`].
    Read {
        /// The entry.
        entry: EntryId,
        /// Where it begins.
        offset: u64,
        /// How long it is.
        len: usize,
    },
    /// Write verified content, and call [`Receiver::handle_written`].
    Write {
        /// The entry.
        entry: EntryId,
        /// Where it begins.
        offset: u64,
        /// The content, borrowed from the input.
        bytes: &'a [u8],
    },
    /// Copy from the file that will be replaced, and call [`Receiver::handle_written`].
    Copy {
        /// The entry.
        entry: EntryId,
        /// Where it begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
}

/// What the store found, without its handle: see [`Begun`](crate::store::Begun).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// Nothing.
    Fresh,
    /// A partial file of this many bytes.
    Partial(u64),
    /// A file of this many bytes under the final name.
    Existing(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitHello,
    Listening,
    Speaking,
    Closed,
}

/// A message whose consequences are not all drawn.
#[derive(Debug)]
struct Current {
    name: Name,
    len: usize,
    payload: std::ops::Range<usize>,
    tasks: VecDeque<Task>,
    /// The first task was handed out and is not answered.
    asked: bool,
}

/// One thing to do about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Task {
    Begin {
        entry: EntryId,
        place: Place,
    },
    /// Compare the content that came inside its offer with the file that has its name.
    Compare {
        entry: EntryId,
        len: usize,
    },
    /// Write the payload, or a block of zeros.
    Write {
        entry: EntryId,
        offset: u64,
        block: Option<Hashed>,
        source: Bytes,
    },
    Copy {
        entry: EntryId,
        blocks: std::ops::Range<u64>,
    },
    /// Read and hash a block that was copied: the file that it came from may have changed since it was hashed.
    Check {
        entry: EntryId,
        index: u64,
        len: usize,
    },
    Zeros {
        entry: EntryId,
        blocks: std::ops::Range<u64>,
    },
    /// See whether the entry is whole.
    Settle {
        entry: EntryId,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Payload,
    Zeros(usize),
}

impl Receiver {
    /// A receiver that waits for a sender's greeting. `nonce` is random bytes, different for each connection.
    #[must_use]
    pub fn new(config: Config, nonce: [u8; 16], now: Duration) -> Self {
        Self {
            link: Link::new(&config, false, TransferId([0; 16]), 0, nonce, now),
            state: Ok(State::AwaitHello),
            config,
            entries: BTreeMap::new(),
            busy: BTreeSet::new(),
            waiting: BTreeSet::new(),
            next_id: 0,
            current: None,
            reading: None,
            say: VecDeque::new(),
            todo: VecDeque::new(),
            doom: None,
            greeted: false,
            waited_for: false,
            spoke: false,
            advanced: false,
            turn_began: now,
            open: 0,
            names: 0,
            committing: 0,
            unsaid: BTreeMap::new(),
            taken_entries: 0,
            taken_bytes: 0,
            arrived: 0,
            summary: Summary::default(),
        }
    }

    /// Says in the greeting that the store holds files already, so that small ones are offered by their hash before
    /// their content travels. It has an effect before the first turn only.
    pub fn prefer_roots(&mut self) {
        self.link.prefer_roots();
    }

    /// What must be done now. Bytes to write first are appended to `out`, also where this fails.
    ///
    /// # Errors
    ///
    /// The session ended without success; the same again on every later call.
    pub fn poll(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<ReceiveAction, Failure> {
        if let Some(action) = self.todo.pop_front() {
            return Ok(action);
        }
        let polled = match self.state? {
            State::AwaitHello | State::Listening => self.listen(now),
            State::Speaking => self.speak(now, out),
            State::Closed => Ok(ReceiveAction::Closed(self.summary)),
        };
        polled.map_err(|failure| self.fail(failure))
    }

    /// Takes at most one message from the start of `input`, which is all that was read and not yet consumed.
    ///
    /// # Errors
    ///
    /// As for [`poll`](Receiver::poll).
    pub fn handle_input<'a>(
        &mut self,
        now: Duration,
        input: &'a [u8],
    ) -> Result<Step<'a>, Failure> {
        match self.state? {
            State::AwaitHello | State::Listening => {
                self.hear(now, input).map_err(|failure| self.fail(failure))
            }
            // Bytes out of turn stay where they are: they belong to the sender's next turn.
            State::Speaking | State::Closed => Ok(Step::Consumed(Consumed::nothing())),
        }
    }

    /// The store began an entry, or refused it.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] outside an answer to [`Step::Begin`].
    pub fn handle_begun(&mut self, begun: Result<Found, Refusal>) -> Result<(), Failure> {
        let Task::Begin { entry, place } =
            self.answer(|task| matches!(task, Task::Begin { .. }))?
        else {
            return Err(Misuse::NotAsked.into());
        };
        self.begun(entry, place, begun);
        Ok(())
    }

    /// What the store holds was read: all that was asked for, or less if there is no more; or it cannot be read.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] outside an answer to [`Step::Read`] or [`ReceiveAction::Read`];
    /// [`Misuse::TooMuch`] for more bytes than were asked for.
    pub fn handle_held(&mut self, held: Result<&[u8], Refusal>) -> Result<(), Failure> {
        self.state?;
        if let Some((entry, offset, len)) = self.reading {
            if held.is_ok_and(|bytes| bytes.len() > len) {
                return Err(Misuse::TooMuch.into());
            }
            self.reading = None;
            self.held(entry, offset, len, held);
            return Ok(());
        }
        let task = self.current.as_ref().and_then(|current| current.tasks.front());
        if let Some(Task::Compare { len, .. } | Task::Check { len, .. }) = task
            && held.is_ok_and(|bytes| bytes.len() > *len)
        {
            return Err(Misuse::TooMuch.into());
        }
        let fits = |task: &Task| matches!(task, Task::Compare { .. } | Task::Check { .. });
        match (self.answer(fits)?, held) {
            (Task::Compare { entry, .. }, Ok(bytes)) => {
                self.compared(entry, Root::of(bytes), bytes.len());
            }
            (Task::Check { entry, index, .. }, Ok(bytes)) => self.copied(entry, index, bytes),
            (Task::Compare { entry, .. } | Task::Check { entry, .. }, Err(reason)) => {
                self.drop_entry(entry, reason);
            }
            _ => {}
        }
        Ok(())
    }

    /// The store wrote or copied what it was asked to, or could not.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] outside an answer to [`Step::Write`] or [`Step::Copy`].
    pub fn handle_written(&mut self, written: Result<(), Refusal>) -> Result<(), Failure> {
        let fits = |task: &Task| matches!(task, Task::Write { .. } | Task::Copy { .. });
        match (self.answer(fits)?, written) {
            (Task::Write { entry, .. } | Task::Copy { entry, .. }, Err(reason)) => {
                self.drop_entry(entry, reason);
            }
            (Task::Copy { entry, blocks }, Ok(())) => self.check_copied(entry, blocks),
            (Task::Write { entry, block, source, .. }, Ok(())) => {
                self.written(entry, block.as_ref(), source);
            }
            _ => {}
        }
        Ok(())
    }

    /// The store ended a commit.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] for an entry that is not being committed.
    pub fn handle_committed(
        &mut self,
        entry: EntryId,
        committed: Result<RelPath, Refusal>,
    ) -> Result<(), Failure> {
        self.state?;
        let Some(Incoming { phase: Phase::Committing { size, root, outcome }, offer, .. }) =
            self.entries.get(&entry)
        else {
            return Err(Misuse::NotAsked.into());
        };
        let (size, root, outcome) = (*size, *root, *outcome);
        let offered = offer.meta.path.clone();
        self.committing = self.committing.saturating_sub(1);
        let is_bad = committed.is_err();
        match committed {
            Ok(path) => {
                let name = if path == offered { Box::default() } else { path.as_bytes().into() };
                let durability = self.config.durability;
                self.say.push_back(Message::Receipt {
                    entry,
                    size,
                    root,
                    durability,
                    outcome,
                    name,
                });
                let count = |count: &mut u64, by: u64| *count = count.saturating_add(by);
                count(&mut self.summary.delivered, 1);
                count(&mut self.summary.bytes, size);
                count(&mut self.summary.held, u64::from(outcome == Outcome::Held));
                let receipt = Receipt { path, size, root, durability, outcome };
                self.tell(Event::Delivered { entry, receipt });
            }
            Err(reason) => self.report(entry, reason),
        }
        self.forget(entry);
        self.unsaid.insert(entry, is_bad);
        Ok(())
    }

    /// The peer took bytes.
    pub fn handle_peer_took(&mut self, now: Duration) {
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

    /// Ends the session for a reason of this side: the sender is heard out to the end of its turn, and told.
    pub fn end(&mut self, now: Duration, code: AbortCode) {
        let failure =
            if code == AbortCode::Cancelled { Failure::Cancelled } else { Failure::Ended(code) };
        self.doom.get_or_insert((failure, now));
    }

    /// Whether the session is over, well or not.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, Ok(State::Closed) | Err(_))
    }

    /// The transfer and the attempt that the sender named, once it has greeted.
    #[must_use]
    pub fn transfer(&self) -> Option<(TransferId, u32)> {
        self.link.peer().map(|hello| (hello.transfer, hello.attempt))
    }

    /// How many commits are under way.
    #[must_use]
    pub fn commits(&self) -> u32 {
        self.committing
    }

    /// The sum so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary
    }

    fn listen(&self, now: Duration) -> Result<ReceiveAction, Failure> {
        let mut until = self.link.check(now)?;
        if let Some((failure, since)) = self.doom {
            let end = since.saturating_add(self.config.deadlines.drain);
            // Before the sender has greeted there is nobody to tell.
            if now >= end || self.state == Ok(State::AwaitHello) {
                return Err(failure);
            }
            until = until.min(end);
        }
        if self.committing >= self.config.limits.commits.max(1) {
            return Ok(ReceiveAction::AwaitCommit { until });
        }
        Ok(ReceiveAction::Await { until })
    }

    fn speak(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<ReceiveAction, Failure> {
        if !self.greeted {
            self.greeted = true;
            self.link.greet(now, out)?;
        }
        if let Some((failure, _)) = self.doom {
            if let Some(code) = failure.abort_code() {
                self.link.say(now, &Message::Abort { code }, out)?;
            }
            return Err(failure);
        }
        if now >= self.link.heartbeat_due() {
            let busy = self.committing > 0 && self.reading.is_none();
            let activity = if busy { Activity::Syncing } else { Activity::Verifying };
            self.link.say(now, &Message::Heartbeat { activity }, out)?;
        }
        let is_late = now.saturating_sub(self.turn_began) >= self.config.turn.max_time;
        loop {
            self.say_queued(now, out)?;
            if !self.link.may_say() {
                // The rest is said in the next turn.
                return self.pass(now, out);
            }
            if let Some(action) = self.report_held(is_late) {
                return Ok(action);
            }
            if self.say.is_empty() {
                break;
            }
        }
        self.ask_again(now, out)?;
        // A sender that cannot go on gets all receipts at once, rather than a round trip for each.
        let is_enough = self.advanced || (is_late && self.spoke);
        if self.waited_for && self.committing > 0 && !is_enough {
            return Ok(ReceiveAction::AwaitCommit { until: self.link.heartbeat_due() });
        }
        self.pass(now, out)
    }

    fn say_queued(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<(), Failure> {
        while self.link.may_say()
            && let Some(message) = self.say.pop_front()
        {
            self.link.say(now, &message, out)?;
            self.spoke = true;
            if let Message::Have { .. } = message {
                self.advanced = true;
            } else if let Some(entry) = message.entry() {
                // The sender will not speak of it again.
                if self.entries.contains_key(&entry) {
                    self.forget(entry);
                } else {
                    self.unsaid.remove(&entry);
                }
            }
        }
        Ok(())
    }

    /// Hashes and reports what the store holds of entries.
    fn report_held(&mut self, is_late: bool) -> Option<ReceiveAction> {
        if let Some((entry, offset, len)) = self.reading {
            return Some(ReceiveAction::Read { entry, offset, len });
        }
        for (&entry, incoming) in &mut self.entries {
            let compare = match incoming.phase {
                Phase::Comparing => self.config.existing != Existing::Replace,
                Phase::Filling | Phase::Wanted => false,
                Phase::Opening | Phase::Waiting | Phase::Committing { .. } | Phase::Dropped => {
                    continue;
                }
            };
            if let Some((offset, len)) = incoming.hold_wants()
                && !(is_late && incoming.hold.as_ref().is_some_and(|hold| hold.has_some()))
            {
                self.reading = Some((entry, offset, len));
                return Some(ReceiveAction::Read { entry, offset, len });
            }
            if let Some((first, hashes, more)) = incoming.hold_says() {
                self.say.push_back(Message::Have { entry, first, hashes, more, compare });
            }
        }
        None
    }

    /// Asks for damaged blocks again, and says what is kept.
    fn ask_again(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<(), Failure> {
        let limit = self.config.limits.repairs;
        for (&entry, incoming) in &mut self.entries {
            // While a file is compared that will be replaced, what is equal is as good as written.
            let replaces = self.config.existing == Existing::Replace;
            match incoming.phase {
                Phase::Filling => {}
                Phase::Comparing if replaces => {}
                Phase::Opening
                | Phase::Comparing
                | Phase::Wanted
                | Phase::Waiting
                | Phase::Committing { .. }
                | Phase::Dropped => continue,
            }
            let blocks = incoming.missing(RANGES_MAX, self.waited_for);
            if !blocks.is_empty() && self.link.may_say() {
                incoming.repairs = incoming.repairs.saturating_add(1);
                if incoming.repairs > limit {
                    return Err(Damage::TooOften { entry, rounds: limit }.into());
                }
                let count = blocks.iter().map(|run| run.end.saturating_sub(run.start)).sum();
                incoming.damaged = false;
                incoming.asked = count;
                let event = Event::Repairing { entry, blocks: count };
                self.todo.push_back(ReceiveAction::Event(event));
                self.link.say(now, &Message::Missing { entry, blocks }, out)?;
                (self.spoke, self.advanced) = (true, true);
            }
            if self.link.may_say() && std::mem::take(&mut incoming.gained) {
                let blocks: Vec<_> = incoming.tree.runs().take(RANGES_MAX).collect();
                self.link.say(now, &Message::Kept { entry, blocks }, out)?;
                (self.spoke, self.advanced) = (true, true);
            }
        }
        Ok(())
    }

    /// Passes the floor.
    fn pass(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<ReceiveAction, Failure> {
        self.link.say(now, &Message::Over { waiting: true }, out)?;
        self.link.pass(now);
        self.state = Ok(State::Listening);
        match self.todo.pop_front() {
            Some(action) => Ok(action),
            None => self.listen(now),
        }
    }

    fn hear<'a>(&mut self, now: Duration, input: &'a [u8]) -> Result<Step<'a>, Failure> {
        if self.current.is_none() {
            let (message, payload, len) = match self.link.hear(now, input)? {
                Heard::Incomplete { needed } => {
                    return Ok(Step::Consumed(Consumed { bytes: 0, needed }));
                }
                Heard::Skip { len } => {
                    self.link.take(now, len, None);
                    return Ok(Step::Consumed(Consumed { bytes: len, needed: 0 }));
                }
                Heard::Message { message, payload, len } => (message, payload, len),
            };
            let name = message.name();
            let start = len.saturating_sub(payload.len());
            let mut current =
                Current { name, len, payload: start..len, tasks: VecDeque::new(), asked: false };
            if matches!(name, Name::Hello | Name::Over | Name::Out | Name::Abort) {
                // These change what is heard next, and ask nothing of the store.
                self.link.take(now, len, Some(name));
                self.control(now, message)?;
                return Ok(Step::Consumed(Consumed { bytes: len, needed: 0 }));
            }
            if self.state == Ok(State::AwaitHello) {
                return Err(super::ProtocolError::Unexpected { kind: name }.into());
            }
            if self.doom.is_none()
                && let Err(error) = self.dispatch(message, payload, &mut current.tasks)
            {
                current.tasks.clear();
                self.doom = Some((error.into(), now));
            }
            self.current = Some(current);
        }
        self.work(now, input)
    }

    /// Hands out the next task of the current message, or consumes it.
    fn work<'a>(&mut self, now: Duration, input: &'a [u8]) -> Result<Step<'a>, Failure> {
        while let Some(task) = self.next_task() {
            let Some(current) = &mut self.current else { break };
            current.asked = true;
            let payload = current.payload.clone();
            match task {
                Task::Begin { entry, place } => {
                    if let Some(incoming) = self.entries.get(&entry) {
                        return Ok(Step::Begin { offer: incoming.offer.clone(), place });
                    }
                    self.skip_task();
                }
                Task::Compare { entry, len } => return Ok(Step::Read { entry, offset: 0, len }),
                Task::Write { entry, offset, source, .. } => {
                    let bytes = match source {
                        Bytes::Payload => input.get(payload),
                        Bytes::Zeros(len) => ZEROS.get(..len),
                    };
                    let bytes = bytes.ok_or(Misuse::AnswerDue)?;
                    return Ok(Step::Write { entry, offset, bytes });
                }
                Task::Copy { entry, blocks } => {
                    // One at a time: each is read again.
                    let first = blocks.start..blocks.start.saturating_add(1).min(blocks.end);
                    if let Some((offset, len)) = self.span(entry, &first) {
                        return Ok(Step::Copy { entry, offset, len });
                    }
                    self.skip_task();
                }
                Task::Check { entry, index, len } => {
                    if let Some((offset, _)) = self.span(entry, &(index..index.saturating_add(1))) {
                        return Ok(Step::Read { entry, offset, len });
                    }
                    self.skip_task();
                }
                Task::Zeros { entry, blocks } => self.zeros(entry, blocks),
                Task::Settle { entry } => self.settle(entry),
            }
            // Done without the caller: the next one.
            if let Some(current) = &mut self.current {
                current.asked = false;
            }
        }
        let Some(current) = self.current.take() else { return Err(Misuse::AnswerDue.into()) };
        self.link.take(now, current.len, Some(current.name));
        Ok(Step::Consumed(Consumed { bytes: current.len, needed: 0 }))
    }

    /// The first task concerns nothing that is left.
    fn skip_task(&mut self) {
        if let Some(current) = &mut self.current {
            current.tasks.pop_front();
        }
    }

    /// The first task; one that the caller has nothing to do with is taken off the list.
    fn next_task(&mut self) -> Option<Task> {
        let tasks = &mut self.current.as_mut()?.tasks;
        let task = tasks.front()?.clone();
        if matches!(task, Task::Zeros { .. } | Task::Settle { .. }) {
            tasks.pop_front();
        }
        Some(task)
    }

    /// The answer to the first task has come.
    fn answer(&mut self, fits: impl FnOnce(&Task) -> bool) -> Result<Task, Failure> {
        self.state?;
        let current = self.current.as_mut().filter(|current| current.asked);
        let current = current.ok_or(Misuse::NotAsked)?;
        if !current.tasks.front().is_some_and(fits) {
            return Err(Misuse::NotAsked.into());
        }
        current.asked = false;
        current.tasks.pop_front().ok_or_else(|| Misuse::NotAsked.into())
    }

    fn tell(&mut self, event: Event) {
        self.todo.push_back(ReceiveAction::Event(event));
    }

    fn fail(&mut self, failure: Failure) -> Failure {
        // A misplaced call harms nobody but its caller.
        if !matches!(failure, Failure::Misuse(_)) {
            self.state = Err(failure);
        }
        failure
    }
}

/// What is written for a block of zeros. It takes no room in the program.
static ZEROS: [u8; crate::tree::BlockSize::MAX.len()] = [0; crate::tree::BlockSize::MAX.len()];
