use std::io::ErrorKind;
use std::thread;
use std::time::Instant;

use super::*;

const SHORT: Duration = Duration::from_millis(40);

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    (folder, path)
}

fn bind(path: &Path) -> UnixAcceptor {
    UnixAcceptor::bind(path).unwrap().tick(SHORT).unwrap()
}

/// Returns the byte at this offset: content is a function of the offset.
fn byte_at(offset: usize) -> u8 {
    ((offset * 31) >> 5).to_le_bytes()[0]
}

fn ticked(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Leaves a socket file on which nobody listens, as a killed process does.
fn leave_stale(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
    assert!(path.exists());
}

#[test]
fn unix_carries_bytes_both_ways_and_ends() {
    let (_folder, path) = folder();
    let mut acceptor = bind(&path);
    let mut near = UnixConnector::new(&path).tick(SHORT).connect().unwrap();
    let (mut far, peer) = acceptor.accept().unwrap();
    assert_eq!(peer, Peer::Path(path));
    near.write_all(b"there").unwrap();
    far.write_all(b"back").unwrap();
    let mut buffer = [0; 5];
    far.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"there");
    assert!(ticked(far.read(&mut buffer).unwrap_err().kind()));
    near.read_exact(&mut buffer[..4]).unwrap();
    assert_eq!(&buffer[..4], b"back");
    drop(near);
    assert_eq!(far.read(&mut buffer).unwrap(), 0);
    assert_eq!(far.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn acceptor_nobody_comes_ticks_and_goes_on() {
    let (_folder, path) = folder();
    let mut acceptor = bind(&path);
    let start = Instant::now();
    assert!(ticked(acceptor.accept().unwrap_err().kind()));
    assert!(start.elapsed() >= SHORT / 2);
    let _near = UnixConnector::new(&path).connect().unwrap();
    acceptor.accept().unwrap();
}

#[test]
fn stream_without_room_ticks_and_loses_nothing() {
    let (near, far) = net::UnixStream::pair().unwrap();
    let mut near = UnixStream::new(near, SHORT).unwrap();
    let mut far = UnixStream::new(far, SHORT).unwrap();
    let mut sent = 0_usize;
    let error = loop {
        let chunk: Vec<_> = (sent..sent + 30_011).map(byte_at).collect();
        match near.write(&chunk) {
            Ok(count) => sent += count,
            Err(error) => break error,
        }
    };
    assert!(ticked(error.kind()));
    let mut got = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| drop(near));
        far.read_to_end(&mut got).unwrap();
    });
    assert_eq!(got.len(), sent);
    assert!(got.iter().enumerate().all(|(i, &byte)| byte == byte_at(i)));
}

#[test]
fn stream_dropped_with_unread_input_still_delivers_its_last_bytes() {
    let (near, far) = net::UnixStream::pair().unwrap();
    let mut near = UnixStream::new(near, SHORT).unwrap();
    let mut far = UnixStream::new(far, SHORT).unwrap();
    far.write_all(&[1; 1000]).unwrap();
    near.write_all(b"because").unwrap();
    drop(near);
    let mut got = Vec::new();
    far.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"because");
}

#[test]
fn stream_drop_of_a_peer_that_never_stops_ends_in_time() {
    let (near, far) = net::UnixStream::pair().unwrap();
    let mut near = UnixStream::new(near, SHORT).unwrap();
    let mut far = UnixStream::new(far, SHORT).unwrap();
    near.write_all(b"because").unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| drop(near));
        while far.write(&[0; 1 << 12]).map_or_else(|e| ticked(e.kind()), |_| true) {}
    });
    assert!(start.elapsed() < CLOSE_WAIT + Duration::from_secs(5));
}

#[test]
fn acceptor_dropped_removes_its_socket() {
    let (_folder, path) = folder();
    drop(bind(&path));
    assert!(!path.exists());
    drop(bind(&path));
}

#[test]
fn acceptor_dropped_leaves_what_is_not_its_own() {
    let (folder, path) = folder();
    let first = bind(&path);
    fs::rename(&path, folder.path().join("moved")).unwrap();
    let second = bind(&path);
    drop(first);
    UnixConnector::new(second.path()).connect().unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"a file").unwrap();
    drop(second);
    assert_eq!(fs::read(&path).unwrap(), b"a file");
}

#[test]
fn bind_makes_a_socket_for_its_owner_alone() {
    let (_folder, path) = folder();
    let _acceptor = bind(&path);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn bind_stale_socket_is_replaced() {
    let (_folder, path) = folder();
    leave_stale(&path);
    let mut acceptor = bind(&path);
    let _near = UnixConnector::new(&path).connect().unwrap();
    acceptor.accept().unwrap();
}

#[test]
fn bind_live_socket_is_in_use_and_stays_alive() {
    let (_folder, path) = folder();
    let mut acceptor = bind(&path);
    let error = UnixAcceptor::bind(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(error.to_string().starts_with(&format!("unix:{}: ", path.display())), "{error}");
    let _near = UnixConnector::new(&path).connect().unwrap();
    // The question whether somebody listens left a connection too, ended already.
    let (mut asked, _) = acceptor.accept().unwrap();
    assert_eq!(asked.read(&mut [0]).unwrap(), 0);
    let (mut real, _) = acceptor.accept().unwrap();
    assert!(ticked(real.read(&mut [0]).unwrap_err().kind()));
}

#[test]
fn bind_anything_else_with_that_name_is_refused_and_stays() {
    let (folder, path) = folder();
    fs::write(&path, b"precious").unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let dangling = folder.path().join("dangling");
    std::os::unix::fs::symlink(folder.path().join("nothing"), &dangling).unwrap();
    for taken in [path.as_path(), folder.path(), &link, &dangling] {
        let error = UnixAcceptor::bind(taken).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{}", taken.display());
        assert!(fs::symlink_metadata(taken).is_ok());
    }
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn bind_symlink_to_a_stale_socket_is_refused_and_both_stay() {
    let (folder, path) = folder();
    leave_stale(&path);
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(UnixAcceptor::bind(&link).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(path.exists() && link.exists());
}

#[test]
fn bind_without_folder_or_with_a_long_path_says_so() {
    let (folder, _) = folder();
    let error = UnixAcceptor::bind(folder.path().join("no/socket")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = UnixAcceptor::bind(folder.path().join("x".repeat(200))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[cfg(feature = "tcp")]
#[test]
fn connect_while_the_queue_is_full_ends_in_time_and_goes_on_once_there_is_room() {
    use socket2::{Domain, SockAddr, Socket, Type};

    let (_folder, path) = folder();
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
    listener.listen(1).unwrap();
    let mut connector = UnixConnector::new(&path).connect_timeout(Duration::from_millis(200));
    let mut waiting = Vec::new();
    let error = loop {
        match connector.connect() {
            Ok(stream) => waiting.push(stream),
            Err(error) => break error,
        }
        assert!(waiting.len() < 10, "the queue is not full");
    };
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().starts_with(&format!("unix:{}: ", path.display())), "{error}");
    // Who would listen there too does not wait for ever either.
    assert_eq!(UnixAcceptor::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
    // Room for the attempt that waits, and for the probe.
    let accepted = [listener.accept().unwrap(), listener.accept().unwrap()];
    connector = connector.connect_timeout(Duration::from_secs(30));
    waiting.push(connector.connect().unwrap());
    // Nobody is left to wait for when the streams are closed.
    drop((accepted, listener));
}

#[test]
fn connect_to_nothing_or_nobody_says_so_by_path() {
    let (_folder, path) = folder();
    let mut connector = UnixConnector::new(&path);
    let error = connector.connect().unwrap_err();
    // As where nobody listens: both are so while a receiver is started again.
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert!(error.to_string().starts_with(&format!("unix:{}: ", path.display())), "{error}");
    leave_stale(&path);
    assert_eq!(connector.connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"").unwrap();
    assert_eq!(connector.connect().unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn socket_that_cannot_be_asked_for_another_reason_is_not_said_to_be_in_use() {
    let code = io::Error::from_raw_os_error;
    let said = |answer| is_stale(answer).map_err(|error| (error.kind(), error.raw_os_error()));
    let in_use = Err((io::ErrorKind::AddrInUse, None));
    assert_eq!(said(Ok(())), in_use);
    for error in
        [io::ErrorKind::TimedOut.into(), io::ErrorKind::WouldBlock.into(), code(EPROTOTYPE)]
    {
        assert_eq!(said(Err(error)), in_use);
    }
    assert_eq!(said(Err(io::ErrorKind::ConnectionRefused.into())), Ok(true));
    assert_eq!(said(Err(io::ErrorKind::NotFound.into())), Ok(false));
    // EMFILE, ENOMEM, EACCES.
    for number in [24, 12, 13] {
        assert_eq!(said(Err(code(number))), Err((code(number).kind(), Some(number))));
    }
}
