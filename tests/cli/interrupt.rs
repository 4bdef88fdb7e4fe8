//! Ctrl-C, the death of either side, and going on afterwards.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::common::assert_same;
use crate::haul::{Haul, content, names, run};
use crate::proxy::{Cut, Proxy};

const SIZE: usize = 8 << 20;

#[test]
fn interrupted_sender_goes_on_when_run_again() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("large");
    let bytes = content(7, SIZE);
    fs::write(&file, &bytes).unwrap();
    let file = file.to_str().unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &[]);
    let proxy = Proxy::new(&address, Cut::Hold, [SIZE as u64 / 2]);
    let alice = Haul::start(["send", "--insecure", file, &proxy.address]);
    let held = proxy.held();
    let start = Instant::now();
    alice.interrupt();
    let alice = alice.finish().code(130).one_error(&["stopping", "run the same command again"]);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!alice.stdout.contains("delivered"), "{alice:?}");
    drop((held, proxy));
    let left = names(inbox.path());
    assert!(left.iter().all(|name| name.starts_with(".haul-")), "{left:?}");

    // What travels the second time is about what was missing.
    let proxy = Proxy::new(&address, Cut::Fin, []);
    run(["send", "--insecure", file, &proxy.address]).code(0);
    let passed = proxy.carried().bytes;
    assert!(passed < SIZE as u64 * 3 / 4, "{passed} of {SIZE} bytes travelled again");
    assert_same(&fs::read(inbox.path().join("large")).unwrap(), &bytes);
    assert_eq!(names(inbox.path()), ["large"]);
    bob.interrupt();
    bob.finish().code(130);
}

#[test]
fn cut_connection_is_made_again_and_carries_only_what_is_missing() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    // More than the first turn, so that part of it is known to have arrived when the connection is cut.
    let size = 32 << 20;
    let bytes = content(8, size as usize);
    let file = outbox.path().join("large");
    fs::write(&file, &bytes).unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
    let first = size * 3 / 4;
    let proxy = Proxy::new(&address, Cut::Fin, [first]);
    let sent =
        run(["send", "--insecure", "--json", file.to_str().unwrap(), &proxy.address]).code(0);
    let carried = proxy.carried();
    assert_eq!((carried.cuts, carried.connections), (1, 2));
    // In flight when it was cut: what the system's buffers held.
    let second = carried.bytes - first;
    assert!(second < size / 4 + (4 << 20), "{second} bytes went the second time");
    let events = sent.events();
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "retry").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "delivered").count(), 1, "{kinds:?}");
    bob.finish().code(0);
    assert_same(&fs::read(inbox.path().join("large")).unwrap(), &bytes);
    assert_eq!(names(inbox.path()), ["large"]);
}

#[test]
fn killed_receiver_started_again_is_found_and_the_transfer_goes_on() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let socket = format!("unix:{}", outbox.path().join("socket").display());
    let receive =
        ["receive", "--insecure", inbox.path().to_str().unwrap(), "--listen", &socket, "--json"];
    let mut bob = Haul::start(receive);
    bob.address();
    let mut send = crate::common::quiet(crate::haul::HAUL);
    send.args(["send", "--insecure", "-", "--name", "stream", "--json", &socket]);
    send.stdin(std::process::Stdio::piped());
    let mut alice = Haul::spawn(send);
    let bytes = content(9, SIZE);
    let mut stdin = alice.take_stdin();
    if stdin.write_all(&bytes[..SIZE / 8]).is_err() {
        panic!("{:?}", alice.finish());
    }
    alice.line(|line| line.contains("\"progress\""));
    bob.kill();
    let mut bob = Haul::start(receive);
    bob.address();
    if stdin.write_all(&bytes[SIZE / 8..]).is_err() {
        panic!("{:?}", alice.finish());
    }
    drop(stdin);
    let alice = alice.finish().code(0);
    let events = alice.events();
    assert!(events.iter().any(|event| event["event"] == "retry"), "{events:?}");
    let progress = events.iter().filter_map(|event| event["bytes"].as_u64());
    assert!(progress.is_sorted(), "{events:?}");
    assert_same(&fs::read(inbox.path().join("stream")).unwrap(), &bytes);
    assert_eq!(names(inbox.path()), ["stream"]);
}

#[test]
fn interrupted_receiver_ends_and_tells_its_sender() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("large");
    fs::write(&file, content(7, SIZE)).unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &[]);
    let proxy = Proxy::new(&address, Cut::Hold, [SIZE as u64 / 2]);
    let alice = Haul::start([
        "send",
        "--insecure",
        file.to_str().unwrap(),
        &proxy.address,
        "--retry-for",
        "1s",
    ]);
    let held = proxy.held();
    bob.interrupt();
    drop(held);
    let start = Instant::now();
    bob.finish().code(130);
    alice.finish().code(3);
    assert!(start.elapsed() < Duration::from_secs(25));
    drop(proxy);
    let left = names(inbox.path());
    assert!(left.iter().all(|name| name.starts_with(".haul-")), "{left:?}");
}

#[test]
fn receiver_that_is_restarted_in_good_order_is_found_again() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let socket = format!("unix:{}", outbox.path().join("socket").display());
    let receive =
        ["receive", "--insecure", inbox.path().to_str().unwrap(), "--listen", &socket, "--json"];
    let mut bob = Haul::start(receive);
    bob.address();
    let mut send = crate::common::quiet(crate::haul::HAUL);
    send.args(["send", "--insecure", "-", "--name", "stream", "--json", &socket]);
    send.stdin(std::process::Stdio::piped());
    let mut alice = Haul::spawn(send);
    let bytes = content(9, SIZE);
    let mut stdin = alice.take_stdin();
    stdin.write_all(&bytes[..SIZE / 8]).unwrap();
    alice.line(|line| line.contains("\"progress\""));
    bob.interrupt();
    let retry = alice.line(|line| line.contains("\"retry\""));
    assert!(retry.contains("the receiver went away"), "{retry}");
    bob.finish().code(130);
    let mut bob = Haul::start(receive);
    bob.address();
    stdin.write_all(&bytes[SIZE / 8..]).unwrap();
    drop(stdin);
    alice.finish().code(0);
    assert_same(&fs::read(inbox.path().join("stream")).unwrap(), &bytes);
}

/// A signal that is ignored from the start stays ignored, as under nohup.
#[cfg(target_os = "linux")]
#[test]
fn ignored_signal_stays_ignored() {
    let inbox = tempdir().unwrap();
    let mut command = crate::common::quiet("sh");
    let haul = crate::haul::HAUL;
    let script = format!("trap '' HUP; exec '{haul}' receive --listen 127.0.0.1:0 \"$0\"");
    command.args(["-c", &script]).arg(inbox.path());
    let mut bob = Haul::spawn(command);
    let address = bob.address();
    bob.signal("-HUP");
    run(["send", crate::common::photo_path().to_str().unwrap(), &address]).code(0);
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
    bob.signal("-TERM");
    bob.finish().code(0).one_error(&["stopping"]);
    // Not ignored, it ends the receiver.
    let (bob, _) = Haul::receive_in_clear(inbox.path(), &[]);
    bob.signal("-HUP");
    bob.finish().code(129).one_error(&["stopping"]);
}

/// As shells have it: 128, and the number of the signal. A receiver that serves is ended by SIGTERM in good order.
#[test]
fn signal_that_ends_a_command_is_in_its_exit_code() {
    let place = tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let sender = ["send", file, "--listen", "127.0.0.1:0", "--json"];
        let plain = ["send", "--plain", file, "--listen", "127.0.0.1:0", "--json"];
        for arguments in [&sender[..], &plain] {
            let mut haul = Haul::start(arguments);
            haul.address();
            haul.signal(signal);
            let ended = haul.finish().code(code);
            let events = ended.events();
            let failed = events.iter().find(|event| event["event"] == "failed");
            assert_eq!(failed.unwrap()["code"], code, "{ended:?}");
        }
        let (bob, _) = Haul::receive_in_clear(place.path(), &[]);
        bob.signal(signal);
        bob.finish().code(if signal == "-TERM" { 0 } else { code });
    }
}

#[test]
fn second_interrupt_ends_at_once() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let file = file.to_str().unwrap();
    // A command that neither reads nor ends is given 2 s to end by itself; who asks twice does not wait for it.
    for twice in [false, true] {
        let mut alice = Haul::start(["send", file, "exec:exec sleep 20 2>&-", "--json"]);
        alice.line(|line| line.contains("connected"));
        let start = Instant::now();
        alice.interrupt();
        alice.says("stopping");
        if twice {
            alice.interrupt();
        }
        alice.finish().code(130).one_error(&["stopping"]);
        assert_eq!(start.elapsed() < Duration::from_millis(1500), twice, "{:?}", start.elapsed());
    }
}

#[test]
fn idle_receiver_ends_at_ctrl_c() {
    let inbox = tempdir().unwrap();
    for arguments in [&[][..], &["--once"], &["--json"]] {
        let (bob, _) = Haul::receive_in_clear(inbox.path(), arguments);
        let start = Instant::now();
        bob.interrupt();
        bob.finish().code(130).one_error(&["stopping"]);
        assert!(start.elapsed() < Duration::from_secs(3));
    }
    let place = inbox.path().join("x");
    let mut bob =
        Haul::start(["receive", "--plain", place.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    bob.address();
    bob.interrupt();
    bob.finish().code(130);
    assert_eq!(names(inbox.path()), [""; 0]);
}
