//! Entries, as a source has them and as a sender offers them.

use super::id::EntryId;
use super::path::RelPath;
use crate::hash::{BlockSize, Hash};

/// Kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder. It is offered after what it holds, so that its time can be set last.
    Directory,
    /// A symbolic link and its target, as bytes that haul does not interpret.
    Symlink(Box<[u8]>),
}

/// A point in time: seconds since 1970-01-01 00:00 UTC, and nanoseconds below 10^9 after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
}

/// Description of an entry, as a source gives it before its content is read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The name, relative to the folder of the receiver.
    pub path: RelPath,
    /// Kind of the entry.
    pub kind: Kind,
    /// The size in bytes; `None` where it is not known before the end, as of a pipe. 0 if it is no file.
    pub size: Option<u64>,
    /// Number of bytes of a file that are not in holes, where the sender knows that and it is fewer than all. A
    /// receiver that keeps holes may decide by it whether there is room, and nothing else: it is the sender's word
    /// alone.
    pub data: Option<u64>,
    /// Time of the last change of the content, if known.
    pub modified: Option<Timestamp>,
    /// Unix permission bits, if known. Bits beyond `0o777` do not travel.
    pub mode: Option<u32>,
    /// The folders above it that are closed to others. It is sent with a mode.
    pub closed: Closed,
}

/// The folders above an entry that are closed to others at the sender, so that a receiver that has to make them makes them
/// closed from the start: their own modes come after all that they hold.
///
/// Each number counts from the nearest folder upwards, to the highest one in which that class of users has no permission
/// at all: what is below is closed to them as well. A source begins with `Closed::default()` above its first folder, and
/// goes down by [`Closed::below`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Closed {
    /// Number of folders that are closed to the group.
    pub group: u8,
    /// Number of folders that are closed to all but the owner and the group.
    pub others: u8,
}

impl Closed {
    /// Returns what is closed of a folder of this mode, and above it, where this much is above.
    #[must_use]
    pub const fn below(self, mode: u32) -> Self {
        const fn count(above: u8, bits: u32) -> u8 {
            if above > 0 || bits == 0 { above.saturating_add(1) } else { 0 }
        }
        Self { group: count(self.group, mode & 0o070), others: count(self.others, mode & 0o007) }
    }

    /// Returns the permissions that the folder may have that is so far above: 1 is the nearest one.
    #[must_use]
    pub const fn permissions(self, above: usize) -> u32 {
        let group = if above <= self.group as usize { 0 } else { 0o070 };
        let others = if above <= self.others as usize { 0 } else { 0o007 };
        0o700 | group | others
    }
}

/// An entry as the sender offers it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// The entry.
    pub entry: EntryId,
    /// Description of the entry.
    pub meta: Meta,
    /// The size of its blocks.
    pub block_size: BlockSize,
    /// The hash of the whole content, where the sender knows it already.
    pub hash: Option<Hash>,
}

impl Meta {
    /// Returns a regular file of `size` bytes.
    #[must_use]
    pub const fn file(path: RelPath, size: Option<u64>) -> Self {
        Self::new(path, Kind::File, size)
    }

    /// Returns a folder.
    #[must_use]
    pub const fn directory(path: RelPath) -> Self {
        Self::new(path, Kind::Directory, Some(0))
    }

    /// Returns a symbolic link.
    #[must_use]
    pub const fn symlink(path: RelPath, target: Box<[u8]>) -> Self {
        Self::new(path, Kind::Symlink(target), Some(0))
    }

    const fn new(path: RelPath, kind: Kind, size: Option<u64>) -> Self {
        let closed = Closed { group: 0, others: 0 };
        Self { path, kind, size, data: None, modified: None, mode: None, closed }
    }

    /// Returns whether all is the same except the way in which it is stored.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let Self { path, kind, size, data: _, modified, mode, closed: _ } = self;
        (path, kind, size) == (&other.path, &other.kind, &other.size)
            && (modified, mode) == (&other.modified, &other.mode)
    }

    /// Sets the number of bytes that are not in holes. It is sent where it is less than the size.
    #[must_use]
    pub const fn data(mut self, data: Option<u64>) -> Self {
        self.data = data;
        self
    }

    /// Sets the time of last change.
    #[must_use]
    pub const fn modified(mut self, modified: Option<Timestamp>) -> Self {
        self.modified = modified;
        self
    }

    /// Sets permission bits; those beyond `0o777` are dropped.
    #[must_use]
    pub const fn mode(mut self, mode: Option<u32>) -> Self {
        self.mode = match mode {
            Some(mode) => Some(mode & 0o777),
            None => None,
        };
        self
    }

    /// Sets the folders above it that are closed to others.
    #[must_use]
    pub const fn closed(mut self, closed: Closed) -> Self {
        self.closed = closed;
        self
    }
}

impl Offer {
    /// Returns an offer, as a source or a test makes it.
    #[must_use]
    pub const fn new(entry: EntryId, meta: Meta, block_size: BlockSize) -> Self {
        Self { entry, meta, block_size, hash: None }
    }

    /// Returns whether a store may go on with a partial file of `len` bytes for this entry.
    ///
    /// It may not where the content is one block at most and the partial file is longer: nothing of it would be kept,
    /// and it is what an attempt at something else left.
    #[must_use]
    pub const fn may_continue(&self, len: u64) -> bool {
        match self.meta.size {
            Some(size) => len <= size || size > self.block_size.bytes(),
            None => true,
        }
    }
}

impl Timestamp {
    /// Returns a point in time; `None` if there are 10^9 nanoseconds or more.
    #[must_use]
    pub const fn new(seconds: i64, nanos: u32) -> Option<Self> {
        if nanos < 1_000_000_000 { Some(Self { seconds, nanos }) } else { None }
    }

    /// Returns whole seconds since 1970-01-01 00:00 UTC, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Returns nanoseconds after [`Timestamp::seconds`], below 10^9.
    #[must_use]
    pub const fn nanos(self) -> u32 {
        self.nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way of three folders, by the classes that each is closed to: what is closed at one is closed below it, and
    /// nothing else is.
    #[test]
    fn folders_are_closed_below_the_one_that_is() {
        let modes = [0o700, 0o750, 0o705, 0o711, 0o755];
        for way in (0..modes.len().pow(3)).map(|n| [n / 25, n / 5 % 5, n % 5].map(|at| modes[at])) {
            let closed = way.iter().fold(Closed::default(), |closed, mode| closed.below(*mode));
            let mut open = 0o777;
            for (depth, mode) in way.into_iter().enumerate() {
                for class in [0o070, 0o007] {
                    open &= if mode & class == 0 { !class } else { 0o777 };
                }
                assert_eq!(closed.permissions(way.len() - depth), open, "{way:?} at {depth}");
            }
            assert_eq!(closed.permissions(way.len() + 1), 0o777, "{way:?}: above it");
        }
        let deepest = (0..1000).fold(Closed::default(), |closed, _| closed.below(0o700));
        assert_eq!(deepest, Closed { group: 255, others: 255 });
    }
}
