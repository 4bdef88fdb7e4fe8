//! One connection of a server: from its greeting to its end.

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::id::SessionId;
use crate::drive::admit::Greeting;
use crate::drive::blocking::Host;
use crate::drive::cancel::CancelToken;
use crate::drive::clock::SharedClock;
use crate::drive::observer::Observer;
use crate::drive::server::registry::{Admission, Greeted, Shared, SuspendedSession};
use crate::drive::session::{Left, Stranger, Welcome};
use crate::drive::strangers::Strangers;
use crate::drive::suspended::Suspended;
use crate::drive::transfer::Transfer;
use crate::error::Error;
use crate::store::Store;
use crate::transport::Peer;
use crate::types::{Event, Progress, PublicKey, Summary};

/// Serves one connection, in a thread of its own.
pub(super) fn serve<S, T, O>(
    mut transfer: Transfer<O>,
    stream: T,
    id: SessionId,
    shared: &Shared<S>,
) where
    S: Store + Clone,
    T: Read + Write,
    O: Observer,
{
    let clock = transfer.clock.clone();
    // Dropped in the reverse order, also by a panic: the place is given back before the stream is closed, which may take a
    // while, and whoever sees its end finds room. The connection counts until then.
    let connection = Connection { id, shared };
    let mut stream = stream;
    let mut place = Registered { id, shared, clock: &clock, done: None, left: None };
    let store = shared.clone_store();
    let (result, left, _) = transfer.run_receiver(store, &mut stream, &mut place);
    let Left { store, suspended, .. } = left;
    let left = suspended.map(|suspended| (store, suspended));
    (place.done, place.left) = (result.as_ref().ok().copied(), left);
    transfer.into_observer().ended(&result);
    if cfg!(haul_canary = "closed-early") {
        drop(place);
        drop(connection);
    }
}

/// A connection, until its stream is closed.
struct Connection<'s, S: Store> {
    id: SessionId,
    shared: &'s Shared<S>,
}

impl<S: Store> Drop for Connection<'_, S> {
    fn drop(&mut self) {
        self.shared.close_connection(self.id);
    }
}

/// The place of a session in the registry, which it leaves however it ends: what the store holds for it must be free,
/// or be in the registry, before another one asks for it.
struct Registered<'s, S: Store> {
    id: SessionId,
    shared: &'s Shared<S>,
    clock: &'s SharedClock,
    done: Option<Summary>,
    left: Option<(S, Suspended<S>)>,
}

impl<S: Store> Drop for Registered<'_, S> {
    fn drop(&mut self) {
        self.shared.leave(self.id, self.done, self.left.take(), self.clock.now());
    }
}

impl<S: Store> Host<S> for Registered<'_, S> {
    fn greeted(
        &mut self,
        greeting: &Greeting,
        attempt: Option<u32>,
        cancel: &CancelToken,
    ) -> Result<Welcome<S>, Stranger> {
        Ok(match self.shared.take_over(self.id, greeting, attempt) {
            Greeted::OfAnother => return Err(Stranger),
            Greeted::Superseded => {
                cancel.supersede();
                Welcome { attempt: attempt.unwrap_or(1), left: None }
            }
            Greeted::Begins { attempt } => Welcome { attempt, left: None },
            Greeted::GoesOn { attempt, session } => {
                let SuspendedSession { store: kept, suspended, .. } = *session;
                Welcome { attempt, left: Some((kept, suspended)) }
            }
        })
    }

    fn admits(&mut self, wait: Duration, cancel: &CancelToken) -> bool {
        let admission = self.shared.admit(self.id, wait);
        if admission == Admission::Never {
            cancel.turn_away();
        }
        admission == Admission::Yes
    }

    fn seats(&mut self, cancel: &CancelToken) -> bool {
        self.shared.seat(self.id, cancel)
    }

    fn yields(&mut self) -> bool {
        self.shared.yields(self.id)
    }
}

/// Maker of the observers of sessions.
pub(super) struct Observing<F> {
    pub(super) make: F,
    /// Counter of strangers, of which nothing is made beyond a number.
    pub(super) strangers: Strangers,
}

/// The observer of a session, which is made once there is something to report: the sender offers something, or the
/// session ends by itself. Strangers that had to go are not reported, nor more than [a few](Strangers).
pub(super) struct Late<'f, F, O> {
    id: SessionId,
    peer: Peer,
    cancel: CancelToken,
    observing: &'f Mutex<Observing<F>>,
    clock: SharedClock,
    observer: Option<O>,
    key: Option<PublicKey>,
    greeted: Option<Event>,
}

impl<'f, F: FnMut(SessionId, &Peer) -> O, O: Observer> Late<'f, F, O> {
    pub(super) const fn new(
        id: SessionId,
        peer: Peer,
        cancel: CancelToken,
        observing: &'f Mutex<Observing<F>>,
        clock: SharedClock,
    ) -> Self {
        Self { id, peer, cancel, observing, clock, observer: None, key: None, greeted: None }
    }

    fn observer(&mut self) -> &mut O {
        let Self { id, peer, observing, observer, key, greeted, .. } = self;
        observer.get_or_insert_with(|| {
            let mut made = {
                let mut observing = observing.lock().unwrap_or_else(PoisonError::into_inner);
                (observing.make)(*id, peer)
            };
            if let Some(key) = key.take() {
                made.identified(key);
            }
            if let Some(event) = greeted.take() {
                made.event(&event);
            }
            made
        })
    }
}

impl<F: FnMut(SessionId, &Peer) -> O, O: Observer> Observer for Late<'_, F, O> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Greeted { .. } if self.observer.is_none() => self.greeted = Some(event.clone()),
            Event::Waiting { .. } if self.observer.is_none() => {}
            event => self.observer().event(event),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        // One that has offered nothing is not reported.
        if let Some(observer) = &mut self.observer {
            observer.progress(progress);
        }
    }

    fn identified(&mut self, key: PublicKey) {
        self.key = Some(key);
    }

    fn ended(&mut self, result: &Result<Summary, Error>) {
        if self.observer.is_none() {
            if self.cancel.is_cancelled() {
                return;
            }
            let now = self.clock.now();
            let counted = {
                let mut observing = self.observing.lock().unwrap_or_else(PoisonError::into_inner);
                observing.strangers.count(now)
            };
            let Some(unheard) = counted else { return };
            if unheard > 0 {
                self.observer().unheard(unheard);
            }
        }
        self.observer().ended(result);
    }
}
