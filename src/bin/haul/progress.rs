//! Progress of a transfer: a bar, a line a second, or JSON.
#![expect(clippy::disallowed_methods, reason = "how often to say it is a matter of time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;

use crate::report::{Bar, Record, Reporter};

/// Display of one transfer's progress. The count never goes back.
pub(crate) struct Progress {
    reporter: Arc<Reporter>,
    session: Option<u64>,
    bytes: u64,
    total: u64,
    /// Set if there is more to come than is known.
    open_ended: bool,
    started: Instant,
    bar: Option<Bar>,
    last_shown: Option<Instant>,
    last_line: Instant,
    last_record: Option<Instant>,
    /// Count in the last record.
    recorded: Option<u64>,
}

impl Progress {
    /// Creates a display; `total` is what is known of the size from the start.
    pub(crate) fn new(reporter: Arc<Reporter>, session: Option<u64>, total: u64) -> Self {
        let now = Instant::now();
        Self {
            reporter,
            session,
            bytes: 0,
            total,
            open_ended: false,
            started: now,
            bar: None,
            last_shown: None,
            last_line: now,
            last_record: None,
            recorded: None,
        }
    }

    /// Shows that `bytes` have arrived, of `total` as far as is known.
    pub(crate) fn update(&mut self, bytes: u64, total: u64) {
        self.bytes = self.bytes.max(bytes);
        self.total = self.total.max(total).max(self.bytes);
        let now = Instant::now();
        if self.last_record.is_none_or(|last| now.duration_since(last) >= RECORD_PAUSE) {
            self.last_record = Some(now);
            self.record();
        }
        self.draw(now);
    }

    /// Takes note that something is sent whose size is not known before its end.
    pub(crate) const fn set_open_ended(&mut self) {
        self.open_ended = true;
    }

    /// Prints the last of it, and takes the bar away.
    pub(crate) fn finish(&mut self) {
        self.record();
        self.bar = None;
    }

    /// Takes note that an earlier connection of the transfer began at this time.
    pub(crate) fn began(&mut self, time: Instant) {
        self.started = self.started.min(time);
    }

    /// Returns the time at which the first connection of the transfer began.
    pub(crate) const fn started(&self) -> Instant {
        self.started
    }

    /// Returns how long it has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn record(&mut self) {
        if self.bytes > 0 && self.recorded != Some(self.bytes) {
            self.recorded = Some(self.bytes);
            let record = Record::Progress { bytes: self.bytes, total: self.total };
            self.reporter.record(&record, self.session);
        }
    }

    fn draw(&mut self, now: Instant) {
        if self.bar.is_none() {
            self.bar = self.reporter.bar();
        }
        match &self.bar {
            Some(bar) if self.last_shown.is_none_or(|last| now - last >= SHOW_PAUSE) => {
                self.last_shown = Some(now);
                bar.show(self.bytes, (!self.open_ended).then_some(self.total));
            }
            None if now.duration_since(self.last_line) >= LINE_PAUSE => {
                self.last_line = now;
                if self.open_ended {
                    self.reporter.progress(&format!("{} so far", HumanBytes(self.bytes)));
                    return;
                }
                let (bytes, total) = (HumanBytes(self.bytes), HumanBytes(self.total));
                // Rounded down, so that 100 % means all.
                let percent = u128::from(self.bytes) * 100 / u128::from(self.total.max(1));
                self.reporter.progress(&format!("{bytes} of {total} ({percent} %)"));
            }
            Some(_) | None => {}
        }
    }
}

/// A bar moves twenty times a second at most.
const SHOW_PAUSE: Duration = Duration::from_millis(50);

/// Shortest time between two records for programs.
const RECORD_PAUSE: Duration = Duration::from_millis(100);

/// Interval of reports to people who read a log: a second.
const LINE_PAUSE: Duration = Duration::from_secs(1);
