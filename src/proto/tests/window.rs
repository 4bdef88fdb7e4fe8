//! A source with a window, which cannot give again what the receiver reported to keep, and a receiver that comes back
//! with less than that.

use super::pair::{Alice, Bob, Pair, content, path};
use crate::config::{Config, IfExists, Turn};
use crate::hash::BlockSize;
use crate::types::{Meta, Withdrawal};

fn config() -> Config {
    // Every block is a turn, so that the receiver says of each that it keeps it.
    let turn = Turn::default().initial_bytes(1).max_bytes(1);
    Config::default().block_size(BlockSize::MIN).if_exists(IfExists::Replace).turn(turn)
}

/// Returns a stream of which the source gives a block at a time, and a receiver to which that much of it has
/// travelled.
fn streamed(bytes: &[u8], bob: Bob, blocks: u64) -> Pair {
    let files = vec![(Meta::file(path("a"), None), bytes.to_vec())];
    let alice = Alice { files, window: Some(1024), ..Alice::default() };
    let mut pair = Pair::with(&config(), &config(), alice, bob);
    let released = |pair: &Pair| pair.alice.released.values().next().copied().unwrap_or(0);
    while released(&pair) < blocks * 1024 {
        assert!(pair.step_sender() | pair.step_receiver(), "nothing moves");
    }
    pair
}

/// Checks a receiver that knows no more than its store: the stream cannot be sent again, and the
/// session is well.
fn is_withdrawn_alone(mut pair: Pair) {
    let before = pair.bob.visible.clone();
    pair.reconnect(&config(), 2);
    let (sent, received) = pair.run();
    let sums = |ended: crate::types::Summary| (ended.delivered, ended.refused, ended.withdrawn);
    assert_eq!(sent.map(sums), Ok((0, 0, 1)));
    assert_eq!(received.map(sums), Ok((0, 0, 1)));
    assert!(pair.bob.visible == before);
    let is_told = |event: &crate::types::Event| {
        let unreadable = Withdrawal::Unreadable { code: 29 };
        matches!(event, crate::types::Event::Withdrawn { reason, .. } if *reason == unreadable)
    };
    assert!(pair.alice.events.iter().any(is_told), "{:?}", pair.alice.events);
}

#[test]
fn stream_whose_partial_file_was_cut_within_a_released_block_is_withdrawn_alone() {
    for (kept, released) in [(1500, 2), (1025, 2), (2047, 2), (1500, 3), (2500, 3), (0, 2)] {
        let mut pair = streamed(&content(1, 5000), Bob::default(), released);
        pair.bob.partial.get_mut(&path("a")).unwrap().truncate(kept);
        is_withdrawn_alone(pair);
    }
}

/// Zeros are held where nothing stood, also after a piece of the file that is replaced.
#[test]
fn stream_whose_released_blocks_are_all_there_goes_on_after_them() {
    let zeros = |from: usize, to: usize| {
        let mut bytes = content(1, 5000);
        bytes[from..to].fill(0);
        bytes
    };
    let replaced = Bob { visible: [(path("a"), zeros(0, 1025))].into(), ..Bob::default() };
    for (blocks, bytes, bob) in [
        (1, content(1, 5000), Bob::default()),
        (4, content(1, 5000), Bob::default()),
        (1, zeros(0, 5000), Bob::default()),
        (3, zeros(1024, 5000), Bob::default()),
        (4, zeros(1024, 3072), Bob::default()),
        (2, zeros(0, 5000), replaced),
    ] {
        let mut pair = streamed(&bytes, bob, blocks);
        pair.alice.reads.clear();
        pair.reconnect(&config(), 2);
        pair.run_well();
        assert!(pair.bob.visible[&path("a")] == bytes);
        assert_eq!(pair.alice.reads.iter().map(|read| read.1).min(), Some(blocks * 1024));
    }
}
