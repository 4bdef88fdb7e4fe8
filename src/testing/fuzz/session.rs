//! Whole sessions: see [`super::session`].

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::super::choices::Choices;
use super::super::pair::{Pair, SessionEnd};
use super::super::store::{FaultSource, LateStore};
use super::moves::{Moves, NAMES, Way};
use super::scarce::Troubled;
use super::trouble::Trouble;
use super::{config, content, path};
use crate::config::{Compare, Config, IfExists};
use crate::store::{Foul, MemorySource, MemoryStore};
use crate::types::{Event, Meta, RelPath, Summary, Timestamp, TransferId};

/// Runs the body of the target.
pub(super) fn session(data: &[u8]) {
    let (data, mut moves) = Moves::of(data);
    let (data, trouble) = Trouble::of(data);
    let mut choices = Choices::new(data);
    let (mut ours, theirs) = (config(&mut choices), config(&mut choices));
    if moves.trusts_times() {
        ours = ours.compare(Compare::SizeAndTime);
    }
    let store = MemoryStore::new();
    let mut tree = Tree::first(&mut choices, &store, &moves);
    let mut world = World::new(&store, &theirs, &tree);
    let first = moves.late(trouble.store(&store, 0));
    let mut pair = Pair::new(&ours, moves.source(&tree.source), &theirs, first);
    for round in 1..=ROUNDS {
        if choices.is_empty() {
            break;
        }
        disturb(&mut pair, &store, &mut choices);
        let now = pair.now();
        moves.slow([&mut pair.down, &mut pair.up], now);
        let began = pair.now();
        pair.alice.events.clear();
        let mut fouls = moves.fouls();
        let (sent, _) = pair.run_with(|pair| {
            // At each step: a session without end would never come to what follows it.
            assert!(pair.now() - began < HOUR, "the session takes too long");
            world.observe();
            if let Some(foul) = fouls.next() {
                world.meddle(foul);
            }
        });
        world.check(&tree, &pair.alice.events);
        let is_done = if let SessionEnd::Closed(sum) = sent {
            assert_eq!(settled(&sum), tree.files.len() as u64, "a call leaves out some of it");
            true
        } else {
            false
        };
        store.set_capacity(MemoryStore::CAPACITY);
        let next = moves.late(trouble.store(&store, round.into()));
        let source = moves.source(&tree.source);
        match (moves.way(), choices.below(4)) {
            (Way::Other, _) => {
                tree = Tree::other(&mut moves, round);
                world.sends(&tree);
                let transfer = TransferId::new([round; 16]);
                pair.call_with(moves.source(&tree.source), transfer);
            }
            (Way::Sender, _) if !is_done => pair.restart_sender(source),
            (Way::Forgetful, _) if !is_done => pair.forget(source),
            (_, way) if trouble.calls_again() && (way == 0 || is_done) => {
                let again = pair.call_again();
                assert!(again.is_ok(), "a source in memory can be sent again: {again:?}");
            }
            (_, 0) => pair.restart(source, next),
            _ if is_done => pair.restart(source, next),
            (_, 1) => pair.reconnect(next),
            _ => pair.resume(),
        }
    }

    // However few descriptors there are, one will do.
    for next in [trouble.scarce_store(&store), Trouble::default().store(&store, 0)] {
        pair.restart(FaultSource::new(tree.source.clone()), LateStore::new(next, 0));
        pair.alice.events.clear();
        let ended = pair.run_with(|_| world.observe());
        let (SessionEnd::Closed(sent), SessionEnd::Closed(received)) = ended else {
            // Asserted on, so that the message shows how it ended.
            assert_eq!(ended, (SessionEnd::Lost, SessionEnd::Lost), "an undisturbed session fails");
            return;
        };
        assert_eq!(settled(&sent), tree.files.len() as u64, "{sent:?}");
        assert_eq!((sent.delivered, sent.bytes), (received.delivered, received.bytes));
        world.check(&tree, &pair.alice.events);
    }
}

/// Both sides of a session.
type Course = Pair<FaultSource<MemorySource>, LateStore<Troubled>>;

/// Entries that are sent in one call.
struct Tree {
    source: MemorySource,
    /// Of each entry: its name, and its content.
    files: Vec<(RelPath, Vec<u8>)>,
}

/// Content that may stand under each name, over all sessions.
struct World<'a> {
    store: &'a MemoryStore,
    existing: IfExists,
    before: BTreeMap<RelPath, Arc<[u8]>>,
    sent: Vec<Vec<u8>>,
    /// Content that somebody else put under a name.
    put: Vec<Vec<u8>>,
    /// Somebody moved files about: a receipt is of what stood there when it was committed.
    is_meddled: bool,
    last: BTreeMap<RelPath, Arc<[u8]>>,
    stood: Vec<(RelPath, Arc<[u8]>)>,
}

impl Tree {
    /// Builds the world that an input chooses, with older files in the way.
    fn first(choices: &mut Choices<'_>, store: &MemoryStore, moves: &Moves<'_>) -> Self {
        let mut tree = Self { source: MemorySource::new(), files: Vec::new() };
        for number in 0..choices.below(6) {
            let name = path(NAMES[usize::from(choices.below(8))]);
            let bytes = file(choices);
            if choices.rarely() {
                tree.source = tree.source.directory(name.clone());
                tree.files.push((name, Vec::new()));
                continue;
            }
            if choices.flag() {
                store.insert(name.clone(), older(&bytes, choices));
            }
            let size = if choices.flag() { None } else { Some(bytes.len() as u64) };
            let time = Timestamp::new(1, number.into()).filter(|_| moves.trusts_times());
            tree.add(Meta::file(name, size).modified(time), bytes);
        }
        tree
    }

    /// Others, of which some have the same names.
    fn other(moves: &mut Moves<'_>, round: u8) -> Self {
        let mut tree = Self { source: MemorySource::new(), files: Vec::new() };
        let choices = moves.choices();
        for number in 0..=choices.below(3) {
            let name = path(NAMES[usize::from(choices.below(8))]);
            let mut bytes = content(usize::from(choices.word() % 6000));
            let seed = 0x80 | (round << 3) | number;
            bytes.iter_mut().step_by(256).for_each(|byte| *byte ^= seed);
            let time = Timestamp::new(1 + i64::from(round), number.into());
            tree.add(Meta::file(name, Some(bytes.len() as u64)).modified(time), bytes);
        }
        tree
    }

    fn add(&mut self, meta: Meta, bytes: Vec<u8>) {
        let path = meta.path.clone();
        self.source = std::mem::take(&mut self.source).entry(meta, bytes.clone());
        self.files.push((path, bytes));
    }
}

impl<'a> World<'a> {
    fn new(store: &'a MemoryStore, theirs: &Config, tree: &Tree) -> Self {
        let before = store.files();
        let mut world = Self {
            store,
            existing: theirs.if_exists,
            last: before.clone(),
            before,
            sent: Vec::new(),
            put: Vec::new(),
            is_meddled: false,
            stood: Vec::new(),
        };
        world.sends(tree);
        world
    }

    fn sends(&mut self, tree: &Tree) {
        self.sent.extend(tree.files.iter().map(|(_, bytes)| bytes.clone()));
    }

    /// Notes what got a name.
    fn observe(&mut self) {
        let now = self.store.files();
        for (path, bytes) in &now {
            if !self.last.get(path).is_some_and(|last| Arc::ptr_eq(last, bytes)) {
                self.stood.push((path.clone(), Arc::clone(bytes)));
            }
        }
        self.last = now;
    }

    fn meddle(&mut self, foul: Foul) {
        if let Foul::SwapPartial(_, bytes) | Foul::Put(_, bytes) = &foul {
            self.put.push(bytes.clone());
        }
        self.is_meddled = true;
        self.store.meddle(foul);
        // What that did is no commit.
        self.last = self.store.files();
    }

    /// Checks that no name shows anything but what it held before, what was sent, or what somebody put there; and that
    /// receipts are true.
    fn check(&self, tree: &Tree, events: &[Event]) {
        let moved = |bytes: &[u8]| {
            let before = self.before.values().any(|old| **old == *bytes);
            self.is_meddled && (before || self.put.iter().any(|put| **put == *bytes))
        };
        for (path, bytes) in self.store.files() {
            let is_old = self.before.get(&path).is_some_and(|old| *old == bytes);
            let is_sent = self.sent.iter().any(|file| **file == *bytes);
            let is_known = is_old || is_sent || moved(&bytes);
            assert!(is_known, "{path} holds neither what was there nor what was sent");
        }
        for event in events {
            let Event::Delivered { entry, receipt } = event else { continue };
            let number = usize::try_from(entry.get()).unwrap_or(usize::MAX);
            assert!(number < tree.files.len(), "a receipt for {entry}, which was not sent");
            let (name, file) = &tree.files[number];
            let is_beside = self.existing == IfExists::Rename;
            assert!(
                is_beside || receipt.path == *name,
                "a receipt for {} and {name}",
                receipt.path
            );
            let held = self.store.get(receipt.path.as_bytes()).map(|entry| entry.bytes.to_vec());
            let is_held = held.as_ref() == Some(file);
            let stood =
                |(path, bytes): &(RelPath, Arc<[u8]>)| *path == receipt.path && **bytes == **file;
            let has_stood = self.is_meddled
                && (self.stood.iter().any(stood)
                    || self.before.get(&receipt.path).is_some_and(|old| **old == **file));
            assert!(is_held || has_stood, "the receipt for {} is false", receipt.path);
        }
    }
}

fn settled(sum: &Summary) -> u64 {
    sum.delivered + sum.skipped + sum.refused + sum.withdrawn + sum.trusted
}

/// Returns the content of a file: up to 10 KiB, in part zeros.
fn file(choices: &mut Choices<'_>) -> Vec<u8> {
    let len = usize::from(choices.word() % 10_240);
    let mut bytes = content(len);
    let seed = choices.byte();
    bytes.iter_mut().step_by(512).for_each(|byte| *byte ^= seed);
    let (from, to) = (usize::from(choices.word()), usize::from(choices.word()));
    if let Some(zeros) = bytes.get_mut(from..to) {
        zeros.fill(0);
    }
    bytes
}

/// Returns an older version of a file.
fn older(bytes: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut old = bytes.to_vec();
    match choices.below(4) {
        0 => {}
        1 => old.truncate(choices.word().into()),
        2 => old.extend_from_slice(&[choices.byte(); 1500]),
        _ => {
            let at = usize::from(choices.word());
            if let Some(byte) = old.get_mut(at) {
                *byte ^= 1;
            }
        }
    }
    old
}

/// Disturbs one connection.
fn disturb(pair: &mut Course, store: &MemoryStore, choices: &mut Choices<'_>) {
    for line in [&mut pair.down, &mut pair.up] {
        let kind = choices.below(8);
        // Positions near the start are met more often than those near the end, where all is repeated.
        let mut position = || u64::from(choices.word() % 16_384);
        match kind {
            1 | 2 => line.cut(position()),
            3 => line.stall(position()),
            4 => line.flip(position(), 1),
            5 => (0..3).for_each(|bit| line.flip(position(), 1 << bit)),
            _ => {}
        }
        if choices.flag() {
            line.piece(NonZeroUsize::MIN.saturating_add(choices.byte().into()));
        }
    }
    if choices.rarely() {
        store.set_capacity(choices.word().into());
    }
}

/// The most connections that are disturbed.
const ROUNDS: u8 = 6;

const HOUR: Duration = Duration::from_secs(3600);
