//! A sender and a receiver in one thread and in virtual time, joined by two lines that can be cut, flipped and slowed.
//!
//! The same run gives the same bytes and events each time, so that a failure that was seen once can be seen again.
//!
//! ```
//! use haul::store::{MemorySource, MemoryStore};
//! use haul::testing::pair::{Pair, SessionEnd};
//! use haul::{Config, RelPath};
//!
//! let source = MemorySource::new().file(RelPath::parse(b"a")?, "content");
//! let store = MemoryStore::new();
//! let config = Config::default();
//! let mut pair = Pair::new(&config, source, &config, store.clone());
//! pair.down.cut(150);
//! let (sent, received) = pair.run();
//! assert_eq!((sent, received), (SessionEnd::Lost, SessionEnd::Lost));
//!
//! pair.reconnect(store.clone());
//! assert!(matches!(pair.run(), (SessionEnd::Closed(_), SessionEnd::Closed(_))));
//! assert_eq!(&*store.get("a").expect("it was delivered").bytes, b"content");
//! # Ok::<(), haul::types::NameError>(())
//! ```

mod alice;
mod bob;
mod line;

use std::time::Duration;
use std::{fmt, io};

use crate::config::Config;
use crate::proto::{self, Receiver};
use crate::store::{Source, Store};
use crate::types::{Summary, TransferId};

pub use alice::Alice;
pub use bob::Bob;
pub use line::Line;

/// Both sides, what is between them, and the time.
pub struct Pair<S: Source, T: Store> {
    /// The sending side.
    pub alice: Alice<S>,
    /// The receiving side.
    pub bob: Bob<T>,
    /// From Alice to Bob.
    pub down: Line,
    /// From Bob to Alice.
    pub up: Line,
    now: Duration,
    transfer: TransferId,
    connections: u32,
}

/// End of one side's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEnd {
    /// Well.
    Closed(Summary),
    /// By a failure that its core reported.
    Failed(proto::Error),
    /// Its line ended while it waited for more.
    Lost,
}

/// Result of one step of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Something, and this many bytes of its input are consumed.
    Moved(usize),
    /// Nothing: it waits for input, until this time.
    Idle(Duration),
    /// Its session is over.
    Ended(SessionEnd),
}

impl<S: Source, T: Store> Pair<S, T> {
    /// Creates a first connection, at time zero.
    pub fn new(ours: &Config, source: S, theirs: &Config, store: T) -> Self {
        Self {
            alice: Alice::new(ours, source),
            bob: Bob::new(theirs, store),
            down: Line::default(),
            up: Line::default(),
            now: Duration::ZERO,
            transfer: TRANSFER,
            connections: 1,
        }
    }

    /// Begins a further connection of the same sender, to a receiver that knows nothing of the earlier one but its
    /// store.
    ///
    /// Both lines are new, and whole.
    pub fn reconnect(&mut self, store: T) {
        self.connect_again();
        self.bob.suspend_all();
        self.bob.earlier = None;
        self.bob.store = store;
    }

    /// Begins a further connection of the same sender, to a receiver that [takes over](Receiver::adopt) what the
    /// earlier one knew, with its store and its open files.
    ///
    /// Both lines are new, and whole.
    pub fn resume(&mut self) {
        let earlier = self.bob.earlier.take();
        let left = self.connect_again();
        // One that was not greeted knows nothing: what it was to take over still is.
        self.bob.earlier = earlier.or(left.transfer().is_some().then_some(left));
    }

    fn connect_again(&mut self) -> Receiver {
        self.connections = self.connections.saturating_add(1);
        let (attempt, nonce) = (self.alice.sender.next_attempt(), self.nonce());
        self.alice.sender.reconnect(self.transfer, attempt, nonce, self.now);
        (self.alice.ended, self.bob.ended) = (None, None);
        (self.down, self.up) = (Line::default(), Line::default());
        let mut receiver = Receiver::new(self.bob.config.clone(), nonce, self.now);
        receiver.compare_times();
        std::mem::replace(&mut self.bob.receiver, receiver)
    }

    fn nonce(&self) -> [u8; 16] {
        let [a, b, c, d] = self.connections.to_le_bytes();
        [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    }

    /// Does the same after the sender was restarted too.
    pub fn restart(&mut self, source: S, store: T) {
        self.reconnect(store);
        self.alice.restart(source, self.transfer, self.now);
    }

    /// Begins a further connection of the same transfer by a sender that was restarted and knows nothing of it, to a
    /// receiver that has yet to close what was open for the earlier one.
    pub fn restart_sender(&mut self, source: S) {
        self.resume();
        self.alice.restart(source, self.transfer, self.now);
    }

    /// Begins a further connection of the same transfer by a sender that knows nothing of it but the number of its attempt,
    /// as no sender of this crate is: the receiver goes on with what the earlier one knew.
    pub fn forget(&mut self, source: S) {
        let attempt = self.alice.sender.next_attempt();
        self.restart_sender(source);
        self.alice.sender.reconnect(self.transfer, attempt, self.nonce(), self.now);
    }

    /// Begins another transfer, of another source, to the store that there is, with the commits that it has
    /// under way.
    pub fn call_with(&mut self, source: S, transfer: TransferId) {
        self.connect_again();
        self.bob.suspend_all();
        self.bob.earlier = None;
        self.transfer = transfer;
        self.alice.restart(source, transfer, self.now);
    }

    /// Calls both sides once more, with the objects that they have: the source from its start, the store with the
    /// commits that it has under way, and nothing else that was known.
    ///
    /// # Errors
    ///
    /// As [`Source::rewind`].
    pub fn call_again(&mut self) -> io::Result<()> {
        self.connect_again();
        self.bob.suspend_all();
        self.bob.earlier = None;
        self.alice.call_again(self.transfer, self.now)
    }

    /// Returns the time.
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// Runs until both sides have ended, and returns both ends. When neither can go on, time passes to the next
    /// deadline.
    pub fn run(&mut self) -> (SessionEnd, SessionEnd) {
        self.run_with(|_| ())
    }

    /// Works as [`run`](Pair::run), and calls `between` after each step of both sides.
    pub fn run_with(&mut self, mut between: impl FnMut(&mut Self)) -> (SessionEnd, SessionEnd) {
        let mut last = None;
        loop {
            let steps = (self.step_alice(), self.step_bob());
            between(self);
            match steps {
                (Progress::Ended(alice), Progress::Ended(bob)) => return (alice, bob),
                (Progress::Moved(_), _) | (_, Progress::Moved(_)) => {}
                // One more round: the other side may not have seen yet that this one ended.
                _ if last != Some(steps) => {}
                (Progress::Idle(a), Progress::Idle(b)) => self.pass_time(a.min(b)),
                (Progress::Idle(until), _) | (_, Progress::Idle(until)) => self.pass_time(until),
            }
            last = Some(steps);
        }
    }

    /// Does one step of the sender.
    pub fn step_alice(&mut self) -> Progress {
        self.pass_lines();
        let before = self.down.bytes.len();
        let step = self.alice.step(self.now, self.up.visible(), &mut self.down.bytes);
        let spoke = self.down.wrote(before);
        let progress = match step {
            Progress::Idle(_) if spoke || self.up.reveal() => Progress::Moved(0),
            Progress::Idle(_) if self.up.is_over() => Progress::Ended(self.alice.lose()),
            Progress::Idle(until) => Progress::Idle(self.next(until)),
            step => step,
        };
        self.settle(progress, Side::Alice);
        progress
    }

    /// Does one step of the receiver.
    pub fn step_bob(&mut self) -> Progress {
        self.pass_lines();
        let before = self.up.bytes.len();
        let step = self.bob.step(self.now, self.down.visible(), &mut self.up.bytes);
        let spoke = self.up.wrote(before);
        let progress = match step {
            Progress::Idle(_) if spoke || self.down.reveal() => Progress::Moved(0),
            Progress::Idle(_) if self.down.is_over() => Progress::Ended(self.bob.lose()),
            Progress::Idle(until) => Progress::Idle(self.next(until)),
            step => step,
        };
        self.settle(progress, Side::Bob);
        progress
    }

    /// Lets slow lines carry on, and informs both sides of what they take.
    fn pass_lines(&mut self) {
        if let Some((took, left)) = self.down.pass(self.now) {
            self.alice.note_taken(self.now, took, left);
        }
        if let Some((took, left)) = self.up.pass(self.now) {
            self.bob.note_taken(self.now, took, left);
        }
    }

    /// Returns the time of the next event, for a side that waits until then.
    fn next(&self, until: Duration) -> Duration {
        let arrives = [self.down.next(), self.up.next()].into_iter().flatten();
        // A driver whose stream takes nothing reports it every now and then.
        let is_blocked = [&self.down, &self.up].iter().any(|line| line.is_blocked());
        let told = is_blocked.then(|| self.now.saturating_add(Duration::from_secs(1)));
        arrives.chain(told).fold(until, Duration::min)
    }

    fn pass_time(&mut self, until: Duration) {
        // A deadline that has passed already would be a fault of a core; it shows as a session without end.
        self.now = self.now.max(until);
    }

    fn settle(&mut self, progress: Progress, side: Side) {
        let (heard, spoken) = match side {
            Side::Alice => (&mut self.up, &mut self.down),
            Side::Bob => (&mut self.down, &mut self.up),
        };
        match progress {
            Progress::Moved(consumed) => heard.consume(consumed),
            // Nobody learns of it through a black hole.
            Progress::Ended(_) => spoken.ended |= !(spoken.stalls && spoken.is_cut()),
            Progress::Idle(_) => {}
        }
        // A stream that is cut ends in both directions.
        if [&self.down, &self.up].iter().any(|line| line.is_cut() && !line.stalls) {
            (self.down.ended, self.up.ended) = (true, true);
        }
    }
}

/// Side whose step it was.
#[derive(Clone, Copy)]
enum Side {
    Alice,
    Bob,
}

impl<S: Source, T: Store> fmt::Debug for Pair<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Pair");
        debug.field("alice", &self.alice).field("bob", &self.bob).field("now", &self.now);
        debug.finish_non_exhaustive()
    }
}

/// The id of the first transfer of every pair.
const TRANSFER: TransferId = TransferId::new(*b"a simulated pair");

#[cfg(test)]
mod tests;
