//! Names of what is to be sent, read from a list: `--files-from`.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use haul::RelPath;
use haul::store::withdrawal_of;
use haul::types::Withdrawal;

use crate::args::Send;
use crate::choices::Links;
use crate::exit::{Code, Side, Stop};
use crate::explain::{self, shown};
use crate::filter::Filter;
use crate::identity::Secret;
use crate::report::{Record, Reporter};
use crate::send::is_stdin;

/// Entries that a list names, and the code of those among them that cannot be sent.
pub(crate) struct List {
    /// Paths, each with the name that it has at the receiver: files as they are listed, and then folders, each after
    /// what it holds.
    pub(crate) entries: Vec<(PathBuf, RelPath)>,
    /// Number of files among them, which stand first.
    pub(crate) files: usize,
    pub(crate) code: Code,
}

impl List {
    /// Reads the list, and looks at all that it names.
    pub(crate) fn read(args: &Send, from: &Path, reporter: &Reporter) -> Result<Self, Stop> {
        if args.links == Some(Links::Preserve) {
            let text =
                "--links preserve is for folders that are sent whole, and not for --files-from";
            return Err(Stop::new(Code::Usage, text));
        }
        let filter = Filter::new(&args.exclude, &args.include)
            .map_err(|error| Stop::new(Code::Usage, error))?;
        let bytes = content(from).map_err(|error| {
            let text = format!("cannot read the list {}: {}", shown(from), explain::system(&error));
            Stop::new(Code::Local, text)
        })?;
        let finder = Finder { args, filter, secret: Secret::find(), reporter };
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        let (mut code, mut seen) = (Code::Done, HashSet::new());
        let end = if args.null { b'\0' } else { b'\n' };
        for line in bytes.split(|byte| *byte == end) {
            let path = Path::new(OsStr::from_bytes(line));
            let name = name_of(path);
            // An empty line, and the current folder, which find prints first.
            if matches!(&name, Ok(name) if name.as_os_str().is_empty()) {
                continue;
            }
            match name.and_then(|name| finder.find(path, &name)) {
                Ok(Some((name, _))) if !seen.insert(name.clone()) => {}
                Ok(Some((name, true))) => folders.push((path.into(), name)),
                Ok(Some((name, false))) => files.push((path.into(), name)),
                Ok(None) => {}
                Err(reason) => {
                    finder.report(path, reason);
                    code = code.and(Code::of_withdrawal(reason, Side::Sender));
                }
            }
        }
        folders.sort_by(|(_, one): &(PathBuf, RelPath), (_, other)| {
            other.as_bytes().cmp(one.as_bytes())
        });
        let count = files.len();
        files.append(&mut folders);
        Ok(Self { entries: files, files: count, code })
    }
}

/// Search for what is named.
struct Finder<'a> {
    args: &'a Send,
    filter: Filter,
    secret: Option<Secret>,
    reporter: &'a Reporter,
}

impl Finder<'_> {
    /// Returns the name of an entry, and whether it is a folder; `None` where it is left out.
    fn find(&self, path: &Path, name: &Path) -> Result<Option<(RelPath, bool)>, Withdrawal> {
        let meta = self.look(path).map_err(|error| withdrawal_of(&error))?;
        if !self.filter.admits_listed(name, meta.is_dir()) {
            return Ok(None);
        }
        if meta.is_symlink() {
            return Err(Withdrawal::Link);
        }
        if !meta.is_file() && !meta.is_dir() {
            return Err(Withdrawal::Kind);
        }
        if self.secret.as_ref().is_some_and(|secret| secret.has(&meta)) {
            self.reporter.complain("warning: the secret key of this user is not sent");
            return Ok(None);
        }
        let name = RelPath::parse(name.as_os_str().as_bytes()).map_err(|error| match error {
            haul::types::NameError::TooLong { .. } | haul::types::NameError::TooDeep { .. } => {
                Withdrawal::NameTooLong
            }
            haul::types::NameError::Reserved => Withdrawal::Partial,
            _ => Withdrawal::Name,
        })?;
        Ok(Some((name, meta.is_dir())))
    }

    fn look(&self, path: &Path) -> io::Result<Metadata> {
        if self.args.links == Some(Links::Follow) {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        }
    }

    fn report(&self, path: &Path, reason: Withdrawal) {
        let (path, text) = (shown(path), reason.to_string());
        let said = match reason {
            // It may never have been there.
            Withdrawal::Vanished => "there is no such file".to_owned(),
            reason => explain::withdrawal(reason, Side::Sender),
        };
        if reason.is_skip() {
            self.reporter.record(&Record::Skipped { path: &path, reason: &text }, None);
            self.reporter.note(&format!("{path} is skipped: {said}"));
        } else {
            self.reporter.record(&Record::Withdrawn { path: &path, reason: &text }, None);
            self.reporter.complain(&format!("{path} is not sent: {said}"));
        }
    }
}

/// Returns all of the list.
fn content(from: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if is_stdin(from) {
        io::stdin().lock().read_to_end(&mut bytes)?;
    } else {
        File::open(from)?.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Returns the name that a listed path has at the receiver: as it is, below the folder to receive into.
fn name_of(path: &Path) -> Result<PathBuf, Withdrawal> {
    let mut name = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => name.push(part),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::ParentDir => return Err(Withdrawal::Name),
        }
    }
    Ok(name)
}
