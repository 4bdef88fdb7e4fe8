//! Programs that an option names, before anything is done for them.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::exit::{Code, Stop};
use crate::explain::{shown, system};

/// Looks for the program that is the first of the words of an option.
pub(crate) fn check(option: &str, words: &[OsString]) -> Result<(), Stop> {
    let Some(word) = words.first() else { return Ok(()) };
    let (program, shown) = (Path::new(word), shown(Path::new(word)));
    let runs = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let wrong = |text: String| Err(Stop::new(Code::Usage, format!("{option}: {text}")));
    if !word.as_bytes().contains(&b'/') {
        let folders = env::var_os("PATH").unwrap_or_default();
        if env::split_paths(&folders).any(|folder| runs(&folder.join(program))) {
            return Ok(());
        }
        return wrong(format!("there is no command '{shown}' in PATH"));
    }
    match fs::metadata(program) {
        Ok(_) if runs(program) => Ok(()),
        Ok(_) => wrong(format!("'{shown}' is no program that this user may run")),
        Err(error) => wrong(format!("there is no command '{shown}': {}", system(&error))),
    }
}
