//! Requests to the caller, and those of them that are not answered.

use std::collections::VecDeque;

use super::action::SendAction;
use crate::proto::error::Misuse;
use crate::types::{Event, ReadRequest};

/// The requests of a session.
///
/// Invariant: at most one that needs an answer is outstanding; it is repeated until the answer comes.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Actions that are handed out before anything else. None of them is answered.
    queued: VecDeque<SendAction>,
    outstanding: Option<Asked>,
}

/// A request that needs an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    NextEntry,
    Read(ReadRequest),
}

impl Requests {
    /// Queues a request that needs no answer.
    pub(super) fn push(&mut self, action: SendAction) {
        self.queued.push_back(action);
    }

    /// Queues news for the application.
    pub(super) fn tell(&mut self, event: Event) {
        self.push(SendAction::Event(event));
    }

    /// Takes the next request that needs no answer.
    pub(super) fn pop(&mut self) -> Option<SendAction> {
        self.queued.pop_front()
    }

    /// Asks for something that is answered.
    pub(super) fn ask(&mut self, asked: Asked) -> SendAction {
        self.outstanding = Some(asked);
        asked.into()
    }

    /// Takes the request that is not answered: its answer has come.
    pub(super) fn answer(&mut self, fits: impl FnOnce(&Asked) -> bool) -> Result<Asked, Misuse> {
        self.outstanding.take_if(|asked| fits(asked)).ok_or(Misuse::NotAsked)
    }

    /// Forgets what is not answered: on a new connection, it is asked for again.
    pub(super) const fn reconnect(&mut self) {
        self.outstanding = None;
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Returns the request that is not answered, once more.
    pub(super) fn outstanding(&self) -> Option<SendAction> {
        self.outstanding.map(SendAction::from)
    }
}

impl From<Asked> for SendAction {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::NextEntry => Self::NextEntry,
            Asked::Read(request) => Self::Read(request),
        }
    }
}
