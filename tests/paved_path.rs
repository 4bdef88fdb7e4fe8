//! Names that an embedder of the paved path needs stand at the root of the crate: this program uses nothing
//! else.
#![expect(clippy::disallowed_methods, reason = "a transfer has two sides")]

use std::num::NonZeroUsize;
use std::time::Duration;

use haul::store::{MemorySource, MemoryStore};
use haul::transport::memory;
use haul::{
    AbortCode, Activity, BlockSize, CancelToken, Config, Deadlines, Durability, EntryId, Error,
    Event, Hash, IfExists, Kind, Limits, Meta, Observer, Operation, Outcome, RateLimit, Receipt,
    Refusal, RelPath, Retry, SessionError, Summary, Transfer, TransferId, Turn, Unsendable,
    Withdrawal,
};

/// Keeps what each event says, by its types.
#[derive(Default)]
struct Ledger {
    transfer: Option<(TransferId, u32)>,
    offered: Vec<(EntryId, RelPath, Kind, Option<u64>)>,
    held: Vec<(RelPath, u64, Hash, Durability, Outcome)>,
    refused: Vec<(EntryId, Refusal)>,
    withdrawn: Vec<(EntryId, Withdrawal)>,
    lost: Vec<Option<AbortCode>>,
    busy: Vec<Activity>,
}

impl Observer for Ledger {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Greeted { transfer, attempt, .. } => self.transfer = Some((*transfer, *attempt)),
            Event::Offered { entry, path, kind, size } => {
                self.offered.push((*entry, path.clone(), kind.clone(), *size));
            }
            Event::Delivered { receipt, .. } => {
                let Receipt { path, size, hash: root, durability, outcome, .. } = receipt;
                self.held.push((path.clone(), *size, *root, *durability, *outcome));
            }
            Event::Refused { entry, reason, .. } => self.refused.push((*entry, *reason)),
            Event::Withdrawn { entry, reason, .. } => self.withdrawn.push((*entry, *reason)),
            Event::Waiting { activity } => self.busy.push(*activity),
            _ => {}
        }
    }

    fn unsendable(&mut self, entry: &Unsendable) {
        assert_eq!(entry.reason, Withdrawal::Kind);
    }

    fn retry(&mut self, _: u32, cause: &Error, _: Duration) {
        self.lost.push(match cause {
            Error::Session(SessionError::Aborted(code)) => Some(*code),
            Error::Transport { operation: Operation::Connect, .. } => None,
            _ => None,
        });
    }
}

#[test]
fn embedder_needs_no_names_but_those_at_the_root() {
    let limits = Limits::default().file_bytes(100).block(BlockSize::MIN);
    let config = Config::default()
        .if_exists(IfExists::Rename)
        .durability(Durability::Synced)
        .deadlines(Deadlines::default().hello(Duration::from_secs(20)))
        .turn(Turn::default().max_time(Duration::from_secs(1)))
        .limits(limits);
    let name = |name: &str| RelPath::parse(name.as_bytes()).expect("a good name");
    let mut source =
        MemorySource::new().file(name("small"), "x").file(name("large"), vec![0; 1000]);
    let (alice, bob) = memory::pipe(NonZeroUsize::MIN);
    let receiver = std::thread::spawn(move || {
        Transfer::new(config).cancel(CancelToken::new()).receive(&mut MemoryStore::new(), bob)
    });
    let limit = RateLimit::per_second(1 << 30).expect("not too slow");
    let mut transfer = Transfer::new(Config::default())
        .retry(Retry::default().patience(Duration::ZERO))
        .limit_rate(limit)
        .observer(Ledger::default());
    let sent: Summary = transfer.send(&mut source, alice).expect("sent");
    receiver.join().expect("no panic").expect("received");
    assert_eq!((sent.delivered, sent.refused), (1, 1));
    let ledger = transfer.into_observer();
    assert!(ledger.transfer.is_some() && ledger.withdrawn.is_empty() && ledger.lost.is_empty());
    assert_eq!(ledger.offered.len(), 2);
    assert_eq!(ledger.held.len(), 1);
    assert_eq!(ledger.held[0].2, Hash::of(b"x"));
    assert!(matches!(ledger.refused[..], [(_, Refusal::TooLarge { size: 1000, limit: 100 })]));
    assert_eq!(Meta::file(name("small"), Some(1)).kind, Kind::File);
}
