//! `docs/terminal.md`: what a person sees in some common cases, in the middle and at the end. `HAUL_BLESS=1` writes it
//! anew.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use tempfile::tempdir;

use super::file;
use super::screen::Terminal;
use crate::common::{PATIENCE, poll};
use crate::haul::{Haul, content, exec};

/// What is on a screen while a transfer is under way, and what is left at the end.
struct Scene {
    title: &'static str,
    command: &'static str,
    middle: Vec<String>,
    end: Vec<String>,
}

#[test]
fn page_about_the_terminal_shows_what_is_seen() {
    let scenes = [many_files(), resumed(), several_senders(), refused_in_the_middle()];
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/terminal.md");
    if std::env::var_os("HAUL_BLESS").is_some() {
        fs::write(&page, write(&scenes)).unwrap();
    }
    // A package from the registry may lack it.
    let Ok(written) = fs::read_to_string(&page) else { return };
    let written = shape(&written);
    for scene in &scenes {
        for row in &scene.end {
            let row = shape(row);
            assert!(written.contains(&row), "{row:?} is not on the page: run with HAUL_BLESS=1");
        }
    }
}

fn many_files() -> Scene {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("notes");
    for number in 0..1000 {
        let folder = tree.join(format!("d{:02}", number / 50));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("note{number:04}.txt")), content(number, 2000)).unwrap();
    }
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
    let arguments = ["send", "--insecure", "--limit-rate", "1M", tree.to_str().unwrap(), &address];
    let mut alice = Terminal::start(&arguments, 80);
    let scene = finish(&mut alice, "1,000 files", "haul send notes nas:7117", &address);
    bob.finish().code(0);
    scene
}

fn resumed() -> Scene {
    let (_outbox, path) = file(6 << 20);
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
    let arguments = ["send", "--insecure", "--limit-rate", "2M", &path, &address];
    let mut killed = Terminal::start(&arguments, 80);
    killed.shows(&["photo.raw", " 4.", "MiB of 6.0 MiB"]);
    killed.signal("-KILL");
    killed.finish();
    let mut alice = Terminal::start(&arguments, 80);
    let title = "A slow link, and the same command after the sender was killed";
    let scene = finish(&mut alice, title, "haul send photo.raw nas:7117", &address);
    bob.finish().code(0);
    assert!(scene.end.iter().any(|row| row.contains(" there ")), "{:#?}", scene.end);
    scene
}

fn several_senders() -> Scene {
    let (outboxes, inbox) = ([1, 2, 3].map(|_| file(600_000)), tempdir().unwrap());
    let folder = inbox.path().to_str().unwrap();
    let arguments = ["receive", "--insecure", "--listen", "127.0.0.1:0", folder];
    let mut bob = Terminal::start(&arguments, 80);
    let row = bob.shows(&["listening on 127.0.0.1:"]);
    let address = row.split(" on ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let names = ["one", "two", "three"].into_iter().zip(&outboxes);
    let senders = names.map(|(name, (_, path))| {
        let limit = ["--limit-rate", "200K", "--name", name];
        Haul::start([&["send", "--insecure", path, &address], &limit[..]].concat())
    });
    let senders: Vec<_> = senders.collect();
    for alice in senders {
        alice.finish().code(0);
    }
    poll(Instant::now() + PATIENCE, "three sums", || {
        let seen = bob.seen();
        let last = &seen.frames.last()?.rows;
        (last.iter().filter(|row| row.contains("from 127.0.0.1:")).count() == 3).then_some(())
    });
    bob.signal("-INT");
    finish(&mut bob, "Three senders at one receiver", "haul receive --insecure inbox", &address)
}

fn refused_in_the_middle() -> Scene {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("notes");
    fs::create_dir(&tree).unwrap();
    for number in 0..40 {
        fs::write(tree.join(format!("note{number:02}.txt")), content(number, 50_000)).unwrap();
    }
    fs::create_dir(inbox.path().join("notes")).unwrap();
    fs::write(inbox.path().join("notes/note07.txt"), "another one").unwrap();
    let address = exec(inbox.path(), "-q");
    let arguments = ["send", "--limit-rate", "1M", tree.to_str().unwrap(), &address];
    let mut alice = Terminal::start(&arguments, 80);
    finish(&mut alice, "A refusal in the middle", "haul send notes nas:7117", &address)
}

/// Takes the fullest screen of the time when a bar was half way, and what is left.
fn finish(
    terminal: &mut Terminal,
    title: &'static str,
    command: &'static str,
    address: &str,
) -> Scene {
    let (_, end, _) = terminal.finish();
    let seen = terminal.seen();
    let bars = |rows: &[String]| rows.iter().filter(|row| row.contains(" of ")).count();
    let most = seen.frames.iter().map(|frame| bars(&frame.rows)).max().unwrap_or(0);
    let full: Vec<_> = seen.frames.iter().filter(|frame| bars(&frame.rows) == most).collect();
    let middle = full.get(full.len() / 2).map_or_else(Vec::new, |frame| frame.rows.clone());
    let named = |rows: Vec<String>| -> Vec<String> {
        rows.iter().map(|row| at_home(&row.replace(address, "nas:7117"))).collect()
    };
    Scene { title, command, middle: named(middle), end: named(end) }
}

/// A folder that a test makes has any name.
pub(super) fn at_home(row: &str) -> String {
    match row.split_once("receiving into ") {
        Some((before, _)) => format!("{before}receiving into /home/me/inbox"),
        None => row.to_owned(),
    }
}

fn write(scenes: &[Scene]) -> String {
    let mut page = String::from(
        "# What a person sees\n\nScreens of 80 columns, in the middle of a transfer and at its end, as the tests saw them\n\
         (`tests/cli/terminal`). A bar has three shades: `█` what the receiver holds, `▒` what is on its way, `·` what is\n\
         to come.\n",
    );
    for Scene { title, command, middle, end } in scenes {
        page += &format!("\n## {title}\n\n```text\n$ {command}\n{}\n```\n", middle.join("\n"));
        page += &format!("\nAt the end:\n\n```text\n$ {command}\n{}\n```\n", end.join("\n"));
    }
    page
}

/// What a text says apart from figures: sizes and rates have one unit or another, and ports and times are any.
fn shape(text: &str) -> String {
    let units = ["GiB", "MiB", "KiB"];
    let text = units.iter().fold(text.to_owned(), |text, unit| text.replace(unit, "B"));
    text.chars().filter(|c| !c.is_ascii_digit() && !matches!(c, '.' | ',')).collect()
}
