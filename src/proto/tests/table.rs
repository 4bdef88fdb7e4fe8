//! Every message in every state of both machines, against tables that are committed: a transition that changes shows
//! as a line that changes. `HAUL_BLESS=1` writes them anew.

use std::fmt::Write as _;

use super::golden;
use super::pair::{Alice, Bob, content, path};
use super::rogue::{Rogue, inline, wire};
use crate::config::{Compare, Config, IfExists};
use crate::hash::{BlockHash, BlockSize, Hash};
use crate::proto::error::{Error, ProtocolError};
use crate::proto::wire::frame::PREFACE;
use crate::proto::wire::message::{Message, Reason, WireOffer};
use crate::types::{AbortCode, Activity, Durability, EntryId, Meta, Outcome, Timestamp};

const ZERO: EntryId = EntryId::new(0);
const LEN: usize = 3000;

fn config() -> Config {
    Config::default().block_size(BlockSize::MIN)
}

/// Returns an offer by time.
fn asking(entry: u32, name: &[u8]) -> WireOffer {
    let modified = Timestamp::new(1, 2);
    WireOffer { modified, by_time: true, ..wire(entry, name, Some(LEN as u64)) }
}

fn root() -> Hash {
    Hash::of(&content(1, LEN))
}

fn block(index: u64) -> (Message, Vec<u8>) {
    let bytes = content(1, LEN);
    let start = usize::try_from(index).unwrap() * 1024;
    let bytes = bytes[start..(start + 1024).min(LEN)].to_vec();
    let hash = BlockSize::MIN.hash(index, &bytes).unwrap().hash;
    (Message::Block { entry: ZERO, index, hash }, bytes)
}

/// A message and its payload.
type Said = (Message, Vec<u8>);

/// Returns every kind of message: right somewhere, at its boundaries, repeated, of an unknown
/// entry.
fn messages() -> Vec<(String, Vec<Said>)> {
    let hello = Rogue::sender(&config(), Bob::default()).greeting().clone();
    let reason = Reason { code: 1, first: 0, second: 0 };
    let hash = BlockHash::from_bytes([5; 32]);
    let unknown = EntryId::new(9);
    let have = |entry, first, count, more, compare| Message::Have {
        entry,
        first,
        hashes: vec![hash; count],
        more,
        compare,
    };
    let receipt_of = |outcome, entry, size, root, name: &[u8]| Message::Receipt {
        entry,
        size,
        root,
        durability: Durability::Synced,
        outcome,
        name: name.into(),
    };
    let receipt = |entry, size, root, name| receipt_of(Outcome::Stored, entry, size, root, name);
    let zeros = |entry, blocks| Message::Zeros { entry, blocks };
    let same = |entry, blocks| Message::Same { entry, blocks };
    let end = |entry, size, root| Message::End { entry, size, root };
    let one = |name: &str, message: Message| (name.to_owned(), vec![(message, Vec::new())]);
    let whole = end(ZERO, LEN as u64, root());
    let mut cases = vec![
        one("Hello", Message::Hello(hello)),
        one("Offer next", Message::Offer(wire(1, b"b", Some(5000)))),
        one("Offer same id", Message::Offer(wire(0, b"b", Some(5000)))),
        one("Offer last id", Message::Offer(wire(u32::MAX, b"b", Some(5000)))),
        one("Offer bad name", Message::Offer(wire(1, b"../b", Some(5000)))),
        ("Offer inline".into(), vec![(Message::Offer(inline(1, b"b", b"ok")), b"ok".to_vec())]),
        one("Have nothing", have(ZERO, 0, 0, false, false)),
        one("Have one, more", have(ZERO, 0, 1, true, false)),
        one("Have, compare", have(ZERO, 0, 0, false, true)),
        one("Have all, compare", have(ZERO, 0, 3, false, true)),
        one("Have past the end", have(ZERO, 0, 4, false, false)),
        one("Have from 1", have(ZERO, 1, 1, false, false)),
        one("Have of unknown", have(unknown, 0, 0, false, false)),
        one("Refuse", Message::Refuse { entry: ZERO, reason }),
        one("Refuse unknown", Message::Refuse { entry: unknown, reason }),
        ("Block 0".into(), vec![block(0)]),
        ("Block 0 twice".into(), vec![block(0), block(0)]),
        ("Block 2, short".into(), vec![block(2)]),
        ("Block 0 damaged".into(), vec![(block(0).0, vec![9; 1024])]),
        (
            "Block huge index".into(),
            vec![(Message::Block { entry: ZERO, index: u64::MAX, hash }, vec![1; 1024])],
        ),
        (
            "Block of unknown".into(),
            vec![(Message::Block { entry: unknown, index: 0, hash }, vec![1; 1024])],
        ),
        one("Same 0..1", same(ZERO, 0..1)),
        one("Same 0..3", same(ZERO, 0..3)),
        one("Same past the end", same(ZERO, 0..4)),
        one("Same of unknown", same(unknown, 0..1)),
        one("Zeros 0..1", zeros(ZERO, 0..1)),
        one("Zeros past the end", zeros(ZERO, 2..4)),
        one("Zeros of 2^60", zeros(ZERO, 0..1 << 60)),
        one("Zeros of unknown", zeros(unknown, 0..1)),
        one("Claim", Message::Claim { entry: ZERO, root: Some(root()) }),
        one("Claim of another root", Message::Claim { entry: ZERO, root: Some(Hash::of(b"")) }),
        one("Claim of nothing", Message::Claim { entry: ZERO, root: None }),
        one("Claim of unknown", Message::Claim { entry: unknown, root: Some(root()) }),
        one("End", whole.clone()),
        ("End twice".into(), vec![(whole.clone(), Vec::new()), (whole, Vec::new())]),
        one("End of another size", end(ZERO, 1, root())),
        one("End of 2^64-1", end(ZERO, u64::MAX, root())),
        one("End of unknown", end(unknown, 0, root())),
        one("Missing 0..1", Message::Missing { entry: ZERO, blocks: vec![0..1] }),
        one("Missing past the end", Message::Missing { entry: ZERO, blocks: vec![0..4] }),
        one("Missing of unknown", Message::Missing { entry: unknown, blocks: vec![0..1] }),
        one("Kept 0..1", Message::Kept { entry: ZERO, blocks: vec![0..1] }),
        one("Kept past the end", Message::Kept { entry: ZERO, blocks: vec![0..4] }),
        one("Kept of unknown", Message::Kept { entry: unknown, blocks: vec![0..1] }),
        one("Receipt", receipt(ZERO, LEN as u64, root(), b"")),
        one("Receipt of held", receipt_of(Outcome::Held, ZERO, LEN as u64, root(), b"")),
        one("Receipt renamed", receipt(ZERO, LEN as u64, root(), b"a (1)")),
        one("Receipt bad name", receipt(ZERO, LEN as u64, root(), b"../a")),
        one("Receipt of less", receipt(ZERO, 1, root(), b"")),
        one("Receipt of unknown", receipt(unknown, LEN as u64, root(), b"")),
        one("Withdraw", Message::Withdraw { entry: ZERO, reason }),
        one("Withdraw unknown", Message::Withdraw { entry: unknown, reason }),
        one("Over", Message::Over { waiting: false }),
        one("Out", Message::Out),
    ];
    cases.extend([1, 2, 9].map(|code| {
        let code = AbortCode::from_code(code);
        one(&format!("Abort {code:?}"), Message::Abort { code })
    }));
    cases.push(one("Heartbeat", Message::Heartbeat { activity: Activity::Syncing }));
    let by_time = |entry, name: &[u8]| Message::Offer(asking(entry, name));
    cases.push(one("Offer by time", by_time(1, b"b")));
    cases.push(one("Offer by time again", by_time(0, b"a")));
    let again = WireOffer { by_time: false, ..asking(0, b"a") };
    cases.push(one("Offer again, in full", Message::Offer(again)));
    for (name, entry) in [("", ZERO), (" of unknown", unknown)] {
        cases.push(one(&format!("Unchanged{name}"), Message::Unchanged { entry }));
        cases.push(one(&format!("Changed{name}"), Message::Changed { entry }));
    }
    cases
}

/// Returns one line for the machine's answer, or its end.
fn outcome(rogue: &mut Rogue) -> String {
    rogue.over(true);
    rogue.settle();
    let said = rogue.receive();
    let mut line = String::new();
    for message in &said {
        let separator = if line.is_empty() { "" } else { ", " };
        let name = message.name();
        write!(line, "{separator}{name:?}").unwrap();
        match message {
            Message::Abort { code } => write!(line, " {code:?}").unwrap(),
            Message::Have { hashes, more, compare, .. } => {
                let compare = if *compare { " to compare" } else { "" };
                write!(line, " {}{}{compare}", hashes.len(), if *more { "+" } else { "" }).unwrap();
            }
            Message::Missing { blocks, .. } | Message::Kept { blocks, .. } => {
                write!(line, " {blocks:?}").unwrap();
            }
            Message::Block { index, .. } => write!(line, " {index}").unwrap(),
            Message::Same { blocks, .. } | Message::Zeros { blocks, .. } => {
                write!(line, " {blocks:?}").unwrap();
            }
            _ => {}
        }
    }
    if let Some(ended) = rogue.ended() {
        let separator = if line.is_empty() { "" } else { "; " };
        match ended {
            Ok(()) => write!(line, "{separator}closed").unwrap(),
            Err(failure) => write!(line, "{separator}failed: {failure}").unwrap(),
        }
    }
    line
}

fn table(states: &[(&str, &dyn Fn() -> Rogue)]) -> String {
    let mut table = String::new();
    for (state, make) in states {
        writeln!(table, "# {state}").unwrap();
        for (name, messages) in messages() {
            let mut rogue = make();
            rogue.receive();
            let bystander = path("bystander");
            rogue.pair.bob.visible.insert(bystander.clone(), b"visible".to_vec());
            rogue.pair.bob.partial.insert(bystander, b"partial".to_vec());
            let before = rogue.pair.bob.clone();
            for (message, payload) in &messages {
                rogue.send_with(message, payload);
                rogue.settle();
            }
            let bob = &rogue.pair.bob;
            let is_touched = before.visible != bob.visible || before.partial != bob.partial;
            let line = outcome(&mut rogue);
            assert_removes_nothing(&before, &rogue.pair.bob, &format!("{state}: {name}"));
            // That would be for the floor which is passed with nothing pending, not for the message.
            let idle = Err(Error::Protocol(ProtocolError::WaitsForNothing));
            let has_failed = matches!(rogue.ended(), Some(ended @ Err(_)) if ended != idle);
            let effect = if is_touched { " [store]" } else { "" };
            // A message that is repeated may do its work the first time.
            assert!(!(has_failed && is_touched) || messages.len() > 1, "{state}: {name}: {line}");
            writeln!(table, "{name:22} | {line}{effect}").unwrap();
        }
        writeln!(table).unwrap();
    }
    table
}

/// Checks that no message removes anything: what had a final name has it still, with its content or, where replacing is
/// allowed, the one that was offered; and of partial files, that of the entry itself may go, no other.
fn assert_removes_nothing(before: &Bob, after: &Bob, what: &str) {
    let offered = path("a");
    for (name, bytes) in &before.visible {
        let now = after.visible.get(name);
        let is_replaced = *name == offered && now == Some(&content(1, LEN));
        assert!(now == Some(bytes) || is_replaced, "{what}: {name} was lost");
    }
    for (name, bytes) in before.partial.iter().filter(|(name, _)| **name != offered) {
        assert_eq!(after.partial.get(name), Some(bytes), "{what}: a partial file was lost");
    }
}

fn sender_to(config: &Config, bob: Bob, offer: WireOffer) -> Rogue {
    let mut rogue = Rogue::sender(config, bob).greeted();
    rogue.send(&Message::Offer(offer));
    rogue.turn();
    rogue
}

fn holding(visible: Option<Vec<u8>>, partial: Option<Vec<u8>>) -> Bob {
    let mut bob = Bob::default();
    bob.visible.extend(visible.map(|bytes| (path("a"), bytes)));
    bob.partial.extend(partial.map(|bytes| (path("a"), bytes)));
    bob
}

#[test]
fn receiver_in_every_state_answers_every_message_as_the_table_says() {
    let sized = || wire(0, b"a", Some(LEN as u64));
    let whole = || content(1, LEN);
    let await_hello = || {
        let mut rogue = Rogue::sender(&config(), Bob::default());
        rogue.raw(&PREFACE);
        rogue
    };
    let nothing = || Rogue::sender(&config(), Bob::default()).greeted();
    let opening = || {
        // Offered in the same turn.
        let mut rogue = nothing();
        rogue.send(&Message::Offer(sized()));
        rogue.settle();
        rogue
    };
    let filling = || sender_to(&config(), Bob::default(), sized());
    let unsized_filling = || sender_to(&config(), Bob::default(), wire(0, b"a", None));
    let resuming = || sender_to(&config(), holding(None, Some(whole())), sized());
    let damaged = || {
        let mut rogue = filling();
        rogue.send_with(&block(0).0, &[9; 1024]);
        rogue.turn();
        rogue
    };
    let ended = || {
        let mut rogue = filling();
        rogue.send(&Message::End { entry: ZERO, size: LEN as u64, root: root() });
        rogue.settle();
        rogue
    };
    let comparing = |existing| {
        move || {
            sender_to(&config().if_exists(existing), holding(Some(content(1, LEN)), None), sized())
        }
    };
    let (refuse, rename, replace) =
        (comparing(IfExists::Refuse), comparing(IfExists::Rename), comparing(IfExists::Replace));
    let claimed = || {
        let mut rogue = rename();
        rogue.send(&Message::Claim { entry: ZERO, root: Some(root()) });
        rogue.settle();
        rogue
    };
    let stream_over_a_file = || {
        let bob = holding(Some(content(1, LEN - 100)), None);
        sender_to(&config(), bob, wire(0, b"a", None))
    };
    let committing = || {
        let mut rogue = filling();
        rogue.pair.bob.is_stuck = true;
        for index in 0..3 {
            let (message, payload) = block(index);
            rogue.send_with(&message, &payload);
        }
        rogue.send(&Message::End { entry: ZERO, size: LEN as u64, root: root() });
        rogue.settle();
        rogue
    };
    let dropped = || {
        let mut rogue = filling();
        rogue.pair.bob.fail_write = Some(1);
        let (message, payload) = block(1);
        rogue.send_with(&message, &payload);
        rogue.settle();
        rogue
    };
    let two_blocks = || {
        let mut rogue = filling();
        for index in [0, 2] {
            let (message, payload) = block(index);
            rogue.send_with(&message, &payload);
        }
        rogue.turn();
        rogue.again(&config(), 2)
    };
    let remembered = || {
        let mut rogue = two_blocks();
        rogue.send(&Message::Offer(sized()));
        rogue.turn();
        rogue
    };
    let compared = || {
        let rogue = rename();
        let mut rogue = rogue.again(&config().if_exists(IfExists::Rename), 2);
        rogue.send(&Message::Offer(sized()));
        rogue.turn();
        rogue
    };
    let committing_still = || {
        let rogue = committing();
        let mut rogue = rogue.again(&config(), 2);
        rogue.send(&Message::Offer(sized()));
        rogue.settle();
        rogue
    };
    let told_again = || {
        let mut rogue = committing();
        rogue.pair.bob.is_stuck = false;
        rogue.turn();
        let mut rogue = rogue.again(&config(), 2);
        rogue.send(&Message::Offer(sized()));
        rogue.settle();
        rogue
    };
    let settled = || {
        let mut rogue = filling();
        let reason = Reason { code: 1, first: 0, second: 0 };
        rogue.send(&Message::Withdraw { entry: ZERO, reason });
        rogue.turn();
        rogue
    };
    let asked = |bob| {
        let mut rogue = Rogue::sender(&config().compare(Compare::SizeAndTime), bob).greeted();
        rogue.send(&Message::Offer(asking(0, b"a")));
        rogue.settle();
        rogue
    };
    let stale = || asked(Bob::default());
    let awaited = || {
        let mut rogue = stale();
        rogue.turn();
        rogue
    };
    let trusted = || {
        let mut bob = holding(Some(whole()), None);
        bob.times.insert(path("a"), Timestamp::new(1, 2).unwrap());
        asked(bob)
    };
    let closed = || {
        let mut rogue = nothing();
        rogue.send(&Message::Out);
        rogue.settle();
        rogue
    };
    let failed = || {
        let mut rogue = nothing();
        rogue.send(&Message::Abort { code: AbortCode::Cancelled });
        rogue.settle();
        rogue
    };
    let doomed = || {
        let mut rogue = nothing();
        rogue.send(&Message::Claim { entry: ZERO, root: None });
        rogue.settle();
        rogue
    };
    let table = table(&[
        ("AwaitHello", &await_hello),
        ("Listening, nothing offered", &nothing),
        ("Listening, offered in this turn", &opening),
        ("Listening, filling", &filling),
        ("Listening, filling, size unknown", &unsized_filling),
        ("Listening, filling from a whole partial file", &resuming),
        ("Listening, filling, block 0 came damaged", &damaged),
        ("Listening, filling, ended too early", &ended),
        ("Listening, comparing, policy refuse", &refuse),
        ("Listening, comparing, policy rename", &rename),
        ("Listening, comparing, policy replace", &replace),
        ("Listening, comparing, policy rename, claim heard in this turn", &claimed),
        ("Listening, filling, size unknown, another file has the name", &stream_over_a_file),
        ("Listening, committing", &committing),
        ("Listening, dropped and not told", &dropped),
        ("Listening on a second connection, two blocks known, nothing offered", &two_blocks),
        ("Listening on a second connection, filling, two blocks known", &remembered),
        ("Listening on a second connection, comparing", &compared),
        ("Listening on a second connection, committing still", &committing_still),
        ("Listening on a second connection, receipt to be said again", &told_again),
        ("Listening, settled", &settled),
        ("Listening, offered by time and changed, in this turn", &stale),
        ("Listening, offered by time and changed, and said so", &awaited),
        ("Listening, offered by time and unchanged, in this turn", &trusted),
        ("Listening, doomed", &doomed),
        ("Closed", &closed),
        ("Failed", &failed),
    ]);
    golden::check("receiver-table.txt", table.as_bytes());
}

#[test]
fn sender_in_every_state_answers_every_message_as_the_table_says() {
    let alice = |size: Option<u64>, window: Option<u64>, bytes: Vec<u8>| Alice {
        files: vec![(Meta::file(path("a"), size), bytes)],
        window,
        ..Alice::default()
    };
    let with = move |size, window| {
        Rogue::receiver(&config(), alice(size, window, content(1, LEN))).greeted()
    };
    let sized = move || with(Some(LEN as u64), None);
    let have = |rogue: &mut Rogue, count, more, compare| {
        rogue.receive();
        let hashes = vec![BlockHash::from_bytes([5; 32]); count];
        rogue.send(&Message::Have { entry: ZERO, first: 0, hashes, more, compare });
        rogue.over(true);
        rogue.settle();
    };
    let await_hello = move || {
        let mut rogue = Rogue::receiver(&config(), alice(Some(9), None, vec![1; 9]));
        rogue.raw(&PREFACE);
        rogue.settle();
        rogue
    };
    let inline = || {
        let files = vec![(Meta::file(path("a"), Some(9)), vec![1; 9])];
        Rogue::receiver(&config(), Alice { files, ..Alice::default() }).greeted()
    };
    let folder = || {
        let files = vec![(Meta::directory(path("a")), Vec::new())];
        Rogue::receiver(&config(), Alice { files, ..Alice::default() }).greeted()
    };
    let streamed = move || with(None, None);
    let paused = move || {
        let mut rogue = with(None, Some(2048));
        have(&mut rogue, 0, false, false);
        rogue
    };
    let more = move || {
        let mut rogue = sized();
        have(&mut rogue, 1, true, false);
        rogue
    };
    let claimed = move || {
        let mut rogue = sized();
        have(&mut rogue, 0, false, true);
        rogue
    };
    let claimed_before = move || claimed().again(&config(), 2);
    let ended = move || {
        let mut rogue = sized();
        have(&mut rogue, 0, false, false);
        rogue
    };
    let asked = || {
        let meta = Meta::file(path("a"), Some(LEN as u64)).modified(Timestamp::new(1, 2));
        let files = vec![(meta, content(1, LEN))];
        let config = config().compare(Compare::SizeAndTime);
        let rogue = Rogue::receiver(&config, Alice { files, ..Alice::default() });
        rogue.hello(|hello| hello.offered = 2).greeted()
    };
    let ended_before = move || ended().again(&config(), 2);
    let closed = || Rogue::receiver(&config(), Alice::default()).greeted();
    let failed = move || {
        let mut rogue = sized();
        rogue.send(&Message::Abort { code: AbortCode::Cancelled });
        rogue.settle();
        rogue
    };
    let table = table(&[
        ("AwaitHello", &await_hello),
        ("Listening, offered", &sized),
        ("Listening, offered, size unknown", &streamed),
        ("Listening, offered with its content", &inline),
        ("Listening, folder offered", &folder),
        ("Listening, streaming, paused by its window", &paused),
        ("Listening, streaming, more is reported", &more),
        ("Listening, claimed", &claimed),
        ("Listening, ended", &ended),
        ("Listening, offered by time", &asked),
        ("Listening on a second connection, ended on the first", &ended_before),
        ("Listening on a second connection, claimed on the first", &claimed_before),
        ("Closed", &closed),
        ("Failed", &failed),
    ]);
    golden::check("sender-table.txt", table.as_bytes());
}
