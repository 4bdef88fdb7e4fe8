//! A peer that sends what it is told to, well sealed: for tests of what lies behind the checks.
//!
//! Random bytes hardly ever pass the check of a header. A [`Forger`] turns them into messages: mostly of the right
//! layout, about a content that both sides know, with numbers that are small enough to meet; and at times into frames
//! of any kind and content.

use std::ops::Range;

use crate::hash::{BlockHash, BlockSize, Hash};
use crate::proto::wire::frame::{CHECK, HEADER, PREFACE, Seal, Speaker};
use crate::proto::wire::limits::VERSIONS;
use crate::proto::wire::message::{Hello, Message, Name, Reason, WireOffer};
use crate::testing::choices::Choices;
use crate::types::{
    AbortCode, Activity, Durability, EntryId, Kind, Outcome, Timestamp, TransferId,
};

/// One direction of a session, forged.
#[derive(Debug)]
pub(crate) struct Forger<'c> {
    seal: Seal,
    speaker: Speaker,
    hello: Vec<u8>,
    bound: bool,
    transfer: TransferId,
    next: u32,
    /// Content that all files are beginnings of.
    content: &'c [u8],
}

impl<'c> Forger<'c> {
    pub(crate) fn sender(content: &'c [u8]) -> Self {
        Self::new(Speaker::Sender, content)
    }

    pub(crate) fn receiver(content: &'c [u8]) -> Self {
        Self::new(Speaker::Receiver, content)
    }

    fn new(speaker: Speaker, content: &'c [u8]) -> Self {
        let (seal, hello, transfer) = (Seal::initial(), Vec::new(), TransferId::new([1; 16]));
        Self { seal, speaker, hello, bound: false, transfer, next: 0, content }
    }

    /// Sets the transfer of the messages.
    pub(crate) fn of(self, transfer: TransferId) -> Self {
        Self { transfer, ..self }
    }

    /// Sends preface and greeting.
    pub(crate) fn greet(&mut self, choices: &mut Choices<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&PREFACE);
        let hello = self.hello(choices);
        Message::Hello(hello.clone()).encode(&mut self.hello);
        self.send(&Message::Hello(hello), &[], out);
    }

    /// Seals as the peer expects after its greeting, which `heard` begins with, is known; `false` if it is not yet.
    pub(crate) fn bind(&mut self, heard: &[u8]) -> bool {
        let Some(frame) = heard.get(PREFACE.len()..) else { return false };
        let Some(&[kind, c0, c1, c2]) = frame.first_chunk() else { return false };
        let len = u32::from_le_bytes([c0, c1, c2, 0]);
        let end = usize::try_from(len).unwrap_or(usize::MAX).saturating_add(HEADER);
        let Some(peer) = frame.get(HEADER..end) else { return false };
        if kind != Name::Hello.kind() || self.bound {
            return self.bound;
        }
        match self.speaker {
            Speaker::Sender => self.seal.bind(self.speaker, &self.hello, peer),
            Speaker::Receiver => self.seal.bind(self.speaker, peer, &self.hello),
        }
        self.bound = true;
        true
    }

    /// Passes the floor.
    pub(crate) fn pass(&mut self, out: &mut Vec<u8>) {
        self.send(&Message::Over { waiting: true }, &[], out);
    }

    /// Sends one message, or something like it.
    pub(crate) fn chat(&mut self, choices: &mut Choices<'_>, out: &mut Vec<u8>) {
        let which = choices.byte();
        if which >= 0xF0 {
            let (kind, control, payload) = (choices.byte(), choices.byte(), choices.byte());
            let control = choices.bytes(control.into()).to_vec();
            let payload = choices.bytes(payload.into()).to_vec();
            return self.frame(kind, &control, &payload, out);
        }
        let name = match self.speaker {
            Speaker::Sender => pick(&SENDER, which),
            // Every other time that it would abort or greet again.
            Speaker::Receiver if which & 31 == 29 => Name::Unchanged,
            Speaker::Receiver if which & 31 == 30 => Name::Changed,
            Speaker::Receiver => pick(&RECEIVER, which),
        };
        let (message, payload) = self.message(name, choices);
        self.send(&message, &payload, out);
    }

    /// Offers something under any name, with the widest mode and an old time, and its content if it is a file.
    #[cfg(all(test, feature = "fs"))]
    pub(crate) fn offer_as(&mut self, name: &[u8], kind: Kind, out: &mut Vec<u8>) {
        let entry = self.entry(Name::Offer, &mut Choices::new(&[]));
        let content = if kind == Kind::File { self.content } else { &[] };
        let root = (kind == Kind::File).then(|| Hash::of(content));
        let offer = WireOffer {
            entry,
            inline: root.is_some(),
            kind,
            block_size: BlockSize::MIN,
            size: u64::try_from(content.len()).ok(),
            data: None,
            modified: Timestamp::new(1_000_000_000, 5),
            mode: Some(0o7777),
            root,
            by_time: false,
            name: name.into(),
        };
        self.send(&Message::Offer(offer), content, out);
    }

    fn send(&mut self, message: &Message, payload: &[u8], out: &mut Vec<u8>) {
        let mut control = Vec::new();
        message.encode(&mut control);
        self.frame(message.name().kind(), &control, payload, out);
    }

    fn frame(&mut self, kind: u8, control: &[u8], payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        if !control.is_empty() {
            out.extend_from_slice(control);
            out.extend_from_slice(&[0; CHECK]);
        }
        let head = out.get_mut(start..).unwrap_or_default();
        if self.seal.close(kind, head, payload.len()).is_none() {
            return out.truncate(start);
        }
        out.extend_from_slice(payload);
    }

    fn message(&mut self, name: Name, choices: &mut Choices<'_>) -> (Message, Vec<u8>) {
        let mut payload = Vec::new();
        let entry = self.entry(name, choices);
        let reason = |choices: &mut Choices<'_>| Reason {
            code: choices.below(20).into(),
            first: choices.number(),
            second: choices.number(),
        };
        let message = match name {
            Name::Hello => Message::Hello(self.hello(choices)),
            Name::Offer => {
                let (offer, content) = self.offer(entry, choices);
                payload = content;
                Message::Offer(offer)
            }
            Name::Have => {
                let (first, more) = (u64::from(choices.below(16)), choices.flag());
                let size = block_size(choices);
                let count = u64::from(choices.below(8));
                let hash = |index: u64| self.block(size, first.wrapping_add(index)).1;
                let hashes = (0..count).map(hash).collect();
                Message::Have { entry, first, hashes, more, compare: choices.flag() }
            }
            Name::Block => {
                let (size, index) = (block_size(choices), choices.below(16).into());
                let (content, hash) = self.block(size, index);
                payload = content.to_vec();
                let hash = if choices.rarely() { BlockHash::from_bytes([7; 32]) } else { hash };
                if choices.rarely() {
                    payload.truncate(choices.below(200).into());
                }
                Message::Block { entry, index, hash }
            }
            Name::Refuse => Message::Refuse { entry, reason: reason(choices) },
            Name::Withdraw => Message::Withdraw { entry, reason: reason(choices) },
            Name::Same => Message::Same { entry, blocks: range(choices) },
            Name::Zeros => Message::Zeros { entry, blocks: range(choices) },
            Name::Claim => {
                let root = (!choices.rarely()).then(|| self.ending(choices).1);
                Message::Claim { entry, root }
            }
            Name::Unchanged => Message::Unchanged { entry },
            Name::Changed => Message::Changed { entry },
            Name::End => {
                let (size, root) = self.ending(choices);
                Message::End { entry, size, root }
            }
            Name::Missing => Message::Missing { entry, blocks: ranges(choices) },
            Name::Kept => Message::Kept { entry, blocks: ranges(choices) },
            Name::Receipt => {
                let (size, root) = self.ending(choices);
                let name: &[u8] = if choices.rarely() { choices.bytes(8) } else { &[] };
                let outcome = if choices.flag() { Outcome::Held } else { Outcome::Stored };
                let (durability, name) = (Durability::Synced, name.into());
                Message::Receipt { entry, size, root, durability, outcome, name }
            }
            Name::Over => Message::Over { waiting: choices.flag() },
            Name::Out => Message::Out,
            Name::Abort => Message::Abort { code: AbortCode::from_code(choices.byte().into()) },
            Name::Heartbeat => {
                Message::Heartbeat { activity: Activity::from_code(choices.below(5)) }
            }
        };
        (message, payload)
    }

    fn hello(&self, choices: &mut Choices<'_>) -> Hello {
        let odd = choices.rarely();
        let mut any = |usual: u32| if odd { choices.below(4).into() } else { usual };
        Hello {
            versions: *VERSIONS.start()..=*VERSIONS.end(),
            sender: (self.speaker == Speaker::Sender) != (any(0) == 3),
            block: BlockSize::at_most(any(4096).into()),
            link: 0,
            attempt: any(1),
            transfer: self.transfer,
            nonce: [2; 16],
            offered: any(0),
            required: if any(0) == 2 { 1 } else { 0 },
            turn_bytes: any(1 << 20).into(),
            open_entries: any(4),
            pending_entries: any(16),
            pending_names: any(1 << 16),
            binding: if any(0) == 1 { [1; 32] } else { [0; 32] },
            proof: if any(0) == 1 { [1; 32] } else { [0; 32] },
        }
    }

    fn entry(&mut self, name: Name, choices: &mut Choices<'_>) -> EntryId {
        if choices.rarely() {
            return EntryId::new(u32::from(choices.byte()) << (choices.byte() & 31));
        }
        if name == Name::Offer {
            self.next = self.next.saturating_add(1);
            return EntryId::new(self.next.saturating_sub(1));
        }
        EntryId::new(choices.below(6).into())
    }

    fn offer(&self, entry: EntryId, choices: &mut Choices<'_>) -> (WireOffer, Vec<u8>) {
        let name: &[u8] = match choices.below(12) {
            0 => b"a",
            1 => b"b",
            2 => b"c/d",
            3 => b"A",
            4 => b"c",
            11 => {
                let len = choices.below(40).into();
                choices.bytes(len)
            }
            number => b"efghij".get(usize::from(number)..).unwrap_or(b"k"),
        };
        let kind = match choices.below(16) {
            14 => Kind::Directory,
            15 => Kind::Symlink(choices.bytes(3).into()),
            _ => Kind::File,
        };
        let (size, root) = self.ending(choices);
        let block_size = block_size(choices);
        let inline = choices.flag() && kind == Kind::File;
        let payload = if inline { self.start(size).to_vec() } else { Vec::new() };
        let size = match &kind {
            Kind::File if inline || choices.flag() => Some(size),
            Kind::File => None,
            Kind::Directory | Kind::Symlink(_) => Some(0),
        };
        let root = inline.then_some(root);
        let name = name.into();
        let mode = choices.flag().then(|| choices.byte().into());
        let by_time = mode.is_some_and(|mode: u32| mode & 7 == 7);
        let data = size.filter(|_| mode.is_some_and(|mode: u32| mode & 3 == 2));
        // Mostly what can be: fewer than there are.
        let data = data.map(|size| if choices.rarely() { size } else { size / 2 });
        let modified = Timestamp::new(1, 2).filter(|_| by_time);
        let offer = WireOffer {
            entry,
            kind,
            block_size,
            size,
            data,
            modified,
            mode,
            root,
            inline,
            by_time,
            name,
        };
        (offer, payload)
    }

    /// Returns a size, and mostly the root of that much of the content.
    fn ending(&self, choices: &mut Choices<'_>) -> (u64, Hash) {
        if choices.rarely() {
            return (choices.number(), Hash::from_bytes([9; 32]));
        }
        let size = u64::from(choices.below(17)).saturating_mul(512);
        (size, Hash::of(self.start(size)))
    }

    fn start(&self, len: u64) -> &'c [u8] {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.content.get(..len.min(self.content.len())).unwrap_or_default()
    }

    fn block(&self, size: BlockSize, index: u64) -> (&'c [u8], BlockHash) {
        let start = size.offset(index).unwrap_or(u64::MAX);
        let before = self.start(start).len();
        let rest = self.content.get(before..).unwrap_or_default();
        let block = rest.get(..size.len()).unwrap_or(rest);
        let hashed = size.hash(index, block);
        (block, hashed.map_or(BlockHash::from_bytes([0; 32]), |hashed| hashed.hash))
    }
}

/// Messages of a sender; those that advance a session stand several times.
const SENDER: [Name; 16] = [
    Name::Offer,
    Name::Block,
    Name::Over,
    Name::End,
    Name::Offer,
    Name::Block,
    Name::Over,
    Name::End,
    Name::Same,
    Name::Zeros,
    Name::Claim,
    Name::Withdraw,
    Name::Heartbeat,
    Name::Out,
    Name::Abort,
    Name::Hello,
];

/// Messages of a receiver.
const RECEIVER: [Name; 16] = [
    Name::Have,
    Name::Over,
    Name::Receipt,
    Name::Kept,
    Name::Have,
    Name::Over,
    Name::Receipt,
    Name::Missing,
    Name::Have,
    Name::Over,
    Name::Refuse,
    Name::Refuse,
    Name::Heartbeat,
    Name::Abort,
    Name::Hello,
    Name::Out,
];

fn pick(names: &[Name; 16], which: u8) -> Name {
    names.get(usize::from(which & 15)).copied().unwrap_or(Name::Over)
}

/// Returns 1 or 2 KiB, and at times the smallest size that the other side does not take.
fn block_size(choices: &mut Choices<'_>) -> BlockSize {
    let exponent = if choices.rarely() { 13 } else { choices.below(2) };
    BlockSize::from_exponent(exponent).unwrap_or(BlockSize::MIN)
}

fn range(choices: &mut Choices<'_>) -> Range<u64> {
    let start = u64::from(choices.below(16));
    let len = if choices.rarely() { choices.number() } else { choices.below(6).into() };
    start..start.saturating_add(len)
}

fn ranges(choices: &mut Choices<'_>) -> Vec<Range<u64>> {
    let mut start = 0;
    let mut next = |choices: &mut Choices<'_>| {
        let Range { start: skip, end } = range(choices);
        let range = skip.saturating_add(start)..end.saturating_add(start).saturating_add(1);
        start = range.end.saturating_add(1);
        range
    };
    (0..=choices.below(3)).map(|_| next(choices)).collect()
}
