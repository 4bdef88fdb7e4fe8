//! The folder that a store was given belongs to somebody: no session changes its mode, its owner or its attributes, nor
//! gives it another time than names do that come and go in it.
#![expect(clippy::disallowed_methods, reason = "folders are made and looked at")]

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::SystemTime;

use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr};

use super::tests::noise;
use super::*;
use crate::store::fs::{FsStore, HiddenNames};
use crate::testing::pair::{Pair, SessionEnd};
use crate::types::{Durability, Kind, Timestamp};

/// A folder with a mode, a time and an attribute that nothing else here has.
struct Hash {
    dir: tempfile::TempDir,
    before: Held,
}

/// State that its owner alone may change.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Hash {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = File::open(dir.path()).unwrap();
        // Not every file system has them.
        let _ = fsetxattr(&folder, c"user.owner", b"somebody", XattrFlags::empty());
        folder.set_permissions(fs::Permissions::from_mode(0o2710)).unwrap();
        folder.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(OLD)).unwrap();
        let before = held(&folder);
        Self { dir, before }
    }

    fn store(&self) -> FsStore {
        let store = FsStore::open(self.dir.path()).unwrap();
        store.sync_threads(0).allow_links().hidden_names(HiddenNames::Accept)
    }

    #[track_caller]
    fn check(&self, what: &str) {
        let folder = File::open(self.dir.path()).unwrap();
        assert_eq!(held(&folder), self.before, "{what}");
        let modified = u64::try_from(folder.metadata().unwrap().mtime()).unwrap();
        // No name changed, or it is the time of the system's clock.
        let started = BUILT.max(OLD + 1);
        assert!(modified == OLD || modified >= started, "{what}: its time is {modified}");
    }

    #[track_caller]
    fn check_untouched(&self, what: &str) {
        self.check(what);
        assert_eq!(fs::metadata(self.dir.path()).unwrap().mtime().unsigned_abs(), OLD, "{what}");
    }
}

fn held(folder: &File) -> Held {
    let meta = folder.metadata().unwrap();
    let mut names = vec![0; 4096];
    let len = flistxattr(folder, &mut names[..]).unwrap_or(0);
    names.truncate(len);
    let value = |name: &[u8]| {
        let mut value = vec![0; 4096];
        let len = fgetxattr(folder, name, &mut value[..]).unwrap_or(0);
        value.truncate(len);
        (name.to_vec(), value)
    };
    let names = names.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let attributes = names.map(value).collect();
    Held { inode: meta.ino(), mode: meta.mode(), owner: (meta.uid(), meta.gid()), attributes }
}

const POLICIES: [IfExists; 4] =
    [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace];

/// 2001, as no offer has it.
const OLD: u64 = 1_000_000_001;

/// Before this was written: what is offered here is of earlier years.
const BUILT: u64 = 1_700_000_000;

/// Names of the folder itself, and of what it is in, as no honest sender sends them.
const NAMES: [&[u8]; 14] = [
    b"", b".", b"./", b"/", b"//", b"./.", b"..", b"../", b"d/..", b"d/.", b"./d", b"/d", b".\\",
    b"\0",
];

/// As `scp` had it: an entry whose name is empty, or a dot, changes the mode of the folder itself.
#[test]
fn root_that_is_offered_under_any_name_keeps_its_metadata() {
    for name in NAMES {
        for kind in [Kind::File, Kind::Directory, Kind::Symlink((*b"d").into())] {
            for existing in POLICIES {
                let root = Hash::new();
                let config = Config::default().if_exists(existing).durability(Durability::Synced);
                let mut bob = Bob::new(&config, root.store());
                let what = format!("{:?} {kind:?} {existing:?}", name.escape_ascii().to_string());
                let content = [7; 100];
                let mut forger = Forger::sender(&content);
                let (mut said, mut heard) = (Vec::new(), Vec::new());
                forger.greet(&mut Choices::new(&[]), &mut said);
                forger.pass(&mut said);
                let (mut now, mut is_offered) = (Duration::ZERO, false);
                loop {
                    match bob.step(now, &said, &mut heard) {
                        Progress::Moved(consumed) => drop(said.drain(..consumed)),
                        Progress::Ended(_) => break,
                        Progress::Idle(_) if !is_offered && forger.bind(&heard) => {
                            is_offered = true;
                            forger.offer_as(name, kind.clone(), &mut said);
                            forger.pass(&mut said);
                        }
                        Progress::Idle(until) => now = later(now, until),
                    }
                    root.check_untouched(&what);
                }
                let refused = |event: &&Event| matches!(event, Event::Refused { .. });
                assert!(bob.events.iter().any(|event| refused(&event)), "{what}: {:?}", bob.events);
                let left = fs::read_dir(root.dir.path()).unwrap().count();
                assert_eq!(left, 0, "{what}");
            }
        }
    }
}

#[test]
fn root_keeps_its_metadata_whatever_a_peer_says() {
    let content = content(8 * 1024);
    let mut stored = 0;
    for seed in 0..1200 {
        let root = Hash::new();
        let input = noise(seed, 100 + seed as usize);
        let mut choices = Choices::new(&input);
        let mut bob = Bob::new(&config(&mut choices), root.store());
        forge(&mut bob, &content, &mut choices, |_| root.check(&format!("seed {seed}")));
        drop(bob);
        root.check(&format!("seed {seed}"));
        stored += fs::read_dir(root.dir.path()).unwrap().count();
    }
    assert!(stored > 20, "{stored}");
}

/// Folders, files and links in the root with modes and times of their own; some of them are there before, and the
/// connection is lost somewhere.
#[test]
fn root_keeps_its_metadata_in_whole_sessions() {
    let time = Timestamp::new(1_200_000_000, 0);
    let dressed = |meta: Meta| meta.mode(Some(0o777)).modified(time);
    let bytes = content(3000);
    let source = ["a", "d/b", ".hidden"].iter().fold(MemorySource::new(), |source, name| {
        source.entry(dressed(Meta::file(path(name.as_bytes()), Some(3000))), bytes.clone())
    });
    let source = [&b"d"[..], b"new", b"new/deeper"].iter().fold(source, |source, name| {
        source.entry(dressed(Meta::directory(path(name))), Vec::new())
    });
    let link = Meta::symlink(path(b"link"), (*b"d/b").into());
    let source = source.entry(dressed(link), Vec::new());
    for existing in POLICIES {
        for cut in (0..9000).step_by(700) {
            let root = Hash::new();
            if cut % 1400 == 0 {
                fs::create_dir(root.dir.path().join("d")).unwrap();
                fs::write(root.dir.path().join("a"), "old").unwrap();
                symlink("a", root.dir.path().join("link")).unwrap();
            }
            let config = Config::default()
                .block_size(BlockSize::MIN)
                .if_exists(existing)
                .durability(Durability::Synced);
            let mut pair = Pair::new(&config, source.clone(), &config, root.store());
            pair.down.cut(cut);
            let what = format!("{existing:?}, cut at {cut}");
            pair.run_with(|_| root.check(&what));
            pair.restart(source.clone(), root.store());
            let ended = pair.run_with(|_| root.check(&what));
            assert!(
                matches!(ended, (SessionEnd::Closed(_), SessionEnd::Closed(_))),
                "{what}: {ended:?}"
            );
            assert!(root.dir.path().join("new/deeper").is_dir(), "{what}");
        }
    }
}
