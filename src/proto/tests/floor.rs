//! A receiver that keeps the floor after its greeting: the sender waits, and goes on afterwards.

use super::pair::{Pair, content, path};
use crate::config::{Config, Deadlines};
use crate::hash::BlockSize;
use crate::proto::Error;
use crate::types::{AbortCode, Activity, Event};

fn pair() -> Pair {
    let config = Config::default().block_size(BlockSize::MIN);
    Pair::new(&config, &[("a", content(1, 5000))])
}

#[test]
fn sender_waits_under_heartbeats_while_the_floor_is_kept_and_then_goes_on() {
    let mut pair = pair();
    pair.receiver.keep_floor(true);
    let rounds = 20;
    for _ in 0..rounds {
        pair.run_while_moving();
        assert_eq!((pair.alice.ended, pair.bob.ended), (None, None));
        pair.now += Deadlines::HEARTBEAT;
    }
    let queued = Event::Waiting { activity: Activity::Queued };
    let heard = pair.alice.events.iter().filter(|it| **it == queued).count();
    assert!(heard >= rounds - 2, "{heard} heartbeats");
    assert!(pair.bob.visible.is_empty() && pair.receiver.is_settled());
    pair.receiver.keep_floor(false);
    assert_eq!(pair.run_well().delivered, 1);
    assert_eq!(pair.bob.visible[&path("a")], content(1, 5000));
}

#[test]
fn sender_that_waits_for_the_floor_is_told_when_the_receiver_ends() {
    let mut pair = pair();
    pair.receiver.keep_floor(true);
    pair.run_while_moving();
    pair.receiver.end(pair.now, AbortCode::Busy);
    let (sent, received) = pair.run();
    assert_eq!(sent, Err(Error::Aborted(AbortCode::Busy)));
    assert_eq!(received, Err(Error::Ended(AbortCode::Busy)));
}
