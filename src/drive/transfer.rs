//! One transfer over blocking streams.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use super::admit::{Access, Admit};
use super::cancel::CancelToken;
use super::clock::{Clock, SharedClock};
use super::ids::Id;
use super::meter::{self, Meter};
use super::observer::Observer;
use super::rate::RateLimit;
use super::retry::Retry;
use super::stream::{Core, Direction, LAST_WORDS, Moved, TICK, Wire};
use crate::config::Config;
use crate::error::Error;
use crate::proto;
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
    /// The peer of this connection has greeted: it is a haul peer, so that a lost connection is worth another.
    pub(super) greeted: bool,
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
        let Self { config, cancel, retry, limit, clock, access, meter, greeted, id, .. } = self;
        Transfer { config, observer, cancel, retry, limit, clock, access, meter, greeted, id }
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
    /// with what arrived of files that were not complete, and ends the session of the former process if it has not
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

impl<O: Observer> Transfer<O> {
    /// Waits, and looks at the cancel token.
    pub(super) fn wait(&self, pause: Duration) -> Result<(), Error> {
        let end = self.clock.now().saturating_add(pause);
        loop {
            if self.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            let rest = end.saturating_sub(self.clock.now());
            if rest.is_zero() {
                return Ok(());
            }
            self.clock.sleep(rest.min(TICK));
        }
    }

    /// Writes all of the output, and tells the core of each call of the stream.
    pub(super) fn flush<T: Read + Write>(
        &mut self,
        wire: &mut Wire<T>,
        core: &mut impl Core,
        direction: Direction,
    ) -> Result<(), Error> {
        let (bytes, start) = (wire.output(), self.clock.now());
        if bytes == 0 {
            return Ok(());
        }
        let (content, mut left) = (wire.content(), bytes);
        core.write_resumed(start);
        wire.flush(|moved| {
            let now = self.clock.now();
            if moved == Moved::Tick
                && let Some(error) = self.cancel.error()
            {
                return Err(error);
            }
            match moved {
                Moved::Tick => core.write_blocked(now)?,
                Moved::Bytes(bytes) => core.peer_took(now, bytes)?,
            }
            if let (Direction::Content, Moved::Bytes(more)) = (direction, moved) {
                left = left.saturating_sub(more);
            }
            if matches!(direction, Direction::Content) && self.meter.is_due(now) {
                // As if what goes with content were spread evenly over it.
                let progress = meter::less(core.progress(), meter::share(content, left, bytes));
                self.meter.tell(now, progress, &mut self.observer);
            }
            if let (Direction::Content, Moved::Bytes(bytes)) = (direction, moved)
                && self.throttle(bytes)
            {
                core.write_resumed(self.clock.now());
            }
            Ok(())
        })?;
        wire.took(bytes, self.clock.now().saturating_sub(start));
        Ok(())
    }

    /// Sends the reason why the session failed, if the stream takes it at once. The failure stands
    /// either way.
    pub(super) fn send_last_words<T: Read + Write>(&self, wire: &mut Wire<T>) {
        let end = self.clock.now().saturating_add(LAST_WORDS);
        let _ = wire.flush(|moved| match moved {
            Moved::Bytes(_) if self.clock.now() < end => Ok(()),
            Moved::Bytes(_) | Moved::Tick => Err(Error::Session(proto::Error::Cancelled)),
        });
    }

    /// Returns the configuration of a session.
    pub(super) fn session_config(&self) -> Config {
        let mut config = self.config.clone();
        if let Some(limit) = &self.limit {
            limit.fit(&mut config, 1);
        }
        config
    }

    /// Returns the number of bytes that may be moved at a time.
    pub(super) fn piece(&self) -> usize {
        self.limit.as_ref().map_or(usize::MAX, RateLimit::piece)
    }

    /// Waits, after content has passed, until more may. `false` if there is no limit. A cancel ends this wait too, and
    /// is handled elsewhere.
    pub(super) fn throttle(&self, bytes: usize) -> bool {
        let Some(limit) = &self.limit else { return false };
        let _ = self.wait(limit.spend(bytes));
        true
    }

    /// Reports to the observer how far the transfer is, but for so much content that is not written
    /// yet.
    pub(super) fn tell_progress(&mut self, core: &impl Core, left: usize) {
        let progress = meter::less(core.progress(), left);
        self.meter.tell(self.clock.now(), progress, &mut self.observer);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind};

    use super::*;
    use crate::proto::Receiver;
    use crate::types::AbortCode;

    /// A stream that takes nothing.
    struct Stuck;

    impl Read for Stuck {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }
    }

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::WouldBlock.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A session that is told to stop while it writes ends by that: its board decides what stays.
    #[test]
    fn session_told_to_stop_while_it_writes_ends_as_it_was_told() {
        let told = |tell: fn(&CancelToken)| {
            let mut transfer = Transfer::new(Config::default());
            tell(&transfer.cancel);
            let mut wire = Wire::new(Stuck, usize::MAX);
            wire.control().extend_from_slice(b"an answer");
            wire.absorb();
            let mut core = Receiver::new(Config::default(), [0; 16], Duration::ZERO);
            transfer.flush(&mut wire, &mut core, Direction::Answers).expect_err("it is to stop")
        };
        assert!(matches!(told(CancelToken::cancel), Error::Session(proto::Error::Cancelled)));
        assert!(matches!(told(CancelToken::leave), Error::Session(proto::Error::Cancelled)));
        assert!(matches!(
            told(CancelToken::supersede),
            Error::Session(proto::Error::Ended(AbortCode::Superseded))
        ));
        assert!(matches!(
            told(CancelToken::turn_away),
            Error::Session(proto::Error::Ended(AbortCode::Busy))
        ));
        assert!(matches!(told(CancelToken::forsake), Error::Session(proto::Error::Stalled(_))));
    }
}
