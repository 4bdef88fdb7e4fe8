//! Drivers that run the core over streams: [`Transfer`] for one sender or receiver, [`Server`] for many; and
//! [`Files`], for a driver of your own.
//!
//! Everything here works in the caller's thread, except that a [`Server`] gives each session a thread of its own, and
//! [`Transfer::send_listening`] each connection on which nobody has greeted.

mod accept;
mod admit;
mod blocking;
mod cancel;
mod clock;
mod crowd;
mod files;
mod ids;
mod observer;
mod random;
mod rate;
mod retry;
mod server;
mod session;
mod strangers;
mod suspended;
mod transfer;

use std::io::{Read, Write};

use crate::config::Config;
use crate::error::Error;
use crate::store::{Source, Store};
use crate::types::Summary;

#[cfg(feature = "secure")]
pub use admit::AllowList;
pub use admit::{Admit, Greeting};
pub use cancel::CancelToken;
pub use clock::{Clock, SystemClock};
pub use files::Files;
pub use observer::Observer;
pub use rate::RateLimit;
pub use retry::Retry;
pub use server::{Server, SessionId};
pub use transfer::Transfer;

/// Sends all entries of `source` over `stream`, with everything at its default.
///
/// `Ok` means that the receiver has settled every entry, and [`Summary::is_complete`] whether it holds them all. Each call is
/// a transfer of its own: to go on with what an earlier one left of a file, use a [`Transfer`].
///
/// # Errors
///
/// As for [`Transfer::send`].
pub fn send(source: &mut impl Source, stream: impl Read + Write) -> Result<Summary, Error> {
    Transfer::new(Config::default()).send(source, stream)
}

/// Receives into `store` what one sender sends over `stream`, with everything at its default.
///
/// # Errors
///
/// As for [`Transfer::receive`].
pub fn receive(store: &mut impl Store, stream: impl Read + Write) -> Result<Summary, Error> {
    Transfer::new(Config::default()).receive(store, stream)
}
