//! Liveness of a session's sender, for others to judge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::config::Deadlines;

/// Record of what a session receives of its sender, for other threads to look at.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse(Arc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    /// Time since which it has been waiting without a byte: in milliseconds, and one more; 0 if it
    /// is not.
    silent: AtomicU64,
    heard: AtomicU64,
    ticks: AtomicU64,
}

/// Number of bytes that a session had received at some time, and of reads without any.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    bytes: u64,
    ticks: u64,
}

impl Pulse {
    pub(super) fn waits(&self, now: Duration) {
        let since = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        // Waiting goes on over the ticks of a stream. No other memory depends on it: relaxed is enough, here and below.
        let _ = self.0.silent.compare_exchange(0, since, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Counts bytes that came.
    pub(super) fn hears(&self, bytes: usize) {
        self.0.silent.store(0, Ordering::Relaxed);
        self.0.heard.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a call on the stream that gave nothing to read, nor its end.
    pub(super) fn hears_nothing(&self) {
        self.0.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns whether nothing came for longer than a sender that lives is silent, though it is
    /// waited for.
    pub(super) fn is_silent(&self, now: Duration) -> bool {
        let since = self.0.silent.load(Ordering::Relaxed).checked_sub(1);
        let since = since.map(Duration::from_millis);
        since.is_some_and(|since| now.saturating_sub(since) > HALF_DEAD)
    }

    /// Returns the counts up to now.
    pub(super) fn heard(&self) -> Heard {
        let (bytes, ticks) = (&self.0.heard, &self.0.ticks);
        Heard { bytes: bytes.load(Ordering::Relaxed), ticks: ticks.load(Ordering::Relaxed) }
    }
}

impl Heard {
    /// Returns whether the bytes received since `before` cannot all be of a sender that was dead by
    /// then.
    pub(super) const fn is_of_one_that_lived(self, before: Self) -> bool {
        self.ticks > before.ticks || self.bytes - before.bytes >= LEFT_BEHIND
    }
}

/// Bytes beyond what a sender that is killed leaves in the buffers of its connection: by default Linux gives up to
/// 4 MiB to what is written to a TCP socket (`tcp_wmem`), and since 2025 up to 32 MiB to what is to be read
/// (`tcp_rmem`).
const LEFT_BEHIND: u64 = 64 * 1024 * 1024;

/// After how long a silence a sender that is waited for is taken for dead, when another one comes. One that lives sends
/// something at least every [`Deadlines::HEARTBEAT`].
pub(super) const HALF_DEAD: Duration = Deadlines::HEARTBEAT.saturating_mul(2);
