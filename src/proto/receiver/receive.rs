//! Messages of the input, taken one by one, with what each asks of the store, one thing at a time.

use std::time::Duration;

use super::requests::{Content, Reading, Task};
use super::{Consumed, ReceiveAction, Receiver, State, Step, Which};
use crate::hash::{Hash, Hashed};
use crate::proto::connection::Received;
use crate::proto::error::{Error, Misuse, ProtocolError};
use crate::proto::wire::message::{Message, Name};

impl Receiver {
    /// Goes on with the current message, or with the next one.
    pub(super) fn receive<'a>(
        &mut self,
        now: Duration,
        input: &'a [u8],
    ) -> Result<Step<'a>, Error> {
        if self.requests.current().is_some() {
            return self.work(now, input, false);
        }
        let consumed = |len| Ok(Step::Consumed(Consumed { bytes: len, needed: 0 }));
        match self.connection.receive(now, input)? {
            Received::Incomplete { needed } => Ok(Step::Consumed(Consumed { bytes: 0, needed })),
            Received::Skip { len } => {
                self.connection.take(now, len, None);
                consumed(len)
            }
            Received::Broken { error, .. } if self.state == Ok(State::AwaitHello) => {
                Err(error.into())
            }
            Received::Broken { error, len } => {
                self.connection.take(now, len, None);
                self.closing.get_or_insert((error.into(), now));
                consumed(len)
            }
            Received::Message { message, len, .. } if steers(message.name()) => {
                self.outbox.acknowledge();
                self.connection.take(now, len, Some(message.name()));
                self.control(now, message)?;
                consumed(len)
            }
            Received::Message { message, payload, len } => {
                self.outbox.acknowledge();
                self.requests.receive(now, &message, input, len, payload.len());
                self.draw_up(now, message, payload)?;
                self.work(now, input, true)
            }
        }
    }

    /// Draws up what is to be done about a message.
    fn draw_up(
        &mut self,
        now: Duration,
        message: Message,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let kind = message.name();
        if self.state == Ok(State::AwaitHello) {
            return Err(ProtocolError::Unexpected { kind });
        }
        if !self.turn.has_greeted() && kind != Name::Heartbeat {
            // The sender's first turn is its greeting.
            self.closing.get_or_insert((ProtocolError::Unexpected { kind }.into(), now));
        }
        if self.closing.is_none()
            && let Err(error) = self.dispatch(message, payload)
        {
            self.requests.clear_tasks();
            self.closing = Some((error.into(), now));
        }
        Ok(())
    }

    /// Hands out the next task of the current message, or consumes it. `is_checked`: it was with these very bytes that the
    /// message was checked.
    fn work<'a>(
        &mut self,
        now: Duration,
        input: &'a [u8],
        is_checked: bool,
    ) -> Result<Step<'a>, Error> {
        let payload = self.requests.current().and_then(|current| current.payload(input));
        let payload = payload.ok_or(Misuse::OtherInput)?;
        while let Some(task) = self.requests.next_task() {
            // Whoever gives the input again may have changed it.
            if !is_checked && !self.is_content(&task, payload) {
                self.requests.add_first(task);
                return Err(Misuse::OtherInput.into());
            }
            if let Some(step) = self.step(task, payload) {
                return Ok(step);
            }
        }
        let Some(current) = self.requests.finish() else { return Err(Misuse::AnswerDue.into()) };
        self.connection.take(now, current.len, Some(current.name));
        self.note_progress(now);
        Ok(Step::Consumed(Consumed { bytes: current.len, needed: 0 }))
    }

    /// Does a task, or asks the caller for it.
    fn step<'a>(&mut self, task: Task, payload: &'a [u8]) -> Option<Step<'a>> {
        match task {
            Task::Settle { entry } => self.commit_if_complete(entry),
            Task::Claim { entry, root } => self.claimed(entry, root),
            Task::Zeros { entry, blocks } if self.left_at(entry, &blocks).is_none() => {
                self.zeroed(entry, blocks);
            }
            Task::Write { entry, offset, .. } => {
                self.requests.ask(task);
                self.requests.give();
                return Some(Step::Write { entry, offset, bytes: payload });
            }
            Task::Begin { .. } | Task::Stat { .. } | Task::Read(_) | Task::Zeros { .. } => {
                self.requests.ask(task);
                return Some(Step::Poll);
            }
        }
        None
    }

    /// Asks for something, and returns it as an action.
    pub(super) fn ask(&mut self, task: Task) -> Option<ReceiveAction> {
        self.requests.ask(task);
        self.asked()
    }

    /// Returns what was asked for and is not answered, as an action. `None`: nothing was; or it is content to be written, which the
    /// caller has.
    pub(super) fn asked(&mut self) -> Option<ReceiveAction> {
        let action = match *self.requests.asked()? {
            Task::Begin { entry, place } => self.entries.get(entry).map(|incoming| {
                let offer = incoming.offer.clone();
                ReceiveAction::Begin { offer, place }
            }),
            Task::Stat { entry } => self.entries.get(entry).map(|incoming| {
                let offer = incoming.offer.clone();
                ReceiveAction::Stat { offer }
            }),
            Task::Read(Reading { entry, offset, len, what: Content::Replaced }) => {
                Some(ReceiveAction::Copy { entry, offset, len })
            }
            Task::Read(Reading { entry, offset, len, what }) => {
                let which = if what == Content::Conflict { Which::Existing } else { Which::Own };
                Some(ReceiveAction::Read { entry, which, offset, len })
            }
            Task::Zeros { entry, ref blocks } => self
                .left_at(entry, blocks)
                .map(|(offset, len)| ReceiveAction::WriteZeros { entry, offset, len }),
            Task::Write { .. } | Task::Settle { .. } | Task::Claim { .. } => return None,
        };
        match action {
            Some(_) => self.requests.give(),
            // What it was about is gone.
            None => self.requests.forget_asked(),
        }
        action
    }

    /// Returns whether a task is not to write these bytes, or they are the block that was checked, or all of the content of an
    /// offer that was.
    fn is_content(&self, task: &Task, bytes: &[u8]) -> bool {
        let Task::Write { entry, block, .. } = task else { return true };
        let Some(incoming) = self.entries.get(*entry) else { return false };
        let offer = &incoming.offer;
        let hash = |block: &Hashed| offer.block_size.hash(block.index, bytes);
        match block {
            Some(block) => hash(block).as_ref() == Some(block),
            None => offer.hash == Some(Hash::of(bytes)),
        }
    }
}

/// Returns whether a message changes what is received next, and asks nothing of the store.
const fn steers(name: Name) -> bool {
    matches!(name, Name::Hello | Name::Over | Name::Out | Name::Abort)
}
