//! Every wait has its deadline, to the instant, in virtual time.

use std::time::Duration;

use super::pair::{Alice, Bob, Pair, content, path};
use super::rogue::{Rogue, inline, wire};
use crate::config::{Config, Deadlines, Limits};
use crate::hash::BlockSize;
use crate::proto::error::{Error, Stall};
use crate::proto::timer::{self, Timer};
use crate::proto::wire::frame::PREFACE;
use crate::proto::wire::message::{Message, Name, WireOffer};
use crate::proto::{ReceiveAction, SendAction, Sender};
use crate::types::{AbortCode, Activity, EntryId, Event, Kind, Meta, TransferId};

const STEP: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Deadlines that cannot be mistaken for one another.
fn config() -> Config {
    let second = Duration::from_secs;
    let deadlines = Deadlines::default().hello(second(11)).silence(second(31));
    let deadlines = deadlines.progress(second(61)).idle(second(901)).drain(second(17));
    Config::default().block_size(BlockSize::MIN).deadlines(deadlines)
}

fn alice() -> Alice {
    Alice { files: vec![(Meta::file(path("a"), Some(3000)), content(1, 3000))], ..Alice::default() }
}

/// Returns both kinds of machine with the floor at the rogue: a receiver that listens, a sender
/// that waits.
fn both() -> [Rogue; 2] {
    let sender = Rogue::sender(&config(), Bob::default()).greeted();
    let mut receiver = Rogue::receiver(&config(), alice()).greeted();
    receiver.receive();
    [sender, receiver]
}

/// Checks that the machine ends with this stall `after` from now: at that instant, and not a moment
/// before.
#[track_caller]
fn stalls(mut rogue: Rogue, after: Duration, stall: Stall) {
    rogue.wait(after - STEP);
    assert_eq!(rogue.ended(), None, "too early");
    rogue.wait(STEP);
    assert_eq!(rogue.ended(), Some(Err(Error::Stalled(stall))));
}

#[test]
fn greeting_that_does_not_come_is_waited_for_until_its_deadline() {
    let stall = Stall::Hello { after: Duration::from_secs(11) };
    stalls(Rogue::sender(&config(), Bob::default()), Duration::from_secs(11), stall);
    stalls(Rogue::receiver(&config(), alice()), Duration::from_secs(11), stall);
}

#[test]
fn greeting_that_drips_is_waited_for_until_the_same_deadline() {
    for is_sender in [true, false] {
        let mut rogue = if is_sender {
            Rogue::sender(&config(), Bob::default())
        } else {
            Rogue::receiver(&config(), alice())
        };
        for byte in PREFACE {
            rogue.raw(&[byte]);
            rogue.wait(Duration::from_secs(1));
        }
        rogue.raw(&[1]);
        let stall = Stall::Hello { after: Duration::from_secs(11) };
        stalls(rogue, Duration::from_secs(3), stall);
    }
}

#[test]
fn silence_is_waited_out_until_its_deadline() {
    for rogue in both() {
        let stall = Stall::Silence { after: Duration::from_secs(31) };
        stalls(rogue, Duration::from_secs(31), stall);
    }
}

#[test]
fn silence_counts_from_the_last_byte() {
    for mut rogue in both() {
        rogue.wait(Duration::from_secs(30));
        rogue.send(&Message::Heartbeat { activity: Activity::Reading });
        rogue.settle();
        let stall = Stall::Silence { after: Duration::from_secs(31) };
        stalls(rogue, Duration::from_secs(31), stall);
    }
}

#[test]
fn message_that_drips_is_waited_for_until_its_deadline() {
    for mut rogue in both() {
        rogue.wait(Duration::from_secs(20));
        let frame = rogue.sealed(0x80, &[0; 4000], 0);
        for (second, byte) in frame.iter().enumerate().take(61) {
            assert_eq!(rogue.ended(), None, "{second}");
            rogue.raw(&[*byte]);
            rogue.settle();
            rogue.wait(Duration::from_secs(1) - STEP);
            assert_eq!(rogue.ended(), None, "{second}");
            rogue.wait(STEP);
        }
        let stall = Stall::Progress { after: Duration::from_secs(61) };
        assert_eq!(rogue.ended(), Some(Err(Error::Stalled(stall))));
    }
}

/// A block of 1 MiB, of which a step comes just before each deadline: it takes four of them, and not a moment more.
#[test]
fn large_block_is_waited_for_by_each_256_kib_of_it() {
    let second = Duration::from_secs;
    for stops_at in 0..4 {
        let mut timer = Timer::new(config().deadlines, Duration::ZERO);
        timer.greet();
        let mut begun = second(1);
        timer.bytes(begun, 1);
        for step in 1..=4 {
            let last = begun + second(61) - STEP;
            // Bytes that complete no step begin nothing anew.
            for at in [begun + second(20), begun + second(40), last] {
                timer.bytes(at, timer::STEP * step - 1);
            }
            assert_eq!(timer.check(last), Ok(begun + second(61)), "{step}");
            if step > stops_at {
                let stall = Stall::Progress { after: second(61) };
                assert_eq!(timer.check(begun + second(61)), Err(stall), "{step}");
                break;
            }
            timer.bytes(last, timer::STEP * step);
            begun = last;
        }
    }
}

#[test]
fn message_that_is_complete_in_time_begins_the_deadlines_anew() {
    for mut rogue in both() {
        for _ in 0..10 {
            let frame = rogue.sealed(0x80, &[0; 100], 0);
            rogue.raw(&frame[..50]);
            rogue.wait(Duration::from_secs(30));
            rogue.raw(&frame[50..]);
            rogue.wait(Duration::from_secs(30));
            assert_eq!(rogue.ended(), None);
        }
    }
}

#[test]
fn heartbeats_and_nothing_else_are_heard_until_the_deadline() {
    for mut rogue in both() {
        for _ in 0..180 {
            rogue.wait(Duration::from_secs(5));
            rogue.send(&Message::Heartbeat { activity: Activity::Reading });
            rogue.settle();
            assert_eq!(rogue.ended(), None);
        }
        let stall = Stall::Idle { after: Duration::from_secs(901) };
        stalls(rogue, Duration::from_secs(1), stall);
    }
}

#[test]
fn messages_that_nobody_knows_do_not_put_the_idle_deadline_off() {
    for mut rogue in both() {
        for _ in 0..180 {
            rogue.wait(Duration::from_secs(5));
            rogue.send_raw(0x80, &[], &[]);
            rogue.settle();
        }
        let stall = Stall::Idle { after: Duration::from_secs(901) };
        stalls(rogue, Duration::from_secs(1), stall);
    }
}

#[test]
fn sender_in_its_turn_is_heard_out_until_the_drain_deadline() {
    for (code, failure) in [
        (AbortCode::Failed, Error::Ended(AbortCode::Failed)),
        // Its user stops it, or the server that it is of.
        (AbortCode::Cancelled, Error::Cancelled),
        (AbortCode::Leaving, Error::Ended(AbortCode::Leaving)),
    ] {
        let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
        rogue.pair.receiver.end(rogue.pair.now, code);
        rogue.settle();
        rogue.wait(Duration::from_secs(17) - STEP);
        assert_eq!(rogue.ended(), None, "{code}");
        rogue.wait(STEP);
        assert_eq!(rogue.ended(), Some(Err(failure)), "{code}");
    }
}

#[test]
fn peer_that_takes_no_bytes_is_waited_for_until_its_deadline() {
    let after = Duration::from_secs(31);
    let stall = Err(Error::Stalled(Stall::Write { after }));
    for mut rogue in both() {
        let pair = &mut rogue.pair;
        let start = Duration::from_secs(5);
        assert_eq!(pair.sender.handle_peer_took(start, 1), Ok(()));
        assert_eq!(pair.receiver.handle_peer_took(start, 1), Ok(()));
        assert_eq!(pair.sender.handle_write_blocked(start + after - STEP), Ok(()));
        assert_eq!(pair.receiver.handle_write_blocked(start + after - STEP), Ok(()));
        assert_eq!(pair.sender.handle_write_blocked(start + after), stall);
        assert_eq!(pair.receiver.handle_write_blocked(start + after), stall);
        // It stays so.
        let mut out = Vec::new();
        assert_eq!(pair.sender.poll(start, &mut out).map(drop), stall);
        assert_eq!(pair.receiver.poll(start, &mut out).map(drop), stall);
    }
}

#[test]
fn stream_that_takes_not_even_the_greeting_is_left_at_its_deadline() {
    let after = Duration::from_secs(11);
    for told in [0, 1] {
        let id = TransferId::new([1; 16]);
        let mut sender = Sender::new(config(), id, [2; 16], Duration::ZERO);
        let until = sender.poll(Duration::ZERO, &mut Vec::new());
        assert!(matches!(until, Ok(SendAction::Await { .. })), "{until:?}");
        assert_eq!(sender.handle_peer_took(Duration::ZERO, told), Ok(()));
        assert_eq!(sender.handle_write_blocked(after - STEP), Ok(()));
        let stall = Err(Error::Stalled(Stall::Hello { after }));
        let expected = if told == 0 { stall } else { Ok(()) };
        assert_eq!(sender.handle_write_blocked(after), expected, "{told} bytes were taken");
    }
}

#[test]
fn answer_is_waited_for_from_when_the_last_byte_of_the_turn_was_taken() {
    let second = Duration::from_secs;
    let mut rogue = Rogue::receiver(&config(), alice()).greeted();
    let said = rogue.pair.down.bytes.len();
    let mut out = Vec::new();
    for at in 1..=said {
        // A byte every half second, which is more than the 4 KiB in 61 s ask for when there are no more.
        rogue.pair.now += Duration::from_millis(500);
        let now = rogue.pair.now;
        assert_eq!(rogue.pair.sender.handle_peer_took(now, 1), Ok(()), "{at}");
        let until = rogue.pair.sender.poll(now, &mut out);
        let is_awaiting = matches!(until, Ok(SendAction::Await { until }) if until > now);
        assert!(is_awaiting, "{until:?} at {now:?}");
    }
    assert!(rogue.pair.now > second(31), "the test says too little");
    rogue.receive();
    let stall = Stall::Silence { after: second(31) };
    stalls(rogue, second(31), stall);
}

#[test]
fn turn_that_is_not_taken_ends_by_its_own_deadlines() {
    let second = Duration::from_secs;
    for (pause, ends, stall) in [
        (31, 31, Stall::Write { after: second(31) }),
        (20, 61, Stall::Drip { bytes: 3, after: second(61) }),
    ] {
        let mut rogue = Rogue::receiver(&config(), alice()).greeted();
        rogue.receive();
        let start = rogue.pair.now;
        rogue.pair.sender.handle_peer_took(start, 0).unwrap();
        while rogue.ended().is_none() {
            let to = (rogue.pair.now + second(pause)).min(start + second(ends)) - rogue.pair.now;
            rogue.wait(to - STEP);
            assert_eq!(rogue.ended(), None, "too early");
            rogue.wait(STEP);
            let now = rogue.pair.now;
            let _ = rogue.pair.sender.handle_peer_took(now, 1);
        }
        assert_eq!(rogue.pair.now - start, second(ends));
        assert_eq!(rogue.ended(), Some(Err(Error::Stalled(stall))));
    }
}

#[test]
fn pause_of_ones_own_making_is_not_the_peers() {
    let second = Duration::from_secs;
    let mut rogue = Rogue::receiver(&config(), alice()).greeted();
    let sender = &mut rogue.pair.sender;
    let mut now = rogue.pair.now;
    // A byte, and then a limit on the rate, for longer than any deadline; again and again.
    for _ in 0..20 {
        now += second(100);
        sender.handle_write_resumed(now);
        assert_eq!(sender.handle_write_blocked(now), Ok(()));
        now += second(2);
        assert_eq!(sender.handle_peer_took(now, 1), Ok(()));
    }
    // What is the peer's counts on.
    let stall = Stall::Drip { bytes: 20, after: second(61) };
    assert_eq!(sender.handle_write_blocked(now + second(21) - STEP), Ok(()));
    let blocked = sender.handle_write_blocked(now + second(21));
    assert_eq!(blocked, Err(Error::Stalled(stall)));
}

/// A source takes its time while something waits to be written, and there is more to say then.
#[test]
fn what_is_said_after_a_pause_does_not_make_it_the_peers() {
    let second = Duration::from_secs;
    let mut timer = Timer::new(config().deadlines, Duration::ZERO);
    timer.greet();
    timer.gain_floor(Duration::ZERO);
    timer.sent(Duration::ZERO, 100);
    timer.sent(second(40), 100);
    timer.resume(second(40));
    assert_eq!(timer.check_blocked(second(41)), Ok(()));
    let stall = Stall::Write { after: second(31) };
    assert_eq!(timer.check_blocked(second(71) - STEP), Ok(()));
    assert_eq!(timer.check_blocked(second(71)), Err(stall));
}

#[test]
fn answer_to_a_turn_that_may_be_under_way_is_waited_for_as_long_as_a_slow_line_takes() {
    let second = Duration::from_secs;
    let deadlines = config().deadlines.rate(100);
    let mut rogue = Rogue::receiver(&config().deadlines(deadlines), alice()).greeted();
    rogue.receive();
    let (entry, hashes) = (EntryId::new(0), Vec::new());
    rogue.send(&Message::Have { entry, first: 0, hashes, more: false, compare: false });
    let before = rogue.pair.down.record.len();
    rogue.over(true);
    rogue.settle();
    rogue.receive();
    let turn = rogue.pair.down.record.len() - before;
    assert!(turn > 3000);
    let after = second(31) + second(turn as u64 / 100);
    // Once the answer has begun, all of the turn has come.
    let mut answering = Rogue::receiver(&config().deadlines(deadlines), alice()).greeted();
    answering.send(&Message::Heartbeat { activity: Activity::Reading });
    answering.settle();
    stalls(answering, second(31), Stall::Silence { after: second(31) });
    stalls(rogue, after, Stall::Silence { after });
}

#[test]
fn machine_that_waits_says_until_when() {
    let [mut sender, mut receiver] = both();
    let mut out = Vec::new();
    let until = sender.pair.now + Duration::from_secs(31);
    let action = sender.pair.receiver.poll(sender.pair.now, &mut out);
    assert_eq!(action, Ok(ReceiveAction::Await { until }));
    let until = receiver.pair.now + Duration::from_secs(31);
    let action = receiver.pair.sender.poll(receiver.pair.now, &mut out);
    assert_eq!(action, Ok(SendAction::Await { until }));
    assert!(out.is_empty());
}

#[test]
fn sender_whose_source_has_nothing_says_that_it_lives_and_passes_the_floor() {
    let mut rogue = Rogue::receiver(&config(), alice()).greeted();
    rogue.receive();
    rogue.pair.alice.is_stuck = true;
    let (entry, hashes) = (EntryId::new(0), Vec::new());
    rogue.send(&Message::Have { entry, first: 0, hashes, more: false, compare: false });
    for _ in 0..20 {
        rogue.over(true);
        // Each read takes a second and gives nothing: the turn lasts as long as it may.
        let start = rogue.pair.now;
        rogue.settle();
        assert_eq!(rogue.pair.now - start, Duration::from_secs(5));
        let said: Vec<_> = rogue.receive().iter().map(Message::name).collect();
        assert_eq!(said, [Name::Heartbeat, Name::Over]);
        assert_eq!(rogue.ended(), None);
    }
    rogue.pair.alice.is_stuck = false;
    rogue.over(true);
    rogue.settle();
    assert!(rogue.receive().iter().any(|message| message.name() == Name::End));
}

#[test]
fn receiver_whose_store_syncs_says_that_it_lives() {
    let mut rogue = Rogue::sender(&config(), Bob::default()).greeted();
    rogue.pair.bob.is_stuck = true;
    let folder = WireOffer { kind: Kind::Directory, ..wire(0, b"d", Some(0)) };
    rogue.send(&Message::Offer(folder));
    rogue.over(true);
    rogue.settle();
    for _ in 0..20 {
        rogue.wait(Deadlines::HEARTBEAT - STEP);
        assert_eq!(rogue.receive(), []);
        rogue.wait(STEP);
        assert_eq!(rogue.receive(), [Message::Heartbeat { activity: Activity::Syncing }]);
    }
    rogue.pair.bob.is_stuck = false;
    rogue.settle();
    let said: Vec<_> = rogue.receive().iter().map(Message::name).collect();
    assert_eq!(said, [Name::Receipt, Name::Over]);
}

#[test]
fn slow_store_and_slow_source_go_on_under_heartbeats() {
    let mut pair = Pair::with(&config(), &config(), alice(), Bob::default());
    pair.alice.read_time = Duration::from_secs(25);
    pair.run_well();
    assert!(pair.now >= Duration::from_secs(75));
    assert!(pair.bob.events.iter().any(|event| matches!(event, Event::Delivered { .. })));
}

#[test]
fn time_of_the_receivers_own_work_is_not_the_senders() {
    let minute = Duration::from_secs(60);
    let bob = Bob { write_time: 20 * minute, ..Bob::default() };
    let mut rogue = Rogue::sender(&config(), bob).greeted();
    rogue.send(&Message::Offer(wire(0, b"a", Some(3 << 10))));
    rogue.turn();
    // A write takes longer than any deadline, with nothing behind it, or half of what follows.
    for index in 0..2 {
        let entry = EntryId::new(0);
        let hash = BlockSize::MIN.hash(index, &[7; 1024]).unwrap().hash;
        rogue.send_with(&Message::Block { entry, index, hash }, &[7; 1024]);
        if index == 1 {
            rogue.raw(&[0]);
        }
        rogue.settle();
        assert_eq!(rogue.ended(), None, "block {index}");
    }
    // The sender's own time counts on.
    stalls(rogue, 31 * SECOND, Stall::Silence { after: 31 * SECOND });
}

#[test]
fn sender_that_is_not_read_is_not_stalled_before_the_device_is_given_up() {
    for wait in [100, 900] {
        let limits = Limits::default().commits(1);
        let mut rogue = Rogue::sender(&config().limits(limits), Bob::default()).greeted();
        rogue.pair.bob.is_stuck = true;
        rogue.send_with(&Message::Offer(inline(0, b"a", b"small")), b"small");
        rogue.settle();
        // It has as many commits under way as it may, and reads nothing.
        rogue.wait(wait * SECOND);
        assert_eq!(rogue.ended(), None);
        rogue.pair.bob.is_stuck = wait > 100;
        let stall = if wait > 100 {
            rogue.wait(SECOND - STEP);
            assert_eq!(rogue.ended(), None);
            rogue.wait(STEP);
            Stall::Idle { after: 901 * SECOND }
        } else {
            rogue.settle();
            rogue.wait(31 * SECOND - STEP);
            assert_eq!(rogue.ended(), None);
            rogue.wait(STEP);
            Stall::Silence { after: 31 * SECOND }
        };
        assert_eq!(rogue.ended(), Some(Err(Error::Stalled(stall))));
    }
}
