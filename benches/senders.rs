//! Decides how many sessions a server has at a time by default: 32 senders come at once, over TCP, each with a few files that
//! are synced. Those that find no place wait in the session. The default should take at most 1/0.9 of the best setting. And
//! decides whether strangers keep a sender waiting: with 300 of them that are connected and silent it should be served within 2 s.
//!
//! `cargo bench --bench senders`. It runs in the target folder, which should be on the kind of disk that is asked about.
#![expect(clippy::disallowed_methods, reason = "files, sockets and threads are what is measured")]
#![expect(clippy::print_stdout, reason = "ratios are what it is for")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should say so and stop")]

#[expect(dead_code, reason = "what is sent here has several files")]
mod common;

use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use haul::store::MemorySource;
use haul::store::fs::FsStore;
use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions};
use haul::{CancelToken, Config, Durability, RelPath, Retry, Server, Transfer};

const SENDERS: usize = 32;
const STRANGERS: usize = 300;

fn main() {
    let sessions = [8, 1, 2, 4, 16, 32];
    let names = sessions.map(|sessions| format!("{sessions} sessions"));
    for (files, bytes) in [(1, 4 << 20), (32, 16 << 10)] {
        let group = format!("senders: {SENDERS} at once, {files} files of {bytes} bytes each");
        common::compare(&group, &names, |number| send(sessions[number], files, bytes));
    }
    let rounds = if std::env::args().any(|argument| argument == "--bench") { 21 } else { 1 };
    for strangers in [0, STRANGERS] {
        let longest = (0..rounds).map(|_| serve_among(strangers)).max().unwrap_or_default();
        println!("senders: one among {strangers} strangers is served within {longest:.2?}");
    }
}

/// Time until a sender of 1 KiB has its receipt, of a server to which so many strangers are connected.
fn serve_among(strangers: usize) -> Duration {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let acceptor =
        TcpAcceptor::bind(&"127.0.0.1:0".parse().expect("an address"), TcpOptions::default());
    let acceptor = acceptor.expect("loopback does not fail");
    let address = acceptor.local_addr().expect("it is bound");
    let store = FsStore::open(folder.path()).expect("the folder is there");
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let server = Server::new(acceptor, store).cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        let strangers: Vec<_> = (0..strangers)
            .map(|_| TcpStream::connect(address).expect("loopback does not fail"))
            .collect();
        let began = Instant::now();
        let name = RelPath::parse(b"file").expect("a name");
        let mut source = MemorySource::new().file(name, vec![7; 1024]);
        let mut connector = TcpConnector::new(address.to_string().parse().expect("an address"));
        let mut transfer =
            Transfer::new(Config::default()).retry(Retry::default().before_first_contact());
        let sent = transfer.send_via(&mut source, &mut connector).expect("sent");
        let time = began.elapsed();
        assert_eq!(sent.delivered, 1);
        drop(strangers);
        cancel.cancel();
        server.join().expect("no panic").expect_err("it was cancelled");
        time
    })
}

fn send(sessions: usize, files: usize, bytes: usize) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
    let options = TcpOptions::default();
    let acceptor = TcpAcceptor::bind(&"127.0.0.1:0".parse().expect("an address"), options)
        .expect("loopback does not fail");
    let address = acceptor.local_addr().expect("it is bound").to_string();
    let connector = TcpConnector::new(address.parse().expect("an address"));
    let store = FsStore::open(folder.path()).expect("the folder is there");
    let config = Config::default().durability(Durability::Synced);
    let cancel = CancelToken::new();
    thread::scope(|scope| {
        let server = Server::new(acceptor, store).sessions(sessions);
        let server = server.config(config).cancel(cancel.clone());
        let server = scope.spawn(move || server.run(|_, _| ()));
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let mut connector = connector.clone();
                scope.spawn(move || {
                    let mut source = MemorySource::new();
                    for file in 0..files {
                        let name = RelPath::parse(format!("{sender}/{file}").as_bytes());
                        source = source.file(name.expect("a name"), vec![7; bytes]);
                    }
                    let retry = Retry::default().before_first_contact();
                    let mut transfer = Transfer::new(Config::default()).retry(retry);
                    transfer.send_via(&mut source, &mut connector).expect("sent")
                })
            })
            .collect();
        for sender in senders {
            let sent = sender.join().expect("no panic");
            assert_eq!(sent.delivered, files as u64);
        }
        cancel.cancel();
        server.join().expect("no panic").expect_err("it was cancelled");
    });
}
