//! The logic of a session, once, for whoever runs it: what to read and to write, what source or store are to do, what is
//! waited for and how long, what is reported.
//!
//! A [`Sending`] or [`Receiving`] is a [`Machine`] without I/O, clock and thread, as the cores that it drives. It owns its core, its
//! source or its store with what is open there, its buffers and the debt to a limit on the rate. It names its [`Need`], and
//! [`blocking`](super::blocking) and `tokio` meet that, each in its way. [`Reconnecting`] decides on the next connection
//! likewise.

mod alone;
mod connection;
mod core;
mod machine;
mod meter;
mod need;
mod note;
mod receive;
mod reconnect;
mod send;
mod wire;

pub(super) use self::alone::Alone;
pub(super) use self::connection::{Connection, Terms};
pub(super) use self::machine::Machine;
pub(super) use self::meter::Meter;
pub(super) use self::need::{Need, Question};
#[cfg(test)]
pub(super) use self::receive::QUIET;
pub(super) use self::receive::{Left, Receiving, Stranger, Welcome};
pub(super) use self::reconnect::{HasProgress, Next, Reconnecting, Steps, Wait};
pub(super) use self::send::Sending;
