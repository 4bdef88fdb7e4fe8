//! What embedders run, in tests of their own, against a transport or store of their own.

pub(crate) mod choices;
pub mod driver;
pub mod fuzz;
pub mod pair;
/// What travelled in a session, taken apart.
pub mod recording {
    pub use crate::proto::recording::Recording;
}
pub mod store;
pub mod transport;
pub mod uart;
