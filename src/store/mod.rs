//! Origin and destination of content: [`Source`] and [`Store`], their contract, and those that come along.

mod borrowed;
mod chain;
#[cfg(all(feature = "fs", unix))]
pub mod fs;
#[cfg(all(feature = "fs", not(unix)))]
compile_error!(
    "the features `fs` and `cli` of haul are for Unix: elsewhere, leave them out and implement `Source` and `Store`"
);
mod io_error;
mod memory;
mod names;
mod readers;
mod stream;

use std::io;
use std::time::Duration;

use crate::types::{
    Commit, FileStat, Found, Meta, Offer, Place, PublicKey, Refusal, RelPath, Ticket, TransferId,
    Withdrawal,
};

pub use chain::{Chain, Either};
pub use io_error::{code_of, refusal_of, withdrawal_of};
#[cfg(feature = "testing")]
pub(crate) use memory::Foul;
pub use memory::{MemoryEntry, MemoryFile, MemorySource, MemoryStore};
pub use readers::Readers;
pub use stream::StreamSource;

/// Source of entries, one by one, and of their content.
///
/// - **Blocking.** Calls may block while a device works. A source whose data comes from elsewhere (a pipe, a
///   queue) returns [`io::ErrorKind::WouldBlock`] from [`read_at`](Source::read_at) after about a second
///   without data: haul then sends a heartbeat, and asks again.
/// - **Short reads.** Any count up to the length of the buffer; 0 means the end of the content, and only that.
///   A count beyond the buffer is noticed, and withdraws the entry.
/// - **`Interrupted`.** The call is made again.
/// - **After an error** from `open`, `read_at` or `finish`, the entry is withdrawn, its reader dropped, and
///   the next one is asked for.
/// - **Laziness.** [`next_entry`](Source::next_entry) is asked for entries as there is room for them, so a
///   source of millions of entries need not hold them.
/// - **Used again.** Each [`send`](crate::Transfer::send) and [`send_via`](crate::Transfer::send_via) begins with
///   [`rewind`](Source::rewind), however the call before it ended, and sends every entry. What the receiver
///   holds by then is not sent again.
/// - **Threads.** A source is used by one thread.
pub trait Source {
    /// Key by which the source finds an entry again to open it: a path, an index, a handle.
    type Key;
    /// An entry open for reading.
    type Reader;

    /// Goes back to the first entry: [`next_entry`](Source::next_entry) then yields every entry that is there now.
    ///
    /// haul calls it before it asks for the first entry, also where nothing was yielded yet, which succeeds. Keys and
    /// readers of before are not used any more. A source that walks something yields what it finds on the new walk.
    ///
    /// # Errors
    ///
    /// The entries, or the content of one, cannot be given again: [`io::ErrorKind::NotSeekable`] for a pipe that was
    /// read. The call ends with [`Error::Local`](crate::Error::Local) and sends nothing. After an error haul calls
    /// `rewind` again before anything else.
    fn rewind(&mut self) -> io::Result<()>;

    /// Returns the next entry, or `None` after the last.
    ///
    /// # Errors
    ///
    /// An entry that cannot be sent is reported by its name and the reason, and the iteration goes on.
    fn next_entry(&mut self) -> Option<Result<(Self::Key, Meta), Unsendable>>;

    /// Opens an entry, from its start. It may be called again for the same entry, after a lost connection.
    ///
    /// # Errors
    ///
    /// The reason for which the entry is withdrawn; [`Withdrawal::Changed`] if it is no longer what
    /// [`next_entry`](Source::next_entry) gave.
    fn open(&mut self, key: &Self::Key, meta: &Meta) -> Result<Self::Reader, Withdrawal>;

    /// Reads at `offset`.
    ///
    /// Where [`Meta::size`] is `None` (a pipe), offsets follow one another without gaps, save that bytes which the
    /// peer has not yet acknowledged may be asked for again; see [`release`](Source::release).
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] and [`io::ErrorKind::Interrupted`]: nothing yet, ask again; what was given before
    /// is kept. Any other, [`io::ErrorKind::TimedOut`] among them: the entry is withdrawn;
    /// [`io::ErrorKind::NotSeekable`] means that what is asked for was given before, and is not kept.
    fn read_at(
        &mut self,
        reader: &mut Self::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize>;

    /// Checks that the content that was read is still what the entry holds. It is called once all of it was read,
    /// before the sender vouches for it.
    ///
    /// # Errors
    ///
    /// [`Withdrawal::Changed`] or [`Withdrawal::Vanished`] if what was read may be a mixture of two versions.
    fn finish(&mut self, reader: &mut Self::Reader, meta: &Meta) -> Result<(), Withdrawal>;

    /// Notes that the peer holds every byte before `offset`: they will not be asked for again.
    fn release(&mut self, reader: &mut Self::Reader, offset: u64) {
        let _ = (reader, offset);
    }

    /// Returns the number of bytes of an entry that may be read before the peer holds the first of them; `None`: no
    /// limit.
    ///
    /// A source that cannot read twice keeps what is not [released](Source::release), and waits when that is this
    /// much: a sender must pass the turn before.
    fn window(&self, key: &Self::Key) -> Option<u64> {
        let _ = key;
        None
    }

    /// Returns the number of bytes of all entries together, if the source knows: for progress
    /// alone.
    fn total(&self) -> Option<u64> {
        None
    }
}

/// An entry that a source found but cannot send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsendable {
    /// Its name, escaped for people to read; it may be one that cannot travel.
    pub name: String,
    /// Reason of the withdrawal.
    pub reason: Withdrawal,
}

impl Unsendable {
    /// Names an entry and the reason.
    #[must_use]
    pub const fn new(name: String, reason: Withdrawal) -> Self {
        Self { name, reason }
    }
}

/// Destination of content, which gets its final name once it is complete and verified.
///
/// An entry goes through `begin` → `write_at` … → `commit` → `poll_committed`; or it is left by `suspend` or
/// `discard`. Content that is given to `write_at` has been verified. haul never writes the same block twice with
/// different content.
///
/// - **Blocking.** Calls may block while a device works, save [`commit`](Store::commit), which should only start
///   the work if that may take longer than a second, and [`poll_committed`](Store::poll_committed), which waits
///   no longer than it is told to: haul sends heartbeats meanwhile.
/// - **Short reads.** As for a source: any count up to the length of the buffer, 0 at the end.
/// - **`Interrupted`, `WouldBlock`.** Not expected: a store handles them itself.
/// - **After an error** that refuses an entry, haul suspends it, or discards it where it is too large or lost its name,
///   and informs the sender; the store goes on serving others.
/// - **Order.** The final name appears after the content is durable as asked, and before `poll_committed` reports it.
/// - **Names.** A store need not have names [beside](Place::Beside) others: it refuses them by any reason but
///   [`Refusal::Exists`]. Which they are is its own matter, and [`Committed::path`] names it. A store that has them notes
///   which [entry](Offer::entry) of the transfer that it [serves](Store::serve) got which name. A name beside that another
///   entry of it has is taken, and not compared with: `begin` refuses it by [`Refusal::Exists`], and a commit ends in
///   [`Uncommitted::Taken`] without an existing file.
/// - **Wrappers** of another store hand on every method, also those that have a default.
/// - **Threads.** A store is used by one thread; a server clones it for each of its sessions.
/// - **Clones** are sessions of their own over the same files: what is committed by one is there for all, but each has
///   completions of its own, which no other one's `poll_committed` gives, and its own names of the transfer that it
///   [serves](Store::serve).
pub trait Store {
    /// An entry open for writing, or held under its final name and open for reading.
    type File;

    /// Returns whether there may be files already that a sender offers again. Small ones are then offered by their
    /// hash before their content travels, which takes a round trip more and saves sending what is held.
    fn holds_content(&mut self) -> bool {
        false
    }

    /// Entries of this transfer follow: on its first connection, or again on a later one.
    ///
    /// A store keeps apart what unfinished entries of different transfers left: it goes on with partial files of this
    /// transfer alone, and neither reads, writes to nor removes those of others. `transfer` stands for the key of the
    /// sender, too, where there is one. A store that holds names against one another ([`Refusal::Collision`]), as where
    /// they differ by case alone, does so within one transfer. By default nothing is done, as for a store with one sender.
    fn serve(&mut self, transfer: TransferId) {
        let _ = transfer;
    }

    /// Notes the key that the sender of the entries that follow has proved to have; `None`: nothing is known of it.
    ///
    /// It is called before each [`serve`](Store::serve), for a store that takes from some senders what it refuses from
    /// others. By default nothing is done.
    fn identify(&mut self, key: Option<PublicKey>) {
        let _ = key;
    }

    /// Returns the size and time of the regular file under the name of an offer, if there is one. The
    /// file is not opened.
    ///
    /// A sender that trusts times asks for this; see [`Compare::SizeAndTime`](crate::config::Compare::SizeAndTime).
    /// `None`, the default, has the entry offered again and begun. So it is where a commit under way is about to give
    /// the name to something else.
    fn stat(&mut self, offer: &Offer) -> Option<FileStat> {
        let _ = offer;
        None
    }

    /// Looks at what stands under the name that `place` makes of the offer's, and opens the entry.
    ///
    /// No space may be taken on the word of the offer alone. Names, kinds and free space are checked here. For
    /// folders and links nothing need be opened: all is done by `commit`. What becomes of a file
    /// that is dropped, as when a thread panics, is the store's matter.
    ///
    /// A partial file that an earlier attempt at the transfer left may be gone on with if [`Offer::may_continue`] allows it. One that
    /// may not is neither written to nor removed for this entry.
    ///
    /// A regular file under the name is [`Found::Existing`], save under [`Place::Replacing`], which gives the partial
    /// file that will take its place.
    ///
    /// # Errors
    ///
    /// The reason for which the entry is refused; the rest of the transfer goes on. [`Refusal::Kind`]: a store need not
    /// take folders or links. Where it takes folders: [`Refusal::KindClash`] if a file has the name of a folder, or of
    /// one on the way to the entry, or a folder that of a file. [`Refusal::Exists`] under
    /// [`Place::Beside`]: the name is taken by something else than a regular file, or by another entry of the
    /// session, and the next number may be free. A want of file descriptors
    /// ([`Refusal::is_fd_exhaustion`]) refuses nothing if it can be waited for: haul asks again once a commit
    /// has ended, when the content comes, or once other entries of the session are closed.
    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(Self::File, Found), Refusal>;

    /// Reads what is held of an entry: the old bytes of a partial file, or of a file under its final name.
    ///
    /// # Errors
    ///
    /// The error of the device. Of a partial file, or of one that is to be compared by its blocks, haul then asks for
    /// these blocks from the sender; else the entry is refused, with what [`refusal_of`] makes of it. A file under its
    /// final name for which that is [`Refusal::Denied`] is taken for a different one.
    fn read_at(
        &mut self,
        file: &mut Self::File,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. It is not called for a file in [`Found::Existing`].
    ///
    /// # Errors
    ///
    /// The reason that the sender is given; see [`refusal_of`] for a mapping from [`io::Error`].
    fn write_at(&mut self, file: &mut Self::File, offset: u64, bytes: &[u8])
    -> Result<(), Refusal>;

    /// Makes `len` bytes at `offset` zeros, where an earlier attempt may have left something else, or where the size of
    /// the entry was not offered. Afterwards they are held: a later attempt finds what was written up to their end.
    ///
    /// A peer announces many zeros in a few bytes: where the store can, this makes a hole and takes no space.
    /// By default the zeros are written.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Store::write_at).
    fn write_zeros(&mut self, file: &mut Self::File, offset: u64, len: u64) -> Result<(), Refusal> {
        let (mut at, end) = (offset, offset.saturating_add(len));
        while at < end {
            let piece = usize::try_from(end - at).map_or(ZEROS.len(), |rest| rest.min(ZEROS.len()));
            self.write_at(file, at, &ZEROS[..piece])?;
            at += piece as u64;
        }
        Ok(())
    }

    /// Copies `len` bytes at `offset` to their place in `file`, from what stands under its final name and will be
    /// replaced. Holes may stay holes; they read as zeros afterwards, also where nothing follows them.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Store::write_at); also where there are not so many bytes to copy, or nothing stands there.
    fn copy_held(&mut self, file: &mut Self::File, offset: u64, len: u64) -> Result<(), Refusal>;

    /// Starts to make an entry durable and to give it its final name: the one that [`Commit::place`] makes of the
    /// offer's, which need not be that of `begin`. A file in [`Found::Existing`] keeps the name under which it was
    /// found. [`poll_committed`](Store::poll_committed) reports the end. A failed commit leaves the final name as it
    /// was, save where all that failed was to make the name itself durable: then the content stands under it, complete
    /// and verified.
    ///
    /// Whether the name is free is decided here, in one step with taking it, whatever `begin` found: another session,
    /// or another program, may have been faster.
    ///
    /// Of two commits that give one name, or vouch for what has it, the one that was started later has it in the end,
    /// whatever session of the store and its clones each is of: one whose session was given up must not put an older
    /// file in the place of one that was receipted since. A commit that comes to its name after a later one leaves that
    /// in place under [`Place::Replacing`] too, and is handed back.
    ///
    /// A folder gets its time after all entries that were committed before it have their names.
    fn commit(&mut self, file: Self::File, commit: Commit);

    /// Returns the next commit that ended, in any order, by its [`Commit::ticket`], waiting at most `wait`
    /// for one.
    ///
    /// `None`: none ended in that time. Each commit ends once. It may end after its session was given up and while the
    /// store serves the next one, which has entries of the same numbers: by its ticket alone a commit is known. A
    /// session begins and ends by asking, whatever is under way: so what is handed back late is closed.
    ///
    /// Where something else has the final name (under [`Place::Replacing`]: what a later commit gave it to), the file
    /// is handed back as [`Uncommitted::Taken`], and can be committed under another name; that is not for a file in
    /// [`Found::Existing`], which fails with [`Refusal::Exists`] if what stands under its name is no longer what was
    /// read.
    fn poll_committed(&mut self, wait: Duration) -> Option<(Ticket, Ended<Self::File>)>;

    /// Closes an entry and keeps what was written, for a later attempt. Of an entry of one block at most it need keep nothing.
    fn suspend(&mut self, file: Self::File);

    /// Closes an entry and removes what was written since it was begun. What an earlier attempt had left may be kept:
    /// that is no worse for what came since. It never touches a final name.
    fn discard(&mut self, file: Self::File);
}

/// Result of a commit.
pub type Ended<F> = Result<Committed, Uncommitted<F>>;

/// Reason why an entry did not get its final name.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Uncommitted<F> {
    /// The entry cannot be committed. It is closed; what was written is kept for a later attempt, unless it
    /// cannot be trusted.
    Failed(Refusal),
    /// The name alone stood in the way: something else has it by now.
    Taken {
        /// The entry, as it was given to `commit`: with all that was written.
        file: F,
        /// The regular file that has the name, as in [`Found::Existing`]. `None`: there is nothing that could be
        /// compared, as a folder has the name, or another link, or (under [`Place::Beside`]) another entry of the
        /// session.
        existing: Option<(F, u64)>,
    },
}

/// Outcome of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The final name, which differs from the offered one under [`Place::Beside`].
    pub path: RelPath,
}

impl<F> From<Refusal> for Uncommitted<F> {
    fn from(refusal: Refusal) -> Self {
        Self::Failed(refusal)
    }
}

impl Committed {
    /// Returns the outcome of an entry that has this final name.
    #[must_use]
    pub const fn new(path: RelPath) -> Self {
        Self { path }
    }
}

/// Zeros that [`Store::write_zeros`] writes by default: the size of a buffer that a call is worth
/// while for.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
