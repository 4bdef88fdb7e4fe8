//! Budgets of a receiver, and limits of the rate: what goes beyond is refused by name, and the rest goes on.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::common::{PATIENCE, assert_same, photo, photo_path, poll, quiet};
use crate::haul::{Finished, HAUL, Haul, content, names, run, run_with, tree};
use crate::wrong::Mount;

/// Sends a folder `tree` with `small` (10 bytes), `large` (100,000 bytes) and `a/b/deep` (10 bytes).
fn send_tree(address: &str) -> Finished {
    let outbox = tempdir().unwrap();
    let tree = outbox.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).unwrap();
    fs::write(tree.join("small"), content(1, 10)).unwrap();
    fs::write(tree.join("large"), content(2, 100_000)).unwrap();
    fs::write(tree.join("a/b/deep"), content(3, 10)).unwrap();
    run(["send", "--json", tree.to_str().unwrap(), address])
}

/// Returns the names that both sides call refused, and why.
fn refused(alice: &Finished, bob: &Finished) -> Vec<(String, String)> {
    let of = |side: &Finished| {
        let events = side.events().into_iter().filter(|event| event["event"] == "refused");
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        events.map(|event| (text(&event["path"]), text(&event["reason"]))).collect::<Vec<_>>()
    };
    assert_eq!(of(alice), of(bob));
    of(alice)
}

/// Returns what is refused under a budget, and what is there then.
fn under(budget: &[&str]) -> (Vec<(String, String)>, Vec<String>) {
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &[&["--once", "--json"], budget].concat());
    let alice = send_tree(&address).code(4);
    let bob = bob.finish().code(4);
    (refused(&alice, &bob), names(inbox.path()))
}

fn files(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).filter(|name| !name.ends_with('/')).collect()
}

#[test]
fn file_beyond_the_largest_is_refused_and_the_rest_arrives() {
    let (refused, held) = under(&["--max-file-bytes", "50K"]);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].0, "tree/large");
    assert!(refused[0].1.contains("100000") && refused[0].1.contains("51200"), "{refused:?}");
    assert_eq!(files(&held), ["tree/a/b/deep", "tree/small"]);
}

#[test]
fn bytes_beyond_the_sum_are_refused_and_the_rest_arrives() {
    let (refused, held) = under(&["--max-bytes", "99999"]);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].0, "tree/large");
    assert!(refused[0].1.contains("99999"), "{refused:?}");
    assert_eq!(files(&held), ["tree/a/b/deep", "tree/small"]);
}

#[test]
fn name_beyond_the_depth_is_refused_and_the_rest_arrives() {
    let (refused, held) = under(&["--max-depth", "3"]);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0].0, "tree/a/b/deep");
    assert_eq!(files(&held), ["tree/large", "tree/small"]);
}

#[test]
fn entries_beyond_the_number_are_refused_and_the_first_arrive() {
    // tree, tree/a, tree/a/b and three files, in whatever order they are found.
    let (refused, held) = under(&["--max-entries", "4"]);
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused.iter().all(|(_, reason)| reason.contains('4')), "{refused:?}");
    assert!(held.len() >= 4, "{held:?}");
}

#[test]
fn stream_of_unknown_size_ends_at_the_budget() {
    for budget in ["--max-bytes", "--max-file-bytes"] {
        let inbox = tempdir().unwrap();
        let (bob, address) = Haul::receive(inbox.path(), &["--once", budget, "1M"]);
        let alice = run_with(["send", "-", &address], content(1, 3 << 20)).code(4);
        alice.one_error(&["stdin is refused", "1048576"]);
        bob.finish().code(4).one_error(&["stdin is refused", "1048576"]);
        assert_eq!(names(inbox.path()), [""; 0], "what has come stays nowhere");
    }
}

#[test]
fn stream_beyond_the_budget_adds_nothing_to_what_an_earlier_attempt_left() {
    for existing in ["refuse", "replace"] {
        let inbox = tempdir().unwrap();
        let is_existing = existing == "replace";
        if is_existing {
            fs::write(inbox.path().join("log"), "as it was").unwrap();
        }
        // One without a budget is killed in the middle, and leaves a partial file.
        let (bob, address) = Haul::receive(inbox.path(), &["--existing", existing]);
        let mut send = quiet(HAUL);
        send.args(["send", "-", "--name", "log", &address]).stdin(Stdio::piped());
        let mut alice = Haul::spawn(send);
        let mut stdin = alice.take_stdin();
        stdin.write_all(&content(1, 2 << 20)).unwrap();
        poll(Instant::now() + PATIENCE, "partial file", || {
            let has_some = |(name, bytes): (String, Vec<u8>)| name != "log" && !bytes.is_empty();
            tree(inbox.path()).into_iter().any(has_some).then_some(())
        });
        bob.kill();
        alice.kill();
        let options = ["--once", "--existing", existing, "--max-bytes", "1M"];
        let (bob, address) = Haul::receive(inbox.path(), &options);
        let alice = run_with(["send", "-", "--name", "log", &address], content(1, 3 << 20)).code(4);
        alice.one_error(&["log is refused", "1048576"]);
        bob.finish().code(4);
        // The partial file was there before: it stays, and nothing else does.
        let (partial, left): (Vec<_>, Vec<_>) =
            names(inbox.path()).into_iter().partition(|name| name.starts_with(".haul-"));
        assert_eq!(partial.len(), 1, "{existing}");
        assert_eq!(left, if is_existing { vec!["log"] } else { vec![] }, "{existing}");
        if is_existing {
            assert_eq!(fs::read(inbox.path().join("log")).unwrap(), b"as it was");
        }
    }
}

#[test]
fn space_to_keep_is_kept_and_the_sender_is_told_the_numbers() {
    let Some(mount) = Mount::new("size=4m") else { return };
    let (bob, address) = Haul::receive(mount.path(), &["--keep-free", "2M"]);
    let outbox = tempdir().unwrap();
    let file = outbox.path().join("large");
    fs::write(&file, content(5, 3 << 20)).unwrap();
    // Of known size: before a byte is taken.
    let sent = run(["send", file.to_str().unwrap(), &photo_path().display().to_string(), &address]);
    sent.code(3).one_error(&["large is refused", "3145728 bytes needed", "2097152 available"]);
    assert_eq!(names(mount.path()), ["photo.jpg"], "the rest went on");
    fs::remove_file(mount.path().join("photo.jpg")).unwrap();
    // Of unknown size: as soon as it would take more.
    let piped = run_with(["send", "-", &address], content(5, 3 << 20)).code(3);
    piped.one_error(&["stdin is refused", "no space"]);
    assert!(free(mount.path()) >= 2 << 20, "{} bytes are free", free(mount.path()));
    let grown = quiet("mount").args(["-o", "remount,size=16m"]).arg(mount.path()).status();
    assert!(grown.unwrap().success());
    run(["send", file.to_str().unwrap(), &address]).code(0);
    assert_same(&fs::read(mount.path().join("large")).unwrap(), &content(5, 3 << 20));
    bob.interrupt();
    bob.finish().code(130);
}

fn free(folder: &Path) -> u64 {
    let free = rustix::fs::statvfs(folder).unwrap();
    free.f_bavail * free.f_frsize
}

#[test]
fn limited_rate_holds_on_either_side_and_on_the_plain_wire() {
    // 105,400 bytes at 100,000 a second; a tenth of a second is free.
    let least = Duration::from_millis(900);
    let rate = ["--limit-rate", "100kB"];
    let photo_name = photo_path().display().to_string();
    for (by_sender, is_plain) in [(true, false), (false, false), (true, true), (false, true)] {
        let inbox = tempdir().unwrap();
        let place = inbox.path().join("photo.jpg").display().to_string();
        let folder = inbox.path().display().to_string();
        let mut receive = vec!["receive", "--listen", "127.0.0.1:0"];
        receive.extend(if is_plain { ["--plain", &place] } else { ["--once", &folder] });
        let mut send = vec!["send", &photo_name];
        if is_plain {
            send.push("--plain")
        }
        if by_sender { &mut send } else { &mut receive }.extend(rate);
        let mut bob = Haul::start(&receive);
        let address = bob.address();
        let start = Instant::now();
        run(send.iter().copied().chain([address.as_str()])).code(0);
        bob.finish().code(0);
        assert!(start.elapsed() >= least, "{:?} {send:?} {receive:?}", start.elapsed());
        assert_same(&fs::read(&place).unwrap(), &photo());
    }
}

/// A block of the usual size would take it four minutes. Slower rates are the library's: see `tests/drive/rate.rs`.
#[test]
fn file_at_the_slowest_rate_of_the_command_arrives() {
    let inbox = tempdir().unwrap();
    let file = inbox.path().join("file");
    fs::write(&file, content(1, 1500)).unwrap();
    for (number, by_sender) in [true, false].into_iter().enumerate() {
        let folder = inbox.path().join(number.to_string());
        fs::create_dir(&folder).unwrap();
        let limit = ["--limit-rate", "1K"];
        let (mut receive, mut send) = (
            vec!["receive", "--once", "--max-sessions", "1", "--listen", "127.0.0.1:0"],
            vec!["send"],
        );
        if by_sender { &mut send } else { &mut receive }.extend(limit);
        receive.push(folder.to_str().unwrap());
        let mut bob = Haul::start(&receive);
        let address = bob.address();
        send.extend([file.to_str().unwrap(), &address]);
        run(send).code(0);
        bob.finish().code(0);
        assert_same(&fs::read(folder.join("file")).unwrap(), &content(1, 1500));
    }
}

#[test]
fn budgets_and_rates_that_make_no_sense_are_wrong_usage() {
    for arguments in [
        &["receive", "--max-bytes", "0"][..],
        &["receive", "--max-bytes", "many"],
        &["receive", "--max-file-bytes", "0"],
        &["receive", "--max-entries", "0"],
        &["receive", "--max-depth", "0"],
        &["receive", "--max-sessions", "0"],
        &["receive", "--keep-free", "-1"],
        &["receive", "--plain", "x", "--max-bytes", "1K"],
        &["receive", "--plain", "x", "--keep-free", "1K"],
        &["receive", "--limit-rate", "0"],
        &["receive", "--limit-rate", "1023"],
        &["receive", "--limit-rate", "1K", "--max-sessions", "5", "/nowhere"],
        &["send", "a", "b:1", "--limit-rate", "1"],
        &["send", "a", "b:1", "--limit-rate", "fast"],
    ] {
        let wrong = run(arguments).code(2).one_error(&[]);
        assert_eq!(wrong.stdout, "", "{arguments:?}");
    }
}

#[test]
fn receiver_lists_no_more_refusals_than_were_to_be_listed() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("tree");
    fs::create_dir(&tree).unwrap();
    (0..100).for_each(|number| fs::write(tree.join(format!("f{number}")), "x").unwrap());
    let tree = tree.to_str().unwrap();

    let (bob, address) = Haul::receive(inbox.path(), &["--once", "--max-entries", "30"]);
    // Whoever sends hears of each.
    let sent = run(["send", tree, &address]).code(4);
    assert_eq!(sent.stderr.matches("is refused: ").count(), 71, "{sent:?}");
    let bob = bob.finish().code(4);
    let faults = bob.faults();
    assert_eq!(faults.len(), 21, "{bob:?}");
    assert!(faults[..20].iter().all(|line| line.contains("is refused: ")), "{bob:?}");
    assert!(faults[20].contains("51 more are refused or not sent"), "{bob:?}");

    let more = ["--once", "--json", "--max-entries", "30"];
    let second = tempdir().unwrap();
    let (bob, address) = Haul::receive(second.path(), &more);
    run(["send", tree, &address]).code(4);
    let events = bob.finish().code(4).events();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((of("offered"), of("refused")), (30, 30));
    let finished = events.iter().find(|event| event["event"] == "finished").unwrap();
    assert_eq!(finished["refused"], 71);
}

#[test]
fn peers_of_an_address_have_no_more_listed_over_many_sessions() {
    const SESSIONS: usize = 8;
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    // Names of which each byte is shown as five.
    let tree = outbox.path().join("t").join("\u{1}".repeat(200)).join("\u{2}".repeat(200));
    fs::create_dir_all(&tree).unwrap();
    for number in 0..20 {
        fs::write(tree.join(format!("{}{number}", "\u{3}".repeat(200))), "too much").unwrap();
    }
    let (bob, address) = Haul::receive(inbox.path(), &["--max-file-bytes", "1"]);
    let tree = outbox.path().join("t");
    for _ in 0..SESSIONS {
        run(["send", tree.to_str().unwrap(), &address]).code(4);
    }
    bob.interrupt();
    let bob = bob.finish().code(130);
    let listed = bob.faults().iter().filter(|line| line.contains("is refused: ")).count();
    assert!((20..3 * 20).contains(&listed), "{listed} of {} are listed", SESSIONS * 20);
    assert!(
        bob.faults()
            .iter()
            .all(|line| line.len() < 2000 && !line.contains("\u{3}".repeat(99).as_str()))
    );
    let counted = bob.faults().iter().filter(|line| line.contains("more are refused")).count();
    assert!((SESSIONS - 2..=SESSIONS).contains(&counted), "{bob:?}");
    // Programs get each name in full.
    let second = tempdir().unwrap();
    let (bob, address) =
        Haul::receive(second.path(), &["--once", "--json", "--max-file-bytes", "1"]);
    run(["send", tree.to_str().unwrap(), &address]).code(4);
    let events = bob.finish().code(4).events();
    let refused = events.iter().filter(|event| event["event"] == "refused");
    let whole = refused.filter(|event| event["path"].as_str().unwrap().len() > 600 * 5);
    assert_eq!(whole.count(), 20);
}

/// The limit of the system for the size of a file, which it enforces with a signal.
#[test]
fn file_beyond_the_limit_of_the_process_is_refused_and_the_server_goes_on() {
    let inbox = tempdir().unwrap();
    let mut command = quiet("sh");
    // In units of 512 bytes or of 1 KiB, as the shell has it.
    let script = "ulimit -f 8 && exec \"$0\" receive --listen 127.0.0.1:0 --json \"$1\"";
    command.arg("-c").arg(script).arg(HAUL).arg(inbox.path());
    let mut bob = Haul::spawn(command);
    let address = bob.address();
    for _ in 0..2 {
        let alice = send_tree(&address).code(4);
        let events = alice.events();
        let refused: Vec<_> = events.iter().filter(|event| event["event"] == "refused").collect();
        assert_eq!(refused.len(), 1, "{alice:?}");
        assert_eq!(refused[0]["path"], "tree/large");
        // The system does not say which limit it is.
        let reason = refused[0]["reason"].as_str().unwrap();
        assert!(reason.ends_with("bytes are more than the receiver takes in one file"), "{reason}");
    }
    assert_eq!(files(&names(inbox.path())), ["tree/a/b/deep", "tree/small"]);
}
