//! The commits of a store on their way, and what they wait for.
#![expect(
    clippy::disallowed_methods,
    reason = "a commit waits for a file descriptor for so long and no longer"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::job::Job;
use super::shared::Shared;

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

impl Queue {
    /// Returns the number of a commit that is done where it is asked for.
    pub(super) fn number(&self) -> u64 {
        self.lock().number()
    }

    /// Numbers a commit, and adds it for one of so many threads to take: they take commits in the order of their numbers. With
    /// no thread, it is given back.
    pub(super) fn push(&self, mut job: Job, threads: u64) -> Option<Job> {
        let mut state = self.lock();
        job.number = state.number();
        state.threads = state.threads.max(threads);
        if threads == 0 {
            return Some(job);
        }
        state.jobs.push_back(job);
        drop(state);
        self.more.notify_one();
        None
    }

    /// Waits for commits, and takes as many as there are, up to a number. `None`: there will be no more.
    pub(super) fn take(&self, most: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let count = state.jobs.len().min(most);
        Some(state.jobs.drain(..count).collect())
    }

    /// Ends the wait of all who take commits, once there are none.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.more.notify_all();
    }

    /// Notes that the final names of a batch stand, or never will.
    pub(super) fn set_published(&self, numbers: impl IntoIterator<Item = u64>) {
        let mut state = self.lock();
        for number in numbers {
            state.unpublished.remove(&number);
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
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        self.unpublished.insert(number);
        number
    }

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
