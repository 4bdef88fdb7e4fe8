//! Peers of later versions, which speak no more than the rules that hold for all versions (W-9 of the wire document).

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::thread::{self, JoinHandle};

use tempfile::tempdir;

use crate::common::{PATIENCE, photo_path};
use crate::haul::{Haul, names, run, run_with};

/// W-1.
const PREFACE: [u8; 8] = *b"\x89haul\r\n\x1a";
/// Kinds of messages: M-1, M-15, M-16, M-17.
const HELLO: u8 = 1;
const OVER: u8 = 15;
const OUT: u8 = 16;
const ABORT: u8 = 17;
/// C-3.
const INCOMPATIBLE: [u8; 2] = [3, 0];

/// A peer of a later version, written from the document alone.
struct Peer {
    stream: TcpStream,
    /// The number of the next frame in either direction (W-3), and the keys of both.
    said: u64,
    heard: u64,
    key: [u8; 32],
    their_key: [u8; 32],
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let key = blake3::derive_key("haul wire 1: greetings", b"");
        Self { stream, said: 0, heard: 0, key, their_key: key }
    }

    /// Greets: W-5.
    fn greet(&mut self, hello: &[u8]) {
        self.stream.write_all(&PREFACE).unwrap();
        self.say(HELLO, hello);
    }

    /// Sends a frame without payload: W-2, W-4.
    fn say(&mut self, kind: u8, control: &[u8]) {
        let control_len = u32::try_from(control.len()).unwrap().to_le_bytes();
        let mut frame = vec![kind, control_len[0], control_len[1], control_len[2], 0, 0, 0, 0];
        let mut checked = [&self.said.to_le_bytes(), &frame[..]].concat();
        frame.extend_from_slice(&check(&self.key, &checked));
        if !control.is_empty() {
            checked.extend_from_slice(control);
            frame.extend_from_slice(control);
            frame.extend_from_slice(&check(&self.key, &checked));
        }
        self.said += 1;
        self.stream.write_all(&frame).unwrap();
    }

    fn hear_preface(&mut self) {
        let mut preface = [0; 8];
        self.stream.read_exact(&mut preface).unwrap();
        assert_eq!(preface, PREFACE);
    }

    /// Returns the next frame's kind and control part, both held against their checks.
    fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; 16];
        self.stream.read_exact(&mut header).unwrap();
        let mut checked = [&self.heard.to_le_bytes(), &header[..8]].concat();
        assert_eq!(header[8..], check(&self.their_key, &checked));
        let [kind, c0, c1, c2, payload @ ..] = *header.first_chunk::<8>().unwrap();
        assert_eq!(payload, [0; 4]);
        let len = u32::from_le_bytes([c0, c1, c2, 0]);
        let mut control = vec![0; usize::try_from(len).unwrap()];
        if len > 0 {
            self.stream.read_exact(&mut control).unwrap();
            checked.extend_from_slice(&control);
            let mut found = [0; 8];
            self.stream.read_exact(&mut found).unwrap();
            assert_eq!(found, check(&self.their_key, &checked));
        }
        self.heard += 1;
        (kind, control)
    }

    /// Binds the frames to both greetings: W-6, for a sender.
    fn bind(&mut self, ours: &[u8], theirs: &[u8]) {
        let len = |hello: &[u8]| (hello.len() as u64).to_le_bytes();
        let both = [&len(ours), ours, &len(theirs), theirs].concat();
        self.key = blake3::derive_key("haul wire 1: frames of the sender", &both);
        self.their_key = blake3::derive_key("haul wire 1: frames of the receiver", &both);
    }
}

fn check(key: &[u8; 32], bytes: &[u8]) -> [u8; 8] {
    *blake3::keyed_hash(key, bytes).as_bytes().first_chunk().unwrap()
}

/// Builds a greeting (M-1), with what a later version has appended.
fn hello(is_receiver: bool, versions: RangeInclusive<u16>, required: u32) -> Vec<u8> {
    let mut hello = Vec::new();
    hello.extend_from_slice(&versions.start().to_le_bytes());
    hello.extend_from_slice(&versions.end().to_le_bytes());
    hello.extend_from_slice(&[is_receiver.into(), 13, 0, 0]);
    hello.extend_from_slice(&u32::from(!is_receiver).to_le_bytes());
    hello.extend_from_slice(&[if is_receiver { 0 } else { 7 }; 16]);
    hello.extend_from_slice(&[9; 16]);
    // Features nobody knows yet are offered along with those of today.
    hello.extend_from_slice(&u32::MAX.to_le_bytes());
    hello.extend_from_slice(&required.to_le_bytes());
    hello.extend_from_slice(&u64::from(u32::MAX).to_le_bytes());
    hello.extend_from_slice(&[0xff; 12]);
    // It is bound to no channel, and proves nothing.
    hello.extend_from_slice(&[0; 64]);
    assert_eq!(hello.len(), 136, "the Hello of version 1");
    hello.extend_from_slice(b"what a later version has to say");
    hello
}

/// Returns a receiver of a later version, which takes one connection and receives the answer of the sender to its
/// greeting.
fn receiver(versions: RangeInclusive<u16>, required: u32) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = thread::spawn(move || {
        let mut peer = Peer::new(listener.accept().unwrap().0);
        peer.hear_preface();
        assert_eq!(peer.hear().0, HELLO);
        assert_eq!(peer.hear(), (OVER, vec![1]));
        peer.greet(&hello(true, versions, required));
        let mut rest = Vec::new();
        peer.stream.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "the sender has not the floor, and closes");
    });
    (address, thread)
}

#[test]
fn send_to_a_receiver_of_a_later_version_is_told_at_once() {
    let photo = photo_path();
    for (versions, required, words) in [
        (2..=3, 0, ["versions 2 to 3", "we 1 to 1"]),
        (2..=u16::MAX, 0, ["versions 2 to 65535", "we 1 to 1"]),
        (1..=2, 1 << 30, ["features 0x40000000", "up to date"]),
    ] {
        let (address, thread) = receiver(versions, required);
        run(["send", "--insecure", photo.to_str().unwrap(), &address]).code(3).one_error(&words);
        thread.join().unwrap();
    }
}

#[test]
fn receive_from_a_sender_of_a_later_version_tells_both_and_goes_on() {
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
    for (versions, required) in [(2..=3, 0), (1..=2, 1 << 30)] {
        let mut peer = Peer::new(TcpStream::connect(&address).unwrap());
        let ours = hello(false, versions, required);
        peer.greet(&ours);
        peer.say(OVER, &[1]);
        peer.hear_preface();
        let (kind, theirs) = peer.hear();
        assert_eq!((kind, &theirs[..5]), (HELLO, &[1, 0, 1, 0, 1][..]));
        peer.bind(&ours, &theirs);
        assert_eq!(peer.hear(), (ABORT, INCOMPATIBLE.to_vec()));
    }
    run(["send", "--insecure", photo_path().to_str().unwrap(), &address]).code(0);
    let bob = bob.finish().code(0);
    let lines = bob.faults();
    assert_eq!(lines.len(), 2, "{bob:?}");
    // Sessions end side by side: which is told first is open.
    for words in ["versions 2 to 3 of the protocol, we 1 to 1", "features 0x40000000"] {
        assert!(bob.stderr.contains(words), "{bob:?}");
    }
    assert_eq!(names(inbox.path()), ["photo.jpg"]);
}

#[test]
fn receive_from_a_sender_that_also_speaks_this_version_goes_well() {
    let inbox = tempdir().unwrap();
    let (bob, address) = Haul::receive_in_clear(inbox.path(), &["--once"]);
    let mut peer = Peer::new(TcpStream::connect(&address).unwrap());
    let ours = hello(false, 1..=9, 0);
    peer.greet(&ours);
    peer.say(OVER, &[1]);
    peer.hear_preface();
    let (_, theirs) = peer.hear();
    peer.bind(&ours, &theirs);
    assert_eq!(peer.hear(), (OVER, vec![1]));
    peer.say(OUT, &[]);
    // That moved nothing, and so is not the one transfer.
    run_with(["send", "--insecure", "-", "--name", "x", &address], b"x".to_vec()).code(0);
    bob.finish().code(0);
    assert_eq!(names(inbox.path()), ["x"]);
}
