//! Connections that are made anew, by a connector that blocks.

use std::io;

use crate::drive::observer::Observer;
use crate::drive::random::random;
use crate::drive::session::{HasProgress, Next, Reconnecting, Wait};
use crate::drive::transfer::Transfer;
use crate::error::{Error, Operation};
use crate::transport::{Channel, Connector};
use crate::types::Summary;

impl<O: Observer> Transfer<O> {
    /// Connects, runs, and does so again for as long as that can help. `is_waiting`: as of a [`Connector`]. `run` returns
    /// whether a peer has greeted, too.
    pub(in crate::drive) fn keep_connecting<T, P: HasProgress>(
        &mut self,
        is_waiting: bool,
        mut connect: impl FnMut() -> io::Result<T>,
        progress: &mut P,
        mut run: impl FnMut(&mut Self, &mut P, T) -> (Result<Summary, Error>, bool),
    ) -> Result<Summary, Error> {
        let mut reconnecting = self.reconnecting(is_waiting);
        loop {
            reconnecting.begin(self.clock.now(), progress)?;
            let failure = match connect() {
                Ok(stream) => match run(self, progress, stream) {
                    (Ok(summary), _) => return Ok(summary),
                    (Err(error), greeted) => (error, greeted),
                },
                Err(tick) if reconnecting.is_tick(&tick) => {
                    reconnecting.handle_tick(self.clock.now(), &self.cancel)?;
                    continue;
                }
                Err(source) => (Error::Transport { operation: Operation::Connect, source }, false),
            };
            let (now, observer) = (self.clock.now(), &mut self.observer);
            match reconnecting.handle_failure(now, failure, progress, random(), observer) {
                Next::Connect(pause) if pause.is_zero() => {}
                Next::Connect(pause) => {
                    let wait = Wait::new(self.clock.now(), pause);
                    while let Some(rest) = wait.rest(self.clock.now(), &self.cancel)? {
                        self.clock.sleep(rest);
                    }
                }
                Next::End(ended) => return ended,
            }
        }
    }
}

/// Connects, and returns what the stream knows of its ends.
pub(super) fn with_channel<K: Connector>(
    connector: &mut K,
) -> io::Result<(K::Stream, Option<Channel>)> {
    let stream = connector.connect()?;
    let channel = connector.channel(&stream);
    Ok((stream, channel))
}

impl<O> Transfer<O> {
    fn reconnecting(&self, is_waiting: bool) -> Reconnecting {
        Reconnecting::new(self.clock.now(), &self.retry, self.config.deadlines.idle, is_waiting)
    }
}
