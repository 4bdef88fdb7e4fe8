//! The threads that commits are done on, in batches.
//!
//! A thread takes all commits that wait, up to [`BATCH`], and does each step for all of them: so the files of a
//! batch share the syncs of their folders, and while one batch waits for the device the next gathers.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::commit::{run, run_short};
use super::job::Job;
use super::queue::Queue;

/// The threads of a store and of all its clones. They end when the last clone is dropped, and finish what is queued.
#[derive(Debug)]
pub(super) struct Pool {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    size: usize,
}

impl Pool {
    /// Creates a pool of `size` threads, which are started by the first commit. With 0, commits are done where they
    /// are asked for.
    pub(super) fn new(size: usize) -> Self {
        Self { queue: Arc::default(), threads: Mutex::default(), size }
    }

    pub(super) fn submit(&self, mut job: Job) {
        if self.size > 0 && job.is_short() {
            job.number = self.queue.number();
            match run_short(job, &self.queue) {
                None => return,
                Some(lacking) => job = lacking,
            }
            // It is queued behind others now: whoever waits for what was asked for before may have the thread that would take
            // this one.
            self.queue.set_published([job.number]);
            self.queue.set_ended();
        }
        if let Some(job) = self.queue.push(job, self.start()) {
            run(vec![job], &self.queue);
        }
    }

    /// Starts the threads that can be started, and returns their number.
    fn start(&self) -> u64 {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while threads.len() < self.size {
            let queue = Arc::clone(&self.queue);
            let named = std::thread::Builder::new().name("haul-sync".to_owned());
            match named.spawn(move || work(&queue)) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        u64::try_from(threads.len()).unwrap_or(u64::MAX)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.close();
        let threads = self.threads.get_mut().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(queue: &Queue) {
    while let Some(batch) = queue.take(BATCH) {
        run(batch, queue);
    }
}

/// The most commits of one batch: enough that the sync of a folder is a small part of it, and few enough that the
/// first of them does not wait long for its receipt.
const BATCH: usize = 64;
