//! TCP, tuned: [`TcpConnector`] and [`TcpAcceptor`], and [`TcpOptions`] for both.
//!
//! ```no_run
//! use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions};
//! use haul::transport::{Acceptor, Connector};
//!
//! let mut acceptor = TcpAcceptor::bind(&"127.0.0.1:0".parse()?, TcpOptions::default())?;
//! let mut connector = TcpConnector::new(acceptor.local_addr()?.into());
//! let near = connector.connect()?;
//! let (far, peer) = acceptor.accept()?;
//! println!("{peer} is here");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accept;
mod address;
mod connect;
mod error;
mod options;
mod stream;

pub use self::accept::TcpAcceptor;
pub use self::address::{AddressError, HostPort};
pub use self::connect::TcpConnector;
pub use self::error::TcpError;
pub use self::options::{Keepalive, TcpOptions};
pub use self::stream::TcpStream;

#[cfg(test)]
mod tests;
