//! The system calls that Unix systems do not share, each with what stands in where one lacks it.
//!
//! | call | Linux, Android | macOS, iOS | FreeBSD, DragonFly | NetBSD, OpenBSD |
//! | --- | --- | --- | --- | --- |
//! | [`sync_content`] | `fdatasync` | `fsync` | `fdatasync`; DragonFly `fsync` | `fdatasync` |
//! | [`sync_all`] | `fsync` | `F_FULLFSYNC`, else `fsync` | `fsync` | `fsync` |
//! | [`rename_if_free`] | `renameat2` | `renameatx_np` | none: the caller links and unlinks | none, likewise |
//! | [`exchange`] | `renameat2` | `renameatx_np` | none: what is replaced goes with the rename | none, likewise |
//! | [`open_below`] | `openat2` | none: the caller walks | none, likewise | none, likewise |
//! | [`find_below`], [`read_below`] | `openat2` | none: the caller walks | none, likewise | none, likewise |
//! | [`open_unnamed`], [`link`] | `openat2`, `linkat` | none: a partial file is made | none, likewise | none, likewise |
//! | [`sets_modes`] | `fgetxattr` | none: the mode is set | none, likewise | none, likewise |
//! | [`next_data`], [`next_hole`] | `lseek` | `lseek` | `lseek` | none: all is data |
//! | [`punch_hole`] | `fallocate` | none: zeros are written | none, likewise | none, likewise |
//! | [`born`] | `statx` | `fstat` | FreeBSD `fstat`; DragonFly none: the name of a folder is synced each time | none, likewise |

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Result;

/// Makes the content of a file durable, and what is needed to read it.
pub(super) fn sync_content(file: impl AsFd) -> Result<()> {
    #[cfg(any(target_vendor = "apple", target_os = "dragonfly"))]
    return rustix::fs::fsync(file);
    #[cfg(not(any(target_vendor = "apple", target_os = "dragonfly")))]
    rustix::fs::fdatasync(file)
}

/// Makes a file or a folder durable, with its metadata: on the medium, where the system can see to that.
pub(super) fn sync_all(file: impl AsFd) -> Result<()> {
    // There `fsync` ends when the drive has the bytes, which may lose them with its power. File systems of
    // servers do not know the call.
    #[cfg(target_vendor = "apple")]
    match rustix::fs::fcntl_fullfsync(file.as_fd()) {
        Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOTTY | rustix::io::Errno::INVAL) => {}
        synced => return synced,
    }
    rustix::fs::fsync(file)
}

/// Renames within a folder, if nothing has the new name. `NOSYS`: the system has no such call.
pub(super) fn rename_if_free(folder: impl AsFd, from: &[u8], to: &[u8]) -> Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        let folder = folder.as_fd();
        rustix::fs::renameat_with(folder, from, folder, to, rustix::fs::RenameFlags::NOREPLACE)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    {
        let _ = (folder, from, to);
        Err(rustix::io::Errno::NOSYS)
    }
}

/// Opens a folder below another one to look at it, with no link on the way. `NOSYS`: the system has no such call.
pub(super) fn open_below(folder: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    below(folder, path, LOOK | OFlags::DIRECTORY)
}

/// Opens what is below a folder to look at it, with no link on the way; of a link, the link. `NOSYS`: the system has no such call.
pub(super) fn find_below(folder: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    below(folder, path, LOOK)
}

/// Opens a file below a folder to read it, with no link on the way. `NOSYS`: the system has no such call.
pub(super) fn read_below(folder: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
    // Not blocking, should a FIFO stand there by now.
    below(folder, path, OFlags::RDONLY | OFlags::NONBLOCK)
}

/// Flags for what is opened to be looked at alone. Where nothing is opened by one call, this is not used.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LOOK: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const LOOK: OFlags = OFlags::RDONLY;

fn below(folder: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::{Mode, ResolveFlags, openat2};
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(folder, path, flags, Mode::empty(), resolve)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (folder, path, flags);
        Err(rustix::io::Errno::NOSYS)
    }
}

/// Makes a file without a name in a folder below another one, with no link on the way. `NOSYS`: the system has no such call;
/// `OPNOTSUPP`: the file system has no such files.
pub(super) fn open_unnamed(folder: impl AsFd, path: &[u8], mode: u32) -> Result<OwnedFd> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::{Mode, ResolveFlags, openat2};
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(folder, path, flags, Mode::from_bits_truncate(mode), resolve)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (folder, path, mode);
        Err(rustix::io::Errno::NOSYS)
    }
}

/// Gives an open file a name in a folder, if nothing has that. `NOTSUP`: it cannot be done.
pub(super) fn link(file: impl AsFd, folder: impl AsFd, name: &[u8]) -> Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::fd::AsRawFd;

        use rustix::fs::{AtFlags, CWD, linkat};
        let file = file.as_fd();
        let folder = folder.as_fd();
        match linkat(file, c"", folder, name, AtFlags::EMPTY_PATH) {
            // Before Linux 6.10 that takes a privilege, and this a file system that may not be there.
            Err(rustix::io::Errno::NOENT) => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                linkat(CWD, path, folder, name, AtFlags::SYMLINK_FOLLOW)
            }
            linked => linked,
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (file, folder, name);
        Err(rustix::io::Errno::NOTSUP)
    }
}

/// Returns whether what is made in a folder has the mode that is asked for, less the umask: no list of permissions is
/// inherited from it.
pub(super) fn sets_modes(folder: impl AsFd) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let found = rustix::fs::fgetxattr(folder, c"system.posix_acl_default", &mut [0; 0]);
        matches!(found, Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = folder;
        false
    }
}

/// Exchanges what two names of a folder stand for, in one step. `NOSYS`: the system has no such call.
pub(super) fn exchange(folder: impl AsFd, one: &[u8], other: &[u8]) -> Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        let folder = folder.as_fd();
        rustix::fs::renameat_with(folder, one, folder, other, rustix::fs::RenameFlags::EXCHANGE)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    {
        let _ = (folder, one, other);
        Err(rustix::io::Errno::NOSYS)
    }
}

/// Returns where the next data of a file begins. `NXIO`: there is none; `INVAL`: nobody knows.
pub(super) fn next_data(file: impl AsFd, from: u64) -> Result<u64> {
    #[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
    return rustix::fs::seek(file, rustix::fs::SeekFrom::Data(from));
    #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
    {
        let _ = (file, from);
        Err(rustix::io::Errno::INVAL)
    }
}

/// Returns where the next hole of a file begins; behind its end there is one. `INVAL`: nobody knows.
pub(super) fn next_hole(file: impl AsFd, from: u64) -> Result<u64> {
    #[cfg(not(any(target_os = "netbsd", target_os = "openbsd")))]
    return rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(from));
    #[cfg(any(target_os = "netbsd", target_os = "openbsd"))]
    {
        let _ = (file, from);
        Err(rustix::io::Errno::INVAL)
    }
}

/// Makes a range of a file a hole, which reads as zeros; its size stays. `OPNOTSUPP`: it cannot be done here.
pub(super) fn punch_hole(file: impl AsFd, range: &Range<u64>) -> Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::{FallocateFlags, fallocate};
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(file, flags, range.start, range.end.saturating_sub(range.start))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (file, range);
        Err(rustix::io::Errno::OPNOTSUPP)
    }
}

/// Returns when an inode was made, in seconds and nanoseconds. `None`: nobody knows.
pub(super) fn born(file: impl AsFd) -> Option<(i64, u32)> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::{AtFlags, StatxFlags, statx};
        let stat = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME).ok()?;
        let is_told = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        is_told.then_some((stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
    }
    #[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
    {
        let stat = rustix::fs::fstat(file).ok()?;
        Some((stat.st_birthtime.into(), u32::try_from(stat.st_birthtime_nsec).ok()?))
    }
    #[cfg(not(any(
        target_os = "linux",
        target_os = "android",
        target_vendor = "apple",
        target_os = "freebsd"
    )))]
    {
        let _ = file;
        None
    }
}
