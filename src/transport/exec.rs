//! A command whose standard input and output are the stream, as with the `ProxyCommand` of `ssh`.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, PipeWriter, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, thread};

use super::sync::monitor::Monitor;
use super::{Connector, Threaded};
use crate::types::Escaped;
use crate::types::escape::escape;
use crate::types::tick::cannot_start;

/// Connector that runs a command.
///
/// ```no_run
/// use haul::transport::Connector;
/// use haul::transport::exec::ExecConnector;
///
/// let mut connector = ExecConnector::shell("ssh host haul receive --stdio");
/// let stream = connector.connect()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ExecConnector {
    program: OsString,
    arguments: Vec<OsString>,
    /// The command is one line for the shell of Windows, which has rules of quoting of its own.
    raw: bool,
    stderr: Stderr,
    grace: Duration,
}

impl ExecConnector {
    /// Returns a command line for the shell: `sh -c COMMAND`, on Windows `cmd /C COMMAND`.
    ///
    /// Everything that the shell knows works: quotes, variables, pipelines. **Never build it from text that somebody
    /// else chose**; for that there is [`program`](Self::program).
    #[must_use]
    pub fn shell(command: impl AsRef<OsStr>) -> Self {
        let (shell, switch) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut connector = Self::program(shell, [OsStr::new(switch), command.as_ref()]);
        connector.raw = true;
        connector
    }

    /// Returns a program and its arguments, with no shell in between.
    #[must_use]
    pub fn program<A: Into<OsString>>(
        program: impl Into<OsString>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            raw: false,
            stderr: Stderr::default(),
            grace: GRACE,
        }
    }

    /// Sets what becomes of the command's standard error.
    #[must_use]
    pub const fn stderr(mut self, stderr: Stderr) -> Self {
        self.stderr = stderr;
        self
    }

    /// Sets how long a dropped stream's command may take to end by itself, once its standard input has, before it is
    /// killed. Default: 2 s.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Returns what the user asked to be run: of a shell, its command text.
    fn name(&self) -> OsString {
        match self.arguments.last() {
            Some(command) if self.raw => command.clone(),
            _ => self.program.clone(),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        #[cfg(windows)]
        if self.raw {
            use std::os::windows::process::CommandExt;
            for argument in &self.arguments {
                command.raw_arg(argument);
            }
            return command;
        }
        command.args(&self.arguments);
        command
    }
}

impl Connector for ExecConnector {
    type Stream = ExecStream;

    /// Starts the command. That it starts does not mean that it gets anywhere: if it ends early, reads and writes of
    /// the stream fail with an [`ExecError`].
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::NotFound`]: there is no such program.
    /// - [`io::ErrorKind::PermissionDenied`]: it may not be run.
    /// - Any other error of the system, such as that it has no process or thread to give.
    fn connect(&mut self) -> io::Result<ExecStream> {
        let (stderr, theirs) = io::pipe()?;
        // Where it is passed on, whoever writes it may go on for as long as it lives.
        let end = match self.stderr {
            Stderr::Keep => Some(End { to: theirs.try_clone()?, mark: mark() }),
            Stderr::PassOn => None,
        };
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(theirs)
            .spawn()
            .map_err(|source| {
                let source = cannot_start(source);
                let program = self.program.clone();
                io::Error::new(source.kind(), CannotRun { program, source })
            })?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let tail = Arc::new(Monitor::new(Tail::default()));
        let kept = Arc::clone(&tail);
        let until = end.as_ref().map(|end| end.mark);
        let (name, grace) = (self.name(), self.grace);
        // From here on the process is ended and reaped whatever happens.
        let process = Process { child, name, status: None, stderr: tail, end, grace };
        let (Some(stdin), Some(stdout)) = pipes else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        thread::Builder::new()
            .name("haul-stderr".into())
            .spawn(move || keep_tail(stderr, &kept, until))
            .map_err(cannot_start)?;
        Ok(ExecStream { stream: Threaded::new(stdout, stdin)?, process })
    }
}

/// Destination of the command's standard error. Its last 4 KiB are kept for the error in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Stderr {
    /// Nothing else. The default.
    #[default]
    Keep,
    /// Standard error of this process too, unchanged: escape sequences reach the terminal, as with `ssh`. A thread
    /// passes it on for as long as any process has it open.
    PassOn,
}

/// A running command's standard input and output, in ticks: see [`Threaded`], whose doc describes what reads, writes,
/// flush and drop do.
///
/// - When the command's output ends and the command ended with success, so does the stream; if it ended otherwise,
///   reads fail with an [`ExecError`]. The same for writes that the command no longer takes.
/// - **Dropping it** ends the command: what was written is delivered, standard input ends, and if the command does
///   not end by itself in time ([`ExecConnector::grace`]), it is killed. It leaves no zombie. Only the command itself
///   is killed: what a shell has started sees its standard input, output and error go. (A process that it has left
///   behind and that keeps its standard output open keeps a thread: see [`Threaded`].)
#[derive(Debug)]
pub struct ExecStream {
    // The order matters: the stream is dropped first, which ends the command's standard input.
    stream: Threaded,
    process: Process,
}

impl ExecStream {
    /// Sets how long a call waits; see [`Threaded::set_timeout`].
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.stream.set_timeout(timeout);
    }

    /// Returns the number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.child.id()
    }

    /// Returns the last 4 KiB, at most, of the command's standard error so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<u8> {
        self.process.said()
    }
}

impl Read for ExecStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            return match self.process.end() {
                Some(status) if !status.success() => Err(self.process.error(status)),
                _ => Ok(0),
            };
        }
        Ok(count)
    }
}

impl Write for ExecStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes).map_err(|error| self.process.explain(error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush().map_err(|error| self.process.explain(error))
    }
}

/// A command ended while its stream was in use.
///
/// It stands inside the [`io::Error`] of the read or write: of the kind [`io::ErrorKind::InvalidInput`] if a shell
/// could not run the command at all (status 126 or 127), which a retry does not help, and else
/// [`io::ErrorKind::ConnectionAborted`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecError {
    /// Command that was run: the text for the shell, or the program.
    pub command: OsString,
    /// Exit status.
    pub status: ExitStatus,
    /// The last of its standard error, at most 4 KiB. It is displayed [escaped](crate::types::Escaped).
    pub stderr: Vec<u8>,
}

impl std::error::Error for ExecError {}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("command '")?;
        escape(self.command.as_encoded_bytes(), f)?;
        match self.status.code() {
            Some(code) => write!(f, "' exited with status {code}")?,
            None => write!(f, "' was ended by a {}", self.status)?,
        }
        let lines = self.stderr.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let lines = lines.filter(|line| !line.is_empty());
        for (number, line) in lines.enumerate() {
            f.write_str(if number == 0 { ": " } else { "; " })?;
            escape(line, f)?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot run '{}': {source}", Escaped(program.as_encoded_bytes()))]
struct CannotRun {
    program: OsString,
    source: io::Error,
}

/// A child process that is ended and reaped when this is dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    /// Command that was run, for people.
    name: OsString,
    status: Option<ExitStatus>,
    stderr: Arc<Monitor<Tail>>,
    /// Signal to the thread that reads standard error that no more is to come.
    end: Option<End>,
    grace: Duration,
}

/// The writing end of standard error, to which this side writes last.
///
/// Another process may hold it open for as long as it lives: a connection of `ssh` that others share does.
#[derive(Debug)]
struct End {
    to: PipeWriter,
    mark: Mark,
}

/// Text that no command writes by accident.
type Mark = [u8; 16];

impl Process {
    /// Returns how the process ended, if it does within a moment: its output is over, so it is
    /// about to.
    fn end(&mut self) -> Option<ExitStatus> {
        self.wait(END_WAIT)
    }

    fn wait(&mut self, time: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(1);
        while self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
            let left = time.saturating_sub(start.elapsed());
            if self.status.is_some() || left.is_zero() {
                break;
            }
            // No call of the standard library waits for a process with a limit.
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.status
    }

    fn error(&mut self, status: ExitStatus) -> io::Error {
        self.end_stderr();
        let _ = self.stderr.wait(Some(STDERR_WAIT), |tail| tail.ended.then_some(()));
        let kind = match status.code() {
            Some(126 | 127) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, ExecError { command: self.name.clone(), status, stderr: self.said() })
    }

    /// Returns the error of a write that failed, with the command's end if that is the reason.
    fn explain(&mut self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::BrokenPipe {
            return error;
        }
        match self.end() {
            Some(status) => self.error(status),
            None => error,
        }
    }

    /// Ends the thread that reads standard error, once that has read what the command wrote.
    fn end_stderr(&mut self) {
        if let Some(End { mut to, mark }) = self.end.take() {
            // The thread does nothing but read until it meets this, so there is room, or it is gone.
            let _ = to.write_all(&mark);
        }
    }

    fn said(&self) -> Vec<u8> {
        self.stderr.update(|tail| tail.bytes.iter().copied().collect())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.wait(self.grace).is_none() {
            let _ = self.child.kill();
            let _ = self.wait(KILL_WAIT);
        }
        self.end_stderr();
    }
}

/// The end of a command's output.
#[derive(Debug, Default)]
struct Tail {
    /// Invariant: at most [`TAIL`] bytes.
    bytes: VecDeque<u8>,
    ended: bool,
}

/// Keeps the end of what is written until the mark comes. Without one it is passed on, for as long as anybody writes
/// something.
fn keep_tail(mut stderr: impl Read, tail: &Monitor<Tail>, mark: Option<Mark>) {
    let mut buffer = [0; 1024];
    // What could be the beginning of the mark.
    let mut held = Vec::new();
    let mut is_over = false;
    while !is_over {
        match stderr.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => held.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        }
        let said = match mark {
            Some(mark) => {
                let (said, found) = before(&held, &mark);
                is_over = found;
                said
            }
            None => {
                // Nobody is there to be told that standard error does not work.
                let _ = io::stderr().write_all(&held);
                held.len()
            }
        };
        tail.update(|tail| {
            tail.bytes.extend(held.drain(..said));
            let surplus = tail.bytes.len().saturating_sub(TAIL);
            tail.bytes.drain(..surplus);
        });
    }
    tail.update(|tail| {
        // What looked like a mark, and was none.
        if !is_over {
            tail.bytes.extend(held);
        }
        tail.ended = true;
    });
}

/// Returns the number of bytes that surely come before the mark, and whether it follows them.
fn before(said: &[u8], mark: &Mark) -> (usize, bool) {
    let starts = |at: &usize| said.get(*at..).is_some_and(|rest| rest.starts_with(mark));
    if let Some(at) = (0..said.len()).find(starts) {
        return (at, true);
    }
    let may_start = |at: &usize| said.get(*at..).is_some_and(|rest| mark.starts_with(rest));
    (((0..said.len()).find(may_start)).unwrap_or(said.len()), false)
}

/// Returns a mark of this process that nobody can guess.
fn mark() -> Mark {
    // The standard library seeds each `RandomState` from the system's random numbers.
    let word = || u128::from(RandomState::new().build_hasher().finish());
    (word() << 64 | word()).to_le_bytes()
}

/// Bytes of standard error that are kept: enough for the last few lines, which give the reason.
const TAIL: usize = 4096;

/// Time that `ssh` takes to say goodbye over a slow link.
const GRACE: Duration = Duration::from_secs(2);

/// Longest wait for the status of a command whose output has ended: a tick.
const END_WAIT: Duration = Duration::from_secs(1);

/// Longest wait for the rest of standard error once the command has ended.
const STDERR_WAIT: Duration = Duration::from_millis(200);

/// A killed process is gone at once, unless a device holds it.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// The longest pause between two questions whether a process has ended.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
#[cfg(unix)]
mod tests;
