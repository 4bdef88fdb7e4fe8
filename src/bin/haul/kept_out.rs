//! Folder of this user's keys and settings, which nothing is received into.

use std::io::ErrorKind;

use haul::store::fs::FsStore;

use crate::exit::{Code, Stop};
use crate::{explain, identity};

/// Keeps what comes out of the folder: whoever may send could let others in, or exchange the key.
pub(crate) fn apply(store: FsStore) -> Result<FsStore, Stop> {
    // Nobody has keys or settings where there is no place for them.
    let Ok(folder) = identity::folder() else { return Ok(store) };
    store.keep_out_of(folder).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Stop::new(Code::Usage, error.to_string()),
        _ => {
            let text = explain::system(&error);
            Stop::new(Code::Local, format!("cannot protect the keys of this user: {text}"))
        }
    })
}
