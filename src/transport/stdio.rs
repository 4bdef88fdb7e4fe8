//! The standard streams of this process as one stream: the far end of a pipe as `ssh` makes it.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::Threaded;

/// Standard input and output as one stream.
///
/// They have no timeouts, so this is a [`Threaded`] stream, with ticks, flush and drop as its doc describes.
///
/// - Have one at a time: standard input is read ahead.
/// - Nothing else may print to standard output: it would stand in the midst of the peer's messages.
/// - On Unix and Windows the buffers of [`std::io::stdin`] and [`std::io::stdout`] are passed by, so what they hold
///   already is not seen here; the descriptors are duplicates, so that dropping this does not close those of the
///   process.
#[derive(Debug)]
pub struct Stdio(Threaded);

impl Stdio {
    /// Takes the standard streams.
    ///
    /// # Errors
    ///
    /// The system has no thread or descriptor to give.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = halves()?;
        Threaded::new(reader, writer).map(Self)
    }

    /// Sets how long a call waits; see [`Threaded::set_timeout`].
    pub const fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.0.set_timeout(timeout);
    }
}

impl Read for Stdio {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Stdio {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Returns the bare descriptors: the standard library's handle for output looks for line ends, and the one for input
/// is locked for as long as a read waits.
#[cfg(unix)]
fn halves() -> io::Result<(std::fs::File, std::fs::File)> {
    use std::os::fd::AsFd;
    let reader = io::stdin().as_fd().try_clone_to_owned()?;
    let writer = io::stdout().as_fd().try_clone_to_owned()?;
    Ok((reader.into(), writer.into()))
}

#[cfg(windows)]
fn halves() -> io::Result<(std::fs::File, std::fs::File)> {
    use std::os::windows::io::AsHandle;
    let reader = io::stdin().as_handle().try_clone_to_owned()?;
    let writer = io::stdout().as_handle().try_clone_to_owned()?;
    Ok((reader.into(), writer.into()))
}

#[cfg(not(any(unix, windows)))]
fn halves() -> io::Result<(io::Stdin, io::Stdout)> {
    Ok((io::stdin(), io::stdout()))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio as Redirect};

    use super::*;

    /// Not a test of its own: the other one runs it in a process of its own.
    #[test]
    #[ignore = "echoes standard input, for the other test"]
    fn child_echo() {
        let mut stream = Stdio::new().unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        stream.write_all(b"<<").unwrap();
        stream.write_all(&got).unwrap();
        stream.write_all(b">>").unwrap();
        // No flush: the drop has to see to it.
    }

    #[test]
    fn stdio_carries_every_byte_both_ways() {
        let sent: Vec<u8> = (0..300_000_u32).map(|i| ((i * 31) >> 3).to_le_bytes()[0]).collect();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "transport::stdio::tests::child_echo", "--ignored", "--nocapture"])
            .stdin(Redirect::piped())
            .stdout(Redirect::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&sent).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let expected = [b"<<", &sent[..], b">>"].concat();
        assert!(output.stdout.windows(expected.len()).any(|window| window == expected));
    }
}
