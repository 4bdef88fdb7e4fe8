//! What embedders run, in tests of their own, against a transport or store of their own.

pub(crate) mod choices;
pub mod fuzz;
pub mod pair;
pub mod store;
pub mod transport;
