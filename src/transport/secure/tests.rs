//! Both ends in one thread, over pipes that never wait: every run is the same but for the keys of the session.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::fault_stream::{Direction, FaultKind, Faulty, StreamFault};
use crate::transport::memory::{self, Pipe};

/// Next operation of one end.
#[derive(Debug, Clone)]
enum Op {
    Write(Vec<u8>),
    Flush,
    /// Reads so many bytes.
    Read(usize),
    /// Reads the end.
    ReadEnd,
    /// Asks for new keys, of both directions.
    Rekey,
    Close,
}

/// One end, and what became of it.
struct Side<S: Read + Write> {
    stream: Option<SecureStream<S>>,
    ops: VecDeque<Op>,
    read: Vec<u8>,
    is_ended: bool,
    error: Option<io::Error>,
    peer_key: Option<PublicKey>,
    binding: Option<[u8; 32]>,
}

impl<S: Read + Write> Side<S> {
    fn new(stream: SecureStream<S>, ops: impl IntoIterator<Item = Op>) -> Self {
        Self {
            stream: Some(stream),
            ops: ops.into_iter().collect(),
            read: Vec::new(),
            is_ended: false,
            error: None,
            peer_key: None,
            binding: None,
        }
    }

    /// Goes on until something has to wait.
    fn step(&mut self) {
        while let Some(stream) = &mut self.stream
            && let Some(op) = self.ops.front_mut()
        {
            let done = match op {
                Op::Write(bytes) => stream.write(bytes).map(|count| {
                    bytes.drain(..count);
                    bytes.is_empty()
                }),
                Op::Flush => stream.flush().map(|()| true),
                Op::Read(count) => {
                    let mut buffer = vec![0; *count];
                    stream.read(&mut buffer).and_then(|got| {
                        self.read.extend_from_slice(&buffer[..got]);
                        *count -= got;
                        if got == 0 {
                            Err(ErrorKind::UnexpectedEof.into())
                        } else {
                            Ok(*count == 0)
                        }
                    })
                }
                Op::ReadEnd => stream.read(&mut [0; 16]).map(|count| {
                    assert_eq!(count, 0);
                    self.is_ended = true;
                    true
                }),
                Op::Rekey => {
                    stream.refresh_keys();
                    Ok(true)
                }
                Op::Close => stream.close().map(|()| true),
            };
            self.peer_key = stream.peer_key().or(self.peer_key);
            self.binding = stream.binding().or(self.binding);
            match done {
                Ok(true) => drop(self.ops.pop_front()),
                Ok(false) => {}
                Err(error) if is_tick(&error) => return,
                Err(error) => {
                    self.error = Some(error);
                    self.stream = None;
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.stream.is_none() || self.ops.is_empty()
    }

    fn failure(&self) -> Option<SecureError> {
        let inner = self.error.as_ref()?.get_ref()?;
        inner.downcast_ref().copied()
    }
}

fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Runs both ends until they are done, or both wait for what will not come: `false`.
fn run_or_wait<S: Read + Write, T: Read + Write>(
    near: &mut Side<S>,
    far: &mut Side<T>,
    rounds: usize,
) -> bool {
    for _ in 0..rounds {
        near.step();
        far.step();
        if near.is_over() && far.is_over() {
            return true;
        }
    }
    false
}

fn run<S: Read + Write, T: Read + Write>(near: &mut Side<S>, far: &mut Side<T>) {
    assert!(run_or_wait(near, far, 20_000), "no end: {:?} {:?}", near.ops, far.ops);
}

fn pipe(capacity: usize) -> (Pipe, Pipe) {
    let (mut near, mut far) = memory::pipe(NonZeroUsize::new(capacity).unwrap());
    near.set_timeout(Some(Duration::ZERO));
    far.set_timeout(Some(Duration::ZERO));
    (near, far)
}

struct Keys {
    dialer: SecretKey,
    listener: SecretKey,
}

fn keys() -> Keys {
    let [dialer, listener] = [(); 2].map(|()| SecretKey::generate().unwrap());
    Keys { dialer, listener }
}

impl Keys {
    fn dial<S: Read + Write>(&self, io: S) -> SecureStream<S> {
        self.dial_to(io, Expect::key(self.listener.public()))
    }

    fn dial_to<S: Read + Write>(&self, io: S, expect: Expect) -> SecureStream<S> {
        let dialer = tls::Dialer::new(&self.dialer, expect).unwrap();
        SecureStream::new(io, dialer.connection().unwrap())
    }

    fn listen<S: Read + Write>(&self, io: S) -> SecureStream<S> {
        let listener = tls::Listener::new(&self.listener).unwrap();
        SecureStream::new(io, listener.connection().unwrap())
    }
}

const HELLO: &[u8] = b"the floor is yours, Bob";
const ANSWER: &[u8] = b"it was here already, Alice";

/// Returns a turn of each side, and the end.
fn dialer_ops() -> [Op; 4] {
    [Op::Write(HELLO.into()), Op::Flush, Op::Read(ANSWER.len()), Op::Close]
}

fn listener_ops() -> [Op; 4] {
    [Op::Read(HELLO.len()), Op::Write(ANSWER.into()), Op::Flush, Op::ReadEnd]
}

#[test]
fn secure_streams_keep_the_contract_of_transports() {
    for capacity in [1000, 1 << 20] {
        let keys = keys();
        crate::testing::transport::check(move || {
            let (connector, acceptor) = memory::network(NonZeroUsize::new(capacity).unwrap());
            let expect = Expect::key(keys.listener.public());
            let connector = Secure::dial(connector, &keys.dialer, expect).unwrap();
            (connector, Secure::listen(acceptor, &keys.listener).unwrap())
        });
    }
}

#[test]
fn ends_know_each_other_and_their_channel_over_a_pipe_of_any_capacity() {
    for capacity in [1, 2, 7, 100, 5000, 1 << 20] {
        let keys = keys();
        let (near, far) = pipe(capacity);
        let mut near = Side::new(keys.dial(near), dialer_ops());
        let mut far = Side::new(keys.listen(far), listener_ops());
        assert_eq!((near.peer_key, far.binding), (None, None));
        run(&mut near, &mut far);
        assert_eq!((near.error, far.error).0.map(|error| error.kind()), None);
        assert_eq!((&*near.read, &*far.read, far.is_ended), (ANSWER, HELLO, true));
        assert_eq!(near.peer_key, Some(keys.listener.public()));
        assert_eq!(far.peer_key, Some(keys.dialer.public()));
        assert_eq!(near.binding, far.binding);
        assert!(near.binding.is_some_and(|binding| binding != [0; 32]));
    }
}

#[test]
fn end_that_has_another_key_is_refused_before_the_dialer_shows_its_own() {
    let keys = keys();
    let other = SecretKey::generate().unwrap().public();
    for expect in [Expect::key(other), Expect::any_of([]), Expect::any_of([other, other])] {
        let (near, far) = pipe(4096);
        let mut near = Side::new(keys.dial_to(near, expect), dialer_ops());
        let mut far = Side::new(keys.listen(far), listener_ops());
        run(&mut near, &mut far);
        let key = keys.listener.public();
        assert_eq!(near.failure(), Some(SecureError::Unexpected { key }));
        assert_eq!(near.error.unwrap().kind(), ErrorKind::PermissionDenied);
        assert!(matches!(far.failure(), Some(SecureError::Refused { .. })), "{:?}", far.error);
        assert_eq!((far.peer_key, &*far.read), (None, &b""[..]));
    }
}

#[test]
fn man_in_the_middle_is_found_by_the_key_and_by_the_binding() {
    let (keys, man) = (keys(), keys());
    // He poses as the listener to the dialer.
    let (near, far) = pipe(4096);
    let mut near = Side::new(keys.dial(near), dialer_ops());
    let mut far = Side::new(man.listen(far), listener_ops());
    run(&mut near, &mut far);
    let key = man.listener.public();
    assert_eq!(near.failure(), Some(SecureError::Unexpected { key }));
    // Nobody looks at keys: the channels differ.
    let mut bindings = Vec::new();
    for (dialer, listener) in [(&keys, &man), (&man, &keys)] {
        let (near, far) = pipe(4096);
        let mut near = Side::new(dialer.dial_to(near, Expect::anyone()), dialer_ops());
        let mut far = Side::new(listener.listen(far), listener_ops());
        run(&mut near, &mut far);
        assert_eq!(near.peer_key, Some(listener.listener.public()));
        bindings.push((near.binding.unwrap(), far.binding.unwrap()));
    }
    assert_ne!(bindings[0].0, bindings[1].1);
}

/// A stream that keeps what passes.
struct Tapped {
    inner: Pipe,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Read for Tapped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer)
    }
}

impl Write for Tapped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Returns the bytes that each side wrote in a session without faults.
fn transcript(keys: &Keys) -> [Vec<u8>; 2] {
    let (near, far) = pipe(1 << 16);
    let written = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
    let tap = |inner, at: usize| Tapped { inner, written: Arc::clone(&written[at]) };
    let mut near = Side::new(keys.dial(tap(near, 0)), dialer_ops());
    let mut far = Side::new(keys.listen(tap(far, 1)), listener_ops());
    run(&mut near, &mut far);
    assert_eq!((&*near.read, &*far.read), (ANSWER, HELLO));
    written.map(|written| written.lock().unwrap().clone())
}

#[test]
fn whoever_listens_sees_neither_content_nor_keys() {
    let keys = keys();
    let [sent, answered] = transcript(&keys);
    let all = [sent, answered].concat();
    let secrets = [
        HELLO,
        ANSWER,
        keys.dialer.public().as_bytes().as_slice(),
        keys.listener.public().as_bytes().as_slice(),
    ]
    .map(|secret| secret[..8].to_vec());
    for secret in secrets {
        assert!(!all.windows(8).any(|bytes| bytes == secret));
    }
}

#[test]
fn session_that_was_recorded_gives_nothing_when_it_is_played_again() {
    let keys = keys();
    let [sent, answered] = transcript(&keys);
    for (recorded, is_of_dialer) in [(sent, true), (answered, false)] {
        let (mut near, far) = pipe(1 << 16);
        near.write_all(&recorded).unwrap();
        let stream = if is_of_dialer { keys.listen(far) } else { keys.dial(far) };
        let mut far = Side::new(stream, [Op::Read(1)]);
        for _ in 0..10 {
            far.step();
        }
        drop(near);
        far.step();
        assert!(far.read.is_empty() && far.peer_key.is_none());
        assert!(far.failure().is_some(), "{:?}", far.error);
    }
}

#[test]
fn end_that_does_not_speak_tls_is_named_by_its_first_byte() {
    for byte in (0..=255).filter(|byte| ![0x15, 0x16].contains(byte)) {
        for is_dialer in [true, false] {
            let keys = keys();
            let (mut near, far) = pipe(1 << 16);
            near.write_all(&[byte; 40]).unwrap();
            let stream = if is_dialer { keys.dial(far) } else { keys.listen(far) };
            let mut far = Side::new(stream, [Op::Read(1)]);
            far.step();
            assert_eq!(far.failure(), Some(SecureError::NotTls { byte }));
            assert_eq!(far.error.unwrap().kind(), ErrorKind::Unsupported);
        }
    }
}

/// Runs a session with a fault at a byte of one side: what is read is right as far as it goes, the end is not mistaken,
/// and nobody waits for ever.
fn with_fault(keys: &Keys, is_of_dialer: bool, fault: StreamFault) {
    let (near, far) = pipe(1 << 16);
    let script = |here: bool| if here { vec![fault] } else { vec![] };
    let near = Faulty::new(near, script(is_of_dialer));
    let far = Faulty::new(far, script(!is_of_dialer));
    let mut near = Side::new(keys.dial(near), dialer_ops());
    let mut far = Side::new(keys.listen(far), listener_ops());
    let is_stalled = !run_or_wait(&mut near, &mut far, 40);
    if is_stalled {
        // A length became larger, or bytes are missing: a deadline ends that, and the other end learns of it.
        near.stream = None;
        far.step();
        assert!(far.is_over(), "{fault:?}");
    }
    assert!(ANSWER.starts_with(&near.read) && HELLO.starts_with(&far.read), "{fault:?}");
    assert!(is_stalled || !far.is_ended || near.read == ANSWER, "{fault:?}");
    for (side, key) in
        [(near.peer_key, keys.listener.public()), (far.peer_key, keys.dialer.public())]
    {
        assert!(side.is_none_or(|seen| seen == key), "{fault:?}");
    }
    if let (Some(near), Some(far)) = (near.binding, far.binding) {
        assert_eq!(near, far, "{fault:?}");
    }
}

/// Runs every byte of the session with each of these faults.
fn enumerate(kinds: impl Fn(u64) -> Vec<FaultKind>) {
    let keys = keys();
    let lengths = transcript(&keys).map(|written| written.len() as u64);
    for (length, is_of_dialer) in lengths.into_iter().zip([true, false]) {
        for at in 0..length {
            for kind in kinds(at) {
                with_fault(&keys, is_of_dialer, StreamFault::new(Direction::Write, at, kind));
            }
        }
    }
}

#[test]
fn cut_at_any_byte_is_an_error_and_never_an_end() {
    enumerate(|_| vec![FaultKind::End]);
    enumerate(|_| vec![FaultKind::Error(ErrorKind::BrokenPipe)]);
}

#[test]
fn bit_that_is_flipped_anywhere_does_no_harm_or_is_an_error() {
    // One bit of each byte, another one for the next; all of them take eight times as long.
    let bits = if is_long() { 8 } else { 1 };
    enumerate(|at| (0..bits).map(|bit| FaultKind::Flip((at + bit).to_le_bytes()[0] % 8)).collect());
}

#[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the library")]
fn is_long() -> bool {
    std::env::var_os("HAUL_LONG").is_some()
}

#[test]
fn byte_that_is_lost_doubled_or_added_anywhere_is_not_taken() {
    enumerate(|at| match at % 3 {
        0 => vec![FaultKind::Delete],
        1 => vec![FaultKind::Duplicate],
        _ => vec![FaultKind::Insert(0x5a)],
    });
}

#[test]
fn ticks_short_calls_and_interruptions_anywhere_change_nothing() {
    enumerate(|at| match at % 4 {
        0 => vec![FaultKind::Short],
        1 => vec![FaultKind::Interrupted],
        2 => vec![FaultKind::WouldBlock],
        _ => vec![FaultKind::TimedOut],
    });
}

/// A line that carries one direction at a time: whoever writes while bytes of the other end are on their way breaks it.
struct Half {
    inner: Pipe,
    /// Number of bytes on their way, by direction; and whether both had some.
    line: Arc<Mutex<([usize; 2], bool)>>,
    me: usize,
}

impl Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.line.lock().unwrap().0[1 - self.me] -= count;
        Ok(count)
    }
}

impl Write for Half {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        let mut line = self.line.lock().unwrap();
        line.0[self.me] += count;
        line.1 |= line.0[1 - self.me] > 0;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[test]
fn line_that_carries_one_direction_at_a_time_will_do_also_when_keys_are_renewed() {
    for capacity in [1, 64, 1 << 16] {
        let keys = keys();
        let (near, far) = pipe(capacity);
        let line = Arc::default();
        let near = Half { inner: near, line: Arc::clone(&line), me: 0 };
        let far = Half { inner: far, line: Arc::clone(&line), me: 1 };
        let turn = |bytes: &[u8]| [Op::Write(bytes.into()), Op::Flush];
        let mut first: Vec<Op> = turn(HELLO).into();
        let mut second = vec![Op::Read(HELLO.len())];
        for _ in 0..3 {
            first.extend([Op::Read(ANSWER.len()), Op::Rekey]);
            first.extend(turn(HELLO));
            second.extend(turn(ANSWER));
            second.extend([Op::Read(HELLO.len()), Op::Rekey]);
        }
        second.push(Op::Close);
        first.push(Op::ReadEnd);
        let mut near = Side::new(keys.dial(near), first);
        let mut far = Side::new(keys.listen(far), second);
        run(&mut near, &mut far);
        assert_eq!(near.error.map(|error| error.to_string()), None);
        assert_eq!((&*near.read, &*far.read), (&*ANSWER.repeat(3), &*HELLO.repeat(4)));
        assert!(near.is_ended);
        assert!(!line.lock().unwrap().1, "both ends spoke at once, capacity {capacity}");
    }
}

#[test]
fn content_larger_than_any_buffer_comes_through_in_both_directions() {
    let content: Vec<u8> = (0_u32..1 << 20).map(|at| (at ^ (at >> 8)).to_le_bytes()[0]).collect();
    for capacity in [100_000, 1 << 22] {
        let keys = keys();
        let (near, far) = pipe(capacity);
        let [write, read] = [Op::Write(content.clone()), Op::Read(content.len())];
        let mut near = Side::new(keys.dial(near), [write.clone(), Op::Flush, read.clone()]);
        let mut far = Side::new(keys.listen(far), [read, write, Op::Flush]);
        run(&mut near, &mut far);
        assert!(near.read == content && far.read == content);
    }
}

/// Returns the outcome of a session with a peer that uses TLS, but not as haul does.
fn foreign(change: impl FnOnce(&mut rustls::ClientConfig)) -> [Option<SecureError>; 2] {
    let keys = keys();
    let dialer = tls::Dialer::new(&keys.dialer, Expect::anyone()).unwrap();
    let connection = dialer.foreign(change).unwrap();
    let (near, far) = pipe(1 << 16);
    let mut near = Side::new(SecureStream::new(near, connection), dialer_ops());
    let mut far = Side::new(keys.listen(far), listener_ops());
    run(&mut near, &mut far);
    assert!(far.read.is_empty() && far.peer_key.is_none());
    [near.failure(), far.failure()]
}

#[test]
fn end_that_speaks_another_protocol_or_has_no_key_is_incompatible() {
    let incompatible = Some(SecureError::Incompatible);
    assert_eq!(foreign(|config| config.alpn_protocols = vec![b"h2".to_vec()])[1], incompatible);
    assert!(foreign(|config| config.alpn_protocols.clear()).contains(&incompatible));
    let keyless = foreign(|config| config.client_auth_cert_resolver = Arc::new(NoKey));
    assert_eq!(keyless[1], incompatible);
}

#[derive(Debug)]
struct NoKey;

impl rustls::client::ResolvesClientCert for NoKey {
    fn resolve(
        &self,
        _: &[&[u8]],
        _: &[rustls::SignatureScheme],
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        false
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_wait_for_more(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        is_record: bool,
        is_dialer: bool,
    ) {
        let keys = keys();
        let (mut near, far) = pipe(1 << 16);
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        if is_record {
            near.write_all(&[0x16, 3, 3, length[0], length[1]]).unwrap();
        }
        near.write_all(&bytes).unwrap();
        drop(near);
        let stream = if is_dialer { keys.dial(far) } else { keys.listen(far) };
        let mut far = Side::new(stream, [Op::Read(1)]);
        far.step();
        prop_assert!(far.read.is_empty());
        prop_assert!(far.error.is_some());
    }
}
