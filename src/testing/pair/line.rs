//! Line between both sides: bytes that can be cut, flipped and slowed.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// One direction of a stream.
#[derive(Debug, Clone, Default)]
pub struct Line {
    pub(super) bytes: Vec<u8>,
    /// Number of consumed bytes of `bytes`.
    start: usize,
    /// Number of bytes that were ever written.
    written: u64,
    /// Number of bytes that the reader may see.
    shown: usize,
    piece: Option<NonZeroUsize>,
    flips: BTreeMap<u64, u8>,
    cut: Option<u64>,
    pub(super) stalls: bool,
    pub(super) ended: bool,
    record: Option<Vec<u8>>,
    pace: Option<Pace>,
    /// Bytes that are gone from the front of `bytes`.
    dropped: u64,
}

/// A buffer that takes what fits, and is emptied at a rate.
#[derive(Debug, Clone)]
struct Pace {
    rate: u64,
    buffer: u64,
    /// Nothing is let through from here on, and the buffer fills up.
    jam: Option<u64>,
    /// Bytes, all told, that the buffer took and that are through.
    taken: u64,
    through: u64,
    since: Duration,
}

impl Line {
    /// Lets no byte through from this position of the session on; the stream then ends in both directions.
    pub const fn cut(&mut self, position: u64) {
        (self.cut, self.stalls) = (Some(position), false);
    }

    /// Lets no byte through from this position on, without a notice: a black hole.
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

    /// Carries so many bytes a second, behind a buffer of this size: what does not fit in that is not taken.
    pub fn slow(&mut self, bytes_per_second: NonZeroU32, buffer: u32, now: Duration) {
        self.pace = Some(Pace {
            rate: bytes_per_second.get().into(),
            buffer: buffer.into(),
            jam: None,
            taken: self.written,
            through: self.written,
            since: now,
        });
    }

    /// Stops its reader at this position, if it is [slow](Line::slow): the buffer fills up, and then takes nothing
    /// more.
    pub const fn jam(&mut self, position: u64) {
        if let Some(pace) = &mut self.pace {
            pace.jam = Some(position);
        }
    }

    /// Keeps a copy of what is written from now on, for [`record`](Line::record).
    pub fn keep_record(&mut self) {
        self.record.get_or_insert_default();
    }

    /// Returns the bytes written since [`keep_record`](Line::keep_record), before anything was done
    /// to them.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        self.record.as_deref().unwrap_or_default()
    }

    /// Returns the number of bytes that were ever written to it.
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
        if self.piece.is_none() && self.pace.is_none() {
            self.shown = self.bytes.len();
        }
        self.written > first
    }

    /// Lets through what came through by now; gives how many bytes the buffer took of those that were written, and how
    /// many it has not taken.
    pub(super) fn pass(&mut self, now: Duration) -> Option<(u64, u64)> {
        let all = self.dropped.saturating_add(self.bytes.len() as u64);
        // What is lost in a black hole is taken.
        let written = self.written;
        let pace = self.pace.as_mut()?;
        let end = all.min(pace.jam.unwrap_or(u64::MAX)).max(pace.through);
        let millis = u64::try_from(now.saturating_sub(pace.since).as_millis()).unwrap_or(u64::MAX);
        let moved = pace.rate.saturating_mul(millis) / 1000;
        if pace.through.saturating_add(moved) >= end {
            (pace.through, pace.since) = (end, now);
        } else if moved > 0 {
            (pace.through, pace.since) = (pace.through + moved, now);
        }
        let room = pace.through.saturating_add(pace.buffer);
        let taken = if end == all && pace.through == all { written } else { room.min(written) };
        let taken = taken.max(pace.taken);
        let took = taken - std::mem::replace(&mut pace.taken, taken);
        let shown = usize::try_from(pace.through.saturating_sub(self.dropped));
        self.shown = shown.unwrap_or(usize::MAX).min(self.bytes.len()).max(self.shown);
        Some((took, written - taken))
    }

    /// Returns the time at which more will be through, if bytes are on their way.
    pub(super) fn next(&self) -> Option<Duration> {
        let pace = self.pace.as_ref()?;
        let all = self.dropped.saturating_add(self.bytes.len() as u64);
        let end = all.min(pace.jam.unwrap_or(u64::MAX));
        let left = end.saturating_sub(pace.through);
        // A quarter of a second is fine enough, and a byte may take longer.
        let step = left.min((pace.rate / 4).max(1));
        let millis = step.saturating_mul(1000).div_ceil(pace.rate).max(1);
        (left > 0).then(|| pace.since.saturating_add(Duration::from_millis(millis)))
    }

    /// Returns whether its buffer has not taken all that was written.
    pub(super) fn is_blocked(&self) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.taken < self.written)
    }

    /// Returns whether its writer has ended, and nothing of what it wrote is on its way.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.next().is_none()
    }

    /// Delivers the next piece; `false` if there is none.
    pub(super) fn reveal(&mut self) -> bool {
        if self.pace.is_some() {
            return false;
        }
        let piece = self.piece.map_or(usize::MAX, NonZeroUsize::get);
        let shown = self.shown.saturating_add(piece).min(self.bytes.len());
        shown > std::mem::replace(&mut self.shown, shown)
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.shown);
        // What is consumed is dropped once it is most of it, so that each byte is moved once at most.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.dropped = self.dropped.saturating_add(self.start as u64);
            self.shown -= self.start;
            self.start = 0;
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_some_and(|cut| cut <= self.written)
    }
}
