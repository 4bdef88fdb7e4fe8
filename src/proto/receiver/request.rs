//! Messages whose consequences take several steps: what each asks of the store, one thing at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::{Consumed, Receiver, State, Step};
use crate::hash::{BlockSize, Hashed, Root};
use crate::proto::connection::Heard;
use crate::proto::error::{Failure, Misuse, ProtocolError};
use crate::proto::wire::frame::HEADER;
use crate::proto::wire::message::Name;
use crate::types::{EntryId, Place};

/// A message whose consequences are not all drawn.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) name: Name,
    /// The entry that it is about.
    #[cfg(any(test, feature = "testing"))]
    pub(super) entry: Option<EntryId>,
    /// What it begins with. A step that is asked for later has the same input given again.
    head: [u8; HEADER],
    pub(super) len: usize,
    pub(super) payload: Range<usize>,
    pub(super) tasks: VecDeque<Task>,
    /// The first task was handed out and is not answered.
    pub(super) asked: bool,
    /// When it was heard.
    pub(super) since: Duration,
}

/// One thing to do about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Begin {
        entry: EntryId,
        place: Place,
    },
    /// See what size and time the file has that has its name.
    Look {
        entry: EntryId,
    },
    /// Compare the content that came inside its offer with the file that has its name.
    Compare {
        entry: EntryId,
        len: usize,
    },
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
        root: Option<Root>,
    },
}

impl Receiver {
    pub(super) fn hear<'a>(&mut self, now: Duration, input: &'a [u8]) -> Result<Step<'a>, Failure> {
        let is_new = self.current.is_none();
        if is_new {
            let (message, payload, len) = match self.link.hear(now, input)? {
                Heard::Incomplete { needed } => {
                    return Ok(Step::Consumed(Consumed { bytes: 0, needed }));
                }
                Heard::Skip { len } => {
                    self.link.take(now, len, None);
                    return Ok(Step::Consumed(Consumed { bytes: len, needed: 0 }));
                }
                Heard::Broken { error, len } => {
                    if self.state == Ok(State::AwaitHello) {
                        return Err(error.into());
                    }
                    self.link.take(now, len, None);
                    self.doom.get_or_insert((error.into(), now));
                    return Ok(Step::Consumed(Consumed { bytes: len, needed: 0 }));
                }
                Heard::Message { message, payload, len } => (message, payload, len),
            };
            self.was_heard();
            let name = message.name();
            let start = len.saturating_sub(payload.len());
            let (payload_at, tasks) = (start..len, VecDeque::new());
            let mut current = Current {
                name,
                #[cfg(any(test, feature = "testing"))]
                entry: message.entry(),
                head: input.first_chunk().copied().unwrap_or_default(),
                len,
                payload: payload_at,
                tasks,
                asked: false,
                since: now,
            };
            if matches!(name, Name::Hello | Name::Over | Name::Out | Name::Abort) {
                // These change what is heard next, and ask nothing of the store.
                self.link.take(now, len, Some(name));
                self.control(now, message)?;
                return Ok(Step::Consumed(Consumed { bytes: len, needed: 0 }));
            }
            if self.state == Ok(State::AwaitHello) {
                return Err(ProtocolError::Unexpected { kind: name }.into());
            }
            if !self.greeted && name != Name::Heartbeat {
                // The sender's first turn is its greeting.
                self.doom.get_or_insert((ProtocolError::Unexpected { kind: name }.into(), now));
            }
            if self.doom.is_none()
                && let Err(error) = self.dispatch(message, payload, &mut current.tasks)
            {
                current.tasks.clear();
                self.doom = Some((error.into(), now));
            }
            self.current = Some(current);
        }
        self.work(now, input, is_new)
    }

    /// Hands out the next task of the current message, or consumes it. `is_checked`: it was with these very bytes that the
    /// message was checked.
    pub(super) fn work<'a>(
        &mut self,
        now: Duration,
        input: &'a [u8],
        is_checked: bool,
    ) -> Result<Step<'a>, Failure> {
        if let Some(current) = &self.current {
            if current.asked {
                return Err(Misuse::AnswerDue.into());
            }
            if input.first_chunk() != Some(&current.head) || input.len() < current.len {
                return Err(Misuse::OtherInput.into());
            }
        }
        while let Some(task) = self.next_task() {
            let Some(current) = &mut self.current else { break };
            current.asked = true;
            let payload = current.payload.clone();
            match task {
                Task::Begin { entry, place } => {
                    if let Some(incoming) = self.entries.get(&entry) {
                        return Ok(Step::Begin { offer: incoming.offer.clone(), place });
                    }
                    self.skip_task();
                }
                Task::Look { entry } => {
                    if let Some(incoming) = self.entries.get(&entry) {
                        return Ok(Step::Look { offer: incoming.offer.clone() });
                    }
                    self.skip_task();
                }
                Task::Compare { entry, len } => return Ok(Step::Read { entry, offset: 0, len }),
                Task::Write { entry, offset, block } => {
                    let bytes = input.get(payload).unwrap_or_default();
                    // Whoever gives the input again may have changed it.
                    if is_checked || self.is_content(entry, bytes, block.as_ref()) {
                        return Ok(Step::Write { entry, offset, bytes });
                    }
                    if let Some(current) = &mut self.current {
                        current.asked = false;
                    }
                    return Err(Misuse::OtherInput.into());
                }
                Task::Zeros { entry, blocks } => {
                    if let Some((offset, len)) = self.left_at(entry, &blocks) {
                        return Ok(Step::WriteZeros { entry, offset, len });
                    }
                    self.skip_task();
                    self.zeros(entry, blocks);
                }
                Task::Settle { entry } => self.settle(entry),
                Task::Claim { entry, root } => self.claimed(entry, root),
            }
            // Done without the caller: the next one.
            if let Some(current) = &mut self.current {
                current.asked = false;
            }
        }
        let Some(current) = self.current.take() else { return Err(Misuse::AnswerDue.into()) };
        self.link.take(now, current.len, Some(current.name));
        self.note_progress(now);
        Ok(Step::Consumed(Consumed { bytes: current.len, needed: 0 }))
    }

    /// Whether these bytes are the block that was checked, or all of the content of an offer that was.
    fn is_content(&self, entry: EntryId, bytes: &[u8], block: Option<&Hashed>) -> bool {
        let Some(incoming) = self.entries.get(&entry) else { return false };
        let offer = &incoming.offer;
        match block {
            Some(block) => offer.block_size.hash(block.index, bytes).as_ref() == Some(block),
            None => offer.root == Some(Root::of(bytes)),
        }
    }

    /// The first task concerns nothing that is left.
    pub(super) fn skip_task(&mut self) {
        if let Some(current) = &mut self.current {
            current.tasks.pop_front();
        }
    }

    /// The first task; one that the caller has nothing to do with is taken off the list.
    pub(super) fn next_task(&mut self) -> Option<Task> {
        let tasks = &mut self.current.as_mut()?.tasks;
        let task = tasks.front()?.clone();
        if matches!(task, Task::Settle { .. } | Task::Claim { .. }) {
            tasks.pop_front();
        }
        Some(task)
    }

    /// The answer to the first task has come.
    pub(super) fn answer(&mut self, fits: impl FnOnce(&Task) -> bool) -> Result<Task, Failure> {
        self.state?;
        let current = self.current.as_mut().filter(|current| current.asked);
        let current = current.ok_or(Misuse::NotAsked)?;
        if !current.tasks.front().is_some_and(fits) {
            return Err(Misuse::NotAsked.into());
        }
        current.asked = false;
        current.tasks.pop_front().ok_or_else(|| Misuse::NotAsked.into())
    }
}

/// What is written for a block of zeros. It takes no room in the program.
pub(super) static ZEROS: [u8; BlockSize::MAX.len()] = [0; BlockSize::MAX.len()];
