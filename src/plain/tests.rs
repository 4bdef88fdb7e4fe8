use std::collections::VecDeque;
use std::io::{Cursor, ErrorKind};

use mockall::Sequence;
use proptest::prelude::*;

use super::*;
use crate::proto;

mockall::mock! {
    Stream {}
    impl Read for Stream {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    }
    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
        fn flush(&mut self) -> io::Result<()>;
    }
}

const CONTENT: &[u8; 12] = b"twelve bytes";
const TICKS: [ErrorKind; 3] = [ErrorKind::Interrupted, ErrorKind::WouldBlock, ErrorKind::TimedOut];
const DIRECTIONS: [Direction; 2] = [Direction::Send, Direction::Receive];

/// Behaviour of an end at its next call.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Takes or gives at most this many bytes.
    Bytes(usize),
    Fail(ErrorKind),
}

/// One end: follows its script, then goes on without limit. It checks how it is called.
#[derive(Debug, Default)]
struct Scripted {
    script: VecDeque<Step>,
    content: Vec<u8>,
    at: usize,
    taken: Vec<u8>,
    chunk: usize,
    flushes: usize,
    finished: bool,
}

impl Scripted {
    fn source(content: &[u8], script: impl IntoIterator<Item = Step>, chunk: ChunkSize) -> Self {
        let script = script.into_iter().collect();
        Self { script, content: content.to_vec(), chunk: chunk.get(), ..Self::default() }
    }

    fn sink(script: impl IntoIterator<Item = Step>, chunk: ChunkSize) -> Self {
        Self::source(&[], script, chunk)
    }

    /// Returns how many of `wanted` bytes the next call moves.
    fn next(&mut self, wanted: usize) -> io::Result<usize> {
        assert!(!self.finished, "a call after the end or an error");
        assert!((1..=self.chunk).contains(&wanted), "a buffer of {wanted} bytes");
        match self.script.pop_front() {
            None => Ok(wanted),
            Some(Step::Bytes(count)) => Ok(count.min(wanted)),
            Some(Step::Fail(kind)) => {
                self.finished = !TICKS.contains(&kind);
                Err(kind.into())
            }
        }
    }
}

impl Read for Scripted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.next(buffer.len())?.min(self.content.len() - self.at);
        buffer[..count].copy_from_slice(&self.content[self.at..][..count]);
        self.at += count;
        self.finished = count == 0;
        Ok(count)
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.next(bytes.len())?;
        self.taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        assert!(!self.finished, "a flush after an error");
        self.flushes += 1;
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Send,
    Receive,
}

impl Direction {
    fn run(
        self,
        from: &mut (impl Read + ?Sized),
        to: &mut (impl Write + ?Sized),
        chunk: ChunkSize,
        observer: impl FnMut(PlainEvent) -> ControlFlow<()>,
    ) -> Result<(u64, Hash), PlainError> {
        match self {
            Self::Send => send(from, to, chunk, observer).map(|sent| (sent.bytes, sent.hash)),
            Self::Receive => receive(from, to, chunk, observer).map(|got| (got.bytes, got.hash)),
        }
    }

    fn reading(self) -> Operation {
        if self == Self::Send { Operation::Source } else { Operation::Read }
    }

    fn writing(self) -> Operation {
        if self == Self::Send { Operation::Write } else { Operation::Store }
    }
}

fn go_on(_: PlainEvent) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn chunk(bytes: usize) -> ChunkSize {
    ChunkSize::new(bytes).unwrap()
}

/// Returns every way to cut `total` bytes in pieces of at least one: 2^(total − 1) of them.
fn splits(total: usize) -> impl Iterator<Item = Vec<Step>> {
    (0..1_u32 << (total - 1)).map(move |cuts| {
        let mut pieces = vec![1];
        for at in 0..total - 1 {
            match pieces.last_mut() {
                Some(piece) if cuts >> at & 1 == 0 => *piece += 1,
                _ => pieces.push(1),
            }
        }
        pieces.into_iter().map(Step::Bytes).collect()
    })
}

fn assert_passes(content: &[u8], mut from: Scripted, mut to: Scripted, size: ChunkSize) {
    for direction in DIRECTIONS {
        let (from, to) = (&mut from, &mut to);
        (from.at, from.finished, to.flushes) = (0, false, 0);
        to.taken.clear();
        let scripts = (from.script.clone(), to.script.clone());
        let mut told = Vec::new();
        let (bytes, root) = direction
            .run(from, to, size, |event| {
                if let PlainEvent::Passed { bytes } = event {
                    told.push(bytes);
                }
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(to.taken, content);
        assert_eq!(bytes, content.len() as u64);
        assert_eq!(root, Hash::of(content));
        assert_eq!(to.flushes, 1);
        assert!(told.is_sorted_by(|a, b| a < b));
        assert_eq!(told.last().copied().unwrap_or(0), bytes);
        (from.script, to.script) = scripts;
    }
}

#[test]
fn pass_every_split_of_reads_arrives_whole() {
    for reads in splits(CONTENT.len()) {
        for size in 1..=CONTENT.len() + 1 {
            let size = chunk(size);
            let from = Scripted::source(CONTENT, reads.clone(), size);
            assert_passes(CONTENT, from, Scripted::sink([], size), size);
        }
    }
}

#[test]
fn pass_every_split_of_writes_arrives_whole() {
    for writes in splits(CONTENT.len()) {
        for size in 1..=CONTENT.len() + 1 {
            let size = chunk(size);
            let to = Scripted::sink(writes.clone(), size);
            assert_passes(CONTENT, Scripted::source(CONTENT, [], size), to, size);
        }
    }
}

#[test]
fn pass_every_split_of_both_arrives_whole() {
    let content = &CONTENT[..7];
    for reads in splits(content.len()) {
        for writes in splits(content.len()) {
            for size in [1, 2, 3, 4, 7, 8].map(chunk) {
                let from = Scripted::source(content, reads.clone(), size);
                assert_passes(content, from, Scripted::sink(writes.clone(), size), size);
            }
        }
    }
}

#[test]
fn pass_sizes_around_the_chunk_arrive_whole() {
    for size in [ChunkSize::ORIGINAL, ChunkSize::default()] {
        let one = size.get();
        for length in [0, 1, one - 1, one, one + 1, 2 * one - 1, 2 * one, 2 * one + 1] {
            let content: Vec<u8> = (0..=250).cycle().take(length).collect();
            let from = Scripted::source(&content, [], size);
            assert_passes(&content, from, Scripted::sink([], size), size);
        }
    }
}

#[test]
fn pass_tick_before_every_call_asks_and_goes_on() {
    for direction in DIRECTIONS {
        for kind in TICKS {
            let ticking =
                || (0..CONTENT.len() + 1).flat_map(|_| [Step::Fail(kind), Step::Bytes(1)]);
            let size = chunk(5);
            let mut from = Scripted::source(CONTENT, ticking(), size);
            let mut to = Scripted::sink(ticking(), size);
            let (mut read_ticks, mut write_ticks, mut passed) = (0, 0, 0);
            direction
                .run(&mut from, &mut to, size, |event| {
                    match event {
                        PlainEvent::Passed { bytes } => passed = bytes,
                        PlainEvent::Waiting { operation, bytes } => {
                            assert_eq!(bytes, passed);
                            if operation == direction.reading() {
                                read_ticks += 1;
                            } else {
                                assert_eq!(operation, direction.writing());
                                write_ticks += 1;
                            }
                        }
                    }
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(to.taken, CONTENT);
            assert_eq!((read_ticks, write_ticks), (CONTENT.len() + 1, CONTENT.len()));
        }
    }
}

#[test]
fn read_error_at_every_offset_is_typed_with_what_passed() {
    for direction in DIRECTIONS {
        for kind in [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof, ErrorKind::Other] {
            for (offset, piece) in (0..=CONTENT.len()).flat_map(|at| [(at, 1), (at, 3), (at, 12)]) {
                let mut script = vec![Step::Bytes(piece); offset / piece];
                script.extend((offset % piece != 0).then_some(Step::Bytes(offset % piece)));
                script.push(Step::Fail(kind));
                let size = chunk(12);
                let mut from = Scripted::source(CONTENT, script, size);
                let mut to = Scripted::sink([], size);
                let error = direction.run(&mut from, &mut to, size, go_on).unwrap_err();
                let PlainError::Io { operation, bytes, source } = error else { panic!("{error}") };
                assert_eq!((operation, source.kind()), (direction.reading(), kind));
                assert_eq!(bytes, offset as u64);
                assert_eq!(to.taken, CONTENT[..offset]);
                assert_eq!(to.flushes, 0);
            }
        }
    }
}

#[test]
fn write_error_at_every_offset_is_typed_with_what_passed() {
    for direction in DIRECTIONS {
        for kind in [ErrorKind::BrokenPipe, ErrorKind::StorageFull, ErrorKind::Other] {
            for (offset, size) in (0..CONTENT.len()).flat_map(|at| [(at, 1), (at, 5), (at, 12)]) {
                let mut script = vec![Step::Bytes(1); offset];
                script.push(Step::Fail(kind));
                let size = chunk(size);
                let mut from = Scripted::source(CONTENT, [], size);
                let mut to = Scripted::sink(script, size);
                let error = direction.run(&mut from, &mut to, size, go_on).unwrap_err();
                assert_eq!(error.bytes(), offset as u64);
                let PlainError::Io { operation, source, .. } = error else { panic!("{error}") };
                assert_eq!((operation, source.kind()), (direction.writing(), kind));
                assert_eq!(to.taken, CONTENT[..offset]);
                assert_eq!(to.flushes, 0);
            }
        }
    }
}

#[test]
fn observer_break_at_every_event_stops_there() {
    for direction in DIRECTIONS {
        let script =
            || [Step::Fail(ErrorKind::WouldBlock), Step::Bytes(2)].into_iter().cycle().take(12);
        let size = chunk(4);
        let ends = || (Scripted::source(CONTENT, script(), size), Scripted::sink(script(), size));
        let mut events = 0;
        let (mut from, mut to) = ends();
        let count = |_| {
            events += 1;
            ControlFlow::Continue(())
        };
        direction.run(&mut from, &mut to, size, count).unwrap();
        assert_eq!(events, 6 + 6 + 6, "a tick at every second call, and six writes");

        for stop in 0..events {
            let (mut from, mut to) = ends();
            let mut at = 0;
            let mut last = 0;
            let error = direction
                .run(&mut from, &mut to, size, |event| {
                    let (PlainEvent::Passed { bytes } | PlainEvent::Waiting { bytes, .. }) = event;
                    last = bytes;
                    at += 1;
                    if at > stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })
                .unwrap_err();
            assert!(matches!(error, PlainError::Stopped { .. }), "{error}");
            assert_eq!(at, stop + 1, "the observer is not asked again");
            assert_eq!((error.bytes(), to.taken.len() as u64), (last, last));
            assert_eq!(to.flushes, 0);
        }
    }
}

#[test]
fn write_of_no_bytes_is_write_zero() {
    for direction in DIRECTIONS {
        let mut calls = Sequence::new();
        let mut to = MockStream::new();
        to.expect_write().once().in_sequence(&mut calls).returning(|_| Ok(5));
        to.expect_write().once().in_sequence(&mut calls).returning(|_| Ok(0));
        let error = direction.run(&mut &CONTENT[..], &mut to, chunk(12), go_on).unwrap_err();
        let PlainError::Io { operation, bytes, source } = error else { panic!("{error}") };
        assert_eq!((operation, bytes), (direction.writing(), 5));
        assert_eq!(source.kind(), ErrorKind::WriteZero);
    }
}

#[test]
fn read_claiming_more_than_the_buffer_is_overrun() {
    for direction in DIRECTIONS {
        for claimed in [13, 4096, usize::MAX] {
            let mut from = MockStream::new();
            from.expect_read().once().return_once(move |_| Ok(claimed));
            let mut to = MockStream::new();
            to.expect_write().never();
            let error = direction.run(&mut from, &mut to, chunk(12), go_on).unwrap_err();
            let PlainError::Overrun { operation, bytes, source } = error else { panic!("{error}") };
            assert_eq!((operation, bytes), (direction.reading(), 0));
            assert_eq!(source, Overrun { claimed, room: 12 });
        }
    }
}

#[test]
fn write_claiming_more_than_the_buffer_is_overrun() {
    for direction in DIRECTIONS {
        for claimed in [8, usize::MAX] {
            let mut calls = Sequence::new();
            let mut to = MockStream::new();
            to.expect_write().once().in_sequence(&mut calls).returning(|_| Ok(5));
            to.expect_write().once().in_sequence(&mut calls).returning(move |_| Ok(claimed));
            let error = direction.run(&mut &CONTENT[..], &mut to, chunk(12), go_on).unwrap_err();
            let PlainError::Overrun { operation, bytes, source } = error else { panic!("{error}") };
            assert_eq!((operation, bytes), (direction.writing(), 5));
            assert_eq!(source, Overrun { claimed, room: 7 });
        }
    }
}

#[test]
fn flush_tick_is_asked_about_and_flush_error_is_typed() {
    for direction in DIRECTIONS {
        let mut calls = Sequence::new();
        let mut to = MockStream::new();
        to.expect_write().once().in_sequence(&mut calls).returning(|bytes| Ok(bytes.len()));
        for kind in TICKS.into_iter().chain([ErrorKind::StorageFull]) {
            to.expect_flush().once().in_sequence(&mut calls).return_once(move || Err(kind.into()));
        }
        let mut ticks = 0;
        let count = |event| {
            ticks += usize::from(
                event == PlainEvent::Waiting { operation: direction.writing(), bytes: 12 },
            );
            ControlFlow::Continue(())
        };
        let error = direction.run(&mut &CONTENT[..], &mut to, chunk(12), count).unwrap_err();
        let PlainError::Io { operation, bytes, source } = error else { panic!("{error}") };
        assert_eq!((operation, bytes), (direction.writing(), 12));
        assert_eq!(source.kind(), ErrorKind::StorageFull);
        assert_eq!(ticks, TICKS.len());
    }
}

/// On Linux a read after `ETIMEDOUT` gives 0 bytes, which on this wire would be success.
#[test]
#[cfg(target_os = "linux")]
fn read_timed_out_by_the_system_is_an_error_and_not_a_tick() {
    const ETIMEDOUT: i32 = 110;
    const EAGAIN: i32 = 11;
    let mut calls = Sequence::new();
    let mut from = MockStream::new();
    for code in [EAGAIN, ETIMEDOUT] {
        from.expect_read()
            .once()
            .in_sequence(&mut calls)
            .return_once(move |_| Err(io::Error::from_raw_os_error(code)));
    }
    let error = receive(&mut from, &mut io::sink(), chunk(12), go_on).unwrap_err();
    let PlainError::Io { operation, source, .. } = error else { panic!("{error}") };
    assert_eq!((operation, source.kind()), (Operation::Read, ErrorKind::TimedOut));
}

#[test]
fn short_writes_of_a_full_sink_are_write_zero() {
    let mut room = [0; 7];
    let error = receive(&mut &CONTENT[..], &mut Cursor::new(&mut room[..]), chunk(5), go_on);
    let error = error.unwrap_err();
    assert_eq!(error.bytes(), 7);
    assert_eq!(room, CONTENT[..7]);
    let error = Error::from(error);
    assert!(matches!(error, Error::Local { operation: Operation::Store, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::WriteZero);
}

#[test]
fn error_of_each_end_is_sorted_by_blame() {
    let overrun = Overrun { claimed: 2, room: 1 };
    for operation in [Operation::Source, Operation::Store, Operation::Read, Operation::Write] {
        let local = matches!(operation, Operation::Source | Operation::Store);
        let io = PlainError::Io { operation, bytes: 0, source: ErrorKind::BrokenPipe.into() };
        let lie = PlainError::Overrun { operation, bytes: 0, source: overrun };
        for (error, kind) in [(io, ErrorKind::BrokenPipe), (lie, ErrorKind::InvalidData)] {
            let error = Error::from(error);
            assert_eq!(matches!(error, Error::Local { operation: o, .. } if o == operation), local);
            assert_eq!(
                matches!(error, Error::Transport { operation: o, .. } if o == operation),
                !local
            );
            assert_eq!(error.kind(), kind);
        }
    }
    assert!(matches!(
        Error::from(PlainError::Stopped { bytes: 1 }),
        Error::Session(proto::Error::Cancelled)
    ));
}

#[test]
fn errors_name_what_failed_where_and_why() {
    let source = io::Error::new(ErrorKind::ConnectionReset, "connection reset");
    let error = PlainError::Io { operation: Operation::Read, bytes: 7, source };
    assert_eq!(error.to_string(), "cannot read from the peer after 7 bytes: connection reset");
    let source = Overrun { claimed: 9, room: 8 };
    let error = PlainError::Overrun { operation: Operation::Store, bytes: 1, source };
    assert_eq!(
        error.to_string(),
        "cannot write local content after 1 bytes: 9 bytes are claimed of a buffer of 8"
    );
    assert_eq!(PlainError::Stopped { bytes: 3 }.to_string(), "stopped after 3 bytes");
}

#[test]
fn chunk_size_outside_its_range_cannot_be_made() {
    assert_eq!(ChunkSize::new(0), None);
    assert_eq!(ChunkSize::new(1), Some(ChunkSize::MIN));
    assert_eq!(ChunkSize::new(1024), Some(ChunkSize::ORIGINAL));
    assert_eq!(ChunkSize::new(16 << 20), Some(ChunkSize::MAX));
    assert_eq!(ChunkSize::new((16 << 20) + 1), None);
    assert_eq!(ChunkSize::new(usize::MAX), None);
    assert_eq!(ChunkSize::new(ChunkSize::default().get()), Some(ChunkSize::default()));
}

#[test]
fn ends_behind_a_trait_object_are_accepted() {
    let mut content = &CONTENT[..];
    let mut sink = Vec::new();
    let from: &mut dyn Read = &mut content;
    let to: &mut dyn Write = &mut sink;
    send(from, to, ChunkSize::ORIGINAL, go_on).unwrap();
    assert_eq!(sink, CONTENT);
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..2000_usize).prop_map(Step::Bytes),
        1 => (1..4_usize).prop_map(Step::Bytes),
        2 => proptest::sample::select(&TICKS[..]).prop_map(Step::Fail),
    ]
}

proptest! {
    #[test]
    fn pass_any_content_in_any_pieces_arrives_whole(
        content in proptest::collection::vec(any::<u8>(), 0..6000),
        size in 1..3000_usize,
        reads in proptest::collection::vec(step(), 0..20),
        writes in proptest::collection::vec(step(), 0..20),
    ) {
        let size = chunk(size);
        let from = Scripted::source(&content, reads, size);
        assert_passes(&content, from, Scripted::sink(writes, size), size);
    }
}
