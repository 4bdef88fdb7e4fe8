//! Identity of this user: the key, and the folder that it is kept in.

use std::env;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use haul::store::fs::FsSource;
use haul::transport::secure::SecretKey;
use rustix::process::geteuid;

use crate::exit::{Code, Stop};
use crate::explain::{self, shown};
use crate::help;

/// The user's key.
pub(crate) struct Identity {
    pub(crate) folder: PathBuf,
    pub(crate) key: SecretKey,
}

impl Identity {
    /// Reads the key, or makes it.
    pub(crate) fn open() -> Result<Self, Stop> {
        let folder = folder()?;
        let key = SecretKey::load_or_create(&folder).map_err(|error| {
            Stop::new(
                Code::Local,
                format!("cannot use the key of this user: {}", explain::system(&error)),
            )
        })?;
        Ok(Self { folder, key })
    }
}

/// Files of this user that are never sent, by device and inode: secret keys, and the ticket that is used.
pub(crate) struct Secrets(Vec<(u64, u64)>);

impl Secrets {
    /// Looks where they are. A key that is to be made is made before: nothing may find it later.
    pub(crate) fn find(ticket: Option<&str>) -> Self {
        // Who needs the key says what is wrong with it.
        let _ = Identity::open();
        Self::of(ticket)
    }

    /// Works as [`Secrets::find`], for what needs no key.
    pub(crate) fn of(ticket: Option<&str>) -> Self {
        let ticket = ticket.filter(|from| !from.starts_with("env:")).map(PathBuf::from);
        let entries = folder().ok().and_then(|folder| fs::read_dir(folder).ok());
        let entries = entries.into_iter().flatten().filter_map(Result::ok);
        // With those that were moved away, or were not given their name.
        let keys = entries.filter(|entry| entry.file_name().as_bytes().starts_with(KEY.as_bytes()));
        let paths = keys.map(|entry| entry.path()).chain(ticket);
        let files = paths.filter_map(|path| path.metadata().ok()).filter(Metadata::is_file);
        Self(files.map(|meta| (meta.dev(), meta.ino())).collect())
    }

    /// Returns whether this is what is known of one.
    pub(crate) fn have(&self, meta: &Metadata) -> bool {
        self.0.contains(&(meta.dev(), meta.ino()))
    }

    /// Leaves them out of what is sent.
    pub(crate) fn keep_from(&self, source: FsSource) -> FsSource {
        self.0.iter().fold(source, |source, &(device, inode)| source.except(device, inode))
    }

    /// Refuses to send one that is named: nobody means to.
    pub(crate) fn check(&self, path: &Path) -> Result<(), Stop> {
        if !fs::metadata(path).is_ok_and(|meta| self.have(&meta)) {
            return Ok(());
        }
        let path = shown(path);
        let text = format!(
            "{path} holds a secret key or ticket, which is never sent: whoever has it is this user; \
             to show the key that others may know: haul key"
        );
        Err(Stop::new(Code::Usage, text))
    }
}

/// Name of the secret key's file, and beginning of the names of others that may hold one.
const KEY: &str = "key";

/// Runs `haul key`.
pub(crate) fn show() -> Result<Code, Stop> {
    help::print(format!("{}\n", Identity::open()?.key.public()).as_bytes())
}

/// Reads a file that stands beside the key, and that nobody else may have written; `None` if there is none.
pub(crate) fn read_kept(path: &Path) -> Result<Option<String>, Stop> {
    let local = |text: String| Stop::new(Code::Local, format!("{}: {text}", shown(path)));
    let failed = |error: io::Error| local(explain::system(&error));
    let meta = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta.map_err(failed)?,
    };
    // A FIFO would be waited for.
    if !meta.is_file() {
        return Err(local("it is not a file".into()));
    }
    let mut file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    // The administrator may write here in any case.
    let (owner, user) = (meta.uid(), geteuid().as_raw());
    if owner != user && owner != 0 {
        return Err(local(format!(
            "it belongs to another user ({owner}), and not to this one ({user})"
        )));
    }
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(local(format!(
            "others may write it (mode {mode:04o}); to mend that: chmod 600 {}",
            shown(path)
        )));
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Returns the folder that keys are kept in.
pub(crate) fn folder() -> Result<PathBuf, Stop> {
    let given = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A relative one is to be ignored, as the specification of these folders has it.
    let config = given("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let home = || Some(given("HOME")?.join(".config"));
    let haul = |config: PathBuf| config.join("haul");
    given("HAUL_CONFIG_DIR").or_else(|| config.or_else(home).map(haul)).ok_or_else(|| {
        let text = "there is no folder for the key of this user: set HAUL_CONFIG_DIR, or HOME";
        Stop::new(Code::Local, text)
    })
}
