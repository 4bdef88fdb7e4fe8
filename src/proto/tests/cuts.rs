//! A session cut at any byte, resumed, cut again at any byte, and resumed: everything arrives, no byte is written
//! twice, no visible name ever holds anything else, and no lost receipt is a failure or makes a copy.
//!
//! With `HAUL_LONG=1`: all pairs of cuts instead of some, and all triples of a tiny session.

use super::long;
use super::pair::Pair;
use super::scenes::{self, Scene};
use crate::proto::Failure;

/// Which side is a new process after a cut. A receiver's machine is always new: what it knows is in its store.
#[derive(Clone, Copy, Debug)]
enum Recovery {
    SenderGoesOn,
    SenderRestarts,
}

/// A byte of one direction from which on nothing is delivered in either.
#[derive(Clone, Copy, Debug)]
struct Cut {
    down: bool,
    at: usize,
}

/// Runs with a cut; `false` says that the session ended before it.
fn run_cut(pair: &mut Pair, cut: Cut) -> bool {
    let channel = if cut.down { &mut pair.down } else { &mut pair.up };
    channel.cut = Some(cut.at);
    pair.run_while_moving();
    for ended in [pair.alice.ended, pair.bob.ended] {
        assert!(
            !matches!(ended, Some(Err(Failure::Protocol(_) | Failure::Damaged(_)))),
            "{ended:?}"
        );
    }
    let channel = if cut.down { &pair.down } else { &pair.up };
    channel.record.len() > cut.at
}

fn recover(pair: &mut Pair, scene: &Scene, recovery: Recovery, attempt: u32) {
    match recovery {
        Recovery::SenderGoesOn => pair.reconnect(&scene.config, attempt),
        Recovery::SenderRestarts => pair.restart(&scene.config),
    }
}

fn check(pair: &Pair, scene: &Scene, what: &impl Fn() -> String) {
    if let Err(name) = scene.check_visible(&pair.bob) {
        panic!("{}: {name} holds what it must not", what());
    }
}

fn finish(pair: &mut Pair, scene: &Scene, what: &impl Fn() -> String) {
    let (sent, received) = pair.run();
    assert!(sent.is_ok() && received.is_ok(), "{}: {sent:?} {received:?}", what());
    check(pair, scene, what);
    scene.check_complete(&pair.bob);
    let total: usize = scene.alice.files.iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(pair.bob.written <= total as u64, "{}: {} bytes written", what(), pair.bob.written);
}

/// All places at which a session can be cut.
fn cuts(scene: &Scene) -> impl Iterator<Item = Cut> {
    let mut whole = scene.pair();
    let _ = whole.run();
    let (down, up) = (whole.down.record.len(), whole.up.record.len());
    // Those of a session that resumes can be a little further out.
    let down = (0..down + 100).map(|at| Cut { down: true, at });
    down.chain((0..up + 200).map(|at| Cut { down: false, at }))
}

fn scenes() -> impl Iterator<Item = Scene> {
    let is_complete = |scene: &Scene| !["refused", "link", "abort"].contains(&scene.name);
    scenes::all().into_iter().filter(is_complete)
}

const RECOVERIES: [Recovery; 2] = [Recovery::SenderGoesOn, Recovery::SenderRestarts];

/// The sender took it for a success: then it is one.
fn is_done(pair: &Pair, scene: &Scene) -> bool {
    let done = matches!(pair.alice.ended, Some(Ok(_)));
    if done {
        scene.check_complete(&pair.bob);
    }
    done
}

#[test]
fn session_cut_at_any_byte_is_completed_by_the_next() {
    for scene in scenes() {
        for recovery in RECOVERIES {
            for cut in cuts(&scene) {
                let what = || format!("{} {recovery:?} {cut:?}", scene.name);
                let mut pair = scene.pair();
                if !run_cut(&mut pair, cut) || is_done(&pair, &scene) {
                    continue;
                }
                check(&pair, &scene, &what);
                recover(&mut pair, &scene, recovery, 2);
                finish(&mut pair, &scene, &what);
            }
        }
    }
}

#[test]
fn session_cut_at_any_byte_and_again_at_any_byte_is_completed_by_the_third() {
    for (number, scene) in scenes().enumerate() {
        // A stride that shares no factor with anything, so that all places are met over the first cuts.
        let stride = if long() { 1 } else { 211 };
        for (index, first) in cuts(&scene).enumerate().step_by(if long() { 1 } else { 3 }) {
            let recovery = RECOVERIES[(index + number) % 2];
            let second_recovery = RECOVERIES[(index / 2) % 2];
            let mut before = scene.pair();
            if !run_cut(&mut before, first) || is_done(&before, &scene) {
                continue;
            }
            for second in cuts(&scene).skip(index % stride).step_by(stride) {
                let what = || format!("{} {recovery:?} {first:?} {second:?}", scene.name);
                let mut pair = scene.pair();
                run_cut(&mut pair, first);
                recover(&mut pair, &scene, recovery, 2);
                let was_cut = run_cut(&mut pair, second);
                check(&pair, &scene, &what);
                if !was_cut || is_done(&pair, &scene) {
                    continue;
                }
                recover(&mut pair, &scene, second_recovery, 3);
                finish(&mut pair, &scene, &what);
            }
        }
    }
}

#[test]
fn tiny_session_cut_at_any_three_bytes_is_completed_by_the_fourth() {
    let scene = scenes::scene("rename");
    let stride = if long() { 1 } else { 37 };
    let all: Vec<Cut> = cuts(&scene).collect();
    for (i, first) in all.iter().enumerate().step_by(stride) {
        for (j, second) in all.iter().enumerate().skip(i % stride).step_by(stride) {
            for third in all.iter().skip(j % stride).step_by(stride) {
                let what = || format!("{first:?} {second:?} {third:?}");
                let mut pair = scene.pair();
                let mut done = false;
                for (attempt, cut) in (2..).zip([first, second, third]) {
                    if !run_cut(&mut pair, *cut) || is_done(&pair, &scene) {
                        done = true;
                        break;
                    }
                    check(&pair, &scene, &what);
                    recover(&mut pair, &scene, RECOVERIES[(i + j) % 2], attempt);
                }
                if !done {
                    finish(&mut pair, &scene, &what);
                }
            }
        }
    }
}
