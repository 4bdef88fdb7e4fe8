//! Reports on one transfer, as it goes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use haul::store::Unsendable;
use haul::types::{
    AbortCode, Activity, EntryId, Kind, Outcome, PublicKey, Refusal, TransferId, Withdrawal,
};
use haul::{
    Durability, Error, Event, Observer, Receipt, RelPath, SessionError, Summary, transport,
};

use crate::access::Owners;
use crate::ends::{Ends, Lost, has_settled};
use crate::exit::{Code, Side};
use crate::explain::{self, Context, short};
use crate::failures::{Failed, Failures};
use crate::figures::{average, size};
use crate::producer::Producer;
use crate::progress::Progress;
use crate::quota::Quota;
use crate::report::{Detail, Held, Others, Record, Reporter};
use crate::status::{Phase, Status};
use crate::sum::Facts;
use crate::then::{Sender, Then};
use crate::until::{Until, Visit};

/// Observer of a transfer, which informs the user.
pub(crate) struct Session {
    reporter: Arc<Reporter>,
    context: Context,
    /// The peer of this connection has greeted.
    heard: bool,
    /// Set once it was reported that the sender waits for its place.
    is_queued: bool,
    /// Transfer of the session, once somebody has greeted.
    transfer: Option<TransferId>,
    /// Peer at the other end, where there are several.
    peer: Option<Peer>,
    /// Entries that are not settled. Its size is bounded by the limits of the transfer.
    pending: HashMap<EntryId, Pending>,
    progress: Progress,
    code: Code,
    /// The code of entries that earlier connections of the transfer had, where each has a session of its own.
    earlier: Code,
    ends: Arc<Ends>,
    failures: Failures,
    /// Entries that came to nothing before the transfer began.
    others: Others,
    /// Set once anything was offered.
    has_offers: bool,
    /// The first file that was offered, and whether there was another one.
    first: Option<RelPath>,
    is_many: bool,
    /// Durability of the least durable of what is held.
    durability: Option<Durability>,
    /// Watch over the end of the receiver, where it may end by itself.
    until: Option<Until>,
    /// Set once somebody has greeted who is admitted.
    visit: Option<Visit>,
    /// Commands that run for what has arrived.
    then: Option<Then>,
    /// Command whose output is sent.
    producer: Option<Arc<Producer>>,
    /// Lines of single files, after the first of those that failed.
    rows: u64,
    /// Owners of keys, where keys are used.
    owners: Option<Owners>,
    /// Name of the owner of the key at the other end.
    owner: Option<String>,
}

/// Begin of a transfer.
pub(crate) struct Start {
    pub(crate) phase: Phase,
    /// Peer, as far as that is known.
    pub(crate) peer: Option<String>,
    /// All bytes, and all files, where they are known.
    pub(crate) total: Option<(u64, u64)>,
    /// Paths below which they can be counted meanwhile.
    pub(crate) count: Option<Vec<PathBuf>>,
}

struct Peer {
    name: String,
    /// Set where there are several.
    number: Option<u64>,
}

struct Pending {
    path: RelPath,
    kind: Kind,
    size: u64,
    /// Bytes that its line took from the quota, until it is known that the entry is no burden.
    spent: usize,
}

impl Session {
    /// Creates the only transfer of a command.
    pub(crate) fn new(reporter: Arc<Reporter>, side: Side, start: Start) -> Self {
        let mut status = Status::new(side, start.phase);
        (status.total, status.total_files) = start.total.unzip();
        let peer = start.peer.map(|name| Peer { name, number: None });
        let mut session = Self::with_peer(reporter, side, peer, status, Arc::default());
        session.progress.show();
        if let Some(paths) = start.count {
            session.progress.count_ahead(paths);
        }
        session
    }

    /// Creates one of the transfers of a server.
    pub(crate) fn of_server(
        reporter: Arc<Reporter>,
        number: u64,
        name: String,
        ends: Arc<Ends>,
    ) -> Self {
        let mut status = Status::new(Side::Receiver, Phase::Comparing);
        status.peer = Some(name.clone());
        let peer = Some(Peer { name, number: Some(number) });
        Self::with_peer(reporter, Side::Receiver, peer, status, ends)
    }

    fn with_peer(
        reporter: Arc<Reporter>,
        side: Side,
        peer: Option<Peer>,
        status: Status,
        ends: Arc<Ends>,
    ) -> Self {
        let number = peer.as_ref().and_then(|peer| peer.number);
        let progress = Progress::new(Arc::clone(&reporter), number, status);
        Self {
            reporter,
            context: Context::new(side),
            heard: false,
            is_queued: false,
            transfer: None,
            peer,
            pending: HashMap::new(),
            progress,
            code: Code::Done,
            earlier: Code::Done,
            ends,
            failures: Failures::all(),
            others: Others::default(),
            has_offers: false,
            first: None,
            is_many: false,
            durability: None,
            until: None,
            visit: None,
            then: None,
            producer: None,
            rows: 0,
            owners: None,
            owner: None,
        }
    }

    /// Knows who owns which key.
    pub(crate) fn owners(mut self, owners: Option<Owners>) -> Self {
        self.context.own = owners.as_ref().map(Owners::own);
        self.owners = owners;
        self
    }

    /// Lists no more entries that are refused or not sent than this for programs, and the first few for people: what a
    /// peer can have written must be bounded. Of a server, over all sessions of its address by a `quota`.
    pub(crate) fn limit(mut self, entries: u64, quota: Option<Quota>) -> Self {
        self.failures = Failures::new(entries, quota);
        self
    }

    /// Counts these with the entries of the transfer: they were reported before it began.
    pub(crate) const fn others(mut self, others: Others) -> Self {
        self.others = others;
        self
    }

    /// Counts for the end of its receiver, once an admitted sender has greeted.
    pub(crate) fn until(mut self, until: Until) -> Self {
        self.until = Some(until);
        self
    }

    /// Has commands run for what has arrived.
    pub(crate) fn then(mut self, then: Option<Then>) -> Self {
        self.then = then;
        self
    }

    /// Knows which command makes what is sent.
    pub(crate) fn producer(mut self, producer: Option<Arc<Producer>>) -> Self {
        self.producer = producer;
        self
    }

    /// Returns how it ended, once it did.
    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    fn number(&self) -> Option<u64> {
        self.peer.as_ref().and_then(|peer| peer.number)
    }

    /// Returns who is at the other end, where that must be said of each line.
    fn one_of_many(&self) -> Option<&str> {
        self.peer.as_ref().filter(|peer| peer.number.is_some()).map(|peer| peer.name.as_str())
    }

    /// Returns what is known of who is at the other end.
    fn sender(&self) -> Sender<'_> {
        let address = self.peer.as_ref().map(|peer| peer.name.as_str());
        Sender { address, key: self.context.peer, name: self.owner.as_deref() }
    }

    fn record(&self, record: &Record<'_>) {
        self.reporter.record(record, self.number());
    }

    /// Reports what is wrong, and with whom.
    fn complain(&self, text: &str) {
        match self.one_of_many() {
            Some(peer) => self.reporter.complain(&format!("{peer}: {text}")),
            None => self.reporter.complain(text),
        }
    }

    /// Takes note that an entry is settled, with nothing bad.
    fn settled(&mut self, entry: EntryId) -> Option<Pending> {
        let pending = self.pending.remove(&entry)?;
        self.failures.give_back(pending.spent);
        self.count_file(&pending);
        Some(pending)
    }

    /// Notes that an entry will not come, so that it is none of the bytes that are to come.
    fn dropped(&mut self, entry: EntryId) -> Option<Pending> {
        let pending = self.pending.remove(&entry)?;
        self.count_file(&pending);
        self.progress.status().dropped += pending.size;
        Some(pending)
    }

    fn count_file(&self, pending: &Pending) {
        if pending.kind == Kind::File {
            self.progress.status().files += 1;
        }
    }

    /// Prints a line about a single file.
    fn row(&mut self, line: &str) {
        self.rows += u64::from(!self.failures.first().is_empty());
        match self.one_of_many() {
            Some(peer) => self.reporter.say(&format!("{line}, from {peer}")),
            None => self.reporter.say(line),
        }
    }

    fn delivered(&mut self, entry: EntryId, receipt: &Receipt) {
        let pending = self.settled(entry);
        if pending.as_ref().is_some_and(|pending| pending.kind != Kind::File) {
            return;
        }
        let path = receipt.path.to_string();
        let pending = pending.map(|pending| pending.path).filter(|path| *path != receipt.path);
        let offered = pending.as_ref().map(RelPath::to_string);
        let (blake3, durability) = (receipt.hash.to_string(), receipt.durability.to_string());
        let held = Held {
            path: &path,
            size: receipt.size,
            blake3: &blake3,
            durability: &durability,
            offered: offered.as_deref(),
        };
        let (record, verb) = match self.context.side {
            Side::Sender => (Record::Delivered(held), "delivered"),
            Side::Receiver => (Record::Received(held), "received"),
        };
        self.record(&record);
        if let Some(then) = &self.then {
            then.received(receipt, self.sender());
        }
        self.durability = Some(match self.durability {
            Some(durability) => durability.min(receipt.durability),
            None => receipt.durability,
        });
        let is_there = receipt.outcome == Outcome::Held;
        let name = match pending {
            Some(offered) => format!("{} as {}", short(&offered), short(&receipt.path)),
            None => short(&receipt.path),
        };
        match self.reporter.detail() {
            Detail::Receipt => {
                let already = if is_there { ", there already" } else { "" };
                let size = receipt.size;
                let facts = format!("{size} bytes, blake3 {blake3}, {durability}{already}");
                self.row(&format!("{verb} {name} ({facts})"));
            }
            Detail::Row if !is_there => {
                let style = self.reporter.style();
                let end = format!("  {}  {}", size(receipt.size), blake3.get(..8).unwrap_or(""));
                let room = ROW.saturating_sub(end.len() + 2);
                let row = format!("{} {}{end}", style.tick(), style.fit_end(&name, room));
                self.row(&row);
            }
            Detail::Row | Detail::None => {}
        }
    }

    /// Reports an entry that is not sent. `path` is the name as programs get it, `shown` as people
    /// do.
    fn not_sent(&mut self, path: &str, shown: &str, reason: Withdrawal) {
        let failure = self.producer.as_ref().and_then(|producer| producer.failure());
        let text = failure.clone().unwrap_or_else(|| reason.to_string());
        let said = failure.unwrap_or_else(|| explain::withdrawal(reason, self.context.side));
        if reason.is_skip() {
            self.record(&Record::Skipped { path, reason: &text });
            self.told_skip(&format!("{shown} is skipped: {said}"));
        } else {
            let record = Record::Withdrawn { path, reason: &text };
            self.bad(&record, path, None, format!("{shown} is not sent: {said}"));
        }
        self.code = self.code.and(Code::of_withdrawal(reason, self.context.side));
    }

    /// Says that something is left out as a user wished: of interest to whoever wants to hear of each file.
    fn told_skip(&mut self, line: &str) {
        if self.reporter.detail() != Detail::None {
            self.row(line);
        }
    }

    /// Notes that a file is offered.
    fn offered(&mut self, path: &RelPath, size: Option<u64>) {
        // On another connection it is offered again.
        self.is_many |= self.first.get_or_insert_with(|| path.clone()) != path;
        let mut status = self.progress.status();
        status.name = Some(short(path));
        if self.context.side == Side::Receiver {
            // Of several nobody knows whether they are all.
            status.total = size.filter(|_| !self.is_many);
        }
    }

    /// Reports an entry that is refused or not sent, if it is one of the first.
    fn bad(&mut self, record: &Record<'_>, path: &str, failed: Option<Failed<'_>>, text: String) {
        if self.failures.record(path) {
            self.record(record);
        }
        for text in self.failures.tell(failed, text) {
            self.rows += 1;
            self.complain(&text);
        }
    }

    fn finished(&self, summary: &Summary) {
        let time = self.progress.elapsed();
        let speed = average(summary.sent, time);
        self.record(&Record::Finished {
            files: summary.files,
            bytes: summary.bytes,
            travelled: summary.sent,
            already: summary.already,
            resent: summary.resent,
            seconds: time.as_secs_f64(),
            rate: speed,
            peer: self.peer.as_ref().map(|peer| peer.name.as_str()),
            others: Others::from(summary),
        });
        let facts = Facts {
            side: self.context.side,
            time,
            speed,
            durability: self.durability,
            peer: self.one_of_many(),
        };
        self.reporter.say(&facts.line(summary));
    }

    /// Says the first failures once more, where they may have left the screen by now.
    fn repeat_failures(&self) {
        let first = self.failures.first();
        if self.reporter.is_watched() && self.rows > SCREEN {
            for text in first {
                self.complain(text);
            }
        }
    }
}

impl Observer for Session {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Greeted { transfer, .. } => {
                self.context.greeted = true;
                self.visit = self.visit.take().or_else(|| self.until.as_ref().map(Until::visit));
                self.heard = true;
                self.is_queued = false;
                self.progress.greet();
                match self.transfer.replace(*transfer) {
                    None => {
                        if let Some(lost) = self.ends.take_lost(*transfer) {
                            self.earlier = lost.entries;
                            self.has_offers = lost.is_cut;
                            self.progress.began(lost.began);
                        }
                    }
                    Some(earlier) if earlier != *transfer => {
                        // A sender that was restarted sends everything anew.
                        self.pending.clear();
                        self.code = Code::Done;
                    }
                    Some(_) => {}
                }
            }
            Event::Offered { entry, path, kind, size } => {
                self.has_offers = true;
                let mut spent = 0;
                if *kind == Kind::File && self.reporter.wants_json() {
                    let path = path.to_string();
                    if let Some(bytes) = self.failures.spend(&path) {
                        spent = bytes;
                        self.record(&Record::Offered { path: &path, size: *size });
                    }
                }
                if *kind == Kind::File {
                    self.offered(path, *size);
                }
                let (size, kind) = (size.unwrap_or(0), kind.clone());
                let pending = Pending { path: path.clone(), kind, size, spent };
                self.pending.insert(*entry, pending);
            }
            Event::Delivered { entry, receipt } => self.delivered(*entry, receipt),
            Event::Trusted { entry, path, size } => {
                self.dropped(*entry);
                self.record(&Record::Unchanged { path: &path.to_string(), size: *size });
                if self.reporter.detail() == Detail::Receipt {
                    let name = short(path);
                    self.row(&format!(
                        "unchanged {name} ({size} bytes by size and time, not verified)"
                    ));
                }
            }
            Event::Refused { entry, path, reason } => {
                let shown = path.as_ref().map_or_else(|| entry.to_string(), short);
                let name = path.clone();
                let path = path.as_ref().map_or_else(|| entry.to_string(), RelPath::to_string);
                let code = Code::of_refusal(*reason, self.context.side);
                let operation = reason.operation().map(|operation| operation.to_string());
                let text = reason.to_string();
                let operation = operation.as_deref();
                let record = Record::Refused { path: &path, reason: &text, operation };
                let dropped = self.dropped(*entry);
                if code == Code::Done {
                    self.failures.give_back(dropped.map_or(0, |pending| pending.spent));
                    self.record(&Record::Skipped { path: &path, reason: &text });
                    self.told_skip(&format!("{shown} is {reason}"));
                } else {
                    let is_folder = dropped.is_some_and(|pending| pending.kind == Kind::Directory);
                    let failed = name.as_ref().filter(|_| is_of_place(*reason));
                    let failed = failed.map(|path| Failed { path, is_folder, reason: *reason });
                    let reason = explain::refusal(*reason, self.context.side);
                    self.bad(&record, &path, failed, format!("{shown} is refused: {reason}"));
                }
                self.code = self.code.and(code);
            }
            Event::Withdrawn { entry, path, reason } => {
                self.dropped(*entry);
                self.not_sent(&path.to_string(), &short(path), *reason);
            }
            // It is sent again by each heartbeat.
            Event::Waiting { activity: Activity::Queued } if !self.is_queued => {
                self.is_queued = true;
                self.progress.status().phase = Phase::Queued;
                self.reporter.note("waiting for a place at the receiver");
            }
            Event::Waiting { activity: Activity::Verifying } => {
                self.progress.status().phase = Phase::Comparing;
            }
            Event::Waiting { activity: Activity::Syncing } => {
                self.progress.status().phase = Phase::Syncing;
            }
            // Repairs and other signs of life are of no interest as long as they work.
            _ => {}
        }
    }

    fn progress(&mut self, progress: &haul::Progress) {
        if let Some(pending) = progress.entry.and_then(|entry| self.pending.get(&entry)) {
            let name = short(&pending.path);
            self.progress.status().name = Some(name);
        }
        if self.context.side == Side::Receiver {
            // An earlier connection had more files.
            let known = progress.acknowledged.saturating_add(progress.pending);
            let mut status = self.progress.status();
            status.total = status.total.filter(|total| known <= *total);
        }
        self.progress.update(progress.sent, progress.acknowledged, progress.pending);
    }

    fn identified(&mut self, key: PublicKey) {
        // It is reported anew where another one comes.
        if self.context.peer.replace(key) == Some(key) {
            return;
        }
        let name = self.owners.as_ref().and_then(|owners| owners.name(key));
        self.context.is_known = self.owners.as_ref().is_some_and(|owners| owners.knows(key));
        let shown = key.to_string();
        self.record(&Record::Identified { key: &shown, name: name.as_deref() });
        let who = name.as_ref().map_or_else(|| shown.clone(), |name| format!("{name} ({shown})"));
        self.owner = name;
        match self.one_of_many() {
            Some(peer) => self.reporter.say(&format!("{peer} is {who}")),
            None => self.reporter.say(&format!("the {} is {who}", self.context.side.other())),
        }
    }

    fn connected(&mut self, peer: &transport::Peer) {
        let peer = peer.to_string();
        self.reporter.say(&format!("connected by {peer}"));
        self.record(&Record::Connected { peer: &peer });
        self.peer = Some(Peer { name: peer, number: None });
    }

    fn unsendable(&mut self, entry: &Unsendable) {
        self.not_sent(&entry.name, &entry.name, entry.reason);
    }

    fn retry(&mut self, attempt: u32, cause: &Error, pause: Duration) {
        let is_stranger = pause.is_zero() && !self.heard;
        self.heard = false;
        let greeted = !is_stranger;
        let text = explain::error(cause, Context { greeted, ..self.context });
        let cause = text.split(';').next().unwrap_or_default();
        self.record(&Record::Retry { attempt, cause });
        if !is_stranger {
            let next = (!pause.is_zero()).then(|| Instant::now() + pause);
            let mut status = self.progress.status();
            status.pending = 0;
            status.phase = Phase::Reconnecting { attempt, cause: cause.to_owned(), next };
        }
        if is_stranger {
            self.complain(&text);
        } else if pause.is_zero() {
            let other = self.context.side.other();
            self.reporter.note(&format!("{cause}; waiting for the {other} to come again"));
        } else {
            let pause = pause.as_secs_f64();
            self.reporter.note(&format!("{cause}; trying again in {pause:.1} s"));
        }
    }

    fn unheard(&mut self, connections: u64) {
        self.reporter.complain(&format!("nothing was offered on {connections} other connections"));
    }

    fn ended(&mut self, result: &Result<Summary, Error>) {
        self.progress.finish();
        if let Some(text) = self.failures.close() {
            self.complain(&text);
        }
        let (untold, unrecorded) = self.failures.unlisted();
        if untold > 0 {
            self.complain(&format!("{untold} more are refused or not sent; --json lists them"));
        }
        if unrecorded > 0 {
            self.record(&Record::Unlisted { count: unrecorded });
        }
        let entries = self.code.and(self.earlier);
        match result {
            Ok(summary) => {
                // What was refused then may have been taken now.
                let entries = if summary.is_complete() { self.code } else { entries };
                self.code = Code::of(result, entries, self.context.side);
                self.ends.ended(summary, self.code);
                if let Some(visit) = self.visit.as_ref().filter(|_| has_settled(summary)) {
                    visit.ended(self.code);
                }
                self.finished(&self.others.added_to(*summary));
                if let Some(then) = self.then.as_ref().filter(|_| has_settled(summary)) {
                    then.finished(summary, self.code, self.sender());
                }
                self.repeat_failures();
            }
            Err(error) => {
                if let Some(transfer) = self.transfer {
                    let began = self.progress.started();
                    // A newer attempt goes on with it.
                    let is_replaced =
                        matches!(error, Error::Session(SessionError::Ended(AbortCode::Superseded)));
                    let is_cut = self.has_offers && !is_replaced;
                    self.ends.lost(transfer, Lost { entries, began, is_cut });
                }
                self.code = Code::of(result, entries, self.context.side);
                let message = explain::error(error, self.context);
                self.reporter.failed(self.code, &message, self.number());
                // Who stopped it knows, and was told.
                if self.code != Code::Interrupted {
                    self.complain(&message);
                }
            }
        }
    }
}

/// Returns whether an entry is refused for what stands at its place, so that those beside it are as well.
const fn is_of_place(reason: Refusal) -> bool {
    matches!(
        reason,
        Refusal::KindClash
            | Refusal::Denied
            | Refusal::ReadOnly
            | Refusal::Gone
            | Refusal::Store { .. }
    )
}

/// Width of a row of a file at most, on any terminal.
const ROW: usize = 79;

/// Lines after which the first may have left the screen.
const SCREEN: u64 = 15;
