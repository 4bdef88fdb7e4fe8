//! Source and store over folders of a file system, on Unix.
//!
//! One code path serves all of them. Linux is where it is tested; macOS and the BSDs are what it is written for as well:
//! the few system calls that they lack stand in a module of their own, each with what takes its place. On macOS,
//! [`Durability::Synced`](crate::Durability::Synced) asks the drive itself (`F_FULLFSYNC`).

mod ahead;
mod begin;
mod candidate;
mod claim;
mod commit;
mod dir;
mod errno;
mod existing;
mod expiry;
mod file;
mod fold;
mod hidden;
mod holes;
mod job;
mod kept_out;
mod mode;
mod name;
mod options;
mod order;
mod partial;
mod partials;
mod pool;
mod queue;
mod reserve;
mod room;
mod shared;
mod sizes;
mod source;
mod stat;
mod store;
mod sys;
mod target;
mod unnamed;
mod walk;

pub use candidate::{Candidate, CandidateKind};
pub use file::FsFile;
pub use hidden::HiddenNames;
pub use partials::{PartialFile, Partials};
pub use source::{FsKey, FsReader, FsSource, Symlinks};
pub use store::FsStore;
