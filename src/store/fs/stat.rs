//! State of a file by the system, in types that do not differ between architectures.

use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Mode, Stat, Timespec, Timestamps, UTIME_OMIT};

use crate::types::Timestamp;

/// Identity of a file: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u64, u64);

/// A file at a point in time. Two that are equal have the same content, as far as the system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) id: Id,
    pub(super) size: u64,
    modified: (i64, u64),
    /// The time of the last change of the inode: unlike `modified`, nobody can set it back.
    changed: (i64, u64),
}

impl Id {
    pub(super) fn of(stat: &Stat) -> Self {
        Self(unsigned(stat.st_dev), unsigned(stat.st_ino))
    }

    pub(super) const fn new(device: u64, inode: u64) -> Self {
        Self(device, inode)
    }

    pub(super) const fn device(self) -> u64 {
        self.0
    }
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            id: Id::of(stat),
            size: size(stat),
            modified: (signed(stat.st_mtime), unsigned(stat.st_mtime_nsec)),
            changed: (signed(stat.st_ctime), unsigned(stat.st_ctime_nsec)),
        }
    }
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(super) fn is_file(stat: &Stat) -> bool {
    kind(stat) == FileType::RegularFile
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    kind(stat) == FileType::Directory
}

pub(super) fn is_link(stat: &Stat) -> bool {
    kind(stat) == FileType::Symlink
}

pub(super) fn size(stat: &Stat) -> u64 {
    unsigned(stat.st_size)
}

/// Returns the bytes that a file takes on the device.
pub(super) fn allocated(stat: &Stat) -> u64 {
    unsigned(stat.st_blocks).saturating_mul(512)
}

/// Returns the number of bytes of a file that are not in holes, where it is worth sending.
pub(super) fn data_size(stat: &Stat) -> Option<u64> {
    Some(allocated(stat)).filter(|data| data.saturating_add(WORTH_TELLING) <= size(stat))
}

/// Some systems keep small files in the inode, or squeeze them: that is no hole, nor will it be missed.
const WORTH_TELLING: u64 = 1 << 20;

/// Returns the time since the inode was changed last. `None`: that lies in the future.
pub(super) fn age(stat: &Stat, now: SystemTime) -> Option<Duration> {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let changed = Duration::from_secs(unsigned(stat.st_ctime));
    since_epoch.checked_sub(changed + Duration::from_nanos(unsigned(stat.st_ctime_nsec)))
}

pub(super) fn modified(stat: &Stat) -> Option<Timestamp> {
    let nanos = u32::try_from(unsigned(stat.st_mtime_nsec)).ok()?;
    Timestamp::new(signed(stat.st_mtime), nanos)
}

/// Returns the times to set of a file that was modified then.
pub(super) fn times(modified: Option<Timestamp>) -> Option<Timestamps> {
    let modified = modified?;
    let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let tv_nsec = modified.nanos().into();
    let last_modification = Timespec { tv_sec: modified.seconds(), tv_nsec };
    Some(Timestamps { last_access, last_modification })
}

/// Converts a field, whose width differs between architectures, so that a cast would be needed here and useless
/// there.
pub(super) fn unsigned(value: impl TryInto<u64>) -> u64 {
    value.try_into().unwrap_or_default()
}

fn signed(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or_default()
}

/// Returns permissions as the system's calls take them, in a width that differs between systems, so that a cast would be
/// needed here and useless there.
pub(super) fn mode_of(permissions: u32) -> Mode {
    fn raw<T: TryFrom<u32> + Default>(permissions: u32) -> T {
        permissions.try_into().unwrap_or_default()
    }
    Mode::from_bits_truncate(raw(permissions))
}
