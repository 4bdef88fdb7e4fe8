//! Processes that send the same transfer: each claims it when it begins, and the one that began last has it.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use haul::store::{MemorySource, MemoryStore};
use haul::types::AbortCode;
use haul::{Error, Event, Observer, Retry, SessionError, TransferId};
use haul::{Summary, Transfer};

use crate::scene::{content, path, small_blocks, with_sessions};

/// Tells when something was offered, and waits then.
struct Stops {
    offered: mpsc::Sender<u32>,
    goes_on: mpsc::Receiver<()>,
    attempt: u32,
    retries: u32,
}

impl Observer for Stops {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Greeted { attempt, .. } => self.attempt = *attempt,
            Event::Offered { .. } => {
                let _ = self.offered.send(self.attempt);
                let _ = self.goes_on.recv();
            }
            _ => {}
        }
    }

    fn retry(&mut self, _: u32, _: &Error, _: Duration) {
        self.retries += 1;
    }
}

const ID: TransferId = TransferId::new([7; 16]);

#[test]
fn process_that_began_last_has_the_transfer_and_the_one_before_ends_for_good() {
    let store = MemoryStore::new();
    with_sessions(&store, 2, |connector| {
        thread::scope(|scope| {
            let start = || {
                let ((offered, offers), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel());
                let stops = Stops { offered, goes_on, attempt: 0, retries: 0 };
                let mut connector = connector.clone();
                let sending = scope.spawn(move || -> (Result<Summary, Error>, u32) {
                    let retry = Retry::patiently(Duration::from_secs(600));
                    let transfer = Transfer::new(small_blocks()).id(ID).retry(retry);
                    let mut transfer = transfer.observer(stops);
                    let mut source = MemorySource::new().file(path("a"), content(1, 100_000));
                    let sent = transfer.send_via(&mut source, &mut connector);
                    (sent, transfer.into_observer().retries)
                });
                let attempt = offers.recv().expect("it offers something");
                (sending, go_on, attempt)
            };
            let (first, first_goes_on, attempt) = start();
            assert_eq!(attempt, 1);
            let (second, second_goes_on, attempt) = start();
            assert_eq!(attempt, 1 + 65536);
            drop(first_goes_on);
            let (ended, retries) = first.join().expect("no panic");
            let superseded =
                matches!(ended, Err(Error::Session(SessionError::Aborted(AbortCode::Superseded))));
            assert!(superseded && retries == 1, "{ended:?} after {retries} retries");
            drop(second_goes_on);
            let (ended, retries) = second.join().expect("no panic");
            assert!(ended.is_ok_and(|sent| sent.is_complete()) && retries == 0);
        });
    });
    assert!(*store.get("a").expect("it is there").bytes == content(1, 100_000));
}
