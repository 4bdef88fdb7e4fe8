//! Names that are taken between the offer of an entry and its commit.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pair::{Bob, Ended, Pair, content, path};
use super::rogue::{Rogue, wire};
use crate::config::{Config, IfExists, Limits};
use crate::hash::{BlockSize, Hash};
use crate::proto::Error;
use crate::proto::error::Misuse;
use crate::proto::wire::message::Message;
use crate::types::{AbortCode, Activity, EntryId, Event, Outcome, Place, Refusal, Ticket};

const POLICIES: [IfExists; 4] =
    [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace];

/// Way in which the content of a file comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// In its offer, or in blocks: by its length alone.
    Offered,
    Unsized,
    ByRoot,
}

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

fn pair(existing: IfExists, way: Way, bytes: &[u8]) -> Pair {
    let mut pair = Pair::new(&config().if_exists(existing), &[("a", bytes.to_vec())]);
    match way {
        Way::Offered => {}
        Way::Unsized => pair = pair.unsized_files(None),
        Way::ByRoot => pair.receiver.advertise_hash_first(),
    }
    pair
}

/// Returns every length that matters, and every way that is one for it.
fn cases() -> Vec<(Way, Vec<u8>)> {
    let mut cases = Vec::new();
    for len in [0, 1, 1024, 1025, 5000, 8192] {
        cases.push((Way::Offered, content(1, len)));
        cases.push((Way::Unsized, content(1, len)));
        if (1..=1024).contains(&len) {
            cases.push((Way::ByRoot, content(1, len)));
        }
    }
    cases
}

fn others(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut others = vec![[bytes, b"longer"].concat()];
    if let Some((last, rest)) = bytes.split_last() {
        others.push(rest.to_vec());
        others.push([rest, &[last ^ 1]].concat());
        let mut first = bytes.to_vec();
        first[0] ^= 1;
        others.push(first);
    }
    others
}

fn outcomes(events: &[Event]) -> Vec<Outcome> {
    let outcome = |event: &Event| match event {
        Event::Delivered { receipt, .. } => Some(receipt.outcome),
        _ => None,
    };
    events.iter().filter_map(outcome).collect()
}

fn refusals(events: &[Event]) -> Vec<Refusal> {
    let refusal = |event: &Event| match event {
        Event::Refused { reason, .. } => Some(*reason),
        _ => None,
    };
    events.iter().filter_map(refusal).collect()
}

fn stands(files: &[(&str, &[u8])]) -> BTreeMap<crate::types::RelPath, Vec<u8>> {
    files.iter().map(|(name, bytes)| (path(name), bytes.to_vec())).collect()
}

/// Checks that nothing is open, and that nothing is left that was written.
fn assert_clean(pair: &Pair, case: &str) {
    let bob = &pair.bob;
    assert!(bob.open.is_empty() && bob.conflicts.is_empty() && bob.partial.is_empty(), "{case}");
}

#[test]
fn name_that_equal_content_has_by_then_is_a_success_under_each_policy() {
    for existing in POLICIES {
        for (way, bytes) in cases() {
            let mut pair = pair(existing, way, &bytes);
            pair.bob.others.push_back(Some(bytes.clone()));
            let summary = pair.run_well();
            let case = format!("{existing:?} {way:?} {}", bytes.len());
            assert_eq!((summary.delivered, summary.refused, summary.skipped), (1, 0, 0), "{case}");
            assert_eq!(pair.bob.visible, stands(&[("a", &bytes)]), "{case}");
            // Where it is replaced, it need not be read.
            let replaces = existing == IfExists::Replace;
            let outcome = if replaces { Outcome::Stored } else { Outcome::Held };
            for events in [&pair.alice.events, &pair.bob.events] {
                assert_eq!(outcomes(events), [outcome], "{case}");
            }
            let blocks = bytes.len().div_ceil(1024);
            assert_eq!(pair.bob.conflict_reads, if replaces { 0 } else { blocks }, "{case}");
            assert_clean(&pair, &case);
        }
    }
}

#[test]
fn name_that_other_content_has_by_then_is_dealt_with_by_the_policy() {
    for existing in POLICIES {
        for (way, bytes) in cases() {
            for other in others(&bytes) {
                let mut pair = pair(existing, way, &bytes);
                pair.bob.others.push_back(Some(other.clone()));
                let summary = pair.run_well();
                let case = format!("{existing:?} {way:?} {} {}", bytes.len(), other.len());
                let (counts, reasons, files): (_, &[_], &[(&str, &[u8])]) = match existing {
                    IfExists::Refuse => ((0, 1, 0), &[Refusal::Exists], &[("a", &other)]),
                    IfExists::Skip => ((0, 0, 1), &[Refusal::Skipped], &[("a", &other)]),
                    IfExists::Rename => ((1, 0, 0), &[], &[("a", &other), ("a-1", &bytes)]),
                    IfExists::Replace => ((1, 0, 0), &[], &[("a", &bytes)]),
                };
                let found = (summary.delivered, summary.refused, summary.skipped);
                assert_eq!(found, counts, "{case}");
                assert_eq!(refusals(&pair.alice.events), reasons, "{case}");
                assert_eq!(refusals(&pair.bob.events), reasons, "{case}");
                assert_eq!(pair.bob.visible, stands(files), "{case}");
                if other.len() != bytes.len() {
                    assert_eq!(pair.bob.conflict_reads, 0, "{case}: its length says it");
                }
                assert_clean(&pair, &case);
            }
        }
    }
}

#[test]
fn name_that_is_taken_before_the_content_of_an_offer_by_root_comes_is_settled_in_the_end() {
    let bytes = content(1, 1000);
    let other = content(2, 1000);
    for existing in POLICIES {
        for (conflict, is_same) in [(&bytes, true), (&other, false)] {
            // Once for the offer, and once for the block.
            let mut pair = pair(existing, Way::ByRoot, &bytes);
            pair.bob.conflicting.extend([None, Some(conflict.clone())]);
            let summary = pair.run_well();
            let case = format!("{existing:?} {is_same}");
            let delivered = is_same || matches!(existing, IfExists::Rename | IfExists::Replace);
            assert_eq!(summary.delivered, u64::from(delivered), "{case}");
            let files: &[(&str, &[u8])] = match existing {
                IfExists::Rename if !is_same => &[("a", conflict), ("a-1", &bytes)],
                IfExists::Replace => &[("a", &bytes)],
                _ => &[("a", conflict)],
            };
            assert_eq!(pair.bob.visible, stands(files), "{case}");
            assert_clean(&pair, &case);
        }
    }
}

#[test]
fn name_that_becomes_free_again_is_taken() {
    let bytes = content(1, 5000);
    for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename] {
        let mut pair = pair(existing, Way::Offered, &bytes);
        // Another one has it, which is gone when it is to be vouched for.
        pair.bob.others.extend([Some(bytes.clone()), None]);
        pair.run_well();
        assert_eq!(outcomes(&pair.alice.events), [Outcome::Stored], "{existing:?}");
        assert_eq!(pair.bob.visible, stands(&[("a", &bytes)]));
        assert_clean(&pair, "free again");
    }
}

#[test]
fn name_that_is_lost_twice_in_a_row_is_dealt_with_by_what_stands_then() {
    let bytes = content(1, 5000);
    let other = content(2, 5000);
    // The same at first, and something else when it is to be vouched for.
    let mut refused = pair(IfExists::Refuse, Way::Offered, &bytes);
    refused.bob.others.extend([Some(bytes.clone()), Some(other.clone())]);
    refused.run_well();
    assert_eq!(refusals(&refused.alice.events), [Refusal::Exists]);
    assert_eq!(refused.bob.visible, stands(&[("a", &other)]));
    assert_clean(&refused, "refused");
    // The first name beside is lost in the same way, and the second has the same content.
    for (conflicts, files) in [
        ([&other, &other], &[("a", &other), ("a-1", &other), ("a-2", &bytes)][..]),
        ([&other, &bytes], &[("a", &other), ("a-1", &bytes)][..]),
    ] {
        let mut renamed = pair(IfExists::Rename, Way::Offered, &bytes);
        renamed.bob.others.extend(conflicts.map(|conflict| Some(conflict.clone())));
        renamed.run_well();
        let files: Vec<_> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
        assert_eq!(renamed.bob.visible, stands(&files));
        let places: Vec<_> = renamed.bob.committed.iter().map(|commit| commit.place).collect();
        assert_eq!(places[..2], [Place::Offered, Place::Beside(1)]);
        assert_clean(&renamed, "renamed");
    }
}

#[test]
fn file_that_was_found_equal_and_changed_before_its_receipt_is_left_as_it_is() {
    for existing in POLICIES {
        for (way, bytes) in cases() {
            let other = [bytes.as_slice(), b"longer"].concat();
            let mut pair = pair(existing, way, &bytes);
            pair.bob.visible.insert(path("a"), bytes.clone());
            if way == Way::Unsized && existing != IfExists::Replace {
                // It is not looked at before its content is there.
                continue;
            }
            pair.bob.changed = Some(other.clone());
            let summary = pair.run_well();
            let case = format!("{existing:?} {way:?} {}", bytes.len());
            let is_skip = existing == IfExists::Skip;
            let reason = if is_skip { Refusal::Skipped } else { Refusal::Exists };
            for events in [&pair.alice.events, &pair.bob.events] {
                assert_eq!(refusals(events), [reason], "{case}");
            }
            let skipped = u64::from(is_skip);
            let counts = (summary.delivered, summary.refused, summary.skipped);
            assert_eq!(counts, (0, 1 - skipped, skipped), "{case}");
            assert_eq!(pair.bob.visible, stands(&[("a", &other)]), "{case}");
            assert_clean(&pair, &case);
            // The next transfer decides by what stands then.
            pair.restart(&config().if_exists(existing));
            let summary = pair.run_well();
            let is_put = matches!(existing, IfExists::Rename | IfExists::Replace);
            assert_eq!(summary.delivered, u64::from(is_put), "{case}");
        }
    }
}

#[test]
fn name_that_comes_and_goes_for_ever_is_a_refusal_in_the_end() {
    let bytes = content(1, 1000);
    let mut pair = pair(IfExists::Skip, Way::Offered, &bytes);
    for _ in 0..1000 {
        pair.bob.others.extend([Some(bytes.clone()), None]);
    }
    pair.run_well();
    assert_eq!(refusals(&pair.alice.events), [Refusal::Exists]);
    assert!(pair.bob.committed.len() < 50, "{} commits", pair.bob.committed.len());
    assert_clean(&pair, "for ever");
}

#[test]
fn conflict_that_takes_long_to_hash_is_waited_for_under_heartbeats() {
    let bytes = content(1, 60 * 1024);
    for existing in [IfExists::Refuse, IfExists::Rename] {
        let mut pair = pair(existing, Way::Offered, &bytes);
        pair.bob.others.push_back(Some(bytes.clone()));
        // Four times as long as silence may last.
        pair.bob.conflict_time = Duration::from_secs(2);
        pair.run_well();
        assert_eq!(outcomes(&pair.alice.events), [Outcome::Held]);
        let verifying = Event::Waiting { activity: Activity::Verifying };
        let heard = pair.alice.events.iter().filter(|event| **event == verifying).count();
        assert!(heard >= 15, "{heard} heartbeats in two minutes");
        assert_clean(&pair, "long");
    }
}

/// Runs until so many blocks of what has the name were read.
fn run_into_the_comparison(pair: &mut Pair, reads: usize) {
    while pair.bob.conflict_reads < reads {
        assert!(pair.step_sender() | pair.step_receiver(), "it comes so far");
    }
}

#[test]
fn comparison_that_is_cut_off_is_taken_up_by_the_next_attempt() {
    let bytes = content(1, 20 * 1024);
    for existing in POLICIES {
        for reads in [0, 1, 7, 20] {
            let config = config().if_exists(existing);
            let mut pair = pair(existing, Way::Offered, &bytes);
            pair.bob.others.push_back(Some(bytes.clone()));
            if existing != IfExists::Replace {
                run_into_the_comparison(&mut pair, reads);
            }
            pair.restart(&config);
            let summary = pair.run_well();
            assert_eq!(summary.delivered, 1, "{existing:?} {reads}");
            assert_eq!(pair.bob.visible, stands(&[("a", &bytes)]), "{existing:?} {reads}");
        }
    }
}

#[test]
fn name_that_is_taken_about_a_lost_connection_is_decided_on_the_next() {
    let bytes = content(1, 3000);
    for (existing, other, is_late) in POLICIES.into_iter().flat_map(|existing| {
        let others = [bytes.clone(), content(2, 3000), content(1, 2000)];
        others
            .into_iter()
            .flat_map(move |other| [false, true].map(|is_late| (existing, other.clone(), is_late)))
    }) {
        let config = config().if_exists(existing);
        let new = || {
            let mut pair = pair(existing, Way::Offered, &bytes);
            pair.bob.others.push_back(Some(other.clone()));
            pair
        };
        let mut whole = new();
        let _ = whole.run();
        let lens = [whole.down.record.len(), whole.up.record.len()];
        for (down, at) in [(true, lens[0]), (false, lens[1])]
            .into_iter()
            .flat_map(|(down, len)| (0..len).map(move |at| (down, at)))
        {
            let case = format!("{existing:?} {} {is_late} {down} {at}", other == bytes);
            let mut pair = new();
            // The store may say that the name is taken before or after the connection is lost.
            pair.bob.is_stuck = is_late;
            if down {
                pair.down.cut = Some(at)
            } else {
                pair.up.cut = Some(at)
            }
            pair.run_while_moving();
            if pair.alice.ended.is_some_and(|ended| ended.is_ok()) {
                continue;
            }
            pair.reconnect_suspended(&config, 2);
            pair.bob.is_stuck = false;
            let (Ok(summary), Ok(_)) = pair.run() else { panic!("{case}") };
            let sum = (summary.delivered, summary.refused, summary.skipped);
            let (expected, visible) = match existing {
                _ if other == bytes => ((1, 0, 0), stands(&[("a", &bytes)])),
                IfExists::Refuse => ((0, 1, 0), stands(&[("a", &other)])),
                IfExists::Skip => ((0, 0, 1), stands(&[("a", &other)])),
                IfExists::Rename => ((1, 0, 0), stands(&[("a", &other), ("a-1", &bytes)])),
                IfExists::Replace => ((1, 0, 0), stands(&[("a", &bytes)])),
            };
            assert_eq!((sum, &pair.bob.visible), (expected, &visible), "{case}");
            assert_eq!(pair.bob.written, 3000, "{case}");
            assert_clean(&pair, &case);
        }
    }
}

#[test]
fn comparison_that_is_cancelled_leaves_both_files() {
    let bytes = content(1, 20 * 1024);
    let mut pair = pair(IfExists::Refuse, Way::Offered, &bytes);
    pair.bob.others.push_back(Some(bytes.clone()));
    run_into_the_comparison(&mut pair, 3);
    pair.receiver.end(pair.now, AbortCode::Cancelled);
    let ended = pair.run();
    assert_eq!(ended, (Err(Error::Aborted(AbortCode::Cancelled)), Err(Error::Cancelled)));
    assert_eq!(pair.bob.conflict_reads, 3, "nothing is read any more");
    assert_eq!(pair.bob.visible, stands(&[("a", &bytes)]));
    assert_eq!(pair.bob.partial, stands(&[("a", &bytes)]), "for a later attempt");
}

#[test]
fn conflicts_of_many_small_files_do_not_stay_open_together() {
    let files: Vec<_> = (0..500).map(|n| (format!("f{n}"), content(n, 700))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
    let mut pair = Pair::new(&config(), &files);
    for (name, bytes) in &files {
        pair.bob.late.insert(path(name), bytes.clone());
    }
    let summary = pair.run_well();
    assert_eq!((summary.delivered, summary.held), (500, 500));
    assert!(pair.bob.most_conflicts <= 2, "{} at a time", pair.bob.most_conflicts);
    assert_clean(&pair, "many");
}

#[test]
fn conflicts_of_many_large_files_are_no_more_than_the_limits_allow() {
    let limits = Limits::default().commits(3).open_entries(2);
    let config = config().limits(limits);
    let files: Vec<_> = (0..40).map(|n| (format!("f{n}"), content(n, 5000))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
    let mut pair = Pair::new(&config, &files);
    for (name, bytes) in &files {
        pair.bob.late.insert(path(name), bytes.clone());
    }
    let summary = pair.run_well();
    assert_eq!((summary.delivered, summary.held), (40, 40));
    assert!(pair.bob.most_conflicts <= 3 + 2, "{} at a time", pair.bob.most_conflicts);
    assert_clean(&pair, "large");
}

/// A sender that always has something else to ask about, so that no comparison is what it waits for.
#[test]
fn conflicts_do_not_add_up_over_the_turns_of_a_sender_that_asks_for_more() {
    const FILES: u32 = 30;
    let limits = Limits::default().commits(3).open_entries(2);
    let mut bob = Bob::default();
    let bytes = content(1, 2048);
    for n in 0..FILES {
        bob.late.insert(path(&format!("f{n}")), bytes.clone());
    }
    let mut rogue = Rogue::sender(&config().limits(limits), bob).greeted();
    let mut receipts = 0;
    let count = |said: &[Message]| {
        said.iter().filter(|message| matches!(message, Message::Receipt { .. })).count()
    };
    for n in 0..=FILES {
        if n < FILES {
            rogue.send(&Message::Offer(wire(n, format!("f{n}").as_bytes(), Some(2048))));
        }
        receipts += count(&rogue.turn());
        if n < FILES {
            let entry = EntryId::new(n);
            for (index, bytes) in (0..).zip(bytes.chunks(1024)) {
                let hash = BlockSize::MIN.hash(index, bytes).unwrap().hash;
                rogue.send_with(&Message::Block { entry, index, hash }, bytes);
            }
            rogue.send(&Message::End { entry, size: 2048, root: Hash::of(&bytes) });
        }
    }
    while receipts < FILES as usize {
        let said = count(&rogue.turn());
        assert!(said > 0, "{receipts} receipts");
        receipts += said;
    }
    assert!(rogue.pair.bob.most_conflicts <= 4, "{} at a time", rogue.pair.bob.most_conflicts);
    assert_clean(&rogue.pair, "rogue");
}

/// Commits of other sessions end while this one looks at what has the name; and so does its own, twice.
#[test]
fn tickets_of_others_and_tickets_that_come_twice_change_nothing_while_a_name_has_conflict() {
    let bytes = content(1, 5000);
    let mut pair = pair(IfExists::Refuse, Way::Offered, &bytes);
    let anothers = Ticket::new([9; 16], 0);
    let misplaced = |pair: &mut Pair, ticket| {
        assert_eq!(pair.receiver.committing(ticket), None);
        let commits = pair.receiver.commits();
        assert_eq!(pair.receiver.handle_taken(ticket, None), Ok(()));
        assert_eq!(pair.receiver.handle_taken(ticket, Some(5000)), Ok(()));
        assert_eq!(pair.receiver.handle_committed(ticket, Ok(path("a"))), Ok(()));
        assert_eq!(pair.receiver.handle_committed(ticket, Err(Refusal::Denied)), Ok(()));
        assert_eq!(pair.receiver.commits(), commits);
    };
    misplaced(&mut pair, anothers);
    pair.bob.others.push_back(Some(bytes.clone()));
    run_into_the_comparison(&mut pair, 2);
    misplaced(&mut pair, anothers);
    let own = pair.bob.committed[0].ticket;
    misplaced(&mut pair, own);
    // The conflict is to be committed now: it is not the store's to hand back.
    pair.bob.is_stuck = true;
    pair.run_while_moving();
    let conflict = pair.bob.committed[1].ticket;
    assert_eq!(pair.receiver.committing(conflict), Some(EntryId::new(0)));
    let not_asked = Err(Error::Misuse(Misuse::NotAsked));
    assert_eq!(pair.receiver.handle_taken(conflict, None), not_asked);
    misplaced(&mut pair, own);
    pair.bob.is_stuck = false;
    pair.run_well();
    assert_eq!(outcomes(&pair.alice.events), [Outcome::Held]);
    misplaced(&mut pair, conflict);
}

#[test]
fn name_that_something_has_which_is_no_file_is_a_clash_under_each_policy() {
    for existing in POLICIES {
        for what in ["folder", "file"] {
            let bytes = content(1, 5000);
            let mut pair = pair(existing, Way::Offered, &bytes);
            pair.bob.is_stuck = true;
            pair.run_while_moving();
            let entry = EntryId::new(0);
            // What was committed is open again: a folder has the name, or a file of another length.
            let conflict = (what == "file").then_some(1);
            pair.bob.commits.clear();
            let ticket = pair.bob.committed[0].ticket;
            pair.bob.commits.push_back((ticket, Ended::Taken(conflict)));
            pair.bob.visible.clear();
            pair.bob.partial.insert(path("a"), bytes.clone());
            pair.bob.open.insert(entry, (path("a"), None));
            pair.bob.is_stuck = false;
            pair.run_well();
            let expected = match (what, existing) {
                ("folder", _) => Some(Refusal::KindClash),
                (_, IfExists::Refuse) => Some(Refusal::Exists),
                (_, IfExists::Skip) => Some(Refusal::Skipped),
                (_, IfExists::Rename | IfExists::Replace) => None,
            };
            let case = format!("{existing:?} {what}");
            assert_eq!(refusals(&pair.alice.events), Vec::from_iter(expected), "{case}");
            assert_clean(&pair, &case);
        }
    }
}
