//! A connection that is closed so that the peer gets what was written.

use std::io::{self, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::time::Duration;

use socket2::SockRef;

use super::TcpOptions;
use crate::transport::sync::linger::{Closing, Graceful, graceful};

/// A TCP connection whose calls return in ticks, and whose last bytes reach the peer.
///
/// Dropping it waits a little in the cases that [`TcpOptions::close_wait`] describes.
#[derive(Debug)]
pub struct TcpStream(Graceful<net::TcpStream>);

impl TcpStream {
    /// Takes over a connection that was made elsewhere, and tunes it.
    ///
    /// # Errors
    ///
    /// The system refused an option: [`TcpError::Option`](super::TcpError::Option).
    pub fn new(inner: net::TcpStream, options: &TcpOptions) -> io::Result<Self> {
        inner.set_nonblocking(false)?;
        options.tune(&SockRef::from(&inner))?;
        Ok(Self(Graceful::new(inner, options.close_wait)))
    }

    /// Returns the connection itself, for everything that is not reading or writing.
    #[must_use]
    pub const fn get_ref(&self) -> &net::TcpStream {
        &self.0.socket
    }

    /// Returns the address of this end.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.get_ref().local_addr().map(canonical)
    }

    /// Returns the address of the other end; that of an IPv4 peer of a dual-stack listener as IPv4.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotConnected`]: the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.get_ref().peer_addr().map(canonical)
    }
}

graceful!(TcpStream of net::TcpStream);

/// Returns an IPv4 address that came through an IPv6 socket, as what it is.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip.is_ipv4() => SocketAddr::new(ip, address.port()),
        _ => address,
    }
}
