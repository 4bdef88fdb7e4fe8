//! The example for serial ports, over two terminals of this machine between which bytes are lost.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::cargo;

/// A terminal whose other end this process has.
struct Terminal {
    end: File,
    path: PathBuf,
    /// Held open, so that the other end is not told of a hang-up while no process has the terminal.
    _held: File,
}

fn terminal() -> Terminal {
    let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
    grantpt(&end).expect("it is ours");
    unlockpt(&end).expect("it is ours");
    let path = ptsname(&end, Vec::new()).expect("it has a name");
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(path.as_bytes()));
    let held = File::options().read(true).write(true).open(&path).expect("it opens");
    let mut settings = tcgetattr(&held).expect("it is a terminal");
    settings.make_raw();
    tcsetattr(&held, OptionalActions::Now, &settings).expect("it is a terminal");
    Terminal { end: end.into(), path, _held: held }
}

/// Loss of a line, from this byte on.
#[derive(Clone, Copy)]
enum Loss {
    Byte(usize),
    /// All that is under way, until whoever sends waits for an answer.
    Cut(usize),
}

/// Passes on what comes, but for a loss, until it is told to stop.
fn carry(mut from: &File, mut to: &File, loss: Loss, stop: &AtomicBool) {
    let tick = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    let mut lost = match loss {
        Loss::Byte(at) => at..at + 1,
        Loss::Cut(at) => at..usize::MAX,
    };
    let (mut buffer, mut passed, mut quiet) = ([0; 1000], 0, 0);
    while !stop.load(Ordering::Relaxed) {
        let mut waits = [PollFd::new(from, PollFlags::IN)];
        if poll(&mut waits, Some(&tick)).expect("it can be waited for") == 0 {
            quiet += 1;
            if quiet == QUIET && lost.contains(&passed) {
                lost.end = passed;
            }
            continue;
        }
        quiet = 0;
        let count = from.read(&mut buffer).expect("it is held open");
        let bytes = &buffer[..count];
        let [start, end] = [lost.start, lost.end].map(|at| at.saturating_sub(passed).min(count));
        to.write_all(&bytes[..start]).expect("it is held open");
        to.write_all(&bytes[end..]).expect("it is held open");
        passed += count;
    }
}

/// Number of ticks without a byte that are silence.
const QUIET: u32 = 4;

/// Starts one end of the transfer, as a process.
fn start(role: &str, path: &std::path::Path, port: &Terminal) -> Child {
    let mut command = cargo("serial");
    command.arg("--").arg(role).arg(path).arg(&port.path);
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("cargo runs")
}

#[test]
fn serial_delivers_a_file_over_terminals_that_lose_a_byte_and_are_cut() {
    let folder = tempfile::tempdir().expect("there is room");
    let (file, inbox) = (folder.path().join("file"), folder.path().join("inbox"));
    let content: Vec<u8> =
        (0..20_000_u32).map(|at| (at.wrapping_mul(77) >> 3).to_le_bytes()[0]).collect();
    fs::write(&file, &content).expect("there is room");
    fs::create_dir(&inbox).expect("there is room");

    let (near, far) = (terminal(), terminal());
    let stop = Arc::new(AtomicBool::new(false));
    let (sent, received) = thread::scope(|scope| {
        scope.spawn(|| carry(&near.end, &far.end, Loss::Cut(9_000), &stop));
        scope.spawn(|| carry(&far.end, &near.end, Loss::Byte(40), &stop));
        let receiver = start("receive", &inbox, &far);
        let sender = start("send", &file, &near);
        let sent = sender.wait_with_output();
        let received = receiver.wait_with_output();
        stop.store(true, Ordering::Relaxed);
        (sent.expect("it ends"), received.expect("it ends"))
    });
    for output in [&sent, &received] {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}\n{errors}", output.status);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with(&format!("{}  file", blake3::hash(&content))), "{said}");
    }
    assert_eq!(fs::read(inbox.join("file")).expect("it is there"), content);
}
