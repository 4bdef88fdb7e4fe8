//! Folders: what of them travels, what is left out, and how that is said.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::haul::{content, exec, names, run};

/// Returns a folder `t` in a new one.
fn outbox() -> (TempDir, String) {
    let outbox = tempdir().unwrap();
    let tree = outbox.path().join("t");
    fs::create_dir(&tree).unwrap();
    let path = tree.to_str().unwrap().to_owned();
    (outbox, path)
}

fn event<'a>(events: &'a [Value], kind: &str, path: &str) -> &'a Value {
    let found = events.iter().find(|event| event["event"] == kind && event["path"] == path);
    found.unwrap_or_else(|| panic!("no {kind} of {path} in {events:?}"))
}

fn set_time(path: &Path, nanos: u32) {
    let time = UNIX_EPOCH + Duration::new(1_234_567_890, nanos);
    File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn tree_keeps_modes_times_empty_folders_hard_links_holes_and_odd_names() {
    let (outbox, tree) = outbox();
    let root = outbox.path().join("t");
    fs::create_dir_all(root.join("empty/er")).unwrap();
    fs::write(root.join("run"), "#!/bin/sh").unwrap();
    fs::write(root.join("private"), "p").unwrap();
    fs::hard_link(root.join("run"), root.join("twin")).unwrap();
    let odd = OsStr::from_bytes(b"\xff\xfe name");
    fs::write(root.join(odd), "odd").unwrap();
    let sparse = File::create_new(root.join("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    sparse.write_all_at(b"end", (48 << 20) + 7).unwrap();
    let modes = [("run", 0o755), ("private", 0o600), ("empty", 0o700), ("sparse", 0o644)];
    for (name, mode) in modes {
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let dated = ["run", "private", "sparse", "empty/er", "empty", ""];
    for (name, nanos) in dated.into_iter().zip(123_456_789..) {
        set_time(&root.join(name), nanos);
    }
    let inbox = tempdir().unwrap();
    let sent = run(["send", &tree, &exec(inbox.path(), "")]).code(0);
    assert!(sent.stdout.contains("\n5 files, 64 MiB: 256 KiB sent ("), "{sent:?}");
    let copy = inbox.path().join("t");
    for (name, mode) in modes {
        assert_eq!(copy.join(name).metadata().unwrap().mode() & 0o7777, mode, "{name}");
    }
    for name in dated {
        let times = [&root, &copy].map(|at| {
            let meta = at.join(name).metadata().unwrap();
            (meta.mtime(), meta.mtime_nsec())
        });
        assert_eq!(times[0], times[1], "{name}");
    }
    for name in ["run", "twin", "private"].map(OsStr::new).iter().chain([&odd]) {
        assert_eq!(fs::read(copy.join(name)).unwrap(), fs::read(root.join(name)).unwrap());
    }
    let held = copy.join("sparse").metadata().unwrap();
    assert_eq!(held.len(), 64 << 20);
    assert!(held.blocks() * 512 < 4 << 20, "{} blocks", held.blocks());
    let mut end = [0; 3];
    File::open(copy.join("sparse")).unwrap().read_exact_at(&mut end, (48 << 20) + 7).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn tree_with_links_sends_what_the_policy_says_and_tells_what_it_skips() {
    let (outbox, tree) = outbox();
    let root = outbox.path().join("t");
    fs::write(root.join("a"), "a").unwrap();
    fs::write(outbox.path().join("secret"), "s").unwrap();
    symlink("a", root.join("in")).unwrap();
    let inbox = tempdir().unwrap();
    let address = exec(inbox.path(), "");

    let text = run(["send", &tree, &address]).code(0);
    assert!(text.stdout.contains("t/in is skipped: a link, and links are not sent"), "{text:?}");
    assert!(
        text.stdout.contains("\n1 file, 1 B sent (") && text.stdout.contains("; 1 skipped"),
        "{text:?}"
    );
    assert_eq!(text.stderr, "");
    let sent = run(["send", "--json", "--links", "skip", &tree, &address]).code(0).events();
    assert_eq!(event(&sent, "skipped", "t/in")["reason"], "a link, and links are not sent");
    let finished = sent.last().unwrap();
    assert_eq!((&finished["skipped"], &finished["withdrawn"]), (&json!(1), &json!(0)));

    run(["send", "--links", "follow", &tree, &address]).code(0);
    assert!(inbox.path().join("t/in").symlink_metadata().unwrap().is_file());

    // Links are preserved where the receiver takes them, and they stay inside.
    let other = tempdir().unwrap();
    let refused = run(["send", "--links", "preserve", &tree, &exec(other.path(), "")]);
    assert!(refused.code(4).stderr.contains("t/in is refused"));
    let address = exec(other.path(), "--allow-links");
    run(["send", "--links", "preserve", &tree, &address]).code(0);
    assert_eq!(fs::read_link(other.path().join("t/in")).unwrap(), Path::new("a"));
    symlink("../secret", root.join("out")).unwrap();
    let sent = run(["send", "--links", "preserve", &tree, &address]).code(1);
    sent.one_error(&["t/out is not sent", "out of the tree"]);
    assert_eq!(names(other.path()), ["t/", "t/a", "t/in"]);
}

#[test]
fn tree_with_what_cannot_be_sent_goes_on_and_ends_with_code_1() {
    let (outbox, tree) = outbox();
    let root = outbox.path().join("t");
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    fs::write(root.join("a:b"), "").unwrap();
    fs::write(root.join("z"), "z").unwrap();
    let inbox = tempdir().unwrap();
    let sent = run(["send", "--json", &tree, &exec(inbox.path(), "")]).code(1);
    assert_eq!(sent.stderr.lines().count(), 2, "{sent:?}");
    let events = sent.events();
    event(&events, "withdrawn", "t/socket");
    event(&events, "withdrawn", "t/a:b");
    assert_eq!(events.last().unwrap()["withdrawn"], 2);
    assert_eq!(names(inbox.path()), ["t/", "t/z"]);
    // What the user leaves out is no failure.
    run(["send", "--exclude", "socket", "--exclude", "?:*", &tree, &exec(inbox.path(), "")])
        .code(0);
}

#[test]
fn tree_skips_partial_files_of_haul() {
    let (outbox, tree) = outbox();
    fs::write(outbox.path().join("t/.haul-0123456789abcdef.part"), "half").unwrap();
    let inbox = tempdir().unwrap();
    let sent = run(["send", &tree, &exec(inbox.path(), "")]).code(0);
    assert!(sent.stdout.contains(".part is skipped: a partial file of haul"), "{sent:?}");
    assert_eq!(names(inbox.path()), ["t/"]);
}

#[test]
fn tree_without_what_is_excluded_is_sent_and_bad_patterns_are_wrong_usage() {
    let (outbox, tree) = outbox();
    let root = outbox.path().join("t");
    for name in ["a.c", "a.o", "out/x", "sub/out/y", "sub/b.o", "sub/.gitignore"] {
        fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        fs::write(root.join(name), content(1, 10)).unwrap();
    }
    fs::write(root.join("sub/.gitignore"), "/out\n").unwrap();
    let with = |options: &[&str]| {
        let inbox = tempdir().unwrap();
        let address = exec(inbox.path(), "");
        let sent = run([&["send"], options, &[&tree, &address]].concat()).code(0);
        assert_eq!(sent.stderr, "");
        names(inbox.path()).into_iter().filter(|name| !name.ends_with('/')).collect::<Vec<_>>()
    };
    let excluded = with(&["--exclude", "*.o", "--exclude", "!/sub/b.o", "--exclude", "/out"]);
    assert_eq!(excluded, ["t/a.c", "t/sub/.gitignore", "t/sub/b.o", "t/sub/out/y"]);
    let ignored = with(&["--ignore-files"]);
    assert_eq!(ignored, ["t/a.c", "t/a.o", "t/out/x", "t/sub/.gitignore", "t/sub/b.o"]);
    for pattern in ["", "a[", "#"] {
        run(["send", "--exclude", pattern, &tree, ":1"]).code(2).one_error(&["--exclude"]);
    }
    // What cannot be honoured is told, and is no success.
    fs::write(root.join(".ignore"), "a[\n").unwrap();
    let inbox = tempdir().unwrap();
    let sent = run(["send", "--ignore-files", &tree, &exec(inbox.path(), "")]).code(1);
    sent.one_error(&["/t is sent: .ignore cannot be honoured: line 1"]);
}

#[test]
fn tree_that_is_unchanged_is_verified_or_trusted_as_was_asked() {
    let (outbox, tree) = outbox();
    let root = outbox.path().join("t");
    for (seed, size) in [0, 10, 300_000].into_iter().enumerate() {
        fs::write(root.join(format!("{size}")), content(seed as u64, size)).unwrap();
        set_time(&root.join(format!("{size}")), 5);
    }
    let inbox = tempdir().unwrap();
    let copy = inbox.path().join("t");
    let address = exec(inbox.path(), "");
    run(["send", &tree, &address]).code(0);

    // By default all is read, nothing travels, and there are receipts.
    let again = run(["send", "--json", &tree, &address]).code(0).events();
    assert_eq!(again.iter().filter(|event| event["event"] == "delivered").count(), 3);
    assert_eq!(again.last().unwrap()["unchanged"], 0);
    assert!(!again.iter().any(|event| event["event"] == "unchanged"));

    // One that nobody could notice without reading it: that is what is trusted.
    let other = content(9, 10);
    fs::write(copy.join("10"), &other).unwrap();
    set_time(&copy.join("10"), 5);
    let text = run(["send", "--trust-times", &tree, &address]).code(0);
    assert!(!text.stdout.contains("delivered t/10"), "{text:?}");
    assert!(text.stdout.contains("\n0 files, 0 B sent ("), "{text:?}");
    assert!(text.stdout.contains("; 3 unchanged by size and time, not verified"), "{text:?}");
    let line = "unchanged t/300000 (300000 bytes by size and time, not verified)\n";
    assert!(text.stdout.contains(line), "{text:?}");
    let events = run(["send", "--trust-times", "--json", &tree, &address]).code(0).events();
    assert_eq!(event(&events, "unchanged", "t/300000")["size"], 300_000);
    let finished = events.last().unwrap();
    assert_eq!((&finished["unchanged"], &finished["files"]), (&json!(3), &json!(0)));
    assert_eq!(fs::read(copy.join("10")).unwrap(), other);

    // A nanosecond is a change; what then happens is the receiver's policy.
    set_time(&copy.join("10"), 6);
    let refused = run(["send", "--trust-times", &tree, &address]).code(4);
    refused.one_error(&["t/10 is refused", "a different file exists"]);
    let address = exec(inbox.path(), "--existing replace");
    run(["send", "--trust-times", &tree, &address]).code(0);
    assert_eq!(fs::read(copy.join("10")).unwrap(), content(1, 10));
    // A link in its place is no file of this size and time.
    fs::rename(copy.join("300000"), inbox.path().join("aside")).unwrap();
    symlink("../aside", copy.join("300000")).unwrap();
    run(["send", "--trust-times", &tree, &address]).code(4).one_error(&["t/300000 is refused"]);
}
