//! A sender and a receiver in one thread and in virtual time, joined by two lines that can be cut, flipped and slowed.
//!
//! The same run gives the same bytes and events each time, so that a failure that was seen once can be seen again.
//!
//! ```
//! use haul::store::{MemorySource, MemoryStore};
//! use haul::testing::pair::{Ended, Pair};
//! use haul::{Config, RelPath};
//!
//! let source = MemorySource::new().file(RelPath::parse(b"a")?, "content");
//! let store = MemoryStore::new();
//! let config = Config::default();
//! let mut pair = Pair::new(&config, source, &config, store.clone());
//! pair.down.cut(150);
//! let (sent, received) = pair.run();
//! assert_eq!((sent, received), (Ended::Lost, Ended::Lost));
//!
//! pair.reconnect(store.clone());
//! assert!(matches!(pair.run(), (Ended::Closed(_), Ended::Closed(_))));
//! assert_eq!(&*store.get("a").expect("it was delivered").bytes, b"content");
//! # Ok::<(), haul::proto::NameError>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::num::NonZeroUsize;
use std::time::Duration;

use crate::config::Config;
use crate::proto::{
    EntryId, Event, Failure, Meta, ReadRequest, ReceiveAction, Receiver, Refusal, SendAction,
    Sender, Step, Summary, TransferId, Withdrawal,
};
use crate::store::{Source, Store, Uncommitted, refusal_of, withdrawal_of};

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
    attempt: u32,
}

/// How one side's session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Well.
    Closed(Summary),
    /// By a failure that its core reported.
    Failed(Failure),
    /// Its line ended while it waited for more.
    Lost,
}

/// A [`Sender`] with its source.
pub struct Alice<S: Source> {
    /// The core.
    pub sender: Sender,
    /// What it sends from.
    pub source: S,
    /// All events so far, over all connections.
    pub events: Vec<Event>,
    config: Config,
    items: BTreeMap<EntryId, Item<S>>,
    ended: Option<Ended>,
}

/// A [`Receiver`] with its store.
pub struct Bob<T: Store> {
    /// The core.
    pub receiver: Receiver,
    /// What it stores into.
    pub store: T,
    /// All events so far, over all connections.
    pub events: Vec<Event>,
    config: Config,
    files: BTreeMap<EntryId, Open<T::File>>,
    /// The machine of the former connection, to be taken over once the sender has greeted.
    former: Option<Receiver>,
    ended: Option<Ended>,
}

/// One direction of a stream.
#[derive(Debug, Clone, Default)]
pub struct Line {
    bytes: Vec<u8>,
    /// What was consumed of `bytes`.
    start: usize,
    /// How many bytes were ever written.
    written: u64,
    /// How many bytes the reader may see.
    shown: usize,
    piece: Option<NonZeroUsize>,
    flips: BTreeMap<u64, u8>,
    cut: Option<u64>,
    stalls: bool,
    ended: bool,
    record: Option<Vec<u8>>,
}

/// What a side did in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Something, and this many bytes of its input are consumed.
    Moved(usize),
    /// Nothing: it waits for input, until this time.
    Idle(Duration),
    /// Its session is over.
    Ended(Ended),
}

/// An entry that is open, and what has its name where it was handed back for that.
struct Open<F> {
    file: F,
    rival: Option<F>,
}

struct Item<S: Source> {
    key: S::Key,
    meta: Meta,
    reader: Option<S::Reader>,
}

impl<S: Source, T: Store> Pair<S, T> {
    /// A first connection, at time zero.
    pub fn new(ours: &Config, source: S, theirs: &Config, store: T) -> Self {
        Self {
            alice: Alice::new(ours, source),
            bob: Bob::new(theirs, store),
            down: Line::default(),
            up: Line::default(),
            now: Duration::ZERO,
            attempt: 1,
        }
    }

    /// A further connection of the same sender, to a receiver that knows nothing of the former one but its store.
    ///
    /// Both lines are new, and whole.
    pub fn reconnect(&mut self, store: T) {
        self.connect_again();
        self.bob.suspend_all();
        self.bob.former = None;
        self.bob.store = store;
    }

    /// A further connection of the same sender, to a receiver that [takes over](Receiver::adopt) what the former one
    /// knew, with its store and its open files.
    ///
    /// Both lines are new, and whole.
    pub fn resume(&mut self) {
        let former = self.bob.former.take();
        let left = self.connect_again();
        // One that was not greeted knows nothing: what it was to take over still is.
        self.bob.former = former.or(left.transfer().is_some().then_some(left));
    }

    fn connect_again(&mut self) -> Receiver {
        self.attempt = self.attempt.saturating_add(1);
        let [a, b, c, d] = self.attempt.to_le_bytes();
        let nonce = [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        self.alice.sender.reconnect(TRANSFER, self.attempt, nonce, self.now);
        (self.alice.ended, self.bob.ended) = (None, None);
        (self.down, self.up) = (Line::default(), Line::default());
        let mut receiver = Receiver::new(self.bob.config.clone(), nonce, self.now);
        receiver.compare_times();
        std::mem::replace(&mut self.bob.receiver, receiver)
    }

    /// The same after the sender was restarted too.
    pub fn restart(&mut self, source: S, store: T) {
        self.reconnect(store);
        let config = self.alice.config.clone();
        self.alice.sender = Sender::new(config, TRANSFER, [3; 16], self.now);
        self.alice.source = source;
        self.alice.items.clear();
    }

    /// The time.
    pub const fn now(&self) -> Duration {
        self.now
    }

    /// Runs until both sides have ended, and says how. When neither can go on, time passes to the next deadline.
    pub fn run(&mut self) -> (Ended, Ended) {
        let mut last = None;
        loop {
            let steps = (self.step_alice(), self.step_bob());
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

    /// One step of the sender.
    pub fn step_alice(&mut self) -> Progress {
        let before = self.down.bytes.len();
        let step = self.alice.step(self.now, self.up.visible(), &mut self.down.bytes);
        let spoke = self.down.wrote(before);
        let progress = match step {
            Progress::Idle(_) if spoke || self.up.reveal() => Progress::Moved(0),
            Progress::Idle(_) if self.up.ended => Progress::Ended(self.alice.lose()),
            step => step,
        };
        self.settle(progress, Side::Alice);
        progress
    }

    /// One step of the receiver.
    pub fn step_bob(&mut self) -> Progress {
        let before = self.up.bytes.len();
        let step = self.bob.step(self.now, self.down.visible(), &mut self.up.bytes);
        let spoke = self.up.wrote(before);
        let progress = match step {
            Progress::Idle(_) if spoke || self.down.reveal() => Progress::Moved(0),
            Progress::Idle(_) if self.down.ended => Progress::Ended(self.bob.lose()),
            step => step,
        };
        self.settle(progress, Side::Bob);
        progress
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
            // Nobody hears of it through a black hole.
            Progress::Ended(_) => spoken.ended |= !(spoken.stalls && spoken.is_cut()),
            Progress::Idle(_) => {}
        }
        // A stream that is cut ends in both directions.
        if [&self.down, &self.up].iter().any(|line| line.is_cut() && !line.stalls) {
            (self.down.ended, self.up.ended) = (true, true);
        }
    }
}

/// Whose step it was.
#[derive(Clone, Copy)]
enum Side {
    Alice,
    Bob,
}

impl Line {
    /// Lets no byte through from this position of the session on; the stream then ends in both directions.
    pub const fn cut(&mut self, position: u64) {
        (self.cut, self.stalls) = (Some(position), false);
    }

    /// Lets no byte through from this position on, and says nothing: a black hole.
    pub const fn stall(&mut self, position: u64) {
        (self.cut, self.stalls) = (Some(position), true);
    }

    /// Flips these bits of the byte at this position.
    pub fn flip(&mut self, position: u64, bits: u8) {
        self.flips.insert(position, bits);
    }

    /// Delivers at most so many bytes at a time.
    pub const fn piece(&mut self, bytes: NonZeroUsize) {
        self.piece = Some(bytes);
    }

    /// Keeps a copy of what is written from now on, for [`record`](Line::record).
    pub fn keep_record(&mut self) {
        self.record.get_or_insert_default();
    }

    /// What was written since [`keep_record`](Line::keep_record), before anything was done to it.
    #[must_use]
    pub fn record(&self) -> &[u8] {
        self.record.as_deref().unwrap_or_default()
    }

    /// How many bytes were ever written to it.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    fn visible(&self) -> &[u8] {
        self.bytes.get(self.start..self.shown).unwrap_or_default()
    }

    /// Does to the bytes from `before` on what is to be done to them; `false` if there are none.
    fn wrote(&mut self, before: usize) -> bool {
        let first = self.written;
        if let Some(record) = &mut self.record {
            record.extend_from_slice(&self.bytes[before..]);
        }
        self.written = first.saturating_add((self.bytes.len() - before) as u64);
        for (position, bits) in self.flips.range(first..self.written) {
            let at = usize::try_from(position - first).unwrap_or(usize::MAX).saturating_add(before);
            if let Some(byte) = self.bytes.get_mut(at) {
                *byte ^= bits;
            }
        }
        if let Some(cut) = self.cut.filter(|cut| *cut < self.written) {
            let through = usize::try_from(cut.saturating_sub(first)).unwrap_or(usize::MAX);
            self.bytes.truncate(before.saturating_add(through));
        }
        if self.piece.is_none() {
            self.shown = self.bytes.len();
        }
        self.written > first
    }

    /// Delivers the next piece; `false` if there is none.
    fn reveal(&mut self) -> bool {
        let piece = self.piece.map_or(usize::MAX, NonZeroUsize::get);
        let shown = self.shown.saturating_add(piece).min(self.bytes.len());
        shown > std::mem::replace(&mut self.shown, shown)
    }

    fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.shown);
        // What is consumed is dropped once it is most of it, so that each byte is moved once at most.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.shown -= self.start;
            self.start = 0;
        }
    }

    fn is_cut(&self) -> bool {
        self.cut.is_some_and(|cut| cut <= self.written)
    }
}

impl<S: Source> Alice<S> {
    /// The first connection of a transfer.
    pub fn new(config: &Config, source: S) -> Self {
        Self {
            sender: Sender::new(config.clone(), TRANSFER, [1; 16], Duration::ZERO),
            source,
            events: Vec::new(),
            config: config.clone(),
            items: BTreeMap::new(),
            ended: None,
        }
    }

    /// Does the next thing. `input` is all that came and is not consumed; what is to be written is appended to `out`.
    pub fn step(&mut self, now: Duration, input: &[u8], out: &mut Vec<u8>) -> Progress {
        if let Some(ended) = self.ended {
            return Progress::Ended(ended);
        }
        self.go_on(now, input, out).unwrap_or_else(|failure| self.end(Ended::Failed(failure)))
    }

    fn go_on(
        &mut self,
        now: Duration,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, Failure> {
        match self.sender.poll(now, out)? {
            SendAction::Event(event) => self.events.push(event),
            SendAction::NextEntry => match self.source.next_entry() {
                None => self.sender.handle_exhausted()?,
                Some(Err(unsendable)) => self.sender.handle_unsendable(unsendable.reason)?,
                Some(Ok((key, meta))) => {
                    let window = self.source.window(&key);
                    let entry = self.sender.handle_entry(meta.clone(), window)?;
                    self.items.insert(entry, Item { key, meta, reader: None });
                }
            },
            SendAction::Read(request) => {
                let frame = out.len();
                out.resize(frame.saturating_add(request.head).saturating_add(request.len), 0);
                let space = out.get_mut(frame..).unwrap_or_default();
                let read = self.read(&request, space.get_mut(request.head..).unwrap_or_default());
                let sent = match read {
                    Ok(Some(read)) => self.sender.handle_read(now, read, space),
                    Ok(None) => self.sender.handle_read_pending().map(|()| 0),
                    Err(reason) => self.sender.handle_withdrawn(reason).map(|()| 0),
                };
                out.truncate(frame.saturating_add(*sent.as_ref().unwrap_or(&0)));
                sent?;
            }
            SendAction::Release { entry, offset } => {
                if let Some(Item { reader: Some(reader), .. }) = self.items.get_mut(&entry) {
                    self.source.release(reader, offset);
                }
            }
            SendAction::Forget { entry } => drop(self.items.remove(&entry)),
            SendAction::Await { until } => {
                self.sender.handle_peer_took(now);
                let consumed = self.sender.handle_input(now, input)?.bytes;
                if consumed == 0 {
                    return Ok(Progress::Idle(until));
                }
                return Ok(Progress::Moved(consumed));
            }
            SendAction::Closed(summary) => return Ok(self.end(Ended::Closed(summary))),
        }
        Ok(Progress::Moved(0))
    }

    fn read(
        &mut self,
        request: &ReadRequest,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, Withdrawal> {
        let item = self.items.get_mut(&request.entry).ok_or(Withdrawal::Vanished)?;
        let reader = match &mut item.reader {
            Some(reader) => reader,
            closed => closed.insert(self.source.open(&item.key, &item.meta)?),
        };
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match self.source.read_at(reader, request.offset.saturating_add(read as u64), rest) {
                Ok(0) => break,
                Ok(bytes) if bytes > rest.len() => return Err(Withdrawal::Unreadable { code: 0 }),
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(withdrawal_of(&error)),
            }
        }
        if request.is_last || read < request.len {
            self.source.finish(reader, &item.meta)?;
        }
        Ok(Some(read))
    }

    fn end(&mut self, ended: Ended) -> Progress {
        self.ended = Some(ended);
        Progress::Ended(ended)
    }

    fn lose(&mut self) -> Ended {
        *self.ended.insert(Ended::Lost)
    }
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
            files: BTreeMap::new(),
            former: None,
            ended: None,
        }
    }

    /// Does the next thing. `input` is all that came and is not consumed; what is to be written is appended to `out`.
    pub fn step(&mut self, now: Duration, input: &[u8], out: &mut Vec<u8>) -> Progress {
        if let Some(ended) = self.ended {
            return Progress::Ended(ended);
        }
        self.go_on(now, input, out).unwrap_or_else(|failure| self.end(Ended::Failed(failure)))
    }

    fn go_on(
        &mut self,
        now: Duration,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Progress, Failure> {
        self.collect()?;
        match self.receiver.poll(now, out)? {
            ReceiveAction::Event(event) => {
                if let Event::Greeted { .. } = event
                    && let Some(former) = self.former.take()
                {
                    self.receiver.adopt(former)?;
                }
                self.events.push(event);
            }
            ReceiveAction::Read { entry, offset, len } => self.read(entry, false, offset, len)?,
            ReceiveAction::TakeOver { entry, offset, len } => {
                let file = self.files.get_mut(&entry).ok_or(Refusal::Store { code: 0 });
                let copied =
                    file.and_then(|open| self.store.copy_held(&mut open.file, offset, len as u64));
                match copied {
                    Ok(()) => self.read(entry, false, offset, len)?,
                    Err(reason) => self.receiver.handle_held(Err(reason))?,
                }
            }
            ReceiveAction::ReadRival { entry, offset, len } => {
                self.read(entry, true, offset, len)?;
            }
            ReceiveAction::Commit(commit) => {
                if let Some(file) = self.take(commit.entry) {
                    self.store.commit(file, commit);
                }
            }
            ReceiveAction::CommitRival(commit) => {
                let open = self.files.get_mut(&commit.entry);
                if let Some(rival) = open.and_then(|open| open.rival.take()) {
                    self.store.commit(rival, commit);
                }
            }
            ReceiveAction::Suspend { entry } => {
                if let Some(file) = self.take(entry) {
                    self.store.suspend(file);
                }
            }
            ReceiveAction::Discard { entry } => {
                if let Some(file) = self.take(entry) {
                    self.store.discard(file);
                }
            }
            ReceiveAction::AwaitCommit { until } => {
                if !self.collect()? {
                    return Ok(Progress::Idle(until));
                }
            }
            ReceiveAction::Await { until } => {
                self.receiver.handle_peer_took(now);
                let consumed = self.hear(now, input)?;
                if consumed == Some(0) {
                    return Ok(Progress::Idle(until));
                }
                return Ok(Progress::Moved(consumed.unwrap_or(0)));
            }
            ReceiveAction::Closed(summary) => return Ok(self.end(Ended::Closed(summary))),
        }
        Ok(Progress::Moved(0))
    }

    /// One message, or one thing that it asks of the store; `None` if the input is to be given again.
    fn hear(&mut self, now: Duration, input: &[u8]) -> Result<Option<usize>, Failure> {
        match self.receiver.handle_input(now, input)? {
            Step::Consumed(consumed) => return Ok(Some(consumed.bytes)),
            Step::Begin { offer, place } => {
                if let Some(former) = self.take(offer.entry) {
                    self.store.suspend(former);
                }
                let begun = self.store.begin(&offer, place).map(|begun| {
                    let (file, found) = begun.into_parts();
                    self.files.insert(offer.entry, Open { file, rival: None });
                    found
                });
                self.receiver.handle_begun(begun)?;
            }
            Step::Look { offer } => {
                let standing = self.store.standing(&offer);
                self.receiver.handle_standing(standing)?;
            }
            Step::Read { entry, offset, len } => self.read(entry, false, offset, len)?,
            Step::Write { entry, offset, bytes } => {
                let file = self.files.get_mut(&entry).ok_or(Refusal::Store { code: 0 });
                let written =
                    file.and_then(|open| self.store.write_at(&mut open.file, offset, bytes));
                self.receiver.handle_written(written)?;
            }
            Step::Copy { entry, offset, len } => {
                let file = self.files.get_mut(&entry).ok_or(Refusal::Store { code: 0 });
                let copied =
                    file.and_then(|open| self.store.copy_held(&mut open.file, offset, len));
                self.receiver.handle_written(copied)?;
            }
        }
        Ok(None)
    }

    fn read(
        &mut self,
        entry: EntryId,
        is_rival: bool,
        offset: u64,
        len: usize,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; len];
        let mut read = 0;
        let mut held = Ok(());
        let open = self.files.get_mut(&entry);
        let file =
            open.and_then(|open| if is_rival { open.rival.as_mut() } else { Some(&mut open.file) });
        if let Some(file) = file {
            while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
                match self.store.read_at(file, offset.saturating_add(read as u64), rest) {
                    Ok(0) => break,
                    Ok(bytes) => read = read.saturating_add(bytes).min(len),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        held = Err(refusal_of(&error));
                        break;
                    }
                }
            }
        }
        self.receiver.handle_held(held.map(|()| buffer.get(..read).unwrap_or_default()))
    }

    /// Takes in commits that ended; `false` if none did.
    fn collect(&mut self) -> Result<bool, Failure> {
        let mut any = false;
        while self.receiver.commits() > 0
            && let Some((entry, ended)) = self.store.poll_committed(Duration::ZERO)
        {
            any = true;
            match ended {
                Ok(committed) => self.receiver.handle_committed(entry, Ok(committed.path))?,
                Err(Uncommitted::Failed(reason)) => {
                    self.receiver.handle_committed(entry, Err(reason))?;
                }
                Err(Uncommitted::Taken { file, rival }) => {
                    let (rival, len) = rival.unzip();
                    self.files.insert(entry, Open { file, rival });
                    self.receiver.handle_taken(entry, len)?;
                }
            }
        }
        Ok(any)
    }

    /// What is open of an entry, to be closed; its rival is.
    fn take(&mut self, entry: EntryId) -> Option<T::File> {
        let Open { file, rival } = self.files.remove(&entry)?;
        if let Some(rival) = rival {
            self.store.suspend(rival);
        }
        Some(file)
    }

    fn suspend_all(&mut self) {
        while let Some((&entry, _)) = self.files.first_key_value() {
            if let Some(file) = self.take(entry) {
                self.store.suspend(file);
            }
        }
    }

    fn end(&mut self, ended: Ended) -> Progress {
        self.ended = Some(ended);
        Progress::Ended(ended)
    }

    fn lose(&mut self) -> Ended {
        *self.ended.insert(Ended::Lost)
    }
}

impl<S: Source, T: Store> fmt::Debug for Pair<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Pair");
        debug.field("alice", &self.alice).field("bob", &self.bob).field("now", &self.now);
        debug.finish_non_exhaustive()
    }
}

impl<S: Source> fmt::Debug for Alice<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Alice");
        debug.field("sender", &self.sender).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<T: Store> fmt::Debug for Bob<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Bob");
        debug.field("receiver", &self.receiver).field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// The id of every transfer: one pair has no other to be taken for.
const TRANSFER: TransferId = TransferId::new(*b"a simulated pair");

#[cfg(test)]
mod tests;
