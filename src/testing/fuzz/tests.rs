#![expect(clippy::disallowed_methods, reason = "corpora are files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;

/// Bytes that look random and are the same each time.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).expect("every target has a corpus");
    let inputs: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// The kinds of events that a corpus leads to.
fn reached(name: &str, body: fn(&[u8]) -> Vec<Event>) -> BTreeSet<String> {
    let events = corpus(name).into_iter().flat_map(|input| body(&input));
    events.map(|event| format!("{event:?}").split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn targets_with_their_corpora_keep_all_promises() {
    for (name, body) in TARGETS {
        corpus(name).iter().for_each(|input| body(input));
    }
}

#[test]
fn targets_with_noise_keep_all_promises() {
    for (_, body) in TARGETS {
        (0..300).for_each(|seed| body(&noise(seed, 20 + 3 * seed as usize)));
    }
}

/// A forger that is never understood would find nothing.
#[test]
fn corpora_reach_every_event_behind_the_seals() {
    let all = ["Delivered", "Greeted", "Offered", "Progress", "Refused", "Waiting"];
    let receiver = reached("receiver_bytes", forged_sender);
    let missing = |reached: &BTreeSet<String>, name: &&&str| !reached.contains(**name);
    let others = ["Repairing", "Withdrawn"];
    let left: Vec<_> = all.iter().chain(&others).filter(|name| missing(&receiver, name)).collect();
    assert!(left.is_empty(), "the receiver never reports {left:?}");
    let sender = reached("sender_bytes", forged_receiver);
    let left: Vec<_> = all.iter().filter(|name| missing(&sender, name)).collect();
    assert!(left.is_empty(), "the sender never reports {left:?}");
}

#[test]
#[should_panic(expected = "a wait without end")]
fn raw_with_a_deadline_that_has_passed_panics() {
    raw(&[], |_, _, _| Progress::Idle(Duration::ZERO));
}
