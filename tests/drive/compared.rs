//! Comparisons of what the receiver holds already, over connections that are lost: no content travels, and they advance.

use std::io::{self, ErrorKind, Read, Write};

use std::time::Duration;

use haul::drive::Clock;
use haul::store::{MemorySource, MemoryStore, Unsendable};
use haul::transport::memory::{MemoryConnector, Pipe};
use haul::types::{Meta, Withdrawal};
use haul::{Connector, Error, Retry, Source, Transfer};

use crate::scene::{Virtual, content, path, small_blocks, with_sessions};

/// Each read takes a second.
struct Slow {
    inner: MemorySource,
    clock: Virtual,
}

impl Source for Slow {
    type Key = <MemorySource as Source>::Key;
    type Reader = <MemorySource as Source>::Reader;

    fn rewind(&mut self) -> io::Result<()> {
        self.inner.rewind()
    }

    fn next_entry(&mut self) -> Option<Result<(Self::Key, Meta), Unsendable>> {
        self.inner.next_entry()
    }

    fn open(&mut self, key: &Self::Key, meta: &Meta) -> Result<Self::Reader, Withdrawal> {
        self.inner.open(key, meta)
    }

    fn read_at(
        &mut self,
        reader: &mut Self::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.clock.pass(Duration::from_secs(1));
        self.inner.read_at(reader, offset, buffer)
    }

    fn finish(&mut self, reader: &mut Self::Reader, meta: &Meta) -> Result<(), Withdrawal> {
        self.inner.finish(reader, meta)
    }
}

/// A stream that is lost at a time.
struct Brief {
    inner: Pipe,
    clock: Virtual,
    until: Duration,
}

impl Brief {
    fn check(&self) -> io::Result<()> {
        if self.clock.now() < self.until { Ok(()) } else { Err(ErrorKind::ConnectionReset.into()) }
    }
}

impl Read for Brief {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl Write for Brief {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Connects by streams that hold out for so long.
struct BriefConnector {
    inner: MemoryConnector,
    clock: Virtual,
    time: Duration,
    connected: u32,
}

impl Connector for BriefConnector {
    type Stream = Brief;

    fn connect(&mut self) -> io::Result<Brief> {
        self.connected += 1;
        let (inner, clock) = (self.inner.connect()?, self.clock.clone());
        Ok(Brief { inner, until: clock.now() + self.time, clock })
    }
}

/// 200 blocks of which each takes a second, over connections of 25 seconds each.
#[test]
fn comparison_that_advances_is_not_given_up() {
    let bytes = content(1, 200 * 1024);
    let store = MemoryStore::new();
    store.insert(path("large"), bytes.clone());
    let clock = Virtual::default();
    let mut source =
        Slow { inner: MemorySource::new().file(path("large"), bytes), clock: clock.clone() };
    let (sent, connected) = with_sessions(&store, 4, |inner| {
        let time = Duration::from_secs(25);
        let mut connector = BriefConnector { inner, clock: clock.clone(), time, connected: 0 };
        let retry = Retry::default().patience(Duration::from_secs(60));
        let mut transfer = Transfer::new(small_blocks()).clock(clock.clone()).retry(retry);
        (transfer.send_via(&mut source, &mut connector), connector.connected)
    });
    let sent = sent.expect("sent");
    assert_eq!((sent.delivered, sent.held, sent.sent), (1, 1, 0));
    assert!(connected > 5, "{connected} connections");
}

/// The same where nothing advances, as each connection is lost before a block was read.
#[test]
fn comparison_that_does_not_advance_is_given_up() {
    let bytes = content(1, 200 * 1024);
    let store = MemoryStore::new();
    store.insert(path("large"), bytes.clone());
    let clock = Virtual::default();
    let mut source = MemorySource::new().file(path("large"), bytes);
    let sent = with_sessions(&store, 4, |inner| {
        let time = Duration::ZERO;
        let mut connector = BriefConnector { inner, clock: clock.clone(), time, connected: 0 };
        let retry = Retry::patiently(Duration::from_secs(60));
        let mut transfer = Transfer::new(small_blocks()).clock(clock.clone()).retry(retry);
        transfer.send_via(&mut source, &mut connector)
    });
    assert!(matches!(sent, Err(Error::Transport { .. })), "{sent:?}");
    assert!((60..75).contains(&clock.now().as_secs()), "{:?}", clock.now());
}
