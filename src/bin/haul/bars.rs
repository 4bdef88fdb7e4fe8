//! The rows of transfers that are under way, at the end of what stands on the terminal. One thread draws them: no transfer
//! waits for a terminal that is stopped.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use crate::screen::{Style, width};
use crate::status::Status;

/// All rows of the command, on standard error.
pub(crate) struct Bars {
    style: Style,
    /// Their transfers, in the order in which they came.
    shown: Vec<(u64, Arc<Mutex<Status>>)>,
    /// Widths of the rows that stand on the terminal. The cursor is at the end of the last.
    drawn: Vec<usize>,
    last: Option<Instant>,
    /// Set once the process was stopped and goes on: other rows stand there now.
    is_continued: Arc<AtomicBool>,
}

/// A change of the rows.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// One row more.
    Begin(Arc<Mutex<Status>>),
    /// The row is taken away.
    End,
}

impl Bars {
    pub(crate) fn new(style: Style) -> Self {
        let is_continued = Arc::<AtomicBool>::default();
        // Where that is not possible, a row more stays on the terminal.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGCONT, is_continued.clone());
        Self { style, shown: Vec::new(), drawn: Vec::new(), last: None, is_continued }
    }

    pub(crate) fn step(&mut self, number: u64, step: Step) {
        match step {
            Step::Begin(status) => self.shown.push((number, status)),
            Step::End => self.shown.retain(|(shown, _)| *shown != number),
        }
        self.last = None;
        self.tick();
    }

    /// Draws all rows anew, unless that was done a moment ago.
    pub(crate) fn tick(&mut self) {
        let now = Instant::now();
        let is_due = self.last.is_none_or(|last| now.duration_since(last) >= REDRAW);
        if is_due && !(self.shown.is_empty() && self.drawn.is_empty()) && is_in_foreground() {
            self.last = Some(now);
            self.draw(now);
        }
    }

    /// Writes between the rows and what stands above them.
    pub(crate) fn aside(&mut self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if !self.drawn.is_empty() && is_in_foreground() {
            let (columns, _) = size();
            put(&format!("{}\x1b[J", self.home(columns)));
            self.drawn.clear();
        }
        let written = write();
        self.last = None;
        self.tick();
        written
    }

    fn draw(&mut self, now: Instant) {
        let (columns, rows) = size();
        let mut text = self.home(columns);
        // The last column stays free: what is written there may make a terminal go on in the next row.
        let room = columns.saturating_sub(1);
        let most = rows.saturating_sub(1).clamp(1, MOST);
        let is_all = self.shown.len() <= most;
        let shown = if is_all { self.shown.len() } else { most - 1 };
        let mut lines: Vec<String> = self
            .shown
            .iter()
            .take(shown)
            .map(|(_, status)| {
                let status = status.lock().unwrap_or_else(PoisonError::into_inner).clone();
                status.row(now, room, self.style)
            })
            .collect();
        if !is_all {
            let more = format!("and {} more", self.shown.len() - shown);
            lines.push(self.style.fit(&more, room));
        }
        for (number, line) in lines.iter().enumerate() {
            let start = if number > 0 { "\r\n" } else { "" };
            text.push_str(&format!("{start}{line}\x1b[K"));
        }
        text.push_str("\x1b[J");
        put(&text);
        self.drawn = lines.iter().map(|line| width(line)).collect();
    }

    /// Goes to where the first row begins, on a terminal that has so many columns by now: on one that became narrower, a row
    /// takes several.
    fn home(&mut self, columns: usize) -> String {
        if self.is_continued.swap(false, Ordering::Relaxed) {
            self.drawn.clear();
        }
        let rows = self.drawn.iter().map(|wide| wide.div_ceil(columns).max(1)).sum::<usize>();
        match rows {
            0 => String::new(),
            1 => "\r".to_owned(),
            rows => format!("\r\x1b[{}A", rows - 1),
        }
    }
}

/// Returns columns and rows of the terminal.
fn size() -> (usize, usize) {
    match tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        // Some do not know.
        _ => (80, 24),
    }
}

/// Returns whether the terminal is for this process, and not for the shell that put it into the background. One that is not the
/// process's own terminal is for anybody.
fn is_in_foreground() -> bool {
    tcgetpgrp(io::stderr()).map_or(true, |group| group == getpgrp())
}

/// Writes to the terminal; a failure is not missed.
fn put(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// Time between two drawings of the rows.
pub(crate) const REDRAW: Duration = Duration::from_millis(120);

/// The most rows.
const MOST: usize = 10;
