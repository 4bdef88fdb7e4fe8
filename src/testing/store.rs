//! Conformance suites for [`Source`](crate::store::Source) and [`Store`], and stores and a source that fail, or are
//! late, when they are told to.
//!
//! A suite panics with what was broken, as a test does:
//!
//! ```
//! use haul::store::MemoryStore;
//! use haul::testing::store::check_store;
//!
//! check_store(MemoryStore::new);
//! ```
#![expect(clippy::panic, reason = "this is how a suite says that something is broken")]

mod clones;
mod conflicts;
mod fault;
mod late;
mod left;
mod names;
mod order;
mod source;
mod tickets;

use std::collections::HashMap;
use std::time::Duration;

use crate::drive::{Clock, SystemClock};
use crate::hash::BlockSize;
use crate::store::{Committed, Ended, Store, Uncommitted};
use crate::types::{
    Commit, Durability, EntryId, Found, Meta, Offer, Place, Refusal, RelPath, Ticket, Timestamp,
};

pub use clones::check_clones;
pub use fault::{Failure, Fault, FaultSource, FaultStore, SourceCall, StoreCall};
pub use late::LateStore;
pub use source::check_source;

/// Checks a store against each sentence of its contract that can be checked from outside.
///
/// What the contract leaves to a store is left to it: whether it takes folders ([`Refusal::Kind`]), has names
/// [beside](Place::Beside) others and which, holds names of a transfer against one another ([`Refusal::Collision`]),
/// and tidies up. [`check_clones`] is for one that serves several sessions.
///
/// `make` gives a new and empty store each time, which has room for a few MiB.
///
/// # Panics
///
/// If a sentence is broken: the message names it. If no commit ends for 30 s, or a call waits 10 s longer than it was
/// told to.
pub fn check_store<S: Store>(make: impl FnMut() -> S) {
    check_store_by(make, &SystemClock::new());
}

fn check_store_by<'c, S: Store>(mut make: impl FnMut() -> S, clock: &'c dyn Clock) {
    for durability in [Durability::Received, Durability::Flushed, Durability::Synced] {
        Checked::new(make(), durability, clock).whole_files();
    }
    let mut check =
        |run: fn(&mut Checked<'c, S>)| run(&mut Checked::new(make(), Durability::Synced, clock));
    check(Checked::blocks_in_any_order);
    check(Checked::partial_is_kept_and_goes_on);
    check(Checked::discard_leaves_nothing);
    check(Checked::existing_is_read_and_vouched_for);
    check(Checked::replacing_copies_and_takes_the_place);
    check(Checked::beside_is_another_name);
    check(Checked::file_whose_name_is_taken_is_handed_back_whole);
    check(Checked::file_that_was_handed_back_takes_a_name_beside);
    check(Checked::file_that_was_handed_back_takes_the_place_of_the_other);
    check(Checked::file_that_was_handed_back_can_be_kept);
    check(Checked::folder_in_the_place_of_a_file_hands_it_back);
    check(Checked::folder_that_is_made_twice_is_no_clash);
    check(Checked::longer_partial_of_another_attempt_outlives_a_small_entry);
    check(Checked::partial_of_another_transfer_is_left_alone);
    check(Checked::content_that_was_not_written_is_zeros);
    check(Checked::zeros_at_the_end_are_found_by_a_later_attempt);
    check(Checked::longer_partial_is_cut);
    check(Checked::names_collide_within_one_transfer);
    check(Checked::offer_alone_takes_no_space);
    check(Checked::folders_are_made);
    check(Checked::many_commits_all_end);
    check(Checked::tickets_of_two_sessions_are_given_back_with_their_own_ends);
    check(Checked::later_of_two_commits_of_one_name_has_it);
    check(Checked::stat_is_of_what_has_the_name_or_nothing);
}

/// Checks that a store knows each commit by its ticket, where it serves one session while commits of another one end,
/// and that of two commits which give one name the later one has it.
///
/// [`check_store`] does that too, and all else. This is for a store that is being written.
///
/// # Panics
///
/// If a ticket comes back with the end of another commit, twice, or not at all; if what was committed first has the
/// name in the end.
pub fn check_tickets(store: impl Store) {
    let clock = SystemClock::new();
    let mut checked = Checked::new(store, Durability::Synced, &clock);
    checked.tickets_of_two_sessions_are_given_back_with_their_own_ends();
    checked.later_of_two_commits_of_one_name_has_it();
}

struct Checked<'c, S: Store> {
    store: S,
    clock: &'c dyn Clock,
    durability: Durability,
    next: u32,
    /// Beginning of the tickets of its session, and number of those that were given out.
    session: [u8; 16],
    tickets: u64,
    /// Commits that were started and have not ended, with the last ticket of each entry.
    under_way: HashMap<Ticket, EntryId>,
    last: HashMap<EntryId, Ticket>,
    ended: HashMap<Ticket, Ended<S::File>>,
}

impl<'c, S: Store> Checked<'c, S> {
    fn new(store: S, durability: Durability, clock: &'c dyn Clock) -> Self {
        Self {
            store,
            clock,
            durability,
            next: 0,
            session: [1; 16],
            tickets: 0,
            under_way: HashMap::new(),
            last: HashMap::new(),
            ended: HashMap::new(),
        }
    }

    fn offer(&mut self, meta: Meta) -> Offer {
        self.next += 1;
        Offer::new(EntryId::new(self.next), meta, BlockSize::MIN)
    }

    fn file(&mut self, name: &str, size: usize) -> Offer {
        self.offer(Meta::file(path(name), Some(length(size))))
    }

    /// Returns a file that is not there yet, nor any of it.
    fn fresh(&mut self, offer: &Offer, place: Place) -> S::File {
        match self.store.begin(offer, place) {
            Ok((file, Found::Fresh)) => file,
            Ok((_, Found::Partial(len))) => panic!("{offer:?}: a partial file of {len} bytes"),
            Ok((_, Found::Existing(len))) => panic!("{offer:?}: exists, with {len} bytes"),
            Err(refusal) => panic!("{offer:?} is refused: {refusal}"),
        }
    }

    fn existing(&mut self, offer: &Offer, place: Place, expected: usize) -> S::File {
        match self.store.begin(offer, place) {
            Ok((file, Found::Existing(len))) => {
                assert_eq!(len, length(expected), "begin says how long an existing file is");
                file
            }
            Ok(_) => panic!("{offer:?}: the file under the final name is not seen"),
            Err(refusal) => panic!("{offer:?} is refused: {refusal}"),
        }
    }

    fn write(&mut self, file: &mut S::File, offset: usize, bytes: &[u8]) {
        let written = self.store.write_at(file, length(offset), bytes);
        assert_eq!(written, Ok(()), "write of {} bytes at {offset}", bytes.len());
    }

    fn start(&mut self, file: S::File, offer: &Offer, place: Place, size: usize) {
        let meta = offer.meta.clone();
        let ticket = Ticket::new(self.session, self.tickets);
        self.tickets += 1;
        self.under_way.insert(ticket, offer.entry);
        self.last.insert(offer.entry, ticket);
        let commit = Commit::new(ticket, offer.entry, meta, place, length(size), self.durability);
        self.store.commit(file, commit);
    }

    /// Asks for a commit that has ended, and sees how long that takes.
    fn poll(&mut self, wait: Duration) -> Option<(Ticket, Ended<S::File>)> {
        let began = self.clock.now();
        let ended = self.store.poll_committed(wait);
        let took = self.clock.now().saturating_sub(began);
        assert!(
            took <= wait.saturating_add(GRACE),
            "`poll_committed` is told to wait for {wait:?} at most, and takes {took:?}"
        );
        ended
    }

    fn end(&mut self, offer: &Offer) -> Ended<S::File> {
        let Some(ticket) = self.last.get(&offer.entry).copied() else {
            panic!("{offer:?}: no commit was started")
        };
        self.end_of(ticket)
    }

    fn end_of(&mut self, ticket: Ticket) -> Ended<S::File> {
        // Each other time it only looks, as a driver does before it does anything else.
        let mut wait = Duration::ZERO;
        let mut since = self.clock.now();
        loop {
            if let Some(ended) = self.ended.remove(&ticket) {
                return ended;
            }
            let began = self.clock.now();
            match self.poll(wait) {
                Some((ticket, ended)) => {
                    let entry = self.under_way.remove(&ticket);
                    assert!(
                        entry.is_some(),
                        "poll_committed gives a ticket of no commit under way: {ticket:?}"
                    );
                    self.ended.insert(ticket, ended);
                    since = self.clock.now();
                }
                None => {
                    let now = self.clock.now();
                    assert!(now.saturating_sub(since) < HANGS, "a commit does not end");
                    // One that does not wait is asked again after a while.
                    let took = now.saturating_sub(began);
                    self.clock.sleep(wait.saturating_sub(took).min(PAUSE));
                    wait = if wait.is_zero() { WAIT } else { Duration::ZERO };
                }
            }
        }
    }

    fn ended(&mut self, offer: &Offer) -> Result<Committed, Refusal> {
        self.end(offer).map_err(|failed| match failed {
            Uncommitted::Failed(refusal) => refusal,
            Uncommitted::Taken { .. } => panic!("{offer:?}: its name is taken"),
        })
    }

    fn commit(
        &mut self,
        file: S::File,
        offer: &Offer,
        place: Place,
        size: usize,
    ) -> Result<Committed, Refusal> {
        self.start(file, offer, place, size);
        self.ended(offer)
    }

    fn assert_nothing_left(&mut self, offer: &Offer) {
        match self.store.begin(offer, Place::Replacing) {
            Ok((file, Found::Fresh)) => self.store.discard(file),
            Ok((_, Found::Partial(len))) => panic!("a partial file of {len} bytes is left"),
            Ok((_, Found::Existing(_))) => {
                panic!("`Place::Replacing` gives what will take the place")
            }
            Err(refusal) => panic!("{offer:?} is refused: {refusal}"),
        }
    }

    fn put(&mut self, name: &str, bytes: &[u8]) {
        let offer = self.file(name, bytes.len());
        let mut file = self.fresh(&offer, Place::Offered);
        self.write(&mut file, 0, bytes);
        let ended = self.commit(file, &offer, Place::Offered, bytes.len());
        assert_eq!(ended, Ok(Committed::new(path(name))), "commit of {name}");
    }

    /// Checks what stands under a final name, by an entry of its own session's names.
    fn assert_stands(&mut self, offer: &Offer, place: Place, bytes: &[u8]) {
        let mut file = self.existing(offer, place, bytes.len());
        let found = self.read(&mut file);
        assert!(found == bytes, "{offer:?} holds other bytes than were committed");
        self.store.suspend(file);
    }

    fn read(&mut self, file: &mut S::File) -> Vec<u8> {
        let mut found = Vec::new();
        let mut buffer = [0xA5; 1000];
        loop {
            let read = self.store.read_at(file, length(found.len()), &mut buffer);
            let count = read.unwrap_or_else(|error| panic!("read_at: {error}"));
            match buffer.get(..count) {
                Some([]) => return found,
                Some(bytes) => found.extend_from_slice(bytes),
                None => panic!("read_at says {count} bytes, of a buffer of {}", buffer.len()),
            }
        }
    }

    fn whole_files(&mut self) {
        for size in [0, 1, 999, 1000, 1001, 100_000] {
            let name = format!("folder/deeper/f{size}");
            let bytes = content(size);
            self.put(&name, &bytes);
            // Offered again in a later session of the same sender, which has another number for it.
            let offer =
                Offer::new(EntryId::new(self.next), self.file(&name, size).meta, BlockSize::MIN);
            self.next -= 1;
            self.assert_stands(&offer, Place::Offered, &bytes);
        }
    }

    /// Checks that a store which answers reports the truth of files, and nothing of anything else. A
    /// store need not look.
    fn stat_is_of_what_has_the_name_or_nothing(&mut self) {
        let modified = Timestamp::new(1_234_567_890, 123_456_789);
        let mut offer = self.file("folder/x", 7);
        offer.meta.modified = modified;
        assert_eq!(self.store.stat(&offer), None, "nothing stands there");
        let mut file = self.fresh(&offer, Place::Offered);
        self.write(&mut file, 0, b"content");
        assert_eq!(self.store.stat(&offer), None, "what is not committed does not stand");
        assert!(self.commit(file, &offer, Place::Offered, 7).is_ok());
        if let Some(stat) = self.store.stat(&offer) {
            assert_eq!((stat.size, Some(stat.modified)), (7, modified));
        }
        let folder = self.file("folder", 0);
        assert_eq!(self.store.stat(&folder), None, "a folder is no file");
    }

    fn blocks_in_any_order(&mut self) {
        let bytes = content(10_000);
        let offer = self.offer(Meta::file(path("x"), None));
        let mut file = self.fresh(&offer, Place::Offered);
        for index in [7, 2, 9, 0, 1, 3, 8, 6, 4, 5] {
            let at = index * 1000;
            self.write(&mut file, at, bytes.get(at..at + 1000).unwrap_or_default());
        }
        self.write(&mut file, 3000, &[]);
        assert!(
            self.commit(file, &offer, Place::Offered, bytes.len()).is_ok(),
            "commit of blocks out of order"
        );
        self.assert_stands(&offer, Place::Offered, &bytes);
    }

    fn partial_is_kept_and_goes_on(&mut self) {
        let bytes = content(5000);
        let offer = self.file("a/x", bytes.len());
        let mut file = self.fresh(&offer, Place::Offered);
        self.write(&mut file, 0, bytes.get(..3000).unwrap_or_default());
        self.store.suspend(file);
        for _ in 0..2 {
            let mut file = self.partial(&offer, 3000);
            let held = self.read(&mut file);
            assert!(bytes.starts_with(&held), "a partial file holds what was written");
            self.store.suspend(file);
        }
        let mut file = self.partial(&offer, 3000);
        self.write(&mut file, 3000, bytes.get(3000..).unwrap_or_default());
        assert!(
            self.commit(file, &offer, Place::Offered, bytes.len()).is_ok(),
            "commit after a suspend"
        );
        self.assert_stands(&offer, Place::Offered, &bytes);
    }

    fn partial(&mut self, offer: &Offer, expected: usize) -> S::File {
        match self.store.begin(offer, Place::Offered) {
            Ok((file, Found::Partial(len))) => {
                assert_eq!(len, length(expected), "begin says how long a partial file is");
                file
            }
            _ => panic!("what was written before a suspend is not found again"),
        }
    }

    fn discard_leaves_nothing(&mut self) {
        let offer = self.file("a/b/x", 10);
        let mut file = self.fresh(&offer, Place::Offered);
        self.write(&mut file, 0, b"01234");
        self.store.discard(file);
        let file = self.fresh(&offer, Place::Offered);
        self.store.discard(file);
        // A final name is never touched.
        self.put("y", b"stays");
        let again = EntryId::new(self.next);
        let offer = Offer::new(again, Meta::file(path("y"), Some(5)), BlockSize::MIN);
        let file = self.existing(&offer, Place::Offered, 5);
        self.store.discard(file);
        let mut file = self.fresh(&offer, Place::Replacing);
        self.write(&mut file, 0, b"goes");
        self.store.discard(file);
        self.assert_stands(&offer, Place::Offered, b"stays");
    }

    fn existing_is_read_and_vouched_for(&mut self) {
        self.put("x", b"content");
        let offer =
            Offer::new(EntryId::new(self.next), Meta::file(path("x"), Some(7)), BlockSize::MIN);
        let file = self.existing(&offer, Place::Offered, 7);
        let ended = self.commit(file, &offer, Place::Offered, 7);
        assert_eq!(ended, Ok(Committed::new(path("x"))), "commit of a file that is held");
        self.assert_stands(&offer, Place::Offered, b"content");
    }

    fn replacing_copies_and_takes_the_place(&mut self) {
        self.put("x", b"0123456789");
        let offer =
            Offer::new(EntryId::new(self.next), Meta::file(path("x"), Some(12)), BlockSize::MIN);
        let mut file = self.fresh(&offer, Place::Replacing);
        let copied = self.store.copy_held(&mut file, 2, 8);
        assert_eq!(copied, Ok(()), "copy_held within the old file");
        assert!(self.store.copy_held(&mut file, 5, 6).is_err(), "copy_held beyond the old file");
        self.write(&mut file, 0, b"ab");
        self.write(&mut file, 10, b"cd");
        self.assert_stands(&offer, Place::Offered, b"0123456789");
        assert!(
            self.commit(file, &offer, Place::Replacing, 12).is_ok(),
            "commit in the place of a file"
        );
        self.assert_stands(&offer, Place::Offered, b"ab23456789cd");
        let absent = self.file("absent", 1);
        let mut file = self.fresh(&absent, Place::Replacing);
        assert!(self.store.copy_held(&mut file, 0, 1).is_err(), "copy_held of what is not there");
        self.store.discard(file);
    }

    fn content_that_was_not_written_is_zeros(&mut self) {
        let offer = self.file("x", 10);
        let mut file = self.fresh(&offer, Place::Offered);
        self.write(&mut file, 0, b"01234");
        assert!(
            self.commit(file, &offer, Place::Offered, 10).is_ok(),
            "commit of more bytes than were written"
        );
        self.assert_stands(&offer, Place::Offered, b"01234\0\0\0\0\0");
    }

    fn longer_partial_is_cut(&mut self) {
        let offer = self.file("x", 4);
        let mut file = self.fresh(&offer, Place::Offered);
        self.write(&mut file, 0, b"0123456789");
        assert!(
            self.commit(file, &offer, Place::Offered, 4).is_ok(),
            "commit of less than was written"
        );
        self.assert_stands(&offer, Place::Offered, b"0123");
    }

    fn offer_alone_takes_no_space(&mut self) {
        for size in [1 << 40, 1 << 62, u64::MAX] {
            let offer = self.offer(Meta::file(path(&format!("x{size}")), Some(size)));
            match self.store.begin(&offer, Place::Offered) {
                Ok((file, Found::Fresh)) => self.store.discard(file),
                Ok(_) => panic!("something stands where nothing was written"),
                Err(Refusal::NoSpace { needed, available }) => {
                    assert!(needed > available, "the numbers of a refusal for want of space");
                }
                Err(Refusal::TooLarge { .. }) => {}
                Err(refusal) => panic!("an offer of {size} bytes is refused: {refusal}"),
            }
        }
        self.put("small", b"fits");
    }

    fn many_commits_all_end(&mut self) {
        assert!(self.poll(Duration::ZERO).is_none(), "nothing was committed");
        let mut offers = Vec::new();
        for n in 0..200 {
            let offer = self.file(&format!("d{}/f{n}", n % 7), 4);
            let mut file = self.fresh(&offer, Place::Offered);
            self.write(&mut file, 0, b"many");
            self.start(file, &offer, Place::Offered, 4);
            offers.push(offer);
        }
        for offer in &offers {
            let expected = Ok(Committed::new(offer.meta.path.clone()));
            assert_eq!(self.ended(offer), expected, "one of many commits");
        }
        assert!(self.poll(Duration::ZERO).is_none(), "each commit ends once");
        for offer in &offers {
            self.assert_stands(offer, Place::Offered, b"many");
        }
    }
}

/// Returns content that differs at every place, and between lengths.
fn content(len: usize) -> Vec<u8> {
    let byte =
        |at: usize| at.wrapping_mul(31).wrapping_add(at >> 8).wrapping_add(len).to_le_bytes()[0];
    (0..len).map(byte).collect()
}

fn path(name: &str) -> RelPath {
    RelPath::parse(name.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Most times in a row that a source may have nothing to give.
const POLLS: u32 = 30;

/// Time that a commit is waited for at a time.
const WAIT: Duration = Duration::from_secs(1);

/// Pause before a store is asked again that answers at once that no commit has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// After how long without the end of any commit the next one hangs.
const HANGS: Duration = Duration::from_secs(30);

/// Time beyond its limit that a store may wait: a machine that has other things to do is not its fault.
const GRACE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
