//! `haul send`.

use std::ffi::OsStr;
use std::fs::{self, File, FileType};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use haul::config::Compare;
use haul::store::fs::{CandidateKind, FsSource, Symlinks};
use haul::store::{Chain, StreamSource};
use haul::transport::secure::TicketSecret;
use haul::transport::tcp::TcpOptions;
use haul::types::TransferId;
use haul::{CancelToken, Config, Observer, RateLimit, RelPath, Retry, Source, Transfer};
use rustix::fs::{OFlags, fcntl_getfl};

use crate::access::{Door, Mode, Owners};
use crate::address::{Address, Spot};
use crate::args::Send;
use crate::choices::Links;
use crate::exit::{Code, Side, Stop};
use crate::explain::{self, shown};
use crate::filter::Filter;
use crate::identity::Secrets;
use crate::list::List;
use crate::producer::Producer;
use crate::receive::{Waiting, listen};
use crate::report::{Others, Reporter};
use crate::session::{Session, Start};
use crate::status::Phase;
use crate::stream::{Dial, Link};
use crate::{interrupt, origin, plain, program};

pub(crate) fn run(args: &Send, reporter: &Arc<Reporter>) -> Result<Code, Stop> {
    let (paths, address) = args.split().map_err(|error| Stop::new(Code::Usage, error))?;
    if let Some(list) = &args.files_from {
        return send_listed(args, list, address.as_ref(), reporter);
    }
    if !args.from_command.is_empty() {
        return send_produced(args, address.as_ref(), reporter);
    }
    let ticket = args.network.ticket.as_deref();
    let secrets = if args.plain { Secrets::of(ticket) } else { Secrets::find(ticket) };
    paths.iter().filter(|path| !is_stdin(path)).try_for_each(|path| secrets.check(path))?;
    let paths = inside(args, paths)?;
    if paths.iter().any(|path| is_stdin(path)) {
        check_stdin()?;
    }
    if args.plain {
        return plain::send(args, &paths, address.as_ref(), reporter);
    }
    let stdin = paths.iter().filter(|path| is_stdin(path)).count();
    if stdin > 1 {
        return Err(Stop::new(Code::Usage, "standard input (-) can be sent only once"));
    }
    if args.name.is_some() && paths.len() > 1 {
        return Err(Stop::new(Code::Usage, "--name is for a single PATH"));
    }
    let name = args.name.as_deref().map(|name| parse_name(name.as_bytes())).transpose()?;
    let files: Vec<&Path> =
        paths.iter().map(|path| path.as_path()).filter(|path| !is_stdin(path)).collect();
    files.iter().try_for_each(|path| check(path))?;
    if name.is_none() {
        files.iter().try_for_each(|path| check_name(path))?;
    }
    let files = match (&name, files.as_slice()) {
        (Some(name), [path]) => FsSource::named(path, name),
        _ => FsSource::new(&files),
    };
    let files = files.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => {
            let text = format!("{error}; send them one by one, with another --name");
            Stop::new(Code::Usage, text)
        }
        _ => Stop::new(Code::Local, explain::system(&error)),
    })?;
    let files = secrets
        .keep_from(files)
        .symlinks(args.links.map_or_else(Symlinks::default, Symlinks::from));
    let failed = Arc::<AtomicBool>::default();
    let is_sent = |path: &PathBuf| is_stdin(path) || path.is_file();
    let matched = Arc::new(AtomicBool::new(paths.iter().any(is_sent)));
    let files = filtered(args, files, &paths, reporter, (&failed, &matched))?;
    let id = origin::id(args, &paths, &[]);
    let code = if stdin == 0 {
        transfer(args, address.as_ref(), id, Load::new(files, &paths), reporter)
    } else {
        let name = name.map_or_else(|| parse_name(b"stdin"), Ok)?;
        let source = Chain::new(files, StreamSource::new(name, io::stdin()));
        transfer(args, address.as_ref(), id, Load::new(source, &paths), reporter)
    };
    let failed = if failed.load(Ordering::Relaxed) { Code::Local } else { Code::Done };
    match code?.and(failed) {
        Code::Done if !matched.load(Ordering::Relaxed) => nothing_matches(args),
        code => Ok(code),
    }
}

/// Returns the end of a command that was to send what matches, where nothing did: a slip of the pattern, most likely.
fn nothing_matches(args: &Send) -> Result<Code, Stop> {
    match args.include.as_slice() {
        [] => Ok(Code::Done),
        patterns => {
            let text = format!("no file matches --include '{}'", patterns.join("' or '"));
            Err(Stop::new(Code::Local, text))
        }
    }
}

/// Sends what a list names.
fn send_listed(
    args: &Send,
    list: &Path,
    address: Option<&Address>,
    reporter: &Arc<Reporter>,
) -> Result<Code, Stop> {
    if is_stdin(list) {
        check_stdin()?;
    }
    let secrets = Secrets::find(args.network.ticket.as_deref());
    let List { entries, files, code, others } = List::read(args, list, &secrets, reporter)?;
    if entries.is_empty() {
        reporter.say("there is nothing to send");
        return nothing_matches(args).map(|none| none.and(code));
    }
    let source = FsSource::with_names(entries.iter().cloned())
        .map_err(|error| Stop::new(Code::Local, explain::system(&error)))?;
    // What a folder holds is listed too, or not to be sent.
    let source = secrets.keep_from(source).filter(|_| false);
    let (mut paths, names): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    let id = origin::id(args, &paths, &names);
    paths.truncate(files);
    let load = Load { others, ..Load::new(source, &paths) };
    Ok(transfer(args, address, id, load, reporter)?.and(code))
}

/// Sends what a command writes.
fn send_produced(
    args: &Send,
    address: Option<&Address>,
    reporter: &Arc<Reporter>,
) -> Result<Code, Stop> {
    program::check("--from-command", &args.from_command)?;
    let name = match (&args.name, args.from_command.first()) {
        (Some(name), _) => parse_name(name.as_bytes())?,
        (None, program) => {
            let program = program.and_then(|program| Path::new(program).file_name());
            parse_name(program.unwrap_or_default().as_bytes())?
        }
    };
    let secret = args.network.ticket.as_ref().and_then(|from| from.strip_prefix("env:"));
    let producer = Producer::new(args.from_command.clone(), secret.map(ToOwned::to_owned));
    let source = StreamSource::new(name, producer.output());
    let id = origin::id(args, &[], &[]);
    let load = Load { producer: Some(Arc::clone(&producer)), ..Load::new(source, &[]) };
    let sent = transfer(args, address, id, load, reporter);
    producer.end();
    sent
}

/// Returns the paths, with what is inside a folder in the place of one that ends in `/.`.
fn inside(args: &Send, paths: Vec<PathBuf>) -> Result<Vec<PathBuf>, Stop> {
    let mut all = Vec::new();
    for path in paths {
        if !path.as_os_str().as_bytes().ends_with(b"/.") {
            all.push(path);
            continue;
        }
        if !takes_all(args) {
            let text = "what is inside a folder (/.) is sent whole: name the folder to leave something out of it";
            return Err(Stop::new(Code::Usage, text));
        }
        let cannot = |error| {
            let text = format!("{}: {}", shown(&path), explain::system(&error));
            Stop::new(Code::Local, text)
        };
        let before = all.len();
        for entry in fs::read_dir(&path).map_err(cannot)? {
            all.push(entry.map_err(cannot)?.path());
        }
        if all.len() == before {
            return Err(Stop::new(Code::Local, format!("{}: the folder is empty", shown(&path))));
        }
    }
    Ok(all)
}

/// Leaves out what the user does not want; `failed` is set where an ignore file cannot be honoured, and `matched` where
/// there is a file that is wanted.
fn filtered(
    args: &Send,
    files: FsSource,
    paths: &[PathBuf],
    reporter: &Arc<Reporter>,
    (failed, matched): (&Arc<AtomicBool>, &Arc<AtomicBool>),
) -> Result<FsSource, Stop> {
    if takes_all(args) {
        return Ok(files);
    }
    let files = if args.include.is_empty() { files } else { files.skip_empty_folders() };
    let filter =
        Filter::new(&args.exclude, &args.include).map_err(|error| Stop::new(Code::Usage, error))?;
    let mut filter = if args.ignore_files {
        let paths = paths.iter().filter(|path| !is_stdin(path)).cloned().collect();
        filter.with_ignore_files(paths, Arc::clone(reporter), Arc::clone(failed))
    } else {
        filter
    };
    let matched = Arc::clone(matched);
    Ok(files.filter(move |found| {
        let is_wanted = filter.admits(found);
        if is_wanted && found.kind() != CandidateKind::Directory {
            matched.store(true, Ordering::Relaxed);
        }
        is_wanted
    }))
}

/// Returns whether all is sent that there is below a path.
const fn takes_all(args: &Send) -> bool {
    args.exclude.is_empty() && args.include.is_empty() && !args.ignore_files
}

/// Address of the receiver, or of the listener that waits for it, and the keys for that.
pub(crate) struct Way {
    pub(crate) link: Link,
    owners: Option<Owners>,
    door: Option<Door>,
    ticket: Option<TicketSecret>,
}

pub(crate) fn way(
    args: &Send,
    address: Option<&Address>,
    mode: Mode,
    reporter: &Reporter,
) -> Result<Way, Stop> {
    let options = tcp_options(args, reporter);
    if args.listen.is_none()
        && let Some(address) = args.network.peer(address)?
    {
        let (dial, keys) = Dial::to(&address, mode, options, reporter)?;
        let owners = keys.as_ref().map(|keys| keys.identity.owners());
        let link = Link::Dialled(dial);
        return Ok(Way { link, owners, door: None, ticket: keys.and_then(|keys| keys.ticket) });
    }
    let mode = (mode, args.share);
    let spot = Spot::of(args.listen.as_ref(), None);
    let Waiting { listener, door } = listen(&spot, options, Side::Sender, mode, reporter)?;
    let (door, owners) = door.unzip();
    Ok(Way { link: Link::Awaited(listener), owners, door, ticket: None })
}

/// Returns the options of TCP that the user set.
fn tcp_options(args: &Send, reporter: &Reporter) -> TcpOptions {
    let mut options = TcpOptions::default().congestion(args.congestion.clone());
    if let Some(timeout) = args.connect_timeout {
        options = options.connect_timeout(timeout);
    }
    // Where somebody looks, and the system can, little of what it took waits to be sent: what is shown as sent has left this
    // machine, but for that.
    if cfg!(target_os = "linux") && reporter.shows_progress() {
        options = options.notsent_low_water(Some(UNSENT));
    }
    options
}

/// Looks at a path that was given, without opening it: opening a FIFO would be to wait for its other end.
pub(crate) fn check(path: &Path) -> Result<(), Stop> {
    let shown = shown(path);
    let meta = fs::metadata(path)
        .map_err(|error| Stop::new(Code::Local, format!("{shown}: {}", explain::system(&error))))?;
    if meta.is_file() || meta.is_dir() {
        return Ok(());
    }
    let kind = kind(meta.file_type());
    let hint = "to send what comes out of it: haul send - ADDR <";
    Err(Stop::new(Code::Local, format!("{shown} is {kind}, not a file or folder; {hint} {shown}")))
}

/// Looks whether a path has a name to be sent under.
fn check_name(path: &Path) -> Result<(), Stop> {
    let is_root = |full: PathBuf| full.parent().is_none();
    if path.file_name().is_some() || !path.canonicalize().is_ok_and(is_root) {
        return Ok(());
    }
    let shown = shown(path);
    let text = format!("{shown} has no name to be sent under; to send what is inside it: /.");
    Err(Stop::new(Code::Usage, text))
}

fn check_stdin() -> Result<(), Stop> {
    let cannot = |error| {
        let error = explain::system(&error);
        Stop::new(Code::Local, format!("cannot use standard input: {error}"))
    };
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(cannot)?);
    let meta = stdin.metadata().map_err(cannot)?;
    if meta.is_dir() {
        let text = "standard input is a folder; give its path instead of -";
        return Err(Stop::new(Code::Local, text));
    }
    // Where it is closed, the null device has taken its place before `main`, for both directions. Who means to send nothing
    // opens that to read it.
    let flags = fcntl_getfl(&stdin).map_err(|errno| cannot(errno.into()))?;
    let is_null = || fs::metadata("/dev/null").is_ok_and(|null| null.rdev() == meta.rdev());
    if flags.contains(OFlags::RDWR) && meta.file_type().is_char_device() && is_null() {
        let text = "standard input is closed, or the null device; to send an empty file: haul send - ADDR < /dev/null";
        return Err(Stop::new(Code::Local, text));
    }
    Ok(())
}

pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == OsStr::new("-")
}

/// Source of a transfer, and what is known of it.
struct Load<'a, S> {
    source: S,
    /// Paths that were given.
    paths: &'a [PathBuf],
    others: Others,
    producer: Option<Arc<Producer>>,
}

impl<'a, S> Load<'a, S> {
    fn new(source: S, paths: &'a [PathBuf]) -> Self {
        Self { source, paths, others: Others::default(), producer: None }
    }
}

fn transfer<S: Source>(
    args: &Send,
    address: Option<&Address>,
    id: Option<TransferId>,
    load: Load<'_, S>,
    reporter: &Arc<Reporter>,
) -> Result<Code, Stop> {
    let Load { mut source, paths, others, producer } = load;
    let mut config = Config::default();
    if let Some(size) = args.block_size {
        config.limits = config.limits.block(config.limits.block.max(size));
        config = config.block_size(size);
    }
    if args.trust_times {
        config = config.compare(Compare::SizeAndTime);
    }
    let cancel = CancelToken::new();
    let killed = producer.clone();
    let kill = move || killed.iter().for_each(|producer| producer.kill());
    let hint = "run the same command again to go on";
    interrupt::watch_twice(interrupt::cancel(&cancel), kill, hint, reporter)?;
    let Way { link, owners, door, ticket } = way(args, address, args.network.mode(), reporter)?;
    let (phase, peer) = match &link {
        Link::Dialled(dial) => {
            (Phase::Connecting { to: dial.address.clone() }, Some(dial.address.clone()))
        }
        Link::Awaited(_) => (Phase::Waiting, None),
    };
    // Of a source that knows its bytes, each path is a file.
    let files = u64::try_from(paths.len()).unwrap_or(u64::MAX);
    let total = source.total().map(|total| (total, files));
    let is_all = takes_all(args) && args.links != Some(Links::Follow);
    let may_count = total.is_none()
        && (is_all || args.files_from.is_some())
        && producer.is_none()
        && !paths.iter().any(|path| is_stdin(path));
    let count = (may_count && reporter.shows_progress()).then(|| paths.to_vec());
    let start = Start { phase, peer, total, count };
    let session = Session::new(Arc::clone(reporter), Side::Sender, start);
    let session = session.owners(owners).others(others).producer(producer);
    let retry = args.retry_for.map_or_else(Retry::default, Retry::patiently);
    let mut transfer = Transfer::new(config).observer(session).cancel(cancel).retry(retry);
    if let Some(id) = id {
        transfer = transfer.id(id);
    }
    if let Some(limit) = args.limit_rate.and_then(RateLimit::per_second) {
        transfer = transfer.limit_rate(limit);
    }
    if let Some(door) = door {
        transfer = transfer.admit(door);
    }
    if let Some(ticket) = ticket {
        transfer = transfer.ticket(ticket);
    }
    let result = match link {
        Link::Dialled(dial) => transfer.send_via(&mut source, &mut dial.reporting(reporter)),
        Link::Awaited(mut listener) => transfer.send_listening(&mut source, &mut listener),
    };
    let mut session = transfer.into_observer();
    session.ended(&result);
    Ok(session.code())
}

/// Most bytes that may wait in a socket to be sent.
const UNSENT: u32 = 128 * 1024;

fn parse_name(name: &[u8]) -> Result<RelPath, Stop> {
    RelPath::parse(name).map_err(|error| Stop::new(Code::Usage, format!("--name: {error}")))
}

fn kind(of: FileType) -> &'static str {
    match () {
        () if of.is_fifo() => "a FIFO",
        () if of.is_socket() => "a socket",
        () if of.is_block_device() || of.is_char_device() => "a device",
        () => "something else",
    }
}
