//! Sending over blocking streams.

use std::io::{Read, Write};

use super::connect::with_channel;
use super::run::{NOTES, run};
use crate::drive::observer::Observer;
use crate::drive::random::random_bytes;
use crate::drive::session::Sending;
use crate::drive::transfer::Transfer;
use crate::error::{Error, Operation};
use crate::proto::Sender;
use crate::store::{Readers, Source};
use crate::transport::Connector;
use crate::types::Summary;

impl<O: Observer> Transfer<O> {
    /// Sends all entries of `source` over one stream.
    ///
    /// `Ok` means that the receiver has settled every entry, and [`Summary::is_complete`] whether it holds them all.
    /// The source is [rewound](Source::rewind) first, so that the same source can be sent again, whatever came of the
    /// call before: what the receiver holds by then is not sent again.
    ///
    /// # Errors
    ///
    /// See [`Error`]. A source that cannot be rewound is [`Error::Local`] with [`Operation::Rewind`], before the stream
    /// is touched.
    pub fn send<S: Source, T: Read + Write>(
        &mut self,
        source: &mut S,
        stream: T,
    ) -> Result<Summary, Error> {
        let sending = self.sending(source);
        let ended = sending.and_then(|mut sending| self.run_sender(&mut sending, stream).0);
        self.access.channel = None;
        ended
    }

    /// Sends all entries of `source` over as many connections as it takes.
    ///
    /// Once an entry is settled, the receiver whose key was proved on that connection is the only one that is admitted: what
    /// it has settled is offered to nobody else.
    ///
    /// # Errors
    ///
    /// As for [`send`](Transfer::send): the last error, if it is not transient or patience is at its end.
    pub fn send_via<S: Source, K: Connector>(
        &mut self,
        source: &mut S,
        connector: &mut K,
    ) -> Result<Summary, Error> {
        let mut sending = self.sending(source)?;
        let is_waiting = connector.is_waiting();
        let connect = || with_channel(connector);
        self.keep_connecting(is_waiting, connect, &mut sending, |this, sending, came| {
            let (stream, channel) = came;
            this.access.channel = channel;
            let (attempt, connection) = (sending.next_attempt(), this.connection(NOTES));
            sending.reconnect(this.clock.now(), (attempt, random_bytes()), connection);
            let ended = this.run_sender(sending, stream);
            this.access.channel = None;
            ended
        })
    }

    pub(in crate::drive) fn sending<'s, S: Source>(
        &mut self,
        source: &'s mut S,
    ) -> Result<Sending<&'s mut S>, Error> {
        self.access.begin_sending();
        let rewound = source.rewind();
        rewound.map_err(|source| Error::Local { operation: Operation::Rewind, source })?;
        self.meter.restart();
        let (transfer, now) = (self.id.choose(), self.clock.now());
        let sender = Sender::new(self.session_config(), transfer, random_bytes(), now);
        let readers = Readers::new(&self.config.limits);
        Ok(Sending::new(source, transfer, sender, readers, self.connection(NOTES)))
    }

    /// Sends what is not settled yet over one stream, and keeps to its receiver if anything is by then. Returns whether
    /// a receiver has greeted, too.
    pub(in crate::drive) fn run_sender<S: Source, T: Read + Write>(
        &mut self,
        sending: &mut Sending<S>,
        mut stream: T,
    ) -> (Result<Summary, Error>, bool) {
        let no_question = |_: &mut Sending<S>, _| Ok(());
        let ended = run(sending, &mut stream, &self.clock, &mut self.observer, no_question);
        sending.keep_to_receiver();
        (ended, self.keep_outcome(sending))
    }
}
