//! The sending half over one stream.

use std::io::{Read, Write};

use super::clock::Clock;
use super::observer::Observer;
use super::reconnect::HasProgress;
use super::stream::{Direction, Moved, Wire, consume};
use super::transfer::Transfer;
use crate::config::Deadlines;
use crate::error::Error;
use crate::proto::{SendAction, Sender};
use crate::store::{Readers, Source};
use crate::types::{AbortCode, Event, Summary, TransferId};

/// The sending half with its source.
pub(super) struct Sending<'s, S: Source> {
    pub(super) source: &'s mut S,
    pub(super) transfer: TransferId,
    pub(super) sender: Sender,
    pub(super) readers: Readers<S>,
}

impl<O: Observer, C: Clock> Transfer<O, C> {
    pub(super) fn run_sender<S: Source, T: Read + Write>(
        &mut self,
        sending: &mut Sending<'_, S>,
        stream: T,
    ) -> Result<Summary, Error> {
        let mut wire = Wire::new(stream, self.piece());
        if let Some(binding) = self.secure(&mut wire)? {
            sending.sender.bind(binding);
        }
        if let Some(proof) = self.access.proof(true, sending.transfer) {
            sending.sender.prove(proof);
        }
        let mut needed = 0;
        // The core needs more input than there is.
        let mut is_starved = false;
        let mut flushed = self.clock.now();
        loop {
            if self.cancel.is_cancelled() {
                sending.sender.cancel();
            }
            let polled = sending.sender.poll(self.clock.now(), wire.control());
            wire.absorb();
            let action = match polled {
                Ok(action) => action,
                Err(failure) => {
                    self.say_last_words(&mut wire);
                    return Err(failure.into());
                }
            };
            match action {
                SendAction::Event(event) => {
                    if let Event::Greeted { transfer, .. } = event {
                        let proof = sending.sender.peer_proof();
                        if !self.access.admits(&self.access.greeting(false, transfer, proof)) {
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
                            wire.keep(sent);
                        }
                        Ok(None) => {
                            sending.sender.handle_read_pending()?;
                            self.flush(&mut wire, &mut sending.sender, Direction::Content)?;
                        }
                        Err(reason) => sending.sender.handle_withdrawn(reason)?,
                    }
                }
                SendAction::Release { entry, offset } => {
                    sending.readers.release(sending.source, entry, offset);
                }
                SendAction::Forget { entry } => sending.readers.forget(entry),
                SendAction::Await { .. } => {
                    self.flush(&mut wire, &mut sending.sender, Direction::Content)?;
                    // What came is given to the core before it looks at a deadline.
                    if is_starved && wire.read(needed)? == Moved::Tick {
                        needed = 0;
                    }
                    let now = self.clock.now();
                    let consumed = sending.sender.handle_input(now, wire.input())?;
                    needed = consume(&mut wire, consumed, needed);
                    is_starved = consumed.bytes == 0;
                }
                SendAction::Closed(summary) => {
                    self.flush(&mut wire, &mut sending.sender, Direction::Content)?;
                    return Ok(summary);
                }
            }
            // A slow source must not keep back what is to be written: heartbeats above all.
            let now = self.clock.now();
            if wire.is_full() || now >= flushed.saturating_add(Deadlines::HEARTBEAT) {
                flushed = now;
                self.flush(&mut wire, &mut sending.sender, Direction::Content)?;
            }
        }
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
