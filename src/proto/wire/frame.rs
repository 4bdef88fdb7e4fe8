//! Frames: how messages are laid on the stream, numbered and checked. Rules W-1 to W-9 of the wire document.
//!
//! ```text
//! 0        1              4                8               16
//! ├ kind ──┼ control len ─┼ payload len ───┼ header check ──┼ control … ┼ control check ┼ payload … ┤
//!   u8       u24            u32              u64                           u64, if any control
//! ```

use super::super::error::{Damage, Error, Incompatible, ProtocolError};
use super::message::Name;

/// The first bytes of either direction of a stream (W-1).
///
/// As in PNG, a byte with its top bit set and line ends of both kinds tell a stream that is not clean for
/// eight bits, or that a terminal translates, from a peer that is not haul.
pub const PREFACE: [u8; 8] = *b"\x89haul\r\n\x1a";

/// The length of a header in bytes (W-2).
pub(crate) const HEADER: usize = 16;

/// The length of the check after a control part in bytes (W-4).
pub(crate) const CHECK: usize = 8;

/// A header whose check was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) control: u32,
    pub(crate) payload: u32,
}

/// A whole frame, its parts borrowed from the input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) header: Header,
    pub(crate) control: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// The length of all of it.
    pub(crate) len: usize,
}

/// Content at the start of the input.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Parsed<'a> {
    /// The start of a frame; all of it will be this long, as far as is known yet.
    Incomplete { needed: usize },
    /// A frame.
    Frame(Frame<'a>),
}

/// Returns how many bytes of the payload of a frame stand in an input that begins with it. Nothing of it is checked.
pub(crate) fn payload_so_far(input: &[u8]) -> usize {
    let Some((raw, rest)) = input.split_first_chunk::<HEADER>() else { return 0 };
    let &[_, c0, c1, c2, p0, p1, p2, p3, ..] = raw;
    let control = u32::from_le_bytes([c0, c1, c2, 0]) as usize;
    let payload = u32::from_le_bytes([p0, p1, p2, p3]) as usize;
    let check = if control == 0 { 0 } else { CHECK };
    rest.len().saturating_sub(control.saturating_add(check)).min(payload)
}

/// The checks of one direction of a session: the side that sends, and the number of the next frame.
#[derive(Clone)]
pub(crate) struct Seal {
    key: [u8; 32],
    number: u64,
}

/// Sender of the frames of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaker {
    Sender,
    Receiver,
}

impl Seal {
    /// Returns the seal of a direction before the greetings are known (W-5).
    pub(crate) fn initial() -> Self {
        Self { key: blake3::derive_key("haul wire 1: greetings", &[]), number: 0 }
    }

    /// Goes on with a key that depends on both greetings, so that frames of another session, or greetings
    /// altered on the way, are noticed (W-6). The count of frames goes on.
    pub(crate) fn bind(&mut self, speaker: Speaker, sender_hello: &[u8], receiver_hello: &[u8]) {
        let mut deriver = blake3::Hasher::new_derive_key(speaker.context());
        for hello in [sender_hello, receiver_hello] {
            deriver.update(&(hello.len() as u64).to_le_bytes());
            deriver.update(hello);
        }
        self.key = deriver.finalize().into();
    }

    /// Writes header and control check of a frame whose control part already stands in `head`.
    ///
    /// `head` is [`HEADER`] bytes of anything, the control part, and [`CHECK`] bytes of anything if the
    /// control part is not empty. `None`, and no number used, if it is too short or too long for that.
    #[must_use]
    pub(crate) fn close(&mut self, kind: u8, head: &mut [u8], payload: usize) -> Option<()> {
        let payload = u32::try_from(payload).ok()?;
        let (header, rest) = head.split_first_chunk_mut::<HEADER>()?;
        let (control, check) = match rest.len() {
            0 => (&mut [][..], &mut [][..]),
            len => rest.split_at_mut_checked(len.checked_sub(CHECK)?)?,
        };
        let control_len = u32::try_from(control.len()).ok().filter(|len| *len < 1 << 24)?;
        let fields = fields(kind, control_len, payload);
        let (first, second) = header.split_at_mut_checked(fields.len())?;
        first.copy_from_slice(&fields);
        second.copy_from_slice(&self.check(fields, &[]));
        if !control.is_empty() {
            check.copy_from_slice(&self.check(fields, control));
        }
        self.number = self.number.wrapping_add(1);
        Some(())
    }

    /// Takes the frame apart that `input` begins with. `admit` checks its announced lengths before any of its
    /// other bytes are waited for. The number is used once the frame is [`accept`](Seal::accept)ed.
    pub(crate) fn open<'a>(
        &self,
        input: &'a [u8],
        admit: impl FnOnce(Header) -> Result<(), ProtocolError>,
    ) -> Result<Parsed<'a>, Error> {
        let Some((raw, rest)) = input.split_first_chunk::<HEADER>() else {
            return Ok(Parsed::Incomplete { needed: HEADER });
        };
        let &[kind, c0, c1, c2, p0, p1, p2, p3, ref check @ ..] = raw;
        let control = u32::from_le_bytes([c0, c1, c2, 0]);
        let payload = u32::from_le_bytes([p0, p1, p2, p3]);
        let fields = fields(kind, control, payload);
        if self.check(fields, &[]) != *check {
            return Err(Damage::Header { number: self.number }.into());
        }
        let header = Header { kind, control, payload };
        admit(header)?;
        let needed = header.frame_len();
        if input.len() < needed {
            return Ok(Parsed::Incomplete { needed });
        }
        let (control, rest) = rest.split_at_checked(header.control_len()).unwrap_or_default();
        let rest = if control.is_empty() {
            rest
        } else {
            let (check, rest) = rest.split_at_checked(CHECK).unwrap_or_default();
            if self.check(fields, control) != *check {
                return Err(Damage::Control { number: self.number }.into());
            }
            rest
        };
        let payload = rest.get(..header.payload_len()).unwrap_or_default();
        Ok(Parsed::Frame(Frame { header, control, payload, len: needed }))
    }

    /// Counts the frame that [`open`](Seal::open) gave as read.
    pub(crate) fn accept(&mut self) {
        self.number = self.number.wrapping_add(1);
    }

    fn check(&self, fields: [u8; 8], control: &[u8]) -> [u8; CHECK] {
        #[cfg(test)]
        CHECKED.with(|checked| checked.set(checked.get() + 16 + control.len() as u64));
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&self.number.to_le_bytes());
        hasher.update(&fields);
        hasher.update(control);
        let mut check = [0; CHECK];
        hasher.finalize_xof().fill(&mut check);
        check
    }
}

impl Header {
    /// Returns the length of the whole frame. It cannot overflow where `usize` has 64 bits; elsewhere,
    /// frames that were admitted are far shorter.
    pub(crate) fn frame_len(self) -> usize {
        let check = if self.control == 0 { 0 } else { CHECK };
        HEADER
            .saturating_add(self.control_len())
            .saturating_add(check)
            .saturating_add(self.payload_len())
    }

    pub(crate) fn control_len(self) -> usize {
        usize::try_from(self.control).unwrap_or(usize::MAX)
    }

    pub(crate) fn payload_len(self) -> usize {
        usize::try_from(self.payload).unwrap_or(usize::MAX)
    }
}

impl Speaker {
    /// Contexts of BLAKE3's key derivation: fixed text, never used for anything else (W-5).
    const fn context(self) -> &'static str {
        match self {
            Self::Sender => "haul wire 1: frames of the sender",
            Self::Receiver => "haul wire 1: frames of the receiver",
        }
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
thread_local! {
    /// Bytes that this thread has run through checks: what parsing costs beside the bytes themselves.
    pub(crate) static CHECKED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Returns the fields of a header before its check.
const fn fields(kind: u8, control: u32, payload: u32) -> [u8; 8] {
    let [c0, c1, c2, _] = control.to_le_bytes();
    let [p0, p1, p2, p3] = payload.to_le_bytes();
    [kind, c0, c1, c2, p0, p1, p2, p3]
}

/// Returns whether `input` begins with the preface; `Ok(false)` if it is too short to tell (W-1).
pub(crate) fn preface(input: &[u8]) -> Result<bool, Incompatible> {
    let mut first = [0; PREFACE.len()];
    let mut matches = true;
    for ((slot, byte), expected) in first.iter_mut().zip(input).zip(PREFACE) {
        *slot = *byte;
        matches &= *byte == expected;
    }
    if !matches {
        return Err(Incompatible::NotHaul { first });
    }
    Ok(input.len() >= PREFACE.len())
}

/// Returns whether a kind that is not known here may be skipped (W-8).
pub(crate) const fn is_optional(kind: u8) -> bool {
    kind & 0x80 != 0
}

/// The most bytes that a message of an unknown optional kind may have in control and payload each (W-8).
pub(crate) const OPTIONAL_MAX: u32 = 4096;

/// Checks the announced lengths of a frame (W-7).
pub(crate) fn admit(header: Header, block: u64) -> Result<(), ProtocolError> {
    let Some(name) = Name::from_kind(header.kind) else {
        if !is_optional(header.kind) {
            return Err(ProtocolError::UnknownKind { kind: header.kind });
        }
        if header.control > OPTIONAL_MAX || header.payload > OPTIONAL_MAX {
            return Err(ProtocolError::UnknownKind { kind: header.kind });
        }
        return Ok(());
    };
    let (control, payload) = name.lengths(block);
    if control.contains(&header.control) && payload.contains(&u64::from(header.payload)) {
        return Ok(());
    }
    Err(ProtocolError::BadLength { kind: name, control: header.control, payload: header.payload })
}
