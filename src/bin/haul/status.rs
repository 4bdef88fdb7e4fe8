//! State of one transfer, as it is shown while it goes on.

use std::time::{Duration, Instant};

use crate::exit::Side;
use crate::figures::{clock, count, rate, size};
use crate::screen::{Style, width};
use crate::speed::Speed;

/// One transfer, as its bar shows it. The thread of the transfer changes it, and the one that draws looks at it.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    side: Side,
    pub(crate) phase: Phase,
    /// Name of the other end, where there are several.
    pub(crate) peer: Option<String>,
    /// The file that is under way.
    pub(crate) name: Option<String>,
    /// Files that came to their end.
    pub(crate) files: u64,
    /// Bytes that are known to be at the receiver.
    pub(crate) acknowledged: u64,
    /// Bytes that are on their way beyond those.
    pub(crate) pending: u64,
    /// All bytes, where they are known.
    pub(crate) total: Option<u64>,
    /// Bytes among those that will not come.
    pub(crate) dropped: u64,
    /// All files, where they are known.
    pub(crate) total_files: Option<u64>,
    /// Speed of what passes the stream.
    pub(crate) speed: Speed,
}

/// Occupation of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The address is dialled.
    Connecting { to: String },
    /// Nobody has come yet.
    Waiting,
    /// The receiver serves others first.
    Queued,
    /// Both sides look at what the receiver has.
    Comparing,
    /// Content moves.
    Moving,
    /// All is there, and is being made durable.
    Syncing,
    /// The connection was lost. Without a next time, it is the other side that comes again.
    Reconnecting { attempt: u32, cause: String, next: Option<Instant> },
}

impl Status {
    pub(crate) fn new(side: Side, phase: Phase) -> Self {
        Self {
            side,
            phase,
            peer: None,
            name: None,
            files: 0,
            acknowledged: 0,
            pending: 0,
            total: None,
            dropped: 0,
            total_files: None,
            speed: Speed::default(),
        }
    }

    /// Returns the bytes that there are to come, where they are known.
    pub(crate) fn total(&self) -> Option<u64> {
        self.total.map(|total| total.saturating_sub(self.dropped))
    }

    /// Returns how much is there or on its way.
    fn done(&self) -> u64 {
        self.acknowledged.saturating_add(self.pending)
    }

    /// Returns that in hundredths, rounded down: 100 only when all is acknowledged.
    fn percent(&self, total: u64) -> u64 {
        let hundredths = |bytes: u64| u128::from(bytes) * 100 / u128::from(total.max(1));
        let all = if self.acknowledged >= total { 100 } else { 99 };
        u64::try_from(hundredths(self.done())).unwrap_or(all).min(all)
    }

    /// Returns whether all that there is to be sent is at the receiver, or on its way to it.
    pub(crate) fn is_all_done(&self) -> bool {
        self.total().is_some_and(|total| total > 0 && self.done() >= total)
    }

    /// Formats a line for a log.
    pub(crate) fn line(&self, now: Instant) -> String {
        let rate = self.speed.per_second(now).map(|speed| format!(", {}", rate(speed)));
        let rate = rate.unwrap_or_default();
        let done = size(self.done());
        match self.total() {
            Some(total) => {
                format!("{done} of {} ({} %){rate}", size(total), self.percent(total))
            }
            None => format!("{}, {done} so far{rate}", count(self.files, "file")),
        }
    }

    /// Formats a row for a terminal of so many columns. It is never wider.
    pub(crate) fn row(&self, now: Instant, columns: usize, style: Style) -> String {
        let spinner = style.spinner(now);
        let peer = self.peer.as_ref().map(|peer| format!("{}  ", style.fit_end(peer, columns / 3)));
        let start = format!("{spinner} {}", peer.unwrap_or_default());
        let other = self.side.other();
        let text = match &self.phase {
            Phase::Connecting { to } => format!("connecting to {to}"),
            Phase::Waiting => format!("waiting for the {other}"),
            Phase::Queued => "waiting for a place at the receiver".to_owned(),
            Phase::Reconnecting { attempt, cause, next } => match next {
                Some(next) => {
                    // Rounded up, so that 0 means now.
                    let left = next.saturating_duration_since(now).as_millis().div_ceil(1000);
                    format!("reconnecting, attempt {attempt} in {left} s: {cause}")
                }
                None => format!("waiting for the {other} to come again: {cause}"),
            },
            Phase::Comparing | Phase::Moving | Phase::Syncing => {
                let room = columns.saturating_sub(width(&start));
                return format!("{start}{}", self.figures(now, room, style));
            }
        };
        let room = columns.saturating_sub(width(&start));
        format!("{start}{}", style.fit(&text, room))
    }

    /// Formats name, bar and numbers, as many of them as there is room for.
    fn figures(&self, now: Instant, room: usize, style: Style) -> String {
        let speed = self.speed.per_second(now);
        let is_moving = self.phase == Phase::Moving;
        let last = match self.phase {
            Phase::Comparing => Some("comparing".to_owned()),
            Phase::Syncing => Some("syncing".to_owned()),
            _ => speed.map(rate),
        };
        let Some(total) = self.total() else {
            let far = format!("{}, {} so far", count(self.files, "file"), size(self.done()));
            return join(self.name.as_deref(), None, [Some(far), last, None, None], room, style);
        };
        let percent = self.percent(total);
        let left = total.saturating_sub(self.done());
        let ahead = speed
            .filter(|speed| is_moving && *speed > 0 && left > 0)
            .map(|speed| clock(Duration::from_secs(left.div_ceil(speed.max(1)))));
        let of = if room < NARROW { String::new() } else { format!(" of {}", size(total)) };
        let bytes = format!("{percent:3}%  {}{of}", size(self.done()));
        let files = self.total_files.filter(|files| *files != 1);
        let files = files.map(|files| format!("{} of {}", self.files, count(files, "file")));
        let bar = Some((self.acknowledged, self.done(), total));
        join(self.name.as_deref(), bar, [Some(bytes), last, ahead, files], room, style)
    }
}

/// Puts a name, a bar and fields into a row. What there is no room for is left out: the last fields first, then the bar.
fn join(
    name: Option<&str>,
    bar: Option<(u64, u64, u64)>,
    fields: [Option<String>; 4],
    room: usize,
    style: Style,
) -> String {
    let mut fields: Vec<String> = fields.into_iter().flatten().collect();
    let wide = |fields: &[String]| fields.iter().map(|field| width(field) + GAP).sum::<usize>();
    let name_least = name.map_or(0, |name| width(name).min(NAME_LEAST));
    while fields.len() > 1
        && name_least + wide(&fields) > room + if name.is_none() { GAP } else { 0 }
    {
        fields.pop();
    }
    let rest = room.saturating_sub(wide(&fields));
    let name_most = name.map_or(0, |name| width(name).min(NAME_MOST));
    let [least, most] = [name_least, name_most].map(|name| rest.saturating_sub(name + GAP));
    let bar_width = match bar {
        Some(_) if most >= BAR_LEAST => most.min(BAR_MOST),
        Some(_) if least >= BAR_LEAST => BAR_LEAST,
        _ => 0,
    };
    let name_room = rest.saturating_sub(if bar_width > 0 { bar_width + GAP } else { 0 });
    let mut parts = Vec::new();
    if let Some(name) = name.filter(|name| name_room >= width(name).min(4)) {
        parts.push(style.fit_end(name, name_room));
    }
    if let (Some((acknowledged, done, total)), 1..) = (bar, bar_width) {
        parts.push(style.bar(bar_width, acknowledged, done, total));
    }
    parts.extend(fields);
    let row = parts.join("  ");
    // The only field may be wider than all.
    if width(&row) > room { style.fit(&row, room) } else { row }
}

const GAP: usize = 2;

/// Room below which only what matters most has any.
const NARROW: usize = 60;

/// Columns of a name below which anything else is left out first.
const NAME_LEAST: usize = 8;

/// Columns of a name that come before a wider bar.
const NAME_MOST: usize = 30;

const BAR_LEAST: usize = 8;

const BAR_MOST: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    /// A transfer in each of its states, and what the row must say.
    fn states(now: Instant) -> Vec<(Status, &'static str)> {
        let cause = "the peer closed the connection before the transfer was complete".to_owned();
        let next = Some(now + Duration::from_millis(3200));
        let to = "a-host-with-a-long-name.example.org:7117".to_owned();
        let phases = [
            (Phase::Connecting { to }, "connecting to a-host"),
            (Phase::Waiting, "waiting for the receiver"),
            (Phase::Queued, "waiting for a place at the"),
            (Phase::Comparing, "comparing"),
            (Phase::Moving, "1.0 MiB/s"),
            (Phase::Syncing, "syncing"),
            (Phase::Reconnecting { attempt: 12, cause, next }, "reconnecting, attempt 12 in 4 s:"),
            (
                Phase::Reconnecting { attempt: 2, cause: "it is lost".into(), next: None },
                "waiting for the receiver to come",
            ),
        ];
        let states = phases.into_iter().map(|(phase, words)| {
            let mut status = Status::new(Side::Sender, phase);
            status.name = Some("a/deep/folder/with/日本語/photo of a long day.raw".into());
            (status.acknowledged, status.pending) = (100 << 20, 24 << 20);
            (status.total, status.total_files) = (Some(300 << 20), Some(10));
            for tenth in 0..40_u32 {
                let at = now + tenth * Duration::from_millis(100);
                status.speed.add(at, u64::from(tenth) * (1 << 20) / 10);
            }
            (status, words)
        });
        states.collect()
    }

    fn style(is_unicode: bool, is_coloured: bool, start: Instant) -> Style {
        Style { is_unicode, is_coloured, start }
    }

    #[test]
    fn row_of_each_state_fits_and_says_what_matters() {
        let start = Instant::now();
        let now = start + Duration::from_millis(3900);
        for columns in [39, 79, 119] {
            for (mut status, words) in states(start) {
                if let Phase::Reconnecting { next: Some(next), .. } = &mut status.phase {
                    *next = now + Duration::from_millis(3200);
                }
                for (is_unicode, is_coloured) in [(true, true), (true, false), (false, false)] {
                    let row = status.row(now, columns, style(is_unicode, is_coloured, start));
                    assert!(width(&row) <= columns, "{row:?} at {columns}");
                    assert!(row.contains(words), "{row:?} at {columns}");
                    assert_eq!(row.contains('\x1b'), is_coloured && row.contains('█'), "{row:?}");
                    let others = row.contains("本語");
                    assert!(is_unicode || others || row.is_ascii(), "{row:?}");
                }
            }
        }
    }

    #[test]
    fn row_has_more_where_there_is_more_room() {
        let start = Instant::now();
        let now = start + Duration::from_millis(3900);
        let moving = |status: &(Status, _)| status.0.phase == Phase::Moving;
        let (mut status, _) = states(start).into_iter().find(moving).unwrap();
        status.name = Some("photo.raw".into());
        let row = |columns| status.row(now, columns, style(true, false, start)).replace('⠸', "-");
        let rows = [39, 79, 119].map(|columns| row(columns).chars().skip(2).collect::<String>());
        assert_eq!(
            rows,
            [
                "photo.raw   41%  124 MiB  1.0 MiB/s",
                "photo.raw  ██▒·····   41%  124 MiB of 300 MiB  1.0 MiB/s  2:56  0 of 10 files",
                "photo.raw  █████████████▒▒▒························   41%  124 MiB of 300 MiB  \
                 1.0 MiB/s  2:56  0 of 10 files",
            ]
        );
    }

    #[test]
    fn row_of_unknown_size_says_how_much_so_far() {
        let start = Instant::now();
        let mut status = Status::new(Side::Receiver, Phase::Moving);
        (status.files, status.acknowledged) = (12, 34 << 20);
        status.name = Some("tree/file".into());
        let row = status.row(start, 79, style(true, false, start));
        assert_eq!(row, "⠋ tree/file  12 files, 34 MiB so far");
        assert_eq!(status.line(start), "12 files, 34 MiB so far");
    }

    #[test]
    fn percent_is_a_hundred_only_when_all_is_acknowledged() {
        let mut status = Status::new(Side::Sender, Phase::Moving);
        (status.acknowledged, status.pending) = (999, 1);
        assert_eq!(status.percent(1000), 99);
        (status.acknowledged, status.pending) = (1000, 0);
        assert_eq!(status.percent(1000), 100);
        assert_eq!(status.percent(0), 100);
    }
}
