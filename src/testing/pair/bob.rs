//! The receiving side: a machine, and what it does to a store.

use std::fmt;
use std::time::Duration;

use super::{Progress, SessionEnd};
use crate::config::Config;
use crate::drive::Files;
use crate::proto::{self, ReceiveAction, Receiver};
use crate::store::Store;
use crate::types::Event;

/// A [`Receiver`] with its store.
pub struct Bob<T: Store> {
    /// The core.
    pub receiver: Receiver,
    /// Store that it stores into.
    pub store: T,
    /// All events so far, over all connections.
    pub events: Vec<Event>,
    pub(super) config: Config,
    files: Files<T::File>,
    /// The machine of the earlier connection, to be taken over once the sender has greeted.
    pub(super) earlier: Option<Receiver>,
    pub(super) ended: Option<SessionEnd>,
    steps: u64,
}

impl<T: Store> Bob<T> {
    /// Waits for a sender.
    pub fn new(config: &Config, store: T) -> Self {
        let mut receiver = Receiver::new(config.clone(), [2; 16], Duration::ZERO);
        receiver.compare_times();
        Self {
            receiver,
            store,
            events: Vec::new(),
            config: config.clone(),
            files: Files::new(),
            earlier: None,
            ended: None,
            steps: 0,
        }
    }

    /// Does the next thing. `input` is all that came and is not consumed; what is to be written is appended to `out`.
    pub fn step(&mut self, now: Duration, input: &[u8], out: &mut Vec<u8>) -> Progress {
        if let Some(ended) = self.ended {
            return Progress::Ended(ended);
        }
        let said = out.len();
        let progress = self.go_on(now, input, out);
        // Where nothing moved, nothing changed.
        if out.len() > said || !matches!(progress, Ok(Progress::Idle(_))) {
            self.check();
        }
        progress.unwrap_or_else(|failure| self.end(SessionEnd::Failed(failure)))
    }

    fn go_on(
        &mut self,
        now: Duration,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, proto::Error> {
        self.collect()?;
        match self.receiver.poll(now, out)? {
            ReceiveAction::Event(event) => {
                if let Event::Greeted { transfer, .. } = event {
                    match self.earlier.take() {
                        // It knows nothing of what its receiver was about to do.
                        Some(_) if self.receiver.is_claimed() => {
                            self.files.suspend(&mut self.store)
                        }
                        Some(earlier) => self.receiver.adopt(earlier)?,
                        None => {}
                    }
                    self.store.serve(transfer);
                }
                self.events.push(event);
            }
            ReceiveAction::AwaitCommit { until } => {
                if !self.collect()? {
                    return Ok(Progress::Idle(until));
                }
            }
            ReceiveAction::Await { until } => {
                let step = self.receiver.handle_input(now, input)?;
                let answered = self.files.answer(&mut self.store, &mut self.receiver, step)?;
                return Ok(match answered.map(|consumed| consumed.bytes) {
                    Some(0) => Progress::Idle(until),
                    consumed => Progress::Moved(consumed.unwrap_or(0)),
                });
            }
            ReceiveAction::Closed(summary) => return Ok(self.end(SessionEnd::Closed(summary))),
            action => self.files.act(&mut self.store, &mut self.receiver, action)?,
        }
        Ok(Progress::Moved(0))
    }

    /// Checks, after each step, that what is open belongs to an entry of the session, or of the earlier one until
    /// that is adopted.
    ///
    /// A check looks at every entry: of more than 64, one step in so many is checked that a step costs as much as with
    /// 64.
    fn check(&mut self) {
        self.steps = self.steps.wrapping_add(1);
        let machines = [Some(&self.receiver), self.earlier.as_ref()].into_iter().flatten();
        let entries: usize = machines.map(Receiver::entries_to_check).sum();
        if !self.steps.is_multiple_of(1 + entries as u64 / 64) {
            return;
        }
        let earlier = self.earlier.as_ref();
        let owner = earlier.unwrap_or(&self.receiver);
        owner.assert_invariants(self.files.entries());
        for (ticket, is_started) in owner.started_commits() {
            let is_under_way = self.files.is_committing(ticket);
            assert_eq!(
                is_under_way, is_started,
                "the store has it, as the session does: {ticket:?}"
            );
        }
        if earlier.is_some() {
            self.receiver.assert_invariants([]);
        }
    }

    /// Takes in commits that ended; `false` if none did.
    fn collect(&mut self) -> Result<bool, proto::Error> {
        self.files.collect(&mut self.store, &mut self.receiver, Duration::ZERO)
    }

    pub(super) fn suspend_all(&mut self) {
        self.files.suspend(&mut self.store);
    }

    /// Handles that the line took so many bytes of the output, and that so many are left.
    pub(super) fn note_taken(&mut self, now: Duration, took: u64, left: u64) {
        let took = usize::try_from(took).unwrap_or(usize::MAX);
        let heard = match took {
            0 if left > 0 => self.receiver.handle_write_blocked(now),
            0 => Ok(()),
            took => self.receiver.handle_peer_took(now, took),
        };
        if let (Err(failure), None) = (heard, self.ended) {
            self.ended = Some(SessionEnd::Failed(failure));
        }
    }

    fn end(&mut self, ended: SessionEnd) -> Progress {
        self.ended = Some(ended);
        Progress::Ended(ended)
    }

    pub(super) fn lose(&mut self) -> SessionEnd {
        *self.ended.insert(SessionEnd::Lost)
    }
}

impl<T: Store> fmt::Debug for Bob<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Bob");
        debug.field("receiver", &self.receiver).field("ended", &self.ended).finish_non_exhaustive()
    }
}
