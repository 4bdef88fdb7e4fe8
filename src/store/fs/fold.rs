//! Names that some system takes for the same.

use unicode_normalization::UnicodeNormalization;

use crate::types::{RelPath, fold_case};

/// Returns a name in lower case and the composed form of Unicode, as far as it is UTF-8.
pub(super) fn fold(path: &RelPath) -> Vec<u8> {
    composed(&fold_case(&composed(path.as_bytes())))
}

fn composed(name: &[u8]) -> Vec<u8> {
    let mut composed = Vec::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        composed.extend_from_slice(chunk.valid().nfc().collect::<String>().as_bytes());
        composed.extend_from_slice(chunk.invalid());
    }
    composed
}
