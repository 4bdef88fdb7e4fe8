//! The library over real TCP, with the programs that speak nothing but the plain wire: the two
//! originals and `nc`.
#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "tests open sockets and files, and stop where something is wrong"
)]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Listening, NcAlice, NcBob, PATIENCE, Program, PythonAlice, PythonBob, Receiver, Sender,
    assert_same, pair, photo, photo_path,
};
use haul::hash::Hash;
use haul::plain::{self, ChunkSize, PlainError, PlainEvent};
use haul::{Error, Operation};

/// The library as a sender.
struct LibraryAlice(ChunkSize);

/// The library as a receiver. It prints the hash of what came.
struct LibraryBob(ChunkSize);

impl Sender for LibraryAlice {
    fn send(&self, file: &Path, to: SocketAddr) {
        let mut file = File::open(file).expect("the file to send can be read");
        let mut stream = TcpStream::connect(to).expect("the receiver listens");
        stream.set_write_timeout(Some(TICK)).expect("a tick is a valid timeout");
        let sent = plain::send(&mut file, &mut stream, self.0, patience());
        let sent = sent.expect("the receiver takes it all");
        assert_eq!(sent.bytes, file.metadata().expect("an open file has a length").len());
    }
}

impl Receiver for LibraryBob {
    fn listen(&self, file: &Path) -> Listening {
        let chunk = self.0;
        let mut file = File::create(file).expect("the file to receive can be made");
        let (listener, address) = listener();
        let bob = thread::spawn(move || {
            let mut stream = accept(&listener);
            plain::receive(&mut stream, &mut file, chunk, patience())
        });
        let finish = Box::new(move || {
            let received = bob.join().expect("the receiver does not panic");
            received.expect("the sender closes in good order").hash.to_string()
        });
        Listening { address, finish }
    }
}

/// Longest wait of a read or write before the observer is asked.
const TICK: Duration = Duration::from_millis(100);

/// Returns an observer that bounds the whole transfer, so that a broken peer fails the test.
fn patience() -> impl FnMut(PlainEvent) -> ControlFlow<()> {
    let deadline = Instant::now() + PATIENCE;
    move |_| {
        if Instant::now() < deadline { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    (listener, address)
}

/// Takes one connection, within [`PATIENCE`].
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    let deadline = Instant::now() + PATIENCE;
    let stream = common::poll(deadline, "accept", || Some(listener.accept().ok()?.0));
    stream.set_nonblocking(false).expect("a socket can be made blocking");
    stream.set_read_timeout(Some(TICK)).expect("a tick is a valid timeout");
    stream
}

/// Returns an image as large as the original chunk allows to go wrong: nothing, one byte, around
/// one chunk and two.
fn small_images() -> impl Iterator<Item = Vec<u8>> {
    let photo = photo();
    [0, 1, 1023, 1024, 1025, 2047, 2048, 2049].into_iter().map(move |size| photo[..size].to_vec())
}

#[test]
fn python_to_python_image_arrives() {
    if common::lacks_peers() {
        return;
    }
    let printed = pair(&PythonAlice, &PythonBob, &photo());
    assert!(printed.contains("connected by 127.0.0.1:"), "{printed}");
    assert!(printed.contains("image received and saved as "), "{printed}");
}

#[test]
fn library_to_python_image_arrives() {
    if common::lacks_peers() {
        return;
    }
    for chunk in [ChunkSize::ORIGINAL, ChunkSize::default()] {
        let printed = pair(&LibraryAlice(chunk), &PythonBob, &photo());
        assert!(printed.contains("image received and saved as "), "{printed}");
    }
}

#[test]
fn python_to_library_image_arrives() {
    if common::lacks_peers() {
        return;
    }
    for chunk in [ChunkSize::ORIGINAL, ChunkSize::default()] {
        let printed = pair(&PythonAlice, &LibraryBob(chunk), &photo());
        assert_eq!(printed, Hash::of(&photo()).to_string());
    }
}

#[test]
fn library_to_library_image_arrives_with_any_two_chunks() {
    let chunks =
        [1, 1000, 1024, 1 << 16, 1 << 24].map(|bytes| ChunkSize::new(bytes).expect("valid"));
    for alice in chunks {
        for bob in chunks {
            pair(&LibraryAlice(alice), &LibraryBob(bob), &photo());
        }
    }
}

#[test]
fn library_with_python_small_images_arrive() {
    if common::lacks_peers() {
        return;
    }
    for image in small_images() {
        pair(&LibraryAlice(ChunkSize::ORIGINAL), &PythonBob, &image);
        pair(&PythonAlice, &LibraryBob(ChunkSize::ORIGINAL), &image);
    }
}

#[test]
fn library_to_nc_image_arrives() {
    if common::lacks_peers() {
        return;
    }
    pair(&LibraryAlice(ChunkSize::default()), &NcBob, &photo());
    pair(&LibraryAlice(ChunkSize::ORIGINAL), &NcBob, &[]);
}

#[test]
fn nc_to_library_image_arrives() {
    if common::lacks_peers() {
        return;
    }
    pair(&NcAlice, &LibraryBob(ChunkSize::default()), &photo());
    pair(&NcAlice, &LibraryBob(ChunkSize::ORIGINAL), &[]);
}

#[test]
fn python_with_nc_image_arrives() {
    if common::lacks_peers() {
        return;
    }
    pair(&PythonAlice, &NcBob, &photo());
    pair(&NcAlice, &PythonBob, &photo());
}

/// A cut connection looks like an end on a real connection, as the module's first lines state.
#[test]
fn sender_gone_in_the_middle_looks_like_an_end() {
    let photo = photo();
    let half = &photo[..photo.len() / 2];
    let (listener, address) = listener();
    let mut alice = TcpStream::connect(address).expect("it listens");
    alice.write_all(half).expect("the system's buffers hold it");
    drop(alice);
    let mut got = Vec::new();
    let received =
        plain::receive(&mut accept(&listener), &mut got, ChunkSize::ORIGINAL, patience());
    assert_eq!(received.expect("nobody can tell").bytes, half.len() as u64);
    assert_same(&got, half);
}

#[test]
fn killed_sender_looks_like_an_end() {
    if common::lacks_peers() {
        return;
    }
    let (listener, address) = listener();
    let mut nc = common::nc();
    nc.arg(address.ip().to_string())
        .arg(address.port().to_string())
        .stdin(std::process::Stdio::piped());
    let mut nc = Program::start(nc);
    let mut stdin = nc.take_stdin();
    stdin.write_all(b"half an im").expect("nc reads");
    stdin.flush().expect("nc reads");
    let mut stream = accept(&listener);
    let mut got = Vec::new();
    let mut nc = Some(nc);
    let received = plain::receive(&mut stream, &mut got, ChunkSize::ORIGINAL, |event| {
        if event == (PlainEvent::Passed { bytes: 10 }) {
            nc.take().expect("ten bytes pass once").kill();
        }
        ControlFlow::Continue(())
    });
    assert_eq!(received.expect("nobody can tell").bytes, 10);
    assert_eq!(got, b"half an im");
}

#[test]
fn connection_reset_is_an_error_of_the_transport() {
    let (listener, address) = listener();
    let mut alice = TcpStream::connect(address).expect("it listens");
    let mut bob = accept(&listener);
    alice.write_all(b"half an im").expect("the system's buffers hold it");
    bob.read_exact(&mut [0; 10]).expect("it was sent");
    // A socket closed with unread bytes resets its connection.
    bob.write_all(b"?").expect("the system's buffers hold it");
    alice.peek(&mut [0]).expect("it was sent");
    drop(alice);
    let error = plain::receive(&mut bob, &mut Vec::new(), ChunkSize::ORIGINAL, patience());
    let error = Error::from(error.expect_err("the connection was reset"));
    assert!(matches!(error, Error::Transport { operation: Operation::Read, .. }), "{error}");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn receiver_gone_is_an_error_of_the_transport() {
    let (listener, address) = listener();
    let mut alice = TcpStream::connect(address).expect("it listens");
    accept(&listener).shutdown(Shutdown::Both).expect("it is connected");
    let endless = &mut std::io::repeat(7);
    let error = plain::send(endless, &mut alice, ChunkSize::default(), patience());
    let error = Error::from(error.expect_err("nobody takes it"));
    assert!(matches!(error, Error::Transport { operation: Operation::Write, .. }), "{error}");
}

#[test]
fn silent_sender_is_left_when_the_observer_says_so() {
    let (listener, address) = listener();
    let mut alice = TcpStream::connect(address).expect("it listens");
    alice.write_all(b"half an im").expect("the system's buffers hold it");
    let mut bob = accept(&listener);
    bob.set_read_timeout(Some(Duration::from_millis(5))).expect("a valid timeout");
    let mut ticks = 0;
    let error =
        plain::receive(&mut bob, &mut Vec::new(), ChunkSize::ORIGINAL, |event| match event {
            PlainEvent::Waiting { operation: Operation::Read, bytes: 10 } if ticks >= 2 => {
                ControlFlow::Break(())
            }
            PlainEvent::Waiting { .. } => {
                ticks += 1;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Continue(()),
        });
    let error = error.expect_err("the sender says nothing");
    assert!(matches!(error, PlainError::Stopped { bytes: 10 }), "{error}");
}

#[test]
fn stuck_receiver_is_left_when_the_observer_says_so() {
    let (listener, address) = listener();
    let mut alice = TcpStream::connect(address).expect("it listens");
    alice.set_write_timeout(Some(Duration::from_millis(5))).expect("a valid timeout");
    let _bob = accept(&listener);
    let endless = &mut std::io::repeat(7);
    let error = plain::send(endless, &mut alice, ChunkSize::default(), |event| match event {
        PlainEvent::Waiting { operation: Operation::Write, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    let error = error.expect_err("the receiver takes nothing");
    assert!(matches!(error, PlainError::Stopped { bytes: 1.. }), "{error}");
}

#[test]
fn photo_is_a_jpeg_of_some_hundred_kilobytes() {
    let photo = photo();
    assert!(photo.starts_with(&[0xff, 0xd8, 0xff]) && photo.ends_with(&[0xff, 0xd9]));
    assert!((90_000..130_000).contains(&photo.len()), "{}", photo_path().display());
}
