//! Existing files, under each policy.

use std::fs;

use haul::store::MemorySource;
use haul::transport::Connector;
use haul::transport::tcp::TcpConnector;
use haul::{Config, Transfer};
use tempfile::tempdir;

use crate::haul::{Haul, exec, run, tree};

/// Sends "new" to a folder that holds "old" under the same name. Gives the code, and what then stands there.
fn meet(policy: &str) -> (crate::haul::Finished, Vec<(String, String)>) {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("a.txt");
    fs::write(&file, "new").unwrap();
    fs::write(inbox.path().join("a.txt"), "old").unwrap();
    let address = exec(inbox.path(), policy);
    let sent = run(["send", file.to_str().unwrap(), &address]);
    let held = tree(inbox.path()).into_iter();
    let held = held.map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect();
    (sent, held)
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn existing_file_is_refused_unless_told_otherwise() {
    for policy in ["", "--existing refuse"] {
        let (sent, held) = meet(policy);
        sent.code(4).one_error(&["a.txt is refused", "a different file exists", "--existing"]);
        assert_eq!(held, pairs(&[("a.txt", "old")]));
    }
}

#[test]
fn existing_file_is_skipped_without_an_error() {
    let (sent, held) = meet("--existing skip");
    let sent = sent.code(0);
    assert!(sent.stdout.contains("1 skipped") && sent.faults().is_empty(), "{sent:?}");
    assert_eq!(held, pairs(&[("a.txt", "old")]));
}

#[test]
fn existing_file_gets_a_neighbour() {
    let (sent, held) = meet("--existing rename");
    let sent = sent.code(0);
    assert!(sent.stdout.contains("delivered a.txt as a (1).txt"), "{sent:?}");
    assert_eq!(held, pairs(&[("a (1).txt", "new"), ("a.txt", "old")]));
}

#[test]
fn existing_file_is_replaced() {
    let (sent, held) = meet("--existing replace");
    sent.code(0);
    assert_eq!(held, pairs(&[("a.txt", "new")]));
}

#[test]
fn existing_equal_file_is_a_success_under_each_policy() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("a.txt");
    fs::write(&file, "same").unwrap();
    fs::write(inbox.path().join("a.txt"), "same").unwrap();
    for policy in ["refuse", "skip", "rename", "replace"] {
        let address = exec(inbox.path(), &format!("--existing {policy}"));
        let sent = run(["send", file.to_str().unwrap(), &address]).code(0);
        assert!(sent.stdout.contains("there already"), "{sent:?}");
        assert_eq!(tree(inbox.path()).len(), 1);
    }
}

#[test]
fn receiver_that_refused_ends_with_the_same_code() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("a.txt");
    fs::write(&file, "new").unwrap();
    fs::write(inbox.path().join("a.txt"), "old").unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &["--once"]);
    run(["send", file.to_str().unwrap(), &address]).code(4);
    bob.finish().code(4).one_error(&["127.0.0.1:", "a.txt is refused"]);
}

#[test]
fn receiver_that_refused_says_so_though_a_stranger_sent_nothing_before() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("a.txt");
    fs::write(&file, "new").unwrap();
    fs::write(inbox.path().join("a.txt"), "old").unwrap();
    let (mut bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
    let stream = TcpConnector::new(address.parse().unwrap()).connect().unwrap();
    let nothing = Transfer::new(Config::default()).send(&mut MemorySource::new(), stream).unwrap();
    assert!(nothing.is_complete());
    bob.line(|line| line.starts_with("0 files, 0 B received"));
    run(["send", "--insecure", file.to_str().unwrap(), &address]).code(4);
    bob.finish().code(4);
}
