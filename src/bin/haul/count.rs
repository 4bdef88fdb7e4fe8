//! Files and bytes below the paths that are sent, counted while they are sent.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use haul::RelPath;

use crate::status::Status;

/// Counts in a thread of its own, and tells the status once all is counted: from then on, its row has percent and time.
///
/// Nothing depends on it: where a folder cannot be read, or no thread can be started, the row goes on to say how much so far.
pub(crate) fn ahead(paths: Vec<PathBuf>, status: &Arc<Mutex<Status>>) {
    let status = Arc::downgrade(status);
    let _ = thread::Builder::new().name("count".into()).spawn(move || {
        if let Some((bytes, files)) = count(paths, &status)
            && let Some(status) = status.upgrade()
        {
            let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
            (status.total, status.total_files) = (Some(bytes), Some(files));
        }
    });
}

/// Returns bytes and files; `None` where they cannot be told, or nobody wants to know them any more.
fn count(mut paths: Vec<PathBuf>, status: &Weak<Mutex<Status>>) -> Option<(u64, u64)> {
    let (mut bytes, mut files) = (0_u64, 0_u64);
    // A path that was given is followed; below it, links are not.
    let mut metas = paths.iter().map(fs::metadata).collect::<Result<Vec<_>, _>>().ok()?;
    while let (Some(path), Some(meta)) = (paths.pop(), metas.pop()) {
        if meta.is_file() {
            (bytes, files) = (bytes.checked_add(meta.len())?, files + 1);
        } else if meta.is_dir() {
            status.upgrade()?;
            for entry in fs::read_dir(path).ok()? {
                let entry = entry.ok()?;
                if !is_partial(entry.file_name().as_bytes()) {
                    metas.push(entry.metadata().ok()?);
                    paths.push(entry.path());
                }
            }
        }
    }
    Some((bytes, files))
}

/// Returns whether an earlier transfer left a file of this name, which is not sent.
fn is_partial(name: &[u8]) -> bool {
    name.starts_with(RelPath::PARTIAL_PREFIX.as_bytes())
        && name.ends_with(RelPath::PARTIAL_SUFFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::exit::Side;
    use crate::status::Phase;

    #[test]
    fn count_is_of_files_below_the_paths_and_without_links() {
        let place = tempfile::tempdir().unwrap();
        let tree = place.path().join("tree");
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::write(tree.join("a/b/ten"), "0123456789").unwrap();
        fs::write(tree.join("five"), "01234").unwrap();
        fs::write(tree.join(".haul-x.part"), "left").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.join("link")).unwrap();
        let status = Arc::new(Mutex::new(Status::new(Side::Sender, Phase::Moving)));
        ahead(vec![tree.clone(), tree.join("five")], &status);
        let deadline = Instant::now() + Duration::from_secs(30);
        let counted = loop {
            let status = status.lock().unwrap().clone();
            if status.total.is_some() || Instant::now() > deadline {
                break (status.total, status.total_files);
            }
            thread::yield_now();
        };
        assert_eq!(counted, (Some(20), Some(3)));
        assert_eq!(count(vec![tree.join("none")], &Arc::downgrade(&status)), None);
    }
}
