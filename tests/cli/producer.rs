//! What a command writes, sent with how it ended: `--from-command`.

use std::fs;
use std::path::Path;
use std::time::Instant;

use tempfile::tempdir;

use crate::common::{PATIENCE, assert_same, poll};
use crate::haul::{Finished, Haul, content, exec, names, run, run_with};
use crate::proxy::{Cut, Proxy};

/// Sends what a line for the shell writes, under the name `out`, into a folder.
fn produce(line: &str, inbox: &Path, more: &[&str]) -> Finished {
    let far = exec(inbox, "--existing replace");
    run([&["send", "--name", "out", &far], more, &["--from-command", "sh", "-c", line]].concat())
}

/// Returns the names that programs look at.
fn shown(folder: &Path) -> Vec<String> {
    names(folder).into_iter().filter(|name| !name.starts_with(".haul-")).collect()
}

#[test]
fn command_that_succeeds_is_a_file_of_its_name_or_another() {
    let inbox = tempdir().unwrap();
    let far = exec(inbox.path(), "");
    // Its standard input is that of haul, and its standard error too; what is behind ";" is no word of it.
    let fed = run_with(["send", &far, "--from-command", "cat", ";", "--json"], b"fed".to_vec());
    let fed = fed.code(0);
    assert!(fed.events().iter().any(|event| event["event"] == "delivered"), "{fed:?}");
    let line = "printf '%s' \"$0 $1\"; echo note >&2";
    let words = ["send", "--name", "out", &far, "--from-command", "sh", "-c", line, "a b", "--c"];
    let sent = run(words).code(0);
    assert_eq!(sent.stderr, "note\n");
    run(["send", &far, "--from-command", "true"]).code(0);
    assert_eq!(names(inbox.path()), ["cat", "out", "true"]);
    assert_eq!(fs::read(inbox.path().join("cat")).unwrap(), b"fed");
    assert_eq!(fs::read(inbox.path().join("out")).unwrap(), b"a b --c");
    assert_eq!(fs::read(inbox.path().join("true")).unwrap(), b"");
}

#[test]
fn command_that_fails_gives_nothing_a_name_whatever_it_wrote() {
    for (line, how) in [
        ("echo much; exit 3", "exit status: 3"),
        ("exit 1", "exit status: 1"),
        ("echo much; kill -KILL $$", "signal: 9 (SIGKILL)"),
        ("echo much; exec >&-; exit 4", "exit status: 4"),
        ("head -c 3000000 /dev/zero; no-such-command", "exit status: 127"),
    ] {
        let inbox = tempdir().unwrap();
        let told = format!("out is not sent: sh failed: {how}");
        let sent = produce(line, inbox.path(), &[]).code(1);
        assert!(sent.stderr.contains(&told), "{sent:?}");
        assert_eq!(shown(inbox.path()), [""; 0], "{line}");
        // Nor does it take the place of what is there.
        fs::write(inbox.path().join("out"), "of yesterday").unwrap();
        let sent = produce(line, inbox.path(), &["--json"]).code(1);
        let events = sent.events();
        let withdrawn = events.iter().find(|event| event["event"] == "withdrawn").unwrap();
        assert_eq!(withdrawn["reason"], format!("sh failed: {how}"));
        assert_eq!(fs::read(inbox.path().join("out")).unwrap(), b"of yesterday");
    }
}

#[test]
fn command_that_cannot_run_is_told_before_anybody_is_reached() {
    let place = tempdir().unwrap();
    let file = place.path().join("file");
    fs::write(&file, "no program").unwrap();
    let nobody = format!("unix:{}", place.path().join("nobody").display());
    for (program, told) in [
        ("no-such-command", "--from-command: there is no command 'no-such-command' in PATH"),
        ("/no/such/command", "there is no command '/no/such/command': No such file"),
        (file.to_str().unwrap(), "is no program that this user may run"),
    ] {
        run(["send", &nobody, "--from-command", program]).code(2).one_error(&[told]);
    }
    run(["send", "--from-command", "true"]).code(2).one_error(&["give where to send it, too"]);
    let words = ["send", "file", &nobody, "--from-command", "true"];
    run(words).code(2).one_error(&["it is the command that makes what to send, and no PATH"]);
    let words = ["send", &nobody, "--plain", "--from-command", "true"];
    run(words).code(2).one_error(&["--plain"]);
}

#[test]
fn command_does_not_run_where_there_is_no_receiver() {
    let place = tempdir().unwrap();
    let log = place.path().join("log");
    let nobody = format!("unix:{}", place.path().join("nobody").display());
    run(["send", &nobody, "--from-command", "touch", log.to_str().unwrap()]).code(3);
    assert!(!log.exists());
}

#[test]
fn command_goes_on_over_a_lost_connection_and_waits_for_a_slow_receiver() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (file, log) = (outbox.path().join("file"), outbox.path().join("log"));
    // More than is kept of a stream.
    let bytes = content(11, 9 << 20);
    fs::write(&file, &bytes).unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--limit-rate", "8M"]);
    let proxy = Proxy::new(&address, Cut::Fin, [3 << 20]);
    let line = format!("echo run >> '{}'; cat '{}'", log.display(), file.display());
    let words = ["send", "--insecure", &proxy.address, "--name", "out", "--from-command", "sh"];
    run(words.into_iter().chain(["-c", &line])).code(0);
    assert_eq!(proxy.carried().cuts, 1);
    assert_eq!(fs::read_to_string(&log).unwrap(), "run\n", "it runs once");
    assert_same(&fs::read(inbox.path().join("out")).unwrap(), &bytes);
    drop(bob);
}

#[test]
fn command_ends_with_the_transfer_that_is_given_up() {
    for (trap, signals) in [("", 1), ("trap '' TERM INT", 1), ("trap '' TERM INT", 2)] {
        let (place, inbox) = (tempdir().unwrap(), tempdir().unwrap());
        let log = place.path().join("log");
        let line = format!(
            "{trap}\necho much; echo $$ > '{0}.new'; mv '{0}.new' '{0}'; while :; do sleep 1; done",
            log.display()
        );
        let far = exec(inbox.path(), "");
        let alice = Haul::start(["send", &far, "--from-command", "sh", "-c", &line]);
        let deadline = Instant::now() + PATIENCE;
        let number = poll(deadline, "no command runs", || fs::read_to_string(&log).ok());
        for _ in 0..signals {
            alice.interrupt();
            alice.says("stopping");
        }
        alice.finish().code(130);
        // It was reaped, or is no child of anybody who is there.
        let stat = fs::read_to_string(format!("/proc/{}/stat", number.trim()));
        assert!(stat.is_err(), "{stat:?}");
        assert_eq!(shown(inbox.path()), [""; 0]);
    }
}
