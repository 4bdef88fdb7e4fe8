//! Errors of the system, each with the operation that failed.

use std::io;

use rustix::io::Errno;

use crate::store::io_error::refusal_of;
use crate::types::{Refusal, StoreOperation};

/// Operation that failed, and its error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failed {
    operation: StoreOperation,
    pub(super) errno: Errno,
}

pub(super) type Result<T> = std::result::Result<T, Failed>;

/// Names the operation of a result of the system.
pub(super) trait During<T> {
    fn during(self, operation: StoreOperation) -> Result<T>;
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, operation: StoreOperation) -> Result<T> {
        self.map_err(|errno| Failed::new(operation, errno))
    }
}

impl Failed {
    pub(super) const fn new(operation: StoreOperation, errno: Errno) -> Self {
        Self { operation, errno }
    }
}

/// The reason for which an entry is refused.
impl From<Failed> for Refusal {
    fn from(Failed { operation, errno }: Failed) -> Self {
        match errno {
            // A link where a folder should be.
            Errno::LOOP | Errno::NOTDIR => Self::KindClash,
            // A file system that takes names in its own encoding alone.
            Errno::ILSEQ => Self::Name,
            _ => refusal_of(operation, &errno.into()),
        }
    }
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> Self {
        failed.errno.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_of_a_name_that_the_file_system_cannot_hold_is_typed() {
        let operation = StoreOperation::Open;
        for (errno, expected) in [
            (Errno::ILSEQ, Refusal::Name),
            (Errno::NAMETOOLONG, Refusal::NameTooLong),
            (Errno::LOOP, Refusal::KindClash),
            (Errno::NOTDIR, Refusal::KindClash),
            (Errno::MFILE, Refusal::Store { code: 24, operation }),
            (Errno::NOENT, Refusal::Store { code: 2, operation }),
        ] {
            assert_eq!(Refusal::from(Failed::new(operation, errno)), expected, "{errno:?}");
        }
    }
}
