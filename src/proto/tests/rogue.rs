//! A peer that sends whatever it is told to, sealed as it should be, to a real machine.

use std::time::Duration;

use super::pair::{Alice, Bob, Pair, transfer};
use crate::config::Config;
use crate::hash::{BlockSize, Hash};
use crate::proto::Error;
use crate::proto::wire::frame::{CHECK, HEADER, PREFACE, Parsed, Seal, Speaker};
use crate::proto::wire::message::{Hello, Message, Name, WireOffer};
use crate::types::{EntryId, Kind};

/// The other side of one real machine.
pub(super) struct Rogue {
    /// The real machine is one half of it; the other half is idle.
    pub(super) pair: Pair,
    is_sender: bool,
    spoken: Seal,
    heard: Seal,
    hello: Hello,
    our_hello: Vec<u8>,
    their_hello: Vec<u8>,
    heard_preface: bool,
}

impl Rogue {
    /// Returns a rogue sender to a real receiver.
    pub(super) fn sender(theirs: &Config, bob: Bob) -> Self {
        Self::new(Pair::with(theirs, theirs, Alice::default(), bob), true)
    }

    /// Returns a rogue receiver to a real sender.
    pub(super) fn receiver(theirs: &Config, alice: Alice) -> Self {
        Self::new(Pair::with(theirs, theirs, alice, Bob::default()), false)
    }

    fn new(pair: Pair, is_sender: bool) -> Self {
        let hello = Hello {
            versions: 1..=1,
            sender: is_sender,
            block: BlockSize::MAX,
            link: 0,
            attempt: 1,
            transfer: transfer(),
            nonce: [9; 16],
            offered: 0,
            required: 0,
            turn_bytes: 1 << 30,
            open_entries: 64,
            pending_entries: 8192,
            pending_names: 1 << 20,
            binding: [0; 32],
            proof: [0; 32],
        };
        Self {
            pair,
            is_sender,
            spoken: Seal::initial(),
            heard: Seal::initial(),
            hello,
            our_hello: Vec::new(),
            their_hello: Vec::new(),
            heard_preface: false,
        }
    }

    /// Returns the same over a new connection, to a machine that remembers the earlier one.
    pub(super) fn again(self, theirs: &Config, attempt: u32) -> Self {
        let Self { mut pair, is_sender, mut hello, .. } = self;
        pair.reconnect_suspended(theirs, attempt);
        hello.attempt = attempt;
        Self { hello, ..Self::new(pair, is_sender) }.greeted()
    }

    /// Changes its greeting.
    pub(super) fn hello(mut self, change: impl FnOnce(&mut Hello)) -> Self {
        change(&mut self.hello);
        self
    }

    pub(super) fn greeting(&self) -> &Hello {
        &self.hello
    }

    /// Greets as it should. Afterwards a rogue sender has the floor, and a rogue receiver has passed it.
    pub(super) fn greeted(mut self) -> Self {
        if self.is_sender {
            self.raw(&PREFACE);
            self.send_hello();
            self.over(true);
            self.settle();
            self.receive();
        } else {
            self.settle();
            self.receive();
            self.raw(&PREFACE);
            self.send_hello();
            self.over(true);
            self.settle();
        }
        self
    }

    pub(super) fn send_hello(&mut self) {
        let hello = self.hello.clone();
        self.send(&Message::Hello(hello));
        if !self.is_sender {
            self.bind();
        }
    }

    /// Sends bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        let channel = if self.is_sender { &mut self.pair.down } else { &mut self.pair.up };
        channel.write(bytes);
    }

    pub(super) fn send(&mut self, message: &Message) {
        self.send_with(message, &[]);
    }

    pub(super) fn send_with(&mut self, message: &Message, payload: &[u8]) {
        let mut control = Vec::new();
        message.encode(&mut control);
        if let Message::Hello(_) = message {
            self.our_hello.clone_from(&control);
        }
        self.send_raw(message.name().kind(), &control, payload);
    }

    /// Sends a frame of any kind, rightly sealed.
    pub(super) fn send_raw(&mut self, kind: u8, control: &[u8], payload: &[u8]) {
        let frame = self.sealed(kind, control, payload.len());
        self.raw(&frame);
        self.raw(payload);
    }

    /// Returns a frame without the payload that it announces.
    pub(super) fn sealed(&mut self, kind: u8, control: &[u8], payload: usize) -> Vec<u8> {
        let mut frame = vec![0; HEADER];
        frame.extend_from_slice(control);
        if !control.is_empty() {
            frame.extend_from_slice(&[0; CHECK]);
        }
        self.spoken.close(kind, &mut frame, payload).unwrap();
        frame
    }

    pub(super) fn over(&mut self, waiting: bool) {
        self.send(&Message::Over { waiting });
    }

    /// Passes the floor, lets the other side send, and returns what it sent.
    pub(super) fn turn(&mut self) -> Vec<Message> {
        self.over(true);
        self.settle();
        self.receive()
    }

    /// Returns the same, by a sender that could go on without an answer.
    pub(super) fn turn_without_waiting(&mut self) -> Vec<Message> {
        self.over(false);
        self.settle();
        self.receive()
    }

    /// Lets the real machine run until it can do nothing more without bytes or time.
    pub(super) fn settle(&mut self) {
        for _ in 0..1_000_000 {
            let moved =
                if self.is_sender { self.pair.step_receiver() } else { self.pair.step_sender() };
            if !moved {
                return;
            }
        }
        panic!("the machine does not settle");
    }

    /// Lets time pass in steps.
    pub(super) fn wait(&mut self, time: Duration) {
        self.pair.now += time;
        self.settle();
    }

    /// Returns all that the real machine has sent.
    pub(super) fn receive(&mut self) -> Vec<Message> {
        let mut heard = Vec::new();
        loop {
            let channel = if self.is_sender { &mut self.pair.up } else { &mut self.pair.down };
            if !self.heard_preface && channel.bytes.starts_with(&PREFACE) {
                channel.bytes.drain(..PREFACE.len());
                self.heard_preface = true;
                continue;
            }
            let parsed = self.heard.open(&channel.bytes, |_| Ok(())).unwrap();
            let Parsed::Frame(frame) = parsed else { return heard };
            let name = Name::from_kind(frame.header.kind).unwrap();
            let message = Message::decode(name, frame.control).unwrap();
            let theirs = (name == Name::Hello).then(|| frame.control.to_vec());
            let len = frame.len;
            channel.bytes.drain(..len);
            self.heard.accept();
            heard.push(message);
            if let Some(theirs) = theirs {
                self.their_hello = theirs;
                if self.is_sender {
                    self.bind();
                }
            }
        }
    }

    fn bind(&mut self) {
        let (ours, theirs) = (&self.our_hello, &self.their_hello);
        let (said, heard, first, second) = if self.is_sender {
            (Speaker::Sender, Speaker::Receiver, ours, theirs)
        } else {
            (Speaker::Receiver, Speaker::Sender, theirs, ours)
        };
        self.spoken.bind(said, first, second);
        self.heard.bind(heard, first, second);
    }

    /// Returns how the real machine ended, if it did.
    pub(super) fn ended(&self) -> Option<Result<(), Error>> {
        let ended = if self.is_sender { self.pair.bob.ended } else { self.pair.alice.ended };
        ended.map(|ended| ended.map(drop))
    }
}

/// Returns an offer of a file, in the smallest blocks.
pub(super) fn wire(entry: u32, name: &[u8], size: Option<u64>) -> WireOffer {
    WireOffer {
        entry: EntryId::new(entry),
        kind: Kind::File,
        block_size: BlockSize::MIN,
        size,
        data: None,
        modified: None,
        mode: None,
        root: None,
        inline: false,
        by_time: false,
        name: name.into(),
    }
}

/// Returns an offer of a file whose content stands in the payload.
pub(super) fn inline(entry: u32, name: &[u8], bytes: &[u8]) -> WireOffer {
    let (root, inline) = (Some(Hash::of(bytes)), true);
    WireOffer { root, inline, ..wire(entry, name, Some(bytes.len() as u64)) }
}
