//! What embedders run, in tests of their own, against a transport or store of their own.

pub mod store;
pub mod transport;
