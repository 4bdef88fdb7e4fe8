//! Content that the store finds under the name of an entry, and what follows for the entry.

use super::phase::{Phase, Turned};
use super::requests::{Content, Reading, Task};
use super::{ReceiveAction, Receiver};
use crate::config::IfExists;
use crate::hash::Hash;
use crate::proto::wire::limits::BESIDE_MAX;
use crate::proto::wire::message::Message;
use crate::types::{EntryId, Event, FileStat, Found, Kind, Outcome, Place, Refusal};

impl Receiver {
    /// Handles that the store began an entry, or found something else under its name.
    pub(super) fn begun(&mut self, entry: EntryId, place: Place, begun: Result<Found, Refusal>) {
        self.entries.has_begun(entry);
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let was = incoming.phase();
        let (was_replacing, was_wanted) = (was == Phase::Replacing, was == Phase::Wanted);
        let is_taken = matches!(begun, Ok(Found::Existing(_)) | Err(Refusal::Exists));
        if was_wanted && place != Place::Replacing && is_taken {
            // Somebody was faster. Its content is here and is written, and what that means is found out when it is
            // committed under the name that it was to have.
            return self.requests.add_first(Task::Begin { entry, place: Place::Replacing });
        }
        // What came of a stream whose name another file has is written, and gets its name like all others.
        let keeps_place = was_wanted || incoming.existing.occupied().is_some();
        if !keeps_place {
            incoming.place = place;
        }
        let kind = &incoming.offer.meta.kind;
        let (is_file, is_link) = (*kind == Kind::File, matches!(kind, Kind::Symlink(_)));
        let is_first = !keeps_place && !was_replacing && incoming.offer.hash.is_none();
        if place == Place::Replacing && is_file && is_first {
            return self.probed(entry, begun);
        }
        let found = match (begun, place) {
            (Ok(found), _) => found,
            // A link is compared by the store; and what stands beside is as good a reason to go on as a file is.
            (Err(Refusal::Exists), Place::Beside(_)) => return self.differs(entry),
            (Err(Refusal::Exists), Place::Offered) if is_link => return self.differs(entry),
            (Err(reason), _) => return self.drop_entry(entry, reason),
        };
        let left = if let Found::Partial(len) = found { len } else { 0 };
        incoming.blocks.set_left(left);
        match found {
            Found::Existing(_) if !is_file => self.drop_entry(entry, Refusal::KindClash),
            Found::Existing(_) if was_wanted => self.drop_entry(entry, Refusal::Exists),
            Found::Existing(len) => self.found_existing(entry, len),
            Found::Fresh | Found::Partial(_) if !is_file => self.found_room_for_name(entry),
            Found::Fresh | Found::Partial(_) if was_wanted => {
                incoming.turn(Turned::Begun);
                // Of an empty file, its end may have come before there was a descriptor.
                self.commit_if_complete(entry);
            }
            Found::Fresh | Found::Partial(_) if was_replacing && place == Place::Replacing => {
                self.replaces(entry);
            }
            Found::Fresh | Found::Partial(_) => self.found_room(entry, left),
        }
    }

    /// Handles that the store was asked for an earlier attempt to replace the file that has the name. If there was
    /// none, the file itself is compared.
    fn probed(&mut self, entry: EntryId, begun: Result<Found, Refusal>) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        if let Ok(Found::Partial(len @ 1..)) = begun {
            incoming.turn(Turned::Begun);
            incoming.blocks.set_left(len);
            return incoming.hold_with_replaced(len);
        }
        if begun.is_ok() {
            self.requests.push(ReceiveAction::Discard { entry });
        }
        self.requests.add_first(Task::Begin { entry, place: Place::Offered });
    }

    /// Handles that a file of this length has the name.
    fn found_existing(&mut self, entry: EntryId, len: u64) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let (size, claims) = (incoming.offer.meta.size, incoming.existing.claim().is_some());
        if let (Some(_), Some(size)) = (incoming.offer.hash, size) {
            // The content is known from the offer.
            return match usize::try_from(size) {
                Ok(size) if len == size as u64 => {
                    incoming.turn(Turned::Compared);
                    let what = Content::Whole;
                    let reading = Reading { entry, offset: 0, len: size, what };
                    self.requests.add_first(Task::Read(reading));
                }
                _ => self.differs(entry),
            };
        }
        if self.config.if_exists == IfExists::Replace {
            if incoming.existing.probe(len) {
                incoming.turn(Turned::Replaced);
                return incoming.hold(len);
            }
            return self.requests.add_first(Task::Begin { entry, place: Place::Replacing });
        }
        match size {
            None => {
                incoming.existing.occupy(len);
                self.requests.add_first(Task::Begin { entry, place: Place::Replacing });
            }
            // A sender that could not claim a root for the first name cannot for another.
            Some(size) if size == len && (claims || !incoming.existing.is_asked()) => {
                incoming.turn(Turned::Compared);
                if claims {
                    self.entries.add_conflict(entry);
                    self.compare_existing(entry);
                }
            }
            Some(_) => self.differs(entry),
        }
    }

    /// Handles that nothing but an entry without content is to be made: a folder or a link.
    fn found_room_for_name(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        if incoming.offer.meta.kind == Kind::Directory {
            incoming.turn(Turned::Waits);
            self.entries.let_wait(entry);
            self.commit_waiting();
        } else {
            self.commit(entry, 0, Hash::of(&[]), Outcome::Stored);
        }
    }

    /// Handles that nothing has the name of a file, and that `left` bytes of an earlier attempt are
    /// there.
    fn found_room(&mut self, entry: EntryId, left: u64) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let Some((root, size)) = incoming.offer.hash.zip(incoming.offer.meta.size) else {
            incoming.turn(Turned::Begun);
            return incoming.hold(left);
        };
        if !incoming.is_inline {
            incoming.turn(Turned::NotHeld);
            incoming.hold(0);
            return self.requests.push(ReceiveAction::Suspend { entry });
        }
        incoming.turn(Turned::Begun);
        incoming.blocks.end_at(size, root);
        if size > 0 {
            self.requests.add_first(Task::Write { entry, offset: 0, block: None });
        } else {
            self.commit(entry, 0, root, Outcome::Stored);
        }
    }

    /// Handles that a file that will be replaced differs from the one that is offered: that one is
    /// written now.
    fn replaces(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        // What was called the same so far is taken over from the file that will be replaced. A partial
        // file of an earlier attempt is overwritten: which of its blocks are right is not known.
        incoming.turn(Turned::Begun);
        incoming.existing.copy();
        incoming.take_rest_over();
        incoming.blocks.copy_all();
        // Its end may have come before there was a descriptor.
        self.commit_if_complete(entry);
    }

    /// Handles the file that stands under the name of an entry that was offered by time.
    pub(super) fn looked(&mut self, entry: EntryId, stat: Option<FileStat>) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        let offered = incoming.offer.meta.size.zip(incoming.offer.meta.modified);
        let found = stat.map(|stat| (stat.size, stat.modified));
        let (Some((size, _)), true) = (offered, offered == found) else {
            incoming.turn(Turned::Changed);
            return self.outbox.push(Message::Changed { entry });
        };
        let path = incoming.offer.meta.path.clone();
        self.totals.trust(size);
        self.tell(Event::Trusted { entry, path, size });
        self.settle(entry, Message::Unchanged { entry });
    }

    /// Handles that the content that came inside its offer was compared with the file that has its
    /// name.
    pub(super) fn compared(&mut self, entry: EntryId, read: Result<&[u8], Refusal>) {
        let Some(incoming) = self.entries.get(entry) else { return };
        let (root, len) = match read {
            Ok(bytes) => (Hash::of(bytes), bytes.len()),
            // What may not be read is another file, for all that is known.
            Err(Refusal::Denied) => return self.differs(entry),
            Err(reason) => return self.drop_entry(entry, reason),
        };
        if incoming.offer.hash == Some(root) && incoming.offer.meta.size == Some(len as u64) {
            self.arrive(entry, len as u64);
            self.commit(entry, len as u64, root, Outcome::Held);
        } else {
            self.differs(entry);
        }
    }

    /// Handles that the held file is another one; what now depends on the policy.
    pub(super) fn differs(&mut self, entry: EntryId) {
        let Some(incoming) = self.entries.get_mut(entry) else { return };
        incoming.restart();
        let place = incoming.place;
        match self.place_instead(place) {
            Ok(place) => self.requests.add_first(Task::Begin { entry, place }),
            Err(reason) => self.drop_entry(entry, reason),
        }
    }

    /// Returns under which name an entry goes on whose name another file has.
    pub(super) fn place_instead(&self, place: Place) -> Result<Place, Refusal> {
        let beside = match place {
            Place::Beside(number) => number.saturating_add(1),
            Place::Offered | Place::Replacing => 1,
        };
        match self.config.if_exists {
            IfExists::Refuse => Err(Refusal::Exists),
            IfExists::Skip => Err(Refusal::Skipped),
            IfExists::Replace => Ok(Place::Replacing),
            IfExists::Rename if beside > BESIDE_MAX => Err(Refusal::Exists),
            IfExists::Rename => Ok(Place::Beside(beside)),
        }
    }
}
