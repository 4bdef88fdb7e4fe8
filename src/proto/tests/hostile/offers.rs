//! Senders that lie in offers: of ids, names, limits, and times.

use super::{breach, limits, offer, offered, refused, sender};
use crate::hash::{BlockSize, Hash};
use crate::proto::error::{Error, ProtocolError};
use crate::proto::tests::pair::Bob;
use crate::proto::tests::rogue::{Rogue, wire};
use crate::proto::wire::message::{Message, Name, Reason, WireOffer};
use crate::types::{EntryId, Kind, Refusal};

#[test]
fn sender_that_offers_an_id_twice_or_out_of_order_is_a_breach() {
    for (first, second) in [(0, 0), (5, 5), (5, 4), (5, 0)] {
        let mut rogue = sender();
        rogue.send(&offer(first, Some(2048)));
        rogue.send(&offer(second, Some(2048)));
        breach(rogue, ProtocolError::EntryOutOfOrder { entry: EntryId::new(second) });
    }
}

#[test]
fn sender_that_offers_the_last_id_is_a_breach() {
    let mut rogue = sender();
    rogue.send(&offer(u32::MAX, Some(2048)));
    breach(rogue, ProtocolError::EntryOutOfOrder { entry: EntryId::new(u32::MAX) });
}

#[test]
fn sender_that_speaks_of_an_entry_never_offered_is_a_breach() {
    let reason = Reason { code: 1, first: 0, second: 0 };
    let entry = EntryId::new(7);
    for message in [
        Message::Same { entry, blocks: 0..1 },
        Message::Zeros { entry, blocks: 0..1 },
        Message::Claim { entry, root: None },
        Message::End { entry, size: 0, root: Hash::of(b"") },
        Message::Withdraw { entry, reason },
    ] {
        let mut rogue = offered(Some(2048));
        rogue.send(&message);
        breach(rogue, ProtocolError::UnknownEntry { kind: message.name(), entry });
    }
}

/// All that a sender has to say of a folder is its offer, also while the folder waits for what is in it.
#[test]
fn sender_that_takes_back_a_folder_that_waits_is_a_breach() {
    let reason = Reason { code: 1, first: 0, second: 0 };
    let entry = EntryId::new(1);
    let mut rogue = sender();
    rogue.send(&Message::Offer(wire(0, b"d/a", Some(2048))));
    rogue.send(&Message::Offer(WireOffer { kind: Kind::Directory, ..wire(1, b"d", Some(0)) }));
    rogue.send(&Message::Withdraw { entry, reason });
    breach(rogue, ProtocolError::UnexpectedForEntry { kind: Name::Withdraw, entry });
}

#[test]
fn sender_with_too_many_open_entries_is_a_breach() {
    let mut rogue = Rogue::sender(&limits(|l| l.open_entries(2)), Bob::default()).greeted();
    (0..3).for_each(|entry| rogue.send(&offer(entry, None)));
    breach(rogue, ProtocolError::TooManyPending { entry: EntryId::new(2), limit: 2 });
}

#[test]
fn sender_with_too_many_pending_entries_is_a_breach() {
    let mut rogue = Rogue::sender(&limits(|l| l.pending_entries(2)), Bob::default()).greeted();
    (0..3).for_each(|entry| rogue.send(&offer(entry, None)));
    breach(rogue, ProtocolError::TooManyPending { entry: EntryId::new(2), limit: 2 });
}

#[test]
fn sender_with_too_many_bytes_of_names_is_a_breach() {
    let mut rogue = Rogue::sender(&limits(|l| l.pending_names(100)), Bob::default()).greeted();
    for entry in 0..2 {
        rogue.send(&Message::Offer(wire(entry, &[b'a' + entry as u8; 60], None)));
    }
    breach(rogue, ProtocolError::TooManyNames { limit: 100 });
}

#[test]
fn sender_of_dangerous_names_has_each_refused() {
    for name in [
        &b"../x"[..],
        b"/etc/x",
        b"a/../../x",
        b"..\\x",
        b"C:x",
        b"\\\\srv\\x",
        b"//x",
        b"",
        b".",
        b"..",
        b"a//b",
        b"a\0b",
        b"a/",
        b"CON",
        b"nul.txt",
        b"f:stream",
        b"a.",
        b"a ",
        b".haul-1.part",
    ] {
        let mut rogue = sender();
        rogue.send(&Message::Offer(wire(0, name, Some(10))));
        refused(rogue, Refusal::Name);
    }
}

#[test]
fn sender_of_a_file_past_the_limits_is_refused_before_the_store_hears_of_it() {
    for size in [1 << 62, (1 << 62) + 1, u64::MAX] {
        let mut rogue = Rogue::sender(&limits(|l| l.file_bytes(1 << 40)), Bob::default()).greeted();
        rogue.send(&offer(0, Some(size)));
        refused(rogue, Refusal::TooLarge { size, limit: 1 << 40 });
    }
}

#[test]
fn sender_whose_sizes_sum_past_the_limit_is_refused() {
    let mut rogue = Rogue::sender(&limits(|l| l.total_bytes(1 << 40)), Bob::default()).greeted();
    rogue.send(&offer(0, Some(1 << 40)));
    rogue.send(&offer(1, Some(1)));
    let reason = Refusal::TooMuch { limit: 1 << 40 }.into();
    assert!(rogue.turn().contains(&Message::Refuse { entry: EntryId::new(1), reason }));
}

#[test]
fn sender_of_more_entries_than_allowed_is_refused() {
    let mut rogue = Rogue::sender(&limits(|l| l.entries(2)), Bob::default()).greeted();
    (0..3).for_each(|entry| rogue.send(&offer(entry, Some(5000))));
    let said = rogue.turn();
    let reason = Refusal::TooMany { limit: 2 }.into();
    assert!(said.contains(&Message::Refuse { entry: EntryId::new(2), reason }));
}

#[test]
fn sender_of_an_offer_that_contradicts_itself_is_a_breach() {
    let good = wire(0, b"a", Some(4));
    let with = |change: &dyn Fn(&mut WireOffer)| {
        let mut offer = good.clone();
        change(&mut offer);
        offer
    };
    let root = Some(Hash::of(b"four"));
    let cases: Vec<(&str, WireOffer, &[u8])> = vec![
        ("payload without inline", good.clone(), b"four"),
        ("inline without root", with(&|o| o.inline = true), b"four"),
        (
            "inline of unknown size",
            with(&|o| (o.inline, o.root, o.size) = (true, root, None)),
            b"four",
        ),
        ("inline of another size", with(&|o| (o.inline, o.root) = (true, root)), b"three"),
        (
            "inline of more than its block",
            with(&|o| (o.inline, o.root, o.size) = (true, Some(Hash::of(&[1; 1025])), Some(1025))),
            &[1; 1025],
        ),
        ("root of a size unknown", with(&|o| (o.root, o.size) = (root, None)), b""),
        ("root of nothing", with(&|o| (o.root, o.size) = (root, Some(0))), b""),
        ("root of more than a block", with(&|o| (o.root, o.size) = (root, Some(1025))), b""),
        ("folder by its root", with(&|o| (o.kind, o.root) = (Kind::Directory, root)), b""),
        ("folder with a size", with(&|o| o.kind = Kind::Directory), b""),
        ("folder without a size", with(&|o| (o.kind, o.size) = (Kind::Directory, None)), b""),
        (
            "folder with content",
            with(&|o| (o.kind, o.inline, o.root) = (Kind::Directory, true, root)),
            b"four",
        ),
        ("link with a size", with(&|o| o.kind = Kind::Symlink((*b"x").into())), b""),
        ("data of a size unknown", with(&|o| (o.data, o.size) = (Some(0), None)), b""),
        ("data that is no less than the size", with(&|o| o.data = Some(4)), b""),
        (
            "data of a folder",
            with(&|o| (o.kind, o.size, o.data) = (Kind::Directory, Some(0), Some(0))),
            b"",
        ),
        ("blocks larger than allowed", with(&|o| o.block_size = BlockSize::MAX), b""),
    ];
    for (name, offer, payload) in cases {
        let mut rogue = sender();
        rogue.send_with(&Message::Offer(offer), payload);
        rogue.turn();
        let error = ProtocolError::Malformed { kind: Name::Offer };
        assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))), "{name}");
        assert!(rogue.pair.bob.partial.is_empty(), "{name}");
    }
}

#[test]
fn sender_of_nanoseconds_past_a_second_is_a_breach() {
    let mut rogue = sender();
    let mut offer = wire(0, b"a", Some(4));
    offer.modified = crate::types::Timestamp::new(i64::MIN, 999_999_999);
    let mut control = Vec::new();
    Message::Offer(offer).encode(&mut control);
    let nanos = 999_999_999_u32.to_le_bytes();
    let at = control.windows(4).position(|bytes| bytes == nanos).unwrap();
    control[at..at + 4].copy_from_slice(&1_000_000_000_u32.to_le_bytes());
    rogue.send_raw(Name::Offer.kind(), &control, &[]);
    breach(rogue, ProtocolError::Malformed { kind: Name::Offer });
}

#[test]
fn sender_of_extreme_times_and_modes_has_them_tamed() {
    for seconds in [i64::MIN, -1, 0, i64::MAX] {
        let mut rogue = sender();
        let mut offer = wire(0, b"a", Some(0));
        offer.modified = crate::types::Timestamp::new(seconds, 999_999_999);
        (offer.mode, offer.inline, offer.root) = (Some(u32::MAX), true, Some(Hash::of(b"")));
        rogue.send(&Message::Offer(offer));
        rogue.turn();
        let commit = rogue.pair.bob.committed.last().unwrap();
        assert_eq!(commit.meta.mode, Some(0o777));
        assert_eq!(commit.meta.modified.map(|time| time.seconds()), Some(seconds));
    }
}

#[test]
fn sender_of_a_flag_kind_or_block_size_that_does_not_exist_is_a_breach() {
    let mut control = Vec::new();
    offer(0, Some(4)).encode(&mut control);
    for (at, value) in [(4, 3), (4, 255), (5, 32), (5, 128), (5, 0xFF), (6, 14), (6, 255)] {
        let mut rogue = sender();
        let mut control = control.clone();
        control[at] = value;
        rogue.send_raw(Name::Offer.kind(), &control, &[]);
        breach(rogue, ProtocolError::Malformed { kind: Name::Offer });
    }
}
