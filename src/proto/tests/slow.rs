//! Slow lines, and lines with buffers that take bytes long before the other side has them, in virtual time.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::long;
use super::pair::{Alice, Bob, Channel, Pair, content, path};
use crate::config::{Config, Deadlines};
use crate::drive::{Clock, Observer, Transfer};
use crate::hash::BlockSize;
use crate::proto::{Error, Stall};
use crate::store::{MemorySource, MemoryStore};
use crate::types::{Event, Meta, Summary};

/// Step in which time passes.
const STEP: Duration = Duration::from_millis(20);

/// Bytes that a driver gathers before it writes.
const BATCH: usize = 64 << 10;

/// One direction of a line: a buffer that takes what fits, and is emptied at a rate.
struct Way {
    rate: u64,
    buffer: usize,
    /// Bytes, all told, that the buffer took and that are through.
    taken: usize,
    through: usize,
    /// Thousandths of a byte that are through beyond that.
    rest: u64,
    /// Nothing is let through any more.
    is_dead: bool,
}

impl Way {
    fn new(rate: u64, buffer: usize) -> Self {
        Self { rate, buffer, taken: 0, through: 0, rest: 0, is_dead: false }
    }

    /// Returns the number of bytes that were sent and not taken.
    fn left(&self, channel: &Channel) -> usize {
        channel.record.len() - self.taken
    }

    /// Takes what fits into the buffer.
    fn take(&mut self, channel: &mut Channel) -> usize {
        let room = self.buffer - (self.taken - self.through);
        let takes = room.min(self.left(channel));
        self.taken += takes;
        channel.arrived = Some(self.through);
        takes
    }

    /// Lets time pass: returns how many bytes the buffer took meanwhile.
    fn pass(&mut self, channel: &mut Channel) -> usize {
        if self.is_dead {
            return 0;
        }
        let said = channel.record.len();
        let moved = self.rate * STEP.as_millis() as u64 + self.rest;
        let through = (self.through + usize::try_from(moved / 1000).unwrap()).min(said);
        self.rest = if through == said { 0 } else { moved % 1000 };
        self.through = through;
        channel.arrived = Some(through);
        // The buffer is filled as fast as it is emptied, however small it is.
        let taken = (through + self.buffer).min(said);
        let takes = taken - self.taken;
        self.taken = taken;
        takes
    }
}

/// A pair with a line in between.
struct Slow {
    pair: Pair,
    down: Way,
    up: Way,
}

impl Slow {
    fn new(pair: Pair, rate: u64, buffer: usize) -> Self {
        let mut slow = Self { pair, down: Way::new(rate, buffer), up: Way::new(rate, buffer) };
        (slow.pair.down.arrived, slow.pair.up.arrived) = (Some(0), Some(0));
        slow
    }

    /// Runs for as long as anything moves without time passing.
    fn settle(&mut self) {
        loop {
            let mut moved = self.down.left(&self.pair.down) < BATCH && self.pair.step_sender();
            moved |= self.up.left(&self.pair.up) < BATCH && self.pair.step_receiver();
            moved |= self.take();
            if !moved {
                return;
            }
        }
    }

    fn take(&mut self) -> bool {
        let down = self.down.take(&mut self.pair.down);
        let up = self.up.take(&mut self.pair.up);
        self.tell(down, up);
        down + up > 0
    }

    /// Reports to both cores what was taken of their output.
    fn tell(&mut self, down: usize, up: usize) {
        let (now, pair) = (self.pair.now, &mut self.pair);
        let sender = match down {
            0 if self.down.left(&pair.down) > 0 => pair.sender.handle_write_blocked(now),
            0 => Ok(()),
            down => pair.sender.handle_peer_took(now, down),
        };
        if let Err(failure) = sender {
            pair.alice.ended = Some(Err(failure));
        }
        let receiver = match up {
            0 if self.up.left(&pair.up) > 0 => pair.receiver.handle_write_blocked(now),
            0 => Ok(()),
            up => pair.receiver.handle_peer_took(now, up),
        };
        if let Err(failure) = receiver {
            pair.bob.ended = Some(Err(failure));
        }
    }

    fn pass(&mut self) {
        self.pair.now += STEP;
        let down = self.down.pass(&mut self.pair.down);
        let up = self.up.pass(&mut self.pair.up);
        self.tell(down, up);
    }

    fn run(&mut self, case: &str) -> (Result<Summary, Error>, Result<Summary, Error>) {
        loop {
            self.settle();
            if let (Some(sent), Some(received)) = (self.pair.alice.ended, self.pair.bob.ended) {
                return (sent, received);
            }
            self.pass();
            assert!(self.pair.now < Duration::from_secs(20_000), "{case} does not end");
        }
    }
}

fn files(sizes: &[usize]) -> Alice {
    let file = |(seed, len): (u64, &usize)| {
        let name = path(&format!("{seed}"));
        (Meta::file(name, Some(*len as u64)), content(seed, *len))
    };
    Alice { files: (0..).zip(sizes).map(file).collect(), ..Alice::default() }
}

/// Returns the settings that the documentation names for a line, with blocks of at most this size.
fn documented(rate: u64, block: BlockSize) -> Config {
    let config = if rate < Deadlines::default().rate * 2 {
        Config::for_rate(rate)
    } else {
        Config::default()
    };
    let block = block.min(config.limits.block);
    config.block_size(block)
}

/// Any rate, with any buffer in between, and blocks of any size, moves all files, and nobody is taken for dead.
#[test]
fn line_of_any_rate_with_any_buffer_moves_files_without_a_stall() {
    let rates = [300, 960, 2_400, 11_520, 33_000, 60_000, 1_000_000, 10_000_000];
    let buffers = [16, 4 << 10, 64 << 10, 1 << 20, 4 << 20, 8 << 20];
    for rate in rates {
        for buffer in buffers {
            for block in [1 << 10, 4 << 10, 64 << 10, 256 << 10, 1 << 20] {
                let config = documented(rate, BlockSize::at_most(block));
                let is_cut = config.blocks.most().bytes() != block;
                // A buffer that is large against all that is sent is like the next smaller one.
                let most = if long() { 12 << 20 } else { 9 << 20 };
                let size = (buffer + 10 * rate as usize).min(most).min(600 * block as usize);
                if is_cut || (!long() && size < buffer / 4 && buffer > 1 << 20) {
                    continue;
                }
                let size = size.min(if rate < 16 << 10 { 200_000 } else { most });
                let case = format!("{rate} B/s, {buffer} bytes of buffer, blocks of {block}");
                let alice = files(&[700, size, 0, 1500]);
                let pair = Pair::with(&config, &config, alice, Bob::default());
                let mut slow = Slow::new(pair, rate, buffer);
                let (sent, received) = slow.run(&case);
                assert_eq!(sent.map(|sum| sum.delivered), Ok(4), "{case}");
                assert_eq!(received.map(|sum| sum.delivered), Ok(4), "{case}");
            }
        }
    }
}

/// A partial file is reported in pieces that a slow line carries in the time of a turn.
#[test]
fn line_that_is_slow_goes_on_with_a_partial_file_without_a_stall() {
    for (rate, buffer) in [(300, 16), (300, 8 << 20), (960, 16), (960, 8 << 20)] {
        let config = Config::for_rate(rate);
        let mut bob = Bob::default();
        bob.partial.insert(path("0"), content(0, 4 << 20));
        let pair = Pair::with(&config, &config, files(&[(4 << 20) + 5000]), bob);
        let case = format!("{rate} B/s, {buffer} bytes of buffer");
        let (sent, _) = Slow::new(pair, rate, buffer).run(&case);
        assert_eq!(sent.map(|sum| sum.delivered), Ok(1), "{case}");
        assert!(sent.unwrap().sent <= 10_000, "{case}");
    }
}

/// A peer that dies while bytes are under way is left in the time that is stated, on any line.
#[test]
fn line_that_dies_ends_the_session_within_the_stated_time() {
    for (rate, buffer) in [(960, 16), (960, 8 << 20), (60_000, 4 << 20), (10_000_000, 8 << 20)] {
        for at in [100, 400, 5_000, 200_000, 3_000_000] {
            let config = documented(rate, BlockSize::at_most(4096));
            let limits = config.deadlines;
            let pair = Pair::with(&config, &config, files(&[6 << 20]), Bob::default());
            let mut slow = Slow::new(pair, rate, buffer);
            while slow.down.through < at {
                slow.settle();
                slow.pass();
            }
            (slow.down.is_dead, slow.up.is_dead) = (true, true);
            let start = slow.pair.now;
            let case = format!("{rate} B/s, {buffer} bytes of buffer, at {at}");
            let (sent, received) = slow.run(&case);
            let most = Deadlines::BUFFERS.min(config.turn.max_bytes + 5000) / limits.rate;
            let most = limits.silence + Duration::from_secs(most) + Duration::from_secs(1);
            assert!(slow.pair.now - start <= most, "{case}: {:?}", slow.pair.now - start);
            for ended in [sent, received] {
                assert!(matches!(ended, Err(Error::Stalled(_))), "{case}: {ended:?}");
            }
            let is_of_write = matches!(sent, Err(Error::Stalled(Stall::Write { .. })));
            assert_eq!(is_of_write, slow.down.left(&slow.pair.down) > 0, "{case}: {sent:?}");
        }
    }
}

/// A line to a core that sends or receives, as a stream for the other side's driver; and its clock.
#[derive(Clone)]
struct Stream {
    slow: Arc<Mutex<Slow>>,
    is_receiver: bool,
}

impl Stream {
    fn new(pair: Pair, rate: u64, buffer: usize, is_receiver: bool) -> Self {
        Self { slow: Arc::new(Mutex::new(Slow::new(pair, rate, buffer))), is_receiver }
    }

    /// Lets time pass until `done` gives something, a second at most.
    fn wait<R>(&self, mut done: impl FnMut(&mut Slow) -> Option<R>) -> io::Result<R> {
        let slow = &mut *self.slow.lock().unwrap();
        for _ in 0..50 {
            if let Some(result) = done(slow) {
                return Ok(result);
            }
            slow.pair.now += STEP;
            let (down, up) = (&mut slow.pair.down, &mut slow.pair.up);
            let (down, up) = (slow.down.pass(down), slow.up.pass(up));
            self.far(slow, if self.is_receiver { up } else { down });
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Lets the core at the other end go on, and reports what the line takes of it, beside what it took
    /// before.
    fn far(&self, slow: &mut Slow, mut took: usize) {
        loop {
            let now = slow.pair.now;
            let told = match (took, self.is_receiver) {
                (0, _) => Ok(()),
                (_, true) => slow.pair.receiver.handle_peer_took(now, took),
                (_, false) => slow.pair.sender.handle_peer_took(now, took),
            };
            assert_eq!(told, Ok(()));
            let pair = &mut slow.pair;
            let moved;
            (moved, took) = if self.is_receiver {
                (pair.step_receiver(), slow.up.take(&mut pair.up))
            } else {
                let is_ready = slow.down.left(&pair.down) < BATCH;
                (is_ready && pair.step_sender(), slow.down.take(&mut pair.down))
            };
            if !moved && took == 0 {
                return;
            }
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = self.clone();
        self.wait(|slow| {
            stream.far(slow, 0);
            let pair = &mut slow.pair;
            let channel = if stream.is_receiver { &mut pair.up } else { &mut pair.down };
            let count = channel.available().min(buffer.len());
            buffer[..count].copy_from_slice(&channel.bytes[..count]);
            channel.consume(count);
            (count > 0).then_some(count)
        })
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_receiver = self.is_receiver;
        self.wait(|slow| {
            let (channel, way) = if is_receiver {
                (&mut slow.pair.down, &mut slow.down)
            } else {
                (&mut slow.pair.up, &mut slow.up)
            };
            let room = way.buffer - (way.taken - way.through);
            let count = room.min(bytes.len());
            channel.write(&bytes[..count]);
            way.take(channel);
            (count > 0).then_some(count)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Clock for Stream {
    fn now(&self) -> Duration {
        self.slow.lock().unwrap().pair.now
    }

    fn sleep(&self, time: Duration) {
        self.slow.lock().unwrap().pair.now += time;
    }
}

/// Times at which progress was seen.
struct Seen(Stream, Vec<Duration>);

impl Observer for Seen {
    fn event(&mut self, event: &Event) {
        if matches!(event, Event::Progress { .. }) {
            self.1.push(self.0.now());
        }
    }
}

/// Returns the longest time without progress, up to the end.
fn longest(seen: Seen) -> Duration {
    let Seen(clock, mut at) = seen;
    at.push(clock.now());
    let starts = [Duration::ZERO].into_iter().chain(at.iter().copied());
    starts.zip(&at).map(|(from, to)| *to - from).max().unwrap()
}

/// Returns the settings for a line of 9600 baud that are documented for it.
fn serial() -> [Config; 2] {
    [Config::default().block_size(BlockSize::at_most(4096)), Config::for_rate(960)]
}

#[test]
fn serial_line_moves_files_to_a_receiver_with_progress_and_without_a_stall() {
    for config in serial() {
        for (size, buffer) in [(50_000, 64), (200_000, 64), (200_000, 4096)] {
            let bob = Bob::default();
            let pair = Pair::with(&config, &config, Alice::default(), bob);
            let stream = Stream::new(pair, 960, buffer, true);
            let mut source = MemorySource::new().file(path("0"), content(0, size));
            let mut transfer = Transfer::new(config.clone())
                .clock(stream.clone())
                .observer(Seen(stream.clone(), Vec::new()));
            let sent = transfer.send(&mut source, stream.clone());
            assert_eq!(sent.unwrap().delivered, 1, "{size} {buffer}");
            let whole = content(0, size);
            assert!(stream.slow.lock().unwrap().pair.bob.visible[&path("0")] == whole);
            let longest = longest(transfer.into_observer());
            assert!(longest < Duration::from_secs(30), "{longest:?} {size} {buffer}");
        }
    }
}

#[test]
fn serial_line_moves_files_from_a_sender_with_progress_and_without_a_stall() {
    for config in serial() {
        for size in [50_000, 200_000] {
            let alice = files(&[size]);
            let pair = Pair::with(&config, &config, alice, Bob::default());
            let stream = Stream::new(pair, 960, 64, false);
            let mut store = MemoryStore::new();
            let mut transfer = Transfer::new(config.clone())
                .clock(stream.clone())
                .observer(Seen(stream.clone(), Vec::new()));
            let received = transfer.receive(&mut store, stream.clone());
            assert_eq!(received.unwrap().delivered, 1, "{size}");
            let longest = longest(transfer.into_observer());
            assert!(longest < Duration::from_secs(20), "{longest:?} {size}");
        }
    }
}

#[test]
fn line_with_large_buffers_moves_files_by_the_defaults() {
    for size in [3 << 20, 9 << 20] {
        let config = Config::default();
        let pair = Pair::with(&config, &config, Alice::default(), Bob::default());
        let stream = Stream::new(pair, 60_000, 4 << 20, true);
        let mut source = MemorySource::new().file(path("0"), content(0, size));
        let mut transfer = Transfer::new(config).clock(stream.clone());
        let sent = transfer.send(&mut source, stream.clone());
        assert_eq!(sent.unwrap().delivered, 1, "{size}");
    }
}

/// A stream of which each read takes longer than any deadline for a peer, and then gives what has come long since.
struct Late(Stream);

impl Read for Late {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.sleep(Duration::from_secs(40));
        self.0.read(buffer)
    }
}

impl Write for Late {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Input is looked at before the clock is.
#[test]
fn driver_gives_the_core_what_has_come_before_it_checks_a_deadline() {
    let patient = Deadlines::default().hello(Duration::from_secs(100));
    let ours = Config::default().deadlines(patient);
    let theirs = ours.clone().deadlines(patient.silence(Duration::from_secs(1000)));
    let pair = |alice| Pair::with(&theirs, &theirs, alice, Bob::default());
    let stream = Stream::new(pair(Alice::default()), 1_000_000, 1000, true);
    let mut source = MemorySource::new().file(path("0"), content(0, 300_000));
    let mut transfer = Transfer::new(ours.clone()).clock(stream.clone());
    let sent = transfer.send(&mut source, Late(stream));
    assert_eq!(sent.unwrap().delivered, 1);
    let stream = Stream::new(pair(files(&[3000])), 1_000_000, 1000, false);
    let mut transfer = Transfer::new(ours).clock(stream.clone());
    let received = transfer.receive(&mut MemoryStore::new(), Late(stream));
    assert_eq!(received.unwrap().delivered, 1);
}
