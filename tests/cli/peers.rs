//! Peers that are not haul, or behave badly.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::tempdir;

use crate::common::{
    NcAlice, NcBob, PATIENCE, PythonAlice, PythonBob, Receiver, Sender, photo_path,
};
use crate::haul::{Haul, names, run};

fn photo() -> String {
    photo_path().to_str().unwrap().to_owned()
}

/// Takes one connection, and does something with it.
fn peer(behave: impl FnOnce(TcpStream) + Send + 'static) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(listener);
        behave(stream);
    });
    (address, thread)
}

/// Sends to a peer that behaves like this; what the sender says, and how long that took.
fn send_to(behave: impl FnOnce(TcpStream) + Send + 'static, words: &[&str]) -> Duration {
    let (address, thread) = peer(behave);
    let start = Instant::now();
    run(["send", "--insecure", &photo(), &address]).code(3).one_error(words);
    let took = start.elapsed();
    thread.join().unwrap();
    took
}

#[test]
fn send_to_a_web_server_names_what_it_said() {
    let web = |mut stream: TcpStream| {
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").unwrap();
    };
    let took = send_to(web, &["does not speak haul", "HTTP/1.1", "--plain"]);
    assert!(took < Duration::from_secs(5));
}

#[test]
fn send_to_a_peer_that_talks_garbage_is_told() {
    let garbage = |mut stream: TcpStream| {
        stream.write_all(&[0x1b; 4096]).unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
    };
    // Escaped: nothing of it may reach a terminal as it is.
    let took = send_to(garbage, &["does not speak haul", "\\x1b\\x1b"]);
    assert!(took < Duration::from_secs(5));
}

#[test]
fn send_to_a_peer_that_closes_at_once_is_told() {
    let took = send_to(drop, &["closed the connection", "is it `haul receive`?"]);
    assert!(took < Duration::from_secs(5));
}

/// All at the same time: each takes as long as the deadline.
#[test]
fn send_to_peers_that_say_nothing_ends_at_the_deadline() {
    if crate::common::lacks_peers() {
        return;
    }
    let folder = tempdir().unwrap();
    let silent = |mut stream: TcpStream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert!(!heard.is_empty(), "the sender greets first");
    };
    let (address, thread) = peer(silent);
    let python = PythonBob.listen(&folder.path().join("python"));
    let nc = NcBob.listen(&folder.path().join("nc"));
    let start = Instant::now();
    let to = [address, python.address.to_string(), nc.address.to_string()];
    for alice in to.map(|address| Haul::start(["send", "--insecure", &photo(), &address])) {
        alice.finish().code(3).one_error(&[
            "no greeting",
            "10 s",
            "is it `haul receive`?",
            "--plain",
        ]);
        let took = start.elapsed();
        assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&took), "{took:?}");
    }
    thread.join().unwrap();
    (python.finish)();
    (nc.finish)();
}

#[test]
fn receive_from_plain_senders_without_plain_is_told_and_goes_on() {
    if crate::common::lacks_peers() {
        return;
    }
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
    let to: SocketAddr = address.parse().unwrap();
    // The receiver may close before they have sent all: how they end is their affair.
    for sender in [&PythonAlice as &dyn Sender, &NcAlice] {
        let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            sender.send(&photo_path(), to);
        }));
        drop(sent);
    }
    assert_eq!(names(inbox.path()), [""; 0]);
    run(["send", "--insecure", &photo(), &address]).code(0);
    let bob = bob.finish().code(0);
    let lines = bob.faults();
    assert_eq!(lines.len(), 2, "{bob:?}");
    for line in lines {
        assert!(line.starts_with("haul: 127.0.0.1:"), "{line}");
        assert!(line.contains("does not speak haul") && line.contains("--plain FILE"), "{line}");
    }
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
}

#[test]
fn receive_from_odd_senders_is_told_and_goes_on() {
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once", "--max-sessions", "4"]);
    // One that is gone at once, one that talks garbage, one that stays silent past the deadline.
    drop(TcpStream::connect(&address).unwrap());
    let mut garbage = TcpStream::connect(&address).unwrap();
    garbage.write_all(&[0xff; 100]).unwrap();
    garbage.shutdown(Shutdown::Write).unwrap();
    let _ = garbage.read_to_end(&mut Vec::new());
    let start = Instant::now();
    let mut silent = TcpStream::connect(&address).unwrap();
    let _ = silent.read_to_end(&mut Vec::new());
    let took = start.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(15)).contains(&took), "{took:?}");
    run(["send", "--insecure", &photo(), &address]).code(0);
    let bob = bob.finish().code(0);
    for words in ["closed the connection", "does not speak haul", "no greeting"] {
        assert_eq!(bob.stderr.matches(words).count(), 1, "{words} in {bob:?}");
    }
    assert_eq!(bob.faults().len(), 3, "{bob:?}");
}

#[test]
fn two_senders_are_told_so() {
    // A peer that sends back what it hears is a sender like this one.
    let echo = |mut stream: TcpStream| {
        let mut back = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut stream, &mut back);
    };
    let took = send_to(echo, &["both sides send", "haul receive"]);
    assert!(took < Duration::from_secs(5));
}

#[test]
fn receiver_that_dies_before_its_receipt_is_no_success() {
    let inbox = tempdir().unwrap();
    let (bob, real) = Haul::receive_in_clear(inbox.path(), &[]);
    // It lets the greetings through, and little more.
    let relay = move |stream: TcpStream| {
        let server = TcpStream::connect(&real).unwrap();
        let (mut up, mut back) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
        let (mut to, mut from) = (server.try_clone().unwrap(), server.try_clone().unwrap());
        let answers = thread::spawn(move || drop(std::io::copy(&mut from, &mut back)));
        let mut passed = 0;
        let mut buffer = [0; 1000];
        while passed < 20_000 {
            let Ok(count @ 1..) = up.read(&mut buffer) else { break };
            to.write_all(&buffer[..count]).unwrap();
            passed += count;
        }
        server.shutdown(Shutdown::Both).unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
        answers.join().unwrap();
    };
    let (address, thread) = peer(relay);
    let failed = run(["send", "--insecure", &photo(), &address, "--retry-for", "0s"]).code(3);
    failed.one_error(&["run the same command again"]);
    thread.join().unwrap();
    bob.interrupt();
    bob.finish().code(130);
    assert!(!fs::exists(inbox.path().join("photo.jpg")).unwrap());
    assert!(names(inbox.path()).iter().all(|name| name.starts_with(".haul-")));
}
