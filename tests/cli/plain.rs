//! The plain wire: the command with the original programs, with `nc` and with itself.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use serde_json::json;
use tempfile::tempdir;

use crate::common::{
    Listening, NcAlice, NcBob, PythonAlice, PythonBob, Receiver, Sender, assert_same, pair, photo,
    photo_path,
};
use crate::haul::{HAUL, Haul, names, run, run_with};

/// The command as a sender, with this chunk.
struct HaulAlice(&'static str);

/// The command as a receiver.
struct HaulBob(&'static str);

impl Sender for HaulAlice {
    fn send(&self, file: &Path, to: SocketAddr) {
        let file = file.to_str().unwrap();
        let sent = run(["send", "--plain", file, &to.to_string(), "--chunk-size", self.0]).code(0);
        assert!(sent.stdout.contains("nobody says whether it has arrived"), "{sent:?}");
    }
}

impl Receiver for HaulBob {
    fn listen(&self, file: &Path) -> Listening {
        let file = file.to_str().unwrap();
        let arguments =
            ["receive", "--plain", file, "--listen", "127.0.0.1:0", "--chunk-size", self.0];
        // One of the images has no bytes.
        let mut bob = Haul::start(arguments.into_iter().chain(["--allow-empty"]));
        let address = bob.address().parse().unwrap();
        Listening { address, finish: Box::new(move || bob.finish().code(0).stdout) }
    }
}

#[test]
fn all_pairings_with_python_and_nc_image_arrives() {
    if crate::common::lacks_peers() {
        return;
    }
    for chunk in ["1024", "256K"] {
        let alices: [&dyn Sender; 3] = [&HaulAlice(chunk), &PythonAlice, &NcAlice];
        let bobs: [&dyn Receiver; 3] = [&HaulBob(chunk), &PythonBob, &NcBob];
        for alice in alices {
            for (number, bob) in bobs.iter().enumerate() {
                let printed = pair(alice, *bob, &photo());
                if number == 0 {
                    let hash = haul::hash::Hash::of(&photo()).to_string();
                    for words in [
                        "connected by 127.0.0.1:",
                        "received and saved as",
                        &hash,
                        "cannot be told",
                    ] {
                        assert!(printed.contains(words), "{printed}");
                    }
                }
            }
        }
    }
}

#[test]
fn plain_empty_and_tiny_images_arrive() {
    if crate::common::lacks_peers() {
        return;
    }
    for size in [0, 1, 1023, 1024, 1025] {
        pair(&HaulAlice("1024"), &PythonBob, &photo()[..size]);
        pair(&PythonAlice, &HaulBob("1024"), &photo()[..size]);
        pair(&HaulAlice("1"), &HaulBob("16M"), &photo()[..size]);
    }
}

#[test]
fn plain_json_tells_what_is_known_and_no_more() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("a.jpg");
    let file = file.to_str().unwrap();
    let mut bob = Haul::start(["receive", "--plain", file, "--listen", "127.0.0.1:0", "--json"]);
    let address = bob.address();
    let sent = run(["send", "--plain", "--json", photo_path().to_str().unwrap(), &address]).code(0);
    let last = sent.events().pop().unwrap();
    assert_eq!((&last["event"], &last["bytes"]), (&json!("finished"), &json!(photo().len())));
    assert!(!sent.stdout.contains("delivered"), "nobody has said so: {sent:?}");
    let bob = bob.finish().code(0);
    let events = bob.events();
    let received = events.iter().find(|event| event["event"] == "received").unwrap();
    assert_eq!(received["size"], photo().len());
    assert_eq!(received["blake3"], haul::hash::Hash::of(&photo()).to_string());
    assert_eq!((&received["path"], &received["durability"]), (&json!(file), &json!("synced")));
}

#[test]
fn plain_goes_over_every_transport_and_from_standard_input() {
    let folder = tempdir().unwrap();
    let (file, socket) = (folder.path().join("file"), folder.path().join("socket"));
    let (file, socket) = (file.to_str().unwrap(), format!("unix:{}", socket.display()));
    // One file is what it receives in any case.
    let mut bob = Haul::start(["receive", "--once", "--plain", file, "--listen", &socket]);
    bob.address();
    run_with(["send", "--plain", "-", &socket], photo()).code(0);
    bob.finish().code(0);
    assert_same(&fs::read(file).unwrap(), &photo());
    let address = format!("exec:cat > '{}/copy'", folder.path().display());
    run(["send", "--plain", file, &address]).code(0);
    assert_same(&fs::read(folder.path().join("copy")).unwrap(), &photo());
    assert_eq!(names(folder.path()), ["copy", "file"]);
}

#[test]
fn plain_existing_file_stays_unless_it_may_be_replaced() {
    if crate::common::lacks_peers() {
        return;
    }
    let folder = tempdir().unwrap();
    let file = folder.path().join("a.jpg");
    fs::write(&file, "old").unwrap();
    let name = file.to_str().unwrap();
    let refused = run(["receive", "--plain", name, "--listen", "127.0.0.1:0"]).code(4);
    refused.one_error(&[name, "exists already", "--existing replace"]);
    let folder_name = folder.path().to_str().unwrap();
    run(["receive", "--plain", folder_name, "--listen", "127.0.0.1:0"])
        .code(1)
        .one_error(&["is a folder"]);

    let mut bob = Haul::start([
        "receive",
        "--plain",
        name,
        "--listen",
        "127.0.0.1:0",
        "--existing",
        "replace",
    ]);
    let address: SocketAddr = bob.address().parse().unwrap();
    PythonAlice.send(&photo_path(), address);
    bob.finish().code(0);
    assert_same(&fs::read(&file).unwrap(), &photo());
    assert_eq!(names(folder.path()), ["a.jpg"]);
}

#[test]
fn plain_file_that_appears_meanwhile_stays() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("a.jpg");
    let mut bob =
        Haul::start(["receive", "--plain", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let address = bob.address();
    fs::write(&file, "somebody else's").unwrap();
    run(["send", "--plain", photo_path().to_str().unwrap(), &address]).code(0);
    bob.finish().code(4).one_error(&["exists already"]);
    assert_eq!(fs::read(&file).unwrap(), b"somebody else's");
    assert_eq!(names(folder.path()), ["a.jpg"]);
}

#[test]
fn plain_name_appears_only_with_the_end_and_a_stop_leaves_nothing() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("a.jpg");
    let mut bob =
        Haul::start(["receive", "--plain", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let mut alice = TcpStream::connect(bob.address()).unwrap();
    alice.write_all(b"half an im").unwrap();
    bob.line(|line| line.starts_with("connected by"));
    let held = names(folder.path());
    assert!(matches!(&held[..], [one] if one.starts_with(".haul-plain-")), "{held:?}");
    bob.interrupt();
    bob.finish().code(130).one_error(&["stopping"]);
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn plain_part_that_a_killed_run_left_is_removed_by_the_next() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("a.jpg");
    let arguments = ["receive", "--plain", file.to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let mut bob = Haul::start(arguments);
    let mut alice = TcpStream::connect(bob.address()).unwrap();
    alice.write_all(b"half an im").unwrap();
    bob.line(|line| line.starts_with("connected by"));
    let left = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let deadline = std::time::Instant::now() + crate::common::PATIENCE;
    crate::common::poll(deadline, "some bytes", || {
        left().any(|path| fs::read(path).unwrap() == b"half an im").then_some(())
    });
    bob.kill();
    assert_eq!(left().count(), 1);

    let mut bob = Haul::start(arguments);
    let address = bob.address();
    assert_eq!(left().count(), 1, "its own alone");
    run(["send", "--plain", photo_path().to_str().unwrap(), &address]).code(0);
    bob.finish().code(0);
    assert_eq!(names(folder.path()), ["a.jpg"]);
}

#[test]
fn plain_reset_connection_is_an_error_and_leaves_nothing() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("a.jpg");
    let mut bob =
        Haul::start(["receive", "--plain", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let address = bob.address();
    // A process that dies with unread input resets its connection: this one is made to by a zero linger.
    let socket = std::process::Command::new("python3")
        .args(["-c", RESET, address.split(':').nth(1).unwrap()])
        .status();
    assert!(socket.unwrap().success());
    bob.finish().code(3).one_error(&["cannot read from the peer", "after 10 bytes"]);
    assert_eq!(names(folder.path()), [""; 0]);
}

/// Somebody looks whether the port is open, and then comes the sender.
#[test]
fn plain_connection_without_a_byte_is_no_file_and_waiting_goes_on() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("a.jpg");
    let mut bob =
        Haul::start(["receive", "--plain", file.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let address = bob.address();
    for _ in 0..3 {
        drop(TcpStream::connect(&address).unwrap());
    }
    bob.says("sent no byte");
    assert!(!file.exists());
    run(["send", "--plain", photo_path().to_str().unwrap(), &address]).code(0);
    let bob = bob.finish().code(0);
    assert_eq!(bob.stdout.matches("connected by").count(), 1, "{bob:?}");
    assert_eq!(bob.faults().len(), 3, "{bob:?}");
    assert_same(&fs::read(&file).unwrap(), &photo());
    assert_eq!(names(folder.path()), ["a.jpg"]);
}

#[test]
fn plain_sender_that_listens_and_closes_without_a_byte_is_an_error_unless_it_is_allowed() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("empty");
    for (more, code) in [(&[][..], 3), (&["--allow-empty"], 0)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let arguments = ["receive", "--plain", file.to_str().unwrap(), "--connect", &address];
        let bob = Haul::start(arguments.iter().chain(more));
        drop(listener.accept().unwrap());
        let bob = bob.finish().code(code);
        assert_eq!(file.exists(), code == 0, "{bob:?}");
        if code > 0 {
            bob.one_error(&["without a byte", "--allow-empty"]);
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"");
}

const RESET: &str = "
import socket, struct, sys, time
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
s.sendall(b'half an im')
time.sleep(0.3)
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.close()
";

#[test]
fn plain_wants_a_peer_and_a_single_path() {
    let closed = run(["send", "--plain", photo_path().to_str().unwrap(), "127.0.0.1:1"]).code(3);
    closed.one_error(&["refused"]);
    run(["send", "--plain", HAUL, HAUL, "127.0.0.1:1"]).code(2).one_error(&["single PATH"]);
}

#[test]
fn haul_sender_at_a_plain_receiver_is_told_and_nothing_is_saved() {
    let inbox = tempdir().unwrap();
    let place = inbox.path().join("photo.jpg");
    for more in [&[][..], &["--insecure"]] {
        let mut bob =
            Haul::start(["receive", "--plain", place.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        let (photo, address) = (photo_path(), bob.address());
        let send = ["send", photo.to_str().unwrap(), &address, "--retry-for", "0s"];
        run(send.iter().chain(more)).code(3);
        bob.finish().code(3).one_error(&["the peer speaks haul", "leave --plain out"]);
        assert_eq!(names(inbox.path()), [""; 0]);
    }
    // A byte at a time, it is known all the same; and what only begins like it is a file like any other.
    for (preface, code) in [
        (&b"\x89haul\r\n\x1a"[..], 3),
        (b"\x89haul\r\n", 0),
        (b"\x89hauls\r\n", 0),
        (b"\x16\x03\x01\x00\xc4\x01 \x06haul/1", 3),
        (b"\x16\x03\x01 and no haul", 0),
        (b"\x16\x04\x06haul/1", 0),
    ] {
        let mut bob =
            Haul::start(["receive", "--plain", place.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
        let mut alice = TcpStream::connect(bob.address()).unwrap();
        alice.set_nodelay(true).unwrap();
        for byte in preface {
            alice.write_all(&[*byte]).unwrap();
        }
        drop(alice);
        bob.finish().code(code);
        assert_eq!(place.exists(), code == 0);
        let _ = fs::remove_file(&place);
    }
}

#[test]
fn plain_sender_whose_input_is_idle_ends_at_the_first_signal() {
    let (listener, mut command) =
        (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), crate::common::quiet(HAUL));
    let address = listener.local_addr().unwrap().to_string();
    command.args(["send", "--plain", "--json", "-", &address]).stdin(std::process::Stdio::piped());
    let mut alice = Haul::spawn(command);
    let _stdin = alice.take_stdin();
    alice.line(|line| line.contains("connected"));
    let start = std::time::Instant::now();
    alice.interrupt();
    alice.finish().code(130);
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}
