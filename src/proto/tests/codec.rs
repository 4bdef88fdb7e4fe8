//! Control parts: what is encoded is decoded again, and what is decoded has one encoding. More cases with
//! `HAUL_LONG=1`.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::long;
use super::rogue::wire;
use crate::hash::{BlockHash, BlockSize, Hash};
use crate::proto::wire::message::{Hello, Message, Name, Reason, WireOffer};
use crate::types::{
    AbortCode, Activity, Durability, EntryId, Kind, Outcome, Refusal, StoreOperation, Timestamp,
    TransferId, Withdrawal,
};

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if long() { 1_000_000 } else { 10_000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Numbers, with a liking for edges.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..5,
        Just(u64::MAX),
        Just(1 << 62),
        (0_u32..64).prop_map(|b| 1 << b)
    ]
}

fn entry() -> impl Strategy<Value = EntryId> {
    prop_oneof![any::<u32>(), Just(0), Just(u32::MAX)].prop_map(EntryId::new)
}

fn range() -> impl Strategy<Value = std::ops::Range<u64>> {
    // Of two that are the same, the range gets one block: to reject them ends a long run too early.
    (number(), number()).prop_map(|(a, b)| match (a.min(b), a.max(b)) {
        (u64::MAX, _) => u64::MAX - 1..u64::MAX,
        (start, end) => start..end.max(start + 1),
    })
}

fn ranges() -> impl Strategy<Value = Vec<std::ops::Range<u64>>> {
    vec((1_u64..1 << 40, 1_u64..1 << 40), 1..20).prop_map(|steps| {
        let mut at = 0_u64;
        let mut ranges = Vec::new();
        for (gap, len) in steps {
            ranges.push(at + gap - 1..at + gap - 1 + len);
            at += gap + len;
        }
        ranges
    })
}

fn root() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::from_bytes)
}

fn hash() -> impl Strategy<Value = BlockHash> {
    any::<[u8; 32]>().prop_map(BlockHash::from_bytes)
}

fn reason() -> impl Strategy<Value = Reason> {
    (any::<u16>(), number(), number()).prop_map(|(code, first, second)| Reason {
        code,
        first,
        second,
    })
}

fn block_size() -> impl Strategy<Value = BlockSize> {
    (0_u8..14).prop_map(|exponent| BlockSize::from_exponent(exponent).unwrap())
}

fn hello() -> impl Strategy<Value = Message> {
    let first = (any::<(u16, u16)>(), any::<bool>(), block_size(), any::<u16>(), any::<u32>());
    let second = (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<(u32, u32)>(), number());
    let bound = prop_oneof![Just([[0; 32]; 2]), any::<[[u8; 32]; 2]>()];
    (first, second, any::<(u32, u32, u32)>(), bound).prop_map(|(first, second, limits, bound)| {
        let ((min, max), sender, block, link, attempt) = first;
        let (transfer, nonce, (offered, required), turn_bytes) = second;
        Message::Hello(Hello {
            versions: min..=max,
            sender,
            block,
            link,
            attempt,
            transfer: TransferId::new(transfer),
            nonce,
            offered,
            required,
            turn_bytes,
            open_entries: limits.0,
            pending_entries: limits.1,
            pending_names: limits.2,
            binding: bound[0],
            proof: bound[1],
        })
    })
}

fn offer() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![
        Just(Kind::File),
        Just(Kind::Directory),
        vec(any::<u8>(), 0..100).prop_map(|target| Kind::Symlink(target.into())),
    ];
    let modified =
        (any::<i64>(), 0_u32..1_000_000_000).prop_map(|(s, n)| Timestamp::new(s, n).unwrap());
    let known =
        (option::of(number()), option::of(modified), option::of(any::<u32>()), option::of(root()));
    let flags = (any::<bool>(), any::<bool>(), option::of(number()));
    (entry(), kind, block_size(), known, flags, vec(any::<u8>(), 1..300)).prop_map(
        |(entry, kind, block_size, (size, modified, mode, root), (inline, by_time, data), name)| {
            let name = name.into();
            Message::Offer(WireOffer {
                entry,
                kind,
                block_size,
                size,
                data,
                modified,
                mode,
                root,
                inline,
                by_time,
                name,
            })
        },
    )
}

fn receipt() -> impl Strategy<Value = Message> {
    let durability = prop_oneof![
        Just(Durability::Received),
        Just(Durability::Flushed),
        Just(Durability::Synced)
    ];
    let outcome = prop_oneof![Just(Outcome::Stored), Just(Outcome::Held)];
    (entry(), number(), root(), durability, outcome, vec(any::<u8>(), 0..300)).prop_map(
        |(entry, size, root, durability, outcome, name)| Message::Receipt {
            entry,
            size,
            root,
            durability,
            outcome,
            name: name.into(),
        },
    )
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    let activity = prop_oneof![
        Just(Activity::Reading),
        Just(Activity::Verifying),
        Just(Activity::Syncing),
        Just(Activity::Queued)
    ];
    let have = (entry(), 0_u64..1 << 60, vec(hash(), 0..20), any::<(bool, bool)>());
    prop_oneof![
        hello(),
        offer(),
        have.prop_map(|(entry, first, hashes, (more, compare))| Message::Have {
            entry,
            first,
            hashes,
            more,
            compare
        }),
        (entry(), reason()).prop_map(|(entry, reason)| Message::Refuse { entry, reason }),
        (entry(), number(), hash()).prop_map(|(entry, index, hash)| Message::Block {
            entry,
            index,
            hash
        }),
        (entry(), range()).prop_map(|(entry, blocks)| Message::Same { entry, blocks }),
        (entry(), range()).prop_map(|(entry, blocks)| Message::Zeros { entry, blocks }),
        (entry(), proptest::option::of(root()))
            .prop_map(|(entry, root)| Message::Claim { entry, root }),
        entry().prop_map(|entry| Message::Unchanged { entry }),
        entry().prop_map(|entry| Message::Changed { entry }),
        (entry(), number(), root()).prop_map(|(entry, size, root)| Message::End {
            entry,
            size,
            root
        }),
        (entry(), ranges()).prop_map(|(entry, blocks)| Message::Missing { entry, blocks }),
        (entry(), ranges()).prop_map(|(entry, blocks)| Message::Kept { entry, blocks }),
        receipt(),
        (entry(), reason()).prop_map(|(entry, reason)| Message::Withdraw { entry, reason }),
        any::<bool>().prop_map(|waiting| Message::Over { waiting }),
        Just(Message::Out),
        (1_u16..11).prop_map(|code| Message::Abort { code: AbortCode::from_code(code) }),
        activity.prop_map(|activity| Message::Heartbeat { activity }),
    ]
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut control = Vec::new();
    message.encode(&mut control);
    control
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn message_that_is_encoded_is_decoded_again(message in message()) {
        let control = encoded(&message);
        prop_assert_eq!(Message::decode(message.name(), &control), Some(message.clone()));
        let (lengths, _) = message.name().lengths(1024);
        prop_assert!(lengths.contains(&u32::try_from(control.len()).unwrap()));
    }

    #[test]
    fn control_that_is_decoded_has_no_other_encoding(
        message in message(), edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in option::of(any::<prop::sample::Index>()), more in vec(any::<u8>(), 0..3),
    ) {
        let mut control = encoded(&message);
        if let Some(cut) = cut {
            control.truncate(cut.index(control.len() + 1));
        }
        control.extend_from_slice(&more);
        for (at, byte) in edits {
            if !control.is_empty() {
                let at = at.index(control.len());
                control[at] = byte;
            }
        }
        for name in Name::ALL {
            if let Some(decoded) = Message::decode(name, &control) {
                prop_assert!(is_canonical(&decoded, &control), "{:?} {:02x?}", decoded, control);
            }
        }
    }

    #[test]
    fn control_of_any_bytes_is_decoded_or_not_but_never_panics(
        control in vec(any::<u8>(), 0..200), name in 0_usize..18,
    ) {
        if let Some(decoded) = Message::decode(Name::ALL[name], &control) {
            prop_assert!(is_canonical(&decoded, &control));
        }
    }

    #[test]
    fn reason_that_travels_says_the_same(size in number(), limit in number(), code in any::<u32>()) {
        for refusal in [
            Refusal::Exists, Refusal::Skipped, Refusal::KindClash, Refusal::Name, Refusal::Collision,
            Refusal::Kind, Refusal::TooLarge { size, limit }, Refusal::TooMuch { limit },
            Refusal::TooMany { limit }, Refusal::NoSpace { needed: size, available: limit },
            Refusal::Denied, Refusal::ReadOnly, Refusal::Sync { code },
            Refusal::Mismatch, Refusal::Policy, Refusal::Gone, Refusal::NameTooLong,
            Refusal::HiddenName,
            Refusal::Tampered,
            Refusal::KeptOut,
        ] {
            prop_assert_eq!(Refusal::from(Reason::from(refusal)), refusal);
        }
        for operation in OPERATIONS {
            let refusal = Refusal::Store { code, operation };
            prop_assert_eq!(Refusal::from(Reason::from(refusal)), refusal);
        }
        for withdrawal in [
            Withdrawal::Vanished, Withdrawal::Changed, Withdrawal::Denied,
            Withdrawal::Unreadable { code }, Withdrawal::Kind, Withdrawal::Name,
            Withdrawal::NameTooLong, Withdrawal::Link, Withdrawal::LinkEscapes,
            Withdrawal::Partial, Withdrawal::Spent, Withdrawal::FalseSize,
            Withdrawal::Secret,
        ] {
            prop_assert_eq!(Withdrawal::from(Reason::from(withdrawal)), withdrawal);
        }
    }
}

const OPERATIONS: [StoreOperation; 12] = [
    StoreOperation::Unspecified,
    StoreOperation::Open,
    StoreOperation::Stat,
    StoreOperation::CreateFolder,
    StoreOperation::CreateLink,
    StoreOperation::Read,
    StoreOperation::Write,
    StoreOperation::Copy,
    StoreOperation::Truncate,
    StoreOperation::Sync,
    StoreOperation::Rename,
    StoreOperation::Commit,
];

/// C-7: numbers are for ever, and those of a later version are as good as none.
#[test]
fn operation_of_a_store_has_its_number_and_an_unknown_one_is_unspecified() {
    for (number, operation) in (0..).zip(OPERATIONS) {
        let reason = Reason { code: 13, first: 5, second: number };
        assert_eq!(Reason::from(Refusal::Store { code: 5, operation }), reason);
        assert_eq!(Refusal::from(reason), Refusal::Store { code: 5, operation });
    }
    for second in [12, 13, 1 << 32, u64::MAX] {
        let refusal = Refusal::from(Reason { code: 13, first: 5, second });
        let operation = StoreOperation::Unspecified;
        assert_eq!(refusal, Refusal::Store { code: 5, operation });
        assert_eq!(refusal.operation(), None);
    }
}

/// Returns whether the encoding is the one that was decoded. A later version may add to a greeting, and may know
/// codes and sizes that this one takes for others: these alone are read in more than one form.
fn is_canonical(message: &Message, control: &[u8]) -> bool {
    let again = encoded(message);
    match message {
        Message::Hello(hello) => {
            let mut known = control[..again.len()].to_vec();
            if hello.block == BlockSize::MAX && known[5] > BlockSize::MAX.exponent() {
                known[5] = BlockSize::MAX.exponent();
            }
            known == again
        }
        Message::Abort { code: AbortCode::Failed } => !matches!(control, [1..=4 | 6..=11, 0]),
        Message::Heartbeat { activity: Activity::Reading } => !matches!(control, [1..=2]),
        _ => again == control,
    }
}

#[test]
fn name_longer_than_its_length_can_say_is_cut_and_not_mistaken() {
    let message = Message::Offer(wire(0, &[b'a'; 70_000], None));
    let Some(Message::Offer(offer)) = Message::decode(Name::Offer, &encoded(&message)) else {
        panic!("not an offer");
    };
    assert_eq!(offer.name.len(), usize::from(u16::MAX));
}
