//! Being cancelled by either side.

use std::thread;
use std::time::Duration;

use haul::drive::Clock;
use haul::store::MemoryStore;
use haul::transport::memory;
use haul::types::AbortCode;
use haul::{CancelToken, Config, Error, Event, SessionError, Transfer};

use crate::scene::{CancelAt, Silent, Virtual, capacity, small_blocks, three_files};

#[test]
fn cancelled_transfer_ends_within_a_tick() {
    let cancel = CancelToken::new();
    let clock = Virtual::default();
    let silent = Silent { clock: clock.clone(), takes: true };
    cancel.cancel();
    let error = Transfer::new(Config::default())
        .clock(clock.clone())
        .cancel(cancel)
        .send(&mut three_files(), silent)
        .expect_err("cancelled");
    assert!(matches!(error, Error::Session(SessionError::Cancelled)));
    assert!(clock.now() <= Duration::from_secs(1));
}

#[test]
fn receiver_that_is_cancelled_tells_the_sender() {
    let (alice, bob) = memory::pipe(capacity(1 << 16));
    let cancel = CancelToken::new();
    let sent = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            Transfer::new(small_blocks())
                .observer(CancelAt(cancel.clone(), |event| matches!(event, Event::Offered { .. })))
                .cancel(cancel.clone())
                .receive(&mut MemoryStore::new(), bob)
        });
        let sent = Transfer::new(small_blocks()).send(&mut three_files(), alice);
        let received = receiver.join().expect("the receiver does not panic");
        assert!(matches!(received, Err(Error::Session(SessionError::Cancelled))), "{received:?}");
        sent
    });
    assert!(
        matches!(sent, Err(Error::Session(SessionError::Aborted(AbortCode::Cancelled)))),
        "{sent:?}"
    );
}
