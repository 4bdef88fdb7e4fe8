//! Either side with few file descriptors, by the soft limit or by the hard one as well.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;

use tempfile::tempdir;

use crate::common::quiet;
use crate::haul::{HAUL, Haul, content, exec, names, run, tree};

/// Files of less and of more than a block, at the bottom of a tree and on the way.
fn deep(root: &Path, depth: usize, branches: usize) {
    for branch in 0..branches {
        let folder = root.join(format!("b{branch}")).join(vec!["d"; depth - 2].join("/"));
        fs::create_dir_all(&folder).unwrap();
        for number in 0..20 {
            let len = if number % 5 == 0 { 300_000 } else { 100 };
            let above = folder.ancestors().nth(number % 3).unwrap();
            fs::write(above.join(format!("{branch}-{number}")), content(number as u64, len))
                .unwrap();
        }
    }
}

/// Returns the command, and a receiver that it starts, with this limit.
fn limited(kind: &str, limit: usize, arguments: &[&str]) -> Command {
    let mut command = quiet("sh");
    let script = format!("ulimit {kind} {limit} && exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(HAUL).args(arguments);
    command
}

#[test]
fn sender_with_few_descriptors_sends_a_deep_tree() {
    for (depth, branches) in [(40, 4), (100, 2)] {
        let outbox = tempdir().unwrap();
        let root = outbox.path().join("t");
        deep(&root, depth, branches);
        for kind in ["-Sn", "-n"] {
            for limit in [20, 32, 80] {
                let inbox = tempdir().unwrap();
                let address = exec(inbox.path(), "");
                let to = [root.to_str().unwrap(), &address, "-q", "--retry-for", "0s"];
                let arguments = [&["send"], &to[..]].concat();
                let sent = Haul::spawn(limited(kind, limit, &arguments)).finish();
                let case = format!("{depth} {kind} {limit}: {}", sent.stderr);
                assert_eq!((sent.code, &*sent.stderr), (Some(0), ""), "{case}");
                assert_eq!(tree(inbox.path()), tree(outbox.path()), "{case}");
            }
        }
    }
}

#[test]
fn receiver_with_few_descriptors_takes_and_replaces_a_deep_tree() {
    for (depth, branches) in [(40, 4), (100, 2)] {
        let outbox = tempdir().unwrap();
        let root = outbox.path().join("t");
        deep(&root, depth, branches);
        for kind in ["-Sn", "-n"] {
            for limit in [32, 80] {
                let inbox = tempdir().unwrap();
                let old = inbox.path().join("t");
                deep(&old, depth, branches);
                // What is there differs in its last block, or is longer.
                for number in [0, 1, 2, 5] {
                    let name = format!("b1/{}/1-{number}", vec!["d"; depth - 2].join("/"));
                    if let Ok(mut bytes) = fs::read(old.join(&name)) {
                        bytes.extend_from_slice(b"older");
                        fs::write(old.join(name), bytes).unwrap();
                    }
                }
                let limit_there = format!("exec:ulimit {kind} {limit}; ");
                // All of it is new in the second folder.
                let fresh = tempdir().unwrap();
                for inbox in [&inbox, &fresh] {
                    let address = exec(inbox.path(), "--existing replace");
                    let address = address.replacen("exec:", &limit_there, 1);
                    let sent =
                        run(["send", root.to_str().unwrap(), &address, "-q", "--retry-for", "0s"]);
                    let case = format!("{depth} {kind} {limit}: {}", sent.stderr);
                    assert_eq!((sent.code, &*sent.stderr), (Some(0), ""), "{case}");
                    assert_eq!(tree(inbox.path()), tree(outbox.path()), "{case}");
                }
            }
        }
    }
}

#[test]
fn sender_without_any_descriptor_left_says_which_limit_to_raise() {
    let outbox = tempdir().unwrap();
    deep(&outbox.path().join("t"), 40, 1);
    let root = outbox.path().join("t");
    let mut failed = 0;
    // How many the command has open itself depends on what it was started with.
    for limit in 8..=16 {
        let inbox = tempdir().unwrap();
        let address = exec(inbox.path(), "");
        let arguments = ["send", root.to_str().unwrap(), &address, "-q", "--retry-for", "0s"];
        let sent = Haul::spawn(limited("-n", limit, &arguments)).finish();
        if sent.code != Some(0) && !sent.stderr.contains("error while loading") {
            failed += 1;
            assert!(sent.stderr.contains("ulimit -n"), "{limit}: {sent:?}");
        }
        assert!(!names(inbox.path()).iter().any(|name| name.ends_with(".part")), "{limit}");
    }
    assert!(failed > 0);
}

#[test]
fn receiver_that_cannot_start_leaves_no_socket() {
    let mut failed = 0;
    // How many the command has open itself depends on what it was started with.
    for limit in 4..=24 {
        let folder = tempdir().unwrap();
        let (inbox, socket) = (folder.path().join("in"), folder.path().join("socket"));
        fs::create_dir(&inbox).unwrap();
        let address = format!("unix:{}", socket.display());
        let arguments = ["receive", inbox.to_str().unwrap(), "--listen", &address];
        let mut bob = limited("-n", limit, &arguments).spawn().unwrap();
        let lines = BufReader::new(bob.stdout.take().unwrap()).lines().map_while(Result::ok);
        let listens = lines.into_iter().any(|line| line.contains("listening"));
        if listens {
            bob.kill().unwrap();
        } else {
            failed += 1;
        }
        bob.wait().unwrap();
        assert!(listens || !socket.exists(), "{limit}");
    }
    assert!((1..21).contains(&failed), "{failed}");
}

#[test]
fn partials_of_a_deep_tree_are_listed_with_few_descriptors() {
    let inbox = tempdir().unwrap();
    let folder = inbox.path().join(vec!["d"; 300].join("/"));
    fs::create_dir_all(&folder).unwrap();
    for above in folder.ancestors().take(301) {
        fs::write(above.join(".haul-0123456789abcdef.part"), "x").unwrap();
    }
    let arguments = ["partials", inbox.path().to_str().unwrap()];
    let listed = Haul::spawn(limited("-n", 24, &arguments)).finish().code(0);
    assert!(listed.stdout.contains("\n301 partial files, ") && listed.stderr.is_empty());
}
