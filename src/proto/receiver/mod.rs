//! The receiver's machine.
//!
//! | state | input | output | next |
//! | --- | --- | --- | --- |
//! | `AwaitHello` | `Hello` | event `Greeted` | `Listening` |
//! | `Listening` | [`adopt`](Receiver::adopt), once, before the first `Offer` | | `Listening` |
//! | `Listening` | `Offer`, known from an earlier connection | goes on with the entry, or sends its outcome again | `Listening` |
//! | `Listening` | `Offer` | `Begin`; what follows depends on what the store found | `Listening` |
//! | `Listening` | `Offer`, no descriptor left | waits for a commit; or `Begin` with its first block | `Listening` |
//! | `Listening` | `Offer` by time | `Stat` | `Listening` |
//! | `Listening` | `Block` | `Write`, if its hash is right; else it is asked for again | `Listening` |
//! | `Listening` | `Same` | | `Listening` |
//! | `Listening` | `Zeros` | `WriteZeros`, where an earlier attempt left something, and of a stream | `Listening` |
//! | `Listening` | `Claim` | what has the name is hashed with the floor | `Listening` |
//! | `Listening` | `End` | `Commit`, if whole; else blocks are asked for again | `Listening` |
//! | `Listening` | `Withdraw` | event `Withdrawn`; the entry is settled | `Listening` |
//! | `Listening` | `Heartbeat` | event `Waiting` | `Listening` |
//! | `Listening` | `Over` | | `Speaking` |
//! | `Listening` | `Out`, nothing pending | | `Closed` |
//! | `Listening` | `Out`, something pending | | `Speaking`, to send `Abort` |
//! | `Speaking` | `poll` | `Hello` once; `Have`, `Refuse`, `Missing`, `Receipt`, `Kept`, `Unchanged`, `Changed` | `Speaking` |
//! | `Speaking` | `poll`, the floor is [kept](Receiver::keep_floor) | `Hello` once, `Heartbeat` when due | `Speaking` |
//! | `Speaking` | `poll`, a file is being replaced, and some of it stays the same | `Copy`, block by block | `Speaking` |
//! | `Speaking` | `poll`, a claim is to be checked | `Read`; then `Commit` if it is the same, else `Begin` beside or `Refuse` | `Speaking` |
//! | `Speaking` | `poll`, files were closed since there was no descriptor for an entry | `Begin` | `Speaking` |
//! | `Speaking` | `poll`, nothing left to send | `Over` | `Listening` |
//! | `Speaking` | `poll`, nothing to send to a sender that waits, nor under way | `Abort` | failed: `WaitsForNothing` |
//! | any but `Closed` | a commit ended | `Receipt` or `Refuse`, with the floor | the same |
//! | any but `Closed` | the name is taken, by a file of this size | `Read` of that; then `Commit` of it if it is the same | the same |
//! | any but `Closed` | the name is taken, by something else | `Commit` under another name, or `Discard` and `Refuse` | the same |
//! | any but `Closed` | `Abort` | | failed: `Aborted` |
//! | `Listening`, before its greeting | anything but `Over`, `Heartbeat` and `Abort` | listens to the end of the turn, then `Abort` | failed: `Unexpected` |
//! | `Listening` | any other message, or one without the layout of its kind | listens to the end of the turn, then `Abort` | failed: `Unexpected` |
//! | `AwaitHello`, `Listening` | what has no end that is known: a check that fails, lengths that are not admitted | | failed |
//!
//! A failed machine stays failed: every call gives the same [`Error`].

mod action;
mod begin;
mod blocks;
mod commits;
mod completion;
mod conflict;
mod content;
mod descriptors;
mod dispatch;
mod entries;
mod exhaustion;
mod existing;
mod held;
mod identity;
mod incoming;
#[cfg(any(test, feature = "testing"))]
mod invariants;
mod offer;
mod outbox;
mod phase;
mod receive;
mod repair;
mod requests;
mod resume;
mod runs;
mod suspended;
mod transmit;
mod turn;
mod waits;

use std::time::Duration;

use self::commits::Commits;
use self::entries::Entries;
use self::outbox::Outbox;
use self::requests::{Content, Reading, Requests, Task};
use self::suspended::Suspended;
use self::turn::Turn;
use super::Consumed;
use super::connection::Connection;
use super::error::{Error, Misuse};
use super::machine::machine;
use super::totals::Totals;
use crate::config::Config;
use crate::types::{
    AbortCode, EntryId, Event, FileStat, Progress, Refusal, Summary, Ticket, TransferId,
};

pub use self::action::{ReceiveAction, Step, Which};
pub(super) use crate::types::Found;

/// The receiving half of a session, sans-IO.
///
/// 1. Call [`poll`](Receiver::poll) and do what it asks. Bytes that it appended are written to the stream
///    first, whatever the action; where that takes time, call [`handle_peer_took`](Receiver::handle_peer_took).
/// 2. After [`ReceiveAction::Await`], give all bytes that are not yet consumed to [`handle_input`](Receiver::handle_input),
///    after reading more from the stream if it had too few the last time. It takes one message, or asks for one thing
///    of the store, which is answered; then poll again.
/// 3. Whenever the store has ended a commit, call [`handle_committed`](Receiver::handle_committed) with its
///    [`Ticket`](crate::types::Ticket), or [`handle_taken`](Receiver::handle_taken), if it has handed the file back; then poll again.
/// 4. After [`ReceiveAction::Closed`], the session is over, and well.
///
/// [`Files`](crate::drive::Files) does to a store what this asks.
///
/// Invariant: whatever its caller has open for it belongs to an entry that is begun and not settled, offered on this
/// connection or left by the suspended session that it adopted; anything else it has asked to be closed by then. Of files
/// whose content is to come, no more are open than [`Limits::open_entries`](crate::config::Limits::open_entries), one that was offered
/// with its root, and the one that the current message is about.
///
/// Times are those of the caller: any clock that does not go back.
#[derive(Debug)]
pub struct Receiver {
    config: Config,
    connection: Connection,
    state: Result<State, Error>,
    entries: Entries,
    requests: Requests,
    outbox: Outbox,
    /// Set once the session is bound to fail, with the time of that. The sender's turn is drained before the failure is reported.
    closing: Option<(Error, Duration)>,
    turn: Turn,
    commits: Commits,
    suspended: Suspended,
    totals: Totals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    AwaitHello,
    Listening,
    Speaking,
    Closed,
}

impl Receiver {
    /// Creates a receiver that waits for a sender's greeting. `nonce` is random bytes, different for each connection:
    /// the tickets of commits are made from it.
    #[must_use]
    pub fn new(config: Config, nonce: [u8; 16], now: Duration) -> Self {
        Self {
            connection: Connection::new(&config, false, TransferId::new([0; 16]), 0, nonce, now),
            state: Ok(State::AwaitHello),
            config,
            entries: Entries::default(),
            requests: Requests::default(),
            outbox: Outbox::default(),
            closing: None,
            turn: Turn::new(now),
            commits: Commits::new(nonce),
            suspended: Suspended::default(),
            totals: Totals::default(),
        }
    }

    /// Advertises in the greeting that the store holds files already, so that small ones are offered by their hash
    /// before their content travels. It has an effect before the first turn only.
    pub fn advertise_hash_first(&mut self) {
        self.connection.advertise_hash_first();
    }

    /// Advertises in the greeting that the store can [look](crate::store::Store::stat) at sizes and times, so that a
    /// sender that wants to may ask about these alone. It has an effect before the first turn only.
    pub fn compare_times(&mut self) {
        self.connection.compare_times();
    }

    /// Binds the session to its channel, as [`Sender::bind`](super::Sender::bind) does. It has an effect before the first input
    /// only, and the sender owes the same.
    pub fn bind(&mut self, binding: [u8; 32]) {
        self.connection.bind(binding);
    }

    /// Proves in the greeting to have a secret, to a sender that asks for it. It has an effect before the first turn only.
    pub fn prove(&mut self, proof: [u8; 32]) {
        self.connection.prove(proof);
    }

    /// Returns what must be done now. Bytes to write first are appended to `out`, also where this
    /// fails.
    ///
    /// # Errors
    ///
    /// The session ended without success; the same again on every later call.
    pub fn poll(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<ReceiveAction, Error> {
        let polled = self.poll_next(now, out);
        let is_listening = matches!(self.state, Ok(State::AwaitHello | State::Listening));
        if is_listening && !matches!(polled, Ok(ReceiveAction::Await { .. })) {
            // The time that this takes is not the sender's.
            self.connection.timer().pause(now);
        }
        polled
    }

    fn poll_next(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<ReceiveAction, Error> {
        if let Some(action) = self.requests.pop() {
            return Ok(action);
        }
        let polled = match self.state? {
            State::AwaitHello | State::Listening => {
                let asked = self.asked().or_else(|| self.read_small_conflict());
                asked.map_or_else(|| self.listen(now), Ok)
            }
            State::Speaking => self.speak(now, out),
            State::Closed => Ok(ReceiveAction::Closed(self.totals.summary())),
        };
        polled.map_err(|failure| self.fail(failure))
    }

    /// Takes at most one message from the start of `input`, which is all that was read and not yet consumed.
    ///
    /// # Errors
    ///
    /// [`Misuse::ActionDue`] while [`poll`](Receiver::poll) has an action to give, [`Misuse::AnswerDue`] while one that it gave,
    /// or a [`Step`], is not answered, [`Misuse::OtherInput`] for other bytes than those of which the last step came: nothing
    /// happened, and the same input can be given later. Others as for [`poll`](Receiver::poll).
    pub fn handle_input<'a>(&mut self, now: Duration, input: &'a [u8]) -> Result<Step<'a>, Error> {
        let state = self.state?;
        if let Some(misuse) = self.requests.due() {
            return Err(misuse.into());
        }
        match state {
            State::AwaitHello | State::Listening => {
                let received = self.receive(now, input);
                if let Ok(step) = &received
                    && !matches!(step, Step::Consumed(_))
                {
                    self.connection.timer().pause(now);
                }
                received.map_err(|failure| self.fail(failure))
            }
            // Bytes out of turn stay where they are: they belong to the sender's next turn.
            State::Speaking | State::Closed => Ok(Step::Consumed(Consumed::nothing())),
        }
    }

    /// Handles that the store began an entry, or refused it.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] outside an answer to [`ReceiveAction::Begin`].
    pub fn handle_begun(&mut self, begun: Result<Found, Refusal>) -> Result<(), Error> {
        self.state?;
        let (entry, place) = self.requests.answer_begin()?;
        match begun {
            Err(reason) if reason.is_fd_exhaustion() => {
                self.lacks_descriptors(entry, place, reason);
            }
            begun => self.begun(entry, place, begun),
        }
        Ok(())
    }

    /// Handles what stands under the name of an offer, if it is a file.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] outside an answer to [`ReceiveAction::Stat`].
    pub fn handle_stat(&mut self, stat: Option<FileStat>) -> Result<(), Error> {
        let Task::Stat { entry } = self.answer(|task| matches!(task, Task::Stat { .. }))? else {
            return Err(Misuse::NotAsked.into());
        };
        self.looked(entry, stat);
        Ok(())
    }

    /// Handles that a file was read: all that was asked for, or less if there is no more; or that
    /// it cannot be read.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] outside an answer to [`ReceiveAction::Read`] or [`ReceiveAction::Copy`];
    /// [`Misuse::TooMuch`] for more bytes than were asked for.
    pub fn handle_read(&mut self, read: Result<&[u8], Refusal>) -> Result<(), Error> {
        self.state?;
        let bytes = read.map_or(0, <[u8]>::len);
        let Reading { entry, offset, len, what } = self.requests.answer_read(bytes)?;
        if what != Content::Whole {
            self.totals.hash(bytes as u64);
        }
        match what {
            Content::Held | Content::Replaced => self.held(entry, offset, len, read),
            Content::Existing | Content::Conflict => self.conflict_read(entry, offset, len, read),
            Content::Whole => self.compared(entry, read),
        }
        Ok(())
    }

    /// Handles that the store wrote what it was asked to, or could not.
    ///
    /// # Errors
    ///
    /// [`Misuse::NotAsked`] outside an answer to [`Step::Write`] or [`ReceiveAction::WriteZeros`].
    pub fn handle_written(&mut self, written: Result<(), Refusal>) -> Result<(), Error> {
        let fits = |task: &Task| matches!(task, Task::Write { .. } | Task::Zeros { .. });
        match (self.answer(fits)?, written) {
            (Task::Write { entry, .. } | Task::Zeros { entry, .. }, Err(reason)) => {
                self.drop_entry(entry, reason);
            }
            (Task::Zeros { entry, blocks }, Ok(())) => self.zeroed(entry, blocks),
            (Task::Write { entry, block, .. }, Ok(())) => self.written(entry, block.as_ref()),
            _ => {}
        }
        Ok(())
    }

    /// Ends the session for a reason of this side: the sender's turn is drained to its end, and the sender informed.
    pub fn end(&mut self, now: Duration, code: AbortCode) {
        let failure =
            if code == AbortCode::Cancelled { Error::Cancelled } else { Error::Ended(code) };
        self.closing.get_or_insert((failure, now));
    }

    /// Sets whether to keep the floor when this side has it: the sender gets the greeting, and from then on heartbeats
    /// alone, and waits. Meanwhile [`poll`](Receiver::poll) gives [`ReceiveAction::AwaitCommit`]. For a server that has
    /// no place for another session yet.
    pub const fn keep_floor(&mut self, keep: bool) {
        self.turn.keep_floor(keep);
    }

    /// Returns the number of commits that are under way.
    #[must_use]
    pub fn commits(&self) -> u32 {
        self.commits.count()
    }

    /// Returns the entry that is being committed under this ticket. `None`: the ticket is of another session, its commit has
    /// ended, or the sender has offered the entry as something else since. What a store hands back with such a ticket is to be suspended.
    #[must_use]
    pub fn committing(&self, ticket: Ticket) -> Option<EntryId> {
        self.commits.entry(ticket)
    }

    /// Returns whether the sender has greeted, and all that it has offered is settled, on this connection or an earlier
    /// one: the results are at most not sent yet.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.transfer().is_some() && self.entries.is_empty() && !self.suspended.has_entries()
    }

    /// Returns the transfer that the sender named, and the number of this attempt at it, once it has greeted.
    #[must_use]
    pub fn transfer(&self) -> Option<(TransferId, u32)> {
        let hello = self.connection.peer()?;
        Some((hello.transfer, self.connection.our_attempt()))
    }

    /// Returns whether the sender claims the next attempt: it knows nothing of earlier connections, and gets its
    /// [number](Receiver::number_attempt) from this side.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        self.connection.peer().is_some_and(|hello| hello.attempt == 0)
    }

    /// Numbers the attempt of a sender that [claims](Receiver::is_claimed) one: above all that are known of its
    /// transfer, see [`next_claim`](Receiver::next_claim). Default: 1. It has an effect before the first turn only.
    pub fn number_attempt(&mut self, attempt: u32) {
        self.connection.number_attempt(attempt);
    }

    /// Returns the number for a claim at a transfer of which attempts up to `known` are remembered.
    ///
    /// It leaves out those that the process with the last one counts up to by itself, however often it connects.
    #[must_use]
    pub fn next_claim(known: Option<u32>) -> u32 {
        known.map_or(1, |known| known.saturating_add(CLAIM))
    }

    /// Returns the sum so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.totals.summary()
    }

    /// Returns the progress of the transfer, over all connections that this one adopted. It takes time in proportion to
    /// the entries that are offered and not settled.
    #[must_use]
    pub fn transfer_progress(&self) -> Progress {
        let mut progress = self.totals.transfer_progress();
        let pending = self.entries.iter().map(|(_, incoming)| incoming.tally.already());
        progress.already = pending.fold(progress.already, u64::saturating_add);
        progress
    }

    /// Returns the work that no later connection does again, if that one [adopts](Receiver::adopt) this: bytes that
    /// travelled, bytes of the store that were hashed, and entries that are settled. It never goes back.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.totals.progress()
    }

    /// Takes the task that the caller was given: its answer has come.
    fn answer(&mut self, fits: impl FnOnce(&Task) -> bool) -> Result<Task, Error> {
        self.state?;
        Ok(self.requests.answer(fits)?)
    }

    fn tell(&mut self, event: Event) {
        self.requests.tell(event);
    }
}

machine!(Receiver);

/// Distance of the claims at a transfer (M-1d): a process that was never answered again for a week counts no further.
const CLAIM: u32 = 1 << 16;
