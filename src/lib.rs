//! haul moves files over any ordered byte stream, and lets the sender know, file by file, what the receiver holds.
//!
//! ```
//! use haul::store::{MemorySource, MemoryStore};
//! use haul::transport::memory;
//! use haul::RelPath;
//!
//! let (alice, bob) = memory::pipe(4096.try_into()?);
//! let mut source = MemorySource::new().file(RelPath::parse(b"photo.jpg")?, "pixels");
//! let mut store = MemoryStore::new();
//!
//! std::thread::scope(|scope| {
//!     let receiver = scope.spawn(|| haul::receive(&mut store, bob));
//!     let sent = haul::send(&mut source, alice)?;
//!     assert!(sent.is_complete());
//!     receiver.join().expect("the receiver does not panic")
//! })?;
//! assert!(store.get("photo.jpg").is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With the feature `fs`, [`store::fs`] puts files of a folder in the place of `MemorySource` and `MemoryStore`; with
//! the feature `tcp`, [`transport::tcp`] puts TCP in the place of the pipe. The command `haul` is made of the two.
//!
//! # The layers
//!
//! ```text
//! command     bin/haul      uses the public API only
//! ───────────────────────────────────────────────────────────────────────────
//! drive       Transfer, Server: move bytes between the four below; threads, clocks, retries
//! ───────────────────────────────────────────────────────────────────────────
//! transport   Connector, Acceptor     memory, tcp, unix, stdio, exec        │ yours
//!             line, Threaded          make one of a serial port, or of calls that block
//! store       Source, Store           fs, memory, stream                    │ yours
//! ───────────────────────────────────────────────────────────────────────────
//! proto       Sender, Receiver: sans-IO; bytes and completions in, bytes and actions out
//! ───────────────────────────────────────────────────────────────────────────
//! types       ids, names, entries, receipts, reasons, events: shared by all of these
//! hash        hashes of blocks, merged to the hash of the file
//! ```
//!
//! None of them uses anything of those above it; a test holds that.
//!
//! # What is promised
//!
//! - **A receipt is true.** It names path, size, BLAKE3 hash (what `b3sum` prints) and [`Durability`], and is
//!   sent only after that is so. A sender reports success from receipts alone.
//! - **Nothing half-done under a final name.** A file appears whole and verified, in one step, or not at all. No
//!   existing file is damaged by a transfer that fails.
//! - **No wrong byte is accepted.** Every byte on the wire is covered by a check. Damage is repaired, or ends in a
//!   typed [`Error`].
//! - **A transfer survives its connection.** [`Transfer::send_via`] reconnects, and within one process a receiver reads
//!   nothing twice, and a sender nothing that was acknowledged; and after any end, the same
//!   call of the same `Transfer`, or of one with the same [`id`](Transfer::id), also in another process, goes on from the
//!   blocks that arrived, or reports that the source cannot be sent again.
//! - **It always ends.** Every wait has a deadline, see [`config::Deadlines`].
//! - **A peer cannot hurt the host.** No name leaves the folder, no length takes memory or disk before its bytes
//!   came, no input makes it panic, and no peer can relax a limit.
//! - **Any stream will do**: `Read + Write`, ordered. One thread is enough, a pipe of one byte is enough, a line
//!   on which one side sends at a time is enough.
//! - **Constant memory.** It depends on [`config::Limits`], not on sizes, numbers of files, or the peer.
//!
//! # What is not
//!
//! - **Secrecy and identity, by itself.** The protocol neither encrypts nor authenticates: checks find accidents, not forgery. Run
//!   it over a stream that does: `transport::secure` wraps any transport, with the feature `secure`, and [`Transfer::admit`] says
//!   who may be there; or ssh, TLS, a private network.
//! - **Deletion.** There is no message that removes anything.
//! - **Compression, NAT traversal, relays.** A stream may do these; haul does not.
//!
//! # Embed it
//!
//! Each step works alone: take what comes along, and put your own in its place where that does not fit.
//!
//! 1. **A stream**, or a way to get one: [`transport`] has some, and [your own](#bring-your-own-transport) needs one method. Of a
//!    line that has no connections (a serial port, a radio) [`transport::line`] makes a transport, and
//!    [`transport::Threaded`] of calls that block.
//! 2. **What is sent, and where it goes**: a [`Source`] and a [`Store`], of [`store`] or [your own](#bring-your-own-store).
//! 3. **The settings**: [`Config::default`] serves most, [`Config::for_rate`] lines below 51 KiB/s. A receiver sets what peers may
//!    take ([`Limits`]), and what becomes of files that exist ([`IfExists`]).
//! 4. **A run**: [`Transfer::send_via`] and [`Transfer::receive_via`] connect, and connect anew; [`Transfer::send`] and
//!    [`Transfer::receive`] use the one stream that they are given; a [`Server`] receives from many. An [`Observer`] receives
//!    events, and [`CancelToken`] stops it from another thread. Where calls that block do not fit, there is [a loop of your
//!    own](#drive-the-core-yourself).
//! 5. **What came of it**: of a [`Summary`], ask [`is_complete`](Summary::is_complete): a transfer in which entries
//!    were refused is no error. Of an [`Error`], [`is_transient`](Error::is_transient): then the same call, later, goes on from the
//!    blocks that arrived; in another process, by the same [`id`](Transfer::id). What was [delivered](Event::Delivered) stays so in either case.
//!
//! The cookbook has fourteen recipes: module `cookbook` with all features, `docs/cookbook.md` in the repository.
//!
//! # Bring your own transport
//!
//! A stream is anything that implements [`Read`](std::io::Read) and [`Write`](std::io::Write); the contract is in
//! [`transport`]. To have connections made anew when they are lost, implement [`Connector`]; to serve senders,
//! [`Acceptor`]:
//!
//! ```
//! use std::io;
//! use std::net::TcpStream;
//! use std::time::Duration;
//!
//! /// Any stream type, opened in any way.
//! struct Bus(&'static str);
//!
//! impl haul::Connector for Bus {
//!     type Stream = TcpStream;
//!
//!     fn connect(&mut self) -> io::Result<TcpStream> {
//!         let stream = TcpStream::connect(self.0)?;
//!         // haul looks at its deadlines whenever a call returns: it must return.
//!         stream.set_read_timeout(Some(Duration::from_secs(1)))?;
//!         stream.set_write_timeout(Some(Duration::from_secs(1)))?;
//!         Ok(stream)
//!     }
//! }
//!
//! fn send_over_the_bus(source: &mut impl haul::Source) -> Result<haul::Summary, haul::Error> {
//!     haul::Transfer::new(haul::Config::default()).send_via(source, &mut Bus("bus.local:7117"))
//! }
//! ```
//!
//! With the feature `testing`, `haul::testing::transport::check` checks a transport of yours against the contract.
//!
//! # Bring your own store
//!
//! `examples/custom_store.rs` has a source and a store, of a map and of objects that are named by their hash. The traits say what
//! each call owes; in the order of an entry's life:
//!
//! 1. [`Store::begin`] looks at what has the name, and opens the entry: new, partial, or existing. It takes no space.
//! 2. [`Store::read_at`] gives what an earlier attempt left, or what exists, so that it need not travel;
//!    [`Store::write_at`] and [`Store::write_zeros`] put what arrives at its place.
//! 3. [`Store::commit`] makes it durable, then visible, and [`Store::poll_committed`] says so, by the ticket of the commit.
//!    **The receipt is sent for this word**: so it comes last.
//! 4. [`Store::suspend`] keeps what was written for the next attempt, [`Store::discard`] removes it.
//!
//! A [`Source`] has the steps [`rewind`](Source::rewind), [`next_entry`](Source::next_entry), [`open`](Source::open),
//! [`read_at`](Source::read_at), and [`finish`](Source::finish), which says whether the content was the same all the time.
//!
//! With the feature `testing`, `haul::testing::store::check_store`, `check_tickets`, `check_clones` and `check_source` check yours.
//!
//! # Drive the core yourself
//!
//! Where blocking calls do not fit, run [`proto::Sender`] and [`proto::Receiver`] without the driver. The numbers are
//! those of the comments in `examples/by_hand/loops.rs`, which is such a driver for both sides. [`store::Readers`] does to a
//! source what the sender asks, and [`drive::Files`] to a store what the receiver asks.
//!
//! 1. Poll: call `poll` with the time. Write the bytes that it appended, whatever action it gives, and flush them before you wait, for the
//!    stream, the source or the store.
//! 2. Do what the action asks: read from the source, begin or commit in the store, tell the application.
//! 3. Tell the core what came of it (`handle_…`), and poll again. A commit that has ended is reported before a poll.
//! 4. Only on `Await`, call `handle_input` with everything that has come and is not consumed. It takes one message; or the
//!    receiver asks for one thing of the store, which is answered, and nothing is consumed yet. Then poll again in any case: the next
//!    `Await` is given the rest, or the same input. Only where nothing was consumed and nothing asked for ([`Files::answer`](drive::Files::answer) asked
//!    for something where it gives `None`), read from the stream first, until `until` at most. Input at any other time is [`Misuse::ActionDue`](proto::Misuse::ActionDue), and changes nothing.
//!    Give what has come before you poll at `until`: `poll` is where deadlines are checked.
//!    The end of the stream has no call of its own: where it comes before `Closed`, the connection is lost.
//! 5. `Closed` is success. An `Err` is final; bytes that were appended with it tell the peer why. Suspend what is open.
//!
//! Before the first poll, tell a receiver what its store can do: [`Receiver::advertise_hash_first`](proto::Receiver::advertise_hash_first) where it
//! holds files already, and [`Receiver::compare_times`](proto::Receiver::compare_times) where it answers
//! [`Store::stat`]; without the latter a sender's [`Compare::SizeAndTime`] compares content. On
//! [`Event::Greeted`], call [`Store::serve`] with the transfer. A source is [rewound](Source::rewind) before it is sent.
//!
//! To go on after a lost connection within one process, keep the machine: [`Sender::reconnect`](proto::Sender::reconnect) takes the
//! same transfer id and the number of the attempt, of which the first was 1.
//!
//! Where writing can take time, call `handle_peer_took` when the stream took some and `handle_write_blocked` when it takes none:
//! the deadlines of a peer that does not read depend on it, and the wait for an answer begins with the last byte that was
//! taken. Without these calls everything counts as taken when it is polled. When you write on after a time in which you did
//! something else, such as waiting for a source, call `handle_write_resumed` first: that time is not the peer's.
//!
//! With the feature `testing`, `haul::testing::driver` checks a driver of yours with a script of sessions, in which it sees each
//! call on the stream, the source and the store, and gives the time.
//!
//! # Features
//!
//! | feature | adds | dependencies |
//! | --- | --- | --- |
//! | none | core, driver, memory, stdio, Unix sockets, child processes | `blake3`, `thiserror` |
//! | `tcp` | [`transport::tcp`] | `socket2` |
//! | `fs` | [`store::fs`] | `rustix`, `unicode-normalization` |
//! | `secure` | `transport::secure`: encryption and identity over any transport | `rustls`, `ring`, `zeroize` |
//! | `testing` | fault injection and conformance suites for your transports and stores | none |
//! | `cli` (default) | the command | `tcp`, `fs`, `secure`, `clap` and others |
//!
//! A feature only adds; none changes what another does. An embedder takes `default-features = false`.
//!
//! # The wire
//!
//! [`proto::wire`] is the document of the protocol, detailed enough to write another implementation from.
#![cfg_attr(not(test), warn(clippy::too_many_lines))]

#[macro_use]
mod forward;

pub mod config;
#[cfg(all(feature = "fs", feature = "secure", feature = "tcp", feature = "testing"))]
#[doc = include_str!("../docs/cookbook.md")]
pub mod cookbook {}
pub mod drive;
mod error;
pub mod hash;
pub mod plain;
pub mod proto;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;
pub mod types;

pub use config::{Compare, Config, Deadlines, IfExists, Limits, Turn};
pub use drive::{
    Admit, CancelToken, Greeting, Observer, RateLimit, Retry, Server, SessionId, Transfer, receive,
    send,
};
pub use error::{Error, Operation};
pub use hash::{BlockSize, Hash};
pub use proto::Error as SessionError;
pub use store::{Source, Store, Unsendable};
pub use transport::{Acceptor, Connector, Peer};
pub use types::{
    AbortCode, Activity, Durability, EntryId, Event, Kind, Meta, Outcome, Progress, PublicKey,
    Receipt, Refusal, RelPath, StoreOperation, Summary, TransferId, Withdrawal,
};

#[cfg(all(doctest, feature = "fs", feature = "tcp"))]
#[doc = include_str!("../README.md")]
struct Readme;
