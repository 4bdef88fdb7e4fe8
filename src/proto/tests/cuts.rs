//! A session cut at any byte, resumed, cut again at any byte, and resumed: everything arrives, no byte is written
//! twice, no visible name ever holds anything else, and no lost receipt is a failure or makes a copy.
//!
//! With `HAUL_LONG=1`: all pairs of cuts instead of some, and all triples of most sessions.

use std::collections::BTreeMap;

use super::long;
use super::losses::{Cut, Recovery, check, complete, finish, follow, is_done, left};
use super::pair::Pair;
use super::scenes::{self, Scene};

const RECOVERIES: [Recovery; 3] =
    [Recovery::SenderGoesOn, Recovery::BothRestart, Recovery::BothGoOn];

/// Returns all that can be seen of a session: what was sent, what stands there, and how often the
/// store was asked.
fn seen(pair: &Pair) -> impl PartialEq + use<> {
    let records = (pair.down.record.clone(), pair.up.record.clone());
    (records, pair.bob.visible.clone(), pair.bob.reads.clone(), pair.bob.written)
}

#[test]
fn session_cut_at_any_byte_is_completed_by_the_next() {
    let mut cases = 0;
    for scene in complete(scenes::all()) {
        let mut whole = scene.pair();
        let lengths = finish(&mut whole, &scene, &|| scene.name.into());
        for recovery in RECOVERIES {
            let mut followed = BTreeMap::new();
            for cut in Cut::all(lengths) {
                let what = || format!("{} {recovery:?} {cut:?}", scene.name);
                let mut pair = scene.pair();
                assert!(cut.run(&mut pair), "{}", what());
                if is_done(&pair, &scene) {
                    continue;
                }
                check(&pair, &scene, &what);
                let state = left(&pair);
                recovery.run(&mut pair, &scene, 2);
                finish(&mut pair, &scene, &what);
                cases += 1;
                // Cuts that left the same are followed on as one where there are several of them.
                let first = followed.entry(state).or_insert_with(|| seen(&pair));
                assert!(*first == seen(&pair), "{}: not what it seemed", what());
            }
            assert!(followed.len() > 3, "{} {recovery:?}: {}", scene.name, followed.len());
        }
    }
    println!("{cases} cases");
}

#[test]
fn session_cut_at_any_byte_and_again_at_any_byte_is_completed_by_the_third() {
    // Strides that share no factor with anything, so that all places are met over the first cuts.
    let strides = if long() { [1, 1] } else { [7, 307] };
    for scene in complete(scenes::all()) {
        let met = follow(&scene, &RECOVERIES, &strides, &|_, _| ());
        assert!(met.histories > met.runs, "{met:?}");
    }
}

#[test]
fn short_session_cut_at_any_three_bytes_is_completed_by_the_fourth() {
    let strides = if long() { [1; 3] } else { [7, 53, 97] };
    // The two that are left out have most states and most bytes: they alone would take far longer than the others.
    let is_short = |scene: &Scene| match long() {
        true => !["by-time", "mixed"].contains(&scene.name),
        false => scene.name == "rename",
    };
    for scene in complete(scenes::all()).filter(is_short) {
        let met = follow(&scene, &RECOVERIES, &strides, &|_, _| ());
        assert!(met.histories > met.runs, "{met:?}");
    }
}
