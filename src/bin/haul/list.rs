//! Names of what is to be sent, read from a list: `--files-from`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use haul::RelPath;
use haul::store::withdrawal_of;
use haul::types::{NameError, Withdrawal};

use crate::args::Send;
use crate::choices::Links;
use crate::exit::{Code, Side, Stop};
use crate::explain::{self, short, shown};
use crate::filter::Filter;
use crate::identity::Secrets;
use crate::report::{Others, Record, Reporter};
use crate::send::is_stdin;

/// Entries that a list names, and the code of those among them that cannot be sent.
pub(crate) struct List {
    /// Paths, each with the name that it has at the receiver: files as they are listed, and then folders, each after
    /// what it holds.
    pub(crate) entries: Vec<(PathBuf, RelPath)>,
    /// Number of files among them, which stand first.
    pub(crate) files: usize,
    pub(crate) code: Code,
    /// Number of those that are not sent.
    pub(crate) others: Others,
}

impl List {
    /// Reads the list, and looks at all that it names.
    pub(crate) fn read(
        args: &Send,
        from: &Path,
        secrets: &Secrets,
        reporter: &Reporter,
    ) -> Result<Self, Stop> {
        if args.links == Some(Links::Preserve) {
            let text =
                "--links preserve is for folders that are sent whole, and not for --files-from";
            return Err(Stop::new(Code::Usage, text));
        }
        let filter = Filter::new(&args.exclude, &args.include)
            .map_err(|error| Stop::new(Code::Usage, error))?;
        let mut lines = Lines::open(from, args.null)?;
        let (seen, linked) = (HashMap::new(), None);
        let mut finder = Finder { args, filter, secrets, seen, linked, reporter };
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        let (mut code, mut others) = (Code::Done, Others::default());
        while let Some(line) = lines.next()? {
            let path = Path::new(OsStr::from_bytes(line));
            let name = name_of(path);
            // An empty line, and the current folder, which find prints first.
            if matches!(&name, Ok(name) if name.as_os_str().is_empty()) {
                continue;
            }
            let found = name.map_err(Unsent::Unsendable).and_then(|name| finder.find(path, &name));
            match found {
                Ok(Some(Found { name, is_folder: true, .. })) => folders.push((path.into(), name)),
                Ok(Some(Found { name, .. })) => files.push((path.into(), name)),
                Ok(None) => {}
                Err(unsent) => {
                    let count =
                        if unsent.is_skip() { &mut others.skipped } else { &mut others.withdrawn };
                    *count += 1;
                    finder.report(path, &unsent);
                    code = code.and(unsent.code());
                }
            }
        }
        folders.sort_by(|(_, one): &(PathBuf, RelPath), (_, other)| {
            other.as_bytes().cmp(one.as_bytes())
        });
        let count = files.len();
        files.append(&mut folders);
        Ok(Self { entries: files, files: count, code, others })
    }
}

/// Lines of a list, which are read one by one, however many there are.
struct Lines {
    input: Box<dyn BufRead>,
    end: u8,
    line: Vec<u8>,
    /// Number of the line that was read last.
    number: u64,
    /// Name of the list, for people.
    shown: String,
}

impl Lines {
    fn open(from: &Path, is_null: bool) -> Result<Self, Stop> {
        let end = if is_null { b'\0' } else { b'\n' };
        let mut lines = Self {
            input: Box::new(io::empty()),
            end,
            line: Vec::new(),
            number: 0,
            shown: shown(from),
        };
        lines.input = if is_stdin(from) {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(from).map_err(|error| lines.cannot(&explain::system(&error)))?;
            Box::new(BufReader::new(file))
        };
        Ok(lines)
    }

    /// Reads the next line, without its end.
    fn next(&mut self) -> Result<Option<&[u8]>, Stop> {
        self.line.clear();
        self.number += 1;
        let mut input = Read::take(&mut self.input, LONGEST + 1);
        let read = input.read_until(self.end, &mut self.line);
        if read.map_err(|error| self.cannot(&explain::system(&error)))? == 0 {
            return Ok(None);
        }
        let number = self.number;
        if self.end == b'\n' && self.line.contains(&b'\0') {
            let text = format!(
                "the list {} has a NUL in line {number}: where names end with a NUL, as find -print0 prints them, give -0",
                self.shown
            );
            return Err(Stop::new(Code::Usage, text));
        }
        if self.line.last() == Some(&self.end) {
            self.line.pop();
        } else if self.line.len() as u64 > LONGEST {
            let ends = if self.end == b'\0' { "; names end with a NUL in it, for -0" } else { "" };
            let text = format!("name {number} is longer than {LONGEST} bytes{ends}");
            return Err(self.cannot(&text));
        }
        Ok(Some(&self.line))
    }

    fn cannot(&self, what: &str) -> Stop {
        Stop::new(Code::Local, format!("cannot read the list {}: {what}", self.shown))
    }
}

/// Search for what is named.
struct Finder<'a> {
    args: &'a Send,
    filter: Filter,
    secrets: &'a Secrets,
    /// The files that have the names so far.
    seen: HashMap<RelPath, FileId>,
    /// The folder of the last name, and whether it is reached through a link: lists name folder by folder.
    linked: Option<(PathBuf, bool)>,
    reporter: &'a Reporter,
}

/// Entry that is named.
struct Found {
    name: RelPath,
    is_folder: bool,
    id: FileId,
}

/// Device of a file, and its number there.
type FileId = (u64, u64);

/// Reason why an entry that is named is not sent.
enum Unsent {
    Unsendable(Withdrawal),
    /// Another file of the list has this name.
    Namesake(RelPath),
}

impl Unsent {
    const fn is_skip(&self) -> bool {
        matches!(self, Self::Unsendable(reason) if reason.is_skip())
    }

    const fn code(&self) -> Code {
        match self {
            Self::Unsendable(reason) => Code::of_withdrawal(*reason, Side::Sender),
            Self::Namesake(_) => Code::Local,
        }
    }
}

impl Finder<'_> {
    /// Returns the entry, or `None` where it is left out, or was named before.
    fn find(&mut self, path: &Path, name: &Path) -> Result<Option<Found>, Unsent> {
        let unsendable = |reason| Err(Unsent::Unsendable(reason));
        let meta = match self.look(path) {
            Ok(meta) => meta,
            Err(error) => return unsendable(withdrawal_of(&error)),
        };
        if !self.filter.admits_listed(name, meta.is_dir()) {
            return Ok(None);
        }
        if meta.is_symlink() || self.is_through_link(path) {
            return unsendable(Withdrawal::Link);
        }
        if !meta.is_file() && !meta.is_dir() {
            return unsendable(Withdrawal::Kind);
        }
        if self.secrets.have(&meta) {
            return unsendable(Withdrawal::Secret);
        }
        match RelPath::parse(name.as_os_str().as_bytes()) {
            Ok(name) => {
                let id = (meta.dev(), meta.ino());
                self.admit(Found { name, is_folder: meta.is_dir(), id })
            }
            Err(NameError::TooLong { .. } | NameError::TooDeep { .. }) => {
                unsendable(Withdrawal::NameTooLong)
            }
            Err(NameError::Reserved) => unsendable(Withdrawal::Partial),
            Err(_) => unsendable(Withdrawal::Name),
        }
    }

    /// Returns the entry, if its name is new. Of two files with one name, one would be lost.
    fn admit(&mut self, found: Found) -> Result<Option<Found>, Unsent> {
        match self.seen.entry(found.name.clone()) {
            Entry::Vacant(free) => {
                free.insert(found.id);
                Ok(Some(found))
            }
            Entry::Occupied(first) if *first.get() == found.id => Ok(None),
            Entry::Occupied(_) => Err(Unsent::Namesake(found.name)),
        }
    }

    fn look(&self, path: &Path) -> io::Result<Metadata> {
        if self.args.links == Some(Links::Follow) {
            fs::metadata(path)
        } else {
            fs::symlink_metadata(path)
        }
    }

    /// Returns whether a folder on the way is a link, and links are not followed. The way of an absolute name is the
    /// system's: there, links may stand for the folders of users.
    fn is_through_link(&mut self, path: &Path) -> bool {
        if self.args.links == Some(Links::Follow) || path.is_absolute() {
            return false;
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        match &self.linked {
            Some((known, is_linked)) if known == folder => *is_linked,
            _ => {
                let is_link = |folder: &Path| {
                    fs::symlink_metadata(folder).is_ok_and(|meta| meta.is_symlink())
                };
                let is_linked = folder.ancestors().any(is_link);
                self.linked = Some((folder.into(), is_linked));
                is_linked
            }
        }
    }

    fn report(&self, path: &Path, unsent: &Unsent) {
        let path = shown(path);
        let (text, said) = match unsent {
            Unsent::Namesake(name) => {
                let text = "another file of the list has this name";
                let name = short(name);
                (text.to_owned(), format!("another file of the list has the name {name}, too"))
            }
            // It may never have been there.
            Unsent::Unsendable(reason @ Withdrawal::Vanished) => {
                (reason.to_string(), "there is no such file".to_owned())
            }
            Unsent::Unsendable(reason) => {
                (reason.to_string(), explain::withdrawal(*reason, Side::Sender))
            }
        };
        if unsent.is_skip() {
            self.reporter.record(&Record::Skipped { path: &path, reason: &text }, None);
            self.reporter.note(&format!("{path} is skipped: {said}"));
        } else {
            self.reporter.record(&Record::Withdrawn { path: &path, reason: &text }, None);
            self.reporter.complain(&format!("{path} is not sent: {said}"));
        }
    }
}

/// Most bytes of a line: no system takes a path as long.
const LONGEST: u64 = 64 * 1024;

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
