//! What the command says: text for people, or one JSON object a line.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use haul::Summary;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use crate::args::Output;
use crate::exit::Stop;
use crate::explain::{clean, system};

/// Writes lines, from any thread. A reader that went away is no reason to stop, or to panic.
///
/// A thread writes what stands in a queue, so that a reader who is slow does not keep the transfers waiting. When the queue
/// is full, progress is left out, which the next one makes up for; any other line waits for up to [`STUCK`]. If
/// there is no room even then, nobody reads: that is said on standard error, no further line is written, the
/// transfers go on, and the command does not end with success.
pub(crate) struct Reporter {
    output: Output,
    lines: Mutex<Lines>,
    state: Arc<Mutex<State>>,
    /// Lines that were written.
    count: Arc<AtomicU64>,
    /// Bars are drawn: standard error is a terminal, and nobody asked for quiet.
    bars: Option<MultiProgress>,
}

/// The queue, and the thread that empties it. Both are made by the first line.
struct Lines {
    to: Option<Box<dyn Write + Send>>,
    queue: Option<SyncSender<String>>,
    /// Disconnected when the thread has written all.
    written: Option<Receiver<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Whoever read it went away: nothing more is written.
    Closed,
    /// It could not be written, for a reason that somebody should know.
    Failed,
}

/// One line of `--json`. The name of the variant is its field `event`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Record<'a> {
    /// A receiver waits for senders.
    Listening { address: &'a str },
    /// A sender is there, or a receiver was reached.
    Connected { peer: &'a str },
    /// A file was offered. Without a size it is not known before the end.
    Offered { path: &'a str, size: Option<u64> },
    /// So much is known to have arrived. It never goes back.
    Progress { bytes: u64, total: u64 },
    /// The receiver vouches for a file (sender).
    Delivered(Held<'a>),
    /// A file was vouched for (receiver).
    Received(Held<'a>),
    /// The receiver does not take a file, or skips it.
    Refused {
        path: &'a str,
        reason: &'a str,
        /// What the receiver's store could not do, if that is the reason.
        #[serde(skip_serializing_if = "Option::is_none")]
        operation: Option<&'a str>,
    },
    /// The sender could not send a file.
    Withdrawn { path: &'a str, reason: &'a str },
    /// A file was taken for unchanged by its size and time, and not verified.
    Unchanged { path: &'a str, size: u64 },
    /// The sender left something out, as its user wished.
    Skipped { path: &'a str, reason: &'a str },
    /// The connection is made again.
    Retry { attempt: u32, cause: &'a str },
    /// A transfer is over; every entry is settled.
    Finished {
        files: u64,
        bytes: u64,
        resent: u64,
        seconds: f64,
        #[serde(flatten)]
        others: Others,
    },
    /// A transfer, or the command, failed; `code` is the exit code for it.
    Failed { code: u8, message: &'a str },
}

/// How many entries were not delivered, by what became of them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Others {
    pub(crate) skipped: u64,
    pub(crate) refused: u64,
    pub(crate) withdrawn: u64,
    pub(crate) unchanged: u64,
}

/// What a receipt says.
#[derive(Debug, Serialize)]
pub(crate) struct Held<'a> {
    /// The name that the receiver gave it.
    pub(crate) path: &'a str,
    pub(crate) size: u64,
    pub(crate) blake3: &'a str,
    pub(crate) durability: &'a str,
    /// The name that was offered, where it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offered: Option<&'a str>,
}

impl From<&Summary> for Others {
    fn from(summary: &Summary) -> Self {
        let Summary { skipped, refused, withdrawn, trusted, .. } = *summary;
        Self { skipped, refused, withdrawn, unchanged: trusted }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    record: &'a Record<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
}

impl Reporter {
    pub(crate) fn new(output: Output) -> Self {
        Self::to(Box::new(io::stdout()), output)
    }

    /// Says everything on standard error, because standard output is the stream.
    pub(crate) fn on_stderr(output: Output) -> Self {
        Self::to(Box::new(io::stderr()), output)
    }

    fn to(to: Box<dyn Write + Send>, output: Output) -> Self {
        let drawn = !output.quiet && io::stderr().is_terminal();
        let bars = drawn.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        let lines = Lines { to: Some(to), queue: None, written: None };
        let state = Arc::new(Mutex::new(State::Open));
        Self { output, lines: Mutex::new(lines), state, count: Arc::default(), bars }
    }

    /// Information for people.
    pub(crate) fn say(&self, text: &str) {
        if !self.output.quiet && !self.output.json {
            self.write(clean(text), true);
        }
    }

    /// An event, for `--json`.
    pub(crate) fn record(&self, record: &Record<'_>, session: Option<u64>) {
        if self.output.json
            && let Ok(line) = serde_json::to_string(&Line { record, session })
        {
            self.write(line, !matches!(record, Record::Progress { .. }));
        }
    }

    /// Something that is wrong, on standard error.
    pub(crate) fn complain(&self, text: &str) {
        self.tell(&format!("haul: {}", clean(text)));
    }

    /// The end of the command, without success.
    pub(crate) fn stop(&self, stop: &Stop) {
        self.complain(&stop.message);
        self.record(&Record::Failed { code: stop.code.number(), message: &stop.message }, None);
    }

    /// How far it is, on standard error.
    pub(crate) fn progress(&self, text: &str) {
        if !self.output.quiet {
            self.tell(&clean(text));
        }
    }

    /// A bar, where bars are drawn.
    pub(crate) fn bar(&self) -> Option<ProgressBar> {
        self.bars.as_ref().map(|bars| bars.add(ProgressBar::no_length()))
    }

    pub(crate) const fn wants_json(&self) -> bool {
        self.output.json
    }

    /// Waits until all is written, for as long as somebody reads. Whether something was lost that should have been said,
    /// and nobody went away from hearing it.
    pub(crate) fn finish(&self) -> bool {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.queue = None;
        if let Some(written) = lines.written.take()
            && self.state() == State::Open
        {
            let mut before = self.count.load(Ordering::Relaxed);
            while written.recv_timeout(STUCK) == Err(RecvTimeoutError::Timeout) {
                let count = self.count.load(Ordering::Relaxed);
                if count == before {
                    self.give_up();
                    break;
                }
                before = count;
            }
        }
        self.state() == State::Failed
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&self) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if *state != State::Open {
                return;
            }
            *state = State::Failed;
        }
        let seconds = STUCK.as_secs();
        self.complain(&format!(
            "nobody reads standard output: a line has waited for {seconds} s, and no more is written to it"
        ));
    }

    fn write(&self, mut line: String, must: bool) {
        let start = Instant::now();
        // Nobody waits for room with the lock in hand: sessions would wait for one another, each in its turn.
        let Some(queue) = self.queue() else { return };
        while self.state() == State::Open {
            line = match queue.try_send(line) {
                Err(TrySendError::Full(line)) if must => line,
                _ => return,
            };
            if start.elapsed() >= STUCK {
                return self.give_up();
            }
            thread::sleep(PAUSE);
        }
    }

    fn queue(&self) -> Option<SyncSender<String>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = lines.to.take() {
            self.start(&mut lines, to);
        }
        lines.queue.clone()
    }

    fn start(&self, lines: &mut Lines, mut to: Box<dyn Write + Send>) {
        let (queue, queued) = sync_channel::<String>(QUEUE);
        let (done, written) = sync_channel::<()>(0);
        let (state, bars) = (Arc::clone(&self.state), self.bars.clone());
        let count = Arc::clone(&self.count);
        let run = move || {
            let _done = done;
            for line in queued {
                let mut write = || writeln!(to, "{line}").and_then(|()| to.flush());
                let result = match &bars {
                    Some(bars) => bars.suspend(write),
                    None => write(),
                };
                let Err(error) = result else {
                    // No other memory depends on it: relaxed is enough.
                    count.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if error.kind() == io::ErrorKind::BrokenPipe {
                    *state = State::Closed;
                } else if *state == State::Open {
                    *state = State::Failed;
                    let error = system(&error);
                    let _ =
                        writeln!(io::stderr(), "haul: cannot write to standard output: {error}");
                }
                return;
            }
        };
        match thread::Builder::new().name("output".into()).spawn(run) {
            Ok(_) => (lines.queue, lines.written) = (Some(queue), Some(written)),
            Err(error) => {
                *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Failed;
                self.complain(&format!("cannot write to standard output: {}", system(&error)));
            }
        }
    }

    fn tell(&self, line: &str) {
        // Where this cannot be said, nothing can.
        let _ = self.aside(|| writeln!(io::stderr(), "{line}"));
    }

    /// Writes between the bars.
    fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// Lines that may wait to be written: a second of many small files, and 200 KB of memory.
const QUEUE: usize = 1024;

/// How long a line waits for room: well under the silence that a peer puts up with.
const STUCK: Duration = Duration::from_secs(5);

/// How often it is looked whether there is room.
const PAUSE: Duration = Duration::from_millis(5);
