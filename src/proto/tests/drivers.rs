//! The blocking driver over streams that do all that a stream may do (short reads and writes, interruptions, ticks)
//! sends, byte for byte, what the bare machines send. More scripts with `HAUL_LONG=1`.

use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use super::long;
use super::pair::{Alice, Bob, Pair, path};
use super::scenes::{self, Scene};
use crate::config::Config;
use crate::drive::{Clock, Transfer};
use crate::proto::wire::frame::{HEADER, PREFACE};
use crate::proto::wire::message::{Hello, Message, Name};
use crate::proto::{Receiver, Sender};
use crate::store::{MemorySource, MemoryStore};

/// A stream to one of the machines of a pair, with moods that a number decides.
struct Moody {
    pair: Pair,
    /// The machine of the pair that is at the other end.
    is_receiver: bool,
    mood: u64,
    temper: u64,
}

/// Time stands still: no heartbeat is due.
struct Still;

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) {}
}

impl Moody {
    /// Returns how many bytes to move of `most`, or what else happens.
    fn whim(&mut self, most: usize) -> io::Result<usize> {
        // A linear congruence (Knuth's MMIX) is random enough for whims.
        self.mood = self
            .mood
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let whim = (self.mood >> 33) as usize;
        match (self.temper, whim % 8) {
            (0, _) => Ok(most),
            (_, 0) => Err(ErrorKind::Interrupted.into()),
            (_, 1) => Err(ErrorKind::WouldBlock.into()),
            (_, 2) => Err(ErrorKind::TimedOut.into()),
            (1, _) => Ok(1),
            _ => Ok(1 + whim / 8 % most),
        }
    }

    fn settle(&mut self) {
        while if self.is_receiver { self.pair.step_receiver() } else { self.pair.step_sender() } {}
    }
}

impl Read for Moody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.settle();
        let channel = if self.is_receiver { &self.pair.up } else { &self.pair.down };
        let most = buffer.len().min(channel.bytes.len());
        if most == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = self.whim(most)?;
        let channel = if self.is_receiver { &mut self.pair.up } else { &mut self.pair.down };
        buffer[..count].copy_from_slice(&channel.bytes[..count]);
        channel.bytes.drain(..count);
        Ok(count)
    }
}

impl Write for Moody {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.whim(bytes.len())?;
        let channel = if self.is_receiver { &mut self.pair.down } else { &mut self.pair.up };
        channel.write(&bytes[..count]);
        self.settle();
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.settle();
        Ok(())
    }
}

/// Returns the greeting at the start of what one side sent.
fn greeting(record: &[u8]) -> Hello {
    let control = &record[PREFACE.len() + HEADER..][..72];
    let Some(Message::Hello(hello)) = Message::decode(Name::Hello, control) else { panic!() };
    hello
}

fn config() -> Config {
    scenes::scene("inline").config
}

fn scripts() -> impl Iterator<Item = (u64, u64)> {
    let seeds = if long() { 1000 } else { 20 };
    (0..3).flat_map(move |temper| (0..seeds).map(move |seed| (temper, seed)))
}

/// Scenes without anything at the receiver, which a store of memory would have in its own way.
fn scenes() -> impl Iterator<Item = Scene> {
    ["inline", "two-blocks", "stream", "zeros"].into_iter().map(scenes::scene)
}

#[test]
fn driver_that_sends_says_what_the_bare_machine_says() {
    for scene in scenes() {
        for (temper, mood) in scripts() {
            let config = config();
            let pair = Pair::with(&config, &config, Alice::default(), Bob::default());
            let mut stream = Moody { pair, is_receiver: true, mood, temper };
            let mut source = MemorySource::new();
            for (meta, bytes) in &scene.alice.files {
                source = source.entry(meta.clone(), bytes.clone());
            }
            let sent = Transfer::new(config.clone()).clock(Still).send(&mut source, &mut stream);
            assert_eq!(sent.unwrap().delivered, 1);
            let hello = greeting(&stream.pair.down.record);
            let mut bare = scene.pair();
            bare.sender = Sender::new(config, hello.transfer, hello.nonce, Duration::ZERO);
            bare.run_well();
            let what = format!("{} {temper} {mood}", scene.name);
            assert!(bare.down.record == stream.pair.down.record, "{what}");
            assert!(bare.up.record == stream.pair.up.record, "{what}");
            assert!(bare.bob.visible == stream.pair.bob.visible, "{what}");
        }
    }
}

#[test]
fn driver_that_receives_says_what_the_bare_machine_says() {
    for scene in scenes() {
        for (temper, mood) in scripts() {
            let config = config();
            let pair = Pair::with(&config, &config, scene.alice.clone(), Bob::default());
            let mut stream = Moody { pair, is_receiver: false, mood, temper };
            let mut store = MemoryStore::new();
            let received =
                Transfer::new(config.clone()).clock(Still).receive(&mut store, &mut stream);
            assert_eq!(received.unwrap().delivered, 1);
            let hello = greeting(&stream.pair.up.record);
            let mut bare = scene.pair();
            bare.receiver = Receiver::new(config, hello.nonce, Duration::ZERO);
            bare.run_well();
            let what = format!("{} {temper} {mood}", scene.name);
            assert!(bare.down.record == stream.pair.down.record, "{what}");
            assert!(bare.up.record == stream.pair.up.record, "{what}");
            assert!(*store.files()[&path("a")] == *bare.bob.visible[&path("a")]);
        }
    }
}
