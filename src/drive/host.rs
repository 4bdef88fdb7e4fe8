//! Place of a receiving session: by itself, or in a server.

use std::time::Duration;

use super::admit::Greeting;
use super::cancel::CancelToken;
use super::suspended::Suspended;
use crate::proto::Receiver;
use crate::store::Store;

/// A session that runs alone in its process, and what an earlier connection left it, with its store.
pub(super) struct Alone<S: Store> {
    pub(super) left: Option<(S, Suspended<S>)>,
}

impl<S: Store> Alone<S> {
    pub(super) const fn new(left: Option<(S, Suspended<S>)>) -> Self {
        Self { left }
    }
}

impl<S: Store> Host<S> for Alone<S> {
    fn greeted(
        &mut self,
        store: &mut S,
        greeting: &Greeting,
        attempt: Option<u32>,
        _: &CancelToken,
    ) -> Result<Welcome<S>, Stranger> {
        if self.left.as_ref().is_some_and(|(_, suspended)| suspended.is_of_another(greeting)) {
            return Err(Stranger);
        }
        let Some((former, suspended)) = self.left.take() else {
            return Ok(Welcome {
                attempt: attempt.unwrap_or(Receiver::next_claim(None)),
                left: None,
            });
        };
        let known = suspended.attempt_at(greeting.transfer());
        let number = attempt.unwrap_or_else(|| Receiver::next_claim(known));
        if attempt.is_some() && known.is_some_and(|known| known < number) {
            *store = former;
            return Ok(Welcome { attempt: number, left: Some(suspended) });
        }
        suspended.suspend(former);
        Ok(Welcome { attempt: number, left: None })
    }
}

/// Reports of a receiving session to those who run it, and their answers, beside its observer.
pub(super) struct Hooks<'h, S: Store> {
    pub(super) host: &'h mut dyn Host<S>,
    /// Remains of a connection that was lost, if they are of use to another one.
    pub(super) left: Option<Suspended<S>>,
    /// Growth of the receiver's [progress](Receiver::progress) by this connection.
    pub(super) progress: u64,
}

/// A sender that is not the one whose transfer it names.
pub(super) struct Stranger;

/// Answer to a sender that has greeted.
pub(super) struct Welcome<S: Store> {
    /// The number of its attempt.
    pub(super) attempt: u32,
    /// Suspended session of an earlier connection of its process.
    pub(super) left: Option<Suspended<S>>,
}

/// Runner of a session, which knows of others.
pub(super) trait Host<S: Store> {
    /// Handles the transfer's name before the sender gets any answer, and gives what an earlier connection of it left.
    /// It may put the store to which that belongs in the place of the session's own. `attempt`: that of the sender, if
    /// it does not claim one. [`Stranger`]: the transfer is that of another key.
    fn greeted(
        &mut self,
        store: &mut S,
        greeting: &Greeting,
        attempt: Option<u32>,
        cancel: &CancelToken,
    ) -> Result<Welcome<S>, Stranger>;

    /// Returns whether the sender may go on after its greeting; if not, waits for at most so long until it may.
    /// Meanwhile the sender gets heartbeats.
    fn admits(&mut self, wait: Duration, cancel: &CancelToken) -> bool {
        let _ = (wait, cancel);
        true
    }

    /// Handles that the sender has offered something, so that from now on the session needs files, memory and time.
    /// `false`: it cannot have them.
    fn seats(&mut self, cancel: &CancelToken) -> bool {
        let _ = cancel;
        true
    }

    /// Returns whether to end the session for one that waits for its place, as its sender has had nothing to send for
    /// so long.
    fn yields(&mut self, quiet: Duration) -> bool {
        let _ = quiet;
        false
    }
}

impl<'h, S: Store> Hooks<'h, S> {
    pub(super) fn new(host: &'h mut dyn Host<S>) -> Self {
        Self { host, left: None, progress: 0 }
    }
}
