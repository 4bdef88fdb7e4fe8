//! Permissions of what is stored.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, OFlags, RawMode, Stat, fchmod, fchown, fstat, openat};

use super::dir::Folder;
use super::partial::{self, Owner};
use super::stat::{self, Id};

/// Returns the mode of a file, of which one may be offered, and which may replace one that has the
/// mode `old`.
///
/// Without an offer a file keeps its mode. What is private stays so: whoever, of group and others, had no permission at all
/// gets none. The owner can read it in any case, or a later
/// attempt could not see that it is there.
pub(super) fn of_file(offered: Option<u32>, umask: u32, old: Option<RawMode>) -> u32 {
    let mode = match (offered, old) {
        (Some(offered), _) => offered & !umask,
        (None, Some(old)) => bits(old),
        (None, None) => 0o666 & !umask,
    };
    mode & old.map_or(ALL, allowed) | 0o400
}

/// Returns the mode of a folder that was made here with the mode `made`: with the bits that it has from the
/// folder above.
pub(super) fn of_folder(offered: Option<u32>, umask: u32, made: RawMode) -> u32 {
    offered.unwrap_or(ALL) & ALL & !umask | OWNER | bits(made) & SETGID
}

/// Returns the permissions that a file may have which replaces one of this mode.
fn allowed(old: RawMode) -> u32 {
    let whole = |class: u32| if bits(old) & class == 0 { 0 } else { class };
    OWNER | whole(GROUP) | whole(OTHERS)
}

/// Gives a file a mode, and the group of the file that it is about to replace: permissions that the old group had are for
/// no other one.
pub(super) fn dress(file: &File, mode: u32, old: Option<&Stat>) {
    let kept = old.map_or(ALL, |old| keep_group(file, old));
    let _ = set(file, mode & kept);
}

/// Takes permissions from a file that has replaced this one, which may have changed since it was looked at. Where that fails, the
/// file may show more than the one that it replaced.
pub(super) fn narrow(file: &File, old: &Stat) -> rustix::io::Result<()> {
    let allowed = allowed(old.st_mode) & keep_group(file, old);
    let mode = bits(fstat(file)?.st_mode);
    if mode & ALL & !allowed == 0 { Ok(()) } else { set(file, mode & allowed) }
}

/// Gives a file the group of another one, and returns the permissions that it may have then.
fn keep_group(file: &File, old: &Stat) -> u32 {
    let group = Gid::from_raw(old.st_gid);
    let has_it = || fstat(file).is_ok_and(|stat| stat.st_gid == old.st_gid);
    if has_it() || fchown(file, None, Some(group)).is_ok() {
        ALL
    } else {
        without_group(old.st_mode)
    }
}

/// Returns the permissions that a file may have which replaces one of this mode, and has another group: its members had
/// none as such, and those of the old group count as others now.
fn without_group(old: RawMode) -> u32 {
    OWNER | (bits(old) & GROUP) >> 3
}

pub(super) fn set(file: impl AsFd, mode: u32) -> rustix::io::Result<()> {
    fchmod(file, stat::mode_of(mode))
}

/// Returns the bits of a mode, whose width differs between systems, so that a cast would be needed
/// here and useless there.
pub(super) fn bits(mode: impl TryInto<u32>) -> u32 {
    mode.try_into().unwrap_or_default()
}

/// Returns the umask of the process. To ask the system for it is to change it, for all threads; Linux also tells it in
/// a file. Elsewhere a file is made in the folder, and shows it.
pub(super) fn umask(folder: &Folder) -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    told(&status).or_else(|| shown(folder)).unwrap_or(STRICTEST)
}

fn told(status: &str) -> Option<u32> {
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(mask.trim(), 8).ok().map(|mask| mask & ALL)
}

/// Returns the permissions that a new file lacks of those that were asked for.
fn shown(folder: &Folder) -> Option<u32> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // The name of a partial file, but of none for any entry.
    let names = (0..ATTEMPTS).map(|n| partial::name(Owner::default(), b"/", n));
    let made = |name: String| {
        let file = openat(folder, &*name, flags, Mode::from_bits_truncate(0o777)).ok()?;
        Some((name, fstat(&file).ok()?))
    };
    let (name, stat) = names.into_iter().find_map(made)?;
    let _ = folder.remove(name.as_bytes(), Id::of(&stat));
    Some(!bits(stat.st_mode) & ALL)
}

/// Assumed umask where nothing tells: nobody but the owner may do anything.
const STRICTEST: u32 = 0o077;

const ALL: u32 = 0o777;
const OWNER: u32 = 0o700;
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;
const SETGID: u32 = 0o2000;

/// Files of that name that killed processes may have left.
const ATTEMPTS: u32 = 8;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a folder is opened")]
mod tests {
    use super::*;

    #[test]
    fn mode_of_a_file_is_as_the_table_says() {
        for (offered, umask, old, expected) in [
            (Some(0o644), 0o022, None, 0o644),
            (Some(0o666), 0o077, None, 0o600),
            (Some(0o4777), 0o022, None, 0o755),
            (Some(0), 0, None, 0o400),
            (None, 0o022, None, 0o644),
            (None, 0o077, None, 0o600),
            // Replaced: what was private stays so, and without an offer the old mode stays.
            (None, 0o022, Some(0o100_600), 0o600),
            (None, 0o022, Some(0o100_666), 0o666),
            (None, 0o022, Some(0o104_755), 0o755),
            (None, 0o022, Some(0o100_000), 0o400),
            (Some(0o644), 0o022, Some(0o100_600), 0o600),
            (Some(0o755), 0o022, Some(0o100_600), 0o700),
            (Some(0o644), 0o022, Some(0o100_640), 0o640),
            (Some(0o777), 0, Some(0o100_604), 0o707),
            (Some(0o755), 0o022, Some(0o100_644), 0o755),
            (Some(0o600), 0o022, Some(0o100_644), 0o600),
        ] {
            let case = format!("{offered:?} {umask:o} {old:?}");
            assert_eq!(of_file(offered, umask, old), expected, "{case}");
        }
    }

    #[test]
    fn mode_of_a_file_that_gets_another_group_shows_nothing_to_it_nor_to_the_old_one() {
        for (old, mode, expected) in [
            (0o640, 0o640, 0o600),
            (0o664, 0o664, 0o604),
            (0o604, 0o604, 0o600),
            (0o755, 0o755, 0o705),
            (0o600, 0o600, 0o600),
        ] {
            assert_eq!(mode & without_group(0o100_000 | old), expected, "{old:o}");
        }
    }

    /// Every offer, umask and old mode: nothing is added to what was private, nor what the umask takes away.
    #[test]
    fn mode_of_a_private_file_gains_nothing_for_others() {
        for old in 0..0o1000 {
            for offered in 0..0o1000 {
                for umask in [0, 0o022, 0o027, 0o077] {
                    let mode = of_file(Some(offered), umask, Some(0o100_000 | old));
                    for class in [0o070, 0o007] {
                        let may = old & class != 0 || mode & class == 0;
                        assert!(may, "{old:o} {offered:o} {umask:o}");
                    }
                    assert_eq!(mode & umask & 0o377, 0, "{old:o} {offered:o} {umask:o}");
                }
            }
            assert_eq!(of_file(None, 0o022, Some(0o100_000 | old)), old | 0o400);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn mode_that_cannot_be_taken_from_a_file_is_an_error() {
        use rustix::io::Errno;
        let dir = tempfile::tempdir().unwrap();
        let [new, old] = ["new", "old"].map(|name| dir.path().join(name));
        for (path, mode) in [(&new, 0o644), (&old, 0o600)] {
            let file = File::create(path).unwrap();
            set(&file, mode).unwrap();
        }
        let old = rustix::fs::stat(&old).unwrap();
        // One that can be looked at, and not changed.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let shown = File::from(rustix::fs::open(&new, flags, Mode::empty()).unwrap());
        assert_eq!(narrow(&shown, &old), Err(Errno::BADF));
        let file = File::open(&new).unwrap();
        assert_eq!(narrow(&file, &old), Ok(()));
        assert_eq!(bits(fstat(&file).unwrap().st_mode) & ALL, 0o600);
        assert_eq!(narrow(&shown, &old), Ok(()), "there is nothing to take");
    }

    #[test]
    fn umask_is_told_or_shown_and_never_guessed() {
        assert_eq!(told("Name:\tx\nUmask:\t0027\nState:\tR\n"), Some(0o027));
        assert_eq!(told("Name:\tx\n"), None);
        assert_eq!(told("Umask:\tnone\n"), None);
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(File::open(dir.path()).unwrap().into()).unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        // What is in the way, as a killed process may have left it, is passed by.
        std::fs::write(dir.path().join(partial::name(Owner::default(), b"/", 0)), "left").unwrap();
        assert_eq!(shown(&folder), Some(told(&status).unwrap()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert_eq!(shown(&folder), None, "nothing can be made there");
    }
}
