//! Two senders that bring one new name to one folder.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use std::{fs, thread};

use serde_json::Value;
use tempfile::tempdir;

use crate::common::{PATIENCE, is_long, poll, quiet};
use crate::haul::{Finished, HAUL, Haul, content, exec, names, tree};

const SIZE: usize = 3_000_000;

const POLICIES: [&str; 4] = ["refuse", "skip", "rename", "replace"];

/// Lets so many bytes through to the receiver, and the rest when it is told to. Gives its address.
fn gate(to: String, first: u64) -> (String, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (open, opened) = mpsc::channel();
    thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let mut far = TcpStream::connect(to).unwrap();
        let (mut back, mut answers) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let answers = thread::spawn(move || {
            drop(std::io::copy(&mut answers, &mut back));
            drop(back.shutdown(Shutdown::Both));
        });
        drop(std::io::copy(&mut (&mut near).take(first), &mut far));
        let _ = opened.recv();
        drop(std::io::copy(&mut near, &mut far));
        drop(far.shutdown(Shutdown::Both));
        answers.join().unwrap();
    });
    (address, open)
}

/// Waits until both write to the folder, each to its own partial file, and the name is still free.
fn wait_for_both(inbox: &Path) {
    poll(Instant::now() + PATIENCE, "two partial files", || {
        let names = names(inbox);
        assert!(names.iter().all(|name| name.starts_with(".haul-")), "{names:?}");
        (names.len() == 2).then_some(())
    });
}

/// Checks the reports of both, and what stands: as the policy has it, whoever was faster.
fn assert_settled(policy: &str, contents: &[Vec<u8>; 2], inbox: &Path, sent: [Finished; 2]) {
    let is_same = contents[0] == contents[1];
    let found = tree(inbox);
    let case = format!("{policy} {is_same} {sent:?}");
    let mut codes = sent.each_ref().map(|sent| sent.code);
    codes.sort_unstable();
    let expected = if policy == "refuse" && !is_same { 4 } else { 0 };
    assert_eq!(codes, [Some(0), Some(expected)], "{case}");
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    if policy == "rename" && !is_same {
        assert_eq!(names, ["a (1).bin", "a.bin"], "{case}");
        assert!(contents.iter().all(|bytes| found.values().any(|held| held == bytes)), "{case}");
    } else {
        assert_eq!(names, ["a.bin"], "{case}");
        assert!(contents.contains(&found["a.bin"]), "{case}");
    }
    let delivered = sent.iter().filter(|sent| sent.stdout.contains("delivered a.bin")).count();
    let lost = usize::from(!is_same && matches!(policy, "refuse" | "skip"));
    assert_eq!(delivered, 2 - lost, "{case}");
    if lost == 1 {
        let winner = sent.iter().position(|sent| sent.stdout.contains("delivered")).unwrap();
        assert!(found["a.bin"] == contents[winner], "{case}: what was delivered stands");
    }
}

#[test]
fn senders_to_one_receiver_with_one_new_name_are_settled_by_the_policy() {
    for policy in POLICIES {
        for seed in [1, 2] {
            let inbox = tempdir().unwrap();
            let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--existing", policy]);
            let contents = [content(1, SIZE), content(seed, SIZE)];
            let senders = contents.each_ref().map(|bytes| {
                let outbox = tempdir().unwrap();
                let file = outbox.path().join("a.bin");
                fs::write(&file, bytes).unwrap();
                let (address, open) = gate(address.clone(), SIZE as u64 / 2);
                (
                    Haul::start(["send", "--insecure", file.to_str().unwrap(), &address]),
                    open,
                    outbox,
                )
            });
            wait_for_both(inbox.path());
            let sent = senders.map(|(alice, open, outbox)| {
                open.send(()).unwrap();
                (alice, outbox)
            });
            let sent = sent.map(|(alice, _outbox)| alice.finish());
            bob.interrupt();
            bob.finish().code(130);
            assert_settled(policy, &contents, inbox.path(), sent);
        }
    }
}

#[test]
fn receivers_of_streams_in_one_folder_with_one_new_name_are_settled_by_the_policy() {
    for policy in POLICIES {
        for seed in [1, 2] {
            let inbox = tempdir().unwrap();
            let contents = [content(1, SIZE), content(seed, SIZE)];
            let address = exec(inbox.path(), &format!("--existing {policy}"));
            let senders = contents.each_ref().map(|bytes| {
                let mut command = quiet(HAUL);
                command
                    .args(["send", "--insecure", "-", "--name", "a.bin", &address])
                    .stdin(Stdio::piped());
                let mut alice = Haul::spawn(command);
                let mut stdin = alice.take_stdin();
                stdin.write_all(&bytes[..SIZE / 2]).unwrap();
                (alice, stdin, &bytes[SIZE / 2..])
            });
            wait_for_both(inbox.path());
            let sent = senders.map(|(alice, mut stdin, rest)| {
                stdin.write_all(rest).unwrap();
                alice
            });
            let sent = sent.map(Haul::finish);
            assert_settled(policy, &contents, inbox.path(), sent);
        }
    }
}

/// Two processes with one folder, each of which replaces what is there: whoever is last, it is one of both, whole.
#[test]
fn receivers_that_replace_one_name_at_once_leave_one_of_both_whole() {
    let rounds = if is_long() { 200 } else { 8 };
    let inbox = tempdir().unwrap();
    let path = inbox.path().join("a.bin");
    let old = content(0, SIZE);
    fs::write(&path, &old).unwrap();
    let address = exec(inbox.path(), "--existing replace --durability flushed");
    let mut known = vec![old];
    for round in 1..=rounds {
        let outboxes = [2 * round, 2 * round + 1].map(|seed| {
            let outbox = tempdir().unwrap();
            // Of different lengths, so that none fits where another was begun.
            let bytes = content(seed, SIZE + seed as usize);
            fs::write(outbox.path().join("a.bin"), &bytes).unwrap();
            known.push(bytes);
            outbox
        });
        let senders = outboxes.each_ref().map(|outbox| {
            let file = outbox.path().join("a.bin");
            Haul::start(["send", "--insecure", file.to_str().unwrap(), &address, "--json"])
        });
        // At any moment, the name stands for one of them.
        let is_over = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let found = fs::read(&path).expect("the name is never free");
                    assert!(known.contains(&found), "{} bytes of neither", found.len());
                }
            });
            let sent = senders.map(|alice| alice.finish().code(0));
            is_over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
            sent
        });
        let latest = &known[known.len() - 2..];
        for (sent, bytes) in sent.iter().zip(latest) {
            let events = sent.events();
            let is_receipt = |event: &&Value| event["event"] == "delivered";
            let receipt = events.iter().find(is_receipt).expect("both were receipted");
            assert_eq!(receipt["size"], bytes.len(), "{sent:?}");
            assert_eq!(receipt["blake3"], blake3::hash(bytes).to_hex().as_str(), "{sent:?}");
        }
        assert_eq!(names(inbox.path()), ["a.bin"], "{sent:?}");
        let found = fs::read(&path).unwrap();
        assert!(latest.contains(&found), "round {round}: it holds neither");
        known.drain(..known.len() - 1);
        known[0] = found;
    }
}
