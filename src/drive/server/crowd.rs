//! Servers over memory among strangers, at random: who comes, in what order, what they do, and what the bounds are.
//!
//! Whatever came before, a sender is served soon, and each place and connection is given back: there are more senders in
//! turn than there are places.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "this is a test")]

mod streams;

use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use self::streams::{Gate, Slow};
use super::Server;
use crate::config::Config;
use crate::drive::{CancelToken, Retry, Transfer};
use crate::error::Error;
use crate::proto::{self, SendAction, Sender};
use crate::store::{MemorySource, MemoryStore};
use crate::testing::choices::Choices;
use crate::testing::idler::Idler;
use crate::transport::Connector as _;
use crate::transport::memory::{self, MemoryConnector, Pipe};
use crate::types::{RelPath, TransferId};

/// Far more than a sender has to wait on a machine that is busy, and far less than any deadline of a stranger.
const SOON: Duration = Duration::from_secs(30);

const CROWDS: u32 = 12;

#[test]
fn sender_in_a_crowd_of_strangers_is_served_soon_and_everything_is_given_back() {
    for seed in 0..CROWDS {
        let mut bytes = [0; 200];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
        crowd(seed, &mut Choices::new(&bytes));
    }
}

fn crowd(seed: u32, choices: &mut Choices<'_>) {
    let (connector, mut acceptor) = memory::network(NonZeroUsize::new(1 << 16).unwrap());
    acceptor.set_timeout(Some(Duration::from_millis(5)));
    let (store, cancel) = (MemoryStore::new(), CancelToken::new());
    let [sessions, waiting, strangers] = [3, 3, 4].map(|most| 1 + usize::from(choices.below(most)));
    let gate = Gate::default();
    let acceptor = Slow::new(acceptor, &gate, sessions + waiting + 2 * strangers);
    // One never closes while there is anybody.
    let acceptor = acceptor.stuck(usize::from(choices.below(8)), 1);
    let mut config = Config::default();
    // No stranger leaves by himself before a sender has waited too long for him.
    config.deadlines.hello = 10 * SOON;
    let server = Server::new(acceptor, store.clone())
        .config(config)
        .sessions(sessions)
        .waiting(waiting)
        .strangers(strangers)
        .cancel(cancel.clone());
    let outcome = thread::scope(|scope| {
        let server = scope.spawn(move || server.run(|_, _| ()));
        let (stop, stopped) = mpsc::channel::<()>();
        let (idle, idlers) = mpsc::channel();
        scope.spawn(move || pass_the_floor(&idlers, &stopped));
        let outcome = visit(&connector, &store, sessions, &idle, choices);
        drop(stop);
        gate.open();
        cancel.leave();
        let ended = server.join().expect("a server does not panic");
        assert!(
            matches!(ended, Err(Error::Session(proto::Error::Cancelled))),
            "crowd {seed}: {ended:?}"
        );
        outcome
    });
    assert_eq!(outcome, Ok(()), "crowd {seed}");
}

/// Lets those that offer nothing pass the floor, as soon as they have it, until the other end of `stopped` is gone.
fn pass_the_floor(idlers: &mpsc::Receiver<(Pipe, Idler)>, stopped: &mpsc::Receiver<()>) {
    let mut all = Vec::new();
    while stopped.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
        all.extend(idlers.try_iter());
        all.retain_mut(|(stream, idler): &mut (Pipe, Idler)| {
            let mut buffer = [0; 1000];
            match stream.read(&mut buffer) {
                // It was sent away.
                Ok(0) => return false,
                Ok(count) => idler.receive(&buffer[..count]),
                Err(_) => {}
            }
            idler.pass().is_none_or(|turn| stream.write(&turn).is_ok())
        });
    }
}

/// Strangers and senders in turn.
fn visit(
    connector: &MemoryConnector,
    store: &MemoryStore,
    sessions: usize,
    idlers: &mpsc::Sender<(Pipe, Idler)>,
    choices: &mut Choices<'_>,
) -> Result<(), String> {
    let mut strangers: Vec<Pipe> = Vec::new();
    for number in 0..=sessions {
        for _ in 0..choices.below(6) {
            let Ok(mut stream) = connector.clone().connect() else { continue };
            let greeting = greeting(choices.byte());
            let said: &[u8] = match choices.below(6) {
                0 => &[],
                1 => match usize::from(choices.byte()) {
                    // All but the end of the turn: it has greeted, and keeps the floor.
                    odd if odd % 2 == 1 => &greeting[..greeting.len() - 1],
                    even => &greeting[..1 + even % greeting.len()],
                },
                2 => &greeting,
                3 => &[0xA5; 300],
                4 => {
                    let mut idler = Idler::new(TransferId::new([choices.byte(); 16]));
                    stream.set_timeout(Some(Duration::ZERO));
                    let _ = stream.write(&idler.greeting());
                    let _ = idlers.send((stream, idler));
                    continue;
                }
                // Gone at once.
                _ => continue,
            };
            let _ = stream.write(said);
            strangers.push(stream);
        }
        while choices.below(3) == 0 && !strangers.is_empty() {
            strangers.swap_remove(usize::from(choices.byte()) % strangers.len());
        }
        send(connector.clone(), number, store)?;
    }
    Ok(())
}

/// Sends a file, which has to be there soon.
fn send(mut connector: MemoryConnector, number: usize, store: &MemoryStore) -> Result<(), String> {
    let (name, cancel) = (format!("f{number}"), CancelToken::new());
    let path = RelPath::parse(name.as_bytes()).unwrap();
    let (done, ended) = mpsc::channel();
    thread::scope(|scope| {
        let transfer = Transfer::new(Config::default()).cancel(cancel.clone());
        let mut source = MemorySource::new().file(path.clone(), vec![7; 10_000]);
        scope.spawn(move || {
            let retry = Retry::default().most(Duration::from_millis(500));
            let sent = transfer.retry(retry).send_via(&mut source, &mut connector);
            done.send(sent.map(|sum| sum.delivered))
        });
        match ended.recv_timeout(SOON) {
            Ok(Ok(1)) if store.get(path.as_bytes()).is_some() => Ok(()),
            Ok(ended) => Err(format!("sender {number}: {ended:?}")),
            Err(_) => {
                cancel.cancel();
                Err(format!("sender {number} is not served"))
            }
        }
    })
}

/// Returns the first turn of a sender that has nothing more to send.
fn greeting(id: u8) -> Vec<u8> {
    let transfer = TransferId::new([id; 16]);
    let mut sender = Sender::new(Config::default(), transfer, [id; 16], Duration::ZERO);
    let mut out = Vec::new();
    let waits = |action| matches!(action, Ok(SendAction::Await { .. }));
    assert!((0..9).any(|_| waits(sender.poll(Duration::ZERO, &mut out))), "it greets, and waits");
    out
}
