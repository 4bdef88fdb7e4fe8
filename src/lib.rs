//! haul moves files over any ordered byte stream, and lets the sender know what the receiver holds.

pub mod config;
mod error;
pub mod plain;
pub mod proto;
pub mod store;
pub mod transport;
pub mod tree;

pub use config::{Config, Existing};
pub use error::{Error, Operation};
pub use proto::{Durability, RelPath};
