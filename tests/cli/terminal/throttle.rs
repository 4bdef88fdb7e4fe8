//! A slow line, and how many bytes it let pass by when.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

/// Carries connections to a receiver, at a rate.
pub(crate) struct Throttle {
    /// Where senders go instead.
    pub(crate) address: String,
    passed: Arc<Mutex<Vec<(Instant, u64)>>>,
    closed: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Throttle {
    /// A line to this address that lets so many bytes a second pass towards it.
    pub(crate) fn new(to: &str, rate: u64) -> Self {
        let to: SocketAddr = to.parse().expect("it is of a network");
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // Before listening, so that what it accepts has it too: what waits in the system did not pass.
        listener.set_recv_buffer_size(BUFFER).unwrap();
        listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        listener.listen(4).unwrap();
        listener.set_read_timeout(Some(PAUSE)).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap().to_string();
        let passed = Arc::new(Mutex::new(vec![(Instant::now(), 0)]));
        let closed = Arc::<AtomicBool>::default();
        let acceptor = thread::spawn({
            let (passed, closed) = (Arc::clone(&passed), Arc::clone(&closed));
            move || {
                let mut lines = Vec::new();
                while !closed.load(Ordering::Relaxed) {
                    let Ok((near, _)) = listener.accept() else { continue };
                    let (passed, closed) = (Arc::clone(&passed), Arc::clone(&closed));
                    lines.push(thread::spawn(move || carry(near, to, rate, &passed, &closed)));
                }
                lines.into_iter().for_each(|line| line.join().expect("it does not panic"));
            }
        });
        Self { address, passed, closed, acceptor: Some(acceptor) }
    }

    /// How many bytes had passed by then.
    pub(crate) fn passed(&self, by: Instant) -> u64 {
        let passed = self.passed.lock().expect("nobody panics with it");
        let index = passed.partition_point(|(at, _)| *at <= by);
        passed.get(index.saturating_sub(1)).map_or(0, |(_, bytes)| *bytes)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn carry(
    near: Socket,
    to: SocketAddr,
    rate: u64,
    passed: &Mutex<Vec<(Instant, u64)>>,
    closed: &AtomicBool,
) {
    let far = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    if far.connect(&to.into()).is_err() {
        return;
    }
    near.set_read_timeout(Some(PAUSE)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = (&far).read(&mut buffer) {
                if (&near).write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            let _ = near.shutdown(Shutdown::Write);
        });
        let mut buffer = vec![0; PIECE];
        let mut due = Instant::now();
        loop {
            match (&near).read(&mut buffer) {
                Ok(count @ 1..) => {
                    {
                        let mut passed = passed.lock().expect("nobody panics with it");
                        let before = passed.last().map_or(0, |(_, bytes)| *bytes);
                        passed.push((Instant::now(), before + count as u64));
                    }
                    if (&far).write_all(&buffer[..count]).is_err() {
                        break;
                    }
                    let now = Instant::now();
                    due = due.max(now) + Duration::from_micros(count as u64 * 1_000_000 / rate);
                    // This is what a slow line does.
                    thread::sleep(due.saturating_duration_since(now));
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if closed.load(Ordering::Relaxed) {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => break,
            }
        }
        let _ = far.shutdown(Shutdown::Both);
    });
}

const PIECE: usize = 4096;

/// The system's buffer of the line.
const BUFFER: usize = 16 * 1024;

const PAUSE: Duration = Duration::from_millis(20);
