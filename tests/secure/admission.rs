//! Admitted peers, and reports to those that are not admitted.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use haul::drive::AllowList;
use haul::store::{Ended, MemorySource, MemoryStore};
use haul::transport::Listening;
use haul::transport::memory::MemoryConnector;
use haul::transport::secure::{Expect, PublicKey, SecretKey, Secure, TicketSecret};
use haul::types::{Commit, Found, Offer, Place, Ticket};
use haul::{
    AbortCode, Admit, CancelToken, Connector, Error, Event, Observer, Refusal, Retry, Server,
    SessionError, Store, Summary, Transfer,
};

use super::{config, content, key, name, network};

/// Serves into a store for as long as `visit` runs.
pub(crate) fn serving<S, R>(
    bob: &SecretKey,
    store: S,
    admit: impl Admit + 'static,
    visit: impl FnOnce(MemoryConnector) -> R,
) -> R
where
    S: Store + Clone + Send,
    S::File: Send,
{
    let (connector, acceptor) = network(bob);
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let server = Server::new(acceptor, store).config(config()).admit(admit);
        let server = server.cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        let seen = visit(connector);
        cancel.cancel();
        drop(server.join().expect("it does not panic"));
        seen
    })
}

/// Sends one file, and does not try for long.
pub(crate) fn send(
    connector: MemoryConnector,
    of: usize,
    key: &SecretKey,
    expect: Expect,
    ticket: Option<TicketSecret>,
) -> Result<Summary, Error> {
    let mut connector = Secure::dial(connector, key, expect).expect("the key is good");
    let mut source = MemorySource::new().file(name(of), content(of));
    let mut transfer = Transfer::new(config()).retry(Retry::never());
    if let Some(ticket) = ticket {
        transfer = transfer.ticket(ticket);
    }
    transfer.send_via(&mut source, &mut connector)
}

pub(crate) fn is_refused(ended: &Result<Summary, Error>) -> bool {
    let is_said =
        matches!(ended, Err(Error::Session(SessionError::Aborted(AbortCode::NotAdmitted))));
    is_said && ended.as_ref().is_err_and(|error| !error.is_transient())
}

fn secret() -> TicketSecret {
    TicketSecret::generate().expect("the system gives random numbers")
}

/// A store that must not be looked at.
#[derive(Debug, Clone, Default)]
struct Untouched(Arc<AtomicBool>);

impl Untouched {
    fn touch(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Store for Untouched {
    type File = ();

    fn holds_content(&mut self) -> bool {
        self.touch();
        true
    }

    fn serve(&mut self, _: haul::TransferId) {
        self.touch();
    }

    fn begin(&mut self, _: &Offer, _: Place) -> Result<((), Found), Refusal> {
        self.touch();
        Err(Refusal::Denied)
    }

    fn read_at(&mut self, (): &mut (), _: u64, _: &mut [u8]) -> std::io::Result<usize> {
        self.touch();
        Ok(0)
    }

    fn write_at(&mut self, (): &mut (), _: u64, _: &[u8]) -> Result<(), Refusal> {
        self.touch();
        Ok(())
    }

    fn copy_held(&mut self, (): &mut (), _: u64, _: u64) -> Result<(), Refusal> {
        self.touch();
        Ok(())
    }

    fn commit(&mut self, (): (), _: Commit) {
        self.touch();
    }

    fn poll_committed(&mut self, _: Duration) -> Option<(Ticket, Ended<()>)> {
        None
    }

    fn suspend(&mut self, (): ()) {}

    fn discard(&mut self, (): ()) {}
}

#[test]
fn stranger_is_told_that_it_is_not_admitted_and_nothing_of_the_store_is_looked_at() {
    let (alice, bob) = (key(), key());
    let store = Untouched::default();
    let ended =
        serving(&bob, store.clone(), AllowList::new().keys([key().public()]), |connector| {
            send(connector, 0, &alice, Expect::key(bob.public()), Some(secret()))
        });
    assert!(is_refused(&ended), "{ended:?}");
    assert!(!store.0.load(Ordering::Relaxed), "the store was looked at");
    // The same, where it is admitted, to show that the store tells.
    let ended =
        serving(&bob, store.clone(), AllowList::new().keys([alice.public()]), |connector| {
            send(connector, 0, &alice, Expect::key(bob.public()), None)
        });
    assert!(ended.is_ok_and(|summary| summary.refused == 1) && store.0.load(Ordering::Relaxed));
}

#[test]
fn stranger_without_a_channel_is_not_admitted_by_key_or_ticket() {
    let store = Untouched::default();
    let list = AllowList::new().keys([key().public()]).ticket(secret());
    let (near, far) = haul::transport::memory::pipe(std::num::NonZeroUsize::MIN);
    let ended = thread::scope(|scope| {
        let mut store = store.clone();
        let receiver =
            scope.spawn(move || Transfer::new(config()).admit(list).receive(&mut store, far));
        let mut source = MemorySource::new().file(name(0), content(0));
        let sent = Transfer::new(config()).ticket(secret()).send(&mut source, near);
        let received = receiver.join().expect("it does not panic");
        assert!(
            matches!(received, Err(Error::Session(SessionError::Ended(AbortCode::NotAdmitted)))),
            "{received:?}"
        );
        sent
    });
    assert!(is_refused(&ended), "{ended:?}");
    assert!(!store.0.load(Ordering::Relaxed), "the store was looked at");
}

#[test]
fn ticket_that_was_claimed_lets_in_its_first_key_again_and_no_other() {
    let (alice, bob, thief, ticket) = (key(), key(), key(), secret());
    let store = MemoryStore::new();
    let list = AllowList::new().ticket(ticket.clone());
    serving(&bob, store.clone(), list.clone(), |connector| {
        let send = |of, key: &SecretKey, ticket| {
            send(connector.clone(), of, key, Expect::key(bob.public()), ticket)
        };
        for (of, stripped) in [(7, None), (8, Some(secret()))] {
            assert!(is_refused(&send(of, &thief, stripped)), "no proof, or one of another secret");
        }
        assert_eq!(list.claimed(), None);
        for of in 0..2 {
            let sent = send(of, &alice, Some(ticket.clone()));
            assert!(sent.is_ok_and(|summary| summary.delivered == 1));
            assert!(is_refused(&send(9, &thief, Some(ticket.clone()))), "it was claimed");
        }
        assert!(is_refused(&send(9, &alice, None)), "the proof was left out");
        assert_eq!(list.claimed(), Some(alice.public()));
    });
    let names: Vec<_> = store.files().into_keys().collect();
    assert_eq!(names, [name(0), name(1)]);
}

/// Observer of who is there, and of whether anything is offered.
#[derive(Debug, Clone, Default)]
struct Heard(Arc<Mutex<(Vec<PublicKey>, usize)>>);

impl Observer for Heard {
    fn event(&mut self, event: &Event) {
        if matches!(event, Event::Offered { .. }) {
            self.0.lock().expect("nobody panics with it").1 += 1;
        }
    }

    fn identified(&mut self, key: PublicKey) {
        self.0.lock().expect("nobody panics with it").0.push(key);
    }
}

#[test]
fn sender_that_listens_gives_its_files_to_whoever_proves_its_ticket_and_to_nobody_else() {
    let (alice, bob, stranger, ticket) = (key(), key(), key(), secret());
    let (connector, acceptor) = network(&alice);
    let (heard, store) = (Heard::default(), MemoryStore::new());
    thread::scope(|scope| {
        let (observer, list) = (heard.clone(), AllowList::new().ticket(ticket.clone()));
        let sender = scope.spawn(move || {
            let mut source = MemorySource::new().file(name(0), content(0));
            let transfer = Transfer::new(config()).observer(observer).admit(list);
            let mut link = Listening::new(acceptor);
            transfer.retry(Retry::never()).send_via(&mut source, &mut link)
        });
        let fetch = |connector: MemoryConnector, key: &SecretKey, ticket| {
            let expect = Expect::key(alice.public());
            let mut connector = Secure::dial(connector, key, expect).expect("the key is good");
            let transfer = Transfer::new(config()).retry(Retry::never()).ticket(ticket);
            let mut transfer = transfer;
            transfer.receive_via(&store, &mut connector)
        };
        let refused = fetch(connector.clone(), &stranger, secret());
        assert!(is_refused(&refused), "{refused:?}");
        assert_eq!(heard.0.lock().expect("nobody panics with it").1, 0, "nothing was offered");
        // Whoever connects and says nothing, or something else, changes nothing either.
        let mut silent = connector.clone().connect().expect("somebody listens");
        silent.write_all(b"GET / HTTP/1.1\r\n").expect("it is taken");
        let received = fetch(connector.clone(), &bob, ticket.clone());
        assert!(received.is_ok_and(|summary| summary.delivered == 1));
        assert!(sender.join().expect("it does not panic").is_ok());
    });
    let keys = heard.0.lock().expect("nobody panics with it").0.clone();
    assert_eq!(keys, [stranger.public(), bob.public()]);
    assert_eq!(store.files().len(), 1);
}

/// Sends whoever is told of it away once a file is delivered.
struct Parting(CancelToken);

impl Observer for Parting {
    fn event(&mut self, event: &Event) {
        if matches!(event, Event::Delivered { .. }) {
            self.0.leave();
        }
    }
}

#[test]
fn rest_of_a_transfer_is_for_the_key_that_has_the_first_file_whoever_else_is_admitted() {
    let (alice, bob, carol) = (key(), key(), key());
    let mut config = config();
    // A turn for each message: the files are not delivered at once.
    (config.turn.initial_bytes, config.turn.max_bytes) = (1, 1);
    let fetch = |connector: &MemoryConnector, key: &SecretKey, store: &MemoryStore, cancel| {
        let expect = Expect::key(alice.public());
        let connector = Secure::dial(connector.clone(), key, expect).expect("the key is good");
        let mut transfer = Transfer::new(config.clone()).retry(Retry::never()).cancel(cancel);
        transfer.receive_via(store, &mut { connector })
    };
    for is_crowd in [true, false] {
        let (connector, acceptor) = network(&alice);
        let (here, elsewhere) = (MemoryStore::new(), MemoryStore::new());
        let leaving = CancelToken::new();
        thread::scope(|scope| {
            let list = AllowList::new().keys([bob.public(), carol.public()]);
            let transfer = Transfer::new(config.clone()).observer(Parting(leaving.clone()));
            let sender = scope.spawn(move || {
                let mut source = MemorySource::new().file(name(0), content(0));
                source = source.file(name(1), content(1));
                let (mut transfer, mut acceptor) = (transfer.admit(list), acceptor);
                if is_crowd {
                    transfer.send_listening(&mut source, &mut acceptor)
                } else {
                    transfer.send_via(&mut source, &mut Listening::new(acceptor))
                }
            });
            let left = fetch(&connector, &bob, &here, leaving.clone());
            assert!(left.is_err() && here.files().len() == 1, "{left:?}");
            let refused = fetch(&connector, &carol, &elsewhere, CancelToken::new());
            assert!(is_refused(&refused), "{refused:?}");
            let received = fetch(&connector, &bob, &here, CancelToken::new());
            assert!(received.is_ok_and(|summary| summary.delivered == 1));
            let sent = sender.join().expect("it does not panic").expect("it is sent");
            assert!(sent.is_complete() && sent.delivered == 2, "{sent:?}");
        });
        assert_eq!((here.files().len(), elsewhere.entries().len()), (2, 0));
    }
}
