//! The receiving side: a machine, and what it does to a store.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use super::{Ended, Progress};
use crate::config::Config;
use crate::proto::{
    EntryId, Event, Failure, ReceiveAction, Receiver, Refusal, Step, StoreOperation,
};
use crate::store::{Store, Uncommitted, refusal_of};

/// A [`Receiver`] with its store.
pub struct Bob<T: Store> {
    /// The core.
    pub receiver: Receiver,
    /// What it stores into.
    pub store: T,
    /// All events so far, over all connections.
    pub events: Vec<Event>,
    pub(super) config: Config,
    files: BTreeMap<EntryId, Open<T::File>>,
    /// The machine of the former connection, to be taken over once the sender has greeted.
    pub(super) former: Option<Receiver>,
    pub(super) ended: Option<Ended>,
}

/// An entry that is open, and what has its name where it was handed back for that.
struct Open<F> {
    file: F,
    rival: Option<F>,
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
                if let Event::Greeted { transfer, .. } = event {
                    if let Some(former) = self.former.take() {
                        self.receiver.adopt(former)?;
                    }
                    self.store.serve(transfer);
                }
                self.events.push(event);
            }
            ReceiveAction::Read { entry, offset, len } => self.read(entry, false, offset, len)?,
            ReceiveAction::TakeOver { entry, offset, len } => {
                let file = open(&mut self.files, entry, StoreOperation::Read);
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
                let file = open(&mut self.files, entry, StoreOperation::Write);
                let written =
                    file.and_then(|open| self.store.write_at(&mut open.file, offset, bytes));
                self.receiver.handle_written(written)?;
            }
            Step::Copy { entry, offset, len } => {
                let file = open(&mut self.files, entry, StoreOperation::Copy);
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
                        held = Err(refusal_of(StoreOperation::Read, &error));
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

    pub(super) fn suspend_all(&mut self) {
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

    pub(super) fn lose(&mut self) -> Ended {
        *self.ended.insert(Ended::Lost)
    }
}

impl<T: Store> fmt::Debug for Bob<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Bob");
        debug.field("receiver", &self.receiver).field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// What is open of an entry, for an operation on it.
fn open<F>(
    files: &mut BTreeMap<EntryId, Open<F>>,
    entry: EntryId,
    operation: StoreOperation,
) -> Result<&mut Open<F>, Refusal> {
    files.get_mut(&entry).ok_or(Refusal::Store { code: 0, operation })
}
