//! The command under a watchdog: nothing here waits longer than [`PATIENCE`].

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{PATIENCE, is_long, poll, quiet};
use crate::schema;

/// The command's file.
pub(crate) const HAUL: &str = env!("CARGO_BIN_EXE_haul");

/// Runs it to its end.
pub(crate) fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Finished {
    run_with(arguments, Vec::new())
}

/// Runs it to its end, with this on its standard input.
pub(crate) fn run_with<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    stdin: Vec<u8>,
) -> Finished {
    let mut command = assert_cmd::Command::from_std(quiet(HAUL));
    let output = command.args(arguments).write_stdin(stdin).timeout(PATIENCE).output();
    let output = output.expect("the command runs");
    Finished {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// The command at work. It is killed when dropped.
pub(crate) struct Haul {
    child: Child,
    lines: Receiver<String>,
    stdout: String,
    stderr: Arc<Mutex<String>>,
    stderr_ended: Option<JoinHandle<()>>,
}

/// Exit of a command, and its output.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Haul {
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = quiet(HAUL);
        command.args(arguments);
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the command can be run");
        let (sender, lines) = mpsc::channel();
        let out = child.stdout.take().expect("it is a pipe");
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut err = child.stderr.take().expect("it is a pipe");
        let stderr = Arc::<Mutex<String>>::default();
        let said = Arc::clone(&stderr);
        let stderr_ended = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = err.read(&mut buffer) {
                said.lock().expect("nobody panics with it").push_str(&text(&buffer[..count]));
            }
        });
        let stderr_ended = Some(stderr_ended);
        Self { child, lines, stdout: String::new(), stderr, stderr_ended }
    }

    /// Starts `haul receive` into this folder, on a free port of loopback.
    pub(crate) fn receive(folder: &Path, more: &[&str]) -> (Self, String) {
        let mut arguments: Vec<OsString> =
            ["receive", "--listen", "127.0.0.1:0"].map(Into::into).into();
        arguments.push(folder.into());
        arguments.extend(more.iter().map(Into::into));
        let mut haul = Self::start(arguments);
        let address = haul.address();
        (haul, address)
    }

    /// Returns the same in clear, where a test looks at the bytes.
    pub(crate) fn receive_in_clear(folder: &Path, more: &[&str]) -> (Self, String) {
        Self::receive(folder, &[more, &["--insecure"]].concat())
    }

    /// Returns the address that it listens on, once it does.
    pub(crate) fn address(&mut self) -> String {
        let line = self.line(|line| line.contains("listening"));
        match serde_json::from_str::<Value>(&line) {
            Ok(event) => event["address"].as_str().expect("it has an address").to_owned(),
            Err(_) => line.trim_start_matches("listening on ").to_owned(),
        }
    }

    /// Waits for such a line on its standard output.
    pub(crate) fn line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.stdout.push_str(&line);
                    self.stdout.push('\n');
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no such line: {}", self.stdout),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended: {} {}", self.stdout, self.stderr())
                }
            }
        }
    }

    /// Waits until it has said this on its standard error.
    pub(crate) fn says(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.stderr().contains(words) {
            assert!(Instant::now() < deadline, "no {words:?} in {:?}", self.stderr());
            // What another process has said by now can only be asked for.
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn stderr(&self) -> String {
        self.stderr.lock().expect("nobody panics with it").clone()
    }

    pub(crate) fn take_stdin(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("the command has its standard input as a pipe")
    }

    /// Returns the number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends the signal of Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal("-INT");
    }

    /// Kills it, as a power cut does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it was killed");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = quiet("kill").arg(signal).arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill can be run").success());
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Finished {
        // The longer variants move 1 GiB, on a machine that may be busy.
        let patience = if is_long() { 20 * PATIENCE } else { PATIENCE };
        let deadline = Instant::now() + patience;
        let ended = poll(deadline, "haul", || self.child.try_wait().expect("it is a child"));
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.stdout.push_str(&line);
            self.stdout.push('\n');
        }
        if let Some(ended) = self.stderr_ended.take() {
            ended.join().expect("it does not panic");
        }
        Finished {
            code: ended.code(),
            stdout: std::mem::take(&mut self.stdout),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Haul {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    /// Asserts the exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Asserts that all that was said of what is wrong is one line with these words, save who can reach a listener.
    #[track_caller]
    pub(crate) fn one_error(self, words: &[&str]) -> Self {
        let lines = self.faults();
        assert_eq!(lines.len(), 1, "{self:?}");
        assert!(lines[0].starts_with("haul: "), "{self:?}");
        for word in words {
            assert!(lines[0].contains(word), "no {word:?} in {self:?}");
        }
        self
    }

    /// Returns the lines on standard error, without the warnings of who can reach a listener, or be between; and
    /// without how far it is: that is said each second, so that it depends on the machine whether it is.
    pub(crate) fn faults(&self) -> Vec<&str> {
        let warnings = ["haul: warning: listening on ", "haul: warning: --insecure"];
        let is_warning = |line: &str| warnings.iter().any(|warning| line.starts_with(warning));
        let is_progress = |line: &str| line.ends_with(" %)") || line.ends_with(" so far");
        // Where standard output is the stream.
        let is_start = |line: &str| line.starts_with("receiving into ");
        let is_fault = |line: &&str| !is_warning(line) && !is_progress(line) && !is_start(line);
        self.stderr.lines().filter(is_fault).collect()
    }

    /// Returns the events of `--json`, each of which is as its page says.
    #[track_caller]
    pub(crate) fn events(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| schema::checked(serde_json::from_str(line).expect("each line is JSON")))
            .collect()
    }
}

/// Returns all files below a folder, by their names; folders have a slash at their end.
///
/// What vanishes meanwhile is left out: a receiver that still runs gives files their names, and removes folders that it
/// made for files that did not come.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    assert!(folder.is_dir(), "{} is no folder", folder.display());
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        let Some(entries) = unless_gone(fs::read_dir(&next), &next) else { continue };
        for entry in entries {
            let path = entry.expect("it can be read").path();
            let name =
                path.strip_prefix(folder).expect("it is below").to_string_lossy().into_owned();
            if path.is_dir() {
                found.insert(format!("{name}/"), Vec::new());
                folders.push(path);
            } else if let Some(bytes) = unless_gone(fs::read(&path), &path) {
                found.insert(name, bytes);
            }
        }
    }
    found
}

/// Returns what was read of a place, or `None` where there is nothing any more.
fn unless_gone<T>(read: io::Result<T>, path: &Path) -> Option<T> {
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        read => Some(read.unwrap_or_else(|error| panic!("{}: {error}", path.display()))),
    }
}

/// Returns the names below a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    tree(folder).into_keys().collect()
}

/// Returns bytes that do not repeat in any short period, so that each place has its own.
pub(crate) fn content(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| ((i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// Returns the address by which the command receives into a folder as a child of the sender.
pub(crate) fn exec(folder: &Path, more: &str) -> String {
    format!("exec:'{HAUL}' receive --stdio {more} '{}'", folder.display())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
