use std::error::Error as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::*;
use crate::transport::{Acceptor, Connector, Peer};

const SHORT: Duration = Duration::from_millis(40);

fn quick() -> TcpOptions {
    TcpOptions::default().read_tick(SHORT).write_tick(SHORT).accept_tick(SHORT)
}

fn bind(address: &str, options: TcpOptions) -> TcpAcceptor {
    TcpAcceptor::bind(&address.parse().unwrap(), options).unwrap()
}

/// Returns the byte at this offset: content is a function of the offset.
fn byte_at(offset: usize) -> u8 {
    ((offset * 31) >> 5).to_le_bytes()[0]
}

/// Returns a connector to where the acceptor listens, through this host.
fn to(host: &str, acceptor: &TcpAcceptor) -> TcpConnector {
    let port = acceptor.local_addr().unwrap().port();
    TcpConnector::new(format!("{host}:{port}").parse().unwrap())
}

fn pair(near: TcpOptions, far: TcpOptions) -> (TcpStream, TcpStream) {
    let mut acceptor = bind("127.0.0.1:0", far);
    let near = to("127.0.0.1", &acceptor).options(near).connect().unwrap();
    (near, acceptor.accept().unwrap().0)
}

fn tcp_error(error: &io::Error) -> &TcpError {
    error.get_ref().and_then(|error| error.downcast_ref()).unwrap()
}

#[test]
fn tcp_both_families_carry_bytes_and_name_their_peers() {
    for host in ["127.0.0.1", "[::1]"] {
        let mut acceptor = bind(&format!("{host}:0"), quick());
        let mut near = to(host, &acceptor).connect().unwrap();
        let (mut far, peer) = acceptor.accept().unwrap();
        assert_eq!(peer, Peer::Address(near.local_addr().unwrap()));
        assert_eq!(near.peer_addr().unwrap(), acceptor.local_addr().unwrap());
        near.write_all(b"there").unwrap();
        far.write_all(b"back").unwrap();
        let mut buffer = [0; 5];
        far.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"there");
        near.read_exact(&mut buffer[..4]).unwrap();
        assert_eq!(&buffer[..4], b"back");
        drop(near);
        assert_eq!(far.read(&mut buffer).unwrap(), 0);
    }
}

#[test]
fn acceptor_dual_stack_serves_both_families_and_shows_ipv4_as_such() {
    let mut acceptor = bind("[::]:0", quick());
    for host in ["127.0.0.1", "[::1]"] {
        let near = to(host, &acceptor).connect().unwrap();
        let (far, peer) = acceptor.accept().unwrap();
        let Peer::Address(address) = peer else { panic!("{peer}") };
        assert_eq!(address, near.local_addr().unwrap());
        assert_eq!(address.is_ipv4(), host == "127.0.0.1");
        assert_eq!(far.peer_addr().unwrap(), address);
    }
}

#[test]
fn acceptor_without_dual_stack_refuses_ipv4() {
    let acceptor = bind("[::]:0", quick().dual_stack(false));
    let error = to("127.0.0.1", &acceptor).connect().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    to("[::1]", &acceptor).connect().unwrap();
}

#[test]
fn acceptor_nobody_comes_ticks_and_goes_on() {
    let mut acceptor = bind("127.0.0.1:0", quick());
    for _ in 0..2 {
        let start = Instant::now();
        let kind = acceptor.accept().unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{kind:?}");
        assert!(start.elapsed() >= SHORT / 2);
    }
    let _near = to("127.0.0.1", &acceptor).connect().unwrap();
    acceptor.accept().unwrap();
}

#[test]
fn stream_without_data_or_room_ticks_and_loses_nothing() {
    let (mut near, mut far) = pair(quick(), quick());
    let ticked = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
    assert!(ticked(far.read(&mut [0]).unwrap_err().kind()));
    let mut sent = 0_usize;
    let chunk = |from: usize| (from..from + 50_021).map(byte_at).collect::<Vec<_>>();
    loop {
        match near.write(&chunk(sent)) {
            Ok(count) => sent += count,
            Err(error) => {
                assert!(ticked(error.kind()));
                break;
            }
        }
    }
    drop(near);
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), sent);
    assert!(got.iter().enumerate().all(|(i, &byte)| byte == byte_at(i)));
}

/// Writes until nothing more fits, leaves what came unread, and drops; returns what of it arrived.
fn say_and_leave(options: TcpOptions) -> (usize, io::Result<Vec<u8>>) {
    let (mut near, mut far) = pair(options, quick());
    far.write_all(&[1; 1000]).unwrap();
    // The input is there before the drop, and not because of luck.
    near.get_ref().peek(&mut [0]).unwrap();
    let mut sent = 0;
    while let Ok(count) = near.write(&[2; 1 << 16]) {
        sent += count;
    }
    thread::scope(|scope| {
        scope.spawn(|| drop(near));
        let mut got = Vec::new();
        let result = loop {
            let mut buffer = [0; 1 << 16];
            match far.read(&mut buffer) {
                Ok(0) => break Ok(got),
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => break Err(error),
            }
        };
        (sent, result)
    })
}

#[test]
fn stream_dropped_with_unread_input_still_delivers_its_last_bytes() {
    let (sent, result) = say_and_leave(quick());
    assert_eq!(result.unwrap().len(), sent);
}

/// The loss that the test above guards against does happen.
#[test]
fn stream_dropped_without_close_wait_loses_its_last_bytes() {
    let (_, result) = say_and_leave(quick().close_wait(Duration::ZERO));
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn stream_drop_takes_what_comes_after_it_too() {
    let (mut near, mut far) = pair(quick(), quick());
    near.write_all(b"no").unwrap();
    thread::scope(|scope| {
        scope.spawn(|| drop(near));
        let mut word = [0; 2];
        far.read_exact(&mut word).unwrap();
        // In the middle of its turn the peer goes on for a while before it looks.
        for _ in 0..20 {
            far.write_all(&[0; 1 << 15]).unwrap();
        }
        assert_eq!(far.read(&mut word).unwrap(), 0);
    });
}

#[test]
fn stream_drop_of_a_peer_that_never_stops_ends_in_time() {
    let wait = Duration::from_millis(300);
    let (mut near, mut far) = pair(quick().close_wait(wait), quick());
    near.write_all(b"because").unwrap();
    let start = Instant::now();
    let elapsed = thread::scope(|scope| {
        let dropped = scope.spawn(move || {
            drop(near);
            start.elapsed()
        });
        // Goes on until the connection is no more; short of room it tries again.
        while far.write(&[0; 1 << 12]).map_or_else(|e| e.kind() == ErrorKind::WouldBlock, |_| true)
        {
        }
        dropped.join().unwrap()
    });
    assert!(elapsed < wait + Duration::from_secs(5), "{elapsed:?}");
}

#[test]
fn stream_drop_after_nothing_was_written_does_not_wait_for_a_peer_that_never_stops() {
    let (near, mut far) = pair(quick().close_wait(Duration::from_secs(1000)), quick());
    thread::scope(|scope| {
        scope.spawn(move || drop(near));
        while far.write(&[0; 1 << 12]).map_or_else(|e| e.kind() == ErrorKind::WouldBlock, |_| true)
        {
        }
    });
}

#[test]
fn stream_drop_after_the_end_of_the_peer_does_not_wait() {
    let (near, mut far) = pair(quick(), quick().close_wait(Duration::from_secs(60)));
    let closing = thread::spawn(move || drop(near));
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    let start = Instant::now();
    drop(far);
    closing.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn connect_refused_names_the_address() {
    for host in ["127.0.0.1", "[::1]"] {
        let acceptor = bind(&format!("{host}:0"), quick());
        let mut connector = to(host, &acceptor);
        let address = acceptor.local_addr().unwrap();
        drop(acceptor);
        let error = connector.connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("{address}: ")), "{error}");
        assert!(error.source().is_some());
        assert!(matches!(tcp_error(&error), TcpError::Failed { tried, .. } if *tried == address));
    }
}

#[test]
fn connect_by_name_finds_whichever_family_listens() {
    for host in ["127.0.0.1", "[::1]"] {
        let mut acceptor = bind(&format!("{host}:0"), quick());
        // Not every machine has both families in its table of hosts.
        let names = resolve_localhost();
        if names.contains(&acceptor.local_addr().unwrap().ip()) {
            let _near = to("localhost", &acceptor).connect().unwrap();
            acceptor.accept().unwrap();
        }
    }
}

fn resolve_localhost() -> Vec<IpAddr> {
    let address = "localhost:1".parse().unwrap();
    super::connect::resolve(&address).unwrap().iter().map(SocketAddr::ip).collect()
}

#[test]
fn connector_connects_as_often_as_asked() {
    let mut acceptor = bind("127.0.0.1:0", quick());
    let mut connector = to("127.0.0.1", &acceptor);
    for round in 0..5u8 {
        let mut near = connector.connect().unwrap();
        let (mut far, _) = acceptor.accept().unwrap();
        near.write_all(&[round]).unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [round]);
        thread::scope(|scope| {
            scope.spawn(|| drop(near));
            drop(far);
        });
    }
}

#[test]
fn bind_port_in_use_says_so() {
    let acceptor = bind("127.0.0.1:0", quick());
    let address = acceptor.local_addr().unwrap();
    let error = TcpAcceptor::bind(&address.into(), quick()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[test]
fn bind_again_right_after_a_connection_works() {
    let mut acceptor = bind("127.0.0.1:0", quick());
    let address = acceptor.local_addr().unwrap();
    let mut near = to("127.0.0.1", &acceptor).connect().unwrap();
    let (far, _) = acceptor.accept().unwrap();
    // The listening side closes first, so that its port is the one that lingers.
    let closing = thread::spawn(move || drop(far));
    assert_eq!(near.read(&mut [0]).unwrap(), 0);
    drop(near);
    closing.join().unwrap();
    drop(acceptor);
    TcpAcceptor::bind(&address.into(), quick()).unwrap();
}

#[test]
fn bind_address_of_another_machine_is_not_available() {
    let error = TcpAcceptor::bind(&"192.0.2.99:0".parse().unwrap(), quick()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
}

#[test]
fn options_default_are_set_on_both_ends() {
    let (near, far) = pair(TcpOptions::default(), TcpOptions::default());
    for stream in [&near, &far] {
        let socket = SockRef::from(stream.get_ref());
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.read_timeout().unwrap(), Some(Duration::from_secs(1)));
        assert_eq!(socket.write_timeout().unwrap(), Some(Duration::from_secs(1)));
        assert_eq!(socket.linger().unwrap(), None);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(60)));
    }
}

#[test]
fn options_each_reaches_the_socket_of_both_ends() {
    let options = TcpOptions::default()
        .nodelay(false)
        .keepalive(None)
        .user_timeout(None)
        .send_buffer(Some(20_000))
        .receive_buffer(Some(30_000))
        .read_tick(Duration::ZERO)
        .write_tick(Duration::from_millis(200))
        .linger(Some(Duration::from_secs(3)));
    let (near, far) = pair(options.clone(), options);
    for stream in [&near, &far] {
        let socket = SockRef::from(stream.get_ref());
        assert!(!socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
        // Linux doubles what is asked for, others do not.
        assert!((20_000..=40_000).contains(&socket.send_buffer_size().unwrap()));
        assert!((30_000..=60_000).contains(&socket.recv_buffer_size().unwrap()));
        let read_tick = socket.read_timeout().unwrap().unwrap();
        assert!(!read_tick.is_zero() && read_tick < Duration::from_millis(100));
        assert_eq!(socket.write_timeout().unwrap(), Some(Duration::from_millis(200)));
        assert_eq!(socket.linger().unwrap(), Some(Duration::from_secs(3)));
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn options_of_linux_reach_the_socket_of_both_ends() {
    // `reno` is the one that every Linux has.
    let options = quick().congestion(Some("reno".into())).notsent_low_water(Some(65_536));
    let (near, far) = pair(options.clone(), options);
    for stream in [&near, &far] {
        let socket = SockRef::from(stream.get_ref());
        assert!(socket.tcp_congestion().unwrap().starts_with(b"reno"));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), 65_536);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn options_unknown_congestion_control_is_named_when_binding_and_connecting() {
    let options = quick().congestion(Some("nosuch".into()));
    let error = TcpAcceptor::bind(&"127.0.0.1:0".parse().unwrap(), options.clone()).unwrap_err();
    assert!(error.to_string().contains("cannot set congestion: "), "{error}");
    let acceptor = bind("127.0.0.1:0", quick());
    let error = to("127.0.0.1", &acceptor).options(options).connect().unwrap_err();
    assert!(error.to_string().contains("cannot set congestion: "), "{error}");
}

#[test]
fn options_multipath_works_with_and_without_a_peer_that_has_it() {
    for far in [quick(), quick().multipath(true)] {
        let (mut near, mut far) = pair(quick().multipath(true), far);
        near.write_all(b"paths").unwrap();
        let mut buffer = [0; 5];
        far.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"paths");
    }
}

#[test]
fn ipv6_unspecified_is_kept_where_it_is_no_ipv4() {
    let address = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 1);
    assert_eq!(super::stream::canonical(address), address);
}
