//! A file over a serial port, or over anything else that is a terminal.
//!
//! ```text
//! serial receive FOLDER /dev/ttyUSB0 [BAUD]
//! serial send    FILE   /dev/ttyUSB0 [BAUD]
//! ```
//!
//! The port is put in raw mode at 9600 baud, eight bits, no parity, unless told otherwise. `Line` makes
//! connections of it: bytes that are lost are repaired, and either end may be started first, stopped, and started again.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use haul::store::fs::{FsSource, FsStore};
use haul::transport::{Line, Listening};
use haul::{Config, Event, Retry, Transfer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (role, path, port, baud) = match arguments.as_slice() {
        [role, path, port] => (role, path, port, 9600),
        [role, path, port, baud] => (role, path, port, baud.to_string_lossy().parse()?),
        _ => {
            return Err("serial send FILE PORT [BAUD], or serial receive FOLDER PORT [BAUD]".into());
        }
    };
    // A byte takes ten bits on the line.
    let rate = NonZeroU32::new(baud / 10).ok_or("a rate of nothing")?;
    let port = Port::open(port.as_ref(), baud)?;
    let line = Line::new(port, rate).name("serial port");
    let report = |event: &Event| {
        if let Event::Delivered { receipt, .. } = event {
            println!("{}  {} ({})", receipt.hash, receipt.path, receipt.durability);
        }
    };
    let transfer = Transfer::new(Config::for_rate(rate.get().into())).observer(report);
    // Whoever is started first waits for the other one.
    let mut transfer = transfer.retry(Retry::patiently(Duration::from_secs(600)));
    let summary = if role == OsStr::new("send") {
        let mut line = line;
        transfer.send_via(&mut FsSource::new([path])?, &mut line)?
    } else {
        transfer.receive_via(&FsStore::open(path)?, &mut Listening::new(line))?
    };
    if summary.is_complete() { Ok(()) } else { Err("not everything was delivered".into()) }
}

/// A serial port whose calls return after half a second.
struct Port(File);

impl Port {
    fn open(path: &Path, baud: u32) -> io::Result<Self> {
        // Without waiting for a carrier, and without making it the terminal of this process.
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(flags.cast_signed());
        let port = options.open(path)?;
        let mut settings = tcgetattr(&port)?;
        // Every value of a byte passes, and nothing is echoed, added or left out.
        settings.make_raw();
        settings.set_speed(baud)?;
        tcsetattr(&port, OptionalActions::Now, &settings)?;
        // What came before is of no use. What comes in the midst of a frame would do no harm either.
        tcflush(&port, QueueSelector::IFlush)?;
        Ok(Self(port))
    }

    /// Waits until the port has something to give or to take.
    fn wait(&self, for_what: PollFlags) -> io::Result<()> {
        let half_a_second = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
        match poll(&mut [PollFd::new(&self.0, for_what)], Some(&half_a_second))? {
            0 => Err(ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

impl Read for Port {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN)?;
        self.0.read(buffer)
    }
}

impl Write for Port {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT)?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        // What was written is on its way. Waiting for it would block.
        Ok(())
    }
}
