//! The command before a person: what stands on a terminal while it works, and what is left there.

mod picture;
mod screen;
mod throttle;
mod transcripts;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::{TempDir, tempdir};

use self::screen::{On, Terminal};
use self::throttle::Throttle;
use crate::haul::{Haul, content, exec, run};

const WIDTHS: [u16; 3] = [40, 80, 120];

fn file(len: usize) -> (TempDir, String) {
    let outbox = tempdir().unwrap();
    let file = outbox.path().join("photo.raw");
    fs::write(&file, content(1, len)).unwrap();
    let name = file.to_str().unwrap().to_owned();
    (outbox, name)
}

/// Asserts that no row was ever cut or wrapped by the terminal: each is narrower than it.
#[track_caller]
fn assert_fits(terminal: &Terminal, columns: u16) {
    for frame in &terminal.seen().frames {
        for row in &frame.rows {
            assert!(row.chars().count() < usize::from(columns), "{row:?} at {columns}");
        }
    }
}

/// The bytes a second that a row shows.
fn rate_of(row: &str) -> Option<f64> {
    let words: Vec<&str> = row.split_whitespace().collect();
    let at = words.iter().position(|word| word.ends_with("B/s"))?;
    let number: f64 = words[at - 1].parse().ok()?;
    let unit = match words[at] {
        "B/s" => 1.0,
        "KiB/s" => 1024.0,
        "MiB/s" => 1024.0 * 1024.0,
        "GiB/s" => 1024.0 * 1024.0 * 1024.0,
        unit => panic!("{unit} in {row}"),
    };
    Some(number * unit)
}

/// What a row says apart from its spinner.
fn still(row: &str) -> String {
    row.chars().skip(1).collect()
}

#[test]
fn bar_over_a_slow_line_never_stands_still_and_never_shows_twice_its_rate() {
    const RATE: u64 = 300_000;
    let (_outbox, path) = file(1_800_000);
    for columns in WIDTHS {
        let inbox = tempdir().unwrap();
        let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
        let line = Throttle::new(&address, RATE);
        let arguments = ["send", "--insecure", &path, &line.address];
        let mut alice = Terminal::start(&arguments, columns);
        let (code, rows, _) = alice.finish();
        assert_eq!(code, Some(0), "{rows:?}");
        bob.finish().code(0);
        let seen = alice.seen();
        let bar = |rows: &[String]| rows.iter().find(|row| row.contains('%')).cloned();
        let bars: Vec<_> = seen
            .frames
            .iter()
            .filter_map(|frame| bar(&frame.rows).map(|row| (frame.at, row)))
            .collect();
        assert!(bars.len() > 20, "{} bars at {columns}", bars.len());
        assert!(bars.iter().all(|(_, row)| row.chars().count() < usize::from(columns)), "{bars:?}");
        // It stands as long as the same is said; what passes meanwhile is less than in a second.
        let (mut since, mut said) = (bars[0].0, still(&bars[0].1));
        for (at, row) in &bars {
            let moved = line.passed(*at) - line.passed(since);
            assert!(moved <= RATE, "{moved} bytes passed while it said {said:?} at {columns}");
            if still(row) != said {
                (since, said) = (*at, still(row));
            }
        }
        let mut rated = 0;
        for (at, row) in &bars {
            let Some(shown) = rate_of(row) else { continue };
            rated += 1;
            let over = |seconds: f64| {
                let from = at.checked_sub(Duration::from_secs_f64(seconds)).unwrap_or(*at);
                (line.passed(*at) - line.passed(from)) as f64 / seconds
            };
            let most = [0.5, 1.0, 2.0, 3.0].map(over).into_iter().fold(0.0, f64::max);
            assert!(shown <= 2.0 * most, "{row:?} where {most} bytes passed a second");
        }
        assert!(rated > 5, "{rated} rows with a rate at {columns}");
        // What is on its way has a shade of its own.
        if columns > 40 {
            assert!(bars.iter().any(|(_, row)| row.contains('▒')), "{bars:?}");
        }
    }
}

#[test]
fn bar_of_a_limited_transfer_shows_the_limit_on_both_sides() {
    const LIMIT: f64 = 200.0 * 1024.0;
    let (_outbox, path) = file(800_000);
    let inbox = tempdir().unwrap();
    let folder = inbox.path().to_str().unwrap();
    let arguments = ["receive", "--insecure", "--once", "--listen", "127.0.0.1:0", folder];
    let mut bob = Terminal::start(&arguments, 100);
    let listening = bob.shows(&["listening on 127.0.0.1:"]);
    let address = listening.split(" on ").nth(1).unwrap().split(',').next().unwrap().to_owned();
    let arguments = ["send", "--insecure", "--limit-rate", "200K", &path, &address];
    let mut alice = Terminal::start(&arguments, 100);
    for side in [&mut alice, &mut bob] {
        let (code, rows, _) = side.finish();
        assert_eq!(code, Some(0), "{rows:?}");
        let seen = side.seen();
        let rows = seen.frames.iter().flat_map(|frame| &frame.rows);
        let shown: Vec<f64> =
            rows.filter(|row| row.contains('%')).filter_map(|row| rate_of(row)).collect();
        assert!(!shown.is_empty());
        assert!(shown.iter().all(|rate| *rate < 1.2 * LIMIT), "{shown:?}");
    }
}

#[test]
fn a_thousand_files_leave_a_row_or_three_on_the_screen() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("tree");
    for number in 0..1000 {
        let folder = tree.join(format!("d{}", number % 20));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("file{number:04}.txt")), content(number, 200)).unwrap();
    }
    let address = exec(inbox.path(), "-q --durability received");
    let mut alice = Terminal::start(&["send", tree.to_str().unwrap(), &address], 80);
    let (code, rows, _) = alice.finish();
    assert_eq!(code, Some(0));
    assert!(rows.len() <= 3, "{rows:#?}");
    assert!(rows.last().unwrap().starts_with("1000 files, 195 KiB sent ("), "{rows:#?}");
    assert!(rows.last().unwrap().contains("received at the receiver"), "{rows:#?}");
    // The same again: nothing travels, and nothing is listed.
    let mut again = Terminal::start(&["send", "-v", tree.to_str().unwrap(), &address], 80);
    let (code, rows, _) = again.finish();
    assert_eq!(code, Some(0));
    assert!(rows.len() <= 3, "{rows:#?}");
    assert!(rows.last().unwrap().contains("195 KiB: all of it was there ("), "{rows:#?}");
}

#[test]
fn row_of_a_tree_has_a_total_once_it_is_counted() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("tree");
    fs::create_dir_all(tree.join("a")).unwrap();
    fs::write(tree.join("one"), content(1, 300_000)).unwrap();
    fs::write(tree.join("a/two"), content(2, 300_000)).unwrap();
    let address = exec(inbox.path(), "-q");
    let arguments = ["send", "--limit-rate", "300K", tree.to_str().unwrap(), &address];
    let mut alice = Terminal::start(&arguments, 100);
    alice.shows(&["%", " of 585 KiB", " of 2 files"]);
    let (code, rows, _) = alice.finish();
    assert_eq!(code, Some(0), "{rows:#?}");
}

#[test]
fn verbose_rows_fit_on_the_screen_and_hashes_are_whole_where_asked_for() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("tree");
    let deep = tree.join("a-folder-with-a-long-name/and-another-one-below-it-that-is-longer");
    fs::create_dir_all(&deep).unwrap();
    fs::write(tree.join("small.txt"), "x").unwrap();
    fs::write(deep.join("photo.raw"), content(1, 70_000)).unwrap();
    let hash = haul::hash::Hash::of(b"x").to_string();
    let address = exec(inbox.path(), "-q");
    let mut alice = Terminal::start(&["send", "-v", tree.to_str().unwrap(), &address], 80);
    let (code, rows, _) = alice.finish();
    assert_eq!(code, Some(0));
    let small = format!("✓ tree/small.txt  1 B  {}", &hash[..8]);
    assert!(rows.contains(&small), "{rows:#?}");
    let photo = rows.iter().find(|row| row.contains("photo.raw  68 KiB  ")).unwrap();
    assert!(photo.starts_with("✓ …") && photo.chars().count() < 80, "{photo:?}");
    let inbox = tempdir().unwrap();
    let address = exec(inbox.path(), "-q");
    let mut alice = Terminal::start(&["send", "--hashes", tree.to_str().unwrap(), &address], 200);
    let (code, rows, _) = alice.finish();
    assert_eq!(code, Some(0));
    let whole = format!("delivered tree/small.txt (1 bytes, blake3 {hash}, synced)");
    assert!(rows.contains(&whole), "{rows:#?}");
}

#[test]
fn states_before_and_between_connections_have_their_names() {
    let (_outbox, path) = file(1000);
    for columns in WIDTHS {
        let waiting =
            Terminal::start(&["send", "--insecure", &path, "--listen", "127.0.0.1:0"], columns);
        waiting.shows(&["waiting for the receiver"]);
        let connecting = Terminal::start(&["send", &path, "exec:sleep 100"], columns);
        connecting.shows(&["connecting to exec:sleep 100"]);
        assert_fits(&connecting, columns);
        // Nobody is there yet, and somebody is waited for.
        let nowhere = format!("unix:{}/none", Path::new(&path).parent().unwrap().display());
        let patient = Terminal::start(&["send", &path, &nowhere, "--retry-for", "60s"], columns);
        let row = patient.shows(&["reconnecting, attempt 2 in "]);
        assert!(row.chars().count() < usize::from(columns), "{row:?}");
        assert_fits(&patient, columns);
        // It counts down to it.
        patient.shows(&["reconnecting, attempt 3 in "]);
    }
}

#[test]
fn sender_that_lost_its_receiver_says_why_and_when_it_tries_again() {
    let (_outbox, path) = file(2_000_000);
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &[]);
    let line = Throttle::new(&address, 200_000);
    let alice = Terminal::start(&["send", "--insecure", &path, &line.address], 80);
    alice.shows(&["%", "KiB/s"]);
    bob.kill();
    alice.shows(&["reconnecting, attempt ", " s: "]);
}

#[test]
fn terminal_that_becomes_narrower_has_no_ghosts() {
    let (_outbox, path) = file(600_000);
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
    let line = Throttle::new(&address, 200_000);
    let mut alice = Terminal::start(&["send", "--insecure", &path, &line.address], 120);
    alice.shows(&["%"]);
    for columns in [70, 40, 100] {
        alice.resize(columns);
        let after = Instant::now();
        crate::common::poll(after + crate::common::PATIENCE, "a new row", || {
            let seen = alice.seen();
            seen.frames.last().is_some_and(|frame| frame.at > after).then_some(())
        });
    }
    let (code, rows, _) = alice.finish();
    assert_eq!(code, Some(0));
    bob.finish().code(0);
    assert!(rows.iter().all(|row| !row.contains('%')), "{rows:#?}");
    assert!(rows.iter().any(|row| row.starts_with("1 file, 585 KiB sent (")), "{rows:#?}");
}

#[test]
fn colours_are_where_they_are_wanted_and_dumb_terminals_get_plain_text() {
    let (_outbox, path) = file(1000);
    let inbox = tempdir().unwrap();
    // A different file has the name.
    fs::write(inbox.path().join("photo.raw"), "other").unwrap();
    let address = exec(inbox.path(), "-q");
    let paints = |more: &[&str], environment: &[(&str, &str)]| {
        let arguments = [&["send", &path, &address][..], more].concat();
        let mut alice = Terminal::with(&arguments, 80, On::Both, environment);
        let (code, rows, _) = alice.finish();
        assert_eq!(code, Some(4), "{rows:#?}");
        assert!(rows.iter().any(|row| row.contains("photo.raw is refused: ")), "{rows:#?}");
        let bytes = String::from_utf8_lossy(&alice.seen().bytes).into_owned();
        (bytes.contains("\x1b[31m"), bytes.contains('\x1b'))
    };
    let xterm = ("TERM", "xterm-256color");
    assert_eq!(paints(&[], &[xterm]), (true, true));
    assert_eq!(paints(&[], &[xterm, ("NO_COLOR", "1")]), (false, true));
    assert_eq!(paints(&["--color", "never"], &[xterm]), (false, true));
    assert_eq!(paints(&[], &[("TERM", "dumb")]), (false, false));
    assert_eq!(paints(&["--no-progress", "--color", "never"], &[xterm]), (false, false));
}

#[test]
fn one_output_that_is_a_pipe_gets_lines_and_the_other_the_bar() {
    let (_outbox, path) = file(500_000);
    let xterm = [("TERM", "xterm-256color")];
    for on in [On::Stdout, On::Stderr] {
        let inbox = tempdir().unwrap();
        let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
        let arguments = ["send", "--insecure", "--limit-rate", "300K", &path, &address];
        let mut alice = Terminal::with(&arguments, 80, on, &xterm);
        let (code, rows, piped) = alice.finish();
        assert_eq!(code, Some(0), "{rows:#?} {piped}");
        bob.finish().code(0);
        assert!(!piped.contains('\x1b'), "{piped}");
        let bytes = String::from_utf8_lossy(&alice.seen().bytes).into_owned();
        match on {
            On::Stderr => {
                assert!(bytes.contains('%'), "there is a bar");
                assert!(piped.contains("delivered photo.raw (500000 bytes, blake3 "), "{piped}");
                assert!(piped.contains("1 file, 488 KiB sent ("), "{piped}");
            }
            _ => {
                assert!(!bytes.contains('\x1b'), "{bytes:?}");
                assert!(rows.iter().any(|row| row.contains("1 file, 488 KiB sent (")), "{rows:#?}");
            }
        }
    }
}

#[test]
fn quiet_command_leaves_the_terminal_empty() {
    let (_outbox, path) = file(1000);
    let inbox = tempdir().unwrap();
    let address = exec(inbox.path(), "-q");
    let mut alice = Terminal::start(&["send", "-q", &path, &address], 80);
    let (code, rows, _) = alice.finish();
    assert_eq!((code, rows), (Some(0), Vec::new()));
    assert_eq!(alice.seen().bytes, b"");
}

#[test]
fn bars_of_several_senders_carry_their_names() {
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
    crate::common::poll(Instant::now() + crate::common::PATIENCE, "three bars", || {
        let seen = bob.seen();
        let bars = |rows: &[String]| {
            rows.iter().filter(|row| row.contains("127.0.0.1:") && row.contains('%')).count()
        };
        seen.frames.iter().any(|frame| bars(&frame.rows) == 3).then_some(())
    });
    for alice in senders {
        alice.finish().code(0);
    }
    crate::common::poll(Instant::now() + crate::common::PATIENCE, "three sums", || {
        let seen = bob.seen();
        let sums =
            |rows: &[String]| rows.iter().filter(|row| row.contains("from 127.0.0.1:")).count();
        seen.frames.last().is_some_and(|frame| sums(&frame.rows) == 3).then_some(())
    });
    bob.signal("-INT");
    let (code, rows, _) = bob.finish();
    assert_eq!(code, Some(130));
    assert!(rows.iter().all(|row| !row.contains('%')), "{rows:#?}");
}

#[test]
fn failures_below_a_folder_are_one_row_and_the_first_are_repeated() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("tree");
    fs::create_dir_all(tree.join("d03")).unwrap();
    for number in 0..50 {
        fs::write(tree.join(format!("d03/{number}")), "x").unwrap();
    }
    fs::create_dir(inbox.path().join("tree")).unwrap();
    fs::write(inbox.path().join("tree/d03"), "a file").unwrap();
    let address = exec(inbox.path(), "-q");
    let mut alice = Terminal::start(&["send", tree.to_str().unwrap(), &address], 100);
    let (code, rows, _) = alice.finish();
    assert_eq!(code, Some(4));
    let failed: Vec<_> = rows.iter().filter(|row| row.contains("tree/d03")).collect();
    assert_eq!(failed.len(), 1, "{rows:#?}");
    assert!(failed[0].contains("and 50 below it"), "{rows:#?}");
    let piped = run(["send", tree.to_str().unwrap(), &address]).code(4);
    piped.one_error(&["tree/d03 is refused", "and 50 below it"]);
}
