//! A sender and a receiver in one thread, joined by two byte queues, with the simplest source and store there are.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::{Compare, Config};
use crate::proto::{Error, ReceiveAction, Receiver, SendAction, Sender, Step, Which};
use crate::types::{EntryId, Event, Meta, RelPath, Summary, Ticket, TransferId, Withdrawal};

pub(super) use super::bob::{Bob, Ended};
pub(super) use super::channel::{Channel, Edit};

/// Both sides, and the bytes between them.
pub(super) struct Pair {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) alice: Alice,
    pub(super) bob: Bob,
    /// Bytes under way to the receiver, and to the sender.
    pub(super) down: Channel,
    pub(super) up: Channel,
    pub(super) now: Duration,
    transfer: TransferId,
    compares_times: bool,
    /// Number of receivers so far: each has a nonce of its own.
    receivers: u8,
    steps: u64,
    /// The receiver of the earlier connection, to be taken over once the sender has greeted.
    pub(super) earlier: Option<Receiver>,
}

/// The source.
#[derive(Clone, Default)]
pub(super) struct Alice {
    pub(super) files: Vec<(Meta, Vec<u8>)>,
    pub(super) next: usize,
    pub(super) ids: BTreeMap<EntryId, usize>,
    pub(super) events: Vec<Event>,
    pub(super) ended: Option<Result<Summary, Error>>,
    pub(super) window: Option<u64>,
    /// Bytes before this offset were released, and cannot be read again where there is a window.
    pub(super) released: BTreeMap<EntryId, u64>,
    /// The source has nothing for now, and takes a second to say so.
    pub(super) is_stuck: bool,
    /// Time that each read takes.
    pub(super) read_time: Duration,
    /// Pieces that were read, by the number of the file and the offset.
    pub(super) reads: Vec<(usize, u64)>,
}

pub(super) fn path(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).unwrap()
}

/// Returns content that is a function of the name and the offset, without regularity that a test
/// could miss.
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
        let compares_times = ours.compare == Compare::SizeAndTime;
        if compares_times {
            receiver.compare_times();
        }
        Self {
            sender: Sender::new(ours.clone(), transfer(), [1; 16], Duration::ZERO),
            receiver,
            transfer: transfer(),
            compares_times,
            receivers: 1,
            steps: 0,
            alice,
            bob,
            down: Channel::default(),
            up: Channel::default(),
            now: Duration::ZERO,
            earlier: None,
        }
    }

    /// Hides the sizes of files until their ends.
    pub(super) fn unsized_files(mut self, window: Option<u64>) -> Self {
        self.alice.files.iter_mut().for_each(|(meta, _)| meta.size = None);
        self.alice.window = window;
        self
    }

    /// Begins the same transfer over a new connection, to a receiver that knows nothing of the earlier one but its
    /// store.
    pub(super) fn reconnect(&mut self, config: &Config, attempt: u32) {
        drop(self.connect_again(config, attempt));
    }

    /// Gives the earlier receiver.
    fn connect_again(&mut self, config: &Config, attempt: u32) -> Receiver {
        let mut nonce = [0; 16];
        nonce[..4].copy_from_slice(&attempt.to_le_bytes());
        self.sender.reconnect(self.transfer, attempt, nonce, self.now);
        self.put_receiver(config)
    }

    /// Begins the same transfer over a new connection, to a receiver that takes over what the earlier one
    /// knows.
    pub(super) fn reconnect_suspended(&mut self, config: &Config, attempt: u32) {
        let (open, conflicts) = (self.bob.open.clone(), self.bob.conflicts.clone());
        let commits = self.bob.commits.clone();
        let earlier = self.earlier.take();
        let left = self.connect_again(config, attempt);
        (self.bob.open, self.bob.conflicts, self.bob.commits) = (open, conflicts, commits);
        // One that was not greeted knows nothing.
        self.earlier = earlier.or(Some(left).filter(|left| left.transfer().is_some()));
    }

    /// Restarts both sides.
    pub(super) fn restart(&mut self, config: &Config) {
        self.sender = Sender::new(config.clone(), self.transfer, [3; 16], self.now);
        self.alice.next = 0;
        self.restart_receiver(config);
    }

    /// Restarts both sides, each with its own settings.
    pub(super) fn restart_as(&mut self, ours: &Config, theirs: &Config) {
        self.restart(theirs);
        self.sender = Sender::new(ours.clone(), self.transfer, [3; 16], self.now);
    }

    /// Restarts the sender, which claims the same transfer; the receiver has yet to close what was open for it.
    pub(super) fn restart_sender(&mut self, ours: &Config, theirs: &Config, attempt: u32) {
        self.reconnect_suspended(theirs, attempt);
        self.sender = Sender::new(ours.clone(), self.transfer, [3; 16], self.now);
        self.alice.next = 0;
    }

    /// Restarts the sender, which knows the number of its attempt and nothing else: the receiver takes over what it knows.
    pub(super) fn forget(&mut self, ours: &Config, theirs: &Config, attempt: u32) {
        self.restart_sender(ours, theirs, attempt);
        self.sender.reconnect(self.transfer, attempt, [9; 16], self.now);
    }

    /// Calls both sides with another transfer, over a store whose commits are under way.
    pub(super) fn call_with(
        &mut self,
        ours: &Config,
        theirs: &Config,
        transfer: TransferId,
        files: Vec<(Meta, Vec<u8>)>,
    ) {
        self.bob.close_all();
        let commits = std::mem::take(&mut self.bob.commits);
        self.transfer = transfer;
        self.alice.files = files;
        self.restart_as(ours, theirs);
        self.bob.commits = commits;
    }

    pub(super) fn restart_receiver(&mut self, config: &Config) {
        drop(self.put_receiver(config));
    }

    /// Puts a receiver that has nothing open in the place of the earlier one, which it gives.
    fn put_receiver(&mut self, config: &Config) -> Receiver {
        self.earlier = None;
        self.bob.open.clear();
        self.bob.conflicts.clear();
        self.bob.commits.clear();
        self.down = Channel::default();
        self.up = Channel::default();
        (self.alice.ended, self.bob.ended) = (None, None);
        self.receivers = self.receivers.checked_add(1).unwrap();
        let mut receiver = Receiver::new(config.clone(), [2 + self.receivers; 16], self.now);
        if self.compares_times {
            receiver.compare_times();
        }
        std::mem::replace(&mut self.receiver, receiver)
    }

    /// Runs until both sides have ended, and gives how they did. When neither can go on, time passes.
    pub(super) fn run(&mut self) -> (Result<Summary, Error>, Result<Summary, Error>) {
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
        let moved = self.go_on_receiving();
        // Where nothing moved, nothing changed.
        if moved {
            self.check_receiver();
        }
        moved
    }

    /// Checks after each step that what is open belongs to an entry. A check looks at every entry: of more than 64, one step in so
    /// many is checked that a step costs as much as with 64. What is planted is met with few.
    fn check_receiver(&mut self) {
        self.steps += 1;
        let open = &self.bob.open;
        assert!(self.bob.conflicts.keys().all(|entry| open.contains_key(entry)));
        let machines = [Some(&self.receiver), self.earlier.as_ref()].into_iter().flatten();
        let entries = machines.map(Receiver::entries_to_check).sum::<usize>() as u64;
        if !self.steps.is_multiple_of(1 + entries / 64) {
            return;
        }
        // What is handed back is the store's, until it has said so.
        let handed_back = |entry: &EntryId| {
            let receiver = self.earlier.as_ref().unwrap_or(&self.receiver);
            self.bob.commits.iter().any(|(ticket, ended)| {
                matches!(ended, Ended::Taken(_)) && receiver.committing(*ticket) == Some(*entry)
            })
        };
        let open = open.keys().copied().filter(|entry| !handed_back(entry));
        // Until it is adopted, what is open is that of the earlier one.
        if let Some(earlier) = &self.earlier {
            earlier.assert_invariants(open);
            self.receiver.assert_invariants([]);
        } else {
            self.receiver.assert_invariants(open);
        }
    }

    fn go_on_receiving(&mut self) -> bool {
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
                    && let Some(earlier) = self.earlier.take()
                {
                    if self.receiver.is_claimed() {
                        self.bob.close_all();
                    } else {
                        self.receiver.adopt(earlier).unwrap();
                    }
                }
                self.bob.events.push(event);
            }
            ReceiveAction::Read { entry, which: Which::Own, offset, len } => {
                self.now += self.bob.conflict_time;
                let held = self.bob.read(entry, offset, len);
                self.receiver.handle_read(Ok(&held)).unwrap();
            }
            ReceiveAction::Copy { entry, offset, len } => {
                self.now += self.bob.conflict_time;
                self.bob.copy(entry, offset, len);
                let held = self.bob.read(entry, offset, len);
                self.receiver.handle_read(Ok(&held)).unwrap();
            }
            ReceiveAction::Read { entry, which: Which::Existing, offset, len } => {
                self.now += self.bob.conflict_time;
                self.bob.conflict_reads += 1;
                let start = usize::try_from(offset).unwrap();
                let (_, bytes) = &self.bob.conflicts[&entry];
                let read = bytes[start..(start + len).min(bytes.len())].to_vec();
                self.receiver.handle_read(Ok(&read)).unwrap();
            }
            ReceiveAction::Stat { offer } => {
                let stat = self.bob.stat(&offer.meta.path);
                self.receiver.handle_stat(stat).unwrap();
            }
            ReceiveAction::WriteZeros { entry, offset, len } => {
                let len = usize::try_from(len).unwrap();
                let written = self.bob.write_zeros(entry, offset, len);
                self.receiver.handle_written(written).unwrap();
            }
            ReceiveAction::Begin { offer, place } => {
                let begun = self.bob.begin(&offer, place);
                self.receiver.handle_begun(begun).unwrap();
            }
            ReceiveAction::Commit { which: Which::Own, commit } => self.bob.commit(&commit),
            ReceiveAction::Commit { which: Which::Existing, commit } => {
                self.bob.commit_conflict(&commit);
            }
            ReceiveAction::Suspend { entry } => {
                self.bob.conflicts.remove(&entry);
                self.bob.open.remove(&entry);
            }
            ReceiveAction::Discard { entry } => {
                self.bob.conflicts.remove(&entry);
                if let Some((path, None)) = self.bob.open.remove(&entry) {
                    self.bob.partial.remove(&path);
                }
            }
            ReceiveAction::AwaitCommit { .. } => {
                let Some((ticket, ended)) = self.bob.next_commit() else {
                    return !out.is_empty();
                };
                self.committed(ticket, ended);
            }
            ReceiveAction::Await { .. } => {
                // Those of an earlier connection are of no interest before it is taken over.
                if self.receiver.commits() > 0
                    && !self.bob.is_lazy
                    && let Some((ticket, ended)) = self.bob.next_commit()
                {
                    self.committed(ticket, ended);
                    return true;
                }
                return self.feed_receiver() || !out.is_empty();
            }
            ReceiveAction::Closed(summary) => self.bob.ended = Some(Ok(summary)),
        }
        true
    }

    fn committed(&mut self, ticket: Ticket, ended: Ended) {
        match ended {
            Ended::Committed(committed) => self.receiver.handle_committed(ticket, committed),
            Ended::Taken(conflict) => self.receiver.handle_taken(ticket, conflict),
        }
        .unwrap();
    }

    fn feed_receiver(&mut self) -> bool {
        let len = self.down.available();
        let bob = &mut self.bob;
        match self.receiver.handle_input(self.now, &self.down.bytes[..len]) {
            Err(failure) => bob.ended = Some(Err(failure)),
            Ok(Step::Consumed(consumed)) => return self.down.consume(consumed.bytes),
            Ok(Step::Poll) => {}
            Ok(Step::Write { entry, offset, bytes }) => {
                self.now += bob.write_time;
                let written = bob.write(entry, offset, bytes);
                self.receiver.handle_written(written).unwrap();
            }
        }
        true
    }
}
