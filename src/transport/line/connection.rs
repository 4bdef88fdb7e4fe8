//! One connection over a line: what is to be sent, what arrived, and what to do about what was lost. It knows no stream
//! and no clock.
//!
//! A side sends what it has, in frames, up to a window, and asks for an answer with the last of them. The answer
//! reports how far the other side got; from there it goes on. So nobody sends unasked, and a lost frame costs what was
//! sent since, at most a window. An answer that does not come is asked for again, in a frame without content.

use std::collections::VecDeque;
use std::time::Duration;

use super::frame::{CONTENT, EMPTY_FRAME, Frame, Kind};

/// One connection, of either end.
#[derive(Debug)]
pub(super) struct Connection {
    number: u32,
    state: State,
    /// Rate of the line, and the bytes that are sent before an answer is asked for.
    pace: Pace,
    outgoing: Outgoing,
    incoming: Incoming,
    /// Time at which the other side was last received, or asked whether it is there.
    heard: Duration,
}

/// State of a connection, by whether it can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The other side has not granted it yet.
    Dialing,
    /// Usable.
    Open,
    /// The other side knows nothing of it, or has begun another one.
    Reset,
}

/// Sizes and times that follow from the rate of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    bytes_per_second: u32,
    /// Number of bytes that may be sent and not acknowledged.
    window: usize,
}

#[derive(Debug, Default)]
struct Outgoing {
    /// Invariant: at most the window.
    unacknowledged: VecDeque<u8>,
    /// The offset of its first byte.
    base: u32,
    /// Number of its bytes that were sent since the last answer. Invariant: at most its length.
    sent: usize,
    /// The most content of a frame: on a line that loses much, short ones get through.
    piece: usize,
    /// Set while it is to be sent, without waiting for more.
    is_pushed: bool,
    /// End of the connection that is to follow it, and whether the other side knows.
    end: End,
    /// The number of the last poll.
    poll: u8,
    /// Bytes on the line since the last answer, of which the last may still be under way.
    on_line: usize,
    answer: Answer,
    /// Time that an answer may take beyond the time on the line.
    patience: Duration,
    /// Content of the last frame of the connection.
    last_answer: [u8; 4],
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Closing,
    Closed,
}

/// State of an awaited answer.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// No answer is waited for.
    #[default]
    None,
    /// The poll is not on the line yet.
    Asking,
    /// The answer is due at this time.
    Due(Duration),
}

#[derive(Debug, Default)]
struct Incoming {
    /// Bytes that nobody has read yet. Invariant: at most [`RECEIVED`] bytes.
    received: VecDeque<u8>,
    /// The offset of the first byte that is missing.
    next: u32,
    /// Set once nothing follows.
    is_ended: bool,
    /// The poll that is to be answered.
    answer: Option<u8>,
    /// The connection is to be granted, again if need be.
    grants: bool,
}

impl Connection {
    /// Creates a connection that this side asks for.
    pub(super) fn dial(number: u32, pace: Pace, now: Duration) -> Self {
        Self::new(number, State::Dialing, pace, now)
    }

    /// Creates a connection that the other side asked for.
    pub(super) fn grant(number: u32, pace: Pace, now: Duration) -> Self {
        let mut connection = Self::new(number, State::Open, pace, now);
        connection.incoming.grants = true;
        connection
    }

    fn new(number: u32, state: State, pace: Pace, now: Duration) -> Self {
        let outgoing =
            Outgoing { patience: SHORTEST_PATIENCE, piece: CONTENT, ..Outgoing::default() };
        Self { number, state, pace, outgoing, incoming: Incoming::default(), heard: now }
    }

    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    /// Resets the connection: the other side has begun another.
    pub(super) const fn reset(&mut self) {
        self.state = State::Reset;
    }

    /// Takes as many bytes as there is room for; sends them if there is none.
    pub(super) fn write(&mut self, bytes: &[u8]) -> usize {
        let room = self.pace.window.saturating_sub(self.outgoing.unacknowledged.len());
        let fitting = bytes.get(..room).unwrap_or(bytes);
        self.outgoing.unacknowledged.extend(fitting);
        self.outgoing.is_pushed |= fitting.is_empty();
        fitting.len()
    }

    /// Sends what was written; whether the other side has it already.
    pub(super) fn flush(&mut self) -> bool {
        let is_empty = self.outgoing.unacknowledged.is_empty();
        self.outgoing.is_pushed |= !is_empty;
        is_empty
    }

    /// Ends the connection after what was written; returns whether nothing is left to send.
    pub(super) fn close(&mut self) -> bool {
        if self.incoming.is_ended {
            // The other side receives no more.
            return self.incoming.answer.is_none();
        }
        let outgoing = &mut self.outgoing;
        outgoing.is_pushed = true;
        if outgoing.end == End::Open {
            outgoing.end = End::Closing;
        }
        outgoing.end == End::Closed || self.state != State::Open
    }

    /// Gives what has arrived.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> usize {
        // Reading from a queue of bytes cannot fail.
        std::io::Read::read(&mut self.incoming.received, buffer).unwrap_or(0)
    }

    /// Returns the number of bytes that arrived and were not read.
    #[cfg(feature = "testing")]
    pub(super) fn received(&self) -> usize {
        self.incoming.received.len()
    }

    /// Returns whether the other side has ended the connection.
    pub(super) const fn is_ended(&self) -> bool {
        self.incoming.is_ended
    }

    /// Returns the next frame that is to be sent. `listens` means that nothing else is to be done but to wait for the
    /// other side.
    pub(super) fn poll(&mut self, now: Duration, listens: bool) -> Option<Frame<'_>> {
        if self.state == State::Reset {
            return None;
        }
        if std::mem::take(&mut self.incoming.grants) {
            return Some(Frame::new(Kind::SynAck, self.number, 0, 0));
        }
        if let Some(poll) = self.incoming.answer.take() {
            return Some(Frame::new(Kind::Ack, self.number, self.incoming.next, poll));
        }
        let outgoing = &mut self.outgoing;
        let unsent = outgoing.unacknowledged.len().saturating_sub(outgoing.sent);
        let sends = outgoing.is_pushed && unsent > 0 && self.state == State::Open;
        let is_overdue = match outgoing.answer {
            Answer::Asking => return None,
            Answer::Due(at) => now >= at,
            Answer::None => false,
        };
        if is_overdue {
            outgoing.patience = outgoing.patience.saturating_mul(2).min(LONGEST_PATIENCE);
        } else if outgoing.answer != Answer::None && !sends {
            return None;
        }
        if self.state == State::Dialing {
            outgoing.answer = Answer::Asking;
            return Some(Frame::new(Kind::Syn, self.number, 0, 0));
        }
        let is_closing = outgoing.end == End::Closing && unsent == 0;
        let is_quiet = listens && now >= self.heard.saturating_add(SILENCE);
        if !(sends || is_closing || is_overdue || is_quiet) {
            return None;
        }
        let length = if sends { unsent.min(outgoing.piece) } else { 0 };
        let kind = if is_closing { Kind::Fin } else { Kind::Data };
        let poll = if length == unsent || !sends {
            // Zero would ask for nothing.
            outgoing.poll = outgoing.poll.checked_add(1).unwrap_or(1);
            outgoing.answer = Answer::Asking;
            self.heard = self.heard.max(now);
            outgoing.poll
        } else {
            outgoing.answer = Answer::None;
            0
        };
        let (from, offset) = (outgoing.sent, offset(outgoing.base, outgoing.sent));
        outgoing.sent = from.saturating_add(length);
        let content = if is_closing {
            outgoing.last_answer = self.incoming.next.to_le_bytes();
            &outgoing.last_answer
        } else {
            let content = outgoing.unacknowledged.make_contiguous();
            content.get(from..outgoing.sent).unwrap_or_default()
        };
        Some(Frame { kind, connection: self.number, offset, poll, content })
    }

    /// Frames of so many bytes in all were handed to the line.
    pub(super) fn handle_written(&mut self, now: Duration, bytes: usize) {
        let outgoing = &mut self.outgoing;
        outgoing.on_line = outgoing.on_line.saturating_add(bytes);
        if outgoing.answer == Answer::Asking {
            // The answer has its time on the line too, which is that of a frame without content.
            let time = self.pace.time(outgoing.on_line.saturating_add(EMPTY_FRAME));
            let due = now.saturating_add(time).saturating_add(outgoing.patience);
            outgoing.answer = Answer::Due(due);
        }
    }

    /// Handles a frame of this connection.
    pub(super) fn handle(&mut self, now: Duration, frame: &Frame<'_>) {
        self.heard = self.heard.max(now);
        match (frame.kind, self.state) {
            (Kind::Rst, _) => self.state = State::Reset,
            (Kind::SynAck, State::Dialing) => {
                self.state = State::Open;
                self.outgoing.answered();
            }
            (Kind::Syn, State::Open) => self.incoming.grants = true,
            (Kind::Data, State::Open) => self.incoming.handle(frame),
            (Kind::Fin, State::Open) => {
                self.incoming.handle(frame);
                // The other side answers no more: what it would answer stands here.
                if let Some(next) = frame.content.first_chunk() {
                    self.outgoing.acknowledge(u32::from_le_bytes(*next), 0);
                }
            }
            (Kind::Ack, State::Open) => self.outgoing.acknowledge(frame.offset, frame.poll),
            (Kind::SynAck, _) | (_, State::Dialing | State::Reset) => {}
        }
    }
}

impl Outgoing {
    fn acknowledge(&mut self, next: u32, poll: u8) {
        // Nothing beyond what was ever sent is in it: an answer that says so is none.
        let Ok(mut count) = usize::try_from(next.wrapping_sub(self.base)) else { return };
        let length = self.unacknowledged.len();
        if count > length {
            if self.end == End::Open || count > length.saturating_add(1) {
                return;
            }
            (self.end, count) = (End::Closed, length);
        }
        self.unacknowledged.drain(..count);
        self.base = offset(self.base, count);
        self.sent = self.sent.saturating_sub(count);
        if self.unacknowledged.is_empty() {
            self.is_pushed = self.end == End::Closing;
        }
        // What was sent after the poll may be under way: it is not lost yet.
        let is_answer = poll == self.poll && self.answer != Answer::None;
        if is_answer {
            let has_lost = self.sent > 0;
            let piece = if has_lost { self.piece / 2 } else { self.piece.saturating_mul(2) };
            self.piece = piece.clamp(SHORTEST_PIECE, CONTENT);
        }
        if is_answer || (self.unacknowledged.is_empty() && self.end != End::Closing) {
            self.sent = 0;
            self.answered();
        }
    }

    const fn answered(&mut self) {
        self.answer = Answer::None;
        self.on_line = 0;
        self.patience = SHORTEST_PATIENCE;
    }
}

impl Incoming {
    fn handle(&mut self, frame: &Frame<'_>) {
        let has_room = self.received.len().saturating_add(CONTENT) <= RECEIVED;
        if frame.offset == self.next && !self.is_ended {
            if frame.kind == Kind::Fin {
                self.is_ended = true;
                self.next = offset(self.next, 1);
            } else if has_room {
                self.received.extend(frame.content);
                self.next = offset(self.next, frame.content.len());
            }
        }
        // What had no room is not acknowledged but asked about again, when there is: else it would come at once again.
        let length = if frame.kind == Kind::Data { frame.content.len() } else { 1 };
        let after = offset(frame.offset, length);
        if frame.poll != 0 && (has_room || after == self.next) {
            self.answer = Some(frame.poll);
        }
    }
}

impl Pace {
    pub(super) fn new(bytes_per_second: u32) -> Self {
        let half = usize::try_from(bytes_per_second / 2).unwrap_or(usize::MAX);
        Self { bytes_per_second, window: half.clamp(SMALLEST_WINDOW, LARGEST_WINDOW) }
    }

    /// Returns the time that this many bytes take.
    fn time(&self, bytes: usize) -> Duration {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let rate = u64::from(self.bytes_per_second.max(1));
        Duration::from_millis(bytes.saturating_mul(1000) / rate)
    }
}

/// Offsets go around at 2^32: a window is far less than that.
fn offset(from: u32, bytes: usize) -> u32 {
    // No frame and no window is longer.
    from.wrapping_add(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Below this, a frame is little but its head.
const SHORTEST_PIECE: usize = 64;

/// The least that is sent before an answer is asked for: two frames.
pub(super) const SMALLEST_WINDOW: usize = 2 * CONTENT;

/// The most.
pub(super) const LARGEST_WINDOW: usize = 32 * 1024;

/// Bytes that are held of the input while this side sends.
pub(super) const RECEIVED: usize = 2 * LARGEST_WINDOW;

/// Time that an answer may take at first, beyond the time that it is on the line: a USB adapter hands on its bytes
/// every 16 ms, and a radio may take a tenth of a second to turn around.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(200);

/// And after several that did not come: the other side is busy, or the line is dead for a while.
const LONGEST_PATIENCE: Duration = Duration::from_secs(1);

/// After how long a silence a side that listens asks whether the other one still knows the connection.
pub(super) const SILENCE: Duration = Duration::from_secs(2);
