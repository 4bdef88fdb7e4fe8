//! Partial files of earlier attempts, and content that is zeros.

use super::{KIB, config, file};
use crate::config::IfExists;
use crate::proto::tests::pair::{Pair, content, path};

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
        (true, IfExists::Refuse, 0),
        (true, IfExists::Refuse, 4),
        (false, IfExists::Refuse, 4),
        (true, IfExists::Replace, 0),
        (true, IfExists::Replace, 4),
    ] {
        let config = config().if_exists(existing);
        let mut bytes = vec![0; 20 * KIB];
        bytes[15 * KIB] = 1;
        let mut pair = Pair::new(&config, &[("a", bytes.clone())]);
        if !is_sized {
            pair = pair.unsized_files(None);
        }
        if left > 0 {
            pair.bob.partial.insert(path("a"), vec![7; left * KIB]);
        }
        if existing == IfExists::Replace {
            pair.bob.visible.insert(path("a"), vec![8; 20 * KIB]);
        }
        pair.run_well();
        let case = format!("{is_sized} {existing:?} {left}");
        assert_eq!(pair.bob.visible[&path("a")], bytes, "{case}");
        // What goes on to replace a file takes that over too, beyond what the earlier attempt left; and the partial file of a
        // stream holds all of its zeros.
        let is_all = !is_sized || existing == IfExists::Replace && left > 0;
        let taken = if is_all { 20 } else { left };
        let zeroed: u64 = pair.bob.zeroed.iter().sum();
        assert_eq!(pair.bob.written + zeroed, ((taken + 1).min(20) * KIB) as u64, "{case}");
    }
}

#[test]
fn zeros_over_an_old_partial_are_one_request_however_many_blocks_they_are() {
    for left in [1, 700, 1000, 4000] {
        let mut pair = Pair::new(&config(), &[("a", vec![0; 1000 * KIB])]);
        pair.bob.partial.insert(path("a"), vec![7; left * KIB + 3]);
        pair.run_well();
        assert_eq!(pair.bob.visible[&path("a")], vec![0; 1000 * KIB]);
        assert_eq!(pair.bob.zeroed, [(left * KIB + 3).min(1000 * KIB) as u64], "{left}");
        assert_eq!(pair.bob.written, 0, "{left}");
    }
}
