//! Meaning of each message to the receiver.

use std::time::Duration;

use super::{Receiver, State};
use crate::proto::error::{Error, ProtocolError};
use crate::proto::wire::message::{Hello, Message, Name};
use crate::types::Event;

impl Receiver {
    /// Messages that steer the session.
    pub(super) fn control(&mut self, now: Duration, message: Message) -> Result<(), Error> {
        let kind = message.name();
        let greeted = self.state != Ok(State::AwaitHello);
        if let Message::Abort { code } = message {
            return Err(Error::Aborted(code));
        }
        if let (Message::Hello(hello), false) = (&message, greeted) {
            self.meet(now, hello.clone());
            return Ok(());
        }
        // Before the greeting there is no common ground for more.
        let misplaced = Error::from(ProtocolError::Unexpected { kind });
        if !greeted {
            return Err(misplaced);
        }
        if let Message::Over { waiting } = message {
            // A source that has nothing at the moment is waited for as long as its user likes, if content is to come of it.
            if self.turn.begin(now, waiting) && self.entries.are_incomplete() {
                self.connection.timer().moved(now);
            }
            self.connection.gain_floor(now);
            // The greeting is no turn of the session, for neither side.
            if self.turn.has_greeted() {
                self.totals.turn();
            }
            self.state = Ok(State::Speaking);
        } else if message == Message::Out
            && self.turn.has_greeted()
            && self.entries.is_empty()
            && self.closing.is_none()
        {
            self.pass_over(None);
            self.state = Ok(State::Closed);
        } else {
            self.closing.get_or_insert((misplaced, now));
            if message == Message::Out {
                // Nothing follows: the sender is informed at once.
                self.state = Ok(State::Speaking);
            }
        }
        Ok(())
    }

    fn meet(&mut self, now: Duration, hello: Hello) {
        let transfer = hello.transfer;
        self.state = Ok(State::Listening);
        match self.connection.meet(hello) {
            Ok(version) => {
                let attempt = self.connection.our_attempt();
                self.tell(Event::Greeted { transfer, attempt, version });
            }
            // The sender learns of it with the floor: greeting, `Over` and `Abort` are the same in all versions.
            Err(failure) => self.closing = Some((failure, now)),
        }
    }

    /// Messages about entries: draws up what is to be done.
    pub(super) fn dispatch(
        &mut self,
        message: Message,
        payload: &[u8],
    ) -> Result<(), ProtocolError> {
        let kind = message.name();
        if let Some(entry) = message.entry().filter(|_| kind.is_of_sender())
            && self.outbox.is_refused(entry)
            && kind != Name::Offer
        {
            // The sender goes on until it receives the bad news; what it takes back itself needs none.
            if kind == Name::Withdraw {
                self.outbox.cancel(entry);
            }
            return Ok(());
        }
        match message {
            Message::Offer(offer) => self.offer(offer, payload),
            Message::Block { entry, index, hash } => self.block(entry, index, hash, payload),
            Message::Same { entry, blocks } => self.same(entry, &blocks),
            Message::Zeros { entry, blocks } => self.zeros(entry, blocks),
            Message::Claim { entry, root } => self.claim(entry, root),
            Message::End { entry, size, root } => self.end_of_content(entry, size, root),
            Message::Withdraw { entry, reason } => self.withdraw(entry, reason.into()),
            Message::Heartbeat { activity } => {
                self.turn.note_heartbeat();
                self.tell(Event::Waiting { activity });
                Ok(())
            }
            Message::Hello(_)
            | Message::Have { .. }
            | Message::Refuse { .. }
            | Message::Missing { .. }
            | Message::Kept { .. }
            | Message::Receipt { .. }
            | Message::Over { .. }
            | Message::Out
            | Message::Abort { .. }
            | Message::Unchanged { .. }
            | Message::Changed { .. } => Err(ProtocolError::Unexpected { kind }),
        }
    }
}
