//! Number of system calls that a small file costs at either end, counted by `strace`: time on a machine that others
//! use tells little.
//!
//! Counted over two trees, so that what a session costs whatever it carries falls out of the difference.

use std::fs;
use std::path::Path;

use tempfile::{TempDir, tempdir};

use crate::common::{lacks_strace, quiet};
use crate::haul::{HAUL, Haul, content, exec, run, tree};

/// Files of less than a block, in a few folders.
fn outbox(files: usize) -> TempDir {
    let outbox = tempdir().unwrap();
    for number in 0..files {
        let folder = outbox.path().join(format!("t/d{}", number % 4));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(number.to_string()), content(number as u64, 1000)).unwrap();
    }
    outbox
}

/// Returns the calls that the summary of `strace -c` counts. Left out are how often threads wait for one another,
/// which is the machine's matter, and what the standard library of a debug build asks before each `close`.
fn calls(log: &Path) -> usize {
    let summary = fs::read_to_string(log).unwrap();
    assert!(summary.ends_with("total\n"), "{summary}");
    let lines = summary.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let counts = lines.filter_map(|columns| {
        let (count, name) = (columns.get(3)?.parse::<usize>().ok()?, *columns.last()?);
        (!matches!(name, "total" | "futex" | "fcntl")).then_some(count)
    });
    counts.sum()
}

/// Asserts how many calls ten files more cost. `trace`: sends a tree into a folder, with one end counted in a log.
fn assert_ten_cost_at_most(most: usize, trace: impl Fn(&Path, &Path, &Path)) {
    let count = |files| {
        let (outbox, inbox, logs) = (outbox(files), tempdir().unwrap(), tempdir().unwrap());
        let log = logs.path().join("log");
        trace(&outbox.path().join("t"), inbox.path(), &log);
        assert!(tree(inbox.path()) == tree(outbox.path()));
        calls(&log)
    };
    let (few, many) = (count(FILES), count(2 * FILES));
    let ten = many.saturating_sub(few) * 10 / FILES;
    println!("{ten} calls for ten files");
    assert!(ten <= most, "{few} calls for {FILES} files, {many} for twice as many");
}

/// Sends a tree twice, the second time with the receiver's calls counted.
fn again(what: &Path, inbox: &Path, log: &Path, options: &[&str]) {
    let address = exec(inbox, "-q --durability received");
    let send = |address: &str| {
        let mut args = vec!["send", "-q", what.to_str().unwrap(), address];
        args.extend(options);
        run(args).code(0);
    };
    send(&address);
    let strace = format!("exec:strace -f -c -o '{}' ", log.display());
    send(&address.replacen("exec:", &strace, 1));
}

#[test]
fn receiver_makes_no_more_system_calls_for_a_small_file_than_it_did() {
    if lacks_strace() {
        return;
    }
    assert_ten_cost_at_most(RECEIVER, |what, inbox, log| {
        let strace = format!("exec:strace -f -c -o '{}' ", log.display());
        let address = exec(inbox, "-q --durability received").replacen("exec:", &strace, 1);
        run(["send", what.to_str().unwrap(), &address, "-q"]).code(0);
    });
}

#[test]
fn receiver_makes_no_more_system_calls_for_a_file_that_it_has_by_its_time_than_it_did() {
    if lacks_strace() {
        return;
    }
    assert_ten_cost_at_most(UNCHANGED, |what, inbox, log| {
        again(what, inbox, log, &["--trust-times"])
    });
}

#[test]
fn receiver_makes_no_more_system_calls_for_a_file_that_it_has_than_it_did() {
    if lacks_strace() {
        return;
    }
    assert_ten_cost_at_most(EQUAL, |what, inbox, log| again(what, inbox, log, &[]));
}

#[test]
fn sender_makes_no_more_system_calls_for_a_small_file_than_it_did() {
    if lacks_strace() {
        return;
    }
    assert_ten_cost_at_most(SENDER, |what, inbox, log| {
        let receive = ["--once", "--durability", "received"];
        let (bob, address) = Haul::receive(inbox, &receive);
        let mut strace = quiet("strace");
        strace.args(["-f", "-c", "-o"]).arg(log).arg(HAUL).arg("send").arg(what);
        strace.args([&address, "-q"]);
        Haul::spawn(strace).finish().code(0);
        bob.finish().code(0);
    });
}

/// Calls at the receiver for ten files two folders down: to see that nothing has the name, to make a file without one, write to
/// it, give it its time and its name, prove its folder (three), and close it.
const RECEIVER: usize = 92;

/// Calls at the receiver for ten files that it has: to find each, look at it, open it, look again, read it, find it once more, and
/// close what was opened.
const EQUAL: usize = 101;

/// Calls at the receiver for ten files that it has by their times: to find each, with no link on the way, and to look at it.
const UNCHANGED: usize = 31;

/// Calls at the sender for ten files: to open a file, look at it, read it, look again, and close it.
const SENDER: usize = 51;

const FILES: usize = 400;
