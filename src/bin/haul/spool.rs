//! A queue before a stream whose reader may be slow, or gone, or may never read at all.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::explain::system;

/// Writer for any thread, which keeps none of them waiting for long.
///
/// A thread of its own writes what stands in the queue. When the queue is full, a [`May`](Need::May) is left out, and a
/// [`Must`](Need::Must) waits for up to [`STUCK`]. If there is no room even then, nobody reads: nothing more is
/// written, and no later call waits.
pub(crate) struct Spool<T> {
    name: &'static str,
    lines: Mutex<Lines<T>>,
    state: Arc<Mutex<State>>,
    /// Count of what was written, in pieces.
    count: Arc<AtomicU64>,
    failed: Failed,
    /// Pause of a piece until it is looked again whether there is room.
    pause: fn(),
    /// Function that gets, in one line, that no thread could be started; whoever gets other failures needs one as well.
    unstarted: fn(&str),
    /// Piece that is put where nothing else is for so long.
    idle: Option<(Duration, fn() -> T)>,
    /// Function that makes one piece of two that follow one another.
    join: Option<Join<T>>,
}

/// The queue, and the thread that empties it. Both are made by the first line.
struct Lines<T> {
    put: Option<Put<T>>,
    queue: Option<SyncSender<T>>,
    /// Disconnected when the thread is to gather no more.
    gathering: Option<SyncSender<()>>,
    /// Disconnected when the thread has written all.
    written: Option<Receiver<()>>,
}

/// Function that writes one piece.
pub(crate) type Put<T> = Box<dyn FnMut(T) -> io::Result<()> + Send>;

/// Function that appends a piece to the one before it, or gives it back where they must not be put as one.
pub(crate) type Join<T> = fn(&mut T, T) -> Option<T>;

/// Function that gets once, in one line, why nothing more is written; not where the reader went away.
pub(crate) type Failed = Arc<dyn Fn(&str) + Send + Sync>;

/// Need for a piece that finds no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The piece waits.
    Must,
    /// The piece is left out.
    May,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The reader went away: nothing more is written.
    Closed,
    /// The piece could not be written, for a reason that somebody should know.
    Failed,
}

impl<T: Send + 'static> Spool<T> {
    /// Creates a queue before the stream that has this name in messages.
    pub(crate) fn new(name: &'static str, put: Put<T>, failed: Failed) -> Self {
        let lines = Lines { put: Some(put), queue: None, gathering: None, written: None };
        let state = Arc::new(Mutex::new(State::Open));
        let pause = || thread::sleep(PAUSE);
        let unstarted =
            |text: &str| drop(io::stderr().write_all(format!("haul: {text}\n").as_bytes()));
        let (lines, count) = (Mutex::new(lines), Arc::default());
        Self { name, lines, state, count, failed, pause, unstarted, idle: None, join: None }
    }

    /// Puts this, too, whenever nothing else came for so long after the first piece.
    pub(crate) fn idle(mut self, pause: Duration, piece: fn() -> T) -> Self {
        self.idle = Some((pause, piece));
        self
    }

    /// Gathers pieces after each one that is put, for [`GATHERING`], and puts them as one: each that is put alone costs a
    /// system call, and wakes a thread.
    pub(crate) fn join(mut self, join: Join<T>) -> Self {
        self.join = Some(join);
        self
    }

    pub(crate) fn write(&self, mut piece: T, need: Need) {
        let mut pauses = 0;
        // Nobody waits for room with the lock in hand: sessions would wait for one another, each in its turn.
        let Some(queue) = self.queue() else { return };
        while state(&self.state) == State::Open {
            piece = match queue.try_send(piece) {
                Err(TrySendError::Full(piece)) if need == Need::Must => piece,
                _ => return,
            };
            if pauses >= PAUSES {
                return self.give_up();
            }
            (self.pause)();
            pauses += 1;
        }
    }

    /// Waits until all is written, for as long as somebody reads. Returns whether something was lost that should have
    /// been reported, and nobody went away from reading it.
    pub(crate) fn finish(&self) -> bool {
        let written = {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            (lines.queue, lines.gathering) = (None, None);
            lines.written.take()
        };
        if let Some(written) = written
            && state(&self.state) == State::Open
        {
            let mut before = self.count.load(Ordering::Relaxed);
            while written.recv_timeout(STUCK) == Err(RecvTimeoutError::Timeout) {
                let count = self.count.load(Ordering::Relaxed);
                if count == before {
                    self.give_up();
                    break;
                }
                before = count;
            }
        }
        state(&self.state) == State::Failed
    }

    fn give_up(&self) {
        if fail(&self.state) {
            let (name, seconds) = (self.name, STUCK.as_secs());
            (self.failed)(&format!(
                "nobody reads {name}: a line has waited for {seconds} s, and no more is written to it"
            ));
        }
    }

    fn queue(&self) -> Option<SyncSender<T>> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(put) = lines.put.take() {
            self.start(thread::Builder::new(), &mut lines, put);
        }
        lines.queue.clone()
    }

    fn start(&self, thread: thread::Builder, lines: &mut Lines<T>, mut put: Put<T>) {
        let (queue, queued) = sync_channel::<T>(QUEUE);
        let (done, written) = sync_channel::<()>(0);
        let (state, count) = (Arc::clone(&self.state), Arc::clone(&self.count));
        let (name, failed, idle) = (self.name, Arc::clone(&self.failed), self.idle);
        let (gathering, gathered) = sync_channel::<()>(0);
        let join = self.join;
        let run = move || {
            let _done = done;
            let mut put = |piece| {
                put(piece)?;
                // No other memory depends on it: relaxed is enough.
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            while let Some(piece) = next(&queued, idle) {
                let more = join.map(|join| (join, &queued));
                let Err(error) = put_joined(&mut put, piece, more) else {
                    if join.is_some() {
                        let _ = gathered.recv_timeout(GATHERING);
                    }
                    continue;
                };
                if error.kind() == io::ErrorKind::BrokenPipe {
                    *state.lock().unwrap_or_else(PoisonError::into_inner) = State::Closed;
                } else if fail(&state) {
                    failed(&format!("cannot write to {name}: {}", system(&error)));
                }
                return;
            }
        };
        match thread.name(self.name.into()).spawn(run) {
            Ok(_) => {
                (lines.queue, lines.written) = (Some(queue), Some(written));
                lines.gathering = Some(gathering);
            }
            Err(error) => {
                if fail(&self.state) {
                    let text = system(&error);
                    (self.unstarted)(&format!(
                        "nothing is written to {name}, for want of a thread: {text}"
                    ));
                }
            }
        }
    }
}

/// Puts a piece, and those that stand in the queue behind it: as one, as far as they can be joined.
fn put_joined<T>(
    put: &mut impl FnMut(T) -> io::Result<()>,
    piece: T,
    more: Option<(Join<T>, &Receiver<T>)>,
) -> io::Result<()> {
    let Some((join, queued)) = more else { return put(piece) };
    let last = queued.try_iter().take(QUEUE).try_fold(piece, |mut piece, next| {
        match join(&mut piece, next) {
            None => Ok(piece),
            Some(next) => put(piece).map(|()| next),
        }
    });
    put(last?)
}

/// Returns the next piece; `None` at the end.
fn next<T>(queued: &Receiver<T>, idle: Option<(Duration, fn() -> T)>) -> Option<T> {
    let Some((pause, piece)) = idle else { return queued.recv().ok() };
    match queued.recv_timeout(pause) {
        Ok(piece) => Some(piece),
        Err(RecvTimeoutError::Timeout) => Some(piece()),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

fn state(state: &Mutex<State>) -> State {
    *state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the state to failed; returns whether it had not failed before, nor was closed.
fn fail(state: &Mutex<State>) -> bool {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let was_open = *state == State::Open;
    if was_open {
        *state = State::Failed;
    }
    was_open
}

/// Pieces that may wait to be written: a second of many small files, and 200 KB of memory.
const QUEUE: usize = 1024;

/// Longest wait of a piece for room: well under the silence that a peer puts up with.
const STUCK: Duration = Duration::from_secs(5);

/// Time for which pieces are gathered that are put as one: no reader sees it, and at 30,000 files a second it is 150 of them.
const GATHERING: Duration = Duration::from_millis(5);

/// Interval of the looks for room.
const PAUSE: Duration = Duration::from_millis(5);

/// Number of those looks.
const PAUSES: u128 = STUCK.as_millis() / PAUSE.as_millis();

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::channel;

    use super::*;

    thread_local! {
        /// Number of pauses that this thread has made.
        static WAITED: Cell<u128> = const { Cell::new(0) };
    }

    #[test]
    fn spool_whose_thread_cannot_start_says_so_and_has_failed() {
        thread_local! {
            static TOLD: Cell<u32> = const { Cell::new(0) };
        }
        let put: Put<usize> = Box::new(|_| Ok(()));
        let mut spool = Spool::new("the test", put, Arc::new(|_| {}));
        spool.unstarted = |text| {
            assert!(text.contains("the test") && text.contains("thread"), "{text}");
            TOLD.set(TOLD.get() + 1);
        };
        let put = spool.lines.lock().unwrap().put.take().unwrap();
        // More than there are addresses.
        let huge = thread::Builder::new().stack_size(1 << 50);
        spool.start(huge, &mut spool.lines.lock().unwrap(), put);
        (0..3).for_each(|piece| spool.write(piece, Need::Must));
        assert!(spool.finish(), "something was lost");
        assert_eq!(TOLD.get(), 1);
    }

    #[test]
    fn spool_puts_pieces_that_come_together_as_one_and_in_order() {
        const MOST: usize = 100;
        let (allow, allowed) = channel::<()>();
        let puts = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&puts);
        let put: Put<Vec<usize>> = Box::new(move |piece| {
            let _ = allowed.recv();
            sink.lock().unwrap().push(piece);
            Ok(())
        });
        let spool = Spool::new("the test", put, Arc::new(|_| {}));
        let spool = spool.join(|piece, next| {
            if piece.len() == MOST {
                return Some(next);
            }
            piece.extend(next);
            None
        });
        // All of them stand in the queue, or in the first put, before the first put ends.
        (0..QUEUE).for_each(|piece| spool.write(vec![piece], Need::Must));
        drop(allow);
        assert!(!spool.finish());
        let puts = puts.lock().unwrap();
        assert!(puts.len() <= QUEUE / MOST + 2, "{} puts", puts.len());
        assert!(puts.iter().all(|piece| (1..=MOST).contains(&piece.len())));
        assert_eq!(puts.concat(), (0..QUEUE).collect::<Vec<_>>());
    }

    #[test]
    fn spool_that_nobody_reads_keeps_no_call_waiting_once_it_was_given_up() {
        let (hold, held) = channel::<()>();
        // It writes nothing before the test ends.
        let put: Put<usize> = Box::new(move |_| {
            let _ = held.recv();
            Ok(())
        });
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let failed: Failed = Arc::new(move |text| sink.lock().unwrap().push(text.to_owned()));
        let mut spool = Spool::new("the test", put, failed);
        spool.pause = || WAITED.with(|waited| waited.set(waited.get() + 1));
        // What may be left out is, and never waits.
        (0..100 * QUEUE).for_each(|piece| spool.write(piece, Need::May));
        assert_eq!((WAITED.get(), state(&spool.state)), (0, State::Open));
        // The first that must be written waits, and is the last to do so.
        (0..100 * QUEUE).for_each(|piece| spool.write(piece, Need::Must));
        assert!(spool.finish());
        assert_eq!(WAITED.get(), PAUSES);
        assert_eq!(told.lock().unwrap().len(), 1);
        drop(hold);
    }
}
