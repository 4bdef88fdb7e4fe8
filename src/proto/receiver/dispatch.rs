//! What each message means to the receiver, and what follows from the store's answers.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::entry::{Incoming, Phase, unknown};
use super::{Bytes, Found, ReceiveAction, Receiver, State, Task};
use crate::config::Existing;
use crate::proto::error::{Failure, ProtocolError};
use crate::proto::event::Event;
use crate::proto::message::{Hello, Message, Name, WireOffer};
use crate::proto::path::RelPath;
use crate::proto::types::{EntryId, Kind, Meta, Offer, Outcome, Refusal, Withdrawal};
use crate::store::{Commit, Place};
use crate::tree::{Hashed, Root};

/// The most bytes of one `Zeros` (M-7): they cost a hash each, whatever they cost the sender.
pub(in crate::proto) const ZEROS_MAX: u64 = 1 << 30;

/// The most names beside the offered one that are tried.
pub(in crate::proto) const BESIDE_MAX: u32 = 10_000;

impl Receiver {
    /// Messages that steer the session.
    pub(super) fn control(&mut self, now: Duration, message: Message) -> Result<(), Failure> {
        let kind = message.name();
        let greeted = self.state != Ok(State::AwaitHello);
        if let Message::Abort { code } = message {
            return Err(Failure::Aborted(code));
        }
        if let (Message::Hello(hello), false) = (&message, greeted) {
            self.meet(now, hello.clone());
            return Ok(());
        }
        // Before the greeting there is no common ground on which to say more.
        let misplaced = Failure::from(ProtocolError::Unexpected { kind });
        if !greeted {
            return Err(misplaced);
        }
        if let Message::Over { waiting } = message {
            self.waited_for = waiting;
            (self.spoke, self.advanced) = (false, false);
            self.turn_began = now;
            self.summary.turns = self.summary.turns.saturating_add(1);
            self.state = Ok(State::Speaking);
        } else if message == Message::Out && self.entries.is_empty() && self.doom.is_none() {
            self.state = Ok(State::Closed);
        } else {
            self.doom.get_or_insert((misplaced, now));
        }
        Ok(())
    }

    fn meet(&mut self, now: Duration, hello: Hello) {
        let (transfer, attempt) = (hello.transfer, hello.attempt);
        self.state = Ok(State::Listening);
        match self.link.meet(hello) {
            Ok(version) => self.tell(Event::Greeted { transfer, attempt, version }),
            // The sender learns of it with the floor: greeting, `Over` and `Abort` are the same in all versions.
            Err(incompatible) => self.doom = Some((incompatible.into(), now)),
        }
    }

    /// Messages about entries: draws up what is to be done.
    pub(super) fn dispatch(
        &mut self,
        message: Message,
        payload: &[u8],
        tasks: &mut VecDeque<Task>,
    ) -> Result<(), ProtocolError> {
        let kind = message.name();
        if let Some(entry) = message.entry().filter(|_| kind.is_of_sender())
            && self.unsaid.get(&entry) == Some(&true)
            && kind != Name::Offer
        {
            // The sender goes on until it hears the bad news; what it takes back itself needs none.
            if kind == Name::Withdraw {
                self.unsaid.remove(&entry);
                self.say.retain(|message| message.entry() != Some(entry));
            }
            return Ok(());
        }
        match message {
            Message::Offer(offer) => self.offer(offer, payload, tasks),
            Message::Block { entry, index, hash } => {
                let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
                match incoming.phase {
                    Phase::Dropped => return Ok(()),
                    Phase::Filling => {}
                    Phase::Comparing if self.config.existing == Existing::Replace => {
                        tasks.push_back(Task::Begin { entry, place: Place::Replacing });
                    }
                    Phase::Wanted => {
                        tasks.push_back(Task::Begin { entry, place: incoming.place });
                    }
                    Phase::Opening
                    | Phase::Comparing
                    | Phase::Waiting
                    | Phase::Committing { .. } => {
                        return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                    }
                }
                let len = payload.len() as u64;
                incoming.check_block(index, len)?;
                incoming.came(&(index..index.saturating_add(1)));
                let size = incoming.offer.block_size;
                let offset = size.offset(index).unwrap_or(u64::MAX);
                self.summary.travel(payload.len(), false);
                let block = size.hash(index, payload).filter(|block| block.hash == hash);
                let Some(block) = block else {
                    incoming.damaged = true;
                    return Ok(());
                };
                incoming.right_block(index, len);
                if let Some(reason) = self.over_budget(entry, offset, len) {
                    self.drop_entry(entry, reason);
                    tasks.clear();
                    return Ok(());
                }
                let (block, source) = (Some(block), Bytes::Payload);
                tasks.push_back(Task::Write { entry, offset, block, source });
                Ok(())
            }
            Message::Same { entry, blocks } => self.same(entry, &blocks, tasks),
            Message::Zeros { entry, blocks } => {
                let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
                let bytes = incoming.offer.block_size.bytes();
                incoming.check_range(&blocks)?;
                if blocks.end.saturating_sub(blocks.start).saturating_mul(bytes) > ZEROS_MAX {
                    return Err(ProtocolError::Malformed { kind });
                }
                match incoming.phase {
                    Phase::Dropped => return Ok(()),
                    Phase::Filling => {}
                    Phase::Comparing if self.config.existing == Existing::Replace => {
                        tasks.push_back(Task::Begin { entry, place: Place::Replacing });
                    }
                    Phase::Wanted => {
                        tasks.push_back(Task::Begin { entry, place: incoming.place });
                    }
                    Phase::Opening
                    | Phase::Comparing
                    | Phase::Waiting
                    | Phase::Committing { .. } => {
                        return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                    }
                }
                if let Some(index) = blocks.clone().find(|index| incoming.tree.contains(*index)) {
                    return Err(ProtocolError::BlockAgain { entry, index });
                }
                incoming.came(&blocks);
                let offset = bytes.saturating_mul(blocks.start);
                let len = bytes.saturating_mul(blocks.end.saturating_sub(blocks.start));
                if let Some(reason) = self.over_budget(entry, offset, len) {
                    self.drop_entry(entry, reason);
                    tasks.clear();
                    return Ok(());
                }
                tasks.push_back(Task::Zeros { entry, blocks });
                Ok(())
            }
            Message::Differs { entry } => {
                let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
                match incoming.phase {
                    Phase::Dropped => {}
                    Phase::Comparing if self.config.existing != Existing::Replace => {
                        self.differs(entry, tasks);
                    }
                    Phase::Opening
                    | Phase::Comparing
                    | Phase::Filling
                    | Phase::Wanted
                    | Phase::Waiting
                    | Phase::Committing { .. } => {
                        return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                    }
                }
                Ok(())
            }
            Message::End { entry, size, root } => {
                let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
                match incoming.phase {
                    Phase::Dropped => return Ok(()),
                    Phase::Filling | Phase::Comparing => {}
                    Phase::Opening | Phase::Wanted | Phase::Waiting | Phase::Committing { .. } => {
                        return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                    }
                }
                incoming.finish(size, root)?;
                let is_cut = incoming.hold.as_ref().is_some_and(|hold| hold.len != size);
                if incoming.phase == Phase::Comparing && is_cut {
                    // The held file goes on where the offered one ends.
                    if self.config.existing != Existing::Replace {
                        self.differs(entry, tasks);
                        return Ok(());
                    }
                    tasks.push_back(Task::Begin { entry, place: Place::Replacing });
                } else if incoming.phase == Phase::Comparing && incoming.is_whole().is_none() {
                    // Neither called the same nor different: nothing could follow.
                    return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                }
                tasks.push_back(Task::Settle { entry });
                Ok(())
            }
            Message::Withdraw { entry, reason } => {
                let incoming = self.entries.get(&entry).ok_or(unknown(entry, kind))?;
                if matches!(incoming.phase, Phase::Committing { .. }) {
                    return Err(ProtocolError::UnexpectedForEntry { kind, entry });
                }
                self.withdrawn(entry, reason.into());
                Ok(())
            }
            Message::Heartbeat { activity } => {
                self.tell(Event::Waiting { activity });
                Ok(())
            }
            Message::Hello(_)
            | Message::Have { .. }
            | Message::Refuse { .. }
            | Message::Missing { .. }
            | Message::Kept { .. }
            | Message::Receipt { .. }
            | Message::Failed { .. }
            | Message::Over { .. }
            | Message::Out
            | Message::Abort { .. } => Err(ProtocolError::Unexpected { kind }),
        }
    }

    fn offer(
        &mut self,
        wire: WireOffer,
        payload: &[u8],
        tasks: &mut VecDeque<Task>,
    ) -> Result<(), ProtocolError> {
        let entry = wire.entry;
        let kind = Name::Offer;
        let limits = &self.config.limits;
        if entry.0 < self.next_id {
            return Err(ProtocolError::EntryOutOfOrder { entry });
        }
        let next_id = entry.0.checked_add(1).ok_or(ProtocolError::EntryOutOfOrder { entry })?;
        // What travels inside its offer is complete, and no more than a block.
        let whole = wire.size == Some(payload.len() as u64) && wire.root.is_some();
        let is_file = wire.kind == Kind::File;
        let is_well_formed = if wire.inline {
            whole && is_file && wire.block_size <= limits.block
        } else {
            // By its root alone, a file is offered that would fit inside the offer.
            let is_small =
                wire.size.is_some_and(|size| (1..=wire.block_size.bytes()).contains(&size));
            payload.is_empty()
                && (wire.root.is_none() || (is_file && is_small))
                && (is_file || wire.size == Some(0))
                && wire.block_size <= limits.block
        };
        if !is_well_formed {
            return Err(ProtocolError::Malformed { kind });
        }
        let pending = (self.entries.len() as u64).saturating_add(self.unsaid.len() as u64);
        if pending >= limits.pending_entries.max(1).into() {
            return Err(ProtocolError::TooManyPending { entry, limit: limits.pending_entries });
        }
        let is_open = is_file && wire.root.is_none();
        if is_open && self.open >= limits.open_entries.max(1) {
            return Err(ProtocolError::TooManyPending { entry, limit: limits.open_entries });
        }
        let names = self.names.saturating_add(wire.name.len() as u64);
        if !self.entries.is_empty() && names > limits.pending_names.into() {
            return Err(ProtocolError::TooManyNames { limit: limits.pending_names });
        }
        self.next_id = next_id;
        self.taken_entries = self.taken_entries.saturating_add(1);
        let size = wire.size.unwrap_or(0);
        let judged = self.judge(&wire, size);
        self.summary.travel(payload.len(), false);
        let path = match judged {
            Ok(path) => path,
            Err((path, reason)) => {
                self.say.push_back(Message::Refuse { entry, reason: reason.into() });
                self.unsaid.insert(entry, true);
                self.summary.refuse(reason);
                self.tell(Event::Refused { entry, path, reason });
                return Ok(());
            }
        };
        self.taken_bytes = self.taken_bytes.saturating_add(size);
        self.names = names;
        if is_open {
            self.open = self.open.saturating_add(1);
        }
        let meta = Meta {
            path: path.clone(),
            kind: wire.kind,
            size: wire.size,
            modified: wire.modified,
            mode: wire.mode.map(|mode| mode & 0o777),
        };
        self.tell(Event::Offered { entry, path, kind: meta.kind.clone(), size: wire.size });
        let offer = Offer { entry, meta, block_size: wire.block_size, root: wire.root };
        let mut incoming = Incoming::new(offer, is_open);
        incoming.is_inline = wire.inline && wire.root == Some(Root::of(payload));
        if wire.inline && !incoming.is_inline {
            // The content came damaged: it travels again, as a block.
            incoming.offer.root = None;
        }
        if is_file {
            self.busy.insert(entry);
        }
        self.entries.insert(entry, incoming);
        tasks.push_back(Task::Begin { entry, place: Place::Offered });
        Ok(())
    }

    /// Judges an offer by name, size and budget, before the store hears of it.
    fn judge(&self, wire: &WireOffer, size: u64) -> Result<RelPath, (Option<RelPath>, Refusal)> {
        let limits = &self.config.limits;
        let path = RelPath::parse(&wire.name).map_err(|_| (None, Refusal::Name))?;
        let refusal = if path.as_bytes().len() as u64 > limits.name_bytes.into()
            || path.parts().count() as u64 > limits.depth.into()
        {
            Refusal::Name
        } else if self.taken_entries > limits.entries {
            Refusal::TooMany { limit: limits.entries }
        } else if size > limits.file_bytes {
            Refusal::TooLarge { size, limit: limits.file_bytes }
        } else if self.taken_bytes.saturating_add(size) > limits.total_bytes {
            Refusal::TooMuch { limit: limits.total_bytes }
        } else {
            return Ok(path);
        };
        Err((Some(path), refusal))
    }

    /// Whether a block leads beyond the limits; only where the size was not offered is that not known before.
    fn over_budget(&mut self, entry: EntryId, offset: u64, len: u64) -> Option<Refusal> {
        let limits = &self.config.limits;
        let incoming = self.entries.get(&entry)?;
        if incoming.tree.subtrees() as u64
            > u64::from(limits.holes).saturating_mul(2).saturating_add(64)
        {
            return Some(Refusal::Policy);
        }
        if incoming.offer.meta.size.is_some() {
            return None;
        }
        let size = offset.saturating_add(len);
        if size > limits.file_bytes {
            return Some(Refusal::TooLarge { size, limit: limits.file_bytes });
        }
        self.taken_bytes = self.taken_bytes.saturating_add(len);
        let limit = limits.total_bytes;
        (self.taken_bytes > limit).then_some(Refusal::TooMuch { limit })
    }

    fn same(
        &mut self,
        entry: EntryId,
        blocks: &Range<u64>,
        tasks: &mut VecDeque<Task>,
    ) -> Result<(), ProtocolError> {
        let kind = Name::Same;
        let incoming = self.entries.get_mut(&entry).ok_or(unknown(entry, kind))?;
        match incoming.phase {
            Phase::Dropped => return Ok(()),
            Phase::Filling | Phase::Comparing => {}
            Phase::Opening | Phase::Wanted | Phase::Waiting | Phase::Committing { .. } => {
                return Err(ProtocolError::UnexpectedForEntry { kind, entry });
            }
        }
        if incoming.end.is_some() {
            return Err(ProtocolError::UnexpectedForEntry { kind, entry });
        }
        incoming.check_range(blocks)?;
        for index in blocks.clone() {
            // The range ends with the piece that was reported, at the latest.
            let block = incoming.held(index).ok_or(ProtocolError::NotHeld { entry, index })?;
            if incoming.tree.contains(index) {
                return Err(ProtocolError::BlockAgain { entry, index });
            }
            if !incoming.copies {
                incoming.gain(&block);
            }
        }
        incoming.reach(blocks.end);
        incoming.end_with_held(blocks)?;
        // Before anything differs, nothing is copied: the file may prove to be the same altogether.
        if incoming.phase == Phase::Filling && incoming.copies {
            tasks.push_back(Task::Copy { entry, blocks: blocks.clone() });
        }
        if let Some((_, len)) = self.span(entry, blocks) {
            self.arrive(len);
        }
        Ok(())
    }

    /// What the store found under the name of an entry.
    pub(super) fn begun(&mut self, entry: EntryId, place: Place, begun: Result<Found, Refusal>) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        let was_comparing = incoming.phase == Phase::Comparing;
        let was_wanted = incoming.phase == Phase::Wanted;
        incoming.place = place;
        if place == Place::Replacing && !was_comparing && incoming.offer.root.is_none() {
            // An earlier attempt to replace the file goes on. If there was none, the file itself is compared.
            let Ok(Found::Partial(len @ 1..)) = begun else {
                if begun.is_ok() {
                    self.todo.push_back(ReceiveAction::Discard { entry });
                }
                return self.task(Task::Begin { entry, place: Place::Offered });
            };
            incoming.phase = Phase::Filling;
            return incoming.hold(len);
        }
        let found = match begun {
            Ok(found) => found,
            Err(reason) => return self.drop_entry(entry, reason),
        };
        // What is known of the content from the offer.
        let content = incoming.offer.root.zip(incoming.offer.meta.size);
        let is_file = incoming.offer.meta.kind == Kind::File;
        match (found, content) {
            (Found::Existing(_), _) if !is_file => self.drop_entry(entry, Refusal::KindClash),
            // Somebody has put a file there since.
            (Found::Existing(_), _) if was_wanted => self.drop_entry(entry, Refusal::Exists),
            (Found::Existing(len), Some((_, size))) => {
                if let (true, Ok(len)) = (len == size, usize::try_from(size)) {
                    incoming.phase = Phase::Comparing;
                    self.task(Task::Compare { entry, len });
                } else {
                    self.differs_now(entry);
                }
            }
            (Found::Existing(_), None)
                if self.config.existing == Existing::Replace && !incoming.probed =>
            {
                incoming.probed = true;
                self.task(Task::Begin { entry, place: Place::Replacing });
            }
            (Found::Existing(len), None) => {
                let may_be_same = incoming.offer.meta.size.is_none_or(|size| size == len);
                if may_be_same || self.config.existing == Existing::Replace {
                    incoming.phase = Phase::Comparing;
                    incoming.hold(len);
                } else {
                    self.differs_now(entry);
                }
            }
            (Found::Fresh | Found::Partial(_), _) if !is_file => {
                if incoming.offer.meta.kind == Kind::Directory {
                    incoming.phase = Phase::Waiting;
                    self.waiting.insert(entry);
                    self.commit_waiting();
                } else {
                    self.commit(entry, 0, Root::of(&[]), Outcome::Stored);
                }
            }
            (Found::Fresh | Found::Partial(_), Some(_)) if was_wanted => {
                incoming.phase = Phase::Filling;
                incoming.is_fresh = found == Found::Fresh;
            }
            (Found::Fresh | Found::Partial(_), Some(_)) if !incoming.is_inline => {
                incoming.phase = Phase::Wanted;
                incoming.hold(0);
                self.todo.push_back(ReceiveAction::Suspend { entry });
            }
            (Found::Fresh | Found::Partial(_), Some((root, size))) => {
                incoming.phase = Phase::Filling;
                incoming.end = Some((size, root));
                if size > 0 {
                    let source = Bytes::Payload;
                    self.task(Task::Write { entry, offset: 0, block: None, source });
                } else {
                    self.commit(entry, 0, root, Outcome::Stored);
                }
            }
            (Found::Fresh | Found::Partial(_), None)
                if was_comparing && place == Place::Replacing =>
            {
                // What was called the same so far is taken over from the file that will be replaced. A partial
                // file of an earlier attempt is overwritten: which of its blocks are right is not known.
                incoming.phase = Phase::Filling;
                incoming.is_fresh = false;
                incoming.copies = true;
                // The rest of the old file is out of reach now.
                if let Some(hold) = &mut incoming.hold {
                    hold.cut();
                }
                let held = std::mem::take(&mut incoming.tree);
                let runs: Vec<_> = held.runs().collect();
                for blocks in runs.into_iter().rev() {
                    self.task(Task::Copy { entry, blocks });
                }
            }
            (Found::Fresh, None) => {
                incoming.phase = Phase::Filling;
                incoming.is_fresh = true;
                incoming.hold(0);
            }
            (Found::Partial(len), None) => {
                incoming.phase = Phase::Filling;
                incoming.hold(len);
            }
        }
    }

    /// The content that came inside its offer was compared with the file that has its name.
    pub(super) fn compared(&mut self, entry: EntryId, root: Root, len: usize) {
        let Some(incoming) = self.entries.get(&entry) else { return };
        if incoming.offer.root == Some(root) && incoming.offer.meta.size == Some(len as u64) {
            self.arrive(len as u64);
            self.commit(entry, len as u64, root, Outcome::Held);
        } else {
            self.differs_now(entry);
        }
    }

    /// A block was copied: it is looked at again, and then the next one is copied.
    pub(super) fn check_copied(&mut self, entry: EntryId, blocks: Range<u64>) {
        let index = blocks.start;
        let rest = index.saturating_add(1)..blocks.end;
        let Some((_, len)) = self.span(entry, &(index..rest.start)) else { return };
        if !rest.is_empty() {
            self.task(Task::Copy { entry, blocks: rest });
        }
        let len = usize::try_from(len).unwrap_or(0);
        self.task(Task::Check { entry, index, len });
    }

    /// A block that was copied was read: whatever it holds now is what the root will be held against.
    pub(super) fn copied(&mut self, entry: EntryId, index: u64, bytes: &[u8]) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        match incoming.offer.block_size.hash(index, bytes) {
            Some(block) => incoming.gain(&block),
            None => self.drop_entry(entry, Refusal::Mismatch),
        }
    }

    /// A held block was read, to be reported.
    pub(super) fn held(
        &mut self,
        entry: EntryId,
        offset: u64,
        len: usize,
        held: Result<&[u8], Refusal>,
    ) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        let size = incoming.offer.block_size;
        let Some(hold) = &mut incoming.hold else { return };
        let block = held.ok().filter(|bytes| bytes.len() == len);
        match block.and_then(|bytes| size.hash(size.index(offset), bytes)) {
            Some(block) => hold.push(block),
            // It shrank, or cannot be read: what was hashed so far is all that is held.
            None => hold.cut(),
        }
    }

    /// A block was written, or zeros, or the whole content (which is no `block` of a tree).
    pub(super) fn written(&mut self, entry: EntryId, block: Option<&Hashed>, source: Bytes) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        let Some(block) = block else {
            if let Some((size, root)) = incoming.end {
                self.arrive(size);
                self.commit(entry, size, root, Outcome::Stored);
            }
            return;
        };
        incoming.gain(block);
        let full = incoming.offer.block_size.bytes();
        let len = match source {
            Bytes::Payload => incoming.block_len(block.index).unwrap_or(full),
            Bytes::Zeros(len) => len as u64,
        };
        self.arrive(len);
        self.settle(entry);
    }

    /// More bytes are held.
    fn arrive(&mut self, len: u64) {
        self.arrived = self.arrived.saturating_add(len);
        let (bytes, offered) = (self.arrived, self.taken_bytes.max(self.arrived));
        self.tell(Event::Progress { bytes, offered });
    }

    /// Draws up the blocks of zeros, the first of them now and the rest after it.
    pub(super) fn zeros(&mut self, entry: EntryId, blocks: Range<u64>) {
        let Some(incoming) = self.entries.get(&entry) else { return };
        let size = incoming.offer.block_size;
        let mut rest = blocks;
        let mut arrived: u64 = 0;
        while let Some(index) = rest.next() {
            let Some(incoming) = self.entries.get_mut(&entry) else { return };
            if incoming.phase != Phase::Filling {
                return;
            }
            let len = incoming.block_len(index).unwrap_or(size.bytes());
            let len = usize::try_from(len).unwrap_or(0);
            let zeros = super::ZEROS.get(..len).unwrap_or_default();
            let (Some(block), Some(offset)) = (size.hash(index, zeros), size.offset(index)) else {
                return;
            };
            if incoming.is_fresh {
                incoming.gain(&block);
                arrived = arrived.saturating_add(len as u64);
                continue;
            }
            if !rest.is_empty() {
                self.task(Task::Zeros { entry, blocks: rest });
            }
            let (block, source) = (Some(block), Bytes::Zeros(len));
            self.task(Task::Write { entry, offset, block, source });
            return;
        }
        if arrived > 0 {
            self.arrive(arrived);
        }
        self.settle(entry);
    }

    /// Commits an entry if it is whole.
    pub(super) fn settle(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.get(&entry) else { return };
        let outcome = match incoming.phase {
            Phase::Filling => Outcome::Stored,
            Phase::Comparing => Outcome::Held,
            Phase::Opening
            | Phase::Wanted
            | Phase::Waiting
            | Phase::Committing { .. }
            | Phase::Dropped => return,
        };
        match incoming.is_whole() {
            Some((size, root, found)) if root == found => self.commit(entry, size, root, outcome),
            Some(_) => {
                self.todo.push_back(ReceiveAction::Discard { entry });
                self.drop_silently(entry, Refusal::Mismatch);
            }
            None => {}
        }
    }

    /// The bytes that a run of blocks covers.
    pub(super) fn span(&self, entry: EntryId, blocks: &Range<u64>) -> Option<(u64, u64)> {
        let incoming = self.entries.get(&entry)?;
        let offset = incoming.offer.block_size.offset(blocks.start)?;
        let end = incoming.offer.block_size.offset(blocks.end)?;
        let end = end.min(incoming.known_end().unwrap_or(u64::MAX));
        Some((offset, end.checked_sub(offset)?))
    }

    fn commit(&mut self, entry: EntryId, size: u64, root: Root, outcome: Outcome) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        incoming.phase = Phase::Committing { size, root, outcome };
        if std::mem::take(&mut incoming.is_open) {
            self.open = self.open.saturating_sub(1);
        }
        let meta = incoming.offer.meta.clone();
        let durability = self.config.durability;
        self.committing = self.committing.saturating_add(1);
        self.todo.push_back(ReceiveAction::Commit(Commit { entry, meta, size, durability }));
        self.finished(entry);
    }

    /// The content of an entry is complete, or never will be: folders may have waited for that.
    fn finished(&mut self, entry: EntryId) {
        if self.busy.remove(&entry) {
            self.commit_waiting();
        }
    }

    /// Commits folders before which nothing is incomplete.
    fn commit_waiting(&mut self) {
        while let Some(folder) = self.waiting.first().copied()
            && self.busy.first().is_none_or(|busy| *busy > folder)
        {
            self.waiting.remove(&folder);
            self.commit(folder, 0, Root::of(&[]), Outcome::Stored);
        }
    }

    /// The held file is another one; what now depends on the policy.
    fn differs(&mut self, entry: EntryId, tasks: &mut VecDeque<Task>) {
        let Some(incoming) = self.entries.get_mut(&entry) else { return };
        incoming.restart();
        let beside = match incoming.place {
            Place::Beside(number) => number.saturating_add(1),
            Place::Offered | Place::Replacing => 1,
        };
        match self.config.existing {
            Existing::Refuse => self.drop_entry(entry, Refusal::Exists),
            Existing::Skip => self.drop_entry(entry, Refusal::Skipped),
            Existing::Replace => tasks.push_front(Task::Begin { entry, place: Place::Replacing }),
            Existing::Rename if beside > BESIDE_MAX => self.drop_entry(entry, Refusal::Exists),
            Existing::Rename => {
                tasks.push_front(Task::Begin { entry, place: Place::Beside(beside) });
            }
        }
    }

    fn differs_now(&mut self, entry: EntryId) {
        let mut tasks = VecDeque::new();
        self.differs(entry, &mut tasks);
        tasks.into_iter().for_each(|task| self.task(task));
    }

    /// Puts a task before those that the current message still has.
    fn task(&mut self, task: Task) {
        if let Some(current) = &mut self.current {
            current.tasks.push_front(task);
        }
    }

    /// The entry cannot go on: what there is of it is kept, and the sender will be told.
    pub(super) fn drop_entry(&mut self, entry: EntryId, reason: Refusal) {
        self.todo.push_back(ReceiveAction::Suspend { entry });
        self.drop_silently(entry, reason);
    }

    fn drop_silently(&mut self, entry: EntryId, reason: Refusal) {
        self.report(entry, reason);
        if let Some(incoming) = self.entries.get_mut(&entry) {
            incoming.phase = Phase::Dropped;
        }
        if let Some(current) = &mut self.current {
            current.tasks.clear();
        }
        self.finished(entry);
    }

    /// Says the bad news with the floor, and tells the application.
    pub(super) fn report(&mut self, entry: EntryId, reason: Refusal) {
        let Some(incoming) = self.entries.get(&entry) else { return };
        let path = Some(incoming.offer.meta.path.clone());
        let wire = reason.into();
        self.say.push_back(match incoming.phase {
            Phase::Opening | Phase::Comparing | Phase::Wanted => {
                Message::Refuse { entry, reason: wire }
            }
            Phase::Filling | Phase::Waiting | Phase::Committing { .. } | Phase::Dropped => {
                Message::Failed { entry, reason: wire }
            }
        });
        self.summary.refuse(reason);
        self.tell(Event::Refused { entry, path, reason });
    }

    fn withdrawn(&mut self, entry: EntryId, reason: Withdrawal) {
        let Some(incoming) = self.entries.get(&entry) else { return };
        let path = incoming.offer.meta.path.clone();
        if incoming.phase == Phase::Dropped {
            // The bad news came too late for the sender.
            self.say.retain(|message| message.entry() != Some(entry));
        } else {
            self.todo.push_back(ReceiveAction::Suspend { entry });
        }
        self.summary.withdrawn = self.summary.withdrawn.saturating_add(1);
        self.tell(Event::Withdrawn { entry, path, reason });
        self.forget(entry);
    }

    /// Takes an entry out of all books.
    pub(super) fn forget(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.remove(&entry) else { return };
        self.waiting.remove(&entry);
        self.finished(entry);
        if incoming.is_open {
            self.open = self.open.saturating_sub(1);
        }
        let name = incoming.offer.meta.path.as_bytes().len() as u64;
        self.names = self.names.saturating_sub(name);
    }
}
