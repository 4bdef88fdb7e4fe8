//! Tests for embedders to run against a transport or store of their own.

pub(crate) mod choices;
pub mod driver;
pub mod fault_stream;
pub(crate) mod forge;
pub mod fuzz;
pub mod idler;
pub mod pair;
pub mod recording;
pub mod store;
pub mod transport;
pub mod uart;
