//! Addresses of this machine by which others may reach it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use if_addrs::Interface;

/// Returns the addresses by which others reach a listener: that of the default route first, and then those of the other
/// interfaces that are up. Nothing is sent.
pub(crate) fn reachable(listening: SocketAddr) -> Vec<SocketAddr> {
    let ip = listening.ip().to_canonical();
    let found = if ip.is_unspecified() {
        let all = routed().into_iter().chain(of_interfaces());
        distinct(all.filter(|address| address.is_ipv4() || ip.is_ipv6()))
    } else {
        vec![ip]
    };
    found.into_iter().map(|ip| SocketAddr::new(ip, listening.port())).collect()
}

/// Returns the addresses that the way to everywhere else begins with.
fn routed() -> Vec<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): a way there is a way to everywhere else.
    let far = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let ways = [
        source(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        source(Ipv6Addr::UNSPECIFIED.into(), far.into()),
    ];
    ways.into_iter().filter_map(Result::ok).filter(may_be_reached).collect()
}

fn source(any: IpAddr, far: IpAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((far, 9))?;
    Ok(socket.local_addr()?.ip())
}

fn of_interfaces() -> Vec<IpAddr> {
    // Where the system does not tell, the route alone is known.
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let up = all.into_iter().filter(Interface::is_oper_up);
    // An address that holds on its link alone needs the name of an interface of the other machine.
    let up = up.filter(|interface| interface.ip().is_ipv4() || !interface.is_link_local());
    up.map(|interface| interface.ip()).filter(may_be_reached).collect()
}

fn may_be_reached(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_loopback()
}

/// Returns the first of these addresses, each once.
fn distinct(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    all.truncate(MOST);
    all
}

/// Most addresses that are shown: machines with many containers have an interface for each.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_that_is_listened_on_alone_is_the_only_one() {
        for text in ["127.0.0.1:7", "[::1]:7", "10.1.2.3:7"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(reachable(address), [address]);
        }
    }

    #[test]
    fn addresses_of_all_interfaces_are_those_that_others_may_reach() {
        let any = reachable("[::]:7".parse().unwrap());
        assert!(any.iter().all(|address| may_be_reached(&address.ip())), "{any:?}");
        let v4 = reachable("0.0.0.0:7".parse().unwrap());
        assert!(v4.iter().all(|address| address.is_ipv4() && any.contains(address)), "{v4:?}");
    }

    #[test]
    fn addresses_are_shown_once_and_no_more_than_a_few_in_their_order() {
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        let all = (0..20).map(|n| address(n / 2));
        assert_eq!(distinct(all), (0..8).map(address).collect::<Vec<_>>());
    }
}
