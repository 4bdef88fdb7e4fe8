//! Input at the wrong time: while an action is queued, or not answered.

use std::time::Duration;

use crate::config::{Config, IfExists};
use crate::drive::Files;
use crate::hash::BlockSize;
use crate::proto::wire::message::Message;
use crate::proto::{Error, Misuse, ReceiveAction, Receiver, SendAction, Sender, Step};
use crate::store::{MemorySource, MemoryStore, Readers, Source};
use crate::types::{EntryId, Event, Found, Refusal, StoreOperation, TransferId};

use super::bob;
use super::pair::path;
use super::rogue::{Rogue, inline};

const NOW: Duration = Duration::ZERO;

fn config() -> Config {
    Config::default().block_size(BlockSize::at_most(4096)).if_exists(IfExists::Replace)
}

/// Returns four blocks that differ.
fn content() -> Vec<u8> {
    (0..4).flat_map(|block| [block; 4096]).collect()
}

/// A sender of one file, as its caller runs it: until it needs more input.
struct Alice {
    sender: Sender,
    source: MemorySource,
    readers: Readers<MemorySource>,
    /// Number of times that input was given while an action was queued.
    early: u32,
}

impl Alice {
    fn new() -> Self {
        let config = config();
        Self {
            sender: Sender::new(config.clone(), TransferId::new([1; 16]), [2; 16], NOW),
            source: MemorySource::new().file(path("a"), content()),
            readers: Readers::new(&config.limits),
            early: 0,
        }
    }

    fn go_on(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) {
        loop {
            match self.sender.poll(NOW, out).unwrap() {
                SendAction::Event(_) | SendAction::Release { .. } => {}
                SendAction::NextEntry => match self.source.next_entry() {
                    None => self.sender.handle_exhausted().unwrap(),
                    Some(entry) => {
                        let (key, meta) = entry.unwrap();
                        let entry = self.sender.handle_entry(meta.clone(), None).unwrap();
                        self.readers.insert(&self.source, entry, key, meta);
                    }
                },
                SendAction::Read(request) => {
                    let mut frame = vec![0; request.head + request.len];
                    let buffer = &mut frame[request.head..];
                    let read = self.readers.read(&mut self.source, &request, buffer);
                    let read = read.unwrap().unwrap();
                    let sent = self.sender.handle_read(NOW, read, &mut frame).unwrap();
                    out.extend_from_slice(&frame[..sent]);
                }
                SendAction::Forget { entry } => self.readers.forget(entry),
                SendAction::Await { .. } => loop {
                    // Without a poll in between: the next one may be too early.
                    match self.sender.handle_input(NOW, input) {
                        Ok(consumed) if consumed.bytes == 0 => return,
                        Ok(consumed) => drop(input.drain(..consumed.bytes)),
                        Err(failure) => {
                            assert_eq!(failure, Error::Misuse(Misuse::ActionDue));
                            self.early += 1;
                            break;
                        }
                    }
                },
                SendAction::Closed(_) => return,
            }
        }
    }
}

/// A receiver whose caller gives the same input again after each step, without a poll, until it is told off.
struct Bob {
    receiver: Receiver,
    store: MemoryStore,
    files: Files<<MemoryStore as crate::store::Store>::File>,
    events: Vec<Event>,
    early: u32,
}

impl Bob {
    fn go_on(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) {
        loop {
            let Self { receiver, store, files, .. } = self;
            files.collect(store, receiver, Duration::ZERO).unwrap();
            match receiver.poll(NOW, out).unwrap() {
                ReceiveAction::Event(event) => self.events.push(event),
                ReceiveAction::Await { .. } => loop {
                    let step = match receiver.handle_input(NOW, input) {
                        Ok(step) => step,
                        Err(failure) => {
                            assert_eq!(failure, Error::Misuse(Misuse::ActionDue));
                            self.early += 1;
                            break;
                        }
                    };
                    match files.answer(store, receiver, step).unwrap() {
                        None => receiver.assert_invariants(files.entries()),
                        Some(consumed) if consumed.bytes == 0 => return,
                        Some(consumed) => drop(input.drain(..consumed.bytes)),
                    }
                },
                ReceiveAction::Closed(_) => return,
                action => files.act(store, receiver, action).unwrap(),
            }
            self.receiver.assert_invariants(self.files.entries());
        }
    }
}

#[test]
fn input_while_an_action_is_queued_is_told_and_changes_nothing() {
    // Equal, so that the receiver closes what it began; different, so that it begins it anew; and what is not there.
    for held in [Some(content()), Some(vec![7; 5000]), None] {
        let store = MemoryStore::new();
        if let Some(held) = held.clone() {
            store.insert(path("a"), held);
        }
        let mut alice = Alice::new();
        let receiver = Receiver::new(config(), [3; 16], NOW);
        let mut bob = Bob { receiver, store, files: Files::new(), events: Vec::new(), early: 0 };
        let (mut to_bob, mut to_alice) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            alice.go_on(&mut to_alice, &mut to_bob);
            bob.go_on(&mut to_bob, &mut to_alice);
        }
        assert!(alice.sender.is_closed() && bob.receiver.is_closed());
        assert_eq!(bob.files.entries().count(), 0);
        assert!(bob.store.files()[&path("a")][..] == content()[..]);
        let delivered = |event: &&Event| matches!(event, Event::Delivered { .. });
        assert_eq!(bob.events.iter().filter(delivered).count(), 1);
        assert!(bob.early > 0 && alice.early > 0, "{} {}", bob.early, alice.early);
    }
}

#[test]
fn input_before_an_answer_to_a_poll_is_told_and_changes_nothing() {
    let mut alice = Alice::new();
    let store = MemoryStore::new();
    store.insert(path("a"), content());
    let mut receiver = Receiver::new(config(), [3; 16], NOW);
    let mut files = Files::new();
    let mut store = store;
    let (mut to_bob, mut to_alice) = (Vec::new(), Vec::new());
    let mut asked = Vec::new();
    while !receiver.is_closed() {
        alice.go_on(&mut to_alice, &mut to_bob);
        loop {
            files.collect(&mut store, &mut receiver, Duration::ZERO).unwrap();
            match receiver.poll(NOW, &mut to_alice).unwrap() {
                ReceiveAction::Event(_) => {}
                ReceiveAction::Await { .. } => {
                    let step = receiver.handle_input(NOW, &to_bob).unwrap();
                    match files.answer(&mut store, &mut receiver, step).unwrap() {
                        Some(consumed) if consumed.bytes == 0 => break,
                        consumed => {
                            to_bob.drain(..consumed.map_or(0, |consumed| consumed.bytes));
                        }
                    }
                }
                ReceiveAction::Closed(_) => break,
                action => {
                    if let ReceiveAction::Read { entry, .. } = action {
                        let early = receiver.handle_input(NOW, &to_bob).map(drop_step);
                        assert_eq!(early, Err(Error::Misuse(Misuse::AnswerDue)));
                        asked.push(entry);
                    }
                    files.act(&mut store, &mut receiver, action).unwrap();
                }
            }
        }
    }
    alice.go_on(&mut to_alice, &mut to_bob);
    assert!(alice.sender.is_closed());
    assert_eq!(asked, [EntryId::new(0); 4]);
}

/// Returns a receiver that was just offered small content, which came inside its offer, and the bytes
/// of that.
fn offered() -> (Receiver, Vec<u8>) {
    let mut rogue = Rogue::sender(&config(), bob::Bob::default()).greeted();
    rogue.send_with(&Message::Offer(inline(0, b"a", b"small")), b"small");
    let input = rogue.pair.down.bytes.clone();
    (rogue.pair.receiver, input)
}

fn poll_until_input(receiver: &mut Receiver) {
    while !matches!(receiver.poll(NOW, &mut Vec::new()).unwrap(), ReceiveAction::Await { .. }) {}
}

/// Gives the input, and polls until the entry is to be begun, twice: what is not answered is asked for again.
fn poll_until_begin(receiver: &mut Receiver, input: &[u8]) {
    assert!(matches!(receiver.handle_input(NOW, input), Ok(Step::Poll)));
    for _ in 0..2 {
        let mut polled = || receiver.poll(NOW, &mut Vec::new()).unwrap();
        while !matches!(polled(), ReceiveAction::Begin { .. }) {}
    }
}

#[test]
fn input_before_an_answer_to_a_step_is_told_and_changes_nothing() {
    let (mut receiver, input) = offered();
    poll_until_input(&mut receiver);
    poll_until_begin(&mut receiver, &input);
    for input in [&input[..], &[], &[7; 100]] {
        let early = receiver.handle_input(NOW, input).map(drop_step);
        assert_eq!(early, Err(Error::Misuse(Misuse::AnswerDue)));
    }
    assert_eq!(receiver.handle_begun(Ok(Found::Fresh)), Ok(()));
    poll_until_input(&mut receiver);
    let step = receiver.handle_input(NOW, &input);
    assert!(matches!(step, Ok(Step::Write { offset: 0, bytes: b"small", .. })), "{step:?}");
}

#[test]
fn input_that_is_another_one_between_the_steps_of_a_message_is_told_and_not_written() {
    let (mut receiver, input) = offered();
    poll_until_input(&mut receiver);
    poll_until_begin(&mut receiver, &input);
    receiver.handle_begun(Ok(Found::Fresh)).unwrap();
    poll_until_input(&mut receiver);
    let last = input.len() - 1;
    for changed in [0, 15, last] {
        let mut other = input.clone();
        other[changed] ^= 1;
        let told = receiver.handle_input(NOW, &other).map(drop_step);
        assert_eq!(told, Err(Error::Misuse(Misuse::OtherInput)), "byte {changed}");
    }
    let told = receiver.handle_input(NOW, &input[..last]).map(drop_step);
    assert_eq!(told, Err(Error::Misuse(Misuse::OtherInput)));
    let more = [&input[..], b"more"].concat();
    let step = receiver.handle_input(NOW, &more);
    assert!(matches!(step, Ok(Step::Write { offset: 0, bytes: b"small", .. })), "{step:?}");
    receiver.handle_written(Ok(())).unwrap();
    let committed = receiver.poll(NOW, &mut Vec::new());
    assert!(matches!(committed, Ok(ReceiveAction::Event(_))), "{committed:?}");
}

/// A caller that breaks the order of actions hears of it in the end of the entry: nothing waits for a commit that never began.
#[test]
fn commit_of_which_no_file_is_open_ends_as_an_error_of_the_store() {
    let (mut receiver, input) = offered();
    let (mut files, mut store) = (Files::new(), MemoryStore::new());
    let mut refused = Vec::new();
    for _ in 0..20 {
        match receiver.poll(NOW, &mut Vec::new()).unwrap() {
            ReceiveAction::Await { .. } if receiver.commits() == 0 && refused.is_empty() => {
                let step = receiver.handle_input(NOW, &input).unwrap();
                files.answer(&mut store, &mut receiver, step).unwrap();
            }
            ReceiveAction::Event(Event::Refused { reason, .. }) => refused.push(reason),
            action @ ReceiveAction::Commit { .. } => {
                files = Files::new();
                files.act(&mut store, &mut receiver, action).unwrap();
            }
            action => files.act(&mut store, &mut receiver, action).unwrap(),
        }
    }
    let reason = Refusal::Store { code: 0, operation: StoreOperation::Commit };
    assert_eq!((receiver.commits(), refused), (0, vec![reason]));
}

fn drop_step(_: Step<'_>) {}
