//! A command whose output is sent: `haul send --from-command`.
//!
//! It is started when the receiver has taken the entry, as a part of this job of the shell, with the same standard input
//! and standard error: it is what it would be in front of a pipe. But how it ends is known: unless it ends with success, its
//! entry fails, and nothing of it gets a name at the receiver.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::explain::{shown, system};

/// Command that is run once.
pub(crate) struct Producer {
    words: Vec<OsString>,
    /// Variable with a secret that is no command's business.
    secret: Option<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    /// Set once nobody wants its output any more.
    is_over: bool,
    /// Words for people about its failure.
    failure: Option<String>,
}

/// Output of the command, up to an end with success.
struct Output {
    producer: Arc<Producer>,
    pipe: Option<ChildStdout>,
}

impl Producer {
    pub(crate) fn new(words: Vec<OsString>, secret: Option<String>) -> Arc<Self> {
        Arc::new(Self { words, secret, state: Mutex::default() })
    }

    /// Returns what it writes. The first read starts it.
    pub(crate) fn output(self: &Arc<Self>) -> impl Read + Send + 'static {
        Output { producer: Arc::clone(self), pipe: None }
    }

    /// Returns words about its failure, if it failed.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Ends it, unless it has ended: nobody wants the rest.
    pub(crate) fn end(&self) {
        self.lock().is_over = true;
        self.signal(Signal::TERM);
        let start = Instant::now();
        let has_time = || start.elapsed() < TO_END;
        if self.await_end(has_time).is_ok_and(|status| status.is_none()) {
            self.kill();
        }
    }

    /// Kills it, unless it has ended.
    pub(crate) fn kill(&self) {
        let mut state = self.lock();
        state.is_over = true;
        if let Some(child) = &mut state.child {
            // Both fail where it has ended, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn start(&self) -> io::Result<ChildStdout> {
        let mut state = self.lock();
        let (Some((program, arguments)), false) = (self.words.split_first(), state.is_over) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped());
        self.secret.iter().for_each(|secret| _ = command.env_remove(secret));
        let mut child = command.spawn().inspect_err(|error| {
            let text = format!("{} cannot be started: {}", self.program(), system(error));
            state.failure = Some(text);
        })?;
        let pipe = child.stdout.take();
        state.child = Some(child);
        pipe.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Returns the end of the output: an error, unless the command has ended with success. Waits for that: a command may
    /// close its output before.
    fn finish(&self) -> io::Result<usize> {
        let ended = self.await_end(|| true);
        let is_good = |status: &Option<ExitStatus>| status.is_some_and(|status| status.success());
        if ended.as_ref().is_ok_and(is_good) {
            return Ok(0);
        }
        let mut state = self.lock();
        if !state.is_over {
            let how = match ended {
                Ok(status) => status.map(|status| status.to_string()).unwrap_or_default(),
                Err(error) => system(&error),
            };
            state.failure = Some(format!("{} failed: {how}", self.program()));
        }
        Err(io::ErrorKind::Other.into())
    }

    /// Waits until it has ended, for as long as this is so. No call of the standard library waits for a process in a way
    /// that lets another thread kill it.
    fn await_end(&self, has_time: impl Fn() -> bool) -> io::Result<Option<ExitStatus>> {
        let mut pause = Duration::from_millis(1);
        loop {
            let mut state = self.lock();
            let Some(child) = &mut state.child else { return Err(io::ErrorKind::NotFound.into()) };
            let status = child.try_wait()?;
            drop(state);
            if status.is_some() || !has_time() {
                return Ok(status);
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Sends a signal, unless it has ended: its number may be that of another by then.
    fn signal(&self, signal: Signal) {
        let mut state = self.lock();
        if let Some(child) = &mut state.child
            && matches!(child.try_wait(), Ok(None))
        {
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// Returns the name of the program.
    fn program(&self) -> String {
        self.words.first().map(|word| shown(Path::new(word))).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Output {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let pipe = match &mut self.pipe {
            Some(pipe) => pipe,
            none => none.insert(self.producer.start()?),
        };
        match pipe.read(buffer)? {
            0 if !buffer.is_empty() => self.producer.finish(),
            count => Ok(count),
        }
    }
}

/// Time to end by itself, once it was asked to.
const TO_END: Duration = Duration::from_secs(2);

/// Longest pause between two looks whether it has ended.
const LONGEST: Duration = Duration::from_millis(50);
