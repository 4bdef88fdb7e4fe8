//! The sessions that the wire document shows are those that the machines have. `HAUL_BLESS=1` writes them anew.
#![expect(clippy::disallowed_methods, reason = "the document is a file")]

use std::fmt::Write as _;
use std::fs;

use super::is_set;
use super::pair::{Bob, Pair, content, path};
use super::scenes::Scene;
use crate::config::{Compare, IfExists};
use crate::proto::wire::message::{Message, WireOffer};
use crate::testing::recording::Recording;
use crate::types::{Kind, Meta, Outcome, Timestamp};

fn offer(offer: &WireOffer) -> String {
    let name = String::from_utf8_lossy(&offer.name);
    let how = match (&offer.kind, offer.size) {
        (Kind::Directory, _) => "folder".into(),
        (Kind::Symlink(_), _) => "link".into(),
        (Kind::File, None) => "size not known".into(),
        (Kind::File, Some(size)) => format!("size {size}"),
    };
    let inline = if offer.inline { ", inline" } else { "" };
    let by_time = if offer.by_time { ", by time" } else { "" };
    format!("Offer({}, \"{name}\", {how}{inline}{by_time})", offer.entry)
}

fn shown(message: &Message) -> String {
    match message {
        Message::Offer(wire) => offer(wire),
        Message::Have { entry, compare: true, .. } => format!("Have({entry}, compare)"),
        Message::Have { entry, hashes, .. } if hashes.is_empty() => {
            format!("Have({entry}, no hashes)")
        }
        Message::Have { entry, first, hashes, more, .. } => {
            let end = first + hashes.len() as u64;
            let more = if *more { ", more" } else { "" };
            format!("Have({entry}, hashes of {first}..{end}{more})")
        }
        Message::Refuse { entry, reason } => format!("Refuse({entry}, reason {})", reason.code),
        Message::Withdraw { entry, reason } => format!("Withdraw({entry}, reason {})", reason.code),
        Message::Block { entry, index, .. } => format!("Block({entry}, {index})"),
        Message::Same { entry, blocks } => format!("Same({entry}, {blocks:?})"),
        Message::Zeros { entry, blocks } => format!("Zeros({entry}, {blocks:?})"),
        Message::Claim { entry, root } => {
            format!("Claim({entry}, {})", if root.is_some() { "root" } else { "no root" })
        }
        Message::End { entry, size, .. } => format!("End({entry}, size {size})"),
        Message::Missing { entry, blocks } => format!("Missing({entry}, {blocks:?})"),
        Message::Kept { entry, blocks } => format!("Kept({entry}, {blocks:?})"),
        Message::Receipt { entry, outcome, name, .. } => {
            let outcome = if *outcome == Outcome::Held { "held already" } else { "stored" };
            let name = match &**name {
                [] => String::new(),
                name => format!(" as \"{}\"", String::from_utf8_lossy(name)),
            };
            format!("Receipt({entry}, {outcome}{name})")
        }
        Message::Over { waiting: true } => "Over(waiting)".into(),
        Message::Unchanged { entry } => format!("Unchanged({entry})"),
        Message::Changed { entry } => format!("Changed({entry})"),
        Message::Hello(_)
        | Message::Over { .. }
        | Message::Out
        | Message::Abort { .. }
        | Message::Heartbeat { .. } => format!("{:?}", message.name()),
    }
}

/// Returns what travelled on a connection, a line for each turn.
fn transcript(pair: &Pair) -> String {
    let recording = Recording::parse(&pair.down.record, &pair.up.record).unwrap();
    let [sender, receiver] = recording.messages();
    let mut sides = [("sender  ", sender.into_iter()), ("receiver", receiver.into_iter())];
    let mut text = String::new();
    loop {
        let (side, said) = &mut sides[0];
        let mut turn = Vec::new();
        for message in said {
            turn.push(match message {
                // The receiver's says nothing more than that.
                Message::Over { .. } if side.trim_end() == "receiver" => "Over".into(),
                message => shown(message),
            });
            if matches!(message, Message::Over { .. }) {
                break;
            }
        }
        if turn.is_empty() {
            return text;
        }
        // An entry is shown as `#0` elsewhere.
        writeln!(text, "{side}  {}", turn.join(", ").replace('#', "")).unwrap();
        sides.reverse();
    }
}

/// Returns each session with what is special about it.
fn sessions() -> Vec<(&'static str, String)> {
    let (long, other) = (content(1, 2058), content(2, 2058));
    let ran = |scene: &Scene| {
        let mut pair = scene.pair();
        let _ = pair.run();
        transcript(&pair)
    };
    let cut = |pair: &mut Pair, scene: &Scene| {
        pair.down.cut = Some(1400);
        pair.run_while_moving();
        let first = transcript(pair);
        pair.reconnect_suspended(&scene.config, 2);
        let _ = pair.run();
        format!(
            "{first}(the connection is lost: what follows the first block does not arrive)\n{}",
            transcript(pair)
        )
    };
    let plain = Scene::new("new").file("a", &long);
    let mut stream = Scene::new("shorter").stream("a", &long[..1034]).visible("a", &long);
    let beside = ran(&stream.clone().if_exists(IfExists::Rename));
    stream = stream.if_exists(IfExists::Replace);
    let time = Timestamp::new(7, 8);
    let mut dated = Scene::new("dated").if_exists(IfExists::Replace).visible("a", &other);
    dated.bob.visible.insert(path("b"), other.clone());
    dated.bob.times.extend(time.map(|time| (path("b"), time)));
    dated.config = dated.config.compare(Compare::SizeAndTime);
    for name in ["a", "b"] {
        let meta = Meta::file(path(name), Some(2058)).modified(time);
        dated.alice.files.push((meta, long.clone()));
    }
    let folder = Scene::new("folder").file("d/a", &long);
    let mut folder = folder;
    folder.alice.files.push((Meta::directory(path("d")), Vec::new()));
    let small = Scene::new("same").file("a", &long);
    let mut replaced = small.clone().if_exists(IfExists::Replace);
    replaced.bob = Bob::default();
    replaced = replaced.visible("a", &[&long[..1024], &other[1024..]].concat());
    vec![
        ("A file of three blocks, which is new.", ran(&plain)),
        (
            "The receiver has the same file, and may not replace it.",
            ran(&plain.clone().visible("a", &long)),
        ),
        (
            "It has a different one of this size, and puts what comes beside it.",
            ran(&plain.clone().if_exists(IfExists::Rename).visible("a", &other)),
        ),
        ("It keeps what it has, and takes nothing else.", ran(&plain.clone().visible("a", &other))),
        ("It may replace what it has, of which the first block is the same.", ran(&replaced)),
        (
            "A stream that proves shorter than the file of its name, which may be replaced.",
            ran(&stream),
        ),
        ("The same, put beside that file.", beside),
        (
            "Two files that are offered by time. The first has changed; the second is taken for unchanged.",
            ran(&dated),
        ),
        (
            "A folder, offered after its file. Its receipt waits for the content that is under way.",
            ran(&folder),
        ),
        (
            "A file whose connection is lost after its first block, and the second connection, to a receiver that remembers \
             the first.",
            cut(&mut plain.pair(), &plain),
        ),
    ]
}

#[test]
fn document_shows_the_sessions_that_the_machines_have() {
    let mut text = String::new();
    for (what, session) in sessions() {
        write!(text, "{what}\n\n```text\n{session}```\n\n").unwrap();
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/proto/wire.md");
    let document = fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (now, after) = rest.split_once(END).unwrap();
    if is_set("HAUL_BLESS") {
        fs::write(path, format!("{before}{BEGIN}{text}{END}{after}")).unwrap();
    } else {
        assert_eq!(now, text, "if that is meant, run with HAUL_BLESS=1");
    }
}

/// Between these lines the document shows sessions.
const BEGIN: &str = "What the machines of haul say to one another, turn by turn:\n\n";
const END: &str = "A small file, inline, byte for byte:";
