//! Source and store over folders of a file system, on Unix.

mod commit;
mod failed;
mod folder;
mod holes;
mod partial;
mod source;
mod stat;
mod store;
mod sync;
mod target;

pub use source::{Candidate, CandidateKind, FsKey, FsReader, FsSource, Symlinks};
pub use store::{FsFile, FsStore};
