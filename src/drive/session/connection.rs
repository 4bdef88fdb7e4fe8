//! One connection of a session: its buffers, how they are written, and what is reported of it.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::core::Core;
use super::meter::{self, Meter};
use super::need::Need;
use super::note::Note;
use super::wire::{self, Moved, Wire};
use crate::drive::admit::Access;
use crate::drive::cancel::CancelToken;
use crate::drive::rate::RateLimit;
use crate::error::{Error, Operation};
use crate::proto::{self, Stall};
use crate::types::{Progress, PublicKey};

/// Longest wait after which the cancel token is looked at.
pub(in crate::drive) const TICK: Duration = Duration::from_millis(200);

/// Longest time of a peer for the last message, the reason why a session failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Terms of a session that hold for all of its connections.
#[derive(Debug, Clone)]
pub(in crate::drive) struct Terms {
    pub(in crate::drive) cancel: CancelToken,
    pub(in crate::drive) limit: Option<RateLimit>,
    pub(in crate::drive) access: Access,
    /// Longest time of the handshake of a stream that knows its ends.
    pub(in crate::drive) hello: Duration,
}

/// A connection of a session, without its stream.
#[derive(Debug)]
pub(in crate::drive) struct Connection {
    pub(super) wire: Wire,
    pub(super) terms: Terms,
    pub(super) meter: Meter,
    /// The peer has greeted: it is a haul peer, so that a lost connection is worth another.
    pub(super) greeted: bool,
    notes: VecDeque<Note>,
    /// Number of notes with which the session waits until they are passed on.
    most_notes: usize,
    flush: Option<Flush>,
    /// End of a pause that the limit on the rate asks for.
    pause: Option<Duration>,
}

/// Output on its way to the peer.
#[derive(Debug)]
struct Flush {
    start: Duration,
    bytes: usize,
    content: usize,
    /// Bytes that are not written yet.
    left: usize,
    purpose: Purpose,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Writing,
    Flushing,
    Done,
}

/// Kind of bytes that are written: a limit on the rate holds for content alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Content,
    Answers,
    /// The reason why the session failed, if the stream takes it at once and by this time. The failure stands either
    /// way.
    LastWords {
        end: Duration,
    },
}

impl Connection {
    /// Creates one of which nothing was read or written. `most_notes`: the number of notes with which it waits.
    pub(in crate::drive) fn new(terms: Terms, meter: Meter, most_notes: usize) -> Self {
        let piece = terms.limit.as_ref().map_or(usize::MAX, RateLimit::piece);
        Self {
            wire: Wire::new(piece),
            terms,
            meter,
            greeted: false,
            notes: VecDeque::new(),
            most_notes,
            flush: None,
            pause: None,
        }
    }

    /// Adds a note for the observer.
    pub(super) fn tell(&mut self, note: Note) {
        self.notes.push_back(note);
    }

    /// Reports how far the transfer is.
    pub(super) fn tell_progress(&mut self, now: Duration, progress: Progress) {
        if let Some(progress) = self.meter.tell(now, progress) {
            self.tell(Note::Progress(progress));
        }
    }

    /// Takes the notes that are to be passed on.
    pub(in crate::drive) fn take_note(&mut self) -> Option<Note> {
        self.notes.pop_front()
    }

    /// Returns the meter, for the next connection, and whether the peer has greeted on this one.
    pub(in crate::drive) fn outcome(&self) -> (Meter, bool) {
        (self.meter.clone(), self.greeted)
    }

    /// Begins to write the output, if there is any.
    pub(super) fn begin_flush(&mut self, now: Duration, core: &mut impl Core, purpose: Purpose) {
        let bytes = self.wire.output();
        if bytes == 0 {
            return;
        }
        if !matches!(purpose, Purpose::LastWords { .. }) {
            core.write_resumed(now);
        }
        let content = self.wire.content();
        let (left, stage) = (bytes, Stage::Writing);
        self.flush = Some(Flush { start: now, bytes, content, left, purpose, stage });
    }

    /// Begins to write the reason why the session failed.
    pub(super) fn begin_last_words(&mut self, now: Duration, core: &mut impl Core) {
        self.begin_flush(now, core, Purpose::LastWords { end: now.saturating_add(LAST_WORDS) });
    }

    /// Returns what is needed before the session goes on: notes to be passed on, a pause, output to be written.
    pub(super) fn pending(&mut self, now: Duration, core: &mut impl Core) -> Option<Need> {
        if self.notes.len() >= self.most_notes {
            return Some(Need::Report);
        }
        if let Some(end) = self.pause {
            let rest = end.saturating_sub(now);
            // A cancel ends this wait too, and is handled elsewhere.
            if !rest.is_zero() && !self.terms.cancel.is_cancelled() {
                return Some(Need::Pause(rest.min(TICK)));
            }
            self.pause = None;
            if self.flush.is_some() {
                core.write_resumed(now);
            }
        }
        let flush = self.flush.as_ref()?;
        match flush.stage {
            Stage::Writing => return Some(Need::Write),
            Stage::Flushing => return Some(Need::Flush),
            Stage::Done => {}
        }
        let (bytes, time) = (flush.bytes, now.saturating_sub(flush.start));
        if !matches!(flush.purpose, Purpose::LastWords { .. }) {
            self.wire.took(bytes, time);
        }
        self.flush = None;
        None
    }

    /// Handles the outcome of a write of [`write_buffer`](Connection::write_buffer).
    pub(super) fn handle_write(
        &mut self,
        now: Duration,
        wrote: io::Result<usize>,
        core: &mut impl Core,
    ) -> Result<(), Error> {
        let moved = self.wire.handle_write(wrote);
        if self.wire.output() == 0
            && let Some(flush) = &mut self.flush
        {
            flush.stage = Stage::Flushing;
        }
        self.handle_moved(now, moved, core)
    }

    /// Handles the outcome of a flush of the stream.
    pub(super) fn handle_flush(
        &mut self,
        now: Duration,
        flushed: io::Result<()>,
        core: &mut impl Core,
    ) -> Result<(), Error> {
        let moved = wire::flushed(flushed);
        if let (Ok(Moved::Bytes(_)), Some(flush)) = (&moved, &mut self.flush) {
            flush.stage = Stage::Done;
        }
        self.handle_moved(now, moved, core)
    }

    /// Handles a call of the stream for output: tells the core, reports progress, and keeps to the limit on the rate.
    fn handle_moved(
        &mut self,
        now: Duration,
        moved: Result<Moved, Error>,
        core: &mut impl Core,
    ) -> Result<(), Error> {
        let Some(flush) = &mut self.flush else { return moved.map(drop) };
        if let Purpose::LastWords { end } = flush.purpose {
            if !matches!(moved, Ok(Moved::Bytes(_))) || now >= end {
                self.flush = None;
            }
            return Ok(());
        }
        let moved = moved?;
        match moved {
            Moved::Tick => {
                if let Some(error) = self.terms.cancel.error() {
                    return Err(error);
                }
                core.write_blocked(now)?;
            }
            Moved::Bytes(bytes) => core.peer_took(now, bytes)?,
        }
        if flush.purpose != Purpose::Content {
            return Ok(());
        }
        if let Moved::Bytes(bytes) = moved {
            flush.left = flush.left.saturating_sub(bytes);
        }
        if self.meter.is_due(now) {
            // As if what goes with content were spread evenly over it.
            let left = meter::share(flush.content, flush.left, flush.bytes);
            self.tell_progress(now, meter::less(core.progress(), left));
        }
        if let Moved::Bytes(bytes) = moved {
            self.throttle(now, bytes);
        }
        Ok(())
    }

    /// Has the session wait, after content has passed, until more may.
    pub(super) fn throttle(&mut self, now: Duration, bytes: usize) {
        if let Some(limit) = &self.terms.limit {
            self.pause = Some(now.saturating_add(limit.spend(bytes)));
        }
    }

    /// Handles the outcome of a flush that ends the handshake of a stream that knows its ends, within the deadline of
    /// greetings. Returns what binds the session to its channel; `None`: it goes on.
    pub(super) fn handle_handshake(
        &mut self,
        now: Duration,
        since: Duration,
        flushed: io::Result<()>,
    ) -> Result<Option<[u8; 32]>, Error> {
        if wire::flushed(flushed)? == Moved::Tick {
            if let Some(error) = self.terms.cancel.error() {
                return Err(error);
            }
            let after = self.terms.hello;
            if now.saturating_sub(since) >= after {
                return Err(proto::Error::from(Stall::Hello { after }).into());
            }
            return Ok(None);
        }
        let channel = self.terms.access.channel.as_ref();
        let ends = channel.and_then(|channel| channel.binding().zip(channel.peer_key()));
        let Some((binding, key)) = ends else {
            let source = io::Error::other("the stream does not know its other end");
            return Err(Error::Transport { operation: Operation::Write, source });
        };
        self.tell(Note::Identified(key));
        Ok(Some(binding))
    }

    /// Returns whether the stream knows its ends, so that its handshake comes first.
    pub(super) const fn has_channel(&self) -> bool {
        self.terms.access.channel.is_some()
    }

    /// Returns the key that the peer has proved to have.
    pub(super) fn peer_key(&self) -> Option<PublicKey> {
        self.terms.access.channel.as_ref()?.peer_key()
    }

    /// Returns the buffer for the next read.
    pub(in crate::drive) fn read_buffer(&mut self) -> &mut [u8] {
        self.wire.read_buffer()
    }

    /// Returns what is to be written next.
    pub(in crate::drive) fn write_buffer(&self) -> &[u8] {
        self.wire.write_buffer()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::config::Config;
    use crate::proto::Receiver;
    use crate::types::AbortCode;

    /// A session that is told to stop while it writes to a stream that takes nothing ends by that: its registry decides what
    /// stays.
    #[test]
    fn session_told_to_stop_while_it_writes_ends_as_it_was_told() {
        let told = |tell: fn(&CancelToken)| {
            let cancel = CancelToken::new();
            tell(&cancel);
            let (access, hello) = (Access::default(), Duration::ZERO);
            let terms = Terms { cancel, limit: None, access, hello };
            let mut connection = Connection::new(terms, Meter::default(), 1);
            connection.wire.control().extend_from_slice(b"an answer");
            connection.wire.absorb();
            let mut core = Receiver::new(Config::default(), [0; 16], Duration::ZERO);
            connection.begin_flush(Duration::ZERO, &mut core, Purpose::Answers);
            assert!(matches!(connection.pending(Duration::ZERO, &mut core), Some(Need::Write)));
            let tick = Err(ErrorKind::WouldBlock.into());
            connection.handle_write(Duration::ZERO, tick, &mut core).expect_err("it is to stop")
        };
        assert!(matches!(told(CancelToken::cancel), Error::Session(proto::Error::Cancelled)));
        assert!(matches!(told(CancelToken::leave), Error::Session(proto::Error::Cancelled)));
        assert!(matches!(
            told(CancelToken::supersede),
            Error::Session(proto::Error::Ended(AbortCode::Superseded))
        ));
        assert!(matches!(
            told(CancelToken::turn_away),
            Error::Session(proto::Error::Ended(AbortCode::Busy))
        ));
        assert!(matches!(told(CancelToken::forsake), Error::Session(proto::Error::Stalled(_))));
    }
}
