//! The bodies of the fuzz targets. Each takes any bytes, and panics if a promise is broken.
//!
//! They are ordinary functions so that they are compiled, linted and run over their corpora with the tests; the
//! targets under `fuzz/` only call them.

#[cfg(test)]
#[cfg(feature = "fs")]
mod keeps;
mod lines;
mod moves;
#[cfg(test)]
#[cfg(feature = "fs")]
mod root;
mod scarce;
mod session;
mod trouble;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use super::choices::Choices;
use super::pair::{Alice, Bob, Progress};
use crate::config::{Config, Deadlines, IfExists, Limits, Turn};
use crate::hash::{BlockSize, Hash};
use crate::plain::{self, ChunkSize};
use crate::store::{MemorySource, MemoryStore, Source, Store};
use crate::testing::forge::Forger;
use crate::types::{Event, Meta, RelPath};

/// Runs a receiver against any bytes, and against well sealed messages of any content.
///
/// What a receiver vouches for must be what its store holds.
///
/// # Panics
///
/// If a promise is broken.
pub fn receiver_bytes(data: &[u8]) {
    forged_sender(data);
}

/// Gives what the receiver reported.
fn forged_sender(data: &[u8]) -> Vec<Event> {
    let mut choices = Choices::new(data);
    let content = content(8 * 1024);
    let store = MemoryStore::with_capacity(64 * 1024);
    for (name, bytes) in old(&mut choices, &content) {
        store.insert(name, bytes);
    }
    let config = config(&mut choices);
    let mut bob = Bob::new(&config, store.clone());
    if choices.flag() {
        raw(choices.rest(), |now, input, out| bob.step(now, input, out));
        return bob.events;
    }
    forge(&mut bob, &content, &mut choices, |_| ());
    for event in &bob.events {
        if let Event::Delivered { receipt, .. } = event {
            // A later entry may have taken the place of this one.
            let is_last = last_receipt(&bob.events, &receipt.path) == Some(receipt.hash);
            let held = store.get(receipt.path.as_bytes());
            let is_true = held.is_some_and(|entry| Hash::of(&entry.bytes) == receipt.hash);
            assert!(!is_last || is_true, "a false receipt for {}", receipt.path);
        }
    }
    for (path, bytes) in store.files() {
        assert!(content.starts_with(&bytes), "{path} holds what nobody sent");
    }
    bob.events
}

/// Returns the files that a receiver has before.
fn old(choices: &mut Choices<'_>, content: &[u8]) -> Vec<(RelPath, Vec<u8>)> {
    let mut old = Vec::new();
    for name in [&b"a"[..], b"c/d"] {
        if choices.flag() {
            old.push((path(name), content[..512 * usize::from(choices.below(17))].to_vec()));
        }
    }
    old
}

/// Runs a receiver against well sealed messages, until it ends; `between` sees it after each step.
fn forge<T: Store>(
    bob: &mut Bob<T>,
    content: &[u8],
    choices: &mut Choices<'_>,
    mut between: impl FnMut(&Bob<T>),
) {
    let mut forger = Forger::sender(content);
    let mut now = Duration::ZERO;
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    forger.greet(choices, &mut said);
    forger.pass(&mut said);
    loop {
        let progress = bob.step(now, &said, &mut heard);
        between(bob);
        match progress {
            Progress::Moved(consumed) => drop(said.drain(..consumed)),
            Progress::Ended(_) => return,
            Progress::Idle(until) if choices.is_empty() => now = later(now, until),
            Progress::Idle(_) => {
                forger.bind(&heard);
                now += Duration::from_millis(choices.byte().into());
                forger.chat(choices, &mut said);
            }
        }
    }
}

/// Runs a sender against any bytes, and against well sealed messages of any content.
///
/// A receipt that a sender believes must be of its file.
///
/// # Panics
///
/// If a promise is broken.
pub fn sender_bytes(data: &[u8]) {
    forged_receiver(data);
}

/// Gives what the sender reported.
fn forged_receiver(data: &[u8]) -> Vec<Event> {
    let mut choices = Choices::new(data);
    let content = content(8 * 1024);
    let mut source = MemorySource::new();
    let mut files = BTreeMap::new();
    for (number, name) in ["a", "b", "c/d", "e"].iter().take(choices.below(5).into()).enumerate() {
        let bytes = &content[..512 * usize::from(choices.below(17))];
        let size = if choices.flag() { None } else { Some(bytes.len() as u64) };
        source = source.entry(Meta::file(path(name.as_bytes()), size), bytes);
        files.insert(number, Hash::of(bytes));
    }
    let config = config(&mut choices);
    let mut alice = Alice::new(&config, source);
    if choices.flag() {
        raw(choices.rest(), |now, input, out| alice.step(now, input, out));
    } else {
        forge_answers(&mut alice, &content, &mut choices);
    }
    for event in &alice.events {
        if let Event::Delivered { entry, receipt } = event {
            let number = usize::try_from(entry.get()).unwrap_or(usize::MAX);
            assert_eq!(files.get(&number), Some(&receipt.hash), "a false receipt was believed");
        }
    }
    alice.events
}

/// Runs a sender against well sealed messages, until it ends.
fn forge_answers<S: Source>(alice: &mut Alice<S>, content: &[u8], choices: &mut Choices<'_>) {
    let mut forger = Forger::receiver(content);
    let mut now = Duration::ZERO;
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    let mut greeted = false;
    loop {
        match alice.step(now, &said, &mut heard) {
            Progress::Moved(consumed) => drop(said.drain(..consumed)),
            Progress::Ended(_) => return,
            Progress::Idle(_) if !greeted => {
                greeted = true;
                forger.greet(choices, &mut said);
                forger.bind(&heard);
            }
            Progress::Idle(until) if choices.is_empty() => now = later(now, until),
            Progress::Idle(_) => {
                now += Duration::from_millis(choices.byte().into());
                forger.chat(choices, &mut said);
            }
        }
    }
}

/// Runs whole sessions over lines that are cut, stalled, flipped and slowed, with restarts of either side in between,
/// or of none.
///
/// No name ever shows anything but what it held before or what was sent; every session ends; a session that nothing
/// is done to is a success, whatever was before it; and all receipts are true.
///
/// The end of an input may say what is wrong with the store: it has few file descriptors, its commits take a while, its
/// calls fail. And it may say what else is done: commits end late and twice, files cannot be read, a restarted sender
/// goes on with a transfer and offers it by time, another transfer comes to the same store, and somebody moves files
/// about in that.
///
/// # Panics
///
/// If a promise is broken.
pub fn session(data: &[u8]) {
    session::session(data);
}

/// Names: what is accepted is safe on every system, comes back as it was, and is shown without harm.
///
/// # Panics
///
/// If a promise is broken.
pub fn names(data: &[u8]) {
    let Ok(path) = RelPath::parse(data) else { return };
    assert_eq!(path.as_bytes(), data);
    assert_eq!(path.parts().collect::<Vec<_>>().join(&b'/'), data);
    for part in path.parts() {
        assert!(!part.is_empty() && part.len() <= RelPath::MAX_PART_BYTES && part != b"..");
        assert!(part != b"." && !part.iter().any(|byte| matches!(byte, 0 | b'/' | b'\\' | b':')));
        assert!(!part.ends_with(b".") && !part.ends_with(b" "));
        let name = path.with_file_name(part).ok();
        assert!(name.is_none_or(|name| name.parent() == path.parent() && name.file_name() == part));
    }
    if let Some(parent) = path.parent() {
        assert_eq!(RelPath::parse(parent.as_bytes()).as_ref(), Ok(&parent));
    }
    assert!(!path.to_string().chars().any(char::is_control));
}

/// Runs the plain wire: what is sent arrives, in whatever pieces.
///
/// # Panics
///
/// If a promise is broken.
pub fn plain(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut chunk = || ChunkSize::new(usize::from(choices.byte()).max(1)).unwrap_or_default();
    let (ours, theirs) = (chunk(), chunk());
    let content = choices.rest();
    let go_on = |_: plain::PlainEvent| ControlFlow::Continue(());
    let (mut wire, mut image) = (Vec::new(), Vec::new());
    let sent = plain::send(&mut &*content, &mut wire, ours, go_on);
    let received = plain::receive(&mut &*wire, &mut image, theirs, go_on);
    assert_eq!(image, content);
    let root = Hash::of(content);
    assert!(sent.is_ok_and(|sent| sent.hash == root && sent.bytes == content.len() as u64));
    assert!(received.is_ok_and(|received| received.hash == root));
}

/// Ends of a [`Line`](crate::transport::Line): against any bytes and any frames, and against one another over a line
/// that loses, doubles, adds and changes bytes.
///
/// What is read is what was written; little damage is repaired; and what an end holds is bounded.
///
/// # Panics
///
/// If a promise is broken.
pub fn line(data: &[u8]) {
    lines::line(data);
}

/// The body of a target.
pub type Body = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Body); 6] = [
    ("line", line),
    ("names", names),
    ("plain", plain),
    ("receiver_bytes", receiver_bytes),
    ("sender_bytes", sender_bytes),
    ("session", session),
];

/// Runs a core against bytes as they are, in pieces, until it ends.
fn raw(mut data: &[u8], mut step: impl FnMut(Duration, &[u8], &mut Vec<u8>) -> Progress) {
    let (mut now, mut shown, mut said) = (Duration::ZERO, 0, Vec::new());
    loop {
        match step(now, &data[..shown], &mut said) {
            Progress::Moved(consumed) => {
                data = &data[consumed..];
                shown -= consumed;
            }
            Progress::Ended(_) => return,
            Progress::Idle(_) if shown < data.len() => shown = data.len().min(shown + 7),
            Progress::Idle(until) => now = later(now, until),
        }
    }
}

/// Lets time pass to a deadline, which cannot have passed already.
fn later(now: Duration, until: Duration) -> Duration {
    assert!(until > now, "a wait without end");
    until
}

fn last_receipt(events: &[Event], path: &RelPath) -> Option<Hash> {
    events.iter().rev().find_map(|event| match event {
        Event::Delivered { receipt, .. } if receipt.path == *path => Some(receipt.hash),
        _ => None,
    })
}

/// Limits and turns so small that a session of a few KiB meets all of them.
fn config(choices: &mut Choices<'_>) -> Config {
    let mut exponent = || BlockSize::from_exponent(choices.below(3)).unwrap_or(BlockSize::MIN);
    let (block_size, block) = (exponent(), exponent());
    let mut few = |most: u8| u32::from(choices.below(most)) + 1;
    let limits = Limits::default()
        .block(block)
        .open_entries(few(4))
        .pending_entries(few(8))
        .pending_names(few(64) * 100)
        .commits(few(3))
        .holes(few(8))
        .repairs(few(3) + 3)
        .file_bytes(1 << 20)
        .total_bytes(1 << 22);
    let turn = Turn::default().initial_bytes(256 << few(8)).max_bytes(1 << 20);
    let existing = match choices.below(4) {
        0 => IfExists::Replace,
        1 => IfExists::Refuse,
        2 => IfExists::Skip,
        _ => IfExists::Rename,
    };
    let deadlines = Deadlines::default();
    Config::default()
        .block_size(block_size)
        .limits(limits)
        .turn(turn)
        .if_exists(existing)
        .deadlines(deadlines)
}

/// Returns content without regularity that a test could miss, save a run of zeros in it.
fn content(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    let zeros = len.min(2048)..len.min(4096);
    bytes[zeros].fill(0);
    bytes
}

fn path(name: &[u8]) -> RelPath {
    #[expect(clippy::expect_used, reason = "the names are those of this file")]
    RelPath::parse(name).expect("every name here is safe")
}

#[cfg(test)]
mod tests;
