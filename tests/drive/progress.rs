//! Progress of a transfer, as observers receive it.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use haul::config::Turn;
use haul::drive::Clock;
use haul::store::{MemorySource, MemoryStore};
use haul::transport::memory;
use haul::{Config, Event, Observer, Progress, RateLimit, Retry, Transfer};

use crate::scene::{FrailConnector, Virtual, capacity, content, path, small_blocks, with_sessions};

/// Reports, and the times of them.
#[derive(Clone, Default)]
struct Told {
    clock: Virtual,
    all: Arc<Mutex<Vec<(Duration, Progress)>>>,
    offered: Arc<Mutex<u64>>,
}

impl Observer for Told {
    fn event(&mut self, event: &Event) {
        if let Event::Offered { size: Some(size), .. } = event {
            *self.offered.lock().expect("no panic") += size;
        }
    }

    fn progress(&mut self, progress: &Progress) {
        let offered = *self.offered.lock().expect("no panic");
        let known = progress.acknowledged + progress.pending;
        assert!(known <= offered && progress.already <= known, "{progress:?} of {offered}");
        let mut all = self.all.lock().expect("no panic");
        if let Some((_, last)) = all.last() {
            assert!(last.sent <= progress.sent, "{last:?} {progress:?}");
            assert!(last.acknowledged <= progress.acknowledged, "{last:?} {progress:?}");
        }
        all.push((self.clock.now(), *progress));
    }
}

impl Told {
    fn last(&self) -> Progress {
        self.all().last().expect("something was told").1
    }

    fn all(&self) -> Vec<(Duration, Progress)> {
        self.all.lock().expect("no panic").clone()
    }
}

/// Sends a source over one stream with a limit on the rate, in virtual time.
fn limited(rate: u64, by_sender: bool, store: &MemoryStore, len: usize) -> (Told, Told) {
    let clock = Virtual::default();
    let limit = RateLimit::with_clock(rate, clock.clone()).expect("not too slow");
    let (mut alice, mut bob) = memory::pipe(capacity(1000));
    alice.set_timeout(Some(Duration::from_millis(1)));
    bob.set_timeout(Some(Duration::from_millis(1)));
    let told = || Told { clock: clock.clone(), ..Told::default() };
    let (sent, received) = (told(), told());
    let transfer = |told: &Told, limits: bool| {
        let transfer = Transfer::new(Config::default()).clock(clock.clone());
        let transfer = if limits { transfer.limit_rate(limit.clone()) } else { transfer };
        transfer.observer(told.clone())
    };
    let (mut send, mut receive) = (transfer(&sent, by_sender), transfer(&received, !by_sender));
    thread::scope(|scope| {
        let mut store = store.clone();
        let receiver = scope.spawn(move || receive.receive(&mut store, bob));
        let mut source = MemorySource::new().file(path("file"), content(1, len));
        let summary = send.send(&mut source, alice).expect("sent");
        assert!(receiver.join().expect("no panic").expect("received").is_complete());
        assert_eq!(sent.last().already, summary.already);
    });
    (sent, received)
}

/// The side that is limited moves all the time: so does what it tells, ten times a second and no more, and never faster than
/// its limit.
#[test]
fn progress_of_a_slow_transfer_is_told_ten_times_a_second_and_true() {
    const RATE: u64 = 20_000;
    const LEN: usize = 400_000;
    for by_sender in [true, false] {
        let (sent, received) = limited(RATE, by_sender, &MemoryStore::new(), LEN);
        for (side, is_limited) in [(&sent, by_sender), (&received, !by_sender)] {
            let last = side.last();
            assert_eq!((last.sent, last.acknowledged), (LEN as u64, LEN as u64));
            assert_eq!((last.pending, last.already), (0, 0));
            if !is_limited {
                continue;
            }
            let all = side.all();
            let last = all.len() - 1;
            for (index, pair) in all.windows(2).enumerate() {
                let [(before, _), (now, _)] = pair else { continue };
                let pause = *now - *before;
                let is_last = index + 1 == last;
                assert!(is_last || pause >= Duration::from_millis(100), "{pause:?} at {index}");
                assert!(pause <= Duration::from_millis(300), "{pause:?} at {index}");
            }
            for (index, (from, start)) in all.iter().enumerate() {
                for (to, end) in &all[index..] {
                    let millis = u64::try_from((*to - *from).as_millis()).expect("it fits");
                    let most = RATE * (millis + 200) / 1000;
                    assert!(end.sent - start.sent <= most, "{start:?} {end:?} in {millis} ms");
                }
            }
        }
    }
}

#[test]
fn progress_of_what_was_there_already_does_not_count_as_sent() {
    let store = MemoryStore::new();
    limited(1 << 30, true, &store, 300_000);
    let (sent, received) = limited(1 << 30, true, &store, 300_000);
    for side in [sent, received] {
        let last = side.last();
        assert_eq!((last.sent, last.acknowledged, last.already), (0, 300_000, 300_000));
    }
}

#[test]
fn progress_over_lost_connections_never_goes_back_and_ends_with_the_truth() {
    for step in [900, 3000, 9000] {
        let store = MemoryStore::new();
        let (told, summary) = with_sessions(&store, 4, |connector| {
            let mut connector = FrailConnector::new(connector, step, step);
            let told = Told::default();
            let turn = Turn::default().initial_bytes(1000).max_bytes(3000);
            let mut transfer = Transfer::new(small_blocks().turn(turn))
                .clock(Virtual::default())
                .retry(Retry::patiently(Duration::from_secs(100_000)))
                .observer(told.clone());
            let mut source = MemorySource::new();
            for number in 0..4 {
                source = source.file(path(&format!("file {number}")), content(number, 15_000));
            }
            let summary = transfer.send_via(&mut source, &mut connector).expect("sent");
            (told, summary)
        });
        let last = told.last();
        assert_eq!((last.acknowledged, last.pending), (60_000, 0), "{last:?}");
        assert_eq!((last.sent, last.already), (summary.sent, summary.already), "{summary:?}");
        assert_eq!(last.already, 0, "all of it travelled in this transfer");
        assert_eq!(summary.sent - summary.resent, 60_000, "{summary:?}");
    }
}
