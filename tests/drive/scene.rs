//! Shared parts of the tests of the driver: content, pairs of sides, links that fail, servers, and
//! time.

use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use haul::drive::Clock;
use haul::hash::BlockSize;
use haul::store::{MemorySource, MemoryStore};
use haul::transport::memory::{self, MemoryConnector, Pipe};
use haul::{
    Acceptor, CancelToken, Config, Connector, Error, Event, Observer, RelPath, Server,
    SessionError, Store, Summary, Transfer,
};

pub(crate) fn path(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).expect("a good name")
}

/// Returns content that is a function of the seed and the offset.
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

/// A stream that is lost after so many bytes in both directions together; it may then be kept, so that the other end
/// does not hear of it.
pub(crate) struct Frail {
    inner: Option<Pipe>,
    left: usize,
    keep: Option<mpsc::Sender<Pipe>>,
}

impl Frail {
    pub(crate) const fn new(inner: Pipe, left: usize) -> Self {
        Self { inner: Some(inner), left, keep: None }
    }

    fn admit(&self, bytes: usize) -> io::Result<usize> {
        if self.left == 0 {
            return Err(ErrorKind::ConnectionReset.into());
        }
        Ok(bytes.min(self.left))
    }

    fn pipe(&mut self) -> &mut Pipe {
        self.inner.as_mut().expect("it is open")
    }
}

impl Read for Frail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.admit(buffer.len())?;
        let read = self.pipe().read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}

impl Write for Frail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = self.admit(bytes.len())?;
        let written = self.pipe().write(&bytes[..most])?;
        self.left -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Frail {
    fn drop(&mut self) {
        if let (Some(keep), Some(pipe)) = (&self.keep, self.inner.take()) {
            let _ = keep.send(pipe);
        }
    }
}

/// Connects by streams that hold out for `first` bytes, then `step` more each time.
pub(crate) struct FrailConnector {
    inner: MemoryConnector,
    first: usize,
    step: usize,
    pub(crate) connected: usize,
    /// Destination of lost streams, if they are to be kept.
    pub(crate) keep: Option<mpsc::Sender<Pipe>>,
}

impl FrailConnector {
    pub(crate) const fn new(inner: MemoryConnector, first: usize, step: usize) -> Self {
        Self { inner, first, step, connected: 0, keep: None }
    }
}

impl Connector for FrailConnector {
    type Stream = Frail;

    fn connect(&mut self) -> io::Result<Frail> {
        let left = self.first.saturating_add(self.step.saturating_mul(self.connected));
        self.connected += 1;
        Ok(Frail { inner: Some(self.inner.connect()?), left, keep: self.keep.clone() })
    }
}

/// Runs a server until the test is done with it.
pub(crate) fn with_server<A, S, R>(
    acceptor: A,
    store: &S,
    change: impl FnOnce(Server<A, S>) -> Server<A, S>,
    test: impl FnOnce() -> R,
) -> R
where
    A: Acceptor + Send,
    A::Stream: Send,
    S: Store + Clone + Send,
    S::File: Send,
{
    let cancel = CancelToken::new();
    let server = Server::new(acceptor, store.clone()).config(small_blocks()).cancel(cancel.clone());
    let server = change(server);
    thread::scope(|scope| {
        let server = scope.spawn(move || server.run(|_, _| ()));
        let result = test();
        cancel.cancel();
        let ended = server.join().expect("the server does not panic");
        assert!(matches!(ended, Err(Error::Session(SessionError::Cancelled))), "{ended:?}");
        result
    })
}

/// Runs a server with so many sessions over a network in memory until the test is done with it.
pub(crate) fn with_sessions<R>(
    store: &MemoryStore,
    sessions: usize,
    test: impl FnOnce(MemoryConnector) -> R,
) -> R {
    let (connector, acceptor) = memory::network(capacity(4096));
    // A network without connectors ends its acceptor.
    let _network = connector.clone();
    with_server(acceptor, store, |server| server.sessions(sessions), || test(connector))
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
pub(crate) struct CancelAt(pub(crate) CancelToken, pub(crate) fn(&Event) -> bool);

impl Observer for CancelAt {
    fn event(&mut self, event: &Event) {
        if self.1(event) {
            self.0.cancel();
        }
    }
}
