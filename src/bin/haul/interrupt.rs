//! Signals. Ctrl-C: the first stops in good order, the second at once. A limit of the size of files: an error of the write.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use haul::CancelToken;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::exit::{Code, Stop};
use crate::report::Reporter;

/// Gives the transfer up.
pub(crate) fn cancel(cancel: &CancelToken) -> impl Fn() + Send + 'static {
    let cancel = cancel.clone();
    move || cancel.cancel()
}

/// Goes away: senders may find this receiver again.
pub(crate) fn leave(cancel: &CancelToken) -> impl Fn() + Send + 'static {
    let cancel = cancel.clone();
    move || cancel.leave()
}

/// Calls `stop` at the first signal that asks the process to end (SIGINT, SIGTERM, SIGHUP), and tells the user what then
/// holds; ends the process at the second. A signal that was ignored from the start stays so: that is what nohup does.
pub(crate) fn watch(
    stop: impl Fn() + Send + 'static,
    hint: &'static str,
    reporter: &Arc<Reporter>,
) -> Result<(), Stop> {
    watch_twice(stop, || {}, hint, reporter)
}

/// Works as [`watch`], and calls `kill` before it ends the process.
pub(crate) fn watch_twice(
    stop: impl Fn() + Send + 'static,
    kill: impl Fn() + Send + 'static,
    hint: &'static str,
    reporter: &Arc<Reporter>,
) -> Result<(), Stop> {
    let reporter = Arc::clone(reporter);
    let ignored = ignored();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_in(ignored, signal));
    let watched = Signals::new(wanted).and_then(|mut signals| {
        thread::Builder::new().name("signals".into()).spawn(move || {
            let mut signals = signals.forever();
            if let Some(signal) = signals.next() {
                reporter.stopped().note(signal);
                stop();
                // It does not wait for who reads it: the second signal must be seen.
                reporter.mention(&format!("stopping; {hint} (Ctrl-C again stops at once)"));
            }
            if signals.next().is_some() {
                kill();
                reporter.finish_within(LAST_WORDS);
                std::process::exit(reporter.number(Code::Interrupted).into());
            }
        })
    });
    watched
        .map(drop)
        .map_err(|error| Stop::new(Code::Local, format!("cannot watch for Ctrl-C: {error}")))
}

/// Lets a write beyond the limit of the size of files (`ulimit -f`) fail with `EFBIG`, of which one entry is refused. The
/// signal that comes with it would end the process. Commands that this one starts have it as it was.
pub(crate) fn outlive_file_limit() -> Result<(), Stop> {
    // Nobody reads the flag: that the signal has a handler is enough.
    signal_hook::flag::register(SIGXFSZ, Arc::<AtomicBool>::default())
        .map(drop)
        .map_err(|error| Stop::new(Code::Local, format!("cannot handle SIGXFSZ: {error}")))
}

/// Returns the signals that are ignored, as bits, where the system tells: Linux does, in a file.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// Signals are counted from 1.
fn is_in(mask: u64, signal: i32) -> bool {
    let bit = u32::try_from(signal - 1).ok().and_then(|shift| 1_u64.checked_shl(shift));
    bit.is_some_and(|bit| mask & bit != 0)
}

/// Time for what was said to be read, at the second signal.
const LAST_WORDS: Duration = Duration::from_millis(500);
