//! Something between sender and receiver that loses connections, and counts what they carry.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::common::PATIENCE;

/// Way in which a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Both sides hear that the other closed; who writes on is told that nobody reads.
    Fin,
    /// Both sides hear that the connection is void, and what the system still held of it is lost.
    Rst,
    /// Nothing is received any more; what is written fills the buffers.
    Silence,
    /// Nothing goes on until the test has done what it wants to do: see [`Proxy::held`].
    Hold,
}

/// Carries connections to a receiver, and cuts them.
pub(crate) struct Proxy {
    /// Address for senders.
    pub(crate) address: String,
    shared: Arc<Shared>,
    held: Receiver<Held>,
    acceptor: Option<JoinHandle<()>>,
}

/// A connection that waits to be closed, which happens when this is dropped.
pub(crate) struct Held(#[expect(dead_code, reason = "it is there to be dropped")] Sender<()>);

/// Bytes that all connections carried towards the receiver.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    /// Bytes that the proxy took from senders.
    pub(crate) bytes: u64,
    /// Those of them that were content of files: payload of frames.
    pub(crate) content: u64,
    /// Connections that were cut.
    pub(crate) cuts: u64,
    /// Connections there were.
    pub(crate) connections: u64,
}

struct Shared {
    to: String,
    cut: Cut,
    held: Sender<Held>,
    closed: AtomicBool,
    state: Mutex<State>,
}

struct State {
    carried: Carried,
    /// The bytes before each cut that is to come.
    limits: Box<dyn Iterator<Item = u64> + Send>,
    /// Number of bytes before the next cut; it spans connections that end by themselves.
    left: Option<u64>,
    /// Connections that nothing is received of any more.
    silent: Vec<Arc<Socket>>,
    connections: Vec<JoinHandle<()>>,
}

/// The system's buffers of the proxy: it asks for so much, and Linux takes twice that.
const BUFFER: usize = 128 * 1024;

/// Bytes that the proxy takes at a time.
const PIECE: usize = 64 * 1024;

/// Bytes that a Unix socket holds of what was written to it.
pub(crate) const SOCKET: u64 = 208 * 1024;

/// The most that is lost inside the proxy when a connection is cut.
pub(crate) const IN_PROXY: u64 = (4 * BUFFER + PIECE) as u64;

impl Proxy {
    /// Creates a proxy that listens as the receiver does: on a socket file beside its own, or on a port
    /// of loopback.
    pub(crate) fn new(
        to: &str,
        cut: Cut,
        limits: impl IntoIterator<Item = u64, IntoIter: Send + 'static>,
    ) -> Self {
        let near =
            if to.starts_with("unix:") { format!("{to}-proxy") } else { "127.0.0.1:0".into() };
        let (listener, at) = socket(&near);
        // Before listening, so that what it accepts has it too.
        listener.set_recv_buffer_size(BUFFER).unwrap();
        listener.bind(&at).unwrap();
        listener.listen(16).unwrap();
        listener.set_read_timeout(Some(TICK)).unwrap();
        let address = match listener.local_addr().unwrap().as_socket() {
            Some(address) => address.to_string(),
            None => near,
        };
        let mut limits = limits.into_iter();
        let left = limits.next();
        let (limits, silent) = (Box::new(limits), Vec::new());
        let carried = Carried::default();
        let state = State { carried, limits, left, silent, connections: Vec::new() };
        let (hold, held) = mpsc::channel();
        let shared = Shared {
            to: to.to_owned(),
            cut,
            held: hold,
            closed: AtomicBool::new(false),
            state: Mutex::new(state),
        };
        let shared = Arc::new(shared);
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Self { address, shared, held, acceptor: Some(acceptor) }
    }

    /// Waits until a connection has carried all that it may.
    pub(crate) fn held(&self) -> Held {
        self.held.recv_timeout(PATIENCE).expect("a connection carries that much")
    }

    pub(crate) fn carried(&self) -> Carried {
        self.shared.lock().carried
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let connections = std::mem::take(&mut self.shared.lock().connections);
        for connection in connections {
            let _ = connection.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

fn accept(listener: &Socket, shared: &Arc<Shared>) {
    while !shared.is_closed() {
        let Ok((near, _)) = listener.accept() else { continue };
        let (far, to) = socket(&shared.to);
        far.set_send_buffer_size(BUFFER).unwrap();
        // Nobody is there at the moment: the sender hears that its connection ends.
        if far.connect(&to).is_err() {
            continue;
        }
        let connection = thread::spawn({
            let shared = Arc::clone(shared);
            move || carry(Arc::new(near), Arc::new(far), &shared)
        });
        let mut state = shared.lock();
        state.carried.connections += 1;
        state.connections.push(connection);
    }
}

/// Carries one connection, from its beginning to its end.
fn carry(near: Arc<Socket>, far: Arc<Socket>, shared: &Shared) {
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(TICK)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    let over = Arc::new(AtomicBool::new(false));
    let answers = thread::spawn({
        let (near, far, over) = (Arc::clone(&near), Arc::clone(&far), Arc::clone(&over));
        move || {
            let mut buffer = vec![0; PIECE];
            while let Some(count) = take(&far, &mut buffer, &|| over.load(Ordering::Relaxed)) {
                if (&*near).write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            over.store(true, Ordering::Relaxed);
        }
    });
    let stop = || over.load(Ordering::Relaxed) || shared.is_closed();
    let is_cut = forward(&near, &far, shared, &stop);
    if !is_cut {
        // One of them closed: the other hears of it, and closes too.
        let _ = far.shutdown(Shutdown::Write);
        answers.join().unwrap();
        let _ = near.shutdown(Shutdown::Both);
        return;
    }
    if shared.cut == Cut::Hold {
        let (release, released) = mpsc::channel();
        shared.held.send(Held(release)).unwrap();
        let _ = released.recv_timeout(PATIENCE);
        // What the sender had given away by then has travelled too, though it goes nowhere; no more is taken than the
        // system held, because a sender that lives sends on.
        let mut lost = 0;
        while lost < SOCKET
            && let Some(count) = take(&near, &mut [0; PIECE], &|| true)
        {
            lost += count as u64;
            count_in(shared, count, count as u64);
        }
    }
    over.store(true, Ordering::Relaxed);
    match shared.cut {
        Cut::Fin | Cut::Hold => {
            let _ = (far.shutdown(Shutdown::Both), near.shutdown(Shutdown::Both));
            answers.join().unwrap();
        }
        Cut::Rst => {
            answers.join().unwrap();
            for socket in [&near, &far] {
                SockRef::from(&**socket).set_linger(Some(Duration::ZERO)).unwrap();
            }
        }
        Cut::Silence => {
            answers.join().unwrap();
            shared.lock().silent.extend([near, far]);
        }
    }
}

/// Carries towards the receiver; `true` if that came to the limit, `false` if the connection ended before.
fn forward(near: &Socket, far: &Socket, shared: &Shared, stop: &dyn Fn() -> bool) -> bool {
    let mut frames = Frames::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let room = shared.lock().left.map_or(PIECE, |left| PIECE.min(left as usize));
        if room > 0 {
            let Some(count) = take(near, &mut buffer[..room], stop) else { return false };
            count_in(shared, count, frames.feed(&buffer[..count]));
            let mut to = far;
            if to.write_all(&buffer[..count]).is_err() {
                return false;
            }
        }
        let mut state = shared.lock();
        if state.left == Some(0) {
            state.left = state.limits.next();
            state.carried.cuts += 1;
            return true;
        }
    }
}

fn count_in(shared: &Shared, bytes: usize, content: u64) {
    let mut state = shared.lock();
    state.carried.bytes += bytes as u64;
    state.carried.content += content;
    state.left = state.left.map(|left| left.saturating_sub(bytes as u64));
}

/// Reads once; `None` at the end, or when there is nothing to read and no reason to wait.
fn take(mut from: &Socket, buffer: &mut [u8], stop: &dyn Fn() -> bool) -> Option<usize> {
    loop {
        match from.read(buffer) {
            Ok(count @ 1..) => return Some(count),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if stop() {
                    return None;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return None,
        }
    }
}

/// Returns a socket for this address, and the address as the system has it.
fn socket(address: &str) -> (Socket, SockAddr) {
    let (domain, address) = match address.strip_prefix("unix:") {
        Some(path) => (Domain::UNIX, SockAddr::unix(path).unwrap()),
        None => (Domain::IPV4, address.parse::<SocketAddr>().unwrap().into()),
    };
    (Socket::new(domain, Type::STREAM, None).unwrap(), address)
}

/// Takes the wire apart, as far as it must to find the content (W-1, W-2 of the wire document).
struct Frames {
    part: Part,
    /// Bytes of the part that are to come.
    left: u64,
    header: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Preface,
    Header,
    Control,
    Payload,
}

impl Frames {
    fn new() -> Self {
        Self { part: Part::Preface, left: 8, header: Vec::new() }
    }

    /// Returns how many of these bytes are content.
    fn feed(&mut self, mut bytes: &[u8]) -> u64 {
        let mut content = 0;
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(self.left as usize));
            match self.part {
                Part::Header => self.header.extend_from_slice(part),
                Part::Payload => content += part.len() as u64,
                Part::Preface | Part::Control => {}
            }
            self.left -= part.len() as u64;
            bytes = rest;
            while self.left == 0 {
                self.advance();
            }
        }
        content
    }

    fn advance(&mut self) {
        let control = || u64::from(u32::from_le_bytes(self.header[..4].try_into().unwrap()) >> 8);
        let payload = || u64::from(u32::from_le_bytes(self.header[4..8].try_into().unwrap()));
        (self.part, self.left) = match self.part {
            Part::Header => (Part::Control, control() + if control() > 0 { 8 } else { 0 }),
            Part::Control => (Part::Payload, payload()),
            Part::Preface | Part::Payload => {
                self.header.clear();
                (Part::Header, 16)
            }
        };
    }
}

/// Interval at which a waiting call looks up.
const TICK: Duration = Duration::from_millis(20);
