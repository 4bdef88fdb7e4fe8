//! Values that options take, where the library has types for them.

use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use haul::config::Limits;
use haul::hash::BlockSize;
use haul::plain::ChunkSize;
use haul::store::fs::Symlinks;
use haul::{Durability, IfExists};

use crate::units;

/// Use of colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum When {
    /// On a terminal
    #[default]
    Auto,
    /// In any case
    Always,
    /// Not at all
    Never,
}

/// As [`Symlinks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Links {
    /// Skip and list them, which is not an error
    Skip,
    /// Send what they lead to, under their name
    Follow,
    /// Send them as links, if they stay inside PATH; others are errors. The receiver needs --allow-links
    Preserve,
}

/// As [`IfExists`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// Keep the file, and refuse the one that is sent, which the sender reports as an error
    Refuse,
    /// Keep the file, and skip the one that is sent
    Skip,
    /// Keep the file, and put the one that is sent beside it: photo (1).jpg
    Rename,
    /// Put the one that is sent in its place, once it is complete
    Replace,
}

/// Occasions on which a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Per {
    /// For each file that is confirmed
    #[default]
    File,
    /// For each transfer that is over
    Transfer,
}

/// As [`Durability`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// The file survives the end of the process
    Received,
    /// The content survives a crash of the system
    Flushed,
    /// Content and name survive a power cut
    Synced,
}

impl From<Links> for Symlinks {
    fn from(links: Links) -> Self {
        match links {
            Links::Skip => Self::Skip,
            Links::Follow => Self::Follow,
            Links::Preserve => Self::Preserve,
        }
    }
}

impl From<Policy> for IfExists {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Refuse => Self::Refuse,
            Policy::Skip => Self::Skip,
            Policy::Rename => Self::Rename,
            Policy::Replace => Self::Replace,
        }
    }
}

impl From<Level> for Durability {
    fn from(level: Level) -> Self {
        match level {
            Level::Received => Self::Received,
            Level::Flushed => Self::Flushed,
            Level::Synced => Self::Synced,
        }
    }
}

pub(crate) fn block_size(text: &str) -> Result<BlockSize, String> {
    let bytes = units::bytes(text)?;
    let size = BlockSize::at_most(bytes);
    // What every receiver takes by default.
    if size.bytes() == bytes && size <= Limits::default().block {
        Ok(size)
    } else {
        Err("it must be a power of two from 1K to 1M".into())
    }
}

pub(crate) fn chunk_size(text: &str) -> Result<ChunkSize, String> {
    let bytes = usize::try_from(units::bytes(text)?).ok();
    bytes.and_then(ChunkSize::new).ok_or_else(|| "it must be from 1 byte to 16M".into())
}

/// Reads an age, which may be without end.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    if text == "never" { Ok(Duration::MAX) } else { units::duration(text) }
}

/// Reads a port that can be connected to.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| "a port is a number from 1 to 65535".into())
}

/// Reads a port to listen on; 0 is any.
pub(crate) fn any_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "a port is a number up to 65535, and 0 is any free one".into())
}

/// Reads a number of sessions.
pub(crate) fn sessions(text: &str) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| (1..=1024).contains(number));
    number.ok_or_else(|| "it must be a number from 1 to 1024".into())
}

/// Reads a number of things, which is not 0.
pub(crate) fn count<T: FromStr + From<u8> + PartialOrd>(text: &str) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| *number >= T::from(1));
    number.ok_or_else(|| "it must be a whole number, 1 or more".into())
}

pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    let time = units::duration(text)?;
    if time.is_zero() { Err("it must be more than nothing".into()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_size_takes_powers_of_two_alone() {
        for (text, bytes) in [("1K", 1024), ("1M", 1 << 20), ("262144", 256 << 10)] {
            assert_eq!(block_size(text).unwrap().bytes(), bytes);
        }
        for text in ["0", "512", "3K", "16M", "x"] {
            assert!(block_size(text).is_err(), "{text}");
        }
    }
}
