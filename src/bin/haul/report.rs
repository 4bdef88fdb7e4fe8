//! Output of the command: text for people, or one JSON object a line.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use haul::Summary;
use serde::Serialize;

use crate::args::Output;
use crate::bars::{Bars, REDRAW, Step};
use crate::choices::When;
use crate::exit::{Code, Stop, Stopped};
use crate::explain::{clean, clean_json, without_tickets};
use crate::screen::{Colour, Style};
use crate::spool::{Failed, Need, Put, Spool};
use crate::status::Status;

/// Writer of lines, from any thread. A reader that went away is no reason to stop, or to panic; one that does not read
/// keeps nobody waiting for long, see [`Spool`].
///
/// - Nobody reads standard output: that is reported on standard error, the transfers go on, and the command does not
///   end with success.
/// - Nobody reads standard error: the transfers go on, and the exit code is what it would be. It says as much as
///   the lines did that were lost.
pub(crate) struct Reporter {
    output: Output,
    /// Signal that asked the process to end, which is in the number of its exit code.
    stopped: Stopped,
    /// `None` where what is for standard output goes the way of what is for standard error: that is what it is, or
    /// one terminal has both.
    out: Option<Spool<String>>,
    err: Arc<Spool<Item>>,
    /// Bars are drawn on standard error.
    is_drawn: bool,
    /// Set if a person at a terminal reads what is said.
    is_watched: bool,
    /// Looks of what is said, and of what is told.
    said: Style,
    told: Style,
    /// Bars so far.
    bars: AtomicU64,
}

/// Amount of what is said of a file that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Nothing: there is a bar, and a sum at the end.
    None,
    /// A row for a terminal.
    Row,
    /// A line with the whole receipt.
    Receipt,
}

/// Item that the thread of standard error writes.
enum Item {
    /// A line for standard output.
    Said(String),
    /// A line for standard error.
    Told(String),
    /// A change of the bar that has this number.
    Bar(u64, Step),
    /// Nothing happened for a while: bars are drawn anew.
    Tick,
}

/// A bar on the terminal. It is taken away when it is dropped.
pub(crate) struct Bar {
    number: u64,
    err: Arc<Spool<Item>>,
}

/// One line of `--json`. The name of the variant is its field `event`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Record<'a> {
    /// A receiver waits for senders.
    Listening { address: &'a str },
    /// Ticket that admits somebody whose key is not known, once.
    Ticket { ticket: &'a str },
    /// The other side has proved to have this key; `name` is what this user calls its owner.
    Identified {
        key: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
    },
    /// A sender is there, or a receiver was reached.
    Connected { peer: &'a str },
    /// A file was offered. Without a size it is not known before the end.
    Offered { path: &'a str, size: Option<u64> },
    /// Progress of the transfer. What is acknowledged never goes back.
    Progress {
        /// Bytes of content that went over the stream, those that went twice counted twice.
        sent: u64,
        /// Bytes of content that the receiver holds.
        acknowledged: u64,
        /// Bytes of all content, where that is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
        /// Bytes a second, over the last three; not at the start of a connection.
        #[serde(skip_serializing_if = "Option::is_none")]
        rate: Option<u64>,
    },
    /// The receiver vouches for a file (sender).
    Delivered(Held<'a>),
    /// A file was vouched for (receiver).
    Received(Held<'a>),
    /// The receiver does not take a file, or skips it.
    Refused {
        path: &'a str,
        reason: &'a str,
        /// Operation that failed at the receiver's store, if that is the reason.
        #[serde(skip_serializing_if = "Option::is_none")]
        operation: Option<&'a str>,
    },
    /// The sender could not send a file.
    Withdrawn { path: &'a str, reason: &'a str },
    /// Number of entries that were refused or not sent beyond those that were listed.
    Unlisted { count: u64 },
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
        /// Bytes of content that went over the stream.
        travelled: u64,
        /// Bytes of these files that did not have to.
        already: u64,
        resent: u64,
        /// Since the peer has greeted.
        seconds: f64,
        /// Bytes a second, of those that went over the stream.
        rate: u64,
        /// Name of the other end.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<&'a str>,
        #[serde(flatten)]
        others: Others,
    },
    /// A partial file that there is, or was.
    Partial {
        path: &'a str,
        size: u64,
        /// Bytes that it takes on the disk.
        disk: u64,
        /// Seconds since it was changed last.
        age: u64,
        in_use: bool,
        removed: bool,
    },
    /// The sum of all partial files: those that are listed, or were removed, and those that were not to be removed.
    Partials { files: u64, disk: u64, kept: u64 },
    /// A transfer, or the command, failed; `code` is the exit code for it.
    Failed { code: u8, message: &'a str },
}

/// Number of entries that were not delivered, by what became of them.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Others {
    pub(crate) skipped: u64,
    pub(crate) refused: u64,
    pub(crate) withdrawn: u64,
    pub(crate) unchanged: u64,
}

/// Content of a receipt.
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

impl Others {
    /// Returns a summary that counts these, too.
    pub(crate) const fn added_to(self, mut summary: Summary) -> Summary {
        summary.skipped = summary.skipped.saturating_add(self.skipped);
        summary.refused = summary.refused.saturating_add(self.refused);
        summary.withdrawn = summary.withdrawn.saturating_add(self.withdrawn);
        summary.trusted = summary.trusted.saturating_add(self.unchanged);
        summary
    }
}

impl From<&Summary> for Others {
    fn from(summary: &Summary) -> Self {
        let Summary { skipped, refused, withdrawn, trusted, .. } = *summary;
        Self { skipped, refused, withdrawn, unchanged: trusted }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    /// The version of `docs/json.md`.
    v: u8,
    #[serde(flatten)]
    record: &'a Record<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
}

impl Reporter {
    pub(crate) fn new(output: Output) -> Self {
        let is_drawn = is_drawn(output);
        let is_watched = io::stdout().is_terminal();
        if is_drawn && is_watched {
            return Self::with(output, None, errors(Box::new(io::stdout()), output));
        }
        let err = errors(Box::new(io::stderr()), output);
        let mut reporter = Self::with(output, None, err);
        let told = Arc::clone(&reporter.err);
        let failed: Failed =
            Arc::new(move |text| told.write(Item::Told(format!("haul: {text}")), Need::Must));
        let put: Put<String> = Box::new(|line| put(&mut io::stdout(), line));
        let out = Spool::new("standard output", put, failed);
        reporter.out = Some(out.join(join));
        reporter.is_watched = is_watched;
        reporter.said = style(output, is_watched);
        reporter
    }

    /// Creates a reporter that writes everything to standard error, because standard output is the
    /// stream.
    pub(crate) fn on_stderr(output: Output) -> Self {
        Self::with(output, None, errors(Box::new(io::stderr()), output))
    }

    fn with(output: Output, out: Option<Spool<String>>, err: Spool<Item>) -> Self {
        let is_watched = io::stderr().is_terminal();
        let told = style(output, is_watched);
        let (is_drawn, bars) = (is_drawn(output), AtomicU64::new(0));
        let stopped = Stopped::default();
        Self {
            output,
            stopped,
            out,
            err: Arc::new(err),
            is_drawn,
            is_watched,
            said: told,
            told,
            bars,
        }
    }

    /// Writes information for people.
    pub(crate) fn say(&self, text: &str) {
        if !self.output.quiet && !self.output.json {
            self.write(clean(text), Need::Must);
        }
    }

    /// Writes an event, for `--json`.
    pub(crate) fn record(&self, record: &Record<'_>, session: Option<u64>) {
        if self.output.json
            && let Ok(line) = serde_json::to_string(&Line { v: 1, record, session })
        {
            let is_progress = matches!(record, Record::Progress { .. });
            self.write(clean_json(&line), if is_progress { Need::May } else { Need::Must });
        }
    }

    /// Writes something that is wrong, on standard error.
    pub(crate) fn complain(&self, text: &str) {
        let text = without_tickets(text);
        let colour = if text.starts_with("warning: ") { Colour::Yellow } else { Colour::Red };
        let line = self.told.paint(colour, &clean(&format!("haul: {text}")));
        self.err.write(Item::Told(line), Need::Must);
    }

    /// Works as [`Reporter::complain`], for who cannot wait at all.
    pub(crate) fn mention(&self, text: &str) {
        self.tell(&format!("haul: {text}"), Need::May);
    }

    /// Reports the end of the command, without success.
    pub(crate) fn stop(&self, stop: &Stop) {
        self.complain(&stop.message);
        self.failed(stop.code, &without_tickets(&stop.message), None);
    }

    /// Writes the event of a failure, for `--json`.
    pub(crate) fn failed(&self, code: Code, message: &str, session: Option<u64>) {
        self.record(&Record::Failed { code: self.number(code), message }, session);
    }

    pub(crate) const fn stopped(&self) -> &Stopped {
        &self.stopped
    }

    /// Returns the number that the process ends with for a code.
    pub(crate) fn number(&self, code: Code) -> u8 {
        self.stopped.number(code)
    }

    /// Says what a transfer waits for, on standard error: where there is a bar, it says so.
    pub(crate) fn note(&self, text: &str) {
        if !self.output.quiet && !self.is_drawn {
            self.tell(text, Need::May);
        }
    }

    /// Says how far a transfer is, once a second: where that was asked for, or somebody looks at a terminal that has no bars.
    pub(crate) fn progress(&self, text: &str) {
        self.tell(text, Need::May);
    }

    /// Returns whether that is said.
    pub(crate) fn wants_progress(&self) -> bool {
        let Output { quiet, progress, no_progress, .. } = self.output;
        !quiet && !no_progress && !self.is_drawn && (progress || io::stderr().is_terminal())
    }

    /// Returns whether anybody is told how far a transfer is.
    pub(crate) fn shows_progress(&self) -> bool {
        self.output.json || self.is_drawn || self.wants_progress()
    }

    /// Makes a bar for this transfer, where bars are drawn. It is taken away when it is dropped.
    pub(crate) fn bar(&self, status: &Arc<Mutex<Status>>) -> Option<Bar> {
        if !self.is_drawn {
            return None;
        }
        let number = self.bars.fetch_add(1, Ordering::Relaxed);
        let begin = Step::Begin(Arc::clone(status));
        self.err.write(Item::Bar(number, begin), Need::Must);
        Some(Bar { number, err: Arc::clone(&self.err) })
    }

    /// Returns how much is said of a file that is held.
    pub(crate) const fn detail(&self) -> Detail {
        match self.output {
            Output { json: true, .. } | Output { quiet: true, .. } => Detail::None,
            Output { hashes: true, .. } => Detail::Receipt,
            _ if !self.is_watched => Detail::Receipt,
            Output { verbose: true, .. } => Detail::Row,
            _ => Detail::None,
        }
    }

    /// Returns whether a person at a terminal reads what is said.
    pub(crate) const fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Returns how what is said may look.
    pub(crate) const fn style(&self) -> Style {
        self.said
    }

    pub(crate) const fn wants_json(&self) -> bool {
        self.output.json
    }

    /// Waits until all is written, for as long as somebody reads. Whether something was lost on standard output that
    /// should have been reported, and nobody went away from reading it.
    pub(crate) fn finish(&self) -> bool {
        let is_lost = self.out.as_ref().is_some_and(Spool::finish);
        self.err.finish();
        is_lost
    }

    /// Works as [`Reporter::finish`], for who waits no longer than this. Nothing is written afterwards.
    pub(crate) fn finish_within(self: &Arc<Self>, time: Duration) {
        let (done, finished) = sync_channel(1);
        let reporter = Arc::clone(self);
        let started = thread::Builder::new().name("last words".into()).spawn(move || {
            reporter.finish();
            let _ = done.send(());
        });
        if started.is_ok() {
            let _ = finished.recv_timeout(time);
        }
    }

    fn write(&self, line: String, need: Need) {
        match &self.out {
            Some(out) => out.write(line, need),
            None => self.err.write(Item::Said(line), need),
        }
    }

    fn tell(&self, line: &str, need: Need) {
        self.err.write(Item::Told(clean(line)), need);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.err.write(Item::Bar(self.number, Step::End), Need::Must);
    }
}

/// Returns whether bars are drawn: standard error is a terminal that can move its cursor, and nobody asked for quiet.
fn is_drawn(output: Output) -> bool {
    !output.quiet && !output.no_progress && io::stderr().is_terminal() && !is_dumb()
}

/// Returns whether the terminal is like a typewriter, or nobody knows what it is.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

fn style(output: Output, is_terminal: bool) -> Style {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_coloured = match output.color {
        When::Always => true,
        When::Never => false,
        When::Auto => is_terminal && !is_dumb() && !is_set("NO_COLOR"),
    };
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(|name| is_set(name));
    let locale = locale.and_then(std::env::var_os).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    let is_unicode = locale.contains("utf-8") || locale.contains("utf8");
    Style { is_unicode, is_coloured, start: Instant::now() }
}

/// Creates the way of all that is for standard error, and for a standard output that is `out`.
fn errors(mut out: Box<dyn Write + Send>, output: Output) -> Spool<Item> {
    let is_drawn = is_drawn(output);
    let mut bars = is_drawn.then(|| Bars::new(style(output, true)));
    let put: Put<Item> = Box::new(move |item| {
        let (to, line): (&mut dyn Write, _) = match item {
            Item::Said(line) => (&mut *out, line),
            Item::Told(line) => (&mut io::stderr(), line),
            Item::Bar(number, step) => {
                if let Some(bars) = &mut bars {
                    bars.step(number, step);
                }
                return Ok(());
            }
            Item::Tick => {
                if let Some(bars) = &mut bars {
                    bars.tick();
                }
                return Ok(());
            }
        };
        match &mut bars {
            Some(bars) => bars.aside(|| put(to, line)),
            None => put(to, line),
        }
    });
    // Where this cannot be reported, nothing can.
    let spool = Spool::new("standard error", put, Arc::new(|_| {}));
    if is_drawn { spool.idle(REDRAW, || Item::Tick) } else { spool }
}

/// Appends a line to those before it, unless they would be longer than what a pipe takes in one piece.
fn join(lines: &mut String, next: String) -> Option<String> {
    if lines.len() + next.len() + 2 > PIPE_BUF {
        return Some(next);
    }
    lines.push('\n');
    lines.push_str(&next);
    None
}

/// Bytes that a pipe takes in one piece, so that those of other writers do not come between: POSIX asks for 512, Linux
/// gives 4096.
const PIPE_BUF: usize = if cfg!(target_os = "linux") { 4096 } else { 512 };

/// Writes a line in one piece, so that others who write there do not come between it and its end.
fn put(to: &mut dyn Write, mut line: String) -> io::Result<()> {
    line.push('\n');
    to.write_all(line.as_bytes()).and_then(|()| to.flush())
}
