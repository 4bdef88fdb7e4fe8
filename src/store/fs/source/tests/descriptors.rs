//! Open files of a source, which it closes where there are too few descriptors.

use super::*;

/// Makes a file in each of so many folders, one in the other.
fn deep(depth: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut folder = dir.path().join("t");
    for _ in 0..depth {
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("e"), "content").unwrap();
        // Before the file, and after it.
        folder.push(["d", "f"][folder.components().count() % 2]);
    }
    dir
}

#[test]
fn source_walks_a_deep_tree_with_few_folders_open() {
    let dir = deep(100);
    for closes in [false, true] {
        let mut source = FsSource::new([dir.path().join("t")]).unwrap();
        let mut seen = Vec::new();
        while let Some(found) = source.next_entry() {
            let (_, meta) = found.unwrap();
            seen.push(meta.path.as_bytes().to_vec());
            assert!(source.walk.open() <= KEPT, "{} are open", source.walk.open());
            if closes {
                source.walk.close(false);
            }
        }
        assert_eq!(seen.len(), 200, "a file and a folder of each level");
        let folders = seen.iter().filter(|path| !path.ends_with(b"/e"));
        assert!(folders.map(Vec::len).rev().is_sorted(), "each folder after what it holds");
    }
}

#[test]
fn source_does_not_go_on_in_a_folder_that_was_put_in_the_place_of_one_on_the_way() {
    let dir = deep(KEPT + 4);
    let root = dir.path().join("t");
    let mut source = FsSource::new([&root]).unwrap();
    while source.walk.depth() < KEPT + 4 {
        source.next_entry().unwrap().unwrap();
    }
    let part = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path());
    let below = part.into_iter().find(|path| path.is_dir()).unwrap();
    fs::rename(&below, dir.path().join("away")).unwrap();
    symlink(dir.path().join("away"), &below).unwrap();
    let seen = walk(&mut source);
    let failed: Vec<_> = seen.iter().filter_map(|entry| entry.as_ref().err()).collect();
    assert!(!failed.is_empty(), "what was closed is not the same");
    let is_told = |(_, reason): &&(String, Withdrawal)| {
        matches!(reason, Withdrawal::Changed | Withdrawal::Kind | Withdrawal::Unreadable { .. })
    };
    assert!(failed.iter().all(is_told), "{failed:?}");
    // The folder above it is as it was.
    assert_eq!(seen.last().unwrap().as_ref().unwrap().0, "t");
}

#[test]
fn source_reads_on_in_a_file_that_it_closed_and_notices_a_change() {
    let dir = tree();
    let path = dir.path().join("t/b/y");
    for is_changed in [false, true] {
        let mut source = FsSource::new([&path]).unwrap();
        let (key, meta) = source.next_entry().unwrap().unwrap();
        let mut reader = source.open(&key, &meta).unwrap();
        let mut buffer = [0; 2];
        assert_eq!(source.read_at(&mut reader, 0, &mut buffer).unwrap(), 2);
        assert!(source.give_back(false), "a file that can be opened again");
        assert!(!source.give_back(false), "and no more");
        if is_changed {
            fs::write(&path, "444").unwrap();
            let error = source.read_at(&mut reader, 2, &mut buffer).unwrap_err();
            assert_eq!(withdrawal_of(&error), Withdrawal::Changed);
            assert_eq!(source.finish(&mut reader, &meta), Err(Withdrawal::Changed));
        } else {
            assert_eq!(source.finish(&mut reader, &meta), Ok(()));
            assert_eq!(source.read_at(&mut reader, 2, &mut buffer).unwrap(), 1);
            assert_eq!(source.finish(&mut reader, &meta), Ok(()));
        }
        drop(reader);
        assert!(!source.give_back(false), "what nobody reads is closed");
    }
}

#[test]
fn error_of_a_reason_leads_back_to_it() {
    for reason in [
        Withdrawal::Vanished,
        Withdrawal::Changed,
        Withdrawal::Denied,
        Withdrawal::Kind,
        Withdrawal::Unreadable { code: 24 },
        Withdrawal::Unreadable { code: 5 },
    ] {
        assert_eq!(withdrawal_of(&error_of(reason)), reason);
    }
}
