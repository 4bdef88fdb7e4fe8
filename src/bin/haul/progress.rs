//! Progress of a transfer: a bar, a line a second, or JSON.
#![expect(clippy::disallowed_methods, reason = "how often to say it is a matter of time")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::count;
use crate::report::{Bar, Record, Reporter};
use crate::status::{Phase, Status};

/// Display of one transfer's progress.
pub(crate) struct Progress {
    reporter: Arc<Reporter>,
    session: Option<u64>,
    status: Arc<Mutex<Status>>,
    bar: Option<Bar>,
    /// Time of the peer's first greeting.
    started: Option<Instant>,
    /// Bytes that went over the stream.
    sent: u64,
    last_line: Instant,
    /// Counts of the last record: sent, and acknowledged.
    recorded: (u64, u64),
}

impl Progress {
    pub(crate) fn new(reporter: Arc<Reporter>, session: Option<u64>, status: Status) -> Self {
        let status = Arc::new(Mutex::new(status));
        Self {
            reporter,
            session,
            status,
            bar: None,
            started: None,
            sent: 0,
            last_line: Instant::now(),
            recorded: (0, 0),
        }
    }

    /// Shows it from now on, where bars are drawn.
    pub(crate) fn show(&mut self) {
        if self.bar.is_none() {
            self.bar = self.reporter.bar(&self.status);
        }
    }

    /// Counts what is below these paths, for what is shown to have a total.
    pub(crate) fn count_ahead(&self, paths: Vec<PathBuf>) {
        count::ahead(paths, &self.status);
    }

    /// Locks what is shown, to change it.
    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the peer has greeted, on the first connection or on another one.
    pub(crate) fn greet(&mut self) {
        self.started.get_or_insert_with(Instant::now);
        {
            let mut status = self.status();
            status.speed.restart();
            status.phase = Phase::Comparing;
        }
        self.show();
    }

    /// Notes how much went over the stream, is acknowledged, and is on its way.
    pub(crate) fn update(&mut self, sent: u64, acknowledged: u64, pending: u64) {
        let now = Instant::now();
        let has_moved = sent > self.sent;
        self.sent = sent;
        {
            let mut status = self.status();
            (status.acknowledged, status.pending) = (acknowledged, pending);
            status.speed.add(now, sent);
            let is_all = status.is_all_done();
            status.phase = match &status.phase {
                Phase::Comparing | Phase::Moving if is_all => Phase::Syncing,
                Phase::Comparing | Phase::Syncing | Phase::Queued if has_moved => Phase::Moving,
                phase => phase.clone(),
            };
        }
        self.record(now);
        if now.duration_since(self.last_line) >= LINE_PAUSE && self.reporter.wants_progress() {
            self.last_line = now;
            let line = self.status().line(now);
            self.reporter.progress(&line);
        }
    }

    /// Prints the last of it, and takes the bar away.
    pub(crate) fn finish(&mut self) {
        self.record(Instant::now());
        self.bar = None;
    }

    /// Takes note that an earlier connection of the transfer began at this time.
    pub(crate) fn began(&mut self, time: Instant) {
        self.started = Some(self.started.map_or(time, |started| started.min(time)));
    }

    /// Returns the time at which the first connection of the transfer began.
    pub(crate) fn started(&self) -> Instant {
        self.started.unwrap_or_else(Instant::now)
    }

    /// Returns how long it has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.map(|started| started.elapsed()).unwrap_or_default()
    }

    fn record(&mut self, now: Instant) {
        let (acknowledged, total, rate) = {
            let status = self.status();
            (status.acknowledged, status.total(), status.speed.per_second(now))
        };
        if self.recorded != (self.sent, acknowledged) {
            self.recorded = (self.sent, acknowledged);
            let record = Record::Progress { sent: self.sent, acknowledged, total, rate };
            self.reporter.record(&record, self.session);
        }
    }
}

/// Interval of reports to people who read a log: a second.
const LINE_PAUSE: Duration = Duration::from_secs(1);
