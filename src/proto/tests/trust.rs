//! Files that are taken for unchanged by size and time: where that is done, what it spares, and what it never does.

use super::pair::{Alice, Bob, Pair, content, path};
use super::rogue::{Rogue, wire};
use crate::config::{Compare, Config, IfExists, Limits};
use crate::hash::{BlockSize, Hash};
use crate::proto::wire::message::{Message, Name, Reason, WireOffer};
use crate::proto::{Error, ProtocolError};
use crate::types::{Durability, EntryId, Event, Kind, Meta, Outcome, Timestamp};

const KIB: usize = 1024;
const ZERO: EntryId = EntryId::new(0);

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN).compare(Compare::SizeAndTime)
}

fn time(nanos: u32) -> Option<Timestamp> {
    Timestamp::new(1_000_000_000, nanos)
}

fn dated(name: &str, bytes: &[u8], modified: Option<Timestamp>) -> (Meta, Vec<u8>) {
    let size = Some(bytes.len() as u64);
    (Meta::file(path(name), size).modified(modified), bytes.to_vec())
}

fn pair(files: Vec<(Meta, Vec<u8>)>) -> Pair {
    Pair::with(&config(), &config(), Alice { files, ..Alice::default() }, Bob::default())
}

/// Gives the receiver such a file.
fn hold(pair: &mut Pair, name: &str, bytes: &[u8], modified: Option<Timestamp>) {
    pair.bob.visible.insert(path(name), bytes.to_vec());
    pair.bob.times.extend(modified.map(|time| (path(name), time)));
}

#[test]
fn unchanged_tree_is_neither_read_nor_sent_and_takes_two_turns() {
    let names: Vec<_> = (0..3000).map(|number| format!("{number}")).collect();
    let len = |number: usize| [0, 10, 1024, 5000][number % 4];
    let file = |(number, name): (usize, &String)| dated(name, &content(1, len(number)), time(1));
    let mut pair = pair(names.iter().enumerate().map(file).collect());
    pair.run_well();
    pair.restart(&config());
    let read = pair.alice.reads.len();
    let summary = pair.run_well();
    assert_eq!((summary.trusted, summary.delivered, summary.sent), (3000, 0, 0));
    assert!(summary.is_complete());
    assert_eq!(pair.alice.reads.len(), read);
    assert_eq!(summary.turns, 1, "all are offered in one turn");
    let trusted = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::Trusted { .. })).count()
    };
    assert_eq!((trusted(&pair.alice.events), trusted(&pair.bob.events)), (3000, 3000));
    assert!(pair.bob.open.is_empty() && pair.bob.commits.is_empty());
}

/// The receiver's file differs from what is offered by a byte, the size or the time; under every policy.
#[test]
fn only_a_file_of_the_same_size_and_time_is_taken_for_unchanged() {
    for len in [10, 5 * KIB] {
        let (new, other) = (content(1, len), content(2, len));
        let longer = content(2, len + 1);
        for existing in [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace] {
            for (held, held_time, sent_time, is_trusted) in [
                (Some(&new), time(5), time(5), true),
                // Nobody looks at the content: that is what is trusted.
                (Some(&other), time(5), time(5), true),
                (Some(&other), time(6), time(5), false),
                (Some(&longer), time(5), time(5), false),
                (Some(&other), None, time(5), false),
                (Some(&other), time(5), None, false),
                (Some(&other), None, None, false),
                (None, None, time(5), false),
                (Some(&new), time(6), time(5), false),
            ] {
                let run = |unchanged| {
                    let ours = config().compare(unchanged);
                    let theirs = config().if_exists(existing);
                    let files = vec![dated("a", &new, sent_time)];
                    let alice = Alice { files, ..Alice::default() };
                    let mut pair = Pair::with(&ours, &theirs, alice, Bob::default());
                    held.into_iter().for_each(|held| hold(&mut pair, "a", held, held_time));
                    (pair.run_well(), pair)
                };
                let (with, trusting) = run(Compare::SizeAndTime);
                let (without, verifying) = run(Compare::Content);
                let case = format!("{len} {existing:?} {held_time:?} {sent_time:?}");
                if is_trusted {
                    assert_eq!((with.trusted, with.delivered, with.sent), (1, 0, 0), "{case}");
                    assert_eq!(trusting.bob.visible[&path("a")], *held.unwrap(), "{case}");
                    continue;
                }
                // The policy has its way, as if nothing had been asked.
                let counts = |s: crate::types::Summary| {
                    (s.trusted, s.delivered, s.held, s.skipped, s.refused, s.sent, s.bytes)
                };
                assert_eq!(counts(with), counts(without), "{case}");
                assert_eq!(trusting.bob.visible, verifying.bob.visible, "{case}");
                assert!(trusting.bob.partial.is_empty(), "{case}");
            }
        }
    }
}

#[test]
fn receiver_without_the_feature_is_not_asked() {
    let files = || vec![dated("a", b"small", time(1)), dated("b", &content(1, 3000), time(1))];
    let mut by_content = pair(files());
    by_content.sender = Pair::new(&config().compare(Compare::Content), &[]).sender;
    let mut by_time = pair(files());
    for pair in [&mut by_content, &mut by_time] {
        pair.receiver = Pair::new(&config().compare(Compare::Content), &[]).receiver;
        pair.run_well();
    }
    assert!(by_time.down.record == by_content.down.record);
    assert!(by_time.up.record == by_content.up.record);
}

#[test]
fn changed_files_are_offered_again_within_every_limit_and_before_their_folder() {
    for limit in [1, 2, 3, 5, 64] {
        let limits = Limits::default().pending_entries(limit).open_entries(1).pending_names(40);
        let config = config().limits(limits);
        let mut files = Vec::new();
        let mut held = Vec::new();
        for number in 0..30_u64 {
            let bytes = content(number, [3, 3000, 1024][number as usize % 3]);
            let name = format!("d/{number}");
            if number % 2 == 0 {
                held.push((name.clone(), bytes.clone()));
            }
            files.push(dated(&name, &bytes, time(9)));
        }
        files.push((Meta::directory(path("d")), Vec::new()));
        let alice = Alice { files, ..Alice::default() };
        let mut pair = Pair::with(&config, &config, alice, Bob::default());
        held.iter().for_each(|(name, bytes)| hold(&mut pair, name, bytes, time(9)));
        let summary = pair.run_well();
        assert_eq!((summary.trusted, summary.delivered), (15, 16), "{limit}");
        let last = pair.bob.committed.last().unwrap();
        assert_eq!((last.meta.path.clone(), pair.bob.committed.len()), (path("d"), 16), "{limit}");
        let offers = pair.bob.events.iter().filter(|event| matches!(event, Event::Offered { .. }));
        assert_eq!(offers.count(), 31, "each is told once");
    }
}

#[test]
fn changed_file_that_is_gone_is_withdrawn_and_its_folder_follows() {
    let files = vec![dated("d/a", b"", time(1)), (Meta::directory(path("d")), Vec::new())];
    let mut pair = pair(files);
    // It proves longer than it was, when it is read to be offered again.
    pair.alice.files[0].0.size = Some(9);
    let summary = pair.run_well();
    assert_eq!((summary.withdrawn, summary.delivered), (1, 1));
    assert_eq!(pair.bob.committed.len(), 1);
}

/// However often the link is lost, and where: what travelled gets its receipt, and is not taken for unchanged.
#[test]
fn lost_link_never_makes_trust_of_what_travelled() {
    let files = || {
        let changed = dated("c", &content(3, 1500), time(1));
        vec![dated("a", b"same", time(1)), dated("b", b"new", time(1)), changed]
    };
    let make = || {
        let mut pair = pair(files());
        hold(&mut pair, "a", b"same", time(1));
        hold(&mut pair, "c", &content(4, 1500), time(2));
        pair
    };
    let theirs = config().if_exists(IfExists::Replace);
    let fresh = |pair: &mut Pair| pair.restart_receiver(&theirs);
    let mut whole = make();
    fresh(&mut whole);
    whole.run_well();
    let (down, up) = (whole.down.record.len(), whole.up.record.len());
    let cuts = (0..down).map(|at| (Some(at), None)).chain((0..up).map(|at| (None, Some(at))));
    for (down, up) in cuts {
        let mut pair = make();
        fresh(&mut pair);
        (pair.down.cut, pair.up.cut) = (down, up);
        pair.run_while_moving();
        if !matches!(pair.alice.ended, Some(Ok(_))) {
            pair.reconnect(&theirs, 2);
            assert!(pair.run().0.is_ok(), "{down:?} {up:?}");
        }
        let summary = pair.sender.summary();
        assert_eq!((summary.trusted, summary.delivered), (1, 2), "{down:?} {up:?}");
        assert_eq!(pair.bob.visible[&path("c")], content(3, 1500));
    }
}

fn by_time(entry: u32, size: u64) -> WireOffer {
    WireOffer { modified: time(1), by_time: true, ..wire(entry, b"a", Some(size)) }
}

fn sender() -> Rogue {
    Rogue::sender(&config(), Bob::default()).greeted()
}

fn awaited() -> Rogue {
    let mut rogue = sender();
    rogue.send(&Message::Offer(by_time(0, 3000)));
    let said = rogue.turn();
    assert_eq!(said[0], Message::Changed { entry: ZERO });
    rogue
}

fn breach(mut rogue: Rogue, error: ProtocolError) {
    rogue.over(true);
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
}

#[test]
fn sender_whose_offer_by_time_makes_no_sense_is_a_breach() {
    let malformed = ProtocolError::Malformed { kind: Name::Offer };
    let changes: [fn(&mut WireOffer); 6] = [
        |offer| offer.size = None,
        |offer| offer.modified = None,
        |offer| offer.root = Some(Hash::of(b"")),
        |offer| (offer.inline, offer.size, offer.root) = (true, Some(0), Some(Hash::of(b""))),
        |offer| (offer.kind, offer.size) = (Kind::Directory, Some(0)),
        |offer| (offer.kind, offer.size) = (Kind::Symlink((*b"x").into()), Some(0)),
    ];
    for change in changes {
        let mut offer = by_time(0, 3000);
        change(&mut offer);
        let mut rogue = sender();
        rogue.send(&Message::Offer(offer));
        breach(rogue, malformed);
    }
    // To a receiver that never said it would look.
    let without = config().compare(Compare::Content);
    let mut rogue = Rogue::sender(&without, Bob::default()).greeted();
    rogue.send(&Message::Offer(by_time(0, 3000)));
    breach(rogue, malformed);
}

#[test]
fn sender_that_offers_a_changed_file_again_must_do_so_once_asked_and_as_it_was() {
    let unexpected = ProtocolError::UnexpectedForEntry { kind: Name::Offer, entry: ZERO };
    let plain = || WireOffer { by_time: false, ..by_time(0, 3000) };
    let changes: [fn(&mut WireOffer); 5] = [
        |offer| offer.by_time = true,
        |offer| offer.size = Some(3001),
        |offer| offer.modified = time(2),
        |offer| offer.name = (*b"b").into(),
        |offer| (offer.kind, offer.size) = (Kind::Directory, Some(0)),
    ];
    for change in changes {
        let mut offer = plain();
        change(&mut offer);
        let mut rogue = awaited();
        rogue.send(&Message::Offer(offer));
        breach(rogue, unexpected);
    }
    // Before the answer, twice, and after it was settled.
    let mut early = sender();
    early.send(&Message::Offer(by_time(0, 3000)));
    early.send(&Message::Offer(plain()));
    breach(early, ProtocolError::EntryOutOfOrder { entry: ZERO });
    let mut twice = awaited();
    twice.send(&Message::Offer(plain()));
    twice.send(&Message::Offer(plain()));
    breach(twice, ProtocolError::EntryOutOfOrder { entry: ZERO });
    let mut bob = Bob::default();
    bob.visible.insert(path("a"), vec![1; 3000]);
    bob.times.insert(path("a"), time(1).unwrap());
    let mut settled = Rogue::sender(&config(), bob).greeted();
    settled.send(&Message::Offer(by_time(0, 3000)));
    assert_eq!(settled.turn()[0], Message::Unchanged { entry: ZERO });
    settled.send(&Message::Offer(plain()));
    breach(settled, ProtocolError::EntryOutOfOrder { entry: ZERO });
}

#[test]
fn sender_that_ends_while_a_changed_file_is_awaited_is_a_breach() {
    breach_of(&Message::Out, ProtocolError::Unexpected { kind: Name::Out });
    let end = Message::End { entry: ZERO, size: 3000, root: Hash::of(b"") };
    breach_of(&end, ProtocolError::UnexpectedForEntry { kind: Name::End, entry: ZERO });
    let mut rogue = awaited();
    let reason = Reason { code: 1, first: 0, second: 0 };
    rogue.send(&Message::Withdraw { entry: ZERO, reason });
    rogue.send(&Message::Out);
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Ok(())));
}

fn breach_of(message: &Message, error: ProtocolError) {
    let mut rogue = awaited();
    rogue.send(message);
    breach(rogue, error);
}

/// Returns a rogue receiver that was asked about one file; or not asked, as it does not have the
/// feature.
fn receiver(features: u32) -> Rogue {
    let alice = Alice { files: vec![dated("a", &content(1, 3000), time(1))], ..Alice::default() };
    Rogue::receiver(&config(), alice).hello(|hello| hello.offered = features).greeted()
}

#[test]
fn receiver_that_says_unchanged_without_being_asked_is_a_breach() {
    for message in [Message::Unchanged { entry: ZERO }, Message::Changed { entry: ZERO }] {
        let kind = message.name();
        let mut rogue = receiver(0);
        rogue.send(&message);
        breach(rogue, ProtocolError::UnexpectedForEntry { kind, entry: ZERO });
        // Of what it was never offered, and a second time.
        let mut twice = receiver(2);
        twice.send(&message);
        twice.send(&message);
        breach(twice, ProtocolError::UnknownEntry { kind, entry: ZERO });
    }
}

#[test]
fn receiver_that_answers_an_offer_by_time_with_anything_else_is_a_breach() {
    let entry = ZERO;
    let have = Message::Have { entry, first: 0, hashes: vec![], more: false, compare: false };
    for message in [
        have,
        Message::Missing { entry, blocks: vec![0..1] },
        Message::Kept { entry, blocks: vec![0..1] },
    ] {
        let mut rogue = receiver(2);
        rogue.send(&message);
        breach(rogue, ProtocolError::UnexpectedForEntry { kind: message.name(), entry });
    }
    let mut rogue = receiver(2);
    let (durability, outcome) = (Durability::Synced, Outcome::Held);
    let root = Hash::of(&content(1, 3000));
    let name = Box::default();
    rogue.send(&Message::Receipt { entry, size: 3000, root, durability, outcome, name });
    breach(rogue, ProtocolError::FalseReceipt { entry });
    let mut rogue = receiver(2);
    rogue.send(&Message::Refuse { entry, reason: Reason { code: 16, first: 0, second: 0 } });
    rogue.over(true);
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Ok(())), "it may refuse");
}
