//! The id of what `haul send` sends: the same command is the same transfer, so that it goes on after a kill.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use haul::RelPath;
use haul::types::TransferId;

use crate::args::Send;
use crate::choices::Links;
use crate::identity::Identity;
use crate::send::is_stdin;

/// Derives the id from the key of this user, from what decides which entries there are, and from the machine: others
/// with the same key have files of their own under the same paths, and must not end its transfers. `names`: those that a
/// list gave, one for each path.
///
/// `None`: this user has no key, and none can be made. Then the id is random. Where there is no encryption, the id proves
/// nothing; it is derived all the same, so that the command goes on there too.
pub(crate) fn id(args: &Send, paths: &[PathBuf], names: &[RelPath]) -> Option<TransferId> {
    let mut all = machine();

    all.extend(parts(args, paths, &env::current_dir().ok()?)?);
    all.extend(names.iter().map(|name| [b"t", name.as_bytes()].concat()));
    let key = Identity::open().ok()?.key;
    Some(key.transfer_id(all.iter().map(Vec::as_slice)))
}

/// Returns what tells this machine from others, as far as files of the system say it. Each of them may be the same on
/// copies of one system.
fn machine() -> Vec<Vec<u8>> {
    let read = |path| [b"m", fs::read(path).unwrap_or_default().as_slice()].concat();
    MACHINE.map(read).into()
}

/// Files that hold the name of the machine (Linux), and its id (systemd, FreeBSD).
const MACHINE: [&str; 3] = ["/proc/sys/kernel/hostname", "/etc/machine-id", "/etc/hostid"];

/// Returns what decides which entries there are, each part with a letter in front that says what it is.
fn parts(args: &Send, paths: &[PathBuf], folder: &Path) -> Option<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    let mut add = |kind: u8, part: &[u8]| parts.push([&[kind], part].concat());
    for path in paths {
        if is_stdin(path) {
            add(b'i', &stdin().ok()?);
        } else {
            // Parts that say the same are left out, but not "..": what that is, is for links to say.
            let absolute: PathBuf = folder.join(path).components().collect();
            add(b'p', absolute.as_os_str().as_bytes());
        }
    }
    args.from_command.iter().for_each(|word| add(b'c', word.as_bytes()));
    args.name.iter().for_each(|name| add(b'n', name.as_bytes()));
    args.include.iter().for_each(|glob| add(b'y', glob.as_bytes()));
    args.exclude.iter().for_each(|glob| add(b'x', glob.as_bytes()));
    if args.ignore_files {
        add(b'f', b"");
    }
    match args.links {
        None | Some(Links::Skip) => {}
        Some(Links::Follow) => add(b'l', b"follow"),
        Some(Links::Preserve) => add(b'l', b"preserve"),
    }
    Some(parts)
}

/// Returns what tells standard input from others: a file is the same each time, a pipe is another one.
fn stdin() -> io::Result<Vec<u8>> {
    let meta = File::from(io::stdin().as_fd().try_clone_to_owned()?).metadata()?;
    Ok([meta.dev(), meta.ino()].map(u64::to_le_bytes).concat())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Command, Haul};

    fn parts_of(line: &str, folder: &str) -> Vec<Vec<u8>> {
        let haul = Haul::try_parse_from(line.split(' ')).unwrap();
        let Command::Send(send) = haul.command else { panic!("it is send") };
        let (paths, _) = send.split().unwrap();
        parts(&send, &paths, Path::new(folder)).unwrap()
    }

    #[test]
    fn origin_is_the_same_for_the_same_entries_and_for_no_others() {
        let same = [
            ("haul send a b host:1", "/f"),
            ("haul send ./a /f/b/ unix:x", "/f"),
            ("haul send f/./a f/b host:2 --retry-for 9s --block-size 4K --links skip", "/"),
            ("haul send a b host:1 --limit-rate 9M --trust-times --insecure --json", "/f"),
        ];
        for (line, folder) in same {
            assert_eq!(parts_of(line, folder), [b"p/f/a", b"p/f/b"], "{line}");
        }
        let others = [
            ("haul send a b host:1", "/g"),
            ("haul send b a host:1", "/f"),
            ("haul send a host:1", "/f"),
            ("haul send a/../a b host:1", "/f"),
            ("haul send a host:1 --name b", "/f"),
            ("haul send a - host:1", "/f"),
            ("haul send a b host:1 --exclude c", "/f"),
            ("haul send a b host:1 --include c", "/f"),
            ("haul send a b host:1 --ignore-files", "/f"),
            ("haul send a b host:1 --links follow", "/f"),
            ("haul send a b host:1 --links preserve", "/f"),
            ("haul send host:1 --from-command a b", "/f"),
            ("haul send host:1 --from-command ab", "/f"),
        ];
        let others = others.map(|(line, folder)| parts_of(line, folder));
        let all: std::collections::BTreeSet<_> = others.into_iter().collect();
        assert!(all.len() == 13 && !all.contains(&parts_of(same[0].0, same[0].1)));
    }
}
