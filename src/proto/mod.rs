//! The core: two state machines, sans-IO.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::wildcard_enum_match_arm)]

mod error;
mod message;
mod path;
mod types;

pub use error::{Damage, Failure, Incompatible, Misuse, ProtocolError, Stall};
pub use message::Name;
pub use path::{NameError, RelPath};
pub use types::{
    AbortCode, Durability, EntryId, Kind, Meta, Offer, Outcome, Receipt, Refusal, Timestamp,
    TransferId, Withdrawal,
};
