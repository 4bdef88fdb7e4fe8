//! Connections over a line that has none of its own: a serial port, a radio, a terminal.
//!
//! A TCP stream begins and ends. A serial line is just there: when a session over it is lost, the bytes that it left
//! stand before those of the next one, and neither end learns that the other has begun anew. Nor does such a line keep
//! what it carries: one byte that is lost shifts all that follows.
//!
//! A [`Line`] is made of the stream of such a line, which it keeps for good. At one end it
//! is a [`Connector`], at the other an [`Acceptor`], and the streams that they give are connections as haul expects
//! them: they begin and end, what arrives is what was sent, and a new connection ends the earlier one at once at both
//! ends.
//!
//! ```
//! use std::num::NonZeroU32;
//! use std::thread;
//!
//! use haul::store::{MemorySource, MemoryStore};
//! use haul::transport::{Line, Listening, memory};
//! use haul::{Config, RelPath, Transfer};
//!
//! // In earnest: a serial port in raw mode, whose calls return after a while.
//! let (near, far) = memory::pipe(1024.try_into()?);
//! // 115200 baud: a byte takes ten bits.
//! let rate = NonZeroU32::new(11_520).expect("it is not zero");
//! // Blocks, turns and deadlines for so slow a line, at both ends.
//! let config = Config::for_rate(rate.get().into());
//! let store = MemoryStore::new();
//! let receiver = thread::spawn({
//!     let store = store.clone();
//!     let (config, mut line) = (config.clone(), Listening::new(Line::new(far, rate)));
//!     move || Transfer::new(config).receive_via(&store, &mut line)
//! });
//! let mut source = MemorySource::new().file(RelPath::parse(b"photo.jpg")?, "pixels");
//! let mut line = Line::new(near, rate);
//! let summary = Transfer::new(config).send_via(&mut source, &mut line)?;
//! receiver.join().expect("the receiver does not panic")?;
//! assert_eq!(summary.delivered, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/serial.rs` opens a serial port for it.
//!
//! # What the stream owes
//!
//! Less than [others](super): bytes may be lost, changed, doubled and added. It must carry every value of a byte
//! (a terminal in raw mode, without `XON` and `XOFF`), and its calls return within about a second, with `WouldBlock` or
//! `TimedOut` if nothing happened; where they do not, a [`Threaded`](super::Threaded) stream of it will do, which the
//! line keeps for good. One thread is enough for it, and so is a line that carries one direction at a time.
//!
//! # How it works
//!
//! - Bytes travel in frames of at most 512 bytes of content, each with the number of its connection, its place
//!   in it, and a check of 32 bits. The start of a frame is found again in any stream of bytes: what is damaged or
//!   added costs the frames that it hits, and noise between frames costs nothing.
//! - A side sends for about half a second, 1 KiB at least and 32 KiB at most, and then asks how far the other one got.
//!   From there it goes on. So a loss is repaired here, after a second or so at 9600 baud, and haul does not notice it.
//! - An answer that does not come is asked for again, every second at worst. A line that was dead for a while is in use
//!   again a second after it came back.
//! - A side that has been waiting for 2 s asks whether the other one still knows of the connection. One that was
//!   started anew does not, and reports that: [`ConnectionReset`](io::ErrorKind::ConnectionReset).
//! - 32 bits find accidents, of which one in four billion is missed. haul has checks of its own, with more.
//!
//! The memory of a line is at most some 110 KiB, whatever comes over it.

mod connection;
mod engine;
mod frame;
#[cfg(feature = "testing")]
pub(crate) mod play;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, thread};

use self::connection::State;
use self::engine::{Doing, Engine, Gate};
use super::sync::monitor::Monitor;
use super::{Acceptor, Connector, Peer, is_tick};

/// One end of a line: it [connects](Connector), or [accepts](Acceptor).
///
/// There is one connection at a time. One end connects and the other accepts; who of them sends does not matter.
/// [`Listening`](super::Listening) makes a connector of the one that accepts.
///
/// - **A new connection** ends the earlier one: its stream fails with [`io::ErrorKind::ConnectionReset`] at either end.
/// - **Between connections** nobody reads the line. What is left on it does no harm to the next connection.
pub struct Line<S> {
    shared: Arc<Shared<S>>,
    timeout: Duration,
    name: String,
}

impl<S: Read + Write> Line<S> {
    /// Takes a line, which carries so many bytes in a second: a tenth of the baud rate of a serial port.
    ///
    /// If it carries more, it is not used in full; if it carries less, more answers are asked for than need be.
    pub fn new(stream: S, bytes_per_second: NonZeroU32) -> Self {
        let start = Instant::now();
        let clock = Box::new(move || start.elapsed());
        let engine = Engine::new(stream, bytes_per_second.get(), clock);
        let gate = engine.gate();
        let shared = Shared { engine: Mutex::new(engine), gate, calls: Calls::default() };
        Self { shared: Arc::new(shared), timeout: CONNECT_TIMEOUT, name: "line".into() }
    }

    /// Sets how long [`connect`](Connector::connect) waits for the other end. Default: 10 s.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the name of the [`Peer`], for example the path of the port. Default: `line`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets another clock, for tests: it gives the time since some fixed moment.
    #[must_use]
    pub fn clock(self, clock: impl Fn() -> Duration + Send + 'static) -> Self {
        self.shared.lock().set_clock(Box::new(clock));
        self
    }
}

impl<S: Read + Write> Connector for Line<S> {
    type Stream = LineStream<S>;

    /// Asks the other end for a connection, again and again.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::TimedOut`]: it did not grant one within the [time](Line::connect_timeout).
    /// - Those of the stream of the line, save ticks.
    fn connect(&mut self) -> io::Result<LineStream<S>> {
        let number = random();
        // From here on it is forgotten when it is dropped.
        let stream = LineStream { shared: Arc::clone(&self.shared), number };
        let until = {
            let mut engine = self.shared.lock();
            engine.dial(number);
            engine.now().saturating_add(self.timeout)
        };
        loop {
            let open = self.shared.lock().run(Doing::Sending, |engine| {
                Ok((engine.connection(number)?.state() == State::Open).then_some(()))
            });
            match open {
                Ok(()) => return Ok(stream),
                Err(error) if !is_tick(&error) => return Err(error),
                Err(_) if self.shared.lock().now() >= until => {
                    return Err(ErrorKind::TimedOut.into());
                }
                Err(error) => pause(&error),
            }
        }
    }
}

impl<S: Read + Write> Acceptor for Line<S> {
    type Stream = LineStream<S>;

    /// Waits until the other end asks for a connection.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::TimedOut`], [`ErrorKind::WouldBlock`]: it did not yet.
    /// - Those of the stream of the line.
    fn accept(&mut self) -> io::Result<(LineStream<S>, Peer)> {
        let shared = &*self.shared;
        // The stream of a connection reads the line. Where it is not used for a while, somebody must receive calls.
        let before = shared.calls.ended();
        let waited = shared.gate.wait(Some(BESIDE), |gate| gate.is_open().then_some(()));
        if waited.is_err() && shared.calls.begun() != before {
            return Err(ErrorKind::TimedOut.into());
        }
        let mut until = None;
        let (mut engine, number) = loop {
            let mut engine = shared.lock();
            engine.accepts = true;
            let until = *until.get_or_insert_with(|| engine.now().saturating_add(BESIDE));
            let granted = engine.run(Doing::Sending, |engine| match engine.grant() {
                // The line is that of the stream again, which receives calls.
                None if shared.calls.are_under_way() => Err(ErrorKind::TimedOut.into()),
                granted => Ok(granted),
            });
            let is_over = engine.now() >= until || shared.calls.are_under_way();
            match granted {
                Ok(number) => break (engine, number),
                // Whoever calls writes with pauses of its own: where the line holds little, he is to be met.
                Err(error) if is_tick(&error) && !is_over => {
                    drop(engine);
                    pause(&error);
                }
                Err(error) => return Err(error),
            }
        };
        let stream = LineStream { shared: Arc::clone(&self.shared), number };
        // The other end waits for this. If the line does not take it now, the first call of the stream goes on.
        let said = engine.run(Doing::Sending, |_| Ok(Some(())));
        drop(engine);
        match said {
            Err(error) if !is_tick(&error) => Err(error),
            _ => Ok((stream, Peer::Other(self.name.clone()))),
        }
    }
}

impl<S> fmt::Debug for Line<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A connection over a [`Line`].
///
/// - A write takes what there is room for, and sends when there is none.
/// - **A flush** waits until the other end has taken everything, which reads for that. If it fails with a tick, call it
///   again.
/// - A call takes as long as one of the line's stream, or two where that takes nothing, and a second at most else.
///   Ticks of that stream are ticks of this one.
/// - **Dropping** it sends what was written, tells the other end that nothing follows, and waits until that
///   has received it: 2 s at most, and as long as a call of the line's stream takes, or two.
pub struct LineStream<S: Read + Write> {
    shared: Arc<Shared<S>>,
    number: u32,
}

impl<S: Read + Write> Read for LineStream<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let number = self.number;
        self.shared.enter().run(Doing::Listening, |engine| {
            let connection = engine.connection(number)?;
            let count = connection.read(buffer);
            Ok((count > 0 || connection.is_ended()).then_some(count))
        })
    }
}

impl<S: Read + Write> Write for LineStream<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let number = self.number;
        let take = |engine: &mut Engine<S>| {
            let connection = engine.connection(number)?;
            if connection.is_ended() {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let count = connection.write(bytes);
            Ok((count > 0).then_some(count))
        };
        let mut engine = self.shared.enter();
        // Where there is room, the line need not be asked.
        match take(&mut engine)? {
            Some(count) => Ok(count),
            None => engine.run(Doing::Sending, take),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let number = self.number;
        // Pushed before anything is sent, so that a call that ticks has sent what it could.
        let mut engine = self.shared.enter();
        engine.connection(number)?.flush();
        engine.run(Doing::Sending, |engine| {
            let connection = engine.connection(number)?;
            match connection.flush() {
                true => Ok(Some(())),
                false if connection.is_ended() => Err(ErrorKind::BrokenPipe.into()),
                false => Ok(None),
            }
        })
    }
}

impl<S: Read + Write> Drop for LineStream<S> {
    fn drop(&mut self) {
        let number = self.number;
        let until = self.shared.enter().now().saturating_add(CLOSE_WAIT);
        loop {
            let mut engine = self.shared.enter();
            let closed = engine
                .run_until(Doing::Sending, until, |engine| Ok(engine.close(number)?.then_some(())));
            match closed {
                Err(error) if is_tick(&error) && engine.now() < until => {
                    drop(engine);
                    pause(&error);
                }
                _ => break engine.forget(number),
            }
        }
    }
}

impl<S: Read + Write> fmt::Debug for LineStream<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineStream").field("number", &self.number).finish_non_exhaustive()
    }
}

/// State that a line and the stream of its connection share.
struct Shared<S> {
    /// Engine of the line. The holder of the lock uses the line, for a tick at most.
    engine: Mutex<Engine<S>>,
    /// Gate that [`Line::accept`](Acceptor::accept) waits for, without use of the line.
    gate: Arc<Monitor<Gate>>,
    /// Calls of the streams of connections.
    calls: Calls,
}

/// Number of calls. `accept` is to leave the line to them.
#[derive(Debug, Default)]
struct Calls {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Calls {
    fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Returns the number of ended calls. If as many calls had begun at some time after this, none
    /// was under way in between.
    fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    /// Returns whether a call is under way; one that waits for the engine is.
    fn are_under_way(&self) -> bool {
        let ended = self.ended();
        self.begun() != ended
    }
}

/// A call of the stream of a connection that has the engine. Its end counts once the engine is free.
struct Call<'a, S> {
    engine: MutexGuard<'a, Engine<S>>,
    _counted: Counted<'a>,
}

struct Counted<'a>(&'a Calls);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

impl<S> Deref for Call<'_, S> {
    type Target = Engine<S>;

    fn deref(&self) -> &Engine<S> {
        &self.engine
    }
}

impl<S> DerefMut for Call<'_, S> {
    fn deref_mut(&mut self) -> &mut Engine<S> {
        &mut self.engine
    }
}

impl<S> Shared<S> {
    /// Locks the engine. A call that panicked, in the stream of the line, leaves that as it is: checks
    /// find what it broke.
    fn lock(&self) -> MutexGuard<'_, Engine<S>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call of the stream of a connection.
    fn enter(&self) -> Call<'_, S> {
        self.calls.begun.fetch_add(1, Ordering::SeqCst);
        let counted = Counted(&self.calls);
        Call { engine: self.lock(), _counted: counted }
    }
}

/// Waits where the stream of the line did not.
fn pause(error: &io::Error) {
    if error.kind() == ErrorKind::WouldBlock {
        thread::sleep(PAUSE);
    }
}

/// Returns a number that differs from connection to connection. It need not be secret.
fn random() -> u32 {
    // The standard library seeds each `RandomState` from the system's random numbers.
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Longest time in which a connection is asked for.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait of a drop until the other end is informed.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Time without use of a connection before [`Line::accept`](Acceptor::accept) listens in its stead, and length of that
/// listening.
const BESIDE: Duration = Duration::from_millis(500);

/// Between two calls of a stream that does not wait.
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(all(test, feature = "testing"))]
mod tests;
