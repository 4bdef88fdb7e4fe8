//! The transports of the command, as one connector and one acceptor.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use haul::transport::exec::{ExecConnector, ExecStream};
use haul::transport::secure::{Secure, SecureAcceptor, SecureConnector, SecureStream};
use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions, TcpStream};
use haul::transport::unix::{UnixAcceptor, UnixConnector, UnixStream};
use haul::transport::{Channel, Waker};
use haul::{Acceptor, Connector, Peer};

use crate::access::{Keys, Mode, Target};
use crate::address::{Address, Listen};
use crate::exit::{Code, Stop};
use crate::identity::Identity;
use crate::report::{Record, Reporter};

/// Interval at which a waiting call looks up: a person's longest wait after Ctrl-C.
pub(crate) const TICK: Duration = Duration::from_millis(200);

/// Connector to an [`Address`].
pub(crate) enum Dialer {
    Tcp(AnyOf),
    Secure(Box<SecureConnector<AnyOf>>),
    Unix(UnixConnector),
    Exec(ExecConnector),
}

/// Acceptor at a [`Listen`] address.
pub(crate) enum Listener {
    Tcp(TcpAcceptor),
    Secure(Box<SecureAcceptor<TcpAcceptor>>),
    Unix(UnixAcceptor),
}

/// Connector to the first of several addresses at which somebody answers.
pub(crate) struct AnyOf(Vec<TcpConnector>);

/// Peers that can connect to a [`Listener`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Other machines.
    Network,
    /// Any user of this machine.
    Machine,
    /// Users that a socket of this mode lets in.
    Mode(u32),
}

/// Way to the one peer of a command: it is dialled, or waited for.
pub(crate) enum Link {
    Dialled(Dial),
    Awaited(Listener),
}

/// An [`Address`] that streams are opened to.
pub(crate) struct Dial {
    pub(crate) dialer: Dialer,
    pub(crate) address: String,
}

/// A [`Dial`] that records each stream.
pub(crate) struct Reporting<'a> {
    dial: Dial,
    reporter: &'a Reporter,
}

/// A stream of any of the transports.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Secure(Box<SecureStream<TcpStream>>),
    Unix(UnixStream),
    Exec(ExecStream),
}

impl Dialer {
    /// Creates a connector. `target`: what the address comes to, if it is of a network.
    fn new(address: &Address, target: Option<&Target>, options: TcpOptions) -> io::Result<Self> {
        let options = ticking(options);
        Ok(match (address, target) {
            (_, Some(Target { addresses, keys })) => {
                let connector =
                    |address| TcpConnector::new(Clone::clone(address)).options(options.clone());
                let any = AnyOf(addresses.iter().map(connector).collect());
                match keys {
                    None => Self::Tcp(any),
                    Some(Keys { identity, expect, .. }) => {
                        let secure = Secure::dial(any, &identity.key, expect.clone())?;
                        Self::Secure(Box::new(secure))
                    }
                }
            }
            (Address::Unix(path), None) => Self::Unix(
                UnixConnector::new(path).tick(TICK).connect_timeout(options.connect_timeout),
            ),
            (Address::Exec(command) | Address::Ssh { command, .. }, None) => {
                Self::Exec(ExecConnector::shell(command))
            }
            (Address::Tcp(_) | Address::Named(_) | Address::Ticket(_), None) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        })
    }
}

impl Dial {
    /// Returns the dialling side for an address, and the keys for it.
    pub(crate) fn to(
        address: &Address,
        mode: Mode,
        options: TcpOptions,
        reporter: &Reporter,
    ) -> Result<(Self, Option<Keys>), Stop> {
        let target = Target::of(address, mode)?;
        if target.is_some() && mode == Mode::Insecure {
            reporter.complain(INSECURE);
        }
        let dialer = Dialer::new(address, target.as_ref(), options);
        let dialer = dialer.map_err(|error| Stop::new(Code::Local, error.to_string()))?;
        let dial = Self { dialer, address: address.to_string() };
        Ok((dial, target.and_then(|target| target.keys)))
    }

    pub(crate) const fn reporting(self, reporter: &Reporter) -> Reporting<'_> {
        Reporting { dial: self, reporter }
    }
}

impl Listener {
    /// Listens. `identity`: who this side is, unless it is in clear over a network, too.
    pub(crate) fn bind(
        address: &Listen,
        options: TcpOptions,
        identity: Option<&Identity>,
    ) -> io::Result<Self> {
        match address {
            Listen::Tcp(address) => {
                let acceptor = TcpAcceptor::bind(address, ticking(options))?;
                let Some(identity) = identity else { return Ok(Self::Tcp(acceptor)) };
                let secure = Secure::listen(acceptor, &identity.key)?;
                Ok(Self::Secure(Box::new(secure)))
            }
            Listen::Unix(path) => UnixAcceptor::bind(path)?.tick(TICK).map(Self::Unix),
        }
    }

    /// Returns the address that is really listened on, for people and programs to connect to: as it is, for it was
    /// given as text.
    pub(crate) fn address(&self) -> io::Result<String> {
        match self {
            Self::Tcp(_) | Self::Secure(_) => {
                let address = self.socket().transpose()?.ok_or(io::ErrorKind::NotConnected)?;
                Ok(address.to_string())
            }
            Self::Unix(acceptor) => Ok(format!("unix:{}", acceptor.path().display())),
        }
    }

    /// Returns the address, if it is of a network.
    pub(crate) fn socket(&self) -> Option<io::Result<SocketAddr>> {
        match self {
            Self::Tcp(acceptor) => Some(acceptor.local_addr()),
            Self::Secure(acceptor) => Some(acceptor.get_ref().local_addr()),
            Self::Unix(_) => None,
        }
    }

    /// Returns who can connect.
    pub(crate) fn reach(&self) -> io::Result<Reach> {
        match self {
            Self::Tcp(_) | Self::Secure(_) => {
                let address = self.socket().transpose()?;
                let is_local = |address: SocketAddr| address.ip().to_canonical().is_loopback();
                Ok(if address.is_some_and(is_local) { Reach::Machine } else { Reach::Network })
            }
            Self::Unix(acceptor) => {
                let meta = std::fs::symlink_metadata(acceptor.path())?;
                Ok(Reach::Mode(meta.permissions().mode() & 0o7777))
            }
        }
    }
}

impl Connector for AnyOf {
    type Stream = TcpStream;

    fn connect(&mut self) -> io::Result<TcpStream> {
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for connector in &mut self.0 {
            match connector.connect() {
                Err(error) => failed = error,
                connected => return connected,
            }
        }
        Err(failed)
    }
}

impl Connector for Dialer {
    type Stream = Stream;

    fn connect(&mut self) -> io::Result<Stream> {
        match self {
            Self::Tcp(connector) => connector.connect().map(Stream::Tcp),
            Self::Secure(connector) => {
                connector.connect().map(|stream| Stream::Secure(Box::new(stream)))
            }
            Self::Unix(connector) => connector.connect().map(Stream::Unix),
            Self::Exec(connector) => {
                let mut stream = connector.connect()?;
                stream.set_timeout(Some(TICK));
                Ok(Stream::Exec(stream))
            }
        }
    }
}

impl Reporting<'_> {
    /// Returns the address that it dials.
    pub(crate) fn to(&self) -> &str {
        &self.dial.address
    }
}

impl Connector for Reporting<'_> {
    type Stream = Stream;

    fn connect(&mut self) -> io::Result<Stream> {
        let stream = self.dial.dialer.connect()?;
        self.reporter.record(&Record::Connected { peer: &self.dial.address }, None);
        Ok(stream)
    }

    fn channel(&self, stream: &Stream) -> Option<Channel> {
        stream.channel()
    }
}

impl Acceptor for Listener {
    type Stream = Stream;

    fn accept(&mut self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(acceptor) => {
                acceptor.accept().map(|(stream, peer)| (Stream::Tcp(stream), peer))
            }
            Self::Secure(acceptor) => {
                acceptor.accept().map(|(stream, peer)| (Stream::Secure(Box::new(stream)), peer))
            }
            Self::Unix(acceptor) => {
                acceptor.accept().map(|(stream, peer)| (Stream::Unix(stream), peer))
            }
        }
    }

    fn waker(&self) -> Option<Waker> {
        match self {
            Self::Tcp(acceptor) => acceptor.waker(),
            Self::Secure(acceptor) => acceptor.waker(),
            Self::Unix(acceptor) => acceptor.waker(),
        }
    }

    fn channel(&self, stream: &Stream) -> Option<Channel> {
        stream.channel()
    }
}

impl Stream {
    /// Returns what it knows of its other end.
    fn channel(&self) -> Option<Channel> {
        match self {
            Self::Secure(stream) => Some(stream.channel()),
            Self::Tcp(_) | Self::Unix(_) | Self::Exec(_) => None,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Exec(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Secure(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Exec(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Secure(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
            Self::Exec(stream) => stream.flush(),
        }
    }
}

/// Warning about dialling without keys.
const INSECURE: &str = "warning: --insecure: whoever is between can read and change everything, \
                        and whoever answers is taken for the right one";

fn ticking(options: TcpOptions) -> TcpOptions {
    options.read_tick(TICK).write_tick(TICK).accept_tick(TICK)
}
