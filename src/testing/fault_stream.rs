//! A stream that misbehaves by a script, or by a seed. For tests.
//!
//! ```
//! use std::io::Read;
//! use haul::testing::fault_stream::{Direction, FaultKind, Faulty, StreamFault};
//!
//! let at = |at, kind| StreamFault::new(Direction::Read, at, kind);
//! let script = [at(2, FaultKind::Flip(0)), at(4, FaultKind::End)];
//! let mut stream = Faulty::new(&b"abcdefgh"[..], script);
//! let log = stream.log();
//! let mut text = String::new();
//! stream.read_to_string(&mut text)?;
//! assert_eq!(text, "abbd");
//! assert_eq!(log.hits(), script);
//! # Ok::<(), std::io::Error>(())
//! ```

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::transport::Connector;

/// A stream with faults, all of which come at exact places: the same script or seed, and the same calls, give the same
/// results every time.
///
/// **Places** are counted in bytes of each direction on its own, before faults: byte 0 of [`Direction::Read`] is the
/// first that the inner stream gives, byte 0 of [`Direction::Write`] the first that the caller hands over. No call goes
/// past the place of a fault without its coming, so calls end early there. Faults of one place come in the order of the
/// script; when a fault's place is passed already (it is below that of an earlier one), it comes at once.
#[derive(Debug)]
pub struct Faulty<S> {
    inner: S,
    read: Lane,
    write: Lane,
    /// A byte that comes a second time.
    again: Option<u8>,
    jitter: Option<SplitMix>,
    log: FaultLog,
}

/// Fault at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StreamFault {
    /// Direction in which it happens.
    pub direction: Direction,
    /// Before which byte of that direction (or to which, where it happens to a byte).
    pub at: u64,
    /// Kind of the fault.
    pub kind: FaultKind,
}

impl StreamFault {
    /// Returns a fault.
    #[must_use]
    pub const fn new(direction: Direction, at: u64, kind: FaultKind) -> Self {
        Self { direction, at, kind }
    }
}

/// Seen from the owner of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a stream has two directions")]
pub enum Direction {
    /// Bytes that the owner reads.
    Read,
    /// Bytes that the owner writes.
    Write,
}

/// Kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// Allowed: the call moves one byte. (To reach this place a call ended early, too.)
    Short,
    /// Allowed: the call fails with [`io::ErrorKind::Interrupted`].
    Interrupted,
    /// Allowed: the call fails with [`io::ErrorKind::WouldBlock`].
    WouldBlock,
    /// Allowed: the call fails with [`io::ErrorKind::TimedOut`].
    TimedOut,
    /// A cut: from here on reads give 0 bytes, and writes fail with [`io::ErrorKind::BrokenPipe`].
    End,
    /// A cut: from here on each call fails with this kind.
    Error(io::ErrorKind),
    /// A cut: from here on each call fails with the system's error of this number. `ETIMEDOUT` is one, and no tick.
    Os(i32),
    /// A cut without a word: from here on each call fails with [`io::ErrorKind::TimedOut`], at once.
    Stall,
    /// A cut without a word, of a line that swallows: from here on writes succeed and go nowhere, and reads stall.
    Swallow,
    /// Damage: bit 0 to 7 of the byte is flipped (modulo 8).
    Flip(u8),
    /// Damage: the byte is missing.
    Delete,
    /// Damage: this byte comes before it.
    Insert(u8),
    /// Damage: the byte comes twice.
    Duplicate,
    /// A lie: the call claims to have moved one byte more than it was given room or bytes for.
    Lie,
}

impl FaultKind {
    /// Returns whether the contract of streams allows it: then nothing but time may be lost.
    #[must_use]
    pub const fn is_allowed(self) -> bool {
        matches!(self, Self::Short | Self::Interrupted | Self::WouldBlock | Self::TimedOut)
    }
}

impl<S> Faulty<S> {
    /// Returns a stream with the faults of this script.
    #[must_use]
    pub fn new(inner: S, script: impl IntoIterator<Item = StreamFault>) -> Self {
        let (read, write) =
            script.into_iter().partition(|fault| fault.direction == Direction::Read);
        Self {
            inner,
            read: Lane::new(read),
            write: Lane::new(write),
            again: None,
            jitter: None,
            log: FaultLog::default(),
        }
    }

    /// Adds, from a seed, what is allowed to any stream: of eight calls, on average, two are cut to a few bytes, one
    /// fails with `Interrupted`, and one with `WouldBlock`.
    #[must_use]
    pub const fn jitter(mut self, seed: u64) -> Self {
        self.jitter = Some(SplitMix(seed));
        self
    }

    /// Has this log kept instead of one of its own, so that several streams share it.
    #[must_use]
    pub fn log_to(mut self, log: &FaultLog) -> Self {
        self.log = log.clone();
        self
    }

    /// Returns the log of what went wrong. It stays readable when the stream is gone.
    #[must_use]
    pub fn log(&self) -> FaultLog {
        self.log.clone()
    }

    /// Returns the inner stream.
    #[must_use]
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Returns the inner stream.
    #[must_use]
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Returns the inner stream, with what is left of it.
    #[must_use]
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Returns the most that this call may move, after the seed has chosen.
    fn jittered(&mut self, length: usize) -> io::Result<usize> {
        let Some(random) = &mut self.jitter else { return Ok(length) };
        let kind = match random.below(8) {
            0 => io::ErrorKind::Interrupted,
            1 => io::ErrorKind::WouldBlock,
            2 | 3 => {
                self.log.count_jitter();
                let few = usize::try_from(random.below(8)).unwrap_or(0) + 1;
                return Ok(length.min(few));
            }
            _ => return Ok(length),
        };
        self.log.count_jitter();
        Err(kind.into())
    }
}

impl<S: Read> Read for Faulty<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return self.inner.read(buffer);
        }
        let mut most = self.jittered(buffer.len())?;
        if let Some(byte) = self.again.take() {
            return Ok(put(byte, buffer));
        }
        loop {
            if let Some(cut) = self.read.cut {
                return cut.read();
            }
            let Some(fault) = self.read.due() else {
                most = self.read.fitting(most);
                let room = buffer.get_mut(..most).unwrap_or_default();
                let count = self.inner.read(room)?;
                self.read.advance(count);
                return Ok(count);
            };
            // What happens to a byte happens when the byte is there.
            let mut byte = [0];
            match fault.kind {
                FaultKind::Flip(_) | FaultKind::Delete | FaultKind::Duplicate => {
                    let count = self.inner.read(&mut byte)?;
                    if count != 1 {
                        return Ok(count);
                    }
                    self.read.advance(1);
                }
                FaultKind::Lie => {
                    let count = self.inner.read(buffer)?;
                    self.read.advance(count);
                }
                _ => {}
            }
            self.read.hit(&self.log);
            let [byte] = byte;
            let byte = match fault.kind {
                FaultKind::Short => {
                    most = 1;
                    continue;
                }
                FaultKind::Interrupted => return Err(io::ErrorKind::Interrupted.into()),
                FaultKind::WouldBlock => return Err(io::ErrorKind::WouldBlock.into()),
                FaultKind::TimedOut => return Err(io::ErrorKind::TimedOut.into()),
                FaultKind::End => {
                    self.read.cut = Some(Cut::End);
                    continue;
                }
                FaultKind::Error(kind) => {
                    self.read.cut = Some(Cut::Error(kind));
                    continue;
                }
                FaultKind::Os(code) => {
                    self.read.cut = Some(Cut::Os(code));
                    continue;
                }
                FaultKind::Stall | FaultKind::Swallow => {
                    self.read.cut = Some(Cut::Stall);
                    continue;
                }
                FaultKind::Delete => continue,
                FaultKind::Lie => return Ok(buffer.len().saturating_add(1)),
                FaultKind::Flip(bit) => byte ^ (1 << (bit % 8)),
                FaultKind::Insert(byte) => byte,
                FaultKind::Duplicate => {
                    self.again = Some(byte);
                    byte
                }
            };
            return Ok(put(byte, buffer));
        }
    }
}

impl<S: Write> Write for Faulty<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(&byte) = bytes.first() else { return self.inner.write(bytes) };
        let mut most = self.jittered(bytes.len())?;
        loop {
            if let Some(cut) = self.write.cut {
                return cut.write(bytes.len());
            }
            let Some(fault) = self.write.due() else {
                most = self.write.fitting(most);
                let count = self.inner.write(bytes.get(..most).unwrap_or_default())?;
                self.write.advance(count);
                return Ok(count);
            };
            // What changes the bytes comes when the inner stream has taken the changed ones.
            let changed = match fault.kind {
                FaultKind::Flip(bit) => Some(byte ^ (1 << (bit % 8))),
                FaultKind::Insert(byte) => Some(byte),
                FaultKind::Duplicate => Some(byte),
                _ => None,
            };
            if let Some(changed) = changed {
                let count = self.inner.write(&[changed])?;
                if count != 1 {
                    return Ok(count);
                }
            }
            if fault.kind == FaultKind::Lie {
                let count = self.inner.write(bytes)?;
                self.write.advance(count);
            }
            self.write.hit(&self.log);
            match fault.kind {
                FaultKind::Short => most = 1,
                FaultKind::Interrupted => return Err(io::ErrorKind::Interrupted.into()),
                FaultKind::WouldBlock => return Err(io::ErrorKind::WouldBlock.into()),
                FaultKind::TimedOut => return Err(io::ErrorKind::TimedOut.into()),
                FaultKind::End => self.write.cut = Some(Cut::End),
                FaultKind::Error(kind) => self.write.cut = Some(Cut::Error(kind)),
                FaultKind::Os(code) => self.write.cut = Some(Cut::Os(code)),
                FaultKind::Stall => self.write.cut = Some(Cut::Stall),
                FaultKind::Swallow => self.write.cut = Some(Cut::Swallow),
                // A byte that comes before itself comes twice.
                FaultKind::Insert(_) | FaultKind::Duplicate => {}
                FaultKind::Flip(_) | FaultKind::Delete => {
                    self.write.advance(1);
                    return Ok(1);
                }
                FaultKind::Lie => return Ok(bytes.len().saturating_add(1)),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.write.cut {
            None => self.inner.flush(),
            Some(Cut::Swallow) => Ok(()),
            Some(cut) => cut.write(0).map(|_| ()),
        }
    }
}

/// Connector for the streams of another one, each with a script of its own: `script` is asked with the number
/// of the connection, from
/// 0. All share one log.
#[derive(Debug)]
pub struct FaultyConnector<C, F> {
    inner: C,
    script: F,
    connections: u64,
    log: FaultLog,
}

impl<C, F, I> FaultyConnector<C, F>
where
    C: Connector,
    F: FnMut(u64) -> I,
    I: IntoIterator<Item = StreamFault>,
{
    /// Wraps a connector.
    #[must_use]
    pub fn new(inner: C, script: F) -> Self {
        Self { inner, script, connections: 0, log: FaultLog::default() }
    }

    /// Returns the log of all streams.
    #[must_use]
    pub fn log(&self) -> FaultLog {
        self.log.clone()
    }
}

impl<C, F, I> Connector for FaultyConnector<C, F>
where
    C: Connector,
    F: FnMut(u64) -> I,
    I: IntoIterator<Item = StreamFault>,
{
    type Stream = Faulty<C::Stream>;

    fn connect(&mut self) -> io::Result<Self::Stream> {
        let inner = self.inner.connect()?;
        let number = self.connections;
        self.connections = number.saturating_add(1);
        Ok(Faulty::new(inner, (self.script)(number)).log_to(&self.log))
    }
}

/// Makes a script of `count` faults from a seed, of every kind and in either direction, at places below `within`.
///
/// The generator is SplitMix64, so a seed means the same script everywhere.
#[must_use]
pub fn script(seed: u64, count: usize, within: u64) -> Vec<StreamFault> {
    let mut random = SplitMix(seed);
    let mut faults: Vec<StreamFault> = (0..count).map(|_| random.fault(within)).collect();
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// Faults that happened so far. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct FaultLog(Arc<Mutex<Hits>>);

impl FaultLog {
    /// Returns the faults of the script that came, in the order of their coming.
    #[must_use]
    pub fn hits(&self) -> Vec<StreamFault> {
        self.with(|hits| hits.scripted.clone())
    }

    /// Returns the number of faults that match `so`.
    #[must_use]
    pub fn count(&self, so: impl Fn(&StreamFault) -> bool) -> usize {
        self.with(|hits| hits.scripted.iter().filter(|fault| so(fault)).count())
    }

    /// Returns the number of calls that [`Faulty::jitter`] changed.
    #[must_use]
    pub fn jitters(&self) -> u64 {
        self.with(|hits| hits.jitters)
    }

    fn count_jitter(&self) {
        self.with(|hits| hits.jitters = hits.jitters.saturating_add(1));
    }

    fn with<T>(&self, look: impl FnOnce(&mut Hits) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Debug, Default)]
struct Hits {
    scripted: Vec<StreamFault>,
    jitters: u64,
}

/// Puts one byte in a buffer that is not empty.
fn put(byte: u8, buffer: &mut [u8]) -> usize {
    buffer.iter_mut().take(1).map(|first| *first = byte).count()
}

/// One direction.
#[derive(Debug)]
struct Lane {
    /// Number of bytes that passed, before faults.
    place: u64,
    script: VecDeque<StreamFault>,
    cut: Option<Cut>,
}

impl Lane {
    fn new(script: Vec<StreamFault>) -> Self {
        Self { place: 0, script: script.into(), cut: None }
    }

    /// Returns the fault whose place is reached.
    fn due(&self) -> Option<StreamFault> {
        self.script.front().copied().filter(|fault| fault.at <= self.place)
    }

    /// Takes the fault that is due.
    fn hit(&mut self, log: &FaultLog) {
        if let Some(fault) = self.script.pop_front() {
            log.with(|hits| hits.scripted.push(fault));
        }
    }

    /// Returns how many of so many bytes come before the next fault.
    fn fitting(&self, most: usize) -> usize {
        let Some(fault) = self.script.front() else { return most };
        usize::try_from(fault.at.saturating_sub(self.place)).map_or(most, |left| most.min(left))
    }

    fn advance(&mut self, count: usize) {
        self.place = self.place.saturating_add(count.try_into().unwrap_or(u64::MAX));
    }
}

/// Way in which a direction is cut, for good.
#[derive(Debug, Clone, Copy)]
enum Cut {
    End,
    Error(io::ErrorKind),
    Os(i32),
    Stall,
    Swallow,
}

impl Cut {
    fn read(self) -> io::Result<usize> {
        match self {
            Self::End => Ok(0),
            Self::Error(kind) => Err(kind.into()),
            Self::Os(code) => Err(io::Error::from_raw_os_error(code)),
            Self::Stall | Self::Swallow => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn write(self, length: usize) -> io::Result<usize> {
        match self {
            Self::End => Err(io::ErrorKind::BrokenPipe.into()),
            Self::Error(kind) => Err(kind.into()),
            Self::Os(code) => Err(io::Error::from_raw_os_error(code)),
            Self::Stall => Err(io::ErrorKind::TimedOut.into()),
            Self::Swallow => Ok(length),
        }
    }
}

/// The generator SplitMix64, by Steele, Lea and Flood: small, and good enough to choose faults by.
#[derive(Debug, Clone)]
struct SplitMix(u64);

impl SplitMix {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, or 0. That it is not quite even does not matter here.
    const fn below(&mut self, bound: u64) -> u64 {
        match self.next().checked_rem(bound) {
            Some(number) => number,
            None => 0,
        }
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn fault(&mut self, within: u64) -> StreamFault {
        use io::ErrorKind as Kind;
        let direction = if self.below(2) == 0 { Direction::Read } else { Direction::Write };
        let at = self.below(within);
        let kind = match self.below(13) {
            0 => FaultKind::Short,
            1 => FaultKind::Interrupted,
            2 => FaultKind::WouldBlock,
            3 => FaultKind::TimedOut,
            4 => FaultKind::End,
            5 => match self.below(4) {
                0 => FaultKind::Error(Kind::ConnectionReset),
                1 => FaultKind::Error(Kind::BrokenPipe),
                2 => FaultKind::Error(Kind::Other),
                // Of Linux: ETIMEDOUT.
                _ => FaultKind::Os(110),
            },
            6 => FaultKind::Stall,
            7 => FaultKind::Swallow,
            8 => FaultKind::Flip(self.byte() % 8),
            9 => FaultKind::Delete,
            10 => FaultKind::Insert(self.byte()),
            11 => FaultKind::Duplicate,
            _ => FaultKind::Lie,
        };
        StreamFault::new(direction, at, kind)
    }
}

#[cfg(test)]
mod tests;
