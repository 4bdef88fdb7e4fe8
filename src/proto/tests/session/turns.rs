//! Sessions in turns, windows, blocks and pieces of any size.

use super::{KIB, config, file};
use crate::config::{Config, Limits, Turn};
use crate::hash::BlockSize;
use crate::proto::tests::pair::{Alice, Bob, Pair, content, path};
use crate::proto::tests::scenes;
use crate::types::Meta;

#[test]
fn both_sides_count_the_same_turns() {
    for scene in scenes::all() {
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
