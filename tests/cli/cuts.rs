//! Connections that are lost again and again: the transfer finishes by itself, and little travels twice.
//!
//! With `HAUL_LONG=1`: 1 GiB, cut every 50 MiB.

use std::net::SocketAddr;
use std::time::Duration;
use std::{fs, thread};

use haul::config::Deadlines;
use haul::store::fs::{FsSource, FsStore};
use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions};
use haul::{Config, Server, Transfer};
use tempfile::tempdir;

use crate::common::{assert_same, is_long};
use crate::haul::{Haul, content, names};
use crate::proxy::{Cut, IN_PROXY, Proxy};

/// Returns the size of the file, and how many bytes a connection carries.
fn sizes() -> (usize, u64) {
    if is_long() { (1 << 30, 50 << 20) } else { (64 << 20, 16 << 20) }
}

/// Bytes of a connection that a process holds itself: at the sender a frame that is not full and the one that
/// filled it, at the receiver a frame of which the end did not come.
const IN_PROCESSES: u64 = 64 * 1024 + 2 * BLOCK;

/// A block in its frame, generously.
const BLOCK: u64 = 256 * 1024 + 1024;

/// Returns the most that a cut can cost: all that the sender gave away and the receiver did not
/// get.
const fn in_flight(send_buffer: u64) -> u64 {
    send_buffer + IN_PROXY + IN_PROCESSES
}

/// Returns the largest send buffer that the system gives a connection by itself.
fn largest_send_buffer() -> u64 {
    let limits = fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").expect("this is Linux");
    limits.split_whitespace().last().and_then(|most| most.parse().ok()).expect("a number")
}

fn check(proxy: &Proxy, resent: u64, send_buffer: u64) {
    let (size, every) = sizes();
    let carried = proxy.carried();
    println!("{carried:?}, {resent} bytes sent again");
    // The file alone fills so many connections.
    assert!(carried.cuts >= (size as u64 - 1) / every, "{carried:?}");
    // Where the machine is slow, a side may find the other silent that is not, and connect anew.
    let lost = carried.connections - 1;
    let bound = lost * in_flight(send_buffer);
    assert!(resent <= bound, "{resent} bytes sent again, {bound} at most; {carried:?}");
    let bound = size as u64 + lost * (IN_PROXY + BLOCK);
    assert!(carried.content <= bound, "{bound} at most; {carried:?}");
}

/// Runs both sides as processes. Neither knows that the connection goes through anything.
fn command_survives(cut: Cut) {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (size, every) = sizes();
    let bytes = content(11, size);
    let file = outbox.path().join("large");
    fs::write(&file, &bytes).unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
    let proxy = Proxy::new(&address, cut, std::iter::repeat(every));
    let alice =
        Haul::start(["send", "--insecure", "--json", file.to_str().unwrap(), &proxy.address]);
    let alice = alice.finish().code(0);
    bob.finish().code(0);
    assert_same(&fs::read(inbox.path().join("large")).unwrap(), &bytes);
    assert_eq!(names(inbox.path()), ["large"]);
    let events = alice.events();
    let retries = events.iter().filter(|event| event["event"] == "retry").count() as u64;
    assert!(retries >= proxy.carried().cuts, "{retries} retries, {:?}", proxy.carried());
    let finished = events.last().unwrap();
    assert_eq!(finished["event"], "finished", "{finished}");
    check(&proxy, finished["resent"].as_u64().unwrap(), largest_send_buffer());
}

#[test]
fn connection_closed_again_and_again_transfer_finishes_by_itself() {
    command_survives(Cut::Fin);
}

#[test]
fn connection_reset_again_and_again_transfer_finishes_by_itself() {
    command_survives(Cut::Rst);
}

#[test]
fn server_counts_files_and_bytes_of_all_connections() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (bytes, tree) = (content(13, 8_000_000), outbox.path().join("tree"));
    fs::create_dir(&tree).unwrap();
    for name in ["a", "b", "c", "d"] {
        fs::write(tree.join(name), &bytes).unwrap();
    }
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once", "--json"]);
    let proxy = Proxy::new(&address, Cut::Fin, [28_000_000]);
    let mut alice =
        Haul::start(["send", "--insecure", "--json", tree.to_str().unwrap(), &proxy.address]);
    alice.line(|line| line.contains("\"retry\""));
    for side in [alice, bob] {
        let events = side.finish().code(0).events();
        let finished = events.last().unwrap();
        let counted = ["files", "bytes"].map(|field| finished[field].as_u64().unwrap());
        assert_eq!(counted, [4, 32_000_000], "{finished}");
    }
}

/// As a library, because the deadlines of the command are long.
#[test]
fn connection_silent_again_and_again_transfer_finishes_by_itself() {
    let (outbox, inbox) = (tempdir().unwrap(), tempdir().unwrap());
    let (size, every) = sizes();
    let bytes = content(12, size);
    let file = outbox.path().join("large");
    fs::write(&file, &bytes).unwrap();
    let silence = Duration::from_millis(400);
    // Loopback: what a turn leaves in buffers is gone at once, and its answer is waited for no longer than anything else.
    let deadlines = Deadlines::default().silence(silence).rate(64 << 20);
    let config = || Config::default().deadlines(deadlines);
    let buffer = 256 * 1024;
    let tick = Duration::from_millis(20);
    let options = || TcpOptions::default().read_tick(tick).write_tick(tick).accept_tick(tick);
    let acceptor = TcpAcceptor::bind(&"127.0.0.1:0".parse().unwrap(), options()).unwrap();
    let address: SocketAddr = acceptor.local_addr().unwrap();
    let server = Server::new(acceptor, FsStore::open(inbox.path()).unwrap());
    let server = server.config(config()).run_once();
    let bob = thread::spawn(move || server.run(|_, _| ()));
    let proxy = Proxy::new(&address.to_string(), Cut::Silence, std::iter::repeat(every));
    let connector = TcpConnector::new(proxy.address.parse().unwrap());
    let mut connector = connector.options(options().send_buffer(Some(buffer)));
    let mut source = FsSource::new([&file]).unwrap();
    let sent = Transfer::new(config()).send_via(&mut source, &mut connector).unwrap();
    assert_eq!(bob.join().unwrap().unwrap().bytes, size as u64);
    assert_same(&fs::read(inbox.path().join("large")).unwrap(), &bytes);
    assert_eq!(names(inbox.path()), ["large"]);
    // Linux takes twice what it is asked for.
    check(&proxy, sent.resent, 2 * buffer as u64);
}
