//! haul moves files over any ordered byte stream, and lets the sender know what the receiver holds.

pub mod config;
pub mod drive;
mod error;
pub mod plain;
pub mod proto;
pub mod store;
pub mod transport;
pub mod tree;

pub use config::{Config, Existing};
pub use drive::{Cancel, Observer, Retry, Server, Transfer, receive, send};
pub use error::{Error, Operation};
pub use proto::{Durability, Event, Receipt, RelPath, Summary};
pub use store::{Source, Store};
pub use transport::{Acceptor, Connector, Peer};
