//! One file over TCP: both ends in one process, on a free port of this machine.
//!
//! Two programs do the same with half of this each; a port and an address are all that they need to agree on.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "the two ends live in two threads")]

use std::error::Error;
use std::thread;

use haul::store::fs::{FsSource, FsStore};
use haul::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions};
use haul::{Config, Event, Server, Transfer};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let acceptor = TcpAcceptor::bind(&"127.0.0.1:0".parse()?, TcpOptions::default())?;
    let address = acceptor.local_addr()?;

    let server = Server::new(acceptor, FsStore::open(&folder)?).run_once();
    let bob = thread::spawn(move || server.run(|_, peer| println!("called from {peer}")));

    // Should the connection be lost, `send_via` connects again and goes on where it was.
    let mut source = FsSource::new([file!()])?;
    let mut transfer = Transfer::new(Config::default()).observer(|event: &Event| {
        if let Event::Delivered { receipt, .. } = event {
            println!("{}  {} ({})", receipt.hash, receipt.path, receipt.durability);
        }
    });
    let summary = transfer.send_via(&mut source, &mut TcpConnector::new(address.into()))?;
    bob.join().map_err(|_| "the receiver panicked")??;

    assert!(summary.is_complete() && folder.path().join("tcp.rs").exists());
    Ok(())
}
