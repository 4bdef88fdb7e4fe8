//! One side of a transfer, and its settings.

use std::sync::Arc;

use super::admit::{Access, Admit};
use super::cancel::CancelToken;
use super::clock::{Clock, SharedClock};
use super::ids::Id;
use super::observer::Observer;
use super::rate::RateLimit;
use super::retry::Retry;
use super::session::{Connection, Machine, Meter, Terms};
use crate::config::Config;
use crate::transport::Channel;
#[cfg(feature = "secure")]
use crate::transport::secure::TicketSecret;
use crate::types::TransferId;

/// One side of a transfer: its configuration, its observer, who may stop it, and how it reconnects.
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
pub struct Transfer<O = ()> {
    pub(super) config: Config,
    pub(super) observer: O,
    pub(super) cancel: CancelToken,
    pub(super) retry: Retry,
    pub(super) limit: Option<RateLimit>,
    pub(super) clock: SharedClock,
    pub(super) access: Access,
    pub(super) meter: Meter,
    pub(super) id: Id,
}

impl Transfer {
    /// Creates a transfer with this configuration, that nobody observes.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, ..Self::default() }
    }
}

impl<O> Transfer<O> {
    /// Sets the observer of the transfer; see [`Observer`].
    #[must_use]
    pub fn observer<P: Observer>(self, observer: P) -> Transfer<P> {
        let Self { config, cancel, retry, limit, clock, access, meter, id, .. } = self;
        Transfer { config, observer, cancel, retry, limit, clock, access, meter, id }
    }

    /// Sets the token by which others may stop the transfer.
    #[must_use]
    pub fn cancel(mut self, cancel: CancelToken) -> Self {
        self.cancel = cancel;
        self
    }

    /// Sets how [`send_via`](Transfer::send_via) and [`receive_via`](Transfer::receive_via) reconnect.
    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the most bytes that may pass in a second. Default: no limit. Clones of one limit share it.
    #[must_use]
    pub fn limit_rate(mut self, limit: RateLimit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Sets the identity of the other end of the stream that [`send`](Transfer::send) or [`receive`](Transfer::receive)
    /// is given next. Connectors give it by themselves. A peer whose stream is a channel does not talk to one that has
    /// none.
    #[must_use]
    pub fn channel(mut self, channel: Channel) -> Self {
        self.access.channel = Some(channel);
        self
    }

    /// Sets who may be at the other end. Default: anybody. A peer that is not admitted is informed, and the transfer
    /// ends with [`AbortCode::NotAdmitted`](crate::AbortCode::NotAdmitted); but one that
    /// [waits](crate::Connector::is_waiting) for its peer goes on waiting.
    #[must_use]
    pub fn admit(mut self, admit: impl Admit + 'static) -> Self {
        self.access.admit = Some(Arc::new(admit));
        self
    }

    /// Proves to the other end to have the secret of a ticket, wherever there is a channel to prove it on.
    #[cfg(feature = "secure")]
    #[must_use]
    pub fn ticket(mut self, secret: TicketSecret) -> Self {
        self.access.ticket = Some(secret);
        self
    }

    /// Sets the id of what is sent, over all processes that send it. Default: random; it stays for all calls of this
    /// `Transfer`, and no clone shares it.
    ///
    /// A process that sends the same again, after the one before has ended, gives the same id. The receiver then goes on
    /// with what arrived of files that were not complete, and ends the session of the earlier process if it has not
    /// noticed its end. Of two processes that send by one id at a time, the one that began last goes on, and the other
    /// ends with [`AbortCode::Superseded`](crate::AbortCode::Superseded): what is sent at the same time needs ids of
    /// its own.
    ///
    /// Nobody else should be able to guess an id: where no keys tell senders apart, whoever has it is taken for the same
    /// sender. A keyed hash of what is sent will do, as `SecretKey::transfer_id` gives. A call that receives ignores it.
    #[must_use]
    pub const fn id(mut self, id: TransferId) -> Self {
        self.id = Id::Given(id);
        self
    }

    /// Sets another clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + Send + Sync + 'static) -> Self {
        self.clock = SharedClock::new(clock);
        self
    }

    /// Returns the observer, for what it has gathered.
    pub fn into_observer(self) -> O {
        self.observer
    }
}

impl<O> Transfer<O> {
    /// Returns the configuration of a session.
    pub(super) fn session_config(&self) -> Config {
        let mut config = self.config.clone();
        if let Some(limit) = &self.limit {
            limit.fit(&mut config, 1);
        }
        config
    }

    /// Returns a connection of a session, which waits with so many notes for its observer.
    pub(super) fn connection(&self, most_notes: usize) -> Connection {
        let terms = Terms {
            cancel: self.cancel.clone(),
            limit: self.limit.clone(),
            access: self.access.clone(),
            hello: self.config.deadlines.hello,
        };
        Connection::new(terms, self.meter.clone(), most_notes)
    }

    /// Keeps in mind what the next connection goes on from. Returns whether the peer has greeted on this one.
    pub(super) fn keep_outcome(&mut self, session: &mut impl Machine) -> bool {
        let (meter, greeted) = session.connection().outcome();
        self.meter = meter;
        greeted
    }
}
