//! Causes that refuse an entry, and causes that end a session.

use std::time::Duration;

use super::{KIB, config, file};
use crate::config::Limits;
use crate::proto::tests::pair::{Alice, Bob, Pair, content, path};
use crate::proto::{Error, Stall};
use crate::types::{Event, Meta, Refusal};

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
    let stall = Err(Error::Stalled(Stall::Hello { after: Duration::from_secs(10) }));
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
    assert_eq!(sent, Err(Error::Cancelled));
    assert_eq!(received, Err(Error::Aborted(crate::types::AbortCode::Cancelled)));
}

#[test]
fn ended_receiver_hears_the_sender_out_and_tells_it() {
    let mut pair = Pair::new(&config(), &[file("a", 1, 5 * KIB)]);
    while pair.bob.events.len() < 3 {
        pair.step_sender();
        pair.step_receiver();
    }
    pair.receiver.end(pair.now, crate::types::AbortCode::Cancelled);
    let (sent, received) = pair.run();
    assert_eq!(received, Err(Error::Cancelled));
    assert_eq!(sent, Err(Error::Aborted(crate::types::AbortCode::Cancelled)));
}
