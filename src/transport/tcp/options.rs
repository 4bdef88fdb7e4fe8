//! Options of a TCP connection, and their application to a socket.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::TcpError;

/// Settings by which connections are made and tuned. [`TcpOptions::default`] serves everyone; each field tells when
/// to change it.
///
/// Setters take and give back the value and are named like the field.
///
/// An option that the operating system lacks is ignored, if its doc says so, or else refused when a socket is made:
/// [`TcpError::Option`] names it. Pacing rates, `TCP_INFO` and zero-copy sending are not here: there is no safe call
/// for them in `socket2`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpOptions {
    /// Sends each write at once instead of waiting to fill a packet (`TCP_NODELAY`). Default: on. haul writes whole
    /// messages, so that waiting would gain nothing and cost a delayed acknowledgement, 40 ms or more, per turn.
    pub nodelay: bool,
    /// Asks a silent peer's system whether it is there. Default: on, see [`Keepalive`]. `None` leaves it off: then a
    /// peer that lost its power while this side only listens is noticed by
    /// [`Deadlines`](crate::config::Deadlines) alone.
    pub keepalive: Option<Keepalive>,
    /// Longest time that sent bytes may stay unacknowledged, or the peer's window closed, before the connection is
    /// given up (`TCP_USER_TIMEOUT`). Default: 60 s, twice
    /// [`Deadlines::silence`](crate::config::Deadlines::silence), so that haul's own deadline ends first; raise both
    /// together. `None` leaves it to the system: about 15 min on Linux. Where the system has no such option (it is
    /// Linux's), it is ignored.
    pub user_timeout: Option<Duration>,
    /// Bytes of the send buffer (`SO_SNDBUF`). Default: `None`, the kernel's automatic tuning. **A value switches the
    /// tuning off**, for good, on that connection, and on Linux is cut silently to `net.core.wmem_max`, often far less
    /// than tuning would reach: set it to bound memory, not to gain speed. Linux doubles the value.
    pub send_buffer: Option<usize>,
    /// Bytes of the receive buffer (`SO_RCVBUF`). As [`send_buffer`](Self::send_buffer): a value switches automatic
    /// tuning off and is cut to `net.core.rmem_max`. It is set before the connection is made, as the window scale
    /// depends on it.
    pub receive_buffer: Option<usize>,
    /// Listening on an IPv6 wildcard (`[::]`) also serves IPv4. Default: on, on every system. Addresses of IPv4
    /// peers are shown as IPv4.
    pub dual_stack: bool,
    /// Lets a listener take its port while connections of an earlier one linger (`SO_REUSEADDR`). Default: on, so that a
    /// restart need not wait a minute. Ignored on Windows, where it would mean that two programs share a port.
    pub reuse_address: bool,
    /// Longest time that one address is tried before the next, and before that, that a name is looked up. Default:
    /// 10 s. Connecting to a name with several addresses takes at most so many times as long, and once more; the cancel
    /// token is not looked at meanwhile.
    pub connect_timeout: Duration,
    /// After how long a read without data returns with [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::TimedOut`]
    /// (`SO_RCVTIMEO`). Default: 1 s; at least 1 ms is taken. That is when deadlines and the cancel token are looked
    /// at, so longer means later.
    pub read_tick: Duration,
    /// The same for a write that finds no room (`SO_SNDTIMEO`). A write that found some returns a short count. On
    /// Windows a write that timed out leaves the connection in an unknown state: keep it above all deadlines there.
    pub write_tick: Duration,
    /// Longest wait of [`TcpAcceptor::accept`](super::TcpAcceptor) for a peer. Default: 1 s; at least 1 ms is
    /// taken.
    pub accept_tick: Duration,
    /// The congestion control algorithm, by its name (`TCP_CONGESTION`): `cubic`, `bbr`, `reno`. Default: `None`, the
    /// system's. On long paths with random loss `bbr` may be many times faster than `cubic`; it has to be loaded and
    /// allowed (`net.ipv4.tcp_allowed_congestion_control`). Refused where there is no such option (Linux, FreeBSD have
    /// it).
    pub congestion: Option<String>,
    /// Uses Multipath TCP where this system and the peer's have it (`IPPROTO_MPTCP`, Linux), and plain TCP where
    /// not, without a word. Default: off, since it pays only if both have several paths. With it some other options
    /// (user timeout on old kernels) may be refused; these are then left out.
    pub multipath: bool,
    /// Number of bytes that may wait unsent in the kernel before a write finds no room (`TCP_NOTSENT_LOWAT`). Default:
    /// `None`, the system's, usually unbounded. A value such as 128 KiB keeps less data in the kernel, so that bytes
    /// written are nearer to bytes sent, for a few more wake-ups. Refused where there is no such option (Linux has it).
    pub notsent_low_water: Option<u32>,
    /// Longest wait of closing in the kernel for unsent bytes (`SO_LINGER`). Default: `None`: closing does not wait,
    /// and the kernel goes on sending. **Zero throws unsent bytes away** and resets the connection.
    pub linger: Option<Duration>,
    /// Longest time that dropping a stream goes on taking the peer's bytes. Default: 2 s. Closing a socket that has
    /// unread input resets the connection, and the reset can destroy the last bytes on their way to the peer: an error
    /// message, say. So a drop shuts down its writing half, then reads and forgets until the peer closes, 0.2 s pass in
    /// silence, or this time is over. Zero closes at once, and so does a drop where nothing was written.
    pub close_wait: Duration,
}

/// Times at which a silent peer's system is asked whether it is there.
///
/// With the default a peer that is gone is noticed after a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Keepalive {
    /// Silence before the first probe. Default: 30 s.
    pub time: Duration,
    /// Time from probe to probe. Default: 10 s.
    pub interval: Duration,
    /// Probes without an answer after which the connection is given up. Default: 3. On Linux a
    /// [`TcpOptions::user_timeout`] holds instead.
    pub retries: u32,
}

impl TcpOptions {
    /// Returns a socket for this address, with everything set that must be set before it connects or
    /// listens.
    pub(super) fn socket(&self, address: SocketAddr) -> io::Result<Socket> {
        let socket = self.unset_socket(Domain::for_address(address))?;
        if let Some(size) = self.send_buffer {
            set("send_buffer", socket.set_send_buffer_size(size))?;
        }
        if let Some(size) = self.receive_buffer {
            set("receive_buffer", socket.set_recv_buffer_size(size))?;
        }
        if let Some(name) = &self.congestion {
            set("congestion", set_congestion(&socket, name))?;
        }
        Ok(socket)
    }

    /// Sets what belongs to a listener, before it is bound.
    pub(super) fn prepare_listener(&self, socket: &Socket, address: SocketAddr) -> io::Result<()> {
        if address.is_ipv6() {
            set("dual_stack", socket.set_only_v6(!self.dual_stack))?;
        }
        if self.reuse_address && !cfg!(windows) {
            set("reuse_address", socket.set_reuse_address(true))?;
        }
        Ok(())
    }

    /// Sets what belongs to a connection; also tried on a listener, so that what the system refuses is known before the
    /// first peer comes.
    pub(super) fn tune(&self, socket: &SockRef<'_>) -> io::Result<()> {
        set("nodelay", socket.set_tcp_nodelay(self.nodelay))?;
        if let Some(keepalive) = self.keepalive {
            let probes =
                TcpKeepalive::new().with_time(keepalive.time).with_interval(keepalive.interval);
            #[cfg(not(any(target_os = "openbsd", target_os = "redox", target_os = "solaris")))]
            let probes = probes.with_retries(keepalive.retries);
            set("keepalive", socket.set_tcp_keepalive(&probes))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.user_timeout.is_some() {
            let result = socket.set_tcp_user_timeout(self.user_timeout);
            set("user_timeout", if self.multipath { Ok(()) } else { result })?;
        }
        if let Some(bytes) = self.notsent_low_water {
            set("notsent_low_water", set_notsent_low_water(socket, bytes))?;
        }
        if self.linger.is_some() {
            set("linger", socket.set_linger(self.linger))?;
        }
        set("read_tick", socket.set_read_timeout(Some(self.read_tick.max(SHORTEST_TICK))))?;
        set("write_tick", socket.set_write_timeout(Some(self.write_tick.max(SHORTEST_TICK))))
    }

    fn unset_socket(&self, domain: Domain) -> io::Result<Socket> {
        #[cfg(target_os = "linux")]
        if self.multipath
            && let Ok(socket) = Socket::new(domain, Type::STREAM, Some(Protocol::MPTCP))
        {
            return Ok(socket);
        }
        Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
    }
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Keepalive::default()),
            user_timeout: Some(Duration::from_secs(60)),
            send_buffer: None,
            receive_buffer: None,
            dual_stack: true,
            reuse_address: true,
            connect_timeout: Duration::from_secs(10),
            read_tick: Duration::from_secs(1),
            write_tick: Duration::from_secs(1),
            accept_tick: Duration::from_secs(1),
            congestion: None,
            multipath: false,
            notsent_low_water: None,
            linger: None,
            close_wait: Duration::from_secs(2),
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { time: Duration::from_secs(30), interval: Duration::from_secs(10), retries: 3 }
    }
}

macro_rules! setters {
    ($owner:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        impl $owner {
            $(
                #[doc = concat!("Sets [`", stringify!($owner), "::", stringify!($field), "`](", stringify!($owner), "#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )+
        }
    };
}

setters!(TcpOptions {
    nodelay: bool,
    keepalive: Option<Keepalive>,
    user_timeout: Option<Duration>,
    send_buffer: Option<usize>,
    receive_buffer: Option<usize>,
    dual_stack: bool,
    reuse_address: bool,
    connect_timeout: Duration,
    read_tick: Duration,
    write_tick: Duration,
    accept_tick: Duration,
    congestion: Option<String>,
    multipath: bool,
    notsent_low_water: Option<u32>,
    linger: Option<Duration>,
    close_wait: Duration,
});
setters!(Keepalive { time: Duration, interval: Duration, retries: u32 });

/// Adds to a refusal the option that it is about.
fn set(name: &'static str, result: io::Result<()>) -> io::Result<()> {
    result.map_err(|source| {
        let kind = source.kind();
        TcpError::Option { name, source }.into_io(kind)
    })
}

#[cfg(any(target_os = "linux", target_os = "freebsd"))]
fn set_congestion(socket: &Socket, name: &str) -> io::Result<()> {
    socket.set_tcp_congestion(name.as_bytes())
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn set_congestion(_socket: &Socket, _name: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_notsent_low_water(socket: &SockRef<'_>, bytes: u32) -> io::Result<()> {
    socket.set_tcp_notsent_lowat(bytes)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_notsent_low_water(_socket: &SockRef<'_>, _bytes: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A tick of zero would be taken as none, and wait for ever.
pub(super) const SHORTEST_TICK: Duration = Duration::from_millis(1);
