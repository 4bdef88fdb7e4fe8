//! Commands that run for what has arrived: `--then`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::haul::{Haul, run};

/// Makes a program that writes its arguments and the facts, a line for each run, to a file beside it.
fn program(place: &TempDir) -> (String, std::path::PathBuf) {
    let (program, log) = (place.path().join("note"), place.path().join("log"));
    let facts =
        "$HAUL_EVENT $HAUL_NAME $HAUL_SIZE $HAUL_DURABILITY $HAUL_OUTCOME $HAUL_FILES $HAUL_CODE";
    let text = format!(
        "#!/bin/sh\necho \"$* | {facts}\" >> '{}'\necho noise\n[ \"$HAUL_NAME\" != bad ]\n",
        log.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program.to_str().unwrap().to_owned(), log)
}

fn send(file: &Path, address: &str, name: &str) {
    run(["send", "-q", file.to_str().unwrap(), address, "--name", name]).code(0);
}

#[test]
fn command_runs_for_each_file_with_its_path_and_facts_and_its_failure_is_told() {
    let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (program, log) = program(&place);
    let file = place.path().join("file");
    fs::write(&file, "12345").unwrap();
    let folder = std::path::absolute(inbox.path()).unwrap().display().to_string();
    let then = ["--stop-after", "3", "--then", &program, "--at", "{}", ";", "--json"];
    let (bob, address) = Haul::receive(inbox.path(), &then);
    for name in ["a b;$(x)", "a b;$(x)", "bad"] {
        send(&file, &address, name);
    }
    let bob = bob.finish().code(1);
    let lines = fs::read_to_string(&log).unwrap();
    let line = |name: &str, outcome: &str| {
        format!("--at {folder}/{name} | received {name} 5 synced {outcome}  \n")
    };
    let expected = [("a b;$(x)", "stored"), ("a b;$(x)", "held"), ("bad", "stored")];
    assert_eq!(lines, expected.map(|(name, outcome)| line(name, outcome)).concat());
    assert!(!bob.stdout.contains("noise") && bob.stderr.contains("noise\n"), "{bob:?}");
    let told = format!("haul: --then {program} failed for {folder}/bad: exit status: 1");
    assert!(bob.stderr.contains(&told), "{bob:?}");
    let events = bob.events();
    assert!(events.iter().any(|event| event["event"] == "failed" && event["code"] == 1));
}

#[test]
fn command_runs_for_each_transfer_or_is_reported_missing() {
    let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (program, log) = program(&place);
    let file = place.path().join("file");
    fs::write(&file, "12345").unwrap();
    let words = ["--once", "--then-per", "transfer", "--then", &program, "{}"];
    let (bob, address) = Haul::receive(inbox.path(), &words);
    send(&file, &address, "a");
    bob.finish().code(0);
    let folder = std::path::absolute(inbox.path()).unwrap();
    let expected = format!("{} | finished     1 0\n", folder.display());
    assert_eq!(fs::read_to_string(&log).unwrap(), expected);
    // It was there when the receiver began.
    let (bob, address) = Haul::receive(inbox.path(), &["--once", "--then", &program]);
    fs::remove_file(&program).unwrap();
    send(&file, &address, "a");
    let bob = bob.finish().code(1);
    let told = format!("haul: --then {program} failed for {}/a: ", folder.display());
    assert!(bob.stderr.contains(&told), "{bob:?}");
    assert!(bob.stderr.contains(": the command cannot be started: No such file"), "{bob:?}");
    run(["receive", "--then-per", "file"]).code(2).one_error(&["--then"]);
    run(["receive", "--plain", "x", "--then", "true"]).code(2).one_error(&["--plain"]);
}
