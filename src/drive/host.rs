//! Place of a receiving session: by itself, or in a server.

use std::time::Duration;

use super::admit::Greeting;
use super::cancel::CancelToken;
use super::clock::Clock;
use super::liveness::Pulse;
use super::parked::Parked;
use super::server::registry::PAUSE;
use crate::proto::Receiver;
use crate::store::Store;

/// A session that runs alone in its process, and what an earlier connection left it, with its store.
pub(super) struct Alone<S: Store> {
    pub(super) left: Option<(S, Parked<S>)>,
    /// Number of pauses that are left.
    pub(super) pauses: u32,
}

impl<S: Store> Alone<S> {
    pub(super) const fn new(left: Option<(S, Parked<S>)>) -> Self {
        Self { left, pauses: PAUSES }
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
        if self.left.as_ref().is_some_and(|(_, parked)| parked.is_of_another(greeting)) {
            return Err(Stranger);
        }
        let Some((former, parked)) = self.left.take() else {
            return Ok(Welcome {
                attempt: attempt.unwrap_or(Receiver::next_claim(None)),
                left: None,
            });
        };
        let known = parked.attempt_at(greeting.transfer());
        let number = attempt.unwrap_or_else(|| Receiver::next_claim(known));
        if attempt.is_some() && known.is_some_and(|known| known < number) {
            *store = former;
            return Ok(Welcome { attempt: number, left: Some(parked) });
        }
        parked.suspend(former);
        Ok(Welcome { attempt: number, left: None })
    }

    /// Waits for another process that has the file. If that serves a killed sender by the same command,
    /// it ends soon.
    fn make_way(&mut self, _: u32, cancel: &CancelToken, clock: &dyn Clock) -> bool {
        let may_wait = self.pauses > 0 && !cancel.is_cancelled();
        if may_wait {
            self.pauses -= 1;
            clock.sleep(PAUSE);
        }
        may_wait
    }
}

/// Most pauses of a session for files that other processes have open: 5 s in all, half of the time that its sender
/// waits for a greeting.
pub(super) const PAUSES: u32 = 50;

/// Reports of a receiving session to those who run it, and their answers, beside its observer.
pub(super) struct Hooks<'h, S: Store> {
    pub(super) host: &'h mut dyn Host<S>,
    /// Liveness of the sender.
    pub(super) pulse: Pulse,
    /// Remains of a connection that was lost, if they are of use to another one.
    pub(super) left: Option<Parked<S>>,
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
    pub(super) left: Option<Parked<S>>,
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

    /// Waits for others to let go of what the session was about to go on with, after `tries` times before. `false`: it
    /// is to do without.
    fn make_way(&mut self, tries: u32, cancel: &CancelToken, clock: &dyn Clock) -> bool;
}

impl<'h, S: Store> Hooks<'h, S> {
    pub(super) fn new(host: &'h mut dyn Host<S>, pulse: Pulse) -> Self {
        Self { host, pulse, left: None, progress: 0 }
    }
}
