//! Headers are total: every kind with every length is accepted, waited for, or a typed error, by the table
//! `Name::lengths` and nothing else. No payload is waited for whose length is not admitted.
//!
//! All 2^32 payload lengths of one kind are tried with `HAUL_LONG=1`.

use super::long;
use crate::hash::BlockSize;
use crate::proto::error::{Damage, Error, ProtocolError};
use crate::proto::wire::frame::{self, CHECK, HEADER, Header, OPTIONAL_MAX, Parsed, Seal};
use crate::proto::wire::message::Name;

const BLOCK: u64 = BlockSize::MIN.bytes();

/// Returns the rule table, written a second time.
fn admitted(kind: u8, control: u32, payload: u32) -> bool {
    let (low, high, carries) = match kind {
        1 => (72, 1024, None),
        2 => (10, 9000, Some(0)),
        3 => (13, 13 + 32 * 4096, None),
        4 | 14 => (22, 22, None),
        5 => (44, 44, Some(1)),
        6 | 7 => (20, 20, None),
        8 => (4, 36, None),
        19 | 20 => (4, 4, None),
        9 => (44, 44, None),
        10 | 11 => (20, 4 + 16 * 1024, None),
        12 => (46, 46 + 4096, None),
        15 | 18 => (1, 1, None),
        16 => (0, 0, None),
        17 => (2, 2, None),
        0x80.. => return control <= 4096 && payload <= 4096,
        _ => return false,
    };
    let fits = match carries {
        None => payload == 0,
        Some(least) => (least..=BLOCK).contains(&u64::from(payload)),
    };
    (low..=high).contains(&control) && fits
}

fn expected_error(kind: u8, control: u32, payload: u32) -> ProtocolError {
    match Name::from_kind(kind) {
        Some(kind) => ProtocolError::BadLength { kind, control, payload },
        None => ProtocolError::UnknownKind { kind },
    }
}

/// Values at which something could change, and their neighbours.
fn boundaries() -> Vec<u32> {
    let edges =
        [0, 1, 2, 4, 10, 13, 20, 22, 36, 44, 46, 72, 1024, 4096, 4142, 9000, 16_388, 131_085];
    let mut values: Vec<u32> = edges
        .into_iter()
        .chain((0..32).map(|bit| 1_u32 << bit))
        .chain([u32::MAX, i32::MAX.unsigned_abs(), 0xFF_FFFF, OPTIONAL_MAX])
        .flat_map(|edge| [edge.wrapping_sub(1), edge, edge.wrapping_add(1)])
        .collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn admit(kind: u8, control: u32, payload: u32) {
    let outcome = frame::admit(Header { kind, control, payload }, BLOCK);
    let expected = if admitted(kind, control, payload) {
        Ok(())
    } else {
        Err(expected_error(kind, control, payload))
    };
    assert_eq!(outcome, expected, "{kind} {control} {payload}");
}

#[test]
fn header_of_every_kind_and_boundary_length_is_admitted_by_the_table() {
    let values = boundaries();
    for kind in 0..=u8::MAX {
        for &control in values.iter().filter(|control| **control < 1 << 24) {
            for &payload in &values {
                admit(kind, control, payload);
            }
        }
    }
}

#[test]
fn header_with_every_control_length_of_every_known_kind_is_admitted_by_the_table() {
    for kind in 0..=20 {
        for control in 0..140_000 {
            admit(kind, control, 0);
            admit(kind, control, 1);
        }
    }
}

#[test]
fn header_with_every_payload_length_of_a_block_is_admitted_by_the_table() {
    let most = if long() { u32::MAX } else { 1 << 20 };
    let accepted = (0..=most)
        .filter(|payload| {
            frame::admit(Header { kind: 5, control: 44, payload: *payload }, BLOCK).is_ok()
        })
        .count();
    assert_eq!(accepted as u64, BLOCK);
}

/// Returns a sealed header without anything behind it.
fn sealed(seal: &mut Seal, kind: u8, control: usize, payload: usize) -> Vec<u8> {
    let check = if control == 0 { 0 } else { CHECK };
    let mut head = vec![0; HEADER + control + check];
    seal.close(kind, &mut head, payload).unwrap();
    head.truncate(HEADER);
    head
}

#[test]
fn header_alone_says_how_much_is_needed_or_what_is_wrong() {
    for kind in 0..=u8::MAX {
        for control in [0, 1, 2, 4, 20, 22, 44, 72, 1024, 4096, 4097] {
            for payload in [0, 1, 1024, 1025, 4096, 4097, u32::MAX] {
                let mut seal = Seal::initial();
                let head = sealed(&mut seal, kind, control, payload as usize);
                let heard = Seal::initial();
                let opened = heard.open(&head, |header| frame::admit(header, BLOCK));
                let control = u32::try_from(control).unwrap();
                if admitted(kind, control, payload) {
                    let check = if control == 0 { 0 } else { CHECK };
                    let needed = HEADER + control as usize + check + payload as usize;
                    match opened.unwrap() {
                        Parsed::Incomplete { needed: told } => assert_eq!(told, needed),
                        Parsed::Frame(frame) => assert_eq!((frame.len, needed), (HEADER, HEADER)),
                    }
                } else {
                    let error = Error::Protocol(expected_error(kind, control, payload));
                    assert_eq!(opened.map(drop), Err(error));
                }
            }
        }
    }
}

#[test]
fn header_cut_short_asks_for_a_header() {
    let head = sealed(&mut Seal::initial(), 16, 0, 0);
    for len in 0..HEADER {
        match Seal::initial().open(&head[..len], |_| panic!("admitted before it is whole")) {
            Ok(Parsed::Incomplete { needed }) => assert_eq!(needed, HEADER),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn header_with_any_two_bits_flipped_is_damaged() {
    let head = sealed(&mut Seal::initial(), 5, 44, 700);
    for first in 0..HEADER * 8 {
        for second in 0..=first {
            let mut bad = head.clone();
            bad[first / 8] ^= 1 << (first % 8);
            if second != first {
                bad[second / 8] ^= 1 << (second % 8);
            }
            let opened = Seal::initial().open(&bad, |_| panic!("admitted before it is checked"));
            assert_eq!(opened.map(drop), Err(Error::Damaged(Damage::Header { number: 0 })));
        }
    }
}

#[test]
fn preface_with_any_byte_changed_is_not_haul() {
    for len in 0..=8 {
        assert_eq!(frame::preface(&frame::PREFACE[..len]), Ok(len == 8));
    }
    for at in 0..8 {
        for byte in 0..=u8::MAX {
            let mut bytes = frame::PREFACE;
            bytes[at] = byte;
            assert_eq!(frame::preface(&bytes).is_ok(), bytes == frame::PREFACE);
        }
    }
}
