use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;

use super::frame::{Frame, Kind};
use super::play::{Play, Step, content};
use super::*;
use crate::testing::fault_stream::{Direction, FaultKind, StreamFault};

const HOUR: Duration = Duration::from_secs(3600);

/// A connection with a turn of each side, the first longer than a window, and its end.
const NEAR: &[Step] =
    &[Step::Dial(7), Step::Write(1100), Step::Flush, Step::Read(300), Step::Close];
const FAR: &[Step] =
    &[Step::Accept, Step::Read(1100), Step::Write(300), Step::Flush, Step::ReadEnd, Step::Close];

fn assert_delivered(play: &Play, case: &dyn fmt::Debug) {
    let [near, far] = &play.ends;
    let errors = [&near.error, &far.error];
    assert!(errors.iter().all(|error| error.is_none()), "{case:?}: {errors:?}");
    assert!(near.is_done() && far.is_done(), "{case:?}");
    assert!(near.read == content(0, 300) && far.read == content(0, 1100), "{case:?}");
}

#[test]
fn connection_over_a_good_line_waits_for_nothing() {
    for capacity in [1, 3, 100_000] {
        let mut play = Play::new(capacity, [&[], &[]], [NEAR, FAR]);
        assert_eq!(play.run(HOUR), Duration::ZERO, "{capacity}");
        assert_delivered(&play, &capacity);
    }
}

/// Runs a connection with one fault at every byte that comes in at either end.
fn each_place(kinds: &[FaultKind], mut check: impl FnMut(&mut Play, &dyn fmt::Debug)) -> usize {
    let mut runs = 0;
    for end in [0, 1] {
        for kind in kinds {
            for at in 0.. {
                let fault = [StreamFault::new(Direction::Read, at, *kind)];
                let scripts: [&[StreamFault]; 2] =
                    if end == 0 { [&fault, &[]] } else { [&[], &fault] };
                let mut play = Play::new(100_000, scripts, [NEAR, FAR]);
                check(&mut play, &(end, at, kind));
                if play.log.hits().is_empty() {
                    assert!(at > 300, "{end} {at} {kind:?}");
                    break;
                }
                runs += 1;
            }
        }
    }
    runs
}

#[test]
fn connection_with_any_byte_lost_doubled_added_or_flipped_delivers_all_in_time() {
    let kinds = [
        FaultKind::Delete,
        FaultKind::Duplicate,
        FaultKind::Insert(0),
        FaultKind::Insert(0xff),
        FaultKind::Flip(0),
        FaultKind::Flip(7),
    ];
    let runs = each_place(&kinds, |play, case| {
        let took = play.run(HOUR);
        assert_delivered(play, case);
        // Time on the line is not counted here: the longest is that of a window, a second.
        assert!(took <= Duration::from_secs(2), "{case:?}: {took:?}");
    });
    assert!(runs > 9_000, "{runs}");
}

#[test]
fn connection_cut_anywhere_fails_or_is_waited_for_and_delivers_nothing_wrong() {
    use ErrorKind as Kind;
    let kinds = [FaultKind::End, FaultKind::Error(Kind::ConnectionReset), FaultKind::Stall];
    each_place(&kinds, |play, case| {
        play.run(Duration::from_secs(10));
        let [near, far] = &play.ends;
        assert!(content(0, 300).starts_with(&near.read), "{case:?}");
        assert!(content(0, 1100).starts_with(&far.read), "{case:?}");
        let errors = [near, far].map(|end| end.error.as_ref().map(io::Error::kind));
        let expected = [None, Some(Kind::UnexpectedEof), Some(Kind::ConnectionReset)];
        assert!(errors.iter().all(|error| expected.contains(error)), "{case:?}: {errors:?}");
    });
}

/// As a tunnel that carries a line gives it up.
#[test]
#[cfg(target_os = "linux")]
fn line_that_the_system_has_given_up_is_an_error_and_not_a_tick() {
    const ETIMEDOUT: i32 = 110;
    for direction in [Direction::Read, Direction::Write] {
        let dead = [StreamFault::new(direction, 0, FaultKind::Os(ETIMEDOUT))];
        let mut play = Play::new(100_000, [&dead, &[]], [NEAR, FAR]);
        play.run(Duration::from_secs(1));
        let error = play.ends[0].error.as_ref().expect("it is dead");
        assert_eq!(error.raw_os_error(), Some(ETIMEDOUT), "{direction:?}");
    }
}

#[test]
fn end_that_is_started_anew_is_met_at_once_whatever_the_other_is_about() {
    let second = [Step::Dial(8), Step::Write(600), Step::Flush, Step::Read(20), Step::Close];
    // Killed while it dials, after a write that nobody asked for, after a turn, and while it waits for an answer.
    let firsts: [&[Step]; 4] = [
        &[Step::Dial(7)],
        &[Step::Dial(7), Step::Write(1000)],
        &[Step::Dial(7), Step::Write(1100), Step::Flush],
        &[Step::Dial(7), Step::Write(50), Step::Flush, Step::Read(20)],
    ];
    for (number, first) in firsts.into_iter().enumerate() {
        let near = [first, &[Step::Restart], &second].concat();
        let answers: &[Step] =
            if number == 3 { &[Step::Read(50), Step::Write(20), Step::Flush] } else { &[] };
        let far = [
            &[Step::Accept],
            answers,
            &[Step::ReadUntilReset, Step::Accept, Step::Read(600), Step::Write(20), Step::Flush],
            &[Step::ReadEnd, Step::Close],
        ]
        .concat();
        let mut play = Play::new(100_000, [&[], &[]], [&near, &far]);
        let took = play.run(HOUR);
        let errors = play.ends.each_ref().map(|end| &end.error);
        assert!(errors.iter().all(|error| error.is_none()), "{number}: {errors:?}");
        assert!(took <= Duration::from_secs(1), "{number}: {took:?}");
    }
}

/// An accepting side forgets its connection. The other side learns this when it sends, or after it has
/// listened for a while.
#[test]
fn end_that_lost_its_peer_hears_of_it_while_it_speaks_and_while_it_listens() {
    let speaks = [Step::Dial(7), Step::Write(9), Step::Flush, Step::Write(9000), Step::Flush];
    let listens = [Step::Dial(7), Step::Write(9), Step::Flush, Step::Read(1)];
    let far = [Step::Accept, Step::Read(9), Step::Restart, Step::Accept];
    for near in [&speaks[..], &listens] {
        let mut play = Play::new(100_000, [&[], &[]], [near, &far]);
        play.run(Duration::from_secs(3));
        let [near, _] = &play.ends;
        let kind = near.error.as_ref().map(io::Error::kind);
        assert_eq!(kind, Some(ErrorKind::ConnectionReset));
    }
}

#[test]
fn connect_without_an_other_end_times_out_and_may_be_tried_again() {
    let (near, mut far) = crate::transport::memory::pipe(NonZeroUsize::MIN);
    let (clock, step) = (Arc::new(AtomicU64::new(0)), 100);
    let now = Arc::clone(&clock);
    // Each look at the clock takes a tenth of a second.
    let tells = move || Duration::from_millis(now.fetch_add(step, Ordering::Relaxed));
    let mut line = Line::new(waits(near), NonZeroU32::MIN).clock(tells);
    for _ in 0..2 {
        let before = clock.load(Ordering::Relaxed);
        assert_eq!(line.connect().unwrap_err().kind(), ErrorKind::TimedOut);
        let took = Duration::from_millis(clock.load(Ordering::Relaxed) - before);
        let least = CONNECT_TIMEOUT + CLOSE_WAIT;
        assert!((CONNECT_TIMEOUT..least + Duration::from_secs(5)).contains(&took), "{took:?}");
    }
    assert_eq!(far.read(&mut [0; 9]).unwrap(), 1, "it was asked for");
}

#[test]
fn drop_without_an_other_end_ends_in_time() {
    let (near, far) = crate::transport::memory::pipe(NonZeroUsize::MIN.saturating_add(9999));
    let rate = NonZeroU32::new(1_000_000).unwrap();
    let (mut near, mut far) = (Line::new(near, rate), Line::new(far, rate));
    let mut stream = thread::scope(|scope| {
        let far = scope.spawn(|| far.accept().unwrap());
        let near = near.connect().unwrap();
        // Forgotten without a word to the other end.
        std::mem::forget(far.join().unwrap());
        near
    });
    stream.write_all(b"nobody reads this").unwrap();
    let start = Instant::now();
    drop(stream);
    let bounds = CLOSE_WAIT..CLOSE_WAIT + Duration::from_secs(20);
    assert!(bounds.contains(&start.elapsed()), "{:?}", start.elapsed());
}

fn waits(mut pipe: crate::transport::memory::Pipe) -> crate::transport::memory::Pipe {
    pipe.set_timeout(Some(Duration::from_millis(1)));
    pipe
}

/// A stream whose reads give what they are to, one after another, then noise. It takes whatever is written.
struct Scripted(VecDeque<Vec<u8>>, Box<dyn FnMut()>);

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.1)();
        let bytes = self.0.pop_front().unwrap_or_else(|| NOISE.to_vec());
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const NOISE: &[u8] = b"noise";

/// Returns a frame of the other side that asks for a connection.
fn call(number: u32) -> Vec<u8> {
    let (mut plain, mut bytes) = (Vec::new(), Vec::new());
    Frame::new(Kind::Syn, number, 0, 0).encode(&mut plain, &mut bytes);
    bytes
}

/// The owner of the engine may be held up anywhere: were the gate told of a caller after that, this might
/// be one that is granted by then, and the gate would stand open for good.
#[test]
fn gate_is_open_from_when_a_caller_is_heard_and_until_he_is_granted() {
    let script = [call(7), call(8)].into();
    let mut line = Line::new(Scripted(script, Box::new(|| {})), NonZeroU32::MIN);
    let looks = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::clone(&line.shared.gate);
    let seen = Arc::clone(&looks);
    line = line.clock(move || {
        seen.lock().unwrap().push(gate.look(Gate::is_open));
        Duration::ZERO
    });
    let last = || looks.lock().unwrap().last().copied();
    let (mut earlier, _) = line.accept().unwrap();
    looks.lock().unwrap().clear();
    assert_eq!(earlier.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    // The last look at the clock is within the call that heard of the second one.
    assert_eq!(last(), Some(true));
    let (newer, _) = line.accept().unwrap();
    assert_eq!(newer.number, 8);
    looks.lock().unwrap().clear();
    assert_eq!(earlier.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    earlier.shared.lock().now();
    assert_eq!(last(), Some(false));
    drop(earlier);
    newer.shared.lock().now();
    assert_eq!(last(), Some(false), "the earlier one is not the live one");
    newer.shared.lock().forget(8);
    newer.shared.lock().now();
    assert_eq!(last(), Some(true));
}

/// A stream whose reads ask the test what to give, and wait.
struct Led {
    asked: Sender<ThreadId>,
    answers: Receiver<io::Result<Vec<u8>>>,
}

/// Leader of the line.
struct Leader {
    asked: Receiver<ThreadId>,
    answers: Sender<io::Result<Vec<u8>>>,
}

impl Read for Led {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Without a leader the line is broken.
        let broken = || io::Error::from(ErrorKind::BrokenPipe);
        self.asked.send(thread::current().id()).map_err(|_| broken())?;
        let bytes = self.answers.recv().map_err(|_| broken())??;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl Write for Led {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[expect(clippy::expect_used, clippy::unwrap_used, reason = "it fails as tests do")]
impl Leader {
    /// Waits until somebody reads the line.
    fn asked(&self) -> ThreadId {
        self.asked.recv_timeout(GENEROUS).expect("somebody reads")
    }

    fn answer(&self, answer: io::Result<Vec<u8>>) {
        self.answers.send(answer).unwrap();
    }
}

/// Longest time of a test: nothing takes so long, unless it is for ever.
const GENEROUS: Duration = Duration::from_secs(60);

/// A line whose clock stands still, with a connection.
#[expect(clippy::unwrap_used, reason = "it fails as tests do")]
fn led() -> (Line<Led>, LineStream<Led>, Leader) {
    let (asked, asks) = channel();
    let (answers, answer) = channel();
    let leader = Leader { asked: asks, answers };
    let line = Line::new(Led { asked, answers: answer }, NonZeroU32::MIN);
    let mut line = line.clock(|| Duration::ZERO);
    leader.answer(Ok(call(7)));
    let (stream, _) = line.accept().unwrap();
    leader.asked();
    (line, stream, leader)
}

#[test]
fn accept_leaves_the_line_to_a_read_that_began_long_ago() {
    let (mut line, mut stream, leader) = led();
    let reader = thread::spawn(move || {
        let read = stream.read(&mut [0]).map_err(|error| error.kind());
        (read, stream)
    });
    assert_eq!(leader.asked(), reader.thread().id());
    // The read is under way, and nothing begins meanwhile.
    let (sender, accepted) = channel();
    let acceptor = thread::spawn(move || {
        sender.send(line.accept().map_err(|error| error.kind()).err()).unwrap();
        line
    });
    let accepted = accepted.recv_timeout(GENEROUS).expect("accept does not wait for the read");
    assert_eq!(accepted, Some(ErrorKind::TimedOut));
    leader.answer(Err(ErrorKind::TimedOut.into()));
    let (read, _stream) = reader.join().unwrap();
    assert_eq!(read, Err(ErrorKind::TimedOut));
    acceptor.join().unwrap();
    drop(leader);
}

#[test]
fn accept_that_has_the_line_gives_it_back_when_a_call_wants_it() {
    let ticks = [Ok(NOISE.to_vec()), Err(ErrorKind::WouldBlock), Err(ErrorKind::TimedOut)];
    for tick in ticks {
        let (mut line, mut stream, leader) = led();
        let shared = Arc::clone(&line.shared);
        let acceptor =
            thread::spawn(move || (line.accept().map_err(|error| error.kind()).err(), line));
        assert_eq!(leader.asked(), acceptor.thread().id(), "nobody else uses the line");
        let reader =
            thread::spawn(move || (stream.read(&mut [0]).map_err(|error| error.kind()), stream));
        while !shared.calls.are_under_way() {
            thread::yield_now();
        }
        leader.answer(tick.clone().map_err(io::Error::from));
        assert_eq!(leader.asked(), reader.thread().id(), "{tick:?}");
        leader.answer(Err(ErrorKind::TimedOut.into()));
        let (read, _stream) = reader.join().unwrap();
        assert_eq!(read, Err(ErrorKind::TimedOut));
        let (kind, _) = acceptor.join().unwrap();
        assert_eq!(kind, Some(tick.err().unwrap_or(ErrorKind::TimedOut)));
        drop(leader);
    }
}

#[test]
fn drop_ends_in_two_seconds_and_a_call_of_the_stream_however_long_that_takes() {
    for each in (50..=1000).step_by(50) {
        let (now, step) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let read = {
            let (now, step) = (Arc::clone(&now), Arc::clone(&step));
            move || {
                now.fetch_add(step.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        };
        let line = Line::new(Scripted([call(7)].into(), Box::new(read)), NonZeroU32::MIN);
        let mut line = line.clock({
            let now = Arc::clone(&now);
            move || Duration::from_millis(now.load(Ordering::Relaxed))
        });
        let (mut stream, _) = line.accept().unwrap();
        stream.write_all(b"nobody acknowledges this").unwrap();
        step.store(each, Ordering::Relaxed);
        drop(stream);
        let took = Duration::from_millis(now.load(Ordering::Relaxed));
        let longest = CLOSE_WAIT + Duration::from_millis(each);
        assert!((CLOSE_WAIT..longest).contains(&took), "{each} ms: {took:?}");
    }
}
