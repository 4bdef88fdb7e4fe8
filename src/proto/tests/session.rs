//! Whole sessions: what arrives, what travels, what is said.

use std::time::Duration;

use super::pair::{Alice, Bob, Pair, content, path};
use crate::config::{Config, Existing, Limits, Turn};
use crate::proto::{Event, Failure, Meta, Outcome, ProtocolError, Refusal, Stall};
use crate::tree::{BlockSize, Root};

const KIB: usize = 1024;

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

fn file(name: &str, seed: u64, len: usize) -> (&str, Vec<u8>) {
    (name, content(seed, len))
}

/// Sizes around every edge of blocks, of one size.
fn sizes() -> impl Iterator<Item = usize> {
    [0, 1, 2, 3, 4, 5, 8].into_iter().flat_map(|blocks| {
        [-1_isize, 0, 1].into_iter().filter_map(move |off| (blocks * KIB).checked_add_signed(off))
    })
}

#[test]
fn file_of_every_size_around_blocks_arrives() {
    for len in sizes() {
        for is_sized in [true, false] {
            let mut pair = Pair::new(&config(), &[file("a", 1, len)]);
            if !is_sized {
                pair = pair.unsized_files(None);
            }
            let summary = pair.run_well();
            assert_eq!((summary.delivered, summary.sent), (1, len as u64), "{len} {is_sized}");
            assert_eq!(pair.bob.visible[&path("a")], content(1, len), "{len} {is_sized}");
            assert!(pair.bob.partial.is_empty());
            let root = Root::of(&content(1, len));
            for events in [&pair.alice.events, &pair.bob.events] {
                let delivered = events.iter().find_map(|event| match event {
                    Event::Delivered { receipt, .. } => Some(receipt),
                    _ => None,
                });
                let receipt = delivered.expect("a receipt");
                assert_eq!((receipt.root, receipt.outcome), (root, Outcome::Stored));
            }
        }
    }
}

#[test]
fn both_sides_name_the_transfer_and_the_attempt_of_the_sender() {
    let mut pair = Pair::new(&config(), &[file("a", 1, 100)]);
    pair.run_well();
    pair.reconnect(&config(), 2);
    let (sent, received) = pair.run();
    assert!(sent.is_ok() && received.is_ok());
    let greeted = |events: &[Event]| -> Vec<_> {
        let greeted = |event: &Event| match event {
            Event::Greeted { transfer, attempt, .. } => Some((*transfer, *attempt)),
            _ => None,
        };
        events.iter().filter_map(greeted).collect()
    };
    let transfer = super::pair::transfer();
    assert_eq!(greeted(&pair.alice.events), [(transfer, 1), (transfer, 2)]);
    assert_eq!(greeted(&pair.bob.events), greeted(&pair.alice.events));
}

#[test]
fn both_sides_count_the_same_turns() {
    for scene in super::scenes::all() {
        let (sent, received) = scene.pair().run();
        if let (Ok(sent), Ok(received)) = (sent, received) {
            assert_eq!(sent.turns, received.turns, "{}", scene.name);
        }
    }
}

#[test]
fn many_files_of_many_sizes_arrive_in_few_turns() {
    let files: Vec<_> =
        (0..300).map(|i| (format!("d/{i}"), content(i, (i * 37) as usize))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
    let mut pair = Pair::new(&config(), &files);
    let summary = pair.run_well();
    for (name, bytes) in &files {
        assert_eq!(&pair.bob.visible[&path(name)], bytes);
    }
    assert!(summary.turns <= 10, "{} turns", summary.turns);
}

#[test]
fn small_files_take_one_turn() {
    let files: Vec<_> = (0..1000).map(|i| (format!("{i}"), content(i, 500))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
    assert_eq!(Pair::new(&config(), &files).run_well().turns, 1);
}

#[test]
fn turn_of_few_bytes_still_moves_everything() {
    let config = config().turn(Turn::default().initial_bytes(1).max_bytes(1));
    let mut pair = Pair::new(&config, &[file("a", 1, 9 * KIB), file("b", 2, 100), file("c", 3, 0)]);
    pair.run_well();
    assert_eq!(pair.bob.visible[&path("a")], content(1, 9 * KIB));
}

#[test]
fn receiver_with_much_to_say_keeps_to_the_turn_of_the_sender() {
    let ours = config().turn(Turn::default().max_bytes(100));
    let files = (0..9).map(|i| (Meta::file(path(&format!("{i}")), None), content(i, 3000)));
    let files = files.collect();
    let alice = Alice { files, ..Alice::default() };
    let mut pair = Pair::with(&ours, &config(), alice, Bob::default());
    assert_eq!(pair.run_well().delivered, 9);
}

#[test]
fn stream_of_unknown_size_keeps_to_its_window() {
    let mut pair = Pair::new(&config(), &[file("a", 1, 40 * KIB)]).unsized_files(Some(4096));
    let summary = pair.run_well();
    assert!(summary.turns >= 10, "{} turns", summary.turns);
    assert_eq!(pair.bob.visible[&path("a")], content(1, 40 * KIB));
}

#[test]
fn limits_of_one_open_entry_and_one_pending_still_move_everything() {
    let limits = Limits::default().open_entries(1).pending_entries(1).pending_names(1).commits(1);
    let config = config().limits(limits);
    let files: Vec<_> = (0..20).map(|i| (format!("{i}"), content(i, 300 * i as usize))).collect();
    let files: Vec<_> = files.iter().map(|(name, bytes)| (&**name, bytes.clone())).collect();
    let mut pair = Pair::new(&config, &files);
    assert_eq!(pair.run_well().delivered, 20);
}

#[test]
fn smaller_block_of_the_receiver_is_kept_to() {
    let ours = Config::default().block_size(BlockSize::at_most(64 << 10));
    let theirs = Config::default().limits(Limits::default().block(BlockSize::MIN));
    let files = vec![(Meta::file(path("a"), Some(10_000)), content(1, 10_000))];
    let mut pair = Pair::with(&ours, &theirs, Alice { files, ..Alice::default() }, Bob::default());
    pair.run_well();
    assert_eq!(pair.bob.visible[&path("a")], content(1, 10_000));
}

#[test]
fn equal_file_is_receipted_as_held_under_every_policy() {
    for existing in [Existing::Refuse, Existing::Skip, Existing::Rename, Existing::Replace] {
        for len in sizes() {
            for is_sized in [true, false] {
                let config = config().existing(existing);
                let mut pair = Pair::new(&config, &[file("a", 1, len)]);
                pair.bob.visible.insert(path("a"), content(1, len));
                if !is_sized {
                    pair = pair.unsized_files(None);
                }
                let summary = pair.run_well();
                assert_eq!(summary.held, 1, "{existing:?} {len} {is_sized}");
                assert_eq!(pair.bob.written, 0, "{existing:?} {len} {is_sized}");
                if len > KIB {
                    assert_eq!(summary.sent, 0, "{existing:?} {len} {is_sized}");
                }
                assert_eq!(pair.bob.visible.len(), 1);
            }
        }
    }
}

/// A held file that differs in its first, a middle or its last block, or in its length.
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
    for existing in [Existing::Refuse, Existing::Skip, Existing::Rename, Existing::Replace] {
        for len in sizes() {
            for old in variants(len) {
                for is_sized in [true, false] {
                    let config = config().existing(existing);
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
                        Existing::Refuse => {
                            assert_eq!((summary.refused, now), (1, &old), "{case}");
                            assert!(pair.alice.events.iter().any(|event| matches!(
                                event,
                                Event::Refused { reason: Refusal::Exists, .. }
                            )));
                        }
                        Existing::Skip => {
                            assert_eq!((summary.skipped, now), (1, &old), "{case}");
                            assert!(summary.is_complete());
                        }
                        Existing::Rename => {
                            assert_eq!((summary.delivered, now), (1, &old), "{case}");
                            assert_eq!(pair.bob.visible[&beside], new, "{case}");
                        }
                        Existing::Replace => {
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
    let config = config().existing(Existing::Replace);
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
    let config = config().existing(Existing::Replace);
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
    let config = config().existing(Existing::Replace);
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
    let config = config().existing(Existing::Replace);
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
            for parked in [true, false] {
                let mut pair = fresh();
                if is_down {
                    pair.down.cut = Some(at)
                } else {
                    pair.up.cut = Some(at)
                }
                pair.run_while_moving();
                if parked {
                    pair.reconnect_parked(&config, 2);
                } else {
                    pair.reconnect(&config, 2);
                }
                let case = format!("{is_down} {at} {parked}");
                let (Ok(summary), Ok(_)) = pair.run() else { panic!("{case}") };
                assert!(pair.bob.visible[&path("a")] == new, "{case}");
                assert!(summary.sent <= 4 * KIB as u64, "{case}: {}", summary.sent);
            }
        }
    }
}

#[test]
fn small_files_that_are_held_do_not_travel_where_roots_are_preferred() {
    for existing in [Existing::Refuse, Existing::Skip, Existing::Rename, Existing::Replace] {
        let config = config().existing(existing);
        let files = [file("a", 1, 1000), file("b", 2, 1), file("c", 3, 0), file("d", 4, 1024)];
        let mut pair = Pair::new(&config, &files);
        pair.run_well();
        pair.restart(&config);
        pair.receiver.prefer_roots();
        let summary = pair.run_well();
        assert_eq!((summary.held, summary.sent), (4, 0), "{existing:?}");
        assert!(pair.bob.open.is_empty() && pair.bob.partial.is_empty());
    }
}

#[test]
fn small_files_that_are_lacking_or_different_travel_after_their_roots() {
    for existing in [Existing::Refuse, Existing::Skip, Existing::Rename, Existing::Replace] {
        let config = config().existing(existing);
        let files = [file("a", 1, 1000), file("b", 2, 500), file("c", 3, 700), file("d", 4, 3000)];
        let mut pair = Pair::new(&config, &files);
        pair.bob.visible.insert(path("a"), content(1, 1000));
        pair.bob.visible.insert(path("b"), content(9, 500));
        pair.receiver.prefer_roots();
        let summary = pair.run_well();
        let takes = matches!(existing, Existing::Rename | Existing::Replace);
        assert_eq!(summary.delivered, if takes { 4 } else { 3 }, "{existing:?}");
        assert_eq!(summary.sent, if takes { 4200 } else { 3700 }, "{existing:?}");
        let b = if existing == Existing::Replace { content(2, 500) } else { content(9, 500) };
        assert_eq!(pair.bob.visible[&path("b")], b, "{existing:?}");
        assert_eq!(pair.bob.visible[&path("c")], content(3, 700));
        if existing == Existing::Rename {
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
    pair.receiver.prefer_roots();
    let summary = pair.run_well();
    assert_eq!((summary.delivered, summary.sent), (300, 300 * 900));
    assert!(summary.turns <= 9, "{} turns", summary.turns);
}

#[test]
fn folder_is_committed_after_all_that_was_offered_before_it() {
    let folder = |name| (Meta::directory(path(name)), Vec::new());
    let bytes = content(1, 50 * KIB);
    let files = vec![
        (Meta::file(path("d/a"), Some(51_200)), bytes.clone()),
        folder("d"),
        (Meta::file(path("e/b"), Some(51_200)), bytes),
        folder("e"),
        folder("f"),
    ];
    let alice = Alice { files, ..Alice::default() };
    let mut pair = Pair::with(&config(), &config(), alice, Bob::default());
    assert_eq!(pair.run_well().delivered, 5);
    let delivered = pair.bob.events.iter().filter_map(|event| match event {
        Event::Delivered { receipt, .. } => Some(receipt.path.to_string()),
        _ => None,
    });
    assert_eq!(delivered.collect::<Vec<_>>(), ["d/a", "d", "e/b", "e", "f"]);
}

#[test]
fn folder_does_not_wait_for_an_entry_that_was_refused() {
    let bytes = content(1, 5 * KIB);
    let files = vec![
        (Meta::file(path("d/a"), Some(5120)), bytes),
        (Meta::directory(path("d")), Vec::new()),
    ];
    let alice = Alice { files, ..Alice::default() };
    let mut pair = Pair::with(&config(), &config(), alice, Bob::default());
    pair.bob.fail_write = Some(3);
    let summary = pair.run_well();
    assert_eq!((summary.delivered, summary.refused), (1, 1));
}

#[test]
fn file_that_changes_while_it_is_replaced_is_never_receipted() {
    let config = config().existing(Existing::Replace);
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
    let config = config().existing(Existing::Rename);
    let mut pair = Pair::new(&config, &[file("a", 1, 5 * KIB), file("b", 2, 10)]);
    pair.bob.visible.insert(path("a"), content(3, 5 * KIB));
    pair.bob.visible.insert(path("b"), content(4, 10));
    pair.run_well();
    pair.restart(&config);
    assert_eq!(pair.run_well().held, 2);
    assert_eq!(pair.bob.visible.len(), 4);
}

#[test]
fn partial_file_serves_the_next_attempt_whatever_is_wrong_with_it() {
    let whole = content(1, 10 * KIB + 5);
    for keep in [0, 1, KIB, 5 * KIB, 5 * KIB + 7, 10 * KIB + 5] {
        for damage in [None, Some(0), Some(keep / 2)] {
            let mut partial = whole[..keep].to_vec();
            let mut lost = 0;
            if let Some(byte) = damage.and_then(|at| partial.get_mut(at)) {
                *byte ^= 0x40;
                lost = KIB;
            }
            let mut pair = Pair::new(&config(), &[("a", whole.clone())]);
            pair.bob.partial.insert(path("a"), partial);
            let summary = pair.run_well();
            let usable = if keep == whole.len() { keep } else { keep / KIB * KIB };
            let most = whole.len() - usable + lost;
            assert!(summary.sent <= most as u64, "{keep} {damage:?}: {}", summary.sent);
            assert_eq!(pair.bob.visible[&path("a")], whole);
        }
    }
}

#[test]
fn partial_file_that_is_longer_is_cut() {
    let mut pair = Pair::new(&config(), &[file("a", 1, 3000)]);
    pair.bob.partial.insert(path("a"), content(1, 50_000));
    pair.run_well();
    assert_eq!(pair.bob.visible[&path("a")], content(1, 3000));
}

#[test]
fn zeros_do_not_travel() {
    for is_sized in [true, false] {
        let mut bytes = vec![0; 100 * KIB + 10];
        bytes[50 * KIB + 3] = 1;
        let mut pair = Pair::new(&config(), &[("a", bytes.clone())]);
        if !is_sized {
            pair = pair.unsized_files(None);
        }
        let summary = pair.run_well();
        assert!(summary.sent <= KIB as u64 + 10);
        assert_eq!(pair.bob.visible[&path("a")], bytes);
    }
}

#[test]
fn zeros_over_an_old_partial_are_written() {
    let mut pair = Pair::new(&config(), &[("a", vec![0; 10 * KIB])]);
    pair.bob.partial.insert(path("a"), vec![7; 10 * KIB]);
    pair.run_well();
    assert_eq!(pair.bob.visible[&path("a")], vec![0; 10 * KIB]);
}

#[test]
fn zeros_are_written_only_over_what_an_earlier_attempt_left() {
    for (is_sized, existing, left) in [
        (true, Existing::Refuse, 0),
        (true, Existing::Refuse, 4),
        (false, Existing::Refuse, 4),
        (true, Existing::Replace, 0),
        (true, Existing::Replace, 4),
    ] {
        let config = config().existing(existing);
        let mut bytes = vec![0; 20 * KIB];
        bytes[15 * KIB] = 1;
        let mut pair = Pair::new(&config, &[("a", bytes.clone())]);
        if !is_sized {
            pair = pair.unsized_files(None);
        }
        if left > 0 {
            pair.bob.partial.insert(path("a"), vec![7; left * KIB]);
        }
        if existing == Existing::Replace {
            pair.bob.visible.insert(path("a"), vec![8; 20 * KIB]);
        }
        pair.run_well();
        let case = format!("{is_sized} {existing:?} {left}");
        assert_eq!(pair.bob.visible[&path("a")], bytes, "{case}");
        // What goes on to replace a file takes that over too, beyond what the earlier attempt left.
        let taken = if existing == Existing::Replace && left > 0 { 20 } else { left };
        assert_eq!(pair.bob.written, ((taken + 1).min(20) * KIB) as u64, "{case}");
    }
}

#[test]
fn failed_write_refuses_that_entry_and_goes_on() {
    for nth in 1..=12 {
        let files = [file("a", 1, 5 * KIB), file("b", 2, 100), file("c", 3, 5 * KIB)];
        let mut pair = Pair::new(&config(), &files);
        pair.bob.fail_write = Some(nth);
        let summary = pair.run_well();
        let failed = u64::from(nth <= 11);
        assert_eq!((summary.refused, summary.delivered), (failed, 3 - failed), "{nth}");
        let told = |events: &[Event]| {
            events.iter().any(|event| {
                let expected = Refusal::NoSpace { needed: 7, available: 3 };
                matches!(event, Event::Refused { reason, .. } if *reason == expected)
            })
        };
        assert_eq!((told(&pair.alice.events), told(&pair.bob.events)), (nth <= 11, nth <= 11));
        pair.bob.fail_write = None;
        pair.restart(&config());
        assert!(pair.run_well().is_complete());
    }
}

#[test]
fn receiver_limits_refuse_entries_and_the_rest_arrives() {
    let limits = |limits: Limits| config().limits(limits);
    let files = [file("a", 1, 5 * KIB), file("b/c", 2, 100), file("d", 3, 300)];
    for (theirs, refused, reason) in [
        (
            limits(Limits::default().file_bytes(4000)),
            1,
            Refusal::TooLarge { size: 5120, limit: 4000 },
        ),
        (limits(Limits::default().total_bytes(5300)), 1, Refusal::TooMuch { limit: 5300 }),
        (limits(Limits::default().entries(2)), 1, Refusal::TooMany { limit: 2 }),
        (limits(Limits::default().depth(1)), 1, Refusal::NameTooLong),
        (limits(Limits::default().name_bytes(1)), 1, Refusal::NameTooLong),
    ] {
        let mut pair = Pair::new(&config(), &files);
        pair.receiver = Pair::new(&theirs, &[]).receiver;
        let summary = pair.run_well();
        assert_eq!(summary.refused, refused, "{reason:?}");
        assert!(pair.alice.events.iter().any(|event| matches!(
            event,
            Event::Refused { reason: told, .. } if *told == reason
        )));
    }
}

#[test]
fn stream_past_the_limit_is_refused_where_it_passes_it() {
    let theirs = config().limits(Limits::default().file_bytes(4000));
    let mut pair = Pair::new(&config(), &[file("a", 1, 9 * KIB)]).unsized_files(None);
    pair.receiver = Pair::new(&theirs, &[]).receiver;
    assert_eq!(pair.run_well().refused, 1);
    assert!(pair.bob.written <= 4000 && pair.bob.visible.is_empty());
}

#[test]
fn silent_peer_ends_each_side_at_its_deadline() {
    let mut pair = Pair::new(&config(), &[]);
    pair.up.cut = Some(0);
    pair.down.cut = Some(0);
    let (sent, received) = pair.run();
    let stall = Err(Failure::Stalled(Stall::Hello { after: Duration::from_secs(10) }));
    assert_eq!((sent.map(drop), received.map(drop)), (stall, stall));
    assert!(pair.now <= Duration::from_secs(11));
}

#[test]
fn cancelled_sender_tells_the_receiver_when_it_has_the_floor() {
    let mut pair = Pair::new(&config(), &[file("a", 1, 5 * KIB)]);
    while !matches!(pair.alice.events.last(), Some(Event::Offered { .. })) {
        pair.step_sender();
        pair.step_receiver();
    }
    pair.sender.cancel();
    let (sent, received) = pair.run();
    assert_eq!(sent, Err(Failure::Cancelled));
    assert_eq!(received, Err(Failure::Aborted(crate::proto::AbortCode::Cancelled)));
}

#[test]
fn ended_receiver_hears_the_sender_out_and_tells_it() {
    let mut pair = Pair::new(&config(), &[file("a", 1, 5 * KIB)]);
    while pair.bob.events.len() < 3 {
        pair.step_sender();
        pair.step_receiver();
    }
    pair.receiver.end(pair.now, crate::proto::AbortCode::Cancelled);
    let (sent, received) = pair.run();
    assert_eq!(received, Err(Failure::Cancelled));
    assert_eq!(sent, Err(Failure::Aborted(crate::proto::AbortCode::Cancelled)));
}

#[test]
fn same_name_in_two_sessions_needs_no_state_of_the_first() {
    let mut pair = Pair::new(&config(), &[file("a", 1, 5 * KIB)]);
    pair.run_well();
    pair.restart(&config());
    let summary = pair.run_well();
    assert_eq!((summary.held, summary.sent), (1, 0));
    assert!(!matches!(pair.bob.ended, Some(Err(Failure::Protocol(ProtocolError::AfterEnd)))));
}

#[test]
fn bytes_in_any_pieces_give_the_same_session() {
    let files = [file("a", 1, 5 * KIB), file("b", 2, 100), file("c", 3, 0)];
    let mut whole = Pair::new(&config(), &files);
    whole.run_well();
    for piece in [1, 2, 3, 7, 16, 17, 68, 100, 1000] {
        let mut pair = Pair::new(&config(), &files);
        pair.down.piece = Some(piece);
        pair.up.piece = Some(piece);
        pair.run_well();
        assert_eq!(pair.bob.events, whole.bob.events, "{piece}");
        assert_eq!(pair.alice.events, whole.alice.events, "{piece}");
        assert!(pair.down.record == whole.down.record, "{piece}");
        assert!(pair.up.record == whole.up.record, "{piece}");
    }
}
