//! Transfers over a serial line of 9600 baud, in virtual time, on which bytes are lost and ends begin anew.
#![cfg(feature = "testing")]
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::disallowed_methods, reason = "a transfer has two sides")]

use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use haul::drive::Clock;
use haul::store::{MemorySource, MemoryStore};
use haul::testing::fault_stream::{Direction, FaultKind, Faulty, StreamFault};
use haul::testing::uart::{self, Uart};
use haul::transport::{Line, Listening};
use haul::{BlockSize, Config, Error, Event, Observer, RelPath, Retry, Transfer};

/// Bytes per second of 9600 baud.
const RATE: u32 = 960;

const SIZE: usize = 10_000;

/// Longest time that a wrong or late byte may cost.
const RECOVERY: Duration = Duration::from_secs(3);

fn content() -> Vec<u8> {
    (0..SIZE).map(|at| (at.wrapping_mul(0x9e37_79b1) >> 11).to_le_bytes()[0]).collect()
}

fn config() -> Config {
    Config::default().block_size(BlockSize::at_most(4096))
}

fn over<S: Read + Write>(stream: S, clock: impl Clock + Send + 'static) -> Line<S> {
    let rate = NonZeroU32::new(RATE).expect("it is not zero");
    Line::new(stream, rate).clock(move || clock.now())
}

/// Counts how often a connection was made anew, and notes when this end of it was greeted last.
#[derive(Clone)]
struct Retries<C> {
    count: Arc<AtomicU32>,
    clock: C,
    greeted: Duration,
}

impl<C: Clock> Retries<C> {
    fn new(count: &Arc<AtomicU32>, clock: C) -> Self {
        Self { count: Arc::clone(count), clock, greeted: Duration::ZERO }
    }
}

impl<C: Clock> Observer for Retries<C> {
    fn event(&mut self, event: &Event) {
        if matches!(event, Event::Greeted { .. }) {
            self.greeted = self.clock.now();
        }
    }

    fn retry(&mut self, _: u32, _: &Error, _: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Outcome of a transfer.
struct Ran {
    took: Duration,
    retries: u32,
    /// Time at which the sender was greeted on its last connection.
    greeted: Duration,
}

/// Sends a file over a line with these faults of what comes in at the sender and at the receiver.
fn run(lines: (Uart, Uart), scripts: [Vec<StreamFault>; 2]) -> Ran {
    let (near, far) = lines;
    let (near_clock, far_clock) = (near.clock(), far.clock());
    let [near_script, far_script] = scripts;
    let retry = Retry::default().most(Duration::from_secs(1));
    let retries = Arc::default();
    let store = MemoryStore::new();
    let receiver = thread::spawn({
        let (store, retries) = (store.clone(), Retries::new(&retries, far_clock.clone()));
        move || {
            let line = over(Faulty::new(far, far_script), far_clock.clone());
            let transfer = Transfer::new(config()).clock(far_clock).observer(retries);
            transfer.retry(retry).receive_via(&store, &mut Listening::new(line))
        }
    });
    let mut source = source();
    let clock = near_clock.clone();
    let mut line = over(Faulty::new(near, near_script), near_clock.clone());
    let observer = Retries::new(&retries, near_clock.clone());
    let mut transfer = Transfer::new(config()).clock(near_clock).observer(observer).retry(retry);
    let sent = transfer.send_via(&mut source, &mut line).expect("it is sent");
    let (took, greeted) = (clock.now(), transfer.into_observer().greeted);
    // The line goes with its end, so that time passes for the other one.
    drop(line);
    let received = receiver.join().expect("it does not panic").expect("it is received");
    assert!(sent.is_complete() && received.delivered == 1);
    assert_eq!(*store.get("a").expect("it is there").bytes, *content());
    Ran { took, retries: retries.load(Ordering::Relaxed), greeted }
}

/// Returns how long it takes over a good line.
fn clean() -> Duration {
    let ran = run(uart::line(RATE), [vec![], vec![]]);
    assert_eq!(ran.retries, 0);
    ran.took
}

#[test]
fn file_over_9600_baud_takes_little_more_than_its_bytes() {
    let took = clean();
    let bytes = Duration::from_secs(SIZE as u64) / RATE;
    assert!(took < bytes.mul_f64(1.15) + Duration::from_secs(1), "{took:?} for {bytes:?}");
}

#[test]
fn byte_that_is_lost_costs_three_seconds_at_most_and_no_connection() {
    let clean = clean();
    let mut worst = Duration::ZERO;
    for (end, length) in [(0, 500), (1, SIZE as u64)] {
        for place in 0..16 {
            let fault =
                StreamFault::new(Direction::Read, place * length / 16 + place, FaultKind::Delete);
            let mut scripts = [vec![], vec![]];
            scripts[end] = vec![fault];
            let ran = run(uart::line(RATE), scripts);
            assert_eq!(ran.retries, 0, "{fault:?} at end {end}");
            worst = worst.max(ran.took.saturating_sub(clean));
        }
    }
    assert!(worst <= RECOVERY, "{worst:?}");
}

/// Everything is lost for a while: for less than haul waits for a byte, and for more.
#[test]
fn line_that_was_dead_for_a_while_is_used_again_within_three_seconds() {
    let clean = clean();
    let from = Duration::from_secs(4);
    for (seconds, retries) in [(1, 0), (5, 0), (20, 0), (45, 1)] {
        let cut = Duration::from_secs(seconds);
        let (near, far) = uart::line(RATE);
        near.lose_all(from, from + cut);
        let ran = run((near, far), [vec![], vec![]]);
        assert_eq!(ran.retries > 0, retries > 0, "{seconds}");
        if retries > 0 {
            let met = ran.greeted.saturating_sub(from + cut);
            assert!(!met.is_zero() && met <= RECOVERY, "{seconds}: met after {met:?}");
        }
        // The line is used again by then. A connection that was given up costs the block that was under way, too.
        let block = Duration::from_secs(retries * 4096) / RATE;
        let cost = ran.took.saturating_sub(clean + cut);
        assert!(cost <= RECOVERY + block, "{seconds}: {cost:?}");
    }
}

/// A flip in every 300 bytes on average: about every other frame.
#[test]
fn noisy_line_delivers_all_over_one_connection() {
    let noise = |seed: u64| {
        let mut at = 0;
        let next = move |number: u64| {
            at += 1 + (number.wrapping_add(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 600;
            let bit = u8::try_from(number % 8).unwrap_or(0);
            StreamFault::new(Direction::Read, at, FaultKind::Flip(bit))
        };
        (0..400).map(next).collect()
    };
    let ran = run(uart::line(RATE), [noise(1), noise(2)]);
    assert_eq!(ran.retries, 0);
}

/// Notes when a peer greets.
struct Greeting<C> {
    clock: C,
    at: Duration,
}

impl<C: Clock> Observer for Greeting<C> {
    fn event(&mut self, event: &Event) {
        if matches!(event, Event::Greeted { .. }) {
            self.at = self.clock.now();
        }
    }
}

/// A process is killed while it sends, or while it receives, and another one takes its end of the line.
#[test]
fn end_that_is_killed_and_started_again_is_met_within_three_seconds() {
    // From this byte on that it writes, the one that is killed does nothing any more.
    let dies = |at| [StreamFault::new(Direction::Write, at, FaultKind::Error(ErrorKind::Other))];
    let retry = Retry::default().most(Duration::from_secs(1));
    for kills_sender in [true, false] {
        let (near, far) = uart::line(RATE);
        let store = MemoryStore::new();
        let receive = {
            let store = store.clone();
            move || {
                let clock = far.clock();
                let mut died = Duration::ZERO;
                if !kills_sender {
                    let line = over(Faulty::new(far.clone(), dies(300)), clock.clone());
                    let transfer = Transfer::new(config()).clock(clock.clone());
                    let mut transfer = transfer.retry(Retry::never());
                    let ended = transfer.receive_via(&store, &mut Listening::new(line));
                    assert!(ended.is_err(), "it is killed");
                    died = clock.now();
                }
                let greeting = Greeting { clock: clock.clone(), at: Duration::ZERO };
                let transfer = Transfer::new(config()).clock(clock.clone()).retry(retry);
                let mut transfer = transfer.observer(greeting);
                let mut line = Listening::new(over(far, clock));
                transfer.receive_via(&store, &mut line).expect("it is received");
                transfer.into_observer().at.saturating_sub(died)
            }
        };
        let receiver = thread::spawn(receive);
        let clock = near.clock();
        let mut source = source();
        let mut died = Duration::ZERO;
        if kills_sender {
            let mut line = over(Faulty::new(near.clone(), dies(6000)), clock.clone());
            let transfer = Transfer::new(config()).clock(clock.clone());
            let ended = transfer.retry(Retry::never()).send_via(&mut source, &mut line);
            assert!(ended.is_err(), "it is killed");
            died = clock.now();
        }
        let greeting = Greeting { clock: clock.clone(), at: Duration::ZERO };
        let transfer = Transfer::new(config()).clock(clock.clone()).retry(retry);
        let mut transfer = transfer.observer(greeting);
        let mut line = over(near, clock);
        let sent = transfer.send_via(&mut source, &mut line).expect("it is sent");
        let sender_met = transfer.into_observer().at.saturating_sub(died);
        drop(line);
        let receiver_met = receiver.join().expect("it does not panic");
        let met = if kills_sender { sender_met } else { receiver_met };
        assert!(sent.is_complete());
        assert!(!met.is_zero() && met <= RECOVERY, "{kills_sender}: {met:?}");
        assert_eq!(*store.get("a").expect("it is there").bytes, *content());
    }
}

fn source() -> MemorySource {
    let name = RelPath::parse(b"a").expect("it is a name");
    MemorySource::new().file(name, content())
}
