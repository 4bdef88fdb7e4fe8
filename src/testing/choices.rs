//! Turns the bytes of a fuzzer into decisions.

/// Decisions, taken from the front of some bytes. At their end, each decision is the first one.
#[derive(Debug, Clone)]
pub(crate) struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// Returns a number below `limit`, or 0.
    pub(crate) fn below(&mut self, limit: u8) -> u8 {
        self.byte().checked_rem(limit).unwrap_or(0)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Returns `true` in one of 16 cases.
    pub(crate) fn rarely(&mut self) -> bool {
        self.byte() >= 0xF0
    }

    pub(crate) fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Returns any number, the small ones and those around powers of two more often.
    pub(crate) fn number(&mut self) -> u64 {
        let (value, shift) = (self.byte(), self.byte());
        let number = u64::from(value).rotate_left(u32::from(shift) & 63);
        if shift & 64 == 0 { number } else { number.wrapping_sub(1) }
    }

    /// Returns the next `len` bytes, or what is left.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
