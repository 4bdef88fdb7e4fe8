use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::testing::fault_stream::{Direction, FaultKind, Faulty, StreamFault};
use crate::transport::Threaded;
use crate::transport::memory::{self, Pipe};

fn capacity(bytes: usize) -> NonZeroUsize {
    NonZeroUsize::new(bytes).unwrap()
}

#[test]
fn memory_conforms_at_any_capacity() {
    thread::scope(|scope| {
        for bytes in [1, 7, 65_536] {
            scope.spawn(move || {
                check(move || {
                    let (mut connector, mut acceptor) = memory::network(capacity(bytes));
                    connector.set_timeout(Some(TICK));
                    acceptor.set_timeout(Some(TICK));
                    (connector, acceptor)
                });
                let (near, far) = memory::pipe(capacity(bytes));
                last_bytes_survive_unread_input(near, far);
            });
        }
    });
}

#[test]
fn memory_with_default_ticks_returns_in_time() {
    let (mut near, _far) = memory::pipe(capacity(3));
    let error = in_time("read", || near.read(&mut [0])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[cfg(feature = "tcp")]
#[test]
fn tcp_conforms_in_both_families() {
    use crate::transport::tcp::{TcpAcceptor, TcpConnector, TcpOptions};

    let options = || TcpOptions::default().read_tick(TICK).write_tick(TICK).accept_tick(TICK);
    let make_pair = move |host: &str| {
        let address = format!("{host}:0").parse().unwrap();
        let acceptor = TcpAcceptor::bind(&address, options()).unwrap();
        let address = acceptor.local_addr().unwrap().into();
        (TcpConnector::new(address).options(options()), acceptor)
    };
    thread::scope(|scope| {
        for host in ["127.0.0.1", "[::1]"] {
            scope.spawn(move || {
                check(move || make_pair(host));
                let (mut connector, mut acceptor) = make_pair(host);
                let (near, far, _) = open(&mut connector, &mut acceptor);
                last_bytes_survive_unread_input(near, far);
            });
        }
    });
}

#[cfg(unix)]
#[test]
fn unix_conforms() {
    use crate::transport::unix::{UnixAcceptor, UnixConnector};

    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    let mut make_pair = move || {
        number += 1;
        let path = folder.path().join(number.to_string());
        let acceptor = UnixAcceptor::bind(&path).unwrap().tick(TICK).unwrap();
        (UnixConnector::new(path).tick(TICK), acceptor)
    };
    let (mut connector, mut acceptor) = make_pair();
    let (near, far, _) = open(&mut connector, &mut acceptor);
    last_bytes_survive_unread_input(near, far);
    check(make_pair);
}

/// A line over pipes: what they carry is lost and changed by nobody, but they hold as little as can be.
#[test]
fn line_conforms_at_any_capacity() {
    use crate::transport::Line;

    let make_pair = |bytes: usize| {
        let (mut near, mut far) = memory::pipe(capacity(bytes));
        // Where both ends write at a time, a pipe of one byte passes one in a tick.
        near.set_timeout(Some(TICK / 10));
        far.set_timeout(Some(TICK / 10));
        let rate = std::num::NonZeroU32::new(1_000_000).unwrap();
        let line = |pipe| Line::new(pipe, rate).connect_timeout(LONGEST);
        (line(near), line(far))
    };
    thread::scope(|scope| {
        for bytes in [1, 7, 65_536] {
            scope.spawn(move || check_one_at_a_time(move || make_pair(bytes)));
        }
    });
}

/// Ends whose calls block for ever, as those of a serial port do: the threads stay, and take nothing of the next
/// connection.
#[test]
fn line_conforms_over_threads_that_it_keeps() {
    use crate::transport::Line;

    check_one_at_a_time(|| {
        let line = |mut reader: Pipe, mut writer: Pipe| {
            reader.set_timeout(None);
            writer.set_timeout(None);
            let mut stream = Threaded::with_capacity(capacity(1000), reader, writer).unwrap();
            stream.set_timeout(Some(TICK));
            let rate = std::num::NonZeroU32::new(1_000_000).unwrap();
            Line::new(stream, rate).connect_timeout(LONGEST)
        };
        let (near_reader, far_writer) = memory::pipe(capacity(100));
        let (far_reader, near_writer) = memory::pipe(capacity(100));
        (line(near_reader, near_writer), line(far_reader, far_writer))
    });
}

#[test]
fn threaded_conforms_over_pipes_that_never_return() {
    let make_pair = || {
        let (mut reader, mut far) = memory::pipe(capacity(100));
        reader.set_timeout(None);
        far.set_timeout(Some(TICK));
        let (mut writer, mut back) = memory::pipe(capacity(100));
        writer.set_timeout(None);
        back.set_timeout(Some(TICK));
        let mut near = Threaded::with_capacity(capacity(1000), reader, writer).unwrap();
        near.set_timeout(Some(TICK));
        (near, Halves { reader: back, writer: far })
    };
    let (near, far) = make_pair();
    bytes_arrive_in_order(near, far);
    let (near, far) = make_pair();
    turns_pass_to_and_fro(near, far);
    let (near, far) = make_pair();
    end_comes_after_the_last_byte(near, far);
    let (near, far) = make_pair();
    end_comes_after_the_last_byte(far, near);
    let (near, far) = make_pair();
    writes_fail_when_the_peer_is_gone(near, far);
    let (near, far) = make_pair();
    calls_return_in_ticks(near, far);
    let (near, far) = make_pair();
    calls_return_in_ticks(far, near);
}

/// A command that passes bytes on between its standard streams and two named pipes, whose other ends are the far side.
#[cfg(unix)]
#[test]
fn exec_conforms_where_the_far_side_is_a_command_with_pipes() {
    use crate::transport::exec::{ExecConnector, ExecStream};
    use std::fs::{File, OpenOptions};
    use std::process::Command;

    fn make_pair() -> (ExecStream, Threaded) {
        let folder = tempfile::tempdir().unwrap();
        let (there, back) = (folder.path().join("there"), folder.path().join("back"));
        assert!(Command::new("mkfifo").args([&there, &back]).status().unwrap().success());
        let script = r#"cat <"$2" & exec cat >"$1""#;
        let arguments =
            ["-c".as_ref(), script.as_ref(), "sh".as_ref(), there.as_os_str(), back.as_os_str()];
        let mut near = ExecConnector::program("sh", arguments).connect().unwrap();
        near.set_timeout(Some(TICK));
        let writer = OpenOptions::new().write(true).open(back).unwrap();
        let mut far = Threaded::new(File::open(there).unwrap(), writer).unwrap();
        far.set_timeout(Some(TICK));
        (near, far)
    }

    let (near, far) = make_pair();
    bytes_arrive_in_order(near, far);
    let (near, far) = make_pair();
    turns_pass_to_and_fro(near, far);
    let (near, far) = make_pair();
    calls_return_in_ticks(near, far);
    let (near, far) = make_pair();
    calls_return_in_ticks(far, near);
    let (near, far) = make_pair();
    end_comes_after_the_last_byte(near, far);
}

/// The suite catches what it is there for.
#[test]
fn check_of_a_stream_that_breaks_the_contract_fails() {
    let in_order = |kind: FaultKind, direction| {
        let (near, far) = memory::pipe(capacity(64));
        let near = Faulty::new(near, [StreamFault::new(direction, 10_000, kind)]);
        fails(|| bytes_arrive_in_order(near, far))
    };
    for direction in [Direction::Read, Direction::Write] {
        for kind in [
            FaultKind::Flip(3),
            FaultKind::Delete,
            FaultKind::Insert(1),
            FaultKind::Duplicate,
            FaultKind::Lie,
            FaultKind::End,
            FaultKind::Error(io::ErrorKind::ConnectionReset),
        ] {
            assert!(in_order(kind, direction), "{kind:?} {direction:?}");
        }
        for kind in [FaultKind::Short, FaultKind::Interrupted, FaultKind::WouldBlock] {
            assert!(!in_order(kind, direction), "{kind:?} {direction:?}");
        }
    }

    let (near, far) = memory::pipe(capacity(64));
    let error = FaultKind::Error(io::ErrorKind::ConnectionReset);
    let at_end = StreamFault::new(Direction::Read, (LENGTH / 4) as u64, error);
    assert!(fails(|| end_comes_after_the_last_byte(near, Faulty::new(far, [at_end]))));

    let (mut near, _far) = memory::pipe(capacity(64));
    near.set_timeout(Some(TICK));
    assert!(fails(|| drop(within(TICK / 2, "read", || near.read(&mut [0])))));
}

fn fails(check: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(check)).is_err()
}

struct Halves {
    reader: Pipe,
    writer: Pipe,
}

impl Read for Halves {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for Halves {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Short, so that the tests are.
const TICK: Duration = Duration::from_millis(50);

#[test]
fn check_of_streams_that_never_return_fails_in_time_and_says_which() {
    let caught = catch_unwind(|| {
        // Nothing that one end writes reaches the other, and nothing ever ends.
        let make_pair = || {
            let (mut connector, acceptor) = memory::network(capacity(1));
            connector.set_timeout(None);
            (Stuck(connector), acceptor)
        };
        check_within(make_pair, Duration::from_millis(50), Connections::Many);
    });
    let panic = caught.unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert!(said.starts_with("bytes_arrive_in_order: no end after 50ms"), "{said}");
}

/// Connector to a peer of which it keeps the other end to itself.
struct Stuck(memory::MemoryConnector);

impl Connector for Stuck {
    type Stream = Mute;

    fn connect(&mut self) -> io::Result<Mute> {
        let _served = self.0.connect()?;
        let (mut near, far) = memory::pipe(capacity(1));
        near.set_timeout(None);
        Ok(Mute { near, _far: far, _served })
    }
}

struct Mute {
    near: Pipe,
    _far: Pipe,
    _served: Pipe,
}

impl Read for Mute {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.near.read(buffer)
    }
}

impl Write for Mute {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.near.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.near.flush()
    }
}
