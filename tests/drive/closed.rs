//! Content that cannot be looked up, read or compared is no permission: whichever call of a store fails, an old file
//! stays where the receiver does not replace, and nothing is vouched for that nobody has seen.

use haul::config::{Compare, Config, IfExists};
use haul::hash::{BlockSize, Hash};
use haul::store::{MemorySource, MemoryStore, Store};
use haul::testing::pair::{Pair, SessionEnd};
use haul::testing::store::{Failure, Fault, FaultStore, StoreCall};
use haul::types::{Commit, EntryId, Event, Found, Meta, Offer, Place, Refusal, Ticket, Timestamp};
use haul::{Durability, RelPath};

const POLICIES: [IfExists; 4] =
    [IfExists::Refuse, IfExists::Skip, IfExists::Rename, IfExists::Replace];

const OPERATIONS: [StoreCall; 7] = [
    StoreCall::Stat,
    StoreCall::Begin,
    StoreCall::Read,
    StoreCall::Write,
    StoreCall::Copy,
    StoreCall::Commit,
    StoreCall::Settle,
];

/// `EIO`, `EACCES`, `ENOENT` where something is, `ENOTDIR`, and reasons that a store makes up.
const FAILURES: [Failure; 6] = [
    Failure::Os(5),
    Failure::Os(13),
    Failure::Os(2),
    Failure::Os(20),
    Failure::Refusal(Refusal::Exists),
    Failure::Refusal(Refusal::KindClash),
];

fn meta(size: usize, nanos: u32) -> Meta {
    let path = RelPath::parse(b"a").expect("a name");
    Meta::file(path, Some(size as u64)).modified(Timestamp::new(1_000_000, nanos))
}

/// Returns a store with this file.
fn holding(bytes: &[u8]) -> MemoryStore {
    let mut store = MemoryStore::new();
    let meta = meta(bytes.len(), 0);
    let offer = Offer::new(EntryId::new(0), meta.clone(), BlockSize::MIN);
    let Ok((mut file, Found::Fresh)) = store.begin(&offer, Place::Offered) else {
        unreachable!("nothing is there yet")
    };
    store.write_at(&mut file, 0, bytes).expect("there is room");
    let (ticket, size) = (Ticket::new([0; 16], 0), bytes.len() as u64);
    let commit = Commit::new(ticket, offer.entry, meta, Place::Offered, size, Durability::Received);
    store.commit(file, commit);
    assert!(
        store.poll_committed(std::time::Duration::ZERO).is_some_and(|(_, ended)| ended.is_ok())
    );
    // As another session sees it: it is none of its own names.
    store.clone()
}

#[test]
fn store_whose_lookups_and_reads_fail_permits_nothing() {
    let old = [7; 3000];
    let (mut changed, mut longer) = (old, old.to_vec());
    changed[2500] = 8;
    longer.extend_from_slice(&old);
    let (mut failed, mut cases) = (0, 0);
    for new in [&old[..], &changed, &longer] {
        for existing in POLICIES {
            for unchanged in [Compare::Content, Compare::SizeAndTime] {
                // By its time, it is another file, unless it has the same content.
                let meta = meta(new.len(), u32::from(new != old));
                for operation in OPERATIONS {
                    for failure in FAILURES {
                        for (call, is_lasting) in (0..8).map(|n| (n / 2, n % 2 == 1)) {
                            let how = if is_lasting { Fault::from } else { Fault::once };
                            let config = Config::default()
                                .block_size(BlockSize::MIN)
                                .if_exists(existing)
                                .compare(unchanged);
                            let store = holding(&old);
                            let source = MemorySource::new().entry(meta.clone(), new.to_vec());
                            let faulty =
                                FaultStore::new(store.clone()).fault(how(operation, call, failure));
                            let mut pair = Pair::new(&config, source, &config, faulty);
                            let ended = pair.run();
                            let case = format!(
                                "{existing:?} {unchanged:?} {operation:?} {call} {failure:?}: {ended:?}"
                            );
                            let (SessionEnd::Closed(sent), SessionEnd::Closed(_)) = ended else {
                                unreachable!("{case}")
                            };
                            let stands = store.get("a").expect("it is there").bytes.to_vec();
                            let may_replace = existing == IfExists::Replace;
                            assert!(stands == old || may_replace && stands == new, "{case}");
                            for event in &pair.alice.events {
                                if let Event::Delivered { receipt, .. } = event {
                                    let held = store.get(receipt.path.as_bytes());
                                    let is_held = held.is_some_and(|held| *held.bytes == *new);
                                    assert!(is_held && receipt.hash == Hash::of(new), "{case}");
                                }
                            }
                            // Only what was found to have the same time may be believed to be the same.
                            let is_same = new == old && unchanged == Compare::SizeAndTime;
                            assert!(sent.trusted == 0 || is_same, "{case}");
                            failed += pair.bob.store.failed();
                            cases += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(failed > cases / 10, "{failed} failures in {cases} cases");
}
