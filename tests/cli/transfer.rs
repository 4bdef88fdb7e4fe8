//! Good transfers, over each transport.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use tempfile::tempdir;

use crate::common::{photo_path, quiet};
use crate::haul::{HAUL, Haul, content, exec, names, run, run_with, tree};

#[test]
fn send_over_tcp_photo_arrives_and_both_sides_say_so() {
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &["--once"]);
    let alice = run([photo_path().as_os_str(), address.as_ref()].iter().fold(
        vec!["send".into()],
        |mut all: Vec<std::ffi::OsString>, next| {
            all.push(next.into());
            all
        },
    ));
    let alice = alice.code(0);
    let bob = bob.finish().code(0);
    let photo = fs::read(photo_path()).unwrap();
    let hash = haul::hash::Hash::of(&photo).to_string();
    let receipt = format!("photo.jpg ({} bytes, blake3 {hash}, synced)", photo.len());
    assert!(alice.stdout.contains(&format!("delivered {receipt}")), "{alice:?}");
    assert!(bob.stdout.contains(&format!("received {receipt}")), "{bob:?}");
    assert!(bob.stdout.contains("connected by 127.0.0.1:"), "{bob:?}");
    assert_eq!((alice.faults(), bob.faults()), (Vec::new(), Vec::new()));
    assert_eq!(tree(inbox.path()), [("photo.jpg".to_owned(), photo)].into());
}

/// Makes a folder with files around the size of a block, an empty one, and an empty folder.
fn make_tree(folder: &Path) {
    fs::create_dir_all(folder.join("tree/deep/er")).unwrap();
    fs::create_dir(folder.join("tree/empty")).unwrap();
    for (seed, size) in [0, 1, 4095, 4096, 4097, 300_000, 1_048_577].into_iter().enumerate() {
        let place = ["tree", "tree/deep", "tree/deep/er"][seed % 3];
        let name = folder.join(place).join(format!("{size} bytes"));
        fs::write(name, content(seed as u64, size)).unwrap();
    }
}

#[test]
fn send_over_each_transport_tree_arrives_whole() {
    let outbox = tempdir().unwrap();
    make_tree(outbox.path());
    let source = outbox.path().join("tree");
    let source = source.to_str().unwrap();
    let sockets = tempdir().unwrap();
    let socket = format!("unix:{}", sockets.path().join("socket").display());
    for transport in ["tcp", "unix", "exec"] {
        let inbox = tempdir().unwrap();
        let (bob, address) = match transport {
            "tcp" => {
                let (bob, address) = Haul::receive(inbox.path(), &["--once"]);
                (Some(bob), address)
            }
            "unix" => {
                let mut bob = Haul::start([
                    "receive",
                    inbox.path().to_str().unwrap(),
                    "--once",
                    "--listen",
                    &socket,
                ]);
                let address = bob.address();
                assert_eq!(address, socket);
                (Some(bob), address)
            }
            _ => (None, exec(inbox.path(), "")),
        };
        for block in ["4K", "256K"] {
            let sent = run(["send", source, &address, "--block-size", block]);
            let sent = sent.code(0);
            assert!(sent.stdout.contains("\n7 files, "), "{sent:?}");
            assert_eq!(tree(inbox.path()), tree(outbox.path()), "{transport}");
            // The second time all is there already, by another command.
            if bob.is_some() {
                break;
            }
        }
        if let Some(bob) = bob {
            bob.finish().code(0);
        }
    }
    assert_eq!(names(sockets.path()), [""; 0], "the socket is removed");
}

#[test]
fn send_standard_input_arrives_under_its_name() {
    for (more, name) in [(&["--name", "a/b.bin"][..], "a/b.bin"), (&[], "stdin")] {
        for size in [0, 1, 262_144, 9_000_000] {
            let inbox = tempdir().unwrap();
            let (bob, address) = Haul::receive(inbox.path(), &["--once"]);
            let sent = content(1, size);
            let arguments = [&["send", "-"], more, &[address.as_str()]].concat();
            run_with(arguments, sent.clone()).code(0);
            bob.finish().code(0);
            crate::common::assert_same(&fs::read(inbox.path().join(name)).unwrap(), &sent);
        }
    }
}

#[test]
fn send_files_and_standard_input_together_all_arrive() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("file");
    fs::write(&file, "a file").unwrap();
    let address = exec(inbox.path(), "");
    run_with(["send", file.to_str().unwrap(), "-", &address], b"a stream".to_vec()).code(0);
    assert_eq!(names(inbox.path()), ["file", "stdin"]);
}

#[test]
fn send_with_name_renames_a_file() {
    let inbox = tempdir().unwrap();
    let address = exec(inbox.path(), "");
    run(["send", "--name", "holiday.jpg", photo_path().to_str().unwrap(), &address]).code(0);
    assert_eq!(names(inbox.path()), ["holiday.jpg"]);
}

#[test]
fn receive_serves_many_senders_until_it_is_stopped() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (bob, address) = Haul::receive(inbox.path(), &["--max-sessions", "3"]);
    let senders: Vec<_> = (0..6_u64)
        .map(|number| {
            let file = outbox.path().join(format!("file {number}"));
            fs::write(&file, content(number, 500_000)).unwrap();
            Haul::start(["send", file.to_str().unwrap(), &address, "-q"])
        })
        .collect();
    for sender in senders {
        let sent = sender.finish().code(0);
        assert_eq!(
            (sent.stdout.as_str(), sent.stderr.as_str()),
            ("", ""),
            "it was told to be quiet"
        );
    }
    assert_eq!(tree(inbox.path()), tree(outbox.path()));
    bob.interrupt();
    let bob = bob.finish().code(130).one_error(&["stopping"]);
    assert_eq!(bob.stdout.matches("received file").count(), 6, "{bob:?}");
}

#[test]
fn send_that_waits_for_a_place_says_so() {
    let inbox = tempdir().unwrap();
    let (mut bob, address) = Haul::receive(inbox.path(), &["--max-sessions", "1"]);
    let mut command = quiet(HAUL);
    command.args(["send", "-", "--name", "first", &address]).stdin(Stdio::piped());
    let mut first = Haul::spawn(command);
    let mut input = first.take_stdin();
    input.write_all(b"not all of it").unwrap();
    bob.line(|line| line.starts_with("connected by"));
    let second = Haul::start(["send", photo_path().to_str().unwrap(), &address]);
    second.says("waiting for a place at the receiver");
    drop(input);
    let said = second.finish().code(0).stderr;
    assert_eq!(said.matches("waiting for a place").count(), 1, "{said}");
    first.finish().code(0);
    bob.interrupt();
    bob.finish().code(130);
    assert_eq!(names(inbox.path()).len(), 2);
}

#[test]
fn receive_durability_is_what_the_receipt_says() {
    for level in ["received", "flushed", "synced"] {
        let inbox = tempdir().unwrap();
        let address = exec(inbox.path(), &format!("--durability {level}"));
        let sent = run(["send", photo_path().to_str().unwrap(), &address]).code(0);
        assert!(sent.stdout.contains(&format!(", {level})")), "{sent:?}");
    }
}

#[test]
fn receive_says_who_can_reach_it() {
    let inbox = tempdir().unwrap();
    let folder = inbox.path().to_str().unwrap();
    let machine = "any user of this machine can put files here";
    for (listen, who) in [
        ("0.0.0.0:0", "anyone who reaches this port can put files here"),
        ("127.0.0.1:0", machine),
        (":0", machine),
    ] {
        let mut bob = Haul::start(["receive", folder, "--listen", listen]);
        bob.address();
        bob.interrupt();
        let bob = bob.finish().code(130);
        assert_eq!(bob.stderr.lines().count(), 1, "with keys there is nothing to warn of: {bob:?}");
        let mut bob = Haul::start(["receive", folder, "--listen", listen, "--insecure"]);
        bob.address();
        bob.interrupt();
        let bob = bob.finish().code(130);
        let warning = bob.stderr.lines().next().unwrap();
        assert!(warning.contains("no authentication") && warning.ends_with(who), "{bob:?}");
        assert_eq!(bob.stderr.lines().count(), 2, "{bob:?}");
    }
    for umask in ["022", "000"] {
        let line = format!("umask {umask}; exec '{HAUL}' receive . --listen 'unix:{umask}'");
        let mut shell = quiet("sh");
        shell.args(["-c", &line]).current_dir(inbox.path());
        let mut bob = Haul::spawn(shell);
        bob.address();
        let mode = fs::metadata(inbox.path().join(umask)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        bob.interrupt();
        let bob = bob.finish().code(130);
        let own = "by its mode, this user alone can connect to the socket";
        assert!(bob.stdout.contains(own) && !bob.stderr.contains("no authentication"), "{bob:?}");
    }
}

/// The system says of these that they have 0 bytes, or a page.
#[test]
#[cfg(target_os = "linux")]
fn files_that_are_made_when_they_are_read_arrive_with_what_they_hold() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let empty = outbox.path().join("empty");
    fs::write(&empty, "").unwrap();
    let made = ["/proc/version", "/sys/devices/system/cpu/online"].map(Path::new);
    let mut expected = std::collections::BTreeMap::from([("empty".to_owned(), Vec::new())]);
    let mut arguments = vec!["send".to_owned(), empty.display().to_string()];
    for path in made.into_iter().filter(|path| path.exists()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        expected.insert(name, fs::read(path).unwrap());
        arguments.push(path.display().to_string());
    }
    arguments.push(exec(inbox.path(), ""));
    let sent = run(arguments).code(0);
    assert_eq!(tree(inbox.path()), expected, "{sent:?}");
}
