//! The threads that commits are done on, in batches.
//!
//! A thread takes all commits that wait, up to [`BATCH`], and does each step for all of them: so the files of a
//! batch share the syncs of their folders, and while one batch waits for the device the next gathers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

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
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    next: u64,
    /// The numbers of those whose final name does not stand yet.
    unpublished: BTreeSet<u64>,
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

    /// Waits until the final names of all commits before this one stand.
    ///
    /// It ends: those are in batches that were taken before or with this one, and no batch waits before its own names
    /// stand.
    pub(super) fn wait_for_earlier(&self, number: u64) {
        let mut state = self.lock();
        while state.unpublished.first().is_some_and(|&first| first < number) {
            state = self.published.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most commits of one batch: enough that the sync of a folder is a small part of it, and few enough that the
/// first of them does not wait long for its receipt.
const BATCH: usize = 64;
