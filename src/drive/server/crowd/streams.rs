//! Streams that take their time to close, and what a server makes of them.

use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::send;
use crate::drive::CancelToken;
use crate::drive::server::Server;
use crate::error::Error;
use crate::proto;
use crate::store::MemoryStore;
use crate::transport::memory::{self, MemoryAcceptor, Pipe};
use crate::transport::{Acceptor, Peer};

/// Gate that streams which are stuck wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(super) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open, at most for so long.
    fn wait(&self, most: Duration) {
        let (is_open, opened) = &*self.0;
        drop(opened.wait_timeout_while(is_open.lock().unwrap(), most, |is_open| !*is_open));
    }
}

/// An acceptor whose streams count until they are closed, which is never soon.
pub(super) struct Slow {
    inner: MemoryAcceptor,
    gate: Gate,
    /// Most streams that may be open.
    most: usize,
    open: Arc<AtomicUsize>,
    came: usize,
    /// The first of those that do not close before the gate is open, and how many there are.
    stuck: (usize, usize),
}

impl Slow {
    pub(super) fn new(inner: MemoryAcceptor, gate: &Gate, most: usize) -> Self {
        Self { inner, gate: gate.clone(), most, open: Arc::default(), came: 0, stuck: (0, 0) }
    }

    pub(super) const fn stuck(mut self, first: usize, count: usize) -> Self {
        self.stuck = (first, count);
        self
    }
}

impl Acceptor for Slow {
    type Stream = SlowPipe;

    fn accept(&mut self) -> io::Result<(SlowPipe, Peer)> {
        let (pipe, peer) = self.inner.accept()?;
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(open <= self.most, "{open} streams are open, of at most {}", self.most);
        let is_stuck = self.came.checked_sub(self.stuck.0).is_some_and(|at| at < self.stuck.1);
        self.came += 1;
        let lingers = if is_stuck { Duration::MAX } else { LINGERS };
        let (gate, open) = (self.gate.clone(), Arc::clone(&self.open));
        Ok((SlowPipe { pipe: Some(pipe), gate, lingers, open }, peer))
    }
}

pub(super) struct SlowPipe {
    pipe: Option<Pipe>,
    gate: Gate,
    lingers: Duration,
    open: Arc<AtomicUsize>,
}

impl Read for SlowPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pipe.as_mut().unwrap().read(buffer)
    }
}

impl Write for SlowPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pipe.as_mut().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SlowPipe {
    fn drop(&mut self) {
        // The other end sees its end, and comes again, while this one is not gone yet.
        self.pipe = None;
        self.gate.wait(self.lingers);
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Time that a stream takes to close which does so by itself.
const LINGERS: Duration = Duration::from_millis(10);

/// As many connections as there may be, each of them served, and none closed.
#[test]
fn connection_counts_until_its_stream_is_closed_and_keeps_nobody_waiting() {
    let (connector, mut acceptor) = memory::network(NonZeroUsize::new(1 << 16).unwrap());
    acceptor.set_timeout(Some(Duration::from_millis(5)));
    let (store, cancel, gate) = (MemoryStore::new(), CancelToken::new(), Gate::default());
    let (sessions, waiting, strangers) = (1, 1, 1);
    let most = sessions + waiting + 2 * strangers;
    let acceptor = Slow::new(acceptor, &gate, most).stuck(0, most);
    let server = Server::new(acceptor, store.clone())
        .sessions(sessions)
        .waiting(waiting)
        .strangers(strangers)
        .cancel(cancel.clone());
    let served = thread::scope(|scope| {
        let server = scope.spawn(move || server.run(|_, _| ()));
        let served: Result<(), String> =
            (0..most).try_for_each(|number| send(connector.clone(), number, &store));
        gate.open();
        // There was room for these alone until now. What is not served is not waited for twice.
        let served = served.and_then(|()| send(connector.clone(), most, &store));
        cancel.leave();
        let ended = server.join().expect("a server does not panic");
        assert!(matches!(ended, Err(Error::Session(proto::Error::Cancelled))), "{ended:?}");
        served
    });
    assert_eq!(served, Ok(()));
}
