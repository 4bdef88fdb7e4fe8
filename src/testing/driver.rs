//! Checks a driver of your own: whoever runs [`Sender`](crate::proto::Sender) and [`Receiver`](crate::proto::Receiver)
//! over something that [`drive`](crate::drive) does not.
//!
//! ```
//! use std::error::Error;
//! use std::io::{Read, Write};
//!
//! use haul::drive::Clock;
//! use haul::testing::driver::{Driver, check};
//! use haul::{Config, Event, Source, Store, Summary, Transfer, TransferId};
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
//!         clock: &(impl Clock + Clone + Send + Sync + 'static),
//!         tell: &mut dyn FnMut(&Event),
//!     ) -> Result<Summary, haul::Error> {
//!         let transfer = Transfer::new(config.clone()).id(TransferId::new([1; 16]));
//!         let transfer = transfer.clock(clock.clone());
//!         transfer.observer(|event: &Event| tell(event)).send(source, stream)
//!     }
//!
//!     fn receive<S: Store>(
//!         &self,
//!         config: &Config,
//!         store: &mut S,
//!         stream: impl Read + Write,
//!         clock: &(impl Clock + Clone + Send + Sync + 'static),
//!         tell: &mut dyn FnMut(&Event),
//!     ) -> Result<Summary, haul::Error> {
//!         let transfer = Transfer::new(config.clone()).clock(clock.clone());
//!         transfer.observer(|event: &Event| tell(event)).receive(store, stream)
//!     }
//! }
//!
//! check(&Blocking);
//! ```
//!
//! A driver that has one half only gives the other to [`Transfer`](crate::Transfer), as here. All checks panic, as
//! tests do, and say which session went wrong, and how.
#![expect(clippy::panic, reason = "a check fails like a test: by panicking")]

mod lent;
mod log;
mod rules;
mod scenes;
mod script;
mod stream;
mod told;

use std::fmt::Display;
use std::io::{Read, Write};
use std::num::NonZeroUsize;

use crate::config::Config;
use crate::drive::Clock;
use crate::store::{Source, Store};
use crate::types::{Event, Summary};

/// Driver that runs the cores over streams.
///
/// - **Streams** are as [`transport`](crate::transport) describes: a call that moves nothing ends after a while with
///   [`TimedOut`](std::io::ErrorKind::TimedOut), reads and writes are short, and what is written may be kept until it
///   is flushed.
/// - **Time** is the clock's: whatever the cores are told of the time comes from it. The check lets it pass in the
///   stream, the source and the store, by hours if need be, so that no deadline takes its real time. Nothing need
///   sleep.
/// - **One thread.** Each call is made in a thread of its own, and both sides run at the same time.
pub trait Driver {
    /// The reason for which a session failed.
    type Error: Display;

    /// Sends all entries of a source over one stream, and passes on every event of the sender. All calls are of one transfer,
    /// as of processes that follow one another: they name the same id.
    ///
    /// # Errors
    ///
    /// The session ended without success.
    fn send<S: Source>(
        &self,
        config: &Config,
        source: &mut S,
        stream: impl Read + Write,
        clock: &(impl Clock + Clone + Send + Sync + 'static),
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, Self::Error>;

    /// Receives into a store what comes over one stream, and passes on every event of the receiver.
    ///
    /// When it returns, it has given back to the store every file that the store opened for it, whatever the session
    /// came to.
    ///
    /// # Errors
    ///
    /// The session ended without success.
    fn receive<S: Store>(
        &self,
        config: &Config,
        store: &mut S,
        stream: impl Read + Write,
        clock: &(impl Clock + Clone + Send + Sync + 'static),
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, Self::Error>;
}

/// Runs a script of sessions by a driver.
///
/// Over pipes of 1, 100 and 65,536 bytes they are: new files, folders and links, of no, one and several blocks; files
/// that are replaced by equal and by different ones of several blocks; a name that is taken, with each policy; files
/// that are unchanged by their time; a session that is cut at several places and resumed; a store that is full; and one
/// whose commits end late. Of each it checks what stands in the store, what the sender was told of, and that both sides
/// count the same.
///
/// Of these, and of sessions for one rule each, it checks that
///
/// 1. what was written is flushed before an answer to it is waited for,
/// 2. the source is [rewound](Source::rewind) before it is asked for its first entry, so that the same one is sent a
///    second time, and that nothing is sent of one that cannot be,
/// 3. the store is told [which transfer it serves](Store::serve) before anything of that is begun,
/// 4. commits that have ended are reported before a poll, not only when nothing else is left to do; that one which
///    takes long is waited for in the store, for a second at a time and with heartbeats in between,
/// 5. nothing is open when a half returns, whatever the session came to: neither a reader of the source nor a file of
///    the store,
/// 6. what belongs to an entry that is settled or withdrawn is closed before the stream is read again, and what arrived
///    of one that vanished is discarded,
/// 7. no more than its [window](Source::window) is read of a stream, and what has arrived is
///    [released](Source::release), and one that has nothing at the moment is asked again (`handle_read_pending`),
/// 8. a line that takes bytes slowly is no silent peer (`handle_peer_took`, also for a flush),
/// 9. a stream that takes nothing any more ends the session (`handle_write_blocked`); a source that takes its time does
///    not (`handle_write_resumed`), nor keeps the output from the peer,
/// 10. the peer receives the reason why a session failed: what a poll appended with its error is written and flushed.
///
/// # Panics
///
/// If anything of that is not as it should be; or if a session takes more than a minute of the system's time.
pub fn check<D: Driver + Sync>(driver: &D) {
    rules::all(driver);
    for capacity in [1, 100, 1 << 16] {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        scenes::all(driver, capacity);
    }
}
