//! One direction of a stream between two machines, which can be cut, changed, and read in pieces.

use std::collections::{BTreeMap, VecDeque};

/// One direction, with what was done to it.
#[derive(Clone, Default)]
pub(super) struct Channel {
    pub(super) bytes: Vec<u8>,
    /// All that was ever written.
    pub(super) record: Vec<u8>,
    /// Bytes at these positions of the record are changed by these bits.
    pub(super) flips: BTreeMap<usize, u8>,
    /// Nothing is let through from here on.
    pub(super) cut: Option<usize>,
    pub(super) edit: Option<Edit>,
    swapped: Option<u8>,
    /// Bytes are delivered up to each of these places in turn, then as they come.
    pub(super) stops: VecDeque<usize>,
    taken: usize,
    /// At most so many bytes are delivered at a time.
    pub(super) piece: Option<usize>,
    delivered: usize,
    /// Total number of bytes that are through, where it takes them time.
    pub(super) arrived: Option<usize>,
}

/// Change of one byte of a channel beside a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    Delete(usize),
    Double(usize),
    Insert(usize, u8),
    /// The byte changes places with the next one.
    Swap(usize),
}

impl Channel {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.edit.is_none() {
            let start = self.record.len();
            let kept =
                self.cut.map_or(bytes.len(), |cut| cut.saturating_sub(start).min(bytes.len()));
            let first = self.bytes.len();
            self.record.extend_from_slice(bytes);
            self.bytes.extend_from_slice(&bytes[..kept]);
            for (at, flip) in self.flips.range(start..start + kept) {
                self.bytes[first + at - start] ^= flip;
            }
            return;
        }
        for &byte in bytes {
            let at = self.record.len();
            self.record.push(byte);
            match self.edit {
                Some(Edit::Delete(place)) if place == at => {}
                Some(Edit::Swap(place)) if place == at => self.swapped = Some(byte),
                Some(Edit::Double(place)) if place == at => self.bytes.extend([byte, byte]),
                Some(Edit::Insert(place, more)) if place == at => self.bytes.extend([more, byte]),
                _ => {
                    self.bytes.push(byte);
                    self.bytes.extend(self.swapped.take());
                }
            }
        }
    }

    /// Returns the total number of bytes that are delivered, of those under way.
    pub(super) fn available(&mut self) -> usize {
        let all = self.bytes.len();
        if let Some(arrived) = self.arrived {
            self.delivered = arrived.saturating_sub(self.taken).min(all);
            return self.delivered;
        }
        if let Some(&stop) = self.stops.front() {
            let held = stop.saturating_sub(self.taken);
            if held <= all {
                self.stops.pop_front();
            }
            self.delivered = self.delivered.max(held.min(all));
            return self.delivered;
        }
        self.delivered = match self.piece {
            Some(piece) => (self.delivered + piece).min(all),
            None => all,
        };
        self.delivered
    }

    /// Takes this many bytes; returns whether anything happened.
    pub(super) fn consume(&mut self, bytes: usize) -> bool {
        self.bytes.drain(..bytes);
        self.taken += bytes;
        self.delivered -= bytes;
        bytes > 0 || (self.arrived.is_none() && self.delivered < self.bytes.len())
    }
}
