//! Number of turns that a tree of small files takes: each costs a round trip, so their number must not grow by one for
//! each file.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "the other end needs a thread, and helpers of tests fail as tests do"
)]

mod nowhere;

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use haul::config::{Limits, Turn};
use haul::drive::Clock;
use haul::store::MemorySource;
use haul::transport::memory;
use haul::{Config, RelPath, Summary, Transfer};

use nowhere::Nowhere;

/// Time stands still: no turn ends because of it.
struct Still;

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) {}
}

const FILES: u64 = 3000;
const SIZE: u64 = 100;

/// As long as the names of all files here.
const NAME: u64 = 11;

fn send(config: &Config, is_lazy: bool) -> Summary {
    let (alice, bob) = memory::pipe(NonZeroUsize::new(64 << 10).expect("not 0"));
    let theirs = config.clone();
    let receiver = thread::spawn(move || {
        let mut store = Nowhere { is_lazy, ..Nowhere::default() };
        Transfer::new(theirs).clock(Still).receive(&mut store, bob)
    });
    let mut source = MemorySource::new();
    for file in 0..FILES {
        let path = RelPath::parse(format!("folder/{file:04}").as_bytes()).expect("a good name");
        source = source.file(path, vec![1; usize::try_from(SIZE).expect("small")]);
    }
    let sent = Transfer::new(config.clone()).clock(Still).send(&mut source, alice);
    receiver.join().expect("no panic").expect("received");
    let sent = sent.expect("sent");
    assert_eq!(sent.delivered, FILES);
    sent
}

/// Returns the formula of `docs/verification.md`.
fn most_turns(config: &Config, bytes: u64) -> u64 {
    let limits = &config.limits;
    let settled = u64::from(limits.pending_entries.saturating_sub(limits.commits).max(1));
    let names = (u64::from(limits.pending_names).saturating_sub(4095) / NAME)
        .saturating_sub(limits.commits.into())
        .max(1);
    2 + FILES.div_ceil(settled) + FILES.div_ceil(names) + bytes.div_ceil(config.turn.initial_bytes)
}

#[test]
fn tree_takes_turns_by_what_may_be_pending_and_by_bytes_and_not_by_files() {
    let limits = |pending, commits, names| {
        let limits = Limits::default().pending_entries(pending).commits(commits);
        limits.pending_names(names)
    };
    let turn = |bytes| Turn::default().initial_bytes(bytes).max_bytes(bytes.max(1 << 20));
    let names = Limits::default().pending_names;
    for (limits, turn) in [
        (Limits::default(), Turn::default()),
        (limits(500, 64, names), Turn::default()),
        (limits(100, 64, names), Turn::default()),
        (limits(100, 1, names), Turn::default()),
        (limits(10, 9, names), Turn::default()),
        (limits(4096, 64, 4095 + 11 * 300), Turn::default()),
        (Limits::default(), turn(64 << 10)),
    ] {
        let config = Config::default().limits(limits).turn(turn);
        for is_lazy in [false, true] {
            let turns = send(&config, is_lazy).turns;
            // The head of an offer has less than 200 bytes.
            let most = most_turns(&config, FILES * (SIZE + 200));
            assert!(turns <= most, "{turns} turns, {most} at most: {config:?}");
            let pending = u64::from(limits.pending_entries);
            assert!(turns >= FILES.div_ceil(pending), "{turns} turns: the test counts wrong");
        }
    }
    // With what everyone gets, it is two and a handful.
    assert!(send(&Config::default(), true).turns <= 4);
}
