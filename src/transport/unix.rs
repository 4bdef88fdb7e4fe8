//! Unix sockets: [`UnixConnector`] and [`UnixAcceptor`].
//!
//! Who may connect is for the permissions of the folder that the socket stands in to say: on some systems those of
//! the socket itself count for nothing.

use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{self, UnixListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::sync::accept_timeout::Ticking;
use super::sync::deadline::Within;
use super::sync::linger::{Closing, Graceful, graceful};
use super::{Acceptor, Connector, Peer, Waker};
use crate::types::Escaped;

/// Connector to the Unix socket of a path.
#[derive(Debug, Clone)]
pub struct UnixConnector {
    path: PathBuf,
    tick: Duration,
    connect_timeout: Duration,
    /// The system's call waits without end while the listener's queue is full.
    connecting: Within<net::UnixStream>,
}

impl UnixConnector {
    /// Returns a connector to this path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            tick: TICK,
            connect_timeout: CONNECT_TIMEOUT,
            connecting: Within::default(),
        }
    }

    /// Sets after how long a read or write that gets nowhere returns with [`io::ErrorKind::WouldBlock`]. Default: 1 s;
    /// at least 1 ms is taken.
    #[must_use]
    pub const fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// Sets how long [`connect`](Connector::connect) waits while the acceptor's queue is full. Default: 10 s.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }
}

impl Connector for UnixConnector {
    type Stream = UnixStream;

    /// Opens a connection, in a thread that ends with the attempt: while the acceptor's queue is full, the system keeps
    /// it waiting. An attempt that took too long goes on, and is what the next call waits for.
    ///
    /// # Errors
    ///
    /// All hold a [`UnixError`], which names the path.
    ///
    /// - [`io::ErrorKind::ConnectionRefused`]: nothing has this path, nobody listens on it, or it is no socket. Who is
    ///   started again makes it anew, so that a further call may succeed.
    /// - [`io::ErrorKind::TimedOut`]: somebody listens, and took nobody in for too long.
    /// - [`io::ErrorKind::PermissionDenied`]: it is not for this user.
    /// - The error of the system where it could not be asked whether somebody listens, such as that no descriptor is
    ///   free.
    /// - [`io::ErrorKind::InvalidInput`]: the path is too long for a socket (about 100 bytes).
    fn connect(&mut self) -> io::Result<UnixStream> {
        let path = self.path.clone();
        self.connecting
            .run(self.connect_timeout, move || net::UnixStream::connect(path))
            .and_then(|stream| UnixStream::new(stream, self.tick))
            .map_err(|source| {
                let kind = match source.kind() {
                    io::ErrorKind::NotFound => io::ErrorKind::ConnectionRefused,
                    kind => kind,
                };
                io::Error::new(kind, UnixError { path: self.path.clone(), source })
            })
    }
}

/// Acceptor on a Unix socket, whose file it makes, and removes when it is dropped.
#[derive(Debug)]
pub struct UnixAcceptor {
    listener: UnixListener,
    ticking: Ticking,
    path: PathBuf,
    /// Device and number of the file that was made, so that no other is removed.
    identity: Option<(u64, u64)>,
    tick: Duration,
}

impl UnixAcceptor {
    /// Makes the socket and listens on it. It has mode 0600, whatever the umask: where the system looks at that, this user
    /// alone can connect. To let others in, change the mode afterwards.
    ///
    /// A socket that was left behind, on which nobody listens any more, is removed first. Anything else that has the
    /// path stays.
    ///
    /// # Errors
    ///
    /// All hold a [`UnixError`], which names the path.
    ///
    /// - [`io::ErrorKind::AddrInUse`]: somebody listens on it.
    /// - [`io::ErrorKind::AlreadyExists`]: something that is no socket has this path.
    /// - [`io::ErrorKind::NotFound`]: the folder does not exist.
    /// - [`io::ErrorKind::PermissionDenied`]: the folder is not for this user to write in, or the socket that has the
    ///   path is another user's, and cannot be asked whether somebody listens on it.
    /// - [`io::ErrorKind::InvalidInput`]: the path is too long for a socket (about 100 bytes).
    pub fn bind(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let listener = Self::bind_plain(&path).map_err(|error| UnixError::io(&path, error))?;
        let identity = fs::symlink_metadata(&path).ok().as_ref().map(identity);
        // From here on the file is removed whatever happens.
        let acceptor = Self { listener, ticking: Ticking::new(TICK), path, identity, tick: TICK };
        keep_private(&acceptor.listener, &acceptor.path)
            .and_then(|()| set_tick(&acceptor.listener, TICK))
            .map_err(|error| UnixError::io(&acceptor.path, error))?;
        Ok(acceptor)
    }

    /// Sets after how long [`accept`](Acceptor::accept), and reads and writes of its streams, return if they get
    /// nowhere. Default: 1 s; at least 1 ms is taken.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    pub fn tick(mut self, tick: Duration) -> io::Result<Self> {
        set_tick(&self.listener, tick)?;
        self.tick = tick;
        self.ticking.set_tick(tick.max(SHORTEST_TICK));
        Ok(self)
    }

    /// Returns the path that is listened on, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn bind_plain(path: &Path) -> io::Result<UnixListener> {
        match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                remove_stale(path)?;
                UnixListener::bind(path)
            }
            other => other,
        }
    }
}

impl Acceptor for UnixAcceptor {
    type Stream = UnixStream;

    /// Takes the next connection.
    ///
    /// # Errors
    ///
    /// - [`io::ErrorKind::WouldBlock`], [`io::ErrorKind::TimedOut`]: nobody came within the tick.
    /// - [`io::ErrorKind::ConnectionAborted`]: somebody came, and was gone again, or may not.
    /// - Any other error of the system, such as that no descriptor is free. A further call may succeed.
    fn accept(&mut self) -> io::Result<(UnixStream, Peer)> {
        let Self { listener, ticking, path, tick, .. } = self;
        ticking.run(
            || listener.accept(),
            |(stream, address)| {
                let path = address.as_pathname().unwrap_or(path).to_path_buf();
                Ok((UnixStream::new(stream, *tick)?, Peer::Path(path)))
            },
        )
    }

    /// Connects to itself. Where that fails, `accept` returns at its tick.
    fn waker(&self) -> Option<Waker> {
        let (woken, path) = (self.ticking.woken(), self.path.clone());
        Some(Box::new(move || {
            let path = path.clone();
            // While the queue is full, this waits, and there is something to accept.
            let connect = move || net::UnixStream::connect(path);
            woken.wake(|| drop(Within::default().run(WAKING, connect)));
        }))
    }
}

impl Drop for UnixAcceptor {
    fn drop(&mut self) {
        // The file may be another acceptor's by now: one that took this one's for stale cannot be, but people move
        // files.
        let now = fs::symlink_metadata(&self.path).ok().as_ref().map(identity);
        if now.is_some() && now == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A connection through a Unix socket, whose calls return in ticks.
///
/// Dropping it tells the peer that nothing will follow, and takes what the peer still sends until it closes, is silent
/// for a moment, or two seconds are over, if anything was written: closing at once would make the system tell the peer
/// of an error before the peer has read the last bytes.
#[derive(Debug)]
pub struct UnixStream(Graceful<net::UnixStream>);

impl UnixStream {
    /// Takes over a connection that was made elsewhere (a socket pair, say), with this tick.
    ///
    /// # Errors
    ///
    /// Any error of the system.
    pub fn new(inner: net::UnixStream, tick: Duration) -> io::Result<Self> {
        let tick = Some(tick.max(SHORTEST_TICK));
        inner.set_nonblocking(false)?;
        inner.set_read_timeout(tick)?;
        inner.set_write_timeout(tick)?;
        Ok(Self(Graceful::new(inner, CLOSE_WAIT)))
    }

    /// Returns the connection itself, for everything that is not reading or writing.
    #[must_use]
    pub const fn get_ref(&self) -> &net::UnixStream {
        &self.0.socket
    }
}

graceful!(UnixStream of net::UnixStream);

/// Fault of the path of a socket.
///
/// It stands inside the [`io::Error`] that [`connect`](Connector::connect) and [`bind`](UnixAcceptor::bind) give.
#[derive(Debug, thiserror::Error)]
#[error("unix:{}: {source}", Escaped(path.as_os_str().as_encoded_bytes()))]
#[non_exhaustive]
pub struct UnixError {
    /// The path.
    pub path: PathBuf,
    /// Error of the system.
    pub source: io::Error,
}

impl UnixError {
    fn io(path: &Path, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), Self { path: path.to_path_buf(), source })
    }
}

/// Removes the socket of this path if it is one and nobody listens on it.
///
/// Between the question and the removal another acceptor could do the same; then the later of the two takes the path
/// from the earlier. Nothing that is not a socket is ever removed.
fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let asked = path.to_path_buf();
    let answer = Within::default().run(TICK, move || net::UnixStream::connect(asked));
    if is_stale(answer.map(drop))? { fs::remove_file(path) } else { Ok(()) }
}

/// Returns whether a socket is there on which nobody listens, by the outcome of connecting to it; `false` if it is gone
/// by itself. An error if somebody listens, or it cannot be known.
fn is_stale(answer: io::Result<()>) -> io::Result<bool> {
    use io::ErrorKind as Kind;
    let Err(error) = answer else { return Err(Kind::AddrInUse.into()) };
    match error.kind() {
        Kind::ConnectionRefused => Ok(true),
        Kind::NotFound => Ok(false),
        // Its queue is full.
        Kind::TimedOut | Kind::WouldBlock => Err(Kind::AddrInUse.into()),
        // A socket of another type.
        _ if matches!(error.raw_os_error(), Some(EPROTOTYPE)) => Err(Kind::AddrInUse.into()),
        // Such as that it is another user's, or that this process has no descriptor left.
        _ => Err(error),
    }
}

const EPROTOTYPE: i32 = if cfg!(any(target_os = "linux", target_os = "android")) { 91 } else { 41 };

/// Gives a socket to this user alone. Whoever came before it had its mode is sent away.
fn keep_private(listener: &UnixListener, path: &Path) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    while listener.accept().is_ok() {}
    listener.set_nonblocking(false)
}

/// Sets how long an `accept` waits, which is a listener's read timeout where the kernel helps; there is a setter on
/// streams alone, but the descriptor is the same.
fn set_tick(listener: &UnixListener, tick: Duration) -> io::Result<()> {
    if Ticking::BY_KERNEL {
        let same = net::UnixStream::from(OwnedFd::from(listener.try_clone()?));
        same.set_read_timeout(Some(tick.max(SHORTEST_TICK)))
    } else {
        listener.set_nonblocking(true)
    }
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

const TICK: Duration = Duration::from_secs(1);

/// Longest wait for a connection: as long as `tcp` waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest wait for waking.
const WAKING: Duration = Duration::from_millis(100);

/// A tick of zero would be refused.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// Longest wait of closing. Mirrors `close_wait` of `tcp`.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
