//! A source and a store of your own: settings out of a map, into a store that keeps each content once, by its hash.
//!
//! The contract of both traits stands in their documentation. What matters most is the order of a commit: first
//! durable, then visible, and only then reported, because the sender takes that report for the truth.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
#![expect(clippy::disallowed_methods, reason = "the two ends live in two threads")]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::num::NonZeroUsize;
use std::time::Duration;
use std::{io, thread};

use haul::hash::Hash;
use haul::store::{Committed, Ended, Uncommitted, Unsendable};
use haul::transport::memory;
use haul::types::{
    Commit, Found, Kind, Meta, Offer, Place, Refusal, StoreOperation, Ticket, TransferId,
    Withdrawal,
};
use haul::{RelPath, Source, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let settings = [("color", "blue"), ("mode", "fast"), ("sky", "blue")];
    let (alice, bob) = memory::pipe(NonZeroUsize::MIN);

    let bob = thread::spawn(move || {
        let mut store = Objects::default();
        haul::receive(&mut store, bob).map(|_| store)
    });
    let summary = haul::send(&mut Settings::new(&settings), alice)?;
    let store = bob.join().map_err(|_| "the receiver panicked")??;

    assert_eq!(store.get("sky"), Some(&b"blue"[..]));
    println!("{} names, {} objects", store.names.len(), store.objects.len());
    assert_eq!(summary.delivered, 3);
    Ok(())
}

/// Entries are made as they are asked for, so that a source of millions need not hold them.
struct Settings<'a> {
    all: &'a [(&'a str, &'a str)],
    rest: std::slice::Iter<'a, (&'a str, &'a str)>,
}

impl<'a> Settings<'a> {
    fn new(settings: &'a [(&'a str, &'a str)]) -> Self {
        Self { all: settings, rest: settings.iter() }
    }
}

impl<'a> Source for Settings<'a> {
    type Key = &'a str;
    type Reader = &'a [u8];

    fn rewind(&mut self) -> io::Result<()> {
        self.rest = self.all.iter();
        Ok(())
    }

    fn next_entry(&mut self) -> Option<Result<(Self::Key, Meta), Unsendable>> {
        let (name, value) = self.rest.next()?;
        Some(match RelPath::parse(name.as_bytes()) {
            Ok(path) => Ok((value, Meta::file(path, u64::try_from(value.len()).ok()))),
            Err(_) => Err(Unsendable::new(name.escape_debug().to_string(), Withdrawal::Name)),
        })
    }

    fn open(&mut self, key: &Self::Key, _: &Meta) -> Result<Self::Reader, Withdrawal> {
        Ok(key.as_bytes())
    }

    fn read_at(
        &mut self,
        reader: &mut Self::Reader,
        offset: u64,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        Ok(copy(reader, offset, buffer))
    }

    fn finish(&mut self, _: &mut Self::Reader, _: &Meta) -> Result<(), Withdrawal> {
        // A map that is borrowed cannot have changed. A source of files compares size, time and inode here.
        Ok(())
    }
}

/// Each content once, and the names that stand for it.
#[derive(Default)]
struct Objects {
    objects: BTreeMap<Hash, Vec<u8>>,
    names: BTreeMap<RelPath, Hash>,
    /// Content of an earlier attempt, for the next one to go on with.
    drafts: BTreeMap<(Option<TransferId>, RelPath), Vec<u8>>,
    /// Transfer that is served: drafts of others are not for it.
    transfer: Option<TransferId>,
    ended: VecDeque<(Ticket, Ended<Open>)>,
}

/// An open entry.
enum Open {
    Draft(RelPath, Vec<u8>),
    Held(RelPath, Hash),
}

impl Objects {
    fn get(&self, name: &str) -> Option<&[u8]> {
        let path = RelPath::parse(name.as_bytes()).ok()?;
        self.objects.get(self.names.get(&path)?).map(Vec::as_slice)
    }
}

impl Store for Objects {
    type File = Open;

    fn serve(&mut self, transfer: TransferId) {
        self.transfer = Some(transfer);
    }

    fn begin(&mut self, offer: &Offer, place: Place) -> Result<(Open, Found), Refusal> {
        if offer.meta.kind != Kind::File {
            return Err(Refusal::Kind);
        }
        let path = offer.meta.path.clone();
        let held = self.names.get(&path);
        match (place, held) {
            // haul asks what is here before it replaces anything: equal content is not sent again.
            (Place::Offered, Some(root)) => {
                let len = self.objects.get(root).map_or(0, |bytes| bytes.len() as u64);
                Ok((Open::Held(path, *root), Found::Existing(len)))
            }
            (Place::Offered | Place::Replacing, _) => {
                let key = (self.transfer, path.clone());
                let len = self.drafts.get(&key).map(|bytes| bytes.len() as u64);
                // What is longer than a small entry is of an attempt at something else, and stays.
                let draft = len.filter(|len| offer.may_continue(*len));
                Ok(match draft.and_then(|len| Some((len, self.drafts.remove(&key)?))) {
                    Some((len, bytes)) => (Open::Draft(path, bytes), Found::Partial(len)),
                    // No space is taken on the word of an offer: the vector grows as bytes come.
                    None => (Open::Draft(path, Vec::new()), Found::Fresh),
                })
            }
            // This store has no names beside one that is taken. `Exists` would say that another number may be free.
            _ => Err(Refusal::Policy),
        }
    }

    fn read_at(&mut self, file: &mut Open, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = match file {
            Open::Draft(_, bytes) => Some(&*bytes),
            Open::Held(_, root) => self.objects.get(root),
        };
        Ok(bytes.map_or(0, |bytes| copy(bytes, offset, buffer)))
    }

    fn write_at(&mut self, file: &mut Open, offset: u64, content: &[u8]) -> Result<(), Refusal> {
        let Open::Draft(_, bytes) = file else { return Err(Refusal::Exists) };
        let start = usize::try_from(offset)
            .map_err(|_| Refusal::Store { code: 0, operation: StoreOperation::Write })?;
        bytes.resize(bytes.len().max(start + content.len()), 0);
        bytes[start..][..content.len()].copy_from_slice(content);
        Ok(())
    }

    fn copy_held(&mut self, file: &mut Open, offset: u64, len: u64) -> Result<(), Refusal> {
        let Open::Draft(path, _) = file else { return Err(Refusal::Exists) };
        let held = self.names.get(path).and_then(|root| self.objects.get(root));
        let range = usize::try_from(offset).ok().zip(usize::try_from(offset + len).ok());
        let content = held.zip(range).and_then(|(held, (start, end))| held.get(start..end));
        let content =
            content.ok_or(Refusal::Store { code: 0, operation: StoreOperation::Copy })?.to_vec();
        self.write_at(file, offset, &content)
    }

    fn commit(&mut self, file: Open, commit: Commit) {
        let path = match file {
            // What was compared is vouched for only if it has the name still.
            Open::Held(path, root) if self.names.get(&path) != Some(&root) => {
                let failed = Err(Uncommitted::Failed(Refusal::Exists));
                self.ended.push_back((commit.ticket, failed));
                return;
            }
            Open::Held(path, _) => path,
            // The name was free when the entry was begun. Another session of a store that is shared may have been
            // faster: then the draft goes back, with what is here, and haul does what the policy says.
            Open::Draft(path, bytes)
                if commit.place != Place::Replacing && self.names.contains_key(&path) =>
            {
                let existing = self.names.get(&path).map(|root| {
                    let len = self.objects.get(root).map_or(0, |bytes| bytes.len() as u64);
                    (Open::Held(path.clone(), *root), len)
                });
                let file = Open::Draft(path, bytes);
                self.ended.push_back((commit.ticket, Err(Uncommitted::Taken { file, existing })));
                return;
            }
            // Commits are done as they come, so of two for one name the later one has it, as the contract asks. A store
            // that does them elsewhere sees to that: one that comes late does not replace what a later one was receipted for.
            Open::Draft(path, mut bytes) => {
                // What lies beyond is of an earlier attempt, and what was never written is zeros.
                bytes.resize(usize::try_from(commit.size).unwrap_or(usize::MAX), 0);
                let root = Hash::of(&bytes);
                // The object before the name that stands for it. A store on a disk syncs in between.
                self.objects.entry(root).or_insert(bytes);
                self.names.insert(path.clone(), root);
                path
            }
        };
        self.ended.push_back((commit.ticket, Ok(Committed::new(path))));
    }

    fn poll_committed(&mut self, _: Duration) -> Option<(Ticket, Ended<Open>)> {
        // All is done by the time that `commit` returns, so there is nothing to wait for.
        self.ended.pop_front()
    }

    fn suspend(&mut self, file: Open) {
        if let Open::Draft(path, bytes) = file {
            let kept = self.drafts.entry((self.transfer, path)).or_default();
            if kept.len() < bytes.len() {
                *kept = bytes;
            }
        }
    }

    fn discard(&mut self, _: Open) {}
}

/// Copies what there is at `offset`, as much as there is room for.
fn copy(bytes: &[u8], offset: u64, buffer: &mut [u8]) -> usize {
    let rest = usize::try_from(offset).ok().and_then(|start| bytes.get(start..)).unwrap_or(&[]);
    let len = rest.len().min(buffer.len());
    buffer[..len].copy_from_slice(&rest[..len]);
    len
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use haul::testing::store::check_store;

    #[test]
    fn objects_keep_the_contract() {
        check_store(super::Objects::default);
    }
}
