//! The sending half over one stream.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};

use super::blocking::{Direction, HasProgress, Transfer};
use super::clock::Clock;
use super::observer::Observer;
use super::wire::{Moved, Wire, consume};
use crate::config::Deadlines;
use crate::error::Error;
use crate::proto::{
    EntryId, Event, Meta, ReadRequest, SendAction, Sender, Summary, TransferId, Withdrawal,
};
use crate::store::Source;

/// The sending half with its source.
pub(super) struct Sending<'s, S: Source> {
    pub(super) source: &'s mut S,
    pub(super) transfer: TransferId,
    pub(super) sender: Sender,
    pub(super) items: BTreeMap<EntryId, Box<Item<S>>>,
}

/// An entry that is not settled.
pub(super) struct Item<S: Source> {
    pub(super) key: S::Key,
    pub(super) meta: Meta,
    pub(super) reader: Option<S::Reader>,
}

impl<O: Observer, C: Clock> Transfer<O, C> {
    pub(super) fn run_sender<S: Source, T: Read + Write>(
        &mut self,
        sending: &mut Sending<'_, S>,
        stream: T,
    ) -> Result<Summary, Error> {
        let mut wire = Wire::new(stream, self.piece());
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
                    self.greeted |= matches!(event, Event::Greeted { .. });
                    self.observer.event(&event);
                }
                SendAction::NextEntry => match sending.source.next_entry() {
                    None => sending.sender.handle_exhausted()?,
                    Some(Ok((key, meta))) => {
                        let window = sending.source.window(&key);
                        let entry = sending.sender.handle_entry(meta.clone(), window)?;
                        let item = Item { key, meta, reader: None };
                        sending.items.insert(entry, Box::new(item));
                    }
                    Some(Err(unsendable)) => {
                        self.observer.unsendable(&unsendable);
                        sending.sender.handle_unsendable(unsendable.reason)?;
                    }
                },
                SendAction::Read(request) => {
                    let frame = wire.frame(request.head + request.len);
                    match sending.read(&request, &mut frame[request.head..]) {
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
                SendAction::Release { entry, offset } => sending.release(entry, offset),
                SendAction::Forget { entry } => drop(sending.items.remove(&entry)),
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

impl<S: Source> Sending<'_, S> {
    /// Reads a piece; `None` if the source has nothing to give at the moment.
    fn read(
        &mut self,
        request: &ReadRequest,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, Withdrawal> {
        let Some(item) = self.items.get_mut(&request.entry) else {
            return Err(Withdrawal::Vanished);
        };
        let reader = match &mut item.reader {
            Some(reader) => reader,
            closed => closed.insert(self.source.open(&item.key, &item.meta)?),
        };
        let mut read = 0;
        while read < buffer.len() {
            let offset = request.offset.saturating_add(read as u64);
            match self.source.read_at(reader, offset, &mut buffer[read..]) {
                Ok(0) => break,
                Ok(bytes) if bytes > buffer.len() - read => {
                    return Err(Withdrawal::Unreadable { code: 0 });
                }
                Ok(bytes) => read += bytes,
                // In either case it is asked again, once the peer has heard that this side lives.
                Err(error) if is_pending(&error) => return Ok(None),
                Err(error) => return Err(crate::store::withdrawal_of(&error)),
            }
        }
        if request.is_last || read < buffer.len() {
            self.source.finish(reader, &item.meta)?;
        }
        if request.is_whole {
            item.reader = None;
        }
        Ok(Some(read))
    }

    fn release(&mut self, entry: EntryId, offset: u64) {
        if let Some(reader) = self.items.get_mut(&entry).and_then(|item| item.reader.as_mut()) {
            self.source.release(reader, offset);
        }
    }
}

fn is_pending(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

impl<S: Source> HasProgress for Sending<'_, S> {
    fn arrived(&self) -> u64 {
        let summary = self.sender.summary();
        let settled = summary.delivered.saturating_add(summary.trusted);
        settled.saturating_add(summary.sent - summary.resent)
    }

    fn settled(&self) -> Option<Summary> {
        self.sender.is_settled().then(|| self.sender.summary())
    }
}
