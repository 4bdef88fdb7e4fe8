//! Commands that run once a file, or a transfer, has arrived: `--then`.
//!
//! One thread runs them, one after the other, so that a transfer goes on meanwhile.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use haul::types::Outcome;
use haul::{Receipt, Summary};
use rustix::fs::{Access, access};

use crate::args::Receive;
use crate::choices::Per;
use crate::exit::{Code, Stop};
use crate::explain::{shown, system};
use crate::report::Reporter;

/// The thread that runs commands.
pub(crate) struct Runner {
    then: Then,
    thread: JoinHandle<Code>,
}

/// Way to the thread that runs commands.
#[derive(Debug, Clone)]
pub(crate) struct Then {
    jobs: SyncSender<Option<Job>>,
    per: Per,
    folder: Arc<Path>,
}

/// A command that is to run.
#[derive(Debug)]
struct Job {
    /// Path that `{}` stands for.
    place: PathBuf,
    facts: Vec<(&'static str, OsString)>,
}

impl Runner {
    /// Starts the thread, if there is a command to run.
    pub(crate) fn start(
        args: &Receive,
        folder: &Path,
        reporter: &Arc<Reporter>,
    ) -> Result<Option<Self>, Stop> {
        if args.then.is_empty() {
            return Ok(None);
        }
        let (jobs, queue) = sync_channel(QUEUE);
        let (words, reporter) = (args.then.clone(), Arc::clone(reporter));
        let run = move || work(&words, &queue, &reporter);
        let thread = thread::Builder::new().name("then".into()).spawn(run).map_err(|error| {
            Stop::new(Code::Local, format!("cannot run commands: {}", system(&error)))
        })?;
        let per = args.then_per.unwrap_or_default();
        Ok(Some(Self { then: Then { jobs, per, folder: folder.into() }, thread }))
    }

    pub(crate) fn then(&self) -> Then {
        self.then.clone()
    }

    /// Waits for the commands that are to run. Returns the code of all of them.
    pub(crate) fn finish(self) -> Code {
        // Whoever has another way to the thread has nothing to run any more.
        let _ = self.then.jobs.send(None);
        self.thread.join().unwrap_or(Code::Local)
    }
}

impl Then {
    /// Has the command run for a file that this side vouches for.
    pub(crate) fn received(&self, receipt: &Receipt, peer: Option<&str>) {
        if self.per != Per::File {
            return;
        }
        let place = self.folder.join(OsStr::from_bytes(receipt.path.as_bytes()));
        let outcome = if receipt.outcome == Outcome::Held { "held" } else { "stored" };
        let mut facts = vec![
            ("HAUL_EVENT", "received".into()),
            ("HAUL_FILE", place.clone().into()),
            ("HAUL_NAME", OsStr::from_bytes(receipt.path.as_bytes()).into()),
            ("HAUL_SIZE", receipt.size.to_string().into()),
            ("HAUL_BLAKE3", receipt.hash.to_string().into()),
            ("HAUL_DURABILITY", receipt.durability.to_string().into()),
            ("HAUL_OUTCOME", outcome.into()),
        ];
        self.add(place, &mut facts, peer);
    }

    /// Has the command run for a transfer that is over.
    pub(crate) fn finished(&self, summary: &Summary, code: Code, peer: Option<&str>) {
        if self.per != Per::Transfer {
            return;
        }
        let mut facts = vec![("HAUL_EVENT", "finished".into())];
        for (name, count) in [
            ("HAUL_FILES", summary.files),
            ("HAUL_BYTES", summary.bytes),
            ("HAUL_SKIPPED", summary.skipped),
            ("HAUL_REFUSED", summary.refused),
            ("HAUL_WITHDRAWN", summary.withdrawn),
            ("HAUL_CODE", code.number().into()),
        ] {
            facts.push((name, count.to_string().into()));
        }
        self.add(self.folder.to_path_buf(), &mut facts, peer);
    }

    fn add(&self, place: PathBuf, facts: &mut Vec<(&'static str, OsString)>, peer: Option<&str>) {
        facts.push(("HAUL_FOLDER", self.folder.as_os_str().into()));
        facts.extend(peer.map(|peer| ("HAUL_PEER", peer.into())));
        // The thread is there until it is told to end.
        let _ = self.jobs.send(Some(Job { place, facts: std::mem::take(facts) }));
    }
}

/// Looks for the program of `--then`, before anything is received for it. One whose name has a `{}` is not known yet.
pub(crate) fn check(words: &[OsString]) -> Result<(), Stop> {
    let Some(word) = words.first() else { return Ok(()) };
    let (program, shown) = (Path::new(word), shown(Path::new(word)));
    if word.as_bytes().windows(2).any(|pair| pair == b"{}") {
        return Ok(());
    }
    let runs = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let wrong = |text: String| Err(Stop::new(Code::Usage, text));
    if !word.as_bytes().contains(&b'/') {
        let folders = env::var_os("PATH").unwrap_or_default();
        if env::split_paths(&folders).any(|folder| runs(&folder.join(program))) {
            return Ok(());
        }
        return wrong(format!("--then: there is no command '{shown}' in PATH"));
    }
    match fs::metadata(program) {
        Ok(_) if runs(program) => Ok(()),
        Ok(_) => wrong(format!("--then: '{shown}' is no program that this user may run")),
        Err(error) => wrong(format!("--then: there is no command '{shown}': {}", system(&error))),
    }
}

/// Runs what comes, until told to end. Returns the code of all of it.
fn work(words: &[OsString], queue: &Receiver<Option<Job>>, reporter: &Reporter) -> Code {
    let mut failed = 0_u64;
    while let Ok(Some(job)) = queue.recv() {
        let Err(what) = run(words, &job) else { continue };
        failed += 1;
        if failed <= TOLD {
            let program = words.first().map(|word| shown(Path::new(word))).unwrap_or_default();
            let text = format!("--then {program} failed for {}: {what}", shown(&job.place));
            reporter.failed(Code::Local, &text, None);
            reporter.complain(&text);
        }
    }
    if failed > TOLD {
        reporter.complain(&format!("{} more commands of --then failed", failed - TOLD));
    }
    if failed > 0 { Code::Local } else { Code::Done }
}

/// Runs one command to its end; the error says how it failed.
fn run(words: &[OsString], job: &Job) -> Result<(), String> {
    let mut words = words.iter().map(|word| filled(word, job.place.as_os_str()));
    let program = words.next().ok_or("there is no command")?;
    // Standard output may be the stream, or be for programs.
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let stderr = stderr.map_err(|error| system(&error))?;
    let mut command = Command::new(program);
    command.args(words).envs(job.facts.iter().map(|(name, fact)| (name, fact)));
    let status = command.stdin(Stdio::null()).stdout(Stdio::from(stderr)).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(format!("the command cannot be started: {}", system(&error))),
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

/// Most commands that wait for those before them. With more, the transfer waits.
const QUEUE: usize = 4096;

/// Commands that failed, of which is said how.
const TOLD: u64 = 10;

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
}
