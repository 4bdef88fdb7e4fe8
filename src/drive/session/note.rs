//! Notes of a session for its observer.

use crate::drive::observer::Observer;
use crate::store::Unsendable;
use crate::types::{Event, Progress, PublicKey};

/// Note for the observer, of what happened in a session.
#[derive(Debug)]
pub(in crate::drive) enum Note {
    /// Something happened.
    Event(Event),
    /// The transfer is so far.
    Progress(Progress),
    /// The peer has proved to have this key.
    Identified(PublicKey),
    /// An entry of the source cannot be sent.
    Unsendable(Unsendable),
}

impl Note {
    /// Passes it on.
    pub(in crate::drive) fn tell(self, observer: &mut impl Observer) {
        match self {
            Self::Event(event) => observer.event(&event),
            Self::Progress(progress) => observer.progress(&progress),
            Self::Identified(key) => observer.identified(key),
            Self::Unsendable(unsendable) => observer.unsendable(&unsendable),
        }
    }
}
