//! The sending half over one stream.

use std::io::{Read, Write};

use super::observer::Observer;
use super::random::random_bytes;
use super::reconnect::{HasProgress, with_channel};
use super::stream::{Direction, Wire};
use super::transfer::Transfer;
use crate::config::Deadlines;
use crate::error::{Error, Operation};
use crate::proto::{self, SendAction, Sender};
use crate::store::{Readers, Source};
use crate::transport::Connector;
use crate::types::{AbortCode, Event, Summary, TransferId};

/// The sending half with its source.
pub(super) struct Sending<'s, S: Source> {
    pub(super) source: &'s mut S,
    pub(super) transfer: TransferId,
    pub(super) sender: Sender,
    pub(super) readers: Readers<S>,
}

impl<O: Observer> Transfer<O> {
    /// Sends all entries of `source` over one stream.
    ///
    /// `Ok` means that the receiver has settled every entry, and [`Summary::is_complete`] whether it holds them all.
    /// The source is [rewound](Source::rewind) first, so that the same source can be sent again, whatever came of the
    /// call before: what the receiver holds by then is not sent again.
    ///
    /// # Errors
    ///
    /// See [`Error`]. A source that cannot be rewound is [`Error::Local`] with [`Operation::Rewind`], before the stream
    /// is touched.
    pub fn send<S: Source, T: Read + Write>(
        &mut self,
        source: &mut S,
        stream: T,
    ) -> Result<Summary, Error> {
        let sending = self.sending(source);
        let ended = sending.and_then(|mut sending| self.run_sender(&mut sending, stream));
        self.access.channel = None;
        ended
    }

    /// Sends all entries of `source` over as many connections as it takes.
    ///
    /// Once an entry is settled, the receiver whose key was proved on that connection is the only one that is admitted: what
    /// it has settled is offered to nobody else.
    ///
    /// # Errors
    ///
    /// As for [`send`](Transfer::send): the last error, if it is not transient or patience is at its end.
    pub fn send_via<S: Source, K: Connector>(
        &mut self,
        source: &mut S,
        connector: &mut K,
    ) -> Result<Summary, Error> {
        let mut sending = self.sending(source)?;
        let is_waiting = connector.is_waiting();
        let connect = || with_channel(connector);
        self.keep_connecting(is_waiting, connect, &mut sending, |this, sending, came| {
            let (stream, channel) = came;
            this.access.channel = channel;
            // The deadlines of a session begin with its connection, however long that took.
            let (now, attempt) = (this.clock.now(), sending.sender.next_attempt());
            sending.sender.reconnect(sending.transfer, attempt, random_bytes(), now);
            let ended = this.run_sender(sending, stream);
            this.access.channel = None;
            ended
        })
    }

    pub(super) fn sending<'s, S: Source>(
        &mut self,
        source: &'s mut S,
    ) -> Result<Sending<'s, S>, Error> {
        self.access.begin_sending();
        let rewound = source.rewind();
        rewound.map_err(|source| Error::Local { operation: Operation::Rewind, source })?;
        self.meter.restart();
        let transfer = self.id.choose();
        let now = self.clock.now();
        Ok(Sending {
            source,
            transfer,
            sender: Sender::new(self.session_config(), transfer, random_bytes(), now),
            readers: Readers::new(&self.config.limits),
        })
    }

    /// Sends what is not settled yet over one stream, and keeps to its receiver if anything is by then.
    pub(super) fn run_sender<S: Source, T: Read + Write>(
        &mut self,
        sending: &mut Sending<'_, S>,
        stream: T,
    ) -> Result<Summary, Error> {
        let ended = self.send_over(sending, stream);
        let Summary { delivered, trusted, skipped, refused, .. } = sending.sender.summary();
        if [delivered, trusted, skipped, refused].into_iter().any(|count| count > 0) {
            self.access.keep_to_receiver();
        }
        ended
    }

    fn send_over<S: Source, T: Read + Write>(
        &mut self,
        sending: &mut Sending<'_, S>,
        stream: T,
    ) -> Result<Summary, Error> {
        let mut wire = Wire::new(stream, self.piece());
        let ended = self.run_sending(sending, &mut wire);
        self.tell_progress(&sending.sender, wire.content());
        ended
    }

    fn run_sending<S: Source, T: Read + Write>(
        &mut self,
        sending: &mut Sending<'_, S>,
        wire: &mut Wire<T>,
    ) -> Result<Summary, Error> {
        if let Some(binding) = self.secure(wire)? {
            sending.sender.bind(binding);
        }
        if let Some(proof) = self.access.proof(true, sending.transfer) {
            sending.sender.prove(proof);
        }
        let mut flushed = self.clock.now();
        loop {
            if self.cancel.is_cancelled() {
                sending.sender.cancel();
            }
            match self.poll(wire, &mut sending.sender)? {
                SendAction::Event(event) => {
                    if let Event::Greeted { transfer, .. } = event {
                        let proof = sending.sender.peer_proof();
                        let greeting = self.access.greeting(false, transfer, proof);
                        if !self.access.admits_receiver(&greeting) {
                            sending.sender.end(AbortCode::NotAdmitted);
                            continue;
                        }
                        self.greeted = true;
                    }
                    self.observer.event(&event);
                }
                SendAction::NextEntry => match sending.source.next_entry() {
                    None => sending.sender.handle_exhausted()?,
                    Some(Ok((key, meta))) => {
                        let window = sending.source.window(&key);
                        let entry = sending.sender.handle_entry(meta.clone(), window)?;
                        sending.readers.insert(sending.source, entry, key, meta);
                    }
                    Some(Err(unsendable)) => {
                        self.observer.unsendable(&unsendable);
                        sending.sender.handle_unsendable(unsendable.reason)?;
                    }
                },
                SendAction::Read(request) => {
                    let frame = wire.frame(request.head + request.len);
                    let buffer = &mut frame[request.head..];
                    match sending.readers.read(sending.source, &request, buffer) {
                        Ok(Some(read)) => {
                            let now = self.clock.now();
                            let sent = sending.sender.handle_read(now, read, frame)?;
                            wire.keep(sent, sent.min(read));
                            if sent > 0 {
                                self.meter.entry = Some(request.entry);
                            }
                        }
                        Ok(None) => {
                            sending.sender.handle_read_pending()?;
                            self.flush(wire, &mut sending.sender, Direction::Content)?;
                        }
                        Err(reason) => sending.sender.handle_withdrawn(reason)?,
                    }
                }
                SendAction::Release { entry, offset } => {
                    sending.readers.release(sending.source, entry, offset);
                }
                SendAction::Forget { entry } => sending.readers.forget(entry),
                SendAction::Await { .. } => {
                    self.flush(wire, &mut sending.sender, Direction::Content)?;
                    self.listen(wire, &mut sending.sender)?;
                }
                SendAction::Closed(summary) => {
                    self.flush(wire, &mut sending.sender, Direction::Content)?;
                    return Ok(summary);
                }
            }
            // A slow source must not keep back what is to be written: heartbeats above all.
            let now = self.clock.now();
            if self.meter.is_due(now) {
                self.tell_progress(&sending.sender, wire.content());
            }
            if wire.is_full() || now >= flushed.saturating_add(Deadlines::HEARTBEAT) {
                flushed = now;
                self.flush(wire, &mut sending.sender, Direction::Content)?;
            }
        }
    }

    /// Greets the receiver, and returns once it has greeted too, and is admitted. Nothing else is sent.
    pub(super) fn greet<T: Read + Write>(
        &mut self,
        transfer: TransferId,
        sender: &mut Sender,
        wire: &mut Wire<T>,
    ) -> Result<(), Error> {
        if let Some(binding) = self.secure(wire)? {
            sender.bind(binding);
        }
        if let Some(proof) = self.access.proof(true, transfer) {
            sender.prove(proof);
        }
        let mut is_admitted = true;
        loop {
            if let Some(error) = self.cancel.error() {
                return Err(error);
            }
            match self.poll(wire, sender)? {
                SendAction::Await { .. } => {
                    self.flush(wire, sender, Direction::Answers)?;
                    self.listen(wire, sender)?;
                }
                SendAction::Event(Event::Greeted { transfer, .. }) if is_admitted => {
                    let proof = sender.peer_proof();
                    let greeting = self.access.greeting(false, transfer, proof);
                    is_admitted = self.access.admits_receiver(&greeting);
                    if is_admitted {
                        return Ok(());
                    }
                    sender.end(AbortCode::NotAdmitted);
                }
                _ if is_admitted => return Ok(()),
                _ => return Err(proto::Error::Ended(AbortCode::NotAdmitted).into()),
            }
        }
    }

    fn poll<T: Read + Write>(
        &self,
        wire: &mut Wire<T>,
        sender: &mut Sender,
    ) -> Result<SendAction, Error> {
        let polled = sender.poll(self.clock.now(), wire.control());
        wire.absorb();
        polled.map_err(|failure| {
            self.send_last_words(wire);
            failure.into()
        })
    }

    /// Gives the core a message, and reads first if there is none.
    fn listen<T: Read + Write>(
        &self,
        wire: &mut Wire<T>,
        sender: &mut Sender,
    ) -> Result<(), Error> {
        // What came is given to the core before it looks at a deadline.
        if wire.is_starved() {
            wire.read()?;
        }
        let consumed = sender.handle_input(self.clock.now(), wire.input())?;
        wire.consume(Some(consumed));
        Ok(())
    }
}

impl<S: Source> HasProgress for Sending<'_, S> {
    fn progress(&self) -> u64 {
        self.sender.progress()
    }

    fn settled(&self) -> Option<Summary> {
        self.sender.is_settled().then(|| self.sender.summary())
    }
}
