//! Connecting: resolve, try every address, report what failed.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use super::{HostPort, TcpError, TcpOptions, TcpStream};
use crate::transport::Connector;
use crate::transport::sync::deadline::Within;

/// Connector over TCP to a host and port.
///
/// Each [`connect`](Connector::connect) resolves the host anew and tries all of its addresses, IPv6 and IPv4 by turns
/// and the resolver's favourite first, until one answers.
#[derive(Debug, Clone)]
pub struct TcpConnector {
    address: HostPort,
    options: TcpOptions,
    /// The name is a real one, so that a failure to resolve it will pass.
    resolved_before: bool,
    /// The system's resolver has timeouts of its own, which add up to a minute.
    resolving: Within<Vec<SocketAddr>>,
}

impl TcpConnector {
    /// Returns a connector with the default options.
    #[must_use]
    pub fn new(address: HostPort) -> Self {
        Self {
            address,
            options: TcpOptions::default(),
            resolved_before: false,
            resolving: Within::default(),
        }
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: TcpOptions) -> Self {
        self.options = options;
        self
    }

    /// Returns the address that it connects to.
    #[must_use]
    pub const fn address(&self) -> &HostPort {
        &self.address
    }

    fn connect_through<N: Net>(&mut self, net: &mut N) -> io::Result<N::Stream> {
        let addresses = net.resolve(&self.address).map_err(|source| {
            let kind = self.resolve_kind(&source);
            TcpError::Resolve { address: self.address.clone(), source }.into_io(kind)
        })?;
        self.resolved_before = true;
        let mut failures = Vec::new();
        for address in by_turns(addresses) {
            match net.dial(address, &self.options) {
                Ok(stream) => return Ok(stream),
                Err(error) => failures.push((address, error)),
            }
        }
        Err(TcpError::all_failed(&self.address, failures))
    }

    /// Returns the kind of a failed look-up of a name, by whether it can succeed later. The standard library
    /// gives this in the text only.
    fn resolve_kind(&self, error: &io::Error) -> io::ErrorKind {
        if let kind @ (io::ErrorKind::InvalidInput | io::ErrorKind::TimedOut) = error.kind() {
            return kind;
        }
        let text = error.to_string();
        // What glibc and the BSDs, musl, and Windows say where no name server could be asked.
        let passes = ["emporary failure", "ry again", "os error 11002"];
        if self.resolved_before || passes.iter().any(|words| text.contains(words)) {
            io::ErrorKind::HostUnreachable
        } else {
            io::ErrorKind::NotFound
        }
    }
}

impl Connector for TcpConnector {
    type Stream = TcpStream;

    /// Opens a connection. A name is looked up in a thread of its own, which ends with the look-up: one that took too
    /// long goes on, and is what the next call waits for.
    ///
    /// # Errors
    ///
    /// All hold a [`TcpError`], which names the address.
    ///
    /// - [`io::ErrorKind::NotFound`]: there is no such host.
    /// - [`io::ErrorKind::HostUnreachable`]: the name could not be asked for now; or the system's error means that.
    /// - [`io::ErrorKind::TimedOut`]: nobody answered within [`TcpOptions::connect_timeout`], the resolver or the host.
    /// - Any other error of the system for the address whose failure tells most.
    fn connect(&mut self) -> io::Result<TcpStream> {
        let resolving = std::mem::take(&mut self.resolving);
        let mut system = System { resolving, timeout: self.options.connect_timeout };
        let connected = self.connect_through(&mut system);
        self.resolving = system.resolving;
        connected
    }
}

/// Calls of the system that connecting needs.
#[cfg_attr(test, mockall::automock(type Stream = u8;))]
trait Net {
    type Stream;

    fn resolve(&mut self, address: &HostPort) -> io::Result<Vec<SocketAddr>>;
    fn dial(&mut self, address: SocketAddr, options: &TcpOptions) -> io::Result<Self::Stream>;
}

struct System {
    resolving: Within<Vec<SocketAddr>>,
    timeout: Duration,
}

impl Net for System {
    type Stream = TcpStream;

    fn resolve(&mut self, address: &HostPort) -> io::Result<Vec<SocketAddr>> {
        if let Some(ip) = address.ip() {
            return Ok(vec![SocketAddr::new(ip, address.port())]);
        }
        let address = address.clone();
        self.resolving.run(self.timeout, move || resolve(&address))
    }

    fn dial(&mut self, address: SocketAddr, options: &TcpOptions) -> io::Result<TcpStream> {
        let socket = options.socket(address)?;
        socket.connect_timeout(&address.into(), options.connect_timeout)?;
        TcpStream::new(socket.into(), options)
    }
}

/// Returns every address of a host.
pub(super) fn resolve(address: &HostPort) -> io::Result<Vec<SocketAddr>> {
    (address.host(), address.port()).to_socket_addrs().map(Iterator::collect)
}

/// Returns each address once, the two families by turns, in the resolver's order else: if one family has no way to the
/// host, only every other attempt is lost.
fn by_turns(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut unique: Vec<SocketAddr> = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    let favourite = unique.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        unique.into_iter().partition(|address| address.is_ipv6() == favourite);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return turns;
        }
        turns.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use mockall::predicate::eq;
    use proptest::prelude::*;

    use super::*;

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 7117)
    }

    fn v6(last: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)), 7117)
    }

    fn connector() -> TcpConnector {
        TcpConnector::new("host:7117".parse().unwrap())
    }

    fn net(addresses: Vec<SocketAddr>) -> MockNet {
        let mut net = MockNet::new();
        net.expect_resolve().return_once(move |_| Ok(addresses));
        net
    }

    #[test]
    fn connect_tries_families_by_turns_until_one_answers() {
        let mut net = net(vec![v6(1), v6(2), v6(2), v4(1), v4(2)]);
        let mut order = mockall::Sequence::new();
        for address in [v6(1), v4(1), v6(2)] {
            net.expect_dial()
                .with(eq(address), mockall::predicate::always())
                .times(1)
                .in_sequence(&mut order)
                .returning(|_, _| Err(io::ErrorKind::NetworkUnreachable.into()));
        }
        net.expect_dial()
            .with(eq(v4(2)), mockall::predicate::always())
            .times(1)
            .in_sequence(&mut order)
            .returning(|_, _| Ok(7));
        assert_eq!(connector().connect_through(&mut net).unwrap(), 7);
    }

    #[test]
    fn connect_all_fail_reports_the_failure_that_tells_most_and_its_address() {
        use io::ErrorKind as Kind;
        let most_telling_last = [
            Kind::NetworkUnreachable,
            Kind::HostUnreachable,
            Kind::TimedOut,
            Kind::ConnectionRefused,
            Kind::PermissionDenied,
        ];
        for (i, weaker) in most_telling_last.iter().enumerate() {
            for stronger in &most_telling_last[i + 1..] {
                for strong_first in [false, true] {
                    let (a, b) = if strong_first { (stronger, weaker) } else { (weaker, stronger) };
                    let mut net = net(vec![v4(1), v6(1)]);
                    let (a, b) = (*a, *b);
                    net.expect_dial().returning(move |address, _| {
                        Err(if address == v4(1) { a.into() } else { b.into() })
                    });
                    let error = connector().connect_through(&mut net).unwrap_err();
                    assert_eq!(error.kind(), *stronger);
                    let address = if strong_first { v4(1) } else { v6(1) };
                    let text = error.to_string();
                    assert!(text.contains(&address.ip().to_string()), "{text}");
                    assert!(text.starts_with("host:7117 ("), "{text}");
                    assert!(text.ends_with("; another address failed too"), "{text}");
                    assert!(error.source().is_some());
                }
            }
        }
    }

    #[test]
    fn connect_literal_address_is_named_once() {
        let mut net = net(vec![v4(1)]);
        net.expect_dial().returning(|_, _| Err(io::ErrorKind::ConnectionRefused.into()));
        let mut connector = TcpConnector::new(v4(1).into());
        let text = connector.connect_through(&mut net).unwrap_err().to_string();
        assert_eq!(text, "192.0.2.1:7117: connection refused");
    }

    #[test]
    fn connect_name_without_addresses_is_not_found() {
        let error = connector().connect_through(&mut net(Vec::new())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "host:7117: the name has no address");
    }

    #[test]
    fn connect_unknown_name_is_not_found_but_passes_where_it_was_known_before() {
        let mut unknown = MockNet::new();
        unknown.expect_resolve().returning(|_| Err(io::Error::other("name not known")));
        let mut connector = connector();
        let error = connector.connect_through(&mut unknown).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "host:7117: name not known");

        let mut known = net(vec![v4(1)]);
        known.expect_dial().returning(|_, _| Ok(1));
        connector.connect_through(&mut known).unwrap();
        let error = connector.connect_through(&mut unknown).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
    }

    #[test]
    fn connect_resolver_out_of_reach_passes() {
        for text in ["Temporary failure in name resolution", "Try again", "(os error 11002)"] {
            let mut net = MockNet::new();
            net.expect_resolve().returning(move |_| Err(io::Error::other(text)));
            let error = connector().connect_through(&mut net).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
        }
    }

    proptest! {
        #[test]
        fn by_turns_keeps_every_address_once_and_alternates(
            picks in prop::collection::vec((any::<bool>(), 0u8..6), 0..14),
        ) {
            let addresses: Vec<_> =
                picks.iter().map(|&(six, n)| if six { v6(n.into()) } else { v4(n) }).collect();
            let turns = by_turns(addresses.clone());
            for address in &addresses {
                prop_assert_eq!(turns.iter().filter(|a| *a == address).count(), 1);
            }
            prop_assert!(turns.iter().all(|a| addresses.contains(a)));
            prop_assert_eq!(turns.first(), addresses.first());
            for family in [true, false] {
                let ours: Vec<_> = turns.iter().filter(|a| a.is_ipv6() == family).collect();
                let place = |a: &SocketAddr| addresses.iter().position(|b| a == b);
                prop_assert!(ours.is_sorted_by_key(|a| place(a)));
            }
            let fewer = turns.iter().filter(|a| a.is_ipv6()).count();
            let fewer = fewer.min(turns.len() - fewer);
            for pair in turns.iter().take(2 * fewer).collect::<Vec<_>>().windows(2) {
                prop_assert_ne!(pair[0].is_ipv6(), pair[1].is_ipv6());
            }
        }
    }
}
