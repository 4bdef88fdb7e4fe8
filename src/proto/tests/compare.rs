//! Files that are compared by one hash of all of them: what a sender learns of one that it may not replace, and that
//! each comparison ends.

use std::collections::BTreeSet;
use std::time::Duration;

use super::pair::{Alice, Bob, Pair, content, path};
use super::rogue::{Rogue, inline, wire};
use super::suspended::messages;
use crate::config::{Config, IfExists};
use crate::hash::{BlockHash, BlockSize, Hash};
use crate::proto::wire::message::{Message, Name, WireOffer};
use crate::types::{Activity, EntryId, Event, Meta, Outcome};

const KIB: usize = 1024;
const ZERO: EntryId = EntryId::new(0);
const POLICIES: [IfExists; 4] =
    [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace];

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

/// Messages that a sender may send after its offer, to find something out.
#[derive(Debug, Clone, Copy)]
enum Guess {
    Nothing,
    Claim,
    NoClaim,
    Same,
    Zeros,
    /// The first block, or all but the last one, and then the end of that.
    Blocks(usize),
    Withdraw,
}

/// Returns all that a sender receives that offers this, and then guesses.
fn heard(
    existing: IfExists,
    stands: &[u8],
    offer: &(WireOffer, Vec<u8>),
    guess: Guess,
    guessed: &[u8],
) -> String {
    let mut bob = Bob::default();
    bob.visible.insert(path("a"), stands.to_vec());
    let mut rogue = Rogue::sender(&config().if_exists(existing), bob).greeted();
    rogue.send_with(&Message::Offer(offer.0.clone()), &offer.1);
    let mut heard = vec![rogue.turn()];
    let (entry, blocks) = (ZERO, 0..1);
    match guess {
        Guess::Nothing => {}
        Guess::Claim => rogue.send(&Message::Claim { entry, root: Some(Hash::of(b"?")) }),
        Guess::NoClaim => rogue.send(&Message::Claim { entry, root: None }),
        Guess::Same => rogue.send(&Message::Same { entry, blocks }),
        Guess::Zeros => rogue.send(&Message::Zeros { entry, blocks }),
        Guess::Blocks(count) => {
            let size = offer.0.block_size;
            let guessed = &guessed[..guessed.len().min(count * size.len())];
            for (index, bytes) in (0..).zip(guessed.chunks(size.len())) {
                let hash = size.hash(index, bytes).unwrap().hash;
                rogue.send_with(&Message::Block { entry, index, hash }, bytes);
                if rogue.ended().is_none() {
                    heard.push(rogue.turn());
                }
            }
            let (size, root) = (guessed.len() as u64, Hash::of(guessed));
            rogue.send(&Message::End { entry, size, root });
        }
        Guess::Withdraw => {
            let reason = crate::types::Withdrawal::Changed.into();
            rogue.send(&Message::Withdraw { entry, reason });
        }
    }
    for _ in 0..3 {
        if rogue.ended().is_none() {
            heard.push(rogue.turn());
        }
    }
    heard.push(rogue.receive());
    assert!(rogue.pair.bob.visible[&path("a")] == stands);
    format!("{heard:?} {:?}", rogue.ended())
}

/// Whatever a sender offers and sends, it receives the same whatever a file of that size holds, unless it names the
/// hash of all of it.
#[test]
fn content_of_a_file_that_may_not_be_replaced_is_told_by_nothing_but_its_whole_hash() {
    let guesses = [
        Guess::Nothing,
        Guess::Claim,
        Guess::NoClaim,
        Guess::Same,
        Guess::Zeros,
        Guess::Blocks(1),
        Guess::Blocks(2),
        Guess::Withdraw,
    ];
    let mut sessions = 0;
    for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename] {
        for len in [1, 700, 1024, 2048, 3000, 9000] {
            // One of which all but the last byte is guessed, and one of which nothing is.
            let (near, far) = (content(1, len), content(2, len));
            let mut guessed = near.clone();
            *guessed.last_mut().unwrap() ^= 1;
            for exponent in [0, 1, 3] {
                let block_size = BlockSize::from_exponent(exponent).unwrap();
                let mut offers = Vec::new();
                for size in [None, Some(0), Some(len - 1), Some(len), Some(len + 1)] {
                    let size = size.map(|size| size as u64);
                    offers.push((WireOffer { block_size, ..wire(0, b"a", size) }, Vec::new()));
                }
                if len <= block_size.len() {
                    let whole = WireOffer { block_size, ..inline(0, b"a", &guessed) };
                    offers.push((WireOffer { inline: false, ..whole.clone() }, Vec::new()));
                    let damaged = vec![7; len];
                    offers.extend([(whole.clone(), guessed.clone()), (whole, damaged)]);
                }
                for offer in &offers {
                    for guess in guesses {
                        let hear = |stands| heard(existing, stands, offer, guess, &guessed);
                        let told = hear(&near);
                        assert_eq!(told, hear(&far), "{existing:?} {len} {offer:?} {guess:?}");
                        sessions += 1;
                    }
                }
            }
        }
    }
    assert!(sessions > 2000, "{sessions}");
    // What is told is told to whoever names it.
    let bytes = content(1, 3000);
    let mut bob = Bob::default();
    bob.visible.insert(path("a"), bytes.clone());
    let mut rogue = Rogue::sender(&config(), bob).greeted();
    rogue.send(&Message::Offer(wire(0, b"a", Some(3000))));
    rogue.turn();
    rogue.send(&Message::Claim { entry: ZERO, root: Some(Hash::of(&bytes)) });
    assert!(matches!(rogue.turn()[0], Message::Receipt { outcome: Outcome::Held, .. }));
}

/// Way in which the content of a file comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Sized,
    Stream,
    Windowed(u64),
    SizedWindowed(u64),
}

fn pair(existing: IfExists, way: Way, bytes: &[u8]) -> Pair {
    let size = matches!(way, Way::Sized | Way::SizedWindowed(_)).then_some(bytes.len() as u64);
    let window = match way {
        Way::Sized | Way::Stream => None,
        Way::Windowed(window) | Way::SizedWindowed(window) => Some(window),
    };
    let files = vec![(Meta::file(path("a"), size), bytes.to_vec())];
    let alice = Alice { files, window, ..Alice::default() };
    let config = config().if_exists(existing);
    Pair::with(&config, &config, alice, Bob::default())
}

/// Returns files that stand under the name: nothing, the same, and all that differs in one respect.
fn existing_files(bytes: &[u8]) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let mut all = vec![("nothing", None), ("equal", Some(bytes.to_vec())), ("empty", Some(vec![]))];
    all.push(("longer by a byte", Some([bytes, b"x"].concat())));
    all.push(("longer by blocks", Some([bytes, &[7; 5000]].concat())));
    for (name, at) in [("other first block", 0), ("other last block", bytes.len().wrapping_sub(1))]
    {
        let mut other = bytes.to_vec();
        if let Some(byte) = other.get_mut(at) {
            *byte ^= 1;
            all.push((name, Some(other)));
        }
    }
    for (name, len) in
        [("shorter by a byte", bytes.len().wrapping_sub(1)), ("half", bytes.len() / 2)]
    {
        all.extend(bytes.get(..len).map(|start| (name, Some(start.to_vec()))));
    }
    all
}

#[test]
fn comparison_of_whatever_with_whatever_ends_with_one_end_under_every_policy() {
    let mut sessions = 0;
    for existing in POLICIES {
        for way in [
            Way::Sized,
            Way::Stream,
            Way::Windowed(2048),
            Way::Windowed(1 << 20),
            Way::SizedWindowed(2048),
            Way::SizedWindowed(1 << 20),
        ] {
            for len in [0, 1, 700, 1024, 1025, 5000, 8192] {
                let bytes = content(1, len);
                for (what, stands) in existing_files(&bytes) {
                    let case = format!("{existing:?} {way:?} {len} over {what}");
                    let mut pair = pair(existing, way, &bytes);
                    pair.bob.visible.extend(stands.clone().map(|stands| (path("a"), stands)));
                    let summary = pair.run_well();
                    sessions += 1;
                    // Each side would wait for the other for ever, or send what is not needed.
                    assert!(summary.turns <= 4 + len as u64 / 1024, "{case}: {}", summary.turns);
                    assert!(pair.now < Duration::from_secs(1), "{case}");
                    let said = messages(&pair.down.record);
                    let count = |name| said.iter().filter(|(_, said)| said.name() == name).count();
                    assert!(count(Name::End) <= 1 && count(Name::Claim) <= 1, "{case}");
                    assert!(summary.sent <= len as u64, "{case}: {} sent", summary.sent);
                    assert!(pair.bob.partial.is_empty() && pair.bob.open.is_empty(), "{case}");
                    let is_equal = stands.as_ref().is_none_or(|stands| *stands == bytes);
                    let sum = (summary.delivered, summary.refused, summary.skipped);
                    // What cannot be read twice counts as different, save where it is replaced.
                    let is_read_once = way == Way::SizedWindowed(2048) && len > 2048;
                    let is_equal = is_equal && (!is_read_once || stands.is_none());
                    let expected = match existing {
                        _ if is_equal => (1, 0, 0),
                        IfExists::Refuse => (0, 1, 0),
                        IfExists::Skip => (0, 0, 1),
                        IfExists::Rename | IfExists::Replace => (1, 0, 0),
                    };
                    assert_eq!(sum, expected, "{case}");
                    let visible = &pair.bob.visible;
                    let beside = visible.get(&path("a-1"));
                    match (existing, stands) {
                        (IfExists::Replace, _) | (_, None) => {
                            assert!(visible[&path("a")] == bytes, "{case}");
                            assert_eq!(beside, None, "{case}");
                        }
                        (_, Some(stands)) => {
                            assert!(visible[&path("a")] == stands, "{case}");
                            let is_beside = existing == IfExists::Rename && !is_equal;
                            assert_eq!(beside, is_beside.then_some(&bytes), "{case}");
                        }
                    }
                }
            }
        }
    }
    assert!(sessions > 1000, "{sessions}");
}

#[test]
fn stream_that_is_longer_than_what_has_its_name_is_refused_when_that_is_seen() {
    for (existing, counts) in [(IfExists::Refuse, (1, 0)), (IfExists::Skip, (0, 1))] {
        let mut pair = pair(existing, Way::Windowed(4096), &content(1, 100 * KIB));
        pair.bob.visible.insert(path("a"), content(1, 3 * KIB));
        let summary = pair.run_well();
        assert_eq!((summary.refused, summary.skipped), counts);
        assert!(summary.sent <= 8 * KIB as u64, "{existing:?}: {} sent", summary.sent);
        assert!(pair.bob.partial.is_empty() && pair.bob.open.is_empty());
    }
}

#[test]
fn entry_that_stands_beside_is_found_by_one_claim() {
    let bytes = content(1, 5000);
    let mut pair = pair(IfExists::Rename, Way::Sized, &bytes);
    for (name, stands) in [("a", content(2, 5000)), ("a-1", content(3, 4999)), ("a-2", bytes)] {
        pair.bob.visible.insert(path(name), stands);
    }
    let summary = pair.run_well();
    assert_eq!((summary.held, summary.sent, summary.turns), (1, 0, 2));
    let claims = messages(&pair.down.record).into_iter();
    assert_eq!(claims.filter(|(_, said)| said.name() == Name::Claim).count(), 1);
    let Some(Event::Delivered { receipt, .. }) = pair.alice.events.last() else {
        panic!("{:?}", pair.alice.events)
    };
    assert_eq!(receipt.path, path("a-2"));
}

/// Cut while the sender hashes, and while the receiver does: after each block.
#[test]
fn comparison_that_is_cut_goes_on_without_reading_anything_twice() {
    let bytes = content(1, 20 * KIB);
    for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename] {
        for stands in [["same", ""], ["other", ""], ["other", "same"], ["other", "other"]] {
            for (sent, read) in
                (0..=20).map(|sent| (sent, 0)).chain((1..=40).map(|read| (20, read)))
            {
                let config = config().if_exists(existing);
                let mut pair = pair(existing, Way::Sized, &bytes);
                for (name, what) in ["a", "a-1"].into_iter().zip(stands) {
                    let mut stands = bytes.clone();
                    stands[19 * KIB] ^= u8::from(what == "other");
                    if !what.is_empty() {
                        pair.bob.visible.insert(path(name), stands);
                    }
                }
                let case = format!("{existing:?} {stands:?} {sent} {read}");
                while pair.alice.reads.len() < sent || pair.bob.reads.len() < read {
                    if !(pair.step_sender() | pair.step_receiver()) || pair.alice.ended.is_some() {
                        break;
                    }
                }
                if pair.alice.ended.is_some() {
                    continue;
                }
                pair.reconnect_suspended(&config, 2);
                let summary = pair.run_well();
                let is_same = stands[0] == "same" || existing == IfExists::Rename;
                assert_eq!(summary.delivered, u64::from(is_same), "{case}");
                let travels = existing == IfExists::Rename && !stands.contains(&"same");
                assert_eq!(summary.sent, if travels { bytes.len() as u64 } else { 0 }, "{case}");
                let mut seen = BTreeSet::new();
                for read in &pair.bob.reads {
                    assert!(seen.insert(read), "{case}: {read:?} is read twice");
                }
                // Once for the claim, and once to travel.
                let most = if travels { 40 } else { 20 };
                assert_eq!(pair.alice.reads.len(), most, "{case}");
            }
        }
    }
}

#[test]
fn comparison_that_takes_hours_at_either_side_is_borne() {
    let bytes = content(1, 200 * KIB);
    for (at_sender, at_receiver) in [(10, 0), (0, 10), (10, 10)] {
        for stands in ["a", "late"] {
            let mut pair = pair(IfExists::Refuse, Way::Sized, &bytes);
            if stands == "a" {
                pair.bob.visible.insert(path("a"), bytes.clone());
            } else {
                pair.bob.late.insert(path("a"), bytes.clone());
            }
            // Well below the silence that either side bears, hundreds of times.
            pair.alice.read_time = Duration::from_secs(at_sender);
            pair.bob.conflict_time = Duration::from_secs(at_receiver);
            assert_eq!(pair.run_well().held, 1, "{at_sender} {at_receiver} {stands}");
            assert!(pair.now > Duration::from_secs(1800));
        }
    }
}

/// Each block counts once, whatever number of connections are lost over it.
#[test]
fn receiver_that_hashes_anew_on_each_connection_makes_no_progress_in_the_end() {
    let files = vec![(Meta::file(path("a"), Some(5000)), content(1, 5000))];
    let alice = Alice { files, ..Alice::default() };
    let mut rogue = Rogue::receiver(&config(), alice).greeted();
    let mut progress = Vec::new();
    for attempt in 2..12 {
        rogue.receive();
        let (entry, hashes) = (ZERO, Vec::<BlockHash>::new());
        rogue.send(&Message::Have { entry, first: 0, hashes, more: false, compare: true });
        rogue.over(true);
        rogue.settle();
        assert!(rogue.receive().iter().any(|said| said.name() == Name::Claim));
        for _ in 0..2 {
            rogue.send(&Message::Heartbeat { activity: Activity::Verifying });
            rogue.wait(Duration::from_secs(5));
        }
        progress.push(rogue.pair.sender.progress());
        rogue = rogue.again(&config(), attempt);
    }
    assert!(progress.is_sorted() && progress[0] < progress[1], "{progress:?}");
    assert_eq!(progress[5..], [progress[5]; 5], "{progress:?}");
}

/// A receiver that only says that it hashes is left in the end: it has no more steps to make than the file has blocks.
#[test]
fn receiver_that_hashes_for_ever_is_left_in_the_end() {
    let files = vec![(Meta::file(path("a"), Some(5000)), content(1, 5000))];
    let alice = Alice { files, ..Alice::default() };
    let mut rogue = Rogue::receiver(&config(), alice).greeted();
    rogue.receive();
    let (entry, hashes) = (ZERO, Vec::<BlockHash>::new());
    rogue.send(&Message::Have { entry, first: 0, hashes, more: false, compare: true });
    rogue.over(true);
    rogue.settle();
    assert!(rogue.receive().iter().any(|said| said.name() == Name::Claim));
    let start = rogue.pair.now;
    while rogue.ended().is_none() {
        rogue.send(&Message::Heartbeat { activity: Activity::Verifying });
        rogue.wait(Duration::from_secs(20));
        assert!(rogue.pair.now - start < Duration::from_secs(20 * 5 + 920), "for ever");
    }
}
