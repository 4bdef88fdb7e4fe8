//! Runs the core over streams: [`Transfer`] for one sender or receiver, [`Server`] for many; and [`Files`], for a driver of
//! your own.
//!
//! Everything here works in the caller's thread, except that a [`Server`] gives each session a thread of its own.

mod blocking;
mod board;
mod cancel;
mod clock;
mod files;
mod observer;
mod pulse;
mod rate;
mod receiving;
mod retry;
mod sending;
mod server;
mod strangers;
mod wire;

use std::io::{Read, Write};

use crate::error::Error;
use crate::store::{Source, Store};
use crate::types::Summary;

pub use blocking::Transfer;
pub use cancel::Cancel;
pub use clock::{Clock, SystemClock};
pub use files::Files;
pub use observer::Observer;
pub use rate::RateLimit;
pub use retry::Retry;
pub use server::{Server, SessionId};

/// Sends all entries of `source` over `stream`, with everything at its default.
///
/// `Ok` says that the receiver has settled every entry, and [`Summary::is_complete`] whether it holds them all.
///
/// # Errors
///
/// As for [`Transfer::send`].
pub fn send(source: &mut impl Source, stream: impl Read + Write) -> Result<Summary, Error> {
    Transfer::new(crate::Config::default()).send(source, stream)
}

/// Receives into `store` what one sender sends over `stream`, with everything at its default.
///
/// # Errors
///
/// As for [`Transfer::receive`].
pub fn receive(store: &mut impl Store, stream: impl Read + Write) -> Result<Summary, Error> {
    Transfer::new(crate::Config::default()).receive(store, stream)
}
