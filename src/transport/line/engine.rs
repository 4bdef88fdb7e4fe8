//! A line with what is half read and half written on it, and its connection.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::connection::{Connection, Pace, State};
use super::frame::{Decoder, Frame, Kind};
use crate::transport::sync::monitor::Monitor;
use crate::types::tick::is_tick;

/// The stream of a line, and all that is known of it.
pub(super) struct Engine<S> {
    stream: S,
    clock: Box<dyn Fn() -> Duration + Send>,
    pace: Pace,
    decoder: Decoder,
    /// Bytes that were read, of which the decoder has not taken the part between `start` and `end`.
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes to write, of which the first `written` bytes are. A frame that was begun is completed before any other.
    output: Vec<u8>,
    written: usize,
    /// Bytes that the stream has taken and not flushed.
    unflushed: usize,
    /// Buffer in which frames are built.
    plain: Vec<u8>,
    /// The other side does not take what is to be written: it is busy writing itself.
    is_jammed: bool,
    connection: Option<Connection>,
    /// Changed by nobody else: so whoever has the engine knows that the gate says what is so.
    gate: Arc<Monitor<Gate>>,
    /// Set while calls are accepted.
    pub(super) accepts: bool,
    /// A connection that is not known here, of which the other side is to be informed.
    stranger: Option<u32>,
}

/// State of a line that is shared with those who do not use it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// The connection that somebody has the stream of.
    live: Option<u32>,
    /// A connection that the other side asks for.
    caller: Option<u32>,
}

impl Gate {
    /// Returns whether it is time to accept: there is a caller, or nobody else reads the line.
    pub(super) const fn is_open(&self) -> bool {
        self.live.is_none() || self.caller.is_some()
    }
}

/// Purpose of the caller of [`Engine::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// The caller has nothing to do but to wait for the other side.
    Listening,
    Sending,
}

impl<S: Read + Write> Engine<S> {
    pub(super) fn new(
        stream: S,
        bytes_per_second: u32,
        clock: Box<dyn Fn() -> Duration + Send>,
    ) -> Self {
        Self {
            stream,
            clock,
            pace: Pace::new(bytes_per_second),
            decoder: Decoder::default(),
            input: vec![0; READ].into_boxed_slice(),
            start: 0,
            end: 0,
            output: Vec::new(),
            written: 0,
            unflushed: 0,
            plain: Vec::new(),
            is_jammed: false,
            connection: None,
            gate: Arc::default(),
            accepts: false,
            stranger: None,
        }
    }

    pub(super) fn now(&self) -> Duration {
        (self.clock)()
    }

    pub(super) fn set_clock(&mut self, clock: Box<dyn Fn() -> Duration + Send>) {
        self.clock = clock;
    }

    /// Returns the state that is awaited by those who do not use the line.
    pub(super) fn gate(&self) -> Arc<Monitor<Gate>> {
        Arc::clone(&self.gate)
    }

    /// Asks for a connection of this number. The earlier one is no more.
    pub(super) fn dial(&mut self, number: u32) {
        self.accepts = false;
        self.gate.update(|gate| *gate = Gate { live: Some(number), caller: None });
        self.connection = Some(Connection::dial(number, self.pace, self.now()));
    }

    /// Grants the connection that the other side asks for, if there is one. The earlier one is no more.
    pub(super) fn grant(&mut self) -> Option<u32> {
        let number = self.gate.look(|gate| gate.caller)?;
        self.gate.update(|gate| *gate = Gate { live: Some(number), caller: None });
        self.connection = Some(Connection::grant(number, self.pace, self.now()));
        Some(number)
    }

    /// Forgets the connection, whose stream is no more.
    pub(super) fn forget(&mut self, number: u32) {
        if self.connection.as_ref().is_some_and(|known| known.number() == number) {
            self.connection = None;
            self.gate.update(|gate| gate.live = None);
        }
    }

    /// Returns the stream, past all that is known of it.
    #[cfg(feature = "testing")]
    pub(super) const fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Returns the number of bytes that came and were not read, and of bytes to be sent.
    #[cfg(feature = "testing")]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.connection.as_ref().map_or(0, Connection::received), self.output.len())
    }

    /// Ends the connection; returns whether nothing is left to send, nor half sent.
    ///
    /// # Errors
    ///
    /// As for [`Engine::connection`].
    pub(super) fn close(&mut self, number: u32) -> io::Result<bool> {
        let is_said = self.connection(number)?.close();
        Ok(is_said && self.output.is_empty() && self.unflushed == 0)
    }

    /// Forgets everything but the stream and what was read of it.
    #[cfg(feature = "testing")]
    pub(super) fn restart(&mut self) {
        (self.connection, self.stranger) = (None, None);
        self.gate.update(|gate| *gate = Gate::default());
        (self.accepts, self.is_jammed, self.unflushed, self.written) = (false, false, 0, 0);
        self.output.clear();
        self.decoder = Decoder::default();
    }

    /// Returns the connection of this number.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ConnectionReset`] if there is another one by now, or none.
    pub(super) fn connection(&mut self, number: u32) -> io::Result<&mut Connection> {
        match &mut self.connection {
            Some(connection)
                if connection.number() == number && connection.state() != State::Reset =>
            {
                Ok(connection)
            }
            _ => Err(ErrorKind::ConnectionReset.into()),
        }
    }

    /// Writes and reads until there is something to return.
    ///
    /// # Errors
    ///
    /// Those of `ready`; those of the stream, ticks included; and [`ErrorKind::TimedOut`] after a second.
    pub(super) fn run<T>(
        &mut self,
        doing: Doing,
        ready: impl FnMut(&mut Self) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        self.run_until(doing, Duration::MAX, ready)
    }

    /// Works as [`Engine::run`], and no longer than until then.
    pub(super) fn run_until<T>(
        &mut self,
        doing: Doing,
        until: Duration,
        mut ready: impl FnMut(&mut Self) -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        let until = self.now().saturating_add(LONGEST_CALL).min(until);
        loop {
            // What `ready` finds may be the end of what was to be sent: so what is to be sent is sent first.
            if !self.is_jammed
                && let Err(error) = self.write(doing, until)
            {
                // What came before the line broke is read all the same.
                if doing == Doing::Sending && !is_tick(&error) {
                    return Err(error);
                }
                self.is_jammed = true;
            }
            if let Some(found) = ready(self)? {
                self.is_jammed = false;
                return Ok(found);
            }
            if self.now() >= until {
                return Err(ErrorKind::TimedOut.into());
            }
            let read = self.read();
            // Where both sides write, each has to read to be able to go on. One that listens reads on for as long as
            // there is something, because then the other one does not.
            if doing == Doing::Sending || read.is_err() {
                self.is_jammed = false;
            }
            read?;
        }
    }

    /// Writes what is to be written, until there is nothing to do but to wait.
    fn write(&mut self, doing: Doing, until: Duration) -> io::Result<()> {
        loop {
            while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
                if self.now() >= until {
                    return Err(ErrorKind::TimedOut.into());
                }
                match self.stream.write(rest)? {
                    0 => return Err(ErrorKind::WriteZero.into()),
                    count if count > rest.len() => return Err(beyond_buffer()),
                    count => self.written = self.written.saturating_add(count),
                }
            }
            self.unflushed = self.unflushed.saturating_add(self.output.len());
            self.output.clear();
            self.written = 0;
            let now = self.now();
            if let Some(number) = self.stranger.take() {
                let frame = Frame::new(Kind::Rst, number, 0, 0);
                frame.encode(&mut self.plain, &mut self.output);
                continue;
            }
            let connection = self.connection.as_mut();
            let frame = connection.and_then(|known| known.poll(now, doing == Doing::Listening));
            if let Some(frame) = frame {
                frame.encode(&mut self.plain, &mut self.output);
                continue;
            }
            if self.unflushed > 0 {
                self.stream.flush()?;
                let (now, bytes) = (self.now(), std::mem::take(&mut self.unflushed));
                if let Some(connection) = &mut self.connection {
                    connection.handle_written(now, bytes);
                }
            }
            return Ok(());
        }
    }

    /// Takes the next frame in, or reads once.
    fn read(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            match self.stream.read(&mut self.input)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count if count > self.input.len() => return Err(beyond_buffer()),
                count => self.end = count,
            }
        }
        let bytes = self.input.get(self.start..self.end).unwrap_or_default();
        let (used, frame) = self.decoder.feed(bytes);
        self.start = self.start.saturating_add(used);
        let Some(frame) = frame else { return Ok(()) };
        // The other side listens.
        self.is_jammed &= frame.poll == 0;
        let now = (self.clock)();
        let is_known = |known: &&mut Connection| known.number() == frame.connection;
        let known = self.connection.as_mut().filter(is_known);
        match (known, frame.kind) {
            (Some(connection), _) if connection.state() != State::Reset => {
                connection.handle(now, &frame);
            }
            (_, Kind::Syn) if self.accepts => {
                if let Some(earlier) = &mut self.connection {
                    earlier.reset();
                }
                self.gate.update(|gate| gate.caller = Some(frame.connection));
            }
            (_, Kind::SynAck) => self.stranger = Some(frame.connection),
            (_, Kind::Data | Kind::Fin) if frame.poll != 0 => {
                // What was asked for is not known yet, but will be.
                if self.gate.look(|gate| gate.caller) != Some(frame.connection) {
                    self.stranger = Some(frame.connection);
                }
            }
            (_, Kind::Syn | Kind::Data | Kind::Fin | Kind::Ack | Kind::Rst) => {}
        }
        Ok(())
    }
}

impl<S: fmt::Debug> fmt::Debug for Engine<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("stream", &self.stream)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

fn beyond_buffer() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "the stream claims more bytes than it was given")
}

/// Bytes that are read at a time.
const READ: usize = 4096;

/// Longest time of a call, as the contract of streams asks for.
const LONGEST_CALL: Duration = Duration::from_secs(1);
