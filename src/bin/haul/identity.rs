//! Identity of this user: the key, and the folder that it is kept in.

use std::env;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use haul::store::fs::{Candidate, CandidateKind};
use haul::transport::secure::SecretKey;
use rustix::fs::{AtFlags, statat};
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

/// File of the secret key, which is left out where it lies in a folder that is sent.
pub(crate) struct Secret {
    device: u64,
    inode: u64,
}

impl Secret {
    /// Looks where it is; `None` if there is none.
    pub(crate) fn find() -> Option<Self> {
        let meta = folder().ok()?.join(KEY).metadata().ok()?;
        Some(Self { device: meta.dev(), inode: meta.ino() })
    }

    /// Returns whether this is what is known of it.
    pub(crate) fn has(&self, meta: &Metadata) -> bool {
        (meta.dev(), meta.ino()) == (self.device, self.inode)
    }

    /// Returns whether the walk has found it.
    pub(crate) fn is(&self, found: &Candidate<'_>) -> bool {
        let name = found.path().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        found.kind() == CandidateKind::File
            && name == KEY.as_bytes()
            && statat(found.folder(), name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
                #[expect(clippy::useless_conversion, reason = "their types differ by system")]
                let (device, inode) = (u64::try_from(stat.st_dev), u64::try_from(stat.st_ino));
                (device, inode) == (Ok(self.device), Ok(self.inode))
            })
    }
}

/// Name of the secret key's file.
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
