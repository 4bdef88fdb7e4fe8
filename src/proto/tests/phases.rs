//! The tables of the wire document, of what may come in each phase of an entry, are those of the machines: they are held
//! against the committed tables of [`table`](super::table), where every message meets every state.

use std::collections::BTreeSet;
use std::fs;

/// A phase, and the states of [`table`](super::table) in which an entry has it.
type Phase = (&'static str, &'static [&'static str]);

/// The phases of the sender's table, in order.
const SENDER: [Phase; 9] = [
    ("queued", &[]),
    ("asked", &["Listening, offered by time"]),
    ("owed", &[]),
    ("offered", &["Listening, offered", "Listening on a second connection, ended on the first"]),
    ("compared", &[]),
    ("claimed", &["Listening, claimed"]),
    (
        "streaming",
        &["Listening, streaming, paused by its window", "Listening, streaming, more is reported"],
    ),
    ("ended", &["Listening, ended", "Listening, offered with its content"]),
    ("settled", &[]),
];

/// Likewise of the receiver's.
const RECEIVER: [Phase; 5] = [
    ("none", &["Listening, nothing offered"]),
    ("awaited", &["Listening, offered by time and changed, and said so"]),
    ("comparing", &["Listening, comparing, policy rename", "Listening, comparing, policy refuse"]),
    ("filling", &["Listening, filling", "Listening, filling from a whole partial file"]),
    ("whole", &["Listening, committing"]),
];

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Returns the messages that the document lets come in a phase, by the table of this side.
fn documented(side: &str, phases: &[&str], phase: &str) -> BTreeSet<String> {
    let document = read("src/proto/wire.md");
    let (_, section) = document.split_once("# States of an entry").unwrap();
    let (_, table) = section.split_once(&format!("\nThe {side}:\n")).unwrap();
    let rows = table.trim_start().lines().take_while(|line| line.starts_with('|')).skip(2);
    let at = |name: &str| phases.iter().position(|phase| *phase == name);
    let mut said = BTreeSet::new();
    for row in rows {
        let mut cells = row.trim_matches('|').split('|').map(str::trim);
        let (whose, what) = (cells.next().unwrap(), cells.next().unwrap());
        let is_in = |(first, last)| Some((at(first)?..=at(last)?).contains(&at(phase)?));
        let is_of = whose
            .split([',', ';'])
            .map(str::trim)
            .any(|part| part == phase || part.split_once(" to ").and_then(is_in).unwrap_or(false));
        let heard = what.split_once("hears ").filter(|_| is_of).map_or("", |(_, heard)| heard);
        let heard = heard.split([';']).next().unwrap().split("says").next().unwrap();
        said.extend(heard.split('`').skip(1).step_by(2).map(str::to_owned));
    }
    said
}

/// Returns the messages about an entry that has been offered which the machine takes in one of these
/// states.
fn taken(table: &str, states: &[&str]) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for state in states {
        let (_, lines) = table.split_once(&format!("# {state}\n")).expect(state);
        for line in lines.lines().take_while(|line| line.contains('|')) {
            let (case, outcome) = line.split_once('|').unwrap();
            let kind = case.split([' ', ',']).next().unwrap();
            let is_of_connection = ["Hello", "Over", "Out", "Abort", "Heartbeat"].contains(&kind);
            let is_of_another = case.contains("unknown")
                || (kind == "Offer"
                    && !["Offer same id", "Offer again"].iter().any(|it| case.starts_with(it)));
            // It was taken, and nothing is left to be answered.
            let is_taken = !outcome.contains("broke the protocol")
                || outcome.contains("waits for an answer that nothing");
            if !is_of_connection && !is_of_another && is_taken {
                kinds.insert(kind.to_owned());
            }
        }
    }
    kinds
}

#[test]
fn tables_of_the_wire_document_let_come_what_the_machines_take() {
    let sides: [(&str, &[Phase]); 2] = [("sender", &SENDER), ("receiver", &RECEIVER)];
    for (side, phases) in sides {
        let table = read(&format!("tests/golden/{side}-table.txt"));
        let names: Vec<_> = phases.iter().map(|(phase, _)| *phase).collect();
        for (phase, states) in phases.iter().filter(|(_, states)| !states.is_empty()) {
            assert_eq!(documented(side, &names, phase), taken(&table, states), "{side}, {phase}");
        }
    }
}
