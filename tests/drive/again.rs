//! The same objects a second time: whatever ended the call before, the next one sends everything or says that it cannot.

use std::collections::{HashMap, VecDeque};
use std::{io, thread};

use haul::store::{Chain, MemorySource, MemoryStore, StreamSource, Unsendable};
use haul::transport::Channel;
use haul::transport::memory;
use haul::types::PublicKey;
use haul::{
    CancelToken, Connector, Error, Event, Meta, Observer, Operation, RelPath, Retry, SessionError,
    Source, Summary, Transfer, Withdrawal,
};

use crate::scene::{Frail, capacity, content, path, small_blocks};

/// Cancels at the event with this number.
#[derive(Default)]
struct CancelAfter {
    cancel: CancelToken,
    events: Option<u64>,
}

impl Observer for CancelAfter {
    fn event(&mut self, _: &Event) {
        match &mut self.events {
            Some(0) => self.cancel.cancel(),
            Some(events) => *events -= 1,
            None => {}
        }
    }
}

/// Gives the stream that was made for it, once.
struct Given(VecDeque<Frail>);

impl Connector for Given {
    type Stream = Frail;

    fn connect(&mut self) -> io::Result<Frail> {
        self.0.pop_front().ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }
}

/// Way in which a call is made to end.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// Its stream is lost after so many bytes.
    Bytes(usize),
    /// The call is cancelled at the event with this number.
    Event(u64),
    /// The call is not cancelled.
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Send,
    SendVia,
}

/// One object of each kind that a caller keeps from one call to the next.
struct Kept<S> {
    source: S,
    sender: Transfer<CancelAfter>,
    cancel: CancelToken,
    receiver: Transfer,
    store: MemoryStore,
    connector: Given,
    by: By,
}

impl<S: Source> Kept<S> {
    fn new(source: S, until: Until, by: By) -> Self {
        let observer = match until {
            Until::Event(events) => CancelAfter { events: Some(events), ..CancelAfter::default() },
            Until::Bytes(_) | Until::Done => CancelAfter::default(),
        };
        let cancel = observer.cancel.clone();
        let sender = Transfer::new(small_blocks()).cancel(cancel.clone()).retry(Retry::never());
        Self {
            source,
            sender: sender.observer(observer),
            cancel,
            receiver: Transfer::new(small_blocks()),
            store: MemoryStore::new(),
            connector: Given(VecDeque::new()),
            by,
        }
    }

    fn call(&mut self, until: Until) -> Result<Summary, Error> {
        let (alice, bob) = memory::pipe(capacity(512));
        let bytes = if let Until::Bytes(bytes) = until { bytes } else { usize::MAX };
        let alice = Frail::new(alice, bytes);
        let Self { source, sender, receiver, store, connector, by, .. } = self;
        thread::scope(|scope| {
            // Of one side's failure the other hears in any way; what counts is what the sender is told, and what is there.
            scope.spawn(|| drop(receiver.receive(store, bob)));
            match by {
                By::Send => sender.send(source, alice),
                By::SendVia => {
                    connector.0.push_back(alice);
                    let sent = sender.send_via(source, connector);
                    // Of a source that is spent it was not asked for, and the receiver waits for it.
                    connector.0.clear();
                    sent
                }
            }
        })
    }

    /// Makes a call whose stream holds: everything is there, or the source is spent.
    fn call_well(&mut self, expected: &HashMap<RelPath, Vec<u8>>, is_stream: bool, context: &str) {
        match self.call(Until::Done) {
            Ok(sent) => {
                assert!(sent.is_complete(), "{context}: {sent:?}");
                assert_eq!(sent.delivered, expected.len() as u64, "{context}: {sent:?}");
                for (path, bytes) in expected {
                    let there = self.store.files().get(path).is_some_and(|file| **file == **bytes);
                    assert!(there, "{context}: {path}");
                }
            }
            Err(error) => {
                let spent = matches!(error, Error::Local { operation: Operation::Rewind, .. });
                assert!(spent && is_stream, "{context}: {error}");
                assert!(!error.is_transient(), "{context}: {error}");
                let text = error.to_string();
                assert!(text.starts_with("source cannot be sent again: "), "{context}: {text}");
            }
        }
    }
}

/// Tries every way in which a first call ends, and calls after it with the same objects.
fn check<S: Source>(
    make: impl Fn() -> S,
    expected: &HashMap<RelPath, Vec<u8>>,
    is_stream: bool,
    step: usize,
) {
    for by in [By::Send, By::SendVia] {
        // At every byte, or every so many; then, where nothing is lost, after success.
        for bytes in (0..).step_by(step) {
            let until = Until::Bytes(bytes);
            let context = format!("{by:?}, {until:?}");
            let mut kept = Kept::new(make(), until, by);
            let first = kept.call(until);
            if bytes % 3 == 0 {
                // Lost in the middle once more.
                let _ = kept.call(Until::Bytes(bytes / 2));
            }
            kept.call_well(expected, is_stream, &context);
            if first.is_ok() || bytes % 5 == 0 {
                kept.call_well(expected, is_stream, &context);
            }
            if first.is_ok() {
                break;
            }
        }
        for events in 0.. {
            let until = Until::Event(events);
            let mut kept = Kept::new(make(), until, by);
            let first = kept.call(until);
            let is_cancelled = kept.cancel.is_cancelled();
            let context = format!("{by:?}, {until:?}");
            if is_cancelled {
                // For as long as its token is the one that was cancelled.
                let again = kept.call(Until::Done);
                let spent = matches!(again, Err(Error::Local { operation: Operation::Rewind, .. }));
                let is_so = matches!(again, Err(Error::Session(SessionError::Cancelled)))
                    || spent && is_stream;
                assert!(is_so, "{context}: {again:?}");
            }
            kept.sender = kept.sender.cancel(CancelToken::new());
            kept.call_well(expected, is_stream, &context);
            if !is_cancelled {
                assert!(first.is_ok(), "{context}: {first:?}");
                break;
            }
        }
    }
}

fn expected(files: &[(&str, usize)]) -> HashMap<RelPath, Vec<u8>> {
    files.iter().map(|(name, len)| (path(name), bytes(name, *len))).collect()
}

fn bytes(name: &str, len: usize) -> Vec<u8> {
    content(name.len() as u64, len)
}

fn files(files: &[(&str, usize)]) -> MemorySource {
    files
        .iter()
        .fold(MemorySource::new(), |source, (name, len)| source.file(path(name), bytes(name, *len)))
}

fn stream(name: &str, len: usize) -> StreamSource {
    StreamSource::new(path(name), io::Cursor::new(bytes(name, len)))
}

/// Of the sources that differ from the first in how they go back alone.
const STEP: usize = 13;

/// One that travels inside its offer, and one of two blocks.
const FILES: [(&str, usize); 2] = [("s", 3), ("large", 1100)];

#[test]
fn files_are_sent_by_every_later_call() {
    check(|| files(&FILES), &expected(&FILES), false, 1);
}

#[test]
fn files_behind_a_reference_and_a_box_are_sent_by_every_later_call() {
    let make = || Box::leak(Box::new(files(&FILES[..1])));
    check(make, &expected(&FILES[..1]), false, STEP);
    check(|| Box::new(files(&FILES[..1])), &expected(&FILES[..1]), false, STEP);
}

#[test]
fn stream_is_sent_by_every_later_call_or_is_spent() {
    check(|| stream("st", 1500), &expected(&[("st", 1500)]), true, STEP);
}

#[test]
fn chain_is_sent_by_every_later_call_or_is_spent() {
    let make = || Chain::new(files(&FILES[..1]), stream("st", 1100));
    check(make, &expected(&[FILES[0], ("st", 1100)]), true, STEP);
    let make = || Chain::new(stream("st", 1100), files(&FILES[..1]));
    check(make, &expected(&[FILES[0], ("st", 1100)]), true, STEP);
    let make = || Chain::new(files(&FILES[..1]), files(&[("other", 5)]));
    check(make, &expected(&[FILES[0], ("other", 5)]), false, STEP);
}

#[cfg(feature = "testing")]
#[test]
fn source_that_cannot_go_back_once_is_sent_by_a_later_call() {
    use haul::testing::store::{Failure, Fault, FaultSource, SourceCall};
    let fault = Fault::once(SourceCall::Rewind, 1, Failure::Io(io::ErrorKind::NotSeekable));
    let make = || FaultSource::new(files(&FILES[..1])).fault(fault);
    check(make, &expected(&FILES[..1]), true, STEP);
    let mut kept = Kept::new(make(), Until::Done, By::Send);
    assert!(kept.call(Until::Done).is_ok() && kept.call(Until::Done).is_err());
    assert!(kept.call(Until::Done).is_ok_and(|sent| sent.held == 1));
}

#[cfg(all(feature = "fs", feature = "testing"))]
#[test]
fn files_of_a_folder_are_sent_by_every_later_call() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, len) in FILES {
        std::fs::write(folder.path().join(name), bytes(name, len)).expect("written");
    }
    let paths = || FILES.map(|(name, _)| folder.path().join(name));
    let make = || haul::store::fs::FsSource::new(paths()).expect("they are there");
    check(make, &expected(&FILES), false, STEP);
}

/// A connector whose streams know of their ends.
struct Known(Option<memory::Pipe>, Channel);

impl Connector for Known {
    type Stream = memory::Pipe;

    fn connect(&mut self) -> io::Result<memory::Pipe> {
        self.0.take().ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }

    fn channel(&self, _: &memory::Pipe) -> Option<Channel> {
        Some(self.1.clone())
    }
}

/// A source that cannot go back.
struct Spent;

impl Source for Spent {
    type Key = ();
    type Reader = ();

    fn rewind(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::NotSeekable.into())
    }

    fn next_entry(&mut self) -> Option<Result<((), Meta), Unsendable>> {
        None
    }

    fn open(&mut self, (): &(), _: &Meta) -> Result<(), Withdrawal> {
        Ok(())
    }

    fn read_at(&mut self, (): &mut (), _: u64, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn finish(&mut self, (): &mut (), _: &Meta) -> Result<(), Withdrawal> {
        Ok(())
    }
}

/// Ends that one stream knew are no matter of the next one: neither where a call came to no session, nor where it
/// connected by itself.
#[test]
fn channel_of_a_call_is_not_that_of_the_next() {
    let known = Channel::new();
    known.establish([1; 32], PublicKey::from_bytes([2; 32]));
    for (first, both) in
        [(0, "a spent source"), (1, "a connector that sends"), (2, "a connector that receives")]
    {
        let mut sender = Transfer::new(small_blocks()).retry(Retry::never());
        let mut receiver = sender.clone();
        let mut source = MemorySource::new().file(path("a"), content(0, 100));
        let store = MemoryStore::new();
        let (alice, bob) = memory::pipe(capacity(4096));
        match first {
            0 => {
                sender = sender.channel(known.clone());
                sender.send(&mut Spent, alice).expect_err("it cannot go back");
            }
            1 => {
                drop(bob);
                let mut connector = Known(Some(alice), known.clone());
                sender.send_via(&mut source, &mut connector).expect_err("nobody is there");
            }
            _ => {
                drop(alice);
                let mut connector = Known(Some(bob), known.clone());
                receiver.receive_via(&store, &mut connector).expect_err("nobody is there");
            }
        }
        let (alice, bob) = memory::pipe(capacity(4096));
        let (sent, received) = thread::scope(|scope| {
            let mut store = store.clone();
            let receiving = scope.spawn(move || receiver.receive(&mut store, bob));
            let sent = sender.send(&mut source, alice);
            (sent, receiving.join().expect("no panic"))
        });
        assert_eq!(sent.expect(both).delivered, 1, "{both}");
        assert_eq!(received.expect(both).delivered, 1, "{both}");
    }
}
