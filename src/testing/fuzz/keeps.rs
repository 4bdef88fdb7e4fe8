//! There is no message that deletes anything: whatever a peer sends, in whatever order, what was there stays as it is,
//! byte for byte, unless a file that was receipted has taken its place and the receiver allows that.
#![expect(clippy::disallowed_methods, reason = "folders are made and looked at")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::tests::{corpus, noise};
use super::*;
use crate::store::fs::{FsSource, FsStore, HiddenNames};

/// Something that was there before, kept open so that nothing else gets its number.
struct Old {
    file: Option<File>,
    inode: u64,
    mode: u32,
    modified: (i64, i64),
    links: u64,
    content: Vec<u8>,
}

/// Content of a folder, by name.
type Stock = BTreeMap<String, Old>;

const POLICIES: [IfExists; 4] =
    [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace];

/// Fills a folder: files of the names that are offered, some with the content that is, things that are no files, and
/// files that look like haul's own.
fn stock(root: &Path, choices: &mut Choices<'_>, content: &[u8]) -> Stock {
    let mut names = vec!["mine", ".hidden", "f/g/h", ".haul-0000000000000000.part", "a (1)"];
    names.extend(["a", "b", "e"].into_iter().filter(|_| choices.flag()));
    names.push(if choices.flag() { "c/d" } else { "c" });
    for name in names {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let len = 512 * usize::from(choices.below(17));
        let mut bytes = content[..len].to_vec();
        if choices.flag() {
            bytes.extend_from_slice(b"mine");
        }
        fs::write(path, bytes).unwrap();
    }
    if choices.flag() {
        fs::create_dir(root.join("g")).unwrap();
        symlink("mine", root.join("h")).unwrap();
        mknodat(CWD, root.join("i"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }
    let mut stock = Stock::new();
    walk(root, "", &mut stock);
    stock
}

fn walk(folder: &Path, prefix: &str, stock: &mut Stock) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        if meta.is_dir() {
            walk(&entry.path(), &format!("{name}/"), stock);
        }
        let is_file = meta.is_file();
        let file = (!meta.is_symlink() && !meta.file_type().is_fifo())
            .then(|| File::open(entry.path()).unwrap());
        let content = if is_file { fs::read(entry.path()).unwrap() } else { Vec::new() };
        let modified = (meta.mtime(), meta.mtime_nsec());
        let (inode, mode, links) = (meta.ino(), meta.mode(), meta.nlink());
        stock.insert(name, Old { file, inode, mode, modified, links, content });
    }
}

/// Checks that old content is there, and as it was; sent content, whole, may stand in the place of a file, and a link
/// in that of a link.
fn check(root: &Path, stock: &Stock, sent: &[u8], existing: IfExists, case: &str) {
    for (name, old) in stock {
        let stands = fs::symlink_metadata(root.join(name));
        let is_there = stands.as_ref().is_ok_and(|meta| meta.ino() == old.inode);
        let is_folder = old.mode & 0o170_000 == 0o040_000;
        let is_link = old.mode & 0o170_000 == 0o120_000;
        if is_there && is_link {
            continue;
        }
        if is_there && is_folder {
            assert_eq!(stands.unwrap().mode(), old.mode, "{case}: the mode of {name}");
            continue;
        }
        if !is_there {
            let is_file = old.mode & 0o170_000 == 0o100_000;
            let stands = stands.unwrap_or_else(|error| panic!("{case}: {name}: {error}"));
            let is_sent = if is_file {
                stands.is_file() && sent.starts_with(&fs::read(root.join(name)).unwrap())
            } else {
                stands.is_symlink() && is_link
            };
            let is_replaced = existing == IfExists::Replace && is_sent;
            assert!(is_replaced, "{case}: {name} is gone");
        }
        let Some(file) = &old.file else { continue };
        // Who has it open, or another name for it, has it as it was, replaced or not.
        let meta = file.metadata().unwrap();
        assert_eq!((meta.mtime(), meta.mtime_nsec()), old.modified, "{case}: {name} was written");
        assert_eq!(meta.mode(), old.mode, "{case}: the mode of {name}");
        assert_eq!(meta.nlink(), if is_there { old.links } else { 0 }, "{case}: links to {name}");
        let mut bytes = vec![0; old.content.len() + 1];
        let read = file.read_at(&mut bytes, 0).unwrap();
        assert!(bytes[..read] == old.content, "{case}: {name} was changed");
    }
}

/// Returns old inputs of a fuzzer that get far, and noise.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let runs = if std::env::var_os("HAUL_LONG").is_some() { 5000 } else { 120 };
    let noise = (0..runs).map(|seed| noise(seed, 200 + 4 * (seed as usize % 400)));
    corpus(target).into_iter().chain(noise).collect()
}

#[test]
fn old_files_stay_whatever_a_sender_says() {
    let content = content(8 * 1024);
    let (mut replaced, mut stored) = (0, 0);
    for (input, number) in inputs("receiver_bytes").iter().zip(0..) {
        for existing in POLICIES {
            let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            let mut choices = Choices::new(input);
            // As the target has it, which these inputs were found with.
            let _ = old(&mut choices, &content);
            let config = config(&mut choices).if_exists(existing);
            let _ = choices.flag();
            let seed = noise(number, 40);
            let stock = stock(dir.path(), &mut Choices::new(&seed), &content);
            let store = FsStore::open(dir.path()).unwrap().sync_threads(0).allow_links();
            let mut bob = Bob::new(&config, store.hidden_names(HiddenNames::Accept));
            let case = format!("input {number}, {existing:?}");
            forge(&mut bob, &content, &mut choices, |_| {
                check(dir.path(), &stock, &content, existing, &case);
            });
            let Bob { events, .. } = bob;
            check(dir.path(), &stock, &content, existing, &case);
            let is_receipt = |event: &&Event| matches!(event, Event::Delivered { .. });
            stored += events.iter().filter(is_receipt).count();
            replaced += stock.values().filter(|old| is_gone(old)).count();
        }
    }
    assert!(stored > 50 && replaced > 5, "{stored} receipts, {replaced} replaced");
}

fn is_gone(old: &Old) -> bool {
    old.file.as_ref().is_some_and(|file| file.metadata().unwrap().nlink() == 0)
}

/// A receiver can ask for what was offered, and nothing else; what is sent stays.
#[test]
fn old_files_stay_whatever_a_receiver_says() {
    let content = content(8 * 1024);
    for (input, number) in inputs("sender_bytes").iter().zip(0..) {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let seed = noise(number, 40);
        let stock = stock(dir.path(), &mut Choices::new(&seed), &content);
        let mut choices = Choices::new(input);
        let config = config(&mut choices);
        let source = FsSource::new([dir.path()]).unwrap();
        let mut alice = Alice::new(&config, source);
        forge_answers(&mut alice, &content, &mut choices);
        check(dir.path(), &stock, &content, IfExists::Refuse, &format!("input {number}"));
    }
}
