//! Files that are opened when the walk finds them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A folder of so many files.
fn folder(files: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("t")).unwrap();
    for n in 0..files {
        fs::write(dir.path().join(format!("t/{n}")), "old").unwrap();
    }
    dir
}

/// Finds the next file, and opens it.
fn open(source: &mut FsSource) -> (Meta, FsReader) {
    let (key, meta) = source.next_entry().unwrap().unwrap();
    let reader = source.open(&key, &meta).unwrap();
    (meta, reader)
}

fn read(source: &mut FsSource, reader: &mut FsReader, meta: &Meta) -> Result<(), Withdrawal> {
    assert_eq!(source.read_at(reader, 0, &mut [0; 3]).unwrap(), 3);
    source.finish(reader, meta)
}

#[test]
fn source_files_that_are_read_as_they_are_found_take_fewer_steps_and_others_no_more() {
    let dir = folder(4);
    let mut source = FsSource::new([dir.path().join("t")]).unwrap();
    let steps = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&steps);
    source.hook.set(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let mut taken = Vec::new();
    for _ in 0..3 {
        let before = steps.load(Ordering::Relaxed);
        let (meta, mut reader) = open(&mut source);
        read(&mut source, &mut reader, &meta).unwrap();
        taken.push(steps.load(Ordering::Relaxed) - before);
    }
    assert!(taken[1] == taken[2] && taken[1] + 2 <= taken[0], "{taken:?}");
    // The last one is found, and not read: nothing of it stays open.
    source.next_entry().unwrap().unwrap();
    source.next_entry().unwrap().unwrap();
    assert!(!source.ahead.close());
    let mut source = FsSource::new([dir.path().join("t")]).unwrap();
    for _ in 0..3 {
        source.next_entry().unwrap().unwrap();
        assert!(!source.ahead.close(), "nobody reads them");
    }
}

#[test]
fn source_file_that_changes_after_it_was_opened_as_it_was_found_is_withdrawn() {
    let changes: [fn(&Path); 4] = [
        |path| fs::write(path, "new").unwrap(),
        |path| fs::remove_file(path).unwrap(),
        |path| fs::rename(path, path.with_extension("moved")).unwrap(),
        |path| {
            fs::write(path.with_extension("new"), "new").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        },
    ];
    for (n, change) in changes.into_iter().enumerate() {
        for is_read in [true, false] {
            let dir = folder(2);
            let mut source = FsSource::new([dir.path().join("t")]).unwrap();
            drop(open(&mut source));
            let (meta, mut reader) = open(&mut source);
            assert!(reader.read_ahead().is_some());
            let path = dir.path().join("t/1");
            let before = changed(&fs::metadata(&path).unwrap());
            let mut ended = Ok(());
            if is_read {
                ended = read(&mut source, &mut reader, &meta);
                assert_eq!(ended, Ok(()));
            }
            // The clock of a file system stands still for some milliseconds.
            let probe = dir.path().join("probe");
            while {
                fs::write(&probe, "").unwrap();
                changed(&fs::metadata(&probe).unwrap()) == before
            } {}
            change(&path);
            let ended = ended.and_then(|()| read(&mut source, &mut reader, &meta));
            assert_eq!(ended, Err(Withdrawal::Changed), "{n} {is_read}");
        }
    }
}

/// Files that are open ahead are given back first where there are too few descriptors.
#[test]
fn source_file_that_was_opened_as_it_was_found_is_closed_for_want_of_descriptors() {
    let dir = folder(2);
    let mut source = FsSource::new([dir.path().join("t")]).unwrap();
    drop(open(&mut source));
    let (key, meta) = source.next_entry().unwrap().unwrap();
    assert!(source.give_back(true), "what is open ahead");
    let mut reader = source.open(&key, &meta).unwrap();
    assert_eq!(read(&mut source, &mut reader, &meta), Ok(()));
}
