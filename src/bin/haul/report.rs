//! Output of the command: text for people, or one JSON object a line.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use haul::Summary;
use serde::Serialize;

use crate::args::Output;
use crate::bars::{Bars, Step};
use crate::exit::Stop;
use crate::explain::{clean, clean_json, without_tickets};
use crate::spool::{Failed, Need, Put, Spool};

/// Writer of lines, from any thread. A reader that went away is no reason to stop, or to panic; one that does not read
/// keeps nobody waiting for long, see [`Spool`].
///
/// - Nobody reads standard output: that is reported on standard error, the transfers go on, and the command does not
///   end with success.
/// - Nobody reads standard error: the transfers go on, and the exit code is what it would be. It says as much as
///   the lines did that were lost.
pub(crate) struct Reporter {
    output: Output,
    /// `None` where what is for standard output goes the way of what is for standard error: that is what it is, or
    /// one terminal has both.
    out: Option<Spool<String>>,
    err: Arc<Spool<Item>>,
    is_drawn: bool,
    /// Bars so far.
    bars: AtomicU64,
}

/// Item that the thread of standard error writes.
enum Item {
    /// A line for standard output.
    Said(String),
    /// A line for standard error.
    Told(String),
    /// A change of the bar that has this number.
    Bar(u64, Step),
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
    /// Bytes that are known to have arrived. The count never goes back.
    Progress { bytes: u64, total: u64 },
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
        resent: u64,
        seconds: f64,
        #[serde(flatten)]
        others: Others,
    },
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
        let is_drawn = is_drawn(output);
        if is_drawn && io::stdout().is_terminal() {
            return Self::with(output, None, errors(Box::new(io::stdout()), is_drawn));
        }
        let err = Arc::new(errors(Box::new(io::stderr()), is_drawn));
        let told = Arc::clone(&err);
        let failed: Failed =
            Arc::new(move |text| told.write(Item::Told(format!("haul: {text}")), Need::Must));
        let put: Put<String> = Box::new(|line| put(&mut io::stdout(), &line));
        let out = Spool::new("standard output", put, failed);
        Self { output, out: Some(out), err, is_drawn, bars: AtomicU64::new(0) }
    }

    /// Creates a reporter that writes everything to standard error, because standard output is the
    /// stream.
    pub(crate) fn on_stderr(output: Output) -> Self {
        Self::with(output, None, errors(Box::new(io::stderr()), is_drawn(output)))
    }

    fn with(output: Output, out: Option<Spool<String>>, err: Spool<Item>) -> Self {
        let is_drawn = is_drawn(output);
        Self { output, out, err: Arc::new(err), is_drawn, bars: AtomicU64::new(0) }
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
            && let Ok(line) = serde_json::to_string(&Line { record, session })
        {
            let is_progress = matches!(record, Record::Progress { .. });
            self.write(clean_json(&line), if is_progress { Need::May } else { Need::Must });
        }
    }

    /// Writes something that is wrong, on standard error.
    pub(crate) fn complain(&self, text: &str) {
        self.tell(&format!("haul: {}", without_tickets(text)), Need::Must);
    }

    /// Works as [`Reporter::complain`], for who cannot wait at all.
    pub(crate) fn mention(&self, text: &str) {
        self.tell(&format!("haul: {text}"), Need::May);
    }

    /// Reports the end of the command, without success.
    pub(crate) fn stop(&self, stop: &Stop) {
        self.complain(&stop.message);
        let message = without_tickets(&stop.message);
        self.record(&Record::Failed { code: stop.code.number(), message: &message }, None);
    }

    /// Writes the progress, on standard error.
    pub(crate) fn progress(&self, text: &str) {
        if !self.output.quiet {
            self.tell(text, Need::May);
        }
    }

    /// Returns a bar, where bars are drawn: standard error is a terminal, and nobody asked for
    /// quiet.
    pub(crate) fn bar(&self) -> Option<Bar> {
        self.is_drawn.then(|| Bar {
            number: self.bars.fetch_add(1, Ordering::Relaxed),
            err: Arc::clone(&self.err),
        })
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

impl Bar {
    /// Shows how far it is.
    pub(crate) fn show(&self, bytes: u64, total: Option<u64>) {
        self.err.write(Item::Bar(self.number, Step::Show { bytes, total }), Need::May);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.err.write(Item::Bar(self.number, Step::End), Need::Must);
    }
}

fn is_drawn(output: Output) -> bool {
    !output.quiet && io::stderr().is_terminal()
}

/// Creates the way of all that is for standard error, and for a standard output that is `out`.
fn errors(mut out: Box<dyn Write + Send>, is_drawn: bool) -> Spool<Item> {
    let mut bars = is_drawn.then(Bars::new);
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
        };
        match &bars {
            Some(bars) => bars.aside(|| put(to, &line)),
            None => put(to, &line),
        }
    });
    // Where this cannot be reported, nothing can.
    Spool::new("standard error", put, Arc::new(|_| {}))
}

fn put(to: &mut dyn Write, line: &str) -> io::Result<()> {
    writeln!(to, "{line}").and_then(|()| to.flush())
}
