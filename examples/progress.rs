//! A progress display. An `Observer` receives events, in the thread of the transfer.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "the two ends live in two threads")]

use std::error::Error;
use std::thread;
use std::time::Duration;

use haul::config::Turn;
use haul::store::{MemorySource, MemoryStore, Source};
use haul::transport::memory;
use haul::{Config, Event, Observer, RelPath, Server, Transfer};

fn main() -> Result<(), Box<dyn Error>> {
    let (mut connector, acceptor) = memory::network((64 * 1024).try_into()?);
    let server = Server::new(acceptor, MemoryStore::new()).run_once();
    let bob = thread::spawn(move || server.run(|_, _| ()));

    let mut source = MemorySource::new();
    for number in 1..=4 {
        let path = RelPath::parse(format!("disk {number}.img").as_bytes())?;
        source = source.file(path, vec![number; 3 << 20]);
    }
    let bar = Bar::new(source.total());

    // Progress is what the receiver has acknowledged, which it does at the end of a turn. Turns that are short for
    // so little content make the display move.
    let config = Config::default().turn(Turn::default().initial_bytes(1 << 20).max_bytes(2 << 20));
    let mut transfer = Transfer::new(config).observer(bar);
    transfer.send_via(&mut source, &mut connector)?;
    bob.join().map_err(|_| "the receiver panicked")??;

    println!("{}", transfer.into_observer().ending());
    Ok(())
}

/// State of a display. It could as well send all of it to a user interface through a channel.
struct Bar {
    /// Bytes of all entries, if the source knows them beforehand.
    total: Option<u64>,
    shown: u64,
    delivered: u64,
    refused: u64,
}

impl Bar {
    const fn new(total: Option<u64>) -> Self {
        Self { total, shown: 0, delivered: 0, refused: 0 }
    }

    /// Shows the progress. `bytes` never goes back, not even over a lost connection.
    fn show(&mut self, bytes: u64, offered: u64) {
        let total = self.total.unwrap_or(offered).max(1);
        let percent = bytes.saturating_mul(100) / total;
        if percent > self.shown {
            self.shown = percent;
            let filled = usize::try_from(percent / 5).unwrap_or(0);
            println!("[{:<20}] {percent:3} %", "#".repeat(filled));
        }
    }

    fn ending(&self) -> String {
        format!("{} delivered, {} refused", self.delivered, self.refused)
    }
}

impl Observer for Bar {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Progress { bytes, offered } => self.show(*bytes, *offered),
            // Bytes that have arrived are not yet a file that is held: only a receipt says that.
            Event::Delivered { receipt, .. } => {
                self.delivered += 1;
                println!("{} is {}", receipt.path, receipt.durability);
            }
            Event::Refused { reason, .. } => {
                self.refused += 1;
                println!("refused: {reason}");
            }
            _ => {}
        }
    }

    fn retry(&mut self, attempt: u32, cause: &haul::Error, pause: Duration) {
        println!("{cause}; attempt {attempt} follows in {} ms", pause.as_millis());
    }
}
