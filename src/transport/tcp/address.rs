//! A host and a port, as people write them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A host and a port: `host:7117`, `192.0.2.1:7117`, `[2001:db8::1]:7117`, `[fe80::1%eth0]:7117`.
///
/// The host is resolved when it is used, not when it is parsed, and anew each time.
///
/// ```
/// use haul::transport::tcp::{AddressError, HostPort};
///
/// let address: HostPort = "[::1]:7117".parse()?;
/// assert_eq!((address.host(), address.port()), ("::1", 7117));
/// assert_eq!("::1".parse::<HostPort>(), Err(AddressError::BareIpv6));
/// # Ok::<(), AddressError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Invariant: not empty; without brackets.
    host: Box<str>,
    port: u16,
}

impl HostPort {
    /// Returns the host: a name, or an IP address without brackets.
    #[must_use]
    pub const fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port. 0 asks a listener for any free one.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Returns the IP address, if the host is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for HostPort {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or(AddressError::OpenBracket)?;
                let ip = host.split_once('%').map_or(host, |(ip, _zone)| ip);
                if ip.parse::<Ipv6Addr>().is_err() {
                    return Err(AddressError::BadIpv6);
                }
                (host, after.strip_prefix(':').ok_or(AddressError::MissingPort)?)
            }
            None => {
                let (host, port) = text.rsplit_once(':').ok_or(AddressError::MissingPort)?;
                if host.contains(':') {
                    return Err(AddressError::BareIpv6);
                }
                (host, port)
            }
        };
        if host.is_empty() {
            return Err(AddressError::MissingHost);
        }
        if host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(AddressError::BadHost);
        }
        if port.is_empty() {
            return Err(AddressError::MissingPort);
        }
        // `u16::from_str` would also take a leading plus sign.
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::BadPort);
        }
        let port = port.parse().map_err(|_| AddressError::BadPort)?;
        Ok(Self { host: host.into(), port })
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(address) if address.scope_id() != 0 => {
                format!("{}%{}", address.ip(), address.scope_id())
            }
            _ => address.ip().to_string(),
        };
        Self { host: host.into(), port: address.port() }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Fault in the text of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The text is empty.
    #[error("the address is empty; write host:port")]
    Empty,
    /// No port stands after the host.
    #[error("the address has no port; write host:port")]
    MissingPort,
    /// The text after the colon is not a number from 0 to 65535.
    #[error("the port of the address is not a number from 0 to 65535")]
    BadPort,
    /// Nothing stands before the colon.
    #[error("the address has no host; write host:port")]
    MissingHost,
    /// The host holds spaces or control characters.
    #[error("the host of the address holds a space or control character")]
    BadHost,
    /// An IPv6 address without brackets: which colon starts the port is anyone's guess.
    #[error("an IPv6 address needs brackets; write [host]:port")]
    BareIpv6,
    /// A bracket is not closed.
    #[error("the address has an opening bracket and no closing one")]
    OpenBracket,
    /// The text in brackets is not an IPv6 address.
    #[error("the text in brackets is not an IPv6 address")]
    BadIpv6,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn host_port_well_formed_text_is_taken_apart() {
        for (text, host, port) in [
            ("host:7117", "host", 7117),
            ("192.0.2.1:0", "192.0.2.1", 0),
            ("[::1]:65535", "::1", 65535),
            ("[::ffff:192.0.2.1]:1", "::ffff:192.0.2.1", 1),
            ("[fe80::1%eth0]:22", "fe80::1%eth0", 22),
            ("a.b-c.example:007", "a.b-c.example", 7),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!((parsed.host(), parsed.port()), (host, port), "{text}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{text}");
        }
    }

    #[test]
    fn host_port_malformed_text_is_refused_by_what_is_wrong() {
        use AddressError as E;
        for (text, error) in [
            ("", E::Empty),
            ("host", E::MissingPort),
            ("host:", E::MissingPort),
            ("[::1]", E::MissingPort),
            ("[::1]:", E::MissingPort),
            ("[::1]7117", E::MissingPort),
            (":7117", E::MissingHost),
            (":", E::MissingHost),
            ("host:65536", E::BadPort),
            ("host:-1", E::BadPort),
            ("host:+1", E::BadPort),
            ("host:http", E::BadPort),
            ("host:1 ", E::BadPort),
            ("host: 1", E::BadPort),
            ("::1", E::BareIpv6),
            ("::1:7117", E::BareIpv6),
            ("a:b:1", E::BareIpv6),
            ("[::1", E::OpenBracket),
            ("[", E::OpenBracket),
            ("[]:1", E::BadIpv6),
            ("[host]:1", E::BadIpv6),
            ("[192.0.2.1]:1", E::BadIpv6),
            ("[%eth0]:1", E::BadIpv6),
            ("a b:1", E::BadHost),
            ("a\0b:1", E::BadHost),
            ("a\u{1b}[31m:1", E::BadHost),
            ("[::1%a\nb]:1", E::BadHost),
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn host_port_any_text_parses_or_fails_and_round_trips(text in "\\PC{0,12}|[\\[\\]:%a0-9.]{0,14}") {
            if let Ok(parsed) = text.parse::<HostPort>() {
                prop_assert_eq!(parsed.to_string().parse(), Ok(parsed));
            }
        }

        #[test]
        fn host_port_any_socket_address_keeps_ip_and_port(ip: IpAddr, port: u16) {
            let address = HostPort::from(SocketAddr::new(ip, port));
            prop_assert_eq!((address.ip(), address.port()), (Some(ip), port));
            prop_assert_eq!(address.to_string().parse(), Ok(address));
        }
    }
}
