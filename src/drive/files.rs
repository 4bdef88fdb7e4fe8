//! The files that a receiving session has open, and what its machine asks to be done to them.
//!
//! Whoever runs a [`Receiver`] does this alike: the driver over a stream, a simulated pair in virtual time, and a
//! driver of somebody else's. So that what the one is tested with is what the others run, it is done here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::time::Duration;

use crate::proto::{self, Consumed, ReceiveAction, Receiver, Step, Which};
use crate::store::{Ended, Store, Uncommitted, refusal_of};
use crate::types::{Commit, EntryId, Offer, Place, Refusal, StoreOperation, Ticket};

/// The files that a [`Receiver`] has open in a [`Store`].
///
/// A driver of your own does the three things that only it can do: it moves bytes, looks at the clock, and tells the
/// application. Everything else it gives to this, which does it to the store and tells the receiver what came of it:
///
/// - an action of [`Receiver::poll`] to [`act`](Files::act),
/// - a step of [`Receiver::handle_input`] to [`answer`](Files::answer), and then polls again,
/// - before each poll, and on [`ReceiveAction::AwaitCommit`]: the commits that have ended, by
///   [`collect`](Files::collect),
/// - when the session is over, however it ended: whatever is left, by [`suspend`](Files::suspend).
///
/// A session that lost its connection and is to be [adopted](Receiver::adopt) keeps its files: they go on with the
/// receiver that adopts it.
///
/// Invariant: its [entries](Files::entries) are exactly those that the invariant of the [`Receiver`] names, as soon as
/// the actions that the receiver has queued are done. It holds as long as every action and every step is given to it,
/// in the order in which the receiver gives them, with the same store.
#[derive(Debug)]
pub struct Files<F> {
    open: BTreeMap<EntryId, Open<F>>,
    /// The commits that the store has. A receiver counts those too that it has queued and not asked for.
    committing: BTreeSet<Ticket>,
}

/// An entry that is open.
#[derive(Debug)]
struct Open<F> {
    file: F,
    /// Existing file of its name, where it was handed back for that.
    existing: Option<F>,
}

impl<F> Default for Files<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl<F> Files<F> {
    /// Makes the set of a session that has nothing open.
    #[must_use]
    pub const fn new() -> Self {
        Self { open: BTreeMap::new(), committing: BTreeSet::new() }
    }

    /// Does what an action asks of the store, and tells the receiver what came of it.
    ///
    /// [`Event`](ReceiveAction::Event), [`AwaitCommit`](ReceiveAction::AwaitCommit), [`Await`](ReceiveAction::Await)
    /// and [`Closed`](ReceiveAction::Closed) are the caller's: nothing is done for them. Errors of the store refuse the
    /// entry, and are not errors of this call.
    ///
    /// # Errors
    ///
    /// [`proto::Error::Misuse`] if the action is not the last one that this receiver gave; any other [`proto::Error`] is that
    /// of the session, as for [`Receiver::poll`].
    pub fn act<S: Store<File = F>>(
        &mut self,
        store: &mut S,
        receiver: &mut Receiver,
        action: ReceiveAction,
    ) -> Result<(), proto::Error> {
        match action {
            ReceiveAction::Stat { offer } => receiver.handle_stat(store.stat(&offer))?,
            ReceiveAction::Read { entry, which, offset, len } => {
                self.read(store, receiver, entry, which, offset, len)?;
            }
            ReceiveAction::Copy { entry, offset, len } => {
                let file = self.file(entry, StoreOperation::Copy);
                match file.and_then(|file| store.copy_held(file, offset, len as u64)) {
                    Ok(()) => self.read(store, receiver, entry, Which::Own, offset, len)?,
                    Err(reason) => receiver.handle_read(Err(reason))?,
                }
            }
            ReceiveAction::WriteZeros { entry, offset, len } => {
                let file = self.file(entry, StoreOperation::Write);
                let written = file.and_then(|file| store.write_zeros(file, offset, len));
                receiver.handle_written(written)?;
            }
            ReceiveAction::Begin { offer, place } => {
                self.begin(store, receiver, &offer, place)?;
            }
            ReceiveAction::Commit { which, commit } => {
                let file = match which {
                    Which::Own => self.take(store, commit.entry),
                    Which::Existing => {
                        self.open.get_mut(&commit.entry).and_then(|open| open.existing.take())
                    }
                };
                match file {
                    Some(file) => self.commit(store, file, commit),
                    None => receiver.handle_committed(commit.ticket, Err(NOT_OPEN))?,
                }
            }
            ReceiveAction::Suspend { entry } => {
                if let Some(file) = self.take(store, entry) {
                    store.suspend(file);
                }
            }
            ReceiveAction::Discard { entry } => {
                if let Some(file) = self.take(store, entry) {
                    store.discard(file);
                }
            }
            ReceiveAction::Event(_)
            | ReceiveAction::AwaitCommit { .. }
            | ReceiveAction::Await { .. }
            | ReceiveAction::Closed(_) => {}
        }
        Ok(())
    }

    /// Does what a step asks of the store, and tells the receiver what came of it.
    ///
    /// `Some` is the number of consumed bytes of the input. `None`: nothing is yet. Poll again, and give the same input
    /// at the next [`ReceiveAction::Await`].
    ///
    /// # Errors
    ///
    /// As for [`act`](Files::act).
    pub fn answer<S: Store<File = F>>(
        &mut self,
        store: &mut S,
        receiver: &mut Receiver,
        step: Step<'_>,
    ) -> Result<Option<Consumed>, proto::Error> {
        match step {
            Step::Consumed(consumed) => return Ok(Some(consumed)),
            Step::Poll => {}
            Step::Write { entry, offset, bytes } => {
                let file = self.file(entry, StoreOperation::Write);
                receiver
                    .handle_written(file.and_then(|file| store.write_at(file, offset, bytes)))?;
            }
        }
        Ok(None)
    }

    /// Closes what is open of an entry, and begins it.
    fn begin(
        &mut self,
        store: &mut impl Store<File = F>,
        receiver: &mut Receiver,
        offer: &Offer,
        place: Place,
    ) -> Result<(), proto::Error> {
        if let Some(earlier) = self.take(store, offer.entry) {
            store.suspend(earlier);
        }
        let begun = store.begin(offer, place).map(|(file, found)| {
            self.open.insert(offer.entry, Open { file, existing: None });
            found
        });
        receiver.handle_begun(begun)
    }

    /// Takes in commits that ended, waiting for the first one if asked to; `false` if none did.
    ///
    /// With a `wait` of zero it only looks. On [`ReceiveAction::AwaitCommit`] the caller waits here, for a second at
    /// most, so that heartbeats are sent in time. A commit of another session, or one that ended before, is nothing to
    /// this one: what comes back with it is suspended.
    ///
    /// # Errors
    ///
    /// As for [`act`](Files::act).
    pub fn collect(
        &mut self,
        store: &mut impl Store<File = F>,
        receiver: &mut Receiver,
        mut wait: Duration,
    ) -> Result<bool, proto::Error> {
        let mut any = false;
        while receiver.commits() > 0
            && let Some((ticket, ended)) = store.poll_committed(wait)
        {
            (any, wait) = (true, Duration::ZERO);
            self.committing.remove(&ticket);
            match ended {
                Ok(committed) => receiver.handle_committed(ticket, Ok(committed.path))?,
                Err(Uncommitted::Failed(reason)) => {
                    receiver.handle_committed(ticket, Err(reason))?;
                }
                Err(Uncommitted::Taken { file, existing }) => {
                    let (existing, len) = existing.unzip();
                    let entry = receiver.committing(ticket);
                    match entry.filter(|entry| !self.open.contains_key(entry)) {
                        Some(entry) => {
                            self.open.insert(entry, Open { file, existing });
                            receiver.handle_taken(ticket, len)?;
                        }
                        // Of another session; or an existing file, which is not the store's to hand back.
                        None => {
                            close(store, file, existing);
                            receiver.handle_committed(ticket, Err(Refusal::Exists))?;
                        }
                    }
                }
            }
        }
        Ok(any)
    }

    /// Returns the entries of which a file is open, in their order.
    pub fn entries(&self) -> impl Iterator<Item = EntryId> {
        self.open.keys().copied()
    }

    /// Returns whether the store has this commit, and it has not ended.
    #[cfg(feature = "testing")]
    pub(crate) fn is_committing(&self, ticket: Ticket) -> bool {
        self.committing.contains(&ticket)
    }

    /// Closes all that is open, and keeps it for a later attempt.
    ///
    /// It is called once nobody goes on with the receiver: after success there is nothing left, and after a failure a
    /// later session finds what arrived. What the store has handed back of commits by then is closed, too.
    pub fn suspend(&mut self, store: &mut impl Store<File = F>) {
        while let Some((_, Open { file, existing })) = self.open.pop_first() {
            close(store, file, existing);
        }
        self.take_back(store);
    }

    /// Takes in the commits that have ended, of whatever session, and closes what is handed back; returns how many are
    /// under way. For a session that is no more.
    pub(crate) fn take_back(&mut self, store: &mut impl Store<File = F>) -> usize {
        while !self.committing.is_empty()
            && let Some(ended) = store.poll_committed(Duration::ZERO)
        {
            self.committing.remove(&close_ended(store, ended));
        }
        self.committing.len()
    }

    fn commit(&mut self, store: &mut impl Store<File = F>, file: F, commit: Commit) {
        self.committing.insert(commit.ticket);
        store.commit(file, commit);
    }

    fn read(
        &mut self,
        store: &mut impl Store<File = F>,
        receiver: &mut Receiver,
        entry: EntryId,
        which: Which,
        offset: u64,
        len: usize,
    ) -> Result<(), proto::Error> {
        let file = self.open.get_mut(&entry).and_then(|open| match which {
            Which::Own => Some(&mut open.file),
            Which::Existing => open.existing.as_mut(),
        });
        let mut buffer = vec![0; len];
        let read = file.map_or(Ok(0), |file| fill(store, file, offset, &mut buffer));
        receiver.handle_read(read.map(|read| &buffer[..read]))
    }

    /// Returns the open file of an entry, for an operation on it.
    fn file(&mut self, entry: EntryId, operation: StoreOperation) -> Result<&mut F, Refusal> {
        self.open.get_mut(&entry).map(|open| &mut open.file).ok_or(failed(operation))
    }

    /// Takes the open file of an entry, to be closed; its existing file is closed here.
    fn take(&mut self, store: &mut impl Store<File = F>, entry: EntryId) -> Option<F> {
        let Open { file, existing } = self.open.remove(&entry)?;
        existing.into_iter().for_each(|existing| store.suspend(existing));
        Some(file)
    }
}

/// Closes what an earlier session left with a store that serves another one now: what was handed back of commits that
/// ended since.
pub(super) fn clear<S: Store>(store: &mut S) {
    while let Some(ended) = store.poll_committed(Duration::ZERO) {
        close_ended(store, ended);
    }
}

/// Closes what is handed back with a commit of which nobody wants to know what became.
fn close_ended<S: Store>(store: &mut S, (ticket, ended): (Ticket, Ended<S::File>)) -> Ticket {
    if let Err(Uncommitted::Taken { file, existing }) = ended {
        close(store, file, existing.map(|(existing, _)| existing));
    }
    ticket
}

fn close<S: Store>(store: &mut S, file: S::File, existing: Option<S::File>) {
    store.suspend(file);
    existing.into_iter().for_each(|existing| store.suspend(existing));
}

/// Reads until the buffer is full, or the file ends.
fn fill<S: Store>(
    store: &mut S,
    file: &mut S::File,
    offset: u64,
    buffer: &mut [u8],
) -> Result<usize, Refusal> {
    let mut read = 0;
    while read < buffer.len() {
        let rest = &mut buffer[read..];
        let most = rest.len();
        match store.read_at(file, offset.saturating_add(read as u64), rest) {
            Ok(0) => break,
            Ok(bytes) if bytes > most => return Err(failed(StoreOperation::Read)),
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(refusal_of(StoreOperation::Read, &error)),
        }
    }
    Ok(read)
}

/// Returns the refusal for a store, or a caller of it, that does what it must not, for which the
/// system has no number.
const fn failed(operation: StoreOperation) -> Refusal {
    Refusal::Store { code: 0, operation }
}

/// Refusal of a commit of which no file is open. That breaks the invariant of [`Files`], and nothing else would ever
/// end the commit.
const NOT_OPEN: Refusal = failed(StoreOperation::Commit);
