//! Races, one by one: before each system call of a walk and of what reads a file, somebody exchanges something.
//!
//! What is sent is what the walk saw, whole, or it is withdrawn; nothing of what a link leads to is read unless links are
//! followed, and no FIFO is waited for.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Thing that somebody puts in the place of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// Link to what has the same name outside.
    LinkOut,
    /// Link to another name of the tree.
    LinkIn,
    File,
    Folder,
    Fifo,
}

const PLANTED: [Planted; 6] = [
    Planted::Nothing,
    Planted::LinkOut,
    Planted::LinkIn,
    Planted::File,
    Planted::Folder,
    Planted::Fifo,
];

/// Names that are exchanged: a file, a link, and folders on the way to them.
const NAMES: [&str; 5] = ["d/e/x", "d/e/link", "d/e", "d", "y"];

const INSIDE: &[u8] = b"inside";

fn scene() -> TempDir {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    for (place, bytes) in [("t", INSIDE), ("outside", b"SECRET")] {
        let root = dir.path().join(place);
        fs::create_dir_all(root.join("d/e")).unwrap();
        for name in ["d/e/x", "y", "z"] {
            fs::write(root.join(name), bytes).unwrap();
        }
        symlink("x", root.join("d/e/link")).unwrap();
    }
    fs::create_dir(dir.path().join("aside")).unwrap();
    dir
}

fn exchange(dir: &Path, name: &str, planted: Planted) {
    let path = dir.join("t").join(name);
    if fs::rename(&path, dir.join("aside/it")).is_err() {
        return;
    }
    let up = "../".repeat(name.split('/').count() - 1);
    match planted {
        Planted::Nothing => {}
        Planted::LinkOut => symlink(format!("{up}../outside/{name}"), &path).unwrap(),
        Planted::LinkIn => symlink(format!("{up}z"), &path).unwrap(),
        // As long as what it replaces.
        Planted::File => fs::write(&path, b"SECRET").unwrap(),
        Planted::Folder => {
            fs::create_dir_all(path.join("e")).unwrap();
            fs::write(path.join("x"), b"SECRET").unwrap();
            fs::write(path.join("e/x"), b"SECRET").unwrap();
        }
        Planted::Fifo => fifo(&path),
    }
}

/// Returns what was sent whole, by its name; and how many steps it took.
fn send(mut source: FsSource, steps: &AtomicUsize) -> (Vec<(Meta, Vec<u8>, usize)>, usize) {
    let mut sent = Vec::new();
    while let Some(entry) = source.next_entry() {
        // Whatever the walk has seen by now.
        let began = steps.load(Ordering::Relaxed);
        let Ok((key, meta)) = entry else { continue };
        let Ok(mut reader) = source.open(&key, &meta) else { continue };
        let mut bytes = [0; 16];
        let Ok(len) = source.read_at(&mut reader, 0, &mut bytes) else { continue };
        if source.finish(&mut reader, &meta).is_ok() {
            sent.push((meta, bytes[..len].to_vec(), began));
        }
    }
    (sent, steps.load(Ordering::Relaxed))
}

/// Sends a tree of which something is exchanged before the step of this number. Gives how many steps there were.
fn race(symlinks: Symlinks, name: &'static str, planted: Planted, at: usize) -> usize {
    let dir = scene();
    let source = FsSource::new([dir.path().join("t")]).unwrap().symlinks(symlinks);
    let steps = Arc::new(AtomicUsize::new(0));
    let (count, path) = (Arc::clone(&steps), PathBuf::from(dir.path()));
    source.hook.set(move |_| {
        if count.fetch_add(1, Ordering::Relaxed) == at {
            exchange(&path, name, planted);
        }
        Ok(())
    });
    let (sent, steps) = in_time(move || send(source, &steps));
    let case = format!("{symlinks:?}, {planted:?} for {name} before step {at}");
    for (meta, bytes, began) in sent {
        let what = meta.path.to_string();
        match &meta.kind {
            Kind::File => {
                assert_eq!(bytes.len(), INSIDE.len(), "{case}: {what} is not whole");
                // A file, or a folder, that was there before the walk came to it is of the tree, whoever put it there.
                let is_walked = matches!(planted, Planted::File | Planted::Folder) && at < began;
                let is_followed = symlinks == Symlinks::Follow && at < began;
                let may_differ = is_walked || is_followed;
                assert!(bytes == INSIDE || may_differ, "{case}: {what} is of another file");
            }
            Kind::Symlink(target) => {
                let depth = what.split('/').count() - 2;
                assert!(symlinks == Symlinks::Preserve, "{case}: {what}");
                assert!(stays_inside(depth, target), "{case}: {what} leads out");
            }
            Kind::Directory => assert!(bytes.is_empty()),
        }
    }
    steps
}

#[test]
fn source_of_which_something_is_exchanged_before_any_call_sends_what_it_saw() {
    for symlinks in [Symlinks::Skip, Symlinks::Preserve, Symlinks::Follow] {
        for name in NAMES {
            for planted in PLANTED {
                let mut at = 0;
                while race(symlinks, name, planted, at) > at {
                    at += 1;
                }
                assert!(at > 15, "{at} steps");
            }
        }
    }
}
