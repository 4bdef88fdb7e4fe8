//! Names that some system takes for the same.

use unicode_normalization::UnicodeNormalization;

use crate::types::{RelPath, fold_case, is_ignorable};

/// Returns a name in lower case and the composed form of Unicode, as far as it is UTF-8.
pub(super) fn fold(path: &RelPath) -> Vec<u8> {
    composed(&fold_case(&composed(path.as_bytes())))
}

/// Works as [`fold`], for one part of a name, and leaves out the characters that some system ignores.
pub(super) fn fold_part(part: &[u8]) -> Vec<u8> {
    let mut seen = Vec::with_capacity(part.len());
    for chunk in part.utf8_chunks() {
        let shown: String = chunk.valid().chars().filter(|c| !is_ignorable(*c)).collect();
        seen.extend_from_slice(shown.as_bytes());
        seen.extend_from_slice(chunk.invalid());
    }
    composed(&fold_case(&composed(&seen)))
}

fn composed(name: &[u8]) -> Vec<u8> {
    let mut composed = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        composed.extend_from_slice(chunk.valid().nfc().collect::<String>().as_bytes());
        composed.extend_from_slice(chunk.invalid());
    }
    composed
}
