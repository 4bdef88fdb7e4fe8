//! Ctrl-C: the first stops in good order, the second at once.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use haul::Cancel;

use crate::exit::{Code, Stop};

/// Gives the transfer up.
pub(crate) fn cancel(cancel: &Cancel) -> impl Fn() + Send + 'static {
    let cancel = cancel.clone();
    move || cancel.cancel()
}

/// Goes away: senders may find this receiver again.
pub(crate) fn leave(cancel: &Cancel) -> impl Fn() + Send + 'static {
    let cancel = cancel.clone();
    move || cancel.leave()
}

/// Calls `stop` at the first signal that asks the process to end (SIGINT, SIGTERM, SIGHUP), and tells the user what then
/// holds; ends the process at the second.
pub(crate) fn watch(stop: impl Fn() + Send + 'static, hint: &'static str) -> Result<(), Stop> {
    let before = AtomicBool::new(false);
    let watched = ctrlc::set_handler(move || {
        if before.swap(true, Ordering::Relaxed) {
            std::process::exit(Code::Interrupted.number().into());
        }
        stop();
        // No lock is taken that a stuck thread could hold, and where this cannot be said, nothing can.
        let _ = writeln!(io::stderr(), "haul: stopping; {hint} (Ctrl-C again stops at once)");
    });
    watched.map_err(|error| Stop::new(Code::Local, format!("cannot watch for Ctrl-C: {error}")))
}
