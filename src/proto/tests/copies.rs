//! Equal parts of a file that is replaced are copied to its place with the floor, however long that takes.

use std::time::Duration;

use super::pair::{Pair, content, path};
use crate::config::{Config, IfExists};
use crate::hash::BlockSize;
use crate::types::{Activity, Event};

const BLOCKS: usize = 700;

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN).if_exists(IfExists::Replace)
}

/// Returns a file of which all but these blocks are as they stand there, and in which each copy takes so many
/// seconds.
fn pair(differing: &[usize], seconds: u64, is_sized: bool) -> Pair {
    let bytes = content(1, BLOCKS * 1024 - 100);
    let mut old = bytes.clone();
    for block in differing {
        old[block * 1024] ^= 1;
    }
    let mut pair = Pair::new(&config(), &[("a", bytes)]);
    if !is_sized {
        pair = pair.unsized_files(None);
    }
    pair.bob.visible.insert(path("a"), old);
    pair.bob.conflict_time = Duration::from_secs(seconds);
    pair
}

#[test]
fn copy_that_takes_longer_than_all_deadlines_is_borne_under_heartbeats() {
    for differing in [&[BLOCKS - 1][..], &[0], &[5, 300]] {
        for is_sized in [true, false] {
            let mut pair = pair(differing, 4, is_sized);
            let case = format!("{differing:?} {is_sized}");
            assert_eq!(pair.run_well().delivered, 1, "{case}");
            assert!(pair.bob.visible[&path("a")] == content(1, BLOCKS * 1024 - 100), "{case}");
            assert!(pair.now > Duration::from_secs(2700), "{case}: {:?}", pair.now);
            assert!(pair.bob.written <= differing.len() as u64 * 1024, "{case}");
            let verifies = Event::Waiting { activity: Activity::Verifying };
            assert!(pair.alice.events.contains(&verifies), "{case}");
        }
    }
}

#[test]
fn copy_that_is_cut_goes_on_and_nothing_is_sent_for_it() {
    for differing in [&[BLOCKS - 1][..], &[0], &[5, 300]] {
        for is_sized in [true, false] {
            let mut pair = pair(differing, 1, is_sized);
            let case = format!("{differing:?} {is_sized}");
            let mut attempt = 1;
            while pair.alice.ended.is_none() {
                // Cut again and again while it is copied.
                let until = pair.now + Duration::from_secs(200);
                while pair.now < until && pair.alice.ended.is_none() {
                    assert!(pair.step_sender() | pair.step_receiver(), "{case} stands still");
                }
                if pair.alice.ended.is_none() {
                    attempt += 1;
                    assert!(attempt < 10, "{case} copies anew each time");
                    pair.reconnect_suspended(&config(), attempt);
                }
            }
            assert!(attempt > 3, "{case} was not cut");
            assert!(pair.bob.visible[&path("a")] == content(1, BLOCKS * 1024 - 100), "{case}");
            assert!(pair.bob.written <= differing.len() as u64 * 1024, "{case}");
        }
    }
}
