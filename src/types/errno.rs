//! Numbers of errors of the system that mean something here. Each is the same on all Unix systems, but for the last.

/// No file descriptor left in the system.
const ENFILE: u32 = 23;
/// No file descriptor left for the process.
const EMFILE: u32 = 24;
const ENOMEM: u32 = 12;
/// On Linux.
const ENOBUFS: u32 = 105;

/// Returns whether this number of an error of a Unix system, `EMFILE` or `ENFILE`, says that the process, or the system, has
/// no file descriptor left. That passes when files are closed.
#[must_use]
pub const fn is_fd_exhaustion(code: u32) -> bool {
    matches!(code, ENFILE | EMFILE)
}

/// Returns whether the system lacks descriptors, memory or buffers.
pub(crate) const fn is_shortage(code: u32) -> bool {
    is_fd_exhaustion(code) || matches!(code, ENOMEM | ENOBUFS)
}
