//! Shared parts of the tests of the plain wire: other programs as either end, and the pairing of
//! any two ends.
//!
//! An end is a [`Sender`] or a [`Receiver`]; [`pair`] lets one of each meet over TCP on loopback.
//! Nothing waits for ever: see [`PATIENCE`]. A program that is missing fails its test, where CI is set, and says how
//! to get it.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests start programs, read files and stop where something is wrong"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver as Channel, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Longest wait of a test for anything before it fails. All that is waited for takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Returns whether the longer variants of the tests are asked for.
pub(crate) fn is_long() -> bool {
    std::env::var_os("HAUL_LONG").is_some()
}

/// One that listens on a free port of loopback, and keeps what comes in a file.
pub(crate) trait Receiver {
    /// Listens. The result knows the address, and waits for the end.
    fn listen(&self, file: &Path) -> Listening;
}

/// One that connects, and sends a file.
pub(crate) trait Sender {
    /// Sends the file; comes back once the sender is done.
    fn send(&self, file: &Path, to: SocketAddr);
}

/// A receiver at work.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    /// Waits until the receiver is done; what it printed.
    pub(crate) finish: Box<dyn FnOnce() -> String>,
}

/// Sends `content` from one to the other through files, and asserts that it arrived whole. Gives
/// what the receiver printed.
pub(crate) fn pair(sender: &dyn Sender, receiver: &dyn Receiver, content: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (from, to) = (folder.path().join("from.jpg"), folder.path().join("to.jpg"));
    fs::write(&from, content).expect("a temporary file can be written");
    let listening = receiver.listen(&to);
    sender.send(&from, listening.address);
    let printed = (listening.finish)();
    let arrived = fs::read(&to).expect("the receiver has written its file");
    assert_same(&arrived, content);
    printed
}

/// Asserts equality without printing a whole image.
pub(crate) fn assert_same(got: &[u8], expected: &[u8]) {
    let differs = got.iter().zip(expected).position(|(got, expected)| got != expected);
    assert_eq!(differs, None, "the first wrong byte");
    assert_eq!(got.len(), expected.len(), "the length");
}

/// Returns the image that the tests send.
pub(crate) fn photo() -> Vec<u8> {
    fs::read(photo_path()).expect("the image is part of the repository")
}

/// Returns the path of the image.
pub(crate) fn photo_path() -> PathBuf {
    manifest().join("tests/data/photo.jpg")
}

/// Returns a program of the seed, by its name.
pub(crate) fn seed(name: &str) -> PathBuf {
    manifest().join("tests/seed").join(name)
}

fn manifest() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The original sender.
pub(crate) struct PythonAlice;

/// The original receiver.
pub(crate) struct PythonBob;

/// `nc` that connects, and shuts down its writing half at the end of the file.
pub(crate) struct NcAlice;

/// `nc` that listens, and writes what comes to its standard output.
pub(crate) struct NcBob;

impl Sender for PythonAlice {
    fn send(&self, file: &Path, to: SocketAddr) {
        let mut alice = python("alice.py");
        alice.arg(to.ip().to_string()).arg(to.port().to_string()).arg(file);
        let printed = Program::start(alice).succeed();
        assert!(printed.contains("image sent"), "{printed}");
    }
}

impl Receiver for PythonBob {
    fn listen(&self, file: &Path) -> Listening {
        let mut bob = python("bob.py");
        bob.args(["127.0.0.1", "0"]).arg(file);
        let mut bob = Program::start(bob);
        let line = bob.line_with("listening on ");
        let address = line.trim_start_matches("listening on ").parse();
        let address = address.unwrap_or_else(|error| panic!("no address in {line:?}: {error}"));
        Listening { address, finish: Box::new(move || bob.succeed()) }
    }
}

impl Sender for NcAlice {
    fn send(&self, file: &Path, to: SocketAddr) {
        let mut nc = nc();
        nc.arg("-N").arg(to.ip().to_string()).arg(to.port().to_string());
        nc.stdin(fs::File::open(file).expect("the file to send can be read"));
        Program::start(nc).succeed();
    }
}

impl Receiver for NcBob {
    fn listen(&self, file: &Path) -> Listening {
        let mut nc = nc();
        // With -v it prints the port that it really got; with -d it does not read its standard
        // input.
        nc.args(["-d", "-l", "-n", "-v", "127.0.0.1", "0"]);
        nc.stdout(fs::File::create(file).expect("the file to receive can be made"));
        let mut nc = Program::start(nc);
        let line = nc.line_with("Listening on ");
        let address = line.trim_start_matches("Listening on ").replace(' ', ":").parse();
        let address = address.unwrap_or_else(|error| panic!("no address in {line:?}: {error}"));
        Listening { address, finish: Box::new(move || nc.succeed()) }
    }
}

/// Returns Python with a program of the seed.
pub(crate) fn python(name: &str) -> Command {
    let mut python = command("python3", "apt-get install python3");
    python.arg(seed(name));
    python
}

/// Returns whether the programs that tests need must be there: where `CI` is set, or the gate has installed them. A
/// test that lacks one fails then; elsewhere it prints that and ends.
pub(crate) fn must_have_programs() -> bool {
    ["CI", "HAUL_PROGRAMS"].iter().any(|name| std::env::var_os(name).is_some())
}

/// Returns whether `python3` or OpenBSD's `nc` is not on this machine, and [need not
/// be](must_have_programs).
pub(crate) fn lacks_peers() -> bool {
    if must_have_programs() {
        return false;
    }
    let says = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output();
        output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default()
    };
    let has_nc = String::from_utf8_lossy(&says("nc", "-h")).contains("OpenBSD netcat");
    let lacks = !has_nc || says("python3", "--version").is_empty();
    if lacks {
        println!("skipped: this test talks to python3 and to the nc of OpenBSD (netcat-openbsd)");
    }
    lacks
}

/// Returns whether `python3` is not on this machine; as [`lacks_peers`].
pub(crate) fn lacks_python() -> bool {
    let lacks = !must_have_programs() && quiet("python3").arg("--version").status().is_err();
    if lacks {
        println!("skipped: this test needs python3 (apt-get install python3)");
    }
    lacks
}

/// Returns whether `strace` is not on this machine; as [`lacks_peers`].
pub(crate) fn lacks_strace() -> bool {
    let lacks = !must_have_programs() && quiet("strace").arg("-V").status().is_err();
    if lacks {
        println!("skipped: this test needs strace (apt-get install strace)");
    }
    lacks
}

/// Returns `nc`, and only the OpenBSD one: others differ in their options, and do not report which
/// port they took.
pub(crate) fn nc() -> Command {
    const HOW: &str = "apt-get install netcat-openbsd";
    let help = command("nc", HOW).arg("-h").output().expect("it was there a moment ago");
    let help = [help.stdout, help.stderr].concat();
    assert!(
        String::from_utf8_lossy(&help).contains("OpenBSD netcat"),
        "this test needs the OpenBSD nc, and another was found: {HOW}"
    );
    command("nc", HOW)
}

/// Returns a command whose program is there; a test that needs it must fail without it, not pass.
fn command(program: &str, how: &str) -> Command {
    let found = quiet(program).arg("-h").status();
    if let Err(error) = found {
        panic!("this test needs the program {program}, which cannot be run ({error}): {how}");
    }
    quiet(program)
}

/// Returns a command that shares nothing with the test, until it is told otherwise.
pub(crate) fn quiet(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What whoever runs the tests has set for the command, or for the tests, is not for it.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HAUL_") {
            command.env_remove(&name);
        }
    }
    // All tests are of one user, who is nobody on this machine.
    command.env("HAUL_CONFIG_DIR", config_folder());
    command
}

/// Returns the folder with the key of the user as whom tests run the command.
pub(crate) fn config_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("haul-config")
}

/// A program at work. It is killed when dropped, so that a failed test leaves nothing behind.
pub(crate) struct Program {
    name: String,
    child: Child,
    lines: Channel<String>,
    printed: String,
}

impl Program {
    /// Starts a command made by [`quiet`], and collects the lines of what it has as pipes of its
    /// standard output and standard error.
    pub(crate) fn start(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let (sender, lines) = mpsc::channel();
        collect(child.stdout.take(), &sender);
        collect(child.stderr.take(), &sender);
        Self { name, child, lines, printed: String::new() }
    }

    /// Takes its standard input, if the command has it as a pipe.
    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("the command has its standard input as a pipe")
    }

    /// Waits for a line with this prefix, and gives it.
    pub(crate) fn line_with(&mut self, prefix: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.next_line(deadline) {
            if line.starts_with(prefix) {
                return line;
            }
        }
        panic!("{} ended without a line {prefix:?}: {}", self.name, self.printed);
    }

    /// Waits until it has ended, and asserts that it succeeded; all that it printed.
    pub(crate) fn succeed(self) -> String {
        let name = self.name.clone();
        let (status, printed) = self.finish();
        assert!(status.success(), "{name} failed with {status}: {printed}");
        printed
    }

    /// Waits until it has ended; how, and all that it printed.
    pub(crate) fn finish(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        while self.next_line(deadline).is_some() {}
        let status = poll(deadline, &self.name, || {
            self.child.try_wait().expect("a child of this process can be waited for")
        });
        (status, std::mem::take(&mut self.printed))
    }

    /// Kills it, as a power cut would: it can do nothing about it.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a child of this process can be killed");
    }

    fn next_line(&mut self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => {
                self.printed.push_str(&line);
                self.printed.push('\n');
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} is still running after {PATIENCE:?}: {}", self.name, self.printed)
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail where it has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks until there is an answer; the test fails if there is none in time.
pub(crate) fn poll<T>(deadline: Instant, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: nothing after {PATIENCE:?}");
        // What another process has done by now can only be asked for.
        thread::sleep(Duration::from_millis(2));
    }
}

/// Sends the lines of a pipe to a channel until either end is gone.
fn collect(pipe: Option<impl Read + Send + 'static>, lines: &mpsc::Sender<String>) {
    let Some(pipe) = pipe else { return };
    let lines = lines.clone();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(io::Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
}
