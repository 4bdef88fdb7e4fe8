//! Messages that travelled in a session, taken apart.
//!
//! A recording of both directions can be read as a list of messages, to see in a test what a session cost, and laid out
//! as bytes again, to measure what that costs.

use crate::hash::BlockSize;
use crate::proto::wire::frame::{self, CHECK, HEADER, PREFACE, Parsed, Seal, Speaker};
use crate::proto::wire::message::{Message, Name};
use crate::proto::{self, ProtocolError};

/// Both directions of one connection, from their first bytes on.
///
/// ```
/// use haul::proto::Name;
/// use haul::store::{MemorySource, MemoryStore};
/// use haul::testing::pair::Pair;
/// use haul::testing::recording::Recording;
/// use haul::{Config, RelPath};
///
/// let source = MemorySource::new().file(RelPath::parse(b"note.txt")?, "hello");
/// let config = Config::default();
/// let mut pair = Pair::new(&config, source, &config, MemoryStore::new());
/// pair.down.keep_record();
/// pair.up.keep_record();
/// pair.run();
/// let recording = Recording::parse(pair.down.record(), pair.up.record())?;
/// let said: Vec<Name> = recording.sender().map(|(name, _)| name).collect();
/// assert_eq!(said, [Name::Hello, Name::Over, Name::Offer, Name::Over, Name::Out]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Recording<'a> {
    sender: Vec<Said<'a>>,
    receiver: Vec<Said<'a>>,
}

#[derive(Debug, Clone)]
struct Said<'a> {
    message: Message,
    payload: &'a [u8],
    /// The length of its frame.
    len: usize,
}

impl<'a> Recording<'a> {
    /// Takes the bytes of both directions apart, as far as they hold whole frames; where either greeting is missing,
    /// that is the first turn. Messages of kinds that this version does not know are left out.
    ///
    /// # Errors
    ///
    /// What a peer would have found wrong with a frame: damage, a length or a content that no message has.
    pub fn parse(sender: &'a [u8], receiver: &'a [u8]) -> Result<Self, proto::Error> {
        let hellos = (hello(sender)?, hello(receiver)?);
        Ok(Self {
            sender: messages(sender, Speaker::Sender, hellos)?,
            receiver: messages(receiver, Speaker::Receiver, hellos)?,
        })
    }

    /// Returns the sender's messages: each one's name, and the number of bytes of its frame.
    pub fn sender(&self) -> impl Iterator<Item = (Name, usize)> {
        self.sender.iter().map(|said| (said.message.name(), said.len))
    }

    /// Returns the receiver's messages, likewise.
    pub fn receiver(&self) -> impl Iterator<Item = (Name, usize)> {
        self.receiver.iter().map(|said| (said.message.name(), said.len))
    }

    /// Returns the messages of the sender, and those of the receiver.
    #[cfg(test)]
    pub(crate) fn messages(&self) -> [Vec<&Message>; 2] {
        [&self.sender, &self.receiver].map(|said| said.iter().map(|said| &said.message).collect())
    }

    /// Appends the bytes of the sender and those of the receiver to these, as they travelled.
    pub fn encode(&self, sender: &mut Vec<u8>, receiver: &mut Vec<u8>) {
        let hello = |said: &[Said<'_>]| {
            let mut hello = Vec::new();
            if let Some(Said { message: message @ Message::Hello(_), .. }) = said.first() {
                message.encode(&mut hello);
            }
            hello
        };
        let hellos = (hello(&self.sender), hello(&self.receiver));
        let hellos = (Some(&hellos.0[..]), Some(&hellos.1[..]));
        encode(&self.sender, Speaker::Sender, hellos, sender);
        encode(&self.receiver, Speaker::Receiver, hellos, receiver);
    }
}

/// The control parts of the greetings of sender and receiver, as far as they are known.
type Hellos<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Returns the control part of a direction's greeting, if all of it is there.
fn hello(bytes: &[u8]) -> Result<Option<&[u8]>, proto::Error> {
    if !frame::preface(bytes)? {
        return Ok(None);
    }
    let frames = bytes.get(PREFACE.len()..).unwrap_or_default();
    match Seal::initial().open(frames, |header| frame::admit(header, BlockSize::MAX.bytes()))? {
        Parsed::Frame(frame) if frame.header.kind == Name::Hello.kind() => Ok(Some(frame.control)),
        Parsed::Frame(_) | Parsed::Incomplete { .. } => Ok(None),
    }
}

fn messages<'a>(
    bytes: &'a [u8],
    speaker: Speaker,
    hellos: Hellos<'_>,
) -> Result<Vec<Said<'a>>, proto::Error> {
    let mut keys = Keys::new(speaker, hellos);
    let mut said = Vec::new();
    let mut rest = bytes.get(PREFACE.len()..).unwrap_or_default();
    let admit = |header| frame::admit(header, BlockSize::MAX.bytes());
    while let Parsed::Frame(frame) = keys.seal.open(rest, admit)? {
        keys.seal.accept();
        rest = rest.get(frame.len..).unwrap_or_default();
        let Some(name) = Name::from_kind(frame.header.kind) else { continue };
        let message =
            Message::decode(name, frame.control).ok_or(ProtocolError::Malformed { kind: name })?;
        said.push(Said { message, payload: frame.payload, len: frame.len });
        if !keys.go_on(name) {
            break;
        }
    }
    Ok(said)
}

fn encode(said: &[Said<'_>], speaker: Speaker, hellos: Hellos<'_>, out: &mut Vec<u8>) {
    let mut keys = Keys::new(speaker, hellos);
    out.extend_from_slice(&PREFACE);
    for Said { message, payload, .. } in said {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        message.encode(out);
        if out.len() > start.saturating_add(HEADER) {
            out.extend_from_slice(&[0; CHECK]);
        }
        let name = message.name();
        let head = out.get_mut(start..).unwrap_or_default();
        // What was parsed is not too long for a frame.
        let _ = keys.seal.close(name.kind(), head, payload.len());
        out.extend_from_slice(payload);
        keys.go_on(name);
    }
}

/// The checks of one direction, which change once.
struct Keys<'h> {
    seal: Seal,
    speaker: Speaker,
    /// Greetings that they will depend on, once they are known.
    hellos: Option<Hellos<'h>>,
}

impl<'h> Keys<'h> {
    fn new(speaker: Speaker, hellos: Hellos<'h>) -> Self {
        Self { seal: Seal::initial(), speaker, hellos: Some(hellos) }
    }

    /// Takes note of a message: the keys of the session hold from the end of the sender's first turn, and of the
    /// receiver's greeting, on (W-6). `false` if they are not known.
    fn go_on(&mut self, name: Name) -> bool {
        let last = match self.speaker {
            Speaker::Sender => Name::Over,
            Speaker::Receiver => Name::Hello,
        };
        match self.hellos {
            Some(hellos) if name == last => {
                let (Some(sender), Some(receiver)) = hellos else { return false };
                self.hellos = None;
                self.seal.bind(self.speaker, sender, receiver);
                true
            }
            _ => true,
        }
    }
}
