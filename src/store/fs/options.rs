//! Settings of an [`FsStore`](super::FsStore) by the embedder.

use std::time::Duration;

use super::hidden::HiddenNames;
use super::room::Room;
use crate::types::PublicKey;

/// Settings of the embedder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    pub(super) links: Links,
    pub(super) hidden: HiddenNames,
    /// Key whose owner may send hidden names, whatever others may.
    pub(super) own: Option<PublicKey>,
    pub(super) room: Room,
    /// Time for which a partial file is kept that nobody comes back for.
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
            own: None,
            room: Room::default(),
            keep_partials: WEEK,
        }
    }
}

/// Long enough for somebody who comes back to a transfer after some days; what it costs is space alone.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
