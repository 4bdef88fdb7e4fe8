//! Clocks that do what they should not: they go back, and jump.
//!
//! Both machines take the time as it is given. One that goes back puts deadlines off by as much; one that jumps beyond a
//! deadline ends the session there, as if that time had passed.

use std::time::Duration;

use super::pair::{Pair, content};
use crate::config::Config;
use crate::hash::BlockSize;
use crate::proto::Error;
use crate::types::Summary;

/// After a day, so that there is room to go back.
const START: Duration = Duration::from_secs(86_400);

fn pair() -> Pair {
    let config = Config::default().block_size(BlockSize::MIN);
    let mut pair = Pair::new(&config, &[("a", content(1, 5000)), ("b", content(2, 100))]);
    pair.now = START;
    pair.restart(&config);
    pair
}

/// Runs to the end. `set` changes the time before each step, by its number, and gives how often one side alone sees that.
fn run(
    pair: &mut Pair,
    mut set: impl FnMut(usize, &mut Duration),
) -> ([Result<Summary, Error>; 2], usize) {
    for step in 0.. {
        set(step, &mut pair.now);
        let moved = if step % 2 == 0 { pair.step_sender() } else { pair.step_receiver() };
        if let (Some(sent), Some(received)) = (pair.alice.ended, pair.bob.ended) {
            return ([sent, received], step);
        }
        if !moved {
            pair.now += Duration::from_millis(500);
        }
        assert!(step < 100_000, "the session does not end");
    }
    unreachable!("it ended, or it failed")
}

#[test]
fn clock_that_goes_back_at_any_step_ends_no_session() {
    let (_, steps) = run(&mut pair(), |_, _| ());
    for back in [1, 20, 3600, 86_000].map(Duration::from_secs) {
        for at in 0..steps {
            // Once, and for good or for a step.
            for lasts in [1, usize::MAX] {
                let ended = run(&mut pair(), |step, now| {
                    if step == at {
                        *now = now.saturating_sub(back);
                    } else if step == at.saturating_add(lasts) {
                        *now += back.min(Duration::from_secs(20));
                    }
                });
                assert!(ended.0.iter().all(Result::is_ok), "{back:?} at {at}: {ended:?}");
            }
        }
        // At every step, and a little forward between.
        let ended = run(&mut pair(), |step, now| {
            let forward = Duration::from_millis(100);
            *now = if step % 7 == 3 { now.saturating_sub(back) } else { *now + forward };
        });
        assert!(ended.0.iter().all(Result::is_ok), "{back:?}: {ended:?}");
    }
}

#[test]
fn clock_that_jumps_beyond_a_deadline_at_any_step_ends_sessions_as_that_deadline_does() {
    let (_, steps) = run(&mut pair(), |_, _| ());
    let mut stalled = 0;
    for jump in [1, 4, 31, 61, 3600, 1 << 40].map(Duration::from_secs) {
        for at in 0..steps {
            let mut pair = pair();
            let (ended, _) = run(&mut pair, |step, now| {
                if step == at {
                    *now += jump;
                }
            });
            let is_short = jump < Config::default().deadlines.hello / 2;
            for ended in ended {
                match ended {
                    Ok(_) => {}
                    Err(Error::Stalled(_)) if !is_short => stalled += 1,
                    Err(failure) => panic!("{jump:?} at {at}: {failure:?}"),
                }
            }
            // The same time, from then on, is as good as any other.
            pair.restart(&Config::default().block_size(BlockSize::MIN));
            pair.alice.events.clear();
            let (ended, _) = run(&mut pair, |_, _| ());
            assert!(ended.iter().all(Result::is_ok), "{jump:?} at {at}: {ended:?}");
        }
    }
    assert!(stalled > 0);
}
