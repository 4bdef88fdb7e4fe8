//! What the tests of the driver share: content, pairs of sides, links that fail, and time.

use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use haul::drive::Clock;
use haul::store::{MemorySource, MemoryStore};
use haul::transport::memory::{self, MemoryConnector};
use haul::tree::BlockSize;
use haul::{Cancel, Config, Connector, Error, Event, Observer, RelPath, Server, Summary, Transfer};

pub(crate) fn path(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).expect("a good name")
}

/// Content that is a function of the seed and the offset.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn capacity(bytes: usize) -> NonZeroUsize {
    NonZeroUsize::new(bytes).expect("a capacity")
}

pub(crate) fn small_blocks() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

pub(crate) fn three_files() -> MemorySource {
    MemorySource::new()
        .file(path("empty"), "")
        .file(path("small"), content(1, 700))
        .file(path("large"), content(2, 20_000))
}

pub(crate) fn assert_three_files(store: &MemoryStore) {
    let files = store.files();
    assert_eq!(files.len(), 3);
    assert_eq!(&*files[&path("empty")], b"");
    assert_eq!(*files[&path("small")], content(1, 700));
    assert_eq!(*files[&path("large")], content(2, 20_000));
}

/// Runs both sides, each in a thread, and gives how they ended.
pub(crate) fn both(
    config: &Config,
    store: &MemoryStore,
    alice: impl Read + Write,
    bob: impl Read + Write + Send,
    source: &mut MemorySource,
) -> (Result<Summary, Error>, Result<Summary, Error>) {
    thread::scope(|scope| {
        let receiver =
            scope.spawn(|| Transfer::new(config.clone()).receive(&mut store.clone(), bob));
        let sent = Transfer::new(config.clone()).send(source, alice);
        (sent, receiver.join().expect("the receiver does not panic"))
    })
}

/// Time that passes only when somebody waits for it.
#[derive(Clone, Default)]
pub(crate) struct Virtual(Arc<Mutex<Duration>>);

impl Virtual {
    pub(crate) fn pass(&self, time: Duration) {
        *self.0.lock().expect("no panic") += time;
    }
}

impl Clock for Virtual {
    fn now(&self) -> Duration {
        *self.0.lock().expect("no panic")
    }

    fn sleep(&self, time: Duration) {
        self.pass(time);
    }
}

/// A stream that is lost after so many bytes in both directions together.
pub(crate) struct Frail<T> {
    pub(crate) inner: T,
    pub(crate) left: usize,
}

impl<T> Frail<T> {
    fn admit(&self, bytes: usize) -> io::Result<usize> {
        if self.left == 0 {
            return Err(ErrorKind::ConnectionReset.into());
        }
        Ok(bytes.min(self.left))
    }
}

impl<T: Read> Read for Frail<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.admit(buffer.len())?;
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl<T: Write> Write for Frail<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.admit(bytes.len())?;
        let written = self.inner.write(&bytes[..most])?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Connects through frail streams; the n-th one holds out for n times `step` bytes.
pub(crate) struct FrailConnector {
    pub(crate) inner: MemoryConnector,
    pub(crate) step: usize,
    pub(crate) connected: usize,
}

impl Connector for FrailConnector {
    type Stream = Frail<<MemoryConnector as Connector>::Stream>;

    fn connect(&mut self) -> io::Result<Self::Stream> {
        self.connected += 1;
        Ok(Frail { inner: self.inner.connect()?, left: self.step * self.connected })
    }
}

/// Runs a server over a network in memory until the test is done with it.
pub(crate) fn with_server<R>(
    store: &MemoryStore,
    sessions: usize,
    test: impl FnOnce(MemoryConnector) -> R,
) -> R {
    let (connector, acceptor) = memory::network(capacity(4096));
    // A network without connectors ends its acceptor.
    let _network = connector.clone();
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let server = Server::new(acceptor, store.clone())
            .config(small_blocks())
            .sessions(sessions)
            .cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        let result = test(connector);
        cancel.cancel();
        let ended = server.join().expect("the server does not panic");
        assert!(matches!(ended, Err(Error::Cancelled)), "{ended:?}");
        result
    })
}

/// A peer that neither says nor takes anything: each call costs a second.
pub(crate) struct Silent {
    pub(crate) clock: Virtual,
    pub(crate) takes: bool,
}

impl Read for Silent {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.clock.pass(Duration::from_secs(1));
        Err(ErrorKind::WouldBlock.into())
    }
}

impl Write for Silent {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.takes {
            return Ok(bytes.len());
        }
        self.clock.pass(Duration::from_secs(1));
        Err(ErrorKind::TimedOut.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Cancels at an event.
pub(crate) struct CancelAt(pub(crate) Cancel, pub(crate) fn(&Event) -> bool);

impl Observer for CancelAt {
    fn event(&mut self, event: &Event) {
        if self.1(event) {
            self.0.cancel();
        }
    }
}
