//! The events of `--json`: their order, their fields, and that they are true.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use haul::types::{is_unsafe, unescape};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::common::photo_path;
use crate::haul::{Finished, Haul, content, exec, run, run_with};

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

fn find<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    let mut found = events.iter().filter(|event| event["event"] == kind);
    let event = found.next().unwrap_or_else(|| panic!("no {kind} in {events:?}"));
    assert!(found.next().is_none(), "more than one {kind} in {events:?}");
    event
}

/// Progress never goes back, and ends at `total`.
fn assert_progress(events: &[Value], total: usize) {
    let progress: Vec<_> = events.iter().filter(|event| event["event"] == "progress").collect();
    let bytes: Vec<_> =
        progress.iter().map(|event| event["acknowledged"].as_u64().unwrap()).collect();
    assert!(bytes.is_sorted(), "{bytes:?}");
    let sent: Vec<_> = progress.iter().map(|event| event["sent"].as_u64().unwrap()).collect();
    assert!(sent.is_sorted(), "{sent:?}");
    assert_eq!(bytes.last(), Some(&(total as u64)));
}

#[test]
fn json_of_both_sides_tells_the_whole_transfer() {
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &["--once", "--json"]);
    let alice = run(["send", "--json", photo_path().to_str().unwrap(), &address]).code(0);
    let bob = bob.finish().code(0);
    assert_eq!((alice.faults(), bob.faults()), (Vec::new(), Vec::new()));
    let photo = fs::read(photo_path()).unwrap();
    let receipt = json!({
        "path": "photo.jpg",
        "size": photo.len(),
        "blake3": haul::hash::Hash::of(&photo).to_string(),
        "durability": "synced",
    });

    let events = alice.events();
    assert_eq!(find(&events, "connected"), &json!({"event": "connected", "peer": address}));
    let offered = json!({"event": "offered", "path": "photo.jpg", "size": photo.len()});
    assert_eq!(find(&events, "offered"), &offered);
    let mut delivered = find(&events, "delivered").clone();
    delivered.as_object_mut().unwrap().remove("event");
    assert_eq!(delivered, receipt);
    assert_progress(&events, photo.len());
    let finished = find(&events, "finished");
    assert_eq!((&finished["files"], &finished["bytes"]), (&json!(1), &json!(photo.len())));
    assert_eq!(finished["resent"], 0);
    assert!(finished["seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(kinds(&events)[0], "connected");
    assert_eq!(kinds(&events).last(), Some(&"finished"));

    let events = bob.events();
    assert_eq!(find(&events, "listening"), &json!({"event": "listening", "address": address}));
    let connected = find(&events, "connected");
    assert!(connected["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let mut received = find(&events, "received").clone();
    assert_eq!(received["session"], connected["session"], "a server says of which sender it is");
    received.as_object_mut().unwrap().retain(|key, _| key != "event" && key != "session");
    assert_eq!(received, receipt);
    assert_progress(&events, photo.len());
    assert_eq!(kinds(&events).last(), Some(&"finished"));
}

fn send_to(inbox: &std::path::Path, policy: &str) -> Finished {
    let outbox = tempdir().unwrap();
    let file = outbox.path().join("a.txt");
    fs::write(&file, "new").unwrap();
    run(["send", "--json", file.to_str().unwrap(), &exec(inbox, policy)])
}

#[test]
fn json_names_what_is_refused_and_what_is_renamed() {
    let inbox = tempdir().unwrap();
    fs::write(inbox.path().join("a.txt"), "old").unwrap();
    let refused = send_to(inbox.path(), "").code(4).events();
    let event = find(&refused, "refused");
    assert_eq!(event["path"], "a.txt");
    assert_eq!(event["reason"], "a different file exists under this name");
    assert_eq!(find(&refused, "finished")["files"], 0);

    let renamed = send_to(inbox.path(), "--existing rename").code(0).events();
    let event = find(&renamed, "delivered");
    assert_eq!((&event["path"], &event["offered"]), (&json!("a (1).txt"), &json!("a.txt")));
}

#[test]
fn json_failure_has_the_exit_code_and_a_message() {
    let failed = run(["send", "--json", photo_path().to_str().unwrap(), "no-such-host.invalid:1"]);
    let events = failed.code(3).events();
    assert_eq!(kinds(&events), ["failed"]);
    assert_eq!(events[0]["code"], 3);
    assert!(events[0]["message"].as_str().unwrap().contains("no-such-host.invalid:1"));

    let failed = run(["send", "--json", "/no/such/file", "127.0.0.1:1"]).code(1).events();
    assert_eq!((&failed[0]["event"], &failed[0]["code"]), (&json!("failed"), &json!(1)));
}

#[test]
fn json_names_are_escaped() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("a\u{1b}[31m\u{9b}\u{202e}b\n");
    fs::write(&file, "x").unwrap();
    let sent = run(["send", "--json", file.to_str().unwrap(), &exec(inbox.path(), "")]).code(0);
    assert!(!sent.stdout.contains('\u{1b}') && !sent.stdout.contains('\u{9b}'), "{sent:?}");
    assert_eq!(find(&sent.events(), "delivered")["path"], "a\\u{1b}[31m\\u{9b}\\u{202e}b\\n");
    let text = run(["send", file.to_str().unwrap(), &exec(inbox.path(), "")]).code(0);
    assert!(!text.stdout.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text:?}");
}

#[test]
fn json_names_are_told_apart_and_given_back_whatever_bytes_they_are() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let names: [&[u8]; 8] = [
        b"tree/plain",
        b"tree/not\xff\xc3(utf-8",
        b"tree/\x1b[2J\xc2\x9b",
        b"tree/\\u{1b}[2J",
        b"tree/\\xff",
        b"tree/\xff",
        b"tree/\xe2\x80\xaegpj\n\xf3\xa0\x81\x81",
        "tree/é \"日本\"".as_bytes(),
    ];
    let tree = outbox.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for name in names {
        fs::write(outbox.path().join(OsStr::from_bytes(name)), "x").unwrap();
    }
    let (bob, address) = Haul::receive(inbox.path(), &["--once", "--json"]);
    // Names with a backslash do not travel.
    let alice = run(["send", "--json", tree.to_str().unwrap(), &address]).code(1);
    let named = |side: &Finished, kinds: &[&str]| -> BTreeSet<_> {
        let events = side.events().into_iter();
        let paths = events.filter(|event| kinds.contains(&event["event"].as_str().unwrap()));
        paths.map(|event| unescape(event["path"].as_str().unwrap()).unwrap()).collect()
    };
    let wanted = |which: fn(&&&[u8]) -> bool| -> BTreeSet<_> {
        names.iter().filter(which).map(|name| name.to_vec()).collect()
    };
    assert_eq!(named(&alice, &["offered", "withdrawn"]), wanted(|_| true));
    assert_eq!(named(&alice, &["delivered"]), wanted(|name| !name.contains(&b'\\')));
    let bob = bob.finish().code(0);
    assert_eq!(named(&bob, &["received"]), named(&alice, &["delivered"]));
    for side in [&alice, &bob] {
        assert!(side.stdout.lines().all(|line| !line.contains(is_unsafe)));
    }
}

#[test]
fn names_of_sockets_and_files_reach_no_terminal_as_they_are() {
    let place = tempdir().unwrap();
    let odd = "s\u{1b}[31m\u{9b}2J\n\u{202e}gpj\u{2069}";
    let (file, inbox) = (place.path().join(odd), place.path().join("in"));
    fs::write(&file, "x").unwrap();
    let socket = format!("unix:{}", place.path().join(format!("{odd}.sock")).display());
    let file = file.to_str().unwrap();
    for more in [&[][..], &["--json"], &["--plain"], &["--json", "--plain"]] {
        let plain = place.path().join(format!("{odd}-{}", more.len()));
        let _ = fs::remove_dir_all(&inbox);
        let _ = fs::remove_file(&plain);
        fs::create_dir(&inbox).unwrap();
        let into = if more.contains(&"--plain") { &plain } else { &inbox };
        let listen = ["receive", "--once", "--listen", &socket];
        let mut bob = Haul::start([&listen[..], more, &[into.to_str().unwrap()]].concat());
        bob.line(|line| line.contains("listening"));
        let alice = run([&["send", file, &socket], more].concat()).code(0);
        let bob = bob.finish().code(0);
        // And where it goes wrong: nobody is there, the file is not.
        let lost = run([&["send", file, &socket], more].concat()).code(3);
        let none = format!("{file}.none");
        let gone = run([&["send", &none, &socket], more].concat()).code(1);
        let taken = run([&listen[..], more, &[file]].concat());
        for said in [&alice, &bob, &lost, &gone, &taken] {
            let text = [said.stdout.as_str(), &said.stderr].concat();
            let bad = |c: char| haul::types::is_unsafe(c) && c != '\n';
            assert!(!text.contains(bad), "{said:?}");
            assert!(said.stderr.lines().all(|line| line.starts_with("haul: ")), "{said:?}");
        }
        if more.contains(&"--json") {
            let events = bob.events();
            let address = &find(&events, "listening")["address"];
            assert_eq!(address.as_str(), Some(socket.as_str()), "it says what to connect to");
            find(&events, "connected");
        }
    }
}

#[test]
fn json_progress_of_a_large_file_is_limited_and_complete() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let size = 40 << 20;
    let file = outbox.path().join("large");
    fs::write(&file, content(3, size)).unwrap();
    let address = exec(inbox.path(), "");
    let sent = run(["send", "--json", file.to_str().unwrap(), &address, "--block-size", "16K"]);
    let events = sent.code(0).events();
    assert_progress(&events, size);
    let seconds = find(&events, "finished")["seconds"].as_f64().unwrap();
    let count = kinds(&events).iter().filter(|kind| **kind == "progress").count();
    assert!(count as f64 <= 10.0 * seconds + 2.0, "{count} in {seconds} s");
}

/// Returns a receiver with this many small files on their way to it, whose standard output nobody
/// reads yet.
fn unread(count: usize) -> (tempfile::TempDir, std::process::Child, Haul) {
    let place = tempdir().unwrap();
    let (outbox, inbox) = (place.path().join("outbox"), place.path().join("inbox"));
    fs::create_dir(&outbox).unwrap();
    fs::create_dir(&inbox).unwrap();
    for number in 0..count {
        fs::write(outbox.join(number.to_string()), number.to_string()).unwrap();
    }
    let socket = format!("unix:{}", place.path().join("socket").display());
    let mut receive = crate::common::quiet(crate::haul::HAUL);
    receive.args([
        "receive",
        "-q",
        "--json",
        "--once",
        "--durability",
        "received",
        "--listen",
        &socket,
    ]);
    let bob = receive.arg(&inbox).spawn().unwrap();
    let patience = ["--retry-for", "30s"];
    let arguments = ["send", "-q", outbox.to_str().unwrap(), &socket];
    let alice = Haul::start(arguments.iter().chain(&patience));
    (place, bob, alice)
}

const MANY: usize = 3000;

#[test]
fn reader_of_json_that_never_reads_does_not_stop_the_transfer() {
    let (place, bob, alice) = unread(MANY);
    alice.finish().code(0);
    let bob = bob.wait_with_output().unwrap();
    let stderr = String::from_utf8(bob.stderr).unwrap();
    assert_eq!(
        stderr,
        "haul: nobody reads standard output: a line has waited for 5 s, and no more is written to it\n"
    );
    assert_eq!(bob.status.code(), Some(1), "it is not a success");
    assert_eq!(crate::haul::names(&place.path().join("inbox/outbox")).len(), MANY);
}

#[test]
fn reader_of_json_that_is_slow_misses_nothing_however_long_the_rest_takes() {
    // All is in the queue and in the pipe at once, and takes longer to be read than nobody is waited for.
    let count = 700;
    let (_place, mut bob, alice) = unread(count);
    alice.finish().code(0);
    let mut out = bob.stdout.take().unwrap();
    let start = std::time::Instant::now();
    let mut stdout = Vec::new();
    crate::common::poll(start + crate::common::PATIENCE, "the end of the output", || {
        // 12 KB/s.
        let due = usize::try_from(start.elapsed().as_millis()).unwrap() * 12;
        let mut piece = vec![0; due.saturating_sub(stdout.len()).max(1)];
        let read = out.read(&mut piece).unwrap();
        stdout.extend_from_slice(&piece[..read]);
        (read == 0).then_some(())
    });
    let bob = bob.wait_with_output().unwrap();
    assert_eq!((bob.status.code(), bob.stderr.as_slice()), (Some(0), &b""[..]));
    let stdout = String::from_utf8(stdout).unwrap();
    let received = stdout.lines().filter(|line| line.contains("\"received\"")).count();
    assert_eq!(received, count);
    assert!(stdout.lines().last().unwrap().contains("\"finished\""));
}

#[test]
fn reader_of_json_that_is_late_misses_no_receipt() {
    let (_place, bob, alice) = unread(MANY);
    // By then the pipe is full, and the queue fills. What is written takes pages of a pipe, each of which may be half full.
    let out = bob.stdout.as_ref().unwrap();
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    crate::common::poll(deadline, "output", || {
        (rustix::io::ioctl_fionread(out).unwrap() > 30_000).then_some(())
    });
    let bob = bob.wait_with_output().unwrap();
    alice.finish().code(0);
    assert_eq!((bob.status.code(), bob.stderr.as_slice()), (Some(0), &b""[..]));
    let stdout = String::from_utf8(bob.stdout).unwrap();
    let received = stdout.lines().filter(|line| line.contains("\"received\"")).count();
    assert_eq!(received, MANY);
}

#[test]
fn json_progress_of_a_stream_counts_what_has_come() {
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &["--once", "--json"]);
    let alice = run_with(["send", "-", "--json", &address], b"four".to_vec()).code(0);
    for side in [alice, bob.finish().code(0)] {
        let events = side.events();
        assert_progress(&events, 4);
        let progress = events.iter().filter(|event| event["event"] == "progress");
        assert!(progress.into_iter().all(|event| event.get("total").is_none()), "{events:?}");
    }
}
