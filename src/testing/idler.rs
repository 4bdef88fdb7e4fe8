//! A sender that wants nothing but a place: it greets, and passes the floor again and again, without an offer.
//!
//! Every byte of it is as it should be, so that nothing but what a server bears can end it. It moves no bytes itself:
//! who has the stream does, so that one thread can play many.
//!
//! ```
//! use haul::testing::idler::Idler;
//! use haul::TransferId;
//!
//! let mut idler = Idler::new(TransferId::new([7; 16]));
//! assert!(!idler.greeting().is_empty());
//! // Nobody has answered yet.
//! assert_eq!(idler.pass(), None);
//! ```

use super::choices::Choices;
use super::forge::Forger;
use crate::types::TransferId;

/// A sender that offers nothing, and does not go.
#[derive(Debug)]
pub struct Idler {
    forger: Forger<'static>,
    /// Bytes of the receiver, until it has greeted.
    heard: Vec<u8>,
    has_met: bool,
}

impl Idler {
    /// Returns a sender with a transfer of its own.
    #[must_use]
    pub fn new(transfer: TransferId) -> Self {
        Self { forger: Forger::sender(&[]).of(transfer), heard: Vec::new(), has_met: false }
    }

    /// Returns its first turn: preface, greeting, and the floor.
    #[must_use]
    pub fn greeting(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.forger.greet(&mut Choices::new(&[]), &mut out);
        self.forger.pass(&mut out);
        out
    }

    /// Takes bytes of the receiver. Nothing is looked at but its greeting.
    pub fn receive(&mut self, bytes: &[u8]) {
        if !self.has_met {
            self.heard.extend_from_slice(bytes);
            self.has_met = self.forger.bind(&self.heard);
        }
    }

    /// Returns whether the receiver has greeted.
    #[must_use]
    pub const fn has_met(&self) -> bool {
        self.has_met
    }

    /// Returns an empty turn; `None` until the receiver has greeted.
    #[must_use]
    pub fn pass(&mut self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        self.has_met.then(|| {
            self.forger.pass(&mut out);
            out
        })
    }
}
