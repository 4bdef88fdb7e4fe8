//! Every history of a transfer of which connections are lost again and again.
//!
//! A machine takes whole messages, so that most places of a cut leave the same behind. What a cut leaves, at both machines,
//! the source and the store, is looked at in full, and histories that left the same are followed on as one: from there
//! on, nothing can tell them apart. So all of them are met, and few must be run. `cuts` has a test that runs each
//! place of one cut to its end, and holds this against it.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use super::bob::Bob;
use super::pair::{Alice, Pair};
use super::scenes::Scene;
use crate::proto::Error;

/// Side that knows of the earlier connection after a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Recovery {
    /// The sender; of the receiver only the store.
    SenderGoesOn,
    /// Nobody but the store.
    BothRestart,
    /// Both.
    BothGoOn,
}

/// A byte of one direction from which on nothing is delivered. The other side has the floor no more: what it had said is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) down: bool,
    pub(super) at: usize,
}

/// A connection that was cut, and who went on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loss {
    cut: Cut,
    recovery: Recovery,
}

/// Number of histories that were met, by the number of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Met {
    pub(super) histories: u64,
    pub(super) runs: u64,
}

impl Cut {
    /// Returns all places at which a session can be cut whose two directions are so long.
    pub(super) fn all((down, up): (usize, usize)) -> impl Iterator<Item = Self> {
        let down = (0..down).map(|at| Self { down: true, at });
        down.chain((0..up).map(|at| Self { down: false, at }))
    }

    /// Runs up to the cut; `false` says that the session ended before it.
    pub(super) fn run(self, pair: &mut Pair) -> bool {
        let channel = if self.down { &mut pair.down } else { &mut pair.up };
        channel.cut = Some(self.at);
        pair.run_while_moving();
        for ended in [pair.alice.ended, pair.bob.ended] {
            assert!(
                !matches!(ended, Some(Err(Error::Protocol(_) | Error::Damaged(_)))),
                "{self:?} {ended:?}"
            );
        }
        let channel = if self.down { &pair.down } else { &pair.up };
        channel.record.len() > self.at
    }
}

impl Recovery {
    pub(super) fn run(self, pair: &mut Pair, scene: &Scene, attempt: u32) {
        match self {
            Self::SenderGoesOn => pair.reconnect(&scene.config, attempt),
            Self::BothRestart => pair.restart(&scene.config),
            Self::BothGoOn => pair.reconnect_suspended(&scene.config, attempt),
        }
    }
}

/// Returns the scenes that end with everything delivered.
pub(super) fn complete(scenes: Vec<Scene>) -> impl Iterator<Item = Scene> {
    let is_complete = |scene: &Scene| !["refused", "link", "abort"].contains(&scene.name);
    scenes.into_iter().filter(is_complete)
}

/// Returns whether the sender took it for a success: then it must be one.
pub(super) fn is_done(pair: &Pair, scene: &Scene) -> bool {
    let done = matches!(pair.alice.ended, Some(Ok(_)));
    if done {
        scene.check_complete(&pair.bob);
    }
    done
}

/// Lets a session come to its end, and checks that all arrived, and nothing was written twice. Gives how long both
/// directions were.
pub(super) fn finish(pair: &mut Pair, scene: &Scene, what: &impl Fn() -> String) -> (usize, usize) {
    let (sent, received) = pair.run();
    assert!(sent.is_ok() && received.is_ok(), "{}: {sent:?} {received:?}", what());
    check(pair, scene, what);
    scene.check_complete(&pair.bob);
    // A stream whose receipt was lost, with the receiver that had given it, comes again to find that it is there.
    let commits = pair.bob.committed.len();
    let times = |size: Option<u64>| if size.is_none() { commits } else { 1 };
    let files = scene.alice.files.iter();
    let total: usize = files.map(|(meta, bytes)| bytes.len() * times(meta.size)).sum();
    assert!(pair.bob.written <= total as u64, "{}: {} bytes written", what(), pair.bob.written);
    (pair.down.record.len(), pair.up.record.len())
}

pub(super) fn check(pair: &Pair, scene: &Scene, what: &impl Fn() -> String) {
    if let Err(name) = scene.check_visible(&pair.bob) {
        panic!("{}: {name} holds what it must not", what());
    }
}

/// Returns a hash of all that a lost connection leaves behind, and of what the checks ask for.
pub(super) fn left(pair: &Pair) -> u64 {
    let mut hasher = DefaultHasher::new();
    // A machine's side of its connection dies with it, save that the receiver remembers whose it was.
    let without_connection = |machine: String| {
        let start = machine.find("connection: Connection {").expect("a machine has a connection");
        let len = machine[start..].find(", state: ").expect("its state stands behind");
        (machine[..start].to_owned(), machine[start + len..].to_owned())
    };
    without_connection(format!("{:?}", pair.sender)).hash(&mut hasher);
    for receiver in [Some(&pair.receiver), pair.earlier.as_ref()].into_iter().flatten() {
        without_connection(format!("{receiver:?}")).hash(&mut hasher);
        receiver.transfer().hash(&mut hasher);
    }
    // Without `..`: what is added to these is thought of here.
    let Alice {
        files: _,
        next,
        ids,
        events: _,
        ended,
        window,
        released,
        is_stuck,
        read_time,
        reads: _,
    } = &pair.alice;
    (next, ids, window, released, is_stuck, read_time).hash(&mut hasher);
    format!("{ended:?}").hash(&mut hasher);
    let Bob {
        visible,
        times,
        partial,
        open,
        commits,
        is_stuck,
        committed: _,
        events: _,
        ended,
        written,
        changes_before_copy,
        fail_write,
        reads,
        writes: _,
        others,
        late,
        descriptors,
        lacks_to_replace,
        lacked: _,
        most_open: _,
        is_lazy,
        changed,
        conflicting,
        conflicts,
        conflict_time,
        conflict_reads: _,
        most_conflicts: _,
        zeroed: _,
        write_time: _,
    } = &pair.bob;
    (visible, times, partial, open, conflicts, written, reads).hash(&mut hasher);
    (is_stuck, changes_before_copy, fail_write, others, late, conflicting, conflict_time)
        .hash(&mut hasher);
    (descriptors, lacks_to_replace, is_lazy, changed).hash(&mut hasher);
    format!("{ended:?} {commits:?}").hash(&mut hasher);
    pair.now.hash(&mut hasher);
    hasher.finish()
}

/// Meets every history of up to `strides.len()` losses, each followed by any of these recoveries, and lets each come to its end.
///
/// The n-th loss is only at every so many places as the n-th stride says, other ones from state to state.
pub(super) fn follow(
    scene: &Scene,
    recoveries: &[Recovery],
    strides: &[usize],
    check_more: &dyn Fn(&Pair, &str),
) -> Met {
    let mut met = Met::default();
    // One history of those that lead to the same, and how many they are.
    let mut level: Vec<(Vec<Loss>, u64)> = vec![(Vec::new(), 1)];
    for (depth, stride) in strides.iter().enumerate() {
        let mut states = BTreeMap::<u64, (Vec<Loss>, Cut, u64)>::new();
        for (number, (history, count)) in level.iter().enumerate() {
            let what = || format!("{} {history:?}", scene.name);
            let lengths = end(scene, history, check_more, &what);
            met.runs += 1;
            for cut in Cut::all(lengths).skip(number * 7 % stride).step_by(*stride) {
                let what = || format!("{} {history:?} {cut:?}", scene.name);
                let mut pair = replay(scene, history);
                met.runs += 1;
                let was_cut = cut.run(&mut pair);
                check(&pair, scene, &what);
                if was_cut && !is_done(&pair, scene) {
                    let state = states.entry(left(&pair));
                    state.or_insert_with(|| (history.clone(), cut, 0)).2 += count;
                }
            }
        }
        let mut recovered = BTreeMap::<(Recovery, u64), (Vec<Loss>, u64)>::new();
        for (history, cut, count) in states.values() {
            for &recovery in recoveries {
                let history = [&**history, &[Loss { cut: *cut, recovery }]].concat();
                let state = left(&replay(scene, &history));
                // The link of a sender that goes on is another one than that of a new one.
                recovered.entry((recovery, state)).or_insert((history, 0)).1 += count;
                met.histories += count;
            }
        }
        level = recovered.into_values().collect();
        println!("{}: {} states after {} cuts, {met:?}", scene.name, level.len(), depth + 1);
    }
    for (history, _) in &level {
        end(scene, history, check_more, &|| format!("{} {history:?}", scene.name));
        met.runs += 1;
    }
    met
}

fn replay(scene: &Scene, history: &[Loss]) -> Pair {
    let mut pair = scene.pair();
    for (attempt, loss) in (2..).zip(history) {
        loss.cut.run(&mut pair);
        loss.recovery.run(&mut pair, scene, attempt);
    }
    pair
}

fn end(
    scene: &Scene,
    history: &[Loss],
    check_more: &dyn Fn(&Pair, &str),
    what: &impl Fn() -> String,
) -> (usize, usize) {
    let mut pair = replay(scene, history);
    let lengths = finish(&mut pair, scene, what);
    check_more(&pair, &what());
    lengths
}
