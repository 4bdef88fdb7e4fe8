//! Wrong uses of the command: one line each, code 2, and what to type instead.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::tempdir;

use crate::common::quiet;
use crate::haul::{HAUL, Haul, names, run};

#[test]
fn wrong_use_is_told_with_what_to_type_instead() {
    let place = tempdir().unwrap();
    fs::write(place.path().join("file"), "x").unwrap();
    for (arguments, said) in [
        (
            "send",
            "give what to send, and last where to: haul send PATH... ADDR (see haul send --help)",
        ),
        (
            "send file",
            "give last where to send it: haul send PATH... ADDR, or wait for the receiver with --listen ADDR",
        ),
        ("send host:7117", "give what to send, too: haul send PATH... host:7117"),
        ("send host:7117 file", "the address comes last: haul send file host:7117"),
        ("send file host", "'host' is no address: add the port: host:7117"),
        ("send file 7117", "'7117' is no address: for that port of this machine write :7117"),
        (
            "send file me@host:dir",
            "'me@host:dir' is no address: to reach a folder over ssh: ssh:me@host:dir; to reach a receiver that listens: me@host:7117",
        ),
        (
            "send file host:/srv/in",
            "'host:/srv/in' is no address: to reach a folder over ssh: ssh:host:/srv/in; to reach a receiver that listens: host:7117",
        ),
        (
            "send file http://host/in",
            "'http://host/in' is no address: haul speaks its own protocol; write host:port, or the line haul://… that a receiver prints",
        ),
        ("send file ssh://host/in", "'ssh://host/in' is no address: haul speaks its own protocol"),
        (
            "send file ::1:7117",
            "'::1:7117' is no address: an IPv6 address has brackets: [::1]:7117",
        ),
        (
            "send file host:70000",
            "invalid ADDR 'host:70000': the port of the address is not a number from 0 to 65535",
        ),
        ("send file host:0", "invalid ADDR 'host:0': nobody can be reached on port 0"),
        ("send file ssh:host", "invalid ADDR 'ssh:host': ssh: needs a folder: ssh:USER@HOST:DIR"),
        ("send file @", "invalid ADDR '@': @ needs the name of somebody that this user trusts"),
        (
            "send -r file host:1",
            "there is no -r here; folders are sent with all that they hold, without an option (see haul send --help)",
        ),
        (
            "send file haul://host:7117/abc",
            "invalid ADDR 'haul://…': copy the whole line that was printed there: a ticket has the form haul://HOST:PORT/KEY/SECRET",
        ),
        (
            "receive --connect HAUL://host:7117/a/b",
            "invalid value 'HAUL://…' for '--connect <ADDR>': ",
        ),
        (
            "receive file haul://host:7117/a/b",
            "there is no haul://… here; the line is for who is to send; a sender that listens prints one for haul receive DIR --connect haul://… (see haul receive --help)",
        ),
        (
            "receive haul://host:7117/a/b",
            "'haul://…' is no folder; the line is for who is to send; a sender that listens prints one for haul receive DIR --connect haul://…",
        ),
        (
            "receive file host:7117",
            "there is no host:7117 here; to fetch from a sender that listens there: haul receive DIR --connect host:7117 (see haul receive --help)",
        ),
        (
            "receive -p 1 --connect host:1",
            "the argument '--port <PORT>' cannot be used with '--connect <ADDR>' (see haul receive --help)",
        ),
        (
            "receive -p abc",
            "invalid value 'abc' for '--port <PORT>': a port is a number up to 65535, and 0 is any free one (see haul receive --help)",
        ),
        (
            "send file host -p 0",
            "invalid value '0' for '--port <PORT>': a port is a number from 1 to 65535 (see haul send --help)",
        ),
        (
            "receive --max-sessions 2000",
            "invalid value '2000' for '--max-sessions <N>': it must be a number from 1 to 1024",
        ),
        (
            "receive --max-entries abc",
            "invalid value 'abc' for '--max-entries <N>': it must be a whole number, 1 or more",
        ),
        (
            "receive --max-depth 0",
            "invalid value '0' for '--max-depth <N>': it must be a whole number, 1 or more",
        ),
        (
            "receive --stop-after soon",
            "invalid value 'soon' for '--stop-after <N|TIME>': write a number of transfers such as 3, or a time such as 90s or 2h",
        ),
        (
            "receive --expire-partials 3",
            "invalid value '3' for '--expire-partials <AGE>': a time has a unit: 3s, 3m, 3h or 3d (see haul receive --help)",
        ),
        (
            "receive --idle-exit 5",
            "invalid value '5' for '--idle-exit <TIME>': a time has a unit: 5s, 5m, 5h or 5d",
        ),
        (
            "send file host:1 --retry-for 5",
            "invalid value '5' for '--retry-for <TIME>': a time has a unit: 5s, 5m, 5h or 5d",
        ),
        (
            "send file host:1 --connect-timeout 5",
            "invalid value '5' for '--connect-timeout <TIME>': a time has a unit: 5s, 5m, 5h or 5d",
        ),
        (
            "partials --older-than 1 --purge",
            "invalid value '1' for '--older-than <AGE>': a time has a unit: 1s, 1m, 1h or 1d (see haul partials --help)",
        ),
        (
            "receive --then no-such-command {}",
            "--then: there is no command 'no-such-command' in PATH",
        ),
        (
            "receive --then ./none {}",
            "--then: there is no command './none': No such file or directory",
        ),
        ("receive --then ./file", "--then: './file' is no program that this user may run"),
        (
            "send file ./file host:1",
            "file and ./file would both be sent as file; send them one by one, with another --name",
        ),
        ("send / host:1", "/ has no name to be sent under; to send what is inside it: /."),
        ("send -p 7117 file host:1", "--port is for a host without a port, and 'host:1' is none"),
        (
            "receive --bind host:1",
            "there is no --bind here; where it listens: --listen host:7117; where it dials, the address is the last argument (see haul receive --help)",
        ),
        (
            "send --resume file host:1",
            "there is no --resume here; what was interrupted goes on when the same command is run again (see haul send --help)",
        ),
        (
            "send --compress file host:1",
            "there is no --compress here; haul does not compress (see haul send --help)",
        ),
        (
            "receive host:7117",
            "'host:7117' is an address, and not a folder; to listen there: haul receive DIR --listen host:7117; to fetch from a sender there: haul receive DIR --connect host:7117",
        ),
        (
            "receive 7117",
            "'7117' is an address, and not a folder; to listen there: haul receive DIR --listen :7117",
        ),
        ("receive --onec", "there is no --onec here; there is --once (see haul receive --help)"),
        (
            "receive --force",
            "there is no --force here; the receiver decides: haul receive --existing replace (see haul receive --help)",
        ),
        (
            "receive --out dir",
            "there is no --out here; name the folder as it is: haul receive DIR (see haul receive --help)",
        ),
        (
            "recv dir",
            "there is no command 'recv'; to receive files: haul receive DIR (see haul --help)",
        ),
        (
            "push file host:1",
            "there is no command 'push'; to send files: haul send PATH... ADDR (see haul --help)",
        ),
        ("snd file host:1", "there is no command 'snd'; there is haul send (see haul --help)"),
        (
            "file host:7117",
            "there is no command 'file'; to send files: haul send PATH... ADDR; to receive them: haul receive DIR (see haul --help)",
        ),
    ] {
        let mut command = quiet(HAUL);
        command.args(arguments.split(' ')).current_dir(place.path());
        let wrong = Haul::spawn(command).finish().code(2).one_error(&[]);
        assert_eq!(wrong.stdout, "", "{arguments}");
        let line = wrong.stderr.trim_end().trim_start_matches("haul: ");
        assert!(line.starts_with(said), "{arguments}:\n{line}\n{said}");
    }
    assert_eq!(names(place.path()), ["file"]);
}

#[test]
fn folder_to_receive_into_is_made_with_its_last_part_alone() {
    let place = tempdir().unwrap();
    let inbox = place.path().join("inbox");
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    let (bob, address) = Haul::receive(&inbox, &["--once"]);
    run(["send", file.to_str().unwrap(), &address]).code(0);
    let bob = bob.finish().code(0);
    let said = format!("made the folder {0}\nreceiving into {0}\n", inbox.display());
    assert!(bob.stdout.starts_with(&said), "{bob:?}");
    assert_eq!(names(&inbox), ["file"]);
    let deep = place.path().join("a/b");
    let failed = run(["receive", deep.to_str().unwrap(), "--listen", "127.0.0.1:0"]).code(1);
    failed.one_error(&["cannot make the folder ", "a/b", "make the folder that it is to be in"]);
}

#[test]
fn send_of_what_is_inside_a_folder_leaves_the_folder_out() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("tree");
    fs::create_dir_all(tree.join("a")).unwrap();
    fs::write(tree.join("a/b"), "x").unwrap();
    fs::write(tree.join("c"), "y").unwrap();
    let inside = format!("{}/.", tree.display());
    let address = crate::haul::exec(inbox.path(), "-q");
    run(["send", &inside, &address]).code(0);
    assert_eq!(names(inbox.path()), ["a/", "a/b", "c"]);
    run(["send", &inside, &address, "--exclude", "b"]).code(2).one_error(&["name the folder"]);
    fs::create_dir(tree.join("empty")).unwrap();
    let empty = format!("{}/empty/.", tree.display());
    run(["send", &empty, &address]).code(1).one_error(&["the folder is empty"]);
}

#[test]
fn short_options_are_those_of_other_tools() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let path = outbox.path().join("file");
    fs::write(&path, "x").unwrap();
    let words = ["receive", inbox.path().to_str().unwrap(), "-p", "0", "--insecure", "--once"];
    let mut bob = Haul::start(words);
    let address = bob.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    let file = path.to_str().unwrap();
    run(["send", "-q", "-p", port, "-B", "4K", file, host, "--insecure"]).code(0);
    bob.finish().code(0);
    assert_eq!(names(inbox.path()), ["file"]);
    let mut alice = Haul::start(["send", file, "-l", "127.0.0.1:0"]);
    let address = alice.address();
    run(["receive", inbox.path().to_str().unwrap(), "--connect", &address]).code(0);
    alice.finish().code(0);
}

#[test]
fn receiver_ends_after_so_many_transfers_or_when_nobody_comes() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let path = outbox.path().join("file");
    fs::write(&path, "x").unwrap();
    let file = path.to_str().unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &["--stop-after", "2"]);
    run(["send", file, &address]).code(0);
    run(["send", file, &address, "--name", "other"]).code(0);
    bob.finish().code(0);
    // The worst of them is the code of all.
    fs::write(&path, "y").unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &["--stop-after", "1"]);
    run(["send", file, &address]).code(4);
    bob.finish().code(4);
    for more in [["--idle-exit", "50ms"], ["--stop-after", "50ms"]] {
        let (bob, _) = Haul::receive(inbox.path(), &more);
        bob.finish().code(0);
    }
    assert_eq!(names(inbox.path()), ["file", "other"]);
}

/// Sends a file slowly, and waits until some of it has arrived.
fn slow_sender(file: &str, address: &str) -> Haul {
    let words = ["send", "--json", "--limit-rate", "256K", file, address];
    let mut alice = Haul::start(words);
    let some = |line: &str| line.contains("\"progress\"") && !line.contains("\"acknowledged\":0,");
    alice.line(some);
    alice
}

#[test]
fn receiver_that_ends_for_its_time_with_transfers_cut_off_ends_with_code_3() {
    let outbox = tempdir().unwrap();
    let path = outbox.path().join("file");
    fs::write(&path, crate::haul::content(5, 4 << 20)).unwrap();
    let file = path.to_str().unwrap();
    let lost = "haul: 1 transfer cut off, which did not come again: there may be more that has not arrived\n";
    // A sender that is killed, or that is cut off by the end itself.
    for (end, is_killed) in [("--idle-exit", true), ("--stop-after", true), ("--stop-after", false)]
    {
        let inbox = tempdir().unwrap();
        let (bob, address) = Haul::receive(inbox.path(), &[end, "3s"]);
        let alice = slow_sender(file, &address);
        if is_killed {
            alice.kill();
            let bob = bob.finish().code(3);
            assert!(bob.stderr.contains(lost), "{end} {bob:?}");
        } else {
            let bob = bob.finish().code(3);
            assert!(bob.stderr.contains(lost), "{end} {bob:?}");
            drop(alice);
        }
    }
    // One that comes again, and is done, was not lost.
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &["--idle-exit", "3s"]);
    slow_sender(file, &address).kill();
    run(["send", file, &address]).code(0);
    bob.finish().code(0);
}

#[test]
fn receiver_ends_when_idle_whatever_strangers_come_and_go() {
    let inbox = tempdir().unwrap();
    for more in [&[][..], &["--insecure"]] {
        let (bob, address) = Haul::receive(inbox.path(), &[more, &["--idle-exit", "1s"]].concat());
        let started = std::time::Instant::now();
        let address: std::net::SocketAddr = address.parse().unwrap();
        // As long as it is there, somebody has just been, or is, connected.
        let mut came = 0_u64;
        while let Ok(stream) = std::net::TcpStream::connect(address) {
            assert!(started.elapsed() < crate::common::PATIENCE, "{came} strangers keep it awake");
            came += 1;
            drop(stream);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        bob.finish().code(0);
        assert!(came > 1, "{came}");
    }
}

/// A program in the place of ssh does with its words what that does: it has a shell take them apart.
#[test]
fn send_over_ssh_reaches_a_folder_whatever_its_name() {
    let place = tempdir().unwrap();
    let bin = place.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let ssh = bin.join("ssh");
    fs::write(&ssh, "#!/bin/sh\n[ \"$1\" = me@host ] && shift && exec sh -c \"$*\"\n").unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(HAUL, bin.join("haul")).unwrap();
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for name in ["inbox", "it's $HOME; a box", "-v"] {
        let mut command = quiet(HAUL);
        let address = format!("ssh:me@host:{name}");
        command.args(["send", file.to_str().unwrap(), &address]);
        command.current_dir(place.path()).env("PATH", &path);
        Haul::spawn(command).finish().code(0);
        assert_eq!(names(&place.path().join(name)), ["file"]);
    }
}
