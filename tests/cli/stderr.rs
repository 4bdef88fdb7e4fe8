//! A standard error that nobody reads.

use std::io::{BufRead, BufReader, ErrorKind, PipeReader, PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Child;
use std::sync::mpsc;
use std::time::Instant;
use std::{fs, thread};

use tempfile::tempdir;

use crate::common::{PATIENCE, photo_path, poll, quiet};
use crate::haul::{HAUL, exec, names};

/// Returns a pipe that takes no byte more, and whose reader does not read.
fn full() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    for size in [4096, 1] {
        loop {
            match writer.write(&vec![b'x'; size]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    rustix::io::ioctl_fionbio(&writer, false).unwrap();
    (reader, writer)
}

/// The command with a standard error that takes nothing, for as long as this lasts. It is killed when dropped.
struct Unread {
    child: Child,
    _reader: PipeReader,
}

impl Unread {
    fn start(arguments: &[&str]) -> Self {
        let (reader, writer) = full();
        let mut command = quiet(HAUL);
        command.args(arguments).stderr(writer);
        Self { child: command.spawn().unwrap(), _reader: reader }
    }

    /// Returns the address that it listens on.
    fn address(&mut self) -> String {
        let out = self.child.stdout.take().unwrap();
        let (sender, line) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(out).lines().map_while(Result::ok);
            sender.send(lines.find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned())))
        });
        line.recv_timeout(PATIENCE).unwrap().unwrap()
    }

    /// Returns its exit code.
    fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        poll(deadline, "the command", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Each write to such a stream is a piece of its own for who reads it.
#[test]
fn line_is_written_in_one_piece() {
    for arguments in [
        &["send", "/no/such/file", "127.0.0.1:1"][..],
        &["send", "--no-such-option"],
        &["send", "--insecure", "--json", photo_path().to_str().unwrap(), "127.0.0.1:1"],
        &[],
    ] {
        let pairs = [UnixDatagram::pair().unwrap(), UnixDatagram::pair().unwrap()];
        let [(ours, theirs), (our_errors, their_errors)] = pairs;
        let mut command = quiet(HAUL);
        command.args(arguments).stdout(OwnedFd::from(theirs)).stderr(OwnedFd::from(their_errors));
        let mut child = command.spawn().unwrap();
        drop(command);
        let deadline = Instant::now() + PATIENCE;
        poll(deadline, "the command", || child.try_wait().unwrap());
        let mut pieces = Vec::new();
        for end in [ours, our_errors] {
            end.set_nonblocking(true).unwrap();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = end.recv(&mut buffer) {
                pieces.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
            }
        }
        assert!(!pieces.is_empty(), "{arguments:?}");
        let is_line = |piece: &String| piece.ends_with('\n') && piece.lines().count() == 1;
        assert!(pieces.iter().all(is_line), "{pieces:?}");
    }
}

#[test]
fn stderr_that_nobody_reads_neither_stops_transfers_nor_the_end() {
    let place = tempdir().unwrap();
    let tree = place.path().join("tree");
    fs::create_dir(&tree).unwrap();
    (0..10).for_each(|number| fs::write(tree.join(number.to_string()), "x").unwrap());
    // More to complain about than the queue holds.
    let fifos = (0..1500).map(|number| tree.join(format!("fifo{number}")));
    assert!(quiet("mkfifo").args(fifos).status().unwrap().success());
    let inbox = place.path().join("inbox");
    fs::create_dir(&inbox).unwrap();
    let mut bob =
        Unread::start(&["receive", inbox.to_str().unwrap(), "--once", "--listen", "127.0.0.1:0"]);
    let address = bob.address();
    let alice = Unread::start(&["send", tree.to_str().unwrap(), &address]);
    assert_eq!(alice.end(), Some(1), "FIFOs are not sent");
    assert_eq!(bob.end(), Some(0));
    assert_eq!(names(&inbox).len(), 11);
}

#[test]
fn stderr_that_nobody_reads_stops_no_failure_and_no_signal() {
    let place = tempdir().unwrap();
    let folder = place.path().to_str().unwrap();
    for (arguments, code) in [
        (&["send", "/no/such/file", "127.0.0.1:1"][..], 1),
        (&["send", "--no-such-option"], 2),
        (&[], 2),
        (&["send", "/no/such/file", "--plain", "127.0.0.1:1"], 1),
    ] {
        let child = Unread::start(arguments);
        assert_eq!(child.end(), Some(code), "{arguments:?}");
    }
    for more in [&[][..], &["--plain"]] {
        let file = place.path().join("file");
        let into = if more.is_empty() { folder } else { file.to_str().unwrap() };
        let arguments = [&["receive", "--listen", "127.0.0.1:0"], more, &[into]].concat();
        let mut bob = Unread::start(&arguments);
        bob.address();
        let pid = bob.child.id().to_string();
        assert!(quiet("kill").args(["-INT", &pid]).status().unwrap().success());
        assert_eq!(bob.end(), Some(130), "{arguments:?}");
    }
}

#[test]
fn stderr_that_nobody_reads_of_the_far_end_does_not_stop_it() {
    let inbox = tempdir().unwrap();
    let address = exec(inbox.path(), "");
    let alice = Unread::start(&["send", photo_path().to_str().unwrap(), &address]);
    assert_eq!(alice.end(), Some(0));
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
}
