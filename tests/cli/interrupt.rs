//! Ctrl-C, the death of either side, and going on afterwards.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::common::assert_same;
use crate::haul::{Haul, content, names, run};

/// Lets so many bytes through to the receiver, then no more, until it is told to close. Gives how many went through.
struct Relay {
    address: String,
    full: mpsc::Receiver<()>,
    close: mpsc::Sender<()>,
    thread: JoinHandle<usize>,
}

impl Relay {
    fn new(to: String, limit: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (filled, full) = mpsc::channel();
        let (close, closed) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            let (mut near, _) = listener.accept().unwrap();
            let mut far = TcpStream::connect(to).unwrap();
            let (mut back, mut answers) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let answers = thread::spawn(move || drop(std::io::copy(&mut answers, &mut back)));
            let mut passed = 0;
            let mut buffer = vec![0; 10_000];
            while passed < limit {
                let Ok(count @ 1..) = near.read(&mut buffer) else { break };
                far.write_all(&buffer[..count]).unwrap();
                passed += count;
            }
            if passed >= limit {
                filled.send(()).unwrap();
                let _ = closed.recv();
            }
            let _ = (far.shutdown(Shutdown::Both), near.shutdown(Shutdown::Both));
            answers.join().unwrap();
            passed
        });
        Self { address, full, close, thread }
    }

    fn end(self) -> usize {
        drop(self.close);
        self.thread.join().unwrap()
    }
}

/// Cuts the first connection after so many bytes and lets the second through. Gives how many bytes each carried to the
/// receiver, which is who connects, or whom `to` names.
pub(crate) fn cut_once(
    to: String,
    limit: usize,
    receiver_connects: bool,
) -> (String, JoinHandle<[usize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let carry = move |limit| {
        let (near, _) = listener.accept().unwrap();
        let far = TcpStream::connect(&to).unwrap();
        let (mut near, mut far) = if receiver_connects { (far, near) } else { (near, far) };
        let (mut back, mut answers) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let answers = thread::spawn(move || drop(std::io::copy(&mut answers, &mut back)));
        let mut passed = 0;
        let mut buffer = vec![0; 10_000];
        while passed < limit {
            let Ok(count @ 1..) = near.read(&mut buffer) else { break };
            far.write_all(&buffer[..count]).unwrap();
            passed += count;
        }
        let _ = (far.shutdown(Shutdown::Both), near.shutdown(Shutdown::Both));
        answers.join().unwrap();
        passed
    };
    (address, thread::spawn(move || [carry(limit), carry(usize::MAX)]))
}

const SIZE: usize = 8 << 20;

#[test]
fn interrupted_sender_goes_on_when_run_again() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("large");
    let bytes = content(7, SIZE);
    fs::write(&file, &bytes).unwrap();
    let file = file.to_str().unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &[]);
    let relay = Relay::new(address.clone(), SIZE / 2);
    let alice = Haul::start(["send", file, &relay.address]);
    relay.full.recv_timeout(Duration::from_secs(30)).unwrap();
    let start = Instant::now();
    alice.interrupt();
    let alice = alice.finish().code(130).one_error(&["stopping", "run the same command again"]);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(!alice.stdout.contains("delivered"), "{alice:?}");
    relay.end();
    let held = names(inbox.path());
    assert!(held.iter().all(|name| name.starts_with(".haul-")), "{held:?}");

    // What travels the second time is about what was missing.
    let relay = Relay::new(address, usize::MAX);
    run(["send", file, &relay.address]).code(0);
    let passed = relay.end();
    assert!(passed < SIZE * 3 / 4, "{passed} of {SIZE} bytes travelled again");
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
    let bytes = content(8, size);
    let file = outbox.path().join("large");
    fs::write(&file, &bytes).unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &["--once"]);
    let (relay, carried) = cut_once(address.clone(), size * 3 / 4, false);
    let sent = run(["send", "--json", file.to_str().unwrap(), &relay]).code(0);
    let [first, second] = carried.join().unwrap();
    assert!(first >= size * 3 / 4);
    // In flight when it was cut: what the system's buffers held.
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
    let receive = ["receive", inbox.path().to_str().unwrap(), "--listen", &socket, "--json"];
    let mut bob = Haul::start(receive);
    bob.address();
    let mut send = crate::common::quiet(crate::haul::HAUL);
    send.args(["send", "-", "--name", "stream", "--json", &socket]);
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
    let (bob, address) = Haul::receive(inbox.path(), &[]);
    let relay = Relay::new(address, SIZE / 2);
    let alice = Haul::start(["send", file.to_str().unwrap(), &relay.address, "--retry-for", "1s"]);
    relay.full.recv_timeout(Duration::from_secs(30)).unwrap();
    bob.interrupt();
    relay.close.send(()).unwrap();
    let start = Instant::now();
    bob.finish().code(130);
    alice.finish().code(3);
    assert!(start.elapsed() < Duration::from_secs(25));
    relay.end();
    let held = names(inbox.path());
    assert!(held.iter().all(|name| name.starts_with(".haul-")), "{held:?}");
}

#[test]
fn receiver_that_is_restarted_in_good_order_is_found_again() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let socket = format!("unix:{}", outbox.path().join("socket").display());
    let receive = ["receive", inbox.path().to_str().unwrap(), "--listen", &socket, "--json"];
    let mut bob = Haul::start(receive);
    bob.address();
    let mut send = crate::common::quiet(crate::haul::HAUL);
    send.args(["send", "-", "--name", "stream", "--json", &socket]);
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

/// What nohup does: a signal that is ignored from the start stays ignored.
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
    bob.finish().code(130).one_error(&["stopping"]);
    // Not ignored, it ends the receiver.
    let (bob, _) = Haul::receive(inbox.path(), &[]);
    bob.signal("-HUP");
    bob.finish().code(130).one_error(&["stopping"]);
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
        let (bob, _) = Haul::receive(inbox.path(), arguments);
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
