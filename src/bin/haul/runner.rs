//! The thread that runs the commands of `--then`, one after the other, so that transfers go on meanwhile.
//!
//! It ends once there is nothing to run, and at the latest some time after the receiver has: what runs then is killed,
//! with its process group, and what waits is reported.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::exit::{Code, Stop};
use crate::explain::{shown, system};
use crate::jobs::{FACTS, Job, Jobs, Lost};
use crate::report::Reporter;

/// Commands that run, and that are to run.
pub(crate) struct Runner {
    words: Vec<OsString>,
    /// Variable with a secret that is no command's business.
    secret: Option<String>,
    /// Time that is given to commands once the receiver ends, if the user set it.
    grace: Option<Duration>,
    reporter: Arc<Reporter>,
    state: Mutex<State>,
    /// Notice that the state has changed.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: Jobs,
    stage: Stage,
    /// Set once nothing more comes.
    is_closed: bool,
    /// Time at which the rest is given up.
    deadline: Option<Instant>,
    /// Number of commands that failed.
    failed: u64,
    /// Number of those that were not kept, and are not run.
    lost: u64,
    notes: Notes,
    /// Set once the thread has ended.
    code: Option<Code>,
}

/// Deed of the thread.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Stage {
    #[default]
    Idle,
    /// The system starts a command, which has no number yet.
    Starting,
    /// A process group runs for a path.
    Running(Pid, OsString),
}

impl Runner {
    /// Starts the thread that runs these words.
    pub(crate) fn start(
        words: Vec<OsString>,
        secret: Option<String>,
        grace: Option<Duration>,
        reporter: &Arc<Reporter>,
    ) -> Result<Arc<Self>, Stop> {
        let (state, changed) = (Mutex::default(), Condvar::new());
        let reporter = Arc::clone(reporter);
        let runner = Arc::new(Self { words, secret, grace, reporter, state, changed });
        let work = Arc::clone(&runner);
        let started = thread::Builder::new().name("then".into()).spawn(move || work.work());
        started.map(|_| runner).map_err(|error| {
            Stop::new(Code::Local, format!("cannot run commands: {}", system(&error)))
        })
    }

    /// Has a command run once those before it have. It waits for nothing.
    pub(crate) fn add(&self, job: Job) {
        let mut state = self.lock();
        let place = shown(Path::new(&job.place));
        let pushed = state.jobs.push(job);
        if pushed.is_err() {
            state.lost += 1;
        }
        let is_first = state.lost == 1;
        drop(state);
        self.changed.notify_all();
        if let Err(error) = pushed
            && is_first
        {
            let program = self.program();
            self.fail(&format!("--then {program} is not run for {place}: {}", system(&error)));
        }
    }

    /// Gives commands little time from now on: a signal has asked the receiver to end.
    pub(crate) fn hurry(&self) {
        self.end_within(self.grace.unwrap_or(AFTER_SIGNAL));
    }

    /// Waits for the commands that are to run, for no longer than they are given. Returns the code of all of them.
    pub(crate) fn finish(&self) -> Code {
        self.lock().is_closed = true;
        self.end_within(self.grace.unwrap_or(AFTER_END));
        let mut state = self.lock();
        loop {
            if let Some(code) = state.code {
                return code;
            }
            // It may be brought forward meanwhile.
            let until = state.deadline.unwrap_or_else(Instant::now) + OUT_OF_REACH;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                self.fail(&format!("--then {} does not end, and is left", self.program()));
                return Code::Local;
            }
            state = self.wait(state, left);
        }
    }

    /// Kills what runs, and says what is not run, without waiting for who reads that: the process is about to end.
    pub(crate) fn kill(&self) {
        let mut state = self.lock();
        state.deadline = Some(Instant::now());
        let is_starting = |state: &mut State| state.stage == Stage::Starting;
        let waited = self.changed.wait_timeout_while(state, TO_START, is_starting);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if let Stage::Running(group, place) = &state.stage {
            let _ = kill_process_group(*group, Signal::KILL);
            let text = format!("--then {} was killed for {}", self.program(), Self::shown(place));
            self.reporter.mention(&text);
        }
        for text in self.unrun(&mut state) {
            self.reporter.mention(&text);
        }
    }

    fn end_within(&self, time: Duration) {
        let mut state = self.lock();
        let deadline = Instant::now().checked_add(time);
        state.deadline = state.deadline.into_iter().chain(deadline).min();
        drop(state);
        self.changed.notify_all();
    }

    /// Runs what comes, until nothing more does, or the time is up.
    fn work(&self) {
        while let Some(job) = self.next() {
            let Err(what) = self.run(&job) else { continue };
            let mut state = self.lock();
            state.failed += 1;
            let is_told = state.failed <= TOLD as u64;
            drop(state);
            if is_told {
                let place = Self::shown(&job.place);
                self.fail(&format!("--then {} failed for {place}: {what}", self.program()));
            }
        }
        let mut state = self.lock();
        let State { failed, lost, .. } = *state;
        let unrun = self.unrun(&mut state);
        drop(state);
        if let Some(more @ 1..) = failed.checked_sub(TOLD as u64) {
            self.reporter.complain(&format!("{more} more commands of --then failed"));
        }
        if lost > 0 {
            self.reporter.complain(&format!("{lost} commands of --then were not kept, nor run"));
        }
        let is_bad = failed > 0 || lost > 0 || !unrun.is_empty();
        unrun.iter().for_each(|text| self.fail(text));
        self.lock().code = Some(if is_bad { Code::Local } else { Code::Done });
        self.changed.notify_all();
    }

    /// Waits for the next command. `None`: nothing more is to run.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_over() {
                return None;
            }
            match state.jobs.pop() {
                Ok(Some(job)) => {
                    state.stage = Stage::Starting;
                    return Some(job);
                }
                Ok(None) if state.is_closed => return None,
                Ok(None) => {
                    let changed = self.changed.wait(state);
                    state = changed.unwrap_or_else(PoisonError::into_inner);
                }
                Err(Lost { count, error }) => {
                    state.lost += count;
                    let text = format!("cannot read what --then is to run for: {}", system(&error));
                    self.reporter.complain(&text);
                }
            }
        }
    }

    /// Runs one command to its end; the error says how it failed.
    fn run(&self, job: &Job) -> Result<(), String> {
        let started = self.spawn(job);
        let mut state = self.lock();
        let Ok(mut child) = started else {
            state.stage = Stage::Idle;
            let cannot = |error| format!("the command cannot be started: {}", system(&error));
            return started.map(drop).map_err(cannot);
        };
        let group = Pid::from_child(&child);
        state.stage = Stage::Running(group, job.place.clone());
        self.changed.notify_all();
        let (result, mut state) = self.await_end(state, &mut child, group);
        state.stage = Stage::Idle;
        result
    }

    /// Starts a command as the first of a process group, so that what it starts can be killed with it.
    fn spawn(&self, job: &Job) -> io::Result<Child> {
        let mut words = self.words.iter().map(|word| filled(word, &job.place));
        let program = words.next().ok_or(io::ErrorKind::NotFound)?;
        let mut command = Command::new(program);
        command.args(words).process_group(0);
        // Those of a haul that has started this one are not about this file.
        FACTS.iter().for_each(|fact| _ = command.env_remove(fact));
        self.secret.iter().for_each(|secret| _ = command.env_remove(secret));
        command.envs(job.named());
        // Standard output may be the stream, or be for programs.
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        command.stdin(Stdio::null()).stdout(Stdio::from(stderr)).spawn()
    }

    /// Waits for the end of a process, and ends it once its time is up. No call of the standard library waits for a
    /// process with a limit.
    fn await_end<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        child: &mut Child,
        group: Pid,
    ) -> (Result<(), String>, MutexGuard<'s, State>) {
        let (began, mut ended) = (Instant::now(), None::<Instant>);
        let result = loop {
            match (child.try_wait(), ended) {
                (Ok(None), _) => {}
                (Ok(Some(_)), Some(_)) => {
                    // What it has started may have outlived the first signal.
                    let _ = kill_process_group(group, Signal::KILL);
                    break Err("it was killed, as the receiver was to end".into());
                }
                (Ok(Some(status)), None) if status.success() => break Ok(()),
                (Ok(Some(status)), None) => break Err(status.to_string()),
                (Err(error), _) => break Err(system(&error)),
            }
            if state.is_over() {
                let since = *ended.get_or_insert_with(|| {
                    let _ = kill_process_group(group, Signal::TERM);
                    Instant::now()
                });
                if since.elapsed() >= TO_END {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                if since.elapsed() >= TO_END + TO_DIE {
                    break Err("it cannot be killed, and is left".into());
                }
            }
            if let Some(text) = self.due_note(&mut state) {
                self.reporter.mention(&text);
            }
            state = self.wait(state, (began.elapsed() / 8).clamp(SHORTEST, LONGEST));
        };
        (result, state)
    }

    /// Returns what is to be said of a wait, if it is time to.
    fn due_note(&self, state: &mut State) -> Option<String> {
        let first = match state.jobs.len() {
            _ if state.is_closed => Some(FIRST_AT_END),
            0 => None,
            _ => Some(FIRST),
        };
        let waited = state.notes.due(first, Instant::now())?;
        let Stage::Running(_, place) = &state.stage else { return None };
        let (program, place, more) = (self.program(), Self::shown(place), state.jobs.len());
        let mut text =
            format!("waiting for --then {program} for {} s: it runs for {place}", waited.as_secs());
        if more > 0 {
            text.push_str(&format!(", and {more} more are to run"));
        }
        if let Some(deadline) = state.deadline {
            let left = deadline.saturating_duration_since(Instant::now()).as_secs();
            text.push_str(&format!("; it is killed in {left} s"));
        }
        Some(text)
    }

    /// Takes what is not to run any more, and returns what is to be said of it.
    fn unrun(&self, state: &mut State) -> Vec<String> {
        let (program, count) = (self.program(), state.jobs.len());
        let mut texts = Vec::new();
        while texts.len() < TOLD
            && let Ok(Some(job)) = state.jobs.pop()
        {
            let place = Self::shown(&job.place);
            texts.push(format!(
                "--then {program} was not run for {place}, as the receiver was to end"
            ));
        }
        let more = count - texts.len() as u64;
        if more > 0 {
            texts.push(format!("nor was --then {program} run for {more} more"));
        }
        state.jobs = Jobs::default();
        texts
    }

    /// Reports that a command failed, or was not run, to people and to programs.
    fn fail(&self, text: &str) {
        self.reporter.failed(Code::Local, text, None);
        self.reporter.complain(text);
    }

    fn shown(place: &OsStr) -> String {
        shown(Path::new(place))
    }

    /// Returns the name of the program.
    fn program(&self) -> String {
        self.words.first().map(|word| Self::shown(word)).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change of the state, for so long at most.
    fn wait<'s>(&self, state: MutexGuard<'s, State>, time: Duration) -> MutexGuard<'s, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    /// Returns whether nothing is to run any more, whatever waits.
    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Times at which it is said that something waits: once, and then ever more rarely.
#[derive(Debug, Default)]
struct Notes {
    since: Option<Instant>,
    /// Time of waiting after which it is said next, once it was said.
    next: Option<Duration>,
}

impl Notes {
    /// Returns for how long something has waited, if that is to be said now. `first`: the time after which it is said
    /// first; nothing waits without one.
    fn due(&mut self, first: Option<Duration>, now: Instant) -> Option<Duration> {
        let Some(first) = first else {
            *self = Self::default();
            return None;
        };
        let waited = now.saturating_duration_since(*self.since.get_or_insert(now));
        let is_due = waited >= self.next.unwrap_or(first);
        is_due.then(|| {
            self.next = Some(waited + waited.clamp(FIRST, RAREST));
            waited
        })
    }
}

/// Returns a word with the path for each `{}` in it.
fn filled(word: &OsStr, place: &OsStr) -> OsString {
    let (mut rest, mut whole) = (word.as_bytes(), Vec::new());
    while let Some(at) = rest.windows(2).position(|pair| pair == b"{}") {
        whole.extend_from_slice(&rest[..at]);
        whole.extend_from_slice(place.as_bytes());
        rest = &rest[at + 2..];
    }
    whole.extend_from_slice(rest);
    OsString::from_vec(whole)
}

/// Commands that failed, or were not run, of which each is named.
const TOLD: usize = 10;

/// Time for commands after a signal, unless the user set it: less than services are given to end.
const AFTER_SIGNAL: Duration = Duration::from_secs(60);

/// Time for commands after another end.
const AFTER_END: Duration = Duration::from_secs(60 * 60);

/// Time for a command that was asked to end.
const TO_END: Duration = Duration::from_secs(2);

/// Time for one that was killed, unless a device holds it.
const TO_DIE: Duration = Duration::from_secs(3);

/// Wait beyond the deadline for a thread that is held by the system.
const OUT_OF_REACH: Duration = Duration::from_secs(10);

/// Longest wait for a command that is being started, where the process is to end at once.
const TO_START: Duration = Duration::from_secs(1);

/// Time after which it is said that commands wait for one that runs, and the longest until it is said again.
const FIRST: Duration = Duration::from_secs(30);
const RAREST: Duration = Duration::from_secs(60 * 60);

/// Time after which it is said that the end of the receiver waits.
const FIRST_AT_END: Duration = Duration::from_secs(1);

/// Pauses between two looks whether a command has ended.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_is_filled_wherever_the_path_is_wanted() {
        for (word, expected) in
            [("{}", "/a b"), ("x={}.{}", "x=/a b./a b"), ("{", "{"), ("", ""), ("{ }", "{ }")]
        {
            assert_eq!(filled(OsStr::new(word), OsStr::new("/a b")), expected, "{word}");
        }
    }

    #[test]
    fn wait_is_told_once_and_then_ever_more_rarely() {
        let (start, mut notes) = (Instant::now(), Notes::default());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut told = Vec::new();
        for second in 0..4 * 3600 {
            told.extend(notes.due(Some(FIRST), at(second)).map(|waited| waited.as_secs()));
        }
        assert_eq!(told, [30, 60, 120, 240, 480, 960, 1920, 3840, 7440, 11040]);
        assert_eq!(notes.due(None, at(5)), None, "nothing waits any more");
        assert_eq!(notes.due(Some(FIRST_AT_END), at(100)), None);
        assert_eq!(notes.due(Some(FIRST_AT_END), at(101)), Some(FIRST_AT_END));
        assert_eq!(notes.due(Some(FIRST_AT_END), at(102)), None, "it was said");
    }
}
