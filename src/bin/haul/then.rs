//! Commands that run once a file, or a transfer, has arrived: `--then`. Here stands what they are told.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use haul::types::{Outcome, PublicKey};
use haul::{Receipt, Summary};

use crate::args::Receive;
use crate::choices::Per;
use crate::exit::{Code, Stop};
use crate::jobs::Job;
use crate::program;
use crate::report::Reporter;
use crate::runner::Runner;

/// Way to the thread that runs commands.
#[derive(Clone)]
pub(crate) struct Then {
    runner: Arc<Runner>,
    per: Per,
    folder: Arc<Path>,
}

/// Sender, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sender<'a> {
    pub(crate) address: Option<&'a str>,
    /// Key that it has proved to have.
    pub(crate) key: Option<PublicKey>,
    /// Name that this user has given to the owner of the key.
    pub(crate) name: Option<&'a str>,
}

impl Then {
    /// Starts the thread, if there is a command to run.
    pub(crate) fn start(
        args: &Receive,
        folder: &Path,
        reporter: &Arc<Reporter>,
    ) -> Result<Option<Self>, Stop> {
        if args.then.is_empty() {
            return Ok(None);
        }
        let secret = args.network.ticket.as_ref().and_then(|from| from.strip_prefix("env:"));
        let secret = secret.map(ToOwned::to_owned);
        let runner = Runner::start(args.then.clone(), secret, args.then_grace, reporter)?;
        let per = args.then_per.unwrap_or_default();
        Ok(Some(Self { runner, per, folder: folder.into() }))
    }

    /// Returns the thread.
    pub(crate) fn runner(&self) -> &Runner {
        &self.runner
    }

    /// Has the command run for a file that this side vouches for.
    pub(crate) fn received(&self, receipt: &Receipt, sender: Sender<'_>) {
        if self.per != Per::File {
            return;
        }
        let place = self.folder.join(OsStr::from_bytes(receipt.path.as_bytes()));
        let outcome = if receipt.outcome == Outcome::Held { "held" } else { "stored" };
        let facts = vec![
            ("HAUL_EVENT", "received".into()),
            ("HAUL_FILE", place.clone().into()),
            ("HAUL_NAME", OsStr::from_bytes(receipt.path.as_bytes()).into()),
            ("HAUL_SIZE", receipt.size.to_string().into()),
            ("HAUL_BLAKE3", receipt.hash.to_string().into()),
            ("HAUL_DURABILITY", receipt.durability.to_string().into()),
            ("HAUL_OUTCOME", outcome.into()),
        ];
        self.add(place, facts, sender);
    }

    /// Has the command run for a transfer that is over.
    pub(crate) fn finished(&self, summary: &Summary, code: Code, sender: Sender<'_>) {
        if self.per != Per::Transfer {
            return;
        }
        let mut facts = vec![("HAUL_EVENT", "finished".into())];
        for (name, count) in [
            ("HAUL_FILES", summary.files),
            ("HAUL_BYTES", summary.bytes),
            ("HAUL_SKIPPED", summary.skipped),
            ("HAUL_REFUSED", summary.refused),
            ("HAUL_WITHDRAWN", summary.withdrawn),
            ("HAUL_CODE", code.number().into()),
        ] {
            facts.push((name, count.to_string().into()));
        }
        self.add(self.folder.to_path_buf(), facts, sender);
    }

    fn add(&self, place: PathBuf, mut facts: Vec<(&'static str, OsString)>, sender: Sender<'_>) {
        facts.push(("HAUL_FOLDER", self.folder.as_os_str().into()));
        facts.extend(sender.address.map(|address| ("HAUL_PEER", address.into())));
        facts.extend(sender.key.map(|key| ("HAUL_KEY", key.to_string().into())));
        facts.extend(sender.name.map(|name| ("HAUL_PEER_NAME", name.into())));
        self.runner.add(Job::new(place.into(), facts));
    }
}

/// Looks for the program of `--then`, before anything is received for it. One whose name has a `{}` is not known yet.
pub(crate) fn check(words: &[OsString]) -> Result<(), Stop> {
    match words.first() {
        Some(word) if word.as_bytes().windows(2).any(|pair| pair == b"{}") => Ok(()),
        _ => program::check("--then", words),
    }
}
