//! A sender and a receiver in one thread, joined by two byte queues, with the simplest source and store there are.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::config::{Config, Unchanged};
use crate::proto::{
    EntryId, Event, Failure, Found, Kind, Meta, Offer, ReceiveAction, Receiver, Refusal, RelPath,
    SendAction, Sender, Step, Summary, Timestamp, TransferId, Withdrawal,
};
use crate::store::{Commit, Place, Standing};

/// What both sides have, and the bytes between them.
pub(super) struct Pair {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) alice: Alice,
    pub(super) bob: Bob,
    /// Bytes under way to the receiver, and to the sender.
    pub(super) down: Channel,
    pub(super) up: Channel,
    pub(super) now: Duration,
    compares_times: bool,
    /// The receiver of the former connection, to be taken over once the sender has greeted.
    pub(super) former: Option<Receiver>,
}

/// The source.
#[derive(Clone, Default)]
pub(super) struct Alice {
    pub(super) files: Vec<(Meta, Vec<u8>)>,
    pub(super) next: usize,
    pub(super) ids: BTreeMap<EntryId, usize>,
    pub(super) events: Vec<Event>,
    pub(super) ended: Option<Result<Summary, Failure>>,
    pub(super) window: Option<u64>,
    /// Bytes before this offset were released, and cannot be read again where there is a window.
    pub(super) released: BTreeMap<EntryId, u64>,
    /// The source has nothing for now, and takes a second to say so.
    pub(super) is_stuck: bool,
    /// How long each read takes.
    pub(super) read_time: Duration,
    /// Which pieces were read, by the number of the file and the offset.
    pub(super) reads: Vec<(usize, u64)>,
}

/// The store: names under which files stand, and files that are being written.
#[derive(Clone, Default)]
pub(super) struct Bob {
    pub(super) visible: BTreeMap<RelPath, Vec<u8>>,
    /// Of those that were committed with one.
    pub(super) times: BTreeMap<RelPath, Timestamp>,
    pub(super) partial: BTreeMap<RelPath, Vec<u8>>,
    pub(super) open: BTreeMap<EntryId, (RelPath, Option<Vec<u8>>)>,
    pub(super) commits: VecDeque<(EntryId, Ended)>,
    /// Commits do not end for now.
    pub(super) is_stuck: bool,
    /// All that was ever asked to be committed.
    pub(super) committed: Vec<Commit>,
    pub(super) events: Vec<Event>,
    pub(super) ended: Option<Result<Summary, Failure>>,
    /// Bytes of content that were given to be written.
    pub(super) written: u64,
    /// Somebody writes to the file that is replaced.
    pub(super) changes_before_copy: bool,
    /// The n-th write fails.
    pub(super) fail_write: Option<u64>,
    /// Which pieces were read: of which name, whether of the file that stands there, and from which offset.
    pub(super) reads: Vec<(RelPath, bool, u64)>,
    pub(super) writes: u64,
    /// Before each commit in turn, somebody puts a file under the name that is asked for, or takes away what has it.
    pub(super) others: VecDeque<Option<Vec<u8>>>,
    /// What stands under these names before they are given for the first time.
    pub(super) late: BTreeMap<RelPath, Vec<u8>>,
    /// As `others`, before each look at what has a name.
    pub(super) arrivals: VecDeque<Option<Vec<u8>>>,
    /// What has the name of an entry that was handed back.
    pub(super) rivals: BTreeMap<EntryId, (RelPath, Vec<u8>)>,
    /// How long it takes to read a block of that.
    pub(super) rival_time: Duration,
    /// How often that was done.
    pub(super) rival_reads: usize,
    /// The most of them at a time.
    pub(super) most_rivals: usize,
}

/// How a commit of [`Bob`] ended: with a name or a refusal, or for want of the name.
#[derive(Clone)]
pub(super) enum Ended {
    Committed(Result<RelPath, Refusal>),
    Taken(Option<u64>),
}

/// One direction, with what was done to it.
#[derive(Clone, Default)]
pub(super) struct Channel {
    pub(super) bytes: Vec<u8>,
    /// All that was ever written.
    pub(super) record: Vec<u8>,
    /// Bytes at these positions of the record are changed by these bits.
    pub(super) flips: BTreeMap<usize, u8>,
    /// Nothing is let through from here on.
    pub(super) cut: Option<usize>,
    pub(super) edit: Option<Edit>,
    swapped: Option<u8>,
    /// Bytes are delivered up to each of these places in turn, then as they come.
    pub(super) stops: VecDeque<usize>,
    taken: usize,
    /// At most so many bytes are delivered at a time.
    pub(super) piece: Option<usize>,
    delivered: usize,
}

/// What happens to one byte of a channel beside a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    Delete(usize),
    Double(usize),
    Insert(usize, u8),
    /// It changes places with the next one.
    Swap(usize),
}

impl Channel {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if self.edit.is_none() {
            let start = self.record.len();
            let kept =
                self.cut.map_or(bytes.len(), |cut| cut.saturating_sub(start).min(bytes.len()));
            let first = self.bytes.len();
            self.record.extend_from_slice(bytes);
            self.bytes.extend_from_slice(&bytes[..kept]);
            for (at, flip) in self.flips.range(start..start + kept) {
                self.bytes[first + at - start] ^= flip;
            }
            return;
        }
        for &byte in bytes {
            let at = self.record.len();
            self.record.push(byte);
            match self.edit {
                Some(Edit::Delete(place)) if place == at => {}
                Some(Edit::Swap(place)) if place == at => self.swapped = Some(byte),
                Some(Edit::Double(place)) if place == at => self.bytes.extend([byte, byte]),
                Some(Edit::Insert(place, more)) if place == at => self.bytes.extend([more, byte]),
                _ => {
                    self.bytes.push(byte);
                    self.bytes.extend(self.swapped.take());
                }
            }
        }
    }
}

pub(super) fn path(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).unwrap()
}

/// Content that is a function of the name and the offset, without regularity that a test could miss.
pub(super) fn content(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(super) fn transfer() -> TransferId {
    TransferId::new(*b"a test transfer!")
}

impl Pair {
    pub(super) fn new(config: &Config, files: &[(&str, Vec<u8>)]) -> Self {
        let files = files
            .iter()
            .map(|(name, bytes)| {
                let size = u64::try_from(bytes.len()).unwrap();
                (Meta::file(path(name), Some(size)), bytes.clone())
            })
            .collect();
        Self::with(config, config, Alice { files, ..Alice::default() }, Bob::default())
    }

    pub(super) fn with(ours: &Config, theirs: &Config, alice: Alice, bob: Bob) -> Self {
        let mut receiver = Receiver::new(theirs.clone(), [2; 16], Duration::ZERO);
        let compares_times = ours.unchanged == Unchanged::ByTime;
        if compares_times {
            receiver.compare_times();
        }
        Self {
            sender: Sender::new(ours.clone(), transfer(), [1; 16], Duration::ZERO),
            receiver,
            compares_times,
            alice,
            bob,
            down: Channel::default(),
            up: Channel::default(),
            now: Duration::ZERO,
            former: None,
        }
    }

    /// The sizes of files are not said before their ends.
    pub(super) fn unsized_files(mut self, window: Option<u64>) -> Self {
        self.alice.files.iter_mut().for_each(|(meta, _)| meta.size = None);
        self.alice.window = window;
        self
    }

    /// The same transfer over a new connection, to a receiver that knows nothing of the former one but its store.
    pub(super) fn reconnect(&mut self, config: &Config, attempt: u32) {
        let mut nonce = [0; 16];
        nonce[..4].copy_from_slice(&attempt.to_le_bytes());
        self.sender.reconnect(transfer(), attempt, nonce, self.now);
        self.restart_receiver(config);
    }

    /// The same transfer over a new connection, to a receiver that takes over what the former one knows.
    pub(super) fn reconnect_parked(&mut self, config: &Config, attempt: u32) {
        let (open, rivals) = (self.bob.open.clone(), self.bob.rivals.clone());
        let commits = self.bob.commits.clone();
        let former = self.former.take();
        let left =
            std::mem::replace(&mut self.receiver, Receiver::new(config.clone(), [4; 16], self.now));
        self.reconnect(config, attempt);
        (self.bob.open, self.bob.rivals, self.bob.commits) = (open, rivals, commits);
        // One that was not greeted knows nothing.
        self.former = former.or(Some(left).filter(|left| left.transfer().is_some()));
    }

    /// Both sides were restarted.
    pub(super) fn restart(&mut self, config: &Config) {
        self.sender = Sender::new(config.clone(), transfer(), [3; 16], self.now);
        self.alice.next = 0;
        self.restart_receiver(config);
    }

    /// Both sides were restarted, each with its own settings.
    pub(super) fn restart_as(&mut self, ours: &Config, theirs: &Config) {
        self.restart(theirs);
        self.sender = Sender::new(ours.clone(), transfer(), [3; 16], self.now);
    }

    pub(super) fn restart_receiver(&mut self, config: &Config) {
        self.receiver = Receiver::new(config.clone(), [4; 16], self.now);
        if self.compares_times {
            self.receiver.compare_times();
        }
        self.former = None;
        self.bob.open.clear();
        self.bob.rivals.clear();
        self.bob.commits.clear();
        self.down = Channel::default();
        self.up = Channel::default();
        (self.alice.ended, self.bob.ended) = (None, None);
    }

    /// Runs until both sides have ended, and gives how they did. When neither can go on, time passes.
    pub(super) fn run(&mut self) -> (Result<Summary, Failure>, Result<Summary, Failure>) {
        for _ in 0..10_000_000 {
            let moved = self.step_sender() | self.step_receiver();
            if let (Some(sent), Some(received)) = (self.alice.ended, self.bob.ended) {
                return (sent, received);
            }
            if !moved {
                self.now += Duration::from_millis(500);
                assert!(self.now < Duration::from_secs(3600), "the session does not end");
            }
        }
        panic!("the session does not end");
    }

    /// Runs for as long as anything moves without time passing.
    pub(super) fn run_while_moving(&mut self) {
        while self.step_sender() | self.step_receiver() {}
    }

    /// Runs to the end, and insists that it is a good one.
    pub(super) fn run_well(&mut self) -> Summary {
        let (sent, received) = self.run();
        let (sent, received) = (sent.expect("the sender"), received.expect("the receiver"));
        assert_eq!((sent.delivered, sent.bytes), (received.delivered, received.bytes));
        sent
    }

    pub(super) fn step_sender(&mut self) -> bool {
        if self.alice.ended.is_some() {
            return false;
        }
        let mut out = Vec::new();
        let polled = self.sender.poll(self.now, &mut out);
        self.down.write(&out);
        let action = match polled {
            Ok(action) => action,
            Err(failure) => {
                self.alice.ended = Some(Err(failure));
                return true;
            }
        };
        match action {
            SendAction::Event(event) => self.alice.events.push(event),
            SendAction::NextEntry => match self.alice.files.get(self.alice.next) {
                None => self.sender.handle_exhausted().unwrap(),
                Some((meta, _)) => {
                    let entry = self.sender.handle_entry(meta.clone(), self.alice.window).unwrap();
                    self.alice.ids.insert(entry, self.alice.next);
                    self.alice.next += 1;
                }
            },
            SendAction::Read(request) => {
                self.now += self.alice.read_time;
                if self.alice.is_stuck {
                    self.now += Duration::from_secs(1);
                    self.sender.handle_read_pending().unwrap();
                    return true;
                }
                let released = self.alice.released.get(&request.entry);
                if self.alice.window.is_some() && released.is_some_and(|at| request.offset < *at) {
                    self.sender.handle_withdrawn(Withdrawal::Unreadable { code: 29 }).unwrap();
                    return true;
                }
                let file = self.alice.ids[&request.entry];
                self.alice.reads.push((file, request.offset));
                let bytes = &self.alice.files[file].1;
                let start = usize::try_from(request.offset).unwrap().min(bytes.len());
                let end = (start + request.len).min(bytes.len());
                let mut frame = vec![0xEE; request.head + request.len];
                frame[request.head..][..end - start].copy_from_slice(&bytes[start..end]);
                match self.sender.handle_read(self.now, end - start, &mut frame) {
                    Ok(sent) => self.down.write(&frame[..sent]),
                    Err(failure) => self.alice.ended = Some(Err(failure)),
                }
            }
            SendAction::Release { entry, offset } => {
                let released = self.alice.released.entry(entry).or_default();
                *released = offset.max(*released);
            }
            SendAction::Forget { entry } => drop(self.alice.released.remove(&entry)),
            SendAction::Await { .. } => return self.feed_sender() || !out.is_empty(),
            SendAction::Closed(summary) => self.alice.ended = Some(Ok(summary)),
        }
        true
    }

    fn feed_sender(&mut self) -> bool {
        let len = self.up.available();
        match self.sender.handle_input(self.now, &self.up.bytes[..len]) {
            Ok(consumed) => self.up.consume(consumed.bytes),
            Err(failure) => {
                self.alice.ended = Some(Err(failure));
                true
            }
        }
    }

    pub(super) fn step_receiver(&mut self) -> bool {
        if self.bob.ended.is_some() {
            return false;
        }
        let mut out = Vec::new();
        let polled = self.receiver.poll(self.now, &mut out);
        self.up.write(&out);
        let action = match polled {
            Ok(action) => action,
            Err(failure) => {
                self.bob.ended = Some(Err(failure));
                return true;
            }
        };
        match action {
            ReceiveAction::Event(event) => {
                if let Event::Greeted { .. } = event
                    && let Some(former) = self.former.take()
                {
                    self.receiver.adopt(former).unwrap();
                }
                self.bob.events.push(event);
            }
            ReceiveAction::Read { entry, offset, len } => {
                let held = self.bob.read(entry, offset, len);
                self.receiver.handle_held(Ok(&held)).unwrap();
            }
            ReceiveAction::TakeOver { entry, offset, len } => {
                self.bob.copy(entry, offset, len);
                let held = self.bob.read(entry, offset, len);
                self.receiver.handle_held(Ok(&held)).unwrap();
            }
            ReceiveAction::ReadRival { entry, offset, len } => {
                self.now += self.bob.rival_time;
                self.bob.rival_reads += 1;
                let start = usize::try_from(offset).unwrap();
                let (_, bytes) = &self.bob.rivals[&entry];
                let read = bytes[start..(start + len).min(bytes.len())].to_vec();
                self.receiver.handle_held(Ok(&read)).unwrap();
            }
            ReceiveAction::Commit(commit) => self.bob.commit(&commit),
            ReceiveAction::CommitRival(commit) => self.bob.commit_rival(&commit),
            ReceiveAction::Suspend { entry } => {
                self.bob.rivals.remove(&entry);
                self.bob.open.remove(&entry);
            }
            ReceiveAction::Discard { entry } => {
                self.bob.rivals.remove(&entry);
                if let Some((path, None)) = self.bob.open.remove(&entry) {
                    self.bob.partial.remove(&path);
                }
            }
            ReceiveAction::AwaitCommit { .. } => {
                let Some((entry, ended)) = self.bob.next_commit() else {
                    return !out.is_empty();
                };
                self.committed(entry, ended);
            }
            ReceiveAction::Await { .. } => {
                // Those of a former connection are of no interest before it is taken over.
                if self.receiver.commits() > 0
                    && let Some((entry, ended)) = self.bob.next_commit()
                {
                    self.committed(entry, ended);
                    return true;
                }
                return self.feed_receiver() || !out.is_empty();
            }
            ReceiveAction::Closed(summary) => self.bob.ended = Some(Ok(summary)),
        }
        true
    }

    fn committed(&mut self, entry: EntryId, ended: Ended) {
        match ended {
            Ended::Committed(committed) => self.receiver.handle_committed(entry, committed),
            Ended::Taken(rival) => self.receiver.handle_taken(entry, rival),
        }
        .unwrap();
    }

    fn feed_receiver(&mut self) -> bool {
        let len = self.down.available();
        let bob = &mut self.bob;
        match self.receiver.handle_input(self.now, &self.down.bytes[..len]) {
            Err(failure) => bob.ended = Some(Err(failure)),
            Ok(Step::Consumed(consumed)) => return self.down.consume(consumed.bytes),
            Ok(Step::Begin { offer, place }) => {
                let begun = bob.begin(&offer, place);
                self.receiver.handle_begun(begun).unwrap();
            }
            Ok(Step::Look { offer }) => {
                let standing = bob.standing(&offer.meta.path);
                self.receiver.handle_standing(standing).unwrap();
            }
            Ok(Step::Read { entry, offset, len }) => {
                let held = bob.read(entry, offset, len);
                self.receiver.handle_held(Ok(&held)).unwrap();
            }
            Ok(Step::Write { entry, offset, bytes }) => {
                let written = bob.write(entry, offset, bytes);
                self.receiver.handle_written(written).unwrap();
            }
            Ok(Step::Copy { entry, offset, len }) => {
                bob.copy(entry, offset, usize::try_from(len).unwrap());
                self.receiver.handle_written(Ok(())).unwrap();
            }
        }
        true
    }
}

impl Channel {
    /// How many bytes are delivered, all told, of those under way.
    fn available(&mut self) -> usize {
        let all = self.bytes.len();
        if let Some(&stop) = self.stops.front() {
            let held = stop.saturating_sub(self.taken);
            if held <= all {
                self.stops.pop_front();
            }
            self.delivered = self.delivered.max(held.min(all));
            return self.delivered;
        }
        self.delivered = match self.piece {
            Some(piece) => (self.delivered + piece).min(all),
            None => all,
        };
        self.delivered
    }

    /// Whether anything happened.
    fn consume(&mut self, bytes: usize) -> bool {
        self.bytes.drain(..bytes);
        self.taken += bytes;
        self.delivered -= bytes;
        bytes > 0 || self.delivered < self.bytes.len()
    }
}

impl Bob {
    fn standing(&self, path: &RelPath) -> Option<Standing> {
        let size = u64::try_from(self.visible.get(path)?.len()).unwrap();
        Some(Standing::new(size, *self.times.get(path)?))
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<Found, Refusal> {
        if let Kind::Symlink(_) = offer.meta.kind {
            return Err(Refusal::Kind);
        }
        let path = name_at(&offer.meta, place);
        if let Some(Some(bytes)) = self.arrivals.pop_front() {
            self.visible.insert(path.clone(), bytes);
        }
        if place != Place::Replacing
            && let Some(bytes) = self.visible.get(&path)
        {
            let len = u64::try_from(bytes.len()).unwrap();
            self.open.insert(offer.entry, (path, Some(bytes.clone())));
            return Ok(Found::Existing(len));
        }
        self.open.insert(offer.entry, (path.clone(), None));
        match self.partial.get(&path) {
            Some(bytes) => Ok(Found::Partial(u64::try_from(bytes.len()).unwrap())),
            None => {
                self.partial.insert(path, Vec::new());
                Ok(Found::Fresh)
            }
        }
    }

    fn copy(&mut self, entry: EntryId, offset: u64, len: usize) {
        let (path, _) = self.open[&entry].clone();
        let start = usize::try_from(offset).unwrap();
        let old = self.visible.get_mut(&path).unwrap();
        if std::mem::take(&mut self.changes_before_copy) {
            old[start] ^= 0xFF;
        }
        let bytes = old[start..][..len].to_vec();
        self.put(entry, offset, &bytes);
    }

    fn next_commit(&mut self) -> Option<(EntryId, Ended)> {
        if self.is_stuck { None } else { self.commits.pop_front() }
    }

    fn read(&mut self, entry: EntryId, offset: u64, len: usize) -> Vec<u8> {
        let (path, existing) = &self.open[&entry];
        self.reads.push((path.clone(), existing.is_some(), offset));
        let bytes = existing.as_ref().unwrap_or_else(|| &self.partial[path]);
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        bytes[start..(start + len).min(bytes.len())].to_vec()
    }

    fn write(&mut self, entry: EntryId, offset: u64, bytes: &[u8]) -> Result<(), Refusal> {
        self.writes += 1;
        if self.fail_write == Some(self.writes) {
            return Err(Refusal::NoSpace { needed: 7, available: 3 });
        }
        self.written += u64::try_from(bytes.len()).unwrap();
        self.put(entry, offset, bytes);
        Ok(())
    }

    fn put(&mut self, entry: EntryId, offset: u64, bytes: &[u8]) {
        let (path, existing) = &self.open[&entry];
        assert!(existing.is_none(), "a file under its final name is not written");
        let file = self.partial.get_mut(path).unwrap();
        let start = usize::try_from(offset).unwrap();
        file.resize(file.len().max(start + bytes.len()), 0);
        file[start..][..bytes.len()].copy_from_slice(bytes);
    }

    fn commit(&mut self, commit: &Commit) {
        self.rivals.remove(&commit.entry);
        let (path, existing) = self.open.remove(&commit.entry).unwrap();
        self.committed.push(commit.clone());
        let mut name = path.clone();
        if existing.is_none() {
            name = name_at(&commit.meta, commit.place);
            if let Some(bytes) = self.late.remove(&name) {
                self.visible.insert(name.clone(), bytes);
            }
            match self.others.pop_front() {
                Some(Some(bytes)) => drop(self.visible.insert(name.clone(), bytes)),
                Some(None) => drop(self.visible.remove(&name)),
                None => {}
            }
            if commit.place != Place::Replacing
                && let Some(rival) = self.visible.get(&name)
            {
                let len = u64::try_from(rival.len()).unwrap();
                self.rivals.insert(commit.entry, (name, rival.clone()));
                self.most_rivals = self.most_rivals.max(self.rivals.len());
                self.open.insert(commit.entry, (path, None));
                self.commits.push_back((commit.entry, Ended::Taken(Some(len))));
                return;
            }
            let mut bytes = self.partial.remove(&path).unwrap();
            bytes.resize(usize::try_from(commit.size).unwrap(), 0);
            self.visible.insert(name.clone(), bytes);
            self.times.extend(commit.meta.modified.map(|time| (name.clone(), time)));
        }
        self.commits.push_back((commit.entry, Ended::Committed(Ok(name))));
    }

    fn commit_rival(&mut self, commit: &Commit) {
        self.committed.push(commit.clone());
        let (path, rival) = self.rivals.remove(&commit.entry).unwrap();
        match self.others.pop_front() {
            Some(Some(bytes)) => drop(self.visible.insert(path.clone(), bytes)),
            Some(None) => drop(self.visible.remove(&path)),
            None => {}
        }
        let stands = self.visible.get(&path) == Some(&rival);
        let committed = if stands { Ok(path) } else { Err(Refusal::Exists) };
        self.commits.push_back((commit.entry, Ended::Committed(committed)));
    }
}

fn name_at(meta: &Meta, place: Place) -> RelPath {
    let name = &meta.path;
    match place {
        Place::Beside(number) => {
            let name = [name.as_bytes(), format!("-{number}").as_bytes()].concat();
            RelPath::parse(&name).unwrap()
        }
        Place::Offered | Place::Replacing => name.clone(),
    }
}
