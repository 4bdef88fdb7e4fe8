//! The sending side: a machine, and what it does to a source.

use std::time::Duration;
use std::{fmt, io};

use super::{Progress, SessionEnd, TRANSFER};
use crate::config::Config;
use crate::proto::{self, SendAction, Sender};
use crate::store::{Readers, Source};
use crate::types::{Event, TransferId};

/// A [`Sender`] with its source.
pub struct Alice<S: Source> {
    /// The core.
    pub sender: Sender,
    /// Source that it sends from.
    pub source: S,
    /// All events so far, over all connections.
    pub events: Vec<Event>,
    config: Config,
    readers: Readers<S>,
    pub(super) ended: Option<SessionEnd>,
}

impl<S: Source> Alice<S> {
    /// Creates the first connection of a transfer.
    pub fn new(config: &Config, source: S) -> Self {
        Self {
            sender: Sender::new(config.clone(), TRANSFER, [1; 16], Duration::ZERO),
            source,
            events: Vec::new(),
            config: config.clone(),
            readers: Readers::new(&config.limits),
            ended: None,
        }
    }

    /// Begins the transfer anew.
    pub(super) fn restart(&mut self, source: S, transfer: TransferId, now: Duration) {
        self.sender = Sender::new(self.config.clone(), transfer, [3; 16], now);
        self.source = source;
        self.readers = Readers::new(&self.config.limits);
    }

    /// Begins a transfer with the same source.
    pub(super) fn call_again(&mut self, transfer: TransferId, now: Duration) -> io::Result<()> {
        self.source.rewind()?;
        self.sender = Sender::new(self.config.clone(), transfer, [3; 16], now);
        self.readers = Readers::new(&self.config.limits);
        Ok(())
    }

    /// Does the next thing. `input` is all that came and is not consumed; what is to be written is appended to `out`.
    pub fn step(&mut self, now: Duration, input: &[u8], out: &mut Vec<u8>) -> Progress {
        if let Some(ended) = self.ended {
            return Progress::Ended(ended);
        }
        let step = self.go_on(now, input, out);
        let (open, most) = (self.readers.open(), self.config.limits.open_entries.max(1));
        assert!(open as u64 <= u64::from(most), "{open} readers are open, and {most} may be");
        step.unwrap_or_else(|failure| self.end(SessionEnd::Failed(failure)))
    }

    fn go_on(
        &mut self,
        now: Duration,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, proto::Error> {
        match self.sender.poll(now, out)? {
            SendAction::Event(event) => self.events.push(event),
            SendAction::NextEntry => match self.source.next_entry() {
                None => self.sender.handle_exhausted()?,
                Some(Err(unsendable)) => self.sender.handle_unsendable(unsendable.reason)?,
                Some(Ok((key, meta))) => {
                    let window = self.source.window(&key);
                    let entry = self.sender.handle_entry(meta.clone(), window)?;
                    self.readers.insert(&self.source, entry, key, meta);
                }
            },
            SendAction::Read(request) => {
                let frame = out.len();
                out.resize(frame.saturating_add(request.head).saturating_add(request.len), 0);
                let space = out.get_mut(frame..).unwrap_or_default();
                let buffer = space.get_mut(request.head..).unwrap_or_default();
                let read = self.readers.read(&mut self.source, &request, buffer);
                let sent = match read {
                    Ok(Some(read)) => self.sender.handle_read(now, read, space),
                    Ok(None) => self.sender.handle_read_pending().map(|()| 0),
                    Err(reason) => self.sender.handle_withdrawn(reason).map(|()| 0),
                };
                out.truncate(frame.saturating_add(*sent.as_ref().unwrap_or(&0)));
                sent?;
            }
            SendAction::Release { entry, offset } => {
                self.readers.release(&mut self.source, entry, offset);
            }
            SendAction::Forget { entry } => self.readers.forget(entry),
            SendAction::Await { until } => {
                let consumed = self.sender.handle_input(now, input)?.bytes;
                if consumed == 0 {
                    return Ok(Progress::Idle(until));
                }
                return Ok(Progress::Moved(consumed));
            }
            SendAction::Closed(summary) => return Ok(self.end(SessionEnd::Closed(summary))),
        }
        Ok(Progress::Moved(0))
    }

    /// Handles that the line took so many bytes of the output, and that so many are left.
    pub(super) fn note_taken(&mut self, now: Duration, took: u64, left: u64) {
        let took = usize::try_from(took).unwrap_or(usize::MAX);
        let heard = match took {
            0 if left > 0 => self.sender.handle_write_blocked(now),
            0 => Ok(()),
            took => self.sender.handle_peer_took(now, took),
        };
        if let (Err(failure), None) = (heard, self.ended) {
            self.ended = Some(SessionEnd::Failed(failure));
        }
    }

    fn end(&mut self, ended: SessionEnd) -> Progress {
        self.ended = Some(ended);
        Progress::Ended(ended)
    }

    pub(super) fn lose(&mut self) -> SessionEnd {
        *self.ended.insert(SessionEnd::Lost)
    }
}

impl<S: Source> fmt::Debug for Alice<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Alice");
        debug.field("sender", &self.sender).field("ended", &self.ended).finish_non_exhaustive()
    }
}
