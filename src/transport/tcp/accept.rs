//! Listening: bind one address, and take peers as they come.

use std::io;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::SockRef;

use super::connect::resolve;
use super::options::SHORTEST_TICK;
use super::stream::canonical;
use super::{HostPort, TcpError, TcpOptions, TcpStream};
use crate::transport::sync::accept_timeout::Ticking;
use crate::transport::{Acceptor, Peer, Waker};

/// Acceptor on a TCP port.
///
/// One address is listened on: the first of the host that works. `[::]` is every address of this machine, IPv6 and
/// (see [`TcpOptions::dual_stack`]) IPv4; `localhost` may be either `::1` or `127.0.0.1`, so write which.
#[derive(Debug)]
pub struct TcpAcceptor {
    listener: TcpListener,
    options: TcpOptions,
    ticking: Ticking,
}

impl TcpAcceptor {
    /// Listens on a port of this machine; port 0 is any free one, which [`local_addr`](Self::local_addr) returns.
    ///
    /// # Errors
    ///
    /// All hold a [`TcpError`], which names the address or the option.
    ///
    /// - [`io::ErrorKind::AddrInUse`]: another program listens there.
    /// - [`io::ErrorKind::AddrNotAvailable`]: the address is not one of this machine.
    /// - [`io::ErrorKind::PermissionDenied`]: ports below 1024 are for the administrator, usually.
    /// - [`io::ErrorKind::NotFound`]: there is no such host.
    /// - Any other error of the system.
    pub fn bind(address: &HostPort, options: TcpOptions) -> io::Result<Self> {
        let addresses = resolve(address).map_err(|source| {
            TcpError::Resolve { address: address.clone(), source }.into_io(io::ErrorKind::NotFound)
        })?;
        let mut failures = Vec::new();
        for tried in addresses {
            match listen(tried, &options) {
                Ok((listener, ticking)) => return Ok(Self { listener, options, ticking }),
                Err(error) => failures.push((tried, error)),
            }
        }
        Err(TcpError::all_failed(address, failures))
    }

    /// Returns the address that is listened on, with its real port.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Acceptor for TcpAcceptor {
    type Stream = TcpStream;

    /// Takes the next connection.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::WouldBlock`], [`io::ErrorKind::TimedOut`]: nobody came within [`TcpOptions::accept_tick`].
    /// - [`io::ErrorKind::ConnectionAborted`]: somebody came, and was gone again, or may not.
    /// - Any other error of the system, such as that no descriptor is free. A further call may succeed.
    fn accept(&mut self) -> io::Result<(TcpStream, Peer)> {
        let Self { listener, options, ticking } = self;
        ticking.run(
            || listener.accept(),
            |(stream, address)| {
                // The options were tried on the listener: where one fails, it is this connection that is no more.
                let stream = TcpStream::new(stream, options)?;
                Ok((stream, Peer::Address(canonical(address))))
            },
        )
    }

    /// Connects to itself. Where that fails, `accept` returns at its tick.
    fn waker(&self) -> Option<Waker> {
        let mut address = self.listener.local_addr().ok()?;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let woken = self.ticking.woken();
        let connect = move || drop(net::TcpStream::connect_timeout(&address, WAKING));
        Some(Box::new(move || woken.wake(connect)))
    }
}

fn listen(address: SocketAddr, options: &TcpOptions) -> io::Result<(TcpListener, Ticking)> {
    let socket = options.socket(address)?;
    options.prepare_listener(&socket, address)?;
    options.tune(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let tick = options.accept_tick.max(SHORTEST_TICK);
    let ticking = Ticking::new(tick);
    if Ticking::BY_KERNEL {
        socket.set_read_timeout(Some(tick))?;
    } else {
        socket.set_nonblocking(true)?;
    }
    Ok((socket.into(), ticking))
}

/// Connections that the system keeps until they are accepted, if its own limit (`somaxconn`) is not lower. While they
/// are as many, the system drops further attempts, which then take a second or more: strangers that come in hundreds
/// must not make that of a sender one of them.
const BACKLOG: i32 = 1024;

/// Longest time that waking may take: it is on this machine. A connection waits while the queue is full, and then there
/// is something to accept.
const WAKING: Duration = Duration::from_millis(100);
