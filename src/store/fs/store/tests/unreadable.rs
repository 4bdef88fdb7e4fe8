//! Existing files that this user may not read.

use super::*;
use crate::config::{Config, IfExists};
use crate::store::MemorySource;
use crate::testing::pair::{Pair, SessionEnd};
use crate::types::Event;

/// Returns a store in which nothing that has a final name can be opened to be read, as if it were
/// of mode 0200.
fn unreadable(bench: &Bench) -> FsStore {
    let store = FsStore::open(bench.path("")).unwrap().sync_threads(0);
    store.shared.hook.set(|step| match step {
        Step::OpenExisting => Err(io::ErrorKind::PermissionDenied.into()),
        _ => Ok(()),
    });
    store
}

#[test]
fn file_that_has_the_name_of_one_that_cannot_be_read_is_replaced_or_set_beside_it() {
    for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace] {
        // Inside its offer, in blocks, of the size of what stands there, and a stream.
        for (len, old, is_sized) in
            [(5, 5, true), (5, 7, true), (5000, 5000, true), (5000, 9, false)]
        {
            // At the start, or only when the name is to be given.
            for is_late in [false, true] {
                let bench = Bench::new();
                let case = format!("{existing:?} {len} {old} {is_sized} {is_late}");
                let (new, old) = ("n".repeat(len), "o".repeat(old));
                let store = unreadable(&bench);
                let size = is_sized.then(|| u64::try_from(len).unwrap());
                let meta = Meta::file(rel("x"), size);
                let source = MemorySource::new().entry(meta, new.clone());
                let ours = Config::default().block_size(BlockSize::MIN);
                let theirs = ours.clone().if_exists(existing);
                let mut pair = Pair::new(&ours, source, &theirs, store.clone());
                if is_late {
                    let (path, old) = (bench.path("x"), old.clone());
                    let late = Mutex::new(Some(old));
                    store.shared.hook.set(move |step| match step {
                        Step::OpenExisting => Err(io::ErrorKind::PermissionDenied.into()),
                        Step::Rename => match late.lock().unwrap().take() {
                            Some(old) => fs::write(&path, old),
                            None => Ok(()),
                        },
                        _ => Ok(()),
                    });
                } else {
                    fs::write(bench.path("x"), &old).unwrap();
                }
                let ended = pair.run();
                assert!(
                    matches!(ended, (SessionEnd::Closed(_), SessionEnd::Closed(_))),
                    "{ended:?} {case}"
                );
                let refused = pair.alice.events.iter().find_map(|event| match event {
                    Event::Refused { reason, .. } => Some(*reason),
                    _ => None,
                });
                let expected = match existing {
                    IfExists::Refuse => Some(Refusal::Exists),
                    IfExists::Skip => Some(Refusal::Skipped),
                    _ => None,
                };
                assert_eq!(refused, expected, "{case}");
                match existing {
                    IfExists::Replace => bench.assert_names(&[("x", &new)]),
                    IfExists::Rename => bench.assert_names(&[("x", &old), ("x (1)", &new)]),
                    _ => assert_eq!(bench.names()["x"], old, "{case}"),
                }
            }
        }
    }
}
