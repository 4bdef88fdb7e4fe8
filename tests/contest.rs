//! Two sessions that bring one new name to one folder at the same time.
#![cfg(all(feature = "fs", feature = "testing"))]
#![expect(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]
#![expect(clippy::disallowed_methods, reason = "tests read files, and have threads")]

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Duration;
use std::{fs, io, thread};

use haul::config::IfExists;
use haul::hash::BlockSize;
use haul::store::fs::{FsFile, FsStore};
use haul::store::{Ended, MemorySource, MemoryStore};
use haul::testing::pair::{self, Pair};
use haul::transport::memory;
use haul::types::{Commit, Durability, Found, Meta, Offer, Place, Refusal, Ticket, TransferId};
use haul::{Config, RelPath, Store, Summary, Transfer};
use proptest::prelude::*;
use proptest::sample;

const POLICIES: [IfExists; 4] =
    [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace];

/// Way in which the content of a file comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Inline,
    ByRoot,
    Blocks,
    Unsized,
}

const WAYS: [Way; 4] = [Way::Inline, Way::ByRoot, Way::Blocks, Way::Unsized];

impl Way {
    fn len(self) -> usize {
        match self {
            Self::Inline | Self::ByRoot => 900,
            Self::Blocks | Self::Unsized => 5000,
        }
    }

    fn source(self, bytes: &[u8]) -> MemorySource {
        let path = RelPath::parse(b"d/a.bin").expect("a good name");
        let size = (self != Self::Unsized).then_some(bytes.len() as u64);
        MemorySource::new().entry(Meta::file(path, size), bytes)
    }
}

fn config(existing: IfExists) -> Config {
    Config::default()
        .block_size(BlockSize::MIN)
        .if_exists(existing)
        .durability(Durability::Received)
}

/// Returns the transfer of a sender.
fn sender(number: usize) -> TransferId {
    TransferId::new([u8::try_from(number).expect("a few"); 16])
}

/// Returns content that is a function of the seed and the offset.
fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Returns every name in a folder, partial files too, and its content.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let file = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.expect("it can be listed");
        let bytes = fs::read(entry.path()).expect("it can be read");
        (entry.file_name().into_string().expect("a plain name"), bytes)
    };
    entries.map(file).collect()
}

/// Checks what must come of two sessions, whichever of them is faster.
fn assert_settled(
    existing: IfExists,
    [first, second]: [&[u8]; 2],
    found: &BTreeMap<String, Vec<u8>>,
    summaries: [Summary; 2],
    case: &str,
) {
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    let lost = summaries.iter().filter(|summary| summary.delivered == 0).count();
    let delivered = |k: usize| summaries[k].delivered == 1;
    if first == second {
        assert_eq!((names, lost), (vec!["a.bin"], 0), "{case}");
        assert_eq!(found["a.bin"], first, "{case}");
        return;
    }
    match existing {
        IfExists::Refuse | IfExists::Skip => {
            assert_eq!((names, lost), (vec!["a.bin"], 1), "{case}");
            let winner = if delivered(0) { first } else { second };
            assert_eq!(found["a.bin"], winner, "{case}: what was receipted stands");
            let said = |summary: &Summary| match existing {
                IfExists::Skip => summary.skipped,
                _ => summary.refused,
            };
            assert_eq!(summaries.iter().map(said).sum::<u64>(), 1, "{case}");
        }
        IfExists::Rename => {
            assert_eq!((names, lost), (vec!["a (1).bin", "a.bin"], 0), "{case}");
            let both = [&found["a.bin"][..], &found["a (1).bin"]];
            assert!(both == [first, second] || both == [second, first], "{case}");
        }
        IfExists::Replace => {
            assert_eq!((names, lost), (vec!["a.bin"], 0), "{case}");
            assert!([first, second].contains(&&found["a.bin"][..]), "{case}");
        }
        _ => panic!("a policy that this test does not know"),
    }
}

/// One session stops after each of its steps in turn, until another one has come and gone.
#[test]
fn second_session_at_any_step_of_the_first_is_settled_by_the_policy() {
    for existing in POLICIES {
        for way in WAYS {
            for is_same in [true, false] {
                let contents =
                    [content(1, way.len()), content(if is_same { 1 } else { 2 }, way.len())];
                let mut stop = 0;
                loop {
                    let folder = tempfile::tempdir().expect("a folder");
                    let store = FsStore::open(folder.path()).expect("a store").sync_threads(0);
                    let config = config(existing);
                    let [mut first, mut second] = [0, 1].map(|k| {
                        let source = || way.source(&contents[k]);
                        let mut pair = Pair::new(&config, source(), &config, store.clone());
                        // Of two senders: a session waits for another one of its own transfer.
                        pair.call_with(source(), sender(k));
                        if way == Way::ByRoot {
                            pair.bob.receiver.advertise_hash_first();
                        }
                        pair
                    });
                    let mut is_over = false;
                    for _ in 0..stop {
                        let steps = (first.step_alice(), first.step_bob());
                        is_over =
                            matches!(steps, (pair::Progress::Ended(_), pair::Progress::Ended(_)));
                    }
                    let ended = [second.run(), first.run()].map(|(sent, received)| {
                        let (pair::SessionEnd::Closed(sent), pair::SessionEnd::Closed(_)) =
                            (sent, received)
                        else {
                            panic!("{existing:?} {way:?} {stop}: {sent:?} {received:?}")
                        };
                        sent
                    });
                    let case = format!("{existing:?} {way:?} {is_same} after {stop} steps");
                    let contents = [&contents[1][..], &contents[0]];
                    assert_settled(
                        existing,
                        contents,
                        &files(&folder.path().join("d")),
                        ended,
                        &case,
                    );
                    if is_over {
                        break;
                    }
                    stop += 1;
                }
                assert!(stop > 10, "{stop} steps");
            }
        }
    }
}

/// A store in which no session goes on before all have begun their entry.
struct Gated {
    inner: FsStore,
    gate: Option<Arc<Barrier>>,
    by_root: bool,
}

impl Store for Gated {
    type File = FsFile;

    fn holds_content(&mut self) -> bool {
        self.by_root
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(FsFile, Found), Refusal> {
        let begun = self.inner.begin(offer, place);
        if let Some(gate) = self.gate.take() {
            assert!(matches!(begun, Ok((_, Found::Fresh))), "the name is free");
            gate.wait();
        }
        begun
    }

    fn read_at(&mut self, file: &mut FsFile, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read_at(file, at, buffer)
    }

    fn write_at(&mut self, file: &mut FsFile, at: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.inner.write_at(file, at, bytes)
    }

    fn copy_held(&mut self, file: &mut FsFile, at: u64, len: u64) -> Result<(), Refusal> {
        self.inner.copy_held(file, at, len)
    }

    fn commit(&mut self, file: FsFile, commit: Commit) {
        self.inner.commit(file, commit);
    }

    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<FsFile>)> {
        self.inner.poll_committed(wait)
    }

    fn suspend(&mut self, file: FsFile) {
        self.inner.suspend(file);
    }

    fn discard(&mut self, file: FsFile) {
        self.inner.discard(file);
    }
}

/// The same over the driver, with threads: both have begun before either is complete.
#[test]
fn two_drivers_with_one_new_name_are_settled_by_the_policy() {
    for existing in POLICIES {
        for way in WAYS {
            for is_same in [true, false] {
                for durability in [Durability::Received, Durability::Synced] {
                    let seed = if is_same { 1 } else { 2 };
                    let contents = [content(1, way.len()), content(seed, way.len())];
                    let folder = tempfile::tempdir().expect("a folder");
                    let store = FsStore::open(folder.path()).expect("a store");
                    let gate = Arc::new(Barrier::new(2));
                    let config = config(existing).durability(durability);
                    let summaries = thread::scope(|scope| {
                        let sessions = [0, 1].map(|k| {
                            let (alice, bob) =
                                memory::pipe(NonZeroUsize::new(1 << 16).expect("some"));
                            let mut store = Gated {
                                inner: store.clone(),
                                gate: Some(Arc::clone(&gate)),
                                by_root: way == Way::ByRoot,
                            };
                            let (ours, theirs) = (config.clone(), config.clone());
                            let received =
                                scope.spawn(move || Transfer::new(theirs).receive(&mut store, bob));
                            let mut source = way.source(&contents[k]);
                            let sent =
                                scope.spawn(move || Transfer::new(ours).send(&mut source, alice));
                            (sent, received)
                        });
                        sessions.map(|(sent, received)| {
                            let received = received.join().expect("no panic").expect("received");
                            let sent = sent.join().expect("no panic").expect("sent");
                            assert_eq!(sent.delivered, received.delivered);
                            sent
                        })
                    });
                    let case = format!("{existing:?} {way:?} {is_same} {durability}");
                    let contents = [&contents[0][..], &contents[1]];
                    let found = files(&folder.path().join("d"));
                    assert_settled(existing, contents, &found, summaries, &case);
                }
            }
        }
    }
}

/// Folders and links that both sessions bring.
#[test]
fn second_session_with_the_same_folders_and_links_succeeds_at_any_step() {
    let path = |name: &str| RelPath::parse(name.as_bytes()).expect("a good name");
    for existing in POLICIES {
        for (target, other) in [("x", "x"), ("x", "y")] {
            for stop in 0..200 {
                let folder = tempfile::tempdir().expect("a folder");
                let store = FsStore::open(folder.path()).expect("a store").sync_threads(0);
                let store = store.allow_links();
                let config = config(existing);
                let [mut first, mut second] = [target, other].map(|target| {
                    let source = MemorySource::new()
                        .link(path("d/l"), target.as_bytes())
                        .directory(path("d"));
                    Pair::new(&config, source, &config, store.clone())
                });
                for _ in 0..stop {
                    let _ = (first.step_alice(), first.step_bob());
                }
                let [second, first] = [second.run(), first.run()].map(|ended| match ended {
                    (pair::SessionEnd::Closed(sent), pair::SessionEnd::Closed(_)) => sent,
                    ended => panic!("{existing:?} {stop}: {ended:?}"),
                });
                let case = format!("{existing:?} {target} {other} after {stop} steps");
                let links = fs::read_dir(folder.path().join("d")).expect("a folder").count();
                let both = first.delivered + second.delivered;
                let (delivered, names) = match existing {
                    _ if target == other => (4, 1),
                    IfExists::Refuse | IfExists::Skip => (3, 1),
                    IfExists::Rename => (4, 2),
                    _ => (4, 1),
                };
                assert_eq!((both, links), (delivered, names), "{case}");
                let skipped = first.skipped + second.skipped;
                assert_eq!(skipped == 1, existing == IfExists::Skip && target != other, "{case}");
            }
        }
    }
}

/// A store in memory is one that sessions can share, too.
#[test]
fn second_session_at_any_step_over_a_store_in_memory_is_settled_by_the_policy() {
    for existing in POLICIES {
        for (first, second) in [(1, 1), (1, 2)] {
            for stop in 0..60 {
                let store = MemoryStore::new();
                let config = config(existing);
                let contents = [content(first, 3000), content(second, 3000)];
                let [mut first, mut second] = [0, 1].map(|k| {
                    let source = Way::Blocks.source(&contents[k]);
                    Pair::new(&config, source, &config, store.clone())
                });
                for _ in 0..stop {
                    let _ = (first.step_alice(), first.step_bob());
                }
                let ended = [second.run(), first.run()].map(|ended| match ended {
                    (pair::SessionEnd::Closed(sent), pair::SessionEnd::Closed(_)) => sent,
                    ended => panic!("{existing:?} {stop}: {ended:?}"),
                });
                let file = |(path, bytes): (RelPath, Arc<[u8]>)| {
                    (path.to_string().replace("d/", ""), bytes.to_vec())
                };
                let found = store.files().into_iter().map(file).collect();
                let case = format!("{existing:?} after {stop} steps");
                assert_settled(existing, [&contents[1], &contents[0]], &found, ended, &case);
                assert!(store.partials().is_empty(), "{case}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Three sessions whose steps come in any order.
    #[test]
    fn sessions_in_any_order_of_steps_are_settled_by_the_policy(
        existing in sample::select(&POLICIES[..]),
        way in sample::select(&WAYS[..]),
        seeds in proptest::array::uniform3(1..3_u64),
        schedule in proptest::collection::vec((0..3_usize, 1..30_usize), 0..40),
        last in Just([0, 1, 2]).prop_shuffle(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let store = FsStore::open(folder.path()).expect("a store").sync_threads(0);
        let config = config(existing);
        let contents = seeds.map(|seed| content(seed, way.len()));
        let mut pairs = [0, 1, 2].map(|k| {
            let bytes = &contents[k];
            let mut pair = Pair::new(&config, way.source(bytes), &config, store.clone());
            pair.call_with(way.source(bytes), sender(k));
            if way == Way::ByRoot {
                pair.bob.receiver.advertise_hash_first();
            }
            pair
        });
        for (who, steps) in schedule {
            for _ in 0..steps {
                let _ = (pairs[who].step_alice(), pairs[who].step_bob());
            }
        }
        let mut delivered = [false; 3];
        for who in last {
            let (pair::SessionEnd::Closed(sent), pair::SessionEnd::Closed(_)) = pairs[who].run() else {
                panic!("a session fails")
            };
            delivered[who] = sent.delivered == 1;
        }
        let found = files(&folder.path().join("d"));
        prop_assert!(found.keys().all(|name| name.starts_with('a')), "{:?}", found.keys());
        let stands = |bytes: &Vec<u8>| found.values().any(|held| held == bytes);
        for (bytes, delivered) in contents.iter().zip(delivered) {
            match existing {
                IfExists::Refuse | IfExists::Skip => prop_assert_eq!(delivered, stands(bytes)),
                IfExists::Rename => prop_assert!(delivered && stands(bytes)),
                // What was delivered may be replaced by then.
                _ => {}
            }
        }
        let distinct = contents.iter().collect::<BTreeSet<_>>().len();
        let names = if existing == IfExists::Rename { distinct } else { 1 };
        prop_assert_eq!(found.len(), names);
    }
}

/// Makes two transfers into one store, the second of which brings a name of the first under another number, and one
/// that differs from it by case alone.
fn receive_twice<S: Store + Send>(store: S) -> S
where
    S::File: Send,
{
    let mut transfer = Transfer::new(config(IfExists::Refuse));
    let mut store = store;
    for names in [&["a", "b"][..], &["b", "A"]] {
        let path = |name: &&str| RelPath::parse(name.as_bytes()).expect("a good name");
        let add = |source: MemorySource, name| source.file(path(name), content(1, 2000));
        let mut source = names.iter().fold(MemorySource::new(), add);
        let (alice, bob) = memory::pipe(NonZeroUsize::MIN);
        let (transfer, store) = (&mut transfer, &mut store);
        let summary = thread::scope(|scope| {
            scope.spawn(move || transfer.receive(store, bob).expect("received"));
            Transfer::new(Config::default()).send(&mut source, alice).expect("sent")
        });
        assert_eq!((summary.delivered, summary.refused), (2, 0), "{names:?}");
    }
    store
}

#[test]
fn names_of_one_transfer_are_not_held_against_those_of_the_next_in_one_store() {
    let store = receive_twice(MemoryStore::new());
    assert_eq!(store.files().len(), 3);
    let folder = tempfile::tempdir().expect("a folder");
    receive_twice(FsStore::open(folder.path()).expect("it is there"));
    let names = fs::read_dir(folder.path()).expect("it is there").count();
    assert_eq!(names, 3);
}
