//! One transfer over blocking streams.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use super::cancel::Cancel;
use super::clock::{Clock, SystemClock};
use super::observer::Observer;
use super::retry::{Retry, random, random_bytes};
use super::wire::{Moved, Wire};
use crate::config::Config;
use crate::error::{Error, Operation};
use crate::proto::{
    AbortCode, Consumed, EntryId, Event, Found, Meta, ReadRequest, ReceiveAction, Receiver,
    Refusal, SendAction, Sender, Step, Summary, TransferId, Withdrawal,
};
use crate::store::{Begun, Source, Store, refusal_of};
use crate::transport::Connector;

/// One side of a transfer: its configuration, who hears of it, who may stop it, and how it reconnects.
///
/// ```
/// use std::thread;
///
/// use haul::store::{MemorySource, MemoryStore};
/// use haul::transport::memory;
/// use haul::{Config, RelPath, Transfer};
///
/// let (alice, bob) = memory::pipe(1024.try_into()?);
/// let store = MemoryStore::new();
/// let receiver = thread::spawn({
///     let mut store = store.clone();
///     move || Transfer::new(Config::default()).receive(&mut store, bob)
/// });
/// let mut source = MemorySource::new().file(RelPath::parse(b"photo.jpg")?, "pixels");
/// let summary = Transfer::new(Config::default()).send(&mut source, alice)?;
/// receiver.join().expect("the receiver does not panic")?;
/// assert_eq!(summary.delivered, 1);
/// assert!(store.get("photo.jpg").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Transfer<O = (), C = SystemClock> {
    config: Config,
    observer: O,
    cancel: Cancel,
    retry: Retry,
    clock: C,
    /// A peer has greeted: who is there speaks haul, so that a lost connection is worth another.
    greeted: bool,
}

impl Transfer {
    /// A transfer with this configuration, that nobody hears of.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }
}

impl<O, C> Transfer<O, C> {
    /// Who hears of what happens; see [`Observer`].
    #[must_use]
    pub fn observer<P: Observer>(self, observer: P) -> Transfer<P, C> {
        let Self { config, cancel, retry, clock, greeted, .. } = self;
        Transfer { config, observer, cancel, retry, clock, greeted }
    }

    /// Who may stop the transfer.
    #[must_use]
    pub fn cancel(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// How [`send_via`](Transfer::send_via) and [`receive_via`](Transfer::receive_via) reconnect.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Another clock, for tests.
    #[must_use]
    pub fn clock<D: Clock>(self, clock: D) -> Transfer<O, D> {
        let Self { config, observer, cancel, retry, greeted, .. } = self;
        Transfer { config, observer, cancel, retry, clock, greeted }
    }

    /// The observer, for what it has gathered.
    pub fn into_observer(self) -> O {
        self.observer
    }
}

impl<O: Observer, C: Clock> Transfer<O, C> {
    /// Sends all entries of `source` over one stream.
    ///
    /// `Ok` says that the receiver has settled every entry, and [`Summary::is_complete`] whether it holds them
    /// all.
    ///
    /// # Errors
    ///
    /// See [`Error`]. What the receiver holds by then serves the next attempt.
    pub fn send<S: Source, T: Read + Write>(
        &mut self,
        source: &mut S,
        stream: T,
    ) -> Result<Summary, Error> {
        let mut sending = self.sending(source);
        self.run_sender(&mut sending, stream)
    }

    /// Sends all entries of `source` over as many connections as it takes.
    ///
    /// # Errors
    ///
    /// As for [`send`](Transfer::send): the last error, if it is not transient or patience is at its end.
    pub fn send_via<S: Source, K: Connector>(
        &mut self,
        source: &mut S,
        connector: &mut K,
    ) -> Result<Summary, Error> {
        let mut sending = self.sending(source);
        self.keep_connecting(
            connector,
            &mut sending,
            |this, sending, stream| this.run_sender(sending, stream),
            |this, sending, attempt| {
                if sending.sender.is_settled() {
                    // All receipts are in: nothing but the goodbye was lost.
                    return Some(sending.sender.summary());
                }
                let now = this.clock.now();
                sending.sender.reconnect(sending.transfer, attempt, random_bytes(), now);
                None
            },
        )
    }

    /// Receives into `store` what one sender sends over one stream.
    ///
    /// # Errors
    ///
    /// See [`Error`]. What has arrived by then serves the next attempt.
    pub fn receive<S: Store, T: Read + Write>(
        &mut self,
        store: &mut S,
        stream: T,
    ) -> Result<Summary, Error> {
        self.run_receiver(store, stream, &mut Hooks::new(&mut |_, _, _| {}))
    }

    /// Receives into `store` what a sender that listens sends, over as many connections as it takes.
    ///
    /// # Errors
    ///
    /// As for [`receive`](Transfer::receive): the last error, if it is not transient or patience is at its end.
    pub fn receive_via<S: Store, K: Connector>(
        &mut self,
        store: &mut S,
        connector: &mut K,
    ) -> Result<Summary, Error> {
        let mut progress = Arrived { store, bytes: 0 };
        self.keep_connecting(
            connector,
            &mut progress,
            |this, progress, stream| {
                let mut unheard = |_, _, _: &Cancel| {};
                let mut hooks = Hooks::new(&mut unheard);
                let ended = this.run_receiver(progress.store, stream, &mut hooks);
                progress.bytes = progress.bytes.saturating_add(hooks.summary.sent);
                ended
            },
            |_, _, _| None,
        )
    }

    /// Connects, runs, and does so again for as long as that can help.
    fn keep_connecting<K: Connector, P: HasProgress>(
        &mut self,
        connector: &mut K,
        progress: &mut P,
        mut run: impl FnMut(&mut Self, &mut P, K::Stream) -> Result<Summary, Error>,
        mut again: impl FnMut(&mut Self, &mut P, u32) -> Option<Summary>,
    ) -> Result<Summary, Error> {
        let mut attempt: u32 = 1;
        let mut retries: u32 = 0;
        self.greeted = false;
        let mut since = self.clock.now();
        // Why the last connection is no more.
        let mut lost = None;
        loop {
            let before = progress.arrived();
            let error = match connector.connect() {
                Ok(stream) => match run(self, progress, stream) {
                    Ok(summary) => return Ok(summary),
                    Err(error) => error,
                },
                Err(tick) if tick.kind() == ErrorKind::WouldBlock => {
                    // It waits for the peer to come; at first for as long as it takes.
                    let now = self.clock.now();
                    match lost.take() {
                        _ if self.cancel.is_cancelled() => return Err(Error::Cancelled),
                        Some(error) if now > since.saturating_add(self.retry.patience) => {
                            return Err(error);
                        }
                        error => lost = error,
                    }
                    continue;
                }
                Err(source) => Error::Transport { operation: Operation::Connect, source },
            };
            if progress.arrived() > before {
                (since, retries) = (self.clock.now(), 0);
            }
            attempt = attempt.saturating_add(1);
            if let Some(summary) = again(self, progress, attempt) {
                return Ok(summary);
            }
            let pause = self.retry.pause(retries, random());
            let end = since.saturating_add(self.retry.patience);
            let may = error.is_transient() && (self.greeted || self.retry.initial);
            if !may || self.clock.now().saturating_add(pause) > end {
                return Err(error);
            }
            self.observer.retry(attempt, &error, pause);
            self.wait(pause)?;
            lost = Some(error);
            retries = retries.saturating_add(1);
        }
    }

    /// Waits, and looks at the cancel token.
    fn wait(&self, pause: Duration) -> Result<(), Error> {
        let end = self.clock.now().saturating_add(pause);
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let rest = end.saturating_sub(self.clock.now());
            if rest.is_zero() {
                return Ok(());
            }
            self.clock.sleep(rest.min(TICK));
        }
    }

    fn sending<'s, S: Source>(&self, source: &'s mut S) -> Sending<'s, S> {
        let transfer = TransferId::new(random_bytes());
        let now = self.clock.now();
        Sending {
            source,
            transfer,
            sender: Sender::new(self.config.clone(), transfer, random_bytes(), now),
            items: BTreeMap::new(),
        }
    }

    fn run_sender<S: Source, T: Read + Write>(
        &mut self,
        sending: &mut Sending<'_, S>,
        stream: T,
    ) -> Result<Summary, Error> {
        let mut wire = Wire::new(stream);
        let mut needed = 0;
        loop {
            if self.cancel.is_cancelled() {
                sending.sender.cancel();
            }
            let polled = sending.sender.poll(self.clock.now(), wire.control());
            wire.absorb();
            let action = match polled {
                Ok(action) => action,
                Err(failure) => {
                    // The reason goes out if the stream takes it at once; the failure stands either way.
                    let _ = wire.flush(give_up);
                    return Err(failure.into());
                }
            };
            match action {
                SendAction::Event(event) => {
                    self.greeted |= matches!(event, Event::Greeted { .. });
                    self.observer.event(&event);
                }
                SendAction::NextEntry => match sending.source.next_entry() {
                    None => sending.sender.handle_exhausted()?,
                    Some(Ok((key, meta))) => {
                        let window = sending.source.window(&key);
                        let entry = sending.sender.handle_entry(meta.clone(), window)?;
                        sending.items.insert(entry, Item { key, meta, reader: None });
                    }
                    Some(Err(unsendable)) => {
                        self.observer.unsendable(&unsendable);
                        sending.sender.handle_unsendable()?;
                    }
                },
                SendAction::Read(request) => {
                    let frame = wire.frame(request.head + request.len);
                    match sending.read(&request, &mut frame[request.head..]) {
                        Ok(Some(read)) => {
                            let now = self.clock.now();
                            let sent = sending.sender.handle_read(now, read, frame)?;
                            wire.keep(sent);
                        }
                        Ok(None) => {
                            sending.sender.handle_read_pending()?;
                            self.flush_sender(&mut wire, &mut sending.sender)?;
                        }
                        Err(reason) => sending.sender.handle_withdrawn(reason)?,
                    }
                }
                SendAction::Release { entry, offset } => sending.release(entry, offset),
                SendAction::Forget { entry } => drop(sending.items.remove(&entry)),
                SendAction::Await { .. } => {
                    self.flush_sender(&mut wire, &mut sending.sender)?;
                    let now = self.clock.now();
                    let consumed = sending.sender.handle_input(now, wire.input())?;
                    needed = consume(&mut wire, consumed, needed);
                    if consumed.bytes == 0 && wire.read(needed)? == Moved::Tick {
                        needed = 0;
                    }
                }
                SendAction::Closed(summary) => {
                    self.flush_sender(&mut wire, &mut sending.sender)?;
                    return Ok(summary);
                }
            }
            if wire.is_full() {
                self.flush_sender(&mut wire, &mut sending.sender)?;
            }
        }
    }

    fn flush_sender<T: Read + Write>(
        &self,
        wire: &mut Wire<T>,
        sender: &mut Sender,
    ) -> Result<(), Error> {
        wire.flush(|moved| match moved {
            Moved::Bytes(_) => {
                sender.handle_written(self.clock.now());
                Ok(())
            }
            Moved::Tick if self.cancel.is_cancelled() => Err(Error::Cancelled),
            Moved::Tick => Ok(sender.handle_write_blocked(self.clock.now())?),
        })
    }

    pub(super) fn run_receiver<S: Store, T: Read + Write>(
        &mut self,
        store: &mut S,
        stream: T,
        hooks: &mut Hooks<'_>,
    ) -> Result<Summary, Error> {
        let now = self.clock.now();
        let mut receiver = Receiver::new(self.config.clone(), random_bytes(), now);
        if store.holds_content() {
            receiver.prefer_roots();
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
        let mut wire = Wire::new(stream);
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
                    // The reason goes out if the stream takes it at once; the failure stands either way.
                    let _ = wire.flush(give_up);
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
                    receiving.read(entry, offset, len)?;
                }
                ReceiveAction::Commit(commit) => {
                    if let Some(file) = receiving.files.remove(&commit.entry) {
                        receiving.store.commit(file, commit);
                    }
                }
                ReceiveAction::Suspend { entry } => {
                    if let Some(file) = receiving.files.remove(&entry) {
                        receiving.store.suspend(file);
                    }
                }
                ReceiveAction::Discard { entry } => {
                    if let Some(file) = receiving.files.remove(&entry) {
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
                        if consumed.bytes == 0 && wire.read(needed)? == Moved::Tick {
                            needed = 0;
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
        wire.flush(|moved| match moved {
            Moved::Bytes(_) => {
                receiver.handle_peer_took(self.clock.now());
                Ok(())
            }
            Moved::Tick if self.cancel.is_cancelled() => Err(Error::Cancelled),
            Moved::Tick => Ok(receiver.handle_write_blocked(self.clock.now())?),
        })
    }
}

/// What a receiving session tells those who run it, beside its observer.
pub(super) struct Hooks<'h> {
    /// Hears which transfer it is before the sender gets any answer.
    greeted: Greeted<'h>,
    /// The sum, also of a session that failed.
    summary: Summary,
}

type Greeted<'h> = &'h mut dyn FnMut(TransferId, u32, &Cancel);

impl<'h> Hooks<'h> {
    pub(super) fn new(greeted: Greeted<'h>) -> Self {
        Self { greeted, summary: Summary::default() }
    }
}

/// What shows whether a connection was of any use.
trait HasProgress {
    fn arrived(&self) -> u64;
}

/// The sending half with its source.
struct Sending<'s, S: Source> {
    source: &'s mut S,
    transfer: TransferId,
    sender: Sender,
    items: BTreeMap<EntryId, Item<S>>,
}

/// An entry that is not settled.
struct Item<S: Source> {
    key: S::Key,
    meta: Meta,
    reader: Option<S::Reader>,
}

/// The receiving half with its store.
struct Receiving<'s, S: Store> {
    store: &'s mut S,
    receiver: Receiver,
    files: BTreeMap<EntryId, S::File>,
}

impl<S: Source> Sending<'_, S> {
    /// Reads a piece; `None` if the source has nothing to give at the moment.
    fn read(
        &mut self,
        request: &ReadRequest,
        buffer: &mut [u8],
    ) -> Result<Option<usize>, Withdrawal> {
        let Some(item) = self.items.get_mut(&request.entry) else {
            return Err(Withdrawal::Vanished);
        };
        let reader = match &mut item.reader {
            Some(reader) => reader,
            closed => closed.insert(self.source.open(&item.key, &item.meta)?),
        };
        let mut read = 0;
        while read < buffer.len() {
            let offset = request.offset.saturating_add(read as u64);
            match self.source.read_at(reader, offset, &mut buffer[read..]) {
                Ok(0) => break,
                Ok(bytes) if bytes > buffer.len() - read => {
                    return Err(Withdrawal::Unreadable { code: 0 });
                }
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(crate::store::withdrawal_of(&error)),
            }
        }
        if request.is_last || read < buffer.len() {
            self.source.finish(reader, &item.meta)?;
        }
        if request.is_whole {
            item.reader = None;
        }
        Ok(Some(read))
    }

    fn release(&mut self, entry: EntryId, offset: u64) {
        if let Some(Item { reader: Some(reader), .. }) = self.items.get_mut(&entry) {
            self.source.release(reader, offset);
        }
    }
}

impl<S: Store> Receiving<'_, S> {
    /// Gives the input to the core, and does what it asks of the store; `None` if it is to be given again.
    fn hear(&mut self, now: Duration, input: &[u8]) -> Result<Option<Consumed>, Error> {
        match self.receiver.handle_input(now, input)? {
            Step::Consumed(consumed) => return Ok(Some(consumed)),
            Step::Begin { offer, place } => {
                if let Some(former) = self.files.remove(&offer.entry) {
                    self.store.suspend(former);
                }
                let begun = self.store.begin(&offer, place).map(|begun| {
                    let (file, found) = match begun {
                        Begun::Fresh(file) => (file, Found::Fresh),
                        Begun::Partial(file, len) => (file, Found::Partial(len)),
                        Begun::Existing(file, len) => (file, Found::Existing(len)),
                    };
                    self.files.insert(offer.entry, file);
                    found
                });
                self.receiver.handle_begun(begun)?;
            }
            Step::Read { entry, offset, len } => self.read(entry, offset, len)?,
            Step::Write { entry, offset, bytes } => {
                let written = match self.files.get_mut(&entry) {
                    Some(file) => self.store.write_at(file, offset, bytes),
                    None => Err(Refusal::Store { code: 0 }),
                };
                self.receiver.handle_written(written)?;
            }
            Step::Copy { entry, offset, len } => {
                let copied = match self.files.get_mut(&entry) {
                    Some(file) => self.store.copy_held(file, offset, len),
                    None => Err(Refusal::Store { code: 0 }),
                };
                self.receiver.handle_written(copied)?;
            }
        }
        Ok(None)
    }

    /// Reads what the store holds, as much as there is.
    fn read(&mut self, entry: EntryId, offset: u64, len: usize) -> Result<(), Error> {
        let mut buffer = vec![0; len];
        let mut read = 0;
        let mut failure = None;
        if let Some(file) = self.files.get_mut(&entry) {
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
            let Some((entry, committed)) = self.store.poll_committed(wait) else { break };
            wait = Duration::ZERO;
            self.receiver.handle_committed(entry, committed.map(|committed| committed.path))?;
        }
        Ok(())
    }

    /// The session is over: what is open is kept for the next one.
    fn suspend_all(&mut self) {
        while let Some((_, file)) = self.files.pop_first() {
            self.store.suspend(file);
        }
    }
}

impl<S: Source> HasProgress for Sending<'_, S> {
    fn arrived(&self) -> u64 {
        let summary = self.sender.summary();
        summary.delivered.saturating_add(summary.sent - summary.resent)
    }
}

/// What a receiver got over all connections.
struct Arrived<'s, S> {
    store: &'s mut S,
    bytes: u64,
}

impl<S> HasProgress for Arrived<'_, S> {
    fn arrived(&self) -> u64 {
        self.bytes
    }
}

/// Takes off what a core consumed; gives how many bytes its next message needs.
fn consume<T: Read + Write>(wire: &mut Wire<T>, consumed: Consumed, needed: usize) -> usize {
    wire.consume(consumed.bytes);
    if consumed.bytes > 0 { 0 } else { consumed.needed.max(needed) }
}

/// The last words are not worth waiting for.
fn give_up(moved: Moved) -> Result<(), Error> {
    match moved {
        Moved::Bytes(_) => Ok(()),
        Moved::Tick => Err(Error::Cancelled),
    }
}

/// How long the longest wait is after which the cancel token is looked at.
const TICK: Duration = Duration::from_millis(200);
