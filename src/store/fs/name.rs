//! Final names: given to what was written, and to nothing else.
//!
//! A rename takes names, and whoever may write to the folder can put something else under the name of a partial file at
//! any time. So before the rename the name is proved to be that of the file that was written, by device, inode and size;
//! and as it could be exchanged just then, the final name is proved after the rename. Where it is not that file, what
//! stands there is moved back under the name of the partial file: it had its final name for two system calls. A file that
//! was to be replaced comes back too: it is exchanged with the new one, in one step, and removed when the new one has been
//! proved.
//!
//! A link from the open file to the final name would be right from the start, but replaces nothing, needs `/proc` or a
//! privilege, and is refused by file systems without hard links.

use std::fs::File;
use std::thread;
use std::time::Duration;

use rustix::fs::{AtFlags, FileType, Stat, linkat, readlinkat, renameat, symlinkat, utimensat};
use rustix::io::Errno;

use super::claim::Claim;
use super::dir::{ATTEMPTS, Folder, NOENT};
use super::errno::{self, During, Failed};
use super::existing::Trouble;
use super::partial::{self, Named, Untaken};
use super::shared::Step;
use super::stat::{self, Id, times};
use super::sys;
use crate::store::io_error::refusal_of;
use crate::types::{Refusal, StoreOperation, Timestamp};

/// File that is to get a final name.
struct Moved<'a> {
    claim: &'a Claim,
    folder: &'a Folder,
    from: &'a [u8],
    to: &'a [u8],
    /// Identity of the file, or link.
    id: Id,
    /// Kind of thing that it replaces; `None`: nothing.
    replaced: Option<FileType>,
    /// Length of a file.
    size: Option<u64>,
    /// Target of a link. Nothing keeps a link open, so that another may get its inode.
    target: Option<&'a [u8]>,
}

/// Gives a partial file its final name, and returns what it replaced. If something has the name, returns
/// what.
pub(super) fn give(
    claim: &Claim,
    folder: &Folder,
    partial: &Named,
    to: &[u8],
    size: u64,
    replacing: bool,
) -> Result<Option<Stat>, Trouble> {
    let (from, id) = (partial.name.as_bytes(), partial.id);
    let replaced = replacing.then_some(FileType::RegularFile);
    let size = Some(size);
    let moved = Moved { claim, folder, from, to, id, replaced, size, target: None };
    for _ in 0..ATTEMPTS {
        match moved.rename() {
            Err(Refusal::Exists) => {}
            // One of the names was removed meanwhile.
            Err(Refusal::Store { code: NOENT, operation: StoreOperation::Rename }) => continue,
            Err(Refusal::KindClash) => return Err(Trouble::Taken(None)),
            renamed => return Ok(renamed?),
        }
        match Trouble::of_taken(&claim.shared, folder, to) {
            // Put there since it was seen that there is nothing to replace.
            Err(Trouble::Taken(Some(_))) if replacing && !claim.is_overtaken() => {}
            taken => taken?,
        }
    }
    Err(Refusal::Exists.into())
}

/// Gives a link its final name, unless a link to the same stands there.
pub(super) fn give_link(
    claim: &Claim,
    folder: &Folder,
    name: &[u8],
    target: &[u8],
    modified: Option<Timestamp>,
    replacing: bool,
) -> Result<(), Trouble> {
    let mut last = Refusal::Exists;
    for _ in 0..ATTEMPTS {
        let turn = claim.shared.turns.take(&claim.name);
        let linked = readlinkat(folder, name, Vec::new());
        match linked {
            Ok(linked) if linked.as_bytes() == target => {
                claim.set_given();
                return Ok(());
            }
            Ok(_) if !replacing || claim.is_overtaken() => return Err(Trouble::Taken(None)),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(Errno::INVAL) => return Err(Refusal::KindClash.into()),
            Err(errno) => return Err(Failed::new(StoreOperation::Stat, errno).into()),
        }
        drop(turn);
        match make_link(claim, folder, name, target, modified, replacing) {
            Ok(()) => {}
            // The name was taken meanwhile, or another session swept the new link away: links have no locks.
            Err(
                refusal @ (Refusal::Exists
                | Refusal::Tampered
                | Refusal::Store { code: NOENT, operation: StoreOperation::Rename }),
            ) => last = refusal,
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Err(last.into())
}

/// Makes a symbolic link under a name of a partial file, and renames it: never is a link changed in place.
fn make_link(
    claim: &Claim,
    folder: &Folder,
    to: &[u8],
    target: &[u8],
    modified: Option<Timestamp>,
    replacing: bool,
) -> Result<(), Refusal> {
    for n in 0..MOST_LINKS {
        let partial = partial::name(claim.owner, to, n);
        match symlinkat(target, folder, &*partial) {
            Err(Errno::EXIST) => continue,
            made => made.during(StoreOperation::CreateLink)?,
        }
        let made = folder.look(partial.as_bytes())?.filter(stat::is_link);
        let id = Id::of(&made.ok_or(Refusal::Tampered)?);
        if let Some(times) = times(modified) {
            let _ = utimensat(folder, &*partial, &times, AtFlags::SYMLINK_NOFOLLOW);
        }
        let replaced = replacing.then_some(FileType::Symlink);
        let (from, target) = (partial.as_bytes(), Some(target));
        let moved = Moved { claim, folder, from, to, id, replaced, size: None, target };
        return moved.rename().map(drop).inspect_err(|_| {
            let _ = folder.remove(partial.as_bytes(), id);
        });
    }
    Err(Failed::new(StoreOperation::CreateLink, Errno::BUSY).into())
}

impl Moved<'_> {
    /// Renames it, in one step with seeing that the name is free, or is that of something which it replaces.
    ///
    /// # Errors
    ///
    /// [`Refusal::Tampered`] if it is not what stands under the name. [`Refusal::Exists`]: the final name is taken, or
    /// that of what a later commit gave it to. [`Refusal::KindClash`]: it is that of something which is not replaced.
    fn rename(&self) -> Result<Option<Stat>, Refusal> {
        let &Self { claim, folder, from, to, .. } = self;
        let shared = &claim.shared;
        let step = shared.step(Step::Rename);
        step.map_err(|error| refusal_of(StoreOperation::Rename, &error))?;
        // Until it is proved: another session may replace what has just got its name.
        let _turn = shared.turns.take(&claim.name);
        self.prove(from)?;
        if self.replaced.is_some()
            && let Some((old, held)) = self.hold_old()?
        {
            if claim.is_overtaken() {
                return Err(Refusal::Exists);
            }
            let replaced = self.replace(old);
            // Until it is removed.
            drop(held);
            return replaced;
        }
        let renamed = match shared.step(Step::RenameNoReplace) {
            Ok(()) => sys::rename_if_free(folder, from, to),
            Err(_) => Err(Errno::NOTSUP),
        };
        let is_linked = renamed.is_err_and(is_unknown);
        // The file system does not know the flag: a link does not replace anything either.
        let renamed =
            if is_linked { linkat(folder, from, folder, to, AtFlags::empty()) } else { renamed };
        renamed.during(StoreOperation::Rename)?;
        self.prove_renamed()?;
        claim.set_given();
        // The name stands, which is what counts. If this fails, `sweep` may yet do it, or that of a later attempt.
        if is_linked && shared.step(Step::Unlink).is_ok() {
            let _ = folder.remove(from, self.id);
        }
        Ok(None)
    }

    /// Locks what is replaced, and only then looks at it: a session of another process does so too, so that what was seen is
    /// what is exchanged, and nobody takes it for a partial file while it has the name of one.
    ///
    /// It goes on without a lock that it cannot have: where the file is another user's, say, or another process keeps it
    /// for longer than [`PATIENCE`] pauses.
    fn hold_old(&self) -> Result<Option<(Stat, Option<File>)>, Refusal> {
        let mut pauses = 0;
        loop {
            let Some(old) = self.folder.look(self.to)? else { return Ok(None) };
            if !self.is_replaceable(&old) {
                return Err(Refusal::KindClash);
            }
            let may_pass = match partial::hold_replaced(self.folder, self.to, &old) {
                Ok((file, old)) => return Ok(Some((old, Some(file)))),
                Err(Untaken::Held) => true,
                Err(Untaken::Foreign) => {
                    let now = self.folder.look(self.to)?;
                    now.is_none_or(|now| Id::of(&now) != Id::of(&old))
                }
            };
            if !may_pass || pauses == PATIENCE {
                return Ok(Some((old, None)));
            }
            pauses += 1;
            pause();
        }
    }

    /// Takes the place of `old`, as long as that, or another of its kind, has the name.
    fn replace(&self, old: Stat) -> Result<Option<Stat>, Refusal> {
        let &Self { claim, folder, from, to, .. } = self;
        let shared = &claim.shared;
        let exchange = || sys::exchange(folder, from, to);
        let step = shared.step(Step::RenameExchange);
        // As late as can be: afterwards nobody can tell what had the final name from what was put under the other one.
        if folder.look(to)?.is_some_and(|stat| !self.is_replaceable(&stat)) {
            return Err(Refusal::KindClash);
        }
        let exchanged = match step {
            Ok(()) => exchange(),
            Err(_) => Err(Errno::NOTSUP),
        };
        if exchanged.is_err_and(is_unknown) {
            // What is replaced is lost in the same step, as there is no other way.
            renameat(folder, from, folder, to).during(StoreOperation::Rename)?;
            return self.prove_renamed().map(|()| Some(old)).inspect(|_| claim.set_given());
        }
        exchanged.during(StoreOperation::Rename)?;
        let _ = shared.step(Step::Renamed);
        let given_back = folder.look(from)?;
        let Err(tampered) = self.prove(to) else {
            // What was put under the name of the partial file since is not what was replaced, and stays.
            let _ = folder.remove(from, Id::of(&old));
            claim.set_given();
            // Something of another kind had the final name for a system call, or was put there since. It must not have that
            // name from this store: the new file keeps it, which is proved to stand there.
            return match given_back {
                Some(stat) if !self.is_replaceable(&stat) => Err(Refusal::Tampered),
                given_back => Ok(Some(given_back.unwrap_or(old))),
            };
        };
        if self.is_another_sessions() {
            let _ = folder.remove(from, Id::of(&old));
        } else if given_back.is_some_and(|stat| Id::of(&stat) == Id::of(&old)) {
            let given = match exchange() {
                // Nothing has the final name by now, which what was to be replaced gets again.
                Err(Errno::NOENT) => sys::rename_if_free(folder, from, to),
                exchanged => exchanged,
            };
            given.during(StoreOperation::Rename)?;
        } else {
            // Somebody took away what was to be replaced. What has its place is nobody's to give the final name to.
            self.put_back()?;
        }
        Err(tampered)
    }

    /// Returns whether it is of the kind that is replaced.
    fn is_replaceable(&self, stat: &Stat) -> bool {
        self.replaced == Some(stat::kind(stat))
    }

    fn prove(&self, name: &[u8]) -> Result<(), Refusal> {
        let is_whole = |stat: &Stat| self.size.is_none_or(|size| stat::size(stat) == size);
        let is_it = |stat: Stat| Id::of(&stat) == self.id && is_whole(&stat);
        let is_it = self.folder.look(name)?.is_some_and(is_it);
        let leads_there = self.target.is_none_or(|target| {
            readlinkat(self.folder, name, Vec::new()).is_ok_and(|found| found.as_bytes() == target)
        });
        let is_proved = is_it && leads_there || cfg!(haul_canary = "unproved-name");
        if is_proved { Ok(()) } else { Err(Refusal::Tampered) }
    }

    fn prove_renamed(&self) -> Result<(), Refusal> {
        let _ = self.claim.shared.step(Step::Renamed);
        self.prove(self.to).or_else(|refusal| {
            if !self.is_another_sessions() {
                self.put_back()?;
            }
            Err(refusal)
        })
    }

    /// Returns whether a session of another process has the file that stands under the final name: it has been faster to
    /// replace this one than this one was to be proved. Sessions of this process take [turns](super::order::Turns).
    fn is_another_sessions(&self) -> bool {
        let named = self.folder.look(self.to).ok().flatten();
        // This one's own file is held as well, by itself.
        let is_own = |stat: &Stat| Id::of(stat) == self.id;
        named.is_some_and(|stat| !is_own(&stat) && partial::is_held(self.folder, self.to, &stat))
    }

    /// Moves what got the final name in its stead to where it stood, or beside that. Nothing is replaced, and none of it
    /// is lost.
    fn put_back(&self) -> errno::Result<()> {
        let &Self { claim, folder, from, to, .. } = self;
        let Some(foreign) = folder.look(to)?.map(|stat| Id::of(&stat)) else { return Ok(()) };
        let mut back = String::from_utf8_lossy(from).into_owned();
        for n in 0..MOST_LINKS {
            if folder.look(back.as_bytes())?.is_some_and(|stat| Id::of(&stat) == foreign) {
                // A second name, which a rename in two steps gave it.
                return folder.remove(to, foreign).during(StoreOperation::Rename);
            }
            match sys::rename_if_free(folder, to, back.as_bytes()) {
                Err(Errno::EXIST) => back = partial::name(claim.owner, to, n),
                Err(errno) if is_unknown(errno) => {
                    let linked = linkat(folder, to, folder, &*back, AtFlags::empty());
                    linked.during(StoreOperation::Rename)?;
                }
                Err(Errno::NOENT) => return Ok(()),
                moved => return moved.during(StoreOperation::Rename),
            }
        }
        Err(Failed::new(StoreOperation::Rename, Errno::BUSY))
    }
}

/// Returns whether the file system does not know a flag of a rename.
fn is_unknown(errno: Errno) -> bool {
    matches!(errno, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP)
}

/// Waits a moment for a session of another process, of whose lock nobody is told.
#[expect(clippy::disallowed_methods, reason = "no call waits for a lock with a limit")]
fn pause() {
    thread::sleep(Duration::from_millis(1));
}

/// Number of pauses, of 1 ms, for which a session waits until another process is done with what it gave the same name
/// to: for some system calls, and for the sync of a folder where the name is to be durable. A second, as somebody else
/// may have locked the file for a reason of his own.
const PATIENCE: u32 = 1000;

/// Most links of killed processes that are looked at: they are not taken over, but swept once the
/// name is settled; there are few.
const MOST_LINKS: u32 = 64;
