//! The vocabulary of a transfer, which every layer uses: ids, names, entries, receipts, reasons, events, and what a
//! core asks of a store.

pub(crate) mod base32;
mod entry;
pub(crate) mod errno;
pub(crate) mod escape;
mod event;
mod id;
mod key;
mod path;
mod progress;
mod reason;
mod receipt;
mod request;
pub(crate) mod tick;

pub use base32::KeyError;
pub use entry::{Closed, Kind, Meta, Offer, Timestamp};
pub use errno::is_fd_exhaustion;
pub use escape::{Escaped, is_unsafe, unescape};
pub use event::{Activity, Event, Summary};
pub use id::{EntryId, Ticket, TransferId};
pub use key::PublicKey;
pub use path::{NameError, RelPath};
#[cfg(all(feature = "fs", unix))]
pub(crate) use path::{fold_case, is_ignorable};
pub use progress::Progress;
pub use reason::{AbortCode, Refusal, StoreOperation, Withdrawal};
pub use receipt::{Durability, Outcome, Receipt};
pub use request::{Commit, FileStat, Found, Place, ReadRequest};
