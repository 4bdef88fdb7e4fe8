//! Damage of every small kind at every place: it is repaired within the session, or ends it in a typed error within
//! its deadlines; a reconnect then completes the transfer. No wrong byte is ever visible.
//!
//! With `HAUL_LONG=1`: every bit of every scene, and pairs of flips.

use std::ops::Range;
use std::time::Duration;

use super::long;
use super::pair::{Edit, Pair};
use super::scenes::{self, Scene};
use crate::proto::Error;
use crate::proto::wire::frame::{CHECK, HEADER, PREFACE};

/// Returns the ranges of the payloads in a recording.
fn payloads(record: &[u8]) -> Vec<Range<usize>> {
    let mut payloads = Vec::new();
    let mut at = PREFACE.len();
    while at < record.len() {
        let control = u32::from_le_bytes([record[at + 1], record[at + 2], record[at + 3], 0]);
        let payload = u32::from_le_bytes(record[at + 4..][..4].try_into().unwrap());
        let check = if control == 0 { 0 } else { CHECK };
        let start = at + HEADER + control as usize + check;
        at = start + payload as usize;
        payloads.push(start..at);
    }
    payloads
}

/// Runs a session that something was done to, to its end, and the transfer to its success.
fn run(scene: &Scene, mut pair: Pair, what: &impl Fn() -> String) -> bool {
    let (sent, received) = pair.run();
    assert!(pair.now <= Duration::from_secs(61), "{}: ends after {:?}", what(), pair.now);
    for ended in [sent, received] {
        // The machines never blame the API, and never a rule that the peer kept.
        assert!(
            !matches!(ended, Err(Error::Misuse(_) | Error::Protocol(_))),
            "{}: {ended:?}",
            what()
        );
    }
    if let Err(name) = scene.check_visible(&pair.bob) {
        panic!("{}: {name} holds what it must not", what());
    }
    if sent.is_err() {
        pair.reconnect(&scene.config, 2);
        let (sent, received) = pair.run();
        assert!(sent.is_ok() && received.is_ok(), "{}: {sent:?} {received:?}", what());
    }
    scene.check_complete(&pair.bob);
    sent.is_ok() && received.is_ok()
}

fn scenes() -> impl Iterator<Item = (Scene, [Vec<u8>; 2])> {
    let is_complete = |scene: &Scene| !["refused", "link", "abort"].contains(&scene.name);
    scenes::all().into_iter().filter(is_complete).map(|scene| {
        let mut whole = scene.pair();
        let _ = whole.run();
        (scene, [whole.down.record, whole.up.record])
    })
}

#[test]
fn flip_of_any_bit_is_repaired_or_ends_the_session_and_a_reconnect_completes_it() {
    let mut cases = 0;
    for (scene, records) in scenes() {
        for (is_up, record) in records.iter().enumerate() {
            let payloads = payloads(record);
            for at in 0..record.len() {
                let is_payload = payloads.iter().any(|payload| payload.contains(&at));
                // Header and control bytes in full; of a payload, one bit of each byte.
                let all = long() || (!is_payload && record.len() < 500);
                for bit in (0..8).filter(|bit| all || *bit == at % 8) {
                    let what = || format!("{} up {is_up} byte {at} bit {bit}", scene.name);
                    let mut pair = scene.pair();
                    let channel = if is_up == 1 { &mut pair.up } else { &mut pair.down };
                    channel.flips.insert(at, 1 << bit);
                    let went_well = run(&scene, pair, &what);
                    assert_eq!(went_well, is_payload, "{}", what());
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} cases");
}

#[test]
fn byte_deleted_doubled_inserted_or_swapped_anywhere_is_noticed() {
    let mut cases = 0;
    for (scene, records) in scenes() {
        for (is_up, record) in records.iter().enumerate() {
            for at in (0..record.len()).step_by(if long() { 1 } else { 2 }) {
                for edit in [
                    Edit::Delete(at),
                    Edit::Double(at),
                    Edit::Insert(at, 0),
                    Edit::Insert(at, record[at] ^ 0xFF),
                    Edit::Swap(at),
                ] {
                    let what = || format!("{} up {is_up} {edit:?}", scene.name);
                    let mut pair = scene.pair();
                    let channel = if is_up == 1 { &mut pair.up } else { &mut pair.down };
                    channel.edit = Some(edit);
                    run(&scene, pair, &what);
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} cases");
}

#[test]
fn silence_from_any_byte_on_ends_both_sides_in_time() {
    for (scene, records) in scenes() {
        for (is_up, record) in records.iter().enumerate() {
            for at in 0..record.len() {
                let what = || format!("{} up {is_up} silent from {at}", scene.name);
                let mut pair = scene.pair();
                let channel = if is_up == 1 { &mut pair.up } else { &mut pair.down };
                channel.cut = Some(at);
                assert!(!run(&scene, pair, &what), "{}", what());
            }
        }
    }
}

#[test]
fn flips_of_two_bytes_are_repaired_or_end_the_session() {
    let (scene, records) = scenes().find(|(scene, _)| scene.name == "inline").unwrap();
    let stride = if long() { 1 } else { 7 };
    let mut cases = 0;
    for first in 0..records[0].len() {
        for second in (first + 1..records[0].len()).skip(first % stride).step_by(stride) {
            let what = || format!("bytes {first} and {second}");
            let mut pair = scene.pair();
            pair.down.flips.insert(first, 1 << (second % 8));
            pair.down.flips.insert(second, 1 << (first % 8));
            run(&scene, pair, &what);
            cases += 1;
        }
    }
    println!("{cases} cases");
}
