//! Requests to the caller, and those of them that are not answered.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::action::ReceiveAction;
use crate::hash::{Hash, Hashed};
use crate::proto::error::Misuse;
use crate::proto::wire::frame::HEADER;
use crate::proto::wire::message::{Message, Name};
use crate::types::{EntryId, Event, Place};

/// The requests of a session: those that need no answer, those of the current message, and the one that is not answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// Actions that are handed out before anything else. None of them is answered.
    queued: VecDeque<ReceiveAction>,
    /// The message that is being dealt with.
    current: Option<Current>,
    /// Request that is not answered, for that message or between messages.
    asked: Option<Task>,
    /// Set once the caller was given that.
    is_given: bool,
}

/// Content of an entry that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) entry: EntryId,
    pub(super) offset: u64,
    pub(super) len: usize,
    pub(super) what: Content,
}

/// Content of an entry that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Content that the store holds, to be reported.
    Held,
    /// Content that is copied first from the file that will be replaced.
    Replaced,
    /// The file that has its name, to be compared before anything is received.
    Existing,
    /// The file that has got its name since: its own is complete.
    Conflict,
    /// The file that has its name, all of it, to be compared with the content that came inside the offer.
    Whole,
}

/// A message whose consequences are not all drawn.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) name: Name,
    /// The entry that it is about.
    #[cfg(any(test, feature = "testing"))]
    pub(super) entry: Option<EntryId>,
    /// Beginning of the message. A step that is asked for later has the same input given again.
    head: [u8; HEADER],
    pub(super) len: usize,
    payload: Range<usize>,
    tasks: VecDeque<Task>,
    /// Time at which it was received.
    since: Duration,
}

/// One thing to do, about a message or between messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Begin {
        entry: EntryId,
        place: Place,
    },
    /// See what size and time the file has that has its name.
    Stat {
        entry: EntryId,
    },
    Read(Reading),
    /// Write the payload.
    Write {
        entry: EntryId,
        offset: u64,
        block: Option<Hashed>,
    },
    /// Make blocks zeros.
    Zeros {
        entry: EntryId,
        blocks: Range<u64>,
    },
    /// See whether the entry is whole.
    Settle {
        entry: EntryId,
    },
    /// Compare the file that has its name with what the sender claims.
    Claim {
        entry: EntryId,
        root: Option<Hash>,
    },
}

impl Requests {
    /// Queues a request that needs no answer.
    pub(super) fn push(&mut self, action: ReceiveAction) {
        self.queued.push_back(action);
    }

    /// Queues news for the application.
    pub(super) fn tell(&mut self, event: Event) {
        self.push(ReceiveAction::Event(event));
    }

    /// Takes the next request that needs no answer.
    pub(super) fn pop(&mut self) -> Option<ReceiveAction> {
        self.queued.pop_front()
    }

    /// Begins to deal with a message that stands at the start of `input`, `len` bytes with its payload.
    pub(super) fn receive(
        &mut self,
        now: Duration,
        message: &Message,
        input: &[u8],
        len: usize,
        payload: usize,
    ) {
        self.current = Some(Current {
            name: message.name(),
            #[cfg(any(test, feature = "testing"))]
            entry: message.entry(),
            head: input.first_chunk().copied().unwrap_or_default(),
            len,
            payload: len.saturating_sub(payload)..len,
            tasks: VecDeque::new(),
            since: now,
        });
    }

    /// Ends the current message, all tasks of which are done.
    pub(super) fn finish(&mut self) -> Option<Current> {
        self.current.take()
    }

    /// Puts a task after those of the current message.
    pub(super) fn add(&mut self, task: Task) {
        if let Some(current) = &mut self.current {
            current.tasks.push_back(task);
        }
    }

    /// Puts a task before those that the current message still has. Between messages, a file is begun with the floor.
    pub(super) fn add_first(&mut self, task: Task) {
        if let Some(current) = &mut self.current {
            current.tasks.push_front(task);
        } else if let Task::Begin { entry, place } = task {
            self.ask(Task::Begin { entry, place });
        }
    }

    /// Gives up the tasks of the current message.
    pub(super) fn clear_tasks(&mut self) {
        if let Some(current) = &mut self.current {
            current.tasks.clear();
        }
    }

    /// Takes the next task of the current message.
    pub(super) fn next_task(&mut self) -> Option<Task> {
        self.current.as_mut()?.tasks.pop_front()
    }

    /// Asks for something, which the caller is [given](Self::give).
    pub(super) fn ask(&mut self, task: Task) {
        (self.asked, self.is_given) = (Some(task), false);
    }

    /// Notes that the caller is given what was asked for.
    pub(super) const fn give(&mut self) {
        self.is_given = true;
    }

    /// Returns why no input can be taken: an action is to be polled for, or an answer is due.
    pub(super) fn due(&self) -> Option<Misuse> {
        let is_asked = self.asked.is_some();
        let to_be_polled = !self.queued.is_empty() || is_asked && !self.is_given;
        to_be_polled.then_some(Misuse::ActionDue).or(is_asked.then_some(Misuse::AnswerDue))
    }

    /// Takes what was asked for: its answer has come.
    pub(super) fn answer(&mut self, fits: impl FnOnce(&Task) -> bool) -> Result<Task, Misuse> {
        self.asked.take_if(|task| fits(task)).ok_or(Misuse::NotAsked)
    }

    /// Takes what was to be begun: its answer has come.
    pub(super) fn answer_begin(&mut self) -> Result<(EntryId, Place), Misuse> {
        let asked = self.answer(|task| matches!(task, Task::Begin { .. }))?;
        let Task::Begin { entry, place } = asked else { return Err(Misuse::NotAsked) };
        Ok((entry, place))
    }

    /// Takes what was to be read: `read` bytes of it have come.
    pub(super) fn answer_read(&mut self, read: usize) -> Result<Reading, Misuse> {
        let Some(Task::Read(reading)) = self.asked else { return Err(Misuse::NotAsked) };
        if read > reading.len {
            return Err(Misuse::TooMuch);
        }
        self.asked = None;
        Ok(reading)
    }

    /// Forgets what was asked for, as it concerns nothing that is left.
    pub(super) fn forget_asked(&mut self) {
        self.asked = None;
    }

    /// Goes on with the queue of a suspended session. Returns what it was to begin between messages.
    pub(super) fn adopt(&mut self, mut suspended: Self) -> Option<(EntryId, Place)> {
        suspended.queued.append(&mut self.queued);
        self.queued = suspended.queued;
        match suspended.asked {
            Some(Task::Begin { entry, place }) if suspended.current.is_none() => {
                Some((entry, place))
            }
            _ => None,
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn queued(&self) -> impl Iterator<Item = &ReceiveAction> {
        self.queued.iter()
    }

    pub(super) const fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// Returns what was asked for and is not answered.
    pub(super) const fn asked(&self) -> Option<&Task> {
        self.asked.as_ref()
    }

    /// Returns whether an entry is to be begun.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn is_to_begin(&self, entry: EntryId) -> bool {
        let begins =
            |task: &Task| matches!(task, Task::Begin { entry: begun, .. } if *begun == entry);
        let tasks = self.current.iter().flat_map(|current| &current.tasks);
        tasks.chain(&self.asked).any(begins)
    }
}

impl Current {
    /// Returns the payload within the input, if it is the same input that the message was received with.
    pub(super) fn payload<'a>(&self, input: &'a [u8]) -> Option<&'a [u8]> {
        let is_same = input.first_chunk() == Some(&self.head);
        input.get(self.payload.clone()).filter(|_| is_same)
    }

    /// Returns when the message was received.
    pub(super) const fn since(&self) -> Duration {
        self.since
    }
}
