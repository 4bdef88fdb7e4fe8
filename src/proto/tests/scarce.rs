//! Stores that have too few file descriptors for all that is offered.

use super::pair::{Pair, content, path};
use crate::config::{Config, IfExists};
use crate::hash::BlockSize;
use crate::proto::Error;
use crate::types::{AbortCode, Event, Refusal};

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

/// Files of every length that matters, in an order in which small ones follow large ones.
fn files() -> Vec<(String, Vec<u8>)> {
    let lens = [5000, 3000, 0, 1, 1024, 1025, 9000, 0, 700, 2048];
    let file = |(seed, len)| (format!("d/{seed}"), content(seed, len));
    (0..).zip(lens).map(file).collect()
}

/// Way in which it is offered.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Sized,
    Unsized,
    ByRoot,
}

fn pair(config: &Config, way: Way, files: &[(String, Vec<u8>)]) -> Pair {
    let files: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let mut pair = Pair::new(config, &files);
    match way {
        Way::Sized => {}
        Way::Unsized => pair = pair.unsized_files(None),
        Way::ByRoot => pair.receiver.advertise_hash_first(),
    }
    pair
}

const WAYS: [Way; 3] = [Way::Sized, Way::Unsized, Way::ByRoot];

#[test]
fn files_all_arrive_however_few_descriptors_there_are() {
    let files = files();
    for way in WAYS {
        for descriptors in 1..12 {
            for is_lazy in [false, true] {
                let case = format!("{way:?} {descriptors} {is_lazy}");
                let mut pair = pair(&config(), way, &files);
                (pair.bob.descriptors, pair.bob.is_lazy) = (Some(descriptors), is_lazy);
                let summary = pair.run_well();
                assert_eq!((summary.delivered, summary.refused), (10, 0), "{case}");
                for (name, bytes) in &files {
                    assert_eq!(pair.bob.visible[&path(name)], *bytes, "{name} {case}");
                }
                let bob = &pair.bob;
                assert!(bob.open.is_empty() && bob.partial.is_empty(), "{case}");
                assert!(bob.most_open <= descriptors, "{case}");
                assert!(bob.lacked > 0 || descriptors > 1, "{case}: it did not lack any");
            }
        }
    }
}

/// The content of the existing file is not known before that of the entry has come.
#[test]
fn file_that_was_put_off_is_settled_by_the_policy_when_it_gets_its_name() {
    for policy in [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace] {
        for way in WAYS {
            for (is_same, len) in
                [(true, 3000), (false, 3000), (true, 500), (false, 500), (true, 0)]
            {
                let case = format!("{policy:?} {way:?} {is_same} {len}");
                let files = [("a".to_owned(), content(1, 5000)), ("b".to_owned(), content(2, len))];
                let mut pair = pair(&config().if_exists(policy), way, &files);
                let existing = if is_same { files[1].1.clone() } else { content(3, len) };
                pair.bob.visible.insert(path("b"), existing.clone());
                pair.bob.descriptors = Some(1);
                // What is held may be compared: that is one more.
                let summary = pair.run_well();
                assert!(pair.bob.lacked > 0, "{case}");
                let counts = (summary.delivered, summary.refused, summary.skipped);
                let (expected, copies) = match policy {
                    _ if is_same => ((2, 0, 0), 2),
                    IfExists::Refuse => ((1, 1, 0), 2),
                    IfExists::Skip => ((1, 0, 1), 2),
                    IfExists::Rename => ((2, 0, 0), 3),
                    IfExists::Replace => ((2, 0, 0), 2),
                };
                assert_eq!((counts, pair.bob.visible.len()), (expected, copies), "{case}");
                let replaced = policy == IfExists::Replace;
                let stands = if replaced { &files[1].1 } else { &existing };
                assert_eq!(pair.bob.visible[&path("b")], *stands, "{case}");
                assert!(pair.bob.open.is_empty() && pair.bob.partial.is_empty(), "{case}");
            }
        }
    }
}

#[test]
fn store_without_any_descriptor_ends_the_session_and_another_attempt_may_help() {
    for way in WAYS {
        for len in [0, 500, 5000] {
            let files = [("a".to_owned(), content(1, len))];
            let mut pair = pair(&config(), way, &files);
            pair.bob.descriptors = Some(0);
            let (sent, received) = pair.run();
            let ended = [sent.map(drop), received.map(drop)];
            let code = AbortCode::Exhausted;
            assert_eq!(ended, [Err(Error::Aborted(code)), Err(Error::Ended(code))], "{way:?}");
            assert!(ended.iter().all(|ended| ended.is_err_and(|failure| failure.is_transient())));
            let is_refusal = |event: &&Event| matches!(event, Event::Refused { .. });
            assert_eq!(pair.alice.events.iter().find(is_refusal), None);
            pair.bob.descriptors = None;
            pair.reconnect(&config(), 2);
            assert_eq!(pair.run_well().delivered, 1, "{way:?} {len}");
        }
    }
}

/// Returns the first of two files, of so many blocks, is to replace another one, and is compared with that; then there
/// is room for one file, which is the second one's.
fn replacing(way: Way, old: Vec<u8>, new: Vec<u8>) -> Pair {
    let files = [("a".to_owned(), new), ("b".to_owned(), content(2, 5000))];
    let mut pair = pair(&config().if_exists(IfExists::Replace), way, &files);
    pair.bob.visible.insert(path("a"), old);
    while pair.bob.open.len() < 2 {
        assert!(pair.step_sender() | pair.step_receiver());
    }
    pair.bob.descriptors = Some(1);
    pair
}

fn assert_replaced(pair: &mut Pair, new: &[u8], case: &str) {
    let summary = pair.run_well();
    assert_eq!((summary.delivered, summary.refused), (2, 0), "{case}");
    assert!(pair.bob.lacked > 0, "{case}: it did not lack any");
    assert_eq!(pair.bob.visible[&path("a")], new, "{case}");
    assert_eq!(pair.bob.visible[&path("b")], content(2, 5000), "{case}");
    assert!(pair.bob.open.is_empty() && pair.bob.partial.is_empty(), "{case}");
    // Nothing that came twice counts twice.
    let mut last = 0;
    for event in &pair.bob.events {
        if let Event::Progress { bytes, .. } = event {
            assert!((last..=5000 + new.len() as u64).contains(bytes), "{last} {bytes} {case}");
            last = *bytes;
        }
    }
    assert_eq!(last, 5000 + new.len() as u64, "{case}");
}

#[test]
fn file_that_differs_from_what_it_replaces_is_put_off_until_others_are_closed() {
    for way in [Way::Sized, Way::Unsized] {
        for changed in 0..5 {
            let old = content(3, 5000);
            let mut new = old.clone();
            new[changed * 1024] ^= 1;
            let mut pair = replacing(way, old, new.clone());
            assert_replaced(&mut pair, &new, &format!("{way:?} {changed}"));
            // What is the same did not travel, though nothing was open of the file when that was said.
            let differs = 1024.min(5000 - changed as u64 * 1024);
            assert_eq!(pair.bob.written, 5000 + differs, "{way:?} {changed}");
        }
    }
}

/// The file that is replaced goes on where the new one ends: that is known with the end, after which no block comes.
#[test]
fn stream_that_ends_before_what_it_replaces_is_put_off_until_others_are_closed() {
    for len in [0, 1, 1024, 1025, 3072, 4999] {
        let old = content(3, 5000);
        let new = old[..len].to_vec();
        let mut pair = replacing(Way::Unsized, old, new.clone());
        assert_replaced(&mut pair, &new, &format!("{len}"));
        // The last block, if it is cut, travels; the others are copied.
        assert_eq!(pair.bob.written, 5000 + u64::try_from(len % 1024).unwrap(), "{len}");
    }
}

/// An existing file is compared when the floor is next had; until then both files are open.
#[test]
fn file_that_cannot_wait_for_its_content_waits_until_what_has_a_name_is_compared() {
    let files = [("a".to_owned(), content(1, 5000)), ("b".to_owned(), content(2, 5000))];
    for way in WAYS {
        let mut pair = pair(&config(), way, &files);
        pair.bob.late.insert(path("a"), content(1, 5000));
        pair.bob.descriptors = Some(1);
        let summary = pair.run_well();
        assert_eq!((summary.delivered, summary.refused), (2, 0), "{way:?}");
        let bob = &pair.bob;
        assert!(
            bob.conflict_reads > 0 && bob.open.is_empty() && bob.conflicts.is_empty(),
            "{way:?}"
        );
    }
}

/// An earlier attempt to replace a file left most of it; it is looked for while others are open.
#[test]
fn what_an_earlier_attempt_left_of_a_file_that_was_put_off_does_not_travel_again() {
    let new = content(1, 50_000);
    let files = [("b".to_owned(), content(2, 50_000)), ("a".to_owned(), new.clone())];
    let mut pair = pair(&config().if_exists(IfExists::Replace), Way::Sized, &files);
    pair.bob.visible.insert(path("a"), content(3, 50_000));
    pair.bob.partial.insert(path("a"), new[..45_056].to_vec());
    pair.bob.lacks_to_replace = 1;
    assert_eq!(pair.run_well().delivered, 2);
    assert!(pair.bob.lacked > 0 && pair.bob.visible[&path("a")] == new);
    assert_eq!(pair.bob.written, 50_000 + 4944);
}

#[test]
fn session_that_is_cut_goes_on_with_files_that_were_put_off() {
    let files = files();
    for way in WAYS {
        for cut in (300..24_000).step_by(1500) {
            let mut pair = pair(&config(), way, &files);
            pair.bob.descriptors = Some(2);
            pair.down.cut = Some(cut);
            let (sent, _) = pair.run();
            if sent.is_ok() {
                continue;
            }
            pair.down.cut = None;
            pair.reconnect_suspended(&config(), 2);
            let summary = pair.run_well();
            assert_eq!(summary.refused, 0, "{way:?} {cut}");
            for (name, bytes) in &files {
                assert_eq!(pair.bob.visible[&path(name)], *bytes, "{name} {way:?} {cut}");
            }
        }
    }
}

#[test]
fn refusal_for_want_of_descriptors_is_that_of_two_numbers() {
    let operation = crate::types::StoreOperation::Rename;
    let is = |code| Refusal::Store { code, operation }.is_fd_exhaustion();
    assert_eq!([22, 23, 24, 25].map(is), [false, true, true, false]);
    assert!(!Refusal::Sync { code: 24 }.is_fd_exhaustion());
}
