//! The command killed at its k-th system call, and with the k-th one failing, by `strace`; then the same command again, which
//! may be killed too.
//!
//! A tiny transfer is traced once for all the calls that it makes; then some of them are struck, or with
//! `HAUL_LONG=1` each of them. `strace` counts by thread: the k-th call is that of whichever thread makes so many.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use tempfile::{TempDir, tempdir};

use crate::common::{is_long, lacks_strace, quiet};
use crate::haul::{Finished, HAUL, Haul, content, run, tree};
use crate::kills::whole_or_partial;
use crate::proxy::{Cut, Proxy};

/// System calls of a receiver for its store.
const STORE: &[&str] = &[
    "openat",
    "openat2",
    "mkdirat",
    "newfstatat",
    "fstat",
    "statx",
    "fstatfs",
    "flock",
    "pwrite64",
    "pread64",
    "ftruncate",
    "fchmod",
    "utimensat",
    "fsync",
    "fdatasync",
    "renameat2",
    "renameat",
    "linkat",
    "unlinkat",
    "getdents64",
];

/// System calls of a sender for its source.
const SOURCE: &[&str] =
    &["openat", "newfstatat", "fstat", "statx", "pread64", "read", "lseek", "getdents64"];

/// System calls of both for the connection, and for themselves.
const REST: &[&str] = &["recvfrom", "sendto", "shutdown", "close", "write", "clone3"];

/// Errors that each call can fail with here.
const ERRORS: &[&str] = &[
    "EIO",
    "ENOSPC",
    "EDQUOT",
    "EINTR",
    "EMFILE",
    "EACCES",
    "EROFS",
    "ENAMETOOLONG",
    "ELOOP",
    "EXDEV",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Sender,
    Receiver,
}

/// A system call and which of them, counted from 1.
type Call = (&'static str, usize);

struct Scene {
    outbox: TempDir,
    inbox: TempDir,
    sent: BTreeMap<String, Vec<u8>>,
}

impl Scene {
    /// Returns a file of three blocks, one that fits into its offer, an empty one, and a folder.
    fn new() -> Self {
        let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
        let what = outbox.path().join("what");
        fs::create_dir_all(what.join("sub")).unwrap();
        fs::write(what.join("large"), content(1, 10_000)).unwrap();
        fs::write(what.join("sub/small"), "small").unwrap();
        fs::write(what.join("empty"), "").unwrap();
        let sent = tree(outbox.path());
        Self { outbox, inbox, sent }
    }

    /// Returns one file of two blocks.
    fn tiny() -> Self {
        let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
        fs::write(outbox.path().join("what"), content(2, 5000)).unwrap();
        let sent = tree(outbox.path());
        Self { outbox, inbox, sent }
    }

    fn send(&self, address: &str) -> Vec<String> {
        let what = self.outbox.path().join("what").to_str().unwrap().to_owned();
        ["send", "--insecure", &what, address, "--block-size", "4K", "--retry-for", "0s"]
            .map(Into::into)
            .into()
    }

    fn log(&self) -> PathBuf {
        self.outbox.path().join("log")
    }

    /// Runs one transfer with `strace` at one side, with these options; returns how the sender and
    /// the receiver ended.
    fn transfer(&self, side: Side, told: &[String]) -> (Finished, Finished) {
        let (bob, address) = Haul::receive_in_clear(self.inbox.path(), &[]);
        let mut strace = quiet("strace");
        // Where cargo sets it, the loader looks for libraries in a hundred places.
        strace.env_remove("LD_LIBRARY_PATH");
        strace.arg("-f").arg("-o").arg(self.log()).args(told);
        let (alice, strace) = match side {
            Side::Sender => {
                strace.arg(HAUL).args(self.send(&address));
                (Haul::spawn(strace).finish(), None)
            }
            Side::Receiver => {
                strace.arg("-p").arg(bob.id().to_string());
                let strace = Strace::attach(strace);
                (run(self.send(&address)), Some(strace))
            }
        };
        bob.interrupt();
        let bob = bob.finish();
        drop(strace);
        (alice, bob)
    }

    /// Returns all calls of these kinds that a transfer makes on one side, from when it looks at the first
    /// file on.
    fn calls(&self, side: Side, kinds: &[&'static str]) -> Vec<Call> {
        let (alice, _) = self.transfer(side, &[]);
        alice.code(0);
        let what = self.outbox.path().join("what");
        let mut counts = BTreeMap::new();
        let mut calls = BTreeSet::new();
        let mut has_begun = side == Side::Receiver;
        for line in fs::read_to_string(self.log()).unwrap().lines() {
            let Some((thread, call)) = line.split_once(' ') else { continue };
            let name = call.trim_start().split('(').next().unwrap_or_default();
            has_begun |= name != "execve" && call.contains(what.to_str().unwrap());
            let Some(kind) = kinds.iter().find(|kind| **kind == name) else { continue };
            let count = counts.entry((thread.to_owned(), *kind)).or_insert(0);
            *count += 1;
            if has_begun {
                calls.insert((*kind, *count));
            }
        }
        assert!(calls.len() > 10, "{calls:?}");
        calls.into_iter().collect()
    }

    /// Checks what must hold whatever happened: what has a name is whole, and what was vouched for is
    /// there.
    fn check(&self, alice: &Finished) {
        whole_or_partial(self.inbox.path(), &self.sent);
        let held = tree(self.inbox.path());
        for line in alice.stdout.lines() {
            if let Some(name) = line.strip_prefix("delivered ") {
                let name = name.split(" (").next().unwrap();
                assert!(held.contains_key(name), "{name} is not there: {alice:?}");
            }
        }
    }

    /// Runs the same command again, undisturbed: all arrives, and nothing else is left.
    fn again(&self) {
        let (bob, address) = Haul::receive_in_clear(self.inbox.path(), &["--once"]);
        run(self.send(&address)).code(0);
        bob.finish().code(0);
        assert!(tree(self.inbox.path()) == self.sent, "{:?}", tree(self.inbox.path()).keys());
    }
}

/// `strace` of a process that runs. It ends with that.
struct Strace(Child);

impl Strace {
    fn attach(mut command: std::process::Command) -> Self {
        use std::io::{BufRead, BufReader};
        let mut child = command.spawn().expect("strace can be run");
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().expect("it is a pipe"));
        lines.read_line(&mut said).expect("strace says something");
        assert!(said.contains("attached"), "{said}");
        // It says so whenever there is another thread.
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self(child)
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.0.wait();
    }
}

fn told((call, k): Call, fault: &str) -> [String; 4] {
    let inject = format!("inject={call}:{fault}:when={k}");
    ["-e".into(), format!("trace={call}"), "-e".into(), inject]
}

/// Returns all of them, or about `some` that are spread evenly.
fn sample<T: Copy>(all: &[T], some: usize) -> Vec<T> {
    // Nothing in common with the number of errors, so that each of them is among the sample.
    let steps = (all.len() / some).max(1)..;
    let step = steps.into_iter().find(|step| step % 2 == 1 && step % 5 != 0).unwrap_or(1);
    all.iter().copied().step_by(if is_long() { 1 } else { step }).collect()
}

/// Kills one side at its calls; the other is told nothing.
fn kill_at_calls(side: Side, kinds: &[&'static str]) {
    if lacks_strace() {
        return;
    }
    let calls = sample(&Scene::new().calls(side, kinds), 12);
    let killed = AtomicUsize::new(0);
    at_once(&calls, |call| {
        let scene = Scene::new();
        let (alice, bob) = scene.transfer(side, &told(*call, "signal=KILL"));
        println!("{side:?} {call:?}: {:?} {:?}", alice.code, bob.code);
        let ended = match side {
            Side::Sender => alice.code,
            Side::Receiver => bob.code,
        };
        killed.fetch_add(usize::from(ended.is_none()), Ordering::Relaxed);
        scene.check(&alice);
        scene.again();
    });
    let killed = killed.into_inner();
    // Which thread does what is for the system to say: some calls may not come about a second time.
    println!("killed at {killed} of {} calls", calls.len());
    assert!(killed * 2 > calls.len(), "killed at {killed} of {} calls", calls.len());
}

/// Kills one side at its calls, and that of the next transfer at the calls that it makes then. Pairs are all, or a few.
fn kill_at_calls_and_while_going_on(side: Side, kinds: &[&'static str]) {
    if lacks_strace() {
        return;
    }
    let is_killed = |(alice, bob): &(Finished, Finished)| match side {
        Side::Sender => alice.code.is_none(),
        Side::Receiver => bob.code.is_none(),
    };
    let firsts = sample(&Scene::tiny().calls(side, kinds), 3);
    let (pairs, twice) = (AtomicUsize::new(0), AtomicUsize::new(0));
    at_once(&firsts, |&first| {
        let killed = || {
            let scene = Scene::tiny();
            let run = scene.transfer(side, &told(first, "signal=KILL"));
            scene.check(&run.0);
            (scene, is_killed(&run))
        };
        // What is asked of the system depends on what the first run has left.
        let seconds = killed().0.calls(side, kinds);
        for second in sample(&seconds, 3) {
            let (scene, is_first) = killed();
            let run = scene.transfer(side, &told(second, "signal=KILL"));
            println!("{side:?} {first:?} {second:?}: {is_first} {}", is_killed(&run));
            scene.check(&run.0);
            scene.again();
            pairs.fetch_add(1, Ordering::Relaxed);
            twice.fetch_add(usize::from(is_first && is_killed(&run)), Ordering::Relaxed);
        }
    });
    let (pairs, twice) = (pairs.into_inner(), twice.into_inner());
    println!("killed twice in {twice} of {pairs} pairs");
    assert!(twice * 3 > pairs, "killed twice in {twice} of {pairs} pairs");
}

/// Runs this with each case, a few of them at a time: the command mostly waits, until its receiver looks whether it was
/// interrupted.
fn at_once<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run(case);
                }
            });
        }
    });
}

/// Lets calls of one side fail.
fn fail_calls(side: Side, kinds: &[&'static str]) {
    if lacks_strace() {
        return;
    }
    let calls = Scene::new().calls(side, kinds);
    let calls: Vec<_> =
        calls.iter().flat_map(|call| ERRORS.iter().map(|error| (*call, *error))).collect();
    let calls = sample(&calls, 23);
    let struck = AtomicUsize::new(0);
    at_once(&calls, |(call, error)| {
        let scene = Scene::new();
        let (alice, bob) = scene.transfer(side, &told(*call, &format!("error={error}")));
        println!("{side:?} {call:?} {error}: {:?}: {} {}", alice.code, alice.stderr, bob.stderr);
        let is_struck = fs::read_to_string(scene.log()).unwrap().contains("(INJECTED)");
        struck.fetch_add(usize::from(is_struck), Ordering::Relaxed);
        scene.check(&alice);
        if alice.code == Some(0) {
            assert!(tree(scene.inbox.path()) == scene.sent, "{:?}", tree(scene.inbox.path()));
        } else {
            // Both sides name the entry, and the receiver goes on; or there is no descriptor for any.
            let is_short = |side: &Finished| side.stderr.contains("too few file descriptors");
            let names = |side: &Finished, name| side.stderr.contains(name) || is_short(side);
            assert!(names(&alice, "what"), "{alice:?}");
            assert!(names(&bob, ": what") || side == Side::Sender, "{bob:?}");
            bob.code(130);
        }
        scene.again();
    });
    let struck = struck.into_inner();
    println!("{struck} of {} calls failed", calls.len());
    assert!(struck * 2 > calls.len(), "{struck} of {} calls failed", calls.len());
}

#[test]
fn receiver_killed_at_a_system_call_same_command_completes() {
    kill_at_calls(Side::Receiver, &[STORE, REST].concat());
}

#[test]
fn sender_killed_at_a_system_call_same_command_completes() {
    kill_at_calls(Side::Sender, &[SOURCE, REST].concat());
}

#[test]
fn receiver_killed_at_a_system_call_and_again_while_it_goes_on_same_command_completes() {
    kill_at_calls_and_while_going_on(Side::Receiver, &[STORE, REST].concat());
}

#[test]
fn sender_killed_at_a_system_call_and_again_while_it_goes_on_same_command_completes() {
    kill_at_calls_and_while_going_on(Side::Sender, &[SOURCE, REST].concat());
}

#[test]
fn receiver_system_call_that_fails_is_reported_and_same_command_completes() {
    fail_calls(Side::Receiver, STORE);
}

#[test]
fn sender_system_call_that_fails_is_reported_and_same_command_completes() {
    fail_calls(Side::Sender, SOURCE);
}

/// The system may show from its cache what the device does not hold, and say at the next sync that all is well.
#[test]
fn receiver_sync_that_fails_partial_file_is_gone_and_every_byte_travels_again() {
    if lacks_strace() {
        return;
    }
    for may_remove in [true, false] {
        let scene = Scene::new();
        let mut told = vec!["-e", "trace=fsync,unlinkat", "-e", "inject=fsync:error=EIO"];
        if !may_remove {
            told.extend(["-e", "inject=unlinkat:error=EIO"]);
        }
        let told: Vec<_> = told.into_iter().map(Into::into).collect();
        let (alice, bob) = scene.transfer(Side::Receiver, &told);
        for name in ["what/large", "what/sub/small", "what/empty"] {
            let words = format!("{name} is refused: the receiver could not sync");
            assert!(alice.stderr.contains(&words) && bob.stderr.contains(&words), "{alice:?}");
        }
        alice.code(3);
        let held = tree(scene.inbox.path());
        // Where it cannot be removed, it is emptied.
        assert!(held.values().all(Vec::is_empty), "{held:?}");
        assert!(!may_remove || held.keys().all(|name| name.ends_with('/')), "{held:?}");
        let (bob, address) = Haul::receive_in_clear(scene.inbox.path(), &["--once"]);
        let proxy = Proxy::new(&address, Cut::Fin, []);
        run(scene.send(&proxy.address)).code(0);
        bob.finish().code(0);
        let size: usize = scene.sent.values().map(Vec::len).sum();
        assert_eq!(proxy.carried().content, size as u64);
        assert!(tree(scene.inbox.path()) == scene.sent);
    }
}

/// A call with which one operation of a receiver's store fails.
struct Operation {
    name: &'static str,
    call: &'static str,
    words: &'static str,
    /// Content that the receiver holds under the name `what`, and content that is sent.
    held: Option<Vec<u8>>,
    sent: Sent,
    receive: &'static [&'static str],
    send: &'static [&'static str],
}

enum Sent {
    File(Vec<u8>),
    /// A folder with a file of this name.
    Below(&'static str),
    /// A folder with a link of this name.
    Link(&'static str),
}

impl Operation {
    fn of(name: &'static str, call: &'static str, words: &'static str) -> Self {
        let sent = Sent::File(content(2, 5000));
        Self { name, call, words, held: None, sent, receive: &[], send: &[] }
    }

    fn all() -> Vec<Self> {
        let block = content(3, 4096);
        let (old, new) = ([&*block, b"old"].concat(), [&*block, b"new"].concat());
        let padded = [&*block, &[0; 8192]].concat();
        vec![
            Self::of("open", "openat", "could not open it"),
            Self::of("stat", "newfstatat", "could not look at it"),
            Self {
                sent: Sent::Below("file"),
                ..Self::of("create_folder", "mkdirat", "could not create a folder for it")
            },
            Self {
                sent: Sent::Link("link"),
                receive: &["--allow-links"],
                send: &["--links", "preserve"],
                ..Self::of("create_link", "symlinkat", "could not create it as a link")
            },
            Self {
                held: Some(b"held".into()),
                sent: Sent::File(b"held".into()),
                ..Self::of("read", "pread64", "could not read what it holds of it")
            },
            Self::of("write", "pwrite64", "could not write it"),
            Self {
                held: Some(old),
                sent: Sent::File(new),
                receive: &["--existing", "replace"],
                ..Self::of("copy", "copy_file_range", "could not copy what stays the same of it")
            },
            Self {
                sent: Sent::File(padded),
                ..Self::of("truncate", "ftruncate", "could not set its size")
            },
            Self::of("sync", "fsync", "could not sync"),
            Self::of("rename", "renameat2", "could not rename it"),
        ]
    }

    /// Returns the reports of both sides when each such call fails, and the name of the entry.
    fn fail(&self) -> (Finished, Finished, String) {
        let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
        let what = outbox.path().join("what");
        let path = match &self.sent {
            Sent::File(bytes) => {
                fs::write(&what, bytes).unwrap();
                "what".into()
            }
            Sent::Below(name) => {
                fs::create_dir(&what).unwrap();
                fs::write(what.join(name), content(4, 5000)).unwrap();
                format!("what/{name}")
            }
            Sent::Link(name) => {
                fs::create_dir(&what).unwrap();
                std::os::unix::fs::symlink("nowhere", what.join(name)).unwrap();
                format!("what/{name}")
            }
        };
        if let Some(bytes) = &self.held {
            fs::write(inbox.path().join("what"), bytes).unwrap();
        }
        let (bob, address) =
            Haul::receive_in_clear(inbox.path(), &[&["--json"], self.receive].concat());
        let mut strace = quiet("strace");
        let call = self.call;
        strace.arg("-f").args(["-e", &format!("trace={call}")]).env_remove("LD_LIBRARY_PATH");
        strace.args(["-e", &format!("inject={call}:error=EIO"), "-o", "/dev/null"]);
        strace.arg("-p").arg(bob.id().to_string());
        let strace = Strace::attach(strace);
        let what = what.to_str().unwrap();
        let send = [
            "send",
            "--insecure",
            "--json",
            what,
            &address,
            "--block-size",
            "4K",
            "--retry-for",
            "0s",
        ];
        let alice = run([&send, self.send].concat());
        bob.interrupt();
        let bob = bob.finish();
        drop(strace);
        (alice, bob, path)
    }
}

#[test]
fn each_operation_of_the_store_that_fails_is_named_with_its_path_at_both_sides() {
    if lacks_strace() {
        return;
    }
    for operation in Operation::all() {
        let Operation { name, words, .. } = &operation;
        let (alice, bob, path) = operation.fail();
        assert_eq!(alice.code, Some(3), "{name}: {alice:?}");
        for side in [&alice, &bob] {
            // A folder stands for what is below it.
            let is_folder = *name == "create_folder";
            let shown = path.split('/').next().filter(|_| is_folder).unwrap_or(&path);
            let line = format!("{shown} is refused: the receiver {words}");
            let told = side.stderr.lines().find(|told| told.contains(&line));
            let told = told.unwrap_or_else(|| panic!("{name}: {line:?} is not in {side:?}"));
            let end = if is_folder { "; and 1 below it" } else { "" };
            let end = format!(": Input/output error{end}");
            assert!(told.ends_with(&end), "{name}: {told}");
            let events = side.events();
            let refused =
                events.iter().find(|event| event["path"] == *path && event["event"] == "refused");
            assert_eq!(refused.unwrap()["operation"], *name, "{refused:?}");
        }
    }
}
