//! The sessions that a driver is checked with.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use super::Driver;
use super::lent::Lent;
use super::log::{Log, Side};
use super::stream::{Pace, Watched};
use super::told::Told;
use crate::config::{Compare, Config, IfExists};
use crate::hash::{BlockSize, Hash};
use crate::store::{MemorySource, MemoryStore};
use crate::testing::store::LateStore;
use crate::transport::memory;
use crate::types::{Event, Meta, Receipt, RelPath, Summary, Timestamp};

pub(super) const BLOCK: usize = 4096;
/// Four blocks and a piece.
pub(super) const LONG: usize = 4 * BLOCK + 100;

/// Setting that a driver is given, over and over.
pub(super) struct Stage<'d, D> {
    pub(super) driver: &'d D,
    capacity: NonZeroUsize,
    name: &'static str,
    pub(super) store: MemoryStore,
    pub(super) config: Config,
    /// Number of read bytes after which the receiver's stream is cut.
    cut: Option<usize>,
    /// Number of times that the store is asked in vain whether a commit has ended.
    polls: u32,
    /// Time that a commit takes.
    pub(super) commits: Duration,
    /// Pace of the lines of both sides.
    pub(super) sending: Pace,
    pub(super) receiving: Pace,
}

/// Outcome of a session, for both sides.
pub(super) struct Session {
    pub(super) sent: Result<Summary, String>,
    pub(super) received: Result<Summary, String>,
    receipts: Vec<Receipt>,
    pub(super) sender: Log,
}

/// Returns content that differs in every block, and by seed.
pub(super) fn content(seed: u8, len: usize) -> Vec<u8> {
    let block = |number: u8| [seed.wrapping_mul(31).wrapping_add(number); BLOCK];
    (0..).flat_map(block).take(len).collect()
}

pub(super) fn path(name: &str) -> RelPath {
    match RelPath::parse(name.as_bytes()) {
        Ok(path) => path,
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Returns a file that was changed at some time.
fn dated(source: MemorySource, name: &str, bytes: Vec<u8>) -> MemorySource {
    let mut meta = Meta::file(path(name), Some(bytes.len() as u64));
    meta.modified = Timestamp::new(1_000_000, 0);
    source.entry(meta, bytes)
}

impl<'d, D: Driver + Sync> Stage<'d, D> {
    pub(super) fn new(driver: &'d D, capacity: NonZeroUsize, name: &'static str) -> Self {
        Self {
            driver,
            capacity,
            name,
            store: MemoryStore::new(),
            config: Config::default().block_size(BlockSize::at_most(BLOCK as u64)),
            cut: None,
            polls: 0,
            commits: Duration::ZERO,
            sending: Pace::default(),
            receiving: Pace::default(),
        }
    }

    fn if_exists(mut self, existing: IfExists) -> Self {
        self.config = self.config.if_exists(existing);
        self
    }

    fn run(&self, source: &MemorySource) -> Session {
        self.run_from(&mut Told::new(source.clone(), &Log::new(Side::Sender)))
    }

    pub(super) fn run_from(&self, source: &mut Told<MemorySource>) -> Session {
        let (sender, receiver) = (Log::new(Side::Sender), Log::new(Side::Receiver));
        source.again(&sender);
        let (alice, bob) = memory::pipe(self.capacity);
        let alice = Watched::new(alice, self.capacity, &sender).pace(self.sending);
        let bob = Watched::new(bob, self.capacity, &receiver).pace(self.receiving).cut(self.cut);
        let late = LateStore::new(self.store.clone(), self.polls);
        let mut store = Lent::new(late, self.commits, &receiver);
        let mut receipts = Vec::new();
        let mut heard = Vec::new();
        let (sent, received) = thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                let mut tell = |event: &Event| {
                    receiver.tell(event);
                    heard.extend(receipt(event));
                };
                let received =
                    self.driver.receive(&self.config, &mut store, bob, &receiver, &mut tell);
                received.map_err(|error| error.to_string())
            });
            let mut tell = |event: &Event| {
                sender.tell(event);
                receipts.extend(receipt(event));
            };
            let sent = self.driver.send(&self.config, source, alice, &sender, &mut tell);
            let received = match receiving.join() {
                Ok(received) => received,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            (sent.map_err(|error| error.to_string()), received)
        });
        for (side, log) in [("sender", &sender), ("receiver", &receiver)] {
            if let Some(fault) = log.verdict() {
                panic!("{}: the {side}: {fault}", self.name);
            }
        }
        if sent.is_ok() {
            assert!(receipts == heard, "{}: what is told differs at the two sides", self.name);
        }
        Session { sent, received, receipts, sender }
    }

    /// Runs a session that has to succeed, for its sums at the sender.
    pub(super) fn deliver(&self, source: &MemorySource) -> Summary {
        self.settle(self.run(source)).0
    }

    /// Checks a session that has to succeed, and gives its sums and the log of the sender.
    pub(super) fn settle(&self, session: Session) -> (Summary, Log) {
        let Session { sent, received, receipts, sender } = session;
        let name = self.name;
        let (sent, received) = match (sent, received) {
            (Ok(sent), Ok(received)) => (sent, received),
            (sent, received) => panic!("{name}: the sender {sent:?}, the receiver {received:?}"),
        };
        let settled =
            |sum: Summary| [sum.delivered, sum.held, sum.trusted, sum.skipped, sum.refused];
        assert_eq!(settled(sent), settled(received), "{name}: the sides count differently");
        assert_eq!(receipts.len() as u64, sent.delivered, "{name}: receipts that were told");
        let files = self.store.files();
        for receipt in receipts.iter().filter(|receipt| receipt.size > 0) {
            let root = files.get(&receipt.path).map(|bytes| Hash::of(bytes));
            assert_eq!(root, Some(receipt.hash), "{name}: a receipt for {}", receipt.path);
        }
        (sent, sender)
    }

    pub(super) fn holds(&self, files: &[(&str, Vec<u8>)]) {
        let expected: BTreeMap<_, _> =
            files.iter().map(|(name, bytes)| (path(name), bytes.clone())).collect();
        let held = self.store.files();
        let held: BTreeMap<_, _> =
            held.into_iter().map(|(path, bytes)| (path, bytes.to_vec())).collect();
        assert!(held.keys().eq(expected.keys()), "{}: {:?}", self.name, held.keys());
        assert!(held == expected, "{}: content differs", self.name);
    }
}

fn receipt(event: &Event) -> Option<Receipt> {
    if let Event::Delivered { receipt, .. } = event { Some(receipt.clone()) } else { None }
}

/// Runs all of them.
pub(super) fn all<D: Driver + Sync>(driver: &D, capacity: NonZeroUsize) {
    let stage = |name| Stage::new(driver, capacity, name);
    let long = || content(1, LONG);
    let one = || MemorySource::new().file(path("a"), long());

    let new = stage("new files");
    let source = one()
        .file(path("empty"), Vec::new())
        .directory(path("folder"))
        .file(path("folder/short"), content(2, 100))
        .link(path("link"), *b"a");
    assert_eq!(new.deliver(&source).delivered, 5);
    new.holds(&[("a", long()), ("empty", Vec::new()), ("folder/short", content(2, 100))]);

    for (name, held) in [
        ("an equal file is replaced", long()),
        ("a file that differs in one block is replaced", {
            let mut held = long();
            held[BLOCK + 1] ^= 1;
            held
        }),
        ("a longer file is replaced", content(3, 2 * LONG)),
        ("a shorter file is replaced", content(1, 2 * BLOCK)),
    ] {
        let replaced = stage(name).if_exists(IfExists::Replace);
        replaced.store.insert(path("a"), held.clone());
        let sum = replaced.deliver(&one().file(path("b"), content(4, LONG)));
        assert_eq!((sum.delivered, sum.held), (2, u64::from(held == long())), "{name}");
        replaced.holds(&[("a", long()), ("b", content(4, LONG))]);
    }

    for (existing, delivered, beside) in
        [(IfExists::Rename, 2, true), (IfExists::Refuse, 1, false), (IfExists::Skip, 1, false)]
    {
        let taken = stage("a name that is taken").if_exists(existing);
        taken.store.insert(path("a"), content(5, LONG));
        let sum = taken.deliver(&one().file(path("b"), content(4, LONG)));
        assert_eq!((sum.delivered, sum.skipped + sum.refused), (delivered, 2 - delivered));
        let mut files = vec![("a", content(5, LONG)), ("b", content(4, LONG))];
        files.extend(beside.then(|| ("a (1)", long())));
        taken.holds(&files);
    }

    let mut by_time = stage("unchanged by time").if_exists(IfExists::Replace);
    by_time.config = by_time.config.compare(Compare::SizeAndTime);
    let source = dated(dated(MemorySource::new(), "a", long()), "b", content(2, 10));
    assert_eq!(by_time.deliver(&source).delivered, 2);
    // A driver need not say that times can be compared; then the content is.
    let sum = by_time.deliver(&dated(source, "c", content(6, LONG)));
    assert_eq!((sum.trusted + sum.held, sum.delivered + sum.trusted), (2, 3));
    by_time.holds(&[("a", long()), ("b", content(2, 10)), ("c", content(6, LONG))]);

    for cut in [200, 600, BLOCK + 1000, 3 * BLOCK, LONG] {
        let mut resumed = stage("a session that is cut and resumed");
        resumed.cut = Some(cut);
        let session = resumed.run(&one());
        let (sent, received) = (session.sent, session.received);
        assert!(sent.is_err() && received.is_err(), "cut after {cut}: {sent:?}, {received:?}");
        resumed.cut = None;
        let sum = resumed.deliver(&one());
        let most = if cut < BLOCK + 1000 { LONG } else { LONG - 1 };
        assert!(sum.delivered == 1 && sum.sent <= most as u64, "cut after {cut}: {sum:?}");
        resumed.holds(&[("a", long())]);
    }

    let mut full = stage("a store that is full");
    full.store = MemoryStore::with_capacity(3 * BLOCK as u64);
    let sum = full.deliver(&one().file(path("b"), content(2, 100)));
    assert_eq!((sum.delivered, sum.refused), (1, 1));
    full.holds(&[("b", content(2, 100))]);

    let mut late = stage("commits that end late");
    late.polls = 5;
    let mut source = MemorySource::new();
    let names: Vec<String> = (0..20).map(|number| format!("{number}")).collect();
    for (seed, name) in (0..).zip(&names) {
        source = source.file(path(name), content(seed, 100 * usize::from(seed)));
    }
    assert_eq!(late.deliver(&source).delivered, 20);
    let expected = (0..)
        .zip(&names)
        .map(|(seed, name)| (name.as_str(), content(seed, 100 * usize::from(seed))));
    late.holds(&expected.collect::<Vec<_>>());
}
