//! Use of room on the device, and of descriptors.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// A page of the file system, or more than one: what a hole begins and ends at.
pub(super) const PAGE: usize = 4096;

/// Bytes that a file may take beside its data: the tree of its extents, and room that was taken
/// ahead.
const SLACK: u64 = 16 * 1024;

/// Writes a file with holes where there is nothing but zeros.
pub(super) fn write_sparse(path: &Path, bytes: &[u8]) {
    let file = File::create(path).unwrap();
    file.set_len(bytes.len().try_into().unwrap()).unwrap();
    for (page, bytes) in bytes.chunks(PAGE).enumerate() {
        if bytes.iter().any(|byte| *byte != 0) {
            file.write_all_at(bytes, (page * PAGE).try_into().unwrap()).unwrap();
        }
    }
}

/// Returns whether files below this folder may have holes.
pub(super) fn has_holes(folder: &Path) -> bool {
    let path = folder.join("hole");
    write_sparse(&path, &[0; 16 * PAGE]);
    let taken = fs::metadata(&path).unwrap().blocks();
    fs::remove_file(&path).unwrap();
    taken == 0
}

/// Returns how much a file of this content may take, whatever it replaced.
pub(super) fn most(bytes: &[u8]) -> u64 {
    let data = bytes.chunks(PAGE).filter(|bytes| bytes.iter().any(|byte| *byte != 0)).count();
    SLACK + u64::try_from(data * PAGE).unwrap()
}

/// Returns the regular files below this folder that this process has open, by their names.
pub(super) fn open_below(folder: &Path) -> Vec<String> {
    let Ok(all) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    // Other tests open and close theirs meanwhile.
    all.filter_map(|entry| {
        let path = entry.ok()?.path();
        let is_file = fs::metadata(&path).ok()?.is_file();
        let name = fs::read_link(&path).ok()?;
        (is_file && name.starts_with(folder)).then(|| name.to_string_lossy().into_owned())
    })
    .collect()
}
