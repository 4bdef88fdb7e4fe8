//! A sending session.
//!
//! | state | goes on with | next |
//! | --- | --- | --- |
//! | `Start` | the handshake of a stream that knows its ends | `Securing`, `Poll` |
//! | `Securing` | a flush of the stream, until the ends are known | `Poll` |
//! | `Poll` | the core, which names an action | by the action |
//! | `Asked` | work of the source | `Answered` |
//! | `Answered` | the core, which is told what came of that | `Turned` |
//! | `Await` | output that is written, and a read if the core is starved | `Feed` |
//! | `Feed` | the core, which takes a message | `Turned` |
//! | `Turned` | output that is written once there is enough of it | `Poll` |
//! | `Closing` | output that is written | over |
//! | `Failing` | the last words | over |

use std::io;
use std::time::Duration;

use super::connection::{Connection, Purpose};
use super::machine::Machine;
use super::meter;
use super::need::Need;
use super::note::Note;
use super::reconnect::HasProgress;
use crate::config::Deadlines;
use crate::error::Error;
use crate::proto::{self, SendAction, Sender};
use crate::store::{Readers, Source, Unsendable};
use crate::types::{AbortCode, Event, Meta, ReadRequest, Summary, TransferId, Withdrawal};

/// A sending session: the core, the source with what is open of it, and the connection.
pub(in crate::drive) struct Sending<S: Source> {
    source: S,
    transfer: TransferId,
    sender: Sender,
    readers: Readers<S>,
    connection: Connection,
    state: State<S>,
    /// Time of the last flush that was due.
    flushed: Duration,
    extent: Extent,
}

/// Extent of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// To its end.
    Whole,
    /// To the greeting of a receiver that is admitted: nothing else is sent.
    Greeting,
    /// To the answer for a receiver that is not admitted.
    Refusal,
}

enum State<S: Source> {
    Start,
    Securing { since: Duration },
    Poll,
    Asked(SendAction),
    Answered(Answer<S>),
    Await,
    Feed,
    Turned,
    Closing(Summary),
    Failing(proto::Error),
}

/// Outcome of work of the source.
enum Answer<S: Source> {
    Entry(NextEntry<S::Key>),
    Read(ReadRequest, Result<Option<usize>, Withdrawal>),
    Done,
}

/// The next entry of a source, with its window.
type NextEntry<K> = Option<Result<(K, Meta, Option<u64>), Unsendable>>;

impl<S: Source> Sending<S> {
    /// Creates a session over one connection.
    pub(in crate::drive) fn new(
        source: S,
        transfer: TransferId,
        sender: Sender,
        readers: Readers<S>,
        connection: Connection,
    ) -> Self {
        let (state, flushed, extent) = (State::Start, Duration::ZERO, Extent::Whole);
        Self { source, transfer, sender, readers, connection, state, flushed, extent }
    }

    /// Goes no further than to the receiver's greeting.
    pub(in crate::drive) fn only_greeting(self) -> Self {
        Self { extent: Extent::Greeting, ..self }
    }

    /// Goes on over a new connection, as this attempt. The deadlines of a session begin with its connection, however
    /// long that took.
    pub(in crate::drive) fn reconnect(
        &mut self,
        now: Duration,
        (attempt, nonce): (u32, [u8; 16]),
        connection: Connection,
    ) {
        self.sender.reconnect(self.transfer, attempt, nonce, now);
        (self.connection, self.state) = (connection, State::Start);
    }

    /// Returns the attempt of the next connection.
    pub(in crate::drive) fn next_attempt(&self) -> u32 {
        self.sender.next_attempt()
    }

    fn poll(&mut self, now: Duration) -> Result<Option<Need>, Error> {
        let cancel = &self.connection.terms.cancel;
        if self.extent != Extent::Whole
            && let Some(error) = cancel.error()
        {
            return Err(error);
        }
        if cancel.is_cancelled() {
            self.sender.cancel();
        }
        let polled = self.sender.poll(now, self.connection.wire.control());
        self.connection.wire.absorb();
        let action = match polled {
            Ok(action) => action,
            Err(failure) => {
                self.connection.begin_last_words(now, &mut self.sender);
                self.state = State::Failing(failure);
                return Ok(None);
            }
        };
        self.state = match action {
            SendAction::Await { .. } => {
                self.begin_flush(now);
                State::Await
            }
            _ if self.extent == Extent::Refusal => {
                return Err(proto::Error::Ended(AbortCode::NotAdmitted).into());
            }
            SendAction::Event(event) => {
                let is_admitted = self.handle_event(event);
                if is_admitted && self.extent == Extent::Greeting {
                    return Ok(Some(Need::Nothing(self.sender.summary())));
                }
                if is_admitted { State::Turned } else { State::Poll }
            }
            _ if self.extent == Extent::Greeting => {
                return Ok(Some(Need::Nothing(self.sender.summary())));
            }
            SendAction::Closed(summary) => {
                self.begin_flush(now);
                State::Closing(summary)
            }
            action => State::Asked(action),
        };
        Ok(None)
    }

    /// Passes on what happened; `false`: a receiver has greeted that is not admitted.
    fn handle_event(&mut self, event: Event) -> bool {
        let Connection { terms, greeted, .. } = &mut self.connection;
        if let Event::Greeted { transfer, .. } = event {
            let greeting = terms.access.greeting(false, transfer, self.sender.peer_proof());
            if !terms.access.admits_receiver(&greeting) {
                self.sender.end(AbortCode::NotAdmitted);
                if self.extent == Extent::Greeting {
                    self.extent = Extent::Refusal;
                }
                return false;
            }
            *greeted = true;
        }
        if self.extent == Extent::Whole {
            self.connection.tell(Note::Event(event));
        }
        true
    }

    fn handle_answer(&mut self, now: Duration, answer: Answer<S>) -> Result<(), Error> {
        match answer {
            Answer::Entry(None) => self.sender.handle_exhausted()?,
            Answer::Entry(Some(Ok((key, meta, window)))) => {
                let entry = self.sender.handle_entry(meta.clone(), window)?;
                self.readers.insert(&self.source, entry, key, meta);
            }
            Answer::Entry(Some(Err(unsendable))) => {
                let reason = unsendable.reason;
                self.connection.tell(Note::Unsendable(unsendable));
                self.sender.handle_unsendable(reason)?;
            }
            Answer::Read(request, Ok(Some(read))) => {
                let wire = &mut self.connection.wire;
                let frame = wire.frame(request.head + request.len);
                let sent = self.sender.handle_read(now, read, frame)?;
                wire.keep(sent, sent.min(read));
                if sent > 0 {
                    self.connection.meter.entry = Some(request.entry);
                }
            }
            Answer::Read(_, Ok(None)) => {
                self.sender.handle_read_pending()?;
                self.begin_flush(now);
            }
            Answer::Read(_, Err(reason)) => self.sender.handle_withdrawn(reason)?,
            Answer::Done => {}
        }
        Ok(())
    }

    /// Writes what there is, if it is enough, or has waited for long: a slow source must not keep back what is to be
    /// written, heartbeats above all.
    fn turn(&mut self, now: Duration) {
        if self.connection.meter.is_due(now) {
            self.finish(now);
        }
        if self.connection.wire.is_full()
            || now >= self.flushed.saturating_add(Deadlines::HEARTBEAT)
        {
            self.flushed = now;
            self.begin_flush(now);
        }
    }

    fn begin_flush(&mut self, now: Duration) {
        let purpose =
            if self.extent == Extent::Whole { Purpose::Content } else { Purpose::Answers };
        self.connection.begin_flush(now, &mut self.sender, purpose);
    }

    fn begin(&mut self, binding: Option<[u8; 32]>, now: Duration) {
        if let Some(binding) = binding {
            self.sender.bind(binding);
        }
        if let Some(proof) = self.connection.terms.access.proof(true, self.transfer) {
            self.sender.prove(proof);
        }
        self.flushed = now;
        self.state = State::Poll;
    }
}

impl<S: Source> Machine for Sending<S> {
    fn step(&mut self, now: Duration) -> Result<Need, Error> {
        loop {
            if let Some(need) = self.connection.pending(now, &mut self.sender) {
                return Ok(need);
            }
            match std::mem::replace(&mut self.state, State::Poll) {
                State::Start if self.connection.has_channel() => {
                    self.state = State::Securing { since: now };
                }
                State::Start => self.begin(None, now),
                State::Securing { since } => {
                    self.state = State::Securing { since };
                    return Ok(Need::Flush);
                }
                State::Poll => {
                    if let Some(need) = self.poll(now)? {
                        return Ok(need);
                    }
                }
                State::Asked(action) => {
                    self.state = State::Asked(action);
                    return Ok(Need::Work);
                }
                State::Answered(answer) => {
                    self.state = State::Turned;
                    self.handle_answer(now, answer)?;
                }
                // What came is given to the core before it looks at a deadline.
                State::Await if self.connection.wire.is_starved() => {
                    self.state = State::Await;
                    return Ok(Need::Read);
                }
                State::Await | State::Feed => {
                    let wire = &mut self.connection.wire;
                    let consumed = self.sender.handle_input(now, wire.input())?;
                    wire.consume(Some(consumed));
                    self.state = State::Turned;
                }
                State::Turned => self.turn(now),
                State::Closing(summary) => return Ok(Need::Nothing(summary)),
                State::Failing(failure) => return Err(failure.into()),
            }
        }
    }

    fn work(&mut self, _: Duration) -> Result<(), Error> {
        let Self { source, readers, .. } = self;
        let answer = match std::mem::replace(&mut self.state, State::Poll) {
            State::Asked(SendAction::NextEntry) => Answer::Entry(source.next_entry().map(|next| {
                next.map(|(key, meta)| {
                    let window = source.window(&key);
                    (key, meta, window)
                })
            })),
            State::Asked(SendAction::Read(request)) => {
                let frame = self.connection.wire.frame(request.head + request.len);
                let read = readers.read(source, &request, &mut frame[request.head..]);
                Answer::Read(request, read)
            }
            State::Asked(SendAction::Release { entry, offset }) => {
                readers.release(source, entry, offset);
                Answer::Done
            }
            State::Asked(SendAction::Forget { entry }) => {
                readers.forget(entry);
                Answer::Done
            }
            state => {
                self.state = state;
                return Ok(());
            }
        };
        self.state = State::Answered(answer);
        Ok(())
    }

    fn collect(&mut self, _: Duration) -> Result<bool, Error> {
        Ok(false)
    }

    fn handle_read(&mut self, _: Duration, read: io::Result<usize>) -> Result<(), Error> {
        self.connection.wire.handle_read(read)?;
        self.state = State::Feed;
        Ok(())
    }

    fn handle_write(&mut self, now: Duration, wrote: io::Result<usize>) -> Result<(), Error> {
        self.connection.handle_write(now, wrote, &mut self.sender)
    }

    fn handle_flush(&mut self, now: Duration, flushed: io::Result<()>) -> Result<(), Error> {
        if let State::Securing { since } = self.state {
            if let Some(binding) = self.connection.handle_handshake(now, since, flushed)? {
                self.begin(Some(binding), now);
            }
            return Ok(());
        }
        self.connection.handle_flush(now, flushed, &mut self.sender)
    }

    fn finish(&mut self, now: Duration) {
        let left = self.connection.wire.content();
        let progress = meter::less(self.sender.transfer_progress(), left);
        self.connection.tell_progress(now, progress);
    }

    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl<S: Source> Sending<S> {
    /// Keeps to the receiver of this connection if anything is settled by now.
    pub(in crate::drive) fn keep_to_receiver(&self) {
        let Summary { delivered, trusted, skipped, refused, .. } = self.sender.summary();
        if [delivered, trusted, skipped, refused].into_iter().any(|count| count > 0) {
            self.connection.terms.access.keep_to_receiver();
        }
    }
}

impl<S: Source> HasProgress for Sending<S> {
    fn progress(&self) -> u64 {
        self.sender.progress()
    }

    fn settled(&self) -> Option<Summary> {
        self.sender.is_settled().then(|| self.sender.summary())
    }
}
