//! The receiving half over one stream.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::blocking::Transfer;
use super::cancel::Cancel;
use super::clock::Clock;
use super::observer::Observer;
use super::retry::random_bytes;
use super::wire::{Moved, Pace, TICK, Wire, consume};
use crate::error::Error;
use crate::proto::{
    AbortCode, Consumed, EntryId, Event, Found, ReceiveAction, Receiver, Refusal, Step, Summary,
    TransferId,
};
use crate::store::{Begun, Commit, Store, Uncommitted, refusal_of};

/// What a receiving session tells those who run it, beside its observer.
pub(super) struct Hooks<'h> {
    /// Hears which transfer it is before the sender gets any answer.
    pub(super) greeted: Greeted<'h>,
    /// The sum, also of a session that failed.
    pub(super) summary: Summary,
}

type Greeted<'h> = &'h mut dyn FnMut(TransferId, u32, &Cancel);

/// The receiving half with its store.
struct Receiving<'s, S: Store> {
    store: &'s mut S,
    receiver: Receiver,
    files: BTreeMap<EntryId, Open<S::File>>,
}

/// An entry that is open.
struct Open<F> {
    file: F,
    /// What has its name, where it was handed back for that.
    rival: Option<F>,
}

impl<O: Observer, C: Clock> Transfer<O, C> {
    pub(super) fn run_receiver<S: Store, T: Read + Write>(
        &mut self,
        store: &mut S,
        stream: T,
        hooks: &mut Hooks<'_>,
    ) -> Result<Summary, Error> {
        let now = self.clock.now();
        let mut receiver = Receiver::new(self.session_config(), random_bytes(), now);
        if store.holds_content() {
            receiver.prefer_roots();
            receiver.compare_times();
        }
        let mut receiving = Receiving { store, receiver, files: BTreeMap::new() };
        let ended = self.run_receiving(&mut receiving, stream, hooks);
        hooks.summary = receiving.receiver.summary();
        receiving.suspend_all();
        ended
    }

    fn run_receiving<S: Store, T: Read + Write>(
        &mut self,
        receiving: &mut Receiving<'_, S>,
        stream: T,
        hooks: &mut Hooks<'_>,
    ) -> Result<Summary, Error> {
        let mut wire = Wire::new(stream, self.piece());
        let mut needed = 0;
        loop {
            let now = self.clock.now();
            match self.cancel.code() {
                // Nobody need hear of it: the peer has given this connection up.
                Some(code @ AbortCode::Superseded) => return Err(Error::Policy(code)),
                Some(code) => receiving.receiver.end(now, code),
                None => {}
            }
            receiving.collect(Duration::ZERO)?;
            let polled = receiving.receiver.poll(now, wire.control());
            wire.absorb();
            let action = match polled {
                Ok(action) => action,
                Err(failure) => {
                    self.say_last_words(&mut wire);
                    return Err(failure.into());
                }
            };
            match action {
                ReceiveAction::Event(event) => {
                    if let Event::Greeted { transfer, attempt, .. } = event {
                        self.greeted = true;
                        (hooks.greeted)(transfer, attempt, &self.cancel);
                    }
                    self.observer.event(&event);
                }
                ReceiveAction::Read { entry, offset, len } => {
                    self.flush_receiver(&mut wire, &mut receiving.receiver)?;
                    receiving.read(entry, Held::Entry, offset, len)?;
                }
                ReceiveAction::ReadRival { entry, offset, len } => {
                    self.flush_receiver(&mut wire, &mut receiving.receiver)?;
                    receiving.read(entry, Held::Rival, offset, len)?;
                }
                ReceiveAction::Commit(commit) => {
                    if let Some(file) = receiving.take(commit.entry) {
                        receiving.store.commit(file, commit);
                    }
                }
                ReceiveAction::CommitRival(commit) => receiving.commit_rival(commit),
                ReceiveAction::Suspend { entry } => {
                    if let Some(file) = receiving.take(entry) {
                        receiving.store.suspend(file);
                    }
                }
                ReceiveAction::Discard { entry } => {
                    if let Some(file) = receiving.take(entry) {
                        receiving.store.discard(file);
                    }
                }
                ReceiveAction::AwaitCommit { until } => {
                    self.flush_receiver(&mut wire, &mut receiving.receiver)?;
                    let wait = until.saturating_sub(self.clock.now()).min(TICK);
                    receiving.collect(wait)?;
                }
                ReceiveAction::Await { .. } => {
                    self.flush_receiver(&mut wire, &mut receiving.receiver)?;
                    let consumed = receiving.hear(self.clock.now(), wire.input())?;
                    if let Some(consumed) = consumed {
                        needed = consume(&mut wire, consumed, needed);
                        if consumed.bytes == 0 {
                            match wire.read(needed)? {
                                Moved::Tick => needed = 0,
                                Moved::Bytes(bytes) => {
                                    self.throttle(bytes);
                                }
                            }
                        }
                    }
                }
                ReceiveAction::Closed(summary) => {
                    self.flush_receiver(&mut wire, &mut receiving.receiver)?;
                    return Ok(summary);
                }
            }
        }
    }

    fn flush_receiver<T: Read + Write>(
        &self,
        wire: &mut Wire<T>,
        receiver: &mut Receiver,
    ) -> Result<(), Error> {
        let mut pace = Pace::new(self.config.deadlines.progress, self.clock.now());
        wire.flush(|moved| {
            let now = self.clock.now();
            match moved {
                Moved::Bytes(_) => receiver.handle_peer_took(now),
                Moved::Tick if self.cancel.is_cancelled() => return Err(Error::Cancelled),
                Moved::Tick => receiver.handle_write_blocked(now)?,
            }
            Ok(pace.check(now, moved)?)
        })
    }
}

impl<'h> Hooks<'h> {
    pub(super) fn new(greeted: Greeted<'h>) -> Self {
        Self { greeted, summary: Summary::default() }
    }
}

impl<S: Store> Receiving<'_, S> {
    /// Gives the input to the core, and does what it asks of the store; `None` if it is to be given again.
    fn hear(&mut self, now: Duration, input: &[u8]) -> Result<Option<Consumed>, Error> {
        match self.receiver.handle_input(now, input)? {
            Step::Consumed(consumed) => return Ok(Some(consumed)),
            Step::Begin { offer, place } => {
                if let Some(former) = self.take(offer.entry) {
                    self.store.suspend(former);
                }
                let begun = self.store.begin(&offer, place).map(|begun| {
                    let (file, found) = match begun {
                        Begun::Fresh(file) => (file, Found::Fresh),
                        Begun::Partial(file, len) => (file, Found::Partial(len)),
                        Begun::Existing(file, len) => (file, Found::Existing(len)),
                    };
                    self.files.insert(offer.entry, Open { file, rival: None });
                    found
                });
                self.receiver.handle_begun(begun)?;
            }
            Step::Look { offer } => {
                let standing = self.store.standing(&offer);
                self.receiver.handle_standing(standing)?;
            }
            Step::Read { entry, offset, len } => self.read(entry, Held::Entry, offset, len)?,
            Step::Write { entry, offset, bytes } => {
                let written = match self.files.get_mut(&entry) {
                    Some(open) => self.store.write_at(&mut open.file, offset, bytes),
                    None => Err(Refusal::Store { code: 0 }),
                };
                self.receiver.handle_written(written)?;
            }
            Step::Copy { entry, offset, len } => {
                let copied = match self.files.get_mut(&entry) {
                    Some(open) => self.store.copy_held(&mut open.file, offset, len),
                    None => Err(Refusal::Store { code: 0 }),
                };
                self.receiver.handle_written(copied)?;
            }
        }
        Ok(None)
    }

    /// Reads what the store holds, as much as there is.
    fn read(&mut self, entry: EntryId, held: Held, offset: u64, len: usize) -> Result<(), Error> {
        let mut buffer = vec![0; len];
        let mut read = 0;
        let mut failure = None;
        let file = self.files.get_mut(&entry).and_then(|open| match held {
            Held::Entry => Some(&mut open.file),
            Held::Rival => open.rival.as_mut(),
        });
        if let Some(file) = file {
            while read < len {
                let at = offset.saturating_add(read as u64);
                match self.store.read_at(file, at, &mut buffer[read..]) {
                    Ok(0) => break,
                    Ok(bytes) if bytes > len - read => {
                        failure = Some(Refusal::Store { code: 0 });
                        break;
                    }
                    Ok(bytes) => read += bytes,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        failure = Some(refusal_of(&error));
                        break;
                    }
                }
            }
        }
        let held = failure.map_or(Ok(&buffer[..read]), Err);
        Ok(self.receiver.handle_held(held)?)
    }

    /// Takes in commits that ended, waiting for the first one if asked to.
    fn collect(&mut self, mut wait: Duration) -> Result<(), Error> {
        while self.receiver.commits() > 0 {
            let Some((entry, ended)) = self.store.poll_committed(wait) else { break };
            wait = Duration::ZERO;
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
        Ok(())
    }

    fn commit_rival(&mut self, commit: Commit) {
        let open = self.files.get_mut(&commit.entry);
        if let Some(rival) = open.and_then(|open| open.rival.take()) {
            self.store.commit(rival, commit);
        }
    }

    /// What is open of an entry, to be closed; its rival is.
    fn take(&mut self, entry: EntryId) -> Option<S::File> {
        let Open { file, rival } = self.files.remove(&entry)?;
        if let Some(rival) = rival {
            self.store.suspend(rival);
        }
        Some(file)
    }

    /// The session is over: what is open is kept for the next one.
    fn suspend_all(&mut self) {
        while let Some((&entry, _)) = self.files.first_key_value() {
            if let Some(file) = self.take(entry) {
                self.store.suspend(file);
            }
        }
    }
}

/// Of which file held bytes are to be read.
#[derive(Clone, Copy)]
enum Held {
    Entry,
    Rival,
}
