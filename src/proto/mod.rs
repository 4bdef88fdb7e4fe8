//! The core: two state machines, sans-IO.
//!
//! [`Sender`] and [`Receiver`] know no I/O, no clock and no thread. Bytes and completions go in, bytes and
//! actions come out; time and randomness are arguments; every buffer is the caller's. [`crate::drive`] runs them over
//! blocking streams; `examples/by_hand` shows how to run them without it.
//!
//! [`wire`] is the document of what travels, detailed enough to write another implementation from.
#![cfg_attr(
    not(test),
    warn(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::wildcard_enum_match_arm
    )
)]

mod connection;
mod error;
mod machine;
mod receiver;
mod sender;
mod timer;
mod totals;

#[doc = include_str!("wire.md")]
pub mod wire;

pub use connection::Consumed;
pub use error::{Damage, Error, Incompatible, Misuse, ProtocolError, Stall};
pub use receiver::{ReceiveAction, Receiver, Step, Which};
pub use sender::{SendAction, Sender};
pub use wire::frame::PREFACE;
pub(crate) use wire::frame::payload_so_far;
pub use wire::message::Name;

#[cfg(test)]
mod tests;
