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
use haul::{Config, Event, RelPath, Summary};

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
            println!("{} is held, BLAKE3 {}", receipt.path, receipt.hash);
        }
    };
    // One side at a time has something to say; each goes on for as long as it can. Memory takes at once what is written:
    // otherwise the cores would be told what was taken, and when.
    let mut delivered = None;
    while delivered.is_none() {
        delivered = go_on(&mut to_alice, |input| alice.step(now, input, &mut to_bob, tell))?;
        go_on(&mut to_bob, |input| bob.step(now, input, &mut to_alice, |_| {}))?;
    }
    // Whatever is left open is kept for a later attempt: nothing, after success.
    bob.files.suspend(bob.store);

    assert_eq!(store.files()[&RelPath::parse(b"note.txt")?][..], *CONTENT);
    println!("delivered {} entry", delivered.map_or(0, |sum| sum.delivered));
    Ok(())
}

/// Lets one side go on with what came until it needs more, or is done, and takes from that what it consumed.
fn go_on<E>(
    came: &mut Vec<u8>,
    mut step: impl FnMut(&[u8]) -> Result<Progress, E>,
) -> Result<Option<Summary>, E> {
    loop {
        match step(came)? {
            Progress::Again(consumed) => drop(came.drain(..consumed)),
            Progress::Hungry => return Ok(None),
            Progress::Closed(summary) => return Ok(Some(summary)),
        }
    }
}
