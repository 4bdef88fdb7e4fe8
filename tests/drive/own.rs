//! Drivers of one's own: the check of them passes for those that do as the manual says, and notices those that do not.

use std::error::Error;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use haul::drive::Files;
use haul::proto::{ReceiveAction, Receiver, Sender};
use haul::store::{Readers, Source, Store};
use haul::testing::driver::{Driver, check};
use haul::transport::is_tick;
use haul::types::TransferId;
use haul::{Config, Event, Summary, Transfer};

#[path = "../../examples/by_hand/loops.rs"]
mod loops;

use loops::{Alice, Bob, Progress};

type Failed = Box<dyn Error + Send + Sync>;

/// The driver that comes along.
struct Blocking;

impl Driver for Blocking {
    type Error = haul::Error;

    fn send<S: Source>(
        &self,
        config: &Config,
        source: &mut S,
        stream: impl Read + Write,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, haul::Error> {
        Transfer::new(config.clone()).observer(|event: &Event| tell(event)).send(source, stream)
    }

    fn receive<S: Store>(
        &self,
        config: &Config,
        store: &mut S,
        stream: impl Read + Write,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, haul::Error> {
        Transfer::new(config.clone()).observer(|event: &Event| tell(event)).receive(store, stream)
    }
}

/// The loops of the example, over a stream.
struct ByHand(Flaw);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Gives the same input again after each answer, without a poll: as the manual once said.
    NoPoll,
    /// Leaves open what is open when the session is over.
    NoSuspend,
}

impl Driver for ByHand {
    type Error = Failed;

    fn send<S: Source>(
        &self,
        config: &Config,
        source: &mut S,
        stream: impl Read + Write,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, Failed> {
        source.rewind()?;
        let clock = Instant::now();
        let sender = Sender::new(config.clone(), TransferId::new([1; 16]), [2; 16], Duration::ZERO);
        let mut alice = Alice { sender, source, readers: Readers::new(&config.limits) };
        run(stream, |input, out| alice.go_on(clock.elapsed(), input, out, &mut *tell))
    }

    fn receive<S: Store>(
        &self,
        config: &Config,
        store: &mut S,
        stream: impl Read + Write,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, Failed> {
        let clock = Instant::now();
        let receiver = Receiver::new(config.clone(), [3; 16], Duration::ZERO);
        let mut bob = Bob { receiver, store, files: Files::new() };
        let ended = run(stream, |input, out| match self.0 {
            Flaw::NoPoll => go_on_wrongly(&mut bob, clock.elapsed(), input, out, &mut *tell),
            Flaw::None | Flaw::NoSuspend => bob.go_on(clock.elapsed(), input, out, &mut *tell),
        });
        if self.0 != Flaw::NoSuspend {
            bob.files.suspend(bob.store);
        }
        ended
    }
}

/// Moves bytes between a stream and the loop of one side, until that is over.
fn run(
    mut stream: impl Read + Write,
    mut go_on: impl FnMut(&[u8], &mut Vec<u8>) -> Result<Progress, Failed>,
) -> Result<Summary, Failed> {
    let (mut input, mut out, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
    loop {
        let progress = go_on(&input, &mut out);
        // What was said with a failure is written, too.
        while !out.is_empty() {
            match stream.write(&out) {
                Ok(0) => return Err("the stream takes nothing".into()),
                Ok(written) => drop(out.drain(..written)),
                Err(error) if is_tick(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let consumed = match progress? {
            Progress::Closed(summary) => {
                stream.flush()?;
                return Ok(summary);
            }
            Progress::Hungry(consumed) => consumed,
        };
        input.drain(..consumed);
        match stream.read(&mut buffer) {
            Ok(0) => return Err("the stream ended".into()),
            Ok(read) => input.extend_from_slice(&buffer[..read]),
            Err(error) if is_tick(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The receiver's loop, without a poll between an answer and the same input.
fn go_on_wrongly<S: Store>(
    bob: &mut Bob<'_, S>,
    now: Duration,
    input: &[u8],
    out: &mut Vec<u8>,
    mut tell: impl FnMut(&Event),
) -> Result<Progress, Failed> {
    let Bob { receiver, store, files } = bob;
    let mut consumed = 0;
    loop {
        files.collect(*store, receiver, Duration::ZERO)?;
        match receiver.poll(now, out)? {
            ReceiveAction::Event(event) => {
                if let Event::Greeted { transfer, .. } = event {
                    store.serve(transfer);
                }
                tell(&event);
            }
            ReceiveAction::AwaitCommit { .. } => {
                files.collect(*store, receiver, Duration::from_secs(1))?;
            }
            ReceiveAction::Await { .. } => {
                let bytes = loop {
                    let step = receiver.handle_input(now, &input[consumed..])?;
                    // Where there is nothing, it should be polled.
                    if let Some(answered) = files.answer(*store, receiver, step)? {
                        break answered.bytes;
                    }
                };
                consumed += bytes;
                if bytes == 0 {
                    return Ok(Progress::Hungry(consumed));
                }
            }
            ReceiveAction::Closed(summary) => return Ok(Progress::Closed(summary)),
            action => files.act(*store, receiver, action)?,
        }
    }
}

/// What the check says of a driver with a flaw.
fn complaint(flaw: Flaw) -> String {
    let checked = catch_unwind(AssertUnwindSafe(|| check(&ByHand(flaw))));
    let panic = checked.expect_err("the flaw is noticed");
    panic.downcast_ref::<String>().cloned().expect("a check says what is wrong")
}

#[test]
fn driver_that_comes_along_passes_the_check() {
    check(&Blocking);
}

#[test]
fn driver_of_the_example_passes_the_check() {
    check(&ByHand(Flaw::None));
}

#[test]
fn driver_that_does_not_poll_after_an_answer_is_noticed() {
    let complaint = complaint(Flaw::NoPoll);
    assert!(complaint.contains("input while an action is queued"), "{complaint}");
}

#[test]
fn driver_that_leaves_files_open_is_noticed() {
    let complaint = complaint(Flaw::NoSuspend);
    assert!(complaint.contains("the store was not given back"), "{complaint}");
}
