//! `haul demo`: both ends in one process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{io, thread};

use haul::hash::Hash;
use haul::plain::{self, ChunkSize};
use haul::store::fs::FsSource;
use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions};
use haul::{
    CancelToken, Config, Error, Event, Observer, Progress, Server, Source, Summary, Transfer,
};

use crate::args::Demo;
use crate::exit::{Code, Side, Stop};
use crate::explain::{self, shown};
use crate::report::{Record, Reporter};
use crate::session::{Session, Start};
use crate::status::Phase;
use crate::stream::TICK;
use crate::{interrupt, picture, receive, send};

pub(crate) fn run(args: &Demo, reporter: &Arc<Reporter>) -> Result<Code, Stop> {
    let cancel = CancelToken::new();
    interrupt::watch(interrupt::cancel(&cancel), "what has arrived is kept", reporter)?;
    if let Some(file) = &args.file {
        send::check(file)?;
        if file.is_dir() {
            let text = format!("{} is a folder; the demo sends a single file", shown(file));
            return Err(Stop::new(Code::Local, text));
        }
    }
    let folder = folder()?;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => make_picture(&folder)?,
    };
    let inbox = folder.join("received");
    fs::create_dir(&inbox).map_err(|error| about(&inbox, &error))?;
    let store = receive::open(&inbox)?;
    let options = TcpOptions::default().read_tick(TICK).accept_tick(TICK);
    let local = |error: io::Error| {
        Stop::new(Code::Local, format!("cannot listen: {}", explain::system(&error)))
    };
    let any = "127.0.0.1:0".parse().map_err(|_| Stop::new(Code::Local, "no loopback address"))?;
    let acceptor = TcpAcceptor::bind(&any, options.clone()).map_err(local)?;
    let address = acceptor.local_addr().map_err(local)?;
    reporter.say(&format!(
        "a receiver listens on {address}, and keeps what comes in {}",
        shown(&inbox)
    ));
    reporter.record(&Record::Listening { address: &address.to_string() }, None);
    reporter.say(&format!("a sender connects to it, and sends {}", shown(&file)));

    let stop_server = CancelToken::new();
    let server = Server::new(acceptor, store).run_once().cancel(stop_server.clone());
    let mut source = FsSource::new([&file]).map_err(|error| about(&file, &error))?;
    let start = Start {
        phase: Phase::Connecting { to: address.to_string() },
        peer: Some(address.to_string()),
        total: source.total().map(|total| (total, 1)),
        count: None,
    };
    let heard =
        Heard { session: Session::new(Arc::clone(reporter), Side::Sender, start), receipt: None };
    let mut transfer = Transfer::new(Config::default()).observer(heard).cancel(cancel);
    let mut connector = TcpConnector::new(address.into()).options(options);
    let failure = Mutex::new(None);
    let Heard { session, receipt } = thread::scope(|scope| {
        let server = scope.spawn(|| server.run(|_, _| Failure(&failure)));
        let result = transfer.send_via(&mut source, &mut connector);
        let mut heard = transfer.into_observer();
        heard.session.ended(&result);
        if result.is_err() {
            stop_server.cancel();
        }
        // The receiver's end is reported by the sender's.
        let _ = server.join();
        heard
    });
    if let Some(text) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        reporter.complain(&text);
    }
    let Some((name, root)) = receipt.filter(|_| session.code() == Code::Done) else {
        return Ok(session.code().and(Code::Local));
    };
    let copy = inbox.join(name);
    let (sent, kept) = (hash(&file)?, hash(&copy)?);
    if sent != root || kept != root {
        let text = format!("the hashes differ: {sent} was sent, {root} receipted, {kept} is kept");
        return Err(Stop::new(Code::Local, text));
    }
    reporter.say(&format!(
        "the hashes agree: of {}, of the receipt, and of {}",
        shown(&file),
        shown(&copy)
    ));
    reporter.say(&format!("the folder stays for you to look at: {}", shown(&folder)));
    Ok(session.code())
}

/// The sender's session, and the receipt that came.
struct Heard {
    session: Session,
    receipt: Option<(PathBuf, Hash)>,
}

/// Failure at the receiver.
struct Failure<'a>(&'a Mutex<Option<String>>);

impl Observer for Heard {
    fn event(&mut self, event: &Event) {
        if let Event::Delivered { receipt, .. } = event {
            let name = OsStr::from_bytes(receipt.path.as_bytes());
            self.receipt = Some((name.into(), receipt.hash));
        }
        self.session.event(event);
    }

    fn progress(&mut self, progress: &Progress) {
        self.session.progress(progress);
    }
}

impl Observer for Failure<'_> {
    fn event(&mut self, _: &Event) {}

    fn ended(&mut self, result: &Result<Summary, Error>) {
        if let Err(error) = result {
            let context =
                explain::Context { greeted: true, ..explain::Context::new(Side::Receiver) };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(format!("receiver: {}", explain::error(error, context)));
        }
    }
}

/// Makes a new folder among the temporary ones. It is not removed.
fn folder() -> Result<PathBuf, Stop> {
    let parent = std::env::temp_dir();
    for number in 0..ATTEMPTS {
        let folder = parent.join(format!("haul-demo-{}-{number}", std::process::id()));
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(about(&folder, &error)),
        }
    }
    Err(Stop::new(Code::Local, format!("{} holds too many haul-demo folders", shown(&parent))))
}

fn make_picture(folder: &Path) -> Result<PathBuf, Stop> {
    let path = folder.join("picture.png");
    let made = picture::png().and_then(|png| fs::write(&path, png));
    made.map_err(|error| about(&path, &error))?;
    Ok(path)
}

/// Returns the hash of a file as it stands on the disk.
fn hash(path: &Path) -> Result<Hash, Stop> {
    let mut file = File::open(path).map_err(|error| about(path, &error))?;
    let go_on = |_| ControlFlow::Continue(());
    let passed = plain::send(&mut file, &mut io::sink(), ChunkSize::default(), go_on);
    passed.map(|sent| sent.hash).map_err(|error| Stop::new(Code::Local, error.to_string()))
}

fn about(path: &Path, error: &io::Error) -> Stop {
    Stop::new(Code::Local, format!("{}: {}", shown(path), explain::system(error)))
}

const ATTEMPTS: u32 = 1000;
