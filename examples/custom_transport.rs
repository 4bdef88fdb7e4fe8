//! A transport of your own: a radio that takes lines of text, one side at a time.
//!
//! All that haul asks of a stream is ordered bytes, `Read + Write`. This one is as odd as they come: it carries lines of
//! 32 characters, each byte as two hex digits, and nobody may speak while the other does. The protocol takes turns, so
//! that is enough.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "the two ends live in two threads")]

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use haul::store::{MemorySource, MemoryStore};
use haul::{Acceptor, Config, Connector, Peer, RelPath, Server, Transfer};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut alice, bob) = network();

    let store = MemoryStore::new();
    let server = Server::new(bob, store.clone()).run_once();
    let bob = thread::spawn(move || server.run(|_, peer| println!("called by {peer}")));

    let mut source = MemorySource::new().file(RelPath::parse(b"weather.txt")?, "fog, over");
    let summary = Transfer::new(Config::default()).send_via(&mut source, &mut alice)?;
    bob.join().map_err(|_| "the receiver panicked")??;

    assert_eq!(
        store.get("weather.txt").map(|entry| entry.bytes.to_vec()),
        Some(b"fog, over".into())
    );
    println!("delivered {} file of {} bytes", summary.delivered, summary.bytes);
    Ok(())
}

/// One end of a stream.
struct Radio {
    say: mpsc::Sender<String>,
    hear: mpsc::Receiver<String>,
    /// Bytes that were received and not yet read: a line may hold more than the caller has room
    /// for.
    heard: VecDeque<u8>,
}

/// Number of bytes that a line carries.
const LINE: usize = 16;

impl Read for Radio {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.heard.is_empty() {
            // A call should return within about a second: that is when haul looks at its deadlines.
            let line = match self.hear.recv_timeout(Duration::from_secs(1)) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Err(ErrorKind::TimedOut.into()),
                // The other end is gone. haul will know whether that was to be expected.
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
            };
            for digits in line.as_bytes().chunks(2) {
                let digits = str::from_utf8(digits).map_err(io::Error::other)?;
                self.heard.push_back(u8::from_str_radix(digits, 16).map_err(io::Error::other)?);
            }
        }
        self.heard.read(buffer)
    }
}

impl Write for Radio {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Taking less than was given is fine: haul comes back with the rest.
        let bytes = &bytes[..bytes.len().min(LINE)];
        let line = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.say.send(line).map_err(|_| ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Calling side. haul asks it for a stream again whenever one was lost.
struct Caller(mpsc::Sender<Radio>);

/// Called side.
struct Station(mpsc::Receiver<Radio>);

fn network() -> (Caller, Station) {
    let (call, calls) = mpsc::channel();
    (Caller(call), Station(calls))
}

impl Connector for Caller {
    type Stream = Radio;

    fn connect(&mut self) -> io::Result<Radio> {
        let (there, here) = (mpsc::channel(), mpsc::channel());
        let far = Radio { say: here.0, hear: there.1, heard: VecDeque::new() };
        self.0.send(far).map_err(|_| ErrorKind::ConnectionRefused)?;
        Ok(Radio { say: there.0, hear: here.1, heard: VecDeque::new() })
    }
}

impl Acceptor for Station {
    type Stream = Radio;

    fn accept(&mut self) -> io::Result<(Radio, Peer)> {
        // As for a read: come back within about a second, so that a server can be stopped.
        match self.0.recv_timeout(Duration::from_secs(1)) {
            Ok(radio) => Ok((radio, Peer::Other("radio".into()))),
            Err(RecvTimeoutError::Timeout) => Err(ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(ErrorKind::NotConnected.into()),
        }
    }
}
