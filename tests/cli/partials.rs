//! What never came to its end: listed, removed, and removed by its age.

use std::fs::{self, File};

use tempfile::tempdir;

use crate::common::quiet;
use crate::haul::{HAUL, Haul, exec, names, run};
use crate::wrong::Mount;

const LEFT: &str = ".haul-0123456789abcdef.part";

#[test]
fn partials_are_listed_and_purged_but_for_those_in_use() {
    let place = tempdir().unwrap();
    let inbox = place.path().join("inbox");
    fs::create_dir_all(inbox.join("a/b")).unwrap();
    fs::write(inbox.join("a/b").join(LEFT), "half of it").unwrap();
    fs::write(inbox.join(LEFT), "busy").unwrap();
    fs::write(inbox.join("whole"), "whole").unwrap();
    fs::write(inbox.join(".haul-notes.part"), "not one").unwrap();
    let other = place.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join(LEFT), "of another folder").unwrap();
    std::os::unix::fs::symlink(&other, inbox.join("link")).unwrap();
    let busy = File::open(inbox.join(LEFT)).unwrap();
    busy.try_lock().unwrap();
    let haul = |more: &[&str]| {
        let mut command = quiet(HAUL);
        command.args(["partials", "inbox"]).args(more).current_dir(place.path());
        Haul::spawn(command).finish().code(0).stdout
    };
    let lines = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let listed = lines(&haul(&[]));
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert!(
        listed[1].starts_with("     10 B  ")
            && listed[1].ends_with(&format!(" s  inbox/a/b/{LEFT}"))
    );
    assert!(
        listed[0].starts_with("      4 B  ")
            && listed[0].ends_with(&format!("inbox/{LEFT}  in use"))
    );
    assert!(listed[2].starts_with("2 partial files, ") && listed[2].ends_with(" on the disk"));
    assert_eq!(haul(&["--older-than", "1d", "--purge"]), "no partial files\n");
    let purged = haul(&["--purge"]);
    assert!(purged.contains("\n1 partial file removed, "), "{purged}");
    assert!(purged.ends_with("; 1 in use, which stay\n"), "{purged}");
    assert_eq!(names(&inbox.join("a")), ["b/"]);
    drop(busy);
    haul(&["--purge"]);
    fs::remove_file(inbox.join("link")).unwrap();
    assert_eq!(names(&inbox), [".haul-notes.part", "a/", "a/b/", "whole"]);
    assert_eq!(names(&other), [LEFT], "no link is followed");
    let none = place.path().join("none");
    run(["partials", none.to_str().unwrap()]).code(1).one_error(&["none: No such file"]);
}

#[test]
fn partials_in_json_are_one_event_each_and_a_sum() {
    let inbox = tempdir().unwrap();
    let [busy, left] = ["a", "b"].map(|folder| {
        fs::create_dir(inbox.path().join(folder)).unwrap();
        let path = inbox.path().join(folder).join(LEFT);
        fs::write(&path, vec![7; 5000]).unwrap();
        path
    });
    let lock = File::open(&busy).unwrap();
    lock.try_lock().unwrap();
    let folder = inbox.path().to_str().unwrap();
    for (more, purged) in [(None, false), (Some("--purge"), true), (Some("--purge"), true)] {
        let was_there = left.exists();
        let words = ["partials", folder, "--json"].into_iter().chain(more);
        let mut events = run(words).code(0).events();
        let sum = events.pop().unwrap();
        assert_eq!(sum["event"], "partials");
        let files = if purged { u64::from(was_there) } else { 2 };
        assert_eq!((&sum["files"], &sum["kept"]), (&files.into(), &u64::from(purged).into()));
        events.sort_by_key(|event| event["path"].to_string());
        let facts: Vec<_> = events
            .iter()
            .map(|event| {
                assert_eq!((&event["event"], &event["size"]), (&"partial".into(), &5000.into()));
                (&event["path"], &event["in_use"], &event["removed"])
            })
            .collect();
        let [busy, left] = [&busy, &left].map(|path| path.to_str().unwrap().into());
        let of_left = (&left, &false.into(), &purged.into());
        let all = [(&busy, &true.into(), &false.into()), of_left];
        assert_eq!(facts, all[..events.len()]);
        assert_eq!(events.len(), 1 + usize::from(was_there));
    }
    let none = inbox.path().join("none");
    let failed = run(["partials", none.to_str().unwrap(), "--json"]).code(1);
    assert_eq!(failed.events()[0]["event"], "failed");
}

#[test]
fn partial_that_cannot_be_removed_is_told_apart_from_one_in_use() {
    let Some(mount) = Mount::new("size=1m") else { return };
    fs::write(mount.path().join(LEFT), "left").unwrap();
    let remounted = quiet("mount").args(["-o", "remount,ro"]).arg(mount.path()).status();
    assert!(remounted.unwrap().success());
    let purged = run(["partials", mount.path().to_str().unwrap(), "--purge"]).code(1);
    let purged = purged.one_error(&["cannot remove ", LEFT, "this user may not"]);
    assert!(!purged.stdout.contains("in use"), "{purged:?}");
}

#[test]
fn partials_expire_at_the_age_that_a_receiver_was_given() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let file = outbox.path().join("file");
    fs::write(&file, "x").unwrap();
    fs::write(inbox.path().join(LEFT), "left").unwrap();
    for (name, age, there) in [
        ("a", "never", vec![LEFT, "a"]),
        ("b", "7d", vec![LEFT, "a", "b"]),
        ("c", "0s", vec!["a", "b", "c"]),
    ] {
        let address = exec(inbox.path(), &format!("--expire-partials {age}"));
        run(["send", file.to_str().unwrap(), &address, "--name", name]).code(0);
        assert_eq!(names(inbox.path()), there);
    }
    run(["receive", "--expire-partials", "soon"]).code(2).one_error(&["write a time such as"]);
}
