//! Observation of one side of a session, and the time that passes for it.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::drive::Clock;
use crate::types::{Event, RelPath, TransferId};

/// Record of a driver's acts on one side, as its stream, its source or store, and its clock saw
/// them.
///
/// It is the clock of that side: time passes where the stream, the source or the store takes some, and nowhere else.
#[derive(Debug, Clone)]
pub(super) struct Log(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    side: Side,
    now: Duration,
    /// Number of times that the driver asked for the time.
    asked: u32,
    /// The first mistake.
    fault: Option<String>,
    /// The transfer that the application was told of, and the one that the store was.
    greeted: Option<TransferId>,
    served: Option<TransferId>,
    /// Entries of which something is open, each as often as there is.
    open: Vec<RelPath>,
    /// Entries whose end was reported to the application.
    settled: BTreeSet<RelPath>,
    /// Time that the side has waited in the store since it wrote last, and number of questions there without waiting.
    quiet: Duration,
    vain: u32,
    /// Bytes of content that were read from the source.
    read: u64,
    /// Names that were delivered, and the number of bytes that had been read by then.
    delivered: Vec<(RelPath, u64)>,
}

/// Half that a driver runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Sender,
    Receiver,
}

/// Longest time that a side with the floor may be without a heartbeat: two are lost then, and a little is for what runs
/// them.
const QUIET: Duration = Duration::from_secs(15);

/// A wait in the store is for a second at most; this is a little more.
const WAIT: Duration = Duration::from_secs(2);

/// Most questions in a row whether a commit has ended, without time for it, while nothing else is done.
const VAIN: u32 = 10_000;

impl Log {
    pub(super) fn new(side: Side) -> Self {
        Self(Arc::new(Mutex::new(State {
            side,
            now: Duration::ZERO,
            asked: 0,
            fault: None,
            greeted: None,
            served: None,
            open: Vec::new(),
            settled: BTreeSet::new(),
            quiet: Duration::ZERO,
            vain: 0,
            read: 0,
            delivered: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass.
    pub(super) fn pass(&self, time: Duration) {
        let mut state = self.state();
        state.now = state.now.saturating_add(time);
    }

    /// Returns the time, for those who are not the driver.
    pub(super) fn time(&self) -> Duration {
        self.state().now
    }

    /// Notes a mistake.
    pub(super) fn fault(&self, fault: impl Display) {
        self.state().fault.get_or_insert_with(|| fault.to_string());
    }

    /// Returns whether a mistake was seen: nothing need go on then.
    pub(super) fn has_fault(&self) -> bool {
        self.state().fault.is_some()
    }

    /// Returns the first mistake that was seen, once the driver has returned.
    pub(super) fn verdict(&self) -> Option<String> {
        let State { side, asked, fault, greeted, served, open, .. } = &*self.state();
        if *asked <= 1 {
            return Some("it does not look at the clock that it was given".to_owned());
        }
        if fault.is_some() {
            return fault.clone();
        }
        if !open.is_empty() {
            let is_lent = match side {
                Side::Sender => "readers are open when it returns (drop the `Readers`)",
                Side::Receiver => "files that the store was not given back (`Files::suspend`)",
            };
            return Some(format!("{is_lent}: {open:?}"));
        }
        if served.is_some() && served != greeted {
            return Some(format!("`Store::serve` is called with {served:?}, not {greeted:?}"));
        }
        None
    }

    /// Takes note of an event for the application.
    pub(super) fn tell(&self, event: &Event) {
        let mut state = self.state();
        match event {
            Event::Greeted { transfer, .. } => state.greeted = Some(*transfer),
            Event::Delivered { receipt, .. } => {
                let read = state.read;
                state.delivered.push((receipt.path.clone(), read));
                state.settled.insert(receipt.path.clone());
            }
            Event::Refused { path: Some(path), .. }
            | Event::Trusted { path, .. }
            | Event::Withdrawn { path, .. } => drop(state.settled.insert(path.clone())),
            _ => {}
        }
    }

    /// Returns the names that were delivered, and the number of bytes that had been read of the
    /// source by then.
    pub(super) fn delivered(&self) -> Vec<(RelPath, u64)> {
        self.state().delivered.clone()
    }

    /// Notes that something of an entry was opened.
    pub(super) fn open(&self, path: RelPath) {
        self.state().open.push(path);
    }

    /// Notes that something of an entry was closed.
    pub(super) fn close(&self, path: &RelPath) {
        let mut state = self.state();
        if let Some(at) = state.open.iter().position(|open| open == path) {
            state.open.swap_remove(at);
        }
    }

    /// Notes that the side reads from its stream: it has done what was asked of it.
    pub(super) fn listens(&self) {
        let mut state = self.state();
        state.vain = 0;
        let State { side, open, settled, fault, .. } = &mut *state;
        if let Some(path) = open.iter().find(|path| settled.contains(path)) {
            let fault_is = match side {
                Side::Sender => {
                    "the reader of {} stays open, though it is settled (`SendAction::Forget`)"
                }
                Side::Receiver => {
                    "the file of {} stays open, though it is settled (`ReceiveAction::Discard`, \
                     `ReceiveAction::Suspend`)"
                }
            };
            fault.get_or_insert_with(|| fault_is.replace("{}", &path.to_string()));
        }
    }

    /// Notes that all that was written has gone to the peer.
    pub(super) fn speaks(&self) {
        let mut state = self.state();
        (state.quiet, state.vain) = (Duration::ZERO, 0);
    }

    /// Takes note of the transfer that the store is told to serve.
    pub(super) fn serve(&self, transfer: TransferId) {
        self.state().served = Some(transfer);
    }

    /// Notes that the store is asked for an entry.
    pub(super) fn begins(&self, path: &RelPath) {
        let mut state = self.state();
        state.vain = 0;
        if state.served.is_none() {
            let late = || format!("`Store::serve` is not called before {path} is begun");
            state.fault.get_or_insert_with(late);
        }
    }

    /// Notes that the store is asked for commits that ended, and given so much time.
    pub(super) fn asks(&self, wait: Duration) {
        let mut state = self.state();
        if wait > WAIT {
            state.fault.get_or_insert_with(|| {
                format!("it waits for a commit for {wait:?}: a second is the most, for heartbeats")
            });
        }
    }

    /// Notes that no commit had ended after this time.
    pub(super) fn asked_in_vain(&self, waited: Duration) {
        let mut state = self.state();
        state.now = state.now.saturating_add(waited);
        state.quiet = state.quiet.saturating_add(waited);
        state.vain = if waited.is_zero() { state.vain.saturating_add(1) } else { 0 };
        if state.quiet > QUIET {
            let quiet = "it waits for a commit without a heartbeat: what `poll` appends is written \
                         and flushed before any wait, and each poll is given the time";
            state.fault.get_or_insert_with(|| quiet.to_owned());
        }
        if state.vain > VAIN {
            let spins = "it asks for a commit again and again, and gives it no time \
                         (`ReceiveAction::AwaitCommit`)";
            state.fault.get_or_insert_with(|| spins.to_owned());
        }
    }

    /// Notes that the source is asked for content, and takes so long to give it.
    pub(super) fn asks_source(&self, takes: Duration) {
        let mut state = self.state();
        if state.quiet > QUIET {
            let quiet = "it writes nothing between two reads of a source that takes its time: what \
                         was appended is written and flushed, heartbeats above all";
            state.fault.get_or_insert_with(|| quiet.to_owned());
        }
        state.now = state.now.saturating_add(takes);
        state.quiet = state.quiet.saturating_add(takes);
    }

    /// Notes that the source gave so many bytes.
    pub(super) fn reads(&self, bytes: usize) {
        let mut state = self.state();
        state.read = state.read.saturating_add(bytes as u64);
    }
}

impl Clock for Log {
    fn now(&self) -> Duration {
        let mut state = self.state();
        state.asked = state.asked.saturating_add(1);
        state.now
    }

    fn sleep(&self, time: Duration) {
        self.pass(time);
    }
}
