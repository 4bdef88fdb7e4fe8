//! Whole transfers at random: trees, settings, what stands at the receiver, damage, cuts, restarts; until done. The
//! oracle: a visible name holds what it held, or exactly what the sender has. More cases with `HAUL_LONG=1`.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::long;
use super::pair::{Alice, Bob, Pair, content, path};
use crate::config::{Compare, Config, IfExists, Limits, Turn};
use crate::hash::BlockSize;
use crate::proto::Error;
use crate::types::{Event, Meta, Refusal, RelPath, Timestamp, TransferId};

#[derive(Debug, Clone, Copy)]
enum Held {
    Nothing,
    Equal,
    Shorter,
    Longer,
    Other,
    OneBit(usize),
}

#[derive(Debug, Clone)]
struct Plan {
    files: Vec<(usize, bool, bool, Held, Held)>,
    window: Option<u64>,
    existing: usize,
    trusts: bool,
    blocks: (u8, u8),
    turns: (u64, u64, u64),
    limits: (u32, u32, u32, u32),
    faults: Vec<(bool, usize, Fault, Recovery)>,
    pieces: (Option<usize>, Option<usize>),
    store: Trouble,
}

/// Trouble of the store until the last connection.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    descriptors: Option<usize>,
    is_lazy: bool,
    /// Number of the write that fails.
    fails: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Cut,
    Flip(u8),
}

/// Side that remembers the earlier connection.
#[derive(Debug, Clone, Copy)]
enum Recovery {
    Both,
    Sender,
    Nobody,
    /// The receiver; the sender was restarted, and goes on with the transfer.
    Receiver,
    /// The store, with its commits under way: another transfer of other files comes.
    Store,
}

fn size() -> impl Strategy<Value = usize> {
    let edge = (0_usize..8, 0_usize..3);
    prop_oneof![
        edge.prop_map(|(blocks, off)| (blocks * 1024 + off).saturating_sub(1)),
        0_usize..9000,
        Just(0),
    ]
}

fn held() -> impl Strategy<Value = Held> {
    prop_oneof![
        4 => Just(Held::Nothing),
        1 => Just(Held::Equal),
        1 => Just(Held::Shorter),
        1 => Just(Held::Longer),
        1 => Just(Held::Other),
        1 => (0_usize..9000).prop_map(Held::OneBit),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let files = vec((size(), any::<bool>(), any::<bool>(), held(), held()), 0..5);
    let window = option::of(0_u64..5000);
    let number = |most: u64| prop_oneof![0_u64..3, 0_u64..most, Just(1 << 30)];
    let count = || prop_oneof![0_u32..4, Just(64)];
    let fault = prop_oneof![Just(Fault::Cut), (0_u8..8).prop_map(Fault::Flip)];
    let recovery = prop_oneof![
        4 => Just(Recovery::Both),
        2 => Just(Recovery::Sender),
        2 => Just(Recovery::Nobody),
        1 => Just(Recovery::Receiver),
        2 => Just(Recovery::Store),
    ];
    let faults = vec((any::<bool>(), 0_usize..12_000, fault, recovery), 0..4);
    let pieces = (option::of(1_usize..300), option::of(1_usize..300));
    let fails = option::weighted(0.2, 1_u64..20);
    let store = (option::of(0_usize..4), any::<bool>(), fails)
        .prop_map(|(descriptors, is_lazy, fails)| Trouble { descriptors, is_lazy, fails });
    (
        (files, window, 0_usize..4, any::<bool>(), (0_u8..4, 0_u8..4)),
        ((number(9000), number(9000), 0_u64..3), (count(), count(), count(), count())),
        (faults, pieces, store),
    )
        .prop_map(
            |(
                (files, window, existing, trusts, blocks),
                (turns, limits),
                (faults, pieces, store),
            )| Plan {
                files,
                window,
                existing,
                trusts,
                blocks,
                turns,
                limits,
                faults,
                pieces,
                store,
            },
        )
}

fn variant(bytes: &[u8], held: Held) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    match held {
        Held::Nothing => return None,
        Held::Equal => {}
        Held::Shorter => bytes.truncate(bytes.len() / 2),
        Held::Longer => bytes.extend_from_slice(&content(99, 1500)),
        Held::Other => bytes = content(98, bytes.len()),
        Held::OneBit(at) => {
            let len = bytes.len();
            if len > 0 {
                bytes[at % len] ^= 1;
            }
        }
    }
    Some(bytes)
}

fn run(plan: &Plan) {
    let policies = [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace];
    let existing = policies[plan.existing];
    let (initial, most, seconds) = plan.turns;
    let turn = Turn::default()
        .initial_bytes(initial)
        .max_bytes(most)
        .max_time(Duration::from_secs(seconds));
    let limits = |block: u8| {
        Limits::default()
            .block(BlockSize::from_exponent(block).unwrap())
            .open_entries(plan.limits.0)
            .pending_entries(plan.limits.1)
            .pending_names(plan.limits.2)
            .commits(plan.limits.3)
    };
    let ours = Config::default()
        .block_size(BlockSize::from_exponent(plan.blocks.0).unwrap())
        .turn(turn)
        .limits(limits(5))
        .compare(if plan.trusts { Compare::SizeAndTime } else { Compare::Content });
    let theirs = Config::default().if_exists(existing).turn(turn).limits(limits(plan.blocks.1));
    let mut bob = Bob::default();
    let mut files: Vec<_> = plan
        .files
        .iter()
        .enumerate()
        .map(|(number, &(len, is_sized, is_zero, visible, partial))| {
            let name = path(&format!("f{number}"));
            let bytes = if is_zero { vec![0; len] } else { content(number as u64, len) };
            bob.visible.extend(variant(&bytes, visible).map(|bytes| (name.clone(), bytes)));
            bob.partial.extend(variant(&bytes, partial).map(|bytes| (name.clone(), bytes)));
            let time = Timestamp::new(5, u32::try_from(number).unwrap());
            (Meta::file(name, is_sized.then_some(len as u64)).modified(time), bytes)
        })
        .collect();
    let before = bob.visible.clone();
    let alice = Alice { files: files.clone(), window: plan.window, ..Alice::default() };
    let mut pair = Pair::with(&ours, &theirs, alice, bob);
    pair.bob.is_lazy = plan.store.is_lazy;
    (pair.bob.descriptors, pair.bob.fail_write) = (plan.store.descriptors, plan.store.fails);
    let mut sent_before = Vec::new();
    let check = |pair: &Pair, files: &[(Meta, Vec<u8>)], sent_before: &[(Meta, Vec<u8>)]| {
        for (name, bytes) in &pair.bob.visible {
            let kept = before.get(name) == Some(bytes);
            let sent = files.iter().chain(sent_before).any(|(meta, content)| {
                let base = meta.path.as_bytes();
                bytes == content && name.as_bytes().starts_with(base)
            });
            assert!(kept || sent, "{name} holds what it must not");
        }
        for (name, bytes) in &before {
            assert!(existing == IfExists::Replace || pair.bob.visible[name] == *bytes, "{name}");
        }
        for event in &pair.alice.events {
            let Event::Delivered { entry, receipt } = event else { continue };
            let (meta, bytes) = &files[entry.get() as usize];
            let is_its_own = receipt.path.as_bytes().starts_with(meta.path.as_bytes());
            assert!(is_its_own, "a receipt of {} for {}", receipt.path, meta.path);
            assert!(pair.bob.visible.get(&receipt.path) == Some(bytes), "{receipt:?} is false");
        }
    };
    let mut restarted = false;
    for (attempt, (is_up, at, fault, recovery)) in (2..).zip(&plan.faults) {
        let channel = if *is_up { &mut pair.up } else { &mut pair.down };
        let at = if *is_up { at % 800 } else { *at };
        match fault {
            Fault::Cut => channel.cut = Some(at),
            Fault::Flip(bit) => drop(channel.flips.insert(at, 1 << bit)),
        }
        (pair.down.piece, pair.up.piece) = plan.pieces;
        if matches!(fault, Fault::Cut) {
            // What begins to be committed is still under way when the other transfer comes.
            pair.bob.is_stuck = matches!(recovery, Recovery::Store);
            pair.run_while_moving();
            pair.bob.is_stuck = false;
        } else {
            let _ = pair.run();
        }
        for ended in [pair.alice.ended, pair.bob.ended].into_iter().flatten() {
            let is_wrong = matches!(ended, Err(Error::Protocol(_) | Error::Misuse(_)));
            assert!(!is_wrong, "{ended:?}");
        }
        check(&pair, &files, &sent_before);
        if matches!(pair.alice.ended, Some(Ok(_))) {
            return;
        }
        // What a stream has released is gone with the process that had it.
        let can_restart = plan.window.is_none();
        match recovery {
            Recovery::Both => pair.reconnect_suspended(&theirs, attempt),
            Recovery::Receiver if can_restart => {
                restarted = true;
                // No sender of this crate is so forgetful, and one that is may end by its own fault.
                pair.forget(&ours, &theirs, attempt);
                pair.run_while_moving();
                check(&pair, &files, &sent_before);
                pair.restart_sender(&ours, &theirs, attempt);
            }
            Recovery::Store if can_restart => {
                restarted = true;
                let others = others(attempt);
                sent_before.extend(std::mem::replace(&mut files, others));
                pair.alice.events.clear();
                let id = TransferId::new([attempt as u8; 16]);
                pair.call_with(&ours, &theirs, id, files.clone());
            }
            Recovery::Nobody if can_restart => {
                restarted = true;
                pair.restart_as(&ours, &theirs);
            }
            Recovery::Sender | Recovery::Nobody | Recovery::Receiver | Recovery::Store => {
                pair.reconnect(&theirs, attempt)
            }
        }
    }
    (pair.down.piece, pair.up.piece) = plan.pieces;
    (pair.bob.descriptors, pair.bob.fail_write) = (None, None);
    let (sent, received) = pair.run();
    let (Ok(sent), Ok(_)) = (sent, received) else { panic!("{sent:?} {received:?}") };
    check(&pair, &files, &sent_before);
    let all = files.len() as u64;
    if !restarted {
        // What travelled is receipted, and never taken for unchanged.
        assert_eq!(sent.delivered + sent.skipped + sent.refused + sent.withdrawn, all, "{sent:?}");
        assert_eq!(sent.trusted, 0);
    }
    if plan.window.is_none() {
        assert_eq!(sent.withdrawn, 0, "{sent:?}");
        let failed = failed(&pair);
        let kept = files.iter().filter(|(meta, _)| !failed.contains(&meta.path));
        for (meta, content) in kept {
            let is_there = pair.bob.visible.get(&meta.path) == Some(content);
            let beside = pair.bob.visible.iter().any(|(name, bytes)| {
                bytes == content && name.as_bytes().starts_with(meta.path.as_bytes())
            });
            match existing {
                IfExists::Replace => assert!(is_there, "{}", meta.path),
                IfExists::Rename => assert!(is_there || beside, "{}", meta.path),
                _ => assert!(is_there || before.contains_key(&meta.path), "{}", meta.path),
            }
        }
    }
}

/// Files of another transfer: small ones, and one of several blocks.
fn others(attempt: u32) -> Vec<(Meta, Vec<u8>)> {
    let file = |(number, len): (u32, usize)| {
        let name = path(&format!("g{attempt}-{number}"));
        let bytes = content(u64::from(100 * attempt + number), len);
        let time = Timestamp::new(5 + i64::from(attempt), number);
        (Meta::file(name, Some(len as u64)).modified(time), bytes)
    };
    (0..).zip([5, 3000, 700]).map(file).collect()
}

/// Returns what was refused for the trouble of the store on an earlier connection, and not offered
/// again since.
fn failed(pair: &Pair) -> BTreeSet<RelPath> {
    let mut failed = BTreeSet::new();
    for event in &pair.alice.events {
        match event {
            Event::Refused { path: Some(path), reason: Refusal::NoSpace { .. }, .. } => {
                failed.insert(path.clone());
            }
            // That passes, and can be waited for.
            Event::Refused { reason, .. } => assert!(!reason.is_fd_exhaustion()),
            Event::Offered { path, .. } => drop(failed.remove(path)),
            _ => {}
        }
    }
    failed
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if long() { 2_000_000 } else { 1_500 },
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn transfer_at_random_ends_with_what_was_sent_or_what_was_there(plan in plan()) {
        run(&plan);
    }
}

#[test]
fn stream_that_waits_for_a_damaged_block_hears_of_it_while_others_are_to_be_copied() {
    run(&Plan {
        files: vec![(3071, false, false, Held::Shorter, Held::Nothing)],
        window: Some(0),
        existing: 3,
        trusts: false,
        blocks: (0, 0),
        turns: (0, 0, 0),
        limits: (0, 0, 0, 0),
        faults: vec![(false, 363, Fault::Flip(0), Recovery::Both)],
        pieces: (None, None),
        store: Trouble { descriptors: None, is_lazy: false, fails: None },
    });
}
