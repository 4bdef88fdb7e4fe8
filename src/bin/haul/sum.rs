//! The sum of a transfer, as people read it.

use std::time::Duration;

use haul::{Durability, Summary};

use crate::exit::Side;
use crate::figures::{count, rate, size, took};

/// Facts of a transfer that its summary does not hold.
pub(crate) struct Facts<'a> {
    pub(crate) side: Side,
    pub(crate) time: Duration,
    /// Bytes per second, of those that went over the stream.
    pub(crate) speed: u64,
    /// Durability of the least durable of what is held.
    pub(crate) durability: Option<Durability>,
    /// Name of the other end, where there are several.
    pub(crate) peer: Option<&'a str>,
}

impl Facts<'_> {
    /// Formats the sum.
    pub(crate) fn line(&self, summary: &Summary) -> String {
        let verb = match self.side {
            Side::Sender => "sent",
            Side::Receiver => "received",
        };
        let first = summary.sent.saturating_sub(summary.resent);
        let mut line = format!("{}, {}", count(summary.files, "file"), size(summary.bytes));
        match (first, summary.already) {
            (first, 0) if first == summary.bytes => line.push_str(&format!(" {verb}")),
            (0, _) => line.push_str(": all of it was there"),
            (first, 0) => line.push_str(&format!(": {} {verb}", size(first))),
            (first, already) => {
                line.push_str(&format!(": {} {verb}, {} were there", size(first), size(already)));
            }
        }
        line.push_str(&format!(" ({}", took(self.time)));
        // In less time than is shown, a rate says nothing.
        if summary.sent > 0 && self.time >= Duration::from_millis(100) {
            line.push_str(&format!(", {}", rate(self.speed)));
        }
        line.push(')');
        if let Some(durability) = self.durability {
            let place = if self.side == Side::Sender { " at the receiver" } else { "" };
            line.push_str(&format!(", {durability}{place}"));
        }
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
            line.push_str(&format!("; {} sent again", size(summary.resent)));
        }
        if let Some(peer) = self.peer {
            line.push_str(&format!("; from {peer}"));
        }
        line
    }
}
