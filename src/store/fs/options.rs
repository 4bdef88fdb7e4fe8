//! What the embedder sets of an [`FsStore`](super::FsStore).

use std::time::Duration;

use super::hidden::HiddenNames;

/// What the embedder sets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) links: Links,
    pub(super) hidden: HiddenNames,
    /// Bytes of the file system that are to be left free.
    pub(super) keep_free: u64,
    /// How long a partial file is kept that nobody comes back for.
    pub(super) keep_partials: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Links {
    #[default]
    Refused,
    Allowed,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            links: Links::default(),
            hidden: HiddenNames::default(),
            keep_free: 0,
            keep_partials: WEEK,
        }
    }
}

/// Long enough for somebody who comes back to a transfer after some days; what it costs is space alone.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
