//! The frames of a line: how they are found in any stream of bytes, and checked.
//!
//! A frame stands between two zeros. What is between them is stuffed (COBS, Cheshire and Baker 1999), so that it holds
//! no zero itself: whatever is lost, added or changed costs the frames that it hits, and the next zero begins anew.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | [`Kind`] |
//! | 4 | number of the connection, little endian |
//! | 4 | offset of the first byte of the content in the connection, modulo 2^32; of an answer, the offset that it waits for |
//! | 1 | number of the poll, 0 if no answer is asked for; of an answer, the poll that it answers |
//! | 0 to [`CONTENT`] | content, of [`Kind::Data`]; of [`Kind::Fin`] the 4 bytes of an answer |
//! | 4 | check: the first bytes of the keyed BLAKE3 hash of all before |

/// Purpose of a frame. Its number on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Asks for a new connection.
    Syn = 1,
    /// Grants it.
    SynAck = 2,
    /// Carries content, or none: then it only asks for an answer.
    Data = 3,
    /// Answers a poll.
    Ack = 4,
    /// Ends the content, and answers for the last time.
    Fin = 5,
    /// Notice that there is no such connection.
    Rst = 6,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) connection: u32,
    pub(super) offset: u32,
    pub(super) poll: u8,
    pub(super) content: &'a [u8],
}

/// The most content of a frame, in bytes: at 9600 baud half a second of it, at the cost of 3 % for the rest of the
/// frame.
pub(super) const CONTENT: usize = 512;

const HEAD: usize = 10;
const CHECK: usize = 4;

/// The longest frame, stuffed: one byte for each 254, or part of them.
const STUFFED: usize = HEAD + CONTENT + CHECK + 3;

/// A frame without content on the line: with two zeros around it, and one byte of stuffing.
pub(super) const EMPTY_FRAME: usize = HEAD + CHECK + 3;

/// Key with which all frames of this version are hashed: those of another are noise.
const KEY: &[u8; 32] = b"haul: frames of lines, version 1";

impl<'a> Frame<'a> {
    /// Returns a frame without content.
    pub(super) const fn new(kind: Kind, connection: u32, offset: u32, poll: u8) -> Self {
        Self { kind, connection, offset, poll, content: &[] }
    }

    /// Appends the frame as it goes on the line. `plain` is a buffer.
    pub(super) fn encode(&self, plain: &mut Vec<u8>, line: &mut Vec<u8>) {
        plain.clear();
        plain.push(self.kind as u8);
        plain.extend_from_slice(&self.connection.to_le_bytes());
        plain.extend_from_slice(&self.offset.to_le_bytes());
        plain.push(self.poll);
        plain.extend_from_slice(self.content);
        let check = check(plain);
        plain.extend_from_slice(&check);
        line.push(0);
        stuff(plain, line);
        line.push(0);
    }

    /// Returns a frame that was found, if it is one.
    fn parse(plain: &'a [u8]) -> Option<Self> {
        let (body, expected) = plain.split_last_chunk::<CHECK>()?;
        if check(body) != *expected {
            return None;
        }
        let (&kind, rest) = body.split_first()?;
        let (connection, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (&poll, content) = rest.split_first()?;
        let kind = match kind {
            1 => Kind::Syn,
            2 => Kind::SynAck,
            3 => Kind::Data,
            4 => Kind::Ack,
            5 => Kind::Fin,
            6 => Kind::Rst,
            _ => return None,
        };
        let is_fitting = match kind {
            Kind::Data => content.len() <= CONTENT,
            Kind::Fin => content.len() == 4,
            Kind::Syn | Kind::SynAck | Kind::Ack | Kind::Rst => content.is_empty(),
        };
        if !is_fitting {
            return None;
        }
        let connection = u32::from_le_bytes(*connection);
        Some(Self { kind, connection, offset: u32::from_le_bytes(*offset), poll, content })
    }
}

fn check(body: &[u8]) -> [u8; CHECK] {
    let hash = blake3::keyed_hash(KEY, body);
    let [a, b, c, d, ..] = *hash.as_bytes();
    [a, b, c, d]
}

/// Appends bytes with every zero replaced by the distance to the next one.
fn stuff(plain: &[u8], line: &mut Vec<u8>) {
    for run in plain.split(|byte| *byte == 0) {
        let mut pieces = run.chunks_exact(LONGEST_RUN);
        for piece in &mut pieces {
            line.push(u8::MAX);
            line.extend_from_slice(piece);
        }
        let rest = pieces.remainder();
        // A remainder is shorter than the longest run.
        line.push(u8::try_from(rest.len()).unwrap_or(0).saturating_add(1));
        line.extend_from_slice(rest);
    }
}

/// Undoes [`stuff`].
fn unstuff(mut stuffed: &[u8], plain: &mut Vec<u8>) -> Option<()> {
    plain.clear();
    loop {
        let (&distance, rest) = stuffed.split_first()?;
        let (run, rest) = rest.split_at_checked(usize::from(distance).checked_sub(1)?)?;
        plain.extend_from_slice(run);
        match (rest.is_empty(), distance == u8::MAX) {
            (true, is_full) => return (!is_full).then_some(()),
            (false, false) => plain.push(0),
            (false, true) => {}
        }
        stuffed = rest;
    }
}

const LONGEST_RUN: usize = 254;

/// Decoder that finds frames in any stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// Bytes that came since the last zero. Invariant: at most [`STUFFED`] bytes.
    stuffed: Vec<u8>,
    /// Set if more came since then than any frame has.
    is_overlong: bool,
    plain: Vec<u8>,
}

impl Decoder {
    /// Takes bytes up to the end of the next frame, and returns how many.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> (usize, Option<Frame<'_>>) {
        let end = bytes.iter().position(|byte| *byte == 0);
        let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if piece.len() > STUFFED.saturating_sub(self.stuffed.len()) {
            self.is_overlong = true;
        } else {
            self.stuffed.extend_from_slice(piece);
        }
        let Some(end) = end else { return (bytes.len(), None) };
        let is_whole = !std::mem::take(&mut self.is_overlong);
        let found = unstuff(&self.stuffed, &mut self.plain);
        self.stuffed.clear();
        let frame = found.filter(|()| is_whole).and_then(|()| Frame::parse(&self.plain));
        (end + 1, frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(frame: &Frame<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        frame.encode(&mut Vec::new(), &mut line);
        line
    }

    /// Returns every frame that a decoder finds, as it would go on the line.
    fn found(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut decoder, mut all) = (Decoder::default(), Vec::new());
        while !bytes.is_empty() {
            let (used, frame) = decoder.feed(bytes);
            all.extend(frame.as_ref().map(encoded));
            bytes = &bytes[used..];
            assert!(decoder.stuffed.capacity() <= 2 * STUFFED);
        }
        all
    }

    fn content(length: usize, seed: u8) -> Vec<u8> {
        (0..length)
            .map(|at| at.wrapping_mul(37).to_le_bytes()[0].wrapping_add(seed) & seed)
            .collect()
    }

    #[test]
    fn frames_of_every_length_come_back_and_hold_no_zero() {
        for length in 0..=CONTENT {
            for seed in [0, 1, 0x7f, 0xff] {
                let content = content(length, seed);
                let mut frame = Frame::new(Kind::Data, 7, 0x0100_0000, 255);
                frame.content = &content;
                let line = encoded(&frame);
                let (first, last) = (line.first(), line.last());
                assert_eq!((first, last), (Some(&0), Some(&0)));
                assert!(!line[1..line.len() - 1].contains(&0));
                assert!(line.len() <= STUFFED + 2, "{length}: {}", line.len());
                assert_eq!(found(&line), std::slice::from_ref(&line));
            }
        }
    }

    #[test]
    fn frame_after_any_damage_is_found_and_the_damaged_one_is_not() {
        let bytes = content(20, 0xff);
        let mut frame = Frame::new(Kind::Data, 0x00ff_0011, 3, 0);
        frame.content = &bytes;
        let damaged = encoded(&frame);
        let next = encoded(&Frame::new(Kind::Ack, 9, 9, 9));
        for at in 0..damaged.len() {
            let mut cases: Vec<Vec<u8>> = (0..8)
                .map(|bit| {
                    let mut flipped = damaged.clone();
                    flipped[at] ^= 1 << bit;
                    flipped
                })
                .collect();
            let (before, after) = damaged.split_at(at);
            cases.push([before, &after[1..]].concat());
            cases.push([before, &after[..1], after].concat());
            cases.push([before, b"\0", after].concat());
            cases.push([before, b"\x01", after].concat());
            cases.push(before.to_vec());
            for case in cases {
                let all = found(&[&case[..], &next].concat());
                assert_eq!(all.last(), Some(&next), "byte {at}");
                let is_at_edge = at == 0 || at + 1 >= damaged.len();
                // Of a frame that lost nothing but a zero that another one stands beside, nothing is missing.
                let others = &all[..all.len() - 1];
                assert!(others.iter().all(|other| *other == damaged), "byte {at}");
                let has_zero = case.get(at) == Some(&0) || is_at_edge;
                assert!(has_zero || others.is_empty(), "byte {at}: {case:?}");
            }
        }
    }

    #[test]
    fn noise_of_any_length_costs_nothing_after_it() {
        let frame = encoded(&Frame::new(Kind::Syn, 1, 0, 0));
        for length in [0, 1, STUFFED - 1, STUFFED, STUFFED + 1, 100_000] {
            for byte in [1, 0xff] {
                let noise = vec![byte; length];
                let all = found(&[&noise[..], &frame].concat());
                assert_eq!(all, std::slice::from_ref(&frame), "{length}");
            }
        }
    }

    #[test]
    fn contents_and_kinds_that_no_frame_has_are_refused() {
        let sealed = |body: &[u8]| {
            let mut line = vec![0];
            stuff(&[body, &check(body)].concat(), &mut line);
            line.push(0);
            found(&line).len()
        };
        assert_eq!(sealed(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1);
        assert_eq!(sealed(&[3, 0, 0, 0, 0, 0, 0, 0, 0]), 0);
        assert_eq!(sealed(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0);
        assert_eq!(sealed(&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0);
        assert_eq!(sealed(&[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), 0);
        assert_eq!(sealed(&[5, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 0);
        assert_eq!(sealed(&[5; HEAD + 4]), 1);
        assert_eq!(sealed(&[3; HEAD + CONTENT]), 1);
        assert_eq!(sealed(&[3; HEAD + CONTENT + 1]), 0);
    }
}
