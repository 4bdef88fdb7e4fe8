//! Small files: they have no name before they are whole.
//!
//! A file of one block at most is made without a name (`O_TMPFILE`), and gets its final name by a link from its handle. So
//! nobody can put anything in its place, and no name of it need be proved, as those of a partial file must (see
//! [`name`](super::name)); and what is not whole leaves nothing behind. What has its name is taken back if the folder proves to be
//! another one by then.
//!
//! One that is to be synced, or to replace something, gets the name of a partial file first, and goes on as one: some file
//! systems sync nothing of a file without a name (btrfs), and a link replaces nothing. Where the system or the file system
//! has no such files, each is a partial file from the start.

use std::fs::File;

use rustix::fs::fstat;
use rustix::io::Errno;

use super::claim::Claim;
use super::dir::{ATTEMPTS, Folder};
use super::errno::{During, Failed};
use super::existing::Trouble;
use super::holes;
use super::partial::{self, Named, Partial};
use super::shared::{Shared, Step};
use super::stat::Id;
use super::sys;
use crate::store::io_error::refusal_of;
use crate::types::{Offer, Place, Refusal, RelPath, StoreOperation};

/// Outcome of giving a file its final name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// The file has its name. `is_proved`: it is found under the name that a receipt gives; else that is to be looked at.
    Here {
        is_proved: bool,
    },
    /// The file had its name, and it was taken back: the folder is not where it was.
    TakenBack,
    Not,
}

/// Returns whether this is an entry of which an attempt that ends too early need leave nothing.
pub(super) fn is_small(offer: &Offer, place: Place) -> bool {
    let most = offer.block_size.bytes().min(SMALL);
    place != Place::Replacing && offer.meta.size.is_some_and(|size| size <= most)
}

/// Makes a file without a name in the folder at `path`, to which no link leads. `None`: it cannot be done.
pub(super) fn make(shared: &Shared, path: Option<&RelPath>, mode: u32) -> Option<Partial> {
    if !shared.unnamed.is_possible() {
        return None;
    }
    let path = path.map_or(&b"."[..], RelPath::as_bytes);
    match sys::open_unnamed(&shared.tree.root, path, mode) {
        Ok(file) => Some(Partial {
            file: File::from(file),
            named: None,
            mode: Some(mode),
            len: 0,
            allocated: 0,
            is_adopted: false,
        }),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
            shared.unnamed.set_impossible();
            None
        }
        // Another way, or the same one in more steps, says why.
        Err(_) => None,
    }
}

/// Gives a file its final name in the folder that it was begun in.
pub(super) fn give(
    claim: &Claim,
    folder: &Folder,
    file: &File,
    path: &RelPath,
) -> Result<Given, Trouble> {
    let (tree, parent, name) = (&claim.shared.tree, path.parent(), path.file_name());
    for _ in 0..ATTEMPTS {
        let turn = claim.shared.turns.take(&claim.name);
        let step = claim.shared.step(Step::Link);
        match step.map_or(Err(Errno::NOTSUP), |()| sys::link(file, folder, name)) {
            Ok(()) => {
                let is_there = tree.leads_to(parent.as_ref(), folder);
                // It would not be found under the name that a receipt gives.
                if is_there == Ok(false) {
                    folder.set_escaped();
                    take_back(file, folder, name)?;
                    return Ok(Given::TakenBack);
                }
                claim.set_given();
                return Ok(Given::Here { is_proved: is_there.is_ok() });
            }
            Err(Errno::EXIST) => {}
            // The folder may have been removed, or the system cannot do it.
            Err(_) => return Ok(Given::Not),
        }
        drop(turn);
        Trouble::of_taken(&claim.shared, folder, name)?;
    }
    Err(Refusal::Exists.into())
}

fn take_back(file: &File, folder: &Folder, name: &[u8]) -> Result<(), Refusal> {
    let id = Id::of(&fstat(file).during(StoreOperation::Stat)?);
    Ok(folder.remove(name, id).during(StoreOperation::Rename)?)
}

/// Gives a file that never had a name that of a partial file; where that cannot be done, a copy of it. `end`: how much of it
/// was written.
pub(super) fn name(
    claim: &Claim,
    folder: &Folder,
    partial: &mut Partial,
    final_name: &[u8],
    end: u64,
) -> Result<(), Refusal> {
    let shared = &claim.shared;
    // Nobody else has it open: it is locked before it can be seen.
    let _ = partial.file.try_lock();
    let id = Id::of(&fstat(&partial.file).during(StoreOperation::Stat)?);
    for n in 0..partial::MOST {
        let name = partial::name(claim.owner, final_name, n);
        let step = shared.step(Step::Link);
        match step
            .map_or(Err(Errno::NOTSUP), |()| sys::link(&partial.file, folder, name.as_bytes()))
        {
            Ok(()) => {
                partial.named = Some(Named { name, id });
                shared.expiry.note(folder.id, final_name);
                return Ok(());
            }
            Err(Errno::EXIST) => {}
            Err(_) => {
                copy(claim, folder, partial, final_name, end)?;
                shared.unnamed.set_impossible();
                return Ok(());
            }
        }
    }
    Err(BUSY.into())
}

/// Puts a copy of a file in its place that has the name of a partial file. What had a name once gets none by a link any more.
pub(super) fn copy(
    claim: &Claim,
    folder: &Folder,
    partial: &mut Partial,
    final_name: &[u8],
    end: u64,
) -> Result<(), Refusal> {
    let shared = &claim.shared;
    for n in 0..partial::MOST {
        match partial::create(folder, partial::name(claim.owner, final_name, n)) {
            Err(Failed { errno: Errno::EXIST, .. }) => {}
            created => {
                shared.expiry.note(folder.id, final_name);
                let from = std::mem::replace(partial, created?);
                let copied = holes::copy(&from.file, &partial.file, 0..end);
                return copied.map(drop).map_err(|error| refusal_of(StoreOperation::Copy, &error));
            }
        }
    }
    Err(BUSY.into())
}

/// All names are in use.
const BUSY: Failed = Failed::new(StoreOperation::Open, Errno::BUSY);

/// The largest file that is made without a name: to send it once more costs little.
const SMALL: u64 = 1 << 20;
