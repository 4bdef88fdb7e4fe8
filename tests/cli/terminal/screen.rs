//! A terminal without anybody before it: what a command writes to it is put on a screen that the test looks at.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroU16;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::common::{PATIENCE, poll, quiet};
use crate::haul::HAUL;

/// What of a command is on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum On {
    Both,
    Stdout,
    Stderr,
}

/// A command on a terminal. It is killed when dropped.
pub(crate) struct Terminal {
    child: Child,
    end: File,
    seen: Arc<Mutex<Seen>>,
    reader: Option<JoinHandle<()>>,
    /// What it wrote to the stream that is no terminal.
    other: Option<JoinHandle<String>>,
}

/// What has been on the screen.
pub(crate) struct Seen {
    parser: vt100::Parser,
    /// All that was written.
    pub(crate) bytes: Vec<u8>,
    /// The rows that were not empty, after each piece that was written.
    pub(crate) frames: Vec<Frame>,
}

pub(crate) struct Frame {
    pub(crate) at: Instant,
    pub(crate) rows: Vec<String>,
}

impl Seen {
    /// The rows that are not empty.
    fn rows(&self) -> Vec<String> {
        let contents = self.parser.screen().contents();
        contents.lines().filter(|row| !row.trim().is_empty()).map(ToOwned::to_owned).collect()
    }
}

impl Terminal {
    /// Runs the command with both outputs on a terminal that has so many columns.
    pub(crate) fn start(arguments: &[&str], columns: u16) -> Self {
        Self::with(arguments, columns, On::Both, &[("TERM", "xterm-256color")])
    }

    pub(crate) fn with(
        arguments: &[&str],
        columns: u16,
        on: On,
        environment: &[(&str, &str)],
    ) -> Self {
        let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
        grantpt(&end).expect("it is ours");
        unlockpt(&end).expect("it is ours");
        let path = ptsname(&end, Vec::new()).expect("it has a name");
        let open = || {
            let path = OsStr::from_bytes(path.as_bytes());
            File::options().read(true).write(true).open(path).expect("it opens")
        };
        let end = File::from(end);
        resize(&end, columns);
        let mut command: Command = quiet(HAUL);
        command.args(arguments).env("LANG", "C.UTF-8").env_remove("LC_ALL").env_remove("NO_COLOR");
        command.envs(environment.iter().copied());
        if on != On::Stderr {
            command.stdout(open());
        }
        if on != On::Stdout {
            command.stderr(open());
        }
        command.stdin(Stdio::null());
        let mut child = command.spawn().expect("it runs");
        // The command's ends of the terminal are the only ones: when it goes, the screen is complete.
        drop(command);
        let other = match on {
            On::Both => None,
            On::Stdout => child.stderr.take().map(read_all),
            On::Stderr => child.stdout.take().map(read_all),
        };
        let parser = vt100::Parser::new(some(ROWS), some(columns), 0);
        let seen = Seen { parser, bytes: Vec::new(), frames: Vec::new() };
        let seen = Arc::new(Mutex::new(seen));
        let reader = thread::spawn({
            let (seen, mut end) = (Arc::clone(&seen), end.try_clone().expect("it is open"));
            move || {
                let mut buffer = [0; 4096];
                // Once nobody has the other end, reading fails.
                while let Ok(count @ 1..) = end.read(&mut buffer) {
                    let mut seen = lock(&seen);
                    seen.bytes.extend_from_slice(&buffer[..count]);
                    seen.parser.process(&buffer[..count]);
                    let rows = seen.rows();
                    seen.frames.push(Frame { at: Instant::now(), rows });
                }
            }
        });
        Self { child, end, seen, reader: Some(reader), other }
    }

    pub(crate) fn resize(&self, columns: u16) {
        let mut seen = lock(&self.seen);
        seen.parser.screen_mut().set_size(some(ROWS), some(columns));
        resize(&self.end, columns);
    }

    /// Waits until a row has all these words.
    pub(crate) fn shows(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        let found = poll(deadline + PATIENCE, "a row", || {
            let seen = lock(&self.seen);
            let last = seen.frames.iter().rev().flat_map(|frame| &frame.rows);
            let mut found = last.filter(|row| words.iter().all(|word| row.contains(word)));
            match found.next() {
                Some(row) => Some(Ok(row.clone())),
                None => (Instant::now() > deadline).then(|| Err(seen.rows())),
            }
        });
        found.unwrap_or_else(|rows| panic!("{words:?} are not in {rows:#?}"))
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = quiet("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill can be run").success());
    }

    /// Waits for its end: the exit code, the rows that are left, and what went to the stream that is no terminal.
    pub(crate) fn finish(&mut self) -> (Option<i32>, Vec<String>, String) {
        let deadline = Instant::now() + PATIENCE;
        let ended = poll(deadline, "the command", || self.child.try_wait().expect("it is ours"));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it does not panic");
        }
        let other = self.other.take().map(|other| other.join().expect("it does not panic"));
        let rows = lock(&self.seen).rows();
        (ended.code(), rows, other.unwrap_or_default())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().expect("nobody panics with it")
}

fn resize(end: &File, columns: u16) {
    let size = Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(end, size).expect("it is a terminal");
}

fn some(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).expect("it is some")
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut stream, &mut text).expect("it can be read");
        String::from_utf8_lossy(&text).into_owned()
    })
}

/// How many rows the terminals have.
const ROWS: u16 = 24;
