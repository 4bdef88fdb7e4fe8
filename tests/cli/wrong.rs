//! Bad input of every kind: one line that says what and where, the right code, and nothing left behind.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::tempdir;

use crate::common::{photo_path, quiet};
use crate::haul::{HAUL, Haul, content, exec, names, run, tree};

fn photo() -> String {
    photo_path().to_str().unwrap().to_owned()
}

#[test]
fn send_to_unknown_host_fails_fast() {
    let start = Instant::now();
    let failed = run(["send", "--insecure", &photo(), "no-such-host.invalid:7117"]).code(3);
    failed.one_error(&["cannot connect", "no-such-host.invalid:7117", "check the address"]);
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// The runtime opens the null device in the place of what is closed, which would be an empty file.
#[test]
fn standard_input_that_is_closed_is_not_sent_as_an_empty_file() {
    for closed in ["<&-", "<>/dev/null"] {
        for plain in ["", "--plain"] {
            let script = format!("exec \"$0\" send {plain} - 127.0.0.1:1 {closed}");
            let output = quiet("sh").args(["-c", &script, HAUL]).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{script}: {stderr}");
            assert!(stderr.contains("standard input is closed"), "{script}: {stderr}");
        }
    }
}

#[test]
fn standard_input_that_is_empty_is_an_empty_file() {
    let to = tempdir().unwrap();
    let far = exec(to.path(), "");
    let script = "exec \"$0\" send - \"$1\" < /dev/null";
    let sh = quiet("sh").args(["-c", script, HAUL, &far]).output().unwrap();
    assert_eq!(sh.status.code(), Some(0), "{}", String::from_utf8_lossy(&sh.stderr));
    assert_eq!(fs::read(to.path().join("stdin")).unwrap(), b"");
}

#[test]
fn send_where_nobody_listens_fails_at_once_and_says_what_to_start() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let start = Instant::now();
    let failed = run(["send", "--insecure", &photo(), &address]).code(3);
    failed.one_error(&[&address, "refused", "haul receive"]);
    assert!(start.elapsed() < Duration::from_secs(5));

    let folder = tempdir().unwrap();
    let socket = format!("unix:{}", folder.path().join("none").display());
    run(["send", "--insecure", &photo(), &socket]).code(3).one_error(&[&socket, "No such file"]);
}

#[test]
fn send_where_nobody_listens_is_tried_for_as_long_as_was_asked() {
    let folder = tempdir().unwrap();
    let socket = format!("unix:{}", folder.path().join("none").display());
    let start = Instant::now();
    let failed =
        run(["send", "--insecure", &photo(), &socket, "--retry-for", "1500ms", "--json"]).code(3);
    let took = start.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_secs(10)).contains(&took), "{took:?}");
    let events = failed.events();
    let retries: Vec<_> = events.iter().filter(|event| event["event"] == "retry").collect();
    assert!(!retries.is_empty(), "{events:?}");
    assert_eq!(retries[0]["attempt"], 2);
    assert!(retries[0]["cause"].as_str().unwrap().contains("cannot connect"));
}

#[test]
fn send_with_patience_waits_for_its_receiver() {
    let (folder, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let socket = format!("unix:{}", folder.path().join("socket").display());
    let mut alice =
        Haul::start(["send", "--insecure", &photo(), &socket, "--retry-for", "30s", "--json"]);
    alice.line(|line| line.contains("\"retry\""));
    let bob = Haul::start([
        "receive",
        "--insecure",
        inbox.path().to_str().unwrap(),
        "--listen",
        &socket,
        "--once",
    ]);
    alice.finish().code(0);
    bob.finish().code(0);
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
}

#[test]
fn receive_on_a_port_in_use_says_so() {
    let inbox = tempdir().unwrap();
    let (_bob, address) = Haul::receive_in_clear(inbox.path(), &[]);
    let folder = inbox.path().to_str().unwrap();
    let failed = run(["receive", "--insecure", folder, "--listen", &address]).code(1);
    failed.one_error(&[&address, "in use", "--listen"]);
    let far = run(["receive", "--insecure", folder, "--listen", "no-such-host.invalid:1"]).code(1);
    far.one_error(&["no-such-host.invalid:1"]);
}

#[test]
fn send_path_that_is_no_file_is_told_before_anything_is_connected() {
    let folder = tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(quiet("mkfifo").arg(&fifo).status().unwrap().success());
    for (path, words) in [
        ("/no/such/file", "No such file"),
        (fifo.to_str().unwrap(), "is a FIFO"),
        ("/dev/null", "is a device"),
    ] {
        // Nobody listens there: had it been tried, the code would be 3.
        for more in [&[][..], &["--plain"]] {
            let failed = run([&["send", "--insecure", path, "127.0.0.1:1"], more].concat()).code(1);
            failed.one_error(&[path, words]);
        }
    }
    run(["send", "--plain", "/", "127.0.0.1:1"]).code(1).one_error(&["is a folder"]);
}

#[test]
fn send_tree_with_fifo_and_links_sends_the_rest_and_names_them() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", tree.join("link")).unwrap();
    assert!(quiet("mkfifo").arg(tree.join("fifo")).status().unwrap().success());
    let sent = run(["send", tree.to_str().unwrap(), &exec(inbox.path(), "")]).code(1);
    let sent = sent.one_error(&["tree/fifo is not sent"]);
    assert!(sent.stdout.contains("tree/link is skipped"), "{sent:?}");
    assert!(sent.stdout.contains("\n1 file, 1 B sent ("), "{sent:?}");
    assert!(sent.stdout.contains("1 skipped; 1 not sent"), "{sent:?}");
    assert_eq!(names(inbox.path()), ["tree/", "tree/file"]);
}

#[test]
fn send_name_that_is_too_deep_says_how_deep_it_may_be() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let tree = outbox.path().join("t");
    fs::create_dir_all(tree.join(["d"; 130].join("/"))).unwrap();
    let sent = run(["send", tree.to_str().unwrap(), &exec(inbox.path(), "")]).code(1);
    sent.one_error(&["d/d/d is not sent", "too deep", "128 folders deep"]);
}

#[test]
fn send_standard_input_that_is_a_folder_says_so() {
    for more in [&[][..], &["--plain"]] {
        let mut alice = quiet(crate::haul::HAUL);
        alice.args(["send", "--insecure", "-", "127.0.0.1:1"]).args(more);
        alice.stdin(fs::File::open("/").unwrap());
        let failed = Haul::spawn(alice).finish().code(1);
        failed.one_error(&["standard input is a folder", "its path"]);
    }
}

#[test]
fn receive_into_a_folder_that_is_removed_says_that_it_is_gone() {
    let (outer, outbox) = (tempdir().unwrap(), tempdir().unwrap());
    let inbox = outer.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    let (bob, address) = Haul::receive_in_clear(&inbox, &[]);
    fs::remove_dir(&inbox).unwrap();
    let tree = outbox.path().join("t");
    fs::create_dir(&tree).unwrap();
    for (name, path) in [("photo.jpg", photo()), ("t", tree.to_str().unwrap().to_owned())] {
        let sent = run(["send", "--insecure", &path, &address]).code(3);
        sent.one_error(&[name, "is refused", "the folder to receive into is gone"]);
    }
    bob.interrupt();
    let bob = bob.finish().code(130);
    assert_eq!(bob.stderr.matches("is gone; make it, and start again").count(), 2, "{bob:?}");
    assert!(!inbox.exists());
}

#[test]
fn receiver_out_of_descriptors_says_which_limit_to_raise() {
    let outbox = tempdir().unwrap();
    let tree = outbox.path().join("t");
    fs::create_dir(&tree).unwrap();
    // More than a block each: they are open at the same time.
    for number in 0..30 {
        fs::write(tree.join(number.to_string()), content(number, 300_000)).unwrap();
    }
    let (mut most, mut gave_up) = (0, 0);
    // How many the command has open itself depends on what it was started with.
    for limit in 8..=24 {
        let inbox = tempdir().unwrap();
        let address =
            exec(inbox.path(), "").replacen("exec:", &format!("exec:ulimit -n {limit}; "), 1);
        let sent =
            run(["send", "--insecure", tree.to_str().unwrap(), &address, "--retry-for", "0s"]);
        assert!(!sent.stderr.contains("system error"), "{sent:?}");
        // What takes long says how far it is.
        for line in sent.stderr.lines().filter(|line| !line.ends_with(" %)")) {
            assert!(line.contains("ulimit -n"), "{limit}: {line}");
        }
        gave_up +=
            usize::from(sent.stderr.contains("the receiver has too few file descriptors; raise"));
        most = most.max(sent.stdout.lines().filter(|line| line.starts_with("delivered")).count());
        if sent.code != Some(0) {
            assert_eq!(sent.code, Some(3), "{limit}: {sent:?}");
            run(["send", tree.to_str().unwrap(), &exec(inbox.path(), "")]).code(0);
        }
        assert_eq!(names(inbox.path()).len(), 31, "{limit}: and no partial file");
    }
    // Fewer than there are files let most of them through all the same.
    assert!(gave_up > 0 && most >= 20, "{gave_up} {most}");
}

/// Deeper than there are descriptors, and more at a time than there are: nothing of it is refused.
#[test]
fn receiver_with_fewer_descriptors_than_folders_on_the_way_takes_all() {
    let outbox = tempdir().unwrap();
    let tree = outbox.path().join("t");
    let mut files = 0;
    for (depth, branches, each) in [(100, 1, 40), (40, 30, 20)] {
        for branch in 0..branches {
            let folder =
                tree.join(format!("{depth}-{branch}")).join(["d"; 98][..depth - 2].join("/"));
            fs::create_dir_all(&folder).unwrap();
            for number in 0..each {
                fs::write(folder.join(number.to_string()), content(number, 100)).unwrap();
                files += 1;
            }
        }
    }
    let inbox = tempdir().unwrap();
    let address = exec(inbox.path(), "").replacen("exec:", "exec:ulimit -n 80; ", 1);
    let sent = run(["send", "--insecure", tree.to_str().unwrap(), &address, "--retry-for", "0s"]);
    assert_eq!(sent.stderr.matches("is refused").count(), 0, "{}", sent.stderr);
    let sent = sent.code(0);
    assert!(sent.stdout.lines().filter(|line| line.starts_with("delivered")).count() >= files);
}

#[test]
fn receive_folder_that_is_none_is_told() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let missing = folder.path().join("missing/folder");
    for (path, words) in [(&file, "Not a directory"), (&missing, "No such file")] {
        let path = path.to_str().unwrap();
        let failed = run(["receive", "--insecure", path, "--listen", "127.0.0.1:0"]).code(1);
        assert_eq!(failed.stdout, "", "it does not listen first");
        failed.one_error(&[path, words]);
        // The same at the far end of a pipe: both ends say it.
        let address = format!("exec:'{}' receive --stdio '{path}'", crate::haul::HAUL);
        run(["send", "--insecure", &photo(), &address])
            .code(3)
            .one_error(&["status 1", path, words]);
    }
    assert_eq!(names(folder.path()), ["file"]);
}

/// A mounted tmpfs, unmounted when dropped.
pub(crate) struct Mount(tempfile::TempDir);

impl Mount {
    /// Mounts a file system; `None`, with the reason printed, where this user may not.
    pub(crate) fn new(options: &str) -> Option<Self> {
        let folder = tempdir().unwrap();
        let mut mount = quiet("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            other => {
                println!("skipped: mounting a tmpfs needs the administrator ({other:?})");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = quiet("umount").arg(self.path()).status();
        assert!(unmounted.unwrap().success() || std::thread::panicking());
    }
}

#[test]
fn receive_folder_without_permission_is_told() {
    let Some(mount) = Mount::new("ro,size=1m") else { return };
    let path = mount.path().to_str().unwrap();
    run(["receive", "--insecure", path, "--listen", "127.0.0.1:0"])
        .code(1)
        .one_error(&[path, "Read-only"]);
    let plain = format!("{path}/x");
    run(["receive", "--plain", &plain, "--listen", "127.0.0.1:0"])
        .code(1)
        .one_error(&["Read-only"]);
}

#[test]
fn full_disk_is_told_with_what_is_missing_and_goes_on_once_there_is_room() {
    let Some(mount) = Mount::new("size=1m") else { return };
    let outbox = tempdir().unwrap();
    let file = outbox.path().join("large");
    fs::write(&file, content(5, 3 << 20)).unwrap();
    let file = file.to_str().unwrap();
    let (bob, address) = Haul::receive_in_clear(mount.path(), &[]);
    let sent = run(["send", "--insecure", file, &address]).code(3);
    sent.one_error(&[
        "large is refused",
        "no space",
        "3145728 bytes needed",
        "run the same command",
    ]);
    assert_eq!(names(mount.path()), [""; 0]);
    // From a pipe the size is not known before: what has come stays as a partial file at most.
    let piped =
        crate::haul::run_with(["send", "--insecure", "-", &address], content(5, 3 << 20)).code(3);
    piped.one_error(&["stdin is refused", "no space"]);
    assert!(
        tree(mount.path()).keys().all(|name| name.starts_with(".haul-")),
        "{:?}",
        names(mount.path())
    );
    let grown = quiet("mount").args(["-o", "remount,size=16m"]).arg(mount.path()).status();
    assert!(grown.unwrap().success());
    run(["send", "--insecure", file, &address]).code(0);
    bob.interrupt();
    let bob = bob.finish().code(130);
    assert_eq!(bob.stderr.matches("no space").count(), 2, "{bob:?}");
}

#[test]
fn full_disk_on_the_plain_wire_leaves_nothing_behind() {
    let Some(mount) = Mount::new("size=1m") else { return };
    let outbox = tempdir().unwrap();
    let file = outbox.path().join("large");
    fs::write(&file, content(5, 3 << 20)).unwrap();
    let place = mount.path().join("large");
    let mut bob =
        Haul::start(["receive", "--plain", place.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    let address = bob.address();
    run(["send", "--plain", file.to_str().unwrap(), &address]);
    bob.finish().code(1).one_error(&["No space left"]);
    assert_eq!(names(mount.path()), [""; 0]);
}

#[test]
fn exec_command_that_fails_is_named_with_its_words() {
    let start = Instant::now();
    let failed = run(["send", &photo(), "exec:echo no way to host >&2; exit 255"]).code(3);
    failed.one_error(&["status 255", "no way to host"]);
    run(["send", &photo(), "exec:no-such-command-xyz"]).code(3).one_error(&["no-such-command-xyz"]);
    run(["send", &photo(), "exec:false"])
        .code(3)
        .one_error(&["the command 'false' exited with status 1"]);
    run(["send", &photo(), "exec:true"]).code(3).one_error(&["before the handshake"]);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn receive_stdio_without_a_peer_is_told() {
    let inbox = tempdir().unwrap();
    let folder = inbox.path().to_str().unwrap();
    let failed = run(["receive", "--insecure", "--stdio", folder])
        .code(3)
        .one_error(&["closed the connection"]);
    assert!(!failed.stdout.contains("haul:"));
    let failed = crate::haul::run_with(
        ["receive", "--insecure", "--stdio", folder],
        b"GET / HTTP/1.0\r\n\r\n".to_vec(),
    );
    failed.code(3).one_error(&["does not speak haul", "GET / HT"]);
    assert_eq!(names(inbox.path()), [""; 0]);
}
