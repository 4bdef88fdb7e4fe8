//! Two ends of a line in one thread and in virtual time, which follow a script. For tests and for the fuzzer.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::connection::{RECEIVED, State};
use super::engine::{Doing, Engine};
use super::frame::{CONTENT, Frame, Kind};
use crate::testing::fault_stream::{FaultLog, Faulty, StreamFault};
use crate::transport::memory::{self, Pipe};
use crate::types::tick::is_tick;

/// Next act of one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Asks for a connection of this number.
    Dial(u32),
    /// Waits for a connection.
    Accept,
    /// Writes so many bytes.
    Write(usize),
    Flush,
    /// Reads so many bytes.
    Read(usize),
    /// Reads the end.
    ReadEnd,
    /// Reads until the connection is reset.
    ReadUntilReset,
    /// Ends the connection, and goes on after 2 s whether the other end has received it or not.
    Close,
    /// Forgets all that it knows, as a process does that is killed and started anew; what is on the line stays.
    Restart,
}

/// One end.
#[derive(Debug)]
pub(crate) struct End {
    engine: Engine<Faulty<Counted>>,
    steps: VecDeque<Step>,
    number: u32,
    /// Number of bytes of the step that are done.
    done: usize,
    /// Bytes that it writes; the other end reads the same.
    written: usize,
    /// All that it has read over all connections.
    pub(crate) read: Vec<u8>,
    /// Time at which the step began.
    since: Duration,
    /// Reason why it goes no further.
    pub(crate) error: Option<io::Error>,
}

/// Two ends, and the time.
#[derive(Debug)]
pub(crate) struct Play {
    pub(crate) ends: [End; 2],
    /// Faults of the line.
    pub(crate) log: FaultLog,
    now: Arc<AtomicU64>,
    /// Number of bytes that went onto the line or came off it.
    moved: Arc<AtomicU64>,
}

/// An end of a pipe that counts what moves.
#[derive(Debug)]
struct Counted(Pipe, Arc<AtomicU64>);

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer).inspect(|_| {
            self.1.fetch_add(1, Ordering::Relaxed);
        })
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).inspect(|_| {
            self.1.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Play {
    /// Creates two ends of a line on which so many bytes find room, with the faults of either.
    pub(crate) fn new(capacity: usize, scripts: [&[StreamFault]; 2], steps: [&[Step]; 2]) -> Self {
        let capacity = capacity.try_into().unwrap_or(std::num::NonZeroUsize::MIN);
        let (near, far) = memory::pipe(capacity);
        let now = Arc::new(AtomicU64::new(0));
        let moved = Arc::new(AtomicU64::new(0));
        let log = FaultLog::default();
        let end = |mut pipe: Pipe, script: &[StreamFault], steps: &[Step]| {
            pipe.set_timeout(Some(Duration::ZERO));
            let stream = Counted(pipe, Arc::clone(&moved));
            let stream = Faulty::new(stream, script.iter().copied()).log_to(&log);
            let engine = Engine::new(stream, RATE, clock(&now));
            let steps = steps.iter().cloned().collect();
            End {
                engine,
                steps,
                number: 0,
                done: 0,
                written: 0,
                read: Vec::new(),
                since: Duration::ZERO,
                error: None,
            }
        };
        let [near_script, far_script] = scripts;
        let [near_steps, far_steps] = steps;
        let ends = [end(near, near_script, near_steps), end(far, far_script, far_steps)];
        Self { ends, log, now, moved }
    }

    /// Goes on until both ends have done everything or failed, or so much time has passed. Gives the time, which passes
    /// when nothing moves on the line.
    pub(crate) fn run(&mut self, at_most: Duration) -> Duration {
        loop {
            let before = self.moved.load(Ordering::Relaxed);
            for end in &mut self.ends {
                while end.error.is_none() && !end.steps.is_empty() && end.step() {}
            }
            let now = Duration::from_millis(self.now.load(Ordering::Relaxed));
            if now >= at_most || self.ends.iter().all(End::is_done) {
                return now;
            }
            if self.moved.load(Ordering::Relaxed) == before {
                self.now.fetch_add(TICK, Ordering::Relaxed);
            }
        }
    }
}

impl End {
    pub(crate) fn is_done(&self) -> bool {
        self.error.is_some() || self.steps.is_empty()
    }

    /// Returns whether the end holds no more than its bounds allow.
    pub(crate) fn is_bounded(&self) -> bool {
        let (received, output) = self.engine.held();
        received <= RECEIVED && output <= 2 * CONTENT
    }

    /// Works at the next step; whether it is done.
    fn step(&mut self) -> bool {
        let Some(step) = self.steps.front().cloned() else { return false };
        let result = self.work(&step);
        let is_late = step == Step::Close
            && self.engine.now() >= self.since.saturating_add(Duration::from_secs(2));
        match result {
            Err(error) if is_tick(&error) && !is_late => return false,
            Err(error) if step != Step::Close => self.error = Some(error),
            _ => {}
        }
        if step == Step::Close {
            self.engine.forget(self.number);
        }
        self.steps.pop_front();
        (self.done, self.since) = (0, self.engine.now());
        true
    }

    fn work(&mut self, step: &Step) -> io::Result<()> {
        let (engine, number) = (&mut self.engine, self.number);
        match *step {
            Step::Dial(number) => {
                if self.number != number {
                    self.number = number;
                    engine.dial(number);
                }
                engine.run(Doing::Sending, |engine| {
                    Ok((engine.connection(number)?.state() == State::Open).then_some(()))
                })
            }
            Step::Accept => {
                engine.accepts = true;
                self.number = engine.run(Doing::Sending, |engine| Ok(engine.grant()))?;
                let _ = engine.run(Doing::Sending, |_| Ok(Some(())));
                Ok(())
            }
            Step::Write(bytes) => {
                while self.done < bytes {
                    let content = content(self.written, bytes - self.done);
                    let count = engine.run(Doing::Sending, |engine| {
                        let count = engine.connection(number)?.write(&content);
                        Ok((count > 0).then_some(count))
                    })?;
                    self.done += count;
                    self.written += count;
                }
                Ok(())
            }
            Step::Flush => engine
                .run(Doing::Sending, |engine| Ok(engine.connection(number)?.flush().then_some(()))),
            Step::Read(bytes) => {
                while self.done < bytes {
                    let mut buffer = [0; 300];
                    let room = buffer.len().min(bytes - self.done);
                    let room = buffer.get_mut(..room).unwrap_or_default();
                    let count = listen(engine, number, room)?;
                    if count == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    self.read.extend_from_slice(room.get(..count).unwrap_or_default());
                    self.done += count;
                }
                Ok(())
            }
            Step::ReadEnd => match listen(engine, number, &mut [0])? {
                0 => Ok(()),
                _ => Err(ErrorKind::InvalidData.into()),
            },
            Step::ReadUntilReset => loop {
                match listen(engine, number, &mut [0; 300]) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
                    Err(error) => return Err(error),
                }
            },
            Step::Close => {
                engine.run(Doing::Sending, |engine| Ok(engine.close(number)?.then_some(())))
            }
            Step::Restart => {
                engine.restart();
                (self.number, self.written) = (0, 0);
                Ok(())
            }
        }
    }
}

fn listen(
    engine: &mut Engine<Faulty<Counted>>,
    number: u32,
    buffer: &mut [u8],
) -> io::Result<usize> {
    engine.run(Doing::Listening, |engine| {
        let connection = engine.connection(number)?;
        let count = connection.read(buffer);
        Ok((count > 0 || connection.is_ended()).then_some(count))
    })
}

fn clock(now: &Arc<AtomicU64>) -> Box<dyn Fn() -> Duration + Send> {
    let now = Arc::clone(now);
    Box::new(move || Duration::from_millis(now.load(Ordering::Relaxed)))
}

/// Returns the content that an end writes, from an offset on: the two bytes that count the offset,
/// with zeros among them.
pub(crate) fn content(from: usize, length: usize) -> Vec<u8> {
    let byte = |at: usize| if at.is_multiple_of(2) { at / 2 } else { at / 512 };
    (from..from.saturating_add(length)).map(|at| byte(at).to_le_bytes()[0]).collect()
}

/// Bytes per second of the line, as far as the ends know. The line takes no time here.
pub(crate) const RATE: u32 = 960;

/// Length of a tick, in milliseconds.
const TICK: u64 = 50;

/// Runs one end that does as it is told against any bytes, for some seconds.
pub(crate) fn against(bytes: &[u8], steps: &[Step]) -> End {
    let room = bytes.len().saturating_add(ANSWERS);
    let mut play = Play::new(room, [&[], &[]], [steps, &[]]);
    let [_, far] = &mut play.ends;
    // The pipe has room for them.
    let _ = far.engine.stream().write(bytes);
    play.run(Duration::from_secs(10));
    let [near, _] = play.ends;
    near
}

/// Builds some frames that are sealed as they must be, of any kind and content that the bytes choose,
/// and noise.
pub(crate) fn forged(mut choices: impl FnMut() -> u8, frames: u8) -> Vec<u8> {
    let (mut plain, mut line) = (Vec::new(), Vec::new());
    for _ in 0..frames {
        let content = content(0, 2 * usize::from(choices()));
        let kind = choices();
        let connection = u32::from(choices() % 3);
        let offset = u32::from(choices()).rotate_left(u32::from(choices()));
        let poll = choices() % 4;
        let (kind, length) = match kind % 8 {
            0 => (Kind::Syn, 0),
            1 => (Kind::SynAck, 0),
            2 => (Kind::Ack, 0),
            3 => (Kind::Fin, 4),
            4 => (Kind::Rst, 0),
            5 => {
                line.extend_from_slice(&content);
                continue;
            }
            _ => (Kind::Data, content.len()),
        };
        let content = content.get(..length).unwrap_or_default();
        let frame = Frame { kind, connection, offset, poll, content };
        frame.encode(&mut plain, &mut line);
    }
    line
}

/// Most bytes that an end may send in that time.
const ANSWERS: usize = 1 << 20;
