//! What a list names, and what patterns take in.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::common::quiet;
use crate::haul::{Finished, HAUL, Haul, exec, names, run, run_with};

/// Returns a folder with files, and runs `haul send` with these words in it.
fn outbox() -> TempDir {
    let outbox = tempdir().unwrap();
    for name in ["a/b/c.txt", "a/b/d.tmp", "a/e.txt", "f", "two words\nand a line"] {
        let path = outbox.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    symlink("f", outbox.path().join("link")).unwrap();
    outbox
}

fn send(outbox: &Path, list: &str, inbox: &Path, more: &[&str]) -> Finished {
    fs::write(outbox.join("list"), list).unwrap();
    let mut command = quiet(HAUL);
    command.args(["send", "-T", "list", &exec(inbox, "-q")]).args(more);
    Haul::spawn(command_in(command, outbox)).finish()
}

fn command_in(mut command: std::process::Command, folder: &Path) -> std::process::Command {
    command.current_dir(folder);
    command
}

#[test]
fn list_is_sent_as_it_is_and_nothing_else() {
    let (outbox, inbox) = (outbox(), tempdir().unwrap());
    // As find has it: the folder itself first, and folders before what they hold.
    let list = ".\n./a\n./a/b\na/b/c.txt\n\n./f\nf\nlink\n";
    let sent = send(outbox.path(), list, inbox.path(), &[]).code(0);
    assert!(sent.stdout.contains("\n2 files, "), "{sent:?}");
    assert_eq!(names(inbox.path()), ["a/", "a/b/", "a/b/c.txt", "f"]);
    assert_eq!(fs::read_to_string(inbox.path().join("a/b/c.txt")).unwrap(), "a/b/c.txt");
    let times = ["a", "a/b"].map(|folder| {
        [outbox.path(), inbox.path()]
            .map(|at| at.join(folder).metadata().unwrap().modified().unwrap())
    });
    assert!(times.iter().all(|[here, there]| here == there), "folders are given their times last");
    send(outbox.path(), "link\n", inbox.path(), &["--links", "follow"]).code(0);
    assert_eq!(names(inbox.path()), ["a/", "a/b/", "a/b/c.txt", "f", "link"]);
}

#[test]
fn list_from_standard_input_with_nul_and_absolute_names() {
    let (outbox, inbox) = (outbox(), tempdir().unwrap());
    let line = outbox.path().join("two words\nand a line");
    let list = format!("{}\0", line.display()).into_bytes();
    let address = exec(inbox.path(), "-q");
    run_with(["send", "-0", "--files-from", "-", &address], list).code(0);
    let name = line.strip_prefix("/").unwrap().to_str().unwrap();
    assert_eq!(fs::read_to_string(inbox.path().join(name)).unwrap(), "two words\nand a line");
}

#[test]
fn list_with_what_cannot_be_sent_sends_the_rest_and_ends_with_code_1() {
    let (outbox, inbox) = (outbox(), tempdir().unwrap());
    let list = "none\n../up\nf\n/dev/null\nlink\n";
    let sent = send(outbox.path(), list, inbox.path(), &["--json"]).code(1);
    let events: Vec<Value> =
        sent.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| -> Vec<&str> {
        let events = events.iter().filter(|event| event["event"] == kind);
        events.map(|event| event["path"].as_str().unwrap()).collect()
    };
    assert!(sent.stderr.contains("haul: none is not sent: there is no such file\n"), "{sent:?}");
    assert_eq!(of("withdrawn"), ["none", "../up", "/dev/null"]);
    assert_eq!((of("skipped"), of("delivered")), (vec!["link"], vec!["f"]));
    assert_eq!(names(inbox.path()), ["f"]);
    // Nothing is no error, and nobody is asked for it.
    let nothing = send(outbox.path(), "\n", Path::new("/nowhere"), &[]).code(0);
    assert_eq!(nothing.stdout, "there is nothing to send\n");
}

#[test]
fn list_with_two_files_of_one_name_tells_of_the_second_and_counts_it() {
    let (outbox, inbox) = (outbox(), tempdir().unwrap());
    let one = outbox.path().join("f");
    // Its name without the first slash is that of a file below the current folder.
    let below = outbox.path().join(one.strip_prefix("/").unwrap());
    fs::create_dir_all(below.parent().unwrap()).unwrap();
    fs::write(&below, "another").unwrap();
    let [one, name] = [&one, one.strip_prefix("/").unwrap()].map(|path| path.to_str().unwrap());
    let list = format!("{one}\n{name}\nlink\nnone\n{name}\n{one}\nf\n");
    let sent = send(outbox.path(), &list, inbox.path(), &[]).code(1);
    let told =
        format!("haul: {name} is not sent: another file of the list has the name {name}, too");
    assert_eq!(sent.stderr.matches(&told).count(), 2, "{sent:?}");
    assert!(sent.stdout.contains("2 files, ") && sent.stdout.contains("1 skipped; 3 not sent"));
    assert_eq!(fs::read_to_string(inbox.path().join(name)).unwrap(), "f", "the first is sent");
    let sent = send(outbox.path(), &list, inbox.path(), &["--json"]).code(1);
    let events = sent.events();
    let finished = events.iter().find(|event| event["event"] == "finished").unwrap();
    assert_eq!((&finished["skipped"], &finished["withdrawn"]), (&1.into(), &3.into()));
    // The same file under two names, and a second name of it, are no loss.
    let inbox = tempdir().unwrap();
    fs::hard_link(outbox.path().join("f"), outbox.path().join("g")).unwrap();
    fs::remove_file(&below).unwrap();
    fs::hard_link(outbox.path().join("f"), &below).unwrap();
    send(outbox.path(), &format!("{one}\n{name}\ng\n"), inbox.path(), &[]).code(0);
    assert_eq!(fs::read_to_string(inbox.path().join("g")).unwrap(), "f");
}

#[test]
fn list_goes_through_links_to_folders_only_if_links_are_followed() {
    let (outbox, inbox) = (outbox(), tempdir().unwrap());
    symlink("a", outbox.path().join("l")).unwrap();
    let absolute = outbox.path().join("l/e.txt");
    let list = format!("l/e.txt\nl/b/c.txt\na/e.txt\n./l/b\nl\n{}\n", absolute.display());
    let sent = send(outbox.path(), &list, inbox.path(), &["--json"]).code(0);
    let events = sent.events();
    let of = |kind: &str| -> Vec<&str> {
        let events = events.iter().filter(|event| event["event"] == kind);
        events.map(|event| event["path"].as_str().unwrap()).collect()
    };
    assert_eq!(of("skipped"), ["l/e.txt", "l/b/c.txt", "./l/b", "l"]);
    let absolute = absolute.strip_prefix("/").unwrap().to_str().unwrap();
    // Receipts come in any order.
    let (mut delivered, mut expected) = (of("delivered"), ["a/e.txt", absolute]);
    delivered.sort_unstable();
    expected.sort_unstable();
    assert_eq!(delivered, expected, "the way of an absolute name is the system's");
    send(outbox.path(), &list, inbox.path(), &["--links", "follow"]).code(0);
    assert_eq!(fs::read_to_string(inbox.path().join("l/b/c.txt")).unwrap(), "a/b/c.txt");
}

#[test]
fn list_is_read_line_by_line_and_what_is_none_is_told() {
    let (outbox, inbox) = (outbox(), tempdir().unwrap());
    let nul = send(outbox.path(), "f\na/e.txt\0f\0", inbox.path(), &[]).code(2);
    nul.one_error(&["the list list has a NUL in line 2", "give -0"]);
    let long = "x".repeat(64 * 1024 + 1);
    let sent = send(outbox.path(), &format!("f\n{long}\n"), inbox.path(), &[]).code(1);
    sent.one_error(&["cannot read the list list: name 2 is longer than 65536 bytes"]);
    let sent = send(outbox.path(), &long, inbox.path(), &["-0"]).code(1);
    sent.one_error(&["name 1 is longer than 65536 bytes; names end with a NUL in it, for -0"]);
    assert!(names(inbox.path()).is_empty());
    let sent = send(outbox.path(), &format!("f\n{}\n", &long[1..]), inbox.path(), &[]).code(1);
    assert!(sent.stderr.contains("File name too long") || sent.stderr.contains("too long"));
    assert_eq!(names(inbox.path()), ["f"]);
    // A list without an end, and without a line.
    let mut command = quiet(HAUL);
    command.args(["send", "-T", "/dev/zero", &exec(inbox.path(), "-q")]);
    Haul::spawn(command).finish().code(2).one_error(&["has a NUL in line 1"]);
}

#[test]
fn list_in_wrong_use_is_told() {
    for (arguments, said) in [
        ("--files-from", "a value is required"),
        ("--files-from list", "give where to send it, too: haul send --files-from FILE ADDR"),
        ("--files-from list a host:1", "no PATH"),
        ("--files-from list --listen :0 a", "no PATH"),
        ("--files-from /no/list host:1", "cannot read the list /no/list: No such file"),
        ("--files-from list --name a host:1", "cannot be used with"),
        ("--files-from list --links preserve host:1", "sent whole"),
        ("a host:1 --null", "--files-from"),
        (". host:1 --include !b", "leave things out with --exclude"),
        (". host:1 --include b --exclude *", "all else is left out"),
        ("a/. host:1 --include b", "name the folder"),
    ] {
        let arguments = ["send"].into_iter().chain(arguments.split(' '));
        let wrong = run(arguments.clone());
        let code = if arguments.clone().any(|word| word == "/no/list") { 1 } else { 2 };
        wrong.code(code).one_error(&[said]);
    }
}

#[test]
fn include_takes_what_matches_and_no_folders_without_it() {
    let (outbox, inbox) = (outbox(), tempdir().unwrap());
    let tree = outbox.path().join("a");
    fs::create_dir_all(tree.join("empty/er")).unwrap();
    fs::create_dir_all(tree.join("keep")).unwrap();
    fs::write(tree.join("keep/any"), "x").unwrap();
    let address = exec(inbox.path(), "-q");
    let words = ["send", tree.to_str().unwrap(), &address, "--include", "*.txt"];
    let sent = run(words.into_iter().chain(["--include", "keep/", "--exclude", "e.*"])).code(0);
    assert!(sent.stdout.contains("\n2 files, "), "{sent:?}");
    assert_eq!(names(inbox.path()), ["a/", "a/b/", "a/b/c.txt", "a/keep/", "a/keep/any"]);
    let none =
        run(["send", tree.to_str().unwrap(), &address, "--include", "*.jpg", "--json"]).code(1);
    none.one_error(&["no file matches --include '*.jpg'"]);
    run(["send", tree.join("e.txt").to_str().unwrap(), &address, "--include", "*.jpg"]).code(0);
    let more = ["--include", "*.jpg", "--include", "*.gif"];
    let none = send(outbox.path(), "f\n", inbox.path(), &more).code(1);
    none.one_error(&["no file matches --include '*.jpg' or '*.gif'"]);
    // Of a list, what is excluded with a folder on the way is left out as well.
    let inbox = tempdir().unwrap();
    let more = ["--include", "*.txt", "--exclude", "b/"];
    send(outbox.path(), "a/b/c.txt\na/e.txt\nf\n", inbox.path(), &more).code(0);
    assert_eq!(names(inbox.path()), ["a/", "a/e.txt"]);
}
