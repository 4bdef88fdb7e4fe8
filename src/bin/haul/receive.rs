//! `haul receive`.

use std::path::Path;
use std::sync::Arc;

use haul::store::fs::{FsStore, HiddenNames};
use haul::transport::Stdio;
use haul::transport::tcp::TcpOptions;
use haul::{Cancel, Config, Error, Observer, RateLimit, Retry, Server, Transfer};

use crate::address::{Address, Listen};
use crate::args::Receive;
use crate::ends::Ends;
use crate::exit::{Code, Side, Stop};
use crate::report::{Record, Reporter};
use crate::session::Session;
use crate::stream::{Link, Listener, Reach, TICK};
use crate::{explain, interrupt, plain};

pub(crate) fn run(args: &Receive, reporter: &Arc<Reporter>) -> Result<Code, Stop> {
    if let Some(file) = &args.plain {
        return plain::receive(args, file, reporter);
    }
    let folder = args.folder.as_deref().unwrap_or(Path::new("."));
    let limit = limit(args)?;
    let mut store = open(folder)?.keep_free(args.budget.keep_free.unwrap_or(0));
    if args.allow_links {
        store = store.allow_links();
    }
    if args.allow_hidden {
        store = store.hidden_names(HiddenNames::Accept);
    }
    let mut config = Config::default();
    config.limits = args.budget.limits(config.limits);
    if let Some(policy) = args.existing {
        config = config.existing(policy.into());
    }
    if let Some(level) = args.durability {
        config = config.durability(level.into());
    }
    let cancel = Cancel::new();
    if let Some(address) = &args.connect {
        interrupt::watch(
            interrupt::leave(&cancel),
            "run the same command again to go on",
            reporter,
        )?;
        let transfer = transfer(config, cancel, limit, reporter);
        fetch(args, address, &store, transfer, reporter)
    } else if args.stdio {
        interrupt::watch(
            interrupt::leave(&cancel),
            "what has arrived is kept for when the sender comes again",
            reporter,
        )?;
        serve_stdio(store, transfer(config, cancel, limit, reporter))
    } else {
        serve(args, store, config, cancel, limit, reporter)
    }
}

/// Listens, and says where, and what that means if others can come too.
pub(crate) fn listen(
    address: Option<&Listen>,
    options: TcpOptions,
    side: Side,
    reporter: &Reporter,
) -> Result<Listener, Stop> {
    let default = || DEFAULT.parse().map_err(|error: String| Stop::new(Code::Local, error));
    let address = address.cloned().map_or_else(default, Ok)?;
    let cannot = |error| {
        let hint = hint(&error);
        let message = format!("cannot listen on {address}: {}{hint}", bare(&error, &address));
        Stop::new(Code::Local, message)
    };
    let listener = Listener::bind(&address, options).map_err(cannot)?;
    let real = listener.address().map_err(cannot)?;
    let harm = match side {
        Side::Sender => "take the files",
        Side::Receiver => "put files here",
    };
    let whom = match listener.reach().map_err(cannot)? {
        Reach::Network => Some("anyone who reaches this port".to_owned()),
        Reach::Machine => Some("any user of this machine".to_owned()),
        Reach::Mode(mode) => others(mode).map(|whom| format!("{whom} (mode {mode:04o})")),
    };
    if let Some(whom) = &whom {
        reporter.complain(&format!(
            "warning: listening on {real}, and there is no authentication: {whom} can {harm}"
        ));
    }
    reporter.say(&format!("listening on {real}"));
    if let (Listen::Unix(_), None) = (&address, &whom) {
        reporter.say("by its mode, this user alone can connect to the socket");
    }
    reporter.record(&Record::Listening { address: &real }, None);
    Ok(listener)
}

pub(crate) fn open(folder: &Path) -> Result<FsStore, Stop> {
    FsStore::open(folder).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "; make it first, or name another folder",
            std::io::ErrorKind::NotADirectory => "; name a folder to receive into",
            _ => "",
        };
        Stop::new(Code::Local, format!("cannot receive into {}{hint}", explain::system(&error)))
    })
}

fn serve(
    args: &Receive,
    store: FsStore,
    config: Config,
    cancel: Cancel,
    limit: Option<RateLimit>,
    reporter: &Arc<Reporter>,
) -> Result<Code, Stop> {
    interrupt::watch(
        interrupt::leave(&cancel),
        "what has arrived is kept for senders that come again",
        reporter,
    )?;
    let listener = listen(args.listen.as_ref(), TcpOptions::default(), Side::Receiver, reporter)?;
    let ends = Arc::<Ends>::default();
    let entries = config.limits.entries;
    let mut server = Server::new(listener, store).config(config).once(args.once).cancel(cancel);
    if let Some(sessions) = args.max_sessions {
        server = server.sessions(sessions.into());
    }
    if let Some(limit) = limit {
        server = server.limit_rate(limit);
    }
    let mut number = 0_u64;
    let ended = server.run(|_, peer| {
        number = number.saturating_add(1);
        let peer = peer.to_string();
        reporter.say(&format!("connected by {peer}"));
        reporter.record(&Record::Connected { peer: &peer }, Some(number));
        let session = Session::of_server(Arc::clone(reporter), number, peer, Arc::clone(&ends));
        session.limit(entries)
    });
    match ended {
        Ok(summary) => match ends.code(&summary) {
            Some(code) => Ok(code),
            None => Err(Stop::new(Code::Peer, UNSURE)),
        },
        Err(Error::Cancelled) => {
            let record =
                Record::Failed { code: Code::Interrupted.number(), message: "interrupted" };
            reporter.record(&record, None);
            Ok(Code::Interrupted)
        }
        // What is wrong is with this side's socket.
        Err(error) => {
            let context = explain::Context { side: Side::Receiver, greeted: false };
            Err(Stop::new(Code::Local, explain::error(&error, context)))
        }
    }
}

/// Receives what the one sender sends that listens there.
fn fetch(
    args: &Receive,
    address: &Address,
    store: &FsStore,
    transfer: Transfer<Session>,
    reporter: &Arc<Reporter>,
) -> Result<Code, Stop> {
    let mut link = dial(args, address).reporting(reporter);
    let retry = args.retry_for.map_or_else(Retry::default, Retry::patiently);
    let mut transfer = transfer.retry(retry);
    let result = transfer.receive_via(store, &mut link);
    let mut session = transfer.into_observer();
    session.ended(&result);
    Ok(session.code())
}

/// The only transfer of the command.
fn transfer(
    config: Config,
    cancel: Cancel,
    limit: Option<RateLimit>,
    reporter: &Arc<Reporter>,
) -> Transfer<Session> {
    let session = Session::new(Arc::clone(reporter), Side::Receiver, None);
    let session = session.limit(config.limits.entries);
    let transfer = Transfer::new(config).observer(session).cancel(cancel);
    match limit {
        Some(limit) => transfer.limit_rate(limit),
        None => transfer,
    }
}

/// The limit of all sessions together, which must leave each of them enough to stay alive.
fn limit(args: &Receive) -> Result<Option<RateLimit>, Stop> {
    let Some(rate) = args.limit_rate else { return Ok(None) };
    let least = RateLimit::MIN.saturating_mul(args.max_sessions.unwrap_or(1).into());
    match RateLimit::per_second(rate) {
        Some(limit) if rate >= least => Ok(Some(limit)),
        _ => Err(Stop::new(
            Code::Usage,
            format!("--limit-rate is too slow for so many sessions: it must be {least} or more"),
        )),
    }
}

/// Where the sender is to be found.
pub(crate) fn dial(args: &Receive, address: &Address) -> Link {
    let mut options = TcpOptions::default();
    if let Some(timeout) = args.connect_timeout {
        options = options.connect_timeout(timeout);
    }
    Link::dial(address, options)
}

fn serve_stdio(mut store: FsStore, mut transfer: Transfer<Session>) -> Result<Code, Stop> {
    let mut stream = Stdio::new().map_err(|error| {
        Stop::new(Code::Local, format!("cannot use the standard streams: {error}"))
    })?;
    stream.set_timeout(Some(TICK));
    let result = transfer.receive(&mut store, stream);
    let mut session = transfer.into_observer();
    session.ended(&result);
    Ok(session.code())
}

/// What the system said, where the text names the address already.
fn bare(error: &std::io::Error, address: &Listen) -> String {
    let text = explain::system(error);
    let named = format!("{address}: ");
    text.strip_prefix(&named).map(ToOwned::to_owned).unwrap_or(text)
}

/// Who but its owner may connect to a socket of this mode.
const fn others(mode: u32) -> Option<&'static str> {
    match mode {
        mode if mode & 0o002 != 0 => Some("any user who reaches its folder"),
        mode if mode & 0o020 != 0 => Some("its group"),
        _ => None,
    }
}

fn hint(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::AddrInUse => {
            "; another program (another `haul`?) listens there: stop it, or take another address with --listen"
        }
        Kind::AddrNotAvailable => "; it is not an address of this machine",
        Kind::PermissionDenied => "; ports below 1024 are for the administrator",
        Kind::AlreadyExists => "; it is not a socket, and stays",
        Kind::NotFound => "; check the address",
        _ => "",
    }
}

/// The end of a command that serves one transfer, when its sender had something settled, was lost, and did not come again.
const UNSURE: &str = "the connection was lost before the sender said that it was done, and it has not come again: \
                      there may be more that has not arrived; run both commands again to be sure";

const DEFAULT: &str = "127.0.0.1:7117";
