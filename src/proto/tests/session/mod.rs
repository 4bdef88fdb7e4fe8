//! Whole sessions: what arrives, what travels, what is reported.

mod existing;
mod failures;
mod partial;
mod turns;

use super::pair::{Alice, Bob, Pair, content, path};
use crate::config::Config;
use crate::hash::{BlockSize, Hash};
use crate::types::{Event, Meta, Outcome};

const KIB: usize = 1024;

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

fn file(name: &str, seed: u64, len: usize) -> (&str, Vec<u8>) {
    (name, content(seed, len))
}

/// Sizes around every edge of blocks, of one size.
fn sizes() -> impl Iterator<Item = usize> {
    [0, 1, 2, 3, 4, 5, 8].into_iter().flat_map(|blocks| {
        [-1_isize, 0, 1].into_iter().filter_map(move |off| (blocks * KIB).checked_add_signed(off))
    })
}

#[test]
fn file_of_every_size_around_blocks_arrives() {
    for len in sizes() {
        for is_sized in [true, false] {
            let mut pair = Pair::new(&config(), &[file("a", 1, len)]);
            if !is_sized {
                pair = pair.unsized_files(None);
            }
            let summary = pair.run_well();
            assert_eq!((summary.delivered, summary.sent), (1, len as u64), "{len} {is_sized}");
            assert_eq!(pair.bob.visible[&path("a")], content(1, len), "{len} {is_sized}");
            assert!(pair.bob.partial.is_empty());
            let root = Hash::of(&content(1, len));
            for events in [&pair.alice.events, &pair.bob.events] {
                let delivered = events.iter().find_map(|event| match event {
                    Event::Delivered { receipt, .. } => Some(receipt),
                    _ => None,
                });
                let receipt = delivered.expect("a receipt");
                assert_eq!((receipt.hash, receipt.outcome), (root, Outcome::Stored));
            }
        }
    }
}

#[test]
fn both_sides_name_the_transfer_and_the_attempt_of_the_sender() {
    let mut pair = Pair::new(&config(), &[file("a", 1, 100)]);
    pair.run_well();
    pair.reconnect(&config(), 2);
    let (sent, received) = pair.run();
    assert!(sent.is_ok() && received.is_ok());
    let greeted = |events: &[Event]| -> Vec<_> {
        let greeted = |event: &Event| match event {
            Event::Greeted { transfer, attempt, .. } => Some((*transfer, *attempt)),
            _ => None,
        };
        events.iter().filter_map(greeted).collect()
    };
    let transfer = super::pair::transfer();
    assert_eq!(greeted(&pair.alice.events), [(transfer, 1), (transfer, 2)]);
    assert_eq!(greeted(&pair.bob.events), greeted(&pair.alice.events));
}

#[test]
fn folder_is_committed_after_all_that_was_offered_before_it() {
    let folder = |name| (Meta::directory(path(name)), Vec::new());
    let bytes = content(1, 50 * KIB);
    let files = vec![
        (Meta::file(path("d/a"), Some(51_200)), bytes.clone()),
        folder("d"),
        (Meta::file(path("e/b"), Some(51_200)), bytes),
        folder("e"),
        folder("f"),
    ];
    let alice = Alice { files, ..Alice::default() };
    let mut pair = Pair::with(&config(), &config(), alice, Bob::default());
    assert_eq!(pair.run_well().delivered, 5);
    let delivered = pair.bob.events.iter().filter_map(|event| match event {
        Event::Delivered { receipt, .. } => Some(receipt.path.to_string()),
        _ => None,
    });
    assert_eq!(delivered.collect::<Vec<_>>(), ["d/a", "d", "e/b", "e", "f"]);
}
