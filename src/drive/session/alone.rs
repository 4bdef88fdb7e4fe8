//! Place of a receiving session that runs alone in its process.

use super::receive::{Stranger, Welcome};
use crate::drive::admit::Greeting;
use crate::drive::suspended::Suspended;
use crate::proto::Receiver;
use crate::store::Store;

/// Remains of an earlier connection, with its store, for a session that runs alone.
pub(in crate::drive) struct Alone<S: Store> {
    pub(in crate::drive) left: Option<(S, Suspended<S>)>,
}

impl<S: Store> Alone<S> {
    pub(in crate::drive) const fn new(left: Option<(S, Suspended<S>)>) -> Self {
        Self { left }
    }

    /// Handles the transfer's name before the sender gets any answer, and gives what an earlier connection of it left.
    /// What is left of another one is closed: this is work of the store. `attempt`: that of the sender, if it does not
    /// claim one.
    pub(in crate::drive) fn welcome(
        &mut self,
        greeting: &Greeting,
        attempt: Option<u32>,
    ) -> Result<Welcome<S>, Stranger> {
        if self.left.as_ref().is_some_and(|(_, suspended)| suspended.is_of_another(greeting)) {
            return Err(Stranger);
        }
        let Some((store, suspended)) = self.left.take() else {
            let attempt = attempt.unwrap_or(Receiver::next_claim(None));
            return Ok(Welcome { attempt, left: None });
        };
        let known = suspended.attempt_at(greeting.transfer());
        let number = attempt.unwrap_or_else(|| Receiver::next_claim(known));
        if attempt.is_some() && known.is_some_and(|known| known < number) {
            return Ok(Welcome { attempt: number, left: Some((store, suspended)) });
        }
        suspended.suspend(store);
        Ok(Welcome { attempt: number, left: None })
    }
}
