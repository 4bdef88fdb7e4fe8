//! Splits of reads do not matter: the same events, the same bytes on the wire, the same files.
//!
//! With `HAUL_LONG=1`: all splits of windows of 20 bytes instead of 9, and all pairs of splits of more sessions.

use std::collections::VecDeque;
use std::thread;

use super::long;
use super::pair::Pair;
use super::scenes::{self, Scene};
use crate::proto::wire::frame::{CHECK, CHECKED, HEADER, Parsed, Seal};
use crate::proto::wire::message::Name;

#[derive(Clone, Copy, Debug)]
enum Direction {
    Down,
    Up,
}

fn run(scene: &Scene, direction: Direction, stops: impl IntoIterator<Item = usize>) -> Pair {
    let mut pair = scene.pair();
    let stops: VecDeque<usize> = stops.into_iter().collect();
    match direction {
        Direction::Down => pair.down.stops = stops,
        Direction::Up => pair.up.stops = stops,
    }
    let _ = pair.run();
    pair
}

fn check(whole: &Pair, split: &Pair, what: impl FnOnce() -> String) {
    let same = whole.alice.events == split.alice.events
        && whole.bob.events == split.bob.events
        && whole.down.record == split.down.record
        && whole.up.record == split.up.record
        && whole.bob.visible == split.bob.visible
        && whole.bob.partial == split.bob.partial
        && (whole.alice.ended, whole.bob.ended) == (split.alice.ended, split.bob.ended);
    assert!(same, "{}", what());
}

fn directions(whole: &Pair) -> [(Direction, usize); 2] {
    [(Direction::Down, whole.down.record.len()), (Direction::Up, whole.up.record.len())]
}

#[test]
fn reads_of_one_byte_give_the_same_session() {
    for scene in scenes::all() {
        let whole = run(&scene, Direction::Down, []);
        for (direction, len) in directions(&whole) {
            let drip = run(&scene, direction, 1..=len);
            check(&whole, &drip, || format!("{} {direction:?}", scene.name));
        }
    }
}

/// Returns the number of bytes that are hashed to check frames in this.
fn checked(run: impl FnOnce()) -> u64 {
    let before = CHECKED.get();
    run();
    CHECKED.get() - before
}

#[test]
fn reads_of_one_byte_cost_no_more_than_so_much_for_each_byte() {
    for scene in scenes::all() {
        let mut lens = [0; 2];
        let whole = checked(|| {
            let pair = run(&scene, Direction::Down, []);
            lens = directions(&pair).map(|(_, len)| len as u64);
        });
        for (direction, len) in [Direction::Down, Direction::Up].into_iter().zip(lens) {
            let drip = checked(|| drop(run(&scene, direction, 1..=len as usize)));
            // The header is looked at with each byte that comes, and nothing else is.
            assert!(drip <= whole + 16 * len, "{} {direction:?}: {drip} for {len}", scene.name);
        }
    }
}

#[test]
fn frame_of_the_largest_size_that_comes_a_byte_at_a_time_is_checked_once() {
    for name in [Name::Hello, Name::Offer, Name::Have, Name::Missing, Name::Kept, Name::Receipt] {
        let most = *name.lengths(1024).0.end();
        let mut bytes = vec![7; HEADER + most as usize + CHECK];
        Seal::initial().close(name.kind(), &mut bytes, 0).unwrap();
        let heard = Seal::initial();
        let cost = checked(|| {
            for len in 0..bytes.len() {
                let opened = heard.open(&bytes[..len], |_| Ok(())).unwrap();
                assert!(matches!(opened, Parsed::Incomplete { needed } if needed > len));
            }
            assert!(matches!(heard.open(&bytes, |_| Ok(())), Ok(Parsed::Frame(_))));
        });
        let len = bytes.len() as u64;
        assert!(cost <= 17 * len, "{name:?}: {cost} for {len}");
    }
}

#[test]
fn reads_split_at_any_place_give_the_same_session() {
    for scene in scenes::all() {
        let whole = run(&scene, Direction::Down, []);
        for (direction, len) in directions(&whole) {
            for at in 0..=len {
                let split = run(&scene, direction, [at]);
                check(&whole, &split, || format!("{} {direction:?} {at}", scene.name));
            }
        }
    }
}

#[test]
fn reads_split_at_any_two_places_give_the_same_session() {
    let mut cases = 0;
    let names: &[&str] =
        if long() { &["inline", "equal", "folder", "rename"] } else { &["inline"] };
    for name in names {
        let scene = scenes::scene(name);
        let whole = run(&scene, Direction::Down, []);
        for (direction, len) in directions(&whole) {
            for first in 0..len {
                for second in first + 1..=len {
                    let split = run(&scene, direction, [first, second]);
                    check(&whole, &split, || format!("{name} {direction:?} {first} {second}"));
                    cases += 1;
                }
            }
        }
    }
    println!("{cases} cases");
}

#[test]
fn reads_split_in_every_way_within_a_window_give_the_same_session() {
    let window = if long() { 20 } else { 9 };
    let scene = scenes::scene("inline");
    let whole = run(&scene, Direction::Down, []);
    let (scene, whole) = (&scene, &whole);
    // A thread for each direction: of windows of 20 bytes, these are 23 million sessions.
    let cases: usize = thread::scope(|scope| {
        let threads = directions(whole).map(|(direction, len)| {
            scope.spawn(move || {
                let mut cases = 0;
                for start in (0..len.saturating_sub(window)).step_by(window / 2) {
                    for split in 0_u32..1 << (window - 1) {
                        let inner = (0..window - 1).filter(|bit| split >> bit & 1 == 1);
                        let stops = inner.map(|bit| start + bit + 1);
                        let stops = std::iter::once(start).chain(stops).chain([start + window]);
                        let pair = run(scene, direction, stops);
                        check(whole, &pair, || format!("{direction:?} {start} {split:b}"));
                        cases += 1;
                    }
                }
                cases
            })
        });
        threads.map(|thread| thread.join().unwrap()).into_iter().sum()
    });
    println!("{cases} cases");
}
