//! Reports on one transfer, as it goes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use haul::store::Unsendable;
use haul::types::{Activity, EntryId, Kind, Outcome, PublicKey, TransferId, Withdrawal};
use haul::{Error, Event, Observer, Receipt, RelPath, Summary, transport};
use indicatif::HumanBytes;

use crate::access::Owners;
use crate::ends::{Ends, Lost};
use crate::exit::{Code, Side};
use crate::explain::{self, Context, short};
use crate::progress::Progress;
use crate::quota::{Quota, Reader};
use crate::report::{Held, Others, Record, Reporter};

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
    former: Code,
    ends: Arc<Ends>,
    bad: Bad,
    /// Owners of keys, where keys are used.
    owners: Option<Owners>,
}

/// Entries that a peer had refused or took back: it chooses how many, and their names.
struct Bad {
    /// All so far.
    count: u64,
    told: Listed,
    recorded: Listed,
    /// Quota that is left for the address of the peer, where it matters.
    quota: Option<Quota>,
}

/// Number of them that are listed for people, or for programs.
#[derive(Debug, Clone, Copy)]
struct Listed {
    most: u64,
    count: u64,
}

struct Peer {
    name: String,
    number: u64,
}

struct Pending {
    path: RelPath,
    kind: Kind,
    /// Bytes that its line took from the quota, until it is known that the entry is no burden.
    spent: usize,
}

impl Session {
    /// Creates the only transfer of a command.
    pub(crate) fn new(reporter: Arc<Reporter>, side: Side, total: Option<u64>) -> Self {
        Self::with_peer(reporter, side, None, total, Arc::default())
    }

    /// Creates one of the transfers of a server.
    pub(crate) fn of_server(
        reporter: Arc<Reporter>,
        number: u64,
        name: String,
        ends: Arc<Ends>,
    ) -> Self {
        let peer = Some(Peer { name, number });
        Self::with_peer(reporter, Side::Receiver, peer, None, ends)
    }

    fn with_peer(
        reporter: Arc<Reporter>,
        side: Side,
        peer: Option<Peer>,
        total: Option<u64>,
        ends: Arc<Ends>,
    ) -> Self {
        let number = peer.as_ref().map(|peer| peer.number);
        let progress = Progress::new(Arc::clone(&reporter), number, total.unwrap_or(0));
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
            former: Code::Done,
            ends,
            bad: Bad {
                count: 0,
                told: Listed::at_most(u64::MAX),
                recorded: Listed::at_most(u64::MAX),
                quota: None,
            },
            owners: None,
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
        let (told, recorded) = (Listed::at_most(LISTED), Listed::at_most(entries));
        self.bad = Bad { count: 0, told, recorded, quota };
        self
    }

    /// Returns how it ended, once it did.
    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    fn number(&self) -> Option<u64> {
        self.peer.as_ref().map(|peer| peer.number)
    }

    fn record(&self, record: &Record<'_>) {
        self.reporter.record(record, self.number());
    }

    /// Reports what is wrong, and with whom.
    fn complain(&self, text: &str) {
        match &self.peer {
            Some(peer) => self.reporter.complain(&format!("{}: {text}", peer.name)),
            None => self.reporter.complain(text),
        }
    }

    /// Takes note that an entry is settled, with nothing bad.
    fn settled(&mut self, entry: EntryId) -> Option<Pending> {
        let pending = self.pending.remove(&entry)?;
        if let Some(quota) = &self.bad.quota {
            quota.give_back(Reader::Programs, pending.spent);
        }
        Some(pending)
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
        let name = match pending {
            Some(offered) => format!("{} as {}", short(&offered), short(&receipt.path)),
            None => short(&receipt.path),
        };
        let already = if receipt.outcome == Outcome::Held { ", there already" } else { "" };
        let size = receipt.size;
        self.reporter
            .say(&format!("{verb} {name} ({size} bytes, blake3 {blake3}, {durability}{already})"));
    }

    /// Reports an entry that is not sent. `path` is the name as programs get it, `shown` as people
    /// do.
    fn not_sent(&mut self, path: &str, shown: &str, reason: Withdrawal) {
        let text = reason.to_string();
        if reason.is_skip() {
            self.record(&Record::Skipped { path, reason: &text });
            self.reporter.say(&format!(
                "{shown} is skipped: {}",
                explain::withdrawal(reason, self.context.side)
            ));
        } else {
            let said = explain::withdrawal(reason, self.context.side);
            let record = Record::Withdrawn { path, reason: &text };
            self.bad(&record, path, &format!("{shown} is not sent: {said}"));
        }
        self.code = self.code.and(Code::of_withdrawal(reason, self.context.side));
    }

    /// Reports an entry that is refused or not sent, if it is one of the first.
    fn bad(&mut self, record: &Record<'_>, path: &str, text: &str) {
        self.bad.count = self.bad.count.saturating_add(1);
        if self.bad.lists(Reader::Programs, cost(path)) {
            self.record(record);
        }
        if self.bad.lists(Reader::People, cost(text)) {
            self.complain(text);
        }
    }

    fn finished(&self, summary: &Summary) {
        let seconds = self.progress.elapsed();
        self.record(&Record::Finished {
            files: summary.files,
            bytes: summary.bytes,
            resent: summary.resent,
            seconds: seconds.as_secs_f64(),
            others: Others::from(summary),
        });
        let verb = match self.context.side {
            Side::Sender => "sent",
            Side::Receiver => "received",
        };
        let mut line = format!(
            "{verb} {} {}, {} in {:.2} s",
            summary.files,
            if summary.files == 1 { "file" } else { "files" },
            HumanBytes(summary.bytes),
            seconds.as_secs_f64(),
        );
        for (count, what) in [
            (summary.trusted, "unchanged by size and time, not verified"),
            (summary.skipped, "skipped"),
            (summary.refused, "refused"),
            (summary.withdrawn, "not sent"),
        ] {
            if count > 0 {
                line.push_str(&format!("; {count} {what}"));
            }
        }
        if summary.resent > 0 {
            line.push_str(&format!("; {} sent again", HumanBytes(summary.resent)));
        }
        if let Some(peer) = &self.peer {
            line.push_str(&format!(" (from {})", peer.name));
        }
        self.reporter.say(&line);
    }
}

impl Observer for Session {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Greeted { transfer, .. } => {
                self.context.greeted = true;
                self.heard = true;
                self.is_queued = false;
                match self.transfer.replace(*transfer) {
                    None => {
                        if let Some(lost) = self.ends.take_lost(*transfer) {
                            self.former = lost.entries;
                            self.progress.began(lost.began);
                        }
                    }
                    Some(former) if former != *transfer => {
                        // A sender that was restarted sends everything anew.
                        self.pending.clear();
                        self.code = Code::Done;
                    }
                    Some(_) => {}
                }
            }
            Event::Offered { entry, path, kind, size } => {
                let mut spent = 0;
                if *kind == Kind::File && self.reporter.wants_json() {
                    let path = path.to_string();
                    if self.bad.spend(Reader::Programs, cost(&path)) {
                        spent = cost(&path);
                        self.record(&Record::Offered { path: &path, size: *size });
                    }
                }
                if size.is_none() {
                    self.progress.set_open_ended();
                }
                let pending = Pending { path: path.clone(), kind: kind.clone(), spent };
                self.pending.insert(*entry, pending);
            }
            Event::Progress { bytes, offered } => self.progress.update(*bytes, *offered),
            Event::Delivered { entry, receipt } => self.delivered(*entry, receipt),
            Event::Trusted { entry, path, size } => {
                self.settled(*entry);
                let (text, shown) = (path.to_string(), short(path));
                self.record(&Record::Unchanged { path: &text, size: *size });
                let size = format!("{size} bytes, by size and time");
                self.reporter.say(&format!("unchanged {shown} ({size}, not verified)"));
            }
            Event::Refused { entry, path, reason } => {
                let shown = path.as_ref().map_or_else(|| entry.to_string(), short);
                let path = path.as_ref().map_or_else(|| entry.to_string(), RelPath::to_string);
                let code = Code::of_refusal(*reason, self.context.side);
                let operation = reason.operation().map(|operation| operation.to_string());
                let text = reason.to_string();
                let operation = operation.as_deref();
                let record = Record::Refused { path: &path, reason: &text, operation };
                if code == Code::Done {
                    self.settled(*entry);
                    self.record(&record);
                    self.reporter.say(&format!("{shown} is {reason}"));
                } else {
                    self.pending.remove(entry);
                    let reason = explain::refusal(*reason, self.context.side);
                    self.bad(&record, &path, &format!("{shown} is refused: {reason}"));
                }
                self.code = self.code.and(code);
            }
            Event::Withdrawn { entry, path, reason } => {
                self.pending.remove(entry);
                self.not_sent(&path.to_string(), &short(path), *reason);
            }
            // It is sent again by each heartbeat.
            Event::Waiting { activity: Activity::Queued } if !self.is_queued => {
                self.is_queued = true;
                self.reporter.progress("waiting for a place at the receiver");
            }
            // Repairs and signs of life are of no interest as long as they work.
            _ => {}
        }
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
        let who = name.map_or_else(|| shown.clone(), |name| format!("{name} ({shown})"));
        match &self.peer {
            Some(peer) => self.reporter.say(&format!("{} is {who}", peer.name)),
            None => self.reporter.say(&format!("the {} is {who}", self.context.side.other())),
        }
    }

    fn connected(&mut self, peer: &transport::Peer) {
        let peer = peer.to_string();
        self.reporter.say(&format!("connected by {peer}"));
        self.record(&Record::Connected { peer: &peer });
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
        if is_stranger {
            self.complain(&text);
        } else if pause.is_zero() {
            let other = self.context.side.other();
            self.reporter.progress(&format!("{cause}; waiting for the {other} to come again"));
        } else {
            let pause = pause.as_secs_f64();
            self.reporter.progress(&format!("{cause}; trying again in {pause:.1} s"));
        }
    }

    fn unheard(&mut self, connections: u64) {
        self.reporter.complain(&format!("nothing was offered on {connections} other connections"));
    }

    fn ended(&mut self, result: &Result<Summary, Error>) {
        self.progress.finish();
        let unlisted = self.bad.count.saturating_sub(self.bad.told.count);
        if unlisted > 0 {
            self.complain(&format!("{unlisted} more are refused or not sent; --json lists them"));
        }
        let unlisted = self.bad.count.saturating_sub(self.bad.recorded.count);
        if unlisted > 0 {
            self.record(&Record::Unlisted { count: unlisted });
        }
        let entries = self.code.and(self.former);
        match result {
            Ok(summary) => {
                // What was refused then may have been taken now.
                let entries = if summary.is_complete() { self.code } else { entries };
                self.code = Code::of(result, entries, self.context.side);
                self.ends.ended(summary, self.code);
                self.finished(summary);
            }
            Err(error) => {
                if let Some(transfer) = self.transfer {
                    let began = self.progress.started();
                    self.ends.lost(transfer, Lost { entries, began });
                }
                self.code = Code::of(result, entries, self.context.side);
                let message = explain::error(error, self.context);
                self.record(&Record::Failed { code: self.code.number(), message: &message });
                // Who stopped it knows, and was told.
                if self.code != Code::Interrupted {
                    self.complain(&message);
                }
            }
        }
    }
}

impl Bad {
    /// Returns whether one more is listed.
    fn lists(&mut self, reader: Reader, bytes: usize) -> bool {
        let listed = match reader {
            Reader::People => &mut self.told,
            Reader::Programs => &mut self.recorded,
        };
        let may = listed.count < listed.most
            && self.quota.as_ref().is_none_or(|quota| quota.spend(reader, bytes));
        listed.count += u64::from(may);
        may
    }

    fn spend(&self, reader: Reader, bytes: usize) -> bool {
        self.quota.as_ref().is_none_or(|quota| quota.spend(reader, bytes))
    }
}

impl Listed {
    const fn at_most(most: u64) -> Self {
        Self { most, count: 0 }
    }
}

/// Returns about how many bytes a line takes with this in it.
const fn cost(text: &str) -> usize {
    text.len().saturating_add(LINE)
}

/// Bytes of a line beside a name.
const LINE: usize = 100;

/// Number of entries, refused or not sent, that are listed by name for a person.
const LISTED: u64 = 20;
