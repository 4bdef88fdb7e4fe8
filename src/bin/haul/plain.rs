//! `haul send --plain` and `haul receive --plain`: the wire of programs that send bare bytes.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use haul::plain::{self, ChunkSize, PlainError, PlainEvent, Received};
use haul::proto::PREFACE;
use haul::transport::tcp::TcpOptions;
use haul::transport::{Listening, Threaded};
use haul::{CancelToken, Connector as _, Durability, Error, IfExists, Operation, Peer, RateLimit};

use crate::access::Mode;
use crate::address::{Address, Spot};
use crate::args::{Receive, Send};
use crate::exit::{Code, Side, Stop};
use crate::explain::{self, shown};
use crate::figures::{average, took};
use crate::interrupt;
use crate::place::Place;
use crate::progress::Progress;
use crate::receive::{dial, listen};
use crate::report::{Held, Others, Record, Reporter};
use crate::send::{check, is_stdin, way};
use crate::status::{Phase, Status};
use crate::stream::{Link, Stream, TICK};

/// Sends one file, or standard input.
pub(crate) fn send(
    args: &Send,
    paths: &[PathBuf],
    address: Option<&Address>,
    reporter: &Arc<Reporter>,
) -> Result<Code, Stop> {
    let [path] = paths else {
        return Err(Stop::new(Code::Usage, "--plain sends a single PATH: the wire has no names"));
    };
    let (mut source, size): (Box<dyn io::Read>, _) = if is_stdin(path) {
        // A read of its own would keep a signal waiting for as long as nothing comes.
        let input = Threaded::new(io::stdin(), io::sink());
        let mut input = input.map_err(|error| Stop::new(Code::Local, error.to_string()))?;
        input.set_timeout(Some(TICK));
        (Box::new(input), 0)
    } else {
        let (file, size) = open(path)?;
        (Box::new(file), size)
    };
    let cancel = CancelToken::new();
    interrupt::watch(
        interrupt::cancel(&cancel),
        "the receiver has a part, and will not learn that it is one",
        reporter,
    )?;
    let mut link = way(args, address, Mode::Plain, reporter)?.link;
    let Some((mut stream, peer)) = meet(&mut link, Side::Sender, &cancel)? else {
        return Ok(interrupted(reporter));
    };
    announce(&link, &peer, reporter);
    let limit = args.limit_rate.and_then(RateLimit::per_second);
    let chunk = chunk(args.chunk_size, limit.as_ref());
    let mut watch = Watch::new(reporter, Side::Sender, cancel, size, limit);
    watch.progress.status().name = Some(shown(path));
    let sent = plain::send(&mut source, &mut stream, chunk, |event| watch.see(event));
    let sent = sent.map_err(|error| watch.stop(error, "took no byte"))?;
    // This is how the receiver learns that it was all.
    drop(stream);
    watch.progress.finish();
    let time = watch.progress.elapsed();
    finished(sent.bytes, time, &peer, reporter);
    let shown = shown(path);
    reporter.say(&format!(
        "sent {shown} ({} bytes, blake3 {}) in {}",
        sent.bytes,
        sent.hash,
        took(time)
    ));
    reporter.say("on the plain wire nobody says whether it has arrived, or all of it");
    Ok(Code::Done)
}

/// Receives one file.
pub(crate) fn receive(args: &Receive, path: &Path, reporter: &Arc<Reporter>) -> Result<Code, Stop> {
    let existing = args.existing.map_or(IfExists::Refuse, IfExists::from);
    if !matches!(existing, IfExists::Refuse | IfExists::Replace) {
        return Err(Stop::new(Code::Usage, "with --plain, --existing is refuse or replace"));
    }
    let durability = args.durability.map_or_else(Durability::default, Durability::from);
    let cancel = CancelToken::new();
    interrupt::watch(interrupt::cancel(&cancel), "what has come is not kept", reporter)?;
    let mut place = Place::new(path, existing)?;
    let mut link = match &args.connect {
        Some(address) => Link::Dialled(dial(args, address, Mode::Plain, reporter)?.0),
        None => {
            let (options, mode) = (TcpOptions::default(), (Mode::Plain, false));
            let spot = Spot::of(args.listen.as_ref(), args.port);
            let listen = listen(&spot, options, Side::Receiver, mode, reporter)?;
            Link::Awaited(listen.listener)
        }
    };
    let mut strangers = 0;
    let (received, mut watch, peer) = loop {
        let Some((stream, peer)) = meet(&mut link, Side::Receiver, &cancel)? else {
            return Ok(interrupted(reporter));
        };
        let greet = || announce(&link, &peer, reporter);
        let watch = Watch::new(reporter, Side::Receiver, cancel.clone(), 0, None);
        match take(args, stream, &mut place.file, watch, greet)? {
            Some((received, watch)) => break (received, watch, peer),
            None if cancel.is_cancelled() => return Ok(interrupted(reporter)),
            // Somebody who looks whether a port is open sends no file.
            None if matches!(link, Link::Awaited(_)) => {}
            None => {
                let text = "the peer closed the connection without a byte; \
                            to take that for an empty file: --allow-empty";
                return Err(Stop::new(Code::Peer, text));
            }
        }
        strangers += 1;
        if strangers <= TOLD {
            reporter.complain(&format!("{peer} sent no byte; waiting for another sender"));
        }
    };
    if strangers > TOLD {
        let more = strangers - TOLD;
        reporter.complain(&format!("{more} other connections brought no byte"));
    }
    place.keep(existing, durability)?;
    watch.progress.finish();
    let shown = shown(path);
    let (blake3, durability) = (received.hash.to_string(), durability.to_string());
    let held = Held {
        path: &shown,
        size: received.bytes,
        blake3: &blake3,
        durability: &durability,
        offered: None,
    };
    reporter.record(&Record::Received(held), None);
    let time = watch.progress.elapsed();
    finished(received.bytes, time, &peer, reporter);
    reporter.say(&format!(
        "received and saved as {shown} ({} bytes, blake3 {blake3}, {durability})",
        received.bytes
    ));
    reporter.say("on the plain wire a cut connection cannot be told from an end: compare size or hash with the sender's");
    Ok(Code::Done)
}

/// Receives what comes over one connection; `greet` is called with the first byte. `None`: there was no byte, or the user
/// wants no more.
fn take(
    args: &Receive,
    mut stream: Stream,
    file: &mut File,
    mut watch: Watch,
    greet: impl FnOnce(),
) -> Result<Option<(Received, Watch)>, Stop> {
    watch.limit = args.limit_rate.and_then(RateLimit::per_second);
    let chunk = chunk(args.chunk_size, watch.limit.as_ref());
    let mut greet = Some(greet);
    let received = plain::receive(&mut Wary::new(&mut stream), file, chunk, |event| {
        if let PlainEvent::Passed { .. } = event
            && let Some(greet) = greet.take()
        {
            greet();
        }
        watch.see(event)
    });
    match (received, greet) {
        (Ok(received), None) => Ok(Some((received, watch))),
        (Ok(received), Some(greet)) if args.allow_empty => {
            greet();
            Ok(Some((received, watch)))
        }
        (Ok(_), Some(_)) => Ok(None),
        (Err(PlainError::Stopped { .. }), _) if watch.cancel.is_cancelled() => Ok(None),
        (Err(error), Some(_)) if args.connect.is_none() && is_of_stranger(&error) => Ok(None),
        (Err(error), _) => Err(watch.stop(error, "sent no byte")),
    }
}

/// Returns a connection to a peer, and who that is; `None` if the user does not want it any more.
fn meet(
    link: &mut Link,
    side: Side,
    cancel: &CancelToken,
) -> Result<Option<(Stream, String)>, Stop> {
    while !cancel.is_cancelled() {
        let met = match link {
            Link::Dialled(dial) => {
                dial.dialer.connect().map(|stream| (stream, dial.address.clone()))
            }
            Link::Awaited(listener) => {
                let mut listening = Listening::new(listener);
                let met = listening.connect();
                met.map(|stream| {
                    (stream, listening.peer().map(Peer::to_string).unwrap_or_default())
                })
            }
        };
        match met {
            Ok(met) => return Ok(Some(met)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(source) => {
                let error = Error::Transport { operation: Operation::Connect, source };
                let context = explain::Context::new(side);
                return Err(Stop::new(Code::of_error(&error), explain::error(&error, context)));
            }
        }
    }
    Ok(None)
}

/// Records the end of a transfer that went well.
fn finished(bytes: u64, time: Duration, peer: &str, reporter: &Reporter) {
    let finished = Record::Finished {
        files: 1,
        bytes,
        travelled: bytes,
        already: 0,
        resent: 0,
        seconds: time.as_secs_f64(),
        rate: average(bytes, time),
        peer: Some(peer),
        others: Others::default(),
    };
    reporter.record(&finished, None);
}

/// Says who is at the other end.
fn announce(link: &Link, peer: &str, reporter: &Reporter) {
    if let Link::Awaited(_) = link {
        reporter.say(&format!("connected by {peer}"));
    }
    reporter.record(&Record::Connected { peer }, None);
}

/// Returns whether this is about somebody who sent no byte, and not about this side.
fn is_of_stranger(error: &PlainError) -> bool {
    match error {
        PlainError::Io { operation: Operation::Read, source, .. } => {
            source.kind() != io::ErrorKind::InvalidData
        }
        PlainError::Stopped { .. } => true,
        _ => false,
    }
}

/// Stream from the peer, unless it is a haul that does not use the plain wire.
struct Wary<'s> {
    stream: &'s mut Stream,
    /// Bytes so far, as long as they may be the beginning of a haul session; `None` once they are something
    /// else.
    head: Option<Vec<u8>>,
}

impl<'s> Wary<'s> {
    const fn new(stream: &'s mut Stream) -> Self {
        Self { stream, head: Some(Vec::new()) }
    }
}

impl io::Read for Wary<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if let Some(head) = &mut self.head {
            let came = buffer.get(..count).unwrap_or_default();
            head.extend(came.iter().take(HEAD.saturating_sub(head.len())));
            if is_haul(head) {
                let text =
                    "the peer speaks haul: leave --plain out here, or have it send with --plain";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            self.head.take_if(|head| !may_be_haul(head));
        }
        Ok(count)
    }
}

/// Returns whether it is haul's preface, or the hello of TLS in which haul names its protocol.
fn is_haul(head: &[u8]) -> bool {
    head.starts_with(&PREFACE)
        || (head.starts_with(TLS) && head.windows(ALPN.len()).any(|window| window == ALPN))
}

/// Returns whether it may become so when more has come.
fn may_be_haul(head: &[u8]) -> bool {
    let is_tls = head.get(..head.len().min(TLS.len())).is_some_and(|head| TLS.starts_with(head));
    PREFACE.starts_with(head) || (is_tls && head.len() < HEAD)
}

/// Beginning of a hello of TLS: a record of the handshake (RFC 8446, section 5.1).
const TLS: &[u8] = &[0x16, 0x03];

/// The name of haul in it (RFC 7301, section 3.1).
const ALPN: &[u8] = b"\x06haul/1";

/// Bytes that are looked at: as many as a hello of haul has, and more.
const HEAD: usize = 1024;

/// Watch over a running transfer: for the clock, and for Ctrl-C.
struct Watch {
    progress: Progress,
    side: Side,
    cancel: CancelToken,
    bytes: u64,
    /// Time at which the last byte went through.
    last: Instant,
    limit: Option<RateLimit>,
}

impl Watch {
    fn new(
        reporter: &Arc<Reporter>,
        side: Side,
        cancel: CancelToken,
        total: u64,
        limit: Option<RateLimit>,
    ) -> Self {
        let mut status = Status::new(side, Phase::Moving);
        status.total = Some(total).filter(|total| *total > 0);
        let progress = Progress::new(Arc::clone(reporter), None, status);
        Self { progress, side, cancel, bytes: 0, last: Instant::now(), limit }
    }

    fn see(&mut self, event: PlainEvent) -> ControlFlow<()> {
        let silent = match event {
            PlainEvent::Passed { bytes } => {
                if self.bytes == 0 {
                    self.progress.greet();
                }
                self.pace(bytes.saturating_sub(self.bytes));
                (self.bytes, self.last) = (bytes, Instant::now());
                // Nobody acknowledges anything on this wire.
                match self.side {
                    Side::Sender => self.progress.update(bytes, 0, bytes),
                    Side::Receiver => self.progress.update(bytes, bytes, 0),
                }
                false
            }
            // An input may take its time: this is not about the peer.
            PlainEvent::Waiting { operation: Operation::Source, .. } => {
                self.last = Instant::now();
                false
            }
            _ => self.last.elapsed() >= SILENCE,
        };
        if silent || self.cancel.is_cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Waits until more may pass, as a rate limit asks: not for long, since it makes the chunks small.
    fn pace(&self, bytes: u64) {
        if let Some(limit) = &self.limit {
            std::thread::sleep(limit.spend(usize::try_from(bytes).unwrap_or(usize::MAX)));
        }
    }

    fn stop(&self, error: PlainError, silence: &str) -> Stop {
        let bytes = self.bytes;
        if matches!(error, PlainError::Stopped { .. }) {
            if self.cancel.is_cancelled() {
                return Stop::new(Code::Interrupted, format!("interrupted after {bytes} bytes"));
            }
            let seconds = SILENCE.as_secs();
            let text = format!("the peer {silence} for {seconds} s, after {bytes} bytes");
            return Stop::new(Code::Peer, text);
        }
        let error = Error::from(error);
        let code = Code::of_error(&error);
        if let Error::Transport { source, .. } = &error
            && source.kind() == io::ErrorKind::InvalidData
        {
            return Stop::new(code, explain::system(source));
        }
        let hint = match &error {
            Error::Transport { operation: Operation::Write, .. } => {
                "; if the peer is a `haul receive` without --plain, leave --plain out here too"
            }
            _ => "",
        };
        let text = explain::system(&io::Error::from(error));
        Stop::new(
            code,
            format!("{text} (after {bytes} bytes; the plain wire cannot go on with a part{hint})"),
        )
    }
}

fn open(path: &Path) -> Result<(File, u64), Stop> {
    check(path)?;
    let opened = File::open(path).and_then(|file| file.metadata().map(|meta| (file, meta)));
    let shown = shown(path);
    match opened {
        Ok((_, meta)) if meta.is_dir() => Err(Stop::new(
            Code::Local,
            format!("{shown} is a folder; the plain wire carries one file"),
        )),
        Ok((file, meta)) => Ok((file, meta.len())),
        Err(error) => Err(Stop::new(Code::Local, format!("{shown}: {}", explain::system(&error)))),
    }
}

fn interrupted(reporter: &Reporter) -> Code {
    let code = Code::Interrupted;
    reporter.failed(code, "interrupted", None);
    code
}

/// Returns the size that was asked for, or less where a limit moves less at a time.
fn chunk(asked: Option<ChunkSize>, limit: Option<&RateLimit>) -> ChunkSize {
    let asked = asked.unwrap_or_default();
    limit.and_then(|limit| ChunkSize::new(limit.piece())).map_or(asked, |piece| piece.min(asked))
}

/// Number of connections without a byte of which each is reported.
const TOLD: u64 = 16;

/// Without a byte for so long, either way, the peer is given up.
const SILENCE: Duration = Duration::from_secs(30);
