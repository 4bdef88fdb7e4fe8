//! What is between both sides: bytes that can be cut, flipped and slowed.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// One direction of a stream.
#[derive(Debug, Clone, Default)]
pub struct Line {
    pub(super) bytes: Vec<u8>,
    /// What was consumed of `bytes`.
    start: usize,
    /// How many bytes were ever written.
    written: u64,
    /// How many bytes the reader may see.
    shown: usize,
    piece: Option<NonZeroUsize>,
    flips: BTreeMap<u64, u8>,
    cut: Option<u64>,
    pub(super) stalls: bool,
    pub(super) ended: bool,
    record: Option<Vec<u8>>,
}

impl Line {
    /// Lets no byte through from this position of the session on; the stream then ends in both directions.
    pub const fn cut(&mut self, position: u64) {
        (self.cut, self.stalls) = (Some(position), false);
    }

    /// Lets no byte through from this position on, and says nothing: a black hole.
    pub const fn stall(&mut self, position: u64) {
        (self.cut, self.stalls) = (Some(position), true);
    }

    /// Flips these bits of the byte at this position.
    pub fn flip(&mut self, position: u64, bits: u8) {
        self.flips.insert(position, bits);
    }

    /// Delivers at most so many bytes at a time.
    pub const fn piece(&mut self, bytes: NonZeroUsize) {
        self.piece = Some(bytes);
    }

    /// Keeps a copy of what is written from now on, for [`record`](Line::record).
    pub fn keep_record(&mut self) {
        self.record.get_or_insert_default();
    }

    /// What was written since [`keep_record`](Line::keep_record), before anything was done to it.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        self.record.as_deref().unwrap_or_default()
    }

    /// How many bytes were ever written to it.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn visible(&self) -> &[u8] {
        self.bytes.get(self.start..self.shown).unwrap_or_default()
    }

    /// Does to the bytes from `before` on what is to be done to them; `false` if there are none.
    pub(super) fn wrote(&mut self, before: usize) -> bool {
        let first = self.written;
        if let Some(record) = &mut self.record {
            record.extend_from_slice(&self.bytes[before..]);
        }
        self.written = first.saturating_add((self.bytes.len() - before) as u64);
        for (position, bits) in self.flips.range(first..self.written) {
            let at = usize::try_from(position - first).unwrap_or(usize::MAX).saturating_add(before);
            if let Some(byte) = self.bytes.get_mut(at) {
                *byte ^= bits;
            }
        }
        if let Some(cut) = self.cut.filter(|cut| *cut < self.written) {
            let through = usize::try_from(cut.saturating_sub(first)).unwrap_or(usize::MAX);
            self.bytes.truncate(before.saturating_add(through));
        }
        if self.piece.is_none() {
            self.shown = self.bytes.len();
        }
        self.written > first
    }

    /// Delivers the next piece; `false` if there is none.
    pub(super) fn reveal(&mut self) -> bool {
        let piece = self.piece.map_or(usize::MAX, NonZeroUsize::get);
        let shown = self.shown.saturating_add(piece).min(self.bytes.len());
        shown > std::mem::replace(&mut self.shown, shown)
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.shown);
        // What is consumed is dropped once it is most of it, so that each byte is moved once at most.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.shown -= self.start;
            self.start = 0;
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_some_and(|cut| cut <= self.written)
    }
}
