//! Files whose size by the system has no relation to their content.
//!
//! File systems that make content when it is read (`/proc`, `/sys`) report 0, or the most that it can be. Their files
//! take no blocks, so that nothing is asked about files that do.

use std::path::Path;

use rustix::fs::Stat;

use super::stat::{self, Id};

/// Test for true sizes; the last finding about a device is kept.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// A device, and whether sizes on it are true.
    known: Option<(u64, bool)>,
}

impl Sizes {
    /// Returns the size of a file, `None` if only reading it tells.
    pub(super) fn of(&mut self, path: &Path, stat: &Stat) -> Option<u64> {
        (has_blocks(stat) || self.are_true(path, stat)).then_some(stat::size(stat))
    }

    fn are_true(&mut self, path: &Path, stat: &Stat) -> bool {
        let device = Id::of(stat).device();
        match self.known {
            Some((known, are_true)) if known == device => are_true,
            _ => {
                let are_true = !makes_content(path);
                self.known = Some((device, are_true));
                are_true
            }
        }
    }
}

/// Returns whether a file takes room on its device.
pub(super) fn has_blocks(stat: &Stat) -> bool {
    stat::allocated(stat) > 0
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn makes_content(path: &Path) -> bool {
    let Ok(found) = rustix::fs::statfs(path) else { return false };
    MAKERS.contains(&stat::unsigned(found.f_type))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn makes_content(_: &Path) -> bool {
    false
}

/// File systems that make content when it is read, from `linux/magic.h`: proc, sysfs, cgroup, cgroup2, debugfs,
/// tracefs, securityfs, configfs, selinuxfs, smackfs, binfmt_misc, bpf.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MAKERS: [u64; 12] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0x6265_6570,
    0xf97c_ff8c,
    0x4341_5d53,
    0x4249_4e4d,
    0xcafe_4a11,
];
