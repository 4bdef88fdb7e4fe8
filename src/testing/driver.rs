//! Checks a driver of your own: whoever runs [`Sender`](crate::proto::Sender) and [`Receiver`](crate::proto::Receiver) over
//! something that [`drive`](crate::drive) does not.
//!
//! ```
//! use std::error::Error;
//! use std::io::{Read, Write};
//!
//! use haul::testing::driver::{Driver, check};
//! use haul::{Config, Event, Source, Store, Summary, Transfer};
//!
//! /// The one that comes along.
//! struct Blocking;
//!
//! impl Driver for Blocking {
//!     type Error = haul::Error;
//!
//!     fn send<S: Source>(
//!         &self,
//!         config: &Config,
//!         source: &mut S,
//!         stream: impl Read + Write,
//!         tell: &mut dyn FnMut(&Event),
//!     ) -> Result<Summary, haul::Error> {
//!         Transfer::new(config.clone()).observer(|event: &Event| tell(event)).send(source, stream)
//!     }
//!
//!     fn receive<S: Store>(
//!         &self,
//!         config: &Config,
//!         store: &mut S,
//!         stream: impl Read + Write,
//!         tell: &mut dyn FnMut(&Event),
//!     ) -> Result<Summary, haul::Error> {
//!         Transfer::new(config.clone()).observer(|event: &Event| tell(event)).receive(store, stream)
//!     }
//! }
//!
//! check(&Blocking);
//! ```
//!
//! A driver that has one half only gives the other to [`Transfer`](crate::Transfer), as here. All checks panic, as tests do, and say
//! which session went wrong, and how.
#![expect(clippy::panic, reason = "a check fails like a test: by panicking")]

mod lent;
mod scenes;

use std::fmt::Display;
use std::io::{Read, Write};
use std::num::NonZeroUsize;

use crate::config::Config;
use crate::store::{Source, Store};
use crate::types::{Event, Summary};

/// Runs the cores over streams.
///
/// The streams are as [`transport`](crate::transport) says: they return from each call within about a second, with
/// [`TimedOut`](std::io::ErrorKind::TimedOut) where nothing moved.
pub trait Driver {
    /// The reason for which a session failed.
    type Error: Display;

    /// Sends all entries of a source over one stream, and tells every event of the sender.
    ///
    /// # Errors
    ///
    /// The session ended without success.
    fn send<S: Source>(
        &self,
        config: &Config,
        source: &mut S,
        stream: impl Read + Write,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, Self::Error>;

    /// Receives into a store what comes over one stream, and tells every event of the receiver.
    ///
    /// When it returns, it has given back to the store every file that the store opened for it, whatever the session came to.
    ///
    /// # Errors
    ///
    /// The session ended without success.
    fn receive<S: Store>(
        &self,
        config: &Config,
        store: &mut S,
        stream: impl Read + Write,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, Self::Error>;
}

/// Runs a script of sessions by a driver, over pipes of 1, 100 and 65,536 bytes.
///
/// They are: new files, folders and links, of no, one and several blocks; files that are replaced by equal and by different
/// ones of several blocks; a name that is taken, with each policy; files that are unchanged by their time; a
/// session that is cut at several places and resumed; a store that is full; and one whose commits end late. Of each it
/// checks what stands in the store, what the sender was told, that both sides count the same, that every file was given
/// back, and that it ended in time.
///
/// # Panics
///
/// If anything of that is not as it should be.
pub fn check<D: Driver + Sync>(driver: &D) {
    for capacity in [1, 100, 1 << 16] {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        scenes::all(driver, capacity);
    }
}
