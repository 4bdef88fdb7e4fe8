#![expect(clippy::disallowed_methods, reason = "corpora are files")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::moves::Moves;
use super::trouble::Trouble;
use super::*;

/// Returns bytes that look random and are the same each time.
pub(super) fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(super) fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).expect("every target has a corpus");
    let inputs: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(!inputs.is_empty(), "{} is empty", folder.display());
    inputs
}

/// Returns the kinds of events that a corpus leads to.
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

#[test]
fn sessions_with_noise_and_a_store_in_trouble_keep_all_promises() {
    for seed in 0..300 {
        let mut input = noise(seed, 20 + 3 * seed as usize);
        input.push(b'~');
        session(&input);
    }
}

#[test]
fn sessions_with_noise_and_all_moves_keep_all_promises() {
    for seed in 0..300 {
        session(&moving(seed));
    }
}

/// Returns noise that chooses everything there is to choose.
fn moving(seed: u32) -> Vec<u8> {
    let mut input = noise(seed, 100 + seed as usize % 400);
    if seed.is_multiple_of(2) {
        input.push(b'~');
    }
    input.extend(noise(seed + 1_000_000, 63));
    input.push(b'^');
    input
}

/// An input chooses the same now as before there was trouble.
#[test]
fn trouble_takes_nothing_from_an_input_that_does_not_end_with_its_mark() {
    for input in [&b""[..], b"~", b"0123456789", b"0123456789ab"] {
        let (rest, trouble) = Trouble::of(input);
        assert_eq!((rest, trouble.is_none()), (input, true));
    }
    assert!(Moves::of(b"0123456789~").1.is_none() && !Moves::of(&moving(1)).1.is_none());
    let (rest, trouble) = Trouble::of(b"ab0123456789~");
    assert_eq!((rest, trouble.is_none()), (&b"ab"[..], false));
    let (marked, plain): (Vec<_>, Vec<_>) =
        corpus("session").into_iter().partition(|input| !Trouble::of(input).1.is_none());
    assert!(marked.len() > 9 && plain.len() > 50, "{} {}", marked.len(), plain.len());
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
