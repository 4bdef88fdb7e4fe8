//! Every operation of a store and of a source failing, each time that a small session asks for it: once, and from then on.
//!
//! Both sides run in one thread, and no time passes: whoever waits for something that does not come is found out. After each
//! session with failures stands what may stand, both sides have told the same, and a second session over the
//! same store, without failures, delivers everything.
//!
//! Pairs of failures are met in a tiny session, or with `HAUL_LONG=1` in all of them.
#![cfg(feature = "testing")]
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a switch of the tests, and helpers fail as tests do"
)]

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use haul::config::{Compare, Config, IfExists};
use haul::hash::BlockSize;
use haul::store::{MemorySource, MemoryStore, Store};
use haul::testing::pair::{Pair, Progress, SessionEnd};
use haul::testing::store::{
    Failure, Fault, FaultSource, FaultStore, SourceCall as Reading, StoreCall,
};
use haul::types::{
    AbortCode, Commit, Durability, EntryId, Event, Found, Kind, Meta, Offer, Place, Receipt,
    Refusal, RelPath, StoreOperation, Summary, Ticket, Timestamp, Withdrawal,
};

/// `EIO`, `ENOSPC`, `EDQUOT`, `EMFILE`, `EACCES`, `EROFS`, `ENAMETOOLONG`, `ELOOP`, `EXDEV`; and a sync that failed.
const ERRORS: [Failure; 10] = [
    EIO,
    Failure::Os(28),
    Failure::Os(122),
    EMFILE,
    Failure::Os(13),
    Failure::Os(30),
    Failure::Os(36),
    Failure::Os(40),
    Failure::Os(18),
    Failure::Refusal(Refusal::Sync { code: 5 }),
];

const EIO: Failure = Failure::Os(5);
const EMFILE: Failure = Failure::Os(24);

/// Content that stands before, and content that is sent.
struct Scene {
    name: &'static str,
    config: Config,
    sent: Vec<(Meta, Vec<u8>)>,
    visible: Vec<(Meta, Vec<u8>)>,
    partial: Vec<(Meta, Vec<u8>)>,
    /// Files that another program puts in place once the receiver writes.
    existing_files: Vec<(RelPath, Vec<u8>)>,
}

type Simulated = Pair<FaultSource<MemorySource>, FaultStore<MemoryStore>>;

/// Faults that are to happen.
#[derive(Debug, Clone, Default)]
struct Faults {
    store: Vec<(StoreCall, u64, Failure)>,
    source: Vec<(Reading, u64, Failure)>,
    for_ever: bool,
}

impl Faults {
    /// Returns whether an entry that is begun does not get a descriptor.
    fn lack_descriptors(&self) -> bool {
        self.store.iter().any(|fault| (fault.0, fault.2) == (StoreCall::Begin, EMFILE))
    }
}

/// Fate of each entry that a session without a cut has to report in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Delivered(Receipt),
    Trusted,
    Refused(Refusal),
    Withdrawn(Withdrawal),
}

fn path(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).unwrap()
}

fn content(seed: u32, len: usize) -> Vec<u8> {
    (seed..).map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).take(len).collect()
}

fn file(name: &str, bytes: &[u8]) -> (Meta, Vec<u8>) {
    (Meta::file(path(name), Some(bytes.len() as u64)), bytes.to_vec())
}

fn dated(name: &str, bytes: &[u8]) -> (Meta, Vec<u8>) {
    let (meta, bytes) = file(name, bytes);
    (meta.modified(Timestamp::new(7, 8)), bytes)
}

impl Scene {
    fn new(name: &'static str, existing: IfExists) -> Self {
        let config = Config::default().block_size(BlockSize::MIN).if_exists(existing);
        let (sent, visible, partial) = (Vec::new(), Vec::new(), Vec::new());
        Self { name, config, sent, visible, partial, existing_files: Vec::new() }
    }

    fn all() -> Vec<Self> {
        let long = content(1, 2058);
        let other = content(9, 2058);
        let mut replace = Self::new("replace", IfExists::Replace);
        replace.sent = vec![
            (Meta::directory(path("d")), Vec::new()),
            file("d/inline", b"five!"),
            file("empty", b""),
            file("fresh", &content(2, 3100)),
            file("old", &long),
            file("small-old", b"new"),
            file("part", &content(3, 2058)),
            file("equal", &long),
            (Meta::file(path("stream"), None), content(4, 2058)),
            (Meta::symlink(path("link"), (*b"d/inline").into()), Vec::new()),
        ];
        replace.visible = vec![
            file("old", &[&long[..1024], &other[..1034]].concat()),
            file("small-old", b"old"),
            file("equal", &long),
        ];
        replace.partial = vec![file("part", &content(3, 1024))];
        let mut conflict = Self::new("conflict", IfExists::Rename);
        conflict.sent = vec![file("a", &long), file("b", &long), file("small", b"sent")];
        conflict.visible = vec![file("small", b"held")];
        conflict.existing_files = vec![(path("a"), other), (path("b"), long.clone())];
        let mut by_time = Self::new("by-time", IfExists::Replace);
        by_time.config = by_time.config.compare(Compare::SizeAndTime);
        by_time.sent = vec![dated("same", &long), dated("other", &long), file("new", b"new")];
        by_time.visible = vec![dated("same", &long), dated("other", b"shorter")];
        vec![replace, conflict, by_time, Self::tiny()]
    }

    /// Returns two blocks, of which one is held; and a file that travels in its offer.
    fn tiny() -> Self {
        let mut tiny = Self::new("tiny", IfExists::Refuse);
        tiny.sent = vec![file("part", &content(3, 1100)), file("inline", b"five!")];
        tiny.partial = vec![file("part", &content(3, 1024))];
        tiny
    }

    fn store(&self) -> MemoryStore {
        let store = MemoryStore::new();
        for (meta, bytes) in &self.visible {
            put(&store, meta, bytes, true);
        }
        for (meta, bytes) in &self.partial {
            put(&store, meta, bytes, false);
        }
        // As another session sees it: it is none of its own names.
        store.clone()
    }

    fn pair(&self, store: &MemoryStore, faults: &Faults) -> Simulated {
        let source = self.sent.iter().fold(MemorySource::new(), |source, (meta, bytes)| {
            source.entry(meta.clone(), bytes.clone())
        });
        let mut source = FaultSource::new(source);
        for &(operation, call, failure) in &faults.source {
            let fault = if faults.for_ever { Fault::from } else { Fault::once };
            source = source.fault(fault(operation, call, failure));
        }
        let mut store = FaultStore::new(store.clone());
        for &(operation, call, failure) in &faults.store {
            let fault = if faults.for_ever { Fault::from } else { Fault::once };
            store = store.fault(fault(operation, call, failure));
        }
        Pair::new(&self.config, source, &self.config, store)
    }

    /// Runs to the end; with what both sides count. No failure of one entry is one of the session.
    fn run(
        &self,
        pair: &mut Simulated,
        existing_files: &[(RelPath, Vec<u8>)],
    ) -> (Summary, Summary) {
        let (SessionEnd::Closed(alice), SessionEnd::Closed(bob)) =
            self.run_to_an_end(pair, existing_files)
        else {
            panic!("{}: the session failed", self.name);
        };
        (alice, bob)
    }

    fn run_to_an_end(
        &self,
        pair: &mut Simulated,
        existing_files: &[(RelPath, Vec<u8>)],
    ) -> (SessionEnd, SessionEnd) {
        let mut existing_files = Some(existing_files);
        for _ in 0..STEPS {
            let steps = (pair.step_alice(), pair.step_bob());
            if pair.bob.store.calls(StoreCall::Write) > 0 {
                for (path, bytes) in existing_files.take().into_iter().flatten() {
                    pair.bob.store.inner().insert(path.clone(), bytes.clone());
                }
            }
            if let (Progress::Ended(alice), Progress::Ended(bob)) = steps {
                assert_eq!(pair.now(), Duration::ZERO);
                return (alice, bob);
            }
        }
        panic!("{}: somebody waits for what does not come", self.name);
    }

    /// Runs with failures, then without.
    fn check(&self, faults: &Faults) -> Counts {
        let store = self.store();
        let mut pair = self.pair(&store, faults);
        let (alice, bob) = self.run(&mut pair, &self.existing_files);
        let counts = Counts::of(&pair);
        let fates = self.check_told(&pair, alice, bob);
        self.check_visible(&store);
        for fate in fates.values() {
            match fate {
                Fate::Delivered(_) | Fate::Trusted => {}
                Fate::Refused(reason) => {
                    let given =
                        faults.store.iter().any(|fault| refusal(fault.0, fault.2) == *reason);
                    assert!(given, "{fate:?}");
                }
                Fate::Withdrawn(reason) => {
                    let given = faults.source.iter().any(|fault| fault.2.withdrawal() == *reason);
                    assert!(given, "{fate:?}");
                }
            }
        }
        drop(pair);
        self.check_again(&store, faults);
        counts
    }

    /// Runs without failures after one with these.
    fn check_again(&self, store: &MemoryStore, faults: &Faults) {
        let mut pair = self.pair(store, &Faults::default());
        let (alice, bob) = self.run(&mut pair, &[]);
        self.check_told(&pair, alice, bob);
        self.check_visible(store);
        assert!(alice.is_complete(), "{alice:?}");
        self.check_complete(store, faults);
    }

    /// Runs without a descriptor for what is to be begun, then with enough. Gives whether the session ended, as one that may come
    /// again.
    fn check_without_descriptors(&self, faults: &Faults) -> bool {
        let store = self.store();
        let mut pair = self.pair(&store, faults);
        let ended = self.run_to_an_end(&mut pair, &self.existing_files);
        let is_ended = match ended {
            (SessionEnd::Closed(alice), SessionEnd::Closed(bob)) => {
                self.check_told(&pair, alice, bob);
                false
            }
            (SessionEnd::Failed(alice), SessionEnd::Failed(bob)) => {
                assert!(alice.is_transient() && bob.is_transient(), "{ended:?}");
                assert_eq!(bob.abort_code(), Some(AbortCode::Exhausted), "{ended:?}");
                true
            }
            _ => panic!("{ended:?}"),
        };
        assert!(pair.bob.store.failed() > 0);
        let refused = pair.bob.events.iter().any(
            |event| matches!(event, Event::Refused { reason, .. } if reason.is_fd_exhaustion()),
        );
        assert!(!refused, "what passes is no reason to refuse an entry");
        self.check_visible(&store);
        drop(pair);
        self.check_again(&store, faults);
        is_ended
    }

    /// Checks that both sides report the same of each entry, and once; and that a receipt is of
    /// what stands, whole.
    fn check_told(
        &self,
        pair: &Simulated,
        alice: Summary,
        bob: Summary,
    ) -> BTreeMap<EntryId, Fate> {
        let store = pair.bob.store.inner();
        let fates = fates(&pair.alice.events);
        let mut heard = fates.clone();
        // What could not be opened to be sent in its offer was never offered.
        heard.retain(|entry, fate| {
            let is_offered = |event: &Event| matches!(event, Event::Offered { entry: offered, .. } if offered == entry);
            let offered = pair.bob.events.iter().any(is_offered);
            assert!(offered || matches!(fate, Fate::Withdrawn(_)), "{entry} {fate:?}");
            offered
        });
        let told = self::fates(&pair.bob.events);
        // Of what one side withdraws and the other refuses in the same turn, each tells its own.
        if pair.alice.source.failed() > 0 {
            for (entry, fate) in &mut heard {
                let refused = told.get(entry).filter(|told| matches!(told, Fate::Refused(_)));
                if let (Fate::Withdrawn(_), Some(refused)) = (&*fate, refused) {
                    *fate = refused.clone();
                }
            }
        }
        assert_eq!(heard, told);
        let unsendable = pair.alice.source.calls(Reading::Next) - fates.len() as u64;
        assert_eq!(pair.alice.source.calls(Reading::Next), self.sent.len() as u64);
        let count = |of: &BTreeMap<_, _>, is: fn(&Fate) -> bool| {
            of.values().filter(|fate| is(fate)).count() as u64
        };
        let counted = |of: &BTreeMap<_, _>| {
            [
                count(of, |fate| matches!(fate, Fate::Delivered(_))),
                count(of, |fate| matches!(fate, Fate::Refused(_))),
                count(of, |fate| matches!(fate, Fate::Withdrawn(_))),
            ]
        };
        let sums = |of: Summary| [of.delivered, of.refused, of.withdrawn];
        assert_eq!(
            sums(alice),
            std::array::from_fn(|i| counted(&fates)[i] + [0, 0, unsendable][i])
        );
        assert_eq!(sums(bob), counted(&told));
        for event in &pair.alice.events {
            let Event::Delivered { entry, receipt } = event else { continue };
            let offered = pair.alice.events.iter().find_map(|event| match event {
                Event::Offered { entry: offered, path, .. } if offered == entry => Some(path),
                _ => None,
            });
            let (meta, bytes) = self.sent(offered.expect("it was offered"));
            let held = store.get(receipt.path.as_bytes()).expect("what has a receipt stands");
            assert_eq!((&held.kind, &*held.bytes), (&meta.kind, &**bytes), "{}", receipt.path);
            if meta.kind == Kind::File {
                assert_eq!(receipt.size, bytes.len() as u64);
                assert_eq!(receipt.hash.as_bytes(), blake3::hash(bytes).as_bytes());
            }
        }
        fates
    }

    fn sent(&self, name: &RelPath) -> &(Meta, Vec<u8>) {
        self.sent.iter().find(|(meta, _)| meta.path == *name).expect("nobody sent it")
    }

    /// Checks that a visible name holds what was sent, or what it held before.
    fn check_visible(&self, store: &MemoryStore) {
        let existing = store.entries();
        for (name, entry) in &existing {
            let before = self.visible.iter().any(|(meta, bytes)| {
                meta.path == *name && meta.kind == entry.kind && **bytes == *entry.bytes
            });
            let is_existing = self
                .existing_files
                .iter()
                .any(|(path, bytes)| path == name && **bytes == *entry.bytes);
            let sent = self.sent.iter().any(|(meta, bytes)| {
                let is_name = meta.path == *name || self.is_beside(&meta.path, name);
                is_name && meta.kind == entry.kind && **bytes == *entry.bytes
            });
            // A folder on the way to an entry.
            let way = entry.kind == Kind::Directory
                && self.sent.iter().any(|(meta, _)| meta.path.parent().as_ref() == Some(name));
            assert!(before || is_existing || sent || way, "{name} holds what it must not");
        }
        for (meta, _) in &self.visible {
            assert!(existing.contains_key(&meta.path), "{} is gone", meta.path);
        }
    }

    fn is_beside(&self, offered: &RelPath, name: &RelPath) -> bool {
        let beside = [offered.as_bytes(), b" (1)"].concat();
        self.config.if_exists == IfExists::Rename && name.as_bytes() == beside
    }

    /// Checks that everything stands, once, and that no partial file is left.
    fn check_complete(&self, store: &MemoryStore, faults: &Faults) {
        // What cannot be read is not known to be equal: then the same stands beside it.
        let is_unread = faults.store.iter().any(|fault| fault.0 == StoreCall::Read);
        let most = if self.config.if_exists == IfExists::Rename && is_unread { 2 } else { 1 };
        let existing = store.entries();
        for (meta, bytes) in &self.sent {
            let copies = existing.iter().filter(|(name, entry)| {
                (**name == meta.path || self.is_beside(&meta.path, name))
                    && **bytes == *entry.bytes
                    && meta.kind == entry.kind
            });
            let copies = copies.count();
            assert!((1..=most).contains(&copies), "{}: {copies}", meta.path);
        }
        assert_eq!(store.partials(), [], "left over");
    }
}

/// Returns the refusal of an entry: the operation is named where the system's error does not give enough.
fn refusal(operation: StoreCall, failure: Failure) -> Refusal {
    let named = match operation {
        StoreCall::Begin => StoreOperation::Open,
        StoreCall::Read => StoreOperation::Read,
        StoreCall::Write => StoreOperation::Write,
        StoreCall::Copy => StoreOperation::Copy,
        StoreCall::Commit | StoreCall::Settle => StoreOperation::Commit,
        _ => StoreOperation::Unspecified,
    };
    match (operation, failure) {
        // A read can give no refusal.
        (StoreCall::Read, Failure::Refusal(_)) => Refusal::Store { code: 0, operation: named },
        _ => match failure.refusal(operation) {
            Refusal::Store { code, .. } => Refusal::Store { code, operation: named },
            refusal => refusal,
        },
    }
}

/// More than any session here takes.
const STEPS: u32 = 10_000;

/// Brings a file into a store, under its name or as a partial file.
fn put(store: &MemoryStore, meta: &Meta, bytes: &[u8], is_whole: bool) {
    let offer = Offer::new(EntryId::new(0), meta.clone(), BlockSize::MIN);
    let mut store = store.clone();
    // An earlier attempt at the transfer of the pair: a partial file is that of its transfer alone.
    store.serve(haul::TransferId::new(*b"a simulated pair"));
    let Ok((mut file, Found::Fresh)) = store.begin(&offer, Place::Offered) else {
        panic!("{}: it does not begin", meta.path)
    };
    store.write_at(&mut file, 0, bytes).unwrap();
    if is_whole {
        let size = bytes.len() as u64;
        let (ticket, durability) = (Ticket::new([0; 16], 0), Durability::Synced);
        store.commit(
            file,
            Commit::new(ticket, offer.entry, meta.clone(), Place::Offered, size, durability),
        );
        assert!(matches!(store.poll_committed(Duration::ZERO), Some((_, Ok(_)))));
    } else {
        store.suspend(file);
    }
}

fn fates(events: &[Event]) -> BTreeMap<EntryId, Fate> {
    let mut fates = BTreeMap::new();
    for event in events {
        let (entry, fate) = match event {
            Event::Delivered { entry, receipt } => (entry, Fate::Delivered(receipt.clone())),
            Event::Trusted { entry, .. } => (entry, Fate::Trusted),
            Event::Refused { entry, reason, .. } => (entry, Fate::Refused(*reason)),
            Event::Withdrawn { entry, reason, .. } => (entry, Fate::Withdrawn(*reason)),
            _ => continue,
        };
        assert_eq!(fates.insert(*entry, fate), None, "{event:?} is not the first word");
    }
    fates
}

/// Number of calls of each operation, and number of calls that failed.
struct Counts {
    store: [u64; StoreCall::ALL.len()],
    source: [u64; Reading::ALL.len()],
    failed: u64,
}

impl Counts {
    fn of(pair: &Simulated) -> Self {
        Self {
            store: StoreCall::ALL.map(|operation| pair.bob.store.calls(operation)),
            source: Reading::ALL.map(|operation| pair.alice.source.calls(operation)),
            failed: pair.bob.store.failed() + pair.alice.source.failed(),
        }
    }

    /// Returns one fault for each call.
    fn faults(&self, failure: Failure) -> Vec<Faults> {
        let store = StoreCall::ALL.into_iter().zip(self.store).flat_map(|(operation, calls)| {
            (0..calls).map(move |call| Faults {
                store: vec![(operation, call, failure)],
                ..Faults::default()
            })
        });
        let source = Reading::ALL.into_iter().zip(self.source).flat_map(|(operation, calls)| {
            (0..calls).map(move |call| Faults {
                source: vec![(operation, call, failure)],
                ..Faults::default()
            })
        });
        store.chain(source).collect()
    }
}

/// Names the case if anything panics.
fn in_case<T>(case: impl FnOnce() -> T, name: &dyn std::fmt::Debug) -> T {
    struct Named<'a>(&'a dyn std::fmt::Debug);
    impl Drop for Named<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                println!("in {:?}", self.0);
            }
        }
    }
    let named = Named(name);
    let done = case();
    drop(named);
    done
}

#[test]
fn each_operation_that_fails_is_told_to_both_sides_and_the_next_session_completes() {
    let mut met = [0; StoreCall::ALL.len()];
    let mut cases = 0;
    for scene in Scene::all() {
        let calls = scene.check(&Faults::default());
        assert_eq!(calls.failed, 0);
        for (met, calls) in met.iter_mut().zip(calls.store) {
            *met += calls;
        }
        for failure in ERRORS {
            let faults = calls.faults(failure).into_iter();
            for faults in faults.filter(|faults| !faults.lack_descriptors()) {
                for for_ever in [false, true] {
                    let faults = Faults { for_ever, ..faults.clone() };
                    let failed = in_case(|| scene.check(&faults), &(scene.name, &faults)).failed;
                    assert!(failed >= 1, "{faults:?}");
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} cases, {met:?}");
    assert!(met.iter().all(|calls| *calls > 0), "{met:?}: an operation was not asked for");
}

/// A passing failure refuses nothing if it can be waited for.
#[test]
fn entry_that_cannot_be_begun_for_want_of_descriptors_is_put_off_or_ends_the_session() {
    // Put off, and ended.
    let mut met = [0; 2];
    for scene in Scene::all() {
        let calls = scene.check(&Faults::default());
        let faults = calls.faults(EMFILE).into_iter();
        for faults in faults.filter(Faults::lack_descriptors) {
            for for_ever in [false, true] {
                let faults = Faults { for_ever, ..faults.clone() };
                let check = || scene.check_without_descriptors(&faults);
                let found = in_case(check, &(scene.name, &faults));
                met[usize::from(found)] += 1;
            }
        }
    }
    println!("{met:?}");
    assert!(met.iter().all(|count| *count > 0), "{met:?}");
}

#[test]
fn any_two_operations_that_fail_are_told_to_both_sides_and_the_next_session_completes() {
    let mut cases = 0;
    let is_long = std::env::var_os("HAUL_LONG").is_some();
    for scene in if is_long { Scene::all() } else { vec![Scene::tiny()] } {
        for first in scene.check(&Faults::default()).faults(EIO) {
            // What the session asks for once the first has failed.
            for second in scene.check(&first).faults(Failure::Os(28)) {
                let faults = Faults {
                    store: [&*first.store, &*second.store].concat(),
                    source: [&*first.source, &*second.source].concat(),
                    for_ever: false,
                };
                in_case(|| scene.check(&faults), &(scene.name, &faults));
                cases += 1;
            }
        }
    }
    println!("{cases} cases");
}

#[test]
fn entry_refused_and_withdrawn_in_one_turn_is_told_and_counted_once_at_each_side() {
    let mut scene = Scene::tiny();
    scene.sent = vec![file("part", &content(3, 3100))];
    let faults = Faults {
        store: vec![(StoreCall::Write, 0, EIO)],
        source: vec![(Reading::Read, 2, EIO)],
        for_ever: false,
    };
    scene.check(&faults);
    let mut pair = scene.pair(&scene.store(), &faults);
    let (alice, bob) = scene.run(&mut pair, &[]);
    let sums = |of: Summary| (of.refused, of.withdrawn);
    assert_eq!((sums(alice), sums(bob)), ((0, 1), (1, 0)));
}

#[test]
fn read_that_is_interrupted_or_has_nothing_yet_changes_nothing() {
    for scene in Scene::all() {
        for kind in [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock] {
            for call in 0..scene.check(&Faults::default()).source[Reading::Read as usize] {
                let source = vec![(Reading::Read, call, Failure::Io(kind))];
                let faults = Faults { source, ..Faults::default() };
                let store = scene.store();
                let mut pair = scene.pair(&store, &faults);
                let (alice, _) = scene.run(&mut pair, &scene.existing_files);
                assert!(alice.is_complete() && pair.alice.source.failed() == 1, "{alice:?}");
                scene.check_complete(&store, &faults);
            }
        }
    }
}
