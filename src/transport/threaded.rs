//! Clock ticks for a stream without timeouts.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::is_tick;
use super::sync::byte_queue::{Next, Queue};
use crate::types::tick::cannot_start;

/// A stream made of any reader and any writer, whose calls return in ticks although theirs may block for ever.
///
/// haul looks at its deadlines and at the cancel token when a call returns, so a stream that can block for ever makes
/// it wait for ever. Standard input, pipes and many tunnels are such streams. This one hands them to two threads.
///
/// **It is for streams of which every connection is an object of its own.** The reader is read ahead, and a thread
/// that is stuck in it when this is dropped takes what comes next. Over a serial port, a radio or a terminal, which
/// outlive their connections, that is the beginning of the next session. Make a [`Line`](super::Line) of such a one, of
/// this stream if its calls block: the line keeps it for good, from one connection to the next.
///
/// - A read waits for the first byte, for a second at most ([`set_timeout`](Self::set_timeout)), then fails with
///   [`io::ErrorKind::TimedOut`]. So does a write that finds no room, and a flush.
/// - **The reader is read ahead**, by at most the capacity and 64 KiB; what was read ahead is lost when this is
///   dropped.
/// - **A write takes what the writer takes in about a second**, from 1 KiB to the capacity: it begins with 4 KiB, takes
///   twice as much whenever the writer had to wait for it, and half when a call ended in a tick. So a
///   slow writer is seen to be slow, and a call that ends in a tick means that it takes nothing, or next to nothing.
/// - A flush waits until the writer has taken and flushed everything. After a tick, call it again: it goes on to wait
///   for the same, and for what was written meanwhile.
/// - The end and errors of the reader come after its bytes, those of the writer with the next write or flush. A reader
///   or writer that panics, or gives a count beyond the buffer, is an error too.
/// - [Ticks](super::is_tick) of the reader and writer are tried again, after a pause of 5 ms if they were not
///   interrupted.
/// - **Dropping** it waits until the writer has taken and flushed what was written, 2 s at most; bytes that it had not
///   taken then are lost. A thread that is stuck in a call of the reader or writer cannot be ended: it lives, and holds
///   its half, until that call returns, and ends then.
///
/// ```
/// use std::io::{Read, Write};
/// use haul::transport::Threaded;
///
/// let mut stream = Threaded::new(&b"from the reader"[..], std::io::sink())?;
/// let mut text = String::new();
/// stream.read_to_string(&mut text)?;
/// assert_eq!(text, "from the reader");
/// stream.write_all(b"to the writer")?;
/// stream.flush()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Threaded {
    incoming: Arc<Queue>,
    outgoing: Arc<Queue>,
    timeout: Option<Duration>,
    /// Set once something was written that no flush was asked for.
    unflushed: bool,
    /// The flush that was asked for and is not known to be done.
    flush: Option<u64>,
}

impl Threaded {
    /// The bytes that each direction holds unless set otherwise: 256 KiB, one block of the default size.
    pub const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(256 * 1024 - 1);

    /// Starts the two threads.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn new<R, W>(reader: R, writer: W) -> io::Result<Self>
    where
        R: Read + Send + 'static,
        W: Write + Send + 'static,
    {
        Self::with_capacity(Self::CAPACITY, reader, writer)
    }

    /// Starts the two threads, with so many bytes between each of them and this stream. Each thread has up to 64 KiB
    /// more of its own.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn with_capacity<R, W>(capacity: NonZeroUsize, reader: R, writer: W) -> io::Result<Self>
    where
        R: Read + Send + 'static,
        W: Write + Send + 'static,
    {
        let stream = Self {
            incoming: Arc::new(Queue::new(capacity)),
            outgoing: Arc::new(Queue::paced(capacity)),
            timeout: Some(TICK),
            unflushed: false,
            flush: None,
        };
        let chunk = capacity.get().min(CHUNK);
        // The guards are made here, so that a thread that does not start leaves none to wait for it.
        let incoming = Inlet(Arc::clone(&stream.incoming));
        let outgoing = Outlet(Arc::clone(&stream.outgoing));
        thread::Builder::new()
            .name("haul-writer".into())
            .spawn(move || pump_out(outgoing, writer, chunk))
            .map_err(cannot_start)?;
        thread::Builder::new()
            .name("haul-reader".into())
            .spawn(move || pump_in(&incoming, reader, chunk))
            .map_err(cannot_start)?;
        Ok(stream)
    }

    /// Sets how long a call waits before it fails with [`io::ErrorKind::TimedOut`]. Default: 1 s.
    ///
    /// `None` waits for ever. Zero never waits: such a call fails with [`io::ErrorKind::WouldBlock`].
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }
}

impl Read for Threaded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer, self.timeout)
    }
}

impl Write for Threaded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.outgoing.write(bytes, self.timeout)?;
        self.unflushed |= count > 0;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.unflushed {
            self.flush = Some(self.outgoing.want_flush());
            self.unflushed = false;
        }
        if let Some(number) = self.flush {
            self.outgoing.wait_flushed(number, self.timeout)?;
            self.flush = None;
        }
        Ok(())
    }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        self.incoming.break_off(None);
        self.outgoing.end(None);
        if !self.outgoing.wait_broken(CLOSE_WAIT) {
            self.outgoing.break_off(None);
        }
    }
}

/// The reader thread's end of a queue. However the thread ends, the other side learns of it.
struct Inlet(Arc<Queue>);

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.end(Some(io::Error::other(Lost)));
    }
}

/// The writer thread's end of a queue, likewise.
struct Outlet(Arc<Queue>);

impl Drop for Outlet {
    fn drop(&mut self) {
        self.0.break_off(Some(io::Error::other(Lost)));
    }
}

fn pump_in(inlet: &Inlet, mut reader: impl Read, chunk: usize) {
    let queue = &inlet.0;
    let mut buffer = vec![0; chunk];
    loop {
        let error = match reader.read(&mut buffer) {
            Ok(0) => return queue.end(None),
            Ok(count) => match buffer.get(..count) {
                Some(bytes) if put_all(queue, bytes) => continue,
                Some(_) => return,
                None => io::Error::new(io::ErrorKind::InvalidData, BeyondBuffer),
            },
            Err(error) => error,
        };
        if !retry(&error, queue) {
            return queue.end(Some(error));
        }
    }
}

/// Returns whether all bytes found room before the other side was gone.
fn put_all(queue: &Queue, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Ok(count) = queue.write(bytes, None) else { return false };
        bytes = bytes.get(count..).unwrap_or_default();
    }
    true
}

fn pump_out(outlet: Outlet, mut writer: impl Write, chunk: usize) {
    let queue = &outlet.0;
    let mut buffer = vec![0; chunk];
    let result = loop {
        let done = match queue.next(&mut buffer) {
            Next::Bytes(count) => {
                give_all(queue, &mut writer, buffer.get(..count).unwrap_or_default())
            }
            Next::Flush(number) => flush(queue, &mut writer).map(|()| queue.flushed(number)),
            Next::End => break flush(queue, &mut writer),
        };
        if done.is_err() {
            break done;
        }
    };
    // Closed first and reported then: who waits for the report may count on the peer's seeing the end.
    drop(writer);
    queue.break_off(result.err());
}

fn give_all(queue: &Queue, writer: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match writer.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes = bytes
                    .get(count..)
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, BeyondBuffer))?;
            }
            Err(error) if retry(&error, queue) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn flush(queue: &Queue, writer: &mut impl Write) -> io::Result<()> {
    loop {
        match writer.flush() {
            Err(error) if retry(&error, queue) => {}
            other => return other,
        }
    }
}

/// Returns whether a call is to be made again, after a pause if need be: not if the other side is gone
/// for good.
fn retry(error: &io::Error, queue: &Queue) -> bool {
    match error.kind() {
        io::ErrorKind::Interrupted => true,
        _ => is_tick(error) && !queue.wait_broken(PAUSE),
    }
}

/// A thread of the stream ended without a word.
#[derive(Debug, thiserror::Error)]
#[error("the reader or writer of the stream panicked")]
struct Lost;

#[derive(Debug, thiserror::Error)]
#[error("the reader or writer of the stream gave a count beyond its buffer")]
struct BeyondBuffer;

/// Time that a call waits, as the contract of streams asks for.
const TICK: Duration = Duration::from_secs(1);

/// Bytes that a thread moves at a time. A pipe of Linux holds as much.
const CHUNK: usize = 64 * 1024;

/// Longest wait of a drop for a writer that does not take its bytes.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Pause of a thread after a call that moved nothing, if the reader or writer has timeouts of its own or does not
/// block: seldom enough to cost little.
const PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests;
