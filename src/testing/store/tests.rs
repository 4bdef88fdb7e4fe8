use super::*;
use crate::store::{Chain, MemorySource, MemoryStore, StreamSource};

fn contents() -> HashMap<RelPath, Vec<u8>> {
    [("a", 0), ("b/c", 1), ("b/d", 5000), ("e", 100_000)]
        .map(|(name, len)| (path(name), content(len)))
        .into()
}

#[test]
fn memory_store_keeps_the_contract() {
    check_store(MemoryStore::new);
}

#[test]
fn memory_source_keeps_the_contract() {
    let expected = contents();
    let make = || {
        let files = expected.iter();
        files.fold(MemorySource::new(), |source, (path, bytes)| {
            source.file(path.clone(), bytes.clone())
        })
    };
    check_source(make, &expected);
}

#[test]
fn chain_with_a_stream_keeps_the_contract() {
    let mut expected = HashMap::from([(path("a"), content(3000)), (path("s"), content(50_000))]);
    let (file, stream) = (content(3000), content(50_000));
    let make = || {
        let files = MemorySource::new().file(path("a"), file.clone());
        let stream = io::Cursor::new(stream.clone());
        Chain::new(files, StreamSource::with_window(path("s"), stream, 10_000))
    };
    check_source(make, &expected);
    expected.remove(&path("s"));
    let make =
        || Chain::new(MemorySource::new(), MemorySource::new().file(path("a"), file.clone()));
    check_source(make, &expected);
    assert_eq!(make().total(), Some(3000));
}

#[test]
fn fault_store_without_faults_keeps_the_contract() {
    check_store(|| FaultStore::new(MemoryStore::new()));
}

#[test]
fn fault_store_fails_the_call_that_it_was_told() {
    for (operation, call) in [(Operation::Write, 0), (Operation::Write, 2), (Operation::Begin, 0)] {
        for for_ever in [false, true] {
            let failure = Failure::Io(io::ErrorKind::StorageFull);
            let fault = if for_ever { Fault::from } else { Fault::once };
            let mut store =
                FaultStore::new(MemoryStore::new()).fault(fault(operation, call, failure));
            let offer = Offer::new(EntryId::new(0), Meta::file(path("x"), Some(4)), BlockSize::MIN);
            let mut failed = Vec::new();
            for round in 0..4 {
                match store.begin(&offer, Place::Offered) {
                    Ok(Begun::Fresh(mut file) | Begun::Partial(mut file, _)) => {
                        if store.write_at(&mut file, round, b"x").is_err() {
                            failed.push(round);
                        }
                        store.suspend(file);
                    }
                    Err(_) => failed.push(round),
                    Ok(Begun::Existing(..)) => panic!("nothing was committed"),
                }
            }
            let expected: Vec<_> = (0..4).filter(|&k| k == call || for_ever && k > call).collect();
            assert_eq!(failed, expected, "{operation:?}");
            assert_eq!(store.failed(), length(expected.len()));
        }
    }
}

#[test]
fn fault_store_failed_commit_keeps_the_partial() {
    let refusal = Refusal::Sync { code: 5 };
    let fault = Fault::once(Operation::Commit, 0, Failure::Refusal(refusal));
    let memory = MemoryStore::new();
    let mut store = FaultStore::new(memory.clone()).fault(fault);
    let offer = Offer::new(EntryId::new(0), Meta::file(path("x"), Some(1)), BlockSize::MIN);
    for expected in [Err(refusal), Ok(Committed::new(path("x")))] {
        let Ok(Begun::Fresh(mut file) | Begun::Partial(mut file, _)) =
            store.begin(&offer, Place::Offered)
        else {
            panic!("it does not begin")
        };
        assert_eq!(store.write_at(&mut file, 0, b"x"), Ok(()));
        let meta = offer.meta.clone();
        store.commit(file, Commit::new(offer.entry, meta, Place::Offered, 1, Durability::Synced));
        let ended = store.poll_committed(Duration::ZERO).expect("it ended");
        let ended = (
            ended.0,
            ended
                .1
                .map_err(|failed| matches!(failed, Uncommitted::Failed(found) if found == refusal)),
        );
        assert_eq!(ended, (offer.entry, expected.clone().map_err(|_| true)));
        assert_eq!(memory.files().len(), usize::from(expected.is_ok()));
        assert_eq!(memory.partials().len(), usize::from(expected.is_err()));
    }
}

#[cfg(feature = "fs")]
#[expect(clippy::disallowed_methods, reason = "files for a source of files")]
mod fs {
    use super::*;
    use crate::store::fs::{FsSource, FsStore};

    #[test]
    fn folder_store_keeps_the_contract_with_any_number_of_threads() {
        for threads in [0, 1, 2, 5] {
            let mut dirs = Vec::new();
            check_store(|| {
                let dir = tempfile::tempdir().unwrap();
                let store = FsStore::open(dir.path()).unwrap().sync_threads(threads);
                dirs.push(dir);
                store
            });
            let names = dirs.iter().flat_map(|dir| walk(dir.path()));
            assert_eq!(names.filter(|name| name.ends_with(".part")).count(), 0);
        }
    }

    #[test]
    fn folder_source_keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        for (path, bytes) in contents() {
            let path = dir.path().join("t").join(path.to_string());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let named = |(name, bytes): (RelPath, Vec<u8>)| (path(&format!("t/{name}")), bytes);
        let expected: HashMap<_, _> = contents().into_iter().map(named).collect();
        check_source(|| FsSource::new([dir.path().join("t")]).unwrap(), &expected);
    }

    fn walk(folder: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let names = entries.flat_map(|entry| {
            let mut names = vec![entry.file_name().into_string().unwrap()];
            if entry.file_type().unwrap().is_dir() {
                names.extend(walk(&entry.path()));
            }
            names
        });
        names.collect()
    }
}
