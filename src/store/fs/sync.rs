//! The threads that commits are done on, in batches.
//!
//! A thread takes all commits that wait, up to [`BATCH`], and does each step for all of them: so the files of a
//! batch share the syncs of their folders, and while one batch waits for the device the next gathers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::commit::{Job, run};

/// The threads of a store and of all its clones. They end when the last clone is dropped, and finish what is queued.
#[derive(Debug)]
pub(super) struct Pool {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    size: usize,
}

/// Commits on their way.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    more: Condvar,
    published: Condvar,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    next: u64,
    /// The numbers of those whose final name does not stand yet.
    unpublished: BTreeSet<u64>,
    /// How many have ended, of as many as `next` says.
    ended: u64,
    /// How many wait for others, and give nothing back meanwhile.
    waiting: u64,
    closed: bool,
}

impl Pool {
    /// With `size` threads, which are started by the first commit. With 0, commits are done where they are asked for.
    pub(super) fn new(size: usize) -> Self {
        Self { queue: Arc::default(), threads: Mutex::default(), size }
    }

    pub(super) fn submit(&self, mut job: Job) {
        let mut state = self.queue.lock();
        job.number = state.next;
        state.next += 1;
        state.unpublished.insert(job.number);
        if self.start() == 0 {
            drop(state);
            run(vec![job], &self.queue);
            return;
        }
        state.jobs.push_back(job);
        drop(state);
        self.queue.more.notify_one();
    }

    /// How many threads there are, after those that can be started are.
    fn start(&self) -> usize {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while threads.len() < self.size {
            let queue = Arc::clone(&self.queue);
            let named = std::thread::Builder::new().name("haul-sync".to_owned());
            match named.spawn(move || queue.work()) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        threads.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.more.notify_all();
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn work(&self) {
        loop {
            let mut state = self.lock();
            while state.jobs.is_empty() {
                if state.closed {
                    return;
                }
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let count = state.jobs.len().min(BATCH);
            let batch = state.jobs.drain(..count).collect();
            drop(state);
            run(batch, self);
        }
    }

    /// Says that the final names of a batch stand, or never will.
    pub(super) fn set_published(&self, jobs: &[Job]) {
        let mut state = self.lock();
        for job in jobs {
            state.unpublished.remove(&job.number);
        }
        drop(state);
        self.published.notify_all();
    }

    /// Waits until the final names of all commits before this one stand. `own`: how many commits cannot end before.
    ///
    /// It ends: those are in batches that were taken before or with this one, and no batch waits before its own names
    /// stand.
    pub(super) fn wait_for_earlier(&self, number: u64, own: usize) {
        let own = u64::try_from(own).unwrap_or_default();
        let mut state = self.lock();
        state.waiting += own;
        while state.unpublished.first().is_some_and(|&first| first < number) {
            state = self.published.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= own;
    }

    /// Says that a commit ended: its files are closed, or handed back.
    pub(super) fn set_ended(&self) {
        self.lock().ended += 1;
        self.ended.notify_all();
    }

    /// Does what may lack a file descriptor, again each time that a commit ended, or that a while has passed in which
    /// entries may have been closed.
    ///
    /// `own` is how many commits cannot end before this is done. It ends: once [`PATIENCE`] has passed in which none
    /// ended, with whatever it comes to, and at once where no other commit is under way that could give some back.
    pub(super) fn patiently<T, E>(
        &self,
        own: usize,
        mut act: impl FnMut() -> Result<T, E>,
        lacks_descriptors: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let own = u64::try_from(own).unwrap_or_default();
        let mut waited = Duration::ZERO;
        loop {
            let seen = self.lock().ended;
            let result = act();
            if waited >= PATIENCE || !result.as_ref().is_err_and(&lacks_descriptors) {
                return result;
            }
            let mut state = self.lock();
            if state.ended == seen && state.ended + state.waiting + own >= state.next {
                return result;
            }
            state.waiting += own;
            let none_ended = |state: &mut State| state.ended == seen;
            let ended = self.ended.wait_timeout_while(state, PAUSE, none_ended);
            let (mut state, timeout) = ended.unwrap_or_else(PoisonError::into_inner);
            state.waiting -= own;
            drop(state);
            // What an ended one gave back may be taken already: so that counts too, but little.
            waited += if timeout.timed_out() { PAUSE } else { PAUSE / 50 };
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a commit waits for a file descriptor while no other commit ends, and how long before it looks again.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(20);

/// The most commits of one batch: enough that the sync of a folder is a small part of it, and few enough that the
/// first of them does not wait long for its receipt.
const BATCH: usize = 64;
