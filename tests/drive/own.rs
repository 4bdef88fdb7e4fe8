//! Drivers of one's own: the check of them passes for those that do as the manual says, and notices those that do not.

mod meddled;

use std::error::Error;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use haul::config::Deadlines;
use haul::drive::{Clock, Files, SystemClock};
use haul::proto::{self, ReceiveAction, Receiver, Sender};
use haul::store::{Readers, Source, Store};
use haul::testing::driver::{Driver, check};
use haul::transport::is_tick;
use haul::types::TransferId;
use haul::{Config, Event, Summary, Transfer};

use meddled::{MeddledSource, MeddledStore};

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
        clock: &(impl Clock + Clone + Send + Sync + 'static),
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, haul::Error> {
        let transfer = Transfer::new(config.clone()).id(TransferId::new([1; 16]));
        let transfer = transfer.clock(clock.clone());
        transfer.observer(|event: &Event| tell(event)).send(source, stream)
    }

    fn receive<S: Store>(
        &self,
        config: &Config,
        store: &mut S,
        stream: impl Read + Write,
        clock: &(impl Clock + Clone + Send + Sync + 'static),
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, haul::Error> {
        let transfer = Transfer::new(config.clone()).clock(clock.clone());
        transfer.observer(|event: &Event| tell(event)).receive(store, stream)
    }
}

/// The loops of the example, over a stream.
struct ByHand(Flaw);

/// Fault of a driver.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Gives the same input again after each answer, without a poll: as the manual once said.
    NoPoll,
    NoFlush,
    NoRewind,
    NoServe,
    /// Asks for commits that ended between a poll and what that asks for.
    CollectsBetween,
    /// Asks for commits that ended only where it is told to wait for one.
    LateCollect,
    /// Waits in the store for as long as the next deadline is away.
    LongWait,
    /// Asks the store again and again, without giving it time.
    NoWait,
    /// Writes no sooner than it must: what a sender says in up to 5 s goes together. That is no flaw.
    Batches,
    /// Writes what a sender says only once it needs more input.
    Gathers,
    /// Leaves open what is open when the session is over.
    NoSuspend,
    /// Keeps the readers of entries that are settled.
    NoForget,
    /// Keeps the files of entries that are withdrawn, until the session is over.
    NoDiscard,
    NoWindow,
    NoRelease,
    /// Takes a source that has nothing yet for one that fails.
    NoPending,
    /// Does not say what the stream took.
    NoTook,
    /// Reports what the stream took, and not that its flush has ended.
    NoFlushTook,
    /// Does not say that the stream takes nothing.
    NoBlocked,
    /// Batches, and does not say that it writes again after its source took its time.
    NoResumed,
    /// Does not write what was said with an error.
    NoWords,
    /// Writes what was said with an error, and does not flush it.
    NoWordsFlush,
    /// Looks at a clock of its own.
    OwnClock,
}

impl Driver for ByHand {
    type Error = Failed;

    fn send<S: Source>(
        &self,
        config: &Config,
        source: &mut S,
        stream: impl Read + Write,
        clock: &(impl Clock + Clone + Send + Sync + 'static),
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, Failed> {
        let mut source = MeddledSource::new(source, self.0);
        if self.0 != Flaw::NoRewind {
            source.rewind()?;
        }
        let sender = Sender::new(config.clone(), TransferId::new([1; 16]), [2; 16], clock.now());
        let alice = Alice { sender, source, readers: Readers::new(&config.limits) };
        self.run(alice, stream, clock, tell).0
    }

    fn receive<S: Store>(
        &self,
        config: &Config,
        store: &mut S,
        stream: impl Read + Write,
        clock: &(impl Clock + Clone + Send + Sync + 'static),
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, Failed> {
        let receiver = Receiver::new(config.clone(), [3; 16], clock.now());
        let mut store = MeddledStore::new(store, self.0);
        let bob = Bob { receiver, store: &mut store, files: Files::new() };
        let (ended, mut bob) = self.run(bob, stream, clock, tell);
        if self.0 == Flaw::NoSuspend {
            std::mem::forget(bob.files);
        } else {
            bob.files.suspend(bob.store);
        }
        store.end();
        ended
    }
}

/// A core, and what it works with.
trait Half {
    /// Returns for how long output may wait to be written.
    fn batch(flaw: Flaw) -> Duration;

    fn step(
        &mut self,
        flaw: Flaw,
        now: Duration,
        input: &[u8],
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Progress, Failed>;

    fn took(&mut self, now: Duration, bytes: usize) -> Result<(), proto::Error>;

    fn blocked(&mut self, now: Duration) -> Result<(), proto::Error>;

    fn resumed(&mut self, now: Duration);
}

impl<S: Source> Half for Alice<S> {
    fn batch(flaw: Flaw) -> Duration {
        match flaw {
            Flaw::Batches | Flaw::NoResumed => Deadlines::HEARTBEAT,
            Flaw::Gathers => Duration::MAX,
            _ => Duration::ZERO,
        }
    }

    fn step(
        &mut self,
        _: Flaw,
        now: Duration,
        input: &[u8],
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Progress, Failed> {
        Self::step(self, now, input, out, tell)
    }

    fn took(&mut self, now: Duration, bytes: usize) -> Result<(), proto::Error> {
        self.sender.handle_peer_took(now, bytes)
    }

    fn blocked(&mut self, now: Duration) -> Result<(), proto::Error> {
        self.sender.handle_write_blocked(now)
    }

    fn resumed(&mut self, now: Duration) {
        self.sender.handle_write_resumed(now);
    }
}

impl<S: Store> Half for Bob<'_, S> {
    fn batch(_: Flaw) -> Duration {
        Duration::ZERO
    }

    fn step(
        &mut self,
        flaw: Flaw,
        now: Duration,
        input: &[u8],
        out: &mut Vec<u8>,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Progress, Failed> {
        if matches!(flaw, Flaw::NoPoll | Flaw::CollectsBetween) {
            return step_wrongly(self, flaw, now, input, out, tell);
        }
        Self::step(self, now, input, out, tell)
    }

    fn took(&mut self, now: Duration, bytes: usize) -> Result<(), proto::Error> {
        self.receiver.handle_peer_took(now, bytes)
    }

    fn blocked(&mut self, now: Duration) -> Result<(), proto::Error> {
        self.receiver.handle_write_blocked(now)
    }

    fn resumed(&mut self, now: Duration) {
        self.receiver.handle_write_resumed(now);
    }
}

impl ByHand {
    /// Moves bytes between a stream and one half, until that is done; gives the half back.
    fn run<H: Half>(
        &self,
        mut half: H,
        mut stream: impl Read + Write,
        clock: &(impl Clock + Clone + Send + Sync + 'static),
        tell: &mut dyn FnMut(&Event),
    ) -> (Result<Summary, Failed>, H) {
        let own = SystemClock::new();
        let now = || if self.0 == Flaw::OwnClock { own.now() } else { clock.now() };
        let ended = self.move_bytes(&mut half, &mut stream, &now, tell);
        (ended, half)
    }

    fn move_bytes<H: Half>(
        &self,
        half: &mut H,
        stream: &mut (impl Read + Write),
        now: &dyn Fn() -> Duration,
        tell: &mut dyn FnMut(&Event),
    ) -> Result<Summary, Failed> {
        let (mut input, mut out, mut buffer) = (Vec::new(), Vec::new(), [0; 4096]);
        let mut wrote = now();
        loop {
            let progress = match half.step(self.0, now(), &input, &mut out, tell) {
                Ok(progress) => progress,
                Err(error) => {
                    self.send_last_words(stream, &out);
                    return Err(error);
                }
            };
            let may_wait = matches!(progress, Progress::Again(_))
                && now().saturating_sub(wrote) < H::batch(self.0);
            if !out.is_empty() && !may_wait {
                self.write(half, stream, &out, now)?;
                out.clear();
                wrote = now();
            }
            match progress {
                Progress::Again(consumed) => drop(input.drain(..consumed)),
                Progress::Closed(summary) => return Ok(summary),
                Progress::Hungry => match stream.read(&mut buffer) {
                    Ok(0) => return Err("the stream ended".into()),
                    Ok(read) => input.extend_from_slice(&buffer[..read]),
                    Err(error) if is_tick(&error) => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
    }

    /// Writes and flushes all of it, and tells the core what the stream makes of it.
    fn write(
        &self,
        half: &mut impl Half,
        stream: &mut (impl Read + Write),
        mut out: &[u8],
        now: &dyn Fn() -> Duration,
    ) -> Result<(), Failed> {
        if self.0 != Flaw::NoResumed {
            half.resumed(now());
        }
        let blocked = |half: &mut _| match self.0 {
            Flaw::NoBlocked => Ok(()),
            _ => Half::blocked(half, now()),
        };
        while !out.is_empty() {
            match stream.write(out) {
                Ok(0) => return Err("the stream takes nothing".into()),
                Ok(written) => {
                    out = &out[written..];
                    if self.0 != Flaw::NoTook {
                        half.took(now(), written)?;
                    }
                }
                Err(error) if is_tick(&error) => blocked(&mut *half)?,
                Err(error) => return Err(error.into()),
            }
        }
        if self.0 == Flaw::NoFlush {
            return Ok(());
        }
        loop {
            match stream.flush() {
                Ok(()) if matches!(self.0, Flaw::NoTook | Flaw::NoFlushTook) => return Ok(()),
                Ok(()) => return Ok(half.took(now(), 0)?),
                Err(error) if is_tick(&error) => blocked(&mut *half)?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes what was said with a failure, as far as the stream takes it at once.
    fn send_last_words(&self, stream: &mut impl Write, out: &[u8]) {
        if self.0 != Flaw::NoWords && stream.write_all(out).is_ok() && self.0 != Flaw::NoWordsFlush
        {
            // The failure stands either way.
            let _ = stream.flush();
        }
    }
}

/// Does the receiver's step: without a poll between an answer and the same input, or with something between a poll and
/// its action.
fn step_wrongly<S: Store>(
    bob: &mut Bob<'_, S>,
    flaw: Flaw,
    now: Duration,
    input: &[u8],
    out: &mut Vec<u8>,
    tell: &mut dyn FnMut(&Event),
) -> Result<Progress, Failed> {
    let Bob { receiver, store, files } = bob;
    if flaw == Flaw::NoPoll {
        files.collect(*store, receiver, Duration::ZERO)?;
    }
    let action = receiver.poll(now, out)?;
    if flaw == Flaw::CollectsBetween {
        files.collect(*store, receiver, Duration::ZERO)?;
    }
    match action {
        ReceiveAction::Event(event) => {
            if let Event::Greeted { transfer, .. } = event {
                store.serve(transfer);
            }
            tell(&event);
        }
        ReceiveAction::AwaitCommit { .. } => {
            files.collect(*store, receiver, Duration::from_secs(1))?;
        }
        ReceiveAction::Await { .. } => loop {
            let step = receiver.handle_input(now, input)?;
            // Where nothing is consumed, it should be polled.
            if let Some(answered) = files.answer(*store, receiver, step)? {
                let is_hungry = answered.bytes == 0;
                return Ok(if is_hungry {
                    Progress::Hungry
                } else {
                    Progress::Again(answered.bytes)
                });
            }
        },
        ReceiveAction::Closed(summary) => return Ok(Progress::Closed(summary)),
        action => files.act(*store, receiver, action)?,
    }
    Ok(Progress::Again(0))
}

/// Checks that a driver with a flaw is told of it.
#[track_caller]
fn assert_noticed(flaw: Flaw, expected: &str) {
    let checked = catch_unwind(AssertUnwindSafe(|| check(&ByHand(flaw))));
    let panic = checked.expect_err("the flaw is noticed");
    let complaint = panic.downcast_ref::<String>().expect("a check says what is wrong");
    assert!(complaint.contains(expected), "{complaint}");
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
fn driver_that_writes_in_batches_passes_the_check() {
    check(&ByHand(Flaw::Batches));
}

#[test]
fn driver_that_gathers_what_it_writes_is_noticed() {
    assert_noticed(Flaw::Gathers, "writes nothing between two reads");
}

#[test]
fn driver_that_does_not_poll_after_an_answer_is_noticed() {
    assert_noticed(Flaw::NoPoll, "input while an action is queued");
}

#[test]
fn driver_that_does_not_flush_is_noticed() {
    assert_noticed(Flaw::NoFlush, "what it has not flushed");
}

#[test]
fn driver_that_does_not_rewind_is_noticed() {
    assert_noticed(Flaw::NoRewind, "the source is not rewound");
}

#[test]
fn driver_that_does_not_say_which_transfer_is_served_is_noticed() {
    assert_noticed(Flaw::NoServe, "`Store::serve` is not called before");
}

#[test]
fn driver_that_collects_commits_between_a_poll_and_its_action_is_noticed() {
    assert_noticed(Flaw::CollectsBetween, "input while an action is queued");
}

#[test]
fn driver_that_collects_commits_late_is_noticed() {
    assert_noticed(Flaw::LateCollect, "the sender hears of the first of two files when");
}

#[test]
fn driver_that_waits_long_in_the_store_is_noticed() {
    assert_noticed(Flaw::LongWait, "a second is the most");
}

#[test]
fn driver_that_does_not_wait_in_the_store_is_noticed() {
    assert_noticed(Flaw::NoWait, "gives it no time");
}

#[test]
fn driver_that_leaves_files_open_is_noticed() {
    assert_noticed(Flaw::NoSuspend, "the store was not given back");
}

#[test]
fn driver_that_keeps_readers_of_settled_entries_is_noticed() {
    assert_noticed(Flaw::NoForget, "`SendAction::Forget`");
}

#[test]
fn driver_that_keeps_files_of_withdrawn_entries_is_noticed() {
    assert_noticed(Flaw::NoDiscard, "`ReceiveAction::Discard`");
}

#[test]
fn driver_that_does_not_give_the_window_is_noticed() {
    assert_noticed(Flaw::NoWindow, "`Source::window`");
}

#[test]
fn driver_that_does_not_release_is_noticed() {
    assert_noticed(Flaw::NoRelease, "`SendAction::Release`");
}

#[test]
fn driver_that_gives_up_a_source_that_has_nothing_yet_is_noticed() {
    assert_noticed(Flaw::NoPending, "`handle_read_pending`");
}

#[test]
fn driver_that_does_not_say_what_the_stream_took_is_noticed() {
    assert_noticed(Flaw::NoTook, "`handle_peer_took`");
    assert_noticed(Flaw::NoFlushTook, "`handle_peer_took`");
}

#[test]
fn driver_that_does_not_say_that_the_stream_takes_nothing_is_noticed() {
    assert_noticed(Flaw::NoBlocked, "`handle_write_blocked`");
}

#[test]
fn driver_that_does_not_say_that_it_writes_again_is_noticed() {
    assert_noticed(Flaw::NoResumed, "`handle_write_resumed`");
}

#[test]
fn driver_that_does_not_write_its_last_words_is_noticed() {
    assert_noticed(Flaw::NoWords, "appended with its error");
    assert_noticed(Flaw::NoWordsFlush, "appended with its error");
}

#[test]
fn driver_with_a_clock_of_its_own_is_noticed() {
    assert_noticed(Flaw::OwnClock, "does not look at the clock");
}
