//! A receiving session.
//!
//! | state | goes on with | next |
//! | --- | --- | --- |
//! | `Start` | the handshake of a stream that knows its ends | `Securing`, `Turn` |
//! | `Securing` | a flush of the stream, until the ends are known | `Turn` |
//! | `Turn` | the cancel token; work of the store that takes in commits, if any are under way | `Poll` |
//! | `Poll` | the core, which names an action | `Act` |
//! | `Act` | output that is written, if the action may take long | by the action |
//! | `Greeting` | the decision who is admitted, and the question how the sender goes on | `Welcome` |
//! | `Welcome` | work of the store, which is told whom it serves | `Turn` |
//! | `Doing` | work of the store, as the action asks | `Turn` |
//! | `Waiting` | the end of a commit, or a place | `Turn` |
//! | `Listen` | a read if the core is starved, and the pause that a limit asks for | `Feed` |
//! | `Feed` | the core, which takes a message; where that is long, it counts as work | `Answer`, `Turn` |
//! | `Answer` | a place, if the session has none; work of the store, which writes | `Turn` |
//! | `Failing` | the last words | over |

use std::io;
use std::mem;
use std::ops::Range;
use std::time::Duration;

use super::super::files::{self, Files};
use super::super::ids;
use super::super::suspended::Suspended;
use super::connection::{Connection, Purpose, TICK};
use super::machine::Machine;
use super::meter;
use super::need::{Need, Question};
use super::note::Note;
use super::wire::Moved;
use crate::error::Error;
use crate::proto::{self, Consumed, ReceiveAction, Receiver, Step, payload_so_far};
use crate::store::Store;
use crate::types::{AbortCode, EntryId, Event, Summary, TransferId};

/// A receiving session: the core, the store with what is open in it, and the connection.
pub(in crate::drive) struct Receiving<S: Store> {
    store: S,
    receiver: Receiver,
    files: Files<S::File>,
    connection: Connection,
    state: State,
    /// The progress on earlier connections.
    before: u64,
    /// Its sender is not admitted.
    is_refused: bool,
    /// Set if it came after a newer attempt had.
    is_outdated: bool,
    /// Set while it need not wait for others: its sender has not greeted, or was let in.
    is_let_in: bool,
    /// Set once it has asked something of the store, and may.
    is_seated: bool,
    /// Time at which a newer attempt was seen, which goes on with what has come by then.
    superseded: Option<Duration>,
}

enum State {
    Start,
    Securing {
        since: Duration,
    },
    Turn,
    /// Commits are to be taken in.
    Collect,
    Poll,
    Act(ReceiveAction),
    Greeting(Event),
    /// The question how its sender goes on is asked.
    Asked(Event),
    Welcome(Event),
    Doing(ReceiveAction),
    Waiting,
    /// The question whether it yields is asked.
    Yielding,
    Listen,
    Feed,
    Answer(Due),
    Failing(proto::Error),
}

/// Answer of the store to a message that is due.
enum Due {
    /// The core has something to ask first.
    Poll,
    /// Content is to be written that stands there in the input.
    Write { entry: EntryId, offset: u64, content: Range<usize> },
}

/// Answer to a sender that has greeted.
pub(in crate::drive) struct Welcome<S: Store> {
    /// The number of its attempt.
    pub(in crate::drive) attempt: u32,
    /// Suspended session of an earlier connection of its process, with the store in which its files are open.
    pub(in crate::drive) left: Option<(S, Suspended<S>)>,
}

/// A sender that is not the one whose transfer it names.
pub(in crate::drive) struct Stranger;

/// End of a receiving session.
pub(in crate::drive) struct Left<S: Store> {
    pub(in crate::drive) store: S,
    /// Remains of a connection that was lost, if they are of use to another one.
    pub(in crate::drive) suspended: Option<Suspended<S>>,
    /// Growth of the receiver's [progress](Receiver::progress) by this connection.
    pub(in crate::drive) progress: u64,
}

impl<S: Store> Receiving<S> {
    /// Creates a session over one connection. What an earlier session left with the store is closed: this is work of
    /// the store.
    pub(in crate::drive) fn new(mut store: S, receiver: Receiver, connection: Connection) -> Self {
        files::clear(&mut store);
        Self {
            store,
            receiver,
            files: Files::new(),
            connection,
            state: State::Start,
            before: 0,
            is_refused: false,
            is_outdated: false,
            is_let_in: true,
            is_seated: false,
            superseded: None,
        }
    }

    /// Ends it: suspends it, if the sender may come again after this, or closes what is open, which is work of the
    /// store.
    pub(in crate::drive) fn end(mut self, ended: &Result<Summary, Error>) -> Left<S> {
        let progress = self.receiver.progress().saturating_sub(self.before);
        let is_known = self.receiver.transfer().is_some() && !self.is_refused;
        let key = self.connection.peer_key();
        let Self { receiver, files, .. } = self;
        let suspended = Suspended { receiver, files, key };
        let suspended = match ended {
            Err(error) if is_known && can_come_again(error) => Some(suspended),
            _ => {
                suspended.let_go(&mut self.store);
                None
            }
        };
        Left { store: self.store, suspended, progress }
    }

    /// Handles the answer to [`Question::Greeted`].
    pub(in crate::drive) fn handle_welcome(
        &mut self,
        now: Duration,
        welcome: Result<Welcome<S>, Stranger>,
    ) {
        let State::Asked(mut event) = mem::replace(&mut self.state, State::Turn) else { return };
        let Ok(Welcome { attempt: number, left }) = welcome else { return self.refuse(now) };
        self.receiver.number_attempt(number);
        self.connection.greeted = true;
        self.is_outdated = self.connection.terms.cancel.code() == Some(AbortCode::Superseded);
        if let Some((store, left)) = left {
            self.store = store;
            self.adopt(left);
        }
        if let Event::Greeted { attempt, .. } = &mut event {
            *attempt = number;
        }
        self.state = State::Welcome(event);
    }

    /// Handles the answer to [`Question::Admission`].
    pub(in crate::drive) fn handle_admission(&mut self, may: bool) {
        self.let_in(may);
    }

    /// Handles the answer to [`Question::Seat`].
    ///
    /// # Errors
    ///
    /// There is none for a sender that has the floor and cannot be informed: a lost connection makes it come again, too.
    pub(in crate::drive) fn handle_seat(&mut self, is_there: bool) -> Result<(), Error> {
        self.is_seated = is_there;
        if is_there { Ok(()) } else { Err(proto::Error::Ended(AbortCode::Busy).into()) }
    }

    /// Handles the answer to [`Question::Yield`].
    pub(in crate::drive) fn handle_yield(&self, yields: bool) {
        if yields {
            // It is informed with the floor, and comes again.
            self.connection.terms.cancel.turn_away();
        }
    }

    /// Returns its cancel token.
    pub(in crate::drive) const fn cancel(&self) -> &super::super::cancel::CancelToken {
        &self.connection.terms.cancel
    }

    /// Ends the session if it is cancelled; for a newer attempt, once what has come of it was read.
    fn obey(&mut self, now: Duration) -> Result<(), Error> {
        let cancel = &self.connection.terms.cancel;
        let Some(code) = cancel.code() else { return Ok(()) };
        // Nobody need learn of it where the peer has given this connection up, or is taken for dead.
        let is_told = match code {
            AbortCode::Superseded => self.is_outdated,
            AbortCode::Stalled => false,
            _ => true,
        };
        match cancel.error().filter(|_| !is_told) {
            Some(_) if code == AbortCode::Superseded && self.reads_out(now) => {}
            Some(error) => return Err(error),
            None => self.receiver.end(now, code),
        }
        Ok(())
    }

    fn poll(&mut self, now: Duration) {
        if self.connection.meter.is_due(now) {
            let wire = &self.connection.wire;
            let came = if wire.is_starved() { payload_so_far(wire.input()) } else { 0 };
            self.tell_received(now, came);
        }
        let polled = self.receiver.poll(now, self.connection.wire.control());
        self.connection.wire.absorb();
        self.state = match polled {
            Ok(action) => {
                if may_take_long(&action) {
                    self.connection.begin_flush(now, &mut self.receiver, Purpose::Answers);
                }
                State::Act(action)
            }
            Err(failure) => {
                self.connection.begin_last_words(now, &mut self.receiver);
                State::Failing(failure)
            }
        };
    }

    fn act(&mut self, now: Duration, action: ReceiveAction) -> Result<Option<Need>, Error> {
        self.state = match action {
            ReceiveAction::Event(event @ Event::Greeted { .. }) => State::Greeting(event),
            ReceiveAction::Event(event) => {
                self.connection.tell(Note::Event(event));
                State::Turn
            }
            ReceiveAction::AwaitCommit { until } => {
                self.prove_current()?;
                self.state = State::Waiting;
                let wait = until.saturating_sub(now).min(TICK);
                return Ok(Some(if self.is_let_in {
                    Need::Commit(wait)
                } else {
                    Need::Answer(Question::Admission { wait })
                }));
            }
            ReceiveAction::Await { .. } => {
                let quiet = self.receiver.quiet_since().map(|since| now.saturating_sub(since));
                if quiet.is_some_and(|quiet| quiet >= QUIET) {
                    State::Yielding
                } else {
                    State::Listen
                }
            }
            ReceiveAction::Closed(summary) => return Ok(Some(Need::Nothing(summary))),
            action => State::Doing(action),
        };
        Ok(None)
    }

    /// Decides whether the sender is admitted, before anything of the store is looked at.
    fn greet(&mut self, now: Duration, event: Event) {
        let Some(transfer) = transfer_of(&event) else { return };
        let access = &self.connection.terms.access;
        if !access.admits(&access.greeting(true, transfer, self.receiver.peer_proof())) {
            return self.refuse(now);
        }
        if let Some(proof) = access.proof(false, transfer) {
            self.receiver.prove(proof);
        }
        if self.store.holds_content() {
            self.receiver.advertise_hash_first();
            self.receiver.compare_times();
        }
        self.state = State::Asked(event);
    }

    fn refuse(&mut self, now: Duration) {
        self.is_refused = true;
        self.receiver.end(now, AbortCode::NotAdmitted);
    }

    /// Returns the question how a sender goes on that has greeted, and is admitted.
    fn ask(&self, transfer: TransferId) -> Need {
        let proof = self.receiver.peer_proof();
        let greeting = self.connection.terms.access.greeting(true, transfer, proof);
        let attempt = self.receiver.transfer().map(|(_, attempt)| attempt);
        let attempt = attempt.filter(|_| !self.receiver.is_claimed());
        Need::Answer(Question::Greeted { greeting, attempt })
    }

    /// Tells the store whom it serves.
    fn welcome(&mut self, event: Event) {
        let Some(transfer) = transfer_of(&event) else { return };
        let key = self.connection.peer_key();
        self.store.identify(key);
        self.store.serve(ids::of_key(transfer, key));
        // Whoever has greeted asks for a place once its first turn has ended: one that keeps the floor would stand in the
        // line, before others, without going on.
        self.let_in(self.is_outdated);
        self.connection.tell(Note::Event(event));
    }

    /// Gives the core what came. Of content that it wants written, its place in the input is noted.
    fn feed(&mut self, now: Duration) -> Result<(), Error> {
        let input = self.connection.wire.input();
        let due = match self.receiver.handle_input(now, input)? {
            Step::Consumed(consumed) => {
                self.connection.wire.consume(Some(consumed));
                self.state = State::Turn;
                return Ok(());
            }
            Step::Poll => Due::Poll,
            Step::Write { entry, offset, bytes } => {
                self.connection.meter.entry = Some(entry);
                let start = bytes.as_ptr().addr().saturating_sub(input.as_ptr().addr());
                Due::Write { entry, offset, content: start..start + bytes.len() }
            }
        };
        self.state = State::Answer(due);
        Ok(())
    }

    /// Has the store do what a message asks of it.
    fn answer(&mut self, due: Due) -> Result<Option<Consumed>, Error> {
        let Self { store, receiver, files, connection, .. } = self;
        let step = match due {
            Due::Poll => Step::Poll,
            Due::Write { entry, offset, content } => {
                let bytes = connection.wire.input().get(content).unwrap_or_default();
                Step::Write { entry, offset, bytes }
            }
        };
        Ok(files.answer(store, receiver, step)?)
    }

    /// Goes on with what an earlier connection left.
    fn adopt(&mut self, left: Suspended<S>) {
        let before = left.receiver.progress();
        // It is of this transfer, has the same configuration, and nothing was offered yet: nothing can be wrong with
        // it.
        if self.receiver.adopt(left.receiver).is_ok() {
            (self.files, self.before) = (left.files, before);
        }
    }

    /// Lets the sender go on, or has it wait with the floor kept.
    fn let_in(&mut self, is_let_in: bool) {
        self.is_let_in = is_let_in;
        self.receiver.keep_floor(!is_let_in);
    }

    /// Returns whether a session that was superseded may go on reading.
    fn reads_out(&mut self, now: Duration) -> bool {
        self.is_seated && now.saturating_sub(*self.superseded.get_or_insert(now)) < READ_OUT
    }

    /// Ends a session that was superseded where it would wait.
    fn prove_current(&self) -> Result<(), Error> {
        match self.superseded {
            Some(_) => Err(proto::Error::Ended(AbortCode::Superseded).into()),
            None => Ok(()),
        }
    }

    /// Reports how far the transfer is, with so much content that has come of a message.
    fn tell_received(&mut self, now: Duration, came: usize) {
        // Before it has greeted, nothing is content.
        let came = if self.connection.greeted { came } else { 0 };
        let progress = meter::more(self.receiver.transfer_progress(), came);
        self.connection.tell_progress(now, progress);
    }

    fn begin(&mut self, binding: Option<[u8; 32]>) {
        if let Some(binding) = binding {
            self.receiver.bind(binding);
        }
        self.state = State::Turn;
    }
}

impl<S: Store> Machine for Receiving<S> {
    fn step(&mut self, now: Duration) -> Result<Need, Error> {
        loop {
            if let Some(need) = self.connection.pending(now, &mut self.receiver) {
                return Ok(need);
            }
            match mem::replace(&mut self.state, State::Turn) {
                State::Start if self.connection.has_channel() => {
                    self.state = State::Securing { since: now };
                }
                State::Start => self.begin(None),
                State::Securing { since } => {
                    self.state = State::Securing { since };
                    return Ok(Need::Flush);
                }
                State::Turn => {
                    self.obey(now)?;
                    let has_commits = self.receiver.commits() > 0;
                    self.state = if has_commits { State::Collect } else { State::Poll };
                }
                State::Poll => self.poll(now),
                State::Act(action) => {
                    if let Some(need) = self.act(now, action)? {
                        return Ok(need);
                    }
                }
                State::Asked(event) => {
                    let transfer = transfer_of(&event);
                    self.state = State::Asked(event);
                    if let Some(transfer) = transfer {
                        return Ok(self.ask(transfer));
                    }
                }
                State::Waiting => {}
                State::Yielding => {
                    self.state = State::Listen;
                    return Ok(Need::Answer(Question::Yield));
                }
                // What came is given to the core before it looks at a deadline.
                State::Listen if self.connection.wire.is_starved() => {
                    self.state = State::Listen;
                    return Ok(Need::Read);
                }
                State::Listen | State::Feed if self.connection.wire.input().len() < LONG => {
                    self.feed(now)?;
                }
                State::Listen | State::Feed => {
                    self.state = State::Feed;
                    return Ok(Need::Work);
                }
                State::Answer(due) if !self.is_seated => {
                    self.state = State::Answer(due);
                    return Ok(Need::Answer(Question::Seat));
                }
                State::Failing(failure) => return Err(failure.into()),
                work @ (State::Collect
                | State::Greeting(_)
                | State::Welcome(_)
                | State::Doing(_)
                | State::Answer(_)) => {
                    self.state = work;
                    return Ok(Need::Work);
                }
            }
        }
    }

    fn work(&mut self, now: Duration) -> Result<(), Error> {
        match mem::replace(&mut self.state, State::Turn) {
            State::Collect => {
                self.collect(Duration::ZERO)?;
                self.state = State::Poll;
            }
            State::Greeting(event) => self.greet(now, event),
            State::Welcome(event) => self.welcome(event),
            State::Doing(action) => self.files.act(&mut self.store, &mut self.receiver, action)?,
            State::Feed => self.feed(now)?,
            State::Answer(due) => {
                let consumed = self.answer(due)?;
                self.connection.wire.consume(consumed);
            }
            state => self.state = state,
        }
        Ok(())
    }

    fn collect(&mut self, wait: Duration) -> Result<bool, Error> {
        Ok(self.files.collect(&mut self.store, &mut self.receiver, wait)?)
    }

    fn handle_read(&mut self, now: Duration, read: io::Result<usize>) -> Result<(), Error> {
        match self.connection.wire.handle_read(read)? {
            Moved::Tick => self.prove_current()?,
            Moved::Bytes(bytes) => self.connection.throttle(now, bytes),
        }
        self.state = State::Feed;
        Ok(())
    }

    fn handle_write(&mut self, now: Duration, wrote: io::Result<usize>) -> Result<(), Error> {
        self.connection.handle_write(now, wrote, &mut self.receiver)
    }

    fn handle_flush(&mut self, now: Duration, flushed: io::Result<()>) -> Result<(), Error> {
        if let State::Securing { since } = self.state {
            if let Some(binding) = self.connection.handle_handshake(now, since, flushed)? {
                self.begin(Some(binding));
            }
            return Ok(());
        }
        self.connection.handle_flush(now, flushed, &mut self.receiver)
    }

    fn finish(&mut self, now: Duration) {
        // Of what came of a block nothing is kept.
        self.tell_received(now, 0);
    }

    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

const fn transfer_of(event: &Event) -> Option<TransferId> {
    match event {
        Event::Greeted { transfer, .. } => Some(*transfer),
        _ => None,
    }
}

/// Returns whether the action may take long, so that output should reach the peer first.
const fn may_take_long(action: &ReceiveAction) -> bool {
    !matches!(
        action,
        ReceiveAction::Event(_)
            | ReceiveAction::Commit { .. }
            | ReceiveAction::Suspend { .. }
            | ReceiveAction::Discard { .. }
    )
}

/// Returns whether the sender may come again after this, with its transfer.
fn can_come_again(error: &Error) -> bool {
    // What one without descriptors has open would keep them from all others, and what one leaves that is to make room
    // for others would have the place that they need.
    !matches!(error, Error::Session(proto::Error::Ended(AbortCode::Exhausted | AbortCode::Busy)))
        && (error.is_transient()
            || matches!(error, Error::Session(proto::Error::Ended(AbortCode::Superseded))))
}

/// Longest time for which the session of a sender that was superseded reads what came of it before: most of what a killed
/// process leaves in the buffers of its connection.
const READ_OUT: Duration = Duration::from_secs(2);

/// Shortest time that a sender that has nothing to send keeps its place, while others wait for one.
pub(in crate::drive) const QUIET: Duration = Duration::from_secs(60);

/// Input from which on a message of it takes as long to check as a call of the store.
const LONG: usize = 16 * 1024;
