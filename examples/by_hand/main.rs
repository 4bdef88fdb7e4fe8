//! Both cores driven by hand: no stream, no thread, no clock of their own. Two byte vectors are the wire.
//!
//! A driver for another kind of I/O (an event loop, an async runtime, a microcontroller's serial port) does what the loops
//! in `loops.rs` do; `haul::drive` is the one for blocking streams.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod loops;

use std::error::Error;
use std::time::Duration;

use haul::drive::Files;
use haul::proto::{Receiver, Sender};
use haul::store::{MemorySource, MemoryStore, Readers};
use haul::types::TransferId;
use haul::{Config, Event, RelPath};

use loops::{Alice, Bob, Progress};

const CONTENT: &[u8] = b"what Alice has and Bob will have";

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let config = Config::default();
    // Ids and nonces are random bytes; the time is any clock that does not go back. Here it stands still, so no
    // deadline ever passes.
    let now = Duration::ZERO;
    let transfer = TransferId::new(*b"sixteen  random ");
    let mut alice = Alice {
        sender: Sender::new(config.clone(), transfer, *b"bytes, different", now),
        source: MemorySource::new().file(RelPath::parse(b"note.txt")?, CONTENT),
        readers: Readers::new(&config.limits),
    };
    let mut store = MemoryStore::new();
    let mut bob = Bob {
        receiver: Receiver::new(config, *b"for each session", now),
        store: &mut store,
        files: Files::new(),
    };

    // The wire: bytes that are written and not yet consumed.
    let (mut to_bob, mut to_alice) = (Vec::new(), Vec::new());
    let tell = |event: &Event| {
        if let Event::Delivered { receipt, .. } = event {
            println!("{} is held, BLAKE3 {}", receipt.path, receipt.root);
        }
    };
    // One side at a time has something to say; each goes on for as long as it can.
    let mut delivered = None;
    while delivered.is_none() {
        if let Progress::Closed(sum) =
            take(&mut to_alice, |input| alice.go_on(now, input, &mut to_bob, tell))?
        {
            delivered = Some(sum.delivered);
        }
        take(&mut to_bob, |input| bob.go_on(now, input, &mut to_alice, |_| {}))?;
    }
    // Whatever is left open is kept for a later attempt: nothing, after success.
    bob.files.suspend(bob.store);

    assert_eq!(store.files()[&RelPath::parse(b"note.txt")?][..], *CONTENT);
    println!("delivered {} entry", delivered.unwrap_or(0));
    Ok(())
}

/// Lets one side go on with what came, and takes from that what it consumed.
fn take<E>(
    came: &mut Vec<u8>,
    go_on: impl FnOnce(&[u8]) -> Result<Progress, E>,
) -> Result<Progress, E> {
    let progress = go_on(came)?;
    match progress {
        Progress::Hungry(consumed) => drop(came.drain(..consumed)),
        Progress::Closed(_) => came.clear(),
    }
    Ok(progress)
}
