//! Remains of a receiving session that lost its connection, for the next one to take up.

use super::admit::Greeting;
use super::files::Files;
use crate::proto::Receiver;
use crate::store::Store;
use crate::types::{PublicKey, Summary, TransferId};

/// Remains of a session that lost its connection: the machine, and the files that are open.
pub(super) struct Suspended<S: Store> {
    pub(super) receiver: Receiver,
    pub(super) files: Files<S::File>,
    /// The key of its sender.
    pub(super) key: Option<PublicKey>,
}

/// The store of a session that is no more, whose commits are under way.
pub(super) struct Ending<S: Store> {
    pub(super) store: S,
    pub(super) files: Files<S::File>,
}

impl<S: Store> Suspended<S> {
    #[cfg(test)]
    pub(super) const fn new(receiver: Receiver, files: Files<S::File>) -> Self {
        Self { receiver, files, key: None }
    }

    /// Returns the number of the attempt that left it, if that was one at this transfer.
    pub(super) fn attempt_at(&self, transfer: TransferId) -> Option<u32> {
        let (served, attempt) = self.receiver.transfer()?;
        (served == transfer).then_some(attempt)
    }

    /// Returns whether it is of the same transfer, but came with another key.
    pub(super) fn is_of_another(&self, greeting: &Greeting) -> bool {
        let earlier = self.receiver.transfer();
        self.key != greeting.key()
            && earlier.is_some_and(|(served, _)| served == greeting.transfer())
    }

    /// Returns the sum, if nothing that was offered is left to be done.
    pub(super) fn settled(&self) -> Option<Summary> {
        self.receiver.is_settled().then(|| self.receiver.summary())
    }

    /// Keeps what is open for a later attempt, of whatever transfer. Commits that are under way end by themselves: by
    /// their tickets, whatever the store serves next knows them for those of another session.
    pub(super) fn let_go(mut self, store: &mut S) {
        self.files.suspend(store);
    }

    /// Keeps what is open for a later attempt, of whatever transfer. Gives what has commits under way.
    pub(super) fn suspend(self, mut store: S) -> Option<Ending<S>> {
        let Self { mut files, .. } = self;
        files.suspend(&mut store);
        let mut ending = Ending { store, files };
        (!ending.is_over()).then_some(ending)
    }
}

impl<S: Store> Ending<S> {
    /// Returns whether all commits have ended by now.
    pub(super) fn is_over(&mut self) -> bool {
        self.files.take_back(&mut self.store) == 0
    }
}
