use std::collections::HashSet;
use std::io::ErrorKind;
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;
use crate::transport::{Acceptor, memory};

const ALLOWED: [FaultKind; 4] =
    [FaultKind::Short, FaultKind::Interrupted, FaultKind::WouldBlock, FaultKind::TimedOut];
const DIRECTIONS: [Direction; 2] = [Direction::Read, Direction::Write];

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + 1).to_le_bytes()[0]).collect()
}

/// Carries the content in this direction through calls of this size; returns what became of it, and
/// how it ended.
fn carry(
    direction: Direction,
    content: &[u8],
    chunk: usize,
    wrap: impl Fn(Half) -> Faulty<Half>,
) -> (Vec<u8>, Result<(), ErrorKind>) {
    let ticked =
        |kind| matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut);
    let mut ticks = 0;
    let mut got = Vec::new();
    match direction {
        Direction::Read => {
            let mut stream = wrap(Half(content.iter().copied().collect()));
            let mut buffer = vec![0; chunk];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => return (got, Ok(())),
                    Ok(count) => got.extend_from_slice(&buffer[..count]),
                    Err(error) if ticked(error.kind()) && ticks < 1000 => ticks += 1,
                    Err(error) => return (got, Err(error.kind())),
                }
            }
        }
        Direction::Write => {
            let mut stream = wrap(Half(VecDeque::new()));
            let mut left = content;
            while !left.is_empty() {
                match stream.write(&left[..chunk.min(left.len())]) {
                    Ok(count) => left = &left[count..],
                    Err(error) if ticked(error.kind()) && ticks < 1000 => ticks += 1,
                    Err(error) => return (stream.into_inner().0.into(), Err(error.kind())),
                }
            }
            (stream.into_inner().0.into(), Ok(()))
        }
    }
}

/// Stream that gives what it holds, and holds what it is given.
#[derive(Debug)]
struct Half(VecDeque<u8>);

impl Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Half {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the simplest thing that damage can mean.
fn damaged(content: &[u8], script: &[StreamFault]) -> Vec<u8> {
    let mut result = Vec::new();
    for (place, &byte) in (0..).zip(content) {
        let mut byte = Some(byte);
        for fault in script.iter().filter(|fault| fault.at == place) {
            match fault.kind {
                FaultKind::Flip(bit) => byte = byte.map(|byte| byte ^ 1 << bit),
                FaultKind::Delete => byte = None,
                FaultKind::Insert(other) => result.push(other),
                FaultKind::Duplicate => result.extend(byte),
                _ => {}
            }
        }
        result.extend(byte);
    }
    result
}

/// Tries every fault of this kind at every place, in either direction, through calls of every size.
fn everywhere(
    fault_kind: FaultKind,
    check: impl Fn(Direction, u64, (Vec<u8>, Result<(), ErrorKind>)),
) {
    let content = content(9);
    for direction in DIRECTIONS {
        for at in 0..9 {
            for chunk in 1..11 {
                let fault = StreamFault::new(direction, at, fault_kind);
                let log = FaultLog::default();
                let outcome = carry(direction, &content, chunk, |half| {
                    Faulty::new(half, [fault]).log_to(&log)
                });
                assert_eq!(log.hits(), [fault]);
                check(direction, at, outcome);
            }
        }
    }
}

#[test]
fn allowed_faults_everywhere_lose_nothing() {
    for fault_kind in ALLOWED {
        assert!(fault_kind.is_allowed());
        everywhere(fault_kind, |_, _, (got, end)| {
            assert_eq!((got, end), (content(9), Ok(())));
        });
    }
}

#[test]
fn damage_everywhere_does_what_it_says() {
    let flips = (0..8).map(FaultKind::Flip);
    for fault_kind in
        flips.chain([FaultKind::Delete, FaultKind::Insert(0xee), FaultKind::Duplicate])
    {
        assert!(!fault_kind.is_allowed());
        everywhere(fault_kind, |direction, at, (got, end)| {
            let expected = damaged(&content(9), &[StreamFault::new(direction, at, fault_kind)]);
            assert_ne!(expected, content(9));
            assert_eq!((got, end), (expected, Ok(())), "{fault_kind:?} {direction:?} {at}");
        });
    }
}

#[test]
fn cuts_everywhere_come_exactly_there_and_stay() {
    for (fault_kind, read, write) in [
        (FaultKind::End, Ok(()), Err(ErrorKind::BrokenPipe)),
        (
            FaultKind::Error(ErrorKind::ConnectionReset),
            Err(ErrorKind::ConnectionReset),
            Err(ErrorKind::ConnectionReset),
        ),
        (FaultKind::Os(104), Err(ErrorKind::ConnectionReset), Err(ErrorKind::ConnectionReset)),
        // These are given up by the test after a thousand ticks.
        (FaultKind::Stall, Err(ErrorKind::TimedOut), Err(ErrorKind::TimedOut)),
        (FaultKind::Swallow, Err(ErrorKind::TimedOut), Ok(())),
    ] {
        everywhere(fault_kind, |direction, at, (got, end)| {
            assert_eq!(
                got,
                content(9)[..usize::try_from(at).unwrap()],
                "{fault_kind:?} {direction:?} {at}"
            );
            assert_eq!(end, if direction == Direction::Read { read } else { write });
        });
    }
}

#[test]
fn cut_in_one_direction_leaves_the_other_alone() {
    for (cut, other) in [(Direction::Read, Direction::Write), (Direction::Write, Direction::Read)] {
        let fault = StreamFault::new(cut, 0, FaultKind::End);
        let outcome = carry(other, &content(9), 4, |half| Faulty::new(half, [fault]));
        assert_eq!(outcome, (content(9), Ok(())));
    }
}

#[test]
fn flush_after_a_cut_of_writes_fares_like_a_write() {
    for (fault_kind, expected) in [
        (FaultKind::End, Err(ErrorKind::BrokenPipe)),
        (FaultKind::Error(ErrorKind::Other), Err(ErrorKind::Other)),
        (FaultKind::Stall, Err(ErrorKind::TimedOut)),
        (FaultKind::Swallow, Ok(())),
    ] {
        let half = Half(VecDeque::new());
        let mut stream = Faulty::new(half, [StreamFault::new(Direction::Write, 1, fault_kind)]);
        stream.flush().unwrap();
        stream.write_all(b"a").unwrap();
        stream.flush().unwrap();
        let _ = stream.write(b"b");
        assert_eq!(stream.flush().map_err(|error| error.kind()), expected);
        assert_eq!(stream.get_ref().0, b"a");
    }
}

#[test]
fn lie_gives_one_more_than_the_buffer_once() {
    let script = DIRECTIONS.map(|direction| StreamFault::new(direction, 2, FaultKind::Lie));
    let mut stream = Faulty::new(Half(b"abcdefgh".iter().copied().collect()), script);
    let mut buffer = [0; 3];
    assert_eq!(stream.read(&mut buffer).unwrap(), 2);
    assert_eq!(stream.read(&mut buffer).unwrap(), 4);
    assert_eq!(&buffer, b"cde");
    assert_eq!(stream.read(&mut buffer).unwrap(), 3);
    let mut stream = Faulty::new(Half(VecDeque::new()), script);
    assert_eq!(stream.write(b"abc").unwrap(), 2);
    assert_eq!(stream.write(b"cd").unwrap(), 3);
    assert_eq!(stream.write(b"e").unwrap(), 1);
    assert_eq!(stream.into_inner().0, b"abcde");
}

#[test]
fn faults_of_an_inner_stream_that_is_not_ready_wait_for_it() {
    let (mut near, far) = memory::pipe(NonZeroUsize::MIN);
    let mut far = far;
    far.set_timeout(Some(std::time::Duration::ZERO));
    let script = [
        StreamFault::new(Direction::Read, 0, FaultKind::Delete),
        StreamFault::new(Direction::Write, 1, FaultKind::Duplicate),
    ];
    let mut far = Faulty::new(far, script);
    let log = far.log();
    let mut byte = [0];
    assert_eq!(far.read(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(log.hits().is_empty());
    near.write_all(b"x").unwrap();
    assert_eq!(far.read(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(log.hits(), script[..1]);
    near.write_all(b"y").unwrap();
    assert_eq!((far.read(&mut byte).unwrap(), byte), (1, *b"y"));

    assert_eq!(far.write(b"abc").unwrap(), 1);
    assert_eq!(far.write(b"bc").unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(log.hits().len(), 1);
    for expected in [b"a", b"b"] {
        near.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, expected);
        // The first copy of `b` fits, the second does not: no byte of the caller's was taken.
        let _ = far.write(b"bc");
    }
    assert_eq!(log.hits(), script);
    near.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"b");
}

proptest! {
    #[test]
    fn any_script_of_damage_and_allowed_faults_does_what_the_model_says(
        picks in prop::collection::vec((0u64..12, 0u8..7, any::<u8>()), 0..8),
        chunk in 1usize..15,
        seed: Option<u64>,
    ) {
        let content = content(12);
        for direction in DIRECTIONS {
            let mut script: Vec<StreamFault> = picks
                .iter()
                .map(|&(at, kind, byte)| {
                    let fault_kind = match kind {
                        0 => FaultKind::Flip(byte % 8),
                        1 => FaultKind::Delete,
                        2 => FaultKind::Insert(byte),
                        3 => FaultKind::Duplicate,
                        other => ALLOWED[usize::from(other) % 4],
                    };
                    StreamFault::new(direction, at, fault_kind)
                })
                .collect();
            // One change to a byte's own place: what two of them mean is for the order of the script.
            script.sort_by_key(|fault| fault.at);
            script.dedup_by_key(|fault| fault.at);
            let (got, end) = carry(direction, &content, chunk, |half| {
                let stream = Faulty::new(half, script.clone());
                match seed {
                    Some(seed) => stream.jitter(seed),
                    None => stream,
                }
            });
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(got, damaged(&content, &script));
        }
    }
}

#[test]
fn faults_of_one_place_come_in_the_order_of_the_script() {
    let script = [
        StreamFault::new(Direction::Write, 1, FaultKind::Insert(b'1')),
        StreamFault::new(Direction::Write, 1, FaultKind::Interrupted),
        StreamFault::new(Direction::Write, 1, FaultKind::Insert(b'2')),
        StreamFault::new(Direction::Write, 1, FaultKind::Flip(5)),
        // Its place is passed when its turn comes.
        StreamFault::new(Direction::Write, 0, FaultKind::Delete),
    ];
    let log = FaultLog::default();
    let (got, end) =
        carry(Direction::Write, b"abcd", 9, |half| Faulty::new(half, script).log_to(&log));
    assert_eq!((got.as_slice(), end), (&b"a12Bd"[..], Ok(())));
    assert_eq!(log.hits(), script);
}

#[test]
fn jitter_of_any_seed_loses_nothing_and_is_the_same_each_time() {
    for seed in 0..200 {
        let jitters = || {
            DIRECTIONS.map(|direction| {
                let log = FaultLog::default();
                let outcome = carry(direction, &content(300), 13, |half| {
                    Faulty::new(half, []).jitter(seed).log_to(&log)
                });
                assert_eq!(outcome, (content(300), Ok(())));
                log.jitters()
            })
        };
        let first = jitters();
        assert!(first.iter().all(|&count| count > 0), "seed {seed}");
        assert_eq!(first, jitters());
    }
}

#[test]
fn script_of_a_seed_is_the_same_each_time_and_all_kinds_come() {
    let mut kinds = HashSet::new();
    for seed in 0..100 {
        let faults = script(seed, 20, 1000);
        assert_eq!(faults, script(seed, 20, 1000));
        assert_eq!(faults.len(), 20);
        assert!(faults.is_sorted_by_key(|fault| fault.at));
        assert!(faults.iter().all(|fault| fault.at < 1000));
        kinds.extend(faults.iter().map(|f| (f.direction, std::mem::discriminant(&f.kind))));
    }
    assert_eq!(kinds.len(), 2 * 14);
    assert_ne!(script(1, 20, 1000), script(2, 20, 1000));
    assert!(script(1, 5, 0).iter().all(|fault| fault.at == 0));
}

#[test]
fn split_mix_gives_the_published_numbers() {
    let mut random = SplitMix(1_234_567);
    let first: Vec<u64> = (0..3).map(|_| random.next()).collect();
    assert_eq!(
        first,
        [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
    );
}

#[test]
fn connector_gives_each_connection_its_own_script_and_one_log() {
    let (connector, mut acceptor) = memory::network(NonZeroUsize::new(16).unwrap());
    let mut connector = FaultyConnector::new(connector, |number| {
        (number < 2).then(|| StreamFault::new(Direction::Write, number, FaultKind::End))
    });
    for expected in ["", "a", "abc"] {
        let mut stream = connector.connect().unwrap();
        let (mut far, _) = acceptor.accept().unwrap();
        let _ = stream.write_all(b"abc");
        drop(stream);
        let mut text = String::new();
        far.read_to_string(&mut text).unwrap();
        assert_eq!(text, expected);
    }
    assert_eq!(connector.log().count(|fault| fault.kind == FaultKind::End), 2);
}
