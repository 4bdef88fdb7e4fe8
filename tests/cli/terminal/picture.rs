//! The picture of the README: what two terminals show, with their bars in motion. `HAUL_BLESS=1` makes it anew.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::tempdir;

use super::file;
use super::screen::{Frame, Terminal};
use super::transcripts::at_home;

/// Frames of each terminal in the picture.
const FRAMES: usize = 16;
const COLUMNS: u16 = 88;
/// Rows of each terminal, with the command.
const ROWS: usize = 7;

#[test]
fn picture_of_the_readme_is_what_two_terminals_show() {
    let (_outbox, path) = file(24 << 20);
    let inbox = tempdir().unwrap();
    let folder = inbox.path().to_str().unwrap();
    let mut bob =
        Terminal::start(&["receive", "--once", "--listen", "127.0.0.1:0", folder], COLUMNS);
    let listening = bob.shows(&["listening on 127.0.0.1:"]);
    let address = listening.split(" on ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let mut alice = Terminal::start(&["send", "--limit-rate", "6M", &path, &address], COLUMNS);
    assert_eq!(alice.finish().0, Some(0));
    assert_eq!(bob.finish().0, Some(0));
    // The port is any; people type the one that is the default.
    let port = address.rsplit(':').next().unwrap();
    let (bob, alice) = (bob.seen(), alice.seen());
    let shown = |frames: &[Frame]| sample(frames, port);
    let receiver = ("haul receive inbox", shown(&bob.frames));
    let sender = ("haul send photo.raw 127.0.0.1:7117", shown(&alice.frames));
    let (left, sum) = (receiver.1.last().unwrap(), sender.1.last().unwrap());
    assert!(left.len() <= ROWS && sum.len() <= ROWS, "{left:#?} {sum:#?}");
    let picture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/terminal.svg");
    if std::env::var_os("HAUL_BLESS").is_some() {
        fs::write(&picture, draw(&[receiver.clone(), sender.clone()])).unwrap();
    }
    // A package from the registry has no pictures.
    let Ok(drawn) = fs::read_to_string(&picture) else { return };
    let drawn = without_numbers(&drawn);
    for row in left.iter().chain(sum) {
        let row = without_numbers(&text(row));
        assert!(drawn.contains(&row), "{row:?} is not in the picture: run with HAUL_BLESS=1");
    }
}

/// Screens that are so many steps of the time apart, the last one included.
fn sample(frames: &[Frame], port: &str) -> Vec<Vec<String>> {
    let (first, last) = (frames.first().unwrap().at, frames.last().unwrap().at);
    let step = (last - first) / u32::try_from(FRAMES).unwrap();
    let rows = |at: Duration| {
        let before = frames.iter().rev().find(|frame| frame.at - first <= at).unwrap();
        let rows = before.rows.iter().map(|row| row.replace(port, "7117"));
        rows.map(|row| shorten_key(&row)).collect()
    };
    (0..=FRAMES).map(|number| rows(step * number as u32 + step / 2)).collect()
}

/// A key and a secret are letters that say nothing in a picture.
fn shorten_key(row: &str) -> String {
    if let Some((before, _)) = row.split_once(":7117/") {
        return format!("{before}:7117/KEY/SECRET");
    }
    match row.split_once(" is this user (") {
        Some((peer, key)) => format!("{peer} is this user ({}…)", &key[..8]),
        None => at_home(row),
    }
}

fn without_numbers(text: &str) -> String {
    // A key differs from one machine to the next, and so do times and rates.
    let text: String = text.chars().filter(|c| !c.is_ascii_digit() && *c != '.').collect();
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some((before, key)) = rest.split_once("this user (") {
        out.push_str(before);
        rest = key.split_once(')').map_or("", |(_, rest)| rest);
    }
    out + rest
}

fn text(row: &str) -> String {
    row.replace('&', "&amp;").replace('<', "&lt;")
}

/// An SVG of terminals, one above the other, whose frames follow each other.
fn draw(terminals: &[(&str, Vec<Vec<String>>)]) -> String {
    const LINE: usize = 20;
    let width = usize::from(COLUMNS) * 8 + 40;
    // Each is as high as it is when it shows the most.
    let pane =
        |frames: &[Vec<String>]| (frames.iter().map(Vec::len).max().unwrap_or(0) + 1) * LINE + 20;
    let height = 12 + terminals.iter().map(|(_, frames)| pane(frames) + 12).sum::<usize>();
    let seconds = 8;
    let mut svg = String::new();
    let box_ = format!("viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\"");
    writeln!(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" {box_}>").unwrap();
    writeln!(svg, "<title>A file on its way from one terminal to another</title>").unwrap();
    let share = 100.0 / (FRAMES + 5) as f64;
    writeln!(
        svg,
        "<style>text{{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#c9d1d9;white-space:pre}}\
         .prompt{{fill:#7ee787}}.held{{fill:#3fb950}}.sent{{fill:#d29922}}.rest{{fill:#6e7681}}\
         .frame{{visibility:hidden;animation:{seconds}s step-end infinite}}"
    )
    .unwrap();
    for number in 0..=FRAMES {
        let from = share * number as f64;
        // The last one stays for a while.
        let to = if number == FRAMES { 100.0 } else { from + share };
        let before = if number == 0 { "" } else { "0%{visibility:hidden}" };
        let after = if number == FRAMES { "" } else { "visibility:hidden" };
        let end = if after.is_empty() { String::new() } else { format!("{to:.2}%{{{after}}}") };
        writeln!(
            svg,
            ".f{number}{{animation-name:f{number}}}@keyframes f{number}{{{before}{from:.2}%{{visibility:visible}}{end}}}"
        )
        .unwrap();
    }
    // What does not move pictures shows the last frame.
    writeln!(svg, ".f{FRAMES}{{visibility:visible}}</style>").unwrap();
    let mut top = 12;
    for (command, frames) in terminals {
        let (w, pane) = (width - 24, pane(frames));
        writeln!(
            svg,
            "<rect x=\"12\" y=\"{top}\" width=\"{w}\" height=\"{pane}\" rx=\"8\" fill=\"#0d1117\"/>"
        )
        .unwrap();
        let y = top + LINE + 8;
        writeln!(
            svg,
            "<text x=\"26\" y=\"{y}\"><tspan class=\"prompt\">$</tspan> {command}</text>"
        )
        .unwrap();
        for (number, rows) in frames.iter().enumerate() {
            writeln!(svg, "<g class=\"frame f{number}\">").unwrap();
            for (row, line) in rows.iter().enumerate() {
                let y = y + LINE * (row + 1);
                writeln!(svg, "<text x=\"26\" y=\"{y}\">{}</text>", colour(&text(line))).unwrap();
            }
            writeln!(svg, "</g>").unwrap();
        }
        top += pane + 12;
    }
    svg + "</svg>\n"
}

/// The parts of a bar in the colours that a terminal gives them.
fn colour(row: &str) -> String {
    let class = |c| match c {
        '█' | '✓' => Some("held"),
        '▒' => Some("sent"),
        '·' => Some("rest"),
        _ => None,
    };
    let mut out = String::new();
    let mut open = None;
    for c in row.chars() {
        if class(c) != open {
            if open.is_some() {
                out.push_str("</tspan>");
            }
            open = class(c);
            if let Some(class) = open {
                write!(out, "<tspan class=\"{class}\">").unwrap();
            }
        }
        out.push(c);
    }
    if open.is_some() {
        out.push_str("</tspan>");
    }
    out
}
