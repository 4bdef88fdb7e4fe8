//! Faults of an address or an option, kept inside the [`io::Error`] that reports them.

use std::io;
use std::net::SocketAddr;

use super::HostPort;

/// Reason why a connection was not opened, or an address not listened on.
///
/// It stands inside the [`io::Error`] that [`connect`](crate::transport::Connector::connect) and
/// [`bind`](super::TcpAcceptor::bind) give; [`io::Error::get_ref`] and a downcast reach it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// The host's name was not resolved.
    #[error("{address}: {source}")]
    Resolve {
        /// Address that was asked for.
        address: HostPort,
        /// Error of the resolver.
        source: io::Error,
    },
    /// The host's name was resolved, to no address.
    #[error("{address}: the name has no address")]
    NoAddress {
        /// Address that was asked for.
        address: HostPort,
    },
    /// None of the addresses worked.
    #[error("{}{source}{}", Prefix(address, *tried), Others(*others))]
    Failed {
        /// Address that was asked for.
        address: HostPort,
        /// The address whose failure tells most: an answer tells more than silence, and silence more than
        /// having no way there.
        tried: SocketAddr,
        /// Number of other addresses that failed too.
        others: usize,
        /// Error of the system for `tried`.
        source: io::Error,
    },
    /// The system refused an option.
    #[error("cannot set {name}: {source}")]
    Option {
        /// The field of [`TcpOptions`](super::TcpOptions).
        name: &'static str,
        /// Error of the system.
        source: io::Error,
    },
}

impl TcpError {
    /// Wraps the error into one of this kind.
    pub(super) fn into_io(self, kind: io::ErrorKind) -> io::Error {
        io::Error::new(kind, self)
    }

    /// Sums up what was tried in vain.
    pub(super) fn all_failed(
        address: &HostPort,
        failures: impl IntoIterator<Item = (SocketAddr, io::Error)>,
    ) -> io::Error {
        let mut failed = 0_usize;
        let mut best: Option<(SocketAddr, io::Error)> = None;
        for (tried, error) in failures {
            failed += 1;
            if best.as_ref().is_none_or(|(_, best)| rank(error.kind()) > rank(best.kind())) {
                best = Some((tried, error));
            }
        }
        let address = address.clone();
        match best {
            None => Self::NoAddress { address }.into_io(io::ErrorKind::NotFound),
            Some((tried, source)) => {
                let kind = source.kind();
                Self::Failed { address, tried, others: failed.saturating_sub(1), source }
                    .into_io(kind)
            }
        }
    }
}

/// Returns how much a failure tells; more is higher.
const fn rank(kind: io::ErrorKind) -> u8 {
    use io::ErrorKind as Kind;
    match kind {
        Kind::NetworkUnreachable | Kind::AddrNotAvailable | Kind::Unsupported => 0,
        Kind::HostUnreachable | Kind::NetworkDown => 1,
        Kind::TimedOut => 2,
        Kind::ConnectionRefused | Kind::ConnectionReset | Kind::ConnectionAborted => 3,
        // Something that is not about the way there: a permission, an option, an address in use.
        _ => 4,
    }
}

/// Names both what was asked for and what was tried, unless they read the same.
struct Prefix<'a>(&'a HostPort, SocketAddr);

impl std::fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.ip().is_some() {
            write!(f, "{}: ", self.1)
        } else {
            write!(f, "{} ({}): ", self.0, self.1.ip())
        }
    }
}

struct Others(usize);

impl std::fmt::Display for Others {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => f.write_str("; another address failed too"),
            many => write!(f, "; {many} other addresses failed too"),
        }
    }
}
