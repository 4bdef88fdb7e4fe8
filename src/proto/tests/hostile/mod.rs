//! Peers that lie: each misbehaviour by its name, what it is answered, and what it must not do: nothing becomes
//! visible that was not proved, and nothing waits for ever.

mod blocks;
mod course;
mod greetings;
mod offers;
mod open;
mod receivers;
mod sizes;

use super::pair::{Bob, path};
use super::rogue::{Rogue, inline, wire};
use crate::config::{Config, Limits};
use crate::hash::{BlockHash, BlockSize};
use crate::proto::error::{Error, ProtocolError};
use crate::proto::wire::message::{Message, Name};
use crate::types::{AbortCode, EntryId, Refusal};

const KIB: u64 = 1024;
const ZERO: EntryId = EntryId::new(0);

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

fn limits(change: impl FnOnce(Limits) -> Limits) -> Config {
    config().limits(change(Limits::default()))
}

fn sender() -> Rogue {
    Rogue::sender(&config(), Bob::default()).greeted()
}

fn offer(entry: u32, size: Option<u64>) -> Message {
    Message::Offer(wire(entry, format!("f{entry}").as_bytes(), size))
}

/// Returns a rogue sender with one entry of this size offered, and the floor.
fn offered(size: Option<u64>) -> Rogue {
    offered_to(Bob::default(), &config(), size)
}

fn offered_to(bob: Bob, config: &Config, size: Option<u64>) -> Rogue {
    let mut rogue = Rogue::sender(config, bob).greeted();
    rogue.send(&offer(0, size));
    let said = rogue.turn();
    assert!(said.iter().any(|message| message.name() == Name::Have), "{said:?}");
    rogue
}

fn block(index: u64, bytes: &[u8]) -> Message {
    let hash = BlockSize::MIN.hash(index, bytes).map_or(BlockHash::from_bytes([0; 32]), |b| b.hash);
    Message::Block { entry: ZERO, index, hash }
}

fn send_block(rogue: &mut Rogue, index: u64, bytes: &[u8]) {
    rogue.send_with(&block(index, bytes), bytes);
}

/// Checks that the receiver ends with this breach, has informed the sender, and holds nothing under
/// a final name.
#[track_caller]
fn breach(mut rogue: Rogue, error: ProtocolError) {
    let said = rogue.turn();
    assert_eq!(rogue.ended(), Some(Err(Error::Protocol(error))));
    let abort = Message::Abort { code: AbortCode::Protocol };
    assert_eq!(said.last(), Some(&abort));
    assert!(rogue.pair.bob.visible.is_empty());
}

/// Checks that the machine ends at once: there is no floor to send a reason with.
#[track_caller]
fn ends(mut rogue: Rogue, failure: impl Into<Error>) {
    rogue.settle();
    assert_eq!(rogue.ended(), Some(Err(failure.into())));
    assert!(rogue.pair.bob.visible.is_empty());
}

/// Checks that the entry is refused, and that the session goes on.
#[track_caller]
fn refused(mut rogue: Rogue, expected: Refusal) {
    let said = rogue.turn();
    let reason = said.iter().find_map(|message| match message {
        Message::Refuse { reason, .. } => Some(*reason),
        _ => None,
    });
    assert_eq!(reason.map(Refusal::from), Some(expected), "{said:?}");
    assert_eq!(rogue.ended(), None);
    assert!(rogue.pair.bob.visible.is_empty());
    // A good entry still arrives.
    let next = 1_000_000;
    rogue.send_with(&Message::Offer(inline(next, b"good", b"ok")), b"ok");
    rogue.turn();
    assert_eq!(rogue.pair.bob.visible[&path("good")], b"ok");
}

fn unexpected(kind: Name) -> ProtocolError {
    ProtocolError::UnexpectedForEntry { kind, entry: ZERO }
}
