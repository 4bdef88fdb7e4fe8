//! The threads that commits are done on, in batches.
//!
//! A thread takes all commits that wait, up to [`BATCH`], and does each step for all of them: so the files of a
//! batch share the syncs of their folders, and while one batch waits for the device the next gathers.
#![expect(
    clippy::disallowed_methods,
    reason = "a commit waits for a file descriptor for so long and no longer"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::commit::{Job, Shared, run, run_short};

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
    /// Number of commits that have ended, of as many as `next` counts.
    ended: u64,
    /// Commits that lack file descriptors, and have tried since the last one ended.
    lacking: Halted,
    /// Commits that wait for the names of all before a number, by that number.
    behind: BTreeMap<u64, Halted>,
    /// Number of those that wait for one to end, which may give file descriptors back.
    patient: u64,
    /// Number of threads that take commits from `jobs`.
    threads: u64,
    closed: bool,
}

/// Commits that give nothing back before others have ended.
#[derive(Debug, Clone, Copy, Default)]
struct Halted {
    commits: u64,
    threads: u64,
}

impl Pool {
    /// Creates a pool of `size` threads, which are started by the first commit. With 0, commits are done where they
    /// are asked for.
    pub(super) fn new(size: usize) -> Self {
        Self { queue: Arc::default(), threads: Mutex::default(), size }
    }

    pub(super) fn submit(&self, mut job: Job) {
        let mut state = self.queue.lock();
        job.number = state.next;
        state.next += 1;
        state.unpublished.insert(job.number);
        if self.size > 0 && job.is_short() {
            drop(state);
            match run_short(job, &self.queue) {
                None => return,
                Some(lacking) => job = lacking,
            }
            state = self.queue.lock();
        }
        state.threads = self.start();
        if state.threads == 0 {
            drop(state);
            run(vec![job], &self.queue);
            return;
        }
        state.jobs.push_back(job);
        drop(state);
        self.queue.more.notify_one();
    }

    /// Starts the threads that can be started, and returns their number.
    fn start(&self) -> u64 {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while threads.len() < self.size {
            let queue = Arc::clone(&self.queue);
            let named = std::thread::Builder::new().name("haul-sync".to_owned());
            match named.spawn(move || queue.work()) {
                Ok(thread) => threads.push(thread),
                Err(_) => break,
            }
        }
        u64::try_from(threads.len()).unwrap_or(u64::MAX)
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

    /// Notes that the final names of a batch stand, or never will.
    pub(super) fn set_published(&self, jobs: &[Job]) {
        let mut state = self.lock();
        for job in jobs {
            state.unpublished.remove(&job.number);
        }
        // To wake nobody takes a system call, too.
        let is_awaited = !state.behind.is_empty();
        drop(state);
        if is_awaited {
            self.published.notify_all();
        }
    }

    /// Waits until the final names of all commits before this one stand. `own`: how many commits cannot end before.
    ///
    /// It ends: those are in batches that were taken before or with this one, and no batch waits before its own names
    /// stand.
    pub(super) fn wait_for_earlier(&self, number: u64, own: usize) {
        let mut state = self.lock();
        if !state.is_behind(number) {
            return;
        }
        let halted = Halted::of(own);
        state.behind.entry(number).or_default().add(halted);
        // Who waits for a file descriptor may be the last that is under way by now.
        self.ended.notify_all();
        while state.is_behind(number) {
            state = self.published.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.behind.remove(&number);
    }

    /// Notes that a commit ended: its files are closed, or handed back.
    pub(super) fn set_ended(&self) {
        let mut state = self.lock();
        state.ended += 1;
        // There may be something for each of them now.
        state.lacking = Halted::default();
        let is_awaited = state.patient > 0;
        drop(state);
        if is_awaited {
            self.ended.notify_all();
        }
    }

    /// Does what may lack a file descriptor, with those that are kept for that; again each time that a commit ended, or that a while has passed in which
    /// entries may have been closed.
    ///
    /// `own` is how many commits cannot end before this is done. It ends with whatever it comes to, once no other commit
    /// is under way that could give some back, and for [`ALONE`] times nothing that a session has open was closed either;
    /// and after [`PATIENCE`], should others come for ever that are faster.
    pub(super) fn patiently<T, E>(
        &self,
        own: usize,
        shared: &Shared,
        mut act: impl FnMut() -> Result<T, E>,
        lacks_descriptors: impl Fn(&E) -> bool,
    ) -> Result<T, E> {
        let own = Halted::of(own);
        let mut since = None;
        let mut seen = self.lock().ended;
        // Whether this is among those that lack descriptors, of which it is only until another one ended.
        let mut is_counted = false;
        let mut alone = 0;
        loop {
            // Those that lack descriptors try one at a time: what one of them takes for a moment may be what the other lacks.
            let first = since.is_none().then(&mut act);
            let result = match first {
                Some(result) if !result.as_ref().is_err_and(&lacks_descriptors) => result,
                _ => shared.reserve.spend(&shared.tree.root, &mut act),
            };
            let lacks = result.as_ref().is_err_and(&lacks_descriptors);
            let is_patient = since.get_or_insert_with(Instant::now).elapsed() < PATIENCE;
            let mut state = self.lock();
            if state.ended != seen {
                (seen, is_counted) = (state.ended, false);
                if lacks && is_patient {
                    continue;
                }
            }
            if lacks && is_patient {
                if !is_counted {
                    state.lacking.add(own);
                    is_counted = true;
                }
                // Where commits are done by whoever asks for them, nothing is closed meanwhile.
                alone = if state.is_under_way() { 0 } else { alone + 1 };
                if alone == 0 || alone < ALONE && state.threads > 0 {
                    let is_waiting = |state: &mut State| {
                        state.ended == seen && (state.is_under_way() == (alone == 0))
                    };
                    state.patient += 1;
                    let waited = self.ended.wait_timeout_while(state, PAUSE, is_waiting);
                    waited.unwrap_or_else(PoisonError::into_inner).0.patient -= 1;
                    continue;
                }
            }
            if is_counted {
                state.lacking.remove(own);
            }
            return result;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether commits before this one have no final name yet.
    fn is_behind(&self, number: u64) -> bool {
        self.unpublished.first().is_some_and(|&first| first < number)
    }

    /// Returns whether there is a commit that can end before those that lack file descriptors, or wait for
    /// a name.
    ///
    /// What is queued is none of these unless there is a thread to take it.
    fn is_under_way(&self) -> bool {
        let mut halted = self.lacking;
        let first = self.unpublished.first().copied().unwrap_or(u64::MAX);
        for (_, behind) in self.behind.range(first.saturating_add(1)..) {
            halted.add(*behind);
        }
        let queued = u64::try_from(self.jobs.len()).unwrap_or(u64::MAX);
        let taken = self.next.saturating_sub(queued);
        taken > self.ended + halted.commits || queued > 0 && self.threads > halted.threads
    }
}

impl Halted {
    /// Returns the commits that one thread has.
    fn of(commits: usize) -> Self {
        Self { commits: u64::try_from(commits).unwrap_or(u64::MAX), threads: 1 }
    }

    fn add(&mut self, other: Self) {
        self.commits += other.commits;
        self.threads += other.threads;
    }

    fn remove(&mut self, other: Self) {
        self.commits -= other.commits;
        self.threads -= other.threads;
    }
}

/// Longest wait of a commit for a file descriptor while others end: as long as a session in which nothing moves,
/// by default.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Pause before it looks again while none ends.
const PAUSE: Duration = Duration::from_millis(20);

/// Number of times that it looks again while no other commit is under way: for a second, in which a session that goes
/// on closes what is complete. A session that waits for this very commit closes nothing.
const ALONE: u32 = 50;

/// The most commits of one batch: enough that the sync of a folder is a small part of it, and few enough that the
/// first of them does not wait long for its receipt.
const BATCH: usize = 64;
