//! `haul receive`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use haul::store::fs::{FsStore, HiddenNames};
use haul::transport::Stdio;
use haul::transport::tcp::TcpOptions;
use haul::{
    CancelToken, Config, Error, Observer, RateLimit, Retry, Server, SessionError, Summary, Transfer,
};
use zeroize::Zeroizing;

use crate::access::{Door, Keys, Mode, Owners};
use crate::address::{Address, Listen, Spot};
use crate::args::Receive;
use crate::ends::Ends;
use crate::exit::{Code, Side, Stop};
use crate::identity::Identity;
use crate::quota::Quotas;
use crate::report::{Record, Reporter};
use crate::session::{Session, Start};
use crate::status::Phase;
use crate::stream::{Dial, Listener, Reach, TICK};
use crate::then::Then;
use crate::until::Until;
use crate::{explain, figures, interfaces, interrupt, kept_out, plain, then, usage};

pub(crate) fn run(args: &Receive, reporter: &Arc<Reporter>) -> Result<Code, Stop> {
    if let Some(file) = &args.plain {
        return plain::receive(args, file, reporter);
    }
    let folder = args.folder.as_deref().unwrap_or(Path::new("."));
    if let Some(hint) = usage::folder_is_address(folder) {
        return Err(Stop::new(Code::Usage, hint));
    }
    limit(args)?;
    then::check(&args.then)?;
    make(folder, reporter)?;
    let store = kept_out::apply(open(folder)?)?;
    let mut store = store.keep_free(args.budget.keep_free.unwrap_or(0));
    if let Some(age) = args.expire_partials {
        store = store.keep_partials(age);
    }
    if args.allow_links {
        store = store.allow_links();
    }
    if args.allow_hidden {
        store = store.hidden_names(HiddenNames::Accept);
    }
    let mut config = Config::default();
    config.limits = args.budget.limits(config.limits);
    if let Some(policy) = args.existing {
        config = config.if_exists(policy.into());
    }
    if let Some(level) = args.durability {
        config = config.durability(level.into());
    }
    let full = std::path::absolute(folder);
    let full = full.as_deref().unwrap_or(folder);
    reporter.say(&format!("receiving into {}", explain::shown(full)));
    let then = Then::start(args, full, reporter)?;
    let served = take(args, store, config, then.clone(), reporter);
    // What was confirmed is followed up, however it ended.
    let ran = then.map_or(Code::Done, |then| then.runner().finish());
    served.map(|code| code.and(ran))
}

/// Receives in the way that was asked for.
fn take(
    args: &Receive,
    store: FsStore,
    config: Config,
    then: Option<Then>,
    reporter: &Arc<Reporter>,
) -> Result<Code, Stop> {
    let limit = limit(args)?;
    let cancel = CancelToken::new();
    if let Some(address) = &args.network.peer(args.connect.as_ref())? {
        watch(&cancel, then.as_ref(), "run the same command again to go on", reporter)?;
        fetch(args, address, &store, (config, cancel, limit, then), reporter)
    } else if args.stdio {
        let hint = "what has arrived is kept for when the sender comes again";
        watch(&cancel, then.as_ref(), hint, reporter)?;
        let start = Start { phase: Phase::Waiting, peer: None, total: None, count: None };
        serve_stdio(store, transfer((config, cancel, limit, then), start, None, reporter))
    } else {
        serve(args, store, (config, cancel, limit, then), reporter)
    }
}

/// Leaves at the first signal, with little time for commands, and ends them with the process at the second.
fn watch(
    cancel: &CancelToken,
    then: Option<&Then>,
    hint: &'static str,
    reporter: &Arc<Reporter>,
) -> Result<(), Stop> {
    let leave = interrupt::leave(cancel);
    let (hurried, killed) = (then.cloned(), then.cloned());
    let stop = move || {
        leave();
        hurried.iter().for_each(|then| then.runner().hurry());
    };
    let kill = move || killed.iter().for_each(|then| then.runner().kill());
    interrupt::watch_twice(stop, kill, hint, reporter)
}

/// Settings of all transfers, the way to stop them, the limit of their rates, and the commands that follow them.
type Settings = (Config, CancelToken, Option<RateLimit>, Option<Then>);

/// Listener, and the peers that may come.
pub(crate) struct Waiting {
    pub(crate) listener: Listener,
    /// Over a network, unless in clear.
    pub(crate) door: Option<(Door, Owners)>,
}

/// Listens, and prints where, and what that means if others can come too.
pub(crate) fn listen(
    spot: &Spot,
    options: TcpOptions,
    side: Side,
    (mode, is_shared): (Mode, bool),
    reporter: &Reporter,
) -> Result<Waiting, Stop> {
    let is_network = !matches!(spot, Spot::At(Listen::Unix(_)));
    let identity = match mode {
        Mode::Secure if is_network => Some(Identity::open()?),
        Mode::Secure | Mode::Insecure | Mode::Plain => None,
    };
    let (listener, address) = bind(spot, &options, identity.as_ref())?;
    let cannot = |error| cannot_listen(&error, &address, spot);
    let real = listener.address().map_err(cannot)?;
    if let Some(identity) = identity {
        reporter.say(&format!("listening on {real}"));
        reporter.record(&Record::Listening { address: &real }, None);
        let door = Door::new(&identity, is_shared)?;
        let socket = listener.socket().transpose().map_err(cannot)?;
        show_tickets(&door, socket, side, reporter);
        return Ok(Waiting { listener, door: Some((door, identity.owners())) });
    }
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
    Ok(Waiting { listener, door: None })
}

/// Binds to the address that was given, or else to the port on all of this machine, or on loopback where anybody could come.
fn bind(
    spot: &Spot,
    options: &TcpOptions,
    identity: Option<&Identity>,
) -> Result<(Listener, Listen), Stop> {
    let hosts: &[&str] = if identity.is_some() { &EVERYWHERE } else { &HERE };
    let wanted: Vec<Listen> = match spot {
        Spot::At(address) => vec![address.clone()],
        Spot::Port(port) => {
            let parsed = hosts.iter().map(|host| format!("{host}:{port}").parse());
            parsed.collect::<Result<_, _>>().map_err(|error| Stop::new(Code::Local, error))?
        }
    };
    let mut failed = None;
    for address in wanted {
        match Listener::bind(&address, options.clone(), identity) {
            Ok(listener) => return Ok((listener, address)),
            // A system without version 6 of the Internet Protocol has the other one.
            Err(error) => failed = failed.or(Some(cannot_listen(&error, &address, spot))),
        }
    }
    Err(failed.unwrap_or_else(|| Stop::new(Code::Local, "there is no address to listen on")))
}

fn cannot_listen(error: &std::io::Error, address: &Listen, spot: &Spot) -> Stop {
    let text = format!("cannot listen on {address}: {}{}", bare(error, address), hint(error, spot));
    Stop::new(Code::Local, text)
}

/// Prints what to paste at the other end, for each address by which that may reach this machine.
fn show_tickets(door: &Door, socket: Option<SocketAddr>, side: Side, reporter: &Reporter) {
    let addresses = socket.map(interfaces::reachable).unwrap_or_default();
    let tickets: Vec<_> =
        addresses.into_iter().filter_map(|address| door.ticket(address)).collect();
    if socket.is_some_and(|socket| socket.ip().to_canonical().is_unspecified())
        && tickets.is_empty()
    {
        reporter.say("no network interface is up but loopback: no other machine can come, and there is no line to paste");
    }
    if !tickets.is_empty() {
        reporter.say("this user, and whom it trusts, can come as they are; for somebody else, to paste there:");
    }
    for ticket in tickets {
        let ticket = Zeroizing::new(ticket.to_string());
        // A shell would take brackets for a pattern.
        let quote = if ticket.contains('[') { "'" } else { "" };
        let line = match side {
            Side::Receiver => format!("  haul send PATH {quote}{}{quote}", *ticket),
            Side::Sender => format!("  haul receive DIR --connect {quote}{}{quote}", *ticket),
        };
        reporter.say(&Zeroizing::new(line));
        reporter.record(&Record::Ticket { ticket: &ticket }, None);
    }
}

/// Makes the folder to receive into, if that alone is missing.
fn make(folder: &Path, reporter: &Reporter) -> Result<(), Stop> {
    match std::fs::create_dir(folder) {
        Ok(()) => reporter.say(&format!("made the folder {}", explain::shown(folder))),
        // To open it says what is wrong.
        Err(_) if folder.exists() => {}
        Err(error) => {
            let hint = match error.kind() {
                std::io::ErrorKind::NotFound => "; make the folder that it is to be in",
                _ => "",
            };
            let (shown, error) = (explain::shown(folder), explain::system(&error));
            let text = format!("cannot make the folder {shown}: {error}{hint}");
            return Err(Stop::new(Code::Local, text));
        }
    }
    Ok(())
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
    (config, cancel, limit, then): Settings,
    reporter: &Arc<Reporter>,
) -> Result<Code, Stop> {
    let hint = "what has arrived is kept for senders that come again";
    watch(&cancel, then.as_ref(), hint, reporter)?;
    let mode = (args.network.mode(), args.share);
    let options = TcpOptions::default();
    let spot = Spot::of(args.listen.as_ref(), args.port);
    let waiting = listen(&spot, options, Side::Receiver, mode, reporter)?;
    let Waiting { listener, door } = waiting;
    let watched = cancel.clone();
    let store = match &door {
        Some((_, owners)) => store.own_key(owners.own()),
        None => store,
    };
    let ends = Arc::<Ends>::default();
    let entries = config.limits.entries;
    let mut server = Server::new(listener, store).config(config).cancel(cancel);
    if args.once {
        server = server.run_once();
    }
    if let Some(sessions) = args.max_sessions {
        server = server.sessions(sessions.into());
    }
    if let Some(limit) = limit {
        server = server.limit_rate(limit);
    }
    let mut owners = None;
    if let Some((door, who)) = door {
        server = server.admit(door);
        owners = Some(who);
    }
    let until = Until::watch(args.stop_after, args.idle_exit, &watched)?;
    let visits = until.clone();
    let mut number = 0_u64;
    let quotas = Quotas::new();
    let ended = server.run(|_, peer| {
        number = number.saturating_add(1);
        let quota = quotas.of(peer);
        let peer = peer.to_string();
        reporter.say(&format!("connected by {peer}"));
        reporter.record(&Record::Connected { peer: &peer }, Some(number));
        let session = Session::of_server(Arc::clone(reporter), number, peer, Arc::clone(&ends));
        session
            .owners(owners.clone())
            .limit(entries, Some(quota))
            .until(visits.clone())
            .then(then.clone())
    });
    match (ended, until.code()) {
        (Err(Error::Session(SessionError::Cancelled)), Some(code)) => match ends.cut() {
            0 => Ok(code),
            cut => {
                let transfers = figures::count(cut, "transfer");
                let text = format!("{transfers} {CUT}");
                reporter.stop(&Stop::new(Code::Peer, text));
                Ok(code.and(Code::Peer))
            }
        },
        (ended, _) => end(ended, &ends, reporter),
    }
}

/// Returns the code of a receiver that was not to end by itself.
fn end(ended: Result<Summary, Error>, ends: &Ends, reporter: &Reporter) -> Result<Code, Stop> {
    match ended {
        Ok(summary) => match ends.code(&summary) {
            Some(code) => Ok(code),
            None => Err(Stop::new(Code::Peer, UNSURE)),
        },
        // Whoever runs services ends them so, and means no harm.
        Err(Error::Session(SessionError::Cancelled)) if reporter.stopped().is_by_service() => {
            Ok(Code::Done)
        }
        Err(Error::Session(SessionError::Cancelled)) => {
            reporter.failed(Code::Interrupted, "interrupted", None);
            Ok(Code::Interrupted)
        }
        // What is wrong is with this side's socket.
        Err(error) => {
            let context = explain::Context::new(Side::Receiver);
            Err(Stop::new(Code::Local, explain::error(&error, context)))
        }
    }
}

/// Receives what the one sender sends that listens there.
fn fetch(
    args: &Receive,
    address: &Address,
    store: &FsStore,
    (config, cancel, limit, then): Settings,
    reporter: &Arc<Reporter>,
) -> Result<Code, Stop> {
    let (dial, keys) = dial(args, address, args.network.mode(), reporter)?;
    let mut dial = dial.reporting(reporter);
    let retry = args.retry_for.map_or_else(Retry::default, Retry::patiently);
    let owners = keys.as_ref().map(|keys| keys.identity.owners());
    let store = match &owners {
        Some(owners) => store.clone().own_key(owners.own()),
        None => store.clone(),
    };
    let phase = Phase::Connecting { to: dial.to().to_owned() };
    let start = Start { phase, peer: Some(dial.to().to_owned()), total: None, count: None };
    let mut transfer =
        transfer((config, cancel, limit, then), start, owners, reporter).retry(retry);
    if let Some(ticket) = keys.and_then(|keys| keys.ticket) {
        transfer = transfer.ticket(ticket);
    }
    let result = transfer.receive_via(&store, &mut dial);
    let mut session = transfer.into_observer();
    session.ended(&result);
    Ok(session.code())
}

/// Runs the only transfer of the command.
fn transfer(
    (config, cancel, limit, then): Settings,
    start: Start,
    owners: Option<Owners>,
    reporter: &Arc<Reporter>,
) -> Transfer<Session> {
    let session = Session::new(Arc::clone(reporter), Side::Receiver, start);
    let session = session.owners(owners).limit(config.limits.entries, None).then(then);
    let transfer = Transfer::new(config).observer(session).cancel(cancel);
    match limit {
        Some(limit) => transfer.limit_rate(limit),
        None => transfer,
    }
}

/// Returns the limit of all sessions together, which must leave each of them enough to stay alive.
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

/// Returns the address of the sender, and the keys for it.
pub(crate) fn dial(
    args: &Receive,
    address: &Address,
    mode: Mode,
    reporter: &Reporter,
) -> Result<(Dial, Option<Keys>), Stop> {
    let mut options = TcpOptions::default();
    if let Some(timeout) = args.connect_timeout {
        options = options.connect_timeout(timeout);
    }
    Dial::to(address, mode, options, reporter)
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

/// Returns the error of the system, where the text names the address already.
fn bare(error: &std::io::Error, address: &Listen) -> String {
    let text = explain::system(error);
    let named = format!("{address}: ");
    text.strip_prefix(&named).map(ToOwned::to_owned).unwrap_or(text)
}

/// Returns who but its owner may connect to a socket of this mode.
const fn others(mode: u32) -> Option<&'static str> {
    match mode {
        mode if mode & 0o002 != 0 => Some("any user who reaches its folder"),
        mode if mode & 0o020 != 0 => Some("its group"),
        _ => None,
    }
}

fn hint(error: &std::io::Error, spot: &Spot) -> &'static str {
    use std::io::ErrorKind as Kind;
    match (error.kind(), spot) {
        (Kind::AddrInUse, Spot::Port(_)) => {
            "; another program listens there, maybe a haul receive that runs already: stop it, or take another port with -p PORT"
        }
        (Kind::AddrInUse, Spot::At(_)) => {
            "; another program listens there, maybe a haul that runs already: stop it, or take another address with --listen"
        }
        (Kind::AddrNotAvailable, _) => "; it is not an address of this machine",
        (Kind::PermissionDenied, _) => "; ports below 1024 are for the administrator",
        (Kind::AlreadyExists, _) => "; it is not a socket, and stays",
        (Kind::NotFound, _) => "; check the address",
        _ => "",
    }
}

/// The end of a command that serves one transfer, when its sender had something settled, was lost, and did not come again.
const UNSURE: &str = "the connection was lost before the sender said that it was done, and it has not come again: \
                      there may be more that has not arrived; run both commands again to be sure";

/// End of a command that serves for a while, with transfers that its end cut off, or that were cut before.
const CUT: &str = "cut off, which did not come again: there may be more that has not arrived";

/// Hosts to listen on where none is given: all interfaces, also without version 6 of the Internet Protocol.
const EVERYWHERE: [&str; 2] = ["[::]", "0.0.0.0"];

/// Host to listen on in clear where none is given, as anybody could come.
const HERE: [&str; 1] = ["127.0.0.1"];
