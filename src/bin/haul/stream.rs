//! The transports of the command, as one connector and one acceptor.

use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use haul::transport::exec::{ExecConnector, ExecStream};
use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions, TcpStream};
use haul::transport::unix::{UnixAcceptor, UnixConnector, UnixStream};
use haul::transport::{Listening, Waker};
use haul::{Acceptor, Connector, Peer};

use crate::address::{Address, Listen};
use crate::report::{Record, Reporter};

/// How often a waiting call looks up: what a person waits at most after Ctrl-C.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// Opens streams to an [`Address`].
pub(crate) enum Dialer {
    Tcp(TcpConnector),
    Unix(UnixConnector),
    Exec(ExecConnector),
}

/// Waits on a [`Listen`] address.
pub(crate) enum Listener {
    Tcp(TcpAcceptor),
    Unix(UnixAcceptor),
}

/// Who can connect to a [`Listener`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Other machines.
    Network,
    /// Any user of this machine.
    Machine,
    /// Whom a socket of this mode lets in.
    Mode(u32),
}

/// How the one peer of a command is come by: it is dialled, or waited for.
pub(crate) enum Link {
    Dialled { dialer: Dialer, address: String },
    Awaited(Listening<Listener>),
}

/// A [`Link`] that says when it came about.
pub(crate) struct Reporting<'a> {
    link: Link,
    reporter: &'a Reporter,
}

/// A stream of any of the transports.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Exec(ExecStream),
}

impl Dialer {
    pub(crate) fn new(address: &Address, options: TcpOptions) -> Self {
        match address {
            Address::Tcp(address) => {
                Self::Tcp(TcpConnector::new(address.clone()).options(ticking(options)))
            }
            Address::Unix(path) => Self::Unix(
                UnixConnector::new(path).tick(TICK).connect_timeout(options.connect_timeout),
            ),
            Address::Exec(command) => Self::Exec(ExecConnector::shell(command)),
        }
    }
}

impl Link {
    pub(crate) fn dial(address: &Address, options: TcpOptions) -> Self {
        Self::Dialled { dialer: Dialer::new(address, options), address: address.to_string() }
    }

    pub(crate) const fn wait(listener: Listener) -> Self {
        Self::Awaited(Listening::new(listener))
    }

    pub(crate) const fn reporting(self, reporter: &Reporter) -> Reporting<'_> {
        Reporting { link: self, reporter }
    }
}

impl Listener {
    pub(crate) fn bind(address: &Listen, options: TcpOptions) -> io::Result<Self> {
        match address {
            Listen::Tcp(address) => TcpAcceptor::bind(address, ticking(options)).map(Self::Tcp),
            Listen::Unix(path) => UnixAcceptor::bind(path)?.tick(TICK).map(Self::Unix),
        }
    }

    /// The address that is really listened on, for people and programs to connect to: as it is, for it was given as text.
    pub(crate) fn address(&self) -> io::Result<String> {
        match self {
            Self::Tcp(acceptor) => acceptor.local_addr().map(|address| address.to_string()),
            Self::Unix(acceptor) => Ok(format!("unix:{}", acceptor.path().display())),
        }
    }

    /// Who can connect.
    pub(crate) fn reach(&self) -> io::Result<Reach> {
        match self {
            Self::Tcp(acceptor) => acceptor.local_addr().map(|address| {
                let is_loopback = address.ip().to_canonical().is_loopback();
                if is_loopback { Reach::Machine } else { Reach::Network }
            }),
            Self::Unix(acceptor) => {
                let meta = std::fs::symlink_metadata(acceptor.path())?;
                Ok(Reach::Mode(meta.permissions().mode() & 0o7777))
            }
        }
    }
}

impl Connector for Dialer {
    type Stream = Stream;

    fn connect(&mut self) -> io::Result<Stream> {
        match self {
            Self::Tcp(connector) => connector.connect().map(Stream::Tcp),
            Self::Unix(connector) => connector.connect().map(Stream::Unix),
            Self::Exec(connector) => {
                let mut stream = connector.connect()?;
                stream.set_timeout(Some(TICK));
                Ok(Stream::Exec(stream))
            }
        }
    }
}

impl Connector for Reporting<'_> {
    type Stream = Stream;

    fn connect(&mut self) -> io::Result<Stream> {
        let (stream, peer) = match &mut self.link {
            Link::Dialled { dialer, address } => (dialer.connect()?, address.clone()),
            Link::Awaited(listening) => {
                let stream = listening.connect()?;
                let peer = listening.peer().map(Peer::to_string).unwrap_or_default();
                self.reporter.say(&format!("connected by {peer}"));
                (stream, peer)
            }
        };
        self.reporter.record(&Record::Connected { peer: &peer }, None);
        Ok(stream)
    }

    fn is_waiting(&self) -> bool {
        match &self.link {
            Link::Dialled { .. } => false,
            Link::Awaited(listening) => listening.is_waiting(),
        }
    }
}

impl Acceptor for Listener {
    type Stream = Stream;

    fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(acceptor) => {
                acceptor.accept().map(|(stream, peer)| (Stream::Tcp(stream), peer))
            }
            Self::Unix(acceptor) => {
                acceptor.accept().map(|(stream, peer)| (Stream::Unix(stream), peer))
            }
        }
    }

    fn waker(&self) -> Option<Waker> {
        match self {
            Self::Tcp(acceptor) => acceptor.waker(),
            Self::Unix(acceptor) => acceptor.waker(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Exec(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Exec(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            Self::Exec(stream) => stream.flush(),
        }
    }
}

fn ticking(options: TcpOptions) -> TcpOptions {
    options.read_tick(TICK).write_tick(TICK).accept_tick(TICK)
}
