//! Source and store over folders of a file system, on Unix.

mod source;
mod stat;
mod target;

pub use source::{FsKey, FsReader, FsSource, Symlinks};
