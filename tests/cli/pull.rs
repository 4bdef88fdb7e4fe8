//! Dialling is independent of sending: a sender that listens, and a receiver that connects.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::common::{assert_same, photo, photo_path};
use crate::haul::{HAUL, Haul, content, names, run, tree};

fn photo_name() -> String {
    photo_path().to_str().unwrap().to_owned()
}

/// Starts `haul send --listen` on a free port of loopback.
fn listening(paths: &[&str], more: &[&str]) -> (Haul, String) {
    let listen = ["send", "--insecure", "--listen", "127.0.0.1:0"];
    let mut alice = Haul::start(listen.iter().chain(paths).chain(more));
    let address = alice.address();
    (alice, address)
}

fn fetch(folder: &Path, address: &str, more: &[&str]) -> Haul {
    let arguments = ["receive", "--insecure", folder.to_str().unwrap(), "--connect", address];
    Haul::start(arguments.iter().chain(more))
}

/// Cuts the first connection after so many bytes and lets the second through. Gives how many bytes each carried to the
/// receiver, which is who connects.
fn cut_once(to: String, limit: usize) -> (String, JoinHandle<[usize; 2]>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let carry = move |limit| {
        let (mut far, _) = listener.accept().unwrap();
        let mut near = TcpStream::connect(&to).unwrap();
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

#[test]
fn receiver_that_connects_gets_what_a_listening_sender_has() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    fs::write(outbox.path().join("a"), "a").unwrap();
    let folder = outbox.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("b"), content(1, 100_000)).unwrap();
    let (alice, address) = listening(
        &[&photo_name(), outbox.path().join("a").to_str().unwrap(), folder.to_str().unwrap()],
        &[],
    );
    let bob = fetch(inbox.path(), &address, &[]).finish().code(0);
    let alice = alice.finish().code(0);
    assert!(alice.stdout.contains("connected by 127.0.0.1:"), "{alice:?}");
    assert!(alice.stdout.contains("delivered photo.jpg"), "{alice:?}");
    assert!(bob.stdout.contains("received photo.jpg"), "{bob:?}");
    assert_eq!((alice.faults(), bob.faults()), (Vec::new(), Vec::new()));
    assert_eq!(names(inbox.path()), ["a", "folder/", "folder/b", "photo.jpg"]);
    assert_same(&fs::read(inbox.path().join("photo.jpg")).unwrap(), &photo());
}

#[test]
fn pull_through_a_socket_file_and_from_standard_input() {
    let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let socket = format!("unix:{}", place.path().join("socket").display());
    let mut send = crate::common::quiet(HAUL);
    send.args(["send", "--insecure", "-", "--name", "stream", "--listen", &socket]);
    send.stdin(std::process::Stdio::piped());
    let mut alice = Haul::spawn(send);
    assert_eq!(alice.address(), socket);
    let bob = fetch(inbox.path(), &socket, &[]);
    alice.take_stdin().write_all(b"piped").unwrap();
    bob.finish().code(0);
    alice.finish().code(0);
    assert_eq!(tree(inbox.path()), [("stream".to_owned(), b"piped".to_vec())].into());
    assert_eq!(names(place.path()), [""; 0], "the socket is gone");
}

/// The sender is the far end of a command: a relay between its standard streams and the sender's socket.
#[test]
fn pull_through_a_command() {
    if crate::common::lacks_peers() {
        return;
    }
    let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let socket = place.path().join("socket");
    let address = format!("unix:{}", socket.display());
    let mut alice = Haul::start(["send", "--insecure", &photo_name(), "--listen", &address]);
    alice.address();
    let relay = format!("exec:nc -U '{}'", socket.display());
    fetch(inbox.path(), &relay, &[]).finish().code(0);
    alice.finish().code(0);
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
}

#[test]
fn json_of_a_pull_tells_where_it_listens_and_who_came() {
    let inbox = tempdir().unwrap();
    let (alice, address) = listening(&[&photo_name()], &["--json"]);
    let bob = fetch(inbox.path(), &address, &["--json"]).finish().code(0);
    let alice = alice.finish().code(0);
    let kinds = |events: &[serde_json::Value]| {
        let kinds = events.iter().map(|event| event["event"].as_str().unwrap().to_owned());
        kinds.filter(|kind| kind != "progress").collect::<Vec<_>>()
    };
    let (alice, bob) = (alice.events(), bob.events());
    assert_eq!(kinds(&alice), ["listening", "connected", "offered", "delivered", "finished"]);
    assert_eq!(kinds(&bob), ["connected", "offered", "received", "finished"]);
    assert_eq!(alice[0]["address"], address);
    assert!(alice[1]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(bob[0]["peer"], address);
    assert_eq!(alice.last().unwrap()["bytes"], bob.last().unwrap()["bytes"]);
}

#[test]
fn cut_pull_is_dialled_again_and_carries_only_what_is_missing() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let size = 32 << 20;
    let bytes = content(8, size);
    let file = outbox.path().join("large");
    fs::write(&file, &bytes).unwrap();
    let (alice, address) = listening(&[file.to_str().unwrap()], &["--json"]);
    let (relay, carried) = cut_once(address, size * 3 / 4);
    let bob = fetch(inbox.path(), &relay, &["--json"]).finish().code(0);
    let [first, second] = carried.join().unwrap();
    assert!(first >= size * 3 / 4);
    assert!(second < size / 4 + (4 << 20), "{second} bytes went the second time");
    for side in [alice.finish().code(0), bob] {
        let retries = side.events().iter().filter(|event| event["event"] == "retry").count();
        assert_eq!(retries, 1, "{side:?}");
    }
    assert_same(&fs::read(inbox.path().join("large")).unwrap(), &bytes);
    assert_eq!(names(inbox.path()), ["large"]);
}

#[test]
fn listening_sender_whose_receiver_is_lost_waits_for_as_long_as_was_asked() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("large");
    let size = 32 << 20;
    fs::write(&file, content(8, size)).unwrap();
    // So slow that it is lost before it has all, however late this is heard.
    let more = ["--retry-for", "1s", "--limit-rate", "8M"];
    let (alice, address) = listening(&[file.to_str().unwrap()], &more);
    let (relay, _) = cut_once(address, size * 3 / 4);
    let mut bob = fetch(inbox.path(), &relay, &["--json"]);
    bob.line(|line| line.contains("\"progress\"") && !line.contains("\"acknowledged\":0,"));
    let start = Instant::now();
    bob.kill();
    alice.says("waiting for the receiver to come again");
    let alice = alice.finish().code(3);
    let took = start.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert!(alice.stderr.contains("run the same command again to go on"), "{alice:?}");

    // The same command again, and so the other side: it goes on.
    let (alice, address) = listening(&[file.to_str().unwrap()], &[]);
    fetch(inbox.path(), &address, &[]).finish().code(0);
    alice.finish().code(0);
    assert_eq!(names(inbox.path()), ["large"]);
}

#[test]
fn receiver_that_connects_where_nobody_listens_says_what_to_start() {
    let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let failed = fetch(inbox.path(), &address, &[]).finish().code(3);
    failed.one_error(&[&address, "refused", "haul send --listen"]);

    // With patience it is tried again, and finds the sender that comes later.
    let socket = format!("unix:{}", place.path().join("socket").display());
    let mut bob = fetch(inbox.path(), &socket, &["--retry-for", "30s", "--json"]);
    bob.line(|line| line.contains("\"retry\""));
    let alice = Haul::start(["send", "--insecure", &photo_name(), "--listen", &socket]);
    bob.finish().code(0);
    alice.finish().code(0);
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
}

#[test]
fn listening_sender_tells_of_strangers_and_goes_on_waiting() {
    let inbox = tempdir().unwrap();
    let (alice, address) = listening(&[&photo_name()], &["--retry-for", "0s"]);
    // One that is gone at once, a browser, and another sender.
    drop(TcpStream::connect(&address).unwrap());
    alice.says("closed the connection");
    let mut browser = TcpStream::connect(&address).unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let _ = browser.read_to_end(&mut Vec::new());
    alice.says("does not speak haul");
    let other = run(["send", "--insecure", &photo_name(), &address]).code(3);
    other.one_error(&["both sides send"]);
    alice.says("both sides send");
    fetch(inbox.path(), &address, &[]).finish().code(0);
    let alice = alice.finish().code(0);
    assert_eq!(alice.faults().len(), 3, "{alice:?}");
    assert!(alice.faults().iter().all(|line| line.starts_with("haul: ")), "{alice:?}");
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
}

#[test]
fn listening_sender_serves_a_receiver_whatever_silent_strangers_hold_their_connections() {
    let inbox = tempdir().unwrap();
    let (alice, address) = listening(&[&photo_name()], &[]);
    // Each would be waited for until the deadline of its greeting, 10 s.
    let strangers: Vec<_> = (0..12).map(|_| TcpStream::connect(&address).unwrap()).collect();
    fetch(inbox.path(), &address, &[]).finish().code(0);
    let alice = alice.finish().code(0);
    assert_eq!(alice.stdout.matches("connected by").count(), 1, "{alice:?}");
    assert_eq!(alice.faults(), [""; 0]);
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
    drop(strangers);
}

#[test]
fn receiver_that_connects_to_a_web_server_names_what_it_said() {
    let inbox = tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let web = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let failed = fetch(inbox.path(), &address, &[]).finish().code(3);
    failed.one_error(&["does not speak haul", "HTTP/1.1"]);
    web.join().unwrap();
    // And to another receiver: both wait for the other to begin.
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &[]);
    let failed = fetch(inbox.path(), &address, &[]).finish().code(3);
    // Both have the same deadline: either may be the first to give up.
    let words = ["no greeting", "closed the connection"];
    let said = words.iter().find(|words| failed.stderr.contains(**words));
    failed.one_error(&[said.expect("it is one of them")]);
    bob.interrupt();
    bob.finish().code(130);
    assert_eq!(names(inbox.path()), [""; 0]);
}

#[test]
fn pull_that_is_interrupted_on_either_side_goes_on_when_run_again() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("large");
    let bytes = content(8, 32 << 20);
    fs::write(&file, &bytes).unwrap();
    let file = file.to_str().unwrap();
    for by_sender in [true, false] {
        // So slow that it is interrupted before it is cut.
        let more = ["--retry-for", "0s", "--limit-rate", "8M"];
        let (alice, address) = listening(&[file], &more);
        let (relay, _carried) = cut_once(address, bytes.len() * 3 / 4);
        let mut bob = fetch(inbox.path(), &relay, &["--json", "--retry-for", "0s"]);
        bob.line(|line| line.contains("\"progress\""));
        if by_sender {
            alice.interrupt()
        } else {
            bob.interrupt()
        }
        let (alice, bob) = (alice.finish(), bob.finish());
        let (stopped, other) = if by_sender { (alice, bob) } else { (bob, alice) };
        stopped.code(130).one_error(&["stopping", "run the same command again"]);
        other.code(3);
        assert!(names(inbox.path()).iter().all(|name| name.starts_with(".haul-")));
    }
    let (alice, address) = listening(&[file], &[]);
    fetch(inbox.path(), &address, &[]).finish().code(0);
    alice.finish().code(0);
    assert_same(&fs::read(inbox.path().join("large")).unwrap(), &bytes);
}

#[test]
fn receiver_whose_sender_is_restarted_counts_each_file_once() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let [a, b] = [("a", 1), ("b", 1_000_000)].map(|(name, size)| {
        let file = outbox.path().join(name);
        fs::write(&file, content(1, size)).unwrap();
        file.to_str().unwrap().to_owned()
    });
    let socket = format!("unix:{}", outbox.path().join("socket").display());
    let mut alice =
        Haul::start(["send", "--insecure", &a, &b, "--listen", &socket, "--limit-rate", "100k"]);
    alice.address();
    let mut bob = fetch(inbox.path(), &socket, &[]);
    bob.line(|line| line.starts_with("received a "));
    alice.kill();
    let alice = Haul::start(["send", "--insecure", &a, &b, "--listen", &socket]);
    alice.finish().code(0);
    let bob = bob.finish().code(0);
    assert!(bob.stdout.contains("there already"), "{bob:?}");
    assert!(bob.stdout.lines().last().unwrap().starts_with("2 files, "), "{bob:?}");
    assert_eq!(names(inbox.path()), ["a", "b"]);
}

#[test]
fn receiver_that_connects_for_one_transfer_ends_with_it() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("a");
    for (text, code) in [("old", 0), ("new", 4)] {
        fs::write(&file, text).unwrap();
        let (alice, address) = listening(&[file.to_str().unwrap()], &[]);
        fetch(inbox.path(), &address, &["--once"]).finish().code(code);
        alice.finish().code(code);
    }
    assert_eq!(fs::read(inbox.path().join("a")).unwrap(), b"old");
}

#[test]
fn waiting_sender_ends_at_ctrl_c() {
    for more in [&[][..], &["--json"], &["--plain"]] {
        let (alice, _) = listening(&[&photo_name()], more);
        let start = Instant::now();
        alice.interrupt();
        alice.finish().code(130).one_error(&["stopping"]);
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

#[test]
fn pull_on_the_plain_wire() {
    let inbox = tempdir().unwrap();
    let place = inbox.path().join("copy.jpg");
    let (alice, address) = listening(&[&photo_name()], &["--plain"]);
    run(["receive", "--plain", place.to_str().unwrap(), "--connect", &address]).code(0);
    alice.finish().code(0);
    assert_same(&fs::read(&place).unwrap(), &photo());
}

#[test]
fn pull_options_that_exclude_each_other_are_wrong_usage() {
    let photo = photo_name();
    for arguments in [
        &["send", "--insecure", &photo, "127.0.0.1:1", "--listen", "127.0.0.1:0"][..],
        &["send", "--insecure", "--listen", "127.0.0.1:0"],
        &["send", &photo, "--listen", "exec:cat"],
        &["send", "--insecure", &photo, "--listen", "nowhere"],
        &["send", "--insecure", &photo, "--listen", "127.0.0.1:0", "--connect-timeout", "1s"],
        &["receive", "--insecure", "--connect", "127.0.0.1:0"],
        &["receive", "--connect", "a:1", "--listen", "b:1"],
        &["receive", "--connect", "a:1", "--stdio"],
        &["receive", "--connect", "a:1", "--max-sessions", "2"],
        &["receive", "--insecure", "--retry-for", "1s"],
        &["receive", "--insecure", "--connect-timeout", "1s"],
        &["receive", "--plain", "x", "--connect", "a:1", "--retry-for", "1s"],
    ] {
        let wrong = run(arguments).code(2).one_error(&[]);
        assert_eq!(wrong.stdout, "", "{arguments:?}");
    }
}
