//! Legal machines never wait for each other for ever, ask for the same thing again, or lose their way: each
//! test is a way in which they once did.

use std::time::Duration;

use super::pair::{Alice, Bob, Pair, content, path};
use super::rogue::{Rogue, inline, wire};
use crate::config::{Config, IfExists, Limits, Turn};
use crate::hash::{BlockHash, BlockSize, Hash};
use crate::proto::wire::message::{Message, Name, Reason};
use crate::proto::{Error, ProtocolError};
use crate::types::{EntryId, Event, Meta, Refusal};

const KIB: usize = 1024;

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

/// Runs until so many bytes have gone down, then loses both directions.
fn cut_down(pair: &mut Pair, at: usize) {
    pair.down.cut = Some(at);
    while pair.down.record.len() < at {
        assert!(pair.step_sender() | pair.step_receiver(), "the session is shorter");
    }
    while pair.step_receiver() {}
}

#[test]
fn sender_that_reconnects_sends_no_block_again_that_is_kept() {
    let config = config().turn(Turn::default().initial_bytes(5000).max_bytes(5000));
    let mut pair = Pair::new(&config, &[("a", content(1, 40 * KIB))]);
    cut_down(&mut pair, 30_000);
    pair.reconnect(&config, 2);
    let summary = pair.run_well();
    assert!(pair.bob.visible[&path("a")] == content(1, 40 * KIB));
    assert!(summary.resent <= 6 * KIB as u64, "{}", summary.resent);
}

#[test]
fn stream_with_a_window_goes_on_after_a_reconnect_without_reading_what_was_released() {
    for max_time in [Duration::from_secs(5), Duration::ZERO] {
        let turn = Turn::default().max_time(max_time);
        let config = config().turn(turn);
        let mut pair = Pair::new(&config, &[("a", content(1, 40 * KIB))]);
        pair = pair.unsized_files(Some(8 * KIB as u64));
        cut_down(&mut pair, 30_000);
        assert!(pair.alice.released.values().any(|at| *at > 0));
        pair.reconnect(&config, 2);
        let summary = pair.run_well();
        assert!(pair.bob.visible[&path("a")] == content(1, 40 * KIB));
        assert!(summary.resent <= 9 * KIB as u64, "{}", summary.resent);
    }
}

#[test]
fn stream_with_a_window_is_compared_with_a_file_that_is_there() {
    for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace] {
        for len in [3 * KIB, 40 * KIB] {
            for (name, old) in [
                ("equal", content(1, len)),
                ("longer", [content(1, len), content(2, 5000)].concat()),
                ("other at its end", [content(1, len - 1), vec![0]].concat()),
            ] {
                let config = config().if_exists(existing);
                let mut pair = Pair::new(&config, &[("a", content(1, len))]);
                pair = pair.unsized_files(Some(8 * KIB as u64));
                pair.bob.visible.insert(path("a"), old.clone());
                let summary = pair.run_well();
                let case = format!("{existing:?} {name} {len}");
                assert_eq!(summary.withdrawn, 0, "{case}");
                if existing == IfExists::Replace {
                    assert!(pair.bob.visible[&path("a")] == content(1, len), "{case}");
                } else {
                    assert!(pair.bob.visible[&path("a")] == old, "{case}");
                }
                if existing == IfExists::Rename && summary.held == 0 {
                    assert!(pair.bob.visible[&path("a-1")] == content(1, len), "{case}");
                }
            }
        }
    }
}

#[test]
fn window_below_a_block_is_taken_for_a_block() {
    for window in [0, 1, 500, 1023] {
        let mut pair = Pair::new(&config(), &[("a", content(1, 5 * KIB))]);
        pair = pair.unsized_files(Some(window));
        assert_eq!(pair.run_well().delivered, 1, "{window}");
    }
}

#[test]
fn blocks_asked_for_again_over_many_turns_travel_once() {
    let mut pair = Pair::new(&config(), &[("a", content(1, 20 * KIB)), ("b", content(2, 3 * KIB))]);
    while pair.alice.events.len() < 2 {
        pair.step_sender();
        pair.step_receiver();
    }
    while pair.down.record.len() < 300 {
        assert!(pair.step_sender() | pair.step_receiver());
    }
    let start = pair.down.record.len();
    // One payload byte of each of the first 15 blocks.
    pair.down.flips.extend((0..15).map(|block| (start + block * (68 + KIB + 8) + 200, 1)));
    while !pair.bob.events.iter().any(|event| matches!(event, Event::Repairing { .. })) {
        assert!(pair.step_sender() | pair.step_receiver());
    }
    // From now on a turn has time for one block.
    pair.alice.read_time = Duration::from_secs(6);
    let summary = pair.run_well();
    assert!(summary.resent <= 15 * KIB as u64, "{}", summary.resent);
    assert!(pair.bob.visible[&path("a")] == content(1, 20 * KIB));
}

#[test]
fn more_repairs_than_rounds_are_allowed_if_they_are_of_one_round() {
    let limits = Limits::default().repairs(2);
    let config = config().limits(limits);
    let mut pair = Pair::new(&config, &[("a", content(1, 20 * KIB))]);
    while pair.down.record.len() < 200 {
        assert!(pair.step_sender() | pair.step_receiver());
    }
    let start = pair.down.record.len();
    pair.down.flips.extend((0..15).map(|block| (start + block * (76 + KIB) + 200, 1)));
    while !pair.bob.events.iter().any(|event| matches!(event, Event::Repairing { .. })) {
        assert!(pair.step_sender() | pair.step_receiver());
    }
    pair.alice.read_time = Duration::from_secs(6);
    pair.run_well();
}

#[test]
fn receiver_keeps_its_turn_within_what_the_sender_listens_to() {
    for max_bytes in [0, 1, 100, 2000, 5000] {
        let turn = Turn::default().initial_bytes(max_bytes).max_bytes(max_bytes);
        let ours = config().turn(turn);
        for (alice, bob) in [(&ours, &config()), (&config(), &ours), (&ours, &ours)] {
            let names = ["a", "b", "c"];
            let files =
                names.map(|name| (Meta::file(path(name), Some(102_400)), content(1, 102_400)));
            let files = Alice { files: files.to_vec(), ..Alice::default() };
            let mut pair = Pair::with(alice, bob, files, Bob::default());
            for name in names {
                pair.bob.partial.insert(path(name), content(2, 102_400));
            }
            assert_eq!(pair.run_well().delivered, 3, "{max_bytes}");
        }
    }
}

#[test]
fn replaced_file_does_not_take_old_blocks_for_those_of_a_partial() {
    // Each piece of what is held has one block.
    let config =
        config().if_exists(IfExists::Replace).turn(Turn::default().max_time(Duration::ZERO));
    let new = content(1, 10 * KIB);
    let mut pair = Pair::new(&config, &[("a", new.clone())]);
    pair.bob.visible.insert(path("a"), content(2, 10 * KIB));
    pair.bob.partial.insert(path("a"), new.clone());
    pair.run_well();
    assert!(pair.bob.visible[&path("a")] == new);
}

fn offer(entry: u32, name: &str, size: Option<u64>) -> Message {
    Message::Offer(wire(entry, name.as_bytes(), size))
}

#[test]
fn zeros_past_the_limit_of_a_file_are_refused() {
    let limits = Limits::default().file_bytes(4000);
    let mut rogue = Rogue::sender(&config().limits(limits), Bob::default()).greeted();
    rogue.send(&offer(0, "a", None));
    rogue.turn();
    rogue.send(&Message::Zeros { entry: EntryId::new(0), blocks: 0..1 << 14 });
    let said = rogue.turn();
    assert!(said.iter().any(|message| message.name() == Name::Refuse), "{said:?}");
    let reason = Refusal::TooLarge { size: 1 << 24, limit: 4000 };
    assert!(
        rogue
            .pair
            .bob
            .events
            .iter()
            .any(|event| matches!(event, Event::Refused { reason: told, .. } if *told == reason))
    );
}

#[test]
fn zeros_of_many_blocks_are_one_step_of_progress() {
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    rogue.send(&offer(0, "a", Some(1 << 24)));
    rogue.turn();
    rogue.send(&Message::Zeros { entry: EntryId::new(0), blocks: 0..1 << 14 });
    rogue.turn();
    let progress = |event: &&Event| matches!(event, Event::Progress { .. });
    assert_eq!(rogue.pair.bob.events.iter().filter(progress).count(), 1);
}

#[test]
fn refusals_that_are_not_said_yet_count_as_pending() {
    let limits = Limits::default().pending_entries(10);
    let mut rogue = Rogue::sender(&config().limits(limits), Bob::default()).greeted();
    for entry in 0..11 {
        rogue.send(&offer(entry, "..", Some(5)));
    }
    rogue.turn();
    let error = ProtocolError::TooManyPending { entry: EntryId::new(10), limit: 10 };
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
}

#[test]
fn receipts_that_are_not_said_yet_count_as_pending() {
    let limits = Limits::default().pending_entries(10);
    let mut rogue = Rogue::sender(&config().limits(limits), Bob::default()).greeted();
    for entry in 0..11 {
        rogue.send(&Message::Offer(inline(entry, format!("{entry}").as_bytes(), b"")));
        rogue.settle();
    }
    rogue.turn();
    let error = ProtocolError::TooManyPending { entry: EntryId::new(10), limit: 10 };
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
}

#[test]
fn replacing_that_was_cut_goes_on_with_what_arrived() {
    let turn = Turn::default().initial_bytes(5000).max_bytes(5000);
    let config = config().if_exists(IfExists::Replace).turn(turn);
    for window in [None, Some(8 * KIB as u64)] {
        for old in [content(2, 40 * KIB), content(2, 100), content(1, 20 * KIB)] {
            let mut pair = Pair::new(&config, &[("a", content(1, 40 * KIB))]);
            if window.is_some() {
                pair = pair.unsized_files(window);
            }
            pair.bob.visible.insert(path("a"), old.clone());
            cut_down(&mut pair, 15_000);
            assert!(pair.bob.visible[&path("a")] == old);
            pair.reconnect(&config, 2);
            let summary = pair.run_well();
            assert!(pair.bob.visible[&path("a")] == content(1, 40 * KIB));
            assert!(summary.resent <= 6 * KIB as u64, "{window:?} {}", summary.resent);
            assert!(pair.bob.partial.is_empty());
        }
    }
}

#[test]
fn receiver_that_asks_for_an_entry_from_its_start_for_ever_is_stopped() {
    // A file of several blocks, and one whose content travels inside its offer.
    for len in [5000, 500] {
        for compares in [[true; 4], [false; 4], [true, false, true, false]] {
            let files = vec![(Meta::file(path("a"), Some(len)), content(1, len as usize))];
            let alice = Alice { files, ..Alice::default() };
            let mut rogue = Rogue::receiver(&config(), alice).greeted();
            let entry = EntryId::new(0);
            let mut rounds = 0;
            for compare in compares {
                rogue.receive();
                let hashes = Vec::new();
                rogue.send(&Message::Have { entry, first: 0, hashes, more: false, compare });
                rogue.over(true);
                rogue.settle();
                if rogue.ended().is_some() {
                    break;
                }
                rounds += 1;
            }
            let (kind, entry) = (Name::Have, EntryId::new(0));
            let error = ProtocolError::UnexpectedForEntry { kind, entry };
            let case = format!("{len} {compares:?}");
            assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))), "{case}");
            // To compare, and then to have all of it.
            assert_eq!(rounds, if compares[..2] == [true, false] { 2 } else { 1 }, "{case}");
        }
    }
}

#[test]
fn receiver_that_says_the_same_of_what_it_keeps_for_ever_is_stopped() {
    let files = vec![(Meta::file(path("a"), Some(5000)), content(1, 5000))];
    let mut rogue = Rogue::receiver(&config(), Alice { files, ..Alice::default() }).greeted();
    let entry = EntryId::new(0);
    rogue.send(&Message::Have { entry, first: 0, hashes: Vec::new(), more: false, compare: false });
    rogue.over(true);
    rogue.settle();
    for round in 0.. {
        assert!(round < 10, "for ever");
        let kept = Message::Kept { entry, blocks: vec![0..1] };
        rogue.send(&kept);
        rogue.over(true);
        rogue.settle();
        if rogue.ended().is_some() {
            break;
        }
    }
    let error = ProtocolError::Unexpected { kind: Name::Over };
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
}

#[test]
fn receipt_is_not_given_for_a_root_that_is_not_the_content_s() {
    // A short block that came damaged, then a whole block of zeros at its place: the root of the longer content must
    // not pass for that of the shorter one.
    for is_same in [false, true] {
        let mut bob = Bob::default();
        bob.partial.insert(path("a"), vec![0; 1024]);
        let mut rogue = Rogue::sender(&config(), bob).greeted();
        rogue.send(&offer(0, "a", None));
        rogue.turn();
        let entry = EntryId::new(0);
        let hash = BlockHash::from_bytes([1; 32]);
        rogue.send_with(&Message::Block { entry, index: 0, hash }, &[5; 100]);
        if is_same {
            rogue.send(&Message::Same { entry, blocks: 0..1 });
        } else {
            rogue.send(&Message::Zeros { entry, blocks: 0..1 });
        }
        let end = Message::End { entry, size: 100, root: Hash::of(&[0; 1024]) };
        rogue.send(&end);
        rogue.turn();
        assert!(matches!(
            rogue.ended(),
            Some(Err(Error::Protocol(ProtocolError::SizeContradicts { .. })))
        ));
        assert!(rogue.pair.bob.visible.is_empty());
    }
}

#[test]
fn stream_that_ends_in_zeros_says_where_it_ends_on_a_second_connection_too() {
    let mut whole = Pair::new(&config(), &[("a", vec![0; 1500])]).unsized_files(None);
    whole.run_well();
    for cut in 0..whole.up.record.len() {
        let mut pair = Pair::new(&config(), &[("a", vec![0; 1500])]).unsized_files(None);
        pair.up.cut = Some(cut);
        pair.run_while_moving();
        pair.reconnect(&config(), 2);
        let (sent, received) = pair.run();
        assert!(sent.is_ok() && received.is_ok(), "{cut}: {sent:?} {received:?}");
        assert!(pair.bob.visible[&path("a")] == vec![0; 1500]);
    }
}

#[test]
fn stream_shorter_than_what_is_held_ends_where_it_ends() {
    let turn = Turn::default().initial_bytes(0).max_bytes(0).max_time(Duration::ZERO);
    let config = config().turn(turn);
    for flip in [None, Some(300)] {
        let mut pair = Pair::new(&config, &[("a", content(1, 1023))]).unsized_files(None);
        pair.bob.partial.insert(path("a"), content(2, 5000));
        pair.down.flips.extend(flip.map(|at| (at, 1)));
        pair.run_well();
        assert!(pair.bob.visible[&path("a")] == content(1, 1023));
    }
    // The end comes in one turn with a damaged block, while another piece of what is held is promised.
    let slow = self::config().turn(Turn::default().max_time(Duration::ZERO));
    let files = vec![(Meta::file(path("a"), None), content(1, 1023))];
    let alice = Alice { files, ..Alice::default() };
    let mut pair = Pair::with(&self::config(), &slow, alice, Bob::default());
    pair.bob.partial.insert(path("a"), content(2, 5000));
    pair.down.flips.insert(300, 1);
    pair.run_well();
    assert!(pair.bob.visible[&path("a")] == content(1, 1023));
}

#[test]
fn stream_with_a_window_ends_where_it_ends_on_a_second_connection_too() {
    let turn = Turn::default().initial_bytes(0).max_bytes(0).max_time(Duration::ZERO);
    let config = config().turn(turn);
    let make = || {
        let pair = Pair::new(&config, &[("a", content(1, 3073))]);
        let mut pair = pair.unsized_files(Some(2048));
        pair.bob.partial.insert(path("a"), content(1, 5000));
        pair
    };
    let mut whole = make();
    whole.run_well();
    for cut in 0..whole.up.record.len() {
        let mut pair = make();
        pair.up.cut = Some(cut);
        pair.run_while_moving();
        pair.reconnect(&config, 2);
        let (sent, received) = pair.run();
        assert!(sent.is_ok() && received.is_ok(), "{cut}: {sent:?} {received:?}");
        assert!(pair.bob.visible[&path("a")] == content(1, 3073));
    }
}

#[test]
fn sender_that_ends_what_is_compared_without_an_answer_is_stopped() {
    for existing in [IfExists::Refuse, IfExists::Replace] {
        let mut bob = Bob::default();
        bob.visible.insert(path("a"), content(1, 3000));
        let mut rogue = Rogue::sender(&config().if_exists(existing), bob).greeted();
        rogue.send(&offer(0, "a", Some(3000)));
        rogue.turn();
        let entry = EntryId::new(0);
        rogue.send(&Message::End { entry, size: 3000, root: Hash::of(&content(1, 3000)) });
        rogue.turn();
        let error = ProtocolError::UnexpectedForEntry { kind: Name::End, entry };
        assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
    }
}

#[test]
fn sender_goes_on_about_what_was_refused_until_it_hears_of_it() {
    let entry = EntryId::new(0);
    let reason = Reason { code: 1, first: 0, second: 0 };
    let hash = BlockHash::from_bytes([1; 32]);
    for withdraws in [false, true] {
        let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
        rogue.send(&offer(0, "..", Some(1024)));
        rogue.send_with(&Message::Block { entry, index: 0, hash }, &[1; 1024]);
        rogue.send(&Message::End { entry, size: 1024, root: Hash::of(b"") });
        if withdraws {
            rogue.send(&Message::Withdraw { entry, reason });
        }
        let said = rogue.turn_without_waiting();
        let said: Vec<_> = said.iter().map(Message::name).collect();
        let refuse: &[Name] = if withdraws { &[] } else { &[Name::Refuse] };
        assert_eq!(said, [refuse, &[Name::Over]].concat());
        rogue.send(&Message::Claim { entry, root: None });
        rogue.turn();
        let error = ProtocolError::UnknownEntry { kind: Name::Claim, entry };
        assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))), "it was told");
    }
}
