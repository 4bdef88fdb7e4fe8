//! Treatment of a file that the receiver has under the name of an entry.

use super::{KIB, config, file, sizes};
use crate::config::{IfExists, Limits};
use crate::proto::tests::pair::{Pair, content, path};
use crate::types::{Event, Refusal};

#[test]
fn equal_file_is_receipted_as_held_under_every_policy() {
    for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace] {
        for len in sizes() {
            for is_sized in [true, false] {
                let config = config().if_exists(existing);
                let mut pair = Pair::new(&config, &[file("a", 1, len)]);
                pair.bob.visible.insert(path("a"), content(1, len));
                if !is_sized {
                    pair = pair.unsized_files(None);
                }
                let summary = pair.run_well();
                assert_eq!(summary.held, 1, "{existing:?} {len} {is_sized}");
                let case = format!("{existing:?} {len} {is_sized}");
                if !is_sized && existing != IfExists::Replace {
                    // Nothing is told of the file before the content is there.
                    assert_eq!(
                        (pair.bob.written, summary.sent),
                        (len as u64, len as u64),
                        "{case}"
                    );
                    assert!(pair.bob.partial.is_empty(), "{case}");
                } else {
                    assert_eq!(pair.bob.written, 0, "{case}");
                    if len > KIB {
                        assert_eq!(summary.sent, 0, "{case}");
                    }
                }
                assert_eq!(pair.bob.visible.len(), 1);
            }
        }
    }
}

/// Returns a held file that differs in its first, a middle or its last block, or in its length.
fn variants(len: usize) -> Vec<Vec<u8>> {
    let whole = content(1, len);
    let mut variants = vec![[&whole[..], b"x"].concat(), [&whole[..], &[7; 3000]].concat()];
    variants.extend([0, len / 2, len.saturating_sub(1)].into_iter().filter(|at| *at < len).map(
        |at| {
            let mut other = whole.clone();
            other[at] ^= 1;
            other
        },
    ));
    variants.extend([len / 2, len.saturating_sub(1)].map(|cut| whole[..cut].to_vec()));
    variants.retain(|variant| *variant != whole);
    variants
}

#[test]
fn different_file_is_dealt_with_by_the_policy() {
    for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace] {
        for len in sizes() {
            for old in variants(len) {
                for is_sized in [true, false] {
                    let config = config().if_exists(existing);
                    let mut pair = Pair::new(&config, &[file("a", 1, len)]);
                    pair.bob.visible.insert(path("a"), old.clone());
                    if !is_sized {
                        pair = pair.unsized_files(None);
                    }
                    let summary = pair.run_well();
                    let case = format!("{existing:?} {len} over {} {is_sized}", old.len());
                    let (now, beside) = (&pair.bob.visible[&path("a")], path("a-1"));
                    let new = content(1, len);
                    match existing {
                        IfExists::Refuse => {
                            assert_eq!((summary.refused, now), (1, &old), "{case}");
                            assert!(pair.alice.events.iter().any(|event| matches!(
                                event,
                                Event::Refused { reason: Refusal::Exists, .. }
                            )));
                        }
                        IfExists::Skip => {
                            assert_eq!((summary.skipped, now), (1, &old), "{case}");
                            assert!(summary.is_complete());
                        }
                        IfExists::Rename => {
                            assert_eq!((summary.delivered, now), (1, &old), "{case}");
                            assert_eq!(pair.bob.visible[&beside], new, "{case}");
                        }
                        IfExists::Replace => {
                            assert_eq!((summary.delivered, now), (1, &new), "{case}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn replaced_file_sends_only_the_blocks_that_differ() {
    let config = config().if_exists(IfExists::Replace);
    let old = content(1, 100 * KIB);
    let mut new = old.clone();
    new[50 * KIB] ^= 1;
    new.extend_from_slice(&content(2, KIB));
    let mut pair = Pair::new(&config, &[("a", new.clone())]);
    pair.bob.visible.insert(path("a"), old);
    assert_eq!(pair.run_well().sent, 2 * KIB as u64);
    assert_eq!(pair.bob.visible[&path("a")], new);
}

#[test]
fn long_held_file_is_reported_in_pieces() {
    let config = config().if_exists(IfExists::Replace);
    let old = content(1, 9000 * KIB);
    let mut new = old.clone();
    new[8999 * KIB] ^= 1;
    let mut pair = Pair::new(&config, &[("a", new.clone())]);
    pair.bob.visible.insert(path("a"), old);
    assert_eq!(pair.run_well().sent, KIB as u64);
    assert_eq!(pair.bob.visible[&path("a")], new);
}

#[test]
fn long_file_that_differs_early_is_replaced_by_its_other_blocks_up_to_its_end() {
    let config = config().if_exists(IfExists::Replace);
    for (sized, cut_to) in [(true, 9000), (false, 9000), (true, 8300), (true, 9001)] {
        let old = content(1, 9000 * KIB);
        let mut new = old.clone();
        // One block in each piece of the report, and some that are empty now, where the old file has something.
        for differing in [0, 1, 4500, 8250] {
            new[differing * KIB] ^= 1;
        }
        new[4200 * KIB..4210 * KIB].fill(0);
        new.resize(cut_to * KIB, 7);
        let mut pair = Pair::new(&config, &[("a", new.clone())]);
        if !sized {
            pair = pair.unsized_files(None);
        }
        pair.bob.visible.insert(path("a"), old);
        let summary = pair.run_well();
        let extra = cut_to.saturating_sub(9000);
        assert_eq!(summary.sent, ((4 + extra) * KIB) as u64, "{sized} {cut_to}");
        assert!(pair.bob.visible[&path("a")] == new, "{sized} {cut_to}");
    }
}

#[test]
fn long_file_that_is_replaced_goes_on_after_lost_links_with_what_was_taken_over() {
    let config = config().if_exists(IfExists::Replace);
    let old = content(1, 9000 * KIB);
    let mut new = old.clone();
    new[0] ^= 1;
    new[5000 * KIB] ^= 1;
    let fresh = || {
        let mut pair = Pair::new(&config, &[("a", new.clone())]);
        pair.bob.visible.insert(path("a"), old.clone());
        pair
    };
    let mut whole = fresh();
    whole.run_well();
    let (down, up) = (whole.down.record.len(), whole.up.record.len());
    for (is_down, len) in [(true, down), (false, up)] {
        for at in (0..len).step_by(len / 15 + 1) {
            for suspended in [true, false] {
                let mut pair = fresh();
                if is_down {
                    pair.down.cut = Some(at)
                } else {
                    pair.up.cut = Some(at)
                }
                pair.run_while_moving();
                if suspended {
                    pair.reconnect_suspended(&config, 2);
                } else {
                    pair.reconnect(&config, 2);
                }
                let case = format!("{is_down} {at} {suspended}");
                let (Ok(summary), Ok(_)) = pair.run() else { panic!("{case}") };
                assert!(pair.bob.visible[&path("a")] == new, "{case}");
                assert!(summary.sent <= 4 * KIB as u64, "{case}: {}", summary.sent);
            }
        }
    }
}

#[test]
fn small_files_that_are_held_do_not_travel_where_roots_are_preferred() {
    for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace] {
        let config = config().if_exists(existing);
        let files = [file("a", 1, 1000), file("b", 2, 1), file("c", 3, 0), file("d", 4, 1024)];
        let mut pair = Pair::new(&config, &files);
        pair.run_well();
        pair.restart(&config);
        pair.receiver.advertise_hash_first();
        let summary = pair.run_well();
        assert_eq!((summary.held, summary.sent), (4, 0), "{existing:?}");
        assert!(pair.bob.open.is_empty() && pair.bob.partial.is_empty());
    }
}

#[test]
fn small_files_that_are_lacking_or_different_travel_after_their_roots() {
    for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace] {
        let config = config().if_exists(existing);
        let files = [file("a", 1, 1000), file("b", 2, 500), file("c", 3, 700), file("d", 4, 3000)];
        let mut pair = Pair::new(&config, &files);
        pair.bob.visible.insert(path("a"), content(1, 1000));
        pair.bob.visible.insert(path("b"), content(9, 500));
        pair.receiver.advertise_hash_first();
        let summary = pair.run_well();
        let takes = matches!(existing, IfExists::Rename | IfExists::Replace);
        assert_eq!(summary.delivered, if takes { 4 } else { 3 }, "{existing:?}");
        assert_eq!(summary.sent, if takes { 4200 } else { 3700 }, "{existing:?}");
        let b = if existing == IfExists::Replace { content(2, 500) } else { content(9, 500) };
        assert_eq!(pair.bob.visible[&path("b")], b, "{existing:?}");
        assert_eq!(pair.bob.visible[&path("c")], content(3, 700));
        if existing == IfExists::Rename {
            assert_eq!(pair.bob.visible[&path("b-1")], content(2, 500));
        }
        assert!(pair.bob.partial.is_empty(), "{existing:?}");
    }
}

#[test]
fn roots_are_no_longer_asked_for_where_nearly_all_is_lacking() {
    let files: Vec<_> = (0..300).map(|i| (format!("{i}"), content(i, 900))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
    let config = config().limits(Limits::default().pending_entries(50));
    let mut pair = Pair::new(&config, &files);
    pair.receiver.advertise_hash_first();
    let summary = pair.run_well();
    assert_eq!((summary.delivered, summary.sent), (300, 300 * 900));
    assert!(summary.turns <= 9, "{} turns", summary.turns);
}

#[test]
fn file_that_changes_while_it_is_replaced_is_never_receipted() {
    let config = config().if_exists(IfExists::Replace);
    let old = content(1, 10 * KIB);
    let mut new = old.clone();
    new[9 * KIB] ^= 1;
    let mut pair = Pair::new(&config, &[("a", new)]);
    pair.bob.visible.insert(path("a"), old);
    // Between the hashing of the old file and the copying of its blocks, somebody writes to it.
    pair.bob.changes_before_copy = true;
    let summary = pair.run_well();
    assert_eq!((summary.delivered, summary.refused), (0, 1));
    assert!(pair.bob.partial.is_empty());
    pair.bob.changes_before_copy = false;
    pair.restart(&config);
    assert!(pair.run_well().is_complete());
}

#[test]
fn renamed_entry_that_comes_again_is_not_stored_twice() {
    let config = config().if_exists(IfExists::Rename);
    let mut pair = Pair::new(&config, &[file("a", 1, 5 * KIB), file("b", 2, 10)]);
    pair.bob.visible.insert(path("a"), content(3, 5 * KIB));
    pair.bob.visible.insert(path("b"), content(4, 10));
    pair.run_well();
    pair.restart(&config);
    assert_eq!(pair.run_well().held, 2);
    assert_eq!(pair.bob.visible.len(), 4);
}

#[test]
fn same_name_in_two_sessions_needs_no_state_of_the_first() {
    let mut pair = Pair::new(&config(), &[file("a", 1, 5 * KIB)]);
    pair.run_well();
    pair.restart(&config());
    let summary = pair.run_well();
    assert_eq!((summary.held, summary.sent), (1, 0));
}
