//! The sender's machine.
//!
//! | state | input | output | next |
//! | --- | --- | --- | --- |
//! | `Greeting` | `poll` | preface, `Hello`, `Over` | `AwaitHello` |
//! | `AwaitHello` | `Hello` | event `Greeted` | `Listening` |
//! | `Listening` | `Have` | the entry streams | `Listening` |
//! | `Listening` | `Have` to compare | the entry is hashed, and its root sent in `Claim` | `Listening` |
//! | `Listening` | `Refuse` | event `Refused`; the entry is settled | `Listening` |
//! | `Listening` | `Missing` | blocks are queued again | `Listening` |
//! | `Listening` | `Kept` | event `Progress`; before the first `Have`, these blocks are passed over | `Listening` |
//! | `Listening` | `Receipt` | event `Delivered`; the entry is settled | `Listening` |
//! | `Listening` | `Unchanged` | event `Trusted`; the entry is settled | `Listening` |
//! | `Listening` | `Changed` | the entry is queued to be offered again | `Listening` |
//! | `Listening` | `Heartbeat` | event `Waiting` | `Listening` |
//! | `Listening` | `Over` | | `Speaking` |
//! | `Listening` | `Over`, the answer that is due was not given | | `Speaking`, to send `Abort` |
//! | `Speaking` | `poll`, after `end` | `Abort` | failed: `Ended` |
//! | `Speaking` | `poll`, within the turn | `NextEntry`, `Read`; offers, claims, blocks, ends | `Speaking` |
//! | `Speaking` | `poll`, nothing left to send or turn spent | `Over` | `Listening` |
//! | `Speaking` | `poll`, everything settled | `Out` | `Closed` |
//! | any but `Closed` | `Abort` | | failed: `Aborted` |
//! | any but `Closed` | any other message | | failed: `Unexpected` |
//!
//! A failed machine stays failed: every call gives the same [`Error`].

mod action;
mod budget;
mod checks;
mod content;
mod course;
mod dispatch;
mod entries;
mod outgoing;
mod requests;
mod roots;
mod transmit;
mod turn;
mod window;

use std::collections::VecDeque;
use std::time::Duration;

use self::checks::Checks;
use self::entries::Entries;
use self::requests::{Asked, Requests};
use self::roots::Roots;
use self::turn::Turn;
use super::connection::{Connection, Consumed};
use super::error::{Error, Misuse};
use super::machine::machine;
use super::totals::Totals;
use super::wire::message::Message;
use crate::config::Config;
use crate::types::{AbortCode, EntryId, Event, Meta, Progress, Summary, TransferId, Withdrawal};

pub use self::action::SendAction;

/// The sending half of a session, sans-IO.
///
/// 1. Call [`poll`](Sender::poll) and do what it asks. Bytes that it appended are written to the stream
///    first, whatever the action; where that takes time, call [`handle_peer_took`](Sender::handle_peer_took).
/// 2. After [`SendAction::Await`], read from the stream and give all bytes that are not yet consumed to
///    [`handle_input`](Sender::handle_input), until it asks for more.
/// 3. After [`SendAction::Closed`], the session is over, and well.
///
/// Times are those of the caller: any clock that does not go back.
#[derive(Debug)]
pub struct Sender {
    config: Config,
    connection: Connection,
    state: Result<State, Error>,
    /// Set once this side ends the session. The receiver's turn is drained before that is sent, unless a user cancelled.
    closing: Option<Error>,
    entries: Entries,
    /// Messages that are sent before anything else.
    outbox: VecDeque<Message>,
    turn: Turn,
    totals: Totals,
    requests: Requests,
    roots: Roots,
    checks: Checks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    AwaitHello,
    Listening,
    Speaking,
    Closed,
}

impl Sender {
    /// Creates the first connection of a process: it claims the next attempt at the transfer, above all that earlier
    /// processes made.
    ///
    /// `transfer` is 16 bytes that stay for as long as the transfer is to be taken for the same, and that nobody else can guess;
    /// `nonce` random bytes, different for each connection.
    #[must_use]
    pub fn new(config: Config, transfer: TransferId, nonce: [u8; 16], now: Duration) -> Self {
        Self {
            connection: Connection::new(&config, true, transfer, 0, nonce, now),
            state: Ok(State::Greeting),
            closing: None,
            entries: Entries::new(config.blocks),
            outbox: VecDeque::new(),
            turn: Turn::new(&config.turn),
            totals: Totals::default(),
            requests: Requests::default(),
            roots: Roots::default(),
            checks: Checks::default(),
            config,
        }
    }

    /// Goes on over a new connection: what is not settled is offered again, what has arrived is not sent again. `attempt` is
    /// what [`next_attempt`](Sender::next_attempt) gives.
    pub fn reconnect(
        &mut self,
        transfer: TransferId,
        attempt: u32,
        nonce: [u8; 16],
        now: Duration,
    ) {
        self.connection = Connection::new(&self.config, true, transfer, attempt, nonce, now);
        self.state = Ok(State::Greeting);
        self.entries.reconnect(self.config.blocks);
        self.outbox.clear();
        self.turn = Turn::new(&self.config.turn);
        self.requests.reconnect();
        self.closing = self.closing.filter(|failure| *failure == Error::Cancelled);
        self.checks.reconnect();
    }

    /// Returns the attempt of the next connection: one more than that of this one, or 0, to claim one, until a receiver
    /// has answered.
    #[must_use]
    pub fn next_attempt(&self) -> u32 {
        match (self.connection.our_attempt(), self.connection.peer()) {
            (0, None) => 0,
            (sent, hello) => hello.map_or(sent, |hello| hello.attempt).saturating_add(1),
        }
    }

    /// Binds the session to its channel: 32 bytes that both sides know, and that no other channel has, for what is known of
    /// the peer by its channel to be true of whom it talks to. It has an effect before the first [`poll`](Sender::poll) of a
    /// connection only, and the receiver owes the same.
    pub fn bind(&mut self, binding: [u8; 32]) {
        self.connection.bind(binding);
    }

    /// Proves in the greeting to have a secret, to a receiver that asks for it. It has an effect before the first
    /// [`poll`](Sender::poll) of a connection only.
    pub fn prove(&mut self, proof: [u8; 32]) {
        self.connection.prove(proof);
    }

    /// Returns what must be done now. Bytes to write first are appended to `out`, also where this
    /// fails.
    ///
    /// # Errors
    ///
    /// The session ended without success; the same again on every later call.
    pub fn poll(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<SendAction, Error> {
        if let Some(action) = self.requests.pop() {
            return Ok(action);
        }
        let polled = match self.state? {
            State::Greeting => self.greet(now, out),
            State::AwaitHello | State::Listening if self.closing == Some(Error::Cancelled) => {
                Err(Error::Cancelled)
            }
            State::AwaitHello | State::Listening => self.await_input(now),
            State::Speaking => self.speak(now, out),
            State::Closed => Ok(SendAction::Closed(self.totals.summary())),
        };
        polled.map_err(|failure| self.fail(failure))
    }

    /// Takes at most one message from the start of `input`, which is all that was read and not yet consumed.
    ///
    /// # Errors
    ///
    /// [`Misuse::ActionDue`] while [`poll`](Sender::poll) has an action to give: nothing happened, and the same input can be
    /// given later. Others as for [`poll`](Sender::poll).
    pub fn handle_input(&mut self, now: Duration, input: &[u8]) -> Result<Consumed, Error> {
        let state = self.state?;
        if self.requests.has_queued() {
            return Err(Misuse::ActionDue.into());
        }
        match state {
            State::AwaitHello | State::Listening => {
                self.receive(now, input).map_err(|failure| self.fail(failure))
            }
            // Bytes out of turn stay where they are: they belong to the peer's next turn.
            State::Greeting | State::Speaking | State::Closed => Ok(Consumed::nothing()),
        }
    }

    /// Handles an entry of the source. Returns the id by which it goes.
    ///
    /// `window` is how many bytes of it the source can give again, if not all: no more than that is read
    /// beyond what is known to have arrived.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] outside an answer to [`SendAction::NextEntry`].
    pub fn handle_entry(&mut self, meta: Meta, window: Option<u64>) -> Result<EntryId, Error> {
        self.answer(|asked| matches!(asked, Asked::NextEntry))?;
        let (path, kind, size) = (meta.path.clone(), meta.kind.clone(), meta.size);
        let entry = self.entries.add(meta, window)?;
        self.totals.offer(size.unwrap_or(0));
        self.requests.tell(Event::Offered { entry, path, kind, size });
        Ok(entry)
    }

    /// Handles an entry of the source that cannot be sent.
    ///
    /// # Errors
    ///
    /// As for [`handle_entry`](Sender::handle_entry).
    pub fn handle_unsendable(&mut self, reason: Withdrawal) -> Result<(), Error> {
        self.answer(|asked| matches!(asked, Asked::NextEntry))?;
        self.totals.withdraw(reason);
        // A source that has nothing but such entries must be announced all the same.
        self.turn.work();
        Ok(())
    }

    /// Handles that the source has no further entry.
    ///
    /// # Errors
    ///
    /// As for [`handle_entry`](Sender::handle_entry).
    pub fn handle_exhausted(&mut self) -> Result<(), Error> {
        self.answer(|asked| matches!(asked, Asked::NextEntry))?;
        self.entries.exhaust();
        Ok(())
    }

    /// Handles `read` bytes of content that stand in `frame` behind the head that was asked for. Returns
    /// how many bytes of `frame` to write now: none, if the receiver has this block already.
    ///
    /// # Errors
    ///
    /// [`Misuse`] outside an answer to [`SendAction::Read`], or for a frame that is shorter than was asked for.
    pub fn handle_read(
        &mut self,
        now: Duration,
        read: usize,
        frame: &mut [u8],
    ) -> Result<usize, Error> {
        let Asked::Read(request) = self.answer(|asked| matches!(asked, Asked::Read(_)))? else {
            return Err(Misuse::NotAsked.into());
        };
        let Some(frame) = frame.get_mut(..request.head.saturating_add(read)) else {
            return Err(Misuse::TooMuch.into());
        };
        if read > request.len {
            return Err(Misuse::TooMuch.into());
        }
        self.turn.work();
        let sent = if request.is_whole {
            self.send_inline(now, &request, frame)
        } else {
            self.send_block(now, &request, frame)
        };
        sent.map_err(|failure| self.fail(failure))
    }

    /// Handles that the source has nothing to give at the moment: it will be asked again.
    ///
    /// # Errors
    ///
    /// [`Misuse`] outside an answer to [`SendAction::Read`].
    pub fn handle_read_pending(&mut self) -> Result<(), Error> {
        self.answer(|asked| matches!(asked, Asked::Read(_)))?;
        self.turn.starve();
        Ok(())
    }

    /// Handles that the content that was asked for cannot be read, or is not what it was.
    ///
    /// # Errors
    ///
    /// [`Misuse`] outside an answer to [`SendAction::Read`].
    pub fn handle_withdrawn(&mut self, reason: Withdrawal) -> Result<(), Error> {
        let Asked::Read(request) = self.answer(|asked| matches!(asked, Asked::Read(_)))? else {
            return Err(Misuse::NotAsked.into());
        };
        self.withdraw(request.entry, reason);
        Ok(())
    }

    /// Stops the transfer: at once if the peer has the floor, else after telling it.
    pub fn cancel(&mut self) {
        self.closing = Some(Error::Cancelled);
    }

    /// Ends the session for a reason of this side: the receiver's turn is drained to its end, and the receiver informed.
    pub fn end(&mut self, code: AbortCode) {
        self.closing.get_or_insert(Error::Ended(code));
    }

    /// Returns whether nothing would be left to do on a new connection.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.entries.are_settled()
    }

    /// Returns the sum so far, over all connections.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.totals.summary()
    }

    /// Returns the progress of the transfer, over all connections; what was read of the source counts as sent. It takes
    /// time in proportion to the entries that are offered and not settled.
    #[must_use]
    pub fn transfer_progress(&self) -> Progress {
        let mut progress = self.totals.transfer_progress();
        for outgoing in self.entries.iter() {
            let reached = outgoing.reached_bytes().max(outgoing.arrived());
            let pending = reached.saturating_sub(outgoing.arrived());
            let already = reached.saturating_sub(outgoing.sent());
            progress.pending = progress.pending.saturating_add(pending);
            progress.already = progress.already.saturating_add(already);
        }
        progress
    }

    /// Returns the work that no later connection does again: bytes that travelled or were hashed for the first time,
    /// blocks that the receiver reports as hashed, and entries that are settled. It never goes back; a connection on
    /// which it stays as it is was of no use.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.totals.progress()
    }

    fn answer(&mut self, fits: impl FnOnce(&Asked) -> bool) -> Result<Asked, Error> {
        self.state?;
        Ok(self.requests.answer(fits)?)
    }
}

machine!(Sender);
