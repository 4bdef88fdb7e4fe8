//! Commands that run for what has arrived: `--then`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use tempfile::{TempDir, tempdir};

use crate::common::{PATIENCE, config_folder, poll, quiet};
use crate::haul::{HAUL, Haul, exec, run};

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

/// Makes a program that never ends, nor what it starts, even if it is asked to. It writes the numbers of both to a file.
fn stuck(place: &TempDir) -> (String, PathBuf) {
    let (program, log) = (place.path().join("stuck"), place.path().join("numbers"));
    let text = format!(
        "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho $! $$ > '{0}.new'\nmv '{0}.new' '{0}'\nwait\nwait\n",
        log.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (program.to_str().unwrap().to_owned(), log)
}

/// Waits until a stuck program runs. Returns the processes.
fn running(log: &Path) -> Vec<String> {
    let numbers =
        poll(Instant::now() + PATIENCE, "no command runs", || fs::read_to_string(log).ok());
    numbers.split_whitespace().map(str::to_owned).collect()
}

/// Waits until all of these have ended; what nobody waits for may stay as a name.
fn assert_gone(processes: &[String]) {
    let is_gone = |id: &String| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.starts_with(" Z"))
    };
    poll(Instant::now() + PATIENCE, "a process is left", || {
        processes.iter().all(is_gone).then_some(())
    });
}

#[test]
fn command_that_hangs_keeps_no_sender_waiting_and_ends_by_a_signal_with_all_told() {
    let (place, outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap());
    let (program, log) = stuck(&place);
    // More than wait in memory.
    let count = 4500;
    for number in 0..count {
        fs::write(outbox.path().join(number.to_string()), "x").unwrap();
    }
    let words = ["--durability", "received", "--then-grace", "2s", "--then", &program, "{}"];
    let (bob, address) = Haul::receive(inbox.path(), &words);
    let folder = format!("{}/.", outbox.path().display());
    run(["send", "-q", &folder, &address]).code(0);
    let processes = running(&log);
    // Nor does another one wait.
    send(&outbox.path().join("1"), &address, "another");
    bob.signal("-TERM");
    let bob = bob.finish().code(1);
    assert_gone(&processes);
    let count = |text: &str| bob.stderr.matches(text).count();
    assert_eq!(count(&format!("haul: --then {program} was not run for ")), 10, "{bob:?}");
    assert_eq!(count(&format!("haul: nor was --then {program} run for 4490 more\n")), 1, "{bob:?}");
    assert_eq!(count("it was killed, as the receiver was to end"), 1, "{bob:?}");
    assert!(count(&format!("haul: waiting for --then {program} for 1 s: it runs for ")) <= 1);
}

#[test]
fn command_that_hangs_is_killed_by_the_second_signal_and_what_waits_is_told() {
    let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (program, log) = stuck(&place);
    let file = place.path().join("file");
    fs::write(&file, "x").unwrap();
    let words = ["--then-grace", "1h", "--then", &program];
    let (bob, address) = Haul::receive(inbox.path(), &words);
    for name in ["a", "b", "c"] {
        send(&file, &address, name);
    }
    let processes = running(&log);
    bob.interrupt();
    bob.says(&format!("haul: waiting for --then {program} for 1 s: it runs for "));
    bob.says("/a, and 2 more are to run; it is killed in ");
    bob.interrupt();
    let bob = bob.finish().code(130);
    assert_gone(&processes);
    assert!(bob.stderr.contains(&format!("haul: --then {program} was killed for ")), "{bob:?}");
    for name in ["b", "c"] {
        let told = format!("/{name}, as the receiver was to end\n");
        assert!(bob.stderr.contains(&told), "{bob:?}");
    }
}

#[test]
fn command_that_hangs_has_its_time_at_every_end_of_a_receiver() {
    let (place, outbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (program, log) = stuck(&place);
    let file = outbox.path().join("file");
    fs::write(&file, "x").unwrap();
    let then = ["--then-grace", "50ms", "--then", &program];
    for end in [&["--once"][..], &["--stop-after", "1"], &["--idle-exit", "1ms"]] {
        let inbox = tempdir().unwrap();
        let (bob, address) = Haul::receive(inbox.path(), &[end, &then].concat());
        // One that ends for want of senders may be gone before it is reached.
        if end[0] == "--idle-exit" {
            bob.finish().code(0);
            continue;
        }
        send(&file, &address, "a");
        let bob = bob.finish().code(1);
        // It may not have been started by then.
        let told = bob.stderr.contains("it was killed") || bob.stderr.contains("was not run for");
        assert!(told, "{end:?} {bob:?}");
        if let Ok(numbers) = fs::read_to_string(&log) {
            assert_gone(&numbers.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        }
    }
    // With the other end of a pipe, which knows nothing of it.
    let inbox = tempdir().unwrap();
    let more = format!("--then-grace 0s --then '{program}' ';'");
    run(["send", "-q", file.to_str().unwrap(), &exec(inbox.path(), &more)]).code(0);
    run(["receive", "--then-grace", "1s"]).code(2).one_error(&["--then"]);
}

#[test]
fn command_has_the_facts_of_its_file_and_no_others_nor_secrets() {
    let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (file, log) = (place.path().join("file"), place.path().join("log"));
    fs::write(&file, "x").unwrap();
    let mut alice =
        Haul::start(["send", "--json", "--listen", "127.0.0.1:0", file.to_str().unwrap()]);
    let address = alice.address();
    let ticket = alice.line(|line| line.contains("ticket"));
    let ticket: serde_json::Value = serde_json::from_str(&ticket).unwrap();
    let mut bob = quiet(HAUL);
    let script = format!("env > '{}'", log.display());
    bob.arg("receive").arg(inbox.path()).args([
        "--ticket",
        "env:MY_WAY",
        "--then",
        "sh",
        "-c",
        &script,
    ]);
    bob.env("MY_WAY", ticket["ticket"].as_str().unwrap());
    // Facts of a command of another receiver, which started this one.
    for stale in ["EVENT", "FILES", "CODE", "SKIPPED", "OUTCOME", "NAME", "PEER"] {
        bob.env(format!("HAUL_{stale}"), "stale");
    }
    Haul::spawn(bob).finish().code(0);
    alice.finish().code(0);
    let environment = fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = environment.lines().collect();
    assert!(!environment.contains("stale") && !environment.contains("haul://"), "{environment}");
    let facts = lines.iter().filter(|line| line.starts_with("HAUL_")).count();
    let key = run(["key"]).code(0).stdout;
    let key = key.lines().last().unwrap();
    let expected = [
        "HAUL_EVENT=received",
        "HAUL_NAME=file",
        "HAUL_SIZE=1",
        "HAUL_DURABILITY=synced",
        "HAUL_OUTCOME=stored",
        &format!("HAUL_PEER={address}"),
        &format!("HAUL_KEY={key}"),
        "HAUL_PEER_NAME=this user",
        &format!("HAUL_CONFIG_DIR={}", config_folder().display()),
    ];
    for line in expected {
        assert!(lines.contains(&line), "no {line} in {environment}");
    }
    let others = ["HAUL_FILE=", "HAUL_BLAKE3=", "HAUL_FOLDER="];
    assert!(others.iter().all(|name| environment.contains(name)));
    assert_eq!(facts, expected.len() + others.len(), "{environment}");
}

#[test]
fn command_that_a_killed_receiver_did_not_run_runs_once_the_file_is_confirmed_again() {
    let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (program, log) = program(&place);
    let (stuck, numbers) = stuck(&place);
    let file = place.path().join("file");
    fs::write(&file, "12345").unwrap();
    let (bob, address) = Haul::receive(inbox.path(), &["--then", &stuck]);
    send(&file, &address, "a");
    send(&file, &address, "b");
    let processes = running(&numbers);
    bob.kill();
    // Nobody else ends what the killed one has started.
    for process in &processes {
        quiet("kill").args(["-KILL", process]).status().unwrap();
    }
    let (bob, address) = Haul::receive(inbox.path(), &["--stop-after", "4", "--then", &program]);
    let name = ["--name", "b"];
    for more in [&["--trust-times"][..], &[]] {
        let words = ["send", "-q", file.to_str().unwrap(), &address].into_iter();
        run(words.chain(name).chain(more.iter().copied())).code(0);
    }
    let was_run = || fs::read_to_string(&log).unwrap_or_default().lines().count();
    poll(Instant::now() + PATIENCE, "it is not run", || (was_run() > 0).then_some(()));
    let trusted = ["send", "-q", file.to_str().unwrap(), &address, "--trust-times"];
    run(trusted.into_iter().chain(name)).code(0);
    send(&file, &address, "c");
    bob.finish().code(0);
    let lines = fs::read_to_string(&log).unwrap();
    let facts: Vec<_> =
        lines.lines().map(|line| line.rsplit("| ").next().unwrap().trim()).collect();
    assert_eq!(facts, ["received b 5 synced held", "received c 5 synced stored"]);
}

#[test]
fn command_for_a_transfer_runs_when_one_that_was_cut_has_come_again() {
    let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (program, log) = program(&place);
    let file = place.path().join("file");
    fs::write(&file, crate::haul::content(3, 4 << 20)).unwrap();
    let words = ["--stop-after", "1", "--then-per", "transfer", "--then", &program];
    let (bob, address) = Haul::receive(inbox.path(), &words);
    let words = ["send", "-q", file.to_str().unwrap(), &address];
    let mut alice = Haul::start([&words[..], &["--limit-rate", "1M", "--json"]].concat());
    alice.line(|line| line.contains("\"progress\""));
    alice.kill();
    bob.says(&format!("{} ", "haul:"));
    assert!(!log.exists(), "it is not over");
    run(words).code(0);
    bob.finish().code(0);
    assert_eq!(fs::read_to_string(&log).unwrap(), " | finished     1 0\n");
}
